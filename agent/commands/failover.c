/* SPDX-License-Identifier: PostgreSQL */
/*
 * failover: `walferry failover`. Shows what would be lost, asks for the member's name, and shows what
 * this host's agent tells of each step. The agent cancels it when this process ends before anything
 * is spent; Ctrl-C asks the agent to, which may be too late.
 */
#include "commands/command.h"
#include "control/control.h"
#include "control/show.h"
#include "jobs/consent.h"

#include "base/fail.h"
#include "shipper/wire/frame.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void
interrupt(int signal)
{
    (void)signal; /* it only ends the reading */
}

static json_t *
make_request(const struct options *options, bool dry_run)
{
    return json_pack("{s:s s:i s:b s:b s:b s:b s:I}", "command", "failover", "pid", (int)getpid(),
                     "force", options->force, "dead", options->dead, "dry_run", dry_run, "reclaim",
                     options->reclaim, "epoch",
                     options->epoch == NULL ? (json_int_t)0 : strtoll(options->epoch, NULL, 10));
}

static bool
epoch_valid(const char *text)
{
    char *rest;
    long long number = strtoll(text, &rest, 10);

    return *rest == '\0' && number >= 1 && number < (long long)EPOCH_NUMBER_MAX;
}

/* pid: only what that process has asked for */
static int
ask_cancel(const struct member *self, pid_t pid)
{
    return control_ask(
        self->run, json_pack("{s:s s:b s:i}", "command", "failover", "cancel", 1, "pid", (int)pid),
        show_line, NULL);
}

static int
ask_break_promise(const struct member *self, const char *to)
{
    return control_ask(self->run,
                       json_pack("{s:s s:s}", "command", "failover", "break_promise", to),
                       show_line, NULL);
}

/* Ctrl-C, of a failover that may have ended by itself or go on without us. */
static int
cancel(void *context)
{
    const struct member *const *self = context;
    int code = ask_cancel(*self, getpid());

    return code == 0 ? EXIT_CANCELLED : code;
}

static int
ask(const struct member *self, const struct options *options)
{
    struct sigaction on_interrupt = {.sa_handler = interrupt}; /* no SA_RESTART */

    sigaction(SIGINT, &on_interrupt, NULL);
    return control_ask_or(self->run, make_request(options, options->dry_run), show_line, cancel,
                          &self);
}

int
command_failover(const struct config *config, const struct member *self,
                 const struct options *options)
{
    bool already = false;
    int code;

    if (options->epoch != NULL && !epoch_valid(options->epoch)) {
        fprintf(stderr, "walferry failover: --epoch wants a number, not '%s'\n", options->epoch);
        return 2;
    }
    if (options->cancel || options->break_promise != NULL) {
        code =
            options->cancel ? ask_cancel(self, 0) : ask_break_promise(self, options->break_promise);
        goto out;
    }
    if (!options->yes && !options->dry_run) {
        if (consent_terminal("failover") != 0)
            return 2;
        code = control_ask(self->run, make_request(options, true), show_plan, &already);
        if (code != 0 || already)
            goto out;
        code = consent("failover", self, false,
                       options->reclaim ? "Make it the primary again?" : "Promote it?");
        if (code != 0)
            return code;
    }
    code = ask(self, options);
out:
    if (code < 0) {
        fprintf(
            stderr,
            "walferry failover: %s; start the agent of %s first (systemctl start walferry@%s), then run "
            "this again\n",
            fail_message(), self->name, config->name);
        return 1;
    }
    return code;
}

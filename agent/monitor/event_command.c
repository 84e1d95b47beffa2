/* SPDX-License-Identifier: PostgreSQL */
/* See event_command.h. */
#include "monitor/event_command.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

int
event_command_init(struct event_command *r, const char *command, const char *pool,
                   const char *member, const char *site)
{
    *r = (struct event_command){.command = command, .pool = pool, .member = member, .site = site};
    return command[0] == '\0' ? 0 : spawn_worker_init(&r->runs);
}

void
event_command_release(struct event_command *r)
{
    spawn_worker_release(&r->runs, "the event command");
}

/* ---- in the worker's thread ---- */

static void
job_command(void *context)
{
    struct event_command_job *j = context;
    char *argv[] = {(char *)(uintptr_t)j->command, NULL},
         *environment[EVENT_COMMAND_FACTS + 1] = {NULL};

    for (size_t i = 0; i < EVENT_COMMAND_FACTS; i++)
        environment[i] = j->fact[i];
    j->spawn.argv = argv;
    j->spawn.environment = environment;
    spawn_run(&j->spawn);
}

/* ---- in the loop ---- */

static void
put_facts(const struct event_command *r, const struct event_entry *e, const char *role,
          struct event_command_job *j)
{
    const struct event_kind *kind = event_kind(e->id);
    char when[40];
    size_t n = 0;

#define FACT(name, ...) snprintf(j->fact[n++], sizeof j->fact[0], name "=" __VA_ARGS__)
    FACT("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    FACT("WALFERRY_EVENT_ID", "%s", kind->id);
    FACT("WALFERRY_EVENT_NAME", "%s", kind->name);
    FACT("WALFERRY_EVENT_STATE", "%s", e->raised ? "raised" : "cleared");
    FACT("WALFERRY_EVENT_SEVERITY", "%s", kind->severity);
    FACT("WALFERRY_EVENT_TEXT", "%s", e->text);
    FACT("WALFERRY_EVENT_TIME", "%s", text_time(when, sizeof when, e->wall_us));
    FACT("WALFERRY_POOL", "%s", r->pool);
    FACT("WALFERRY_MEMBER", "%s", r->member);
    FACT("WALFERRY_SITE", "%s", r->site);
    FACT("WALFERRY_ROLE", "%s", role);
#undef FACT
}

void
event_command_put(struct event_command *r, const struct event_entry *entry, const char *role)
{
    if (r->command[0] == '\0')
        return;
    if (r->count == EVENT_COMMAND_QUEUE_MAX) {
        log_warning("event_command is not run for %s: %d events wait for it already",
                    event_kind(entry->id)->id, EVENT_COMMAND_QUEUE_MAX);
        return;
    }
    r->queue[r->count].entry = *entry;
    snprintf(r->queue[r->count].role, sizeof r->queue[0].role, "%s", role);
    r->count++;
}

static void
say_result(const struct event_command_job *j)
{
    char why[80];

    if (!spawn_good(&j->spawn, why, sizeof why) && !j->spawn.stopped)
        log_warning("event_command %s %s", j->command, why);
}

void
event_command_watch(const struct event_command *r, struct loop *l)
{
    loop_watch(l, worker_fd(&r->runs.worker), POLLIN);
}

void
event_command_run(struct event_command *r)
{
    if (worker_done(&r->runs.worker))
        say_result(&r->job);
    if (r->count == 0 || worker_busy(&r->runs.worker))
        return;
    r->job = (struct event_command_job){
        .command = r->command,
        .spawn = {.stop_fd = r->runs.stop_fd, .limit_us = EVENT_COMMAND_LIMIT_US}};
    put_facts(r, &r->queue[0].entry, r->queue[0].role, &r->job);
    r->count--;
    memmove(r->queue, r->queue + 1, r->count * sizeof r->queue[0]);
    worker_submit(&r->runs.worker, job_command, &r->job);
}

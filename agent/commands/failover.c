/* SPDX-License-Identifier: PostgreSQL */
/*
 * failover: `walferry failover`. Shows what would be lost, asks for the member's name, and shows what
 * this host's agent tells of each step.
 */
#include "commands/command.h"
#include "control/control.h"
#include "control/show.h"
#include "jobs/consent.h"

#include "base/fail.h"

#include <stdio.h>

static json_t *
make_request(const struct options *options, bool dry_run)
{
    return json_pack("{s:s s:b s:b}", "command", "failover", "force", options->force, "dry_run",
                     dry_run);
}

int
command_failover(const struct config *config, const struct member *self,
                 const struct options *options)
{
    int code;

    if (!options->yes && !options->dry_run) {
        if (consent_terminal("failover") != 0)
            return 2;
        code = control_ask(self->run, make_request(options, true), show_line, NULL);
        if (code != 0)
            goto out;
        code = consent("failover", self, false, "Promote it?");
        if (code != 0)
            return code;
    }
    code = control_ask(self->run, make_request(options, options->dry_run), show_line, NULL);
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

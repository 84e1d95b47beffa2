/* SPDX-License-Identifier: PostgreSQL */
/*
 * resolve: `walferry resolve --primary MEMBER`. Two members call themselves the primary and neither
 * follows from the other: the DBA says which one is right. Shows what is claimed, asks for the
 * member's name, and this host's agent writes the epoch that overrules both.
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
    return json_pack("{s:s s:s s:b}", "command", "resolve", "primary", options->primary, "dry_run",
                     dry_run);
}

int
command_resolve(const struct config *config, const struct member *self,
                const struct options *options)
{
    bool already = false;
    int code = 0;

    if (config_member(config, options->primary) == NULL) {
        fprintf(stderr, "walferry resolve: %s is no member of %s\n", options->primary,
                config->file);
        return 2;
    }
    if (!options->yes) {
        if (consent_terminal("resolve") != 0)
            return 2;
        code = control_ask(self->run, make_request(options, true), show_plan, &already);
        if (code == 0 && !already && consent("resolve", self, false, "Decide it so?") != 0)
            return 1;
    }
    if (code == 0 && !already)
        code = control_ask(self->run, make_request(options, false), show_line, NULL);
    if (code < 0) {
        fprintf(stderr,
                "walferry resolve: %s; start the agent of %s first (systemctl start walferry@%s), "
                "then run this again\n",
                fail_message(), self->name, config->name);
        return 1;
    }
    return code;
}

/* SPDX-License-Identifier: PostgreSQL */
/*
 * fetch: restore_command's program. In come PostgreSQL's %f and %p, out goes a whole segment or
 * history file of the local spool to where PostgreSQL wants it (relative to its data directory,
 * which is the current one), or nothing where the relay should be asked (restore_command.h). It
 * works with the agent down. With --from, which rejoin gives to pg_rewind, a file that is not here
 * is asked of the primary's PostgreSQL through the tunnel.
 *
 * Exit 0 or 1 and nothing else (restore_command.h). PostgreSQL asks for absent files all the time:
 * no message says that one is absent.
 */
#include "commands/command.h"
#include "commands/restore_command.h"
#include "jobs/primary.h"

#include "base/fail.h"
#include "shipper/wal/spool.h"

#include <stdio.h>

int
command_fetch(const struct config *config, const struct member *self, const struct options *options)
{
    PGconn *primary;
    int code;

    if (options->from == NULL && restore_offered(self->run, self->spool, options->args[0]))
        return 1;
    code = spool_fetch(self->spool, options->args[0], options->args[1]);
    if (code == ERR_AGAIN && options->from != NULL) {
        code = primary_connect(config, self, NULL, "postgres", &primary);
        if (code == 0) {
            code = primary_fetch(primary, options->args[0], options->args[1]);
            PQfinish(primary);
        }
    }
    if (code < 0 && code != ERR_AGAIN)
        fprintf(stderr, "walferry fetch: %s\n", fail_message());
    return code == 0 ? 0 : 1;
}

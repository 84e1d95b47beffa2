/*
 * fetch: restore_command's program. In come PostgreSQL's %f and %p, out goes a whole segment or
 * history file of the local spool, where PostgreSQL wants it (relative to its data directory, which
 * is the current one). It works with the agent down. With --from, which rejoin gives to pg_rewind,
 * what is not here is asked of that primary's PostgreSQL through the tunnel.
 *
 * Exit 0 or 1 and nothing else: PostgreSQL takes a status above 125, or a death by signal, as a
 * reason to stop the standby. A file that is not there is asked for all the time: not a word of it.
 */
#include "command.h"
#include "present.h"

#include "base/fail.h"
#include "shipper/spool.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static void
leave(int signal_number)
{
    (void)signal_number;
    _exit(1);
}

void
fetch_begin(void)
{
    static const int deadly[] = {SIGTERM, SIGINT,  SIGHUP, SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2,
                                 SIGABRT, SIGSEGV, SIGBUS, SIGFPE,  SIGILL,  SIGXCPU};
    struct sigaction end = {.sa_handler = leave};

    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
        sigaction(deadly[i], &end, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

int
command_fetch(const struct config *config, const struct member *self, const struct options *options)
{
    int code = spool_fetch(self->spool, options->args[0], options->args[1]);
    PGconn *present;

    if (code == ERR_AGAIN && options->from != NULL) {
        code = present_connect(config, self, "postgres", &present);
        if (code == 0) {
            code = present_fetch(present, options->args[0], options->args[1]);
            PQfinish(present);
        }
    }
    if (code < 0 && code != ERR_AGAIN)
        fprintf(stderr, "walferry fetch: %s\n", fail_message());
    return code == 0 ? 0 : 1;
}

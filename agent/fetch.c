/*
 * fetch: restore_command's program. A whole segment or history file of the local spool is copied to
 * where PostgreSQL wants it. Works with the agent down. Exit 0 or 1 and nothing else: PostgreSQL
 * takes a status above 125 or a death by signal as a reason to stop the standby.
 */
#include "command.h"

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

int
command_fetch(const struct config *config, const struct member *self, const struct options *options)
{
    static const int deadly[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2};
    int code;

    (void)config;
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
        signal(deadly[i], leave);
    signal(SIGPIPE, SIG_IGN);
    code = spool_fetch(self->spool, options->args[0], options->args[1]);
    if (code < 0 && code != ERR_AGAIN) /* absent files are asked for all the time: no word of them */
        fprintf(stderr, "walferry fetch: %s\n", fail_message());
    return code == 0 ? 0 : 1;
}

/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent: `walferry agent`, the daemon of this member in the foreground: what the process is (its
 * priority, its signals, its memory), then daemon_run.
 */
#include "commands/command.h"
#include "daemon/daemon.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"

#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

/* Before any thread is there: all inherit it. */
static int
be_modest(const struct member *self)
{
    if (self->nice != 0 && setpriority(PRIO_PROCESS, 0, self->nice) < 0)
        return fail_sys(ERR_USAGE, "nice = %d of [member %s]", self->nice, self->name);
    if (CPU_COUNT(&self->cpus) > 0 && sched_setaffinity(0, sizeof self->cpus, &self->cpus) < 0)
        return fail_sys(ERR_USAGE, "cpus of [member %s]", self->name);
    return 0;
}

int
command_agent(const struct config *config, const struct member *self, const struct options *options)
{
    sigset_t wanted;
    int signals, code;

    (void)options;
    log_init(self->name);
    /* libpq gives each 128 KB of WAL in a malloc of its own: fresh pages for each would cost more
     * than the copy into them */
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 8 << 20);
    if (config_check_local(config, self, stderr) < 0)
        return 2;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    srandom((unsigned)clock_us());
    code = signals < 0 ? fail_sys(ERR_LOCAL, "signalfd") : be_modest(self);
    if (code == 0)
        code = daemon_run(config, self, signals);
    if (code < 0)
        log_error("%s", fail_message());
    else
        log_info("stopped");
    /* what a human has to judge stays as it is when we are started again */
    return code == 0 ? 0 : code == ERR_USAGE || code == ERR_CORRUPT ? 2 : 1;
}

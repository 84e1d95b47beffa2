/* SPDX-License-Identifier: PostgreSQL */
#include "base/loop.h"

#include "base/clock.h"
#include "base/fail.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>

void
loop_begin(struct loop *l)
{
    l->count = 0;
    l->due_us = NEVER_US;
}

void
loop_watch(struct loop *l, int fd, short events)
{
    if (fd < 0)
        return;
    assert(l->count < LOOP_FDS_MAX);
    l->fds[l->count++] = (struct pollfd){.fd = fd, .events = events};
}

void
loop_due(struct loop *l, int64_t at_us)
{
    if (at_us < l->due_us)
        l->due_us = at_us;
}

int
loop_wait(struct loop *l)
{
    int timeout_ms = -1;

    if (l->due_us != NEVER_US) {
        int64_t wait_us = l->due_us - clock_us();

        if (wait_us <= 0)
            timeout_ms = 0;
        else if (wait_us / MILLISECOND_US >= INT_MAX)
            timeout_ms = INT_MAX;
        else
            timeout_ms = (int)((wait_us + MILLISECOND_US - 1) / MILLISECOND_US);
    }
    if (poll(l->fds, (nfds_t)l->count, timeout_ms) < 0) {
        for (size_t i = 0; i < l->count; i++)
            l->fds[i].revents = 0;
        if (errno != EINTR)
            return fail_sys(ERR_LOCAL, "poll");
    }
    return 0;
}

short
loop_ready(const struct loop *l, int fd)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->fds[i].fd == fd)
            return l->fds[i].revents;
    return 0;
}

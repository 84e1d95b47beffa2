/* SPDX-License-Identifier: PostgreSQL */
/*
 * loop: one poll, rebuilt each turn.
 *
 *     loop_begin(&l);
 *     loop_watch(&l, fd, events);  loop_due(&l, when_us);   ... every room says what it waits for
 *     loop_wait(&l);
 *     if (loop_ready(&l, fd)) ...                            ... every room goes on
 *
 * loop_watch ignores fd < 0 and, when events is 0, still reports errors and hangups. The number
 * of descriptors is bounded by LOOP_FDS_MAX (asserted: every room bounds the number of its own).
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#define LOOP_FDS_MAX 768

struct loop {
    struct pollfd fds[LOOP_FDS_MAX];
    size_t count;
    int64_t due_us; /* the earliest deadline, monotonic */
};

void loop_begin(struct loop *l);
void loop_watch(struct loop *l, int fd, short events);
void loop_due(struct loop *l, int64_t at_us);
int loop_wait(struct loop *l); /* ERR_LOCAL if poll itself fails; a signal is not a failure */
short loop_ready(const struct loop *l, int fd); /* revents, 0 when not watched */

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * event command: the pool's event_command, once per event raised or cleared, one at a time.
 *
 * A worker thread starts it (spawn.h, no shell) and waits for it; the loop sees one eventfd. A
 * helper process instead would be a second thing to start, watch and end, for the same promise.
 *
 * The command gets the facts in its environment and nothing else (WALFERRY_EVENT_*, _POOL, _MEMBER,
 * _SITE, _ROLE, PATH); its standard input is /dev/null, its output goes to the agent's log. After
 * EVENT_COMMAND_LIMIT_US its process group is killed. At most EVENT_COMMAND_QUEUE_MAX events wait;
 * for a further one the command is not run, which is logged.
 */
#ifndef AGENT_MONITOR_EVENT_COMMAND_H
#define AGENT_MONITOR_EVENT_COMMAND_H

#include "monitor/events.h"
#include "base/spawn.h"

#include "base/loop.h"

#include <sys/types.h>

#define EVENT_COMMAND_LIMIT_US  (10 * SECOND_US)
#define EVENT_COMMAND_QUEUE_MAX 32
#define EVENT_COMMAND_FACTS     11

struct event_command_job {
    const char *command;
    char fact[EVENT_COMMAND_FACTS][EVENT_TEXT_MAX + 32]; /* NAME=value */
    struct spawn spawn;
};

struct event_command {
    const char *command; /* borrowed; "" : there is none */
    struct spawn_worker runs;
    struct event_command_job job;
    struct {
        struct event_entry entry;
        char role[16];
    } queue[EVENT_COMMAND_QUEUE_MAX];
    size_t count;
    const char *pool, *member, *site; /* borrowed */
};

/* Names are borrowed for life. 0 or ERR_LOCAL; nothing is opened when there is no command. */
int event_command_init(struct event_command *r, const char *command, const char *pool,
                       const char *member, const char *site);
void event_command_release(
    struct event_command *r); /* ends the one that runs; accepts a zeroed struct */

void event_command_put(struct event_command *r, const struct event_entry *entry, const char *role);
void event_command_watch(const struct event_command *r, struct loop *l);
void event_command_run(struct event_command *r);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * conditions: what is wrong now. Once a second the agent looks at its own figures for what a DBA
 * wants to know (events.h). What is asked between two looks (the state of shipping) is worked out
 * from the figures of that moment.
 */
#ifndef AGENT_MONITOR_CONDITIONS_H
#define AGENT_MONITOR_CONDITIONS_H

#include "monitor/events.h"
#include "monitor/event_command.h"
#include "monitor/progress.h"
#include "monitor/view.h"

/* The history of events on its way to disk. */
struct conditions_file {
    int dir, error;
    size_t length;
    char text[EVENT_FILE_BYTES];
};

struct conditions {
    const struct who *who;       /* borrowed */
    enum role role, role_before; /* the last settled ones */
    int64_t role_changed_us;     /* 0: not in this life */
    struct events events;
    struct conditions_file file;
    bool file_failed; /* said already */
    struct event_command event_command;
};

/* Take what is on disk, start what runs commands. 0 or ERR_LOCAL. */
int conditions_open(struct conditions *f, const struct who *who);
void conditions_close(struct conditions *f); /* accepts a zeroed struct */

/* This member has a role. True when it is a settled one (promoting is on the way to a role) and
 * another one than before: `role_before`. What was before this life is no change. */
bool conditions_settle(struct conditions *f, enum role role, int64_t now_us);

/* The once-a-second look. */
void conditions_look(struct conditions *f, const struct view *v, int64_t now_us, int64_t wall_us);

/* Give the history of events to an idle worker, if it is newer than its file. True: it has a job.
 */
bool conditions_save(struct conditions *f, struct worker *worker);

/* Is what the last PING told, round trip and wall clocks, still so? */
bool conditions_offset_known(const struct clock_offset *o, int64_t now_us);

/* The state of shipping, of link i on a primary, of what comes in on a standby. */
void conditions_link(const struct view *v, size_t i, int64_t now_us, struct progress *ret_progress);
void conditions_receiving(const struct view *v, int64_t now_us, struct progress *ret_progress);

#endif

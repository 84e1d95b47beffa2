/*
 * figures: once a second the agent looks at its own figures: rates of WAL and of disks, and whether
 * there is something a DBA wants to know (events.h). What is asked between two looks (the state of
 * shipping) is worked out from the figures of that moment.
 */
#ifndef AGENT_MONITOR_CONDITIONS_H
#define AGENT_MONITOR_CONDITIONS_H

#include "pool/role.h"
#include "monitor/events.h"
#include "monitor/event_command.h"
#include "monitor/progress.h"

struct agent; /* agent.h */

/* The history of events on its way to disk. */
struct conditions_file {
    int dir, error;
    size_t length;
    char text[EVENT_FILE_BYTES];
};

struct conditions {
    enum role role, role_before; /* the last settled ones */
    int64_t role_changed_us;     /* 0: not in this life */
    struct events events;
    struct conditions_file file;
    bool file_failed; /* said already */
    struct event_command event_command;
};

/* Take what is on disk, start what runs commands. 0 or ERR_LOCAL. */
int conditions_open(struct agent *a);
void conditions_close(struct agent *a);

/* This member has a role. True when it is a settled one (promoting is on the way to a role) and
 * another one than before: `role_before`. What was before this life is no change. */
bool conditions_settle(struct conditions *f, enum role role, int64_t now_us);

/* The once-a-second look. */
void conditions_look(struct agent *a, int64_t now_us, int64_t wall_us);

/* Give the history of events to an idle worker, if it is newer than its file. True: it has a job.
 */
bool conditions_save(struct agent *a, struct worker *worker);

/* The state of shipping, of link i on a primary, of what comes in on a standby. */
void conditions_link(const struct agent *a, size_t i, int64_t now_us,
                     struct progress *ret_progress);
void conditions_receiving(const struct agent *a, int64_t now_us, struct progress *ret_progress);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * follow: does a standby that a long command has started make progress, until it follows?
 *
 * Progress is WAL that was applied, never WAL that came: the primary goes on writing beside a
 * standby that is stuck. Once the standby takes connections, the agent tells what is applied.
 * Before (it replays the WAL of its copy until that is consistent, maybe for hours) the segment in
 * the title of its startup process tells it, and pg_control. A standby that is down is started
 * once: the host may have been booted meanwhile, or was short of memory.
 */
#ifndef AGENT_JOBS_FOLLOW_H
#define AGENT_JOBS_FOLLOW_H

#include "jobs/server.h"

#include "base/lsn.h"

struct follow {
    struct job *job;
    int64_t begun_us, moved_us, read_us, said_us;
    lsn_t replay, on_disk;              /* as the server says, as pg_control does */
    char segment[SEGMENT_NAME_SIZE];    /* being replayed; its name without the timeline */
    char doing[16 + SEGMENT_NAME_SIZE]; /* "recovering SEGMENT", "waiting for SEGMENT", or "" */
    bool started;
    uint64_t first_behind; /* bytes to replay when the shown progress began */
};

void follow_begin(struct follow *f, struct job *j, int64_t now_us);

/* By the agent's status: PostgreSQL takes connections, as a standby of the relay. */
bool follow_streams(const json_t *status);

/*
 * One look, with the agent's status (NULL: it does not answer). 1: it streams, and every commit
 * from before follow_begin is applied; 0: not yet. ERR_PEER: it has applied nothing for long, and
 * the message says why, as far as is known; ERR_LOCAL: it does not start, or has ended again.
 */
int follow_look(struct follow *f, const json_t *status, int64_t now_us);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * failover: this member becomes the primary because a DBA says so.
 *
 * It asks the primary, ships what a dead one left behind, then goes through the journal's steps
 * (epoch.h), each of which may be killed and done again: epoch on disk, synchronous commit off,
 * drain, slots, promote. It waits for states with deadlines and tells the asking command every
 * line; a step that cannot be done ends with the reason and the next command, the journal stays.
 *
 * It writes the pool's journal and nothing else of what the daemon decides: the role that follows
 * from the journal is the daemon's to judge.
 */
#ifndef AGENT_HANDOVER_FAILOVER_H
#define AGENT_HANDOVER_FAILOVER_H

#include "control/control.h"
#include "links/incoming.h"
#include "links/outgoing.h"

enum failover_phase {
    FAILOVER_IDLE,
    FAILOVER_WAITING, /* for our own PostgreSQL, which may have been started a moment ago */
    FAILOVER_ASKING,
    FAILOVER_RESCUING,
    FAILOVER_RUNNING,
};

struct failover {
    const struct who *who; /* borrowed, as these: */
    struct pool *pool;     /* who's: it has the journal */
    struct outgoing *out;
    struct incoming *in;
    struct control *control;
    enum failover_phase phase;
    uint64_t client; /* who gets the progress lines */
    struct failover_wish wish;
    bool entered;
    int64_t started_us, begun_us; /* the whole; the present phase or step */
    int64_t since_us;             /* ... without progress */
    int64_t asked_us;             /* PING is out */
    lsn_t rescued;                /* progress of a drain, to tell a slow one from a dead one */
    int64_t ask_us, step_us[FAILOVER_PROMOTE + 1]; /* how long it took: what came before the
                                                      steps, and each of them */
    bool loss_known;
    char loss[256];     /* as it was said */
    bool command_asked; /* a command of this step is with PostgreSQL */
    size_t next_member; /* FAILOVER_SLOTS */
    lsn_t drain_to;
    lsn_t replayed;            /* FAILOVER_PROMOTE */
    int64_t moved_us, said_us; /* ... since when no further; of its last line */
};

void failover_init(struct failover *f, const struct who *who, struct pool *pool,
                   struct outgoing *out, struct incoming *in, struct control *control);
/* {"command": "failover", "force": bool, "dry_run": bool} */
void failover_request(struct failover *f, uint64_t client, const json_t *request, int64_t now_us);
void failover_run(struct failover *f, int64_t now_us);
int64_t failover_due_us(const struct failover *f);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * front: WAL that the local standby needs from before the spool's begin.
 *
 * A standby that was restored from a backup older than the spool asks the relay for it; what is in
 * the spool is of no use before that is there, so nothing of it counts as durable
 * (receiver_detach). The link's next session begins where the standby stands. Its WAL, which the
 * primary has in pg_wal or fills as any other gap, goes into a spool of its own, <spool>/front.
 * Once that reaches the spool's begin it is put before the spool (spool_join_begin), and the
 * session after that goes on at the spool's end. A restart of the agent goes on with what is in the
 * folder. A standby that only lies behind, by its own word, and has not asked may get its WAL
 * elsewhere: then nothing counts either, but nothing is got.
 *
 * When no byte comes for FRONT_PATIENCE_US, the WAL behind the spool's end has its turn for
 * FRONT_REST_US: though it does not count, it is better here than nowhere.
 */
#ifndef AGENT_LINKS_FRONT_H
#define AGENT_LINKS_FRONT_H

#include "base/fail.h"
#include "base/loop.h"
#include "base/worker.h"
#include "shipper/wal/spool.h"

#include <stdbool.h>

#define FRONT_PATIENCE_US (60 * SECOND_US)
#define FRONT_REST_US     (60 * SECOND_US)

struct incoming; /* links/incoming.h */

enum front_job { FRONT_RESTS, FRONT_FLUSHES, FRONT_JOINS, FRONT_IS_CLEARED };

struct front {
    struct spool spool; /* dir -1: there is no folder */
    struct worker worker;
    enum front_job job; /* of the worker */
    struct flush flush;
    struct join join;
    struct prune prune;
    bool over; /* nothing of it is needed: it is to be removed */
    lsn_t moved;
    int64_t moved_us;                /* when the last byte came, or the session began */
    int64_t rest_until_us, clear_us; /* no session, no clearing before */
    char reason[FAIL_MESSAGE_MAX];   /* what is lacking, for people; "": nothing is */
};

int front_open(struct front *f,
               const char *spool); /* ERR_LOCAL; takes up what a former agent left */
void front_close(struct front *f); /* accepts one that was not opened */
void front_watch(const struct front *f, struct loop *l);

/* Does the local standby need WAL from before the spool, and from where on? */
bool front_lacks(const struct incoming *in, timeline_t *ret_timeline, lsn_t *ret_lsn);

/* A session may begin: where its WAL goes (receiver.into); if that is the front, from where on. */
void front_direct(struct incoming *in, timeline_t *ret_timeline, lsn_t *ret_wanted, int64_t now_us);

/* Go on; end the session whose turn is over. */
void front_run(struct incoming *in, int64_t now_us);

#endif

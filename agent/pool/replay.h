/* SPDX-License-Identifier: PostgreSQL */
/*
 * replay: what the PostgreSQL beside this agent has, against the WAL of the pool. Pure.
 *
 * One in recovery follows the pool, or has forked: it has replayed WAL behind the point where its
 * timeline leaves the pool's lineage. WAL that it has only received never makes it forked. One that
 * was promoted may lack WAL that this member has acknowledged.
 */
#ifndef AGENT_POOL_REPLAY_H
#define AGENT_POOL_REPLAY_H

#include "shipper/wal/timeline.h"

enum replay {
    REPLAY_UNKNOWN, /* also: behind the end of a timeline, maybe on the next one by now */
    REPLAY_FOLLOWS,
    REPLAY_FORKED,
};

struct replay_facts {
    struct lineage pool; /* of the pool's WAL; timeline 0: not known here */
    struct lineage own;  /* of the PostgreSQL here; timeline 0: not known */
    lsn_t held;          /* the spool has the last timeline of `pool` up to here */
    bool promoted;       /* PostgreSQL here is not in recovery */
    /* in recovery: up to there, on that timeline or a later one; and for certain as far as its
     * control file says. An LSN of LSN_UNKNOWN: not known */
    struct position replayed, reached[2];
    lsn_t inserted;               /* promoted */
    struct position acknowledged; /* up to where the spool has flushed; timeline 0: it is empty */
    bool whole;                   /* ... or its last whole record ends: that was looked up */
};

struct replay_word {
    enum replay replay;
    bool missing;         /* it was promoted without all WAL that was acknowledged here */
    bool unsure;          /* ... or without a record that never became whole */
    struct position at;   /* forked: what it has replayed; missing: what was acknowledged */
    struct position fork; /* ... and the last position before that which both have */
    lsn_t keep_from;      /* the spool's WAL from here on may be in no PostgreSQL: it is kept */
};

void replay_judge(const struct replay_facts *f, struct replay_word *ret_word);

#endif

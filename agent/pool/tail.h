/* SPDX-License-Identifier: PostgreSQL */
/*
 * tail: whose WAL a failover takes before it spends an epoch, so that nothing is lost that any member
 * has on disk. Pure, as role.h is.
 *
 * In: where the WAL here ends, and where that of each other member does, by its own word, given with
 * its promise. Out: what is to be had of each, and from whom it is taken next: from the one with the
 * most of our lineage. WAL of another lineage is never taken, nor what the present epoch has left
 * behind its fork: it stays where it is, for a rejoin. Where that is what lies here, while another
 * member has what the pool went on with, this one is not to be the primary.
 */
#ifndef AGENT_POOL_TAIL_H
#define AGENT_POOL_TAIL_H

#include "pool/epoch.h"
#include "shipper/wal/timeline.h"

#define TAIL_NOBODY SIZE_MAX

/* What a member holds. */
struct holder {
    bool told;              /* it has said so, and it holds WAL that nothing speaks against */
    struct lineage lineage; /* of its end */
    struct position end;    /* of its WAL on disk */
    lsn_t start;            /* of what it can ship; LSN_UNKNOWN: it can ship nothing */
    bool failed;            /* its rest was asked for, and could not be got */
};

enum tail {
    TAIL_UNREAD,  /* nobody knows where its WAL ends */
    TAIL_HERE,    /* all that it has is here */
    TAIL_MORE,    /* it has more of our lineage */
    TAIL_LACKING, /* the same, and it cannot be got */
    TAIL_APART,   /* it has other WAL than we have, and that is not the pool's */
    TAIL_LEFT,    /* the same, and that is the pool's: ours has left it */
};

/* `from` is where the next byte that is asked for lies. */
enum tail judge_tail(const struct pool *p, const struct holder *ours, lsn_t from,
                     const struct holder *theirs);

/* From whom the rest is taken now: the one of those with TAIL_MORE who has the most; or TAIL_NOBODY. */
size_t judge_tails(const struct holder *holder, const enum tail *tail, size_t holders);

#endif

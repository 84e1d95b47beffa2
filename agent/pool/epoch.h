/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool: who is the primary, since when, and how far a running role change has come.
 *
 * The truth is <spool>/pool.state (JSON, replaced atomically); a state is on disk before it is
 * acted on. An epoch is (number, member) and has a chain: the epochs that led to it, each the
 * parent of the next, and those that it overrules. Whom to believe is judged by the chain (role.h).
 * Pure but for load and save. What can be saved can be loaded: all that comes from other members
 * has passed the bounds of frame.h.
 */
#ifndef AGENT_POOL_EPOCH_H
#define AGENT_POOL_EPOCH_H

#include "shipper/wire/frame.h"

#include <stdbool.h>

#define POOL_CHANGES_MAX FRAME_CHANGES_MAX
#define POOL_LOSS_SIZE   640

/* Steps of a failover, in order; the journal holds the one that is being done. */
enum failover_step {
    FAILOVER_NONE,
    FAILOVER_EPOCH,   /* the new epoch is on disk; the inlet is closed to every lower one */
    FAILOVER_EXPOSED, /* synchronous_standby_names is emptied */
    FAILOVER_DRAIN,   /* the standby has flushed all that the spool holds */
    FAILOVER_SLOTS,   /* slots for the members that will come back */
    FAILOVER_PROMOTE,
};

struct pool {
    struct epoch epoch;                          /* number 0: nothing known yet */
    timeline_t timeline;                         /* the primary's, as last seen */
    struct pool_change change[POOL_CHANGES_MAX]; /* the chain: oldest first; the last one began
                                                    `epoch` */
    size_t changes;
    enum failover_step step; /* FAILOVER_NONE: no role change is under way */
    struct epoch promised;   /* to that member (promise.h); number 0: none */
    uint64_t promised_nonce; /* ... of the ask that was answered last */
    bool left;            /* PostgreSQL here took writes while another member was the primary, and
                                has not come back since: by rejoin, seed, or as the primary */
    struct routes routes; /* route.h; of this epoch, or of one before */
    /* what the failover that began `epoch` may have cost, as it was said then: for its receipt. "":
     * it was not made here */
    char loss[POOL_LOSS_SIZE];
    int64_t loss_since_us; /* ... since when, by the former primary's clock; 0: of no such kind */
};

enum pool_word {
    POOL_SAME,     /* go on */
    POOL_LOWER,    /* theirs is lower: it yields */
    POOL_HIGHER,   /* theirs is higher: adopt it, if it may be believed */
    POOL_CONFLICT, /* same number, another member */
};

enum pool_word pool_judge(const struct pool *p, const struct epoch *theirs);

/* What a member says of the pool. */
struct told {
    char teller[MEMBER_NAME_SIZE];
    bool of_pool;        /* the last epoch's member is one of the pool's file */
    timeline_t timeline; /* that it is on */
    struct pool_change change[POOL_CHANGES_MAX]; /* its chain */
    size_t changes;                              /* 0: it knows nothing */
    struct member_position own;                  /* where it stood itself; LSN 0: unknown */
    struct routes routes;                        /* that it knows */
};

void told_pool(struct told *t, const char *teller, const struct frame *pool);
/* HELLO tells only the end of its sender's chain. */
void told_hello(struct told *t, const struct hello *hello);

bool epoch_equal(const struct epoch *a, const struct epoch *b);
/* Is that epoch overruled in the chain? Is it one of the chain? */
bool chain_overrules(const struct pool_change *change, size_t changes, const struct epoch *epoch);
bool chain_has(const struct pool_change *change, size_t changes, const struct epoch *epoch);

/* Take over what was told and is believed (role.h): their chain, with what we know of before. */
void pool_take(struct pool *p, const struct told *t);

/* Begin an epoch here (drops the oldest change when the list is full; clears a journal, and a promise
 * of no higher number; so does pool_take). What
 * `origin` leaves open is filled in: the present epoch is its parent, from whose timeline it forks.
 */
void pool_adopt(struct pool *p, const struct epoch_origin *origin, int64_t wall_us);

/* The present epoch's primary is on `timeline` now: where that forked stands in its history. */
void pool_promoted(struct pool *p, timeline_t timeline, const char *history, size_t length);

/* How the present epoch began; zeros when nothing is known. */
struct epoch_origin pool_origin(const struct pool *p);

/* Was this member the primary in an earlier epoch than the present one? */
bool pool_was_primary(const struct pool *p, const char *member);

/* From and to pool.state in the directory. 0; ERR_AGAIN no file; ERR_CORRUPT; ERR_LOCAL. */
int pool_load(struct pool *p, int dir);
int pool_save(const struct pool *p, int dir);

#endif

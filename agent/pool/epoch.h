/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool: who is the primary, since when, and how far a running role change has come.
 *
 * The truth is <spool>/pool.state (JSON, replaced atomically); a state is on disk before it is
 * acted on. An epoch is (number, member); the higher number is right; the same number with another
 * member is a conflict that a human decides. Pure but for load and save.
 */
#ifndef AGENT_POOL_EPOCH_H
#define AGENT_POOL_EPOCH_H

#include "shipper/wire/frame.h"

#include <stdbool.h>

#define POOL_CHANGES_MAX 32

/* Steps of a failover, in order; the journal holds the one that is being done. */
enum failover_step {
    FAILOVER_NONE,
    FAILOVER_EPOCH,   /* the new epoch is on disk; the inlet is closed to every lower one */
    FAILOVER_EXPOSED, /* synchronous_standby_names is emptied */
    FAILOVER_DRAIN,   /* the standby has flushed all that the spool holds */
    FAILOVER_SLOTS,   /* slots for the members that will come back */
    FAILOVER_PROMOTE,
};

struct pool_change {
    struct epoch_origin origin;
    int64_t wall_us;
};

struct pool {
    struct epoch epoch;                          /* number 0: nothing known yet */
    timeline_t timeline;                         /* the primary's, as last seen */
    struct pool_change change[POOL_CHANGES_MAX]; /* oldest first; the last one began `epoch` */
    size_t changes;
    enum failover_step step; /* FAILOVER_NONE: no role change is under way */
};

enum pool_word {
    POOL_SAME,     /* go on */
    POOL_LOWER,    /* theirs is lower: it yields */
    POOL_HIGHER,   /* theirs is higher: adopt it, if it may be believed */
    POOL_CONFLICT, /* same number, another member */
};

enum pool_word pool_judge(const struct pool *p, const struct epoch *theirs);

/* Take over an epoch (drops the oldest change when the list is full; clears a journal). */
void pool_adopt(struct pool *p, const struct epoch_origin *origin, int64_t wall_us);

/* How the present epoch began; zeros when nothing is known. */
struct epoch_origin pool_origin(const struct pool *p);

/* Was this member the primary in an earlier epoch than the present one? */
bool pool_was_primary(const struct pool *p, const char *member);

/* From and to pool.state in the directory. 0; ERR_AGAIN no file; ERR_CORRUPT; ERR_LOCAL. */
int pool_load(struct pool *p, int dir);
int pool_save(const struct pool *p, int dir);

#endif

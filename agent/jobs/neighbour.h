/* SPDX-License-Identifier: PostgreSQL */
/*
 * neighbour: which member gives a copy (seed) or the pages of a rewind (rejoin). Facts in, decision
 * out.
 *
 * The nearest that can, so that a site's second member costs no WAN: standbys of the own site, the
 * primary if it is there, the primary's mirrors, which spare it, the primary. Of two that are as near
 * the one that is less behind. Standbys of a third site are farther than the primary and staler: taken
 * only if they are named.
 *
 * A standby gives one if it follows the primary that is known here, in that epoch, and nothing is
 * wrong with it. A DBA who names it overrules how far behind it is, and nothing else.
 */
#ifndef AGENT_JOBS_NEIGHBOUR_H
#define AGENT_JOBS_NEIGHBOUR_H

#include "config/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NEIGHBOUR_BEHIND_US (60 * SECOND_US) /* farther behind: not unasked */
#define NEIGHBOUR_WHY_SIZE  512

/* What the agent of a member has said. Of the primary only the first two count: it is reached by
 * other ways. */
struct neighbour {
    const struct member *member;
    char excuse[NEIGHBOUR_WHY_SIZE]; /* it does not answer, or was tried and failed; "": no */
    bool standby;                    /* its role */
    uint64_t epoch;                  /* that it knows, ... */
    char primary[MEMBER_NAME_SIZE];  /* ... and whose it is */
    uint64_t system_identifier;
    bool promised;        /* a role change is on its way */
    bool forked;          /* it parted from the pool's lineage, or has left the pool */
    bool alarm;           /* any other */
    bool linked;          /* WAL comes */
    bool up, in_recovery; /* its PostgreSQL */
    bool paused;          /* ... replays nothing */
    bool behind_known;
    int64_t behind_us; /* what it has applied, behind the primary */
};

/* What is known here. */
struct neighbourhood {
    const struct member *self;
    const struct member *primary;
    uint64_t epoch;
    uint64_t system_identifier; /* 0: unknown */
    const struct member *named; /* by the DBA; NULL: nobody is */
};

/* Smaller is nearer; never equal for the primary and a standby. Negative: only if it is named. */
int neighbour_distance(const struct neighbourhood *h, const struct member *m);

/* May it give a copy? False: `why` says why not. */
bool neighbour_gives(const struct neighbourhood *h, const struct neighbour *n,
                     char why[NEIGHBOUR_WHY_SIZE]);

/* The one to take; NULL: there is none. Without a named one the primary gives when no other does,
 * if it has no excuse. */
const struct neighbour *neighbour_choose(const struct neighbourhood *h, const struct neighbour *all,
                                         size_t count);

/* "own site, 0.3 s behind". Returns out. */
const char *neighbour_words(const struct neighbourhood *h, const struct neighbour *n, char *out,
                            size_t size);

#endif

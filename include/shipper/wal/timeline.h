/* SPDX-License-Identifier: PostgreSQL */
/*
 * timeline: a server's lineage (the timelines that lead to its present one), positions on it, and
 * where two lineages part. The LSNs of two servers, or of a server and a spool, are compared here
 * and nowhere else: the same LSN on two timelines may be two places.
 *
 * Computed from the two history files alone (src/backend/access/transam/timeline.c; pg_rewind's
 * findCommonAncestorTimeline does the same), never from a control file: its last checkpoint is of
 * the timeline before, for a while after a promotion.
 */
#ifndef SHIPPER_WAL_TIMELINE_H
#define SHIPPER_WAL_TIMELINE_H

#include "base/lsn.h"

struct lineage {
    timeline_t timeline; /* the present one; 0: nothing is known */
    const char *text;    /* its history file, borrowed; "" on the first timeline */
    size_t length;
};

/* All WAL up to an LSN, of a timeline and of those that led to it. */
struct position {
    timeline_t timeline; /* 0: unknown */
    lsn_t lsn;
};

/*
 * Where `ours` and `theirs` part: the last common timeline and the LSN up to which they are the
 * same. False: they do not part, both are on the same timeline.
 */
bool lineage_fork(const struct lineage *ours, const struct lineage *theirs,
                  timeline_t *ret_timeline, lsn_t *ret_fork);

/* The timeline that the byte at lsn was written on. */
timeline_t lineage_at(const struct lineage *l, lsn_t lsn);

/* Is `timeline` the present one, or one that led to it? */
bool lineage_has(const struct lineage *l, timeline_t timeline);

/* Where `timeline` was left for the next one; UINT64_MAX: it is the present one. It is one of the
 * lineage. */
lsn_t lineage_end(const struct lineage *l, timeline_t timeline);

enum position_order {
    POSITION_BEFORE, /* all WAL of a is b's, too */
    POSITION_EQUAL,
    POSITION_AFTER,
    POSITION_APART, /* each has WAL that the other lacks */
};

/*
 * Position `a` to position `b`: each with a lineage that has its timeline, where the position may
 * lie behind that timeline's end. APART: *ret_fork is the last common position (a timeline of 0:
 * there is none, or one of the lineages does not have its position's timeline).
 */
enum position_order lineage_order(const struct lineage *of_a, struct position a,
                                  const struct lineage *of_b, struct position b,
                                  struct position *ret_fork);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * timeline: a server's lineage (the timelines that lead to its present one), and where two part.
 *
 * Computed from the two history files alone (src/backend/access/transam/timeline.c; pg_rewind's
 * findCommonAncestorTimeline does the same), never from a control file: its last checkpoint is of
 * the timeline before, for a while after a promotion.
 */
#ifndef SHIPPER_WAL_TIMELINE_H
#define SHIPPER_WAL_TIMELINE_H

#include "base/lsn.h"

struct lineage {
    timeline_t timeline; /* the present one */
    const char *text;    /* its history file, borrowed; "" on the first timeline */
    size_t length;
};

/*
 * Where `ours` and `theirs` part: the last common timeline and the LSN up to which they are the
 * same. False: they do not part, both are on the same timeline.
 */
bool lineage_fork(const struct lineage *ours, const struct lineage *theirs,
                  timeline_t *ret_timeline, lsn_t *ret_fork);

/* The timeline that the byte at lsn was written on. */
timeline_t lineage_at(const struct lineage *l, lsn_t lsn);

#endif

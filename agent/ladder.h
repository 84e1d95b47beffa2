/*
 * ladder: the gaps of this member's links, and how each is filled.
 */
#ifndef AGENT_LADDER_H
#define AGENT_LADDER_H

#include "gap.h"

struct agent; /* agent.h */

/* Name a gap: on disk and in the log before this returns. NULL: the range is empty. A list that
 * cannot be written is logged; it is tried again at the next change. */
struct gap *ladder_open_gap(struct agent *a, const char *member, timeline_t timeline, lsn_t start,
                            lsn_t end, const char *why);

#endif

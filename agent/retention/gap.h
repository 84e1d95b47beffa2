/* SPDX-License-Identifier: PostgreSQL */
/*
 * gap: WAL that another member lacks and that this one cannot simply stream to it, by name.
 *
 * A gap is a range [start, end) of one timeline that `member` has not got, while the slot and
 * pg_wal of the primary begin behind it. It is opened by whoever finds out (the source of a link,
 * the disk guard that let a slot go) and closed when the far side is durable beyond it: filled, or
 * made a new copy of. What was given up stays listed until then.
 *
 * The truth is <spool>/gaps, one JSON object per line, replaced atomically; a gap is on disk before
 * anything is done because of it:
 *   {"member": "dc2-a", "timeline": N, "start": "X/X", "end": "X/X", "state": "lost",
 *    "since_us": N (wall clock), "why": "how it arose", "doing": "what is done, or why it was given
 *    up", "consent": false}
 *
 * Pure but for load and save. Bounds: GAPS_OF_MEMBER each; one more widens its neighbour, for a
 * range that is too large covers all that is missing, one that is too small does not. Former
 * members' gaps fill up the rest of GAPS_MAX: the oldest one makes room.
 */
#ifndef AGENT_RETENTION_GAP_H
#define AGENT_RETENTION_GAP_H

#include "base/lsn.h"
#include "base/identity.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define GAPS_OF_MEMBER 8
#define GAPS_MAX       64 /* MEMBERS_MAX times that */
#define GAP_TEXT_MAX   400
#define GAP_FILE       "gaps"

enum gap_state {
    GAP_DELAYED,   /* a source of the backfill has it, or is still to be asked */
    GAP_IN_FLIGHT, /* being got and shipped */
    GAP_LOST,      /* no source has it: only a new copy helps */
    GAP_GIVEN_UP,  /* by the operator; `doing` is the reason */
    GAP_STATES
};

struct gap {
    char member[MEMBER_NAME_SIZE]; /* who lacks it */
    timeline_t timeline;
    lsn_t start, end;
    enum gap_state state;
    int64_t since_us; /* wall clock */
    char why[GAP_TEXT_MAX], doing[GAP_TEXT_MAX];
    bool consent; /* more than fetch_limit may be got */
};

struct gaps {
    struct gap gap[GAPS_MAX]; /* of one member in the order of their LSNs */
    size_t count;
    int dir; /* borrowed by gaps_load */
};

/* The file in `dir`, a spool's; none is fine. Lines that cannot be read are an error, for they may
 * be somebody's lost WAL: ERR_CORRUPT names the file. */
int gaps_load(struct gaps *g, int dir);
int gaps_save(const struct gaps *g, int dir); /* 0 or ERR_LOCAL */

/*
 * `member` lacks [start, end). What touches an open gap of its widens that one, whose state and age
 * stay. The gap, valid until the next gap_open, gap_close or gaps_reach; NULL when end <= start.
 */
struct gap *gap_open(struct gaps *g, const char *member, timeline_t timeline, lsn_t start,
                     lsn_t end, const char *why, int64_t wall_us);
void gap_close(struct gaps *g, struct gap *gap);

/* The first gap of `member` that ends behind lsn; NULL: none. */
struct gap *gap_behind(struct gaps *g, const char *member, lsn_t lsn);

/* `member` is durable up to lsn: what lies before is no gap any more. Count of the gaps that this
 * closed; *ret_changed when anything did change. */
size_t gaps_reach(struct gaps *g, const char *member, lsn_t lsn, bool *ret_changed);

/* What changes gaps while the agent runs: into the file they were loaded from, and the log. A list
 * that cannot be written is logged, too, and written at the next change. */
void gaps_keep(const struct gaps *g);
/* gap_open, on disk and in the log before this returns. */
struct gap *gap_note(struct gaps *g, const char *member, timeline_t timeline, lsn_t start,
                     lsn_t end, const char *why);
/* Another state, or another word of what is done: only a state is written and logged. */
void gap_turn(struct gaps *g, struct gap *gap, enum gap_state state, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

bool gap_reason_fits(const char *reason);         /* UTF-8, and not longer than a gap can keep */
const char *gap_state_name(enum gap_state state); /* "delayed", "in flight", "lost", "given up" */
json_t *gap_json(const struct gap *gap, uint32_t segment_bytes); /* for status: a new reference */

#endif

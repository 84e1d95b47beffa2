/* SPDX-License-Identifier: PostgreSQL */
/*
 * guard: keeps the WAL that slots retain from filling the primary's disk.
 *
 * In come, a few times a second, what the slots keep and what pg_wal's file system has left; out
 * goes one step, each behind the one before it:
 *   watch    nothing is wrong
 *   squeeze  every lane, and compression as strong as the line asks for
 *   outbox   WAL goes into the outbox, and the slots move on; see outbox.h
 *   release  pg_wal has less than its reserve and is full within minutes: the slot that keeps it
 *            is let go, and what the far side will lack is a gap on disk (gap.h) before that
 *   hold     less than its reserve, but on_full = hold, or something else keeps that WAL as well (a
 *            slot of somebody else, archive_command, wal_keep_size): nothing is let go
 * A step is left a while after its reason is gone; the outbox when it is empty.
 *
 * A slot costs the far side a new copy, so it goes as late as is safe, and only if that helps: what
 * it keeps is much against what is left, and not gone again within minutes if it is something else
 * that fills the disk. A link that is read, and faster than WAL is made, never loses its slot.
 */
#ifndef AGENT_RETENTION_DISK_GUARD_H
#define AGENT_RETENTION_DISK_GUARD_H

#include "postgres/checkpoint.h"
#include "config/reserve.h"
#include "retention/feedback.h"
#include "retention/outbox.h"
#include "retention/rates.h"
#include "retention/release.h"

#include <stdbool.h>
#include <stdint.h>

enum disk_guard_step {
    DISK_GUARD_WATCH,
    DISK_GUARD_SQUEEZE,
    DISK_GUARD_OUTBOX,
    DISK_GUARD_RELEASE,
    DISK_GUARD_HOLD,
};

struct disk_guard_limits {
    uint64_t retain_max_bytes;
    struct reserve reserve;
    bool hold;
};

struct disk_guard_facts {
    uint32_t segment_bytes;
    uint64_t retained; /* by the slot that keeps most */
    uint64_t freed;    /* what pg_wal could be without, were it not for a slot */
    bool kept;         /* something else keeps it, too: to let the slot go is no help */
    bool gains;        /* who has that slot gets WAL, and moves on faster than it is made */
    bool disk_known;
    uint64_t disk_bytes, free_bytes;
    bool rates_known;     /* bytes per second, of the last seconds or the last minute: */
    double shrinks;       /* ... how fast pg_wal's file system fills, by the faster one */
    double others;        /* ... what of it is no WAL, by the slower one */
    bool outbox_possible; /* no link is synchronous, and it ends where a slot begins or later */
    bool outbox_takes;    /* it is filled right now */
    bool outbox_used;     /* there is something in it, or it is filled */
};

struct disk_guard {
    const struct who *who; /* borrowed, as these: */
    struct outgoing *out;
    struct outbox *outbox;
    const struct rates *rates;
    /* of the step function alone */
    enum disk_guard_step step;
    int64_t since_us; /* in this step */
    int64_t calm_us;  /* since then a lower one would do; 0: it would not */
    /* the agent's hands */
    int64_t due_us, advanced_us; /* to look again; when a slot was moved on last */
    struct disk_guard_facts facts;
    struct release release;
    char kept_text[200];    /* what else keeps pg_wal, and the next step; "" : nothing does */
    int64_t kept_us;        /* when it did last; 0: never */
    int64_t archive_us;     /* when archive_status was listed; 0: never */
    lsn_t archive_redo;     /* up to there */
    uint64_t archive_bytes; /* what waited for archive_command then */
    struct checkpoint checkpoint;
    int64_t checkpoint_us;       /* when the last one was asked for; 0: one is due */
    timeline_t checked_timeline; /* the outbox belongs to its history */
    struct feedback feedback;
};

/* True when the step is another one now. Pure. */
bool disk_guard_step(struct disk_guard *g, const struct disk_guard_facts *f,
                     const struct disk_guard_limits *l, int64_t now_us);
/* Pure, too. Do all far sides follow, by no more than what is on its way on a fast, long line? */
bool disk_guard_follows(const struct disk_guard *g, const struct postgres_sample *s);
/* Are all of them past the outbox's end? It would only follow them. */
bool disk_guard_ahead(const struct disk_guard *g);
/* What each of them has on disk; 0: of one that is not known. */
lsn_t disk_guard_shipped(const struct disk_guard *g);
bool disk_guard_releases(
    const struct disk_guard *g); /* a slot may be let go: not when room is there again */
const char *disk_guard_name(enum disk_guard_step step);

void disk_guard_init(struct disk_guard *g, const struct who *who, struct outgoing *out,
                     struct outbox *outbox, struct gaps *gaps, const struct rates *rates);
void disk_guard_close(struct disk_guard *g); /* accepts a zeroed struct */
void disk_guard_watch(const struct disk_guard *g, struct loop *l);
/* may_ask: PostgreSQL is not needed for a failover. */
void disk_guard_run(struct disk_guard *g, const struct loop *l, bool may_ask, int64_t now_us);

/* The settings of the links were changed: to the links, as this step has it. */
void disk_guard_ship(struct disk_guard *g);

#endif

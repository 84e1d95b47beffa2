/* SPDX-License-Identifier: PostgreSQL */
/*
 * release: a slot that is let go, from the record of what that loses to the new slot.
 *
 * The gap is on disk before the slot is dropped. slot_keep makes the slot anew, from the last
 * checkpoint on; then the gap reaches up to there. Killed in between, a later life goes on by the
 * gap's record.
 */
#ifndef AGENT_RETENTION_RELEASE_H
#define AGENT_RETENTION_RELEASE_H

#include "links/outgoing.h"
#include "retention/gap.h"
#include "retention/outbox.h"

struct release {
    const struct who *who; /* borrowed, as these: */
    struct outgoing *out;
    const struct outbox *outbox;
    struct gaps *gaps;
    char slot[64];      /* that was let go last; until it is there again its WAL is not kept */
    bool resumed;       /* what an earlier life has released was looked up */
    int64_t dropped_us; /* when the drop was asked for */
    lsn_t dropped_lsn;  /* where the slot was */
    int64_t gone_us;    /* since when it is gone; 0: none in this life */
    char text[200];     /* what that lost */
};

void release_init(struct release *r, const struct who *who, struct outgoing *out,
                  const struct outbox *outbox, struct gaps *gaps);
bool release_waits(const struct release *r, int64_t now_us); /* one was let go a moment ago */

/* Let this slot go, or, when its link reads from it, end that: so it is free the next time. */
void release_slot(struct release *r, const struct postgres_sample *s,
                  const struct postgres_slot *slot, uint64_t free_bytes, int64_t now_us);

/* Go on with the release of an earlier life, once. */
void release_resume(struct release *r);
/* Look whether the slot is gone, and there again. True once when it is gone. */
bool release_finish(struct release *r, const struct postgres_sample *s, int64_t now_us);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * reorder: keeps the numbered frames that came over a faster lane than the frames before them:
 * copies of whole frames, still compressed, at most as much as a sender's window has.
 */
#ifndef SHIPPER_WIRE_REORDER_H
#define SHIPPER_WIRE_REORDER_H

#include "shipper/wire/window.h"

struct reorder {
    struct {
        uint8_t *bytes; /* NULL: not here yet */
        size_t length;
    } held[WINDOW_FRAMES];
    uint64_t next; /* number of the frame that is to be taken next */
    size_t bytes;  /* held, at most WINDOW_BYTES */
};

void reorder_clear(struct reorder *r); /* numbers begin at 0 */

/* Keep a copy of frame `number` > next. ERR_PEER: more than a window was sent; ERR_LOCAL. */
int reorder_hold(struct reorder *r, uint64_t number, const uint8_t *bytes, size_t length);

/* The next frame, if it is held: a view of its bytes, valid until reorder_step. */
bool reorder_next(const struct reorder *r, struct buf *ret_view);

/* The next frame was taken, held or not. */
void reorder_step(struct reorder *r);

#endif

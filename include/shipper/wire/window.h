/* SPDX-License-Identifier: PostgreSQL */
/*
 * window: the numbered frames that are under way from a sender, over one lane or several.
 *
 * A frame that is added gets the next number and is kept until the far side acknowledged
 * it in order; it waits until a lane has room, and goes again over another lane when its own dies.
 * No descriptor, no clock.
 *
 * The budget is WINDOW_FRAMES and WINDOW_BYTES, whatever the far side does. It is reserved at
 * intake: before the sender takes WAL it asks whether all frames that it has still to make fit
 * (window_fits, window_wants). window_add spends it, and therefore always has room then;
 * window_acknowledge gives it back. The receiver's bound follows from it: out of order it holds no
 * more than a window (reorder.h).
 *
 * The windows of one agent may share a budget: beyond WINDOW_OWN_BYTES one takes WAL only while all of
 * them hold less than WINDOW_SHARED_BYTES. What is being compressed then may come on top of it.
 *
 * Behind its compression a frame is copied three times: into the window, into a lane's queue, and
 * into the piece that libssh2 must find unmoved. All three together take about 2 % of the time of
 * the compression at level 1.
 */
#ifndef SHIPPER_WIRE_WINDOW_H
#define SHIPPER_WIRE_WINDOW_H

#include "base/buf.h"

#define WINDOW_LANES        8
#define WINDOW_FRAMES       4096u
#define WINDOW_BYTES        (24u << 20) /* 8 lanes with the 2 MB each that OpenSSH takes, and acks */
#define WINDOW_SHARED_BYTES (32u << 20)
#define WINDOW_OWN_BYTES    (4u << 20)   /* so a line that is stuck holds up no other */
#define WINDOW_READY_BYTES  (1u << 20)   /* waiting for a lane: more would only grow old here */
#define WINDOW_LANE_BYTES   (128u << 10) /* a lane's queue is filled up to here */

struct window {
    struct {
        uint8_t *bytes;
        uint32_t length;
        int8_t lane; /* -1: it waits for one */
    } frame[WINDOW_FRAMES];
    uint64_t first;                /* not acknowledged yet */
    uint64_t next;                 /* number of the next frame to be added */
    uint64_t hand;                 /* all before it have a lane */
    size_t bytes;                  /* of all frames held */
    size_t ready;                  /* of those that wait for a lane */
    struct buf *out[WINDOW_LANES]; /* borrowed; NULL: that lane is not up */
    size_t *shared; /* borrowed: what all windows hold that share it; NULL: this one is alone */
};

void window_clear(struct window *w); /* frees the frames, forgets the lanes; numbers begin at 0 */

/* Is there room for so many more frames of any size? */
bool window_fits(const struct window *w, unsigned frames);
/* ... and is there a lane for them soon? */
bool window_wants(const struct window *w, unsigned frames);

/* A copy of a frame whose number stands at FRAME_NUMBER_AT. ERR_AGAIN: the window is full, nothing
 * was taken; ERR_LOCAL without memory. */
int window_add(struct window *w, const uint8_t *bytes, size_t length);

/* The far side has all before `next`, in order. ERR_PEER: it cannot have. */
int window_acknowledge(struct window *w, uint64_t next);

/* Lane i is up with `out`, or (NULL) gone: what it had not delivered waits again. */
void window_lane(struct window *w, unsigned i, struct buf *out);

/* Give waiting frames to the lanes with the shortest queues, at most about `allowance` bytes:
 * count of bytes given. */
size_t window_hand_out(struct window *w, int64_t allowance);

#endif

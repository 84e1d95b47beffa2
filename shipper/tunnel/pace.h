/* SPDX-License-Identifier: PostgreSQL */
/*
 * pace: how much of a stream may be under way, so that WAL on the same line does not wait behind
 * it.
 *
 * A mark (PING) follows each PACE_MARK_BYTES; the time until its answer, less the round trip of the
 * empty line, is the queue on the way. Once per round trip the window is set so that this queue
 * would take PACE_QUEUE_US to empty: a full line stays full, and others wait no longer than that.
 * Of each round trip the least time counts, so that jitter does not. Lines change: every
 * PACE_LOOK_US next to nothing is sent for two round trips, to measure the empty
 * line. (Models: FAST TCP, Jin, Wei and Low 2004; LEDBAT, RFC 6817; BBR's look at the round trip.)
 */
#ifndef TUNNEL_PACE_H
#define TUNNEL_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define PACE_MARK_BYTES 32768u
#define PACE_MARKS      128
#define PACE_QUEUE_US   INT64_C(20000)
#define PACE_LOOK_US    INT64_C(10000000)
#define PACE_WINDOW_MIN (256u << 10)
#define PACE_WINDOW_MAX (PACE_MARKS * PACE_MARK_BYTES) /* more than a channel of SSH takes */

struct pace {
    struct {
        int64_t us; /* when the mark was set, which identifies it */
        uint64_t at;
    } mark[PACE_MARKS];
    unsigned first, count;
    uint64_t sent, answered; /* bytes */
    int64_t base_us;         /* round trip over the empty line; 0: unknown */
    int64_t least_us;        /* least round trip in this round; 0: none yet */
    uint64_t round_end;      /* the round is over when this byte is answered */
    uint64_t window;
    uint64_t ramp;     /* grows to the window after a look, so that there is no burst */
    int64_t looked_us; /* when the empty line was last looked for */
    unsigned looking;  /* round trips of a look that are left */
    bool full;         /* the window was the limit in this round */
    bool met;          /* the line's limit was met once: until then the window doubles */
};

void pace_init(struct pace *p, int64_t now_us);

/* The round trip of the empty line, as somebody else knows it; 0: unknown. */
void pace_hint(struct pace *p, int64_t round_trip_us);

/* Bytes went out. True: a PING of *ret_mark_us (now, or the next unused time) has to follow. */
bool pace_sent(struct pace *p, uint64_t bytes, int64_t now_us, int64_t *ret_mark_us);
void pace_answered(struct pace *p, int64_t mark_us, int64_t now_us);

bool pace_allows(struct pace *p); /* may more go out? */

#endif

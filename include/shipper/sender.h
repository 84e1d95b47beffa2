/*
 * sender: the primary's half of a link, as a pure state machine: frames and WAL in, frames out.
 *
 * It greets, learns where to start, wraps WAL into frames as long as `out` has room, stamps
 * beacons, counts what comes back. No descriptor, no clock of its own: time comes as an argument,
 * bytes go through a struct buf, so that a simulation can run it. One sender per link; it outlives
 * connections: beacons pile up (bounded) while the link is down and go ahead of the backlog.
 *
 * Errors: ERR_PEER: the far side refused, left or broke the protocol (drop the lane, dial again;
 * `refusal` tells what kind of refusal it was); ERR_AGAIN: `out` is full, nothing was taken.
 */
#ifndef SHIPPER_SENDER_H
#define SHIPPER_SENDER_H

#include "base/buf.h"
#include "shipper/beacon.h"
#include "shipper/frame.h"

#include <stdbool.h>

enum sender_state {
    SENDER_IDLE,     /* no connection */
    SENDER_GREETING, /* HELLO is out */
    SENDER_ACCEPTED, /* WAL may flow from resume_lsn on */
};

struct sender {
    struct buf *out; /* of the connection; NULL when idle */
    struct codec *codec;
    enum sender_state state;
    int64_t greeted_us, pinged_us, heard_us;
    int64_t seen_us; /* the last frame of a far agent that is no refusal, in this life; 0: none */

    timeline_t resume_timeline; /* what ACCEPT said */
    lsn_t resume_lsn;
    timeline_t sent_timeline;
    lsn_t
        sent; /* end of the last WAL put into out on this connection; resume_lsn before the first */

    struct ack far;    /* the last ACK; positions never go back over connections */
    bool far_known;    /* an ACK came in this life */
    bool far_compared; /* all that is flushed there was compared in this session: it is our WAL */
    bool far_changed;  /* since the caller last looked: it clears this */
    bool pool_news;    /* a POOL came: look at `pool`, clear this */
    struct epoch_origin pool;
    bool drain_asked; /* DRAIN came: ship what the dead server left, then sender_drained; clear this
                       */
    bool refused; /* ended by REFUSE: look at refusal and refusal_origin; cleared by sender_open */
    enum refuse_kind refusal;
    struct epoch_origin refusal_origin;
    uint64_t far_digest;
    enum pong_postgres postgres; /* of this side, told in every PONG: the caller keeps it true */

    struct lag received, flushed, applied; /* as acknowledged; pending ones are in flushed */
    struct beacon stamped;                 /* the newest beacon given to sender_beacon */
    struct clock_offset offset;

    uint64_t wal_bytes, frames, wire_bytes; /* WAL before compression, WAL frames, their bytes */
    uint64_t acks;
};

void sender_init(struct sender *s, struct codec *codec);

/* The lane is up: say HELLO into `out` (borrowed until sender_close). 0 or ERR_AGAIN. */
int sender_open(struct sender *s, struct buf *out, const struct hello *hello, int64_t now_us);
void sender_close(struct sender *s);

/* One frame from the far side (wall_us only labels). */
int sender_frame(struct sender *s, const struct frame *f, int64_t now_us, int64_t wall_us);

/* More WAL is welcome: accepted, and `out` is less than half full. */
bool sender_wants(const struct sender *s);
int sender_wal(struct sender *s, timeline_t timeline, lsn_t lsn, const void *bytes, size_t n);
int sender_history(struct sender *s, timeline_t timeline, const char *text, size_t length);
int sender_drained(struct sender *s, bool done, timeline_t timeline, lsn_t end, const char *reason);

/* A sample of the primary: also while there is no connection. */
void sender_beacon(struct sender *s, const struct beacon *b);

/* PING each second, and a greeting that stays without answer for 5 s is ERR_PEER. */
int sender_tick(struct sender *s, int64_t now_us);
int64_t sender_due_us(const struct sender *s);

#endif

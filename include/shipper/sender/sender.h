/* SPDX-License-Identifier: PostgreSQL */
/*
 * sender: the primary's half of a link, as a pure state machine: frames and WAL in, frames out.
 *
 * It greets, learns where to start, wraps WAL into frames while `out` has room, stamps beacons,
 * counts the ACKs. No descriptor, no clock of its own: time comes as an argument, bytes go through
 * a struct buf per lane, so that a simulation can run it. One sender per link; it outlives
 * connections: beacons pile up (bounded) while the link is down and go ahead of the backlog. A
 * session may have several lanes: numbered frames go over all of them (window.h), the rest over the
 * first lane that is up.
 *
 * Errors: ERR_PEER: the far side refused, left or broke the protocol (drop the lane, dial again;
 * `refusal` tells the kind of refusal); ERR_AGAIN: `out` or the window is full, nothing was taken.
 */
#ifndef SHIPPER_SENDER_SENDER_H
#define SHIPPER_SENDER_SENDER_H

#include "base/buf.h"
#include "shipper/wire/beacon.h"
#include "shipper/wire/frame.h"
#include "shipper/wire/window.h"

#include <stdbool.h>

#define SENDER_STREAMS_MAX 16

enum sender_state {
    SENDER_IDLE,     /* no connection */
    SENDER_GREETING, /* HELLO is out */
    SENDER_ACCEPTED, /* WAL may flow from resume_lsn on */
};

struct sender {
    struct buf *out; /* of the first lane that is up; NULL when idle */
    struct window window;
    struct codec *codec;
    enum sender_state state;
    uint32_t segment_bytes;
    int64_t greeted_us, pinged_us, heard_us;
    int64_t seen_us; /* when the last frame but a refusal came, in this life; 0: none came */

    timeline_t resume_timeline; /* from ACCEPT */
    lsn_t resume_lsn;
    timeline_t sent_timeline;
    lsn_t sent;     /* end of the last WAL taken in this session; resume_lsn before the first */
    lsn_t furthest; /* the highest `sent` so far: a new timeline's segment comes again */

    struct ack far;     /* the last ACK; flushed never goes back over connections,
                        * unless ACCEPT says that the far side has lost what it had, an ACK
                        * that it is of no use there, or who feeds it instead */
    bool far_known;     /* an ACK came in this life */
    bool far_compared;  /* all WAL that is flushed there was compared in this session, or in that of
                         * who feeds it instead: it is ours */
    lsn_t far_has;      /* received, as the last ACK of this session says; LSN_UNKNOWN: none came */
    bool doubted;       /* this session compared WAL of an earlier life of the server: it tells none
                         * of this one's beacons; the caller ends it, or clears this */
    bool far_changed;   /* since the caller last looked, who clears this */
    struct epoch epoch; /* of the last HELLO; number 0: of none that `far` could be of */
    bool drain_asked; /* DRAIN came: ship what the dead server left, then sender_drained; clear this
                       */
    struct tunnel_request stream_asked[SENDER_STREAMS_MAX]; /* TUNNELs that came (no reason in
                                                               them) */
    unsigned streams_asked;                                 /* the caller sets it to 0 */
    struct echo echo;                                       /* of this session */
    bool refused; /* ended by REFUSE: look at refusal; cleared by sender_open */
    enum refuse_kind refusal;
    int64_t denied_us;  /* when its agent last refused; 0: not since it has accepted */
    int64_t refused_us; /* when it was last refused so that a DBA has to act */
    uint64_t far_digest;
    enum pong_postgres postgres; /* of this side, told in every PONG; set by the caller */

    struct lag received, flushed, applied; /* as acknowledged; pending ones are in flushed */
    bool commits_wait;                     /* set by the caller: told with each beacon */
    struct beacon stamped;                 /* the newest beacon given to sender_beacon */
    bool older; /* the server has less WAL than it had: it was restored, and the far side has not
                 * compared its WAL since */
    struct clock_offset offset;

    void (*file)(void *context, const struct frame *f); /* a FILE came; NULL: nobody keeps it */
    void *file_context;
    void (*pool)(void *context, const struct frame *f);    /* a POOL came; NULL: nobody listens */
    void (*promise)(void *context, const struct frame *f); /* a PROMISE came; the same */
    void *pool_context;                                    /* of both */
    uint64_t wal_bytes, frames, wire_bytes; /* WAL before compression, WAL frames, their bytes */
    uint64_t acks;
    int64_t round_trip_us; /* the least in this session; 0: unknown */
    uint64_t handed;       /* wire bytes given to lanes so far */
    int64_t allowance;     /* wire bytes that may be given to the lanes now (the caller's limit) */
};

void sender_init(struct sender *s, struct codec *codec);

/* Lane 0 is up: say HELLO into `out` (borrowed until sender_close). 0 or ERR_AGAIN. */
int sender_open(struct sender *s, struct buf *out, const struct hello *hello, int64_t now_us);
void sender_close(struct sender *s);

/* A lane joins the session, or (NULL) has ended: its frames go again. False: it was the last. */
bool sender_lane(struct sender *s, unsigned lane, struct buf *out);

/* Forget the far side's positions: this side is no primary any more. */
void sender_forget(struct sender *s);

/* Another member feeds the far side, and tells where its compared WAL stands: that is known of it while
 * no session here is. Its beacons are not. */
void sender_relayed(struct sender *s, const struct epoch *epoch, const struct member_position *at);

/* The server was away, and may have been put back: what the far side has is not known to be its WAL
 * until another session has compared it, and no beacon of before is one of its own. */
void sender_doubt(struct sender *s);

/* One frame from the far side (wall_us only labels). */
int sender_frame(struct sender *s, const struct frame *f, int64_t now_us, int64_t wall_us);

/* More WAL is welcome: accepted, and the window has room for so many frames. */
bool sender_wants(const struct sender *s, unsigned frames);
/* A WAL frame from frame_put_wal: n bytes of WAL from lsn. */
int sender_wal_frame(struct sender *s, timeline_t timeline, lsn_t lsn, size_t n,
                     const uint8_t *frame, size_t length);
/* WAL of 1 to FRAME_WAL_MAX bytes: one frame, as HISTORY and DRAINED are. */
int sender_wal(struct sender *s, timeline_t timeline, lsn_t lsn, const void *bytes, size_t n);
int sender_history(struct sender *s, timeline_t timeline, const char *text, size_t length);
int sender_drained(struct sender *s, bool done, timeline_t timeline, lsn_t end, const char *reason);

/*
 * The WAL at `sent` is gone here. If the far side ends on a segment's border and wants the segment
 * before it for comparison only, nothing is lacking: go on at the border. (A server that was put
 * back would have that segment: its slot, put back with it, keeps all since then.) False: it lacks.
 */
bool sender_skip_comparison(struct sender *s, const char *member);

/* Give waiting frames to lanes that have room. */
void sender_hand_out(struct sender *s);

/* A sample of the primary: also while there is no connection. */
void sender_beacon(struct sender *s, const struct beacon *b);

/* A FILE, POOL or PROMISE frame, in a session; 0, ERR_AGAIN (no room now) or ERR_PEER (no session). */
int sender_tell(struct sender *s, const struct frame *f);

/* PING each second; ERR_PEER: HELLO had no answer for 5 s. */
int sender_tick(struct sender *s, int64_t now_us);
int64_t sender_due_us(const struct sender *s);

#endif

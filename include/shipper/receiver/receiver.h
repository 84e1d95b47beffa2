/* SPDX-License-Identifier: PostgreSQL */
/*
 * receiver: the standby's half of a link, as a pure state machine: frames in, WAL into the spool,
 * frames out. No descriptor and no clock of its own; the spool reaches the disk through durable.h.
 *
 * It takes no WAL before receiver_accept (the caller has judged HELLO: pool, epoch, member), and
 * then only WAL that continues the spool. It acknowledges the spool's positions: received when
 * written, flushed when flushed; applied is the local standby's word.
 * WAL that the local standby cannot replay counts as received only (receiver_detach).
 *
 * Errors: ERR_PEER: drop the session; ERR_AGAIN: the spool waits for a flush, give the same frame
 * again afterwards; ERR_LOCAL and ERR_CORRUPT as the spool has them.
 */
#ifndef SHIPPER_RECEIVER_RECEIVER_H
#define SHIPPER_RECEIVER_RECEIVER_H

#include "base/buf.h"
#include "shipper/wire/beacon.h"
#include "shipper/wire/frame.h"
#include "shipper/wire/reorder.h"
#include "shipper/wal/spool.h"

#include <stdbool.h>

struct receiver {
    struct spool *spool; /* borrowed for life */
    struct spool *into;  /* takes the WAL of this session: spool, or one of WAL that lies before it;
                          * the caller changes it between sessions only */
    bool detached;       /* see receiver_detach */
    struct codec *codec;
    uint8_t *scratch; /* FRAME_WAL_MAX bytes for decoded WAL, borrowed */
    struct buf *out;  /* of the lane that answers; NULL when there is no session */
    struct reorder reorder;
    /* told in ACKs; the caller sets them */
    bool busy; /* bytes that came wait to be taken */
    bool
        fenced; /* the PostgreSQL here cannot replay what comes: it is on disk, and covers nothing */
    char from[MEMBER_NAME_SIZE];   /* who ships; its clock dates all beacons here */
    char origin[MEMBER_NAME_SIZE]; /* whose WAL that is: the epoch's member, or also `from` */
    timeline_t primary_timeline;
    uint64_t far_digest;
    int64_t heard_us, pinged_us, opened_us;
    bool commits_wait; /* for our flush, by the far side's word: else a flush need not hurry */

    lsn_t compared;  /* end of the WAL that came in this session */
    struct ack said; /* the last ACK */
    bool said_any;
    uint64_t said_bytes; /* wal_bytes then */
    int64_t held_us;     /* since when an ACK is held back for the next flush; 0: none is */

    /* the far PostgreSQL by the session's last PONG: its state at some time after postgres_us, when
     * the PING was sent (the line may have held the PONG for long) */
    enum pong_postgres postgres;
    int64_t postgres_us;
    bool shut;    /* frames with a number are dropped */
    bool dropped; /* ... and some were: only another session brings them again */
    bool drained; /* DRAINED came: look and clear */
    bool drained_done;
    lsn_t drained_end;
    char drained_reason[256];
    char waits[FRAME_REASON_MAX]; /* why the far side sends no WAL, in its words; "": it sends */

    uint64_t stream_refused; /* the number of a stream that was refused: look and clear */
    char stream_reason[FRAME_REASON_MAX];

    /* time is the primary's monotonic clock: ours + offset */
    struct lag received, flushed, applied;
    struct beacon stamped; /* the newest beacon received */
    int64_t proven_us;     /* beacons up to then are of a server whose WAL was compared */
    bool older; /* the primary has less WAL than it had: it was restored, and nothing was compared
                   since */
    struct clock_offset offset;
    void (*file)(void *context, const struct frame *f); /* a FILE came; NULL: nobody keeps it */
    void *file_context;
    void (*promise)(void *context, const struct frame *f); /* an answer to a PROMISE came */
    void *promise_context;
    /* A POOL came; NULL: nobody listens. This session was dialled from there: no word of it is to be
     * believed (frame.h) but who ships to whom. */
    void (*pool)(void *context, const struct frame *f);
    void *pool_context;
    struct echo echo; /* of this session */
    uint64_t wal_bytes, wire_bytes, frames;
};

void receiver_init(struct receiver *r, struct spool *spool, struct codec *codec, uint8_t *scratch);

/*
 * Would the WAL that this HELLO announces continue our WAL? 0, or ERR_CORRUPT / ERR_LOCAL with the
 * reason for REFUSE. Changes nothing.
 */
int receiver_judge(const struct receiver *r, const struct hello *hello);

/*
 * Start a session that was judged: adopt identity and history, say ACCEPT. wanted_* is where an
 * empty spool shall start (0, 0, off the primary's lineage or beyond its end: where the slot does).
 */
int receiver_accept(struct receiver *r, struct buf *out, const struct hello *hello,
                    timeline_t wanted_timeline, lsn_t wanted, uint64_t config_digest,
                    int64_t now_us);
void receiver_close(struct receiver *r);
/* Forget what was known of the primary: this side is no standby any more. */
void receiver_forget(struct receiver *r);
/* What the local standby has applied is of another lineage: nothing of before counts. */
void receiver_forget_applied(struct receiver *r);
bool receiver_live(const struct receiver *r);
/* Is there a session, of another member than the one whose WAL it brings? */
bool receiver_relayed(const struct receiver *r);

/* Take no WAL, but hear everything else; or take it again, once the session was ended if anything
 * was dropped. */
void receiver_shut(struct receiver *r, bool shut);

/* Another lane of the session answers from now on: the last one ended. */
void receiver_lane(struct receiver *r, struct buf *out);

int receiver_frame(struct receiver *r, const struct frame *f, int64_t now_us, int64_t wall_us);

/* Take the frames that came out of order and have their turn now, before more frames are given.
 * ERR_AGAIN: the spool waits for a flush, give none. */
int receiver_go_on(struct receiver *r, int64_t now_us);

/* Say ACK if a position moved since the last ACK. A move of received waits a moment for the next
 * flush, and so does a move of applied while no commit waits: one ACK for all. standby_* are the
 * local standby's; applied 0 unknown. */
void receiver_report(struct receiver *r, lsn_t applied, uint64_t xmin, uint64_t catalog_xmin,
                     bool standby_connected, int64_t now_us);

/* Does the local standby lack WAL from before the spool? Then what is in the spool is durable for
 * nobody: no beacon is covered, and flushed is unknown. */
void receiver_detach(struct receiver *r, bool detached);

/* PING each second; nothing heard for 5 s is ERR_PEER. Time that waits for the spool counts as
 * heard. */
int receiver_tick(struct receiver *r, int64_t now_us);
int64_t receiver_due_us(const struct receiver *r);

/* A FILE frame, in a session; 0, ERR_AGAIN (no room now) or ERR_PEER (no session). */
int receiver_file(struct receiver *r, const struct frame *f);

/* Ask for an answer now, or for the rest of a dead server's WAL. */
void receiver_ping(struct receiver *r, int64_t now_us);
int receiver_ask_drain(struct receiver *r);
/* Ask the far side for a stream; stream_refused tells of a refusal. */
int receiver_ask_stream(struct receiver *r, const struct tunnel_request *request);
/* A POOL or PROMISE frame, in a session. */
int receiver_tell(struct receiver *r, const struct frame *f);

/* Was all that is flushed here compared with the WAL of this session, or of the last one? */
bool receiver_compared(const struct receiver *r);

/* The primary's monotonic clock now; false: no PONG has come, and there was no record. */
bool receiver_primary_us(const struct receiver *r, int64_t now_us, int64_t *ret_us);

/* The record that is kept across restarts (beacon.h). */
void receiver_remember(struct receiver *r, const struct lag_record *record, int64_t now_us);
void receiver_record(const struct receiver *r, struct lag_record *ret_record);

#endif

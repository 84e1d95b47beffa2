/* SPDX-License-Identifier: PostgreSQL */
/*
 * stream: one client's bytes to a service of another member and back, over one SSH connection of
 * its own, compressed in both directions.
 *
 * Bytes read from the local socket become DATA frames (frame.h) at once: none waits for more. When
 * the connection is full, reading stops; when the client does not read, so does the far side. WAL
 * is on other connections, and pace.h keeps it from waiting behind the stream on the line. Large
 * pieces are compressed and decoded by the caller's workers.
 *
 * The end: when the local socket closes, the bytes read from it are sent, then GOODBYE; the far
 * side delivers them, closes its socket, and hangs up. Without GOODBYE the stream broke: the local
 * socket is closed at once. A stream with nothing to say says PING three times a minute, one that
 * hears nothing for a minute is over.
 */
#ifndef SHIPPER_TUNNEL_STREAM_H
#define SHIPPER_TUNNEL_STREAM_H

#include "base/workers.h"
#include "base/loop.h"
#include "shipper/wire/frame.h"
#include "shipper/tunnel/gate.h"
#include "shipper/receiver/inlet.h"
#include "shipper/ssh/lane.h"
#include "tunnel/pace.h"

#define STREAM_PIECES 4

/* The unit of work for the workers. */
struct piece {
    struct workers_job job;
    bool given; /* to the workers, and not collected yet */
    int code;   /* of the job */
    void *zstd; /* the direction's ZSTD_CCtx or ZSTD_DCtx */
    struct buf plain, packed;
    size_t decoded_bytes; /* the size that `packed` must decode to */
};

/* One direction: a ring of pieces. Up: plain bytes are filled in at `head`, packed ones leave at
 * `tail`; down: the other way round. */
struct half {
    struct piece piece[STREAM_PIECES];
    unsigned head, tail; /* counted on without end; equal: none is under way */
    uint64_t bytes;      /* plain, so far */
};

struct stream {
    struct workers *workers; /* borrowed */
    struct lane *lane;       /* dialled; NULL: handed */
    struct handed handed;    /* accepted */
    int local;               /* owned; -1: not yet, or no longer */
    struct gate *gate;       /* borrowed: judges the bytes for `local`; NULL: none */
    bool open;               /* DATA may flow */
    struct half up, down;    /* from the local socket; to it */
    struct pace pace;        /* of `up` */
    bool local_ended, far_ended, said_goodbye;
    int broken; /* the error that broke the connection, for `reason` */
    char reason[FRAME_REASON_MAX];
    bool more; /* there is work that poll does not see */
    int64_t heard_us, said_us, leaving_us;
};

/* Both begin a stream in zeroed memory; stream_release ends it in any state. The handed
 * descriptors and buffers are the stream's from here on, also after an error. */
int stream_dial(struct stream *s, struct workers *workers, const struct lane_target *target,
                int64_t now_us);
int stream_adopt(struct stream *s, struct workers *workers, struct handed *handed, int64_t now_us);
void stream_release(struct stream *s);

/* Hang up, and say whether stream_release would not wait: getaddrinfo cannot be interrupted. */
bool stream_settled(struct stream *s);

/* Go on with whatever is possible. 0; when it is over, ERR_PEER and `reason` ("": in order). */
int stream_run(struct stream *s, const struct loop *loop, int64_t now_us);
void stream_watch(const struct stream *s, struct loop *loop);

/* The greeting, before stream_open: frames by hand. */
/* The round trip of the line, as somebody else knows it; 0: unknown. */
void stream_hint(struct stream *s, int64_t round_trip_us);
bool stream_up(const struct stream *s);
int stream_next(struct stream *s, struct frame *ret_frame); /* as frame_next */
void stream_consume(struct stream *s, const struct frame *frame);
int stream_put(struct stream *s, const struct frame *frame);

/* From here on DATA. Without a local socket the bytes that come are held (in the gate, if there is
 * one) until stream_connect gives one, which the stream then owns. */
int stream_open(struct stream *s);
void stream_connect(struct stream *s, int local);
/* Bytes of our own to the far side. ERR_AGAIN: no room, it does not read. */
int stream_say(struct stream *s, const void *bytes, size_t n);
/* No local socket any more: send the bytes of stream_say, then GOODBYE. The stream is over within
 * seconds, even if the far side never reads them. */
void stream_end(struct stream *s);

#endif

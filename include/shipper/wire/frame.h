/* SPDX-License-Identifier: PostgreSQL */
/*
 * frame: the wire between two agents. This comment is the specification.
 *
 * A link is a stream of frames in both directions; numbers are in network byte order, strings end
 * with a 0 byte.
 *
 *   u32 length of what follows (1 .. FRAME_BYTES_MAX)   u8 type   body
 *
 * The primary's side (sender) speaks first: HELLO. The standby's side (receiver) answers ACCEPT or
 * REFUSE. Then WAL, HISTORY, BEACON, DRAINED and WAITS flow to the receiver, ACK, DRAIN and POOL to
 * the sender, PING, PONG, TUNNEL, FILE and GOODBYE both ways.
 *
 *    1 HELLO    u32 magic "WFRY", u16 protocol (4), string pool, u64 system identifier,
 *               u32 segment bytes, u16 PostgreSQL major, string from, string to, u64 epoch number,
 *               string epoch member, u64 incarnation, u8 lane, u32 timeline, u64 config digest,
 *               rest: the timeline's history file ("" on timeline 1)
 *    2 ACCEPT   u32 timeline, u64 LSN to start from (0, 0: a fresh spool, start where the slot
 *               does), u64 config digest
 *    3 REFUSE   u8 kind (enum refuse_kind), u64 epoch number, string epoch member, u32 timeline and
 *               u64 fork LSN of that epoch, string reason (shown to the DBA on both sides)
 *    4 WAL      u64 number, u32 timeline, u64 LSN of the first byte, u8 codec (0 none, 1 one zstd
 *               frame), u32 decoded length (1 .. FRAME_WAL_MAX), rest: the bytes
 *    5 ACK      u32 timeline, u64 received, u64 flushed, u64 applied (0 unknown), u64 compared (end
 *               of the WAL that came in this session: up to there both sides hold the same bytes),
 *               u64 number of the next frame wanted (all before it came, in order), u64 xmin,
 *               u64 catalog xmin (epoch << 32 | xid; 0 none), u8 flags (1 the standby is connected,
 *               2 busy: what comes waits in the receiver, not on the line), three beacons: the
 *               newest ones that received, flushed and applied cover (LSN 0: none)
 *    6 BEACON   u64 LSN, u64 primary's wall clock, u64 primary's monotonic clock (microseconds),
 *               u8 flags (1 commits wait for a standby: flush at once)
 *    7 PING     u64 sender's monotonic clock
 *    8 PONG     u64 the PING's value, u64 answerer's monotonic clock, u64 its wall clock,
 *               u8 state of its PostgreSQL (enum pong_postgres)
 *    9 HISTORY  u64 number, u32 timeline, rest: its history file (the receiver makes its name)
 *   10 POOL     u64 epoch number, string epoch member, u32 timeline, u64 fork LSN
 *   11 DRAIN    nothing. A request: ship what your dead PostgreSQL has left in pg_wal
 *   12 DRAINED  u64 number, u8 1 done or 0 not, u32 timeline, u64 its end of WAL, string why not
 *   13 GOODBYE  string reason
 *   14 TUNNEL   u16 protocol, string pool, string from, string to, u64 number, u8 service (enum
 *               tunnel_service), string reason
 *   15 DATA     u32 decoded length (1 .. FRAME_DATA_MAX), rest: the next piece of this direction's
 *               zstd stream, flushed: it decodes to exactly that many bytes
 *   16 WAITS    string why no WAL comes; "": it comes again
 *   17 FILE     string path, u64 mtime (microseconds of 1970), u32 mode, rest: its bytes, at most
 *               FRAME_FILE_MAX: a file outside the WAL, to be kept
 *
 * Any other type ends the session, and the message names it. Every decoder survives any bytes at
 * all; decoded sizes are bounded before anything is decoded.
 *
 * An incarnation is the time at the start of an agent and chance (which makes it the session's
 * secret), and grows by one with each dial.
 *
 * Lanes: a HELLO with lane 0 begins a session; one with another lane joins the living session of
 * the same member and incarnation and is answered by an ACCEPT of zeros, or a REFUSE. From then on
 * a frame may come over any of the session's lanes; the session lives while one lane does.
 * WAL, HISTORY and DRAINED are numbered from 0 in each session and are taken in that order. A frame
 * that comes again is dropped; frames that a dead lane had not delivered come again over another.
 *
 * A HELLO with lane HELLO_KNOCKS only asks whether its sender would be let in: REFUSE_RETRY says
 * yes (its reason ends with KNOCK_NO_TUNNEL where the key leads to no tunnel), another REFUSE why
 * not. Of its other fields only pool, from and to count; no session begins or ends.
 *
 * Streams: an SSH connection that begins with TUNNEL instead of HELLO is a byte pipe to a service
 * of one of the two members. Number 0: the dialler wants it. Another number: the far side has asked
 * for it, with a TUNNEL of that number over a link that it receives; the answer is a connection
 * that begins with the same number, or over the link the number and the reason why not. ACCEPT of
 * zeros or REFUSE answers, then DATA goes both ways, PING after a while without other frames, and
 * GOODBYE at the end (reason "": the service or the client was done).
 */
#ifndef SHIPPER_WIRE_FRAME_H
#define SHIPPER_WIRE_FRAME_H

#include "base/buf.h"
#include "base/identity.h"

#define FRAME_PROTOCOL    4
#define FRAME_WAL_MAX     (128u << 10) /* decoded; what a walsender sends at once */
#define FRAME_DATA_MAX    (120u << 10) /* decoded; fits a frame also when it gets no smaller */
#define FRAME_BYTES_MAX   (FRAME_WAL_MAX + 64)
#define FRAME_REASON_MAX  1024
#define HELLO_KNOCKS      255 /* as its lane */
#define KNOCK_NO_TUNNEL   ", but not to a tunnel"
#define FRAME_FILE_MAX    (48u << 10)
#define FRAME_PATH_MAX    256
#define FRAME_TIME_MAX_US (INT64_C(1) << 58) /* either way: some thousand years */
#define FRAME_NUMBER_AT   5                  /* where a numbered frame has its number */

enum frame_type {
    FRAME_HELLO = 1,
    FRAME_ACCEPT,
    FRAME_REFUSE,
    FRAME_WAL,
    FRAME_ACK,
    FRAME_BEACON,
    FRAME_PING,
    FRAME_PONG,
    FRAME_HISTORY,
    FRAME_POOL,
    FRAME_DRAIN,
    FRAME_DRAINED,
    FRAME_GOODBYE,
    FRAME_TUNNEL,
    FRAME_DATA,
    FRAME_WAITS,
    FRAME_FILE,
};

enum refuse_kind {
    REFUSE_RETRY = 0,    /* not now: dial again */
    REFUSE_OPERATOR = 1, /* an operator has to do something first; dial again, but seldom */
    REFUSE_EPOCH = 2,    /* your epoch is lower than the one given */
    REFUSE_CONFLICT = 3, /* the same epoch number names another primary: both stop */
};

enum pong_postgres {
    PONG_POSTGRES_UNKNOWN = 0,
    PONG_POSTGRES_ANSWERS = 1,
    PONG_POSTGRES_SILENT = 2, /* a postmaster is there but does not answer */
    PONG_POSTGRES_DEAD = 3,   /* no postmaster */
};

/* What a stream leads to, of the member at its other end. */
enum tunnel_service {
    TUNNEL_POSTGRES = 1, /* the primary's PostgreSQL, for the role tunnel_user */
    TUNNEL_CONTROL = 2,  /* the agent's control socket */
    TUNNEL_RELAY = 3,    /* the agent's relay */
};

/* How an epoch began: the primary's timeline and where it forked; zeros for the first. */
struct epoch_origin {
    struct epoch epoch;
    timeline_t timeline;
    lsn_t fork;
};

struct hello {
    uint16_t protocol;
    char pool[MEMBER_NAME_SIZE];
    struct identity identity;
    char from[MEMBER_NAME_SIZE], to[MEMBER_NAME_SIZE];
    struct epoch epoch;
    uint64_t incarnation;
    uint8_t lane;
    timeline_t timeline;
    uint64_t config_digest;
    const char *history; /* borrowed, not 0-terminated */
    size_t history_bytes;
};

struct beacon {
    lsn_t lsn;
    int64_t wall_us, mono_us; /* the primary's clocks, read before the LSN */
};

struct ack {
    timeline_t timeline;
    lsn_t received, flushed, applied, compared;
    uint64_t next;
    uint64_t xmin, catalog_xmin;
    bool standby_connected, busy;
    struct beacon received_beacon, flushed_beacon,
        applied_beacon; /* the newest ones covered; lsn 0: none */
};

struct tunnel_request {
    uint16_t protocol;
    char pool[MEMBER_NAME_SIZE], from[MEMBER_NAME_SIZE], to[MEMBER_NAME_SIZE];
    uint64_t number;
    enum tunnel_service service;
    const char *reason; /* borrowed */
};

bool ack_equal(const struct ack *a, const struct ack *b);

/* Pointers reach into the decoded bytes: valid until those are consumed. */
struct frame {
    enum frame_type type;
    size_t bytes;       /* of the whole frame: consume these when done with it */
    const uint8_t *raw; /* where it begins */
    uint64_t number;    /* of WAL, HISTORY and DRAINED */
    union {
        struct hello hello;
        struct {
            timeline_t timeline;
            lsn_t lsn;
            uint64_t config_digest;
        } accept;
        struct {
            enum refuse_kind kind;
            struct epoch_origin origin;
            const char *reason;
        } refuse;
        struct {
            timeline_t timeline;
            lsn_t lsn;
            uint8_t codec;
            uint32_t decoded_bytes;
            const uint8_t *bytes;
            size_t length;
        } wal;
        struct ack ack;
        struct {
            struct beacon stamp;
            bool commits_wait;
        } beacon;
        struct {
            int64_t sent_us;
        } ping;
        struct {
            int64_t sent_us, mono_us, wall_us;
            enum pong_postgres postgres;
        } pong;
        struct {
            timeline_t timeline;
            const char *text;
            size_t length;
        } history;
        struct epoch_origin pool;
        struct {
            bool done;
            timeline_t timeline;
            lsn_t end;
            const char *reason;
        } drained;
        struct {
            const char *reason;
        } goodbye, waits;
        struct tunnel_request tunnel;
        struct {
            uint32_t decoded_bytes;
            const uint8_t *bytes;
            size_t length;
        } data;
        struct {
            const char *path;
            int64_t modified_us;
            uint32_t mode;
            const uint8_t *bytes;
            size_t length;
        } file;
    };
};

/* 1: the frame at the start of `in`; 0: not all of it is there; ERR_PEER: it is not a frame. */
int frame_next(const struct buf *in, struct frame *ret_frame);

/* WAL, HISTORY, DRAINED: taken in the order of their numbers. */
bool frame_numbered(enum frame_type type);

/* Any type but WAL; a number is written as 0 (window_add sets it). 0, or ERR_AGAIN when `out` has
 * no room: nothing was written. */
int frame_put(struct buf *out, const struct frame *frame);

/* WAL of 1 to FRAME_WAL_MAX bytes, compressed if that makes it smaller (codec borrowed). */
struct codec;
int frame_put_wal(struct buf *out, struct codec *codec, timeline_t timeline, lsn_t lsn,
                  const void *bytes, size_t n);

/* Short forms of frame_put. */
int frame_put_refuse(struct buf *out, enum refuse_kind kind, const struct epoch_origin *origin,
                     const char *reason);
int frame_put_goodbye(struct buf *out, const char *reason);

#endif

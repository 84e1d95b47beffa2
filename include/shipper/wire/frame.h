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
 * REFUSE. Then WAL, HISTORY, BEACON, DRAINED and WAITS flow to the receiver, ACK and DRAIN to the
 * sender, POOL, PING, PONG, TUNNEL, FILE, PROMISE and GOODBYE both ways.
 *
 *    1 HELLO    u32 magic "WFRY", u16 lowest and u16 highest protocol spoken (the highest that both
 *               speak is used), string pool, u64 system identifier, u32 segment bytes,
 *               u16 PostgreSQL major, string from, string to, u64 epoch number, string epoch member,
 *               u64 incarnation, u8 lane, u32 timeline, u64 config digest, path, u32 length and
 *               text of the timeline's history file ("" on timeline 1), fields
 *    2 ACCEPT   u32 timeline, u64 LSN to start from (0, 0: a fresh spool, start where the slot
 *               does), u64 config digest, fields
 *    3 REFUSE   u8 kind (enum refuse_kind), u64 epoch number, string epoch member, u32 timeline and
 *               u64 fork LSN of that epoch, string reason (shown to the DBA on both sides), fields.
 *               Protocol 4 has the same, so an agent that speaks it is told why, too
 *    4 WAL      u64 number, u32 timeline, u64 LSN of the first byte, u8 codec (0 none, 1 one zstd
 *               frame), u32 decoded length (1 .. FRAME_WAL_MAX), rest: the bytes
 *    5 ACK      u32 timeline, u64 received, u64 flushed (0: nothing that the standby there could
 *               replay), u64 applied (0 unknown), u64 compared (end of the WAL that came in this
 *               session: up to there both sides hold the same bytes), u64 number of the next frame
 *               wanted (all before it came, in order), u64 xmin, u64 catalog xmin (epoch << 32 |
 *               xid; 0 none), u8 flags (1 the standby is connected, 2 busy: what comes waits in the
 *               receiver, not on the line, 4 fenced: its PostgreSQL cannot replay what is flushed,
 *               no commit may count on it), three beacons: the newest ones that received, flushed
 *               and applied cover (LSN 0: none), fields
 *    6 BEACON   u64 LSN, u64 primary's wall clock, u64 primary's monotonic clock (microseconds),
 *               u8 flags (1 commits wait for a standby: flush at once)
 *    7 PING     u64 sender's monotonic clock
 *    8 PONG     u64 the PING's value, u64 answerer's monotonic clock, u64 its wall clock,
 *               u8 state of its PostgreSQL (enum pong_postgres)
 *    9 HISTORY  u64 number, u32 timeline, rest: its history file (the receiver makes its name)
 *   10 POOL     u32 timeline that the pool is on, chain, positions, fields: what the teller knows
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
 *   18 PROMISE  u8 word (enum promise_word), u64 number of the epoch, string asker, u64 nonce,
 *               string reason (of a refusal), fields: see struct promise. Over a link ASK and RETURN
 *               go to the sender, GIVE and REFUSE are its answers
 *   19 HANDOVER reserved for planned role changes; not spoken
 *
 *   path        u8 count (1 .. FRAME_MEMBERS_MAX), so many strings: the members whose WAL it is and
 *               through whom it comes, the primary first, the one that speaks last
 *   chain       u16 count (0 .. FRAME_CHANGES_MAX), oldest first, so many of: u64 epoch number,
 *               string epoch member, u32 timeline, u32 timeline that it forked from, u64 fork LSN,
 *               u64 number and string member of its parent (0, "": none, or unknown), u8 how (enum
 *               epoch_how), u64 wall clock, u8 count (0 .. EPOCH_OVERRULES_MAX) of the epochs that
 *               it overrules, each u64 number and string member. Numbers ascend, and each but the
 *               first has the one before as its parent
 *   positions   u8 count (0 .. FRAME_MEMBERS_MAX), so many of: string member, u32 timeline,
 *               u64 flushed, u64 applied (0 unknown), u64 how long ago that was (microseconds)
 *   fields      to the end of the frame, any number of: u8 tag, u32 length, so many bytes. A tag
 *               that is not known is skipped. There are:
 *                 HELLO 1, u64 incarnation: a knock asks whether that is a session of who is dialled
 *                 HELLO 2, u64 number of the table of routes by which its sender ships
 *                 HELLO 3, u64 incarnation (not 0): a knock that stays, as a quiet session
 *                 POOL 1, u8 (enum session_word, 1 or 2): the answer
 *                 POOL 2, routes, at most once
 *                 POOL 3, news: where members stand
 *                 POOL 4, in the answer to a knock, of the WAL that the teller holds up to its position:
 *                 u64 LSN of the first byte that it can ship (0: it can ship none), a moment of which it
 *                 has all that the primary had committed before: u64 LSN (0: none is known), u64 the
 *                 primary's wall clock, u64 how long ago that was (microseconds); to the field's end
 *                 the history file of the position's timeline ("" on timeline 1)
 *
 *   routes      u64 epoch number, string epoch member, u64 number of the table (not 0), u8 count
 *               (1 .. FRAME_MEMBERS_MAX), so many of: string member, string member that feeds it
 *               ("": it is the primary), u8 why (enum route_why), u8 flags (1 cut, 2 pinned),
 *               u64 since (wall clock). It says who ships to whom, and nothing of whom to believe
 *
 *   news        u64 value of the last PING that came (0: none), u64 microseconds since it came, u8
 *               count (0 .. FRAME_MEMBERS_MAX), so many of: string member, string member that told it
 *               to the teller ("": it was heard of itself, or is it), u64 microseconds since it was so, u8
 *               role (enum role of the judge), u8 state of its PostgreSQL (enum pong_postgres), u32
 *               timeline, u64 received, u64 flushed, u64 applied (0 unknown), u64 age of what is flushed
 *               and u64 of what is applied (-1 unknown), u8 severity (0 none, 1 warning, 2 critical),
 *               string its reason, of printable ASCII
 *
 * Any other type ends the session, and the message names it. Every decoder survives any bytes at
 * all; decoded sizes and numbers are bounded before anything is decoded, and names of members are
 * such as the pool's file may have.
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
 * A HELLO with lane HELLO_KNOCKS only asks: POOL answers what is known here, then REFUSE_RETRY says
 * that its sender would be let in (the reason ends with KNOCK_NO_TUNNEL where the key leads to no
 * tunnel), or only another REFUSE why not. Of the other parts of HELLO only pool, from and to count;
 * no session begins or ends. Before a REFUSE_EPOCH or REFUSE_CONFLICT comes a POOL, too.
 * Behind the POOL a member in which a failover asks says PROMISE_ASK, each time. A knock whose
 * incarnation is not 0 asks for a promise itself: of its epoch, and that is its nonce. It is answered
 * by PROMISE_GIVE once it stands, or by PROMISE_REFUSE; by neither while `from` is asked back whether
 * it asks: then it knocks again.
 * A knock with the first field asks for a word on a session that came in from the one who is dialled, or with
 * its key: OWN, when it has dialled that, since its agent was started, whether or not it is over.
 *
 * Quiet sessions: a knock that stays is answered by POOL alone. Then each side says POOL and PING each
 * second, or at once when its epoch or role changes; with no chain it tells news only. FILE comes, too,
 * and PROMISE_RETURN where a failover has ended without its epoch. Nothing for 5 s: it is over. News go
 * over links, too; they are taken from who was dialled, or in a session that it has called OWN, as FILE
 * and PROMISE_RETURN are, are to be shown, and decide nothing. How old they are counts from the PING that
 * the teller says it had: what a slow line holds up cannot look younger than it is.
 *
 * Whom to believe: only who was dialled is who the pool's file says it is, by its host key. What
 * comes in over a session that was dialled from elsewhere is signed by a key that may be stolen: of
 * epochs it is no more than a reason to knock there, and so is a PROMISE_GIVE. That the server is dead,
 * and has left no more (PONG, DRAINED), counts in a session that its own member has called OWN, and so
 * does a history in whose name the receiver parts with WAL. A later dial of the same start of an agent
 * (session_follows) needs no other word.
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
#include "base/clock.h"
#include "base/identity.h"

#define FRAME_PROTOCOL    5            /* the highest; the lowest, too */
#define FRAME_WAL_MAX     (128u << 10) /* decoded; what a walsender sends at once */
#define FRAME_DATA_MAX    (120u << 10) /* decoded; fits a frame also when it gets no smaller */
#define FRAME_BYTES_MAX   (FRAME_WAL_MAX + 64)
#define FRAME_REASON_MAX  1024
#define HELLO_KNOCKS      255 /* as its lane */
#define KNOCK_NO_TUNNEL   ", but not to a tunnel"
#define FRAME_FILE_MAX    (48u << 10)
#define FRAME_PATH_MAX    256
#define FRAME_MEMBERS_MAX 8
#define FRAME_CHANGES_MAX 256
#define NEWS_REASON_SIZE  160
#define FRAME_HELD_MAX    (8u << 10)         /* of a history in POOL: that of some 180 timelines */
#define FRAME_TIME_MAX_US (INT64_C(1) << 58) /* either way: some thousand years */
#define FRAME_NUMBER_AT   5                  /* where a numbered frame has its number */
#define REDIAL_US         (3 * SECOND_US)    /* a living agent's longest rest between two dials */

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
    FRAME_PROMISE,
};

enum refuse_kind {
    REFUSE_RETRY = 0,    /* not now: dial again */
    REFUSE_OPERATOR = 1, /* an operator has to do something first; dial again, but seldom */
    REFUSE_EPOCH = 2,    /* your epoch is lower than the one given */
    REFUSE_CONFLICT = 3, /* the same epoch number names another primary: both stop */
    REFUSE_ABSENT = 4,   /* as OPERATOR, by `walferry receive`: the member's agent was not asked */
};

enum pong_postgres {
    PONG_POSTGRES_UNKNOWN = 0, /* not asked yet */
    PONG_POSTGRES_ANSWERS = 1,
    PONG_POSTGRES_SILENT = 2, /* a postmaster is there but does not answer */
    PONG_POSTGRES_DEAD = 3,   /* no postmaster */
    PONG_POSTGRES_STARTING = 4,
    PONG_POSTGRES_STOPPING = 5,
};

/* What a stream leads to, of the member at its other end. */
enum tunnel_service {
    TUNNEL_POSTGRES = 1, /* the primary's PostgreSQL, for the role tunnel_user */
    TUNNEL_CONTROL = 2,  /* the agent's control socket */
    TUNNEL_RELAY = 3,    /* the agent's relay */
    TUNNEL_SERVER = 4,   /* the PostgreSQL of that very member, in any role, for the same roles */
};

/* A larger number would not survive JSON, where it is written down. */
#define EPOCH_NUMBER_MAX    (UINT64_C(1) << 53)
#define EPOCH_OVERRULES_MAX 2

enum epoch_how {
    EPOCH_BY_UNKNOWN = 0,  /* written by an earlier version */
    EPOCH_BY_FIRST = 1,    /* its server was writable, and no epoch was known there */
    EPOCH_BY_FAILOVER = 2, /* a standby took over */
    EPOCH_BY_RESOLVE = 3,  /* a DBA ended a conflict, or reclaimed a server that was deposed */
    EPOCH_BY_WORD = 4,     /* a failover that knew no epoch: the DBA gave the number */
};

/* How an epoch began. */
struct epoch_origin {
    struct epoch epoch;
    timeline_t timeline; /* the primary's; while it promotes, and after a resolve: of the parent */
    timeline_t from;     /* ... on which it forked off; 0: it did not, or unknown */
    lsn_t fork;          /* where */
    struct epoch parent; /* the epoch before it; number 0: none, or unknown */
    struct epoch overruled[EPOCH_OVERRULES_MAX]; /* not before it, and over since; number 0: none */
    enum epoch_how how;
};

/* A change of the primary, as the chain has it. */
struct pool_change {
    struct epoch_origin origin;
    int64_t wall_us;
};

/* Where a member's copy of the WAL stands, and how old that news is. */
struct member_position {
    char member[MEMBER_NAME_SIZE];
    timeline_t timeline;
    lsn_t flushed, applied;
    int64_t age_us;
};

#define AGE_UNKNOWN INT64_C(-1)

/* What a member says of itself. */
struct member_state {
    uint8_t role; /* enum role of the judge */
    enum pong_postgres postgres;
    timeline_t timeline;
    lsn_t received, flushed, applied;       /* LSN_UNKNOWN */
    int64_t flushed_age_us, applied_age_us; /* behind the primary; AGE_UNKNOWN */
    uint8_t severity;                       /* of reason: 0 none, 1 warning, 2 critical */
    char reason[NEWS_REASON_SIZE];          /* its worst alarm or event; "": all is well */
};

/* ... as it is passed on. */
struct member_news {
    char member[MEMBER_NAME_SIZE];
    char by[MEMBER_NAME_SIZE]; /* who told the teller; "": itself */
    int64_t age_us;            /* since it was so, at least */
    struct member_state state;
};

/* The last PING of the far side in a session: its value, and when it came. sent_us 0: none. */
struct echo {
    int64_t sent_us, heard_us;
};

/* What a member could ship of the WAL up to its position. */
struct held_wal {
    bool told;
    lsn_t start; /* LSN_UNKNOWN: nothing */
    /* all that the primary had committed before this moment is in it; LSN_UNKNOWN: not known */
    lsn_t covered;
    int64_t wall_us, age_us; /* by the primary's clock; how long ago */
    const char *history;     /* of the position's timeline; borrowed, not 0-terminated */
    size_t history_bytes;
};

/* Why a member is fed by the one that the table of routes names. */
enum route_why {
    ROUTE_PRIMARY = 0, /* nobody feeds it */
    ROUTE_MIRROR = 1,  /* it is at the primary's site */
    ROUTE_HEAD = 2,    /* of its site: nothing spoke for another */
    ROUTE_PINNED = 3,  /* the same, by a DBA's word */
    ROUTE_SILENT = 4,  /* the same, for the one before was silent, */
    ROUTE_STALLED = 5, /* ... got no further, */
    ROUTE_REACHES = 6, /* ... or reached less of the site */
    ROUTE_RELAYED = 7, /* by the head of its site */
    ROUTE_AROUND = 8,  /* not by the feeder of its site, which does not reach it */
    ROUTE_BRIDGE = 9,  /* it feeds what the head does not reach */
};

struct route {
    char member[MEMBER_NAME_SIZE];
    char from[MEMBER_NAME_SIZE]; /* "": of the primary */
    enum route_why why;
    bool cut;         /* nobody reaches it; who is named tries to */
    bool pinned;      /* it shall be the head of its site */
    int64_t since_us; /* wall clock of the primary */
};

/* The primary's table of routes: the number grows by one with each change in an epoch. */
struct routes {
    struct epoch epoch;
    uint64_t number;
    size_t count; /* 0: there is none */
    struct route route[FRAME_MEMBERS_MAX];
};

/* A member's durable word to `asker`: it acknowledges nothing of epochs below `number`, and promises
 * nobody else, until that epoch, its asker's RETURN of the same nonce or answer that it asks no
 * more, or a DBA's word. The nonce is another one each time that everybody is asked. */
enum promise_word { PROMISE_ASK = 1, PROMISE_GIVE = 2, PROMISE_REFUSE = 3, PROMISE_RETURN = 4 };

/* Whose a session is, by who is asked for it. */
enum session_word { SESSION_UNKNOWN = 0, SESSION_OWN = 1, SESSION_FOREIGN = 2 };

struct promise {
    enum promise_word word;
    uint64_t number;
    char asker
        [MEMBER_NAME_SIZE]; /* of a refusal: who holds the promise that stands in the way, if one does */
    uint64_t nonce;
    const char *reason; /* borrowed */
};

struct hello {
    uint16_t protocol; /* the highest of its sender; of one that came: what is used */
    char pool[MEMBER_NAME_SIZE];
    struct identity identity;
    char from[MEMBER_NAME_SIZE], to[MEMBER_NAME_SIZE];
    struct epoch epoch;
    uint64_t incarnation;
    uint64_t session; /* that a knock asks about; 0: none */
    uint64_t table;   /* of routes, its number in this epoch; 0: none */
    uint64_t
        stays; /* of a knock: the incarnation of the quiet session that it begins; 0: it ends */
    uint8_t lane;
    timeline_t timeline;
    uint64_t config_digest;
    size_t hops;
    char path[FRAME_MEMBERS_MAX][MEMBER_NAME_SIZE];
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
    bool standby_connected, busy, fenced;
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

/* Is `incarnation` a later dial than `before`, of the same start of an agent? */
bool session_follows(uint64_t incarnation, uint64_t before);

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
        struct {
            timeline_t timeline;
            size_t changes;
            const struct pool_change *change; /* borrowed, to be put: what came is in `chain` */
            const uint8_t *chain;             /* checked: frame_chain takes it */
            size_t chain_bytes;
            size_t positions;
            struct member_position position[FRAME_MEMBERS_MAX];
            enum session_word session;
            bool has_news;
            int64_t echo_us, echo_ago_us; /* the last PING that came, and how long ago that was */
            size_t members;
            const struct member_news *member; /* borrowed, to be put: what came is in `news` */
            const uint8_t *news;              /* checked: frame_news takes it */
            size_t news_bytes;
            struct held_wal held; /* of the teller's position */
            struct routes routes; /* count 0: none */
        } pool;
        struct promise promise;
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

/* The chain of a POOL that came: pool.changes of them. */
void frame_chain(const struct frame *pool, struct pool_change out[FRAME_CHANGES_MAX]);

/* The members of a POOL that came: pool.members of them. */
void frame_news(const struct frame *pool, struct member_news out[FRAME_MEMBERS_MAX]);

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

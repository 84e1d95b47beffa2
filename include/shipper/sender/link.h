/* SPDX-License-Identifier: PostgreSQL */
/*
 * link: one ordered stream of WAL from this member to another: source -> sender -> lanes, acks
 * back.
 *
 * The I/O half of the sender. It dials (after 0.1 s doubling to at most 3 s, jittered), greets,
 * starts the source where the far side says, and moves bytes while there is room; a full queue
 * stops the source. It holds a walsender only while the link lives. A peer is dead after 5 s with
 * neither a frame nor TCP progress, or 15 s without a frame. State changes are logged, attempts are
 * not. A session that the far side ends for the WAL it holds (a fork) is tried again every 10 s and
 * logged once a minute.
 */
#ifndef SHIPPER_SENDER_LINK_H
#define SHIPPER_SENDER_LINK_H

#include "base/histogram.h"
#include "base/log.h"
#include "base/loop.h"
#include "sender/drain.h"
#include "sender/store.h"
#include "shipper/sender/compress.h"
#include "shipper/sender/lanes.h"
#include "shipper/sender/rate.h"
#include "shipper/sender/sender.h"

#define LINK_REASON_MAX 1024

enum link_state {
    LINK_STOPPED,  /* the agent does not want it: see reason */
    LINK_WAITING,  /* for the next attempt */
    LINK_DIALING,  /* SSH is getting up */
    LINK_GREETING, /* HELLO is out */
    LINK_SHIPPING, /* accepted */
};

enum link_end {
    LINK_END_STOPPED, /* the agent wanted it */
    LINK_END_SILENT,  /* nothing heard and nothing taken */
    LINK_END_REFUSED, /* the far side said so */
    LINK_END_LOST,    /* the connection broke */
    LINK_ENDS
};

/* How to ship: from the config, changed at run time by `walferry set`. */
struct link_settings {
    unsigned lanes;  /* 0: as many as the distance needs */
    int compression; /* zstd level, CODEC_NONE, COMPRESSION_AUTO */
    struct rate_plan rate_limit;
};

/* Where WAL may be beside the server: the outbox, and what the backfill got of a gap. */
enum link_store_kind { LINK_OUTBOX, LINK_GAP, LINK_STORES };

/* WAL that the far side needs and the server has no longer: the server is not asked for it again
 * until the agent clears this. */
struct hole {
    bool seen;  /* the server says so; */
    bool known; /* ... and the far side has said what it has */
    timeline_t timeline;
    lsn_t start, end;
};

struct link {
    char member[MEMBER_NAME_SIZE]; /* the far one */
    const char *pgdata;            /* borrowed */
    enum link_state state;
    int64_t since_us;             /* in this state */
    char reason[LINK_REASON_MAX]; /* why it does not ship; "" when it does */
    struct lanes lanes;
    struct sender sender;
    struct compressor compressor;
    struct rate rate;
    uint64_t handed;       /* the part of sender.handed that the rate has counted */
    bool rate_limits;      /* frames wait for the rate limit, not for the line */
    struct codec *codec;   /* borrowed */
    struct source *source; /* in use: from_server, from_relay, or that of a store */
    struct source *from_server, *from_relay; /* from_relay NULL: there is none */
    const struct spool *spool;               /* of the relay, borrowed */
    bool relays;   /* set by the agent: ship from the relay, and from nothing else */
    bool relaying; /* this session does */
    struct link_store store[LINK_STORES];
    bool source_allowed; /* cleared by the agent to let go of a stopping server */
    bool exact; /* set by the agent when commits, or a stopping server, wait for each byte */
    char source_reason[LINK_REASON_MAX]; /* why no WAL comes though the link is up, or why it counts
                                          * for nothing; "": it comes */
    char told[LINK_REASON_MAX];          /* the source_reason that the far side was told */
    struct hole hole;
    bool streamed; /* WAL came in this session, or the rest was asked for; see run_source */
    int64_t source_due_us;
    int64_t due_us, backoff_us;
    bool more; /* WAL may be waiting inside libpq, where poll does not see it */
    uint64_t incarnation;
    uint64_t ended; /* sessions that ended after they were accepted, and why */
    uint64_t ended_for[LINK_ENDS];
    enum link_end end; /* the kind of end, should the session end now */
    bool futile; /* the last session was ended by the far side before it had compared its WAL */
    struct log_memory said; /* of futile ends, for the log */
    lsn_t mark; /* the end of the piece of WAL that is timed on its way; LSN_UNKNOWN: none */
    int64_t mark_us;
    struct histogram commit_wait; /* from the arrival of WAL here until its ACK as flushed */
    struct drain drain;
    struct lineage lineage; /* of the server, as HELLO has it now; its text is borrowed */
    struct identity identity;
};

/* All strings borrowed for life; conninfo is the server to stream from, slot also its
 * application_name */
int link_init(struct link *l, const char *member, const struct lane_target *target,
              const struct link_settings *settings, struct workers *workers,
              struct frame_cache *frame_cache, const char *conninfo, const char *slot,
              const char *pgdata, struct codec *codec);
/*
 * A spool with WAL that the server may have no longer, and its relay at conninfo: the link ships
 * from there while its next byte is inside, and from the server otherwise. The change is exact to
 * the byte, within a session. While a store is not empty the server is not told of positions inside
 * it: its slot may have moved past them. Both borrowed for life. Before the first link_run.
 */
int link_store(struct link *l, enum link_store_kind kind, const struct spool *spool,
               const char *conninfo);
/* Ship the rest of a dead server's log, as if the far side had asked, unless it is shipped. */
void link_drain(struct link *l);
/*
 * The relay of this member's own spool, at conninfo: while `relays` is set the link ships what is in
 * there, without a slot, whatever state the PostgreSQL here is in; the relay keeps it for the far
 * side (relay_needs). A session ships from one of the two only. DRAIN is answered there when all
 * that the spool has is sent. All borrowed for life. Before the first link_run.
 */
int link_relay(struct link *l, const struct spool *spool, const char *conninfo);
void link_set(struct link *l, const struct link_settings *settings);
/* The server answers again. Unless it has streamed meanwhile it may have been put back: its WAL is
 * compared anew, in a new session. */
void link_answers(struct link *l);
/* Let go of the server until then: somebody wants its slot. */
void link_rest(struct link *l, int64_t until_us);
void link_release(struct link *l);

/* hello NULL: the agent does not want the link now, for stop_reason. */
void link_run(struct link *l, const struct loop *loop, const struct hello *hello,
              const char *stop_reason, int64_t now_us, int64_t wall_us);
void link_watch(const struct link *l, struct loop *loop);

#endif

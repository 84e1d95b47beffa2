/* SPDX-License-Identifier: PostgreSQL */
/*
 * incoming: what comes from the primary and where it stays: the inlet and its receiver, the spool
 * with its flushes and prunes, and the relay that serves it to PostgreSQL and to guests.
 *
 * When the spool cannot be written or flushed, nothing is accepted until it can (`shut`, tried
 * every few seconds); what is here is served meanwhile. Who greets is judged in greeting.c.
 */
#ifndef AGENT_LINKS_INCOMING_H
#define AGENT_LINKS_INCOMING_H

#include "control/control.h"
#include "links/ask.h"
#include "links/front.h"
#include "links/who.h"

#include "base/fail.h"
#include "base/histogram.h"
#include "base/log.h"
#include "base/worker.h"
#include "shipper/receiver/inlet.h"
#include "shipper/replication/relay.h"

#include <string.h>

#define INCOMING_RENEWED "the spool begins anew, for a new copy"

/* Of the members that are fed from here (onward.h). */
struct incoming_onward {
    lsn_t needs;                 /* the lowest position in the spool; UINT64_MAX: none is needed */
    uint64_t xmin, catalog_xmin; /* the lowest ones; 0: none */
};

struct incoming {
    const struct who *who;   /* borrowed */
    struct control *control; /* borrowed */
    struct asks *asks;       /* borrowed */
    /* A knock wants to stay as a quiet session: true when it was taken out of the inlet. NULL: none is */
    bool (*stays)(void *context, struct session *s, const struct hello *h);
    void *stays_context;
    struct spool spool;
    struct front front;
    struct incoming_onward onward;
    bool held; /* a seed or rejoin runs, by the spool's hold file; looked at once a second */
    struct worker flusher, pruner;
    struct flush flush;
    struct cut cut; /* by the flusher, too */
    struct prune pruning;
    struct receiver receiver;
    struct inlet inlet;
    struct relay relay;
    uint8_t *scratch;             /* the receiver's */
    char error[FAIL_MESSAGE_MAX]; /* why the spool takes nothing; "" : it does */
    bool shut;                    /* nor is it tried before retry_us */
    int64_t retry_us;
    struct log_memory said; /* of `error`: it may come back at once */
    bool unproven;        /* nobody knows, or knew, whose the last session is: see greeting_prove */
    lsn_t stuck_at;       /* where it took no more; LSN_UNKNOWN: it takes WAL */
    lsn_t forked;         /* where the timeline that was refused left ours, before whole records */
    uint64_t cutting_for; /* the client that wants it cut there; 0: none */
    uint64_t table;       /* the number of the table of routes by which the session ships */
    bool begin_unknown;   /* the session began without a word from where on WAL is needed */
    uint64_t renewing;    /* the client whose seed wants an empty spool; 0: none */
    bool hold_named;      /* a damaged hold file is in the log */
    int64_t flushed_us;   /* when the last flush began */
    struct histogram flush_took;
    int64_t claimed_us;  /* when somebody dialled last as the primary, refused or not */
    int64_t feedback_us; /* when the local standby was last here */
};

/* The spool is open already. ERR_LOCAL. */
int incoming_open(struct incoming *in, const struct who *who, struct control *control,
                  struct asks *asks, struct codec *codec);
/* Is there a session, and is it known to be that of the member whose name it bears? Else its words are
 * those of somebody with that member's key. */
static inline bool
incoming_proven(const struct incoming *in)
{
    return receiver_live(&in->receiver) &&
           asks_whose(in->asks, in->receiver.from, in->inlet.incarnation) == SESSION_OWN;
}
/* ... and of the primary itself, not of a member that passes its WAL on? */
static inline bool
incoming_own(const struct incoming *in)
{
    return incoming_proven(in) && !receiver_relayed(&in->receiver);
}
/* When the primary's PostgreSQL answered last, by the clock here and the newest of its beacons that
 * another member passes on, or has passed on. 0: unknown, or it ships here itself. */
static inline int64_t
incoming_passed_us(const struct incoming *in)
{
    const struct receiver *r = &in->receiver;
    bool passed = strcmp(r->from, r->origin) != 0 && r->stamped.lsn != LSN_UNKNOWN;

    return passed && r->offset.known ? r->stamped.mono_us - r->offset.offset_us : 0;
}
void incoming_close(struct incoming *in); /* accepts a zeroed struct whose descriptors are -1 */
void incoming_watch(const struct incoming *in, struct loop *l, int64_t now_us);

/* Go on with what comes; greetings then wait in the inlet. */
void incoming_run(struct incoming *in, const struct loop *l, int64_t now_us, int64_t wall_us);
/* ... then flush, serve and acknowledge it. */
void incoming_serve(struct incoming *in, const struct loop *l, int64_t now_us);

/* WAL and histories that a failover takes from another member, while the inlet takes none; 0, ERR_AGAIN:
 * the same again in a later turn; or an error: it does not continue what is here, or cannot be written. */
int incoming_take(struct incoming *in, timeline_t timeline, lsn_t lsn, const void *bytes, size_t n,
                  int64_t now_us);
int incoming_take_history(struct incoming *in, timeline_t timeline, const char *text,
                          size_t length);

/* Remove what nobody needs any more. */
void incoming_prune(struct incoming *in, int64_t wall_us);
/* Look at, or cut, what lies behind a fork: see spool.h. Not while the disk is busy: come again. */
void incoming_cut(struct incoming *in, enum cut_wish wish, lsn_t fork);
/* For a rejoin or seed: the spool ends at `forked`, what lies behind is kept aside; the client is
 * answered when it is. */
void incoming_cut_forked(struct incoming *in, uint64_t client);
/* On the primary: its timeline has left that of the spool at `fork`; what never became whole behind
 * it goes. */
void incoming_left(struct incoming *in, lsn_t fork);
/* Make the spool empty for a seed; the client is answered when it is. */
void incoming_renew(struct incoming *in, uint64_t client);

/* Tell the primary what is known of the pool here, at once. */
void incoming_tell_pool(struct incoming *in);
/* The epoch is another one: the session of the former one is told so, and ends. */
void incoming_over(struct incoming *in);

/* What is on disk and can be replayed here; LSN_UNKNOWN when the local standby lacks WAL from
 * before the spool (front.h). */
lsn_t incoming_durable(const struct incoming *in);

/* What the local standby has applied, by its own word or its relay client's. 0: unknown, also until
 * a PostgreSQL that was away says it anew: it may have crashed, and applies again. Also while it
 * is not known to follow the lineage of the pool's WAL. */
lsn_t incoming_applied(const struct incoming *in);

/* Up to where WAL is acknowledged. Whole: up to the last whole record in that, or it cannot be looked
 * for; else nobody has looked (incoming_left). Timeline 0: the spool is empty. */
struct position incoming_acknowledged(const struct incoming *in, bool *ret_whole);

/* Where the primary stands at least, by its own sample, or by the beacon that came last and the WAL
 * that came since; LSN_UNKNOWN when the beacon is too old, or what is here may be other WAL. */
lsn_t incoming_primary(const struct incoming *in, int64_t now_us);

/* Why nothing comes in, or, on a link that is up, why no figure of it stays near 0; "" . */
const char *incoming_reason(const struct incoming *in);

#endif

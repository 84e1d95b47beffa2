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
#include "links/who.h"

#include "base/fail.h"
#include "base/histogram.h"
#include "base/log.h"
#include "base/worker.h"
#include "shipper/receiver/inlet.h"
#include "shipper/replication/relay.h"

#define INCOMING_RENEWED "the spool begins anew, for a new copy"

struct incoming {
    const struct who *who;   /* borrowed */
    struct control *control; /* borrowed */
    struct spool spool;
    struct worker flusher, pruner;
    struct flush flush;
    struct prune pruning;
    struct receiver receiver;
    struct inlet inlet;
    struct relay relay;
    uint8_t *scratch;             /* the receiver's */
    char error[FAIL_MESSAGE_MAX]; /* why the spool takes nothing; "" : it does */
    bool shut;                    /* nor is it tried before retry_us */
    int64_t retry_us;
    struct log_memory said; /* of `error`: it may come back at once */
    lsn_t stuck_at;         /* where it took no more; LSN_UNKNOWN: it takes WAL */
    uint64_t renewing;      /* the client whose seed wants an empty spool; 0: none */
    bool hold_named;        /* a damaged hold file is in the log */
    int64_t flushed_us;     /* when the last flush began */
    struct histogram flush_took;
    int64_t feedback_us; /* when the local standby was last here */
};

/* The spool is open already. ERR_LOCAL. */
int incoming_open(struct incoming *in, const struct who *who, struct control *control,
                  struct codec *codec);
void incoming_close(struct incoming *in); /* accepts a zeroed struct whose descriptors are -1 */
void incoming_watch(const struct incoming *in, struct loop *l, int64_t now_us);

/* Go on with what comes; greetings then wait in the inlet. */
void incoming_run(struct incoming *in, const struct loop *l, int64_t now_us, int64_t wall_us);
/* ... then flush, serve and acknowledge it. */
void incoming_serve(struct incoming *in, const struct loop *l, int64_t now_us);

/* Remove what nobody needs any more. */
void incoming_prune(struct incoming *in, int64_t wall_us);
/* Make the spool empty for a seed; the client is answered when it is. */
void incoming_renew(struct incoming *in, uint64_t client);

/* What the local standby has applied, by its own word or its relay client's. 0: unknown. */
lsn_t incoming_applied(const struct incoming *in);

/* Where the primary stands at least, by its own sample, or by the beacon that came last and the WAL
 * that came since; LSN_UNKNOWN when the beacon is too old. */
lsn_t incoming_primary(const struct incoming *in, int64_t now_us);

/* Why nothing comes in, or, on a link that is up, why no figure of it stays near 0; "" . */
const char *incoming_reason(const struct incoming *in);

#endif

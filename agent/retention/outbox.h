/* SPDX-License-Identifier: PostgreSQL */
/*
 * outbox: WAL that PostgreSQL need not keep for a far site any longer, on another disk of this
 * host.
 *
 * A spool with a relay of its own (<run>/outbox/.s.PGSQL.5432), so a link ships from it exactly as
 * a standby's agent ships onward, see link_store. While it is filled it streams from PostgreSQL
 * *without* a slot and reports 0/0: it is this host's, and never counts as the other site. Only
 * what is flushed here may move a slot on. Segments may also be put there by another hand (a gap
 * that was filled): outbox_reload takes them in.
 *
 * Files: those of a spool (spool.h). Bounded by bytes_max; where the file system has less than its
 * reserve left it takes nothing either: then nothing is read, and PostgreSQL keeps the WAL.
 * What fails is text in `error` and is tried again; nothing is dropped.
 */
#ifndef AGENT_RETENTION_OUTBOX_H
#define AGENT_RETENTION_OUTBOX_H

#include "retention/proof.h"
#include "config/reserve.h"

#include "base/fail.h"
#include "base/loop.h"
#include "base/worker.h"
#include "shipper/replication/relay.h"
#include "shipper/replication/source.h"
#include "shipper/wal/spool.h"

struct outbox {
    const char *name; /* borrowed; in the log */
    const char *path; /* borrowed */
    char run[96], conninfo[192];
    uint64_t bytes_max;
    struct reserve reserve;
    struct spool spool;  /* empty, too, while it cannot be opened */
    struct proof *proof; /* borrowed; what comes passes it. NULL: it is the server's own */
    struct relay relay;
    struct worker flusher, pruner;
    struct flush flush;
    struct prune pruning;
    struct source *source; /* that fills it */
    bool filling;          /* is wanted: see outbox_fill */
    struct identity identity;
    timeline_t from_timeline; /* where an empty one begins */
    lsn_t from;
    struct source_item item; /* that the spool has not taken yet, if waiting */
    bool waiting;
    bool skips; /* the next start compares nothing: the server has that WAL no longer */
    bool full;  /* bounds reached: nothing is read */
    char error[FAIL_MESSAGE_MAX]; /* why it takes nothing; "" : it does, or is full */
    int code;                     /* of that: ERR_LOCAL is this host's disk */
    int64_t retry_us;
    int64_t looked_us; /* when there was room in the file system */
};

/* `run` is the agent's, its socket lies in run/name; conninfo of the server to fill it from. What
 * cannot be opened is tried again: an error here is a socket's or memory. */
int outbox_open(struct outbox *o, const char *name, const char *path, const char *run,
                const char *conninfo, const char *pgdata);
/* Another server to fill it from; not while it is filled. */
int outbox_from(struct outbox *o, const char *conninfo, const char *pgdata);
void outbox_close(struct outbox *o); /* accepts a zeroed struct */

void outbox_watch(const struct outbox *o, struct loop *l, int64_t now_us);
void outbox_run(struct outbox *o, const struct loop *l, int64_t now_us);

/* Receive from PostgreSQL from now on; an empty one begins with the segment of `from`. */
void outbox_fill(struct outbox *o, const struct identity *identity, timeline_t timeline,
                 lsn_t from);
void outbox_stop(struct outbox *o); /* receive no more; what is here stays */
/* Is it connected, and takes what PostgreSQL writes? */
bool outbox_receives(const struct outbox *o);

/* Who put segments there has ended: find them. Not while it is filled (ERR_USAGE). */
int outbox_reload(struct outbox *o);

/* What is here is no part of the pool's history: it goes into a folder beside, for a human to look
 * at, and nothing of it is shipped. */
int outbox_set_aside(struct outbox *o, const char *why);

/* Every link has all below `needed_from`: that is removed, in a while; when it is not filled and
 * nothing is needed any more, all of it. */
void outbox_prune(struct outbox *o, lsn_t needed_from);

#endif

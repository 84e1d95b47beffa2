/* SPDX-License-Identifier: PostgreSQL */
/*
 * outgoing: the links on which this member ships WAL to the members at other sites, with what they
 * share: the server to read from, slot names, settings, HELLO and the history of the primary's
 * timeline in it.
 *
 * The links run while this member is the primary and nothing is wrong with the pool. What a link
 * tells of an epoch is kept in `told` for the daemon. The slots themselves are retention's
 * (slot.h); stores beside the server are joined by the daemon (link_store).
 */
#ifndef AGENT_LINKS_OUTGOING_H
#define AGENT_LINKS_OUTGOING_H

#include "links/who.h"

#include "base/loop.h"
#include "base/workers.h"
#include "shipper/sender/link.h"
#include "shipper/wal/timeline.h"

struct outgoing {
    const struct who *who; /* borrowed */
    struct link link[MEMBERS_MAX];
    size_t links;
    char slot_name[MEMBERS_MAX][SLOT_NAME_SIZE];
    char conninfo[512];
    struct link_settings settings; /* of the config, as changed since the start */
    bool settings_changed;         /* ... by `walferry set` */
    struct workers workers;
    struct frame_cache frame_cache;
    struct lineage lineage; /* of the primary, its text is in `history` */
    char *history;          /* HISTORY_BYTES_MAX and a 0 */
    struct hello hello;
    uint64_t incarnation;
    int64_t stopping_us; /* since when the local server is shutting down; 0: it is not */
    lsn_t stuck_lsn;     /* where PostgreSQL's flush stands, with more behind it in memory */
    int64_t stuck_us;
    struct {
        const char *teller;
        struct epoch_origin origin;
    } told[2 * MEMBERS_MAX]; /* of epochs, in the last turn */
    size_t tolds;
};

int outgoing_open(struct outgoing *o, const struct who *who, struct codec *codec); /* ERR_LOCAL */
void outgoing_close(struct outgoing *o); /* accepts a zeroed struct */
void outgoing_watch(const struct outgoing *o, struct loop *l);
void outgoing_run(struct outgoing *o, const struct loop *l, int64_t now_us, int64_t wall_us);

/* A new sample of PostgreSQL is there, or another state of it. */
void outgoing_sampled(struct outgoing *o);
void outgoing_postgres(struct outgoing *o, int64_t now_us);

/* The lineage of the primary on `timeline`, from its pg_wal. 0 or ERR_LOCAL. */
int outgoing_load_history(struct outgoing *o, timeline_t timeline);
/* On which timeline the byte at lsn was written; the newest one until its history is loaded. */
timeline_t outgoing_timeline_at(const struct outgoing *o, lsn_t lsn);

/* Once a second: synchronous_standby_names as the pool's file wants it. */
void outgoing_keep(struct outgoing *o);

/* The link to a member, the link of a slot; NULL: there is none. */
struct link *outgoing_to(struct outgoing *o, const char *member);
struct link *outgoing_of_slot(struct outgoing *o, const char *slot);

#endif

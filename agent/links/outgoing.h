/* SPDX-License-Identifier: PostgreSQL */
/*
 * outgoing: the links on which this member ships WAL to all others, with what they share: the server
 * to read from, slot names, settings, HELLO and the history of the primary's timeline in it.
 *
 * The links run while nothing is wrong with the pool: those of the primary, and of a standby that
 * passes its WAL on from its relay, to the members that it feeds by the table of routes. The slots
 * themselves are retention's (slot.h); stores beside the server are joined by the daemon (link_store).
 */
#ifndef AGENT_LINKS_OUTGOING_H
#define AGENT_LINKS_OUTGOING_H

#include "links/who.h"
#include "pool/quorum.h"

#include "base/loop.h"
#include "base/unix_socket.h"
#include "base/workers.h"
#include "shipper/sender/link.h"
#include "shipper/wal/timeline.h"

struct outgoing {
    const struct who *who;         /* borrowed */
    struct link link[MEMBERS_MAX]; /* to members at other sites, then to the own site's */
    size_t links, far;             /* all, and those to other sites: at least one */
    char slot_name[MEMBERS_MAX][SLOT_NAME_SIZE];
    bool slot_made[MEMBERS_MAX]; /* anew: where it begins is not seen yet */
    char conninfo[512];
    char relay_conninfo[UNIX_SOCKET_PATH_SIZE + 64];
    struct link_settings settings; /* of the config, as changed since the start */
    bool settings_changed;         /* ... by `walferry set` */
    struct workers workers;
    struct frame_cache frame_cache;
    size_t window_bytes;    /* of all links' windows */
    struct lineage lineage; /* of the primary, its text is in `history` */
    char *history;          /* HISTORY_BYTES_MAX and a 0 */
    struct epoch loaded;    /* in which it was loaded */
    struct hello hello;
    uint64_t incarnation;
    int64_t passed_us;   /* of the newest beacon that was passed on (onward.h), by the clock here */
    int64_t stopping_us; /* since when the local server is shutting down; 0: it is not */
    /* whom commits wait for (commits.h): what was written and not yet read by PostgreSQL, what stood
     * before, and when each link has last confirmed */
    char names[QUORUM_SIZE], names_before[QUORUM_SIZE];
    int64_t confirmed_us[MEMBERS_MAX], looked_us;
    lsn_t stuck_lsn; /* where PostgreSQL's flush stands, with more behind it in memory */
    int64_t stuck_us;
};

int outgoing_open(struct outgoing *o, const struct who *who, struct codec *codec); /* ERR_LOCAL */
void outgoing_close(struct outgoing *o); /* accepts a zeroed struct */
void outgoing_watch(const struct outgoing *o, struct loop *l);
void outgoing_run(struct outgoing *o, const struct loop *l, int64_t now_us, int64_t wall_us);

/* A new sample of PostgreSQL is there, or another state of it. */
void outgoing_sampled(struct outgoing *o);
void outgoing_postgres(struct outgoing *o, int64_t now_us);

/* Does this member ship to that one, by the table of routes? A primary without a table to all. */
bool outgoing_feeds(const struct outgoing *o, const char *member);

/* Does this link of a primary rest because another member feeds its far side? What that one tells of
 * it is in sender.far; what was sent in a session from here is long past. */
bool outgoing_rests(const struct outgoing *o, const struct link *l);
/* What the far side has on disk of the WAL here; LSN_UNKNOWN: it was not compared. */
lsn_t outgoing_flushed(const struct outgoing *o, const struct link *l);

/* The lineage of the primary on `timeline`, from its pg_wal. 0 or ERR_LOCAL. */
int outgoing_load_history(struct outgoing *o, timeline_t timeline);
/* On which timeline the byte at lsn was written; the newest one until its history is loaded. */
timeline_t outgoing_timeline_at(const struct outgoing *o, lsn_t lsn);

/* Why a link that is up ships nothing that counts, or one that is down is; "": nothing is known. */
const char *outgoing_reason(const struct link *l);

/* The incarnation of the next session that is dialled to that member. */
uint64_t outgoing_next_incarnation(struct outgoing *o, const char *member);
/* Is it a session that was dialled to that member since the agent was started? */
bool outgoing_dialled(struct outgoing *o, const char *member, uint64_t incarnation);

/* The link to a member, the link of a slot; NULL: there is none. */
struct link *outgoing_to(struct outgoing *o, const char *member);
struct link *outgoing_of_slot(struct outgoing *o, const char *slot);

#endif

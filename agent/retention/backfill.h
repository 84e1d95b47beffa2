/* SPDX-License-Identifier: PostgreSQL */
/*
 * backfill: how a gap is filled. Once a second it looks whether a link's next byte is gone from the
 * server, names that gap, and asks its sources one after the other, for one link at a time:
 *
 *   pg_wal    has it (again): the link streams from there
 *   slot      made anew by the agent when it is gone or was invalidated; what it holds is pg_wal's
 *   archive   the member's fetch_command, segment by segment, each one checked
 *   spools    the relays of this agent and of the other members (<run>/far/<member>)
 *   reseed    a new copy of the standby: said with its price, a DBA's to begin
 *
 * What archive and spools give goes into a store, an outbox of the backfill's own at <outbox>/gap,
 * which the link ships before it goes on from the server; each segment leaves it when the far side
 * has it on disk. They are not believed: what is not whole records does not get there (proof.h).
 * More than fetch_limit is only got with consent. A source that fails in the middle leaves the rest
 * to the next one. When all have said no the gap is lost, and is tried again each RETRY_US, for
 * archives and members come back.
 */
#ifndef AGENT_RETENTION_BACKFILL_H
#define AGENT_RETENTION_BACKFILL_H

#include "retention/archive.h"
#include "control/control.h"
#include "links/outgoing.h"
#include "retention/gap.h"
#include "retention/gap_store.h"

enum backfill_source {
    FROM_PG_WAL,
    FROM_SLOT,
    FROM_ARCHIVE,
    FROM_SPOOLS,
    FROM_RESEED,
    BACKFILL_SOURCES
};

#define BACKFILL_ANSWER_MAX 300

const char *backfill_source_name(enum backfill_source source);

/* What each source said of a link's gap, in this life of the agent. */
struct search {
    char answer[BACKFILL_SOURCES][BACKFILL_ANSWER_MAX];
    int64_t retry_us; /* ask again, at the earliest */
    bool asks;        /* consent */
};

struct backfill {
    const struct who *who; /* borrowed, as these: */
    struct outgoing *out;
    struct gaps *gaps;
    struct search search[MEMBERS_MAX];
    char path[280];
    bool busy;   /* a gap is being filled: the one of this link, by this source */
    size_t link; /* also whose WAL is in the store */
    enum backfill_source source;
    lsn_t until;                        /* where pg_wal begins: what lies before is to be got */
    lsn_t tried_from;                   /* what came since then is worth another search */
    size_t member;                      /* FROM_SPOOLS: of the config, asked now */
    char refusals[BACKFILL_ANSWER_MAX]; /* FROM_SPOOLS: of the members asked so far */
    struct gap_store store;
    struct archive archive;
    bool fetched;               /* a segment is there, to be put into the store */
    int64_t begun_us, moved_us; /* FROM_SPOOLS: this member's turn, and its last bytes */
    lsn_t begun, moved;
    double rate; /* bytes per second, as last measured; 0: unknown */
};

int backfill_open(struct backfill *d, const struct who *who, struct outgoing *out,
                  struct gaps *gaps); /* ERR_LOCAL */
void backfill_close(struct backfill *d);
void backfill_watch(const struct backfill *d, struct loop *l, int64_t now_us);
void backfill_run(struct backfill *d, const struct loop *l, int64_t now_us);
void backfill_keep(struct backfill *d, int64_t now_us); /* once a second */

/* gap_requests.c: the open gaps with what the sources said, for status: a new reference. */
json_t *backfill_report(const struct backfill *d);
/* {"command": "gaps", "do": "fill" | "give-up", "member": "..." (all without), "yes": bool,
 * "reason": "..."} */
void backfill_request(struct backfill *d, struct control *control, uint64_t client,
                      const json_t *request);

#endif

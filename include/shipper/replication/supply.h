/*
 * supply: the WAL that a relay gives away: the spool's, and behind its end that of our own
 * PostgreSQL, read from pg_wal, once it is the primary on a timeline that follows the spool's. So
 * who is fed from here goes on over a promotion of this member, as on a promoted PostgreSQL.
 *
 * What pg_wal holds is nobody's promise: segments go as the server's checkpoints let them go.
 * Sources: XLogSendPhysical and WalSndSegmentOpen in src/backend/replication/walsender.c.
 */
#ifndef SHIPPER_REPLICATION_SUPPLY_H
#define SHIPPER_REPLICATION_SUPPLY_H

#include "shipper/wal/spool.h"

struct supply {
    struct spool *spool; /* borrowed, as all of these */
    const char *pgdata;  /* NULL: there is no PostgreSQL of ours */
    timeline_t timeline; /* our PostgreSQL's while it is the primary; 0: it is none */
    const char *history; /* the text of that timeline's file */
    size_t history_bytes;
    lsn_t flushed; /* so far its WAL is on disk */
};

/* Nothing was ever here: where it begins is open. */
bool supply_empty(const struct supply *s);

/* The newest timeline that is served, and where it ends for now. An empty one's is the primary's,
 * whose history came with its greeting. */
timeline_t supply_newest(const struct supply *s, lsn_t *ret_end);

/* As spool_switch_point, of all that is served. */
bool supply_switch_point(const struct supply *s, timeline_t timeline, lsn_t *ret_end,
                         timeline_t *ret_next);

/* Which timeline's the first byte is that the spool holds. */
timeline_t supply_oldest(const struct supply *s, lsn_t *ret_start);

/* Can it be read from there? Also at the end, and in the growing segment before its first byte. */
bool supply_holds(const struct supply *s, timeline_t timeline, lsn_t lsn);

/* As spool_read and spool_history. */
int supply_read(const struct supply *s, timeline_t timeline, lsn_t lsn, void *out, size_t n);
int supply_history(const struct supply *s, timeline_t timeline, char *out, size_t size);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * supply: the WAL that a relay gives away: the spool's, and behind its end that of our own
 * PostgreSQL, read from pg_wal, once it is the primary on a timeline that follows the spool's. So a
 * client goes on over a promotion of this member, as on a promoted PostgreSQL.
 *
 * WAL in pg_wal is not promised: the server's checkpoints remove segments.
 * Sources: XLogSendPhysical and WalSndSegmentOpen in src/backend/replication/walsender.c.
 */
#ifndef SHIPPER_REPLICATION_SUPPLY_H
#define SHIPPER_REPLICATION_SUPPLY_H

#include "shipper/wal/spool.h"

struct supply {
    struct spool *spool; /* borrowed, as the strings */
    const char *pgdata;  /* NULL: there is no PostgreSQL of ours */
    timeline_t timeline; /* of our PostgreSQL while it is the primary; else 0 */
    const char *history; /* the text of that timeline's file */
    size_t history_bytes;
    lsn_t flushed; /* the end of its WAL on disk */
};

/* No WAL was ever here: its start is open. */
bool supply_empty(const struct supply *s);

/* The newest timeline that is served, and its end for now. While the spool is empty: the primary's
 * timeline, whose history came with the greeting. */
timeline_t supply_newest(const struct supply *s, lsn_t *ret_end);

/* As spool_switch_point, for all WAL that is served. */
bool supply_switch_point(const struct supply *s, timeline_t timeline, lsn_t *ret_end,
                         timeline_t *ret_next);

/* The timeline of the spool's first byte. */
timeline_t supply_oldest(const struct supply *s, lsn_t *ret_start);

/* Can WAL be read from there? Also at the end, and in the growing segment before its first byte. */
bool supply_holds(const struct supply *s, timeline_t timeline, lsn_t lsn);

/* As spool_read and spool_history. */
int supply_read(const struct supply *s, timeline_t timeline, lsn_t lsn, void *out, size_t n);
int supply_history(const struct supply *s, timeline_t timeline, char *out, size_t size);

#endif

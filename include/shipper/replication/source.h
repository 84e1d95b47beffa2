/* SPDX-License-Identifier: PostgreSQL */
/*
 * source: WAL as a walsender gives it, without ever blocking the loop.
 *
 * Connects by libpq (replication=true), checks IDENTIFY_SYSTEM against the expected identity, makes
 * its physical slot if it is missing (CREATE_REPLICATION_SLOT name PHYSICAL RESERVE_WAL, from 15 on
 * asked by READ_REPLICATION_SLOT, before by START_REPLICATION; on a relay no slot is asked for:
 * slot = ""), fetches the history of every timeline up to the server's, whatever the requested one
 * is, and streams from the requested position through every timeline switch: at the end of a
 * timeline it goes on with the next one from the switch point's segment start, its history first.
 * On one connection it never reports a position that is lower than before or beyond the server's
 * own.
 *
 * Pull: source_next gives one item at a time; the item's bytes stay valid until the next call. Not
 * to call it is back-pressure (walsender waits); source_report goes on all the same. When the
 * connection breaks, source_next first gives all items that had come, then the error.
 *
 * Errors: ERR_PEER: connection lost, server shutting down or starting (57P01, 57P03), WAL removed
 * (58P01: the message says from where to where and what to do), slot invalidated (55000, likewise),
 * requested starting point not in this server's history, other system identifier, server not
 * reachable, authentication, no answer within 5 s to the connection or to a command.
 */
#ifndef SHIPPER_REPLICATION_SOURCE_H
#define SHIPPER_REPLICATION_SOURCE_H

#include "base/loop.h"
#include "base/identity.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOURCE_REPORT_US                                                                           \
    (250 * MILLISECOND_US) /* at least so often; far below wal_sender_timeout */

struct source_position {
    lsn_t write, flush, apply;   /* LSN_UNKNOWN (0): nothing is known yet */
    uint64_t xmin, catalog_xmin; /* hot standby feedback, epoch << 32 | xid; 0: none */
};

enum source_kind { SOURCE_WAL, SOURCE_HISTORY };

struct source_item {
    enum source_kind kind;
    timeline_t timeline;
    lsn_t lsn;     /* SOURCE_WAL: of the first byte */
    lsn_t wal_end; /* SOURCE_WAL: the server's sent position ("walEnd"), never a beacon */
    const char *bytes;
    size_t length;
};

struct source; /* shipper/replication/source_state.h */

/* conninfo: libpq keywords without replication/application_name, which are added here. pgdata:
 * where to look which WAL is gone; NULL: nowhere; must outlive the source. */
struct source *source_new(const char *conninfo, const char *application_name, const char *slot,
                          const char *pgdata);
void source_free(struct source *s); /* closes; accepts NULL */

/* Begin to connect and stream; lsn is a segment start, or 0: from the slot's restart_lsn's segment
 * (a fresh spool; on PostgreSQL 13 and 14, without READ_REPLICATION_SLOT, and on a slot without a
 * restart_lsn: from the server's flush position's segment). */
int source_start(struct source *s, const struct identity *expected, timeline_t timeline, lsn_t lsn,
                 int64_t now_us);
void source_stop(struct source *s); /* closes the connection at once; may be started again */

bool source_active(const struct source *s);          /* started and not stopped */
bool source_streaming(const struct source *s);       /* in COPY */
bool source_connected(const struct source *s);       /* in COPY, and the server has not left */
lsn_t source_next_lsn(const struct source *s);       /* of the next byte that it gives */
const char *source_sqlstate(const struct source *s); /* of the last server error, "" if none */

/* Did the last try end because the server has the WAL no longer? *ret_from: the next byte; *ret_to:
 * the oldest byte in its pg_wal. False also when that cannot be told. Valid until source_start. */
bool source_gone(const struct source *s, timeline_t *ret_timeline, lsn_t *ret_from, lsn_t *ret_to);

/* want_input false: back-pressure, ask poll only for writing. */
void source_watch(const struct source *s, struct loop *l, bool want_input);
/* Go on. 0, or an error: call source_stop. */
int source_run(struct source *s, const struct loop *l, int64_t now_us);

/* 1 and an item, 0 nothing now, or an error (then source_stop). */
int source_next(struct source *s, struct source_item *ret_item);

/* Tell walsender the far side's positions: sent when changed (at once) or SOURCE_REPORT_US passed;
 * feedback when changed or every 10 s. 0 or ERR_PEER. No-op while not streaming. */
int source_report(struct source *s, const struct source_position *p, int64_t now_us);

/* The next report says that there is no feedback, even if there was none on this connection: a slot
 * keeps the feedback of an earlier connection. */
void source_withdraw(struct source *s);

#endif

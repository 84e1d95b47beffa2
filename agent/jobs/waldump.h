/* SPDX-License-Identifier: PostgreSQL */
/*
 * waldump: which transactions a stretch of WAL committed, from the lines that pg_waldump prints.
 *
 * In come lines, in order, from a place where no transaction that runs at `from` had begun yet
 * (waldump_running tells such places); out goes each transaction that was committed at or after
 * `from`: xid, time, rows by relation. Rows of a subtransaction count if it was committed. A
 * transaction that was aborted, or is still open at the end, is not listed; one that was prepared
 * behind `from` and waits for its COMMIT PREPARED is given by waldump_waiting. Rows are those of
 * the table: TOAST tables are relations of their own, and entries of indexes are no rows.
 *
 * The lines are those of PostgreSQL 13 to 18 (src/backend/access/rmgrdesc: heapdesc.c, xactdesc.c,
 * standbydesc.c), printed with TZ=UTC. Other lines are passed over. Memory: that of the open
 * transactions, at most WALDUMP_OPEN_MAX; a further one is counted without its rows.
 */
#ifndef AGENT_JOBS_WALDUMP_H
#define AGENT_JOBS_WALDUMP_H

#include "base/lsn.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WALDUMP_OPEN_MAX 1000000
#define WALDUMP_TIME_MAX 40
#define WALDUMP_GID_SIZE 201 /* GIDSIZE, and a 0 */

/* A relation's file: tablespace, database (0: shared by all), number. */
struct relfile {
    uint32_t space, database, node;
};

struct lost_rows {
    struct relfile file;
    uint64_t inserted, updated, deleted;
    bool replaced; /* its file was dropped: TRUNCATE, DROP, or written anew */
};

struct lost_transaction {
    uint32_t xid;
    char committed[WALDUMP_TIME_MAX]; /* as printed, UTC; while it waits: when it was prepared */
    bool prepared;                    /* COMMIT PREPARED */
    char gid[WALDUMP_GID_SIZE];       /* while it waits; "": it is committed */
    bool partial;                     /* it has more rows than these */
    const struct lost_rows *rows;     /* borrowed, valid until the next line */
    size_t count;
};

struct waldump; /* waldump.c */

/* NULL: no memory. Transactions below `known_from` may have begun before the first line: their rows
 * are partial (0: there are none). */
struct waldump *waldump_new(lsn_t from, uint32_t known_from);
void waldump_free(struct waldump *w); /* accepts NULL */

/* 1: the line committed ret_transaction; 0; ERR_LOCAL no memory. */
int waldump_line(struct waldump *w, const char *line, struct lost_transaction *ret_transaction);

/* After the last line, the transactions that wait for COMMIT PREPARED, in the order of xid: 1, or 0
 * when there is none behind `after` (0: the first). */
int waldump_waiting(struct waldump *w, uint32_t after, struct lost_transaction *ret_transaction);

/* A snapshot of the running transactions: the next xid that will be given, the oldest running. */
bool waldump_running(const char *line, lsn_t *ret_lsn, uint32_t *ret_next, uint32_t *ret_oldest);

/* xid a was given before b, as PostgreSQL compares them. */
bool xid_before(uint32_t a, uint32_t b);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * loss list: the transactions that a fork has lost, listed from the WAL of the losing side.
 *
 * pg_waldump reads the WAL, from a place before the fork where no lost transaction had begun, so
 * that a transaction that lived across the fork has all its rows; where that much WAL is not there
 * any more, rows are told as "at least". The present primary names the tables, for the losing side
 * is down; a table that the primary never had is told by its file's number.
 *
 *   {"transactions": N, "waiting": 0, "listed": [{"xid": 731, "committed": "2026-...",
 *    "prepared": false, "at_least": false, "tables": [{"table": "chat.public.message", "inserted":
 *    1, "updated": 0, "deleted": 0, "replaced": false}]}], "tables": [the same, of all of them]}
 *
 * The oldest LOSSES_LISTED_MAX transactions are listed one by one; all are in the count and in
 * "tables". Behind them those that are prepared and wait, with "prepared_at" and "gid" instead of
 * "committed".
 *
 * Nothing is changed in the data directory, and its server may run: pg_waldump reads links in a
 * folder of the spool. WAL from before the fork that is not here any more is fetched into that
 * folder.
 */
#ifndef AGENT_JOBS_LOSS_LIST_H
#define AGENT_JOBS_LOSS_LIST_H

#include "jobs/job.h"
#include "shipper/wal/timeline.h"

#include <libpq-fe.h>

#define LOSSES_LISTED_MAX 50000

struct loss_list {
    struct job *job;
    struct lineage lineage; /* of the losing side */
    uint32_t segment_bytes;
    uint32_t next_xid; /* of its last checkpoint: this xid and later ones began after it */
    lsn_t fork, end;
    PGconn *connection; /* to the primary; NULL: no names, no WAL from before the fork */
    char why[160];      /* out: why there may be more than is listed; "": it is exact */
    /* private */
    int fetched; /* segments that the primary was asked for */
    char folder[300];
};

/* A new reference. ERR_PEER: pg_waldump failed; ERR_LOCAL: WAL is missing. */
int loss_list_make(struct loss_list *l, json_t **ret_list);

#endif

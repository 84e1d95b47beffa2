/*
 * loss list: the list of what a fork has lost, made from the WAL of the losing side.
 *
 * The WAL is read by pg_waldump, from a place before the fork where no transaction that was lost
 * had begun, so that a transaction that lived across the fork has all its rows; where that much WAL
 * is not there any more, rows are told as "at least". Tables are named by the present primary, the
 * only one who answers; what it never had is told by its file's number.
 *
 *   {"transactions": N, "waiting": 0, "listed": [{"xid": 731, "committed": "2026-...",
 *    "prepared": false, "at_least": false, "tables": [{"table": "chat.public.message", "inserted":
 *    1, "updated": 0, "deleted": 0, "replaced": false}]}], "tables": [the same, of all of them]}
 *
 * LOSSES_LISTED_MAX are listed one by one, the oldest; all are in the count and in "tables". Behind
 * them those that were prepared and wait, with "prepared_at" and "gid" instead of "committed".
 *
 * Nothing is changed in the data directory, and its server may run: the files are read through
 * links in a folder of the spool, where WAL from before the fork that is not here any more is
 * fetched to.
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
    uint32_t next_xid; /* of its last checkpoint: later transactions began after that */
    lsn_t fork, end;
    PGconn *connection; /* NULL: nobody to ask for names, nor for WAL from before the fork */
    char why[160];      /* out: why there may be more than is listed; "": it is exact */
    /* private */
    int fetched; /* segments that it was asked for */
    char folder[300];
};

/* A new reference. ERR_PEER: pg_waldump failed; ERR_LOCAL: WAL is missing. */
int loss_list_make(struct loss_list *l, json_t **ret_list);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * base backup: pg_basebackup through the tunnel, into the new directories of a datadir.
 */
#ifndef AGENT_JOBS_BASE_BACKUP_H
#define AGENT_JOBS_BASE_BACKUP_H

#include "jobs/datadir.h"
#include "jobs/job.h"

#include "base/lsn.h"
#include "shipper/sender/rate.h"

#include <libpq-fe.h>

#define BASE_BACKUP_PROBE_S "5" /* seconds of a copy that a dry run times */

struct base_backup {
    struct job *job; /* borrowed, as the next two */
    const struct datadir *d;
    const struct rate_plan *rate; /* NULL: no limit */
    const struct member *from;    /* NULL: the primary */
    lsn_t hold;                   /* renewed while bytes come; LSN_UNKNOWN: none */
    /* of the server that gives it: base_backup_prepare */
    bool brings_wal; /* its archive takes nothing: without WAL the copy would wait for that */
    char there[TABLESPACES_MAX][256]; /* where it has the tablespaces of `d` */
    /* results */
    uint64_t done_bytes, total_bytes, first_bytes;
    int64_t first_us, last_us;
};

/* Ask the server that gives the copy. ERR_PEER. */
int base_backup_prepare(struct base_backup *b, PGconn *server);

/* The whole copy, or (`probe`) its first seconds, then it is killed: mostly an error. ERR_PEER. */
int base_backup_run(struct base_backup *b, bool probe);

double
base_backup_rate(const struct base_backup *b); /* bytes per second, as measured; 0: unknown */

#endif

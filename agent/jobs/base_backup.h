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

#define BASE_BACKUP_PROBE_S "5" /* seconds of a copy that a dry run times */

struct base_backup {
    struct job *job; /* borrowed, as the next two */
    const struct datadir *d;
    const struct rate_plan *rate; /* NULL: no limit */
    lsn_t hold;                   /* renewed while bytes come; LSN_UNKNOWN: none */
    bool brings_wal; /* for the primary's archive takes nothing: without WAL it would wait for it */
    /* results */
    uint64_t done_bytes, total_bytes, first_bytes;
    int64_t first_us, last_us;
};

/* The whole copy, or (`probe`) its first seconds, then it is killed: mostly an error. ERR_PEER. */
int base_backup_run(struct base_backup *b, bool probe);

double
base_backup_rate(const struct base_backup *b); /* bytes per second, as measured; 0: unknown */

#endif

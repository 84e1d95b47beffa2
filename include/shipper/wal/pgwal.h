/* SPDX-License-Identifier: PostgreSQL */
/*
 * pgwal: the transaction log of a server that is dead, read from its pg_wal directory.
 *
 * When a primary's PostgreSQL has died but its agent lives, the WAL that never left its disk is
 * shipped before another member is promoted: then nothing is lost. The end of WAL is where crash
 * recovery would end: behind the last record whose header, chain and CRC are right. Source of the
 * rules: src/backend/access/transam/xlogreader.c, src/include/access/xlogrecord.h, xlog_internal.h.
 *
 * Never shipped while a postmaster lives (pgwal_open looks at postmaster.pid).
 */
#ifndef SHIPPER_WAL_PGWAL_H
#define SHIPPER_WAL_PGWAL_H

#include "base/lsn.h"
#include "base/identity.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct pgwal {
    int dir; /* pgdata/pg_wal */
    uint32_t segment_bytes;
    int fd;
    timeline_t timeline;
    lsn_t fd_start;
};

/* ERR_LOCAL: cannot be read; ERR_PEER: a postmaster is alive. */
int pgwal_open(struct pgwal *w, const char *pgdata, uint32_t segment_bytes);
/* Also when a postmaster may be alive: the end that is found is then one of some moment. */
int pgwal_open_beside(struct pgwal *w, const char *pgdata, uint32_t segment_bytes);
void pgwal_close(struct pgwal *w);

/*
 * The end of valid WAL of `timeline`, walking from the first record at or after `from` (a segment's
 * start; a record may reach into it). ERR_LOCAL when the segment of `from` is not there. Bounded
 * work per call is not promised: one gigabyte takes about a second; call it in a worker.
 */
int pgwal_end(struct pgwal *w, timeline_t timeline, lsn_t from, lsn_t *ret_end);

/* Up to n bytes at lsn, not past a segment's end; ERR_LOCAL when it is not there. */
int pgwal_read(struct pgwal *w, timeline_t timeline, lsn_t lsn, void *out, size_t n);

/* The start of the lowest segment in pg_wal at or above that of `from`, of any timeline; also
 * beside a living server. */
int pgwal_oldest(const char *pgdata, uint32_t segment_bytes, lsn_t from, lsn_t *ret_oldest);

/* Is the file at `path` the segment of `timeline` that begins at `start`: its size, and every page
 * header (cluster, timeline, address)? ERR_LOCAL: unreadable; ERR_CORRUPT: what it is instead. */
int pgwal_check(const char *path, const struct identity *identity, timeline_t timeline,
                lsn_t start);

/* 1: a postmaster runs on this data directory, 0: none does, ERR_LOCAL: unreadable. */
int pgwal_postmaster_alive(const char *pgdata);

/* Is pid a child of the postmaster of this data directory? The kernel tells by name and working
 * directory of both processes. Where those may not be looked at, postmaster.pid tells; its number
 * may be of another pid namespace. */
bool pgwal_postmaster_child(const char *pgdata, pid_t pid);

/* Beside a living server, of WAL that it has flushed: up to n bytes at lsn, not past the segment's
 * end. The count, or ERR_AGAIN: the segment is gone, or its file became another segment
 * meanwhile. */
int pgwal_serve(const char *pgdata, uint32_t segment_bytes, timeline_t timeline, lsn_t lsn,
                void *out, size_t n);

/* The text of a history file; as spool_history. */
int pgwal_history(const char *pgdata, timeline_t timeline, char *out, size_t size);

#endif

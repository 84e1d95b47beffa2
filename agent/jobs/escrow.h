/* SPDX-License-Identifier: PostgreSQL */
/*
 * escrow: what a rejoin keeps before it changes anything: all WAL from the fork on, the history
 * files, and the server's own settings files.
 *
 *   <spool>/escrow/<system identifier>-<timeline>-<fork LSN>/     segments and histories by name
 *   .../settings/   of the data directory: see settings.h
 *
 * It lies below the spool, where `walferry fetch` never looks: WAL of a dead branch must not reach
 * a server by its name. Every file is copied and flushed; a file that is there is compared and
 * replaced only if it differs, so each call may be repeated. Kept for `escrow_keep`.
 */
#ifndef AGENT_JOBS_ESCROW_H
#define AGENT_JOBS_ESCROW_H

#include "base/lsn.h"

#include <stddef.h>
#include <stdint.h>

/* The escrow's path; 0 or ERR_LOCAL (too long). */
int escrow_path(const char *spool, uint64_t system_identifier, timeline_t timeline, lsn_t fork,
                char *out, size_t size);

/* pg_wal to escrow: histories, and the segments that have a byte in [fork, end). Count of segments,
 * ERR_LOCAL. */
int escrow_keep(const char *escrow, const char *pgdata, uint32_t segment_bytes, lsn_t fork,
                lsn_t end);

/* Segments that the escrow still lacks, out of another directory, which may be absent. Count or
 * ERR_LOCAL. */
int escrow_add(const char *escrow, const char *from, uint32_t segment_bytes, lsn_t fork, lsn_t end);

/* All of it back into pg_wal, over files that a killed rewind left there. Count or ERR_LOCAL. */
int escrow_return(const char *escrow, const char *pgdata);

/* The settings of the data directory, and back: a file that is not in escrow is removed. */
int escrow_keep_settings(const char *escrow, const char *pgdata);
int escrow_return_settings(const char *escrow, const char *pgdata);

/* Remove each escrow that was last written longer than keep_us ago, and what was cut off the spool. */
void escrow_prune(const char *spool, int64_t keep_us, int64_t wall_us);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * control file: a data directory's pg_control, read while its server runs or is down.
 *
 * Its layout differs between versions: pg_controldata of the same version reads it, which blocks.
 * Only the first field, the system identifier, has the same place in all.
 */
#ifndef AGENT_POSTGRES_CONTROL_FILE_H
#define AGENT_POSTGRES_CONTROL_FILE_H

#include "base/identity.h"
#include "base/lsn.h"

#include <stdbool.h>
#include <stdint.h>

/* As of the last checkpoint or restartpoint if the server runs. An LSN or timeline of 0: none. */
struct control_file {
    uint64_t system_identifier;
    uint32_t segment_bytes, next_xid;
    timeline_t timeline; /* the later one of the checkpoint's and recovery_timeline */
    lsn_t redo, checkpoint;
    lsn_t recovery_end; /* minimum recovery point: replay has to go on to here, or went */
    timeline_t recovery_timeline;
    bool shut_down, checksums, hints, full_page_writes;
};

/* By pg_controldata of bindir. ERR_PEER: it fails; ERR_LOCAL: it says something else. */
int control_file_read(const char *bindir, const char *pgdata, struct control_file *ret);

/* The WAL of the data directory goes at least to here: its checkpoint, or the end of recovery. */
lsn_t control_file_reached(const struct control_file *c);

/* System identifier and, of PG_VERSION, the major version, without starting a program;
 * segment_bytes stays 0. ERR_LOCAL. */
int control_file_identity(const char *pgdata, struct identity *ret_identity);

#endif

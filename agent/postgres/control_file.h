/* SPDX-License-Identifier: PostgreSQL */
/*
 * control file: a data directory's pg_control, read while its server runs or is down.
 *
 * Its layout differs between versions: pg_controldata of the same version reads it, which blocks.
 * Only its beginning is the same in all.
 */
#ifndef AGENT_POSTGRES_CONTROL_FILE_H
#define AGENT_POSTGRES_CONTROL_FILE_H

#include "base/identity.h"
#include "base/lsn.h"
#include "shipper/wal/timeline.h"

#include <stdbool.h>
#include <stdint.h>

/* As of the last checkpoint or restartpoint if the server runs. An LSN or timeline of 0: none. */
struct control_file {
    uint64_t system_identifier;
    uint32_t segment_bytes, next_xid;
    timeline_t timeline; /* the later one of checkpoint_timeline and recovery_timeline */
    timeline_t checkpoint_timeline;
    lsn_t redo, checkpoint;
    lsn_t recovery_end; /* minimum recovery point: replay has to go on to here, or went */
    timeline_t recovery_timeline;
    bool shut_down, checksums, hints, full_page_writes;
    bool torn; /* its checksum is wrong: a base backup copied it while it was written */
};

/* By pg_controldata of bindir. ERR_PEER: it fails; ERR_LOCAL: it says something else. */
int control_file_read(const char *bindir, const char *pgdata, struct control_file *ret);

/* The WAL of the data directory goes at least to here: its checkpoint, or the end of recovery. */
lsn_t control_file_reached(const struct control_file *c);

/*
 * What a start on this data directory would make of it, for a server that is down: a few small
 * reads, no program. Up to here ControlFileData is the same in PostgreSQL 13 to 18
 * (src/include/catalog/pg_control.h):
 *
 *      8 u32 pg_control_version    16 u32 state (enum DBState)
 *     32 u64 the checkpoint          48 u32 its timeline
 *    136 u64 minRecoveryPoint       144 u32 its timeline
 *
 * ERR_LOCAL: there is no such directory, or its pg_control has another layout.
 */
struct control_start {
    bool opens_writable; /* no standby.signal: it ends in taking writes */
    bool ran_writable; /* its last server did, and this is no copy of another one (backup_label) */
    timeline_t timeline; /* the later one of the last checkpoint's and the end of recovery's */
    /* what the data directory has for certain; an LSN or timeline of 0: none */
    struct position checkpoint; /* where that record begins */
    struct position recovery_end;
};
int control_file_start(const char *pgdata, struct control_start *ret_start);

/* System identifier and, of PG_VERSION, the major version, without starting a program;
 * segment_bytes stays 0. ERR_LOCAL. */
int control_file_identity(const char *pgdata, struct identity *ret_identity);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * gap store: what archive and spools give of a gap, on its way to the link. It is an outbox of the
 * backfill's own, and nothing gets there before it is proven (proof.h). A segment of the archive
 * goes there from its file, over the end of a timeline, too.
 */
#ifndef AGENT_RETENTION_GAP_STORE_H
#define AGENT_RETENTION_GAP_STORE_H

#include "links/outgoing.h"
#include "retention/archive.h"
#include "retention/gap.h"
#include "retention/outbox.h"
#include "retention/proof.h"

struct gap_store {
    const struct who *who; /* borrowed, as this: */
    const struct outgoing *out;
    struct outbox box;
    struct proof proof;    /* of what archive and spools give, before the box has it */
    bool proving;          /* the last record goes on in pg_wal: looked at there, by */
    struct records beyond; /* ... this */
    uint32_t given_bytes;  /* of the fetched segment, as of a timeline */
    bool switched;         /* the older timeline has its part of it, the newer one follows */
};

/* The timeline whose file has the segment of lsn. True when the timeline at the store's end ends
 * in it, at *ret_end: the file of the next timeline has both. */
bool gap_store_switches(const struct gap_store *g, const struct gap *gap, lsn_t lsn,
                        timeline_t *ret_file, lsn_t *ret_end);

/* The fetched segment into the store, a megabyte at a time. 1: all of it is there; 0: come again;
 * ERR_LOCAL: it cannot be kept here; else it is not the WAL that is wanted. */
int gap_store_give(struct gap_store *g, const struct gap *gap, const struct archive_job *j,
                   int64_t now_us);

/* All has come but the end of its last record: pg_wal, where the gap ends (`until`), has that. 0,
 * or an error: ERR_CORRUPT when the record does not go on there. */
int gap_store_prove_end(struct gap_store *g, const struct gap *gap, lsn_t until);

#endif

/*
 * segment: what the archive gave of a gap, from its file into the backfill's store, over the end of
 * a timeline, too, and not before it is proven (proof.h).
 */
#ifndef AGENT_RETENTION_SEGMENT_H
#define AGENT_RETENTION_SEGMENT_H

#include "retention/backfill.h"

/* The timeline whose file has the segment of lsn. True when the timeline at the store's end ends
 * in it, at *ret_end: the file of the next timeline has both. */
bool segment_switches(const struct backfill *d, const struct gap *gap, lsn_t lsn,
                      timeline_t *ret_file, lsn_t *ret_end);

/* The fetched segment into the store, a megabyte at a time. 1: all of it is there; 0: come again;
 * ERR_LOCAL: it cannot be kept here; else it is not the WAL that is wanted. */
int segment_give(struct backfill *d, const struct gap *gap, int64_t now_us);

/* All has come but the end of its last record: pg_wal, where the gap ends, has that. 0, or an
 * error: ERR_CORRUPT when the record does not go on there. */
int segment_prove_end(struct backfill *d, const struct gap *gap);

#endif

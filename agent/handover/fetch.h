/* SPDX-License-Identifier: PostgreSQL */
/*
 * fetch: the rest of another member's WAL, for a failover here: from its spool through its relay, also
 * when its PostgreSQL is down.
 *
 * This member asks for it, over a tunnel to that relay (tunnel.h), so no link comes in and nothing is
 * believed that would not be believed of a member that is dialled. Bytes that are here already come
 * again from their segment's begin and are compared; WAL that does not continue ours ends it, and
 * changes nothing. Nobody else may write into the spool meanwhile: the caller has shut the inlet.
 * A connection that breaks is made again; nothing for FETCH_US ends it.
 */
#ifndef AGENT_HANDOVER_FETCH_H
#define AGENT_HANDOVER_FETCH_H

#include "links/incoming.h"

#include "shipper/replication/source.h"
#include "shipper/wal/timeline.h"

#define FETCH_US (15 * SECOND_US)

enum fetched { FETCH_GOES_ON, FETCH_DONE, FETCH_FAILED };

struct fetch {
    struct incoming *in; /* borrowed; NULL: none runs */
    const struct member *from;
    struct position end;    /* up to there */
    struct lineage lineage; /* of that; its text is `history` */
    char *history;
    struct source *source;
    struct source_item item; /* that waits for the spool */
    bool has_item;
    lsn_t moved; /* that came last, also to be compared only */
    int64_t moved_us, retry_us;
    char reason[512]; /* why the last try ended; "": none did */
};

/* From that member, up to its `end` of that lineage. 0 or ERR_LOCAL. */
int fetch_begin(struct fetch *t, struct incoming *in, const struct member *from,
                const struct lineage *lineage, struct position end, int64_t now_us);
/* FETCH_DONE: all is on disk. FETCH_FAILED: `reason` says why. */
enum fetched fetch_run(struct fetch *t, const struct loop *l, int64_t now_us);
void fetch_watch(const struct fetch *t, struct loop *l);
void fetch_stop(struct fetch *t); /* accepts a zeroed one */

/* Where WAL from another member has to begin: a segment's start at or before our end. False: nothing
 * is known of where we are. */
bool fetch_from(const struct incoming *in, timeline_t *ret_timeline, lsn_t *ret_lsn);

#endif

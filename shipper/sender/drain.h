/* SPDX-License-Identifier: PostgreSQL */
/*
 * drain: ship the rest of a dead server's log, which no walsender streams any more. A worker looks
 * up where the log ends; then its WAL is read from pg_wal and sent, and DRAINED tells the far side
 * how it went.
 */
#ifndef SENDER_DRAIN_H
#define SENDER_DRAIN_H

#include "base/worker.h"
#include "shipper/sender/sender.h"
#include "shipper/wal/pgwal.h"
#include "shipper/wal/timeline.h"

#define DRAIN_FRAMES 1 /* DRAINED: its place in the window is kept during a drain */

enum drain_state { DRAIN_NONE, DRAIN_LOOKING, DRAIN_SHIPPING };

struct drain {
    const char *member, *pgdata; /* the far one, for the log; all borrowed */
    struct sender *sender;
    enum drain_state state;
    struct worker worker;
    struct pgwal wal;
    const struct lineage *lineage; /* of the server, borrowed from the link */
    timeline_t timeline;           /* its present one, which has the end ... */
    timeline_t ships;              /* ... and the one that is being sent */
    lsn_t from, end;
    bool border; /* from is where the last byte that was sent ends */
    int code;    /* of the look-up */
    char reason[256];
    lsn_t done; /* in this session the log is sent up to here; LSN_UNKNOWN: not drained */
};

int drain_init(struct drain *d, const char *member, const char *pgdata, struct sender *sender);
void drain_release(struct drain *d);

/* Behind the last byte that the sender took, along the timelines of the server. */
int drain_begin(struct drain *d, const struct lineage *server);
int drain_run(struct drain *d);
void drain_stop(struct drain *d); /* the session is over */

#endif

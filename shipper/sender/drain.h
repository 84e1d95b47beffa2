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

#define DRAIN_FRAMES 1 /* DRAINED: its place in the window is kept during a drain */

enum drain_state { DRAIN_NONE, DRAIN_LOOKING, DRAIN_SHIPPING };

struct drain {
    const char *member, *pgdata; /* the far one, for the log; all borrowed */
    struct sender *sender;
    enum drain_state state;
    struct worker worker;
    struct pgwal wal;
    timeline_t timeline;
    lsn_t from, end;
    int code; /* of the look-up */
    char reason[256];
    lsn_t done; /* in this session the log is sent up to here; LSN_UNKNOWN: not drained */
};

int drain_init(struct drain *d, const char *member, const char *pgdata, struct sender *sender);
void drain_release(struct drain *d);

int drain_begin(struct drain *d); /* behind the last byte that the sender took */
int drain_run(struct drain *d);
void drain_stop(struct drain *d); /* the session is over */

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * rates: looked at once a second: how fast WAL is made and shipped, and how fast the disks that it
 * lies on fill.
 */
#ifndef AGENT_RETENTION_RATES_H
#define AGENT_RETENTION_RATES_H

#include "links/incoming.h"
#include "links/outgoing.h"

#include "base/trend.h"

/* What a file system has left. */
struct disk {
    bool known;
    uint64_t free_bytes;
    struct trend trend;
};

struct rates {
    struct trend produced; /* where the primary stands */
    struct trend
        shipped[MEMBERS_MAX]; /* where the far side of each link stands; [0] on a standby */
    struct disk spool, pg_wal;
};

void rates_look(struct rates *r, const struct outgoing *out, const struct incoming *in,
                int64_t now_us);
void rates_forget_wal(struct rates *r); /* this member has another role now */

#endif

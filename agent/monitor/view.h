/* SPDX-License-Identifier: PostgreSQL */
/*
 * view: everything there is to see in this agent, for the rooms that only tell of it: the report,
 * conditions, metrics and the concierge. All of it is const and borrowed from the daemon.
 */
#ifndef AGENT_MONITOR_VIEW_H
#define AGENT_MONITOR_VIEW_H

#include "files/site_files.h"
#include "links/ask.h"
#include "links/incoming.h"
#include "links/outgoing.h"
#include "retention/backfill.h"
#include "retention/disk_guard.h"
#include "tunnel/tunnel.h"

struct conditions; /* conditions.h */
struct known;      /* pool/known.h */

struct view {
    const struct who *who;
    const struct asks *asks;
    const struct outgoing *out;
    const struct incoming *in;
    const struct rates *rates;
    const struct outbox *outbox;
    const struct gaps *gaps;
    const struct backfill *backfill;
    const struct disk_guard *guard;
    const struct tunnel *tunnel;
    const struct site_files *site;
    const struct conditions *conditions;
    const struct known *known;
};

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * slot_sync: which session with SQL that came to the relay is led to the primary's PostgreSQL.
 *
 * A standby of PostgreSQL 17 and later synchronizes logical slots (sync_replication_slots, or the
 * function pg_sync_replication_slots) by an ordinary session over primary_conninfo, which names the
 * relay. Led through the tunnel is one role in one database: slot_sync_user, slot_sync_database.
 * Pure.
 *
 * Such a session ends with the link, and before this member is promoted: PostgreSQL promotes only
 * when its synchronization has ended, and in older minors that waits for an answer of the primary
 * without a limit.
 */
#ifndef AGENT_TUNNEL_SLOT_SYNC_H
#define AGENT_TUNNEL_SLOT_SYNC_H

#include "config/config.h"
#include "pool/role.h"

#include "shipper/replication/pgwire.h"

#define SLOT_SYNC_MAX 2 /* sessions at a time: one synchronizes, one that broke is being ended */

struct slot_sync {
    enum role role;
    bool linked;   /* WAL comes from the member that the session is led to */
    unsigned open; /* such sessions, so far */
};

/* Does this role get in as such? */
bool slot_sync_is(const struct config *c, const struct startup *s);

/* 0; ERR_PEER: why not is the message, and the SQLSTATE to say it with. */
int slot_sync_judge(const struct config *c, const struct slot_sync *now, const struct startup *s,
                    const char **ret_sqlstate);

/* May a session that was let in go on? */
bool slot_sync_stays(const struct slot_sync *now);

#endif

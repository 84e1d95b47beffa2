/* SPDX-License-Identifier: PostgreSQL */
/*
 * prepare: that this member can be promoted is shown before an epoch is spent on it.
 *
 * The inlet takes no WAL meanwhile but hears the primary; PostgreSQL says what it lets the agent
 * do, and flushes all that the spool holds. Nothing is written: a failover that ends here leaves
 * everything as it was. A dry run does the same with the inlet open.
 */
#ifndef AGENT_HANDOVER_PREPARE_H
#define AGENT_HANDOVER_PREPARE_H

#include "handover/failover.h"

void prepare_begin(struct failover *f, int64_t now_us);

/* Is it shown? PREPARED_NOT_YET: come back; else than PREPARED: f->refusal says what is wrong. */
enum prepared prepare_run(struct failover *f, int64_t now_us);

/* What the PostgreSQL here has flushed, by its own word or its walreceiver's. */
lsn_t prepare_flushed(const struct failover *f, bool *ret_connected);

/* That it does not come up to what the spool holds, and why. Returns out. */
const char *prepare_stall(const struct failover *f, lsn_t held, char *out, size_t size);

#endif

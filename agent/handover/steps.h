/* SPDX-License-Identifier: PostgreSQL */
/*
 * steps: the journal's steps of a failover (epoch.h), which spend the epoch, and its last line.
 *
 * Each step may be killed and done again; it waits for a state with a deadline. One that cannot be
 * done ends the failover with the reason, the journal stays where it is. Behind the last one the
 * member is the primary; the exit code waits until it is known whether acknowledged WAL is missing.
 */
#ifndef AGENT_HANDOVER_STEPS_H
#define AGENT_HANDOVER_STEPS_H

#include "handover/failover.h"

/* The questions are over: FAILOVER_RUNNING, from where the journal goes on. */
void steps_begin(struct failover *f, int64_t now_us);
void steps_run(struct failover *f, int64_t now_us);
/* The journal is over, in this run or an earlier one: only the last word is left. */
void steps_end(struct failover *f, int64_t now_us);

/* Where our timeline forked from the parent's, by its own history file. */
bool steps_fork(const struct failover *f, lsn_t *ret_fork);

#endif

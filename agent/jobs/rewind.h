/* SPDX-License-Identifier: PostgreSQL */
/*
 * rewind: pg_rewind of this member's data directory to the present primary, or to a standby of it
 * (giver.h), with the settings, the WAL and the crash recovery that it needs.
 *
 * PostgreSQL is down, and the data directory closed (datadir.h); all WAL from the fork on is in
 * escrow. Each call may be killed and repeated. Errors: ERR_LOCAL, ERR_PEER, ERR_USAGE for what the
 * DBA has to change first.
 */
#ifndef AGENT_JOBS_REWIND_H
#define AGENT_JOBS_REWIND_H

#include "jobs/divergence.h"
#include "jobs/giver.h"

/* Before anything is touched: can it be rewound? When divergence_look has told where they part. */
int rewind_check(struct divergence *p);

/* ... and does pg_rewind take the links and directories that it would find? */
int rewind_check_place(const char *pgdata);

/* Crash recovery in single-user mode, if there was no clean stop, or of a standby whose last
 * restartpoint is of an earlier timeline; the WAL that it wrote goes to `escrow`, too. When divergence_control has told the state. */
int rewind_recover(struct divergence *p, const char *escrow);

/* Rewind, or, when that was done before, only flush; then no WAL behind the fork is left in pg_wal.
 * When divergence_control has told the state. */
int rewind_run(struct divergence *p, const char *escrow, struct giver *giver);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * hold: <spool>/hold, an LSN from which on the agent removes no WAL from the spool.
 *
 * A copy that is being made needs the WAL from its beginning on, and is no standby yet that could
 * say so. The file outlives kills of the command and of the agent. The command that holds renews
 * the file as it gets on. A day after the last renewal the file is void, unless the command still
 * runs (it has the job's lock): else a command that was given up, or fails again and again, would
 * fill the disk.
 */
#ifndef SHIPPER_WAL_HOLD_H
#define SHIPPER_WAL_HOLD_H

#include "base/lsn.h"

#include <stdint.h>

#define HOLD_LOCK_FILE "job.lock" /* in the spool; the command that holds locks it */

int hold_set(int dir, lsn_t from);    /* also to renew the file. ERR_LOCAL */
int hold_resume(int dir, lsn_t from); /* when a command goes on: set it only if it is void by now */
int hold_end(int dir);                /* fine when there is no file */

/* The LSN, or UINT64_MAX when nothing is held. A file that cannot be read holds everything for a
 * day: 0, and the message says what to do. */
lsn_t hold_from(int dir, int64_t wall_us);

#endif

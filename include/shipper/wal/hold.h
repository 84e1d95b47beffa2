/*
 * hold: <spool>/hold, an LSN from which on the agent removes no WAL from the spool, whoever has it.
 *
 * A copy that is being made needs the WAL from its beginning on, and is no standby yet that could
 * say so. The file outlives kills of the command and of the agent. Whoever holds renews it when it
 * gets on; a day after the last time it is void, unless a long command still runs (it has the job's
 * lock): one that was given up, or is tried again and again in vain, would fill the disk.
 */
#ifndef SHIPPER_WAL_HOLD_H
#define SHIPPER_WAL_HOLD_H

#include "base/lsn.h"

#include <stdint.h>

#define HOLD_LOCK_FILE "job.lock" /* in the spool; the command that holds has it locked */

int hold_set(int dir, lsn_t from);    /* also to renew it. ERR_LOCAL */
int hold_resume(int dir, lsn_t from); /* when a command goes on: only if it is void by now */
int hold_end(int dir);                /* fine when there is none */

/* The LSN, or UINT64_MAX when nothing is held. A file that cannot be read holds everything: 0, and
 * the message says what to do; for a day, as any. */
lsn_t hold_from(int dir, int64_t wall_us);

#endif

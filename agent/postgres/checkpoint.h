/* SPDX-License-Identifier: PostgreSQL */
/*
 * checkpoint: make PostgreSQL checkpoint now, for only a checkpoint removes WAL that is not kept.
 *
 * The command CHECKPOINT needs a superuser before 15, and a granted role since; but a base backup
 * begins with a checkpoint for every role that may replicate. So a backup is begun on a connection
 * of its own, and not taken. Nothing blocks; a failure is one line in the log.
 */
#ifndef AGENT_POSTGRES_CHECKPOINT_H
#define AGENT_POSTGRES_CHECKPOINT_H

#include "base/loop.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

struct checkpoint {
    PGconn *conn; /* NULL: none is under way */
    PostgresPollingStatusType polling;
    bool asked;
    int64_t since_us;
};

/* Begin; no-op while one is under way. */
void checkpoint_ask(struct checkpoint *c, const char *conninfo, int64_t now_us);
void checkpoint_watch(const struct checkpoint *c, struct loop *l);
void checkpoint_run(struct checkpoint *c, const struct loop *l, int64_t now_us);
void checkpoint_close(struct checkpoint *c); /* accepts a zeroed struct */

#endif

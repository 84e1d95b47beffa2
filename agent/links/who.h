/* SPDX-License-Identifier: PostgreSQL */
/*
 * who: this member as the rooms of the daemon see it: its place in the pool's file, its role, what
 * the pool knows, and the PostgreSQL beside it. Every room borrows it and only reads. The daemon is
 * the writer; of `pool` a failover is one, too (its journal).
 */
#ifndef AGENT_LINKS_WHO_H
#define AGENT_LINKS_WHO_H

#include "config/config.h"
#include "pool/role.h"
#include "postgres/postgres.h"

#include "shipper/wal/spool.h"

/* A sample of PostgreSQL tells where it stands for so long. */
#define WHO_FRESH_US (3 * POSTGRES_SAMPLE_US)

struct who {
    const struct config *config;
    const struct member *self;
    enum role role;
    char alarm[ALARM_MAX]; /* "" : all is well */
    struct pool pool;
    struct postgres *postgres;
    const struct spool *spool; /* whose directory has pool.state, too */
    int64_t started_us;
};

/* Of PostgreSQL, or while it was not seen of what the spool holds. */
const struct identity *who_identity(const struct who *w);

/* What is told of this PostgreSQL to other members. */
enum pong_postgres who_postgres(const struct who *w, int64_t now_us);

/* Save pool.state; 0 or the error, which is also logged. A state is on disk before it is acted on.
 */
int who_save_pool(const struct who *w);

#endif

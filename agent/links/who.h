/* SPDX-License-Identifier: PostgreSQL */
/*
 * who: this member as the rooms of the daemon see it: its place in the pool's file, its role, what
 * the pool knows, and the PostgreSQL beside it. Every room borrows it and only reads. The daemon is
 * the writer; of `pool` a failover is one, too (its journal).
 */
#ifndef AGENT_LINKS_WHO_H
#define AGENT_LINKS_WHO_H

#include "config/config.h"
#include "pool/promise.h"
#include "postgres/postgres.h"

#include "shipper/wal/spool.h"

/* A sample of PostgreSQL tells where it stands for so long. */
#define WHO_FRESH_US (3 * POSTGRES_SAMPLE_US)

struct who {
    const struct config *config;
    const struct member *self;
    enum role role;
    char alarm[ALARM_MAX];     /* "" : all is well */
    bool ships;                /* ... or it does not forbid a primary to ship */
    char missing[ALARM_MAX];   /* acknowledged WAL that our PostgreSQL lacks; "" : none */
    struct replay_word replay; /* what our PostgreSQL has, against the WAL of the pool */
    struct pool pool;
    const struct own_ask *asking; /* of the failover here */
    struct postgres *postgres;
    const struct spool *spool; /* whose directory has pool.state, too */
    int64_t started_us;
};

/* Of PostgreSQL, or while it was not seen of what the spool holds. */
const struct identity *who_identity(const struct who *w);

/* Is this member a standby at the site of the primary? */
bool who_is_mirror(const struct who *w);

/* What is told of this PostgreSQL to other members. */
enum pong_postgres who_postgres(const struct who *w, int64_t now_us);

/* POOL: what is known here, and where this member stands. It borrows the pool's chain. */
void who_pool_frame(const struct who *w, struct frame *ret_frame);

/* `pool`, which is w's, becomes `next`, on disk first: what cannot be saved is not believed. 0 or the
 * error, which is also logged. */
int who_set_pool(const struct who *w, struct pool *pool, const struct pool *next);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/* See who.h. */
#include "links/who.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "shipper/wal/pgwal.h"

const struct identity *
who_identity(const struct who *w)
{
    const struct identity *live = postgres_identity(w->postgres);

    return live->system_identifier != 0 ? live : &w->spool->identity;
}

static bool
sample_is_fresh(const struct who *w, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(w->postgres);

    return postgres_state(w->postgres) == POSTGRES_UP && s != NULL &&
           now_us - s->mono_us < 2 * SECOND_US;
}

enum pong_postgres
who_postgres(const struct who *w, int64_t now_us)
{
    if (sample_is_fresh(w, now_us))
        return PONG_POSTGRES_ANSWERS;
    if (postgres_state(w->postgres) == POSTGRES_UNKNOWN)
        return PONG_POSTGRES_UNKNOWN;
    return pgwal_postmaster_alive(w->self->pgdata) == 0 ? PONG_POSTGRES_DEAD : PONG_POSTGRES_SILENT;
}

int
who_save_pool(const struct who *w)
{
    int code = pool_save(&w->pool, w->spool->dir);

    if (code < 0)
        log_error("%s", fail_message());
    return code;
}

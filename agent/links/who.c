/* SPDX-License-Identifier: PostgreSQL */
/* See who.h. */
#include "links/who.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "shipper/wal/pgwal.h"

#include <stdio.h>
#include <string.h>

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
    if (pgwal_postmaster_alive(w->self->pgdata) == 0)
        return PONG_POSTGRES_DEAD;
    return postgres_state(w->postgres) == POSTGRES_STARTING   ? PONG_POSTGRES_STARTING
           : postgres_state(w->postgres) == POSTGRES_STOPPING ? PONG_POSTGRES_STOPPING
                                                              : PONG_POSTGRES_SILENT;
}

bool
who_is_mirror(const struct who *w)
{
    const struct member *primary = config_member(w->config, w->pool.epoch.member);

    return w->role == ROLE_STANDBY && primary != NULL && strcmp(primary->site, w->self->site) == 0;
}

/* Where the WAL of this member ends: its own as the primary, else what its spool has on disk, or
 * without one its PostgreSQL. */
static struct member_position
own_position(const struct who *w)
{
    const struct postgres_sample *s = postgres_sample(w->postgres);
    struct member_position p = {.timeline = w->spool->timeline, .flushed = w->spool->flushed};

    snprintf(p.member, sizeof p.member, "%s", w->self->name);
    if (s != NULL && s->in_recovery)
        p.applied = s->replay;
    if (s != NULL && s->in_recovery && spool_empty(w->spool)) {
        p.timeline = s->timeline;
        p.flushed = s->flush > s->replay ? s->flush : s->replay;
    }
    if (s != NULL && !s->in_recovery) {
        p.timeline = s->timeline;
        p.flushed = p.applied = s->flush;
        p.age_us = clock_us() - s->mono_us;
    }
    return p;
}

void
who_pool_frame(const struct who *w, struct frame *ret_frame)
{
    *ret_frame = (struct frame){.type = FRAME_POOL,
                                .pool = {.timeline = w->pool.timeline,
                                         .changes = w->pool.changes,
                                         .change = w->pool.change,
                                         .positions = 1,
                                         .position = {own_position(w)},
                                         .routes = w->pool.routes}};
}

int
who_set_pool(const struct who *w, struct pool *pool, const struct pool *next)
{
    int code = pool_save(next, w->spool->dir);

    if (code < 0)
        log_error("%s", fail_message());
    else
        *pool = *next;
    return code;
}

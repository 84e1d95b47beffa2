/* SPDX-License-Identifier: PostgreSQL */
/* See outgoing.h. */
#include "links/outgoing.h"

#include "pool/route.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"
#include "shipper/wal/pgwal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define STUCK_US (300 * MILLISECOND_US)

/* The text of the primary's history file, which HELLO carries. Where an epoch was overruled, the next
 * promotion may make another timeline of the same number. */
int
outgoing_load_history(struct outgoing *o, timeline_t timeline)
{
    int got = 0;

    if (timeline == o->lineage.timeline && epoch_equal(&o->loaded, &o->who->pool.epoch))
        return 0;
    o->lineage.timeline = 0;
    o->lineage.length = 0;
    if (timeline > 1 && o->who->role == ROLE_STANDBY)
        got = spool_history(o->who->spool, timeline, o->history, HISTORY_BYTES_MAX + 1);
    else if (timeline > 1)
        got = pgwal_history(o->who->self->pgdata, timeline, o->history, HISTORY_BYTES_MAX + 1);
    if (got == ERR_AGAIN)
        got = fail(ERR_LOCAL, "the history of timeline %u is not in %s/pg_wal", timeline,
                   o->who->self->pgdata);
    if (got < 0)
        return got;
    o->lineage.length = (size_t)got;
    o->lineage.timeline = timeline;
    o->loaded = o->who->pool.epoch;
    return 0;
}

timeline_t
outgoing_timeline_at(const struct outgoing *o, lsn_t lsn)
{
    timeline_t newest = o->who->pool.timeline;

    return o->lineage.timeline == newest ? lineage_at(&o->lineage, lsn) : newest;
}

/* The server of a primary, or the spool of a standby that passes its WAL on. */
static bool
has_wal(struct outgoing *o, const char **ret_why)
{
    const struct postgres_sample *s = postgres_sample(o->who->postgres);
    const struct spool *spool = o->who->spool;

    if (o->who->role == ROLE_STANDBY) {
        *ret_why = "its own WAL is not yet of the primary's timeline";
        return !spool_empty(spool) && spool->timeline == o->who->pool.timeline &&
               spool->next_timeline == 0 && !spool->damaged;
    }
    *ret_why = "waiting for PostgreSQL, which was not seen yet";
    return s == NULL || !s->in_recovery || postgres_state(o->who->postgres) != POSTGRES_UP;
}

/* HELLO for the links, or NULL and why nothing is shipped now. */
static const struct hello *
make_hello(struct outgoing *o, const char **ret_why)
{
    const struct identity *identity =
        o->who->role == ROLE_STANDBY ? &o->who->spool->identity : who_identity(o->who);
    const struct routes *routes = &o->who->pool.routes;

    *ret_why = "this member is not the primary";
    if (o->who->role != ROLE_PRIMARY && o->who->role != ROLE_STANDBY)
        return NULL;
    *ret_why = o->who->alarm;
    if (o->who->role == ROLE_PRIMARY ? !o->who->ships : o->who->alarm[0] != '\0')
        return NULL;
    *ret_why = "the epoch or the timeline is another one: the link begins anew";
    if (o->hello.epoch.number != 0 && (!epoch_equal(&o->hello.epoch, &o->who->pool.epoch) ||
                                       o->hello.timeline != o->who->pool.timeline)) {
        o->hello.epoch.number = 0; /* for one turn: the far side hears of it by the next HELLO */
        return NULL;
    }
    *ret_why = "waiting for PostgreSQL, which was not seen yet";
    if (identity->system_identifier == 0 || identity->segment_bytes == 0 ||
        o->who->pool.timeline == 0)
        return NULL;
    if (!has_wal(o,
                 ret_why)) /* of a server that is down again, what it has left can be asked for */
        return NULL;
    if (outgoing_load_history(o, o->who->pool.timeline) < 0) {
        *ret_why = fail_message();
        return NULL;
    }
    o->hello = (struct hello){.protocol = FRAME_PROTOCOL,
                              .identity = *identity,
                              .epoch = o->who->pool.epoch,
                              .incarnation = o->incarnation,
                              .timeline = o->who->pool.timeline,
                              .config_digest = o->who->config->digest,
                              .hops = 1,
                              .history = o->history,
                              .history_bytes = o->lineage.length};
    snprintf(o->hello.pool, sizeof o->hello.pool, "%s", o->who->config->name);
    snprintf(o->hello.from, sizeof o->hello.from, "%s", o->who->self->name);
    snprintf(o->hello.path[0], sizeof o->hello.path[0], "%s", o->hello.epoch.member);
    if (o->who->role == ROLE_STANDBY)
        snprintf(o->hello.path[o->hello.hops++], sizeof o->hello.path[0], "%s", o->who->self->name);
    if (epoch_equal(&routes->epoch, &o->hello.epoch))
        o->hello.table = routes->number;
    return &o->hello;
}

bool
outgoing_feeds(const struct outgoing *o, const char *member)
{
    const struct pool *p = &o->who->pool;
    const struct route *route =
        epoch_equal(&p->routes.epoch, &p->epoch) ? routes_of(&p->routes, member) : NULL;

    if (o->who->role == ROLE_PRIMARY &&
        (route == NULL || (p->promised.number != 0 && strcmp(p->promised.member, member) == 0)))
        return true; /* who takes over wants what the primary has left from itself */
    return (o->who->role == ROLE_PRIMARY || o->who->role == ROLE_STANDBY) && route != NULL &&
           strcmp(route->from, o->who->self->name) == 0;
}

bool
outgoing_rests(const struct outgoing *o, const struct link *l)
{
    return o->who->role == ROLE_PRIMARY && l->state == LINK_STOPPED &&
           !outgoing_feeds(o, l->member);
}

lsn_t
outgoing_flushed(const struct outgoing *o, const struct link *l)
{
    const struct sender *s = &l->sender;

    return s->far_known && (s->far_compared || outgoing_rests(o, l)) ? s->far.flushed : LSN_UNKNOWN;
}

/* A link that is not in the table any more goes on until the far side takes another one for it. */
static bool
wants_link(const struct outgoing *o, const struct link *l)
{
    return outgoing_feeds(o, l->member) || l->state == LINK_SHIPPING;
}

/* A stopping server waits for its walsenders: let go of it when the line is too slow. */
static bool
may_hold_walsender(const struct outgoing *o, const struct link *l, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(o->who->postgres);
    char wait[32], bytes[24];

    if (o->stopping_us == 0 || now_us - o->stopping_us < o->who->config->shutdown_wait_us)
        return true;
    if (l->source_allowed && source_active(l->source))
        log_warning(
            "link to %s: PostgreSQL has waited %s for its WAL to be shipped and is let go: about %s stay "
            "unshipped until it is back",
            l->member, text_duration(wait, sizeof wait, o->who->config->shutdown_wait_us),
            text_bytes(bytes, sizeof bytes,
                       s != NULL && s->flush > l->sender.far.flushed
                           ? s->flush - l->sender.far.flushed
                           : 0));
    return false;
}

void
outgoing_run(struct outgoing *o, const struct loop *loop, int64_t now_us, int64_t wall_us)
{
    const char *why;
    const struct hello *hello = make_hello(o, &why);
    bool promised = o->who->pool.promised.number != 0; /* only what is asked for with DRAIN goes */
    bool relays = o->who->role == ROLE_STANDBY;
    enum pong_postgres word = o->links > 0 ? who_postgres(o->who, now_us) : PONG_POSTGRES_UNKNOWN;

    for (size_t i = 0; i < o->links; i++) {
        struct link *l = &o->link[i];

        l->relays = relays;
        l->sender.postgres =
            relays ? PONG_POSTGRES_UNKNOWN : word; /* the primary speaks for itself */
        l->source_allowed = !promised && (relays || may_hold_walsender(o, l, now_us));
        l->exact = l->sender.commits_wait || o->stopping_us != 0;
        if (wants_link(o, l))
            link_run(l, loop, hello, why, now_us, wall_us);
        else
            link_run(l, loop, NULL, "another member feeds it, see walferry route", now_us, wall_us);
    }
}

static void
stamp_beacon(struct outgoing *o)
{
    const struct postgres_sample *s = postgres_sample(o->who->postgres);
    struct beacon b;

    if (o->who->role != ROLE_PRIMARY || s == NULL || s->in_recovery || s->insert == LSN_UNKNOWN)
        return;
    b = (struct beacon){.lsn =
                            lsn_before_page_header(s->insert, who_identity(o->who)->segment_bytes),
                        .wall_us = s->wall_us,
                        .mono_us = s->mono_us};
    for (size_t i = 0; i < o->links; i++) {
        o->link[i].sender.commits_wait =
            quorum_names(s->synchronous_standby_names, o->slot_name[i]) ||
            quorum_names(o->names, o->slot_name[i]); /* PostgreSQL may read them any moment */
        sender_beacon(&o->link[i].sender, &b);
    }
}

/* WAL that PostgreSQL holds in memory is exposure: make it write that out. */
static void
force_flush(struct outgoing *o)
{
    const struct postgres_sample *s = postgres_sample(o->who->postgres);
    bool ships = false;
    lsn_t end;

    for (size_t i = 0; i < o->links; i++)
        ships = ships || o->link[i].state == LINK_SHIPPING;
    if (o->who->role != ROLE_PRIMARY || !ships || s == NULL || s->in_recovery)
        return;
    end = lsn_before_page_header(s->insert, who_identity(o->who)->segment_bytes);
    if (end <= s->flush || s->flush != o->stuck_lsn) {
        o->stuck_lsn = s->flush;
        o->stuck_us = s->mono_us;
    } else if (s->mono_us - o->stuck_us >= STUCK_US) {
        o->stuck_us = s->mono_us;
        postgres_force_flush(o->who->postgres);
    }
}

void
outgoing_sampled(struct outgoing *o)
{
    stamp_beacon(o);
    force_flush(o);
}

void
outgoing_postgres(struct outgoing *o, int64_t now_us)
{
    enum postgres_state state = postgres_state(o->who->postgres);

    if (state == POSTGRES_UP || o->who->role == ROLE_STANDBY) {
        o->stopping_us = 0;
        for (size_t i = 0; i < o->links; i++)
            link_answers(&o->link[i]);
    } else if (state == POSTGRES_STOPPING && o->stopping_us == 0)
        o->stopping_us = now_us;
}

const char *
outgoing_reason(const struct link *l)
{
    if (l->reason[0] == '\0' && l->state == LINK_SHIPPING && l->sender.far.fenced)
        return "its PostgreSQL cannot replay what it gets (a former primary, promoted by hand, or "
               "forked): it is kept there and counts for no commit; there: walferry rejoin";
    return l->reason;
}

/* ---- life ---- */

struct link *
outgoing_to(struct outgoing *o, const char *member)
{
    for (size_t i = 0; i < o->links; i++)
        if (strcmp(o->link[i].member, member) == 0)
            return &o->link[i];
    return NULL;
}

uint64_t
outgoing_next_incarnation(struct outgoing *o, const char *member)
{
    struct link *l = outgoing_to(o, member);

    return l != NULL ? o->incarnation + ++l->incarnation : 0;
}

bool
outgoing_dialled(struct outgoing *o, const char *member, uint64_t incarnation)
{
    const struct link *l = outgoing_to(o, member);

    return l != NULL && incarnation - o->incarnation - 1 < l->incarnation;
}

struct link *
outgoing_of_slot(struct outgoing *o, const char *slot)
{
    for (size_t i = 0; i < o->links; i++)
        if (strcmp(o->slot_name[i], slot) == 0)
            return &o->link[i];
    return NULL;
}

/* Links to the members of the own site, or to the others. */
static int
open_links(struct outgoing *o, bool near, struct codec *codec)
{
    const struct config *config = o->who->config;
    const struct member *self = o->who->self;
    int code = 0;

    for (size_t i = 0; i < config->members && code == 0; i++) {
        const struct member *m = &config->member[i];
        char *slot = o->slot_name[o->links];

        if (m == self || (strcmp(m->site, self->site) == 0) != near)
            continue;
        config_slot_name(slot, m->name);
        code = link_init(&o->link[o->links], m->name, &m->target, &o->settings, &o->workers,
                         &o->frame_cache, o->conninfo, slot, self->pgdata, codec);
        if (code == 0)
            code = link_relay(&o->link[o->links], o->who->spool, o->relay_conninfo);
        if (code == 0)
            o->link[o->links++].sender.window.shared = &o->window_bytes;
    }
    return code;
}

int
outgoing_open(struct outgoing *o, const struct who *who, struct codec *codec)
{
    const struct config *config = who->config;
    int code = workers_init(&o->workers, 0);

    o->who = who;
    o->settings = config->shipping;
    o->incarnation = (uint64_t)(clock_wall_us() / SECOND_US) << 32;
    if (code == 0 && getrandom(&o->incarnation, sizeof(uint32_t), 0) < 0)
        code = fail_sys(ERR_LOCAL, "no random number"); /* the low half: nobody can guess it */
    o->history = malloc(HISTORY_BYTES_MAX + 1);
    if (code == 0 && o->history == NULL)
        code = fail(ERR_LOCAL, "out of memory");
    o->lineage.text = o->history;
    snprintf(o->conninfo, sizeof o->conninfo, "%s", who->self->postgres);
    snprintf(o->relay_conninfo, sizeof o->relay_conninfo, "host='%s' port=5432 user=walferry",
             who->self->run);
    if (code == 0)
        code = open_links(o, false, codec);
    o->far = o->links;
    return code == 0 ? open_links(o, true, codec) : code;
}

void
outgoing_close(struct outgoing *o)
{
    for (size_t i = 0; i < o->links; i++)
        link_release(&o->link[i]);
    workers_release(&o->workers);
    frame_cache_release(&o->frame_cache);
    free(o->history);
}

void
outgoing_watch(const struct outgoing *o, struct loop *l)
{
    loop_watch(l, workers_fd(&o->workers), POLLIN);
    for (size_t i = 0; i < o->links; i++)
        link_watch(&o->link[i], l);
}

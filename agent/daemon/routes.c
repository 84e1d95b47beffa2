/* SPDX-License-Identifier: PostgreSQL */
/*
 * Who feeds whom: as the primary this member judges it (pool/route.h), keeps the table in pool.state,
 * and tells it over its links. The others take the table that they are told, ship by it (outgoing.h),
 * and tell the primary whom of their site they hear, and where that one's WAL stands.
 */
#include "daemon/agent.h"
#include "links/onward.h"
#include "pool/route.h"
#include "retention/slot.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TELL_US   (5 * SECOND_US)  /* also when nothing has changed: a session may be new */
#define TALKS_US  (2 * SECOND_US)  /* a quiet session says something each second */
#define STANDS_US (5 * SECOND_US)  /* how old may be where an unlinked member stands, */
#define TABLE_US  (30 * SECOND_US) /* and which table it holds */

static bool
judges_routes(const struct agent *a)
{
    return a->who.role == ROLE_PRIMARY && a->failover.phase == FAILOVER_IDLE &&
           strcmp(a->who.pool.epoch.member, a->who.self->name) == 0;
}

static int64_t
later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Since this member heard of that one: over its link, also that it refuses the WAL, or when it was asked,
 * or in a quiet session, which says nothing of the link to one that is fed from here. */
static int64_t
silent_us(struct agent *a, const struct member *m, int64_t now_us)
{
    const struct link *l = outgoing_to(&a->out, m->name);
    const struct ask *q = asks_of(&a->asks, m->name);
    int64_t *talked_us = &a->routes.talked_us[m - a->who.config->member];
    int64_t heard_us;

    if (!outgoing_feeds(&a->out, m->name))
        *talked_us = quiets_heard_us(&a->quiets, m->name);
    heard_us = later(a->routes.since_us, *talked_us);
    if (l != NULL)
        heard_us = later(heard_us, later(l->sender.seen_us, l->sender.denied_us));
    if (q != NULL)
        heard_us = later(heard_us, q->told_us);
    return now_us - heard_us;
}

/* Since a link brings nothing further, though there is more, and our server gives it: one that was put
 * back has less. So does a link that is refused, or whose sessions the far side ends before it has
 * compared its WAL. */
static int64_t
stalled_us(struct agent *a, const struct member *m, struct progress_seen *seen, int64_t now_us)
{
    const struct link *l = outgoing_to(&a->out, m->name);
    bool ships = l != NULL && l->state == LINK_SHIPPING,
         fails = l != NULL && outgoing_feeds(&a->out, m->name) &&
                 (l->futile || (!ships && l->sender.denied_us != 0));
    const struct lag *received;

    if (!(ships || fails) || who_postgres(&a->who, now_us) != PONG_POSTGRES_ANSWERS) {
        seen->us = now_us;
        return 0;
    }
    if (!ships)
        return now_us - later(seen->us, a->routes.since_us);
    received = &l->sender.received;
    if (received->covered.mono_us >= l->sender.stamped.mono_us ||
        l->sender.far.received > l->sender.stamped.lsn ||
        received->covered.mono_us != seen->covered_us || l->sender.far.received != seen->received ||
        l->sender.far.compared != seen->compared)
        *seen = (struct progress_seen){.received = l->sender.far.received,
                                       .compared = l->sender.far.compared,
                                       .covered_us = received->covered.mono_us,
                                       .us = now_us};
    return now_us - later(seen->us, fails ? a->routes.since_us : l->since_us);
}

/* Where `of` stands by the word of `m`, and how old that word is. NULL: it did not say. */
static const struct member_position *
reported(struct agent *a, const char *m, const char *of, int64_t now_us, int64_t *ret_age_us)
{
    const struct ask *q = asks_of(&a->asks, m);

    for (size_t i = 0; q != NULL && i < MEMBERS_MAX; i++) {
        const struct ask_report *r = &q->report[i];

        if (strcmp(r->at.member, of) != 0)
            continue;
        *ret_age_us = now_us - r->us;
        return &r->at;
    }
    return NULL;
}

/* The head of a site, by the table as it is. */
static const struct member *
head_of(struct agent *a, const char *site)
{
    const struct config *config = a->who.config;

    for (size_t i = 0; i < config->members; i++) {
        const struct route *route = routes_of(&a->who.pool.routes, config->member[i].name);

        if (strcmp(config->member[i].site, site) == 0 && route != NULL && route_is_head(route))
            return &config->member[i];
    }
    return NULL;
}

/* Since `m` could report: what it said before its link, or this watch, began speaks against no way. */
static int64_t
watched_us(struct agent *a, const struct member *m, int64_t now_us)
{
    const struct link *l = outgoing_to(&a->out, m->name);

    if (l == NULL || l->state != LINK_SHIPPING)
        return 0;
    if (l->sender.far.fenced)
        return ROUTE_SILENT_US; /* it feeds nobody, and will not report */
    return now_us - later(a->routes.since_us, l->since_us);
}

/* Since a member that could feed another has heard of that one. A way that is in the table gets its
 * time. The others of a site reach what its head does: a report that comes a moment earlier makes none
 * the head. */
static int64_t
apart_us(struct agent *a, const struct member *m, const struct member *of, int64_t now_us)
{
    const struct member *head = head_of(a, m->site);
    const struct route *before = routes_of(&a->who.pool.routes, of->name);
    int64_t age_us, watched = watched_us(a, m, now_us);
    bool fed = before != NULL && strcmp(before->from, m->name) == 0;

    if (head != NULL && head != m)
        return apart_us(a, head, of == head ? m : of, now_us);
    if (reported(a, m->name, of->name, now_us, &age_us) != NULL)
        return fed && watched < age_us ? watched : age_us;
    return fed ? watched : ROUTE_SILENT_US;
}

/* Since the table has this way, by our own clock: the table's is a wall clock, perhaps another one's. */
static int64_t
routed_us(const struct route *before, struct route_seen *way, int64_t now_us)
{
    int64_t since_us = before != NULL ? before->since_us : 0;

    if (way->us == 0 || way->since_us != since_us)
        *way = (struct route_seen){since_us, now_us};
    return before != NULL ? now_us - way->us : 0;
}

static void
gather(struct agent *a, int64_t now_us, int64_t wall_us, struct route_facts *ret_facts)
{
    const struct config *config = a->who.config;
    struct route_facts f = {
        .members = config->members, .epoch = a->who.pool.epoch, .wall_us = wall_us};

    for (size_t i = 0; i < config->members; i++) {
        const struct member *m = &config->member[i];
        const struct route *before = routes_of(&a->who.pool.routes, m->name);

        f.member[i].name = m->name;
        f.member[i].site = m->site;
        f.member[i].pinned = before != NULL && before->pinned;
        f.member[i].routed_us = routed_us(before, &a->routes.way[i], now_us);
        if (m == a->who.self)
            f.primary = i;
        else
            f.member[i].stalled_us = stalled_us(a, m, &a->routes.seen[i], now_us);
    }
    for (size_t i = 0; i < config->members; i++) {
        if (i != f.primary)
            f.member[f.primary].silent_us[i] = silent_us(a, &config->member[i], now_us);
        for (size_t k = 0; k < config->members; k++)
            if (i != k && i != f.primary && k != f.primary)
                f.member[i].silent_us[k] =
                    apart_us(a, &config->member[i], &config->member[k], now_us);
    }
    *ret_facts = f;
}

/* 0, or the error: what cannot be saved is not known. */
static int
take(struct agent *a, const struct routes *next)
{
    static struct pool pool; /* large */
    struct routes before = a->who.pool.routes;
    char text[ROUTE_TEXT_SIZE];

    pool = a->who.pool;
    pool.routes = *next;
    if (who_set_pool(&a->who, &a->who.pool, &pool) < 0)
        return ERR_LOCAL;
    for (size_t i = 0; i < next->count; i++) {
        const struct route *now = &next->route[i], *old = routes_of(&before, now->member);
        const struct member *m = config_member(a->who.config, now->member);

        if (old == NULL || old->why != now->why || old->cut != now->cut ||
            strcmp(old->from, now->from) != 0)
            log_info("route of %s: %s", now->member,
                     route_text(next, now, m != NULL ? m->site : "its site", text));
    }
    return 0;
}

static int
judge_anew(struct agent *a, const struct route_facts *f)
{
    struct routes next;

    judge_routes(f, &a->who.pool.routes, &next);
    return routes_newer(&next, &a->who.pool.routes) ? take(a, &next) : 1;
}

/* By the word of members that were dialled: pool.state may have been put back here. */
static void
go_above(struct agent *a)
{
    struct routes next = a->who.pool.routes;

    for (size_t i = 0; i < a->asks.count; i++) {
        uint64_t number = routes_above(&next, &a->asks.ask[i].told.routes);

        if (number != 0)
            next.number = number;
    }
    if (next.number != a->who.pool.routes.number)
        (void)take(a, &next); /* again in a second */
}

/* Nothing was heard of who feeds it for a while: it may need another feeder soon. */
static bool
is_urgent(struct agent *a, const char *member, int64_t now_us)
{
    const struct route *route = routes_of(&a->who.pool.routes, member);
    const struct member *feeder = route != NULL ? config_member(a->who.config, route->from) : NULL;

    return feeder != NULL && feeder != a->who.self && silent_us(a, feeder, now_us) > ROUTE_FRESH_US;
}

/* A quiet session tells that a member is there; not where it stands, which a report has to know, nor
 * which table it holds. */
static bool
has_to_be_asked(struct agent *a, const char *member, bool stands, int64_t now_us)
{
    const struct ask *q = asks_of(&a->asks, member);

    return now_us - quiets_heard_us(&a->quiets, member) >= TALKS_US ||
           (q != NULL && now_us - q->told_us >= (stands ? STANDS_US : TABLE_US));
}

/* A member without a link here is asked: else nothing would be heard of it. */
static void
ask_unlinked(struct agent *a, const char *site, int64_t now_us)
{
    const char *feeder = receiver_live(&a->in.receiver) ? a->in.receiver.from : "";

    for (size_t i = 0; i < a->out.links; i++) {
        const struct link *l = &a->out.link[i];
        const struct member *m = config_member(a->who.config, l->member);

        if (l->state != LINK_SHIPPING && !outgoing_feeds(&a->out, l->member) &&
            strcmp(l->member, feeder) != 0 && (site == NULL || strcmp(m->site, site) == 0) &&
            has_to_be_asked(a, l->member, site != NULL, now_us))
            (is_urgent(a, l->member, now_us) ? asks_hurry : asks_want)(&a->asks, l->member);
    }
}

/* What is known here of a member: over a link, else by its own word when it was asked. */
static bool
heard_of(struct agent *a, const struct link *l, int64_t now_us, struct member_position *ret)
{
    const struct ask *q = asks_of(&a->asks, l->member);
    const struct ack *far = &l->sender.far;

    if (outgoing_feeds(&a->out, l->member)) {
        *ret = (struct member_position){.age_us = now_us - l->sender.heard_us};
        if (l->sender.far_compared) {
            ret->timeline = far->timeline;
            ret->flushed = far->flushed;
            ret->applied = far->applied;
        }
        return onward_reaches(l);
    }
    if (q == NULL || q->told_us == 0 || !onward_could_feed(&a->in, &q->told.own))
        return false;
    *ret = (struct member_position){
        .age_us = now_us - later(q->told_us, quiets_heard_us(&a->quiets, l->member))};
    return true;
}

/* To the primary: who could be fed from here, or is, and where its WAL stands. */
static void
report(struct agent *a, int64_t now_us)
{
    struct frame f;

    who_pool_frame(&a->who, &f);
    for (size_t i = 0; i < a->out.links && f.pool.positions < FRAME_MEMBERS_MAX; i++) {
        struct member_position *p = &f.pool.position[f.pool.positions];
        const struct link *l = &a->out.link[i];
        const struct member *m = config_member(a->who.config, l->member);

        if (strcmp(m->site, a->who.self->site) != 0 || !heard_of(a, l, now_us, p))
            continue;
        snprintf(p->member, sizeof p->member, "%s", l->member);
        f.pool.positions++;
    }
    if (f.pool.positions > 1)
        (void)receiver_tell(&a->in.receiver, &f); /* no room: again in a second */
}

/* Is what was reported of it later than what it said here itself, and its feeder's WAL known to be ours? */
static bool
counts(struct agent *a, const struct link *l, const char *feeder, int64_t age_us, int64_t now_us)
{
    const struct link *of_feeder = outgoing_to(&a->out, feeder);

    return age_us < ROUTE_SILENT_US && now_us - age_us > l->sender.heard_us && of_feeder != NULL &&
           of_feeder->state == LINK_SHIPPING && of_feeder->sender.far_compared;
}

/* As the primary: what is reported of those that others feed counts as told by themselves. */
static void
take_reports(struct agent *a, int64_t now_us)
{
    for (size_t i = 0; i < a->out.links; i++) {
        struct link *l = &a->out.link[i];
        const struct route *route = routes_of(&a->who.pool.routes, l->member);
        const struct member_position *p;
        int64_t age_us;

        if (route == NULL || outgoing_feeds(&a->out, l->member) || l->state != LINK_STOPPED)
            continue;
        p = reported(a, route->from, l->member, now_us, &age_us);
        if (p != NULL && counts(a, l, route->from, age_us, now_us) &&
            lineage_has(&a->out.lineage, p->timeline) &&
            p->flushed <= lineage_end(&a->out.lineage, p->timeline))
            sender_relayed(&l->sender, &a->who.pool.epoch, p);
    }
}

static void
tell(struct agent *a, int64_t now_us)
{
    struct frame f;

    if (a->who.pool.routes.number == a->routes.told && now_us - a->routes.told_us < TELL_US)
        return;
    who_pool_frame(&a->who, &f);
    for (size_t i = 0; i < a->out.links; i++)
        (void)sender_tell(&a->out.link[i].sender, &f); /* no room, no session: told again */
    a->routes.told = a->who.pool.routes.number;
    a->routes.told_us = now_us;
}

void
routes_keep(struct agent *a, int64_t now_us, int64_t wall_us)
{
    struct route_facts f;

    if (!judges_routes(a)) {
        a->routes.epoch.number = 0;
        if (a->who.role == ROLE_STANDBY && receiver_live(&a->in.receiver) &&
            !receiver_relayed(&a->in.receiver)) {
            ask_unlinked(a, a->who.self->site, now_us);
            report(a, now_us);
        }
        tell(a, now_us);
        return;
    }
    if (!epoch_equal(&a->routes.epoch, &a->who.pool.epoch))
        a->routes = (struct route_watch){.epoch = a->who.pool.epoch, .since_us = now_us};
    ask_unlinked(a, NULL, now_us);
    take_reports(a, now_us);
    gather(a, now_us, wall_us, &f);
    (void)judge_anew(a, &f); /* again in a second */
    go_above(a);
    tell(a, now_us);
}

void
routes_hear(struct agent *a, const struct routes *told)
{
    if (!judge_table(&a->who.pool.epoch, a->who.self->name, &a->who.pool.routes, told))
        return;
    for (size_t i = 0; i < told->count; i++)
        if (config_member(a->who.config, told->route[i].member) == NULL)
            return;      /* the pool's file is another one there */
    (void)take(a, told); /* told again */
}

int
routes_pin(struct agent *a, const struct member *member, bool pinned)
{
    int64_t now_us = clock_us();
    struct route_facts f;

    if (!judges_routes(a) || a->routes.epoch.number == 0)
        return fail(ERR_USAGE,
                    "%s is not the primary, which keeps the routes: type it on the host of %s",
                    a->who.self->name,
                    a->who.pool.epoch.number != 0 ? a->who.pool.epoch.member : "the primary");
    gather(a, now_us, clock_wall_us(), &f);
    for (size_t i = 0; i < f.members; i++) {
        const struct member *m = &a->who.config->member[i];

        if (member == NULL || m == member)
            f.member[i].pinned = pinned;
        else if (pinned && strcmp(m->site, member->site) == 0)
            f.member[i].pinned = false;
    }
    return judge_anew(a, &f);
}

/* SPDX-License-Identifier: PostgreSQL */
/* See route.h. */
#include "pool/route.h"

#include "pool/epoch.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define NOBODY SIZE_MAX

/* A table in the making; members are indexes into the facts. */
struct plan {
    const struct route_facts *f;
    const struct route *before[FRAME_MEMBERS_MAX]; /* NULL: the member was in no table */
    size_t head[FRAME_MEMBERS_MAX]; /* of the member's site; the primary is the head of its own */
    size_t from[FRAME_MEMBERS_MAX];
    enum route_why why[FRAME_MEMBERS_MAX];
    bool cut[FRAME_MEMBERS_MAX];
};

const struct route *
routes_of(const struct routes *r, const char *member)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->route[i].member, member) == 0)
            return &r->route[i];
    return NULL;
}

bool
route_is_head(const struct route *r)
{
    return r->why >= ROUTE_HEAD && r->why <= ROUTE_REACHES;
}

bool
routes_newer(const struct routes *a, const struct routes *b)
{
    if (a->count == 0 || b->count == 0)
        return b->count == 0 && a->count != 0;
    return a->epoch.number > b->epoch.number ||
           (a->epoch.number == b->epoch.number && a->number > b->number);
}

static bool
same_site(const struct plan *p, size_t a, size_t b)
{
    return strcmp(p->f->member[a].site, p->f->member[b].site) == 0;
}

static bool
was_head(const struct plan *p, size_t m)
{
    return p->before[m] != NULL && route_is_head(p->before[m]);
}

/* Was `to` fed by `from` before? So is a head when another member becomes the primary; and a bridge
 * would be by the head. */
static bool
was_way(const struct plan *p, size_t from, size_t to)
{
    if (p->before[to] == NULL || p->before[to]->cut)
        return false;
    return strcmp(p->before[to]->from, p->f->member[from].name) == 0 ||
           (from == p->f->primary && was_head(p, to)) ||
           (p->before[to]->why == ROUTE_BRIDGE && was_head(p, from) && same_site(p, from, to));
}

static bool
reaches(const struct plan *p, size_t from, size_t to)
{
    return p->f->member[from].silent_us[to] <
           (was_way(p, from, to) ? ROUTE_SILENT_US : ROUTE_FRESH_US);
}

/* ---- heads ---- */

/* A new head gets its time, too. */
static int64_t
stalled_us(const struct plan *p, size_t m)
{
    const struct route_member *member = &p->f->member[m];

    return was_head(p, m) && member->routed_us < member->stalled_us ? member->routed_us
                                                                    : member->stalled_us;
}

static size_t
feeder_before(const struct plan *p, size_t m)
{
    for (size_t i = 0; p->before[m] != NULL && i < p->f->members; i++)
        if (strcmp(p->f->member[i].name, p->before[m]->from) == 0)
            return i;
    return NOBODY;
}

/* Did it get no further because its feeder did not, which stood first? */
static bool
waits_for_feeder(const struct plan *p, size_t m)
{
    size_t feeder = feeder_before(p, m);

    return feeder != NOBODY && feeder != p->f->primary &&
           stalled_us(p, feeder) >= ROUTE_SILENT_US &&
           stalled_us(p, m) <= stalled_us(p, feeder) + ROUTE_FRESH_US &&
           stalled_us(p, m) <= p->f->member[m].routed_us;
}

static bool
gets_on(const struct plan *p, size_t m)
{
    return stalled_us(p, m) < ROUTE_SILENT_US || waits_for_feeder(p, m);
}

/* How much speaks for `m` as the head of its site. */
static size_t
weight(const struct plan *p, size_t m)
{
    size_t reached = 0;

    if (!reaches(p, p->f->primary, m))
        return was_head(p, m);
    if (p->f->member[m].pinned && gets_on(p, m))
        return SIZE_MAX;
    for (size_t i = 0; i < p->f->members; i++)
        if (i != m && same_site(p, i, m) && reaches(p, m, i))
            reached++;
    if (gets_on(p, m))
        reached += FRAME_MEMBERS_MAX;
    return 2 * (1 + reached) + was_head(p, m);
}

static enum route_why
why_head(const struct plan *p, size_t head, size_t old)
{
    if (p->f->member[head].pinned)
        return ROUTE_PINNED;
    if (old == head)
        return p->before[old]->why == ROUTE_PINNED ? ROUTE_HEAD : p->before[old]->why;
    if (old == NOBODY)
        return ROUTE_HEAD;
    if (!reaches(p, p->f->primary, old))
        return ROUTE_SILENT;
    return gets_on(p, old) ? ROUTE_REACHES : ROUTE_STALLED;
}

/* The head of the site of `m`, which is the first of it in the pool's file. */
static void
choose_head(struct plan *p, size_t m)
{
    size_t head = m, old = NOBODY;

    for (size_t i = m; i < p->f->members; i++) {
        if (!same_site(p, i, m))
            continue;
        if (was_head(p, i))
            old = i;
        if (weight(p, i) > weight(p, head))
            head = i;
    }
    for (size_t i = m; i < p->f->members; i++)
        if (same_site(p, i, m))
            p->head[i] = head;
    p->from[head] = p->f->primary;
    p->why[head] = why_head(p, head, old);
    p->cut[head] = !reaches(p, p->f->primary, head);
}

static void
choose_heads(struct plan *p)
{
    for (size_t i = 0; i < p->f->members; i++)
        p->head[i] = same_site(p, i, p->f->primary) ? p->f->primary : NOBODY;
    for (size_t i = 0; i < p->f->members; i++)
        if (p->head[i] == NOBODY)
            choose_head(p, i);
}

/* ---- the rest ---- */

static void
feed(struct plan *p, size_t m)
{
    size_t head = p->head[m];

    p->from[m] = head;
    p->why[m] = head == p->f->primary ? ROUTE_MIRROR : ROUTE_RELAYED;
    p->cut[m] = p->cut[head] || !reaches(p, head, m);
    if (p->cut[m] && head != p->f->primary && reaches(p, p->f->primary, m)) {
        p->from[m] = p->f->primary;
        p->why[m] = ROUTE_AROUND;
        p->cut[m] = false;
    }
}

/* How much speaks for `by` as the feeder of `m`, which neither the primary nor the head reaches. */
static unsigned
bridge_weight(const struct plan *p, size_t by, size_t m)
{
    if (by == m || by == p->f->primary || by == p->head[m] || !same_site(p, by, m) ||
        !reaches(p, p->f->primary, by) || !reaches(p, by, m))
        return 0;
    if (was_way(p, by, m))
        return 3;
    return p->from[by] == p->f->primary ? 2 : 1;
}

static void
feed_around(struct plan *p, size_t m)
{
    size_t by = 0;

    for (size_t i = 1; i < p->f->members; i++)
        if (bridge_weight(p, i, m) > bridge_weight(p, by, m))
            by = i;
    if (bridge_weight(p, by, m) == 0)
        return;
    p->from[m] = by;
    p->why[m] = ROUTE_AROUND;
    p->cut[m] = false;
    p->from[by] = p->f->primary;
    if (p->head[by] != p->f->primary)
        p->why[by] = ROUTE_BRIDGE;
}

/* Else it would take its place again and again. One that is silent is another matter. */
static bool
stays_pinned(const struct plan *p, size_t m)
{
    return p->f->member[m].pinned && (p->head[m] == m || !was_head(p, m) || gets_on(p, m) ||
                                      p->f->member[p->f->primary].silent_us[m] >= ROUTE_SILENT_US);
}

static void
put(const struct plan *p, size_t m, struct route *ret)
{
    const struct route_member *member = &p->f->member[m];
    const char *from = m == p->f->primary ? "" : p->f->member[p->from[m]].name;
    const struct route *before = p->before[m];

    *ret = (struct route){.why = m == p->f->primary ? ROUTE_PRIMARY : p->why[m],
                          .cut = p->cut[m],
                          .pinned = stays_pinned(p, m),
                          .since_us = p->f->wall_us};
    snprintf(ret->member, sizeof ret->member, "%s", member->name);
    snprintf(ret->from, sizeof ret->from, "%s", from);
    if (before != NULL && route_is_head(before) == route_is_head(ret) &&
        (route_is_head(ret) || strcmp(before->from, from) == 0))
        ret->since_us = before->since_us;
}

static bool
route_equal(const struct route *a, const struct route *b)
{
    return strcmp(a->member, b->member) == 0 && strcmp(a->from, b->from) == 0 && a->why == b->why &&
           a->cut == b->cut && a->pinned == b->pinned && a->since_us == b->since_us;
}

static bool
routes_equal(const struct routes *a, const struct routes *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!route_equal(&a->route[i], &b->route[i]))
            return false;
    return true;
}

void
judge_routes(const struct route_facts *f, const struct routes *before, struct routes *ret_routes)
{
    struct plan p = {.f = f};
    struct routes r = {.epoch = f->epoch, .number = 1, .count = f->members};

    for (size_t i = 0; i < f->members; i++)
        p.before[i] = routes_of(before, f->member[i].name);
    choose_heads(&p);
    for (size_t i = 0; i < f->members; i++)
        if (i != f->primary && i != p.head[i])
            feed(&p, i);
    for (size_t i = 0; i < f->members; i++)
        if (p.cut[i] && i != p.head[i])
            feed_around(&p, i);
    for (size_t i = 0; i < f->members; i++)
        put(&p, i, &r.route[i]);
    if (before->count > 0 && before->epoch.number == f->epoch.number)
        r.number = before->number +
                   (routes_equal(&r, before) || before->number >= ROUTE_NUMBER_MAX ? 0 : 1);
    *ret_routes = r;
}

uint64_t
routes_above(const struct routes *ours, const struct routes *told)
{
    if (ours->count == 0 || told->count == 0 || !epoch_equal(&ours->epoch, &told->epoch) ||
        told->number < ours->number || told->number >= ROUTE_NUMBER_MAX)
        return 0;
    return told->number > ours->number || !routes_equal(ours, told) ? told->number + 1 : 0;
}

/* ---- another member's table ---- */

/* Fed by the primary, or by a member that is. */
static bool
is_fed(const struct routes *r, const struct route *route)
{
    const struct route *feeder = routes_of(r, route->from);

    return feeder != NULL && (feeder->why == ROUTE_PRIMARY ||
                              (feeder != route && strcmp(feeder->from, r->epoch.member) == 0));
}

/* Is everybody in it once, with the epoch's member as the only primary, and nobody more than two hops
 * away? */
static bool
is_table(const struct routes *r)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct route *route = &r->route[i];

        if (routes_of(r, route->member) != route ||
            (route->why == ROUTE_PRIMARY ? strcmp(route->member, r->epoch.member) != 0
                                         : !is_fed(r, route)))
            return false;
    }
    return r->count > 0;
}

bool
judge_table(const struct epoch *present, const char *self, const struct routes *ours,
            const struct routes *told)
{
    return epoch_equal(&told->epoch, present) && told->number <= ROUTE_NUMBER_MAX &&
           strcmp(told->epoch.member, self) != 0 && routes_newer(told, ours) && is_table(told);
}

/* ---- in words ---- */

static const char *
why_text(enum route_why why)
{
    switch (why) {
    case ROUTE_PINNED:
        return ", pinned";
    case ROUTE_SILENT:
        return ": the one before was silent";
    case ROUTE_STALLED:
        return ": the one before got no further";
    case ROUTE_REACHES:
        return ": it reaches more members than the one before";
    case ROUTE_PRIMARY:
    case ROUTE_MIRROR:
    case ROUTE_HEAD:
    case ROUTE_RELAYED:
    case ROUTE_AROUND:
    case ROUTE_BRIDGE:
        break;
    }
    return "";
}

/* Who does not reach what goes around by `feeder`. */
static const char *
around_text(const struct route *feeder)
{
    if (feeder == NULL || feeder->why == ROUTE_PRIMARY)
        return "the head of its site does not reach";
    return feeder->why == ROUTE_MIRROR ? "the primary does not reach"
                                       : "neither the primary nor the head of its site reaches";
}

const char *
route_text(const struct routes *r, const struct route *route, const char *site,
           char out[ROUTE_TEXT_SIZE])
{
    const struct route *feeder = routes_of(r, route->from);
    const char *cut = route->cut ? "; it gets no WAL now" : "";
    char since[40];

    switch (route->why) {
    case ROUTE_PRIMARY:
        snprintf(out, ROUTE_TEXT_SIZE, "the primary");
        break;
    case ROUTE_MIRROR:
        snprintf(out, ROUTE_TEXT_SIZE, "from %s, the primary, as all of %s%s", route->from, site,
                 cut);
        break;
    case ROUTE_HEAD:
    case ROUTE_PINNED:
    case ROUTE_SILENT:
    case ROUTE_STALLED:
    case ROUTE_REACHES:
        snprintf(out, ROUTE_TEXT_SIZE, "from %s, as the head of %s since %s%s%s", route->from, site,
                 text_time(since, sizeof since, route->since_us), why_text(route->why), cut);
        break;
    case ROUTE_RELAYED:
        snprintf(out, ROUTE_TEXT_SIZE, "from %s, which is the head of %s since %s%s", route->from,
                 site, text_time(since, sizeof since, feeder != NULL ? feeder->since_us : 0), cut);
        break;
    case ROUTE_AROUND:
        snprintf(out, ROUTE_TEXT_SIZE, "from %s, for %s it%s", route->from, around_text(feeder),
                 cut);
        break;
    case ROUTE_BRIDGE:
        snprintf(out, ROUTE_TEXT_SIZE, "from %s, for it feeds what the head of %s does not reach%s",
                 route->from, site, cut);
        break;
    }
    return out;
}

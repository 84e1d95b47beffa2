/* SPDX-License-Identifier: PostgreSQL */
/* See epoch.h. */
#include "pool/epoch.h"

#include "pool/route_json.h"

#include "base/durable.h"
#include "base/fail.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE_FILE      "pool.state"
#define STATE_BYTES_MAX (POOL_CHANGES_MAX * 1024)

static const char *const how_name[] = {"unknown", "first", "failover", "resolve", "word"};

void
told_pool(struct told *t, const char *teller, const struct frame *pool)
{
    snprintf(t->teller, sizeof t->teller, "%s", teller);
    t->timeline = pool->pool.timeline;
    t->changes = pool->pool.changes;
    frame_chain(pool, t->change);
    t->routes = pool->pool.routes;
    t->own = (struct member_position){0};
    for (size_t i = 0; i < pool->pool.positions; i++)
        if (strcmp(pool->pool.position[i].member, teller) == 0)
            t->own = pool->pool.position[i];
}

void
told_hello(struct told *t, const struct hello *hello)
{
    snprintf(t->teller, sizeof t->teller, "%s", hello->from);
    t->of_pool = true; /* greeting.c looks who greets */
    t->routes.count = 0;
    t->timeline = hello->timeline;
    t->changes = 1;
    t->change[0] =
        (struct pool_change){.origin = {.epoch = hello->epoch, .timeline = hello->timeline}};
}

bool
epoch_equal(const struct epoch *a, const struct epoch *b)
{
    return a->number == b->number && strcmp(a->member, b->member) == 0;
}

static bool
is_overruled(const struct epoch_origin *by, const struct epoch *epoch)
{
    if (by->how == EPOCH_BY_WORD && epoch->number < by->epoch.number)
        return true;
    for (size_t i = 0; i < EPOCH_OVERRULES_MAX; i++)
        if (by->overruled[i].number != 0 && epoch_equal(&by->overruled[i], epoch))
            return true;
    return false;
}

bool
chain_overrules(const struct pool_change *change, size_t changes, const struct epoch *epoch)
{
    for (size_t i = 0; i < changes; i++)
        if (is_overruled(&change[i].origin, epoch))
            return true;
    return false;
}

bool
chain_has(const struct pool_change *change, size_t changes, const struct epoch *epoch)
{
    for (size_t i = 0; i < changes; i++)
        if (epoch_equal(&change[i].origin.epoch, epoch))
            return true;
    return changes > 0 && epoch_equal(&change[0].origin.parent, epoch);
}

enum pool_word
pool_judge(const struct pool *p, const struct epoch *theirs)
{
    if (theirs->number < p->epoch.number)
        return POOL_LOWER;
    if (theirs->number > p->epoch.number)
        return POOL_HIGHER;
    return strcmp(theirs->member, p->epoch.member) == 0 ? POOL_SAME : POOL_CONFLICT;
}

/* Another epoch: what was under way, or promised, for it or a lower one is over. */
static void
clear_step(struct pool *p)
{
    p->step = FAILOVER_NONE;
    p->loss[0] = '\0';
    p->loss_since_us = 0;
    if (p->promised.number <= p->epoch.number)
        p->promised = (struct epoch){0};
}

void
pool_adopt(struct pool *p, const struct epoch_origin *origin, int64_t wall_us)
{
    struct pool_change c = {.origin = *origin, .wall_us = wall_us};

    if (c.origin.parent.number == 0)
        c.origin.parent = p->epoch;
    if (c.origin.from == 0)
        c.origin.from = p->timeline;
    if (c.origin.timeline == 0)
        c.origin.timeline = p->timeline;
    if (p->changes == POOL_CHANGES_MAX) {
        memmove(p->change, p->change + 1, (POOL_CHANGES_MAX - 1) * sizeof p->change[0]);
        p->changes--;
    }
    p->change[p->changes++] = c;
    p->epoch = origin->epoch;
    if (origin->timeline != 0)
        p->timeline = origin->timeline;
    clear_step(p);
}

void
pool_promoted(struct pool *p, timeline_t timeline, const char *history, size_t length)
{
    struct epoch_origin *o = &p->change[p->changes - 1].origin;
    timeline_t from = 0, next;

    while ((next = history_next(history, length, from, timeline)) != timeline)
        from = next;
    o->timeline = p->timeline = timeline;
    if (from != 0 && history_switch_point(history, length, from, &o->fork))
        o->from = from;
}

/* How many of our changes come before the first of theirs; what is not known to come before it is
 * not kept. */
static size_t
known_before(const struct pool *p, const struct told *t)
{
    const struct epoch_origin *first = &t->change[0].origin;

    for (size_t i = 0; i < p->changes; i++) {
        if (epoch_equal(&p->change[i].origin.epoch, &first->epoch))
            return i;
        if (epoch_equal(&p->change[i].origin.epoch, &first->parent))
            return i + 1;
    }
    return 0;
}

void
pool_take(struct pool *p, const struct told *t)
{
    const struct pool_change *last = &t->change[t->changes - 1];
    size_t before = known_before(p, t), over = 0;

    if (before + t->changes > POOL_CHANGES_MAX)
        over = before + t->changes - POOL_CHANGES_MAX;
    memmove(p->change, p->change + over, (before - over) * sizeof p->change[0]);
    memcpy(p->change + before - over, t->change, t->changes * sizeof p->change[0]);
    p->changes = before - over + t->changes;
    p->epoch = last->origin.epoch;
    if (last->origin.timeline != 0)
        p->timeline = last->origin.timeline;
    clear_step(p);
}

struct epoch_origin
pool_origin(const struct pool *p)
{
    struct epoch_origin origin = {.epoch = p->epoch};

    if (p->changes > 0)
        origin = p->change[p->changes - 1].origin;
    return origin;
}

static bool
overrules_member(const struct epoch_origin *o, const char *member)
{
    for (size_t i = 0; i < EPOCH_OVERRULES_MAX; i++)
        if (o->overruled[i].number != 0 && strcmp(o->overruled[i].member, member) == 0)
            return true;
    return false;
}

bool
pool_was_primary(const struct pool *p, const char *member)
{
    for (size_t i = 0; i < p->changes; i++) {
        const struct epoch_origin *o = &p->change[i].origin;

        if ((i + 1 < p->changes && strcmp(o->epoch.member, member) == 0) ||
            overrules_member(o, member))
            return true;
    }
    return false;
}

/* ---- pool.state ---- */

static json_t *
epoch_to_json(const struct epoch *e)
{
    return json_pack("{s:I s:s}", "number", (json_int_t)e->number, "member", e->member);
}

static bool
epoch_from_json(const json_t *json, struct epoch *ret_epoch)
{
    struct epoch e = {0};
    json_int_t number;
    const char *member;

    if (json_unpack((json_t *)(uintptr_t)json, "{s:I s:s}", "number", &number, "member", &member) <
            0 ||
        number < 1 || number > (json_int_t)EPOCH_NUMBER_MAX || strlen(member) >= sizeof e.member)
        return false;
    e.number = (uint64_t)number;
    memcpy(e.member, member, strlen(member) + 1);
    *ret_epoch = e;
    return true;
}

/* JSON has no unsigned 64-bit numbers: an LSN is written as PostgreSQL writes it. */
static json_t *
change_to_json(const struct pool_change *c)
{
    const struct epoch_origin *o = &c->origin;
    json_t *json = epoch_to_json(&o->epoch), *overruled = json_array();
    char fork[LSN_TEXT_SIZE];

    snprintf(fork, sizeof fork, LSN_FORMAT, LSN_ARGS(o->fork));
    json_object_set_new(json, "timeline", json_integer(o->timeline));
    json_object_set_new(json, "from", json_integer(o->from));
    json_object_set_new(json, "fork", json_string(fork));
    json_object_set_new(json, "parent",
                        o->parent.number != 0 ? epoch_to_json(&o->parent) : json_null());
    for (size_t i = 0; i < EPOCH_OVERRULES_MAX; i++)
        if (o->overruled[i].number != 0)
            json_array_append_new(overruled, epoch_to_json(&o->overruled[i]));
    json_object_set_new(json, "overrules", overruled);
    json_object_set_new(json, "how", json_string(how_name[o->how]));
    json_object_set_new(json, "wall_us", json_integer(c->wall_us));
    return json;
}

static enum epoch_how
how_from_json(const json_t *json)
{
    const char *name = json_string_value(json);

    for (int i = 0; name != NULL && i <= EPOCH_BY_WORD; i++)
        if (strcmp(name, how_name[i]) == 0)
            return (enum epoch_how)i;
    return EPOCH_BY_UNKNOWN;
}

/* The part that a file of an earlier version lacks: there each change is the next one's parent. */
static bool
chain_from_json(const json_t *json, const struct pool_change *before, struct epoch_origin *ret)
{
    const json_t *parent = json_object_get(json, "parent");
    const json_t *overruled = json_object_get(json, "overrules");
    json_int_t from = json_integer_value(json_object_get(json, "from"));

    ret->how = how_from_json(json_object_get(json, "how"));
    if (from < 0 || from > UINT32_MAX || json_array_size(overruled) > EPOCH_OVERRULES_MAX)
        return false;
    ret->from = (timeline_t)from;
    if (parent == NULL && before != NULL)
        ret->parent = before->origin.epoch;
    if (json_is_object(parent) && !epoch_from_json(parent, &ret->parent))
        return false;
    for (size_t i = 0; i < json_array_size(overruled); i++)
        if (!epoch_from_json(json_array_get(overruled, i), &ret->overruled[i]))
            return false;
    return true;
}

static bool
change_from_json(const json_t *json, const struct pool_change *before,
                 struct pool_change *ret_change)
{
    struct pool_change c = {0};
    json_int_t timeline, wall_us;
    const char *fork;

    if (!epoch_from_json(json, &c.origin.epoch) ||
        json_unpack((json_t *)(uintptr_t)json, "{s:I s:s s:I}", "timeline", &timeline, "fork",
                    &fork, "wall_us", &wall_us) < 0 ||
        timeline < 0 || timeline > UINT32_MAX || !lsn_parse(fork, &c.origin.fork) ||
        !chain_from_json(json, before, &c.origin))
        return false;
    c.origin.timeline = (timeline_t)timeline;
    c.wall_us = wall_us;
    *ret_change = c;
    return true;
}

static bool
pool_from_json(const json_t *json, struct pool *p)
{
    json_t *changes = json_object_get(json, "changes");
    json_int_t timeline = json_integer_value(json_object_get(json, "timeline"));
    json_int_t step = json_integer_value(json_object_get(json, "step"));
    const char *loss = json_string_value(json_object_get(json, "loss"));
    const json_t *promised = json_object_get(json, "promised"); /* earlier versions have none, */
    const json_t *routes = json_object_get(json, "routes");     /* ... of both */

    if (!json_is_array(changes) || json_array_size(changes) == 0 ||
        json_array_size(changes) > POOL_CHANGES_MAX || timeline < 0 || timeline > UINT32_MAX ||
        step < FAILOVER_NONE || step > FAILOVER_PROMOTE)
        return false;
    *p = (struct pool){.timeline = (timeline_t)timeline, .step = (enum failover_step)step};
    for (size_t i = 0; i < json_array_size(changes); i++)
        if (!change_from_json(json_array_get(changes, i), i > 0 ? &p->change[i - 1] : NULL,
                              &p->change[p->changes++]))
            return false;
    p->epoch = p->change[p->changes - 1].origin.epoch;
    if (promised != NULL && !epoch_from_json(promised, &p->promised))
        return false;
    if (routes != NULL && !routes_from_json(routes, &p->routes))
        return false;
    p->promised_nonce = (uint64_t)json_integer_value(json_object_get(promised, "nonce"));
    p->left = json_is_true(json_object_get(json, "left"));
    snprintf(p->loss, sizeof p->loss, "%s", loss != NULL ? loss : "");
    p->loss_since_us = json_integer_value(json_object_get(json, "loss_since_us"));
    return true;
}

int
pool_load(struct pool *p, int dir)
{
    static char text[STATE_BYTES_MAX];
    ssize_t got = durable_load(dir, STATE_FILE, text, sizeof text);
    json_t *json;
    bool good;

    if (got < 0 && errno == ENOENT)
        return ERR_AGAIN;
    if (got < 0)
        return fail_file(ERR_LOCAL, dir, STATE_FILE, "cannot read pool.state");
    json = json_loadb(text, (size_t)got, 0, NULL);
    good = json != NULL && pool_from_json(json, p);
    json_decref(json);
    if (!good)
        return fail(
            ERR_CORRUPT,
            "pool.state is %s: copy the one in another member's spool over it (walferry status there "
            "shows the epoch), or remove it if no failover was ever made",
            got == 0 ? "empty" : "not one of walferry's");
    return 0;
}

int
pool_save(const struct pool *p, int dir)
{
    json_t *changes = json_array();
    json_t *json = json_pack("{s:I s:I s:s s:I s:o}", "timeline", (json_int_t)p->timeline, "step",
                             (json_int_t)p->step, "loss", p->loss, "loss_since_us",
                             (json_int_t)p->loss_since_us, "changes", changes);
    char *text;
    int result;

    for (size_t i = 0; i < p->changes; i++)
        json_array_append_new(changes, change_to_json(&p->change[i]));
    if (p->left)
        json_object_set_new(json, "left", json_true());
    if (p->promised.number != 0) {
        json_t *promised = epoch_to_json(&p->promised);

        json_object_set_new(promised, "nonce", json_integer((json_int_t)p->promised_nonce));
        json_object_set_new(json, "promised", promised);
    }
    if (p->routes.count > 0)
        json_object_set_new(json, "routes", routes_to_json(&p->routes));
    text = json == NULL ? NULL : json_dumps(json, JSON_INDENT(1));
    json_decref(json);
    if (text == NULL)
        return fail(ERR_LOCAL, "out of memory for pool.state");
    result = durable_replace(dir, STATE_FILE, text, strlen(text));
    free(text);
    return result < 0 ? fail_sys(ERR_LOCAL, "cannot write pool.state") : 0;
}

/* SPDX-License-Identifier: PostgreSQL */
/* See parts.h. */
#include "wire/parts.h"

#include <stdio.h>
#include <string.h>

static bool
name_valid(const char *name)
{
    return name[0] >= 'a' && name[0] <= 'z' &&
           name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

/* A member's name goes into JSON, alarms and logs as it is. */
void
part_get_member(struct reader *r, char out[MEMBER_NAME_SIZE])
{
    out[0] = '\0';
    reader_copy_string(r, out, MEMBER_NAME_SIZE);
    if (!r->failed && !name_valid(out))
        r->failed = true;
}

void
part_put_epoch(struct buf *out, const struct epoch *e)
{
    buf_put_u64(out, e->number);
    buf_put_string(out, e->member);
}

void
part_get_epoch(struct reader *r, struct epoch *e)
{
    e->number = reader_u64(r);
    part_get_member(r, e->member);
    if (e->number == 0 || e->number > EPOCH_NUMBER_MAX)
        r->failed = true;
}

/* Number 0 and no name: none. */
void
part_get_epoch_or_none(struct reader *r, struct epoch *e)
{
    struct reader before = *r;

    e->number = reader_u64(r);
    reader_copy_string(r, e->member, sizeof e->member);
    if (r->failed || (e->number == 0 && e->member[0] == '\0'))
        return;
    *r = before;
    part_get_epoch(r, e);
}

/* Bounded, so that sums and differences of a few times do not overflow. */
int64_t
part_get_time(struct reader *r)
{
    int64_t us = (int64_t)reader_u64(r);

    if (us > FRAME_TIME_MAX_US || us < -FRAME_TIME_MAX_US)
        r->failed = true;
    return us;
}

static void
put_change(struct buf *out, const struct pool_change *c)
{
    const struct epoch_origin *o = &c->origin;
    uint8_t overruled = 0;

    part_put_epoch(out, &o->epoch);
    buf_put_u32(out, o->timeline);
    buf_put_u32(out, o->from);
    buf_put_u64(out, o->fork);
    part_put_epoch(out, &o->parent);
    buf_put_u8(out, (uint8_t)o->how);
    buf_put_u64(out, (uint64_t)c->wall_us);
    while (overruled < EPOCH_OVERRULES_MAX && o->overruled[overruled].number != 0)
        overruled++;
    buf_put_u8(out, overruled);
    for (uint8_t i = 0; i < overruled; i++)
        part_put_epoch(out, &o->overruled[i]);
}

static void
get_change(struct reader *r, struct pool_change *c)
{
    struct epoch_origin *o = &c->origin;
    uint8_t how, overruled;

    *c = (struct pool_change){0};
    part_get_epoch(r, &o->epoch);
    o->timeline = reader_u32(r);
    o->from = reader_u32(r);
    o->fork = reader_u64(r);
    part_get_epoch_or_none(r, &o->parent);
    how = reader_u8(r); /* that of a later version is not known here */
    o->how = how <= EPOCH_BY_WORD ? (enum epoch_how)how : EPOCH_BY_UNKNOWN;
    c->wall_us = part_get_time(r);
    overruled = reader_u8(r);
    if (overruled > EPOCH_OVERRULES_MAX)
        r->failed = true;
    for (uint8_t i = 0; i < overruled && !r->failed; i++)
        part_get_epoch(r, &o->overruled[i]);
    if (o->parent.number >= o->epoch.number)
        r->failed = true;
}

void
part_put_chain(struct buf *out, const struct pool_change *change, size_t changes)
{
    buf_put_u16(out, (uint16_t)changes);
    for (size_t i = 0; i < changes; i++)
        put_change(out, &change[i]);
}

size_t
part_get_chain(struct reader *r, struct pool_change out[FRAME_CHANGES_MAX])
{
    size_t changes = reader_u16(r);
    struct pool_change before = {0};

    if (changes > FRAME_CHANGES_MAX)
        r->failed = true;
    for (size_t i = 0; i < changes && !r->failed; i++) {
        struct pool_change c;

        get_change(r, &c);
        if (i > 0 && (c.origin.parent.number != before.origin.epoch.number ||
                      strcmp(c.origin.parent.member, before.origin.epoch.member) != 0))
            r->failed = true;
        if (out != NULL)
            out[i] = c;
        before = c;
    }
    return changes;
}

void
part_put_field(struct buf *out, uint8_t tag, uint32_t length)
{
    buf_put_u8(out, tag);
    buf_put_u32(out, length);
}

bool
part_get_field(struct reader *r, uint8_t tag, uint32_t length, struct reader *ret_field)
{
    bool found = false;

    while (!r->failed && r->left > 0) {
        bool wanted = reader_u8(r) == tag;
        uint32_t n = reader_u32(r);
        const uint8_t *bytes = reader_bytes(r, n);

        if (!wanted || r->failed)
            continue;
        r->failed = found || (n != length && length != FIELD_ANY);
        reader_init(ret_field, bytes, n);
        found = true;
    }
    return found && !r->failed;
}

void
part_skip_fields(struct reader *r)
{
    while (!r->failed && r->left > 0) {
        reader_u8(r);
        reader_bytes(r, reader_u32(r));
    }
}

void
part_put_positions(struct buf *out, const struct member_position *position, size_t positions)
{
    buf_put_u8(out, (uint8_t)positions);
    for (size_t i = 0; i < positions; i++) {
        const struct member_position *p = &position[i];

        buf_put_string(out, p->member);
        buf_put_u32(out, p->timeline);
        buf_put_u64(out, p->flushed);
        buf_put_u64(out, p->applied);
        buf_put_u64(out, (uint64_t)p->age_us);
    }
}

size_t
part_get_positions(struct reader *r, struct member_position out[FRAME_MEMBERS_MAX])
{
    size_t positions = reader_u8(r);

    if (positions > FRAME_MEMBERS_MAX)
        r->failed = true;
    for (size_t i = 0; i < positions && !r->failed; i++) {
        struct member_position *p = &out[i];

        part_get_member(r, p->member);
        p->timeline = reader_u32(r);
        p->flushed = reader_u64(r);
        p->applied = reader_u64(r);
        p->age_us = part_get_time(r);
    }
    return positions;
}

static void
put_one(struct buf *out, const struct member_news *n)
{
    const struct member_state *s = &n->state;

    buf_put_string(out, n->member);
    buf_put_string(out, n->by);
    buf_put_u64(out, (uint64_t)n->age_us);
    buf_put_u8(out, s->role);
    buf_put_u8(out, (uint8_t)s->postgres);
    buf_put_u32(out, s->timeline);
    buf_put_u64(out, s->received);
    buf_put_u64(out, s->flushed);
    buf_put_u64(out, s->applied);
    buf_put_u64(out, (uint64_t)s->flushed_age_us);
    buf_put_u64(out, (uint64_t)s->applied_age_us);
    buf_put_u8(out, s->severity);
    buf_put_string(out, s->reason);
}

void
part_put_news(struct buf *out, const struct member_news *member, size_t members)
{
    buf_put_u8(out, (uint8_t)members);
    for (size_t i = 0; i < members; i++)
        put_one(out, &member[i]);
}

static int64_t
get_age(struct reader *r)
{
    int64_t us = part_get_time(r);

    if (us < AGE_UNKNOWN)
        r->failed = true;
    return us;
}

/* It goes into JSON, logs and terminals as it is. */
static bool
is_plain(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~')
            return false;
    return true;
}

static void
get_one(struct reader *r, struct member_news *n)
{
    struct member_state *s = &n->state;
    struct reader before;
    const char *reason;
    uint8_t postgres;

    *n = (struct member_news){0};
    part_get_member(r, n->member);
    before = *r;
    reader_copy_string(r, n->by, sizeof n->by);
    if (!r->failed && n->by[0] != '\0') {
        *r = before;
        part_get_member(r, n->by);
    }
    n->age_us = part_get_time(r);
    s->role = reader_u8(r); /* that of a later version is not known here */
    postgres = reader_u8(r);
    s->postgres =
        postgres <= PONG_POSTGRES_STOPPING ? (enum pong_postgres)postgres : PONG_POSTGRES_UNKNOWN;
    s->timeline = reader_u32(r);
    s->received = reader_u64(r);
    s->flushed = reader_u64(r);
    s->applied = reader_u64(r);
    s->flushed_age_us = get_age(r);
    s->applied_age_us = get_age(r);
    s->severity = reader_u8(r);
    reason = reader_string(r);
    if (r->failed || n->age_us < 0 || s->severity > 2 || strlen(reason) >= NEWS_REASON_SIZE ||
        !is_plain(reason))
        r->failed = true;
    else
        snprintf(s->reason, sizeof s->reason, "%s", reason);
}

size_t
part_get_news(struct reader *r, struct member_news out[FRAME_MEMBERS_MAX])
{
    size_t members = reader_u8(r);

    if (members > FRAME_MEMBERS_MAX)
        r->failed = true;
    for (size_t i = 0; i < members && !r->failed; i++) {
        struct member_news n;

        get_one(r, &n);
        if (out != NULL)
            out[i] = n;
    }
    return members;
}

#define ROUTE_FLAG_CUT    1
#define ROUTE_FLAG_PINNED 2

void
part_put_routes(struct buf *out, const struct routes *routes)
{
    part_put_epoch(out, &routes->epoch);
    buf_put_u64(out, routes->number);
    buf_put_u8(out, (uint8_t)routes->count);
    for (size_t i = 0; i < routes->count; i++) {
        const struct route *route = &routes->route[i];

        buf_put_string(out, route->member);
        buf_put_string(out, route->from);
        buf_put_u8(out, (uint8_t)route->why);
        buf_put_u8(out, (uint8_t)((route->cut ? ROUTE_FLAG_CUT : 0) |
                                  (route->pinned ? ROUTE_FLAG_PINNED : 0)));
        buf_put_u64(out, (uint64_t)route->since_us);
    }
}

static void
get_route(struct reader *r, struct route *route)
{
    uint8_t why, flags;

    part_get_member(r, route->member);
    if (r->left > 0 && *r->at == '\0')
        reader_u8(r);
    else
        part_get_member(r, route->from);
    why = reader_u8(r);
    flags = reader_u8(r);
    route->cut = (flags & ROUTE_FLAG_CUT) != 0;
    route->pinned = (flags & ROUTE_FLAG_PINNED) != 0;
    route->since_us = part_get_time(r);
    if (why > ROUTE_BRIDGE || (why == ROUTE_PRIMARY) != (route->from[0] == '\0'))
        r->failed = true;
    route->why = r->failed ? ROUTE_PRIMARY : (enum route_why)why;
}

void
part_get_routes(struct reader *r, struct routes *ret_routes)
{
    struct routes routes = {0};

    part_get_epoch(r, &routes.epoch);
    routes.number = reader_u64(r);
    routes.count = reader_u8(r);
    if (routes.number == 0 || routes.number > EPOCH_NUMBER_MAX || routes.count == 0 ||
        routes.count > FRAME_MEMBERS_MAX)
        r->failed = true;
    for (size_t i = 0; i < routes.count && !r->failed; i++)
        get_route(r, &routes.route[i]);
    if (!r->failed)
        *ret_routes = routes;
}

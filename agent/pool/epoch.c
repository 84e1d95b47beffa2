/* SPDX-License-Identifier: PostgreSQL */
/* See epoch.h. */
#include "pool/epoch.h"

#include "base/durable.h"
#include "base/fail.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE_FILE      "pool.state"
#define STATE_BYTES_MAX 32768

enum pool_word
pool_judge(const struct pool *p, const struct epoch *theirs)
{
    if (theirs->number < p->epoch.number)
        return POOL_LOWER;
    if (theirs->number > p->epoch.number)
        return POOL_HIGHER;
    return strcmp(theirs->member, p->epoch.member) == 0 ? POOL_SAME : POOL_CONFLICT;
}

void
pool_adopt(struct pool *p, const struct epoch_origin *origin, int64_t wall_us)
{
    if (p->changes == POOL_CHANGES_MAX) {
        memmove(p->change, p->change + 1, (POOL_CHANGES_MAX - 1) * sizeof p->change[0]);
        p->changes--;
    }
    p->change[p->changes++] = (struct pool_change){.origin = *origin, .wall_us = wall_us};
    p->epoch = origin->epoch;
    if (origin->timeline != 0)
        p->timeline = origin->timeline;
    p->step = FAILOVER_NONE;
}

struct epoch_origin
pool_origin(const struct pool *p)
{
    struct epoch_origin origin = {.epoch = p->epoch};

    if (p->changes > 0)
        origin = p->change[p->changes - 1].origin;
    return origin;
}

bool
pool_was_primary(const struct pool *p, const char *member)
{
    for (size_t i = 0; i + 1 < p->changes; i++)
        if (strcmp(p->change[i].origin.epoch.member, member) == 0)
            return true;
    return false;
}

/* JSON has no unsigned 64-bit numbers: an LSN is written as PostgreSQL writes it. */
static json_t *
change_to_json(const struct pool_change *c)
{
    char fork[LSN_TEXT_SIZE];

    snprintf(fork, sizeof fork, LSN_FORMAT, LSN_ARGS(c->origin.fork));
    return json_pack("{s:I s:s s:I s:s s:I}", "number", (json_int_t)c->origin.epoch.number,
                     "member", c->origin.epoch.member, "timeline", (json_int_t)c->origin.timeline,
                     "fork", fork, "wall_us", (json_int_t)c->wall_us);
}

static bool
change_from_json(const json_t *json, struct pool_change *ret_change)
{
    struct pool_change c = {0};
    json_int_t number, timeline, wall_us;
    const char *member, *fork;

    if (json_unpack((json_t *)(uintptr_t)json, "{s:I s:s s:I s:s s:I}", "number", &number, "member",
                    &member, "timeline", &timeline, "fork", &fork, "wall_us", &wall_us) < 0)
        return false;
    if (number < 1 || timeline < 0 || timeline > UINT32_MAX || strlen(member) >= MEMBER_NAME_SIZE ||
        !lsn_parse(fork, &c.origin.fork))
        return false;
    c.origin.epoch.number = (uint64_t)number;
    memcpy(c.origin.epoch.member, member, strlen(member) + 1);
    c.origin.timeline = (timeline_t)timeline;
    c.wall_us = wall_us;
    *ret_change = c;
    return true;
}

static bool
pool_from_json(const json_t *json, struct pool *ret_pool)
{
    struct pool p = {0};
    json_t *changes = json_object_get(json, "changes");
    json_int_t timeline = json_integer_value(json_object_get(json, "timeline"));
    json_int_t step = json_integer_value(json_object_get(json, "step"));

    if (!json_is_array(changes) || json_array_size(changes) == 0 ||
        json_array_size(changes) > POOL_CHANGES_MAX || timeline < 0 || timeline > UINT32_MAX ||
        step < FAILOVER_NONE || step > FAILOVER_PROMOTE)
        return false;
    for (size_t i = 0; i < json_array_size(changes); i++)
        if (!change_from_json(json_array_get(changes, i), &p.change[p.changes++]))
            return false;
    p.epoch = p.change[p.changes - 1].origin.epoch;
    p.timeline = (timeline_t)timeline;
    p.step = (enum failover_step)step;
    *ret_pool = p;
    return true;
}

int
pool_load(struct pool *p, int dir)
{
    char text[STATE_BYTES_MAX];
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
    json_t *json = json_pack("{s:I s:I s:o}", "timeline", (json_int_t)p->timeline, "step",
                             (json_int_t)p->step, "changes", changes);
    char *text;
    int result;

    for (size_t i = 0; i < p->changes; i++)
        json_array_append_new(changes, change_to_json(&p->change[i]));
    text = json == NULL ? NULL : json_dumps(json, JSON_INDENT(1));
    json_decref(json);
    if (text == NULL)
        return fail(ERR_LOCAL, "out of memory for pool.state");
    result = durable_replace(dir, STATE_FILE, text, strlen(text));
    free(text);
    return result < 0 ? fail_sys(ERR_LOCAL, "cannot write pool.state") : 0;
}

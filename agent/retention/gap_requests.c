/* SPDX-License-Identifier: PostgreSQL */
/*
 * Gaps as people see them and what they say about them: the list for `walferry status` and
 * `walferry gaps`, its fill and its give-up.
 */
#include "retention/backfill.h"

#include <stdio.h>
#include <string.h>

static json_t *
answers_json(const struct search *c)
{
    json_t *all = json_array();

    for (enum backfill_source f = 0; f < BACKFILL_SOURCES; f++)
        if (c->answer[f][0] != '\0')
            json_array_append_new(all, json_pack("{s:s s:s}", "rung", backfill_source_name(f),
                                                 "answer", c->answer[f]));
    return all;
}

json_t *
backfill_report(const struct backfill *d)
{
    json_t *all = json_array();

    for (size_t i = 0; i < d->gaps->count; i++) {
        const struct gap *gap = &d->gaps->gap[i];
        json_t *json = gap_json(gap, who_identity(d->who)->segment_bytes);

        for (size_t k = 0; k < d->out->links; k++)
            if (strcmp(d->out->link[k].member, gap->member) == 0)
                json_object_set_new(json, "rungs", answers_json(&d->search[k]));
        json_object_set_new(json, "rate_bytes_per_second",
                            d->rate > 0 ? json_integer((json_int_t)d->rate) : json_null());
        json_array_append_new(all, json);
    }
    return all;
}

static size_t
fill_now(struct backfill *d, const char *member, bool yes)
{
    size_t count = 0;

    for (size_t i = 0; i < d->gaps->count; i++) {
        struct gap *gap = &d->gaps->gap[i];

        if (member != NULL && strcmp(gap->member, member) != 0)
            continue;
        count++;
        gap->consent |= yes;
        if (gap->state != GAP_IN_FLIGHT) {
            gap->state = GAP_DELAYED;
            snprintf(gap->doing, sizeof gap->doing, "asked for by walferry gaps fill");
        }
    }
    for (size_t i = 0; i < d->out->links; i++) {
        d->search[i].asks = false;
        d->search[i].retry_us = 0;
    }
    gaps_keep(d->gaps);
    return count;
}

static size_t
give_up(struct backfill *d, const char *member, const char *reason)
{
    size_t count = 0;

    for (size_t i = 0; i < d->gaps->count; i++) {
        struct gap *gap = &d->gaps->gap[i];

        if (member != NULL && strcmp(gap->member, member) != 0)
            continue;
        count++;
        gap_turn(d->gaps, gap, GAP_GIVEN_UP, "%s", reason);
    }
    return count;
}

void
backfill_request(struct backfill *d, struct control *control, uint64_t client,
                 const json_t *request)
{
    const char *what = json_string_value(json_object_get(request, "do"));
    const char *member = json_string_value(json_object_get(request, "member"));
    const char *reason = json_string_value(json_object_get(request, "reason"));
    bool fill = what != NULL && strcmp(what, "fill") == 0;
    size_t count;

    if (!fill && (reason == NULL || !gap_reason_fits(reason))) {
        control_text(control, client, "gaps: fill, or give-up with a reason of less than %d bytes",
                     GAP_TEXT_MAX);
        control_done(control, client, 2);
        return;
    }
    count = fill ? fill_now(d, member, json_is_true(json_object_get(request, "yes")))
                 : give_up(d, member, reason);
    control_text(control, client,
                 count == 0 ? "there is no such gap"
                 : fill     ? "every rung is asked again; walferry gaps tells what it says"
                            : "given up: nothing is got any more; who lacks it needs a new copy "
                              "(walferry seed --replace there)");
    control_done(control, client, count > 0 ? 0 : 1);
}

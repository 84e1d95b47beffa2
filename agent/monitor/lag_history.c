/* SPDX-License-Identifier: PostgreSQL */
/* See lag_history.h. */
#include "monitor/lag_history.h"

#include "monitor/report.h"

#include "base/clock.h"

#define APPLY_RATE_US (10 * SECOND_US)

static const struct lag_sample *
sample_at(const struct lag_history *h, size_t i) /* 0: the oldest */
{
    return &h->sample[(h->next + LAG_HISTORY - h->samples + i) % LAG_HISTORY];
}

static json_t *
lag_json(int32_t ms)
{
    return ms == LAG_UNKNOWN ? json_null() : json_real(ms / 1000.0);
}

json_t *
lag_history_json(const struct lag_history *h, int64_t now_us)
{
    json_t *age = json_array(), *exposure = json_array(), *applied = json_array();

    for (size_t i = 0; i < h->samples; i++) {
        const struct lag_sample *s = sample_at(h, i);

        json_array_append_new(age,
                              json_integer((json_int_t)((now_us - s->mono_us) / MILLISECOND_US)));
        json_array_append_new(exposure, lag_json(s->exposure_ms));
        json_array_append_new(applied, lag_json(s->applied_ms));
    }
    return json_pack("{s:o s:o s:o}", "age_ms", age, "exposure_seconds", exposure,
                     "applied_seconds", applied);
}

bool
lag_time_to_apply(const struct lag_history *h, const struct incoming *in, int64_t now_us,
                  double *ret_seconds)
{
    lsn_t applied = incoming_applied(in), held = in->spool.flushed;
    const struct lag_sample *from = NULL;

    if (in->who->role != ROLE_STANDBY || applied == LSN_UNKNOWN || held == LSN_UNKNOWN)
        return false;
    *ret_seconds = 0;
    if (held <= applied)
        return true;
    for (size_t i = h->samples; i-- > 0 && now_us - sample_at(h, i)->mono_us < APPLY_RATE_US;)
        from = sample_at(h, i);
    if (from == NULL || from->applied == LSN_UNKNOWN || applied <= from->applied)
        return false; /* replay stands: nobody knows */
    *ret_seconds = (double)(held - applied) / (double)(applied - from->applied) *
                   (double)(now_us - from->mono_us) / (double)SECOND_US;
    return true;
}

static int32_t
milliseconds(const json_t *seconds)
{
    double ms = json_number_value(seconds) * 1000;

    return !json_is_number(seconds) ? LAG_UNKNOWN : ms < INT32_MAX ? (int32_t)ms : INT32_MAX;
}

/* The smallest lag of what is applied on another site; on a standby there of what is applied here. A
 * mirror does not know it. */
static int32_t
applied_lag(const json_t *report)
{
    const json_t *link, *receiving = json_object_get(report, "receiving");
    int32_t best = LAG_UNKNOWN;
    size_t i;

    if (json_is_true(json_object_get(report, "mirror")))
        return LAG_UNKNOWN;
    if (json_is_object(receiving))
        return milliseconds(json_object_get(json_object_get(receiving, "applied"), "lag_seconds"));
    json_array_foreach (json_object_get(report, "links"), i, link) {
        int32_t ms = milliseconds(json_object_get(json_object_get(link, "applied"), "lag_seconds"));

        if (json_is_true(json_object_get(link, "mirror")))
            continue;
        if (ms != LAG_UNKNOWN && (best == LAG_UNKNOWN || ms < best))
            best = ms;
    }
    return best;
}

void
lag_history_add(struct lag_history *h, const struct view *v, int64_t now_us)
{
    json_t *report = report_json(v, now_us);

    h->sample[h->next] = (struct lag_sample){
        .mono_us = now_us,
        .exposure_ms = milliseconds(json_object_get(report, "exposure_seconds")),
        .applied_ms = applied_lag(report),
        .applied = incoming_applied(v->in)};
    h->next = (h->next + 1) % LAG_HISTORY;
    if (h->samples < LAG_HISTORY)
        h->samples++;
    json_decref(report);
}

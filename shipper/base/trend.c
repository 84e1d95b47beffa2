/* SPDX-License-Identifier: PostgreSQL */
/* See trend.h. */
#include "base/trend.h"

#include "base/clock.h"

#define DISK_US     (60 * SECOND_US) /* of disks: files come and go in pieces of 16 MB */
#define RATE_MIN_US (3 * SECOND_US)  /* less says nothing */
#define STEPS       4                /* so few in a minute are a slow trend, and no burst */
#define STALE_US    (3 * SECOND_US)

void
trend_add(struct trend *t, int64_t now_us, uint64_t value)
{
    t->sample[t->next].at_us = now_us;
    t->sample[t->next].value = value;
    t->next = (t->next + 1) % TREND_SAMPLES;
    if (t->count < TREND_SAMPLES)
        t->count++;
}

void
trend_clear(struct trend *t)
{
    t->count = t->next = 0;
}

/* Over the samples of that time, if they span half of it. */
static bool
rate_between(const struct trend *t, int64_t from_us, int64_t to_us, double *ret_per_second)
{
    size_t first = TREND_SAMPLES, last = 0;
    int64_t span_us;

    for (size_t i = 0; i < t->count; i++) {
        size_t at = (t->next + TREND_SAMPLES - t->count + i) % TREND_SAMPLES;

        if (t->sample[at].at_us < from_us || t->sample[at].at_us > to_us)
            continue;
        if (first == TREND_SAMPLES)
            first = at;
        last = at;
    }
    span_us = first < TREND_SAMPLES ? t->sample[last].at_us - t->sample[first].at_us : 0;
    if (span_us < (to_us - from_us) / 2)
        return false;
    *ret_per_second = ((double)t->sample[last].value - (double)t->sample[first].value) *
                      (double)SECOND_US / (double)span_us;
    return true;
}

bool
trend_rate(const struct trend *t, int64_t window_us, int64_t now_us, double *ret_per_second)
{
    size_t newest = (t->next + TREND_SAMPLES - 1) % TREND_SAMPLES, oldest = newest;
    int64_t span_us;

    if (t->count == 0 || now_us - t->sample[newest].at_us > STALE_US)
        return false;
    for (size_t i = 1; i < t->count; i++) {
        size_t at = (newest + TREND_SAMPLES - i) % TREND_SAMPLES;

        if (now_us - t->sample[at].at_us > window_us)
            break;
        oldest = at;
    }
    span_us = t->sample[newest].at_us - t->sample[oldest].at_us;
    if (span_us < RATE_MIN_US)
        return false;
    *ret_per_second = ((double)t->sample[newest].value - (double)t->sample[oldest].value) *
                      (double)SECOND_US / (double)span_us;
    return true;
}

bool
trend_outruns(const struct trend *t, const struct trend *other, int64_t now_us)
{
    double rate, other_rate;

    return (trend_rate(t, TREND_RATE_US, now_us, &rate) &&
            trend_rate(other, TREND_RATE_US, now_us, &other_rate) && rate > other_rate) ||
           (trend_rate(t, DISK_US, now_us, &rate) &&
            trend_rate(other, DISK_US, now_us, &other_rate) && rate > other_rate);
}

bool
trend_full_us(const struct trend *free_bytes, uint64_t step_bytes, int64_t now_us, int64_t *ret_us)
{
    size_t newest = (free_bytes->next + TREND_SAMPLES - 1) % TREND_SAMPLES;
    double slowest = 0, seconds;
    bool by_steps;

    if (free_bytes->count == 0 || now_us - free_bytes->sample[newest].at_us > STALE_US ||
        !rate_between(free_bytes, now_us - DISK_US, now_us, &slowest) || slowest >= 0)
        return false;
    by_steps = -slowest * (double)(DISK_US / SECOND_US) <= STEPS * (double)step_bytes;
    for (int64_t from_us = -DISK_US; from_us < 0 && !by_steps; from_us += DISK_US / 3) {
        double rate;

        if (!rate_between(free_bytes, now_us + from_us, now_us + from_us + DISK_US / 3, &rate) ||
            rate >= 0)
            return false;
        if (from_us == -DISK_US || rate > slowest)
            slowest = rate;
    }
    seconds = (double)free_bytes->sample[newest].value / -slowest;
    if (seconds > 1e9) /* thirty years: not shrinking */
        return false;
    *ret_us = (int64_t)(seconds * (double)SECOND_US);
    return true;
}

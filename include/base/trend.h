/* SPDX-License-Identifier: PostgreSQL */
/*
 * trend: one value a second, kept for a minute, and what follows from it: a rate, and when what is
 * free is used up. Arithmetic: nothing here knows of sockets, files or clocks.
 */
#ifndef BASE_TREND_H
#define BASE_TREND_H

#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TREND_RATE_US (10 * SECOND_US) /* what is told as the present rate is of so long */

#define TREND_SAMPLES 61 /* one a second */

struct trend {
    struct {
        int64_t at_us;
        uint64_t value;
    } sample[TREND_SAMPLES];
    size_t count, next;
};

void trend_add(struct trend *t, int64_t now_us, uint64_t value);
void trend_clear(struct trend *t); /* what comes has nothing to do with what was */

/* Units per second over the last `window_us`; false: too few values, or the last one is old. */
bool trend_rate(const struct trend *t, int64_t window_us, int64_t now_us, double *ret_per_second);

/* Has `t` gained on `other` in the last seconds, or in the last minute if it pauses? */
bool trend_outruns(const struct trend *t, const struct trend *other, int64_t now_us);

/* When what is free is used up at the rate of the last minute: the slowest of its thirds, for one
 * burst is no trend; the whole minute's, where a disk that fills slowly does so in a few steps (of
 * a segment). False: unknown, or not shrinking. */
bool trend_full_us(const struct trend *free_bytes, uint64_t step_bytes, int64_t now_us,
                   int64_t *ret_us);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * histogram: durations counted into fixed buckets, as Prometheus wants them.
 */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BUCKETS 16 /* the last bucket is for durations above all bounds */

extern const int64_t histogram_bound_us[HISTOGRAM_BUCKETS - 1]; /* 50 us to 5 s, ascending */

struct histogram {
    uint64_t bucket[HISTOGRAM_BUCKETS]; /* not cumulative */
    int64_t sum_us;
};

void histogram_add(struct histogram *h, int64_t took_us);

#endif

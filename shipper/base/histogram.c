/* SPDX-License-Identifier: PostgreSQL */
/* See histogram.h. */
#include "base/histogram.h"

const int64_t histogram_bound_us[HISTOGRAM_BUCKETS - 1] = {
    50,    100,   250,    500,    1000,   2500,    5000,   10000,
    25000, 50000, 100000, 250000, 500000, 1000000, 5000000};

void
histogram_add(struct histogram *h, int64_t took_us)
{
    size_t i = 0;

    while (i < HISTOGRAM_BUCKETS - 1 && took_us > histogram_bound_us[i])
        i++;
    h->bucket[i]++;
    h->sum_us += took_us;
}

/* SPDX-License-Identifier: PostgreSQL */
/*
 * rate: a limit in bytes per second, which may differ at some hours of the day.
 *
 *   none   20MB   20MB, 2MB 08:00-18:00, 5MB 18:00-22:00        (local time; the first that fits)
 *
 * kB, MB, GB are powers of 1000. The limit holds over any second: the bucket holds RATE_BURST_US of
 * the rate.
 */
#ifndef SHIPPER_SENDER_RATE_H
#define SHIPPER_SENDER_RATE_H

#include <stddef.h>
#include <stdint.h>

#define RATE_SPANS    4
#define RATE_TEXT_MAX 160
#define RATE_BURST_US (20 * MILLISECOND_US)

struct rate_plan {
    uint64_t otherwise; /* bytes per second; 0: none */
    struct {
        uint64_t bytes;
        int from, to; /* minutes of the day; from > to goes over midnight */
    } span[RATE_SPANS];
    unsigned spans;
};

struct rate {
    struct rate_plan plan;
    double tokens; /* below 0: used in advance */
    int64_t at_us, planned_us;
    uint64_t now; /* bytes per second; 0: none */
};

int rate_parse(struct rate_plan *p, const char *text); /* ERR_USAGE */
char *rate_text(const struct rate_plan *p, char *out, size_t size);

/* Bytes that may go now; INT64_MAX without a limit, at most 0: wait until rate_due_us. */
int64_t rate_allowance(struct rate *r, int64_t now_us, int64_t wall_us);
void rate_used(struct rate *r, uint64_t bytes);
int64_t rate_due_us(const struct rate *r);

#endif

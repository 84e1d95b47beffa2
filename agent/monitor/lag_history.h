/* SPDX-License-Identifier: PostgreSQL */
/*
 * lag history: lag of the last hour, one sample a second, kept in memory: for the page's chart, and
 * to tell how fast replay is.
 */
#ifndef AGENT_MONITOR_LAG_HISTORY_H
#define AGENT_MONITOR_LAG_HISTORY_H

#include "monitor/view.h"

#include <jansson.h>

#define LAG_HISTORY 3600
#define LAG_UNKNOWN (-1)

struct lag_sample {
    int64_t mono_us;
    int32_t exposure_ms, applied_ms; /* LAG_UNKNOWN */
    lsn_t applied;
};

struct lag_history {
    struct lag_sample sample[LAG_HISTORY]; /* a ring */
    size_t samples, next;
};

void lag_history_add(struct lag_history *h, const struct view *v, int64_t now_us);
json_t *lag_history_json(const struct lag_history *h, int64_t now_us); /* a new reference */

/* Replay of all that is held here at the present rate, which is the time to promote; false: not
 * known, or this is no standby. */
bool lag_time_to_apply(const struct lag_history *h, const struct incoming *in, int64_t now_us,
                       double *ret_seconds);

#endif

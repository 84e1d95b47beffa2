/*
 * shipping: what a DBA asks of a link first: does it keep up? And of a disk: when is it full?
 *
 * Both are rates: a `struct trend` keeps one value a second for a minute. The state of a link is
 * worked out anew each time it is asked for, from the figures of that moment, so that it is never
 * older than they are.
 */
#ifndef AGENT_MONITOR_PROGRESS_H
#define AGENT_MONITOR_PROGRESS_H

#include "base/lsn.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

enum shipping_state {
    SHIPPING_NOT_STARTED, /* nothing was shipped yet, and nothing is wrong */
    SHIPPING_ERROR,       /* nothing is shipped: see reason */
    SHIPPING_BEHIND,      /* there is a backlog: see the rates */
    SHIPPING_STEADY,      /* WAL goes as it comes */
    SHIPPING_FINAL,       /* all there is is durable there, and none was made for some seconds */
};

/* What the state is judged by; produced and shipped are trends of LSNs. */
struct shipping_facts {
    bool up, started;   /* the link; something was acknowledged once */
    const char *reason; /* why nothing comes; "" */
    lsn_t primary;      /* where the primary stands; LSN_UNKNOWN if nobody knows */
    lsn_t flushed;      /* where the far site stands */
    bool lag_known;
    int64_t lag_us; /* of flushed */
    const struct trend *produced, *shipped;
};

struct shipping {
    enum shipping_state state;
    const char *reason; /* as it came in */
    bool produced_known, shipped_known, level_known;
    double produced, shipped; /* bytes of WAL per second */
    int64_t level_us;         /* until level, at these rates; unknown also means never */
};

void shipping_judge(const struct shipping_facts *f, int64_t now_us, struct shipping *ret_shipping);
const char *shipping_name(enum shipping_state state);

#endif

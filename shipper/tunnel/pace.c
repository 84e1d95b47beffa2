/* SPDX-License-Identifier: PostgreSQL */
/* See pace.h. Arithmetic only: no sockets, no clock. */
#include "tunnel/pace.h"

void
pace_init(struct pace *p, int64_t now_us)
{
    *p = (struct pace){.window = PACE_WINDOW_MIN, .ramp = PACE_WINDOW_MIN, .looked_us = now_us};
}

void
pace_hint(struct pace *p, int64_t round_trip_us)
{
    if (round_trip_us > 0 && (p->base_us == 0 || round_trip_us < p->base_us))
        p->base_us = round_trip_us;
}

bool
pace_sent(struct pace *p, uint64_t bytes, int64_t now_us, int64_t *ret_mark_us)
{
    unsigned last = (p->first + p->count - 1) % PACE_MARKS;
    uint64_t marked = p->count > 0 ? p->mark[last].at : p->answered;

    p->sent += bytes;
    if (p->sent - marked < PACE_MARK_BYTES || p->count == PACE_MARKS)
        return false;
    if (p->count > 0 && now_us <= p->mark[last].us)
        now_us = p->mark[last].us + 1; /* the times of marks differ */
    last = (p->first + p->count++) % PACE_MARKS;
    p->mark[last].at = p->sent;
    *ret_mark_us = p->mark[last].us = now_us;
    return true;
}

/* Half-way to the window that would leave a queue of PACE_QUEUE_US: the effect shows only after
 * another round trip, and the whole way would swing. */
static void
set_window(struct pace *p)
{
    double ratio = (double)(p->base_us + PACE_QUEUE_US) / (double)p->least_us;
    double window = (double)p->window;

    if (ratio < 1)
        p->met = true;
    else if (!p->full)
        return; /* nothing was learned */
    window *= p->met ? (1 + (ratio > 3 ? 3 : ratio)) / 2 : 2;
    p->window = window < PACE_WINDOW_MIN   ? PACE_WINDOW_MIN
                : window > PACE_WINDOW_MAX ? PACE_WINDOW_MAX
                                           : (uint64_t)window;
}

static void
end_round(struct pace *p, int64_t now_us)
{
    if (p->looking > 0 && --p->looking == 0) {
        p->base_us = p->least_us; /* the queue is empty: this is the line's own round trip now */
        p->ramp = PACE_MARK_BYTES;
    } else if (p->looking == 0 && p->ramp >= p->window) {
        set_window(p);
        p->ramp = p->window;
    }
    if (now_us - p->looked_us >= PACE_LOOK_US) {
        p->looked_us = now_us;
        p->looking = 2;
    }
    p->least_us = 0;
    p->round_end = p->sent;
    p->full = false;
}

void
pace_answered(struct pace *p, int64_t mark_us, int64_t now_us)
{
    while (p->count > 0 && p->mark[p->first].us <= mark_us) {
        bool it = p->mark[p->first].us == mark_us;
        int64_t took_us;

        p->ramp += p->mark[p->first].at - p->answered; /* two pieces for each that arrived */
        p->answered = p->mark[p->first].at;
        p->first = (p->first + 1) % PACE_MARKS;
        p->count--;
        if (!it)
            continue;
        took_us = now_us > mark_us ? now_us - mark_us : 1;
        pace_hint(p, took_us);
        if (p->least_us == 0 || took_us < p->least_us)
            p->least_us = took_us;
        if (p->answered >= p->round_end)
            end_round(p, now_us);
        return;
    }
}

bool
pace_allows(struct pace *p)
{
    uint64_t window = p->looking > 0 ? PACE_MARK_BYTES : p->ramp < p->window ? p->ramp : p->window;

    if (p->sent - p->answered < window || p->count == 0) /* else no answer would come */
        return true;
    p->full = true;
    return false;
}

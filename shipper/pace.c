/* See pace.h: arithmetic, nothing here knows of sockets or clocks. */
#include "shipper/pace.h"

void
pace_init(struct pace *p)
{
    *p = (struct pace){.window = PACE_WINDOW_MIN};
}

void
pace_hint(struct pace *p, int64_t round_trip_us)
{
    if (round_trip_us > 0 && (p->base_us == 0 || round_trip_us < p->base_us))
        p->base_us = round_trip_us;
}

bool
pace_sent(struct pace *p, uint64_t bytes, int64_t now_us)
{
    unsigned last = (p->first + p->count - 1) % PACE_MARKS;
    uint64_t marked = p->count > 0 ? p->mark[last].at : p->answered;

    p->sent += bytes;
    if (p->sent - marked < PACE_MARK_BYTES || p->count == PACE_MARKS ||
        (p->count > 0 && p->mark[last].sent_us == now_us))
        return false;
    last = (p->first + p->count++) % PACE_MARKS;
    p->mark[last].sent_us = now_us;
    p->mark[last].at = p->sent;
    return true;
}

/* Half-way to the window that would leave a queue of PACE_QUEUE_US: the effect shows only after
 * another round trip, and going all the way would swing. */
static void
end_round(struct pace *p)
{
    double ratio = (double)(p->base_us + PACE_QUEUE_US) / (double)p->least_us;
    double window = (double)p->window * (1 + (ratio > 3 ? 3 : ratio)) / 2;

    if (ratio < 1 || p->full)
        p->window = window < PACE_WINDOW_MIN   ? PACE_WINDOW_MIN
                    : window > PACE_WINDOW_MAX ? PACE_WINDOW_MAX
                                               : (uint64_t)window;
    p->least_us = 0;
    p->round_end = p->sent;
    p->full = false;
}

void
pace_answered(struct pace *p, int64_t sent_us, int64_t now_us)
{
    int64_t took_us = now_us > sent_us ? now_us - sent_us : 1;

    while (p->count > 0 && p->mark[p->first].sent_us <= sent_us) {
        bool it = p->mark[p->first].sent_us == sent_us;

        p->answered = p->mark[p->first].at;
        p->first = (p->first + 1) % PACE_MARKS;
        p->count--;
        if (!it)
            continue;
        pace_hint(p, took_us);
        if (p->least_us == 0 || took_us < p->least_us)
            p->least_us = took_us;
        if (p->answered >= p->round_end)
            end_round(p);
        return;
    }
}

bool
pace_allows(struct pace *p)
{
    if (p->sent - p->answered < p->window)
        return true;
    p->full = true;
    return false;
}

/* See adapt.h. */
#include "shipper/adapt.h"

#include "base/clock.h"

#define LOOK_US   (200 * MILLISECOND_US)
#define CLOSED_US (20 * SECOND_US)
#define SLOWER    0.98 /* less than this of the rate before: the step was wrong */

/* The levels that are worth their time on WAL; 2 to 4 are beaten by 1 and 5 in both. */
static const int ladder[ADAPT_RUNGS] = {-1, 1, 5, 6};

void
adapt_init(struct adapt *a)
{
    *a = (struct adapt){.rung = 1, .before = 1};
}

int
adapt_level(const struct adapt *a)
{
    return ladder[a->rung];
}

void
adapt_rest(struct adapt *a)
{
    a->look_us = 0;
    a->trying = a->settling = false;
    a->full = a->empty = 0;
}

static void
begin(struct adapt *a, uint64_t wal_bytes, int64_t now_us)
{
    a->look_us = now_us;
    a->bytes_then = wal_bytes;
    a->full = a->empty = 0;
}

static void
step(struct adapt *a, unsigned rung)
{
    a->before = a->rung;
    a->rate_before = a->rate;
    a->rung = rung;
    a->settling = true;
}

void
adapt_look(struct adapt *a, bool line_full, uint64_t wal_bytes, int64_t now_us)
{
    bool up = a->full > 3 * a->empty, down = a->empty > 3 * a->full;

    if (a->look_us == 0)
        begin(a, wal_bytes, now_us);
    a->full += line_full;
    a->empty += !line_full;
    if (now_us - a->look_us < LOOK_US)
        return;
    if (a->settling) { /* what was packed before the step went through meanwhile */
        a->settling = false;
        begin(a, wal_bytes, now_us);
        return;
    }
    a->rate = (double)(wal_bytes - a->bytes_then) / (double)(now_us - a->look_us);
    begin(a, wal_bytes, now_us);
    if (a->trying) {
        a->trying = false;
        if (a->rate < a->rate_before * SLOWER) {
            a->closed_us[a->rung] = now_us + CLOSED_US;
            step(a, a->before);
            return;
        }
    }
    if (up && a->rung + 1 < ADAPT_RUNGS && now_us >= a->closed_us[a->rung + 1])
        step(a, a->rung + 1);
    else if (down && a->rung > 0 && now_us >= a->closed_us[a->rung - 1])
        step(a, a->rung - 1);
    else
        return;
    a->trying = true;
}

/* See adapt.h. */
#include "shipper/adapt.h"

#include "base/clock.h"

#define LOOK_US   (300 * MILLISECOND_US)
#define CLOSED_US (30 * SECOND_US)
#define SMALLER   1.01 /* a stronger level has to make WAL so much smaller, on a full line */
#define SLOWER    0.97 /* else it may let so much less through: what is measured is noisy */

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
begin(struct adapt *a, uint64_t wal_bytes, uint64_t wire_bytes, int64_t now_us)
{
    a->look_us = now_us;
    a->wal_then = wal_bytes;
    a->wire_then = wire_bytes;
    a->full = a->empty = 0;
}

static void
step(struct adapt *a, unsigned rung)
{
    a->before = a->rung;
    a->rate_before = a->rate;
    a->ratio_before = a->ratio;
    a->rung = rung;
    a->settling = true;
}

static bool
was_right(const struct adapt *a, bool line_full)
{
    if (a->rung > a->before && a->ratio < a->ratio_before * SMALLER)
        return false;
    return line_full || a->rate >= a->rate_before * SLOWER;
}

/* The one that was tried, and the stronger ones, too, if the processor was too slow for it. */
static void
close_rungs(struct adapt *a, bool line_full, int64_t now_us)
{
    unsigned last = a->rung > a->before && !line_full ? ADAPT_RUNGS - 1 : a->rung;

    for (unsigned i = a->rung; i <= last; i++)
        a->closed_us[i] = now_us + CLOSED_US;
}

static void
choose(struct adapt *a, bool up, bool down, int64_t now_us)
{
    for (unsigned rung = a->rung + 1; up && rung < ADAPT_RUNGS; rung++) {
        if (now_us >= a->closed_us[rung]) {
            step(a, rung);
            a->trying = true;
            return;
        }
    }
    for (unsigned rung = a->rung; down && rung-- > 0;) {
        if (now_us >= a->closed_us[rung]) {
            step(a, rung);
            a->trying = true;
            return;
        }
    }
}

void
adapt_look(struct adapt *a, bool line_full, uint64_t wal_bytes, uint64_t wire_bytes, int64_t now_us)
{
    bool up, down;

    if (a->look_us == 0)
        begin(a, wal_bytes, wire_bytes, now_us);
    a->full += line_full;
    a->empty += !line_full;
    if (now_us - a->look_us < LOOK_US || wire_bytes == a->wire_then)
        return;
    up = a->full > 3 * a->empty;
    down = a->empty > 3 * a->full;
    if (a->settling) { /* what was packed before the step went through meanwhile */
        a->settling = false;
        begin(a, wal_bytes, wire_bytes, now_us);
        return;
    }
    a->rate = (double)(wal_bytes - a->wal_then) / (double)(now_us - a->look_us);
    a->ratio = (double)(wal_bytes - a->wal_then) / (double)(wire_bytes - a->wire_then);
    begin(a, wal_bytes, wire_bytes, now_us);
    if (a->trying && !was_right(a, up)) {
        a->trying = false;
        close_rungs(a, up, now_us);
        step(a, a->before);
        return;
    }
    a->trying = false;
    choose(a, up, down, now_us);
}

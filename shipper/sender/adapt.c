/* SPDX-License-Identifier: PostgreSQL */
/* See adapt.h. */
#include "sender/adapt.h"

#include "base/clock.h"

#define LOOK_US       (300 * MILLISECOND_US)
#define LOOK_BYTES    (1u << 20) /* of frames, at least: a look takes longer on a slow line */
#define SETTLE_BYTES  (2u << 20) /* of WAL: already compressed when a step is taken */
#define CLOSED_US     (30 * SECOND_US)
#define DOUBT_US      (5 * SECOND_US)
#define SMALLER       1.03 /* a stronger level has to make WAL smaller by this factor */
#define NO_LESS       0.95 /* a weaker level may lose this much: measurements are noisy */
#define NOT_MUCH_LESS 0.85 /* as NO_LESS, when the line was not full all the time */
#define CHANGE        1.5
#define HOME          1u /* level 1, as an index */

/* The levels that are worth their time on WAL; 1 and 5 beat 2 to 4 in both ratio and speed. */
static const int levels[ADAPT_LEVELS] = {-1, 1, 5, 6};

void
adapt_init(struct adapt *a)
{
    *a = (struct adapt){.rung = HOME, .before = HOME};
}

int
adapt_level(const struct adapt *a)
{
    return levels[a->rung];
}

void
adapt_rest(struct adapt *a)
{
    if (a->trying && a->rung > a->before)
        a->rung = a->before;
    a->trying = a->settling = a->filled = false;
    a->look_us = 0;
}

static void
begin(struct adapt *a, const struct adapt_facts *f, int64_t now_us)
{
    a->look_us = now_us;
    a->then = *f;
    for (int i = 0; i < ADAPT_MIXED; i++)
        a->spent_us[i] = 0;
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

static enum adapt_limit
limit_of(const struct adapt_facts *f)
{
    if (f->far_busy)
        return ADAPT_OTHER;
    if (f->frames_wait)
        return ADAPT_LINE;
    return f->wal_waits ? ADAPT_COMPRESSION : ADAPT_OTHER;
}

/* The limit of more than half of the look. */
static enum adapt_limit
limit_of_look(const struct adapt *a, int64_t took_us)
{
    for (enum adapt_limit i = ADAPT_LINE; i < ADAPT_MIXED; i++)
        if (a->spent_us[i] > took_us / 2)
            return i;
    return ADAPT_MIXED;
}

static bool
paid(const struct adapt *a, enum adapt_limit limit)
{
    double promise = a->ratio / a->ratio_before, gain = a->rate / a->rate_before;

    if (a->rung > a->before)
        return promise >= SMALLER && gain >= (1 + promise) / 2;
    if (a->rung < HOME)
        return gain > 1;
    switch (limit) {
    case ADAPT_LINE:
        return gain >= NO_LESS;
    case ADAPT_MIXED:
        return gain >= NOT_MUCH_LESS;
    case ADAPT_COMPRESSION:
    case ADAPT_OTHER:
        break;
    }
    return true; /* nothing speaks for the stronger level */
}

/* May the level be tried? A verdict is void under another limit, or at a very different rate. */
static bool
is_open(const struct adapt *a, unsigned rung, enum adapt_limit limit, int64_t now_us)
{
    double change = a->rate / a->closed[rung].rate;

    return now_us >= a->closed[rung].until_us || change > CHANGE || change < 1 / CHANGE ||
           (limit == ADAPT_OTHER) != (a->closed[rung].limit == ADAPT_OTHER);
}

/* The worse of the two levels is closed; if it is the stronger one, all above it, too: they take
 * still more time. */
static void
judge(struct adapt *a, enum adapt_limit limit, int64_t now_us)
{
    bool good = paid(a, limit);
    unsigned best = good ? a->rung : a->before, worse = good ? a->before : a->rung;
    double rate = good ? a->rate : a->rate_before;

    a->trying = false;
    if (!good)
        step(a, best);
    do {
        a->closed[worse].until_us = now_us + (good ? DOUBT_US : CLOSED_US);
        a->closed[worse].rate = rate;
        a->closed[worse].limit = a->reason;
    } while (worse > best && ++worse < ADAPT_LEVELS);
}

static void
choose(struct adapt *a, enum adapt_limit limit, int64_t now_us)
{
    unsigned rung = a->rung, stronger = rung + 1, weaker = rung > 0 ? rung - 1 : 0;

    if (limit == ADAPT_LINE && stronger < ADAPT_LEVELS && is_open(a, stronger, limit, now_us))
        rung = stronger;
    else if (limit == ADAPT_COMPRESSION || rung > HOME)
        rung = limit == ADAPT_OTHER ? HOME : weaker;
    if (rung == a->rung || !is_open(a, rung, limit, now_us))
        return;
    step(a, rung);
    a->reason = limit;
    a->trying = true;
}

/* Frames pile up before the line and drain from there: the smaller number got through. */
static void
measure(struct adapt *a, const struct adapt_facts *f, int64_t took_us)
{
    double wal = (double)(f->wal_compressed - a->then.wal_compressed);
    double wire = (double)(f->wire_compressed - a->then.wire_compressed);
    double taken = (double)(f->wire_taken - a->then.wire_taken);

    a->ratio = wal / wire;
    a->rate = (taken < wire ? taken : wire) * a->ratio / (double)took_us;
}

void
adapt_look(struct adapt *a, const struct adapt_facts *f, int64_t now_us)
{
    enum adapt_limit limit;
    int64_t took_us;

    if (!f->backlog) {
        adapt_rest(a);
        return;
    }
    if (a->look_us == 0 || (f->frames_wait && !a->filled))
        begin(a, f, now_us); /* what was measured while the line filled does not count */
    else
        a->spent_us[a->limit] += now_us - a->limit_us;
    a->filled |= f->frames_wait;
    a->limit = limit_of(f);
    a->limit_us = now_us;
    if (a->settling) { /* frames from before the step are still under way */
        a->settling = f->wal_compressed - a->then.wal_compressed < SETTLE_BYTES;
        if (!a->settling)
            begin(a, f, now_us);
        return;
    }
    took_us = now_us - a->look_us;
    if (took_us < LOOK_US || f->wire_compressed - a->then.wire_compressed < LOOK_BYTES)
        return;
    measure(a, f, took_us);
    limit = limit_of_look(a, took_us);
    begin(a, f, now_us);
    if (a->trying)
        judge(a, limit, now_us);
    if (!a->settling)
        choose(a, limit, now_us);
}

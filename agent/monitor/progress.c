/* SPDX-License-Identifier: PostgreSQL */
/* See progress.h: arithmetic, nothing here knows of sockets, files or clocks. */
#include "monitor/progress.h"

#include "base/clock.h"

#define IDLE_US   (5 * SECOND_US)
#define BEHIND_US (2 * SECOND_US) /* lag of a link that keeps up is some tenths of a second */

/* How long until the backlog is gone, if it gets smaller at all. */
static void
find_level(const struct progress_facts *f, struct progress *s)
{
    double gain = s->shipped - s->produced, backlog;

    if (!s->produced_known || !s->shipped_known || f->primary == LSN_UNKNOWN)
        return;
    backlog = f->primary > f->flushed ? (double)(f->primary - f->flushed) : 0;
    if (backlog > 0 && (gain <= 0 || backlog / gain > 1e9))
        return;
    s->level_known = true;
    s->level_us = backlog > 0 ? (int64_t)(backlog / gain * (double)SECOND_US) : 0;
}

static bool
is_idle(const struct trend *produced, int64_t now_us)
{
    double rate;

    return trend_rate(produced, IDLE_US, now_us, &rate) && rate <= 0;
}

void
progress_judge(const struct progress_facts *f, int64_t now_us, struct progress *ret_progress)
{
    struct progress s = {.reason = f->reason};

    s.produced_known = trend_rate(f->produced, TREND_RATE_US, now_us, &s.produced);
    s.shipped_known = trend_rate(f->shipped, TREND_RATE_US, now_us, &s.shipped);
    if (f->up && f->started && f->reason[0] == '\0')
        find_level(f, &s);
    if (f->reason[0] != '\0' || (!f->up && f->started))
        s.state = PROGRESS_ERROR;
    else if (!f->up || !f->started || !f->lag_known)
        s.state = PROGRESS_NOT_STARTED;
    else if (f->lag_us >= BEHIND_US)
        s.state = PROGRESS_BEHIND;
    else if (f->primary != LSN_UNKNOWN && f->flushed >= f->primary && is_idle(f->produced, now_us))
        s.state = PROGRESS_FINAL;
    else
        s.state = PROGRESS_STEADY;
    *ret_progress = s;
}

const char *
progress_name(enum progress_state state)
{
    static const char *const name[] = {"not_started", "error", "behind", "steady", "final"};

    return name[state];
}

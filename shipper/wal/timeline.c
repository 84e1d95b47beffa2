/* SPDX-License-Identifier: PostgreSQL */
/* See timeline.h. */
#include "shipper/wal/timeline.h"

lsn_t
lineage_end(const struct lineage *l, timeline_t timeline)
{
    lsn_t end;

    if (timeline == l->timeline || !history_switch_point(l->text, l->length, timeline, &end))
        return UINT64_MAX;
    return end;
}

static timeline_t
after(const struct lineage *l, timeline_t timeline)
{
    return history_next(l->text, l->length, timeline, l->timeline);
}

bool
lineage_fork(const struct lineage *ours, const struct lineage *theirs, timeline_t *ret_timeline,
             lsn_t *ret_fork)
{
    timeline_t our = after(ours, 0), their = after(theirs, 0), common = 0;
    lsn_t our_end = 0, their_end = 0;

    while (our == their && our_end == their_end) {
        common = our;
        our_end = lineage_end(ours, our);
        their_end = lineage_end(theirs, their);
        if (our_end == UINT64_MAX && their_end == UINT64_MAX)
            return false;
        our = after(ours, our);
        their = after(theirs, their);
    }
    *ret_timeline = common;
    *ret_fork = our_end < their_end ? our_end : their_end;
    return true;
}

timeline_t
lineage_at(const struct lineage *l, lsn_t lsn)
{
    timeline_t timeline = after(l, 0);

    while (timeline != l->timeline && lsn >= lineage_end(l, timeline))
        timeline = after(l, timeline);
    return timeline;
}

bool
lineage_has(const struct lineage *l, timeline_t timeline)
{
    lsn_t end;

    return timeline != 0 &&
           (timeline == l->timeline || history_switch_point(l->text, l->length, timeline, &end));
}

static enum position_order
order(lsn_t a, lsn_t b)
{
    return a < b ? POSITION_BEFORE : a > b ? POSITION_AFTER : POSITION_EQUAL;
}

enum position_order
lineage_order(const struct lineage *of_a, struct position a, const struct lineage *of_b,
              struct position b, struct position *ret_fork)
{
    /* a timeline that led to the present one is a lineage by itself, with the same text */
    struct lineage to_a = {a.timeline, of_a->text, of_a->length};
    struct lineage to_b = {b.timeline, of_b->text, of_b->length};
    struct position fork = {0};

    if (lineage_has(of_a, a.timeline) && lineage_has(of_b, b.timeline)) {
        if (!lineage_fork(&to_a, &to_b, &fork.timeline, &fork.lsn))
            return order(a.lsn, b.lsn);
        if (a.timeline == fork.timeline && a.lsn <= fork.lsn)
            return b.lsn > a.lsn ? POSITION_BEFORE : POSITION_EQUAL;
        if (b.timeline == fork.timeline && b.lsn <= fork.lsn)
            return a.lsn > b.lsn ? POSITION_AFTER : POSITION_EQUAL;
    }
    *ret_fork = fork;
    return POSITION_APART;
}

/* SPDX-License-Identifier: PostgreSQL */
/* See timeline.h. */
#include "shipper/wal/timeline.h"

/* Where `timeline` ends; the last one has no end yet. */
static lsn_t
end_of(const struct lineage *l, timeline_t timeline)
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
        our_end = end_of(ours, our);
        their_end = end_of(theirs, their);
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

    while (timeline != l->timeline && lsn >= end_of(l, timeline))
        timeline = after(l, timeline);
    return timeline;
}

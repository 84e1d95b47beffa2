/* SPDX-License-Identifier: PostgreSQL */
/* See tail.h. */
#include "pool/tail.h"

#include "base/lsn.h"

/* Where the pool has left that timeline for the next one, by the newest change that did. */
static lsn_t
left_at(const struct pool *p, timeline_t timeline)
{
    for (size_t i = p->changes; i > 0; i--) {
        const struct epoch_origin *o = &p->change[i - 1].origin;

        if (o->from == timeline && o->timeline != timeline && o->fork != LSN_UNKNOWN)
            return o->fork;
    }
    return UINT64_MAX;
}

/* Is it WAL of the present epoch, or of what led to it? A failover that was overruled may have made a
 * timeline of the same number. */
static bool
is_of_pool(const struct pool *p, const struct holder *h)
{
    const struct epoch_origin o = pool_origin(p);

    if (h->end.timeline != o.timeline && h->end.lsn > left_at(p, h->end.timeline))
        return false;
    return o.from == 0 || o.from == o.timeline || o.fork == LSN_UNKNOWN ||
           h->end.timeline < o.timeline || lineage_end(&h->lineage, o.from) == o.fork;
}

enum tail
judge_tail(const struct pool *p, const struct holder *ours, lsn_t from, const struct holder *theirs)
{
    struct position fork;

    if (!theirs->told || theirs->end.timeline == 0)
        return TAIL_UNREAD;
    switch (lineage_order(&ours->lineage, ours->end, &theirs->lineage, theirs->end, &fork)) {
    case POSITION_EQUAL:
    case POSITION_AFTER:
        return TAIL_HERE;
    case POSITION_APART:
        return is_of_pool(p, theirs) && !is_of_pool(p, ours) ? TAIL_LEFT : TAIL_APART;
    case POSITION_BEFORE:
        break;
    }
    if (!is_of_pool(p, theirs))
        return TAIL_APART;
    return theirs->failed || theirs->start == LSN_UNKNOWN || theirs->start > from ? TAIL_LACKING
                                                                                  : TAIL_MORE;
}

size_t
judge_tails(const struct holder *holder, const enum tail *tail, size_t holders)
{
    size_t best = TAIL_NOBODY;
    struct position fork;

    for (size_t i = 0; i < holders; i++)
        if (tail[i] == TAIL_MORE &&
            (best == TAIL_NOBODY ||
             lineage_order(&holder[best].lineage, holder[best].end, &holder[i].lineage,
                           holder[i].end, &fork) == POSITION_BEFORE))
            best = i;
    return best;
}

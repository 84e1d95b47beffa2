/* SPDX-License-Identifier: PostgreSQL */
/* See believe.h. */
#include "pool/believe.h"

#include "pool/route.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What one of two members knows: both are judged by the same rule. */
struct side {
    const char *name;
    const struct pool_change *change;
    size_t changes;
    timeline_t timeline;
};

static const struct epoch_origin *
end_of(const struct side *s)
{
    return &s->change[s->changes - 1].origin;
}

/* `next` came after the epoch that `s` is in: did it fork off where `s` was? The primary knows
 * where it is; others may be late. */
static bool
forked_from(const struct epoch_origin *next, const struct side *s)
{
    if (next->how == EPOCH_BY_RESOLVE || next->from == 0 || s->timeline == 0)
        return true;
    return strcmp(s->name, end_of(s)->epoch.member) == 0 ? s->timeline == next->from
                                                         : s->timeline <= next->from;
}

/* A primary that lost its spool has made epoch 1 anew, and still is what it was. */
static bool
has_forgotten(const struct side *s, const struct side *other)
{
    return s->changes == 1 && end_of(s)->how == EPOCH_BY_FIRST &&
           strcmp(end_of(s)->epoch.member, s->name) == 0 &&
           strcmp(end_of(other)->epoch.member, s->name) == 0 && s->timeline == other->timeline;
}

/* May `s` believe the last epoch of `other`, which is higher than its own? */
static bool
may_follow(const struct side *s, const struct side *other)
{
    const struct epoch *ours = &end_of(s)->epoch;

    if (end_of(other)->epoch.number > ours->number + NEWS_AHEAD_MAX &&
        end_of(other)->how != EPOCH_BY_RESOLVE) /* that one is above all it overrules */
        return false;
    if (chain_overrules(other->change, other->changes, ours) || has_forgotten(s, other))
        return true;
    for (size_t i = 0; i < other->changes; i++)
        if (epoch_equal(&other->change[i].origin.parent, ours))
            return forked_from(&other->change[i].origin, s);
    return false;
}

static bool
knows_more(const struct pool *p, const struct told *told)
{
    const struct epoch_origin ours = pool_origin(p),
                              *theirs = &told->change[told->changes - 1].origin;

    return strcmp(told->teller, theirs->epoch.member) == 0 &&
           (told->changes > p->changes || theirs->timeline != ours.timeline ||
            theirs->from != ours.from || theirs->fork != ours.fork);
}

enum news
judge_news(const struct pool *p, const char *self, const struct told *told)
{
    struct side ours = {self, p->change, p->changes, p->timeline},
                theirs = {told->teller, told->change, told->changes, told->timeline};

    if (told->changes == 0)
        return NEWS_NONE;
    if (p->changes == 0)
        return told->of_pool ? NEWS_EPOCH : NEWS_NONE;
    switch (pool_judge(p, &end_of(&theirs)->epoch)) {
    case POOL_SAME:
        return knows_more(p, told) ? NEWS_CHAIN : NEWS_NONE;
    case POOL_CONFLICT:
        break;
    case POOL_HIGHER:
        return told->of_pool && may_follow(&ours, &theirs) ? NEWS_EPOCH : NEWS_RIVAL;
    case POOL_LOWER:
        /* what our chain does not reach back to cannot be judged */
        return end_of(&theirs)->epoch.number < p->change[0].origin.epoch.number ||
                       may_follow(&theirs, &ours)
                   ? NEWS_NONE
                   : NEWS_RIVAL;
    }
    return NEWS_RIVAL;
}

static void
refuse_lower(const struct pool *p, const struct told *told, char ret_reason[FRAME_REASON_MAX])
{
    const struct epoch *theirs = &told->change[told->changes - 1].origin.epoch;
    bool was_primary = strcmp(told->teller, theirs->member) == 0; /* else it passes WAL on */
    char advice[120] = "";

    if (was_primary)
        snprintf(advice, sizeof advice,
                 "; stop the PostgreSQL of %s and bring it back as a standby", told->teller);
    snprintf(ret_reason, FRAME_REASON_MAX,
             "epoch %" PRIu64 " is over: %s is the primary since epoch %" PRIu64 "%s",
             theirs->number, p->epoch.member, p->epoch.number, advice);
}

/* Does the table of this epoch name the teller as the one that feeds `self`? */
static bool
is_feeder(const struct pool *p, const char *self, const struct told *told)
{
    const struct route *route = routes_of(&p->routes, self);

    return epoch_equal(&p->routes.epoch, &p->epoch) && route != NULL &&
           strcmp(route->from, told->teller) == 0;
}

enum claim
judge_claim(const struct pool *p, const char *self, const struct told *told,
            enum refuse_kind *ret_kind, char ret_reason[FRAME_REASON_MAX])
{
    const struct epoch *epoch = &told->change[told->changes - 1].origin.epoch;
    bool speaks_for_itself = strcmp(told->teller, epoch->member) == 0;

    *ret_kind = REFUSE_OPERATOR;
    switch (pool_judge(p, epoch)) {
    case POOL_LOWER:
        *ret_kind = REFUSE_EPOCH;
        refuse_lower(p, told, ret_reason);
        return judge_news(p, self, told) == NEWS_RIVAL ? CLAIM_ASK : CLAIM_REFUSED;
    case POOL_CONFLICT:
        *ret_kind = REFUSE_CONFLICT;
        snprintf(ret_reason, FRAME_REASON_MAX,
                 "two primaries: epoch %" PRIu64 " is claimed by %s here and by %s there",
                 epoch->number, p->epoch.member, epoch->member);
        return CLAIM_ASK;
    case POOL_SAME:
        if (speaks_for_itself || is_feeder(p, self, told))
            return CLAIM_GOOD;
        *ret_kind = REFUSE_RETRY; /* the table may be on its way */
        snprintf(
            ret_reason, FRAME_REASON_MAX,
            "%s is not the primary of epoch %" PRIu64
            ", %s is, and the table of routes names another to feed %s: nothing is taken from it",
            told->teller, epoch->number, epoch->member, self);
        return CLAIM_REFUSED;
    case POOL_HIGHER:
        break;
    }
    if (speaks_for_itself) {
        *ret_kind = REFUSE_RETRY;
        snprintf(ret_reason, FRAME_REASON_MAX,
                 "%s asks %s back whether it is the primary of epoch %" PRIu64, self, told->teller,
                 epoch->number);
        return CLAIM_ASK;
    }
    snprintf(ret_reason, FRAME_REASON_MAX, "%s tells of an epoch of %s: only a primary may",
             told->teller, epoch->member);
    return CLAIM_REFUSED;
}

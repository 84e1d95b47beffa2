/* SPDX-License-Identifier: PostgreSQL */
/*
 * believe: whom to believe that says who is the primary. Pure, as role.h is, which makes role and
 * alarm of it.
 *
 * Only a member's own word counts, heard over a connection that was dialled to it. A claim that
 * comes in, with a key that may be stolen, is a reason to ask that member.
 */
#ifndef AGENT_POOL_BELIEVE_H
#define AGENT_POOL_BELIEVE_H

#include "pool/epoch.h"

/* An epoch that is believed is above ours by at most so much, unless a DBA has ended a conflict. */
#define NEWS_AHEAD_MAX 256

/*
 * What a member says of the pool, itself (ask.h). Its epoch is believed when it is not too far ahead,
 * of a member of the pool, has our present epoch in its chain, and its timeline forked from ours. A
 * higher one that is not believed is a conflict, and so is a lower one that would not believe ours:
 * both sides judge alike. A human decides it.
 */
enum news {
    NEWS_NONE,  /* the pool knows as much, or more */
    NEWS_RIVAL, /* a conflict */
    NEWS_CHAIN, /* our epoch, and its primary knows more of it: to be taken over */
    NEWS_EPOCH, /* a higher one: to be taken over */
};
enum news judge_news(const struct pool *p, const char *self, const struct told *told);

/* The far side's claim to be the primary, as its HELLO tells it. */
enum claim {
    CLAIM_GOOD,
    CLAIM_ASK,     /* refused for now: it has to be asked itself */
    CLAIM_REFUSED, /* with what to answer */
};
enum claim judge_claim(const struct pool *p, const char *self, const struct told *told,
                       enum refuse_kind *ret_kind, char ret_reason[FRAME_REASON_MAX]);

#endif

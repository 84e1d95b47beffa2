/* SPDX-License-Identifier: PostgreSQL */
/* See promised.h. */
#include "links/promised.h"

#include "base/clock.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FED_US (2 * SECOND_US) /* a living primary's link is never silent for so long */

/* Does another member pass on what the primary's PostgreSQL has said just now? */
static bool
hears_passed(const struct incoming *in, int64_t now_us)
{
    const struct receiver *r = &in->receiver;
    int64_t passed_us = incoming_passed_us(in);

    return receiver_relayed(r) && incoming_proven(in) &&
           strcmp(r->origin, in->who->pool.epoch.member) == 0 && passed_us > now_us - FED_US &&
           passed_us < now_us + FED_US;
}

enum promise_verdict
promised_judge(const struct incoming *in, const struct promise *ask, int64_t now_us,
               char ret_reason[FRAME_REASON_MAX])
{
    const struct receiver *r = &in->receiver;
    const struct postgres_sample *s = postgres_sample(in->who->postgres);
    bool linked = receiver_live(r) && !receiver_relayed(r),
         answers = r->postgres == PONG_POSTGRES_ANSWERS;
    struct promise_facts f = {.own = in->who->asking,
                              .postgres = who_postgres(in->who, now_us),
                              .writable = s != NULL && !s->in_recovery &&
                                          postgres_state(in->who->postgres) == POSTGRES_UP,
                              .fed = (linked && answers && now_us - r->heard_us < FED_US) ||
                                     hears_passed(in, now_us)};

    f.doubted = linked && !f.fed && r->postgres != PONG_POSTGRES_DEAD;
    return judge_promise(&in->who->pool, in->who->self->name, &f, ask, ret_reason);
}

bool
promised_stands(const struct pool *p, const struct promise *ask)
{
    bool asked = p->promised.number == ask->number && p->promised_nonce == ask->nonce &&
                 strcmp(p->promised.member, ask->asker) == 0;
    bool spent = p->epoch.number == ask->number && strcmp(p->epoch.member, ask->asker) == 0;

    return asked || spent;
}

void
promised_answer(const struct pool *pool, enum promise_verdict verdict, const char *reason,
                struct promise *p)
{
    p->word = verdict == PROMISE_YES ? PROMISE_GIVE : PROMISE_REFUSE;
    p->reason = reason;
    if (verdict == PROMISE_NO && pool->promised.number != 0)
        snprintf(p->asker, sizeof p->asker, "%s", pool->promised.member);
}

int
promised_drop(const struct who *w, struct pool *pool, const char *why)
{
    const struct epoch before = pool->promised;
    static struct pool next; /* large */
    int code;

    next = *pool;
    next.promised.number = 0;
    code = who_set_pool(w, pool, &next);
    if (code == 0)
        log_info("the promise of epoch %" PRIu64 " to %s is over: %s", before.number, before.member,
                 why);
    return code;
}

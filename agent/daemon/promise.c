/* SPDX-License-Identifier: PostgreSQL */
/* Promises: given to a failover elsewhere, and taken back; or answered to the one here. */
#include "daemon/agent.h"
#include "handover/asking.h"
#include "links/promised.h"

#include "base/clock.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool
give(struct agent *a, const struct promise *ask)
{
    struct pool *p = &a->who.pool;
    struct epoch before = p->promised;
    static struct pool next; /* large */

    if (promised_stands(p, ask))
        return true;
    next = *p;
    next.promised = (struct epoch){.number = ask->number};
    snprintf(next.promised.member, sizeof next.promised.member, "%s", ask->asker);
    next.promised_nonce = ask->nonce;
    if (who_set_pool(&a->who, p, &next) < 0)
        return false;
    if (!epoch_equal(&before, &p->promised))
        log_warning("epoch %" PRIu64
                    " is promised to %s, where a failover runs: until that is over "
                    "nothing of a lower epoch is taken or shipped here",
                    ask->number, ask->asker);
    inlet_end(&a->in.inlet, "a higher epoch is promised to another member");
    return true;
}

/* Over a link it is answered at once; who has knocked, knocks again. */
static void
answer(struct agent *a, const char *asker, const struct promise *ask)
{
    struct frame f = {.type = FRAME_PROMISE, .promise = *ask};
    struct link *l = outgoing_to(&a->out, asker);
    char reason[FRAME_REASON_MAX];
    enum promise_verdict verdict = promised_judge(&a->in, ask, clock_us(), reason);

    if (verdict == PROMISE_LATER || (verdict == PROMISE_YES && !give(a, ask)) || l == NULL)
        return;
    promised_answer(&a->who.pool, verdict, reason, &f.promise);
    sender_tell(&l->sender, &f); /* lost: asked again */
}

void
promise_hear(void *agent, const char *member, const struct promise *promise)
{
    struct agent *a = agent;
    bool holds =
        strcmp(a->who.pool.promised.member, member) == 0 && a->who.pool.promised.number != 0;

    if (promise == NULL) {
        if (holds)
            promised_drop(&a->who, &a->who.pool, "it says that no failover runs there");
        return;
    }
    switch (promise->word) {
    case PROMISE_ASK:
        if (strcmp(promise->asker, member) == 0)
            answer(a, member, promise);
        break;
    case PROMISE_RETURN:
        if (holds && promise->nonce == a->who.pool.promised_nonce)
            promised_drop(&a->who, &a->who.pool, "its failover has ended");
        break;
    case PROMISE_GIVE:
    case PROMISE_REFUSE:
        asking_hear(&a->failover, member, promise);
        break;
    }
}

/* Over a session that came in, where a key is all that the primary is known by: its no counts, its
 * yes is asked for again over a connection that is dialled. */
void
promise_answered(void *agent, const struct frame *f)
{
    struct agent *a = agent;
    const char *from = a->in.receiver.from;

    if (f->promise.word == PROMISE_REFUSE)
        promise_hear(a, from, &f->promise);
    else if (a->failover.own.promise.number != 0)
        asks_hurry(&a->asks, from);
}

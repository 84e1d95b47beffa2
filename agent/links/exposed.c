/* SPDX-License-Identifier: PostgreSQL */
/* See exposed.h. */
#include "links/exposed.h"

#include <string.h>

/* Of a session in which the agent of a server says that it is dead, and has shipped the rest. Who
 * ships has to be known. */
static bool
is_rescued(const struct incoming *in)
{
    const struct receiver *r = &in->receiver;

    return incoming_own(in) && r->postgres == PONG_POSTGRES_DEAD && r->drained && r->drained_done &&
           in->spool.flushed >= r->drained_end;
}

void
exposed_receiving(const struct incoming *in, int64_t now_us, struct loss_facts *ret_facts)
{
    const struct receiver *r = &in->receiver;
    struct loss_facts f = {.primary = r->origin,
                           .lacks = r->detached,
                           .covered = r->flushed.covered,
                           .before = r->flushed.before,
                           .older = r->older,
                           .unproven = in->unproven,
                           .rescued = is_rescued(in),
                           .rescued_us = now_us - r->postgres_us,
                           .compared = receiver_compared(r),
                           .end = incoming_primary(in, now_us),
                           .durable = incoming_durable(in)};

    if (in->who->pool.epoch.number != 0 && strcmp(r->origin, in->who->pool.epoch.member) != 0) {
        f.primary = in->who->pool.epoch.member; /* what is here is of another one */
        f.covered = f.before = (struct beacon){0};
    }
    f.clock_known = receiver_primary_us(r, now_us, &f.primary_us);
    *ret_facts = f;
}

/* The server here is dead, and the far side has compared the rest, up to its end. */
static bool
is_drained(const struct link *l)
{
    const struct sender *s = &l->sender;

    return s->postgres == PONG_POSTGRES_DEAD && l->drain.done != LSN_UNKNOWN &&
           s->far.compared >= l->drain.done && s->far.flushed >= l->drain.done;
}

void
exposed_link(const struct link *l, const char *primary, lsn_t end, int64_t now_us,
             struct loss_facts *ret_facts)
{
    const struct sender *s = &l->sender;

    *ret_facts = (struct loss_facts){.primary = primary,
                                     .holder = l->member,
                                     .covered = s->flushed.covered,
                                     .before = s->flushed.before,
                                     .clock_known = true,
                                     .primary_us = now_us,
                                     .older = s->older,
                                     .rescued = is_drained(l),
                                     .compared = s->far_compared,
                                     .end = end,
                                     .durable = s->far.flushed};
}

void
exposed_now(const struct who *who, const struct incoming *in, const struct outgoing *out,
            int64_t now_us, struct loss *ret_loss)
{
    lsn_t end = incoming_primary(in, now_us);
    struct loss_facts facts;
    struct loss loss;

    *ret_loss = (struct loss){0};
    if (who->role == ROLE_STANDBY) {
        exposed_receiving(in, now_us, &facts);
        loss_judge(&facts, ret_loss);
    }
    for (size_t i = 0; who->role == ROLE_PRIMARY && i < out->far; i++) {
        exposed_link(&out->link[i], who->self->name, end, now_us, &facts);
        loss_judge(&facts, &loss);
        if (i == 0 || loss_less(&loss, ret_loss))
            *ret_loss = loss;
    }
}

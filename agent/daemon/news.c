/* SPDX-License-Identifier: PostgreSQL */
/* Where members stand (pool/known.h): told over links and quiet sessions, and taken from them. */
#include "daemon/agent.h"

#include "monitor/members.h"

#include "base/clock.h"

/* In a session of that member's own. */
static void
hear(void *agent, const char *member, const struct frame *pool)
{
    struct agent *a = agent;
    struct member_news news[FRAME_MEMBERS_MAX];

    if (pool->pool.echo_us == 0)
        return; /* nobody knows how old they are */
    frame_news(pool, news);
    known_hear(&a->known, member, news, pool->pool.members,
               pool->pool.echo_us + pool->pool.echo_ago_us, clock_us());
}

void
news_received(struct agent *a, const struct frame *pool)
{
    if (pool->pool.has_news)
        hear(a, a->in.receiver.from, pool);
}

static void
compose(void *agent, const char *to, unsigned turn, const struct echo *echo, struct frame *pool)
{
    struct agent *a = agent;
    static struct member_news news[KNOWN_MAX]; /* lent to the frame */
    struct member_state own;
    int64_t now_us = clock_us();

    members_own(&a->view, now_us, &own);
    pool->pool.has_news = true;
    pool->pool.echo_us = echo->sent_us;
    pool->pool.echo_ago_us = echo->sent_us != 0 ? now_us - echo->heard_us : 0;
    pool->pool.members = known_tell(&a->known, &own, to, turn, now_us, news);
    pool->pool.member = news;
}

void
news_run(struct agent *a)
{
    struct frame f = {.type = FRAME_POOL, .pool = {.timeline = a->who.pool.timeline}};

    a->news_turn++;
    for (size_t i = 0; i < a->out.links; i++) {
        struct link *l = &a->out.link[i];

        if (l->state != LINK_SHIPPING)
            continue;
        compose(a, l->member, a->news_turn, &l->sender.echo, &f);
        sender_tell(&l->sender, &f); /* no room: in a second */
    }
    if (!receiver_live(&a->in.receiver))
        return;
    compose(a, a->in.receiver.from, a->news_turn, &a->in.receiver.echo, &f);
    receiver_tell(&a->in.receiver, &f);
}

void
news_open(struct agent *a)
{
    const struct config *config = a->who.config;

    a->known.since_us = clock_us();
    for (size_t i = 0; i < config->members; i++)
        known_add(&a->known, config->member[i].name, &config->member[i] == a->who.self);
    a->asks.news = hear;
    a->in.stays = quiets_take;
    a->in.stays_context = &a->quiets;
    quiets_open(&a->quiets, &a->who, &a->asks, &a->out, &a->in, clock_us());
    a->quiets.compose = compose;
    a->quiets.context = a;
}

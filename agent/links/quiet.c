/* SPDX-License-Identifier: PostgreSQL */
/* See quiet.h. */
#include "links/quiet.h"

#include "pool/known.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAY_US    SECOND_US
#define NEWS_US   (100 * MILLISECOND_US) /* at once, but not again and again */
#define DEAD_US   (5 * SECOND_US)
#define ANSWER_US (5 * SECOND_US)

/* ---- what is said ---- */

static struct quiet_said
now_said(const struct who *w)
{
    return (struct quiet_said){.epoch = w->pool.epoch,
                               .changes = w->pool.changes,
                               .role = w->role,
                               .asks = w->asking->promise};
}

static bool
chain_differs(const struct quiet_said *a, const struct quiet_said *b)
{
    return a->changes != b->changes || !epoch_equal(&a->epoch, &b->epoch);
}

static int64_t
say_due_us(const struct who *w, const struct quiet_talk *t)
{
    const struct quiet_said now = now_said(w);
    bool news = t->said.role != now.role || t->said.asks.number != now.asks.number ||
                t->said.asks.nonce != now.asks.nonce || chain_differs(&t->said, &now);

    return t->said_us + (news ? NEWS_US : SAY_US);
}

/* A failover here has ended without its epoch: what is promised to it is free at once. */
static void
give_back(const struct quiet_said *said, const struct quiet_said *now, struct buf *out)
{
    struct frame back = {.type = FRAME_PROMISE, .promise = said->asks};

    back.promise.word = PROMISE_RETURN;
    if (said->asks.number > now->epoch.number && now->asks.number == 0)
        frame_put(out, &back);
}

/* POOL and PING, when it is time. What has no room now is said a second later. */
static void
say(const struct quiet *q, struct quiet_talk *t, struct buf *out, int64_t now_us)
{
    const struct who *w = q->quiets->who;
    const struct quiet_said now = now_said(w);
    struct frame pool = {.type = FRAME_POOL, .pool = {.timeline = w->pool.timeline}},
                 ping = {.type = FRAME_PING, .ping = {.sent_us = now_us}};

    if (now_us < say_due_us(w, t))
        return;
    if (t->said_us == 0 || chain_differs(&t->said, &now))
        who_pool_frame(w, &pool);
    give_back(&t->said, &now, out);
    q->quiets->compose(q->quiets->context, q->to->name, t->turn++, &t->echo, &pool);
    t->said_us = now_us;
    if (frame_put(out, &pool) == 0)
        t->said = now;
    frame_put(out, &ping);
}

/* ---- what is heard ---- */

static bool
knows(const struct who *w, const struct epoch *epoch)
{
    return chain_has(w->pool.change, w->pool.changes, epoch);
}

static bool
is_promised(const struct quiet *q)
{
    const struct epoch *promised = &q->quiets->who->pool.promised;

    return promised->number != 0 && strcmp(promised->member, q->to->name) == 0;
}

/* Over a session that came in. */
static void
hear_claim(struct quiet *q, const struct frame *f)
{
    static struct pool_change chain[FRAME_CHANGES_MAX]; /* large */
    struct asks *asks = q->quiets->asks;

    if (f->pool.changes > 0) {
        frame_chain(f, chain);
        q->claimed = chain[f->pool.changes - 1].origin.epoch;
        if (!knows(q->quiets->who, &q->claimed))
            asks_hurry(asks, q->to->name);
    }
    if (q->own && f->pool.has_news && asks->news != NULL)
        asks->news(asks->context, q->to->name, f);
}

static void
hand_on(const struct quiet *q, const struct frame *file)
{
    const struct link *l = outgoing_to(q->quiets->out, q->to->name);

    if (l != NULL && l->sender.file != NULL)
        l->sender.file(l->sender.file_context, file);
}

static int
hold(struct quiet *q, const struct frame *file)
{
    int code = q->held.size > 0 ? 0 : buf_init(&q->held, QUIET_HELD_BYTES);

    if (code == 0 && frame_put(&q->held, file) < 0)
        code = fail(ERR_PEER, "more files than one member has, and %s has not confirmed it",
                    q->to->name);
    return code;
}

static void
is_its_own(struct quiet *q)
{
    struct frame f;

    q->own = true;
    for (; frame_next(&q->held, &f) == 1; buf_consume(&q->held, f.bytes))
        hand_on(q, &f);
    buf_release(&q->held);
}

static int
hear(struct quiet *q, bool dialled, const struct frame *f, int64_t now_us)
{
    struct quiet_talk *t = dialled ? &q->dialled : &q->came;
    bool itself = dialled || q->own;
    char reason[200];

    t->heard_us = now_us;
    if (f->type != FRAME_REFUSE && itself)
        q->heard_us = now_us;
    if (f->type == FRAME_POOL && is_promised(q)) /* does it still ask? */
        asks_hurry(q->quiets->asks, q->to->name);
    if (f->type == FRAME_PING)
        t->echo = (struct echo){.sent_us = f->ping.sent_us, .heard_us = now_us};
    else if (f->type == FRAME_POOL && dialled)
        ask_hear(q->ask, f);
    else if (f->type == FRAME_POOL)
        hear_claim(q, f);
    else if (f->type == FRAME_FILE && itself)
        hand_on(q, f);
    else if (f->type == FRAME_FILE)
        return hold(q, f);
    else if (f->type == FRAME_PROMISE && f->promise.word == PROMISE_RETURN && itself)
        ask_promise(q->ask, f);
    else if (f->type == FRAME_REFUSE)
        return fail(ERR_PEER, "%s",
                    text_escape(reason, sizeof reason, f->refuse.reason, strlen(f->refuse.reason)));
    else if (f->type != FRAME_PROMISE)
        return fail(ERR_PEER, "a frame of type %d in a quiet session", (int)f->type);
    return 0;
}

static int
take(struct quiet *q, bool dialled, struct buf *in, int64_t now_us)
{
    struct frame f;
    int got, code;

    while ((got = frame_next(in, &f)) == 1) {
        code = hear(q, dialled, &f, now_us);
        if (code < 0)
            return code;
        buf_consume(in, f.bytes);
    }
    return got;
}

static int
check_alive(const struct quiet *q, const struct quiet_talk *t, int64_t now_us)
{
    return now_us - t->heard_us < DEAD_US
               ? 0
               : fail(ERR_PEER, "nothing heard from %s for 5 s", q->to->name);
}

/* ---- a session that is dialled ---- */

static bool
is_linked(const struct quiet *q)
{
    const struct link *l = outgoing_to(q->quiets->out, q->to->name);
    const struct receiver *r = &q->quiets->in->receiver;

    return (l != NULL && l->state == LINK_SHIPPING) ||
           (receiver_live(r) && strcmp(r->from, q->to->name) == 0);
}

/* Attempts that fail for the same reason are told now and then. */
static void
rest(struct quiet *q, const char *reason, int64_t now_us)
{
    if (q->made)
        lane_close(&q->lane);
    if (q->state == QUIET_UP || log_news(&q->failed, reason, now_us))
        log_info("quiet session to %s: %s%s", q->to->name, q->state == QUIET_UP ? "ended, " : "",
                 reason);
    q->state = QUIET_RESTS;
    q->due_us = now_us + q->backoff_us - random() % (q->backoff_us / 2);
    q->backoff_us = 2 * q->backoff_us < QUIET_REST_MAX_US ? 2 * q->backoff_us : QUIET_REST_MAX_US;
}

static int
dial(struct quiet *q, int64_t now_us)
{
    int code = q->made ? 0 : lane_init(&q->lane, &q->to->target);

    if (code < 0) {
        lane_release(&q->lane);
        return code;
    }
    q->made = true;
    code = lane_open(&q->lane, now_us);
    if (code == 0)
        q->state = QUIET_DIALS;
    return code;
}

static int
greet(struct quiet *q, int64_t now_us)
{
    const struct who *w = q->quiets->who;
    struct frame f = {.type = FRAME_HELLO};

    ask_hello(w->config, w->self, q->to, &f.hello);
    f.hello.stays = outgoing_next_incarnation(q->quiets->out, q->to->name);
    q->state = QUIET_GREETS;
    q->due_us = now_us + ANSWER_US;
    q->dialled = (struct quiet_talk){.since_us = now_us, .heard_us = now_us};
    return frame_put(&q->lane.out, &f);
}

/* Its first POOL is the answer; one that goes on is a session, and its end no reason to be slow. */
static int
talk(struct quiet *q, int64_t now_us)
{
    int64_t heard_us = q->dialled.heard_us;
    int code = take(q, true, &q->lane.in, now_us);

    if (code == 0 && q->state == QUIET_GREETS && q->dialled.echo.sent_us != 0) {
        log_info("quiet session to %s: up", q->to->name);
        q->state = QUIET_UP;
        q->backoff_us = QUIET_REST_US;
        q->failed = (struct log_memory){0};
    }
    if (code == 0 && q->state == QUIET_GREETS && now_us >= q->due_us)
        return fail(ERR_PEER, "no agent of %s answers within 5 s", q->to->name);
    if (code == 0 && (q->state == QUIET_UP || q->dialled.heard_us != heard_us))
        say(q, &q->dialled, &q->lane.out, now_us);
    return code == 0 ? check_alive(q, &q->dialled, now_us) : code;
}

static int
run_dialled(struct quiet *q, const struct loop *l, int64_t now_us)
{
    int code = 0, said;

    if (!known_dials(is_linked(q), q->earlier, now_us - q->came_us)) {
        if (q->state != QUIET_RESTS)
            rest(q, "it is not needed any more", now_us);
        q->backoff_us = QUIET_REST_US;
        return 0;
    }
    if (q->state == QUIET_RESTS)
        return now_us >= q->due_us ? dial(q, now_us) : 0;
    code = lane_run(&q->lane, l, now_us);
    if (code == 0 && q->state == QUIET_DIALS && q->lane.state == LANE_UP)
        code = greet(q, now_us);
    if (q->state >= QUIET_GREETS) { /* also the last words of a lane that ended */
        said = talk(q, now_us);
        if (said < 0)
            return said;
    }
    return code == 0 && buf_used(&q->lane.out) > 0 ? lane_run(&q->lane, l, now_us) : code;
}

/* ---- a session that came in ---- */

static void
leave(struct quiet *q, const char *why)
{
    log_info("quiet session from %s: ended, %s", q->to->name, why);
    handed_close(&q->handed);
    buf_release(&q->held);
    q->here = false;
}

static int
read_pipe(struct quiet *q)
{
    struct buf *in = &q->handed.input;
    size_t room = buf_room(in);
    ssize_t got = room > 0 ? read(q->handed.in, buf_reserve(in, room), room) : 0;

    if (got > 0)
        buf_commit(in, (size_t)got);
    if (got == 0)
        return fail(ERR_PEER, "its SSH session ended");
    return got < 0 && errno != EAGAIN && errno != EINTR ? fail_sys(ERR_PEER, "cannot read from it")
                                                        : 0;
}

static int
write_pipe(struct quiet *q)
{
    struct buf *out = &q->handed.output;

    while (buf_used(out) > 0) {
        ssize_t put = write(q->handed.out, buf_data(out), buf_used(out));

        if (put < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : fail_sys(ERR_PEER, "cannot write to it");
        buf_consume(out, (size_t)put);
    }
    return 0;
}

/* Whose it is is asked for as long as nobody knows; where a link is, of that alone. */
static int
prove(struct quiet *q)
{
    if (q->own || is_linked(q))
        return 0;
    switch (asks_session(q->quiets->asks, q->to->name, q->incarnation)) {
    case SESSION_UNKNOWN:
        break;
    case SESSION_OWN:
        is_its_own(q);
        break;
    case SESSION_FOREIGN:
        return fail(ERR_PEER, "%s, asked itself, knows nothing of it", q->to->name);
    }
    return 0;
}

static int
run_came(struct quiet *q, const struct loop *l, int64_t now_us)
{
    int code = loop_ready(l, q->handed.in) != 0 ? read_pipe(q) : 0, taken;

    taken = take(q, false, &q->handed.input, now_us);
    if (taken < 0)
        return taken;
    if (code == 0)
        code = check_alive(q, &q->came, now_us);
    if (code == 0)
        code = prove(q);
    if (code < 0)
        return code;
    say(q, &q->came, &q->handed.output, now_us);
    return write_pipe(q);
}

bool
quiets_take(void *quiets, struct session *s, const struct hello *h)
{
    struct quiets *all = quiets;

    for (size_t i = 0; i < all->count; i++) {
        struct quiet *q = &all->quiet[i];

        if (strcmp(q->to->name, h->from) != 0)
            continue;
        if (q->here && q->own && !session_follows(h->stays, q->incarnation))
            return false;
        if (q->here)
            leave(q, "another one takes its place");
        q->incarnation = h->stays;
        q->own = asks_whose(all->asks, q->to->name, h->stays) == SESSION_OWN;
        q->claimed.number = 0;
        q->came = (struct quiet_talk){.since_us = clock_us(), .heard_us = clock_us()};
        q->here = true;
        inlet_hand_out(&all->in->inlet, s, &q->handed);
        log_info("quiet session from %s: up", q->to->name);
        return true;
    }
    return false;
}

/* ---- all of them ---- */

int64_t
quiets_heard_us(const struct quiets *all, const char *member)
{
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->quiet[i].to->name, member) == 0)
            return all->quiet[i].heard_us;
    return 0;
}

struct buf *
quiets_out(struct quiets *all, const char *member, int64_t *ret_since_us)
{
    for (size_t i = 0; i < all->count; i++) {
        struct quiet *q = &all->quiet[i];

        if (strcmp(q->to->name, member) != 0 || !(q->state == QUIET_UP || (q->here && q->own)))
            continue;
        *ret_since_us = q->state == QUIET_UP ? q->dialled.since_us : q->came.since_us;
        return q->state == QUIET_UP ? &q->lane.out : &q->handed.output;
    }
    return NULL;
}

void
quiets_run(struct quiets *all, const struct loop *l, int64_t now_us)
{
    for (size_t i = 0; i < all->count; i++) {
        struct quiet *q = &all->quiet[i];

        if (q->here && run_came(q, l, now_us) < 0)
            leave(q, fail_message());
        if ((q->here && q->own) || is_linked(q))
            q->came_us = now_us;
        if (q->here && q->claimed.number != 0 && !knows(all->who, &q->claimed))
            asks_want(all->asks, q->to->name);
        if (run_dialled(q, l, now_us) < 0)
            rest(q, fail_message(), now_us);
    }
}

void
quiets_watch(const struct quiets *all, struct loop *l, int64_t now_us)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct quiet *q = &all->quiet[i];

        if (q->here) {
            loop_watch(l, q->handed.in, POLLIN);
            if (buf_used(&q->handed.output) > 0)
                loop_watch(l, q->handed.out, POLLOUT);
            loop_due(l, say_due_us(all->who, &q->came));
            loop_due(l, q->came.heard_us + DEAD_US);
        }
        if (q->state != QUIET_RESTS)
            lane_watch(&q->lane, l);
        if (q->state == QUIET_UP) {
            loop_due(l, say_due_us(all->who, &q->dialled));
            loop_due(l, q->dialled.heard_us + DEAD_US);
        } else if (q->state == QUIET_GREETS ||
                   (q->state == QUIET_RESTS &&
                    known_dials(is_linked(q), q->earlier, now_us - q->came_us))) {
            loop_due(l, q->due_us);
        }
    }
}

void
quiets_open(struct quiets *all, const struct who *who, struct asks *asks, struct outgoing *out,
            struct incoming *in, int64_t now_us)
{
    bool earlier = false;

    all->who = who;
    all->asks = asks;
    all->out = out;
    all->in = in;
    for (size_t i = 0; i < who->config->members; i++) {
        const struct member *m = &who->config->member[i];

        if (m == who->self) {
            earlier = true;
            continue;
        }
        all->quiet[all->count++] = (struct quiet){.quiets = all,
                                                  .ask = asks_of(asks, m->name),
                                                  .to = m,
                                                  .earlier = earlier,
                                                  .due_us = now_us + random() % SECOND_US,
                                                  .backoff_us = QUIET_REST_US,
                                                  .handed = {.fd = -1, .in = -1, .out = -1},
                                                  .came_us = now_us};
    }
}

void
quiets_close(struct quiets *all)
{
    for (size_t i = 0; i < all->count; i++) {
        handed_close(&all->quiet[i].handed);
        buf_release(&all->quiet[i].held);
        if (all->quiet[i].made)
            lane_release(&all->quiet[i].lane);
    }
}

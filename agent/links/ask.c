/* SPDX-License-Identifier: PostgreSQL */
/* See ask.h. */
#include "links/ask.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_US      (5 * SECOND_US)
#define UNCONFIRMED_US (10 * SECOND_US)
/* Who has promoted dials each few seconds: then it claims no more, or was asked. */
#define CLAIM_OVER_US (30 * SECOND_US)
#define TOLD_US       (60 * SECOND_US) /* of who dials again and again */
#define MOMENT_US     SECOND_US        /* who was away so long ago is not dialled once more */

void
ask_hello(const struct config *config, const struct member *self, const struct member *to,
          struct hello *ret_hello)
{
    struct hello h = {.protocol = FRAME_PROTOCOL,
                      .identity = {.system_identifier = 1, .segment_bytes = 16u << 20},
                      .epoch = {.number = 1},
                      .lane = HELLO_KNOCKS,
                      .timeline = 1,
                      .config_digest = config->digest,
                      .hops = 1};

    snprintf(h.pool, sizeof h.pool, "%s", config->name);
    snprintf(h.from, sizeof h.from, "%s", self->name);
    snprintf(h.to, sizeof h.to, "%s", to->name);
    snprintf(h.epoch.member, sizeof h.epoch.member, "%s", self->name);
    snprintf(h.path[0], sizeof h.path[0], "%s", self->name);
    *ret_hello = h;
}

struct ask *
asks_of(struct asks *a, const char *member)
{
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->ask[i].to->name, member) == 0)
            return &a->ask[i];
    return NULL;
}

void
asks_want(struct asks *a, const char *member)
{
    struct ask *q = asks_of(a, member);

    if (q != NULL)
        q->wanted = true;
}

void
asks_want_all(struct asks *a)
{
    for (size_t i = 0; i < a->count; i++)
        a->ask[i].wanted = true;
}

void
asks_hurry(struct asks *a, const char *member)
{
    struct ask *q = asks_of(a, member);

    if (q != NULL)
        q->wanted = q->hurries = true;
}

void
asks_claim(struct asks *a, const char *member, const struct epoch *epoch, int64_t now_us)
{
    struct ask *q = asks_of(a, member);

    if (q == NULL)
        return;
    if (q->claim.epoch.number == 0)
        q->claim.since_us = now_us;
    q->claim.epoch = *epoch;
    q->claim.heard_us = now_us;
    q->wanted = true;
}

void
asks_forget_claims(struct asks *a)
{
    for (size_t i = 0; i < a->count; i++)
        a->ask[i].claim = (struct open_claim){0};
}

/* ---- whose is a session? ---- */

static bool
is_of(uint64_t incarnation, uint64_t known)
{
    return known != 0 && (incarnation == known || session_follows(incarnation, known));
}

enum session_word
asks_whose(struct asks *a, const char *member, uint64_t incarnation)
{
    const struct ask *q = asks_of(a, member);

    if (q != NULL && is_of(incarnation, q->own))
        return SESSION_OWN;
    return q != NULL && is_of(incarnation, q->foreign) ? SESSION_FOREIGN : SESSION_UNKNOWN;
}

enum session_word
asks_session(struct asks *a, const char *member, uint64_t incarnation)
{
    enum session_word word = asks_whose(a, member, incarnation);
    struct ask *q = asks_of(a, member);

    if (q == NULL)
        return word;
    if (word == SESSION_OWN)
        q->own = incarnation;
    if (word != SESSION_UNKNOWN || (q->state == ASK_WAITS && q->about == incarnation))
        return word;
    q->wanted |= q->state != ASK_DIALS; /* it can still be asked with this knock */
    q->hurries |= q->about != incarnation && q->state == ASK_RESTS;
    q->session = incarnation;
    return word;
}

void
asks_foreign(struct asks *a, const char *member, int64_t now_us)
{
    struct ask *q = asks_of(a, member);

    if (q == NULL)
        return;
    if (q->refuted_us == 0 || now_us - q->refuted_us >= TOLD_US)
        log_error("somebody who has the key of %s ships here as %s; %s itself does not know that "
                  "session: was the key copied? sshd's log tells from where it came",
                  member, member, member);
    q->refuted.number = 0;
    q->refuted_us = now_us;
}

/* Does its word stand against ours, or was it not taken over yet? */
static bool
differs(const struct asks *a, const struct ask *q)
{
    return judge_news(&a->who->pool, a->who->self->name, &q->told) != NEWS_NONE;
}

void
asks_keep(struct asks *a, int64_t now_us)
{
    if (a->who->pool.promised.number != 0)
        asks_want(a, a->who->pool.promised.member); /* its cancel may be lost */
    for (size_t i = 0; i < a->count; i++) {
        struct ask *q = &a->ask[i];

        if (q->claim.epoch.number != 0 && now_us - q->claim.heard_us >= CLAIM_OVER_US)
            q->claim = (struct open_claim){0};
        if (q->claim.epoch.number != 0 || a->who->pool.epoch.number == 0 || differs(a, q))
            q->wanted = true;
    }
}

bool
ask_unconfirmed(const struct ask *q, int64_t now_us)
{
    return q->claim.epoch.number != 0 && now_us - q->claim.since_us >= UNCONFIRMED_US;
}

/* ---- a question's life ---- */

static int64_t
due_us(const struct ask *q)
{
    bool hurries = q->state == ASK_RESTS && q->hurries;

    return hurries ? q->due_us - ASK_REST_US + ASK_HURRY_US : q->due_us;
}

static void
rest(struct ask *q, const char *reason, int64_t now_us)
{
    if (q->made)
        lane_close(&q->lane);
    q->state = ASK_RESTS;
    q->due_us = now_us + ASK_REST_US;
    q->session = 0; /* who wants to know asks again */
    snprintf(q->reason, sizeof q->reason, "%s", reason);
}

void
asks_anew(struct asks *a, const char *member, int64_t begun_us, int64_t now_us)
{
    struct ask *q = asks_of(a, member);
    bool counts = q->begun_us >= begun_us;
    bool failed = q->state == ASK_RESTS && !q->reached && q->reason[0] != '\0';

    if (counts && failed && q->due_us - ASK_REST_US >= now_us - MOMENT_US)
        return;
    if (!counts && q->state != ASK_RESTS) {
        rest(q, "", now_us);
        q->wanted = true;
    }
    q->reached = false;
    q->reason[0] = '\0';
}

static int
begin(struct ask *q, int64_t now_us)
{
    int code = q->made ? 0 : lane_init(&q->lane, &q->to->target);

    q->wanted = q->hurries = q->heard = q->asking = false;
    q->begun_us = now_us;
    q->about = q->session;
    if (code < 0) {
        lane_release(&q->lane);
        return code;
    }
    q->made = true;
    code = lane_open(&q->lane, now_us);
    if (code == 0)
        q->state = ASK_DIALS;
    return code;
}

static int
knock(const struct asks *a, struct ask *q, int64_t now_us)
{
    struct frame f = {.type = FRAME_HELLO};

    ask_hello(a->who->config, a->who->self, q->to, &f.hello);
    f.hello.incarnation = a->who->asking->promise.nonce;
    if (f.hello.incarnation != 0)
        f.hello.epoch.number = a->who->asking->promise.number;
    q->about = f.hello.session = q->session;
    q->held = a->who->pool.promised_nonce;
    q->state = ASK_WAITS;
    q->knocked_us = now_us;
    q->due_us = now_us + ANSWER_US;
    return frame_put(&q->lane.out, &f);
}

/* The member itself has spoken: is what was claimed with its key its own word? */
static void
close_claim(struct ask *q)
{
    struct epoch claimed = q->claim.epoch;

    q->claim = (struct open_claim){0};
    if (claimed.number == 0 || chain_has(q->told.change, q->told.changes, &claimed))
        return;
    q->refuted = claimed;
    q->refuted_us = clock_us();
    log_error("somebody who has the key of %s says that %s is the primary of epoch %" PRIu64
              "; %s itself does not: was the key copied? sshd's log tells from where it came",
              q->to->name, claimed.member, claimed.number, q->to->name);
}

void
ask_hear(void *ask, const struct frame *pool)
{
    struct ask *q = ask;
    const struct config *config = q->asks->who->config;
    struct told *t = &q->told;

    if (pool->pool.has_news && q->asks->news != NULL)
        q->asks->news(q->asks->context, q->to->name, pool);
    if (pool->pool.has_news && pool->pool.changes == 0)
        return;
    told_pool(t, q->to->name, pool);
    q->told_us = clock_us();
    t->of_pool = t->changes > 0 &&
                 config_member(config, t->change[t->changes - 1].origin.epoch.member) != NULL;
    close_claim(q);
    q->asks->answer(q->asks->context, t);
}

void
ask_shipped(void *ask, const struct frame *pool)
{
    struct ask *q = ask;
    const struct config *config = q->asks->who->config;

    for (size_t i = 0; i < pool->pool.positions; i++) {
        const struct member_position *at = &pool->pool.position[i];
        const struct member *m = config_member(config, at->member);

        if (m != NULL && m != q->to)
            q->report[m - config->member] =
                (struct ask_report){.at = *at, .us = clock_us() - at->age_us};
    }
    ask_hear(q, pool);
}

void
ask_promise(void *ask, const struct frame *promise)
{
    struct ask *q = ask;

    q->asking |= promise->promise.word == PROMISE_ASK;
    q->asks->promise(q->asks->context, q->to->name, &promise->promise);
}

static int
hear_held(struct ask *q, const struct held_wal *wal)
{
    struct ask_held *h = &q->held_wal;
    char *history = realloc(h->history, wal->history_bytes + 1);

    if (history == NULL)
        return fail(ERR_LOCAL, "out of memory for a history of %s", q->to->name);
    if (wal->history_bytes > 0)
        memcpy(history, wal->history, wal->history_bytes);
    history[wal->history_bytes] = '\0';
    *h = (struct ask_held){.told = wal->told,
                           .end = {q->told.own.timeline, q->told.own.flushed},
                           .wal = *wal,
                           .history = history,
                           .us = q->knocked_us};
    h->wal.history = history;
    return 0;
}

static void
hear_session(struct ask *q, enum session_word word)
{
    if (word == SESSION_OWN)
        q->own = q->about;
    else if (word == SESSION_FOREIGN)
        q->foreign = q->about;
}

/* REFUSE ends an answer, and is one when nothing was said before. */
static int
end_answer(struct ask *q, const struct frame *refuse, int64_t now_us)
{
    const struct pool *p = &q->asks->who->pool;
    char reason[FRAME_REASON_MAX];

    if (!q->heard)
        return fail(ERR_PEER, "%s: %s", q->to->name,
                    text_escape(reason, sizeof reason, refuse->refuse.reason,
                                strlen(refuse->refuse.reason)));
    q->reached = true;
    if (!q->asking && q->held == p->promised_nonce)
        q->asks->promise(q->asks->context, q->to->name, NULL);
    rest(q, "", now_us);
    return 0;
}

static int
take_answer(struct ask *q, int64_t now_us)
{
    struct frame f;
    int got;

    while ((got = frame_next(&q->lane.in, &f)) == 1) {
        if (f.type == FRAME_REFUSE)
            return end_answer(q, &f, now_us);
        if (f.type == FRAME_POOL) {
            ask_hear(q, &f);
            hear_session(q, f.pool.session);
            if (hear_held(q, &f.pool.held) < 0)
                return ERR_LOCAL;
        } else if (f.type == FRAME_PROMISE && q->heard) {
            ask_promise(q, &f);
        } else {
            return fail(ERR_PEER, "%s answers a question with a frame of type %d", q->to->name,
                        (int)f.type);
        }
        q->heard = true;
        buf_consume(&q->lane.in, f.bytes);
    }
    if (got == 0 && now_us >= q->due_us)
        return fail(ERR_PEER, "no agent of %s answers within 5 s", q->to->name);
    return got;
}

static int
run(struct asks *a, struct ask *q, const struct loop *l, int64_t now_us)
{
    int code;

    if (q->state == ASK_RESTS)
        return q->wanted && now_us >= due_us(q) ? begin(q, now_us) : 0;
    code = lane_run(&q->lane, l, now_us);
    if (code == 0 && q->state == ASK_DIALS && q->lane.state == LANE_UP) {
        code = knock(a, q, now_us);
        if (code == 0)
            code = lane_run(&q->lane, l, now_us);
    }
    if (q->state == ASK_WAITS) { /* also the last words of a lane that ended */
        int taken = take_answer(q, now_us);

        if (taken < 0 || q->state == ASK_RESTS)
            return taken;
    }
    return code;
}

void
asks_run(struct asks *a, const struct loop *l, int64_t now_us)
{
    for (size_t i = 0; i < a->count; i++)
        if (run(a, &a->ask[i], l, now_us) < 0)
            rest(&a->ask[i], fail_message(), now_us);
}

void
asks_watch(const struct asks *a, struct loop *l)
{
    for (size_t i = 0; i < a->count; i++) {
        const struct ask *q = &a->ask[i];

        if (q->state != ASK_RESTS)
            lane_watch(&q->lane, l);
        if (q->state == ASK_WAITS || (q->state == ASK_RESTS && q->wanted))
            loop_due(l, due_us(q));
    }
}

/* ---- life ---- */

void
asks_open(struct asks *a, const struct who *who, void (*answer)(void *context, struct told *told),
          void (*promise)(void *context, const char *member, const struct promise *promise),
          void *context)
{
    a->who = who;
    a->answer = answer;
    a->promise = promise;
    a->context = context;
    for (size_t i = 0; i < who->config->members; i++)
        if (&who->config->member[i] != who->self)
            a->ask[a->count++] = (struct ask){.asks = a, .to = &who->config->member[i]};
}

void
asks_close(struct asks *a)
{
    for (size_t i = 0; i < a->count; i++) {
        if (a->ask[i].made)
            lane_release(&a->ask[i].lane);
        free(a->ask[i].held_wal.history);
    }
}

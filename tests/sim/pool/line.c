/* SPDX-License-Identifier: PostgreSQL */
/*
 * Lines between the hosts, and on them the links. A line is TCP's: what is sent comes, in order, or
 * the connection ends. Cut in one direction, it is late.
 *
 * Mirrored here, not the real code: link.c and sender.c (states of a link, rests between dials, 5 s
 * of silence end it, the tail of a dead server), inlet.c and receiver.c (one session at a time, bytes
 * that come again are compared, ACK after a flush).
 */
#include "sim/pool/world.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SILENT_US  (5 * SECOND_US)
#define BACKOFF_US (100 * MILLISECOND_US)
#define REST_US    (3 * SECOND_US)
#define UNDER_WAY  4
#define CHUNK      (256u << 10)

static int64_t last_us[POOL_MEMBERS][POOL_MEMBERS]; /* the order on a line */

void
lines_reset(int a, int b, bool both)
{
    (void)both;
    last_us[a][b] = 0;
}

void
message_free(struct message *x)
{
    free(x->bytes);
    free(x);
}

void
post(struct message x, const uint8_t *bytes, size_t length)
{
    struct message *copy = malloc(sizeof x);
    int64_t due_us = w.now_us, *last = &last_us[x.from][x.to];

    if (due_us < w.heal_us[x.from][x.to])
        due_us = w.heal_us[x.from][x.to];
    due_us += w.delay_us[x.from][x.to] + (int64_t)(draw() % 2000);
    if (due_us < *last)
        due_us = *last;
    *last = due_us;
    x.bytes = NULL;
    if (length > 0) {
        x.bytes = malloc(length);
        memcpy(x.bytes, bytes, length);
    }
    x.length = length;
    *copy = x;
    later(due_us, EVENT_MESSAGE, x.to, 0, copy);
}

/* ---- the one who is dialled ---- */

struct session *
live_session(struct node *m)
{
    return (struct session *)m->a->in.inlet.live;
}

static struct session *
find_session(struct node *m, uint64_t number)
{
    for (int i = 0; i < SESSIONS_MAX; i++)
        if (m->session[i].state != SESSION_FREE && m->session[i].number == number)
            return &m->session[i];
    return NULL;
}

void
session_end(struct node *m, struct session *s, bool told, const char *why)
{
    struct incoming *in = &m->a->in;

    if (s->state == SESSION_LIVE) {
        in->inlet.live = NULL;
        in->inlet.incarnation = 0;
        in->inlet.since_us = w.now_us;
        in->inlet.ended++;
        in->receiver.out = NULL;
        snprintf(in->inlet.reason, sizeof in->inlet.reason, "%s", why);
    }
    s->state = SESSION_FREE;
    if (told)
        post(
            (struct message){
                .kind = M_CLOSED, .from = m->index, .to = s->from, .session = s->number},
            NULL, 0);
}

static void
answer(struct node *m, struct session *s, struct message x)
{
    x.from = m->index;
    x.to = s->from;
    x.session = s->number;
    post(x, NULL, 0);
}

void
acknowledge(struct node *m)
{
    struct session *s = live_session(m);
    const struct incoming *in = &m->a->in;
    bool drops = w.now_us < m->full_us && is_broken("drop-when-full");

    if (s == NULL)
        return;
    answer(m, s,
           (struct message){.kind = M_ACK,
                            .flushed = drops ? m->next : m->spool.lsn,
                            .applied = m->server.replay.lsn,
                            .done = m->compared,
                            .fenced = in->receiver.fenced && !is_broken("fenced-acknowledges")});
}

/* Up to where one of them ends, both are the same bytes. */
static bool
is_same(struct point a, struct point b)
{
    lsn_t end = a.lsn < b.lsn ? a.lsn : b.lsn;

    a = normal((struct point){a.branch, end});
    b = normal((struct point){b.branch, end});
    return a.branch == b.branch;
}

static void
take_beacon(struct receiver *r, const struct beacon *b)
{
    r->older |= lag_is_older(&r->flushed, b);
    lag_beacon(&r->flushed, b);
}

static void
take_wal(struct node *m, struct session *s, const struct message *x)
{
    struct receiver *r = &m->a->in.receiver;
    int64_t due_us = w.now_us + between(1 * MILLISECOND_US, 30 * MILLISECOND_US);

    if (r->shut) {
        r->dropped = true;
        return;
    }
    if (x->start != m->next || (m->spool_begun && !is_same(m->written, x->end))) {
        m->a->in.inlet.refuted = true;
        session_end(m, s, true, "its WAL does not continue the spool: other bytes");
        return;
    }
    if (w.now_us < m->full_us && x->end.lsn > m->written.lsn && !is_broken("drop-when-full")) {
        spool_fails(m);
        return;
    }
    m->next = x->end.lsn;
    if (x->beacon.lsn != 0)
        take_beacon(r, &x->beacon);
    if (!m->spool_begun)
        spool_set(m, (struct point){normal(x->end).branch, x->start});
    m->spool_begun = true;
    m->compared = m->next >= m->spool.lsn;
    if (m->compared && m->a->in.inlet.refuted) {
        m->a->in.inlet.refuted = false;
        m->a->in.inlet.reason[0] = '\0';
    }
    if (m->compared && x->beacon.lsn >= r->flushed.covered.lsn)
        r->older = false;
    if (m->next > m->written.lsn && w.now_us >= m->full_us)
        m->written = normal(x->end);
    m->a->in.spool.written = m->written.lsn;
    m->a->in.spool.available = m->written.lsn;
    if (!m->flushes)
        later(due_us, EVENT_FLUSH, m->index, m->life, NULL);
    m->flushes = true;
    server_follow(m);
}

static void
take_word(struct receiver *r, const struct message *x)
{
    if (x->sent_us < r->postgres_us)
        return;
    r->postgres = x->word;
    r->postgres_us = x->sent_us;
    offset_sample(&r->offset, x->sent_us, w.now_us, x->wall_us, w.now_us, clock_wall_us());
}

static void
take_hello(struct node *m, struct session *s, const struct message *x)
{
    struct buf b;
    struct frame f;

    if (buf_init(&b, 1 << 16) < 0 || (buf_put_bytes(&b, x->bytes, x->length), false) ||
        frame_next(&b, &f) != 1)
        broke("a HELLO of the simulation is none");
    s->hello = f.hello;
    memcpy(s->history, f.hello.history, f.hello.history_bytes);
    s->hello.history = s->history;
    s->state = SESSION_GREETED;
    buf_release(&b);
    agent_soon(m);
}

/* An answer to one that was asked for over the link. */
static void
take_promise(struct node *m, const struct message *x)
{
    struct buf b;
    struct frame f;

    if (buf_init(&b, 1 << 13) < 0 || (buf_put_bytes(&b, x->bytes, x->length), false) ||
        frame_next(&b, &f) != 1 || f.type != FRAME_PROMISE)
        broke("a PROMISE of the simulation is none");
    promise_answered(m->a, &f);
    buf_release(&b);
}

static void
take_forth(struct node *m, const struct message *x)
{
    struct session *s = find_session(m, x->session);
    struct receiver *r = &m->a->in.receiver;

    if (x->kind == M_DIAL) {
        for (int i = 0; i < SESSIONS_MAX && s == NULL; i++)
            if (m->session[i].state == SESSION_FREE)
                s = &m->session[i];
        if (s == NULL)
            return;
        *s = (struct session){.member = m->index,
                              .from = x->from,
                              .number = x->session,
                              .state = SESSION_DIALED,
                              .since_us = w.now_us,
                              .life = x->flushed};
        answer(m, s, (struct message){.kind = M_DIALED});
        return;
    }
    if (s == NULL)
        return;
    if (x->kind == M_CLOSED) {
        session_end(m, s, false, "the far side ended the link");
        agent_soon(m);
        return;
    }
    if (x->kind == M_FRAMES && s->state == SESSION_DIALED) {
        take_hello(m, s, x);
        return;
    }
    if (s->state != SESSION_LIVE)
        return;
    r->heard_us = w.now_us;
    switch (x->kind) {
    case M_FRAMES:
        take_promise(m, x);
        break;
    case M_WAL:
        take_wal(m, s, x);
        break;
    case M_PONG:
        take_word(r, x);
        if (x->beacon.lsn != 0)
            take_beacon(r, &x->beacon);
        break;
    case M_DRAINED:
        r->drained = true;
        r->drained_done = x->done;
        r->drained_end = x->end.lsn;
        snprintf(r->drained_reason, sizeof r->drained_reason, "%s", x->reason);
        break;
    case M_DIAL:
    case M_DIALED:
    case M_CLOSED:
    case M_ACCEPT:
    case M_REFUSE:
    case M_ACK:
    case M_PING:
    case M_DRAIN:
        break;
    }
    if (m->a->failover.phase != FAILOVER_IDLE)
        agent_soon(m);
}

/* Silence, and a PING each second. */
void
incoming_tick(struct node *m)
{
    struct receiver *r = &m->a->in.receiver;
    struct session *s = live_session(m);

    for (int i = 0; i < SESSIONS_MAX; i++)
        if (m->session[i].state != SESSION_FREE && m->session[i].state != SESSION_LIVE &&
            w.now_us - m->session[i].since_us >= 10 * SECOND_US)
            session_end(m, &m->session[i], true, "no HELLO");
    if (s == NULL)
        return;
    if (w.now_us - r->heard_us >= SILENT_US)
        session_end(m, s, true, "silence");
    else if (w.now_us - r->pinged_us >= SECOND_US)
        receiver_ping(r, w.now_us);
}

/* ---- the one who dials: a link ---- */

void
send_forth(struct node *m, int to, struct message x, const uint8_t *bytes, size_t length)
{
    x.from = m->index;
    x.to = to;
    x.session = m->ship[to].session;
    x.forth = true;
    post(x, bytes, length);
}

void
ship_drop(struct node *m, int to, bool told, int64_t rest_us, const char *why)
{
    struct ship *p = &m->ship[to];

    if (told && p->state >= SHIP_DIALS)
        send_forth(m, to, (struct message){.kind = M_CLOSED}, NULL, 0);
    if (rest_us == 0) {
        rest_us = p->backoff_us - (int64_t)(draw() % (uint64_t)(p->backoff_us / 2 + 1));
        p->backoff_us = p->backoff_us * 2 < REST_US ? p->backoff_us * 2 : REST_US;
    }
    p->state = SHIP_WAITS;
    p->due_us = w.now_us + rest_us;
    p->drain_us = 0;
    p->far_compared = false;
    if (why[0] != '\0')
        snprintf(p->reason, sizeof p->reason, "%s", why);
}

/* As outgoing.c's make_hello: is there something to ship? */
static bool
may_ship(struct node *m)
{
    const struct who *who = &m->a->who;
    const struct postgres_sample *s = postgres_sample(who->postgres);

    return who->role == ROLE_PRIMARY && who->ships && who->pool.timeline != 0 &&
           (s == NULL || !s->in_recovery || postgres_state(who->postgres) != POSTGRES_UP);
}

static void
say_hello(struct node *m, int to)
{
    const struct who *who = &m->a->who;
    struct frame f = {.type = FRAME_HELLO};
    struct hello *h = &f.hello;
    char history[4096];
    int got = who->pool.timeline > 1
                  ? pgwal_history(who->self->pgdata, who->pool.timeline, history, sizeof history)
                  : 0;
    struct buf b;

    ask_hello(who->config, who->self, &w.config.member[to], h);
    h->identity.system_identifier = 1;
    h->epoch = who->pool.epoch;
    h->lane = 0;
    h->incarnation = (m->life << 20) + m->ship[to].session;
    h->timeline = who->pool.timeline;
    h->history = history;
    h->history_bytes = got > 0 ? (size_t)got : 0;
    if (got < 0 || buf_init(&b, 1 << 16) < 0 || frame_put(&b, &f) < 0) {
        ship_drop(m, to, true, 0, "its history is not there");
        return;
    }
    m->ship[to].state = SHIP_GREETS;
    m->ship[to].epoch = who->pool.epoch;
    m->ship[to].timeline = who->pool.timeline;
    m->ship[to].due_us = w.now_us + 5 * SECOND_US;
    send_forth(m, to, (struct message){.kind = M_FRAMES}, buf_data(&b), buf_used(&b));
    buf_release(&b);
}

static struct beacon
stamp(const struct node *m, const struct ship *p)
{
    const struct server *s = &m->server;

    if (s->state != SERVER_UP || s->recovery ||
        (p->server_life != 0 && p->server_life != s->life)) /* what it has now was not compared */
        return (struct beacon){0};
    return (struct beacon){.lsn = s->wal.lsn,
                           .wall_us = wall_of(m),
                           .mono_us = is_broken("lag-by-wall") ? wall_of(m) - WALL_US : w.now_us};
}

static void
ship_wal(struct node *m, int to)
{
    struct ship *p = &m->ship[to];
    const struct server *s = &m->server;
    bool promised = m->a->who.pool.promised.number != 0;
    lsn_t end = whole_of(s->wal).lsn;
    bool reads = (!promised && (s->state == SERVER_UP || s->state == SERVER_STOPPING)) ||
                 (p->drain_us != 0 && w.now_us >= p->drain_us);

    if (s->state == SERVER_UP && p->server_life != 0 && p->server_life != s->life) {
        ship_drop(m, to, true, 0, "its PostgreSQL was away: a new session compares its WAL");
        return;
    }
    if (reads)
        p->server_life = s->life;
    while (reads && p->under_way < UNDER_WAY && p->sent < s->wal.lsn) {
        struct message x = {.kind = M_WAL, .start = p->sent, .end = s->wal};

        if (x.end.lsn - x.start > CHUNK)
            x.end.lsn = x.start + CHUNK;
        else
            x.beacon = stamp(m, p);
        x.end = normal(x.end);
        p->sent = x.end.lsn;
        p->under_way++;
        send_forth(m, to, x, NULL, 0);
    }
    if (p->drain_us == 0 || w.now_us < p->drain_us)
        return;
    if (s->state != SERVER_DOWN) {
        p->drain_us = 0;
        send_forth(m, to, (struct message){.kind = M_DRAINED, .reason = "it is there again"}, NULL,
                   0);
    } else if (p->sent >= end && p->sent == p->resumed) {
        p->drain_us = 0;
        send_forth(m, to, (struct message){.kind = M_DRAINED, .reason = "its WAL ends before that"},
                   NULL, 0);
    } else if (p->sent >= end) {
        p->drain_us = 0;
        send_forth(m, to,
                   (struct message){.kind = M_DRAINED, .done = true, .end = whole_of(s->wal)}, NULL,
                   0);
    }
}

static void
ship_run(struct node *m, int to)
{
    struct ship *p = &m->ship[to];
    bool other = p->state >= SHIP_GREETS && (!epoch_equal(&p->epoch, &m->a->who.pool.epoch) ||
                                             p->timeline != m->a->who.pool.timeline);

    if (!may_ship(m) || other) {
        if (p->state >= SHIP_DIALS)
            ship_drop(m, to, true, 1, "");
        p->state = SHIP_STOPPED;
        p->backoff_us = BACKOFF_US;
        snprintf(p->reason, sizeof p->reason, "%.150s", m->a->who.alarm);
        return;
    }
    switch (p->state) {
    case SHIP_STOPPED:
        p->state = SHIP_WAITS;
        p->due_us = w.now_us;
        p->backoff_us = BACKOFF_US;
        break;
    case SHIP_WAITS:
        if (w.now_us < p->due_us)
            break;
        p->session = ++w.next_session;
        p->state = SHIP_DIALS;
        p->due_us = w.now_us + 5 * SECOND_US;
        send_forth(m, to, (struct message){.kind = M_DIAL, .flushed = m->life}, NULL, 0);
        break;
    case SHIP_DIALS:
    case SHIP_GREETS:
        if (w.now_us >= p->due_us)
            ship_drop(m, to, true, 0, "no answer in time");
        break;
    case SHIP_SHIPS:
        if (w.now_us - p->heard_us >= SILENT_US)
            ship_drop(m, to, true, 0, "silence");
        else
            ship_wal(m, to);
        break;
    }
}

void
ships_run(struct node *m)
{
    for (int to = 0; to < w.members; to++)
        if (to != m->index)
            ship_run(m, to);
}

/* Who has waited for enough members' flushes is told that it is safe. */
static void
confirm(struct node *m, int by, lsn_t flushed)
{
    m->ship[by].confirmed_us = w.now_us;
    if (server_waits_for(m, by))
        check_confirmed(m, &w.member[by]);
    for (int i = w.commits; i > 0 && i > w.commits - 64; i--) {
        struct commit *c = &w.commit[i - 1];

        if (!c->synchronous || c->member != m->index || c->told_us != 0 || c->at.lsn > flushed ||
            !point_in(c->at, m->server.wal))
            continue;
        c->confirmed |= 1u << by;
        if (server_is_confirmed(m, c)) {
            c->told_us = w.now_us;
            check_told(c);
        }
    }
}

static void
take_frames(struct node *m, struct dial *d, int from, const struct message *x)
{
    struct ask *q = asks_of(&m->a->asks, w.config.member[from].name);
    struct buf b;
    struct frame f;

    if (d != NULL && q->made) {
        if (buf_room(&q->lane.in) < x->length)
            broke("an answer of the simulation is too long");
        buf_put_bytes(&q->lane.in, x->bytes, x->length);
        return;
    }
    if (buf_init(&b, 1 << 17) < 0 || (buf_put_bytes(&b, x->bytes, x->length), false))
        broke("no memory");
    if (frame_next(&b, &f) == 1 && f.type == FRAME_POOL)
        ask_hear(q, &f);
    else if (f.type == FRAME_PROMISE)
        ask_promise(q, &f);
    buf_release(&b);
}

static void
take_back(struct node *m, const struct message *x)
{
    struct ship *p = &m->ship[x->from];
    struct dial *d = &m->dial[x->from];

    if (d->number == x->session) {
        if (x->kind == M_DIALED)
            d->up = true;
        else if (x->kind == M_FRAMES)
            take_frames(m, d, x->from, x);
        else if (x->kind == M_CLOSED)
            d->failed = true;
        agent_soon(m);
        return;
    }
    if (p->session != x->session || p->state < SHIP_DIALS)
        return;
    p->heard_us = w.now_us;
    switch (x->kind) {
    case M_DIALED:
        if (p->state == SHIP_DIALS)
            say_hello(m, x->from);
        break;
    case M_FRAMES:
        take_frames(m, NULL, x->from, x);
        break;
    case M_CLOSED:
        ship_drop(m, x->from, false, 0, x->reason);
        break;
    case M_REFUSE:
        ship_drop(m, x->from, true, x->refusal != REFUSE_RETRY ? REST_US : 0, x->reason);
        break;
    case M_ACCEPT:
        p->state = SHIP_SHIPS;
        p->backoff_us = BACKOFF_US;
        p->sent = p->resumed = x->start;
        p->server_life = 0;
        p->under_way = 0;
        p->far_flushed = 0;
        p->reason[0] = '\0';
        ship_wal(m, x->from);
        break;
    case M_ACK:
        if (p->under_way > 0)
            p->under_way--;
        p->far_flushed = x->flushed;
        p->far_compared = x->done;
        p->far_fenced = x->fenced;
        if (x->done && !x->fenced)
            confirm(m, x->from, x->flushed);
        ship_wal(m, x->from);
        break;
    case M_PING:
        send_forth(m, x->from,
                   (struct message){.kind = M_PONG,
                                    .sent_us = x->sent_us,
                                    .wall_us = wall_of(m),
                                    .beacon = stamp(m, p),
                                    .word = who_postgres(&m->a->who, w.now_us)},
                   NULL, 0);
        break;
    case M_DRAIN:
        p->drain_us = w.now_us + between(20 * MILLISECOND_US, 3 * SECOND_US);
        break;
    case M_DIAL:
    case M_WAL:
    case M_PONG:
    case M_DRAINED:
        break;
    }
}

void
deliver(struct message *x)
{
    struct node *m = &w.member[x->to];

    if (w.now_us < w.heal_us[x->from][x->to]) { /* it was cut meanwhile */
        later(w.heal_us[x->from][x->to] + w.delay_us[x->from][x->to], EVENT_MESSAGE, x->to, 0, x);
        return;
    }
    if (m->up && m->agent_up && w.now_us < m->reads_us) {
        later(m->reads_us, EVENT_MESSAGE, x->to, 0, x);
        return;
    }
    if (m->up && m->agent_up && x->forth)
        take_forth(m, x);
    else if (m->up && m->agent_up)
        take_back(m, x);
    else if (m->up && x->forth && x->kind != M_CLOSED)
        post((struct message){.kind = M_CLOSED,
                              .from = x->to,
                              .to = x->from,
                              .session = x->session,
                              .reason = "no agent is there"},
             NULL, 0);
    message_free(x);
}

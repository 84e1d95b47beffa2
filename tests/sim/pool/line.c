/* SPDX-License-Identifier: PostgreSQL */
/*
 * Lines between the hosts, and on them the links. A line is TCP's: what is sent comes, in order, or
 * the connection ends. Cut in one direction, it is late.
 *
 * Mirrored here, not the real code: link.c and sender.c (states of a link, rests between dials, 5 s
 * of silence end it, the tail of a dead server), inlet.c and receiver.c (one session at a time, bytes
 * that come again are compared, ACK after a flush), the relay (a link gets what the spool has), and
 * quiet.c: one that breaks is a word that comes late, and is not heard.
 */
#include "sim/pool/world.h"

#include "base/clock.h"
#include "links/onward.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SILENT_US  (5 * SECOND_US)
#define BACKOFF_US (100 * MILLISECOND_US)
#define REST_US    (3 * SECOND_US)
#define FUTILE_US  (6 * SECOND_US)
#define CHUNK      (256u << 10)
#define UNDER_WAY  (4 * CHUNK)

static void ship_wal(struct node *m, int to);

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
live_session(const struct node *m)
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
        if (in->who->pool.promised.number == 0)
            m->hears_us = 0;
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
                            .received = m->next,
                            .flushed = drops ? m->next : m->spool.lsn,
                            .applied = m->server.replay.lsn,
                            .timeline = in->spool.timeline,
                            .beacon = in->receiver.flushed.covered,
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
take_beacon(struct node *m, const struct beacon *b)
{
    struct receiver *r = &m->a->in.receiver;

    r->stamped = *b;
    r->older |= lag_is_older(&r->flushed, b);
    lag_beacon(&r->flushed, b);
    check_hears(m, b);
    for (size_t i = 0; i < m->a->out.links && is_broken("passes-unproven"); i++)
        if (outgoing_feeds(&m->a->out, m->a->out.link[i].member))
            sender_beacon(&m->a->out.link[i].sender, b);
}

/* What was written is served at once. */
static void
pass_on(struct node *m)
{
    for (int to = 0; to < w.members; to++)
        if (to != m->index && m->ship[to].link->relaying &&
            m->ship[to].link->state == LINK_SHIPPING)
            ship_wal(m, to);
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
        take_beacon(m, &x->beacon);
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
    pass_on(m);
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

/* POOL, or an answer to a promise that was asked for over the link. */
static void
take_word_of_pool(struct node *m, const struct message *x)
{
    struct buf b;
    struct frame f;

    if (buf_init(&b, 1 << 17) < 0 || (buf_put_bytes(&b, x->bytes, x->length), false) ||
        frame_next(&b, &f) != 1)
        broke("a frame of the simulation is none");
    if (f.type == FRAME_PROMISE)
        promise_answered(m->a, &f);
    else if (incoming_proven(&m->a->in)) /* as received of agent.c */
        routes_hear(m->a, &f.pool.routes);
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
        take_word_of_pool(m, x);
        break;
    case M_BEACON:
        take_beacon(m, &x->beacon);
        acknowledge(m);
        break;
    case M_WAL:
        take_wal(m, s, x);
        break;
    case M_PONG:
        take_word(r, x);
        if (x->beacon.lsn == 0)
            break;
        take_beacon(m, &x->beacon);
        acknowledge(m);
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
    case M_QUIET:
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

static void
set_state(struct link *l, enum link_state state)
{
    if (l->state >= LINK_DIALING && state < LINK_DIALING)
        l->sender.far.fenced = false;
    l->state = state;
    l->since_us = w.now_us;
}

void
ship_drop(struct node *m, int to, bool told, int64_t rest_us, const char *why)
{
    struct ship *p = &m->ship[to];
    struct link *l = p->link;

    if (l->state == LINK_SHIPPING)
        note("%d ships to %d no longer: %s", m->index, to, why);
    if (told && l->state >= LINK_DIALING)
        send_forth(m, to, (struct message){.kind = M_CLOSED}, NULL, 0);
    if (rest_us == 0) {
        rest_us = l->backoff_us - (int64_t)(draw() % (uint64_t)(l->backoff_us / 2 + 1));
        l->backoff_us = l->backoff_us * 2 < REST_US ? l->backoff_us * 2 : REST_US;
    }
    set_state(l, LINK_WAITING);
    l->due_us = w.now_us + rest_us;
    p->drain_us = 0;
    if (why[0] != '\0')
        snprintf(l->reason, sizeof l->reason, "%s", why);
}

static void
say_hello(struct node *m, int to, const struct hello *hello)
{
    struct link *l = m->ship[to].link;
    struct frame f = {.type = FRAME_HELLO, .hello = *hello};
    struct buf b;

    snprintf(f.hello.to, sizeof f.hello.to, "%s", l->member);
    f.hello.incarnation += ++l->incarnation;
    if (buf_init(&b, 1 << 17) < 0 || frame_put(&b, &f) < 0)
        broke("a HELLO of the simulation is too long");
    set_state(l, LINK_GREETING);
    l->sender.far_compared = l->sender.refused = false;
    l->due_us = w.now_us + 5 * SECOND_US;
    send_forth(m, to, (struct message){.kind = M_FRAMES}, buf_data(&b), buf_used(&b));
    buf_release(&b);
}

static struct beacon
stamp(const struct node *m, const struct ship *p)
{
    const struct server *s = &m->server;

    if (p->link->relaying || s->state != SERVER_UP || s->recovery ||
        (p->server_life != 0 && p->server_life != s->life)) /* what it has now was not compared */
        return (struct beacon){0};
    p->link->sender.stamped =
        (struct beacon){.lsn = s->wal.lsn,
                        .wall_us = wall_of(m),
                        .mono_us = is_broken("lag-by-wall") ? wall_of(m) - WALL_US : w.now_us};
    return p->link->sender.stamped;
}

static void
send_drained(struct node *m, int to, struct point end, const char *why_not)
{
    struct message x = {.kind = M_DRAINED, .done = why_not[0] == '\0', .end = end};

    m->ship[to].drain_us = 0;
    snprintf(x.reason, sizeof x.reason, "%s", why_not);
    send_forth(m, to, x, NULL, 0);
}

/* The rest of a dead server, or all that is in the spool. */
static void
ship_drain(struct node *m, int to, struct point end)
{
    struct ship *p = &m->ship[to];

    if (p->drain_us == 0 || w.now_us < p->drain_us)
        return;
    if (!p->link->relaying && m->server.state != SERVER_DOWN)
        send_drained(m, to, end, "it is there again");
    else if (!p->link->relaying && p->sent >= end.lsn && p->sent == p->resumed)
        send_drained(m, to, end, "its WAL ends before that");
    else if (p->sent >= end.lsn)
        send_drained(m, to, end, "");
}

static bool
may_read(const struct node *m, const struct ship *p)
{
    const struct server *s = &m->server;

    if (p->link->relaying)
        return p->link->source_allowed && m->spool_begun;
    return (p->link->source_allowed && (s->state == SERVER_UP || s->state == SERVER_STOPPING)) ||
           (p->drain_us != 0 && w.now_us >= p->drain_us);
}

static void
ship_wal(struct node *m, int to)
{
    struct ship *p = &m->ship[to];
    const struct server *s = &m->server;
    bool relays = p->link->relaying, reads = may_read(m, p);
    struct point wal = relays ? m->written : s->wal;

    if (!relays && s->state == SERVER_UP && p->server_life != 0 && p->server_life != s->life) {
        ship_drop(m, to, true, 0, "its PostgreSQL was away: a new session compares its WAL");
        return;
    }
    if (relays && p->sent > wal.lsn && p->sent > p->resumed) {
        ship_drop(m, to, true, 0, "the spool has less than before");
        return;
    }
    snprintf(p->link->source_reason, sizeof p->link->source_reason, "%s",
             relays && p->sent > wal.lsn ? "the spool here ends before that" : "");
    if (reads)
        p->server_life = s->life;
    while (reads && p->sent - p->taken < UNDER_WAY && p->sent < wal.lsn) {
        struct message x = {.kind = M_WAL, .start = p->sent, .end = wal};

        if (x.end.lsn - x.start > CHUNK)
            x.end.lsn = x.start + CHUNK;
        else
            x.beacon = stamp(m, p);
        x.end = normal(x.end);
        p->sent = x.end.lsn;
        send_forth(m, to, x, NULL, 0);
    }
    ship_drain(m, to, relays ? wal : whole_of(s->wal));
}

/* As link_run. */
void
ship_run(struct node *m, int to, const struct hello *hello, const char *stop_reason)
{
    struct ship *p = &m->ship[to];
    struct link *l = p->link;

    if (l->state != LINK_STOPPED && l->relays != l->relaying)
        hello = NULL;
    if (hello == NULL) {
        if (l->state >= LINK_DIALING)
            ship_drop(m, to, true, 1, stop_reason);
        if (l->state != LINK_STOPPED)
            set_state(l, LINK_STOPPED);
        l->backoff_us = BACKOFF_US;
        snprintf(l->reason, sizeof l->reason, "%s", stop_reason);
        return;
    }
    switch (l->state) {
    case LINK_STOPPED:
        set_state(l, LINK_WAITING);
        l->relaying = l->relays;
        l->due_us = w.now_us;
        l->backoff_us = BACKOFF_US;
        break;
    case LINK_WAITING:
        if (w.now_us < l->due_us)
            break;
        p->session = ++w.next_session;
        set_state(l, LINK_DIALING);
        p->dialed = false;
        l->due_us = w.now_us + 5 * SECOND_US;
        send_forth(m, to, (struct message){.kind = M_DIAL, .flushed = m->life}, NULL, 0);
        break;
    case LINK_DIALING:
        if (p->dialed)
            say_hello(m, to, hello);
        else if (w.now_us >= l->due_us)
            ship_drop(m, to, true, 0, "no answer in time");
        break;
    case LINK_GREETING:
        if (w.now_us >= l->due_us)
            ship_drop(m, to, true, 0, "no answer in time");
        break;
    case LINK_SHIPPING:
        if (w.now_us - l->sender.heard_us >= SILENT_US)
            ship_drop(m, to, true, 0, "silence");
        else
            ship_wal(m, to);
        break;
    }
}

void
ships_run(struct node *m)
{
    if (!agent_works(m))
        return;
    w.runs = m;
    onward_run(&m->a->in, &m->a->out, w.now_us);
    outgoing_run(&m->a->out, &m->a->loop, w.now_us, wall_of(m));
}

bool
is_feeding(const struct node *m, int to)
{
    const struct node *far = &w.member[to];
    const struct session *s = far->agent_up ? live_session(far) : NULL;

    return m->agent_up && to != m->index && s != NULL && s->from == m->index &&
           s->number == m->ship[to].session && m->ship[to].link->state == LINK_SHIPPING;
}

/* ---- quiet sessions ---- */

static bool
is_linked(const struct node *m, int to)
{
    const struct session *s = live_session(m);

    return m->ship[to].link->state == LINK_SHIPPING || (s != NULL && s->from == to);
}

/* Once a second. */
void
quiet_say(struct node *m)
{
    const struct pool *pool = &m->a->who.pool;
    struct frame f;
    struct buf b;

    for (int to = 0; to < w.members; to++) {
        struct quiet_word *q = &m->quiet[to];
        struct message x = {
            .kind = M_QUIET, .from = m->index, .to = to, .sent_us = w.now_us, .forth = true};
        bool up = q->came_us != 0 && w.now_us - q->came_us < SILENT_US;

        if (to == m->index || is_linked(m, to))
            continue;
        x.done = up;
        if (!up)
            q->changes = 0; /* all is said in the next session */
        if (!up || (pool->changes == q->changes && epoch_equal(&pool->epoch, &q->epoch))) {
            post(x, NULL, 0);
            continue;
        }
        q->epoch = pool->epoch;
        q->changes = pool->changes;
        who_pool_frame(&m->a->who, &f);
        if (buf_init(&b, 1 << 17) < 0 || frame_put(&b, &f) < 0)
            broke("a POOL of the simulation is too long");
        post(x, buf_data(&b), buf_used(&b));
        buf_release(&b);
    }
}

/* Who stands first in the pool's file has dialled: its word is one that came in. */
static void
quiet_hear(struct node *m, const struct message *x)
{
    struct ask *q = asks_of(&m->a->asks, w.config.member[x->from].name);
    static struct pool_change chain[FRAME_CHANGES_MAX]; /* large */
    struct buf b;
    struct frame f;

    if (w.now_us - x->sent_us >= SILENT_US)
        return;
    m->quiet[x->from].came_us = w.now_us;
    if (!x->done)
        return;
    m->quiet[x->from].heard_us = w.now_us;
    if (strcmp(m->a->who.pool.promised.member, w.config.member[x->from].name) == 0 &&
        m->a->who.pool.promised.number != 0) /* does it still ask? */
        asks_hurry(&m->a->asks, w.config.member[x->from].name);
    if (x->length == 0)
        return;
    if (buf_init(&b, 1 << 17) < 0 || (buf_put_bytes(&b, x->bytes, x->length), false) ||
        frame_next(&b, &f) != 1)
        broke("a POOL of the simulation is none");
    frame_chain(&f, chain);
    if (x->from > m->index)
        ask_hear(q, &f);
    else if (f.pool.changes > 0 && !chain_has(m->a->who.pool.change, m->a->who.pool.changes,
                                              &chain[f.pool.changes - 1].origin.epoch))
        asks_hurry(&m->a->asks, w.config.member[x->from].name);
    buf_release(&b);
}

/* ---- its answers ---- */

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
            check_told(m, c);
        }
    }
}

/* The far side has not compared what came: the same would be sent for nothing again and again. */
static void
take_closed(struct node *m, const struct message *x)
{
    const struct ship *p = &m->ship[x->from];
    struct link *l = p->link;
    bool futile = l->state == LINK_SHIPPING && p->sent > p->resumed && !l->sender.far_compared;

    ship_drop(m, x->from, false, futile && l->futile ? FUTILE_US : 0, x->reason);
    l->futile |= futile;
}

/* As sender_frame does with ACK. */
static void
take_ack(struct node *m, const struct message *x)
{
    struct ship *p = &m->ship[x->from];
    struct sender *s = &p->link->sender;

    p->taken = x->received;
    s->far = (struct ack){.timeline = x->timeline,
                          .received = x->received,
                          .flushed = x->flushed,
                          .applied = x->applied,
                          .fenced = x->fenced};
    s->far_known = true;
    s->far_compared = x->done;
    p->link->futile &= !x->done;
    lag_take(&s->received, &x->beacon);
    if (x->done && !x->fenced && !p->link->relaying)
        confirm(m, x->from, x->flushed);
    ship_wal(m, x->from);
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
        ask_shipped(q, &f);
    else if (f.type == FRAME_PROMISE)
        ask_promise(q, &f);
    buf_release(&b);
}

static void
take_back(struct node *m, const struct message *x)
{
    struct ship *p = &m->ship[x->from];
    struct link *l = p->link;
    struct dial *d = &m->dial[x->from];

    if (d->number == x->session) {
        if (x->kind == M_DIALED)
            d->up = true;
        else if (x->kind == M_FRAMES)
            take_frames(m, d, x->from, x);
        else if (x->kind == M_CLOSED || (x->kind == M_REFUSE && x->refusal == REFUSE_ABSENT))
            d->failed = true;
        agent_soon(m);
        return;
    }
    if (p->session != x->session || l->state < LINK_DIALING)
        return;
    l->sender.heard_us = w.now_us;
    if (x->kind != M_REFUSE && x->kind != M_CLOSED && x->kind != M_DIALED)
        l->sender.seen_us = w.now_us;
    switch (x->kind) {
    case M_DIALED:
        p->dialed = true;
        ships_run(m);
        break;
    case M_FRAMES:
        take_frames(m, NULL, x->from, x);
        break;
    case M_CLOSED:
        take_closed(m, x);
        break;
    case M_REFUSE:
        l->sender.refused = true;
        l->sender.refusal = x->refusal;
        if (x->refusal != REFUSE_ABSENT || is_broken("host-is-heard"))
            l->sender.denied_us = w.now_us;
        l->sender.refused_us = x->refusal != REFUSE_RETRY ? w.now_us : 0;
        ship_drop(m, x->from, true, x->refusal != REFUSE_RETRY ? REST_US : 0, x->reason);
        break;
    case M_ACCEPT:
        set_state(l, LINK_SHIPPING);
        l->backoff_us = BACKOFF_US;
        l->sender.denied_us = l->sender.refused_us = 0;
        l->sender.far_compared = false;
        p->sent = p->resumed = p->taken = x->start;
        p->server_life = 0;
        l->reason[0] = '\0';
        ship_wal(m, x->from);
        break;
    case M_ACK:
        take_ack(m, x);
        break;
    case M_PING:
        send_forth(m, x->from,
                   (struct message){.kind = M_PONG,
                                    .sent_us = x->sent_us,
                                    .wall_us = wall_of(m),
                                    .beacon = stamp(m, p),
                                    .word = l->relaying ? PONG_POSTGRES_UNKNOWN
                                                        : who_postgres(&m->a->who, w.now_us)},
                   NULL, 0);
        break;
    case M_DRAIN:
        p->drain_us = w.now_us + between(20 * MILLISECOND_US, 3 * SECOND_US);
        break;
    case M_DIAL:
    case M_WAL:
    case M_PONG:
    case M_DRAINED:
    case M_BEACON:
    case M_QUIET:
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
    if (x->kind == M_QUIET) {
        if (m->up && m->agent_up)
            quiet_hear(m, x);
    } else if (m->up && m->agent_up && x->forth)
        take_forth(m, x);
    else if (m->up && m->agent_up)
        take_back(m, x);
    else if (m->up && x->forth && x->kind != M_CLOSED)
        post((struct message){.kind = x->kind == M_DIAL ? M_REFUSE : M_CLOSED,
                              .from = x->to,
                              .to = x->from,
                              .session = x->session,
                              .refusal = REFUSE_ABSENT,
                              .reason = "no agent is there"},
             NULL, 0);
    message_free(x);
}

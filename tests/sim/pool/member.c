/* SPDX-License-Identifier: PostgreSQL */
/*
 * One agent: its start, its turn, its end. Mirrored, not the real code: daemon/agent.c (the order of a
 * turn, what is learned of others, greet) and daemon/upkeep.c. What they call for a decision is real.
 */
#include "sim/pool/world.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "links/greeting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURN_US     (500 * MILLISECOND_US)
#define FAILOVER_US (40 * MILLISECOND_US)
#define SAMPLE_US   (200 * MILLISECOND_US)

#define SPOOL_RETRY_US (2 * SECOND_US)

void
spool_set(struct node *m, struct point p)
{
    struct spool *s = &m->a->in.spool;

    m->spool = m->written = normal(p);
    m->spool_begun = true;
    if (!m->agent_up)
        return;
    s->timeline = timeline_of(m->spool);
    s->start = 1;
    s->written = s->available = s->flushed = m->spool.lsn;
    s->whole_upto = LSN_UNKNOWN;
    s->identity = (struct identity){.system_identifier = 1, .segment_bytes = SEGMENT};
}

/* As spool_failed and try_spool of incoming.c: nothing is taken before there is room again. */
void
spool_fails(struct node *m)
{
    struct incoming *in = &m->a->in;

    note("%d: the disk of its spool is full", m->index);
    snprintf(in->error, sizeof in->error, "the disk of /spool/%d is full", m->index);
    in->shut = true;
    in->retry_us = w.now_us + SPOOL_RETRY_US;
    inlet_end(&in->inlet, in->error);
}

static void
retry_spool(struct node *m)
{
    struct incoming *in = &m->a->in;

    if (!in->shut || w.now_us < in->retry_us)
        return;
    in->retry_us = w.now_us + SPOOL_RETRY_US;
    in->shut = w.now_us < m->full_us;
    if (!in->shut)
        in->error[0] = '\0';
}

/* As spool_cut.c: ended at the fork, where what lies behind it is the begin of one record. */
void
spool_cut(struct node *m)
{
    struct spool *s = &m->a->in.spool;
    lsn_t whole = whole_of(m->spool).lsn;

    if (m->cut != CUT_LOOK && whole == m->fork && m->fork < m->spool.lsn) {
        note("%d: the spool is cut at " LSN_FORMAT ", it had " LSN_FORMAT, m->index,
             LSN_ARGS(m->fork), LSN_ARGS(m->spool.lsn));
        spool_set(m, (struct point){m->spool.branch, m->fork});
        lag_reach(&m->a->in.receiver.flushed, m->spool.lsn);
    } else {
        s->whole = whole;
        s->whole_upto = s->flushed;
    }
    s->cutting = false;
    replay_look(m->a);
    agent_soon(m);
}

void
agent_soon(struct node *m)
{
    if (!agent_works(m) || m->turn_due_us <= w.now_us)
        return;
    m->turn_due_us = w.now_us;
    later(w.now_us, EVENT_TURN, m->index, m->life, NULL);
}

/* ---- as agent.c ---- */

/* What cannot be saved is not believed. */
static int
set_pool(struct agent *a, const struct pool *next)
{
    static struct pool before; /* large */
    int code;

    before = a->who.pool;
    a->who.pool = *next;
    code = who_save_pool(&a->who);
    if (code < 0)
        a->who.pool = before;
    a->unsaved = code < 0;
    return code;
}

static int
set_timeline(struct agent *a, timeline_t timeline)
{
    static struct pool next; /* large */

    if (a->who.pool.timeline == timeline)
        return 0;
    next = a->who.pool;
    next.timeline = timeline;
    return set_pool(a, &next);
}

/* A higher epoch is known, and cannot be taken over. */
static void
judge_unsaved(const struct agent *a, struct judgement *j)
{
    for (size_t i = 0; a->unsaved && i < a->asks.count && j->alarm[0] == '\0'; i++) {
        const struct told *told = &a->asks.ask[i].told;

        if (judge_news(&a->who.pool, a->who.self->name, told) != NEWS_EPOCH)
            continue;
        snprintf(j->alarm, sizeof j->alarm, "another epoch has begun, which cannot be saved here");
        j->ships = false;
    }
}

static void
judge(struct node *m)
{
    struct agent *a = m->a;
    static struct pool next; /* large */
    struct judgement judgement;
    struct epoch_origin first;

    a->facts = facts_gather(a, w.now_us);
    if (judge_first(&a->who.pool, &a->facts.self, &first)) {
        next = a->who.pool;
        pool_adopt(&next, &first, clock_wall_us());
        set_pool(a, &next);
    }
    if (judge_promoted(&a->who.pool, &a->facts.self) && !is_broken("never-finishes") &&
        failover_finish(&a->failover, w.now_us))
        a->facts.failover_runs = true;
    judge_step(&a->who.pool, &a->facts, &judgement);
    judge_unsaved(a, &judgement);
    if (a->who.role != judgement.role)
        note("%d is %s of epoch %d", m->index, role_name(judgement.role),
             (int)a->who.pool.epoch.number);
    if (strcmp(a->who.alarm, judgement.alarm) != 0)
        note("%d: %s", m->index,
             judgement.alarm[0] != '\0' ? judgement.alarm : "the alarm is over");
    a->who.role = judgement.role;
    set_timeline(a, judgement.timeline);
    if (a->who.pool.left != judgement.left && !is_broken("forked-follows") &&
        !is_broken("no-control-file")) { /* the mark would hide that they are broken */
        a->who.pool.left = judgement.left;
        a->left_unsaved = who_save_pool(&a->who) < 0;
    }
    if (judgement.alarm[0] != '\0' || !is_broken("keeps-alarm"))
        snprintf(a->who.alarm, sizeof a->who.alarm, "%s", judgement.alarm);
    a->who.ships = judgement.ships;
    snprintf(a->who.missing, sizeof a->who.missing, "%s", judgement.missing);
}

static void
learn(void *agent, struct told *told)
{
    struct agent *a = agent;
    enum news news = judge_news(&a->who.pool, a->who.self->name, told);
    static struct pool next; /* large */

    if (news != NEWS_CHAIN && news != NEWS_EPOCH)
        return;
    if (a->failover.phase == FAILOVER_RUNNING && !a->failover.ended)
        return;
    next = a->who.pool;
    pool_take(&next, told);
    next.left |= judge_overruled(&next, a->who.self->name, &a->who.pool.epoch);
    if (set_pool(a, &next) == 0 && news == NEWS_EPOCH)
        incoming_over(&a->in);
}

static void
hear(void *agent, struct told *told)
{
    learn(agent, told);
    routes_hear(agent, &told->routes);
}

/* As inlet.c: of another start of the same member's agent, while the session of one lives. */
static bool
refuse_rival(struct node *m, struct session *s)
{
    const struct session *live = live_session(m);
    const struct epoch_origin none = {0};

    if (live == NULL || live->from != s->from || live->life == s->life || s->hello.lane != 0)
        return false;
    m->a->in.inlet.rival_us = w.now_us;
    inlet_refuse(&m->a->in.inlet, s, REFUSE_RETRY, &none, "another session lives");
    return true;
}

static void
greet(struct node *m, struct session *s)
{
    struct agent *a = m->a;
    const struct hello *hello = &s->hello;
    bool dialled = outgoing_dialled(&a->out, hello->from, hello->session), asks = false;
    bool good = greeting_check(&a->in, s, hello, dialled, &asks);

    if (asks && is_broken("believes-claim")) {
        static struct told told;

        told_hello(&told, hello);
        pool_take(&a->who.pool, &told);
        who_save_pool(&a->who);
    }
    if (asks && hello->lane == HELLO_KNOCKS)
        asks_hurry(&a->asks, hello->from);
    else if (asks)
        asks_claim(&a->asks, hello->from, &hello->epoch, w.now_us);
    if (good && hello->timeline != pool_origin(&a->who.pool).timeline)
        asks_want(&a->asks, hello->from);
    if (!good || !greeting_answer(&a->in, s, hello, w.now_us, clock_wall_us()))
        return;
    if (set_timeline(a, hello->timeline) < 0) {
        inlet_end(&a->in.inlet, fail_message());
        return;
    }
    replay_look(a);
    judge(m);
}

/* As relay_onward, and incoming_left. */
static void
part_from_spool(struct agent *a)
{
    const struct postgres_sample *p = postgres_sample(a->who.postgres);
    const struct spool *s = &a->in.spool;
    char text[4096];
    lsn_t fork, whole;
    int got;

    if ((a->who.role != ROLE_PRIMARY && a->who.role != ROLE_PROMOTING) || p == NULL ||
        p->in_recovery || spool_empty(s))
        return;
    got = p->timeline > 1 ? pgwal_history(a->who.self->pgdata, p->timeline, text, sizeof text) : 0;
    if (got > 0 && history_switch_point(text, (size_t)got, s->timeline, &fork) &&
        fork <= s->flushed && fork < s->written && (!spool_whole(s, &whole) || whole == fork))
        incoming_cut(&a->in, CUT_OWN, fork);
}

/* ---- as postgres.c: samples, states, commands ---- */

static enum postgres_state
seen_state(const struct server *s)
{
    switch (s->state) {
    case SERVER_DOWN:
        return POSTGRES_DOWN;
    case SERVER_STARTING:
        return POSTGRES_STARTING;
    case SERVER_STOPPING:
        return POSTGRES_STOPPING;
    case SERVER_UP:
        return POSTGRES_UP;
    }
    return POSTGRES_DOWN;
}

static void
run_command(struct node *m, struct postgres *p, bool lost)
{
    struct server *s = &m->server;

    if (!p->asked || w.now_us < p->due_us)
        return;
    p->asked = false;
    p->done = true;
    p->failed = lost || s->state != SERVER_UP;
    if (p->failed)
        return;
    if (p->command == POSTGRES_PROMOTE && s->recovery && !s->promoting) {
        s->promoting = true;
        s->due_us = w.now_us + between(20 * MILLISECOND_US, 600 * MILLISECOND_US);
        later(s->due_us, EVENT_SERVER, m->index, 0, NULL);
    } else if (p->command == POSTGRES_RELOAD) {
        server_reload(m);
        for (int i = w.commits; s->names[0] == '\0' && i > 0 && i > w.commits - 64; i--) {
            struct commit *c = &w.commit[i - 1];

            if (c->member != m->index || c->told_us != 0 || s->recovery || !point_in(c->at, s->wal))
                continue;
            check_let_go(m, c);
            c->told_us = w.now_us; /* who waited waits no more */
            c->synchronous = false;
        }
    }
}

static bool
run_postgres(struct node *m)
{
    struct postgres *p = m->a->who.postgres;
    const struct server *s = &m->server;
    enum postgres_state state = seen_state(s);
    bool news, other = p->life != s->life;

    if (other && p->state == POSTGRES_UP) /* the connection is lost before there is another */
        state = POSTGRES_DOWN;
    p->life = s->life;
    news = state != p->state;
    run_command(m, p, other);
    p->state = state;
    if (state != POSTGRES_UP || (!news && w.now_us - m->sample_us < SAMPLE_US)) {
        if (news)
            replay_look(m->a);
        return news;
    }
    m->sample_us = w.now_us;
    p->sampled = true;
    p->sample = (struct postgres_sample){
        .wall_us = clock_wall_us(),
        .mono_us = w.now_us,
        .in_recovery = s->recovery,
        .timeline = timeline_of(s->recovery ? s->replay : s->wal),
        .insert = s->recovery ? 0 : s->wal.lsn,
        .flush = s->wal.lsn,
        .checkpoint = {timeline_of(s->reached), s->reached.lsn - 100},
        .recovery_end = {timeline_of(s->reached), s->recovery ? s->reached.lsn : LSN_UNKNOWN},
        .replay = s->recovery ? s->replay.lsn : 0};
    snprintf(p->sample.synchronous_standby_names, sizeof p->sample.synchronous_standby_names, "%s",
             s->names);
    replay_look(m->a);
    return news;
}

/* As commits_keep. */
static void
gather_quorum(struct node *m, const struct postgres_sample *s, struct quorum_facts *ret_facts)
{
    const struct who *who = &m->a->who;
    bool away = w.now_us - m->kept_us >= w.config.synchronous_wait_us / 2;

    *ret_facts = (struct quorum_facts){.config = &w.config,
                                       .primary = who->self,
                                       .names = s->synchronous_standby_names,
                                       .degrades = w.config.synchronous_degrades && who->ships &&
                                                   who->pool.promised.number == 0};
    for (int i = 0; i < w.members; i++) {
        struct ship *p = &m->ship[i];
        const struct link *l = p->link;
        bool confirms = i != m->index && l->state == LINK_SHIPPING && l->sender.far_compared &&
                        !l->sender.far.fenced;

        if (away)
            p->confirmed_us = w.now_us;
        ret_facts->member[i] = (struct quorum_member){
            .fed = outgoing_feeds(&m->a->out, w.config.member[i].name),
            .level = confirms && l->sender.far.flushed >= s->flush,
            .lost = w.now_us - p->confirmed_us >= w.config.synchronous_wait_us};
    }
    m->kept_us = w.now_us;
}

static void
keep_synchronous(struct node *m)
{
    struct agent *a = m->a;
    const struct postgres_sample *s = postgres_sample(a->who.postgres);
    char names[QUORUM_SIZE] = "", text[QUORUM_SIZE + 40];
    struct quorum_facts facts;

    if (s == NULL || m->server.state != SERVER_UP || w.now_us < m->full_us)
        return;
    if (a->who.role == ROLE_PRIMARY && !s->in_recovery) {
        gather_quorum(m, s, &facts);
        quorum_choose(&facts, names);
    } else if (a->who.role != ROLE_STANDBY || !s->in_recovery) {
        return;
    }
    if (strcmp(names, s->synchronous_standby_names) == 0 ||
        !postgres_ask(a->who.postgres, POSTGRES_RELOAD, NULL))
        return;
    snprintf(text, sizeof text, "synchronous_standby_names = '%s'\n", names);
    durable_replace(a->in.spool.dir, "walferry.conf", text, strlen(text));
}

static void
upkeep_look_here(struct node *m)
{
    m->a->looked = m->server.state != SERVER_UP && !is_broken("no-control-file") &&
                   control_file_start(m->a->who.self->pgdata, &m->a->start) == 0;
}

static void
upkeep(struct node *m)
{
    struct agent *a = m->a;
    const char *error;

    upkeep_look_here(m);
    if (a->left_unsaved)
        a->left_unsaved = who_save_pool(&a->who) < 0;
    replay_look(a);
    if (a->failover.phase == FAILOVER_IDLE) {
        postgres_done(a->who.postgres, &error);
        keep_synchronous(m);
    }
    if (a->who.role == ROLE_FENCED || a->who.alarm[0] != '\0' ||
        (a->who.role == ROLE_STANDBY && !receiver_live(&a->in.receiver)))
        asks_want_all(&a->asks);
    quiet_say(m);
    routes_keep(a, w.now_us, clock_wall_us());
    asks_keep(&a->asks, w.now_us);
    incoming_tick(m);
}

static void
say_concierge(struct node *m)
{
    const struct agent *a = m->a;
    struct concierge_facts f = {.role = a->who.role,
                                .alarm = a->who.alarm,
                                .answers = a->who.postgres->state == POSTGRES_UP,
                                .in_recovery = m->server.recovery,
                                .young = w.now_us - a->who.started_us < 10 * SECOND_US,
                                .peer_heard = a->in.receiver.heard_us != 0};
    bool here = judge_concierge(&f) == NULL;

    for (size_t i = 0; i < a->asks.count; i++)
        f.peer_heard |= a->asks.ask[i].told_us != 0;
    here = judge_concierge(&f) == NULL;
    if (here != m->concierge)
        m->concierge_us = w.now_us;
    m->concierge = here;
}

/* A failover sees that the clock has gone on, or does not. */
static void
wake(struct node *m, int64_t us)
{
    note("%d: the agent wakes", m->index);
    m->slept_us = 0;
    if (is_broken("pause-unseen"))
        m->a->failover.ran_us += us;
}

void
agent_turn(struct node *m)
{
    struct agent *a = m->a;

    if (m->slept_us != 0)
        wake(m, m->slept_us);
    if (run_postgres(m))
        upkeep_look_here(m);
    judge(m);
    retry_spool(m);
    if (m->a->in.inlet.live != NULL)
        greeting_part(&a->in);
    a->in.receiver.fenced = a->who.role == ROLE_FENCED;
    for (int i = 0; i < SESSIONS_MAX; i++)
        if (m->session[i].state == SESSION_GREETED && !refuse_rival(m, &m->session[i]))
            greet(m, &m->session[i]);
    part_from_spool(a);
    ships_run(m);
    greeting_prove(&a->in, w.now_us);
    asks_run(&a->asks, &a->loop, w.now_us);
    if (a->failover.phase != FAILOVER_IDLE) {
        failover_run(&a->failover, w.now_us);
        judge(m);
    }
    if (w.now_us >= m->house_us) {
        upkeep(m);
        m->house_us = w.now_us + SECOND_US;
    }
    say_concierge(m);
    m->turn_due_us = w.now_us + (a->failover.phase != FAILOVER_IDLE ? FAILOVER_US : TURN_US);
    later(m->turn_due_us, EVENT_TURN, m->index, m->life, NULL);
}

/* ---- life ---- */

/* As outgoing_open. */
static void
open_links(struct node *m)
{
    static char history[POOL_MEMBERS][HISTORY_BYTES_MAX + 1];
    struct outgoing *o = &m->a->out;

    o->who = &m->a->who;
    o->incarnation = m->life << 20;
    o->lineage.text = o->history = history[m->index];
    for (int i = 0; i < w.members; i++) {
        struct link *l = &o->link[o->links];

        if (i == m->index)
            continue;
        o->links++;
        m->ship[i].link = l;
        snprintf(l->member, sizeof l->member, "%s", w.config.member[i].name);
        l->sender.pool = ask_shipped;
        l->sender.promise = ask_promise;
        l->sender.pool_context = asks_of(&m->a->asks, l->member);
    }
}

void
agent_start(struct node *m)
{
    struct agent *a = m->a;
    struct postgres *p = a->who.postgres != NULL ? a->who.postgres : malloc(sizeof *p);
    int code;

    if (m->agent_up || !m->up)
        return;
    memset(a, 0, sizeof *a);
    *p = (struct postgres){.member = m->index,
                           .identity = {.system_identifier = 1, .segment_bytes = SEGMENT}};
    a->who.config = &w.config;
    a->who.self = &w.config.member[m->index];
    a->who.spool = &a->in.spool;
    a->who.started_us = w.now_us;
    a->who.postgres = p;
    a->in.who = &a->who;
    a->in.control = &a->control;
    a->in.asks = &a->asks;
    a->in.spool.dir = 100 + m->index;
    snprintf(a->in.spool.path, sizeof a->in.spool.path, "/spool/%d", m->index);
    a->in.receiver.spool = a->in.receiver.into = &a->in.spool;
    a->in.inlet.receiver = &a->in.receiver;
    m->life++;
    m->agent_up = true;
    m->torn_since_us = w.now_us;
    memset(m->session, 0, sizeof m->session);
    memset(m->ship, 0, sizeof m->ship);
    memset(m->dial, 0, sizeof m->dial);
    memset(m->quiet, 0, sizeof m->quiet);
    m->flushes = m->compared = m->command_listens = false;
    m->house_us = m->sample_us = 0;
    m->turn_due_us = INT64_MAX;
    a->who.asking = &a->failover.own;
    asks_open(&a->asks, &a->who, hear, promise_hear, a);
    failover_init(&a->failover, &a->who, &a->who.pool, &a->asks, &a->out, &a->in, &a->control,
                  &a->loop);
    open_links(m);
    if (m->spool_begun)
        spool_set(m, m->spool);
    code = pool_load(&a->who.pool, a->in.spool.dir);
    if (code < 0 && code != ERR_AGAIN)
        broke("%d: its agent cannot start: %s", m->index, fail_message());
    note("%d: the agent starts", m->index);
    upkeep_look_here(m);
    agent_soon(m);
}

void
agent_kill(struct node *m)
{
    if (!m->agent_up)
        return;
    note("%d: the agent is killed", m->index);
    for (int i = 0; i < SESSIONS_MAX; i++)
        if (m->session[i].state != SESSION_FREE)
            session_end(m, &m->session[i], m->up, "killed");
    for (int i = 0; i < w.members; i++)
        if (i != m->index && m->ship[i].link->state >= LINK_DIALING)
            ship_drop(m, i, m->up, 1, "killed");
    asks_close(&m->a->asks);
    m->a->asks.count = 0;
    m->agent_up = m->concierge = false;
    m->paused_us = m->reads_us = m->slept_us = 0;
    m->life++;
}

bool
agent_works(const struct node *m)
{
    return m->agent_up && w.now_us >= m->paused_us;
}

/* SIGSTOP, and SIGCONT later: its lines stay open, and what comes waits in its sockets. Who asks it
 * where to write has no answer. What it does first when it wakes, it may do by an old sample, and
 * before it has read what came. */
void
agent_pause(struct node *m, int64_t us)
{
    if (!agent_works(m))
        return;
    note("%d: the agent is paused for %.1f s", m->index, (double)us / 1e6);
    m->paused_us = w.now_us + us;
    m->slept_us = us;
    m->reads_us = m->paused_us + (int64_t)(draw() % 2) * 20 * MILLISECOND_US;
    m->concierge = false;
    m->woke_us = m->torn_since_us = m->stuck_since_us = m->calm_since_us = m->turn_due_us =
        m->paused_us;
    if (chance(2))
        m->sample_us = m->paused_us;
    later(m->paused_us, EVENT_TURN, m->index, m->life, NULL);
}

/* SPDX-License-Identifier: PostgreSQL */
/*
 * The DBA: types commands, right and wrong ones, and in calm times what an alarm names, word for word.
 *
 * Mirrored, not the real code: requests.c (resolve, discard), and the jobs rejoin and seed, which
 * leave what a rewind leaves: the last common position, standby.signal, a spool that ends there.
 */
#include "sim/pool/world.h"

#include "base/clock.h"
#include "base/fail.h"

#include <stdio.h>
#include <string.h>

void
excuse_all_but(struct point kept)
{
    for (int i = 0; i < w.commits; i++)
        if (!w.commit[i].excused && !point_in(w.commit[i].at, kept))
            w.commit[i].excused = true;
}

static void
type_failover(struct node *m, const struct failover_wish *wish)
{
    bool force = wish->force, dead = wish->dead;

    json_t *request;

    if (!agent_works(m))
        return;
    w.commands++;
    note("DBA on %d: walferry failover%s%s%s%s", m->index, force ? " --force" : "",
         dead ? " --dead" : "", wish->reclaim ? " --reclaim" : "",
         wish->epoch != 0 ? " --epoch 1" : "");
    if (m->a->failover.phase == FAILOVER_IDLE) {
        m->failover_us = w.now_us;
        m->force = force;
        m->dead = dead;
    } else {
        m->force |= force;
        m->dead |= dead;
    }
    m->command_listens = true;
    m->code = -1;
    w.runs = m;
    request = json_pack("{s:b s:b s:b s:i}", "force", force, "dead", dead, "reclaim", wish->reclaim,
                        "epoch", (int)wish->epoch);
    failover_request(&m->a->failover, 1, request, w.now_us);
    json_decref(request);
    agent_soon(m);
}

void
dba_failover(struct node *m, bool force, bool dead)
{
    type_failover(m, &(struct failover_wish){.force = force, .dead = dead});
}

void
dba_reclaim(struct node *m, bool force)
{
    type_failover(m, &(struct failover_wish){.force = force, .reclaim = true});
}

void
dba_interrupt(struct node *m)
{
    if (!agent_works(m) || m->a->failover.phase == FAILOVER_IDLE)
        return;
    w.commands++;
    note("DBA on %d: Ctrl-C", m->index);
    m->command_listens = false;
    agent_soon(m);
}

void
dba_cancel(struct node *m)
{
    json_t *request;

    if (!agent_works(m))
        return;
    w.commands++;
    note("DBA on %d: walferry failover --cancel", m->index);
    request = json_pack("{s:b}", "cancel", 1);
    failover_request(&m->a->failover, 2, request, w.now_us);
    json_decref(request);
}

static struct node *
member_named(const char *name)
{
    for (int i = 0; i < w.members; i++)
        if (strcmp(w.config.member[i].name, name) == 0)
            return &w.member[i];
    return NULL;
}

/* Nothing parted: it is a standby again from the last position that both have. */
void
dba_rejoin(struct node *m)
{
    struct node *p = agent_works(m) ? member_named(m->a->who.pool.epoch.member) : NULL;
    struct server *s = &m->server;

    w.commands++;
    note("DBA on %d: walferry rejoin", m->index);
    if (p == NULL || p == m || w.now_us < m->full_us || !agent_works(p) ||
        p->server.state != SERVER_UP || p->server.recovery || p->a->who.role != ROLE_PRIMARY ||
        w.now_us < w.heal_us[m->index][p->index] || w.now_us < w.heal_us[p->index][m->index] ||
        m->a->failover.phase != FAILOVER_IDLE) {
        note("   refused: the primary cannot be reached");
        return;
    }
    s->state = SERVER_DOWN;
    for (int i = 0; i < w.commits; i++)
        if (w.commit[i].member == m->index && !point_in(w.commit[i].at, p->server.wal))
            w.commit[i].excused = true;
    s->wal = s->replay = s->reached = normal(common(whole_of(s->wal), p->server.wal));
    s->record = -1;
    s->signal = s->recovery = true;
    s->ran_writable = s->promoting = false;
    m->a->who.pool.left = false; /* as requests.c, by a word of the rejoin */
    who_save_pool(&m->a->who);
    if (m->spool_begun && !point_in(whole_of(m->spool), p->server.wal))
        excuse_all_but(p->server.wal);
    if (m->a->in.inlet.live != NULL)
        inlet_end(&m->a->in.inlet, "a rejoin");
    if (m->spool_begun)
        spool_set(m, common(m->spool, p->server.wal));
    if (m->spool_begun && !point_in(s->wal, m->spool))
        spool_set(m, s->wal);
    s->put_back = m->has_snapshot = false;
    m->a->in.forked = LSN_UNKNOWN;
    m->a->in.receiver.older = m->a->in.inlet.refuted = false;
    lag_restart(&m->a->in.receiver.flushed);
    lag_reach(&m->a->in.receiver.flushed, m->spool.lsn);
    for (int b = p->server.wal.branch; b >= 0; b = w.branch[b].parent)
        m->history[w.branch[b].timeline] = b;
    server_begin(m, false);
}

/* By what its spool and its histories tell, it has nothing that the pool has not. */
void
dba_offline(struct node *m)
{
    struct server *s = &m->server;
    struct point wal = whole_of(s->wal);

    w.commands++;
    note("DBA on %d: walferry rejoin --offline", m->index);
    if (!agent_works(m) || m->a->failover.phase != FAILOVER_IDLE || w.now_us < m->full_us ||
        s->state != SERVER_DOWN || !m->spool_begun || !point_in(wal, m->spool) ||
        timeline_of(wal) == timeline_of(m->spool) ||
        strcmp(m->a->who.pool.epoch.member, m->a->who.self->name) == 0) {
        note("   refused: PostgreSQL runs, or something parted");
        return;
    }
    s->wal = s->replay = s->reached = wal;
    s->record = -1;
    s->signal = s->recovery = true;
    s->ran_writable = s->put_back = m->has_snapshot = false;
    m->a->who.pool.left = false;
    who_save_pool(&m->a->who);
    server_begin(m, false);
}

void
dba_resolve(struct node *m, const char *primary)
{
    struct agent *a = m->a;
    struct epoch before = m->a->who.pool.epoch;
    struct epoch_origin origin;

    w.commands++;
    note("DBA on %d: walferry resolve --primary %s", m->index, primary);
    if (!agent_works(m) || a->failover.phase != FAILOVER_IDLE || w.now_us < m->full_us ||
        judge_resolve(&a->who.pool, &a->facts, primary, &origin) != 0) {
        note("   refused: %s", fail_message());
        return;
    }
    excuse_all_but(member_named(primary)->server.wal);
    pool_adopt(&a->who.pool, &origin, wall_of(m));
    a->who.pool.left |= judge_overruled(&a->who.pool, a->who.self->name, &before);
    who_save_pool(&a->who);
    asks_forget_claims(&a->asks);
    incoming_over(&a->in);
    w.changes++;
    agent_soon(m);
}

static void
discard(struct node *m)
{
    w.commands++;
    note("DBA on %d: walferry lost --discard", m->index);
    excuse_all_but(m->server.wal);
    m->spool_begun = false;
    m->a->in.spool.timeline = 0;
    m->a->in.spool.written = m->a->in.spool.flushed = m->a->in.spool.available = 0;
}

/* ---- what is told ---- */

static bool
resolve_as_told(struct node *m, const char *text)
{
    const char *at = strstr(text, "resolve --primary ");
    struct node *best = NULL;

    if (at == NULL)
        return false;
    for (int i = 0; i < w.members; i++) { /* of those that are named: who is writable, has most */
        struct node *x = &w.member[i];

        if (strstr(at, w.config.member[i].name) == NULL)
            continue;
        if (best == NULL || (x->server.state == SERVER_UP && !x->server.recovery &&
                             (best->server.recovery || x->server.wal.lsn > best->server.wal.lsn)))
            best = x;
    }
    if (best != NULL)
        dba_resolve(m, w.config.member[best->index].name);
    return true;
}

static bool
do_as_told(struct node *m, const char *text)
{
    if (resolve_as_told(m, text))
        return true;
    if (strstr(text, "Stop it, touch ") != NULL && m->server.state == SERVER_UP) {
        server_stop(m);
        m->server.signal = true;
    } else if (strstr(text, "touch ") != NULL) {
        note("DBA on %d: touch standby.signal", m->index);
        m->server.signal = true;
        server_begin(m, false);
    } else if (strstr(text, "walferry rejoin") != NULL || strstr(text, "seed --") != NULL) {
        dba_rejoin(m);
    } else if (strstr(text, "Stop one of them") != NULL) {
        server_stop(m);
    } else if (strstr(text, "run walferry failover again") != NULL) {
        dba_failover(m, /* when it is refused, or for what does not move */
                     strstr(m->a->failover.refusal, "failover --force") != NULL || chance(2),
                     false);
    } else if (strstr(text, "lost --discard") != NULL) {
        discard(m);
    } else if (strstr(text, "pg_promote()") != NULL) {
        server_promote(m);
    } else {
        return false;
    }
    return true;
}

/* For long the exposure, for nothing was compared; or PostgreSQL does not take what comes. */
static bool
is_stuck(const struct node *m)
{
    int64_t long_ago_us = w.now_us - 20 * SECOND_US;

    return m->a->in.inlet.live != NULL && m->a->in.inlet.since_us < long_ago_us &&
           (!m->compared || (m->server.state == SERVER_UP && m->server.recovery &&
                             m->server_since_us < long_ago_us && m->moved_us < long_ago_us));
}

static void
look_after(struct node *m)
{
    struct agent *a = m->a;

    agent_start(m);
    if (!agent_works(m) || a->failover.phase != FAILOVER_IDLE)
        return;
    if (a->who.role == ROLE_PROMOTING) /* as failover says: start it and run this again */
        server_begin(m, false);
    if (a->who.alarm[0] != '\0' && do_as_told(m, a->who.alarm))
        return;
    if (a->who.missing[0] != '\0' && do_as_told(m, a->who.missing))
        return;
    if (a->in.inlet.reason[0] != '\0' && a->who.role == ROLE_STANDBY &&
        (a->in.inlet.refuted || strstr(a->in.inlet.reason, "walferry rejoin") != NULL ||
         strstr(a->in.inlet.reason, "walferry seed") != NULL)) {
        dba_rejoin(m);
        return;
    }
    if (a->who.role == ROLE_STANDBY && (a->in.receiver.older || is_stuck(m))) { /* WF021 */
        dba_rejoin(m);
        return;
    }
    if (a->who.role != ROLE_FENCED && a->who.alarm[0] == '\0')
        server_begin(m, false);
}

/* The pool's first server was made a standby before an agent saw it, and nobody knows an epoch: what
 * the failover is refused with tells the way out, and then that it needs force. */
static void
begin_pool(void)
{
    struct node *best = &w.member[0];

    for (int i = 0; i < w.members; i++) {
        struct node *m = &w.member[i];

        if (!agent_works(m) || m->a->who.pool.epoch.number != 0 || m->server.state != SERVER_UP ||
            !m->server.recovery || m->a->failover.phase != FAILOVER_IDLE)
            return;
        if (m->server.wal.lsn > best->server.wal.lsn)
            best = m;
    }
    type_failover(best, &(struct failover_wish){.force = chance(2), .epoch = 1});
}

void
dba_calm(void)
{
    begin_pool();
    for (int i = 0; i < w.members; i++) {
        w.member[i].up = true;
        look_after(&w.member[i]);
    }
}

bool
dba_healthy(void)
{
    const struct node *p = NULL;

    for (int i = 0; i < w.members; i++) {
        const struct node *m = &w.member[i];

        if (!agent_works(m) || m->a->who.alarm[0] != '\0' || m->a->who.missing[0] != '\0' ||
            m->server.state != SERVER_UP || m->a->failover.phase != FAILOVER_IDLE)
            return false;
        if (m->concierge && p != NULL)
            return false;
        if (m->concierge)
            p = m;
    }
    for (int i = 0; p != NULL && i < w.members; i++) {
        const struct node *m = &w.member[i];

        if (m != p && (m->a->who.role != ROLE_STANDBY || m->a->in.inlet.live == NULL ||
                       !m->compared || m->a->in.receiver.older || m->a->in.inlet.refuted ||
                       !m->server.recovery || !point_in(m->server.replay, p->server.wal) ||
                       !epoch_equal(&m->a->who.pool.epoch, &p->a->who.pool.epoch) ||
                       m->server.replay.lsn + (1 << 20) < p->server.wal.lsn))
            return false;
    }
    return p != NULL;
}

/* SPDX-License-Identifier: PostgreSQL */
/* What goes wrong, and what people do. */
#include "sim/pool/world.h"

#include "base/clock.h"
#include "pool/route.h"

#include <stdio.h>
#include <string.h>

static struct node *
anyone(void)
{
    return &w.member[draw() % (uint64_t)w.members];
}

void
cut(int a, int b, int64_t us)
{
    if (a == b)
        return;
    note("the line from %d to %d is cut for %.1f s", a, b, (double)us / 1e6);
    if (w.heal_us[a][b] < w.now_us + us)
        w.heal_us[a][b] = w.line_since_us[a][b] = w.now_us + us;
}

void
split(const char *site, int64_t us, bool out, bool in)
{
    for (int a = 0; a < w.members; a++)
        for (int b = 0; b < w.members; b++) {
            if (strcmp(w.config.member[a].site, site) != 0 ||
                strcmp(w.config.member[b].site, site) == 0)
                continue;
            if (out)
                cut(a, b, us);
            if (in)
                cut(b, a, us);
        }
}

static void
split_by_chance(const char *site, int64_t us)
{
    bool out = chance(2);

    split(site, us, out, !out || chance(2));
}

void
pin(struct node *m, bool pinned)
{
    for (int i = 0; i < w.members; i++) {
        struct node *p = &w.member[i];

        if (!agent_works(p) || p->a->who.role != ROLE_PRIMARY)
            continue;
        w.commands++;
        w.runs = p;
        note("DBA on %d: walferry route %s %d", i, pinned ? "pin" : "unpin", m->index);
        if (p != m)
            (void)routes_pin(p->a, m->a->who.self, pinned);
        for (int k = 0; k < w.members; k++)
            w.member[k].unfit_us = w.now_us;
    }
}

/* What was said before comes again. */
void
tell_old_table(struct node *m)
{
    const struct routes *told = &w.told[draw() % (sizeof w.told / sizeof *w.told)];

    if (!agent_works(m) || told->count == 0)
        return;
    note("%d is told the table %d of epoch %d again", m->index, (int)told->number,
         (int)told->epoch.number);
    w.runs = m;
    routes_hear(m->a, told);
}

static void
kill_agent(struct node *m)
{
    agent_kill(m);
    later(w.now_us + between(50 * MILLISECOND_US, 20 * SECOND_US), EVENT_AGENT, m->index, 0, NULL);
}

static void
crash(struct node *m)
{
    server_crash(m);
    agent_soon(m);
    if (!chance(3))
        later(w.now_us + between(100 * MILLISECOND_US, 40 * SECOND_US), EVENT_START, m->index, 0,
              NULL);
}

/* All of a host: what was not flushed is gone. */
static void
power_loss(struct node *m)
{
    note("%d: the host is down", m->index);
    m->up = false;
    agent_kill(m);
    server_crash(m);
    later(w.now_us + between(5 * SECOND_US, 60 * SECOND_US), EVENT_AGENT, m->index, 0, NULL);
    if (!chance(3))
        later(w.now_us + between(5 * SECOND_US, 60 * SECOND_US), EVENT_START, m->index, 0, NULL);
}

static void
reset(struct node *m)
{
    int to = (int)(draw() % (uint64_t)w.members);
    struct session *s;

    if (!agent_works(m))
        return;
    s = live_session(m);
    note("%d: connections are reset", m->index);
    if (s != NULL)
        session_end(m, s, true, "reset");
    if (to != m->index && m->ship[to].link->state >= LINK_DIALING)
        ship_drop(m, to, chance(2), 0, "reset");
}

/* Somebody has the key of `as`, and dials `m` with it: to claim an epoch, or to ship in its place. */
void
forge(struct node *m, struct node *as, bool ships)
{
    struct session *s = NULL;
    struct hello h;

    for (int i = 0; i < SESSIONS_MAX && s == NULL; i++)
        if (m->session[i].state == SESSION_FREE)
            s = &m->session[i];
    if (as == m || !m->agent_up || s == NULL || w.forgeries == 64)
        return;
    ask_hello(&w.config, &w.config.member[as->index], &w.config.member[m->index], &h);
    h.lane = 0;
    h.timeline = m->a->who.pool.timeline;
    h.incarnation = draw() | 1;
    h.epoch.number = m->a->who.pool.epoch.number + (ships ? 0 : chance(2) ? 1000 : 40);
    *s = (struct session){.member = m->index,
                          .from = as->index,
                          .number = ++w.next_session,
                          .state = SESSION_GREETED,
                          .since_us = w.now_us,
                          .life = THIEF,
                          .hello = h};
    s->hello.history = s->history;
    if (!ships)
        w.forged[w.forgeries++] = h.epoch;
    note("somebody dials %d with the key of %d: epoch %d", m->index, as->index,
         (int)h.epoch.number);
    agent_soon(m);
}

/* ... whose server is dead, as it says, and has left nothing. */
void
thief_answers(struct node *m, const struct session *s, const struct message *x)
{
    struct message y = {.kind = M_PONG,
                        .from = s->from,
                        .to = m->index,
                        .session = s->number,
                        .forth = true,
                        .sent_us = x->sent_us,
                        .word = PONG_POSTGRES_DEAD};

    if (x->kind == M_PING)
        post(y, NULL, 0);
    y.kind = M_DRAINED;
    y.done = true;
    y.end = m->spool;
    if (x->kind == M_PING || x->kind == M_DRAIN)
        post(y, NULL, 0);
}

/* The primary is away, and somebody dials in its place; then a DBA types. */
static void
impersonate(struct node *m)
{
    struct node *as = anyone();

    if (!m->agent_up || m->a->who.role != ROLE_STANDBY ||
        strcmp(m->a->who.pool.epoch.member, w.config.member[as->index].name) != 0)
        return;
    if (as->up && chance(2))
        power_loss(as);
    if (live_session(m) != NULL)
        session_end(m, live_session(m), true, "reset");
    forge(m, as, true);
    dba_failover(m, chance(2), false);
}

static void
by_hand(struct node *m)
{
    struct server *s = &m->server;

    if (s->state == SERVER_UP && s->recovery && chance(4)) {
        note("%d: somebody runs pg_promote()", m->index);
        server_promote(m);
        w.commands++;
    } else if (s->state == SERVER_DOWN && !s->signal && chance(2)) {
        note("%d: somebody makes standby.signal", m->index);
        s->signal = true;
        server_begin(m, false);
    }
    agent_soon(m);
}

/* Who does that somewhere else gives up what is promised there. */
static void
cancel(struct node *m)
{
    if (chance(3))
        dba_interrupt(m);
    else
        dba_cancel(chance(3) ? anyone() : m);
}

static void
type(struct node *m)
{
    if (!agent_works(m))
        return;
    if (m->a->failover.phase != FAILOVER_IDLE && chance(2)) {
        cancel(m);
        return;
    }
    if (m->a->who.role == ROLE_FENCED || chance(20)) {
        if (chance(2))
            dba_reclaim(m, chance(4));
        else
            dba_offline(m);
    }
    if (m->a->who.role == ROLE_STANDBY || m->a->who.role == ROLE_PROMOTING || chance(10))
        dba_failover(m, chance(8), chance(12));
    if (chance(12))
        dba_failover(anyone(), false, false);
}

/* The standby's PostgreSQL writes no more WAL for a while: its disk is full, say. */
static void
starve(struct node *m)
{
    note("%d: the disk of PostgreSQL is full", m->index);
    m->starved_us = w.now_us + between(5 * SECOND_US, 90 * SECOND_US);
}

/* The data directory goes back to what it was. Whoever does that gives up what was committed since. */
void
put_back(struct node *m)
{
    uint64_t life = m->server.life;

    server_crash(m);
    m->server = m->snapshot;
    m->server.state = SERVER_DOWN;
    m->server.record = -1;
    m->server.put_back = true;
    m->server.life = life;
    /* a copy of the WAL that is overwritten now, put back later, differs in bytes alone */
    for (int i = 0; i < w.members; i++)
        w.member[i].has_snapshot &= m->server.signal && i != m->index;
    note("%d: somebody puts PostgreSQL back to timeline %u at " LSN_FORMAT, m->index,
         timeline_of(m->server.wal), LSN_ARGS(m->server.wal.lsn));
    for (int i = 0; i < w.commits; i++)
        if (w.commit[i].member == m->index && !point_in(w.commit[i].at, m->server.wal))
            w.commit[i].excused = true;
    agent_soon(m);
}

static void
snapshot(struct node *m)
{
    if (!m->has_snapshot || chance(4)) {
        m->snapshot = m->server;
        m->has_snapshot = m->server.state == SERVER_UP && !m->server.promoting;
        return;
    }
    put_back(m);
    if (!chance(3))
        later(w.now_us + between(100 * MILLISECOND_US, 40 * SECOND_US), EVENT_START, m->index, 0,
              NULL);
}

/* Just when the connection is lost, and maybe the primary is stopped first, as failover says, somebody
 * types failover. */
static void
hasty(struct node *m)
{
    struct node *n = anyone();
    bool force = chance(5);

    if (n == m || !agent_works(n) || n->a->who.role != ROLE_STANDBY)
        return;
    if (live_session(n) != NULL)
        session_end(n, live_session(n), true, "reset");
    if (chance(2)) {
        server_write(m);
        server_stop(m);
        agent_soon(m);
        later(w.now_us + between(2 * SECOND_US, 60 * SECOND_US), EVENT_START, m->index, 0, NULL);
    }
    dba_failover(n, force, false);
    if (chance(2)) /* another DBA, on another host */
        dba_failover(anyone(), force, false);
}

/* Somebody who has less than another: the host of the primary is gone, and failover is typed there. */
static bool
fail_over_behind(struct node *m)
{
    for (int i = 0; i < w.members * w.members; i++) {
        struct node *n = &w.member[i / w.members], *x = &w.member[i % w.members];

        if (n == m || x == m || !agent_works(n) || !agent_works(x) || !n->spool_begun ||
            !x->spool_begun || n->a->who.role != ROLE_STANDBY ||
            !point_in(x->spool, m->server.wal) || !point_in(n->spool, x->spool) ||
            point_in(x->spool, n->spool))
            continue;
        power_loss(m);
        dba_failover(n, false, true);
        return true;
    }
    return false;
}

static void
leave_behind(struct node *n)
{
    int64_t us = between(5 * SECOND_US, 30 * SECOND_US);

    for (int i = 0; i < w.members; i++) {
        struct node *m = &w.member[i];

        if (n == m || !agent_works(m) || m->a->who.role != ROLE_PRIMARY ||
            m->server.state != SERVER_UP)
            continue;
        if (!fail_over_behind(m)) {
            cut(m->index, n->index, us);
            cut(n->index, m->index, us);
        }
        return;
    }
}

/* It crashes in the middle of a long message, some of which is elsewhere by then. */
static void
tear(struct node *m)
{
    server_write_long(m);
    server_write(m);
    later(w.now_us + between(0, 400 * MILLISECOND_US), EVENT_CRASH, m->index, 0, NULL);
}

/* The disk of the spool has no room: for WAL, nor for a state of the pool. */
static void
fill_disk(struct node *m)
{
    note("%d: the disk of its spool fills", m->index);
    m->full_us = w.now_us + between(5 * SECOND_US, 90 * SECOND_US);
}

static void
step_clock(struct node *m)
{
    int64_t us = between(-600 * SECOND_US, 600 * SECOND_US);

    note("%d: the wall clock is stepped by %.1f s", m->index, (double)us / 1e6);
    if (!w.steady)
        m->wall_us += us;
}

/* What somebody in a hurry does: as the alarm says, where there is one. */
static void
hurry(struct node *m)
{
    const char *at;

    if (!agent_works(m) || m->a->who.alarm[0] == '\0')
        return;
    at = strstr(m->a->who.alarm, "resolve --primary ");
    if (at != NULL)
        dba_resolve(m, w.config.member[draw() % (uint64_t)w.members].name);
    else if (strstr(m->a->who.alarm, "failover --reclaim") != NULL && chance(2))
        dba_reclaim(m, false);
    else if (strstr(m->a->who.alarm, "walferry rejoin") != NULL && !chance(3))
        dba_rejoin(m);
    else if (strstr(m->a->who.alarm, "walferry rejoin") != NULL)
        dba_offline(m);
    else if (strstr(m->a->who.alarm, "failover again") != NULL)
        dba_failover(m, false, false);
}

/* False: it is another kind of fault. */
static bool
fault_of_a_way(unsigned kind, struct node *m, struct node *n, int64_t us)
{
    switch (kind) {
    case 5:
        cut(m->index, n->index, us);
        cut(n->index, m->index, us);
        return true;
    case 6:
        cut(m->index, n->index, us);
        return true;
    case 7:
        reset(m);
        return true;
    case 24:
        split_by_chance(m->a->who.self->site, us);
        return true;
    case 25:
    case 26:
        tell_old_table(m);
        return true;
    case 27:
        pin(m, !chance(3));
        return true;
    default:
        return false;
    }
}

void
fault(void)
{
    struct node *m = anyone(), *n = anyone();
    int64_t us = between(200 * MILLISECOND_US, chance(3) ? 40 * SECOND_US : 5 * SECOND_US);
    unsigned kind = (unsigned)(draw() % 30);

    w.faults++;
    if (fault_of_a_way(kind, m, n, us))
        return;
    switch (kind) {
    case 0:
        kill_agent(m);
        break;
    case 1:
    case 2:
        crash(m);
        break;
    case 3:
        server_stop(m);
        agent_soon(m);
        later(w.now_us + between(2 * SECOND_US, 60 * SECOND_US), EVENT_START, m->index, 0, NULL);
        break;
    case 4:
        power_loss(m);
        break;
    case 8:
        forge(m, n, false);
        break;
    case 9:
        by_hand(m);
        break;
    case 10:
    case 11:
        type(m);
        break;
    case 12:
        hasty(m);
        break;
    case 13:
        hurry(m);
        break;
    case 14:
        starve(m);
        break;
    case 15:
    case 16:
        snapshot(m);
        break;
    case 17:
        step_clock(m);
        break;
    case 21:
        fill_disk(m);
        break;
    case 18:
        tear(m);
        break;
    case 19:
    case 20:
        agent_pause(m, us > 5 * SECOND_US ? us * 3 / 2 : us);
        break;
    case 23:
        leave_behind(m);
        break;
    case 22:
        impersonate(m);
        break;
    case 28: /* a head, maybe, while nothing else is wrong */
        power_loss(m);
        break;
    default:
        m->held = !m->held;
        break;
    }
}

/* A role change is where a crash hurts most, and where what was heard before a pause is old behind it. */
void
fault_in_failover(struct node *m)
{
    enum failover_phase phase = m->a->failover.phase;

    if (agent_works(m) && phase != FAILOVER_IDLE && phase != FAILOVER_RUNNING && chance(400)) {
        w.faults++;
        if (chance(2))
            agent_pause(m, between(SECOND_US, 60 * SECOND_US));
        else
            cancel(m);
        return;
    }
    if (m->agent_up && m->a->failover.phase == FAILOVER_RESCUING && live_session(m) != NULL &&
        chance(20)) {
        w.faults++;
        note("%d: the connection is reset in the rescue", m->index);
        session_end(m, live_session(m), true, "reset");
    }
    if (!m->agent_up || m->a->failover.phase != FAILOVER_RUNNING || !chance(12))
        return;
    w.faults++;
    if (chance(3))
        crash(m);
    else if (chance(3))
        power_loss(m);
    else if (chance(3))
        agent_pause(m, between(SECOND_US, 60 * SECOND_US));
    else
        kill_agent(m);
}

/* What is cut heals in its time. */
void
heal(void)
{
    for (int a = 0; a < w.members; a++) {
        w.member[a].held = false;
        w.member[a].starved_us = w.member[a].full_us = 0;
    }
}

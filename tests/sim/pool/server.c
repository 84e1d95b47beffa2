/* SPDX-License-Identifier: PostgreSQL */
/*
 * A PostgreSQL of the simulation, and the truth about WAL. It does what the real one does with
 * standby.signal, timelines and history files; it replays only what follows from what it has.
 */
#include "sim/pool/world.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

timeline_t
timeline_of(struct point p)
{
    return w.branch[p.branch].timeline;
}

/* A position at a fork belongs to the branch before it. */
struct point
normal(struct point p)
{
    while (w.branch[p.branch].parent >= 0 && p.lsn <= w.branch[p.branch].fork)
        p.branch = w.branch[p.branch].parent;
    return p;
}

struct point
common(struct point a, struct point b)
{
    a = normal(a);
    b = normal(b);
    if (a.branch == b.branch)
        return a.lsn < b.lsn ? a : b;
    for (struct point q = a;;) {
        for (struct point r = b;;) {
            if (q.branch == r.branch)
                return (struct point){q.branch, q.lsn < r.lsn ? q.lsn : r.lsn};
            if (w.branch[r.branch].parent < 0)
                break;
            if (r.lsn > w.branch[r.branch].fork)
                r.lsn = w.branch[r.branch].fork;
            r.branch = w.branch[r.branch].parent;
        }
        if (q.lsn > w.branch[q.branch].fork)
            q.lsn = w.branch[q.branch].fork;
        q.branch = w.branch[q.branch].parent;
    }
}

bool
point_in(struct point a, struct point b)
{
    struct point c = common(a, b);

    a = normal(a);
    c = normal(c);
    return c.branch == a.branch && c.lsn == a.lsn;
}

struct point
whole_of(struct point p)
{
    p = normal(p);
    for (int r = w.branch[p.branch].record; r >= 0; r = w.record[r].before) {
        const struct record *x = &w.record[r];

        if (x->start < p.lsn && (p.lsn < x->end || (x->torn && p.lsn == x->end)))
            p.lsn = x->start;
        if (x->end <= p.lsn)
            break;
    }
    return normal(p);
}

/* The timeline on which it leaves a position that it has. */
static timeline_t
leaves_on(struct point p, struct point at)
{
    int last = p.branch;

    for (p = normal(p), at = normal(at); p.branch != at.branch;
         p.branch = w.branch[p.branch].parent)
        last = p.branch;
    if (last != at.branch && w.branch[last].fork > at.lsn)
        last = at.branch;
    return w.branch[last].timeline;
}

bool
parts_by_bytes(struct point a, struct point b)
{
    struct point c = common(a, b);

    return leaves_on(a, c) == leaves_on(b, c);
}

/* A promotion (another timeline), or a server that writes other WAL than before from there on. */
int
branch_new(struct point from, timeline_t timeline)
{
    struct branch *b = &w.branch[w.branches], *p = &w.branch[from.branch];
    char line[80];

    if (w.branches == BRANCHES_MAX)
        broke("the simulation has no place for more branches");
    *b = (struct branch){
        .parent = from.branch, .record = -1, .fork = from.lsn, .timeline = timeline};
    if (timeline == p->timeline) {
        b->history = strdup(p->history);
    } else {
        snprintf(line, sizeof line, "%u\t" LSN_FORMAT "\tno recovery target specified\n",
                 p->timeline, LSN_ARGS(from.lsn));
        b->history = malloc(p->history_bytes + strlen(line) + 1);
        memcpy(b->history, p->history, p->history_bytes);
        memcpy(b->history + p->history_bytes, line, strlen(line) + 1);
    }
    b->history_bytes = strlen(b->history);
    return w.branches++;
}

/* ---- long records ---- */

void
server_write_long(struct node *m)
{
    struct server *s = &m->server;
    struct branch *b = &w.branch[s->wal.branch];

    if (s->state != SERVER_UP || s->recovery || s->record >= 0 || w.records == RECORDS_MAX)
        return;
    s->record = w.records++;
    w.record[s->record] = (struct record){
        .before = b->record, .start = s->wal.lsn, .end = s->wal.lsn + 20000 + draw() % 800000};
    b->record = s->record;
}

/* It is written on; false: its end is not there yet. */
static bool
write_on(struct server *s)
{
    const struct record *x = &w.record[s->record];

    s->wal.lsn += 1 + draw() % 200000;
    if (s->wal.lsn < x->end)
        return false;
    s->wal.lsn = x->end;
    s->record = -1;
    return true;
}

/* What is there of it is there for ever: WAL goes on behind it, as PostgreSQL does it. */
static void
tear(struct server *s)
{
    if (s->record < 0)
        return;
    w.record[s->record].end = s->wal.lsn;
    w.record[s->record].torn = true;
    s->record = -1;
}

/* ---- its life ---- */

void
server_reload(struct node *m)
{
    struct server *s = &m->server;

    s->names[0] = '\0';
    for (size_t i = 0; i < 4; i++)
        if (strcmp(m->file[i].name, "walferry.conf") == 0)
            (void)sscanf(m->file[i].text, "synchronous_standby_names = '%319[^']", s->names);
}

bool
server_waits_for(const struct node *m, int by)
{
    char slot[SLOT_NAME_SIZE];

    config_slot_name(slot, w.config.member[by].name);
    return quorum_names(m->server.names, slot);
}

bool
server_is_confirmed(const struct node *m, const struct commit *c)
{
    int need = 1, have = 0;

    (void)sscanf(m->server.names, "ANY %d", &need);
    for (int i = 0; i < w.members; i++)
        have += (c->confirmed >> i & 1) != 0 && server_waits_for(m, i);
    return have >= need;
}

void
server_begin(struct node *m, bool crashed)
{
    struct server *s = &m->server;

    if (!m->up || s->state == SERVER_UP || s->state == SERVER_STARTING)
        return;
    m->server_since_us = w.now_us;
    s->state = SERVER_STARTING;
    s->promoting = false;
    s->due_us = w.now_us + between(200 * MILLISECOND_US,
                                   crashed && chance(4) ? 14 * SECOND_US : 2 * SECOND_US);
    note("%d: PostgreSQL starts%s", m->index, s->signal ? ", standby.signal is there" : "");
    later(s->due_us, EVENT_SERVER, m->index, 0, NULL);
}

void
server_stop(struct node *m)
{
    struct server *s = &m->server;

    if (s->state != SERVER_UP)
        return;
    m->server_since_us = w.now_us;
    s->state = SERVER_STOPPING;
    s->due_us = w.now_us + between(100 * MILLISECOND_US, 8 * SECOND_US);
    note("%d: PostgreSQL is stopped", m->index);
    later(s->due_us, EVENT_SERVER, m->index, 0, NULL);
}

void
server_crash(struct node *m)
{
    if (m->server.state == SERVER_DOWN)
        return;
    note("%d: PostgreSQL crashes", m->index);
    m->server_since_us = w.now_us;
    tear(&m->server);
    m->server.state = SERVER_DOWN;
    m->server.promoting = false;
}

static void
is_there(struct node *m)
{
    struct server *s = &m->server;

    s->state = SERVER_UP;
    s->life++;
    if (s->put_back || s->signal)
        s->wal = whole_of(s->wal);
    if (s->put_back && !s->signal) {
        s->wal.branch = branch_new(s->wal, timeline_of(s->wal));
        s->put_back = false;
    }
    if (!s->signal)
        s->wal.lsn += 64;
    s->recovery = s->signal;
    s->ran_writable = !s->signal;
    s->replay = s->wal;
    s->reached = s->wal;
    server_reload(m);
    note("%d: PostgreSQL is there%s, timeline %u at " LSN_FORMAT, m->index,
         s->recovery ? ", in recovery" : ", writable", timeline_of(s->wal), LSN_ARGS(s->wal.lsn));
}

void
server_promote(struct node *m)
{
    struct server *s = &m->server;
    timeline_t next = timeline_of(s->wal);

    if (s->state != SERVER_UP || !s->recovery)
        return;
    s->replay = s->wal = whole_of(s->wal);
    for (timeline_t t = next + 1; t < TIMELINES; t++)
        if (m->history[t] >= 0)
            next = t;
    next++;
    m->promised = s->wal;
    m->by_hand = !s->promoting;
    s->wal.branch = branch_new(s->wal, next);
    s->recovery = s->signal = s->promoting = false;
    s->ran_writable = true;
    s->wal.lsn += 100;
    s->replay = s->reached = s->wal;
    note("%d: PostgreSQL is promoted to timeline %u, forked at " LSN_FORMAT, m->index, next,
         LSN_ARGS(m->promised.lsn));
}

/* The walreceiver takes what the relay serves, and replay follows. */
void
server_follow(struct node *m)
{
    struct server *s = &m->server;

    if (s->state != SERVER_UP || !s->recovery)
        return;
    if (agent_works(m) && m->spool_begun && w.now_us >= m->starved_us &&
        point_in(whole_of(s->wal), m->written) &&
        (point_in(s->wal, m->written) || !point_in(m->written, s->wal))) {
        s->wal = m->written;
        s->put_back = false;
    }
    if (point_in(m->written, s->wal))
        m->moved_us = w.now_us;
    if (!m->held)
        s->replay = whole_of(s->wal);
    if (chance(8))
        s->reached = s->replay;
    if (s->promoting && w.now_us >= s->due_us)
        server_promote(m);
}

void
server_write(struct node *m)
{
    struct server *s = &m->server;
    struct commit *c = &w.commit[w.commits];

    if (s->state != SERVER_UP || s->recovery)
        return;
    if (s->record < 0)
        s->wal.lsn += 64 + draw() % 20000;
    else if (!write_on(s))
        return;
    s->replay = s->wal;
    if (chance(10))
        s->reached = s->wal;
    if (w.commits == COMMITS_MAX)
        return;
    w.commits++;
    *c = (struct commit){.at = s->wal,
                         .us = w.now_us,
                         .told_us = s->names[0] != '\0' ? 0 : w.now_us,
                         .member = m->index,
                         .synchronous = s->names[0] != '\0'};
}

void
server_run(struct node *m)
{
    struct server *s = &m->server;

    if (!m->up || w.now_us < s->due_us)
        return;
    if (s->state == SERVER_STARTING) {
        is_there(m);
    } else if (s->state == SERVER_STOPPING) {
        s->state = SERVER_DOWN;
        while (s->record >= 0)
            write_on(s);
        if (!s->recovery)
            s->wal.lsn += 120; /* the shutdown checkpoint */
        s->reached = s->replay = whole_of(s->wal);
        note("%d: PostgreSQL is down, in order", m->index);
    } else if (s->promoting) {
        server_follow(m);
    }
    agent_soon(m);
}

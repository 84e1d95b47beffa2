/* SPDX-License-Identifier: PostgreSQL */
/*
 * What has to hold, looked at after each turn of an agent, in truth and not by what agents see:
 *
 *   1  a promotion by a failover has all that this member has acknowledged, and loses no more than it
 *      has said
 *   2  an unforced failover deposes no living primary that could be asked
 *   3  clients are sent to one member; to two for no longer than it takes to hear of each other
 *   4  no standby is calm whose PostgreSQL has forked
 *   5  no lag and no loss is told that is less than the truth, whatever wall clocks show
 *   6  nobody believes an epoch that nobody has begun
 *   7  a promotion that was done is finished alone
 *   9  no commit counts on a spool that its PostgreSQL cannot replay, unless that is told
 *  10  two failovers that nobody forced never begin the same epoch, nor does one beside a member in
 *      reach that a living primary feeds
 *  11  none begins before its PostgreSQL has flushed all that the spool holds
 *  12  no commit that waits for another member is told before that has it on disk
 *  13  a record that never became whole does not stay behind the fork in the spool of who has forked,
 *      and is not told as missing; nor is WAL refused that parts from a spool at its begin
 *  14  a failover that was refused or cancelled leaves nothing behind: WAL is taken again
 *  15  no failover that nobody forced begins without what another member has of its lineage
 *  16  who can be reached is fed by a way that begins at the primary, within FED_US
 *  17  ... which has two hops at most, once nothing is wrong with any of it for long
 *  18  one copy crosses to a site, once nothing is wrong with it for long
 *  19  the head of a site keeps its place while nothing is wrong with it
 *  20  no member goes back to an earlier table of routes
 *  21  none that hears a primary which answers, itself or through another, promises another epoch
 *
 * (8 is in pool_sim.c.)
 */
#include "sim/pool/world.h"

#include "base/clock.h"
#include "links/exposed.h"
#include "pool/loss.h"
#include "pool/route.h"

#include <string.h>

#define HEARS_US   (15 * SECOND_US)
#define ASKED_US   (7 * SECOND_US) /* then it has dialled, and said its word */
#define SETTLED_US (2 * SECOND_US) /* then its agent has seen it, and been asked */
#define FED_US     (25 * SECOND_US) /* 10 s of silence, a look, a table told again, a dial that waits */
#define ROUTED_US  (40 * SECOND_US) /* then the table is as it should be, and followed */
#define JUST_US    (SECOND_US / 2)

static struct node *
named(const char *member)
{
    for (int i = 0; i < w.members; i++)
        if (strcmp(w.config.member[i].name, member) == 0)
            return &w.member[i];
    return NULL;
}

static struct node *
former_of(const struct pool *p)
{
    return named(p->change[p->changes - 1].origin.parent.member);
}

/* The lines between them, and both agents, are there for long enough to be asked. */
static bool
is_asked(const struct node *m, const struct node *x)
{
    int64_t asked_us = w.now_us - ASKED_US;
    int a = m->index, b = x->index;

    return x->agent_up && x->agent_since_us <= asked_us && x->woke_us <= asked_us &&
           m->agent_since_us <= asked_us && w.line_since_us[a][b] <= asked_us &&
           w.line_since_us[b][a] <= asked_us;
}

/* ... and it could ship what it has, for long enough. */
static bool
is_in_reach(const struct node *m, const struct node *former)
{
    return !m->force && !m->dead && is_asked(m, former) && former->ill_us <= w.now_us - ASKED_US;
}

/* When the epoch is written. A server that starts or stops is no dead one. */
static void
check_deposed(const struct node *m, const struct node *former)
{
    const struct server *s = &former->server;
    bool reclaims = judge_reclaims(&m->a->who.pool);

    if (reclaims && s->state != SERVER_UP) /* nothing of it is wanted */
        return;
    if (s->state != SERVER_DOWN && !s->recovery && !s->signal &&
        former->server_since_us <= w.now_us - SETTLED_US)
        broke("2: %d begins an epoch beside %d, which could be asked and %s", m->index,
              former->index, s->state == SERVER_UP ? "takes writes" : "starts or stops");
}

static void
check_lost(struct node *m, const struct node *former, struct commit *c, int64_t begun_us)
{
    const char *said = m->a->who.pool.loss; /* also by an agent that was killed since */
    /* that something is missing; unsure: it is looked for just now */
    bool told = m->a->who.missing[0] != '\0' || m->a->who.replay.unsure;

    if (c->excused || c->told_us == 0 || c->told_us > begun_us || point_in(c->at, m->promised))
        return;
    if (c->synchronous && (c->confirmed >> m->index & 1) != 0 && !told)
        broke("1: %d is promoted at " LSN_FORMAT " without the commit at " LSN_FORMAT
              " of %d, which it had acknowledged",
              m->index, LSN_ARGS(m->promised.lsn), LSN_ARGS(c->at.lsn), c->member);
    c->excused = true;
    if (former == NULL || c->member != former->index || !point_in(c->at, former->server.wal))
        return;
    if ((m->by_hand || m->force) && told) /* of a half failover whose server was put back */
        return;
    if (m->reaches && !m->force)
        broke("1: %d could get the commit at " LSN_FORMAT " of %d, and is promoted without it",
              m->index, LSN_ARGS(c->at.lsn), c->member);
    if (strncmp(said, "none", 4) == 0)
        broke("1: %d has said that nothing is lost; the commit at " LSN_FORMAT " of %d is",
              m->index, LSN_ARGS(c->at.lsn), c->member);
    if (strncmp(said, "at most", 7) == 0 && c->us < m->covered_us)
        broke("1: %d has said that nothing is lost from before %.3f; the commit at " LSN_FORMAT
              " of %d at %.3f is",
              m->index, (double)m->covered_us / 1e6, LSN_ARGS(c->at.lsn), c->member,
              (double)c->us / 1e6);
}

static void
check_promotion(struct node *m)
{
    const struct pool *p = &m->a->who.pool;
    struct node *former = former_of(p);

    m->checked_epoch = p->epoch.number;
    if (p->change[p->changes - 1].origin.how != EPOCH_BY_FAILOVER)
        return;
    w.changes++;
    for (int i = 0; i < w.commits; i++)
        check_lost(m, former, &w.commit[i], m->begun_us);
}

static void
check_calm(struct node *m)
{
    const struct agent *a = m->a;
    struct node *p = NULL;

    for (int i = 0; i < w.members; i++)
        if (w.member[i].concierge && strcmp(a->who.pool.epoch.member, w.config.member[i].name) == 0)
            p = &w.member[i];
    if (p == NULL || p == m || a->who.role != ROLE_STANDBY || a->who.alarm[0] != '\0' ||
        m->server.state != SERVER_UP || !m->server.recovery || a->in.inlet.live == NULL ||
        a->in.receiver.older || a->in.inlet.refuted || !m->compared || /* that is told, too */
        point_in(m->server.replay, p->server.wal) ||
        parts_by_bytes(m->server.replay, p->server.wal)) { /* PostgreSQL sees it: it stands */
        m->stuck_since_us = w.now_us;
        return;
    }
    if (w.now_us - m->stuck_since_us > HEARS_US)
        broke("4: %d is calm, and has forked at " LSN_FORMAT, m->index,
              LSN_ARGS(common(m->server.replay, p->server.wal).lsn));
}

static void
check_lag(struct node *m)
{
    const struct receiver *r = &m->a->in.receiver;
    const struct node *origin = named(r->origin);

    if (live_session(m) == NULL || m->a->who.role != ROLE_STANDBY || !m->compared || origin == NULL)
        return;
    for (int i = w.commits; i > 0 && i > w.commits - 40; i--) {
        const struct commit *c = &w.commit[i - 1];

        if (c->member == origin->index && !c->excused && c->us < r->flushed.covered.mono_us &&
            point_in(c->at, origin->server.wal) && !point_in(c->at, m->spool))
            broke("5: %d tells a lag of %.3f s, and lacks the commit at " LSN_FORMAT
                  ", which is %.3f s old",
                  m->index, (double)(w.now_us - r->flushed.covered.mono_us) / 1e6,
                  LSN_ARGS(c->at.lsn), (double)(w.now_us - c->us) / 1e6);
    }
}

/* ... and with what a failover would tell now, and status does. */
static void
check_loss(const struct node *m)
{
    const struct incoming *in = &m->a->in;
    const struct node *p = named(in->receiver.origin); /* also behind a head */
    struct loss_facts facts;
    struct loss loss;
    int64_t since_us;

    if (p == NULL || m->a->who.role != ROLE_STANDBY)
        return;
    exposed_receiving(in, w.now_us, &facts);
    loss_judge(&facts, &loss);
    since_us = w.now_us - loss.age_us;
    if (loss.kind != LOSS_NONE && loss.kind != LOSS_AT_MOST)
        return;
    for (int i = w.commits; i > 0 && i > w.commits - 40; i--) {
        const struct commit *c = &w.commit[i - 1];

        if (c->member == p->index && !c->excused && c->told_us != 0 && c->us < since_us &&
            point_in(c->at, p->server.wal) && !point_in(c->at, m->spool))
            broke(
                "5: %d tells that what is lost now is %s, %.3f s old; it lacks the commit at " LSN_FORMAT
                ", which is %.3f s old",
                m->index, loss_kind_name(loss.kind), (double)loss.age_us / 1e6, LSN_ARGS(c->at.lsn),
                (double)(w.now_us - c->us) / 1e6);
    }
}

static void
check_torn(struct node *m)
{
    struct point p = m->server.wal, whole = whole_of(m->spool);
    bool told = m->a->who.missing[0] != '\0';

    if (m->spool_begun && m->a->in.forked != LSN_UNKNOWN && m->a->in.forked == whole.lsn)
        broke("13: %d refuses WAL that forked at the end of its last whole record, " LSN_FORMAT,
              m->index, LSN_ARGS(whole.lsn));
    if (!m->spool_begun || m->a->who.role != ROLE_PRIMARY || m->server.state != SERVER_UP ||
        m->server.recovery || !point_in(whole, p) || parts_by_bytes(m->spool, p) ||
        (point_in(m->spool, p) && !told))
        m->torn_since_us = w.now_us;
    else if (w.now_us - m->torn_since_us > HEARS_US)
        broke("13: %d has forked at " LSN_FORMAT ", its spool ends at " LSN_FORMAT "%s", m->index,
              LSN_ARGS(whole.lsn), LSN_ARGS(m->spool.lsn), told ? ", and that is told" : "");
}

/* ... or by a head, which passes on what it says just now. */
static bool
is_fed_by(const struct node *x, const struct session *s, const struct node *former)
{
    return named(x->a->in.receiver.origin) == former &&
           (s->from == former->index || w.now_us - x->hears_us < SECOND_US);
}

static void
check_alone(const struct node *m, const struct node *former, uint64_t number)
{
    for (int i = 0; i < w.begins; i++)
        if (w.begun[i].number == number && w.begun[i].member != m->index)
            broke("10: %d and %d have both begun epoch %d", w.begun[i].member, m->index,
                  (int)number);
    if (w.begins < BRANCHES_MAX)
        w.begun[w.begins++] = (struct begun){number, m->index};
    for (int i = 0; i < w.members; i++) {
        struct node *x = &w.member[i];
        const struct session *s = x->agent_up ? live_session(x) : NULL;

        if (s != NULL && x != m && former != NULL && is_fed_by(x, s, former) && is_asked(m, x) &&
            w.now_us - x->a->in.inlet.since_us >= ASKED_US &&
            w.now_us - x->a->in.receiver.heard_us < SECOND_US &&
            former->server.state == SERVER_UP && !former->server.recovery &&
            former->server_since_us <= w.now_us - ASKED_US)
            broke("10: %d begins epoch %d, and %d feeds %d", m->index, (int)number, former->index,
                  i);
    }
}

static void
check_tails(const struct node *m, const struct node *former, uint64_t number)
{
    for (int i = 0; i < w.members; i++) {
        const struct node *x = &w.member[i];
        const struct agent *a = x->a;
        struct point whole = whole_of(x->spool);

        if (x == m || x == former || !x->agent_up || !x->spool_begun || !m->spool_begun ||
            former == NULL || a->in.forked != LSN_UNKNOWN || a->in.inlet.refuted ||
            a->who.replay.replay == REPLAY_FORKED)
            continue;
        if (point_in(m->spool, x->spool) && !point_in(whole, m->spool) &&
            point_in(whole, former->server.wal))
            broke("15: %d begins epoch %d without what %d has up to " LSN_FORMAT
                  ", it has " LSN_FORMAT,
                  m->index, (int)number, i, LSN_ARGS(whole.lsn), LSN_ARGS(m->spool.lsn));
    }
}

/* The epoch was just written. */
static void
note_begun(struct node *m)
{
    const struct pool *p = &m->a->who.pool;
    struct node *former = former_of(p);

    m->begun_epoch = p->epoch.number;
    m->begun_us = w.now_us;
    m->covered_us = w.now_us - m->a->failover.loss_age_us;
    m->reaches = former != NULL && former != m && is_in_reach(m, former);
    if (m->reaches)
        check_deposed(m, former);
    if (judge_reclaims(p)) /* a DBA's word against all that the present primary has */
        excuse_all_but(m->server.wal);
    if (p->change[p->changes - 1].origin.how != EPOCH_BY_FAILOVER)
        return;
    if (m->spool_begun && !point_in(m->spool, m->server.wal))
        broke("11: %d begins epoch %d, and its PostgreSQL has not all that the spool holds",
              m->index, (int)p->epoch.number);
    if (!m->force)
        check_tails(m, former, p->epoch.number);
    if (!m->force && !m->dead)
        check_alone(m, former, p->epoch.number);
}

/* ---- routes ---- */

void
check_hears(struct node *m, const struct beacon *b)
{
    const struct node *origin = named(m->a->in.receiver.origin);

    if (origin != NULL && origin->server.state == SERVER_UP && !origin->server.recovery &&
        w.now_us - b->mono_us < JUST_US &&
        strcmp(m->a->who.pool.epoch.member, w.config.member[origin->index].name) == 0)
        m->hears_us = w.now_us;
}

static void
check_promised(struct node *m)
{
    const struct pool *p = &m->a->who.pool;
    const struct node *primary = named(p->epoch.member);

    if (epoch_equal(&p->promised, &m->promised_to))
        return;
    m->promised_to = p->promised;
    if (p->promised.number > p->epoch.number && primary != NULL && primary != m &&
        primary->server.state == SERVER_UP && !primary->server.recovery &&
        w.now_us - m->hears_us < JUST_US && w.now_us - m->woke_us > HEARS_US)
        broke("21: %d promises epoch %d, and has heard of %d %.3f s ago", m->index,
              (int)p->promised.number, primary->index, (double)(w.now_us - m->hears_us) / 1e6);
}

static void
check_table(struct node *m)
{
    const struct pool *p = &m->a->who.pool;

    if (epoch_equal(&m->table_of, &p->epoch) && epoch_equal(&m->table.epoch, &p->epoch) &&
        (!epoch_equal(&p->routes.epoch, &p->epoch) || p->routes.number < m->table.number))
        broke("20: %d goes back from table %d to table %d of epoch %d", m->index,
              (int)m->table.number, (int)p->routes.number, (int)p->routes.epoch.number);
}

/* The only primary, which takes writes and ships them; NULL: there is none, or another one. */
static struct node *
only_primary(void)
{
    struct node *p = NULL;

    for (int i = 0; i < w.members; i++) {
        struct node *m = &w.member[i];

        if (!m->agent_up || m->a->who.role != ROLE_PRIMARY)
            continue;
        if (p != NULL)
            return NULL;
        p = m;
    }
    return p;
}

/* Could it feed others, and be fed? */
static bool
is_fit(const struct node *m, const struct node *p)
{
    const struct agent *a = m->a;
    bool good = m->up && agent_works(m) && w.now_us >= m->reads_us && a->who.alarm[0] == '\0' &&
                a->failover.phase == FAILOVER_IDLE && a->who.pool.promised.number == 0 &&
                epoch_equal(&a->who.pool.epoch, &p->a->who.pool.epoch) && w.now_us >= m->full_us;

    if (m == p)
        return good && a->who.ships && m->server.state == SERVER_UP && !m->server.recovery;
    return good && a->who.role == ROLE_STANDBY && !a->in.shut && m->spool_begun &&
           point_in(m->spool, p->server.wal);
}

static bool
is_joined(const struct node *a, const struct node *b, int64_t since_us)
{
    int64_t(*cut)[POOL_MEMBERS] = w.line_since_us;

    return w.now_us >= w.heal_us[a->index][b->index] && w.now_us >= w.heal_us[b->index][a->index] &&
           cut[a->index][b->index] <= since_us && cut[b->index][a->index] <= since_us;
}

static bool
is_at(const struct node *m, const struct node *n)
{
    return strcmp(w.config.member[m->index].site, w.config.member[n->index].site) == 0;
}

/* Nothing is wrong with it, nor with its lines to the primary and to the rest of its site. */
static bool
is_calm(const struct node *m, const struct node *p, int64_t since_us)
{
    for (int i = 0; i < w.members; i++)
        if (&w.member[i] != m && is_at(&w.member[i], m) &&
            (w.member[i].unfit_us > since_us || !is_joined(&w.member[i], m, since_us)))
            return false;
    return m->unfit_us <= since_us && p->unfit_us <= since_us && is_joined(m, p, since_us);
}

/* Hops from the primary by what flows; 0: none leads there, or they go in a circle. */
static int
hops(const struct node *m, const struct node *p)
{
    for (int n = 1; n <= w.members; n++) {
        const struct session *s = live_session(m);
        const struct node *from = s != NULL ? &w.member[s->from] : NULL;

        if (from == NULL || !is_feeding(from, m->index))
            return 0;
        if (from == p)
            return n;
        m = from;
    }
    return 0;
}

static bool
can_be_fed(const struct node *m, const struct node *p)
{
    if (is_joined(m, p, w.now_us))
        return true;
    for (int i = 0; i < w.members; i++) {
        const struct node *by = &w.member[i];

        if (by != m && by != p && is_at(by, m) && by->unfit_us <= w.now_us - FED_US &&
            is_joined(by, p, w.now_us - FED_US) && is_joined(by, m, w.now_us - FED_US))
            return true;
    }
    return false;
}

/* Who cannot save a table tells the one before it. */
static bool
is_beside_a_full_disk(const struct node *m)
{
    for (int i = 0; i < w.members; i++)
        if (is_at(&w.member[i], m) && w.member[i].full_us > w.now_us)
            return true;
    return false;
}

static void
check_fed(struct node *m, const struct node *p)
{
    const struct route *route = routes_of(&p->a->who.pool.routes, w.config.member[m->index].name);
    const struct node *by = route != NULL ? named(route->from) : NULL;

    if (by != NULL && by->unfit_us == w.now_us) { /* named, and only then something was wrong */
        if (by->fit_us > m->unfed_us)
            m->unfed_us = by->fit_us;
        if (by->agent_since_us > m->unfed_us) /* it is there again, with something else */
            m->unfed_us = by->agent_since_us;
    }
    if (hops(m, p) != 0 || m->unfit_us == w.now_us || p->unfit_us == w.now_us ||
        !can_be_fed(m, p) || is_beside_a_full_disk(m))
        m->unfed_us = w.now_us;
    else if (w.now_us - m->unfed_us > FED_US)
        broke("16: %d can be reached, and is fed by nobody for %.1f s: %s", m->index,
              (double)(w.now_us - m->unfed_us) / 1e6, m->a->in.inlet.reason);
}

static void
check_copies(const struct node *m, const struct node *p)
{
    int copies = 0;

    for (int i = 0; i < w.members && !is_at(m, p); i++) {
        if (!is_at(&w.member[i], m))
            continue;
        if (!is_calm(&w.member[i], p, w.now_us - ROUTED_US))
            return;
        copies += is_feeding(p, i);
    }
    if (hops(m, p) > 2)
        broke("17: the WAL of %d comes over %d hops", m->index, hops(m, p));
    if (copies > 1)
        broke("18: %d copies cross to the site of %d", copies, m->index);
}

static bool
is_pinned_at(const struct routes *r, const struct node *m)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->route[i].pinned && is_at(named(r->route[i].member), m))
            return true;
    return false;
}

static void
check_heads(struct node *p)
{
    const struct routes *now = &p->a->who.pool.routes, *before = &p->table;

    if (!epoch_equal(&p->table_of, &p->a->who.pool.epoch))
        return;
    for (size_t i = 0; i < before->count; i++) {
        const struct node *m = named(before->route[i].member);
        const struct route *is = routes_of(now, before->route[i].member);

        if (route_is_head(&before->route[i]) && is != NULL && !route_is_head(is) &&
            !is_pinned_at(now, m) && is_calm(m, p, w.now_us - ROUTED_US))
            broke("19: %d is the head of its site no longer, and nothing is wrong with it",
                  m->index);
    }
}

static void
keep_table(struct node *m)
{
    const struct pool *p = &m->a->who.pool;

    m->table_of = p->epoch;
    m->table = p->routes;
    if (chance(200))
        w.told[draw() % (sizeof w.told / sizeof *w.told)] = p->routes;
}

static void
check_routes(void)
{
    struct node *p = only_primary();

    for (int i = 0; i < w.members; i++) {
        struct node *m = &w.member[i];

        if (p == NULL || !is_fit(m, p))
            m->unfit_us = w.now_us;
        else
            m->fit_us = w.now_us;
        if (p == NULL || m == p)
            m->unfed_us = w.now_us;
        if (m->agent_up)
            check_table(m);
    }
    for (int i = 0; i < w.members && p != NULL; i++)
        if (&w.member[i] != p) {
            check_fed(&w.member[i], p);
            check_copies(&w.member[i], p);
        }
    if (p != NULL)
        check_heads(p);
    for (int i = 0; i < w.members; i++)
        if (w.member[i].agent_up)
            keep_table(&w.member[i]);
}

void
check_member(struct node *m)
{
    const struct pool *p = &m->a->who.pool;

    if (p->step != FAILOVER_NONE && p->epoch.number != m->begun_epoch)
        note_begun(m);
    if (p->step == FAILOVER_NONE && p->epoch.number > m->checked_epoch &&
        strcmp(p->epoch.member, w.config.member[m->index].name) == 0 && !m->server.recovery)
        check_promotion(m);
    for (int i = 0; i < w.forgeries; i++)
        if (epoch_equal(&p->epoch, &w.forged[i]))
            broke("6: %d believes epoch %d, which somebody with a stolen key has made up", m->index,
                  (int)p->epoch.number);
    check_calm(m);
    check_lag(m);
    check_promised(m);
    if (m->a->failover.phase == FAILOVER_IDLE && m->a->in.receiver.shut)
        broke("14: no failover runs on %d, and it takes no WAL", m->index);
    check_loss(m);
    check_torn(m);
    if (m->a->who.role != ROLE_FENCED)
        m->free_us = w.now_us;
    if (!m->a->who.ships || m->a->who.role != ROLE_PRIMARY)
        m->ill_us = w.now_us;
    /* a timeline of a number that the pool has had may be another's: a DBA is needed */
    if (p->step != FAILOVER_PROMOTE || w.now_us < m->full_us || m->server.recovery ||
        m->server.state != SERVER_UP || timeline_of(m->server.wal) <= p->timeline)
        m->calm_since_us = w.now_us;
    else if (w.now_us - m->calm_since_us > 2 * HEARS_US)
        broke("7: %d is promoted, and nobody finishes it", m->index);
}

void
check_pool(void)
{
    check_routes();
    for (int a = 0; a < w.members; a++)
        for (int b = a + 1; b < w.members; b++) {
            const struct node *x = &w.member[a], *y = &w.member[b];
            int64_t since_us = w.now_us - HEARS_US;

            if (x->concierge && y->concierge && x->concierge_us < since_us &&
                y->concierge_us < since_us && w.line_since_us[a][b] < since_us &&
                w.line_since_us[b][a] < since_us && w.now_us >= w.heal_us[a][b] &&
                w.now_us >= w.heal_us[b][a])
                broke("3: clients are sent to %d and to %d", a, b);
        }
}

/* By whom the pool's file names; with all, by each that commits wait for then. */
void
check_told(const struct node *m, const struct commit *c)
{
    static const char *const nobody[] = {"", "no mirror", "no other site", "nobody else",
                                         "not everybody"};
    const enum synchronous mode = w.config.synchronous;
    bool has[] = {true, false, false, false, true};

    for (int i = 0; i < w.members; i++) {
        bool confirmed = (c->confirmed >> i & 1) != 0, mirror = is_at(&w.member[i], m);

        has[SYNCHRONOUS_ALL] &= confirmed || !server_waits_for(m, i);
        if (!confirmed)
            continue;
        if (!point_in(c->at, w.member[i].spool))
            broke("12: the commit of %d at " LSN_FORMAT " is told, and %d has it not", c->member,
                  LSN_ARGS(c->at.lsn), i);
        has[SYNCHRONOUS_MIRROR] |= mirror;
        has[SYNCHRONOUS_SITE] |= !mirror;
        has[SYNCHRONOUS_ANY] = true;
    }
    if (!has[mode])
        broke("12: the commit of %d at " LSN_FORMAT " is told, and %s has it", c->member,
              LSN_ARGS(c->at.lsn), nobody[mode]);
}

/* A failover's commits go on, and those of a pool that degrades. */
void
check_let_go(const struct node *m, const struct commit *c)
{
    if (w.config.synchronous != SYNCHRONOUS_OFF && !w.config.synchronous_degrades &&
        m->a->who.role == ROLE_PRIMARY && m->a->who.pool.step == FAILOVER_NONE)
        broke("12: the commit of %d at " LSN_FORMAT
              " is told, nobody else has it, and the pool waits",
              m->index, LSN_ARGS(c->at.lsn));
}

void
check_confirmed(const struct node *m, struct node *by)
{
    const struct agent *a = by->a;

    if (by->agent_up && a->who.role == ROLE_FENCED && w.now_us - by->free_us > HEARS_US)
        broke("9: a commit of %d counts on %d, which is fenced", m->index, by->index);
    if (!by->agent_up || a->who.alarm[0] != '\0' || by->server.state != SERVER_DOWN ||
        w.now_us - by->agent_since_us <= HEARS_US || w.now_us - by->woke_us <= HEARS_US ||
        w.now_us - by->server_since_us <= HEARS_US ||
        point_in(whole_of(by->server.wal), m->server.wal) ||
        parts_by_bytes(by->server.wal, m->server.wal))
        by->apart_since_us = 0;
    else if (by->apart_since_us == 0)
        by->apart_since_us = w.now_us;
    else if (w.now_us - by->apart_since_us > SETTLED_US) /* more WAL of the pool shows the fork */
        broke("9: a commit of %d counts on %d, whose PostgreSQL has forked and is down", m->index,
              by->index);
}

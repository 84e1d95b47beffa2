/* SPDX-License-Identifier: PostgreSQL */
/* See role.h. */
#include "pool/role.h"

#include "base/clock.h"
#include "base/fail.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SILENT_US    (3 * SECOND_US)  /* on a link where nothing comes, no WAL either */
#define TRIP_US      (SECOND_US / 20) /* an answer's time, besides the line's */
#define RECLAIM_US   (2 * REDIAL_US)  /* of a link that is refused each time */
#define REDIAL_TRIPS 10               /* of a dial, until HELLO is here */
#define WAITS_US     (30 * SECOND_US) /* for who is at the door, or for our disk */
#define WORD_US      (10 * SECOND_US)
#define RESCUE_US    (15 * SECOND_US)
#define PREPARE_US   (30 * SECOND_US)

const char *
role_name(enum role role)
{
    static const char *const name[] = {"unknown", "primary", "standby", "promoting", "fenced"};

    return name[role];
}

bool
judge_first(const struct pool *p, const struct member_facts *self, struct epoch_origin *ret_origin)
{
    struct epoch_origin first = {
        .epoch = {.number = 1}, .timeline = self->timeline, .how = EPOCH_BY_FIRST};

    if (p->epoch.number != 0 || !self->seen || self->in_recovery)
        return false;
    snprintf(first.epoch.member, sizeof first.epoch.member, "%s", self->name);
    *ret_origin = first;
    return true;
}

/* Did its last server take writes on a timeline that the pool has left since? Then it has not
 * rejoined. */
static bool
is_deposed(const struct pool *p, const struct member_facts *self)
{
    if (!self->looked || !self->ran_writable)
        return false;
    if (self->disk_timeline < p->timeline)
        return true;
    for (size_t i = 0; i + 1 < p->changes; i++)
        if (strcmp(p->change[i].origin.epoch.member, self->name) == 0 &&
            self->disk_timeline <= p->change[i].origin.timeline)
            return true;
    return false;
}

/* Does it take writes, or would it when it is started? */
static bool
is_writable(const struct pool *p, const struct member_facts *self)
{
    if (self->looked && !(self->seen && self->up))
        return self->opens_writable || is_deposed(p, self);
    return self->seen && !self->in_recovery;
}

static enum role
judge_role(const struct pool *p, const struct member_facts *self)
{
    if (p->epoch.number == 0)
        return self->seen ? ROLE_STANDBY : ROLE_UNKNOWN; /* a primary has made epoch 1 by now */
    if (p->step != FAILOVER_NONE)
        return ROLE_PROMOTING;
    if (strcmp(p->epoch.member, self->name) == 0)
        return ROLE_PRIMARY;
    return p->left || is_writable(p, self) ? ROLE_FENCED : ROLE_STANDBY;
}

/*
 * Has it left the pool? Its history does not tell for ever: two promotions at one position make the
 * same, and standby.signal is soon made. What lies on disk may be a copy of the primary, unless it is
 * on a timeline that the pool never had.
 */
static bool
judge_left(const struct pool *p, const struct member_facts *self, enum role role)
{
    if (role == ROLE_PRIMARY)
        return false;
    if (p->left || role != ROLE_FENCED)
        return p->left;
    if (self->seen && self->up)
        return !self->in_recovery;
    return self->looked && self->ran_writable && self->disk_timeline > p->timeline;
}

bool
judge_overruled(const struct pool *p, const char *self, const struct epoch *before)
{
    return before->number != 0 && strcmp(before->member, self) == 0 &&
           strcmp(p->epoch.member, self) != 0 && pool_origin(p).how == EPOCH_BY_RESOLVE;
}

bool
judge_may_return(const struct pool *p, const struct member_facts *self)
{
    const struct pool returned = {.timeline = p->timeline};

    return !judge_left(&returned, self, ROLE_FENCED);
}

/* A member that is fenced, and its PostgreSQL does not answer. */
static void
alarm_of_a_start(const struct pool *p, const struct judge_facts *f, char out[ALARM_MAX])
{
    const struct member_facts *self = &f->self;

    if (self->looked ? is_deposed(p, self) : pool_was_primary(p, self->name))
        snprintf(out, ALARM_MAX,
                 "%s is the primary since epoch %" PRIu64
                 "; this member was. Its PostgreSQL must stay down: started, it would take writes "
                 "that will be lost. Make it a standby again: walferry rejoin",
                 p->epoch.member, p->epoch.number);
    else if (self->ran_writable || p->left)
        snprintf(
            out, ALARM_MAX,
            "%s is the primary of epoch %" PRIu64
            ", and PostgreSQL here has taken writes, too. It must stay down: make it a standby "
            "again: walferry rejoin, or walferry seed --replace",
            p->epoch.member, p->epoch.number);
    else
        snprintf(out, ALARM_MAX,
                 "%s is the primary of epoch %" PRIu64
                 ", and PostgreSQL here would take writes, too: there is no standby.signal. Before "
                 "it is started: touch %s/standby.signal",
                 p->epoch.member, p->epoch.number, f->pgdata);
}

/* The first member that says otherwise; NULL: nobody does. */
static const struct told *
find_rival(const struct pool *p, const struct judge_facts *f)
{
    for (size_t i = 0; i < f->others; i++)
        if (f->other[i].told != NULL && judge_news(p, f->self.name, f->other[i].told) == NEWS_RIVAL)
            return f->other[i].told;
    return NULL;
}

static const struct member_facts *
find_claim(const struct judge_facts *f)
{
    for (size_t i = 0; i < f->others; i++)
        if (f->other[i].claim.number != 0)
            return &f->other[i];
    return NULL;
}

/* "a, or b"; "a" when both are one, or there is no epoch yet */
static const char *
either(const struct pool *p, const char *other, char out[2 * MEMBER_NAME_SIZE + 8])
{
    const char *ours = p->epoch.number != 0 ? p->epoch.member : other;

    snprintf(out, 2 * MEMBER_NAME_SIZE + 8, "%s%s%s", ours, strcmp(ours, other) == 0 ? "" : ", or ",
             strcmp(ours, other) == 0 ? "" : other);
    return out;
}

static void
tell_rival(const struct pool *p, const struct told *rival, char out[ALARM_MAX])
{
    const struct epoch *theirs = &rival->change[rival->changes - 1].origin.epoch;
    char members[2 * MEMBER_NAME_SIZE + 8];

    snprintf(out, ALARM_MAX,
             "two primaries: here %s of epoch %" PRIu64
             " on timeline %u is known, and %s says %s of "
             "epoch %" PRIu64 " on timeline %u; neither follows from the other, and nothing is "
             "shipped. Decide which one is right: walferry resolve --primary %s",
             p->epoch.member, p->epoch.number, p->timeline, rival->teller, theirs->member,
             theirs->number, rival->timeline, either(p, theirs->member, members));
}

static void
tell_claim(const struct pool *p, const struct member_facts *m, char out[ALARM_MAX])
{
    char members[2 * MEMBER_NAME_SIZE + 8];

    snprintf(
        out, ALARM_MAX,
        "%s claims to be the primary of epoch %" PRIu64 ", and cannot be asked whether it is "
        "(%.200s): clients are not sent here. Mend the way to it, or say who is right: walferry "
        "resolve --primary %s",
        m->claim.member, m->claim.number, m->claim_why, either(p, m->claim.member, members));
}

static void
judge_alarm(const struct pool *p, const struct judge_facts *f, enum role role, char out[ALARM_MAX])
{
    const struct member_facts *self = &f->self;
    const struct told *rival = find_rival(p, f);

    out[0] = '\0';
    if (f->spool_system_identifier != 0 && self->system_identifier != 0 &&
        self->system_identifier != f->spool_system_identifier)
        snprintf(
            out, ALARM_MAX,
            "another database cluster: PostgreSQL here has system identifier %" PRIu64
            ", the spool %s belongs to "
            "%" PRIu64
            "; nothing is shipped. Put the right data directory back, or begin a new pool with empty "
            "spools on all members",
            self->system_identifier, f->spool, f->spool_system_identifier);
    else if (rival != NULL)
        tell_rival(p, rival, out);
    else if (role == ROLE_FENCED && !self->up)
        alarm_of_a_start(p, f, out);
    else if (role == ROLE_FENCED && !self->in_recovery && pool_was_primary(p, self->name))
        snprintf(
            out, ALARM_MAX,
            "two writable primaries: %s is the primary since epoch %" PRIu64
            ", and the PostgreSQL of this former "
            "primary accepts writes that will be lost; stop it and make it a standby: walferry "
            "rejoin; if %s is gone for good: walferry failover --reclaim",
            p->epoch.member, p->epoch.number, p->epoch.member);
    else if (role == ROLE_FENCED && !self->in_recovery)
        snprintf(
            out, ALARM_MAX,
            "two writable primaries: PostgreSQL here was promoted outside of walferry, but %s is the primary of epoch "
            "%" PRIu64
            ". Make this one a standby: walferry rejoin; or, if %s is gone for good, the "
            "primary: walferry failover --reclaim. What was acknowledged stays in %s",
            p->epoch.member, p->epoch.number, p->epoch.member, f->spool);
    else if (role == ROLE_PRIMARY && self->up && self->in_recovery)
        snprintf(
            out, ALARM_MAX,
            "this member is the primary of epoch %" PRIu64
            ", but its PostgreSQL is in recovery: nobody takes writes, nothing is shipped. To go on as "
            "the primary, here: select pg_promote(). To be a standby: walferry failover --force on the "
            "host of another member",
            p->epoch.number);
    else if (f->replay.replay == REPLAY_FORKED && role == ROLE_PROMOTING && !judge_reclaims(p))
        snprintf(out, ALARM_MAX,
                 "forked: PostgreSQL here was promoted in the middle of the failover to it, by "
                 "somebody else, at " LSN_FORMAT " of timeline %u, and lacks what the spool has "
                 "behind that. To go on with it: select pg_promote() here, then walferry failover, "
                 "which tells what is missing and keeps it; to go back to the former primary: "
                 "walferry failover --reclaim --force on its host",
                 LSN_ARGS(f->replay.fork.lsn), f->replay.fork.timeline);
    else if (f->replay.replay == REPLAY_FORKED && role != ROLE_PROMOTING)
        snprintf(out, ALARM_MAX,
                 "forked: PostgreSQL here has replayed timeline %u up to " LSN_FORMAT
                 ", but parted from %s, the primary, at " LSN_FORMAT
                 ": what lies between is nowhere else, and nothing of the pool is applied here. "
                 "Make it a standby again: walferry rejoin; if %s is gone for good, the primary "
                 "from where it stands: walferry failover --reclaim",
                 f->replay.at.timeline, LSN_ARGS(f->replay.at.lsn), p->epoch.member,
                 LSN_ARGS(f->replay.fork.lsn), p->epoch.member);
    else if (role == ROLE_FENCED)
        snprintf(
            out, ALARM_MAX,
            "PostgreSQL here has taken writes while %s was the primary; standby.signal does "
            "not undo them, and nothing that it replays counts. Make it a standby again: "
            "walferry rejoin; if %s is gone for good, the primary from where it stands: walferry "
            "failover --reclaim",
            p->epoch.member, p->epoch.member);
    else if (!judge_half_promoted(p, self, f->pgdata, out) && role == ROLE_PROMOTING &&
             !f->failover_runs)
        snprintf(
            out, ALARM_MAX,
            "a failover to this member stands at step %d of %d: run walferry failover again, it goes on",
            (int)p->step, (int)FAILOVER_PROMOTE);
}

/* A primary whose server came up while a failover elsewhere has its promise. */
static void
tell_promise(const struct pool *p, char out[ALARM_MAX])
{
    snprintf(out, ALARM_MAX,
             "PostgreSQL was started here while epoch %" PRIu64
             " is promised to %s: nothing is shipped until %s says that no failover runs there. If "
             "%s is gone: walferry failover --break-promise %s on this host",
             p->promised.number, p->promised.member, p->promised.member, p->promised.member,
             p->promised.member);
}

/* Of the primary of the pool: a server that was promoted beside it lacks what that one has. */
static void
judge_missing(const struct judge_facts *f, enum role role, char out[ALARM_MAX])
{
    const struct replay_word *w = &f->replay;

    out[0] = '\0';
    if (w->missing && (role == ROLE_PRIMARY || role == ROLE_PROMOTING))
        snprintf(out, ALARM_MAX,
                 "acknowledged WAL is missing: up to " LSN_FORMAT
                 " of timeline %u was acknowledged here, this PostgreSQL left it at " LSN_FORMAT
                 ". What lies between is kept in %s: walferry lost tells of it, walferry lost "
                 "--discard gives it up and ends this",
                 LSN_ARGS(w->at.lsn), w->at.timeline, LSN_ARGS(w->fork.lsn), f->spool);
}

void
judge_step(const struct pool *p, const struct judge_facts *f, struct judgement *ret_judgement)
{
    const struct member_facts *self = &f->self;
    enum role role = judge_role(p, self);

    ret_judgement->role = role;
    ret_judgement->timeline =
        role == ROLE_PRIMARY && self->seen && !self->in_recovery && self->timeline != 0
            ? self->timeline
            : p->timeline;
    ret_judgement->left = judge_left(p, self, role);
    judge_alarm(p, f, role, ret_judgement->alarm);
    ret_judgement->ships = ret_judgement->alarm[0] == '\0';
    if (ret_judgement->ships && find_claim(f) != NULL)
        tell_claim(p, find_claim(f), ret_judgement->alarm);
    if (ret_judgement->alarm[0] == '\0' && role == ROLE_PRIMARY && self->up &&
        p->promised.number != 0)
        tell_promise(p, ret_judgement->alarm);
    judge_missing(f, role, ret_judgement->missing);
}

/* What the word of that member, or else a claim in its name, has against our epoch; NULL: nothing.
 */
static const struct epoch *
rival_of(const struct pool *p, const char *self, const struct member_facts *m)
{
    if (m->told != NULL && judge_news(p, self, m->told) == NEWS_RIVAL)
        return &m->told->change[m->told->changes - 1].origin.epoch;
    return m->claim.number != 0 ? &m->claim : NULL;
}

int
judge_resolve(const struct pool *p, const struct judge_facts *f, const char *primary,
              struct epoch_origin *ret_origin)
{
    struct epoch_origin o = {.how = EPOCH_BY_RESOLVE, .parent = p->epoch};
    bool claims = strcmp(primary, p->epoch.member) == 0;
    char members[2 * MEMBER_NAME_SIZE + 8];
    size_t rivals = 0;

    o.epoch.number = p->epoch.number;
    for (size_t i = 0; i < f->others; i++) {
        const struct epoch *rival = rival_of(p, f->self.name, &f->other[i]);

        if (rival == NULL || rivals == EPOCH_OVERRULES_MAX)
            continue; /* more of them: the next resolve */
        o.overruled[rivals++] = *rival;
        claims = claims || strcmp(primary, rival->member) == 0;
        /* what somebody may have made up takes no numbers away */
        if (rival->number > o.epoch.number &&
            (rival != &f->other[i].claim || rival->number <= p->epoch.number + NEWS_AHEAD_MAX))
            o.epoch.number = rival->number;
    }
    if (rivals == 0 && claims && pool_origin(p).how == EPOCH_BY_RESOLVE) {
        *ret_origin = pool_origin(p);
        return 1;
    }
    if (rivals == 0)
        return fail(ERR_USAGE, "there is no conflict here: %s is the primary of epoch %" PRIu64,
                    p->epoch.number != 0 ? p->epoch.member : "nobody", p->epoch.number);
    if (!claims)
        return fail(ERR_USAGE, "%s does not claim to be the primary: --primary is %s", primary,
                    either(p, o.overruled[0].member, members));
    if (++o.epoch.number > EPOCH_NUMBER_MAX)
        return fail(ERR_USAGE, "no number is left above the epoch of %s", o.overruled[0].member);
    snprintf(o.epoch.member, sizeof o.epoch.member, "%s", primary);
    *ret_origin = o;
    return 0;
}

enum failover_step
failover_after(enum failover_step step)
{
    return step == FAILOVER_PROMOTE ? FAILOVER_NONE : step + 1;
}

enum failover_step
failover_from(enum failover_step step, bool in_recovery)
{
    return in_recovery && step > FAILOVER_DRAIN ? FAILOVER_DRAIN : step;
}

void
judge_epoch(const struct pool *p, const struct member_facts *self, const struct failover_wish *wish,
            struct epoch_origin *ret_origin)
{
    bool by_word = wish->epoch != 0;
    struct epoch_origin o = {.epoch = {.number = by_word ? wish->epoch : p->epoch.number + 1},
                             .how = by_word ? EPOCH_BY_WORD : EPOCH_BY_FAILOVER};

    snprintf(o.epoch.member, sizeof o.epoch.member, "%s", self->name);
    if (wish->reclaim) {
        o.how = EPOCH_BY_RESOLVE;
        o.overruled[0] = p->epoch;
        o.timeline = o.from = self->timeline;
        o.fork = self->in_recovery ? self->replayed : LSN_UNKNOWN;
    }
    *ret_origin = o;
}

enum reclaim
judge_reclaim(enum role role, enum replay replay, bool in_recovery, bool lacks)
{
    if (role == ROLE_FENCED)
        return in_recovery ? RECLAIM_PROMOTES : RECLAIM_AS_IT_IS;
    return role == ROLE_STANDBY && in_recovery && (replay == REPLAY_FORKED || lacks)
               ? RECLAIM_PROMOTES
               : RECLAIM_NOTHING;
}

bool
judge_reclaims(const struct pool *p)
{
    return p->step != FAILOVER_NONE && pool_origin(p).how == EPOCH_BY_RESOLVE;
}

/* ... of a server that took writes before, and keeps its timeline? */
static bool
reclaims_as_it_is(const struct pool *p)
{
    return judge_reclaims(p) && pool_origin(p).fork == LSN_UNKNOWN;
}

timeline_t
judge_parent(const struct pool *p, timeline_t fed)
{
    return !judge_reclaims(p) && fed != 0 && fed < p->timeline ? fed : p->timeline;
}

bool
judge_promoted(const struct pool *p, const struct member_facts *self)
{
    return p->step == FAILOVER_PROMOTE && self->seen && self->up && !self->in_recovery &&
           (self->timeline > judge_parent(p, self->fed) ||
            (reclaims_as_it_is(p) && self->timeline == p->timeline));
}

bool
judge_half_promoted(const struct pool *p, const struct member_facts *self, const char *pgdata,
                    char ret_why[ALARM_MAX])
{
    bool up = self->seen && self->up;
    bool writes = up ? !self->in_recovery : self->looked && self->opens_writable;
    timeline_t timeline = up ? self->timeline : self->disk_timeline;

    if (p->step == FAILOVER_NONE || reclaims_as_it_is(p) || !writes ||
        timeline > judge_parent(p, self->fed))
        return false;
    if (up)
        snprintf(
            ret_why, ALARM_MAX,
            "PostgreSQL here takes writes on timeline %u, as the former primary did: it was killed "
            "in the middle of its promotion, or opened without one. It is no primary: nobody could "
            "tell its WAL from the other's. Stop it, touch %s/standby.signal, start it, and run "
            "walferry failover again. The former primary then needs walferry rejoin --replace",
            timeline, pgdata);
    else
        snprintf(ret_why, ALARM_MAX,
                 "PostgreSQL here is down in the middle of its promotion: there is no "
                 "standby.signal, and it would take writes on timeline %u, as the former primary "
                 "did. Before it is started: touch %s/standby.signal; start it then, and run "
                 "walferry failover again%s",
                 timeline, pgdata,
                 self->ran_writable ? ". The former primary then needs walferry rejoin --replace"
                                    : "");
    return true;
}

/* Is there no agent, by what was not heard? */
static bool
is_silent(const struct primary_facts *f, const struct failover_wish *wish)
{
    int64_t trip_us = TRIP_US + 2 * f->round_trip_us;
    int64_t redial_us = wish->reclaim ? RECLAIM_US : REDIAL_US;
    bool waits = f->behind || (f->arrives && !wish->dead);

    if (f->unheard && !f->arrives)
        return true;
    if (waits && f->asked_us < WAITS_US)
        return false;
    if (f->linked)
        return f->asked_us >= trip_us && f->quiet_us >= (wish->dead ? trip_us : SILENT_US);
    return wish->dead || wish->rescue_failed ||
           f->quiet_us >= redial_us + REDIAL_TRIPS * f->round_trip_us;
}

enum failover_answer
judge_answer(const struct primary_facts *f, const struct failover_wish *wish)
{
    enum failover_answer unless_forced =
        wish->force || wish->dry_run ? ANSWER_GO_ON : ANSWER_REFUSE;

    if (!f->answered && f->unproven)
        return f->word_us < WORD_US && f->asked_us < WAITS_US ? ANSWER_WAIT : unless_forced;
    if (!f->answered && !is_silent(f, wish))
        return f->asked_us < WAITS_US || f->word_us < WAITS_US ? ANSWER_WAIT : unless_forced;
    if (!f->answered)
        return wish->rescue_failed ? unless_forced : ANSWER_GO_ON;
    switch (f->word) {
    case PONG_POSTGRES_ANSWERS:
        return unless_forced;
    case PONG_POSTGRES_DEAD:
        if (wish->rescue_failed)
            return unless_forced;
        return f->rescued || wish->dry_run || wish->reclaim ? ANSWER_GO_ON : ANSWER_RESCUE;
    case PONG_POSTGRES_UNKNOWN:
    case PONG_POSTGRES_STARTING:
    case PONG_POSTGRES_STOPPING:
    case PONG_POSTGRES_SILENT:
        break;
    }
    return wish->dry_run || f->word_us >= WORD_US ? unless_forced : ANSWER_WAIT;
}

static bool
is_alive(enum pong_postgres word)
{
    return word != PONG_POSTGRES_DEAD && word != PONG_POSTGRES_UNKNOWN;
}

enum rescue
judge_rescue(const struct rescue_facts *f, const struct failover_wish *wish)
{
    bool stalled = f->stalled_us >= RESCUE_US;

    if (f->linked && is_alive(f->word))
        return RESCUE_REVIVED;
    if (f->ended && !f->done)
        return RESCUE_FAILED;
    if (f->ended && f->durable)
        return RESCUE_DONE;
    if (f->linked && f->renewed && !f->ended)
        return RESCUE_ASK;
    if (stalled && f->linked && !f->ended && !wish->force)
        return RESCUE_SLOW;
    return stalled ? RESCUE_FAILED : RESCUE_WAIT;
}

enum prepared
judge_prepared(const struct prepare_facts *f, const struct failover_wish *wish)
{
    if (f->asked && !f->may_promote)
        return PREPARED_NO_PROMOTE;
    if (f->asked && !f->may_resume && f->replay_paused)
        return PREPARED_NO_RESUME;
    if (f->asked && !f->may_reload && f->synchronous && !wish->force)
        return PREPARED_NO_RELOAD;
    if (f->asked && (!f->may_make_slots || f->slots_lacking > 0) && !wish->force)
        return PREPARED_NO_SLOTS;
    if (f->asked && f->walsenders_lacking > 0 && !wish->force)
        return PREPARED_NO_WALSENDERS;
    if (f->asked && f->flushed)
        return PREPARED;
    return f->stalled_us >= PREPARE_US ? PREPARED_STALLED : PREPARED_NOT_YET;
}

const char *
judge_concierge(const struct concierge_facts *f)
{
    if (f->role != ROLE_PRIMARY)
        return "this member is not the primary";
    if (f->alarm[0] != '\0')
        return f->alarm;
    if (!f->answers)
        return "PostgreSQL here does not answer";
    if (f->young && !f->peer_heard)
        return "this agent was started a moment ago and has not heard yet whether another member "
               "was promoted meanwhile";
    return f->in_recovery ? "PostgreSQL here is in recovery" : NULL;
}

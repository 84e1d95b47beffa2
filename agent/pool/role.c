/* SPDX-License-Identifier: PostgreSQL */
/* See role.h. */
#include "pool/role.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *
role_name(enum role role)
{
    static const char *const name[] = {"unknown", "primary", "standby", "promoting", "fenced"};

    return name[role];
}

bool
judge_first(const struct pool *p, const struct member_facts *self, struct epoch_origin *ret_origin)
{
    struct epoch_origin first = {.epoch = {.number = 1}, .timeline = self->timeline};

    if (p->epoch.number != 0 || !self->seen || self->in_recovery)
        return false;
    snprintf(first.epoch.member, sizeof first.epoch.member, "%s", self->name);
    *ret_origin = first;
    return true;
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
    return self->seen && !self->in_recovery ? ROLE_FENCED : ROLE_STANDBY;
}

/* Another claimant of the pool's epoch; NULL: there is none. */
static const struct epoch *
find_rival(const struct pool *p, const struct judge_facts *f)
{
    for (size_t i = 0; i < f->others; i++) {
        const struct epoch *claim = &f->other[i].claim;

        if (claim->number != 0 && claim->number >= p->epoch.number)
            return claim;
    }
    return NULL;
}

static void
judge_alarm(const struct pool *p, const struct judge_facts *f, enum role role, char out[ALARM_MAX])
{
    const struct member_facts *self = &f->self;
    const struct epoch *rival = find_rival(p, f);

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
        snprintf(out, ALARM_MAX,
                 "two primaries: epoch %" PRIu64
                 " is claimed by %s and by %s; nothing is shipped. Decide which one is "
                 "right, stop the other's PostgreSQL and agent, and make it a standby again",
                 p->epoch.number, p->epoch.member, rival->member);
    else if (role == ROLE_FENCED && !self->up)
        snprintf(out, ALARM_MAX,
                 "%s is the primary since epoch %" PRIu64
                 "; this member was. Its PostgreSQL is down: make it a "
                 "standby again: walferry rejoin",
                 p->epoch.member, p->epoch.number);
    else if (role == ROLE_FENCED && pool_was_primary(p, self->name))
        snprintf(
            out, ALARM_MAX,
            "two writable primaries: %s is the primary since epoch %" PRIu64
            ", and the PostgreSQL of this former "
            "primary accepts writes that will be lost; stop it and make it a standby: walferry "
            "rejoin",
            p->epoch.member, p->epoch.number);
    else if (role == ROLE_FENCED)
        snprintf(
            out, ALARM_MAX,
            "two writable primaries: PostgreSQL here was promoted outside of walferry, but %s is the primary of epoch "
            "%" PRIu64 ". What was acknowledged stays in %s. Stop one of them now",
            p->epoch.member, p->epoch.number, f->spool);
    else if (role == ROLE_PRIMARY && self->up && self->in_recovery)
        snprintf(
            out, ALARM_MAX,
            "pool.state says that this member is the primary, but its PostgreSQL is in recovery; nothing is "
            "shipped. Was it rebuilt as a standby? Then remove %s/pool.state and restart this agent",
            f->spool);
    else if (role == ROLE_PROMOTING && !f->failover_runs)
        snprintf(
            out, ALARM_MAX,
            "a failover to this member stands at step %d of %d: run walferry failover again, it goes on",
            (int)p->step, (int)FAILOVER_PROMOTE);
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
    judge_alarm(p, f, role, ret_judgement->alarm);
}

enum news
judge_news(const struct pool *p, const struct epoch_origin *told)
{
    switch (pool_judge(p, &told->epoch)) {
    case POOL_SAME:
    case POOL_LOWER:
        break;
    case POOL_CONFLICT:
        return NEWS_RIVAL;
    case POOL_HIGHER:
        return told->timeline != 0 && told->timeline <= p->timeline ? NEWS_UNBELIEVED : NEWS_EPOCH;
    }
    return NEWS_NONE;
}

enum claim
judge_claim(const struct pool *p, const char *from, const struct epoch *epoch,
            enum refuse_kind *ret_kind, char ret_reason[FRAME_REASON_MAX])
{
    bool speaks_for_itself = strcmp(from, epoch->member) == 0;

    *ret_kind = REFUSE_OPERATOR;
    switch (pool_judge(p, epoch)) {
    case POOL_LOWER:
        *ret_kind = REFUSE_EPOCH;
        snprintf(ret_reason, FRAME_REASON_MAX,
                 "epoch %" PRIu64 " is over: %s is the primary since epoch %" PRIu64
                 "; stop the PostgreSQL of %s and bring it back as a standby",
                 epoch->number, p->epoch.member, p->epoch.number, from);
        break;
    case POOL_CONFLICT:
        *ret_kind = REFUSE_CONFLICT;
        snprintf(ret_reason, FRAME_REASON_MAX,
                 "two primaries: epoch %" PRIu64 " is claimed by %s here and by %s there",
                 epoch->number, p->epoch.member, epoch->member);
        break;
    case POOL_SAME:
        if (speaks_for_itself)
            return CLAIM_GOOD;
        snprintf(ret_reason, FRAME_REASON_MAX,
                 "%s is not the primary of epoch %" PRIu64 ", %s is: nothing is taken from it",
                 from, epoch->number, epoch->member);
        break;
    case POOL_HIGHER:
        if (speaks_for_itself)
            return CLAIM_HIGHER;
        snprintf(ret_reason, FRAME_REASON_MAX, "%s tells of an epoch of %s: only a primary may",
                 from, epoch->member);
        break;
    }
    return CLAIM_REFUSED;
}

enum failover_step
failover_after(enum failover_step step)
{
    return step == FAILOVER_PROMOTE ? FAILOVER_NONE : step + 1;
}

enum failover_answer
judge_answer(enum pong_postgres word, const struct failover_wish *wish)
{
    switch (word) {
    case PONG_POSTGRES_ANSWERS:
        return wish->force || wish->dry_run ? ANSWER_GO_ON : ANSWER_REFUSE;
    case PONG_POSTGRES_DEAD:
        return wish->rescue_failed || wish->dry_run ? ANSWER_GO_ON : ANSWER_RESCUE;
    case PONG_POSTGRES_SILENT:
        return ANSWER_GO_ON;
    case PONG_POSTGRES_UNKNOWN:
        break;
    }
    return ANSWER_WAIT;
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

/* SPDX-License-Identifier: PostgreSQL */
/* What the judge decides by. */
#include "daemon/agent.h"

struct judge_facts
facts_gather(const struct agent *a, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(a->who.postgres);
    struct judge_facts facts = {
        .self = {.name = a->who.self->name,
                 .seen = s != NULL,
                 .up = postgres_state(a->who.postgres) == POSTGRES_UP,
                 .in_recovery = s != NULL && s->in_recovery,
                 .timeline = s != NULL ? s->timeline : 0,
                 .fed = a->in.spool.timeline,
                 .system_identifier = postgres_identity(a->who.postgres)->system_identifier,
                 .looked = a->looked,
                 .opens_writable = a->start.opens_writable,
                 .ran_writable = a->start.ran_writable,
                 .disk_timeline = a->start.timeline},
        .spool = a->in.spool.path,
        .pgdata = a->who.self->pgdata,
        .spool_system_identifier = a->in.spool.identity.system_identifier,
        .failover_runs = a->failover.phase != FAILOVER_IDLE,
        .replay = a->who.replay};

    for (size_t i = 0; i < a->asks.count; i++) {
        const struct ask *q = &a->asks.ask[i];
        struct member_facts *m = &facts.other[facts.others++];

        m->name = q->to->name;
        m->told = q->told.changes > 0 ? &q->told : NULL;
        m->claim_why = q->reason[0] != '\0' ? q->reason : "no answer yet";
        if (ask_unconfirmed(q, now_us))
            m->claim = q->claim.epoch;
    }
    return facts;
}

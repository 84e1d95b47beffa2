/* SPDX-License-Identifier: PostgreSQL */
/* See own_slots.h. */
#include "jobs/own_slots.h"

#include "jobs/primary.h"

#include "base/fail.h"

/* What a version does not know of a slot is null in its JSON. */
#define LOGICAL                                                                                    \
    "from pg_catalog.pg_replication_slots s, to_jsonb(s) json where slot_type = 'logical' "

static void
drop_links_slots(struct job *j, PGconn *here)
{
    char text[64];

    if (primary_ask(here,
                    "select count(pg_drop_replication_slot(slot_name)) from pg_replication_slots "
                    "where slot_name like 'walferry\\_%' and not active",
                    text, sizeof text) < 0)
        job_say(j, "the slots of %s as a primary are not dropped: %s", j->self->name,
                fail_message());
}

static bool
primary_has(PGconn *primary, const char *slot)
{
    PGresult *r = primary == NULL ? NULL
                                  : primary_query(primary,
                                                  "select 1 " LOGICAL "and slot_name = $1 "
                                                  "and json ->> 'failover' = 'true'",
                                                  slot);
    bool has = PQntuples(r) == 1;

    PQclear(r);
    return has;
}

static void
settle(struct job *j, PGconn *here, PGconn *primary, const char *slot)
{
    PGresult *r;

    if (!primary_has(primary, slot)) {
        job_say(j,
                "logical slot %s of its time as a primary keeps WAL here; when nobody reads it on "
                "%s: select pg_drop_replication_slot('%s')",
                slot, j->self->name, slot);
        return;
    }
    r = PQexecParams(here, "select pg_catalog.pg_drop_replication_slot($1)", 1, NULL, &slot, NULL,
                     NULL, 0);
    if (PQresultStatus(r) == PGRES_TUPLES_OK)
        job_say(j,
                "logical slot %s of its time as a primary is dropped: that of the primary is "
                "synchronized instead",
                slot);
    else
        job_say(j,
                "logical slot %s of its time as a primary is in the way of the synchronization of "
                "that of the primary; on %s: select pg_drop_replication_slot('%s') (%s)",
                slot, j->self->name, slot, PQerrorMessage(here));
    PQclear(r);
}

void
own_slots_settle(struct divergence *p)
{
    PGconn *here = PQconnectdb(p->job->self->postgres);
    PGresult *r;

    drop_links_slots(p->job, here);
    r = PQexec(here, "select slot_name " LOGICAL "and not temporary and not active "
                     "and json ->> 'synced' is distinct from 'true' order by 1");
    if (PQntuples(r) > 0 && divergence_connect(p) < 0)
        job_say(p->job, "%s", fail_message());
    for (int i = 0; i < PQntuples(r); i++)
        settle(p->job, here, p->connection, PQgetvalue(r, i, 0));
    PQclear(r);
    PQfinish(here);
}

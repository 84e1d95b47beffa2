/* SPDX-License-Identifier: PostgreSQL */
/*
 * validate, settings that are about slots: what lets the slot of a link go, for which slots logical
 * ones wait, and which logical ones survive a role change.
 */
#include "validate/query.h"
#include "validate/subject.h"

#include "base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYNCHRONIZED "synchronized_standby_slots"

static void
check_timeout(struct validation *v)
{
    const char *seconds = validate_setting(v, "idle_replication_slot_timeout");

    if (atol(seconds) == 0)
        return;
    validate_say(v, READY_WARN,
                 "idle_replication_slot_timeout is %s s: a line that is cut for longer costs the "
                 "slot of the link and the WAL that it keeps",
                 seconds);
    validate_remedy(v, "alter system reset idle_replication_slot_timeout, and select "
                       "pg_reload_conf(); pg_wal_reserve bounds what slots keep");
}

/* The disk guard moves what a slot keeps into the outbox; PostgreSQL would lose it. */
static void
check_limit(struct validation *v)
{
    const char *at = validate_setting(v, "max_slot_wal_keep_size");
    long long mb = atoll(at);
    uint64_t bytes = (uint64_t)mb << 20, wanted = v->config->slot_retain_max_bytes;
    char limit[24], shown[24];

    if (at[0] == '\0' || mb < 0 || bytes >= wanted)
        return;
    validate_say(v, READY_WARN,
                 "max_slot_wal_keep_size is %s, less than slot_retain_max (%s): a line that is "
                 "cut for long costs a slot before the outbox has its WAL",
                 text_bytes(limit, sizeof limit, bytes), text_bytes(shown, sizeof shown, wanted));
    validate_remedy(v, "alter system reset max_slot_wal_keep_size, and select pg_reload_conf(); "
                       "pg_wal_reserve bounds what slots keep");
}

static bool
of_another_member(const struct validation *v, const char *slot)
{
    char name[SLOT_NAME_SIZE];

    for (size_t i = 0; i < v->config->members; i++) {
        config_slot_name(name, v->config->member[i].name);
        if (&v->config->member[i] != v->self && strcmp(slot, name) == 0)
            return true;
    }
    return false;
}

/* What synchronized_standby_slots has to be here: one slot per other member. */
static void
say_wanted(struct validation *v)
{
    struct list wanted = {0};

    for (size_t i = 0; i < v->config->members; i++) {
        char name[SLOT_NAME_SIZE];

        config_slot_name(name, v->config->member[i].name);
        if (&v->config->member[i] != v->self)
            validate_list_add(&wanted, name);
    }
    validate_remedy(v, "alter system set " SYNCHRONIZED " = %s, and select pg_reload_conf()",
                    wanted.text);
}

static void
check_synchronized(struct validation *v)
{
    const char *at = validate_setting(v, SYNCHRONIZED);
    struct list strangers = {0};

    while (*(at += strspn(at, ", \t\"")) != '\0') {
        size_t length = strcspn(at, ", \t\"");
        char slot[64];

        snprintf(slot, sizeof slot, "%.*s", (int)length, at);
        if (!of_another_member(v, slot))
            validate_list_add(&strangers, slot);
        at += length;
    }
    if (strangers.count == 0)
        return;
    validate_say(v, READY_WARN,
                 SYNCHRONIZED " names %s, which is the slot of no other member: as long as it is "
                              "not confirmed, logical slots with failover, and a shutdown, wait",
                 strangers.text);
    say_wanted(v);
}

/* Without the setting a subscriber can be ahead of the standby that becomes its publisher. */
static void
check_failover_slots(struct validation *v)
{
    PGresult *rows;

    if (v->conn == NULL || validate_setting(v, SYNCHRONIZED)[0] != '\0')
        return;
    rows = validate_ask(v, v->conn,
                        "select slot_name from pg_replication_slots s, to_jsonb(s) json"
                        " where json ->> 'failover' = 'true' order by 1");
    if (PQntuples(rows) > 0) {
        validate_say(v, READY_WARN,
                     "logical slot %s is to survive a failover, but " SYNCHRONIZED " is empty: its "
                     "subscriber may get what no other member has yet",
                     PQgetvalue(rows, 0, 0));
        say_wanted(v);
    }
    PQclear(rows);
}

/* Logical slots of this server, as JSON: what a version does not know of a slot is null there. */
#define LOGICAL                                                                                    \
    "select slot_name from pg_replication_slots s, to_jsonb(s) json"                               \
    " where slot_type = 'logical' and not temporary and "

/* Names for another member's report, and for a line. */
static void
collect(struct validation *v, const char *query, json_t *names, struct list *list)
{
    PGresult *rows = validate_ask(v, v->conn, query);

    for (int i = 0; i < PQntuples(rows); i++) {
        json_array_append_new(names, json_string(PQgetvalue(rows, i, 0)));
        validate_list_add(list, PQgetvalue(rows, i, 0));
    }
    PQclear(rows);
}

static void
check_survivors(struct validation *v)
{
    bool can = atol(validate_setting(v, "server_version_num")) >= 170000;
    json_t *names = json_array();
    struct list with = {0}, without = {0};

    if (v->conn != NULL && v->primary) {
        collect(v, LOGICAL "json ->> 'failover' is distinct from 'true' order by 1", names,
                &without);
        json_array_clear(names);
        collect(v, LOGICAL "json ->> 'failover' = 'true' order by 1", names, &with);
        json_object_set(v->facts, "failover_slots", names);
    } else if (v->conn != NULL) {
        collect(v, LOGICAL "json ->> 'synced' = 'true' and wal_status <> 'lost' order by 1", names,
                &with);
        json_object_set(v->facts, "synced_slots", names);
    }
    json_decref(names);
    if (without.count == 0)
        return;
    validate_say(v, READY_WARN,
                 "logical slot %s does not survive a role change: what its subscriber has not got "
                 "by then is lost to it%s",
                 without.text, can ? "" : ", for PostgreSQL synchronizes slots from 17 on");
    validate_remedy(v,
                    can ? "on the subscriber, while the subscription is disabled: alter "
                          "subscription ... set (failover = true)"
                        : "after a role change: make the slot anew, and the subscriber's tables; "
                          "or move to PostgreSQL 17 or later");
}

/* What synchronization needs on a standby, where it is on. */
static void
check_synchronization(struct validation *v)
{
    char slot[SLOT_NAME_SIZE], wanted[160];
    const char *conninfo = validate_setting(v, "primary_conninfo");

    if (v->primary || !validate_is(v, "sync_replication_slots", "on"))
        return;
    config_slot_name(slot, v->self->name);
    snprintf(wanted, sizeof wanted, "user=%s dbname=%s", v->config->slot_sync_user,
             v->config->slot_sync_database);
    if (strstr(conninfo, wanted) == NULL) {
        validate_say(v, READY_WARN,
                     "sync_replication_slots is on, but primary_conninfo does not name the role "
                     "and database that the relay leads to the primary: %s",
                     wanted);
        validate_remedy(v,
                        "alter system set primary_conninfo = 'host=%s port=5432 %s', and select "
                        "pg_reload_conf()",
                        v->self->run, wanted);
    }
    if (!validate_is(v, "primary_slot_name", slot)) {
        validate_say(v, READY_WARN,
                     "sync_replication_slots is on, but primary_slot_name is '%s', not this "
                     "member's slot on the primary",
                     validate_setting(v, "primary_slot_name"));
        validate_remedy(v, "alter system set primary_slot_name = '%s', and select pg_reload_conf()",
                        slot);
    }
    if (!validate_is(v, "hot_standby_feedback", "on")) {
        validate_say(v, READY_WARN,
                     "sync_replication_slots is on, but hot_standby_feedback is not: nothing is "
                     "synchronized");
        validate_remedy(v, "alter system set hot_standby_feedback = on, and select "
                           "pg_reload_conf()");
    }
}

void
validate_slot_settings(struct validation *v)
{
    size_t before = json_array_size(v->checks);

    check_timeout(v);
    check_limit(v);
    check_synchronized(v);
    check_failover_slots(v);
    check_survivors(v);
    check_synchronization(v);
    if (json_array_size(v->checks) == before)
        validate_say(v, READY_OK, "no setting lets a slot go or makes logical ones wait for ever");
}

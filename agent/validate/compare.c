/* SPDX-License-Identifier: PostgreSQL */
/*
 * validate, by comparison: what shows only when the facts of two members lie side by side. Pure:
 * reports in, lines added to the reports. A line goes to the member that has to be changed. Facts
 * that a member did not tell (its PostgreSQL is down, it could not be asked) are not compared, and
 * a line says so.
 */
#include "validate/fault.h"
#include "validate/subject.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REASON_SIZE 700

/* The member that is judged, and the other one. */
struct pair {
    json_t *checks;
    const char *name, *other;
    const json_t *facts, *others;
    bool other_is_primary;
};

static void __attribute__((format(printf, 5, 6)))
say(const struct pair *p, const char *check, enum readiness result, const char *remedy,
    const char *format, ...)
{
    char reason[REASON_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    validate_add(p->checks, check, result, reason, remedy);
}

static const char *
text(const json_t *facts, const char *key)
{
    return json_string_value(json_object_get(facts, key));
}

/* Did both members tell this fact, and differently? */
static bool
differs(const struct pair *p, const char *key, const char **ret_mine, const char **ret_theirs)
{
    *ret_mine = text(p->facts, key);
    *ret_theirs = text(p->others, key);
    return *ret_mine != NULL && *ret_theirs != NULL && strcmp(*ret_mine, *ret_theirs) != 0;
}

static bool
setting_differs(const struct pair *p, const char *key, const char **ret_mine,
                const char **ret_theirs)
{
    struct pair settings = *p;

    settings.facts = json_object_get(p->facts, "settings");
    settings.others = json_object_get(p->others, "settings");
    return differs(&settings, key, ret_mine, ret_theirs);
}

static void
compare_installation(const struct pair *p)
{
    const char *mine, *theirs;
    json_int_t major = json_integer_value(json_object_get(p->facts, "major")),
               other_major = json_integer_value(json_object_get(p->others, "major"));

    if (differs(p, "system_identifier", &mine, &theirs))
        say(p, "same cluster", READY_FAIL, "walferry seed, on the one that is wrong",
            "another database cluster: %s has system identifier %s, %s has %s", p->name, mine,
            p->other, theirs);
    if (major != 0 && other_major != 0 && major != other_major)
        say(p, "same version", READY_FAIL, "one major version on all members",
            "PostgreSQL %d here, %d on %s: WAL does not pass between them", (int)major,
            (int)other_major, p->other);
    else if (setting_differs(p, "server_version", &mine, &theirs))
        say(p, "same version", READY_WARN, "the same minor version on all members, standbys first",
            "PostgreSQL %s here, %s on %s", mine, theirs, p->other);
    if (differs(p, "walferry", &mine, &theirs))
        say(p, "same version", READY_WARN, "the same version of walferry on all members",
            "walferry %s here, %s on %s", mine, theirs, p->other);
    if (differs(p, "config", &mine, &theirs))
        say(p, "same config", READY_WARN,
            "bring the pool's file to the same bytes on all members, and restart the agents",
            "the pool's file differs from that of %s", p->other);
    if (differs(p, "glibc", &mine, &theirs) &&
        (text(p->facts, "sorts_by") != NULL || text(p->others, "sorts_by") != NULL))
        say(p, "same collations", READY_WARN,
            "one release of the OS on all members; else reindex text after a role change",
            "glibc %s here, %s on %s: text may be sorted otherwise, and indexes be wrong", mine,
            theirs, p->other);
}

static void
compare_faults(const struct pair *p)
{
    const char *mine = text(json_object_get(p->facts, "settings"), "server_version"),
               *theirs = text(json_object_get(p->others, "settings"), "server_version");
    long version = mine != NULL ? fault_version(mine) : 0,
         other = theirs != NULL ? fault_version(theirs) : 0;
    const struct fault *f;
    char remedy[160];
    size_t n = 0;
    int mended;

    if (version == 0 || other == 0)
        return;
    while ((f = fault_next(&n, version, other, &mended)) != NULL) {
        snprintf(remedy, sizeof remedy, "install the newest minor on %s; release notes of %ld.%d",
                 p->name, version / 10000, mended);
        say(p, "same version", p->other_is_primary ? f->result : READY_WARN, remedy,
            "PostgreSQL %s as a standby of %s (%s) %s", mine, p->other, theirs, f->what);
    }
}

/* A standby stops when one of these settings is lower than the primary's. */
static void
compare_capacity(const struct pair *p)
{
    static const char *const names[] = {"max_connections", "max_worker_processes",
                                        "max_wal_senders", "max_prepared_transactions",
                                        "max_locks_per_transaction"};
    const char *mine, *theirs;
    char remedy[160];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!setting_differs(p, names[i], &mine, &theirs) || atol(mine) >= atol(theirs))
            continue;
        snprintf(remedy, sizeof remedy, "%s = %s on %s, and restart it", names[i], theirs, p->name);
        if (p->other_is_primary)
            say(p, "capacity", READY_FAIL, remedy,
                "%s is %s here and %s on the primary: this standby stops, or does not start again",
                names[i], mine, theirs);
        else
            say(p, "capacity", READY_WARN, remedy,
                "%s is %s here and %s on %s: with that one as the primary, this one would stop",
                names[i], mine, theirs, p->other);
    }
}

static void
compare_settings(const struct pair *p)
{
    const char *mine, *theirs;

    if (setting_differs(p, "archive_mode", &mine, &theirs))
        say(p, "archive", READY_WARN, "the same archive_mode on all members",
            "archive_mode is %s here, %s on %s: archiving would change with the role", mine, theirs,
            p->other);
    if (setting_differs(p, "shared_preload_libraries", &mine, &theirs))
        say(p, "libraries", READY_WARN, "the same shared_preload_libraries on all members",
            "shared_preload_libraries is '%s' here, '%s' on %s", mine, theirs, p->other);
    if (setting_differs(p, "output_plugin_libraries", &mine, &theirs))
        say(p, "libraries", READY_WARN, "the same output_plugin_libraries on all members",
            "output_plugin_libraries is '%s' here, '%s' on %s: logical slots that work on one are "
            "refused on the other after a role change",
            mine, theirs, p->other);
}

static void
compare_tablespaces(const struct pair *p)
{
    json_t *mine = json_object_get(p->facts, "tablespaces"), *path;
    const char *name;
    char remedy[REASON_SIZE];

    if (mine == NULL)
        return;
    json_object_foreach (json_object_get(p->others, "tablespaces"), name, path) {
        if (json_object_get(mine, name) != NULL)
            continue;
        snprintf(remedy, sizeof remedy, "install -d -m 700 -o postgres %s, on the host of %s",
                 json_string_value(path), p->name);
        say(p, "tablespaces", READY_FAIL, remedy, "tablespace %s of %s (%s) is not here", name,
            p->other, json_string_value(path));
    }
}

/* A member is compared with itself, too: its host must have what its database uses. */
static void
compare_extensions(const struct pair *p)
{
    json_t *available = json_object_get(p->facts, "available"), *database;
    const char *name;

    if (available == NULL)
        return;
    json_object_foreach (json_object_get(p->others, "extensions"), name, database) {
        if (json_object_get(available, name) == NULL)
            say(p, "extensions", READY_FAIL, "install its package on this host",
                "extension %s, used in database %s on %s, is not installed on this host", name,
                json_string_value(database), p->other);
    }
}

/* A slot that the primary's has, and the standby has not (or not whole yet), ends with a failover. */
static void
compare_slots(const struct pair *p)
{
    json_t *synced = json_object_get(p->facts, "synced_slots"), *slot, *mine;
    size_t i, j;

    if (synced == NULL || !p->other_is_primary)
        return;
    json_array_foreach (json_object_get(p->others, "failover_slots"), i, slot) {
        bool here = false;

        json_array_foreach (synced, j, mine)
            here |= json_equal(slot, mine);
        if (!here)
            say(p, "logical slots", READY_WARN,
                "sync_replication_slots = on; else the log of PostgreSQL here says what it waits "
                "for",
                "logical slot %s of %s is not synchronized here: with a failover to this member "
                "its subscriber would lose what it has not got",
                json_string_value(slot), p->other);
    }
}

static void
compare_pair(const struct pair *p)
{
    size_t before = json_array_size(p->checks);

    compare_extensions(p);
    if (p->facts == p->others)
        return;
    if (json_object_size(p->others) == 0) {
        say(p, "compared", READY_WARN, "walferry validate, when it can be asked",
            "nothing here was compared with %s", p->other);
        return;
    }
    compare_installation(p);
    compare_faults(p);
    compare_capacity(p);
    compare_settings(p);
    compare_tablespaces(p);
    compare_slots(p);
    if (json_array_size(p->checks) == before)
        say(p, "compared", READY_OK, NULL, "nothing that matters differs from %s", p->other);
}

void
validate_compare(json_t *members)
{
    json_t *member, *other;
    size_t i, j;

    json_array_foreach (members, i, member) {
        json_t *facts = json_object_get(member, "facts");

        if (json_object_size(facts) == 0)
            continue;
        json_array_foreach (members, j, other) {
            const char *role = text(other, "role");
            struct pair p = {.checks = json_object_get(member, "checks"),
                             .name = text(member, "member"),
                             .other = text(other, "member"),
                             .facts = facts,
                             .others = json_object_get(other, "facts"),
                             .other_is_primary = role != NULL && strcmp(role, "primary") == 0};

            compare_pair(&p);
        }
    }
}

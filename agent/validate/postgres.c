/* SPDX-License-Identifier: PostgreSQL */
/*
 * validate, by PostgreSQL: what the server of this host says of itself, asked as the agents' role
 * with the agent's conninfo. A server that is down is asked with its programs for the settings that
 * it would start with: it may be down for one of them.
 */
#include "control/show.h"
#include "pool/role.h"
#include "validate/fault.h"
#include "validate/query.h"
#include "validate/subject.h"

#include "base/durable.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *
validate_version(long number)
{
    if (number < POSTGRES_MAJOR_MIN * 10000L)
        return "it is too old";
    return number >= (POSTGRES_MAJOR_MAX + 1) * 10000L ? "walferry was not tried with it" : NULL;
}

static bool
check_faults(struct validation *v, long number)
{
    const struct fault *f;
    size_t n = 0;
    int mended;
    bool found = false;

    for (; (f = fault_next(&n, number, 0, &mended)) != NULL; found = true) {
        validate_say(v, f->result, "PostgreSQL %s: %s", validate_setting(v, "server_version"),
                     f->what);
        if (mended == FAULT_NEVER)
            validate_remedy(v, "move to one of 15 to %d", POSTGRES_MAJOR_MAX);
        else
            validate_remedy(v, "install the newest minor; release notes of %ld.%d", number / 10000,
                            mended);
    }
    return found;
}

static void
check_version(struct validation *v)
{
    long number = atol(validate_setting(v, "server_version_num"));
    const char *wrong = validate_version(number);

    if (wrong == NULL && check_faults(v, number))
        return;
    validate_say(v, wrong != NULL ? READY_FAIL : READY_OK, "PostgreSQL %s%s%s",
                 validate_setting(v, "server_version"), wrong != NULL ? " is not supported: " : "",
                 wrong != NULL ? wrong : "");
    if (wrong != NULL)
        validate_remedy(v, "install the newest minor version of 15 to %d", POSTGRES_MAJOR_MAX);
}

/* As in the gate of the tunnel, which refuses a role that is powerful or in a powerful role. */
#define IS_IN "exists (select from pg_roles g where pg_has_role(pg_roles.oid, g.oid, 'member') and "
#define POWERFUL                                                                                   \
    "(g.rolsuper or g.rolcreaterole or "                                                           \
    "g.rolname in ('pg_execute_server_program', 'pg_write_server_files'))"

static void
check_rights(struct validation *v)
{
    static const char query[] =
        "select rolreplication, pg_has_role(oid, 'pg_monitor', 'usage'),"
        " has_function_privilege(oid, 'pg_promote(boolean,integer)', 'execute')"
        " and has_function_privilege(oid, 'pg_wal_replay_resume()', 'execute')"
        " and has_function_privilege(oid, 'pg_reload_conf()', 'execute'),"
        " " IS_IN POWERFUL ")"
        " from pg_roles where rolname = current_user";
    static const char *const wanted[] = {
        "alter role %s replication", "grant pg_monitor to %s",
        "grant execute on function pg_promote, pg_wal_replay_resume, pg_reload_conf to %s"};
    PGresult *rows = validate_ask(v, v->conn, query);
    bool lacks = false;

    for (int i = 0; rows != NULL && i < 3; i++) {
        char remedy[160];

        if (PQgetvalue(rows, 0, i)[0] == 't')
            continue;
        lacks = true;
        validate_say(v, READY_FAIL, "the role %s lacks a right that the agent needs",
                     PQuser(v->conn));
        snprintf(remedy, sizeof remedy, "%.*s%s, on the primary", (int)(strlen(wanted[i]) - 2),
                 wanted[i], PQuser(v->conn));
        validate_remedy(v, "%s", remedy);
    }
    if (rows != NULL && PQgetvalue(rows, 0, 3)[0] == 't') {
        validate_say(v, READY_WARN,
                     "the role %s is a superuser, makes roles or runs programs, or is in one that "
                     "does: the copy of seed passes no tunnel",
                     PQuser(v->conn));
        validate_remedy(v, "alter role %s nosuperuser nocreaterole, or revoke what leads there",
                        PQuser(v->conn));
        lacks = true;
    }
    if (rows != NULL && !lacks)
        validate_say(v, READY_OK, "the role %s may stream, watch and promote", PQuser(v->conn));
    PQclear(rows);
}

/* Others come through a tunnel, also while this is a standby. */
static bool
lets_in(struct validation *v, const char *role, const char *database, const char *else_what)
{
    const char *const names[] = {"host", "port", "user", "dbname", "connect_timeout", NULL};
    const char *const values[] = {PQhost(v->conn), PQport(v->conn), role, database, "5", NULL};
    PGconn *conn = PQconnectdbParams(names, values, 0);
    bool in = PQstatus(conn) == CONNECTION_OK;

    if (!in) {
        validate_say(v, READY_WARN, "the PostgreSQL here does not let %s in, %s: %s", role,
                     else_what, PQerrorMessage(conn));
        validate_remedy(v, "here, in pg_hba.conf: local all %s peer map=walferry", role);
    }
    PQfinish(conn);
    return in;
}

/* How seed and rejoin get to the primary: the role, and on a standby also a connection. */
static void
check_tunnel(struct validation *v)
{
    const char *const role[] = {v->config->tunnel_user};
    const char *const names[] = {"host", "port", "user", "dbname", "connect_timeout", NULL};
    char host[sizeof v->self->run + 16];
    /* within TUNNEL_WAIT_US at each hop the tunnel says why it leads nowhere */
    const char *const values[] = {host, "5432", v->config->tunnel_user, "postgres", "25", NULL};
    PGresult *rows = PQexecParams(
        v->conn,
        "select 1 from pg_roles where rolname = $1 and rolcanlogin"
        " and not " IS_IN "(g.rolreplication or " POWERFUL "))"
        " and has_function_privilege(oid, 'pg_ls_dir(text,boolean,boolean)', 'execute')"
        " and has_function_privilege(oid, 'pg_stat_file(text,boolean)', 'execute')"
        " and has_function_privilege(oid, 'pg_read_binary_file(text)', 'execute')"
        " and has_function_privilege(oid, 'pg_read_binary_file(text,bigint,bigint,boolean)', 'execute')",
        1, NULL, role, NULL, NULL, 0);
    bool right = PQntuples(rows) == 1;
    PGconn *conn;

    PQclear(rows);
    if (!right) {
        validate_say(
            v, READY_WARN,
            "there is no role %s with the rights of seed and rejoin, and no more: neither would work",
            role[0]);
        validate_remedy(
            v,
            "on the primary: create role %s login (or alter role %s noreplication nosuperuser "
            "nocreaterole); grant execute on function "
            "pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean), "
            "pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean) to %s",
            role[0], role[0], role[0]);
    }
    snprintf(host, sizeof host, "%s/tunnel", v->self->run);
    conn = v->primary ? NULL : PQconnectdbParams(names, values, 0);
    if (conn != NULL && PQstatus(conn) != CONNECTION_OK) {
        validate_say(v, READY_WARN, "no way to the primary's PostgreSQL: %s", PQerrorMessage(conn));
        validate_remedy(v,
                        "the link must be up; on the primary, in pg_hba.conf: local all "
                        "%s peer map=walferry",
                        role[0]);
    } else if (right &&
               lets_in(v, role[0], "postgres", "no other member could seed or rejoin from it")) {
        validate_say(v, READY_OK, "the role %s has its rights%s", role[0],
                     conn != NULL ? ", and gets to the primary" : "");
    }
    PQfinish(conn);
}

/* As whom a standby synchronizes its slots, where that is a role of its own. */
static void
check_slot_sync(struct validation *v)
{
    const char *role = v->config->slot_sync_user;
    PGresult *rows;
    bool right;

    if (strcmp(role, v->config->tunnel_user) == 0)
        return;
    rows = PQexecParams(v->conn,
                        "select 1 from pg_roles where rolname = $1 and rolcanlogin"
                        " and not " IS_IN "(g.rolreplication or " POWERFUL "))",
                        1, NULL, &role, NULL, NULL, 0);
    right = PQntuples(rows) == 1;
    PQclear(rows);
    if (!right) {
        validate_say(v, READY_WARN,
                     "slot_sync_user is %s, and there is no such role that may log in and no "
                     "more: no standby could synchronize its logical slots",
                     role);
        validate_remedy(v,
                        "on the primary: create role %s login (or alter role %s login "
                        "noreplication nosuperuser nocreaterole)",
                        role, role);
    } else if (lets_in(v, role, v->config->slot_sync_database,
                       "no standby could synchronize its logical slots")) {
        validate_say(v, READY_OK, "the role %s may log in to %s, and no more", role,
                     v->config->slot_sync_database);
    }
}

/* IDENTIFY_SYSTEM is how the link of a new primary begins. */
static void
check_streaming(struct validation *v)
{
    PGconn *conn = validate_connect(v, NULL, true);
    PGresult *result = PQstatus(conn) == CONNECTION_OK ? PQexec(conn, "IDENTIFY_SYSTEM") : NULL;

    if (PQresultStatus(result) == PGRES_TUPLES_OK) {
        validate_say(v, READY_OK, "PostgreSQL lets the agent stream");
    } else {
        validate_say(v, READY_FAIL, "the agent could not stream from here: %s",
                     PQerrorMessage(conn));
        validate_remedy(v, "in pg_hba.conf: local replication %s peer map=walferry",
                        PQuser(v->conn));
    }
    PQclear(result);
    PQfinish(conn);
}

static void
check_wal_level(struct validation *v)
{
    bool right = validate_is(v, "wal_level", "replica") || validate_is(v, "wal_level", "logical");

    validate_say(v, right ? READY_OK : READY_FAIL, "wal_level is %s",
                 validate_setting(v, "wal_level"));
    if (!right)
        validate_remedy(v, "alter system set wal_level = 'replica', and restart");
}

/* How many of the other members have their slot here already. */
static int
own_slots(const struct validation *v, const PGresult *rows)
{
    int own = 0;

    for (size_t i = 0; i < v->config->members; i++) {
        char name[SLOT_NAME_SIZE];

        config_slot_name(name, v->config->member[i].name);
        for (int row = 0; row < PQntuples(rows); row++)
            own += &v->config->member[i] != v->self && strcmp(PQgetvalue(rows, row, 0), name) == 0;
    }
    return own;
}

static void
check_slots(struct validation *v)
{
    PGresult *rows =
        validate_ask(v, v->conn, "select slot_name, wal_status from pg_replication_slots");
    int max = atoi(validate_setting(v, "max_replication_slots")), free, need;

    if (rows == NULL)
        return;
    free = max - PQntuples(rows);
    need = (int)v->config->members - 1 - own_slots(v, rows);
    validate_say(v, free < need ? READY_FAIL : READY_OK,
                 "%d of %d replication slots are free, the other members need %d more", free, max,
                 need);
    if (free < need)
        validate_remedy(v,
                        "drop what nobody uses (select slot_name from pg_replication_slots where "
                        "not active), or alter system set max_replication_slots = %d, and restart",
                        max + need);
    for (int row = 0; row < PQntuples(rows); row++) {
        if (strcmp(PQgetvalue(rows, row, 1), "lost") != 0)
            continue;
        validate_say(v, READY_WARN, "slot %s has lost WAL that its user needed",
                     PQgetvalue(rows, row, 0));
        validate_remedy(v, "select pg_drop_replication_slot('%s')", PQgetvalue(rows, row, 0));
    }
    PQclear(rows);
}

static void
check_walsenders(struct validation *v)
{
    PGresult *rows =
        validate_ask(v, v->conn,
                     "select count(*) from pg_stat_activity where backend_type = 'walsender'"
                     " and not starts_with(application_name, 'walferry_')");
    int max = atoi(validate_setting(v, "max_wal_senders")), need = (int)v->config->members - 1,
        free;

    if (rows == NULL)
        return;
    free = max - atoi(PQgetvalue(rows, 0, 0));
    validate_say(v,
                 free < need       ? READY_FAIL
                 : free < need + 1 ? READY_WARN
                                   : READY_OK,
                 "%d of %d walsenders are free for us, links need %d, a new copy one more", free,
                 max, need);
    if (free < need + 1)
        validate_remedy(v, "alter system set max_wal_senders = %d, and restart", max + need + 1);
    PQclear(rows);
}

static void
check_rewind(struct validation *v)
{
    bool hints = validate_is(v, "data_checksums", "on") || validate_is(v, "wal_log_hints", "on");

    if (!hints) {
        validate_say(
            v, READY_WARN,
            "neither data checksums nor wal_log_hints: after a failover this member cannot "
            "be rewound, it needs a whole new copy");
        validate_remedy(v, "alter system set wal_log_hints = on, and restart");
    } else if (!validate_is(v, "full_page_writes", "on")) {
        validate_say(v, READY_WARN,
                     "full_page_writes is off: a crash can tear pages, and pg_rewind refuses");
        validate_remedy(v, "alter system set full_page_writes = on, and select pg_reload_conf()");
    } else {
        validate_say(v, READY_OK, "%s, full_page_writes: pg_rewind can bring it back",
                     validate_is(v, "data_checksums", "on") ? "data checksums" : "wal_log_hints");
    }
}

static void
check_fsync(struct validation *v)
{
    if (validate_is(v, "fsync", "on")) {
        validate_say(v, READY_OK, "fsync is on");
        return;
    }
    validate_say(v, READY_FAIL, "fsync is off: a crash of this host can destroy the database");
    validate_remedy(v, "alter system set fsync = on, and select pg_reload_conf()");
}

static void
check_recovery(struct validation *v)
{
    static const char *const targets[] = {"recovery_target", "recovery_target_lsn",
                                          "recovery_target_name", "recovery_target_time",
                                          "recovery_target_xid"};
    bool right = validate_is(v, "recovery_target_timeline", "latest");

    if (!right) {
        validate_say(v, READY_FAIL,
                     "recovery_target_timeline is '%s': it would not follow a new primary",
                     validate_setting(v, "recovery_target_timeline"));
        validate_remedy(v, "recovery_target_timeline = 'latest', and restart");
    }
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        if (validate_setting(v, targets[i])[0] == '\0')
            continue;
        right = false;
        validate_say(v, READY_FAIL, "%s is set: recovery would end there", targets[i]);
        validate_remedy(v, "remove %s from the settings, and restart", targets[i]);
    }
    if (!validate_is(v, "hot_standby", "on")) {
        right = false;
        validate_say(v, READY_FAIL,
                     "hot_standby is off: the agent cannot promote what it cannot ask");
        validate_remedy(v, "hot_standby = on, and restart");
    }
    if (right)
        validate_say(v, READY_OK, "a standby here follows the latest timeline, to its end");
}

/* A failover waits until all that the spool holds is flushed, and resumes replay. */
static void
check_standby(struct validation *v)
{
    PGresult *rows = v->primary
                         ? NULL
                         : validate_ask(v, v->conn,
                                        "select pg_is_wal_replay_paused(), exists (select "
                                        "from pg_stat_wal_receiver where status = 'streaming')");

    if (rows == NULL)
        return;
    if (PQgetvalue(rows, 0, 1)[0] != 't') {
        validate_say(v, READY_WARN,
                     "it does not stream: a failover is refused while the spool has what it lacks");
        validate_remedy(v, "look at the log of PostgreSQL, and whether the agent here runs");
    } else if (PQgetvalue(rows, 0, 0)[0] == 't') {
        validate_say(v, READY_WARN,
                     "its replay is paused: a failover has to replay the rest first");
        validate_remedy(v, "select pg_wal_replay_resume()");
    } else {
        validate_say(v, READY_OK, "it streams and replays");
    }
    PQclear(rows);
}

/* The host of a conninfo, as libpq reads it; "": none. */
static void
conninfo_host(const char *conninfo, char *out, size_t size)
{
    PQconninfoOption *parsed = PQconninfoParse(conninfo, NULL);

    out[0] = '\0';
    for (const PQconninfoOption *o = parsed; o != NULL && o->keyword != NULL; o++)
        if (strcmp(o->keyword, "host") == 0 && o->val != NULL)
            snprintf(out, size, "%s", o->val);
    PQconninfoFree(parsed);
}

static void
check_sources(struct validation *v)
{
    const char *restore = validate_setting(v, "restore_command");
    char host[256], member[MEMBER_NAME_SIZE + 16];
    bool right = true;

    if (v->primary) {
        validate_say(v, READY_OK, "primary_conninfo and restore_command are written by rejoin");
        return;
    }
    conninfo_host(validate_setting(v, "primary_conninfo"), host, sizeof host);
    snprintf(member, sizeof member, "--member %s", v->self->name);
    if (strcmp(host, v->self->run) != 0) {
        right = false;
        validate_say(v, READY_FAIL, "primary_conninfo names %s, not the agent beside it",
                     host[0] != '\0' ? host : "no host");
        validate_remedy(
            v,
            "primary_conninfo = 'host=%s port=5432 user=%s dbname=%s', and select pg_reload_conf()",
            v->self->run, v->config->slot_sync_user, v->config->slot_sync_database);
    }
    if (strstr(restore, "walferry") == NULL || strstr(restore, " fetch ") == NULL ||
        (strstr(restore, "--member") != NULL && strstr(restore, member) == NULL)) {
        right = false;
        validate_say(v, READY_WARN,
                     "restore_command does not fetch from this member's spool: WAL that the relay "
                     "no longer has is not found");
        validate_remedy(v,
                        "restore_command = 'walferry fetch --config %s --member %s \"%%f\" \"%%p\" "
                        "|| exit 1', and select pg_reload_conf()",
                        v->config->file, v->self->name);
    } else if (strstr(restore, "|| exit 1") == NULL) {
        right = false;
        validate_say(v, READY_WARN,
                     "restore_command does not end in '|| exit 1': when walferry cannot be run, "
                     "the standby stops");
        validate_remedy(v, "put || exit 1 behind it, and select pg_reload_conf()");
    }
    if (right)
        validate_say(v, READY_OK, "primary_conninfo and restore_command lead to the agent here");
}

static void
check_synchronous(struct validation *v)
{
    const char *names = validate_setting(v, "synchronous_standby_names"),
               *file = validate_setting(v, "synchronous_standby_names in");
    char ours[sizeof v->self->spool + 16];

    snprintf(ours, sizeof ours, "%s/walferry.conf", v->self->spool);
    if (names[0] != '\0' && strcmp(file, ours) != 0) {
        validate_say(v, READY_FAIL,
                     "synchronous_standby_names is set in %s: after a failover commits would wait "
                     "for ever, for the agent can only empty its own file",
                     file[0] != '\0' ? file : "a place that is not the agent's");
        validate_remedy(v, "remove it there; synchronous in %s does it", v->config->file);
    } else {
        validate_say(v, READY_OK, "synchronous_standby_names is %s",
                     names[0] != '\0' ? "the agent's" : "empty");
    }
}

static void
check_archive(struct validation *v)
{
    PGresult *rows =
        validate_ask(v, v->conn,
                     "select coalesce(last_failed_wal, ''), coalesce(last_failed_time >"
                     " coalesce(last_archived_time, '-infinity'), false) from pg_stat_archiver");
    bool none = validate_setting(v, "archive_command")[0] == '\0' &&
                validate_setting(v, "archive_library")[0] == '\0';

    if (rows == NULL)
        return;
    if (validate_is(v, "archive_mode", "off")) {
        validate_say(v, READY_OK, "archive_mode is off");
    } else if (none) {
        validate_say(v, READY_WARN,
                     "archive_mode is %s without an archive_command: as a primary it keeps all WAL "
                     "until pg_wal is full",
                     validate_setting(v, "archive_mode"));
        validate_remedy(v, "alter system set archive_command = '...', and select pg_reload_conf()");
    } else if (PQgetvalue(rows, 0, 1)[0] == 't') {
        validate_say(v, READY_WARN, "archiving fails, last for %s: pg_wal grows",
                     PQgetvalue(rows, 0, 0));
        validate_remedy(v, "select * from pg_stat_archiver, and the log of PostgreSQL");
    } else {
        validate_say(v, READY_OK, "archive_mode is %s", validate_setting(v, "archive_mode"));
    }
    PQclear(rows);
}

/* From 19 on. Set for a connection, or a role, it is somebody's own; here it is everybody's. */
static void
check_shutdown(struct validation *v)
{
    validate_rows(
        v,
        "select setting || ' ms' from pg_settings"
        " where name = 'wal_sender_shutdown_timeout' and setting::int8 >= 0",
        READY_WARN, "a clean stop waits until its WAL is shipped",
        "wal_sender_shutdown_timeout is set for all: a clean stop leaves WAL unshipped after ",
        "alter system reset wal_sender_shutdown_timeout, and select pg_reload_conf()");
}

static void
check_restart(struct validation *v)
{
    validate_rows(v, "select name from pg_settings where pending_restart order by 1", READY_WARN,
                  "no setting waits for a restart",
                  "changed in the files, but in force only after a restart: ",
                  "restart this PostgreSQL at a good moment, not in the middle of a role change");
}

/* Settings for comparison with other members: none that may hold a secret. */
static const char *const told[] = {"max_connections",           "max_worker_processes",
                                   "max_wal_senders",           "max_prepared_transactions",
                                   "max_locks_per_transaction", "archive_mode",
                                   "shared_preload_libraries",  "server_version",
                                   "output_plugin_libraries"}; /* which older minors lack */
#define TOLD (sizeof told / sizeof *told)

static void
tell_settings(struct validation *v)
{
    json_t *settings = json_object();

    for (size_t i = 0; i < TOLD; i++)
        json_object_set(settings, told[i], json_object_get(v->settings, told[i]));
    json_object_set_new(v->facts, "settings", settings);
}

/* The options with which the server was started last: postmaster.opts has each in quotes. */
static size_t
last_start(const struct validation *v, char *text, size_t size, const char **words, size_t max)
{
    char *at, *end;
    size_t count = 0;
    int dir;

    if (durable_dir(v->self->pgdata, &dir) < 0)
        return 0;
    if (durable_load(dir, "postmaster.opts", text, size) < 0)
        text[0] = '\0';
    durable_close(dir);
    for (at = strchr(text, '"'); at != NULL && count < max; at = strchr(end + 1, '"')) {
        end = strchr(at + 1, '"');
        if (end == NULL)
            break;
        *end = '\0';
        words[count++] = at + 1;
    }
    return count;
}

/* The settings that the server would start with: it may be down for one of them. */
static void
tell_settings_of_files(struct validation *v)
{
    char text[4096], value[TOOL_LINE_SIZE];
    const char *argv[32] = {"postgres"};
    json_t *settings = json_object();
    size_t n = 1 + last_start(v, text, sizeof text, argv + 1, 26);

    for (size_t i = 0; i < TOLD && n > 1; i++) {
        argv[n] = "-c"; /* what it logs of its files would stand among the values */
        argv[n + 1] = "log_min_messages=fatal";
        argv[n + 2] = "-C";
        argv[n + 3] = told[i];
        if (validate_tool(v, argv, value) == 0)
            json_object_set_new(settings, told[i], json_string(value));
    }
    json_object_set_new(v->facts, "settings", settings);
}

static bool
read_settings(struct validation *v)
{
    PGresult *rows =
        validate_ask(v, v->conn,
                     "select name, setting from pg_settings union all"
                     " select name || ' in', sourcefile from pg_settings"
                     " where name = 'synchronous_standby_names' and sourcefile is not null");
    PGresult *recovery =
        rows == NULL ? NULL : validate_ask(v, v->conn, "select pg_is_in_recovery()");

    for (int i = 0; rows != NULL && i < PQntuples(rows); i++)
        json_object_set_new(v->settings, PQgetvalue(rows, i, 0),
                            json_string(PQgetvalue(rows, i, 1)));
    v->primary = recovery != NULL && PQgetvalue(recovery, 0, 0)[0] == 'f';
    PQclear(rows);
    PQclear(recovery);
    return recovery != NULL;
}

static bool
reach(struct validation *v)
{
    v->check = "postgres";
    v->conn = validate_connect(v, NULL, false);
    if (PQstatus(v->conn) == CONNECTION_OK) {
        validate_say(v, READY_OK, "PostgreSQL answers the role %s", PQuser(v->conn));
        return read_settings(v);
    }
    validate_say(v, READY_FAIL, "PostgreSQL does not answer, what it would say is unknown: %s",
                 PQerrorMessage(v->conn));
    if (strcmp(show_word(v->status, "role", ""), role_name(ROLE_FENCED)) == 0)
        validate_remedy(v, "leave it down: see the alarm of the agent");
    else
        validate_remedy(v, "%s; or correct postgres of [member %s], pg_hba.conf, pg_ident.conf",
                        v->self->start[0] != '\0' ? v->self->start : "pg_ctl start", v->self->name);
    PQfinish(v->conn);
    v->conn = NULL;
    return false;
}

void
validate_postgres(struct validation *v)
{
    static const struct check checks[] = {
        {"version", check_version},
        {"rights", check_rights},
        {"streaming", check_streaming},
        {"tunnel", check_tunnel},
        {"slot sync", check_slot_sync},
        {"wal_level", check_wal_level},
        {"slots", check_slots},
        {"slot settings", validate_slot_settings},
        {"walsenders", check_walsenders},
        {"rewind", check_rewind},
        {"fsync", check_fsync},
        {"recovery", check_recovery},
        {"sources of WAL", check_sources},
        {"standby", check_standby},
        {"synchronous", check_synchronous},
        {"archive", check_archive},
        {"shutdown", check_shutdown},
        {"restart", check_restart},
    };

    if (!reach(v)) {
        tell_settings_of_files(v);
        return;
    }
    tell_settings(v);
    validate_run(v, checks, sizeof checks / sizeof *checks);
}

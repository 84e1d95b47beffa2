/* SPDX-License-Identifier: PostgreSQL */
/*
 * postgres: one asynchronous libpq connection to the PostgreSQL beside this agent.
 *
 * In comes one row per sample; out go the last sample, the server's state and the end of a command.
 * It promises never to block: a query that takes over 5 s loses its connection. It refuses nothing:
 * what goes wrong is a state with a reason. The server's words may be in any language: what they
 * mean is told by their SQLSTATE wherever there is one.
 */
#include "postgres/postgres.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_US (5 * SECOND_US)
#define RETRY_US  (500 * MILLISECOND_US)

enum work { WORK_NONE, WORK_CONNECT, WORK_FACTS, WORK_SAMPLE, WORK_FLUSH, WORK_COMMAND };

struct postgres {
    char conninfo[512];
    PGconn *conn;
    PostgresPollingStatusType polling;
    enum work work;
    int64_t work_us; /* when it began */
    int64_t due_us;  /* next attempt or sample */
    bool write_pending;
    enum postgres_state state;
    char reason[512];
    struct identity identity;
    struct postgres_sample sample, coming;
    bool sampled;
    PGresult *result;      /* of the query that runs */
    char said_sqlstate[6]; /* between queries, unasked: why the session ends */
    char said[400];
    enum postgres_command command; /* that waits or runs, if one is asked */
    char query[1024];
    bool asked, done, failed, force_flush;
    char error[640];
    char answer[64];
};

#define OURS                                                                                       \
    "slot_type = 'physical' and pg_catalog.starts_with(slot_name::pg_catalog.text, 'walferry_')"

/* Everything a sample needs in one row. Columns that older servers lack are asked for by JSON. */
static const char sample_query[] =
    "select pg_catalog.pg_is_in_recovery(),"
    " case when pg_catalog.pg_is_in_recovery() then null else pg_catalog.pg_current_wal_insert_lsn() end,"
    " case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_receive_lsn()"
    "  else pg_catalog.pg_current_wal_flush_lsn() end,"
    " pg_catalog.pg_last_wal_replay_lsn(),"
    " case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_is_wal_replay_paused() else false end,"
    " pg_catalog.current_setting('synchronous_standby_names'),"
    " case when pg_catalog.pg_is_in_recovery()"
    "  then pg_catalog.lpad(pg_catalog.to_hex(greatest((select timeline_id from pg_catalog.pg_control_checkpoint()),"
    "   (select received_tli from pg_catalog.pg_stat_get_wal_receiver()))), 8, '0')"
    "  else pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8) end,"
    " (select pg_catalog.string_agg(slot_name || ' ' || active || ' ' || coalesce(wal_status, '-') || ' ' ||"
    "   coalesce(restart_lsn::pg_catalog.text, '0/0') || ' ' ||"
    "   (xmin is not null or catalog_xmin is not null) || ' ' ||"
    "   coalesce(json ->> 'invalidation_reason', '-') || ' ' ||"
    "   coalesce(extract(epoch from pg_catalog.clock_timestamp()"
    "    - (json ->> 'inactive_since')::pg_catalog.timestamptz)::pg_catalog.int8, -1), ',')"
    "  from pg_catalog.pg_replication_slots s, pg_catalog.to_jsonb(s) json where " OURS "),"
    " (select redo_lsn from pg_catalog.pg_control_checkpoint()),"
    " (select slot_name || ' ' || restart_lsn::pg_catalog.text"
    "  from pg_catalog.pg_replication_slots"
    "  where not (" OURS ") and wal_status in ('reserved', 'extended')"
    "  order by restart_lsn limit 1)," /* any other has lost its WAL, or will at a checkpoint */
    " pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_keep_size')),"
    " pg_catalog.current_setting('archive_mode') <> 'off',"
    /* each of one row: the file may be written between two calls */
    " (select checkpoint_lsn::pg_catalog.text || ' ' || timeline_id from pg_catalog.pg_control_checkpoint()),"
    " (select min_recovery_end_lsn::pg_catalog.text || ' ' || min_recovery_end_timeline"
    "  from pg_catalog.pg_control_recovery()),"
    " extract(epoch from pg_catalog.current_setting('idle_replication_slot_timeout', true)"
    "  ::pg_catalog.interval)::pg_catalog.int8";

/* The greatest power of the role itself and of every role that it is in, directly or not; the role
 * itself first. */
static const char role_query[] =
    "select (select max(case when g.rolreplication then '1' else '0' end) || max(case"
    " when r.rolsuper then '3' || r.rolname when g.rolsuper then '3' || g.rolname"
    " when g.rolname in ('pg_execute_server_program', 'pg_write_server_files')"
    " then '2' || g.rolname when g.rolcreaterole then '1' || g.rolname else '0' end)"
    " from pg_catalog.pg_roles r join pg_catalog.pg_roles g"
    " on pg_catalog.pg_has_role(r.oid, g.oid, 'member') where r.rolname = %s)";
static const char ready_query[] =
    "select concat(has_function_privilege('pg_promote(boolean,integer)', 'execute'),"
    " has_function_privilege('pg_wal_replay_resume()', 'execute'),"
    " has_function_privilege('pg_reload_conf()', 'execute'),"
    " (select rolsuper or rolreplication from pg_roles where rolname = current_user), ' ',"
    " current_setting('max_replication_slots')::int4 - (select count(*) from pg_replication_slots), ' ',"
    " current_setting('max_wal_senders')::int4 - (select count(*) from pg_stat_replication))";
static const char force_flush_query[] = "begin; select pg_catalog.pg_current_xact_id(); rollback";

/* The first query sets search_path to pg_catalog: it has no operator, for one of another schema
 * could be found. */
static const char facts_query[] =
    "select (pg_catalog.pg_control_system()).system_identifier,"
    " pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')),"
    " pg_catalog.set_config('search_path', 'pg_catalog', false)";

struct postgres *
postgres_new(const char *conninfo)
{
    struct postgres *p = calloc(1, sizeof *p);

    if (p == NULL)
        return NULL;
    snprintf(p->conninfo, sizeof p->conninfo, "%s application_name=walferry", conninfo);
    return p;
}

static void
disconnect(struct postgres *p, int64_t now_us)
{
    PQclear(p->result);
    p->result = NULL;
    PQfinish(p->conn);
    p->conn = NULL;
    p->work = WORK_NONE;
    p->due_us = now_us + RETRY_US;
    p->said_sqlstate[0] = p->said[0] = '\0';
    p->write_pending = p->force_flush = false;
    if (p->asked) {
        p->asked = false;
        p->done = p->failed = true;
        snprintf(p->error, sizeof p->error, "the connection to PostgreSQL was lost meanwhile: %s",
                 p->reason);
    }
}

void
postgres_free(struct postgres *p)
{
    if (p == NULL)
        return;
    disconnect(p, 0);
    free(p);
}

static int
set_state(struct postgres *p, enum postgres_state state, const char *reason)
{
    bool news = p->state != state;

    p->state = state;
    snprintf(p->reason, sizeof p->reason, "%s", reason);
    return news;
}

static const char *
one_line(const char *message, char *out, size_t size)
{
    return text_escape(out, size, message, strcspn(message, "\n"));
}

/* The state of a server that closed or refused the connection. For a refused one libpq has no
 * SQLSTATE field: the code is in the verbose message. */
static enum postgres_state
state_behind(const struct postgres *p, const char *sqlstate, const char *message)
{
    if (strcmp(sqlstate, "57P01") == 0 || strstr(message, "57P01: ") != NULL)
        return POSTGRES_STOPPING;
    if (strcmp(sqlstate, "57P03") != 0 && strstr(message, "57P03: ") == NULL)
        return POSTGRES_DOWN;
    if (strstr(message, "shutting down") != NULL)
        return POSTGRES_STOPPING;
    if (strstr(message, "starting up") != NULL || strstr(message, "recovery mode") != NULL)
        return POSTGRES_STARTING;
    /* in another language: a server that was up before is on its way down */
    return p->state == POSTGRES_UP || p->state == POSTGRES_STOPPING ? POSTGRES_STOPPING
                                                                    : POSTGRES_STARTING;
}

/* The connection is lost: close it. The server's own last message counts before libpq's. */
static int
lost(struct postgres *p, int64_t now_us)
{
    const char *sqlstate =
        p->result != NULL ? PQresultErrorField(p->result, PG_DIAG_SQLSTATE) : NULL;
    const char *message = p->conn != NULL ? PQerrorMessage(p->conn) : "out of memory";
    char text[400];
    int news;

    if (sqlstate != NULL) {
        message = PQresultErrorMessage(p->result);
    } else if (p->said_sqlstate[0] != '\0') {
        sqlstate = p->said_sqlstate;
        message = p->said;
    }
    news = set_state(p, state_behind(p, sqlstate != NULL ? sqlstate : "", message),
                     one_line(message, text, sizeof text));
    disconnect(p, now_us);
    return news;
}

/* Outside of a query, an error that ends the session comes as a notice. */
static void
take_notice(void *context, const PGresult *notice)
{
    struct postgres *p = context;
    const char *sqlstate = PQresultErrorField(notice, PG_DIAG_SQLSTATE);

    if (sqlstate == NULL || strncmp(sqlstate, "57P", 3) != 0)
        return;
    snprintf(p->said_sqlstate, sizeof p->said_sqlstate, "%s", sqlstate);
    one_line(PQresultErrorMessage(notice), p->said, sizeof p->said);
}

static int
send_query(struct postgres *p, enum work work, const char *query, int64_t now_us)
{
    if (PQsendQuery(p->conn, query) != 1)
        return lost(p, now_us);
    p->work = work;
    p->work_us = now_us;
    p->write_pending = true;
    return 0;
}

static bool
take_lsn(const PGresult *r, int field, lsn_t *ret_lsn)
{
    *ret_lsn = LSN_UNKNOWN;
    return PQgetisnull(r, 0, field) || lsn_parse(PQgetvalue(r, 0, field), ret_lsn);
}

/* "0/3000060 1"; 0/0 is none. */
static bool
take_position(const PGresult *r, int field, struct position *ret_position)
{
    char lsn[LSN_TEXT_SIZE];
    struct position p;

    if (sscanf(PQgetvalue(r, 0, field), "%17s %" SCNu32, lsn, &p.timeline) != 2 ||
        !lsn_parse(lsn, &p.lsn))
        return false;
    *ret_position = p;
    return true;
}

static void
take_slots(struct postgres_sample *s, const char *text)
{
    while (*text != '\0' && s->slots < POSTGRES_SLOTS_MAX) {
        struct postgres_slot *slot = &s->slot[s->slots];
        char active[8], status[16], lsn[24], feedback[8];
        long long unused_s;

        if (sscanf(text, "%63s %7s %15s %23[0-9A-F/] %7[a-z] %31s %lld", slot->name, active, status,
                   lsn, feedback, slot->invalid, &unused_s) != 7)
            return;
        if (strcmp(slot->invalid, "-") == 0)
            slot->invalid[0] = '\0';
        slot->unused_us = unused_s < 0 || unused_s > INT32_MAX ? -1 : unused_s * SECOND_US;
        slot->active = strcmp(active, "true") == 0;
        slot->feedback = strcmp(feedback, "true") == 0;
        slot->lost = strcmp(status, "lost") == 0;
        slot->restart_lsn = LSN_UNKNOWN;
        lsn_parse(lsn, &slot->restart_lsn);
        s->slots++;
        text += strcspn(text, ",");
        text += *text == ',';
    }
}

static bool
take_sample(struct postgres *p, const PGresult *r)
{
    struct postgres_sample *s = &p->coming;
    char lsn[24];

    if (PQntuples(r) != 1 || PQnfields(r) != 15)
        return false;
    s->in_recovery = PQgetvalue(r, 0, 0)[0] == 't';
    if (!take_lsn(r, 1, &s->insert) || !take_lsn(r, 2, &s->flush) || !take_lsn(r, 3, &s->replay) ||
        !take_lsn(r, 8, &s->redo))
        return false;
    if (!s->in_recovery)
        s->replay = LSN_UNKNOWN;
    s->replay_paused = PQgetvalue(r, 0, 4)[0] == 't';
    snprintf(s->synchronous_standby_names, sizeof s->synchronous_standby_names, "%s",
             PQgetvalue(r, 0, 5));
    s->timeline = (timeline_t)strtoul(PQgetvalue(r, 0, 6), NULL, 16);
    s->slots = 0;
    take_slots(s, PQgetvalue(r, 0, 7));
    if (sscanf(PQgetvalue(r, 0, 9), "%63s %23s", s->other_slot, lsn) != 2 ||
        !lsn_parse(lsn, &s->other_lsn))
        s->other_slot[0] = '\0';
    s->wal_keep_bytes = strtoull(PQgetvalue(r, 0, 10), NULL, 10);
    s->archiving = PQgetvalue(r, 0, 11)[0] == 't';
    s->slot_timeout_us =
        strtoll(PQgetvalue(r, 0, 14), NULL, 10) * SECOND_US; /* an int of seconds */
    if (!take_position(r, 12, &s->checkpoint) || !take_position(r, 13, &s->recovery_end))
        return false;
    if (s->in_recovery && s->recovery_end.timeline > s->timeline)
        s->timeline = s->recovery_end.timeline;
    p->sample = *s;
    p->sampled = true;
    return true;
}

static bool
take_facts(struct postgres *p, const PGresult *r)
{
    if (PQntuples(r) != 1 || PQnfields(r) != 3)
        return false;
    p->identity.system_identifier = strtoull(PQgetvalue(r, 0, 0), NULL, 10);
    p->identity.segment_bytes = (uint32_t)strtoul(PQgetvalue(r, 0, 1), NULL, 10);
    p->identity.postgres_major = (uint16_t)(PQserverVersion(p->conn) / 10000);
    return segment_bytes_valid(p->identity.segment_bytes);
}

/* The statement that gives the role its missing right; "" when something else is wrong. */
static const char *
missing_right(const struct postgres *p, enum work work, const char *sqlstate, char *out,
              size_t size)
{
    static const char *const grants[] = {
        [POSTGRES_PROMOTE] = "GRANT EXECUTE ON FUNCTION pg_promote TO",
        [POSTGRES_REPLAY_RESUME] = "GRANT EXECUTE ON FUNCTION pg_wal_replay_resume TO",
        [POSTGRES_RELOAD] = "GRANT EXECUTE ON FUNCTION pg_reload_conf TO",
        [POSTGRES_MAKE_SLOT] = "ALTER ROLE",
        [POSTGRES_ADVANCE_SLOT] = "ALTER ROLE",
        [POSTGRES_DROP_SLOT] = "ALTER ROLE",
        [POSTGRES_ROLE] = "GRANT SELECT ON pg_roles TO",
        [POSTGRES_READY] = "GRANT SELECT ON pg_roles TO",
    };
    const char *grant = work == WORK_COMMAND ? grants[p->command] : "GRANT pg_monitor TO";
    const char *behind = strcmp(grant, "ALTER ROLE") == 0 ? " REPLICATION" : "";

    out[0] = '\0';
    if (sqlstate != NULL && strcmp(sqlstate, "42501") == 0)
        snprintf(out, size, "; as superuser: %s %s%s", grant, PQuser(p->conn), behind);
    return out;
}

/* No error: the slot is there, or gone, or the recovery is over, already. */
static bool
is_so_already(enum postgres_command command, const char *sqlstate)
{
    if (sqlstate == NULL)
        return false;
    if (command == POSTGRES_MAKE_SLOT)
        return strcmp(sqlstate, "42710") == 0;
    if (command == POSTGRES_DROP_SLOT)
        return strcmp(sqlstate, "42704") == 0;
    return (command == POSTGRES_PROMOTE || command == POSTGRES_REPLAY_RESUME) &&
           strcmp(sqlstate, "55000") == 0;
}

static void
command_over(struct postgres *p, bool good, const char *sqlstate, const char *error)
{
    p->failed = !good && !is_so_already(p->command, sqlstate);
    snprintf(p->error, sizeof p->error, "%s", p->failed ? error : "");
    snprintf(p->answer, sizeof p->answer, "%s",
             good && PQntuples(p->result) > 0 ? PQgetvalue(p->result, 0, 0) : "");
    p->asked = false;
    p->done = true;
}

/* A query's answer is complete. 1 when a sample, a state or a command's end is new. */
static int
query_over(struct postgres *p, int64_t now_us)
{
    PGresult *r = p->result;
    const char *sqlstate = r != NULL ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    const char *message = r != NULL ? PQresultErrorMessage(r) : PQerrorMessage(p->conn);
    bool good = r != NULL &&
                (PQresultStatus(r) == PGRES_TUPLES_OK || PQresultStatus(r) == PGRES_COMMAND_OK);
    enum work work = p->work;
    char text[300], grant[160], error[500];
    int news = 0;

    if (!good && (PQstatus(p->conn) == CONNECTION_BAD ||
                  (sqlstate != NULL && strncmp(sqlstate, "57P", 3) == 0)))
        return lost(p, now_us);
    snprintf(error, sizeof error, "%s%s", one_line(message, text, sizeof text),
             missing_right(p, work, sqlstate, grant, sizeof grant));
    p->work = WORK_NONE;
    p->due_us = now_us; /* a sample is next, in most cases: it shows what a command changed */
    if (work == WORK_COMMAND) {
        command_over(p, good, sqlstate, error);
        news = 1;
    } else if (good && work == WORK_SAMPLE && take_sample(p, r)) {
        p->due_us = p->sample.mono_us + POSTGRES_SAMPLE_US;
        set_state(p, POSTGRES_UP, "");
        news = 1;
    } else if (work == WORK_FLUSH) {
        if (!good) /* the session is in a failed transaction: no sample can be taken */
            disconnect(p, now_us);
    } else if (!(good && work == WORK_FACTS && take_facts(p, r)) &&
               !(work == WORK_SAMPLE && sqlstate != NULL && strcmp(sqlstate, "55000") == 0)) {
        /* 55000: it was promoted between two functions of the row, which is no fault */
        snprintf(text, sizeof text, "it does not answer as expected: %.250s", error);
        news = set_state(p, POSTGRES_DOWN, text);
        disconnect(p, now_us);
    }
    PQclear(p->result);
    p->result = NULL;
    return news;
}

static int
connect_step(struct postgres *p, int64_t now_us)
{
    p->polling = PQconnectPoll(p->conn);
    if (p->polling == PGRES_POLLING_FAILED)
        return lost(p, now_us);
    if (p->polling != PGRES_POLLING_OK)
        return 0;
    if (PQsetnonblocking(p->conn, 1) < 0)
        return lost(p, now_us);
    PQsetErrorVerbosity(p->conn, PQERRORS_DEFAULT);
    return send_query(p, WORK_FACTS, facts_query, now_us);
}

static int
begin(struct postgres *p, int64_t now_us)
{
    if (p->conn == NULL) {
        p->conn = PQconnectStart(p->conninfo);
        if (p->conn == NULL || PQstatus(p->conn) == CONNECTION_BAD)
            return lost(p, now_us);
        PQsetNoticeReceiver(p->conn, take_notice, p);
        PQsetErrorVerbosity(p->conn, PQERRORS_VERBOSE);
        p->work = WORK_CONNECT;
        p->work_us = now_us;
        p->polling = PGRES_POLLING_WRITING;
        return 0;
    }
    if (p->asked)
        return send_query(p, WORK_COMMAND, p->query, now_us);
    if (p->force_flush) {
        p->force_flush = false;
        return send_query(p, WORK_FLUSH, force_flush_query, now_us);
    }
    p->coming = (struct postgres_sample){.wall_us = clock_wall_us(), .mono_us = clock_us()};
    return send_query(p, WORK_SAMPLE, sample_query, now_us);
}

static int
go_on(struct postgres *p, short ready, int64_t now_us)
{
    if ((ready & (POLLIN | POLLHUP | POLLERR)) != 0 && PQconsumeInput(p->conn) != 1)
        return lost(p, now_us);
    if (p->write_pending) {
        int left = PQflush(p->conn);

        if (left < 0)
            return lost(p, now_us);
        p->write_pending = left > 0;
    }
    while (p->work != WORK_NONE && !PQisBusy(p->conn)) {
        PGresult *r = PQgetResult(p->conn);

        if (r == NULL)
            return query_over(p, now_us);
        PQclear(p->result);
        p->result = r;
    }
    return 0;
}

/* Between queries the server may say that it shuts down. */
static int
listen_idle(struct postgres *p, short ready, int64_t now_us)
{
    if (p->conn == NULL || (ready & (POLLIN | POLLHUP | POLLERR)) == 0)
        return 0;
    if (PQconsumeInput(p->conn) != 1 || PQstatus(p->conn) == CONNECTION_BAD)
        return lost(p, now_us);
    PQisBusy(p->conn); /* takes in a message that has come */
    if (PQstatus(p->conn) == CONNECTION_BAD)
        return lost(p, now_us);
    return 0;
}

static bool
is_asked(const struct postgres *p)
{
    return p->conn != NULL && (p->asked || p->force_flush);
}

int
postgres_run(struct postgres *p, const struct loop *l, int64_t now_us)
{
    short ready = p->conn != NULL ? loop_ready(l, PQsocket(p->conn)) : 0;
    int news = 0;

    if (p->work == WORK_NONE)
        news = listen_idle(p, ready, now_us);
    else if (now_us - p->work_us >= ANSWER_US) {
        news = set_state(p, POSTGRES_DOWN, "it does not answer within 5 s");
        disconnect(p, now_us);
    } else if (p->work == WORK_CONNECT)
        news = ready != 0 ? connect_step(p, now_us) : 0;
    else
        news = go_on(p, ready, now_us);
    if (p->work == WORK_NONE && (now_us >= p->due_us || is_asked(p)))
        news |= begin(p, now_us);
    return news;
}

void
postgres_watch(const struct postgres *p, struct loop *l)
{
    short events = POLLIN;

    if (p->work == WORK_CONNECT)
        events = p->polling == PGRES_POLLING_READING ? POLLIN : POLLOUT;
    else if (p->write_pending)
        events |= POLLOUT;
    if (p->conn != NULL)
        loop_watch(l, PQsocket(p->conn), events);
    loop_due(l, p->work != WORK_NONE ? p->work_us + ANSWER_US : is_asked(p) ? 0 : p->due_us);
}

enum postgres_state
postgres_state(const struct postgres *p)
{
    return p->state;
}

const char *
postgres_reason(const struct postgres *p)
{
    return p->reason;
}

const struct postgres_sample *
postgres_sample(const struct postgres *p)
{
    return p->sampled ? &p->sample : NULL;
}

const struct identity *
postgres_identity(const struct postgres *p)
{
    return &p->identity;
}

bool
postgres_ask(struct postgres *p, enum postgres_command command, const char *argument)
{
    char *quoted;

    if (p->asked || p->conn == NULL || p->state != POSTGRES_UP)
        return false;
    switch (command) {
    case POSTGRES_PROMOTE:
        snprintf(p->query, sizeof p->query, "select pg_catalog.pg_promote(false)");
        break;
    case POSTGRES_REPLAY_RESUME:
        snprintf(p->query, sizeof p->query, "select pg_catalog.pg_wal_replay_resume()");
        break;
    case POSTGRES_RELOAD:
        snprintf(p->query, sizeof p->query, "select pg_catalog.pg_reload_conf()");
        break;
    case POSTGRES_MAKE_SLOT: /* a slot's name has only a-z, 0-9 and _ : nothing to quote */
        snprintf(
            p->query, sizeof p->query,
            "select pg_catalog.pg_create_physical_replication_slot('%s', true) from "
            "(select count(pg_catalog.pg_drop_replication_slot(slot_name)) from "
            "pg_catalog.pg_replication_slots where slot_name = '%s' and wal_status = 'lost' and not "
            "active) dropped where not exists (select from pg_catalog.pg_replication_slots where "
            "slot_name = '%s' and wal_status is distinct from 'lost')",
            argument, argument, argument);
        break;
    case POSTGRES_ADVANCE_SLOT:
        snprintf(p->query, sizeof p->query, "select pg_catalog.pg_replication_slot_advance(%s)",
                 argument);
        break;
    case POSTGRES_DROP_SLOT:
        snprintf(p->query, sizeof p->query, "select pg_catalog.pg_drop_replication_slot('%s')",
                 argument);
        break;
    case POSTGRES_ROLE:
        quoted = PQescapeLiteral(p->conn, argument, strlen(argument));
        snprintf(p->query, sizeof p->query, role_query, quoted != NULL ? quoted : "''");
        PQfreemem(quoted);
        break;
    case POSTGRES_READY:
        snprintf(p->query, sizeof p->query, "%s", ready_query);
        break;
    }
    p->command = command;
    p->asked = true;
    p->done = p->failed = false;
    return true;
}

void
postgres_force_flush(struct postgres *p)
{
    p->force_flush = p->conn != NULL && p->state == POSTGRES_UP;
}

bool
postgres_done(struct postgres *p, const char **ret_error)
{
    if (!p->done)
        return false;
    p->done = false;
    *ret_error = p->failed ? p->error : NULL;
    return true;
}

const char *
postgres_answer(const struct postgres *p)
{
    return p->answer;
}

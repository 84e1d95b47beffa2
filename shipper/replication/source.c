/* SPDX-License-Identifier: PostgreSQL */
/*
 * source: a walsender's stream by libpq, one small state machine. Nothing here blocks.
 *
 *   CONNECTING -> IDENTIFY -> SIZE -> (READ_SLOT -> (MAKE_SLOT -> (READ_SLOT)))
 *                                       -> HISTORY* -> START -> (MAKE_SLOT -> START) -> STREAMING
 *                                             ^                     |
 *                                             +---- TIMELINE_END ---+
 *
 * The connection and its commands are here, the stream itself is in copy.c. Walsender's messages
 * come in; items of WAL and history go out. Reported positions never go back, an item's bytes stay
 * until the next call, and all that came before a connection broke is given away before the error.
 * A server of another cluster, of another segment size, or without the WAL asked for is refused in
 * words.
 */
#include "shipper/replication/source.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"
#include "replication/source_state.h"
#include "shipper/wal/pgwal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct source *
source_new(const char *conninfo, const char *application_name, const char *slot, const char *pgdata)
{
    struct source *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    if (asprintf(&s->conninfo, "%s replication=true application_name=%s", conninfo,
                 application_name) < 0) {
        free(s);
        return NULL;
    }
    snprintf(s->slot, sizeof s->slot, "%s", slot);
    s->pgdata = pgdata;
    return s;
}

void
source_free(struct source *s)
{
    if (s == NULL)
        return;
    source_stop(s);
    free(s->conninfo);
    free(s);
}

void
source_free_message(struct source *s)
{
    if (s->message != NULL)
        PQfreemem(s->message);
    s->message = NULL;
}

void
source_stop(struct source *s)
{
    source_free_message(s);
    PQclear(s->history);
    PQclear(s->result);
    s->history = s->result = NULL;
    s->history_given = s->broken = s->write_pending = false;
    PQfinish(s->conn);
    s->conn = NULL;
    s->state = SOURCE_IDLE;
}

bool
source_active(const struct source *s)
{
    return s->state != SOURCE_IDLE;
}

bool
source_streaming(const struct source *s)
{
    return s->state == SOURCE_STREAMING;
}

bool
source_connected(const struct source *s)
{
    return s->state == SOURCE_STREAMING && !s->broken;
}

lsn_t
source_next_lsn(const struct source *s)
{
    return s->lsn;
}

bool
source_gone(const struct source *s, timeline_t *ret_timeline, lsn_t *ret_from, lsn_t *ret_to)
{
    *ret_timeline = s->timeline;
    *ret_from = s->lsn;
    *ret_to = s->gone_to;
    return s->gone_to != LSN_UNKNOWN;
}

const char *
source_sqlstate(const struct source *s)
{
    return s->sqlstate;
}

/* A message of libpq has several lines; ours have one. */
static const char *
one_line(const char *message, char *out, size_t size)
{
    size_t length = strcspn(message, "\n");

    return text_escape(out, size, message, length);
}

int
source_lost(const struct source *s, const char *doing)
{
    char text[300];

    return fail(ERR_PEER, "PostgreSQL: %s: %s", doing,
                one_line(PQerrorMessage(s->conn), text, sizeof text));
}

static int
send_query(struct source *s, enum source_state state, const char *query)
{
    if (PQsendQuery(s->conn, query) != 1)
        return source_lost(s, query);
    s->state = state;
    s->due_us = clock_us() + ANSWER_US;
    s->write_pending = true;
    return 0;
}

/* libpq would print a notice on stderr as it is. */
static void
take_notice(void *context, const PGresult *notice)
{
    const char *message = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
    char text[300];

    (void)context;
    if (message != NULL)
        log_info("PostgreSQL: %s", one_line(message, text, sizeof text));
}

int
source_start(struct source *s, const struct identity *expected, timeline_t timeline, lsn_t lsn,
             int64_t now_us)
{
    source_stop(s);
    s->expected = *expected;
    s->timeline = timeline;
    s->known_upto = 1; /* which has no history */
    s->lsn = lsn;
    s->start = LSN_UNKNOWN;
    s->fresh = lsn == LSN_UNKNOWN;
    s->sqlstate[0] = '\0';
    s->gone_to = LSN_UNKNOWN;
    s->said_any = s->heard = s->withdraw = s->slot_made = s->slot_missing = false;
    s->said = (struct source_position){0};
    s->due_us = now_us + ANSWER_US;
    s->conn = PQconnectStart(s->conninfo);
    if (s->conn == NULL)
        return fail(ERR_LOCAL, "out of memory for a connection to PostgreSQL");
    PQsetNoticeReceiver(s->conn, take_notice, NULL);
    s->state = SOURCE_CONNECTING;
    s->polling = PGRES_POLLING_WRITING;
    if (PQstatus(s->conn) == CONNECTION_BAD)
        return source_lost(s, "cannot connect");
    return 0;
}

/* Which WAL is gone; false: none, as far as pg_wal can be read. */
static bool
describe_gone(struct source *s, char *out, size_t size)
{
    lsn_t from = s->lsn, oldest = LSN_UNKNOWN;

    if (s->pgdata != NULL &&
        pgwal_oldest(s->pgdata, s->expected.segment_bytes, from, &oldest) == 0 && oldest <= from)
        return false;
    s->gone_to = oldest;
    if (oldest != LSN_UNKNOWN)
        snprintf(out, size, "WAL from " LSN_FORMAT " to " LSN_FORMAT " is gone", LSN_ARGS(from),
                 LSN_ARGS(oldest));
    else
        snprintf(out, size, "WAL from " LSN_FORMAT " to the primary's oldest segment is gone",
                 LSN_ARGS(from));
    return true;
}

/* An error of START_REPLICATION, or inside the stream, in the DBA's words. */
static int
explain(struct source *s, const char *text)
{
    char where[LSN_TEXT_SIZE], gone[120];
    bool lacks = describe_gone(s, gone, sizeof gone);

    snprintf(where, sizeof where, LSN_FORMAT, LSN_ARGS(s->lsn));
    if (s->slot[0] != '\0' && s->timeline == s->server_timeline && s->lsn > s->server_lsn)
        return fail(ERR_PEER,
                    "PostgreSQL was restored to an older state: it ends at " LSN_FORMAT
                    ", the far side has WAL beyond %s of timeline %u: %s",
                    LSN_ARGS(s->server_lsn), where, s->timeline, text);
    if (strcmp(s->sqlstate, "58P01") == 0 && lacks)
        return fail(ERR_PEER, "%s (timeline %u): %s", gone, s->timeline, text);
    if (strcmp(s->sqlstate, "55000") == 0 && s->slot[0] != '\0')
        return fail(ERR_PEER, "the slot %s cannot be used, %s: %s; %s", s->slot,
                    strstr(text, "idle_timeout") != NULL
                        ? "idle_replication_slot_timeout has struck while the link was down"
                        : "max_slot_wal_keep_size is the usual cause",
                    text, lacks ? gone : "no WAL is missing yet");
    if (s->state == SOURCE_TIMELINE_END)
        return fail(ERR_PEER, "PostgreSQL ended the stream at %s on timeline %u: %s", where,
                    s->timeline, text);
    return fail(ERR_PEER, "PostgreSQL refuses to stream from %s on timeline %u: %s", where,
                s->timeline, text);
}

static int
server_error(struct source *s, const PGresult *result)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *more = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    char primary[300], detail[300], text[640];

    snprintf(s->sqlstate, sizeof s->sqlstate, "%s", sqlstate != NULL ? sqlstate : "");
    one_line(message != NULL ? message : PQresultErrorMessage(result), primary, sizeof primary);
    one_line(more != NULL ? more : "", detail, sizeof detail);
    snprintf(text, sizeof text, "%s%s%s", primary, more != NULL ? "; " : "", detail);
    if (s->state == SOURCE_START || s->state == SOURCE_TIMELINE_END)
        return explain(s, text);
    return fail(ERR_PEER, "PostgreSQL: %s", text);
}

static int
take_identity(struct source *s, const PGresult *result)
{
    unsigned long long system_identifier;
    const char *text;

    if (PQntuples(result) != 1 || PQnfields(result) < 3)
        return fail(ERR_PEER, "PostgreSQL answers IDENTIFY_SYSTEM with %d rows of %d fields",
                    PQntuples(result), PQnfields(result));
    text = PQgetvalue(result, 0, 0);
    system_identifier = strtoull(text, NULL, 10);
    if (s->expected.system_identifier != 0 && system_identifier != s->expected.system_identifier)
        return fail(
            ERR_PEER,
            "another database cluster: PostgreSQL's system identifier is %llu, %llu is expected",
            system_identifier, (unsigned long long)s->expected.system_identifier);
    s->server_timeline = (timeline_t)strtoul(PQgetvalue(result, 0, 1), NULL, 10);
    if (!lsn_parse(PQgetvalue(result, 0, 2), &s->server_lsn) || s->server_timeline == 0)
        return fail(ERR_PEER, "PostgreSQL's answer to IDENTIFY_SYSTEM cannot be read");
    if (s->timeline == 0)
        s->timeline = s->server_timeline;
    if (s->timeline > s->server_timeline)
        return fail(
            ERR_PEER,
            "the far side holds timeline %u, the PostgreSQL here is on the older timeline %u",
            s->timeline, s->server_timeline);
    return send_query(s, SOURCE_SIZE, "SHOW wal_segment_size");
}

static int
send_start(struct source *s)
{
    char query[200], slot[80] = "";

    if (s->slot[0] != '\0')
        snprintf(slot, sizeof slot, "SLOT \"%s\" ", s->slot);
    snprintf(query, sizeof query, "START_REPLICATION %s" LSN_FORMAT " TIMELINE %u", slot,
             LSN_ARGS(s->lsn), s->timeline);
    return send_query(s, SOURCE_START, query);
}

/* Histories before WAL, all of them: the far side must know where a timeline comes from, and its
 * standby asks for those of earlier timelines, too. */
int
source_history_or_start(struct source *s)
{
    char query[64];

    if (s->known_upto >= s->server_timeline)
        return send_start(s);
    snprintf(query, sizeof query, "TIMELINE_HISTORY %u", ++s->known_upto);
    return send_query(s, SOURCE_HISTORY_OF, query);
}

/* Nothing says where a fresh spool should begin: with the server's current segment. */
static void
start_at_server(struct source *s)
{
    s->lsn = segment_start(s->server_lsn, s->expected.segment_bytes);
    s->timeline = s->server_timeline;
}

static bool
can_read_slot(const struct source *s)
{
    return PQserverVersion(s->conn) >= 150000;
}

static int
read_slot(struct source *s)
{
    char query[160];

    snprintf(query, sizeof query, "READ_REPLICATION_SLOT \"%s\"", s->slot);
    return send_query(s, SOURCE_READ_SLOT, query);
}

static int
make_slot(struct source *s)
{
    char query[160];

    snprintf(query, sizeof query, "CREATE_REPLICATION_SLOT \"%s\" PHYSICAL RESERVE_WAL", s->slot);
    return send_query(s, SOURCE_MAKE_SLOT, query);
}

static int
slot_is_made(struct source *s)
{
    s->slot_made = true;
    if (s->fresh && can_read_slot(s))
        return read_slot(s);
    if (s->fresh)
        start_at_server(s);
    return source_history_or_start(s);
}

static int
take_slot(struct source *s, const PGresult *result)
{
    bool known = PQntuples(result) == 1 && PQnfields(result) == 3;
    lsn_t lsn;

    if (known && PQgetisnull(result, 0, 0) && !s->slot_made)
        return make_slot(s);
    if (!s->fresh)
        return source_history_or_start(s);
    start_at_server(s);
    if (known && !PQgetisnull(result, 0, 1) && lsn_parse(PQgetvalue(result, 0, 1), &lsn) &&
        lsn != LSN_UNKNOWN) {
        timeline_t timeline =
            (timeline_t)strtoul(PQgetvalue(result, 0, 2), NULL, 10); /* null: "" */

        s->lsn = segment_start(lsn, s->expected.segment_bytes);
        if (timeline != 0 && timeline < s->server_timeline)
            s->timeline = timeline;
    }
    return source_history_or_start(s);
}

static int
take_size(struct source *s, const PGresult *result)
{
    char *unit = NULL;
    unsigned long long bytes;

    if (PQntuples(result) != 1)
        return fail(ERR_PEER, "PostgreSQL does not show wal_segment_size");
    bytes = strtoull(PQgetvalue(result, 0, 0), &unit, 10);
    bytes *= strcmp(unit, "GB") == 0 ? 1u << 30 : strcmp(unit, "MB") == 0 ? 1u << 20 : 1;
    if (bytes > SEGMENT_BYTES_MAX || !segment_bytes_valid((uint32_t)bytes))
        return fail(ERR_PEER, "PostgreSQL's wal_segment_size cannot be read: %.20s",
                    PQgetvalue(result, 0, 0));
    if (s->expected.segment_bytes == 0)
        s->expected.segment_bytes = (uint32_t)bytes;
    if (bytes != s->expected.segment_bytes)
        return fail(ERR_PEER, "PostgreSQL's wal_segment_size is %s, %u bytes are expected",
                    PQgetvalue(result, 0, 0), s->expected.segment_bytes);
    if (s->slot[0] != '\0' && can_read_slot(s))
        return read_slot(s);
    if (s->fresh)
        start_at_server(s);
    return source_history_or_start(s);
}

/* A walsender that shuts down closes the stream, then the connection, when all WAL is sent. */
static int
shut_down(const struct source *s)
{
    return fail(ERR_PEER,
                "PostgreSQL ended the stream at " LSN_FORMAT " on timeline %u: it shuts down",
                LSN_ARGS(s->lsn), s->timeline);
}

/* After a timeline's end: (next timeline, its start). */
static int
take_timeline_end(struct source *s, const PGresult *result)
{
    lsn_t start;
    timeline_t next;

    if (result == NULL || PQntuples(result) != 1 || PQnfields(result) != 2 ||
        !lsn_parse(PQgetvalue(result, 0, 1), &start))
        return shut_down(s);
    next = (timeline_t)strtoul(PQgetvalue(result, 0, 0), NULL, 10);
    if (next <= s->timeline)
        return fail(ERR_PEER, "PostgreSQL says that timeline %u follows %u", next, s->timeline);
    s->timeline = next;
    s->lsn = segment_start(start, s->expected.segment_bytes);
    if (next > s->server_timeline)
        s->server_timeline = next; /* made since IDENTIFY_SYSTEM */
    return source_history_or_start(s);
}

/* All results of a command have come; `result` is the last one with rows, or NULL. */
static int
command_over(struct source *s, PGresult *result)
{
    switch (s->state) {
    case SOURCE_IDENTIFY:
        return take_identity(s, result);
    case SOURCE_SIZE:
        return take_size(s, result);
    case SOURCE_READ_SLOT:
        return take_slot(s, result);
    case SOURCE_MAKE_SLOT:
        return slot_is_made(s);
    case SOURCE_HISTORY_OF:
        /* an unrelated timeline may have no file: it is no ancestor then, and not needed */
        if (result == NULL || PQntuples(result) != 1 || PQnfields(result) != 2)
            return source_history_or_start(s);
        s->history = result; /* given away by source_next, which then goes on */
        return 0;
    case SOURCE_START:
        if (s->slot_missing && !s->slot_made)
            return make_slot(s);
        return take_timeline_end(s, result);
    case SOURCE_TIMELINE_END:
        return take_timeline_end(s, result);
    case SOURCE_IDLE:
    case SOURCE_CONNECTING:
    case SOURCE_STREAMING:
        break;
    }
    return 0;
}

/* Errors that are no failure: there is no slot yet (before 15 that cannot be asked first), the slot
 * was made by somebody else meanwhile, or a timeline has no file. */
static bool
error_is_fine(struct source *s, const PGresult *result)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    if (sqlstate == NULL)
        return false;
    s->slot_missing = s->state == SOURCE_START && s->slot[0] != '\0' && !s->slot_made &&
                      strcmp(sqlstate, "42704") == 0;
    return s->slot_missing || (s->state == SOURCE_MAKE_SLOT && strcmp(sqlstate, "42710") == 0) ||
           (s->state == SOURCE_HISTORY_OF && strcmp(sqlstate, "58P01") == 0);
}

/* All results that are here, without waiting. */
int
source_take_results(struct source *s)
{
    while (s->state != SOURCE_STREAMING && s->history == NULL && !PQisBusy(s->conn)) {
        PGresult *result = PQgetResult(s->conn);
        int code = 0;

        if (result == NULL) {
            result = s->result;
            s->result = NULL;
            if (result == NULL && (s->state == SOURCE_IDENTIFY || s->state == SOURCE_SIZE ||
                                   s->state == SOURCE_READ_SLOT))
                return source_lost(s, "no answer");
            code = command_over(s, result);
            if (result != s->history)
                PQclear(result);
        } else if (PQresultStatus(result) == PGRES_COPY_BOTH) {
            PQclear(result);
            s->state = SOURCE_STREAMING;
            s->start = s->start == LSN_UNKNOWN ? s->lsn : s->start;
            s->said_us = 0;
            s->streams_us = clock_us();
        } else if (PQresultStatus(result) == PGRES_FATAL_ERROR) {
            code = error_is_fine(s, result) ? 0 : server_error(s, result);
            PQclear(result);
        } else if (PQresultStatus(result) == PGRES_TUPLES_OK) {
            PQclear(s->result);
            s->result = result;
        } else {
            PQclear(result);
        }
        if (code < 0)
            return code;
    }
    return 0;
}

/* Inside the stream libpq may still hold WAL: source_next gives it away, then the error. */
int
source_broke(struct source *s)
{
    s->broken = s->state == SOURCE_STREAMING;
    if (s->broken)
        return 0;
    return s->state == SOURCE_TIMELINE_END ? shut_down(s) : source_lost(s, "the connection broke");
}

int
source_flush(struct source *s)
{
    int left = PQflush(s->conn);

    s->write_pending = left > 0;
    return left < 0 ? source_broke(s) : 0;
}

static int
go_on_connecting(struct source *s)
{
    s->polling = PQconnectPoll(s->conn);
    if (s->polling == PGRES_POLLING_FAILED)
        return source_lost(s, "cannot connect");
    if (s->polling != PGRES_POLLING_OK)
        return 0;
    if (PQsetnonblocking(s->conn, 1) < 0)
        return source_lost(s, "cannot make the connection non-blocking");
    return send_query(s, SOURCE_IDENTIFY, "IDENTIFY_SYSTEM");
}

/* Not while a history waits to be taken: its time is up to the far side. */
static bool
waits_for_answer(const struct source *s)
{
    return s->state != SOURCE_IDLE && s->state != SOURCE_STREAMING && s->history == NULL;
}

int
source_run(struct source *s, const struct loop *l, int64_t now_us)
{
    short ready;

    if (s->state == SOURCE_IDLE || s->broken)
        return 0;
    ready = loop_ready(l, PQsocket(s->conn));
    if (waits_for_answer(s) && now_us >= s->due_us)
        return fail(ERR_PEER, "PostgreSQL does not answer the request for WAL within %d s",
                    (int)(ANSWER_US / SECOND_US));
    if (s->state == SOURCE_CONNECTING) {
        int code = ready != 0 ? go_on_connecting(s) : 0; /* not watched yet: in the next turn */

        if (code < 0 || s->state == SOURCE_CONNECTING)
            return code;
    }
    if (((ready & (POLLIN | POLLHUP | POLLERR)) != 0 || PQstatus(s->conn) == CONNECTION_BAD) &&
        PQconsumeInput(s->conn) != 1)
        return source_broke(s);
    if (s->write_pending && source_flush(s) < 0)
        return ERR_PEER;
    return source_take_results(s);
}

void
source_watch(const struct source *s, struct loop *l, bool want_input)
{
    short events = 0;

    if (s->state == SOURCE_IDLE)
        return;
    if (s->broken) { /* poll would report the hangup for nothing; libpq holds the rest */
        loop_due(l, want_input ? 0 : NEVER_US);
        return;
    }
    if (s->state == SOURCE_CONNECTING)
        events = s->polling == PGRES_POLLING_READING ? POLLIN : POLLOUT;
    else
        events = (short)((want_input || s->state != SOURCE_STREAMING ? POLLIN : 0) |
                         (s->write_pending ? POLLOUT : 0));
    loop_watch(l, PQsocket(s->conn), events);
    if (waits_for_answer(s))
        loop_due(l, s->due_us);
}

/* SPDX-License-Identifier: PostgreSQL */
/* See client.h. */
#include "replication/client.h"

#include "base/fail.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define ENCRYPTIONS 2 /* asked for before the start-up: SSL and GSS, once each */

/* ---- commands ---- */

static int
no_room(void)
{
    return fail(ERR_PEER, "does not take its answers");
}

static int put_error(struct relay_client *k, const char *sqlstate, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int
put_error(struct relay_client *k, const char *sqlstate, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (pgwire_put_error(&k->out, "ERROR", sqlstate, text) < 0 || pgwire_put_ready(&k->out) < 0)
        return no_room();
    return 0;
}

static int
put_result(struct relay_client *k, const struct pgwire_column *columns, size_t count,
           const char *tag)
{
    if (pgwire_put_row(&k->out, columns, count) < 0 || pgwire_put_complete(&k->out, tag) < 0 ||
        pgwire_put_ready(&k->out) < 0)
        return no_room();
    return 0;
}

static int
identify(struct relay *r, struct relay_client *k)
{
    char system_identifier[24], timeline[16], position[LSN_TEXT_SIZE];
    const struct identity *identity = &r->supply.spool->identity;
    lsn_t end;
    struct pgwire_column columns[] = {{"systemid", OID_TEXT, system_identifier, 0},
                                      {"timeline", OID_INT4, timeline, 0},
                                      {"xlogpos", OID_TEXT, position, 0},
                                      {"dbname", OID_TEXT, NULL, 0}};

    snprintf(system_identifier, sizeof system_identifier, "%" PRIu64, identity->system_identifier);
    snprintf(timeline, sizeof timeline, "%u", supply_newest(&r->supply, &end));
    snprintf(position, sizeof position, LSN_FORMAT, LSN_ARGS(end));
    return put_result(k, columns, 4, "IDENTIFY_SYSTEM");
}

/* Settings that PostgreSQL's own clients ask of a server in recovery, and our fixed answers. */
static const struct {
    const char *name, *value;
} settings[] = {{"data_directory_mode", "0700"},
                {"wal_sender_timeout", "1min"},
                {"in_hot_standby", "on"},
                {"transaction_read_only", "on"},
                {"default_transaction_read_only", "off"},
                {"integer_datetimes", "on"},
                {"server_encoding", "UTF8"},
                {"client_encoding", "UTF8"},
                {"wal_block_size", "8192"}};

static bool
find_setting(const struct identity *identity, const char *name, char *out, size_t size)
{
    if (strcasecmp(name, "wal_segment_size") == 0)
        snprintf(out, size, identity->segment_bytes == SEGMENT_BYTES_MAX ? "1GB" : "%uMB",
                 identity->segment_bytes >> 20);
    else if (strcasecmp(name, "server_version") == 0)
        snprintf(out, size, "%u.0", identity->postgres_major);
    else if (strcasecmp(name, "server_version_num") == 0)
        snprintf(out, size, "%u0000", identity->postgres_major);
    else {
        for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
            if (strcasecmp(name, settings[i].name) != 0)
                continue;
            snprintf(out, size, "%s", settings[i].value);
            return true;
        }
        return false;
    }
    return true;
}

static int
show(struct relay *r, struct relay_client *k, const char *name)
{
    char value[32], shown[120];
    struct pgwire_column column = {name, OID_TEXT, value, 0};

    if (!find_setting(&r->supply.spool->identity, name, value, sizeof value))
        return put_error(k, "42704", "the relay knows no setting \"%s\"",
                         text_escape(shown, sizeof shown, name, strlen(name)));
    return put_result(k, &column, 1, "SHOW");
}

static int
timeline_history(struct relay *r, struct relay_client *k, timeline_t timeline)
{
    char name[HISTORY_NAME_SIZE], *text = malloc(HISTORY_BYTES_MAX + 1);
    int length, code;

    if (text == NULL)
        return put_error(k, "53200", "out of memory");
    history_name(name, timeline);
    length = supply_history(&r->supply, timeline, text, HISTORY_BYTES_MAX + 1);
    if (length < 0) {
        code = put_error(k, "58P01", "could not open file \"%s\": the spool has none of that name",
                         name);
    } else {
        struct pgwire_column columns[] = {{"filename", OID_TEXT, name, 0},
                                          {"content", OID_TEXT, text, (size_t)length}};

        code = put_result(k, columns, 2, "TIMELINE_HISTORY");
    }
    free(text);
    return code;
}

/* The row that ends a timeline: the next timeline, and where that starts. */
static int
put_next_timeline(struct relay_client *k, timeline_t next, lsn_t end)
{
    char next_text[16], start[LSN_TEXT_SIZE];
    struct pgwire_column columns[] = {{"next_tli", OID_INT8, next_text, 0},
                                      {"next_tli_startpos", OID_TEXT, start, 0}};

    snprintf(next_text, sizeof next_text, "%u", next);
    snprintf(start, sizeof start, LSN_FORMAT, LSN_ARGS(end));
    return pgwire_put_row(&k->out, columns, 2) < 0 ? no_room() : 0;
}

/* The answers to START_REPLICATION that follow its copy. */
static int
put_streamed(struct relay *r, struct relay_client *k, timeline_t timeline)
{
    timeline_t next;
    lsn_t end;

    if (supply_switch_point(&r->supply, timeline, &end, &next) &&
        put_next_timeline(k, next, end) < 0)
        return ERR_PEER;
    if (pgwire_put_complete(&k->out, "START_STREAMING") < 0 ||
        pgwire_put_complete(&k->out, "START_REPLICATION") < 0 || pgwire_put_ready(&k->out) < 0)
        return no_room();
    return 0;
}

/* The local standby needs WAL from there on, which is not here. */
static void
want(struct relay *r, const struct relay_client *k, timeline_t timeline, lsn_t lsn)
{
    if (k->kind != CLIENT_STANDBY)
        return;
    r->wanted_timeline = timeline;
    r->wanted = lsn;
}

static int
start_replication(struct relay *r, struct relay_client *k, const struct pgwire_command *c,
                  int64_t now_us)
{
    const struct supply *s = &r->supply;
    lsn_t end;
    timeline_t newest = supply_newest(s, &end), timeline = c->timeline != 0 ? c->timeline : newest;
    timeline_t next;

    if (supply_empty(s)) {
        want(r, k, timeline, c->lsn);
        return put_error(k, "58P01",
                         "requested WAL from " LSN_FORMAT " is not here yet: the spool is empty",
                         LSN_ARGS(c->lsn));
    }
    if (timeline > newest)
        return put_error(k, "XX000", "timeline %u is not in the spool yet, it is on timeline %u",
                         timeline, newest);
    if (timeline != newest) {
        if (!supply_switch_point(s, timeline, &end, &next))
            return put_error(k, "XX000", "timeline %u is not in this server's history", timeline);
        if (c->lsn > end)
            return put_error(k, "XX000",
                             "requested starting point " LSN_FORMAT
                             " on timeline %u is not in this server's history: "
                             "it forked from timeline %u at " LSN_FORMAT,
                             LSN_ARGS(c->lsn), timeline, timeline, LSN_ARGS(end));
        if (c->lsn == end)
            return put_streamed(r, k, timeline);
    }
    if (c->lsn > end)
        return put_error(k, "XX000",
                         "requested starting point " LSN_FORMAT
                         " is ahead of the WAL flush position of this server " LSN_FORMAT,
                         LSN_ARGS(c->lsn), LSN_ARGS(end));
    if (!supply_holds(s, timeline, c->lsn)) {
        char name[SEGMENT_NAME_SIZE];

        want(r, k, timeline, c->lsn);
        segment_name(name, timeline, c->lsn, s->spool->identity.segment_bytes);
        return put_error(k, "58P01", "requested WAL segment %s is not in the spool", name);
    }
    if (pgwire_put_copy_both(&k->out) < 0)
        return no_room();
    k->timeline = timeline;
    k->from = k->lsn = c->lsn;
    k->said_us = k->asked_us = now_us;
    client_set_state(k, CLIENT_STREAMING);
    want(r, k, 0, LSN_UNKNOWN);
    return 0;
}

/* A slot of any name keeps what the spool keeps: a client without WAL begins there. */
static int
read_slot(struct relay *r, struct relay_client *k)
{
    char timeline[16], start[LSN_TEXT_SIZE];
    struct pgwire_column columns[] = {{"slot_type", OID_TEXT, "physical", 0},
                                      {"restart_lsn", OID_TEXT, start, 0},
                                      {"restart_tli", OID_INT8, timeline, 0}};
    lsn_t lsn;

    if (supply_empty(&r->supply))
        return put_error(k, "58P01", "no WAL is here yet: the spool is empty");
    snprintf(timeline, sizeof timeline, "%u", supply_oldest(&r->supply, &lsn));
    snprintf(start, sizeof start, LSN_FORMAT, LSN_ARGS(lsn));
    return put_result(k, columns, 3, "READ_REPLICATION_SLOT");
}

static int
create_slot(struct relay_client *k, const struct pgwire_command *c)
{
    struct pgwire_column columns[] = {{"slot_name", OID_TEXT, c->name, 0},
                                      {"consistent_point", OID_TEXT, "0/0", 0},
                                      {"snapshot_name", OID_TEXT, NULL, 0},
                                      {"output_plugin", OID_TEXT, NULL, 0}};

    if (!c->temporary || !c->physical)
        return put_error(
            k, "0A000", "the relay has no lasting slots: the spool keeps WAL by itself (see keep)");
    return put_result(k, columns, 4, "CREATE_REPLICATION_SLOT");
}

static int
run_command(struct relay *r, struct relay_client *k, const char *text, int64_t now_us)
{
    struct pgwire_command c;
    char shown[120];

    if (text[strspn(text, " \t\r\n;")] == '\0') /* how libpq asks whether we live */
        return pgwire_put_empty(&k->out) < 0 || pgwire_put_ready(&k->out) < 0 ? no_room() : 0;
    if (!pgwire_parse(text, &c))
        return put_error(k, c.verb == VERB_UNKNOWN ? "0A000" : "42601",
                         "the relay does not understand \"%s\"; it knows IDENTIFY_SYSTEM, SHOW, "
                         "TIMELINE_HISTORY, "
                         "START_REPLICATION, READ_REPLICATION_SLOT and CREATE_REPLICATION_SLOT "
                         "TEMPORARY PHYSICAL",
                         text_escape(shown, sizeof shown, text, strlen(text)));
    switch (c.verb) {
    case VERB_IDENTIFY_SYSTEM:
        return identify(r, k);
    case VERB_SHOW:
        return show(r, k, c.name);
    case VERB_TIMELINE_HISTORY:
        return timeline_history(r, k, c.timeline);
    case VERB_START_REPLICATION:
        return start_replication(r, k, &c, now_us);
    case VERB_READ_SLOT:
        return read_slot(r, k);
    case VERB_CREATE_SLOT:
        return create_slot(k, &c);
    case VERB_DROP_SLOT:
        return put_error(k, "42704", "replication slot \"%s\" does not exist", c.name);
    case VERB_UNKNOWN:
        break; /* pgwire_parse has refused it */
    }
    return no_room();
}

/* ---- a session ---- */

static int
begin_session(struct relay *r, struct relay_client *k, const struct startup *s)
{
    static const char strange[] = "this is a relay of WAL: it serves replication connections only";
    static const char unknown[] =
        "the relay does not know its cluster yet: no WAL has come from the primary's agent";
    char version[16];

    snprintf(k->application_name, sizeof k->application_name, "%s", s->application_name);
    if (!s->replication) {
        client_close(k, "0A000", strange);
        return 0;
    }
    if (r->supply.spool->identity.system_identifier == 0) {
        client_close(k, "57P03", unknown);
        return 0;
    }
    snprintf(version, sizeof version, "%u.0", r->supply.spool->identity.postgres_major);
    client_set_state(k, CLIENT_READY);
    if (s->newer && pgwire_put_negotiate(&k->out, s) < 0)
        return no_room();
    /* the number only serves to make names of temporary slots differ */
    return pgwire_put_authentication(&k->out, version, (uint32_t)k->fd) < 0 ? no_room() : 0;
}

/* 1: taken; 0: the packet is not complete. */
static int
take_startup(struct relay *r, struct relay_client *k, int64_t now_us)
{
    struct startup s;
    int code = pgwire_startup(&k->in, &s);

    if (code < 0)
        return code;
    if (s.kind == STARTUP_MORE)
        return 0;
    if (s.kind == STARTUP_CANCEL) {
        client_hang_up(k); /* there is nothing to cancel, and no answer is expected */
    } else if (s.kind == STARTUP_SSL) {
        if (++k->refused > ENCRYPTIONS)
            return fail(ERR_PEER, "asks for encryption again and again");
        buf_put_u8(&k->out, 'N');
    } else if (!s.replication && r->passes_sql && k->kind != CLIENT_AFAR) {
        client_set_state(k, CLIENT_SQL);
        return 0;
    } else {
        k->heard_us = now_us;
        code = begin_session(r, k, &s);
    }
    buf_consume(&k->in, s.bytes);
    return code < 0 ? code : 1;
}

static int
take_status(struct relay *r, struct relay_client *k, const struct pgwire_message *m, int64_t now_us)
{
    struct pgwire_status s;
    int code = pgwire_status(m->body, m->length, &s);

    if (code < 0)
        return code;
    if (s.feedback) {
        k->standby.xmin = s.xmin;
        k->standby.catalog_xmin = s.catalog_xmin;
        return 0;
    }
    k->standby.write = s.write;
    k->standby.flush = s.flush;
    k->standby.apply = s.apply;
    k->standby.timeline = k->timeline;
    k->standby.reported_us = now_us;
    k->standby.connected = s.apply != LSN_UNKNOWN && k->kind == CLIENT_STANDBY;
    k->say_now |= s.reply_wanted;
    if (r->offered && k->standby.connected && s.write > k->from) {
        unlink(r->offer);
        r->offered = false;
    }
    return 0;
}

/* The client's CopyDone: the answer to ours, or its own wish to end. */
static int
take_copy_done(struct relay *r, struct relay_client *k)
{
    if (k->state == CLIENT_STREAMING && pgwire_put_copy_done(&k->out) < 0)
        return no_room();
    if (k->state == CLIENT_STREAMING)
        client_keep_word(r, k);
    client_set_state(k, CLIENT_READY);
    return put_streamed(r, k, k->timeline);
}

static int
take_message(struct relay *r, struct relay_client *k, const struct pgwire_message *m,
             int64_t now_us)
{
    bool copying = k->state == CLIENT_STREAMING || k->state == CLIENT_ENDING;

    k->heard_us = now_us;
    switch (m->type) {
    case 'X':
        return client_hang_up(k);
    case 'Q':
        if (copying)
            return fail(ERR_PEER, "a query came while WAL is streamed");
        if (m->length == 0 || memchr(m->body, '\0', m->length) != m->body + m->length - 1)
            return fail(ERR_PEER, "a query came that is no string");
        return run_command(r, k, (const char *)m->body, now_us);
    case 'd':
        return copying ? take_status(r, k, m, now_us)
                       : 0; /* sent before the client knew that the copy is over */
    case 'c':
        return copying ? take_copy_done(r, k) : 0;
    default:
        return fail(ERR_PEER,
                    "a message of type %d came: only simple queries and copies are served",
                    m->type);
    }
}

/* Messages are taken while there is room for their answers; else they stay, and no more is read. */
int
protocol_take(struct relay *r, struct relay_client *k, int64_t now_us)
{
    struct pgwire_message m;
    int code = 1;

    k->held = false;
    while (code > 0 && k->state == CLIENT_STARTUP)
        code = take_startup(r, k, now_us);
    while (code >= 0 && k->state > CLIENT_SQL && k->state != CLIENT_CLOSING) {
        int more = pgwire_message(&k->in, &m);

        if (more <= 0)
            return more;
        k->held = m.type != 'd' && buf_room(&k->out) < PGWIRE_REPLY_MAX;
        if (k->held)
            return 0;
        code = take_message(r, k, &m, now_us);
        buf_consume(&k->in, m.bytes);
    }
    return code < 0 ? code : 0;
}

int
protocol_read(struct relay_client *k)
{
    size_t room = buf_room(&k->in);
    ssize_t got;

    if (k->held || k->state == CLIENT_CLOSING || room == 0)
        return 0;
    got = read(k->fd, buf_reserve(&k->in, room), room);
    if (got == 0 || (got < 0 && errno == ECONNRESET))
        return client_hang_up(k);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : fail_sys(ERR_PEER, "cannot be read from");
    buf_commit(&k->in, (size_t)got);
    return 0;
}

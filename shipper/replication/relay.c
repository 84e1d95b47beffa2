/*
 * See relay.h. A client's life: STARTUP -> READY (commands) -> STREAMING -> ENDING (its timeline is
 * over: CopyDone is out, its own is awaited) -> READY ... and CLOSING, when only the last words are
 * left to be written. Every client is served from the spool's files at its own LSN; one that reads
 * slowly slows nobody but itself: while its answers do not fit, its commands are not read.
 */
#include "shipper/replication/relay.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/unix_socket.h"
#include "base/log.h"
#include "base/text.h"
#include "shipper/wal/pgwal.h"
#include "shipper/replication/pgwire.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define STARTUP_US   (10 * SECOND_US)
#define KEEPALIVE_US (10 * SECOND_US)
#define SILENT_US    (60 * SECOND_US)
#define IN_BYTES     PGWIRE_MESSAGE_MAX
#define OUT_BYTES    (2 * (PGWIRE_WAL_MAX + 64))
#define RUN_BYTES    (2u << 20) /* served to one client in one turn */
#define ENCRYPTIONS  2          /* asked for before the start-up: SSL and GSS, once each */
#define TELL_US      (60 * SECOND_US)

#define CLIENT_TEXT_SIZE 120

enum client_state { CLIENT_STARTUP, CLIENT_READY, CLIENT_STREAMING, CLIENT_ENDING, CLIENT_CLOSING };

enum client_kind {
    CLIENT_STANDBY, /* a process of our PostgreSQL */
    CLIENT_OURSELVES,
    CLIENT_GUEST,
    CLIENT_AFAR, /* through a tunnel */
};

struct relay_client {
    int fd;
    enum client_kind kind;
    pid_t pid; /* 0: unknown */
    enum client_state state;
    struct buf in, out;
    bool held;        /* a message waits until its answer has room */
    bool say_now;     /* a keepalive is due at once */
    unsigned refused; /* encryptions */
    int64_t heard_us; /* its last message; before the first its beginning */
    int64_t said_us;  /* our last message */
    int64_t asked_us; /* our last request for an answer */
    int64_t since_us; /* its beginning */
    timeline_t timeline;
    lsn_t from, lsn; /* where it began; next byte to serve */
    bool caught_up;
    char application_name[64];
    struct relay_standby standby;
};

void
relay_offer(struct relay *r)
{
    int fd = open(r->offer, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0) {
        log_warning("cannot make %s: %s; a standby far behind restores segments, slower", r->offer,
                    strerror(errno));
        return;
    }
    close(fd);
    r->offered = true;
}

int
relay_open(struct relay *r, const char *run, struct spool *spool, const char *pgdata,
           unsigned guests)
{
    *r = (struct relay){.fd = -1, .supply = {.spool = spool, .pgdata = pgdata}, .guests = guests};
    snprintf(r->path, sizeof r->path, "%s/.s.PGSQL.5432", run);
    snprintf(r->offer, sizeof r->offer, "%s/" RELAY_OFFER, run);
    return unix_socket_listen(r->path, RELAY_CLIENTS_MAX, &r->fd);
}

static int
write_client(struct relay_client *k)
{
    while (buf_used(&k->out) > 0) {
        ssize_t put =
            send(k->fd, buf_data(&k->out), buf_used(&k->out), MSG_NOSIGNAL | MSG_DONTWAIT);

        if (put < 0)
            return errno == EAGAIN || errno == EINTR ? 0
                                                     : fail_sys(ERR_PEER, "cannot be written to");
        buf_consume(&k->out, (size_t)put);
    }
    return 0;
}

/* Who it is, for the log. */
static const char *
describe(const struct relay_client *k, char out[CLIENT_TEXT_SIZE])
{
    static const char *const kinds[] = {[CLIENT_STANDBY] = "standby",
                                        [CLIENT_OURSELVES] = "this agent",
                                        [CLIENT_GUEST] = "guest",
                                        [CLIENT_AFAR] = "guest from afar"};
    char name[64];
    int n;

    text_escape(name, sizeof name, k->application_name, strlen(k->application_name));
    n = snprintf(out, CLIENT_TEXT_SIZE, "%s '%s'", kinds[k->kind], name);
    if (k->pid != 0)
        snprintf(out + n, CLIENT_TEXT_SIZE - (size_t)n, " (process %d)", (int)k->pid);
    else if (k->kind == CLIENT_GUEST)
        snprintf(out + n, CLIENT_TEXT_SIZE - (size_t)n, " (of another pid namespace)");
    return out;
}

static void
set_state(struct relay_client *k, enum client_state state)
{
    char who[CLIENT_TEXT_SIZE];

    k->state = state;
    if (state != CLIENT_STREAMING)
        return;
    k->caught_up = false;
    k->say_now = true; /* once it is */
    log_info("relay: %s streams from " LSN_FORMAT " on timeline %u", describe(k, who),
             LSN_ARGS(k->lsn), k->timeline);
}

/* Keep the last word of a standby that has left. */
static void
standby_left(struct relay *r, struct relay_client *k)
{
    if (!k->standby.connected)
        return;
    k->standby.connected = false;
    r->left = k->standby;
    r->left.left_us = clock_us();
}

/* It goes without a word of ours: what is still unwritten is not wanted. */
static int
hang_up(struct relay_client *k)
{
    buf_clear(&k->out);
    set_state(k, CLIENT_CLOSING);
    return 0;
}

/* The last words; they end the session as soon as they are written. */
static void
close_client(struct relay_client *k, const char *sqlstate, const char *message)
{
    set_state(k, CLIENT_CLOSING);
    pgwire_put_error(&k->out, "FATAL", sqlstate, message); /* no room: then without */
}

static void
drop(struct relay *r, size_t index)
{
    struct relay_client *k = r->client[index];
    char who[CLIENT_TEXT_SIZE];

    if (k->from != LSN_UNKNOWN)
        log_info("relay: %s is gone", describe(k, who));
    standby_left(r, k);
    close(k->fd);
    buf_release(&k->in);
    buf_release(&k->out);
    free(k);
    r->client[index] = NULL;
}

void
relay_close(struct relay *r)
{
    if (r == NULL || r->path[0] == '\0')
        return;
    for (size_t i = 0; i < RELAY_CLIENTS_MAX; i++) {
        if (r->client[i] == NULL)
            continue;
        close_client(r->client[i], "57P01", "the relay ends: its agent is being stopped");
        write_client(r->client[i]);
        drop(r, i);
    }
    if (r->fd >= 0) {
        unlink(r->offer);
        unlink(r->path);
        close(r->fd);
    }
    r->fd = -1;
}

/* One message and the door: for those who cannot become clients. */
static void
turn_away(int fd, const char *sqlstate, const char *message)
{
    uint8_t bytes[512];
    struct buf out = {.bytes = bytes, .size = sizeof bytes};

    if (pgwire_put_error(&out, "FATAL", sqlstate, message) == 0)
        (void)!send(fd, buf_data(&out), buf_used(&out), MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

/* The local standby is who our postmaster has begun: what others say of their WAL is not its word.
 * Without a PostgreSQL (an outbox) only this agent itself has business here. */
static enum client_kind
kind_of(const struct relay *r, pid_t pid)
{
    const char *pgdata = r->supply.pgdata;

    if (pid == getpid())
        return CLIENT_OURSELVES;
    return pgdata != NULL && pgwal_postmaster_child(pgdata, pid) ? CLIENT_STANDBY : CLIENT_GUEST;
}

/* Each kind has its own places: none can take another's. */
static size_t
places(const struct relay *r, enum client_kind kind)
{
    switch (kind) {
    case CLIENT_STANDBY:
        return RELAY_STANDBY_MAX;
    case CLIENT_OURSELVES:
        return RELAY_OURSELVES_MAX;
    case CLIENT_GUEST:
        return r->guests;
    case CLIENT_AFAR:
        break;
    }
    return RELAY_AFAR_MAX;
}

/* A free place; when there is none, that of one of its kind that has sat idle for long. */
static size_t
find_place(struct relay *r, enum client_kind kind, int64_t now_us)
{
    size_t oldest = RELAY_CLIENTS_MAX, free_place = RELAY_CLIENTS_MAX, used = 0;

    for (size_t i = 0; i < RELAY_CLIENTS_MAX; i++) {
        const struct relay_client *k = r->client[i];

        if (k == NULL)
            free_place = i;
        if (k == NULL || k->kind != kind)
            continue;
        used++;
        if (k->state == CLIENT_READY && now_us - k->heard_us >= SILENT_US &&
            (oldest == RELAY_CLIENTS_MAX || k->heard_us < r->client[oldest]->heard_us))
            oldest = i;
    }
    if (used < places(r, kind))
        return free_place;
    if (oldest < RELAY_CLIENTS_MAX) {
        close_client(r->client[oldest], "57P05",
                     "idle for long, and another client needs the place");
        write_client(r->client[oldest]);
        drop(r, oldest);
    }
    return oldest;
}

static struct relay_client *
new_client(int fd, enum client_kind kind, pid_t pid, int64_t now_us)
{
    struct relay_client *k = calloc(1, sizeof *k);

    if (k == NULL)
        return NULL;
    if (buf_init(&k->in, IN_BYTES) < 0 || buf_init(&k->out, OUT_BYTES) < 0) {
        buf_release(&k->in);
        free(k);
        return NULL;
    }
    k->fd = fd;
    k->kind = kind;
    k->pid = pid;
    k->heard_us = k->said_us = k->since_us = now_us;
    return k;
}

/* It will knock again and again: one line a minute is enough. */
static void
turn_away_guest(struct relay *r, int fd, pid_t pid, int64_t now_us)
{
    char text[120] = "the relay serves no guests";

    if (r->guests > 0)
        snprintf(text, sizeof text,
                 "the relay serves no more guests: all places (relay_guests = %u) are taken",
                 r->guests);
    turn_away(fd, "53300", text);
    if (r->told_us != 0 && now_us - r->told_us < TELL_US)
        return;
    r->told_us = now_us;
    log_warning("relay: a guest (process %d) is turned away: %s", (int)pid, text);
}

/* Who it is, is looked at while it waits for us: its process lives, the number is no other's. */
static void
accept_client(struct relay *r, int fd, int64_t now_us)
{
    pid_t pid = unix_socket_peer_pid(fd);
    enum client_kind kind;
    size_t place;

    if (!unix_socket_peer_is_ours(fd)) {
        turn_away(fd, "28000", "only the agent's own user may use its relay");
        return;
    }
    kind = kind_of(r, pid);
    place = find_place(r, kind, now_us);
    if (place == RELAY_CLIENTS_MAX && kind == CLIENT_GUEST) {
        turn_away_guest(r, fd, pid, now_us);
    } else if (place == RELAY_CLIENTS_MAX) {
        turn_away(fd, "53300", "the relay serves no more clients: all its places are taken");
    } else {
        r->client[place] = new_client(fd, kind, pid, now_us);
        if (r->client[place] == NULL)
            turn_away(fd, "53200", "out of memory");
    }
}

static void
accept_clients(struct relay *r, int64_t now_us)
{
    int fd;

    while ((fd = accept4(r->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
        accept_client(r, fd, now_us);
}

bool
relay_adopt(struct relay *r, int fd, int64_t now_us)
{
    size_t place = find_place(r, CLIENT_AFAR, now_us);

    if (place < RELAY_CLIENTS_MAX)
        r->client[place] = new_client(fd, CLIENT_AFAR, 0, now_us);
    if (place < RELAY_CLIENTS_MAX && r->client[place] != NULL)
        return true;
    close(fd);
    return false;
}

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

/* What PostgreSQL's own clients ask of a server in recovery, and what is the same for each of ours.
 */
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

/* The row that ends a timeline: which one is next, and where it starts. */
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

static int
start_replication(struct relay *r, struct relay_client *k, const struct pgwire_command *c,
                  int64_t now_us)
{
    const struct supply *s = &r->supply;
    lsn_t end;
    timeline_t newest = supply_newest(s, &end), timeline = c->timeline != 0 ? c->timeline : newest;
    timeline_t next;

    if (supply_empty(s)) {
        if (k->kind == CLIENT_STANDBY) {
            r->wanted_timeline = timeline;
            r->wanted = c->lsn;
        }
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

        segment_name(name, timeline, c->lsn, s->spool->identity.segment_bytes);
        return put_error(k, "58P01", "requested WAL segment %s is not in the spool", name);
    }
    if (pgwire_put_copy_both(&k->out) < 0)
        return no_room();
    k->timeline = timeline;
    k->from = k->lsn = c->lsn;
    k->said_us = k->asked_us = now_us;
    set_state(k, CLIENT_STREAMING);
    return 0;
}

/* Whatever its name is, it keeps what the spool keeps: who begins with nothing begins there. */
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

    if (text[strspn(text, " \t\r\n;")] == '\0') /* a way of asking whether we live */
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
        break; /* pgwire_parse said no */
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
        close_client(k, "0A000", strange);
        return 0;
    }
    if (r->supply.spool->identity.system_identifier == 0) {
        close_client(k, "57P03", unknown);
        return 0;
    }
    snprintf(version, sizeof version, "%u.0", r->supply.spool->identity.postgres_major);
    set_state(k, CLIENT_READY);
    if (s->newer && pgwire_put_negotiate(&k->out, s) < 0)
        return no_room();
    /* the number only makes names of temporary slots differ */
    return pgwire_put_authentication(&k->out, version, (uint32_t)k->fd) < 0 ? no_room() : 0;
}

/* 1: taken; 0: not all of it is there. */
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
        hang_up(k); /* there is nothing to cancel, and it expects no answer */
    } else if (s.kind == STARTUP_SSL) {
        if (++k->refused > ENCRYPTIONS)
            return fail(ERR_PEER, "asks for encryption again and again");
        buf_put_u8(&k->out, 'N');
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
    k->standby.reported_us = now_us;
    k->standby.connected = s.apply != LSN_UNKNOWN && k->kind == CLIENT_STANDBY;
    k->say_now |= s.reply_wanted;
    if (r->offered && k->standby.connected && s.write > k->from) {
        unlink(r->offer);
        r->offered = false;
    }
    return 0;
}

/* The client's CopyDone: an answer to ours, or its own wish. */
static int
take_copy_done(struct relay *r, struct relay_client *k)
{
    if (k->state == CLIENT_STREAMING && pgwire_put_copy_done(&k->out) < 0)
        return no_room();
    if (k->state == CLIENT_STREAMING)
        standby_left(r, k);
    set_state(k, CLIENT_READY);
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
        return hang_up(k);
    case 'Q':
        if (copying)
            return fail(ERR_PEER, "a query came while WAL is streamed");
        if (m->length == 0 || memchr(m->body, '\0', m->length) != m->body + m->length - 1)
            return fail(ERR_PEER, "a query came that is no string");
        return run_command(r, k, (const char *)m->body, now_us);
    case 'd':
        return copying ? take_status(r, k, m, now_us)
                       : 0; /* sent before it knew that the copy is over */
    case 'c':
        return copying ? take_copy_done(r, k) : 0;
    default:
        return fail(ERR_PEER,
                    "a message of type %d came: only simple queries and copies are served",
                    m->type);
    }
}

/* What came is taken as long as there is room for answers: else it stays, and no more is read. */
static int
take_messages(struct relay *r, struct relay_client *k, int64_t now_us)
{
    struct pgwire_message m;
    int code = 1;

    k->held = false;
    while (code > 0 && k->state == CLIENT_STARTUP)
        code = take_startup(r, k, now_us);
    while (code >= 0 && k->state != CLIENT_STARTUP && k->state != CLIENT_CLOSING) {
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

static int
read_client(struct relay_client *k)
{
    size_t room = buf_room(&k->in);
    ssize_t got;

    if (k->held || k->state == CLIENT_CLOSING || room == 0)
        return 0;
    got = read(k->fd, buf_reserve(&k->in, room), room);
    if (got == 0 || (got < 0 && errno == ECONNRESET))
        return hang_up(k);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : fail_sys(ERR_PEER, "cannot be read from");
    buf_commit(&k->in, (size_t)got);
    return 0;
}

/* ---- serving ---- */

/* The end of what its timeline will ever give, or has so far. */
static lsn_t
timeline_end(const struct relay *r, const struct relay_client *k, bool *ret_over)
{
    timeline_t next;
    lsn_t end;

    *ret_over = k->timeline != supply_newest(&r->supply, &end) &&
                supply_switch_point(&r->supply, k->timeline, &end, &next);
    return end;
}

static int
serve_wal(struct relay *r, struct relay_client *k, int64_t now_us)
{
    size_t served = 0;
    uint8_t *wal;
    bool over;
    lsn_t end = timeline_end(r, k, &over);

    while (served < RUN_BYTES && pgwire_reserve_wal(&k->out, PGWIRE_WAL_MAX, &wal)) {
        int got = supply_read(&r->supply, k->timeline, k->lsn, wal, PGWIRE_WAL_MAX);

        if (got == ERR_AGAIN) {
            char name[SEGMENT_NAME_SIZE], text[80], who[CLIENT_TEXT_SIZE];

            segment_name(name, k->timeline, k->lsn, r->supply.spool->identity.segment_bytes);
            snprintf(text, sizeof text, "requested WAL segment %s is no longer in the spool", name);
            log_warning("relay: %s: %s", describe(k, who), text);
            close_client(k, "58P01", text);
            return 0;
        }
        if (got < 0)
            return got;
        /* as walsender does: cut at a page's end, a standby takes a record cut inside a page for
         * broken */
        if (got == PGWIRE_WAL_MAX)
            got -= (int)((k->lsn + PGWIRE_WAL_MAX) % WAL_PAGE_BYTES);
        k->caught_up = got == 0;
        if (got == 0 && over && k->lsn >= end && pgwire_put_copy_done(&k->out) == 0)
            set_state(k, CLIENT_ENDING);
        if (got == 0)
            return 0;
        pgwire_commit_wal(&k->out, (size_t)got, k->lsn, end, clock_wall_us());
        k->lsn += (lsn_t)got;
        k->said_us = now_us;
        served += (size_t)got;
        if (write_client(k) < 0)
            return ERR_PEER;
    }
    return 0;
}

/* One is due after a while of silence, when it was asked for, and to hear whether it still lives.
 */
static void
keep_alive(struct relay *r, struct relay_client *k, int64_t now_us)
{
    bool ask = now_us - k->heard_us >= SILENT_US / 2 && now_us - k->asked_us >= KEEPALIVE_US, over;
    lsn_t end;

    if (!ask && now_us - k->said_us < KEEPALIVE_US && !(k->say_now && k->caught_up))
        return;
    end = timeline_end(r, k, &over);
    if (pgwire_put_keepalive(&k->out, k->lsn < end ? k->lsn : end, clock_wall_us(), ask) < 0)
        return; /* no room: in a later turn */
    k->say_now = false;
    k->said_us = now_us;
    if (ask)
        k->asked_us = now_us;
}

static int
check_patience(const struct relay_client *k, int64_t now_us)
{
    bool waiting = k->state == CLIENT_READY && buf_used(&k->out) == 0;

    if (k->state == CLIENT_STARTUP && now_us - k->heard_us >= STARTUP_US)
        return fail(ERR_PEER, "no start-up packet within 10 s");
    if (k->state != CLIENT_STARTUP && !waiting && now_us - k->heard_us >= SILENT_US)
        return fail(ERR_PEER, "silent for 60 s");
    return 0;
}

static int
serve(struct relay *r, struct relay_client *k, int64_t now_us)
{
    int code = take_messages(r, k, now_us);

    if (code == 0 && k->state == CLIENT_STREAMING)
        code = serve_wal(r, k, now_us);
    if (code == 0 && k->state == CLIENT_STREAMING)
        keep_alive(r, k, now_us);
    return code;
}

/* False: it is done with, or out of patience's reach. */
static bool
run_client(struct relay *r, struct relay_client *k, short ready, int64_t now_us)
{
    int code = ready != 0 ? read_client(k) : 0;
    char who[CLIENT_TEXT_SIZE];

    if (code == 0)
        code = serve(r, k, now_us);
    if (code < 0) {
        log_warning("relay: %s: %s", describe(k, who), fail_message());
        close_client(k, code == ERR_PEER ? "08P01" : "58030", fail_message());
        k->heard_us = now_us; /* the last words have their time, too */
    }
    if (write_client(k) < 0)
        return false;
    if (k->state == CLIENT_CLOSING && buf_used(&k->out) == 0)
        return false;
    if (check_patience(k, now_us) < 0) {
        log_warning("relay: %s: %s", describe(k, who), fail_message());
        return false;
    }
    return true;
}

static void
run_clients(struct relay *r, const struct loop *l, int64_t now_us)
{
    for (size_t i = 0; i < RELAY_CLIENTS_MAX; i++) {
        struct relay_client *k = r->client[i];

        if (k != NULL && !run_client(r, k, l != NULL ? loop_ready(l, k->fd) : 0, now_us))
            drop(r, i);
    }
}

void
relay_run(struct relay *r, const struct loop *l, int64_t now_us)
{
    run_clients(r, l, now_us);
    if (loop_ready(l, r->fd) != 0)
        accept_clients(r, now_us);
}

void
relay_push(struct relay *r, int64_t now_us)
{
    run_clients(r, NULL, now_us);
}

/* When this client has to be looked at, whatever its descriptor says. */
static int64_t
client_due_us(const struct relay_client *k)
{
    int64_t silent_us = k->heard_us + SILENT_US, due_us;

    switch (k->state) {
    case CLIENT_STARTUP:
        return k->heard_us + STARTUP_US;
    case CLIENT_READY:
        if (buf_used(&k->out) > 0)
            return silent_us;
        return k->held ? 0 : NEVER_US;
    case CLIENT_ENDING:
    case CLIENT_CLOSING:
        return silent_us;
    case CLIENT_STREAMING:
        break;
    }
    if (buf_used(&k->out) > 0)
        return silent_us; /* nothing can be said before it takes that */
    if (k->held || !k->caught_up)
        return 0; /* more is there than one turn takes */
    due_us = k->said_us + KEEPALIVE_US;
    return due_us < silent_us ? due_us : silent_us;
}

void
relay_watch(const struct relay *r, struct loop *l, int64_t now_us)
{
    (void)now_us;
    loop_watch(l, r->fd, POLLIN);
    for (size_t i = 0; i < RELAY_CLIENTS_MAX; i++) {
        const struct relay_client *k = r->client[i];
        int events = 0;

        if (k == NULL)
            continue;
        if (!k->held && k->state != CLIENT_CLOSING)
            events |= POLLIN;
        if (buf_used(&k->out) > 0)
            events |= POLLOUT;
        loop_watch(l, k->fd, (short)events);
        loop_due(l, client_due_us(k));
    }
}

void
relay_standby(const struct relay *r, struct relay_standby *ret_standby)
{
    *ret_standby = r->left;
    for (size_t i = 0; i < RELAY_CLIENTS_MAX; i++) {
        const struct relay_client *k = r->client[i];

        if (k != NULL && k->standby.connected &&
            (!ret_standby->connected || k->standby.reported_us > ret_standby->reported_us))
            *ret_standby = k->standby;
    }
}

static bool
is_guest(const struct relay_client *k)
{
    return k->kind == CLIENT_GUEST || k->kind == CLIENT_AFAR;
}

size_t
relay_guests(const struct relay *r, struct relay_guest out[RELAY_CLIENTS_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < RELAY_CLIENTS_MAX; i++) {
        const struct relay_client *k = r->client[i];

        if (k == NULL || !is_guest(k) || k->state == CLIENT_STARTUP || k->state == CLIENT_CLOSING)
            continue;
        out[n] = (struct relay_guest){.pid = k->pid,
                                      .afar = k->kind == CLIENT_AFAR,
                                      .streams = k->state == CLIENT_STREAMING,
                                      .timeline = k->timeline,
                                      .sent = k->lsn,
                                      .flushed = k->standby.flush,
                                      .applied = k->standby.apply,
                                      .since_us = k->since_us};
        text_escape(out[n].application_name, sizeof out[n].application_name, k->application_name,
                    strlen(k->application_name));
        n++;
    }
    return n;
}

lsn_t
relay_needs(const struct relay *r)
{
    const struct spool *spool = r->supply.spool;
    lsn_t needs = UINT64_MAX;

    for (size_t i = 0; i < RELAY_CLIENTS_MAX; i++) {
        const struct relay_client *k = r->client[i];
        lsn_t from;

        if (k == NULL || (k->state != CLIENT_STREAMING && k->state != CLIENT_ENDING))
            continue;
        from = k->standby.flush != LSN_UNKNOWN && k->standby.flush < k->lsn ? k->standby.flush
                                                                            : k->lsn;
        if (is_guest(k) && from + RELAY_GUEST_BYTES < spool->available)
            continue;
        from = segment_start(from, spool->identity.segment_bytes);
        if (from < needs)
            needs = from;
    }
    return needs;
}

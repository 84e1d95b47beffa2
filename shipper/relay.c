/*
 * See relay.h. A client's life: STARTUP -> READY (commands) -> STREAMING -> ENDING (its timeline is
 * over: CopyDone is out, its own is awaited) -> READY ... Every client is served from the spool's
 * files at its own LSN; one that reads slowly slows nobody but itself.
 */
#include "shipper/relay.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"
#include "pgwire.h"

#include <errno.h>
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
#define OUT_BYTES    (2 * PGWIRE_WAL_MAX)
#define RUN_BYTES    (2u << 20) /* served to one client in one turn */

enum client_state { CLIENT_STARTUP, CLIENT_READY, CLIENT_STREAMING, CLIENT_ENDING, CLIENT_CLOSING };

struct relay_client {
    int fd;
    enum client_state state;
    struct buf in, out;
    int64_t due_us;   /* STARTUP */
    int64_t heard_us, said_us;
    timeline_t timeline;
    lsn_t lsn; /* next byte to serve */
    bool caught_up;
    char application_name[64];
    struct relay_standby standby;
};

static int
make_address(struct sockaddr_un *address, char path[108], const char *run)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if ((size_t)snprintf(path, 108, "%s/.s.PGSQL.5432", run) >= sizeof address->sun_path)
        return fail(ERR_USAGE, "the socket path %s/.s.PGSQL.5432 is too long; choose a shorter run directory", run);
    memcpy(address->sun_path, path, strlen(path) + 1);
    return 0;
}

int
relay_open(struct relay *r, const char *run, struct spool *spool)
{
    struct sockaddr_un address;
    int code;

    *r = (struct relay){.fd = -1, .spool = spool};
    code = make_address(&address, r->path, run);
    if (code < 0)
        return code;
    r->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(r->path); /* the spool's lock says that no other agent is using it */
    if (r->fd < 0 || bind(r->fd, (struct sockaddr *)&address, sizeof address) < 0 || chmod(r->path, 0600) < 0 ||
        listen(r->fd, RELAY_CLIENTS_MAX) < 0)
        return fail_sys(ERR_LOCAL, "cannot listen on %s", r->path);
    return 0;
}

static void
drop(struct relay *r, size_t index, const char *why)
{
    struct relay_client *k = r->client[index];

    if (why != NULL)
        log_warning("relay: client '%s': %s", k->application_name, why);
    if (k->standby.connected) {
        r->left = k->standby;
        r->left.connected = false;
        r->left.left_us = clock_us();
        log_info("relay: '%s' is gone", k->application_name);
    }
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
    for (size_t i = 0; i < RELAY_CLIENTS_MAX; i++)
        if (r->client[i] != NULL)
            drop(r, i, NULL);
    if (r->fd >= 0) {
        unlink(r->path);
        close(r->fd);
    }
    r->fd = -1;
}

static bool
is_ours(int fd)
{
    struct ucred who;
    socklen_t size = sizeof who;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && (who.uid == geteuid() || who.uid == 0);
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

static void
accept_clients(struct relay *r, int64_t now_us)
{
    int fd;

    while ((fd = accept4(r->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        struct relay_client *k;
        size_t i = 0;

        while (i < RELAY_CLIENTS_MAX && r->client[i] != NULL)
            i++;
        if (!is_ours(fd)) {
            turn_away(fd, "28000", "only the agent's own user may use its relay");
            continue;
        }
        if (i == RELAY_CLIENTS_MAX) {
            turn_away(fd, "53300", "the relay serves 8 clients and no more");
            continue;
        }
        k = calloc(1, sizeof *k);
        if (k == NULL || buf_init(&k->in, IN_BYTES) < 0 || buf_init(&k->out, OUT_BYTES) < 0) {
            if (k != NULL)
                buf_release(&k->in);
            free(k);
            turn_away(fd, "53200", "out of memory");
            continue;
        }
        k->fd = fd;
        k->due_us = now_us + STARTUP_US;
        k->heard_us = k->said_us = now_us;
        r->client[i] = k;
    }
}

/* ---- commands ---- */

static int
put_error(struct relay_client *k, const char *sqlstate, const char *format, ...) __attribute__((format(printf, 3, 4)));

static int
put_error(struct relay_client *k, const char *sqlstate, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (pgwire_put_error(&k->out, "ERROR", sqlstate, text) < 0)
        return ERR_PEER;
    return pgwire_put_ready(&k->out) < 0 ? ERR_PEER : 0;
}

static int
put_result(struct relay_client *k, const struct pgwire_column *columns, size_t count, bool with_row, const char *tag)
{
    if (pgwire_put_row(&k->out, columns, count, with_row) < 0 || pgwire_put_complete(&k->out, tag) < 0 ||
        pgwire_put_ready(&k->out) < 0)
        return ERR_PEER;
    return 0;
}

static int
identify(struct relay *r, struct relay_client *k)
{
    char system_identifier[24], timeline[16], position[LSN_TEXT_SIZE];
    const struct spool *s = r->spool;
    struct pgwire_column columns[] = {{"systemid", OID_TEXT, system_identifier, 0},
                                      {"timeline", OID_INT4, timeline, 0},
                                      {"xlogpos", OID_TEXT, position, 0},
                                      {"dbname", OID_TEXT, NULL, 0}};

    snprintf(system_identifier, sizeof system_identifier, "%" PRIu64, s->identity.system_identifier);
    snprintf(timeline, sizeof timeline, "%u", spool_empty(s) ? 1 : s->timeline);
    snprintf(position, sizeof position, LSN_FORMAT, LSN_ARGS(s->available));
    return put_result(k, columns, 4, true, "IDENTIFY_SYSTEM");
}

static int
show(struct relay *r, struct relay_client *k, const char *name)
{
    const struct identity *identity = &r->spool->identity;
    char value[32];
    struct pgwire_column column = {name, OID_TEXT, value, 0};

    if (strcasecmp(name, "wal_segment_size") == 0 && identity->segment_bytes == SEGMENT_BYTES_MAX)
        snprintf(value, sizeof value, "1GB");
    else if (strcasecmp(name, "wal_segment_size") == 0)
        snprintf(value, sizeof value, "%uMB", identity->segment_bytes >> 20);
    else if (strcasecmp(name, "data_directory_mode") == 0)
        snprintf(value, sizeof value, "0700");
    else if (strcasecmp(name, "server_version") == 0)
        snprintf(value, sizeof value, "%u.0", identity->postgres_major);
    else if (strcasecmp(name, "server_version_num") == 0)
        snprintf(value, sizeof value, "%u0000", identity->postgres_major);
    else if (strcasecmp(name, "wal_sender_timeout") == 0)
        snprintf(value, sizeof value, "1min");
    else if (strcasecmp(name, "in_hot_standby") == 0 || strcasecmp(name, "integer_datetimes") == 0)
        snprintf(value, sizeof value, "on");
    else
        return put_error(k, "42704", "the relay knows no setting \"%s\"", name);
    return put_result(k, &column, 1, true, "SHOW");
}

static int
timeline_history(struct relay *r, struct relay_client *k, timeline_t timeline)
{
    static char text[HISTORY_BYTES_MAX + 1];
    char name[HISTORY_NAME_SIZE];
    int length = spool_history(r->spool, timeline, text, sizeof text);
    struct pgwire_column columns[] = {{"filename", OID_TEXT, name, 0},
                                      {"content", OID_TEXT, text, length > 0 ? (size_t)length : 0}};

    history_name(name, timeline);
    if (length < 0)
        return put_error(k, "58P01", "the spool has no file \"%s\"", name);
    return put_result(k, columns, 2, true, "TIMELINE_HISTORY");
}

/* The row that ends a timeline: which one is next, and where it starts. */
static int
put_next_timeline(struct relay_client *k, timeline_t next, lsn_t end)
{
    char next_text[16], start[LSN_TEXT_SIZE];
    struct pgwire_column columns[] = {{"next_tli", OID_INT8, next_text, 0}, {"next_tli_startpos", OID_TEXT, start, 0}};

    snprintf(next_text, sizeof next_text, "%u", next);
    snprintf(start, sizeof start, LSN_FORMAT, LSN_ARGS(end));
    if (pgwire_put_row(&k->out, columns, 2, true) < 0 || pgwire_put_complete(&k->out, "START_STREAMING") < 0 ||
        pgwire_put_complete(&k->out, "START_REPLICATION") < 0 || pgwire_put_ready(&k->out) < 0)
        return ERR_PEER;
    return 0;
}

static int
start_replication(struct relay *r, struct relay_client *k, const struct pgwire_command *c, int64_t now_us)
{
    struct spool *s = r->spool;
    timeline_t timeline = c->timeline != 0 ? c->timeline : s->timeline, next;
    lsn_t first, end;

    if (spool_empty(s)) {
        r->wanted_timeline = timeline != 0 ? timeline : 1;
        r->wanted = c->lsn;
        return put_error(k, "58P01", "requested WAL from " LSN_FORMAT " is not here yet: the spool is empty",
                         LSN_ARGS(c->lsn));
    }
    if (timeline > s->timeline)
        return put_error(k, "XX000", "timeline %u is not in the spool yet, it is on timeline %u", timeline, s->timeline);
    if (timeline != s->timeline) {
        if (!spool_switch_point(s, timeline, &end, &next))
            return put_error(k, "XX000", "timeline %u is not in this server's history", timeline);
        if (c->lsn > end)
            return put_error(k, "XX000",
                             "requested starting point " LSN_FORMAT " on timeline %u is not in this server's history: it "
                             "forked from timeline %u at " LSN_FORMAT,
                             LSN_ARGS(c->lsn), timeline, timeline, LSN_ARGS(end));
        if (c->lsn == end)
            return put_next_timeline(k, next, end);
    }
    if (!(timeline == s->timeline && c->lsn >= s->start) && (!spool_first(s, timeline, &first) || c->lsn < first)) {
        char name[SEGMENT_NAME_SIZE];

        segment_name(name, timeline, c->lsn, s->identity.segment_bytes);
        return put_error(k, "58P01", "requested WAL segment %s is not in the spool", name);
    }
    if (pgwire_put_copy_both(&k->out) < 0)
        return ERR_PEER;
    k->state = CLIENT_STREAMING;
    k->timeline = timeline;
    k->lsn = c->lsn;
    k->caught_up = false;
    k->heard_us = k->said_us = now_us;
    log_info("relay: '%s' streams from " LSN_FORMAT " on timeline %u", k->application_name, LSN_ARGS(c->lsn), timeline);
    return 0;
}

static int
read_slot(struct relay_client *k)
{
    struct pgwire_column columns[] = {
        {"slot_type", OID_TEXT, NULL, 0}, {"restart_lsn", OID_TEXT, NULL, 0}, {"restart_tli", OID_INT8, NULL, 0}};

    return put_result(k, columns, 3, true, "READ_REPLICATION_SLOT"); /* all null: there is no such slot */
}

static int
create_slot(struct relay_client *k, const struct pgwire_command *c)
{
    struct pgwire_column columns[] = {{"slot_name", OID_TEXT, c->name, 0},
                                      {"consistent_point", OID_TEXT, "0/0", 0},
                                      {"snapshot_name", OID_TEXT, NULL, 0},
                                      {"output_plugin", OID_TEXT, NULL, 0}};

    if (!c->temporary || !c->physical)
        return put_error(k, "0A000", "the relay has no lasting slots: the spool keeps WAL by itself (see keep)");
    return put_result(k, columns, 4, true, "CREATE_REPLICATION_SLOT");
}

static int
run_command(struct relay *r, struct relay_client *k, const char *text, int64_t now_us)
{
    struct pgwire_command c;
    char shown[120];

    if (text[strspn(text, " \t\r\n;")] == '\0') { /* libpq's way of asking whether we live */
        if (buf_reserve(&k->out, 16) == NULL)
            return ERR_PEER;
        buf_put_u8(&k->out, 'I');
        buf_put_u32(&k->out, 4);
        return pgwire_put_ready(&k->out);
    }
    if (!pgwire_parse(text, &c))
        return put_error(k, c.verb == VERB_UNKNOWN ? "0A000" : "42601",
                         "the relay does not understand \"%s\"; it knows IDENTIFY_SYSTEM, SHOW, TIMELINE_HISTORY, "
                         "START_REPLICATION and READ_REPLICATION_SLOT",
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
        return read_slot(k);
    case VERB_CREATE_SLOT:
        return create_slot(k, &c);
    case VERB_DROP_SLOT:
        return put_error(k, "42704", "replication slot \"%s\" does not exist", c.name);
    case VERB_UNKNOWN:
        break;
    }
    return ERR_PEER;
}

/* ---- a session ---- */

static int
take_startup(struct relay *r, struct relay_client *k)
{
    struct startup s;
    char version[16];
    int code = pgwire_startup(&k->in, &s);

    if (code < 0)
        return code;
    if (s.kind == STARTUP_MORE)
        return 0;
    buf_consume(&k->in, s.bytes);
    if (s.kind == STARTUP_CANCEL)
        return fail(ERR_PEER, "asks to cancel: there is nothing to cancel");
    if (s.kind == STARTUP_SSL) {
        buf_put_u8(&k->out, 'N');
        return 0;
    }
    snprintf(k->application_name, sizeof k->application_name, "%s", s.application_name);
    if (!s.replication) {
        pgwire_put_error(&k->out, "FATAL", "0A000", "this is walferry's relay: it serves replication connections only");
        k->state = CLIENT_CLOSING;
        return 0;
    }
    if (r->spool->identity.system_identifier == 0) {
        pgwire_put_error(&k->out, "FATAL", "57P03",
                         "the relay does not know its cluster yet: no WAL has come from the primary's agent");
        k->state = CLIENT_CLOSING;
        return 0;
    }
    snprintf(version, sizeof version, "%u.0", r->spool->identity.postgres_major);
    k->state = CLIENT_READY;
    return pgwire_put_authentication(&k->out, version) < 0 ? ERR_PEER : 0;
}

static int
take_status(struct relay_client *k, const struct pgwire_message *m, int64_t now_us)
{
    struct pgwire_status s;
    int code = pgwire_status(m->body, m->length, &s);

    if (code < 0)
        return code;
    k->heard_us = now_us;
    if (s.feedback) {
        k->standby.xmin = s.xmin;
        k->standby.catalog_xmin = s.catalog_xmin;
        return 0;
    }
    k->standby.write = s.write;
    k->standby.flush = s.flush;
    k->standby.apply = s.apply;
    k->standby.reported_us = now_us;
    k->standby.connected = s.apply != LSN_UNKNOWN; /* pg_receivewal applies nothing */
    if (s.reply_wanted)
        k->said_us = 0;
    return 0;
}

static int
take_message(struct relay *r, struct relay_client *k, const struct pgwire_message *m, int64_t now_us)
{
    timeline_t next;
    lsn_t end;

    switch (m->type) {
    case 'X':
        return fail(ERR_PEER, "%s", "");
    case 'Q':
        if (k->state != CLIENT_READY || m->length == 0 || m->body[m->length - 1] != '\0')
            return fail(ERR_PEER, "a query came out of turn");
        return run_command(r, k, (const char *)m->body, now_us);
    case 'd':
        if (k->state != CLIENT_STREAMING && k->state != CLIENT_ENDING)
            return fail(ERR_PEER, "copy data came out of turn");
        return take_status(k, m, now_us);
    case 'c':
        if (k->state == CLIENT_ENDING) {
            k->state = CLIENT_READY;
            if (!spool_switch_point(r->spool, k->timeline, &end, &next))
                return fail(ERR_PEER, "its timeline is gone");
            return put_next_timeline(k, next, end);
        }
        if (k->state != CLIENT_STREAMING)
            return fail(ERR_PEER, "the end of a copy came out of turn");
        k->state = CLIENT_READY;
        k->standby.connected = false;
        if (pgwire_put_copy_done(&k->out) < 0 || pgwire_put_complete(&k->out, "START_STREAMING") < 0 ||
            pgwire_put_complete(&k->out, "START_REPLICATION") < 0 || pgwire_put_ready(&k->out) < 0)
            return ERR_PEER;
        return 0;
    default:
        return fail(ERR_PEER, "a message of type %d came", m->type);
    }
}

static int
read_client(struct relay *r, struct relay_client *k, int64_t now_us)
{
    uint8_t *at = buf_reserve(&k->in, buf_room(&k->in));
    ssize_t got = read(k->fd, at, buf_room(&k->in));
    struct pgwire_message m;
    int code = 0, more = 1;

    if (got == 0)
        return fail(ERR_PEER, "%s", "");
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : fail(ERR_PEER, "%s", "");
    buf_commit(&k->in, (size_t)got);
    while (code == 0 && k->state == CLIENT_STARTUP && more) {
        size_t before = buf_used(&k->in);

        code = take_startup(r, k);
        more = buf_used(&k->in) != before;
    }
    while (code == 0 && k->state != CLIENT_STARTUP && k->state != CLIENT_CLOSING &&
           (more = pgwire_message(&k->in, &m)) != 0) {
        if (more < 0)
            return more;
        code = take_message(r, k, &m, now_us);
        buf_consume(&k->in, m.bytes);
    }
    return code;
}

static int
write_client(struct relay_client *k)
{
    while (buf_used(&k->out) > 0) {
        ssize_t put = send(k->fd, buf_data(&k->out), buf_used(&k->out), MSG_NOSIGNAL | MSG_DONTWAIT);

        if (put < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : fail(ERR_PEER, "%s", "");
        buf_consume(&k->out, (size_t)put);
    }
    return 0;
}

/* The timeline that is being served is over and another one follows. */
static int
end_timeline(struct relay *r, struct relay_client *k)
{
    timeline_t next;
    lsn_t end;

    if (k->timeline == r->spool->timeline || !spool_switch_point(r->spool, k->timeline, &end, &next) || k->lsn < end)
        return 0;
    if (pgwire_put_copy_done(&k->out) < 0)
        return 0; /* no room: in the next turn */
    k->state = CLIENT_ENDING;
    return 0;
}

static int
serve(struct relay *r, struct relay_client *k, int64_t now_us)
{
    size_t served = 0;
    uint8_t *wal;

    while (k->state == CLIENT_STREAMING && served < RUN_BYTES) {
        int got;

        if (!pgwire_reserve_wal(&k->out, PGWIRE_WAL_MAX, &wal))
            break;
        got = spool_read(r->spool, k->timeline, k->lsn, wal, PGWIRE_WAL_MAX);
        if (got == ERR_AGAIN) {
            pgwire_put_error(&k->out, "ERROR", "58P01", "requested WAL is no longer in the spool");
            k->state = CLIENT_CLOSING;
            return 0;
        }
        if (got < 0)
            return got;
        if (got == 0) {
            if (!k->caught_up)
                k->said_us = 0; /* tell it so */
            k->caught_up = true;
            end_timeline(r, k);
            break;
        }
        k->caught_up = false;
        pgwire_commit_wal(&k->out, (size_t)got, k->lsn, r->spool->available, clock_wall_us());
        k->lsn += (lsn_t)got;
        k->said_us = now_us;
        served += (size_t)got;
        if (write_client(k) < 0)
            return ERR_PEER;
    }
    if (k->state == CLIENT_STREAMING && now_us - k->said_us >= KEEPALIVE_US &&
        pgwire_put_keepalive(&k->out, k->lsn, clock_wall_us(), now_us - k->heard_us >= SILENT_US / 2) == 0)
        k->said_us = now_us;
    return write_client(k);
}

static int
run_client(struct relay *r, struct relay_client *k, short ready, int64_t now_us)
{
    int code = ready != 0 ? read_client(r, k, now_us) : 0;

    if (code == 0)
        code = serve(r, k, now_us);
    if (code < 0)
        return code;
    if (k->state == CLIENT_CLOSING && buf_used(&k->out) == 0)
        return fail(ERR_PEER, "%s", "");
    if (k->state == CLIENT_STARTUP && now_us >= k->due_us)
        return fail(ERR_PEER, "no start-up packet within 10 s");
    if (k->state != CLIENT_READY && k->state != CLIENT_STARTUP && now_us - k->heard_us >= SILENT_US)
        return fail(ERR_PEER, "silent for 60 s");
    return 0;
}

static void
run_clients(struct relay *r, const struct loop *l, int64_t now_us)
{
    for (size_t i = 0; i < RELAY_CLIENTS_MAX; i++) {
        struct relay_client *k = r->client[i];

        if (k != NULL && run_client(r, k, l != NULL ? loop_ready(l, k->fd) : 0, now_us) < 0)
            drop(r, i, fail_message()[0] != '\0' ? fail_message() : NULL);
    }
}

void
relay_run(struct relay *r, const struct loop *l, int64_t now_us)
{
    if (loop_ready(l, r->fd) != 0)
        accept_clients(r, now_us);
    run_clients(r, l, now_us);
}

void
relay_push(struct relay *r, int64_t now_us)
{
    run_clients(r, NULL, now_us);
}

void
relay_watch(const struct relay *r, struct loop *l, int64_t now_us)
{
    (void)now_us;
    loop_watch(l, r->fd, POLLIN);
    for (size_t i = 0; i < RELAY_CLIENTS_MAX; i++) {
        const struct relay_client *k = r->client[i];

        if (k == NULL)
            continue;
        loop_watch(l, k->fd, (short)(POLLIN | (buf_used(&k->out) > 0 ? POLLOUT : 0)));
        if (k->state == CLIENT_STARTUP)
            loop_due(l, k->due_us);
        else if (k->state != CLIENT_READY)
            loop_due(l, k->said_us + KEEPALIVE_US < k->heard_us + SILENT_US ? k->said_us + KEEPALIVE_US
                                                                            : k->heard_us + SILENT_US);
        if (k->state == CLIENT_STREAMING && !k->caught_up && buf_used(&k->out) == 0)
            loop_due(l, 0); /* more is there than one turn takes */
    }
}

void
relay_standby(const struct relay *r, struct relay_standby *ret_standby)
{
    *ret_standby = r->left;
    for (size_t i = 0; i < RELAY_CLIENTS_MAX; i++)
        if (r->client[i] != NULL && r->client[i]->standby.connected)
            *ret_standby = r->client[i]->standby;
}

lsn_t
relay_needs(const struct relay *r)
{
    lsn_t needs = UINT64_MAX;

    for (size_t i = 0; i < RELAY_CLIENTS_MAX; i++) {
        const struct relay_client *k = r->client[i];

        if (k != NULL && k->state == CLIENT_STREAMING && k->lsn < needs)
            needs = k->lsn;
    }
    return needs;
}

/* See http.h. One table of what is served; MHD calls `answer` from inside http_run. */
#include "web/http.h"

#include "daemon/agent.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define HTTP_PATIENCE_US   (10 * SECOND_US)
#define HTTP_REQUEST_BYTES 8192
#define HTTP_SHARE         4 /* after a turn HTTP rests for so many times as long */
#define HTTP_RETRY_US      (5 * SECOND_US)
#define PEER_SEEN_US       (3 * SECOND_US) /* PING is sent each second */
#define NEWS_US            (10 * SECOND_US) /* a former primary that comes back hears of it by then */
#define LAG_MAX_US         (30 * 86400 * SECOND_US) /* that ?lag= may ask for */
#define APPLY_RATE_US      (10 * SECOND_US)

/* From page.html, page.css and page.js, made by CMake. */
extern const char page_html[], page_css[], page_js[];

struct reply {
    unsigned status;
    const char *type;
    char *body; /* to be freed when `owned` */
    size_t length;
    bool owned;
};

typedef void handler(const struct http *h, const char *lag, struct reply *r);

static void __attribute__((format(printf, 3, 4)))
reply_text(struct reply *r, unsigned status, const char *format, ...)
{
    va_list args;
    int length;

    va_start(args, format);
    length = vasprintf(&r->body, format, args);
    va_end(args);
    r->status = length < 0 ? MHD_HTTP_INTERNAL_SERVER_ERROR : status;
    r->length = length < 0 ? 0 : (size_t)length;
    r->owned = length >= 0;
    r->type = "text/plain; charset=utf-8";
}

static void
reply_json(struct reply *r, json_t *json)
{
    r->body = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    json_decref(json);
    r->status = r->body != NULL ? MHD_HTTP_OK : MHD_HTTP_INTERNAL_SERVER_ERROR;
    r->length = r->body != NULL ? strlen(r->body) : 0;
    r->owned = true;
    r->type = "application/json";
}

static void
reply_file(struct reply *r, const char *type, const char *bytes)
{
    /* MHD asks for a pointer without const and keeps the bytes as they are */
    memcpy(&r->body, &bytes, sizeof bytes);
    r->length = strlen(bytes);
    r->status = MHD_HTTP_OK;
    r->type = type;
}

/* ---- what this member knows of the others ---- */

/* When another member was last heard of, and which: 0, never in this life. */
static int64_t
peer_heard_us(const struct agent *a, const char **ret_name, bool *ret_live)
{
    bool receiving = a->who.role == ROLE_STANDBY || a->who.role == ROLE_PROMOTING;
    int64_t best_us = a->in.receiver.heard_us; /* who was just promoted has seen it there */

    *ret_name = a->in.receiver.from[0] != '\0' ? a->in.receiver.from
                : a->out.links > 0             ? a->out.link[0].member
                                               : "the other site";
    *ret_live = receiving && receiver_live(&a->in.receiver);
    if (receiving)
        return best_us;
    for (size_t i = 0; i < a->out.links; i++) {
        const struct link *l = &a->out.link[i];

        if (l->sender.seen_us <= best_us)
            continue;
        best_us = l->sender.seen_us;
        *ret_name = l->member;
        *ret_live = l->state == LINK_SHIPPING;
    }
    return best_us;
}

static bool
peer_word(const struct http *h, char *out, size_t size)
{
    const char *name;
    bool live;
    int64_t heard_us = peer_heard_us(h->agent, &name, &live);
    char ago[32];

    if (heard_us == 0) {
        snprintf(out, size, "%s was not seen since this agent was started %s ago", name,
                 text_duration(ago, sizeof ago, h->now_us - h->agent->who.started_us));
        return false;
    }
    live = live && h->now_us - heard_us < PEER_SEEN_US;
    snprintf(out, size, live ? "%s is seen" : "%s was not seen for %s", name,
             text_duration(ago, sizeof ago, h->now_us - heard_us));
    return live;
}

static bool
postgres_answers(const struct http *h)
{
    return who_postgres(&h->agent->who, h->now_us) == PONG_POSTGRES_ANSWERS;
}

/* Why this is not where clients should write; NULL: it is. */
static const char *
not_primary(const struct http *h)
{
    const struct agent *a = h->agent;
    const struct postgres_sample *s = postgres_sample(a->who.postgres);
    const char *peer;
    bool live;
    struct concierge_facts facts = {.role = a->who.role,
                                    .alarm = a->who.alarm,
                                    .answers = postgres_answers(h),
                                    .in_recovery = s != NULL && s->in_recovery,
                                    .young = h->now_us - a->who.started_us < NEWS_US,
                                    .peer_heard = peer_heard_us(a, &peer, &live) != 0};

    return judge_concierge(&facts);
}

/* ---- concierge ---- */

static void
get_primary(const struct http *h, const char *lag, struct reply *r)
{
    const char *why = not_primary(h);
    char peer[160];
    bool seen = peer_word(h, peer, sizeof peer);

    (void)lag;
    if (why != NULL)
        reply_text(r, MHD_HTTP_SERVICE_UNAVAILABLE, "%s: %s; %s\n", h->agent->who.self->name, why,
                   peer);
    else
        reply_text(r, MHD_HTTP_OK, "%s is the primary of epoch %llu; %s%s\n",
                   h->agent->who.self->name, (unsigned long long)h->agent->who.pool.epoch.number,
                   peer, seen ? "" : ": whether it was promoted meanwhile cannot be known here");
}

/* "10s", "500ms", "2min"; false: nothing like it. */
static void
get_standby(const struct http *h, const char *lag, struct reply *r)
{
    const struct agent *a = h->agent;
    int64_t limit_us = NEVER_US, primary_us, age_us = 0;
    bool known = receiver_primary_us(&a->in.receiver, h->now_us, &primary_us) &&
                 lag_age(&a->in.receiver.applied, primary_us, &age_us);
    char peer[160], shown[32] = "unknown";

    peer_word(h, peer, sizeof peer);
    if (known)
        text_duration(shown, sizeof shown, age_us);
    if (lag != NULL && text_take_duration(lag, LAG_MAX_US, &limit_us) < 0)
        reply_text(r, MHD_HTTP_BAD_REQUEST,
                   "lag is a number with ms, s, min, h or d, as in lag=10s\n");
    else if (a->who.role != ROLE_STANDBY)
        reply_text(r, MHD_HTTP_SERVICE_UNAVAILABLE, "%s is no standby (%s)\n", a->who.self->name,
                   role_name(a->who.role));
    else if (!postgres_answers(h) || !postgres_sample(a->who.postgres)->in_recovery)
        reply_text(r, MHD_HTTP_SERVICE_UNAVAILABLE,
                   "%s: PostgreSQL here does not answer as a standby\n", a->who.self->name);
    else
        reply_text(r,
                   lag != NULL && (!known || age_us > limit_us) ? MHD_HTTP_SERVICE_UNAVAILABLE
                                                                : MHD_HTTP_OK,
                   "%s is a standby, its lag is %s; %s\n", a->who.self->name, shown, peer);
}

/* Where clients find a member's PostgreSQL: its host as the pool's file names it, its port. */
static void
endpoint(const struct member *m, char *out, size_t size)
{
    const char *port = strstr(m->postgres, "port='");

    snprintf(out, size, strchr(m->target.host, ':') != NULL ? "[%s]:%.*s" : "%s:%.*s",
             m->target.host, port != NULL ? (int)strcspn(port + 6, "'") : 4,
             port != NULL ? port + 6 : "5432");
}

static void
get_active(const struct http *h, const char *lag, struct reply *r)
{
    const struct agent *a = h->agent;
    const struct pool *p = &a->who.pool;
    const struct member *m = config_member(a->who.config, p->epoch.member);
    char peer[160], place[300] = "", since[40] = "", how[400];
    bool ours = a->who.role == ROLE_PRIMARY && not_primary(h) == NULL;
    bool seen = peer_word(h, peer, sizeof peer);

    (void)lag;
    if (m != NULL)
        endpoint(m, place, sizeof place);
    if (p->changes > 0)
        text_time(since, sizeof since, p->change[p->changes - 1].wall_us);
    if (m == NULL)
        snprintf(how, sizeof how, "no primary was seen yet; %s", peer);
    else if (a->who.role == ROLE_PRIMARY)
        snprintf(how, sizeof how, "%s%s; %s%s", a->who.self->name,
                 ours ? " is the primary and takes writes" : ", the primary, takes no writes now",
                 peer, seen ? "" : ": whether it was promoted meanwhile cannot be known here");
    else
        snprintf(how, sizeof how, "%s says so%s; %s", seen ? m->name : a->who.self->name,
                 seen ? " on the link" : ", from what it knew last: this may be over", peer);
    reply_json(r, json_pack("{s:s s:s s:s? s:s? s:s? s:I s:s? s:b s:s s:b s:s}", "pool",
                            a->who.config->name, "told_by", a->who.self->name, "site",
                            m != NULL ? m->site : NULL, "member", m != NULL ? m->name : NULL,
                            "endpoint", place[0] != '\0' ? place : NULL, "epoch",
                            (json_int_t)p->epoch.number, "since", since[0] != '\0' ? since : NULL,
                            "certain", seen && p->epoch.number > 0, "how", how, "peer_seen", seen,
                            "peer", peer));
}

static void
get_healthz(const struct http *h, const char *lag, struct reply *r)
{
    const struct agent *a = h->agent;
    const char *wrong = a->who.alarm[0] != '\0' ? a->who.alarm : a->in.error;

    (void)lag;
    if (wrong[0] != '\0')
        reply_text(r, MHD_HTTP_SERVICE_UNAVAILABLE, "%s\n", wrong);
    else
        reply_text(r, MHD_HTTP_OK, "%s runs\n", a->who.self->name);
}

/* ---- figures ---- */

static void
get_status(const struct http *h, const char *lag, struct reply *r)
{
    (void)lag;
    reply_json(r, agent_report(h->agent, h->now_us));
}

static void
get_metrics(const struct http *h, const char *lag, struct reply *r)
{
    (void)lag;
    r->body = metrics_text(h, h->now_us, &r->length);
    r->owned = true;
    r->status = r->body != NULL ? MHD_HTTP_OK : MHD_HTTP_INTERNAL_SERVER_ERROR;
    r->type = "text/plain; version=0.0.4; charset=utf-8";
}

static const struct http_sample *
sample_at(const struct http *h, size_t i) /* 0: the oldest */
{
    return &h->sample[(h->next + HTTP_HISTORY - h->samples + i) % HTTP_HISTORY];
}

static json_t *
lag_json(int32_t ms)
{
    return ms == HTTP_UNKNOWN ? json_null() : json_real(ms / 1000.0);
}

static void
get_history(const struct http *h, const char *lag, struct reply *r)
{
    json_t *age = json_array(), *exposure = json_array(), *applied = json_array();

    (void)lag;
    for (size_t i = 0; i < h->samples; i++) {
        const struct http_sample *s = sample_at(h, i);

        json_array_append_new(
            age, json_integer((json_int_t)((h->now_us - s->mono_us) / MILLISECOND_US)));
        json_array_append_new(exposure, lag_json(s->exposure_ms));
        json_array_append_new(applied, lag_json(s->applied_ms));
    }
    reply_json(r, json_pack("{s:o s:o s:o}", "age_ms", age, "exposure_seconds", exposure,
                            "applied_seconds", applied));
}

bool
http_time_to_apply(const struct http *h, int64_t now_us, double *ret_seconds)
{
    const struct agent *a = h->agent;
    lsn_t applied = incoming_applied(&a->in), held = a->in.spool.flushed;
    const struct http_sample *from = NULL;

    if (a->who.role != ROLE_STANDBY || applied == LSN_UNKNOWN || held == LSN_UNKNOWN)
        return false;
    *ret_seconds = 0;
    if (held <= applied)
        return true;
    for (size_t i = h->samples; i-- > 0 && now_us - sample_at(h, i)->mono_us < APPLY_RATE_US;)
        from = sample_at(h, i);
    if (from == NULL || from->applied == LSN_UNKNOWN || applied <= from->applied)
        return false; /* replay stands: nobody knows */
    *ret_seconds = (double)(held - applied) / (double)(applied - from->applied) *
                   (double)(now_us - from->mono_us) / (double)SECOND_US;
    return true;
}

static int32_t
milliseconds(const json_t *seconds)
{
    double ms = json_number_value(seconds) * 1000;

    return !json_is_number(seconds) ? HTTP_UNKNOWN : ms < INT32_MAX ? (int32_t)ms : INT32_MAX;
}

/* The smallest of the links' lags of what is applied; of the one that comes in on a standby. */
static int32_t
applied_lag(const json_t *report)
{
    const json_t *link, *receiving = json_object_get(report, "receiving");
    int32_t best = HTTP_UNKNOWN;
    size_t i;

    if (json_is_object(receiving))
        return milliseconds(json_object_get(json_object_get(receiving, "applied"), "lag_seconds"));
    json_array_foreach (json_object_get(report, "links"), i, link) {
        int32_t ms = milliseconds(json_object_get(json_object_get(link, "applied"), "lag_seconds"));

        if (ms != HTTP_UNKNOWN && (best == HTTP_UNKNOWN || ms < best))
            best = ms;
    }
    return best;
}

static void
take_sample(struct http *h, int64_t now_us)
{
    json_t *report = agent_report(h->agent, now_us);

    h->sample[h->next] = (struct http_sample){
        .mono_us = now_us,
        .exposure_ms = milliseconds(json_object_get(report, "exposure_seconds")),
        .applied_ms = applied_lag(report),
        .applied = incoming_applied(&h->agent->in)};
    h->next = (h->next + 1) % HTTP_HISTORY;
    if (h->samples < HTTP_HISTORY)
        h->samples++;
    json_decref(report);
}

/* ---- requests ---- */

static void
get_page(const struct http *h, const char *lag, struct reply *r)
{
    (void)h;
    (void)lag;
    reply_file(r, "text/html; charset=utf-8", page_html);
}

static void
get_style(const struct http *h, const char *lag, struct reply *r)
{
    (void)h;
    (void)lag;
    reply_file(r, "text/css; charset=utf-8", page_css);
}

static void
get_script(const struct http *h, const char *lag, struct reply *r)
{
    (void)h;
    (void)lag;
    reply_file(r, "text/javascript; charset=utf-8", page_js);
}

static const struct {
    const char *path;
    handler *get;
} served[] = {
    {"/", get_page},
    {"/page.css", get_style},
    {"/page.js", get_script},
    {"/status.json", get_status},
    {"/history.json", get_history},
    {"/metrics", get_metrics},
    {"/primary", get_primary},
    {"/standby", get_standby},
    {"/active", get_active},
    {"/healthz", get_healthz},
};

static handler *
find_handler(const char *path)
{
    for (size_t i = 0; i < sizeof served / sizeof served[0]; i++)
        if (strcmp(path, served[i].path) == 0)
            return served[i].get;
    return NULL;
}

static enum MHD_Result
queue(struct MHD_Connection *connection, const struct reply *r)
{
    static const char *const headers[][2] = {
        {"Cache-Control", "no-store"},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; "
                                    "connect-src 'self'; img-src data:; frame-ancestors 'none'"},
    };
    struct MHD_Response *response = MHD_create_response_from_buffer(
        r->length, r->body, r->owned ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result;

    if (response == NULL) {
        if (r->owned)
            free(r->body);
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", r->type);
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        MHD_add_response_header(response, headers[i][0], headers[i][1]);
    if (r->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, "Allow", "GET, HEAD");
    result = MHD_queue_response(connection, r->status, response);
    MHD_destroy_response(response);
    return result;
}

/* ---- by which name ---- */

static bool
is_numeric(const char *text)
{
    uint8_t address[16];

    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

static bool
is_among(const char *name, const char *names)
{
    static const char between[] = ", ";
    size_t length = strlen(name), n;

    for (names += strspn(names, between); *names != '\0'; names += n + strspn(names + n, between)) {
        n = strcspn(names, between);
        if (n == length && strncasecmp(names, name, n) == 0)
            return true;
    }
    return false;
}

bool
http_is_ours(const char *host, const char *names)
{
    bool bracket = host[0] == '[';
    size_t n = bracket ? strcspn(host + 1, "]") : strcspn(host, ":");
    const char *behind = host + n + (bracket ? 1 : 0);
    char name[256];

    if (is_numeric(host)) /* also of version 6 without brackets */
        return true;
    if (bracket && *behind++ != ']')
        return false;
    if (n == 0 || n >= sizeof name ||
        (*behind != '\0' &&
         (*behind != ':' || behind[1 + strspn(behind + 1, "0123456789")] != '\0')))
        return false;
    snprintf(name, sizeof name, "%.*s", (int)n, host + (bracket ? 1 : 0));
    if (bracket || is_numeric(name))
        return is_numeric(name);
    if (name[n - 1] == '.')
        name[n - 1] = '\0';
    return strcasecmp(name, "localhost") == 0 || is_among(name, names);
}

struct host_check {
    const char *names;
    bool foreign;
};

/* Of each Host that was sent. */
static enum MHD_Result
check_host(void *context, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct host_check *c = context;

    (void)kind;
    if (strcasecmp(key, "Host") == 0)
        c->foreign |= value != NULL && value[0] != '\0' && !http_is_ours(value, c->names);
    return MHD_YES;
}

static enum MHD_Result
answer(void *context, struct MHD_Connection *connection, const char *url, const char *method,
       const char *version, const char *upload, size_t *upload_size, void **request)
{
    const struct http *h = context;
    handler *get = find_handler(url);
    struct host_check host = {.names = h->agent->who.self->http_names};
    struct reply r = {0};

    (void)version;
    (void)upload;
    (void)upload_size;
    (void)request;
    MHD_get_connection_values(connection, MHD_HEADER_KIND, check_host, &host);
    if (host.foreign)
        reply_text(&r, MHD_HTTP_MISDIRECTED_REQUEST,
                   "this agent goes by its address; other names: http_names in the pool's file\n");
    else if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        reply_text(&r, MHD_HTTP_METHOD_NOT_ALLOWED, "this agent only tells: GET or HEAD\n");
    else if (get == NULL)
        reply_text(&r, MHD_HTTP_NOT_FOUND,
                   "not here; there are / /status.json /history.json /metrics /primary "
                   "/standby /active /healthz\n");
    else
        get(h, MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "lag"), &r);
    return queue(connection, &r);
}

/* ---- connections ---- */

static void
note_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                enum MHD_ConnectionNotificationCode code)
{
    struct http *h = context;
    struct http_connection *c = *socket_context;
    const union MHD_ConnectionInfo *info;

    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (c != NULL)
            c->fd = -1;
        return;
    }
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    for (size_t i = 0; info != NULL && i < HTTP_CONNECTIONS_MAX; i++)
        if (h->connection[i].fd < 0) {
            h->connection[i] =
                (struct http_connection){.fd = info->connect_fd, .since_us = h->now_us};
            *socket_context = &h->connection[i];
            return;
        }
}

/* An answer is out: the connection may wait for the next request as long as a new one. */
static void
note_answer(void *context, struct MHD_Connection *connection, void **request,
            enum MHD_RequestTerminationCode code)
{
    struct http *h = context;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_connection *c = info != NULL ? info->socket_context : NULL;

    (void)request;
    (void)code;
    if (c != NULL)
        c->since_us = h->now_us;
}

/* MHD finds it at its end and closes it. */
static void
end_connection(struct http_connection *c)
{
    if (!c->ended)
        shutdown(c->fd, SHUT_RDWR);
    c->ended = true;
}

/* MHD only minds silence: a client that sends a byte a second could stay for ever. */
static void
close_slow(struct http *h, int64_t now_us)
{
    for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
        if (h->connection[i].fd >= 0 && now_us - h->connection[i].since_us >= HTTP_PATIENCE_US)
            end_connection(&h->connection[i]);
}

/* The oldest go when many come: who asks and reads at once is never among them. */
static void
make_room(struct http *h)
{
    for (;;) {
        struct http_connection *oldest = NULL;
        size_t count = 0;

        for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
            struct http_connection *c = &h->connection[i];

            if (c->fd < 0 || c->ended)
                continue;
            count++;
            if (oldest == NULL || c->since_us < oldest->since_us)
                oldest = c;
        }
        if (count <= HTTP_CONNECTIONS_MAX / 2)
            return;
        end_connection(oldest);
    }
}

static void
set_error(struct http *h, const char *error)
{
    if (strcmp(h->error, error) == 0)
        return;
    if (error[0] != '\0')
        log_warning("%s", error);
    snprintf(h->error, sizeof h->error, "%s", error);
}

static void
start(struct http *h)
{
    const struct http_place *place = &h->agent->who.self->http;
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM},
                    *found = NULL;
    char text[200];

    if (getaddrinfo(place->host, place->port, &hints, &found) == 0) {
        unsigned flags = MHD_USE_EPOLL | (found->ai_family == AF_INET6 ? MHD_USE_IPv6 : 0U);

        h->daemon = MHD_start_daemon(flags, 0, NULL, NULL, answer, h, MHD_OPTION_SOCK_ADDR,
                                     found->ai_addr, MHD_OPTION_CONNECTION_LIMIT,
                                     (unsigned)HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
                                     (unsigned)(HTTP_PATIENCE_US / SECOND_US),
                                     MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_REQUEST_BYTES,
                                     MHD_OPTION_NOTIFY_CONNECTION, note_connection, h,
                                     MHD_OPTION_NOTIFY_COMPLETED, note_answer, h, MHD_OPTION_END);
        freeaddrinfo(found);
    }
    if (h->daemon == NULL) {
        snprintf(text, sizeof text,
                 "nothing is served at http = %s:%s: the address is taken or is none of this host; "
                 "tried again every 5 s",
                 place->host, place->port);
        set_error(h, text);
        return;
    }
    set_error(h, "");
    h->fd = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    log_info("page, metrics and concierge at http://%s:%s/", place->host, place->port);
}

/* ---- life ---- */

void
http_init(struct http *h, const struct agent *a)
{
    *h = (struct http){.agent = a, .fd = -1};
    for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
        h->connection[i].fd = -1;
}

void
http_close(struct http *h)
{
    if (h->daemon != NULL)
        MHD_stop_daemon(h->daemon);
    h->daemon = NULL;
}

void
http_watch(const struct http *h, struct loop *l)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;
    int64_t now_us;

    if (h->daemon == NULL)
        return;
    now_us = clock_us();
    if (now_us < h->rest_until_us) {
        loop_due(l, h->rest_until_us);
        return;
    }
    loop_watch(l, h->fd, POLLIN);
    if (MHD_get_timeout(h->daemon, &timeout_ms) == MHD_YES)
        loop_due(l, now_us + (int64_t)(timeout_ms < 1000 ? timeout_ms : 1000) * MILLISECOND_US);
}

void
http_run(struct http *h, const struct loop *l, int64_t now_us)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms = 1;
    int64_t begun_us, ended_us;

    if (h->daemon == NULL || now_us < h->rest_until_us)
        return;
    if (loop_ready(l, h->fd) == 0 &&
        (MHD_get_timeout(h->daemon, &timeout_ms) != MHD_YES || timeout_ms > 0))
        return;
    h->now_us = now_us;
    begun_us = clock_us();
    MHD_run(h->daemon);
    make_room(h);
    ended_us = clock_us();
    h->rest_until_us = ended_us + HTTP_SHARE * (ended_us - begun_us);
}

void
http_keep(struct http *h, int64_t now_us)
{
    if (h->agent->who.self->http.host[0] == '\0')
        return;
    take_sample(h, now_us);
    close_slow(h, now_us);
    if (h->daemon == NULL && now_us >= h->retry_us) {
        h->retry_us = now_us + HTTP_RETRY_US;
        start(h);
    }
}

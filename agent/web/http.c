/* SPDX-License-Identifier: PostgreSQL */
/* See http.h. One table of what is served; MHD calls `answer` from inside http_run. */
#include "web/http.h"

#include "monitor/report.h"
#include "web/concierge.h"
#include "web/metrics.h"

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

/* From page.html, page.css and page.js, made by CMake. */
extern const char page_html[], page_css[], page_js[];

typedef void handler(const struct request *q, struct reply *r);

static void
get_status(const struct request *q, struct reply *r)
{
    reply_json(r, report_json(q->view, q->now_us));
}

static void
get_history(const struct request *q, struct reply *r)
{
    reply_json(r, lag_history_json(q->history, q->now_us));
}

static void
get_metrics(const struct request *q, struct reply *r)
{
    r->body = metrics_text(q->view, q->history, q->now_us, &r->length);
    r->owned = true;
    r->status = r->body != NULL ? MHD_HTTP_OK : MHD_HTTP_INTERNAL_SERVER_ERROR;
    r->type = "text/plain; version=0.0.4; charset=utf-8";
}

static void
get_page(const struct request *q, struct reply *r)
{
    (void)q;
    reply_file(r, "text/html; charset=utf-8", page_html);
}

static void
get_style(const struct request *q, struct reply *r)
{
    (void)q;
    reply_file(r, "text/css; charset=utf-8", page_css);
}

static void
get_script(const struct request *q, struct reply *r)
{
    (void)q;
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
    {"/primary", concierge_primary},
    {"/standby", concierge_standby},
    {"/active", concierge_active},
    {"/healthz", concierge_healthz},
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

/* For each header; Host may come more than once. */
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
    struct host_check host = {.names = h->view->who->self->http_names};
    struct request q = {.view = h->view,
                        .history = &h->history,
                        .now_us = h->now_us,
                        .lag =
                            MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "lag")};
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
        get(&q, &r);
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

/* MHD finds the connection at its end and closes it. */
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
    const struct http_place *place = &h->view->who->self->http;
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
http_init(struct http *h, const struct view *view)
{
    *h = (struct http){.view = view, .fd = -1};
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
    if (h->view->who->self->http.host[0] == '\0')
        return;
    lag_history_add(&h->history, h->view, now_us);
    close_slow(h, now_us);
    if (h->daemon == NULL && now_us >= h->retry_us) {
        h->retry_us = now_us + HTTP_RETRY_US;
        start(h);
    }
}

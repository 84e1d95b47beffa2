/* SPDX-License-Identifier: PostgreSQL */
/* See control.h. */
#include "control/control.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/unix_socket.h"
#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_BYTES_MAX (256u << 10) /* a pool's file as JSON */
#define ANSWER_BYTES_MAX  (1u << 20)
#define REQUEST_US        (10 * SECOND_US)

int
control_open(struct control *c, const char *run)
{
    *c = (struct control){.fd = -1, .next_id = 1};
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        c->client[i].fd = -1;
    snprintf(c->path, sizeof c->path, "%s/control", run);
    return unix_socket_listen(c->path, 16, &c->fd);
}

static void
drop(struct control_client *k)
{
    close(k->fd);
    json_decref(k->request);
    buf_release(&k->in);
    buf_release(&k->out);
    *k = (struct control_client){.fd = -1};
}

void
control_close(struct control *c)
{
    if (c->fd < 0)
        return;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (c->client[i].fd >= 0)
            drop(&c->client[i]);
    unlink(c->path);
    close(c->fd);
    c->fd = -1;
}

static struct control_client *
take_client(struct control *c, int fd, int64_t now_us)
{
    struct control_client *k = NULL;

    for (size_t i = 0; i < CONTROL_CLIENTS_MAX && k == NULL; i++)
        if (c->client[i].fd < 0)
            k = &c->client[i];
    if (k == NULL) {
        close(fd);
        return NULL;
    }
    *k = (struct control_client){.fd = fd, .due_us = now_us + REQUEST_US, .id = c->next_id++};
    if (buf_init(&k->in, REQUEST_BYTES_MAX) == 0 && buf_init(&k->out, ANSWER_BYTES_MAX) == 0)
        return k;
    drop(k);
    return NULL;
}

static void
accept_clients(struct control *c, int64_t now_us)
{
    int fd;

    while ((fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        if (unix_socket_peer_is_ours(fd))
            take_client(c, fd, now_us);
        else
            close(fd);
    }
}

bool
control_adopt(struct control *c, int fd, bool only_asks, int64_t now_us)
{
    struct control_client *k = take_client(c, fd, now_us);

    if (k == NULL)
        return false;
    k->afar = true;
    k->only_asks = only_asks;
    return true;
}

static const struct control_client *
client_of(const struct control *c, uint64_t id)
{
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (c->client[i].fd >= 0 && c->client[i].id == id)
            return &c->client[i];
    return NULL;
}

bool
control_listens(const struct control *c, uint64_t id)
{
    return client_of(c, id) != NULL;
}

bool
control_afar(const struct control *c, uint64_t id)
{
    const struct control_client *k = client_of(c, id);

    return k == NULL || k->afar;
}

bool
control_only_asks(const struct control *c, uint64_t id)
{
    const struct control_client *k = client_of(c, id);

    return k == NULL || k->only_asks;
}

/* False when the client is to be dropped. */
static bool
read_request(struct control_client *k)
{
    uint8_t *at = buf_reserve(&k->in, buf_room(&k->in));
    ssize_t got = buf_room(&k->in) == 0 ? 0 : read(k->fd, at, buf_room(&k->in));
    const uint8_t *newline;

    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    if (got == 0)
        return false; /* it left, or its line is too long */
    buf_commit(&k->in, (size_t)got);
    newline = memchr(buf_data(&k->in), '\n', buf_used(&k->in));
    if (newline == NULL)
        return true;
    k->request =
        json_loadb((const char *)buf_data(&k->in), (size_t)(newline - buf_data(&k->in)), 0, NULL);
    buf_clear(&k->in);
    k->due_us = NEVER_US;
    return json_is_object(k->request);
}

static bool
run_client(struct control_client *k, short ready, int64_t now_us)
{
    if ((ready & (POLLIN | POLLHUP | POLLERR)) != 0) {
        char byte;

        if (k->due_us != NEVER_US && !read_request(k))
            return false;
        /* after its request a client only listens: what comes is its end */
        if (k->due_us == NEVER_US && k->request == NULL && recv(k->fd, &byte, 1, MSG_DONTWAIT) == 0)
            return false;
    }
    while (buf_used(&k->out) > 0) {
        ssize_t put =
            send(k->fd, buf_data(&k->out), buf_used(&k->out), MSG_NOSIGNAL | MSG_DONTWAIT);

        if (put < 0)
            return errno == EAGAIN || errno == EINTR;
        buf_consume(&k->out, (size_t)put);
    }
    return !k->answered && now_us < k->due_us;
}

void
control_run(struct control *c, const struct loop *l, int64_t now_us)
{
    if (loop_ready(l, c->fd) != 0)
        accept_clients(c, now_us);
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct control_client *k = &c->client[i];

        if (k->fd >= 0 && !run_client(k, loop_ready(l, k->fd), now_us))
            drop(k);
    }
}

void
control_watch(const struct control *c, struct loop *l)
{
    loop_watch(l, c->fd, POLLIN);
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        const struct control_client *k = &c->client[i];

        if (k->fd < 0)
            continue;
        loop_watch(l, k->fd, (short)(POLLIN | (buf_used(&k->out) > 0 ? POLLOUT : 0)));
        loop_due(l, k->due_us);
    }
}

bool
control_request(struct control *c, uint64_t *ret_id, json_t **ret_request)
{
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct control_client *k = &c->client[i];

        if (k->fd >= 0 && k->request != NULL) {
            *ret_id = k->id;
            *ret_request = k->request;
            k->request = NULL;
            return true;
        }
    }
    return false;
}

void
control_answer(struct control *c, uint64_t id, json_t *line)
{
    char *text = line == NULL ? NULL : json_dumps(line, JSON_COMPACT);

    for (size_t i = 0; i < CONTROL_CLIENTS_MAX && text != NULL; i++) {
        struct control_client *k = &c->client[i];

        if (k->fd < 0 || k->id != id)
            continue;
        if (json_is_true(json_object_get(line, "done")))
            k->answered = true;
        if (buf_reserve(&k->out, strlen(text) + 1) == NULL) {
            drop(k); /* it does not read */
            break;
        }
        buf_put_bytes(&k->out, text, strlen(text));
        buf_put_u8(&k->out, '\n');
    }
    free(text);
    json_decref(line);
}

void
control_text(struct control *c, uint64_t id, const char *format, ...)
{
    char text[2048];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    control_answer(c, id, json_pack("{s:s}", "text", text));
}

void
control_done(struct control *c, uint64_t id, int code)
{
    control_answer(c, id, json_pack("{s:b s:i}", "done", 1, "code", code));
}

static int
send_request(int fd, json_t *request)
{
    char *text = json_dumps(request, JSON_COMPACT);
    size_t length;
    int code = 0;

    json_decref(request);
    if (text == NULL)
        return fail(ERR_LOCAL, "out of memory for a request");
    length = strlen(text);
    text[length++] = '\n'; /* in place of its 0: from here on it is bytes, not a string */
    if (send(fd, text, length, MSG_NOSIGNAL) != (ssize_t)length)
        code = fail_sys(ERR_PEER, "the agent does not take the request");
    free(text);
    return code;
}

/* Another host may have written it. */
static void
make_safe(json_t *json)
{
    const char *key, *text = json_string_value(json);
    char *safe = text != NULL ? strdup(text) : NULL;
    json_t *value;
    size_t i;

    if (text != NULL)
        json_string_set(json, safe != NULL ? text_make_safe(safe, strlen(safe)) : "");
    free(safe);
    json_array_foreach (json, i, value)
        make_safe(value);
    json_object_foreach (json, key, value)
        make_safe(value);
}

/* How it ended; a tunnel that leads nowhere says so in the agent's place. */
static int
take_code(const json_t *line)
{
    const char *error = json_string_value(json_object_get(line, "error"));

    return error != NULL ? fail(ERR_PEER, "%s", error)
                         : (int)json_integer_value(json_object_get(line, "code"));
}

/* Until done; the command's exit code. */
static int
read_answer(FILE *stream, void (*each)(void *context, json_t *line), void *context)
{
    int code = fail(ERR_PEER, "the agent went away before it was done");
    char *text = NULL;
    size_t size = 0;
    bool done = false;

    while (!done && getline(&text, &size, stream) > 0) {
        json_t *line = json_loads(text, 0, NULL);

        make_safe(line);
        done = json_is_true(json_object_get(line, "done"));
        if (done)
            code = take_code(line);
        else if (line != NULL)
            each(context, line);
        json_decref(line);
    }
    free(text);
    return code;
}

static int
ask_agent(const char *run, int seconds, json_t *request, void (*each)(void *context, json_t *line),
          int (*interrupted)(void *context), void *context)
{
    const struct timeval limit = {.tv_sec = seconds};
    char path[UNIX_SOCKET_PATH_SIZE];
    FILE *stream = NULL;
    int code, fd;

    snprintf(path, sizeof path, "%s/control", run);
    code = unix_socket_connect(path, &fd);
    if (code < 0) {
        json_decref(request);
        return code;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit); /* 0: for ever */
    code = send_request(fd, request);
    if (code == 0 && (stream = fdopen(fd, "r")) == NULL)
        code = fail_sys(ERR_LOCAL, "cannot read from the agent");
    if (stream == NULL) {
        close(fd);
        return code;
    }
    code = read_answer(stream, each, context);
    if (ferror(stream) && errno == EAGAIN)
        code = fail(ERR_PEER, "the agent at %s did not answer within %d s", path, seconds);
    else if (ferror(stream) && errno == EINTR && interrupted != NULL)
        code = interrupted(context);
    fclose(stream);
    return code;
}

int
control_ask(const char *run, json_t *request, void (*each)(void *context, json_t *line),
            void *context)
{
    return ask_agent(run, 0, request, each, NULL, context);
}

int
control_ask_within(const char *run, int seconds, json_t *request,
                   void (*each)(void *context, json_t *line), void *context)
{
    return ask_agent(run, seconds, request, each, NULL, context);
}

int
control_ask_or(const char *run, json_t *request, void (*each)(void *context, json_t *line),
               int (*interrupted)(void *context), void *context)
{
    return ask_agent(run, 0, request, each, interrupted, context);
}

void
control_keep(void *context, json_t *line)
{
    json_t **kept = context;

    json_decref(*kept);
    *kept = json_incref(line);
}

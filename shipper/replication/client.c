/* SPDX-License-Identifier: PostgreSQL */
/* See client.h. */
#include "replication/client.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_BYTES  PGWIRE_MESSAGE_MAX
#define OUT_BYTES (2 * (PGWIRE_WAL_MAX + 64))

struct relay_client *
client_new(int fd, enum client_kind kind, pid_t pid, int64_t now_us)
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

int
client_write(struct relay_client *k)
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

const char *
client_describe(const struct relay_client *k, char out[CLIENT_TEXT_SIZE])
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

bool
client_is_guest(const struct relay_client *k)
{
    return k->kind == CLIENT_GUEST || k->kind == CLIENT_AFAR;
}

void
client_set_state(struct relay_client *k, enum client_state state)
{
    char who[CLIENT_TEXT_SIZE];

    k->state = state;
    if (state != CLIENT_STREAMING)
        return;
    k->caught_up = false;
    k->say_now = true; /* once it has caught up */
    log_info("relay: %s streams from " LSN_FORMAT " on timeline %u", client_describe(k, who),
             LSN_ARGS(k->lsn), k->timeline);
}

void
client_keep_word(struct relay *r, struct relay_client *k)
{
    if (!k->standby.connected)
        return;
    k->standby.connected = false;
    r->left = k->standby;
    r->left.left_us = clock_us();
}

int
client_hang_up(struct relay_client *k)
{
    buf_clear(&k->out);
    client_set_state(k, CLIENT_CLOSING);
    return 0;
}

void
client_close(struct relay_client *k, const char *sqlstate, const char *message)
{
    client_set_state(k, CLIENT_CLOSING);
    pgwire_put_error(&k->out, "FATAL", sqlstate, message); /* no room: then without last words */
}

void
client_drop(struct relay *r, size_t index)
{
    struct relay_client *k = r->client[index];
    char who[CLIENT_TEXT_SIZE];

    if (k->from != LSN_UNKNOWN)
        log_info("relay: %s is gone", client_describe(k, who));
    client_keep_word(r, k);
    if (k->fd >= 0)
        close(k->fd);
    buf_release(&k->in);
    buf_release(&k->out);
    free(k);
    r->client[index] = NULL;
}

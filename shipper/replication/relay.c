/* SPDX-License-Identifier: PostgreSQL */
/* See relay.h and client.h. */
#include "shipper/replication/relay.h"

#include "base/log.h"
#include "replication/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

void
relay_close(struct relay *r)
{
    if (r == NULL || r->path[0] == '\0')
        return;
    for (size_t i = 0; i < RELAY_CLIENTS_MAX; i++) {
        if (r->client[i] == NULL)
            continue;
        client_close(r->client[i], "57P01", "the relay ends: its agent is being stopped");
        client_write(r->client[i]);
        client_drop(r, i);
    }
    if (r->fd >= 0) {
        unlink(r->offer);
        unlink(r->path);
        close(r->fd);
    }
    r->fd = -1;
}

static void
run_clients(struct relay *r, const struct loop *l, int64_t now_us)
{
    for (size_t i = 0; i < RELAY_CLIENTS_MAX; i++) {
        struct relay_client *k = r->client[i];

        if (k != NULL && !serving_run(r, k, l != NULL ? loop_ready(l, k->fd) : 0, now_us))
            client_drop(r, i);
    }
}

void
relay_run(struct relay *r, const struct loop *l, int64_t now_us)
{
    run_clients(r, l, now_us);
    if (loop_ready(l, r->fd) != 0)
        guests_accept(r, now_us);
}

void
relay_push(struct relay *r, int64_t now_us)
{
    run_clients(r, NULL, now_us);
}

bool
relay_take_sql(struct relay *r, struct relay_sql *ret_sql)
{
    for (size_t i = 0; i < RELAY_CLIENTS_MAX; i++) {
        struct relay_client *k = r->client[i];

        if (k == NULL || k->state != CLIENT_SQL || buf_used(&k->out) > 0)
            continue; /* first the answer to its request for encryption */
        *ret_sql = (struct relay_sql){.fd = k->fd, .in = k->in};
        k->fd = -1;
        k->in = (struct buf){0};
        client_drop(r, i);
        return pgwire_startup(&ret_sql->in, &ret_sql->startup) == 0; /* it was read before */
    }
    return false;
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
        loop_due(l, serving_due_us(k));
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

/* WAL that a client may hold back. */
static uint64_t
holds_bytes(const struct relay *r, const struct relay_client *k)
{
    switch (k->kind) {
    case CLIENT_STANDBY:
        break;
    case CLIENT_OURSELVES:
        return r->onward_bytes;
    case CLIENT_GUEST:
    case CLIENT_AFAR:
        return RELAY_GUEST_BYTES;
    }
    return UINT64_MAX;
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
        if (from < spool->available && spool->available - from > holds_bytes(r, k))
            continue;
        from = segment_start(from, spool->identity.segment_bytes);
        if (from < needs)
            needs = from;
    }
    return needs;
}

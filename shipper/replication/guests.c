/* SPDX-License-Identifier: PostgreSQL */
/* See client.h. */
#include "replication/client.h"

#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"
#include "shipper/wal/pgwal.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TELL_US (60 * SECOND_US)

/* One message, and close: nobody who becomes a client. */
static void
turn_away(int fd, const char *sqlstate, const char *message)
{
    uint8_t bytes[512];
    struct buf out = {.bytes = bytes, .size = sizeof bytes};

    if (pgwire_put_error(&out, "FATAL", sqlstate, message) == 0)
        (void)!send(fd, buf_data(&out), buf_used(&out), MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

/* Only a process that our postmaster has begun speaks for the local standby. A relay without a
 * PostgreSQL (the outbox's) is for this agent itself. */
static enum client_kind
kind_of(const struct relay *r, pid_t pid)
{
    const char *pgdata = r->supply.pgdata;

    if (pid == getpid())
        return CLIENT_OURSELVES;
    return pgdata != NULL && pgwal_postmaster_child(pgdata, pid) ? CLIENT_STANDBY : CLIENT_GUEST;
}

/* Each kind of client has places of its own, which no other kind can take. */
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

/* A free place, or that of the client of this kind that has been idle longest, if for long. */
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
        client_close(r->client[oldest], "57P05",
                     "idle for long, and another client needs the place");
        client_write(r->client[oldest]);
        client_drop(r, oldest);
    }
    return oldest;
}

/* A guest will knock again and again: one line a minute is enough. */
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

/* The process is looked at while it waits for us: it lives, so its pid is of no other process. */
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
        r->client[place] = client_new(fd, kind, pid, now_us);
        if (r->client[place] == NULL)
            turn_away(fd, "53200", "out of memory");
    }
}

void
guests_accept(struct relay *r, int64_t now_us)
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
        r->client[place] = client_new(fd, CLIENT_AFAR, 0, now_us);
    if (place < RELAY_CLIENTS_MAX && r->client[place] != NULL)
        return true;
    close(fd);
    return false;
}

size_t
relay_guests(const struct relay *r, struct relay_guest out[RELAY_CLIENTS_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < RELAY_CLIENTS_MAX; i++) {
        const struct relay_client *k = r->client[i];

        if (k == NULL || !client_is_guest(k) || k->state == CLIENT_STARTUP ||
            k->state == CLIENT_CLOSING)
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

/* SPDX-License-Identifier: PostgreSQL */
/* See client.h. */
#include "replication/client.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"

#include <stdio.h>

#define STARTUP_US   (10 * SECOND_US)
#define KEEPALIVE_US (10 * SECOND_US)
#define RUN_BYTES    (2u << 20) /* served to one client in one turn */

/* Where the client's timeline ends: for good (*ret_over), or so far. */
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
            log_warning("relay: %s: %s", client_describe(k, who), text);
            client_close(k, "58P01", text);
            return 0;
        }
        if (got < 0)
            return got;
        /* cut at the end of a page, as walsender does: a standby takes a record that is cut inside
         * a page for broken */
        if (got == PGWIRE_WAL_MAX)
            got -= (int)((k->lsn + PGWIRE_WAL_MAX) % WAL_PAGE_BYTES);
        k->caught_up = got == 0;
        if (got == 0 && over && k->lsn >= end && pgwire_put_copy_done(&k->out) == 0)
            client_set_state(k, CLIENT_ENDING);
        if (got == 0)
            return 0;
        pgwire_commit_wal(&k->out, (size_t)got, k->lsn, end, clock_wall_us());
        k->lsn += (lsn_t)got;
        k->said_us = now_us;
        served += (size_t)got;
        if (client_write(k) < 0)
            return ERR_PEER;
    }
    return 0;
}

/* A keepalive is due after a while of silence, when the client asked for it, and to hear whether
 * the client still lives. */
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
    int code = protocol_take(r, k, now_us);

    if (code == 0 && k->state == CLIENT_STREAMING)
        code = serve_wal(r, k, now_us);
    if (code == 0 && k->state == CLIENT_STREAMING)
        keep_alive(r, k, now_us);
    return code;
}

bool
serving_run(struct relay *r, struct relay_client *k, short ready, int64_t now_us)
{
    int code = ready != 0 ? protocol_read(k) : 0;
    char who[CLIENT_TEXT_SIZE];

    if (code == 0)
        code = serve(r, k, now_us);
    if (code < 0) {
        log_warning("relay: %s: %s", client_describe(k, who), fail_message());
        client_close(k, code == ERR_PEER ? "08P01" : "58030", fail_message());
        k->heard_us = now_us; /* the last words have their full time, too */
    }
    if (client_write(k) < 0)
        return false;
    if (k->state == CLIENT_CLOSING && buf_used(&k->out) == 0)
        return false;
    if (check_patience(k, now_us) < 0) {
        log_warning("relay: %s: %s", client_describe(k, who), fail_message());
        return false;
    }
    return true;
}

int64_t
serving_due_us(const struct relay_client *k)
{
    int64_t silent_us = k->heard_us + SILENT_US, due_us;

    switch (k->state) {
    case CLIENT_STARTUP:
        return k->heard_us + STARTUP_US;
    case CLIENT_SQL:
        return 0;
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
        return silent_us; /* nothing can be said before the client has taken this */
    if (k->held || !k->caught_up)
        return 0; /* there is more than one turn takes */
    due_us = k->said_us + KEEPALIVE_US;
    return due_us < silent_us ? due_us : silent_us;
}

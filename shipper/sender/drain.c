/* SPDX-License-Identifier: PostgreSQL */
/* See drain.h. */
#include "sender/drain.h"

#include "base/fail.h"
#include "base/log.h"

#include <stdio.h>

int
drain_init(struct drain *d, const char *member, const char *pgdata, struct sender *sender)
{
    *d = (struct drain){.member = member, .pgdata = pgdata, .sender = sender};
    return worker_init(&d->worker);
}

void
drain_release(struct drain *d)
{
    worker_release(&d->worker);
    pgwal_close(&d->wal);
}

static void
end(struct drain *d)
{
    pgwal_close(&d->wal);
    d->state = DRAIN_NONE;
}

void
drain_stop(struct drain *d)
{
    if (d->state != DRAIN_LOOKING) /* a worker at work ends first: see drain_run */
        end(d);
    d->done = LSN_UNKNOWN;
}

static void
look_up_end(void *job)
{
    struct drain *d = job;

    d->code = pgwal_end(&d->wal, d->timeline, d->from, &d->end);
    if (d->code < 0)
        snprintf(d->reason, sizeof d->reason, "%s", fail_message());
}

static int
not_drained(struct drain *d, const char *reason)
{
    end(d);
    log_warning("link to %s: cannot ship the rest of pg_wal: %s", d->member, reason);
    return sender_drained(d->sender, false, 0, LSN_UNKNOWN, reason);
}

int
drain_begin(struct drain *d)
{
    struct sender *s = d->sender;
    uint8_t byte;

    if (s->sent == LSN_UNKNOWN)
        return not_drained(d, "nothing was shipped yet, so it is not known from where on");
    if (pgwal_open(&d->wal, d->pgdata, s->segment_bytes) < 0)
        return not_drained(d, fail_message());
    d->timeline = s->sent_timeline;
    if (pgwal_read(&d->wal, d->timeline, s->sent, &byte, 1) < 0)
        sender_skip_comparison(s, d->member);
    d->from = segment_start(s->sent, s->segment_bytes);
    d->state = DRAIN_LOOKING;
    worker_submit(&d->worker, look_up_end, d);
    return 0;
}

static int
ship_rest(struct drain *d)
{
    static _Thread_local uint8_t chunk[FRAME_WAL_MAX];
    struct sender *s = d->sender;

    while (s->sent < d->end && sender_wants(s, 1 + DRAIN_FRAMES)) {
        int got = pgwal_read(&d->wal, d->timeline, s->sent, chunk,
                             wal_piece(s->sent, d->end - s->sent, sizeof chunk));
        int code;

        if (got <= 0)
            return not_drained(d, got < 0 ? fail_message() : "pg_wal ends before its end");
        code = sender_wal(s, d->timeline, s->sent, chunk, (size_t)got);
        if (code < 0)
            return code;
    }
    if (s->sent < d->end)
        return 0;
    if (pgwal_postmaster_alive(d->pgdata) != 0)
        return not_drained(d, "its PostgreSQL was started again meanwhile");
    end(d);
    d->done = d->end;
    log_info("link to %s: the rest of the dead server's WAL is sent, up to " LSN_FORMAT, d->member,
             LSN_ARGS(s->sent));
    return sender_drained(s, true, d->timeline, d->end, "");
}

int
drain_run(struct drain *d)
{
    bool session = d->sender->state == SENDER_ACCEPTED;

    if (d->state == DRAIN_LOOKING && worker_done(&d->worker)) {
        if (!session)
            end(d);
        else if (d->code < 0)
            return not_drained(d, d->reason);
        else
            d->state = DRAIN_SHIPPING;
    }
    return session && d->state == DRAIN_SHIPPING ? ship_rest(d) : 0;
}

/* See drain.h. */
#include "sender/drain.h"

#include "base/fail.h"
#include "base/log.h"
#include "sender/store.h"

#include <stdio.h>

#define ANSWER_FRAMES 1 /* DRAINED: its place in the window is kept as long as a drain goes on */

void
stop_drain(struct link *l)
{
    if (l->drain.state == DRAIN_SHIPPING)
        pgwal_close(&l->drain.wal);
    if (l->drain.state != DRAIN_LOOKING) /* a worker at work ends first: see run_drain */
        l->drain.state = DRAIN_NONE;
}

void
link_drain(struct link *l)
{
    if (l->state == LINK_SHIPPING && l->drain.state == DRAIN_NONE && l->drain.done == LSN_UNKNOWN)
        l->sender.drain_asked = true;
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
not_drained(struct link *l, const char *reason)
{
    l->drain.state = DRAIN_NONE;
    log_warning("link to %s: cannot ship the rest of pg_wal: %s", l->member, reason);
    return sender_drained(&l->sender, false, 0, LSN_UNKNOWN, reason);
}

static int
begin_drain(struct link *l)
{
    struct drain *d = &l->drain;
    int code = compress_all(l);
    uint8_t byte;

    if (code < 0)
        return code;
    if (l->sender.sent == LSN_UNKNOWN)
        return not_drained(l, "nothing was shipped yet, so it is not known from where on");
    if (pgwal_open(&d->wal, l->pgdata, l->identity.segment_bytes) < 0)
        return not_drained(l, fail_message());
    d->timeline = l->sender.sent_timeline;
    if (pgwal_read(&d->wal, d->timeline, l->sender.sent, &byte, 1) < 0)
        skip_comparison(l);
    d->from = segment_start(l->sender.sent, l->identity.segment_bytes);
    d->state = DRAIN_LOOKING;
    worker_submit(&d->worker, look_up_end, d);
    return 0;
}

static int
ship_rest(struct link *l)
{
    struct drain *d = &l->drain;
    static _Thread_local uint8_t chunk[FRAME_WAL_MAX];

    while (l->sender.sent < d->end && sender_wants(&l->sender, 1 + ANSWER_FRAMES)) {
        lsn_t left = d->end - l->sender.sent;
        int got = pgwal_read(&d->wal, d->timeline, l->sender.sent, chunk,
                             wal_piece(l->sender.sent, left, sizeof chunk));
        int code;

        if (got <= 0) {
            pgwal_close(&d->wal);
            return not_drained(l, got < 0 ? fail_message() : "pg_wal ends before its end");
        }
        code = sender_wal(&l->sender, d->timeline, l->sender.sent, chunk, (size_t)got);
        if (code < 0)
            return code;
    }
    if (l->sender.sent < d->end)
        return 0;
    pgwal_close(&d->wal);
    if (pgwal_postmaster_alive(l->pgdata) != 0)
        return not_drained(l, "its PostgreSQL was started again meanwhile");
    d->state = DRAIN_NONE;
    d->done = d->end;
    log_info("link to %s: the rest of the dead server's WAL is sent, up to " LSN_FORMAT, l->member,
             LSN_ARGS(l->sender.sent));
    return sender_drained(&l->sender, true, d->timeline, d->end, "");
}

int
run_drain(struct link *l)
{
    struct drain *d = &l->drain;

    if (d->state == DRAIN_LOOKING && worker_done(&d->worker)) {
        if (l->state != LINK_SHIPPING || d->code < 0) {
            pgwal_close(&d->wal);
            d->state = DRAIN_NONE;
            return l->state != LINK_SHIPPING ? 0 : not_drained(l, d->reason);
        }
        d->state = DRAIN_SHIPPING;
    }
    if (l->state != LINK_SHIPPING)
        return 0;
    if (l->sender.drain_asked && d->state == DRAIN_NONE && !ships_store(l) &&
        window_fits(&l->sender.window, compressor_frames(&l->compressor) + ANSWER_FRAMES)) {
        l->sender.drain_asked = false;
        return begin_drain(l);
    }
    return d->state == DRAIN_SHIPPING ? ship_rest(l) : 0;
}

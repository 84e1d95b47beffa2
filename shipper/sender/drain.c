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

/* All of the last segment was sent, and its follower was not made yet: nothing is behind it. */
static bool
ends_at_border(struct drain *d)
{
    uint32_t bytes = d->wal.segment_bytes;
    lsn_t end, other;

    return d->border && d->from > bytes &&
           pgwal_end(&d->wal, d->timeline, d->from - bytes, &end) == 0 && end == d->from &&
           pgwal_oldest(d->pgdata, bytes, d->from, &other) < 0;
}

static void
look_up_end(void *job)
{
    struct drain *d = job;

    d->code = pgwal_end(&d->wal, d->timeline, d->from, &d->end);
    if (d->code == 0)
        return;
    snprintf(d->reason, sizeof d->reason, "%s", fail_message());
    if (!ends_at_border(d))
        return;
    d->end = d->from;
    d->code = 0;
}

static int
not_drained(struct drain *d, const char *reason)
{
    end(d);
    log_warning("link to %s: cannot ship the rest of pg_wal: %s", d->member, reason);
    return sender_drained(d->sender, false, 0, LSN_UNKNOWN, reason);
}

static timeline_t
timeline_after(const struct lineage *l, timeline_t timeline)
{
    return history_next(l->text, l->length, timeline, l->timeline);
}

/* Where the server's present timeline begins. */
static lsn_t
beginning(const struct lineage *l)
{
    lsn_t begin = 0;

    for (timeline_t t = timeline_after(l, 0); t != l->timeline; t = timeline_after(l, t))
        begin = lineage_end(l, t);
    return begin;
}

/* The last bytes of an old timeline may be in the next one's file of the same segment only. */
static int
read_wal(struct drain *d, lsn_t lsn, void *out, size_t n)
{
    uint32_t segment_bytes = d->sender->segment_bytes;
    timeline_t t = d->ships;
    int got;

    while ((got = pgwal_read(&d->wal, t, lsn, out, n)) < 0 && t != d->lineage->timeline &&
           segment_start(lineage_end(d->lineage, t), segment_bytes) ==
               segment_start(lsn, segment_bytes))
        t = timeline_after(d->lineage, t);
    return got;
}

int
drain_begin(struct drain *d, const struct lineage *server)
{
    struct sender *s = d->sender;
    lsn_t from = beginning(server);
    uint8_t byte;

    if (s->sent == LSN_UNKNOWN)
        return not_drained(d, "nothing was shipped yet, so it is not known from where on");
    if (!lineage_has(server, s->sent_timeline) || s->sent > lineage_end(server, s->sent_timeline))
        return not_drained(d, "what was shipped is not of this server's lineage");
    if (pgwal_open(&d->wal, d->pgdata, s->segment_bytes) < 0)
        return not_drained(d, fail_message());
    d->lineage = server;
    d->timeline = server->timeline;
    d->ships = s->sent_timeline;
    if (read_wal(d, s->sent, &byte, 1) < 0)
        sender_skip_comparison(s, d->member);
    d->from = segment_start(s->sent > from ? s->sent : from, s->segment_bytes);
    d->border = d->from == s->sent;
    d->state = DRAIN_LOOKING;
    worker_submit(&d->worker, look_up_end, d);
    return 0;
}

/* The timeline is over: its follower begins with its history. */
static int
follow(struct drain *d)
{
    static _Thread_local char text[HISTORY_BYTES_MAX + 1];
    timeline_t next = timeline_after(d->lineage, d->ships);
    int got = pgwal_history(d->pgdata, next, text, sizeof text);

    if (got < 0)
        return not_drained(d, got == ERR_AGAIN ? "the history of a timeline is not in pg_wal"
                                               : fail_message());
    d->ships = next;
    return sender_history(d->sender, next, text, (size_t)got);
}

/* A piece of the rest, or the step to the next timeline. */
static int
ship_piece(struct drain *d)
{
    static _Thread_local uint8_t chunk[FRAME_WAL_MAX];
    struct sender *s = d->sender;
    lsn_t upto = lineage_end(d->lineage, d->ships);
    int got;

    if (s->sent >= upto)
        return follow(d);
    if (upto > d->end)
        upto = d->end;
    got = read_wal(d, s->sent, chunk, wal_piece(s->sent, upto - s->sent, sizeof chunk));
    if (got <= 0)
        return not_drained(d, got < 0 ? fail_message() : "pg_wal ends before its end");
    return sender_wal(s, d->ships, s->sent, chunk, (size_t)got);
}

static int
ship_rest(struct drain *d)
{
    struct sender *s = d->sender;

    while (d->state == DRAIN_SHIPPING && s->sent < d->end && sender_wants(s, 1 + DRAIN_FRAMES)) {
        int code = ship_piece(d);

        if (code < 0)
            return code;
    }
    if (d->state != DRAIN_SHIPPING || s->sent < d->end)
        return 0;
    if (s->sent == s->resume_lsn) /* what is there came from a server that had more */
        return not_drained(d, "its WAL ends before what is there already, so that nothing was "
                              "compared: was it restored to an older state?");
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

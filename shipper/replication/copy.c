/* SPDX-License-Identifier: PostgreSQL */
/* See source.h: the stream, WAL out of the COPY and positions back. */
#include "replication/source_state.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fail.h"
#include "shipper/wire/frame.h"

#define PROVEN_US         SECOND_US /* a walsender without the WAL ends at once */
#define FEEDBACK_US       (10 * SECOND_US)
#define POSTGRES_EPOCH_US INT64_C(946684800000000) /* 2000-01-01 in Unix time */
#define XLOGDATA_HEADER   25

static int
take_wal(struct source *s, int length, struct source_item *ret_item)
{
    struct reader r;
    lsn_t lsn, wal_end;

    reader_init(&r, s->message, (size_t)length);
    reader_u8(&r);
    lsn = reader_u64(&r);
    wal_end = reader_u64(&r);
    reader_u64(&r);
    if (r.failed || r.left == 0 || r.left > FRAME_WAL_MAX)
        return fail(ERR_PEER,
                    "PostgreSQL sends WAL in a message of %d bytes: one of at most %u is expected, "
                    "of a server with WAL blocks of 8 kB",
                    length, FRAME_WAL_MAX + XLOGDATA_HEADER);
    if (lsn != s->lsn)
        return fail(ERR_PEER, "PostgreSQL sends WAL from " LSN_FORMAT ", " LSN_FORMAT " is next",
                    LSN_ARGS(lsn), LSN_ARGS(s->lsn));
    *ret_item = (struct source_item){.kind = SOURCE_WAL,
                                     .timeline = s->timeline,
                                     .lsn = lsn,
                                     .wal_end = wal_end,
                                     .bytes = s->message + XLOGDATA_HEADER,
                                     .length = r.left};
    s->lsn += r.left;
    return 1;
}

/* The stream of a timeline is over: end it on our side, too, and wait for the next timeline. */
static int
end_of_copy(struct source *s)
{
    PQputCopyEnd(s->conn, NULL); /* libpq refuses it after an error, which the result tells */
    s->write_pending = PQflush(s->conn) > 0;
    s->state = SOURCE_TIMELINE_END;
    s->broken = false; /* the result may tell why it broke */
    s->due_us = clock_us() + ANSWER_US;
    return source_take_results(s);
}

static int
next_message(struct source *s, struct source_item *ret_item)
{
    for (;;) {
        int length = PQgetCopyData(s->conn, &s->message, 1);

        if (length == 0)
            return s->broken ? source_lost(s, "the stream broke") : 0;
        if (length == -1)
            return end_of_copy(s);
        if (length < 0)
            return source_lost(s, "the stream broke");
        s->heard = true;
        if (s->message[0] == 'w')
            return take_wal(s, length, ret_item);
        if (s->message[0] == 'k' && length >= 18 && s->message[17] != 0)
            s->said_us = 0; /* a reply is wanted: the next source_report gives it */
        source_free_message(s);
    }
}

int
source_next(struct source *s, struct source_item *ret_item)
{
    int got = 0;

    source_free_message(s);
    if (s->history_given) {
        PQclear(s->history);
        s->history = NULL;
        s->history_given = false;
        got = source_history_or_start(s);
    }
    if (got == 0 && s->state == SOURCE_STREAMING)
        got = next_message(s, ret_item);
    if (got != 0 || s->history == NULL)
        return got;
    *ret_item = (struct source_item){.kind = SOURCE_HISTORY,
                                     .timeline = s->known_upto,
                                     .bytes = PQgetvalue(s->history, 0, 1),
                                     .length = (size_t)PQgetlength(s->history, 0, 1)};
    s->history_given = true;
    return 1;
}

static lsn_t
later(lsn_t a, lsn_t b)
{
    return a > b ? a : b;
}

/* The part of p that may be reported: never less than before, and nothing that this server does not
 * have, or has no longer. Its slot would follow, and would not keep WAL that is still to come. */
static lsn_t
sayable(const struct source *s, bool proven, lsn_t p, lsn_t said)
{
    lsn_t most = later(s->server_lsn, s->lsn);

    if (!proven)
        return said;
    return later(p < most ? p : most, said);
}

/* The slot goes where flush is, also back: to WAL of before the start, which need not be there. */
static lsn_t
sayable_flush(const struct source *s, bool proven, lsn_t p)
{
    return p < s->start ? s->said.flush : sayable(s, proven, p, s->said.flush);
}

static int
put(struct source *s, struct buf *b)
{
    if (PQputCopyData(s->conn, (const char *)buf_data(b), (int)buf_used(b)) < 0 &&
        PQstatus(s->conn) == CONNECTION_BAD)
        return source_broke(s);
    return 0; /* libpq refuses it when the server has ended the stream: its message is read next */
}

int
source_report(struct source *s, const struct source_position *p, int64_t now_us)
{
    uint8_t bytes[64];
    struct buf b = {.bytes = bytes, .size = sizeof bytes};
    bool proven = s->heard || now_us - s->streams_us >= PROVEN_US;
    struct source_position next = {.write = sayable(s, proven, p->write, s->said.write),
                                   .flush = sayable_flush(s, proven, p->flush),
                                   .apply = sayable(s, proven, p->apply, s->said.apply),
                                   .xmin = p->xmin,
                                   .catalog_xmin = p->catalog_xmin};
    uint64_t stamp = (uint64_t)(clock_wall_us() - POSTGRES_EPOCH_US);
    bool moved = !s->said_any || next.write != s->said.write || next.flush != s->said.flush ||
                 next.apply != s->said.apply;
    bool feedback = s->withdraw || next.xmin != s->said.xmin ||
                    next.catalog_xmin != s->said.catalog_xmin ||
                    (next.xmin != 0 && now_us - s->feedback_us >= FEEDBACK_US);

    if (s->state != SOURCE_STREAMING || s->broken)
        return 0;
    if (moved || now_us - s->said_us >= SOURCE_REPORT_US) {
        buf_put_u8(&b, 'r');
        buf_put_u64(&b, next.write);
        buf_put_u64(&b, next.flush);
        buf_put_u64(&b, next.apply);
        buf_put_u64(&b, stamp);
        buf_put_u8(&b, 0);
        if (put(s, &b) < 0)
            return ERR_PEER;
        s->said_us = now_us;
        s->said_any = true;
    }
    if (feedback) {
        buf_clear(&b);
        buf_put_u8(&b, 'h');
        buf_put_u64(&b, stamp);
        buf_put_u32(&b, (uint32_t)next.xmin);
        buf_put_u32(&b, (uint32_t)(next.xmin >> 32));
        buf_put_u32(&b, (uint32_t)next.catalog_xmin);
        buf_put_u32(&b, (uint32_t)(next.catalog_xmin >> 32));
        if (put(s, &b) < 0)
            return ERR_PEER;
        s->feedback_us = now_us;
        s->withdraw = false;
    }
    s->said = next;
    return source_flush(s);
}

void
source_withdraw(struct source *s)
{
    s->withdraw = true;
}

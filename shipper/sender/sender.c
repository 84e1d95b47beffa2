/* SPDX-License-Identifier: PostgreSQL */
/* See sender.h. The far side's words are checked here; their meaning for the pool is not judged. */
#include "shipper/sender/sender.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"
#include "shipper/wal/timeline.h"

#include <string.h>

#define PING_US   SECOND_US
#define ANSWER_US (5 * SECOND_US)

void
sender_init(struct sender *s, struct codec *codec)
{
    *s = (struct sender){.codec = codec, .allowance = INT64_MAX};
}

static void
put_beacon(struct sender *s, const struct beacon *b)
{
    struct frame f = {.type = FRAME_BEACON,
                      .beacon = {.stamp = *b, .commits_wait = s->commits_wait}};

    if (s->state == SENDER_ACCEPTED && !s->doubted)
        frame_put(s->out, &f); /* no room: the next beacon covers this one, too */
}

/* What the far side had in another epoch, or of a lineage that this primary is not on, says nothing
 * of the WAL that is shipped now. */
static void
forget_other(struct sender *s, const struct hello *hello)
{
    const struct lineage ours = {
        .timeline = hello->timeline, .text = hello->history, .length = hello->history_bytes};
    const struct position far = {.timeline = s->far.timeline, .lsn = s->far.flushed};
    bool same =
        s->epoch.number == hello->epoch.number && strcmp(s->epoch.member, hello->epoch.member) == 0;

    if ((s->epoch.number != 0 && !same) ||
        (far.lsn != LSN_UNKNOWN &&
         (!lineage_has(&ours, far.timeline) || far.lsn > lineage_end(&ours, far.timeline))))
        sender_forget(s);
    s->epoch = hello->epoch;
}

int
sender_open(struct sender *s, struct buf *out, const struct hello *hello, int64_t now_us)
{
    struct frame f = {.type = FRAME_HELLO, .hello = *hello};
    int code = frame_put(out, &f);

    if (code < 0)
        return code;
    forget_other(s, hello);
    window_clear(&s->window);
    window_lane(&s->window, 0, out);
    s->out = out;
    s->state = SENDER_GREETING;
    s->round_trip_us = 0;
    s->refused = false;
    s->drain_asked = s->far_compared = s->doubted = false;
    s->echo = (struct echo){0};
    s->far_has = LSN_UNKNOWN;
    s->segment_bytes = hello->identity.segment_bytes;
    s->greeted_us = s->heard_us = s->pinged_us = now_us;
    offset_restart(&s->offset);
    return 0;
}

void
sender_close(struct sender *s)
{
    s->state = SENDER_IDLE;
    s->out = NULL;
    window_clear(&s->window);
    s->far.standby_connected = s->far.fenced = false;
    s->streams_asked = 0;
}

bool
sender_lane(struct sender *s, unsigned lane, struct buf *out)
{
    window_lane(&s->window, lane, out);
    s->out = NULL;
    for (unsigned i = 0; i < WINDOW_LANES && s->out == NULL; i++)
        s->out = s->window.out[i];
    return s->out != NULL;
}

static lsn_t
later(lsn_t a, lsn_t b)
{
    return a > b ? a : b;
}

static void
forget_far(struct sender *s)
{
    s->far = (struct ack){0};
    s->far_known = s->older = false;
    s->far_changed = true;
    s->flushed.covered = (struct beacon){0};
    lag_restart(&s->received);
    lag_restart(&s->applied);
}

void
sender_forget(struct sender *s)
{
    forget_far(s);
    s->flushed.count = 0;
    s->epoch.number = 0;
}

void
sender_relayed(struct sender *s, const struct epoch *epoch, const struct member_position *at)
{
    if (s->state != SENDER_IDLE || at->flushed == LSN_UNKNOWN)
        return;
    if (s->epoch.number != epoch->number || strcmp(s->epoch.member, epoch->member) != 0)
        sender_forget(s);
    s->epoch = *epoch;
    s->far.timeline = at->timeline;
    s->far.received = s->far.flushed = at->flushed;
    s->far.applied = at->applied;
    s->far.xmin = s->far.catalog_xmin = 0; /* who feeds it tells them with its own */
    s->far_known = s->far_changed = s->far_compared = true;
    lag_restart(&s->received);
    lag_restart(&s->applied);
    s->flushed.covered = s->flushed.before = (struct beacon){0};
}

void
sender_doubt(struct sender *s)
{
    s->far_compared = false;
    s->doubted = true;
    s->flushed.count = 0;
}

static lsn_t
far_had(const struct sender *s)
{
    return later(s->far.flushed, s->flushed.covered.lsn);
}

static void
forget_lost(struct sender *s, lsn_t from)
{
    log_warning("the far side had " LSN_FORMAT " on disk and goes on from " LSN_FORMAT
                ": it has lost what lies between",
                LSN_ARGS(far_had(s)), LSN_ARGS(from));
    forget_far(s);
}

/* A far spool that goes on from before the segment of its flushed position, or from before the one
 * in front, which it compares, has lost WAL: its positions and beacons are forgotten. */
static bool
resumes_below(const struct sender *s, lsn_t resume_lsn)
{
    return s->segment_bytes != 0 &&
           resume_lsn + s->segment_bytes < segment_start(far_had(s), s->segment_bytes);
}

/* So has one that ends, compared to its end, below what it had of a server that is older now: it
 * began anew with a copy of the older state. */
static bool
begins_anew(const struct sender *s, const struct ack *a)
{
    lsn_t had = far_had(s);

    return s->older && s->stamped.lsn < had && a->received < had && a->compared >= a->received;
}

static int
take_accept(struct sender *s, const struct frame *f, int64_t now_us)
{
    struct frame ping = {.type = FRAME_PING, .ping = {.sent_us = now_us}};

    if (s->state != SENDER_GREETING)
        return fail(ERR_PEER, "the far side accepts what was not asked");
    if (resumes_below(s, f->accept.lsn))
        forget_lost(s, f->accept.lsn);
    s->state = SENDER_ACCEPTED;
    s->denied_us = s->refused_us = 0;
    s->resume_timeline = s->sent_timeline = f->accept.timeline;
    s->resume_lsn = s->sent = s->furthest = f->accept.lsn;
    s->far_digest = f->accept.config_digest;
    frame_put(s->out,
              &ping); /* now, while nothing is queued, it measures the line's own round trip */
    for (size_t i = 0; i < s->flushed.count; i++) /* ahead of the backlog, whose age they tell */
        put_beacon(s, &s->flushed.pending[i]);
    return 0;
}

static int
take_refuse(struct sender *s, const struct frame *f, int64_t now_us)
{
    char reason[FRAME_REASON_MAX];

    s->refused = true;
    s->refusal = f->refuse.kind;
    if (f->refuse.kind != REFUSE_ABSENT)
        s->denied_us = now_us;
    s->refused_us = f->refuse.kind != REFUSE_RETRY ? now_us : 0;
    return fail(ERR_PEER, "refused: %s",
                text_escape(reason, sizeof reason, f->refuse.reason, strlen(f->refuse.reason)));
}

/* A beacon that was never stamped here is of an earlier life, or forged: it is ignored. */
static void
take_covered(struct sender *s, struct lag *lag, const struct beacon *covered)
{
    if (covered->mono_us <= s->stamped.mono_us)
        lag_take(lag, covered);
}

/*
 * The far side cannot have received WAL that was not sent, except the WAL that its spool held
 * before, which ends in the segment behind the one where it resumes. `applied` is its PostgreSQL's,
 * which may have got WAL elsewhere; it is told to the server only up to the server's own end
 * (source_report).
 */
static int
check_positions(const struct sender *s, const struct ack *a)
{
    lsn_t held = s->resume_lsn + 2 * (lsn_t)s->segment_bytes;

    if (a->flushed > a->received)
        return fail(ERR_PEER, "an ACK says that more is flushed than received");
    if (a->received > later(held, s->furthest) || a->compared > s->furthest)
        return fail(ERR_PEER,
                    "an ACK says that " LSN_FORMAT " is received and " LSN_FORMAT
                    " compared, sent is " LSN_FORMAT,
                    LSN_ARGS(a->received), LSN_ARGS(a->compared), LSN_ARGS(s->furthest));
    return 0;
}

static int
take_ack(struct sender *s, const struct ack *a)
{
    struct ack before;

    if (s->state != SENDER_ACCEPTED)
        return fail(ERR_PEER, "an ACK came before ACCEPT");
    if (check_positions(s, a) < 0)
        return ERR_PEER;
    if (window_acknowledge(&s->window, a->next) < 0)
        return ERR_PEER;
    if (a->flushed == LSN_UNKNOWN && s->far.flushed != LSN_UNKNOWN) /* of no use there any more */
        forget_far(s);
    if (begins_anew(s, a))
        forget_lost(s, a->received);
    before = s->far;
    s->far = *a;
    s->far_has = a->received;
    s->far.flushed = later(before.flushed, a->flushed);
    s->far.received = later(s->far.flushed, a->received);
    s->far_compared = a->compared >= s->far.flushed && !s->doubted;
    if (s->far_compared && s->stamped.lsn >= s->flushed.covered.lsn)
        s->older = false;
    if (!s->far_known || !ack_equal(&before, &s->far))
        s->far_changed = true;
    s->far_known = true;
    s->acks++;
    lag_reach(&s->received, s->far.received); /* a host that crashed has less than it had */
    take_covered(s, &s->received, &a->received_beacon);
    take_covered(s, &s->flushed, &a->flushed_beacon);
    lag_reach(&s->applied, a->applied); /* and so has a PostgreSQL */
    take_covered(s, &s->applied, &a->applied_beacon);
    return 0;
}

static int
take_ping(struct sender *s, const struct frame *f, int64_t now_us, int64_t wall_us)
{
    struct frame answer = {.type = FRAME_PONG,
                           .pong = {.sent_us = f->ping.sent_us,
                                    .mono_us = now_us,
                                    .wall_us = wall_us,
                                    .postgres = s->postgres}};

    s->echo = (struct echo){.sent_us = f->ping.sent_us, .heard_us = now_us};
    frame_put(s->out, &answer); /* no room: then there is progress anyway */
    return 0;
}

static int
take_pong(struct sender *s, const struct frame *f, int64_t now_us, int64_t wall_us)
{
    if (f->pong.sent_us > now_us)
        return fail(ERR_PEER, "a PONG answers a PING that was not sent yet");
    offset_sample(&s->offset, f->pong.sent_us, f->pong.mono_us, f->pong.wall_us, now_us, wall_us);
    if (s->round_trip_us == 0 || now_us - f->pong.sent_us < s->round_trip_us)
        s->round_trip_us = now_us - f->pong.sent_us;
    return 0;
}

int
sender_frame(struct sender *s, const struct frame *f, int64_t now_us, int64_t wall_us)
{
    char reason[FRAME_REASON_MAX];

    s->heard_us = now_us;
    if (f->type != FRAME_REFUSE)
        s->seen_us = now_us;
    switch (f->type) {
    case FRAME_ACCEPT:
        return take_accept(s, f, now_us);
    case FRAME_REFUSE:
        return take_refuse(s, f, now_us);
    case FRAME_ACK:
        return take_ack(s, &f->ack);
    case FRAME_PING:
        return take_ping(s, f, now_us, wall_us);
    case FRAME_PONG:
        return take_pong(s, f, now_us, wall_us);
    case FRAME_POOL:
        if (s->pool != NULL)
            s->pool(s->pool_context, f);
        return 0;
    case FRAME_PROMISE:
        if (f->promise.word != PROMISE_ASK && f->promise.word != PROMISE_RETURN)
            return fail(ERR_PEER, "a promise came that nobody here has asked for");
        if (s->promise != NULL)
            s->promise(s->pool_context, f);
        return 0;
    case FRAME_DRAIN:
        s->drain_asked = true;
        return 0;
    case FRAME_TUNNEL:
        if (s->streams_asked == SENDER_STREAMS_MAX)
            return fail(ERR_PEER, "over %d streams were asked for at once", SENDER_STREAMS_MAX);
        s->stream_asked[s->streams_asked] = f->tunnel;
        s->stream_asked[s->streams_asked++].reason = "";
        return 0;
    case FRAME_FILE:
        if (s->file != NULL)
            s->file(s->file_context, f);
        return 0;
    case FRAME_GOODBYE:
        return fail(
            ERR_PEER, "the far side ends the link: %s",
            text_escape(reason, sizeof reason, f->goodbye.reason, strlen(f->goodbye.reason)));
    case FRAME_HELLO:
    case FRAME_WAL:
    case FRAME_BEACON:
    case FRAME_HISTORY:
    case FRAME_DRAINED:
    case FRAME_WAITS:
    case FRAME_DATA:
        break;
    }
    return fail(ERR_PEER, "a frame of type %d came from a receiver", (int)f->type);
}

int
sender_tell(struct sender *s, const struct frame *f)
{
    if (s->state != SENDER_ACCEPTED)
        return fail(ERR_PEER, "there is no session");
    return frame_put(s->out, f);
}

bool
sender_wants(const struct sender *s, unsigned frames)
{
    return s->state == SENDER_ACCEPTED && window_wants(&s->window, frames);
}

void
sender_hand_out(struct sender *s)
{
    size_t given = window_hand_out(&s->window, s->allowance);

    s->handed += given;
    if (s->allowance != INT64_MAX)
        s->allowance -= (int64_t)given;
}

int
sender_wal_frame(struct sender *s, timeline_t timeline, lsn_t lsn, size_t n, const uint8_t *frame,
                 size_t length)
{
    int code = window_add(&s->window, frame, length);

    if (code < 0)
        return code;
    s->wal_bytes += n;
    s->wire_bytes += length;
    s->frames++;
    s->sent_timeline = timeline;
    s->sent = lsn + n;
    s->furthest = later(s->furthest, s->sent);
    return 0;
}

int
sender_wal(struct sender *s, timeline_t timeline, lsn_t lsn, const void *bytes, size_t n)
{
    static uint8_t room[FRAME_BYTES_MAX];
    struct buf frame = {.bytes = room, .size = sizeof room};
    int code = frame_put_wal(&frame, s->codec, timeline, lsn, bytes, n);

    if (code == 0)
        code = sender_wal_frame(s, timeline, lsn, n, buf_data(&frame), buf_used(&frame));
    if (code == 0)
        sender_hand_out(s);
    return code;
}

/* HISTORY and DRAINED have their place among the WAL. */
static int
put_numbered(struct sender *s, const struct frame *f)
{
    static uint8_t room[FRAME_BYTES_MAX];
    struct buf frame = {.bytes = room, .size = sizeof room};
    int code = frame_put(&frame, f);

    if (code == 0)
        code = window_add(&s->window, buf_data(&frame), buf_used(&frame));
    if (code == 0)
        sender_hand_out(s);
    return code;
}

int
sender_history(struct sender *s, timeline_t timeline, const char *text, size_t length)
{
    struct frame f = {.type = FRAME_HISTORY,
                      .history = {.timeline = timeline, .text = text, .length = length}};

    if (length > HISTORY_BYTES_MAX)
        return fail(ERR_LOCAL,
                    "the history file of timeline %u has %zu bytes, at most %d can be sent",
                    timeline, length, HISTORY_BYTES_MAX);
    return put_numbered(s, &f);
}

int
sender_drained(struct sender *s, bool done, timeline_t timeline, lsn_t end, const char *reason)
{
    struct frame f = {
        .type = FRAME_DRAINED,
        .drained = {.done = done, .timeline = timeline, .end = end, .reason = reason}};

    return put_numbered(s, &f);
}

bool
sender_skip_comparison(struct sender *s, const char *member)
{
    lsn_t border = s->resume_lsn + s->segment_bytes;

    if (s->sent != s->resume_lsn || s->far_has != border)
        return false;
    log_warning("link to %s: PostgreSQL has the WAL before " LSN_FORMAT
                " no longer, so it is not compared with what is there",
                member, LSN_ARGS(border));
    s->sent = border;
    return true;
}

void
sender_beacon(struct sender *s, const struct beacon *b)
{
    s->stamped = *b;
    s->older |= lag_is_older(&s->flushed, b);
    lag_beacon(&s->flushed,
               b); /* kept until it is acknowledged as flushed, which covers the others */
    put_beacon(s, b);
}

int
sender_tick(struct sender *s, int64_t now_us)
{
    struct frame ping = {.type = FRAME_PING, .ping = {.sent_us = now_us}};

    if (s->state == SENDER_IDLE)
        return 0;
    if (s->state == SENDER_GREETING && now_us - s->greeted_us >= ANSWER_US)
        return fail(ERR_PEER, "no answer to HELLO within 5 s");
    if (s->state == SENDER_ACCEPTED && now_us - s->pinged_us >= PING_US) {
        s->pinged_us = now_us;
        frame_put(s->out, &ping);
    }
    return 0;
}

int64_t
sender_due_us(const struct sender *s)
{
    switch (s->state) {
    case SENDER_IDLE:
        return NEVER_US;
    case SENDER_GREETING:
        return s->greeted_us + ANSWER_US;
    case SENDER_ACCEPTED:
        return s->pinged_us + PING_US;
    }
    return NEVER_US;
}

/* SPDX-License-Identifier: PostgreSQL */
/* See receiver.h. */
#include "shipper/receiver/receiver.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/text.h"
#include "shipper/wire/codec.h"

#include <stdio.h>
#include <string.h>

#define PING_US      SECOND_US
#define HOLD_US      MILLISECOND_US
#define HOLD_LONG_US (5 * MILLISECOND_US) /* for a little WAL that nobody waits for */
#define LITTLE_BYTES (256u << 10)
#define DEAD_US      (5 * SECOND_US)

void
receiver_init(struct receiver *r, struct spool *spool, struct codec *codec, uint8_t *scratch)
{
    *r = (struct receiver){.spool = spool, .into = spool, .codec = codec, .scratch = scratch};
}

int
receiver_judge(const struct receiver *r, const struct hello *hello)
{
    const struct identity *ours = &r->spool->identity;

    if (ours->system_identifier != 0 &&
        ours->system_identifier != hello->identity.system_identifier)
        return fail(
            ERR_CORRUPT,
            "another database cluster: its system identifier is %llu, this spool holds %llu; check that "
            "both members of the pool are copies of one cluster, and that pgdata and spool are the right ones",
            (unsigned long long)hello->identity.system_identifier,
            (unsigned long long)ours->system_identifier);
    if (ours->system_identifier != 0 && ours->segment_bytes != hello->identity.segment_bytes)
        return fail(ERR_CORRUPT,
                    "its wal_segment_size is %u bytes, this spool holds segments of %u",
                    hello->identity.segment_bytes, ours->segment_bytes);
    if (hello->timeline > 1 &&
        !history_valid(hello->history, hello->history_bytes, hello->timeline))
        return fail(ERR_PEER, "the history of timeline %u that came is no history file",
                    hello->timeline);
    if (r->spool->damaged)
        return fail(ERR_LOCAL, "the spool %s could not be flushed and is not repaired yet",
                    r->spool->path);
    return spool_check_history(r->spool, hello->timeline, hello->history, hello->history_bytes);
}

/* Is lsn on the lineage of the primary that says HELLO? Else nobody has the WAL from there. */
static bool
has_wal(const struct hello *hello, timeline_t timeline, lsn_t lsn)
{
    lsn_t fork;

    return timeline == hello->timeline ||
           (history_switch_point(hello->history, hello->history_bytes, timeline, &fork) &&
            lsn <= fork);
}

bool
receiver_compared(const struct receiver *r)
{
    return r->compared >= r->into->flushed;
}

/* Also where the local standby asks for it. */
static int
put_history(struct receiver *r, timeline_t timeline, const char *text, size_t length)
{
    int code = spool_put_history(r->spool, timeline, text, length);

    return code == 0 && r->into != r->spool ? spool_put_history(r->into, timeline, text, length)
                                            : code;
}

/* Beacons of a server whose WAL was not compared: the one that is next may be another one. */
static void
forget_unproven(struct receiver *r)
{
    lag_forget(&r->received, r->proven_us);
    lag_forget(&r->flushed, r->proven_us);
    lag_forget(&r->applied, r->proven_us);
}

int
receiver_accept(struct receiver *r, struct buf *out, const struct hello *hello,
                timeline_t wanted_timeline, lsn_t wanted, uint64_t config_digest, int64_t now_us)
{
    struct frame f = {.type = FRAME_ACCEPT, .accept = {.config_digest = config_digest}};
    int code = spool_adopt(r->into, &hello->identity);

    if (code == 0 && hello->timeline > 1)
        code = put_history(r, hello->timeline, hello->history, hello->history_bytes);
    if (code < 0)
        return code;
    if (!spool_empty(r->into)) {
        spool_resume(r->into, &f.accept.timeline, &f.accept.lsn);
    } else if (wanted != LSN_UNKNOWN && has_wal(hello, wanted_timeline, wanted) &&
               (r->stamped.lsn == LSN_UNKNOWN || wanted <= r->stamped.lsn)) {
        f.accept.timeline = wanted_timeline;
        f.accept.lsn = segment_start(wanted, hello->identity.segment_bytes);
        code = spool_begin(r->into, wanted_timeline, f.accept.lsn);
        if (code < 0)
            return code;
    }
    code = frame_put(out, &f);
    if (code < 0)
        return code;
    r->out = out;
    reorder_clear(&r->reorder);
    r->held_us = 0;
    r->said_any = false;
    if (receiver_compared(r))
        r->proven_us = r->stamped.mono_us;
    else
        forget_unproven(r);
    r->compared = f.accept.lsn;
    /* a server that was put back has other WAL at the same positions: none covers its beacons yet */
    r->received.position = r->flushed.position = r->applied.position = LSN_UNKNOWN;
    r->waits[0] = '\0';
    r->drained = r->dropped = false;
    r->commits_wait = true; /* until a BEACON says otherwise */
    r->postgres = PONG_POSTGRES_UNKNOWN;
    r->postgres_us = 0;
    r->primary_timeline = hello->timeline;
    r->far_digest = hello->config_digest;
    if (strcmp(r->from, hello->from) != 0 || strcmp(r->origin, hello->epoch.member) != 0) {
        receiver_forget(r); /* the clock is another one, or the server is */
        snprintf(r->from, sizeof r->from, "%s", hello->from);
        snprintf(r->origin, sizeof r->origin, "%s", hello->epoch.member);
    }
    offset_restart(&r->offset);
    r->echo = (struct echo){0};
    r->heard_us = r->opened_us = now_us;
    receiver_ping(r, now_us);
    return 0;
}

void
receiver_forget(struct receiver *r)
{
    lag_restart(&r->received);
    lag_restart(&r->flushed);
    lag_restart(&r->applied);
    r->stamped = (struct beacon){0};
    r->older = false;
    r->offset = (struct clock_offset){0};
    r->from[0] = r->origin[0] = '\0';
}

void
receiver_forget_applied(struct receiver *r)
{
    r->applied = (struct lag){0};
}

void
receiver_close(struct receiver *r)
{
    r->out = NULL;
    reorder_clear(&r->reorder);
}

void
receiver_shut(struct receiver *r, bool shut)
{
    r->shut = shut;
}

void
receiver_lane(struct receiver *r, struct buf *out)
{
    r->out = out;
    r->said_any = false; /* the last ACK may be lost */
}

bool
receiver_live(const struct receiver *r)
{
    return r->out != NULL;
}

bool
receiver_relayed(const struct receiver *r)
{
    return receiver_live(r) && strcmp(r->from, r->origin) != 0;
}

static int
take_wal(struct receiver *r, const struct frame *f, int64_t now_us)
{
    const void *bytes = f->wal.bytes;
    int code;

    if (f->wal.codec != 0) {
        code = codec_decompress(r->codec, r->scratch, f->wal.decoded_bytes, f->wal.bytes,
                                f->wal.length);
        if (code < 0)
            return code;
        bytes = r->scratch;
    }
    if (spool_empty(r->into)) {
        code = spool_begin(r->into, f->wal.timeline, f->wal.lsn);
        if (code < 0)
            return code;
    }
    code = spool_append(r->into, f->wal.timeline, f->wal.lsn, bytes, f->wal.decoded_bytes, now_us);
    if (code < 0)
        return code;
    r->compared = f->wal.lsn + f->wal.decoded_bytes;
    r->wal_bytes += f->wal.decoded_bytes;
    r->wire_bytes += f->bytes;
    r->frames++;
    return 0;
}

static void
take_beacon(struct receiver *r, const struct beacon *b)
{
    r->stamped = *b;
    r->older |= lag_is_older(&r->flushed, b);
    lag_beacon(&r->received, b);
    lag_beacon(&r->flushed, b);
    lag_beacon(&r->applied, b);
}

static int
take_ping(struct receiver *r, const struct frame *f, int64_t now_us, int64_t wall_us)
{
    struct frame answer = {.type = FRAME_PONG,
                           .pong = {.sent_us = f->ping.sent_us,
                                    .mono_us = now_us,
                                    .wall_us = wall_us,
                                    .postgres = PONG_POSTGRES_UNKNOWN}};

    r->echo = (struct echo){.sent_us = f->ping.sent_us, .heard_us = now_us};
    frame_put(r->out, &answer);
    return 0;
}

static int
take_pong(struct receiver *r, const struct frame *f, int64_t now_us, int64_t wall_us)
{
    if (f->pong.sent_us > now_us)
        return fail(ERR_PEER, "a PONG answers a PING that was not sent yet");
    if (offset_sample(&r->offset, f->pong.sent_us, f->pong.mono_us, f->pong.wall_us, now_us,
                      wall_us)) {
        lag_rebase(&r->received, f->pong.mono_us, f->pong.wall_us);
        lag_rebase(&r->flushed, f->pong.mono_us, f->pong.wall_us);
        lag_rebase(&r->applied, f->pong.mono_us, f->pong.wall_us);
        r->stamped = (struct beacon){0};
        r->proven_us = 0;
    }
    r->postgres = f->pong.postgres;
    r->postgres_us = f->pong.sent_us;
    return 0;
}

/* Did the primary's timeline, that of HELLO, grow out of `timeline`? */
static bool
is_ancestor(const struct receiver *r, timeline_t timeline)
{
    static char text[HISTORY_BYTES_MAX + 1];
    int length = spool_history(r->spool, r->primary_timeline, text, sizeof text);
    lsn_t end;

    return length > 0 && history_switch_point(text, (size_t)length, timeline, &end);
}

/*
 * A history that does not continue our WAL is ignored if its timeline is below the primary's: a
 * branch that died. Else it is the primary's own, made since HELLO: an error.
 */
static int
take_history(struct receiver *r, const struct frame *f)
{
    timeline_t timeline = f->history.timeline;
    int code;

    if (!history_valid(f->history.text, f->history.length, timeline))
        return fail(ERR_PEER, "the history of timeline %u that came is no history file", timeline);
    if (timeline > r->spool->timeline) {
        code = spool_check_history(r->spool, timeline, f->history.text, f->history.length);
        if (code == ERR_AGAIN) /* the next session is judged after the look */
            return fail(ERR_PEER, "%s", fail_message());
        if (code < 0)
            return code == ERR_CORRUPT && timeline < r->primary_timeline ? 0 : code;
    }
    code = put_history(r, timeline, f->history.text, f->history.length);
    if (code == ERR_CORRUPT && timeline < r->primary_timeline && !is_ancestor(r, timeline))
        return 0; /* two branches that died had the same number */
    return code;
}

static void
take_drained(struct receiver *r, const struct frame *f)
{
    r->drained = true;
    r->drained_done = f->drained.done;
    r->drained_end = f->drained.end;
    text_escape(r->drained_reason, sizeof r->drained_reason, f->drained.reason,
                strlen(f->drained.reason));
}

static int
take_numbered(struct receiver *r, const struct frame *f, int64_t now_us)
{
    int code = 0;

    if (f->type == FRAME_WAL)
        code = take_wal(r, f, now_us);
    else if (f->type == FRAME_HISTORY)
        code = take_history(r, f);
    else
        take_drained(r, f);
    if (code == 0)
        reorder_step(&r->reorder);
    return code;
}

int
receiver_go_on(struct receiver *r, int64_t now_us)
{
    struct buf held;
    struct frame f;
    int code = 0;

    while (code == 0 && !r->shut && reorder_next(&r->reorder, &held)) {
        code = frame_next(&held, &f);
        if (code > 0)
            code = take_numbered(r, &f, now_us);
    }
    if (code == ERR_AGAIN)
        r->heard_us = now_us; /* our stall is not the far side's silence */
    return code;
}

int
receiver_frame(struct receiver *r, const struct frame *f, int64_t now_us, int64_t wall_us)
{
    char reason[FRAME_REASON_MAX];
    int code;

    r->heard_us = now_us;
    if (frame_numbered(f->type) && f->number < r->reorder.next)
        return 0; /* it came before, over a lane that died after the delivery */
    if (frame_numbered(f->type) && r->shut) {
        r->dropped = true;
        return 0;
    }
    if (frame_numbered(f->type) && f->number > r->reorder.next)
        return reorder_hold(&r->reorder, f->number, f->raw, f->bytes);
    switch (f->type) {
    case FRAME_WAL:
    case FRAME_HISTORY:
    case FRAME_DRAINED:
        code = take_numbered(r, f, now_us);
        if (code == 0)
            code = receiver_go_on(r, now_us);
        return code == ERR_AGAIN && r->reorder.next > f->number ? 0 : code;
    case FRAME_BEACON:
        take_beacon(r, &f->beacon.stamp);
        r->commits_wait = f->beacon.commits_wait;
        return 0;
    case FRAME_PING:
        return take_ping(r, f, now_us, wall_us);
    case FRAME_PONG:
        return take_pong(r, f, now_us, wall_us);
    case FRAME_TUNNEL:
        if (r->stream_refused != 0)
            return 0; /* one refusal at a time is kept: the other clients have a deadline */
        r->stream_refused = f->tunnel.number;
        text_escape(r->stream_reason, sizeof r->stream_reason, f->tunnel.reason,
                    strlen(f->tunnel.reason));
        return 0;
    case FRAME_FILE:
        if (r->file != NULL)
            r->file(r->file_context, f);
        return 0;
    case FRAME_GOODBYE:
        return fail(
            ERR_PEER, "%s ends the link: %s", r->from,
            text_escape(reason, sizeof reason, f->goodbye.reason, strlen(f->goodbye.reason)));
    case FRAME_POOL:
        if (r->pool != NULL)
            r->pool(r->pool_context, f);
        return 0;
    case FRAME_PROMISE:
        if (f->promise.word != PROMISE_GIVE && f->promise.word != PROMISE_REFUSE)
            return fail(ERR_PEER, "%s asks for a promise over a link that it dialled", r->from);
        if (r->promise != NULL)
            r->promise(r->promise_context, f);
        return 0;
    case FRAME_WAITS:
        text_escape(r->waits, sizeof r->waits, f->waits.reason, strlen(f->waits.reason));
        return 0;
    case FRAME_HELLO:
    case FRAME_ACCEPT:
    case FRAME_REFUSE:
    case FRAME_ACK:
    case FRAME_DRAIN:
    case FRAME_DATA:
        break;
    }
    return fail(ERR_PEER, "a frame of type %d came from a sender", (int)f->type);
}

/* Is there nothing new that the next flush's ACK could not tell as well? */
static bool
may_wait(const struct receiver *r, const struct ack *a)
{
    struct ack rest = *a;

    rest.received = r->said.received;
    rest.compared = r->said.compared;
    rest.next = r->said.next;
    rest.received_beacon = r->said.received_beacon;
    if (!r->commits_wait) {
        rest.applied = r->said.applied;
        rest.applied_beacon = r->said.applied_beacon;
    }
    return ack_equal(&rest, &r->said);
}

static int64_t
hold_us(const struct receiver *r)
{
    bool little = r->wal_bytes - r->said_bytes < LITTLE_BYTES;

    return little && !r->commits_wait ? HOLD_LONG_US : HOLD_US;
}

/* Is what is on disk of use here? */
static bool
counts(const struct receiver *r)
{
    return r->into != r->spool || !r->detached;
}

static void
reach(struct receiver *r, lsn_t applied)
{
    bool holds = counts(r) && receiver_compared(r) && !r->fenced;
    void (*move)(struct lag *, lsn_t) = holds ? lag_reach : lag_hold;

    move(&r->received, r->into->available);
    move(&r->flushed, r->into->flushed);
    move(&r->applied, applied);
    if (spool_empty(r->spool) ||
        (receiver_live(r) && receiver_compared(r) && r->stamped.lsn >= r->flushed.covered.lsn))
        r->older = false;
}

void
receiver_report(struct receiver *r, lsn_t applied, uint64_t xmin, uint64_t catalog_xmin,
                bool standby_connected, int64_t now_us)
{
    const struct spool *s = r->into;
    struct frame f = {.type = FRAME_ACK};
    bool equal, busy_news;

    reach(r, applied);
    f.ack = (struct ack){.timeline = s->timeline,
                         .received = s->available, /* a torn tail is not received */
                         .flushed = counts(r) ? s->flushed : LSN_UNKNOWN,
                         .applied = applied,
                         .compared = r->compared,
                         .next = r->reorder.next,
                         .xmin = xmin,
                         .catalog_xmin = catalog_xmin,
                         .standby_connected = standby_connected,
                         .busy = r->busy,
                         .fenced = r->fenced};
    if (r->offset.count > 0) { /* before the first PONG the clock may be another one */
        f.ack.received_beacon = r->received.covered;
        f.ack.flushed_beacon = r->flushed.covered;
        f.ack.applied_beacon = r->applied.covered;
    }
    equal = r->said_any && ack_equal(&f.ack, &r->said);
    /* while we are busy no position may move for long: tell it with each PING */
    busy_news = r->said_any && r->busy != r->said.busy && now_us == r->pinged_us;
    if (equal)
        r->held_us = 0;
    if (r->out == NULL || (equal && !busy_news))
        return;
    if (r->said_any && !busy_news && s->flushed < s->available && may_wait(r, &f.ack)) {
        if (r->held_us == 0)
            r->held_us = now_us;
        if (now_us - r->held_us < hold_us(r))
            return;
    }
    r->held_us = 0;
    if (frame_put(r->out, &f) < 0)
        return; /* no room: tried again as soon as there is */
    r->said = f.ack;
    r->said_bytes = r->wal_bytes;
    r->said_any = true;
}

void
receiver_detach(struct receiver *r, bool detached)
{
    if (detached && !r->detached) /* also the positions that they have come to */
        r->received = r->flushed = r->applied = (struct lag){0};
    r->detached = detached;
}

void
receiver_ping(struct receiver *r, int64_t now_us)
{
    struct frame ping = {.type = FRAME_PING, .ping = {.sent_us = now_us}};

    r->pinged_us = now_us;
    if (r->out != NULL)
        frame_put(r->out, &ping);
}

int
receiver_tick(struct receiver *r, int64_t now_us)
{
    if (r->out == NULL)
        return 0;
    if (now_us - r->heard_us >= DEAD_US)
        return fail(ERR_PEER, "nothing heard from %s for 5 s", r->from);
    if (now_us - r->pinged_us >= PING_US)
        receiver_ping(r, now_us);
    return 0;
}

int64_t
receiver_due_us(const struct receiver *r)
{
    int64_t due_us = r->pinged_us + PING_US;

    if (r->out == NULL)
        return NEVER_US;
    if (r->heard_us + DEAD_US < due_us)
        due_us = r->heard_us + DEAD_US;
    if (r->held_us != 0 && r->held_us + hold_us(r) < due_us)
        due_us = r->held_us + hold_us(r);
    return due_us;
}

int
receiver_file(struct receiver *r, const struct frame *f)
{
    if (r->out == NULL)
        return fail(ERR_PEER, "there is no session");
    return frame_put(r->out, f);
}

int
receiver_ask_drain(struct receiver *r)
{
    struct frame f = {.type = FRAME_DRAIN};

    if (r->out == NULL)
        return fail(ERR_PEER, "there is no link to ask on");
    r->drained = false;
    return frame_put(r->out, &f);
}

int
receiver_ask_stream(struct receiver *r, const struct tunnel_request *request)
{
    struct frame f = {.type = FRAME_TUNNEL, .tunnel = *request};

    if (r->out == NULL)
        return fail(ERR_PEER, "there is no link to ask on");
    return frame_put(r->out, &f);
}

int
receiver_tell(struct receiver *r, const struct frame *f)
{
    if (r->out == NULL)
        return fail(ERR_PEER, "there is no link to tell it on");
    return frame_put(r->out, f);
}

bool
receiver_primary_us(const struct receiver *r, int64_t now_us, int64_t *ret_us)
{
    *ret_us = now_us + r->offset.offset_us;
    return r->offset.known;
}

void
receiver_remember(struct receiver *r, const struct lag_record *record, int64_t now_us)
{
    r->offset =
        (struct clock_offset){.known = true, .offset_us = record->offset_us, .at_us = now_us};
    snprintf(r->from, sizeof r->from, "%s", record->primary);
    snprintf(r->origin, sizeof r->origin, "%s", record->primary); /* or it is told anew */
    r->flushed.covered = record->flushed;
    r->applied.covered = record->applied;
    r->received.covered = record->flushed;
}

void
receiver_record(const struct receiver *r, struct lag_record *ret_record)
{
    bool known =
        r->applied.covered.lsn != LSN_UNKNOWN; /* else it counts once it is reached again */

    *ret_record = (struct lag_record){.flushed = r->flushed.covered,
                                      .applied = known ? r->applied.covered : r->applied.before,
                                      .offset_us = r->offset.offset_us};
    snprintf(ret_record->primary, sizeof ret_record->primary, "%s", r->from);
}

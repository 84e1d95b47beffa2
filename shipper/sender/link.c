/* SPDX-License-Identifier: PostgreSQL */
/* See link.h. One switch over the state; link_set_state is its only writer. */
#include "shipper/sender/link.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_MIN_US  (100 * MILLISECOND_US)
#define FUTILE_US       (6 * SECOND_US)  /* with a dial, less than the silence that ends a route */
#define SILENT_US       (15 * SECOND_US) /* whatever is taken: a proxy takes for a dead host */
#define DEAD_US         (5 * SECOND_US)
#define SOURCE_RETRY_US SECOND_US
#define BEHIND_SEGMENTS 4
#define BACKLOG_BYTES   (4u << 20) /* more than our own buffers hold */
#define ITEMS_PER_TURN  32         /* 4 MB: other rooms of the loop have their turn, too */
#define AWAY            "PostgreSQL was away: its WAL is compared anew"
/* a relay has no slot that says it, and its end is not where the far standby goes on */
#define BEGIN_UNKNOWN                                                                              \
    "the WAL that is needed there begins where its PostgreSQL asks for it, once it runs"

int
link_init(struct link *l, const char *member, const struct lane_target *target,
          const struct link_settings *settings, struct workers *workers,
          struct frame_cache *frame_cache, const char *conninfo, const char *slot,
          const char *pgdata, struct codec *codec)
{
    int code;

    *l = (struct link){.state = LINK_STOPPED,
                       .since_us = clock_us(),
                       .pgdata = pgdata,
                       .codec = codec,
                       .source_allowed = true,
                       .backoff_us = BACKOFF_MIN_US};
    snprintf(l->member, sizeof l->member, "%s", member);
    snprintf(l->reason, sizeof l->reason, "not started");
    sender_init(&l->sender, codec);
    l->source = l->from_server = source_new(conninfo, slot, slot, pgdata);
    if (l->source == NULL)
        return fail(ERR_LOCAL, "out of memory for a link");
    code = compressor_init(&l->compressor, workers, frame_cache, settings->compression);
    if (code == 0)
        code = lanes_init(&l->lanes, target, l->member, settings->lanes);
    if (code < 0)
        return code;
    link_set(l, settings);
    return drain_init(&l->drain, l->member, pgdata, &l->sender);
}

int
link_store(struct link *l, enum link_store_kind kind, const struct spool *spool,
           const char *conninfo)
{
    static const char *const name[LINK_STORES] = {"walferry_outbox", "walferry_gap"};
    struct source *source = source_new(conninfo, name[kind], "", NULL);

    if (source == NULL)
        return fail(ERR_LOCAL, "out of memory for a link");
    l->store[kind] = (struct link_store){.spool = spool, .source = source};
    return 0;
}

int
link_relay(struct link *l, const struct spool *spool, const char *conninfo)
{
    l->spool = spool;
    l->from_relay = source_new(conninfo, "walferry_onward", "", NULL);
    return l->from_relay == NULL ? fail(ERR_LOCAL, "out of memory for a link") : 0;
}

void
link_drain(struct link *l)
{
    if (l->state == LINK_SHIPPING && l->drain.state == DRAIN_NONE && l->drain.done == LSN_UNKNOWN)
        l->sender.drain_asked = true;
}

void
link_set(struct link *l, const struct link_settings *settings)
{
    l->lanes.number = settings->lanes;
    if (l->state == LINK_SHIPPING)
        l->lanes.wanted = settings->lanes > 1 ? settings->lanes : 1;
    l->compressor.compression = settings->compression;
    l->rate.plan = settings->rate_limit;
    l->rate.planned_us = 0;
}

void
link_answers(struct link *l)
{
    if (!l->relaying && !source_connected(l->from_server))
        sender_doubt(&l->sender);
}

void
link_rest(struct link *l, int64_t until_us)
{
    source_stop(l->from_server);
    l->source_due_us = until_us;
}

void
link_release(struct link *l)
{
    sender_close(&l->sender);
    compressor_release(&l->compressor);
    lanes_release(&l->lanes);
    source_free(l->from_server);
    source_free(l->from_relay);
    for (int i = 0; i < LINK_STORES; i++)
        source_free(l->store[i].source);
    drain_release(&l->drain);
    *l = (struct link){0};
}

/* Did the far side end the session for its first WAL, before it had compared its own? */
static bool
is_futile(const struct link *l)
{
    return l->state == LINK_SHIPPING && l->end == LINK_END_REFUSED && l->streamed &&
           !l->sender.far_compared;
}

/* The link ships, and the far side's WAL is compared: a next end has a new reason. */
static void
tell_up(struct link *l)
{
    l->futile = false;
    l->said = (struct log_memory){0};
    l->backoff_us = BACKOFF_MIN_US;
    log_info("link to %s: up, shipping from " LSN_FORMAT " on timeline %u", l->member,
             LSN_ARGS(l->sender.resume_lsn), l->sender.resume_timeline);
}

static void
link_set_state(struct link *l, enum link_state state, const char *reason, int64_t now_us)
{
    bool news = strcmp(l->reason, reason) != 0;

    if (state <= LINK_WAITING) {
        l->futile |= is_futile(l);
        if (l->state == LINK_SHIPPING) {
            l->ended++;
            l->ended_for[state == LINK_STOPPED ? LINK_END_STOPPED : l->end]++;
        }
        l->end = LINK_END_LOST;
        l->mark = LSN_UNKNOWN;
        source_stop(l->source);
        sender_close(&l->sender);
        lanes_end(&l->lanes);
        compressor_reset(&l->compressor);
        drain_stop(&l->drain);
        l->more = false;
        l->hole = (struct hole){0};
        l->told[0] = '\0';
        l->streamed = false;
    }
    if (state == LINK_SHIPPING) {
        l->source_due_us = now_us;
        if (!l->futile)
            tell_up(l);
    } else if (state <= LINK_WAITING && news &&
               (!l->futile || log_news(&l->said, reason, now_us))) {
        log_warning("link to %s: %s", l->member, reason);
    }
    if (state != LINK_DIALING && state != LINK_GREETING) /* attempts keep the last reason in view */
        snprintf(l->reason, sizeof l->reason, "%s", reason);
    if (l->state != state)
        l->since_us = now_us;
    l->state = state;
}

static void
drop(struct link *l, int64_t now_us)
{
    int64_t jitter_us = random() % (l->backoff_us / 2 + 1);

    l->due_us = now_us + l->backoff_us - jitter_us; /* a failover waits REDIAL_US for us */
    l->backoff_us = l->backoff_us * 2 < REDIAL_US ? l->backoff_us * 2 : REDIAL_US;
    if (l->sender.refused && l->sender.refusal != REFUSE_RETRY)
        l->due_us = now_us + REDIAL_US; /* a human has to do something: no hurry */
    if (l->futile && is_futile(l))
        l->due_us = now_us + FUTILE_US; /* the same segment would be sent for nothing again */
    link_set_state(l, LINK_WAITING, fail_message(), now_us);
}

static int
dial(struct link *l, const struct loop *loop, const struct hello *hello, int64_t now_us)
{
    struct lane *lane = &l->lanes.lane[0];
    int code = lane_run(lane, loop, now_us);
    struct hello ours = *hello;

    if (code < 0)
        return code;
    if (lane->state != LANE_UP)
        return 0;
    snprintf(ours.to, sizeof ours.to, "%s", l->member);
    ours.incarnation = hello->incarnation + ++l->incarnation;
    l->identity = hello->identity;
    code = sender_open(&l->sender, &lane->out, &ours, now_us);
    if (code < 0)
        return code;
    lanes_begin(&l->lanes, &ours, now_us);
    link_set_state(l, LINK_GREETING, "", now_us);
    return lane_run(lane, loop, now_us);
}

static int
foreign_greeting(const struct link *l)
{
    const struct buf *in = &l->lanes.lane[0].in;
    size_t length = buf_used(in) < 120 ? buf_used(in) : 120;
    char shown[200];

    while (length > 0 && strchr("\r\n", buf_data(in)[length - 1]) != NULL)
        length--;
    text_escape(shown, sizeof shown, buf_data(in), length);
    return fail(
        ERR_PEER,
        "the far host printed \"%s\" instead of walferry's greeting: its login shell or a start-up file "
        "(.bashrc, motd) prints, or the key is not bound to walferry receive in authorized_keys",
        shown);
}

static int
take_frames(struct link *l, struct lane *lane, int64_t now_us, int64_t wall_us)
{
    struct frame f;
    int got, code;

    while ((got = frame_next(&lane->in, &f)) == 1) {
        code = sender_frame(&l->sender, &f, now_us, wall_us);
        if (code < 0) {
            if (f.type == FRAME_REFUSE || f.type == FRAME_GOODBYE)
                l->end = LINK_END_REFUSED;
            return code;
        }
        buf_consume(&lane->in, f.bytes);
        if (l->state == LINK_GREETING && l->sender.state == SENDER_ACCEPTED)
            link_set_state(l, LINK_SHIPPING, "", now_us);
    }
    if (got < 0 && l->state == LINK_GREETING)
        return foreign_greeting(l);
    return got;
}

/* The time that this link adds to a commit which waits for it. */
static void
watch_piece(struct link *l, int64_t now_us)
{
    if (l->mark != LSN_UNKNOWN && l->sender.far.flushed >= l->mark) {
        histogram_add(&l->commit_wait, now_us - l->mark_us);
        l->mark = LSN_UNKNOWN;
    }
    if (l->mark == LSN_UNKNOWN && l->sender.sent > l->sender.far.flushed) {
        l->mark = l->sender.sent;
        l->mark_us = now_us;
    }
}

static void
set_source_reason(struct link *l, const char *reason)
{
    char older[LINK_REASON_MAX];

    if (l->sender.older) {
        snprintf(older, sizeof older,
                 "PostgreSQL was restored to an older state: %s has its WAL up to " LSN_FORMAT
                 " at least. To have that back run walferry failover on the host of %s; to go on "
                 "without it make a new copy there: walferry seed --replace --discard",
                 l->member, LSN_ARGS(l->sender.flushed.covered.lsn), l->member);
        reason = older;
    }
    if (strcmp(l->source_reason, reason) == 0)
        return;
    snprintf(l->source_reason, sizeof l->source_reason, "%s", reason);
    if (reason[0] != '\0')
        log_warning("link to %s: no WAL to ship: %s", l->member, reason);
    else
        log_info("link to %s: WAL flows again", l->member);
}

/* What the server has no longer is known when the far side has said what it has: it may lack nothing of
 * it but what would be compared. WAL that came is compared, also while it is being compressed. */
static void
judge_hole(struct link *l, int64_t now_us)
{
    const struct sender *s = &l->sender;

    if (!l->hole.seen || l->hole.known ||
        (s->far_has == LSN_UNKNOWN && s->resume_lsn != LSN_UNKNOWN))
        return;
    l->hole.known = l->streamed || !sender_skip_comparison(&l->sender, l->member);
    l->hole.seen = l->hole.known;
    if (!l->hole.known)
        l->source_due_us = now_us;
}

/* A source that fails does not end the session: the far side hears that we live. */
static void
source_failed(struct link *l, int64_t now_us)
{
    l->hole = (struct hole){0};
    l->hole.seen = source_gone(l->source, &l->hole.timeline, &l->hole.start, &l->hole.end);
    source_stop(l->source);
    l->source_due_us = now_us + SOURCE_RETRY_US;
    judge_hole(l, now_us);
    if (l->source_due_us > now_us)
        set_source_reason(l, fail_message());
}

static int
take_wal(struct link *l, int64_t now_us)
{
    struct source_item item;
    int got = 0, code;

    l->more = false;
    for (int i = 0; compressor_takes(&l->compressor, &l->sender); i++) {
        if (i == ITEMS_PER_TURN) {
            l->more = true;
            return 0;
        }
        got = source_next(l->source, &item);
        if (got < 0)
            source_failed(l, now_us);
        if (got <= 0)
            return 0;
        if (item.kind == SOURCE_HISTORY) {
            code = compressor_flush(&l->compressor, &l->sender);
            if (code == 0)
                code = sender_history(&l->sender, item.timeline, item.bytes, item.length);
        } else {
            set_source_reason(l, "");
            l->streamed = true;
            code = 0;
            compressor_wal(&l->compressor, item.timeline, item.lsn, item.bytes, item.length);
        }
        if (code < 0)
            return code;
    }
    l->more = source_active(l->source); /* stopped by a full queue: more may wait inside libpq */
    return 0;
}

/* Where the byte at lsn comes from: a store as far as it goes. */
static struct source *
source_of(const struct link *l, lsn_t lsn, uint64_t behind_bytes)
{
    struct source *store;

    if (l->relaying)
        return l->from_relay;
    store = store_with(l->store, LINK_STORES, l->sender.sent_timeline, lsn, behind_bytes);
    return store != NULL ? store : l->from_server;
}

/* From the byte that is next in the sender, which has all that was taken before. */
static void
start_source(struct link *l, int64_t now_us)
{
    l->source = source_of(l, l->sender.sent, 0);
    if (source_start(l->source, &l->identity, l->sender.sent_timeline, l->sender.sent, now_us) < 0)
        source_failed(l, now_us);
    else
        l->source_due_us = now_us;
}

/* Into a store, or out of it, where the next byte is. A link that follows the server does not go to
 * the outbox for WAL that another link needs. */
static int
change_source(struct link *l, int64_t now_us)
{
    bool serves = l->source == l->from_server;
    uint64_t behind_bytes = serves ? BEHIND_SEGMENTS * (uint64_t)l->identity.segment_bytes : 0;
    lsn_t next = source_next_lsn(l->source);
    int code;

    if (!source_streaming(l->source) || source_of(l, next, behind_bytes) == l->source)
        return 0;
    source_stop(l->source);
    code = compressor_flush(&l->compressor, &l->sender);
    if (code < 0)
        return code;
    start_source(l, now_us);
    log_info("link to %s: goes on from %s at " LSN_FORMAT, l->member,
             l->source == l->from_server                 ? "the server"
             : l->source == l->store[LINK_OUTBOX].source ? "the outbox"
                                                         : "what was got of a gap",
             LSN_ARGS(l->sender.sent));
    return 0;
}

/* The flushed position that PostgreSQL is told: its slot keeps the segment that the far side
 * compares when it comes back, unless somebody waits for the last byte. */
static lsn_t
slot_needs(const struct link *l, lsn_t flushed)
{
    bool border = flushed == segment_start(flushed, l->identity.segment_bytes);

    return border && flushed != LSN_UNKNOWN && !l->exact ? flushed - 1 : flushed;
}

/* Let go of a server that waits for it; a relay is read on for who asks for the rest. */
static bool
may_read(const struct link *l)
{
    if (l->drain.state != DRAIN_NONE)
        return false;
    return l->source_allowed || (l->relaying ? l->sender.drain_asked : l->source != l->from_server);
}

static int
run_source(struct link *l, const struct loop *loop, int64_t now_us)
{
    const struct ack *far = &l->sender.far;
    struct source_position position = {.xmin = far->xmin, .catalog_xmin = far->catalog_xmin};
    int code;

    l->more = false; /* a source that is not read has no more */
    /* a server that was put back to an older state writes other WAL at the same positions: its
     * commits must not be confirmed by the WAL that was shipped before */
    if (l->sender.far_compared && !(far->fenced && l->sender.commits_wait)) {
        position.write = far->received;
        position.flush = slot_needs(l, far->flushed);
        position.apply = far->applied;
    }
    if (!l->relaying && store_beyond(l->store, LINK_STORES, far->flushed))
        position.flush = LSN_UNKNOWN; /* the slot may be past it, and must not go back */
    if (!may_read(l)) {
        source_stop(l->source);
        return 0;
    }
    if (!source_active(l->source)) {
        judge_hole(l, now_us);
        if (now_us < l->source_due_us || l->hole.known)
            return 0;
        /* a server that comes back may have been put back: only a new session compares its WAL */
        if (l->streamed && l->relaying)
            return fail(ERR_PEER, "%s: its WAL is compared anew", l->source_reason);
        if (l->streamed && l->sender.postgres == PONG_POSTGRES_ANSWERS)
            return fail(ERR_PEER, AWAY);
        if (l->streamed) {
            l->source_due_us = now_us + SOURCE_RETRY_US / 10;
            return 0;
        }
        if (l->relaying && l->sender.sent == LSN_UNKNOWN) {
            l->source_due_us = now_us + SOURCE_RETRY_US;
            set_source_reason(l, BEGIN_UNKNOWN);
            return 0;
        }
        start_source(l, now_us);
    }
    code = change_source(l, now_us);
    if (code < 0)
        return code;
    if (source_run(l->source, loop, now_us) < 0 ||
        source_report(l->source, &position, now_us) < 0) {
        source_failed(l, now_us);
        return 0;
    }
    /* walsender begins to stream before it looks whether it has the WAL */
    if (source_streaming(l->source) && now_us - l->source_due_us >= SOURCE_RETRY_US)
        set_source_reason(l, "");
    return take_wal(l, now_us);
}

/* The spool's end is all there is. */
static int
drain_relay(struct link *l)
{
    struct sender *s = &l->sender;
    int code;

    if (l->state != LINK_SHIPPING || !s->drain_asked || l->more || !source_streaming(l->source) ||
        source_next_lsn(l->source) < l->spool->available ||
        !window_fits(&s->window, compressor_frames(&l->compressor) + DRAIN_FRAMES))
        return 0;
    s->drain_asked = false;
    code = compressor_flush(&l->compressor, s);
    return code < 0 ? code : sender_drained(s, true, s->sent_timeline, s->sent, "");
}

/* WAL of a store goes first: pg_wal may have it no longer. */
static int
run_drain(struct link *l)
{
    struct sender *s = &l->sender;
    bool ships_store = l->source != l->from_server && source_active(l->source);
    int code;

    if (l->relaying)
        return drain_relay(l);
    if (l->state != LINK_SHIPPING || !s->drain_asked || l->drain.state != DRAIN_NONE ||
        ships_store || !window_fits(&s->window, compressor_frames(&l->compressor) + DRAIN_FRAMES))
        return drain_run(&l->drain);
    s->drain_asked = false;
    l->streamed = true;
    code = compressor_flush(&l->compressor, s);
    return code < 0 ? code : drain_begin(&l->drain, &l->lineage);
}

static int
check_alive(struct link *l, int64_t now_us)
{
    int64_t progress_us, heard_us = l->sender.heard_us;

    if (now_us - heard_us < SECOND_US)
        return 0;
    progress_us = lanes_progress_us(&l->lanes);
    if (progress_us > heard_us)
        heard_us = progress_us;

    if (now_us - l->sender.heard_us < SILENT_US && now_us - heard_us < DEAD_US)
        return 0;
    l->end = LINK_END_SILENT;
    if (now_us - l->sender.heard_us >= SILENT_US)
        return fail(ERR_PEER, "nothing heard for 15 s: the line or the far agent is gone");
    return fail(ERR_PEER,
                "nothing heard and nothing taken for 5 s: the line or the far host is gone");
}

/* All lanes of the session: read what came, write what waits. */
static int
run_lanes(struct link *l, const struct loop *loop, int64_t now_us, int64_t wall_us)
{
    for (unsigned i = 0; i < WINDOW_LANES; i++) {
        struct lane *lane = &l->lanes.lane[i];
        char why[FAIL_MESSAGE_MAX];
        int ended, code;

        if (l->lanes.slot[i].use != LANE_IN_SESSION)
            continue;
        ended = lane_run(lane, loop, now_us);
        snprintf(why, sizeof why, "%s", ended < 0 ? fail_message() : "");
        code = take_frames(l, lane, now_us, wall_us); /* a last word may explain why it ended */
        if (code < 0)
            return code;
        if (ended < 0) {
            fail(ended, "%s", why);
            if (!lanes_lost(&l->lanes, &l->sender, i, now_us))
                return ended;
        }
    }
    return 0;
}

static void
write_out(struct link *l, const struct loop *loop, int64_t now_us)
{
    sender_hand_out(&l->sender);
    /* SSH adds about 60 bytes to each packet of at most 32 KB */
    if (l->sender.allowance != INT64_MAX)
        rate_used(&l->rate, (l->sender.handed - l->handed) * 1002 / 1000);
    l->handed = l->sender.handed;
    l->rate_limits = l->sender.allowance <= 0 && l->sender.window.ready > 0;
    for (unsigned i = 0; i < WINDOW_LANES; i++)
        if (l->lanes.slot[i].use == LANE_IN_SESSION && buf_used(&l->lanes.lane[i].out) > 0)
            lane_run(&l->lanes.lane[i], loop, now_us); /* an error shows up again in run_lanes */
}

/* The rest of a dead server's WAL, which a failover waits for. */
static bool
ships_rest(const struct link *l)
{
    return l->sender.postgres == PONG_POSTGRES_DEAD &&
           (l->sender.drain_asked || l->drain.state != DRAIN_NONE || l->drain.done != LSN_UNKNOWN);
}

/* Let adapt see what limits the link now; not while lanes join, which changes the limit. */
static void
look(struct link *l, int64_t now_us)
{
    const struct sender *s = &l->sender;
    struct adapt_facts facts = {.frames_wait = s->window.ready >= WINDOW_READY_BYTES / 2,
                                .wal_waits = !compressor_wants(&l->compressor),
                                .far_busy = s->far.busy,
                                .wal_compressed = l->compressor.wal_out,
                                .wire_compressed = l->compressor.wire_out,
                                .wire_taken = l->compressor.wire_out - s->window.bytes};

    facts.backlog = l->more || facts.frames_wait || s->stamped.lsn > s->sent + BACKLOG_BYTES;
    if (lanes_joining(&l->lanes) || l->compressor.compression != COMPRESSION_AUTO)
        adapt_rest(&l->compressor.adapt);
    else
        adapt_look(&l->compressor.adapt, &facts, now_us);
}

static int
run_compressor(struct link *l, int64_t now_us)
{
    if (!l->more)
        compressor_rest(&l->compressor, l->sender.window.ready > 0);
    look(l, now_us);
    return compressor_collect(&l->compressor, &l->sender, false);
}

/* The far side's DBA wants to know why no WAL comes, too. */
static void
tell_reason(struct link *l)
{
    struct frame f = {.type = FRAME_WAITS, .waits = {.reason = l->source_reason}};

    if (strcmp(l->told, l->source_reason) != 0 && frame_put(l->sender.out, &f) == 0)
        snprintf(l->told, sizeof l->told, "%s", l->source_reason);
}

static int
ship(struct link *l, const struct loop *loop, int64_t now_us, int64_t wall_us)
{
    int code;

    if (l->sender.doubted && l->streamed)
        return fail(ERR_PEER, AWAY);
    l->sender.doubted = false; /* nothing was compared yet */
    l->sender.allowance = ships_rest(l) ? INT64_MAX : rate_allowance(&l->rate, now_us, wall_us);
    code = run_lanes(l, loop, now_us, wall_us);
    if (code == 0 && l->state == LINK_SHIPPING)
        lanes_run(&l->lanes, &l->sender, loop, now_us);
    if (code == 0)
        code = sender_tick(&l->sender, now_us);
    if (code == 0)
        code = check_alive(l, now_us);
    if (code == 0 && l->state == LINK_SHIPPING)
        code = run_source(l, loop, now_us);
    if (code == 0 && l->state == LINK_SHIPPING)
        code = run_compressor(l, now_us);
    watch_piece(l, now_us);
    if (l->sender.older)
        set_source_reason(l, "");
    if (l->futile && l->state == LINK_SHIPPING && l->sender.far_compared)
        tell_up(l);
    if (code == 0)
        code = run_drain(l);
    if (code == 0 && l->state == LINK_SHIPPING)
        tell_reason(l);
    if (code == 0)
        write_out(l, loop, now_us); /* at once, not in the next turn */
    return code;
}

void
link_run(struct link *l, const struct loop *loop, const struct hello *hello,
         const char *stop_reason, int64_t now_us, int64_t wall_us)
{
    int code = 0;

    if (l->state < LINK_GREETING)
        drain_run(&l->drain); /* a look-up may have outlived its session */
    if (l->state != LINK_STOPPED && l->relays != l->relaying) {
        hello = NULL;
        stop_reason = "it ships from another place: the link begins anew";
    }
    if (hello == NULL) {
        if (l->state == LINK_SHIPPING && frame_put_goodbye(l->sender.out, stop_reason) == 0)
            write_out(l, loop, now_us); /* best effort: the far side also notices by itself */
        if (l->state != LINK_STOPPED || strcmp(l->reason, stop_reason) != 0)
            link_set_state(l, LINK_STOPPED, stop_reason, now_us);
        return;
    }
    l->lineage = (struct lineage){
        .timeline = hello->timeline, .text = hello->history, .length = hello->history_bytes};
    switch (l->state) {
    case LINK_STOPPED:
        l->due_us = now_us;
        l->relaying = l->relays;
        link_set_state(l, LINK_WAITING, "starting", now_us);
        break;
    case LINK_WAITING:
        if (now_us < l->due_us)
            break;
        code = lane_open(&l->lanes.lane[0], now_us);
        if (code == 0)
            link_set_state(l, LINK_DIALING, "", now_us);
        break;
    case LINK_DIALING:
        code = dial(l, loop, hello, now_us);
        break;
    case LINK_GREETING:
    case LINK_SHIPPING:
        code = ship(l, loop, now_us, wall_us);
        break;
    }
    if (code < 0)
        drop(l, now_us);
}

void
link_watch(const struct link *l, struct loop *loop)
{
    if (l->drain.state == DRAIN_LOOKING)
        loop_watch(loop, worker_fd(&l->drain.worker), POLLIN);
    switch (l->state) {
    case LINK_STOPPED:
        return;
    case LINK_WAITING:
        loop_due(loop, l->due_us);
        return;
    case LINK_DIALING:
        lane_watch(&l->lanes.lane[0], loop);
        return;
    case LINK_GREETING:
        lane_watch(&l->lanes.lane[0], loop);
        loop_due(loop, sender_due_us(&l->sender));
        return;
    case LINK_SHIPPING:
        break;
    }
    lanes_watch(&l->lanes, loop);
    loop_due(loop, sender_due_us(&l->sender));
    if (source_active(l->source)) {
        source_watch(l->source, loop, compressor_takes(&l->compressor, &l->sender));
        loop_due(loop, clock_us() + SOURCE_REPORT_US);
    } else if (may_read(l) && !l->hole.known) {
        loop_due(loop, l->source_due_us);
    }
    if ((l->more || l->drain.state == DRAIN_SHIPPING) &&
        compressor_takes(&l->compressor, &l->sender))
        loop_due(loop, 0);
    if (l->rate_limits)
        loop_due(loop, rate_due_us(&l->rate));
}

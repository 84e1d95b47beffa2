/* SPDX-License-Identifier: PostgreSQL */
/*
 * fuzz_session: a far side that was let in, and then does what it wants.
 *
 * The input is a program: its first byte chooses which half of a link is looked at, the rest are
 * steps. A step is a frame of the far side (a type and a few bytes that choose plausible fields, or
 * odd ones; or any bytes at all) or something that happens here meanwhile: time, a flush, a full
 * disk, a crash. Where the input ends, all is as the far side left it.
 *
 * After every step: no code but those that the headers name; what is flushed is available, what is
 * available is written; what was acknowledged never goes back; what is kept for the far side keeps
 * to the window. As long as the disk is well, no far side makes it look ill, nor the receiver wait
 * for a flush that does not help.
 */
#include "shipper/wire/codec.h"
#include "shipper/receiver/receiver.h"
#include "shipper/sender/sender.h"

#include "base/clock.h"
#include "base/fail.h"
#include "tests/sim/disk.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SEGMENT_BYTES (1u << 20)
#define START_LSN     UINT64_C(0x1000000)
#define STEPS_MAX     200
#define LANES         3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __wrap_clock_boot_id(char out[BOOT_ID_SIZE]);

static struct {
    const uint8_t *at;
    size_t left;
    int64_t now_us;
    uint64_t random_state, boots;
    struct codec codec;
    struct buf frame, late; /* a frame that is made; one that comes behind those after it */
    uint64_t number;        /* of the next numbered frame */
    lsn_t lsn;              /* where the next WAL begins */

    struct spool spool;
    struct receiver receiver;
    struct buf answers;
    uint8_t scratch[FRAME_WAL_MAX];
    struct flush flush;
    bool flushing, ill; /* the disk was made to fail */
    lsn_t flushed, said;

    struct sender sender;
    struct buf lane[LANES];
    struct ack far;
    bool older;
} w;

void
__wrap_clock_boot_id(char out[BOOT_ID_SIZE])
{
    snprintf(out, BOOT_ID_SIZE, "boot-%" PRIu64, w.boots);
}

/* ---- the program ---- */

static uint8_t
take(void)
{
    if (w.left == 0)
        return 0;
    w.left--;
    return *w.at++;
}

static uint64_t
take_u64(void)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++)
        v = v << 8 | take();
    return v;
}

/* What would be right, or something beside it. */
static uint64_t
near(uint64_t right)
{
    switch (take() % 20) {
    case 10:
        return right + 1;
    case 11:
        return right - 1;
    case 12:
        return right + take();
    case 13:
        return right + (uint64_t)take() * 4096;
    case 14:
        return right - (uint64_t)take() * 4096;
    case 15:
        return segment_start(right, SEGMENT_BYTES);
    case 16:
        return segment_start(right, SEGMENT_BYTES) + SEGMENT_BYTES * (uint64_t)take();
    case 17:
        return 0;
    case 18:
        return UINT64_MAX - take();
    case 19:
        return take_u64();
    default:
        return right;
    }
}

static int64_t
near_us(int64_t right_us)
{
    int64_t us = (int64_t)near((uint64_t)right_us);

    return take() == 255 ? us : us % (FRAME_TIME_MAX_US + 1);
}

static uint64_t
draw(void)
{
    return w.random_state = w.random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
}

static const char *
reason(void)
{
    static const char *const reasons[] = {"", "why not", "\x1b[2J\n\xff\xfe", "%s%n"};

    return reasons[take() % 4];
}

static struct hello
hello(timeline_t timeline, const char *history)
{
    return (struct hello){
        .protocol = FRAME_PROTOCOL,
        .pool = "fuzz",
        .identity = {.system_identifier = 7, .segment_bytes = SEGMENT_BYTES, .postgres_major = 15},
        .from = "a",
        .to = "b",
        .epoch = {.number = 1, .member = "a"},
        .hops = 1,
        .path = {"a"},
        .incarnation = 1,
        .timeline = timeline,
        .history = history};
}

static struct beacon
beacon(void)
{
    return (struct beacon){
        .lsn = near(w.lsn), .wall_us = near_us(w.now_us), .mono_us = near_us(w.now_us)};
}

static struct epoch_origin
origin(void)
{
    return (struct epoch_origin){.epoch = {.number = near(1), .member = "a"},
                                 .timeline = (timeline_t)near(1),
                                 .fork = near(w.lsn)};
}

static size_t
make_wal(uint8_t out[FRAME_WAL_MAX], lsn_t lsn)
{
    static const size_t sizes[] = {1, 100, 5000, WAL_PAGE_BYTES, FRAME_WAL_MAX};
    uint8_t choice = take(), other = choice >= 250;
    size_t n = sizes[choice % 5];

    for (size_t i = 0, piece; i < n; i += piece) {
        piece = 512 - (size_t)((lsn + i) % 512);
        if (piece > n - i)
            piece = n - i;
        memset(out + i, (int)(((lsn + i) / 512 * 37 + other) & 255), piece);
    }
    return n;
}

static void
make_pool(struct frame *f)
{
    static const struct member_news news = {.member = "a", .state = {.reason = "x"}};
    static struct pool_change change[2];
    uint8_t bits = take();

    change[0] = (struct pool_change){.origin = origin(), .wall_us = near_us(w.now_us)};
    change[1] = change[0];
    change[1].origin.parent = change[0].origin.epoch;
    change[1].origin.epoch.number++;
    f->pool.timeline = (timeline_t)near(1);
    f->pool.changes = bits % 3;
    f->pool.change = change;
    f->pool.has_news = bits >= 64;
    f->pool.echo_us = w.now_us;
    f->pool.members = bits >= 128;
    f->pool.member = &news;
    f->pool.routes = (struct routes){.epoch = {1, "a"}, .number = 1, .count = take() % 3};
    for (size_t i = 0; i < f->pool.routes.count; i++)
        f->pool.routes.route[i] = (struct route){.member = "a", .since_us = near_us(w.now_us)};
}

/* Types that both sides may send, and those that this side must not get. */
static void
put_other(void)
{
    static const uint8_t bytes[64];
    struct frame f = {.type = (enum frame_type)(1 + take() % FRAME_PROMISE)};

    switch (f.type) {
    case FRAME_HELLO:
        f.hello = hello(1, "");
        break;
    case FRAME_REFUSE:
        f.refuse.origin = origin();
        f.refuse.reason = reason();
        break;
    case FRAME_PONG:
        f.pong.sent_us = near_us(w.now_us);
        f.pong.mono_us = near_us(w.now_us);
        f.pong.wall_us = near_us(w.now_us);
        f.pong.postgres = (enum pong_postgres)(take() % 6);
        break;
    case FRAME_BEACON:
        f.beacon.stamp = beacon();
        f.beacon.commits_wait = take() & 1;
        break;
    case FRAME_PING:
        f.ping.sent_us = near_us(w.now_us);
        break;
    case FRAME_POOL:
        make_pool(&f);
        break;
    case FRAME_GOODBYE:
    case FRAME_WAITS:
        f.goodbye.reason = reason();
        break;
    case FRAME_TUNNEL:
        f.tunnel.service = (enum tunnel_service)(1 + take() % 3);
        f.tunnel.number = near(1);
        f.tunnel.reason = reason();
        break;
    case FRAME_DATA:
        f.data.decoded_bytes = (uint32_t)near(64);
        f.data.bytes = bytes;
        f.data.length = sizeof bytes;
        break;
    case FRAME_FILE:
        f.file.path = reason();
        f.file.modified_us = near_us(w.now_us);
        f.file.bytes = bytes;
        f.file.length = take() % sizeof bytes;
        break;
    case FRAME_PROMISE:
        f.promise.word = (enum promise_word)(1 + take() % 4);
        f.promise.number = near(1);
        f.promise.reason = reason();
        break;
    case FRAME_DRAINED:
        f.drained.done = take() & 1;
        f.drained.end = near(w.lsn);
        f.drained.reason = reason();
        break;
    case FRAME_ACCEPT:
        f.accept.timeline = (timeline_t)near(1);
        f.accept.lsn = near(START_LSN);
        break;
    case FRAME_WAL:
        f.type = FRAME_DRAIN;
        break;
    case FRAME_ACK:
    case FRAME_HISTORY:
    case FRAME_DRAIN:
        break;
    }
    assert(frame_put(&w.frame, &f) == 0);
}

/* No encoder of ours made these. */
static void
put_any(void)
{
    size_t n = take();

    buf_put_u32(&w.frame, (uint32_t)near(n));
    for (size_t i = 0; i < n; i++)
        buf_put_u8(&w.frame, take());
}

static void
set_number(void)
{
    uint64_t number = near(w.number);

    if (number == w.number)
        w.number++;
    buf_set_u32(&w.frame, FRAME_NUMBER_AT, (uint32_t)(number >> 32));
    buf_set_u32(&w.frame, FRAME_NUMBER_AT + 4, (uint32_t)number);
}

/* A frame on its way: it may be hurt, or come late. */
static void
twist(void)
{
    uint8_t how = take();

    if (how == 255 && buf_used(&w.frame) > 0) {
        size_t at = (size_t)take() << 8 | take();

        w.frame.bytes[w.frame.start + at % buf_used(&w.frame)] ^= take();
    }
    if (how >= 240 && how < 250) {
        struct buf swapped = w.frame;

        w.frame = w.late;
        w.late = swapped;
    }
}

static void
is_file(void *context, const struct frame *f)
{
    (void)context;
    assert(strlen(f->file.path) < FRAME_PATH_MAX && f->file.length <= FRAME_FILE_MAX);
}

/* ---- a receiver ---- */

static bool
documented(int code)
{
    return code == 0 || code == ERR_PEER || code == ERR_AGAIN || code == ERR_CORRUPT ||
           (code == ERR_LOCAL && w.ill);
}

static void
check_answers(void)
{
    struct frame f;
    int got;

    while ((got = frame_next(&w.answers, &f)) == 1) {
        assert(f.type != FRAME_WAL && f.type != FRAME_REFUSE && f.type != FRAME_GOODBYE);
        if (f.type == FRAME_ACK) {
            assert(f.ack.flushed <= f.ack.received && f.ack.flushed >= w.said);
            assert(f.ack.next <= w.receiver.reorder.next);
            w.said = f.ack.flushed;
        }
        buf_consume(&w.answers, f.bytes);
    }
    assert(got == 0 && buf_used(&w.answers) == 0);
}

/* What the caller says by itself. */
static void
ask(void)
{
    struct frame pool = {.type = FRAME_POOL};
    struct tunnel_request t = {.service = TUNNEL_CONTROL, .number = 1, .reason = ""};

    w.receiver.stream_refused = 0;
    receiver_lane(&w.receiver, &w.answers);
    assert(receiver_ask_drain(&w.receiver) == 0 && receiver_tell(&w.receiver, &pool) == 0 &&
           receiver_ask_stream(&w.receiver, &t) == 0);
}

static void
prune(void)
{
    struct prune p;

    if (!spool_prune_begin(&w.spool, &p, near(w.spool.flushed), 0, w.now_us))
        return;
    spool_prune_run(&p);
    assert(spool_prune_end(&w.spool, &p) == 0);
}

/* A reader of the relay asks meanwhile. */
static void
check_served(struct spool *s)
{
    static uint8_t bytes[512];
    lsn_t end;
    timeline_t next;
    int got;

    spool_switch_point(s, 1, &end, &next);
    if (s->available == s->start)
        return;
    got = spool_read(s, s->timeline, s->start + draw() % (s->available - s->start), bytes,
                     sizeof bytes);
    assert(got > 0 || got == ERR_AGAIN); /* the latter of an older timeline */
}

static void
check_receiver(void)
{
    struct spool *s = &w.spool;

    check_served(s);
    assert(s->start <= s->flushed && s->flushed <= s->available && s->available <= s->written);
    assert(s->flushed >= w.flushed);
    w.flushed = s->flushed;
    assert(w.receiver.reorder.bytes <= WINDOW_BYTES);
    check_answers();
}

static void
end_session(void)
{
    check_answers();
    receiver_close(&w.receiver);
    buf_clear(&w.late);
}

static void
greet(void)
{
    static char history[HISTORY_BYTES_MAX + 1];
    struct hello h = hello(spool_empty(&w.spool) ? 1 : w.spool.timeline, history);
    int got = spool_history(&w.spool, h.timeline, history, sizeof history), code;

    if (receiver_live(&w.receiver))
        end_session();
    h.history_bytes = got > 0 ? (size_t)got : 0;
    code = receiver_judge(&w.receiver, &h);
    if (code == 0)
        code = receiver_accept(&w.receiver, &w.answers, &h, 1, take() & 1 ? LSN_UNKNOWN : START_LSN,
                               0, w.now_us);
    assert(documented(code));
    w.number = 0;
    w.lsn = w.receiver.compared != LSN_UNKNOWN ? w.receiver.compared : START_LSN;
}

static void
start_receiver(void)
{
    int code = spool_open(&w.spool, "spool");

    if (code == ERR_LOCAL && w.ill) {
        w.ill = false;
        disk_set_full(false);
        code = spool_open(&w.spool, "spool");
    }
    assert(code == 0);
    receiver_init(&w.receiver, &w.spool, &w.codec, w.scratch);
    w.receiver.file = is_file;
    w.flushed = w.said = LSN_UNKNOWN;
    greet();
}

static void
flush_begin(void)
{
    if (!w.flushing)
        w.flushing = w.spool.damaged ? spool_recover_begin(&w.spool, &w.flush)
                                     : spool_flush_begin(&w.spool, &w.flush, w.now_us);
}

static void
flush_end(void)
{
    int code;

    if (!w.flushing)
        return;
    spool_flush_run(&w.flush);
    w.flushing = false;
    code = spool_flush_end(&w.spool, &w.flush);
    assert(documented(code) && (code == 0 || w.ill));
    if (code < 0 && receiver_live(&w.receiver))
        end_session();
}

/* As a lane's input: what the spool cannot take now is given again behind the flush. */
static void
receive(void)
{
    struct frame f;
    int code = frame_next(&w.frame, &f);

    assert(code == 0 || code == 1 || code == ERR_PEER);
    if (code == 1) {
        code = ERR_AGAIN;
        for (int flushes = 0; code == ERR_AGAIN && receiver_live(&w.receiver); flushes++) {
            assert(flushes < 16 || w.ill);
            if (flushes == 16)
                break;
            code = receiver_go_on(&w.receiver, w.now_us);
            if (code == 0)
                code = receiver_frame(&w.receiver, &f, w.now_us, w.now_us);
            if (code == ERR_AGAIN) {
                flush_begin();
                flush_end();
            }
        }
    }
    assert(documented(code));
    if (code < 0 && receiver_live(&w.receiver))
        end_session();
    if (!receiver_live(&w.receiver))
        greet();
}

static void
put_far_wal(void)
{
    static uint8_t bytes[FRAME_WAL_MAX];
    lsn_t lsn = near(w.lsn);
    size_t n = make_wal(bytes, lsn);

    assert(frame_put_wal(&w.frame, &w.codec, (timeline_t)near(w.spool.timeline), lsn, bytes, n) ==
           0);
    w.lsn = lsn + n;
    set_number();
}

/* The spool's own history and one more timeline, which may begin here. */
static void
put_far_history(void)
{
    static char text[HISTORY_BYTES_MAX + 64];
    timeline_t last = w.spool.timeline;
    lsn_t fork = near(w.spool.available);
    int had = spool_history(&w.spool, last, text, HISTORY_BYTES_MAX);
    size_t length = had > 0 ? (size_t)had : 0;
    struct frame f = {.type = FRAME_HISTORY,
                      .history = {.timeline = (timeline_t)near(last + 1), .text = text}};

    length += (size_t)snprintf(text + length, 64, "%u\t" LSN_FORMAT "\tno reason\n",
                               (timeline_t)near(last), LSN_ARGS(fork));
    f.history.length = length;
    assert(frame_put(&w.frame, &f) == 0);
    set_number();
    if (take() & 1)
        w.lsn = take() & 1 ? fork : segment_start(fork, SEGMENT_BYTES);
}

static void
hurt_disk(void)
{
    uint8_t how = take() % 4;

    w.ill = true;
    if (how == 0)
        disk_fail_next_flush();
    else
        disk_set_full(how == 1);
}

static void
restart(void)
{
    bool crash = take() & 1;

    end_session();
    if (crash)
        disk_crash();
    else
        disk_kill();
    w.boots += crash;
    w.flushing = false;
    memset(&w.spool, 0, sizeof w.spool);
    start_receiver();
}

static void
step_receiver(void)
{
    uint8_t step = take() % 16;

    buf_clear(&w.frame);
    switch (step) {
    case 7:
        put_far_history();
        break;
    case 8:
    case 9:
        put_other();
        if (frame_numbered((enum frame_type)w.frame.bytes[w.frame.start + 4]))
            set_number();
        break;
    case 10:
        put_any();
        break;
    case 11:
        flush_begin();
        return;
    case 12:
        flush_end();
        return;
    case 13:
        hurt_disk();
        return;
    case 14:
        switch (take() % 4) {
        case 0:
            restart();
            break;
        case 1:
            prune();
            break;
        case 2:
            greet();
            break;
        default:
            if (receiver_live(&w.receiver))
                ask();
            break;
        }
        return;
    case 15:
        w.now_us += (int64_t)take() * take() * 100;
        receiver_report(&w.receiver, near(w.spool.flushed), take(), take(), take() & 1, w.now_us);
        if (receiver_tick(&w.receiver, w.now_us) < 0)
            greet();
        return;
    default:
        put_far_wal();
        break;
    }
    twist();
    receive();
}

static void
play_receiver(void)
{
    int code;

    disk_reset(draw);
    w.ill = w.flushing = false;
    memset(&w.spool, 0, sizeof w.spool);
    start_receiver();
    for (int i = 0; i < STEPS_MAX && w.left > 0; i++) {
        step_receiver();
        check_receiver();
        assert(receiver_due_us(&w.receiver) >= 0);
    }
    end_session();
    flush_end();
    disk_set_full(false);
    code = spool_trust_tail(&w.spool); /* a failover is the last that it may have to serve */
    assert(documented(code) && (code < 0 || w.spool.flushed == w.spool.written));
    spool_close(&w.spool);
}

/* ---- a sender ---- */

static void
check_sender(void)
{
    const struct sender *s = &w.sender;
    const struct window *q = &s->window;

    assert(q->next - q->first <= WINDOW_FRAMES && q->bytes <= WINDOW_BYTES);
    assert(q->ready <= q->bytes && q->first <= q->hand && q->hand <= q->next);
    assert((q->first == q->next) == (q->bytes == 0));
    assert(s->far.flushed <= s->far.received || !s->far_known);
    assert(s->far.flushed == LSN_UNKNOWN ||             /* of no use there */
           s->far.flushed >= w.far.flushed || w.older); /* a copy of the older state may come */
    assert(s->streams_asked <= SENDER_STREAMS_MAX);
    assert(s->flushed.count <= BEACONS_MAX && s->round_trip_us >= 0);
    w.far = s->far;
    w.older = s->older;
}

static void
open_sender(void)
{
    struct hello h = hello(1, "");
    struct frame accept = {.type = FRAME_ACCEPT, .accept = {.timeline = 1}};
    struct frame f;

    sender_close(&w.sender);
    for (unsigned i = 0; i < LANES; i++)
        buf_clear(&w.lane[i]);
    assert(sender_open(&w.sender, &w.lane[0], &h, w.now_us) == 0);
    accept.accept.lsn = near(START_LSN);
    buf_clear(&w.frame);
    assert(frame_put(&w.frame, &accept) == 0 && frame_next(&w.frame, &f) == 1);
    assert(sender_frame(&w.sender, &f, w.now_us, w.now_us) == 0);
    w.far = w.sender.far; /* it may say that what it had is lost */
}

/* WAL as long as it is welcome, or a few frames of it. */
static void
ship(unsigned frames)
{
    static uint8_t bytes[FRAME_WAL_MAX];

    while (frames-- > 0 && sender_wants(&w.sender, 1) &&
           w.sender.sent < UINT64_MAX - FRAME_WAL_MAX) {
        size_t n = make_wal(bytes, w.sender.sent);

        assert(sender_wal(&w.sender, 1, w.sender.sent, bytes, n) == 0);
    }
    w.lsn = w.sender.sent;
}

/* What a lane's line has taken. */
static void
drain(unsigned lane)
{
    struct frame f;
    int got;

    while ((got = frame_next(&w.lane[lane], &f)) == 1)
        buf_consume(&w.lane[lane], f.bytes);
    assert(got == 0 && buf_used(&w.lane[lane]) == 0);
}

static void
turn_lane(unsigned lane)
{
    bool up = w.sender.window.out[lane] != NULL;

    buf_clear(&w.lane[lane]);
    if (!sender_lane(&w.sender, lane, up ? NULL : &w.lane[lane]))
        open_sender();
}

static void
put_ack(void)
{
    struct window *q = &w.sender.window;
    uint64_t behind = take() % 4 == 0 ? take() : 0;
    struct frame f = {.type = FRAME_ACK, .ack = {.timeline = 1}};

    f.ack.received = near(w.sender.furthest);
    f.ack.flushed = near(f.ack.received);
    f.ack.applied = near(f.ack.flushed);
    f.ack.compared = near(f.ack.received);
    f.ack.next = near(behind < q->next - q->first ? q->next - behind : q->first);
    f.ack.xmin = take();
    f.ack.received_beacon = beacon();
    f.ack.flushed_beacon = beacon();
    f.ack.applied_beacon = beacon();
    assert(frame_put(&w.frame, &f) == 0);
}

static void
step_sender(void)
{
    struct beacon b = {.lsn = w.sender.sent, .wall_us = w.now_us, .mono_us = w.now_us};
    struct frame f;
    int code;

    buf_clear(&w.frame);
    switch (take() % 16) {
    case 6:
    case 7:
        put_other();
        break;
    case 8:
        put_any();
        break;
    case 9:
        turn_lane(take() % LANES);
        return;
    case 10:
        drain(take() % LANES);
        sender_hand_out(&w.sender);
        return;
    case 11:
        w.now_us += (int64_t)take() * take() * 100;
        sender_beacon(&w.sender, &b);
        return;
    case 12:
        w.now_us += (int64_t)take() * take() * 100;
        assert(sender_tick(&w.sender, w.now_us) == 0);
        return;
    case 13:
        w.sender.streams_asked = 0;
        w.sender.drain_asked = false;
        code = sender_drained(&w.sender, true, 1, w.sender.sent, reason());
        assert(code == 0 || code == ERR_AGAIN);
        code = sender_history(&w.sender, 2, "1\t0/1000000\tx\n", 14);
        assert(code == 0 || code == ERR_AGAIN);
        w.sender.allowance = take() & 1 ? INT64_MAX : (int64_t)take() * 1024;
        return;
    case 14:
    case 15:
        ship(1 + take());
        return;
    default:
        put_ack();
        break;
    }
    twist();
    code = frame_next(&w.frame, &f);
    if (code == 1)
        code = sender_frame(&w.sender, &f, w.now_us, w.now_us);
    assert(code == 0 || code == ERR_PEER);
    if (code < 0)
        open_sender();
}

static void
play_sender(void)
{
    sender_init(&w.sender, &w.codec);
    w.sender.file = is_file;
    open_sender();
    for (int i = 0; i < STEPS_MAX && w.left > 0; i++) {
        step_sender();
        check_sender();
        assert(sender_due_us(&w.sender) >= 0);
    }
    sender_close(&w.sender);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (w.frame.size == 0) {
        assert(buf_init(&w.frame, 2u << 20) == 0 && buf_init(&w.late, 2u << 20) == 0 &&
               buf_init(&w.answers, 1u << 16) == 0);
        for (unsigned i = 0; i < LANES; i++)
            assert(buf_init(&w.lane[i], 1u << 20) == 0);
    }
    w.at = data;
    w.left = size;
    w.now_us = SECOND_US;
    w.random_state = w.boots = 1;
    w.number = 0;
    w.lsn = START_LSN;
    buf_clear(&w.late);
    buf_clear(&w.answers);
    if (take() & 1)
        play_receiver();
    else
        play_sender();
    return 0;
}

/* SPDX-License-Identifier: PostgreSQL */
/*
 * sim: sender, receiver, spool and beacons in virtual time, from one seed.
 *
 * A primary makes WAL (bytes that are a function of their LSN) and samples beacons; a sender ships
 * it over one to three lanes of different delay, which are cut, killed and joined by chance; a
 * receiver writes it to a spool on a disk that forgets what was not flushed. Agents are killed, the
 * standby's machine crashes and leaves torn tails, the disk fills up, flushes fail. The standby's
 * PostgreSQL crashes and applies anew; the primary is restored to an older state, which writes other
 * WAL, and the newer state is put back. After every tick the promises are checked:
 *
 *   1  what was acknowledged as flushed survives a crash at this instant, byte for byte
 *   2  what is served is what the primary wrote; positions at the sender never go back
 *   3  no lag is told smaller than it is
 *   4  when the faults are over, everything arrives
 *   5  what is under way, and what came out of order, keeps to one budget; honest frames are taken
 *
 * In some runs WAL goes in small pieces: not their size fills the sender's window but their number.
 *
 *   sim [--seeds N] [--first SEED] [--break WHAT]    exit 1 if a promise broke
 *
 * The checks must notice what --break does:
 *   ack-before-flush   tells the receiver that what it wrote is flushed
 *   drop-when-full     takes WAL without asking: what a full window does not take is lost
 *   keep-applied       tells the receiver that what was applied once is applied
 */
#include "disk.h"

#include "base/clock.h"
#include "base/fail.h"
#include "shipper/wire/codec.h"
#include "shipper/receiver/receiver.h"
#include "shipper/sender/sender.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT_BYTES (1u << 20)
#define START_LSN     UINT64_C(0x1000000)
#define TICK_US       (5 * MILLISECOND_US)
#define FAULTY_US     (40 * SECOND_US)
#define CALM_US       (40 * SECOND_US)
#define WAL_MAX       (12u << 20)
#define LINE_BYTES    (1u << 20) /* what is under way in one direction */
#define HISTORY_MAX   4096
#define LANES         3

struct line {
    struct {
        int64_t due_us;
        size_t bytes;
    } piece[HISTORY_MAX];
    size_t pieces;
    struct buf bytes;
};

static struct {
    uint64_t seed, random_state;
    int64_t now_us;
    bool ack_before_flush, drop_when_full, keep_applied; /* --break */
    size_t piece_max;                                    /* of WAL, in this run */

    lsn_t primary;
    struct beacon truth[HISTORY_MAX]; /* what the primary's LSN was when */
    size_t truths;
    int64_t beacon_due_us;

    struct codec codec;
    struct sender sender;
    bool sender_up;
    lsn_t sender_flushed;
    uint64_t acks_seen;
    int64_t acked_us; /* when the last ACK came */
    int64_t dial_us;

    lsn_t fork, newer; /* the primary was restored to fork, and stood at newer; 0: it was not */
    int64_t restored_us, put_back_us;

    struct spool spool;
    struct receiver receiver;
    lsn_t applied, applied_once; /* by the standby's PostgreSQL; LSN_UNKNOWN: it is down */
    int64_t apply_us;            /* it goes on then */
    bool receiver_up;
    bool session;
    uint64_t boots;
    int64_t receiver_start_us, retry_us;
    uint8_t scratch[FRAME_WAL_MAX];
    struct flush flush;
    int64_t flush_due_us; /* 0: none under way */

    struct {
        bool up;
        struct buf sender_out, sender_in, receiver_out, receiver_in;
        struct line there, back;
        int64_t delay_us;
    } lane[LANES];
    bool connected, cut;
    int64_t heal_us, full_until_us;
    lsn_t checked; /* survives up to here: not looked at again unless a crash came */
} w;

static uint64_t
draw(void)
{
    /* splitmix64: the whole run is a function of the seed */
    uint64_t z = w.random_state += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* Linked in place of base/clock's: the machine's boots are ours. */
void __wrap_clock_boot_id(char out[BOOT_ID_SIZE]);

void
__wrap_clock_boot_id(char out[BOOT_ID_SIZE])
{
    snprintf(out, BOOT_ID_SIZE, "boot-%" PRIu64, w.boots);
}

static bool
chance(uint64_t one_in)
{
    return draw() % one_in == 0;
}

static int64_t
between(int64_t low_us, int64_t high_us)
{
    return low_us + (int64_t)(draw() % (uint64_t)(high_us - low_us + 1));
}

static void broke(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void
broke(const char *format, ...)
{
    va_list args;

    printf("seed %" PRIu64 ", %.3f s: ", w.seed, (double)w.now_us / (double)SECOND_US);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    exit(1);
}

static void
wal_at(lsn_t lsn, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t block = (lsn + i) / 16 * UINT64_C(0x9E3779B97F4A7C15) + w.seed;

        out[i] = (uint8_t)((block >> 32) + ((lsn + i) % 16 == 0 ? block >> 16 : 0));
    }
}

/* ---- the line ---- */

static void
line_clear(struct line *l)
{
    l->pieces = 0;
    buf_clear(&l->bytes);
}

static void
line_take(struct line *l, struct buf *from, int64_t delay_us)
{
    size_t n = buf_used(from), room = buf_room(&l->bytes);

    if (l->pieces == HISTORY_MAX)
        return;
    if (n > room)
        n = room;
    if (n > 8192)
        n = 8192 + draw() % (n - 8191); /* ends fall anywhere */
    if (n == 0)
        return;
    buf_reserve(&l->bytes, n);
    buf_put_bytes(&l->bytes, buf_data(from), n);
    buf_consume(from, n);
    l->piece[l->pieces].due_us = w.now_us + delay_us;
    l->piece[l->pieces++].bytes = n;
}

static void
line_give(struct line *l, struct buf *to)
{
    size_t given = 0;

    while (!w.cut && given < l->pieces && l->piece[given].due_us <= w.now_us) {
        size_t n = l->piece[given].bytes;

        if (buf_room(to) < n || buf_reserve(to, n) == NULL)
            break;
        buf_put_bytes(to, buf_data(&l->bytes), n);
        buf_consume(&l->bytes, n);
        given++;
    }
    l->pieces -= given;
    memmove(l->piece, l->piece + given, l->pieces * sizeof l->piece[0]);
}

/* ---- lanes ---- */

static void
clear_lane(unsigned i)
{
    w.lane[i].up = false;
    line_clear(&w.lane[i].there);
    line_clear(&w.lane[i].back);
    buf_clear(&w.lane[i].sender_out);
    buf_clear(&w.lane[i].sender_in);
    buf_clear(&w.lane[i].receiver_out);
    buf_clear(&w.lane[i].receiver_in);
}

static void
join_lane(unsigned i)
{
    if (w.lane[i].up || !w.session || w.sender.state != SENDER_ACCEPTED || !w.connected)
        return;
    clear_lane(i);
    w.lane[i].up = true;
    w.lane[i].delay_us = between(0, 80 * MILLISECOND_US);
    sender_lane(&w.sender, i, &w.lane[i].sender_out);
}

/* False: it was the last one. */
static bool
kill_lane(unsigned i)
{
    if (!w.lane[i].up || !w.session || !sender_lane(&w.sender, i, NULL))
        return false;
    clear_lane(i);
    for (unsigned k = 0; k < LANES; k++) {
        if (!w.lane[k].up)
            continue;
        if (w.receiver.out == &w.lane[i].receiver_out)
            receiver_lane(&w.receiver, &w.lane[k].receiver_out);
        return true;
    }
    return false;
}

/* ---- the standby's side ---- */

static void
end_session(void)
{
    if (w.session)
        receiver_close(&w.receiver);
    w.session = false;
    w.connected = false;
    for (unsigned i = 0; i < LANES; i++) {
        buf_clear(&w.lane[i].receiver_in);
        buf_clear(&w.lane[i].receiver_out);
    }
}

static void
stop_receiver(bool machine)
{
    end_session();
    w.receiver_up = false;
    w.flush_due_us = 0;
    if (machine)
        disk_crash();
    else
        disk_kill();
    w.boots += machine;
    memset(&w.spool, 0, sizeof w.spool);
    w.receiver_start_us = w.now_us + between(10 * MILLISECOND_US, 2 * SECOND_US);
    w.checked = START_LSN; /* all of it again */
}

static void
start_receiver(void)
{
    int code = spool_open(&w.spool, "spool");

    if (code < 0 && w.now_us < w.full_until_us) { /* the agent exits; systemd starts it again */
        w.receiver_start_us = w.now_us + 200 * MILLISECOND_US;
        return;
    }
    if (code < 0)
        broke("the spool cannot be opened: %s", fail_message());
    receiver_init(&w.receiver, &w.spool, &w.codec, w.scratch);
    w.receiver_up = true;
}

static void
spool_failed(void)
{
    end_session();
    w.retry_us = w.now_us + 200 * MILLISECOND_US;
}

static void
greet(const struct frame *f)
{
    struct epoch_origin none = {0};

    if (w.now_us < w.retry_us || w.spool.damaged || receiver_judge(&w.receiver, &f->hello) < 0) {
        if (w.now_us >= w.retry_us && !w.spool.damaged)
            broke("WAL of our own primary is refused: %s", fail_message());
        frame_put_refuse(&w.lane[0].receiver_out, REFUSE_RETRY, &none, "not now");
        return;
    }
    if (receiver_accept(&w.receiver, &w.lane[0].receiver_out, &f->hello, 1, START_LSN, 0,
                        w.now_us) == 0)
        w.session = true;
    else
        frame_put_refuse(&w.lane[0].receiver_out, REFUSE_RETRY, &none, "not now");
}

static void
receive(struct buf *in)
{
    struct frame f;
    int got, code;

    while (w.receiver_up && (got = frame_next(in, &f)) != 0) {
        if (got < 0)
            broke("a frame cannot be read: %s", fail_message());
        if (!w.session && f.type != FRAME_HELLO)
            break;
        code = 0;
        if (!w.session)
            greet(&f);
        else
            code = receiver_frame(&w.receiver, &f, w.now_us, w.now_us);
        if (code == ERR_AGAIN)
            return;
        if (code == ERR_CORRUPT && w.fork == 0)
            broke("our own WAL is refused: %s", fail_message());
        if (code == ERR_LOCAL) {
            spool_failed();
            return;
        }
        if (code < 0 && code != ERR_CORRUPT && f.type == FRAME_WAL &&
            w.sender.state == SENDER_ACCEPTED)
            broke("promise 5: an honest frame is refused: %s", fail_message());
        if (code < 0) {
            end_session();
            return;
        }
        buf_consume(in, f.bytes);
    }
}

static void
flush(void)
{
    if (w.flush_due_us != 0 && w.now_us >= w.flush_due_us) {
        spool_flush_run(&w.flush);
        w.flush_due_us = 0;
        if (spool_flush_end(&w.spool, &w.flush) < 0)
            spool_failed();
    }
    if (w.flush_due_us == 0 && w.spool.damaged && w.now_us >= w.retry_us) {
        if (spool_recover(&w.spool) < 0)
            w.retry_us = w.now_us + 200 * MILLISECOND_US;
    }
    if (w.flush_due_us == 0 && spool_flush_begin(&w.spool, &w.flush, w.now_us))
        w.flush_due_us = w.now_us + between(MILLISECOND_US, 40 * MILLISECOND_US);
}

/* The standby's PostgreSQL; down, and started again, it may have less than it had. */
static void
apply(void)
{
    if (w.now_us < w.apply_us)
        return;
    if (w.applied != LSN_UNKNOWN || w.spool.flushed <= START_LSN) {
        w.applied = w.spool.flushed > w.applied ? w.spool.flushed : w.applied;
    } else {
        w.applied = START_LSN + draw() % (w.applied_once - START_LSN + 1);
        w.apply_us = w.now_us + between(0, 4 * SECOND_US); /* its replay is held back */
    }
    if (w.applied > w.applied_once)
        w.applied_once = w.applied;
}

static void
run_receiver(void)
{
    lsn_t flushed;

    if (!w.receiver_up) {
        if (w.now_us >= w.receiver_start_us)
            start_receiver();
        return;
    }
    if (w.session && receiver_go_on(&w.receiver, w.now_us) == ERR_LOCAL)
        spool_failed();
    for (unsigned i = 0; i < LANES; i++)
        receive(&w.lane[i].receiver_in);
    flush();
    apply();
    flushed = w.spool.flushed;
    if (w.ack_before_flush)
        w.spool.flushed = w.spool.available;
    receiver_report(&w.receiver, w.keep_applied ? w.applied_once : w.applied, 0, 0, true, w.now_us);
    w.spool.flushed = flushed;
    if (w.session && receiver_tick(&w.receiver, w.now_us) < 0)
        end_session();
}

/* ---- the primary's side ---- */

static void
drop_link(void)
{
    sender_close(&w.sender);
    for (unsigned i = 0; i < LANES; i++)
        clear_lane(i);
    if (w.connected)
        end_session();
    w.connected = false;
    w.dial_us = w.now_us + between(50 * MILLISECOND_US, SECOND_US);
}

static void
start_sender(void)
{
    drop_link();
    sender_init(&w.sender, &w.codec);
    w.sender_up = true;
    w.sender_flushed = w.acks_seen = 0;
    w.acked_us = 0;
}

static void
dial(void)
{
    struct hello h = {
        .protocol = FRAME_PROTOCOL,
        .pool = "sim",
        .identity = {.system_identifier = 7, .segment_bytes = SEGMENT_BYTES, .postgres_major = 15},
        .from = "a",
        .to = "b",
        .epoch = {.number = 1, .member = "a"},
        .hops = 1,
        .path = {"a"},
        .incarnation = (uint64_t)w.now_us,
        .timeline = 1,
        .history = ""};

    if (w.now_us < w.dial_us || w.cut || !w.receiver_up)
        return;
    w.connected = true;
    clear_lane(0);
    w.lane[0].up = true;
    sender_open(&w.sender, &w.lane[0].sender_out, &h, w.now_us);
}

static void
ship(void)
{
    static uint8_t bytes[FRAME_WAL_MAX];

    if (w.sender.state == SENDER_ACCEPTED && w.sender.sent == LSN_UNKNOWN)
        broke("a receiver that knows where to start did not say so");
    while (w.sender.sent < w.primary && (w.drop_when_full || sender_wants(&w.sender, 1))) {
        lsn_t left = w.primary - w.sender.sent;
        size_t n = 1 + (size_t)(draw() % w.piece_max);
        int code;

        if (n > left)
            n = (size_t)left;
        wal_at(w.sender.sent, bytes, n);
        for (size_t i = 0; w.fork != 0 && i < n; i++)
            bytes[i] = (uint8_t)(bytes[i] + (w.sender.sent + i >= w.fork));
        code = sender_wal(&w.sender, 1, w.sender.sent, bytes, n);
        if (code == ERR_AGAIN && w.drop_when_full)
            w.sender.sent += n;
        else if (code < 0)
            broke("promise 5: the queue does not take what it wanted");
    }
    sender_hand_out(&w.sender);
}

static void
run_sender(void)
{
    struct frame f;
    int got, code = 0;

    if (!w.sender_up)
        return;
    if (w.now_us >= w.beacon_due_us && w.truths < HISTORY_MAX) {
        struct beacon b = {.lsn = w.primary, .wall_us = w.now_us, .mono_us = w.now_us};

        if (w.fork == 0)
            w.truth[w.truths++] = b;
        sender_beacon(&w.sender, &b);
        w.beacon_due_us = w.now_us + 200 * MILLISECOND_US;
    }
    if (w.sender.state == SENDER_IDLE) {
        dial();
        return;
    }
    for (unsigned i = 0; i < LANES; i++) {
        while (code == 0 && (got = frame_next(&w.lane[i].sender_in, &f)) == 1) {
            code = sender_frame(&w.sender, &f, w.now_us, w.now_us);
            if (code < 0 && f.type == FRAME_ACK)
                broke("promise 5: an honest acknowledgement is refused: %s", fail_message());
            buf_consume(&w.lane[i].sender_in, f.bytes);
        }
    }
    if (code == 0)
        code = sender_tick(&w.sender, w.now_us);
    if (code < 0 || !w.connected || w.now_us - w.sender.heard_us > 5 * SECOND_US) {
        drop_link();
        return;
    }
    ship();
}

/* ---- faults ---- */

/* The primary is put back to an older state, a beacon older at least. */
static void
restore(void)
{
    lsn_t most = w.sender.flushed.covered.lsn;

    if (w.fork != 0 || most <= START_LSN + 1 || !w.receiver_up || w.spool.flushed < most)
        return;
    w.fork = START_LSN + 1 + draw() % (most - START_LSN - 1);
    w.newer = w.primary;
    w.primary = w.fork;
    w.restored_us = w.now_us;
    w.put_back_us = w.now_us + between(100 * MILLISECOND_US, 6 * SECOND_US);
    sender_doubt(&w.sender);
    drop_link();
}

static void
put_back(void)
{
    w.primary = w.newer;
    w.fork = 0;
    w.beacon_due_us = 0; /* it is known to be back by a sample */
    sender_doubt(&w.sender);
    drop_link();
}

static void
trouble(void)
{
    if (chance(800)) {
        w.applied = LSN_UNKNOWN;
        w.apply_us = w.now_us + between(0, 2 * SECOND_US);
    }
    if (chance(2000))
        restore();
    if (chance(600)) {
        w.cut = true;
        w.heal_us = w.now_us + between(100 * MILLISECOND_US, 9 * SECOND_US);
    }
    if (chance(1500))
        drop_link();
    if (chance(100))
        join_lane((unsigned)(draw() % LANES));
    if (chance(300)) {
        unsigned i = (unsigned)(draw() % LANES);

        if (w.lane[i].up && !kill_lane(i))
            drop_link();
    }
    if (chance(2000) && w.fork == 0) {
        w.sender_up = false;
        start_sender();
    }
    if (chance(1500) && w.receiver_up && w.fork == 0) /* what it would remember is not simulated */
        stop_receiver(false);
    if (chance(1000) && w.receiver_up && w.fork == 0)
        stop_receiver(true);
    if (chance(2000)) {
        disk_set_full(true);
        w.full_until_us = w.now_us + between(100 * MILLISECOND_US, 3 * SECOND_US);
    }
    if (chance(2500))
        disk_fail_next_flush();
    if (chance(400))
        w.lane[draw() % LANES].delay_us = between(0, 80 * MILLISECOND_US);
}

/* ---- the promises ---- */

static void
check_durable(lsn_t upto)
{
    static uint8_t truth[SEGMENT_BYTES];

    while (w.checked < upto) {
        lsn_t start = segment_start(w.checked, SEGMENT_BYTES), end = start + SEGMENT_BYTES;
        char name[SEGMENT_NAME_SIZE], partial[64], damaged[64];
        size_t n;

        if (end > upto)
            end = upto;
        n = (size_t)(end - w.checked);
        wal_at(w.checked, truth, n);
        segment_name(name, 1, start, SEGMENT_BYTES);
        snprintf(partial, sizeof partial, "%s.partial", name);
        snprintf(damaged, sizeof damaged, "%s.damaged", name);
        if (!disk_survives(name, w.checked - start, truth, n) &&
            !disk_survives(partial, w.checked - start, truth, n) &&
            !disk_survives(damaged, w.checked - start, truth, n))
            broke("promise 1: acknowledged up to " LSN_FORMAT
                  ", and a crash now would lose bytes of %s from " LSN_FORMAT " on",
                  LSN_ARGS(upto), name, LSN_ARGS(w.checked));
        w.checked = end;
    }
}

static void
check_served(void)
{
    static uint8_t got[8192], truth[8192];
    lsn_t lsn;
    int n;

    if (!w.receiver_up || spool_empty(&w.spool) || w.spool.available <= START_LSN)
        return;
    if (w.spool.flushed > w.spool.available || w.spool.available > w.spool.written)
        broke("promise 2: flushed " LSN_FORMAT ", available " LSN_FORMAT ", written " LSN_FORMAT,
              LSN_ARGS(w.spool.flushed), LSN_ARGS(w.spool.available), LSN_ARGS(w.spool.written));
    lsn = START_LSN + draw() % (w.spool.available - START_LSN);
    n = spool_read(&w.spool, 1, lsn, got, sizeof got);
    if (n <= 0)
        broke("promise 2: nothing is served at " LSN_FORMAT " of " LSN_FORMAT ": %s", LSN_ARGS(lsn),
              LSN_ARGS(w.spool.available), fail_message());
    wal_at(lsn, truth, (size_t)n);
    if (memcmp(got, truth, (size_t)n) != 0)
        broke("promise 2: other bytes than the primary's are served at " LSN_FORMAT, LSN_ARGS(lsn));
}

/* The age that is told must be at least that of the newest sample which is really covered. */
static void
check_lag(const struct lag *lag, lsn_t position, const char *whose)
{
    int64_t told_us, true_us = -1;

    if (!lag_age(lag, w.now_us, &told_us))
        return;
    for (size_t i = w.truths; i > 0 && true_us < 0; i--)
        if (w.truth[i - 1].lsn <= position)
            true_us = w.now_us - w.truth[i - 1].mono_us;
    if (w.fork != 0 && true_us >= 0 && true_us < w.now_us - w.restored_us)
        true_us = w.now_us - w.restored_us; /* nothing of the older state is there */
    if (true_us < 0 || told_us < true_us)
        broke("promise 3: %s tells a lag of %.3f s, it is %.3f s", whose, (double)told_us / 1e6,
              (double)true_us / 1e6);
}

static void
check(void)
{
    const struct ack *far = &w.sender.far;

    if (far->flushed < w.sender_flushed)
        broke("promise 2: the acknowledged position went back");
    w.sender_flushed = far->flushed;
    check_durable(far->flushed);
    if (w.receiver_up && w.receiver.said_any && w.receiver.said.flushed > far->flushed)
        check_durable(w.receiver.said.flushed);
    check_served();
    check_lag(&w.sender.flushed, far->flushed, "the sender");
    if (w.sender.acks != w.acks_seen)
        w.acked_us = w.now_us;
    w.acks_seen = w.sender.acks;
    if (w.sender.flushed.covered.mono_us > w.acked_us)
        broke("promise 3: the sender's lag does not grow from the last acknowledgement on");
    check_lag(&w.sender.applied, far->applied, "the sender, of what is applied,");
    if (w.receiver_up) {
        check_lag(&w.receiver.flushed, w.spool.flushed, "the receiver");
        check_lag(&w.receiver.applied, w.applied, "the receiver, of what is applied,");
    }
    if (w.sender.window.next - w.sender.window.first > WINDOW_FRAMES ||
        w.sender.window.bytes > WINDOW_BYTES || w.receiver.reorder.bytes > WINDOW_BYTES)
        broke("promise 5: %" PRIu64 " frames of %zu bytes are under way, %zu bytes out of order",
              w.sender.window.next - w.sender.window.first, w.sender.window.bytes,
              w.receiver.reorder.bytes);
}

/* ---- a run ---- */

static void
tick(bool faulty)
{
    w.now_us += TICK_US;
    if (faulty && w.primary < START_LSN + WAL_MAX && !chance(4))
        w.primary += draw() % (chance(20) ? 262144 : 4096);
    if (faulty)
        trouble();
    if (w.cut && (!faulty || w.now_us >= w.heal_us))
        w.cut = false;
    if (w.fork != 0 && (!faulty || w.now_us >= w.put_back_us))
        put_back();
    if (!faulty || w.now_us >= w.full_until_us)
        disk_set_full(false);
    run_sender();
    for (unsigned i = 0; i < LANES && w.connected; i++) {
        if (!w.lane[i].up)
            continue;
        line_take(&w.lane[i].there, &w.lane[i].sender_out, w.lane[i].delay_us);
        line_take(&w.lane[i].back, &w.lane[i].receiver_out, w.lane[i].delay_us);
        line_give(&w.lane[i].there, &w.lane[i].receiver_in);
        line_give(&w.lane[i].back, &w.lane[i].sender_in);
    }
    run_receiver();
    check();
}

static void
run(uint64_t seed)
{
    w.seed = w.random_state = seed;
    w.now_us = SECOND_US;
    w.primary = START_LSN;
    w.truths = 0;
    w.boots = 1;
    w.beacon_due_us = w.retry_us = w.flush_due_us = w.full_until_us = w.receiver_start_us = 0;
    w.receiver_up = w.session = w.cut = w.connected = false;
    w.fork = 0;
    w.applied = w.applied_once = START_LSN;
    w.apply_us = 0;
    w.lane[0].delay_us = between(0, 40 * MILLISECOND_US);
    w.piece_max = chance(4) ? 512 : FRAME_WAL_MAX;
    w.checked = START_LSN;
    disk_reset(draw);
    memset(&w.spool, 0, sizeof w.spool);
    start_sender();
    while (w.now_us < FAULTY_US)
        tick(true);
    while (w.now_us < FAULTY_US + CALM_US && w.sender.far.flushed < w.primary)
        tick(false);
    if (w.sender.far.flushed < w.primary)
        broke("promise 4: the primary is at " LSN_FORMAT ", acknowledged is only " LSN_FORMAT
              " (%s)",
              LSN_ARGS(w.primary), LSN_ARGS(w.sender.far.flushed), fail_message());
    if (w.receiver_up)
        spool_close(&w.spool);
}

int
main(int argc, char **argv)
{
    uint64_t first = 1, seeds = 200;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seeds") == 0)
            seeds = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--first") == 0)
            first = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--break") == 0 && strcmp(argv[i + 1], "ack-before-flush") == 0)
            w.ack_before_flush = true;
        else if (strcmp(argv[i], "--break") == 0 && strcmp(argv[i + 1], "drop-when-full") == 0)
            w.drop_when_full = true;
        else if (strcmp(argv[i], "--break") == 0 && strcmp(argv[i + 1], "keep-applied") == 0)
            w.keep_applied = true;
    }
    for (unsigned i = 0; i < LANES; i++)
        if (buf_init(&w.lane[i].sender_out, 1u << 20) < 0 ||
            buf_init(&w.lane[i].sender_in, 1u << 18) < 0 ||
            buf_init(&w.lane[i].receiver_out, 1u << 16) < 0 ||
            buf_init(&w.lane[i].receiver_in, 1u << 19) < 0 ||
            buf_init(&w.lane[i].there.bytes, LINE_BYTES) < 0 ||
            buf_init(&w.lane[i].back.bytes, LINE_BYTES) < 0)
            return 1;
    for (uint64_t seed = first; seed < first + seeds; seed++)
        run(seed);
    printf("%" PRIu64 " seeds from %" PRIu64 " on: every promise kept\n", seeds, first);
    codec_release(&w.codec);
    sender_close(&w.sender);
    receiver_close(&w.receiver);
    for (unsigned i = 0; i < LANES; i++) {
        buf_release(&w.lane[i].sender_out);
        buf_release(&w.lane[i].sender_in);
        buf_release(&w.lane[i].receiver_out);
        buf_release(&w.lane[i].receiver_in);
        buf_release(&w.lane[i].there.bytes);
        buf_release(&w.lane[i].back.bytes);
    }
    return 0;
}

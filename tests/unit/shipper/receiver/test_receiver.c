/* SPDX-License-Identifier: PostgreSQL */
/*
 * The receiver as a state machine over a real spool, fed by a real sender through a struct buf. The
 * spool's flush is the test's to give or to hold back.
 */
#include "unit/unit.h"

#include "base/clock.h"
#include "base/fail.h"
#include "shipper/wire/codec.h"
#include "shipper/receiver/receiver.h"
#include "shipper/sender/sender.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MB    (1u << 20)
#define FIRST ((lsn_t)16 * MB)
#define PIECE 30000u

#define give_up(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

static const struct identity cluster = {7001, MB, 15};

static char path[64];
static struct spool spool;
static struct receiver receiver;
static struct sender sender;
static struct codec codec;
static struct buf forth, back;
static uint8_t scratch[FRAME_WAL_MAX];

static void
wal_at(lsn_t lsn, uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)((lsn + i) * UINT64_C(0x9E3779B97F4A7C15) >> 56 | 1);
}

static struct hello
hello_of(timeline_t timeline, const char *history)
{
    return (struct hello){.protocol = FRAME_PROTOCOL,
                          .pool = "chat",
                          .identity = cluster,
                          .from = "dc1-a",
                          .to = "dc2-a",
                          .epoch = {1, "dc1-a"},
                          .hops = 1,
                          .path = {"dc1-a"},
                          .incarnation = 1,
                          .timeline = timeline,
                          .history = history,
                          .history_bytes = strlen(history)};
}

static void
open_spool(void)
{
    assert_int_equal(spool_open(&spool, path), 0);
    receiver_init(&receiver, &spool, &codec, scratch);
    sender_init(&sender, &codec);
    assert_int_equal(buf_init(&forth, MB), 0);
    assert_int_equal(buf_init(&back, MB), 0);
}

static void
close_spool(void)
{
    receiver_close(&receiver);
    sender_close(&sender);
    spool_close(&spool);
    buf_release(&forth);
    buf_release(&back);
}

static void
remove_folder(void)
{
    char command[96];

    snprintf(command, sizeof command, "rm -rf %s", path);
    assert_int_equal(system(command), 0);
}

static int
make(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/walferry-receiver-XXXXXX");
    assert_non_null(mkdtemp(path));
    open_spool();
    return 0;
}

static int
drop(void **state)
{
    (void)state;
    sender_close(&sender);
    receiver_close(&receiver);
    close_spool();
    codec_release(&codec);
    remove_folder();
    return 0;
}

static int
flush_once(void)
{
    struct flush f;

    if (!spool_flush_begin(&spool, &f, 0))
        return ERR_AGAIN;
    spool_flush_run(&f);
    return spool_flush_end(&spool, &f);
}

static void
flush_all(void)
{
    int code;

    while ((code = flush_once()) == 0)
        ;
    assert_int_equal(code, ERR_AGAIN);
}

/* All that the sender said goes to the receiver; a spool that waits is flushed. */
static int
carry_forth(void)
{
    struct frame f;
    int code;

    while ((code = frame_next(&forth, &f)) == 1) {
        code = receiver_frame(&receiver, &f, 0, 0);
        if (code == ERR_AGAIN && flush_once() == 0)
            continue; /* the same frame again */
        if (code < 0)
            return code;
        buf_consume(&forth, f.bytes);
    }
    return code;
}

static int
carry_back(void)
{
    struct frame f;
    int code;

    while ((code = frame_next(&back, &f)) == 1) {
        code = sender_frame(&sender, &f, 0, 0);
        buf_consume(&back, f.bytes);
        if (code < 0)
            return code;
    }
    return code;
}

static void
shake_hands(timeline_t timeline, const char *history, lsn_t wanted)
{
    struct hello hello = hello_of(timeline, history);
    struct frame f;

    buf_clear(&forth);
    buf_clear(&back);
    assert_int_equal(sender_open(&sender, &forth, &hello, 0), 0);
    assert_int_equal(frame_next(&forth, &f), 1);
    assert_int_equal(f.type, FRAME_HELLO);
    assert_int_equal(receiver_judge(&receiver, &f.hello), 0);
    assert_int_equal(receiver_accept(&receiver, &back, &f.hello, timeline, wanted, 8, 0), 0);
    buf_consume(&forth, f.bytes);
    assert_int_equal(carry_back(), 0);
    assert_int_equal(sender.state, SENDER_ACCEPTED);
}

static int
ship(lsn_t from, lsn_t to)
{
    static uint8_t bytes[PIECE];

    while (from < to) {
        size_t n = to - from < PIECE ? (size_t)(to - from) : PIECE;
        int code;

        wal_at(from, bytes, n);
        assert_int_equal(sender_wal(&sender, 1, from, bytes, n), 0);
        code = carry_forth();
        if (code < 0)
            return code;
        from += n;
    }
    return 0;
}

static void
assert_says(int code, int expected, const char *words)
{
    if (code != expected || strstr(fail_message(), words) == NULL)
        give_up("%d, not %d, or \"%s\" does not say \"%s\"", code, expected, fail_message(), words);
}

static void
assert_holds(lsn_t from, lsn_t to)
{
    static uint8_t here[PIECE], there[PIECE];

    while (from < to) {
        int got =
            spool_read(&spool, 1, from, here, to - from < PIECE ? (size_t)(to - from) : PIECE);

        assert_true(got > 0);
        wal_at(from, there, (size_t)got);
        assert_memory_equal(here, there, (size_t)got);
        from += (unsigned)got;
    }
}

static void
test_receiver_shakes_hands(void **state)
{
    (void)state;
    shake_hands(1, "", FIRST + 4000);
    assert_int_equal(sender.resume_lsn, FIRST); /* the segment's start */
    assert_int_equal(sender.resume_timeline, 1);
    assert_int_equal(sender.far_digest, 8);
    assert_true(receiver_live(&receiver));
    assert_int_equal(spool.identity.system_identifier, 7001);
}

static void
test_receiver_leaves_the_start_to_the_slot(void **state)
{
    (void)state;
    shake_hands(1, "", LSN_UNKNOWN);
    assert_int_equal(sender.resume_lsn, LSN_UNKNOWN);
    assert_says(ship(FIRST + 8, FIRST + 100), ERR_PEER, "no segment's start");
    assert_true(spool_empty(&spool));
    shake_hands(1, "", LSN_UNKNOWN); /* the session is over after that */
    assert_int_equal(ship(FIRST, FIRST + 100), 0);
    assert_int_equal(spool.start, FIRST);
}

static void
test_receiver_refuses_another_cluster(void **state)
{
    struct hello hello = hello_of(1, "");

    (void)state;
    shake_hands(1, "", FIRST);
    assert_int_equal(ship(FIRST, FIRST + 5000), 0);
    flush_all();
    hello.identity.system_identifier = 7002;
    assert_says(receiver_judge(&receiver, &hello), ERR_CORRUPT,
                "system identifier is 7002, this spool holds 7001");
    hello = hello_of(1, "");
    hello.identity.segment_bytes = 16 * MB;
    assert_says(receiver_judge(&receiver, &hello), ERR_CORRUPT,
                "wal_segment_size is 16777216 bytes");
    assert_holds(FIRST, FIRST + 5000);
    assert_int_equal(spool.flushed, FIRST + 5000);
}

static void
test_receiver_refuses_a_forked_timeline(void **state)
{
    struct hello hello = hello_of(2, "1\t0/1001000\tno reason\n"); /* before 0/1001388, flushed */
    struct cut look;

    (void)state;
    shake_hands(1, "", FIRST);
    assert_int_equal(ship(FIRST, FIRST + 5000), 0);
    flush_all();
    assert_says(receiver_judge(&receiver, &hello), ERR_AGAIN, /* are there whole records? */
                "forked from timeline 1 at 0/1001000, before 0/1001388");
    assert_true(spool_cut_begin(&spool, &look, CUT_TORN, FIRST + 0x1000));
    spool_cut_run(&look);
    assert_int_equal(spool_cut_end(&spool, &look), 0);
    assert_says(receiver_judge(&receiver, &hello), ERR_CORRUPT,
                "forked from timeline 1 at 0/1001000, before 0/1001388");
    hello = hello_of(2, "1\t0/1001388\tno reason\n");
    assert_int_equal(receiver_judge(&receiver, &hello), 0);
    hello = hello_of(2, "no history\n");
    assert_says(receiver_judge(&receiver, &hello), ERR_PEER, "no history file");
    hello = hello_of(3, "2\t0/1002000\tno reason\n");
    assert_says(receiver_judge(&receiver, &hello), ERR_CORRUPT, "does not descend from timeline 1");
    assert_holds(FIRST, FIRST + 5000);
    assert_int_equal(spool.timeline, 1);
}

/* A standby that left the primary's lineage asks for what nobody has, and no spool begins there. */
static void
test_receiver_begins_nowhere_past_a_fork(void **state)
{
    struct hello hello = hello_of(2, "1\t0/1001000\tno reason\n");

    (void)state;
    assert_int_equal(receiver_accept(&receiver, &back, &hello, 1, FIRST + 3 * MB, 8, 0), 0);
    assert_true(spool_empty(&spool));
    assert_int_equal(receiver_accept(&receiver, &back, &hello, 3, FIRST, 8, 0), 0);
    assert_true(spool_empty(&spool));
    assert_int_equal(receiver_accept(&receiver, &back, &hello, 1, FIRST + 4096, 8, 0), 0);
    assert_int_equal(spool.start, FIRST);
    assert_int_equal(spool.timeline, 1);
}

static void
test_receiver_refuses_a_hole(void **state)
{
    (void)state;
    shake_hands(1, "", FIRST);
    assert_int_equal(ship(FIRST, FIRST + 5000), 0);
    assert_says(ship(FIRST + 5001, FIRST + 6000), ERR_PEER, "0/1001389");
    assert_int_equal(spool.written, FIRST + 5000);
    shake_hands(1, "", FIRST); /* the session is over after that */
    assert_int_equal(ship(FIRST, FIRST + 6000), 0);
    assert_holds(FIRST, FIRST + 6000);
}

static void
test_receiver_refuses_other_bytes(void **state)
{
    uint8_t bytes[100];

    (void)state;
    shake_hands(1, "", FIRST);
    assert_int_equal(ship(FIRST, FIRST + 5000), 0);
    flush_all();
    wal_at(FIRST + 4000, bytes, sizeof bytes);
    bytes[50] ^= 2;
    assert_int_equal(sender_wal(&sender, 1, FIRST + 4000, bytes, sizeof bytes), 0);
    assert_says(carry_forth(), ERR_CORRUPT, "other bytes at an acknowledged position");
    assert_non_null(strstr(fail_message(), "offset 4050"));
    assert_holds(FIRST, FIRST + 5000);
}

static void
test_receiver_hears_that_a_stream_will_not_come(void **state)
{
    struct frame f = {.type = FRAME_TUNNEL,
                      .tunnel = {.service = TUNNEL_POSTGRES, .number = 7, .reason = "no\troom"}};

    (void)state;
    shake_hands(1, "", FIRST);
    assert_int_equal(receiver_frame(&receiver, &f, 0, 0), 0);
    assert_int_equal(receiver.stream_refused, 7);
    assert_non_null(strstr(receiver.stream_reason, "room"));
    assert_null(strchr(receiver.stream_reason, '\t'));
}

static void
keep_word(void *word, const struct frame *f)
{
    *(enum promise_word *)word = f->promise.word;
}

/* A promise is asked for here, never there. */
static void
test_receiver_hears_answers_to_a_promise_alone(void **state)
{
    enum promise_word word = 0;
    struct frame f = {.type = FRAME_PROMISE,
                      .promise = {.word = PROMISE_GIVE, .number = 2, .asker = "dc2-a"}};

    (void)state;
    shake_hands(1, "", FIRST);
    receiver.promise = keep_word;
    receiver.promise_context = &word;
    assert_int_equal(receiver_frame(&receiver, &f, 0, 0), 0);
    assert_int_equal(word, PROMISE_GIVE);
    f.promise.word = PROMISE_ASK;
    assert_says(receiver_frame(&receiver, &f, 0, 0), ERR_PEER, "asks for a promise");
    assert_int_equal(word, PROMISE_GIVE);
}

static void
test_receiver_refuses_frames_out_of_place(void **state)
{
    static const enum frame_type wrong[] = {FRAME_HELLO, FRAME_ACCEPT, FRAME_REFUSE, FRAME_ACK,
                                            FRAME_DRAIN};
    struct frame f = {.type = FRAME_GOODBYE, .goodbye = {.reason = "fast\tshutdown"}};

    (void)state;
    shake_hands(1, "", FIRST);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_says(receiver_frame(&receiver, &(struct frame){.type = wrong[i]}, 0, 0), ERR_PEER,
                    "came from a sender");
    assert_says(receiver_frame(&receiver, &f, 0, 0), ERR_PEER, "dc1-a ends the link: fast");
    assert_null(strchr(fail_message(), '\t'));
    f = (struct frame){.type = FRAME_HISTORY, .history = {.timeline = 2, .text = "x", .length = 1}};
    assert_says(receiver_frame(&receiver, &f, 0, 0), ERR_PEER, "no history file");
    assert_int_equal(spool.written, FIRST);
}

static int
bring_history(timeline_t timeline, const char *text)
{
    assert_int_equal(sender_history(&sender, timeline, text, strlen(text)), 0);
    return carry_forth();
}

/* All that were ever made come: those of the lineage are one's own, of a dead branch the first one
 * stays. */
static void
test_receiver_keeps_the_histories_of_earlier_timelines(void **state)
{
    static const char lineage[] = "1\t0/500000\tx\n3\t0/800000\tx\n";
    static char text[HISTORY_BYTES_MAX + 1];
    struct hello hello = hello_of(4, lineage);
    struct frame f;

    (void)state;
    assert_int_equal(sender_open(&sender, &forth, &hello, 0), 0);
    assert_int_equal(frame_next(&forth, &f), 1);
    assert_int_equal(receiver_accept(&receiver, &back, &f.hello, 4, FIRST, 8, 0), 0);
    buf_consume(&forth, f.bytes);
    assert_int_equal(carry_back(), 0);
    assert_int_equal(bring_history(2, "1\t0/400000\tx\n"), 0);
    assert_int_equal(bring_history(3, "1\t0/500000\tx\n"), 0);
    assert_int_equal(bring_history(4, lineage), 0);
    assert_true(spool_history(&spool, 2, text, sizeof text) > 0);
    assert_true(spool_history(&spool, 3, text, sizeof text) > 0);
    assert_int_equal(bring_history(2, "1\t0/300000\tx\n"), 0);
    assert_true(spool_history(&spool, 2, text, sizeof text) > 0);
    assert_string_equal(text, "1\t0/400000\tx\n");
    assert_says(bring_history(3, "1\t0/300000\tx\n"), ERR_CORRUPT,
                "the history of timeline 3 differs");
}

static void
test_receiver_believes_no_answer_to_a_ping_that_was_not_sent(void **state)
{
    struct frame f = {.type = FRAME_PONG,
                      .pong = {.sent_us = 1001, .postgres = PONG_POSTGRES_DEAD}};

    (void)state;
    shake_hands(1, "", FIRST);
    assert_says(receiver_frame(&receiver, &f, 1000, 0), ERR_PEER, "was not sent yet");
    assert_int_equal(receiver.postgres, PONG_POSTGRES_UNKNOWN);
    f.pong.sent_us = 1000;
    assert_int_equal(receiver_frame(&receiver, &f, 1000, 0), 0);
    assert_int_equal(receiver.postgres, PONG_POSTGRES_DEAD);
}

/* What was dropped comes again in the next session. */
static void
test_receiver_that_is_shut_takes_no_wal_and_hears_the_primary(void **state)
{
    struct frame pong = {.type = FRAME_PONG,
                         .pong = {.sent_us = 900, .postgres = PONG_POSTGRES_DEAD}};

    (void)state;
    shake_hands(1, "", FIRST);
    assert_int_equal(ship(FIRST, FIRST + 5000), 0);
    receiver_shut(&receiver, true);
    assert_int_equal(ship(FIRST + 5000, FIRST + 6000), 0);
    assert_int_equal(spool.written, FIRST + 5000);
    assert_true(receiver.dropped);
    assert_int_equal(receiver_frame(&receiver, &pong, 1000, 0), 0);
    assert_int_equal(receiver.postgres, PONG_POSTGRES_DEAD);
    receiver_close(&receiver);
    sender_close(&sender);
    receiver_shut(&receiver, false);
    shake_hands(1, "", FIRST);
    assert_int_equal(receiver.postgres_us, 0); /* that was said over another connection */
    assert_false(receiver.dropped);
    assert_int_equal(ship(FIRST, FIRST + 6000), 0);
    assert_holds(FIRST, FIRST + 6000);
}

static void
test_receiver_remembers_why_nothing_comes(void **state)
{
    struct frame f = {.type = FRAME_WAITS, .waits = {.reason = "WAL is\tgone"}};

    (void)state;
    shake_hands(1, "", FIRST);
    assert_int_equal(receiver_frame(&receiver, &f, 0, 0), 0);
    assert_string_equal(receiver.waits, "WAL is\\x09gone");
    f.waits.reason = "";
    assert_int_equal(receiver_frame(&receiver, &f, 0, 0), 0);
    assert_string_equal(receiver.waits, "");
    snprintf(receiver.waits, sizeof receiver.waits, "of the session before");
    receiver_close(&receiver);
    sender_close(&sender);
    shake_hands(1, "", FIRST);
    assert_string_equal(receiver.waits, "");
}

static void
test_receiver_acknowledges_only_what_is_flushed(void **state)
{
    struct beacon b = {FIRST + 4000, 10, 20};

    (void)state;
    shake_hands(1, "", FIRST);
    sender_beacon(&sender, &b);
    assert_int_equal(ship(FIRST, FIRST + 5000), 0);
    receiver_report(&receiver, 0, 0, 0, false, 0);
    assert_int_equal(carry_back(), 0);
    assert_int_equal(sender.far.received, FIRST + 5000);
    assert_int_equal(sender.far.flushed, FIRST); /* the flush is held back */
    assert_int_equal(sender.received.covered.lsn, b.lsn);
    assert_int_equal(sender.flushed.covered.lsn, 0);
    flush_all();
    receiver_report(&receiver, 0, 0, 0, false, 0);
    assert_int_equal(carry_back(), 0);
    assert_int_equal(sender.far.flushed, FIRST + 5000);
    assert_int_equal(sender.flushed.covered.lsn, b.lsn);
    assert_int_equal(sender.applied.covered.lsn, 0);
    receiver_report(&receiver, 0, 0, 0, false, 0);
    assert_int_equal(buf_used(&back), 0); /* nothing moved, nothing said */
}

/* The local standby needs WAL from before the spool: what is in it counts for nobody, also not when
 * all of it was covered before. */
static void
test_receiver_counts_nothing_that_its_standby_cannot_replay(void **state)
{
    struct beacon b = {FIRST + MB, 10, 20}, later = {FIRST + MB, 10, 99};

    (void)state;
    shake_hands(1, "", FIRST + MB);
    receiver.offset.count = 1;
    sender_beacon(&sender, &b);
    assert_int_equal(carry_forth(), 0);
    receiver_report(&receiver, 0, 0, 0, false, 0);
    assert_int_equal(carry_back(), 0);
    assert_int_equal(receiver.flushed.covered.lsn, b.lsn);
    assert_int_equal(sender.flushed.covered.mono_us, b.mono_us);
    receiver_detach(&receiver, true);
    assert_int_equal(receiver.flushed.covered.lsn, LSN_UNKNOWN);
    sender_beacon(&sender, &later);
    assert_int_equal(carry_forth(), 0);
    assert_int_equal(ship(FIRST + MB, FIRST + MB + 5000), 0);
    flush_all();
    receiver_report(&receiver, 0, 0, 0, false, 0);
    assert_int_equal(carry_back(), 0);
    assert_int_equal(receiver.flushed.covered.lsn, LSN_UNKNOWN);
    assert_int_equal(sender.far.received, FIRST + MB + 5000);
    assert_int_equal(sender.far.flushed, LSN_UNKNOWN);
    assert_int_equal(sender.flushed.covered.lsn, LSN_UNKNOWN);
    receiver_detach(&receiver, false);
    receiver_report(&receiver, 0, 0, 0, false, 0);
    assert_int_equal(carry_back(), 0);
    assert_int_equal(sender.far.flushed, FIRST + MB + 5000);
}

/* The next session begins where that standby stands, and its positions are that WAL's. */
static void
test_receiver_takes_what_lies_before_its_spool(void **state)
{
    struct beacon b = {FIRST + 2 * MB, 10, 20};
    char folder[96];
    struct spool front;

    (void)state;
    snprintf(folder, sizeof folder, "%s/" SPOOL_FRONT, path);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(spool_open(&front, folder), 0);
    shake_hands(1, "", FIRST + 2 * MB);
    assert_int_equal(ship(FIRST + 2 * MB, FIRST + 2 * MB + 5000), 0);
    flush_all();
    receiver_report(&receiver, 0, 0, 0, false, 0);
    assert_int_equal(carry_back(), 0);
    assert_int_equal(sender.far.flushed, FIRST + 2 * MB + 5000);
    receiver_detach(&receiver, true);
    receiver_close(&receiver);
    sender_close(&sender);
    receiver.into = &front;
    shake_hands(1, "", FIRST + 77);
    assert_int_equal(sender.resume_lsn, FIRST);
    assert_int_equal(sender.far.flushed, LSN_UNKNOWN); /* what the far side had it has lost */
    sender_beacon(&sender, &b);
    assert_int_equal(ship(FIRST, FIRST + 5000), 0);
    receiver_report(&receiver, 0, 0, 0, false, 0);
    assert_int_equal(carry_back(), 0);
    assert_int_equal(sender.far.received, FIRST + 5000);
    assert_int_equal(sender.flushed.covered.lsn, LSN_UNKNOWN);
    assert_int_equal(receiver.flushed.covered.lsn, LSN_UNKNOWN);
    assert_int_equal(spool.written, FIRST + 2 * MB + 5000);
    receiver.into = &spool;
    spool_close(&front);
}

static void
test_receiver_tells_how_far_a_session_has_compared(void **state)
{
    (void)state;
    shake_hands(1, "", FIRST);
    assert_int_equal(ship(FIRST, FIRST + 5000), 0);
    flush_all();
    receiver_close(&receiver);
    sender_close(&sender);
    shake_hands(1, "", FIRST);
    receiver_report(&receiver, 0, 0, 0, false, 0);
    assert_int_equal(carry_back(), 0);
    assert_int_equal(sender.far.flushed, FIRST + 5000);
    assert_false(sender.far_compared);
    assert_int_equal(ship(FIRST, FIRST + 4999), 0);
    receiver_report(&receiver, 0, 0, 0, false, 0);
    assert_int_equal(carry_back(), 0);
    assert_false(sender.far_compared);
    assert_int_equal(ship(FIRST + 4999, FIRST + 5000), 0);
    receiver_report(&receiver, 0, 0, 0, false, 0);
    assert_int_equal(carry_back(), 0);
    assert_true(sender.far_compared);
}

/* On a segment's border it is the segment before it that is compared. */
static void
test_receiver_confirms_nothing_of_a_server_it_has_not_compared(void **state)
{
    struct beacon first = {FIRST + MB, 10, 20}, b = {FIRST + MB - 9, 20, 30};
    uint8_t other[100] = "rolled back";

    (void)state;
    shake_hands(1, "", FIRST);
    sender_beacon(&sender, &first);
    assert_int_equal(ship(FIRST, FIRST + MB), 0);
    flush_all();
    receiver_report(&receiver, FIRST + MB, 0, 0, true, 0);
    assert_int_equal(carry_back(), 0);
    assert_int_equal(sender.flushed.covered.mono_us, 20);
    receiver_close(&receiver);
    sender_close(&sender);
    shake_hands(1, "", FIRST);
    assert_int_equal(sender.resume_lsn, FIRST);
    sender_beacon(&sender, &b);
    assert_int_equal(carry_forth(), 0);
    receiver_report(&receiver, FIRST + MB, 0, 0, true, 0);
    assert_int_equal(carry_back(), 0);
    assert_int_equal(sender.far.flushed, FIRST + MB);
    assert_false(sender.far_compared);
    assert_int_equal(receiver.flushed.covered.mono_us, 20);
    assert_int_equal(sender.received.covered.mono_us, 20);
    assert_int_equal(sender.flushed.covered.mono_us, 20);
    assert_int_equal(sender.applied.covered.mono_us, 20);
    assert_true(receiver.older && sender.older);
    assert_int_equal(ship(FIRST, FIRST + 5000), 0);
    assert_int_equal(sender_wal(&sender, 1, FIRST + 5000, other, sizeof other), 0);
    assert_says(carry_forth(), ERR_CORRUPT, "other bytes at an acknowledged position");
    assert_holds(FIRST, FIRST + MB);
    receiver_close(&receiver);
    sender_close(&sender);
    sender_doubt(&sender);
    shake_hands(1, "", FIRST);
    assert_int_equal(ship(FIRST, FIRST + MB), 0); /* the right server again */
    receiver_report(&receiver, FIRST + MB, 0, 0, true, 0);
    assert_int_equal(carry_back(), 0);
    assert_true(sender.far_compared);
    assert_int_equal(receiver.flushed.covered.mono_us, 20); /* not that of the other server */
    first.mono_us = 40;
    sender_beacon(&sender, &first);
    assert_int_equal(carry_forth(), 0);
    receiver_report(&receiver, FIRST + MB, 0, 0, true, 0);
    assert_int_equal(carry_back(), 0);
    assert_false(receiver.older || sender.older);
    assert_int_equal(receiver.flushed.covered.mono_us, 40);
}

/* On disk beside a server that cannot replay it. */
static void
test_receiver_covers_nothing_while_it_is_fenced(void **state)
{
    struct beacon b = {FIRST + 4000, 10, 20};

    (void)state;
    shake_hands(1, "", FIRST);
    receiver.fenced = true;
    sender_beacon(&sender, &b);
    assert_int_equal(ship(FIRST, FIRST + 5000), 0);
    flush_all();
    receiver_report(&receiver, 0, 0, 0, false, 0);
    assert_int_equal(carry_back(), 0);
    assert_int_equal(sender.far.flushed, FIRST + 5000);
    assert_true(sender.far.fenced);
    assert_int_equal(sender.flushed.covered.lsn, 0);
    receiver.fenced = false;
    receiver_report(&receiver, 0, 0, 0, false, 0);
    assert_int_equal(carry_back(), 0);
    assert_false(sender.far.fenced);
    assert_int_equal(sender.flushed.covered.lsn, b.lsn);
}

static void
test_receiver_tells_no_better_than_a_standby_that_applies_anew(void **state)
{
    struct beacon b = {FIRST + 5000, 10, 20};

    (void)state;
    shake_hands(1, "", FIRST);
    sender_beacon(&sender, &b);
    assert_int_equal(ship(FIRST, FIRST + 5000), 0);
    flush_all();
    receiver_report(&receiver, FIRST + 5000, 0, 0, true, 0);
    assert_int_equal(carry_back(), 0);
    assert_int_equal(sender.applied.covered.mono_us, 20);
    receiver_report(&receiver, FIRST + 4000, 0, 0, true, 0);
    b.mono_us = 30; /* an idle primary */
    sender_beacon(&sender, &b);
    assert_int_equal(carry_forth(), 0);
    receiver_report(&receiver, FIRST + 4000, 0, 0, true, 0);
    assert_int_equal(carry_back(), 0);
    assert_int_equal(receiver.applied.covered.lsn, LSN_UNKNOWN);
    assert_int_equal(sender.applied.covered.lsn, LSN_UNKNOWN);
    assert_int_equal(sender.far.applied, FIRST + 4000);
    assert_int_equal(sender.flushed.covered.mono_us, 30);
    receiver_report(&receiver, FIRST + 5000, 0, 0, true, 0);
    assert_int_equal(carry_back(), 0);
    assert_int_equal(sender.applied.covered.mono_us, 30);
}

static void
test_receiver_covers_no_beacon_early(void **state)
{
    struct beacon b = {FIRST + 5001, 10, 20};

    (void)state;
    shake_hands(1, "", FIRST);
    sender_beacon(&sender, &b);
    assert_int_equal(ship(FIRST, FIRST + 5000), 0);
    flush_all();
    receiver_report(&receiver, FIRST + 5000, 0, 0, true, 0);
    assert_int_equal(carry_back(), 0);
    assert_int_equal(sender.far.applied, FIRST + 5000);
    assert_int_equal(sender.flushed.covered.lsn, 0);
    assert_int_equal(sender.flushed.count, 1);
}

/* Cut after any prefix: a new life resumes at its segment's start and ends with the same bytes. */
static void
test_receiver_resumes_from_every_prefix(void **state)
{
    static const lsn_t prefix[] = {1,  8191,   8192,      PIECE,      PIECE + 1, MB - 1,
                                   MB, MB + 1, MB + 8192, 2 * MB - 1, 2 * MB,    2 * MB + 77};

    (void)state;
    for (size_t i = 0; i < 2 * sizeof prefix / sizeof prefix[0]; i++) {
        lsn_t cut = FIRST + prefix[i / 2];

        shake_hands(1, "", FIRST);
        assert_int_equal(ship(FIRST, cut), 0);
        if (i % 2 == 0)
            flush_all();
        close_spool();
        open_spool();
        shake_hands(1, "", FIRST);
        assert_int_equal(sender.resume_lsn % MB, 0);
        /* not flushed: a full segment may lie before the growing one, both come again */
        if (sender.resume_lsn > cut || cut - sender.resume_lsn > (i % 2 == 0 ? MB : 2 * MB))
            give_up("cut at " LSN_FORMAT " resumes at " LSN_FORMAT, LSN_ARGS(cut),
                    LSN_ARGS(sender.resume_lsn));
        assert_int_equal(ship(sender.resume_lsn, FIRST + 2 * MB + 9000), 0);
        flush_all();
        assert_int_equal(spool.flushed, FIRST + 2 * MB + 9000);
        assert_holds(FIRST, FIRST + 2 * MB + 9000);
        close_spool();
        remove_folder();
        assert_int_equal(mkdir(path, 0700), 0);
        open_spool();
    }
}

static void
test_receiver_gives_up_a_silent_sender(void **state)
{
    (void)state;
    shake_hands(1, "", FIRST);
    assert_int_equal(receiver_tick(&receiver, 5 * SECOND_US - 1), 0);
    assert_says(receiver_tick(&receiver, 5 * SECOND_US), ERR_PEER,
                "nothing heard from dc1-a for 5 s");
    receiver_close(&receiver);
    assert_int_equal(receiver_tick(&receiver, 9 * SECOND_US), 0);
    assert_int_equal(receiver_due_us(&receiver), NEVER_US);
    assert_says(receiver_ask_drain(&receiver), ERR_PEER, "no link");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_receiver_shakes_hands, make, drop),
        cmocka_unit_test_setup_teardown(test_receiver_leaves_the_start_to_the_slot, make, drop),
        cmocka_unit_test_setup_teardown(test_receiver_refuses_another_cluster, make, drop),
        cmocka_unit_test_setup_teardown(test_receiver_refuses_a_forked_timeline, make, drop),
        cmocka_unit_test_setup_teardown(test_receiver_begins_nowhere_past_a_fork, make, drop),
        cmocka_unit_test_setup_teardown(test_receiver_refuses_a_hole, make, drop),
        cmocka_unit_test_setup_teardown(test_receiver_refuses_other_bytes, make, drop),
        cmocka_unit_test_setup_teardown(test_receiver_hears_that_a_stream_will_not_come, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_receiver_hears_answers_to_a_promise_alone, make, drop),
        cmocka_unit_test_setup_teardown(test_receiver_refuses_frames_out_of_place, make, drop),
        cmocka_unit_test_setup_teardown(test_receiver_keeps_the_histories_of_earlier_timelines,
                                        make, drop),
        cmocka_unit_test_setup_teardown(
            test_receiver_believes_no_answer_to_a_ping_that_was_not_sent, make, drop),
        cmocka_unit_test_setup_teardown(test_receiver_acknowledges_only_what_is_flushed, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_receiver_counts_nothing_that_its_standby_cannot_replay,
                                        make, drop),
        cmocka_unit_test_setup_teardown(test_receiver_takes_what_lies_before_its_spool, make, drop),
        cmocka_unit_test_setup_teardown(test_receiver_tells_how_far_a_session_has_compared, make,
                                        drop),
        cmocka_unit_test_setup_teardown(
            test_receiver_that_is_shut_takes_no_wal_and_hears_the_primary, make, drop),
        cmocka_unit_test_setup_teardown(test_receiver_remembers_why_nothing_comes, make, drop),
        cmocka_unit_test_setup_teardown(
            test_receiver_confirms_nothing_of_a_server_it_has_not_compared, make, drop),
        cmocka_unit_test_setup_teardown(test_receiver_covers_nothing_while_it_is_fenced, make,
                                        drop),
        cmocka_unit_test_setup_teardown(
            test_receiver_tells_no_better_than_a_standby_that_applies_anew, make, drop),
        cmocka_unit_test_setup_teardown(test_receiver_covers_no_beacon_early, make, drop),
        cmocka_unit_test_setup_teardown(test_receiver_resumes_from_every_prefix, make, drop),
        cmocka_unit_test_setup_teardown(test_receiver_gives_up_a_silent_sender, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

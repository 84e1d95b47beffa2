/* SPDX-License-Identifier: PostgreSQL */
/* The sender as a state machine: what it says into its buf, and what it believes of what comes. */
#include "unit/unit.h"

#include "base/clock.h"
#include "base/fail.h"
#include "shipper/wire/codec.h"
#include "shipper/sender/sender.h"

#include <string.h>

#define MB   (1u << 20)
#define ROOM (4u << 20)

#define give_up(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

static const struct hello hello = {.protocol = FRAME_PROTOCOL,
                                   .pool = "chat",
                                   .identity = {7001, MB, 15},
                                   .from = "dc1-a",
                                   .to = "dc2-a",
                                   .epoch = {1, "dc1-a"},
                                   .hops = 1,
                                   .path = {"dc1-a"},
                                   .incarnation = 5,
                                   .timeline = 1,
                                   .config_digest = 9,
                                   .history = ""};
static struct sender sender;
static struct codec codec;
static struct buf out;

static int
make(void **state)
{
    (void)state;
    sender_init(&sender, &codec);
    return buf_init(&out, ROOM);
}

static int
drop(void **state)
{
    (void)state;
    sender_close(&sender);
    buf_release(&out);
    codec_release(&codec);
    return 0;
}

static enum frame_type
next(struct frame *f)
{
    assert_int_equal(frame_next(&out, f), 1);
    buf_consume(&out, f->bytes); /* the bytes stay where they are until the next write */
    return f->type;
}

static int
give(const struct frame *f)
{
    struct frame came;
    struct buf in;
    int code;

    assert_int_equal(buf_init(&in, MB), 0);
    assert_int_equal(frame_put(&in, f), 0);
    assert_int_equal(frame_next(&in, &came), 1);
    code = sender_frame(&sender, &came, 1000, 2000);
    buf_release(&in);
    return code;
}

static void
accept_at(lsn_t lsn)
{
    struct frame f;

    assert_int_equal(sender_open(&sender, &out, &hello, 0), 0);
    assert_int_equal(next(&f), FRAME_HELLO);
    assert_int_equal(
        give(&(struct frame){.type = FRAME_ACCEPT,
                             .accept = {.timeline = 1, .lsn = lsn, .config_digest = 8}}),
        0);
    assert_int_equal(next(&f), FRAME_PING); /* the line's round trip, while it is empty */
}

static int
ack(lsn_t received, lsn_t flushed, lsn_t applied, struct beacon covered)
{
    struct frame f = {.type = FRAME_ACK, .ack = {.timeline = 1, .standby_connected = true}};

    f.ack.received = received;
    f.ack.flushed = flushed;
    f.ack.applied = applied;
    f.ack.received_beacon = f.ack.flushed_beacon = f.ack.applied_beacon = covered;
    return give(&f);
}

/* Another member feeds it: where it stands is known, how old that is not; a session knows better. */
static void
test_sender_is_told_of_who_is_fed_by_another(void **state)
{
    struct member_position at = {.timeline = 1, .flushed = 0x1800000, .applied = 0x1700000};
    const struct epoch next = {2, "dc1-a"};

    (void)state;
    accept_at(0x1000000);
    sender_beacon(&sender, &(struct beacon){.lsn = 0x1000000, .mono_us = 500});
    assert_int_equal(ack(0x1000000, 0x1000000, 0x1000000, sender.stamped), 0);
    assert_int_equal(sender.flushed.covered.mono_us, 500);
    sender_relayed(&sender, &hello.epoch, &at);
    assert_int_equal(sender.far.flushed, 0x1000000);
    sender_close(&sender);
    sender_relayed(&sender, &hello.epoch, &at);
    assert_int_equal(sender.far.flushed, 0x1800000);
    assert_int_equal(sender.far.applied, 0x1700000);
    assert_int_equal(sender.flushed.covered.lsn | sender.applied.covered.lsn, LSN_UNKNOWN);
    at.flushed = 0x1600000; /* its spool was lost, and began lower */
    sender_relayed(&sender, &hello.epoch, &at);
    assert_int_equal(sender.far.flushed, 0x1600000);
    assert_int_equal(sender.far.received, 0x1600000);
    at.flushed = 0x1500000;
    sender_relayed(&sender, &next, &at);
    assert_int_equal(sender.far.flushed, 0x1500000);
    sender_doubt(&sender);
    assert_false(sender.far_compared);
    sender_relayed(&sender, &next, &at); /* it is told of WAL that was compared */
    assert_true(sender.far_compared);
}

static void
test_sender_trusts_a_far_spool_once_it_is_compared(void **state)
{
    struct frame f = {.type = FRAME_ACK,
                      .ack = {.timeline = 1, .received = 0x1000900, .flushed = 0x1000800}};
    static uint8_t wal[0x800];

    (void)state;
    accept_at(0x1000000);
    assert_int_equal(sender_wal(&sender, 1, 0x1000000, wal, sizeof wal), 0);
    f.ack.compared = 0x1000700; /* what lies behind may be of another life of this server */
    assert_int_equal(give(&f), 0);
    assert_false(sender.far_compared);
    f.ack.compared = 0x1000800;
    assert_int_equal(give(&f), 0);
    assert_true(sender.far_compared);
    assert_int_equal(sender.far_has, 0x1000900);
    sender_close(&sender);
    buf_clear(&out);
    accept_at(0x1000000);
    assert_false(sender.far_compared);
    assert_int_equal(sender.far_has, LSN_UNKNOWN);
    assert_int_equal(sender_wal(&sender, 1, 0x1000000, wal, 0x700), 0);
    /* after a crash less may be known good there than was said before: it is compared, too */
    f.ack.received = f.ack.flushed = f.ack.compared = 0x1000700;
    assert_int_equal(give(&f), 0);
    assert_false(sender.far_compared);
}

static void
test_sender_forgets_what_the_far_side_has_lost(void **state)
{
    struct beacon b = {.lsn = 5 * MB, .wall_us = 9, .mono_us = 9};
    int64_t age_us;

    (void)state;
    sender_beacon(&sender, &b);
    accept_at(5 * MB);
    buf_clear(&out);
    assert_int_equal(ack(5 * MB + 9, 5 * MB + 9, 0, b), 0);
    sender_close(&sender);
    accept_at(5 * MB); /* the unfinished segment comes again: nothing is lost */
    assert_int_equal(sender.far.flushed, 5 * MB + 9);
    assert_true(lag_age(&sender.flushed, 10, &age_us));
    sender_close(&sender);
    accept_at(4 * MB); /* nor when the one before it comes, too */
    assert_int_equal(sender.far.flushed, 5 * MB + 9);
    sender_close(&sender);
    accept_at(3 * MB);
    assert_false(sender.far_known);
    assert_false(lag_age(&sender.flushed, 10, &age_us)); /* unknown, until a beacon is covered */
    assert_int_equal(ack(3 * MB + 9, 3 * MB + 9, 0, (struct beacon){0}), 0);
    assert_int_equal(sender.far.flushed, 3 * MB + 9);
}

static void
assert_says(int code, int expected, const char *words)
{
    assert_int_equal(code, expected);
    if (strstr(fail_message(), words) == NULL)
        give_up("\"%s\" does not say \"%s\"", fail_message(), words);
}

static void
test_sender_greets_and_starts_where_told(void **state)
{
    struct frame f;

    (void)state;
    assert_int_equal(sender_open(&sender, &out, &hello, 0), 0);
    assert_false(sender_wants(&sender, 1));
    assert_int_equal(next(&f), FRAME_HELLO);
    assert_string_equal(f.hello.pool, "chat");
    assert_string_equal(f.hello.from, "dc1-a");
    assert_string_equal(f.hello.to, "dc2-a");
    assert_int_equal(f.hello.identity.system_identifier, 7001);
    assert_int_equal(
        give(&(struct frame){.type = FRAME_ACCEPT,
                             .accept = {.timeline = 1, .lsn = 3 * MB, .config_digest = 8}}),
        0);
    assert_true(sender_wants(&sender, 1));
    assert_int_equal(sender.resume_lsn, 3 * MB);
    assert_int_equal(sender.sent, 3 * MB);
    assert_int_equal(sender.far_digest, 8);
}

static void
test_sender_tells_why_it_was_refused(void **state)
{
    struct frame f = {.type = FRAME_REFUSE,
                      .refuse = {.kind = REFUSE_EPOCH,
                                 .origin = {.epoch = {4, "dc2-a"}, .timeline = 3, .fork = 77},
                                 .reason = "epoch 4 is\nhigher"}};

    (void)state;
    assert_int_equal(sender_open(&sender, &out, &hello, 0), 0);
    assert_says(give(&f), ERR_PEER, "refused: epoch 4 is");
    assert_null(strchr(fail_message(), '\n')); /* escaped */
    assert_true(sender.refused);
    assert_int_equal(sender.refusal, REFUSE_EPOCH);
    assert_int_not_equal(sender.refused_us, 0);
    assert_false(sender_wants(&sender, 1));
    sender_close(&sender);
    buf_clear(&out);
    assert_int_equal(sender_open(&sender, &out, &hello, 0), 0);
    assert_false(sender.refused);
    assert_int_not_equal(sender.refused_us, 0); /* until it is let in, or may come again */
    f.refuse.kind = REFUSE_RETRY;
    assert_says(give(&f), ERR_PEER, "refused: epoch 4 is");
    assert_int_equal(sender.refused_us, 0);
    assert_int_not_equal(sender.denied_us, 0);
}

/* What answers on its host is not the member. */
static void
test_sender_hears_no_member_without_its_agent(void **state)
{
    struct frame f = {.type = FRAME_REFUSE,
                      .refuse = {.kind = REFUSE_ABSENT, .reason = "no agent runs here"}};

    (void)state;
    assert_int_equal(sender_open(&sender, &out, &hello, 0), 0);
    assert_says(give(&f), ERR_PEER, "refused: no agent runs here");
    assert_int_equal(sender.denied_us, 0);
    assert_int_not_equal(sender.refused_us, 0); /* a DBA has to act */
}

static void
test_sender_refuses_frames_out_of_place(void **state)
{
    static const enum frame_type wrong[] = {FRAME_HELLO, FRAME_BEACON, FRAME_HISTORY,
                                            FRAME_DRAINED};

    (void)state;
    assert_int_equal(sender_open(&sender, &out, &hello, 0), 0);
    assert_says(ack(MB, MB, 0, (struct beacon){0}), ERR_PEER, "before ACCEPT");
    assert_false(sender.far_known);
    sender_close(&sender);
    buf_clear(&out);
    accept_at(MB);
    assert_says(
        give(&(struct frame){.type = FRAME_ACCEPT, .accept = {.timeline = 1, .lsn = 9 * MB}}),
        ERR_PEER, "accepts what was not asked");
    assert_int_equal(sender.resume_lsn, MB);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct frame f = {.type = wrong[i]};

        assert_says(sender_frame(&sender, &f, 0, 0), ERR_PEER, "came from a receiver");
    }
    assert_says(give(&(struct frame){.type = FRAME_GOODBYE, .goodbye = {.reason = "agent stops"}}),
                ERR_PEER, "ends the link: agent stops");
}

static void
test_sender_measures_no_line_by_a_ping_that_was_not_sent(void **state)
{
    struct frame f = {.type = FRAME_PONG, .pong = {.sent_us = 1001}};

    (void)state;
    accept_at(MB);
    assert_says(give(&f), ERR_PEER, "was not sent yet");
    assert_int_equal(sender.round_trip_us, 0);
    f.pong.sent_us = 400;
    assert_int_equal(give(&f), 0);
    assert_int_equal(sender.round_trip_us, 600);
}

static void
test_sender_keeps_the_streams_that_are_asked_for(void **state)
{
    struct frame f = {.type = FRAME_TUNNEL,
                      .tunnel = {.from = "dc2-a", .service = TUNNEL_RELAY, .reason = "gone"}};

    (void)state;
    accept_at(MB);
    for (int i = 0; i < SENDER_STREAMS_MAX; i++) {
        f.tunnel.number = (uint64_t)i + 1;
        assert_int_equal(give(&f), 0);
    }
    assert_int_equal(sender.streams_asked, SENDER_STREAMS_MAX);
    assert_int_equal(sender.stream_asked[2].number, 3);
    assert_string_equal(sender.stream_asked[2].from, "dc2-a");
    assert_string_equal(sender.stream_asked[2].reason, ""); /* the frame's bytes are gone by then */
    assert_says(give(&f), ERR_PEER, "over 16 streams were asked for at once");
    sender_close(&sender);
    assert_int_equal(sender.streams_asked, 0);
}

static void
test_sender_believes_no_ack_that_contradicts_itself(void **state)
{
    (void)state;
    accept_at(MB);
    assert_says(ack(MB + 10, MB + 11, 0, (struct beacon){0}), ERR_PEER,
                "more is flushed than received");
    assert_false(sender.far_known);
    assert_int_equal(sender.far.flushed, 0);
}

static int
ack_compared(lsn_t received, lsn_t compared)
{
    struct frame f = {
        .type = FRAME_ACK,
        .ack = {.timeline = 1, .received = received, .flushed = received, .compared = compared}};

    return give(&f);
}

/* The far spool may hold what two segments can from where it resumes; all else was sent. */
static void
test_sender_believes_no_ack_of_what_was_not_sent(void **state)
{
    static uint8_t wal[FRAME_WAL_MAX];

    (void)state;
    accept_at(8 * MB);
    assert_says(ack_compared(10 * MB + 1, 8 * MB), ERR_PEER,
                "an ACK says that 0/A00001 is received");
    assert_says(ack_compared(10 * MB, 8 * MB + 1), ERR_PEER, "sent is 0/800000");
    assert_false(sender.far_known);
    assert_int_equal(ack_compared(10 * MB, 8 * MB), 0);
    assert_false(sender.far_compared);
    /* its PostgreSQL may have got WAL elsewhere */
    assert_int_equal(ack(10 * MB, 10 * MB, 99 * MB, (struct beacon){0}), 0);
    while (sender.sent <= 10 * MB) {
        assert_int_equal(sender_wal(&sender, 1, sender.sent, wal, sizeof wal), 0);
        buf_clear(&out);
    }
    assert_int_equal(ack_compared(sender.sent, sender.sent), 0);
    assert_true(sender.far_compared);
    assert_int_equal(sender_wal(&sender, 2, 10 * MB, wal, 1), 0); /* a new timeline */
    assert_int_equal(ack_compared(sender.furthest, 10 * MB + 1), 0);
    assert_says(ack_compared(sender.furthest + 1, 10 * MB + 1), ERR_PEER, "an ACK says");
    assert_int_equal(sender.far.flushed, sender.furthest);
    sender_close(&sender);
    buf_clear(&out);
    accept_at(8 * MB);
    assert_says(ack_compared(10 * MB + 1, 8 * MB), ERR_PEER, "an ACK says"); /* of this session */
}

static void
test_sender_keeps_positions_over_connections(void **state)
{
    (void)state;
    accept_at(MB);
    assert_int_equal(ack(MB + 500, MB + 400, MB + 300, (struct beacon){0}), 0);
    assert_true(sender.far_changed && sender.far.standby_connected);
    sender_close(&sender);
    assert_false(sender.far.standby_connected);
    accept_at(MB);
    assert_int_equal(ack(MB, MB, 0, (struct beacon){0}), 0);
    assert_int_equal(sender.far.received, MB + 400); /* the rest was in memory only */
    assert_int_equal(sender.far.flushed, MB + 400);
    assert_int_equal(sender.far.applied, LSN_UNKNOWN); /* its PostgreSQL says nothing of it now */
}

static void
test_sender_follows_what_is_applied_back(void **state)
{
    struct beacon first = {MB + 300, 1000, 100}, second = {MB + 300, 2000, 200};
    int64_t age_us;

    (void)state;
    sender_beacon(&sender, &first);
    accept_at(MB);
    assert_int_equal(ack(MB + 500, MB + 400, MB + 300, first), 0);
    assert_true(lag_age(&sender.applied, 300, &age_us));
    assert_int_equal(ack(MB + 500, MB + 400, 0, (struct beacon){0}), 0);
    assert_int_equal(sender.far.applied, LSN_UNKNOWN);
    assert_false(lag_age(&sender.applied, 300, &age_us));
    assert_int_equal(ack(MB + 500, MB + 400, MB + 299, (struct beacon){0}), 0);
    assert_int_equal(sender.far.applied, MB + 299);
    assert_false(lag_age(&sender.applied, 300, &age_us));
    assert_true(lag_age(&sender.flushed, 300, &age_us)); /* which is on disk */
    sender_beacon(&sender, &second);
    assert_int_equal(ack(MB + 500, MB + 400, MB + 300, second), 0);
    assert_true(lag_age(&sender.applied, 300, &age_us));
    assert_int_equal(age_us, 100);
}

static void
test_sender_knows_that_its_server_was_put_back(void **state)
{
    struct beacon first = {MB + 300, 1000, 100}, older = {MB + 200, 2000, 200},
                  third = {MB + 300, 3000, 300};
    struct frame f = {.type = FRAME_ACK, .ack = {.timeline = 1, .received = MB + 300}};
    static uint8_t wal[300];

    (void)state;
    sender_beacon(&sender, &first);
    accept_at(MB);
    assert_int_equal(ack(MB + 300, MB + 300, 0, first), 0);
    assert_false(sender.older);
    sender_beacon(&sender, &older);
    assert_true(sender.older);
    assert_int_equal(ack(MB + 300, MB + 300, 0, first), 0);
    sender_beacon(&sender, &third); /* it has written other WAL since */
    assert_int_equal(ack(MB + 300, MB + 300, 0, first), 0);
    assert_true(sender.older);
    assert_int_equal(sender_wal(&sender, 1, MB, wal, sizeof wal), 0);
    f.ack.flushed = f.ack.compared = MB + 300; /* the right one is back, by its bytes */
    assert_int_equal(give(&f), 0);
    assert_false(sender.older);
}

static void
test_sender_goes_on_with_a_copy_of_the_older_state(void **state)
{
    struct beacon first = {MB + 300, 1000, 100}, older = {MB + 200, 2000, 200};
    struct frame f = {.type = FRAME_ACK, .ack = {.timeline = 1}};
    static uint8_t wal[200];

    (void)state;
    sender_beacon(&sender, &first);
    accept_at(MB);
    assert_int_equal(ack(MB + 300, MB + 300, 0, first), 0);
    sender_beacon(&sender, &older);
    sender_close(&sender);
    buf_clear(&out);
    accept_at(MB); /* a spool that was emptied, where the copy begins */
    assert_int_equal(sender_wal(&sender, 1, MB, wal, sizeof wal), 0);
    f.ack.received = f.ack.flushed = f.ack.compared = MB + 200;
    f.ack.flushed_beacon = older;
    assert_int_equal(give(&f), 0);
    assert_false(sender.older);
    assert_true(sender.far_compared);
    assert_int_equal(sender.far.flushed, MB + 200);
    assert_int_equal(sender.flushed.covered.mono_us, 200);
}

static void
test_sender_believes_beacons_only_when_acknowledged(void **state)
{
    struct beacon first = {MB + 100, 1000, 100}, second = {MB + 200, 2000, 200},
                  never = {MB + 300, 3000, 300};
    struct frame f;

    (void)state;
    sender_beacon(&sender, &first); /* the link is down: it waits */
    accept_at(MB);
    assert_int_equal(next(&f), FRAME_BEACON); /* ahead of any WAL */
    assert_int_equal(f.beacon.stamp.mono_us, 100);
    sender_beacon(&sender, &second);
    assert_int_equal(ack(MB + 200, MB + 200, MB + 200, (struct beacon){0}), 0);
    assert_int_equal(sender.flushed.covered.lsn, 0); /* the position alone says nothing */
    assert_int_equal(ack(MB + 200, MB + 200, MB + 200, first), 0);
    assert_int_equal(sender.flushed.covered.mono_us, 100);
    assert_int_equal(ack(MB + 300, MB + 300, MB + 300, never), 0); /* was not stamped here */
    assert_int_equal(sender.flushed.covered.mono_us, 100);
    assert_int_equal(sender.received.covered.mono_us, 100);
    assert_int_equal(sender.applied.covered.mono_us, 100);
    assert_int_equal(ack(MB + 300, MB + 300, MB + 300, second), 0);
    assert_int_equal(sender.flushed.covered.mono_us, 200);
    assert_int_equal(sender.flushed.count, 0);
}

static void
test_sender_takes_no_wal_when_full(void **state)
{
    static uint8_t bytes[FRAME_WAL_MAX];
    struct frame f;
    uint32_t noise = 1;
    lsn_t sent = 8 * MB, came = 8 * MB;
    uint64_t number = 0;

    (void)state;
    accept_at(sent);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)((noise = noise * 1664525 + 1013904223) >> 24);
    while (sender_wants(&sender, 1)) {
        assert_int_equal(sender_wal(&sender, 1, sent, bytes, sizeof bytes), 0);
        sent += sizeof bytes;
        assert_int_equal(sender.sent, sent);
        assert_true(sent < 8 * MB + 2 * WINDOW_READY_BYTES);
    }
    for (; frame_next(&out, &f) == 1; sender_hand_out(&sender)) {
        assert_int_equal(f.type, FRAME_WAL);
        assert_int_equal(f.wal.lsn, came);
        assert_int_equal(f.number, number++);
        assert_int_equal(f.wal.decoded_bytes, sizeof bytes);
        came += f.wal.decoded_bytes;
        buf_consume(&out, f.bytes);
    }
    assert_int_equal(came, sent);
    assert_true(sender_wants(&sender, 1));
}

/* A far side that takes frames and acknowledges none. */
static void
test_sender_waits_when_the_window_is_full(void **state)
{
    struct frame f = {.type = FRAME_ACK, .ack = {.timeline = 1, .next = 2}};

    (void)state;
    accept_at(8 * MB);
    while (sender_wants(&sender, 1)) {
        assert_int_equal(sender_wal(&sender, 1, sender.sent, "wal", 3), 0);
        buf_clear(&out);
    }
    assert_int_equal(sender.sent, 8 * MB + 3 * WINDOW_FRAMES);
    assert_false(window_fits(&sender.window, 1));
    assert_int_equal(sender_wal(&sender, 1, sender.sent, "wal", 3), ERR_AGAIN);
    assert_int_equal(sender_history(&sender, 2, "1\t0/800000\tno reason\n", 22), ERR_AGAIN);
    assert_int_equal(sender_drained(&sender, true, 1, sender.sent, ""), ERR_AGAIN);
    assert_int_equal(sender.sent, 8 * MB + 3 * WINDOW_FRAMES);
    assert_int_equal(buf_used(&out), 0);
    assert_int_equal(give(&f), 0);
    assert_int_equal(sender_history(&sender, 2, "1\t0/800000\tno reason\n", 22), 0);
    assert_int_equal(sender_drained(&sender, true, 1, sender.sent, ""), 0);
    assert_int_equal(next(&f), FRAME_HISTORY);
    assert_int_equal(f.number, WINDOW_FRAMES);
    assert_int_equal(next(&f), FRAME_DRAINED);
    assert_int_equal(f.number, WINDOW_FRAMES + 1);
    assert_false(window_fits(&sender.window, 1));
}

static void
test_sender_keeps_time(void **state)
{
    struct frame f;

    (void)state;
    assert_int_equal(sender_due_us(&sender), NEVER_US);
    assert_int_equal(sender_open(&sender, &out, &hello, 0), 0);
    assert_int_equal(next(&f), FRAME_HELLO);
    assert_int_equal(sender_due_us(&sender), 5 * SECOND_US);
    assert_int_equal(sender_tick(&sender, 5 * SECOND_US - 1), 0);
    assert_says(sender_tick(&sender, 5 * SECOND_US), ERR_PEER, "no answer to HELLO");
    sender_close(&sender);
    accept_at(MB);
    assert_int_equal(sender_tick(&sender, SECOND_US), 0);
    assert_int_equal(next(&f), FRAME_PING);
    sender.postgres = PONG_POSTGRES_DEAD;
    assert_int_equal(give(&(struct frame){.type = FRAME_PING, .ping = {.sent_us = 42}}), 0);
    assert_int_equal(next(&f), FRAME_PONG);
    assert_int_equal(f.pong.sent_us, 42);
    assert_int_equal(f.pong.postgres, PONG_POSTGRES_DEAD);
}

/* Two promotions, perhaps on one timeline: what dc2-a had in between is of another server. */
static void
test_sender_forgets_the_far_side_of_another_epoch(void **state)
{
    struct beacon b = {.lsn = 5 * MB, .wall_us = 9, .mono_us = 9};
    struct hello later = hello;
    int64_t age_us;

    (void)state;
    sender_beacon(&sender, &b);
    accept_at(5 * MB);
    buf_clear(&out);
    assert_int_equal(ack(5 * MB + 9, 5 * MB + 9, 5 * MB + 9, b), 0);
    sender_close(&sender);
    later.epoch.number = 3;
    assert_int_equal(sender_open(&sender, &out, &later, 0), 0);
    assert_false(sender.far_known);
    assert_int_equal(sender.far.flushed, LSN_UNKNOWN);
    assert_false(lag_age(&sender.flushed, 10, &age_us));
}

/* The same epoch, but its server left timeline 1 before what the far side has of it. */
static void
test_sender_forgets_the_far_side_of_another_lineage(void **state)
{
    struct hello later = hello;

    (void)state;
    accept_at(5 * MB);
    assert_int_equal(ack(5 * MB + 9, 5 * MB + 9, 0, (struct beacon){0}), 0);
    sender_close(&sender);
    later.timeline = 2;
    later.history = "1\t0/500009\tx\n";
    later.history_bytes = strlen(later.history);
    assert_int_equal(sender_open(&sender, &out, &later, 0), 0);
    assert_int_equal(sender.far.flushed, 5 * MB + 9);
    sender_close(&sender);
    later.history = "1\t0/500008\tx\n";
    assert_int_equal(sender_open(&sender, &out, &later, 0), 0);
    assert_int_equal(sender.far.flushed, LSN_UNKNOWN);
}

/* A far PostgreSQL that has forked: nothing that it applied before counts any more. */
static void
test_sender_applied_becomes_unknown(void **state)
{
    struct beacon b = {.lsn = 5 * MB, .wall_us = 9, .mono_us = 9};
    struct frame f = {.type = FRAME_ACK,
                      .ack = {.timeline = 1, .received = 5 * MB, .flushed = 5 * MB}};
    int64_t age_us;

    (void)state;
    sender_beacon(&sender, &b);
    accept_at(5 * MB);
    assert_int_equal(ack(5 * MB, 5 * MB, 5 * MB, b), 0);
    assert_true(lag_age(&sender.applied, 10, &age_us));
    f.ack.flushed_beacon = b;
    assert_int_equal(give(&f), 0);
    assert_int_equal(sender.far.applied, LSN_UNKNOWN);
    assert_false(lag_age(&sender.applied, 10, &age_us));
    assert_true(lag_age(&sender.flushed, 10, &age_us));
}

static void
keep_word(void *word, const struct frame *f)
{
    *(enum promise_word *)word = f->promise.word;
}

/* A promise is asked for there, never here. */
static void
test_sender_hears_who_asks_for_a_promise(void **state)
{
    enum promise_word word = 0;
    struct frame f = {
        .type = FRAME_PROMISE,
        .promise = {.word = PROMISE_ASK, .number = 2, .asker = "dc2-a", .reason = ""}};

    (void)state;
    accept_at(0);
    sender.promise = keep_word;
    sender.pool_context = &word;
    assert_int_equal(give(&f), 0);
    assert_int_equal(word, PROMISE_ASK);
    f.promise.word = PROMISE_GIVE;
    assert_int_equal(give(&f), ERR_PEER);
    assert_int_equal(word, PROMISE_ASK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sender_forgets_what_the_far_side_has_lost, make, drop),
        cmocka_unit_test_setup_teardown(test_sender_forgets_the_far_side_of_another_epoch, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_sender_forgets_the_far_side_of_another_lineage, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_sender_applied_becomes_unknown, make, drop),
        cmocka_unit_test_setup_teardown(test_sender_greets_and_starts_where_told, make, drop),
        cmocka_unit_test_setup_teardown(test_sender_hears_no_member_without_its_agent, make, drop),
        cmocka_unit_test_setup_teardown(test_sender_tells_why_it_was_refused, make, drop),
        cmocka_unit_test_setup_teardown(test_sender_refuses_frames_out_of_place, make, drop),
        cmocka_unit_test_setup_teardown(test_sender_measures_no_line_by_a_ping_that_was_not_sent,
                                        make, drop),
        cmocka_unit_test_setup_teardown(test_sender_keeps_the_streams_that_are_asked_for, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_sender_believes_no_ack_that_contradicts_itself, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_sender_believes_no_ack_of_what_was_not_sent, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_sender_keeps_positions_over_connections, make, drop),
        cmocka_unit_test_setup_teardown(test_sender_follows_what_is_applied_back, make, drop),
        cmocka_unit_test_setup_teardown(test_sender_knows_that_its_server_was_put_back, make, drop),
        cmocka_unit_test_setup_teardown(test_sender_goes_on_with_a_copy_of_the_older_state, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_sender_trusts_a_far_spool_once_it_is_compared, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_sender_is_told_of_who_is_fed_by_another, make, drop),
        cmocka_unit_test_setup_teardown(test_sender_believes_beacons_only_when_acknowledged, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_sender_takes_no_wal_when_full, make, drop),
        cmocka_unit_test_setup_teardown(test_sender_waits_when_the_window_is_full, make, drop),
        cmocka_unit_test_setup_teardown(test_sender_hears_who_asks_for_a_promise, make, drop),
        cmocka_unit_test_setup_teardown(test_sender_keeps_time, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

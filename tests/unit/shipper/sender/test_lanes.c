/* SPDX-License-Identifier: PostgreSQL */
/* The lanes of a session, as far as no connection is needed: which of them is given up. */
#include "unit/unit.h"

#include "base/clock.h"
#include "shipper/sender/lanes.h"

#include <string.h>

#define PIECE 4000u

static struct lanes lanes;
static struct sender sender;
static const struct lane_target target = {.host = "127.0.0.1", .port = "1"};
static int64_t now_us;
static lsn_t sent;

/* Two lanes that took some WAL and then nothing any more. */
static int
make(void **state)
{
    struct hello hello = {.protocol = FRAME_PROTOCOL, .pool = "chat", .timeline = 1, .history = ""};
    struct frame accept = {.type = FRAME_ACCEPT, .accept = {.timeline = 1, .lsn = 1 << 24}};
    static uint8_t bytes[PIECE];

    (void)state;
    now_us = clock_us();
    assert_int_equal(lanes_init(&lanes, &target, "dc2-a", 2), 0);
    sender_init(&sender, NULL);
    assert_int_equal(sender_open(&sender, &lanes.lane[0].out, &hello, now_us), 0);
    assert_int_equal(sender_frame(&sender, &accept, now_us, now_us), 0);
    lanes_begin(&lanes, &hello, now_us);
    lanes.slot[1].use = LANE_IN_SESSION;
    lanes.slot[1].idle_us = now_us;
    sender_lane(&sender, 1, &lanes.lane[1].out);
    sent = 1 << 24;
    for (uint32_t i = 0; i < 40; i++, sent += sizeof bytes) {
        struct buf frame = {.bytes = (uint8_t[FRAME_BYTES_MAX]){0}, .size = FRAME_BYTES_MAX};
        struct frame f = {.type = FRAME_HISTORY,
                          .history = {.timeline = 2, .text = (char *)bytes, .length = PIECE}};

        assert_int_equal(frame_put(&frame, &f), 0);
        assert_int_equal(
            sender_wal_frame(&sender, 1, sent, PIECE, buf_data(&frame), buf_used(&frame)), 0);
    }
    sender_hand_out(&sender);
    assert_true(buf_used(&lanes.lane[0].out) > 0 && buf_used(&lanes.lane[1].out) > 0);
    return 0;
}

static int
drop(void **state)
{
    (void)state;
    sender_close(&sender);
    lanes_release(&lanes);
    return 0;
}

static void
acknowledge(uint64_t next, bool busy)
{
    struct frame f = {.type = FRAME_ACK, .ack = {.timeline = 1, .next = next, .busy = busy}};

    assert_int_equal(sender_frame(&sender, &f, now_us, now_us), 0);
}

static void
run(int64_t seconds)
{
    static struct loop loop;

    for (int64_t i = 0; i < seconds * 4; i++) {
        now_us += SECOND_US / 4;
        lanes_run(&lanes, &sender, &loop, now_us);
    }
}

static void
test_lanes_give_up_one_that_takes_nothing(void **state)
{
    (void)state;
    acknowledge(1, false);
    run(4);
    assert_int_equal(lanes_up(&lanes), 2);
    run(2);
    assert_int_equal(lanes_up(&lanes), 1); /* the last one is the link's to judge */
}

/* The far side is alive, says so, and waits for its disk: longer than any line is given. */
static void
test_lanes_wait_for_a_far_side_that_is_busy(void **state)
{
    (void)state;
    acknowledge(1, true);
    run(40);
    assert_int_equal(lanes_up(&lanes), 2);
    acknowledge(2, false);
    run(4);
    assert_int_equal(lanes_up(&lanes), 2);
    run(2);
    assert_int_equal(lanes_up(&lanes), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lanes_give_up_one_that_takes_nothing, make, drop),
        cmocka_unit_test_setup_teardown(test_lanes_wait_for_a_far_side_that_is_busy, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: PostgreSQL */
/* window and reorder: frames over lanes that die and race, taken once each and in order. */
#include "unit/unit.h"

#include "base/fail.h"
#include "shipper/wire/codec.h"
#include "shipper/wire/frame.h"
#include "shipper/wire/reorder.h"

#include <stdlib.h>
#include <string.h>

#define LANES 4
#define ROOM  (1u << 20)

static struct window window;
static struct reorder reorder;
static struct buf out[LANES];

static int
make(void **state)
{
    (void)state;
    for (unsigned i = 0; i < LANES; i++)
        assert_int_equal(buf_init(&out[i], ROOM), 0);
    return 0;
}

static int
drop(void **state)
{
    (void)state;
    window_clear(&window);
    reorder_clear(&reorder);
    for (unsigned i = 0; i < LANES; i++)
        buf_release(&out[i]);
    return 0;
}

static void
add(uint32_t value, size_t n)
{
    static uint8_t bytes[FRAME_BYTES_MAX];
    struct buf frame = {.bytes = bytes, .size = sizeof bytes};
    static uint8_t wal[FRAME_WAL_MAX];
    struct codec codec = {.level = CODEC_NONE};

    for (size_t i = 0; i + 4 <= n; i += 4)
        memcpy(wal + i, &value, 4);
    assert_int_equal(frame_put_wal(&frame, &codec, 1, 4096, wal, n), 0);
    assert_int_equal(window_add(&window, buf_data(&frame), buf_used(&frame)), 0);
}

/* Takes one frame of a lane as the receiver does; false: there is none. */
static bool
take(unsigned lane, uint64_t *expected)
{
    struct buf held;
    struct frame f;

    if (frame_next(&out[lane], &f) != 1)
        return false;
    if (f.number > reorder.next) {
        assert_int_equal(reorder_hold(&reorder, f.number, f.raw, f.bytes), 0);
    } else if (f.number == reorder.next) {
        assert_int_equal(f.number, (*expected)++);
        reorder_step(&reorder);
        while (reorder_next(&reorder, &held)) {
            uint32_t value;

            assert_int_equal(frame_next(&held, &f), 1);
            memcpy(&value, f.wal.bytes, 4);
            assert_int_equal(f.number, *expected);
            assert_int_equal(value, (*expected)++);
            reorder_step(&reorder);
        }
        buf_consume(&out[lane], 0);
    }
    assert_int_equal(frame_next(&out[lane], &f), 1);
    buf_consume(&out[lane], f.bytes);
    return true;
}

static void
test_window_survives_lanes_that_die(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 50; seed++) {
        uint64_t expected = 0;
        uint32_t added = 0;
        unsigned up = 1;

        srandom(seed);
        window_clear(&window);
        reorder_clear(&reorder);
        for (unsigned i = 0; i < LANES; i++)
            buf_clear(&out[i]);
        window_lane(&window, 0, &out[0]);
        while (expected < 3000) {
            unsigned lane = (unsigned)random() % LANES;

            while (added < 3000 && window_wants(&window, 1))
                add(added++, 4 + 4 * ((unsigned)random() % 2000));
            window_hand_out(&window, INT64_MAX);
            for (int n = (int)(random() % 20); n > 0 && take(lane, &expected); n--)
                ;
            if (random() % 4 == 0)
                assert_int_equal(window_acknowledge(&window, reorder.next), 0);
            if (random() % 50 == 0 && window.out[lane] == NULL) {
                window_lane(&window, lane, &out[lane]);
                up++;
            } else if (random() % 50 == 0 && window.out[lane] != NULL && up > 1) {
                window_lane(&window, lane, NULL);
                buf_clear(&out[lane]); /* with all that was under way */
                up--;
            }
        }
        assert_int_equal(window_acknowledge(&window, reorder.next), 0);
        assert_int_equal(window.bytes, 0);
        assert_int_equal(window.ready, 0);
        assert_int_equal(reorder.bytes, 0);
    }
}

static void
test_window_is_bounded(void **state)
{
    size_t given;

    (void)state;
    while (window_wants(&window, 1))
        add(1, FRAME_WAL_MAX);
    assert_int_in_range(window.bytes, WINDOW_READY_BYTES, WINDOW_READY_BYTES + FRAME_BYTES_MAX);
    window_lane(&window, 0, &out[0]);
    given = window_hand_out(&window, 1); /* at least one frame: a limit is kept by debt */
    assert_int_in_range(given, FRAME_WAL_MAX, FRAME_BYTES_MAX);
    assert_int_equal(window_hand_out(&window, 0), 0);
    given = window_hand_out(&window, INT64_MAX);
    assert_int_equal(given, 0); /* the lane's queue is long enough */
    assert_true(window_wants(&window, 1));
    assert_int_equal(window_acknowledge(&window, window.next + 1), ERR_PEER);
}

/* Frames of so many bytes of WAL, until not one more of them fits; nobody acknowledges any. */
static void
fill(size_t n)
{
    static uint8_t frame[FRAME_BYTES_MAX];
    uint64_t count;

    while (window_fits(&window, 1))
        add(1, n);
    while (window_add(&window, frame, n) == 0)
        ;
    count = window.next;
    assert_int_equal(window_add(&window, frame, n), ERR_AGAIN);
    assert_int_equal(window.next, count);
    assert_true(window.next - window.first <= WINDOW_FRAMES && window.bytes <= WINDOW_BYTES);
}

static void
test_window_is_full_of_small_frames_or_of_large_ones(void **state)
{
    (void)state;
    fill(40);
    assert_int_equal(window.next, WINDOW_FRAMES);
    assert_false(window_fits(&window, 1));
    assert_int_equal(window_acknowledge(&window, 2), 0);
    assert_true(window_fits(&window, 2));
    assert_false(window_fits(&window, 3));
    fill(40);
    assert_int_equal(window_acknowledge(&window, window.next), 0);
    fill(FRAME_WAL_MAX);
    assert_int_in_range(window.bytes, WINDOW_BYTES - FRAME_BYTES_MAX, WINDOW_BYTES);
    assert_int_equal(window_acknowledge(&window, window.next), 0);
    assert_true(window_fits(&window, 100));
}

/* One line is stuck: it leaves the others room, and gets no more than they leave. */
static void
test_windows_share_a_budget(void **state)
{
    static struct window other;
    static uint8_t frame[FRAME_BYTES_MAX];
    size_t all = 0, others;

    (void)state;
    window.shared = other.shared = &all;
    while (window_fits(&window, 1))
        add(1, FRAME_WAL_MAX);
    assert_int_in_range(window.bytes, WINDOW_BYTES - FRAME_BYTES_MAX, WINDOW_BYTES);
    while (window_fits(&other, 1))
        assert_int_equal(window_add(&other, frame, sizeof frame), 0);
    assert_int_in_range(all, WINDOW_SHARED_BYTES - FRAME_BYTES_MAX, WINDOW_SHARED_BYTES);
    assert_int_equal(window_add(&other, frame, sizeof frame), 0); /* it was being compressed */
    assert_int_equal(window_acknowledge(&other, other.next), 0);
    assert_int_equal(all, window.bytes);
    others = WINDOW_SHARED_BYTES - all;
    all += others;
    while (window_fits(&other, 1))
        assert_int_equal(window_add(&other, frame, sizeof frame), 0);
    assert_int_in_range(other.bytes, WINDOW_OWN_BYTES - FRAME_BYTES_MAX, WINDOW_OWN_BYTES);
    window_clear(&other);
    assert_int_equal(other.bytes, 0);
    window_clear(&window);
    assert_int_equal(all, others);
    window.shared = NULL;
}

/* All but the first come, the last one first, and each of them twice. */
static void
test_reorder_holds_whatever_a_window_has(void **state)
{
    static const size_t sizes[] = {40, FRAME_WAL_MAX};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        uint64_t taken = 1;
        struct buf held;

        window_clear(&window);
        reorder_clear(&reorder);
        fill(sizes[i]);
        for (uint64_t n = 2 * (window.next - 1); n > 0; n--) {
            uint64_t number = (n + 1) / 2;

            assert_int_equal(reorder_hold(&reorder, number, window.frame[number].bytes,
                                          window.frame[number].length),
                             0);
        }
        assert_int_equal(reorder.bytes, window.bytes - window.frame[0].length);
        for (reorder_step(&reorder); reorder_next(&reorder, &held); reorder_step(&reorder)) {
            assert_int_equal(buf_used(&held), window.frame[taken].length);
            assert_memory_equal(buf_data(&held), window.frame[taken].bytes, buf_used(&held));
            taken++;
        }
        assert_int_equal(taken, window.next);
        assert_int_equal(reorder.bytes, 0);
    }
}

static void
test_reorder_refuses_what_no_window_has(void **state)
{
    static uint8_t bytes[FRAME_BYTES_MAX];
    uint64_t number = 1;

    (void)state;
    assert_int_equal(reorder_hold(&reorder, WINDOW_FRAMES, bytes, 100), ERR_PEER);
    while (reorder_hold(&reorder, number, bytes, sizeof bytes) == 0)
        number++;
    assert_true(number * sizeof bytes > WINDOW_BYTES);
    assert_true(reorder.bytes <= WINDOW_BYTES);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_window_survives_lanes_that_die, make, drop),
        cmocka_unit_test_setup_teardown(test_window_is_bounded, make, drop),
        cmocka_unit_test_setup_teardown(test_windows_share_a_budget, make, drop),
        cmocka_unit_test_setup_teardown(test_window_is_full_of_small_frames_or_of_large_ones, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_reorder_holds_whatever_a_window_has, make, drop),
        cmocka_unit_test_setup_teardown(test_reorder_refuses_what_no_window_has, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

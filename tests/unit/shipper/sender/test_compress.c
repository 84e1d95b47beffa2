/* SPDX-License-Identifier: PostgreSQL */
/* compressor and workers: whatever pieces WAL comes in, it leaves whole, in order, and cut where
 * walsender would cut it. */
#include "unit/unit.h"

#include "base/fail.h"
#include "shipper/sender/compress.h"

#include <stdlib.h>
#include <string.h>

#define START UINT64_C(0x3000000)
#define TOTAL (6u << 20)

static struct workers workers;
static struct frame_cache frame_cache;
static struct compressor compressor;
static struct sender sender;
static struct codec codec;
static struct buf out;

static int
make(void **state)
{
    struct frame accept = {.type = FRAME_ACCEPT, .accept = {.timeline = 1, .lsn = START}};
    struct hello hello = {.history = ""};

    (void)state;
    assert_int_equal(workers_init(&workers, 0), 0);
    assert_int_equal(compressor_init(&compressor, &workers, &frame_cache, COMPRESSION_AUTO), 0);
    assert_int_equal(buf_init(&out, 1u << 20), 0);
    sender_init(&sender, &codec);
    assert_int_equal(sender_open(&sender, &out, &hello, 0), 0);
    assert_int_equal(sender_frame(&sender, &accept, 0, 0), 0);
    buf_clear(&out);
    return 0;
}

static int
drop(void **state)
{
    (void)state;
    sender_close(&sender);
    compressor_release(&compressor);
    workers_release(&workers);
    frame_cache_release(&frame_cache);
    codec_release(&codec);
    buf_release(&out);
    return 0;
}

static uint8_t
wal_at(lsn_t lsn)
{
    return (uint8_t)(lsn * UINT64_C(2654435761) >> 21);
}

/* Takes what the sender has given, as a receiver does. */
static void
receive(lsn_t *upto, const lsn_t *ends, size_t items)
{
    static uint8_t bytes[FRAME_WAL_MAX];
    struct frame f, ack = {.type = FRAME_ACK};

    for (; frame_next(&out, &f) == 1; sender_hand_out(&sender)) {
        const uint8_t *wal = f.wal.bytes;
        bool item_end = false;

        assert_int_equal(f.type, FRAME_WAL);
        assert_int_equal(f.wal.lsn, *upto);
        if (f.wal.codec != 0) {
            assert_int_equal(
                codec_decompress(&codec, bytes, f.wal.decoded_bytes, f.wal.bytes, f.wal.length), 0);
            wal = bytes;
        }
        for (size_t i = 0; i < f.wal.decoded_bytes; i++)
            if (wal[i] != wal_at(*upto + i))
                assert_int_equal(wal[i], wal_at(*upto + i));
        *upto += f.wal.decoded_bytes;
        for (size_t i = 0; i < items && !item_end; i++)
            item_end = ends[i] == *upto;
        assert_true(item_end || *upto % WAL_PAGE_BYTES == 0);
        ack.ack.next = f.number + 1;
        buf_consume(&out, f.bytes);
        assert_int_equal(sender_frame(&sender, &ack, 0, 0), 0);
    }
}

static void
test_compressor_keeps_wal_whole(void **state)
{
    static uint8_t bytes[FRAME_WAL_MAX];
    static lsn_t ends[100000];

    (void)state;
    for (unsigned seed = 1; seed <= 8; seed++) {
        lsn_t lsn = START, upto = START;
        size_t items = 0;

        drop(NULL);
        make(NULL);
        srandom(seed);
        while (lsn < START + TOTAL) {
            size_t n = 1 + (size_t)random() % (random() % 3 == 0 ? sizeof bytes : 300);

            while (!compressor_takes(&compressor, &sender)) {
                assert_int_equal(compressor_collect(&compressor, &sender, true), 0);
                sender_hand_out(&sender);
                receive(&upto, ends, items);
            }
            for (size_t i = 0; i < n; i++)
                bytes[i] = wal_at(lsn + i);
            compressor_wal(&compressor, 1, lsn, bytes, n);
            lsn += n;
            ends[items++] = lsn;
            if (random() % 8 == 0)
                compressor_rest(&compressor, random() % 2 == 0);
            assert_int_equal(compressor_collect(&compressor, &sender, false), 0);
        }
        compressor_rest(&compressor, false);
        while (!compressor_empty(&compressor) || upto < lsn) {
            assert_int_equal(compressor_collect(&compressor, &sender, true), 0);
            sender_hand_out(&sender);
            receive(&upto, ends, items);
        }
        assert_int_equal(sender.sent, lsn);
        assert_int_equal(sender.window.bytes, 0);
    }
}

/*
 * Nobody acknowledges anything: what was taken in, and a HISTORY behind it, still find their place,
 * whatever it is that fills the window: many frames, many bytes, or pieces that go apart.
 */
static void
test_compressor_has_its_place_in_a_full_window(void **state)
{
    static uint8_t bytes[FRAME_WAL_MAX];
    static const struct {
        bool noise;
        size_t n, gap; /* of an item, and between two of them */
    } kinds[] = {{false, FRAME_WAL_MAX, 0},
                 {true, FRAME_WAL_MAX, 0},
                 {true, 90000, 0},
                 {false, FRAME_WAL_MAX, 3000}};

    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        lsn_t lsn = START;
        struct window *w;

        drop(NULL);
        make(NULL);
        w = &sender.window;
        srandom(1);
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = kinds[k].noise ? (uint8_t)random() : 0;
        while (
            window_fits(&sender.window, compressor_frames(&compressor) + COMPRESSOR_ITEM_FRAMES)) {
            while (compressor_takes(&compressor, &sender)) {
                compressor_wal(&compressor, 1, lsn, bytes, kinds[k].n);
                lsn += kinds[k].n + kinds[k].gap;
            }
            compressor_rest(&compressor, random() % 2 == 0);
            assert_int_equal(compressor_collect(&compressor, &sender, random() % 4 == 0), 0);
            sender_hand_out(&sender);
            buf_clear(&out);
        }
        compressor_rest(&compressor, false);
        assert_int_equal(compressor_collect(&compressor, &sender, true), 0);
        assert_true(compressor_empty(&compressor));
        assert_int_equal(sender_history(&sender, 2, "", 0), 0);
        assert_true(w->next - w->first <= WINDOW_FRAMES && w->bytes <= WINDOW_BYTES);
        assert_true(w->next > WINDOW_FRAMES - 20 || w->bytes > WINDOW_BYTES - 20 * FRAME_WAL_MAX);
    }
}

/* A commit alone must not wait for more of its kind. */
static void
test_compressor_takes_small_pieces_at_once(void **state)
{
    (void)state;
    compressor_wal(&compressor, 1, START, "commit", 6);
    compressor_rest(&compressor, true); /* the line is busy: it may gather */
    assert_int_equal(compressor_collect(&compressor, &sender, false), 0);
    assert_int_equal(sender.window.next, 0);
    compressor_rest(&compressor, false);
    assert_int_equal(compressor_collect(&compressor, &sender, false), 0);
    assert_int_equal(sender.window.next, 1);
}

static void
test_compressor_forgets_a_session(void **state)
{
    static uint8_t bytes[FRAME_WAL_MAX];

    (void)state;
    for (int i = 0; i < 10; i++)
        compressor_wal(&compressor, 1, START + (lsn_t)i * sizeof bytes, bytes, sizeof bytes);
    compressor_wal(&compressor, 1, START, "half", 4);
    compressor_reset(&compressor);
    compressor_wal(&compressor, 1, START, "new", 3);
    compressor_rest(&compressor, false);
    assert_int_equal(compressor_collect(&compressor, &sender, true), 0);
    assert_true(compressor_empty(&compressor));
    assert_int_equal(sender.window.next, 1);
    assert_int_equal(sender.sent, START + 3);
}

/* Two links ship the same WAL: the second takes the frame of the first, unless bytes differ. */
static void
test_compressor_shares_what_is_the_same(void **state)
{
    static uint8_t bytes[FRAME_WAL_MAX];
    static struct sender other_sender;
    static struct compressor other;
    struct frame accept = {.type = FRAME_ACCEPT, .accept = {.timeline = 1, .lsn = START}};
    struct hello hello = {.history = ""};
    struct buf other_out;
    struct frame f;

    (void)state;
    assert_int_equal(compressor_init(&other, &workers, &frame_cache, 9), 0);
    assert_int_equal(buf_init(&other_out, 1u << 20), 0);
    sender_init(&other_sender, &codec);
    assert_int_equal(sender_open(&other_sender, &other_out, &hello, 0), 0);
    assert_int_equal(sender_frame(&other_sender, &accept, 0, 0), 0);
    buf_clear(&other_out);
    compressor_wal(&compressor, 1, START, bytes, sizeof bytes);
    compressor_wal(&other, 1, START, bytes, sizeof bytes); /* under way there: it waits */
    assert_int_equal(compressor_collect(&other, &other_sender, false), 0);
    assert_int_equal(other_sender.window.next, 0);
    assert_int_equal(compressor_collect(&compressor, &sender, true), 0);
    assert_int_equal(compressor_collect(&other, &other_sender, false), 0);
    assert_int_equal(other_sender.window.next, 1);
    bytes[77] = 1; /* another server's WAL at the same place */
    compressor_wal(&other, 1, START, bytes, sizeof bytes);
    assert_int_equal(compressor_collect(&other, &other_sender, true), 0);
    sender_hand_out(&other_sender);
    assert_int_equal(frame_next(&other_out, &f), 1);
    buf_consume(&other_out, f.bytes);
    assert_int_equal(frame_next(&other_out, &f), 1);
    assert_int_equal(codec_decompress(&codec, bytes, sizeof bytes, f.wal.bytes, f.wal.length), 0);
    assert_int_equal(bytes[77], 1);
    bytes[77] = 0;
    compressor_wal(&compressor, 1, START + sizeof bytes, bytes, sizeof bytes);
    compressor_wal(&other, 1, START + sizeof bytes, bytes, sizeof bytes);
    compressor_release(&compressor); /* gone while the other waits for it */
    assert_int_equal(compressor_collect(&other, &other_sender, true), 0);
    assert_int_equal(other_sender.window.next, 3);
    sender_close(&other_sender);
    compressor_release(&other);
    buf_release(&other_out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_compressor_keeps_wal_whole, make, drop),
        cmocka_unit_test_setup_teardown(test_compressor_has_its_place_in_a_full_window, make, drop),
        cmocka_unit_test_setup_teardown(test_compressor_takes_small_pieces_at_once, make, drop),
        cmocka_unit_test_setup_teardown(test_compressor_forgets_a_session, make, drop),
        cmocka_unit_test_setup_teardown(test_compressor_shares_what_is_the_same, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

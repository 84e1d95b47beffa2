/* SPDX-License-Identifier: PostgreSQL */
/* frame and codec: every type there and back, every truncation, one bad value per field. */
#include "unit/unit.h"

#include "base/fail.h"
#include "shipper/wire/codec.h"
#include "shipper/wire/frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct codec codec;
static struct buf out;

static int
setup(void **state)
{
    (void)state;
    return buf_init(&out, 4 * FRAME_BYTES_MAX);
}

static int
teardown(void **state)
{
    (void)state;
    buf_release(&out);
    codec_release(&codec);
    return 0;
}

static struct hello
sample_hello(void)
{
    struct hello h = {.protocol = FRAME_PROTOCOL,
                      .pool = "chat",
                      .identity = {.system_identifier = UINT64_C(7710451456251498215),
                                   .segment_bytes = 16u << 20,
                                   .postgres_major = 15},
                      .from = "dc1-a",
                      .to = "dc2-a",
                      .epoch = {.number = 3, .member = "dc1-a"},
                      .incarnation = 99,
                      .timeline = 2,
                      .config_digest = 5,
                      .history = "1\t0/50000A0\tx\n",
                      .history_bytes = 14};

    return h;
}

/* One frame of every type but WAL. */
static size_t
samples(struct frame *f)
{
    size_t n = 0;
    struct epoch_origin origin = {
        .epoch = {.number = 4, .member = "dc2-a"}, .timeline = 3, .fork = 0x7000000};

    f[n++] = (struct frame){.type = FRAME_HELLO, .hello = sample_hello()};
    f[n++] = (struct frame){.type = FRAME_ACCEPT,
                            .accept = {.timeline = 1, .lsn = 0x5000000, .config_digest = 5}};
    f[n++] =
        (struct frame){.type = FRAME_REFUSE,
                       .refuse = {.kind = REFUSE_EPOCH, .origin = origin, .reason = "epoch 4"}};
    f[n++] = (struct frame){.type = FRAME_ACK,
                            .ack = {.timeline = 1,
                                    .compared = 0x5000060,
                                    .received = 3,
                                    .flushed = 2,
                                    .applied = 1,
                                    .xmin = 700,
                                    .catalog_xmin = 0,
                                    .standby_connected = true}};
    f[n++] = (struct frame){.type = FRAME_BEACON,
                            .beacon = {{.lsn = 1, .wall_us = 2, .mono_us = 3}, true}};
    f[n++] = (struct frame){.type = FRAME_PING, .ping = {.sent_us = 12}};
    f[n++] = (struct frame){
        .type = FRAME_PONG,
        .pong = {.sent_us = 12, .mono_us = 13, .wall_us = 14, .postgres = PONG_POSTGRES_DEAD}};
    f[n++] = (struct frame){.type = FRAME_HISTORY,
                            .history = {.timeline = 2, .text = "1\t0/1\tx\n", .length = 8}};
    f[n++] = (struct frame){.type = FRAME_POOL, .pool = origin};
    f[n++] = (struct frame){.type = FRAME_DRAIN};
    f[n++] = (struct frame){.type = FRAME_DRAINED,
                            .drained = {.done = true, .timeline = 1, .end = 0x60, .reason = ""}};
    f[n++] = (struct frame){.type = FRAME_GOODBYE, .goodbye = {.reason = "bye"}};
    f[n++] = (struct frame){.type = FRAME_WAITS, .waits = {.reason = "gone"}};
    f[n++] = (struct frame){.type = FRAME_TUNNEL,
                            .tunnel = {.pool = "chat",
                                       .from = "dc2-a",
                                       .to = "dc1-a",
                                       .number = 5,
                                       .service = TUNNEL_CONTROL,
                                       .reason = "no room"}};
    f[n++] = (struct frame){
        .type = FRAME_DATA,
        .data = {.decoded_bytes = 120, .bytes = (const uint8_t *)"\x28\xb5", .length = 2}};
    return n;
}

static void
test_frame_every_type_there_and_back(void **state)
{
    struct frame f[20], got;
    size_t n = samples(f);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        buf_clear(&out);
        assert_int_equal(frame_put(&out, &f[i]), 0);
        assert_int_equal(frame_next(&out, &got), 1);
        assert_int_equal(got.type, f[i].type);
        assert_int_equal(got.bytes, buf_used(&out));
    }
    buf_clear(&out);
    frame_put(&out, &f[0]);
    assert_int_equal(frame_next(&out, &got), 1);
    assert_string_equal(got.hello.to, "dc2-a");
    assert_int_equal(got.hello.identity.system_identifier, UINT64_C(7710451456251498215));
    assert_int_equal(got.hello.epoch.number, 3);
    assert_int_equal(got.hello.history_bytes, 14);
    buf_clear(&out);
    frame_put(&out, &f[2]);
    assert_int_equal(frame_next(&out, &got), 1);
    assert_string_equal(got.refuse.reason, "epoch 4");
    assert_int_equal(got.refuse.origin.fork, 0x7000000);
    buf_clear(&out);
    frame_put(&out, &f[3]);
    assert_int_equal(frame_next(&out, &got), 1);
    assert_true(ack_equal(&got.ack, &f[3].ack));
}

static void
test_frame_every_truncation_waits_for_more(void **state)
{
    struct frame f[20], got;
    size_t n = samples(f);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        buf_clear(&out);
        frame_put(&out, &f[i]);
        for (size_t cut = 0; cut < buf_used(&out); cut++) {
            struct buf part;

            assert_int_equal(buf_init(&part, cut + 1),
                             0); /* exact, so that a sanitizer sees a step too far */
            buf_put_bytes(&part, buf_data(&out), cut);
            assert_int_equal(frame_next(&part, &got), 0);
            buf_release(&part);
        }
    }
}

/* The length says less than the body needs: refused, except where the rest of a body is free text.
 */
static void
test_frame_every_short_body_is_refused(void **state)
{
    struct frame f[20], got;
    size_t n = samples(f);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        size_t whole, text = f[i].type == FRAME_HELLO     ? 14
                             : f[i].type == FRAME_HISTORY ? 8
                             : f[i].type == FRAME_DATA    ? 2
                                                          : 0;

        buf_clear(&out);
        frame_put(&out, &f[i]);
        whole = buf_used(&out) - 4;
        for (size_t length = 0; length < whole - text; length++) {
            struct buf part;

            assert_int_equal(buf_init(&part, length + 4), 0);
            buf_put_u32(&part, (uint32_t)length);
            buf_put_bytes(&part, buf_data(&out) + 4, length);
            assert_int_equal(frame_next(&part, &got), ERR_PEER);
            buf_release(&part);
        }
        buf_set_u32(&out, 0, (uint32_t)whole + 1);
        buf_put_u8(&out, 0);
        if (text == 0)
            assert_int_equal(frame_next(&out, &got), ERR_PEER);
    }
}

static void
expect_refused(size_t offset, const void *bytes, size_t n)
{
    struct frame got;

    memcpy(out.bytes + out.start + offset, bytes, n);
    assert_int_equal(frame_next(&out, &got), ERR_PEER);
}

static void
test_frame_bad_values_are_refused(void **state)
{
    struct frame f[20], got;
    struct hello h = sample_hello();
    static const struct {
        size_t offset;
        const char *bytes;
        size_t n;
    } hello_bad[] = {
        {5, "XXXX", 4}, /* magic */
        {9, "\0\1", 2}, /* protocol */
        {11, "a-name-that-is-far-too-long-for-a-pool", 38},
        {16, "\0\0\0\0\0\0\0\0", 8}, /* system identifier */
        {24, "\0\0\0\7", 4},         /* segment bytes */
    };

    (void)state;
    samples(f);
    for (size_t i = 0; i < sizeof hello_bad / sizeof *hello_bad; i++) {
        buf_clear(&out);
        frame_put(&out, &f[0]);
        expect_refused(hello_bad[i].offset, hello_bad[i].bytes, hello_bad[i].n);
    }
    h.timeline = 0;
    f[0].hello = h;
    buf_clear(&out);
    frame_put(&out, &f[0]);
    assert_int_equal(frame_next(&out, &got), ERR_PEER);
    buf_clear(&out);
    frame_put(&out, &f[2]);
    expect_refused(5, "\x09", 1); /* kind of refusal */
    buf_clear(&out);
    frame_put(&out, &f[6]);
    expect_refused(29, "\x09", 1); /* state of PostgreSQL */
    buf_clear(&out);
    frame_put(&out, &f[5]);
    expect_refused(4, "\x0e", 1); /* type */
    buf_clear(&out);
    frame_put(&out, &f[5]);
    expect_refused(0, "\xff\xff\xff\xff", 4); /* length */
    buf_clear(&out);
    frame_put(&out, &f[5]);
    expect_refused(0, "\0\0\0\0", 4);
}

static void
test_frame_times_are_bounded(void **state)
{
    static const struct {
        size_t frame, offset;
    } time[] = {
        {3, 66 + 8},  {3, 66 + 16}, {3, 66 + 32}, {3, 66 + 64}, /* of ACK's beacons */
        {4, 5 + 8},   {4, 5 + 16},                              /* BEACON */
        {5, 5},                                                 /* PING */
        {6, 5},       {6, 5 + 8},   {6, 5 + 16},                /* PONG */
        {15, 5 + 12},                                           /* FILE */
    };
    struct frame f[20];
    size_t n = samples(f);

    (void)state;
    f[n] = (struct frame){.type = FRAME_FILE,
                          .file = {.path = "/etc/file.c", .bytes = (const uint8_t *)""}};
    assert_int_equal(n, 15);
    for (size_t i = 0; i < sizeof time / sizeof *time; i++) {
        buf_clear(&out);
        assert_int_equal(frame_put(&out, &f[time[i].frame]), 0);
        expect_refused(time[i].offset, "\x7f\xff\xff\xff\xff\xff\xff\xff", 8);
        buf_clear(&out);
        frame_put(&out, &f[time[i].frame]);
        expect_refused(time[i].offset, "\x80\0\0\0\0\0\0\0", 8);
    }
}

static void
fill(uint8_t *bytes, size_t n, bool random_bytes)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = random_bytes ? (uint8_t)random() : (uint8_t)(i / 64);
}

static void
test_frame_wal_there_and_back(void **state)
{
    static uint8_t bytes[FRAME_WAL_MAX], decoded[FRAME_WAL_MAX];
    static const size_t sizes[] = {1, 2, 56, 104, 8192, FRAME_WAL_MAX - 1, FRAME_WAL_MAX};

    (void)state;
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i / 2];
        struct frame got;

        fill(bytes, n, i % 2 == 1);
        buf_clear(&out);
        assert_int_equal(frame_put_wal(&out, &codec, 7, 0x1000028, bytes, n), 0);
        assert_int_equal(frame_next(&out, &got), 1);
        assert_int_equal(got.type, FRAME_WAL);
        assert_int_equal(got.wal.timeline, 7);
        assert_int_equal(got.wal.lsn, 0x1000028);
        assert_int_equal(got.wal.decoded_bytes, n);
        if (got.wal.codec == 0)
            memcpy(decoded, got.wal.bytes, n);
        else
            assert_int_equal(codec_decompress(&codec, decoded, n, got.wal.bytes, got.wal.length),
                             0);
        assert_memory_equal(decoded, bytes, n);
        assert_true(i % 2 == 1 || n < 64 || got.wal.codec == 1);
    }
}

static void
test_frame_wal_full_queue_takes_nothing(void **state)
{
    static uint8_t bytes[FRAME_WAL_MAX];
    struct buf small;

    (void)state;
    assert_int_equal(buf_init(&small, FRAME_WAL_MAX), 0);
    assert_int_equal(frame_put_wal(&small, &codec, 1, 0, bytes, sizeof bytes), ERR_AGAIN);
    assert_int_equal(buf_used(&small), 0);
    buf_release(&small);
}

static void
test_codec_never_decodes_more_than_announced(void **state)
{
    static uint8_t bytes[FRAME_WAL_MAX], packed[FRAME_WAL_MAX], decoded[FRAME_WAL_MAX];
    size_t size;

    (void)state;
    assert_int_equal(codec_compress(&codec, packed, sizeof packed, bytes, sizeof bytes, &size), 0);
    assert_in_range(size, 1, 1000);
    decoded[100] = 77;
    assert_int_equal(codec_decompress(&codec, decoded, 100, packed, size), ERR_PEER);
    assert_int_equal(decoded[100], 77);
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(codec_decompress(&codec, decoded, sizeof bytes, packed, cut), ERR_PEER);
    assert_int_equal(codec_decompress(&codec, decoded, sizeof bytes, bytes, 100), ERR_PEER);
}

static void
test_frame_wal_bad_fields(void **state)
{
    static uint8_t bytes[100];
    static const struct {
        size_t offset;
        const char *bytes;
        size_t n;
    } bad[] = {
        {13, "\0\0\0\0", 4},                         /* timeline */
        {17, "\xff\xff\xff\xff\xff\xff\xff\xff", 8}, /* LSN that would wrap */
        {25, "\2", 1},                               /* codec */
        {26, "\0\0\0\0", 4},                         /* decoded length */
        {26, "\0\2\0\1", 4},                         /* one more than allowed */
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        buf_clear(&out);
        frame_put_wal(&out, &codec, 1, 0x1000000, bytes, sizeof bytes);
        expect_refused(bad[i].offset, bad[i].bytes, bad[i].n);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame_every_type_there_and_back),
        cmocka_unit_test(test_frame_every_truncation_waits_for_more),
        cmocka_unit_test(test_frame_every_short_body_is_refused),
        cmocka_unit_test(test_frame_bad_values_are_refused),
        cmocka_unit_test(test_frame_times_are_bounded),
        cmocka_unit_test(test_frame_wal_there_and_back),
        cmocka_unit_test(test_frame_wal_full_queue_takes_nothing),
        cmocka_unit_test(test_codec_never_decodes_more_than_announced),
        cmocka_unit_test(test_frame_wal_bad_fields),
    };

    return cmocka_run_group_tests_name("frame", tests, setup, teardown);
}

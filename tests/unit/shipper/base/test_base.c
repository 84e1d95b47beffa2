/* SPDX-License-Identifier: PostgreSQL */
/* base: names and numbers of WAL, bounded bytes, text that is safe to show. */
#include "unit/unit.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/lsn.h"
#include "base/text.h"
#include "base/worker.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define MB (1u << 20)

static void
test_log_news_is_what_was_not_said_within_a_minute(void **state)
{
    struct log_memory m = {0};

    (void)state;
    assert_true(log_news(&m, "forked", SECOND_US));
    assert_false(log_news(&m, "forked", 60 * SECOND_US));
    assert_true(log_news(&m, "full", 60 * SECOND_US));
    assert_false(log_news(&m, "forked", 61 * SECOND_US)); /* in turns with another one, too */
    assert_false(log_news(&m, "full", 119 * SECOND_US));
    assert_true(log_news(&m, "forked", 120 * SECOND_US));
    assert_false(log_news(&m, "full", 121 * SECOND_US));
}

static void
test_lsn_parses_postgres_text(void **state)
{
    static const char *const bad[] = {"",     "1",     "/",           "1/",          "/1",
                                      "1/2 ", "1/2/3", "123456789/0", "1/123456789", "g/0"};
    lsn_t lsn = 7;

    (void)state;
    assert_true(lsn_parse("16/B374D848", &lsn));
    assert_int_equal(lsn, 0x16B374D848);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(lsn_parse(bad[i], &lsn));
    assert_int_equal(lsn, 0x16B374D848);
}

static void
test_lsn_segment_names_round_trip_at_every_size(void **state)
{
    (void)state;
    for (uint32_t bytes = SEGMENT_BYTES_MIN; bytes != 0 && bytes <= SEGMENT_BYTES_MAX; bytes *= 2) {
        static const lsn_t at[] = {0,           0x1000000,    0xFFFFFFFF,
                                   0x100000000, 0x123456789A, UINT64_C(0xFFFFFFFFFFFF)};

        for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
            char name[SEGMENT_NAME_SIZE];
            timeline_t timeline;
            lsn_t start;

            segment_name(name, 3, at[i], bytes);
            assert_true(segment_parse(name, bytes, &timeline, &start));
            assert_int_equal(timeline, 3);
            assert_int_equal(start, segment_start(at[i], bytes));
        }
    }
}

static void
test_lsn_segment_name_is_postgres_own(void **state)
{
    char name[SEGMENT_NAME_SIZE];
    timeline_t timeline;
    lsn_t start;

    (void)state;
    segment_name(name, 1, 0x16B374D848, 16 * MB);
    assert_string_equal(name, "0000000100000016000000B3");
    segment_name(name, 2, 0x16B374D848, 64 * MB);
    assert_string_equal(name, "00000002000000160000002C");
    assert_false(segment_parse("000000010000001600000100", 16 * MB, &timeline, &start));
    assert_false(segment_parse("0000000100000016000000b3", 16 * MB, &timeline, &start));
    assert_false(segment_parse("000000000000001600000001", 16 * MB, &timeline, &start));
    assert_false(segment_parse("0000000100000016000000B3.partial", 16 * MB, &timeline, &start));
    assert_false(segment_bytes_valid(3 * MB));
    assert_false(segment_bytes_valid(MB / 2));
    assert_true(segment_bytes_valid(SEGMENT_BYTES_MAX));
}

static void
test_lsn_history_gives_switch_points(void **state)
{
    static const char text[] =
        "# a comment\n1\t0/50000A0\tno recovery target specified\n\n3\t0/7000000\tbefore 2026\n";
    lsn_t end;

    (void)state;
    assert_true(history_switch_point(text, strlen(text), 1, &end));
    assert_int_equal(end, 0x50000A0);
    assert_true(history_switch_point(text, strlen(text), 3, &end));
    assert_int_equal(end, 0x7000000);
    assert_false(history_switch_point(text, strlen(text), 2, &end));
    assert_int_equal(history_next(text, strlen(text), 1, 5), 3);
    assert_int_equal(history_next(text, strlen(text), 3, 5), 5);
    assert_true(history_valid(text, strlen(text), 5));
    assert_false(history_valid(text, strlen(text), 3));
    assert_false(history_valid("2\t0/2\tx\n1\t0/3\tx\n", 16, 5));
    assert_false(history_valid("1\t0/3\tx\n2\t0/2\tx\n", 16, 5));
    assert_false(history_valid("one\t0/3\n", 8, 5));
    assert_true(history_valid("", 0, 2));
}

static void
test_lsn_behind_a_page_header_is_the_page(void **state)
{
    (void)state;
    assert_int_equal(lsn_before_page_header(0x2000028, 16 * MB), 0x2000000);
    assert_int_equal(lsn_before_page_header(0x2002018, 16 * MB), 0x2002000);
    assert_int_equal(lsn_before_page_header(0x2002028, 16 * MB), 0x2002028);
    assert_int_equal(lsn_before_page_header(0x2000018, 16 * MB), 0x2000018);
}

static void
test_buf_is_bounded_and_keeps_order(void **state)
{
    struct buf b;

    (void)state;
    assert_int_equal(buf_init(&b, 8), 0);
    buf_put_u32(&b, 0x01020304);
    buf_put_u16(&b, 0x0506);
    assert_null(buf_reserve(&b, 3));
    buf_consume(&b, 3);
    assert_non_null(buf_reserve(&b, 5));
    buf_put_bytes(&b, "abcde", 5);
    assert_int_equal(buf_used(&b), 8);
    assert_memory_equal(buf_data(&b),
                        "\x04\x05\x06"
                        "abcde",
                        8);
    assert_int_equal(buf_room(&b), 0);
    buf_release(&b);
}

static void
test_buf_reader_fails_for_good(void **state)
{
    struct reader r;
    char out[4];

    (void)state;
    reader_init(&r, "\0\1\2ab\0", 6);
    assert_int_equal(reader_u16(&r), 1);
    assert_int_equal(reader_u8(&r), 2);
    reader_copy_string(&r, out, sizeof out);
    assert_string_equal(out, "ab");
    assert_true(reader_done(&r));
    assert_int_equal(reader_u64(&r), 0);
    assert_false(reader_done(&r));
    reader_init(&r, "abcd", 5);
    reader_copy_string(&r, out, sizeof out);
    assert_true(r.failed);
    reader_init(&r, "abcd", 4);
    assert_null(reader_string(&r));
    assert_true(r.failed);
}

static void
test_text_escapes_what_could_forge(void **state)
{
    char out[32];

    (void)state;
    assert_string_equal(text_escape(out, sizeof out, "a\nb\\\x1b[", 6), "a\\x0ab\\x5c\\x1b[");
    assert_string_equal(text_escape(out, 8, "abcdefghijk", 11), "abcd...");
    assert_string_equal(text_escape(out, 8, "abcdefg", 7), "abcdefg");
    assert_string_equal(text_bytes(out, sizeof out, 1536), "1.5 kB");
    assert_string_equal(text_duration(out, sizeof out, 200 * MILLISECOND_US), "0.2 s");
    assert_string_equal(text_duration(out, sizeof out, 7500 * SECOND_US), "2 h 5 min");
}

static void
test_text_made_safe_moves_no_terminal(void **state)
{
    static const struct {
        const char *text, *safe;
    } sample[] = {
        {"plain \\ text\n\t", "plain \\ text\n\t"},
        {"a\033[2J\177\rb", "a?[2J??b"},
        {"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xc2\x9b \xc2\xa0", "?? \xc2\xa0"},                 /* CSI of C1 */
        {"\x9b \xff \xc3", "? ? ?"},                          /* no UTF-8 */
        {"\xe2\x82 \xc0\xaf \xf5\x80\x80\x80", "?? ?? ????"}, /* cut, overlong, too large */
    };

    (void)state;
    for (size_t i = 0; i < sizeof sample / sizeof *sample; i++) {
        char text[40];

        snprintf(text, sizeof text, "%s", sample[i].text);
        assert_string_equal(text_make_safe(text, strlen(text)), sample[i].safe);
    }
}

static void
test_text_takes_durations(void **state)
{
    static const char *const bad[] = {"",   "s",    "5",           "5 s",  "-5s",
                                      "5m", "1.5s", "9999999999s", "61min"};
    int64_t us = -1;

    (void)state;
    assert_int_equal(text_take_duration("250ms", SECOND_US, &us), 0);
    assert_int_equal(us, 250 * MILLISECOND_US);
    assert_int_equal(text_take_duration("60min", 3600 * SECOND_US, &us), 0);
    assert_int_equal(us, 3600 * SECOND_US);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(text_take_duration(bad[i], 3600 * SECOND_US, &us), ERR_USAGE);
    assert_int_equal(us, 3600 * SECOND_US);
}

static void
test_fail_keeps_code_and_message(void **state)
{
    (void)state;
    assert_int_equal(fail(ERR_PEER, "first"), ERR_PEER);
    assert_int_equal(fail_in(ERR_LOCAL, "link to %s", "b"), ERR_LOCAL);
    assert_string_equal(fail_message(), "link to b: first");
    errno = ENOSPC;
    fail_sys(ERR_LOCAL, "cannot write");
    assert_string_equal(fail_message(), "cannot write: No space left on device");
    fail(ERR_PEER, "again: %s", fail_message());
    assert_string_equal(fail_message(), "again: cannot write: No space left on device");
}

static void
add_one(void *job)
{
    ++*(int *)job;
}

static void
test_worker_does_one_job_at_a_time(void **state)
{
    struct worker w;
    int count = 0;

    (void)state;
    assert_int_equal(worker_init(&w), 0);
    for (int i = 1; i <= 100; i++) {
        struct pollfd p = {.fd = worker_fd(&w), .events = POLLIN};

        assert_false(worker_busy(&w));
        worker_submit(&w, add_one, &count);
        assert_int_equal(poll(&p, 1, 10000), 1);
        assert_true(worker_done(&w));
        assert_false(worker_done(&w));
        assert_int_equal(count, i);
    }
    worker_release(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_news_is_what_was_not_said_within_a_minute),
        cmocka_unit_test(test_lsn_parses_postgres_text),
        cmocka_unit_test(test_lsn_segment_names_round_trip_at_every_size),
        cmocka_unit_test(test_lsn_segment_name_is_postgres_own),
        cmocka_unit_test(test_lsn_history_gives_switch_points),
        cmocka_unit_test(test_lsn_behind_a_page_header_is_the_page),
        cmocka_unit_test(test_buf_is_bounded_and_keeps_order),
        cmocka_unit_test(test_buf_reader_fails_for_good),
        cmocka_unit_test(test_text_escapes_what_could_forge),
        cmocka_unit_test(test_text_made_safe_moves_no_terminal),
        cmocka_unit_test(test_text_takes_durations),
        cmocka_unit_test(test_fail_keeps_code_and_message),
        cmocka_unit_test(test_worker_does_one_job_at_a_time),
    };

    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}

/* SPDX-License-Identifier: PostgreSQL */
/* rate: a limit that is kept, and hours of the day. */
#include "unit/unit.h"

#include "base/clock.h"
#include "base/fail.h"
#include "shipper/sender/rate.h"

#include <stdlib.h>
#include <time.h>

static void
test_rate_reads_and_shows_plans(void **state)
{
    static const char *const good[][2] = {
        {"none", "none"},
        {"20MB", "20MB"},
        {"1.5MB", "1500kB"},
        {"300000", "300kB"},
        {"20MB,2MB 08:00-18:00", "20MB, 2MB 08:00-18:00"},
        {"2MB 22:00-06:30, 500kB 06:30-24:00", "2MB 22:00-06:30, 500kB 06:30-24:00"}};
    static const char *const bad[] = {
        "",
        "fast",
        "20",
        "20MiB",
        "-5MB",
        "20MB 8-18",
        "20MB,",
        "1MB 25:00-26:00",
        "1MB 08:00-18:00x",
        "1MB 01:00-02:00,1MB 02:00-03:00,1MB 03:00-04:00,1MB 04:00-05:00,1MB 05:00-06:00"};
    struct rate_plan plan;
    char text[RATE_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(rate_parse(&plan, good[i][0]), 0);
        assert_string_equal(rate_text(&plan, text, sizeof text), good[i][1]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(rate_parse(&plan, bad[i]), ERR_USAGE);
}

static void
test_rate_keeps_its_limit(void **state)
{
    struct rate r = {0};
    int64_t now_us = SECOND_US;
    double used = 0;

    (void)state;
    assert_int_equal(rate_allowance(&r, now_us, 0), INT64_MAX);
    assert_int_equal(rate_parse(&r.plan, "2MB"), 0);
    r.planned_us = 0;
    while (now_us < 11 * SECOND_US) {
        int64_t allowed = rate_allowance(&r, now_us, 0);

        if (allowed > 0) { /* a frame is given whole: debt */
            rate_used(&r, 130000);
            used += 130000;
            assert_true(rate_due_us(&r) > now_us);
        }
        now_us += 3 * MILLISECOND_US;
    }
    assert_int_in_range((int)used, 19400000, 20600000);
}

static void
test_rate_follows_the_hours(void **state)
{
    struct rate r = {0};

    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    assert_int_equal(rate_parse(&r.plan, "20MB, 2MB 08:00-18:00, 3MB 23:00-01:00"), 0);
    rate_allowance(&r, SECOND_US, 12 * 3600 * SECOND_US);
    assert_int_equal(r.now, 2000000);
    rate_allowance(&r, 3 * SECOND_US, 18 * 3600 * SECOND_US);
    assert_int_equal(r.now, 20000000);
    rate_allowance(&r, 5 * SECOND_US, 1800 * SECOND_US);
    assert_int_equal(r.now, 3000000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate_reads_and_shows_plans),
        cmocka_unit_test(test_rate_keeps_its_limit),
        cmocka_unit_test(test_rate_follows_the_hours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

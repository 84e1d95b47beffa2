/* rate and adapt: a limit that is kept, hours of the day, and levels that follow the bottleneck. */
#include "unit.h"

#include "base/clock.h"
#include "base/fail.h"
#include "shipper/adapt.h"
#include "shipper/rate.h"

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
    assert_in_range((int)used, 19400000, 20600000);
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

/* A line of `line` bytes per microsecond and a processor: what gets through on each rung. */
static double
through(const struct adapt *a, double line, const double *speed, const double *ratio,
        bool *ret_full)
{
    double cpu = speed[a->rung], wire = line * ratio[a->rung];

    *ret_full = wire < cpu;
    return wire < cpu ? wire : cpu;
}

static void
test_adapt_finds_the_best_level(void **state)
{
    static const double speed[ADAPT_RUNGS] = {1000, 600, 246, 181}; /* uuid/md5 WAL */
    static const double ratio[ADAPT_RUNGS] = {1.92, 2.33, 2.83, 2.90};

    (void)state;
    for (double line = 1; line < 2000; line *= 1.3) {
        struct adapt a;
        double best = 0, got = 0, wire = 0;
        int64_t now_us = SECOND_US;
        bool full;

        adapt_init(&a);
        for (unsigned i = 0; i < ADAPT_RUNGS; i++) {
            struct adapt fixed = {.rung = i};
            double rate = through(&fixed, line, speed, ratio, &full);

            best = rate > best ? rate : best;
        }
        for (; now_us < 31 * SECOND_US; now_us += MILLISECOND_US) {
            double rate = through(&a, line, speed, ratio, &full);

            got += rate * MILLISECOND_US;
            wire += rate * MILLISECOND_US / ratio[a.rung];
            adapt_look(&a, full, (uint64_t)got, (uint64_t)wire, now_us);
        }
        if (got < 0.95 * best * 30 * SECOND_US) {
            print_error("a line of %.0f MB/s: %.0f MB/s got through, %.0f would\n", line,
                        got / (30 * SECOND_US), best);
            assert_true(false);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate_reads_and_shows_plans),
        cmocka_unit_test(test_rate_keeps_its_limit),
        cmocka_unit_test(test_rate_follows_the_hours),
        cmocka_unit_test(test_adapt_finds_the_best_level),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

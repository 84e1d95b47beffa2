/* SPDX-License-Identifier: PostgreSQL */
/* trend: rates, and seconds to full. */
#include "unit/unit.h"

#include "base/trend.h"

#include "base/clock.h"

#define MB UINT64_C(1048576)

static void
fill(struct trend *t, int64_t from_s, int64_t to_s, uint64_t value, int64_t step)
{
    trend_clear(t);
    for (int64_t s = from_s; s <= to_s; s++) {
        trend_add(t, s * SECOND_US, value);
        value = (uint64_t)((int64_t)value + step);
    }
}

static void
test_trend_rate_is_that_of_the_window(void **state)
{
    struct trend t;
    double rate;

    (void)state;
    fill(&t, 0, 200, 0, 1000); /* more than it keeps */
    assert_true(trend_rate(&t, 10 * SECOND_US, 200 * SECOND_US, &rate));
    assert_true(rate > 999.9 && rate < 1000.1);
    for (int64_t s = 201; s <= 205; s++)
        trend_add(&t, s * SECOND_US, 200000);
    assert_true(trend_rate(&t, 10 * SECOND_US, 205 * SECOND_US, &rate));
    assert_true(rate > 450 && rate < 550);
}

static void
test_trend_rate_is_unknown_when_old_or_short(void **state)
{
    struct trend t;
    double rate;

    (void)state;
    trend_clear(&t);
    assert_false(trend_rate(&t, 10 * SECOND_US, 0, &rate));
    fill(&t, 0, 2, 0, 1000);
    assert_false(trend_rate(&t, 10 * SECOND_US, 2 * SECOND_US, &rate));
    fill(&t, 0, 20, 0, 1000);
    assert_true(trend_rate(&t, 10 * SECOND_US, 22 * SECOND_US, &rate));
    assert_false(trend_rate(&t, 10 * SECOND_US, 24 * SECOND_US, &rate));
}

static void
test_trend_full_counts_down_and_knows_a_disk_that_does_not_fill(void **state)
{
    struct trend t;
    int64_t full_us;

    (void)state;
    fill(&t, 0, 60, 160 * MB, -(int64_t)MB);
    assert_true(trend_full_us(&t, 16 * MB, 60 * SECOND_US, &full_us));
    assert_true(full_us > 99 * SECOND_US && full_us < 101 * SECOND_US);
    fill(&t, 0, 60, 160 * MB, 0);
    assert_false(trend_full_us(&t, 16 * MB, 60 * SECOND_US, &full_us));
    fill(&t, 0, 60, 160 * MB, (int64_t)MB);
    assert_false(trend_full_us(&t, 16 * MB, 60 * SECOND_US, &full_us));
}

static void
test_trend_outruns_also_over_a_pause(void **state)
{
    struct trend link, wal;

    (void)state;
    fill(&wal, 0, 60, 1000 * MB, (int64_t)MB);
    fill(&link, 0, 60, 500 * MB, 2 * (int64_t)MB);
    assert_true(trend_outruns(&link, &wal, 60 * SECOND_US));
    for (int64_t s = 61; s <= 75; s++) {
        trend_add(&wal, s * SECOND_US, 1060 * MB + (uint64_t)(s - 60) * MB);
        trend_add(&link, s * SECOND_US, 620 * MB);
    }
    assert_true(trend_outruns(&link, &wal, 75 * SECOND_US)); /* 45 s of gain, 15 of none */
    fill(&link, 0, 60, 500 * MB, (int64_t)MB / 2);
    fill(&wal, 0, 60, 1000 * MB, (int64_t)MB);
    assert_false(trend_outruns(&link, &wal, 60 * SECOND_US));
    fill(&link, 0, 2, 500 * MB, 9 * (int64_t)MB); /* too new to tell */
    assert_false(trend_outruns(&link, &wal, 2 * SECOND_US));
}

/* 50 GB left; a minute of nothing but one burst of 2 GB, of 15 s, that ends `ago` seconds ago. */
static void
fill_burst(struct trend *t, int64_t ago)
{
    uint64_t left = 50000 * MB;

    trend_clear(t);
    for (int64_t s = 0; s <= 60; s++) {
        if (s > 60 - ago - 15 && s <= 60 - ago)
            left -= 140 * MB;
        trend_add(t, s * SECOND_US, left);
    }
}

static void
test_trend_full_is_not_guessed_from_one_burst(void **state)
{
    struct trend t;
    int64_t full_us;

    (void)state;
    for (int64_t ago = 0; ago < 60; ago++) {
        fill_burst(&t, ago);
        assert_false(trend_full_us(&t, 16 * MB, 60 * SECOND_US, &full_us));
    }
    fill(&t, 40, 60, 160 * MB, -(int64_t)MB); /* nor from 20 s */
    assert_false(trend_full_us(&t, 16 * MB, 60 * SECOND_US, &full_us));
    fill(&t, 0, 60, 1000 * MB, -(int64_t)MB); /* goes on, faster for a while: the slower rate */
    for (int64_t s = 61; s <= 70; s++)
        trend_add(&t, s * SECOND_US, 940 * MB - (uint64_t)(s - 60) * 10 * MB);
    assert_true(trend_full_us(&t, 16 * MB, 70 * SECOND_US, &full_us));
    assert_true(full_us > 800 * SECOND_US && full_us < 880 * SECOND_US);
}

/* Half a megabyte a second, as pg_wal takes it. */
static void
test_trend_full_knows_a_disk_that_fills_segment_by_segment(void **state)
{
    struct trend t;
    int64_t full_us;

    (void)state;
    for (int64_t phase = 0; phase < 32; phase++) {
        trend_clear(&t);
        for (int64_t s = 0; s <= 60; s++)
            trend_add(&t, s * SECOND_US, 300 * MB - 16 * MB * (uint64_t)((s + phase) / 32));
        assert_true(trend_full_us(&t, 16 * MB, 60 * SECOND_US, &full_us));
        assert_true(full_us > 400 * SECOND_US && full_us < 1200 * SECOND_US);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trend_rate_is_that_of_the_window),
        cmocka_unit_test(test_trend_rate_is_unknown_when_old_or_short),
        cmocka_unit_test(test_trend_full_counts_down_and_knows_a_disk_that_does_not_fill),
        cmocka_unit_test(test_trend_outruns_also_over_a_pause),
        cmocka_unit_test(test_trend_full_is_not_guessed_from_one_burst),
        cmocka_unit_test(test_trend_full_knows_a_disk_that_fills_segment_by_segment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

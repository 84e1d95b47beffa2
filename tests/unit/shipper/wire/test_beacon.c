/* SPDX-License-Identifier: PostgreSQL */
/* beacon: the arithmetic of lag. Times are seconds of an invented monotonic clock. */
#include "unit/unit.h"

#include "base/clock.h"
#include "shipper/wire/beacon.h"

#include <string.h>

#define S SECOND_US

static struct lag lag;

static int
setup(void **state)
{
    (void)state;
    memset(&lag, 0, sizeof lag);
    return 0;
}

static void
beacon(lsn_t lsn, int64_t at_us)
{
    struct beacon b = {.lsn = lsn, .wall_us = at_us + 1000 * S, .mono_us = at_us};

    lag_beacon(&lag, &b);
}

static int64_t
age(int64_t now_us)
{
    int64_t age_us;

    assert_true(lag_age(&lag, now_us, &age_us));
    return age_us;
}

static void
test_beacon_unknown_before_the_first_is_covered(void **state)
{
    int64_t age_us;

    (void)state;
    assert_false(lag_age(&lag, 5 * S, &age_us));
    beacon(100, S);
    assert_false(lag_age(&lag, 5 * S, &age_us));
    lag_reach(&lag, 99);
    assert_false(lag_age(&lag, 5 * S, &age_us));
    lag_reach(&lag, 100);
    assert_int_equal(age(5 * S), 4 * S);
}

static void
test_beacon_idle_primary_keeps_lag_near_zero(void **state)
{
    (void)state;
    lag_reach(&lag, 100);
    for (int i = 1; i <= 50; i++)
        beacon(100, i * S / 5);
    assert_int_equal(age(10 * S), 0);
    assert_int_equal(lag.count, 0);
}

static void
test_beacon_lag_grows_from_the_cut_idle_or_busy(void **state)
{
    (void)state;
    lag_reach(&lag, 100);
    beacon(100, 10 * S);
    for (int i = 11; i <= 100; i++)
        beacon(100 + (lsn_t)i, i * S); /* busy, nothing gets through */
    assert_int_equal(age(100 * S), 90 * S);
    lag_reach(&lag, 150);
    assert_int_equal(age(100 * S), 50 * S);
}

/* A server that crashed applies anew, and the primary may write nothing meanwhile. */
static void
test_beacon_a_position_that_goes_back_covers_nothing_until_it_is_there_again(void **state)
{
    int64_t age_us;

    (void)state;
    lag_reach(&lag, 200);
    beacon(200, 10 * S);
    lag_reach(&lag, LSN_UNKNOWN);
    assert_false(lag_age(&lag, 11 * S, &age_us));
    assert_true(lag_least(&lag, 11 * S, &age_us));
    assert_int_equal(age_us, 1 * S);
    lag_reach(&lag, 200); /* it was only not known */
    assert_int_equal(age(11 * S), 1 * S);
    lag_reach(&lag, 150);
    assert_false(lag_age(&lag, 12 * S, &age_us));
    beacon(200, 13 * S);
    beacon(200, 14 * S);
    assert_false(lag_age(&lag, 15 * S, &age_us));
    lag_reach(&lag, 199);
    assert_false(lag_age(&lag, 15 * S, &age_us));
    lag_reach(&lag, 200);
    assert_int_equal(age(15 * S), 1 * S);
}

static void
test_beacon_is_not_covered_while_the_position_may_be_of_other_wal(void **state)
{
    int64_t age_us;

    (void)state;
    lag_reach(&lag, 200);
    beacon(200, 10 * S);
    lag_hold(&lag, 200);
    beacon(150, 20 * S); /* a server that was put back: its 150 is not ours */
    beacon(160, 21 * S);
    assert_int_equal(age(30 * S), 20 * S);
    lag_hold(&lag, 199); /* and what it covered before counts while it is there */
    assert_false(lag_age(&lag, 30 * S, &age_us));
    lag_reach(&lag, 200);
    assert_int_equal(age(30 * S), 9 * S);
}

static void
test_beacon_knows_a_server_that_was_put_back(void **state)
{
    struct beacon b = {.lsn = 199, .mono_us = 11 * S};

    (void)state;
    assert_false(lag_is_older(&lag, &b));
    lag_reach(&lag, 200);
    beacon(200, 10 * S);
    assert_true(lag_is_older(&lag, &b));
    b.mono_us = 9 * S; /* told again */
    assert_false(lag_is_older(&lag, &b));
    b = (struct beacon){.lsn = 200, .mono_us = 11 * S};
    assert_false(lag_is_older(&lag, &b));
}

static void
test_beacon_same_lsn_takes_the_newer_time(void **state)
{
    (void)state;
    beacon(200, 1 * S);
    beacon(200, 2 * S);
    beacon(200, 3 * S);
    assert_int_equal(lag.count, 1);
    lag_reach(&lag, 200);
    assert_int_equal(age(3 * S), 0);
}

static void
test_beacon_thinned_list_errs_only_towards_older(void **state)
{
    (void)state;
    for (int i = 1; i <= 20 * BEACONS_MAX; i++)
        beacon((lsn_t)i, i * S);
    assert_true(lag.count <= BEACONS_MAX);
    for (int i = 1; i <= 20 * BEACONS_MAX; i++) {
        int64_t age_us;

        lag_reach(&lag, (lsn_t)i);
        if (lag_age(&lag, i * S, &age_us))
            assert_true(age_us >= 0); /* covered by position i: nothing newer than i */
        assert_true(lag.covered.lsn <= (lsn_t)i);
    }
    assert_int_equal(age(20 * BEACONS_MAX * S), 0); /* the newest one is always kept */
}

static void
test_beacon_a_crash_takes_back_what_was_not_flushed(void **state)
{
    (void)state;
    beacon(100, 1 * S);
    lag_reach(&lag, 100);
    beacon(150, 2 * S);
    beacon(900, 3 * S); /* inserted, never flushed */
    beacon(200, 5 * S); /* the server is back */
    lag_reach(&lag, 150);
    assert_int_equal(age(6 * S), 4 * S);
    lag_reach(&lag, 200);
    assert_int_equal(age(6 * S), 1 * S);
    beacon(200, 6 * S);
    assert_int_equal(age(6 * S), 0);
    beacon(150, 2 * S); /* told again */
    assert_int_equal(age(6 * S), 0);
}

static void
test_beacon_offset_keeps_the_best_sample_on_a_full_line(void **state)
{
    struct clock_offset o = {0};

    (void)state;
    assert_false(offset_sample(&o, 1000, 501050, 0, 1400, 0));
    assert_false(offset_sample(&o, 2000, 502050, 0, 2100, 0));
    assert_int_equal(o.offset_us, 500000);
    for (int i = 1; i <= 60; i++) { /* there at once, 4 s back */
        assert_false(offset_sample(&o, i * S, i * S + 500050, 0, (i + 4) * S, 0));
        assert_int_equal(o.round_trip_us, 4 * S);
        assert_int_equal(o.offset_us, 500000);
    }
    offset_restart(&o);
    assert_int_equal(o.count, 0);
    assert_false(offset_sample(&o, 600 * S, 600 * S + 500090, 0, 600 * S + 180,
                               0)); /* fresh, and as good as drift allows */
    assert_int_equal(o.offset_us, 500000);
    assert_int_equal(o.error_us, 90);
    assert_false(offset_sample(&o, 800 * S, 1, 0, 700 * S, 0)); /* from the future: ignored */
    assert_int_equal(o.count, 1);
}

static void
test_beacon_another_boot_is_dated_by_the_wall_clock(void **state)
{
    struct clock_offset o = {0};

    (void)state;
    beacon(100, 90000 * S); /* wall 91000 */
    lag_reach(&lag, 100);
    beacon(200, 90001 * S);
    assert_false(offset_sample(&o, 10 * S, 90001 * S, 91001 * S, 10 * S, 91001 * S));
    /* 60 s later the primary is back, up for 20 s; its clock of before would call everything new */
    assert_true(offset_sample(&o, 70 * S, 20 * S, 91061 * S, 70 * S, 91061 * S));
    lag_rebase(&lag, 20 * S, 91061 * S);
    assert_int_equal(o.offset_us, -50 * S);
    assert_int_equal(age(20 * S), 61 * S);
    lag_reach(&lag, 200);
    assert_int_equal(age(20 * S), 60 * S);
    beacon(200, 20 * S);
    assert_int_equal(age(20 * S), 0);
}

static void
test_beacon_record_goes_on_after_a_restart(void **state)
{
    struct lag_record record = {.primary = "dc1-a",
                                .flushed = {.lsn = 7, .wall_us = 50 * S, .mono_us = 500 * S},
                                .applied = {.lsn = 6, .wall_us = 49 * S, .mono_us = 499 * S},
                                .offset_us = 400 * S};
    struct lag_record got;
    char text[LAG_RECORD_MAX];
    size_t length;

    (void)state;
    length = lag_record_save(&record, "boot-1", text);
    assert_int_equal(length, strlen(text));
    assert_true(lag_record_load(&got, text, "boot-1", 110 * S, 60 * S));
    assert_string_equal(got.primary, "dc1-a");
    assert_int_equal(got.flushed.mono_us, 500 * S); /* 110 + 400 - 500: 10 s old */
    assert_int_equal(got.offset_us, 400 * S);
    /* another boot: the wall clock says the same 10 s */
    assert_true(lag_record_load(&got, text, "boot-2", 3 * S, 60 * S));
    assert_int_equal(3 * S + got.offset_us - got.flushed.mono_us, 10 * S);
    for (size_t cut = 0; cut + 2 < strlen(text); cut++) {
        char part[LAG_RECORD_MAX];

        memcpy(part, text, cut);
        part[cut] = '\0';
        if (lag_record_load(&got, part, "boot-1", 0, 0)) /* only the last number may be cut short */
            assert_true(cut > strlen(text) - 12);
    }
}

static void
test_beacon_record_tells_of_whom_it_is(void **state)
{
    struct lag_record record = {.primary = "dc1-a", .member = "dc2-b", .flushed = {.lsn = 7}};
    struct lag_record got;
    char text[2 * LAG_RECORD_MAX];
    size_t length;

    (void)state;
    length = lag_record_save(&record, "boot-1", text);
    assert_true(lag_record_load(&got, text, "boot-1", 0, 0));
    assert_string_equal(got.member, "dc2-b");
    assert_int_equal(got.flushed.lsn, 7);
    record.member[0] = '\0';
    length = lag_record_save(&record, "boot-1", text);
    lag_record_save(&record, "boot-1", text + length);
    assert_true(lag_record_load(&got, text, "boot-1", 0, 0));
    assert_string_equal(got.member, "");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_beacon_unknown_before_the_first_is_covered, setup),
        cmocka_unit_test_setup(test_beacon_idle_primary_keeps_lag_near_zero, setup),
        cmocka_unit_test_setup(test_beacon_lag_grows_from_the_cut_idle_or_busy, setup),
        cmocka_unit_test_setup(
            test_beacon_a_position_that_goes_back_covers_nothing_until_it_is_there_again, setup),
        cmocka_unit_test_setup(test_beacon_is_not_covered_while_the_position_may_be_of_other_wal,
                               setup),
        cmocka_unit_test_setup(test_beacon_knows_a_server_that_was_put_back, setup),
        cmocka_unit_test_setup(test_beacon_same_lsn_takes_the_newer_time, setup),
        cmocka_unit_test_setup(test_beacon_thinned_list_errs_only_towards_older, setup),
        cmocka_unit_test_setup(test_beacon_a_crash_takes_back_what_was_not_flushed, setup),
        cmocka_unit_test_setup(test_beacon_offset_keeps_the_best_sample_on_a_full_line, setup),
        cmocka_unit_test_setup(test_beacon_another_boot_is_dated_by_the_wall_clock, setup),
        cmocka_unit_test_setup(test_beacon_record_goes_on_after_a_restart, setup),
        cmocka_unit_test(test_beacon_record_tells_of_whom_it_is),
    };

    return cmocka_run_group_tests_name("beacon", tests, NULL, NULL);
}

/* The guard's step: what it asks for, in which order, and when it is over. */
#include "unit.h"

#include "guard.h"

#include "base/clock.h"

#define MB (UINT64_C(1) << 20)
#define GB (UINT64_C(1) << 30)

static const struct guard_limits limits = {.retain_max_bytes = 8 * GB, .reserve = {10, UINT64_MAX}};

static struct guard_facts
quiet(void)
{
    return (struct guard_facts){.segment_bytes = 16 * MB,
                                .disk_known = true,
                                .disk_bytes = 100 * GB,
                                .free_bytes = 90 * GB,
                                .outbox_possible = true};
}

/* After so many seconds of the same facts. */
static enum guard_step
after(struct guard *g, const struct guard_facts *f, const struct guard_limits *l, int64_t *now_us,
      int64_t seconds)
{
    for (int64_t end_us = *now_us + seconds * SECOND_US; *now_us < end_us; *now_us += SECOND_US / 5)
        guard_step(g, f, l, *now_us);
    return g->step;
}

static void
test_guard_outbox_behind_squeeze(void **state)
{
    struct guard g = {0};
    struct guard_facts f = quiet();
    int64_t now_us = SECOND_US;

    (void)state;
    assert_int_equal(after(&g, &f, &limits, &now_us, 2), GUARD_WATCH);
    f.retained = 5 * GB;
    assert_int_equal(after(&g, &f, &limits, &now_us, 2), GUARD_SQUEEZE);
    f.retained = 9 * GB;
    assert_true(guard_step(&g, &f, &limits, now_us));
    assert_int_equal(g.step, GUARD_OUTBOX);
    f.outbox_used = true;
    f.retained = 0;
    assert_int_equal(after(&g, &f, &limits, &now_us, 60), GUARD_OUTBOX); /* until it is shipped */
    f.outbox_used = false;
    assert_int_equal(after(&g, &f, &limits, &now_us, 5), GUARD_OUTBOX);
    assert_int_equal(after(&g, &f, &limits, &now_us, 6), GUARD_WATCH);
}

static void
test_guard_every_step_is_taken(void **state)
{
    struct guard g = {0};
    struct guard_facts f = quiet();
    int64_t now_us = SECOND_US;
    unsigned seen = 0;

    (void)state;
    f.retained = f.freed = 85 * GB;
    f.free_bytes = 4 * GB;
    for (int i = 0; i < 20; i++, now_us += SECOND_US / 5)
        if (guard_step(&g, &f, &limits, now_us))
            seen = seen * 10 + g.step;
    assert_int_equal(seen, 123);
}

static void
test_guard_no_outbox_to_try(void **state)
{
    struct guard g = {0};
    struct guard_facts f = quiet();
    int64_t now_us = SECOND_US;

    (void)state;
    f.outbox_possible = false; /* synchronous */
    f.retained = 20 * GB;
    assert_int_equal(after(&g, &f, &limits, &now_us, 5), GUARD_SQUEEZE);
    f.freed = 20 * GB;
    f.free_bytes = 9 * GB;
    assert_int_equal(after(&g, &f, &limits, &now_us, 1), GUARD_RELEASE);
}

static void
test_guard_outbox_that_takes_gets_time(void **state)
{
    struct guard g = {0};
    struct guard_facts f = quiet();
    int64_t now_us = SECOND_US;

    (void)state;
    f.retained = f.freed = 85 * GB;
    f.free_bytes = 6 * GB;
    f.outbox_takes = f.outbox_used = true;
    assert_int_equal(after(&g, &f, &limits, &now_us, 60), GUARD_OUTBOX);
    f.free_bytes = 4 * GB;
    assert_int_equal(after(&g, &f, &limits, &now_us, 1), GUARD_RELEASE);
    assert_true(guard_releases(&g));
    f.free_bytes = 50 * GB;
    guard_step(&g, &f, &limits, now_us);
    assert_int_equal(g.step, GUARD_RELEASE); /* for a while: but nothing is let go with room */
    assert_false(guard_releases(&g));
}

static void
test_guard_nothing_to_gain(void **state)
{
    struct guard g = {0};
    struct guard_facts f = quiet();
    int64_t now_us = SECOND_US;

    (void)state;
    f.free_bytes = 1; /* something else fills the disk: PostgreSQL itself needs that WAL */
    f.retained = 1 * GB;
    f.outbox_used = true;
    assert_int_equal(after(&g, &f, &limits, &now_us, 60), GUARD_OUTBOX);
}

static void
test_guard_hold(void **state)
{
    struct guard_limits hold = limits;
    struct guard g = {0};
    struct guard_facts f = quiet();
    int64_t now_us = SECOND_US;

    (void)state;
    hold.hold = true;
    f.retained = f.freed = 85 * GB;
    f.free_bytes = 1 * GB;
    assert_int_equal(after(&g, &f, &hold, &now_us, 60), GUARD_HOLD);
    f.free_bytes = 50 * GB;
    f.retained = f.freed = 0;
    assert_int_equal(after(&g, &f, &hold, &now_us, 11), GUARD_WATCH);
}

static void
test_guard_something_else_keeps_it_too(void **state)
{
    struct guard g = {0};
    struct guard_facts f = quiet();
    int64_t now_us = SECOND_US;

    (void)state;
    f.retained = f.freed = 85 * GB;
    f.free_bytes = 4 * GB;
    f.kept = true;
    assert_int_equal(after(&g, &f, &limits, &now_us, 60), GUARD_HOLD);
    assert_false(guard_releases(&g));
    f.kept = false;
    guard_step(&g, &f, &limits, now_us);
    assert_int_equal(g.step, GUARD_RELEASE);
    f.kept = true;
    assert_int_equal(after(&g, &f, &limits, &now_us, 1), GUARD_HOLD);
}

static void
test_guard_disk_unknown(void **state)
{
    struct guard g = {0};
    struct guard_facts f = quiet();
    int64_t now_us = SECOND_US;

    (void)state;
    f.disk_known = false;
    f.free_bytes = f.disk_bytes = 0;
    f.retained = f.freed = 7 * GB;
    assert_int_equal(after(&g, &f, &limits, &now_us, 60), GUARD_SQUEEZE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guard_outbox_behind_squeeze),
        cmocka_unit_test(test_guard_every_step_is_taken),
        cmocka_unit_test(test_guard_no_outbox_to_try),
        cmocka_unit_test(test_guard_outbox_that_takes_gets_time),
        cmocka_unit_test(test_guard_nothing_to_gain),
        cmocka_unit_test(test_guard_hold),
        cmocka_unit_test(test_guard_something_else_keeps_it_too),
        cmocka_unit_test(test_guard_disk_unknown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

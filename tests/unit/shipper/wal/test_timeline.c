/* SPDX-License-Identifier: PostgreSQL */
/* lineage: where two servers part. */
#include "unit/unit.h"

#include "shipper/wal/timeline.h"

#include <string.h>

static struct lineage
lineage(timeline_t timeline, const char *text)
{
    return (struct lineage){.timeline = timeline, .text = text, .length = strlen(text)};
}

static void
assert_fork(struct lineage ours, struct lineage theirs, timeline_t timeline, lsn_t fork)
{
    timeline_t got_timeline = 0;
    lsn_t got = 0;

    assert_true(lineage_fork(&ours, &theirs, &got_timeline, &got));
    assert_int_equal(got_timeline, timeline);
    assert_int_equal(got, fork);
}

static void
test_lineage_former_primary(void **state)
{
    (void)state;
    assert_fork(lineage(1, ""), lineage(2, "1\t0/3000060\tno recovery target specified\n"), 1,
                0x3000060);
    assert_fork(lineage(2, "1\t0/3000060\tx\n"), lineage(3, "1\t0/3000060\tx\n\n2\t0/5000000\tx\n"),
                2, 0x5000000);
}

/* Also when several changes were missed. */
static void
test_lineage_missed_changes(void **state)
{
    (void)state;
    assert_fork(lineage(1, ""), lineage(3, "1\t0/3000060\tx\n\n2\t0/5000000\tx\n"), 1, 0x3000060);
}

/* Both were promoted, both made "timeline 2". */
static void
test_lineage_both_promoted(void **state)
{
    (void)state;
    assert_fork(lineage(2, "1\t0/4000000\tx\n"), lineage(2, "1\t0/3000060\tx\n"), 1, 0x3000060);
    assert_fork(lineage(3, "1\t0/4000000\tx\n"), lineage(2, "1\t0/3000060\tx\n"), 1, 0x3000060);
    assert_fork(lineage(2, "1\t0/2000000\tx\n"), lineage(3, "1\t0/3000060\tx\n"), 1, 0x2000000);
}

static void
test_lineage_same(void **state)
{
    struct lineage l = lineage(2, "1\t0/3000060\tx\n");
    timeline_t timeline;
    lsn_t fork;

    (void)state;
    assert_false(lineage_fork(&l, &l, &timeline, &fork));
}

static void
test_lineage_at(void **state)
{
    struct lineage l = lineage(3, "1\t0/3000060\tx\n2\t0/5000000\tx\n");

    (void)state;
    assert_int_equal(lineage_at(&l, 0x1000000), 1);
    assert_int_equal(lineage_at(&l, 0x300005F), 1);
    assert_int_equal(lineage_at(&l, 0x3000060), 2);
    assert_int_equal(lineage_at(&l, 0x5000000), 3);
    l = lineage(1, "");
    assert_int_equal(lineage_at(&l, 0x5000000), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lineage_former_primary),
        cmocka_unit_test(test_lineage_missed_changes),
        cmocka_unit_test(test_lineage_both_promoted),
        cmocka_unit_test(test_lineage_same),
        cmocka_unit_test(test_lineage_at),
    };

    return cmocka_run_group_tests_name("lineage", tests, NULL, NULL);
}

/* SPDX-License-Identifier: PostgreSQL */
/* lineage: where two servers part, and which position follows which. */
#include "unit/unit.h"

#include "shipper/wal/timeline.h"

#include <string.h>

#define give_up(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

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

/* Every relation of two positions, asked both ways. */
static void
test_lineage_order(void **state)
{
    static const char one[] = "", two[] = "1\t0/300\tx\n", other_two[] = "1\t0/200\tx\n",
                      three[] = "1\t0/300\tx\n2\t0/500\tx\n", strange[] = "2\t0/500\tx\n";
    static const struct {
        const char *what, *text_a, *text_b;
        timeline_t of_a, of_b;
        struct position a, b;
        enum position_order order;
        struct position fork;
    } row[] = {
        {"one timeline", one, one, 1, 1, {1, 0x100}, {1, 0x200}, POSITION_BEFORE, {0, 0}},
        {"the same place", one, one, 1, 1, {1, 0x100}, {1, 0x100}, POSITION_EQUAL, {0, 0}},
        {"up to the fork", one, two, 1, 2, {1, 0x250}, {2, 0x400}, POSITION_BEFORE, {0, 0}},
        {"at the fork", one, two, 1, 2, {1, 0x300}, {2, 0x400}, POSITION_BEFORE, {0, 0}},
        {"at the fork, nothing since", one, two, 1, 2, {1, 0x300}, {2, 0x300}, POSITION_EQUAL, {0}},
        {"past the fork", one, two, 1, 2, {1, 0x301}, {2, 0x400}, POSITION_APART, {1, 0x300}},
        {"far past it", one, two, 1, 2, {1, 0x900}, {2, 0x310}, POSITION_APART, {1, 0x300}},
        {"on one lineage", two, two, 2, 2, {1, 0x200}, {2, 0x310}, POSITION_BEFORE, {0, 0}},
        {"past it by one lineage",
         two,
         two,
         2,
         2,
         {1, 0x301},
         {2, 0x310},
         POSITION_APART,
         {1, 0x300}},
        {"two changes missed", one, three, 1, 3, {1, 0x300}, {3, 0x600}, POSITION_BEFORE, {0, 0}},
        {"past the second", two, three, 2, 3, {2, 0x501}, {3, 0x600}, POSITION_APART, {2, 0x500}},
        {"past the first", one, three, 1, 3, {1, 0x301}, {3, 0x600}, POSITION_APART, {1, 0x300}},
        {"two timelines 2",
         two,
         other_two,
         2,
         2,
         {2, 0x310},
         {2, 0x310},
         POSITION_APART,
         {1, 0x200}},
        {"before both", two, other_two, 2, 2, {1, 0x200}, {2, 0x310}, POSITION_BEFORE, {0, 0}},
        {"between both", two, other_two, 2, 2, {1, 0x250}, {2, 0x310}, POSITION_APART, {1, 0x200}},
        {"nothing in common", one, strange, 1, 3, {1, 0x100}, {3, 0x600}, POSITION_APART, {0, 0}},
        {"not of its lineage", one, two, 1, 2, {4, 0x100}, {2, 0x310}, POSITION_APART, {0, 0}},
        {"unknown", one, two, 1, 2, {0, 0x100}, {2, 0x310}, POSITION_APART, {0, 0}},
    };
    static const enum position_order back[] = {[POSITION_BEFORE] = POSITION_AFTER,
                                               [POSITION_EQUAL] = POSITION_EQUAL,
                                               [POSITION_APART] = POSITION_APART};

    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct lineage of_a = lineage(row[i].of_a, row[i].text_a),
                       of_b = lineage(row[i].of_b, row[i].text_b);
        struct position fork = {0};

        if (lineage_order(&of_a, row[i].a, &of_b, row[i].b, &fork) != row[i].order ||
            lineage_order(&of_b, row[i].b, &of_a, row[i].a, &fork) != back[row[i].order])
            give_up("%s", row[i].what);
        assert_int_equal(fork.timeline, row[i].fork.timeline);
        assert_int_equal(fork.lsn, row[i].fork.lsn);
    }
}

static void
test_lineage_has_its_timelines(void **state)
{
    struct lineage l = lineage(3, "1\t0/3000060\tx\n2\t0/5000000\tx\n");

    (void)state;
    assert_true(lineage_has(&l, 1) && lineage_has(&l, 2) && lineage_has(&l, 3));
    assert_false(lineage_has(&l, 0) || lineage_has(&l, 4));
    assert_int_equal(lineage_end(&l, 2), 0x5000000);
    assert_int_equal(lineage_end(&l, 3), UINT64_MAX);
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
        cmocka_unit_test(test_lineage_order),
        cmocka_unit_test(test_lineage_has_its_timelines),
    };

    return cmocka_run_group_tests_name("lineage", tests, NULL, NULL);
}

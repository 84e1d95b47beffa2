/* SPDX-License-Identifier: PostgreSQL */
/* Gaps: opened, widened, reached, kept on disk. */
#include "unit/unit.h"

#include "retention/gap.h"

#include "base/durable.h"
#include "base/fail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MB(n) ((lsn_t)(n) << 20)

static struct gaps g;

static struct gap *
open_gap(const char *member, unsigned from_mb, unsigned to_mb)
{
    return gap_open(&g, member, 1, MB(from_mb), MB(to_mb), "a test", 5);
}

static int
setup(void **state)
{
    (void)state;
    memset(&g, 0, sizeof g);
    return 0;
}

static void
test_gap_widens_what_it_touches_and_keeps_state_and_age(void **state)
{
    struct gap *gap;

    (void)state;
    assert_null(open_gap("a", 3, 3));
    open_gap("a", 8, 9);
    open_gap("b", 1, 2);
    gap = open_gap("a", 2, 4);
    gap->state = GAP_LOST;
    gap = gap_open(&g, "a", 1, MB(4), MB(6), "later", 99);
    assert_int_equal(gap->start, MB(2));
    assert_int_equal(gap->end, MB(6));
    assert_int_equal(gap->state, GAP_LOST);
    assert_int_equal(gap->since_us, 5);
    assert_int_equal(g.count, 3);
    gap = open_gap("a", 5, 20); /* grows into the next one */
    assert_int_equal(gap->end, MB(20));
    assert_int_equal(g.count, 2);
}

static void
test_gap_too_many_of_a_member_become_wider_ones(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2 * GAPS_OF_MEMBER; i++)
        open_gap("a", 10 + 10 * i, 11 + 10 * i);
    assert_int_equal(g.count, GAPS_OF_MEMBER);
    open_gap("a", 1, 2); /* before all of them */
    assert_int_equal(g.count, GAPS_OF_MEMBER);
    assert_int_equal(g.gap[0].start, MB(1));
    assert_int_equal(g.gap[g.count - 1].end, MB(11 + 10 * (2 * GAPS_OF_MEMBER - 1)));
    open_gap("b", 1, 2);
    assert_int_equal(g.count, GAPS_OF_MEMBER + 1);
}

/* Members come and go in the years that the file lives. */
static void
test_gap_of_a_new_member_takes_the_oldest_place(void **state)
{
    char member[MEMBER_NAME_SIZE];

    (void)state;
    for (unsigned i = 0; i < GAPS_MAX + 2; i++) {
        snprintf(member, sizeof member, "m%u", i);
        assert_string_equal(open_gap(member, i + 1, i + 2)->member, member);
    }
    assert_int_equal(g.count, GAPS_MAX);
    assert_null(gap_behind(&g, "m1", 0));
    assert_int_equal(gap_behind(&g, "m2", 0)->start, MB(3));
    assert_int_equal(g.gap[GAPS_MAX - 1].end, MB(GAPS_MAX + 3));
}

static void
test_gap_is_reached_piece_by_piece(void **state)
{
    bool changed = false;

    (void)state;
    open_gap("a", 4, 8);
    open_gap("a", 10, 12);
    open_gap("b", 4, 8);
    assert_int_equal(gaps_reach(&g, "a", MB(4), &changed), 0);
    assert_false(changed);
    assert_int_equal(gaps_reach(&g, "a", MB(6), &changed), 0);
    assert_true(changed);
    assert_int_equal(gap_behind(&g, "a", MB(6))->start, MB(6));
    assert_int_equal(gaps_reach(&g, "a", MB(9), &changed), 1);
    assert_int_equal(gap_behind(&g, "a", MB(9))->start, MB(10));
    assert_int_equal(gaps_reach(&g, "a", MB(12), &changed), 1);
    assert_null(gap_behind(&g, "a", 0));
    assert_non_null(gap_behind(&g, "b", 0));
}

static void
test_gap_survives_its_file(void **state)
{
    char path[] = "/tmp/wf-gap-XXXXXX";
    struct gaps before;
    int dir;

    (void)state;
    assert_non_null(mkdtemp(path));
    assert_int_equal(durable_dir(path, &dir), 0);
    assert_int_equal(gaps_load(&g, dir), 0); /* none yet */
    assert_int_equal(g.count, 0);
    open_gap("dc2-a", 3, 5)->state = GAP_IN_FLIGHT;
    open_gap("dc2-a", 7, 9)->state = GAP_GIVEN_UP;
    snprintf(g.gap[1].doing, sizeof g.gap[1].doing, "nobody \"needs\" it\n");
    g.gap[0].consent = true;
    memset(g.gap[0].why, '\001', sizeof g.gap[0].why - 1); /* the longest JSON there is */
    memset(g.gap[0].doing, '\001', sizeof g.gap[0].doing - 1);
    for (unsigned i = 0; i < GAPS_OF_MEMBER; i++)
        open_gap("dc3-a", 10 * i, 10 * i + 1);
    before = g;
    assert_int_equal(gaps_save(&g, dir), 0);
    memset(&g, 0, sizeof g);
    assert_int_equal(gaps_load(&g, dir), 0);
    assert_int_equal(g.count, before.count);
    for (size_t i = 0; i < g.count; i++) {
        const struct gap *a = &before.gap[i], *b = &g.gap[i];

        assert_string_equal(a->member, b->member);
        assert_int_equal(a->start, b->start);
        assert_int_equal(a->end, b->end);
        assert_int_equal(a->timeline, b->timeline);
        assert_int_equal(a->state, b->state);
        assert_int_equal(a->since_us, b->since_us);
        assert_int_equal(a->consent, b->consent);
        assert_string_equal(a->why, b->why);
        assert_string_equal(a->doing, b->doing);
    }
    assert_true(gap_reason_fits("caf\xc3\xa9"));
    assert_false(gap_reason_fits("caf\xc3"));
    memset(g.gap[1].why, 'x', sizeof g.gap[1].why - 2); /* cut inside a character */
    snprintf(g.gap[1].why + sizeof g.gap[1].why - 2, 2, "\xc3");
    assert_int_equal(gaps_save(&g, dir), 0);
    assert_int_equal(gaps_load(&g, dir), 0);
    assert_int_equal(g.count, before.count);
    assert_true(strncmp(g.gap[1].why, "xxx", 3) == 0);
    assert_int_equal(durable_replace(dir, GAP_FILE, "{}\n", 3), 0);
    assert_int_equal(gaps_load(&g, dir), ERR_CORRUPT);
    durable_remove(dir, GAP_FILE);
    durable_close(dir);
    rmdir(path);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_gap_widens_what_it_touches_and_keeps_state_and_age, setup),
        cmocka_unit_test_setup(test_gap_too_many_of_a_member_become_wider_ones, setup),
        cmocka_unit_test_setup(test_gap_of_a_new_member_takes_the_oldest_place, setup),
        cmocka_unit_test_setup(test_gap_is_reached_piece_by_piece, setup),
        cmocka_unit_test_setup(test_gap_survives_its_file, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

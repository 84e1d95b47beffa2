/* SPDX-License-Identifier: PostgreSQL */
/* neighbour: which member gives a copy. */
#include "unit/unit.h"

#include "jobs/neighbour.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

enum { DC1_A, DC1_B, DC2_A, DC2_B, DC2_C, DC3_A, MEMBERS };

static struct member member[MEMBERS];
static struct neighbour all[MEMBERS];
static struct neighbourhood around;

/* dc1-a is the primary, dc2-b wants a copy, nothing is wrong with anybody. */
static int
make(void **state)
{
    static const char *const name[] = {"dc1-a", "dc1-b", "dc2-a", "dc2-b", "dc2-c", "dc3-a"};

    (void)state;
    for (int i = 0; i < MEMBERS; i++) {
        snprintf(member[i].name, sizeof member[i].name, "%s", name[i]);
        snprintf(member[i].site, sizeof member[i].site, "%.3s", name[i]);
        all[i] = (struct neighbour){.member = &member[i],
                                    .standby = i != DC1_A,
                                    .epoch = 4,
                                    .primary = "dc1-a",
                                    .system_identifier = 77,
                                    .linked = true,
                                    .up = true,
                                    .in_recovery = true,
                                    .behind_known = true,
                                    .behind_us = 300 * MILLISECOND_US};
    }
    all[DC2_C].behind_us = 400 * MILLISECOND_US;
    around = (struct neighbourhood){
        .self = &member[DC2_B], .primary = &member[DC1_A], .epoch = 4, .system_identifier = 77};
    return 0;
}

static const char *
chosen(void)
{
    const struct neighbour *n = neighbour_choose(&around, all, MEMBERS);

    return n == NULL ? "nobody" : n->member->name;
}

static void
excuse(int who)
{
    snprintf(all[who].excuse, sizeof all[who].excuse, "its agent does not answer");
}

/* One after the other is gone. */
static void
test_neighbour_chooses_the_nearest(void **state)
{
    (void)state;
    assert_string_equal(chosen(), "dc2-a");
    excuse(DC2_A);
    assert_string_equal(chosen(), "dc2-c");
    excuse(DC2_C);
    assert_string_equal(chosen(), "dc1-b"); /* the mirror spares the primary */
    excuse(DC1_B);
    assert_string_equal(chosen(), "dc1-a");
    excuse(DC1_A);
    assert_string_equal(chosen(), "nobody"); /* a third site is farther than the primary */
}

static void
test_neighbour_chooses_the_one_less_behind_of_one_site(void **state)
{
    (void)state;
    all[DC2_A].behind_us = 500 * MILLISECOND_US;
    assert_string_equal(chosen(), "dc2-c");
    all[DC2_C].behind_us = NEIGHBOUR_BEHIND_US + 1;
    all[DC2_A].behind_us = NEIGHBOUR_BEHIND_US;
    assert_string_equal(chosen(), "dc2-a");
}

static void
test_neighbour_of_a_mirror_is_its_primary(void **state)
{
    (void)state;
    around.self = &member[DC1_B];
    assert_string_equal(chosen(), "dc1-a");
    excuse(DC1_A);
    assert_string_equal(chosen(), "nobody"); /* dc2's standbys are farther, and so is dc3's */
}

static void
test_neighbour_of_a_third_site_is_the_mirror(void **state)
{
    (void)state;
    around.self = &member[DC3_A];
    assert_string_equal(chosen(), "dc1-b");
    excuse(DC1_B);
    assert_string_equal(chosen(), "dc1-a");
}

/* Each of these alone, and what is said of it. Named or not. */
static void
test_neighbour_refuses_what_is_no_good_standby(void **state)
{
    static const struct {
        struct neighbour change;
        const char *why;
    } row[] = {
        {{.forked = true}, "it has parted from the pool's lineage"},
        {{.promised = true}, "a failover asks it just now"},
        {{.standby = true}, "it is no standby"},
        {{.system_identifier = 1}, "it is another database cluster"},
        {{.epoch = 1}, "it knows dc1-a as the primary of epoch 5, not dc1-a of 4"},
        {{.primary = "x"}, "it knows dc3-a as the primary of epoch 4, not dc1-a of 4"},
        {{.alarm = true}, "it is in alarm"},
        {{.up = true}, "its PostgreSQL takes no connection"},
        {{.in_recovery = true}, "its PostgreSQL is in no recovery"},
        {{.linked = true}, "no WAL comes to it"},
        {{.paused = true}, "its replay is paused"},
        {{.excuse = "gone"}, "gone"},
    };

    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        const struct neighbour *c = &row[i].change;
        struct neighbour *n = &all[DC2_A];
        char why[NEIGHBOUR_WHY_SIZE] = "";

        make(state);
        n->forked ^= c->forked;
        n->promised ^= c->promised;
        n->standby ^= c->standby;
        n->system_identifier += c->system_identifier;
        n->epoch += c->epoch;
        if (c->primary[0] != '\0')
            snprintf(n->primary, sizeof n->primary, "dc3-a");
        n->alarm ^= c->alarm;
        n->up ^= c->up;
        n->in_recovery ^= c->in_recovery;
        n->linked ^= c->linked;
        n->paused ^= c->paused;
        snprintf(n->excuse, sizeof n->excuse, "%s", c->excuse);
        assert_false(neighbour_gives(&around, n, why));
        assert_string_equal(why, row[i].why);
        assert_string_equal(chosen(), "dc2-c");
        around.named = &member[DC2_A];
        assert_string_equal(chosen(), "nobody");
    }
}

static void
test_neighbour_overrules_by_name_only_how_far_behind(void **state)
{
    char why[NEIGHBOUR_WHY_SIZE];

    (void)state;
    all[DC2_A].behind_us = 90 * SECOND_US;
    assert_false(neighbour_gives(&around, &all[DC2_A], why));
    assert_string_equal(why, "it is 1 min 30 s behind");
    around.named = &member[DC2_A];
    assert_string_equal(chosen(), "dc2-a");
    all[DC2_A].behind_known = false;
    assert_string_equal(chosen(), "dc2-a");
    around.named = NULL;
    assert_false(neighbour_gives(&around, &all[DC2_A], why));
    assert_string_equal(why, "how far it is behind is unknown");
    around.named = &member[DC3_A];
    assert_string_equal(chosen(), "dc3-a");
    around.named = &member[DC1_A];
    assert_string_equal(chosen(), "dc1-a");
}

/* A cluster that this host does not know yet is not held against anybody. */
static void
test_neighbour_of_an_empty_host(void **state)
{
    (void)state;
    around.system_identifier = 0;
    assert_string_equal(chosen(), "dc2-a");
}

static void
test_neighbour_words(void **state)
{
    static const struct {
        int who;
        const char *words;
    } row[] = {{DC2_A, "own site, 0.3 s behind"},
               {DC1_B, "a mirror of the primary, 0.3 s behind"},
               {DC3_A, "a standby of a third site, 0.3 s behind"},
               {DC1_A, "the primary"}};
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        assert_string_equal(neighbour_words(&around, &all[row[i].who], text, sizeof text),
                            row[i].words);
    around.self = &member[DC1_B];
    assert_string_equal(neighbour_words(&around, &all[DC1_A], text, sizeof text),
                        "the primary, own site");
    all[DC2_A].behind_known = false;
    assert_string_equal(neighbour_words(&around, &all[DC2_A], text, sizeof text),
                        "another site, how far behind is unknown");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_neighbour_chooses_the_nearest, make),
        cmocka_unit_test_setup(test_neighbour_chooses_the_one_less_behind_of_one_site, make),
        cmocka_unit_test_setup(test_neighbour_of_a_mirror_is_its_primary, make),
        cmocka_unit_test_setup(test_neighbour_of_a_third_site_is_the_mirror, make),
        cmocka_unit_test_setup(test_neighbour_refuses_what_is_no_good_standby, make),
        cmocka_unit_test_setup(test_neighbour_overrules_by_name_only_how_far_behind, make),
        cmocka_unit_test_setup(test_neighbour_of_an_empty_host, make),
        cmocka_unit_test_setup(test_neighbour_words, make),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

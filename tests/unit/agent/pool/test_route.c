/* SPDX-License-Identifier: PostgreSQL */
/* route: who feeds whom, by stories, and of random pools that are heard of at random. */
#include "unit/unit.h"

#include "base/clock.h"
#include "pool/route.h"

#include <stdlib.h>
#include <string.h>

enum { A1, B1, C1, A2, B2, C2 }; /* members of dc1 and dc2 */

static struct route_facts facts;
static struct routes table;

/* The facts of a pool in which everybody hears everybody; dc1-a is the primary. */
static int
make(void **state)
{
    static const struct route_member member[] = {
        {"dc1-a", "dc1", .stalled_us = 0}, {"dc1-b", "dc1", .stalled_us = 0},
        {"dc1-c", "dc1", .stalled_us = 0}, {"dc2-a", "dc2", .stalled_us = 0},
        {"dc2-b", "dc2", .stalled_us = 0}, {"dc2-c", "dc2", .stalled_us = 0}};

    (void)state;
    facts = (struct route_facts){.members = 6, .epoch = {3, "dc1-a"}, .wall_us = 1000 * SECOND_US};
    memcpy(facts.member, member, sizeof member);
    table = (struct routes){0};
    judge_routes(&facts, &table, &table);
    return 0;
}

/* Since each way is in the table. */
static void
date_ways(void)
{
    for (size_t i = 0; i < facts.members; i++) {
        const struct route *route = routes_of(&table, facts.member[i].name);

        facts.member[i].routed_us = route != NULL ? facts.wall_us - route->since_us : 0;
    }
}

static void
judge(void)
{
    struct routes before = table;

    facts.wall_us += SECOND_US;
    date_ways();
    judge_routes(&facts, &before, &table);
}

static void
hears(size_t a, size_t b, int64_t silent_us)
{
    facts.member[a].silent_us[b] = facts.member[b].silent_us[a] = silent_us;
}

static void
heard_by_all(size_t m, int64_t silent_us)
{
    for (size_t i = 0; i < facts.members; i++)
        hears(i, m, silent_us);
}

static void
is(size_t member, const char *from, enum route_why why)
{
    const struct route *r = routes_of(&table, facts.member[member].name);

    assert_non_null(r);
    assert_string_equal(r->from, from);
    assert_int_equal(r->why, why);
    assert_false(r->cut);
}

static bool
is_cut(size_t member)
{
    return routes_of(&table, facts.member[member].name)->cut;
}

static void
says(size_t member, const char *text)
{
    const struct route *r = routes_of(&table, facts.member[member].name);
    char out[ROUTE_TEXT_SIZE];

    assert_string_equal(route_text(&table, r, facts.member[member].site, out), text);
}

static void
test_route_leads_to_mirrors_and_over_heads(void **state)
{
    (void)state;
    is(A1, "", ROUTE_PRIMARY);
    is(B1, "dc1-a", ROUTE_MIRROR);
    is(C1, "dc1-a", ROUTE_MIRROR);
    is(A2, "dc1-a", ROUTE_HEAD);
    is(B2, "dc2-a", ROUTE_RELAYED);
    is(C2, "dc2-a", ROUTE_RELAYED);
    says(A1, "the primary");
    says(B1, "from dc1-a, the primary, as all of dc1");
    says(A2, "from dc1-a, as the head of dc2 since 1970-01-01 00:16:40.000 UTC");
    says(B2, "from dc2-a, which is the head of dc2 since 1970-01-01 00:16:40.000 UTC");
}

static void
test_route_head_that_is_silent_is_replaced_and_does_not_come_back(void **state)
{
    (void)state;
    heard_by_all(A2, ROUTE_SILENT_US - 1);
    judge();
    is(A2, "dc1-a", ROUTE_HEAD);
    heard_by_all(A2, ROUTE_SILENT_US);
    judge();
    is(B2, "dc1-a", ROUTE_SILENT);
    is(C2, "dc2-b", ROUTE_RELAYED);
    assert_string_equal(routes_of(&table, "dc2-a")->from, "dc2-b");
    assert_true(is_cut(A2));
    says(A2, "from dc2-b, which is the head of dc2 since 1970-01-01 00:16:42.000 UTC; it gets no "
             "WAL now");
    says(B2, "from dc1-a, as the head of dc2 since 1970-01-01 00:16:42.000 UTC: the one before was "
             "silent");
    heard_by_all(A2, 0);
    judge();
    is(B2, "dc1-a", ROUTE_SILENT);
    is(A2, "dc2-b", ROUTE_RELAYED);
}

static void
test_route_of_a_site_that_is_cut_off_stays(void **state)
{
    (void)state;
    for (size_t i = A1; i <= C1; i++)
        for (size_t j = A2; j <= C2; j++)
            hears(i, j, ROUTE_SILENT_US);
    judge();
    assert_string_equal(routes_of(&table, "dc2-a")->from, "dc1-a");
    assert_string_equal(routes_of(&table, "dc2-b")->from, "dc2-a");
    assert_true(is_cut(A2) && is_cut(B2) && is_cut(C2));
    is(B1, "dc1-a", ROUTE_MIRROR);
    for (size_t i = A1; i <= C1; i++)
        for (size_t j = A2; j <= C2; j++)
            hears(i, j, 0);
    judge();
    is(A2, "dc1-a", ROUTE_HEAD);
    is(B2, "dc2-a", ROUTE_RELAYED);
}

static void
test_route_head_that_gets_no_further_is_replaced(void **state)
{
    (void)state;
    facts.wall_us += 60 * SECOND_US;
    facts.member[A2].stalled_us = ROUTE_SILENT_US - 1;
    judge();
    is(A2, "dc1-a", ROUTE_HEAD);
    facts.member[A2].stalled_us = ROUTE_SILENT_US;
    facts.member[B2].stalled_us = ROUTE_SILENT_US; /* for it gets nothing from the head */
    judge();
    is(B2, "dc1-a", ROUTE_STALLED);
    judge(); /* its new route has its time, too */
    is(B2, "dc1-a", ROUTE_STALLED);
    is(A2, "dc2-b", ROUTE_RELAYED);
    says(B2, "from dc1-a, as the head of dc2 since 1970-01-01 00:17:42.000 UTC: the one before got "
             "no further");
}

static void
test_route_head_stays_while_no_other_would_do_better(void **state)
{
    (void)state;
    facts.wall_us += 60 * SECOND_US;
    facts.member[A2].stalled_us = 5 * ROUTE_SILENT_US;
    heard_by_all(B2, ROUTE_SILENT_US);
    heard_by_all(C2, ROUTE_SILENT_US);
    judge();
    is(A2, "dc1-a", ROUTE_HEAD);
    assert_true(is_cut(B2) && is_cut(C2));
}

static void
test_route_head_is_pinned(void **state)
{
    uint64_t number = table.number;

    (void)state;
    facts.member[B2].pinned = true;
    judge();
    assert_int_equal(table.number, number + 1);
    assert_true(routes_of(&table, "dc2-b")->pinned);
    is(B2, "dc1-a", ROUTE_PINNED);
    is(A2, "dc2-b", ROUTE_RELAYED);
    says(B2, "from dc1-a, as the head of dc2 since 1970-01-01 00:16:41.000 UTC, pinned");
    heard_by_all(B2, ROUTE_SILENT_US);
    judge();
    is(A2, "dc1-a", ROUTE_SILENT);
    heard_by_all(B2, 0); /* a DBA's word is stronger than a place that is kept */
    judge();
    is(B2, "dc1-a", ROUTE_PINNED);
    facts.member[B2].pinned = false;
    judge();
    is(B2, "dc1-a", ROUTE_HEAD);
    assert_int_equal(table.number, number + 4);
}

/* It is heard of, and would take its place again and again. */
static void
test_route_pin_is_over_when_its_head_gets_no_further(void **state)
{
    (void)state;
    facts.member[A2].pinned = true;
    facts.wall_us += 60 * SECOND_US;
    facts.member[A2].stalled_us = ROUTE_SILENT_US;
    judge();
    is(B2, "dc1-a", ROUTE_STALLED);
    assert_false(routes_of(&table, "dc2-a")->pinned);
}

static void
test_route_pin_outlasts_a_host_that_is_gone(void **state)
{
    (void)state;
    facts.member[A2].pinned = true;
    judge();
    facts.wall_us += 60 * SECOND_US;
    facts.member[A2].stalled_us = ROUTE_SILENT_US; /* its link is not known to have ended yet */
    heard_by_all(A2, ROUTE_SILENT_US - 1);
    judge();
    is(B2, "dc1-a", ROUTE_STALLED);
    facts.member[A2].stalled_us = 0;
    heard_by_all(A2, 0);
    judge();
    is(A2, "dc1-a", ROUTE_PINNED);
}

static void
test_route_head_that_reaches_less_is_replaced(void **state)
{
    (void)state;
    hears(A2, C2, ROUTE_SILENT_US);
    judge();
    is(B2, "dc1-a", ROUTE_REACHES);
    is(A2, "dc2-b", ROUTE_RELAYED);
    is(C2, "dc2-b", ROUTE_RELAYED);
    says(B2, "from dc1-a, as the head of dc2 since 1970-01-01 00:16:41.000 UTC: it reaches more "
             "members than the one before");
}

/* Not all who hear a member notice at once that it is gone. */
static void
test_route_head_is_not_replaced_for_a_member_that_dies(void **state)
{
    (void)state;
    heard_by_all(C2, ROUTE_SILENT_US - 1);
    hears(A2, C2, ROUTE_SILENT_US);
    judge();
    is(A2, "dc1-a", ROUTE_HEAD);
    assert_true(is_cut(C2));
}

static void
test_route_goes_around_what_does_not_reach_a_member(void **state)
{
    (void)state;
    hears(C2, A2, ROUTE_SILENT_US);
    hears(C2, B2, ROUTE_SILENT_US);
    hears(C1, A1, ROUTE_SILENT_US);
    judge();
    is(A2, "dc1-a", ROUTE_HEAD);
    is(C2, "dc1-a", ROUTE_AROUND);
    is(C1, "dc1-b", ROUTE_AROUND);
    says(C2, "from dc1-a, for the head of its site does not reach it");
    says(C1, "from dc1-b, for the primary does not reach it");
    hears(C2, A2, 0);
    hears(C1, A1, ROUTE_FRESH_US); /* not yet */
    judge();
    is(C2, "dc2-a", ROUTE_RELAYED);
    is(C1, "dc1-b", ROUTE_AROUND);
}

static void
test_route_takes_a_bridge(void **state)
{
    (void)state;
    facts.member[A2].pinned = true;
    hears(C2, A1, ROUTE_SILENT_US);
    hears(C2, A2, ROUTE_SILENT_US);
    judge();
    is(A2, "dc1-a", ROUTE_PINNED);
    is(B2, "dc1-a", ROUTE_BRIDGE);
    is(C2, "dc2-b", ROUTE_AROUND);
    says(B2, "from dc1-a, for it feeds what the head of dc2 does not reach");
    says(C2, "from dc2-b, for neither the primary nor the head of its site reaches it");
}

static void
test_route_of_a_new_epoch_keeps_heads(void **state)
{
    struct routes before;

    (void)state;
    facts.member[B2].pinned = true;
    judge();
    facts.member[B2].pinned = false;
    judge();
    facts.epoch = (struct epoch){4, "dc1-b"};
    facts.primary = B1;
    hears(B1, B2, 2 * ROUTE_FRESH_US); /* heard of since the watch began, and only then */
    before = table;
    judge();
    is(A1, "dc1-b", ROUTE_MIRROR);
    is(B2, "dc1-b", ROUTE_HEAD);
    assert_int_equal(table.number, 1);
    assert_true(routes_newer(&table, &before));
    assert_false(routes_newer(&before, &table));
    facts.epoch = (struct epoch){5, "dc2-b"};
    facts.primary = B2;
    judge();
    is(B2, "", ROUTE_PRIMARY);
    is(A2, "dc2-b", ROUTE_MIRROR);
    is(A1, "dc2-b", ROUTE_HEAD);
    is(B1, "dc1-a", ROUTE_RELAYED);
}

static void
test_route_table_of_a_later_number_is_newer(void **state)
{
    struct routes none = {0}, before = table;

    (void)state;
    assert_true(routes_newer(&table, &none));
    assert_false(routes_newer(&none, &table));
    assert_false(routes_newer(&none, &none));
    judge();
    assert_false(routes_newer(&table, &before)); /* nothing has changed */
    assert_memory_equal(&table, &before, sizeof table);
    heard_by_all(A2, ROUTE_SILENT_US);
    judge();
    assert_true(routes_newer(&table, &before));
}

static void
test_route_table_of_another_member_is_taken_or_not(void **state)
{
    struct routes none = {0}, bad;
    struct epoch other = {3, "dc2-a"}, next = {4, "dc1-a"};

    (void)state;
    assert_true(judge_table(&facts.epoch, "dc2-a", &none, &table));
    assert_false(judge_table(&facts.epoch, "dc2-a", &table, &table));
    assert_false(judge_table(&facts.epoch, "dc1-a", &none, &table)); /* it makes its own */
    assert_false(judge_table(&other, "dc2-b", &none, &table));
    assert_false(judge_table(&next, "dc2-b", &none, &table));
    assert_false(judge_table(&facts.epoch, "dc2-a", &none, &none));
    for (int i = 0; i < 5; i++) {
        bad = table;
        if (i == 0)
            strcpy(bad.route[C2].member, "dc2-b"); /* twice */
        else if (i == 1)
            strcpy(bad.route[A2].from, "dc2-b"); /* a circle */
        else if (i == 2)
            strcpy(bad.route[B2].from, "dc2-b"); /* of its own */
        else if (i == 3)
            strcpy(bad.route[B2].from, "dc2-c"); /* three hops */
        else
            strcpy(bad.route[B2].from, "dc9-a"); /* nobody */
        assert_false(judge_table(&facts.epoch, "dc2-a", &none, &bad));
    }
    bad = table;
    bad.route[B1] = (struct route){.member = "dc1-b"}; /* two primaries */
    assert_false(judge_table(&facts.epoch, "dc2-a", &none, &bad));
}

/* pool.state of the primary was put back, or somebody made a table up. */
static void
test_route_primary_goes_on_above_a_table_that_it_did_not_make(void **state)
{
    struct routes told = table, none = {0};

    (void)state;
    assert_int_equal(routes_above(&table, &told), 0);
    told.number = 7;
    assert_int_equal(routes_above(&table, &told), 8);
    told.number = table.number;
    told.route[C2].cut = true; /* the same number, and another table */
    assert_int_equal(routes_above(&table, &told), table.number + 1);
    told.epoch.number++;
    assert_int_equal(routes_above(&table, &told), 0);
    assert_int_equal(routes_above(&table, &none), 0);
    told = table;
    told.number = ROUTE_NUMBER_MAX - 1;
    assert_true(judge_table(&facts.epoch, "dc2-a", &table, &told));
    assert_int_equal(routes_above(&table, &told), ROUTE_NUMBER_MAX);
    told.number = ROUTE_NUMBER_MAX; /* there is no room above it */
    assert_int_equal(routes_above(&table, &told), 0);
    told.number++;
    assert_false(judge_table(&facts.epoch, "dc2-a", &table, &told));
    table.number = ROUTE_NUMBER_MAX;
    heard_by_all(A2, ROUTE_SILENT_US);
    judge();
    assert_int_equal(table.number, ROUTE_NUMBER_MAX);
}

/* ---- random pools ---- */

#define SITES_MAX 4

static const char *const site_name[] = {"dc1", "dc2", "dc3", "dc4"};
static const char *const member_name[] = {"m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"};

static size_t
below(size_t n)
{
    return n > 1 ? (size_t)random() % n : 0;
}

static void
random_silence(size_t a, size_t b, bool sharp)
{
    static const int64_t silent_us[] = {0,
                                        2 * ROUTE_SILENT_US,
                                        ROUTE_FRESH_US - 1,
                                        ROUTE_FRESH_US,
                                        ROUTE_SILENT_US - 1,
                                        ROUTE_SILENT_US};

    hears(a, b, silent_us[below(sharp ? 2 : sizeof silent_us / sizeof *silent_us)]);
}

/* 2 to 8 members of 2 to 4 sites; sharp: a way is there or not. */
static void
random_pool(bool sharp)
{
    size_t sites = 2 + below(3), members = sites + below(FRAME_MEMBERS_MAX - sites + 1);

    facts = (struct route_facts){
        .members = members, .primary = below(members), .epoch = {1, "m0"}, .wall_us = SECOND_US};
    for (size_t i = 0; i < members; i++) {
        facts.member[i].name = member_name[i];
        facts.member[i].site = site_name[i < sites ? i : below(sites)];
        for (size_t j = 0; j < i; j++)
            if (random() % 3 == 0)
                random_silence(i, j, sharp);
    }
    table = (struct routes){0};
    judge_routes(&facts, &table, &table);
}

static bool
same_site(size_t a, size_t b)
{
    const char *one = facts.member[a].site, *other = facts.member[b].site;

    return one != NULL && other != NULL && strcmp(one, other) == 0;
}

static size_t
feeder(size_t m)
{
    for (size_t i = 0; i < facts.members; i++)
        if (strcmp(table.route[m].from, facts.member[i].name) == 0)
            return i;
    return facts.members;
}

static bool
way(size_t a, size_t b)
{
    return facts.member[a].silent_us[b] < ROUTE_FRESH_US;
}

static bool
reachable(size_t m)
{
    bool is = way(facts.primary, m);

    for (size_t i = 0; i < facts.members; i++)
        is = is || (i != m && same_site(i, m) && way(facts.primary, i) && way(i, m));
    return is;
}

/* No circle, at most two hops, and only the primary feeds another site. */
static void
check_shape(void)
{
    assert_int_equal(table.count, facts.members);
    for (size_t m = 0; m < facts.members; m++) {
        size_t from = feeder(m);

        if (m == facts.primary) {
            assert_int_equal(table.route[m].why, ROUTE_PRIMARY);
            assert_string_equal(table.route[m].from, "");
            continue;
        }
        assert_true(from < facts.members);
        assert_true(from == facts.primary || same_site(from, m));
        assert_true(from == facts.primary || feeder(from) == facts.primary);
        assert_true(from == facts.primary || !table.route[from].cut || table.route[m].cut);
    }
}

static void
check_all_reachable_are_fed(void)
{
    for (size_t m = 0; m < facts.members; m++) {
        if (m == facts.primary)
            continue;
        assert_int_equal(table.route[m].cut, !reachable(m));
        assert_true(table.route[m].cut || way(feeder(m), m));
    }
}

/* Could m alone feed all of its site that can be reached? */
static bool
suffices(size_t m)
{
    bool is = way(facts.primary, m);

    for (size_t i = 0; i < facts.members; i++)
        is = is && (i == m || !same_site(i, m) || !reachable(i) || way(m, i));
    return is;
}

static size_t
copies(const char *site)
{
    size_t n = 0;

    for (size_t m = 0; m < facts.members; m++)
        n += strcmp(facts.member[m].site, site) == 0 && feeder(m) == facts.primary;
    return n;
}

static void
check_one_copy_for_each_site(void)
{
    for (size_t m = 0; m < facts.members; m++)
        if (!same_site(m, facts.primary) && suffices(m))
            assert_int_equal(copies(facts.member[m].site), 1);
}

static void
test_route_feeds_all_of_any_pool_by_one_copy_for_each_site(void **state)
{
    (void)state;
    srandom(16);
    for (size_t i = 0; i < 20000; i++) {
        random_pool(true);
        check_shape();
        check_all_reachable_are_fed();
        check_one_copy_for_each_site();
    }
}

static void
test_route_stays_what_it_is_while_the_facts_do(void **state)
{
    (void)state;
    srandom(17);
    for (size_t i = 0; i < 2000; i++) {
        random_pool(false);
        for (size_t step = 0; step < 20; step++) {
            struct routes before = table, again;

            check_shape();
            date_ways();
            judge_routes(&facts, &before, &again);
            assert_memory_equal(&again, &before, sizeof again);
            facts.wall_us += (int64_t)below(9) * SECOND_US;
            date_ways();
            random_silence(below(facts.members), below(facts.members), false);
            facts.member[below(facts.members)].stalled_us = (int64_t)below(40) * SECOND_US;
            judge_routes(&facts, &before, &table);
            judge_routes(&facts, &before, &again);
            assert_memory_equal(&again, &table, sizeof again);
        }
    }
}

/* A member takes nothing, which is seen only while it is a head; pins are as the table tells. Another one
 * of its site is the head in the end, and stays it. */
static void
test_route_settles_at_a_head_that_gets_on(void **state)
{
    (void)state;
    srandom(19);
    for (size_t i = 0; i < 1000; i++) {
        struct routes settled;
        size_t bad;

        random_pool(true);
        bad = below(facts.members);
        for (size_t m = 0; m < facts.members; m++)
            heard_by_all(m, 0);
        facts.member[bad].pinned = random() % 2 == 0;
        for (int second = 0; second < 60; second++) {
            settled = table;
            judge();
            facts.member[bad].pinned = table.route[bad].pinned;
            facts.member[bad].stalled_us =
                route_is_head(&table.route[bad]) ? facts.member[bad].stalled_us + SECOND_US : 0;
        }
        assert_memory_equal(&settled, &table, sizeof table);
        for (size_t m = 0; m < facts.members; m++)
            if (m != bad && same_site(m, bad))
                assert_false(route_is_head(&table.route[bad]));
    }
}

/* What happens between two members is of no matter to another site. */
static void
test_route_of_a_site_depends_on_its_own_ways(void **state)
{
    (void)state;
    srandom(18);
    for (size_t i = 0; i < 20000; i++) {
        struct routes before;
        size_t a, b;

        random_pool(false);
        before = table;
        a = below(facts.members);
        b = below(facts.members);
        random_silence(a, b, false);
        judge();
        for (size_t m = 0; m < facts.members; m++)
            if (!same_site(m, a) && !same_site(m, b))
                assert_memory_equal(&before.route[m], &table.route[m], sizeof before.route[m]);
        if (!same_site(a, b) && a != facts.primary && b != facts.primary)
            assert_int_equal(before.number, table.number);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_route_leads_to_mirrors_and_over_heads, make),
        cmocka_unit_test_setup(test_route_head_that_is_silent_is_replaced_and_does_not_come_back,
                               make),
        cmocka_unit_test_setup(test_route_of_a_site_that_is_cut_off_stays, make),
        cmocka_unit_test_setup(test_route_head_that_gets_no_further_is_replaced, make),
        cmocka_unit_test_setup(test_route_head_stays_while_no_other_would_do_better, make),
        cmocka_unit_test_setup(test_route_head_is_pinned, make),
        cmocka_unit_test_setup(test_route_pin_is_over_when_its_head_gets_no_further, make),
        cmocka_unit_test_setup(test_route_pin_outlasts_a_host_that_is_gone, make),
        cmocka_unit_test_setup(test_route_head_that_reaches_less_is_replaced, make),
        cmocka_unit_test_setup(test_route_head_is_not_replaced_for_a_member_that_dies, make),
        cmocka_unit_test_setup(test_route_goes_around_what_does_not_reach_a_member, make),
        cmocka_unit_test_setup(test_route_takes_a_bridge, make),
        cmocka_unit_test_setup(test_route_of_a_new_epoch_keeps_heads, make),
        cmocka_unit_test_setup(test_route_table_of_a_later_number_is_newer, make),
        cmocka_unit_test_setup(test_route_table_of_another_member_is_taken_or_not, make),
        cmocka_unit_test_setup(test_route_primary_goes_on_above_a_table_that_it_did_not_make, make),
        cmocka_unit_test(test_route_feeds_all_of_any_pool_by_one_copy_for_each_site),
        cmocka_unit_test(test_route_stays_what_it_is_while_the_facts_do),
        cmocka_unit_test(test_route_settles_at_a_head_that_gets_on),
        cmocka_unit_test(test_route_of_a_site_depends_on_its_own_ways),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

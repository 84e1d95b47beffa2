/* SPDX-License-Identifier: PostgreSQL */
/* quorum: whom commits wait for, by mode, by who is there, and by whom they wait for already. */
#include "unit/unit.h"

#include "pool/quorum.h"

#include <string.h>

#define A  "walferry_dc2_a"
#define M  "walferry_dc1_b"
#define B  "walferry_dc2_b"
#define OF "walferry_dc3_a"

/* The primary is the first one. */
static struct config four = {.member = {{.name = "dc1-a", .site = "dc1"},
                                        {.name = "dc2-a", .site = "dc2"},
                                        {.name = "dc1-b", .site = "dc1"},
                                        {.name = "dc2-b", .site = "dc2"}},
                             .members = 4};
static struct config two = {
    .member = {{.name = "dc1-a", .site = "dc1"}, {.name = "dc2-a", .site = "dc2"}}, .members = 2};

/*
 * Of each member behind the primary a letter:
 *   L level   h behind, but confirms   x lost   - fed by another one   . fed by another one, level
 */
static struct quorum_facts
facts_of(struct config *c, enum synchronous mode, bool degrades, const char *state,
         const char *names)
{
    struct quorum_facts f = {
        .config = c, .primary = &c->member[0], .names = names, .degrades = degrades};

    c->synchronous = mode;
    for (size_t i = 1; i < c->members; i++) {
        char s = state[i - 1];

        f.member[i] = (struct quorum_member){.fed = s != '-' && s != '.',
                                             .level = s == 'L' || s == '.',
                                             .lost = s == 'x' || s == '-'};
    }
    return f;
}

#define WAITS    false
#define DEGRADES true

static const struct {
    struct config *config;
    enum synchronous mode;
    bool degrades;
    const char *state, *names, *chosen;
} rows[] = {
    {&two, SYNCHRONOUS_OFF, WAITS, "L", A, ""},
    {&two, SYNCHRONOUS_OFF, WAITS, "L", "", ""},
    /* commits begin to wait for who has caught up */
    {&two, SYNCHRONOUS_SITE, WAITS, "h", "", ""},
    {&two, SYNCHRONOUS_SITE, WAITS, "L", "", A},
    {&two, SYNCHRONOUS_SITE, DEGRADES, "h", "", ""},
    {&two, SYNCHRONOUS_SITE, DEGRADES, "L", "", A},
    /* ... go on waiting while it confirms */
    {&two, SYNCHRONOUS_SITE, DEGRADES, "h", A, A},
    /* ... and cease to when it is lost, or do not */
    {&two, SYNCHRONOUS_SITE, DEGRADES, "x", A, ""},
    {&two, SYNCHRONOUS_SITE, WAITS, "x", A, A},
    /* any one of those that the mode means: names do not come and go with them */
    {&four, SYNCHRONOUS_SITE, WAITS, "Lxh", "", "ANY 1 (" A ", " B ")"},
    {&four, SYNCHRONOUS_SITE, DEGRADES, "xLL", "ANY 1 (" A ", " B ")", "ANY 1 (" A ", " B ")"},
    {&four, SYNCHRONOUS_SITE, DEGRADES, "xLx", "ANY 1 (" A ", " B ")", ""},
    {&four, SYNCHRONOUS_SITE, WAITS, "xLx", "ANY 1 (" A ", " B ")", "ANY 1 (" A ", " B ")"},
    {&four, SYNCHRONOUS_SITE, WAITS, "xLx", "", ""},
    {&four, SYNCHRONOUS_SITE, DEGRADES, "Lx-", "", "ANY 1 (" A ", " B ")"}, /* dc2-a is the head */
    {&four, SYNCHRONOUS_MIRROR, WAITS, "LhL", "", ""},
    {&four, SYNCHRONOUS_MIRROR, WAITS, "xLx", "", M},
    {&four, SYNCHRONOUS_MIRROR, DEGRADES, "LxL", M, ""},
    {&four, SYNCHRONOUS_MIRROR, WAITS, "LxL", M, M},
    {&four, SYNCHRONOUS_ANY, WAITS, "hLx", "", "ANY 1 (" A ", " M ", " B ")"},
    {&four, SYNCHRONOUS_ANY, DEGRADES, "xxh", "ANY 1 (" A ", " M ", " B ")",
     "ANY 1 (" A ", " M ", " B ")"},
    {&four, SYNCHRONOUS_ANY, DEGRADES, "xxx", "ANY 1 (" A ", " M ", " B ")", ""},
    {&four, SYNCHRONOUS_ANY, WAITS, "xxx", "ANY 1 (" A ", " M ", " B ")",
     "ANY 1 (" A ", " M ", " B ")"},
    {&two, SYNCHRONOUS_ANY, WAITS, "L", "", A},
    /* all: those that have caught up */
    {&two, SYNCHRONOUS_ALL, WAITS, "L", "", A},
    {&four, SYNCHRONOUS_ALL, WAITS, "hhh", "", ""},
    {&four, SYNCHRONOUS_ALL, WAITS, "LhL", "", "ANY 2 (" A ", " B ")"},
    {&four, SYNCHRONOUS_ALL, WAITS, "hLh", "ANY 2 (" A ", " B ")", "ANY 3 (" A ", " M ", " B ")"},
    {&four, SYNCHRONOUS_ALL, WAITS, "xhh", "ANY 3 (" A ", " M ", " B ")",
     "ANY 3 (" A ", " M ", " B ")"},
    {&four, SYNCHRONOUS_ALL, DEGRADES, "xhh", "ANY 3 (" A ", " M ", " B ")",
     "ANY 2 (" M ", " B ")"},
    {&four, SYNCHRONOUS_ALL, DEGRADES, "xxh", "ANY 2 (" M ", " B ")", B},
    {&four, SYNCHRONOUS_ALL, DEGRADES, "xxx", B, ""},
    {&four, SYNCHRONOUS_ALL, WAITS, "xxx", B, B},
    /* what a head feeds confirms nothing here */
    {&four, SYNCHRONOUS_ALL, WAITS, "LL.", "", "ANY 2 (" A ", " M ")"},
    {&four, SYNCHRONOUS_ALL, WAITS, "LL.", "ANY 3 (" A ", " M ", " B ")", "ANY 2 (" A ", " M ")"},
    {&four, SYNCHRONOUS_ALL, WAITS, "---", B, B},
    /* the head is lost: not let go of before who is fed in its place has caught up */
    {&four, SYNCHRONOUS_ALL, WAITS, "-Lh", "ANY 2 (" A ", " M ")", "ANY 2 (" A ", " M ")"},
    {&four, SYNCHRONOUS_ALL, WAITS, "-LL", "ANY 2 (" A ", " M ")", "ANY 2 (" M ", " B ")"},
    {&four, SYNCHRONOUS_ALL, DEGRADES, "-Lh", "ANY 2 (" A ", " M ")", M},
    /* another mode than commits wait by: at once, where they are not to go on unprotected */
    {&four, SYNCHRONOUS_MIRROR, WAITS, "LxL", "ANY 1 (" A ", " B ")", M},
    {&four, SYNCHRONOUS_MIRROR, DEGRADES, "LhL", "ANY 1 (" A ", " B ")", ""},
    {&four, SYNCHRONOUS_ALL, WAITS, "hxh", OF, "ANY 3 (" A ", " M ", " B ")"},
    /* the names of a failover that went elsewhere and came back */
    {&four, SYNCHRONOUS_SITE, WAITS, "xxx", "walferry_dc1_a", "ANY 1 (" A ", " B ")"},
};

static void
test_quorum_chooses_whom_commits_wait_for(void **state)
{
    char names[QUORUM_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct quorum_facts f =
            facts_of(rows[i].config, rows[i].mode, rows[i].degrades, rows[i].state, rows[i].names);

        quorum_choose(&f, names);
        if (strcmp(names, rows[i].chosen) != 0)
            print_error("row %zu: %s from '%s'\n", i, rows[i].state, rows[i].names);
        assert_string_equal(names, rows[i].chosen);
    }
}

/* In every state: with `wait` nothing that commits wait for is let go of until something else is
 * there; with both, who is named is of the mode. */
static void
test_quorum_that_waits_is_never_emptied(void **state)
{
    static const char letters[] = "Lhx-.";
    char members[4] = "", names[QUORUM_SIZE], again[QUORUM_SIZE];

    (void)state;
    for (int k = 0; k < 125; k++)
        for (enum synchronous mode = SYNCHRONOUS_MIRROR; mode <= SYNCHRONOUS_ALL; mode++) {
            struct quorum_facts f;

            members[0] = letters[k % 5];
            members[1] = letters[k / 5 % 5];
            members[2] = letters[k / 25];
            f = facts_of(&four, mode, WAITS, members, A);
            quorum_choose(&f, names);
            assert_true(names[0] != '\0');
            assert_false(quorum_names(names, "walferry_dc1_a"));
            f.names = names; /* it is a state that stays */
            quorum_choose(&f, again);
            assert_string_equal(again, names);
        }
}

static void
test_quorum_has_room_for_the_longest_names(void **state)
{
    static struct config eight = {.members = 8};
    char names[QUORUM_SIZE];
    struct quorum_facts f;

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        memset(eight.member[i].name, 'a' + (int)i, MEMBER_NAME_SIZE - 1);
        eight.member[i].site[0] = 'a';
    }
    f = facts_of(&eight, SYNCHRONOUS_ALL, WAITS, "LLLLLLL", "");
    quorum_choose(&f, names);
    assert_true(strlen(names) > 290);
    assert_int_equal(names[strlen(names) - 1], ')');
}

static void
test_quorum_knows_a_name_among_names(void **state)
{
    (void)state;
    assert_true(quorum_names(A, A));
    assert_true(quorum_names("ANY 1 (" M ", " A ")", A));
    assert_true(quorum_names("FIRST 1 (\"" A "\")", A));
    assert_true(quorum_names("*", A));
    assert_false(quorum_names("", A));
    assert_false(quorum_names(A "b", A));
    assert_false(quorum_names("x_" A, A));
    assert_false(quorum_names("ANY 1 (other)", A));
}

static void
test_quorum_says_whom_commits_do_not_wait_for(void **state)
{
    static const struct {
        enum synchronous mode;
        const char *names, *why; /* NULL: nothing is lacking */
    } lacking[] = {
        {SYNCHRONOUS_OFF, "", NULL},
        {SYNCHRONOUS_MIRROR, "", "commits do not wait for a mirror"},
        {SYNCHRONOUS_MIRROR, A, "commits do not wait for a mirror"},
        {SYNCHRONOUS_MIRROR, M, NULL},
        {SYNCHRONOUS_SITE, "", "commits do not wait for the other site"},
        {SYNCHRONOUS_SITE, "ANY 1 (" A ", " B ")", NULL},
        {SYNCHRONOUS_SITE, B, NULL},
        {SYNCHRONOUS_ANY, "other", "commits do not wait for any other member"},
        {SYNCHRONOUS_ALL, "", "commits do not wait for any other member"},
        {SYNCHRONOUS_ALL, "ANY 2 (" A ", " B ")", "commits do not wait for dc1-b"},
        {SYNCHRONOUS_ALL, A, "commits do not wait for dc1-b, dc2-b"},
        {SYNCHRONOUS_ALL, "ANY 3 (" A ", " M ", " B ")", NULL},
    };
    char why[200];

    (void)state;
    for (size_t i = 0; i < sizeof lacking / sizeof *lacking; i++) {
        struct quorum_facts f = facts_of(&four, lacking[i].mode, WAITS, "LLL", lacking[i].names);

        assert_int_equal(quorum_lacks(&f, why, sizeof why), lacking[i].why != NULL);
        if (lacking[i].why != NULL)
            assert_string_equal(why, lacking[i].why);
    }
}

static void
test_quorum_says_for_whom_commits_hang(void **state)
{
    static const struct {
        enum synchronous mode;
        bool degrades;
        const char *state, *names, *who; /* NULL: they return */
    } hanging[] = {
        {SYNCHRONOUS_OFF, WAITS, "xxx", "", NULL},
        {SYNCHRONOUS_OFF, WAITS, "xxx", A, NULL},
        {SYNCHRONOUS_MIRROR, WAITS, "xhx", M, NULL},
        {SYNCHRONOUS_MIRROR, WAITS, "LxL", M, "dc1-b"},
        {SYNCHRONOUS_MIRROR, DEGRADES, "LxL", M, NULL}, /* not for long */
        {SYNCHRONOUS_MIRROR, WAITS, "xxx", "", NULL},
        {SYNCHRONOUS_SITE, WAITS, "x-h", "ANY 1 (" A ", " B ")", NULL},
        {SYNCHRONOUS_SITE, WAITS, "xL-", "ANY 1 (" A ", " B ")", "dc2-a, dc2-b"},
        {SYNCHRONOUS_SITE, WAITS, "xxx", "other", NULL}, /* about to be ours */
        {SYNCHRONOUS_ANY, WAITS, "xhx", "ANY 1 (" A ", " M ", " B ")", NULL},
        {SYNCHRONOUS_ANY, WAITS, "xxx", "ANY 1 (" A ", " M ", " B ")", "dc2-a, dc1-b, dc2-b"},
        {SYNCHRONOUS_ALL, WAITS, "hh-", "ANY 2 (" A ", " M ")", NULL},
        {SYNCHRONOUS_ALL, WAITS, "hx-", "ANY 2 (" A ", " M ")", "dc1-b"},
        {SYNCHRONOUS_ALL, WAITS, "-Lh", "ANY 2 (" A ", " M ")", "dc2-a"},
    };
    char who[200];

    (void)state;
    for (size_t i = 0; i < sizeof hanging / sizeof *hanging; i++) {
        struct quorum_facts f = facts_of(&four, hanging[i].mode, hanging[i].degrades,
                                         hanging[i].state, hanging[i].names);

        assert_int_equal(quorum_hangs(&f, who, sizeof who), hanging[i].who != NULL);
        if (hanging[i].who != NULL)
            assert_string_equal(who, hanging[i].who);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quorum_chooses_whom_commits_wait_for),
        cmocka_unit_test(test_quorum_that_waits_is_never_emptied),
        cmocka_unit_test(test_quorum_has_room_for_the_longest_names),
        cmocka_unit_test(test_quorum_knows_a_name_among_names),
        cmocka_unit_test(test_quorum_says_whom_commits_do_not_wait_for),
        cmocka_unit_test(test_quorum_says_for_whom_commits_hang),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

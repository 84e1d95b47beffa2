/* SPDX-License-Identifier: PostgreSQL */
/* replay: what a PostgreSQL has, against the WAL of the pool. */
#include "unit/unit.h"

#include "pool/replay.h"

#include <string.h>

#define give_up(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))
#define TWO          "1\t0/300\tx\n"
#define OTHER_TWO    "1\t0/200\tx\n"
#define THREE        "1\t0/300\tx\n2\t0/500\tx\n"

static struct lineage
lineage(timeline_t timeline, const char *text)
{
    return (struct lineage){.timeline = timeline, .text = text, .length = strlen(text)};
}

static struct replay_word
judged(const struct replay_facts *f)
{
    struct replay_word w;

    replay_judge(f, &w);
    return w;
}

/* Of a pool that went from timeline 1 to 2 at 0/300; the fork is told where the standby has forked. */
static const struct {
    const char *what, *own_text;
    timeline_t own;
    struct position replayed, checkpoint, recovery_end;
    enum replay replay;
    struct position fork;
} row[] = {
    {"behind the fork to come", "", 1, {1, 0x200}, {1, 0x100}, {0, 0}, REPLAY_FOLLOWS, {0, 0}},
    {"at the fork", "", 1, {1, 0x300}, {1, 0x100}, {0, 0}, REPLAY_FOLLOWS, {0, 0}},
    {"on the next timeline", TWO, 2, {2, 0x400}, {1, 0x100}, {1, 0x300}, REPLAY_FOLLOWS, {0}},
    {"checkpoint past the fork", "", 1, {1, 0x400}, {1, 0x301}, {0, 0}, REPLAY_FORKED, {1, 0x300}},
    {"recovery ended past it",
     "",
     1,
     {1, 0x400},
     {1, 0x100},
     {1, 0x400},
     REPLAY_FORKED,
     {1, 0x300}},
    {"... and asks for the next timeline",
     TWO,
     2,
     {2, 0x400},
     {1, 0x100},
     {1, 0x400},
     REPLAY_FORKED,
     {1, 0x300}},
    {"past it, maybe on the next one",
     "",
     1,
     {1, 0x400},
     {1, 0x100},
     {1, 0x250},
     REPLAY_UNKNOWN,
     {0}},
    {"another timeline 2", OTHER_TWO, 2, {2, 0x400}, {1, 0x100}, {0, 0}, REPLAY_FORKED, {1, 0x200}},
    {"a later timeline that the pool has not",
     TWO "2\t0/500\tx\n",
     3,
     {3, 0x600},
     {0, 0},
     {0, 0},
     REPLAY_UNKNOWN,
     {0}},
    {"... from the pool's first",
     OTHER_TWO,
     3,
     {3, 0x400},
     {3, 0x210},
     {0, 0},
     REPLAY_FORKED,
     {1, 0x200}},
    {"nothing replayed yet", "", 1, {1, 0}, {0, 0}, {0, 0}, REPLAY_UNKNOWN, {0}},
    {"its history cannot be read", "", 0, {1, 0x250}, {1, 0x100}, {0, 0}, REPLAY_FOLLOWS, {0}},
    {"a timeline that nobody knows", "", 0, {7, 0x250}, {1, 0x100}, {0, 0}, REPLAY_UNKNOWN, {0}},
};

static void
test_replay_of_a_standby(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct replay_facts f = {.pool = lineage(2, TWO),
                                 .own = lineage(row[i].own, row[i].own_text),
                                 .held = 0x450,
                                 .replayed = row[i].replayed,
                                 .reached = {row[i].checkpoint, row[i].recovery_end}};
        struct replay_word w = judged(&f);

        if (w.replay != row[i].replay ||
            (w.replay == REPLAY_FORKED &&
             (w.fork.timeline != row[i].fork.timeline || w.fork.lsn != row[i].fork.lsn)))
            give_up("%s: %d, timeline %u", row[i].what, w.replay, w.fork.timeline);
        assert_int_equal(w.keep_from, w.replay == REPLAY_FOLLOWS ? UINT64_MAX : 0);
        assert_false(w.missing);
    }
}

/* It was promoted while the pool went on on its old timeline: forked as soon as the pool has more. */
static void
test_replay_leaves_the_pool_when_both_go_on(void **state)
{
    struct replay_facts f = {.pool = lineage(1, ""),
                             .own = lineage(2, TWO),
                             .held = 0x300,
                             .replayed = {2, 0x400},
                             .reached = {{2, 0x350}}};

    (void)state;
    assert_int_equal(judged(&f).replay, REPLAY_UNKNOWN);
    f.held = 0x301;
    assert_int_equal(judged(&f).replay, REPLAY_FORKED);
    assert_int_equal(judged(&f).fork.lsn, 0x300);
    f.pool.timeline = 0; /* nobody knows the pool's lineage */
    assert_int_equal(judged(&f).replay, REPLAY_UNKNOWN);
}

static void
test_replay_promoted_without_what_was_acknowledged(void **state)
{
    struct replay_facts f = {.pool = lineage(1, ""),
                             .own = lineage(2, TWO),
                             .promoted = true,
                             .inserted = 0x900,
                             .acknowledged = {1, 0x300}};

    (void)state;
    f.acknowledged.lsn = 0x301; /* is that a record? */
    assert_true(judged(&f).unsure);
    assert_false(judged(&f).missing);
    assert_int_equal(judged(&f).keep_from, 0x300);
    f.pool = lineage(2, OTHER_TWO); /* on a timeline that it never was on: there are */
    f.own.timeline = 3;
    f.acknowledged = (struct position){2, 0x301};
    assert_true(judged(&f).missing);
    f.pool = lineage(1, "");
    f.own.timeline = 2;
    f.acknowledged = (struct position){1, 0x300};
    assert_false(judged(&f).unsure);
    f.whole = true;
    assert_false(judged(&f).missing);
    assert_int_equal(judged(&f).keep_from, UINT64_MAX);
    f.acknowledged.lsn = 0x301;
    assert_true(judged(&f).missing);
    assert_int_equal(judged(&f).keep_from, 0x300);
    assert_int_equal(judged(&f).at.lsn, 0x301);
    f.own = lineage(3, THREE); /* once more promoted since: it is missing still */
    assert_true(judged(&f).missing);
    f.acknowledged = (struct position){2, 0x500};
    assert_false(judged(&f).missing);
    f.own.timeline = 0; /* its history cannot be read: nothing is given up */
    assert_false(judged(&f).missing);
    assert_int_equal(judged(&f).keep_from, 0);
    f.own.timeline = 3;
    f.acknowledged.timeline = 0;
    assert_int_equal(judged(&f).keep_from, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replay_of_a_standby),
        cmocka_unit_test(test_replay_leaves_the_pool_when_both_go_on),
        cmocka_unit_test(test_replay_promoted_without_what_was_acknowledged),
    };

    return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}

/* SPDX-License-Identifier: PostgreSQL */
/* tail: whose WAL is taken before an epoch is spent, by table and by property. */
#include "unit/unit.h"

#include "pool/tail.h"

#include <stdio.h>
#include <string.h>

#define SEGMENT 0x1000

#define TWO   "1\t0/5000\tx\n"
#define OTHER "1\t0/4000\tx\n"
#define THREE TWO "2\t0/8000\tx\n"

static struct holder
held(timeline_t timeline, lsn_t lsn, const char *history)
{
    return (struct holder){.told = true,
                           .lineage = {timeline, history, strlen(history)},
                           .end = {timeline, lsn},
                           .start = 1};
}

/* Epoch 2 has left timeline 1 for timeline 2 at 0x5000. */
static struct pool
of_two(void)
{
    struct pool p = {.epoch = {2, "b"}, .timeline = 2};

    p.change[p.changes++] = (struct pool_change){.origin = {.epoch = {1, "a"}, .timeline = 1}};
    p.change[p.changes++] = (struct pool_change){
        .origin = {
            .epoch = {2, "b"}, .timeline = 2, .from = 1, .fork = 0x5000, .parent = {1, "a"}}};
    return p;
}

static void
test_tail_by_table(void **state)
{
    struct pool first = {.epoch = {1, "a"}, .timeline = 1}, second = of_two();
    const struct {
        const char *what;
        const struct pool *pool;
        struct holder ours, theirs;
        enum tail tail;
    } row[] = {
        {"as much", &first, held(1, 0x3000, ""), held(1, 0x3000, ""), TAIL_HERE},
        {"less", &first, held(1, 0x3000, ""), held(1, 0x2000, ""), TAIL_HERE},
        {"more", &first, held(1, 0x3000, ""), held(1, 0x3001, ""), TAIL_MORE},
        {"more, of the next timeline", &second, held(1, 0x3000, ""), held(2, 0x6000, TWO),
         TAIL_MORE},
        {"more, from the fork on", &second, held(1, 0x5000, ""), held(2, 0x5001, TWO), TAIL_MORE},
        {"ours parted before", &second, held(1, 0x5001, ""), held(2, 0x6000, TWO), TAIL_LEFT},
        {"theirs parted before", &second, held(2, 0x6000, TWO), held(1, 0x9000, ""), TAIL_APART},
        {"theirs is of before", &second, held(2, 0x6000, TWO), held(1, 0x5000, ""), TAIL_HERE},
        {"it goes on behind the fork, where we are not yet", &second, held(1, 0x3000, ""),
         held(1, 0x5001, ""), TAIL_APART},
        {"it goes on up to the fork", &second, held(1, 0x3000, ""), held(1, 0x5000, ""), TAIL_MORE},
        {"of a timeline of that number which another one made", &second, held(1, 0x3000, ""),
         held(2, 0x6000, OTHER), TAIL_APART},
        {"another one made ours", &second, held(2, 0x6000, OTHER), held(2, 0x7000, TWO), TAIL_LEFT},
        {"of an epoch that is not known here yet", &second, held(2, 0x6000, TWO),
         held(3, 0x9000, THREE), TAIL_MORE},
    };

    (void)state;
    first.change[first.changes++] =
        (struct pool_change){.origin = {.epoch = {1, "a"}, .timeline = 1}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (judge_tail(row[i].pool, &row[i].ours, SEGMENT, &row[i].theirs) != row[i].tail) {
            print_error("%s\n", row[i].what);
            assert_true(false);
        }
}

static void
test_tail_that_cannot_be_got(void **state)
{
    struct pool p = of_two();
    struct holder ours = held(2, 0x6000, TWO), theirs = held(2, 0x7000, TWO);

    (void)state;
    theirs.start = 0x6000;
    assert_int_equal(judge_tail(&p, &ours, 0x6000, &theirs), TAIL_MORE);
    theirs.start = 0x6001; /* a hole would be between */
    assert_int_equal(judge_tail(&p, &ours, 0x6000, &theirs), TAIL_LACKING);
    theirs.start = LSN_UNKNOWN;
    assert_int_equal(judge_tail(&p, &ours, 0x6000, &theirs), TAIL_LACKING);
    theirs.start = 1;
    theirs.failed = true;
    assert_int_equal(judge_tail(&p, &ours, 0x6000, &theirs), TAIL_LACKING);
    theirs.end.lsn = 0x6000; /* nothing was lacking */
    assert_int_equal(judge_tail(&p, &ours, 0x6000, &theirs), TAIL_HERE);
    theirs.told = false;
    assert_int_equal(judge_tail(&p, &ours, 0x6000, &theirs), TAIL_UNREAD);
}

static void
test_tail_of_the_one_with_the_most(void **state)
{
    struct holder holder[] = {held(1, 0x4000, ""), held(2, 0x7000, TWO), held(2, 0x6000, TWO),
                              held(1, 0x9000, "")};
    enum tail tail[] = {TAIL_MORE, TAIL_MORE, TAIL_MORE, TAIL_APART};

    (void)state;
    assert_int_equal(judge_tails(holder, tail, 4), 1);
    tail[1] = TAIL_LACKING;
    assert_int_equal(judge_tails(holder, tail, 4), 2);
    tail[2] = TAIL_UNREAD;
    assert_int_equal(judge_tails(holder, tail, 4), 0);
    tail[0] = TAIL_HERE;
    assert_true(judge_tails(holder, tail, 4) == TAIL_NOBODY);
}

/* ---- property: branches of WAL as they are in truth, and what is known of them ---- */

#define BRANCHES 6
#define HOLDERS  5

static struct branch {
    int parent;
    lsn_t fork;
    char history[400];
} branch[BRANCHES];
static uint64_t random_state;

static unsigned
draw(unsigned below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % below;
}

static void
grow(void)
{
    branch[0] = (struct branch){.parent = -1};
    for (int i = 1; i < BRANCHES; i++) {
        struct branch *b = &branch[i], *p;

        b->parent = (int)draw((unsigned)i);
        p = &branch[b->parent];
        b->fork = p->fork + draw(0x3000);
        snprintf(b->history, sizeof b->history, "%s%d\t0/%X\tx\n", p->history, b->parent + 1,
                 (unsigned)b->fork);
    }
}

static bool
is_on(int of, int ancestor, lsn_t *ret_end)
{
    *ret_end = UINT64_MAX;
    for (int b = of; b != ancestor; b = branch[b].parent) {
        if (b < 0)
            return false;
        if (branch[b].parent >= 0)
            *ret_end = branch[b].fork;
    }
    return true;
}

/* Is all WAL up to there part of that branch? */
static bool
is_in(int b, lsn_t lsn, int of)
{
    lsn_t end;

    while (branch[b].parent >= 0 && lsn <= branch[b].fork)
        b = branch[b].parent;
    return is_on(of, b, &end) && lsn <= end;
}

/* The pool's epochs have made the timelines that lead to that branch. */
static struct pool
pool_on(int of)
{
    int path[BRANCHES], n = 0;
    struct pool p = {0};

    for (int b = of; b >= 0; b = branch[b].parent)
        path[n++] = b;
    while (n-- > 0) {
        struct epoch_origin o = {.timeline = (timeline_t)path[n] + 1,
                                 .epoch = {p.changes + 1, "a"},
                                 .from = (timeline_t)(branch[path[n]].parent + 1),
                                 .fork = branch[path[n]].fork};

        p.change[p.changes++].origin = o;
        p.epoch = o.epoch;
        p.timeline = o.timeline;
    }
    return p;
}

static void
test_tail_takes_only_what_goes_on_behind_ours(void **state)
{
    size_t taken = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        int of, at[HOLDERS];
        struct holder holder[HOLDERS];
        static struct pool p;

        random_state = seed;
        grow();
        of = (int)draw(BRANCHES);
        p = pool_on(of);
        for (int i = 0; i < HOLDERS; i++) {
            at[i] = i == 0 ? of : (int)draw(BRANCHES);
            holder[i] = held((timeline_t)at[i] + 1, branch[at[i]].fork + 1 + draw(0x3000),
                             branch[at[i]].history);
        }
        for (int turn = 0; turn <= HOLDERS; turn++) { /* 0 takes over */
            enum tail tail[HOLDERS] = {TAIL_HERE};
            size_t from;

            for (int i = 1; i < HOLDERS; i++)
                tail[i] = judge_tail(&p, &holder[0], 1, &holder[i]);
            from = judge_tails(holder, tail, HOLDERS);
            for (int i = 1; i < HOLDERS; i++) {
                bool here = is_in(at[i], holder[i].end.lsn, at[0]) &&
                            (at[i] != at[0] || holder[i].end.lsn <= holder[0].end.lsn);

                assert_true(tail[i] != TAIL_HERE || here || from != TAIL_NOBODY ||
                            holder[i].end.lsn <= holder[0].end.lsn);
                assert_true(tail[i] != TAIL_LEFT || at[0] != of); /* ours is the pool's */
                if (tail[i] != TAIL_MORE)
                    continue;
                /* it goes on behind ours, and the pool has not left it */
                assert_true(is_in(at[0], holder[0].end.lsn, at[i]) &&
                            holder[i].end.lsn > holder[0].end.lsn);
                assert_true(at[i] > of || is_in(at[i], holder[i].end.lsn, of) || at[i] == of);
                assert_true(from != TAIL_NOBODY);
            }
            if (from == TAIL_NOBODY)
                break;
            assert_int_not_equal(turn, HOLDERS); /* each at most once */
            taken++;
            holder[0] = holder[from];
            at[0] = at[from];
        }
    }
    assert_true(taken > 1000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tail_by_table),
        cmocka_unit_test(test_tail_that_cannot_be_got),
        cmocka_unit_test(test_tail_of_the_one_with_the_most),
        cmocka_unit_test(test_tail_takes_only_what_goes_on_behind_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

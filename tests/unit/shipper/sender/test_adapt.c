/* SPDX-License-Identifier: PostgreSQL */
/* adapt: beside a model of a link, in virtual time: a server, a processor, a line, a far side. */
#include "unit/unit.h"

#include "base/clock.h"
#include "sender/adapt.h"

#include <stdlib.h>

#define READY_BYTES 1e6 /* frames that may wait for a lane, */
#define LANES_BYTES 8e6 /* of frames under way: four lanes */
#define BUSY_BYTES  256e3
#define SSH_US      0.0054 /* what both ends of SSH take for a byte */

/* Rates in MB/s, that is bytes per microsecond. uuid/md5 WAL, one thread. */
static const double speed[ADAPT_LEVELS] = {1000, 600, 246, 181};
static const double ratio[ADAPT_LEVELS] = {1.92, 2.33, 2.83, 2.90};

struct link {
    double server; /* gives so much WAL */
    double line;   /* takes so much of frames */
    double far;    /* takes so much WAL */
    double shared; /* us per byte of WAL that servers take of the one processor which compression
                      and SSH need, too; 0: compression has its own */
    double pauses; /* the far side takes nothing for so much of each 0.1 s */
    double noise;  /* of all rates: 0.2 is between 0.8 and 1.2 */
    double bursts; /* the line is a limit of a rate: what it gives comes in so many us */
};

struct world {
    struct adapt adapt;
    int64_t now_us;
    double wal, wire, given, arrived, taken, far_wal; /* so far */
    int64_t above_us;                                 /* spent above level 1 */
};

static void
start(struct world *w, unsigned rung)
{
    *w = (struct world){.now_us = SECOND_US};
    adapt_init(&w->adapt);
    w->adapt.rung = rung;
}

static double
least(double a, double b)
{
    return a < b ? a : b;
}

static double
noisy(const struct link *l, double rate)
{
    static double factor = 1;
    static unsigned n;

    if (n++ % 64 == 0)
        factor = 1 + l->noise * ((double)(random() % 2001) / 1000 - 1);
    return rate * factor;
}

/* One millisecond; the level is adapt's, or fixed. */
static void
turn(struct world *w, const struct link *l, int fixed)
{
    unsigned rung = fixed < 0 ? w->adapt.rung : (unsigned)fixed;
    const double us = MILLISECOND_US;
    double others = l->shared > 0 ? l->shared + SSH_US / ratio[rung] : 0;
    double speed_now = 1 / (1 / speed[rung] + others);
    bool pauses = (double)(w->now_us % 100000) < l->pauses * 100000;
    double compressed, took;
    double line = l->line;
    struct adapt_facts f = {0};

    if (l->bursts > 0)
        line = w->now_us % (int64_t)l->bursts == 0 ? line * l->bursts / us : 0;
    compressed = least(noisy(l, least(speed_now, l->server)) * us,
                       (READY_BYTES - (w->wire - w->given)) * ratio[rung]);
    compressed = compressed > 0 ? compressed : 0;
    f.frames_wait = w->wire - w->given > READY_BYTES / 2;
    f.wal_waits = !f.frames_wait && speed_now < l->server;
    f.far_busy = w->arrived - w->taken > BUSY_BYTES;
    if (l->shared > 0) { /* who runs is the scheduler's choice: frames wait for us, more or less */
        f.frames_wait = random() % 10 < (rung > 1 ? 7 : 9);
        f.far_busy = random() % 10 == 0;
    }
    w->wal += compressed;
    w->wire += compressed / ratio[rung];
    w->given += least(w->wire - w->given, LANES_BYTES - (w->given - w->taken));
    w->arrived += least(noisy(l, line) * us, w->given - w->arrived);
    took = pauses ? 0 : least(noisy(l, l->far) * us / ratio[rung], w->arrived - w->taken);
    w->taken += took;
    w->far_wal += took * ratio[rung];
    w->above_us += rung > 1 ? MILLISECOND_US : 0;
    f.backlog = true;
    f.wal_compressed = (uint64_t)w->wal;
    f.wire_compressed = (uint64_t)w->wire;
    f.wire_taken = (uint64_t)w->taken;
    adapt_look(&w->adapt, &f, w->now_us);
    w->now_us += MILLISECOND_US;
}

static void
run(struct world *w, const struct link *l, int fixed, int64_t us)
{
    for (int64_t end_us = w->now_us + us; w->now_us < end_us;)
        turn(w, l, fixed);
}

/* How much got through in so long, beside the best of the fixed levels. */
static double
beside_the_best(const struct link *l, unsigned rung, int64_t us, struct world *ret_world)
{
    double best = 0;

    for (int i = 0; i < ADAPT_LEVELS; i++) {
        struct world w;

        srandom(7);
        start(&w, (unsigned)i);
        run(&w, l, i, us);
        best = w.far_wal > best ? w.far_wal : best;
    }
    srandom(7);
    start(ret_world, rung);
    run(ret_world, l, -1, us);
    return ret_world->far_wal / best;
}

static void
check(const char *what, double number, const struct link *l, unsigned rung)
{
    struct world w;
    int64_t us =
        (30 + (int64_t)(60 / l->line)) * SECOND_US; /* a slow line shows later what it is */
    double got = beside_the_best(l, rung, us, &w);

    if (got < 0.95) {
        print_error("%s %.1f from rung %u: %.3f of the best fixed level, now on rung %u\n", what,
                    number, rung, got, w.adapt.rung);
        assert_true(false);
    }
}

static void
test_adapt_finds_the_best_level_for_a_line(void **state)
{
    (void)state;
    for (double line = 1; line < 2000; line *= 1.3)
        for (unsigned rung = 0; rung < ADAPT_LEVELS; rung++) {
            struct link l = {.server = 2000, .far = 2000, .line = line, .noise = 0.05};

            check("a line of MB/s", line, &l, rung);
        }
}

static void
test_adapt_follows_a_rate_limit(void **state)
{
    (void)state;
    for (double line = 1; line < 50; line *= 2) {
        struct link l = {.server = 2000, .far = 2000, .line = line, .noise = 0.05, .bursts = 20000};

        check("a limit of MB/s", line, &l, 1);
    }
}

/* A far side or a server that is slow: no level helps, the strong ones only cost. */
static void
test_adapt_does_not_climb_for_a_slow_end(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++)
        for (unsigned rung = 1; rung < ADAPT_LEVELS; rung++) {
            struct link l = {.server = 2000, .far = 2000, .line = 400, .noise = 0.2};
            struct world w;

            *(which == 0 ? &l.far : &l.server) = 50;
            assert_true(beside_the_best(&l, rung, 30 * SECOND_US, &w) > 0.95);
            assert_true(w.above_us <= (rung > 1 ? 2 : 1) * SECOND_US);
            assert_int_equal(w.adapt.rung, 1);
        }
}

/* It applies, flushes, takes WAL again: in between the line looks full. */
static void
test_adapt_does_not_climb_for_a_far_side_with_pauses(void **state)
{
    (void)state;
    for (double pauses = 0.1; pauses < 0.9; pauses += 0.1) {
        struct link l = {.server = 2000, .far = 100, .line = 400, .noise = 0.2, .pauses = pauses};
        struct world w;

        assert_true(beside_the_best(&l, 1, 30 * SECOND_US, &w) > 0.95);
        assert_true(w.above_us < 3 * SECOND_US);
    }
}

/* Packing takes from the same processor as SSH, the server and a standby that applies: frames wait
 * at every level, and the weak ones ship more. */
static void
test_adapt_does_not_climb_where_a_processor_is_shared(void **state)
{
    (void)state;
    for (double shared = 0.002; shared < 0.02; shared *= 1.5)
        for (unsigned rung = 1; rung < ADAPT_LEVELS; rung++) {
            struct link l = {
                .server = 2000, .far = 2000, .line = 2000, .shared = shared, .noise = 0.2};

            check("us a byte of others", shared, &l, rung);
        }
}

/* A line that is the limit stays so when the far side pauses, less than half of the time. */
static void
test_adapt_stays_strong_on_a_line_beside_other_limits(void **state)
{
    (void)state;
    for (double pauses = 0.1; pauses < 0.45; pauses += 0.1)
        for (unsigned rung = 1; rung < ADAPT_LEVELS; rung++) {
            struct link l = {
                .server = 2000, .far = 300, .line = 12.5, .noise = 0.1, .pauses = pauses};

            check("a line and pauses of", pauses, &l, rung);
        }
}

static void
test_adapt_leaves_within_a_second_what_does_not_pay_any_more(void **state)
{
    static const struct link line = {.server = 2000, .far = 2000, .line = 12.5},
                             slow_far = {.server = 2000, .far = 40, .line = 1000},
                             slow_server = {.server = 40, .far = 2000, .line = 1000},
                             fast = {.server = 2000, .far = 2000, .line = 1000},
                             shared = {.server = 2000, .far = 2000, .line = 2000, .shared = 0.005};
    static const struct link *const then[] = {&slow_far, &slow_server, &fast, &shared};

    (void)state;
    for (size_t i = 0; i < sizeof then / sizeof *then; i++) {
        struct world w;
        int64_t us;

        srandom(7);
        start(&w, 1);
        run(&w, &line, -1, 20 * SECOND_US);
        assert_int_in_range(w.adapt.rung, 2, 3);
        run(&w, then[i], -1, 200 * MILLISECOND_US); /* what is under way */
        for (us = 0; w.adapt.rung > 1 && us < 10 * SECOND_US; us += MILLISECOND_US)
            turn(&w, then[i], -1);
        assert_int_in_range(us, 0, SECOND_US + SECOND_US / 2); /* two rungs, a look for each */
        run(&w, &line, -1, 60 * SECOND_US);
        assert_int_in_range(w.adapt.rung, 2, 3);
    }
}

static void
test_adapt_leaves_a_stronger_level_that_nothing_has_proven(void **state)
{
    static const struct link line = {.server = 2000, .far = 2000, .line = 12.5};
    struct world w;

    (void)state;
    start(&w, 1);
    while (w.adapt.rung == 1)
        turn(&w, &line, -1);
    adapt_rest(&w.adapt);
    assert_int_equal(w.adapt.rung, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adapt_finds_the_best_level_for_a_line),
        cmocka_unit_test(test_adapt_follows_a_rate_limit),
        cmocka_unit_test(test_adapt_does_not_climb_for_a_slow_end),
        cmocka_unit_test(test_adapt_does_not_climb_for_a_far_side_with_pauses),
        cmocka_unit_test(test_adapt_does_not_climb_where_a_processor_is_shared),
        cmocka_unit_test(test_adapt_stays_strong_on_a_line_beside_other_limits),
        cmocka_unit_test(test_adapt_leaves_within_a_second_what_does_not_pay_any_more),
        cmocka_unit_test(test_adapt_leaves_a_stronger_level_that_nothing_has_proven),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

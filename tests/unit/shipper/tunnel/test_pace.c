/* SPDX-License-Identifier: PostgreSQL */
/* pace: beside a line of our own, in virtual time: one queue, a rate, a distance. */
#include "unit/unit.h"

#include "tunnel/pace.h"

#include <string.h>

#define PIECE   UINT64_C(40000)
#define TICK_US INT64_C(250)

static struct pace pace;
static int64_t now_us, busy_us, distance_us;
static double rate; /* bytes per microsecond */
static struct {
    int64_t mark_us, due_us;
} answer[256];
static unsigned answers;
static uint64_t sent;
static int64_t worst_us, least_us; /* the queue, since it was last cleared */

static int
make(void **state)
{
    (void)state;
    now_us = 1000000;
    busy_us = 0;
    answers = 0;
    sent = 0;
    pace_init(&pace, now_us);
    return 0;
}

static void
run(int64_t us)
{
    worst_us = 0;
    least_us = INT64_MAX;
    for (int64_t end_us = now_us + us; now_us < end_us; now_us += TICK_US) {
        while (answers > 0 && answer[0].due_us <= now_us) {
            pace_answered(&pace, answer[0].mark_us, now_us);
            memmove(answer, answer + 1, --answers * sizeof answer[0]);
        }
        for (int i = 0; i < 8 && pace_allows(&pace); i++) {
            int64_t mark_us;

            busy_us = (busy_us > now_us ? busy_us : now_us) + (int64_t)((double)PIECE / rate);
            sent += PIECE;
            if (pace_sent(&pace, PIECE, now_us, &mark_us) && answers < 256) {
                answer[answers].mark_us = mark_us;
                answer[answers++].due_us = busy_us + distance_us;
            }
        }
        if (busy_us - now_us > worst_us)
            worst_us = busy_us - now_us;
        if (busy_us - now_us < least_us)
            least_us = busy_us - now_us;
    }
}

static void
test_pace_fills_the_line_and_keeps_the_queue_short(void **state)
{
    static const struct {
        int64_t distance_us;
        double rate;
    } lines[] = {{40000, 12.5}, {5000, 12.5}, {80000, 12.5}, {1000, 50}, {40000, 30}};

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        uint64_t before;

        make(state);
        distance_us = lines[i].distance_us;
        rate = lines[i].rate;
        run(3000000);
        before = sent;
        run(6000000);
        assert_true((double)(sent - before) > 0.9 * rate * 6000000);
        assert_true(worst_us < 3 * PACE_QUEUE_US);
    }
}

static void
test_pace_sees_that_the_line_got_longer(void **state)
{
    uint64_t before;

    (void)state;
    distance_us = 2000;
    rate = 12.5;
    pace_hint(&pace, 2000);
    run(2000000);
    distance_us = 60000; /* another route */
    run(15000000);
    before = sent;
    run(5000000);
    assert_true((double)(sent - before) > 0.85 * rate * 5000000);
    assert_true(worst_us < 3 * PACE_QUEUE_US); /* 4 without the ramp after a look */
}

static void
test_pace_never_waits_for_an_answer_that_will_not_come(void **state)
{
    int64_t mark_us[8];
    unsigned marks = 0;

    (void)state;
    for (int turn = 0; turn < 1000; turn++) { /* all in one instant, answered in the next */
        marks = 0;
        while (marks < 8 && pace_allows(&pace))
            if (pace_sent(&pace, 30000, now_us, &mark_us[marks]))
                marks++;
        assert_true(marks > 0);
        now_us += 1000;
        for (unsigned i = 0; i < marks; i++)
            pace_answered(&pace, mark_us[i], now_us);
        pace_answered(&pace, 7, now_us); /* and some that nobody waits for */
        pace_answered(&pace, INT64_MIN, now_us);
        now_us += turn % 3;
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_pace_fills_the_line_and_keeps_the_queue_short, make),
        cmocka_unit_test_setup(test_pace_sees_that_the_line_got_longer, make),
        cmocka_unit_test_setup(test_pace_never_waits_for_an_answer_that_will_not_come, make),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

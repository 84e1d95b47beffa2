/* SPDX-License-Identifier: PostgreSQL */
/* The state of shipping, by its figures. */
#include "unit/unit.h"

#include "monitor/progress.h"

#include "base/clock.h"

#define MB UINT64_C(1048576)

static void
fill(struct trend *t, int64_t from_s, int64_t to_s, uint64_t value, int64_t step)
{
    trend_clear(t);
    for (int64_t s = from_s; s <= to_s; s++) {
        trend_add(t, s * SECOND_US, value);
        value = (uint64_t)((int64_t)value + step);
    }
}

struct pair {
    struct trend produced, shipped;
    struct progress_facts facts;
};

static void
begin(struct pair *p, int64_t produced, int64_t shipped, uint64_t backlog)
{
    fill(&p->produced, 0, 20, 1000 * MB, produced);
    fill(&p->shipped, 0, 20, 500 * MB, shipped);
    p->facts = (struct progress_facts){.up = true,
                                       .started = true,
                                       .reason = "",
                                       .primary = 1000 * MB + 20 * (uint64_t)produced,
                                       .flushed = 1000 * MB + 20 * (uint64_t)produced - backlog,
                                       .lag_known = true,
                                       .lag_us = backlog > 0 ? 30 * SECOND_US : SECOND_US / 4,
                                       .produced = &p->produced,
                                       .shipped = &p->shipped};
}

static struct progress
judge(const struct pair *p)
{
    struct progress s;

    progress_judge(&p->facts, 20 * SECOND_US, &s);
    return s;
}

static void
test_shipping_states(void **state)
{
    struct pair p;

    (void)state;
    begin(&p, 0, 0, 0);
    assert_int_equal(judge(&p).state, PROGRESS_FINAL);
    begin(&p, 1000, 1000, 0);
    assert_int_equal(judge(&p).state, PROGRESS_STEADY);
    begin(&p, 0, 0, 0);
    p.facts.primary = LSN_UNKNOWN; /* nobody knows that there is nothing left */
    assert_int_equal(judge(&p).state, PROGRESS_STEADY);
    begin(&p, 0, 0, 0);
    p.facts.up = false;
    p.facts.reason = "the line is cut";
    assert_int_equal(judge(&p).state, PROGRESS_ERROR);
    assert_string_equal(judge(&p).reason, "the line is cut");
    p.facts.reason = ""; /* dialling again: it was up once */
    assert_int_equal(judge(&p).state, PROGRESS_ERROR);
    p.facts.started = false;
    assert_int_equal(judge(&p).state, PROGRESS_NOT_STARTED);
}

static void
test_shipping_behind_tells_when_it_is_level_or_that_it_never_is(void **state)
{
    struct pair p;
    struct progress s;

    (void)state;
    begin(&p, MB, 3 * (int64_t)MB, 100 * MB);
    s = judge(&p);
    assert_int_equal(s.state, PROGRESS_BEHIND);
    assert_true(s.produced_known && s.shipped_known && s.level_known);
    assert_true(s.level_us > 49 * SECOND_US && s.level_us < 51 * SECOND_US);
    begin(&p, 3 * (int64_t)MB, MB, 100 * MB);
    s = judge(&p);
    assert_int_equal(s.state, PROGRESS_BEHIND);
    assert_false(s.level_known);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shipping_states),
        cmocka_unit_test(test_shipping_behind_tells_when_it_is_level_or_that_it_never_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

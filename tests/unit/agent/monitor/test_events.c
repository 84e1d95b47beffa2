/* SPDX-License-Identifier: PostgreSQL */
/* Events: raised and cleared once, with hysteresis, over restarts; and what the command is told. */
#include "unit/unit.h"

#include "monitor/events.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct events e;

static int
step_at(enum event_id id, bool holds, int64_t at_s, const struct event_entry **entry)
{
    struct event_condition c = {.holds = holds};

    snprintf(c.text, sizeof c.text, "it is so at %d", (int)at_s);
    return events_step(&e, id, &c, at_s * SECOND_US + 1, at_s * SECOND_US, entry);
}

static void
test_events_raise_once_after_their_grace_and_clear_once(void **state)
{
    const struct event_entry *entry;

    (void)state;
    memset(&e, 0, sizeof e);
    assert_int_equal(step_at(EVENT_LINK_DOWN, true, 1, &entry), 0);
    assert_int_equal(step_at(EVENT_LINK_DOWN, true, 3, &entry), 0);
    assert_int_equal(step_at(EVENT_LINK_DOWN, true, 4, &entry), 1);
    assert_true(entry->raised);
    assert_string_equal(entry->text, "it is so at 4");
    for (int64_t s = 5; s < 60; s++)
        assert_int_equal(step_at(EVENT_LINK_DOWN, true, s, &entry), 0);
    assert_string_equal(e.event[EVENT_LINK_DOWN].text, "it is so at 59");
    assert_int_equal(step_at(EVENT_LINK_DOWN, false, 60, &entry), 0);
    assert_int_equal(step_at(EVENT_LINK_DOWN, false, 64, &entry), 0);
    assert_int_equal(step_at(EVENT_LINK_DOWN, false, 65, &entry), 1);
    assert_false(entry->raised);
    assert_int_equal(entry->lasted_us, 61 * SECOND_US);
    assert_int_equal(step_at(EVENT_LINK_DOWN, false, 66, &entry), 0);
    assert_int_equal(e.event[EVENT_LINK_DOWN].raised, 1);
}

static void
test_events_do_not_follow_what_flaps(void **state)
{
    const struct event_entry *entry;

    (void)state;
    memset(&e, 0, sizeof e);
    for (int64_t s = 1; s < 100; s++) /* down for 2 s of 3 */
        assert_int_equal(step_at(EVENT_LINK_DOWN, s % 3 != 0, s, &entry), 0);
    assert_int_equal(step_at(EVENT_SHIP_LATE, true, 100, &entry), 1);
    for (int64_t s = 101; s < 200; s++)
        assert_int_equal(step_at(EVENT_SHIP_LATE, s % 4 == 0, s, &entry), 0);
}

static void
test_events_outlive_a_restart(void **state)
{
    static char file[EVENT_FILE_BYTES];
    const struct event_entry *entry;

    (void)state;
    memset(&e, 0, sizeof e);
    assert_int_equal(step_at(EVENT_SHIP_LATE, true, 1, &entry), 1);
    assert_int_equal(step_at(EVENT_SPOOL_REFUSES, true, 2, &entry), 1);
    assert_int_equal(step_at(EVENT_SPOOL_REFUSES, false, 3, &entry), 0);
    assert_int_equal(step_at(EVENT_SPOOL_REFUSES, false, 9, &entry), 1);
    assert_true(e.unsaved);
    events_save(&e, file);
    memset(&e, 0, sizeof e);
    events_load(&e, file);
    assert_false(e.unsaved);
    assert_int_equal(e.count, 3);
    assert_true(e.event[EVENT_SHIP_LATE].active);
    assert_false(e.event[EVENT_SPOOL_REFUSES].active);
    assert_int_equal(step_at(EVENT_SHIP_LATE, true, 20, &entry), 0);
    assert_int_equal(step_at(EVENT_SHIP_LATE, false, 21, &entry), 0);
    assert_int_equal(step_at(EVENT_SHIP_LATE, false, 31, &entry), 1);
    assert_int_equal(entry->lasted_us, 30 * SECOND_US);
}

static void
test_events_history_is_bounded_and_fits_its_file(void **state)
{
    static char file[EVENT_FILE_BYTES];
    struct event_condition c = {.holds = true};
    const struct event_entry *entry;
    size_t length, lines = 0;

    (void)state;
    memset(&e, 0, sizeof e);
    for (int64_t i = 1; i <= 1000; i++) {
        c.holds = i % 2 != 0;
        memset(c.text, '"', sizeof c.text - 1); /* two bytes each in JSON */
        assert_int_equal(
            events_step(&e, EVENT_ROLE_CHANGED, &c, i * SECOND_US, i * SECOND_US, &entry), 1);
    }
    assert_int_equal(e.count, EVENT_HISTORY_MAX);
    length = events_save(&e, file);
    assert_true(length < EVENT_FILE_BYTES);
    for (size_t i = 0; i < length; i++)
        lines += file[i] == '\n';
    assert_int_equal(lines, EVENT_HISTORY_MAX);
    memset(&e, 0, sizeof e);
    events_load(&e, file);
    assert_int_equal(e.count, EVENT_HISTORY_MAX);
    assert_int_equal(e.history[EVENT_HISTORY_MAX - 1].wall_us, 1000 * SECOND_US);
}

static void
test_events_load_leaves_out_what_it_cannot_read(void **state)
{
    (void)state;
    memset(&e, 0, sizeof e);
    events_load(&e, "no json\n{\"id\": \"WF001\"}\n"
                    "{\"id\": \"WF999\", \"state\": \"raised\", \"text\": \"\", \"wall_us\": 1}\n"
                    "{\"id\": \"WF002\", \"state\": \"raised\", \"text\": \"t\", \"wall_us\": 1}");
    assert_int_equal(e.count, 1);
    assert_true(e.event[EVENT_APPLY_LATE].active);
}

static void
test_events_ids_are_what_the_manual_says(void **state)
{
    char id[8];

    (void)state;
    for (enum event_id i = 0; i < EVENTS; i++) {
        snprintf(id, sizeof id, "WF%03d", (int)i + 1);
        assert_string_equal(event_kind(i)->id, id);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_raise_once_after_their_grace_and_clear_once),
        cmocka_unit_test(test_events_do_not_follow_what_flaps),
        cmocka_unit_test(test_events_outlive_a_restart),
        cmocka_unit_test(test_events_history_is_bounded_and_fits_its_file),
        cmocka_unit_test(test_events_load_leaves_out_what_it_cannot_read),
        cmocka_unit_test(test_events_ids_are_what_the_manual_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

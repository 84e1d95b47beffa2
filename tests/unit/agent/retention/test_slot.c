/* SPDX-License-Identifier: PostgreSQL */
/* slot: an alarm before idle_replication_slot_timeout lets its WAL go. */
#include "unit/unit.h"

#include "retention/slot.h"

#include "base/clock.h"

#include <stdio.h>

static void
test_slot_expires_from_half_of_the_timeout_on(void **state)
{
    struct postgres_sample s = {.slot_timeout_us = 60 * SECOND_US};
    struct postgres_slot slot = {.unused_us = 29 * SECOND_US};

    (void)state;
    assert_false(slot_expires(&s, &slot));
    slot.unused_us = 30 * SECOND_US;
    assert_true(slot_expires(&s, &slot));
    slot.unused_us = 3600 * SECOND_US; /* a checkpoint will strike */
    assert_true(slot_expires(&s, &slot));
    slot.lost = true;
    assert_false(slot_expires(&s, &slot));
}

static void
test_slot_in_use_or_without_timeout_does_not_expire(void **state)
{
    struct postgres_sample s = {.slot_timeout_us = 60 * SECOND_US};
    struct postgres_slot slot = {.active = true, .unused_us = -1};

    (void)state;
    assert_false(slot_expires(&s, &slot));
    s.slot_timeout_us = 0;
    slot.unused_us = 3600 * SECOND_US;
    assert_false(slot_expires(&s, &slot));
}

/* Whom another member feeds, and has all up to the last checkpoint, misses nothing if its slot here goes. */
static void
test_slot_is_spare_once_who_is_fed_elsewhere_has_its_wal(void **state)
{
    static struct outgoing out;
    struct who who = {
        .role = ROLE_PRIMARY,
        .self = &(struct member){.name = "dc1-a"},
        .pool = {
            .epoch = {1, "dc1-a"},
            .routes = {.epoch = {1, "dc1-a"},
                       .number = 1,
                       .count = 3,
                       .route = {{.member = "dc1-a", .why = ROUTE_PRIMARY},
                                 {.member = "dc2-a", .from = "dc1-a", .why = ROUTE_HEAD},
                                 {.member = "dc2-b", .from = "dc2-a", .why = ROUTE_RELAYED}}}}};
    struct postgres_sample s = {.redo = 1000};

    (void)state;
    out = (struct outgoing){.who = &who, .links = 1};
    snprintf(out.link[0].member, MEMBER_NAME_SIZE, "dc2-b");
    out.link[0].state = LINK_STOPPED;
    assert_false(slot_spare(&out, 0, &s));
    out.link[0].sender.far_known = true;
    out.link[0].sender.far.flushed = 999;
    assert_false(slot_spare(&out, 0, &s));
    out.link[0].sender.far.flushed = 1000;
    assert_true(slot_spare(&out, 0, &s));
    out.link[0].state = LINK_WAITING; /* from here, but not yet */
    assert_false(slot_spare(&out, 0, &s));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slot_expires_from_half_of_the_timeout_on),
        cmocka_unit_test(test_slot_in_use_or_without_timeout_does_not_expire),
        cmocka_unit_test(test_slot_is_spare_once_who_is_fed_elsewhere_has_its_wal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

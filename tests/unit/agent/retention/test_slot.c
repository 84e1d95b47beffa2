/* SPDX-License-Identifier: PostgreSQL */
/* slot: an alarm before idle_replication_slot_timeout lets its WAL go; what a new one does not hold is told. */
#include "unit/unit.h"

#include "retention/slot.h"

#include "base/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MB(n) ((lsn_t)(n) << 20)

const struct postgres_sample *__wrap_postgres_sample(const struct postgres *p);
const struct identity *__wrap_postgres_identity(const struct postgres *p);
enum postgres_state __wrap_postgres_state(const struct postgres *p);
bool __wrap_postgres_ask(struct postgres *p, enum postgres_command command, const char *argument);

static struct postgres_sample sample;
static int made;

const struct postgres_sample *
__wrap_postgres_sample(const struct postgres *p)
{
    (void)p;
    return &sample;
}

const struct identity *
__wrap_postgres_identity(const struct postgres *p)
{
    static const struct identity identity = {.system_identifier = 1, .segment_bytes = 1 << 20};

    (void)p;
    return &identity;
}

enum postgres_state
__wrap_postgres_state(const struct postgres *p)
{
    (void)p;
    return POSTGRES_UP;
}

bool
__wrap_postgres_ask(struct postgres *p, enum postgres_command command, const char *argument)
{
    (void)p;
    made += command == POSTGRES_MAKE_SLOT && strcmp(argument, "walferry_dc2_a") == 0;
    return true;
}

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

/* While a checkpoint is under way a new slot begins at that one's start, not at the last one's. */
static void
test_slot_made_anew_leaves_a_gap_up_to_where_it_begins(void **state)
{
    static struct outgoing out;
    static struct gaps gaps;
    struct who who = {
        .role = ROLE_PRIMARY, .self = &(struct member){.name = "dc1-a"}, .pool = {.timeline = 1}};
    char dir[] = "/tmp/wf-slot-XXXXXX", file[64];

    (void)state;
    assert_non_null(mkdtemp(dir));
    gaps.dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(gaps.dir >= 0);
    out = (struct outgoing){.who = &who, .links = 1, .slot_name = {"walferry_dc2_a"}};
    snprintf(out.link[0].member, MEMBER_NAME_SIZE, "dc2-a");
    out.link[0].sender.far_known = true;
    out.link[0].sender.far.flushed = MB(2) + 5;
    sample = (struct postgres_sample){.redo = MB(4)};
    slot_keep(&out, &gaps, "");
    assert_int_equal(made, 1);
    assert_int_equal(gaps.count,
                     1); /* what is known by now: this may be the last word of this life */
    assert_int_equal(gaps.gap[0].start, MB(2));
    assert_int_equal(gaps.gap[0].end, MB(4));
    sample.slots = 1;
    sample.slot[0] = (struct postgres_slot){.name = "walferry_dc2_a", .restart_lsn = MB(7) + 9};
    slot_keep(&out, &gaps, "");
    assert_int_equal(gaps.count, 1);
    assert_int_equal(gaps.gap[0].end, MB(7));
    sample.slot[0].restart_lsn = MB(9); /* moved on since, by what was shipped */
    slot_keep(&out, &gaps, "");
    assert_int_equal(gaps.gap[0].end, MB(7));
    assert_int_equal(made, 1);
    snprintf(file, sizeof file, "%s/" GAP_FILE, dir);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(rmdir(dir), 0);
    close(gaps.dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slot_expires_from_half_of_the_timeout_on),
        cmocka_unit_test(test_slot_in_use_or_without_timeout_does_not_expire),
        cmocka_unit_test(test_slot_is_spare_once_who_is_fed_elsewhere_has_its_wal),
        cmocka_unit_test(test_slot_made_anew_leaves_a_gap_up_to_where_it_begins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

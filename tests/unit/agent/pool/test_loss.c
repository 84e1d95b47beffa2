/* SPDX-License-Identifier: PostgreSQL */
/* loss: what the end of a primary costs, and how it is told. */
#include "unit/unit.h"

#include "pool/loss.h"

#include "base/clock.h"

#include <string.h>

static struct loss_facts facts;

static int
make(void **state)
{
    (void)state;
    facts = (struct loss_facts){
        .primary = "dc1-a",
        .covered = {.lsn = 0x900, .mono_us = 100 * SECOND_US, .wall_us = 2 * SECOND_US},
        .clock_known = true,
        .primary_us = 112 * SECOND_US,
        .compared = true,
        .end = 0x1000,
        .durable = 0xc00};
    return 0;
}

static struct loss
judged(void)
{
    struct loss l;

    loss_judge(&facts, &l);
    return l;
}

static void
says(const char *text)
{
    struct loss l = judged();
    char out[POOL_LOSS_SIZE];

    assert_string_equal(loss_text(&l, out), text);
}

static void
is_unknown(enum loss_why why, const char *text)
{
    struct loss l = judged();

    assert_int_equal(l.kind, LOSS_UNKNOWN);
    assert_int_equal(l.why, why);
    assert_false(loss_known(&l));
    assert_false(l.bytes_known);
    says(text);
}

static void
test_loss_is_what_came_since_the_covered_beacon(void **state)
{
    struct loss l = judged();

    (void)state;
    assert_int_equal(l.kind, LOSS_AT_MOST);
    assert_int_equal(l.age_us, 12 * SECOND_US);
    assert_int_equal(l.since_us, 2 * SECOND_US);
    assert_true(l.bytes_known);
    assert_int_equal(l.bytes, 0x400);
    says(
        "at most what was committed in the last 12 s or later (1.0 kB of WAL at least): everything "
        "before 1970-01-01 00:00:02.000 UTC (primary's clock) is here");
    facts.holder = "dc2-a";
    facts.end = LSN_UNKNOWN;
    says("at most what was committed in the last 12 s or later: everything before 1970-01-01 "
         "00:00:02.000 UTC (primary's clock) is on dc2-a");
}

/* A beacon of the last session still covers; how many bytes lack, nobody knows. */
static void
test_loss_in_bytes_wants_a_comparison(void **state)
{
    struct loss l;

    (void)state;
    facts.compared = false;
    l = judged();
    assert_int_equal(l.kind, LOSS_AT_MOST);
    assert_false(l.bytes_known);
    facts.compared = true;
    facts.durable = LSN_UNKNOWN;
    assert_false(judged().bytes_known);
    facts.durable = 0x2000; /* newer than the primary's last word */
    l = judged();
    assert_true(l.bytes_known);
    assert_int_equal(l.bytes, 0);
}

static void
test_loss_is_unknown_with_a_reason(void **state)
{
    (void)state;
    facts.clock_known = false;
    is_unknown(LOSS_WHY_CLOCK, "unknown; the clock of dc1-a is not known");
    facts.clock_known = true;
    facts.unproven = true;
    is_unknown(LOSS_WHY_UNPROVEN,
               "unknown; who ships with the key of dc1-a was not confirmed by it");
    facts.rescued = true; /* before that one came */
    assert_int_equal(judged().kind, LOSS_NONE);
    facts.rescued = facts.unproven = false;
    facts.covered = (struct beacon){0};
    is_unknown(LOSS_WHY_NOT_COMPARED,
               "unknown; what is here was not yet compared with what dc1-a has");
    facts.before.lsn = 0x900;
    facts.holder = "dc2-a";
    is_unknown(LOSS_WHY_WENT_BACK, "unknown; WAL of dc1-a that was on dc2-a is there no longer");
    facts.lacks = true;
    is_unknown(LOSS_WHY_LACKS,
               "unknown; the PostgreSQL on dc2-a lacks WAL from before what was shipped");
    facts = (struct loss_facts){.primary = "", .clock_known = true};
    is_unknown(LOSS_WHY_NOBODY, "unknown; no primary was heard of yet");
}

static void
test_loss_names_who_was_not_read(void **state)
{
    (void)state;
    facts.unread = "dc1-b, dc2-b";
    facts.compared = false;
    says("at most what was committed in the last 12 s or later: everything before 1970-01-01 "
         "00:00:02.000 UTC (primary's clock) is here; not read: dc1-b, dc2-b");
    facts.clock_known = false;
    says("unknown; the clock of dc1-a is not known; not read: dc1-b, dc2-b");
    facts.rescued = true; /* it had no more than dc1-a itself */
    says("none; everything that dc1-a had in pg_wal is here");
}

/* A failover, a status and a metric of a member that is neither. */
static void
test_loss_of_no_role_is_unknown(void **state)
{
    struct loss l = {0};
    char out[POOL_LOSS_SIZE];

    (void)state;
    assert_false(loss_known(&l));
    assert_string_equal(loss_text(&l, out),
                        "unknown; this member is neither the primary nor a standby");
}

static void
test_loss_of_a_rescued_primary_is_none(void **state)
{
    struct loss l;

    (void)state;
    facts.rescued = true;
    facts.rescued_us = SECOND_US / 2;
    facts.older = true; /* ... which was restored: what it had then is here, too */
    l = judged();
    assert_int_equal(l.kind, LOSS_NONE);
    assert_int_equal(l.age_us, SECOND_US / 2);
    assert_true(l.bytes_known);
    assert_int_equal(l.bytes, 0);
    says("none; everything that dc1-a had in pg_wal is here");
    facts.lacks = true; /* ... but cannot be replayed */
    assert_int_equal(judged().kind, LOSS_UNKNOWN);
}

static void
test_loss_tells_of_a_restored_primary(void **state)
{
    (void)state;
    facts.older = true;
    facts.compared = false;
    says("at most what was committed in the last 12 s or later: everything before 1970-01-01 "
         "00:00:02.000 UTC (primary's clock) is here; dc1-a was restored to an older state: "
         "nothing that it has committed since is here");
}

static void
test_loss_of_a_reclaim_is_all(void **state)
{
    (void)state;
    facts.reclaims = 7;
    facts.rescued = facts.lacks = true;
    assert_int_equal(judged().kind, LOSS_ALL);
    assert_false(judged().bytes_known);
    says("all that dc1-a committed as the primary of epoch 7; WAL of it that came here stays in "
         "the spool");
    facts.from = (struct position){2, 0x3000060}; /* its server has parted there */
    says("all that was committed in the pool behind 0/3000060 of timeline 2, up to epoch 7 of "
         "dc1-a; WAL of it that came here stays in the spool");
}

/* The longest one has room in a receipt. */
static void
test_loss_is_told_whole(void **state)
{
    struct loss l;
    char out[POOL_LOSS_SIZE];

    (void)state;
    facts.primary = facts.holder = "a-member-whose-name-is-very-long";
    facts.older = true;
    facts.covered.wall_us = (int64_t)4102444799 * SECOND_US;
    facts.primary_us = (int64_t)400 * 86400 * SECOND_US + 86399 * SECOND_US;
    facts.end = 0x123456789abcdef0;
    l = judged();
    loss_text(&l, out);
    assert_non_null(strstr(out, "that it has committed since is on a-member-whose"));
    assert_true(strlen(out) < sizeof out - 1);
}

static void
test_loss_of_several_holders_is_the_least(void **state)
{
    struct loss old, fresh, none, unknown;

    (void)state;
    old = judged();
    facts.primary_us -= SECOND_US;
    fresh = judged();
    facts.rescued = true;
    facts.rescued_us = 60 * SECOND_US;
    none = judged();
    facts = (struct loss_facts){.primary = "dc1-a"};
    unknown = judged();
    assert_true(loss_less(&fresh, &old));
    assert_false(loss_less(&old, &fresh));
    assert_true(loss_less(&none, &fresh));
    assert_false(loss_less(&fresh, &none));
    assert_true(loss_less(&old, &unknown));
    assert_false(loss_less(&unknown, &old));
    assert_false(loss_less(&unknown, &unknown));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_loss_is_what_came_since_the_covered_beacon, make),
        cmocka_unit_test_setup(test_loss_in_bytes_wants_a_comparison, make),
        cmocka_unit_test_setup(test_loss_is_unknown_with_a_reason, make),
        cmocka_unit_test_setup(test_loss_names_who_was_not_read, make),
        cmocka_unit_test_setup(test_loss_of_no_role_is_unknown, make),
        cmocka_unit_test_setup(test_loss_of_a_rescued_primary_is_none, make),
        cmocka_unit_test_setup(test_loss_tells_of_a_restored_primary, make),
        cmocka_unit_test_setup(test_loss_of_a_reclaim_is_all, make),
        cmocka_unit_test_setup(test_loss_is_told_whole, make),
        cmocka_unit_test_setup(test_loss_of_several_holders_is_the_least, make),
    };

    return cmocka_run_group_tests_name("loss", tests, NULL, NULL);
}

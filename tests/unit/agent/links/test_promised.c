/* SPDX-License-Identifier: PostgreSQL */
/* promised: what a member that the primary feeds, itself or through another one, says to a failover. */
#include "unit/unit.h"

#include "links/promised.h"

#include "base/clock.h"

#define NOW (100 * SECOND_US)

static struct config config = {.members = 4};
static struct member self = {.name = "dc2-b"}, head = {.name = "dc2-a"};
static struct own_ask asking;
static struct who who = {.config = &config, .self = &self, .asking = &asking};
static struct asks asks;
static struct incoming in;
static struct buf lane;

static int
make(void **state)
{
    (void)state;
    who.role = ROLE_STANDBY;
    who.pool = (struct pool){.epoch = {1, "dc1-a"}};
    who.postgres = postgres_new("host=/nowhere");
    asks = (struct asks){.ask[0] = {.to = &head, .own = 7}, .count = 1};
    in = (struct incoming){.who = &who,
                           .asks = &asks,
                           .inlet = {.incarnation = 7},
                           .receiver = {.from = "dc2-a",
                                        .origin = "dc1-a",
                                        .out = &lane,
                                        .heard_us = NOW,
                                        .stamped = {.lsn = 100, .mono_us = NOW + 6 * SECOND_US},
                                        .offset = {.known = true, .offset_us = 7 * SECOND_US}}};
    return 0;
}

static int
drop(void **state)
{
    (void)state;
    postgres_free(who.postgres);
    return 0;
}

static enum promise_verdict
verdict(void)
{
    const struct promise ask = {.number = 2, .nonce = 1, .asker = "dc1-b"};
    char reason[FRAME_REASON_MAX];

    return promised_judge(&in, &ask, NOW, reason);
}

static void
test_promised_by_the_word_of_the_primary_itself(void **state)
{
    struct receiver *r = &in.receiver;

    (void)state;
    snprintf(r->from, sizeof r->from, "dc1-a");
    assert_int_equal(verdict(), PROMISE_LATER);
    r->postgres = PONG_POSTGRES_ANSWERS;
    assert_int_equal(verdict(), PROMISE_NO);
    r->postgres = PONG_POSTGRES_DEAD;
    assert_int_equal(verdict(), PROMISE_YES);
}

/* The head of its site passes the primary's beacons on, and dates them by its own clock. */
static void
test_promised_not_while_beacons_are_passed_on(void **state)
{
    struct receiver *r = &in.receiver, whole = in.receiver;

    (void)state;
    assert_int_equal(verdict(), PROMISE_NO);
    r->stamped.mono_us -= SECOND_US;
    assert_int_equal(verdict(), PROMISE_YES);
    *r = whole;
    r->stamped.lsn = LSN_UNKNOWN;
    assert_int_equal(verdict(), PROMISE_YES);
    *r = whole;
    r->offset.known = false;
    assert_int_equal(verdict(), PROMISE_YES);
    *r = whole;
    asks.ask[0].own = 0; /* somebody with the key of that one */
    assert_int_equal(verdict(), PROMISE_YES);
    asks.ask[0].own = 7;
    r->stamped.mono_us += 3 * SECOND_US; /* of tomorrow */
    assert_int_equal(verdict(), PROMISE_YES);
    *r = whole;
    r->out = NULL;
    assert_int_equal(verdict(), PROMISE_YES);
    *r = whole;
    snprintf(r->origin, sizeof r->origin, "dc1-b"); /* of another epoch */
    assert_int_equal(verdict(), PROMISE_YES);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_promised_by_the_word_of_the_primary_itself, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_promised_not_while_beacons_are_passed_on, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

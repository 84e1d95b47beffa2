/* SPDX-License-Identifier: PostgreSQL */
/* Conditions: what is wrong with a member, by the facts of its rooms. */
#include "unit/unit.h"

#include "monitor/conditions.h"
#include "monitor/view.h"

#include "base/clock.h"
#include "pool/known.h"

#include <stdio.h>
#include <string.h>

static struct config config = {
    .ship_warning_us = 10 * SECOND_US, .apply_warning_us = 10 * SECOND_US, .members = 2};
static struct member self = {.name = "dc2-a"};
static struct who who = {.config = &config, .self = &self, .role = ROLE_STANDBY};
static struct asks asks;
static struct incoming in;
static struct rates rates;
static struct gaps gaps;
static struct outgoing out = {.who = &who};
static struct outbox outbox;
static struct disk_guard guard;
static struct known known;
static struct conditions conditions = {.who = &who, .event_command = {.command = ""}};
static const struct view view = {.who = &who,
                                 .asks = &asks,
                                 .out = &out,
                                 .in = &in,
                                 .rates = &rates,
                                 .outbox = &outbox,
                                 .gaps = &gaps,
                                 .guard = &guard,
                                 .conditions = &conditions,
                                 .known = &known};

/* A promise that its failover does not end is told, with the command that ends it. */
static void
test_conditions_tell_of_a_promise_that_stands(void **state)
{
    const struct event *e = &conditions.events.event[EVENT_PROMISED];
    int64_t us = 1000 * SECOND_US;

    (void)state;
    who.postgres = postgres_new("host=/nowhere");
    in.who = &who;
    who.spool = in.receiver.spool = in.receiver.into = &in.spool;
    for (int i = 0; i < 10; i++, us += SECOND_US)
        conditions_look(&conditions, &view, us, us);
    who.pool.promised = (struct epoch){.number = 2, .member = "dc3-a"};
    for (int i = 0; i < 60; i++, us += SECOND_US) {
        conditions_look(&conditions, &view, us, us);
        assert_false(e->active);
    }
    conditions_look(&conditions, &view, us, us);
    assert_true(e->active);
    assert_non_null(strstr(e->text, "epoch 2 is promised to dc3-a"));
    assert_non_null(strstr(e->text, "walferry failover --break-promise "));
    who.pool.promised.number = 0;
    conditions_look(&conditions, &view, us + SECOND_US, us + SECOND_US);
    assert_false(e->active);
    postgres_free(who.postgres);
}

static const struct event *
link_down_after(int64_t *us, int64_t seconds)
{
    for (int64_t end_us = *us + seconds * SECOND_US; *us <= end_us; *us += SECOND_US)
        conditions_look(&conditions, &view, *us, *us);
    return &conditions.events.event[EVENT_LINK_DOWN];
}

/* The primary dc1-a feeds dc2-a, and that one dc2-b. */
static void
make_primary(int64_t us)
{
    conditions = (struct conditions){.who = &who, .event_command = {.command = ""}};
    snprintf(self.name, sizeof self.name, "dc1-a");
    who.role = ROLE_PRIMARY;
    who.postgres = postgres_new("host=/nowhere");
    in.who = &who;
    who.spool = in.receiver.spool = in.receiver.into = &in.spool;
    who.pool =
        (struct pool){.epoch = {1, "dc1-a"},
                      .routes = {.epoch = {1, "dc1-a"},
                                 .number = 1,
                                 .count = 3,
                                 .route = {{.member = "dc1-a", .why = ROUTE_PRIMARY},
                                           {"dc2-a", "dc1-a", ROUTE_HEAD, false, false, 0},
                                           {"dc2-b", "dc2-a", ROUTE_RELAYED, false, false, 0}}}};
    out.links = out.far = 2;
    snprintf(out.link[0].member, MEMBER_NAME_SIZE, "dc2-a");
    snprintf(out.link[1].member, MEMBER_NAME_SIZE, "dc2-b");
    out.link[0].state = LINK_SHIPPING;
    out.link[1].state = LINK_STOPPED;
    known = (struct known){.since_us = us};
    known_add(&known, "dc1-a", true);
    known_add(&known, "dc2-a", false);
    known_add(&known, "dc2-b", false);
}

/* A member that another one feeds has no link here that could be down. */
static void
test_conditions_tell_of_a_fed_member_that_is_gone(void **state)
{
    struct route *route = &who.pool.routes.route[2];
    struct member_news news = {.member = "dc2-b"};
    int64_t us = 1000 * SECOND_US;
    const struct event *e;

    (void)state;
    make_primary(us);
    assert_false(link_down_after(&us, 9)->active); /* nothing was heard yet */
    assert_true(known_hear(&known, "dc2-a", &news, 1, us, us));
    assert_false(link_down_after(&us, 9)->active);
    e = link_down_after(&us, 6);
    assert_true(e->active);
    assert_non_null(strstr(e->text, "dc2-b, which dc2-a feeds, is not heard of for "));
    assert_null(strstr(e->text, "link to dc2-a"));
    assert_true(known_hear(&known, "dc2-b", &news, 1, us, us));
    assert_false(link_down_after(&us, 7)->active);
    route->cut = true;
    e = link_down_after(&us, 4);
    assert_true(e->active);
    assert_non_null(strstr(e->text, "dc2-b gets no WAL: dc2-a, which has to feed it, does not"));
    route->cut = false;
    assert_true(known_hear(&known, "dc2-b", &news, 1, us, us));
    assert_false(link_down_after(&us, 7)->active);
    snprintf(route->from, sizeof route->from, "dc1-a"); /* now it has a link that is down */
    e = link_down_after(&us, 4);
    assert_true(e->active);
    assert_non_null(strstr(e->text, "the link to dc2-b: "));
    postgres_free(who.postgres);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conditions_tell_of_a_promise_that_stands),
        cmocka_unit_test(test_conditions_tell_of_a_fed_member_that_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

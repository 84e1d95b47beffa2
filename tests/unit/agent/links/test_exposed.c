/* SPDX-License-Identifier: PostgreSQL */
/* exposed: what a loss is judged by, on both sides of a link. */
#include "unit/unit.h"

#include "links/exposed.h"

#include "base/clock.h"

#define NOW (100 * SECOND_US)

static struct config config = {.members = 2};
static struct member self = {.name = "dc2-a"};
static struct member primary = {.name = "dc1-a"};
static struct asks asks;
static struct who who = {.config = &config, .self = &self};
static struct incoming in;
static struct outgoing out;
static struct buf lane;

static int
make(void **state)
{
    (void)state;
    who.role = ROLE_STANDBY;
    who.postgres = postgres_new("host=/nowhere");
    in = (struct incoming){.who = &who,
                           .spool = {.flushed = 200, .written = 200},
                           .asks = &asks,
                           .inlet = {.incarnation = 7},
                           .receiver = {.from = "dc1-a", .origin = "dc1-a", .out = &lane}};
    asks = (struct asks){.ask[0] = {.to = &primary, .own = 7}, .count = 1};
    in.receiver.spool = in.receiver.into = &in.spool;
    out = (struct outgoing){.who = &who, .links = 2, .far = 2};
    for (size_t i = 0; i < 2; i++) {
        snprintf(out.link[i].member, sizeof out.link[i].member, "dc%zu-a", i + 2);
        out.link[i].sender.flushed.covered =
            (struct beacon){.lsn = 100, .mono_us = NOW - (int64_t)(3 - i) * SECOND_US};
    }
    return 0;
}

static int
drop(void **state)
{
    (void)state;
    postgres_free(who.postgres);
    return 0;
}

static enum loss_kind
kind_now(void)
{
    struct loss loss;

    exposed_now(&who, &in, &out, NOW, &loss);
    return loss.kind;
}

/* Each of what it takes to say "none" is taken away. */
static void
test_exposed_rescued_is_of_this_session(void **state)
{
    struct receiver *r = &in.receiver, whole;

    (void)state;
    assert_int_equal(kind_now(), LOSS_UNKNOWN);
    r->postgres = PONG_POSTGRES_DEAD;
    r->postgres_us = NOW - SECOND_US;
    r->drained = r->drained_done = true;
    r->drained_end = 200;
    whole = *r;
    assert_int_equal(kind_now(), LOSS_NONE);
    r->out = NULL;
    assert_int_equal(kind_now(), LOSS_UNKNOWN);
    *r = whole;
    r->postgres = PONG_POSTGRES_STARTING;
    assert_int_equal(kind_now(), LOSS_UNKNOWN);
    *r = whole;
    r->drained = false; /* asked anew */
    assert_int_equal(kind_now(), LOSS_UNKNOWN);
    *r = whole;
    r->drained_done = false;
    assert_int_equal(kind_now(), LOSS_UNKNOWN);
    *r = whole;
    r->drained_end = 201; /* not on disk yet */
    assert_int_equal(kind_now(), LOSS_UNKNOWN);
    *r = whole;
    r->detached = true;
    assert_int_equal(kind_now(), LOSS_UNKNOWN);
    *r = whole;
    assert_int_equal(kind_now(), LOSS_NONE);
    snprintf(r->origin, sizeof r->origin, "dc3-a"); /* it passes on what another one has */
    assert_int_equal(kind_now(), LOSS_UNKNOWN);
    *r = whole;
    in.inlet.incarnation = 9000; /* of nobody knows whom */
    assert_int_equal(kind_now(), LOSS_UNKNOWN);
}

static void
test_exposed_primary_loses_what_its_best_standby_lacks(void **state)
{
    struct loss loss;

    (void)state;
    who.role = ROLE_PRIMARY;
    exposed_now(&who, &in, &out, NOW, &loss);
    assert_int_equal(loss.kind, LOSS_AT_MOST);
    assert_int_equal(loss.age_us, 2 * SECOND_US);
    assert_string_equal(loss.holder, "dc3-a");
    out.link[0].drain.done = 150;
    out.link[0].sender.far.flushed = out.link[0].sender.far.compared = 150;
    exposed_now(&who, &in, &out, NOW, &loss);
    assert_int_equal(loss.kind, LOSS_AT_MOST); /* it does not say that its server is dead */
    out.link[0].sender.postgres = PONG_POSTGRES_DEAD;
    exposed_now(&who, &in, &out, NOW, &loss);
    assert_int_equal(loss.kind, LOSS_NONE);
    assert_string_equal(loss.holder, "dc2-a");
    out.link[0].sender.far.compared = 149; /* what it has may be of another life */
    exposed_now(&who, &in, &out, NOW, &loss);
    assert_int_equal(loss.kind, LOSS_AT_MOST);
    out.link[0].sender.far.compared = 150;
    out.link[0].sender.far.flushed = 149;
    exposed_now(&who, &in, &out, NOW, &loss);
    assert_int_equal(loss.kind, LOSS_AT_MOST);
}

/* What it has is lost with the site. */
static void
test_exposed_mirror_counts_for_nothing(void **state)
{
    struct loss loss;

    (void)state;
    who.role = ROLE_PRIMARY;
    out.far = 1;
    exposed_now(&who, &in, &out, NOW, &loss);
    assert_int_equal(loss.age_us, 3 * SECOND_US);
    assert_string_equal(loss.holder, "dc2-a");
}

static void
test_exposed_knows_nothing_in_other_roles(void **state)
{
    (void)state;
    who.role = ROLE_FENCED;
    assert_int_equal(kind_now(), LOSS_UNKNOWN);
    who.role = ROLE_PROMOTING;
    assert_int_equal(kind_now(), LOSS_UNKNOWN);
    who.role = ROLE_PRIMARY;
    out.far = 0;
    assert_int_equal(kind_now(), LOSS_UNKNOWN);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_exposed_rescued_is_of_this_session, make, drop),
        cmocka_unit_test_setup_teardown(test_exposed_primary_loses_what_its_best_standby_lacks,
                                        make, drop),
        cmocka_unit_test_setup_teardown(test_exposed_mirror_counts_for_nothing, make, drop),
        cmocka_unit_test_setup_teardown(test_exposed_knows_nothing_in_other_roles, make, drop),
    };

    return cmocka_run_group_tests_name("exposed", tests, NULL, NULL);
}

/* SPDX-License-Identifier: PostgreSQL */
/* What a standby that feeds others passes on: only what it has compared and flushed, and never too new. */
#include "unit/unit.h"

#include "links/onward.h"

#include "base/clock.h"

#include <stdio.h>

#define NOW (100 * SECOND_US)
#define MB  (UINT64_C(1) << 20)

static struct config config = {.name = "p",
                               .members = 3,
                               .feedback_keep_us = 60 * SECOND_US,
                               .downstream_max_bytes = 256 * MB};
static struct member self = {.name = "dc2-a"};
static struct who who;
static struct incoming in;
static struct outgoing out;
static struct buf lane;

static int
make(void **state)
{
    struct receiver *r = &in.receiver;

    (void)state;
    who = (struct who){.config = &config,
                       .self = &self,
                       .role = ROLE_STANDBY,
                       .pool = {.epoch = {1, "dc1-a"},
                                .routes = {.epoch = {1, "dc1-a"},
                                           .number = 1,
                                           .count = 3,
                                           .route = {{.member = "dc1-a", .why = ROUTE_PRIMARY},
                                                     {.member = "dc2-a", .from = "dc1-a"},
                                                     {.member = "dc2-b", .from = "dc2-a"}}}}};
    in = (struct incoming){.who = &who,
                           .spool = {.identity = {.segment_bytes = 16 * MB},
                                     .start = 32 * MB,
                                     .written = 70 * MB,
                                     .available = 70 * MB,
                                     .flushed = 70 * MB},
                           .receiver = {.from = "dc1-a", .origin = "dc1-a", .out = &lane}};
    r->spool = r->into = &in.spool;
    r->compared = 70 * MB;
    /* its clock is 1000 s ahead of ours, give or take 3 ms */
    r->offset = (struct clock_offset){.known = true,
                                      .offset_us = 1000 * SECOND_US,
                                      .error_us = 3 * MILLISECOND_US,
                                      .at_us = NOW,
                                      .count = 1};
    r->flushed.covered = (struct beacon){
        .lsn = 69 * MB, .wall_us = 5, .mono_us = NOW + 1000 * SECOND_US - SECOND_US};
    out = (struct outgoing){.who = &who, .links = 2};
    sender_init(&out.link[0].sender, NULL);
    sender_init(&out.link[1].sender, NULL);
    snprintf(out.link[0].member, MEMBER_NAME_SIZE, "dc2-b");
    snprintf(out.link[1].member, MEMBER_NAME_SIZE, "dc1-a");
    return 0;
}

static lsn_t
passed(void)
{
    onward_run(&in, &out, NOW);
    return out.link[0].sender.stamped.lsn;
}

static void
test_onward_dates_a_beacon_by_its_own_clock(void **state)
{
    (void)state;
    in.receiver.commits_wait = true;
    assert_true(passed() == 69 * MB);
    assert_int_equal(out.link[0].sender.stamped.mono_us, NOW - SECOND_US - 3 * MILLISECOND_US);
    assert_int_equal(out.link[0].sender.stamped.wall_us, 5);
    assert_true(out.link[0].sender.commits_wait);
    assert_int_equal(out.link[1].sender.stamped.lsn, LSN_UNKNOWN); /* which is not fed from here */
}

/* A better idea of the clock may date the same beacon otherwise; drift makes it worse. */
static void
test_onward_never_goes_back(void **state)
{
    (void)state;
    assert_true(passed() == 69 * MB);
    in.receiver.flushed.covered.lsn = 70 * MB;
    in.receiver.offset.offset_us += 10 * MILLISECOND_US;
    assert_true(passed() == 69 * MB);
    in.receiver.flushed.covered.mono_us += 10 * MILLISECOND_US;
    in.receiver.offset.at_us = NOW - 10 * SECOND_US;
    assert_true(passed() == 69 * MB);
    in.receiver.offset.at_us = NOW;
    in.receiver.flushed.covered.mono_us++;
    assert_true(passed() == 70 * MB);
}

/* Each of what it takes is taken away. */
static void
test_onward_passes_on_what_it_knows_for_sure(void **state)
{
    (void)state;
    for (int i = 0; i < 9; i++) {
        struct receiver *r = &in.receiver;

        make(NULL);
        if (i == 0)
            r->out = NULL;
        else if (i == 1)
            in.unproven = true;
        else if (i == 2)
            r->compared--;
        else if (i == 3)
            r->offset.count = 0;
        else if (i == 4)
            r->older = true;
        else if (i == 5)
            r->fenced = true;
        else if (i == 6)
            snprintf(in.front.reason, sizeof in.front.reason, "it lacks WAL");
        else if (i == 7)
            snprintf(r->origin, sizeof r->origin, "dc3-a"); /* the primary of another epoch */
        else
            who.role = ROLE_PROMOTING;
        assert_int_equal(passed(), LSN_UNKNOWN);
    }
}

static void
test_onward_keeps_what_is_needed(void **state)
{
    struct ack *far = &out.link[0].sender.far;

    (void)state;
    passed();
    assert_true(in.onward.needs == UINT64_MAX && in.onward.xmin == 0);
    out.link[0].sender.far_known = true;
    out.link[0].sender.heard_us = NOW;
    *far = (struct ack){.flushed = 48 * MB, .xmin = 700, .catalog_xmin = 0};
    passed();
    assert_true(in.onward.needs == 32 * MB); /* the segment before a border is compared */
    assert_true(in.onward.xmin == 700 && in.onward.catalog_xmin == 0);
    far->flushed++;
    passed();
    assert_true(in.onward.needs == 48 * MB);
    in.spool.available = 48 * MB + config.downstream_max_bytes + 1;
    passed();
    assert_true(in.onward.needs == UINT64_MAX);
    out.link[0].sender.heard_us = NOW - 61 * SECOND_US;
    passed();
    assert_int_equal(in.onward.xmin, 0);
}

static void
test_onward_feeds_who_lacks_nothing_from_before_its_spool(void **state)
{
    struct member_position stands = {.timeline = 1, .flushed = 40 * MB};

    (void)state;
    in.spool.timeline = 1;
    assert_true(onward_could_feed(&in, &stands));
    stands.flushed = 32 * MB; /* it would compare the segment before */
    assert_false(onward_could_feed(&in, &stands));
    stands = (struct member_position){.timeline = 1, .applied = 20 * MB};
    assert_false(onward_could_feed(&in, &stands));
    stands.applied = 40 * MB;
    assert_true(onward_could_feed(&in, &stands));
    stands.applied = 0; /* what it lacks before its spool only the primary can give */
    assert_false(onward_could_feed(&in, &stands));
    stands.flushed = 70 * MB;
    assert_true(onward_could_feed(&in, &stands));
    stands.flushed++; /* than is here */
    assert_false(onward_could_feed(&in, &stands));
    stands.timeline = 2; /* which left our lineage nobody knows where */
    stands.flushed = 40 * MB;
    assert_false(onward_could_feed(&in, &stands));
    stands = (struct member_position){.applied = 40 * MB};
    in.spool.start = in.spool.written = 0;
    in.spool.timeline = 0;
    assert_false(onward_could_feed(&in, &stands));
}

/* Another feeder would hear the same refusal, and what its PostgreSQL lacks is no matter of the way. */
static void
test_onward_reaches_who_refuses(void **state)
{
    struct link *l = &out.link[0];

    (void)state;
    l->state = LINK_WAITING;
    assert_false(onward_reaches(l));
    l->sender.refused = true;
    l->sender.refusal = REFUSE_RETRY; /* for now, by this feeder */
    assert_false(onward_reaches(l));
    l->sender.refusal = REFUSE_OPERATOR;
    assert_true(onward_reaches(l));
    l->sender.refusal = REFUSE_ABSENT;
    assert_true(onward_reaches(l));
    l->state = LINK_DIALING;
    assert_true(onward_reaches(l));
    l->sender.refused = false; /* another HELLO is out, or the answer to one was not that */
    assert_false(onward_reaches(l));
    l->state = LINK_SHIPPING;
    l->sender.far.flushed = LSN_UNKNOWN; /* its spool joins on to nothing yet */
    assert_false(onward_reaches(l));
    l->sender.far.flushed = 40 * MB;
    assert_true(onward_reaches(l));
    l->sender.far.fenced = true;
    assert_true(onward_reaches(l));
    snprintf(l->source_reason, sizeof l->source_reason, "the WAL is gone");
    assert_false(onward_reaches(l));
    l->state = LINK_STOPPED;
    l->source_reason[0] = '\0';
    l->sender.far.fenced = false;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_onward_dates_a_beacon_by_its_own_clock, make),
        cmocka_unit_test_setup(test_onward_never_goes_back, make),
        cmocka_unit_test(test_onward_passes_on_what_it_knows_for_sure),
        cmocka_unit_test_setup(test_onward_keeps_what_is_needed, make),
        cmocka_unit_test_setup(test_onward_feeds_who_lacks_nothing_from_before_its_spool, make),
        cmocka_unit_test_setup(test_onward_reaches_who_refuses, make),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

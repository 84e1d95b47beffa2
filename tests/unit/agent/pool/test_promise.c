/* SPDX-License-Identifier: PostgreSQL */
/* promise: when it is given, and what is enough for who asks. */
#include "unit/unit.h"

#include "base/clock.h"
#include "pool/promise.h"

#include <string.h>

/* Epoch 2 of "m"; asked is a member for epoch 3, or what the row says. */
struct row {
    const char *what, *self, *asker;
    uint64_t number;
    const char *promised; /* epoch 3, to whom; NULL: nobody */
    bool asks, forced;    /* a failover of our own */
    enum failover_step step;
    enum pong_postgres postgres;
    bool fed, doubted;
    enum promise_verdict verdict;
    const char *why; /* is in the reason */
};

static const struct row row[] = {
    {.what = "a standby", .self = "s", .asker = "x", .verdict = PROMISE_YES},
    {.what = "an epoch that is here already",
     .self = "s",
     .asker = "x",
     .number = 2,
     .verdict = PROMISE_NO,
     .why = "m is the primary of epoch 2"},
    {.what = "a higher one than the next",
     .self = "s",
     .asker = "x",
     .number = 9,
     .verdict = PROMISE_YES},
    {.what = "another was promised",
     .self = "s",
     .asker = "x",
     .promised = "y",
     .verdict = PROMISE_NO,
     .why = "s has promised epoch 3 to y"},
    {.what = "the same was", .self = "s", .asker = "x", .promised = "x", .verdict = PROMISE_YES},
    {.what = "the same asks for another",
     .self = "s",
     .asker = "x",
     .number = 4,
     .promised = "x",
     .verdict = PROMISE_YES},
    {.what = "both ask, ours has the lower name",
     .self = "s",
     .asker = "x",
     .asks = true,
     .verdict = PROMISE_YES},
    {.what = "both ask, ours has the higher name",
     .self = "s",
     .asker = "b",
     .asks = true,
     .verdict = PROMISE_NO,
     .why = "a failover to s runs there"},
    {.what = "both ask, ours is forced",
     .self = "s",
     .asker = "x",
     .asks = true,
     .forced = true,
     .verdict = PROMISE_NO,
     .why = "a failover to s runs there"},
    {.what = "it promotes itself",
     .self = "s",
     .asker = "x",
     .step = FAILOVER_DRAIN,
     .verdict = PROMISE_LATER},
    {.what = "the primary answers",
     .self = "m",
     .asker = "x",
     .postgres = PONG_POSTGRES_ANSWERS,
     .verdict = PROMISE_NO,
     .why = "the PostgreSQL of m answers"},
    {.what = "the primary is dead",
     .self = "m",
     .asker = "x",
     .postgres = PONG_POSTGRES_DEAD,
     .verdict = PROMISE_YES},
    {.what = "... starts",
     .self = "m",
     .asker = "x",
     .postgres = PONG_POSTGRES_STARTING,
     .verdict = PROMISE_LATER},
    {.what = "... stops",
     .self = "m",
     .asker = "x",
     .postgres = PONG_POSTGRES_STOPPING,
     .verdict = PROMISE_LATER},
    {.what = "... is silent",
     .self = "m",
     .asker = "x",
     .postgres = PONG_POSTGRES_SILENT,
     .verdict = PROMISE_LATER},
    {.what = "... was not asked yet",
     .self = "m",
     .asker = "x",
     .postgres = PONG_POSTGRES_UNKNOWN,
     .verdict = PROMISE_LATER},
    {.what = "a living primary feeds it",
     .self = "s",
     .asker = "x",
     .fed = true,
     .verdict = PROMISE_NO,
     .why = "s gets WAL of the primary m"},
    {.what = "one that may live does",
     .self = "s",
     .asker = "x",
     .doubted = true,
     .verdict = PROMISE_LATER},
};

static void
test_promise_is_given_or_refused(void **state)
{
    char reason[FRAME_REASON_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        const struct row *r = &row[i];
        static struct pool p;
        struct promise ask = {.word = PROMISE_ASK, .number = r->number != 0 ? r->number : 3};
        struct own_ask own = {.promise = {.number = r->asks ? 3 : 0}, .forced = r->forced};
        struct promise_facts f = {
            .own = &own, .postgres = r->postgres, .fed = r->fed, .doubted = r->doubted};

        p = (struct pool){.epoch = {2, "m"}, .step = r->step};
        if (r->promised != NULL) {
            p.promised.number = 3;
            strcpy(p.promised.member, r->promised);
        }
        strcpy(ask.asker, r->asker);
        if (judge_promise(&p, r->self, &f, &ask, reason) != r->verdict ||
            strstr(reason, r->why != NULL ? r->why : "") == NULL ||
            (r->why == NULL) != (reason[0] == '\0')) {
            print_error("%s: %s\n", r->what, reason);
            assert_true(false);
        }
    }
}

static const struct {
    const char *what;
    struct asked_member m;
    size_t members;
    struct failover_wish wish;
    enum asked_verdict verdict;
} asked[] = {
    {"promised", {.given = true}, 3, {0}, ASKED_MEMBER_GOOD},
    {"refused, there are two", {.refused = true}, 2, {0}, ASKED_MEMBER_LACKS},
    {"refused, a third one may give way", {.refused = true}, 3, {0}, ASKED_MEMBER_WAITS},
    {"refused at first, and not answered since",
     {.refused = true, .asked_us = 9 * SECOND_US, .refused_us = 2 * SECOND_US},
     3,
     {.dead = true},
     ASKED_MEMBER_WAITS},
    {"refused again",
     {.refused = true, .asked_us = 3 * SECOND_US, .refused_us = 3 * SECOND_US},
     3,
     {0},
     ASKED_MEMBER_LACKS},
    {"refused for who gives way",
     {.refused = true, .yields = true, .asked_us = 9 * SECOND_US, .refused_us = 9 * SECOND_US},
     3,
     {0},
     ASKED_MEMBER_WAITS},
    {"... for long",
     {.refused = true, .yields = true, .asked_us = 10 * SECOND_US},
     3,
     {0},
     ASKED_MEMBER_LACKS},
    {"refused, by force", {.refused = true}, 3, {.force = true}, ASKED_MEMBER_GOOD},
    {"no answer yet", {.asked_us = 9 * SECOND_US}, 3, {0}, ASKED_MEMBER_WAITS},
    {"no answer", {.asked_us = 10 * SECOND_US}, 3, {0}, ASKED_MEMBER_LACKS},
    {"no answer, by force",
     {.linked = true, .asked_us = 3 * SECOND_US},
     3,
     {.force = true},
     ASKED_MEMBER_GOOD},
    {"the primary is away, of two", {.primary = true, .failed = true}, 2, {0}, ASKED_MEMBER_GOOD},
    {"... and its host does not refuse",
     {.primary = true, .dials_us = 2 * SECOND_US},
     2,
     {0},
     ASKED_MEMBER_WAITS},
    {"... for long", {.primary = true, .dials_us = 3 * SECOND_US}, 2, {0}, ASKED_MEMBER_GOOD},
    {"... of three", {.primary = true, .failed = true}, 3, {0}, ASKED_MEMBER_WAITS},
    {"... of three, dead by a DBA's word",
     {.primary = true, .failed = true},
     3,
     {.dead = true},
     ASKED_MEMBER_GOOD},
    {"another than the primary is away", {.failed = true}, 3, {.dead = true}, ASKED_MEMBER_WAITS},
    {"dead by a DBA's word, and there",
     {.primary = true, .reached = true, .asked_us = 10 * SECOND_US},
     2,
     {.dead = true},
     ASKED_MEMBER_LACKS},
    {"linked, and no answer",
     {.primary = true, .linked = true, .asked_us = 3 * SECOND_US},
     2,
     {.dead = true},
     ASKED_MEMBER_WAITS},
};

static void
test_promise_is_enough_or_lacks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++)
        if (judge_asked(&asked[i].m, asked[i].members, &asked[i].wish) != asked[i].verdict) {
            print_error("%s\n", asked[i].what);
            assert_true(false);
        }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_promise_is_given_or_refused),
        cmocka_unit_test(test_promise_is_enough_or_lacks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

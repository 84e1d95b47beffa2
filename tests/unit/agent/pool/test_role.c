/* SPDX-License-Identifier: PostgreSQL */
/* role: what the judge makes of facts. */
#include "unit/unit.h"

#include "pool/role.h"

#include <stdio.h>
#include <string.h>

static struct pool
pool_of(uint64_t number, const char *member)
{
    struct pool p = {0};
    struct epoch_origin o = {.epoch = {.number = 1}, .timeline = 1};

    for (uint64_t n = 1; n <= number; n++) {
        o.epoch.number = n;
        o.timeline = (timeline_t)n;
        snprintf(o.epoch.member, sizeof o.epoch.member, "%s", n == number ? member : "a");
        pool_adopt(&p, &o, 0);
    }
    return p;
}

static struct judge_facts
facts_of(const char *name, bool in_recovery)
{
    return (struct judge_facts){.self = {.name = name,
                                         .seen = true,
                                         .up = true,
                                         .in_recovery = in_recovery,
                                         .timeline = 1,
                                         .system_identifier = 7},
                                .spool = "/spool",
                                .spool_system_identifier = 7};
}

static struct judgement
judged(const struct pool *p, const struct judge_facts *f)
{
    struct judgement j;

    judge_step(p, f, &j);
    return j;
}

static void
test_role_pool_begins_with_a_writable_postgres(void **state)
{
    struct pool none = {0}, p = pool_of(1, "a");
    struct judge_facts f = facts_of("a", false);
    struct epoch_origin first;

    (void)state;
    assert_true(judge_first(&none, &f.self, &first));
    assert_int_equal(first.epoch.number, 1);
    assert_string_equal(first.epoch.member, "a");
    assert_int_equal(first.timeline, 1);
    assert_false(judge_first(&p, &f.self, &first));
    f.self.in_recovery = true;
    assert_false(judge_first(&none, &f.self, &first));
    f.self.seen = f.self.in_recovery = false;
    assert_false(judge_first(&none, &f.self, &first));
}

static void
test_role_follows_the_epoch(void **state)
{
    struct pool none = {0}, p = pool_of(2, "b");
    struct judge_facts f = facts_of("b", true);

    (void)state;
    assert_int_equal(judged(&none, &f).role, ROLE_STANDBY);
    f.self.seen = false;
    assert_int_equal(judged(&none, &f).role, ROLE_UNKNOWN);
    assert_int_equal(judged(&p, &f).role, ROLE_PRIMARY);
    f = facts_of("a", true);
    assert_int_equal(judged(&p, &f).role, ROLE_STANDBY);
    assert_string_equal(judged(&p, &f).alarm, "");
    f.self.in_recovery = false;
    assert_int_equal(judged(&p, &f).role, ROLE_FENCED);
    p.step = FAILOVER_DRAIN;
    assert_int_equal(judged(&p, &f).role, ROLE_PROMOTING);
}

static void
test_role_timeline_is_the_writable_primarys(void **state)
{
    struct pool p = pool_of(2, "b");
    struct judge_facts f = facts_of("b", false);

    (void)state;
    f.self.timeline = 5;
    assert_int_equal(judged(&p, &f).timeline, 5);
    f.self.in_recovery = true;
    assert_int_equal(judged(&p, &f).timeline, 2);
    f = facts_of("a", true);
    assert_int_equal(judged(&p, &f).timeline, 2);
}

static void
test_role_alarms_name_what_is_wrong(void **state)
{
    struct pool p = pool_of(2, "b");
    struct judge_facts fenced = facts_of("a", false), by_hand = facts_of("c", false),
                       primary = facts_of("b", true), other = facts_of("b", false);
    struct judge_facts rival = facts_of("b", false);

    (void)state;
    assert_non_null(strstr(judged(&p, &fenced).alarm, "this former primary"));
    fenced.self.up = false;
    assert_non_null(strstr(judged(&p, &fenced).alarm, "Its PostgreSQL is down"));
    assert_non_null(strstr(judged(&p, &by_hand).alarm, "promoted outside of walferry"));
    assert_non_null(strstr(judged(&p, &primary).alarm, "is in recovery"));
    other.spool_system_identifier = 8;
    assert_non_null(strstr(judged(&p, &other).alarm, "another database cluster"));
    rival.others = 1;
    rival.other[0] = (struct member_facts){.name = "c", .claim = {.number = 2, .member = "c"}};
    assert_non_null(strstr(judged(&p, &rival).alarm, "claimed by b and by c"));
    rival.other[0].claim.number = 1; /* decided since */
    assert_string_equal(judged(&p, &rival).alarm, "");
    p.step = FAILOVER_SLOTS;
    primary.failover_runs = true;
    assert_string_equal(judged(&p, &primary).alarm, "");
    primary.failover_runs = false;
    assert_non_null(strstr(judged(&p, &primary).alarm, "stands at step 4 of 5"));
}

static void
test_role_news_are_believed_on_a_later_timeline(void **state)
{
    struct pool p = pool_of(2, "b");
    struct epoch_origin told = {.epoch = {.number = 2, .member = "b"}, .timeline = 2};

    (void)state;
    assert_int_equal(judge_news(&p, &told), NEWS_NONE);
    strcpy(told.epoch.member, "c");
    assert_int_equal(judge_news(&p, &told), NEWS_RIVAL);
    told.epoch.number = 1;
    assert_int_equal(judge_news(&p, &told), NEWS_NONE);
    told.epoch.number = 3;
    assert_int_equal(judge_news(&p, &told), NEWS_UNBELIEVED);
    told.timeline = 3;
    assert_int_equal(judge_news(&p, &told), NEWS_EPOCH);
    told.timeline = 0;
    assert_int_equal(judge_news(&p, &told), NEWS_EPOCH);
}

static void
test_role_claim_is_the_primarys_own(void **state)
{
    struct pool p = pool_of(2, "b");
    char reason[FRAME_REASON_MAX];
    enum refuse_kind kind;
    static const struct {
        const char *from;
        struct epoch epoch;
        enum claim claim;
        enum refuse_kind kind;
    } row[] = {
        {"b", {.number = 2, .member = "b"}, CLAIM_GOOD, REFUSE_OPERATOR},
        {"a", {.number = 1, .member = "a"}, CLAIM_REFUSED, REFUSE_EPOCH},
        {"c", {.number = 2, .member = "c"}, CLAIM_REFUSED, REFUSE_CONFLICT},
        {"a", {.number = 2, .member = "b"}, CLAIM_REFUSED, REFUSE_OPERATOR},
        {"c", {.number = 3, .member = "c"}, CLAIM_HIGHER, REFUSE_OPERATOR},
        {"a", {.number = 3, .member = "c"}, CLAIM_REFUSED, REFUSE_OPERATOR},
    };

    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        assert_int_equal(judge_claim(&p, row[i].from, &row[i].epoch, &kind, reason), row[i].claim);
        assert_int_equal(kind, row[i].kind);
    }
}

static void
test_role_failover_asks_what_the_primary_does(void **state)
{
    struct failover_wish plain = {0}, force = {.force = true}, dry = {.dry_run = true},
                         failed = {.rescue_failed = true};

    (void)state;
    assert_int_equal(judge_answer(PONG_POSTGRES_UNKNOWN, &force), ANSWER_WAIT);
    assert_int_equal(judge_answer(PONG_POSTGRES_ANSWERS, &plain), ANSWER_REFUSE);
    assert_int_equal(judge_answer(PONG_POSTGRES_ANSWERS, &force), ANSWER_GO_ON);
    assert_int_equal(judge_answer(PONG_POSTGRES_ANSWERS, &dry), ANSWER_GO_ON);
    assert_int_equal(judge_answer(PONG_POSTGRES_DEAD, &plain), ANSWER_RESCUE);
    assert_int_equal(judge_answer(PONG_POSTGRES_DEAD, &force), ANSWER_RESCUE);
    assert_int_equal(judge_answer(PONG_POSTGRES_DEAD, &dry), ANSWER_GO_ON);
    assert_int_equal(judge_answer(PONG_POSTGRES_DEAD, &failed), ANSWER_GO_ON);
    assert_int_equal(judge_answer(PONG_POSTGRES_SILENT, &plain), ANSWER_GO_ON);
}

static void
test_role_failover_goes_through_every_step(void **state)
{
    enum failover_step step = FAILOVER_NONE;

    (void)state;
    for (int i = FAILOVER_EPOCH; i <= FAILOVER_PROMOTE; i++) {
        step = failover_after(step);
        assert_int_equal(step, i);
    }
    assert_int_equal(failover_after(step), FAILOVER_NONE);
}

static void
test_role_concierge_sends_writers_to_a_primary_that_answers(void **state)
{
    struct concierge_facts good = {.role = ROLE_PRIMARY, .alarm = "", .answers = true}, f = good;

    (void)state;
    assert_null(judge_concierge(&f));
    f.young = true;
    assert_non_null(judge_concierge(&f));
    f.peer_heard = true;
    assert_null(judge_concierge(&f));
    f = good;
    f.role = ROLE_PROMOTING;
    assert_non_null(judge_concierge(&f));
    f = good;
    f.alarm = "two primaries";
    assert_string_equal(judge_concierge(&f), "two primaries");
    f = good;
    f.answers = false;
    assert_non_null(judge_concierge(&f));
    f = good;
    f.in_recovery = true;
    assert_non_null(judge_concierge(&f));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_role_pool_begins_with_a_writable_postgres),
        cmocka_unit_test(test_role_follows_the_epoch),
        cmocka_unit_test(test_role_timeline_is_the_writable_primarys),
        cmocka_unit_test(test_role_alarms_name_what_is_wrong),
        cmocka_unit_test(test_role_news_are_believed_on_a_later_timeline),
        cmocka_unit_test(test_role_claim_is_the_primarys_own),
        cmocka_unit_test(test_role_failover_asks_what_the_primary_does),
        cmocka_unit_test(test_role_failover_goes_through_every_step),
        cmocka_unit_test(test_role_concierge_sends_writers_to_a_primary_that_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

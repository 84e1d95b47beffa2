/* SPDX-License-Identifier: PostgreSQL */
/* believe: whose word counts. Each case is judged from both sides. */
#include "unit/unit.h"

#include "pool/believe.h"

#include <stdio.h>
#include <string.h>

static struct pool ours;
static struct told told;

/* The chain 1 a, 2 b, 3 a ...: the odd epochs are a's. Each forks off the timeline before. */
static void
begin(uint64_t number)
{
    ours = (struct pool){0};
    for (uint64_t n = 1; n <= number; n++) {
        struct epoch_origin o = {.timeline = (timeline_t)n, .how = EPOCH_BY_FAILOVER};

        o.epoch.number = n;
        strcpy(o.epoch.member, n % 2 == 1 ? "a" : "b");
        pool_adopt(&ours, &o, 0);
    }
}

static void
add(struct pool *p, uint64_t number, const char *member, timeline_t timeline, enum epoch_how how)
{
    struct epoch_origin o = {.timeline = timeline, .how = how};

    o.epoch.number = number;
    strcpy(o.epoch.member, member);
    pool_adopt(p, &o, 0);
}

static void
say(const struct pool *p, const char *teller)
{
    told = (struct told){.of_pool = true, .timeline = p->timeline, .changes = p->changes};
    strcpy(told.teller, teller);
    memcpy(told.change, p->change, sizeof told.change);
}

/* What `self`, who knows `mine`, makes of the word of `teller`, who knows `theirs`. */
static enum news
hears(const struct pool *mine, const char *self, const struct pool *theirs, const char *teller)
{
    say(theirs, teller);
    return judge_news(mine, self, &told);
}

static void
test_believe_an_epoch_that_follows(void **state)
{
    static struct pool theirs;

    (void)state;
    begin(1);
    theirs = ours;
    add(&theirs, 2, "b", 2, EPOCH_BY_FAILOVER);
    assert_int_equal(hears(&ours, "a", &theirs, "b"), NEWS_EPOCH);
    assert_int_equal(hears(&ours, "c", &theirs, "b"), NEWS_EPOCH);
    assert_int_equal(hears(&theirs, "b", &ours, "a"), NEWS_NONE);
    add(&theirs, 3, "a", 3, EPOCH_BY_FAILOVER); /* two at once */
    assert_int_equal(hears(&ours, "a", &theirs, "b"), NEWS_EPOCH);
    assert_int_equal(hears(&theirs, "b", &ours, "a"), NEWS_NONE);
}

static void
test_believe_while_it_promotes(void **state)
{
    static struct pool theirs;

    (void)state;
    begin(1);
    theirs = ours;
    add(&theirs, 2, "b", 0, EPOCH_BY_FAILOVER);
    assert_int_equal(hears(&ours, "a", &theirs, "b"), NEWS_EPOCH);
    pool_take(&ours, &told);
    assert_int_equal(pool_origin(&ours).timeline, 1);
    assert_int_equal(hears(&ours, "a", &theirs, "b"), NEWS_NONE);
    pool_promoted(&theirs, 2, "1\t0/5000000\tx\n", 14);
    assert_int_equal(hears(&ours, "a", &theirs, "c"), NEWS_NONE); /* it is not c's to say */
    assert_int_equal(hears(&ours, "a", &theirs, "b"), NEWS_CHAIN);
    pool_take(&ours, &told);
    assert_int_equal(ours.timeline, 2);
    assert_int_equal(pool_origin(&ours).fork, 0x5000000);
    assert_int_equal(hears(&ours, "a", &theirs, "b"), NEWS_NONE);
}

static void
test_believe_no_other_primary_of_our_epoch(void **state)
{
    static struct pool theirs;

    (void)state;
    begin(1);
    theirs = ours;
    add(&ours, 2, "b", 2, EPOCH_BY_FAILOVER);
    add(&theirs, 2, "c", 2, EPOCH_BY_FAILOVER);
    assert_int_equal(hears(&ours, "b", &theirs, "c"), NEWS_RIVAL);
    assert_int_equal(hears(&theirs, "c", &ours, "b"), NEWS_RIVAL);
    add(&theirs, 3, "b", 3, EPOCH_BY_FAILOVER); /* higher, past our epoch */
    assert_int_equal(hears(&ours, "b", &theirs, "c"), NEWS_RIVAL);
    assert_int_equal(hears(&theirs, "c", &ours, "b"), NEWS_RIVAL);
}

/* The primary that was cut off was promoted on a timeline of its own. */
static void
test_believe_not_what_forked_elsewhere(void **state)
{
    static struct pool theirs;

    (void)state;
    begin(1);
    theirs = ours;
    add(&theirs, 2, "b", 2, EPOCH_BY_FAILOVER);
    ours.timeline = 2;
    assert_int_equal(hears(&ours, "a", &theirs, "b"), NEWS_RIVAL);
    assert_int_equal(hears(&theirs, "b", &ours, "a"), NEWS_RIVAL);
    add(&theirs, 3, "b", 0, EPOCH_BY_RESOLVE);
    theirs.change[2].origin.overruled[0] = ours.epoch;
    assert_int_equal(hears(&ours, "a", &theirs, "b"), NEWS_EPOCH);
    assert_int_equal(hears(&theirs, "b", &ours, "a"), NEWS_NONE);
    ours.timeline = 1; /* a standby that knows of an older timeline is only late */
    theirs = ours;
    theirs.timeline = 3;
    add(&theirs, 2, "b", 4, EPOCH_BY_FAILOVER);
    assert_int_equal(hears(&ours, "c", &theirs, "b"), NEWS_EPOCH);
    assert_int_equal(hears(&ours, "a", &theirs, "b"), NEWS_RIVAL);
}

static void
test_believe_no_number_far_ahead(void **state)
{
    static struct pool theirs;

    (void)state;
    begin(1);
    theirs = ours;
    add(&theirs, 1 + NEWS_AHEAD_MAX, "b", 2, EPOCH_BY_FAILOVER);
    assert_int_equal(hears(&ours, "a", &theirs, "b"), NEWS_EPOCH);
    theirs = ours;
    add(&theirs, 2 + NEWS_AHEAD_MAX, "b", 2, EPOCH_BY_FAILOVER);
    assert_int_equal(hears(&ours, "a", &theirs, "b"), NEWS_RIVAL);
    assert_int_equal(hears(&theirs, "b", &ours, "a"), NEWS_RIVAL);
    theirs = ours;
    add(&theirs, 2 + NEWS_AHEAD_MAX, "b", 2, EPOCH_BY_RESOLVE);
    assert_int_equal(hears(&ours, "a", &theirs, "b"), NEWS_EPOCH);
}

static void
test_believe_members_of_the_pool(void **state)
{
    static struct pool theirs, none;

    (void)state;
    begin(1);
    theirs = ours;
    add(&theirs, 2, "b", 2, EPOCH_BY_FAILOVER);
    say(&theirs, "b");
    told.of_pool = false;
    assert_int_equal(judge_news(&ours, "a", &told), NEWS_RIVAL);
    assert_int_equal(judge_news(&none, "a", &told), NEWS_NONE);
    told.of_pool = true;
    assert_int_equal(judge_news(&none, "a", &told), NEWS_EPOCH);
    told.changes = 0;
    assert_int_equal(judge_news(&none, "a", &told), NEWS_NONE);
    assert_int_equal(judge_news(&ours, "a", &told), NEWS_NONE);
}

/* The DBA gave the number: it is over all that came before, of which nothing is known there. */
static void
test_believe_the_word_of_a_dba(void **state)
{
    static struct pool theirs;

    (void)state;
    begin(4);
    theirs = (struct pool){0};
    add(&theirs, 5, "c", 5, EPOCH_BY_FAILOVER);
    assert_int_equal(hears(&ours, "b", &theirs, "c"), NEWS_RIVAL);
    theirs.change[0].origin.how = EPOCH_BY_WORD;
    assert_int_equal(hears(&ours, "b", &theirs, "c"), NEWS_EPOCH);
    assert_int_equal(hears(&theirs, "c", &ours, "b"), NEWS_NONE);
}

static void
test_believe_a_primary_that_lost_its_spool(void **state)
{
    static struct pool theirs;

    (void)state;
    begin(3);
    theirs = ours; /* of the standby b */
    ours = (struct pool){0};
    add(&ours, 1, "a", 3, EPOCH_BY_FIRST);
    assert_int_equal(hears(&ours, "a", &theirs, "b"), NEWS_EPOCH);
    assert_int_equal(hears(&theirs, "b", &ours, "a"), NEWS_NONE);
    ours.timeline = 2; /* it is not what it was */
    assert_int_equal(hears(&ours, "a", &theirs, "b"), NEWS_RIVAL);
    assert_int_equal(hears(&theirs, "b", &ours, "a"), NEWS_RIVAL);
}

static void
test_believe_a_chain_cut_short(void **state)
{
    static struct pool theirs;

    (void)state;
    begin(4);
    say(&ours, "b");
    memmove(told.change, told.change + 3, sizeof told.change[0]);
    told.changes = 1; /* its parent is 3 of a */
    theirs = ours;
    begin(3);
    assert_int_equal(judge_news(&ours, "a", &told), NEWS_EPOCH);
    pool_take(&ours, &told);
    assert_int_equal(ours.changes, 4); /* what we know of before stays */
    assert_int_equal(ours.change[0].origin.epoch.number, 1);
    assert_int_equal(ours.epoch.number, 4);
    begin(2);
    assert_int_equal(judge_news(&ours, "b", &told), NEWS_RIVAL); /* 2 b is not to be seen */
    ours = (struct pool){0};
    pool_take(&ours, &told);
    begin(2);
    memmove(theirs.change, theirs.change + 3, sizeof theirs.change[0]);
    theirs.changes = 1;
    assert_int_equal(hears(&theirs, "b", &ours, "b"), NEWS_NONE); /* too long ago to be judged */
}

static void
greets(uint64_t number, const char *member, const char *from, timeline_t timeline)
{
    struct hello h = {.epoch = {.number = number}, .timeline = timeline};

    snprintf(h.epoch.member, sizeof h.epoch.member, "%s", member);
    snprintf(h.from, sizeof h.from, "%s", from);
    told_hello(&told, &h);
}

/* Whatever a HELLO claims that is not known already is asked for: the key may be stolen. */
static void
test_believe_no_hello(void **state)
{
    static const struct {
        uint64_t number;
        const char *member, *from;
        timeline_t timeline;
        enum claim claim;
        enum refuse_kind kind;
    } row[] = {
        {2, "b", "b", 2, CLAIM_GOOD, REFUSE_OPERATOR},
        {2, "b", "b", 7, CLAIM_GOOD, REFUSE_OPERATOR},
        {1, "a", "a", 1, CLAIM_REFUSED, REFUSE_EPOCH},
        {1, "a", "a", 2, CLAIM_ASK, REFUSE_EPOCH}, /* on a timeline of its own */
        {1, "c", "c", 1, CLAIM_ASK, REFUSE_EPOCH},
        {2, "c", "c", 2, CLAIM_ASK, REFUSE_CONFLICT},
        {2, "b", "a", 2, CLAIM_REFUSED, REFUSE_RETRY},
        {3, "c", "c", 3, CLAIM_ASK, REFUSE_RETRY},
        {3, "b", "b", 3, CLAIM_ASK, REFUSE_RETRY},
        {EPOCH_NUMBER_MAX, "c", "c", 3, CLAIM_ASK, REFUSE_RETRY},
        {3, "c", "a", 3, CLAIM_REFUSED, REFUSE_OPERATOR},
    };
    char reason[FRAME_REASON_MAX];
    enum refuse_kind kind;

    (void)state;
    begin(2);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        greets(row[i].number, row[i].member, row[i].from, row[i].timeline);
        assert_int_equal(judge_claim(&ours, "d", &told, &kind, reason), row[i].claim);
        assert_int_equal(kind, row[i].kind);
    }
    ours = (struct pool){0};
    greets(1, "a", "a", 1);
    assert_int_equal(judge_claim(&ours, "d", &told, &kind, reason), CLAIM_ASK);
}

/* The member that the table names passes the primary's WAL on, in this epoch and to nobody else. */
static void
test_believe_who_feeds(void **state)
{
    char reason[FRAME_REASON_MAX];
    enum refuse_kind kind;

    (void)state;
    begin(2);
    ours.routes = (struct routes){.epoch = {2, "b"},
                                  .number = 1,
                                  .count = 3,
                                  .route = {{.member = "b", .why = ROUTE_PRIMARY},
                                            {"c", "b", ROUTE_HEAD, false, false, 0},
                                            {"d", "c", ROUTE_RELAYED, false, false, 0}}};
    greets(2, "b", "c", 2);
    assert_int_equal(judge_claim(&ours, "d", &told, &kind, reason), CLAIM_GOOD);
    assert_int_equal(judge_claim(&ours, "a", &told, &kind, reason), CLAIM_REFUSED);
    greets(2, "b", "a", 2);
    assert_int_equal(judge_claim(&ours, "d", &told, &kind, reason), CLAIM_REFUSED);
    greets(3, "a", "c", 3); /* of a higher epoch only its primary tells */
    assert_int_equal(judge_claim(&ours, "d", &told, &kind, reason), CLAIM_REFUSED);
    greets(1, "a", "c", 1);
    assert_int_equal(judge_claim(&ours, "d", &told, &kind, reason), CLAIM_REFUSED);
    assert_int_equal(kind, REFUSE_EPOCH);
    assert_string_equal(reason, "epoch 1 is over: b is the primary since epoch 2");
    ours.routes.epoch.number = 1;
    greets(2, "b", "c", 2);
    assert_int_equal(judge_claim(&ours, "d", &told, &kind, reason), CLAIM_REFUSED);
    assert_int_equal(kind, REFUSE_RETRY);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_believe_an_epoch_that_follows),
        cmocka_unit_test(test_believe_while_it_promotes),
        cmocka_unit_test(test_believe_no_other_primary_of_our_epoch),
        cmocka_unit_test(test_believe_not_what_forked_elsewhere),
        cmocka_unit_test(test_believe_no_number_far_ahead),
        cmocka_unit_test(test_believe_members_of_the_pool),
        cmocka_unit_test(test_believe_the_word_of_a_dba),
        cmocka_unit_test(test_believe_a_primary_that_lost_its_spool),
        cmocka_unit_test(test_believe_a_chain_cut_short),
        cmocka_unit_test(test_believe_no_hello),
        cmocka_unit_test(test_believe_who_feeds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

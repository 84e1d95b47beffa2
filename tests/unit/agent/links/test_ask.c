/* SPDX-License-Identifier: PostgreSQL */
/* ask: what becomes of a claim, by the word of the member in whose name it came. */
#include "unit/unit.h"

#include "base/clock.h"
#include "links/ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct config config = {
    .name = "chat", .member = {{.name = "dc1-a"}, {.name = "dc2-a"}}, .members = 2};
static struct who who = {.config = &config, .self = &config.member[0]};
static struct asks asks;
static struct own_ask asking;
static struct told heard;
static struct promise promised;
static const struct epoch second = {.number = 2, .member = "dc2-a"};

static void
take(void *context, struct told *told)
{
    assert_ptr_equal(context, &asks);
    heard = *told;
}

static void
hear_promise(void *context, const char *member, const struct promise *promise)
{
    assert_ptr_equal(context, &asks);
    assert_string_equal(member, "dc2-a");
    promised = *promise;
}

static int
open_asks(void **state)
{
    const struct epoch_origin first = {.epoch = {1, "dc1-a"}, .timeline = 1, .how = EPOCH_BY_FIRST};

    (void)state;
    who.pool = (struct pool){0};
    pool_adopt(&who.pool, &first, 0);
    asks = (struct asks){0};
    heard = (struct told){0};
    who.asking = &asking;
    asks_open(&asks, &who, take, hear_promise, &asks);
    return asks.count != 1;
}

/* dc2-a says that it is in epochs 1 to `last`, which is of `member`. */
static void
dc2_says(uint64_t last, const char *member)
{
    static struct pool_change change[2];
    static uint8_t room[FRAME_BYTES_MAX];
    struct buf wire = {.bytes = room, .size = sizeof room};
    struct frame f = {.type = FRAME_POOL,
                      .pool = {.changes = (size_t)last,
                               .change = change,
                               .positions = 2,
                               .position = {{"dc1-a", 1, 8, 8, 0}, {"dc2-a", 1, 7, 5, 20}}}};

    change[0].origin = pool_origin(&who.pool);
    change[1].origin = (struct epoch_origin){
        .epoch = {.number = 2}, .timeline = 2, .from = 1, .parent = change[0].origin.epoch};
    snprintf(change[1].origin.epoch.member, MEMBER_NAME_SIZE, "%s", member);
    assert_int_equal(frame_put(&wire, &f), 0);
    assert_int_equal(frame_next(&wire, &f), 1);
    ask_hear(asks_of(&asks, "dc2-a"), &f);
}

static const char *news_of; /* by whom news came */

static void
hear_news(void *context, const char *member, const struct frame *pool)
{
    assert_ptr_equal(context, &asks);
    assert_true(pool->pool.has_news);
    news_of = member;
}

static void
test_ask_news_alone_are_no_word_on_epochs(void **state)
{
    struct frame f = {.type = FRAME_POOL, .pool = {.has_news = true}};

    (void)state;
    news_of = NULL;
    asks.news = hear_news;
    dc2_says(1, "dc2-a");
    assert_null(news_of);
    ask_hear(asks_of(&asks, "dc2-a"), &f);
    assert_string_equal(news_of, "dc2-a");
    assert_int_equal(asks_of(&asks, "dc2-a")->told.changes, 1); /* its last word stands */
    assert_int_equal(asks_of(&asks, "dc2-a")->told.own.flushed, 7);
}

static void
test_ask_a_claim_is_confirmed(void **state)
{
    struct ask *q = asks_of(&asks, "dc2-a");

    (void)state;
    asks_claim(&asks, "dc2-a", &second, clock_us());
    assert_true(q->wanted);
    dc2_says(2, "dc2-a");
    assert_int_equal(q->claim.epoch.number, 0);
    assert_int_equal(q->refuted_us, 0);
    assert_string_equal(heard.teller, "dc2-a");
    assert_int_equal(heard.changes, 2);
    assert_true(heard.of_pool);
    assert_int_equal(heard.own.flushed, 7);
    assert_int_equal(heard.own.applied, 5);
}

static void
test_ask_a_claim_is_refuted(void **state)
{
    struct ask *q = asks_of(&asks, "dc2-a");

    (void)state;
    asks_claim(&asks, "dc2-a", &second, clock_us());
    dc2_says(1, "dc2-a");
    assert_int_equal(q->claim.epoch.number, 0);
    assert_true(q->refuted_us != 0);
    assert_int_equal(q->refuted.number, 2);
}

static void
test_ask_a_stranger_is_not_of_the_pool(void **state)
{
    (void)state;
    dc2_says(2, "dc9-a");
    assert_int_equal(heard.changes, 2);
    assert_false(heard.of_pool);
    asks_claim(&asks, "dc9-a", &second, clock_us()); /* nobody to be asked */
    assert_null(asks_of(&asks, "dc9-a"));
}

static void
test_ask_an_open_claim_is_told_while_it_is_made(void **state)
{
    struct ask *q = asks_of(&asks, "dc2-a");
    int64_t us = clock_us();

    (void)state;
    asks_claim(&asks, "dc2-a", &second, us);
    asks_claim(&asks, "dc2-a", &second, us + 9 * SECOND_US);
    assert_false(ask_unconfirmed(q, us + 9 * SECOND_US));
    assert_true(ask_unconfirmed(q, us + 10 * SECOND_US));
    q->wanted = false;
    asks_keep(&asks, us + 38 * SECOND_US);
    assert_true(q->wanted);
    asks_keep(&asks, us + 39 * SECOND_US);
    assert_false(ask_unconfirmed(q, us + 39 * SECOND_US));
    asks_claim(&asks, "dc2-a", &second, us);
    asks_forget_claims(&asks);
    assert_false(ask_unconfirmed(q, us + 20 * SECOND_US));
}

/* Without being told to it asks while no epoch is known, and while a conflict stands. */
static void
test_ask_what_is_open(void **state)
{
    struct ask *q = asks_of(&asks, "dc2-a");

    (void)state;
    asks_keep(&asks, 0);
    assert_false(q->wanted);
    who.pool.timeline = 2; /* our primary did not fork off where epoch 2 says */
    dc2_says(2, "dc2-a");
    asks_keep(&asks, 0);
    assert_true(q->wanted);
    q->wanted = false;
    dc2_says(1, "dc2-a");
    asks_keep(&asks, 0);
    assert_false(q->wanted);
    who.pool = (struct pool){0};
    asks_keep(&asks, 0);
    assert_true(q->wanted);
}

/* Who holds a promise asks the member that it was given to; what is said of promises is handed on. */
static void
test_ask_about_promises(void **state)
{
    struct ask *q = asks_of(&asks, "dc2-a");
    struct frame f = {.type = FRAME_PROMISE,
                      .promise = {.word = PROMISE_ASK, .number = 2, .asker = "dc2-a", .nonce = 7}};

    (void)state;
    asks_keep(&asks, 0);
    assert_false(q->wanted);
    who.pool.promised = second;
    asks_keep(&asks, 0);
    assert_true(q->wanted);
    ask_promise(q, &f);
    assert_int_equal(promised.nonce, 7);
    assert_true(q->asking);
}

/* Only a question that was begun since can tell that a member is away. */
static void
test_ask_anew_counts_no_question_of_before(void **state)
{
    struct ask *q = asks_of(&asks, "dc2-a");
    const int64_t now_us = 1000 * SECOND_US;

    (void)state;
    q->state = ASK_DIALS;
    q->begun_us = now_us - 4 * SECOND_US;
    asks_anew(&asks, "dc2-a", now_us - 5 * SECOND_US, now_us);
    assert_int_equal(q->state, ASK_DIALS);
    assert_false(q->wanted);
    asks_anew(&asks, "dc2-a", now_us, now_us);
    assert_int_equal(q->state, ASK_RESTS); /* and it is dialled once more */
    assert_true(q->wanted);
    assert_string_equal(q->reason, "");
    snprintf(q->reason, sizeof q->reason, "connection refused");
    q->due_us = now_us + ASK_REST_US - SECOND_US / 2;
    asks_anew(&asks, "dc2-a", now_us - 5 * SECOND_US, now_us);
    assert_string_equal(q->reason, "connection refused"); /* a moment ago */
    asks_anew(&asks, "dc2-a", now_us - 3 * SECOND_US, now_us);
    assert_string_equal(q->reason, "");
    snprintf(q->reason, sizeof q->reason, "connection refused");
    asks_anew(&asks, "dc2-a", now_us - 5 * SECOND_US, now_us + SECOND_US);
    assert_string_equal(q->reason, "");
}

/* A session came in with the key of dc2-a: dc2-a is asked at once, then no more than any other question. */
static void
test_ask_whose_a_session_is(void **state)
{
    struct ask *q = asks_of(&asks, "dc2-a");

    (void)state;
    assert_int_equal(asks_session(&asks, "dc2-a", 100), SESSION_UNKNOWN);
    assert_true(q->wanted && q->hurries);
    assert_int_equal(q->session, 100);
    q->about = 100; /* not reached */
    q->wanted = q->hurries = false;
    assert_int_equal(asks_session(&asks, "dc2-a", 100), SESSION_UNKNOWN);
    assert_true(q->wanted && !q->hurries);
    q->state = ASK_WAITS; /* it is asked just now */
    q->wanted = false;
    assert_int_equal(asks_session(&asks, "dc2-a", 100), SESSION_UNKNOWN);
    assert_false(q->wanted);
    assert_int_equal(asks_session(&asks, "dc2-a", 9100), SESSION_UNKNOWN);
    assert_true(q->wanted); /* about another one */
    q->state = ASK_RESTS;
    q->wanted = false;
    q->own = 100;
    assert_int_equal(asks_session(&asks, "dc2-a", 103), SESSION_OWN); /* a later dial */
    assert_int_equal(asks_whose(&asks, "dc2-a", 103 + 4096), SESSION_OWN);
    assert_int_equal(asks_whose(&asks, "dc2-a", 102), SESSION_UNKNOWN);
    assert_false(q->wanted);
    assert_int_equal(asks_whose(&asks, "dc9-a", 100), SESSION_UNKNOWN);
    q->foreign = 9100;
    assert_int_equal(asks_session(&asks, "dc2-a", 9101), SESSION_FOREIGN);
    assert_false(q->wanted);
    assert_int_equal(q->refuted_us, 0);
    asks_foreign(&asks, "dc2-a", clock_us());
    assert_true(q->refuted_us != 0 && q->refuted.number == 0);
}

int __wrap_lane_run(struct lane *l, const struct loop *loop, int64_t now_us);

int
__wrap_lane_run(struct lane *l, const struct loop *loop, int64_t now_us)
{
    (void)l;
    (void)loop;
    (void)now_us;
    return 0;
}

/* An answer may be on its way for long: what it says is at least as old as the question. */
static void
test_ask_dates_what_a_member_holds_by_the_question(void **state)
{
    static uint8_t in[FRAME_BYTES_MAX], out[FRAME_BYTES_MAX];
    struct ask *q = asks_of(&asks, "dc2-a");
    struct pool_change change = {.origin = pool_origin(&who.pool)};
    struct frame f = {.type = FRAME_POOL,
                      .pool = {.changes = 1,
                               .change = &change,
                               .positions = 2,
                               .position = {{"dc1-a", 1, 8, 8, 0}, {"dc2-a", 1, 7, 5, 20}},
                               .held = {.told = true, .start = 1, .history = ""}}};
    int64_t asked_us = clock_us() - 4 * SECOND_US;

    (void)state;
    q->state = ASK_DIALS;
    q->lane = (struct lane){.state = LANE_UP,
                            .in = {.bytes = in, .size = sizeof in},
                            .out = {.bytes = out, .size = sizeof out}};
    asks_run(&asks, NULL, asked_us);
    assert_int_equal(q->state, ASK_WAITS);
    assert_int_equal(frame_put(&q->lane.in, &f), 0);
    asks_run(&asks, NULL, asked_us + 4 * SECOND_US);
    assert_true(q->held_wal.told);
    assert_int_equal(q->held_wal.us, asked_us);
    free(q->held_wal.history);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_ask_news_alone_are_no_word_on_epochs, open_asks),
        cmocka_unit_test_setup(test_ask_a_claim_is_confirmed, open_asks),
        cmocka_unit_test_setup(test_ask_a_claim_is_refuted, open_asks),
        cmocka_unit_test_setup(test_ask_a_stranger_is_not_of_the_pool, open_asks),
        cmocka_unit_test_setup(test_ask_an_open_claim_is_told_while_it_is_made, open_asks),
        cmocka_unit_test_setup(test_ask_what_is_open, open_asks),
        cmocka_unit_test_setup(test_ask_about_promises, open_asks),
        cmocka_unit_test_setup(test_ask_anew_counts_no_question_of_before, open_asks),
        cmocka_unit_test_setup(test_ask_whose_a_session_is, open_asks),
        cmocka_unit_test_setup(test_ask_dates_what_a_member_holds_by_the_question, open_asks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

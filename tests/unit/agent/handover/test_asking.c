/* SPDX-License-Identifier: PostgreSQL */
/* The questions before a failover, and the rescue, with a primary, a link and a clock of the test. */
#include "unit/unit.h"

#include "handover/asking.h"
#include "handover/tails.h"

#include "base/clock.h"

#include <limits.h>
#include <string.h>

static struct config config = {.member = {{.name = "dc1-a"}, {.name = "dc2-a"}}, .members = 2};
static struct pool pool;
static struct incoming in;
static struct who who = {.config = &config, .self = &config.member[1], .spool = &in.spool};
static struct asks asks;
static struct failover f;
static struct control control;
static struct buf out; /* of the link, while it is up */
static bool promises;  /* the primary, over its link */
static bool dials;     /* it is dialled, and its host does not answer */
static int64_t now_us;

static int
make(void **state)
{
    (void)state;
    in = (struct incoming){.who = &who,
                           .inlet = {.fd = -1, .receiver = &in.receiver},
                           .receiver = {.spool = &in.spool, .from = "dc1-a", .origin = "dc1-a"},
                           .spool = {.identity = {.segment_bytes = 1 << 20},
                                     .timeline = 1,
                                     .written = 100,
                                     .available = 100,
                                     .flushed = 100}};
    control = (struct control){.fd = -1};
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        control.client[i].fd = -1;
    config.members = 2;
    pool = (struct pool){.epoch = {1, "dc1-a"}};
    asks = (struct asks){.who = &who, .count = 1};
    asks.ask[0] =
        (struct ask){.asks = &asks, .to = &config.member[0], .state = ASK_DIALS, .own = 7};
    f = (struct failover){
        .who = &who, .pool = &pool, .asks = &asks, .in = &in, .control = &control};
    in.asks = &asks;
    who.postgres = postgres_new("host=/nowhere");
    promises = dials = true;
    now_us = 1000 * SECOND_US;
    return buf_init(&out, 1 << 16);
}

static int
drop(void **state)
{
    (void)state;
    fetch_stop(&f.fetch);
    postgres_free(who.postgres);
    buf_release(&out);
    return 0;
}

static void
link_up(void)
{
    buf_clear(&out);
    in.receiver.out = &out;
    in.inlet.incarnation = 7;
    in.receiver.heard_us = in.inlet.since_us = now_us;
    in.receiver.postgres = PONG_POSTGRES_UNKNOWN;
    in.receiver.postgres_us = 0;
    in.receiver.drained = false;
}

static void
link_down(void)
{
    in.receiver.out = NULL;
    in.inlet.incarnation = 0;
    in.inlet.since_us = now_us;
    in.inlet.ended++;
}

/* The answer to a PING that is sent just now. */
static void
pong(enum pong_postgres word)
{
    in.receiver.postgres = word;
    in.receiver.postgres_us = in.receiver.heard_us = now_us;
}

static enum asked
run_for(int64_t ms)
{
    enum asked asked = ASKED_WAITS;

    for (int64_t end_us = now_us + ms * MILLISECOND_US; now_us < end_us && asked == ASKED_WAITS;) {
        struct ask *q = &asks.ask[0];

        now_us += 10 * MILLISECOND_US;
        if (dials && q->state == ASK_RESTS && q->reason[0] == '\0') {
            q->state = ASK_DIALS;
            q->begun_us = now_us;
        }
        if (promises && receiver_live(&in.receiver) && in.receiver.postgres == PONG_POSTGRES_DEAD) {
            struct promise given = f.own.promise;

            given.word = PROMISE_GIVE;
            asking_hear(&f, "dc1-a", &given);
        }
        asked = asking_run(&f, now_us);
    }
    return asked;
}

static bool
is_asked_to_drain(void)
{
    bool asked = false;
    struct frame frame;

    while (frame_next(&out, &frame) == 1) {
        asked |= frame.type == FRAME_DRAIN;
        buf_consume(&out, frame.bytes);
    }
    return asked;
}

static void
answer(const char *member, enum promise_word word, uint64_t nonce, const char *reason)
{
    asking_hear(&f, member,
                &(struct promise){.word = word, .number = 2, .nonce = nonce, .reason = reason});
}

static void
test_asking_goes_on_with_a_rescue_over_the_next_connection(void **state)
{
    (void)state;
    link_up();
    asking_begin(&f, false, now_us);
    pong(PONG_POSTGRES_DEAD);
    assert_int_equal(run_for(100), ASKED_WAITS);
    assert_int_equal(f.phase, FAILOVER_RESCUING);
    assert_true(is_asked_to_drain());
    in.spool.written = 150;
    link_down();
    assert_int_equal(run_for(5000), ASKED_WAITS);
    link_up();
    assert_int_equal(run_for(10), ASKED_WAITS);
    assert_true(is_asked_to_drain());
    pong(PONG_POSTGRES_DEAD);
    in.spool.written = 200;
    in.receiver.drained = in.receiver.drained_done = true;
    in.receiver.drained_end = 200;
    assert_int_equal(run_for(1000), ASKED_WAITS); /* it is not on disk yet */
    in.spool.flushed = 200;
    assert_int_equal(run_for(100), ASKED_GOES_ON);
    assert_true(f.loss_known);
}

static void
test_asking_does_not_give_up_what_a_dead_primary_left(void **state)
{
    (void)state;
    link_up();
    asking_begin(&f, false, now_us);
    pong(PONG_POSTGRES_DEAD);
    run_for(100);
    link_down();
    assert_int_equal(run_for(14900), ASKED_WAITS);
    assert_int_equal(run_for(1000), ASKED_REFUSED);
    assert_non_null(strstr(f.refusal, "what dc1-a has left in its pg_wal is not here"));
    assert_false(f.loss_known);
}

static void
test_asking_goes_on_without_it_by_force(void **state)
{
    (void)state;
    f.wish.force = true;
    link_up();
    asking_begin(&f, false, now_us);
    pong(PONG_POSTGRES_DEAD);
    run_for(100);
    in.receiver.drained = true;
    in.receiver.drained_done = promises = false;
    assert_int_equal(run_for(100), ASKED_WAITS); /* is it still dead? */
    promises = true;
    pong(PONG_POSTGRES_DEAD);
    assert_int_equal(run_for(100), ASKED_GOES_ON);
    assert_false(f.loss_known);
}

/* The line was swallowed while the server lived: what was last heard of it is old. */
static void
test_asking_rescues_from_who_promised_beside_a_link_that_says_nothing(void **state)
{
    (void)state;
    promises = false;
    link_up();
    pong(PONG_POSTGRES_ANSWERS);
    now_us += 100 * MILLISECOND_US;
    asking_begin(&f, false, now_us);
    assert_int_equal(run_for(1500), ASKED_WAITS);
    answer("dc1-a", PROMISE_GIVE, f.own.promise.nonce, "");
    assert_int_equal(run_for(1000), ASKED_WAITS);
    assert_int_equal(f.phase, FAILOVER_RESCUING);
    link_down();
    link_up();
    assert_int_equal(run_for(10), ASKED_WAITS);
    assert_true(is_asked_to_drain());
}

static void
test_asking_believes_the_first_agent_that_dials_again(void **state)
{
    (void)state;
    in.inlet.since_us = now_us; /* the link broke this moment */
    asking_begin(&f, false, now_us);
    assert_int_equal(run_for(2900), ASKED_WAITS);
    link_up();
    assert_int_equal(run_for(1000), ASKED_WAITS);
    pong(PONG_POSTGRES_ANSWERS);
    assert_int_equal(run_for(100), ASKED_REFUSED);
    assert_non_null(strstr(f.refusal, "the primary dc1-a answers"));
}

/* Words that come with the primary's key, in a session that it was not yet asked about. */
static void
test_asking_takes_no_word_of_nobody_knows_whom(void **state)
{
    (void)state;
    promises = false;
    asks.ask[0].own = 0;
    link_up();
    asking_begin(&f, false, now_us);
    strcpy(asks.ask[0].reason, "connection refused");
    pong(PONG_POSTGRES_DEAD);
    in.receiver.drained = in.receiver.drained_done = true;
    assert_int_equal(run_for(9900), ASKED_WAITS);
    assert_int_equal(f.phase, FAILOVER_ASKING);
    assert_false(is_asked_to_drain());
    assert_int_equal(run_for(200), ASKED_REFUSED);
    assert_non_null(strstr(f.refusal, "is not reached to say whether it is its own: connection"));
    f.wish.force = true;
    assert_int_equal(run_for(100), ASKED_GOES_ON);
    assert_false(f.loss_known);
    f.wish.force = false;
    asking_begin(&f, false, now_us);
    asks.ask[0].foreign = 7; /* and it ends */
    assert_int_equal(run_for(100), ASKED_WAITS);
    link_down();
    assert_int_equal(run_for(5000), ASKED_GOES_ON);
    assert_false(f.loss_known);
}

static void
test_asking_rescues_once_the_session_is_known_to_be_its_own(void **state)
{
    (void)state;
    asks.ask[0].own = 0;
    promises = false;
    link_up();
    asking_begin(&f, false, now_us);
    pong(PONG_POSTGRES_DEAD);
    assert_int_equal(run_for(300), ASKED_WAITS);
    assert_int_equal(f.phase, FAILOVER_ASKING);
    asks.ask[0].own = 7;
    promises = true;
    assert_int_equal(run_for(50), ASKED_WAITS);
    assert_int_equal(f.phase, FAILOVER_RESCUING);
    assert_true(is_asked_to_drain());
    link_down();
    link_up();
    in.inlet.incarnation = 9000; /* another one, which says that all is here */
    pong(PONG_POSTGRES_DEAD);
    in.receiver.drained = in.receiver.drained_done = true;
    in.receiver.drained_end = 100;
    assert_int_equal(run_for(5000), ASKED_WAITS);
    assert_false(is_asked_to_drain());
    in.inlet.incarnation = 8; /* its own, a later dial */
    assert_int_equal(run_for(20), ASKED_WAITS);
    assert_true(is_asked_to_drain());
    assert_false(f.loss_known);
}

static void
test_asking_waits_for_a_server_that_stops(void **state)
{
    enum asked asked = ASKED_WAITS;

    (void)state;
    link_up();
    asking_begin(&f, false, now_us);
    for (int i = 0; i < 30 && asked == ASKED_WAITS; i++) { /* it ships what it has */
        pong(PONG_POSTGRES_STOPPING);
        in.spool.written++;
        asked = run_for(1000);
    }
    assert_int_equal(asked, ASKED_WAITS);
    pong(PONG_POSTGRES_DEAD);
    assert_int_equal(run_for(100), ASKED_WAITS);
    assert_int_equal(f.phase, FAILOVER_RESCUING);
}

static void
test_asking_refuses_a_server_that_goes_on_starting(void **state)
{
    enum asked asked = ASKED_WAITS;
    int seconds = 0;

    (void)state;
    link_up();
    asking_begin(&f, false, now_us);
    for (; asked == ASKED_WAITS && seconds < 30; seconds++) {
        pong(PONG_POSTGRES_STARTING);
        asked = run_for(1000);
    }
    assert_int_equal(asked, ASKED_REFUSED);
    assert_int_in_range(seconds, 10, 11);
    assert_non_null(strstr(f.refusal, "is starting"));
}

/* Prepared, it asks once more: no agent is still none, but one that came meanwhile counts. */
static void
test_asking_once_more_hears_who_came_meanwhile(void **state)
{
    (void)state;
    asking_begin(&f, false, now_us);
    assert_int_equal(run_for(5000), ASKED_GOES_ON);
    asking_begin(&f, true, now_us);
    assert_int_equal(asking_run(&f, now_us), ASKED_GOES_ON);
    link_up();
    asking_begin(&f, true, now_us);
    in.receiver.shut = true;
    assert_int_equal(run_for(100), ASKED_WAITS);
    pong(PONG_POSTGRES_DEAD);
    assert_true(asking_news(&f));
    assert_int_equal(run_for(100), ASKED_WAITS);
    assert_int_equal(f.phase, FAILOVER_RESCUING);
    assert_false(f.again || in.receiver.shut);
}

/* A member that is slow to promise makes the primary's word old: it is asked again. */
static void
test_asking_once_more_believes_no_old_word(void **state)
{
    (void)state;
    promises = false;
    strcpy(config.member[2].name, "dc3-a");
    config.members = 3;
    asks.count = 2;
    asks.ask[1] = (struct ask){.asks = &asks, .to = &config.member[2], .state = ASK_RESTS};
    f.loss_known = f.has_word = true;
    f.word = PONG_POSTGRES_DEAD;
    link_up();
    asking_begin(&f, true, now_us);
    pong(PONG_POSTGRES_DEAD);
    answer("dc1-a", PROMISE_GIVE, f.own.promise.nonce, "");
    assert_int_equal(run_for(5000), ASKED_WAITS);
    answer("dc3-a", PROMISE_GIVE, f.own.promise.nonce, "");
    assert_int_equal(run_for(100), ASKED_WAITS);
    pong(PONG_POSTGRES_DEAD);
    answer("dc1-a", PROMISE_GIVE, f.own.promise.nonce, "");
    answer("dc3-a", PROMISE_GIVE, f.own.promise.nonce, "");
    assert_int_equal(run_for(100), ASKED_GOES_ON);
}

/* Its server may have been started since it was heard last. */
static void
test_asking_knows_no_loss_of_a_primary_that_is_silent_by_now(void **state)
{
    (void)state;
    f.loss_known = f.has_word = true;
    f.word = PONG_POSTGRES_DEAD;
    asking_begin(&f, true, now_us);
    assert_int_equal(run_for(5000), ASKED_GOES_ON);
    assert_false(f.loss_known);
}

/* It gets no session with a server that is writable, but it dials. */
static void
test_asking_for_a_reclaim_hears_a_primary_that_dials(void **state)
{
    (void)state;
    f.wish.reclaim = true;
    in.inlet.since_us = in.claimed_us = now_us;
    asking_begin(&f, false, now_us);
    assert_int_equal(run_for(5000), ASKED_WAITS); /* that was before */
    in.claimed_us = now_us;
    assert_int_equal(run_for(100), ASKED_REFUSED);
    assert_non_null(strstr(f.refusal, "the primary dc1-a is alive"));
    f.wish.force = true;
    assert_int_equal(run_for(100), ASKED_GOES_ON);
    asking_begin(&f, false, now_us);
    f.wish.force = false;
    assert_int_equal(run_for(7000), ASKED_GOES_ON);
    assert_true(f.silent);
}

/* What goes over the link: is a promise asked for? */
static bool
is_asked_to_promise(struct promise *ret_ask)
{
    bool asked = false;
    struct frame frame;

    while (frame_next(&out, &frame) == 1) {
        if (frame.type == FRAME_PROMISE) {
            asked = true;
            *ret_ask = frame.promise;
        }
        buf_consume(&out, frame.bytes);
    }
    return asked;
}

static void
test_asking_rescues_nothing_before_it_is_promised(void **state)
{
    struct promise first, ask;

    (void)state;
    promises = false;
    link_up();
    asking_begin(&f, false, now_us);
    assert_true(is_asked_to_promise(&first));
    assert_int_equal(first.word, PROMISE_ASK);
    assert_int_equal(first.number, 2);
    assert_string_equal(first.asker, "dc2-a");
    pong(PONG_POSTGRES_DEAD);
    assert_int_equal(run_for(1000), ASKED_WAITS);
    assert_int_equal(f.phase, FAILOVER_ASKING);
    assert_true(is_asked_to_promise(&ask)); /* the question may be lost */
    assert_int_equal(ask.nonce, first.nonce);
    answer("dc1-a", PROMISE_GIVE, first.nonce + 1, "");
    assert_int_equal(run_for(100), ASKED_WAITS);
    assert_int_equal(f.phase, FAILOVER_ASKING);
    answer("dc1-a", PROMISE_GIVE, first.nonce, "");
    assert_int_equal(run_for(100), ASKED_WAITS);
    assert_int_equal(f.phase, FAILOVER_RESCUING);
    asking_begin(&f, true, now_us);
    assert_true(is_asked_to_promise(&ask));
    assert_int_not_equal(ask.nonce, first.nonce);
}

static void
test_asking_is_refused_without_a_promise(void **state)
{
    (void)state;
    promises = false;
    link_up();
    asking_begin(&f, false, now_us);
    pong(PONG_POSTGRES_DEAD);
    assert_int_equal(run_for(9900), ASKED_WAITS);
    assert_int_equal(run_for(200), ASKED_REFUSED);
    assert_non_null(strstr(f.refusal, "refused: dc1-a has not promised"));
    asking_begin(&f, false, now_us);
    pong(PONG_POSTGRES_DEAD);
    run_for(10);
    answer("dc1-a", PROMISE_REFUSE, f.own.promise.nonce, "a failover to dc1-a runs there");
    assert_int_equal(run_for(100), ASKED_REFUSED);
    assert_non_null(strstr(f.refusal, "refused by dc1-a: a failover to dc1-a runs there"));
    f.wish.force = true;
    assert_int_equal(run_for(100), ASKED_WAITS);
    assert_int_equal(f.phase, FAILOVER_RESCUING);
}

/* Its agent lives, then, and so does what its server has left. */
static void
test_asking_rescues_from_a_primary_that_only_promises(void **state)
{
    (void)state;
    promises = false;
    asking_begin(&f, false, now_us);
    answer("dc1-a", PROMISE_GIVE, f.own.promise.nonce, "");
    assert_int_equal(run_for(5000), ASKED_WAITS);
    assert_int_equal(f.phase, FAILOVER_RESCUING);
    assert_int_equal(run_for(9900), ASKED_WAITS);
    assert_int_equal(run_for(200), ASKED_REFUSED); /* no link came */
    assert_non_null(strstr(f.refusal, "what dc1-a has left in its pg_wal is not here"));
    f.wish.force = true;
    answer("dc1-a", PROMISE_GIVE, f.own.promise.nonce, "");
    assert_int_equal(run_for(100), ASKED_GOES_ON);
}

/* Of a pool of three the other standby has to promise, too, and the primary only by a DBA's word
 * needs not. */
static void
test_asking_wants_everybody(void **state)
{
    struct ask *third = &asks.ask[1];

    (void)state;
    strcpy(config.member[2].name, "dc3-a");
    config.members = 3;
    asks.count = 2;
    *third = (struct ask){.asks = &asks, .to = &config.member[2], .state = ASK_RESTS};
    f.wish.dead = true;
    asking_begin(&f, false, now_us);
    assert_true(third->wanted && third->hurries);
    assert_int_equal(run_for(5000), ASKED_WAITS);
    answer("dc3-a", PROMISE_GIVE, f.own.promise.nonce, "");
    assert_int_equal(run_for(100), ASKED_GOES_ON);
    f.wish.dead = false;
    asking_begin(&f, false, now_us);
    answer("dc3-a", PROMISE_GIVE, f.own.promise.nonce, "");
    assert_int_equal(run_for(20000), ASKED_REFUSED);
    assert_non_null(strstr(f.refusal, "refused: dc1-a has not promised"));
    assert_non_null(strstr(f.refusal, "walferry failover --dead"));
}

/* The line was cut and is whole again: that a dial of before goes on, or fails, says nothing, by force neither. */
static void
test_asking_passes_over_nobody_for_a_dial_of_before(void **state)
{
    struct ask *third = &asks.ask[1];

    (void)state;
    strcpy(config.member[2].name, "dc3-a");
    config.members = 3;
    asks.count = 2;
    *third = (struct ask){.asks = &asks,
                          .to = &config.member[2],
                          .state = ASK_DIALS,
                          .begun_us = now_us - 4 * SECOND_US};
    f.wish.dead = f.wish.force = true;
    asking_begin(&f, false, now_us);
    strcpy(asks.ask[0].reason, "connection refused");
    assert_int_equal(run_for(1000), ASKED_WAITS);
    answer("dc3-a", PROMISE_GIVE, f.own.promise.nonce, "");
    assert_int_equal(run_for(100), ASKED_GOES_ON);
}

#define BEGINS 0x1000000 /* a segment */

static void
answer_with(struct ask *q, lsn_t end, lsn_t start)
{
    q->held_wal = (struct ask_held){.told = true,
                                    .end = {1, end},
                                    .wal = {.told = true,
                                            .start = start,
                                            .covered = end,
                                            .wall_us = 5 * SECOND_US,
                                            .age_us = SECOND_US},
                                    .history = "",
                                    .us = now_us};
    q->told = (struct told){.changes = 1, .change = {{.origin = {.epoch = pool.epoch}}}};
    answer(q->to->name, PROMISE_GIVE, f.own.promise.nonce, "");
}

static const char *
told(void)
{
    struct buf *b = &control.client[0].out;

    b->bytes[b->end] = '\0';
    return (const char *)b->bytes + b->start;
}

static void
listen(void)
{
    assert_int_equal(buf_init(&control.client[0].out, 1 << 14), 0);
    control.client[0].fd = INT_MAX; /* nothing is written in this test */
    f.client = control.client[0].id = 1;
}

static void
with_third(void)
{
    strcpy(config.member[2].name, "dc3-a");
    config.members = 3;
    asks.count = 2;
    asks.ask[1] = (struct ask){.asks = &asks, .to = &config.member[2], .state = ASK_RESTS};
    in.spool.written = in.spool.available = in.spool.flushed = BEGINS + 100;
}

/* The primary's host is gone, and a third member has more: its rest is wanted, and told when it cannot be
 * had. */
static void
test_asking_takes_what_another_member_has(void **state)
{
    struct ask *third = &asks.ask[1];
    struct loss_facts facts = {.primary = "dc1-a"};
    char unread[LOSS_UNREAD_SIZE];

    (void)state;
    strcpy(config.member[2].name, "dc3-a");
    config.members = 3;
    asks.count = 2;
    *third = (struct ask){.asks = &asks, .to = &config.member[2], .state = ASK_RESTS};
    in.spool.written = in.spool.available = in.spool.flushed = BEGINS + 100;
    f.wish.dead = true;
    asking_begin(&f, false, now_us);
    run_for(3000);
    answer_with(third, BEGINS + 300, BEGINS);
    assert_int_equal(run_for(100), ASKED_WAITS);
    assert_int_equal(f.phase, FAILOVER_RESCUING);
    assert_ptr_equal(f.fetch.from, &config.member[2]);
    assert_true(in.receiver.shut);
    assert_int_equal(run_for(14000), ASKED_WAITS);
    assert_int_equal(run_for(2000), ASKED_REFUSED); /* no relay is there */
    assert_non_null(strstr(f.refusal, "refused: what dc3-a has more than dc2-a is not here: "));
    assert_non_null(strstr(f.refusal, "/far/dc3-a"));
    assert_non_null(strstr(f.refusal, "walferry failover --dead --force"));
    tails_loss(&f, unread, sizeof unread, &facts, now_us);
    assert_string_equal(unread, "dc3-a");
    assert_int_equal(facts.covered.lsn, 0);
    f.wish.force = true;
    asking_begin(&f, false, now_us);
    answer_with(third, BEGINS + 300, BEGINS);
    assert_int_equal(run_for(4000), ASKED_GOES_ON);
    asking_begin(&f, true, now_us);
    answer_with(third, BEGINS + 100, BEGINS); /* as much as here: so is what it covers */
    assert_int_equal(run_for(4000), ASKED_GOES_ON);
    tails_loss(&f, unread, sizeof unread, &facts, third->held_wal.us + SECOND_US);
    assert_string_equal(unread, "");
    assert_int_equal(facts.covered.wall_us, 5 * SECOND_US);
    assert_int_equal(facts.primary_us - facts.covered.mono_us, 2 * SECOND_US);
}

/* Somebody's WAL was refuted, which stands in the error until good WAL comes: no reason to fetch none. */
static void
test_asking_takes_it_beside_an_error_of_before(void **state)
{
    (void)state;
    with_third();
    f.wish.dead = true;
    strcpy(in.error, "dc1-a ships other WAL than is here");
    asking_begin(&f, false, now_us);
    run_for(3000);
    answer_with(&asks.ask[1], BEGINS + 300, BEGINS);
    assert_int_equal(run_for(5000), ASKED_WAITS);
    assert_ptr_equal(f.fetch.from, &config.member[2]);
    in.shut = true;
    assert_int_equal(run_for(100), ASKED_REFUSED);
    assert_non_null(strstr(f.refusal, "it is not taken here: dc1-a ships other WAL"));
}

/* This one was cut off with WAL that nobody has; the pool went on without it, and its primary is gone. */
static void
test_asking_leaves_the_pool_to_who_followed_it(void **state)
{
    static char history[] = "1\t0/1000100\tx\n";
    struct ask *third = &asks.ask[1];
    struct loss_facts facts = {.primary = "dc1-a"};
    char unread[LOSS_UNREAD_SIZE];

    (void)state;
    with_third();
    in.spool.written = in.spool.available = in.spool.flushed = BEGINS + 0x200;
    pool = (struct pool){.epoch = {2, "dc1-a"}, .timeline = 2, .changes = 1};
    pool.change[0].origin = (struct epoch_origin){
        .epoch = {2, "dc1-a"}, .timeline = 2, .from = 1, .fork = BEGINS + 0x100};
    f.wish.dead = true;
    asking_begin(&f, false, now_us);
    run_for(3000);
    answer_with(third, BEGINS + 0x300, BEGINS);
    third->held_wal.end.timeline = 2;
    third->held_wal.history = history;
    third->held_wal.wal.history_bytes = strlen(history);
    assert_int_equal(run_for(100), ASKED_REFUSED);
    assert_non_null(strstr(f.refusal, "refused: what is here has left the pool at 0/1000100"));
    assert_non_null(strstr(f.refusal, "fail over to dc3-a"));
    assert_non_null(strstr(f.refusal, "walferry rejoin"));
    f.wish.force = true;
    assert_int_equal(run_for(100), ASKED_GOES_ON);
    tails_loss(&f, unread, sizeof unread, &facts, now_us);
    assert_string_equal(unread, "dc3-a");
    listen();
    f.wish.force = false;
    f.wish.dry_run = true;
    asking_begin(&f, false, now_us);
    third->held_wal.us = now_us;
    assert_int_equal(run_for(5000), ASKED_GOES_ON);
    assert_non_null(strstr(told(), "left at 0/1000100: without --force this would be refused"));
    buf_release(&control.client[0].out);
}

/* Everything was prepared, and a member comes with more than was known of it. */
static void
test_asking_once_more_and_there_is_more(void **state)
{
    struct ask *third = &asks.ask[1];

    (void)state;
    strcpy(config.member[2].name, "dc3-a");
    config.members = 3;
    asks.count = 2;
    *third = (struct ask){.asks = &asks, .to = &config.member[2], .state = ASK_RESTS};
    in.spool.written = in.spool.available = in.spool.flushed = BEGINS + 100;
    f.wish.dead = true;
    asking_begin(&f, true, now_us);
    run_for(3000);
    answer_with(third, BEGINS + 300, BEGINS);
    assert_int_equal(run_for(10), ASKED_WAITS);
    assert_false(f.again);
    assert_int_equal(f.phase, FAILOVER_ASKING);
}

/* The WAL of dc1-a comes through dc3-a, whose clock is ahead of ours. */
static void
link_of_head_up(int64_t stamped_us)
{
    with_third();
    link_up();
    strcpy(in.receiver.from, "dc3-a");
    in.receiver.offset = (struct clock_offset){.known = true, .offset_us = 50 * SECOND_US};
    in.receiver.stamped = (struct beacon){
        .lsn = BEGINS, .wall_us = 1, .mono_us = stamped_us + in.receiver.offset.offset_us};
    dials = false;
    asks.ask[0].state = ASK_RESTS;
}

static void
test_asking_hears_the_primary_through_a_head(void **state)
{
    (void)state;
    listen();
    link_of_head_up(now_us - SECOND_US);
    f.wish.dry_run = true;
    asking_begin(&f, false, now_us);
    assert_true(asks.ask[0].wanted);
    assert_int_equal(run_for(500), ASKED_WAITS); /* that was before */
    in.receiver.heard_us = now_us;
    in.receiver.stamped.mono_us = now_us + in.receiver.offset.offset_us;
    assert_int_equal(run_for(5000), ASKED_GOES_ON);
    assert_non_null(strstr(told(), "the primary dc1-a answers: without --force this would be"));
    assert_null(strstr(told(), "does not answer"));
    f.wish.dry_run = f.has_word = false;
    asking_begin(&f, false, now_us);
    in.receiver.stamped.mono_us = now_us + in.receiver.offset.offset_us;
    assert_int_equal(run_for(100), ASKED_REFUSED);
    assert_non_null(strstr(f.refusal, "the primary dc1-a answers"));
    f.wish.force = true;
    f.has_word = false;
    asking_begin(&f, false, now_us);
    in.receiver.stamped.mono_us = now_us + in.receiver.offset.offset_us;
    answer("dc1-a", PROMISE_REFUSE, f.own.promise.nonce, "it is the primary");
    assert_int_equal(run_for(4000), ASKED_GOES_ON);
    assert_non_null(strstr(told(), "it stays writable"));
    in.inlet.since_us = now_us - 100 * SECOND_US;
    in.receiver.stamped.mono_us = now_us + in.receiver.offset.offset_us;
    asking_begin(&f, true, now_us + 100 * MILLISECOND_US);
    answer("dc1-a", PROMISE_REFUSE, f.own.promise.nonce, "it is the primary");
    answer("dc3-a", PROMISE_GIVE, f.own.promise.nonce, "");
    assert_int_equal(run_for(500), ASKED_WAITS); /* for its next beacon */
    in.receiver.stamped.mono_us = now_us + in.receiver.offset.offset_us;
    assert_int_equal(run_for(100), ASKED_GOES_ON);
    assert_null(strstr(told(), "does not answer"));
    buf_release(&control.client[0].out);
}

static void
test_asking_tells_since_when_a_head_passes_nothing_on(void **state)
{
    (void)state;
    listen();
    link_of_head_up(now_us - 60 * SECOND_US);
    f.wish.dry_run = true;
    in.receiver.heard_us = now_us;
    in.inlet.since_us = now_us - 100 * SECOND_US;
    asking_begin(&f, false, now_us);
    asks.ask[0].told_us = now_us - 10 * SECOND_US;
    assert_int_equal(run_for(2900), ASKED_WAITS);
    assert_int_equal(run_for(5000), ASKED_GOES_ON);
    assert_non_null(strstr(told(), "the primary dc1-a does not answer"));
    assert_non_null(strstr(told(), "answered last 1 min 3 s ago, by what dc3-a passed on"));
    assert_null(strstr(told(), "nothing is known of when"));
    f.silent = false;
    asking_begin(&f, false, now_us);
    asks.ask[0].told_us = now_us; /* it was dialled */
    assert_int_equal(run_for(5000), ASKED_GOES_ON);
    assert_non_null(strstr(told(), "the agent of dc1-a answers, and nothing is heard of its Post"));
    buf_release(&control.client[0].out);
}

/* By force it is gone on, but nobody may read that it is silent. */
static void
test_asking_tells_of_a_primary_that_refuses(void **state)
{
    (void)state;
    listen();
    link_of_head_up(now_us - 60 * SECOND_US);
    f.wish.force = true;
    asking_begin(&f, false, now_us);
    assert_true(asks.ask[0].wanted);
    answer("dc1-a", PROMISE_REFUSE, f.own.promise.nonce, "the PostgreSQL of dc1-a answers");
    assert_int_equal(run_for(9000), ASKED_GOES_ON);
    assert_non_null(strstr(told(), "the primary dc1-a refuses: the PostgreSQL of dc1-a answers"));
    assert_non_null(strstr(told(), "will be lost"));
    assert_null(strstr(told(), "does not answer"));
    buf_release(&control.client[0].out);
}

/* Its agent was reached before it was asked over its link: that it is away now counts. */
static void
test_asking_dials_who_was_linked(void **state)
{
    (void)state;
    promises = false;
    dials = false;
    asks.ask[0].state = ASK_RESTS;
    asks.ask[0].reached = true;
    link_up();
    asking_begin(&f, false, now_us);
    assert_int_equal(run_for(500), ASKED_WAITS);
    assert_false(asks.ask[0].hurries);
    link_down();
    asks.ask[0].state = ASK_DIALS;
    asks.ask[0].begun_us = now_us;
    assert_int_equal(run_for(4000), ASKED_GOES_ON);
}

/* A connection that is dead without a word, beside an agent that lives: it is dialled, and says no. */
static void
test_asking_dials_behind_a_silent_link(void **state)
{
    (void)state;
    promises = false;
    dials = false;
    asks.ask[0].state = ASK_RESTS;
    link_up();
    asking_begin(&f, false, now_us);
    assert_int_equal(run_for(500), ASKED_WAITS);
    assert_false(asks.ask[0].hurries);
    assert_int_equal(run_for(3500), ASKED_WAITS);
    assert_true(asks.ask[0].hurries);
    asks.ask[0].reached = true;
    asking_hear(&f, "dc1-a",
                &(struct promise){.word = PROMISE_REFUSE,
                                  .number = 2,
                                  .nonce = f.own.promise.nonce,
                                  .reason = "it answers"});
    assert_int_equal(run_for(100), ASKED_REFUSED);
}

/* With no epoch known nobody is known to be the primary: in a pool of two it is the other one. */
static void
test_asking_with_the_number_of_an_epoch(void **state)
{
    (void)state;
    pool = (struct pool){0};
    f.wish.epoch = 7;
    f.wish.dead = true;
    dials = false;
    asks.ask[0].state = ASK_RESTS;
    strcpy(asks.ask[0].reason, "");
    asking_begin(&f, false, now_us);
    assert_int_equal(f.own.promise.number, 7);
    strcpy(asks.ask[0].reason, "connection refused");
    assert_int_equal(run_for(4000), ASKED_GOES_ON);
}

/* Who could not be dialled a moment ago is not waited for once more. */
static void
test_asking_once_more_waits_for_nobody_who_is_away(void **state)
{
    (void)state;
    f.wish.dead = true;
    dials = false;
    asks.ask[0].state = ASK_RESTS;
    asking_begin(&f, false, now_us);
    asks.ask[0].begun_us = now_us;
    strcpy(asks.ask[0].reason, "connection refused");
    now_us += SECOND_US;
    asks.ask[0].due_us = now_us + ASK_REST_US - SECOND_US / 2;
    asking_begin(&f, true, now_us);
    assert_int_equal(run_for(100), ASKED_GOES_ON);
    asks.ask[0].due_us -= 2 * SECOND_US;
    asking_begin(&f, true, now_us);
    assert_string_equal(asks.ask[0].reason, "");
    assert_int_equal(run_for(100), ASKED_WAITS);
}

/* The journal of an earlier life: the former primary may have gone on meanwhile. */
static void
test_asking_once_more_after_a_restart(void **state)
{
    (void)state;
    pool.epoch = (struct epoch){2, "dc2-a"};
    pool.changes = 1;
    pool.change[0].origin = (struct epoch_origin){.epoch = {2, "dc2-a"}, .parent = {1, "dc1-a"}};
    f.resumes = true;
    dials = false;
    asks.ask[0].state = ASK_RESTS;
    asking_begin(&f, true, now_us);
    assert_int_equal(f.own.promise.number, 2);
    assert_int_equal(run_for(5000), ASKED_WAITS);
    answer("dc1-a", PROMISE_REFUSE, f.own.promise.nonce, "the PostgreSQL of dc1-a takes writes");
    assert_int_equal(run_for(100), ASKED_REFUSED);
    asking_begin(&f, true, now_us);
    strcpy(asks.ask[0].reason, "connection refused");
    assert_int_equal(run_for(4000), ASKED_GOES_ON);
}

/* Of two that ask, one has to give way; and an epoch that is here meanwhile ends it. */
static void
test_asking_ends_when_it_is_overtaken(void **state)
{
    (void)state;
    asking_begin(&f, false, now_us);
    pool.promised = (struct epoch){2, "dc1-a"};
    assert_int_equal(run_for(100), ASKED_REFUSED);
    assert_non_null(strstr(f.refusal, "dc2-a has promised epoch 2 to dc1-a"));
    f.wish.force = true;
    assert_int_equal(run_for(100), ASKED_WAITS);
    pool.epoch.number = 2;
    assert_int_equal(run_for(100), ASKED_REFUSED);
    assert_non_null(strstr(f.refusal, "dc1-a has become the primary of epoch 2"));
}

static void
test_asking_asks_for_nothing_in_a_dry_run(void **state)
{
    struct promise ask;

    (void)state;
    f.wish.dry_run = true;
    link_up();
    asking_begin(&f, false, now_us);
    pong(PONG_POSTGRES_DEAD);
    assert_int_equal(run_for(1000), ASKED_GOES_ON);
    assert_false(is_asked_to_promise(&ask));
}

/* The agent was stopped, or its host was: who was away before may be there for long. */
static void
test_asking_begins_anew_after_a_pause(void **state)
{
    struct control_client *command = &control.client[0];
    uint64_t nonce;

    (void)state;
    assert_int_equal(buf_init(&command->out, 1 << 12), 0);
    command->fd = INT_MAX; /* nothing is written in this test */
    f.client = command->id = 1;
    dials = false;
    asks.ask[0].state = ASK_RESTS;
    asking_begin(&f, false, now_us);
    strcpy(asks.ask[0].reason, "connection refused");
    for (int i = 0; i < 100; i++)
        failover_run(&f, now_us += 10 * MILLISECOND_US);
    nonce = f.own.promise.nonce;
    failover_run(&f, now_us += 30 * SECOND_US);
    assert_int_equal(f.phase, FAILOVER_ASKING);
    assert_int_not_equal(f.own.promise.nonce, nonce);
    assert_string_equal(asks.ask[0].reason, "");
    strcpy(asks.ask[0].reason, "connection refused");
    assert_int_equal(run_for(2900), ASKED_WAITS);
    assert_int_equal(run_for(200), ASKED_GOES_ON);
    buf_release(&command->out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_asking_begins_anew_after_a_pause, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_goes_on_with_a_rescue_over_the_next_connection,
                                        make, drop),
        cmocka_unit_test_setup_teardown(test_asking_does_not_give_up_what_a_dead_primary_left, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_asking_goes_on_without_it_by_force, make, drop),
        cmocka_unit_test_setup_teardown(
            test_asking_rescues_from_who_promised_beside_a_link_that_says_nothing, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_believes_the_first_agent_that_dials_again, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_asking_takes_no_word_of_nobody_knows_whom, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_rescues_once_the_session_is_known_to_be_its_own,
                                        make, drop),
        cmocka_unit_test_setup_teardown(test_asking_waits_for_a_server_that_stops, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_refuses_a_server_that_goes_on_starting, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_asking_once_more_hears_who_came_meanwhile, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_once_more_believes_no_old_word, make, drop),
        cmocka_unit_test_setup_teardown(
            test_asking_knows_no_loss_of_a_primary_that_is_silent_by_now, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_for_a_reclaim_hears_a_primary_that_dials, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_asking_rescues_nothing_before_it_is_promised, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_asking_is_refused_without_a_promise, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_rescues_from_a_primary_that_only_promises, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_asking_wants_everybody, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_passes_over_nobody_for_a_dial_of_before, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_asking_takes_what_another_member_has, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_once_more_and_there_is_more, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_takes_it_beside_an_error_of_before, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_leaves_the_pool_to_who_followed_it, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_hears_the_primary_through_a_head, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_tells_since_when_a_head_passes_nothing_on, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_asking_tells_of_a_primary_that_refuses, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_dials_who_was_linked, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_dials_behind_a_silent_link, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_with_the_number_of_an_epoch, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_once_more_after_a_restart, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_once_more_waits_for_nobody_who_is_away, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_asking_ends_when_it_is_overtaken, make, drop),
        cmocka_unit_test_setup_teardown(test_asking_asks_for_nothing_in_a_dry_run, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

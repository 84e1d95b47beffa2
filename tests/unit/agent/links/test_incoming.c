/* SPDX-License-Identifier: PostgreSQL */
/* The receiving side as a whole: what it tells of the WAL that is on disk here. */
#include "unit/unit.h"

#include "links/greeting.h"
#include "links/incoming.h"

#include "base/clock.h"
#include "support/made_wal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MB    (1u << 20)
#define FIRST UINT64_C(0x1000000)

static const struct identity cluster = {
    .system_identifier = 42, .segment_bytes = MB, .postgres_major = 15};
static struct config config = {
    .name = "chat", .member = {{.name = "dc1-a"}, {.name = "dc3-a"}}, .members = 2};
static struct member self = {.name = "dc2-a"};
static struct who who;
static struct control control;
static struct asks asks;
static struct incoming *in;
static struct buf out; /* of the link */
static struct loop loop;
static char path[64];
static char refused[FRAME_REASON_MAX]; /* with what a HELLO was answered */
static enum refuse_kind kind;          /* ... which has to be of this kind */

void __wrap_inlet_tell(struct session *s, const struct frame *f);
void __wrap_inlet_refuse(struct inlet *i, struct session *s, enum refuse_kind kind,
                         const struct epoch_origin *origin, const char *reason);

void
__wrap_inlet_tell(struct session *s, const struct frame *f)
{
    assert_null(s);
    assert_int_equal(f->type, FRAME_POOL);
}

void
__wrap_inlet_refuse(struct inlet *i, struct session *s, enum refuse_kind refusal,
                    const struct epoch_origin *origin, const char *reason)
{
    assert_ptr_equal(i, &in->inlet);
    assert_null(s);
    assert_int_equal(refusal, kind);
    assert_int_equal(origin->epoch.number, 1);
    snprintf(refused, sizeof refused, "%s", reason);
}

static struct relay_standby standby;

void __wrap_relay_standby(const struct relay *r, struct relay_standby *ret_standby);

void
__wrap_relay_standby(const struct relay *r, struct relay_standby *ret_standby)
{
    (void)r;
    *ret_standby = standby;
}

static int
open_incoming(void **state)
{
    (void)state;
    standby = (struct relay_standby){0};
    config.feedback_keep_us = 0;
    snprintf(path, sizeof path, "/tmp/wf-test-XXXXXX");
    assert_non_null(mkdtemp(path));
    snprintf(self.run, sizeof self.run, "%s", path);
    in = calloc(1, sizeof *in);
    assert_int_equal(spool_open(&in->spool, path), 0);
    who = (struct who){.config = &config,
                       .self = &self,
                       .role = ROLE_STANDBY,
                       .postgres = postgres_new("host=/nowhere"),
                       .spool = &in->spool};
    assert_int_equal(incoming_open(in, &who, &control, &asks, NULL), 0);
    kind = REFUSE_RETRY;
    in->receiver.out = &out;
    loop_begin(&loop);
    return buf_init(&out, 1 << 16);
}

static int
close_incoming(void **state)
{
    char command[100];

    (void)state;
    in->receiver.out = NULL;
    incoming_close(in);
    spool_close(&in->spool);
    postgres_free(who.postgres);
    buf_release(&out);
    free(in);
    snprintf(command, sizeof command, "rm -r %s", path);
    assert_int_equal(system(command), 0);
    return 0;
}

/* Serve once: what has it acknowledged by now? */
static struct ack
acknowledge(void)
{
    static struct ack ack;
    struct frame frame;

    incoming_serve(in, &loop, clock_us());
    while (frame_next(&out, &frame) == 1) {
        if (frame.type == FRAME_ACK)
            ack = frame.ack;
        buf_consume(&out, frame.bytes);
    }
    return ack;
}

/* What cannot be replayed here covers nothing on the other site. */
static void
test_incoming_is_fenced_where_wal_cannot_be_replayed(void **state)
{
    (void)state;
    who.replay.replay = REPLAY_FOLLOWS;
    assert_false(acknowledge().fenced);
    who.replay.replay = REPLAY_FORKED;
    assert_true(acknowledge().fenced);
    who.replay.replay = REPLAY_UNKNOWN;
    assert_false(acknowledge().fenced);
    who.role = ROLE_FENCED;
    assert_true(acknowledge().fenced);
}

static void
test_incoming_gives_on_the_feedback_of_a_standby_that_is_here(void **state)
{
    (void)state;
    standby = (struct relay_standby){.connected = true, .xmin = 7, .catalog_xmin = 5};
    assert_int_equal(acknowledge().xmin, 7); /* feedback_keep = 0s is of one that is away */
    assert_int_equal(acknowledge().catalog_xmin, 5);
    standby.connected = false;
    usleep(2000);
    assert_int_equal(acknowledge().xmin, 0);
    standby.connected = true;
    assert_int_equal(acknowledge().xmin, 7);
    config.feedback_keep_us = 3600 * SECOND_US;
    standby.connected = false;
    usleep(2000);
    assert_int_equal(acknowledge().xmin, 7);
}

/* WAL of timeline 1: records up to `ret_fork`, `behind` whole ones more, and the half of another. */
static void
fill_spool(int behind, lsn_t *ret_fork)
{
    static uint8_t wal[2 * MB];
    struct made_wal made = {.bytes = wal,
                            .start = FIRST,
                            .at = FIRST,
                            .segment_bytes = MB,
                            .system_identifier = cluster.system_identifier};
    struct spool *s = &in->spool;

    memset(wal, 0, sizeof wal);
    while (made.at < FIRST + 500000)
        made_wal_record(&made, 1000, 10, 0);
    *ret_fork = made.at;
    while (behind-- > 0)
        made_wal_record(&made, 1000, 10, 0);
    made_wal_record(&made, 50000, 10, 0);
    assert_int_equal(spool_adopt(s, &cluster), 0);
    assert_int_equal(spool_begin(s, 1, FIRST), 0);
    assert_int_equal(spool_append(s, 1, FIRST, wal, made.at - 25000 - FIRST, 0), 0);
    assert_int_equal(spool_trust_tail(s), 0);
}

/* What is acknowledged here once its end was looked for; the loop does not wait for that. */
static lsn_t
find_acknowledged(lsn_t fork)
{
    struct position p;
    bool whole;

    p = incoming_acknowledged(in, &whole);
    assert_false(whole);
    assert_int_equal(p.lsn, in->spool.flushed);
    incoming_left(in, fork);
    assert_true(in->spool.cutting);
    for (int i = 0; in->spool.cutting; i++) {
        assert_true(i < 5000);
        usleep(1000);
        incoming_run(in, &loop, clock_us(), clock_wall_us());
    }
    return incoming_acknowledged(in, &whole).lsn;
}

static void
test_incoming_ends_at_the_fork_behind_which_no_record_is_whole(void **state)
{
    lsn_t fork;

    (void)state;
    fill_spool(0, &fork);
    assert_int_equal(find_acknowledged(fork), fork);
    assert_int_equal(in->spool.flushed, fork);
}

static void
test_incoming_knows_where_the_last_whole_record_ends(void **state)
{
    lsn_t fork, end;
    bool whole;

    (void)state;
    fill_spool(2, &fork);
    end = find_acknowledged(fork);
    assert_true(incoming_acknowledged(in, &whole).timeline == 1 && whole);
    assert_true(end > fork + 2000 && end < fork + 3000);
    assert_true(in->spool.flushed > fork + 20000); /* it is kept */
    incoming_left(in, fork);
    assert_false(in->spool.cutting); /* once */
}

/* A HELLO with the key of dc3-a, which says that it is the primary of the next epoch. */
static void
claim(void)
{
    static const char history[] = "1\t0/1000100\tnobody has confirmed it\n";
    struct hello h = {.pool = "chat",
                      .from = "dc3-a",
                      .to = "dc2-a",
                      .identity = cluster,
                      .epoch = {2, "dc3-a"},
                      .timeline = 2,
                      .history = history,
                      .history_bytes = sizeof history - 1,
                      .path = {"dc3-a"},
                      .hops = 1};
    bool wants = false;

    refused[0] = '\0';
    assert_false(greeting_check(in, NULL, &h, false, &wants));
    assert_true(wants);
    assert_non_null(strstr(refused, "dc2-a asks dc3-a back whether it is the primary of epoch 2"));
    assert_false(in->spool.cutting);
    assert_int_equal(in->forked, LSN_UNKNOWN);
}

/* The spool is neither looked through nor made ready to be cut for it. */
static void
test_incoming_does_nothing_for_a_claim_that_nobody_has_confirmed(void **state)
{
    const struct epoch_origin first = {.epoch = {1, "dc1-a"}, .timeline = 1, .how = EPOCH_BY_FIRST};
    lsn_t fork;

    (void)state;
    fill_spool(2, &fork);
    pool_adopt(&who.pool, &first, 0);
    claim();
    find_acknowledged(fork);
    claim();
    assert_non_null(strstr(refused, "forked from timeline 1 at 0/1000100")); /* told at once */
}

/* The primary's key and its epoch, a timeline that nobody knows of: only its member says whose it is. */
static void
test_incoming_does_nothing_for_a_history_of_nobody_knows_whom(void **state)
{
    static const char history[] = "1\t0/1000100\tnobody has confirmed it\n";
    struct ask *q = &asks.ask[0];
    const struct hello h = {.from = "dc1-a",
                            .epoch = {1, "dc1-a"},
                            .identity = cluster,
                            .incarnation = 7,
                            .timeline = 2,
                            .history = history,
                            .history_bytes = sizeof history - 1};
    const struct epoch_origin first = {.epoch = h.epoch, .timeline = 1, .how = EPOCH_BY_FIRST};
    lsn_t fork;

    (void)state;
    asks = (struct asks){.ask[0] = {.to = &config.member[0], .reason = "no way"}, .count = 1};
    fill_spool(2, &fork);
    find_acknowledged(fork);
    pool_adopt(&who.pool, &first, 0);
    assert_false(greeting_answer(in, NULL, &h, 0, 0));
    assert_non_null(strstr(refused, "dc2-a asks dc1-a back whether this is its session"));
    assert_non_null(strstr(refused, "no way"));
    assert_int_equal(q->session, 7);
    assert_true(q->wanted);
    assert_false(in->spool.cutting);
    assert_int_equal(in->forked, LSN_UNKNOWN);
    q->foreign = 7;
    kind = REFUSE_OPERATOR;
    assert_false(greeting_answer(in, NULL, &h, 1, 0));
    assert_non_null(strstr(refused, "dc1-a, asked itself, knows nothing of this session"));
    assert_true(q->refuted_us != 0);
    assert_int_equal(in->claimed_us, 0);
    q->foreign = 0;
    q->own = 6;
    assert_false(greeting_answer(in, NULL, &h, 5, 0));
    assert_int_equal(in->claimed_us, 5); /* a reclaim knows by it that the primary lives */
    assert_int_equal(in->forked, UINT64_C(0x1000100)); /* a rejoin may cut it there */
}

/* A session that a promise keeps out is told what ends that. */
static void
test_incoming_tells_how_a_promise_ends(void **state)
{
    const struct hello h = {.from = "dc1-a", .epoch = {1, "dc1-a"}};
    const struct epoch_origin first = {.epoch = h.epoch, .timeline = 1, .how = EPOCH_BY_FIRST};

    (void)state;
    pool_adopt(&who.pool, &first, 0);
    who.pool.promised = (struct epoch){2, "dc3-a"};
    assert_false(greeting_answer(in, NULL, &h, 0, 0));
    assert_non_null(strstr(refused, "epoch 2 is promised to dc3-a"));
    assert_non_null(strstr(refused, "on the host of dc2-a: walferry failover --break-promise "));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_incoming_is_fenced_where_wal_cannot_be_replayed,
                                        open_incoming, close_incoming),
        cmocka_unit_test_setup_teardown(
            test_incoming_gives_on_the_feedback_of_a_standby_that_is_here, open_incoming,
            close_incoming),
        cmocka_unit_test_setup_teardown(
            test_incoming_ends_at_the_fork_behind_which_no_record_is_whole, open_incoming,
            close_incoming),
        cmocka_unit_test_setup_teardown(test_incoming_knows_where_the_last_whole_record_ends,
                                        open_incoming, close_incoming),
        cmocka_unit_test_setup_teardown(
            test_incoming_does_nothing_for_a_claim_that_nobody_has_confirmed, open_incoming,
            close_incoming),
        cmocka_unit_test_setup_teardown(
            test_incoming_does_nothing_for_a_history_of_nobody_knows_whom, open_incoming,
            close_incoming),
        cmocka_unit_test_setup_teardown(test_incoming_tells_how_a_promise_ends, open_incoming,
                                        close_incoming),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

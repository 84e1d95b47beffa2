/* SPDX-License-Identifier: PostgreSQL */
/* pool: epochs, and pool.state on disk. */
#include "unit/unit.h"

#include "base/durable.h"
#include "base/fail.h"
#include "pool/epoch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/walferry-test-pool-XXXXXX";
static int dir;

static int
setup(void **state)
{
    (void)state;
    return mkdtemp(path) == NULL || durable_dir(path, &dir) < 0;
}

static int
teardown(void **state)
{
    (void)state;
    durable_remove(dir, "pool.state");
    durable_close(dir);
    return rmdir(path);
}

static struct epoch_origin
origin(uint64_t number, const char *member, timeline_t timeline, lsn_t fork)
{
    struct epoch_origin o = {.epoch = {.number = number}, .timeline = timeline, .fork = fork};

    snprintf(o.epoch.member, sizeof o.epoch.member, "%s", member);
    return o;
}

static void
adopt(struct pool *p, uint64_t number, const char *member)
{
    struct epoch_origin o = origin(number, member, (timeline_t)number, number << 24);

    pool_adopt(p, &o, 1000);
}

static void
test_pool_higher_number_is_right(void **state)
{
    struct pool p = {0};
    struct epoch_origin a1 = origin(1, "a", 1, 0), b1 = origin(1, "b", 1, 0),
                        b2 = origin(2, "b", 2, 0);

    (void)state;
    assert_int_equal(pool_judge(&p, &a1.epoch), POOL_HIGHER);
    pool_adopt(&p, &a1, 0);
    assert_int_equal(pool_judge(&p, &a1.epoch), POOL_SAME);
    assert_int_equal(pool_judge(&p, &b1.epoch), POOL_CONFLICT);
    assert_int_equal(pool_judge(&p, &b2.epoch), POOL_HIGHER);
    pool_adopt(&p, &b2, 0);
    assert_int_equal(pool_judge(&p, &a1.epoch), POOL_LOWER);
    assert_int_equal(p.timeline, 2);
    assert_true(pool_was_primary(&p, "a"));
    assert_false(pool_was_primary(&p, "b"));
}

static void
test_pool_state_there_and_back(void **state)
{
    struct pool p = {0}, got;

    (void)state;
    assert_int_equal(pool_load(&got, dir), ERR_AGAIN);
    for (uint64_t n = 1; n <= POOL_CHANGES_MAX + 5; n++)
        adopt(&p, n, n % 2 == 1 ? "dc1-a" : "dc2-a");
    p.step = FAILOVER_DRAIN;
    strcpy(p.loss, "at most what was committed in the last 2 s");
    p.loss_since_us = INT64_C(1795370000000000);
    assert_int_equal(pool_save(&p, dir), 0);
    assert_int_equal(pool_load(&got, dir), 0);
    assert_int_equal(got.epoch.number, POOL_CHANGES_MAX + 5);
    assert_string_equal(got.epoch.member, "dc1-a");
    assert_int_equal(got.changes, POOL_CHANGES_MAX);
    assert_int_equal(got.step, FAILOVER_DRAIN);
    assert_string_equal(got.loss, p.loss);
    assert_int_equal(got.loss_since_us, p.loss_since_us);
    adopt(&got, POOL_CHANGES_MAX + 6, "dc2-a");
    assert_string_equal(got.loss, ""); /* it was the epoch's before */
    assert_int_equal(got.loss_since_us, 0);
    assert_int_equal(pool_load(&got, dir), 0);
    assert_int_equal(pool_origin(&got).fork, (lsn_t)(POOL_CHANGES_MAX + 5) << 24);
}

/* That PostgreSQL here has left the pool is kept over epochs; files of earlier versions lack it. */
static void
test_pool_state_keeps_that_postgres_left(void **state)
{
    static struct pool p, got;

    (void)state;
    adopt(&p, 2, "a");
    assert_int_equal(pool_save(&p, dir), 0);
    assert_int_equal(pool_load(&got, dir), 0);
    assert_false(got.left);
    p.left = true;
    adopt(&p, 3, "b");
    assert_int_equal(pool_save(&p, dir), 0);
    assert_int_equal(pool_load(&got, dir), 0);
    assert_true(got.left);
}

/* A promise is kept until its epoch, or a higher one, is known. */
static void
test_pool_state_keeps_a_promise(void **state)
{
    static struct pool p, got;

    (void)state;
    adopt(&p, 2, "a");
    p.promised = (struct epoch){.number = 4, .member = "c"};
    p.promised_nonce = UINT64_MAX - 1;
    assert_int_equal(pool_save(&p, dir), 0);
    assert_int_equal(pool_load(&got, dir), 0);
    assert_true(epoch_equal(&got.promised, &p.promised));
    assert_int_equal(got.promised_nonce, p.promised_nonce);
    adopt(&got, 3, "b");
    assert_int_equal(got.promised.number, 4);
    adopt(&got, 4, "b");
    assert_int_equal(got.promised.number, 0);
    assert_int_equal(pool_save(&got, dir), 0);
    assert_int_equal(pool_load(&p, dir), 0);
    assert_int_equal(p.promised.number, 0);
}

/* Also those of an epoch that is over: its heads stay. */
static void
test_pool_state_keeps_routes(void **state)
{
    static struct pool p, got;

    (void)state;
    adopt(&p, 3, "c");
    p.routes = (struct routes){.epoch = {3, "c"},
                               .number = 9,
                               .count = 2,
                               .route = {{"c", "", ROUTE_PRIMARY, false, false, 5},
                                         {"a", "c", ROUTE_SILENT, true, true, 1700000000000000}}};
    adopt(&p, 4, "a");
    assert_int_equal(pool_save(&p, dir), 0);
    assert_int_equal(pool_load(&got, dir), 0);
    assert_memory_equal(&got.routes, &p.routes, sizeof p.routes);
}

/* The longest that other members can tell: what is saved can be loaded. */
static void
test_pool_state_at_its_largest(void **state)
{
    static struct pool p, got;
    struct epoch_origin o = {.timeline = UINT32_MAX, .from = UINT32_MAX, .fork = UINT64_MAX};
    char longest[MEMBER_NAME_SIZE];

    (void)state;
    memset(longest, 'm', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    o.epoch = (struct epoch){.number = EPOCH_NUMBER_MAX};
    memcpy(o.epoch.member, longest, sizeof longest);
    o.parent = o.epoch;
    for (size_t i = 0; i < EPOCH_OVERRULES_MAX; i++)
        o.overruled[i] = o.epoch;
    o.how = EPOCH_BY_FAILOVER;
    for (size_t i = 0; i < POOL_CHANGES_MAX; i++)
        pool_adopt(&p, &o, INT64_C(1) << 58);
    assert_int_equal(pool_save(&p, dir), 0);
    assert_int_equal(pool_load(&got, dir), 0);
    assert_int_equal(got.changes, POOL_CHANGES_MAX);
    assert_memory_equal(&got.change[3].origin.overruled, &o.overruled, sizeof o.overruled);
    assert_int_equal(got.epoch.number, EPOCH_NUMBER_MAX);
}

static void
test_pool_chain_names_parents(void **state)
{
    static struct pool p, got;
    struct epoch_origin o = origin(4, "c", 0, 0);

    (void)state;
    adopt(&p, 1, "a");
    adopt(&p, 2, "b");
    o.overruled[0] = (struct epoch){.number = 3, .member = "a"};
    o.how = EPOCH_BY_RESOLVE;
    pool_adopt(&p, &o, 5);
    assert_int_equal(pool_save(&p, dir), 0);
    assert_int_equal(pool_load(&got, dir), 0);
    assert_int_equal(got.change[0].origin.parent.number, 0);
    assert_int_equal(got.change[1].origin.parent.number, 1);
    assert_string_equal(got.change[1].origin.parent.member, "a");
    assert_int_equal(got.change[1].origin.from, 1);
    o = pool_origin(&got);
    assert_int_equal(o.parent.number, 2);
    assert_int_equal(o.timeline, 2); /* until it is known where it forks */
    assert_int_equal(o.overruled[0].number, 3);
    assert_string_equal(o.overruled[0].member, "a");
    assert_int_equal(o.overruled[1].number, 0);
    assert_int_equal(o.how, EPOCH_BY_RESOLVE);
    assert_int_equal(got.timeline, 2);
    assert_true(pool_was_primary(&got, "a") && pool_was_primary(&got, "b"));
}

static void
test_pool_promoted_by_its_history(void **state)
{
    static struct pool p;
    static const char history[] = "1\t0/3000000\tx\n3\t0/5000000\ty\n";
    struct epoch_origin o = origin(2, "b", 0, 0);

    (void)state;
    adopt(&p, 1, "a");
    pool_adopt(&p, &o, 5);
    pool_promoted(&p, 4, history, sizeof history - 1);
    o = pool_origin(&p);
    assert_int_equal(p.timeline, 4);
    assert_int_equal(o.timeline, 4);
    assert_int_equal(o.from, 3);
    assert_int_equal(o.fork, 0x5000000);
    pool_promoted(&p, 5, "", 0); /* it cannot be read */
    assert_int_equal(pool_origin(&p).timeline, 5);
}

/* As protocol 4's agents wrote it. */
static void
test_pool_state_without_parents_is_read(void **state)
{
    static const char text[] =
        "{\"timeline\":3,\"step\":0,\"changes\":["
        "{\"number\":1,\"member\":\"a\",\"timeline\":1,\"fork\":\"0/0\",\"wall_us\":1},"
        "{\"number\":2,\"member\":\"b\",\"timeline\":3,\"fork\":\"0/5000000\",\"wall_us\":2}]}";
    static struct pool got;
    struct epoch_origin o;

    (void)state;
    assert_int_equal(durable_replace(dir, "pool.state", text, strlen(text)), 0);
    assert_int_equal(pool_load(&got, dir), 0);
    o = pool_origin(&got);
    assert_int_equal(o.parent.number, 1);
    assert_string_equal(o.parent.member, "a");
    assert_int_equal(o.from, 0);
    assert_int_equal(o.how, EPOCH_BY_UNKNOWN);
    assert_int_equal(got.promised.number, 0);
}

static void
test_pool_state_that_is_none_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{\"timeline\":1,\"step\":0,\"changes\":[]}",
        "{\"timeline\":1,\"step\":9,\"changes\":[{\"number\":1,\"member\":\"a\",\"timeline\":1,\"fork\":\"0/0\","
        "\"wall_us\":1}]}",
        "{\"timeline\":1,\"step\":0,\"changes\":[{\"number\":1,\"member\":\"a\",\"timeline\":1,\"fork\":\"x\","
        "\"wall_us\":1}]}",
        "{\"timeline\":1,\"step\":0,\"changes\":[{\"number\":9007199254740993,\"member\":\"a\","
        "\"timeline\":1,\"fork\":\"0/0\",\"wall_us\":1}]}",
        "{\"timeline\":1,\"step\":0,\"changes\":[{\"number\":2,\"member\":\"a\",\"timeline\":1,"
        "\"fork\":\"0/0\",\"wall_us\":1,\"parent\":{\"number\":0,\"member\":\"a\"}}]}",
        "{\"timeline\":1,\"step\":0,\"changes\":[{\"number\":1,\"member\":\"a\",\"timeline\":1,\"fork\":\"0/0\","
        "\"wall_us\":1}],\"promised\":{\"number\":0,\"member\":\"b\"}}",
        "{\"timeline\":1,\"step\":0,\"changes\":[{\"number\":1,\"member\":\"b\",\"timeline\":1,\"fork\":\"0/"
        "0\","
        "\"wall_us\":1}],\"routes\":{\"epoch\":1,\"primary\":\"b\",\"number\":1,\"members\":[]}}",
        "{\"timeline\":1,\"step\":0,\"changes\":[{\"number\":1,\"member\":\"b\",\"timeline\":1,\"fork\":\"0/"
        "0\","
        "\"wall_us\":1}],\"routes\":{\"epoch\":1,\"primary\":\"b\",\"number\":1,\"members\":[{\"member\":\"b\","
        "\"from\":\"\",\"why\":\"whim\",\"cut\":false,\"pinned\":false,\"since_us\":1}]}}",
        "{\"timeline\":1,\"step\":0,\"changes\":[{\"number\":0,\"member\":\"a\",\"timeline\":1,\"fork\":\"0/0\","
        "\"wall_us\":1}]}",
    };
    struct pool got;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(durable_replace(dir, "pool.state", bad[i], strlen(bad[i])), 0);
        assert_int_equal(pool_load(&got, dir), ERR_CORRUPT);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool_higher_number_is_right),
        cmocka_unit_test(test_pool_state_there_and_back),
        cmocka_unit_test(test_pool_state_keeps_a_promise),
        cmocka_unit_test(test_pool_state_keeps_routes),
        cmocka_unit_test(test_pool_state_keeps_that_postgres_left),
        cmocka_unit_test(test_pool_state_at_its_largest),
        cmocka_unit_test(test_pool_chain_names_parents),
        cmocka_unit_test(test_pool_promoted_by_its_history),
        cmocka_unit_test(test_pool_state_without_parents_is_read),
        cmocka_unit_test(test_pool_state_that_is_none_is_refused),
    };

    return cmocka_run_group_tests_name("pool", tests, setup, teardown);
}

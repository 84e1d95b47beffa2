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
    assert_int_equal(pool_save(&p, dir), 0);
    assert_int_equal(pool_load(&got, dir), 0);
    assert_int_equal(got.epoch.number, POOL_CHANGES_MAX + 5);
    assert_string_equal(got.epoch.member, "dc1-a");
    assert_int_equal(got.changes, POOL_CHANGES_MAX);
    assert_int_equal(got.step, FAILOVER_DRAIN);
    assert_int_equal(pool_origin(&got).fork, (lsn_t)(POOL_CHANGES_MAX + 5) << 24);
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
        cmocka_unit_test(test_pool_state_that_is_none_is_refused),
    };

    return cmocka_run_group_tests_name("pool", tests, setup, teardown);
}

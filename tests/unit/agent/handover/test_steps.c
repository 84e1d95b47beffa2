/* SPDX-License-Identifier: PostgreSQL */
/* The steps of the journal, with a PostgreSQL of the test; and the end of a failover: its last line
 * waits until it is known what is missing. */
#include "unit/unit.h"

#include "handover/steps.h"

#include "base/clock.h"
#include "base/durable.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[] = "/tmp/walferry-test-steps-XXXXXX"; /* the spool's */
static int dir;
static struct config config = {.member = {{.name = "dc1-a"}, {.name = "dc2-a", .pgdata = "/data"}},
                               .members = 2};
static struct who who;
static struct incoming in;
static struct outgoing out;
static struct control control;
static struct failover f;
static enum postgres_state server;
static struct postgres_sample sample;

static int slots;       /* that were made */
static bool asked;      /* for one more */
static const char *bad; /* how that ends; NULL: it is made */

enum postgres_state __wrap_postgres_state(const struct postgres *p);
const struct postgres_sample *__wrap_postgres_sample(const struct postgres *p);

enum postgres_state
__wrap_postgres_state(const struct postgres *p)
{
    (void)p;
    return server;
}

const struct postgres_sample *
__wrap_postgres_sample(const struct postgres *p)
{
    (void)p;
    return &sample;
}

bool __wrap_postgres_ask(struct postgres *p, enum postgres_command command, const char *argument);
bool __wrap_postgres_done(struct postgres *p, const char **ret_error);

bool
__wrap_postgres_ask(struct postgres *p, enum postgres_command command, const char *argument)
{
    (void)p;
    (void)argument;
    if (asked || server != POSTGRES_UP || command != POSTGRES_MAKE_SLOT)
        return false;
    return asked = true;
}

bool
__wrap_postgres_done(struct postgres *p, const char **ret_error)
{
    (void)p;
    if (!asked)
        return false;
    asked = false;
    slots += bad == NULL;
    *ret_error = bad;
    return true;
}

const char *__wrap_postgres_reason(const struct postgres *p);

const char *
__wrap_postgres_reason(const struct postgres *p)
{
    (void)p;
    return "it is away";
}

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
    durable_remove(dir, "walferry.conf");
    durable_close(dir);
    return rmdir(path);
}

static int
make(void **state)
{
    (void)state;
    who = (struct who){.config = &config, .self = &config.member[1], .role = ROLE_PRIMARY};
    in = (struct incoming){.inlet = {.fd = -1, .receiver = &in.receiver}, .spool = {.dir = dir}};
    who.spool = &in.spool;
    control = (struct control){.fd = -1};
    f = (struct failover){.who = &who,
                          .out = &out,
                          .in = &in,
                          .control = &control,
                          .phase = FAILOVER_RUNNING,
                          .ended = true};
    out.links = 0;
    slots = 0;
    asked = false;
    bad = NULL;
    return 0;
}

static enum failover_phase
run_at(int64_t s)
{
    steps_run(&f, s * SECOND_US);
    return f.phase;
}

static void
test_steps_end_at_once_when_nothing_is_to_be_looked_for(void **state)
{
    (void)state;
    assert_int_equal(run_at(0), FAILOVER_IDLE);
}

static void
test_steps_end_waits_for_what_is_looked_for(void **state)
{
    (void)state;
    who.replay.unsure = true;
    assert_int_equal(run_at(1), FAILOVER_RUNNING);
    in.spool.cutting = true;
    assert_int_equal(run_at(1000), FAILOVER_RUNNING);
    in.spool.cutting = who.replay.unsure = false;
    assert_int_equal(run_at(1000), FAILOVER_IDLE);
}

static void
test_steps_end_does_not_wait_for_ever(void **state)
{
    (void)state;
    who.replay.unsure = true; /* and nobody can look */
    assert_int_equal(run_at(9), FAILOVER_RUNNING);
    assert_int_equal(run_at(10), FAILOVER_IDLE);
}

/* Its journal stands at that step, of an epoch that follows timeline 1. */
static void
stand_at(enum failover_step step)
{
    struct epoch_origin first = {.epoch = {1, "dc1-a"}, .timeline = 1},
                        ours = {.epoch = {2, "dc2-a"}};

    pool_adopt(&who.pool, &first, 0);
    pool_adopt(&who.pool, &ours, 0);
    who.pool.step = step;
    f.pool = &who.pool;
    f.ended = false;
    server = POSTGRES_UP;
    sample = (struct postgres_sample){.in_recovery = true, .timeline = 1};
}

static void
test_steps_half_a_promotion_is_refused(void **state)
{
    (void)state;
    for (enum failover_step step = FAILOVER_EPOCH; step <= FAILOVER_PROMOTE; step++) {
        make(state);
        stand_at(step);
        sample.in_recovery = false; /* writable, and no new timeline */
        assert_int_equal(run_at(1), FAILOVER_IDLE);
        assert_int_equal(who.pool.step, step); /* done when it is mended */
        assert_int_equal(who.pool.timeline, 1);
    }
}

/* What is done but cannot be written down is done once more: the journal in memory is the one on
 * disk. */
static void
test_steps_are_where_the_disk_is(void **state)
{
    static const enum failover_step step[] = {FAILOVER_NONE, FAILOVER_EPOCH, FAILOVER_EXPOSED,
                                              FAILOVER_DRAIN, FAILOVER_SLOTS};

    durable_remove(dir, "pool.state");
    assert_int_equal(mkdirat(dir, "pool.state", 0700), 0); /* nothing can be put there */
    for (size_t i = 0; i < sizeof step / sizeof *step; i++) {
        make(state);
        stand_at(step[i]);
        if (step[i] == FAILOVER_NONE)
            f.wish.epoch = 3;
        f.entered = step[i] == FAILOVER_DRAIN;
        assert_int_equal(run_at(1), FAILOVER_IDLE);
        assert_int_equal(who.pool.step, step[i]);
        assert_int_equal(who.pool.epoch.number, 2);
    }
    make(state); /* it stood at its end, and PostgreSQL is in recovery again */
    stand_at(FAILOVER_PROMOTE);
    steps_begin(&f, 0);
    assert_int_equal(f.phase, FAILOVER_IDLE);
    assert_int_equal(who.pool.step, FAILOVER_PROMOTE);
    assert_int_equal(unlinkat(dir, "pool.state", AT_REMOVEDIR), 0);
    make(state);
    stand_at(FAILOVER_PROMOTE);
    steps_begin(&f, 0);
    assert_int_equal(f.phase, FAILOVER_RUNNING);
    assert_int_equal(who.pool.step, FAILOVER_DRAIN);
    who.pool.step = FAILOVER_NONE;
    assert_int_equal(pool_load(&who.pool, dir), 0);
    assert_int_equal(who.pool.step, FAILOVER_DRAIN);
}

/* Promoted by hand at the drain, then given standby.signal: it takes nothing of the pool any more. */
static void
test_steps_drain_ends_when_postgres_has_parted(void **state)
{
    (void)state;
    stand_at(FAILOVER_DRAIN);
    in.spool.timeline = 1;
    in.spool.written = in.spool.flushed = in.spool.available = 0x4000;
    f.entered = true;
    assert_int_equal(run_at(1), FAILOVER_RUNNING);
    sample.timeline = 2;
    who.replay = (struct replay_word){.replay = REPLAY_FORKED};
    assert_int_equal(run_at(2), FAILOVER_IDLE);
    assert_int_equal(who.pool.step, FAILOVER_DRAIN);
}

static void
test_steps_make_a_slot_again_that_died_with_postgres(void **state)
{
    (void)state;
    stand_at(FAILOVER_SLOTS);
    out.links = 2;
    assert_int_equal(run_at(1), FAILOVER_RUNNING);
    assert_true(asked);
    server = POSTGRES_DOWN;
    bad = "the connection to PostgreSQL was lost meanwhile";
    for (int64_t s = 2; s < 20; s++)
        assert_int_equal(run_at(s), FAILOVER_RUNNING);
    assert_int_equal(who.pool.step, FAILOVER_SLOTS);
    server = POSTGRES_UP;
    bad = NULL;
    for (int64_t s = 20; s < 24; s++)
        assert_int_equal(run_at(s), FAILOVER_RUNNING);
    assert_int_equal(slots, 2);
    assert_int_equal(who.pool.step, FAILOVER_PROMOTE);
}

static void
test_steps_do_not_promote_without_slots_for_a_postgres_that_is_away(void **state)
{
    (void)state;
    stand_at(FAILOVER_SLOTS);
    out.links = 1;
    server = POSTGRES_DOWN;
    assert_int_equal(run_at(29), FAILOVER_RUNNING);
    assert_int_equal(run_at(30), FAILOVER_IDLE);
    assert_int_equal(who.pool.step, FAILOVER_SLOTS);
}

/* It may have been put back to an older state meanwhile: here it is one that takes no WAL of ours. */
static void
test_steps_drain_again_when_postgres_was_away(void **state)
{
    for (enum failover_step step = FAILOVER_SLOTS; step <= FAILOVER_PROMOTE; step++) {
        make(state);
        stand_at(step);
        out.links = 1;
        assert_int_equal(run_at(1), FAILOVER_RUNNING);
        server = POSTGRES_DOWN;
        assert_int_equal(run_at(2), FAILOVER_RUNNING);
        server = POSTGRES_UP;
        who.replay = (struct replay_word){.replay = REPLAY_FORKED};
        assert_int_equal(run_at(3), FAILOVER_IDLE);
        assert_int_equal(who.pool.step, FAILOVER_DRAIN);
        who.replay = (struct replay_word){.replay = REPLAY_FOLLOWS};
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_steps_end_at_once_when_nothing_is_to_be_looked_for, make),
        cmocka_unit_test_setup(test_steps_end_waits_for_what_is_looked_for, make),
        cmocka_unit_test_setup(test_steps_end_does_not_wait_for_ever, make),
        cmocka_unit_test_setup(test_steps_half_a_promotion_is_refused, make),
        cmocka_unit_test_setup(test_steps_are_where_the_disk_is, make),
        cmocka_unit_test_setup(test_steps_drain_ends_when_postgres_has_parted, make),
        cmocka_unit_test_setup(test_steps_make_a_slot_again_that_died_with_postgres, make),
        cmocka_unit_test_setup(test_steps_do_not_promote_without_slots_for_a_postgres_that_is_away,
                               make),
        cmocka_unit_test_setup(test_steps_drain_again_when_postgres_was_away, make),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}

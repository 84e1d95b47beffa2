/* SPDX-License-Identifier: PostgreSQL */
/* A link, as far as no connection is needed. */
#include "unit/unit.h"

#include "base/clock.h"
#include "shipper/sender/link.h"

#include <poll.h>

static struct link l;
static struct loop loop;
static struct workers workers;
static struct frame_cache cache;
static struct codec codec;

static void
look(void *job)
{
    (void)job;
}

static int
make(void **state)
{
    static const struct lane_target target = {
        .user = "u", .host = "127.0.0.1", .port = "1", .identity = "/nonexistent"};
    static const struct link_settings settings = {.lanes = 1};

    (void)state;
    workers_init(&workers, 1);
    return link_init(&l, "dc2-a", &target, &settings, &workers, &cache, "host=/nonexistent", "slot",
                     "/nonexistent", &codec);
}

static int
release(void **state)
{
    (void)state;
    link_release(&l);
    workers_release(&workers);
    return 0;
}

/* Its session broke meanwhile: nobody waits for the end of the dead server's WAL any more. */
static void
test_link_ends_a_look_up_without_a_session(void **state)
{
    const struct hello hello = {.protocol = FRAME_PROTOCOL, .history = ""};
    struct pollfd p = {.fd = worker_fd(&l.drain.worker), .events = POLLIN};

    (void)state;
    link_run(&l, &loop, &hello, "", clock_us(), clock_wall_us());
    assert_int_equal(l.state, LINK_WAITING);
    l.due_us = NEVER_US;
    l.drain.state = DRAIN_LOOKING;
    worker_submit(&l.drain.worker, look, &l.drain);
    assert_int_equal(poll(&p, 1, 10000), 1);
    link_run(&l, &loop, &hello, "", clock_us(), clock_wall_us());
    assert_int_equal(l.drain.state, DRAIN_NONE);
    assert_int_equal(poll(&p, 1, 0), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_link_ends_a_look_up_without_a_session, make, release),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

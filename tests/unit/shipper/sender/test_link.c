/* SPDX-License-Identifier: PostgreSQL */
/* A link, as far as no connection is needed. */
#include "unit/unit.h"

#include "base/clock.h"
#include "shipper/replication/relay.h"
#include "shipper/sender/link.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

/* What is shipped of a dead server is compared. When it comes back, it may have been put back
 * meanwhile: only a new session compares again. */
static void
test_link_compares_anew_after_the_rest_of_a_dead_server(void **state)
{
    const struct hello hello = {.protocol = FRAME_PROTOCOL, .history = ""};
    int64_t now_us = clock_us();
    struct buf out;

    (void)state;
    assert_int_equal(buf_init(&out, 1 << 20), 0);
    l.state = LINK_SHIPPING;
    l.sender.state = SENDER_ACCEPTED;
    l.sender.out = &out;
    l.sender.heard_us = now_us;
    l.sender.postgres = PONG_POSTGRES_DEAD;
    l.sender.drain_asked = true;
    link_run(&l, &loop, &hello, "", now_us, clock_wall_us());
    assert_int_equal(l.state, LINK_SHIPPING);
    assert_false(l.sender.drain_asked);
    link_answers(&l);
    link_run(&l, &loop, &hello, "", now_us, clock_wall_us());
    assert_int_equal(l.state, LINK_WAITING);
    buf_release(&out);
}

/* ---- a spool of its own, and the relay on it ---- */

#define MB    (1u << 20)
#define FIRST UINT64_C(0x1000000)

static char run_dir[64], command[120];
static struct spool spool;
static struct relay relay;
static const struct identity cluster = {
    .system_identifier = 7710451456251498215, .segment_bytes = MB, .postgres_major = 15};

static void
grow(lsn_t start, lsn_t end)
{
    static const uint8_t bytes[4096] = {1, 2, 3};
    struct flush f;

    for (lsn_t lsn = start; lsn < end; lsn += sizeof bytes)
        assert_int_equal(spool_append(&spool, 1, lsn, bytes, sizeof bytes, clock_us()), 0);
    while (spool_flush_begin(&spool, &f, clock_us())) {
        spool_flush_run(&f);
        assert_int_equal(spool_flush_end(&spool, &f), 0);
    }
}

static int
make_relay(void **state)
{
    static char conninfo[120];
    char path[80];

    snprintf(run_dir, sizeof run_dir, "/tmp/test_link.XXXXXX");
    if (mkdtemp(run_dir) == NULL || make(state) < 0)
        return -1;
    snprintf(path, sizeof path, "%s/spool", run_dir);
    snprintf(conninfo, sizeof conninfo, "host='%s' port=5432 user=walferry", run_dir);
    if (mkdir(path, 0700) < 0 || spool_open(&spool, path) < 0 ||
        spool_adopt(&spool, &cluster) < 0 || spool_begin(&spool, 1, FIRST) < 0 ||
        relay_open(&relay, run_dir, &spool, NULL, 0) < 0)
        return -1;
    return link_relay(&l, &spool, conninfo);
}

static int
release_relay(void **state)
{
    release(state);
    relay_close(&relay);
    spool_close(&spool);
    snprintf(command, sizeof command, "rm -rf %s", run_dir);
    return system(command);
}

/* As accepted by a far side that resumes at FIRST. */
static void
begin_session(struct buf *out, const struct hello *hello)
{
    l.relays = true;
    link_run(&l, &loop, hello, "", clock_us(), clock_wall_us());
    l.state = LINK_SHIPPING;
    l.identity = cluster;
    l.sender.state = SENDER_ACCEPTED;
    l.sender.out = out;
    window_lane(&l.sender.window, 0, out);
    l.sender.segment_bytes = MB;
    l.sender.resume_timeline = l.sender.sent_timeline = 1;
    l.sender.resume_lsn = l.sender.sent = l.sender.furthest = FIRST;
}

/* Turns of the loop until so much is sent, or for 5 s. */
static void
ship_until(const struct hello *hello, lsn_t end)
{
    int64_t until_us = clock_us() + 5 * SECOND_US;

    while (l.sender.sent < end && l.state == LINK_SHIPPING && clock_us() < until_us) {
        struct loop turn;

        loop_begin(&turn);
        l.sender.heard_us = clock_us();
        link_watch(&l, &turn);
        relay_watch(&relay, &turn, clock_us());
        loop_due(&turn, clock_us() + 10 * MILLISECOND_US);
        loop_wait(&turn);
        relay_run(&relay, &turn, clock_us());
        link_run(&l, &turn, hello, "", clock_us(), clock_wall_us());
    }
}

/* Nothing listens at the server's address: what is shipped can only be of the spool. */
static void
test_link_ships_from_its_own_relay(void **state)
{
    const struct hello hello = {.protocol = FRAME_PROTOCOL, .history = ""};
    struct buf out;

    (void)state;
    assert_int_equal(buf_init(&out, 8 << 20), 0);
    grow(FIRST, FIRST + MB + 8192);
    begin_session(&out, &hello);
    ship_until(&hello, FIRST + MB + 8192);
    assert_true(l.sender.sent == FIRST + MB + 8192);
    assert_true(relay_needs(&relay) == FIRST + MB); /* nothing is reported yet: what was sent */
    grow(FIRST + MB + 8192, FIRST + MB + 16384);
    ship_until(&hello, FIRST + MB + 16384);
    assert_true(l.sender.sent == FIRST + MB + 16384);
    buf_release(&out);
}

/* The far standby may lie behind the spool's end: nothing is sent from there. */
static void
test_link_waits_until_it_is_known_where_its_relay_begins(void **state)
{
    const struct hello hello = {.protocol = FRAME_PROTOCOL, .history = ""};
    struct buf out;

    (void)state;
    assert_int_equal(buf_init(&out, 8 << 20), 0);
    grow(FIRST, FIRST + MB);
    begin_session(&out, &hello);
    l.sender.resume_timeline = l.sender.sent_timeline = 0;
    l.sender.resume_lsn = l.sender.sent = l.sender.furthest = LSN_UNKNOWN;
    l.source_due_us = 0;
    l.sender.heard_us = clock_us();
    link_run(&l, &loop, &hello, "", clock_us(), clock_wall_us());
    assert_int_equal(l.state, LINK_SHIPPING);
    assert_false(source_active(l.from_relay));
    assert_true(l.source_due_us > clock_us()); /* nor does the loop turn for it */
    assert_string_not_equal(l.source_reason, "");
    buf_release(&out);
}

/* The far side wants to know when it has all. */
static void
test_link_says_where_its_spool_ends(void **state)
{
    const struct hello hello = {.protocol = FRAME_PROTOCOL, .history = ""};
    struct frame f = {0};
    struct buf out;

    (void)state;
    assert_int_equal(buf_init(&out, 8 << 20), 0);
    grow(FIRST, FIRST + MB);
    begin_session(&out, &hello);
    l.source_allowed = false; /* as while a promise stands */
    l.sender.drain_asked = true;
    ship_until(&hello, FIRST + MB);
    assert_true(l.sender.sent == FIRST + MB);
    for (int i = 0; i < 100 && l.sender.drain_asked; i++)
        link_run(&l, &loop, &hello, "", clock_us(), clock_wall_us());
    while (f.type != FRAME_DRAINED && frame_next(&out, &f) == 1)
        buf_consume(&out, f.bytes);
    assert_int_equal(f.type, FRAME_DRAINED);
    assert_true(f.drained.done && f.drained.timeline == 1 && f.drained.end == FIRST + MB);
    link_run(&l, &loop, &hello, "", clock_us(), clock_wall_us());
    assert_false(source_active(l.source));
    assert_int_equal(l.state, LINK_SHIPPING);
    buf_release(&out);
}

/* A session ships from one place: for the other one another begins. */
static void
test_link_begins_anew_for_the_other_source(void **state)
{
    const struct hello hello = {.protocol = FRAME_PROTOCOL, .history = ""};
    struct buf out;

    (void)state;
    assert_int_equal(buf_init(&out, 8 << 20), 0);
    begin_session(&out, &hello);
    l.relays = false;
    link_run(&l, &loop, &hello, "", clock_us(), clock_wall_us());
    assert_int_equal(l.state, LINK_STOPPED);
    link_run(&l, &loop, &hello, "", clock_us(), clock_wall_us());
    assert_false(l.relaying);
    assert_int_equal(l.state, LINK_WAITING);
    buf_release(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_link_ends_a_look_up_without_a_session, make, release),
        cmocka_unit_test_setup_teardown(test_link_compares_anew_after_the_rest_of_a_dead_server,
                                        make, release),
        cmocka_unit_test_setup_teardown(test_link_ships_from_its_own_relay, make_relay,
                                        release_relay),
        cmocka_unit_test_setup_teardown(test_link_waits_until_it_is_known_where_its_relay_begins,
                                        make_relay, release_relay),
        cmocka_unit_test_setup_teardown(test_link_says_where_its_spool_ends, make_relay,
                                        release_relay),
        cmocka_unit_test_setup_teardown(test_link_begins_anew_for_the_other_source, make_relay,
                                        release_relay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

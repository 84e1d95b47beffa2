/* SPDX-License-Identifier: PostgreSQL */
/*
 * drain: the rest of a dead server's log, beside a real pg_wal: the server was promoted, wrote and was
 * killed, and the far side has only WAL of the timeline before.
 */
#include "unit/unit.h"

#include "base/fail.h"
#include "sender/drain.h"
#include "shipper/wire/codec.h"
#include "support/server.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MB (1u << 20)

static struct server server;
static char history[HISTORY_BYTES_MAX + 1];
static struct lineage lineage = {.timeline = 2, .text = history};
static lsn_t from, fork_at;
static struct sender sender;
static struct codec codec;
static struct buf out;
static struct drain drain;

static int
make_server(void **state)
{
    char path[128];
    FILE *file;
    int length;

    (void)state;
    server_make(&server, 1, "");
    server_start(&server);
    server_sql(&server, "create table t as select generate_series(1, 1000) n");
    from = segment_start(server_lsn(&server, "pg_current_wal_lsn()"), server.segment_bytes);
    server_stop(&server, SIGINT);
    snprintf(path, sizeof path, "%s/standby.signal", server.pgdata);
    file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    server_start(&server);
    server_sql(&server, "select pg_promote()");
    server_sql(&server, "insert into t select generate_series(1, 1000)");
    server_stop(&server, SIGKILL);
    length = pgwal_history(server.pgdata, 2, history, sizeof history);
    assert_true(length > 0);
    lineage.length = (size_t)length;
    assert_true(history_switch_point(history, lineage.length, 1, &fork_at));
    return 0;
}

static int
remove_server(void **state)
{
    (void)state;
    server_remove(&server);
    return 0;
}

static int
make(void **state)
{
    static const struct hello hello = {.protocol = FRAME_PROTOCOL,
                                       .identity = {7001, MB, 15},
                                       .epoch = {2, "dc1-a"},
                                       .timeline = 2,
                                       .history = ""};
    struct frame accept = {.type = FRAME_ACCEPT, .accept = {.timeline = 1, .lsn = from}}, came;
    struct buf in;

    (void)state;
    sender_init(&sender, &codec);
    assert_int_equal(buf_init(&out, 4 * MB), 0);
    assert_int_equal(sender_open(&sender, &out, &hello, 0), 0);
    assert_int_equal(buf_init(&in, MB), 0);
    assert_int_equal(frame_put(&in, &accept), 0);
    assert_int_equal(frame_next(&in, &came), 1);
    assert_int_equal(sender_frame(&sender, &came, 1000, 2000), 0);
    buf_release(&in);
    buf_clear(&out);
    return drain_init(&drain, "dc2-a", server.pgdata, &sender);
}

static int
drop(void **state)
{
    (void)state;
    drain_release(&drain);
    sender_close(&sender);
    buf_release(&out);
    codec_release(&codec);
    return 0;
}

static void
run_drain(void)
{
    struct pollfd p = {.fd = worker_fd(&drain.worker), .events = POLLIN};

    assert_int_equal(drain_begin(&drain, &lineage), 0);
    while (drain.state != DRAIN_NONE) {
        if (drain.state == DRAIN_LOOKING)
            assert_int_equal(poll(&p, 1, 10000), 1);
        assert_int_equal(drain_run(&drain), 0);
    }
}

/* Up to the end of the present timeline, by its history, not only of the one that was sent last. */
static void
test_drain_goes_on_over_a_timeline(void **state)
{
    static uint8_t wal[FRAME_WAL_MAX], there[FRAME_WAL_MAX];
    timeline_t timeline = 1;
    lsn_t at = from;
    struct frame f;
    bool done = false;

    (void)state;
    run_drain();
    while (!done && frame_next(&out, &f) == 1) {
        switch (f.type) {
        case FRAME_WAL:
            assert_int_equal(f.wal.timeline, timeline);
            assert_int_equal(f.wal.lsn, at);
            if (f.wal.codec != 0)
                assert_int_equal(
                    codec_decompress(&codec, wal, f.wal.decoded_bytes, f.wal.bytes, f.wal.length),
                    0);
            else
                memcpy(wal, f.wal.bytes, f.wal.length);
            assert_int_equal(server_wal(&server, timeline, at, there, f.wal.decoded_bytes),
                             f.wal.decoded_bytes);
            assert_memory_equal(wal, there, f.wal.decoded_bytes);
            at += f.wal.decoded_bytes;
            break;
        case FRAME_HISTORY:
            assert_int_equal(f.history.timeline, 2);
            assert_int_equal(at, fork_at);
            timeline = 2;
            break;
        case FRAME_DRAINED:
            assert_true(f.drained.done);
            assert_int_equal(f.drained.timeline, 2);
            assert_int_equal(f.drained.end, at);
            done = true;
            break;
        default:
            break;
        }
        buf_consume(&out, f.bytes);
    }
    assert_true(done);
    assert_true(at > fork_at);
}

static void
test_drain_of_another_lineage_is_none(void **state)
{
    struct frame f;

    (void)state;
    sender.sent = fork_at + 8; /* behind the fork, on timeline 1 */
    run_drain();
    assert_int_equal(frame_next(&out, &f), 1);
    assert_int_equal(f.type, FRAME_DRAINED);
    assert_false(f.drained.done);
    assert_non_null(strstr(f.drained.reason, "lineage"));
}

/* Of a server that was restored to an older state: its log ends before the session begins. */
static void
test_drain_that_compares_nothing_is_none(void **state)
{
    struct frame f;

    (void)state;
    run_drain();
    drain_stop(&drain);
    buf_clear(&out);
    sender.sent = sender.resume_lsn = drain.end + 8;
    run_drain();
    assert_int_equal(frame_next(&out, &f), 1);
    assert_int_equal(f.type, FRAME_DRAINED);
    assert_false(f.drained.done);
    assert_non_null(strstr(f.drained.reason, "restored to an older state"));
    assert_int_equal(drain.done, LSN_UNKNOWN);
}

static void
expect_end(bool done)
{
    struct frame f;

    drain_stop(&drain);
    buf_clear(&out);
    run_drain();
    assert_int_equal(frame_next(&out, &f), 1);
    assert_int_equal(f.type, FRAME_DRAINED);
    assert_true(f.drained.done == done);
    if (done)
        assert_int_equal(f.drained.end, sender.sent);
}

/* The last segment was ended by a switch, and the server died before it made the next one. */
static void
test_drain_ends_where_a_segment_does(void **state)
{
    char last[SEGMENT_NAME_SIZE], command[600];
    lsn_t border;

    (void)state;
    server_start(&server);
    server_sql(&server, "select txid_current()");
    border = segment_start(server_lsn(&server, "pg_switch_wal()"), MB) + MB;
    server_stop(&server, SIGKILL);
    segment_name(last, 2, border - MB, MB);
    snprintf(
        command, sizeof command,
        "cd %s/pg_wal && for f in 0*[0-9A-F]; do [ ${#f} != 24 ] || [ ${f#????????} '<' %s ] || "
        "[ $f = %s ] || rm $f; done",
        server.pgdata, last + 8, last);
    assert_int_equal(system(command), 0);
    sender.sent = border;
    sender.sent_timeline = 2;
    expect_end(true);
    snprintf(command, sizeof command, "cd %s/pg_wal && : >%.8s%.14sFF", server.pgdata, last,
             last + 8);
    assert_int_equal(system(command), 0); /* a hole: what was between is lost */
    expect_end(false);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_drain_goes_on_over_a_timeline, make, drop),
        cmocka_unit_test_setup_teardown(test_drain_of_another_lineage_is_none, make, drop),
        cmocka_unit_test_setup_teardown(test_drain_that_compares_nothing_is_none, make, drop),
        cmocka_unit_test_setup_teardown(test_drain_ends_where_a_segment_does, make, drop),
    };

    return cmocka_run_group_tests_name("drain", tests, make_server, remove_server);
}

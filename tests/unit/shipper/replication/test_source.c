/* SPDX-License-Identifier: PostgreSQL */
/* The source against real walsenders: what comes is compared with the segment files in pg_wal. */
#include "shipper/replication/source.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/unix_socket.h"
#include "shipper/wire/frame.h"
#include "shipper/replication/pgwire.h"
#include "support/server.h"
#include "unit/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLOT        "walferry_dc2_a"
#define WAIT_US     (30 * SECOND_US)
#define STRETCHES   4
#define STRETCH_MAX (64 << 20)

static struct server primary;

/* cmocka's fail_msg calls its fail, whose name is taken. */
#define give_up(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

/* A far side that takes what comes: one stretch of bytes per timeline, history files, positions. */
struct far {
    struct source *source;
    struct identity identity;
    struct source_position position;
    struct {
        timeline_t timeline;
        lsn_t start, end;
        uint8_t *bytes;
    } stretch[STRETCHES];
    size_t stretches;
    char history[4][512];           /* by timeline */
    timeline_t newest_at_first_wal; /* history known when the first WAL came */
    bool echo;                      /* report what was received */
    bool paused;                    /* back-pressure */
    int code;                       /* of what ended it */
};

static void
far_open(struct far *f, const struct server *s, const char *slot)
{

    *f = (struct far){.echo = true, .identity = {.segment_bytes = s->segment_bytes}};
    f->source = source_new(s->conninfo, "walferry_dc2_a", slot, s->pgdata);
    assert_non_null(f->source);
}

static void
far_start(struct far *f, timeline_t timeline, lsn_t lsn)
{
    f->code = source_start(f->source, &f->identity, timeline, lsn, clock_us());
}

static void
far_close(struct far *f)
{
    source_free(f->source);
    for (size_t i = 0; i < f->stretches; i++)
        free(f->stretch[i].bytes);
}

static void
take_wal(struct far *f, const struct source_item *item)
{
    size_t i = f->stretches, at;

    if (i == 0)
        for (timeline_t t = 1; t < 4; t++)
            if (f->history[t][0] != '\0')
                f->newest_at_first_wal = t;
    if (i == 0 || f->stretch[i - 1].timeline != item->timeline) {
        assert_true(i < STRETCHES);
        f->stretch[i].timeline = item->timeline;
        f->stretch[i].start = f->stretch[i].end = item->lsn;
        f->stretch[i].bytes = malloc(STRETCH_MAX);
        f->stretches = i + 1;
    } else {
        i--;
    }
    assert_int_equal(item->lsn, f->stretch[i].end);
    assert_true(item->lsn + item->length <= item->wal_end);
    at = (size_t)(item->lsn - f->stretch[i].start);
    assert_true(at + item->length <= STRETCH_MAX);
    memcpy(f->stretch[i].bytes + at, item->bytes, item->length);
    f->stretch[i].end += item->length;
    if (f->echo)
        f->position.write = f->position.flush = f->position.apply = f->stretch[i].end;
}

static void
take(struct far *f)
{
    struct source_item item;
    int got;

    while ((got = source_next(f->source, &item)) == 1) {
        if (item.kind == SOURCE_WAL) {
            take_wal(f, &item);
        } else {
            assert_int_in_range(item.timeline, 2, 3);
            assert_int_in_range(item.length, 1, sizeof f->history[0] - 1);
            memcpy(f->history[item.timeline], item.bytes, item.length);
        }
    }
    if (got < 0)
        f->code = got;
}

static void
turn(struct far *f)
{
    static struct loop loop;
    int64_t now_us;

    loop_begin(&loop);
    source_watch(f->source, &loop, !f->paused);
    loop_due(&loop, clock_us() + 20 * MILLISECOND_US);
    assert_int_equal(loop_wait(&loop), 0);
    now_us = clock_us();
    f->code = source_run(f->source, &loop, now_us);
    if (f->code == 0)
        f->code = source_report(f->source, &f->position, now_us);
    if (f->code == 0 && !f->paused)
        take(f);
}

static lsn_t
received(const struct far *f)
{
    return f->stretches > 0 ? f->stretch[f->stretches - 1].end : LSN_UNKNOWN;
}

static void
run_for(struct far *f, int64_t us)
{
    int64_t until_us = clock_us() + us;

    while (f->code == 0 && clock_us() < until_us)
        turn(f);
}

static void
run_until(struct far *f, timeline_t timeline, lsn_t lsn)
{
    int64_t until_us = clock_us() + WAIT_US;

    while (f->code == 0 && (f->stretches == 0 || f->stretch[f->stretches - 1].timeline < timeline ||
                            received(f) < lsn)) {
        turn(f);
        if (clock_us() > until_us)
            give_up("after 30 s at %X/%X of %X/%X", LSN_ARGS(received(f)), LSN_ARGS(lsn));
    }
    if (f->code < 0)
        give_up("the source ended: %s", fail_message());
}

static void
run_until_streaming(struct far *f)
{
    int64_t until_us = clock_us() + WAIT_US;

    while (f->code == 0 && !source_streaming(f->source) && clock_us() < until_us)
        turn(f);
    if (f->code < 0)
        give_up("the source ended: %s", fail_message());
    assert_true(source_streaming(f->source));
}

static void
run_to_error(struct far *f)
{
    int64_t until_us = clock_us() + WAIT_US;

    while (f->code == 0 && clock_us() < until_us)
        turn(f);
    assert_int_equal(f->code, ERR_PEER);
    source_stop(f->source);
}

static void
run_until_sql(struct far *f, const struct server *s, const char *sql)
{
    int64_t until_us = clock_us() + WAIT_US;

    while (strcmp(server_sql(s, "%s", sql), "t") != 0) {
        turn(f);
        if (f->code < 0)
            give_up("the source ended: %s", fail_message());
        if (clock_us() > until_us)
            give_up("not so after 30 s: %s", sql);
    }
}

static void
assert_says(const char *words)
{
    if (strstr(fail_message(), words) == NULL)
        give_up("\"%s\" does not say \"%s\"", fail_message(), words);
}

/* Every byte received is the one in the server's file of that timeline. */
static void
assert_equals_pg_wal(const struct far *f, const struct server *s)
{
    static uint8_t file[16 << 20];

    for (size_t i = 0; i < f->stretches; i++) {
        lsn_t at = f->stretch[i].start, end = f->stretch[i].end;

        while (at < end) {
            size_t want = end - at < sizeof file ? (size_t)(end - at) : sizeof file;
            ssize_t got = server_wal(s, f->stretch[i].timeline, at, file, want);

            assert_true(got > 0);
            assert_memory_equal(file, f->stretch[i].bytes + (at - f->stretch[i].start),
                                (size_t)got);
            at += (lsn_t)got;
        }
    }
}

static void
write_mb(const struct server *s, int mb)
{
    server_sql(
        s,
        "do $$ begin if to_regclass('filler') is null then create table filler (t text); end if; end $$");
    server_sql(s,
               "insert into filler select repeat(md5(i::text), 31) from generate_series(1, %d) i",
               mb * 1000);
}

static void
drop_slot(const struct server *s)
{
    server_sql(
        s, "select pg_terminate_backend(active_pid, 5000) from pg_replication_slots where active");
    server_sql(s, "select pg_drop_replication_slot(slot_name) from pg_replication_slots");
}

static int
make_primary(void **state)
{
    (void)state;
    server_make(&primary, 1, "wal_keep_size = 1GB\nwal_sender_timeout = 2s\n");
    server_start(&primary);
    return 0;
}

static int
remove_primary(void **state)
{
    (void)state;
    server_remove(&primary);
    return 0;
}

static void
test_source_streams_what_is_written(void **state)
{
    const char *line;
    struct far f;
    pid_t load;
    lsn_t restart;

    (void)state;
    drop_slot(&primary);
    far_open(&f, &primary, SLOT);
    far_start(&f, 0, LSN_UNKNOWN);
    run_until_streaming(&f);
    load = server_spawn(&primary, "pgbench", "-i", "-s", "1", "-q", NULL);
    run_for(&f, SECOND_US);
    assert_true(server_wait(load));
    load = server_spawn(&primary, "pgbench", "-c", "4", "-T", "2", NULL);
    run_for(&f, 2 * SECOND_US);
    assert_true(server_wait(load));
    run_until(&f, 1, server_lsn(&primary, "pg_current_wal_flush_lsn()"));
    assert_int_equal(f.stretch[0].start % primary.segment_bytes, 0);
    assert_true(received(&f) - f.stretch[0].start > 5 * primary.segment_bytes);
    assert_equals_pg_wal(&f, &primary);

    /* a restart goes on where it is told, on the slot that is there; 0 is the slot's own need */
    run_until_sql(
        &f, &primary,
        "select restart_lsn = pg_current_wal_flush_lsn() from pg_replication_slots where slot_name = '" SLOT
        "'");
    far_close(&f);
    restart =
        server_lsn(&primary, "restart_lsn from pg_replication_slots where slot_name = '" SLOT "'");
    write_mb(&primary, 3);
    far_open(&f, &primary, SLOT);
    far_start(&f, 1, LSN_UNKNOWN);
    run_until(&f, 1, server_lsn(&primary, "pg_current_wal_flush_lsn()"));
    assert_int_equal(f.stretch[0].start, segment_start(restart, primary.segment_bytes));
    assert_equals_pg_wal(&f, &primary);
    far_close(&f);
    /* before 15 there is no way to look first */
    assert_false(atoi(server_sql(&primary, "show server_version_num")) >= 150000 &&
                 server_log_line(&primary, "already exists", &line));
}

static void
test_source_streams_through_a_segment_switch(void **state)
{
    struct far f;

    (void)state;
    drop_slot(&primary);
    far_open(&f, &primary, SLOT);
    far_start(&f, 0, LSN_UNKNOWN);
    run_until_streaming(&f);
    for (int i = 0; i < 3; i++) {
        server_sql(&primary, "create table switch_%d (i int)", i);
        server_sql(&primary, "select pg_switch_wal()");
        run_until(&f, 1, server_lsn(&primary, "pg_current_wal_flush_lsn()"));
        assert_int_equal(received(&f) % primary.segment_bytes, 0);
    }
    assert_equals_pg_wal(&f, &primary);
    far_close(&f);
}

static void
test_source_report_moves_the_servers_view(void **state)
{
    struct far f;
    lsn_t lsn;
    char sql[400];

    (void)state;
    drop_slot(&primary);
    write_mb(&primary, 1);
    far_open(&f, &primary, SLOT);
    f.echo = false;
    far_start(&f, 0, LSN_UNKNOWN);
    lsn = server_lsn(&primary, "pg_current_wal_flush_lsn()");
    run_until(&f, 1, lsn);
    f.position = (struct source_position){.write = lsn, .flush = lsn - 8, .apply = lsn - 16};
    snprintf(
        sql, sizeof sql,
        "select (write_lsn, flush_lsn, replay_lsn) = ('%X/%X'::pg_lsn, '%X/%X'::pg_lsn, '%X/%X'::pg_lsn) and "
        "(select restart_lsn = flush_lsn from pg_replication_slots where slot_name = '" SLOT "') "
        "from pg_stat_replication where application_name = '" SLOT "'",
        LSN_ARGS(lsn), LSN_ARGS(lsn - 8), LSN_ARGS(lsn - 16));
    run_until_sql(&f, &primary, sql);

    /* what is older, unknown or beyond all that the server has is not said */
    f.position = (struct source_position){.write = LSN_UNKNOWN, .flush = lsn - 4096, .apply = 1};
    run_for(&f, SECOND_US);
    assert_string_equal(server_sql(&primary, "%s", sql), "t");
    f.position =
        (struct source_position){.write = lsn + (1 << 30), .flush = lsn + (1 << 30), .apply = lsn};
    run_for(&f, SECOND_US);
    assert_string_equal(
        server_sql(&primary,
                   "select flush_lsn <= pg_current_wal_flush_lsn() from pg_stat_replication "
                   "where application_name = '" SLOT "'"),
        "t");
    far_close(&f);
}

/* A server that was copied has WAL from the middle of a segment on, which its slot tells: below
 * that nothing is there to be kept, and who begins anew there waits for ever. */
static void
test_source_report_leaves_the_slot_above_the_start(void **state)
{
    struct far f;
    lsn_t lsn, start;
    char sql[200];

    (void)state;
    drop_slot(&primary);
    write_mb(&primary, 1);
    far_open(&f, &primary, SLOT);
    f.echo = false;
    far_start(&f, 0, LSN_UNKNOWN);
    lsn = server_lsn(&primary, "pg_current_wal_flush_lsn()");
    start = lsn - lsn % primary.segment_bytes;
    run_until(&f, 1, lsn);
    f.position = (struct source_position){.write = lsn, .flush = lsn};
    snprintf(sql, sizeof sql,
             "select restart_lsn = '%X/%X' from pg_replication_slots where slot_name = '" SLOT "'",
             LSN_ARGS(lsn));
    run_until_sql(&f, &primary, sql);
    far_close(&f);

    far_open(&f, &primary, SLOT);
    f.echo = false;
    far_start(&f, 1, start);
    run_until(&f, 1, lsn);
    f.position = (struct source_position){.write = start, .flush = start - 1};
    run_for(&f, SECOND_US);
    assert_string_equal(server_sql(&primary, "%s", sql), "t");
    far_close(&f);
}

static void
test_source_feedback_holds_and_lets_go_the_slots_xmin(void **state)
{
    struct far f;
    uint64_t xid;
    char sql[200];

    (void)state;
    drop_slot(&primary);
    far_open(&f, &primary, SLOT);
    far_start(&f, 0, LSN_UNKNOWN);
    run_until_streaming(&f);
    xid = strtoull(server_sql(&primary, "select pg_current_xact_id()"), NULL, 10);
    f.position.xmin = xid;
    snprintf(sql, sizeof sql,
             "select xmin::text = '%llu' from pg_replication_slots where slot_name = '" SLOT "'",
             (unsigned long long)xid);
    run_until_sql(&f, &primary, sql);
    f.position.xmin = 0;
    run_until_sql(&f, &primary,
                  "select xmin is null from pg_replication_slots where slot_name = '" SLOT "'");
    far_close(&f);
}

/* wal_sender_timeout is 2 s here: a source that stops reading must go on reporting. */
static void
test_source_survives_back_pressure(void **state)
{
    struct far f;
    pid_t load;
    lsn_t before, lsn;
    long walsender;

    (void)state;
    drop_slot(&primary);
    far_open(&f, &primary, SLOT);
    far_start(&f, 0, LSN_UNKNOWN);
    run_until_streaming(&f);
    run_for(&f, SECOND_US / 2);
    walsender = strtol(server_sql(&primary, "select pid from pg_stat_replication"), NULL, 10);
    before = received(&f);
    f.paused = true;
    load = server_spawn(
        &primary, "psql", "-Xqc",
        "create table pressed as select repeat(md5(i::text), 31) t from generate_series(1, 20000) i",
        NULL);
    run_for(&f, 5 * SECOND_US);
    assert_int_equal(f.code, 0);
    assert_true(server_wait(load));
    assert_int_equal(received(&f), before);
    lsn = server_lsn(&primary, "pg_current_wal_flush_lsn()");
    assert_true(lsn - before > 15 << 20);
    /* what is not asked for is not piled up here */
    assert_true(lsn - server_lsn(&primary, "sent_lsn from pg_stat_replication") > 12 << 20);
    f.paused = false;
    run_until(&f, 1, lsn);
    assert_int_equal(strtol(server_sql(&primary, "select pid from pg_stat_replication"), NULL, 10),
                     walsender);
    assert_equals_pg_wal(&f, &primary);
    far_close(&f);
}

static void
test_source_refuses_another_cluster(void **state)
{
    struct far f;

    (void)state;
    drop_slot(&primary);
    far_open(&f, &primary, SLOT);
    f.identity.system_identifier = 4711;
    far_start(&f, 0, LSN_UNKNOWN);
    run_to_error(&f);
    assert_says("another database cluster");
    assert_says("4711");
    f.identity = (struct identity){.segment_bytes = 16 << 20};
    far_start(&f, 0, LSN_UNKNOWN);
    run_to_error(&f);
    assert_says("wal_segment_size is 1MB");
    f.identity = (struct identity){.segment_bytes = 0}; /* not known: taken from the server */
    f.identity.system_identifier = strtoull(
        server_sql(&primary, "select system_identifier from pg_control_system()"), NULL, 10);
    far_start(&f, 0, LSN_UNKNOWN);
    run_until(&f, 1, server_lsn(&primary, "pg_current_wal_flush_lsn()"));
    far_close(&f);
}

static void
test_source_refuses_a_start_outside_the_history(void **state)
{
    struct far f;

    (void)state;
    far_open(&f, &primary, SLOT);
    far_start(&f, 2, primary.segment_bytes);
    run_to_error(&f);
    assert_says("older timeline 1");
    far_start(&f, 1, UINT64_C(1) << 40);
    run_to_error(&f);
    assert_says("ahead of the WAL flush position");
    far_close(&f);
}

static void
test_source_gives_up_a_server_that_is_silent(void **state)
{
    struct far f;
    int64_t began_us = clock_us();

    (void)state;
    far_open(&f, &primary, SLOT);
    kill(primary.pid, SIGSTOP);
    far_start(&f, 0, LSN_UNKNOWN);
    run_to_error(&f);
    kill(primary.pid, SIGCONT);
    assert_says("does not answer");
    assert_int_in_range(clock_us() - began_us, 4 * SECOND_US, 7 * SECOND_US);
    far_close(&f);
}

static void
test_source_says_that_no_server_is_there(void **state)
{
    struct far f;

    (void)state;
    far_open(&f, &primary, SLOT);
    source_free(f.source);
    f.source = source_new("host=/tmp/wf-nobody port=5432 user=nobody", "x", "x", NULL);
    far_start(&f, 0, LSN_UNKNOWN);
    if (f.code == 0)
        run_to_error(&f);
    assert_int_equal(f.code, ERR_PEER);
    assert_says("cannot connect");
    assert_says("No such file");
    far_close(&f);
}

/* The slot is drained to the last byte at a fast stop, which the source does not hold up. */
static void
test_source_takes_all_of_a_server_that_stops(void **state)
{
    struct server s;
    struct far f;
    lsn_t checkpoint, shutdown;
    int64_t began_us;

    (void)state;
    server_make(&s, 1, "wal_keep_size = 64MB\n");
    server_start(&s);
    far_open(&f, &s, SLOT);
    far_start(&f, 0, LSN_UNKNOWN);
    write_mb(&s, 2);
    run_until(&f, 1, server_lsn(&s, "pg_current_wal_flush_lsn()"));
    began_us = clock_us();
    kill(s.pid, SIGINT);
    run_to_error(&f);
    assert_says("shut");
    server_stop(&s, SIGINT);
    assert_true(clock_us() - began_us < 10 * SECOND_US);
    checkpoint = received(&f);
    assert_equals_pg_wal(&f, &s);
    server_start(&s);
    shutdown = server_lsn(&s, "redo_lsn from pg_control_checkpoint()");
    assert_int_in_range(checkpoint, shutdown + 1, shutdown + 256); /* the record itself came, too */

    /* killed under back-pressure: what is in the pipe comes, then the error */
    far_close(&f);
    far_open(&f, &s, SLOT);
    far_start(&f, 1, segment_start(checkpoint, s.segment_bytes));
    run_until_streaming(&f);
    f.paused = true;
    write_mb(&s, 2);
    run_for(&f, SECOND_US);
    checkpoint = received(&f);
    server_stop(&s, SIGQUIT);
    run_for(&f, SECOND_US);
    assert_int_equal(f.code, 0);
    f.paused = false;
    run_to_error(&f);
    assert_true(received(&f) > checkpoint + 65536);
    far_close(&f);
    server_remove(&s);
}

static void
test_source_explains_wal_that_is_gone(void **state)
{
    struct server s;
    struct far f;

    (void)state;
    server_make(&s, 1, "max_wal_size = 2MB\nmin_wal_size = 2MB\nmax_slot_wal_keep_size = 1MB\n");
    server_start(&s);
    server_sql(&s, "select pg_create_physical_replication_slot('" SLOT "', true)");
    write_mb(&s, 8);
    server_sql(&s, "checkpoint");
    far_open(&f, &s, "");
    far_start(&f, 1, s.segment_bytes);
    run_to_error(&f);
    assert_string_equal(source_sqlstate(f.source), "58P01");
    assert_says("WAL from 0/100000 to 0/");
    assert_says(" is gone (timeline 1)");
    {
        timeline_t timeline;
        lsn_t from, to;

        assert_true(source_gone(f.source, &timeline, &from, &to));
        assert_int_equal(timeline, 1);
        assert_int_equal(from, s.segment_bytes);
        assert_true(to > from && to % s.segment_bytes == 0);
    }
    far_close(&f);

    assert_string_equal(server_sql(&s, "select wal_status from pg_replication_slots"), "lost");
    far_open(&f, &s, SLOT);
    far_start(&f, 1, s.segment_bytes);
    run_to_error(&f);
    if (strcmp(source_sqlstate(f.source), "58P01") !=
        0) { /* newer servers look at the slot first */
        assert_string_equal(source_sqlstate(f.source), "55000");
        assert_says("max_slot_wal_keep_size");
    }
    far_close(&f);
    server_remove(&s);
}

/* ---- a server of another make ---- */

#define LARGE (FRAME_WAL_MAX + 8192)

static const char *version; /* that the server says it is of */
static bool has_slot;
static int slots_made, starts;

/* What a server says of its slot. False: the query is none of those. */
static bool
answer_of_slot(struct buf *out, const char *query)
{
    bool make = strncmp(query, "CREATE_REPLICATION_SLOT", 23) == 0;
    bool start = strncmp(query, "START_REPLICATION SLOT", 22) == 0;

    slots_made += make;
    starts += start;
    if (make && has_slot)
        pgwire_put_error(out, "ERROR", "42710", "replication slot already exists");
    else if (make)
        pgwire_put_complete(out, "CREATE_REPLICATION_SLOT");
    else if (start && !has_slot)
        pgwire_put_error(out, "ERROR", "42704", "replication slot does not exist");
    else
        return false;
    has_slot = has_slot || make;
    pgwire_put_ready(out);
    return true;
}

static void
answer(struct buf *out, const char *query)
{
    const struct pgwire_column identity[] = {{"systemid", OID_TEXT, "7", 0},
                                             {"timeline", OID_INT4, "1", 0},
                                             {"xlogpos", OID_TEXT, "0/2000000", 0}};
    const struct pgwire_column size = {"wal_segment_size", OID_TEXT, "16MB", 0};
    uint8_t *wal;

    if (answer_of_slot(out, query))
        return;
    if (strncmp(query, "START_REPLICATION", 17) == 0) {
        pgwire_put_copy_both(out);
        assert_true(pgwire_reserve_wal(out, LARGE, &wal));
        memset(wal, 0, LARGE);
        pgwire_commit_wal(out, LARGE, 0x1000000, 0x2000000, 0);
        return;
    }
    if (strcmp(query, "IDENTIFY_SYSTEM") == 0)
        pgwire_put_row(out, identity, 3);
    else
        pgwire_put_row(out, &size, 1);
    pgwire_put_complete(out, "SELECT");
    pgwire_put_ready(out);
}

/* Answers one client until it leaves. */
static void *
serve(void *listening)
{
    int fd = accept(*(int *)listening, NULL, NULL);
    struct pgwire_message m;
    struct startup startup = {.kind = STARTUP_MORE};
    struct buf in, out;
    ssize_t got;

    assert_int_equal(buf_init(&in, 65536) | buf_init(&out, 2 * LARGE), 0);
    while ((got = read(fd, buf_reserve(&in, buf_room(&in)), buf_room(&in))) > 0) {
        buf_commit(&in, (size_t)got);
        if (startup.kind != STARTUP_SESSION && pgwire_startup(&in, &startup) == 0) {
            buf_consume(&in, startup.bytes);
            if (startup.kind == STARTUP_SESSION)
                pgwire_put_authentication(&out, version, 1);
            else if (startup.kind == STARTUP_SSL)
                buf_put_u8(&out, 'N');
        }
        while (startup.kind == STARTUP_SESSION && pgwire_message(&in, &m) == 1) {
            if (m.type == 'Q')
                answer(&out, (const char *)m.body);
            buf_consume(&in, m.bytes);
        }
        while (buf_used(&out) > 0 && (got = write(fd, buf_data(&out), buf_used(&out))) > 0)
            buf_consume(&out, (size_t)got);
    }
    close(fd);
    buf_release(&in);
    buf_release(&out);
    return NULL;
}

/* A source of that server, up to its WAL, which is too much for a frame. */
static void
ask_other_make(const char *slot)
{
    char directory[] = "/tmp/wf-source-XXXXXX", path[64];
    struct server large = {.segment_bytes = 16u << 20};
    struct far f;
    pthread_t thread;
    int listening;

    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/.s.PGSQL.5432", directory);
    assert_int_equal(unix_socket_listen(path, 1, &listening), 0);
    assert_int_equal(fcntl(listening, F_SETFL, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, serve, &listening), 0);
    snprintf(large.conninfo, sizeof large.conninfo, "host=%s port=5432 user=nobody", directory);
    far_open(&f, &large, slot);
    far_start(&f, 1, 0x1000000);
    run_to_error(&f);
    assert_says("PostgreSQL sends WAL in a message of");
    assert_int_equal(f.stretches, 0);
    far_close(&f);
    pthread_join(thread, NULL);
    close(listening);
    unlink(path);
    rmdir(directory);
}

/* Built with --with-wal-blocksize=64 it sends a megabyte at once. */
static void
test_source_refuses_more_wal_than_a_frame_takes(void **state)
{
    (void)state;
    version = "15.0";
    ask_other_make("");
}

static void
test_source_makes_no_slot_that_is_there(void **state)
{
    (void)state;
    version = "14.0"; /* it cannot be asked */
    ask_other_make(SLOT);
    assert_int_equal(slots_made, 1);
    assert_int_equal(starts, 2);
    ask_other_make(SLOT);
    assert_int_equal(slots_made, 1);
    assert_int_equal(starts, 3);
}

static void
test_source_follows_a_promotion(void **state)
{
    struct server copy;
    struct far f;
    lsn_t lsn, fork;

    (void)state;
    drop_slot(&primary);
    server_copy(&copy, &primary);
    server_start(&copy);
    far_open(&f, &copy, SLOT); /* of a standby: it is promoted while it streams to us */
    lsn = server_lsn(&primary, "pg_current_wal_flush_lsn()");
    far_start(&f, 1, segment_start(lsn, primary.segment_bytes));
    write_mb(&primary, 2);
    run_until(&f, 1, lsn);
    run_for(&f, 6 * SECOND_US); /* a deadline of the start must not be one of the switch */
    server_sql(&copy, "select pg_promote()");
    write_mb(&copy, 2);
    run_until(&f, 2, server_lsn(&copy, "pg_current_wal_flush_lsn()"));
    assert_int_equal(f.stretches, 2);
    fork = f.stretch[0].end;
    assert_true(history_valid(f.history[2], strlen(f.history[2]), 2));
    assert_true(history_switch_point(f.history[2], strlen(f.history[2]), 1, &lsn));
    assert_int_equal(lsn, fork);
    assert_int_equal(f.stretch[1].start, segment_start(fork, copy.segment_bytes));
    assert_equals_pg_wal(&f, &copy);
    far_close(&f);

    /* from the old timeline, all histories come before any WAL */
    far_open(&f, &copy, SLOT);
    far_start(&f, 1, segment_start(fork, copy.segment_bytes));
    run_until(&f, 2, server_lsn(&copy, "pg_current_wal_flush_lsn()"));
    assert_int_equal(f.newest_at_first_wal, 2);
    assert_int_equal(f.stretch[0].end, fork);
    assert_equals_pg_wal(&f, &copy);
    far_close(&f);

    /* from the new timeline, too: a far side that began there lacks the history of its beginning */
    far_open(&f, &copy, SLOT);
    far_start(&f, 2, segment_start(fork, copy.segment_bytes));
    run_until(&f, 2, server_lsn(&copy, "pg_current_wal_flush_lsn()"));
    assert_int_equal(f.newest_at_first_wal, 2);
    assert_true(history_valid(f.history[2], strlen(f.history[2]), 2));
    far_close(&f);

    /* past the fork on the old timeline: what keeps a diverged standby out */
    far_open(&f, &copy, SLOT);
    far_start(&f, 1, segment_start(fork, copy.segment_bytes) + copy.segment_bytes);
    run_to_error(&f);
    assert_says("is not in this server's history");
    far_close(&f);
    server_remove(&copy);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source_streams_what_is_written),
        cmocka_unit_test(test_source_streams_through_a_segment_switch),
        cmocka_unit_test(test_source_report_moves_the_servers_view),
        cmocka_unit_test(test_source_report_leaves_the_slot_above_the_start),
        cmocka_unit_test(test_source_feedback_holds_and_lets_go_the_slots_xmin),
        cmocka_unit_test(test_source_survives_back_pressure),
        cmocka_unit_test(test_source_refuses_another_cluster),
        cmocka_unit_test(test_source_refuses_a_start_outside_the_history),
        cmocka_unit_test(test_source_gives_up_a_server_that_is_silent),
        cmocka_unit_test(test_source_says_that_no_server_is_there),
        cmocka_unit_test(test_source_takes_all_of_a_server_that_stops),
        cmocka_unit_test(test_source_explains_wal_that_is_gone),
        cmocka_unit_test(test_source_refuses_more_wal_than_a_frame_takes),
        cmocka_unit_test(test_source_makes_no_slot_that_is_there),
        cmocka_unit_test(test_source_follows_a_promotion),
    };

    return cmocka_run_group_tests(tests, make_primary, remove_primary);
}

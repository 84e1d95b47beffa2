/* SPDX-License-Identifier: PostgreSQL */
/* The outbox's folder: emptied when all is shipped, found again, compared, set aside. */
#include "unit/unit.h"

#include "retention/outbox.h"

#include "base/clock.h"
#include "base/durable.h"
#include "support/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MB(n) ((lsn_t)(n) << 20)

static const struct identity identity = {
    .system_identifier = 42, .segment_bytes = 1 << 20, .postgres_major = 15};

struct folder {
    char path[64], out[80];
    struct outbox o;
};

static void
open_folder(struct folder *f, const struct server *server)
{
    snprintf(f->path, sizeof f->path, "/tmp/wf-test-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    snprintf(f->out, sizeof f->out, "%s/out", f->path);
    assert_int_equal(outbox_open(&f->o, "run", f->out, f->path,
                                 server != NULL ? server->conninfo : "host=/nowhere",
                                 server != NULL ? server->pgdata : NULL),
                     0);
}

static void
close_folder(struct folder *f)
{
    char command[100];

    outbox_close(&f->o);
    snprintf(command, sizeof command, "rm -r %s", f->path);
    assert_int_equal(system(command), 0);
}

/* Two and a half segments from `from`, flushed. */
static void
put_wal(struct folder *f, lsn_t from)
{
    static uint8_t bytes[1 << 19];
    struct spool *s = &f->o.spool;
    struct flush flush;

    assert_int_equal(spool_adopt(s, &identity), 0);
    assert_int_equal(spool_begin(s, 1, from), 0);
    for (int i = 0; i < 5; i++) {
        memset(bytes, i, sizeof bytes);
        assert_int_equal(spool_append(s, 1, s->written, bytes, sizeof bytes, 0), 0);
        while (spool_flush_begin(s, &flush, clock_us())) {
            spool_flush_run(&flush);
            assert_int_equal(spool_flush_end(s, &flush), 0);
        }
    }
}

static bool
is_there(const struct folder *f, const char *name)
{
    char path[160];

    snprintf(path, sizeof path, "%s/%s", f->out, name);
    return access(path, F_OK) == 0;
}

/* ... and the worker has done it. */
static void
prune(struct outbox *o, lsn_t needed_from)
{
    struct loop l;

    outbox_prune(o, needed_from);
    while (o->spool.pruning) {
        loop_begin(&l);
        loop_watch(&l, worker_fd(&o->pruner), POLLIN);
        loop_due(&l, clock_us() + SECOND_US);
        assert_int_equal(loop_wait(&l), 0);
        outbox_run(o, &l, clock_us());
    }
}

static void
test_outbox_is_emptied(void **state)
{
    struct folder f;

    (void)state;
    open_folder(&f, NULL);
    put_wal(&f, MB(5));
    prune(&f.o, MB(5) + 1);
    assert_true(is_there(&f, "000000010000000000000005"));
    prune(&f.o, MB(7)); /* who ends there compares what lies before */
    assert_true(is_there(&f, "000000010000000000000006"));
    prune(&f.o, MB(7) + 1);
    assert_false(is_there(&f, "000000010000000000000006"));
    assert_true(is_there(&f, "000000010000000000000007.partial"));
    assert_int_equal(f.o.spool.start, MB(7));
    prune(&f.o, MB(7) + (1 << 19) - 1); /* one byte is missing */
    assert_true(is_there(&f, "000000010000000000000007.partial"));
    prune(&f.o, MB(7) + (1 << 19));
    assert_false(is_there(&f, "000000010000000000000007.partial"));
    assert_true(spool_empty(&f.o.spool));
    assert_int_equal(outbox_reload(&f.o), 0);
    assert_true(spool_empty(&f.o.spool));
    put_wal(&f, MB(9)); /* it can be used again */
    assert_int_equal(outbox_reload(&f.o), 0);
    assert_int_equal(f.o.spool.start, MB(9));
    assert_int_equal(f.o.spool.available, MB(11) + (1 << 19));
    close_folder(&f);
}

static void
test_outbox_keeps_what_is_filled(void **state)
{
    struct folder f;

    (void)state;
    open_folder(&f, NULL);
    put_wal(&f, MB(5));
    outbox_fill(&f.o, &identity, 1, MB(5));
    prune(&f.o, MB(99)); /* its end is where more comes */
    assert_true(is_there(&f, "000000010000000000000007.partial"));
    assert_int_equal(outbox_reload(&f.o), ERR_USAGE);
    outbox_stop(&f.o);
    prune(&f.o, MB(99));
    assert_true(spool_empty(&f.o.spool));
    close_folder(&f);
}

static void
test_outbox_set_aside(void **state)
{
    struct folder f;
    char command[200];

    (void)state;
    open_folder(&f, NULL);
    put_wal(&f, MB(5));
    assert_int_equal(outbox_set_aside(&f.o, "it forked"), 0);
    assert_true(spool_empty(&f.o.spool));
    snprintf(command, sizeof command,
             "cd %s/aside-* && test -e 000000010000000000000005 -a -e "
             "000000010000000000000007.partial",
             f.out);
    assert_int_equal(system(command), 0);
    assert_false(is_there(&f, "000000010000000000000005"));
    put_wal(&f, MB(5));
    close_folder(&f);
}

/* One turn of the loop after another, until it says so or holds what the server has flushed. */
static void
fill_until(struct outbox *o, const struct server *s, const char *says)
{
    lsn_t lsn = says == NULL ? server_lsn(s, "pg_current_wal_flush_lsn()") : LSN_UNKNOWN;
    int64_t until_us = clock_us() + 30 * SECOND_US;
    struct loop l;

    while (says != NULL ? strstr(o->error, says) == NULL : o->spool.flushed < lsn) {
        assert_true(clock_us() < until_us);
        loop_begin(&l);
        outbox_watch(o, &l, clock_us());
        loop_due(&l, clock_us() + 100 * MILLISECOND_US);
        assert_int_equal(loop_wait(&l), 0);
        outbox_run(o, &l, clock_us());
    }
}

static void
flip_a_byte(const struct folder *f, lsn_t lsn)
{
    char name[SEGMENT_NAME_SIZE], path[160];
    uint8_t byte;
    FILE *file;

    segment_name(name, 1, lsn, identity.segment_bytes);
    snprintf(path, sizeof path, "%s/%s", f->out, name);
    file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 100, SEEK_SET), 0);
    assert_int_equal(fread(&byte, 1, 1, file), 1);
    byte ^= 1;
    assert_int_equal(fseek(file, 100, SEEK_SET), 0);
    assert_int_equal(fwrite(&byte, 1, 1, file), 1);
    assert_int_equal(fclose(file), 0);
}

/* It ends on a segment's border: the segment before it is compared, while the server has it. */
static void
test_outbox_compares_when_it_goes_on(void **state)
{
    char name[SEGMENT_NAME_SIZE], path[160];
    struct identity ours = {.segment_bytes = identity.segment_bytes, .postgres_major = 15};
    struct server s = {0};
    struct folder f;
    lsn_t border;

    (void)state;
    server_make(&s, 1, "autovacuum = off\n");
    server_start(&s);
    open_folder(&f, &s);
    ours.system_identifier =
        strtoull(server_sql(&s, "select system_identifier from pg_control_system()"), NULL, 10);
    border = server_lsn(&s, "pg_current_wal_lsn()");
    outbox_fill(&f.o, &ours, 1, border);
    do { /* the server writes a word of its own now and then */
        server_sql(&s, "select pg_switch_wal() from pg_logical_emit_message(false, '', 'x')");
        fill_until(&f.o, &s, NULL);
        border = f.o.spool.flushed;
    } while (border % identity.segment_bytes != 0);
    outbox_stop(&f.o);

    flip_a_byte(&f, border - 1);
    server_sql(&s, "select pg_logical_emit_message(false, '', 'x')");
    outbox_fill(&f.o, &ours, 1, border);
    fill_until(&f.o, &s, "other bytes at an acknowledged position");
    assert_int_equal(f.o.spool.written, border);
    outbox_stop(&f.o);

    segment_name(name, 1, border - 1, identity.segment_bytes);
    snprintf(path, sizeof path, "%s/pg_wal/%s", s.pgdata, name);
    assert_int_equal(unlink(path), 0);
    server_sql(&s, "select pg_switch_wal() from pg_logical_emit_message(false, '', 'x')");
    outbox_fill(&f.o, &ours, 1, border);
    fill_until(&f.o, &s, NULL);
    assert_true(f.o.spool.flushed > border);
    assert_string_equal(f.o.error, "");
    close_folder(&f);
    server_remove(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outbox_is_emptied),
        cmocka_unit_test(test_outbox_keeps_what_is_filled),
        cmocka_unit_test(test_outbox_set_aside),
        cmocka_unit_test(test_outbox_compares_when_it_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

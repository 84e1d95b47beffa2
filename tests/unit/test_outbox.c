/* The outbox's folder: emptied when all is shipped, found again, set aside. */
#include "unit.h"

#include "outbox.h"

#include "base/clock.h"
#include "base/durable.h"

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
open_folder(struct folder *f)
{
    snprintf(f->path, sizeof f->path, "/tmp/wf-test-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    snprintf(f->out, sizeof f->out, "%s/out", f->path);
    assert_int_equal(outbox_open(&f->o, "run", f->out, f->path, "host=/nowhere", NULL), 0);
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

static void
test_outbox_is_emptied(void **state)
{
    struct folder f;

    (void)state;
    open_folder(&f);
    put_wal(&f, MB(5));
    outbox_prune(&f.o, MB(5) + 1);
    assert_true(is_there(&f, "000000010000000000000005"));
    outbox_prune(&f.o, MB(7));
    assert_false(is_there(&f, "000000010000000000000006"));
    assert_true(is_there(&f, "000000010000000000000007.partial"));
    assert_int_equal(f.o.spool.start, MB(7));
    outbox_prune(&f.o, MB(7) + (1 << 19) - 1); /* one byte is missing */
    assert_true(is_there(&f, "000000010000000000000007.partial"));
    outbox_prune(&f.o, MB(7) + (1 << 19));
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
    open_folder(&f);
    put_wal(&f, MB(5));
    outbox_fill(&f.o, &identity, 1, MB(5));
    outbox_prune(&f.o, MB(99)); /* its end is where more comes */
    assert_true(is_there(&f, "000000010000000000000007.partial"));
    assert_int_equal(outbox_reload(&f.o), ERR_USAGE);
    outbox_stop(&f.o);
    outbox_prune(&f.o, MB(99));
    assert_true(spool_empty(&f.o.spool));
    close_folder(&f);
}

static void
test_outbox_set_aside(void **state)
{
    struct folder f;
    char command[200];

    (void)state;
    open_folder(&f);
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outbox_is_emptied),
        cmocka_unit_test(test_outbox_keeps_what_is_filled),
        cmocka_unit_test(test_outbox_set_aside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

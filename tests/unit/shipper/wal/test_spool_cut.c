/* SPDX-License-Identifier: PostgreSQL */
/*
 * A spool that goes on behind a fork: what is cut, what is refused, and that a process which dies at
 * any call of it loses nothing. From the n-th call on that changes the disk none does anything.
 */
#include "unit/unit.h"

#include "base/durable.h"
#include "base/fail.h"
#include "shipper/wal/spool.h"
#include "support/made_wal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MB       (1u << 20)
#define SEGMENTS 5
#define FIRST    UINT64_C(0x1000000)
#define SYSTEM   UINT64_C(7001)

#define give_up(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

static const struct identity cluster = {
    .system_identifier = SYSTEM, .segment_bytes = MB, .postgres_major = 15};
static char path[64];
static uint8_t wal[SEGMENTS * MB];
static struct made_wal made;

/* ---- a disk whose process dies, or one of whose calls fails ---- */

static struct {
    int calls, fail_at; /* 0: never */
    int failed;
    bool dies, injected;
} disk;

static bool
refuse(void)
{
    disk.calls++;
    if (disk.fail_at == 0 || disk.calls < disk.fail_at || (disk.calls > disk.fail_at && !disk.dies))
        return false;
    disk.injected = true;
    errno = EIO;
    return true;
}

int __real_durable_write(int fd, const void *bytes, size_t n, uint64_t offset);
int __wrap_durable_write(int fd, const void *bytes, size_t n, uint64_t offset);
int __real_durable_data(int fd);
int __wrap_durable_data(int fd);
int __real_durable_sync_dir(int dir);
int __wrap_durable_sync_dir(int dir);
int __real_durable_rename(int dir, const char *from, const char *to);
int __wrap_durable_rename(int dir, const char *from, const char *to);
int __real_durable_remove(int dir, const char *name);
int __wrap_durable_remove(int dir, const char *name);
int __real_durable_replace(int dir, const char *name, const void *bytes, size_t n);
int __wrap_durable_replace(int dir, const char *name, const void *bytes, size_t n);

int
__wrap_durable_write(int fd, const void *bytes, size_t n, uint64_t offset)
{
    return refuse() ? -1 : __real_durable_write(fd, bytes, n, offset);
}

int
__wrap_durable_data(int fd)
{
    return refuse() ? -1 : __real_durable_data(fd);
}

int
__wrap_durable_sync_dir(int dir)
{
    return refuse() ? -1 : __real_durable_sync_dir(dir);
}

int
__wrap_durable_rename(int dir, const char *from, const char *to)
{
    if (refuse()) {
        if (!disk.dies && disk.fail_at % 2 == 0) /* the name changed, its flush failed */
            (void)!renameat(dir, from, dir, to);
        errno = EIO;
        return -1;
    }
    return __real_durable_rename(dir, from, to);
}

int
__wrap_durable_remove(int dir, const char *name)
{
    return refuse() ? -1 : __real_durable_remove(dir, name);
}

int
__wrap_durable_replace(int dir, const char *name, const void *bytes, size_t n)
{
    return refuse() ? -1 : __real_durable_replace(dir, name, bytes, n);
}

/* ---- a spool ---- */

static void
empty_directory(void)
{
    DIR *dir = opendir(path);
    struct dirent *d;

    assert_non_null(dir);
    while ((d = readdir(dir)) != NULL)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            assert_int_equal(unlinkat(dirfd(dir), d->d_name, 0), 0);
    closedir(dir);
    memset(&disk, 0, sizeof disk);
}

static int
setup(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/test_spool_cut.XXXXXX");
    return mkdtemp(path) == NULL ? -1 : 0;
}

static int
teardown(void **state)
{
    (void)state;
    empty_directory();
    return rmdir(path);
}

static void
begin_wal(void)
{
    memset(wal, 0, sizeof wal);
    srand(7);
    made = (struct made_wal){.bytes = wal,
                             .start = FIRST,
                             .at = FIRST,
                             .segment_bytes = MB,
                             .system_identifier = SYSTEM};
}

/* Small records, the last of which ends at `to` or just behind. */
static void
small_records(lsn_t to)
{
    while (made.at < to)
        made_wal_record(&made, (uint32_t)rand() % 300, 10, 0);
}

static void
open_spool(struct spool *s)
{
    if (spool_open(s, path) < 0)
        give_up("%s", fail_message());
}

static void
flush_all(struct spool *s)
{
    struct flush f;

    while (spool_flush_begin(s, &f, 0)) {
        spool_flush_run(&f);
        assert_int_equal(spool_flush_end(s, &f), 0);
    }
}

static void
feed(struct spool *s, timeline_t timeline, lsn_t from, lsn_t to)
{
    while (from < to) {
        size_t n = to - from < 50000 ? (size_t)(to - from) : 50000;
        int code = spool_append(s, timeline, from, wal + (from - FIRST), n, 0);

        if (code == ERR_AGAIN)
            flush_all(s);
        else if (code < 0)
            give_up("call %d failed: %s", disk.failed, fail_message());
        else
            from += n;
    }
    flush_all(s);
}

/* All of the made WAL up to `end` is acknowledged. */
static void
start_spool(struct spool *s, lsn_t end)
{
    empty_directory();
    open_spool(s);
    assert_int_equal(spool_adopt(s, &cluster), 0);
    assert_int_equal(spool_begin(s, 1, FIRST), 0);
    feed(s, 1, FIRST, end);
    assert_int_equal(s->flushed, end);
}

static int
cut(struct spool *s, enum cut_wish wish, lsn_t fork, bool *ret_done)
{
    struct cut c;
    int code;

    if (!spool_cut_begin(s, &c, wish, fork))
        give_up("no cut begins");
    spool_cut_run(&c);
    code = spool_cut_end(s, &c);
    *ret_done = c.done;
    return code;
}

static const char *
history_of(lsn_t fork)
{
    static char text[64];

    snprintf(text, sizeof text, "1\t" LSN_FORMAT "\tno recovery target specified\n",
             LSN_ARGS(fork));
    return text;
}

static int
check_history(const struct spool *s, lsn_t fork)
{
    const char *text = history_of(fork);

    return spool_check_history(s, 2, text, strlen(text));
}

/* Is the byte at lsn in a file of that suffix, and which? */
static bool
kept(lsn_t lsn, const char *suffix, uint8_t *ret_byte)
{
    char name[SEGMENT_NAME_SIZE], file[160];
    ssize_t got;
    int fd;

    segment_name(name, 1, lsn, MB);
    snprintf(file, sizeof file, "%s/%s%s", path, name, suffix);
    fd = open(file, O_RDONLY);
    got = fd < 0 ? 0 : pread(fd, ret_byte, 1, (off_t)(lsn % MB));
    close(fd);
    return got == 1;
}

/* Whatever happened, each acknowledged byte is there, as it was, in the spool or kept aside. */
static void
check_nothing_lost(const struct spool *s, lsn_t fork, lsn_t end)
{
    static const char *const suffix[] = {"", ".partial", ".aside"};

    assert_true(s->flushed >= fork && s->flushed <= end);
    for (lsn_t at = FIRST; at < end; at += 977) {
        bool found = false;

        for (size_t i = 0; i < (at < s->flushed ? 2 : 3); i++) {
            uint8_t byte;

            if (!kept(at, suffix[i], &byte))
                continue;
            assert_int_equal(byte, wal[at - FIRST]);
            found = true;
        }
        if (!found)
            give_up(LSN_FORMAT " is gone, call %d failed%s", LSN_ARGS(at), disk.failed,
                    disk.dies ? ", and all after it" : "");
    }
}

/* The spool goes on with the next timeline, also after a restart. */
static void
check_goes_on(struct spool *s, lsn_t fork)
{
    const char *text = history_of(fork);
    lsn_t start = segment_start(fork, MB);
    uint8_t bytes[1000], got[1000];

    assert_int_equal(s->flushed, fork);
    assert_int_equal(s->written, fork);
    assert_int_equal(s->available, fork);
    assert_int_equal(check_history(s, fork), 0);
    assert_int_equal(spool_put_history(s, 2, text, strlen(text)), 0);
    feed(s, 2, start, fork);
    memset(bytes, 0x77, sizeof bytes);
    while (spool_append(s, 2, fork, bytes, sizeof bytes, 0) == ERR_AGAIN)
        flush_all(s);
    flush_all(s);
    spool_close(s);
    open_spool(s);
    assert_int_equal(s->timeline, 2);
    assert_int_equal(s->flushed, fork + sizeof bytes);
    assert_int_equal(spool_read(s, 2, fork, got, sizeof got), sizeof got);
    assert_memory_equal(got, bytes, sizeof got);
    if (fork > start) {
        assert_int_equal(spool_read(s, 1, fork - 1, got, 10), 1);
        assert_int_equal(got[0], wal[fork - 1 - FIRST]);
    }
    assert_int_equal(spool_read(s, 1, fork, got, 10), 0);
}

/* ---- where the last whole record ends ---- */

/* Cut in its header, behind it, at and in a page header, in its last byte. */
static void
test_cut_finds_a_record_that_is_not_whole(void **state)
{
    lsn_t fork, end;

    (void)state;
    begin_wal();
    small_records(FIRST + MB + 300000);
    fork = made.at;
    made_wal_record(&made, 40000, 10, 0);
    end = made.previous + 40000; /* some of it at least */
    for (lsn_t at = fork + 1; at < end; at += at < fork + 40 || at % 8192 < 40 ? 1 : 641) {
        struct spool s;
        bool done;

        start_spool(&s, at);
        assert_int_equal(check_history(&s, fork), ERR_AGAIN);
        assert_int_equal(cut(&s, CUT_LOOK, fork, &done), 0);
        assert_false(done);
        if (check_history(&s, fork) != 0)
            give_up("it ends %u bytes behind: %s", (unsigned)(at - fork), fail_message());
        assert_int_equal(s.flushed, at);
        /* the record before is whole: no other fork will do */
        assert_int_equal(check_history(&s, fork - 8), ERR_CORRUPT);
        spool_close(&s);
    }
}

static void
test_cut_refuses_a_whole_record_behind_the_fork(void **state)
{
    struct spool s;
    lsn_t fork;
    char aside[200];
    bool done;

    (void)state;
    begin_wal();
    small_records(FIRST + MB + 300000);
    fork = made.at;
    made_wal_record(&made, 1000, 10, 0);
    start_spool(&s, made.at);
    for (int wish = CUT_LOOK; wish <= CUT_OWN; wish++) {
        assert_int_equal(cut(&s, (enum cut_wish)wish, fork, &done), 0);
        assert_false(done);
        assert_int_equal(check_history(&s, fork), ERR_CORRUPT);
        assert_non_null(strstr(fail_message(), "up to which this spool has acknowledged WAL"));
        assert_int_equal(s.flushed, made.at);
        assert_false(spool_kept_aside(&s, aside, sizeof aside));
    }
    /* a DBA has decided */
    assert_int_equal(cut(&s, CUT_FORKED, fork, &done), 0);
    assert_true(done);
    assert_true(spool_kept_aside(&s, aside, sizeof aside));
    check_nothing_lost(&s, fork, made.at);
    check_goes_on(&s, fork);
    assert_true(spool_kept_aside(&s, aside, sizeof aside)); /* told after a restart, too */
    spool_close(&s);
}

/* More WAL came since: what was found is void. */
static void
test_cut_forgets_what_it_found_when_more_is_flushed(void **state)
{
    struct spool s;
    lsn_t fork;
    bool done;

    (void)state;
    begin_wal();
    small_records(FIRST + 100000);
    fork = made.at;
    made_wal_record(&made, 50000, 10, 0);
    start_spool(&s, fork + 20000);
    assert_int_equal(cut(&s, CUT_LOOK, fork, &done), 0);
    assert_int_equal(check_history(&s, fork), 0);
    feed(&s, 1, fork + 20000, made.at);
    assert_int_equal(check_history(&s, fork), ERR_AGAIN);
    assert_int_equal(cut(&s, CUT_TORN, fork, &done), 0);
    assert_false(done);
    assert_int_equal(check_history(&s, fork), ERR_CORRUPT);
    spool_close(&s);
}

/* Nobody can replay what is damaged, but only the server that has ended there may say so. */
static void
test_cut_behind_damage_is_only_for_who_made_the_fork(void **state)
{
    struct spool s;
    lsn_t fork;
    bool done;

    (void)state;
    begin_wal();
    small_records(FIRST + 200000);
    fork = made.at;
    made_wal_record(&made, 300, 10, 0);
    made_wal_record(&made, 300, 10, 0);
    wal[fork - FIRST + 40] ^= 0x10;
    start_spool(&s, made.at);
    assert_int_equal(cut(&s, CUT_TORN, fork, &done), 0);
    assert_false(done);
    assert_int_equal(check_history(&s, fork), ERR_CORRUPT);
    assert_int_equal(cut(&s, CUT_OWN, fork, &done), 0);
    assert_true(done);
    check_nothing_lost(&s, fork, made.at);
    check_goes_on(&s, fork);
    spool_close(&s);
}

/* ---- the cut, and a process that dies in it ---- */

/* How the torn record lies: inside a segment, over three, from a segment's border on. */
enum shape { INSIDE, OVER_BORDERS, FROM_A_BORDER, SHAPES };

static void
make_shape(enum shape shape, lsn_t *ret_fork, lsn_t *ret_end)
{
    begin_wal();
    switch (shape) {
    case INSIDE:
        small_records(FIRST + MB + 100000);
        break;
    case OVER_BORDERS:
        small_records(FIRST + 2 * MB - 70000);
        break;
    case FROM_A_BORDER:
        small_records(FIRST + 2 * MB - 7000);
        made_wal_record(&made, (uint32_t)(FIRST + 2 * MB - made.at) - RECORD_HEADER, 10, 0);
        assert_int_equal(made.at, FIRST + 2 * MB);
        break;
    case SHAPES:
        break;
    }
    *ret_fork = made.at;
    made_wal_record(&made, shape == INSIDE ? 200000 : 2 * MB, 10, 0);
    *ret_end = shape == INSIDE ? *ret_fork + 100000 : FIRST + 3 * MB + 500000;
}

/* True when the run was not touched: there are fewer calls than that. */
static bool
run_cut(enum shape shape, int fail_at, bool dies)
{
    struct spool s;
    lsn_t fork, end;
    bool done = false;
    int code;

    make_shape(shape, &fork, &end);
    start_spool(&s, end);
    disk.calls = 0;
    disk.fail_at = disk.failed = fail_at;
    disk.dies = dies;
    code = cut(&s, CUT_TORN, fork, &done);
    disk.fail_at = 0;
    if (disk.injected && dies) {
        spool_close(&s);
        open_spool(&s);
    } else if (code < 0) {
        assert_int_equal(code, ERR_LOCAL);
    } else {
        assert_true(done);
    }
    if (s.lost)
        assert_int_equal(cut(&s, CUT_LOOK, fork, &done), 0);
    else if (s.damaged) /* its last segment could not be flushed when it was found again */
        assert_int_equal(spool_recover(&s), 0);
    check_nothing_lost(&s, fork, end);
    if (s.flushed > fork) {
        code = cut(&s, CUT_TORN, fork, &done);
        if (code < 0 || !done)
            give_up("call %d failed, no second cut: %d %s", fail_at, code, fail_message());
    }
    check_nothing_lost(&s, fork, end);
    check_goes_on(&s, fork);
    spool_close(&s);
    return !disk.injected;
}

static void
test_cut_loses_nothing_wherever_it_is_killed(void **state)
{
    (void)state;
    for (int shape = INSIDE; shape < SHAPES; shape++)
        for (int dies = 0; dies < 2; dies++) {
            int n = 1;

            while (!run_cut((enum shape)shape, n, dies > 0))
                n++;
            assert_true(n > 5);
        }
}

/* A tail that may be torn by a crash of the machine is no more trusted behind the cut. */
static void
test_cut_of_an_untrusted_tail(void **state)
{
    struct spool s;
    lsn_t fork, end;
    char text[128], file[160];
    bool done;
    FILE *position;

    (void)state;
    make_shape(INSIDE, &fork, &end);
    start_spool(&s, end);
    spool_close(&s);
    snprintf(file, sizeof file, "%s/position", path);
    snprintf(text, sizeof text, "boot another\ntimeline 1\nflushed " LSN_FORMAT "\n",
             LSN_ARGS(fork + 5000));
    position = fopen(file, "we");
    assert_non_null(position);
    fputs(text, position);
    fclose(position);
    open_spool(&s);
    assert_int_equal(s.flushed, fork + 5000);
    assert_int_equal(s.written, end);
    assert_int_equal(cut(&s, CUT_TORN, fork, &done), 0);
    assert_true(done);
    check_nothing_lost(&s, fork, end);
    check_goes_on(&s, fork);
    spool_close(&s);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(test_cut_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(finds_a_record_that_is_not_whole),
        T(refuses_a_whole_record_behind_the_fork),
        T(forgets_what_it_found_when_more_is_flushed),
        T(behind_damage_is_only_for_who_made_the_fork),
        T(loses_nothing_wherever_it_is_killed),
        T(of_an_untrusted_tail),
    };
#undef T

    return cmocka_run_group_tests_name("spool_cut", tests, NULL, NULL);
}

/* SPDX-License-Identifier: PostgreSQL */
/*
 * spool: on a real disk, under a book-keeper that wraps base/durable.h. The book-keeper knows of
 * every file how much of it was flushed and whether its name is durable, fails the n-th call when
 * told to, and never lets a file be flushed again whose flush failed. Boots are ours, too.
 */
#include "unit/unit.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "shipper/wal/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MB    (1u << 20)
#define FIRST UINT64_C(0x1000000)
#define KEPT  64 /* files the book-keeper knows at a time */

#define give_up(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

static const struct identity cluster = {
    .system_identifier = 7001, .segment_bytes = MB, .postgres_major = 15};

static char path[64];
static int64_t now_us;

/* ---- the book-keeper ---- */

static struct {
    struct {
        ino_t inode;
        uint64_t flushed;
        bool used, named, poisoned;
    } file[KEPT];
    int calls, fail_at;  /* fail_at 0: never */
    int flushes_to_fail; /* of file data only */
    bool injected;
    const char *boot;
} book;

static bool
refuse(void)
{
    book.calls++;
    if (book.fail_at == 0 || book.calls != book.fail_at)
        return false;
    book.injected = true;
    errno = EIO;
    return true;
}

static size_t
entry_of(ino_t inode)
{
    size_t spare = KEPT;

    for (size_t i = 0; i < KEPT; i++) {
        if (book.file[i].used && book.file[i].inode == inode)
            return i;
        if (!book.file[i].used)
            spare = i;
    }
    assert_true(spare < KEPT);
    memset(&book.file[spare], 0, sizeof book.file[spare]);
    book.file[spare].used = true;
    book.file[spare].inode = inode;
    return spare;
}

static size_t
entry_of_fd(int fd, uint64_t *ret_bytes)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    *ret_bytes = (uint64_t)st.st_size;
    return entry_of(st.st_ino);
}

static void
all_named(void)
{
    for (size_t i = 0; i < KEPT; i++)
        book.file[i].named = true;
}

int __real_durable_open(int dir, const char *name, enum durable_mode mode, int *ret_fd);
int __wrap_durable_open(int dir, const char *name, enum durable_mode mode, int *ret_fd);
ssize_t __real_durable_read(int fd, void *bytes, size_t n, uint64_t offset);
ssize_t __wrap_durable_read(int fd, void *bytes, size_t n, uint64_t offset);
int __real_durable_write(int fd, const void *bytes, size_t n, uint64_t offset);
int __wrap_durable_write(int fd, const void *bytes, size_t n, uint64_t offset);
int __real_durable_data(int fd);
int __wrap_durable_data(int fd);
int __real_durable_size(int fd, uint64_t *ret_bytes);
int __wrap_durable_size(int fd, uint64_t *ret_bytes);
int __real_durable_sync_dir(int dir);
int __wrap_durable_sync_dir(int dir);
int __real_durable_rename(int dir, const char *from, const char *to);
int __wrap_durable_rename(int dir, const char *from, const char *to);
int __real_durable_remove(int dir, const char *name);
int __wrap_durable_remove(int dir, const char *name);
int __real_durable_unlink(int dir, const char *name);
int __wrap_durable_unlink(int dir, const char *name);
int __real_durable_replace(int dir, const char *name, const void *bytes, size_t n);
int __wrap_durable_replace(int dir, const char *name, const void *bytes, size_t n);
ssize_t __real_durable_load(int dir, const char *name, char *out, size_t size);
ssize_t __wrap_durable_load(int dir, const char *name, char *out, size_t size);
int __real_durable_list(int dir, int (*visit)(void *context, const struct durable_entry *entry),
                        void *context);
int __wrap_durable_list(int dir, int (*visit)(void *context, const struct durable_entry *entry),
                        void *context);
void __wrap_clock_boot_id(char out[BOOT_ID_SIZE]);

int
__wrap_durable_open(int dir, const char *name, enum durable_mode mode, int *ret_fd)
{
    struct stat st;
    bool fresh = fstatat(dir, name, &st, 0) < 0;
    uint64_t bytes;

    if (refuse())
        return -1;
    if (__real_durable_open(dir, name, mode, ret_fd) < 0)
        return -1;
    if (fresh) {
        size_t i = entry_of_fd(*ret_fd, &bytes);

        book.file[i].flushed = 0;
        book.file[i].named = book.file[i].poisoned = false;
    }
    return 0;
}

ssize_t
__wrap_durable_read(int fd, void *bytes, size_t n, uint64_t offset)
{
    return refuse() ? -1 : __real_durable_read(fd, bytes, n, offset);
}

int
__wrap_durable_write(int fd, const void *bytes, size_t n, uint64_t offset)
{
    if (refuse()) {
        (void)!__real_durable_write(fd, bytes, n / 2, offset); /* as a full disk does it */
        return -1;
    }
    return __real_durable_write(fd, bytes, n, offset);
}

int
__wrap_durable_data(int fd)
{
    uint64_t bytes;
    size_t i = entry_of_fd(fd, &bytes);

    assert_false(book.file[i].poisoned);
    if (refuse() || book.flushes_to_fail > 0) {
        book.flushes_to_fail -= book.flushes_to_fail > 0;
        book.file[i].poisoned = true;
        errno = EIO;
        return -1;
    }
    if (__real_durable_data(fd) < 0)
        return -1;
    book.file[i].flushed = bytes;
    return 0;
}

int
__wrap_durable_size(int fd, uint64_t *ret_bytes)
{
    return refuse() ? -1 : __real_durable_size(fd, ret_bytes);
}

int
__wrap_durable_sync_dir(int dir)
{
    if (refuse() || __real_durable_sync_dir(dir) < 0)
        return -1;
    all_named();
    return 0;
}

int
__wrap_durable_rename(int dir, const char *from, const char *to)
{
    if (refuse()) {
        if (book.fail_at % 2 == 0) /* the name changed, its flush failed */
            (void)!renameat(dir, from, dir, to);
        errno = EIO;
        return -1;
    }
    if (__real_durable_rename(dir, from, to) < 0)
        return -1;
    all_named();
    return 0;
}

int
__wrap_durable_remove(int dir, const char *name)
{
    return refuse() ? -1 : __real_durable_remove(dir, name);
}

int
__wrap_durable_unlink(int dir, const char *name)
{
    return refuse() ? -1 : __real_durable_unlink(dir, name);
}

int
__wrap_durable_replace(int dir, const char *name, const void *bytes, size_t n)
{
    return refuse() ? -1 : __real_durable_replace(dir, name, bytes, n);
}

ssize_t
__wrap_durable_load(int dir, const char *name, char *out, size_t size)
{
    return refuse() ? -1 : __real_durable_load(dir, name, out, size);
}

int
__wrap_durable_list(int dir, int (*visit)(void *context, const struct durable_entry *entry),
                    void *context)
{
    return refuse() ? -1 : __real_durable_list(dir, visit, context);
}

void
__wrap_clock_boot_id(char out[BOOT_ID_SIZE])
{
    snprintf(out, BOOT_ID_SIZE, "%s", book.boot);
}

/* ---- a directory of its own for each test ---- */

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
    memset(&book, 0, sizeof book);
    book.boot = "boot-1";
    now_us = SECOND_US;
}

static int
setup(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/test_spool.XXXXXX");
    if (mkdtemp(path) == NULL)
        return -1;
    empty_directory();
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    empty_directory();
    return rmdir(path);
}

/* WAL: the same on both timelines up to the fork, other bytes behind it. */
static lsn_t fork_lsn = FIRST + MB + MB / 2 + 24;

static void
wal_at(timeline_t timeline, lsn_t lsn, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t at = lsn + i;
        uint64_t other = timeline > 1 && at >= fork_lsn ? 12345u * timeline : 0;
        uint64_t mixed = (at / 8 + other) * UINT64_C(0x9E3779B97F4A7C15);

        out[i] = (uint8_t)((mixed >> (8 * (at % 8))) | 1); /* never 0: a hole in a file is seen */
    }
}

static const char *
file_of(const char *name)
{
    static char full[4][160];
    static unsigned turn;
    char *out = full[turn++ % 4];

    snprintf(out, sizeof full[0], "%s/%s", path, name);
    return out;
}

static const char *
segment_of(timeline_t timeline, lsn_t lsn, const char *suffix)
{
    static char out[4][SEGMENT_NAME_SIZE + 16];
    static unsigned turn;
    char name[SEGMENT_NAME_SIZE], *at = out[turn++ % 4];

    segment_name(name, timeline, lsn, MB);
    snprintf(at, sizeof out[0], "%s%s", name, suffix);
    return at;
}

static bool
there(const char *name)
{
    return access(file_of(name), F_OK) == 0;
}

static void
put_file(const char *name, const void *bytes, size_t n)
{
    int fd = open(file_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), (ssize_t)n);
    close(fd);
}

static void
put_text(const char *name, const char *text)
{
    put_file(name, text, strlen(text));
}

static void
put_wal(timeline_t timeline, lsn_t start, const char *suffix, size_t n)
{
    static uint8_t bytes[MB];

    wal_at(timeline, start, bytes, n);
    put_file(segment_of(timeline, start, suffix), bytes, n);
}

static void
put_identity(void)
{
    put_text("identity", "system_identifier 7001\nsegment_bytes 1048576\npostgres_major 15\n");
}

static void
put_position(const char *boot, timeline_t timeline, lsn_t flushed)
{
    char text[128];

    snprintf(text, sizeof text, "boot %s\ntimeline %u\nflushed " LSN_FORMAT "\n", boot, timeline,
             LSN_ARGS(flushed));
    put_text("position", text);
}

/* All names and bytes, but for the lock, as one number. */
static uint64_t
fingerprint(void)
{
    DIR *dir = opendir(path);
    struct dirent *d;
    uint64_t sum = 0;

    assert_non_null(dir);
    while ((d = readdir(dir)) != NULL) {
        static uint8_t bytes[MB + 1];
        uint64_t one = UINT64_C(1469598103934665603);
        ssize_t n;
        int fd;

        if (d->d_name[0] == '.' || strcmp(d->d_name, "lock") == 0)
            continue;
        for (const char *p = d->d_name; *p != '\0'; p++)
            one = (one ^ (uint8_t)*p) * UINT64_C(1099511628211);
        fd = openat(dirfd(dir), d->d_name, O_RDONLY);
        assert_true(fd >= 0);
        n = read(fd, bytes, sizeof bytes);
        close(fd);
        for (ssize_t i = 0; i < n; i++)
            one = (one ^ bytes[i]) * UINT64_C(1099511628211);
        sum += one;
    }
    closedir(dir);
    return sum;
}

static int
flush_once(struct spool *s)
{
    struct flush f;

    if (!spool_flush_begin(s, &f, now_us))
        return ERR_AGAIN;
    spool_flush_run(&f);
    return spool_flush_end(s, &f);
}

/* The count of removed files, or an error. */
static int
prune(struct spool *s, lsn_t needed_from, int64_t keep_us)
{
    struct prune p;
    int code;

    if (!spool_prune_begin(s, &p, needed_from, keep_us, clock_wall_us()))
        return 0;
    spool_prune_run(&p);
    code = spool_prune_end(s, &p);
    return code < 0 ? code : p.removed;
}

static int
clear(struct spool *s)
{
    struct prune p;

    assert_true(spool_clear_begin(s, &p));
    spool_prune_run(&p);
    return spool_prune_end(s, &p);
}

static int
flush_all(struct spool *s)
{
    int code;

    while ((code = flush_once(s)) == 0)
        ;
    return code == ERR_AGAIN ? 0 : code;
}

static int
feed(struct spool *s, timeline_t timeline, lsn_t from, lsn_t to, size_t piece)
{
    static uint8_t bytes[128u << 10];

    while (from < to) {
        size_t n = to - from < piece ? (size_t)(to - from) : piece;
        int code;

        wal_at(timeline, from, bytes, n);
        code = spool_append(s, timeline, from, bytes, n, now_us);
        if (code == ERR_AGAIN) {
            code = flush_once(s);
            if (code < 0)
                return code;
            continue;
        }
        if (code < 0)
            return code;
        from += n;
    }
    return 0;
}

static void
open_spool(struct spool *s)
{
    if (spool_open(s, path) < 0)
        give_up("%s", fail_message());
}

static void
start_spool(struct spool *s)
{
    open_spool(s);
    assert_true(spool_empty(s));
    assert_int_equal(spool_adopt(s, &cluster), 0);
    assert_int_equal(spool_begin(s, 1, FIRST), 0);
}

static void
check_served(struct spool *s, timeline_t timeline, lsn_t from, lsn_t to)
{
    static uint8_t got[32768], truth[32768];

    while (from < to) {
        int n = spool_read(s, timeline, from, got, sizeof got);

        if (n <= 0)
            give_up("nothing at " LSN_FORMAT ": %d", LSN_ARGS(from), n);
        wal_at(timeline, from, truth, (size_t)n);
        assert_memory_equal(got, truth, (size_t)n);
        from += (lsn_t)n;
    }
    assert_int_equal(from, to);
}

/* Each byte from `from` to `to` is in a file, true, flushed, under a name that is flushed. */
static void
check_on_disk(timeline_t timeline, lsn_t from, lsn_t to)
{
    static const char *const suffix[] = {"", ".partial", ".damaged"};
    static uint8_t got[MB], truth[MB];

    while (from < to) {
        lsn_t start = segment_start(from, MB), end = start + MB < to ? start + MB : to;
        timeline_t owner = timeline > 1 && start + MB <= fork_lsn ? 1 : timeline;
        bool found = false;

        for (size_t k = 0; k < 3 && !found; k++) {
            struct stat st;
            int fd = open(file_of(segment_of(owner, start, suffix[k])), O_RDONLY);
            size_t i;

            if (fd < 0)
                continue;
            assert_int_equal(fstat(fd, &st), 0);
            i = entry_of(st.st_ino);
            wal_at(timeline, from, truth, (size_t)(end - from));
            found = book.file[i].named && book.file[i].flushed >= end - start &&
                    pread(fd, got, end - from, (off_t)(from - start)) == (ssize_t)(end - from) &&
                    memcmp(got, truth, end - from) == 0;
            close(fd);
        }
        if (!found)
            give_up("acknowledged and not on disk: timeline %u, " LSN_FORMAT " to " LSN_FORMAT,
                    timeline, LSN_ARGS(from), LSN_ARGS(end));
        from = end;
    }
}

static const char *
history_text(void)
{
    static char text[64];

    snprintf(text, sizeof text, "1\t" LSN_FORMAT "\tno recovery target specified\n",
             LSN_ARGS(fork_lsn));
    return text;
}

/* ---- receiving ---- */

static void
test_spool_appends_flushes_and_names_full_segments(void **state)
{
    struct spool s;
    lsn_t end = FIRST + 3 * MB + 4711;

    (void)state;
    start_spool(&s);
    assert_int_equal(feed(&s, 1, FIRST, end, 100003), 0);
    assert_int_equal(flush_all(&s), 0);
    assert_int_equal(s.start, FIRST);
    assert_int_equal(s.written, end);
    assert_int_equal(s.flushed, end);
    assert_int_equal(s.available, end);
    check_on_disk(1, FIRST, end);
    check_served(&s, 1, FIRST, end);
    for (lsn_t at = FIRST; at < end - 4711; at += MB) {
        assert_true(there(segment_of(1, at, "")));
        assert_false(there(segment_of(1, at, ".partial")));
    }
    assert_true(there(segment_of(1, end, ".partial")));
    spool_close(&s);
    spool_close(&s);
}

static void
test_spool_append_is_one_write_in_the_steady_state(void **state)
{
    struct spool s;
    int before;

    (void)state;
    start_spool(&s);
    assert_int_equal(feed(&s, 1, FIRST, FIRST + 8192, 8192), 0);
    before = book.calls;
    assert_int_equal(feed(&s, 1, FIRST + 8192, FIRST + 16384, 8192), 0);
    assert_int_equal(book.calls - before, 1);
    spool_close(&s);
}

static void
test_spool_nothing_counts_as_flushed_before_the_flush_said_so(void **state)
{
    struct spool s;
    struct flush f;

    (void)state;
    start_spool(&s);
    assert_int_equal(feed(&s, 1, FIRST, FIRST + 1000, 1000), 0);
    assert_int_equal(s.flushed, FIRST);
    assert_true(spool_flush_begin(&s, &f, now_us));
    assert_int_equal(feed(&s, 1, FIRST + 1000, FIRST + 3000, 1000), 0);
    assert_false(spool_flush_begin(&s, &f, now_us));
    spool_flush_run(&f);
    assert_int_equal(s.flushed, FIRST);
    assert_int_equal(spool_flush_end(&s, &f), 0);
    assert_int_equal(s.flushed, FIRST + 1000);
    check_on_disk(1, FIRST, s.flushed);
    spool_close(&s);
}

static void
test_spool_goes_on_receiving_while_a_full_segment_is_flushed(void **state)
{
    static uint8_t byte[1];
    struct spool s;
    struct flush f;

    (void)state;
    start_spool(&s);
    assert_int_equal(feed(&s, 1, FIRST, FIRST + 1000, 1000), 0);
    assert_true(spool_flush_begin(&s, &f, now_us));
    spool_flush_run(&f);
    assert_int_equal(feed(&s, 1, FIRST + 1000, FIRST + 2 * MB, 65536),
                     0); /* its segment fills, the next, too */
    wal_at(1, FIRST + 2 * MB, byte, 1);
    assert_int_equal(spool_append(&s, 1, FIRST + 2 * MB, byte, 1, now_us), ERR_AGAIN);
    assert_int_equal(spool_flush_end(&s, &f), 0);
    assert_int_equal(s.flushed, FIRST + 1000);
    check_on_disk(1, FIRST, s.flushed);
    assert_true(spool_flush_begin(&s, &f, now_us)); /* the full one first */
    assert_int_equal(f.upto, FIRST + MB);
    spool_flush_run(&f);
    assert_int_equal(spool_flush_end(&s, &f), 0);
    assert_int_equal(s.flushed, FIRST + MB);
    check_on_disk(1, FIRST, s.flushed);
    assert_int_equal(spool_append(&s, 1, FIRST + 2 * MB, byte, 1, now_us), 0);
    assert_int_equal(flush_all(&s), 0);
    assert_int_equal(s.flushed, FIRST + 2 * MB + 1);
    check_on_disk(1, FIRST, s.flushed);
    spool_close(&s);
}

static void
test_spool_first_position_is_a_segments_start(void **state)
{
    struct spool s;

    (void)state;
    open_spool(&s);
    assert_int_equal(spool_adopt(&s, &cluster), 0);
    assert_int_equal(spool_begin(&s, 1, FIRST + 8192), ERR_PEER);
    assert_true(spool_empty(&s));
    spool_close(&s);
}

static void
test_spool_works_with_segments_of_one_gigabyte(void **state)
{
    struct identity large = {
        .system_identifier = 9, .segment_bytes = SEGMENT_BYTES_MAX, .postgres_major = 15};
    lsn_t start = UINT64_C(3) << 30, end = start + SEGMENT_BYTES_MAX;
    struct spool s;
    char name[SEGMENT_NAME_SIZE], partial[40];

    (void)state;
    open_spool(&s);
    assert_int_equal(spool_adopt(&s, &large), 0);
    assert_int_equal(spool_begin(&s, 1, start), 0);
    assert_int_equal(feed(&s, 1, start, start + 100000, 65536), 0);
    assert_int_equal(flush_all(&s), 0);
    spool_close(&s);
    segment_name(name, 1, start, SEGMENT_BYTES_MAX);
    snprintf(partial, sizeof partial, "%s.partial", name);
    assert_int_equal(truncate(file_of(partial), (off_t)SEGMENT_BYTES_MAX - 4096), 0); /* sparse */
    open_spool(&s);
    assert_int_equal(s.available, end - 4096);
    assert_int_equal(feed(&s, 1, end - 4096, end + 4096, 8192), 0);
    assert_int_equal(flush_all(&s), 0);
    assert_int_equal(s.flushed, end + 4096);
    assert_true(there(name));
    spool_close(&s);
}

/* ---- finding its place again ---- */

static void
check_resume(size_t complete, bool partial, size_t size, const char *boot, lsn_t recorded)
{
    lsn_t tail = FIRST + complete * MB, end = FIRST + complete * MB + size;
    lsn_t known = end, lsn;
    timeline_t timeline;
    struct spool s;

    empty_directory();
    put_identity();
    for (size_t i = 0; i < complete; i++)
        put_wal(1, FIRST + i * MB, "", MB);
    if (partial)
        put_wal(1, tail, ".partial", size);
    if (boot != NULL)
        put_position(boot, 1, recorded);
    if (boot == NULL || strcmp(boot, "boot-1") != 0)
        known = boot == NULL || recorded < tail ? tail : recorded < end ? recorded : end;
    open_spool(&s);
    assert_false(spool_empty(&s));
    assert_int_equal(s.start, FIRST);
    assert_int_equal(s.written, end);
    assert_int_equal(s.flushed, known);
    assert_int_equal(s.available, known);
    if (known > tail)
        assert_int_equal(spool_read(&s, 1, known, (uint8_t[1]){0}, 1), 0);
    spool_resume(&s, &timeline, &lsn);
    assert_int_equal(timeline, 1);
    assert_int_equal(lsn, known == FIRST ? FIRST : segment_start(known - 1, MB));
    assert_int_equal(feed(&s, 1, lsn, tail + MB + 12345, 131072), 0);
    assert_int_equal(flush_all(&s), 0);
    assert_int_equal(s.flushed, tail + MB + 12345);
    check_served(&s, 1, FIRST, s.flushed);
    assert_false(there(segment_of(1, tail, ".partial")));
    spool_close(&s);
}

static void
test_spool_resumes_from_every_kind_of_prefix(void **state)
{
    static const size_t edges[] = {0, 1, 23, 24, 8191, 8192, 8193, MB - 8192, MB - 1, MB};

    (void)state;
    for (size_t complete = 0; complete < 3; complete++) {
        for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
            check_resume(complete, true, edges[i], "boot-1", FIRST);
            check_resume(complete, true, edges[i], "boot-0", FIRST + complete * MB + edges[i] / 2);
            check_resume(complete, true, edges[i], NULL, 0);
        }
        if (complete > 0)
            check_resume(complete, false, 0, "boot-0", FIRST + complete * MB);
    }
    for (size_t size = 1; size < MB; size += 61441)
        check_resume(1, true, size, size % 2 == 0 ? "boot-1" : "boot-0", FIRST + MB + size / 3);
}

static void
test_spool_complete_segment_wins_over_its_partial_copy(void **state)
{
    struct spool s;

    (void)state;
    put_identity();
    put_wal(1, FIRST, "", MB);
    put_wal(1, FIRST, ".partial", 5000);
    put_wal(1, FIRST + MB, ".partial", 100);
    put_position("boot-1", 1, FIRST);
    open_spool(&s);
    assert_false(there(segment_of(1, FIRST, ".partial")));
    assert_int_equal(s.written, FIRST + MB + 100);
    check_served(&s, 1, FIRST, FIRST + MB + 100);
    spool_close(&s);
}

static void
test_spool_a_full_partial_gets_its_name_and_the_next_one_is_the_tail(void **state)
{
    struct spool s;

    (void)state;
    put_identity();
    put_wal(1, FIRST, ".partial", MB);
    put_wal(1, FIRST + MB, ".partial", 777);
    put_position("boot-1", 1, FIRST);
    open_spool(&s);
    assert_true(there(segment_of(1, FIRST, "")));
    assert_int_equal(s.flushed, FIRST + MB + 777);
    spool_close(&s);
}

static void
test_spool_what_grew_behind_a_torn_full_segment_is_dropped(void **state)
{
    struct spool s;
    timeline_t timeline;
    lsn_t lsn;

    (void)state;
    put_identity();
    put_wal(1, FIRST, ".partial", MB);
    put_wal(1, FIRST + MB, ".partial", 777);
    put_position("boot-0", 1, FIRST + 4096);
    open_spool(&s);
    assert_false(there(segment_of(1, FIRST + MB, ".partial")));
    assert_int_equal(s.flushed, FIRST + 4096);
    assert_int_equal(s.written, FIRST + MB);
    spool_resume(&s, &timeline, &lsn);
    assert_int_equal(lsn, FIRST);
    assert_int_equal(feed(&s, 1, FIRST + MB, FIRST + MB + 1, 1),
                     ERR_PEER); /* not past what is not compared */
    spool_close(&s);
}

static void
test_spool_a_torn_tail_is_replaced_by_the_resend(void **state)
{
    static const uint8_t zeros[40000];
    struct spool s;
    int fd;

    (void)state;
    put_identity();
    put_wal(1, FIRST, ".partial", 300000);
    fd = open(file_of(segment_of(1, FIRST, ".partial")), O_WRONLY);
    assert_int_equal(pwrite(fd, zeros, sizeof zeros, 200000), (ssize_t)sizeof zeros);
    close(fd);
    put_position("boot-0", 1, FIRST + 190000);
    open_spool(&s);
    assert_int_equal(s.available, FIRST + 190000);
    assert_int_equal(feed(&s, 1, FIRST, FIRST + 250000, 131072), 0);
    assert_int_equal(s.available, FIRST + 250000);
    assert_int_equal(s.written, FIRST + 300000);
    assert_int_equal(flush_all(&s), 0);
    assert_int_equal(s.flushed, FIRST + 250000);
    spool_close(&s);
    open_spool(
        &s); /* the tail is still not known good: another start in this boot does not change that */
    assert_int_equal(s.available, FIRST + 250000);
    assert_int_equal(feed(&s, 1, FIRST, FIRST + 300000, 131072), 0);
    assert_int_equal(flush_all(&s), 0);
    check_on_disk(1, FIRST, FIRST + 300000);
    spool_close(&s);
}

static void
test_spool_trust_tail_accepts_what_is_there(void **state)
{
    struct spool s;

    (void)state;
    put_identity();
    put_wal(1, FIRST, ".partial", 300000);
    put_position("boot-0", 1, FIRST + 190000);
    open_spool(&s);
    assert_int_equal(s.available, FIRST + 190000);
    assert_int_equal(spool_trust_tail(&s), 0);
    assert_int_equal(s.flushed, FIRST + 300000);
    spool_close(&s);
    open_spool(&s);
    assert_int_equal(s.available, FIRST + 300000);
    spool_close(&s);
}

static void
test_spool_position_file_follows_within_a_second(void **state)
{
    struct spool s;

    (void)state;
    start_spool(&s);
    assert_int_equal(feed(&s, 1, FIRST, FIRST + 1000, 1000), 0);
    assert_int_equal(flush_all(&s), 0); /* recorded */
    assert_int_equal(feed(&s, 1, FIRST + 1000, FIRST + 2000, 1000), 0);
    assert_int_equal(flush_all(&s), 0); /* not recorded: same second */
    now_us += SECOND_US;
    assert_int_equal(flush_once(&s), 0); /* nothing to flush, the position is due */
    assert_int_equal(flush_once(&s), ERR_AGAIN);
    spool_close(&s);
    book.boot = "boot-2";
    open_spool(&s);
    assert_int_equal(s.flushed, FIRST + 2000);
    spool_close(&s);
}

static void
test_spool_a_record_of_lost_bytes_does_not_vouch_for_new_ones(void **state)
{
    struct spool s;

    (void)state;
    put_identity();
    put_wal(1, FIRST, ".partial", 5000);
    put_position("boot-0", 1, FIRST + 9000);
    open_spool(&s);
    assert_int_equal(s.flushed, FIRST + 5000);
    assert_int_equal(feed(&s, 1, FIRST, FIRST + 8000, 1000), 0);
    spool_close(&s);
    book.boot = "boot-2";
    open_spool(&s);
    assert_int_equal(s.flushed, FIRST + 5000);
    assert_int_equal(s.written, FIRST + 8000);
    spool_close(&s);
}

static void
test_spool_copes_with_a_rubbish_position_file(void **state)
{
    static const char *const rubbish[] = {"", "boot", "boot x\ntimeline y\n",
                                          "boot - timeline 1 flushed 0"};
    struct spool s;

    (void)state;
    for (size_t i = 0; i < sizeof rubbish / sizeof *rubbish; i++) {
        empty_directory();
        put_identity();
        put_wal(1, FIRST, ".partial", 5000);
        put_text("position", rubbish[i]);
        open_spool(&s);
        assert_int_equal(s.available, FIRST);
        assert_int_equal(s.written, FIRST + 5000);
        spool_close(&s);
    }
}

static void
test_spool_unfinished_copies_are_removed(void **state)
{
    struct spool s;

    (void)state;
    put_identity();
    put_wal(1, FIRST, ".partial", 5000);
    put_wal(1, FIRST, ".new", 50);
    put_text("pool.state", "not ours");
    open_spool(&s);
    assert_false(there(segment_of(1, FIRST, ".new")));
    assert_true(there("pool.state"));
    spool_close(&s);
}

/* ---- what is refused ---- */

static void
check_open_refused(const char *word)
{
    struct spool s;
    uint64_t before = fingerprint();

    assert_int_equal(spool_open(&s, path), ERR_CORRUPT);
    assert_non_null(strstr(fail_message(), word));
    assert_int_equal(fingerprint(), before);
}

static void
test_spool_contradictions_on_disk_are_refused(void **state)
{
    (void)state;
    put_identity();
    put_wal(1, FIRST, "", MB);
    put_wal(1, FIRST + 2 * MB, "", MB);
    check_open_refused(segment_of(1, FIRST + MB, "")); /* a hole */
    empty_directory();
    put_identity();
    put_wal(1, FIRST, "", MB - 1);
    check_open_refused(segment_of(1, FIRST, ""));
    empty_directory();
    put_wal(1, FIRST, "", MB);
    check_open_refused("identity");
    empty_directory();
    put_text("identity", "system_identifier 7001\nsegment_bytes 1000000\npostgres_major 15\n");
    check_open_refused("identity");
}

static void
test_spool_is_locked_by_its_owner(void **state)
{
    struct spool s, second;

    (void)state;
    start_spool(&s);
    assert_int_equal(spool_open(&second, path), ERR_LOCAL);
    assert_non_null(strstr(fail_message(), path));
    assert_non_null(strstr(fail_message(), "lock"));
    spool_close(&s);
    open_spool(&second);
    spool_close(&second);
}

static void
test_spool_other_cluster_is_refused(void **state)
{
    struct identity other = cluster;
    struct spool s;

    (void)state;
    start_spool(&s);
    other.system_identifier++;
    assert_int_equal(spool_adopt(&s, &other), ERR_CORRUPT);
    assert_non_null(strstr(fail_message(), "7001"));
    assert_non_null(strstr(fail_message(), "7002"));
    other = cluster;
    other.segment_bytes = 16 * MB;
    assert_int_equal(spool_adopt(&s, &other), ERR_CORRUPT);
    assert_int_equal(spool_adopt(&s, &cluster), 0);
    spool_close(&s);
    open_spool(&s);
    assert_int_equal(spool_adopt(&s, &cluster), 0);
    other.system_identifier++;
    assert_int_equal(spool_adopt(&s, &other), ERR_CORRUPT);
    spool_close(&s);
}

static void
check_other_byte_refused(struct spool *s, lsn_t lsn)
{
    static uint8_t bytes[131072];
    lsn_t from = lsn - lsn % sizeof bytes;
    uint64_t before = fingerprint();
    lsn_t written = s->written;
    char offset[32];

    wal_at(1, from, bytes, sizeof bytes);
    bytes[lsn - from] ^= 0x40;
    assert_int_equal(
        spool_append(s, 1, from, bytes,
                     s->written - from < sizeof bytes ? s->written - from : sizeof bytes, now_us),
        ERR_CORRUPT);
    assert_non_null(strstr(fail_message(), segment_of(1, lsn, "")));
    snprintf(offset, sizeof offset, "offset %u ", (unsigned)(lsn % MB));
    assert_non_null(strstr(fail_message(), offset));
    assert_int_equal(fingerprint(), before);
    assert_int_equal(s->written, written);
}

static void
test_spool_other_bytes_at_a_known_position_are_refused(void **state)
{
    struct spool s;
    lsn_t end = FIRST + MB + 500000;

    (void)state;
    start_spool(&s);
    assert_int_equal(feed(&s, 1, FIRST, end, 131072), 0);
    assert_int_equal(flush_all(&s), 0);
    check_other_byte_refused(&s, FIRST);
    check_other_byte_refused(&s, FIRST + MB - 1);
    check_other_byte_refused(&s, FIRST + MB);
    check_other_byte_refused(&s, FIRST + MB + 70000);
    check_other_byte_refused(&s, end - 1);
    assert_int_equal(feed(&s, 1, FIRST, end + 100, 131072),
                     0); /* the right ones are still welcome */
    spool_close(&s);
}

/* A primary put back to an older state, which went on by itself: where this spool ends on a border,
 * the segment before it tells. */
static void
check_fork_at_border(struct spool *s, timeline_t timeline)
{
    static uint8_t bytes[131072];
    lsn_t from = s->available - MB, lsn;
    uint64_t before = fingerprint();
    timeline_t resumed;

    spool_resume(s, &resumed, &lsn);
    assert_int_equal(resumed, timeline);
    assert_int_equal(lsn, from);
    wal_at(timeline, from, bytes, sizeof bytes);
    bytes[sizeof bytes - 1] ^= 1;
    assert_int_equal(spool_append(s, timeline, from, bytes, sizeof bytes, now_us), ERR_CORRUPT);
    assert_non_null(strstr(fail_message(), "other bytes at an acknowledged position"));
    assert_int_equal(fingerprint(), before);
}

static void
test_spool_a_fork_is_found_out_at_a_segments_border(void **state)
{
    struct spool s;

    (void)state;
    start_spool(&s);
    assert_int_equal(feed(&s, 1, FIRST, FIRST + 2 * MB, 131072), 0);
    check_fork_at_border(&s, 1); /* not flushed yet */
    assert_int_equal(flush_all(&s), 0);
    check_fork_at_border(&s, 1);
    prune(&s, FIRST + 9 * MB, -SECOND_US); /* however late it is */
    assert_int_equal(s.start, FIRST + MB);
    check_fork_at_border(&s, 1);
    spool_close(&s);
    open_spool(&s);
    check_fork_at_border(&s, 1);
    spool_close(&s);
}

static void
test_spool_a_hole_is_refused(void **state)
{
    struct spool s;
    uint64_t before;

    (void)state;
    start_spool(&s);
    assert_int_equal(feed(&s, 1, FIRST, FIRST + 1000, 1000), 0);
    before = fingerprint();
    assert_int_equal(feed(&s, 1, FIRST + 1001, FIRST + 2000, 1000), ERR_PEER);
    assert_non_null(strstr(fail_message(), "hole"));
    assert_int_equal(fingerprint(), before);
    spool_close(&s);
}

static void
test_spool_timelines_that_do_not_follow_are_refused(void **state)
{
    struct spool s;
    struct cut look;
    lsn_t end = FIRST + 500000;
    char text[128];
    uint64_t before;

    (void)state;
    start_spool(&s);
    assert_int_equal(spool_check_history(&s, 1, "", 0), 0);
    assert_int_equal(feed(&s, 1, FIRST, end, 131072), 0);
    assert_int_equal(flush_all(&s), 0);
    before = fingerprint();
    snprintf(text, sizeof text, "1\t" LSN_FORMAT "\tx\n", LSN_ARGS(end - 1));
    assert_int_equal(spool_put_history(&s, 2, text, strlen(text)), 0);
    assert_int_equal(spool_check_history(&s, 2, text, strlen(text)), ERR_AGAIN);
    assert_int_equal(feed(&s, 2, FIRST, end, 1000), ERR_PEER);
    assert_true(spool_cut_begin(&s, &look, CUT_LOOK, end - 1));
    spool_cut_run(&look);
    assert_int_equal(spool_cut_end(&s, &look), 0);
    assert_int_equal(spool_check_history(&s, 2, text, strlen(text)), ERR_CORRUPT);
    assert_non_null(strstr(fail_message(), "forked"));
    assert_int_equal(feed(&s, 2, FIRST, end, 1000), ERR_CORRUPT);
    unlink(file_of("00000002.history"));
    snprintf(text, sizeof text, "1\t" LSN_FORMAT "\tx\n", LSN_ARGS(end));
    assert_int_equal(spool_check_history(&s, 2, text, strlen(text)), 0);
    assert_int_equal(spool_check_history(&s, 3, "2\t0/5000000\tx\n", 14), ERR_CORRUPT);
    assert_non_null(strstr(fail_message(), "descend"));
    assert_int_equal(feed(&s, 2, FIRST, end, 1000), ERR_PEER); /* before its history */
    assert_non_null(strstr(fail_message(), "history"));
    assert_int_equal(fingerprint(), before);
    spool_close(&s);
}

static void
test_spool_histories_are_kept_and_never_replaced(void **state)
{
    static char out[HISTORY_BYTES_MAX + 1], large[HISTORY_BYTES_MAX + 1];
    struct spool s;

    (void)state;
    start_spool(&s);
    assert_int_equal(spool_history(&s, 2, out, sizeof out), ERR_AGAIN);
    assert_int_equal(spool_put_history(&s, 2, "1\t0/1100000\tx\n", 14), 0);
    assert_int_equal(spool_put_history(&s, 2, "1\t0/1100000\tx\n", 14), 0);
    assert_int_equal(spool_put_history(&s, 2, "1\t0/1200000\tx\n", 14), ERR_CORRUPT);
    assert_non_null(strstr(fail_message(), "00000002.history"));
    assert_int_equal(spool_put_history(&s, 2, "", 0), ERR_CORRUPT);
    assert_int_equal(spool_history(&s, 2, out, sizeof out), 14);
    assert_string_equal(out, "1\t0/1100000\tx\n");
    assert_int_equal(spool_put_history(&s, 7, "", 0), 0);
    assert_int_equal(spool_history(&s, 7, out, sizeof out), 0);
    assert_int_equal(spool_put_history(&s, 8, large, sizeof large), ERR_PEER);
    spool_close(&s);
}

/* ---- timelines ---- */

static void
start_second_timeline(struct spool *s)
{
    start_spool(s);
    assert_int_equal(feed(s, 1, FIRST, fork_lsn, 131072), 0);
    assert_int_equal(spool_put_history(s, 2, history_text(), strlen(history_text())), 0);
    assert_int_equal(feed(s, 2, segment_start(fork_lsn, MB), fork_lsn + MB, 100000), 0);
    assert_int_equal(flush_all(s), 0);
}

static void
check_second_timeline(struct spool *s)
{
    lsn_t end, first;
    timeline_t next;

    assert_int_equal(s->timeline, 2);
    assert_int_equal(s->start, FIRST);
    assert_int_equal(s->flushed, fork_lsn + MB);
    check_on_disk(2, FIRST, fork_lsn + MB);
    check_served(s, 1, FIRST, fork_lsn);
    assert_int_equal(spool_read(s, 1, fork_lsn, (uint8_t[1]){0}, 1), 0);
    check_served(s, 2, segment_start(fork_lsn, MB), fork_lsn + MB);
    assert_true(spool_switch_point(s, 1, &end, &next));
    assert_int_equal(end, fork_lsn);
    assert_int_equal(next, 2);
    assert_false(spool_switch_point(s, 2, &end, &next));
    assert_true(spool_first(s, 1, &first));
    assert_int_equal(first, FIRST);
    assert_true(spool_first(s, 2, &first));
    assert_int_equal(first, segment_start(fork_lsn, MB));
    assert_false(spool_first(s, 3, &first));
}

static void
test_spool_switches_the_timeline_anywhere_in_a_segment(void **state)
{
    static const lsn_t forks[] = {FIRST + MB + 24, FIRST + MB + MB / 2, FIRST + 2 * MB - 8,
                                  FIRST + 2 * MB, FIRST + 40};
    lsn_t usual = fork_lsn;

    (void)state;
    for (size_t i = 0; i < sizeof forks / sizeof *forks; i++) {
        struct spool s;

        empty_directory();
        fork_lsn = forks[i];
        start_second_timeline(&s);
        check_second_timeline(&s);
        assert_int_equal(feed(&s, 1, fork_lsn, fork_lsn + 10, 10),
                         ERR_CORRUPT); /* the old one is over */
        if (fork_lsn % MB == 0)
            check_fork_at_border(&s, 2);
        spool_close(&s);
        open_spool(&s);
        check_second_timeline(&s);
        spool_close(&s);
    }
    fork_lsn = usual;
}

static void
test_spool_a_switch_is_not_lost_in_a_crash_right_behind_it(void **state)
{
    struct spool s;
    timeline_t timeline;
    lsn_t lsn;

    (void)state;
    start_spool(&s);
    assert_int_equal(feed(&s, 1, FIRST, fork_lsn, 131072), 0);
    assert_int_equal(spool_put_history(&s, 2, history_text(), strlen(history_text())), 0);
    assert_int_equal(feed(&s, 2, segment_start(fork_lsn, MB), fork_lsn, 100000), 0);
    assert_int_equal(s.timeline, 2);
    assert_int_equal(s.flushed, fork_lsn);
    check_on_disk(2, FIRST, fork_lsn);
    spool_close(&s);
    book.boot = "boot-2";
    open_spool(&s);
    assert_int_equal(s.timeline, 2);
    assert_int_equal(s.start, FIRST);
    assert_int_equal(s.flushed, fork_lsn);
    spool_resume(&s, &timeline, &lsn);
    assert_int_equal(timeline, 2);
    assert_int_equal(lsn, segment_start(fork_lsn, MB));
    spool_close(&s);
}

/* A segment may be large, the disk slow: it is a flush's work. */
static void
test_spool_a_switch_waits_for_the_flush_that_copies(void **state)
{
    static uint8_t bytes[8192];
    lsn_t start = segment_start(fork_lsn, MB);
    struct spool s;
    struct flush f;
    int before;

    (void)state;
    start_spool(&s);
    assert_int_equal(feed(&s, 1, FIRST, fork_lsn, 131072), 0);
    assert_int_equal(flush_all(&s), 0);
    assert_int_equal(feed(&s, 1, fork_lsn, fork_lsn + 5000, 5000), 0); /* nobody's, any more */
    assert_int_equal(spool_put_history(&s, 2, history_text(), strlen(history_text())), 0);
    wal_at(2, start, bytes, sizeof bytes);
    assert_int_equal(spool_append(&s, 2, start, bytes, sizeof bytes, now_us), ERR_AGAIN);
    assert_false(there(segment_of(2, start, ".new")));
    assert_true(spool_flush_begin(&s, &f, now_us));
    assert_int_equal(f.kind, FLUSH_SWITCH);
    before = book.calls;
    assert_int_equal(spool_append(&s, 2, start, bytes, sizeof bytes, now_us), ERR_AGAIN);
    wal_at(1, fork_lsn + 5000, bytes, 10);
    assert_int_equal(spool_append(&s, 1, fork_lsn + 5000, bytes, 10, now_us), ERR_AGAIN);
    assert_int_equal(book.calls - before, 2); /* looks at histories */
    assert_int_equal(s.timeline, 1);
    check_served(&s, 1, FIRST, fork_lsn + 5000);
    spool_flush_run(&f);
    assert_int_equal(spool_flush_end(&s, &f), 0);
    assert_int_equal(s.timeline, 2);
    assert_int_equal(s.flushed, fork_lsn);
    check_on_disk(2, FIRST, fork_lsn);
    assert_int_equal(feed(&s, 2, start, fork_lsn + MB, 8192), 0);
    assert_int_equal(flush_all(&s), 0);
    check_second_timeline(&s);
    spool_close(&s);
}

/* Of the new timeline there is nothing yet that could be compared. */
static void
test_spool_resumes_on_the_timeline_it_has_switched_to(void **state)
{
    lsn_t usual = fork_lsn, lsn;
    timeline_t timeline;
    struct spool s;

    (void)state;
    fork_lsn = FIRST + 2 * MB;
    start_spool(&s);
    assert_int_equal(feed(&s, 1, FIRST, fork_lsn, 131072), 0);
    assert_int_equal(flush_all(&s), 0);
    check_fork_at_border(&s, 1);
    assert_int_equal(spool_put_history(&s, 2, history_text(), strlen(history_text())), 0);
    assert_int_equal(feed(&s, 2, fork_lsn, fork_lsn + 1, 1), 0);
    spool_close(&s);
    assert_int_equal(truncate(file_of(segment_of(2, fork_lsn, ".partial")), 0), 0);
    open_spool(&s);
    spool_resume(&s, &timeline, &lsn);
    assert_int_equal(timeline, 2);
    assert_int_equal(lsn, fork_lsn);
    spool_close(&s);
    fork_lsn = usual;
}

static void
test_spool_a_switch_that_does_not_fit_changes_nothing(void **state)
{
    static const char *const third = "1\t0/1180018\tx\n2\t0/1190000\tx\n";
    static uint8_t bytes[65536];
    struct spool s;
    uint64_t before;
    lsn_t start = segment_start(fork_lsn, MB);

    (void)state;
    start_spool(&s);
    assert_int_equal(feed(&s, 1, FIRST, fork_lsn, 131072), 0);
    assert_int_equal(flush_all(&s), 0);
    assert_int_equal(spool_put_history(&s, 2, history_text(), strlen(history_text())), 0);
    assert_int_equal(spool_put_history(&s, 3, third, strlen(third)), 0);
    before = fingerprint();
    assert_int_equal(feed(&s, 2, fork_lsn + 8, fork_lsn + 100, 1000), ERR_PEER);
    assert_non_null(strstr(fail_message(), "hole"));
    assert_int_equal(feed(&s, 2, start - 8, fork_lsn + 100, 1000), ERR_PEER);
    assert_int_equal(feed(&s, 3, start, fork_lsn, 1000), ERR_PEER);
    assert_non_null(strstr(fail_message(), "timeline 2 lies between"));
    wal_at(2, start, bytes, sizeof bytes);
    bytes[4096] ^= 1;
    assert_int_equal(spool_append(&s, 2, start, bytes, sizeof bytes, now_us), ERR_CORRUPT);
    assert_non_null(strstr(fail_message(), "offset 4096"));
    assert_int_equal(s.timeline, 1);
    assert_int_equal(fingerprint(), before);
    assert_int_equal(feed(&s, 2, start, fork_lsn + 100, 65536), 0);
    spool_close(&s);
}

static void
test_spool_the_old_timeline_has_to_be_there_up_to_the_fork(void **state)
{
    struct spool s;

    (void)state;
    start_spool(&s);
    assert_int_equal(feed(&s, 1, FIRST, fork_lsn - 1, 131072), 0);
    assert_int_equal(spool_put_history(&s, 2, history_text(), strlen(history_text())), 0);
    assert_int_equal(feed(&s, 2, segment_start(fork_lsn, MB), fork_lsn, 1000), ERR_PEER);
    assert_int_equal(s.timeline, 1);
    spool_close(&s);
}

/* A spool that begins behind one or two switches, which lie in its first segment: its file has the
 * older timelines' last bytes, too. */
static void
test_spool_reads_the_end_of_a_timeline_from_a_newer_ones_file(void **state)
{
    lsn_t start = segment_start(fork_lsn, MB), first;
    struct spool s;

    (void)state;
    for (timeline_t newest = 2; newest <= 3; newest++) {
        char history[128];

        empty_directory();
        open_spool(&s);
        assert_int_equal(spool_adopt(&s, &cluster), 0);
        snprintf(history, sizeof history, "%s2\t" LSN_FORMAT "\tx\n", history_text(),
                 LSN_ARGS(fork_lsn));
        if (newest == 2)
            snprintf(history, sizeof history, "%s", history_text());
        assert_int_equal(spool_put_history(&s, newest, history, strlen(history)), 0);
        assert_int_equal(spool_begin(&s, newest, start), 0);
        assert_int_equal(feed(&s, newest, start, fork_lsn - 1000, 131072), 0);
        check_served(&s, 1, start, fork_lsn - 1000);
        assert_int_equal(spool_read(&s, 1, fork_lsn - 1000, (uint8_t[1]){0}, 1), 0);
        assert_int_equal(feed(&s, newest, fork_lsn - 1000, fork_lsn + 2 * MB, 131072), 0);
        assert_int_equal(flush_all(&s), 0);
        for (timeline_t older = 1; older < newest; older++) {
            check_served(&s, older, start, fork_lsn);
            assert_int_equal(spool_read(&s, older, fork_lsn, (uint8_t[1]){0}, 1), 0);
            assert_int_equal(spool_read(&s, older, start - 1, (uint8_t[1]){0}, 1), ERR_AGAIN);
            assert_true(spool_first(&s, older, &first));
            assert_int_equal(first, start);
        }
        check_served(&s, newest, start, fork_lsn + 2 * MB);
        prune(&s, fork_lsn + 2 * MB, -SECOND_US);
        assert_false(spool_first(&s, 1, &first));
        spool_close(&s);
    }
}

/* Its first segment has no byte of the old timeline. */
static void
test_spool_has_nothing_of_a_timeline_that_ended_on_its_first_border(void **state)
{
    lsn_t usual = fork_lsn, first;
    struct spool s;

    (void)state;
    fork_lsn = FIRST + 2 * MB;
    open_spool(&s);
    assert_int_equal(spool_adopt(&s, &cluster), 0);
    assert_int_equal(spool_put_history(&s, 2, history_text(), strlen(history_text())), 0);
    assert_int_equal(spool_begin(&s, 2, fork_lsn), 0);
    assert_int_equal(feed(&s, 2, fork_lsn, fork_lsn + 100, 100), 0);
    assert_false(spool_first(&s, 1, &first));
    assert_int_equal(spool_read(&s, 1, fork_lsn - 1, (uint8_t[1]){0}, 1), ERR_AGAIN);
    spool_close(&s);
    fork_lsn = usual;
}

/* ---- serving ---- */

static void
test_spool_reads_stay_inside_what_may_be_served(void **state)
{
    static uint8_t out[MB + 1];
    struct spool s;
    lsn_t end = FIRST + MB + 5000;

    (void)state;
    start_spool(&s);
    assert_int_equal(spool_read(&s, 1, FIRST, out, sizeof out), 0);
    assert_int_equal(feed(&s, 1, FIRST, end, 131072), 0);
    assert_int_equal(spool_read(&s, 1, FIRST, out, sizeof out), MB); /* not past a segment's end */
    assert_int_equal(spool_read(&s, 1, FIRST + MB - 1, out, sizeof out), 1);
    assert_int_equal(spool_read(&s, 1, FIRST + MB, out, sizeof out), 5000);
    assert_int_equal(spool_read(&s, 1, FIRST + MB + 10, out, 100), 100);
    assert_int_equal(spool_read(&s, 1, end, out, 100), 0);
    assert_int_equal(spool_read(&s, 1, end + MB, out, 100), 0);
    assert_int_equal(spool_read(&s, 1, FIRST - 1, out, 100), ERR_AGAIN);
    assert_int_equal(spool_read(&s, 2, FIRST, out, 100), ERR_AGAIN);
    assert_int_equal(flush_all(&s), 0); /* names change under the reader */
    check_served(&s, 1, FIRST, end);
    spool_close(&s);
}

static void
test_spool_cleared_begins_anew_further_on(void **state)
{
    struct spool s;

    (void)state;
    start_second_timeline(&s);
    assert_int_equal(feed(&s, 2, s.written, FIRST + 6 * MB + 10, 131072), 0);
    assert_int_equal(flush_all(&s), 0);
    assert_int_equal(clear(&s), 0);
    assert_true(spool_empty(&s));
    assert_int_equal(s.flushed, LSN_UNKNOWN);
    assert_false(there(segment_of(2, FIRST + 6 * MB, ".partial")));
    assert_true(there("00000002.history"));
    assert_int_equal(spool_begin(&s, 2, FIRST + 9 * MB), 0);
    assert_int_equal(feed(&s, 2, FIRST + 9 * MB, FIRST + 9 * MB + 10, 131072), 0);
    assert_int_equal(flush_all(&s), 0);
    spool_close(&s);
    open_spool(&s);
    assert_int_equal(s.start, FIRST + 9 * MB);
    assert_int_equal(s.flushed, FIRST + 9 * MB + 10);
    check_served(&s, 2, FIRST + 9 * MB, FIRST + 9 * MB + 10);
    spool_close(&s);
}

static void
test_spool_that_cannot_be_cleared_is_not_empty(void **state)
{
    struct spool s;
    int n = 0;

    (void)state;
    start_second_timeline(&s);
    do {
        assert_int_equal(feed(&s, 2, s.written, segment_start(s.written, MB) + 2 * MB + 10, 131072),
                         0);
        assert_int_equal(flush_all(&s), 0);
        book.calls = 0;
        book.injected = false;
        book.fail_at = ++n;
        if (clear(&s) < 0) {
            book.fail_at = 0;
            assert_false(spool_empty(&s));
            assert_true(s.start <= s.flushed && s.flushed <= s.written);
            assert_int_equal(clear(&s), 0);
        }
        book.fail_at = 0;
        assert_true(spool_empty(&s));
        assert_int_equal(spool_begin(&s, 2, FIRST + 20 * MB), 0);
    } while (book.injected);
    assert_true(n > 4);
    spool_close(&s);
}

static void
test_spool_prunes_the_oldest_and_only_what_nobody_needs(void **state)
{
    struct spool s;
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

    (void)state;
    start_second_timeline(&s);
    assert_int_equal(feed(&s, 2, s.written, FIRST + 6 * MB + 10, 131072), 0);
    assert_int_equal(flush_all(&s), 0);
    assert_int_equal(prune(&s, FIRST + 6 * MB, 3600 * SECOND_US), 0); /* too young */
    assert_int_equal(utimensat(AT_FDCWD, file_of(segment_of(2, FIRST + 2 * MB, "")), old, 0), 0);
    assert_int_equal(prune(&s, FIRST + 6 * MB, 3600 * SECOND_US), 0); /* no hole */
    assert_int_equal(prune(&s, FIRST + MB, -SECOND_US), 0);           /* to be compared */
    assert_int_equal(prune(&s, FIRST + MB + 1, -SECOND_US), 1);
    assert_int_equal(s.start, FIRST + MB);
    assert_int_equal(prune(&s, FIRST + 9 * MB, -SECOND_US),
                     6); /* both timelines of the fork's segment */
    assert_int_equal(s.start, FIRST + 6 * MB);
    assert_int_equal(prune(&s, FIRST + 9 * MB, -SECOND_US), 0); /* never the unfinished one */
    assert_int_equal(spool_read(&s, 2, FIRST + 5 * MB, (uint8_t[1]){0}, 1), ERR_AGAIN);
    assert_true(there("00000002.history"));
    check_served(&s, 2, FIRST + 6 * MB, FIRST + 6 * MB + 10);
    spool_close(&s);
    open_spool(&s);
    assert_int_equal(s.start, FIRST + 6 * MB);
    spool_close(&s);
}

static void
test_spool_looks_at_the_disk_only_for_what_may_go(void **state)
{
    struct spool s;
    struct prune p;
    int before;

    (void)state;
    start_spool(&s);
    assert_int_equal(feed(&s, 1, FIRST, FIRST + 6 * MB + 10, 131072), 0);
    assert_int_equal(flush_all(&s), 0);
    assert_int_equal(prune(&s, FIRST + 6 * MB, 3600 * SECOND_US), 0);
    before = book.calls;
    assert_int_equal(prune(&s, FIRST + 6 * MB, 3600 * SECOND_US), 0); /* they are as young still */
    assert_int_equal(prune(&s, FIRST + MB, -SECOND_US), 0);
    assert_int_equal(book.calls, before);
    assert_true(spool_prune_begin(&s, &p, FIRST + 4 * MB, -SECOND_US, clock_wall_us()));
    assert_false(spool_prune_begin(&s, &p, FIRST + 4 * MB, -SECOND_US, clock_wall_us()));
    assert_int_equal(book.calls, before);
    assert_int_equal(feed(&s, 1, s.written, s.written + MB, 131072), 0); /* it goes on meanwhile */
    assert_int_equal(flush_all(&s), 0);
    before = book.calls;
    spool_prune_run(&p);
    assert_int_equal(book.calls - before, 1 + 3 + 1); /* a listing, three files, one sync */
    before = book.calls;
    assert_int_equal(spool_prune_end(&s, &p), 0);
    assert_int_equal(book.calls, before);
    assert_int_equal(s.start, FIRST + 3 * MB);
    check_served(&s, 1, FIRST + 3 * MB, s.written);
    spool_close(&s);
}

static void
check_target(const char *target, timeline_t timeline, lsn_t start)
{
    static uint8_t got[MB + 1], truth[MB];
    int fd = open(target, O_RDONLY);

    assert_true(fd >= 0);
    assert_int_equal(read(fd, got, sizeof got), MB);
    close(fd);
    wal_at(timeline, start, truth, MB);
    assert_memory_equal(got, truth, MB);
}

static void
test_spool_fetch_copies_whole_files_only(void **state)
{
    static const char *const bad[] = {"",
                                      "../identity",
                                      "identity",
                                      "00000001000000000000001",
                                      "00000001/000000000000010",
                                      "000000010000000000000010.partial",
                                      "00000001000000000000001g",
                                      "/etc/passwd",
                                      "0000002.history",
                                      "00000002.history/"};
    struct spool s;
    char target[128];
    struct stat source, copy;

    (void)state;
    start_spool(&s);
    assert_int_equal(feed(&s, 1, FIRST, FIRST + MB + 100, 131072), 0);
    assert_int_equal(flush_all(&s), 0);
    assert_int_equal(spool_put_history(&s, 2, history_text(), strlen(history_text())), 0);
    snprintf(target, sizeof target, "%s/RECOVERYXLOG", path); /* while the agent holds the lock */
    assert_int_equal(spool_fetch(path, segment_of(1, FIRST, ""), target), 0);
    check_target(target, 1, FIRST);
    assert_int_equal(stat(target, &copy), 0);
    assert_int_equal(stat(file_of(segment_of(1, FIRST, "")), &source), 0);
    assert_int_not_equal(copy.st_ino, source.st_ino); /* the standby recycles it */
    assert_int_equal(copy.st_nlink, 1);
    unlink(target);
    assert_int_equal(spool_fetch(path, segment_of(1, FIRST + MB, ""), target),
                     ERR_AGAIN); /* still growing */
    assert_int_equal(spool_fetch(path, "00000003.history", target), ERR_AGAIN);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(spool_fetch(path, bad[i], target), ERR_USAGE);
    assert_int_not_equal(access(target, F_OK), 0);
    assert_int_equal(spool_fetch(path, "00000002.history", target), 0);
    assert_int_equal(access(target, F_OK), 0);
    assert_int_equal(spool_fetch(path, "00000002.history", "/nonexistent/RECOVERYXLOG"), ERR_LOCAL);
    assert_int_equal(spool_fetch("/nonexistent", "00000002.history", target), ERR_LOCAL);
    spool_close(&s);
}

/* ---- WAL from before the begin ---- */

static const char *
front_path(void)
{
    static char out[96];

    snprintf(out, sizeof out, "%s/" SPOOL_FRONT, path);
    return out;
}

static int
remove_file(void *dir, const struct durable_entry *entry)
{
    return unlinkat(*(const int *)dir, entry->name, 0);
}

static void
remove_front(struct spool *front)
{
    assert_int_equal(__real_durable_list(front->dir, remove_file, &front->dir), 0);
    spool_close(front);
    assert_int_equal(rmdir(front_path()), 0);
}

/* A spool of timeline 2 from `start` on, and what comes into its front, from FIRST on. */
static void
start_with_front(struct spool *s, struct spool *front, lsn_t start)
{
    open_spool(s);
    assert_int_equal(spool_adopt(s, &cluster), 0);
    assert_int_equal(spool_put_history(s, 2, history_text(), strlen(history_text())), 0);
    assert_int_equal(spool_begin(s, 2, start), 0);
    assert_int_equal(feed(s, 2, start, fork_lsn + 4 * MB, 131072), 0);
    assert_int_equal(flush_all(s), 0);
    assert_int_equal(mkdir(front_path(), 0700), 0);
    assert_int_equal(spool_open(front, front_path()), 0);
    assert_int_equal(spool_adopt(front, &cluster), 0);
    assert_int_equal(spool_put_history(front, 2, history_text(), strlen(history_text())), 0);
    assert_int_equal(spool_begin(front, 1, FIRST), 0);
}

static int
join(struct spool *s, const struct spool *front)
{
    struct join j;

    if (!spool_join_begin(s, front, &j))
        return ERR_AGAIN;
    spool_join_run(&j);
    return spool_join_end(s, &j);
}

static void
check_joined(struct spool *s)
{
    assert_int_equal(s->start, FIRST);
    assert_int_equal(s->flushed, fork_lsn + 4 * MB);
    check_served(s, 1, FIRST, fork_lsn);
    check_served(s, 2, segment_start(fork_lsn, MB), fork_lsn + 4 * MB);
}

/* The switch lies in the spool's first segment, or before it. */
static void
test_spool_takes_wal_from_before_its_begin(void **state)
{
    lsn_t fork_start = segment_start(fork_lsn, MB);

    (void)state;
    for (lsn_t start = fork_start; start <= fork_start + 2 * MB; start += MB) {
        struct spool s, front;
        struct prune p;
        struct join j;

        empty_directory();
        start_with_front(&s, &front, start);
        assert_int_equal(feed(&front, 1, FIRST, start < fork_lsn ? start - 1 : fork_lsn, 131072),
                         0);
        assert_int_equal(flush_all(&front), 0);
        assert_int_equal(join(&s, &front), ERR_AGAIN); /* not all of it is there */
        if (start < fork_lsn)
            assert_int_equal(feed(&front, 1, start - 1, start + 500, 131072), 0);
        else
            assert_int_equal(feed(&front, 2, fork_start, start + 500, 131072), 0);
        assert_int_equal(flush_all(&front), 0);
        assert_true(spool_prune_begin(&s, &p, s.flushed, -SECOND_US, clock_wall_us()));
        assert_int_equal(join(&s, &front), ERR_AGAIN); /* its begin may be removed just now */
        p.needed_from = 0;
        spool_prune_run(&p);
        assert_int_equal(spool_prune_end(&s, &p), 0);
        assert_true(spool_join_begin(&s, &front, &j));
        assert_false(spool_prune_begin(&s, &p, s.flushed, -SECOND_US, clock_wall_us()));
        spool_join_run(&j);
        assert_int_equal(spool_join_end(&s, &j), 0);
        check_joined(&s);
        assert_int_equal(join(&s, &front), ERR_AGAIN);
        remove_front(&front);
        spool_close(&s);
        open_spool(&s);
        check_joined(&s);
        spool_close(&s);
    }
}

static void
test_spool_takes_no_wal_of_another_lineage_before_its_begin(void **state)
{
    struct spool s, front;

    (void)state;
    start_with_front(&s, &front, FIRST + MB);
    front.timeline = 3;
    front.flushed = front.written = front.available = FIRST + MB;
    assert_int_equal(join(&s, &front), ERR_AGAIN);
    front.timeline = 0;
    remove_front(&front);
    spool_close(&s);
}

/* Whatever fails or where it is killed: the spool is whole, and a next try joins the rest. */
static void
test_spool_joins_the_rest_after_a_failure(void **state)
{
    lsn_t start = segment_start(fork_lsn, MB) + 2 * MB;
    bool touched = true;

    (void)state;
    for (int n = 1; touched; n++) {
        struct spool s, front;
        int code;

        empty_directory();
        start_with_front(&s, &front, start);
        assert_int_equal(feed(&front, 1, FIRST, fork_lsn, 131072), 0);
        assert_int_equal(feed(&front, 2, segment_start(fork_lsn, MB), start + 500, 131072), 0);
        assert_int_equal(flush_all(&front), 0);
        book.fail_at = book.calls + n;
        code = join(&s, &front);
        touched = book.injected;
        book.fail_at = 0;
        if (code < 0) {
            spool_close(&front);
            spool_close(&s);
            open_spool(&s);
            assert_int_equal(spool_open(&front, front_path()), 0);
            if (s.start > FIRST && join(&s, &front) != 0)
                give_up("call %d: %s; " LSN_FORMAT " " LSN_FORMAT " " LSN_FORMAT, n, fail_message(),
                        LSN_ARGS(s.start), LSN_ARGS(front.start), LSN_ARGS(front.flushed));
        }
        check_joined(&s);
        remove_front(&front);
        spool_close(&s);
        assert_true(touched || n > 3);
    }
}

/* ---- a disk that fails ---- */

static void
test_spool_a_failed_flush_is_never_retried_on_that_file(void **state)
{
    struct spool s;
    lsn_t flushed = FIRST + 300000;
    timeline_t timeline;
    lsn_t lsn;

    (void)state;
    for (int restart = 0; restart < 2; restart++) {
        empty_directory();
        start_spool(&s);
        assert_int_equal(feed(&s, 1, FIRST, flushed, 131072), 0);
        assert_int_equal(flush_all(&s), 0);
        assert_int_equal(feed(&s, 1, flushed, flushed + 1000, 1000), 0);
        book.flushes_to_fail = 1;
        assert_int_equal(flush_once(&s), ERR_LOCAL);
        assert_non_null(strstr(fail_message(), segment_of(1, FIRST, "")));
        assert_true(s.damaged);
        assert_int_equal(s.flushed, flushed);
        assert_int_equal(s.available, flushed);
        assert_int_equal(flush_once(&s), ERR_AGAIN);
        assert_int_equal(feed(&s, 1, flushed, flushed + 1000, 1000), ERR_LOCAL);
        check_on_disk(1, FIRST, flushed);
        check_served(&s, 1, FIRST, flushed);
        if (restart > 0) { /* the same boot: the damage is still known */
            spool_close(&s);
            open_spool(&s);
            assert_true(s.damaged);
            assert_true(s.available <= flushed);
            check_on_disk(1, FIRST, flushed);
        }
        assert_int_equal(spool_recover(&s), 0);
        assert_false(s.damaged);
        assert_true(s.available <= flushed);
        assert_false(there(segment_of(1, FIRST, ".damaged")));
        check_on_disk(1, FIRST, flushed);
        spool_close(&s);
        open_spool(&s); /* what is above is still to be compared */
        assert_true(s.available <= flushed);
        spool_resume(&s, &timeline, &lsn);
        assert_int_equal(feed(&s, timeline, lsn, flushed + MB, 131072), 0);
        assert_int_equal(flush_all(&s), 0);
        check_on_disk(1, FIRST, flushed + MB);
        spool_close(&s);
    }
}

static void
test_spool_recovers_from_a_failed_flush_of_a_full_segment(void **state)
{
    struct spool s;
    timeline_t timeline;
    lsn_t lsn;

    (void)state;
    start_spool(&s);
    assert_int_equal(feed(&s, 1, FIRST, FIRST + MB + 1000, 131072),
                     0); /* two files, none flushed */
    book.flushes_to_fail = 1;
    assert_int_equal(flush_once(&s), ERR_LOCAL);
    assert_int_equal(s.flushed, FIRST);
    assert_int_equal(spool_recover(&s), 0);
    assert_false(there(segment_of(1, FIRST + MB, ".partial")));
    spool_resume(&s, &timeline, &lsn);
    assert_int_equal(lsn, FIRST);
    assert_int_equal(feed(&s, 1, FIRST, FIRST + MB + 1000, 131072), 0);
    assert_int_equal(flush_all(&s), 0);
    check_on_disk(1, FIRST, FIRST + MB + 1000);
    spool_close(&s);
}

struct story {
    struct spool s;
    bool open;
    timeline_t acknowledged_on;
    lsn_t acknowledged;
    lsn_t pruned;
};

static void
acknowledge(struct story *t)
{
    if (t->s.timeline == 0 || (t->s.flushed <= t->acknowledged && !book.injected))
        return;
    if (t->s.flushed > t->acknowledged) {
        t->acknowledged = t->s.flushed;
        t->acknowledged_on = t->s.timeline;
    }
    check_on_disk(t->acknowledged_on, t->pruned, t->acknowledged);
}

static int
story_to(struct story *t, timeline_t timeline, lsn_t to)
{
    static uint8_t bytes[100000];

    for (;;) {
        lsn_t lsn = t->s.available;
        size_t n;
        int code;

        if (t->s.timeline < timeline && lsn == fork_lsn)
            lsn =
                segment_start(fork_lsn, MB); /* the new one's first segment comes from its start */
        else if (lsn >= to)
            break;
        n = to - lsn < sizeof bytes ? (size_t)(to - lsn) : sizeof bytes;
        wal_at(timeline, lsn, bytes, n);
        code = spool_append(&t->s, timeline, lsn, bytes, n, now_us);
        now_us += SECOND_US / 2;
        if (code == ERR_AGAIN || (code == 0 && n == sizeof bytes && lsn / MB % 2 == 0))
            code = flush_once(&t->s);
        acknowledge(t);
        if (code < 0 && code != ERR_AGAIN)
            return code;
    }
    while (t->s.flushed < to) {
        int code = flush_once(&t->s);

        acknowledge(t);
        if (code < 0)
            return code;
    }
    return 0;
}

static int
story(struct story *t, lsn_t end)
{
    int code = 0;

    if (!t->open) {
        code = spool_open(&t->s, path);
        t->open = code == 0;
    }
    if (code == 0)
        code = spool_recover(&t->s);
    if (code == 0)
        code = spool_adopt(&t->s, &cluster);
    if (code == 0 && spool_empty(&t->s))
        code = spool_begin(&t->s, 1, FIRST);
    if (code == 0 && t->s.timeline == 1)
        code = story_to(t, 1, fork_lsn);
    if (code == 0)
        code = spool_put_history(&t->s, 2, history_text(), strlen(history_text()));
    if (code == 0)
        code = story_to(t, 2, end);
    if (code == 0)
        code = spool_trust_tail(&t->s);
    if (code == 0) {
        t->pruned = FIRST + MB;
        code = prune(&t->s, FIRST + MB + 1, -SECOND_US);
    }
    return code < 0 ? code : 0;
}

/* True when the run was not touched: there are fewer calls than that. */
static bool
run_story(int fail_at, bool restart)
{
    struct story t = {.acknowledged_on = 1, .acknowledged = FIRST, .pruned = FIRST};
    lsn_t end = FIRST + 3 * MB + 5000;
    int code, turns = 0;

    empty_directory();
    book.fail_at = fail_at;
    while ((code = story(&t, end)) != 0) {
        if (code != ERR_LOCAL || ++turns > 2)
            give_up("call %d failed, turn %d: code %d, %s", fail_at, turns, code, fail_message());
        if (t.open)
            acknowledge(&t);
        if (t.open && restart) {
            spool_close(&t.s);
            t.open = false;
        }
    }
    book.fail_at = 0;
    assert_int_equal(t.s.timeline, 2);
    assert_int_equal(t.s.flushed, end);
    check_on_disk(2, FIRST + MB, end);
    check_served(&t.s, 2, segment_start(fork_lsn, MB), end);
    spool_close(&t.s);
    if (spool_open(&t.s, path) < 0)
        give_up("after call %d failed: %s", fail_at, fail_message());
    assert_int_equal(t.s.flushed, end);
    spool_close(&t.s);
    return !book.injected;
}

static void
test_spool_survives_the_failure_of_every_single_call(void **state)
{
    (void)state;
    for (int restart = 0; restart < 2; restart++) {
        int n = 1;

        while (!run_story(n, restart > 0))
            n++;
        assert_true(n > 100);
    }
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(test_spool_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(appends_flushes_and_names_full_segments),
        T(append_is_one_write_in_the_steady_state),
        T(nothing_counts_as_flushed_before_the_flush_said_so),
        T(goes_on_receiving_while_a_full_segment_is_flushed),
        T(first_position_is_a_segments_start),
        T(works_with_segments_of_one_gigabyte),
        T(resumes_from_every_kind_of_prefix),
        T(complete_segment_wins_over_its_partial_copy),
        T(a_full_partial_gets_its_name_and_the_next_one_is_the_tail),
        T(what_grew_behind_a_torn_full_segment_is_dropped),
        T(a_torn_tail_is_replaced_by_the_resend),
        T(trust_tail_accepts_what_is_there),
        T(position_file_follows_within_a_second),
        T(a_record_of_lost_bytes_does_not_vouch_for_new_ones),
        T(copes_with_a_rubbish_position_file),
        T(unfinished_copies_are_removed),
        T(contradictions_on_disk_are_refused),
        T(is_locked_by_its_owner),
        T(other_cluster_is_refused),
        T(other_bytes_at_a_known_position_are_refused),
        T(a_fork_is_found_out_at_a_segments_border),
        T(a_hole_is_refused),
        T(timelines_that_do_not_follow_are_refused),
        T(histories_are_kept_and_never_replaced),
        T(switches_the_timeline_anywhere_in_a_segment),
        T(a_switch_is_not_lost_in_a_crash_right_behind_it),
        T(a_switch_waits_for_the_flush_that_copies),
        T(resumes_on_the_timeline_it_has_switched_to),
        T(a_switch_that_does_not_fit_changes_nothing),
        T(the_old_timeline_has_to_be_there_up_to_the_fork),
        T(reads_the_end_of_a_timeline_from_a_newer_ones_file),
        T(has_nothing_of_a_timeline_that_ended_on_its_first_border),
        T(reads_stay_inside_what_may_be_served),
        T(cleared_begins_anew_further_on),
        T(that_cannot_be_cleared_is_not_empty),
        T(prunes_the_oldest_and_only_what_nobody_needs),
        T(looks_at_the_disk_only_for_what_may_go),
        T(fetch_copies_whole_files_only),
        T(takes_wal_from_before_its_begin),
        T(takes_no_wal_of_another_lineage_before_its_begin),
        T(joins_the_rest_after_a_failure),
        T(a_failed_flush_is_never_retried_on_that_file),
        T(recovers_from_a_failed_flush_of_a_full_segment),
        T(survives_the_failure_of_every_single_call),
    };
#undef T

    return cmocka_run_group_tests_name("spool", tests, NULL, NULL);
}

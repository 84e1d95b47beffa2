/* SPDX-License-Identifier: PostgreSQL */
/*
 * pgwal: the end of the log of a server that was killed under load, compared with what pg_waldump
 * reads and where the server's own recovery ends; then the same files, damaged in each way.
 */
#include "unit/unit.h"

#include "base/fail.h"
#include "shipper/wal/pgwal.h"
#include "support/server.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define give_up(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))
#define MB           (1u << 20)

static struct server server;
static char copy[64]; /* a folder with the dead server's pg_wal in it */
static lsn_t from, end,
    last; /* a segment's start, the end as it is found, the last record's start */

static void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void
shell(const char *format, ...)
{
    char command[512];
    va_list args;

    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    if (system(command) != 0)
        give_up("failed: %s", command);
}

static char *
file_of(lsn_t lsn)
{
    static char path[128];
    char name[SEGMENT_NAME_SIZE];

    segment_name(name, 1, lsn, server.segment_bytes);
    snprintf(path, sizeof path, "%s/pg_wal/%s", copy, name);
    return path;
}

static void
fresh_copy(void)
{
    shell("rm -rf %s && mkdir %s && cp -r %s/pg_wal %s/pg_wal", copy, copy, server.pgdata, copy);
}

static void
put(lsn_t lsn, const void *bytes, size_t n)
{
    int fd = open(file_of(lsn), O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, (off_t)(lsn % server.segment_bytes)), (ssize_t)n);
    close(fd);
}

static int
find_end(lsn_t *ret_end)
{
    struct pgwal w;
    int code;

    assert_int_equal(pgwal_open(&w, copy, server.segment_bytes), 0);
    code = pgwal_end(&w, 1, from, ret_end);
    pgwal_close(&w);
    return code;
}

static void
assert_end(lsn_t expected)
{
    lsn_t found = 0;
    int code = find_end(&found);

    if (code < 0 || found != expected)
        give_up("%d: the end is " LSN_FORMAT ", not " LSN_FORMAT, code, LSN_ARGS(found),
                LSN_ARGS(expected));
}

static void *
look(void *end_found)
{
    if (find_end(end_found) < 0)
        *(lsn_t *)end_found = LSN_UNKNOWN;
    return NULL;
}

/* As the workers of several links do, and nobody has looked before. */
static void
test_pgwal_is_read_by_several_threads(void **state)
{
    pthread_t thread[4];
    lsn_t found[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, look, &found[i]), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(found[i], end);
}

/* Where a record of that many bytes ends, page headers between them counted. */
static lsn_t
end_of_record(lsn_t at, unsigned bytes)
{
    for (; bytes > 0; bytes--, at++)
        if (at % WAL_PAGE_BYTES == 0)
            at += at % server.segment_bytes == 0 ? 40 : 24;
    return (at + 7) & ~(lsn_t)7;
}

/* The last record of pg_waldump: its start, and its end. */
static void
dump(lsn_t *ret_last, lsn_t *ret_end)
{
    unsigned record, bytes, high, low;
    char command[512], line[4096];
    const char *bin = getenv("PGBIN"), *at;
    FILE *pipe;

    snprintf(command, sizeof command,
             "%s%s/pg_waldump -p %s/pg_wal -s " LSN_FORMAT " 2>/dev/null | tail -n 1",
             bin != NULL ? "" : "$(pg_config --bindir)", bin != NULL ? bin : "", copy,
             LSN_ARGS(from));
    pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_non_null(fgets(line, sizeof line, pipe));
    pclose(pipe);
    at = strstr(line, "len (rec/tot):");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "len (rec/tot): %u/ %u", &record, &bytes), 2);
    at = strstr(line, "lsn: ");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "lsn: %X/%X", &high, &low), 2);
    *ret_last = (lsn_t)high << 32 | low;
    *ret_end = end_of_record(*ret_last, bytes);
}

static void
make(unsigned segment_mb)
{
    snprintf(copy, sizeof copy, "/tmp/walferry-pgwal-%d", (int)getpid());
    server_make(&server, segment_mb, "");
    server_start(&server);
    from = segment_start(server_lsn(&server, "pg_current_wal_insert_lsn()"), server.segment_bytes);
    server_sql(
        &server,
        "create table t as select g, repeat(md5(g::text), 40) from generate_series(1, 3000) g");
    server_sql(&server,
               "insert into t select g, repeat(md5(g::text), 40) from generate_series(1, 999) g");
    server_stop(&server, SIGKILL);
    fresh_copy();
    dump(&last, &end);
}

static int
make_1(void **state)
{
    (void)state;
    make(1);
    return 0;
}

static int
make_16(void **state)
{
    (void)state;
    make(16);
    return 0;
}

static int
drop(void **state)
{
    (void)state;
    server_remove(&server);
    shell("rm -rf %s", copy);
    return 0;
}

static void
test_pgwal_ends_where_recovery_ends(void **state)
{
    const char *line;
    unsigned high, low;

    (void)state;
    fresh_copy();
    assert_end(end);
    shell("rm -f %s/postmaster.pid", server.pgdata);
    server_start(&server);
    assert_true(server_log_line(&server, "redo done at ", &line));
    assert_int_equal(sscanf(strstr(line, "redo done at "), "redo done at %X/%X", &high, &low), 2);
    assert_int_equal((lsn_t)high << 32 | low, last);
    server_stop(&server, SIGKILL);
}

/* A "postgres" and its child, of user nobody, whom nobody may look into. */
static pid_t
start_hidden(const char *pgdata, pid_t *ret_child)
{
    int ends[2];
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    if (pid == 0) {
        if (setuid(65534) < 0 || chdir(pgdata) < 0 || prctl(PR_SET_NAME, "postgres") < 0 ||
            prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
            _exit(1);
        pid = fork();
        if (pid == 0)
            prctl(PR_SET_PDEATHSIG, SIGKILL);
        else if (write(ends[1], &pid, sizeof pid) < 0)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ends[0], ret_child, sizeof *ret_child), sizeof *ret_child);
    close(ends[0]);
    close(ends[1]);
    return pid;
}

static int
told_to_nobody(const char *pgdata, pid_t pid)
{
    pid_t asker = fork();
    int status;

    if (asker == 0)
        _exit(setuid(65534) < 0 ? 2 : pgwal_postmaster_child(pgdata, pid));
    assert_int_equal(waitpid(asker, &status, 0), asker);
    return WEXITSTATUS(status);
}

static void
test_pgwal_knows_a_child_by_the_pid_file_else(void **state)
{
    char folder[] = "/tmp/test_pgwal_XXXXXX";
    pid_t parent, child;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chmod(folder, 0755), 0);
    parent = start_hidden(folder, &child);
    assert_int_equal(told_to_nobody(folder, child), 0);
    shell("echo %d > %s/postmaster.pid", (int)parent, folder);
    assert_int_equal(told_to_nobody(folder, child), 1);
    shell("echo %d > %s/postmaster.pid", (int)child, folder);
    assert_int_equal(told_to_nobody(folder, child), 0);
    kill(parent, SIGKILL);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    shell("rm -r %s", folder);
}

static pid_t
backend(void)
{
    return atoi(server_sql(&server,
                           "select pid from pg_stat_activity where backend_type = 'checkpointer'"));
}

static void
test_pgwal_refuses_a_living_server(void **state)
{
    struct pgwal w;

    (void)state;
    shell("rm -f %s/postmaster.pid", server.pgdata);
    server_start(&server);
    assert_int_equal(pgwal_open(&w, server.pgdata, server.segment_bytes), ERR_PEER);
    assert_non_null(strstr(fail_message(), "a postmaster runs on"));
    fresh_copy(); /* whose file names another cluster's postmaster, after a boot say */
    shell("cp %s/postmaster.pid %s/", server.pgdata, copy);
    assert_int_equal(pgwal_postmaster_alive(copy), 0);
    assert_true(pgwal_postmaster_child(server.pgdata, backend()));
    assert_false(pgwal_postmaster_child(copy, backend()));
    assert_false(pgwal_postmaster_child(server.pgdata, server.pid));
    assert_false(pgwal_postmaster_child(server.pgdata, getpid()));
    assert_false(pgwal_postmaster_child(server.pgdata, 0));
    server_stop(&server, SIGKILL); /* leaves its postmaster.pid */
    assert_int_equal(pgwal_open(&w, server.pgdata, server.segment_bytes), 0);
    pgwal_close(&w);
}

static void
test_pgwal_ends_before_a_torn_record(void **state)
{
    lsn_t found = 0;
    uint8_t byte = 0x5A;

    (void)state;
    fresh_copy();
    put(last + 4, &byte, 1); /* its xid: only the CRC tells */
    assert_end(last);
    fresh_copy();
    /* half a page is no page: what reaches into it is lost, too */
    for (lsn_t cut = last + 16; cut > from && cut + 3 * WAL_PAGE_BYTES > last; cut -= 1013) {
        shell("truncate -s %u %s", (unsigned)(cut % server.segment_bytes), file_of(cut));
        assert_int_equal(find_end(&found), 0);
        assert_true(found <= cut && found + 3 * WAL_PAGE_BYTES > cut);
        if (cut / server.segment_bytes != (cut - 1013) / server.segment_bytes)
            break;
    }
}

static void
test_pgwal_ends_before_a_page_of_zeros(void **state)
{
    static const uint8_t zeros[WAL_PAGE_BYTES];
    lsn_t page = last - last % WAL_PAGE_BYTES, found = 0;

    (void)state;
    fresh_copy();
    put(page, zeros, sizeof zeros);
    assert_int_equal(find_end(&found), 0);
    assert_true(found <= page && found + 2 * WAL_PAGE_BYTES > page);
}

static void
test_pgwal_takes_no_garbage_behind_the_end(void **state)
{
    uint8_t garbage[WAL_PAGE_BYTES];
    size_t room = WAL_PAGE_BYTES - end % WAL_PAGE_BYTES;

    (void)state;
    for (unsigned fill = 0; fill < 256; fill += 15) {
        fresh_copy();
        for (size_t i = 0; i < sizeof garbage; i++)
            garbage[i] = (uint8_t)(fill + (fill % 2) * i * 131);
        put(end, garbage, room);
        assert_end(end);
    }
}

/* A restarted server gave up a torn record, marked the next page, and died before it wrote more. */
static void
test_pgwal_keeps_the_end_before_an_overwritten_record(void **state)
{
    lsn_t page = end - end % WAL_PAGE_BYTES + WAL_PAGE_BYTES;
    uint16_t magic, overwrites = 0x0008;
    uint8_t header[24] = {0};
    struct pgwal w;

    (void)state;
    fresh_copy();
    if (page % server.segment_bytes == 0)
        return;
    assert_int_equal(pgwal_open(&w, copy, server.segment_bytes), 0);
    assert_int_equal(pgwal_read(&w, 1, from, &magic, sizeof magic), sizeof magic);
    pgwal_close(&w);
    memcpy(header, &magic, 2);
    memcpy(header + 2, &overwrites, 2);
    memcpy(header + 4, &(timeline_t){1}, 4);
    memcpy(header + 8, &page, 8);
    put(page, header, sizeof header);
    assert_end(end);
}

/* A segment that was renamed to be written anew still holds its old pages. */
static void
test_pgwal_takes_no_recycled_segment(void **state)
{
    lsn_t next = segment_start(end, server.segment_bytes) + server.segment_bytes;
    char to[128];

    (void)state;
    fresh_copy();
    snprintf(to, sizeof to, "%s", file_of(next));
    shell("cp %s %s", file_of(from), to);
    assert_end(end);
    if (server.segment_bytes > MB)
        return; /* one segment holds it all */
    next = from + 2 * MB;
    snprintf(to, sizeof to, "%s", file_of(next));
    shell("cp %s %s", file_of(from), to);
    {
        lsn_t found = 0;

        assert_int_equal(find_end(&found), 0);
        assert_true(found <= next && found + 2 * WAL_PAGE_BYTES > next);
    }
}

static void
test_pgwal_ends_before_a_missing_segment(void **state)
{
    lsn_t found = 0;

    (void)state;
    fresh_copy();
    if (server.segment_bytes == MB) {
        assert_int_equal(unlink(file_of(from + 2 * MB)), 0);
        assert_int_equal(find_end(&found), 0);
        assert_true(found <= from + 2 * MB && found + 2 * WAL_PAGE_BYTES > from + 2 * MB);
    }
    assert_int_equal(unlink(file_of(from)), 0);
    assert_int_equal(find_end(&found), ERR_LOCAL);
    assert_non_null(strstr(fail_message(), "cannot open pg_wal/"));
    shell("rm -rf %s/pg_wal/*", copy);
    assert_int_equal(find_end(&found), ERR_LOCAL);
    shell("rmdir %s/pg_wal", copy);
    {
        struct pgwal w;

        assert_int_equal(pgwal_open(&w, copy, server.segment_bytes), ERR_LOCAL);
        pgwal_close(&w);
    }
}

/* A segment of another cluster begins with another system identifier. */
static void
test_pgwal_takes_no_other_systems_segment(void **state)
{
    static const uint8_t other[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    lsn_t found = 0, next = from + server.segment_bytes;

    (void)state;
    if (segment_start(end, server.segment_bytes) == from)
        return;
    fresh_copy();
    put(next + 24, other, sizeof other);
    assert_int_equal(find_end(&found), 0);
    assert_true(found <= next);
}

static void
test_pgwal_reads_not_past_a_segment(void **state)
{
    static uint8_t bytes[65536];
    struct pgwal w;

    (void)state;
    fresh_copy();
    assert_int_equal(pgwal_open(&w, copy, server.segment_bytes), 0);
    assert_int_equal(pgwal_read(&w, 1, from + server.segment_bytes - 100, bytes, sizeof bytes),
                     100);
    assert_int_equal(pgwal_read(&w, 1, from + 64, bytes, sizeof bytes), sizeof bytes);
    assert_int_equal(pgwal_read(&w, 9, from, bytes, sizeof bytes), ERR_LOCAL);
    pgwal_close(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pgwal_is_read_by_several_threads), /* first: nothing is made yet */
        cmocka_unit_test(test_pgwal_ends_before_a_torn_record),
        cmocka_unit_test(test_pgwal_ends_before_a_page_of_zeros),
        cmocka_unit_test(test_pgwal_takes_no_garbage_behind_the_end),
        cmocka_unit_test(test_pgwal_keeps_the_end_before_an_overwritten_record),
        cmocka_unit_test(test_pgwal_takes_no_recycled_segment),
        cmocka_unit_test(test_pgwal_ends_before_a_missing_segment),
        cmocka_unit_test(test_pgwal_takes_no_other_systems_segment),
        cmocka_unit_test(test_pgwal_reads_not_past_a_segment),
        cmocka_unit_test(test_pgwal_ends_where_recovery_ends), /* from here on its files change */
        cmocka_unit_test(test_pgwal_knows_a_child_by_the_pid_file_else),
        cmocka_unit_test(test_pgwal_refuses_a_living_server),
    };
    int failed = cmocka_run_group_tests_name("1 MB", tests, make_1, drop);

    return failed + cmocka_run_group_tests_name("16 MB", tests, make_16, drop);
}

/* SPDX-License-Identifier: PostgreSQL */
/* The archive: what fetch_command is told, what it gives and is not believed, how it is ended. */
#include "unit/unit.h"

#include "retention/archive.h"

#include "base/clock.h"
#include "base/durable.h"
#include "shipper/wal/pgwal.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SEGMENT   (UINT32_C(1) << 20)
#define START     ((lsn_t)5 * SEGMENT)
#define PAGE_AT   (7 * WAL_PAGE_BYTES)
#define TIMELINE  3
#define SYSTEM_ID UINT64_C(7000000000000000001)

static const struct identity identity = {
    .system_identifier = SYSTEM_ID, .segment_bytes = SEGMENT, .postgres_major = 15};
static char folder[] = "/tmp/wf-archive-XXXXXX", good[64], got[64];
static uint8_t segment[SEGMENT];
static struct archive archive;

static void
put(size_t at, const void *value, size_t n)
{
    memcpy(segment + at, value, n);
}

/* As PostgreSQL writes page headers; all behind the 100th page is zero. */
static void
make_segment(void)
{
    uint16_t magic = 0xD110;
    uint32_t timeline = TIMELINE, segment_bytes = SEGMENT, page_bytes = WAL_PAGE_BYTES;
    uint64_t system_id = SYSTEM_ID;

    memset(segment, 0, sizeof segment);
    for (size_t at = 0; at < 100 * WAL_PAGE_BYTES; at += WAL_PAGE_BYTES) {
        lsn_t address = START + at;

        put(at, &magic, 2);
        put(at + 4, &timeline, 4);
        put(at + 8, &address, 8);
    }
    put(24, &system_id, 8);
    put(32, &segment_bytes, 4);
    put(36, &page_bytes, 4);
}

static int
check(size_t bytes)
{
    FILE *file = fopen(good, "w");

    assert_int_equal(fwrite(segment, 1, bytes, file), bytes);
    fclose(file);
    return pgwal_check(good, &identity, TIMELINE, START);
}

static void
assert_says(const char *text)
{
    if (strstr(fail_message(), text) == NULL)
        print_error("not '%s' in: %s\n", text, fail_message());
    assert_non_null(strstr(fail_message(), text));
}

static void
test_archive_believes_only_the_segment_that_was_asked_for(void **state)
{
    uint64_t other = SYSTEM_ID + 1;
    uint32_t later = TIMELINE + 1, older = 1, twice = 2 * SEGMENT;
    lsn_t elsewhere = START + SEGMENT + PAGE_AT;

    (void)state;
    make_segment();
    assert_int_equal(check(SEGMENT), 0);
    put(PAGE_AT + 4, &older, 4); /* copied when the timeline began */
    assert_int_equal(check(SEGMENT), 0);
    assert_int_equal(check(SEGMENT - 1), ERR_CORRUPT);
    assert_says("1048575 bytes, a segment has 1048576");
    make_segment();
    put(24, &other, 8);
    assert_int_equal(check(SEGMENT), ERR_CORRUPT);
    assert_says("another database cluster");
    make_segment();
    put(32, &twice, 4);
    assert_int_equal(check(SEGMENT), ERR_CORRUPT);
    assert_says("segments of 2097152 bytes");
    make_segment();
    put(PAGE_AT + 4, &later, 4);
    assert_int_equal(check(SEGMENT), ERR_CORRUPT);
    assert_says("its page says timeline 4");
    make_segment();
    put(PAGE_AT + 8, &elsewhere, 8);
    assert_int_equal(check(SEGMENT), ERR_CORRUPT);
    assert_says("is no WAL of timeline 3 at 0/50E000");
    memset(segment, 0, sizeof segment);
    assert_int_equal(check(SEGMENT), ERR_CORRUPT);
    assert_int_equal(pgwal_check("/tmp/none/there", &identity, TIMELINE, START), ERR_LOCAL);
}

static void
run(const char *command)
{
    struct pollfd over;

    assert_int_equal(archive_get(&archive, command, &identity, TIMELINE, START, got), 0);
    over = (struct pollfd){.fd = worker_fd(&archive.runs.worker), .events = POLLIN};
    assert_true(archive_busy(&archive));
    assert_int_equal(poll(&over, 1, 20000), 1);
    assert_true(archive_done(&archive));
    assert_false(archive_done(&archive));
}

static void
test_archive_runs_the_command_with_its_names(void **state)
{
    char command[200], expected[200], text[200] = "";
    int dir;

    (void)state;
    make_segment();
    assert_int_equal(check(SEGMENT), 0);
    snprintf(command, sizeof command, "printf '%%%%s' '%%f|%%p|%%%%' >%s/told; cp %s %%p", folder,
             good);
    run(command);
    assert_string_equal(archive.job.reason, "");
    assert_int_equal(pgwal_check(got, &identity, TIMELINE, START), 0);
    assert_int_equal(durable_dir(folder, &dir), 0);
    assert_true(durable_load(dir, "told", text, sizeof text) > 0);
    durable_close(dir);
    snprintf(expected, sizeof expected, "000000030000000000000005|%s|%%", got);
    assert_string_equal(text, expected);
}

static void
test_archive_says_why_there_is_none(void **state)
{
    char command[ARCHIVE_COMMAND_MAX + 20];

    (void)state;
    run("echo 'not here:' >&2; echo %f; exit 3");
    assert_string_equal(archive.job.reason,
                        "fetch_command for 000000030000000000000005 ended with status 3: not here: "
                        "000000030000000000000005");
    run("exit 1");
    assert_string_equal(archive.job.reason, "fetch_command for 000000030000000000000005 ended with "
                                            "status 1: it said nothing");
    run("kill -9 $$");
    assert_string_equal(archive.job.reason, "fetch_command for 000000030000000000000005 ended by "
                                            "signal 9: it said nothing");
    run("true");
    assert_non_null(strstr(archive.job.reason, "cannot open"));
    run("echo short >%p");
    assert_non_null(strstr(archive.job.reason, "has 6 bytes"));
    assert_int_equal(access(got, F_OK), -1); /* what is not believed does not stay */
    memset(command, 'x', sizeof command);
    command[sizeof command - 1] = '\0';
    assert_int_equal(archive_get(&archive, command, &identity, TIMELINE, START, got), ERR_USAGE);
}

static void
test_archive_keeps_the_end_of_much_output(void **state)
{
    (void)state;
    run("seq 1 100000; printf 'the \\033 end'; exit 1");
    assert_non_null(strstr(archive.job.reason, "99999 100000 the \\x1b end"));
}

static void
test_archive_ends_what_takes_too_long(void **state)
{
    char *argv[] = {"/bin/sh", "-c", "sleep 30 & sleep 30", NULL}, why[80];
    uint64_t one = 1;
    struct spawn s = {.argv = argv,
                      .environment = environ,
                      .stop_fd = eventfd(0, EFD_CLOEXEC),
                      .limit_us = 100 * MILLISECOND_US,
                      .keep_output = true};
    int64_t begun_us = clock_us();

    (void)state;
    spawn_run(&s);
    assert_true(s.timed_out);
    assert_false(spawn_good(&s, why, sizeof why));
    s.limit_us = 30 * SECOND_US;
    assert_int_equal(write(s.stop_fd, &one, sizeof one), sizeof one);
    spawn_run(&s);
    assert_true(s.stopped);
    assert_true(clock_us() - begun_us < 10 * SECOND_US);
    close(s.stop_fd);
}

static void
test_spawn_takes_the_beginning_of_standard_output(void **state)
{
    char *argv[] = {"/bin/sh", "-c", "echo not this >&2; seq 1 100000; exit 2", NULL};
    char text[6], why[80];
    struct spawn s = {.argv = argv,
                      .environment = environ,
                      .stop_fd = -1,
                      .limit_us = 30 * SECOND_US,
                      .stdout_bytes = text,
                      .stdout_max = sizeof text,
                      .keep_output = true};

    (void)state;
    spawn_run(&s);
    assert_int_equal(s.stdout_used, sizeof text);
    assert_memory_equal(text, "1\n2\n3\n", sizeof text);
    assert_string_equal(s.output, "not this");
    assert_false(spawn_good(&s, why, sizeof why));
    assert_string_equal(why, "ended with status 2");
}

static int
setup(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(good, sizeof good, "%s/good", folder);
    snprintf(got, sizeof got, "%s/got", folder);
    return archive_init(&archive);
}

static int
teardown(void **state)
{
    char command[64];

    (void)state;
    archive_release(&archive);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_archive_believes_only_the_segment_that_was_asked_for),
        cmocka_unit_test(test_archive_runs_the_command_with_its_names),
        cmocka_unit_test(test_archive_says_why_there_is_none),
        cmocka_unit_test(test_archive_keeps_the_end_of_much_output),
        cmocka_unit_test(test_archive_ends_what_takes_too_long),
        cmocka_unit_test(test_spawn_takes_the_beginning_of_standard_output),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}

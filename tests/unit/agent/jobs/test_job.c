/* SPDX-License-Identifier: PostgreSQL */
/* job, hold, follow, datadir: what the long commands stand on, with real files and programs. */
#include "unit/unit.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "jobs/datadir.h"
#include "jobs/follow.h"
#include "shipper/wal/hold.h"
#include "jobs/server.h"
#include "jobs/settings.h"
#include "jobs/standby_settings.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char root[32];
static struct config config;
static struct job job;

static const char *
in_root(const char *name)
{
    static char path[4][256];
    static unsigned next;
    char *out = path[next++ % 4];

    snprintf(out, sizeof path[0], "%s/%s", root, name);
    return out;
}

static void
put(const char *name, const char *text)
{
    FILE *f = fopen(in_root(name), "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static const char *
get(const char *name)
{
    static char text[4096];
    FILE *f = fopen(in_root(name), "r");
    size_t got = f != NULL ? fread(text, 1, sizeof text - 1, f) : 0;

    text[got] = '\0';
    if (f != NULL)
        fclose(f);
    return text;
}

static bool
there(const char *name)
{
    return access(in_root(name), F_OK) == 0;
}

static int
setup(void **state)
{
    struct member *m = &config.member[0];

    (void)state;
    strcpy(root, "/tmp/walferry-test-job-XXXXXX");
    if (mkdtemp(root) == NULL)
        return -1;
    config.members = 1;
    put("pool.ini", "");
    snprintf(config.file, sizeof config.file, "%s", in_root("pool.ini"));
    snprintf(m->name, sizeof m->name, "dc2-a");
    snprintf(m->spool, sizeof m->spool, "%s", in_root("spool"));
    snprintf(m->pgdata, sizeof m->pgdata, "%s", in_root("data"));
    snprintf(m->bindir, sizeof m->bindir, "/bin");
    snprintf(m->run, sizeof m->run, "/run/of/it");
    if (mkdir(m->spool, 0700) < 0 || mkdir(m->pgdata, 0700) < 0)
        return -1;
    return job_open(&job, "test", &config, m);
}

static int
teardown(void **state)
{
    char command[64];

    (void)state;
    job_close(&job);
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

static void
test_job_runs_one_at_a_time(void **state)
{
    struct job other;

    (void)state;
    assert_int_equal(job_open(&other, "other", &config, &config.member[0]), ERR_LOCAL);
    assert_non_null(strstr(fail_message(), "another long command runs on dc2-a"));
    job_close(&other);
}

static void
test_job_journal_comes_back(void **state)
{
    json_t *journal = json_pack("{s:s}", "step", "copy"), *back = NULL;

    (void)state;
    assert_int_equal(job_load(&job, &back), ERR_AGAIN);
    assert_int_equal(job_save(&job, journal), 0);
    assert_int_equal(job_load(&job, &back), 0);
    assert_true(json_equal(journal, back));
    json_decref(journal);
    json_decref(back);
    put("spool/test.job", "{");
    assert_int_equal(job_load(&job, &back), ERR_CORRUPT);
    assert_int_equal(job_forget(&job), 0);
    assert_int_equal(job_forget(&job), 0);
    assert_int_equal(job_load(&job, &back), ERR_AGAIN);
}

static void
collect(void *context, const char *line)
{
    strcat(context, line);
    strcat(context, ";");
}

static void
test_job_reads_lines_and_says_the_last_when_a_tool_fails(void **state)
{
    const char *const good[] = {"sh", "-c", "printf 'a\\rb\\n'; printf c >&2", NULL};
    const char *const bad[] = {"sh", "-c", "echo ' 7 kB (3%)'; echo '\tno room'; exit 3", NULL};
    const char *const killed[] = {"sh", "-c", "kill -9 $$", NULL};
    const char *const absent[] = {"no-such-tool", NULL};
    char lines[256] = "";

    (void)state;
    assert_int_equal(job_run(&job, good, collect, lines), 0);
    assert_string_equal(lines, "a;b;c;");
    assert_int_equal(job_run(&job, bad, NULL, NULL), ERR_PEER);
    assert_string_equal(fail_message(), "sh ended with status 3: no room");
    assert_int_equal(job_run(&job, killed, NULL, NULL), ERR_PEER);
    assert_non_null(strstr(fail_message(), "signal 9"));
    assert_int_equal(job_run(&job, absent, NULL, NULL), ERR_PEER);
    assert_non_null(strstr(fail_message(), "cannot run /bin/no-such-tool: No such file"));
}

static void
measure(void *context, const char *line)
{
    size_t *longest = context, length = strlen(line);

    if (length > *longest)
        *longest = length;
}

static void
test_job_reads_a_line_of_megabytes(void **state)
{
    const char *const argv[] = {"sh", "-c",
                                "head -c 5000000 /dev/zero | tr '\\0' x; echo; echo short", NULL};
    size_t longest = 0;

    (void)state;
    assert_int_equal(job_run(&job, argv, measure, &longest), 0);
    assert_int_equal(longest, 5000000);
    assert_false(job.cut);
}

static void
test_job_settings_replace_ours_and_leave_others(void **state)
{
    const char *text;

    (void)state;
    put("data/postgresql.auto.conf",
        "work_mem = '8MB'\nprimary_conninfo = 'host=elsewhere'\n"
        "sync_replication_slots = 'on'\nprimary_slot_name = 'of_another'\n"
        "restore_command='old'\nprimary_conninfo_not = 1\n" STANDBY_OVERRIDES
        "\nwal_keep_size = '1000TB'\n");
    strcpy(config.slot_sync_user, "sync");
    strcpy(config.slot_sync_database, "app");
    for (int i = 0; i < 2; i++) /* the second time changes nothing */
        assert_int_equal(standby_settings_write(&job, config.member[0].pgdata), 0);
    text = get("data/postgresql.auto.conf");
    assert_ptr_equal(strstr(text, "work_mem = '8MB'\nsync_replication_slots = 'on'\n"
                                  "primary_conninfo_not = 1\n"),
                     text);
    assert_null(strstr(text, "of_another"));
    assert_null(strstr(text, "elsewhere"));
    assert_null(strstr(text, "old"));
    assert_null(strstr(text, "1000TB"));
    assert_non_null(strstr(text,
                           "\nprimary_conninfo = 'host=/run/of/it port=5432 user=sync dbname=app'\n"
                           "primary_slot_name = 'walferry_dc2_a'\n"));
    assert_non_null(strstr(text, "--member dc2-a \"%f\" \"%p\" || exit 1'\n"));
    assert_ptr_equal(strstr(text, "\nrestore_command"), strstr(text, "restore_command") - 1);
    assert_null(strstr(strstr(text, "restore_command") + 1, "restore_command"));
    assert_true(there("data/standby.signal"));
}

static void
test_job_settings_of_a_copy_are_whole(void **state)
{
    static const char zeros[] = "work_mem = '8MB'\nport = 1\0\0\0\n";
    const char *pgdata = config.member[0].pgdata;
    int dir;

    (void)state;
    put("data/postgresql.auto.conf", "");
    assert_int_equal(standby_settings_check(pgdata), 0);
    put("data/postgresql.auto.conf", "work_mem = '8MB'\n");
    assert_int_equal(standby_settings_check(pgdata), 0);
    put("data/postgresql.auto.conf", "work_mem = '8MB'\nmax_connec");
    assert_int_equal(standby_settings_check(pgdata), ERR_LOCAL);
    assert_non_null(strstr(fail_message(), "not whole"));
    assert_int_equal(durable_dir(pgdata, &dir), 0);
    assert_int_equal(durable_replace(dir, "postgresql.auto.conf", zeros, sizeof zeros - 1), 0);
    assert_int_equal(standby_settings_check(pgdata), ERR_LOCAL);
    assert_int_equal(durable_unlink(dir, "postgresql.auto.conf"), 0);
    durable_close(dir);
    assert_int_equal(standby_settings_check(pgdata), 0);
    assert_int_equal(standby_settings_check("/nowhere"), ERR_LOCAL);
}

static void
test_hold_lasts_a_day(void **state)
{
    int64_t now_us = clock_wall_us();

    (void)state;
    assert_true(hold_from(job.dir, now_us) == UINT64_MAX);
    assert_int_equal(hold_set(job.dir, 0x1600002A0), 0);
    assert_true(hold_from(job.dir, now_us + 23 * 3600 * SECOND_US) == 0x1600002A0);
    put("spool/hold", "nonsense");
    assert_true(hold_from(job.dir, now_us) == 0); /* keep all rather than too little */
    assert_non_null(strstr(fail_message(), "hold is not one of walferry's: nothing is removed here "
                                           "for a day; remove that file if no seed"));
    put("spool/hold", "");
    assert_true(hold_from(job.dir, now_us) == 0);
    assert_non_null(strstr(fail_message(), "hold is empty"));
    assert_int_equal(hold_set(job.dir, 0x1600002A0), 0);
    put("spool/hold", "16/2A0 1\n"); /* 1970: a command that is tried again does not renew it */
    assert_int_equal(hold_resume(job.dir, 0x1600002A0), 0);
    assert_string_equal(get("spool/hold"), "16/2A0 1\n");
    assert_int_equal(hold_end(job.dir), 0);
    assert_int_equal(hold_resume(job.dir, 0x1600002A0), 0);
    assert_true(hold_from(job.dir, now_us) == 0x1600002A0);
    assert_true(hold_from(job.dir, now_us + 25 * 3600 * SECOND_US) == 0x1600002A0); /* it lives */
    durable_close(job.lock);
    assert_true(hold_from(job.dir, now_us + 23 * 3600 * SECOND_US) == 0x1600002A0);
    assert_true(hold_from(job.dir, now_us + 25 * 3600 * SECOND_US) == UINT64_MAX);
    assert_false(there("spool/hold"));
    put("spool/hold", "nonsense"); /* ... and one that says nothing, since it was written */
    assert_true(hold_from(job.dir, now_us + 25 * 3600 * SECOND_US) == UINT64_MAX);
    assert_false(there("spool/hold"));
    assert_int_equal(hold_end(job.dir), 0);
    assert_int_equal(durable_lock(job.dir, HOLD_LOCK_FILE, &job.lock), 0);
}

/* ---- a server that is none: a postmaster by its name, with a startup process by its title ---- */

static pid_t server;

static void
kill_server(void)
{
    if (server == 0)
        return;
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    server = 0;
}

static void
be_server(const char *title, int said)
{
    prctl(PR_SET_NAME, "postgres");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (chdir(in_root("data")) < 0) /* where a postmaster is */
        _exit(1);
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl("/bin/sleep", title, "1000", (char *)NULL);
        _exit(1);
    }
    close(said); /* the other one's is closed when it has its title */
    for (;;)
        pause();
}

static void
run_server(const char *file, const char *title, const char *word)
{
    char text[128], byte;
    int said[2];

    kill_server();
    assert_int_equal(pipe2(said, O_CLOEXEC), 0);
    server = fork();
    assert_true(server >= 0);
    if (server == 0)
        be_server(title, said[1]);
    close(said[1]);
    assert_int_equal(read(said[0], &byte, 1), 0);
    close(said[0]);
    snprintf(text, sizeof text, "%d\n/data\n1\n5432\n/sock\n\n 1 2\n%-8s\n", (int)server, word);
    put(file, text);
}

static void
set_command(char *out, size_t size, const char *command)
{
    snprintf(out, size, "cd %s; %s", root, command);
}

static void
test_job_start_command_that_gives_up_is_no_failure(void **state)
{
    struct member *m = &config.member[0];

    (void)state;
    set_command(m->start, sizeof m->start, "echo no room; exit 1");
    assert_int_equal(job_server_start(&job), ERR_LOCAL);
    assert_non_null(strstr(fail_message(), "no room"));
    run_server("pid", "postgres", "starting");
    set_command(m->start, sizeof m->start, "mv pid data/postmaster.pid; exit 1");
    assert_int_equal(job_server_start(&job), 0);
    kill_server();
}

static void
test_job_waits_for_a_server_that_is_stopping(void **state)
{
    struct member *m = &config.member[0];

    (void)state;
    run_server("data/postmaster.pid", "postgres", "ready");
    set_command(m->stop, sizeof m->stop, "exit 1");
    assert_int_equal(job_server_stop(&job), ERR_LOCAL);
    run_server("data/postmaster.pid", "postgres", "stopping");
    snprintf(m->stop, sizeof m->stop, "{ sleep 0.5; kill -9 %d; } & exit 1", (int)server);
    assert_int_equal(job_server_stop(&job), 0);
    kill_server();
}

static json_t *
told(const char *postgres, const char *replay, bool paused, bool connected, double lag, int behind)
{
    return json_pack("{s:{s:s s:s s:b s:b} s:{s:s s:b s:{s:f s:i}}}", "postgres", "state", postgres,
                     "replay", replay, "replay_paused", paused, "in_recovery", 1, "receiving",
                     "state", "up", "standby_connected", connected, "applied", "lag_seconds", lag,
                     "behind_bytes", behind);
}

static int
look(struct follow *f, int64_t at_us, json_t *status)
{
    int code = follow_look(f, status, at_us);

    json_decref(status);
    return code;
}

#define CONTROL                                                                                    \
    "Database system identifier:           7000000000000000001\n"                                  \
    "Latest checkpoint's TimeLineID:       1\n"                                                    \
    "Bytes per WAL segment:                16777216\n"
#define STARTUP "postgres: 15/main: startup "

static void
test_follow_counts_what_is_applied_before_it_takes_connections(void **state)
{
    const int64_t t = clock_us(), s = SECOND_US;
    struct member *m = &config.member[0];
    char script[64];
    struct follow f;

    (void)state;
    snprintf(script, sizeof script, "#!/bin/sh\ncat %s/control\n", root);
    put("pg_controldata", script);
    assert_int_equal(chmod(in_root("pg_controldata"), 0700), 0);
    snprintf(m->bindir, sizeof m->bindir, "%s", root);
    put("control", CONTROL "Latest checkpoint's REDO location:    0/4000028\n"
                           "Minimum recovery ending location:     0/4000000\n");
    run_server("data/postmaster.pid", STARTUP "recovering 0000000100000000000000A4", "starting");
    follow_begin(&f, &job, t);
    assert_int_equal(look(&f, t + s, NULL), 0);
    assert_string_equal(f.doing, "recovering 0000000100000000000000A4");
    run_server("data/postmaster.pid", STARTUP "recovering 0000000100000000000000A5", "starting");
    assert_int_equal(look(&f, t + 290 * s, NULL), 0);
    put("control", CONTROL "Minimum recovery ending location:     0/5000000\n");
    assert_int_equal(look(&f, t + 580 * s, NULL), 0);
    run_server("data/postmaster.pid", STARTUP "waiting for 0000000200000000000000A5", "starting");
    assert_int_equal(look(&f, t + 870 * s, told("starting", "0/9", 0, 0, 1, 7)),
                     0); /* an old one's */
    assert_int_equal(look(&f, t + 890 * s, told("starting", "1/9", 0, 0, 2, 8)), ERR_PEER);
    assert_non_null(
        strstr(fail_message(),
               "it takes no connection; it is waiting for 0000000200000000000000A5; see its log"));
    /* hot_standby = off: it goes on for ever */
    follow_begin(&f, &job, t);
    run_server("data/postmaster.pid", STARTUP "recovering 0000000100000000000000A6", "starting");
    assert_int_equal(look(&f, t + 290 * s, told("starting", "0/9", 0, 1, 400, 7)), 0);
    assert_int_equal(look(&f, t + 310 * s, told("starting", "0/9", 0, 1, 0.5, 7)), 0);
    run_server("data/postmaster.pid", STARTUP "recovering 0000000100000000000000A7", "starting");
    assert_int_equal(look(&f, t + 600 * s, told("starting", "0/9", 0, 1, 0.5, 7)), ERR_PEER);
    assert_non_null(strstr(fail_message(), "is hot_standby off?"));
    kill_server();
}

static void
test_follow_does_not_count_what_only_came(void **state)
{
    const int64_t t = clock_us(), s = SECOND_US;
    struct follow f;

    (void)state;
    run_server("data/postmaster.pid", "postgres", "standby");
    follow_begin(&f, &job, t);
    assert_int_equal(look(&f, t + s, told("up", "0/5000000", 0, 1, 400, 100)), 0);
    assert_int_equal(look(&f, t + 250 * s, told("up", "0/5000100", 0, 1, 700, 200)), 0);
    assert_int_equal(look(&f, t + 500 * s, told("up", "0/5000100", 0, 1, 900, 900)), 0);
    assert_int_equal(look(&f, t + 560 * s, told("up", "0/5000100", 1, 1, 990, 1000)), ERR_PEER);
    assert_non_null(strstr(fail_message(), "select pg_wal_replay_resume()"));
    assert_int_equal(look(&f, t + 570 * s, told("up", "0/5000200", 0, 1, 571, 1000)), 0);
    assert_int_equal(look(&f, t + 870 * s, told("up", "0/5000200", 0, 1, 871, 1000)), ERR_PEER);
    assert_non_null(strstr(fail_message(), "recovery_min_apply_delay"));
    assert_int_equal(look(&f, t + 880 * s, told("up", "0/5000300", 0, 1, 879, 1000)), 1);
    kill_server();
}

static void
test_follow_starts_once_what_has_ended(void **state)
{
    struct member *m = &config.member[0];
    struct follow f;

    (void)state;
    unlink(in_root("data/postmaster.pid"));
    run_server("pid", "postgres", "starting");
    set_command(m->start, sizeof m->start, "mv pid data/postmaster.pid; exit 1");
    follow_begin(&f, &job, clock_us());
    assert_int_equal(look(&f, clock_us(), NULL), 0);
    assert_int_equal(look(&f, clock_us(), NULL), 0);
    kill_server();
    assert_int_equal(look(&f, clock_us(), NULL), ERR_LOCAL);
    assert_non_null(strstr(fail_message(), "has ended again: see its log (it is started by: cd "));
    unlink(in_root("data/postmaster.pid"));
}

static void
test_datadir_swaps_and_follows_no_link(void **state)
{
    struct datadir d;

    (void)state;
    mkdir(in_root("data/pg_tblspc"), 0700);
    mkdir(in_root("space"), 0700);
    mkdir(in_root("space/PG_15_1"), 0700);
    put("space/PG_15_1/1", "old");
    put("space/not ours", "");
    put("data/pg_hba.conf", "of this host");
    put("data/PG_VERSION", "15");
    put("elsewhere", "of the DBA");
    assert_int_equal(symlink("../elsewhere", in_root("data/pg_ident.conf")), 0);
    assert_int_equal(symlink(in_root("space"), in_root("data/pg_tblspc/77")), 0);
    assert_int_equal(datadir_init(&d, config.member[0].pgdata), 0);
    assert_true(datadir_occupied(&d));
    assert_true(datadir_standby(&d)); /* as the settings' test left it */
    unlink(in_root("data/standby.signal"));
    assert_false(datadir_standby(&d));
    assert_int_equal(datadir_place(&d, "77", "/on/the/primary", 5, NULL), 0);
    assert_string_equal(d.tablespace[0].at, in_root("space"));
    assert_int_equal(datadir_begin(&d), 0);
    mkdir(in_root("data.walferry-new"), 0700);
    mkdir(in_root("data.walferry-new/pg_tblspc"), 0700);
    mkdir(in_root("space/walferry-new/PG_15_1"), 0700);
    put("space/walferry-new/PG_15_1/1", "new");
    put("data.walferry-new/pg_hba.conf", "of the primary");
    put("data.walferry-new/pg_ident.conf", "of the primary");
    assert_int_equal(datadir_keep_modes(&d), 0);
    assert_int_equal(settings_keep(&d), 0);
    assert_int_equal(datadir_swap(&d), 0);
    assert_true(datadir_swapped(&d));
    assert_int_equal(datadir_swap(&d), 0); /* done already */
    assert_string_equal(get("data/pg_hba.conf"), "of this host");
    assert_string_equal(get("data/pg_ident.conf"), "of the DBA");
    put("elsewhere", "changed"); /* it is a link as before */
    assert_string_equal(get("data/pg_ident.conf"), "changed");
    assert_string_equal(get("data/pg_tblspc/77/PG_15_1/1"), "new");
    assert_string_equal(get("data.walferry-old/PG_VERSION"), "15");
    assert_string_equal(get("space/walferry-old/PG_15_1/1"), "old");
    assert_int_equal(datadir_begin(&d), ERR_USAGE); /* what is kept is not overwritten */
    assert_int_equal(datadir_remove_old(&d), 0);
    assert_false(there("data.walferry-old"));
    assert_false(there("space/walferry-old"));
    assert_string_equal(get("space/PG_15_1/1"), "new"); /* the old one's link led here */
    assert_true(there("space/not ours"));
}

static void
test_datadir_refuses_what_is_not_its_own(void **state)
{
    struct datadir d;

    (void)state;
    mkdir(in_root("other"), 0700);
    mkdir(in_root("other/PG_15_1"), 0700);
    mkdir(in_root("free"), 0700);
    assert_int_equal(datadir_init(&d, config.member[0].pgdata), 0);
    assert_int_equal(datadir_place(&d, "78", in_root("other"), 5, NULL), ERR_USAGE);
    assert_non_null(strstr(fail_message(), "holds PG_15_1 of another server"));
    assert_int_equal(datadir_place(&d, "78", "/x", 5, "/y=/z,/x=relative"), ERR_USAGE);
    assert_int_equal(datadir_place(&d, "78", "/x", 5, "/xx=/z,/x=/free/for/it"), 0);
    assert_string_equal(d.tablespace[0].at, "/free/for/it");
    assert_int_equal(datadir_init(&d, "/proc"), ERR_USAGE);
    assert_non_null(strstr(fail_message(), "/proc is a mount point"));
}

static void
give(const char *name, mode_t mode, const char *text)
{
    put(name, text);
    assert_int_equal(chmod(in_root(name), mode), 0);
}

static mode_t
mode_of(const char *name)
{
    struct stat about;

    return stat(in_root(name), &about) == 0 ? about.st_mode & 0777 : 0;
}

static void
test_datadir_keeps_what_is_this_hosts(void **state)
{
    struct datadir d;

    (void)state;
    put("data/PG_VERSION", "15");
    assert_int_equal(chmod(in_root("data"), 0750), 0);
    mkdir(in_root("data/conf.d"), 0700);
    assert_int_equal(chmod(in_root("data/conf.d"), 0750), 0);
    mkdir(in_root("data/pg_xact"), 0700);
    give("data/conf.d/memory.conf", 0640, "work_mem = '1MB'\ninclude = 'tuning'\n");
    give("data/conf.d/tuning", 0640, "of this host");
    give("data/root.crl", 0640, "of this host");
    give("data/server.key", 0600, "of this host");
    give("data/admins", 0644, "of this host");
    give("data/pg_hba.conf", 0640, "host all @admins ::1/128 md5\n# pg_xact/no.conf\n");
    give("data/pg_xact/no.conf", 0600, "of this host");
    give("data/notes", 0600, "nobody names it");
    assert_int_equal(datadir_init(&d, config.member[0].pgdata), 0);
    mkdir(in_root("data.walferry-new"), 0700);
    mkdir(in_root("data.walferry-new/base"), 0700);
    mkdir(in_root("data.walferry-new/conf.d"), 0700);
    give("data.walferry-new/base/1", 0600, "rows");
    give("data.walferry-new/root.crl", 0600, "of the primary");
    give("data.walferry-new/conf.d/primary.conf", 0600, "of the primary");
    for (int again = 0; again < 2; again++) {
        assert_int_equal(datadir_keep_modes(&d), 0);
        assert_int_equal(settings_keep(&d), 0);
        assert_string_equal(get("data.walferry-new/conf.d/tuning"), "of this host");
        assert_string_equal(get("data.walferry-new/root.crl"), "of this host");
        assert_string_equal(get("data.walferry-new/admins"), "of this host");
        assert_false(there("data.walferry-new/conf.d/primary.conf"));
        assert_false(there("data.walferry-new/pg_xact/no.conf"));
        assert_false(there("data.walferry-new/notes"));
        assert_int_equal(mode_of("data.walferry-new"), 0750);
        assert_int_equal(mode_of("data.walferry-new/base"), 0750);
        assert_int_equal(mode_of("data.walferry-new/base/1"), 0640);
        assert_int_equal(mode_of("data.walferry-new/conf.d/memory.conf"), 0640);
        assert_int_equal(mode_of("data.walferry-new/server.key"), 0600);
        assert_int_equal(mode_of("data.walferry-new/admins"), 0644);
    }
    assert_int_equal(standby_settings_write(&job, in_root("data.walferry-new")), 0);
    assert_int_equal(mode_of("data.walferry-new/postgresql.auto.conf"), 0640);
    assert_int_equal(mode_of("data.walferry-new/standby.signal"), 0640);
    assert_int_equal(datadir_discard(&d), 0);
}

static void
test_datadir_counts_the_room_of_one_file_system_once(void **state)
{
    struct datadir d;
    uint64_t room;

    (void)state;
    assert_int_equal(durable_free(job.dir, &room), 0);
    assert_int_equal(datadir_init(&d, config.member[0].pgdata), 0);
    assert_int_equal(datadir_room(&d, room / 2), 0);
    assert_int_equal(datadir_room(&d, room * 2), ERR_USAGE);
    assert_non_null(strstr(fail_message(), "are free"));
    assert_int_equal(datadir_place(&d, "79", in_root("free"), room / 4 * 3, NULL), 0);
    assert_int_equal(datadir_room(&d, room / 2), ERR_USAGE); /* both together are too much */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_job_runs_one_at_a_time),
        cmocka_unit_test(test_job_journal_comes_back),
        cmocka_unit_test(test_job_reads_lines_and_says_the_last_when_a_tool_fails),
        cmocka_unit_test(test_job_reads_a_line_of_megabytes),
        cmocka_unit_test(test_job_settings_replace_ours_and_leave_others),
        cmocka_unit_test(test_job_settings_of_a_copy_are_whole),
        cmocka_unit_test(test_hold_lasts_a_day),
        cmocka_unit_test(test_job_start_command_that_gives_up_is_no_failure),
        cmocka_unit_test(test_job_waits_for_a_server_that_is_stopping),
        cmocka_unit_test(test_follow_counts_what_is_applied_before_it_takes_connections),
        cmocka_unit_test(test_follow_does_not_count_what_only_came),
        cmocka_unit_test(test_follow_starts_once_what_has_ended),
        cmocka_unit_test(test_datadir_swaps_and_follows_no_link),
        cmocka_unit_test(test_datadir_keeps_what_is_this_hosts),
        cmocka_unit_test(test_datadir_refuses_what_is_not_its_own),
        cmocka_unit_test(test_datadir_counts_the_room_of_one_file_system_once),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: PostgreSQL */
/* The agent's view of its PostgreSQL, by the role and the rights that walferry-setup(7) asks for. */
#include "postgres/postgres.h"
#include "postgres/control_file.h"

#include "base/clock.h"
#include "base/fail.h"
#include "support/server.h"
#include "unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define give_up(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))
#define WAIT_US      (20 * SECOND_US)

static struct server primary;

static struct postgres *
open_as(const struct server *s, const char *user)
{
    struct postgres *p;
    char conninfo[160];

    snprintf(conninfo, sizeof conninfo, "host=%s port=5432 user=%s dbname=postgres", s->root, user);
    p = postgres_new(conninfo);
    assert_non_null(p);
    return p;
}

static int
turn(struct postgres *p)
{
    static struct loop loop;

    loop_begin(&loop);
    postgres_watch(p, &loop);
    loop_due(&loop, clock_us() + 50 * MILLISECOND_US);
    assert_int_equal(loop_wait(&loop), 0);
    return postgres_run(p, &loop, clock_us());
}

static void
run_until_state(struct postgres *p, enum postgres_state state)
{
    int64_t until_us = clock_us() + WAIT_US;

    while (postgres_state(p) != state) {
        turn(p);
        if (clock_us() > until_us)
            give_up("state %d, not %d: %s", postgres_state(p), state, postgres_reason(p));
    }
}

static const struct postgres_sample *
next_sample(struct postgres *p)
{
    int64_t until_us = clock_us() + WAIT_US, now_us = clock_us();

    while (postgres_sample(p) == NULL || postgres_sample(p)->mono_us < now_us) {
        turn(p);
        if (clock_us() > until_us)
            give_up("no sample after 20 s: %s", postgres_reason(p));
    }
    return postgres_sample(p);
}

static const char *
run_command(struct postgres *p, enum postgres_command command, const char *argument)
{
    int64_t until_us = clock_us() + WAIT_US;
    const char *error;

    assert_true(postgres_ask(p, command, argument));
    assert_false(postgres_ask(p, command, argument)); /* one at a time */
    while (!postgres_done(p, &error)) {
        turn(p);
        if (clock_us() > until_us)
            give_up("no end of the command after 20 s");
    }
    assert_false(postgres_done(p, &error)); /* told once */
    return error;
}

static void
assert_has(const char *text, const char *words)
{
    if (text == NULL || strstr(text, words) == NULL)
        give_up("\"%s\" does not say \"%s\"", text != NULL ? text : "(nothing)", words);
}

static int
make_primary(void **state)
{
    (void)state;
    server_make(&primary, 1, "synchronous_standby_names = ''\n");
    server_start(&primary);
    server_sql(&primary, "create role walferry login replication");
    server_sql(&primary, "grant pg_monitor to walferry");
    server_sql(&primary,
               "grant execute on function pg_catalog.pg_promote, pg_catalog.pg_wal_replay_resume, "
               "pg_catalog.pg_reload_conf to walferry");
    server_sql(&primary, "create role stranger login");
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
test_postgres_samples_a_primary(void **state)
{
    struct postgres *p = open_as(&primary, "walferry");
    const struct postgres_sample *s;
    lsn_t before;
    int64_t wall_us;

    (void)state;
    assert_int_equal(postgres_state(p), POSTGRES_UNKNOWN);
    assert_null(postgres_sample(p));
    assert_int_equal(postgres_identity(p)->system_identifier, 0);
    server_sql(&primary, "select pg_create_physical_replication_slot('walferry_dc2_a', true)");
    server_sql(&primary, "select pg_create_physical_replication_slot('walferry_dc2_b')");
    server_sql(&primary, "select pg_create_physical_replication_slot('walferryx')");
    before = server_lsn(&primary, "pg_current_wal_insert_lsn()");
    wall_us = clock_wall_us();
    s = next_sample(p);
    assert_int_equal(postgres_state(p), POSTGRES_UP);
    assert_string_equal(postgres_reason(p), "");
    assert_false(s->in_recovery);
    assert_int_equal(s->timeline, 1);
    assert_int_in_range(s->insert, before, before + 65536);
    assert_int_in_range(s->flush, before - 65536, s->insert);
    assert_int_equal(s->replay, LSN_UNKNOWN);
    assert_int_in_range(s->wall_us, wall_us, clock_wall_us());
    assert_string_equal(s->synchronous_standby_names, "");
    assert_int_equal(s->slots, 2);
    for (size_t i = 0; i < s->slots; i++) {
        bool a = strcmp(s->slot[i].name, "walferry_dc2_a") == 0;

        assert_true(a || strcmp(s->slot[i].name, "walferry_dc2_b") == 0);
        assert_int_equal(s->slot[i].restart_lsn != LSN_UNKNOWN, a);
        assert_false(s->slot[i].active || s->slot[i].lost);
    }
    assert_int_equal(postgres_identity(p)->segment_bytes, 1 << 20);
    assert_int_equal(
        postgres_identity(p)->system_identifier,
        strtoull(server_sql(&primary, "select system_identifier from pg_control_system()"), NULL,
                 10));
    assert_int_equal(postgres_identity(p)->postgres_major * 10000 / 10000,
                     strtoul(server_sql(&primary, "show server_version_num"), NULL, 10) / 10000);
    postgres_free(p);
    server_sql(&primary, "select pg_drop_replication_slot(slot_name) from pg_replication_slots");
}

/* What is called like PostgreSQL's own, in a schema that the role searches first, is not asked. */
static void
test_postgres_is_not_led_astray_by_a_search_path(void **state)
{
    struct postgres *p;

    (void)state;
    server_sql(
        &primary,
        "create schema astray; grant usage on schema astray to walferry;"
        "create function astray.pg_is_in_recovery() returns bool language sql as 'select true';"
        "create function astray.wrong(text, text) returns text language sql as $$select 'wrong'$$;"
        "create operator astray.|| (leftarg = text, rightarg = text, function = astray.wrong);"
        "create view astray.pg_replication_slots as select 1 as slot_name;"
        "alter role walferry set search_path = astray, pg_catalog");
    server_sql(&primary, "select pg_create_physical_replication_slot('walferry_dc2_a', true)");
    p = open_as(&primary, "walferry");
    assert_false(next_sample(p)->in_recovery);
    assert_int_equal(postgres_sample(p)->slots, 1);
    assert_string_equal(postgres_sample(p)->slot[0].name, "walferry_dc2_a");
    postgres_free(p);
    server_sql(&primary, "alter role walferry reset search_path");
    server_sql(&primary, "select pg_drop_replication_slot(slot_name) from pg_replication_slots");
}

static void
test_postgres_tells_what_else_keeps_wal(void **state)
{
    struct postgres *p = open_as(&primary, "walferry");
    const struct postgres_sample *s;

    (void)state;
    server_sql(&primary, "select pg_create_physical_replication_slot('walferry_dc2_a', true)");
    server_sql(&primary, "select pg_create_physical_replication_slot('keeps_nothing')");
    s = next_sample(p);
    assert_string_equal(s->other_slot, "");
    assert_int_equal(s->wal_keep_bytes, 0);
    assert_false(s->archiving);
    server_sql(&primary, "select pg_create_physical_replication_slot('other', true)");
    server_sql(&primary, "create table kept (i int)");
    server_sql(&primary, "checkpoint");
    server_sql(&primary, "select pg_create_physical_replication_slot('newer', true)");
    server_sql(&primary, "alter system set wal_keep_size = '3MB'");
    server_sql(&primary, "select pg_reload_conf()");
    for (int i = 0; i < 50 && next_sample(p)->wal_keep_bytes == 0; i++)
        ;
    s = postgres_sample(p);
    assert_int_equal(s->wal_keep_bytes, 3 << 20);
    assert_string_equal(s->other_slot, "other");
    assert_int_equal(
        s->other_lsn,
        server_lsn(&primary,
                   "(select restart_lsn from pg_replication_slots where slot_name = 'other')"));
    assert_int_equal(s->slots, 1);
    postgres_free(p);
    server_sql(&primary, "alter system reset wal_keep_size");
    server_sql(&primary, "select pg_reload_conf()");
    server_sql(&primary, "select pg_drop_replication_slot(slot_name) from pg_replication_slots");
}

static void
test_postgres_samples_many_slots(void **state)
{
    struct postgres *p = open_as(&primary, "walferry");
    const struct postgres_sample *s;

    (void)state;
    server_sql(
        &primary,
        "select pg_create_physical_replication_slot('walferry_' || repeat('x', 52) || lpad(i::text, 2, '0'), true) "
        "from generate_series(1, 8) i");
    s = next_sample(p);
    assert_int_equal(s->slots, 8);
    for (size_t i = 0; i < s->slots; i++) {
        assert_int_equal(strlen(s->slot[i].name), 63);
        assert_true(s->slot[i].restart_lsn != LSN_UNKNOWN);
    }
    postgres_free(p);
    server_sql(&primary, "select pg_drop_replication_slot(slot_name) from pg_replication_slots");
}

static void
test_postgres_runs_commands(void **state)
{
    struct postgres *p = open_as(&primary, "walferry");

    (void)state;
    assert_false(postgres_ask(p, POSTGRES_RELOAD, NULL)); /* not before it is up */
    next_sample(p);
    assert_null(run_command(p, POSTGRES_MAKE_SLOT, "walferry_dc2_a"));
    assert_null(run_command(p, POSTGRES_MAKE_SLOT, "walferry_dc2_a")); /* there already is fine */
    assert_int_equal(next_sample(p)->slots, 1);
    assert_true(postgres_sample(p)->slot[0].restart_lsn != LSN_UNKNOWN);
    server_sql(&primary, "alter system set synchronous_standby_names = 'walferry_dc2_a'");
    assert_null(run_command(p, POSTGRES_RELOAD, NULL));
    for (int i = 0; i < 50 && postgres_sample(p)->synchronous_standby_names[0] == '\0'; i++)
        next_sample(p);
    assert_string_equal(postgres_sample(p)->synchronous_standby_names, "walferry_dc2_a");
    server_sql(&primary, "alter system reset synchronous_standby_names");
    assert_null(run_command(p, POSTGRES_RELOAD, NULL));
    assert_null(run_command(p, POSTGRES_REPLAY_RESUME, NULL)); /* there is nothing to resume */
    assert_int_equal(postgres_state(p), POSTGRES_UP);
    postgres_free(p);
    server_sql(&primary, "select pg_drop_replication_slot(slot_name) from pg_replication_slots");
}

static void
test_postgres_tells_what_a_promotion_needs(void **state)
{
    struct postgres *p = open_as(&primary, "walferry"), *q = open_as(&primary, "stranger");
    int slots, walsenders, fewer;

    (void)state;
    next_sample(p);
    assert_null(run_command(p, POSTGRES_READY, NULL));
    assert_int_equal(sscanf(postgres_answer(p), "tttt %d %d", &slots, &walsenders), 2);
    assert_true(slots > 0 && walsenders > 0);
    assert_null(run_command(p, POSTGRES_MAKE_SLOT, "walferry_dc2_a"));
    assert_null(run_command(p, POSTGRES_READY, NULL));
    assert_int_equal(sscanf(postgres_answer(p), "tttt %d", &fewer), 1);
    assert_int_equal(fewer, slots - 1);
    postgres_free(p);
    next_sample(q);
    assert_null(run_command(q, POSTGRES_READY, NULL));
    assert_int_equal(strncmp(postgres_answer(q), "ffff ", 5), 0);
    postgres_free(q);
    server_sql(&primary, "select pg_drop_replication_slot(slot_name) from pg_replication_slots");
}

/* What a transaction wrote that was rolled back before it had a number, nobody writes out. */
static void
test_postgres_stirs_what_lies_in_memory(void **state)
{
    struct postgres *p = open_as(&primary, "walferry");
    int64_t until_us = clock_us() + 5 * SECOND_US; /* the background writer would, each 15 s */
    lsn_t end;

    (void)state;
    server_sql(&primary, "begin; select pg_logical_emit_message(false, 'test', 'x'); rollback");
    end = next_sample(p)->insert;
    postgres_force_flush(p);
    while (next_sample(p)->flush < end)
        assert_true(clock_us() < until_us);
    assert_int_equal(postgres_state(p), POSTGRES_UP);
    postgres_free(p);
}

static void
test_postgres_names_a_missing_right(void **state)
{
    struct postgres *p;

    (void)state;
    server_sql(&primary, "revoke execute on function pg_catalog.pg_reload_conf from walferry");
    p = open_as(&primary, "walferry");
    next_sample(p);
    assert_has(run_command(p, POSTGRES_RELOAD, NULL),
               "GRANT EXECUTE ON FUNCTION pg_reload_conf TO walferry");
    server_sql(&primary, "grant execute on function pg_catalog.pg_reload_conf to walferry");
    assert_null(run_command(p, POSTGRES_RELOAD, NULL));
    postgres_free(p);

    p = open_as(&primary, "stranger");
    next_sample(p); /* what it may not see of a primary, nobody needs to be granted */
    assert_has(run_command(p, POSTGRES_RELOAD, NULL),
               "GRANT EXECUTE ON FUNCTION pg_reload_conf TO stranger");
    assert_has(run_command(p, POSTGRES_MAKE_SLOT, "walferry_x"), "ALTER ROLE stranger REPLICATION");
    postgres_free(p);

    p = open_as(&primary, "nobody_at_all");
    run_until_state(p, POSTGRES_DOWN);
    assert_has(postgres_reason(p), "role \"nobody_at_all\" does not exist");
    postgres_free(p);
}

static void
test_postgres_samples_a_standby_and_promotes_it(void **state)
{
    struct server standby;
    struct postgres *p;
    const struct postgres_sample *s;
    lsn_t lsn;
    int64_t until_us = clock_us() + WAIT_US;

    (void)state;
    server_copy(&standby, &primary);
    server_start(&standby);
    p = open_as(&standby, "walferry");
    server_sql(&primary, "create table replayed (i int)");
    lsn = server_lsn(&primary, "pg_current_wal_flush_lsn()");
    do
        s = next_sample(p);
    while (s->replay < lsn && clock_us() < until_us);
    assert_true(s->in_recovery);
    assert_int_equal(s->insert, LSN_UNKNOWN);
    assert_true(s->replay >= lsn && s->flush >= lsn);
    assert_int_equal(s->timeline, 1);
    assert_false(s->replay_paused);
    assert_int_equal(s->slots, 0);
    assert_true(s->checkpoint.timeline == 1 && s->recovery_end.timeline == 1);
    assert_int_in_range(s->checkpoint.lsn, 1, s->replay);
    assert_int_in_range(s->recovery_end.lsn, 1, s->replay);
    server_sql(&standby, "select pg_wal_replay_pause()");
    assert_true(next_sample(p)->replay_paused);
    assert_null(run_command(p, POSTGRES_REPLAY_RESUME, NULL));
    assert_false(next_sample(p)->replay_paused);
    assert_null(run_command(p, POSTGRES_PROMOTE, NULL));
    do { /* through the change itself it is never away */
        s = next_sample(p);
        assert_int_equal(postgres_state(p), POSTGRES_UP);
    } while (s->in_recovery && clock_us() < until_us);
    assert_false(s->in_recovery);
    assert_int_equal(s->timeline, 2);
    assert_true(s->insert > lsn);
    assert_null(run_command(p, POSTGRES_PROMOTE, NULL)); /* what is so already is no failure */
    postgres_free(p);
    server_remove(&standby);
}

static void
test_postgres_tells_a_slot_that_lost_its_wal(void **state)
{
    struct server s;
    struct postgres *p;

    (void)state;
    server_make(&s, 1, "max_wal_size = 2MB\nmin_wal_size = 2MB\nmax_slot_wal_keep_size = 1MB\n");
    server_start(&s);
    p = open_as(&s, "postgres");
    next_sample(p);
    assert_null(run_command(p, POSTGRES_MAKE_SLOT, "walferry_dc2_a"));
    server_sql(&s, "select pg_create_physical_replication_slot('other', true)");
    assert_false(next_sample(p)->slot[0].lost);
    assert_string_equal(postgres_sample(p)->other_slot, "other");
    server_sql(&s,
               "create table t as select repeat(md5(i::text), 31) from generate_series(1, 8000) i");
    server_sql(&s, "checkpoint");
    assert_true(next_sample(p)->slot[0].lost);
    assert_string_equal(postgres_sample(p)->other_slot, ""); /* that one keeps nothing, too */
    assert_null(run_command(p, POSTGRES_MAKE_SLOT, "walferry_dc2_a"));
    assert_false(next_sample(p)->slot[0].lost);
    assert_true(postgres_sample(p)->slot[0].restart_lsn != LSN_UNKNOWN);
    postgres_free(p);
    server_remove(&s);
}

static void
test_postgres_tells_how_long_a_slot_is_unused(void **state)
{
    long version = strtol(server_sql(&primary, "show server_version_num"), NULL, 10);
    struct server s;
    struct postgres *p;
    const struct postgres_slot *slot;

    (void)state;
    server_make(&s, 1, "");
    server_start(&s);
    if (version >= 180000) {
        server_sql(&s, "alter system set idle_replication_slot_timeout = '1s'");
        server_sql(&s, "select pg_reload_conf()");
    }
    p = open_as(&s, "postgres");
    next_sample(p);
    assert_null(run_command(p, POSTGRES_MAKE_SLOT, "walferry_dc2_a"));
    slot = &next_sample(p)->slot[0];
    assert_string_equal(slot->name, "walferry_dc2_a");
    assert_string_equal(slot->invalid, "");
    assert_int_equal(slot->unused_us >= 0, version >= 170000);
    assert_int_equal(postgres_sample(p)->slot_timeout_us, version >= 180000 ? SECOND_US : 0);
    while (version >= 180000 && !postgres_sample(p)->slot[0].lost) { /* a checkpoint strikes */
        server_sql(&s, "select txid_current(); checkpoint");
        next_sample(p);
    }
    if (version >= 180000)
        assert_string_equal(postgres_sample(p)->slot[0].invalid, "idle_timeout");
    postgres_free(p);
    server_remove(&s);
}

/* Under a locale that is not English the words do not help. */
static void
test_postgres_tells_stopping_down_and_up_again(void **state)
{
    struct postgres *p = open_as(&primary, "walferry");
    int64_t mono_us;

    (void)state;
    next_sample(p);
    kill(primary.pid, SIGINT);
    run_until_state(p, POSTGRES_STOPPING);
    assert_true(postgres_reason(p)[0] != '\0');
    server_stop(&primary, SIGINT);
    mono_us = postgres_sample(p)->mono_us;
    run_until_state(p, POSTGRES_DOWN);
    assert_has(postgres_reason(p), "No such file");
    assert_int_equal(postgres_sample(p)->mono_us, mono_us); /* the last one stays */
    assert_false(postgres_ask(p, POSTGRES_RELOAD, NULL));
    server_start(&primary);
    run_until_state(p, POSTGRES_UP);
    assert_string_equal(postgres_reason(p), "");

    /* smart: it ends when its sessions do, new ones are refused meanwhile */
    next_sample(p);
    server_stop(&primary, SIGKILL);
    run_until_state(p, POSTGRES_DOWN);
    server_start(&primary);
    run_until_state(p, POSTGRES_UP);
    postgres_free(p);
}

static void
test_postgres_tells_starting(void **state)
{
    struct server standby;
    struct postgres *p;

    (void)state;
    server_copy(&standby, &primary);
    server_sql(&primary, "select 1");
    /* without hot_standby it never takes a session: 57P03 */
    {
        char path[128];
        FILE *file;

        snprintf(path, sizeof path, "%s/postgresql.conf", standby.pgdata);
        file = fopen(path, "a");
        assert_non_null(file);
        fputs("hot_standby = off\n", file);
        fclose(file);
    }
    standby.pid = server_spawn(&standby, "postgres", "-D", standby.pgdata, NULL);
    p = open_as(&standby, "walferry");
    run_until_state(p, POSTGRES_STARTING);
    assert_has(postgres_reason(p), "the database system is ");
    assert_null(postgres_sample(p));
    postgres_free(p);
    server_remove(&standby);
}

static void
test_postgres_gives_up_a_server_that_is_silent(void **state)
{
    struct postgres *p = open_as(&primary, "walferry");
    long backend;
    int64_t began_us;
    const char *error = NULL;

    (void)state;
    next_sample(p);
    backend =
        strtol(server_sql(&primary,
                          "select pid from pg_stat_activity where application_name = 'walferry'"),
               NULL, 10);
    assert_true(backend > 1);
    kill((pid_t)backend, SIGSTOP);
    assert_true(postgres_ask(p, POSTGRES_RELOAD, NULL));
    began_us = clock_us();
    run_until_state(p, POSTGRES_DOWN);
    assert_int_in_range(clock_us() - began_us, 4 * SECOND_US, 7 * SECOND_US);
    assert_has(postgres_reason(p), "does not answer within 5 s");
    assert_true(postgres_done(p, &error));
    assert_has(error, "was lost meanwhile");
    kill((pid_t)backend, SIGCONT);
    run_until_state(p, POSTGRES_UP);
    postgres_free(p);
}

static void
test_postgres_reads_a_data_directory(void **state)
{
    struct identity i = {0};

    (void)state;
    assert_int_equal(control_file_identity(primary.pgdata, &i), 0);
    assert_int_equal(
        i.system_identifier,
        strtoull(server_sql(&primary, "select system_identifier from pg_control_system()"), NULL,
                 10));
    assert_int_equal(i.postgres_major,
                     strtoul(server_sql(&primary, "show server_version_num"), NULL, 10) / 10000);
    assert_int_equal(control_file_identity("/nowhere", &i), ERR_LOCAL);
    assert_has(fail_message(), "/nowhere");
    assert_int_equal(control_file_identity(primary.root, &i), ERR_LOCAL);
    assert_has(fail_message(), "global/pg_control");
}

static void
assert_start(const struct server *s, bool opens_writable, bool ran_writable)
{
    const char *bindir =
        server_sql(&primary, "select setting from pg_config where name = 'BINDIR'");
    struct control_file whole;
    struct control_start start;

    assert_int_equal(control_file_start(s->pgdata, &start), 0);
    assert_int_equal(control_file_read(bindir, s->pgdata, &whole), 0);
    assert_int_equal(start.opens_writable, opens_writable);
    assert_int_equal(start.ran_writable, ran_writable);
    assert_int_equal(start.timeline, whole.timeline);
    assert_int_equal(start.checkpoint.lsn, whole.checkpoint);
    assert_int_equal(start.recovery_end.lsn, whole.recovery_end);
    assert_int_equal(start.recovery_end.timeline, whole.recovery_timeline);
}

/* As of a promotion that was through and ended before the first checkpoint behind it. */
static void
set_recovery_timeline(const struct server *s, timeline_t timeline)
{
    char path[sizeof s->pgdata + 32];
    int fd;

    snprintf(path, sizeof path, "%s/global/pg_control", s->pgdata);
    fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, &timeline, sizeof timeline, 144), sizeof timeline);
    close(fd);
}

static void
test_postgres_control_file_that_is_torn(void **state)
{
    struct server copy;
    struct control_file control;
    char bindir[256], path[256];
    FILE *file;

    (void)state;
    snprintf(bindir, sizeof bindir, "%s",
             server_sql(&primary, "select setting from pg_config where name = 'BINDIR'"));
    server_copy(&copy, &primary);
    assert_int_equal(control_file_read(bindir, copy.pgdata, &control), 0);
    assert_false(control.torn);
    snprintf(path, sizeof path, "%s/global/pg_control", copy.pgdata);
    file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 24, SEEK_SET), 0); /* its time */
    fputs("torn", file);
    fclose(file);
    assert_int_equal(control_file_read(bindir, copy.pgdata, &control), 0);
    assert_true(control.torn);
    server_remove(&copy);
}

static void
test_postgres_tells_what_a_start_would_be(void **state)
{
    struct server standby;
    struct control_start start;

    (void)state;
    server_copy(&standby, &primary);
    assert_start(&standby, false, false); /* its pg_control is the primary's */
    server_start(&standby);
    server_stop(&standby, SIGINT);
    assert_start(&standby, false, false);
    server_start(&standby);
    server_sql(&standby, "select pg_promote()");
    server_sql(&standby, "checkpoint");
    server_stop(&standby, SIGQUIT);
    assert_start(&standby, true, true);
    assert_int_equal(control_file_start(standby.pgdata, &start), 0);
    assert_int_equal(start.timeline, 2);
    server_start(&standby);
    server_stop(&standby, SIGINT);
    assert_start(&standby, true, true);
    set_recovery_timeline(&standby, 3);
    assert_int_equal(control_file_start(standby.pgdata, &start), 0);
    assert_int_equal(start.timeline, 3);
    server_remove(&standby);
    assert_int_equal(control_file_start("/nowhere", &start), ERR_LOCAL);
    assert_int_equal(control_file_start(primary.root, &start), ERR_LOCAL);
    assert_has(fail_message(), "global/pg_control");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_postgres_samples_a_primary),
        cmocka_unit_test(test_postgres_is_not_led_astray_by_a_search_path),
        cmocka_unit_test(test_postgres_tells_what_else_keeps_wal),
        cmocka_unit_test(test_postgres_samples_many_slots),
        cmocka_unit_test(test_postgres_runs_commands),
        cmocka_unit_test(test_postgres_tells_what_a_promotion_needs),
        cmocka_unit_test(test_postgres_stirs_what_lies_in_memory),
        cmocka_unit_test(test_postgres_names_a_missing_right),
        cmocka_unit_test(test_postgres_samples_a_standby_and_promotes_it),
        cmocka_unit_test(test_postgres_tells_a_slot_that_lost_its_wal),
        cmocka_unit_test(test_postgres_tells_how_long_a_slot_is_unused),
        cmocka_unit_test(test_postgres_tells_stopping_down_and_up_again),
        cmocka_unit_test(test_postgres_tells_starting),
        cmocka_unit_test(test_postgres_gives_up_a_server_that_is_silent),
        cmocka_unit_test(test_postgres_reads_a_data_directory),
        cmocka_unit_test(test_postgres_control_file_that_is_torn),
        cmocka_unit_test(test_postgres_tells_what_a_start_would_be),
    };

    return cmocka_run_group_tests(tests, make_primary, remove_primary);
}

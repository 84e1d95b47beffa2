/* SPDX-License-Identifier: PostgreSQL */
/* commits: what is written for PostgreSQL when links come up, fall silent and come back. */
#include "unit/unit.h"

#include "links/commits.h"

#include "base/clock.h"
#include "base/durable.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BOTH "ANY 1 (walferry_dc2_a, walferry_dc2_b)"

const struct postgres_sample *__wrap_postgres_sample(const struct postgres *p);
enum postgres_state __wrap_postgres_state(const struct postgres *p);
bool __wrap_postgres_ask(struct postgres *p, enum postgres_command command, const char *argument);

static struct config config = {.member = {{.name = "dc1-a", .site = "dc1"},
                                          {.name = "dc2-a", .site = "dc2"},
                                          {.name = "dc1-b", .site = "dc1"},
                                          {.name = "dc2-b", .site = "dc2"}},
                               .members = 4};
static struct spool spool;
static struct who who;
static struct outgoing out; /* to dc2-a, dc2-b, dc1-b */
static struct postgres_sample sample;
static enum postgres_state server;
static int reloads;

const struct postgres_sample *
__wrap_postgres_sample(const struct postgres *p)
{
    (void)p;
    return &sample;
}

enum postgres_state
__wrap_postgres_state(const struct postgres *p)
{
    (void)p;
    return server;
}

bool
__wrap_postgres_ask(struct postgres *p, enum postgres_command command, const char *argument)
{
    (void)p;
    (void)argument;
    assert_int_equal(command, POSTGRES_RELOAD);
    reloads++;
    return true;
}

/* What PostgreSQL reads when it is told to. */
static void
reload(void)
{
    char text[400] = "";
    ssize_t length = durable_load(spool.dir, "walferry.conf", text, sizeof text - 1);

    assert_true(length > 0);
    text[length] = '\0';
    sample.synchronous_standby_names[0] = '\0';
    (void)sscanf(text, "synchronous_standby_names = '%319[^']", sample.synchronous_standby_names);
}

enum { DC2_A = 1, DC2_B = 2, MIRROR = 4 };

/* A second passes; these links confirm what was committed in it. What is written is read at once. */
static void
turn(int confirming)
{
    int before = reloads;

    sample.mono_us += SECOND_US;
    sample.flush += 100;
    for (int i = 0; i < 3; i++)
        if ((confirming >> i & 1) != 0) {
            struct sender *s = &out.link[i].sender;

            out.link[i].state = LINK_SHIPPING;
            s->far_compared = true;
            s->far.flushed = sample.flush;
            s->flushed.covered = (struct beacon){.lsn = sample.flush, .mono_us = sample.mono_us};
        }
    commits_keep(&out);
    if (reloads > before)
        reload();
}

static void
turns(int count, int confirming)
{
    while (count-- > 0)
        turn(confirming);
}

static const char *
names(void)
{
    return sample.synchronous_standby_names;
}

static int
make_folder(void **state)
{
    snprintf(spool.path, sizeof spool.path, "/tmp/wf-commits-XXXXXX");
    (void)state;
    return mkdtemp(spool.path) == NULL || durable_dir(spool.path, &spool.dir) < 0;
}

static int
remove_folder(void **state)
{
    (void)state;
    durable_remove(spool.dir, "walferry.conf");
    durable_close(spool.dir);
    return rmdir(spool.path);
}

static int
make(void **state)
{
    static const char *const order[] = {"dc2-a", "dc2-b", "dc1-b"};

    (void)state;
    durable_remove(spool.dir, "walferry.conf");
    config.synchronous = SYNCHRONOUS_SITE;
    config.synchronous_degrades = true;
    config.synchronous_wait_us = 5 * SECOND_US;
    who = (struct who){.config = &config,
                       .self = &config.member[0],
                       .role = ROLE_PRIMARY,
                       .ships = true,
                       .spool = &spool};
    out = (struct outgoing){.who = &who, .links = 3, .far = 2};
    for (size_t i = 0; i < 3; i++) {
        snprintf(out.link[i].member, sizeof out.link[i].member, "%s", order[i]);
        config_slot_name(out.slot_name[i], order[i]);
    }
    sample = (struct postgres_sample){.flush = 1000, .mono_us = 1000 * SECOND_US};
    server = POSTGRES_UP;
    reloads = 0;
    return 0;
}

static void
test_commits_wait_for_who_is_level(void **state)
{
    (void)state;
    turns(10, MIRROR);
    assert_string_equal(names(), "");
    turn(DC2_B);
    assert_string_equal(names(), BOTH);
    turns(3, DC2_A);
    assert_int_equal(reloads, 1);
}

/* The last that it confirmed is of the second 0. */
static void
test_commits_go_on_when_nobody_confirms_for_synchronous_wait(void **state)
{
    (void)state;
    turn(DC2_A);
    turns(3, 0);
    assert_string_equal(names(), BOTH);
    turn(0); /* the next one would be over the limit */
    assert_string_equal(names(), "");
    turns(5, 0);
    assert_int_equal(reloads, 2);
    turn(DC2_B);
    assert_string_equal(names(), BOTH);
}

static void
test_commits_wait_on_where_the_pool_waits(void **state)
{
    (void)state;
    config.synchronous_degrades = false;
    turn(DC2_A);
    turns(100, 0);
    assert_string_equal(names(), BOTH);
    assert_int_equal(reloads, 1);
}

static void
test_commits_do_not_count_what_may_be_of_another_lineage(void **state)
{
    (void)state;
    turn(DC2_A);
    out.link[0].sender.far.fenced = true;
    turns(4, DC2_A);
    assert_string_equal(names(), "");
    turn(DC2_A);
    assert_string_equal(names(), "");
    out.link[0].sender.far.fenced = false;
    turn(DC2_A);
    assert_string_equal(names(), BOTH);
}

/* PostgreSQL or this agent: nobody was asked for a confirmation. */
static void
test_commits_are_patient_with_members_after_an_absence_here(void **state)
{
    (void)state;
    turn(DC2_A);
    sample.mono_us += 60 * SECOND_US;
    turns(4, 0);
    assert_string_equal(names(), BOTH);
    turn(0);
    assert_string_equal(names(), "");
}

/* ... for another one may take commits by then. */
static void
test_commits_do_not_go_on_alone_on_a_primary_that_may_be_replaced(void **state)
{
    (void)state;
    turn(DC2_A);
    who.pool.promised.number = 2;
    turns(20, 0);
    assert_string_equal(names(), BOTH);
    who.pool.promised.number = 0;
    who.ships = false;
    turns(20, 0);
    assert_string_equal(names(), BOTH);
    who.ships = true;
    turn(0);
    assert_string_equal(names(), "");
}

static void
test_commits_of_a_standby_wait_for_nobody(void **state)
{
    (void)state;
    turn(DC2_A);
    who.role = ROLE_FENCED;
    turns(20, 0);
    assert_string_equal(names(), BOTH);
    who.role = ROLE_STANDBY;
    turns(20, 0); /* it was promoted by hand before we saw it: its commits are not the pool's */
    assert_string_equal(names(), BOTH);
    sample.in_recovery = true;
    turn(0);
    assert_string_equal(names(), "");
    turns(3, 0);
    assert_int_equal(reloads, 2);
}

static void
test_commits_leave_alone_what_was_set_elsewhere(void **state)
{
    (void)state;
    snprintf(sample.synchronous_standby_names, sizeof sample.synchronous_standby_names, "other");
    turns(3, DC2_A);
    assert_int_equal(reloads, 0);
    sample.synchronous_standby_names[0] = '\0';
    turns(3, DC2_A);
    assert_int_equal(reloads, 1);
    snprintf(sample.synchronous_standby_names, sizeof sample.synchronous_standby_names, "other");
    turns(20, 0);
    config.synchronous = SYNCHRONOUS_OFF;
    turns(20, 0);
    assert_int_equal(reloads, 1);
    assert_string_equal(names(), "other");
}

static void
test_commits_change_whom_they_wait_for(void **state)
{
    (void)state;
    config.synchronous_degrades = false;
    turn(DC2_A);
    config.synchronous = SYNCHRONOUS_MIRROR;
    turn(0);
    assert_string_equal(names(), "walferry_dc1_b");
    config.synchronous = SYNCHRONOUS_OFF;
    turn(0);
    assert_string_equal(names(), "");
}

/* PostgreSQL was away when it was told to. */
static void
test_commits_ask_again_for_a_reload_that_was_lost(void **state)
{
    (void)state;
    turn(DC2_A);
    config.synchronous = SYNCHRONOUS_MIRROR;
    turn(MIRROR);
    snprintf(sample.synchronous_standby_names, sizeof sample.synchronous_standby_names, BOTH);
    turn(MIRROR);
    assert_string_equal(names(), "walferry_dc1_b");
}

static void
test_commits_lack_whom_the_file_names(void **state)
{
    char why[200];

    (void)state;
    turn(0);
    assert_true(commits_lack(&out, why, sizeof why));
    assert_string_equal(why, "commits do not wait for the other site");
    turn(DC2_B);
    assert_false(commits_lack(&out, why, sizeof why));
    who.role = ROLE_FENCED;
    assert_false(commits_lack(&out, why, sizeof why));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_commits_wait_for_who_is_level, make),
        cmocka_unit_test_setup(test_commits_go_on_when_nobody_confirms_for_synchronous_wait, make),
        cmocka_unit_test_setup(test_commits_wait_on_where_the_pool_waits, make),
        cmocka_unit_test_setup(test_commits_do_not_count_what_may_be_of_another_lineage, make),
        cmocka_unit_test_setup(test_commits_are_patient_with_members_after_an_absence_here, make),
        cmocka_unit_test_setup(test_commits_do_not_go_on_alone_on_a_primary_that_may_be_replaced,
                               make),
        cmocka_unit_test_setup(test_commits_of_a_standby_wait_for_nobody, make),
        cmocka_unit_test_setup(test_commits_leave_alone_what_was_set_elsewhere, make),
        cmocka_unit_test_setup(test_commits_change_whom_they_wait_for, make),
        cmocka_unit_test_setup(test_commits_ask_again_for_a_reload_that_was_lost, make),
        cmocka_unit_test_setup(test_commits_lack_whom_the_file_names, make),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

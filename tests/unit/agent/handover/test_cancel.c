/* SPDX-License-Identifier: PostgreSQL */
/* What `walferry failover --cancel`, Ctrl-C and `--break-promise` end, and what they leave alone. */
#include "unit/unit.h"

#include "handover/failover.h"

#include "base/durable.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLIENT 7

static char path[] = "/tmp/walferry-test-cancel-XXXXXX"; /* the spool's */
static int dir;
static struct config config = {.member = {{.name = "dc1-a"}, {.name = "dc2-a"}}, .members = 2};
static struct who who;
static struct incoming in;
static struct outgoing out;
static struct asks asks;
static struct control control;
static struct failover f;

static int
setup(void **state)
{
    (void)state;
    return mkdtemp(path) == NULL || durable_dir(path, &dir) < 0;
}

static int
teardown(void **state)
{
    (void)state;
    durable_remove(dir, "pool.state");
    durable_close(dir);
    return rmdir(path);
}

static void
make(bool promised)
{
    struct epoch_origin first = {.epoch = {1, "dc1-a"}, .timeline = 1};

    who = (struct who){.config = &config, .self = &config.member[1], .role = ROLE_STANDBY};
    in = (struct incoming){.inlet = {.fd = -1, .receiver = &in.receiver}, .spool = {.dir = dir}};
    who.spool = &in.spool;
    pool_adopt(&who.pool, &first, 0);
    if (promised)
        who.pool.promised = (struct epoch){2, "dc3-a"};
    control = (struct control){.fd = -1};
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        control.client[i].fd = -1;
    control.client[0] = (struct control_client){.fd = 0, .id = CLIENT}; /* never written to */
    assert_int_equal(buf_init(&control.client[0].out, 1 << 16), 0);
    failover_init(&f, &who, &who.pool, &asks, &out, &in, &control, NULL);
}

/* The exit code; `text` was answered. */
static int
asked(json_t *request, const char *text)
{
    struct buf *said = &control.client[0].out;
    char answer[4096] = "";
    const char *code;

    failover_request(&f, CLIENT, request, 0);
    json_decref(request);
    memcpy(answer, buf_data(said), buf_used(said));
    buf_release(said);
    if (strstr(answer, text) == NULL)
        print_error("not said: %s: %s\n", text, answer);
    assert_non_null(strstr(answer, text));
    code = strstr(answer, "\"code\":");
    assert_non_null(code);
    return atoi(code + strlen("\"code\":"));
}

static void
test_cancel_ends_what_was_begun_here_and_nothing_else(void **state)
{
    static const struct {
        enum failover_phase phase;
        enum failover_step step;
        bool resumes, promised;
        int asker, by; /* the process whose failover runs; that of Ctrl-C, 0: --cancel was typed */
        bool ends;
        const char *says;
    } row[] = {
        {FAILOVER_ASKING, FAILOVER_NONE, false, false, 11, 0, true,
         "cancelled; nothing was changed\""},
        {FAILOVER_ASKING, FAILOVER_NONE, false, true, 11, 11, true,
         "cancelled; nothing was changed\""},
        {FAILOVER_ASKING, FAILOVER_DRAIN, true, false, 11, 11, true,
         "nothing was changed by this command: the epoch that was begun stands"},
        {FAILOVER_ASKING, FAILOVER_NONE, false, false, 11, 12, false, "of another command"},
        {FAILOVER_RUNNING, FAILOVER_DRAIN, false, false, 11, 11, false, "it goes on"},
        {FAILOVER_IDLE, FAILOVER_DRAIN, false, false, 11, 11, false,
         "walferry failover finishes it"},
        {FAILOVER_IDLE, FAILOVER_NONE, false, false, 11, 11, false, "no failover is running"},
        {FAILOVER_IDLE, FAILOVER_NONE, false, true, 11, 11, false, "no failover is running"},
        {FAILOVER_IDLE, FAILOVER_NONE, false, true, 11, 0, false, "--break-promise dc3-a"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        make(row[i].promised);
        f.phase = row[i].phase;
        f.resumes = row[i].resumes;
        f.asker = row[i].asker;
        who.pool.step = row[i].step;
        assert_int_equal(asked(json_pack("{s:b s:i}", "cancel", 1, "pid", row[i].by), row[i].says),
                         row[i].ends ? 0 : 1);
        assert_int_equal(f.phase, row[i].ends ? FAILOVER_IDLE : row[i].phase);
        assert_int_equal(who.pool.promised.number, row[i].promised ? 2 : 0);
        assert_int_equal(who.pool.step, row[i].step);
    }
}

static void
test_cancel_breaks_a_promise_by_name(void **state)
{
    (void)state;
    make(true);
    assert_int_equal(asked(json_pack("{s:s}", "break_promise", "dc1-a"),
                           "dc2-a has promised epoch 2 to dc3-a, not to dc1-a"),
                     1);
    assert_int_equal(who.pool.promised.number, 2);
    make(true);
    assert_int_equal(asked(json_pack("{s:s}", "break_promise", "dc3-a"),
                           "what dc2-a had promised to dc3-a for epoch 2 is given up"),
                     0);
    assert_int_equal(who.pool.promised.number, 0);
    make(false);
    assert_int_equal(
        asked(json_pack("{s:s}", "break_promise", "dc3-a"), "dc2-a has promised nothing"), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancel_ends_what_was_begun_here_and_nothing_else),
        cmocka_unit_test(test_cancel_breaks_a_promise_by_name),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: PostgreSQL */
/* `walferry sync` of what an agent of the test says behind a real socket. */
#include "unit/unit.h"

#include "commands/command.h"
#include "control/control.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct config config = {.name = "chat"};
static struct member self = {.name = "dc1-a"};

/* Answers with `status`, whatever is asked, until it is killed. */
static int
run_agent(struct control *control, json_t *status)
{
    static struct loop loop;

    for (int i = 0; i < 2000; i++) {
        uint64_t client;
        json_t *request;

        loop_begin(&loop);
        control_watch(control, &loop);
        loop_due(&loop, clock_us() + 50 * MILLISECOND_US);
        loop_wait(&loop);
        control_run(control, &loop, clock_us());
        if (!control_request(control, &client, &request))
            continue;
        json_decref(request);
        control_answer(control, client, json_incref(status));
        control_done(control, client, 0);
    }
    return 1;
}

/* What sync of a second at most ends with. */
static int
synced(json_t *status)
{
    const struct options options = {.timeout = "1s"};
    char path[] = "/tmp/wf-test-XXXXXX", command[100];
    struct control control;
    pid_t agent;
    int got;

    assert_non_null(status);
    assert_non_null(mkdtemp(path));
    snprintf(self.run, sizeof self.run, "%s", path);
    assert_int_equal(control_open(&control, path), 0);
    fflush(stdout);
    agent = fork();
    if (agent == 0)
        _exit(run_agent(&control, status));
    got = command_sync(&config, &self, &options);
    assert_int_equal(kill(agent, SIGKILL), 0);
    assert_int_equal(waitpid(agent, NULL, 0), agent);
    control_close(&control);
    json_decref(status);
    snprintf(command, sizeof command, "rm -r %s", path);
    assert_int_equal(system(command), 0);
    return got;
}

/* dc2-a is fed from here, and feeds dc2-b, which lags so much; -1: nobody knows. */
static json_t *
status_of(const char *server, double lag, const char *drained, const char *fed_lsn)
{
    return json_pack("{s:{s:s} s:[{s:s s:s s:b s:s? s:{s:f s:s}} {s:s s:s s:s s:b s:{s:n s:s}}] "
                     "s:[{s:s} {s:s s:o}]}",
                     "postgres", "state", server, "links", "to", "dc2-a", "state", "up", "feeds", 1,
                     "drained", drained, "flushed", "lag_seconds", 0.0, "lsn", "0/5000", "to",
                     "dc2-b", "state", "stopped", "reason", "another member feeds it", "feeds", 0,
                     "flushed", "lag_seconds", "lsn", fed_lsn, "members", "name", "dc2-a", "name",
                     "dc2-b", "flushed_lag_seconds", lag < 0 ? json_null() : json_real(lag));
}

static void
test_sync_hears_of_a_fed_member(void **state)
{
    (void)state;
    assert_int_equal(synced(status_of("up", 0.0, NULL, "0/5000")), 0);
    assert_int_equal(synced(status_of("up", 5.0, NULL, "0/5000")), 1);
    assert_int_equal(synced(status_of("up", -1, NULL, "0/5000")), 1);
}

/* Of a server that is down all that it left has to be there. */
static void
test_sync_of_a_server_that_is_down_waits_for_a_fed_member(void **state)
{
    (void)state;
    assert_int_equal(synced(status_of("down", -1, "0/5000", "0/5000")), 0);
    assert_int_equal(synced(status_of("down", -1, "0/5000", "0/4FFF")), 1);
    assert_int_equal(synced(status_of("down", 0.0, NULL, "0/5000")), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sync_hears_of_a_fed_member),
        cmocka_unit_test(test_sync_of_a_server_that_is_down_waits_for_a_fed_member),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

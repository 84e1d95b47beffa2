/* SPDX-License-Identifier: PostgreSQL */
/* `walferry check` of what an agent of the test says behind a real socket. */
#include "unit/unit.h"

#include "commands/command.h"
#include "control/control.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct config config = {.name = "chat",
                                     .ship_warning_us = 10 * SECOND_US,
                                     .ship_critical_us = 60 * SECOND_US,
                                     .apply_warning_us = 10 * SECOND_US,
                                     .apply_critical_us = 60 * SECOND_US,
                                     .exposure_warning_us = 10 * SECOND_US,
                                     .exposure_critical_us = 60 * SECOND_US,
                                     .slot_warning_bytes = 1000,
                                     .slot_critical_bytes = 2000};
static struct member self = {.name = "dc1-a"};

/* Answers one request with `status`. */
static int
run_agent(struct control *control, json_t *status)
{
    static struct loop loop;
    bool answered = false;

    for (int i = 0; i < 200; i++) {
        uint64_t client;
        json_t *request;

        loop_begin(&loop);
        control_watch(control, &loop);
        loop_due(&loop, clock_us() + 50 * MILLISECOND_US);
        loop_wait(&loop);
        control_run(control, &loop, clock_us());
        if (answered && control->client[0].fd < 0)
            return 0;
        if (!control_request(control, &client, &request))
            continue;
        json_decref(request);
        control_answer(control, client, json_incref(status));
        control_done(control, client, 0);
        answered = true;
    }
    return 1;
}

static json_t *
link_of(const char *to, const char *state, const char *reason, bool feeds, double lag, int retained)
{
    return json_pack("{s:s s:s s:s? s:b s:{s:o} s:{s:o} s:{s:s s:i}}", "to", to, "state", state,
                     "reason", reason, "feeds", feeds, "flushed", "lag_seconds",
                     lag < 0 ? json_null() : json_real(lag), "applied", "lag_seconds",
                     lag < 0 ? json_null() : json_real(lag), "slot", "name", to, "retained_bytes",
                     retained);
}

/* What check ends with on the primary of dc2-a, and of dc2-b whose link is `fed`, with an event. */
static int
checked_event(json_t *fed, bool silent, const char *event)
{
    json_t *status = json_pack(
        "{s:s s:s s:{s:s} s:f s:[o,o] s:[{s:s s:b s:f s:i}] s:[{s:s s:s}]}", "member", "dc1-a",
        "role", "primary", "postgres", "state", "up", "exposure_seconds", 0.1, "links",
        link_of("dc2-a", "up", NULL, true, 0.1, 10), fed, "members", "name", "dc2-b", "silent",
        silent, "silent_seconds", 20.0, "severity", 0, "events", "id", event, "text", "it happens");
    char path[] = "/tmp/wf-test-XXXXXX", command[100];
    struct control control;
    int got, code;
    pid_t agent;

    assert_non_null(status);
    assert_non_null(mkdtemp(path));
    snprintf(self.run, sizeof self.run, "%s", path);
    assert_int_equal(control_open(&control, path), 0);
    fflush(stdout);
    agent = fork();
    if (agent == 0)
        _exit(run_agent(&control, status));
    got = command_check(&config, &self, &(struct options){0});
    assert_int_equal(waitpid(agent, &code, 0), agent);
    control_close(&control);
    json_decref(status);
    snprintf(command, sizeof command, "rm -r %s", path);
    assert_int_equal(system(command), 0);
    return got;
}

static int
checked(json_t *fed, bool silent)
{
    return checked_event(fed, silent, "WF012");
}

static void
test_check_leaves_a_member_to_its_feeder(void **state)
{
    const char *why = "another member feeds it, see walferry route";

    (void)state;
    assert_int_equal(checked(link_of("dc2-b", "stopped", why, false, -1, 10), false), 0);
    assert_int_equal(checked(link_of("dc2-b", "stopped", why, false, -1, 10), true), 1);
    assert_int_equal(checked(link_of("dc2-b", "stopped", why, false, -1, 2000), false), 2);
}

static void
test_check_judges_a_link_that_is_down(void **state)
{
    (void)state;
    assert_int_equal(checked(link_of("dc2-b", "up", NULL, true, 0.1, 10), false), 0);
    assert_int_equal(checked(link_of("dc2-b", "up", NULL, true, 70, 10), false), 2);
    assert_int_equal(checked(link_of("dc2-b", "stopped", "in alarm", true, 0.1, 10), false), 1);
    assert_int_equal(checked(link_of("dc2-b", "down", "no route", true, 0.1, 10), false), 1);
}

static void
test_check_tells_how_commits_wait(void **state)
{
    (void)state;
    assert_int_equal(checked_event(link_of("dc2-b", "up", NULL, true, 0.1, 10), false, "WF013"), 1);
    assert_int_equal(checked_event(link_of("dc2-b", "up", NULL, true, 0.1, 10), false, "WF023"), 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_leaves_a_member_to_its_feeder),
        cmocka_unit_test(test_check_judges_a_link_that_is_down),
        cmocka_unit_test(test_check_tells_how_commits_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

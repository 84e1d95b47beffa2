/* SPDX-License-Identifier: PostgreSQL */
/* `walferry failover` and Ctrl-C, with an agent of the test behind a real socket. */
#include "unit/unit.h"

#include "commands/command.h"
#include "control/control.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct config config = {.name = "chat"};
static struct member self = {.name = "dc2-a"};

/* The next request within 50 ms: its client, or 0. */
static uint64_t
next_request(struct control *control, bool *ret_cancels)
{
    static struct loop loop;
    uint64_t client = 0;
    json_t *request;

    loop_begin(&loop);
    control_watch(control, &loop);
    loop_due(&loop, clock_us() + 50 * MILLISECOND_US);
    loop_wait(&loop);
    control_run(control, &loop, clock_us());
    if (control_request(control, &client, &request)) {
        *ret_cancels = json_is_true(json_object_get(request, "cancel"));
        json_decref(request);
    }
    return client;
}

/* An agent whose failover waits; Ctrl-C is typed until it hears of it, then that has `code`. Its
 * exit code says whether the command still listened when it asked to cancel. */
static int
run_agent(struct control *control, int code)
{
    uint64_t asking = 0, client;
    bool cancels = false, listened;

    for (int i = 0; i < 200; i++) {
        client = next_request(control, &cancels);
        if (asking != 0 && control->next_id == asking + 1) /* nobody else has come */
            kill(getppid(), SIGINT);
        if (client != 0 && !cancels) {
            asking = client;
            control_text(control, client, "asking");
        } else if (client != 0) {
            listened = control_listens(control, asking);
            control_text(control, client, code == 0 ? "cancelled" : "it goes on");
            control_done(control, client, code);
            next_request(control, &cancels);
            return listened ? 0 : 1;
        }
    }
    return 2;
}

/* What the command ends with, when Ctrl-C is typed and the agent says `code` to that. */
static int
interrupted(int code)
{
    const struct options options = {.yes = true};
    struct control control;
    char path[] = "/tmp/wf-test-XXXXXX", command[100];
    int got, status;
    pid_t agent;

    assert_non_null(mkdtemp(path));
    snprintf(self.run, sizeof self.run, "%s", path);
    assert_int_equal(control_open(&control, path), 0);
    agent = fork();
    if (agent == 0)
        _exit(run_agent(&control, code));
    got = command_failover(&config, &self, &options);
    assert_int_equal(waitpid(agent, &status, 0), agent);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    control_close(&control);
    snprintf(command, sizeof command, "rm -r %s", path);
    assert_int_equal(system(command), 0);
    return got;
}

static void
test_failover_says_that_ctrl_c_has_cancelled_it(void **state)
{
    (void)state;
    assert_int_equal(interrupted(0), 130);
}

static void
test_failover_does_not_say_so_when_it_goes_on(void **state)
{
    (void)state;
    assert_int_equal(interrupted(1), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failover_says_that_ctrl_c_has_cancelled_it),
        cmocka_unit_test(test_failover_does_not_say_so_when_it_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

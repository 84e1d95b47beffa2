/* SPDX-License-Identifier: PostgreSQL */
/* tunnel: a client at the door to the primary's PostgreSQL, which is led there over the link; the far agent is
 * the test. */
#include "unit/unit.h"

#include "tunnel/tunnel.h"

#include "base/buf.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool __wrap_inlet_stream(struct inlet *i, struct handed *ret_handed,
                         struct tunnel_request *ret_request);

static struct config config = {.name = "chat",
                               .member = {{.name = "dc1-a"}, {.name = "dc1-b"}, {.name = "dc2-a"}},
                               .members = 3};
static struct who who = {.config = &config, .self = &config.member[0], .role = ROLE_STANDBY};
static struct outgoing outgoing;
static struct incoming in;
static struct tunnel t;
static struct buf out; /* of the link, while it is up */
static struct tunnel_request brought;
static bool brings; /* the far agent, a stream of that request */
static int line[2], client;

bool
__wrap_inlet_stream(struct inlet *i, struct handed *ret_handed, struct tunnel_request *ret_request)
{
    int there[2], back[2];

    (void)i;
    if (!brings)
        return false;
    brings = false;
    assert_int_equal(pipe2(there, O_NONBLOCK) | pipe2(back, O_NONBLOCK), 0);
    line[0] = there[0];
    line[1] = back[1];
    *ret_request = brought;
    *ret_handed = (struct handed){.fd = -1, .in = back[0], .out = there[1]};
    memcpy(ret_handed->from, brought.from, sizeof ret_handed->from);
    return buf_init(&ret_handed->input, INLET_IN_BYTES) == 0 &&
           buf_init(&ret_handed->output, INLET_OUT_BYTES) == 0;
}

static void
fed_by(const char *member)
{
    struct routes *r = &who.pool.routes;

    r->number++;
    r->epoch = who.pool.epoch;
    r->count = 1;
    snprintf(r->route[0].member, MEMBER_NAME_SIZE, "dc1-a");
    snprintf(r->route[0].from, MEMBER_NAME_SIZE, "%s", member);
    in.receiver.out = &out;
    snprintf(in.receiver.from, MEMBER_NAME_SIZE, "%s", member);
}

static int
make(void **state)
{
    static char run[64];

    (void)state;
    strcpy(run, "/tmp/walferry-XXXXXX");
    assert_non_null(mkdtemp(run));
    snprintf(config.member[0].run, sizeof config.member[0].run, "%s", run);
    who.pool = (struct pool){.epoch = {2, "dc2-a"}};
    in = (struct incoming){.inlet = {.fd = -1, .receiver = &in.receiver}, .relay = {.fd = -1}};
    t = (struct tunnel){0};
    brings = false;
    line[0] = line[1] = client = -1;
    fed_by("dc1-b");
    return buf_init(&out, 1 << 16) < 0 || tunnel_open(&t, &who, &outgoing, &in, NULL) < 0;
}

static int
drop(void **state)
{
    char command[128];

    (void)state;
    tunnel_close(&t);
    buf_release(&out);
    for (int i = 0; i < 2; i++)
        if (line[i] >= 0)
            close(line[i]);
    close(client);
    snprintf(command, sizeof command, "rm -rf %s", config.member[0].run);
    return system(command);
}

static void
turn(void)
{
    static struct loop loop;

    for (int i = 0; i < 3; i++) {
        loop_begin(&loop);
        loop_due(&loop, clock_us() + 10 * MILLISECOND_US);
        tunnel_watch(&t, &loop);
        assert_int_equal(loop_wait(&loop), 0);
        tunnel_run(&t, &loop, clock_us());
    }
}

static void
connect_client(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    snprintf(a.sun_path, sizeof a.sun_path, "%s", t.doors.door[0].path);
    client = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&a, sizeof a), 0);
}

/* Over the link: for a stream to the primary's PostgreSQL. */
static bool
is_asked(void)
{
    struct frame f;

    if (frame_next(&out, &f) != 1)
        return false;
    assert_int_equal(f.type, FRAME_TUNNEL);
    assert_int_equal(f.tunnel.service, TUNNEL_POSTGRES);
    brought = f.tunnel;
    brought.reason = "";
    buf_consume(&out, f.bytes);
    snprintf(brought.from, MEMBER_NAME_SIZE, "%s", in.receiver.from);
    snprintf(brought.to, MEMBER_NAME_SIZE, "dc1-a");
    return true;
}

static void
open_stream(void)
{
    connect_client();
    turn();
    assert_true(is_asked());
    brings = true;
    turn();
    assert_int_equal(tunnel_streams(&t), 1);
}

/* 0: it was ended, without a word. */
static ssize_t
hear(char *told, size_t size)
{
    ssize_t got = recv(client, told, size, MSG_DONTWAIT);

    return got < 0 && errno == EAGAIN ? -1 : got;
}

/* The head goes on leading to the primary, also when that feeds this member by itself. */
static void
test_tunnel_outlasts_the_feeder(void **state)
{
    char told[256];

    (void)state;
    open_stream();
    fed_by("dc2-a");
    turn();
    assert_int_equal(tunnel_streams(&t), 1);
    assert_int_equal(hear(told, sizeof told), -1);
    in.receiver.out = NULL;
    turn();
    assert_int_equal(tunnel_streams(&t), 1);
}

static void
test_tunnel_ends_with_the_epoch(void **state)
{
    char told[256];

    (void)state;
    open_stream();
    who.pool.epoch = (struct epoch){3, "dc1-b"};
    turn();
    assert_int_equal(tunnel_streams(&t), 0);
    assert_int_equal(hear(told, sizeof told), 0);
}

/* The epoch was heard of between the client and its turn: the way is one of this epoch. */
static void
test_tunnel_way_is_of_the_epoch_it_is_chosen_in(void **state)
{
    struct loop loop;

    (void)state;
    connect_client();
    loop_begin(&loop);
    tunnel_watch(&t, &loop);
    assert_int_equal(loop_wait(&loop), 0);
    tunnel_run(&t, &loop, clock_us());
    assert_false(is_asked());
    who.pool.epoch = (struct epoch){3, "dc1-b"};
    turn();
    assert_true(is_asked());
    brings = true;
    turn();
    assert_int_equal(tunnel_streams(&t), 1);
}

/* Who was asked is the primary no more: the client is told. */
static void
test_tunnel_tells_who_waited_for_another_primary(void **state)
{
    char told[256];
    ssize_t got;

    (void)state;
    connect_client();
    turn();
    assert_true(is_asked());
    who.pool.epoch = (struct epoch){3, "dc1-b"};
    turn();
    got = hear(told, sizeof told);
    assert_true(got > 0);
    assert_int_equal(told[0], 'E');
    assert_non_null(memmem(told, (size_t)got, "is another one since", 20));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tunnel_outlasts_the_feeder, make, drop),
        cmocka_unit_test_setup_teardown(test_tunnel_ends_with_the_epoch, make, drop),
        cmocka_unit_test_setup_teardown(test_tunnel_way_is_of_the_epoch_it_is_chosen_in, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_tunnel_tells_who_waited_for_another_primary, make,
                                        drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

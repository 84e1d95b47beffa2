/* SPDX-License-Identifier: PostgreSQL */
/* stream: two of them, back to back over pipes as sshd gives them; the far ends of their local
 * sockets are the test's. */
#include "unit/unit.h"

#include "base/clock.h"
#include "base/fail.h"
#include "shipper/tunnel/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BIG (6u << 20)

static struct workers workers;
static struct stream stream[2];
static int client[2]; /* the far ends of the local sockets; -1 */
static int line[2];   /* what stream 0 hears from and says to, by hand, when there is no stream 1 */
static int over[2];
static char reason[2][FRAME_REASON_MAX];
static uint8_t bytes[2][BIG], got[2][BIG];

static void
begin(struct stream *s, int in, int out)
{
    struct handed h = {.fd = -1, .in = in, .out = out, .from = "dc2-a"};

    assert_int_equal(buf_init(&h.input, INLET_IN_BYTES), 0);
    assert_int_equal(stream_adopt(s, &workers, &h, clock_us()), 0);
    assert_int_equal(stream_open(s), 0);
}

static void
give_local(int i)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    stream_connect(&stream[i], pair[0]);
    client[i] = pair[1];
}

static int
make(void **state)
{
    int there[2], back[2];

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(workers_init(&workers, 1), 0);
    assert_int_equal(pipe2(there, O_NONBLOCK), 0);
    assert_int_equal(pipe2(back, O_NONBLOCK), 0);
    line[0] = line[1] = -1;
    begin(&stream[0], back[0], there[1]);
    begin(&stream[1], there[0], back[1]);
    give_local(0);
    give_local(1);
    for (size_t i = 0; i < BIG; i++) { /* half of it is hard to compress */
        bytes[0][i] = i / 65536 % 2 == 0 ? (uint8_t)random() : (uint8_t)(i / 1000);
        bytes[1][i] = (uint8_t)(bytes[0][i] ^ 0x55);
    }
    over[0] = over[1] = 0;
    return 0;
}

static void
drop_client(int i)
{
    if (client[i] >= 0)
        close(client[i]);
    client[i] = -1;
}

static int
drop(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        stream_release(&stream[i]);
        drop_client(i);
        if (line[i] >= 0)
            close(line[i]);
    }
    workers_release(&workers);
    return 0;
}

/* One turn of the loop, as the agent's. */
static void
turn(void)
{
    static struct loop loop;
    int64_t now_us;

    loop_begin(&loop);
    loop_due(&loop, clock_us() + 20 * MILLISECOND_US);
    loop_watch(&loop, workers_fd(&workers), POLLIN);
    for (int i = 0; i < 2; i++)
        if (!over[i] && stream[i].open)
            stream_watch(&stream[i], &loop);
    assert_int_equal(loop_wait(&loop), 0);
    now_us = clock_us();
    if (loop_ready(&loop, workers_fd(&workers)) != 0)
        workers_clear(&workers);
    for (int i = 0; i < 2; i++) {
        if (over[i] || !stream[i].open)
            continue;
        over[i] = stream_run(&stream[i], &loop, now_us);
        if (over[i] < 0) {
            memcpy(reason[i], stream[i].reason, sizeof reason[i]);
            stream_release(&stream[i]);
        }
    }
}

struct flow {
    size_t put, taken;
};

/* Both clients say what they have and hear what there is. */
static void
move(struct flow flow[2], size_t say)
{
    for (int i = 0; i < 2; i++) {
        ssize_t n =
            flow[i].put < say ? write(client[i], bytes[i] + flow[i].put, say - flow[i].put) : 0;

        if (n > 0)
            flow[i].put += (size_t)n;
        n = read(client[1 - i], got[i] + flow[i].taken, BIG - flow[i].taken);
        if (n > 0)
            flow[i].taken += (size_t)n;
    }
}

static void
test_stream_carries_the_same_bytes_both_ways(void **state)
{
    struct flow flow[2] = {{0}};

    (void)state;
    for (int i = 0; i < 100000 && (flow[0].taken < BIG || flow[1].taken < BIG); i++) {
        move(flow, BIG);
        turn();
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(flow[i].taken, BIG);
        assert_memory_equal(bytes[i], got[i], BIG);
        assert_int_equal(stream[i].up.bytes, BIG);
    }
}

static void
test_stream_waits_for_nothing_more(void **state)
{
    (void)state;
    for (int n = 0; n < 20; n++) {
        char answer[8] = "";
        int64_t begun_us = clock_us();

        assert_int_equal(write(client[0], "select 1", 8), 8);
        for (int i = 0; i < 50 && read(client[1], answer, 8) != 8; i++)
            turn();
        assert_memory_equal(answer, "select 1", 8);
        assert_true(clock_us() - begun_us < SECOND_US);
    }
}

static void
test_stream_delivers_all_before_the_end(void **state)
{
    size_t put = 0, taken = 0;
    ssize_t n = -1;

    (void)state;
    while (put < 300000) {
        n = write(client[0], bytes[0] + put, 300000 - put);
        put += n > 0 ? (size_t)n : 0;
        turn();
    }
    drop_client(0);
    for (int i = 0; i < 1000 && n != 0; i++) {
        turn();
        n = read(client[1], got[0] + taken, BIG - taken);
        taken += n > 0 ? (size_t)n : 0;
    }
    assert_int_equal(n, 0); /* its end */
    assert_int_equal(taken, put);
    assert_memory_equal(got[0], bytes[0], put);
    for (int i = 0; i < 100 && !(over[0] && over[1]); i++)
        turn();
    assert_int_equal(over[0], ERR_PEER);
    assert_int_equal(over[1], ERR_PEER);
    assert_string_equal(reason[0], "");
    assert_string_equal(reason[1], "");
}

static void
test_stream_that_breaks_ends_its_client_at_once(void **state)
{
    char byte;

    (void)state;
    turn();
    stream_release(&stream[1]); /* as a killed agent: no word */
    over[1] = 1;
    for (int i = 0; i < 5 && !over[0]; i++)
        turn();
    assert_int_equal(over[0], ERR_PEER);
    assert_non_null(strstr(reason[0], "the SSH session from dc2-a ended"));
    assert_int_equal(read(client[0], &byte, 1), 0);
}

static void
test_stream_takes_no_more_than_it_can_hold(void **state)
{
    size_t put = 0;

    (void)state;
    for (int i = 0; i < 400; i++) { /* nobody reads at the far end */
        ssize_t n = write(client[0], bytes[0] + put % BIG, BIG - put % BIG);

        put += n > 0 ? (size_t)n : 0;
        turn();
    }
    assert_true(put > 500000 && put < 4000000);
}

/* Bytes by hand instead of stream 1. */
static void
line_by_hand(void)
{
    int there[2], back[2];

    stream_release(&stream[0]);
    stream_release(&stream[1]);
    over[1] = 1;
    drop_client(0);
    assert_int_equal(pipe2(there, O_NONBLOCK), 0);
    assert_int_equal(pipe2(back, O_NONBLOCK), 0);
    line[0] = there[0];
    line[1] = back[1];
    begin(&stream[0], back[0], there[1]);
    give_local(0);
    over[0] = 0;
}

static int
hear(const struct buf *in)
{
    line_by_hand();
    assert_int_equal(write(line[1], buf_data(in), buf_used(in)), buf_used(in));
    for (int i = 0; i < 20 && !over[0]; i++)
        turn();
    close(line[0]);
    close(line[1]);
    line[0] = line[1] = -1;
    return over[0];
}

static void
test_stream_survives_any_bytes(void **state)
{
    static uint8_t room[60000], noise[30000];
    struct buf out = {.bytes = room, .size = sizeof room};
    struct frame f = {.type = FRAME_DATA,
                      .data = {.decoded_bytes = 1000, .bytes = noise, .length = 20000}};

    (void)state;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)random();
    assert_int_equal(frame_put(&out, &f), 0);
    assert_int_equal(hear(&out), ERR_PEER);
    assert_string_equal(reason[0], "DATA that cannot be decoded came");

    buf_clear(&out); /* a good stream, another length */
    f.data.bytes = (const uint8_t *)"\x28\xb5\x2f\xfd\x00\x48\x29\x00\x00hello";
    f.data.length = 14;
    f.data.decoded_bytes = 4;
    assert_int_equal(frame_put(&out, &f), 0);
    assert_int_equal(hear(&out), ERR_PEER);
    assert_string_equal(reason[0], "DATA that cannot be decoded came");

    buf_clear(&out);
    f = (struct frame){.type = FRAME_DRAIN};
    assert_int_equal(frame_put(&out, &f), 0);
    assert_int_equal(hear(&out), ERR_PEER);
    assert_non_null(strstr(reason[0], "came on a stream"));

    buf_clear(&out);
    f = (struct frame){.type = FRAME_GOODBYE, .goodbye = {.reason = "the agent\tstops"}};
    assert_int_equal(frame_put(&out, &f), 0);
    assert_int_equal(hear(&out), ERR_PEER);
    assert_null(strchr(reason[0], '\t'));
}

/* PINGs whose answers nobody takes: what is to be said is refused when there is no room, and what
 * ends does so although it cannot say so. */
static void
test_stream_says_no_more_than_there_is_room_for(void **state)
{
    static uint8_t room[900000];
    struct buf pings = {.bytes = room, .size = sizeof room};
    struct frame f = {.type = FRAME_PING};
    struct loop loop;
    size_t said = 0;

    (void)state;
    while (frame_put(&pings, &f) == 0)
        ;
    line_by_hand();
    for (int i = 0; i < 400; i++) {
        ssize_t n = write(line[1], buf_data(&pings), buf_used(&pings));

        if (n > 0)
            buf_consume(&pings, (size_t)n);
        turn();
    }
    assert_int_equal(buf_used(&pings), 0);
    for (int i = 0; i < 200000; i++) {
        said += stream_say(&stream[0], "12345678", 8) == 0 ? 8 : 0;
        if (i % 1000 == 0)
            turn();
    }
    assert_int_equal(over[0], 0);
    assert_true(said > 0 && said <= STREAM_PIECES * FRAME_DATA_MAX);
    stream_end(&stream[0]);
    turn();
    assert_int_equal(over[0], 0);
    loop_begin(&loop);
    assert_int_equal(stream_run(&stream[0], &loop, clock_us() + 6 * SECOND_US), ERR_PEER);
}

static void
put_data(struct buf *out, const void *plain, size_t n, bool first)
{
    uint8_t block[256] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x50};
    size_t used = first ? 6 : 0;
    struct frame f = {.type = FRAME_DATA, .data = {.decoded_bytes = (uint32_t)n, .bytes = block}};

    block[used++] = (uint8_t)(n << 3); /* a raw block of zstd */
    block[used++] = (uint8_t)(n >> 5);
    block[used++] = 0;
    memcpy(block + used, plain, n);
    f.data.length = used + n;
    assert_int_equal(frame_put(out, &f), 0);
}

/* A start-up packet in pieces of one byte, behind a request for encryption: nothing of it reaches
 * PostgreSQL before the gate is opened, then all of it does, and what follows. */
static void
test_stream_holds_what_the_gate_holds(void **state)
{
    static const uint8_t ssl[] = {0, 0, 0, 8, 4, 210, 22, 47};
    static const uint8_t startup[] = "\0\0\0\x13\0\3\0\0user\0dave\0\0more";
    static uint8_t room[60000];
    struct buf out = {.bytes = room, .size = sizeof room};
    struct gate gate;
    char heard[64];

    (void)state;
    line_by_hand();
    assert_int_equal(gate_init(&gate), 0);
    stream[0].gate = &gate;
    put_data(&out, ssl, sizeof ssl, true);
    for (size_t i = 0; i < sizeof startup - 1; i++)
        put_data(&out, startup + i, 1, false);
    assert_int_equal(write(line[1], buf_data(&out), buf_used(&out)), buf_used(&out));
    for (int i = 0; i < 100; i++)
        turn();
    assert_int_equal(over[0], 0);
    assert_int_equal(gate.encryptions, 1);
    assert_int_equal(gate.state, GATE_ASKED);
    assert_int_equal(read(client[0], heard, sizeof heard), -1);
    gate_open(&gate);
    for (int i = 0; i < 100; i++)
        turn();
    assert_int_equal(read(client[0], heard, sizeof heard), sizeof startup - 1);
    assert_memory_equal(heard, startup, sizeof startup - 1);
    stream[0].gate = NULL;
    gate_release(&gate);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stream_carries_the_same_bytes_both_ways, make, drop),
        cmocka_unit_test_setup_teardown(test_stream_waits_for_nothing_more, make, drop),
        cmocka_unit_test_setup_teardown(test_stream_delivers_all_before_the_end, make, drop),
        cmocka_unit_test_setup_teardown(test_stream_that_breaks_ends_its_client_at_once, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_stream_takes_no_more_than_it_can_hold, make, drop),
        cmocka_unit_test_setup_teardown(test_stream_survives_any_bytes, make, drop),
        cmocka_unit_test_setup_teardown(test_stream_says_no_more_than_there_is_room_for, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_stream_holds_what_the_gate_holds, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

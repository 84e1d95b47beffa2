/* SPDX-License-Identifier: PostgreSQL */
/*
 * The inlet with a real spool and real pipes, as sshd has them; a real sender makes the frames. The
 * spool's flush, and the clock, are the test's.
 */
#include "unit/unit.h"

#include "base/clock.h"
#include "base/fail.h"
#include "shipper/wire/codec.h"
#include "shipper/receiver/inlet.h"
#include "shipper/sender/sender.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MB     (1u << 20)
#define FIRST  ((lsn_t)16 * MB)
#define PIECE  2000u
#define LANES  2
#define FRAMES 4096

static const struct identity cluster = {7001, MB, 15};

/* One SSH session as its sshd sees it, and what was said on it. */
struct line {
    int fd, in, out;
    struct buf out_buf; /* the sender's */
    uint8_t *said;      /* all of it, 8 MB */
    size_t said_bytes, poured;
    struct {
        size_t upto; /* of said */
        lsn_t end;
    } frame[FRAMES];
    size_t frames;
};

static char folder[64];
static struct spool spool;
static struct codec codec;
static struct receiver receiver;
static struct inlet inlet;
static struct sender sender;
static struct line line[LANES + 1]; /* the last one is a later session's */
static uint8_t scratch[FRAME_WAL_MAX];
static int64_t now_us;
static lsn_t shipped;

/* Bytes that no codec makes fewer (splitmix64's). */
static void
wal_at(lsn_t lsn, uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t v = (lsn + i) * UINT64_C(0x9E3779B97F4A7C15);

        v = (v ^ v >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
        v = (v ^ v >> 27) * UINT64_C(0x94D049BB133111EB);
        bytes[i] = (uint8_t)(v >> 56);
    }
}

static int
make(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    now_us = clock_us();
    snprintf(folder, sizeof folder, "/tmp/walferry-inlet-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(spool_open(&spool, folder), 0);
    receiver_init(&receiver, &spool, &codec, scratch);
    assert_int_equal(inlet_open(&inlet, folder, &receiver), 0);
    sender_init(&sender, &codec);
    for (size_t i = 0; i < LANES + 1; i++) {
        line[i] = (struct line){.fd = -1, .in = -1, .out = -1, .said = malloc(8 * MB)};
        assert_int_equal(buf_init(&line[i].out_buf, MB), 0);
    }
    return 0;
}

static void
hang_up(struct line *l)
{
    if (l->fd >= 0)
        assert_int_equal(close(l->fd) | close(l->in) | close(l->out), 0);
    l->fd = -1;
}

static int
drop(void **state)
{
    char command[96];

    (void)state;
    inlet_close(&inlet);
    sender_close(&sender);
    spool_close(&spool);
    codec_release(&codec);
    for (size_t i = 0; i < LANES + 1; i++) {
        hang_up(&line[i]);
        free(line[i].said);
        buf_release(&line[i].out_buf);
    }
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
    return 0;
}

static bool
flush_once(void)
{
    struct flush f;

    if (!spool_flush_begin(&spool, &f, now_us))
        return false;
    spool_flush_run(&f);
    assert_int_equal(spool_flush_end(&spool, &f), 0);
    return true;
}

/* What an agent's loop does for its inlet, but for the flush. */
static void
turn(void)
{
    static struct loop loop;
    const struct hello *hello;
    struct session *s;

    loop_begin(&loop);
    inlet_watch(&inlet, &loop);
    loop_due(&loop, 0);
    assert_int_equal(loop_wait(&loop), 0);
    assert_int_equal(inlet_run(&inlet, &loop, now_us, now_us), 0);
    while (inlet_greeting(&inlet, now_us, &s, &hello))
        assert_int_equal(inlet_accept(&inlet, s, 1, FIRST, 0, now_us), 0);
    receiver_report(&receiver, 0, 0, 0, false, now_us);
    inlet_push(&inlet);
}

/* As `walferry receive` does, with the descriptors of this process. */
static void
connect_line(struct line *l)
{
    int in[2], out[2];

    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * 2)];
    } control = {0};
    char from[MEMBER_NAME_SIZE] = "dc1-a";
    struct iovec io = {.iov_base = from, .iov_len = sizeof from};
    struct msghdr m = {.msg_iov = &io,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof control.bytes};

    assert_int_equal(pipe2(in, O_CLOEXEC | O_NONBLOCK) | pipe2(out, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(unix_socket_connect(inlet.path, &l->fd), 0);
    control.header = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(int) * 2), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), (int[]){in[0], out[1]}, sizeof(int) * 2);
    assert_int_equal(sendmsg(l->fd, &m, 0), sizeof from);
    assert_int_equal(close(in[0]) | close(out[1]), 0);
    l->in = in[1];
    l->out = out[0];
    for (int i = 0; i < 4; i++) /* until the inlet reads from the pipe */
        turn();
}

/* From the sender's queue into what is said on this line. */
static void
utter(struct line *l)
{
    struct frame f;

    while (frame_next(&l->out_buf, &f) == 1) {
        memcpy(l->said + l->said_bytes, f.raw, f.bytes);
        l->said_bytes += f.bytes;
        if (f.type == FRAME_WAL) {
            l->frame[l->frames].upto = l->said_bytes;
            l->frame[l->frames++].end = f.wal.lsn + f.wal.decoded_bytes;
        }
        buf_consume(&l->out_buf, f.bytes);
    }
}

/* What of it the pipe takes: maybe up to the midst of a frame. False: the pipe is full. */
static bool
pour(struct line *l)
{
    while (l->poured < l->said_bytes) {
        ssize_t put = write(l->in, l->said + l->poured, l->said_bytes - l->poured);

        if (put < 0 && errno == EAGAIN)
            return false;
        assert_true(put > 0);
        l->poured += (size_t)put;
    }
    return true;
}

static struct hello
hello_of(uint64_t incarnation, uint8_t lane)
{
    return (struct hello){.protocol = FRAME_PROTOCOL,
                          .pool = "chat",
                          .identity = cluster,
                          .from = "dc1-a",
                          .to = "dc2-a",
                          .epoch = {1, "dc1-a"},
                          .hops = 1,
                          .path = {"dc1-a"},
                          .incarnation = incarnation,
                          .lane = lane,
                          .timeline = 1,
                          .history = ""};
}

static void
greet(struct line *l, uint64_t incarnation, uint8_t lane)
{
    struct frame f = {.type = FRAME_HELLO, .hello = hello_of(incarnation, lane)};

    connect_line(l);
    assert_int_equal(frame_put(&l->out_buf, &f), 0);
    utter(l);
    assert_true(pour(l));
    turn();
}

static void
open_session(unsigned lanes)
{
    struct frame accept = {.type = FRAME_ACCEPT, .accept = {.timeline = 1, .lsn = FIRST}};
    struct hello hello = hello_of(1, 0);

    greet(&line[0], 1, 0);
    assert_int_equal(sender_open(&sender, &line[0].out_buf, &hello, now_us), 0);
    buf_clear(&line[0].out_buf); /* it was greeted */
    assert_int_equal(sender_frame(&sender, &accept, now_us, now_us), 0);
    for (unsigned i = 1; i < lanes; i++) {
        greet(&line[i], 1, (uint8_t)(i + 1));
        sender_lane(&sender, i, &line[i].out_buf);
    }
    assert_int_equal(inlet_lanes(&inlet), lanes);
    shipped = FIRST;
}

static void
ship_bytes(size_t n)
{
    uint8_t bytes[PIECE];

    wal_at(shipped, bytes, n);
    assert_int_equal(sender_wal(&sender, 1, shipped, bytes, n), 0);
    shipped += n;
}

static void
ship_piece(void)
{
    ship_bytes(PIECE);
}

/* A frame for each lane: the next one gets the shortest queue. */
static void
ship_pieces(unsigned lanes)
{
    for (unsigned i = 0; i < lanes; i++)
        ship_piece();
    for (unsigned i = 0; i < lanes; i++)
        utter(&line[i]);
}

/* WAL until the spool waits for a flush, and the inlet's memory and the pipe of the first lane,
 * which has what the spool wants next, are full; the others' pipes hold some, too. */
static void
fill_up(unsigned lanes)
{
    bool full = false;

    while (!full) {
        ship_pieces(lanes);
        turn();
        for (unsigned i = lanes; i-- > 0;)
            full = !pour(&line[i]);
    }
    for (int i = 0; i < 100; i++)
        ship_pieces(lanes);
    for (unsigned i = 1; i < lanes; i++)
        assert_true(pour(&line[i]));
    assert_true(inlet_behind(&inlet));
    assert_true(shipped - spool.written > MB);
}

/* The end of the last whole frame that reached this host behind all that come before it. */
static lsn_t
reached(unsigned lanes)
{
    size_t at[LANES] = {0};
    lsn_t end = FIRST;

    for (unsigned i = 0; i < lanes; i++) {
        struct line *l = &line[i];

        if (at[i] < l->frames && l->frame[at[i]].upto <= l->poured &&
            l->frame[at[i]].end == end + PIECE) {
            end += PIECE;
            at[i]++;
            i = UINT32_MAX; /* from the first lane on */
        }
    }
    return end;
}

static void
assert_ends_at(lsn_t end)
{
    static uint8_t here[PIECE], there[PIECE];

    for (int i = 0; i < 4000 && inlet.live != NULL; i++) {
        turn();
        flush_once();
    }
    assert_null(inlet.live);
    assert_int_equal(spool.written, end);
    while (flush_once())
        ;
    assert_int_equal(spool.flushed, end);
    for (lsn_t at = FIRST; at < end;) {
        int got = spool_read(&spool, 1, at, here, end - at < PIECE ? (size_t)(end - at) : PIECE);

        assert_true(got > 0);
        wal_at(at, there, (size_t)got);
        assert_memory_equal(here, there, (size_t)got);
        at += (unsigned)got;
    }
}

static void
test_inlet_takes_what_has_come_before_the_end(void **state)
{
    (void)state;
    open_session(1);
    fill_up(1);
    hang_up(&line[0]);
    assert_ends_at(reached(1));
}

static void
test_inlet_takes_what_has_come_though_nobody_reads_its_answers(void **state)
{
    (void)state;
    open_session(1);
    fill_up(1);
    hang_up(&line[0]);
    now_us += 1100 * MILLISECOND_US; /* a PING is due: broken pipe */
    assert_ends_at(reached(1));
}

static void
test_inlet_takes_what_has_come_over_every_lane(void **state)
{
    (void)state;
    open_session(2);
    fill_up(2);
    hang_up(&line[0]); /* the one that answers */
    hang_up(&line[1]);
    for (int i = 0; i < 10; i++)
        turn();
    assert_int_equal(inlet_lanes(&inlet), 1);
    now_us += 1100 * MILLISECOND_US;
    assert_ends_at(reached(2));
}

/* More than the spool takes without a flush comes before the frame that it all waits for. */
static void
hold_all(void)
{
    open_session(2);
    utter(&line[0]);
    for (int i = 0; i < 1500; i++) {
        ship_piece();
        utter(&line[1]); /* the first lane has one frame, and is not the shortest any more */
    }
    while (!pour(&line[1]))
        turn();
    for (int i = 0; i < 100; i++)
        turn();
    assert_true(spool.written <= FIRST + PIECE);
    utter(&line[0]);
    assert_int_equal(line[0].frames, 1);
    assert_true(pour(&line[0]));
}

static void
test_inlet_takes_what_was_held_out_of_order(void **state)
{
    (void)state;
    hold_all();
    hang_up(&line[1]);
    hang_up(&line[0]);
    assert_ends_at(shipped);
}

/* What the receiver has said on this line since the last time: its last ACK, and the PINGs. */
static unsigned
hear(struct line *l, struct ack *ret_ack)
{
    static uint8_t bytes[INLET_OUT_BYTES];
    struct buf heard = {.bytes = bytes, .size = sizeof bytes};
    unsigned pings = 0;
    struct frame f;
    ssize_t got = read(l->out, bytes, sizeof bytes);

    buf_commit(&heard, got > 0 ? (size_t)got : 0);
    for (; frame_next(&heard, &f) == 1; buf_consume(&heard, f.bytes)) {
        pings += f.type == FRAME_PING;
        if (f.type == FRAME_ACK)
            *ret_ack = f.ack;
    }
    return pings;
}

static void
test_inlet_does_not_take_its_own_stall_for_silence(void **state)
{
    struct ack ack = {0};

    (void)state;
    hold_all();
    for (int i = 0; i < 10; i++)
        turn();
    assert_int_equal(spool.written, FIRST + 2 * MB);
    hear(&line[0], &ack);
    for (int i = 0; i < 20; i++) {
        now_us += SECOND_US;
        turn();
        assert_int_equal(hear(&line[0], &ack), 1);
        assert_int_equal(inlet_lanes(&inlet), 2);
    }
    assert_true(ack.busy);
    while (spool.flushed < shipped) {
        turn();
        assert_true(flush_once() || spool.written == shipped);
    }
    now_us += 5 * SECOND_US;
    turn();
    assert_null(inlet.live);
    assert_string_equal(inlet.reason, "nothing heard from dc1-a for 5 s");
}

/* The ACK of all that it could take said that nothing waits. */
static void
test_inlet_tells_that_it_stalls_though_no_position_moves(void **state)
{
    struct ack ack = {0};

    (void)state;
    open_session(1);
    while (shipped < FIRST + 2 * MB) {
        ship_bytes(FIRST + 2 * MB - shipped < PIECE ? FIRST + 2 * MB - shipped : PIECE);
        utter(&line[0]);
        assert_true(pour(&line[0]));
        turn();
    }
    for (int i = 0; i < 50; i++) {
        now_us += MILLISECOND_US;
        turn();
    }
    hear(&line[0], &ack);
    assert_int_equal(ack.received, FIRST + 2 * MB);
    assert_false(ack.busy);
    ship_pieces(1);
    assert_true(pour(&line[0]));
    turn();
    now_us += SECOND_US;
    turn();
    hear(&line[0], &ack);
    assert_true(ack.busy);
    while (flush_once())
        turn();
    now_us += SECOND_US;
    turn();
    hear(&line[0], &ack);
    assert_int_equal(ack.flushed, shipped);
    assert_false(ack.busy);
}

static void
test_inlet_takes_what_other_lanes_have_behind_a_goodbye(void **state)
{
    (void)state;
    open_session(2);
    while (line[1].frames < 200)
        ship_pieces(2);
    assert_int_equal(frame_put_goodbye(&line[0].out_buf, "bye"), 0);
    utter(&line[0]);
    assert_true(pour(&line[0]));
    for (int i = 0; i < 10; i++)
        turn();
    assert_true(pour(&line[1]));
    hang_up(&line[0]);
    hang_up(&line[1]);
    assert_ends_at(shipped);
    assert_string_equal(inlet.reason, "dc1-a ends the link: bye");
}

static void
test_inlet_lets_a_newer_session_wait_for_the_rest(void **state)
{
    lsn_t end;

    (void)state;
    open_session(1);
    fill_up(1);
    end = reached(1);
    greet(&line[LANES], 2, 0);
    for (int i = 0; i < 10; i++)
        turn();
    assert_int_equal(inlet.ended, 0);
    for (int i = 0; i < 4000 && inlet.ended == 0; i++) {
        turn();
        flush_once();
    }
    assert_int_equal(inlet.ended, 1);
    assert_non_null(inlet.live);
    assert_int_equal(spool.written, end);
}

static void
test_inlet_lets_a_newer_session_in_after_two_seconds(void **state)
{
    (void)state;
    open_session(1);
    fill_up(1);
    greet(&line[LANES], 2, 0);
    now_us += 1900 * MILLISECOND_US;
    turn();
    assert_int_equal(inlet.ended, 0);
    now_us += 200 * MILLISECOND_US;
    turn();
    assert_int_equal(inlet.ended, 1);
    assert_non_null(inlet.live);
    assert_int_equal(inlet_lanes(&inlet), 1);
}

/* An agent of protocol 4 reads REFUSE, which it shares with us, and is told what to do. */
static void
test_inlet_tells_an_older_agent_why_it_is_refused(void **state)
{
    static const uint8_t hello[] = "\0\0\0\x2c\1WFRY\0\4chat\0\0\0\0\0\0\0\0\7\0\x10\0\0\0\x0f"
                                   "dc1-a\0dc2-a\0\0\0\0\0\0\0\0\1";
    static uint8_t room[FRAME_BYTES_MAX];
    struct buf heard = {.bytes = room, .size = sizeof room};
    struct frame f;
    ssize_t got;

    (void)state;
    connect_line(&line[0]);
    assert_int_equal(write(line[0].in, hello, sizeof hello - 1), sizeof hello - 1);
    turn();
    got = read(line[0].out, room, sizeof room);
    assert_true(got > 0);
    buf_commit(&heard, (size_t)got);
    assert_int_equal(frame_next(&heard, &f), 1);
    assert_int_equal(f.type, FRAME_REFUSE);
    assert_int_equal(f.refuse.kind, REFUSE_OPERATOR);
    assert_non_null(strstr(f.refuse.reason, "protocol 4 is spoken there"));
    assert_non_null(strstr(f.refuse.reason, "install the same version"));
}

static void
test_inlet_that_was_shut_lets_what_it_dropped_come_again(void **state)
{
    (void)state;
    open_session(1);
    inlet_shut(&inlet, true);
    turn();
    inlet_shut(&inlet, false); /* nothing came */
    assert_non_null(inlet.live);
    inlet_shut(&inlet, true);
    ship_pieces(1);
    assert_true(pour(&line[0]));
    turn();
    assert_int_equal(spool.written, FIRST);
    assert_non_null(inlet.live);
    inlet_shut(&inlet, false);
    assert_null(inlet.live);
    greet(&line[LANES], 2, 0);
    assert_non_null(inlet.live);
    assert_false(receiver.shut || receiver.dropped);
}

static void
test_inlet_tells_that_somebody_arrives(void **state)
{
    (void)state;
    assert_false(inlet_arrives(&inlet, now_us));
    connect_line(&line[0]);
    assert_true(inlet_arrives(&inlet, now_us));
    hang_up(&line[0]);
    turn();
    assert_false(inlet_arrives(&inlet, now_us));
    open_session(1);
    assert_false(inlet_arrives(&inlet, now_us));
    greet(&line[LANES], UINT64_C(1) << 40, 0); /* another start of the agent, beside the old one */
    assert_int_equal(inlet.ended, 0);
    turn();
    assert_true(inlet_arrives(&inlet, now_us));
    assert_false(inlet_arrives(&inlet, now_us + 5 * SECOND_US));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_inlet_takes_what_has_come_before_the_end, make, drop),
        cmocka_unit_test_setup_teardown(
            test_inlet_takes_what_has_come_though_nobody_reads_its_answers, make, drop),
        cmocka_unit_test_setup_teardown(test_inlet_takes_what_has_come_over_every_lane, make, drop),
        cmocka_unit_test_setup_teardown(test_inlet_takes_what_was_held_out_of_order, make, drop),
        cmocka_unit_test_setup_teardown(test_inlet_does_not_take_its_own_stall_for_silence, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_inlet_tells_that_it_stalls_though_no_position_moves,
                                        make, drop),
        cmocka_unit_test_setup_teardown(test_inlet_takes_what_other_lanes_have_behind_a_goodbye,
                                        make, drop),
        cmocka_unit_test_setup_teardown(test_inlet_lets_a_newer_session_wait_for_the_rest, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_inlet_lets_a_newer_session_in_after_two_seconds, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_inlet_tells_an_older_agent_why_it_is_refused, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_inlet_that_was_shut_lets_what_it_dropped_come_again,
                                        make, drop),
        cmocka_unit_test_setup_teardown(test_inlet_tells_that_somebody_arrives, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

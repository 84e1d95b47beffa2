/* SPDX-License-Identifier: PostgreSQL */
/*
 * relay: a real spool and real sockets, under a clock of the test's own; clients that behave, that
 * are slow, that send nonsense, and PostgreSQL's own psql and pg_receivewal where they are
 * installed. Who a client is the kernel says: the test works in a data directory under the name of
 * postgres, and its children connect for it.
 */
#include "unit/unit.h"

#include "base/clock.h"
#include "base/durable.h"
#include "shipper/replication/pgwire.h"
#include "shipper/replication/relay.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MB    (1u << 20)
#define FIRST UINT64_C(0x1000000)
#define FORK  (FIRST + 2 * MB + 1000)

static const char history_2[] = "1\t0/12003E8\tno recovery target specified\n";

enum who { STANDBY, GUEST, OURSELVES };

#define GUESTS 3

static char pgdata[64];
static int dialler[2]; /* of STANDBY and GUEST */
static char run[64], wal_dir[80];
static struct spool spool;
static struct relay relay;
static int64_t now_us;

struct client {
    int fd;
    struct buf in;
    size_t pending; /* of the message expect gave last */
};

static uint8_t
wal_byte(timeline_t timeline, lsn_t lsn)
{
    return (uint8_t)((lsn * UINT64_C(0x9E3779B97F4A7C15)) >> 56) ^
           (timeline > 1 && lsn >= FORK ? 0x55 : 0);
}

/* Receive WAL up to `end`, flushed. */
static void
grow(timeline_t timeline, lsn_t start, lsn_t end)
{
    static uint8_t bytes[64 << 10];

    for (lsn_t lsn = start; lsn < end;) {
        size_t n = end - lsn < sizeof bytes ? (size_t)(end - lsn) : sizeof bytes;
        struct flush f;
        int code;

        for (size_t i = 0; i < n; i++)
            bytes[i] = wal_byte(timeline, lsn + i);
        code = spool_append(&spool, timeline, lsn, bytes, n, now_us);
        if (code == 0)
            lsn += n;
        else
            assert_int_equal(code, ERR_AGAIN); /* a timeline's first file is to be made */
        while (spool_flush_begin(&spool, &f, now_us)) {
            spool_flush_run(&f);
            assert_int_equal(spool_flush_end(&spool, &f), 0);
        }
    }
}

static void
adopt(void)
{
    struct identity cluster = {
        .system_identifier = 7710451456251498215, .segment_bytes = MB, .postgres_major = 15};

    assert_int_equal(spool_adopt(&spool, &cluster), 0);
}

static void
fill(lsn_t end)
{
    adopt();
    assert_int_equal(spool_begin(&spool, 1, FIRST), 0);
    grow(1, FIRST, end);
}

static int
setup(void **state)
{
    (void)state;
    snprintf(run, sizeof run, "/tmp/test_relay.XXXXXX");
    if (mkdtemp(run) == NULL)
        return -1;
    snprintf(wal_dir, sizeof wal_dir, "%s/spool", run);
    now_us = clock_us();
    return mkdir(wal_dir, 0700) < 0 || spool_open(&spool, wal_dir) < 0 ||
                   relay_open(&relay, run, &spool, pgdata, GUESTS) < 0
               ? -1
               : 0;
}

static void
remove_tree(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *d;

    while (dir != NULL && (d = readdir(dir)) != NULL) {
        char name[400];

        snprintf(name, sizeof name, "%s/%s", path, d->d_name);
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 && unlink(name) < 0)
            remove_tree(name);
    }
    if (dir != NULL)
        closedir(dir);
    rmdir(path);
}

static int
teardown(void **state)
{
    (void)state;
    relay_close(&relay);
    spool_close(&spool);
    remove_tree(run);
    return 0;
}

/* ---- one turn of the loop, and a client beside it ---- */

/* Every ready descriptor is seen; true when there was something to do. */
static bool
turn(void)
{
    struct loop l;
    bool busy = false;

    loop_begin(&l);
    relay_watch(&relay, &l, now_us);
    busy = l.due_us <= now_us;
    l.due_us = 0;
    assert_int_equal(loop_wait(&l), 0);
    for (size_t i = 0; i < l.count; i++)
        busy |= l.fds[i].revents != 0;
    relay_run(&relay, &l, now_us);
    return busy;
}

static void
settle(void)
{
    int turns = 0;

    while (turn())
        assert_true(turns++ < 1000); /* the loop never spins */
}

static int
connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* One byte and a descriptor, over a pair of sockets. */
union carrier {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
};

static void
hand_over(int to, int fd)
{
    union carrier carrier = {0};
    struct iovec one = {.iov_base = "", .iov_len = 1};
    struct msghdr m = {.msg_iov = &one,
                       .msg_iovlen = 1,
                       .msg_control = carrier.bytes,
                       .msg_controllen = sizeof carrier.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    assert_int_equal(sendmsg(to, &m, 0), 1);
}

static int
take_over(int from)
{
    union carrier carrier;
    char byte;
    struct iovec one = {.iov_base = &byte, .iov_len = 1};
    struct msghdr m = {.msg_iov = &one,
                       .msg_iovlen = 1,
                       .msg_control = carrier.bytes,
                       .msg_controllen = sizeof carrier.bytes};
    int fd;

    assert_int_equal(recvmsg(from, &m, MSG_CMSG_CLOEXEC), 1);
    memcpy(&fd, CMSG_DATA(&carrier.align), sizeof fd);
    assert_int_equal(recv(from, &byte, 1, 0), 1); /* ... and only ours is open */
    return fd;
}

/* A process that connects where it is told to, from `cwd`, and hands the socket over. */
static int
start_dialler(const char *cwd)
{
    char path[UNIX_SOCKET_PATH_SIZE];
    int pair[2], fd;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    if (fork() != 0) {
        close(pair[1]);
        return pair[0];
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (chdir(cwd) < 0)
        _exit(1);
    while (recv(pair[1], path, sizeof path, 0) == sizeof path) {
        fd = connect_to(path);
        hand_over(pair[1], fd);
        close(fd);
        if (send(pair[1], "", 1, 0) != 1) /* ours is not open any more */
            _exit(1);
    }
    _exit(0);
}

static void
dial_as(struct client *c, enum who who)
{
    memset(c, 0, sizeof *c);
    if (who == OURSELVES) {
        c->fd = connect_to(relay.path);
    } else {
        assert_int_equal(send(dialler[who], relay.path, sizeof relay.path, 0), sizeof relay.path);
        c->fd = take_over(dialler[who]);
    }
    assert_int_equal(buf_init(&c->in, 512 << 10), 0);
}

static void
dial(struct client *c)
{
    dial_as(c, STANDBY);
}

static void
hang_up(struct client *c)
{
    close(c->fd);
    buf_release(&c->in);
}

static void
say_bytes(struct client *c, const void *bytes, size_t n)
{
    assert_int_equal(send(c->fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

static void
say(struct client *c, char type, const void *body, size_t n)
{
    uint8_t bytes[1024];
    struct buf b = {.bytes = bytes, .size = sizeof bytes};

    buf_put_u8(&b, (uint8_t)type);
    buf_put_u32(&b, (uint32_t)(4 + n));
    buf_put_bytes(&b, body, n);
    say_bytes(c, buf_data(&b), buf_used(&b));
}

static void
ask(struct client *c, const char *query)
{
    say(c, 'Q', query, strlen(query) + 1);
}

static void
say_status(struct client *c, lsn_t write, lsn_t flush, lsn_t apply)
{
    uint8_t bytes[64];
    struct buf b = {.bytes = bytes, .size = sizeof bytes};

    buf_put_u8(&b, 'r');
    buf_put_u64(&b, write);
    buf_put_u64(&b, flush);
    buf_put_u64(&b, apply);
    buf_put_u64(&b, 0);
    buf_put_u8(&b, 0);
    say(c, 'd', buf_data(&b), buf_used(&b));
}

static void
start_up(struct client *c)
{
    static const char parameters[] =
        "user\0me\0database\0replication\0replication\0true\0application_name\0sb2\0";
    uint8_t bytes[128];
    struct buf b = {.bytes = bytes, .size = sizeof bytes};

    buf_put_u32(&b, (uint32_t)(8 + sizeof parameters));
    buf_put_u32(&b, 3u << 16);
    buf_put_bytes(&b, parameters, sizeof parameters);
    say_bytes(c, buf_data(&b), buf_used(&b));
}

/* What the relay has said so far; false when it hung up. */
static bool
listen_to(struct client *c)
{
    for (;;) {
        size_t room = buf_room(&c->in);
        ssize_t got = room == 0 ? 0 : read(c->fd, buf_reserve(&c->in, room), room);

        if (got > 0)
            buf_commit(&c->in, (size_t)got);
        else
            return room == 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
    }
}

/* The next message; its body stays until the next call. Type 0: hung up, or nothing comes. */
static char
next(struct client *c, struct reader *ret_body)
{
    for (int tries = 0; tries < 200; tries++) {
        struct reader r;
        uint32_t length;
        char type;

        buf_consume(&c->in, c->pending);
        c->pending = 0;
        reader_init(&r, buf_data(&c->in), buf_used(&c->in));
        type = (char)reader_u8(&r);
        length = reader_u32(&r);
        if (!r.failed && length - 4 <= r.left) {
            reader_init(ret_body, r.at, length - 4);
            c->pending = 1 + (size_t)length;
            return type;
        }
        turn();
        if (!listen_to(c) && tries > 2)
            return 0;
    }
    return 0;
}

static struct reader
expect(struct client *c, char type)
{
    struct reader body;
    char got = next(c, &body);

    if (got != type)
        print_error("expected '%c', got '%c' %.*s\n", type, got == 0 ? '0' : got,
                    got == 0 ? 0 : (int)body.left, got == 0 ? "" : (const char *)body.at);
    assert_int_equal(got, type);
    return body;
}

static void
expect_error(struct client *c, const char *sqlstate)
{
    struct reader body = expect(c, 'E');

    for (;;) {
        uint8_t field = reader_u8(&body);
        const char *text = reader_string(&body);

        assert_non_null(text);
        if (field != 'C')
            continue;
        assert_string_equal(text, sqlstate);
        return;
    }
}

static void
expect_row(struct client *c, const char *first, const char *second)
{
    const char *want[] = {first, second};
    struct reader body;

    expect(c, 'T');
    body = expect(c, 'D');
    reader_u16(&body);
    for (size_t i = 0; i < 2 && want[i] != NULL; i++) {
        uint32_t n = reader_u32(&body);
        const uint8_t *value = reader_bytes(&body, n);

        assert_int_equal(n, strlen(want[i]));
        assert_memory_equal(value, want[i], n);
    }
}

static void
expect_complete(struct client *c, const char *tag)
{
    struct reader body = expect(c, 'C');

    assert_string_equal(reader_string(&body), tag);
}

/* Up to ReadyForQuery, whatever lies before it. */
static void
get_ready(struct client *c)
{
    struct reader body;
    char type;

    while ((type = next(c, &body)) != 'Z')
        assert_int_not_equal(type, 0);
}

static void
enter_as(struct client *c, enum who who)
{
    dial_as(c, who);
    start_up(c);
    get_ready(c);
}

static void
enter(struct client *c)
{
    enter_as(c, STANDBY);
}

static void
stream_from(struct client *c, timeline_t timeline, lsn_t lsn)
{
    char query[80];

    snprintf(query, sizeof query, "START_REPLICATION " LSN_FORMAT " TIMELINE %u", LSN_ARGS(lsn),
             timeline);
    ask(c, query);
    expect(c, 'W');
}

/* Take WAL from lsn until `end` is reached, every byte looked at; keepalives may lie between. */
static void
take_wal(struct client *c, timeline_t timeline, lsn_t lsn, lsn_t end)
{
    while (lsn < end) {
        struct reader body = expect(c, 'd');

        if (reader_u8(&body) == 'k')
            continue;
        assert_true(reader_u64(&body) == lsn);
        assert_true(reader_u64(&body) >= lsn + body.left - 8);
        reader_u64(&body);
        assert_true(body.left > 0 && body.left <= PGWIRE_WAL_MAX);
        assert_true(segment_start(lsn, MB) == segment_start(lsn + body.left - 1, MB));
        while (body.left > 0)
            assert_int_equal(reader_u8(&body), wal_byte(timeline, lsn++));
    }
    assert_true(lsn == end);
}

static size_t
clients(void)
{
    size_t n = 0;

    for (size_t i = 0; i < RELAY_CLIENTS_MAX; i++)
        n += relay.client[i] != NULL;
    return n;
}

static void
expect_gone(struct client *c)
{
    struct reader body;

    assert_int_equal(next(c, &body), 0);
    assert_false(listen_to(c));
}

/* ---- sessions and commands ---- */

static void
test_relay_tells_before_it_knows_its_cluster(void **state)
{
    struct client c;

    (void)state;
    dial(&c);
    start_up(&c);
    expect_error(&c, "57P03");
    expect_gone(&c);
    assert_int_equal(clients(), 0);
    hang_up(&c);
}

static void
test_relay_remembers_what_an_empty_spool_is_asked_for(void **state)
{
    struct client c;

    (void)state;
    adopt();
    assert_int_equal(spool_put_history(&spool, 2, history_2, sizeof history_2 - 1), 0);
    enter(&c);
    ask(&c, "IDENTIFY_SYSTEM");
    expect_row(&c, "7710451456251498215",
               "2"); /* else a standby on timeline 2 would not go on to ask */
    get_ready(&c);
    ask(&c, "START_REPLICATION 0/1200000 TIMELINE 2");
    expect_error(&c, "58P01");
    expect(&c, 'Z');
    assert_int_equal(relay.wanted_timeline, 2);
    assert_true(relay.wanted == 0x1200000);
    hang_up(&c);
}

/* Where who has nothing yet begins, on the timeline of then. */
static void
test_relay_has_a_slot_of_any_name(void **state)
{
    struct client c;
    struct prune p;

    (void)state;
    adopt();
    enter_as(&c, GUEST);
    ask(&c, "READ_REPLICATION_SLOT barman");
    expect_error(&c, "58P01");
    get_ready(&c);
    fill(FORK);
    assert_int_equal(spool_put_history(&spool, 2, history_2, sizeof history_2 - 1), 0);
    grow(2, segment_start(FORK, MB), FIRST + 5 * MB + 500);
    ask(&c, "READ_REPLICATION_SLOT barman");
    expect_row(&c, "physical", "0/1000000");
    get_ready(&c);
    assert_true(spool_prune_begin(&spool, &p, FIRST + 4 * MB + 1, 0, INT64_MAX));
    spool_prune_run(&p);
    assert_int_equal(spool_prune_end(&spool, &p), 0);
    assert_true(spool.start > FORK);
    ask(&c, "READ_REPLICATION_SLOT \"barman\"");
    expect_row(&c, "physical", "0/1400000");
    get_ready(&c);
    ask(&c, "START_REPLICATION SLOT \"barman\" 0/1400000 TIMELINE 2");
    expect(&c, 'W');
    hang_up(&c);
}

static void
test_relay_answers_commands(void **state)
{
    struct client c;

    (void)state;
    fill(FIRST + 5000);
    enter(&c);
    ask(&c, "IDENTIFY_SYSTEM");
    expect_row(&c, "7710451456251498215", "1");
    expect_complete(&c, "IDENTIFY_SYSTEM");
    expect(&c, 'Z');
    ask(&c, "SHOW wal_segment_size;");
    expect_row(&c, "1MB", NULL);
    expect_complete(&c, "SHOW");
    expect(&c, 'Z');
    ask(&c, "SHOW shared_buffers");
    expect_error(&c, "42704");
    expect(&c, 'Z');
    ask(&c, "TIMELINE_HISTORY 7");
    expect_error(&c, "58P01");
    expect(&c, 'Z');
    ask(&c, "CREATE_REPLICATION_SLOT \"w\" TEMPORARY PHYSICAL (RESERVE_WAL)");
    expect_row(&c, "w", "0/0");
    get_ready(&c);
    ask(&c, "CREATE_REPLICATION_SLOT w PHYSICAL");
    expect_error(&c, "0A000");
    expect(&c, 'Z');
    ask(&c, "SELECT 1");
    expect_error(&c, "0A000");
    expect(&c, 'Z');
    ask(&c, "START_REPLICATION nowhere");
    expect_error(&c, "42601");
    expect(&c, 'Z');
    ask(&c, " ; ");
    expect(&c, 'I');
    expect(&c, 'Z');
    hang_up(&c);
}

static void
test_relay_refuses_encryption_twice_only(void **state)
{
    static const uint8_t ssl[] = {0, 0, 0, 8, 4, 210, 22, 47}, gss[] = {0, 0, 0, 8, 4, 210, 22, 48};
    struct client c;
    char answer[2];

    (void)state;
    adopt();
    dial(&c);
    say_bytes(&c, ssl, sizeof ssl);
    say_bytes(&c, gss, sizeof gss);
    settle();
    assert_int_equal(read(c.fd, answer, 2), 2);
    assert_memory_equal(answer, "NN", 2);
    say_bytes(&c, ssl, sizeof ssl);
    expect_error(&c, "08P01");
    expect_gone(&c);
    hang_up(&c);
}

static void
test_relay_ends_who_breaks_the_protocol(void **state)
{
    static const struct {
        bool entered;
        const char *bytes;
        size_t n;
    } cases[] = {
        {false, "GET / HTTP/1.1\r\n", 16}, {false, "\0\0\0\4\0\0\0\0", 8}, {true, "P\0\0\0\4", 5},
        {true, "Q\0\0\0\5x", 6},           {true, "Q\377\377\377\377", 5}, {true, "Q\0\0\0\4", 5}};

    (void)state;
    fill(FIRST + 5000);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct client c;

        dial(&c);
        if (cases[i].entered) {
            start_up(&c);
            get_ready(&c);
        }
        say_bytes(&c, cases[i].bytes, cases[i].n);
        expect_error(&c, "08P01");
        expect_gone(&c);
        assert_int_equal(clients(), 0);
        hang_up(&c);
    }
}

static void
test_relay_gives_up_on_a_slow_start(void **state)
{
    static const char packet[] = "\0\0\1\0\0\3\0\0user";
    struct client c;

    (void)state;
    adopt();
    dial(&c);
    for (int second = 0; second < 9; second++) {
        say_bytes(&c, &packet[second], 1); /* a byte a second */
        settle();
        now_us += SECOND_US;
    }
    assert_int_equal(clients(), 1);
    now_us += 2 * SECOND_US;
    expect_gone(&c);
    assert_int_equal(clients(), 0);
    hang_up(&c);
}

static void
test_relay_turns_one_more_guest_away_unless_one_is_idle(void **state)
{
    struct client c[GUESTS], more, standby, agent;

    (void)state;
    fill(FIRST + 5000);
    for (size_t i = 0; i < GUESTS; i++)
        enter_as(&c[i], GUEST);
    dial_as(&more, GUEST);
    expect_error(&more, "53300");
    hang_up(&more);
    enter(&standby); /* these have places of their own */
    enter_as(&agent, OURSELVES);
    now_us += 61 * SECOND_US;
    ask(&c[0], "SHOW server_version");
    get_ready(&c[0]);
    enter_as(&more, GUEST); /* the place of c[1] or c[2] */
    assert_int_equal(clients(), GUESTS + 2);
    ask(&c[0], "SHOW server_version");
    expect_row(&c[0], "15.0", NULL);
    for (size_t i = 0; i < GUESTS; i++)
        hang_up(&c[i]);
    hang_up(&more);
    hang_up(&standby);
    hang_up(&agent);
    settle();
    assert_int_equal(clients(), 0);
}

/* Thousands of queries whose answers nobody reads: they wait, bounded, and come in order. */
static void
test_relay_takes_no_more_than_it_can_answer(void **state)
{
    static char history[40000];
    struct client c;
    size_t asked = 0, n = 0;

    (void)state;
    fill(FIRST + 5000);
    while (n < sizeof history - 100)
        n += (size_t)snprintf(history + n, sizeof history - n, "# a comment\n");
    assert_int_equal(spool_put_history(&spool, 9, history, n), 0);
    enter(&c);
    for (; asked < 2000; asked++) {
        static const char query[] = "Q\0\0\0\27TIMELINE_HISTORY 9";

        if (send(c.fd, query, sizeof query, MSG_NOSIGNAL) < 0)
            break;
        if (asked % 50 == 0)
            settle();
    }
    settle();
    assert_true(asked > 100);
    for (size_t i = 0; i < asked; i++) {
        expect_row(&c, "00000009.history", history);
        expect_complete(&c, "TIMELINE_HISTORY");
        expect(&c, 'Z');
    }
    hang_up(&c);
}

/* ---- WAL ---- */

static void
test_relay_serves_every_byte(void **state)
{
    struct client c;

    (void)state;
    fill(FIRST + 3 * MB + 77);
    enter(&c);
    stream_from(&c, 1, FIRST);
    take_wal(&c, 1, FIRST, FIRST + 3 * MB + 77);
    hang_up(&c);
    settle();
    assert_int_equal(clients(), 0);
}

static void
test_relay_pushes_at_once_what_is_waited_for(void **state)
{
    struct client c;

    (void)state;
    fill(FIRST + 100);
    enter(&c);
    stream_from(&c, 1, FIRST + 100); /* all that is here */
    settle();
    assert_true(listen_to(&c));
    grow(1, FIRST + 100, FIRST + 101);
    relay_push(&relay, now_us); /* and no turn of the loop */
    assert_true(listen_to(&c));
    take_wal(&c, 1, FIRST + 100, FIRST + 101);
    hang_up(&c);
}

static void
test_relay_slow_client_slows_nobody(void **state)
{
    struct client slow, quick;

    (void)state;
    fill(FIRST + 6 * MB);
    enter(&slow);
    enter(&quick);
    stream_from(&slow, 1, FIRST);
    stream_from(&quick, 1, FIRST);
    take_wal(&quick, 1, FIRST, FIRST + 6 * MB);
    take_wal(&slow, 1, FIRST, FIRST + 6 * MB);
    hang_up(&slow);
    hang_up(&quick);
}

static void
test_relay_refuses_what_it_does_not_hold(void **state)
{
    struct client c;

    (void)state;
    fill(FIRST + MB);
    enter(&c);
    ask(&c, "START_REPLICATION 0/0 TIMELINE 1");
    expect_error(&c, "58P01");
    expect(&c, 'Z');
    ask(&c, "START_REPLICATION 0/1000000 TIMELINE 2");
    expect_error(&c, "XX000");
    expect(&c, 'Z');
    ask(&c, "START_REPLICATION 0/1100001 TIMELINE 1"); /* its flush position is 0/1100000 */
    expect_error(&c, "XX000");
    expect(&c, 'Z');
    stream_from(&c, 1, FIRST + MB); /* and goes on living */
    hang_up(&c);
}

static void
wait_for_the_end(struct client *c)
{
    struct reader body;
    char type;

    while ((type = next(c, &body)) == 'd') /* keepalives */
        ;
    assert_int_equal(type, 'c');
}

static void
test_relay_ends_a_timeline_as_walsender_does(void **state)
{
    struct client c;

    (void)state;
    fill(FORK);
    enter(&c);
    stream_from(&c, 1, FIRST);
    take_wal(&c, 1, FIRST, FORK);
    assert_int_equal(spool_put_history(&spool, 2, history_2, sizeof history_2 - 1), 0);
    grow(2, segment_start(FORK, MB), FORK + 500);
    wait_for_the_end(&c);
    say_status(&c, FORK, FORK, FORK); /* on its way when the end came */
    say(&c, 'c', "", 0);
    expect_row(&c, "2", "0/12003E8");
    expect_complete(&c, "START_STREAMING");
    expect_complete(&c, "START_REPLICATION");
    expect(&c, 'Z');
    ask(&c, "TIMELINE_HISTORY 2");
    expect_row(&c, "00000002.history", history_2);
    get_ready(&c);
    stream_from(&c, 2, segment_start(FORK, MB));
    take_wal(&c, 2, segment_start(FORK, MB), FORK + 500);
    hang_up(&c);
}

static void
test_relay_knows_where_an_old_timeline_ends(void **state)
{
    struct client c;

    (void)state;
    fill(FORK);
    assert_int_equal(spool_put_history(&spool, 2, history_2, sizeof history_2 - 1), 0);
    grow(2, segment_start(FORK, MB), FORK + 500);
    enter(&c);
    ask(&c, "START_REPLICATION 0/12003E8 TIMELINE 1"); /* exactly there: no copy at all */
    expect_row(&c, "2", "0/12003E8");
    expect_complete(&c, "START_STREAMING");
    expect_complete(&c, "START_REPLICATION");
    expect(&c, 'Z');
    ask(&c, "START_REPLICATION 0/12003E9 TIMELINE 1"); /* a standby that went another way */
    expect_error(&c, "XX000");
    expect(&c, 'Z');
    stream_from(&c, 1, FIRST + MB);
    take_wal(&c, 1, FIRST + MB, FORK);
    expect(&c, 'c');
    hang_up(&c);
}

/* The spool began behind the switch: the last bytes of the old timeline are in the new one's file,
 * where a walsender has them, too. */
static void
test_relay_serves_the_end_of_a_timeline_from_the_next_ones_file(void **state)
{
    static const enum who who[] = {STANDBY, GUEST};
    lsn_t start = segment_start(FORK, MB);

    (void)state;
    adopt();
    assert_int_equal(spool_put_history(&spool, 2, history_2, sizeof history_2 - 1), 0);
    assert_int_equal(spool_begin(&spool, 2, start), 0);
    grow(2, start, FORK + 500);
    for (size_t i = 0; i < sizeof who / sizeof *who; i++) {
        struct client c;

        enter_as(&c, who[i]);
        ask(&c, "START_REPLICATION 0/1100000 TIMELINE 1"); /* before that segment */
        expect_error(&c, "58P01");
        expect(&c, 'Z');
        assert_int_equal(relay.wanted_timeline, who[i] == STANDBY ? 1 : 0); /* it is to be got */
        assert_true(relay.wanted == (who[i] == STANDBY ? 0x1100000 : LSN_UNKNOWN));
        ask(&c, "READ_REPLICATION_SLOT any");
        expect_row(&c, "physical", "0/1200000");
        get_ready(&c);
        stream_from(&c, 1, start);
        assert_true(relay.wanted == LSN_UNKNOWN);
        take_wal(&c, 1, start, FORK);
        wait_for_the_end(&c);
        say(&c, 'c', "", 0);
        expect_row(&c, "2", "0/12003E8");
        get_ready(&c);
        stream_from(&c, 2, start);
        take_wal(&c, 2, start, FORK + 500);
        hang_up(&c);
    }
}

static void
remove_pg_wal(void)
{
    char path[120];

    snprintf(path, sizeof path, "%s/pg_wal", pgdata);
    remove_tree(path);
}

/* A segment of our own server, as it is after its promotion. */
static void
put_segment(timeline_t timeline, lsn_t start)
{
    static uint8_t bytes[MB];
    char name[SEGMENT_NAME_SIZE], path[120];
    int fd;

    for (size_t i = 0; i < MB; i++)
        bytes[i] = wal_byte(timeline, start + i);
    segment_name(name, timeline, start, MB);
    snprintf(path, sizeof path, "%s/pg_wal/%s", pgdata, name);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(durable_write(fd, bytes, MB, 0), 0);
    close(fd);
}

static void
recycle(timeline_t timeline, lsn_t start, lsn_t as)
{
    char name[SEGMENT_NAME_SIZE], from[120], to[120];

    segment_name(name, timeline, start, MB);
    snprintf(from, sizeof from, "%s/pg_wal/%s", pgdata, name);
    segment_name(name, timeline, as, MB);
    snprintf(to, sizeof to, "%s/pg_wal/%s", pgdata, name);
    assert_int_equal(rename(from, to), 0);
}

static void
promote(lsn_t flushed)
{
    char path[120];
    int dir;

    snprintf(path, sizeof path, "%s/pg_wal", pgdata);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(durable_dir(path, &dir), 0);
    assert_int_equal(durable_replace(dir, "00000002.history", history_2, sizeof history_2 - 1), 0);
    durable_close(dir);
    for (lsn_t start = segment_start(FORK, MB); start < flushed; start += MB)
        put_segment(2, start);
    relay.supply.timeline = 2;
    relay.supply.history = history_2;
    relay.supply.history_bytes = sizeof history_2 - 1;
    relay.supply.flushed = flushed;
}

/* The spool ends before the fork, at it, or behind it: a partial record that nobody finished. */
static void
test_relay_goes_on_when_its_member_is_promoted(void **state)
{
    static const int beyond[] = {-500, 0, 300};
    const lsn_t flushed = FIRST + 5 * MB + 4000;

    (void)state;
    adopt();
    assert_int_equal(spool_begin(&spool, 1, FIRST), 0);
    for (size_t i = 0; i < 3; i++) {
        lsn_t end = FORK + (lsn_t)(int64_t)beyond[i];
        struct client c, late;

        relay.supply.timeline = 0;
        grow(1, spool.available > 0 ? spool.available : FIRST, end);
        enter_as(&c, GUEST);
        stream_from(&c, 1, FIRST);
        take_wal(&c, 1, FIRST, end);
        promote(flushed);
        if (end < FORK)
            take_wal(&c, 1, end, FORK);
        wait_for_the_end(&c);
        say(&c, 'c', "", 0);
        expect_row(&c, "2", "0/12003E8");
        get_ready(&c);
        ask(&c, "IDENTIFY_SYSTEM");
        expect_row(&c, "7710451456251498215", "2");
        get_ready(&c);
        ask(&c, "TIMELINE_HISTORY 2");
        expect_row(&c, "00000002.history", history_2);
        get_ready(&c);
        stream_from(&c, 2, segment_start(FORK, MB));
        take_wal(&c, 2, segment_start(FORK, MB), flushed);
        put_segment(2, segment_start(flushed, MB) + MB);
        relay.supply.flushed += MB;
        take_wal(&c, 2, flushed, flushed + MB);
        enter_as(&late, GUEST); /* from before the fork */
        stream_from(&late, 1, FIRST + MB);
        take_wal(&late, 1, FIRST + MB, FORK);
        wait_for_the_end(&late);
        say(&late, 'c', "", 0);
        get_ready(&late);
        recycle(2, FIRST + 3 * MB, FIRST + 8 * MB); /* no slot keeps it */
        ask(&late, "START_REPLICATION 0/1300000 TIMELINE 2");
        expect_error(&late, "58P01");
        hang_up(&c);
        hang_up(&late);
        remove_pg_wal();
    }
}

static void
test_relay_lets_a_client_end_its_copy(void **state)
{
    struct relay_standby standby;
    struct client c;

    (void)state;
    fill(FIRST + 100);
    enter(&c);
    stream_from(&c, 1, FIRST);
    say_status(&c, FIRST + 100, FIRST + 90, FIRST + 80);
    take_wal(&c, 1, FIRST, FIRST + 100);
    settle();
    relay_standby(&relay, &standby);
    assert_true(standby.connected && standby.flush == FIRST + 90);
    say(&c, 'c', "", 0);
    expect(&c, 'd'); /* the keepalive of having caught up */
    expect(&c, 'c');
    expect_complete(&c, "START_STREAMING");
    expect_complete(&c, "START_REPLICATION");
    expect(&c, 'Z');
    say_status(&c, FIRST + 100, FIRST + 100, FIRST + 100); /* too late: ignored */
    ask(&c, "SHOW server_version_num");
    expect_row(&c, "150000", NULL);
    relay_standby(&relay, &standby);
    assert_false(standby.connected);
    assert_true(standby.apply == FIRST + 80);
    hang_up(&c);
}

static const uint8_t feedback[] = {'h', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0xD4,
                                   0,   0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0};
static const uint8_t feedback_old[] = {'h', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9,
                                       0,   0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

static void
test_relay_hears_its_standby(void **state)
{
    struct relay_standby standby;
    struct client c;

    (void)state;
    fill(FIRST + MB + 100);
    enter(&c);
    stream_from(&c, 1, FIRST + MB);
    say_status(&c, FIRST + MB + 100, FIRST + MB + 90, FIRST + MB + 80);
    say(&c, 'd', feedback, sizeof feedback);
    settle();
    relay_standby(&relay, &standby);
    assert_true(standby.connected && standby.write == FIRST + MB + 100 &&
                standby.apply == FIRST + MB + 80);
    assert_true(standby.xmin == (UINT64_C(1) << 32 | 724) && standby.catalog_xmin == 0);
    assert_true(relay_needs(&relay) == FIRST + MB);
    hang_up(&c);
    settle();
    relay_standby(&relay, &standby);
    assert_false(standby.connected);
    assert_true(standby.left_us > 0 && standby.flush == FIRST + MB + 90);
    assert_true(relay_needs(&relay) == UINT64_MAX);
}

/* Other walreceivers come later, are further, say it last, and stay when it has left. */
static void
test_relay_believes_its_own_standby_only(void **state)
{
    static const enum who others[] = {GUEST, OURSELVES};
    const lsn_t end = FIRST + MB + 100;
    struct relay_guest guest[RELAY_CLIENTS_MAX];
    struct relay_standby standby;
    struct client c, other[2];

    (void)state;
    adopt();
    for (size_t i = 0; i < 2; i++) {
        enter_as(&other[i], others[i]);
        ask(&other[i], "START_REPLICATION 0/1200000 TIMELINE 2");
        expect_error(&other[i], "58P01");
        get_ready(&other[i]);
    }
    assert_true(relay.wanted_timeline == 0 && relay.wanted == LSN_UNKNOWN);
    fill(end);
    relay_offer(&relay);
    for (size_t i = 0; i < 2; i++) {
        stream_from(&other[i], 1, FIRST);
        take_wal(&other[i], 1, FIRST, end);
        say_status(&other[i], end, end, end);
        say(&other[i], 'd', feedback_old, sizeof feedback_old);
        settle();
        relay_standby(&relay, &standby);
        assert_true(!standby.connected && standby.left_us == 0 && standby.xmin == 0);
    }
    assert_int_equal(access(relay.offer, F_OK), 0);
    enter(&c);
    stream_from(&c, 1, FIRST + MB);
    say_status(&c, FIRST + MB + 30, FIRST + MB + 20, FIRST + MB + 10);
    say(&c, 'd', feedback, sizeof feedback);
    settle();
    now_us += SECOND_US;
    for (size_t i = 0; i < 2; i++) {
        say_status(&other[i], end, end, end);
        say(&other[i], 'd', feedback_old, sizeof feedback_old);
    }
    settle();
    relay_standby(&relay, &standby);
    assert_true(standby.connected && standby.flush == FIRST + MB + 20);
    assert_true(standby.apply == FIRST + MB + 10);
    assert_true(standby.xmin == (UINT64_C(1) << 32 | 724));
    assert_int_equal(relay_guests(&relay, guest), 1);
    assert_true(guest[0].streams && !guest[0].afar && guest[0].pid > 0 && guest[0].pid != getpid());
    assert_true(guest[0].sent == end && guest[0].applied == end && guest[0].timeline == 1);
    assert_string_equal(guest[0].application_name, "sb2");
    hang_up(&c);
    settle();
    relay_standby(&relay, &standby);
    assert_true(!standby.connected && standby.flush == FIRST + MB + 20);
    for (size_t i = 0; i < 2; i++)
        hang_up(&other[i]);
}

/* What a guest lacks is kept for it, a bounded amount of it. */
static void
test_relay_keeps_a_little_for_a_guest(void **state)
{
    struct client c;

    (void)state;
    fill(FIRST + MB + 100);
    enter_as(&c, GUEST);
    stream_from(&c, 1, FIRST);
    say_status(&c, FIRST, FIRST, 0);
    settle();
    assert_true(relay_needs(&relay) == FIRST);
    spool.available += RELAY_GUEST_BYTES;
    assert_true(relay_needs(&relay) == UINT64_MAX);
    spool.available -= RELAY_GUEST_BYTES;
    hang_up(&c);
}

/* What a link of this agent still has to ship is kept, up to a bound, too. */
static void
test_relay_keeps_more_for_its_own_agent(void **state)
{
    struct client c;

    (void)state;
    fill(FIRST + MB + 100);
    relay.onward_bytes = 2 * RELAY_GUEST_BYTES;
    enter_as(&c, OURSELVES);
    stream_from(&c, 1, FIRST);
    say_status(&c, FIRST, FIRST, 0);
    settle();
    spool.available += RELAY_GUEST_BYTES;
    assert_true(relay_needs(&relay) == FIRST);
    spool.available += RELAY_GUEST_BYTES;
    assert_true(relay_needs(&relay) == UINT64_MAX);
    spool.available -= 2 * RELAY_GUEST_BYTES;
    hang_up(&c);
}

static bool
offers(void)
{
    return access(relay.offer, F_OK) == 0;
}

static void
test_relay_offers_itself_until_a_standby_gets_on(void **state)
{
    struct client c;

    (void)state;
    fill(FIRST + MB + 100);
    assert_false(offers());
    relay_offer(&relay);
    assert_true(offers());
    enter(&c);
    stream_from(&c, 1, FIRST);
    say_status(&c, FIRST, FIRST, FIRST); /* it got nothing yet */
    settle();
    assert_true(offers());
    say_status(&c, FIRST + MB, FIRST + MB, FIRST + 100);
    settle();
    assert_false(offers());
    hang_up(&c);
    settle();
    assert_false(offers()); /* it may have been promoted */
    relay_offer(&relay);
    assert_true(offers());
    relay_close(&relay);
    assert_false(offers());
}

/* As the tunnel brings it: a pair of which the relay gets one end. */
static bool
dial_from_afar(struct client *c)
{
    int pair[2];

    memset(c, 0, sizeof *c);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    c->fd = pair[0];
    assert_int_equal(buf_init(&c->in, 512 << 10), 0);
    return relay_adopt(&relay, pair[1], now_us);
}

static void
enter_from_afar(struct client *c)
{
    assert_true(dial_from_afar(c));
    start_up(c);
    get_ready(c);
}

static void
test_relay_believes_nothing_from_afar(void **state)
{
    const lsn_t end = FIRST + MB + 100;
    struct relay_standby standby;
    struct client c[RELAY_AFAR_MAX], more;

    (void)state;
    adopt();
    enter_from_afar(&c[0]);
    ask(&c[0], "START_REPLICATION 0/1200000 TIMELINE 2");
    expect_error(&c[0], "58P01");
    assert_true(relay.wanted_timeline == 0 && relay.wanted == LSN_UNKNOWN);
    hang_up(&c[0]);
    settle();
    fill(end);
    for (size_t i = 0; i < RELAY_AFAR_MAX; i++)
        enter_from_afar(&c[i]);
    assert_false(dial_from_afar(&more)); /* the other places are for this host */
    hang_up(&more);
    stream_from(&c[0], 1, FIRST);
    say_status(&c[0], end, end, end); /* as the standby would */
    say(&c[0], 'd', feedback, sizeof feedback);
    settle();
    relay_standby(&relay, &standby);
    assert_true(!standby.connected && standby.left_us == 0 && standby.xmin == 0);
    say_status(&c[0], FIRST, FIRST, FIRST);
    settle();
    assert_true(relay_needs(&relay) == FIRST);
    spool.available += RELAY_GUEST_BYTES;
    assert_true(relay_needs(&relay) == UINT64_MAX);
    spool.available -= RELAY_GUEST_BYTES;
    for (size_t i = 0; i < RELAY_AFAR_MAX; i++)
        hang_up(&c[i]);
    settle();
    relay_standby(&relay, &standby);
    assert_true(standby.left_us == 0 && standby.flush == LSN_UNKNOWN);
    assert_int_equal(clients(), 0);
}

static void
say_startup(struct client *c, const char *parameters, size_t n)
{
    uint8_t bytes[128];
    struct buf b = {.bytes = bytes, .size = sizeof bytes};

    buf_put_u32(&b, (uint32_t)(8 + n));
    buf_put_u32(&b, 3u << 16);
    buf_put_bytes(&b, parameters, n);
    say_bytes(c, buf_data(&b), buf_used(&b));
}

static const char sql_startup[] = "user\0sync\0database\0app\0application_name\0slotsync worker\0";

static void
test_relay_gives_out_a_session_with_sql(void **state)
{
    static const uint8_t ssl[] = {0, 0, 0, 8, 4, 210, 22, 47};
    struct client c;
    struct relay_sql sql;
    char answer;

    (void)state;
    relay.passes_sql = true; /* its cluster need not be known */
    dial(&c);
    say_bytes(&c, ssl, sizeof ssl);
    settle();
    assert_false(relay_take_sql(&relay, &sql));
    say_startup(&c, sql_startup, sizeof sql_startup);
    say_bytes(&c, "more", 4);
    turn();
    turn();
    assert_true(relay_take_sql(&relay, &sql));
    assert_string_equal(sql.startup.user, "sync");
    assert_string_equal(sql.startup.dbname, "app");
    assert_int_equal(sql.startup.bytes, 8 + sizeof sql_startup);
    assert_int_equal(buf_used(&sql.in), 8 + sizeof sql_startup + 4); /* no byte is lost */
    assert_memory_equal(buf_data(&sql.in) + sql.startup.bytes, "more", 4);
    assert_int_equal(clients(), 0);
    assert_false(relay_take_sql(&relay, &sql));
    assert_int_equal(read(c.fd, &answer, 1), 1);
    assert_int_equal(answer, 'N');
    assert_int_equal(send(sql.fd, "x", 1, 0), 1); /* the connection lives on */
    assert_int_equal(read(c.fd, &answer, 1), 1);
    close(sql.fd);
    buf_release(&sql.in);
    hang_up(&c);
}

static void
test_relay_keeps_sql_from_those_who_may_not(void **state)
{
    static const uint8_t cancel[16] = {0, 0, 0, 16, 4, 210, 22, 46};
    struct client c, gone;
    struct relay_sql sql;

    (void)state;
    adopt();
    dial(&c); /* nobody takes it */
    say_startup(&c, sql_startup, sizeof sql_startup);
    expect_error(&c, "0A000");
    expect_gone(&c);
    hang_up(&c);
    relay.passes_sql = true;
    assert_true(dial_from_afar(&c));
    say_startup(&c, sql_startup, sizeof sql_startup);
    expect_error(&c, "0A000");
    expect_gone(&c);
    hang_up(&c);
    dial(&c);
    say_bytes(&c, cancel, sizeof cancel);
    expect_gone(&c); /* without a word, as from a server */
    hang_up(&c);
    dial(&gone); /* it does not wait to be taken */
    say_startup(&gone, sql_startup, sizeof sql_startup);
    turn();
    hang_up(&gone);
    for (int i = 0; i < 5; i++)
        turn();
    assert_int_equal(clients(), 0);
    assert_false(relay_take_sql(&relay, &sql));
}

/* Nothing happens: a keepalive each 10 s, a question after 30 s, the end after 60 s. */
static void
test_relay_keeps_alive_asks_and_gives_up(void **state)
{
    struct client c;
    int said = 0, asked = 0, first_ask = 0, second;

    (void)state;
    fill(FIRST + 100);
    enter(&c);
    stream_from(&c, 1, FIRST + 100);
    expect(&c, 'd'); /* has caught up */
    for (second = 1; second <= 70 && clients() > 0; second++) {
        struct reader body;

        now_us += SECOND_US;
        settle();
        listen_to(&c);
        if (buf_used(&c.in) == c.pending)
            continue;
        body = expect(&c, 'd');
        assert_int_equal(reader_u8(&body), 'k');
        assert_true(reader_u64(&body) == FIRST + 100);
        reader_u64(&body);
        said++;
        if (reader_u8(&body) == 1 && asked++ == 0)
            first_ask = second;
    }
    assert_int_equal(said, 6);
    assert_int_equal(first_ask, 30);
    assert_int_equal(asked, 4); /* the last one in vain */
    assert_int_equal(second, 61);
    hang_up(&c);
}

/* ---- the socket ---- */

static void
test_relay_takes_over_a_dead_agents_socket_only(void **state)
{
    struct relay second;
    struct stat st;
    char path[108];

    (void)state;
    assert_int_equal(relay_open(&second, run, &spool, pgdata, GUESTS),
                     ERR_LOCAL); /* ours is alive */
    assert_int_equal(stat(relay.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    memcpy(path, relay.path, sizeof path);
    close(relay.fd); /* as kill -9 leaves it */
    relay.fd = -1;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(relay_open(&relay, run, &spool, pgdata, GUESTS), 0);
    relay_close(&relay);
    assert_int_equal(stat(path, &st), -1);
    close(open(path, O_CREAT | O_WRONLY, 0600)); /* somebody's file */
    assert_int_equal(relay_open(&relay, run, &spool, pgdata, GUESTS), ERR_LOCAL);
    assert_int_equal(stat(path, &st), 0);
}

static void
test_relay_says_goodbye(void **state)
{
    struct client c;

    (void)state;
    fill(FIRST + 100);
    enter(&c);
    relay_close(&relay);
    assert_false(listen_to(&c));
    expect_error(&c, "57P01");
    hang_up(&c);
}

/* ---- PostgreSQL's own tools ---- */

static const char *
find_tool(char out[80], const char *name)
{
    for (int major = 17; major >= 13; major--) {
        snprintf(out, 80, "/usr/lib/postgresql/%d/bin/%s", major, name);
        if (access(out, X_OK) == 0)
            return out;
    }
    return NULL;
}

/* Its exit status, served meanwhile; output (if asked for) without the last newline. */
static int
run_tool(char *const arguments[], char *output, size_t size)
{
    int ends[2], status;
    ssize_t got = 0, n = 0;
    int64_t deadline_us = clock_us() + 20 * SECOND_US;
    pid_t child, ended;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], 1);
        execv(arguments[0], arguments);
        _exit(127);
    }
    close(ends[1]);
    while ((ended = waitpid(child, &status, WNOHANG)) == 0 && clock_us() < deadline_us) {
        now_us = clock_us();
        if (!turn())
            usleep(1000);
    }
    if (ended == 0) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    while (output != NULL && got < (ssize_t)size - 1 &&
           (n = read(ends[0], output + got, size - 1 - (size_t)got)) > 0)
        got += n;
    close(ends[0]);
    if (output != NULL)
        output[got > 0 && output[got - 1] == '\n' ? got - 1 : got] = '\0';
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
psql(const char *query, const char *want)
{
    char tool[80], conninfo[120], command[80], output[400];
    char at[] = "-AtXc";
    char *arguments[] = {tool, conninfo, at, command, NULL};

    if (find_tool(tool, "psql") == NULL)
        skip();
    snprintf(conninfo, sizeof conninfo, "host=%s port=5432 user=me replication=true", run);
    snprintf(command, sizeof command, "%s", query);
    assert_int_equal(run_tool(arguments, output, sizeof output), 0);
    assert_string_equal(output, want);
}

static void
test_relay_speaks_with_psql(void **state)
{
    (void)state;
    fill(FORK);
    assert_int_equal(spool_put_history(&spool, 2, history_2, sizeof history_2 - 1), 0);
    psql("IDENTIFY_SYSTEM", "7710451456251498215|1|0/12003E8|");
    psql("SHOW wal_segment_size", "1MB");
    psql("TIMELINE_HISTORY 2", "00000002.history|1\t0/12003E8\tno recovery target specified\n");
    psql("READ_REPLICATION_SLOT any", "physical|0/1000000|1");
}

static void
compare_segment(const char *folder, timeline_t timeline, lsn_t start)
{
    static uint8_t bytes[MB];
    char name[SEGMENT_NAME_SIZE];
    int dir, fd;

    segment_name(name, timeline, start, MB);
    assert_int_equal(durable_dir(folder, &dir), 0);
    assert_int_equal(durable_open(dir, name, DURABLE_READ, &fd), 0);
    assert_int_equal(durable_read(fd, bytes, MB, 0), MB);
    for (size_t i = 0; i < MB; i++)
        if (bytes[i] != wal_byte(timeline, start + i))
            assert_int_equal(i, -1);
    durable_close(fd);
    durable_close(dir);
}

static void
compare_received(const char *folder)
{
    compare_segment(folder, 1, FIRST);
    compare_segment(folder, 1, FIRST + MB);
    for (lsn_t start = segment_start(FORK, MB); start < FIRST + 5 * MB; start += MB)
        compare_segment(folder, 2, start);
}

/* Across the end of a timeline, up to a position of the second one; into a folder that is empty,
 * from what a slot is said to keep (15 and later ask), and into one with something in it. */
static void
test_relay_feeds_pg_receivewal(void **state)
{
    char tool[80], conninfo[120], folder[100], end[LSN_TEXT_SIZE], seed[140];
    char d[] = "-d", D[] = "-D", E[] = "-E", no_loop[] = "-n", no_sync[] = "--no-sync";
    char S[] = "-S", barman[] = "barman";
    char *arguments[] = {tool, d, conninfo, D, folder, E, end, no_loop, no_sync, NULL, NULL, NULL};

    (void)state;
    if (find_tool(tool, "pg_receivewal") == NULL)
        skip();
    fill(FORK);
    assert_int_equal(spool_put_history(&spool, 2, history_2, sizeof history_2 - 1), 0);
    grow(2, segment_start(FORK, MB), FIRST + 5 * MB + 500);
    snprintf(conninfo, sizeof conninfo, "host=%s port=5432 user=me", run);
    snprintf(folder, sizeof folder, "%s/received", run);
    snprintf(end, sizeof end, LSN_FORMAT, LSN_ARGS(FIRST + 5 * MB));
    assert_int_equal(mkdir(folder, 0700), 0);
    if (find_tool(tool, "pg_receivewal") != NULL &&
        atoi(tool + strlen("/usr/lib/postgresql/")) >= 15) {
        arguments[9] = S;
        arguments[10] = barman;
        assert_int_equal(run_tool(arguments, NULL, 0), 0);
        compare_received(folder);
        arguments[9] = NULL;
        remove_tree(folder);
        assert_int_equal(mkdir(folder, 0700), 0);
    }
    snprintf(seed, sizeof seed, "%s/000000010000000000000010.partial",
             folder); /* begin there, on timeline 1 */
    close(open(seed, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(run_tool(arguments, NULL, 0), 0);
    compare_received(folder);
}

/* What the kernel will say of this process and of those that dial. */
static int
become_postgres(void **state)
{
    (void)state;
    snprintf(pgdata, sizeof pgdata, "/tmp/test_relay_pgdata.XXXXXX");
    if (mkdtemp(pgdata) == NULL || chdir(pgdata) < 0 || prctl(PR_SET_NAME, "postgres") < 0)
        return -1;
    dialler[STANDBY] = start_dialler(pgdata);
    dialler[GUEST] = start_dialler("/");
    return dialler[STANDBY] < 0 || dialler[GUEST] < 0;
}

static int
clean_up(void **state)
{
    (void)state;
    close(dialler[STANDBY]);
    close(dialler[GUEST]);
    remove_tree(pgdata);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_relay_tells_before_it_knows_its_cluster, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_relay_remembers_what_an_empty_spool_is_asked_for,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_answers_commands, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_has_a_slot_of_any_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_refuses_encryption_twice_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_ends_who_breaks_the_protocol, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_gives_up_on_a_slow_start, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_turns_one_more_guest_away_unless_one_is_idle,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_takes_no_more_than_it_can_answer, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_relay_serves_every_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_pushes_at_once_what_is_waited_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_relay_slow_client_slows_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_refuses_what_it_does_not_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_ends_a_timeline_as_walsender_does, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_relay_knows_where_an_old_timeline_ends, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_relay_serves_the_end_of_a_timeline_from_the_next_ones_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_goes_on_when_its_member_is_promoted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_relay_lets_a_client_end_its_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_hears_its_standby, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_believes_its_own_standby_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_keeps_a_little_for_a_guest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_keeps_more_for_its_own_agent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_offers_itself_until_a_standby_gets_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_relay_believes_nothing_from_afar, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_gives_out_a_session_with_sql, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_keeps_sql_from_those_who_may_not, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_relay_keeps_alive_asks_and_gives_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_takes_over_a_dead_agents_socket_only, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_relay_says_goodbye, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_speaks_with_psql, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relay_feeds_pg_receivewal, setup, teardown),
    };

    return cmocka_run_group_tests(tests, become_postgres, clean_up);
}

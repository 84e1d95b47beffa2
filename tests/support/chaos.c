/* SPDX-License-Identifier: PostgreSQL */
/*
 * chaos: a member of the pool that says anything: valid, half valid and broken frames of every
 * type, from a seed.
 *
 *   chaos dial RUN TO SEED SECONDS    sessions into the agent of that run directory, as sshd's
 *   chaos answer SEED                 the forced command behind sshd: an agent that was dialled
 *
 * It is dc3-a of the pool "demo". It never claims to be the primary: who is that is another matter.
 */
#include "base/clock.h"
#include "base/fail.h"
#include "shipper/wire/codec.h"
#include "shipper/wire/frame.h"
#include "shipper/receiver/inlet.h"
#include "shipper/wire/window.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME      "dc3-a"
#define TYPES     18
#define SESSION_S 4

struct peer {
    int in, out;
    struct buf heard, said;
    struct hello hello; /* what was heard, or is to be said */
    lsn_t lsn;
    uint64_t number, wanted;
    bool reads;
};

static struct codec codec;

static uint64_t
any(void)
{
    static const uint64_t odd[] = {0,
                                   1,
                                   2,
                                   0x7f,
                                   0x80,
                                   0xff,
                                   WINDOW_FRAMES - 1,
                                   WINDOW_FRAMES,
                                   0xffff,
                                   0xffffffff,
                                   16 << 20,
                                   UINT64_MAX,
                                   UINT64_MAX - 1,
                                   INT64_MAX};
    uint64_t r = ((uint64_t)random() << 33) ^ ((uint64_t)random() << 11) ^ (uint64_t)random();

    return random() % 3 == 0 ? odd[(size_t)random() % (sizeof odd / sizeof *odd)] : r;
}

static bool
one_in(int n)
{
    return random() % n == 0;
}

static lsn_t
near(lsn_t lsn)
{
    return one_in(3) ? any() : lsn + (uint64_t)(random() % (1 << 20)) - (1 << 19);
}

static const char *
text(void)
{
    static char out[300];
    size_t n = (size_t)random() % sizeof out;

    for (size_t i = 0; i < n; i++)
        out[i] = (char)(one_in(4) ? random() % 255 + 1 : 'a' + random() % 26);
    out[n < sizeof out ? n : n - 1] = '\0';
    return out;
}

static struct beacon
some_beacon(const struct peer *p)
{
    return (struct beacon){.lsn = near(p->lsn),
                           .wall_us = one_in(2) ? clock_wall_us() : (int64_t)any(),
                           .mono_us = one_in(2) ? clock_us() : (int64_t)any()};
}

static void
fill_hello(struct peer *p, struct hello *h)
{
    static char history[4096];

    *h = p->hello;
    h->protocol = FRAME_PROTOCOL;
    h->incarnation = one_in(2) ? (uint64_t)clock_wall_us() : any();
    h->lane = (uint8_t)(one_in(3) ? any() : one_in(3) ? HELLO_KNOCKS : (uint64_t)random() % 3);
    h->timeline = one_in(2) ? p->hello.timeline : (timeline_t)any();
    h->config_digest = any();
    h->session = one_in(3) ? any() : 0;
    h->hops = one_in(8) ? 0 : 1 + (size_t)random() % FRAME_MEMBERS_MAX;
    for (size_t i = 0; i < h->hops; i++)
        snprintf(h->path[i], sizeof h->path[i], "%s", one_in(50) ? text() : NAME);
    if (one_in(4))
        h->identity.segment_bytes = (uint32_t)any();
    if (one_in(4))
        h->epoch.number = 0;
    snprintf(history, sizeof history, "%s",
             one_in(2) ? "1\t0/3000000\tno recovery target\n" : text());
    h->history = history;
    h->history_bytes = one_in(3) ? strlen(history) : 0;
}

static void
fill_ack(struct peer *p, struct ack *a)
{
    *a = (struct ack){.timeline = one_in(4) ? (timeline_t)any() : p->hello.timeline,
                      .received = near(p->lsn),
                      .compared = near(p->lsn),
                      .next = one_in(4) ? any() : p->wanted,
                      .xmin = one_in(3) ? any() : 0,
                      .catalog_xmin = one_in(3) ? any() : 0,
                      .standby_connected = one_in(2),
                      .busy = one_in(2)};
    a->flushed = one_in(2) ? a->received : near(p->lsn);
    a->applied = one_in(2) ? a->flushed : near(p->lsn);
    a->received_beacon = some_beacon(p);
    a->flushed_beacon = some_beacon(p);
    a->applied_beacon = some_beacon(p);
}

static void
fill_tunnel(const struct peer *p, struct tunnel_request *t)
{
    *t = (struct tunnel_request){.protocol = FRAME_PROTOCOL,
                                 .number = any(),
                                 .service = (enum tunnel_service)(random() % 5),
                                 .reason = text()};
    snprintf(t->pool, sizeof t->pool, "demo");
    snprintf(t->from, sizeof t->from, NAME);
    snprintf(t->to, sizeof t->to, "%s", p->hello.to);
}

static void
fill_pool(const struct peer *p, struct frame *f)
{
    static struct pool_change change;
    static struct member_news news;
    struct epoch_origin *o = &change.origin;

    *o = (struct epoch_origin){.epoch = p->hello.epoch,
                               .timeline = (timeline_t)any(),
                               .from = (timeline_t)any(),
                               .fork = any(),
                               .how = (enum epoch_how)(random() % 6)};
    if (one_in(10))
        o->epoch.number = one_in(2) ? 0 : UINT64_MAX;
    if (one_in(10))
        o->parent.number = any();
    change.wall_us = one_in(10) ? (int64_t)any() : clock_wall_us();
    f->pool.session = (enum session_word)(random() % 4);
    f->pool.timeline = (timeline_t)any();
    f->pool.changes = one_in(2);
    f->pool.change = &change;
    f->pool.has_news = one_in(2);
    f->pool.echo_us = (int64_t)any();
    f->pool.members = one_in(2);
    f->pool.member = &news;
    news.age_us = (int64_t)any();
    snprintf(news.member, sizeof news.member, "%s", one_in(20) ? "*" : NAME);
    snprintf(news.by, sizeof news.by, "%s", one_in(2) ? "" : NAME);
    news.state.severity = (uint8_t)(random() % 4);
    f->pool.positions = (size_t)random() % 3;
    for (size_t i = 0; i < f->pool.positions; i++)
        snprintf(f->pool.position[i].member, MEMBER_NAME_SIZE, "%s", one_in(20) ? "*" : NAME);
    f->pool.routes = (struct routes){.epoch = p->hello.epoch, .number = any()};
    f->pool.routes.count = (size_t)random() % 3;
    for (size_t i = 0; i < f->pool.routes.count; i++) {
        f->pool.routes.route[i] = (struct route){
            .why = (enum route_why)(random() % 11), .cut = one_in(2), .since_us = (int64_t)any()};
        snprintf(f->pool.routes.route[i].member, MEMBER_NAME_SIZE, "%s", NAME);
        snprintf(f->pool.routes.route[i].from, MEMBER_NAME_SIZE, "%s", one_in(3) ? "" : NAME);
    }
}

static void
fill_promise(struct promise *p)
{
    p->word = (enum promise_word)(random() % 6);
    p->number = any();
    snprintf(p->asker, sizeof p->asker, NAME);
    p->reason = text();
}

/* A frame as its sender would write it, with fields that make more or less sense. */
static void
put_some(struct peer *p, int type)
{
    static uint8_t bytes[FRAME_WAL_MAX];
    struct frame f = {.type = (enum frame_type)type};
    size_t n = 1 + (size_t)random() % (one_in(4) ? sizeof bytes : 600);

    for (size_t i = 0; i < n; i += 1 + (size_t)random() % 64)
        bytes[i] = (uint8_t)random();
    switch (f.type) {
    case FRAME_HELLO:
        fill_hello(p, &f.hello);
        break;
    case FRAME_ACCEPT:
        f.accept.timeline = one_in(2) ? p->hello.timeline : (timeline_t)any();
        f.accept.lsn = near(p->lsn);
        break;
    case FRAME_REFUSE:
        f.refuse.kind = (enum refuse_kind)(random() % 2);
        f.refuse.reason = text();
        break;
    case FRAME_WAL:
        if (frame_put_wal(&p->said, &codec, p->hello.timeline, one_in(2) ? p->lsn : near(p->lsn),
                          bytes, n) == 0 &&
            one_in(2))
            p->lsn += n;
        return;
    case FRAME_ACK:
        fill_ack(p, &f.ack);
        break;
    case FRAME_BEACON:
        f.beacon.stamp = some_beacon(p);
        f.beacon.commits_wait = one_in(2);
        break;
    case FRAME_PING:
        f.ping.sent_us = (int64_t)any();
        break;
    case FRAME_PONG:
        f.pong.sent_us = one_in(2) ? clock_us() : (int64_t)any();
        f.pong.mono_us = (int64_t)any();
        f.pong.wall_us = (int64_t)any();
        f.pong.postgres = (enum pong_postgres)(random() % 6);
        break;
    case FRAME_HISTORY:
        f.history.timeline = (timeline_t)(one_in(2) ? random() % 4 : (long)any());
        f.history.text = text();
        f.history.length = strlen(f.history.text);
        break;
    case FRAME_POOL:
        fill_pool(p, &f);
        break;
    case FRAME_DRAIN:
        break;
    case FRAME_DRAINED:
        f.drained.done = one_in(2);
        f.drained.end = near(p->lsn);
        f.drained.reason = text();
        break;
    case FRAME_GOODBYE:
    case FRAME_WAITS:
        f.goodbye.reason = text();
        break;
    case FRAME_TUNNEL:
        fill_tunnel(p, &f.tunnel);
        break;
    case FRAME_DATA:
        f.data.decoded_bytes = (uint32_t)(1 + any() % FRAME_DATA_MAX);
        f.data.bytes = bytes;
        f.data.length = n < 4096 ? n : 4096;
        break;
    case FRAME_PROMISE:
        fill_promise(&f.promise);
        break;
    case FRAME_FILE:
        f.file.path = one_in(2) ? "/etc/chaos" : text();
        f.file.mode = (uint32_t)any();
        f.file.modified_us = (int64_t)any();
        f.file.bytes = bytes;
        f.file.length = n < FRAME_FILE_MAX ? n : FRAME_FILE_MAX;
        break;
    }
    frame_put(&p->said, &f);
}

static void
number(struct peer *p, size_t at, int type)
{
    uint64_t n = one_in(8) ? near(p->number) : p->number++;

    if (!frame_numbered((enum frame_type)type) || buf_used(&p->said) < at + FRAME_NUMBER_AT + 8)
        return;
    buf_set_u32(&p->said, at + FRAME_NUMBER_AT, (uint32_t)(n >> 32));
    buf_set_u32(&p->said, at + FRAME_NUMBER_AT + 4, (uint32_t)n);
}

static void
say_something(struct peer *p)
{
    static const int often[] = {FRAME_WAL, FRAME_ACK, FRAME_BEACON, FRAME_PONG, FRAME_PING};
    int type = one_in(3) ? 1 + (int)(random() % TYPES)
                         : often[(size_t)random() % (sizeof often / sizeof *often)];
    size_t at = buf_used(&p->said), behind;

    put_some(p, type);
    number(p, at, type);
    behind = buf_used(&p->said);
    if (behind > at && one_in(200)) { /* a byte, the length or the type is another one */
        at += (size_t)random() % (one_in(3) ? 5 : behind - at);
        p->said.bytes[p->said.start + at] ^= (uint8_t)(1 << random() % 8);
    }
}

/* What an agent that was dialled has to say for the session to last. */
static void
answer(struct peer *p, const struct frame *f)
{
    struct frame out = {.type = FRAME_PONG};

    if (f->type == FRAME_HELLO) {
        p->hello = f->hello;
        snprintf(p->hello.from, sizeof p->hello.from, NAME);
        snprintf(p->hello.to, sizeof p->hello.to, "%s", f->hello.from);
        out.type = FRAME_ACCEPT;
        if (f->hello.lane == 0 && !one_in(8))
            out.accept.timeline = f->hello.timeline, out.accept.lsn = 16u << 20;
        frame_put(&p->said, &out);
    } else if (f->type == FRAME_WAL) {
        p->lsn = f->wal.lsn + f->wal.decoded_bytes;
        p->wanted = f->number + 1;
    } else if (f->type == FRAME_PING) {
        out.pong.sent_us = f->ping.sent_us;
        out.pong.mono_us = clock_us();
        out.pong.wall_us = clock_wall_us();
        frame_put(&p->said, &out);
    }
}

/* False: the other side is gone. */
static bool
hear(struct peer *p)
{
    struct frame f;
    uint8_t *at = buf_reserve(&p->heard, 4096);
    ssize_t got = at == NULL ? 0 : read(p->in, at, buf_room(&p->heard));

    if (got <= 0)
        return false;
    buf_commit(&p->heard, (size_t)got);
    while (frame_next(&p->heard, &f) == 1) {
        answer(p, &f);
        buf_consume(&p->heard, f.bytes);
    }
    return true;
}

static void
talk(struct peer *p, int64_t until_us)
{
    bool open = true;

    while (open && clock_us() < until_us) {
        struct pollfd fds[2] = {{.fd = p->in, .events = POLLIN}, {.fd = p->out, .events = POLLOUT}};

        if (buf_used(&p->said) == 0 && !one_in(3))
            say_something(p);
        if (poll(fds, buf_used(&p->said) > 0 ? 2 : 1, 20) < 0)
            return;
        if (fds[0].revents != 0 && p->reads)
            open = hear(p);
        if (open && (fds[1].revents & (POLLOUT | POLLERR)) != 0 && buf_used(&p->said) > 0) {
            ssize_t put = write(p->out, buf_data(&p->said), buf_used(&p->said));

            open = put > 0;
            buf_consume(&p->said, put > 0 ? (size_t)put : 0);
        }
    }
}

static bool
begin(struct peer *p, int in, int out)
{
    *p = (struct peer){.in = in, .out = out, .reads = !one_in(6), .lsn = 48u << 20};
    return buf_init(&p->heard, 2u << 20) == 0 && buf_init(&p->said, 1u << 20) == 0;
}

static void
end(struct peer *p)
{
    buf_release(&p->heard);
    buf_release(&p->said);
}

/* One session, as sshd would bring it, with a HELLO or a TUNNEL that is mostly right. */
static void
dial(const char *run, const char *to, const struct identity *identity)
{
    struct peer p;
    int there[2], back[2];
    pid_t child;

    if (pipe(there) < 0 || pipe(back) < 0)
        exit(1);
    child = fork();
    if (child == 0) {
        dup2(there[0], STDIN_FILENO);
        dup2(back[1], STDOUT_FILENO);
        for (int fd = 3; fd < 16; fd++)
            close(fd);
        _exit(inlet_hand_over(run, NAME, false) < 0);
    }
    close(there[0]);
    close(back[1]);
    fcntl(there[1], F_SETFL, O_NONBLOCK);
    if (begin(&p, back[0], there[1])) {
        p.hello = (struct hello){.identity = *identity, .epoch = {.number = 1}, .timeline = 1};
        snprintf(p.hello.pool, sizeof p.hello.pool, "demo");
        snprintf(p.hello.from, sizeof p.hello.from, NAME);
        snprintf(p.hello.to, sizeof p.hello.to, "%s", to);
        snprintf(p.hello.epoch.member, sizeof p.hello.epoch.member, "dc1-a");
        put_some(&p, one_in(5)   ? 1 + (int)(random() % TYPES)
                     : one_in(3) ? FRAME_TUNNEL
                                 : FRAME_HELLO);
        talk(&p, clock_us() + random() % (SESSION_S * SECOND_US));
    }
    end(&p);
    close(there[1]);
    close(back[0]);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

int
main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc == 3 && strcmp(argv[1], "answer") == 0) {
        struct peer p;

        srandom((unsigned)atoi(argv[2]) + (unsigned)clock_us());
        if (!begin(&p, STDIN_FILENO, STDOUT_FILENO))
            return 1;
        p.reads = true;
        talk(&p, clock_us() + SECOND_US + random() % (SESSION_S * SECOND_US));
        end(&p);
        codec_release(&codec);
        return 0;
    }
    if (argc == 7 && strcmp(argv[1], "dial") == 0) {
        int64_t until_us = clock_us() + atoi(argv[5]) * SECOND_US;
        struct identity identity = {.system_identifier = strtoull(argv[6], NULL, 10),
                                    .segment_bytes = 16u << 20,
                                    .postgres_major = 15};
        int sessions = 0;

        srandom((unsigned)atoi(argv[4]));
        for (; clock_us() < until_us; sessions++)
            dial(argv[2], argv[3], &identity);
        codec_release(&codec);
        printf("%d sessions\n", sessions);
        return 0;
    }
    fprintf(stderr, "chaos dial RUN TO SEED SECONDS SYSTEM_IDENTIFIER | chaos answer SEED\n");
    return 2;
}

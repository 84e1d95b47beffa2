/* SPDX-License-Identifier: PostgreSQL */
/* frame and codec: every type there and back, every truncation, one bad value per field. */
#include "unit/unit.h"

#include "base/fail.h"
#include "shipper/wire/codec.h"
#include "shipper/wire/frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct codec codec;
static struct buf out;

static int
setup(void **state)
{
    (void)state;
    return buf_init(&out, 4 * FRAME_BYTES_MAX);
}

static int
teardown(void **state)
{
    (void)state;
    buf_release(&out);
    codec_release(&codec);
    return 0;
}

static struct hello
sample_hello(void)
{
    struct hello h = {.protocol = FRAME_PROTOCOL,
                      .pool = "chat",
                      .identity = {.system_identifier = UINT64_C(7710451456251498215),
                                   .segment_bytes = 16u << 20,
                                   .postgres_major = 15},
                      .from = "dc1-a",
                      .to = "dc2-a",
                      .epoch = {.number = 3, .member = "dc1-a"},
                      .incarnation = 99,
                      .timeline = 2,
                      .config_digest = 5,
                      .hops = 2,
                      .path = {"dc1-a", "dc1-b"},
                      .history = "1\t0/50000A0\tx\n",
                      .history_bytes = 14};

    return h;
}

static const struct pool_change chain[] = {
    {{.epoch = {2, "dc1-a"}, .timeline = 1, .parent = {1, "dc3-a"}}, 1000},
    {{.epoch = {4, "dc2-a"},
      .timeline = 3,
      .from = 1,
      .fork = 0x7000000,
      .parent = {2, "dc1-a"},
      .overruled = {{3, "dc3-a"}},
      .how = EPOCH_BY_RESOLVE},
     2000}};

/* One frame of every type but WAL. */
static size_t
samples(struct frame *f)
{
    size_t n = 0;
    struct epoch_origin origin = {
        .epoch = {.number = 4, .member = "dc2-a"}, .timeline = 3, .fork = 0x7000000};

    f[n++] = (struct frame){.type = FRAME_HELLO, .hello = sample_hello()};
    f[n++] = (struct frame){.type = FRAME_ACCEPT,
                            .accept = {.timeline = 1, .lsn = 0x5000000, .config_digest = 5}};
    f[n++] =
        (struct frame){.type = FRAME_REFUSE,
                       .refuse = {.kind = REFUSE_EPOCH, .origin = origin, .reason = "epoch 4"}};
    f[n++] = (struct frame){.type = FRAME_ACK,
                            .ack = {.timeline = 1,
                                    .compared = 0x5000060,
                                    .received = 3,
                                    .flushed = 2,
                                    .applied = 1,
                                    .xmin = 700,
                                    .catalog_xmin = 0,
                                    .standby_connected = true,
                                    .fenced = true}};
    f[n++] = (struct frame){.type = FRAME_BEACON,
                            .beacon = {{.lsn = 1, .wall_us = 2, .mono_us = 3}, true}};
    f[n++] = (struct frame){.type = FRAME_PING, .ping = {.sent_us = 12}};
    f[n++] = (struct frame){
        .type = FRAME_PONG,
        .pong = {.sent_us = 12, .mono_us = 13, .wall_us = 14, .postgres = PONG_POSTGRES_STOPPING}};
    f[n++] = (struct frame){.type = FRAME_HISTORY,
                            .history = {.timeline = 2, .text = "1\t0/1\tx\n", .length = 8}};
    f[n++] = (struct frame){.type = FRAME_POOL,
                            .pool = {.timeline = 3,
                                     .changes = 2,
                                     .change = chain,
                                     .positions = 1,
                                     .position = {{"dc2-a", 3, 0x7000100, 0x7000060, 20}}}};
    f[n++] = (struct frame){.type = FRAME_DRAIN};
    f[n++] = (struct frame){.type = FRAME_DRAINED,
                            .drained = {.done = true, .timeline = 1, .end = 0x60, .reason = ""}};
    f[n++] = (struct frame){.type = FRAME_GOODBYE, .goodbye = {.reason = "bye"}};
    f[n++] = (struct frame){.type = FRAME_WAITS, .waits = {.reason = "gone"}};
    f[n++] = (struct frame){.type = FRAME_TUNNEL,
                            .tunnel = {.pool = "chat",
                                       .from = "dc2-a",
                                       .to = "dc1-a",
                                       .number = 5,
                                       .service = TUNNEL_CONTROL,
                                       .reason = "no room"}};
    f[n++] = (struct frame){
        .type = FRAME_DATA,
        .data = {.decoded_bytes = 120, .bytes = (const uint8_t *)"\x28\xb5", .length = 2}};
    f[n++] = (struct frame){.type = FRAME_PROMISE,
                            .promise = {.word = PROMISE_REFUSE,
                                        .number = 5,
                                        .asker = "dc2-a",
                                        .nonce = 77,
                                        .reason = "promised to dc3-a"}};
    return n;
}

static void
test_frame_every_type_there_and_back(void **state)
{
    struct frame f[20], got;
    size_t n = samples(f);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        buf_clear(&out);
        assert_int_equal(frame_put(&out, &f[i]), 0);
        assert_int_equal(frame_next(&out, &got), 1);
        assert_int_equal(got.type, f[i].type);
        assert_int_equal(got.bytes, buf_used(&out));
    }
    buf_clear(&out);
    frame_put(&out, &f[0]);
    assert_int_equal(frame_next(&out, &got), 1);
    assert_string_equal(got.hello.to, "dc2-a");
    assert_int_equal(got.hello.identity.system_identifier, UINT64_C(7710451456251498215));
    assert_int_equal(got.hello.epoch.number, 3);
    assert_int_equal(got.hello.history_bytes, 14);
    assert_int_equal(got.hello.hops, 2);
    assert_string_equal(got.hello.path[1], "dc1-b");
    assert_int_equal(got.hello.session | got.hello.table, 0);
    f[0].hello.session = 8;
    f[0].hello.table = 9;
    buf_clear(&out);
    frame_put(&out, &f[0]);
    assert_int_equal(frame_next(&out, &got), 1);
    assert_true(got.hello.session == 8 && got.hello.table == 9);
    buf_clear(&out);
    frame_put(&out, &f[2]);
    assert_int_equal(frame_next(&out, &got), 1);
    assert_string_equal(got.refuse.reason, "epoch 4");
    assert_int_equal(got.refuse.origin.fork, 0x7000000);
    buf_clear(&out);
    frame_put(&out, &f[3]);
    assert_int_equal(frame_next(&out, &got), 1);
    assert_true(ack_equal(&got.ack, &f[3].ack));
}

static void
test_frame_every_truncation_waits_for_more(void **state)
{
    struct frame f[20], got;
    size_t n = samples(f);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        buf_clear(&out);
        frame_put(&out, &f[i]);
        for (size_t cut = 0; cut < buf_used(&out); cut++) {
            struct buf part;

            assert_int_equal(buf_init(&part, cut + 1),
                             0); /* exact, so that a sanitizer sees a step too far */
            buf_put_bytes(&part, buf_data(&out), cut);
            assert_int_equal(frame_next(&part, &got), 0);
            buf_release(&part);
        }
    }
}

/* The length says less than the body needs: refused, except where the rest of a body is free text.
 */
static void
test_frame_every_short_body_is_refused(void **state)
{
    struct frame f[20], got;
    size_t n = samples(f);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        size_t whole, text = f[i].type == FRAME_HISTORY ? 8 : f[i].type == FRAME_DATA ? 2 : 0;

        buf_clear(&out);
        frame_put(&out, &f[i]);
        whole = buf_used(&out) - 4;
        for (size_t length = 0; length < whole - text; length++) {
            struct buf part;

            assert_int_equal(buf_init(&part, length + 4), 0);
            buf_put_u32(&part, (uint32_t)length);
            buf_put_bytes(&part, buf_data(&out) + 4, length);
            assert_int_equal(frame_next(&part, &got), ERR_PEER);
            buf_release(&part);
        }
        buf_set_u32(&out, 0, (uint32_t)whole + 1);
        buf_put_u8(&out, 0);
        if (text == 0)
            assert_int_equal(frame_next(&out, &got), ERR_PEER);
    }
}

static void
expect_refused(size_t offset, const void *bytes, size_t n)
{
    struct frame got;

    memcpy(out.bytes + out.start + offset, bytes, n);
    assert_int_equal(frame_next(&out, &got), ERR_PEER);
}

static void
test_frame_bad_values_are_refused(void **state)
{
    struct frame f[20], got;
    struct hello h = sample_hello();
    static const struct {
        size_t offset;
        const char *bytes;
        size_t n;
    } hello_bad[] = {
        {5, "XXXX", 4},     /* magic */
        {9, "\0\1", 2},     /* lowest protocol: too old */
        {9, "\0\4ch", 4},   /* protocol 4, and the name of its pool */
        {9, "\0\6\0\7", 4}, /* too new */
        {13, "a-name-that-is-far-too-long-for-a-pool", 38},
        {18, "\0\0\0\0\0\0\0\0", 8},   /* system identifier */
        {26, "\0\0\0\7", 4},           /* segment bytes */
        {44, "\0\x20\0\0\0\0\0\1", 8}, /* epoch number */
        {52, "D", 1},                  /* its member */
        {79, "\0", 1},                 /* no path */
        {79, "\x9", 1},                /* a long one */
        {80, "/", 1},
    };

    (void)state;
    samples(f);
    for (size_t i = 0; i < sizeof hello_bad / sizeof *hello_bad; i++) {
        buf_clear(&out);
        frame_put(&out, &f[0]);
        expect_refused(hello_bad[i].offset, hello_bad[i].bytes, hello_bad[i].n);
    }
    h.timeline = 0;
    f[0].hello = h;
    buf_clear(&out);
    frame_put(&out, &f[0]);
    assert_int_equal(frame_next(&out, &got), ERR_PEER);
    buf_clear(&out);
    frame_put(&out, &f[2]);
    expect_refused(5, "\x09", 1); /* kind of refusal */
    buf_clear(&out);
    frame_put(&out, &f[6]);
    expect_refused(29, "\x09", 1); /* state of PostgreSQL */
    buf_clear(&out);
    frame_put(&out, &f[5]);
    expect_refused(4, "\x13", 1); /* type */
    buf_clear(&out);
    frame_put(&out, &f[15]);
    expect_refused(5, "\5", 1); /* word of a promise */
    buf_clear(&out);
    frame_put(&out, &f[15]);
    expect_refused(14, "..", 2); /* who asks */
    buf_clear(&out);
    frame_put(&out, &f[5]);
    expect_refused(0, "\xff\xff\xff\xff", 4); /* length */
    buf_clear(&out);
    frame_put(&out, &f[5]);
    expect_refused(0, "\0\0\0\0", 4);
}

/* Two whose protocols overlap speak the highest that both know. */
static void
test_frame_hello_of_a_later_version(void **state)
{
    struct frame f = {.type = FRAME_HELLO, .hello = sample_hello()}, got;

    (void)state;
    f.hello.protocol = FRAME_PROTOCOL + 3;
    buf_clear(&out);
    frame_put(&out, &f);
    assert_int_equal(frame_next(&out, &got), 1);
    assert_int_equal(got.hello.protocol, FRAME_PROTOCOL);
}

static void
test_frame_pool_brings_its_chain(void **state)
{
    static struct pool_change most[FRAME_CHANGES_MAX], taken[FRAME_CHANGES_MAX];
    struct frame f[20], got;

    (void)state;
    samples(f);
    buf_clear(&out);
    frame_put(&out, &f[8]);
    assert_int_equal(frame_next(&out, &got), 1);
    assert_int_equal(got.pool.timeline, 3);
    assert_int_equal(got.pool.changes, 2);
    frame_chain(&got, taken);
    assert_int_equal(taken[0].origin.parent.number, 1);
    assert_string_equal(taken[1].origin.epoch.member, "dc2-a");
    assert_int_equal(taken[1].origin.from, 1);
    assert_int_equal(taken[1].origin.fork, 0x7000000);
    assert_string_equal(taken[1].origin.overruled[0].member, "dc3-a");
    assert_int_equal(taken[1].origin.overruled[1].number, 0);
    assert_int_equal(taken[1].origin.how, EPOCH_BY_RESOLVE);
    assert_int_equal(taken[1].wall_us, 2000);
    assert_int_equal(got.pool.positions, 1);
    assert_int_equal(got.pool.position[0].flushed, 0x7000100);
    for (size_t i = 0; i < FRAME_CHANGES_MAX; i++) {
        struct epoch_origin *o = &most[i].origin;

        o->epoch.number = EPOCH_NUMBER_MAX - FRAME_CHANGES_MAX + i + 1;
        snprintf(o->epoch.member, sizeof o->epoch.member, "a%030zu", i);
        if (i > 0)
            o->parent = most[i - 1].origin.epoch;
        o->overruled[0] = o->overruled[1] = o->epoch;
    }
    f[8].pool.changes = FRAME_CHANGES_MAX;
    f[8].pool.change = most;
    buf_clear(&out);
    assert_int_equal(frame_put(&out, &f[8]), 0);
    assert_int_equal(frame_next(&out, &got), 1);
    frame_chain(&got, taken);
    assert_string_equal(taken[255].origin.epoch.member, most[255].origin.epoch.member);
}

static void
test_frame_pool_bad_chains_are_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 9; i++) {
        struct frame f[20], got;
        struct pool_change bad[2] = {chain[0], chain[1]};

        samples(f);
        f[8].pool.change = bad;
        switch (i) {
        case 0:
            bad[1].origin.parent.number = 1; /* not the one before */
            break;
        case 1:
            strcpy(bad[1].origin.parent.member, "dc3-a");
            break;
        case 2:
            bad[0].origin.epoch.number = bad[1].origin.parent.number = 4; /* not ascending */
            break;
        case 3:
            bad[1].origin.epoch.number = EPOCH_NUMBER_MAX + 1;
            break;
        case 4:
            strcpy(bad[1].origin.epoch.member, "\xff");
            break;
        case 5:
            strcpy(bad[1].origin.overruled[0].member, "a\"b");
            break;
        case 6:
            bad[1].wall_us = INT64_MAX;
            break;
        case 7:
            bad[0].origin.parent.member[0] = '\0'; /* a number without a member */
            break;
        case 8:
            strcpy(f[8].pool.position[0].member, "DC2");
            break;
        }
        buf_clear(&out);
        frame_put(&out, &f[8]);
        assert_int_equal(frame_next(&out, &got), ERR_PEER);
    }
}

/* POOL with a table of routes, whose field begins at the returned byte. */
static size_t
put_routes(const struct routes *routes)
{
    struct frame f[20];
    size_t begin;

    samples(f);
    buf_clear(&out);
    frame_put(&out, &f[8]);
    begin = buf_used(&out);
    f[8].pool.routes = *routes;
    buf_clear(&out);
    assert_int_equal(frame_put(&out, &f[8]), 0);
    return begin;
}

static const struct routes sample_routes = {
    .epoch = {3, "dc1-a"},
    .number = 7,
    .count = 3,
    .route = {{"dc1-a", "", ROUTE_PRIMARY, false, false, 1000},
              {"dc2-a", "dc1-a", ROUTE_SILENT, true, false, 2000},
              {"dc2-b", "dc2-a", ROUTE_RELAYED, false, true, 3000}}};

static void
test_frame_pool_brings_its_routes(void **state)
{
    struct routes most = {.epoch = {EPOCH_NUMBER_MAX, "a-name-that-is-as-long-as-it-be"},
                          .number = EPOCH_NUMBER_MAX,
                          .count = FRAME_MEMBERS_MAX};
    struct frame got;

    (void)state;
    put_routes(&sample_routes);
    assert_int_equal(frame_next(&out, &got), 1);
    assert_memory_equal(&got.pool.routes, &sample_routes, sizeof sample_routes);
    for (size_t i = 0; i < FRAME_MEMBERS_MAX; i++) {
        most.route[i].why = ROUTE_BRIDGE;
        snprintf(most.route[i].member, MEMBER_NAME_SIZE, "b%030zu", i);
        snprintf(most.route[i].from, MEMBER_NAME_SIZE, "c%030zu", i);
    }
    put_routes(&most);
    assert_int_equal(frame_next(&out, &got), 1);
    assert_memory_equal(&got.pool.routes, &most, sizeof most);
}

static void
test_frame_pool_short_routes_are_refused(void **state)
{
    size_t begin = put_routes(&sample_routes), whole = buf_used(&out);
    struct frame got;

    (void)state;
    for (size_t length = begin + 1; length < whole; length++) {
        buf_set_u32(&out, 0, (uint32_t)(length - 4)); /* of the frame */
        assert_int_equal(frame_next(&out, &got), ERR_PEER);
        if (length < begin + 5)
            continue;
        buf_set_u32(&out, begin + 1, (uint32_t)(length - begin - 5)); /* ... and of the field */
        assert_int_equal(frame_next(&out, &got), ERR_PEER);
        buf_set_u32(&out, begin + 1, (uint32_t)(whole - begin - 5));
    }
}

static void
test_frame_pool_bad_routes_are_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct routes bad = sample_routes;
        struct frame got;

        if (i == 0)
            bad.epoch.number = 0;
        else if (i == 1)
            bad.epoch.member[0] = '\0';
        else if (i == 2)
            bad.number = 0;
        else if (i == 3)
            strcpy(bad.route[1].member, "a\"b");
        else if (i == 4)
            strcpy(bad.route[1].from, "DC1");
        else if (i == 5)
            bad.route[1].why = ROUTE_BRIDGE + 1;
        else if (i == 6)
            bad.route[1].from[0] = '\0'; /* nobody feeds it, and it is no primary */
        else
            bad.route[1].since_us = INT64_MAX;
        put_routes(&bad);
        assert_int_equal(frame_next(&out, &got), ERR_PEER);
    }
}

static void
test_frame_pool_counts_of_routes_are_bounded(void **state)
{
    size_t begin = put_routes(&sample_routes), count_at = begin + 5 + 8 + 6 + 8;
    struct frame got;

    (void)state;
    assert_int_equal(out.bytes[out.start + count_at], 3);
    out.bytes[out.start + count_at] = 0;
    assert_int_equal(frame_next(&out, &got), ERR_PEER);
    out.bytes[out.start + count_at] = FRAME_MEMBERS_MAX + 1;
    assert_int_equal(frame_next(&out, &got), ERR_PEER);
}

static void
test_frame_pool_takes_one_table(void **state)
{
    size_t begin = put_routes(&sample_routes), length = buf_used(&out) - begin;
    uint8_t field[1024];
    struct frame got;

    (void)state;
    memcpy(field, buf_data(&out) + begin, length);
    buf_put_bytes(&out, field, length);
    buf_set_u32(&out, 0, (uint32_t)buf_used(&out) - 4);
    assert_int_equal(frame_next(&out, &got), ERR_PEER);
}

/* Behind a body may come what a later version adds. */
static void
test_frame_unknown_fields_are_skipped(void **state)
{
    static const size_t with[] = {0, 1, 2, 3, 8, 15};
    struct frame f[20], got;

    (void)state;
    samples(f);
    for (size_t i = 0; i < sizeof with / sizeof *with; i++) {
        buf_clear(&out);
        frame_put(&out, &f[with[i]]);
        for (uint32_t n = 0; n < 3; n++) {
            buf_put_u8(&out, (uint8_t)(7 + n));
            buf_put_u32(&out, n);
            buf_put_bytes(&out, "xyz", n);
        }
        buf_set_u32(&out, 0, (uint32_t)buf_used(&out) - 4);
        assert_int_equal(frame_next(&out, &got), 1);
        assert_int_equal(got.type, f[with[i]].type);
        buf_put_u8(&out, 7);
        buf_put_u32(&out, 1); /* and no byte */
        buf_set_u32(&out, 0, (uint32_t)buf_used(&out) - 4);
        assert_int_equal(frame_next(&out, &got), ERR_PEER);
    }
}

/* What a knock asks about, and the answer: of one length, once, of a known word. */
static void
test_frame_session_fields(void **state)
{
    static const struct {
        size_t frame, length; /* HELLO, POOL */
        uint8_t last;
        int got;
    } row[] = {{0, 8, 7, 1},        {0, 7, 7, ERR_PEER}, {0, 9, 7, ERR_PEER}, {0, 0, 0, ERR_PEER},
               {8, 1, 1, 1},        {8, 1, 2, 1},        {8, 1, 0, ERR_PEER}, {8, 1, 3, ERR_PEER},
               {8, 0, 0, ERR_PEER}, {8, 2, 1, ERR_PEER}};
    struct frame f[20], got;

    (void)state;
    samples(f);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        buf_clear(&out);
        frame_put(&out, &f[row[i].frame]);
        for (int twice = 0; twice < 2; twice++) {
            buf_put_u8(&out, 1);
            buf_put_u32(&out, (uint32_t)row[i].length);
            for (size_t n = 1; n < row[i].length; n++)
                buf_put_u8(&out, 0);
            if (row[i].length > 0)
                buf_put_u8(&out, row[i].last);
            buf_set_u32(&out, 0, (uint32_t)buf_used(&out) - 4);
            assert_int_equal(frame_next(&out, &got), twice ? ERR_PEER : row[i].got);
        }
    }
    f[0].hello.session = UINT64_C(0x1122334455667788);
    f[8].pool.session = SESSION_FOREIGN;
    for (size_t i = 0; i < 9; i += 8) {
        buf_clear(&out);
        assert_int_equal(frame_put(&out, &f[i]), 0);
        assert_int_equal(frame_next(&out, &got), 1);
        if (i == 0)
            assert_int_equal(got.hello.session, f[0].hello.session);
        else
            assert_int_equal(got.pool.session, SESSION_FOREIGN);
    }
}

static const struct member_news news[] = {
    {.member = "dc1-a",
     .age_us = 7,
     .state = {.role = 1,
               .postgres = PONG_POSTGRES_ANSWERS,
               .timeline = 3,
               .received = 0x7000100,
               .flushed = 0x7000080,
               .applied = 0x7000060,
               .flushed_age_us = AGE_UNKNOWN,
               .applied_age_us = 30}},
    {.member = "dc2-b",
     .by = "dc2-a",
     .age_us = FRAME_TIME_MAX_US,
     .state = {.postgres = PONG_POSTGRES_DEAD, .severity = 2, .reason = "its disk is full"}}};

static size_t
put_news(struct frame *f)
{
    f->pool.has_news = true;
    f->pool.echo_us = 11;
    f->pool.echo_ago_us = 12;
    f->pool.members = 2;
    f->pool.member = news;
    buf_clear(&out);
    assert_int_equal(frame_put(&out, f), 0);
    return buf_used(&out);
}

static void
test_frame_news_there_and_back(void **state)
{
    struct frame f[20], got;
    struct member_news came[FRAME_MEMBERS_MAX];

    (void)state;
    samples(f);
    f[8].pool.session = SESSION_OWN; /* both fields */
    put_news(&f[8]);
    assert_int_equal(frame_next(&out, &got), 1);
    assert_true(got.pool.has_news);
    assert_int_equal(got.pool.session, SESSION_OWN);
    assert_int_equal(got.pool.echo_us, 11);
    assert_int_equal(got.pool.echo_ago_us, 12);
    assert_int_equal(got.pool.members, 2);
    frame_news(&got, came);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(came[i].member, news[i].member);
        assert_string_equal(came[i].by, news[i].by);
        assert_int_equal(came[i].age_us, news[i].age_us);
        assert_int_equal(came[i].state.role, news[i].state.role);
        assert_int_equal(came[i].state.postgres, news[i].state.postgres);
        assert_int_equal(came[i].state.timeline, news[i].state.timeline);
        assert_int_equal(came[i].state.received, news[i].state.received);
        assert_int_equal(came[i].state.flushed, news[i].state.flushed);
        assert_int_equal(came[i].state.applied, news[i].state.applied);
        assert_int_equal(came[i].state.flushed_age_us, news[i].state.flushed_age_us);
        assert_int_equal(came[i].state.applied_age_us, news[i].state.applied_age_us);
        assert_int_equal(came[i].state.severity, news[i].state.severity);
        assert_string_equal(came[i].state.reason, news[i].state.reason);
    }
    f[0].hello.stays = 42;
    f[0].hello.session = 43;
    buf_clear(&out);
    assert_int_equal(frame_put(&out, &f[0]), 0);
    assert_int_equal(frame_next(&out, &got), 1);
    assert_int_equal(got.hello.stays, 42);
    assert_int_equal(got.hello.session, 43);
}

/* One bad value for each part; offsets from the frame's end, where the last reason's 0 is. */
static void
test_frame_bad_news_are_refused(void **state)
{
    static const struct {
        size_t from_end;
        const char *bytes;
        size_t n;
    } row[] = {
        {1, "x", 1},    /* the reason does not end */
        {2, "\x80", 1}, /* ... and is no plain text */
        {2, "\x1b", 1},
        {18, "\3", 1},                               /* severity */
        {26, "\x80\0\0\0\0\0\0\0", 8},               /* age of what is applied */
        {34, "\xff\xff\xff\xff\xff\xff\xff\xfe", 8}, /* of what is flushed */
        {72, "\xff\xff\xff\xff\xff\xff\xff\xff", 8}, /* since when: it is known */
        {78, "D", 1},                                /* who told it */
        {84, "\0", 1},                               /* of whom */
    };
    struct frame f[20], got;
    size_t whole;

    (void)state;
    samples(f);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        whole = put_news(&f[8]);
        expect_refused(whole - row[i].from_end, row[i].bytes, row[i].n);
    }
    whole = put_news(&f[8]);
    for (size_t cut = 1; cut < 100; cut++) { /* the field and the frame are as short */
        uint32_t length = (uint32_t)(whole - 4 - cut);

        put_news(&f[8]);
        out.end -= cut;
        buf_set_u32(&out, 0, length);
        assert_int_equal(frame_next(&out, &got), ERR_PEER);
    }
}

/* What a member holds: any history, or none; whole, once, and no time out of bounds. */
static void
test_frame_held_wal(void **state)
{
    static char long_history[FRAME_HELD_MAX + 1];
    struct held_wal held = {.told = true,
                            .start = 0x1000000,
                            .covered = 0x7000000,
                            .wall_us = 12,
                            .age_us = 13,
                            .history = "1\t0/1\tx\n",
                            .history_bytes = 8};
    struct frame f[20], got;
    size_t whole;

    (void)state;
    samples(f);
    f[8].pool.session = SESSION_OWN;
    f[8].pool.held = held;
    buf_clear(&out);
    assert_int_equal(frame_put(&out, &f[8]), 0);
    assert_int_equal(frame_next(&out, &got), 1);
    assert_int_equal(got.pool.session, SESSION_OWN);
    assert_true(got.pool.held.told);
    assert_int_equal(got.pool.held.start, 0x1000000);
    assert_int_equal(got.pool.held.covered, 0x7000000);
    assert_int_equal(got.pool.held.wall_us, 12);
    assert_int_equal(got.pool.held.age_us, 13);
    assert_int_equal(got.pool.held.history_bytes, 8);
    assert_memory_equal(got.pool.held.history, "1\t0/1\tx\n", 8);
    whole = buf_used(&out);
    for (size_t cut = 1; cut < 32 + 8 + 5;
         cut++) { /* as the last field: its length stands before it */
        buf_set_u32(&out, 0, (uint32_t)(whole - cut) - 4);
        assert_int_equal(frame_next(&out, &got), ERR_PEER);
    }
    f[8].pool.held.age_us = FRAME_TIME_MAX_US + 1;
    buf_clear(&out);
    frame_put(&out, &f[8]);
    assert_int_equal(frame_next(&out, &got), ERR_PEER);
    f[8].pool.held = held;
    f[8].pool.held.history = long_history;
    f[8].pool.held.history_bytes = FRAME_HELD_MAX + 1;
    buf_clear(&out);
    frame_put(&out, &f[8]);
    assert_int_equal(frame_next(&out, &got), ERR_PEER);
    f[8].pool.held.history_bytes = 0;
    buf_clear(&out);
    frame_put(&out, &f[8]);
    assert_int_equal(frame_next(&out, &got), 1);
    assert_int_equal(got.pool.held.history_bytes, 0);
}

/* Only a knock is of no session. */
static void
test_frame_hello_has_an_incarnation(void **state)
{
    struct frame f = {.type = FRAME_HELLO, .hello = sample_hello()}, got;

    (void)state;
    f.hello.incarnation = 0;
    buf_clear(&out);
    frame_put(&out, &f);
    assert_int_equal(frame_next(&out, &got), ERR_PEER);
    f.hello.lane = HELLO_KNOCKS;
    buf_clear(&out);
    frame_put(&out, &f);
    assert_int_equal(frame_next(&out, &got), 1);
}

static void
test_frame_session_follows_a_dial_of_the_same_start(void **state)
{
    (void)state;
    assert_true(session_follows(11, 10));
    assert_true(session_follows(10 + 4096, 10));
    assert_false(session_follows(10 + 4097, 10));
    assert_false(session_follows(10, 10));
    assert_false(session_follows(9, 10));
    assert_true(session_follows(0, UINT64_MAX));
}

static void
test_frame_times_are_bounded(void **state)
{
    static const struct {
        size_t frame, offset;
    } time[] = {
        {3, 66 + 8},  {3, 66 + 16}, {3, 66 + 32}, {3, 66 + 64}, /* of ACK's beacons */
        {4, 5 + 8},   {4, 5 + 16},                              /* BEACON */
        {5, 5},                                                 /* PING */
        {6, 5},       {6, 5 + 8},   {6, 5 + 16},                /* PONG */
        {16, 5 + 12},                                           /* FILE */
    };
    struct frame f[20];
    size_t n = samples(f);

    (void)state;
    f[n] = (struct frame){.type = FRAME_FILE,
                          .file = {.path = "/etc/file.c", .bytes = (const uint8_t *)""}};
    assert_int_equal(n, 16);
    for (size_t i = 0; i < sizeof time / sizeof *time; i++) {
        buf_clear(&out);
        assert_int_equal(frame_put(&out, &f[time[i].frame]), 0);
        expect_refused(time[i].offset, "\x7f\xff\xff\xff\xff\xff\xff\xff", 8);
        buf_clear(&out);
        frame_put(&out, &f[time[i].frame]);
        expect_refused(time[i].offset, "\x80\0\0\0\0\0\0\0", 8);
    }
}

static void
fill(uint8_t *bytes, size_t n, bool random_bytes)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = random_bytes ? (uint8_t)random() : (uint8_t)(i / 64);
}

static void
test_frame_wal_there_and_back(void **state)
{
    static uint8_t bytes[FRAME_WAL_MAX], decoded[FRAME_WAL_MAX];
    static const size_t sizes[] = {1, 2, 56, 104, 8192, FRAME_WAL_MAX - 1, FRAME_WAL_MAX};

    (void)state;
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i / 2];
        struct frame got;

        fill(bytes, n, i % 2 == 1);
        buf_clear(&out);
        assert_int_equal(frame_put_wal(&out, &codec, 7, 0x1000028, bytes, n), 0);
        assert_int_equal(frame_next(&out, &got), 1);
        assert_int_equal(got.type, FRAME_WAL);
        assert_int_equal(got.wal.timeline, 7);
        assert_int_equal(got.wal.lsn, 0x1000028);
        assert_int_equal(got.wal.decoded_bytes, n);
        if (got.wal.codec == 0)
            memcpy(decoded, got.wal.bytes, n);
        else
            assert_int_equal(codec_decompress(&codec, decoded, n, got.wal.bytes, got.wal.length),
                             0);
        assert_memory_equal(decoded, bytes, n);
        assert_true(i % 2 == 1 || n < 64 || got.wal.codec == 1);
    }
}

static void
test_frame_wal_full_queue_takes_nothing(void **state)
{
    static uint8_t bytes[FRAME_WAL_MAX];
    struct buf small;

    (void)state;
    assert_int_equal(buf_init(&small, FRAME_WAL_MAX), 0);
    assert_int_equal(frame_put_wal(&small, &codec, 1, 0, bytes, sizeof bytes), ERR_AGAIN);
    assert_int_equal(buf_used(&small), 0);
    buf_release(&small);
}

static void
test_codec_never_decodes_more_than_announced(void **state)
{
    static uint8_t bytes[FRAME_WAL_MAX], packed[FRAME_WAL_MAX], decoded[FRAME_WAL_MAX];
    size_t size;

    (void)state;
    assert_int_equal(codec_compress(&codec, packed, sizeof packed, bytes, sizeof bytes, &size), 0);
    assert_int_in_range(size, 1, 1000);
    decoded[100] = 77;
    assert_int_equal(codec_decompress(&codec, decoded, 100, packed, size), ERR_PEER);
    assert_int_equal(decoded[100], 77);
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(codec_decompress(&codec, decoded, sizeof bytes, packed, cut), ERR_PEER);
    assert_int_equal(codec_decompress(&codec, decoded, sizeof bytes, bytes, 100), ERR_PEER);
}

static void
test_frame_wal_bad_fields(void **state)
{
    static uint8_t bytes[100];
    static const struct {
        size_t offset;
        const char *bytes;
        size_t n;
    } bad[] = {
        {13, "\0\0\0\0", 4},                         /* timeline */
        {17, "\xff\xff\xff\xff\xff\xff\xff\xff", 8}, /* LSN that would wrap */
        {25, "\2", 1},                               /* codec */
        {26, "\0\0\0\0", 4},                         /* decoded length */
        {26, "\0\2\0\1", 4},                         /* one more than allowed */
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        buf_clear(&out);
        frame_put_wal(&out, &codec, 1, 0x1000000, bytes, sizeof bytes);
        expect_refused(bad[i].offset, bad[i].bytes, bad[i].n);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame_every_type_there_and_back),
        cmocka_unit_test(test_frame_every_truncation_waits_for_more),
        cmocka_unit_test(test_frame_every_short_body_is_refused),
        cmocka_unit_test(test_frame_bad_values_are_refused),
        cmocka_unit_test(test_frame_hello_of_a_later_version),
        cmocka_unit_test(test_frame_pool_brings_its_chain),
        cmocka_unit_test(test_frame_pool_bad_chains_are_refused),
        cmocka_unit_test(test_frame_pool_brings_its_routes),
        cmocka_unit_test(test_frame_pool_short_routes_are_refused),
        cmocka_unit_test(test_frame_pool_bad_routes_are_refused),
        cmocka_unit_test(test_frame_pool_counts_of_routes_are_bounded),
        cmocka_unit_test(test_frame_pool_takes_one_table),
        cmocka_unit_test(test_frame_unknown_fields_are_skipped),
        cmocka_unit_test(test_frame_session_fields),
        cmocka_unit_test(test_frame_held_wal),
        cmocka_unit_test(test_frame_news_there_and_back),
        cmocka_unit_test(test_frame_bad_news_are_refused),
        cmocka_unit_test(test_frame_hello_has_an_incarnation),
        cmocka_unit_test(test_frame_session_follows_a_dial_of_the_same_start),
        cmocka_unit_test(test_frame_times_are_bounded),
        cmocka_unit_test(test_frame_wal_there_and_back),
        cmocka_unit_test(test_frame_wal_full_queue_takes_nothing),
        cmocka_unit_test(test_codec_never_decodes_more_than_announced),
        cmocka_unit_test(test_frame_wal_bad_fields),
    };

    return cmocka_run_group_tests_name("frame", tests, setup, teardown);
}

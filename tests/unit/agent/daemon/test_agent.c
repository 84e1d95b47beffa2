/* SPDX-License-Identifier: PostgreSQL */
/* What the daemon does with a state that it cannot save: looks into agent.c. */
#include "unit/unit.h"

#define WALFERRY_VERSION "of a test"
#include "../../../../agent/daemon/agent.c"

#include "pool/route.h"

enum pong_postgres __wrap_who_postgres(const struct who *w, int64_t now_us);

static enum pong_postgres server;

enum pong_postgres
__wrap_who_postgres(const struct who *w, int64_t now_us)
{
    (void)w;
    (void)now_us;
    return server;
}

static struct config config = {
    .name = "chat",
    .member = {{.name = "dc1-a", .site = "dc1"}, {.name = "dc2-a", .site = "dc2"}},
    .members = 2};
static struct agent agent, *a = &agent;
static struct told second; /* dc2-a says that it is the primary of epoch 2 */
static char path[64];

static int
open_agent(void **state)
{
    const struct epoch_origin first = {.epoch = {1, "dc1-a"}, .timeline = 1, .how = EPOCH_BY_FIRST};
    struct pool theirs = {0};

    (void)state;
    snprintf(path, sizeof path, "/tmp/wf-test-XXXXXX");
    assert_non_null(mkdtemp(path));
    *a = (struct agent){.who = {.config = &config,
                                .self = &config.member[0],
                                .role = ROLE_STANDBY,
                                .spool = &a->in.spool,
                                .asking = &a->failover.own}};
    a->who.postgres = postgres_new("host=/nowhere");
    a->in.who = a->out.who = &a->who;
    a->in.inlet.fd = -1;
    asks_open(&a->asks, &a->who, hear, promise_hear, a);
    pool_adopt(&theirs, &first, 0);
    a->who.pool = theirs;
    pool_adopt(&theirs, &(struct epoch_origin){.epoch = {2, "dc2-a"}, .timeline = 2, .from = 1}, 0);
    second =
        (struct told){.teller = "dc2-a", .of_pool = true, .timeline = 2, .changes = theirs.changes};
    memcpy(second.change, theirs.change, sizeof second.change);
    return durable_dir(path, &a->in.spool.dir);
}

static int
close_agent(void **state)
{
    char command[100];

    (void)state;
    durable_close(a->in.spool.dir);
    postgres_free(a->who.postgres);
    snprintf(command, sizeof command, "rm -r %s", path);
    assert_int_equal(system(command), 0);
    return 0;
}

/* The disk: takes nothing until it is mended. */
static int
break_disk(void)
{
    int dir = a->in.spool.dir;

    a->in.spool.dir = -1;
    return dir;
}

static void
test_agent_believes_only_what_it_could_save(void **state)
{
    struct ask *q = asks_of(&a->asks, "dc2-a");
    struct pool loaded;
    int dir = break_disk();

    (void)state;
    q->told = second;
    learn(a, &q->told);
    assert_int_equal(a->who.pool.epoch.number, 1);
    assert_int_equal(a->who.pool.changes, 1);
    assert_int_equal(a->who.pool.timeline, 1);
    asks_keep(&a->asks, clock_us());
    assert_true(q->wanted); /* it is asked again */
    judge(a, 0);
    assert_non_null(strstr(a->who.alarm, "dc2-a says that another epoch has begun"));
    assert_false(a->who.ships);
    a->in.spool.dir = dir;
    learn(a, &q->told);
    assert_int_equal(a->who.pool.epoch.number, 2);
    assert_int_equal(pool_load(&loaded, dir), 0);
    assert_int_equal(loaded.epoch.number, 2);
    judge(a, 0);
    assert_null(strstr(a->who.alarm, "another epoch has begun"));
}

static void
test_agent_keeps_the_timeline_that_it_could_save(void **state)
{
    struct pool loaded;
    int dir = break_disk();

    (void)state;
    set_timeline(a, 2);
    assert_int_equal(a->who.pool.timeline, 1);
    a->in.spool.dir = dir;
    set_timeline(a, 2);
    assert_int_equal(a->who.pool.timeline, 2);
    assert_int_equal(pool_load(&loaded, dir), 0);
    assert_int_equal(loaded.timeline, 2);
}

/* Its key may be stolen: the yes of a session that came in is asked for again. */
static void
test_agent_counts_a_promise_of_who_was_dialled(void **state)
{
    struct ask *q = asks_of(&a->asks, "dc2-a");
    struct frame f = {.type = FRAME_PROMISE,
                      .promise = {.word = PROMISE_GIVE, .number = 2, .nonce = 7, .reason = "no"}};

    (void)state;
    snprintf(a->in.receiver.from, sizeof a->in.receiver.from, "dc2-a");
    a->failover.who = &a->who;
    a->failover.own.promise = (struct promise){.word = PROMISE_ASK, .number = 2, .nonce = 7};
    promise_answered(a, &f);
    assert_int_equal(a->failover.answer[1].word, 0);
    assert_true(q->wanted && q->hurries);
    ask_promise(q, &f);
    assert_int_equal(a->failover.answer[1].word, PROMISE_GIVE);
    f.promise.word = PROMISE_REFUSE; /* costs no more than its silence */
    promise_answered(a, &f);
    assert_int_equal(a->failover.answer[1].word, PROMISE_REFUSE);
}

/* A table that comes is taken when it could be saved, and is of the epoch that is believed. */
static void
test_agent_takes_the_table_of_its_primary(void **state)
{
    struct frame f = {.type = FRAME_POOL};
    struct pool loaded;
    int dir;

    (void)state;
    f.pool.routes = (struct routes){.epoch = {2, "dc2-a"},
                                    .number = 4,
                                    .count = 2,
                                    .route = {{"dc1-a", "dc2-a", ROUTE_HEAD, false, true, 9},
                                              {"dc2-a", "", ROUTE_PRIMARY, false, false, 9}}};
    routes_hear(a, &f.pool.routes);
    assert_int_equal(a->who.pool.routes.count, 0);
    second.routes = f.pool.routes;
    hear(a, &second); /* who was dialled tells the epoch and its table */
    assert_int_equal(a->who.pool.epoch.number, 2);
    assert_int_equal(a->who.pool.routes.number, 4);
    f.pool.routes.number = 5;
    dir = break_disk();
    routes_hear(a, &f.pool.routes);
    assert_int_equal(a->who.pool.routes.number, 4);
    a->in.spool.dir = dir;
    routes_hear(a, &f.pool.routes);
    assert_int_equal(a->who.pool.routes.number, 5);
    assert_int_equal(pool_load(&loaded, dir), 0);
    assert_int_equal(loaded.routes.number, 5);
    assert_true(loaded.routes.route[0].pinned);
    f.pool.routes.number = 6;
    strcpy(f.pool.routes.route[0].member, "dc3-a"); /* of another pool's file */
    routes_hear(a, &f.pool.routes);
    assert_int_equal(a->who.pool.routes.number, 5);
}

static void
test_agent_pins_as_the_primary(void **state)
{
    struct pool loaded;

    (void)state;
    assert_int_equal(routes_pin(a, &config.member[1], true), ERR_USAGE);
    a->who.role = ROLE_PRIMARY;
    routes_keep(a, SECOND_US, SECOND_US);
    assert_int_equal(a->who.pool.routes.number, 1);
    assert_int_equal(routes_pin(a, &config.member[1], true), 0);
    assert_int_equal(routes_pin(a, &config.member[1], true), 1);
    assert_int_equal(a->who.pool.routes.number, 2);
    assert_int_equal(pool_load(&loaded, a->in.spool.dir), 0);
    assert_int_equal(loaded.routes.route[1].why, ROUTE_PINNED);
    routes_keep(a, 2 * SECOND_US, 2 * SECOND_US);
    assert_true(a->who.pool.routes.route[1].pinned);
    assert_int_equal(routes_pin(a, NULL, false), 0);
    assert_false(a->who.pool.routes.route[1].pinned);
    assert_int_equal(a->who.pool.routes.route[1].why, ROUTE_HEAD);
}

/* Its pool.state was put back: who was dialled holds a later table of its epoch. */
static void
test_agent_numbers_its_table_above_what_others_hold(void **state)
{
    struct ask *q = asks_of(&a->asks, "dc2-a");
    struct pool loaded;

    (void)state;
    a->who.role = ROLE_PRIMARY;
    routes_keep(a, SECOND_US, SECOND_US);
    assert_int_equal(a->who.pool.routes.number, 1);
    q->told.routes = a->who.pool.routes;
    q->told.routes.number = 7;
    routes_keep(a, 2 * SECOND_US, 2 * SECOND_US);
    assert_int_equal(a->who.pool.routes.number, 8);
    assert_int_equal(pool_load(&loaded, a->in.spool.dir), 0);
    assert_int_equal(loaded.routes.number, 8);
    routes_keep(a, 3 * SECOND_US, 3 * SECOND_US);
    assert_int_equal(a->who.pool.routes.number, 8);
}

/* The lag of each member is kept, also over a restart. */
static void
test_agent_remembers_where_each_member_stood(void **state)
{
    struct lag_record record = {.primary = "dc1-a"};
    char text[2 * LAG_RECORD_MAX];
    size_t length = 0;

    (void)state;
    a->out.links = 2;
    for (size_t k = 0; k < 2; k++) {
        snprintf(a->out.link[k].member, MEMBER_NAME_SIZE, "dc2-%c", (int)('a' + k));
        snprintf(record.member, MEMBER_NAME_SIZE, "dc2-%c", (int)('b' - k));
        record.flushed = (struct beacon){.lsn = 8 - k, .wall_us = clock_wall_us()};
        record.applied = (struct beacon){.lsn = 6 - k, .wall_us = clock_wall_us()};
        length += lag_record_save(&record, "-", text + length);
    }
    assert_int_equal(durable_replace(a->in.spool.dir, "lag", text, length), 0);
    upkeep_open(a);
    assert_int_equal(a->out.link[0].sender.flushed.covered.lsn, 7);
    assert_int_equal(a->out.link[0].sender.applied.covered.lsn, 5);
    assert_int_equal(a->out.link[1].sender.flushed.covered.lsn, 8);
    assert_int_equal(a->out.link[1].sender.applied.covered.lsn, 6);
}

/* dc2-a says that it could feed dc2-b. */
static void
head_reports(int64_t now_us)
{
    struct ask *q = &a->asks.ask[0];

    a->asks.count = 1;
    q->to = &config.member[1];
    q->told_us = q->report[2].us = now_us;
    snprintf(q->report[2].at.member, MEMBER_NAME_SIZE, "dc2-b");
}

/* Two links to dc2; that to its head brings three times something, then nothing any more. */
static enum route_why
head_stands_still(int seconds)
{
    int64_t now_us = 100 * SECOND_US;

    config.member[2] = (struct member){.name = "dc2-b", .site = "dc2"};
    config.members = 3;
    a->who.role = ROLE_PRIMARY;
    a->out.links = 2;
    for (int i = 0; i <= seconds; i++, now_us += SECOND_US) {
        for (size_t k = 0; k < 2; k++) {
            struct link *l = &a->out.link[k];

            l->state = LINK_SHIPPING;
            memcpy(l->member, config.member[k + 1].name, MEMBER_NAME_SIZE);
            l->sender.seen_us = l->sender.stamped.mono_us = now_us;
            l->sender.stamped.lsn = 1000;
        }
        head_reports(now_us);
        a->out.link[1].sender.received.covered.mono_us = now_us;
        if (i < 3)
            a->out.link[0].sender.far.received += 100; /* behind, and getting on */
        routes_keep(a, now_us, now_us);
    }
    config.members = 2;
    return routes_of(&a->who.pool.routes, "dc2-b")->why;
}

static void
test_agent_replaces_a_head_that_gets_no_further(void **state)
{
    (void)state;
    server = PONG_POSTGRES_ANSWERS;
    assert_int_equal(head_stands_still(11), ROUTE_RELAYED);
    assert_int_equal(head_stands_still(12), ROUTE_STALLED);
}

/* Nobody gets anything then, whoever feeds it. */
static void
test_agent_leaves_a_head_alone_while_its_own_server_is_down(void **state)
{
    (void)state;
    server = PONG_POSTGRES_DEAD;
    assert_int_equal(head_stands_still(30), ROUTE_RELAYED);
}

/* The primary with two links to dc2, of which the first ships, at that moment. */
static enum route_why
ships_to_the_head(int64_t now_us)
{
    config.member[2] = (struct member){.name = "dc2-b", .site = "dc2"};
    config.members = 3;
    a->who.role = ROLE_PRIMARY;
    a->out.links = 2;
    for (size_t k = 0; k < 2; k++) {
        memcpy(a->out.link[k].member, config.member[k + 1].name, MEMBER_NAME_SIZE);
        a->out.link[k].sender.seen_us = now_us;
    }
    a->out.link[0].state = LINK_SHIPPING;
    routes_keep(a, now_us, now_us);
    config.members = 2;
    return routes_of(&a->who.pool.routes, "dc2-b")->why;
}

/* A POOL of dc2-a as it comes: where it stands and, of two positions, also dc2-b. */
static void
head_tells(void (*hears)(void *ask, const struct frame *pool), size_t positions)
{
    static uint8_t room[FRAME_BYTES_MAX];
    struct buf wire = {.bytes = room, .size = sizeof room};
    struct frame f = {.type = FRAME_POOL,
                      .pool = {.changes = a->who.pool.changes,
                               .change = a->who.pool.change,
                               .positions = positions,
                               .position = {{"dc2-a", 1, 8, 8, 0}, {"dc2-b", 1, 7, 7, 0}}}};

    config.members = 3;
    config.member[2] = (struct member){.name = "dc2-b", .site = "dc2"};
    assert_int_equal(frame_put(&wire, &f), 0);
    assert_int_equal(frame_next(&wire, &f), 1);
    hears(asks_of(&a->asks, "dc2-a"), &f);
    config.members = 2;
}

/* An answer to a knock has only the answerer's position; and one report may lack who is in the next. */
static void
test_agent_keeps_what_a_head_has_reported(void **state)
{
    int64_t now_us = clock_us();

    (void)state;
    head_tells(ask_shipped, 2);
    assert_int_equal(ships_to_the_head(now_us - 20 * SECOND_US), ROUTE_RELAYED);
    head_tells(ask_hear, 1);
    head_tells(ask_shipped, 1);
    assert_int_equal(ships_to_the_head(now_us), ROUTE_RELAYED);
    assert_int_equal(ships_to_the_head(now_us + 9 * SECOND_US), ROUTE_RELAYED);
    assert_int_equal(ships_to_the_head(now_us + 11 * SECOND_US), ROUTE_AROUND);
}

/* Its link is there again, and what it reported before is old. */
static void
test_agent_waits_for_the_report_of_a_head_that_is_back(void **state)
{
    int64_t now_us = clock_us();

    (void)state;
    head_tells(ask_shipped, 2);
    assert_int_equal(ships_to_the_head(now_us), ROUTE_RELAYED);
    now_us += 11 * SECOND_US;
    a->out.link[0].since_us = now_us;
    assert_int_equal(ships_to_the_head(now_us + 2 * SECOND_US), ROUTE_RELAYED);
    assert_int_equal(ships_to_the_head(now_us + 10 * SECOND_US), ROUTE_AROUND);
}

/* Who speaks in a quiet session is there, and is not dialled for that. Who is fed takes WAL, or is silent. */
static void
test_agent_hears_of_who_talks_in_a_quiet_session(void **state)
{
    int64_t now_us = clock_us();
    struct ask *q = &a->asks.ask[1];
    struct quiet *quiet = &a->quiets.quiet[0];

    (void)state;
    head_tells(ask_shipped, 2);
    a->asks.count = 2;
    *q = (struct ask){.asks = &a->asks, .to = &config.member[2], .told_us = now_us};
    a->quiets.count = 2;
    a->quiets.quiet[1].to = &config.member[1];
    *quiet = (struct quiet){.to = &config.member[2], .heard_us = now_us};
    assert_int_equal(ships_to_the_head(now_us), ROUTE_RELAYED);
    assert_int_equal(ships_to_the_head(now_us + SECOND_US), ROUTE_RELAYED);
    assert_false(q->wanted);
    ships_to_the_head(now_us + 3 * SECOND_US);
    assert_true(q->wanted);
    now_us += 14 * SECOND_US;
    quiet->heard_us = now_us - SECOND_US;
    a->quiets.quiet[1].heard_us = now_us;
    q->wanted = false;
    config.members = 3;
    routes_keep(a, now_us, now_us); /* the head takes none */
    config.members = 2;
    assert_false(q->wanted);
    assert_int_equal(routes_of(&a->who.pool.routes, "dc2-b")->why, ROUTE_SILENT);
    config.members = 3;
    a->out.link[1].sender.seen_us = 0;
    routes_keep(a, now_us + 9 * SECOND_US, now_us); /* a new way has its time */
    config.members = 2;
    assert_int_equal(routes_of(&a->who.pool.routes, "dc2-b")->why, ROUTE_SILENT);
}

/* The route to a member of that site, after the links to it and to dc2-a have been refused for that long. */
static const struct route *
both_refuse(const char *member, const char *site, int seconds)
{
    int64_t now_us = 100 * SECOND_US;

    config.member[2] = (struct member){.name = ""};
    snprintf(config.member[2].name, MEMBER_NAME_SIZE, "%s", member);
    snprintf(config.member[2].site, MEMBER_NAME_SIZE, "%s", site);
    config.members = 3;
    server = PONG_POSTGRES_ANSWERS;
    a->who.role = ROLE_PRIMARY;
    a->out.links = 2;
    for (size_t k = 0; k < 2; k++)
        memcpy(a->out.link[k].member, config.member[k + 1].name, MEMBER_NAME_SIZE);
    routes_keep(a, now_us, now_us);
    for (int i = 0; i < seconds; i++, now_us += SECOND_US) {
        a->out.link[0].sender.denied_us = a->out.link[1].sender.denied_us = now_us;
        routes_keep(a, now_us, now_us);
    }
    config.members = 2;
    return routes_of(&a->who.pool.routes, member);
}

/* Nobody else could feed it either. */
static void
test_agent_goes_on_to_ship_to_who_refuses(void **state)
{
    (void)state;
    assert_false(both_refuse("dc1-b", "dc1", 12)->cut);
    assert_false(routes_of(&a->who.pool.routes, "dc2-a")->cut);
}

/* A head makes place for one that may take WAL. */
static void
test_agent_replaces_a_head_that_refuses(void **state)
{
    (void)state;
    head_reports(100 * SECOND_US);
    assert_int_equal(both_refuse("dc2-b", "dc2", 10)->why, ROUTE_RELAYED);
    assert_int_equal(both_refuse("dc2-b", "dc2", 13)->why, ROUTE_STALLED);
    assert_int_equal(routes_of(&a->who.pool.routes, "dc2-a")->why, ROUTE_RELAYED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_agent_believes_only_what_it_could_save, open_agent,
                                        close_agent),
        cmocka_unit_test_setup_teardown(test_agent_keeps_the_timeline_that_it_could_save,
                                        open_agent, close_agent),
        cmocka_unit_test_setup_teardown(test_agent_counts_a_promise_of_who_was_dialled, open_agent,
                                        close_agent),
        cmocka_unit_test_setup_teardown(test_agent_takes_the_table_of_its_primary, open_agent,
                                        close_agent),
        cmocka_unit_test_setup_teardown(test_agent_pins_as_the_primary, open_agent, close_agent),
        cmocka_unit_test_setup_teardown(test_agent_numbers_its_table_above_what_others_hold,
                                        open_agent, close_agent),
        cmocka_unit_test_setup_teardown(test_agent_remembers_where_each_member_stood, open_agent,
                                        close_agent),
        cmocka_unit_test_setup_teardown(test_agent_replaces_a_head_that_gets_no_further, open_agent,
                                        close_agent),
        cmocka_unit_test_setup_teardown(test_agent_leaves_a_head_alone_while_its_own_server_is_down,
                                        open_agent, close_agent),
        cmocka_unit_test_setup_teardown(test_agent_keeps_what_a_head_has_reported, open_agent,
                                        close_agent),
        cmocka_unit_test_setup_teardown(test_agent_goes_on_to_ship_to_who_refuses, open_agent,
                                        close_agent),
        cmocka_unit_test_setup_teardown(test_agent_waits_for_the_report_of_a_head_that_is_back,
                                        open_agent, close_agent),
        cmocka_unit_test_setup_teardown(test_agent_replaces_a_head_that_refuses, open_agent,
                                        close_agent),
        cmocka_unit_test_setup_teardown(test_agent_hears_of_who_talks_in_a_quiet_session,
                                        open_agent, close_agent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

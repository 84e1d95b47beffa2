/* SPDX-License-Identifier: PostgreSQL */
/* What a primary says in HELLO, and when it says nothing. */
#include "unit/unit.h"

#include "links/outgoing.h"

#include "base/clock.h"

#include <stdio.h>

const struct postgres_sample *__wrap_postgres_sample(const struct postgres *p);
const struct identity *__wrap_postgres_identity(const struct postgres *p);
enum postgres_state __wrap_postgres_state(const struct postgres *p);
void __wrap_link_run(struct link *l, const struct loop *loop, const struct hello *hello,
                     const char *stop_reason, int64_t now_us, int64_t wall_us);
int __wrap_pgwal_history(const char *pgdata, timeline_t timeline, char *text, size_t size);

static struct member self = {.name = "dc1-a", .pgdata = "/nonexistent"};
static struct config config = {.name = "p", .members = 1};
static struct who who;
static struct outgoing out;
static struct postgres_sample sample;
static enum postgres_state server;
static const char *on_disk;      /* a history file */
static const struct hello *told; /* to the link, in the last turn */

const struct postgres_sample *
__wrap_postgres_sample(const struct postgres *p)
{
    (void)p;
    return &sample;
}

const struct identity *
__wrap_postgres_identity(const struct postgres *p)
{
    static const struct identity identity = {.system_identifier = 7, .segment_bytes = 16u << 20};

    (void)p;
    return &identity;
}

enum postgres_state
__wrap_postgres_state(const struct postgres *p)
{
    (void)p;
    return server;
}

void
__wrap_link_run(struct link *l, const struct loop *loop, const struct hello *hello,
                const char *stop_reason, int64_t now_us, int64_t wall_us)
{
    (void)l;
    (void)loop;
    (void)stop_reason;
    (void)now_us;
    (void)wall_us;
    told = hello;
}

int
__wrap_pgwal_history(const char *pgdata, timeline_t timeline, char *text, size_t size)
{
    (void)pgdata;
    (void)timeline;
    return snprintf(text, size, "%s", on_disk);
}

static int
make(void **state)
{
    static char history[64];

    (void)state;
    who = (struct who){.config = &config,
                       .self = &self,
                       .role = ROLE_PRIMARY,
                       .ships = true,
                       .pool = {.epoch = {1, "dc1-a"}, .timeline = 1}};
    out = (struct outgoing){.who = &who, .links = 1, .history = history};
    sample = (struct postgres_sample){.timeline = 1};
    server = POSTGRES_UP;
    return 0;
}

static const struct hello *
turn(void)
{
    outgoing_run(&out, NULL, clock_us(), clock_wall_us());
    return told;
}

static void
test_outgoing_dials_from_a_server_that_was_in_recovery_and_is_down(void **state)
{
    (void)state;
    sample.in_recovery = true;
    assert_null(turn());
    server = POSTGRES_DOWN;
    assert_non_null(turn());
}

/* The far side compares its WAL with what HELLO tells of the timeline. */
static void
test_outgoing_begins_anew_on_another_timeline(void **state)
{
    (void)state;
    out.lineage.timeline = 2; /* its history is loaded */
    who.pool.timeline = 2;
    assert_int_equal(turn()->timeline, 2);
    assert_int_equal(turn()->timeline, 2);
    who.pool.timeline = out.lineage.timeline = 3;
    assert_null(turn());
    assert_int_equal(turn()->timeline, 3);
    who.pool.epoch.number = 2;
    assert_null(turn());
    assert_int_equal(turn()->epoch.number, 2);
}

/* The first link is one to another site, whichever member the file names first. */
static void
test_outgoing_has_a_link_to_everybody_and_mirrors_are_last(void **state)
{
    static struct config four = {.name = "p",
                                 .member = {{.name = "dc2-b", .site = "dc2"},
                                            {.name = "dc1-b", .site = "dc1"},
                                            {.name = "dc2-a", .site = "dc2"},
                                            {.name = "dc1-a", .site = "dc1"}},
                                 .members = 4};
    static const char *const order[] = {"dc2-b", "dc2-a", "dc1-b"};
    struct codec codec = {0};

    (void)state;
    who.config = &four;
    who.self = &four.member[3];
    out = (struct outgoing){0};
    assert_int_equal(outgoing_open(&out, &who, &codec), 0);
    assert_int_equal(out.links, 3);
    assert_int_equal(out.far, 2);
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
        assert_string_equal(out.link[i].member, order[i]);
    assert_string_equal(out.slot_name[2], "walferry_dc1_b");
    outgoing_close(&out);
    codec_release(&codec);
}

/* What a knock is answered about a session. */
static void
test_outgoing_knows_what_it_has_dialled(void **state)
{
    (void)state;
    snprintf(out.link[0].member, sizeof out.link[0].member, "dc2-a");
    out.incarnation = 1000;
    assert_false(outgoing_dialled(&out, "dc2-a", 1001)); /* not yet */
    out.link[0].incarnation = 2;
    assert_true(outgoing_dialled(&out, "dc2-a", 1001));
    assert_true(outgoing_dialled(&out, "dc2-a", 1002));
    assert_false(outgoing_dialled(&out, "dc2-a", 1003));
    assert_false(outgoing_dialled(&out, "dc2-a", 1000));
    assert_false(outgoing_dialled(&out, "dc2-a", 0));
    assert_false(outgoing_dialled(&out, "dc3-a", 1001));
}

/* Its first epoch was overruled: the second promotion makes a timeline of the same number. */
static void
test_outgoing_reads_the_history_of_a_timeline_that_is_made_twice(void **state)
{
    const struct hello *hello;

    (void)state;
    who.pool = (struct pool){.epoch = {2, "dc1-a"}, .timeline = 2};
    on_disk = "1\t0/3000000\tx\n";
    hello = turn();
    assert_non_null(hello);
    assert_memory_equal(hello->history, on_disk, hello->history_bytes);
    who.pool.epoch.number = 4;
    on_disk = "1\t0/30000A0\tx\n";
    assert_null(turn());
    hello = turn();
    assert_non_null(hello);
    assert_memory_equal(hello->history, on_disk, hello->history_bytes);
}

/* dc2-a is fed by the primary and feeds dc2-b from its spool, and nobody else. */
static void
test_outgoing_passes_wal_on_by_the_table(void **state)
{
    static struct spool spool;
    const struct hello *hello;

    (void)state;
    spool = (struct spool){.identity = {.system_identifier = 7, .segment_bytes = 16u << 20},
                           .start = 16u << 20,
                           .written = 17u << 20,
                           .timeline = 1};
    who.spool = &spool;
    who.role = ROLE_STANDBY;
    who.ships = false;
    self.name[2] = '2';
    who.pool.routes =
        (struct routes){.epoch = {1, "dc1-a"},
                        .number = 5,
                        .count = 3,
                        .route = {{.member = "dc1-a", .why = ROUTE_PRIMARY},
                                  {"dc2-a", "dc1-a", ROUTE_HEAD, false, false, 0},
                                  {"dc2-b", "dc2-a", ROUTE_RELAYED, false, false, 0}}};
    snprintf(out.link[0].member, sizeof out.link[0].member, "dc2-b");
    hello = turn();
    assert_non_null(hello);
    assert_true(out.link[0].relays);
    assert_int_equal(out.link[0].sender.postgres, PONG_POSTGRES_UNKNOWN);
    assert_string_equal(hello->epoch.member, "dc1-a");
    assert_int_equal(hello->hops, 2);
    assert_string_equal(hello->path[0], "dc1-a");
    assert_string_equal(hello->path[1], "dc2-a");
    assert_int_equal(hello->table, 5);
    spool.timeline = 2; /* not yet the pool's */
    assert_null(turn());
    spool.timeline = 1;
    snprintf(out.link[0].member, sizeof out.link[0].member, "dc1-a");
    assert_null(turn());
    snprintf(out.link[0].member, sizeof out.link[0].member, "dc2-b");
    who.pool.routes.epoch.number = 2; /* a table of another epoch is none */
    assert_null(turn());
    self.name[2] = '1';
}

/* Another member feeds it: its link goes on until that one has taken it over, and for who takes over. */
static void
test_outgoing_leaves_a_member_to_its_feeder(void **state)
{
    (void)state;
    who.pool.routes =
        (struct routes){.epoch = {1, "dc1-a"},
                        .number = 5,
                        .count = 3,
                        .route = {{.member = "dc1-a", .why = ROUTE_PRIMARY},
                                  {"dc2-a", "dc1-a", ROUTE_HEAD, false, false, 0},
                                  {"dc2-b", "dc2-a", ROUTE_RELAYED, false, false, 0}}};
    snprintf(out.link[0].member, sizeof out.link[0].member, "dc2-b");
    assert_null(turn());
    out.link[0].state = LINK_SHIPPING;
    assert_non_null(turn());
    out.link[0].state = LINK_WAITING;
    assert_null(turn());
    who.pool.promised = (struct epoch){2, "dc2-b"};
    assert_non_null(turn());
    who.pool.promised = (struct epoch){2, "dc2-a"};
    assert_null(turn());
    snprintf(out.link[0].member, sizeof out.link[0].member, "dc3-a"); /* in no table */
    assert_non_null(turn());
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_outgoing_dials_from_a_server_that_was_in_recovery_and_is_down,
                               make),
        cmocka_unit_test_setup(test_outgoing_begins_anew_on_another_timeline, make),
        cmocka_unit_test_setup(test_outgoing_has_a_link_to_everybody_and_mirrors_are_last, make),
        cmocka_unit_test_setup(test_outgoing_knows_what_it_has_dialled, make),
        cmocka_unit_test_setup(test_outgoing_passes_wal_on_by_the_table, make),
        cmocka_unit_test_setup(test_outgoing_leaves_a_member_to_its_feeder, make),
        cmocka_unit_test_setup(test_outgoing_reads_the_history_of_a_timeline_that_is_made_twice,
                               make),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

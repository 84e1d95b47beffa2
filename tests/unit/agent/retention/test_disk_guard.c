/* SPDX-License-Identifier: PostgreSQL */
/* The guard's step: what it asks for, in which order, and when it is over. */
#include "unit/unit.h"

#include "retention/disk_guard.h"

#include "base/clock.h"

#include <stdio.h>

#define MB (UINT64_C(1) << 20)
#define GB (UINT64_C(1) << 30)

static const struct disk_guard_limits limits = {.retain_max_bytes = 8 * GB,
                                                .reserve = {10, UINT64_MAX}};

static struct disk_guard_facts
quiet(void)
{
    return (struct disk_guard_facts){.segment_bytes = 16 * MB,
                                     .disk_known = true,
                                     .disk_bytes = 100 * GB,
                                     .free_bytes = 90 * GB,
                                     .rates_known = true,
                                     .outbox_possible = true};
}

/* After so many seconds of the same facts. */
static enum disk_guard_step
after(struct disk_guard *g, const struct disk_guard_facts *f, const struct disk_guard_limits *l,
      int64_t *now_us, int64_t seconds)
{
    for (int64_t end_us = *now_us + seconds * SECOND_US; *now_us < end_us; *now_us += SECOND_US / 5)
        disk_guard_step(g, f, l, *now_us);
    return g->step;
}

static void
test_disk_guard_outbox_behind_squeeze(void **state)
{
    struct disk_guard g = {0};
    struct disk_guard_facts f = quiet();
    int64_t now_us = SECOND_US;

    (void)state;
    assert_int_equal(after(&g, &f, &limits, &now_us, 2), DISK_GUARD_WATCH);
    f.retained = 5 * GB;
    assert_int_equal(after(&g, &f, &limits, &now_us, 2), DISK_GUARD_SQUEEZE);
    f.retained = 9 * GB;
    assert_true(disk_guard_step(&g, &f, &limits, now_us));
    assert_int_equal(g.step, DISK_GUARD_OUTBOX);
    f.outbox_used = true;
    f.retained = 0;
    assert_int_equal(after(&g, &f, &limits, &now_us, 60),
                     DISK_GUARD_OUTBOX); /* until it is shipped */
    f.outbox_used = false;
    assert_int_equal(after(&g, &f, &limits, &now_us, 5), DISK_GUARD_OUTBOX);
    assert_int_equal(after(&g, &f, &limits, &now_us, 6), DISK_GUARD_WATCH);
}

static void
test_disk_guard_every_step_is_taken(void **state)
{
    struct disk_guard g = {0};
    struct disk_guard_facts f = quiet();
    int64_t now_us = SECOND_US;
    unsigned seen = 0;

    (void)state;
    f.retained = f.freed = 85 * GB;
    f.shrinks = 100 * MB;
    f.free_bytes = 4 * GB;
    for (int i = 0; i < 20; i++, now_us += SECOND_US / 5)
        if (disk_guard_step(&g, &f, &limits, now_us))
            seen = seen * 10 + g.step;
    assert_int_equal(seen, 123);
}

static void
test_disk_guard_no_outbox_to_try(void **state)
{
    struct disk_guard g = {0};
    struct disk_guard_facts f = quiet();
    int64_t now_us = SECOND_US;

    (void)state;
    f.outbox_possible = false; /* synchronous */
    f.retained = 20 * GB;
    assert_int_equal(after(&g, &f, &limits, &now_us, 5), DISK_GUARD_SQUEEZE);
    f.freed = 20 * GB;
    f.free_bytes = 9 * GB;
    f.shrinks = 100 * MB;
    assert_int_equal(after(&g, &f, &limits, &now_us, 1), DISK_GUARD_RELEASE);
}

static void
test_disk_guard_outbox_that_takes_gets_time(void **state)
{
    struct disk_guard g = {0};
    struct disk_guard_facts f = quiet();
    int64_t now_us = SECOND_US;

    (void)state;
    f.retained = f.freed = 85 * GB;
    f.shrinks = 100 * MB;
    f.free_bytes = 6 * GB;
    f.outbox_takes = f.outbox_used = true;
    assert_int_equal(after(&g, &f, &limits, &now_us, 60), DISK_GUARD_OUTBOX);
    f.free_bytes = 4 * GB;
    assert_int_equal(after(&g, &f, &limits, &now_us, 1), DISK_GUARD_RELEASE);
    assert_true(disk_guard_releases(&g));
    f.free_bytes = 50 * GB;
    disk_guard_step(&g, &f, &limits, now_us);
    assert_int_equal(g.step, DISK_GUARD_RELEASE); /* for a while: but nothing is let go with room */
    assert_false(disk_guard_releases(&g));
}

static void
test_disk_guard_nothing_to_gain(void **state)
{
    struct disk_guard g = {0};
    struct disk_guard_facts f = quiet();
    int64_t now_us = SECOND_US;

    (void)state;
    f.free_bytes = 1; /* something else fills the disk: PostgreSQL itself needs that WAL */
    f.retained = 1 * GB;
    f.outbox_used = true;
    assert_int_equal(after(&g, &f, &limits, &now_us, 60), DISK_GUARD_OUTBOX);
}

/* Each from a disk that is low with nothing else to try: is a slot let go? */
static void
test_disk_guard_releases_as_late_as_is_safe_and_only_if_it_helps(void **state)
{
    static const struct disk_guard_limits capped = {.retain_max_bytes = 8 * GB,
                                                    .reserve = {10, 16 * GB}};
    static const struct {
        const char *what;
        uint64_t disk_bytes, free_bytes, freed;
        bool rates_known;
        double shrinks, others; /* MB a second */
        bool gains, releases;
    } cases[] = {
        /* full of other data, and the slot keeps next to nothing of it */
        {"small disk, 92 % other data", 1900 * MB, 150 * MB, 4 * MB, true, 4, 0, false, false},
        {"the same, rates unknown", 1900 * MB, 150 * MB, 4 * MB, false, 0, 0, false, false},
        {"large disk, 160 GB left", 2000 * GB, 160 * GB, 100 * GB, true, 100, 0, false, false},
        {"large disk, 12 GB left, 48 MB kept", 2000 * GB, 12 * GB, 48 * MB, true, 400, 0, false,
         false},
        /* the slot keeps much */
        {"WAL fills it in 90 s", 100 * GB, 9 * GB, 60 * GB, true, 100, 0, false, true},
        {"in half an hour: later", 100 * GB, 9 * GB, 60 * GB, true, 5, 0, false, false},
        {"in half an hour, then it is late", 100 * GB, 800 * MB, 60 * GB, true, 5, 0, false, true},
        {"it does not fill", 100 * GB, 1 * GB, 60 * GB, true, 0, 0, false, false},
        {"it empties", 100 * GB, 1 * GB, 60 * GB, true, -50, 0, false, false},
        {"half of what is left", 2000 * GB, 10 * GB, 5 * GB, true, 100, 0, false, true},
        {"less", 2000 * GB, 10 * GB, 4 * GB, true, 100, 0, false, false},
        {"less, but soon it is half", 2000 * GB, 9 * GB, 5 * GB, true, 100, 0, false, true},
        /* other data fills it, perhaps besides WAL */
        {"20 s would be won", 100 * GB, 1 * GB, 1 * GB, true, 50, 50, false, false},
        {"10 min would be won", 100 * GB, 1 * GB, 6 * GB, true, 10, 10, false, true},
        {"both, 20 s would be won", 100 * GB, 1 * GB, 1 * GB, true, 100, 50, false, false},
        {"both, 17 min would be won", 100 * GB, 1 * GB, 1 * GB, true, 100, 1, false, true},
        /* the last bytes */
        {"full, much kept, it stands still", 100 * GB, 0, 60 * GB, true, 0, 0, false, true},
        {"full, 48 MB kept, WAL comes", 100 * GB, 40 * MB, 48 * MB, true, 1, 0, false, true},
        {"full, one segment kept", 100 * GB, 1, 16 * MB, true, 1, 0, false, false},
        {"full, 48 MB kept, others write", 100 * GB, 1, 48 * MB, true, 5, 5, false, false},
        /* nobody knows how fast */
        {"unknown, half of the reserve", 100 * GB, 5 * GB, 60 * GB, false, 0, 0, false, false},
        {"unknown, less than a quarter", 100 * GB, 2 * GB, 60 * GB, false, 0, 0, false, true},
        /* it will be level */
        {"a link that gains", 100 * GB, 1 * GB, 60 * GB, true, 100, 0, true, false},
        {"... on a full disk", 100 * GB, 1, 60 * GB, true, 100, 0, true, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct disk_guard g = {0};
        int64_t now_us = SECOND_US;
        struct disk_guard_facts f = {.segment_bytes = 16 * MB,
                                     .retained = cases[i].freed,
                                     .freed = cases[i].freed,
                                     .gains = cases[i].gains,
                                     .disk_known = true,
                                     .disk_bytes = cases[i].disk_bytes,
                                     .free_bytes = cases[i].free_bytes,
                                     .rates_known = cases[i].rates_known,
                                     .shrinks = cases[i].shrinks * (double)MB,
                                     .others = cases[i].others * (double)MB};

        after(&g, &f, &capped, &now_us, 60);
        if (disk_guard_releases(&g) != cases[i].releases)
            print_error("%s: step %s\n", cases[i].what, disk_guard_name(g.step));
        assert_int_equal(disk_guard_releases(&g), cases[i].releases);
    }
}

static void
test_disk_guard_hold(void **state)
{
    struct disk_guard_limits hold = limits;
    struct disk_guard g = {0};
    struct disk_guard_facts f = quiet();
    int64_t now_us = SECOND_US;

    (void)state;
    hold.hold = true;
    f.retained = f.freed = 85 * GB;
    f.shrinks = 100 * MB;
    f.free_bytes = 1 * GB;
    assert_int_equal(after(&g, &f, &hold, &now_us, 60), DISK_GUARD_HOLD);
    f.free_bytes = 50 * GB;
    f.retained = f.freed = 0;
    assert_int_equal(after(&g, &f, &hold, &now_us, 11), DISK_GUARD_WATCH);
}

static void
test_disk_guard_something_else_keeps_it_too(void **state)
{
    struct disk_guard g = {0};
    struct disk_guard_facts f = quiet();
    int64_t now_us = SECOND_US;

    (void)state;
    f.retained = f.freed = 85 * GB;
    f.shrinks = 100 * MB;
    f.free_bytes = 4 * GB;
    f.kept = true;
    assert_int_equal(after(&g, &f, &limits, &now_us, 60), DISK_GUARD_HOLD);
    assert_false(disk_guard_releases(&g));
    f.kept = false;
    disk_guard_step(&g, &f, &limits, now_us);
    assert_int_equal(g.step, DISK_GUARD_RELEASE);
    f.kept = true;
    assert_int_equal(after(&g, &f, &limits, &now_us, 1), DISK_GUARD_HOLD);
}

static void
test_disk_guard_disk_unknown(void **state)
{
    struct disk_guard g = {0};
    struct disk_guard_facts f = quiet();
    int64_t now_us = SECOND_US;

    (void)state;
    f.disk_known = false;
    f.free_bytes = f.disk_bytes = 0;
    f.retained = f.freed = 7 * GB;
    assert_int_equal(after(&g, &f, &limits, &now_us, 60), DISK_GUARD_SQUEEZE);
}

/* A primary that feeds dc2-a, which feeds dc2-b; both have all up to 500 MB. */
static struct who who = {
    .role = ROLE_PRIMARY,
    .self = &(struct member){.name = "dc1-a"},
    .pool = {.epoch = {1, "dc1-a"},
             .routes = {.epoch = {1, "dc1-a"},
                        .number = 1,
                        .count = 3,
                        .route = {{.member = "dc1-a", .why = ROUTE_PRIMARY},
                                  {.member = "dc2-a", .from = "dc1-a", .why = ROUTE_HEAD},
                                  {.member = "dc2-b", .from = "dc2-a", .why = ROUTE_RELAYED}}}}};
static struct outgoing out;
static struct outbox outbox;
static struct rates rates;
static struct disk_guard guard;

static int
make_pool(void **state)
{
    struct sender *head = &out.link[0].sender, *fed = &out.link[1].sender;

    (void)state;
    out = (struct outgoing){.who = &who, .links = 2, .far = 2};
    outbox = (struct outbox){.spool = {.start = 300 * MB, .available = 400 * MB}};
    rates = (struct rates){0};
    guard = (struct disk_guard){.who = &who,
                                .out = &out,
                                .outbox = &outbox,
                                .rates = &rates,
                                .facts = {.segment_bytes = 16 * MB}};
    snprintf(out.link[0].member, MEMBER_NAME_SIZE, "dc2-a");
    snprintf(out.link[1].member, MEMBER_NAME_SIZE, "dc2-b");
    out.link[0].state = LINK_SHIPPING;
    out.link[1].state = LINK_STOPPED;
    head->far_known = head->far_compared = fed->far_known = true;
    head->far.flushed = fed->far.flushed = 500 * MB;
    return 0;
}

static void
test_disk_guard_outbox_ends_where_another_member_feeds(void **state)
{
    struct postgres_sample s = {.flush = 510 * MB, .mono_us = 100 * SECOND_US};
    struct ack *fed = &out.link[1].sender.far;

    (void)state;
    assert_true(disk_guard_follows(&guard, &s));
    assert_true(disk_guard_shipped(&guard) == 500 * MB);
    fed->flushed = 420 * MB; /* it is late, or dead */
    assert_false(disk_guard_follows(&guard, &s));
    assert_true(disk_guard_shipped(&guard) == 420 * MB);
    for (int64_t us = 80 * SECOND_US; us <= s.mono_us; us += SECOND_US) /* 20 MB a second */
        trend_add(&rates.produced, us, (uint64_t)(us / SECOND_US) * 20 * MB);
    assert_true(disk_guard_follows(&guard, &s)); /* what is heard of it is a moment old */
    fed->flushed = 380 * MB;
    assert_false(disk_guard_follows(&guard, &s));
    out.link[1].sender.far_known = false; /* nobody has told yet */
    fed->flushed = LSN_UNKNOWN;
    assert_false(disk_guard_follows(&guard, &s));
    assert_int_equal(disk_guard_shipped(&guard), 0);
}

/* ... so that the guard sees that its slot, which nobody reads, gains. */
static void
test_disk_guard_hears_how_fast_a_fed_member_gets_on(void **state)
{
    static struct incoming in;
    double rate;

    (void)state;
    who.postgres = postgres_new("host=/nowhere");
    in = (struct incoming){.who = &who, .spool = {.dir = -1}};
    for (int64_t us = SECOND_US; us <= 12 * SECOND_US; us += SECOND_US) {
        out.link[1].sender.far.flushed += 20 * MB;
        rates_look(&rates, &out, &in, us);
    }
    assert_true(trend_rate(&rates.shipped[1], 10 * SECOND_US, 12 * SECOND_US, &rate));
    assert_true(rate == 20 * MB);
    postgres_free(who.postgres);
    who.postgres = NULL;
}

/* Whom this member feeds itself needs a link that ships. */
static void
test_disk_guard_outbox_goes_on_for_a_link_that_is_down(void **state)
{
    struct postgres_sample s = {.flush = 510 * MB, .mono_us = 100 * SECOND_US};

    (void)state;
    out.link[0].state = LINK_WAITING;
    assert_false(disk_guard_follows(&guard, &s));
    out.link[0].state = LINK_SHIPPING;
    out.link[0].sender.far_compared = false;
    assert_int_equal(disk_guard_shipped(&guard), 0);
}

static void
test_disk_guard_knows_who_is_past_the_outbox(void **state)
{
    (void)state;
    out.links = 1;
    snprintf(out.link[0].member, MEMBER_NAME_SIZE, "dc2-b");
    out.link[0].state = LINK_STOPPED;
    assert_true(disk_guard_ahead(&guard));
    out.link[0].sender.far.flushed = 399 * MB;
    assert_false(disk_guard_ahead(&guard));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_disk_guard_outbox_behind_squeeze),
        cmocka_unit_test(test_disk_guard_every_step_is_taken),
        cmocka_unit_test(test_disk_guard_no_outbox_to_try),
        cmocka_unit_test(test_disk_guard_outbox_that_takes_gets_time),
        cmocka_unit_test(test_disk_guard_nothing_to_gain),
        cmocka_unit_test(test_disk_guard_releases_as_late_as_is_safe_and_only_if_it_helps),
        cmocka_unit_test(test_disk_guard_hold),
        cmocka_unit_test(test_disk_guard_something_else_keeps_it_too),
        cmocka_unit_test(test_disk_guard_disk_unknown),
        cmocka_unit_test_setup(test_disk_guard_outbox_ends_where_another_member_feeds, make_pool),
        cmocka_unit_test_setup(test_disk_guard_outbox_goes_on_for_a_link_that_is_down, make_pool),
        cmocka_unit_test_setup(test_disk_guard_hears_how_fast_a_fed_member_gets_on, make_pool),
        cmocka_unit_test_setup(test_disk_guard_knows_who_is_past_the_outbox, make_pool),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: PostgreSQL */
/* backfill: a gap is closed when the member that had it has all on disk, whoever feeds it. */
#include "unit/unit.h"

#include "retention/backfill.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MB (UINT64_C(1) << 20)

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
static struct gaps gaps;
static struct backfill backfill;
static char path[64];

/* One link, to `member`, which lacked 100 to 200 MB. */
static void
make_gap(const char *member)
{
    snprintf(path, sizeof path, "/tmp/wf-test-XXXXXX");
    assert_non_null(mkdtemp(path));
    out = (struct outgoing){.who = &who, .links = 1, .far = 1};
    snprintf(out.link[0].member, MEMBER_NAME_SIZE, "%s", member);
    out.link[0].sender.far_known = true;
    gaps = (struct gaps){.dir = open(path, O_RDONLY | O_DIRECTORY)};
    assert_true(gaps.dir >= 0);
    assert_non_null(gap_open(&gaps, member, 1, 100 * MB, 200 * MB, "its slot was let go", 1));
    backfill = (struct backfill){.who = &who, .out = &out, .gaps = &gaps};
}

static void
close_gap(void)
{
    char command[100];

    close(gaps.dir);
    snprintf(command, sizeof command, "rm -r %s", path);
    assert_int_equal(system(command), 0);
}

static void
test_backfill_closes_the_gap_of_who_is_fed_by_another(void **state)
{
    struct sender *s = &out.link[0].sender;

    (void)state;
    make_gap("dc2-b");
    out.link[0].state = LINK_STOPPED;
    s->sent = 120 * MB; /* of the last session from here */
    s->far.flushed = 150 * MB;
    backfill_keep(&backfill, 0);
    assert_int_equal(gaps.count, 1);
    assert_true(gaps.gap[0].start == 150 * MB);
    s->far.flushed = 200 * MB;
    backfill_keep(&backfill, 0);
    assert_int_equal(gaps.count, 0);
    close_gap();
}

static void
test_backfill_closes_no_gap_by_what_was_not_sent(void **state)
{
    struct sender *s = &out.link[0].sender;

    (void)state;
    make_gap("dc2-a");
    out.link[0].state = LINK_SHIPPING;
    s->far_compared = true;
    s->sent = 120 * MB;
    s->far.flushed = 300 * MB;
    backfill_keep(&backfill, 0);
    assert_int_equal(gaps.count, 1);
    s->sent = 210 * MB;
    s->far_compared = false;
    backfill_keep(&backfill, 0);
    assert_int_equal(gaps.count, 1);
    s->far_compared = true;
    backfill_keep(&backfill, 0);
    assert_int_equal(gaps.count, 0);
    close_gap();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backfill_closes_the_gap_of_who_is_fed_by_another),
        cmocka_unit_test(test_backfill_closes_no_gap_by_what_was_not_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: PostgreSQL */
/* WAL from before the spool: when it lacks, where a session's WAL goes, and that it gets there. */
#include "unit/unit.h"

#include "links/incoming.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MB(n) ((lsn_t)(n) << 20)

static const struct identity identity = {
    .system_identifier = 42, .segment_bytes = 1 << 20, .postgres_major = 15};
static const char history[] = "1\t0/480000\tx\n";

struct place {
    char path[64];
    struct who who;
    struct incoming in;
    struct buf out;
    timeline_t timeline;
    lsn_t wanted;
};

static void
feed(struct spool *s, timeline_t timeline, lsn_t from, lsn_t to)
{
    static uint8_t bytes[1 << 16];

    for (struct flush flush; from < to;) {
        if (spool_append(s, timeline, from, bytes, sizeof bytes, 0) == 0)
            from += sizeof bytes;
        while (spool_flush_begin(s, &flush, 0)) {
            spool_flush_run(&flush);
            assert_int_equal(spool_flush_end(s, &flush), 0);
        }
    }
}

static void
run(struct place *p)
{
    front_run(&p->in, 1);
}

/* Until the worker rests. */
static void
settle(struct place *p)
{
    for (int i = 0; run(p), worker_busy(&p->in.front.worker); i++) {
        assert_true(i < 5000);
        usleep(1000);
    }
}

/* A standby's agent whose spool begins at 5 MB, on timeline 2. */
static int
open_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    struct spool *s = &p->in.spool;

    *state = p;
    snprintf(p->path, sizeof p->path, "/tmp/wf-test-XXXXXX");
    assert_non_null(mkdtemp(p->path));
    assert_int_equal(spool_open(s, p->path), 0);
    assert_int_equal(spool_adopt(s, &identity), 0);
    assert_int_equal(spool_put_history(s, 2, history, strlen(history)), 0);
    assert_int_equal(spool_begin(s, 2, MB(5)), 0);
    feed(s, 2, MB(5), MB(6));
    p->who = (struct who){.role = ROLE_STANDBY, .postgres = postgres_new("host=/nowhere")};
    p->in.who = &p->who;
    receiver_init(&p->in.receiver, s, NULL, NULL);
    assert_int_equal(front_open(&p->in.front, p->path), 0);
    p->in.relay.supply.spool = s;
    return 0;
}

static int
close_place(void **state)
{
    struct place *p = *state;
    char command[100];

    front_close(&p->in.front);
    spool_close(&p->in.spool);
    postgres_free(p->who.postgres);
    snprintf(command, sizeof command, "rm -r %s", p->path);
    assert_int_equal(system(command), 0);
    free(p);
    return 0;
}

static bool
lacks(struct place *p, timeline_t timeline, lsn_t lsn)
{
    p->in.relay.wanted_timeline = timeline;
    p->in.relay.wanted = lsn;
    return front_lacks(&p->in, &p->timeline, &p->wanted);
}

static void
test_front_knows_what_lacks(void **state)
{
    struct place *p = *state;

    assert_false(lacks(p, 0, LSN_UNKNOWN)); /* no standby is known */
    assert_false(lacks(p, 2, MB(5)));
    assert_false(lacks(p, 2, MB(5) + 77));
    assert_true(lacks(p, 1, MB(4)));
    assert_true(lacks(p, 2, MB(5) - 1));
    assert_int_equal(p->timeline, 2);
    assert_int_equal(p->wanted, MB(5) - 1);
    assert_false(lacks(p, 1, MB(5) - 1)); /* past the fork */
    assert_false(lacks(p, 3, MB(4)));
    p->in.held = true; /* a new copy is on its way */
    assert_false(lacks(p, 1, MB(4)));
    p->in.held = false;
    p->who.role = ROLE_PRIMARY;
    assert_false(lacks(p, 1, MB(4)));
}

static void
direct(struct place *p, bool front)
{
    front_direct(&p->in, &p->timeline, &p->wanted, 1);
    assert_ptr_equal(p->in.receiver.into, front ? &p->in.front.spool : &p->in.spool);
}

static void
test_front_is_put_before_the_spool(void **state)
{
    struct place *p = *state;
    struct incoming *in = &p->in;
    char folder[80];

    snprintf(folder, sizeof folder, "%s/" SPOOL_FRONT, p->path);
    direct(p, false);
    run(p);
    assert_int_equal(incoming_durable(in), MB(6));
    assert_true(lacks(p, 1, MB(3) + 5));
    run(p);
    assert_int_equal(incoming_durable(in), LSN_UNKNOWN);
    assert_true(in->receiver.detached);
    assert_non_null(strstr(in->front.reason, "needs WAL from 0/300005 (timeline 1) on"));
    direct(p, true);
    assert_int_equal(p->wanted, MB(3) + 5);
    in->receiver.out = &p->out; /* it lives */
    assert_int_equal(spool_adopt(&in->front.spool, &identity), 0);
    assert_int_equal(spool_put_history(&in->front.spool, 2, history, strlen(history)), 0);
    assert_int_equal(spool_begin(&in->front.spool, 1, MB(3)), 0);
    feed(&in->front.spool, 1, MB(3), MB(4));
    settle(p);
    in->receiver.out = NULL;
    settle(p);
    assert_int_equal(in->spool.start, MB(5)); /* not all of it has come */
    direct(p, true);
    feed(&in->front.spool, 1, MB(4), MB(4) + MB(1) / 2);
    feed(&in->front.spool, 2, MB(4), MB(5) + MB(1) / 4);
    settle(p);
    settle(p);
    assert_int_equal(in->spool.start, MB(3));
    for (int i = 0; i < 3; i++) /* joined, cleared, removed */
        settle(p);
    assert_int_equal(access(folder, F_OK), -1);
    assert_int_equal(incoming_durable(in), MB(6));
    assert_false(in->receiver.detached);
    direct(p, false);
}

/* What was got for a standby that needs more by now, or none, is removed. */
static void
test_front_goes_when_it_is_not_needed(void **state)
{
    struct place *p = *state;
    struct incoming *in = &p->in;

    assert_true(lacks(p, 1, MB(3)));
    direct(p, true);
    assert_int_equal(spool_adopt(&in->front.spool, &identity), 0);
    assert_int_equal(spool_begin(&in->front.spool, 1, MB(3)), 0);
    feed(&in->front.spool, 1, MB(3), MB(4));
    assert_true(lacks(p, 1, MB(2)));
    direct(p, false);
    for (int i = 0; i < 3; i++)
        settle(p);
    assert_int_equal(in->front.spool.dir, -1);
    direct(p, true);
    assert_true(spool_empty(&in->front.spool));
    in->held = true;
    for (int i = 0; i < 3; i++)
        settle(p);
    assert_int_equal(in->front.spool.dir, -1);
    assert_int_equal(in->spool.start, MB(5));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_front_knows_what_lacks, open_place, close_place),
        cmocka_unit_test_setup_teardown(test_front_is_put_before_the_spool, open_place,
                                        close_place),
        cmocka_unit_test_setup_teardown(test_front_goes_when_it_is_not_needed, open_place,
                                        close_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

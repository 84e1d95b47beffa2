/* SPDX-License-Identifier: PostgreSQL */
/* role: what the judge makes of facts. */
#include "unit/unit.h"

#include "base/fail.h"
#include "pool/role.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

static struct pool
pool_of(uint64_t number, const char *member)
{
    struct pool p = {0};
    struct epoch_origin o = {.epoch = {.number = 1}, .timeline = 1};

    for (uint64_t n = 1; n <= number; n++) {
        o.epoch.number = n;
        o.timeline = (timeline_t)n;
        snprintf(o.epoch.member, sizeof o.epoch.member, "%s", n == number ? member : "a");
        pool_adopt(&p, &o, 0);
    }
    return p;
}

static struct judge_facts
facts_of(const char *name, bool in_recovery)
{
    return (struct judge_facts){.self = {.name = name,
                                         .seen = true,
                                         .up = true,
                                         .in_recovery = in_recovery,
                                         .timeline = 1,
                                         .system_identifier = 7},
                                .spool = "/spool",
                                .spool_system_identifier = 7};
}

static struct judgement
judged(const struct pool *p, const struct judge_facts *f)
{
    struct judgement j;

    judge_step(p, f, &j);
    return j;
}

static void
test_role_pool_begins_with_a_writable_postgres(void **state)
{
    struct pool none = {0}, p = pool_of(1, "a");
    struct judge_facts f = facts_of("a", false);
    struct epoch_origin first;

    (void)state;
    assert_true(judge_first(&none, &f.self, &first));
    assert_int_equal(first.epoch.number, 1);
    assert_string_equal(first.epoch.member, "a");
    assert_int_equal(first.timeline, 1);
    assert_false(judge_first(&p, &f.self, &first));
    f.self.in_recovery = true;
    assert_false(judge_first(&none, &f.self, &first));
    f.self.seen = f.self.in_recovery = false;
    assert_false(judge_first(&none, &f.self, &first));
}

static void
test_role_follows_the_epoch(void **state)
{
    struct pool none = {0}, p = pool_of(2, "b");
    struct judge_facts f = facts_of("b", true);

    (void)state;
    assert_int_equal(judged(&none, &f).role, ROLE_STANDBY);
    f.self.seen = false;
    assert_int_equal(judged(&none, &f).role, ROLE_UNKNOWN);
    assert_int_equal(judged(&p, &f).role, ROLE_PRIMARY);
    f = facts_of("a", true);
    assert_int_equal(judged(&p, &f).role, ROLE_STANDBY);
    assert_string_equal(judged(&p, &f).alarm, "");
    f.self.in_recovery = false;
    assert_int_equal(judged(&p, &f).role, ROLE_FENCED);
    p.step = FAILOVER_DRAIN;
    assert_int_equal(judged(&p, &f).role, ROLE_PROMOTING);
}

/* PostgreSQL is away, the agent was started again: the data directory tells what a start would be. */
static struct judge_facts
facts_of_disk(const char *name, bool opens_writable, bool ran_writable, timeline_t timeline)
{
    return (struct judge_facts){.self = {.name = name,
                                         .looked = true,
                                         .opens_writable = opens_writable,
                                         .ran_writable = ran_writable,
                                         .disk_timeline = timeline},
                                .spool = "/spool",
                                .pgdata = "/data"};
}

static void
test_role_is_known_without_a_sample(void **state)
{
    static const struct {
        const char *name;
        bool opens_writable, ran_writable;
        timeline_t timeline;
        enum role role;
        const char *exit;
    } row[] = {
        {"a", true, true, 1, ROLE_FENCED, "walferry rejoin"},  /* the former primary */
        {"a", false, true, 1, ROLE_FENCED, "walferry rejoin"}, /* standby.signal by hand */
        {"a", false, false, 2, ROLE_STANDBY, ""},              /* it has rejoined */
        {"a", false, true, 2, ROLE_STANDBY, ""},               /* a snapshot of the new primary */
        {"a", true, false, 2, ROLE_FENCED, "touch /data/standby.signal"}, /* lost it since */
        {"b", true, true, 2, ROLE_PRIMARY, ""},
        {"c", false, false, 1, ROLE_STANDBY, ""},
        {"c", true, true, 3, ROLE_FENCED, "walferry rejoin"}, /* promoted by hand */
        {"c", true, false, 2, ROLE_FENCED, "touch /data/standby.signal"},
    };
    struct pool p = pool_of(2, "b");

    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct judge_facts f =
            facts_of_disk(row[i].name, row[i].opens_writable, row[i].ran_writable, row[i].timeline);
        struct judgement j = judged(&p, &f);

        assert_int_equal(j.role, row[i].role);
        assert_true(row[i].exit[0] == '\0' ? j.alarm[0] == '\0'
                                           : strstr(j.alarm, row[i].exit) != NULL);
        assert_null(strstr(j.alarm, "start it"));
    }
}

/* What was seen is as of then; a server that is up tells for itself. */
static void
test_role_disk_counts_while_postgres_is_away(void **state)
{
    struct pool p = pool_of(2, "b");
    struct judge_facts f = facts_of_disk("c", true, false, 2);

    (void)state;
    f.self.seen = f.self.in_recovery = true;
    assert_int_equal(judged(&p, &f).role, ROLE_FENCED);
    f.self.up = true;
    assert_int_equal(judged(&p, &f).role, ROLE_STANDBY);
    f = facts_of_disk("c", false, false, 2);
    f.self.seen = true; /* it was writable, and is a copy of the primary now */
    assert_int_equal(judged(&p, &f).role, ROLE_STANDBY);
}

/* Told of an epoch whose timeline nobody knows yet. */
static void
test_role_former_primary_knows_its_own_timeline(void **state)
{
    struct pool p = pool_of(1, "a");
    struct epoch_origin next = {.epoch = {.number = 2, .member = "b"}};
    struct judge_facts f = facts_of_disk("a", false, true, 1);

    (void)state;
    pool_adopt(&p, &next, 0);
    assert_int_equal(judged(&p, &f).role, ROLE_FENCED);
    f.self.name = "c";
    assert_int_equal(judged(&p, &f).role, ROLE_STANDBY);
}

/* It was writable beside the primary, and got standby.signal: its history may be that of the pool. */
static void
test_role_that_it_left_the_pool_stays_known(void **state)
{
    struct pool p = pool_of(2, "b");
    struct judge_facts f = facts_of("c", false), disk = facts_of_disk("c", false, true, 2);

    (void)state;
    assert_true(judged(&p, &f).left);
    assert_false(judge_may_return(&p, &f.self));
    f.self.in_recovery = true;
    assert_false(judged(&p, &f).left);
    assert_int_equal(judged(&p, &f).role, ROLE_STANDBY);
    p.left = true; /* as the judge said */
    for (int up = 0; up < 2; up++) {
        const struct judge_facts *now = up ? &f : &disk;

        assert_true(judged(&p, now).left);
        assert_int_equal(judged(&p, now).role, ROLE_FENCED);
        assert_non_null(strstr(judged(&p, now).alarm, "walferry rejoin"));
        assert_true(judge_may_return(&p, &now->self));
    }
    assert_non_null(strstr(judged(&p, &f).alarm, "standby.signal does not undo them"));
    f.replay.replay = REPLAY_FORKED;
    assert_non_null(strstr(judged(&p, &f).alarm, "forked"));
    f = (struct judge_facts){.self = {.name = "c"}}; /* nothing is seen yet */
    assert_int_equal(judged(&p, &f).role, ROLE_FENCED);
    assert_true(judged(&p, &f).left);
}

/* Whatever its PostgreSQL is by then: promoted for that epoch, and in recovery again, maybe. */
static void
test_role_who_is_overruled_has_left_the_pool(void **state)
{
    struct pool p = pool_of(2, "b");
    struct epoch before = p.epoch, none = {0};
    struct epoch_origin o = {.epoch = {3, "c"}, .how = EPOCH_BY_RESOLVE};

    (void)state;
    pool_adopt(&p, &o, 0);
    assert_true(judge_overruled(&p, "b", &before));
    assert_false(judge_overruled(&p, "a", &before));
    assert_false(judge_overruled(&p, "c", &before));
    assert_false(judge_overruled(&p, "b", &none));
    o.epoch = (struct epoch){4, "b"};
    pool_adopt(&p, &o, 0);
    assert_false(judge_overruled(&p, "b", &before)); /* it is right */
    p = pool_of(3, "c");
    assert_false(
        judge_overruled(&p, "b", &before)); /* by a failover: it may have stopped in time */
}

static void
test_role_disk_tells_that_it_left_the_pool(void **state)
{
    struct pool p = pool_of(2, "b");
    struct judge_facts promoted = facts_of_disk("c", true, true, 3),
                       copy = facts_of_disk("c", true, true, 2), /* of the primary, made by hand */
        lost_signal = facts_of_disk("c", true, false, 2),
                       former = facts_of_disk("a", true, true, 1);

    (void)state;
    assert_true(judged(&p, &promoted).left);
    assert_false(judge_may_return(&p, &promoted.self));
    assert_false(judged(&p, &copy).left);
    assert_false(judged(&p, &lost_signal).left);
    assert_false(
        judged(&p, &former).left); /* it may have stopped in time; the disk goes on to tell */
}

static void
test_role_the_primary_is_the_pool(void **state)
{
    struct pool p = pool_of(2, "b");
    struct judge_facts f = facts_of("b", false);

    (void)state;
    p.left = true; /* a resolve, or a reclaim, has made it the primary */
    assert_false(judged(&p, &f).left);
    assert_int_equal(judged(&p, &f).role, ROLE_PRIMARY);
    assert_string_equal(judged(&p, &f).alarm, "");
    p.step = FAILOVER_PROMOTE;
    assert_true(judged(&p, &f).left); /* not yet */
}

static void
test_role_timeline_is_the_writable_primarys(void **state)
{
    struct pool p = pool_of(2, "b");
    struct judge_facts f = facts_of("b", false);

    (void)state;
    f.self.timeline = 5;
    assert_int_equal(judged(&p, &f).timeline, 5);
    f.self.in_recovery = true;
    assert_int_equal(judged(&p, &f).timeline, 2);
    f = facts_of("a", true);
    assert_int_equal(judged(&p, &f).timeline, 2);
}

static void
test_role_alarms_name_what_is_wrong(void **state)
{
    struct pool p = pool_of(2, "b");
    struct judge_facts fenced = facts_of("a", false), by_hand = facts_of("c", false),
                       primary = facts_of("b", true), other = facts_of("b", false);

    (void)state;
    assert_non_null(strstr(judged(&p, &fenced).alarm, "this former primary"));
    fenced.self.up = false;
    assert_non_null(strstr(judged(&p, &fenced).alarm, "Its PostgreSQL must stay down"));
    assert_non_null(strstr(judged(&p, &by_hand).alarm, "promoted outside of walferry"));
    assert_non_null(strstr(judged(&p, &by_hand).alarm, "walferry failover --reclaim"));
    assert_non_null(strstr(judged(&p, &primary).alarm, "is in recovery"));
    assert_non_null(strstr(judged(&p, &primary).alarm, "select pg_promote()"));
    other.spool_system_identifier = 8;
    assert_non_null(strstr(judged(&p, &other).alarm, "another database cluster"));
    p.step = FAILOVER_SLOTS;
    primary.failover_runs = true;
    assert_string_equal(judged(&p, &primary).alarm, "");
    primary.failover_runs = false;
    assert_non_null(strstr(judged(&p, &primary).alarm, "stands at step 4 of 5"));
}

static void
test_role_forked_standby_is_in_alarm(void **state)
{
    struct pool p = pool_of(2, "b");
    struct judge_facts f = facts_of("a", true);

    (void)state;
    f.replay = (struct replay_word){.replay = REPLAY_FORKED, .at = {1, 0x400}, .fork = {1, 0x300}};
    assert_int_equal(judged(&p, &f).role, ROLE_STANDBY);
    assert_non_null(strstr(judged(&p, &f).alarm, "walferry rejoin"));
    assert_non_null(strstr(judged(&p, &f).alarm, "0/400"));
    p.step = FAILOVER_DRAIN; /* rejoin is nothing for whom the epoch names */
    assert_null(strstr(judged(&p, &f).alarm, "walferry rejoin"));
    assert_non_null(
        strstr(judged(&p, &f).alarm, "select pg_promote() here, then walferry failover"));
    p.step = FAILOVER_NONE;
    f.replay.replay = REPLAY_UNKNOWN;
    assert_string_equal(judged(&p, &f).alarm, "");
}

/* The new primary serves clients all the same: it is no alarm of its role. */
static void
test_role_tells_what_is_missing(void **state)
{
    struct pool p = pool_of(2, "b");
    struct judge_facts f = facts_of("b", false), by_hand = facts_of("c", false);

    (void)state;
    assert_string_equal(judged(&p, &f).missing, "");
    f.replay = (struct replay_word){.missing = true, .at = {1, 0x400}, .fork = {1, 0x300}};
    assert_non_null(strstr(judged(&p, &f).missing, "0/400"));
    by_hand.replay = f.replay; /* what it lacks is the primary's */
    assert_string_equal(judged(&p, &by_hand).missing, "");
    assert_string_equal(judged(&p, &f).alarm, "");
}

/* A member says that c is the primary of our epoch: a conflict, until our chain overrules it. */
static void
test_role_conflict_is_ended_by_an_epoch_over_both(void **state)
{
    static struct told told;
    struct pool p = pool_of(2, "b");
    struct judge_facts f = facts_of("b", false);
    struct epoch_origin o;

    (void)state;
    f.other[0] = (struct member_facts){.name = "c", .told = &told};
    f.others = 1;
    strcpy(told.teller, "c");
    told.of_pool = true;
    told.timeline = 2;
    told.changes = 1;
    told.change[0].origin = (struct epoch_origin){.epoch = {.number = 2, .member = "c"}};
    assert_non_null(strstr(judged(&p, &f).alarm, "walferry resolve --primary b, or c"));
    assert_false(judged(&p, &f).ships);
    assert_int_equal(judge_resolve(&p, &f, "a", &o), ERR_USAGE);
    assert_int_equal(judge_resolve(&p, &f, "c", &o), 0);
    assert_int_equal(o.epoch.number, 3);
    assert_string_equal(o.epoch.member, "c");
    assert_int_equal(o.how, EPOCH_BY_RESOLVE);
    assert_int_equal(o.parent.number, 2);
    assert_string_equal(o.parent.member, "b");
    assert_int_equal(o.overruled[0].number, 2);
    assert_string_equal(o.overruled[0].member, "c");
    pool_adopt(&p, &o, 0);
    assert_int_equal(judged(&p, &f).role, ROLE_FENCED);
    assert_null(strstr(judged(&p, &f).alarm, "resolve"));
    assert_int_equal(judge_resolve(&p, &f, "c", &o), 1); /* typed again */
    assert_int_equal(o.epoch.number, 3);
    assert_int_equal(judge_resolve(&p, &f, "b", &o), ERR_USAGE); /* there is none now */
    o = (struct epoch_origin){.epoch = {4, "b"}, .how = EPOCH_BY_FAILOVER};
    pool_adopt(&p, &o, 0);
    f.others = 0;
    assert_int_equal(judge_resolve(&p, &f, "b", &o), ERR_USAGE); /* that is no DBA's word */
}

/* A claim that cannot be confirmed takes the clients away, and no WAL. */
static void
test_role_ships_under_an_open_claim(void **state)
{
    struct pool p = pool_of(2, "b");
    struct judge_facts f = facts_of("b", false);
    struct epoch_origin o;

    (void)state;
    assert_true(judged(&p, &f).ships);
    f.other[0] = (struct member_facts){
        .name = "c", .claim = {.number = 9, .member = "c"}, .claim_why = "no way there"};
    f.others = 1;
    assert_non_null(strstr(judged(&p, &f).alarm, "no way there"));
    assert_non_null(strstr(judged(&p, &f).alarm, "resolve --primary b, or c"));
    f.other[0].claim = (struct epoch){.number = 9, .member = "b"};
    assert_string_equal(strstr(judged(&p, &f).alarm, "--primary"), "--primary b");
    f.other[0].claim = (struct epoch){.number = 9, .member = "c"};
    assert_true(judged(&p, &f).ships);
    f.spool_system_identifier = 8;
    assert_non_null(strstr(judged(&p, &f).alarm, "another database cluster"));
    assert_false(judged(&p, &f).ships);
    assert_int_equal(judge_resolve(&p, &f, "b", &o), 0);
    assert_int_equal(o.epoch.number, 10);
    assert_int_equal(o.overruled[0].number, 9);
}

/* It has promised: clients go elsewhere, the link stays, for it says that the server is up. */
static void
test_role_a_primary_that_has_promised(void **state)
{
    struct pool p = pool_of(2, "b");
    struct judge_facts f = facts_of("b", false);
    struct judgement j;
    struct concierge_facts asked = {.role = ROLE_PRIMARY, .alarm = j.alarm, .answers = true};

    (void)state;
    j = judged(&p, &f);
    assert_null(judge_concierge(&asked));
    p.promised = (struct epoch){.number = 3, .member = "c"};
    j = judged(&p, &f);
    assert_int_equal(j.role, asked.role);
    assert_non_null(strstr(judge_concierge(&asked), "epoch 3 is promised to c"));
    assert_true(j.ships);
    f.self.up = false;
    assert_string_equal(judged(&p, &f).alarm, "");
}

static void
test_role_resolve_spends_no_numbers_on_a_claim(void **state)
{
    struct pool p = pool_of(2, "b");
    struct judge_facts f = facts_of("b", false);
    struct epoch_origin o;

    (void)state;
    f.other[0] = (struct member_facts){
        .name = "c", .claim = {.number = EPOCH_NUMBER_MAX, .member = "c"}, .claim_why = ""};
    f.others = 1;
    assert_int_equal(judge_resolve(&p, &f, "b", &o), 0);
    assert_int_equal(o.epoch.number, 3);
    assert_int_equal(o.overruled[0].number, EPOCH_NUMBER_MAX);
}

static void
test_role_failover_asks_what_the_primary_does(void **state)
{
    static const struct failover_wish plain = {0}, force = {.force = true}, dry = {.dry_run = true},
                                      failed = {.rescue_failed = true}, dead = {.dead = true},
                                      overruled = {.force = true, .rescue_failed = true},
                                      reclaim = {.reclaim = true};
    static const struct {
        enum pong_postgres word;
        int64_t word_ms;
        const struct failover_wish *wish;
        enum failover_answer answer;
    } row[] = {
        {PONG_POSTGRES_ANSWERS, 0, &plain, ANSWER_REFUSE},
        {PONG_POSTGRES_ANSWERS, 0, &dead, ANSWER_REFUSE},
        {PONG_POSTGRES_ANSWERS, 0, &force, ANSWER_GO_ON},
        {PONG_POSTGRES_ANSWERS, 0, &dry, ANSWER_GO_ON},
        {PONG_POSTGRES_DEAD, 0, &plain, ANSWER_RESCUE},
        {PONG_POSTGRES_DEAD, 0, &force, ANSWER_RESCUE},
        {PONG_POSTGRES_DEAD, 0, &dead, ANSWER_RESCUE},
        {PONG_POSTGRES_DEAD, 0, &dry, ANSWER_GO_ON},
        {PONG_POSTGRES_DEAD, 0, &failed, ANSWER_REFUSE},
        {PONG_POSTGRES_DEAD, 0, &overruled, ANSWER_GO_ON},
        {PONG_POSTGRES_DEAD, 0, &reclaim, ANSWER_GO_ON},
        {PONG_POSTGRES_ANSWERS, 0, &reclaim, ANSWER_REFUSE},
        {PONG_POSTGRES_STOPPING, 9999, &plain, ANSWER_WAIT},
        {PONG_POSTGRES_STOPPING, 9999, &force, ANSWER_WAIT},
        {PONG_POSTGRES_STOPPING, 10000, &plain, ANSWER_REFUSE},
        {PONG_POSTGRES_STOPPING, 10000, &dead, ANSWER_REFUSE},
        {PONG_POSTGRES_STOPPING, 10000, &force, ANSWER_GO_ON},
        {PONG_POSTGRES_STOPPING, 0, &dry, ANSWER_GO_ON},
        {PONG_POSTGRES_STARTING, 9999, &plain, ANSWER_WAIT},
        {PONG_POSTGRES_STARTING, 10000, &plain, ANSWER_REFUSE},
        {PONG_POSTGRES_SILENT, 9999, &plain, ANSWER_WAIT},
        {PONG_POSTGRES_SILENT, 10000, &plain, ANSWER_REFUSE},
        {PONG_POSTGRES_UNKNOWN, 9999, &plain, ANSWER_WAIT},
        {PONG_POSTGRES_UNKNOWN, 10000, &plain, ANSWER_REFUSE},
    };

    struct primary_facts rescued = {
        .linked = true, .answered = true, .rescued = true, .word = PONG_POSTGRES_DEAD};

    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct primary_facts f = {.linked = true,
                                  .answered = true,
                                  .word = row[i].word,
                                  .word_us = row[i].word_ms * MILLISECOND_US};

        if (judge_answer(&f, row[i].wish) != row[i].answer)
            print_error("row %zu\n", i);
        assert_int_equal(judge_answer(&f, row[i].wish), row[i].answer);
    }
    assert_int_equal(judge_answer(&rescued, &plain), ANSWER_GO_ON);
    rescued.word = PONG_POSTGRES_ANSWERS; /* it was started again */
    assert_int_equal(judge_answer(&rescued, &plain), ANSWER_REFUSE);
}

static void
test_role_failover_gives_the_primary_time_to_dial_again(void **state)
{
    struct failover_wish plain = {0}, force = {.force = true}, dead = {.dead = true},
                         reclaim = {.reclaim = true};
    struct primary_facts f = {.asked_us = 2999 * MILLISECOND_US, .quiet_us = 2999 * MILLISECOND_US};

    (void)state;
    assert_int_equal(judge_answer(&f, &plain), ANSWER_WAIT);
    assert_int_equal(judge_answer(&f, &force), ANSWER_WAIT);
    assert_int_equal(judge_answer(&f, &dead), ANSWER_GO_ON);
    f.asked_us = f.quiet_us = 3 * SECOND_US;
    assert_int_equal(judge_answer(&f, &plain), ANSWER_GO_ON);
    assert_int_equal(judge_answer(&f, &reclaim), ANSWER_WAIT); /* it is refused, and rests */
    f.round_trip_us = 100 * MILLISECOND_US;                    /* a dial takes some of these */
    assert_int_equal(judge_answer(&f, &plain), ANSWER_WAIT);
    f.quiet_us = 4 * SECOND_US;
    assert_int_equal(judge_answer(&f, &plain), ANSWER_GO_ON);
    f.arrives = true;
    assert_int_equal(judge_answer(&f, &plain), ANSWER_WAIT);
    assert_int_equal(judge_answer(&f, &dead), ANSWER_GO_ON);
    f.unheard = true;
    assert_int_equal(judge_answer(&f, &plain), ANSWER_WAIT);
    f.arrives = false;
    f.asked_us = f.quiet_us = 0; /* asked again: the silence was waited for before */
    assert_int_equal(judge_answer(&f, &plain), ANSWER_GO_ON);
    f = (struct primary_facts){/* for ever? */
                               .arrives = true,
                               .asked_us = 30 * SECOND_US,
                               .quiet_us = 30 * SECOND_US};
    assert_int_equal(judge_answer(&f, &plain), ANSWER_GO_ON);
    f = (struct primary_facts){/* its link comes and goes, and brings nothing */
                               .asked_us = 40 * SECOND_US,
                               .quiet_us = SECOND_US / 2,
                               .word_us = 29 * SECOND_US};
    assert_int_equal(judge_answer(&f, &plain), ANSWER_WAIT);
    f.word_us = 30 * SECOND_US;
    assert_int_equal(judge_answer(&f, &plain), ANSWER_REFUSE);
    assert_int_equal(judge_answer(&f, &force), ANSWER_GO_ON);
}

static void
test_role_failover_waits_for_an_answer_on_a_link(void **state)
{
    struct failover_wish plain = {0}, dead = {.dead = true}, failed = {.rescue_failed = true};
    struct primary_facts f = {.linked = true,
                              .asked_us = 2999 * MILLISECOND_US,
                              .quiet_us = 2999 * MILLISECOND_US,
                              .round_trip_us = 20 * MILLISECOND_US};

    (void)state;
    assert_int_equal(judge_answer(&f, &plain), ANSWER_WAIT);
    assert_int_equal(judge_answer(&f, &dead), ANSWER_GO_ON);
    f.asked_us = f.quiet_us = 89 * MILLISECOND_US; /* less than an answer takes */
    assert_int_equal(judge_answer(&f, &dead), ANSWER_WAIT);
    f.asked_us = f.quiet_us = 3 * SECOND_US;
    assert_int_equal(judge_answer(&f, &plain), ANSWER_GO_ON);
    assert_int_equal(judge_answer(&f, &failed), ANSWER_REFUSE);
    f.behind = true;
    assert_int_equal(judge_answer(&f, &plain), ANSWER_WAIT);
    assert_int_equal(judge_answer(&f, &dead), ANSWER_WAIT);
    f.behind = false;
    f.asked_us = 60 * SECOND_US; /* WAL flows over a slow line, the answer comes behind it */
    f.quiet_us = 0;
    assert_int_equal(judge_answer(&f, &plain), ANSWER_WAIT);
}

/* A link with the primary's key, and nobody knows whose it is. */
static void
test_role_failover_does_not_trust_a_link_of_nobody_knows_whom(void **state)
{
    struct failover_wish plain = {0}, force = {.force = true}, dead = {.dead = true},
                         dry = {.dry_run = true}, overruled = {.force = true, .dead = true};
    struct primary_facts f = {.unproven = true, .quiet_us = 60 * SECOND_US};

    (void)state;
    f.asked_us = f.word_us = 9999 * MILLISECOND_US;
    assert_int_equal(judge_answer(&f, &plain), ANSWER_WAIT);
    assert_int_equal(judge_answer(&f, &force), ANSWER_WAIT);
    assert_int_equal(judge_answer(&f, &dry), ANSWER_WAIT);
    assert_int_equal(judge_answer(&f, &dead), ANSWER_WAIT); /* it is up: the host is not dead */
    assert_int_equal(judge_answer(&f, &overruled), ANSWER_WAIT);
    f.word_us = 10 * SECOND_US;
    assert_int_equal(judge_answer(&f, &plain), ANSWER_REFUSE);
    assert_int_equal(judge_answer(&f, &dead), ANSWER_REFUSE);
    assert_int_equal(judge_answer(&f, &overruled), ANSWER_GO_ON);
    assert_int_equal(judge_answer(&f, &force), ANSWER_GO_ON);
    assert_int_equal(judge_answer(&f, &dry), ANSWER_GO_ON);
    f.word_us = 0; /* WAL comes over it, for ever */
    f.asked_us = 29 * SECOND_US;
    assert_int_equal(judge_answer(&f, &plain), ANSWER_WAIT);
    f.asked_us = 30 * SECOND_US;
    assert_int_equal(judge_answer(&f, &plain), ANSWER_REFUSE);
    f.answered = true; /* by a promise of its own, over a connection that was dialled */
    f.word = PONG_POSTGRES_DEAD;
    assert_int_equal(judge_answer(&f, &plain), ANSWER_RESCUE);
}

static void
test_role_rescue_goes_on_over_a_new_connection(void **state)
{
    struct failover_wish plain = {0}, force = {.force = true};
    struct rescue_facts f = {.linked = true, .word = PONG_POSTGRES_DEAD};

    (void)state;
    assert_int_equal(judge_rescue(&f, &plain), RESCUE_WAIT);
    f.linked = false;
    f.stalled_us = 14 * SECOND_US;
    assert_int_equal(judge_rescue(&f, &force), RESCUE_WAIT);
    f.linked = f.renewed = true;
    f.word = PONG_POSTGRES_UNKNOWN;
    assert_int_equal(judge_rescue(&f, &plain), RESCUE_ASK);
    f.renewed = false;
    f.stalled_us = 15 * SECOND_US; /* its log is long */
    assert_int_equal(judge_rescue(&f, &plain), RESCUE_SLOW);
    assert_int_equal(judge_rescue(&f, &force), RESCUE_FAILED);
    f.linked = false;
    assert_int_equal(judge_rescue(&f, &plain), RESCUE_FAILED);
}

static void
test_role_rescue_is_done_when_all_is_on_disk(void **state)
{
    struct failover_wish plain = {0};
    struct rescue_facts f = {
        .linked = true, .word = PONG_POSTGRES_DEAD, .ended = true, .done = true};

    (void)state;
    assert_int_equal(judge_rescue(&f, &plain), RESCUE_WAIT);
    f.durable = true;
    assert_int_equal(judge_rescue(&f, &plain), RESCUE_DONE);
    f.linked = false;
    assert_int_equal(judge_rescue(&f, &plain), RESCUE_DONE);
    f.done = false;
    assert_int_equal(judge_rescue(&f, &plain), RESCUE_FAILED);
    f.linked = true;
    f.word = PONG_POSTGRES_STARTING;
    assert_int_equal(judge_rescue(&f, &plain), RESCUE_REVIVED);
}

static void
test_role_nothing_is_spent_before_the_standby_is_prepared(void **state)
{
    struct failover_wish plain = {0}, force = {.force = true};
    const struct prepare_facts good = {.asked = true,
                                       .may_promote = true,
                                       .may_resume = true,
                                       .may_reload = true,
                                       .may_make_slots = true,
                                       .flushed = true};
    struct prepare_facts f = good;

    (void)state;
    assert_int_equal(judge_prepared(&f, &plain), PREPARED);
    f.flushed = false;
    assert_int_equal(judge_prepared(&f, &force), PREPARED_NOT_YET);
    f.stalled_us = 30 * SECOND_US;
    assert_int_equal(judge_prepared(&f, &force), PREPARED_STALLED);
    f.flushed = true;
    f.asked = false; /* PostgreSQL does not answer any more */
    assert_int_equal(judge_prepared(&f, &force), PREPARED_STALLED);
    f.stalled_us = 0;
    assert_int_equal(judge_prepared(&f, &force), PREPARED_NOT_YET);
    f = good;
    f.may_promote = false;
    assert_int_equal(judge_prepared(&f, &force), PREPARED_NO_PROMOTE);
    f = good;
    f.may_resume = false;
    assert_int_equal(judge_prepared(&f, &plain), PREPARED);
    f.replay_paused = true;
    assert_int_equal(judge_prepared(&f, &force), PREPARED_NO_RESUME);
    f = good;
    f.may_reload = false;
    assert_int_equal(judge_prepared(&f, &plain), PREPARED);
    f.synchronous = true;
    assert_int_equal(judge_prepared(&f, &plain), PREPARED_NO_RELOAD);
    assert_int_equal(judge_prepared(&f, &force), PREPARED);
    f = good;
    f.slots_lacking = 1;
    assert_int_equal(judge_prepared(&f, &plain), PREPARED_NO_SLOTS);
    assert_int_equal(judge_prepared(&f, &force), PREPARED);
    f = good;
    f.walsenders_lacking = 1;
    assert_int_equal(judge_prepared(&f, &plain), PREPARED_NO_WALSENDERS);
}

static void
test_role_failover_goes_through_every_step(void **state)
{
    enum failover_step step = FAILOVER_NONE;

    (void)state;
    for (int i = FAILOVER_EPOCH; i <= FAILOVER_PROMOTE; i++) {
        step = failover_after(step);
        assert_int_equal(step, i);
    }
    assert_int_equal(failover_after(step), FAILOVER_NONE);
}

/* Its PostgreSQL may have been put back to an older state since it was drained. */
static void
test_role_failover_drains_again_before_it_promotes(void **state)
{
    (void)state;
    assert_int_equal(failover_from(FAILOVER_PROMOTE, true), FAILOVER_DRAIN);
    assert_int_equal(failover_from(FAILOVER_SLOTS, true), FAILOVER_DRAIN);
    assert_int_equal(failover_from(FAILOVER_EXPOSED, true), FAILOVER_EXPOSED);
    assert_int_equal(failover_from(FAILOVER_PROMOTE, false), FAILOVER_PROMOTE);
}

static void
test_role_promotion_that_is_done_needs_nobody(void **state)
{
    struct pool p = pool_of(2, "b");
    struct judge_facts f = facts_of("b", false);

    (void)state;
    f.self.timeline = 3;
    assert_false(judge_promoted(&p, &f.self)); /* nothing is under way */
    p.step = FAILOVER_PROMOTE;
    assert_true(judge_promoted(&p, &f.self));
    f.self.timeline = 2; /* the parent's: it was opened without a promotion */
    assert_false(judge_promoted(&p, &f.self));
    f.self.timeline = 3;
    p.step = FAILOVER_SLOTS; /* promoted by somebody else */
    assert_false(judge_promoted(&p, &f.self));
    p.step = FAILOVER_PROMOTE;
    f.self.in_recovery = true;
    assert_false(judge_promoted(&p, &f.self));
    f.self.in_recovery = f.self.up = false;
    assert_false(judge_promoted(&p, &f.self));
}

/* Killed between the end of standby.signal and the new timeline's first checkpoint, it comes back
 * writable on the old one. */
static void
test_role_half_a_promotion_makes_no_primary(void **state)
{
    struct pool p = pool_of(2, "b");
    struct judge_facts f = facts_of("b", false);
    struct epoch_origin by_dba = {.epoch = {3, "b"}, .how = EPOCH_BY_RESOLVE, .timeline = 2};
    char why[ALARM_MAX];

    (void)state;
    f.pgdata = "/data";
    f.self.timeline = 2;
    assert_false(judge_half_promoted(&p, &f.self, f.pgdata, why)); /* no failover is under way */
    p.step = FAILOVER_PROMOTE;
    assert_true(judge_half_promoted(&p, &f.self, f.pgdata, why));
    assert_non_null(strstr(why, "touch /data/standby.signal"));
    assert_string_equal(judged(&p, &f).alarm, why);
    assert_int_equal(judged(&p, &f).role, ROLE_PROMOTING);
    f.failover_runs = true; /* it is told all the same */
    assert_string_equal(judged(&p, &f).alarm, why);
    p.step = FAILOVER_DRAIN;
    assert_true(judge_half_promoted(&p, &f.self, f.pgdata, why));
    f.self.timeline = 3;
    assert_false(judge_half_promoted(&p, &f.self, f.pgdata, why));
    p.timeline = 3; /* the former primary's was another: nothing of it came here */
    f.self.fed = 2;
    assert_false(judge_half_promoted(&p, &f.self, f.pgdata, why));
    p.step = FAILOVER_PROMOTE;
    assert_true(judge_promoted(&p, &f.self));
    p.timeline = 2;
    f.self.timeline = 2;
    f.self.up = false;
    assert_false(judge_half_promoted(&p, &f.self, f.pgdata, why));
    f.self.up = f.self.in_recovery = true;
    assert_false(judge_half_promoted(&p, &f.self, f.pgdata, why));
    f.self.in_recovery = false;
    pool_adopt(&p, &by_dba, 0); /* it was writable before */
    p.step = FAILOVER_PROMOTE;
    assert_false(judge_half_promoted(&p, &f.self, f.pgdata, why));
}

/* ... and it is told before it comes back: down, its data directory says so. */
static void
test_role_half_a_promotion_is_known_while_postgres_is_down(void **state)
{
    static const struct {
        bool opens_writable, ran_writable;
        timeline_t timeline;
        bool half;
    } row[] = {
        {true, false, 2, true},  /* killed in the middle */
        {true, true, 2, true},   /* ... then started as it was, and stopped */
        {false, true, 2, false}, /* ... and put right */
        {true, true, 3, false},  /* the promotion was through */
        {false, false, 2, false},
    };
    struct pool p = pool_of(2, "b");
    char why[ALARM_MAX];

    (void)state;
    p.step = FAILOVER_PROMOTE;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct judge_facts f =
            facts_of_disk("b", row[i].opens_writable, row[i].ran_writable, row[i].timeline);
        bool half = judge_half_promoted(&p, &f.self, f.pgdata, why);

        assert_int_equal(half, row[i].half);
        assert_int_equal(judged(&p, &f).role, ROLE_PROMOTING);
        if (!half)
            continue;
        assert_string_equal(judged(&p, &f).alarm, why);
        assert_non_null(strstr(why, "Before it is started: touch /data/standby.signal"));
        assert_int_equal(strstr(why, "rejoin --replace") != NULL, row[i].ran_writable);
    }
}

/* The member that took over is gone: the deposed one's epoch is believed by it, should it come back,
 * though its timeline is the older one. */
static void
test_role_reclaim_overrules_the_present_epoch(void **state)
{
    static struct told told;
    struct failover_wish reclaim = {.reclaim = true}, plain = {0};
    struct pool p = pool_of(2, "b"), other = pool_of(2, "b");
    struct judge_facts f = facts_of("a", false);
    struct epoch_origin o;

    (void)state;
    f.self.timeline = 1;
    judge_epoch(&p, &f.self, &plain, &o);
    assert_int_equal(o.how, EPOCH_BY_FAILOVER);
    assert_int_equal(o.overruled[0].number, 0);
    judge_epoch(&p, &f.self, &reclaim, &o);
    assert_int_equal(o.epoch.number, 3);
    assert_string_equal(o.epoch.member, "a");
    assert_true(epoch_equal(&o.overruled[0], &p.epoch));
    assert_false(judge_reclaims(&p));
    pool_adopt(&p, &o, 0);
    assert_int_equal(p.timeline, 1);
    told = (struct told){.teller = "a", .of_pool = true, .timeline = 1, .changes = 1};
    told.change[0] = p.change[p.changes - 1];
    assert_int_equal(judge_news(&other, "b", &told), NEWS_EPOCH);
    p.step = FAILOVER_PROMOTE; /* killed there */
    assert_true(judge_reclaims(&p));
    assert_true(judge_promoted(&p, &f.self));
    f.self.in_recovery = true;
    assert_false(judge_promoted(&p, &f.self));
}

/* Whose PostgreSQL can go on with nobody's WAL but its own. */
static void
test_role_reclaim_needs_a_server_that_has_parted(void **state)
{
    static const struct {
        enum role role;
        enum replay replay;
        bool in_recovery, lacks;
        enum reclaim reclaim;
    } row[] = {
        {ROLE_FENCED, REPLAY_UNKNOWN, false, false, RECLAIM_AS_IT_IS},
        {ROLE_FENCED, REPLAY_FOLLOWS, true, false, RECLAIM_PROMOTES}, /* standby.signal by hand */
        {ROLE_STANDBY, REPLAY_FORKED, true, false, RECLAIM_PROMOTES},
        {ROLE_STANDBY, REPLAY_UNKNOWN, true, true, RECLAIM_PROMOTES},
        {ROLE_STANDBY, REPLAY_FOLLOWS, true, false, RECLAIM_NOTHING}, /* failover is for it */
        {ROLE_STANDBY, REPLAY_UNKNOWN, true, false, RECLAIM_NOTHING},
        {ROLE_PRIMARY, REPLAY_UNKNOWN, true, true, RECLAIM_NOTHING},
        {ROLE_PROMOTING, REPLAY_FORKED, true, false, RECLAIM_NOTHING}, /* its journal goes on */
        {ROLE_UNKNOWN, REPLAY_UNKNOWN, true, true, RECLAIM_NOTHING},
    };

    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        assert_int_equal(
            judge_reclaim(row[i].role, row[i].replay, row[i].in_recovery, row[i].lacks),
            row[i].reclaim);
}

/* Killed in the middle, a reclaim that promotes is no better than another half promotion; one of a
 * server that was writable is. */
static void
test_role_reclaim_that_promotes(void **state)
{
    struct failover_wish reclaim = {.reclaim = true};
    struct pool p = pool_of(2, "b");
    struct judge_facts f = facts_of("a", true);
    struct epoch_origin o;
    char why[ALARM_MAX];

    (void)state;
    f.pgdata = "/data";
    f.replay = (struct replay_word){.replay = REPLAY_FORKED, .at = {1, 0x400}, .fork = {1, 0x300}};
    assert_non_null(strstr(judged(&p, &f).alarm, "walferry failover --reclaim"));
    f.self.replayed = 0x400;
    judge_epoch(&p, &f.self, &reclaim, &o);
    assert_int_equal(o.how, EPOCH_BY_RESOLVE);
    assert_int_equal(o.timeline, 1);
    assert_int_equal(o.fork, 0x400);
    pool_adopt(&p, &o, 0);
    p.step = FAILOVER_PROMOTE;
    assert_true(judge_reclaims(&p));
    assert_false(judge_promoted(&p, &f.self));
    assert_non_null(strstr(judged(&p, &f).alarm, "run walferry failover again"));
    f.failover_runs = true;
    assert_string_equal(judged(&p, &f).alarm, "");
    f.self.in_recovery = false;
    assert_true(judge_half_promoted(&p, &f.self, f.pgdata, why));
    assert_false(judge_promoted(&p, &f.self));
    f.self.timeline = 3;
    assert_false(judge_half_promoted(&p, &f.self, f.pgdata, why));
    assert_true(judge_promoted(&p, &f.self));
    p.timeline = 3; /* its own was a later one than the spool's */
    f.self.fed = 1;
    assert_true(judge_half_promoted(&p, &f.self, f.pgdata, why));
    assert_false(judge_promoted(&p, &f.self));
}

static void
test_role_concierge_sends_writers_to_a_primary_that_answers(void **state)
{
    struct concierge_facts good = {.role = ROLE_PRIMARY, .alarm = "", .answers = true}, f = good;

    (void)state;
    assert_null(judge_concierge(&f));
    f.young = true;
    assert_non_null(judge_concierge(&f));
    f.peer_heard = true;
    assert_null(judge_concierge(&f));
    f = good;
    f.role = ROLE_PROMOTING;
    assert_non_null(judge_concierge(&f));
    f = good;
    f.alarm = "two primaries";
    assert_string_equal(judge_concierge(&f), "two primaries");
    f = good;
    f.answers = false;
    assert_non_null(judge_concierge(&f));
    f = good;
    f.in_recovery = true;
    assert_non_null(judge_concierge(&f));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_role_pool_begins_with_a_writable_postgres),
        cmocka_unit_test(test_role_follows_the_epoch),
        cmocka_unit_test(test_role_is_known_without_a_sample),
        cmocka_unit_test(test_role_disk_counts_while_postgres_is_away),
        cmocka_unit_test(test_role_former_primary_knows_its_own_timeline),
        cmocka_unit_test(test_role_that_it_left_the_pool_stays_known),
        cmocka_unit_test(test_role_who_is_overruled_has_left_the_pool),
        cmocka_unit_test(test_role_disk_tells_that_it_left_the_pool),
        cmocka_unit_test(test_role_the_primary_is_the_pool),
        cmocka_unit_test(test_role_timeline_is_the_writable_primarys),
        cmocka_unit_test(test_role_alarms_name_what_is_wrong),
        cmocka_unit_test(test_role_conflict_is_ended_by_an_epoch_over_both),
        cmocka_unit_test(test_role_ships_under_an_open_claim),
        cmocka_unit_test(test_role_resolve_spends_no_numbers_on_a_claim),
        cmocka_unit_test(test_role_a_primary_that_has_promised),
        cmocka_unit_test(test_role_forked_standby_is_in_alarm),
        cmocka_unit_test(test_role_tells_what_is_missing),
        cmocka_unit_test(test_role_failover_asks_what_the_primary_does),
        cmocka_unit_test(test_role_failover_gives_the_primary_time_to_dial_again),
        cmocka_unit_test(test_role_failover_waits_for_an_answer_on_a_link),
        cmocka_unit_test(test_role_failover_does_not_trust_a_link_of_nobody_knows_whom),
        cmocka_unit_test(test_role_rescue_goes_on_over_a_new_connection),
        cmocka_unit_test(test_role_rescue_is_done_when_all_is_on_disk),
        cmocka_unit_test(test_role_nothing_is_spent_before_the_standby_is_prepared),
        cmocka_unit_test(test_role_failover_goes_through_every_step),
        cmocka_unit_test(test_role_failover_drains_again_before_it_promotes),
        cmocka_unit_test(test_role_promotion_that_is_done_needs_nobody),
        cmocka_unit_test(test_role_half_a_promotion_makes_no_primary),
        cmocka_unit_test(test_role_half_a_promotion_is_known_while_postgres_is_down),
        cmocka_unit_test(test_role_reclaim_overrules_the_present_epoch),
        cmocka_unit_test(test_role_reclaim_needs_a_server_that_has_parted),
        cmocka_unit_test(test_role_reclaim_that_promotes),
        cmocka_unit_test(test_role_concierge_sends_writers_to_a_primary_that_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: PostgreSQL */
/*
 * Named stories: what once broke something, or would, told in a few steps at given times, in the same
 * world, under the same checks as the seeds. A story does not shift when the simulation changes.
 *
 * Each begins with a pool that is well; member 0 is the primary. Expectations are waited for until
 * their time, and then have to hold. At its end what is cut heals and the DBA does what alarms name,
 * as after a seed: the pool gets well. `rule` is the --break that the story does not survive.
 */
#include "sim/pool/world.h"

#include "base/clock.h"
#include "pool/route.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SETTLES_US (30 * SECOND_US)
#define SLICE_US   MILLISECOND_US
#define APART_US   (40 * SECOND_US)
#define SEEDS      40 /* with other delays and writes each */

enum act {
    END,
    /* done at that time; `n` is in seconds, or another member */
    CUT, /* the lines to the next member, for n seconds */
    RESET,
    KILL, /* the agent, for n seconds */
    PAUSE,
    CRASH,
    START,
    STOP,      /* PostgreSQL, in n seconds; 0: in a few */
    POWER_OFF, /* for n seconds */
    TEAR,      /* a long record, and a crash within it */
    FILL,      /* the disk of the spool, for n seconds */
    STARVE,    /* PostgreSQL takes no WAL, for n seconds */
    CLOCK,     /* is stepped by n seconds */
    KEEP,      /* a snapshot of PostgreSQL */
    PUT_BACK,
    SIGNAL,  /* standby.signal, by hand, and a start */
    PROMOTE, /* pg_promote(), by hand */
    FORGE,   /* an epoch with the key of member n */
    SPLIT,   /* the site from all others, for n seconds */
    DEAF,    /* ... in: it is heard, and hears nothing */
    APART,   /* the lines to member n, for a while */
    PIN,
    UNPIN,
    REPLAY, /* it is told an older table of routes */
    FAILOVER,
    FORCED,
    DEAD,
    CANCEL,
    INTERRUPT,
    RECLAIM,
    OFFLINE,
    /* expected by that time */
    IN_PHASE, /* its failover is in phase n */
    AT_STEP,  /* ... at step n, or behind it */
    PROMOTES, /* its PostgreSQL was told to */
    ENDS,     /* the command ends with n */
    PRIMARY,  /* of epoch n, for clients */
    FOLLOWS,  /* member n, calm and compared */
    FED_BY,   /* member n: its WAL comes from there, by the table there */
    UNFED,    /* by the table of the primary n it gets no WAL */
    FENCED,
    ALARM,
    /* looked at at that time */
    EPOCH, /* n is the present one here */
};

struct step {
    double at_s;
    enum act act;
    int member, n;
};

static const struct story {
    const char *name, *rule;
    int members;
    bool synchronous;
    struct step step[16];
} stories[] = {
    {"living-primary-refuses",
     "answers-is-no-word",
     2,
     false,
     {{1, FAILOVER, 1, 0}, {20, ENDS, 1, 1}, {21, EPOCH, 1, 1}}},
    {"agent-of-a-living-primary-restarts",
     "no-redial",
     2,
     false,
     {{1, KILL, 0, 1}, {1.2, FAILOVER, 1, 0}, {30, ENDS, 1, 1}, {31, EPOCH, 1, 1}}},
    {"stopping-is-waited-for",
     "stopping-is-dead",
     2,
     true,
     {{4, STOP, 0, 9}, {7, FAILOVER, 1, 0}, {40, PRIMARY, 1, 2}}},
    {"rest-of-a-dead-primary",
     "no-rescue",
     2,
     false,
     {{1, CUT, 0, 8}, {4, CRASH, 0, 0}, {20, FAILOVER, 1, 0}, {50, PRIMARY, 1, 2}}},
    {"rescue-over-the-next-connection",
     "rescue-ends-with-the-line",
     2,
     false,
     {{1, CUT, 0, 8},
      {4, CRASH, 0, 0},
      {12, FAILOVER, 1, 0},
      {30, IN_PHASE, 1, FAILOVER_RESCUING},
      {0, RESET, 1, 0},
      {60, PRIMARY, 1, 2}}},
    {"two-ask-and-do-not-hear-each-other",
     "no-promises",
     3,
     false,
     {{1, CUT, 1, 45},
      {3, CRASH, 0, 0},
      {4, FAILOVER, 1, 0},
      {4, FAILOVER, 2, 0},
      {40, ENDS, 1, 1},
      {41, ENDS, 2, 1},
      {42, EPOCH, 0, 1}}},
    {"standby-that-cannot-flush",
     "not-prepared",
     2,
     false,
     {{1, STARVE, 1, 500},
      {3, CRASH, 0, 0},
      {3.1, FAILOVER, 1, 0},
      {60, ENDS, 1, 1},
      {61, EPOCH, 1, 1}}},
    {"cancelled-while-it-prepares",
     NULL,
     2,
     false,
     {{1, STARVE, 1, 40},
      {3, CRASH, 0, 0},
      {3.1, FAILOVER, 1, 0},
      {20, IN_PHASE, 1, FAILOVER_PREPARING},
      {0, CANCEL, 1, 0},
      {21, ENDS, 1, 130},
      {22, EPOCH, 1, 1},
      {23, START, 0, 0},
      {60, FOLLOWS, 1, 0}}},
    {"interrupted-while-it-prepares",
     NULL,
     2,
     false,
     {{1, STARVE, 1, 40},
      {3, CRASH, 0, 0},
      {3.1, FAILOVER, 1, 0},
      {20, IN_PHASE, 1, FAILOVER_PREPARING},
      {0, INTERRUPT, 1, 0},
      {21, ENDS, 1, 130},
      {22, EPOCH, 1, 1},
      {23, START, 0, 0},
      {60, FOLLOWS, 1, 0}}},
    {"killed-in-the-promotion",
     "never-finishes",
     2,
     false,
     {{1, CRASH, 0, 0},
      {1.1, FAILOVER, 1, 0},
      {20, PROMOTES, 1, 0},
      {0, KILL, 1, 3},
      {80, PRIMARY, 1, 2}}},
    {"killed-behind-the-epoch",
     "state-in-memory",
     2,
     false,
     {{1, CRASH, 0, 0},
      {1.1, FAILOVER, 1, 0},
      {20, PROMOTES, 1, 0},
      {0, KILL, 1, 3},
      {80, PRIMARY, 1, 2}}},
    {"put-back-behind-the-drain",
     "drains-once",
     2,
     false,
     {{1, KEEP, 1, 0},
      {9, CRASH, 0, 0},
      {9.1, FAILOVER, 1, 0},
      {30, AT_STEP, 1, FAILOVER_SLOTS},
      {0, STARVE, 1, 10},
      {0, PUT_BACK, 1, 0},
      {0, START, 1, 0},
      {80, PRIMARY, 1, 2}}},
    {"put-back-before-it-goes-on",
     "drains-once",
     2,
     false,
     {{1, KEEP, 1, 0},
      {9, CRASH, 0, 0},
      {9.1, FAILOVER, 1, 0},
      {30, AT_STEP, 1, FAILOVER_SLOTS},
      {0, KILL, 1, 2},
      {0, STARVE, 1, 30},
      {0, PUT_BACK, 1, 0},
      {20, START, 1, 0},
      {30, FAILOVER, 1, 0},
      {100, PRIMARY, 1, 2}}},
    {"paused-while-it-asks",
     "pause-unseen",
     2,
     false,
     {{1, KILL, 0, 3},
      {1.1, CRASH, 0, 0},
      {1.2, FAILOVER, 1, 0},
      {2, PAUSE, 1, 30},
      {5, START, 0, 0},
      {60, ENDS, 1, 1},
      {61, EPOCH, 1, 1}}},
    {"torn-record-in-the-spool-of-the-next-primary",
     "torn-stays",
     2,
     false,
     {{1, TEAR, 0, 0}, {10, FAILOVER, 1, 0}, {60, PRIMARY, 1, 2}, {80, EPOCH, 1, 2}}},
    {"torn-record-in-the-spool-of-a-standby",
     "ends-by-bytes",
     3,
     false,
     {{1, TEAR, 0, 0}, {10, FAILOVER, 1, 0}, {60, PRIMARY, 1, 2}, {90, FOLLOWS, 2, 1}}},
    {"full-disk-acknowledges-nothing",
     "drop-when-full",
     2,
     true,
     {{5, FILL, 1, 90},
      {50, CRASH, 0, 0},
      {51, FAILOVER, 1, 0},
      {90, ENDS, 1, 1},
      {91, EPOCH, 1, 1},
      {110, FAILOVER, 1, 0},
      {150, PRIMARY, 1, 2}}},
    {"clock-of-the-primary-is-stepped",
     "lag-by-wall",
     2,
     false,
     {{1, CLOCK, 0, 300},
      {3, CUT, 0, 15},
      {21, CLOCK, 1, -600},
      {30, CUT, 0, 15},
      {60, FOLLOWS, 1, 0}}},
    {"stolen-key",
     "believes-claim",
     3,
     false,
     {{1, FORGE, 1, 0},
      {2, FORGE, 2, 1},
      {30, EPOCH, 1, 1},
      {30, EPOCH, 2, 1},
      {31, FOLLOWS, 1, 0}}},
    {"standby-signal-past-the-fork",
     "forked-follows",
     2,
     false,
     {{1, CUT, 0, 51},
      {2, DEAD, 1, 0},
      {40, PRIMARY, 1, 2},
      {41, STOP, 0, 0},
      {50.5, SIGNAL, 0, 0},
      {75, EPOCH, 0, 2},
      {76, ALARM, 0, 0}}},
    {"fenced-counts-for-no-commit",
     "fenced-acknowledges",
     2,
     true,
     {{1, CUT, 0, 49},
      {2, DEAD, 1, 0},
      {40, PRIMARY, 1, 2},
      {41, STOP, 0, 0},
      {90, FENCED, 0, 0},
      {150, EPOCH, 0, 2}}},
    {"epoch-is-told",
     "nothing-learned",
     3,
     false,
     {{1, POWER_OFF, 0, 30}, {10, DEAD, 1, 0}, {60, FOLLOWS, 2, 1}, {70, FENCED, 0, 0}}},
    {"rest-of-another-member",
     "takes-from-primary-only",
     3,
     false,
     {{1, CUT, 0, 8},
      {7, POWER_OFF, 0, 300},
      {10, DEAD, 1, 0},
      {40, PRIMARY, 1, 2},
      {70, FOLLOWS, 2, 1}}},
    {"rest-of-another-member-over-a-line-that-breaks",
     NULL,
     4,
     false,
     {{1, SPLIT, 0, 8},
      {7, POWER_OFF, 0, 300},
      {10, DEAD, 1, 0},
      {40, IN_PHASE, 1, FAILOVER_RESCUING},
      {0, CUT, 1, 5},
      {70, PRIMARY, 1, 2},
      {100, FOLLOWS, 2, 1},
      {100, FOLLOWS, 3, 1}}},
    {"old-word-of-the-primary",
     NULL,
     3,
     false,
     {{1, PAUSE, 2, 12},
      {1, CRASH, 0, 0},
      {1.2, FAILOVER, 1, 0},
      {4, START, 0, 0},
      {60, ENDS, 1, 1},
      {61, EPOCH, 1, 1}}},
    {"two-primaries-of-one-epoch",
     "rival-unseen",
     3,
     false,
     {{1, POWER_OFF, 0, 200},
      {2, CUT, 1, 40},
      {9, FORCED, 1, 0},
      {9, FORCED, 2, 0},
      {41, PRIMARY, 1, 2},
      {60, ALARM, 1, 0},
      {61, ALARM, 2, 0}}},
    {"promoted-by-hand-beside-the-primary",
     NULL,
     2,
     false,
     {{1, PROMOTE, 1, 0}, {20, ALARM, 1, 0}, {21, EPOCH, 1, 1}, {22, PRIMARY, 0, 1}}},
    {"alarm-is-over-when-its-command-was-typed",
     "keeps-alarm",
     2,
     false,
     {{1, CRASH, 0, 0}, {1.1, FAILOVER, 1, 0}, {40, PRIMARY, 1, 2}, {60, FENCED, 0, 0}}},
    {"deposed-and-down-and-its-agent-new",
     "no-control-file",
     2,
     true,
     {{1, CUT, 0, 49},
      {2, DEAD, 1, 0},
      {40, PRIMARY, 1, 2},
      {41, CRASH, 0, 0},
      {42, KILL, 0, 5},
      {90, FENCED, 0, 0},
      {120, EPOCH, 0, 2}}},
    {"reclaimed-when-the-other-is-gone",
     NULL,
     2,
     false,
     {{1, CUT, 0, 40},
      {2, DEAD, 1, 0},
      {40, PRIMARY, 1, 2},
      {80, FENCED, 0, 0},
      {81, POWER_OFF, 1, 300},
      {95, RECLAIM, 0, 0},
      {130, ENDS, 0, 0},
      {131, PRIMARY, 0, 3}}},
    {"reclaimed-beside-a-living-primary",
     "answers-is-no-word",
     2,
     false,
     {{1, CUT, 0, 40},
      {2, DEAD, 1, 0},
      {40, PRIMARY, 1, 2},
      {80, FENCED, 0, 0},
      {81, RECLAIM, 0, 0},
      {130, ENDS, 0, 1},
      {131, EPOCH, 1, 2}}},
    {"rejoined-offline",
     NULL,
     2,
     false,
     {{1, CRASH, 0, 0},
      {1.1, FAILOVER, 1, 0},
      {30, PRIMARY, 1, 2},
      {50, POWER_OFF, 1, 400},
      {60, OFFLINE, 0, 0},
      {70, DEAD, 0, 0},
      {110, PRIMARY, 0, 3}}},
    {"head-is-gone",
     "head-stays",
     4,
     false,
     {{1, PIN, 1, 0},
      {15, FED_BY, 1, 0},
      {20, FED_BY, 3, 1},
      {0, UNPIN, 1, 0},
      {25, POWER_OFF, 1, 200},
      {40, FED_BY, 3, 0},
      {60, FED_BY, 2, 0}}},
    {"head-that-comes-back",
     "first-is-head",
     4,
     false,
     {{1, PIN, 1, 0},
      {20, FED_BY, 3, 1},
      {0, UNPIN, 1, 0},
      {25, POWER_OFF, 1, 20},
      {60, FED_BY, 1, 3},
      {110, FED_BY, 1, 3},
      {110, FED_BY, 3, 0}}},
    {"one-copy-to-a-site",
     "feeds-all",
     6,
     false,
     {{1, PIN, 5, 0}, {20, FED_BY, 1, 5}, {20, FED_BY, 3, 5}, {60, FED_BY, 5, 0}}},
    {"table-of-a-deposed-primary",
     "old-table",
     4,
     false,
     {{1, PIN, 3, 0},
      {20, FED_BY, 1, 3},
      {30, SPLIT, 0, 50},
      {32, FORCED, 1, 0},
      {60, PRIMARY, 1, 2},
      {65, REPLAY, 3, 0},
      {90, FENCED, 0, 0},
      {95, FED_BY, 3, 1}}},
    {"site-that-is-cut-off",
     NULL,
     6,
     false,
     {{1, SPLIT, 1, 30}, {50, FED_BY, 2, 0}, {70, FOLLOWS, 1, 0}, {70, FOLLOWS, 3, 0}}},
    {"site-without-an-agent",
     "host-is-heard",
     3,
     false,
     {{1, KILL, 1, 60},
      {1, KILL, 2, 60},
      {20, UNFED, 1, 0},
      {20, UNFED, 2, 0},
      {90, FOLLOWS, 1, 0},
      {90, FOLLOWS, 2, 0}}},
    {"site-that-hears-nothing",
     NULL,
     4,
     false,
     {{1, DEAF, 1, 30}, {60, FOLLOWS, 1, 0}, {60, FOLLOWS, 3, 0}}},
    {"promise-of-who-is-fed-by-a-head",
     "passed-on-is-no-word",
     4,
     false,
     {{1, PIN, 1, 0},
      {20, FED_BY, 3, 1},
      {0, UNPIN, 1, 0},
      {21, APART, 2, 0},
      {30, FAILOVER, 2, 0},
      {60, ENDS, 2, 1},
      {61, EPOCH, 3, 1},
      {62, FED_BY, 3, 1}}},
    {"fed-through-a-head-whose-primary-was-put-back",
     "passes-unproven",
     4,
     false,
     {{1, PIN, 1, 0},
      {20, FED_BY, 3, 1},
      {21, KEEP, 0, 0},
      {29, CRASH, 0, 0},
      {29.1, PUT_BACK, 0, 0},
      {29.2, START, 0, 0},
      {60, EPOCH, 3, 1}}},
};

static int64_t written_us; /* half a second for half a second, clients write */

static void
go_to(int64_t until_us)
{
    while (w.now_us < until_us) {
        if (w.now_us >= written_us) {
            for (int i = 0; i < w.members; i++) {
                server_write(&w.member[i]);
                server_follow(&w.member[i]);
                ships_run(&w.member[i]);
            }
            check_pool();
            written_us = w.now_us + SECOND_US / 2;
        }
        run_until(w.now_us + SLICE_US);
    }
}

static bool
is_there(const struct step *s)
{
    const struct node *m = &w.member[s->member], *n = &w.member[s->n % POOL_MEMBERS];
    const struct agent *a = m->a;
    const struct failover *f = &a->failover;
    const struct route *route;

    switch (s->act) {
    case IN_PHASE:
        return m->agent_up && f->phase == (enum failover_phase)s->n;
    case AT_STEP:
        return m->agent_up && f->phase == FAILOVER_RUNNING && (int)a->who.pool.step >= s->n;
    case PROMOTES:
        return m->server.promoting;
    case ENDS:
        return m->code == s->n;
    case PRIMARY:
        return m->concierge && (int)a->who.pool.epoch.number == s->n;
    case FOLLOWS:
        return m->agent_up && a->who.role == ROLE_STANDBY && a->who.alarm[0] == '\0' &&
               a->in.inlet.live != NULL && m->compared &&
               point_in(m->server.replay, n->server.wal) &&
               epoch_equal(&a->who.pool.epoch, &n->a->who.pool.epoch);
    case FED_BY:
        return is_feeding(n, m->index);
    case UNFED:
        route = routes_of(&n->a->who.pool.routes, w.config.member[m->index].name);
        return route != NULL && route->cut;
    case FENCED:
        return m->agent_up && a->who.role == ROLE_FENCED;
    case ALARM:
        return m->agent_up && a->who.alarm[0] != '\0';
    case EPOCH:
        return (int)a->who.pool.epoch.number == s->n;
    default:
        return true;
    }
}

static void
type(const struct step *s)
{
    struct node *m = &w.member[s->member];

    switch (s->act) {
    case FAILOVER:
        dba_failover(m, false, false);
        break;
    case FORCED:
        dba_failover(m, true, false);
        break;
    case DEAD:
        dba_failover(m, false, true);
        break;
    case CANCEL:
        dba_cancel(m);
        break;
    case INTERRUPT:
        dba_interrupt(m);
        break;
    case RECLAIM:
        dba_reclaim(m, false);
        break;
    case OFFLINE:
        dba_offline(m);
        break;
    default:
        break;
    }
}

static void
act_on_a_way(const struct step *s, struct node *m, const struct node *n, int64_t us)
{
    switch (s->act) {
    case CUT:
        cut(m->index, m->index + 1, us);
        cut(m->index + 1, m->index, us);
        break;
    case SPLIT:
    case DEAF:
        split(w.config.member[m->index].site, us, s->act == SPLIT, true);
        break;
    case APART:
        cut(m->index, n->index, APART_US);
        cut(n->index, m->index, APART_US);
        break;
    case PIN:
    case UNPIN:
        pin(m, s->act == PIN);
        break;
    case REPLAY:
        for (int i = 0; i < 8; i++)
            tell_old_table(m);
        break;
    default:
        break;
    }
}

static void
act(const struct step *s)
{
    struct node *m = &w.member[s->member], *n = &w.member[s->n % POOL_MEMBERS];
    int64_t us = s->n * SECOND_US;

    switch (s->act) {
    case RESET:
        if (live_session(m) != NULL)
            session_end(m, live_session(m), true, "reset");
        break;
    case KILL:
        agent_kill(m);
        later(w.now_us + us, EVENT_AGENT, m->index, 0, NULL);
        break;
    case PAUSE:
        agent_pause(m, us);
        break;
    case CRASH:
        server_crash(m);
        agent_soon(m);
        break;
    case START:
        server_begin(m, false);
        break;
    case STOP:
        server_stop(m);
        if (s->n != 0)
            m->server.due_us = w.now_us + us;
        later(m->server.due_us, EVENT_SERVER, m->index, 0, NULL);
        agent_soon(m);
        break;
    case POWER_OFF:
        m->up = false;
        agent_kill(m);
        server_crash(m);
        later(w.now_us + us, EVENT_AGENT, m->index, 0, NULL);
        break;
    case TEAR:
        server_write_long(m);
        server_write(m);
        later(w.now_us + SECOND_US / 3, EVENT_CRASH, m->index, 0, NULL);
        break;
    case FILL:
        m->full_us = w.now_us + us;
        break;
    case STARVE:
        m->starved_us = w.now_us + us;
        break;
    case CLOCK:
        m->wall_us += us;
        break;
    case KEEP:
        m->snapshot = m->server;
        m->has_snapshot = true;
        break;
    case PUT_BACK:
        put_back(m);
        break;
    case SIGNAL:
        m->server.signal = true;
        server_begin(m, false);
        break;
    case PROMOTE:
        server_promote(m);
        break;
    case FORGE:
        forge(m, n, false);
        break;
    default:
        act_on_a_way(s, m, n, us);
        break;
    }
}

static void
tell(const struct story *story, uint64_t seed)
{
    int64_t began_us;

    note("==== %s ====", story->name);
    w.story = story->name;
    w.random_state = seed;
    make_pool(seed, story->members, 2, story->synchronous ? SYNCHRONOUS_SITE : SYNCHRONOUS_OFF);
    written_us = w.now_us;
    go_to(w.now_us + SETTLES_US);
    if (!dba_healthy())
        broke("%s: the pool does not begin", story->name);
    began_us = w.now_us;
    for (const struct step *s = story->step; s->act != END; s++) {
        int64_t at_us = began_us + (int64_t)(s->at_s * 1e6);

        while (s->act > OFFLINE && s->act < EPOCH && w.now_us < at_us && !is_there(s))
            go_to(w.now_us + SLICE_US);
        if (s->act <= OFFLINE || s->act == EPOCH)
            go_to(at_us);
        if (!is_there(s))
            broke("%s: step %d is not as expected", story->name, (int)(s - story->step) + 1);
        act(s);
        type(s);
    }
    heal();
    get_well();
    end_pool();
    w.story = NULL;
}

int
stories_tell(const char *name)
{
    int told = 0;

    for (size_t i = 0; i < sizeof stories / sizeof *stories; i++) {
        if (name != NULL && strcmp(stories[i].name, name) != 0)
            continue;
        for (uint64_t seed = 1; seed <= SEEDS; seed++)
            tell(&stories[i], seed);
        told++;
    }
    return told;
}

/* In a process of its own: does it end as it has to? */
static bool
ends(const char *name, const char *rule, bool well)
{
    pid_t child;
    int status;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        w.broken = rule != NULL ? rule : "";
        if (freopen("/dev/null", "w", stdout) == NULL)
            _exit(2);
        _exit(stories_tell(name) == 1 ? 0 : 2);
    }
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
           WEXITSTATUS(status) == (well ? 0 : 1);
}

int
stories_try(void)
{
    size_t bad = 0;

    for (size_t i = 0; i < sizeof stories / sizeof *stories; i++) {
        const struct story *s = &stories[i];
        bool well = ends(s->name, NULL, true);
        bool found = s->rule == NULL || ends(s->name, s->rule, false);

        printf("%s: %s%s%s%s\n", s->name, well ? "well" : "BROKEN",
               s->rule != NULL ? ", without its rule (" : "", s->rule != NULL ? s->rule : "",
               s->rule == NULL ? ""
               : found         ? ") not"
                               : ") NOT FOUND");
        bad += !well || !found;
    }
    return bad != 0;
}

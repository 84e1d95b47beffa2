/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_sim: whole pools in virtual time, from one seed: 2 to 6 members with fake PostgreSQLs, spools and
 * lines, under faults and the commands of a DBA; then calm, in which the DBA types what alarms name.
 *
 * Real: all of agent/pool (role, believe, epoch with pool.state, replay), the sequence of a failover
 * (agent/handover), questions (links/ask.c), greetings (links/greeting.c), what is told of a member
 * (links/who.c), the facts of replay (daemon/replay.c), lineages, frames, lags. Mirrored: the turn of an
 * agent (member.c), links, sessions and spools (line.c, hands.c), rejoin, resolve (dba.c). What has to
 * hold stands in check.c; and after each calm the pool is healthy within CALM_US.
 *
 *   pool_sim [--seeds N] [--first SEED] [--break RULE] [--long] [--trail]    exit 1 if something broke
 *   pool_sim --story NAME [--break RULE] [--trail]    one of stories.c; the default run has them all
 *   pool_sim --stories                                each of them, and without the rule that it names
 *
 * The seed that broke something is run again with its trail of events.
 *
 * Every STEADY_EACH-th seed is run twice: with wall clocks that are stepped, and with steady ones. Both
 * runs are the same, for nothing is decided by a wall clock.
 *
 * Not simulated: two promotions by hand at one place make the same timeline twice, which nobody tells
 * apart: server.c lets it not happen.
 */
#include "sim/pool/world.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RUN_US    (1800 * SECOND_US)
#define FAULTY_US (200 * SECOND_US)
#define CALM_US   (400 * SECOND_US)
#define DBA_US    (5 * SECOND_US)

#define STEADY_EACH 20

/* --long: 10,000 pool-hours, in which at least so much happens */
#define LONG_SEEDS   20000
#define LONG_FAULTS  100000
#define LONG_CHANGES 20000

struct sim w;
static char **arguments;

struct due {
    int64_t due_us;
    uint64_t order;
    enum due_kind kind;
    int member;
    uint64_t life;
    struct message *message;
};

#define EVENTS_MAX (1 << 16)
static struct due heap[EVENTS_MAX];
static size_t waiting;
static uint64_t order;

uint64_t
draw(void)
{
    uint64_t z = w.random_state += UINT64_C(0x9E3779B97F4A7C15); /* splitmix64 */

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

bool
chance(uint64_t one_in)
{
    return draw() % one_in == 0;
}

int64_t
between(int64_t low_us, int64_t high_us)
{
    return low_us + (int64_t)(draw() % (uint64_t)(high_us - low_us + 1));
}

bool
is_broken(const char *name)
{
    return w.broken != NULL && strcmp(w.broken, name) == 0;
}

int64_t
wall_of(const struct node *m)
{
    return WALL_US + w.now_us + m->wall_us;
}

void
note(const char *format, ...)
{
    va_list args;

    if (!w.trail)
        return;
    printf("%10.3f ", (double)w.now_us / 1e6);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

void
broke(const char *format, ...)
{
    char seed[32];
    va_list args;

    if (w.story != NULL)
        printf("story %s", w.story);
    else
        printf("seed %" PRIu64, w.seed);
    printf(" at %.3f s: broke ", (double)w.now_us / 1e6);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    if (!w.trail && w.broken == NULL && w.story != NULL)
        execl(arguments[0], arguments[0], "--story", w.story, "--trail", NULL);
    if (!w.trail && w.broken == NULL) {
        snprintf(seed, sizeof seed, "%" PRIu64, w.seed);
        execl(arguments[0], arguments[0], "--seeds", "1", "--first", seed, "--trail", NULL);
    }
    _exit(1);
}

/* ---- events, by their time ---- */

static bool
is_before(const struct due *a, const struct due *b)
{
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->order < b->order;
}

void
later(int64_t due_us, enum due_kind kind, int member, uint64_t life, struct message *message)
{
    struct due e = {due_us, order++, kind, member, life, message};
    size_t at = waiting++;

    if (waiting == EVENTS_MAX)
        broke("the simulation has too many events");
    while (at > 0 && is_before(&e, &heap[(at - 1) / 2])) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = e;
}

static struct due
next_event(void)
{
    struct due first = heap[0], e = heap[--waiting];
    size_t at = 0;

    for (;;) {
        size_t child = 2 * at + 1;

        if (child >= waiting)
            break;
        if (child + 1 < waiting && is_before(&heap[child + 1], &heap[child]))
            child++;
        if (!is_before(&heap[child], &e))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = e;
    return first;
}

static void
run_turn(struct node *m, uint64_t life)
{
    const struct postgres *p = m->a->who.postgres;

    if (!agent_works(m) || life != m->life ||
        (w.now_us < m->turn_due_us && !(p->asked && w.now_us >= p->due_us)))
        return;
    agent_turn(m);
    check_member(m);
    if (w.faulty)
        fault_in_failover(m);
}

static void
run_flush(struct node *m, uint64_t life)
{
    if (!m->agent_up || life != m->life)
        return;
    if (!agent_works(m)) {
        later(m->paused_us, EVENT_FLUSH, m->index, life, NULL);
        return;
    }
    m->flushes = false;
    spool_set(m, m->written);
    if (m->compared)
        lag_reach(&m->a->in.receiver.flushed, m->spool.lsn);
    server_follow(m);
    acknowledge(m);
    ships_run(m);
    check_member(m);
    if (m->a->failover.phase != FAILOVER_IDLE)
        agent_soon(m);
}

static void
run_event(const struct due *e)
{
    struct node *m = &w.member[e->member];

    w.now_us = e->due_us;
    w.runs = m;
    w.events++;
    switch (e->kind) {
    case EVENT_TURN:
        run_turn(m, e->life);
        break;
    case EVENT_SERVER:
        server_run(m);
        m->server_since_us = w.now_us;
        break;
    case EVENT_FLUSH:
        run_flush(m, e->life);
        break;
    case EVENT_CUT:
        if (!m->agent_up || e->life != m->life)
            break;
        if (agent_works(m))
            spool_cut(m);
        else
            later(m->paused_us, EVENT_CUT, m->index, m->life, NULL);
        break;
    case EVENT_MESSAGE:
        deliver(e->message);
        break;
    case EVENT_AGENT:
        m->up = true;
        if (!m->agent_up)
            m->agent_since_us = w.now_us;
        agent_start(m);
        break;
    case EVENT_START:
        server_begin(m, true);
        break;
    case EVENT_CRASH:
        server_crash(m);
        agent_soon(m);
        break;
    case EVENT_FAULT: /* each half second: clients write; faults; the DBA */
        break;
    }
}

/* ---- a run ---- */

void
make_pool(uint64_t seed, int members, int sites, enum synchronous mode)
{
    w.seed = seed;
    w.now_us = 1000 * SECOND_US;
    w.runs = &w.member[0];
    w.members = members;
    w.sites = sites;
    w.commits = w.forgeries = w.begins = 0;
    w.next_session = 0;
    memset(w.told, 0, sizeof w.told);
    for (int i = 0; i < w.branches; i++)
        free(w.branch[i].history);
    w.branches = 1;
    w.records = 0;
    w.branch[0] = (struct branch){.parent = -1, .record = -1, .timeline = 1, .history = strdup("")};
    memset(&w.config, 0, sizeof w.config);
    snprintf(w.config.name, sizeof w.config.name, "sim");
    w.config.members = (size_t)w.members;
    w.config.synchronous = mode;
    w.config.synchronous_wait_us = 5 * SECOND_US;
    for (int i = 0; i < w.members; i++) {
        struct node *m = &w.member[i];
        struct agent *a = m->a != NULL ? m->a : calloc(1, sizeof *a);
        struct point begin = {0, BEGINS};

        for (int n = 0; n < 4; n++)
            free(m->file[n].text);
        *m = (struct node){
            .index = i, .up = true, .a = a, .unfit_us = w.now_us, .unfed_us = w.now_us};
        memset(m->history, 0xff, sizeof m->history);
        snprintf(w.config.member[i].site, MEMBER_NAME_SIZE, "dc%d", i % sites + 1);
        snprintf(w.config.member[i].name, MEMBER_NAME_SIZE, "dc%d-%c", i % sites + 1,
                 'a' + i / sites);
        snprintf(w.config.member[i].pgdata, sizeof w.config.member[i].pgdata, "%d", i);
        m->server = (struct server){.wal = begin,
                                    .replay = begin,
                                    .reached = begin,
                                    .signal = i != 0,
                                    .recovery = i != 0,
                                    .record = -1};
        if (i != 0) {
            m->spool = begin;
            m->spool_begun = true;
        }
        for (int n = 0; n < w.members; n++) {
            w.heal_us[i][n] = w.line_since_us[i][n] = 0;
            w.delay_us[i][n] = between(0, 60 * MILLISECOND_US);
            lines_reset(i, n, true);
        }
    }
    for (int i = 0; i < w.members; i++) {
        agent_start(&w.member[i]);
        server_begin(&w.member[i], false);
    }
}

void
run_until(int64_t until_us)
{
    while (waiting > 0 && heap[0].due_us <= until_us) {
        struct due e = next_event();

        run_event(&e);
    }
    w.now_us = until_us;
}

/* Half a second: clients write, servers follow, and by chance something goes wrong. */
static void
step(bool faulty)
{
    for (int i = 0; i < w.members; i++) {
        if (chance(60))
            server_write_long(&w.member[i]);
        if (chance(2))
            server_write(&w.member[i]);
        server_follow(&w.member[i]);
        ships_run(&w.member[i]);
    }
    w.faulty = faulty;
    if (faulty && chance(20))
        fault();
    run_until(w.now_us + SECOND_US / 2);
    check_pool();
}

static void
tell_states(void)
{
    for (int i = 0; i < w.members; i++) {
        const struct node *m = &w.member[i];
        const struct agent *a = m->a;

        note("%d: %s of epoch %d (%s), clients %s; server %d%s, timeline %u at " LSN_FORMAT
             ", spool timeline %u at " LSN_FORMAT "%s; alarm: %s; missing: %s; inlet: %s%s",
             i, role_name(a->who.role), (int)a->who.pool.epoch.number, a->who.pool.epoch.member,
             m->concierge ? "here" : "not here", (int)m->server.state,
             m->server.recovery ? " in recovery" : "", timeline_of(m->server.wal),
             LSN_ARGS(m->server.wal.lsn), m->spool_begun ? timeline_of(m->spool) : 0,
             LSN_ARGS(m->spool.lsn), point_in(m->server.wal, m->spool) ? "" : " APART",
             a->who.alarm, a->who.missing, a->in.inlet.live != NULL ? "live " : "",
             a->in.inlet.reason);
        for (int n = 0; n < w.members; n++)
            if (n != i && m->ship[n].link->state != LINK_STOPPED)
                note("   ships to %d: %d, %s", n, (int)m->ship[n].link->state,
                     m->ship[n].link->reason);
    }
}

void
get_well(void)
{
    int64_t calm_us = w.now_us, dba_us = w.now_us;

    note("---- calm ----");
    heal();
    while (!dba_healthy()) {
        if (w.now_us - calm_us >= CALM_US)
            tell_states();
        if (w.now_us - calm_us >= CALM_US)
            broke("8: the pool is not well after %d s of a DBA's commands",
                  (int)(CALM_US / SECOND_US));
        if (w.now_us >= dba_us) {
            dba_calm();
            dba_us = w.now_us + DBA_US;
        }
        step(false);
    }
    note("---- well ----");
}

void
end_pool(void)
{
    for (int i = 0; i < w.members; i++)
        agent_kill(&w.member[i]);
    while (waiting > 0) {
        struct due e = next_event();

        if (e.message != NULL)
            message_free(e.message);
    }
}

static void
run(uint64_t seed)
{
    enum synchronous mode = SYNCHRONOUS_OFF;
    int64_t end_us;
    static const struct {
        int members, sites;
    } shape[] = {{2, 2}, {3, 2}, {4, 2}, {4, 3}, {6, 2}, {6, 3}};
    int members, sites;
    size_t shaped;

    w.random_state = seed;
    shaped = draw() % (sizeof shape / sizeof *shape);
    members = shape[shaped].members;
    sites = shape[shaped].sites;
    if (chance(2)) /* a pool of two has no mirror */
        mode = members == 2 ? SYNCHRONOUS_SITE : (enum synchronous)(SYNCHRONOUS_MIRROR + seed % 4);
    make_pool(seed, members, sites, mode);
    w.config.synchronous_degrades = seed / 4 % 2 != 0;
    end_us = w.now_us + RUN_US;
    while (w.now_us < end_us) {
        for (int64_t until_us = w.now_us + FAULTY_US; w.now_us < until_us;)
            step(true);
        get_well();
    }
    end_pool();
}

/* The same seed once more, with steady clocks. */
static void
run_steady(uint64_t seed, uint64_t ran)
{
    uint64_t faults = w.faults, changes = w.changes, commands = w.commands, events = w.events;
    uint64_t state = w.random_state;

    w.steady = true;
    w.events = 0;
    run(seed);
    if (w.random_state != state || w.events != ran)
        broke("5: with steady wall clocks it runs another way");
    w.steady = false;
    w.faults = faults;
    w.changes = changes;
    w.commands = commands;
    w.events = events;
}

int
main(int argc, char **argv)
{
    uint64_t first = 1, seeds = 200;
    const char *story = NULL;
    double hours, cpu;
    int told = 0;
    clock_t began = clock();

    arguments = argv;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--long") == 0)
            seeds = LONG_SEEDS;
        else if (strcmp(argv[i], "--trail") == 0)
            w.trail = true;
        else if (i + 1 < argc && strcmp(argv[i], "--seeds") == 0)
            seeds = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--first") == 0)
            first = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--break") == 0)
            w.broken = argv[++i];
        else if (i + 1 < argc && strcmp(argv[i], "--story") == 0)
            story = argv[++i];
        else if (strcmp(argv[i], "--stories") == 0)
            return stories_try();
        else
            return fprintf(stderr, "pool_sim: what is %s?\n", argv[i]), 2;
    }
    if (story != NULL || w.broken == NULL)
        told = stories_tell(story);
    if (story != NULL)
        return printf("%d told\n", told), told != 1;
    began = clock();
    w.faults = w.changes = w.commands = w.events = 0;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        uint64_t before = w.events;

        run(seed);
        if (seed % STEADY_EACH == 0)
            run_steady(seed, w.events - before);
    }
    hours = (double)seeds * (double)RUN_US / 3600e6;
    cpu = (double)(clock() - began) / CLOCKS_PER_SEC;
    printf("%d stories, %" PRIu64 " seeds from %" PRIu64 " on, %.0f pool-hours, %" PRIu64
           " faults, %" PRIu64 " commands, %" PRIu64 " role changes, %" PRIu64
           " events: all held; %.1f pool-hours per "
           "CPU-second\n",
           told, seeds, first, hours, w.faults, w.commands, w.changes, w.events, hours / cpu);
    if (seeds >= LONG_SEEDS && (w.faults < LONG_FAULTS || w.changes < LONG_CHANGES))
        return printf("too little of it: %d faults and %d role changes at least\n", LONG_FAULTS,
                      LONG_CHANGES),
               1;
    return 0;
}

/* SPDX-License-Identifier: PostgreSQL */
/*
 * The loop: every room says what it waits for, poll, every room goes on. What stands here besides
 * is what the judge decides (role.h): role and alarm are written here alone.
 */
#include "daemon/daemon.h"

#include "daemon/agent.h"
#include "links/greeting.h"
#include "links/onward.h"
#include "pool/receipt.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HOUSEKEEPING_US (1 * SECOND_US)
#define SAVE_RETRY_US   (2 * SECOND_US)

/* ---- roles: the judge decides (role.h), and here is the only writer of role and alarm ---- */

static void
set_role(struct agent *a, enum role role)
{
    if (a->who.role == role)
        return;
    a->who.role = role;
    log_info("role: %s (epoch %" PRIu64 ", primary %s)", role_name(role), a->who.pool.epoch.number,
             a->who.pool.epoch.number > 0 ? a->who.pool.epoch.member : "unknown");
}

static void
set_alarm(struct agent *a, const char *alarm)
{
    if (strcmp(a->who.alarm, alarm) == 0)
        return;
    if (alarm[0] != '\0')
        log_error("%s", alarm);
    else
        log_info("the alarm is over: %s", a->who.alarm);
    snprintf(a->who.alarm, sizeof a->who.alarm, "%s", alarm);
}

static void
set_missing(struct agent *a, const char *missing)
{
    if (strcmp(a->who.missing, missing) == 0)
        return;
    if (missing[0] != '\0')
        log_error("%s", missing);
    /* for `walferry lost`, whoever made this member the primary */
    if (missing[0] != '\0' &&
        receipt_save_missing(a->who.self->spool, &a->who.pool, &a->who.replay) < 0)
        log_warning("%s", fail_message());
    snprintf(a->who.missing, sizeof a->who.missing, "%s", missing);
}

static int
set_pool(struct agent *a, const struct pool *next)
{
    int code = who_set_pool(&a->who, &a->who.pool, next);

    a->unsaved = code < 0;
    return code;
}

static int
set_timeline(struct agent *a, timeline_t timeline)
{
    static struct pool next; /* large */

    if (a->who.pool.timeline == timeline)
        return 0;
    next = a->who.pool;
    next.timeline = timeline;
    return set_pool(a, &next);
}

static int
set_first(struct agent *a, int64_t wall_us)
{
    static struct pool next; /* large */
    struct epoch_origin first;

    if (!judge_first(&a->who.pool, &a->facts.self, &first))
        return 0;
    next = a->who.pool;
    pool_adopt(&next, &first, wall_us);
    return set_pool(a, &next);
}

/* Is a higher epoch known, and only not taken over because that cannot be saved? */
static void
judge_unsaved(const struct agent *a, struct judgement *j)
{
    for (size_t i = 0; a->unsaved && i < a->asks.count && j->alarm[0] == '\0'; i++) {
        const struct told *told = &a->asks.ask[i].told;

        if (judge_news(&a->who.pool, a->who.self->name, told) != NEWS_EPOCH)
            continue;
        snprintf(j->alarm, sizeof j->alarm,
                 "%s says that another epoch has begun, and that cannot be saved here: nothing is "
                 "shipped. Make %s writable, with room; the log has the reason",
                 told->teller, a->who.self->spool);
        j->ships = false;
    }
}

/* What stands against this member counts at once: it is on disk at the first try, or later
 * (upkeep.c). */
static void
set_left(struct agent *a, bool left)
{
    if (a->who.pool.left == left)
        return;
    a->who.pool.left = left;
    a->left_unsaved = who_set_pool(&a->who, &a->who.pool, &a->who.pool) < 0;
}

static void
judge(struct agent *a, int64_t wall_us)
{
    int64_t now_us = clock_us();
    struct judgement judgement;
    int code = 0;

    a->facts = facts_gather(a, now_us);
    if (now_us >= a->save_us)
        code = set_first(a, wall_us);
    if (judge_promoted(&a->who.pool, &a->facts.self) && failover_finish(&a->failover, now_us))
        a->facts.failover_runs = true;
    judge_step(&a->who.pool, &a->facts, &judgement);
    judge_unsaved(a, &judgement);
    set_role(a, judgement.role);
    if (code == 0 && now_us >= a->save_us)
        code = set_timeline(a, judgement.timeline);
    if (code < 0)
        a->save_us = now_us + SAVE_RETRY_US;
    set_left(a, judgement.left);
    set_alarm(a, judgement.alarm);
    a->who.ships = judgement.ships;
    set_missing(a, judgement.missing);
}

/* What another member says itself; it is kept (ask.h) for the judge, who sees a conflict in it, and
 * it is asked again while it differs from what could be saved. */
static void
learn(struct agent *a, const struct told *told)
{
    static struct pool next; /* large */
    enum news news = judge_news(&a->who.pool, a->who.self->name, told);
    const struct epoch *epoch = &a->who.pool.epoch;

    if (news != NEWS_CHAIN && news != NEWS_EPOCH)
        return;
    if (a->failover.phase == FAILOVER_RUNNING && !a->failover.ended)
        return; /* its journal would be gone under it: asked again when it is over */
    next = a->who.pool;
    pool_take(&next, told);
    next.left |= judge_overruled(&next, a->who.self->name, &a->who.pool.epoch);
    if (set_pool(a, &next) < 0 || news == NEWS_CHAIN)
        return;
    log_warning("epoch %" PRIu64 ": %s is the primary, told by %s%s", epoch->number, epoch->member,
                told->teller,
                a->who.role == ROLE_PRIMARY ? "; this member was, and stops shipping" : "");
    incoming_over(&a->in);
}

static void
hear(void *agent, struct told *told)
{
    learn(agent, told);
    routes_hear(agent, &told->routes);
}

/* A POOL over the session of WAL. */
static void
received(void *agent, const struct frame *pool)
{
    struct agent *a = agent;

    if (!incoming_proven(&a->in))
        return;
    news_received(a, pool);
    routes_hear(a, &pool->pool.routes);
}

/* ---- links ---- */

/* Our PostgreSQL has left the timeline of the spool when it was promoted, and clients of the relay go
 * on with its WAL once it is the primary. */
static void
relay_onward(struct agent *a)
{
    const struct postgres_sample *s = postgres_sample(a->who.postgres);
    struct supply *supply = &a->in.relay.supply;
    lsn_t fork;

    supply->timeline = 0;
    if ((a->who.role != ROLE_PRIMARY && a->who.role != ROLE_PROMOTING) || s == NULL ||
        s->in_recovery || spool_empty(&a->in.spool) ||
        outgoing_load_history(&a->out, s->timeline) < 0)
        return;
    if (history_switch_point(a->out.lineage.text, a->out.lineage.length, a->in.spool.timeline,
                             &fork))
        incoming_left(&a->in, fork);
    if (a->who.role != ROLE_PRIMARY || s->timeline != a->who.pool.timeline)
        return;
    supply->timeline = s->timeline;
    supply->history = a->out.lineage.text;
    supply->history_bytes = a->out.lineage.length;
    supply->flushed = s->flush;
}

static void
greet(struct agent *a, struct session *session, const struct hello *hello, int64_t now_us,
      int64_t wall_us)
{
    bool dialled = outgoing_dialled(&a->out, hello->from, hello->session), asks = false;
    bool good = greeting_check(&a->in, session, hello, dialled, &asks);

    if (asks && hello->lane == HELLO_KNOCKS)
        asks_hurry(&a->asks, hello->from);
    else if (asks)
        asks_claim(&a->asks, hello->from, &hello->epoch, now_us);
    if (good && hello->timeline != pool_origin(&a->who.pool).timeline)
        asks_want(&a->asks, hello->from); /* it was promoting when it was last asked */
    if (!good || !greeting_answer(&a->in, session, hello, now_us, wall_us))
        return;
    if (set_timeline(a, hello->timeline) < 0) {
        inlet_end(&a->in.inlet, fail_message()); /* it dials again, and says so again */
        return;
    }
    replay_look(a); /* before anything is told of what is applied: its history is here now */
    judge(a, wall_us);
}

static void
run_incoming(struct agent *a, int64_t now_us, int64_t wall_us)
{
    bool cutting = a->in.spool.cutting;
    struct session *session;
    const struct hello *hello;

    greeting_part(&a->in);
    greeting_begin(&a->in, clock_wall_us());
    incoming_run(&a->in, &a->loop, now_us, wall_us);
    if (cutting && !a->in.spool.cutting) { /* what is missing is known now */
        replay_look(a);
        judge(a, wall_us);
    }
    while (inlet_greeting(&a->in.inlet, now_us, &session, &hello))
        greet(a, session, hello, now_us, wall_us);
    relay_onward(a);
    incoming_serve(&a->in, &a->loop, now_us);
}

static void
run_postgres(struct agent *a, int64_t now_us)
{
    enum postgres_state before = postgres_state(a->who.postgres), state;

    if (postgres_run(a->who.postgres, &a->loop, now_us) == 0)
        return;
    replay_look(a);
    state = postgres_state(a->who.postgres);
    if (state != before)
        outgoing_postgres(&a->out, now_us);
    if (state == POSTGRES_UP)
        outgoing_sampled(&a->out);
    if (state == before)
        return;
    upkeep_look(a);
    if (state == POSTGRES_UP) {
        log_info("PostgreSQL is there");
    } else {
        log_warning("PostgreSQL is away: %s", postgres_reason(a->who.postgres));
        relay_offer(&a->in.relay);
    }
}

/* ---- life ---- */

static int
check_cluster(const struct agent *a)
{
    struct identity control;

    if (a->in.spool.identity.system_identifier == 0 ||
        control_file_identity(a->who.self->pgdata, &control) < 0 ||
        control.system_identifier == a->in.spool.identity.system_identifier)
        return 0;
    return fail(ERR_USAGE,
                "the spool %s belongs to another database cluster (system identifier %" PRIu64
                ", %s has %" PRIu64
                "): correct spool or pgdata of [member %s], or give it an empty spool",
                a->in.spool.path, a->in.spool.identity.system_identifier, a->who.self->pgdata,
                control.system_identifier, a->who.self->name);
}

static int
write_pid(const struct agent *a)
{
    char text[32];
    int dir, code = 0;

    snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (durable_dir(a->who.self->run, &dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open the run directory %s", a->who.self->run);
    if (durable_replace(dir, "agent.pid", text, strlen(text)) < 0)
        code = fail_sys(ERR_LOCAL, "cannot write %s/agent.pid", a->who.self->run);
    durable_close(dir);
    return code;
}

/* What is in the spool: WAL, the pool's state, the gaps. */
static int
open_spool(struct agent *a)
{
    int code = spool_open(&a->in.spool, a->who.self->spool);

    if (code == 0)
        code = check_cluster(a);
    if (code == 0)
        code = pool_load(&a->who.pool, a->in.spool.dir);
    if (code == ERR_AGAIN)
        code = 0;
    if (code == 0)
        code = gaps_load(&a->gaps, a->in.spool.dir);
    return code < 0 && a->in.spool.dir >= 0 ? fail_in(code, "the spool %s", a->in.spool.path)
                                            : code;
}

/* Each link ships from the outbox and from what the backfill got, too, and files go both ways over
 * every link. */
static int
join_links(struct agent *a)
{
    int code = 0;

    for (size_t i = 0; i < a->out.links && code == 0; i++) {
        struct link *l = &a->out.link[i];

        code = link_store(l, LINK_OUTBOX, &a->outbox.spool, a->outbox.conninfo);
        if (code == 0)
            code = link_store(l, LINK_GAP, &a->backfill.store.box.spool,
                              a->backfill.store.box.conninfo);
        l->sender.file = site_files_take;
        l->sender.file_context = site_files_peer(&a->site, i, l->member);
        l->sender.pool = ask_shipped;
        l->sender.promise = ask_promise;
        l->sender.pool_context = asks_of(&a->asks, l->member);
    }
    a->in.receiver.promise = promise_answered;
    a->in.receiver.promise_context = a;
    a->in.receiver.pool = received;
    a->in.receiver.pool_context = a;
    a->in.receiver.file = site_files_take;
    a->in.receiver.file_context =
        site_files_peer(&a->site, SITE_FILES_PEERS_MAX, a->in.receiver.from);
    return code;
}

static int
open_rooms(struct agent *a)
{
    const struct member *self = a->who.self;
    int code = worker_init(&a->state_writer);

    if (code == 0)
        code = incoming_open(&a->in, &a->who, &a->control, &a->asks, a->codec);
    if (code == 0)
        code = control_open(&a->control, self->run);
    if (code == 0)
        code = validate_service_init(&a->validate_service, a->who.config, self);
    if (code == 0)
        code = outgoing_open(&a->out, &a->who, a->codec);
    if (code == 0)
        code = outbox_open(&a->outbox, "outbox", self->outbox, self->run, self->postgres,
                           self->pgdata);
    if (code == 0)
        code = backfill_open(&a->backfill, &a->who, &a->out, &a->gaps);
    if (code == 0)
        code = site_files_init(&a->site, a->who.config, self);
    if (code == 0)
        code = join_links(a);
    if (code == 0)
        code = conditions_open(&a->conditions, &a->who);
    if (code == 0)
        code = tunnel_open(&a->tunnel, &a->who, &a->out, &a->in, &a->control);
    return code;
}

static int
agent_open(struct agent *a, const struct config *config, const struct member *self)
{
    int code;

    *a = (struct agent){
        .who = {.config = config, .self = self, .spool = &a->in.spool, .started_us = clock_us()}};
    a->in.spool.dir = a->in.spool.lock = a->in.inlet.fd = a->in.relay.fd = a->control.fd = -1;
    a->outbox.spool.dir = a->outbox.spool.lock = a->outbox.relay.fd = -1;
    a->backfill.store.box.spool.dir = a->backfill.store.box.spool.lock =
        a->backfill.store.box.relay.fd = -1;
    a->view = (struct view){.who = &a->who,
                            .asks = &a->asks,
                            .out = &a->out,
                            .in = &a->in,
                            .rates = &a->rates,
                            .outbox = &a->outbox,
                            .gaps = &a->gaps,
                            .backfill = &a->backfill,
                            .guard = &a->guard,
                            .tunnel = &a->tunnel,
                            .site = &a->site,
                            .conditions = &a->conditions,
                            .known = &a->known};
    http_init(&a->http, &a->view);
    a->who.asking = &a->failover.own;
    asks_open(&a->asks, &a->who, hear, promise_hear, a);
    news_open(a);
    failover_init(&a->failover, &a->who, &a->who.pool, &a->asks, &a->out, &a->in, &a->control,
                  &a->loop);
    disk_guard_init(&a->guard, &a->who, &a->out, &a->outbox, &a->gaps, &a->rates);
    a->codec = calloc(1, sizeof *a->codec);
    a->who.postgres = postgres_new(self->postgres);
    if (a->codec == NULL || a->who.postgres == NULL)
        return fail(ERR_LOCAL, "out of memory");
    code = open_spool(a);
    if (code == 0)
        code = open_rooms(a);
    if (code == 0)
        code = write_pid(a);
    if (code < 0)
        return code;
    upkeep_look(a);
    upkeep_open(a);
    a->running = true;
    return 0;
}

static void
agent_close(struct agent *a)
{
    char path[256];

    snprintf(path, sizeof path, "%s/agent.pid", a->who.self->run);
    inlet_end(&a->in.inlet, "the agent stops");
    fetch_stop(&a->failover.fetch);
    tunnel_close(&a->tunnel);
    quiets_close(&a->quiets);
    outgoing_close(&a->out);
    asks_close(&a->asks);
    validate_service_release(&a->validate_service);
    control_close(&a->control);
    http_close(&a->http);
    incoming_close(&a->in);
    backfill_close(&a->backfill);
    outbox_close(&a->outbox);
    disk_guard_close(&a->guard);
    worker_release(&a->state_writer);
    conditions_close(&a->conditions);
    site_files_release(&a->site);
    spool_close(&a->in.spool);
    postgres_free(a->who.postgres);
    codec_release(a->codec);
    free(a->codec);
    if (a->running) /* else the file may be another agent's */
        unlink(path);
}

/* systemd's protocol for Type=notify (sd_notify(3)): one datagram. */
static void
notify_ready(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    static const char ready[] = "READY=1";
    int fd;

    if (path == NULL || strlen(path) >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, strlen(path));
    if (address.sun_path[0] == '@')
        address.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (sendto(fd, ready, sizeof ready - 1, 0, (struct sockaddr *)&address,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))) < 0)
        log_warning("cannot tell systemd that the agent is ready: %s", strerror(errno));
    close(fd);
}

/* 32 for the rooms with a descriptor or two, and at most what the others have. */
_Static_assert(32 + 2 * INLET_SESSIONS_MAX + 3 * RELAY_CLIENTS_MAX + CONTROL_CLIENTS_MAX +
                       MEMBERS_MAX * (WINDOW_LANES + 3 + 4) + TUNNEL_DOORS_MAX +
                       3 * TUNNEL_STREAMS_MAX <=
                   LOOP_FDS_MAX,
               "every room of the loop has place for its descriptors");

static void
watch(struct agent *a, int signals, int64_t now_us, int64_t house_us)
{
    loop_begin(&a->loop);
    loop_watch(&a->loop, signals, POLLIN);
    event_command_watch(&a->conditions.event_command, &a->loop);
    validate_service_watch(&a->validate_service, &a->loop);
    site_files_watch(&a->site, &a->loop);
    postgres_watch(a->who.postgres, &a->loop);
    incoming_watch(&a->in, &a->loop, now_us);
    outbox_watch(&a->outbox, &a->loop, now_us);
    backfill_watch(&a->backfill, &a->loop, now_us);
    disk_guard_watch(&a->guard, &a->loop);
    control_watch(&a->control, &a->loop);
    http_watch(&a->http, &a->loop);
    outgoing_watch(&a->out, &a->loop);
    quiets_watch(&a->quiets, &a->loop, now_us);
    asks_watch(&a->asks, &a->loop);
    tunnel_watch(&a->tunnel, &a->loop);
    failover_watch(&a->failover, &a->loop);
    loop_due(&a->loop, house_us);
}

static int
agent_loop(struct agent *a, int signals)
{
    int64_t house_us = 0;

    for (;;) {
        int64_t now_us, wall_us;

        watch(a, signals, clock_us(), house_us);
        if (loop_wait(&a->loop) < 0)
            return ERR_LOCAL;
        if (loop_ready(&a->loop, signals) != 0)
            return 0;
        now_us = clock_us();
        wall_us = clock_wall_us();
        if (loop_ready(&a->loop, workers_fd(&a->out.workers)) != 0)
            workers_clear(&a->out.workers);
        run_postgres(a, now_us);
        judge(a, wall_us);
        run_incoming(a, now_us, wall_us);
        disk_guard_run(&a->guard, &a->loop, a->failover.phase == FAILOVER_IDLE, now_us);
        outbox_run(&a->outbox, &a->loop, now_us);
        backfill_run(&a->backfill, &a->loop, now_us);
        onward_run(&a->in, &a->out, now_us);
        outgoing_run(&a->out, &a->loop, now_us, wall_us);
        greeting_prove(&a->in, now_us);
        quiets_run(&a->quiets, &a->loop, now_us);
        asks_run(&a->asks, &a->loop, now_us);
        tunnel_run(&a->tunnel, &a->loop, now_us);
        control_run(&a->control, &a->loop, now_us);
        requests_run(a, now_us);
        http_run(&a->http, &a->loop, now_us);
        if (a->failover.phase != FAILOVER_IDLE) {
            failover_run(&a->failover, now_us);
            judge(a, wall_us); /* its steps change the pool */
        }
        event_command_run(&a->conditions.event_command);
        validate_service_run(&a->validate_service, &a->control);
        site_files_run(&a->site, now_us);
        if (now_us >= house_us) {
            upkeep_run(a, now_us, wall_us);
            house_us = now_us + HOUSEKEEPING_US;
        }
    }
}

int
daemon_run(const struct config *config, const struct member *self, int signals)
{
    static struct agent agent, *a = &agent; /* large, and there is one */
    char why[FAIL_MESSAGE_MAX] = "";
    int code = agent_open(a, config, self);

    if (code == 0) {
        log_info("walferry %s: agent of %s in pool %s, spool %s", WALFERRY_VERSION, self->name,
                 config->name, self->spool);
        notify_ready();
        code = agent_loop(a, signals);
    }
    if (code < 0)
        snprintf(why, sizeof why, "%s", fail_message());
    agent_close(a);
    return code < 0 ? fail(code, "%s", why) : 0;
}

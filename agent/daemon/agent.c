/*
 * The loop: every room says what it waits for, poll, every room goes on. What stands here besides
 * is judgement: the role, whose HELLO is believed, when to let go of a stopping server.
 */
#include "daemon/agent.h"
#include "commands/command.h"
#include "jobs/escrow.h"
#include "pool/receipt.h"
#include "shipper/wal/hold.h"
#include "config/pool_file.h"
#include "control/show.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/log.h"
#include "base/text.h"
#include "shipper/wire/codec.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SPOOL_RETRY_US  (2 * SECOND_US)
#define ESCROW_US       (3600 * SECOND_US)
#define BOOTED_US       (300 * SECOND_US) /* by then a host that boots has the right time */
#define HOUSEKEEPING_US (1 * SECOND_US)
#define FLUSH_US        (5 * MILLISECOND_US)
#define STUCK_US        (300 * MILLISECOND_US)
#define LAG_FILE        "lag"
#define RENEWED         "the spool begins anew, for a new copy"
#define SETTINGS_FILE   "walferry.conf"

struct note {
    int dir;
    char name[64];
    char text[LAG_RECORD_MAX];
    size_t length;
    int error;
};

const struct identity *
agent_identity(const struct agent *a)
{
    const struct identity *live = postgres_identity(a->postgres);

    return live->system_identifier != 0 ? live : &a->spool.identity;
}

static bool
sample_is_fresh(const struct agent *a, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(a->postgres);

    return postgres_state(a->postgres) == POSTGRES_UP && s != NULL &&
           now_us - s->mono_us < 2 * SECOND_US;
}

enum pong_postgres
agent_postgres_word(const struct agent *a, int64_t now_us)
{
    if (sample_is_fresh(a, now_us))
        return PONG_POSTGRES_ANSWERS;
    if (postgres_state(a->postgres) == POSTGRES_UNKNOWN)
        return PONG_POSTGRES_UNKNOWN;
    return pgwal_postmaster_alive(a->self->pgdata) == 0 ? PONG_POSTGRES_DEAD : PONG_POSTGRES_SILENT;
}

lsn_t
agent_applied(const struct agent *a)
{
    const struct postgres_sample *s = postgres_sample(a->postgres);
    struct relay_standby standby;
    lsn_t applied = s != NULL && s->in_recovery ? s->replay : LSN_UNKNOWN;
    bool newer;

    relay_standby(&a->relay, &standby);
    newer = standby.connected || (s != NULL && standby.reported_us > s->mono_us);
    return newer && standby.apply > applied ? standby.apply : applied;
}

int
agent_save_pool(struct agent *a)
{
    int code = pool_save(&a->pool, a->spool.dir);

    if (code < 0)
        log_error("%s", fail_message());
    return code;
}

/* ---- roles: the judge decides (role.h), and here is the only writer of role and alarm ---- */

static struct judge_facts
gather_facts(const struct agent *a)
{
    const struct postgres_sample *s = postgres_sample(a->postgres);

    return (struct judge_facts){
        .self = {.name = a->self->name,
                 .seen = s != NULL,
                 .up = postgres_state(a->postgres) == POSTGRES_UP,
                 .in_recovery = s != NULL && s->in_recovery,
                 .timeline = s != NULL ? s->timeline : 0,
                 .system_identifier = postgres_identity(a->postgres)->system_identifier},
        .rival = a->rival,
        .spool = a->spool.path,
        .spool_system_identifier = a->spool.identity.system_identifier,
        .failover_runs = a->failover.phase != FAILOVER_IDLE};
}

static void
set_role(struct agent *a, enum role role)
{
    if (a->role == role)
        return;
    a->role = role;
    if (role == ROLE_PROMOTING && a->failover.phase != FAILOVER_IDLE)
        return; /* the failover tells each of its steps */
    log_info("role: %s (epoch %" PRIu64 ", primary %s)", role_name(role), a->pool.epoch.number,
             a->pool.epoch.number > 0 ? a->pool.epoch.member : "unknown");
}

static void
set_alarm(struct agent *a, const char *alarm)
{
    if (strcmp(a->alarm, alarm) == 0)
        return;
    if (alarm[0] != '\0')
        log_error("%s", alarm);
    else
        log_info("the alarm is over: %s", a->alarm);
    snprintf(a->alarm, sizeof a->alarm, "%s", alarm);
}

static void
set_timeline(struct agent *a, timeline_t timeline)
{
    if (a->pool.timeline == timeline)
        return;
    a->pool.timeline = timeline;
    agent_save_pool(a);
}

static void
judge(struct agent *a, int64_t wall_us)
{
    struct judge_facts facts = gather_facts(a);
    struct judgement judgement;
    struct epoch_origin first;

    if (judge_first(&a->pool, &facts.self, &first)) {
        pool_adopt(&a->pool, &first, wall_us);
        if (agent_save_pool(a) < 0)
            a->pool = (struct pool){0};
    }
    judge_step(&a->pool, &facts, &judgement);
    set_role(a, judgement.role);
    set_timeline(a, judgement.timeline);
    set_alarm(a, judgement.alarm);
}

/* What another member tells of an epoch. */
static void
learn_epoch(struct agent *a, const struct epoch_origin *told, const char *teller, int64_t wall_us)
{
    switch (judge_news(&a->pool, told)) {
    case NEWS_NONE:
        return;
    case NEWS_RIVAL:
        a->rival = *told;
        return;
    case NEWS_UNBELIEVED:
        log_warning("%s tells of epoch %" PRIu64
                    " (primary %s) on timeline %u, which is not after ours (%u): not "
                    "believed",
                    teller, told->epoch.number, told->epoch.member, told->timeline,
                    a->pool.timeline);
        return;
    case NEWS_EPOCH:
        break;
    }
    pool_adopt(&a->pool, told, wall_us);
    if (agent_save_pool(a) == 0)
        log_warning("epoch %" PRIu64 ": %s is the primary, told by %s%s", told->epoch.number,
                    told->epoch.member, teller,
                    a->role == ROLE_PRIMARY ? "; this member was, and stops shipping" : "");
}

/* ---- shipping ---- */

/* The text of the primary's history file, which HELLO carries. */
static int
load_history(struct agent *a, timeline_t timeline)
{
    int got = 0;

    if (timeline == a->history_timeline)
        return 0;
    a->history_bytes = 0;
    if (timeline > 1)
        got = pgwal_history(a->self->pgdata, timeline, a->history, HISTORY_BYTES_MAX + 1);
    if (got == ERR_AGAIN)
        got = fail(ERR_LOCAL, "the history of timeline %u is not in %s/pg_wal", timeline,
                   a->self->pgdata);
    if (got < 0)
        return got;
    a->history_bytes = (size_t)got;
    a->history_timeline = timeline;
    return 0;
}

/* HELLO for the links, or NULL and why nothing is shipped now. */
static const struct hello *
make_hello(struct agent *a, const char **ret_why)
{
    const struct postgres_sample *s = postgres_sample(a->postgres);
    const struct identity *identity = agent_identity(a);

    *ret_why = "this member is not the primary";
    if (a->role != ROLE_PRIMARY)
        return NULL;
    *ret_why = a->alarm;
    if (a->alarm[0] != '\0')
        return NULL;
    *ret_why = "waiting for PostgreSQL, which was not seen yet";
    if (identity->system_identifier == 0 || identity->segment_bytes == 0 || a->pool.timeline == 0)
        return NULL;
    if (s != NULL && s->in_recovery)
        return NULL;
    if (load_history(a, a->pool.timeline) < 0) {
        *ret_why = fail_message();
        return NULL;
    }
    a->hello = (struct hello){.protocol = FRAME_PROTOCOL,
                              .identity = *identity,
                              .epoch = a->pool.epoch,
                              .incarnation = a->incarnation,
                              .timeline = a->pool.timeline,
                              .config_digest = a->config->digest,
                              .history = a->history,
                              .history_bytes = a->history_bytes};
    snprintf(a->hello.pool, sizeof a->hello.pool, "%s", a->config->name);
    snprintf(a->hello.from, sizeof a->hello.from, "%s", a->self->name);
    return &a->hello;
}

/* A stopping server waits for its walsenders: not for ever, if the line is slow. */
static bool
may_hold_walsender(const struct agent *a, const struct link *l, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(a->postgres);
    char wait[32], bytes[24];

    if (a->stopping_us == 0 || now_us - a->stopping_us < a->config->shutdown_wait_us)
        return true;
    if (l->source_allowed && source_active(l->source))
        log_warning(
            "link to %s: PostgreSQL has waited %s for its WAL to be shipped and is let go: about %s stay "
            "unshipped until it is back",
            l->member, text_duration(wait, sizeof wait, a->config->shutdown_wait_us),
            text_bytes(bytes, sizeof bytes,
                       s != NULL && s->flush > l->sender.far.flushed
                           ? s->flush - l->sender.far.flushed
                           : 0));
    return false;
}

static void
run_links(struct agent *a, int64_t now_us, int64_t wall_us)
{
    const char *why;
    const struct hello *hello = make_hello(a, &why);
    enum pong_postgres word = a->links > 0 ? agent_postgres_word(a, now_us) : PONG_POSTGRES_UNKNOWN;

    for (size_t i = 0; i < a->links; i++) {
        struct link *l = &a->link[i];
        bool was_refused = l->sender.refused;

        l->sender.postgres = word;
        l->source_allowed = may_hold_walsender(a, l, now_us);
        l->exact = l->sender.commits_wait || a->stopping_us != 0;
        link_run(l, &a->loop, hello, why, now_us, wall_us);
        if (l->sender.pool_news) {
            l->sender.pool_news = false;
            learn_epoch(a, &l->sender.pool, l->member, wall_us);
        }
        if (l->sender.refused && !was_refused &&
            (l->sender.refusal == REFUSE_EPOCH || l->sender.refusal == REFUSE_CONFLICT))
            learn_epoch(a, &l->sender.refusal_origin, l->member, wall_us);
    }
}

static void
stamp_beacon(struct agent *a)
{
    const struct postgres_sample *s = postgres_sample(a->postgres);
    struct beacon b;

    if (a->role != ROLE_PRIMARY || s == NULL || s->in_recovery || s->insert == LSN_UNKNOWN)
        return;
    b = (struct beacon){.lsn = lsn_before_page_header(s->insert, agent_identity(a)->segment_bytes),
                        .wall_us = s->wall_us,
                        .mono_us = s->mono_us};
    for (size_t i = 0; i < a->links; i++) {
        a->link[i].sender.commits_wait = s->synchronous_standby_names[0] != '\0';
        sender_beacon(&a->link[i].sender, &b);
    }
}

/* WAL that nobody makes PostgreSQL write out would be exposure, for as long as it lies there. */
static void
force_flush(struct agent *a)
{
    const struct postgres_sample *s = postgres_sample(a->postgres);
    bool ships = false;
    lsn_t end;

    for (size_t i = 0; i < a->links; i++)
        ships = ships || a->link[i].state == LINK_SHIPPING;
    if (a->role != ROLE_PRIMARY || !ships || s == NULL || s->in_recovery)
        return;
    end = lsn_before_page_header(s->insert, agent_identity(a)->segment_bytes);
    if (end <= s->flush || s->flush != a->stuck_lsn) {
        a->stuck_lsn = s->flush;
        a->stuck_us = s->mono_us;
    } else if (s->mono_us - a->stuck_us >= STUCK_US) {
        a->stuck_us = s->mono_us;
        postgres_force_flush(a->postgres);
    }
}

/* ---- receiving ---- */

static void refuse(struct agent *a, struct session *s, enum refuse_kind kind, const char *format,
                   ...) __attribute__((format(printf, 4, 5)));

static void
refuse(struct agent *a, struct session *s, enum refuse_kind kind, const char *format, ...)
{
    struct epoch_origin origin = pool_origin(&a->pool);
    char reason[FRAME_REASON_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    inlet_refuse(&a->inlet, s, kind, &origin, reason);
}

#define WRITABLE                                                                                    \
    "the PostgreSQL of %s is writable (a former primary, or promoted by hand): bring it back as a " \
    "standby, there: walferry rejoin"

static bool
is_writable(const struct agent *a)
{
    const struct postgres_sample *s = postgres_sample(a->postgres);

    return s != NULL && !s->in_recovery && postgres_state(a->postgres) == POSTGRES_UP;
}

/* A former primary that was down when WAL began to come, and came up again. */
static void
part_from_writable(struct agent *a)
{
    char reason[FRAME_REASON_MAX];

    if (a->inlet.live == NULL || a->role != ROLE_FENCED || !is_writable(a) ||
        !pool_was_primary(&a->pool, a->self->name))
        return;
    snprintf(reason, sizeof reason, WRITABLE, a->self->name);
    inlet_end(&a->inlet, reason);
}

/* The far side's claim to be the primary. True when its WAL may be looked at. */
static bool
believe_epoch(struct agent *a, struct session *s, const struct hello *h, int64_t wall_us)
{
    struct epoch_origin theirs = {.epoch = h->epoch, .timeline = h->timeline};
    char reason[FRAME_REASON_MAX];
    enum refuse_kind kind;

    switch (judge_claim(&a->pool, h->from, &h->epoch, &kind, reason)) {
    case CLAIM_REFUSED:
        if (kind == REFUSE_CONFLICT)
            a->rival = theirs;
        refuse(a, s, kind, "%s", reason);
        return false;
    case CLAIM_HIGHER:
        if (receiver_judge(&a->receiver, h) < 0 && a->role != ROLE_PRIMARY) {
            refuse(a, s, REFUSE_OPERATOR, "%s", fail_message());
            return false;
        }
        learn_epoch(a, &theirs, h->from, wall_us);
        judge(a, wall_us);
        break;
    case CLAIM_GOOD:
        break;
    }
    if (pool_judge(&a->pool, &h->epoch) != POOL_SAME) {
        refuse(a, s, REFUSE_OPERATOR, "epoch %" PRIu64 " of %s is not believed here",
               h->epoch.number, h->from);
        return false;
    }
    /* one that is down may be on its way back: walferry rejoin wants the WAL in the spool */
    if (is_writable(a)) {
        refuse(a, s, REFUSE_OPERATOR, WRITABLE, a->self->name);
        return false;
    }
    return true;
}

static void
answer_greeting(struct agent *a, struct session *s, const struct hello *h, int64_t now_us,
                int64_t wall_us)
{
    const struct identity *local = postgres_identity(a->postgres);
    const struct postgres_sample *sample = postgres_sample(a->postgres);
    struct identity control;
    timeline_t wanted_timeline = a->relay.wanted_timeline;
    lsn_t wanted = a->relay.wanted;
    uint64_t ours = local->system_identifier;

    if (ours == 0 && postgres_read_control(a->self->pgdata, &control) == 0)
        ours = control.system_identifier;
    if (strcmp(h->pool, a->config->name) != 0) {
        refuse(a, s, REFUSE_OPERATOR, "this agent serves pool %s, not %s", a->config->name,
               h->pool);
    } else if (strcmp(h->to, a->self->name) != 0) {
        refuse(a, s, REFUSE_OPERATOR,
               "this is %s, not %s: compare the ssh addresses of both in the pool's file",
               a->self->name, h->to);
    } else if (config_member(a->config, h->from) == NULL) {
        refuse(a, s, REFUSE_OPERATOR, "%s is no member of the pool's file on %s", h->from,
               a->self->name);
    } else if (h->lane == HELLO_KNOCKS) {
        refuse(a, s, REFUSE_RETRY, "%s would be let in%s", h->from,
               inlet_no_tunnel(s) ? KNOCK_NO_TUNNEL : "");
    } else if (ours != 0 && ours != h->identity.system_identifier) {
        refuse(a, s, REFUSE_OPERATOR,
               "another database cluster: the system identifier of %s is %" PRIu64
               ", the PostgreSQL of %s has %" PRIu64
               "; its data directory is no copy of this pool's",
               h->from, h->identity.system_identifier, a->self->name, ours);
    } else if (believe_epoch(a, s, h, wall_us)) {
        if (a->renewing != 0) {
            refuse(a, s, REFUSE_RETRY, "%s", RENEWED);
        } else if (a->spool.next_timeline != 0) { /* where it goes on is not certain */
            refuse(a, s, REFUSE_RETRY, "the spool goes over to timeline %u just now",
                   a->spool.next_timeline);
        } else if (a->spool_shut) {
            refuse(a, s, REFUSE_RETRY, "%s takes no WAL now: %s", a->self->name, a->spool_error);
        } else if (receiver_judge(&a->receiver, h) < 0) {
            refuse(a, s, REFUSE_OPERATOR, "%s", fail_message());
        } else {
            if (wanted == LSN_UNKNOWN && sample != NULL && sample->in_recovery &&
                sample->replay != LSN_UNKNOWN) {
                wanted = sample->replay; /* what a fresh spool's standby will ask for first */
                wanted_timeline = sample->timeline;
            }
            if (hold_from(a->spool.dir, wall_us) != UINT64_MAX)
                wanted = LSN_UNKNOWN; /* a new copy is made: what the old one lacks is not needed */
            if (inlet_accept(&a->inlet, s, wanted_timeline, wanted, a->config->digest, now_us) < 0)
                refuse(a, s, REFUSE_RETRY, "%s", fail_message());
            else
                set_timeline(a, h->timeline);
        }
    }
}

static void
spool_failed(struct agent *a, int64_t now_us)
{
    char reason[FAIL_MESSAGE_MAX], have[24], need[24];
    uint64_t room, needed = a->spool.identity.segment_bytes;

    snprintf(reason, sizeof reason, "%s", fail_message());
    if (durable_free(a->spool.dir, &room) == 0 && room < needed)
        fail(
            ERR_LOCAL,
            "%s; %s are free, %s are needed: make room on the file system of %s, it then goes on by itself",
            reason, text_bytes(have, sizeof have, room), text_bytes(need, sizeof need, needed),
            a->spool.path);
    snprintf(reason, sizeof reason, "%s", fail_message());
    if (log_news(&a->spool_said, reason, now_us))
        log_error("%s; nothing is accepted until that is mended, what is here is still served",
                  reason);
    a->spool_stuck_at = a->spool.written;
    snprintf(a->spool_error, sizeof a->spool_error, "%s", reason);
    a->spool_shut = true;
    a->spool_retry_us = now_us + SPOOL_RETRY_US;
    inlet_end(&a->inlet, reason);
}

static void
job_flush(void *job)
{
    struct flush *f = job;
    int64_t begun_us = clock_us();

    spool_flush_run(f);
    f->took_us = clock_us() - begun_us;
}

static void
end_flush(struct agent *a, int64_t now_us)
{
    if (!worker_done(&a->flusher))
        return;
    if (a->flush.fd >= 0)
        histogram_add(&a->flush_took, a->flush.took_us);
    if (spool_flush_end(&a->spool, &a->flush) < 0)
        spool_failed(a, now_us);
    else if (a->flush.kind == FLUSH_RECOVER)
        a->spool_retry_us = now_us;
}

/* Is there room again, is a file that could not be flushed replaced? */
static void
try_spool(struct agent *a, int64_t now_us)
{
    uint64_t room = 0, needed = a->spool.identity.segment_bytes;

    if (!a->spool_shut || now_us < a->spool_retry_us || worker_busy(&a->flusher) ||
        a->spool.clearing)
        return;
    a->spool_retry_us = now_us + SPOOL_RETRY_US;
    if (durable_free(a->spool.dir, &room) < 0 || room < needed)
        return;
    if (spool_recover_begin(&a->spool, &a->flush))
        worker_submit(&a->flusher, job_flush, &a->flush);
    else
        a->spool_shut = a->spool.damaged;
}

/* That it takes WAL again is told when more is here than before. What did not continue it has to
 * do so first: till then what is wrong stays said, though nothing is wrong here. */
static void
retry_spool(struct agent *a, int64_t now_us)
{
    try_spool(a, now_us);
    if (!a->spool_shut && (!a->inlet.refuted || a->role == ROLE_PRIMARY))
        a->spool_error[0] = '\0';
    if (a->spool_stuck_at == LSN_UNKNOWN || a->spool_error[0] != '\0' ||
        a->spool.available <= a->spool_stuck_at)
        return;
    log_info("the spool takes WAL again");
    a->spool_said = (struct log_memory){0};
    a->spool_stuck_at = LSN_UNKNOWN;
}

/* A flush that nobody waits for is for what comes until then, too. NEVER_US: none can begin now. */
static int64_t
flush_due_us(const struct agent *a)
{
    if (worker_busy(&a->flusher) || a->spool.damaged || a->spool.clearing)
        return NEVER_US;
    if (a->receiver.commits_wait || !receiver_live(&a->receiver) || a->spool.retired_fd >= 0 ||
        a->spool.flushed == a->spool.available)
        return 0;
    return a->flushed_us + FLUSH_US;
}

static void
begin_flush(struct agent *a, int64_t now_us)
{
    if (now_us < flush_due_us(a) || !spool_flush_begin(&a->spool, &a->flush, now_us))
        return;
    a->flushed_us = now_us;
    worker_submit(&a->flusher, job_flush, &a->flush);
}

static void
job_prune(void *job)
{
    spool_prune_run(job);
}

static void
renewed(struct agent *a, int code)
{
    if (code == 0)
        log_info(RENEWED);
    else
        control_text(&a->control, a->renewing, "%s", fail_message());
    control_done(&a->control, a->renewing, code == 0 ? 0 : 1);
    a->renewing = 0;
}

/* For a seed: what is here ends before the WAL that the primary still has. */
static void
renew_spool(struct agent *a)
{
    if (a->renewing == 0 || worker_busy(&a->flusher) || worker_busy(&a->pruner))
        return;
    if ((a->role != ROLE_STANDBY && a->role != ROLE_FENCED) ||
        hold_from(a->spool.dir, clock_wall_us()) == UINT64_MAX) {
        renewed(a, fail(ERR_USAGE, "the spool begins anew only on a standby, for a seed or rejoin "
                                   "that runs"));
        return;
    }
    inlet_end(&a->inlet, RENEWED);
    if (spool_clear_begin(&a->spool, &a->pruning))
        worker_submit(&a->pruner, job_prune, &a->pruning);
}

static void
end_pruning(struct agent *a)
{
    int code;

    if (!worker_done(&a->pruner))
        return;
    code = spool_prune_end(&a->spool, &a->pruning);
    if (a->pruning.all)
        renewed(a, code);
    else if (code < 0)
        log_warning("%s", fail_message());
}

/* Whoever was fed from here as a standby goes on with what our PostgreSQL writes as the primary. */
static void
relay_onward(struct agent *a)
{
    const struct postgres_sample *s = postgres_sample(a->postgres);
    struct supply *supply = &a->relay.supply;

    supply->timeline = 0;
    if (a->role != ROLE_PRIMARY || s == NULL || s->in_recovery || spool_empty(&a->spool) ||
        s->timeline != a->pool.timeline || load_history(a, s->timeline) < 0)
        return;
    supply->timeline = s->timeline;
    supply->history = a->history;
    supply->history_bytes = a->history_bytes;
    supply->flushed = s->flush;
}

static void
run_receiving(struct agent *a, int64_t now_us, int64_t wall_us)
{
    struct relay_standby standby;
    struct session *session;
    const struct hello *hello;
    bool feedback;

    end_flush(a, now_us);
    end_pruning(a);
    renew_spool(a);
    part_from_writable(a);
    if (inlet_run(&a->inlet, &a->loop, now_us, wall_us) < 0)
        spool_failed(a, now_us);
    while (inlet_greeting(&a->inlet, now_us, &session, &hello))
        answer_greeting(a, session, hello, now_us, wall_us);
    begin_flush(a, now_us); /* first: a commit may wait for it */
    relay_onward(a);
    relay_push(&a->relay, now_us);
    relay_run(&a->relay, &a->loop, now_us);
    relay_standby(&a->relay, &standby);
    if (standby.connected)
        a->feedback_us = now_us;
    feedback = now_us - a->feedback_us < a->config->feedback_keep_us;
    receiver_report(&a->receiver, agent_applied(a), feedback ? standby.xmin : 0,
                    feedback ? standby.catalog_xmin : 0, standby.connected, now_us);
    inlet_push(&a->inlet);
    retry_spool(a, now_us);
}

/* ---- housekeeping ---- */

static void
job_note(void *job)
{
    struct note *n = job;

    n->error = durable_replace(n->dir, n->name, n->text, n->length) < 0 ? errno : 0;
}

/* What a rejoin has kept, when its time is over; not while one is under way. */
static void
job_escrow(void *job)
{
    const struct member *self = *(const struct member **)job;
    char journal[sizeof self->spool + 16];

    snprintf(journal, sizeof journal, "%s/rejoin.job", self->spool);
    if (access(journal, F_OK) < 0)
        escrow_prune(self->spool, self->escrow_keep_us, clock_wall_us());
}

/* The newest covered beacons, once a second, so that lag goes on growing over a restart. */
static void
save_lag(struct agent *a)
{
    struct lag_record record = {0};
    char boot_id[BOOT_ID_SIZE];
    struct note *n = a->note;

    worker_done(&a->state_writer);
    if (worker_busy(&a->state_writer) || conditions_save(a, &a->state_writer))
        return;
    if (clock_us() >= a->escrow_due_us) {
        a->escrow_due_us = clock_us() + ESCROW_US;
        worker_submit(&a->state_writer, job_escrow, &a->self);
        return;
    }
    if (a->role == ROLE_PRIMARY && a->links > 0) {
        record.flushed = a->link[0].sender.flushed.covered;
        record.applied = a->link[0].sender.applied.covered;
        snprintf(record.primary, sizeof record.primary, "%s", a->self->name);
    } else if (a->role == ROLE_STANDBY) {
        receiver_record(&a->receiver, &record);
    }
    if (record.flushed.lsn == LSN_UNKNOWN)
        return;
    clock_boot_id(boot_id);
    n->dir = a->spool.dir;
    snprintf(n->name, sizeof n->name, "%s", LAG_FILE);
    n->length = lag_record_save(&record, boot_id, n->text);
    worker_submit(&a->state_writer, job_note, n);
}

static void
load_lag(struct agent *a)
{
    char text[LAG_RECORD_MAX], boot_id[BOOT_ID_SIZE];
    struct lag_record record;

    clock_boot_id(boot_id);
    if (durable_load(a->spool.dir, LAG_FILE, text, sizeof text) < 0 ||
        !lag_record_load(&record, text, boot_id, clock_us(), clock_wall_us()))
        return;
    if (strcmp(record.primary, a->self->name) != 0) {
        receiver_remember(&a->receiver, &record, clock_us());
    } else if (a->links > 0) {
        a->link[0].sender.received.covered = a->link[0].sender.flushed.covered = record.flushed;
        a->link[0].sender.applied.covered = record.applied;
    }
}

/* What nobody needs any more: the local standby has it (or is the primary now), no copy that is
 * being made begins before it, and keep has passed. */
static void
prune(struct agent *a, int64_t wall_us)
{
    const struct postgres_sample *s = postgres_sample(a->postgres);
    struct relay_standby standby;
    lsn_t needed, held;

    if (s == NULL || spool_empty(&a->spool) || worker_busy(&a->pruner))
        return;
    relay_standby(&a->relay, &standby);
    needed = !s->in_recovery ? s->insert : s->replay;
    if (s->in_recovery && standby.flush != LSN_UNKNOWN && standby.flush < needed)
        needed = standby.flush;
    if (relay_needs(&a->relay) < needed)
        needed = relay_needs(&a->relay);
    if ((held = hold_from(a->spool.dir, wall_us)) < needed)
        needed = held;
    if (held == LSN_UNKNOWN && !a->hold_named)
        log_warning("%s: %s", a->spool.path, fail_message());
    a->hold_named = held == LSN_UNKNOWN;
    if (spool_prune_begin(&a->spool, &a->pruning, needed, a->self->keep_us, wall_us))
        worker_submit(&a->pruner, job_prune, &a->pruning);
}

#define SETTING_SIZE 300

static void
make_setting(char out[SETTING_SIZE], const char *names)
{
    snprintf(out, SETTING_SIZE, "synchronous_standby_names = '%s'\n", names);
}

/* Is this server's synchronous_standby_names what this agent wrote? */
static bool
setting_is_ours(const struct agent *a, const char *names)
{
    char wanted[SETTING_SIZE], text[SETTING_SIZE];
    ssize_t length = durable_load(a->spool.dir, SETTINGS_FILE, text, sizeof text);

    make_setting(wanted, names);
    return length >= 0 && (size_t)length == strlen(wanted) &&
           memcmp(text, wanted, (size_t)length) == 0;
}

/* synchronous_standby_names: set when the pool is synchronous and the link is level, emptied when
 * the pool's file says so no longer. */
static void
keep_settings(struct agent *a)
{
    const struct postgres_sample *s = postgres_sample(a->postgres);
    const char *names = a->config->synchronous ? a->slot_name[0] : "";
    char text[SETTING_SIZE];

    if (a->role != ROLE_PRIMARY || a->links == 0 || s == NULL || s->in_recovery ||
        postgres_state(a->postgres) != POSTGRES_UP ||
        (s->synchronous_standby_names[0] == '\0') == (names[0] == '\0'))
        return;
    if (names[0] == '\0'
            ? !setting_is_ours(a, s->synchronous_standby_names)
            : a->link[0].state != LINK_SHIPPING || a->link[0].sender.far.flushed < s->flush)
        return;
    if (!postgres_ask(a->postgres, POSTGRES_RELOAD, NULL)) /* sent in the next turn */
        return;
    make_setting(text, names);
    if (durable_replace(a->spool.dir, SETTINGS_FILE, text, strlen(text)) < 0)
        log_warning("cannot write %s/%s: %s", a->spool.path, SETTINGS_FILE, strerror(errno));
    else if (names[0] == '\0')
        log_info("synchronous is off: commits wait for no other site from now on");
    else
        log_info("the link to %s is level: commits wait for it from now on", a->link[0].member);
}

/* A slot for every link from the first start on: it keeps the WAL while the far side gets its copy.
 */
static void
keep_slots(struct agent *a)
{
    const struct postgres_sample *s = postgres_sample(a->postgres);

    if (a->role != ROLE_PRIMARY || s == NULL || s->in_recovery ||
        postgres_state(a->postgres) != POSTGRES_UP)
        return;
    for (size_t i = 0; i < a->links; i++) {
        size_t k = 0;

        while (k < s->slots && strcmp(s->slot[k].name, a->slot_name[i]) != 0)
            k++;
        if (k == s->slots && s->slots < POSTGRES_SLOTS_MAX &&
            postgres_ask(a->postgres, POSTGRES_MAKE_SLOT, a->slot_name[i])) {
            log_info("slot %s is made for the link to %s", a->slot_name[i], a->link[i].member);
            if (strcmp(a->guard.released, a->slot_name[i]) != 0) /* it has its own record */
                backfill_slot_gone(a, i);
            return; /* one command at a time */
        }
        if (k < s->slots && s->slot[k].lost && !s->slot[k].active &&
            postgres_ask(a->postgres, POSTGRES_DROP_SLOT, a->slot_name[i])) {
            log_warning(
                "slot %s was invalidated and keeps nothing any more: dropped, to be made anew",
                a->slot_name[i]);
            return;
        }
    }
}

/* Files outside the WAL, both ways over every link that is up. */
static int
file_to_receiver(void *link, const struct frame *f)
{
    return sender_file(&((struct link *)link)->sender, f);
}

static int
file_to_sender(void *receiver, const struct frame *f)
{
    return receiver_file(receiver, f);
}

static void
send_files(struct agent *a)
{
    for (size_t i = 0; i < a->links; i++)
        if (a->link[i].state == LINK_SHIPPING)
            site_send(&a->site, i, a->link[i].since_us, file_to_receiver, &a->link[i]);
    if (receiver_live(&a->receiver))
        site_send(&a->site, SITE_PEERS_MAX, a->inlet.since_us, file_to_sender, &a->receiver);
}

static void
keep_house(struct agent *a, int64_t now_us, int64_t wall_us)
{
    const struct identity *identity = postgres_identity(a->postgres);
    const char *error;

    if (a->role == ROLE_PRIMARY && identity->system_identifier != 0 && a->alarm[0] == '\0' &&
        spool_adopt(&a->spool, identity) < 0)
        log_warning("%s", fail_message());
    conditions_look(a, now_us, wall_us);
    save_lag(a);
    prune(a, wall_us);
    send_files(a);
    http_keep(&a->http, now_us);
    if (a->failover.phase == FAILOVER_IDLE) {
        if (postgres_done(a->postgres, &error) && error != NULL)
            log_warning("PostgreSQL refused: %s", error);
        keep_slots(a);
        keep_settings(a);
    }
    backfill_keep(a, now_us);
}

static void
run_postgres(struct agent *a, int64_t now_us)
{
    enum postgres_state before = postgres_state(a->postgres), state;

    if (postgres_run(a->postgres, &a->loop, now_us) == 0)
        return;
    state = postgres_state(a->postgres);
    if (state == POSTGRES_UP) {
        stamp_beacon(a);
        force_flush(a);
    }
    if (state == before)
        return;
    if (state == POSTGRES_STOPPING) {
        if (a->stopping_us == 0)
            a->stopping_us = now_us;
    } else if (state == POSTGRES_UP) {
        a->stopping_us = 0;
    }
    if (state == POSTGRES_UP) {
        log_info("PostgreSQL is there");
    } else {
        log_warning("PostgreSQL is away: %s", postgres_reason(a->postgres));
        relay_offer(&a->relay);
    }
}

/* ---- control ---- */

static void
set_shipping(struct agent *a, uint64_t client, const json_t *request)
{
    const char *key = json_string_value(json_object_get(request, "key"));
    const char *value = json_string_value(json_object_get(request, "value"));
    int code = key == NULL || value == NULL ? fail(ERR_USAGE, "set wants a key and a value")
                                            : config_set(&a->shipping, key, value);

    if (code < 0) {
        control_text(&a->control, client, "%s", fail_message());
        control_done(&a->control, client, 1);
        return;
    }
    disk_guard_ship(a);
    a->shipping_set = true;
    log_info("%s is %s until the next start: walferry set", key, value);
    control_text(&a->control, client,
                 "%s = %s until the agent's next start; %s has the last word%s", key, value,
                 a->config->file,
                 a->role == ROLE_PRIMARY ? "" : " (this member ships only as the primary)");
    control_done(&a->control, client, 0);
}

/* To a command on another host: a list that is too long stays where it is. */
static void
tell_losses(struct agent *a, uint64_t client)
{
    json_t *all = NULL, *receipt;
    size_t i;

    if (receipt_load(a->self->spool, RECEIPT_FAR_BYTES, &all) < 0)
        control_text(&a->control, client, "%s", fail_message());
    json_array_foreach (all, i, receipt)
        control_answer(&a->control, client, json_pack("{s:O}", "receipt", receipt));
    json_decref(all);
    control_done(&a->control, client, 0);
}

/* What another member may ask through a tunnel. */
static bool
answered_afar(const char *command, bool only_asks, const json_t *request)
{
    static const char *const allowed[] = {"status", "config", "lost", "validate"};

    if (only_asks && strcmp(show_word(request, "do", ""), "install") == 0)
        return false;
    for (size_t i = 0; command != NULL && i < sizeof allowed / sizeof *allowed; i++)
        if (strcmp(command, allowed[i]) == 0)
            return true;
    return false;
}

static void
answer_requests(struct agent *a, int64_t now_us)
{
    uint64_t client;
    json_t *request;

    while (control_request(&a->control, &client, &request)) {
        const char *command = json_string_value(json_object_get(request, "command"));
        bool only_asks = control_only_asks(&a->control, client);

        if (control_afar(&a->control, client) && !answered_afar(command, only_asks, request)) {
            control_text(&a->control, client,
                         "that is not answered from another member%s: type it on the host of %s",
                         only_asks ? " whose key is bound with --no-tunnel" : "", a->self->name);
            control_done(&a->control, client, 1);
        } else if (command != NULL && strcmp(command, "status") == 0) {
            control_answer(&a->control, client, agent_report(a, now_us));
            control_done(&a->control, client, 0);
        } else if (command != NULL && strcmp(command, "set") == 0) {
            set_shipping(a, client, request);
        } else if (command != NULL && strcmp(command, "gaps") == 0) {
            backfill_request(a, client, request);
        } else if (command != NULL && strcmp(command, "lost") == 0) {
            tell_losses(a, client);
        } else if (command != NULL && strcmp(command, "config") == 0) {
            poolfile_answer(&a->control, client, request, a->config, a->self);
        } else if (command != NULL && strcmp(command, "drain") == 0) {
            for (size_t i = 0; i < a->links; i++)
                link_drain(&a->link[i]);
            control_done(&a->control, client, 0);
        } else if (command != NULL && strcmp(command, "renew_spool") == 0) {
            a->renewing = client;
        } else if (command != NULL && strcmp(command, "validate") == 0) {
            validate_service_ask(&a->validate_service, &a->control, client);
        } else if (command != NULL && strcmp(command, "failover") == 0) {
            failover_request(a, client, request, now_us);
        } else {
            control_text(&a->control, client,
                         "this agent does not know that command: is its version older?");
            control_done(&a->control, client, 1);
        }
        json_decref(request);
    }
}

/* ---- life ---- */

/* Before any thread is there: all inherit it. */
static int
be_modest(const struct member *self)
{
    if (self->nice != 0 && setpriority(PRIO_PROCESS, 0, self->nice) < 0)
        return fail_sys(ERR_USAGE, "nice = %d of [member %s]", self->nice, self->name);
    if (CPU_COUNT(&self->cpus) > 0 && sched_setaffinity(0, sizeof self->cpus, &self->cpus) < 0)
        return fail_sys(ERR_USAGE, "cpus of [member %s]", self->name);
    return 0;
}

static int
open_links(struct agent *a)
{
    size_t count = 0;

    snprintf(a->conninfo, sizeof a->conninfo, "%s", a->self->postgres);
    for (size_t i = 0; i < a->config->members; i++) {
        const struct member *m = &a->config->member[i];
        int code;

        if (m == a->self || strcmp(m->site, a->self->site) == 0)
            continue;
        config_slot_name(a->slot_name[count], m->name);
        code =
            link_init(&a->link[count], m->name, &m->target, &a->shipping, &a->workers,
                      &a->frame_cache, a->conninfo, a->slot_name[count], a->self->pgdata, a->codec);
        if (code == 0)
            code = link_store(&a->link[count], LINK_OUTBOX, &a->outbox.spool, a->outbox.conninfo);
        if (code == 0)
            code = link_store(&a->link[count], LINK_GAP, &a->backfill.store.spool,
                              a->backfill.store.conninfo);
        if (code < 0)
            return code;
        a->link[count].sender.file = site_take;
        a->link[count].sender.file_context = site_peer(&a->site, count, m->name);
        count++;
        a->links = count;
    }
    return 0;
}

static int
check_cluster(const struct agent *a)
{
    struct identity control;

    if (a->spool.identity.system_identifier == 0 ||
        postgres_read_control(a->self->pgdata, &control) < 0 ||
        control.system_identifier == a->spool.identity.system_identifier)
        return 0;
    return fail(ERR_USAGE,
                "the spool %s belongs to another database cluster (system identifier %" PRIu64
                ", %s has %" PRIu64
                "): correct spool or pgdata of [member %s], or give it an empty spool",
                a->spool.path, a->spool.identity.system_identifier, a->self->pgdata,
                control.system_identifier, a->self->name);
}

static int
write_pid(const struct agent *a)
{
    char text[32];
    int dir, code = 0;

    snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (durable_dir(a->self->run, &dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open the run directory %s", a->self->run);
    if (durable_replace(dir, "agent.pid", text, strlen(text)) < 0)
        code = fail_sys(ERR_LOCAL, "cannot write %s/agent.pid", a->self->run);
    durable_close(dir);
    return code;
}

static int
agent_open(struct agent *a, const struct config *config, const struct member *self)
{
    int code;

    *a = (struct agent){.config = config, .self = self, .started_us = clock_us()};
    a->escrow_due_us = BOOTED_US;
    a->incarnation = (uint64_t)(clock_wall_us() / SECOND_US) << 32;
    if (getrandom(&a->incarnation, sizeof(uint32_t), 0) < 0) /* its low half: nobody can guess it */
        return fail_sys(ERR_LOCAL, "no random number");
    a->spool.dir = a->spool.lock = a->inlet.fd = a->relay.fd = a->control.fd = -1;
    a->outbox.spool.dir = a->outbox.spool.lock = a->outbox.relay.fd = -1;
    a->backfill.store.spool.dir = a->backfill.store.spool.lock = a->backfill.store.relay.fd = -1;
    a->codec = calloc(1, sizeof *a->codec);
    a->note = calloc(1, sizeof *a->note);
    a->scratch = malloc(FRAME_WAL_MAX);
    a->history = malloc(HISTORY_BYTES_MAX + 1);
    a->postgres = postgres_new(self->postgres);
    if (a->codec == NULL || a->note == NULL || a->scratch == NULL || a->history == NULL ||
        a->postgres == NULL)
        return fail(ERR_LOCAL, "out of memory");
    code = spool_open(&a->spool, self->spool);
    if (code == 0)
        code = check_cluster(a);
    if (code == 0)
        code = pool_load(&a->pool, a->spool.dir);
    if (code == ERR_AGAIN)
        code = 0;
    if (code == 0)
        code = gaps_load(&a->gaps, a->spool.dir);
    if (code < 0 && a->spool.dir >= 0)
        return fail_in(code, "the spool %s", a->spool.path);
    http_init(&a->http, a);
    receiver_init(&a->receiver, &a->spool, a->codec, a->scratch);
    if (code == 0)
        code = worker_init(&a->flusher);
    if (code == 0)
        code = worker_init(&a->pruner);
    if (code == 0)
        code = worker_init(&a->state_writer);
    if (code == 0)
        code = relay_open(&a->relay, self->run, &a->spool, self->pgdata, config->relay_guests);
    if (code == 0)
        relay_offer(&a->relay);
    if (code == 0)
        code = inlet_open(&a->inlet, self->run, &a->receiver);
    if (code == 0)
        code = control_open(&a->control, self->run);
    if (code == 0)
        code = validate_service_init(&a->validate_service, a->config, a->self);
    if (code == 0)
        code = workers_init(&a->workers, 0);
    a->shipping = config->shipping;
    if (code == 0)
        code = outbox_open(&a->outbox, "outbox", self->outbox, self->run, self->postgres,
                           self->pgdata);
    if (code == 0)
        code = backfill_open(a);
    if (code == 0)
        code = site_init(&a->site, config, self);
    a->receiver.file = site_take;
    a->receiver.file_context = site_peer(&a->site, SITE_PEERS_MAX, a->receiver.from);
    if (code == 0)
        code = open_links(a);
    if (code == 0)
        code = conditions_open(a);
    if (code == 0)
        code = tunnel_open(a);
    if (code == 0)
        code = write_pid(a);
    if (code < 0)
        return code;
    a->spool_shut = a->spool.damaged;
    if (a->spool.damaged)
        snprintf(a->spool_error, sizeof a->spool_error,
                 "%s could not be flushed when it was opened", a->spool.path);
    load_lag(a);
    a->running = true;
    return 0;
}

static void
agent_close(struct agent *a)
{
    char path[256];

    snprintf(path, sizeof path, "%s/agent.pid", a->self->run);
    inlet_end(&a->inlet, "the agent stops");
    tunnel_close(a);
    for (size_t i = 0; i < a->links; i++)
        link_release(&a->link[i]);
    workers_release(&a->workers);
    frame_cache_release(&a->frame_cache);
    validate_service_release(&a->validate_service);
    control_close(&a->control);
    http_close(&a->http);
    inlet_close(&a->inlet);
    relay_close(&a->relay);
    backfill_close(a);
    outbox_close(&a->outbox);
    disk_guard_close(a);
    worker_release(&a->flusher);
    worker_release(&a->pruner);
    worker_release(&a->state_writer);
    conditions_close(a);
    site_release(&a->site);
    spool_close(&a->spool);
    postgres_free(a->postgres);
    codec_release(a->codec);
    free(a->codec);
    free(a->note);
    free(a->scratch);
    free(a->history);
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

/* One of each room's small ones, and what the others have at most. */
_Static_assert(32 + 2 * INLET_SESSIONS_MAX + 3 * RELAY_CLIENTS_MAX + CONTROL_CLIENTS_MAX +
                       MEMBERS_MAX * (WINDOW_LANES + 2) + TUNNEL_DOORS_MAX +
                       3 * TUNNEL_STREAMS_MAX <=
                   LOOP_FDS_MAX,
               "every room of the loop has place for its descriptors");

static int64_t
watch(struct agent *a, int signals, int64_t now_us, int64_t house_us)
{
    loop_begin(&a->loop);
    loop_watch(&a->loop, signals, POLLIN);
    loop_watch(&a->loop, worker_fd(&a->flusher), POLLIN);
    loop_watch(&a->loop, worker_fd(&a->pruner), POLLIN);
    loop_watch(&a->loop, workers_fd(&a->workers), POLLIN);
    event_command_watch(&a->conditions.event_command, &a->loop);
    validate_service_watch(&a->validate_service, &a->loop);
    site_watch(&a->site, &a->loop);
    postgres_watch(a->postgres, &a->loop);
    inlet_watch(&a->inlet, &a->loop);
    relay_watch(&a->relay, &a->loop, now_us);
    outbox_watch(&a->outbox, &a->loop, now_us);
    backfill_watch(a, &a->loop, now_us);
    disk_guard_watch(a, &a->loop);
    control_watch(&a->control, &a->loop);
    http_watch(&a->http, &a->loop);
    for (size_t i = 0; i < a->links; i++)
        link_watch(&a->link[i], &a->loop);
    tunnel_watch(&a->tunnel, &a->loop);
    loop_due(&a->loop, failover_due_us(a));
    loop_due(&a->loop, house_us);
    if (a->spool.flushed < a->spool.available)
        loop_due(&a->loop, flush_due_us(a));
    if (a->spool_shut && !worker_busy(&a->flusher) && !a->spool.clearing)
        loop_due(&a->loop, a->spool_retry_us);
    return a->loop.due_us;
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
        if (loop_ready(&a->loop, workers_fd(&a->workers)) != 0)
            workers_clear(&a->workers);
        run_postgres(a, now_us);
        judge(a, wall_us);
        run_receiving(a, now_us, wall_us);
        disk_guard_run(a, now_us);
        outbox_run(&a->outbox, &a->loop, now_us);
        backfill_run(a, now_us);
        run_links(a, now_us, wall_us);
        tunnel_run(a, now_us);
        control_run(&a->control, &a->loop, now_us);
        answer_requests(a, now_us);
        http_run(&a->http, &a->loop, now_us);
        if (a->failover.phase != FAILOVER_IDLE) {
            failover_run(a, now_us);
            judge(a, wall_us); /* its steps change the pool */
        }
        event_command_run(&a->conditions.event_command);
        validate_service_run(&a->validate_service, &a->control);
        site_run(&a->site, now_us);
        if (now_us >= house_us) {
            keep_house(a, now_us, wall_us);
            house_us = now_us + HOUSEKEEPING_US;
        }
    }
}

static int
agent_live(struct agent *a, const struct config *config, const struct member *self, int signals)
{
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

int
command_agent(const struct config *config, const struct member *self, const struct options *options)
{
    static struct agent a; /* large, and there is one */
    sigset_t wanted;
    int signals, code;

    (void)options;
    log_init(self->name);
    /* libpq gives each 128 KB of WAL in a malloc of its own: fresh pages for each would cost more
     * than the copy into them */
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 8 << 20);
    if (config_check_local(config, self, stderr) < 0)
        return 2;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    srandom((unsigned)clock_us());
    code = signals < 0 ? fail_sys(ERR_LOCAL, "signalfd") : be_modest(self);
    if (code == 0)
        code = agent_live(&a, config, self, signals);
    if (code < 0)
        log_error("%s", fail_message());
    else
        log_info("stopped");
    /* what a human has to judge stays as it is when we are started again */
    return code == 0 ? 0 : code == ERR_USAGE || code == ERR_CORRUPT ? 2 : 1;
}

/* SPDX-License-Identifier: PostgreSQL */
/* See failover.h. */
#include "handover/failover.h"

#include "handover/asking.h"
#include "handover/prepare.h"
#include "handover/steps.h"
#include "handover/tails.h"
#include "handover/tell.h"
#include "links/exposed.h"
#include "links/promised.h"

#include "base/clock.h"
#include "base/kill_point.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DOWN_US      (2 * SECOND_US) /* for a try to connect, and one more */
#define EPOCH_US     (6 * SECOND_US) /* an unknown epoch is asked for each 2 s */
#define STARTING_US  (10 * SECOND_US)
#define RETRY_US     (5 * SECOND_US)
#define TURN_US      (10 * MILLISECOND_US)
#define PAUSED_US    (3 * SECOND_US)    /* no loop that runs takes so long for a turn */
#define OVERRULED_US (3600 * SECOND_US) /* as if it had been waited for so long */

static const char *
start_command(const struct failover *f, char *out, size_t size)
{
    if (f->who->self->start[0] != '\0')
        snprintf(out, size, "%s", f->who->self->start);
    else
        snprintf(out, size, "%s/pg_ctl -D %s start", f->who->self->bindir, f->who->self->pgdata);
    return out;
}

/* No epoch comes from nothing: a number that the pool has had already would divide it. */
static bool
epoch_known(struct failover *f)
{
    if (f->pool->epoch.number == 0 && f->wish.epoch == 0) {
        stop(f,
             "refused: no epoch of this pool is known here (is the spool new?), and no other "
             "member could be asked for it. Start the agent of another member, or give the new "
             "epoch's number, higher than any that the pool has had (walferry lost and pool.state "
             "of the others tell): walferry failover --epoch N");
        return false;
    }
    if (f->wish.epoch > EPOCH_NUMBER_MAX || f->pool->epoch.number >= EPOCH_NUMBER_MAX) {
        stop(f, "refused: there is no number for another epoch");
        return false;
    }
    if (f->pool->epoch.number != 0 && f->wish.epoch != 0) {
        stop(f,
             "refused: epoch %" PRIu64
             " is known here, the next one is its; run this without --epoch",
             f->pool->epoch.number);
        return false;
    }
    return true;
}

/* An earlier run has done it, whether or not it could still say so. */
static bool
done_already(struct failover *f, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(f->who->postgres);

    if (f->who->role != ROLE_PRIMARY || f->who->alarm[0] != '\0' || f->pool->changes < 2 ||
        postgres_state(f->who->postgres) != POSTGRES_UP || s == NULL || s->in_recovery)
        return false;
    say_primary(f, "done already");
    control_answer(f->control, f->client, json_pack("{s:b}", "already", 1));
    steps_end(f, now_us);
    return true;
}

/* Does PostgreSQL here answer? */
static bool
check_postgres(struct failover *f)
{
    const struct postgres_sample *s = postgres_sample(f->who->postgres);
    char command[600];

    if (postgres_state(f->who->postgres) == POSTGRES_STARTING) {
        stop(f,
             "refused: the PostgreSQL of %s is still starting up; run this again when it answers",
             f->who->self->name);
        return false;
    }
    if (s == NULL || postgres_state(f->who->postgres) != POSTGRES_UP) {
        if (f->who->role == ROLE_PROMOTING && f->who->alarm[0] != '\0') /* as it is, no start */
            stop(f, "refused: the PostgreSQL of %s is not answering (%s). %s", f->who->self->name,
                 postgres_reason(f->who->postgres), f->who->alarm);
        else
            stop(
                f,
                "refused: the PostgreSQL of %s is not answering (%s); start it and run this again: %s",
                f->who->self->name, postgres_reason(f->who->postgres),
                start_command(f, command, sizeof command));
        return false;
    }
    return true;
}

static bool
ready_to_promote(struct failover *f)
{
    const struct postgres_sample *s;

    if (f->who->role == ROLE_FENCED && !f->wish.reclaim) {
        stop(f,
             "refused: %s is fenced, only a standby can take over. %s. If %s is gone for good: "
             "walferry rejoin --offline, if nothing parted, for what the spool here has of it; or "
             "walferry failover --reclaim, if the PostgreSQL here shall go on from where it stands",
             f->who->self->name, f->who->alarm, f->pool->epoch.member);
        return false;
    }
    if (!check_postgres(f))
        return false;
    s = postgres_sample(f->who->postgres);
    if (f->wish.reclaim && judge_reclaim(f->who->role, f->who->replay.replay, s->in_recovery,
                                         f->in->front.reason[0] != '\0') != RECLAIM_NOTHING)
        return epoch_known(f);
    if (!s->in_recovery && f->pool->step == FAILOVER_NONE) {
        stop(f, "refused: the PostgreSQL of %s is a primary already", f->who->self->name);
        return false;
    }
    if (f->wish.reclaim && f->pool->step == FAILOVER_NONE) {
        stop(f, "refused: %s is %s, there is nothing to reclaim; see walferry status",
             f->who->self->name, role_name(f->who->role));
        return false;
    }
    if (f->who->role != ROLE_STANDBY && f->who->role != ROLE_PROMOTING) {
        stop(f, "refused: %s is %s, only a standby can take over; %s", f->who->self->name,
             role_name(f->who->role),
             f->who->alarm[0] != '\0' ? f->who->alarm : "see walferry status");
        return false;
    }
    if (judge_reclaims(f->pool))
        return true;
    if (f->who->replay.replay == REPLAY_FORKED) {
        stop(f, "refused: %s has forked, it lacks WAL of the pool: %s", f->who->self->name,
             f->who->alarm);
        return false;
    }
    if (f->in->spool.damaged) { /* which is tried again all the time */
        stop(f, "refused: %s", f->in->error);
        return false;
    }
    if (f->in->front.reason[0] != '\0' && f->pool->step != FAILOVER_NONE) {
        stop(f, "refused: %s", f->in->front.reason);
        return false;
    }
    if (f->in->front.reason[0] != '\0') {
        stop(f,
             "refused: %s. If %s is gone for good: walferry failover --reclaim promotes the "
             "PostgreSQL here from where it stands",
             f->in->front.reason, f->pool->epoch.member);
        return false;
    }
    return f->pool->step != FAILOVER_NONE || epoch_known(f);
}

/* What a failover now would lose, from what is known here. */
static void
tell_loss(struct failover *f, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(f->who->postgres);
    struct loss_facts facts;
    char unread[LOSS_UNREAD_SIZE];
    struct loss loss;

    exposed_receiving(f->in, now_us, &facts);
    facts.rescued |= f->loss_known;
    tails_loss(f, unread, sizeof unread, &facts, now_us);
    if (f->wish.reclaim) {
        facts.primary = f->pool->epoch.member;
        facts.reclaims = f->pool->epoch.number;
        if (f->who->replay.replay == REPLAY_FORKED)
            facts.from = f->who->replay.fork;
        else if (s->in_recovery && f->who->role == ROLE_STANDBY)
            facts.from = (struct position){s->timeline, s->replay};
    }
    loss_judge(&facts, &loss);
    f->loss_since_us = loss.kind == LOSS_AT_MOST ? loss.since_us : 0;
    f->loss_age_us = loss.age_us;
    say(f, "loss: %s", loss_text(&loss, f->loss));
    if (unread[0] != '\0' && !f->wish.reclaim && loss.kind != LOSS_NONE)
        say(f,
            "whoever of them has more than %s %s forked then: on its host walferry rejoin, which keeps "
            "that and follows",
            f->who->self->name, f->wish.dry_run ? "would be" : "is");
}

void
failover_init(struct failover *f, const struct who *who, struct pool *pool, struct asks *asks,
              struct outgoing *out, struct incoming *in, struct control *control,
              const struct loop *loop)
{
    *f = (struct failover){.who = who,
                           .pool = pool,
                           .asks = asks,
                           .out = out,
                           .in = in,
                           .control = control,
                           .loop = loop};
}

/* ---- what a command asks of a failover that runs ---- */

static void
answer(struct failover *f, uint64_t client, int code, const char *text)
{
    control_text(f->control, client, "%s", text);
    control_done(f->control, client, code);
}

/* By a DBA's word, who knows that the failover that it was given to is over. */
static void
break_promise(struct failover *f, uint64_t client, const char *to)
{
    struct epoch promised = f->pool->promised;
    char text[256];

    if (promised.number == 0 || strcmp(promised.member, to) != 0) {
        if (promised.number == 0)
            snprintf(text, sizeof text, "%s has promised nothing to anybody", f->who->self->name);
        else
            snprintf(text, sizeof text, "%s has promised epoch %" PRIu64 " to %s, not to %.64s",
                     f->who->self->name, promised.number, promised.member, to);
        answer(f, client, 1, text);
        return;
    }
    if (promised_drop(f->who, f->pool, "walferry failover --break-promise") < 0) {
        answer(f, client, 1, fail_message());
        return;
    }
    snprintf(text, sizeof text, "what %s had promised to %s for epoch %" PRIu64 " is given up",
             f->who->self->name, promised.member, promised.number);
    answer(f, client, 0, text);
}

/* By that process, which Ctrl-C ends; 0: by a command of its own. */
static void
request_cancel(struct failover *f, uint64_t client, int64_t by)
{
    bool others = by != 0 && by != f->asker;
    struct epoch promised = f->pool->promised;
    char text[320];

    if (f->phase != FAILOVER_IDLE && f->phase != FAILOVER_RUNNING && !others) {
        cancel(f, "walferry failover --cancel");
        snprintf(text, sizeof text, "cancelled; %s", unchanged(f));
        answer(f, client, 0, text);
        return;
    }
    if (f->pool->step != FAILOVER_NONE || f->phase == FAILOVER_RUNNING)
        snprintf(text, sizeof text,
                 "it cannot be cancelled any more: epoch %" PRIu64 " is on disk; %s",
                 f->pool->epoch.number,
                 f->phase == FAILOVER_IDLE ? "walferry failover finishes it" : "it goes on");
    else if (f->phase != FAILOVER_IDLE)
        snprintf(text, sizeof text, "the failover that runs here is of another command: %s",
                 "walferry failover --cancel ends it");
    else if (promised.number == 0)
        snprintf(text, sizeof text, "no failover is running; %s is %s, of epoch %" PRIu64,
                 f->who->self->name, role_name(f->who->role), f->pool->epoch.number);
    else
        snprintf(text, sizeof text,
                 "no failover is running here; epoch %" PRIu64
                 " is promised to %s, where one runs. "
                 "If %s is gone: walferry failover --break-promise %s",
                 promised.number, promised.member, promised.member, promised.member);
    answer(f, client, 1, text);
}

/* Another command, while a failover asks or prepares: force or dead, typed now, overrules what it
 * waits for, and its command gets the lines from here on. */
static void
join(struct failover *f, uint64_t client, int64_t asker, const struct failover_wish *wish,
     int64_t now_us)
{
    if (f->phase == FAILOVER_RUNNING || f->wish.dry_run || !(wish->force || wish->dead)) {
        answer(f, client, 1,
               "a failover is running already: walferry failover --cancel ends it while it asks "
               "and prepares, --force overrules what it waits for");
        return;
    }
    if (wish->dry_run) {
        answer(f, client, 0, "a failover is running: this would overrule what it waits for");
        return;
    }
    say(f, "it goes on for another command: walferry failover%s%s", wish->force ? " --force" : "",
        wish->dead ? " --dead" : "");
    control_done(f->control, f->client, 1);
    f->client = client;
    f->asker = asker;
    f->wish.force |= wish->force;
    f->wish.dead |= wish->dead;
    f->own.forced |= wish->force;
    if (wish->force && (f->phase == FAILOVER_ASKING || f->phase == FAILOVER_RESCUING))
        f->since_us = now_us - OVERRULED_US;
}

void
failover_request(struct failover *f, uint64_t client, const json_t *request, int64_t now_us)
{
    bool force = json_is_true(json_object_get(request, "force")),
         dead = json_is_true(json_object_get(request, "dead")),
         dry_run = json_is_true(json_object_get(request, "dry_run"));
    int64_t asker = json_integer_value(json_object_get(request, "pid"));
    const char *to = json_string_value(json_object_get(request, "break_promise"));

    if (json_is_true(json_object_get(request, "cancel"))) {
        request_cancel(f, client, asker);
        return;
    }
    if (to != NULL) {
        break_promise(f, client, to);
        return;
    }
    if (f->phase != FAILOVER_IDLE) {
        join(f, client, asker,
             &(struct failover_wish){.force = force, .dead = dead, .dry_run = dry_run}, now_us);
        return;
    }
    *f = (struct failover){
        .who = f->who,
        .pool = f->pool,
        .asks = f->asks,
        .out = f->out,
        .in = f->in,
        .control = f->control,
        .loop = f->loop,
        .client = client,
        .asker = asker,
        .wish = {.force = force,
                 .dead = dead,
                 .dry_run = dry_run,
                 .reclaim = json_is_true(json_object_get(request, "reclaim")),
                 .epoch = (uint64_t)json_integer_value(json_object_get(request, "epoch"))},
        .started_us = now_us,
        .begun_us = now_us,
        .since_us = now_us};
    f->phase = FAILOVER_WAITING;
}

static void
tell_plan(struct failover *f)
{
    if (f->wish.reclaim)
        say(f,
            "would do: epoch %" PRIu64 " for %s, which overrules %s and its epoch %" PRIu64
            "; slots for the members that come back%s. Nothing was changed",
            f->pool->epoch.number + 1, f->who->self->name, f->pool->epoch.member,
            f->pool->epoch.number,
            postgres_sample(f->who->postgres)->in_recovery ? "; promote from where it stands" : "");
    else
        say(f,
            "would do: epoch %" PRIu64
            " for %s; %s; wait until its PostgreSQL has flushed all up to " LSN_FORMAT
            "; slots for the members that come back; promote. Nothing was changed",
            f->wish.epoch != 0 ? f->wish.epoch : f->pool->epoch.number + 1, f->who->self->name,
            f->who->config->synchronous != SYNCHRONOUS_OFF ? "empty synchronous_standby_names"
                                                           : "no synchronous commit to switch off",
            LSN_ARGS(f->in->spool.written));
}

static void
begin_steps(struct failover *f, int64_t now_us)
{
    bool spent = f->pool->step != FAILOVER_NONE;

    if (!ready_to_promote(f)) /* no more? */
        return;
    if (f->resumes)
        say(f,
            "loss: as it was when epoch %" PRIu64
            " began (%s), and all that %s has committed since",
            f->pool->epoch.number, f->pool->loss, f->former);
    else if (!spent)
        tell_loss(f, now_us);
    if (f->wish.dry_run) {
        if (!spent)
            tell_plan(f);
        control_done(f->control, f->client, 0);
        f->phase = FAILOVER_IDLE;
        return;
    }
    steps_begin(f, now_us);
}

static void
run_waiting(struct failover *f, int64_t now_us)
{
    enum postgres_state state = postgres_state(f->who->postgres);
    int64_t patience_us = state == POSTGRES_STARTING ? STARTING_US : DOWN_US;

    if (state != POSTGRES_UP && f->who->role != ROLE_FENCED && now_us - f->started_us < patience_us)
        return;
    if (done_already(f, now_us))
        return;
    if (f->pool->epoch.number == 0 && f->wish.epoch == 0 && now_us - f->started_us < EPOCH_US)
        return; /* the others are asked (ask.h) */
    if (!ready_to_promote(f))
        return;
    f->since_us = now_us;
    if (f->pool->step != FAILOVER_NONE) {
        say(f, "going on with the failover of epoch %" PRIu64 " at step %d of %d",
            f->pool->epoch.number, (int)f->pool->step, (int)FAILOVER_PROMOTE);
        f->resumes = postgres_sample(f->who->postgres)->in_recovery;
        f->wish.reclaim = judge_reclaims(f->pool);
        if (!f->resumes) {
            begin_steps(f, now_us);
            return;
        }
    }
    asking_begin(f, f->resumes, now_us);
    KILL_POINT("failover:1");
}

static void
run_asking(struct failover *f, int64_t now_us)
{
    switch (asking_run(f, now_us)) {
    case ASKED_WAITS:
        break;
    case ASKED_REFUSED:
        if (f->wish.rescue_failed)
            tell_loss(f, now_us);
        stop(f, "%s", f->refusal);
        break;
    case ASKED_GOES_ON:
        if (f->again)
            begin_steps(f, now_us);
        else
            prepare_begin(f, now_us);
        break;
    }
}

static void
run_preparing(struct failover *f, int64_t now_us)
{
    enum prepared verdict;

    if (f->who->role == ROLE_FENCED &&
        !ready_to_promote(f)) /* promoted meanwhile by somebody else */
        return;
    if (asking_overtaken(f)) {
        stop(f, "%s", f->refusal);
        return;
    }
    verdict = prepare_run(f, now_us);
    if (asking_news(f)) /* another word of the primary: from the beginning */
        asking_begin(f, false, now_us);
    else if (verdict == PREPARED && (f->wish.dry_run || f->wish.reclaim))
        begin_steps(f, now_us);
    else if (verdict == PREPARED) {
        asking_begin(f, true, now_us);
        KILL_POINT("failover:4");
    } else if (verdict != PREPARED_NOT_YET)
        stop(f, "%s", f->refusal);
}

bool
failover_finish(struct failover *f, int64_t now_us)
{
    lsn_t fork;

    if (f->phase != FAILOVER_IDLE || now_us < f->retry_us)
        return false;
    f->retry_us = now_us + RETRY_US;
    if (!judge_reclaims(f->pool) && !steps_fork(f, &fork))
        return false;
    f->client = 0;
    say(f, "going on alone with the failover of epoch %" PRIu64 ": PostgreSQL is %s",
        f->pool->epoch.number, judge_reclaims(f->pool) ? "writable" : "promoted");
    f->wish = (struct failover_wish){0};
    f->phase = FAILOVER_RUNNING;
    f->entered = f->command_asked = f->ended = false;
    f->begun_us = f->since_us = now_us;
    return true;
}

/* The agent was stopped, or its host was. What was heard before, and a silence, are of another time. */
static void
ask_anew(struct failover *f, int64_t now_us)
{
    bool paused = f->ran_us != 0 && now_us - f->ran_us >= PAUSED_US;

    f->ran_us = now_us;
    if (!paused || f->phase < FAILOVER_ASKING || f->phase > FAILOVER_PREPARING)
        return;
    say(f, "this agent was stopped meanwhile: all are asked anew");
    f->first_asked_us = now_us;
    f->has_word = f->silent = f->loss_known = f->wish.rescue_failed = false;
    fetch_stop(&f->fetch);
    asking_begin(f, f->resumes, now_us);
}

void
failover_run(struct failover *f, int64_t now_us)
{
    enum failover_phase phase;

    ask_anew(f, now_us);
    if (f->phase != FAILOVER_RUNNING && !control_listens(f->control, f->client)) {
        cancel(f, "the command that asked for it has ended");
        return;
    }
    do { /* a phase that is over leads to the next one at once */
        phase = f->phase;
        switch (phase) {
        case FAILOVER_IDLE:
            return;
        case FAILOVER_WAITING:
            run_waiting(f, now_us);
            break;
        case FAILOVER_ASKING:
        case FAILOVER_RESCUING:
            run_asking(f, now_us);
            break;
        case FAILOVER_PREPARING:
            run_preparing(f, now_us);
            break;
        case FAILOVER_RUNNING:
            steps_run(f, now_us);
            return;
        }
    } while (f->phase != phase);
}

void
failover_watch(const struct failover *f, struct loop *l)
{
    fetch_watch(&f->fetch, l);
    loop_due(l, f->phase == FAILOVER_IDLE ? NEVER_US : clock_us() + TURN_US);
}

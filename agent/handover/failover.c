/*
 * failover: this member becomes the primary because a DBA says so.
 *
 * The agent's half asks the primary, ships what a dead one left behind, then goes through the
 * journal's steps, each of which may be killed and done again: epoch on disk, synchronous commit
 * off, drain, slots, promote. It waits for states with deadlines and tells the asking command every
 * line; a step that cannot be done ends with the reason and the next command, the journal stays.
 *
 * The command's half shows what would be lost, asks, and shows the lines.
 */
#include "daemon/agent.h"
#include "commands/command.h"
#include "pool/receipt.h"
#include "control/show.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DOWN_US     (2 * SECOND_US) /* for a try to connect, and one more */
#define STARTING_US (10 * SECOND_US)
#define ASK_US      (3 * SECOND_US)  /* of silence: then it counts as an answer */
#define ASK_MAX_US  (30 * SECOND_US) /* a slow line: the PONG comes behind the WAL on its way */
#define RESCUE_US   (15 * SECOND_US) /* without progress */
#define SETTING_US  (5 * SECOND_US)
#define DRAIN_US    (30 * SECOND_US) /* without progress */
#define SLOT_US     (5 * SECOND_US)
#define PROMOTE_US  (60 * SECOND_US)
#define TURN_US     (10 * MILLISECOND_US)

static void say(struct agent *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void stop(struct agent *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
say(struct agent *a, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_info("failover: %s", text);
    control_text(&a->control, a->failover.client, "%s", text);
}

/* Refused, or cannot go on: the journal stays where it is. */
static void
stop(struct agent *a, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_warning("failover: %s", text);
    control_text(&a->control, a->failover.client, "%s", text);
    control_done(&a->control, a->failover.client, 1);
    a->failover.phase = FAILOVER_IDLE;
}

static const char *
start_command(const struct agent *a, char *out, size_t size)
{
    if (a->who.self->start[0] != '\0')
        snprintf(out, size, "%s", a->who.self->start);
    else
        snprintf(out, size, "%s/pg_ctl -D %s start", a->who.self->bindir, a->who.self->pgdata);
    return out;
}

static bool
ready_to_promote(struct agent *a)
{
    const struct postgres_sample *s = postgres_sample(a->who.postgres);
    char command[600];

    if (postgres_state(a->who.postgres) == POSTGRES_STARTING) {
        stop(a,
             "refused: the PostgreSQL of %s is still starting up; run this again when it answers",
             a->who.self->name);
        return false;
    }
    if (postgres_state(a->who.postgres) != POSTGRES_UP || s == NULL) {
        stop(a,
             "refused: the PostgreSQL of %s is not answering (%s); start it and run this again: %s",
             a->who.self->name, postgres_reason(a->who.postgres),
             start_command(a, command, sizeof command));
        return false;
    }
    if (!s->in_recovery && a->who.pool.step == FAILOVER_NONE) {
        stop(a, "refused: the PostgreSQL of %s is a primary already", a->who.self->name);
        return false;
    }
    if (a->who.role != ROLE_STANDBY && a->who.role != ROLE_PROMOTING) {
        stop(a, "refused: %s is %s, only a standby can take over; %s", a->who.self->name,
             role_name(a->who.role),
             a->who.alarm[0] != '\0' ? a->who.alarm : "see walferry status");
        return false;
    }
    if (a->in.spool.damaged) {
        stop(a, "refused: %s", a->in.error);
        return false;
    }
    return true;
}

/* What a failover now would lose, from what is known here. */
static void
tell_loss(struct agent *a, int64_t now_us)
{
    const struct receiver *r = &a->in.receiver;
    char age[32], when[40], *loss = a->failover.loss;
    size_t size = sizeof a->failover.loss;
    int64_t primary_us, age_us;

    if (a->failover.loss_known)
        snprintf(loss, size, "none; everything that %s had in pg_wal is here", r->from);
    else if (!receiver_primary_us(r, now_us, &primary_us) ||
             !lag_age(&r->flushed, primary_us, &age_us))
        snprintf(loss, size, "unknown; no beacon of the primary was ever covered here");
    else
        snprintf(
            loss, size,
            "at most what was committed in the last %s: everything before %s (primary's clock) "
            "is here",
            text_duration(age, sizeof age, age_us),
            text_time(when, sizeof when, r->flushed.covered.wall_us));
    say(a, "loss: %s", loss);
}

/* What is known now, for `walferry lost`; the member that lost completes it when it rejoins. */
static void
write_receipt(const struct agent *a, const char *former)
{
    char when[40];
    json_t *receipt = json_pack(
        "{s:I s:s s:s s:s s:s s:b}", "epoch", (json_int_t)a->who.pool.epoch.number, "primary",
        a->who.self->name, "former", former, "began", text_time(when, sizeof when, clock_wall_us()),
        "at_most", a->failover.loss, "exact", 0);

    if (receipt_save(a->who.self->spool, receipt) < 0)
        log_warning("%s", fail_message());
    json_decref(receipt);
}

void
failover_request(struct agent *a, uint64_t client, const json_t *request, int64_t now_us)
{
    struct failover *f = &a->failover;

    if (f->phase != FAILOVER_IDLE) {
        control_text(&a->control, client, "a failover is running already");
        control_done(&a->control, client, 1);
        return;
    }
    *f = (struct failover){.client = client,
                           .wish.force = json_is_true(json_object_get(request, "force")),
                           .wish.dry_run = json_is_true(json_object_get(request, "dry_run")),
                           .started_us = now_us,
                           .begun_us = now_us,
                           .since_us = now_us};
    f->phase = FAILOVER_WAITING;
}

static void
ask(struct agent *a, int64_t now_us)
{
    a->failover.phase = FAILOVER_ASKING;
    a->failover.asked_us = now_us;
    receiver_ping(&a->in.receiver, now_us);
    inlet_push(&a->in.inlet);
}

/* To the steps. */
static void
begin_running(struct failover *f, int64_t now_us)
{
    f->phase = FAILOVER_RUNNING;
    f->ask_us = now_us - f->begun_us;
    f->begun_us = f->since_us = now_us;
}

static void
run_waiting(struct agent *a, int64_t now_us)
{
    struct failover *f = &a->failover;
    enum postgres_state state = postgres_state(a->who.postgres);
    int64_t patience_us = state == POSTGRES_STARTING ? STARTING_US : DOWN_US;

    if (state != POSTGRES_UP && now_us - f->started_us < patience_us)
        return;
    if (!ready_to_promote(a))
        return;
    f->since_us = now_us;
    if (a->who.pool.step != FAILOVER_NONE) {
        say(a, "going on with the failover of epoch %" PRIu64 " at step %d of %d",
            a->who.pool.epoch.number, (int)a->who.pool.step, (int)FAILOVER_PROMOTE);
        begin_running(f, now_us);
        if (f->wish.dry_run) {
            f->phase = FAILOVER_IDLE;
            control_done(&a->control, f->client, 0);
        }
        return;
    }
    ask(a, now_us);
}

static void
begin_steps(struct agent *a, int64_t now_us)
{
    struct failover *f = &a->failover;

    tell_loss(a, now_us);
    if (f->wish.dry_run) {
        say(a,
            "would do: epoch %" PRIu64
            " for %s; %s; wait until its PostgreSQL has flushed all up to " LSN_FORMAT
            "; slots for the members that come back; promote. Nothing was changed",
            a->who.pool.epoch.number + 1, a->who.self->name,
            a->who.config->synchronous ? "empty synchronous_standby_names"
                                       : "no synchronous commit to switch off",
            LSN_ARGS(a->in.spool.written));
        control_done(&a->control, f->client, 0);
        f->phase = FAILOVER_IDLE;
        return;
    }
    begin_running(f, now_us);
}

/* What the primary's agent said of its PostgreSQL, and what follows from that. */
static void
say_answer(struct agent *a)
{
    const struct failover_wish *wish = &a->failover.wish;
    const struct receiver *r = &a->in.receiver;

    switch (r->postgres) {
    case PONG_POSTGRES_ANSWERS:
        if (wish->force)
            say(a,
                "the primary %s answers; going on because of --force: it stays writable until it is stopped, "
                "and what it commits from now on will be lost",
                r->from);
        else
            say(a, "the primary %s answers: without --force this would be refused", r->from);
        break;
    case PONG_POSTGRES_DEAD:
        if (wish->rescue_failed)
            break;
        if (wish->dry_run)
            say(a,
                "the PostgreSQL of %s is dead, its agent lives: what is left in its pg_wal would be shipped "
                "first, then nothing is lost",
                r->from);
        else
            say(a,
                "the PostgreSQL of %s is dead, its agent lives: shipping what is left in its pg_wal",
                r->from);
        break;
    case PONG_POSTGRES_SILENT:
        say(a, "the agent of %s answers, its PostgreSQL does not, though its postmaster is there",
            r->from);
        break;
    case PONG_POSTGRES_UNKNOWN:
        break;
    }
}

static void
begin_rescue(struct agent *a, int64_t now_us)
{
    a->failover.phase = FAILOVER_RESCUING;
    a->failover.since_us = now_us;
    a->failover.rescued = a->in.spool.written;
    receiver_ask_drain(&a->in.receiver);
    inlet_push(&a->in.inlet);
}

/* Nothing was said: is the silence long enough to be an answer? */
static void
wait_for_answer(struct agent *a, int64_t now_us)
{
    struct failover *f = &a->failover;
    const struct receiver *r = &a->in.receiver;
    char ago[32];

    if (receiver_live(r) && now_us - f->asked_us < ASK_MAX_US &&
        now_us - (r->heard_us > f->asked_us ? r->heard_us : f->asked_us) < ASK_US)
        return;
    if (inlet_behind(&a->in.inlet) && now_us - f->asked_us < ASK_MAX_US)
        return; /* its last words wait for our disk */
    if (r->heard_us == 0)
        say(a, "the primary does not answer and was not heard of since this agent started");
    else
        say(a,
            "the primary %s does not answer; last heard of %s ago. A cut line looks the same from here: make sure "
            "that it is not serving clients",
            r->from, text_duration(ago, sizeof ago, now_us - r->heard_us));
    begin_steps(a, now_us);
}

/* The primary is asked now: its agent answers only for a PostgreSQL that it reaches. */
static void
run_asking(struct agent *a, int64_t now_us)
{
    struct failover *f = &a->failover;
    const struct receiver *r = &a->in.receiver;
    bool answered = receiver_live(r) && r->postgres_us >= f->asked_us;

    switch (judge_answer(answered ? r->postgres : PONG_POSTGRES_UNKNOWN, &f->wish)) {
    case ANSWER_WAIT:
        wait_for_answer(a, now_us);
        break;
    case ANSWER_REFUSE:
        stop(
            a,
            "refused: the primary %s answers, its PostgreSQL accepts connections. If it must go all the "
            "same, stop it first, or run: walferry failover --force",
            r->from);
        break;
    case ANSWER_RESCUE:
        say_answer(a);
        begin_rescue(a, now_us);
        break;
    case ANSWER_GO_ON:
        say_answer(a);
        begin_steps(a, now_us);
        break;
    }
}

static void
run_rescuing(struct agent *a, int64_t now_us)
{
    struct failover *f = &a->failover;
    struct receiver *r = &a->in.receiver;

    if (receiver_live(r) &&
        (r->postgres == PONG_POSTGRES_ANSWERS || r->postgres == PONG_POSTGRES_SILENT)) {
        if (f->wish.force)
            begin_steps(a, now_us);
        else
            stop(
                a,
                "refused: the PostgreSQL of %s was started again meanwhile. If it must go all the same, "
                "stop it first, or run: walferry failover --force",
                r->from);
        return;
    }
    if (a->in.spool.written > f->rescued) {
        f->rescued = a->in.spool.written;
        f->since_us = now_us;
    }
    if (r->drained && r->drained_done) {
        if (a->in.spool.flushed < r->drained_end && now_us - f->since_us < RESCUE_US)
            return;
        f->loss_known = a->in.spool.flushed >= r->drained_end;
    } else if (r->drained) {
        say(a, "%s cannot ship the rest: %s", r->from, r->drained_reason);
        f->wish.rescue_failed = true;
        ask(a, now_us); /* is it still dead? */
        return;
    } else if (receiver_live(r)) { /* it says in the end that it has shipped all, or why not */
        if (now_us - f->since_us < RESCUE_US)
            return;
        f->since_us = now_us;
        if (!f->wish.force) {
            say(a, "%s still looks for the end of its pg_wal; with --force it is not waited for",
                r->from);
            return;
        }
        say(a, "%s still looks for the end of its pg_wal: not waited for", r->from);
    } else {
        say(a, "%s stopped answering while it shipped the rest", r->from);
    }
    begin_steps(a, now_us);
}

/* ---- the journal's steps: each true when it is done ---- */

static bool
step_epoch(struct agent *a, int64_t now_us)
{
    struct epoch_origin origin = {.epoch = {.number = a->who.pool.epoch.number + 1}};
    struct pool before = a->who.pool;

    (void)now_us;
    snprintf(origin.epoch.member, sizeof origin.epoch.member, "%s", a->who.self->name);
    pool_adopt(&a->who.pool, &origin, clock_wall_us());
    a->who.pool.step = FAILOVER_EPOCH;
    if (who_save_pool(&a->who) < 0) {
        a->who.pool = before;
        stop(a, "refused: %s", fail_message());
        return false;
    }
    write_receipt(a, before.epoch.member);
    receiver_tell_pool(&a->in.receiver, &origin); /* a living former primary hears it at once */
    inlet_end(&a->in.inlet, "failover: this member is the primary from now on");
    return true;
}

static bool
step_exposed(struct agent *a, int64_t now_us)
{
    struct failover *f = &a->failover;
    const struct postgres_sample *s = postgres_sample(a->who.postgres);
    static const char empty[] = "synchronous_standby_names = ''\n";
    const char *error;

    if (!f->entered) {
        f->entered = true;
        if (durable_replace(a->in.spool.dir, "walferry.conf", empty, sizeof empty - 1) < 0) {
            stop(a, "cannot write %s/walferry.conf: %s; mend that and run this again",
                 a->in.spool.path, strerror(errno));
            return false;
        }
        if (s->synchronous_standby_names[0] == '\0')
            return true;
        say(a, "runs exposed: synchronous_standby_names is emptied");
    }
    if (!f->command_asked)
        f->command_asked = postgres_ask(a->who.postgres, POSTGRES_RELOAD, NULL);
    else if (postgres_done(a->who.postgres, &error) && error != NULL)
        say(a, "PostgreSQL does not reload its settings: %s", error);
    if (s->synchronous_standby_names[0] == '\0')
        return true;
    if (now_us - f->since_us < SETTING_US)
        return false;
    say(a,
        "synchronous_standby_names is still '%s': it is set elsewhere than in %s/walferry.conf; commits will wait "
        "until you empty it",
        s->synchronous_standby_names, a->in.spool.path);
    return true;
}

static bool
step_drain(struct agent *a, int64_t now_us)
{
    struct failover *f = &a->failover;
    const struct postgres_sample *s = postgres_sample(a->who.postgres);
    struct relay_standby standby;
    lsn_t flushed;
    const char *error;

    if (worker_busy(&a->in.flusher) || a->in.spool.clearing)
        return false;
    if (!f->entered) {
        if (!spool_empty(&a->in.spool) && spool_trust_tail(&a->in.spool) < 0) {
            stop(a, "%s; mend that and run this again", fail_message());
            return false;
        }
        f->entered = true;
        relay_push(&a->in.relay, now_us);
    }
    if (s->replay_paused && !f->command_asked) {
        f->command_asked = postgres_ask(a->who.postgres, POSTGRES_REPLAY_RESUME, NULL);
        if (f->command_asked)
            say(a, "replay was paused: resumed");
    } else if (f->command_asked && postgres_done(a->who.postgres, &error) && error != NULL) {
        stop(a, "replay is paused and cannot be resumed: %s", error);
        return false;
    }
    relay_standby(&a->in.relay, &standby);
    flushed = standby.connected ? standby.flush : LSN_UNKNOWN;
    if (s->flush > flushed) /* pg_last_wal_receive_lsn, which is flushed WAL */
        flushed = s->flush;
    if (s->replay > flushed)
        flushed = s->replay;
    if (spool_empty(&a->in.spool) || flushed >= a->in.spool.available)
        return true;
    if (flushed > f->drain_to) {
        f->drain_to = flushed;
        f->since_us = now_us;
    }
    if (now_us - f->since_us >= DRAIN_US)
        stop(a,
             "the PostgreSQL of %s has flushed WAL up to " LSN_FORMAT
             ", the spool holds it up to " LSN_FORMAT
             ", and nothing moves%s; nothing was promoted, run this again when that is mended",
             a->who.self->name, LSN_ARGS(flushed), LSN_ARGS(a->in.spool.available),
             standby.connected
                 ? ""
                 : ": its walreceiver does not connect to the relay (see primary_conninfo)");
    return false;
}

/* Without slots the WAL since the fork would be recycled before the others come back. */
static bool
step_slots(struct agent *a, int64_t now_us)
{
    struct failover *f = &a->failover;
    const char *error;

    if (f->command_asked && postgres_done(a->who.postgres, &error)) {
        if (error != NULL)
            say(a, "no slot for %s: %s", a->out.link[f->next_member].member, error);
        f->command_asked = false;
        f->next_member++;
        f->since_us = now_us;
    }
    if (f->next_member == a->out.links)
        return true;
    if (!f->command_asked)
        f->command_asked =
            postgres_ask(a->who.postgres, POSTGRES_MAKE_SLOT, a->out.slot_name[f->next_member]);
    if (now_us - f->since_us >= SLOT_US) {
        say(a, "no slot for %s: PostgreSQL does not answer in time",
            a->out.link[f->next_member].member);
        return true;
    }
    return false;
}

/* Where the new timeline forked, by its own history file. */
static void
note_fork(struct agent *a)
{
    const struct postgres_sample *s = postgres_sample(a->who.postgres);
    struct pool_change *change = &a->who.pool.change[a->who.pool.changes - 1];
    static char text[HISTORY_BYTES_MAX + 1];
    char path[512], name[HISTORY_NAME_SIZE];
    timeline_t parent = a->who.pool.timeline;
    ssize_t got;
    int dir;

    change->origin.timeline = s->timeline;
    snprintf(path, sizeof path, "%s/pg_wal", a->who.self->pgdata);
    if (durable_dir(path, &dir) < 0)
        return;
    history_name(name, s->timeline);
    got = durable_load(dir, name, text, sizeof text);
    if (got >= 0 && parent != 0)
        history_switch_point(text, (size_t)got, parent, &change->origin.fork);
    durable_close(dir);
    a->who.pool.timeline = s->timeline;
}

static bool
step_promote(struct agent *a, int64_t now_us)
{
    struct failover *f = &a->failover;
    const struct postgres_sample *s = postgres_sample(a->who.postgres);
    const char *error;
    char left[32];

    if (!f->entered) {
        f->entered = true;
        f->replayed = LSN_UNKNOWN;
        f->moved_us = f->said_us = now_us;
    }
    if (s->replay > f->replayed) { /* all that is here comes before the promotion */
        f->replayed = s->replay;
        f->moved_us = now_us;
    }
    if (!s->in_recovery && postgres_state(a->who.postgres) == POSTGRES_UP)
        return true;
    if (!f->command_asked) {
        f->command_asked = postgres_ask(a->who.postgres, POSTGRES_PROMOTE, NULL);
    } else if (postgres_done(a->who.postgres, &error) && error != NULL) {
        stop(a, "PostgreSQL refuses to promote: %s", error);
        return false;
    }
    if (now_us - f->said_us >= PROMOTE_US / 4 && f->replayed < a->in.spool.flushed) {
        f->said_us = now_us;
        say(a, "PostgreSQL replays, then it is promoted: %s left",
            text_bytes(left, sizeof left, a->in.spool.flushed - f->replayed));
    }
    if (now_us - f->moved_us >= PROMOTE_US)
        stop(
            a,
            "PostgreSQL was told to promote and is still in recovery, without progress for %d s; see "
            "its log, and whether a query blocks its replay (pg_stat_activity), and run this again",
            (int)(PROMOTE_US / SECOND_US));
    return false;
}

static void
finish(struct agent *a, int64_t now_us)
{
    struct failover *f = &a->failover;
    char whole[32], asking[32], part[FAILOVER_PROMOTE + 1][32];
    const struct epoch_origin *origin;

    note_fork(a);
    a->who.pool.step = FAILOVER_NONE;
    if (who_save_pool(&a->who) < 0) {
        stop(a, "promoted, but %s; run this again when that is mended", fail_message());
        return;
    }
    a->who.role = ROLE_PRIMARY;
    f->step_us[FAILOVER_EPOCH] += f->step_us[FAILOVER_NONE]; /* which has written it */
    for (int i = FAILOVER_EPOCH; i <= FAILOVER_PROMOTE; i++)
        text_duration(part[i], sizeof part[i], f->step_us[i]);
    origin = &a->who.pool.change[a->who.pool.changes - 1].origin;
    say(a, "done: %s is the primary of epoch %" PRIu64 ", timeline %u, forked at " LSN_FORMAT,
        a->who.self->name, a->who.pool.epoch.number, origin->timeline, LSN_ARGS(origin->fork));
    say(a,
        "it took %s: asking and rescue %s, epoch %s, synchronous commit %s, drain %s, slots %s, "
        "promote %s",
        text_duration(whole, sizeof whole, now_us - f->started_us),
        text_duration(asking, sizeof asking, f->ask_us), part[FAILOVER_EPOCH],
        part[FAILOVER_EXPOSED], part[FAILOVER_DRAIN], part[FAILOVER_SLOTS], part[FAILOVER_PROMOTE]);
    control_done(&a->control, f->client, 0);
    f->phase = FAILOVER_IDLE;
}

static void
run_steps(struct agent *a, int64_t now_us)
{
    struct failover *f = &a->failover;

    /* a step that is done leads to the next one at once: no timer between them */
    while (f->phase == FAILOVER_RUNNING) {
        enum failover_step step = a->who.pool.step;
        bool done = false;

        if (postgres_sample(a->who.postgres) == NULL)
            return;
        switch (step) {
        case FAILOVER_NONE:
            done = step_epoch(a, now_us);
            break;
        case FAILOVER_EPOCH:
            done = true; /* what it says is on disk; the inlet looks at it for every HELLO */
            break;
        case FAILOVER_EXPOSED:
            done = step_exposed(a, now_us);
            break;
        case FAILOVER_DRAIN:
            done = step_drain(a, now_us);
            break;
        case FAILOVER_SLOTS:
            done = step_slots(a, now_us);
            break;
        case FAILOVER_PROMOTE:
            done = step_promote(a, now_us);
            break;
        }
        if (!done)
            return;
        now_us = clock_us();
        f->step_us[step] += now_us - f->begun_us;
        f->begun_us = f->since_us = now_us;
        f->entered = f->command_asked = false;
        if (step == FAILOVER_PROMOTE) {
            finish(a, now_us);
            return;
        }
        if (step == FAILOVER_NONE)
            continue; /* step_epoch has written FAILOVER_EPOCH */
        a->who.pool.step = failover_after(step);
        if (who_save_pool(&a->who) < 0)
            stop(a, "%s; mend that and run this again", fail_message());
    }
}

void
failover_run(struct agent *a, int64_t now_us)
{
    switch (a->failover.phase) {
    case FAILOVER_IDLE:
        return;
    case FAILOVER_WAITING:
        run_waiting(a, now_us);
        break;
    case FAILOVER_ASKING:
        run_asking(a, now_us);
        break;
    case FAILOVER_RESCUING:
        run_rescuing(a, now_us);
        break;
    case FAILOVER_RUNNING:
        break;
    }
    if (a->failover.phase == FAILOVER_RUNNING)
        run_steps(a, now_us);
}

int64_t
failover_due_us(const struct agent *a)
{
    return a->failover.phase == FAILOVER_IDLE ? NEVER_US : clock_us() + TURN_US;
}

/* ---- the command ---- */

static bool
confirmed(const struct member *self)
{
    char answer[64];

    printf("Promote %s? Type its name: ", self->name);
    fflush(stdout);
    if (fgets(answer, sizeof answer, stdin) == NULL)
        return false;
    answer[strcspn(answer, "\n")] = '\0';
    return strcmp(answer, self->name) == 0;
}

static json_t *
make_request(const struct options *options, bool dry_run)
{
    return json_pack("{s:s s:b s:b}", "command", "failover", "force", options->force, "dry_run",
                     dry_run);
}

int
command_failover(const struct config *config, const struct member *self,
                 const struct options *options)
{
    int code;

    (void)config;
    if (!options->yes && !options->dry_run) {
        if (!isatty(STDIN_FILENO)) {
            fprintf(
                stderr,
                "walferry failover: there is no terminal to ask on; use --yes, or --dry-run to see\n");
            return 2;
        }
        code = control_ask(self->run, make_request(options, true), show_line, NULL);
        if (code != 0)
            goto out;
        if (!confirmed(self)) {
            printf("nothing was changed\n");
            return 1;
        }
    }
    code = control_ask(self->run, make_request(options, options->dry_run), show_line, NULL);
out:
    if (code < 0) {
        fprintf(
            stderr,
            "walferry failover: %s; start the agent of %s first (systemctl start walferry@%s), then run "
            "this again\n",
            fail_message(), self->name, config->name);
        return 1;
    }
    return code;
}

/* SPDX-License-Identifier: PostgreSQL */
/* See failover.h. */
#include "handover/failover.h"
#include "pool/receipt.h"

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
#define ASK_US      (3 * SECOND_US)  /* of silence: then silence is the answer */
#define ASK_MAX_US  (30 * SECOND_US) /* a slow line: the PONG comes behind the WAL on its way */
#define RESCUE_US   (15 * SECOND_US) /* without progress */
#define SETTING_US  (5 * SECOND_US)
#define DRAIN_US    (30 * SECOND_US) /* without progress */
#define SLOT_US     (5 * SECOND_US)
#define PROMOTE_US  (60 * SECOND_US)
#define TURN_US     (10 * MILLISECOND_US)

static void say(struct failover *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void stop(struct failover *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
say(struct failover *f, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_info("failover: %s", text);
    control_text(f->control, f->client, "%s", text);
}

/* Refused, or cannot go on: the journal stays where it is. */
static void
stop(struct failover *f, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_warning("failover: %s", text);
    control_text(f->control, f->client, "%s", text);
    control_done(f->control, f->client, 1);
    f->phase = FAILOVER_IDLE;
}

static const char *
start_command(const struct failover *f, char *out, size_t size)
{
    if (f->who->self->start[0] != '\0')
        snprintf(out, size, "%s", f->who->self->start);
    else
        snprintf(out, size, "%s/pg_ctl -D %s start", f->who->self->bindir, f->who->self->pgdata);
    return out;
}

static bool
ready_to_promote(struct failover *f)
{
    const struct postgres_sample *s = postgres_sample(f->who->postgres);
    char command[600];

    if (postgres_state(f->who->postgres) == POSTGRES_STARTING) {
        stop(f,
             "refused: the PostgreSQL of %s is still starting up; run this again when it answers",
             f->who->self->name);
        return false;
    }
    if (postgres_state(f->who->postgres) != POSTGRES_UP || s == NULL) {
        stop(f,
             "refused: the PostgreSQL of %s is not answering (%s); start it and run this again: %s",
             f->who->self->name, postgres_reason(f->who->postgres),
             start_command(f, command, sizeof command));
        return false;
    }
    if (!s->in_recovery && f->pool->step == FAILOVER_NONE) {
        stop(f, "refused: the PostgreSQL of %s is a primary already", f->who->self->name);
        return false;
    }
    if (f->who->role != ROLE_STANDBY && f->who->role != ROLE_PROMOTING) {
        stop(f, "refused: %s is %s, only a standby can take over; %s", f->who->self->name,
             role_name(f->who->role),
             f->who->alarm[0] != '\0' ? f->who->alarm : "see walferry status");
        return false;
    }
    if (f->in->spool.damaged) {
        stop(f, "refused: %s", f->in->error);
        return false;
    }
    return true;
}

/* What a failover now would lose, from what is known here. */
static void
tell_loss(struct failover *f, int64_t now_us)
{
    const struct receiver *r = &f->in->receiver;
    char age[32], when[40], *loss = f->loss;
    size_t size = sizeof f->loss;
    int64_t primary_us, age_us;

    if (f->loss_known)
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
    say(f, "loss: %s", loss);
}

/* What is known now, for `walferry lost`; the member that lost completes it when it rejoins. */
static void
write_receipt(const struct failover *f, const char *former)
{
    char when[40];
    json_t *receipt =
        json_pack("{s:I s:s s:s s:s s:s s:b}", "epoch", (json_int_t)f->pool->epoch.number,
                  "primary", f->who->self->name, "former", former, "began",
                  text_time(when, sizeof when, clock_wall_us()), "at_most", f->loss, "exact", 0);

    if (receipt_save(f->who->self->spool, receipt) < 0)
        log_warning("%s", fail_message());
    json_decref(receipt);
}

void
failover_init(struct failover *f, const struct who *who, struct pool *pool, struct outgoing *out,
              struct incoming *in, struct control *control)
{
    *f = (struct failover){.who = who, .pool = pool, .out = out, .in = in, .control = control};
}

void
failover_request(struct failover *f, uint64_t client, const json_t *request, int64_t now_us)
{
    if (f->phase != FAILOVER_IDLE) {
        control_text(f->control, client, "a failover is running already");
        control_done(f->control, client, 1);
        return;
    }
    *f = (struct failover){.who = f->who,
                           .pool = f->pool,
                           .out = f->out,
                           .in = f->in,
                           .control = f->control,
                           .client = client,
                           .wish.force = json_is_true(json_object_get(request, "force")),
                           .wish.dry_run = json_is_true(json_object_get(request, "dry_run")),
                           .started_us = now_us,
                           .begun_us = now_us,
                           .since_us = now_us};
    f->phase = FAILOVER_WAITING;
}

static void
ask(struct failover *f, int64_t now_us)
{
    f->phase = FAILOVER_ASKING;
    f->asked_us = now_us;
    receiver_ping(&f->in->receiver, now_us);
    inlet_push(&f->in->inlet);
}

/* The questions are over, the journal's steps begin. */
static void
begin_running(struct failover *f, int64_t now_us)
{
    f->phase = FAILOVER_RUNNING;
    f->ask_us = now_us - f->begun_us;
    f->begun_us = f->since_us = now_us;
}

static void
run_waiting(struct failover *f, int64_t now_us)
{
    enum postgres_state state = postgres_state(f->who->postgres);
    int64_t patience_us = state == POSTGRES_STARTING ? STARTING_US : DOWN_US;

    if (state != POSTGRES_UP && now_us - f->started_us < patience_us)
        return;
    if (!ready_to_promote(f))
        return;
    f->since_us = now_us;
    if (f->pool->step != FAILOVER_NONE) {
        say(f, "going on with the failover of epoch %" PRIu64 " at step %d of %d",
            f->pool->epoch.number, (int)f->pool->step, (int)FAILOVER_PROMOTE);
        begin_running(f, now_us);
        if (f->wish.dry_run) {
            f->phase = FAILOVER_IDLE;
            control_done(f->control, f->client, 0);
        }
        return;
    }
    ask(f, now_us);
}

static void
begin_steps(struct failover *f, int64_t now_us)
{
    tell_loss(f, now_us);
    if (f->wish.dry_run) {
        say(f,
            "would do: epoch %" PRIu64
            " for %s; %s; wait until its PostgreSQL has flushed all up to " LSN_FORMAT
            "; slots for the members that come back; promote. Nothing was changed",
            f->pool->epoch.number + 1, f->who->self->name,
            f->who->config->synchronous ? "empty synchronous_standby_names"
                                        : "no synchronous commit to switch off",
            LSN_ARGS(f->in->spool.written));
        control_done(f->control, f->client, 0);
        f->phase = FAILOVER_IDLE;
        return;
    }
    begin_running(f, now_us);
}

/* What the primary's agent said of its PostgreSQL, and what follows from that. */
static void
say_answer(struct failover *f)
{
    const struct failover_wish *wish = &f->wish;
    const struct receiver *r = &f->in->receiver;

    switch (r->postgres) {
    case PONG_POSTGRES_ANSWERS:
        if (wish->force)
            say(f,
                "the primary %s answers; going on because of --force: it stays writable until it is stopped, "
                "and what it commits from now on will be lost",
                r->from);
        else
            say(f, "the primary %s answers: without --force this would be refused", r->from);
        break;
    case PONG_POSTGRES_DEAD:
        if (wish->rescue_failed)
            break;
        if (wish->dry_run)
            say(f,
                "the PostgreSQL of %s is dead, its agent lives: what is left in its pg_wal would be shipped "
                "first, then nothing is lost",
                r->from);
        else
            say(f,
                "the PostgreSQL of %s is dead, its agent lives: shipping what is left in its pg_wal",
                r->from);
        break;
    case PONG_POSTGRES_SILENT:
        say(f, "the agent of %s answers, its PostgreSQL does not, though its postmaster is there",
            r->from);
        break;
    case PONG_POSTGRES_UNKNOWN:
        break;
    }
}

static void
begin_rescue(struct failover *f, int64_t now_us)
{
    f->phase = FAILOVER_RESCUING;
    f->since_us = now_us;
    f->rescued = f->in->spool.written;
    receiver_ask_drain(&f->in->receiver);
    inlet_push(&f->in->inlet);
}

/* Nothing was said: is the silence long enough to be an answer? */
static void
wait_for_answer(struct failover *f, int64_t now_us)
{
    const struct receiver *r = &f->in->receiver;
    char ago[32];

    if (receiver_live(r) && now_us - f->asked_us < ASK_MAX_US &&
        now_us - (r->heard_us > f->asked_us ? r->heard_us : f->asked_us) < ASK_US)
        return;
    if (inlet_behind(&f->in->inlet) && now_us - f->asked_us < ASK_MAX_US)
        return; /* the primary's last words wait for our disk */
    if (r->heard_us == 0)
        say(f, "the primary does not answer and was not heard of since this agent started");
    else
        say(f,
            "the primary %s does not answer; last heard of %s ago. A cut line looks the same from here: make sure "
            "that it is not serving clients",
            r->from, text_duration(ago, sizeof ago, now_us - r->heard_us));
    begin_steps(f, now_us);
}

/* The primary is asked now: its agent answers only for a PostgreSQL that it reaches. */
static void
run_asking(struct failover *f, int64_t now_us)
{
    const struct receiver *r = &f->in->receiver;
    bool answered = receiver_live(r) && r->postgres_us >= f->asked_us;

    switch (judge_answer(answered ? r->postgres : PONG_POSTGRES_UNKNOWN, &f->wish)) {
    case ANSWER_WAIT:
        wait_for_answer(f, now_us);
        break;
    case ANSWER_REFUSE:
        stop(
            f,
            "refused: the primary %s answers, its PostgreSQL accepts connections. If it must go all the "
            "same, stop it first, or run: walferry failover --force",
            r->from);
        break;
    case ANSWER_RESCUE:
        say_answer(f);
        begin_rescue(f, now_us);
        break;
    case ANSWER_GO_ON:
        say_answer(f);
        begin_steps(f, now_us);
        break;
    }
}

static void
run_rescuing(struct failover *f, int64_t now_us)
{
    struct receiver *r = &f->in->receiver;

    if (receiver_live(r) &&
        (r->postgres == PONG_POSTGRES_ANSWERS || r->postgres == PONG_POSTGRES_SILENT)) {
        if (f->wish.force)
            begin_steps(f, now_us);
        else
            stop(
                f,
                "refused: the PostgreSQL of %s was started again meanwhile. If it must go all the same, "
                "stop it first, or run: walferry failover --force",
                r->from);
        return;
    }
    if (f->in->spool.written > f->rescued) {
        f->rescued = f->in->spool.written;
        f->since_us = now_us;
    }
    if (r->drained && r->drained_done) {
        if (f->in->spool.flushed < r->drained_end && now_us - f->since_us < RESCUE_US)
            return;
        f->loss_known = f->in->spool.flushed >= r->drained_end;
    } else if (r->drained) {
        say(f, "%s cannot ship the rest: %s", r->from, r->drained_reason);
        f->wish.rescue_failed = true;
        ask(f, now_us); /* is PostgreSQL there still dead? */
        return;
    } else if (receiver_live(r)) { /* the far agent will say that it has shipped all, or why not */
        if (now_us - f->since_us < RESCUE_US)
            return;
        f->since_us = now_us;
        if (!f->wish.force) {
            say(f, "%s still looks for the end of its pg_wal; with --force it is not waited for",
                r->from);
            return;
        }
        say(f, "%s still looks for the end of its pg_wal: not waited for", r->from);
    } else {
        say(f, "%s stopped answering while it shipped the rest", r->from);
    }
    begin_steps(f, now_us);
}

/* ---- the journal's steps: each true when it is done ---- */

static bool
step_epoch(struct failover *f, int64_t now_us)
{
    struct epoch_origin origin = {.epoch = {.number = f->pool->epoch.number + 1}};
    struct pool before = *f->pool;

    (void)now_us;
    snprintf(origin.epoch.member, sizeof origin.epoch.member, "%s", f->who->self->name);
    pool_adopt(f->pool, &origin, clock_wall_us());
    f->pool->step = FAILOVER_EPOCH;
    if (who_save_pool(f->who) < 0) {
        *f->pool = before;
        stop(f, "refused: %s", fail_message());
        return false;
    }
    write_receipt(f, before.epoch.member);
    receiver_tell_pool(&f->in->receiver, &origin); /* a living former primary hears it at once */
    inlet_end(&f->in->inlet, "failover: this member is the primary from now on");
    return true;
}

static bool
step_exposed(struct failover *f, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(f->who->postgres);
    static const char empty[] = "synchronous_standby_names = ''\n";
    const char *error;

    if (!f->entered) {
        f->entered = true;
        if (durable_replace(f->in->spool.dir, "walferry.conf", empty, sizeof empty - 1) < 0) {
            stop(f, "cannot write %s/walferry.conf: %s; mend that and run this again",
                 f->in->spool.path, strerror(errno));
            return false;
        }
        if (s->synchronous_standby_names[0] == '\0')
            return true;
        say(f, "runs exposed: synchronous_standby_names is emptied");
    }
    if (!f->command_asked)
        f->command_asked = postgres_ask(f->who->postgres, POSTGRES_RELOAD, NULL);
    else if (postgres_done(f->who->postgres, &error) && error != NULL)
        say(f, "PostgreSQL does not reload its settings: %s", error);
    if (s->synchronous_standby_names[0] == '\0')
        return true;
    if (now_us - f->since_us < SETTING_US)
        return false;
    say(f,
        "synchronous_standby_names is still '%s': it is set elsewhere than in %s/walferry.conf; commits will wait "
        "until you empty it",
        s->synchronous_standby_names, f->in->spool.path);
    return true;
}

static bool
step_drain(struct failover *f, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(f->who->postgres);
    struct relay_standby standby;
    lsn_t flushed;
    const char *error;

    if (worker_busy(&f->in->flusher) || f->in->spool.clearing)
        return false;
    if (!f->entered) {
        if (!spool_empty(&f->in->spool) && spool_trust_tail(&f->in->spool) < 0) {
            stop(f, "%s; mend that and run this again", fail_message());
            return false;
        }
        f->entered = true;
        relay_push(&f->in->relay, now_us);
    }
    if (s->replay_paused && !f->command_asked) {
        f->command_asked = postgres_ask(f->who->postgres, POSTGRES_REPLAY_RESUME, NULL);
        if (f->command_asked)
            say(f, "replay was paused: resumed");
    } else if (f->command_asked && postgres_done(f->who->postgres, &error) && error != NULL) {
        stop(f, "replay is paused and cannot be resumed: %s", error);
        return false;
    }
    relay_standby(&f->in->relay, &standby);
    flushed = standby.connected ? standby.flush : LSN_UNKNOWN;
    if (s->flush > flushed) /* pg_last_wal_receive_lsn, which is flushed WAL */
        flushed = s->flush;
    if (s->replay > flushed)
        flushed = s->replay;
    if (spool_empty(&f->in->spool) || flushed >= f->in->spool.available)
        return true;
    if (flushed > f->drain_to) {
        f->drain_to = flushed;
        f->since_us = now_us;
    }
    if (now_us - f->since_us >= DRAIN_US)
        stop(f,
             "the PostgreSQL of %s has flushed WAL up to " LSN_FORMAT
             ", the spool holds it up to " LSN_FORMAT
             ", and nothing moves%s; nothing was promoted, run this again when that is mended",
             f->who->self->name, LSN_ARGS(flushed), LSN_ARGS(f->in->spool.available),
             standby.connected
                 ? ""
                 : ": its walreceiver does not connect to the relay (see primary_conninfo)");
    return false;
}

/* Without slots the WAL since the fork would be recycled before the others come back. */
static bool
step_slots(struct failover *f, int64_t now_us)
{
    const char *error;

    if (f->command_asked && postgres_done(f->who->postgres, &error)) {
        if (error != NULL)
            say(f, "no slot for %s: %s", f->out->link[f->next_member].member, error);
        f->command_asked = false;
        f->next_member++;
        f->since_us = now_us;
    }
    if (f->next_member == f->out->links)
        return true;
    if (!f->command_asked)
        f->command_asked =
            postgres_ask(f->who->postgres, POSTGRES_MAKE_SLOT, f->out->slot_name[f->next_member]);
    if (now_us - f->since_us >= SLOT_US) {
        say(f, "no slot for %s: PostgreSQL does not answer in time",
            f->out->link[f->next_member].member);
        return true;
    }
    return false;
}

/* Where the new timeline forked, by its own history file. */
static void
note_fork(struct failover *f)
{
    const struct postgres_sample *s = postgres_sample(f->who->postgres);
    struct pool_change *change = &f->pool->change[f->pool->changes - 1];
    static char text[HISTORY_BYTES_MAX + 1];
    char path[512], name[HISTORY_NAME_SIZE];
    timeline_t parent = f->pool->timeline;
    ssize_t got;
    int dir;

    change->origin.timeline = s->timeline;
    snprintf(path, sizeof path, "%s/pg_wal", f->who->self->pgdata);
    if (durable_dir(path, &dir) < 0)
        return;
    history_name(name, s->timeline);
    got = durable_load(dir, name, text, sizeof text);
    if (got >= 0 && parent != 0)
        history_switch_point(text, (size_t)got, parent, &change->origin.fork);
    durable_close(dir);
    f->pool->timeline = s->timeline;
}

static bool
step_promote(struct failover *f, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(f->who->postgres);
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
    if (!s->in_recovery && postgres_state(f->who->postgres) == POSTGRES_UP)
        return true;
    if (!f->command_asked) {
        f->command_asked = postgres_ask(f->who->postgres, POSTGRES_PROMOTE, NULL);
    } else if (postgres_done(f->who->postgres, &error) && error != NULL) {
        stop(f, "PostgreSQL refuses to promote: %s", error);
        return false;
    }
    if (now_us - f->said_us >= PROMOTE_US / 4 && f->replayed < f->in->spool.flushed) {
        f->said_us = now_us;
        say(f, "PostgreSQL replays, then it is promoted: %s left",
            text_bytes(left, sizeof left, f->in->spool.flushed - f->replayed));
    }
    if (now_us - f->moved_us >= PROMOTE_US)
        stop(
            f,
            "PostgreSQL was told to promote and is still in recovery, without progress for %d s; see "
            "its log, and whether a query blocks its replay (pg_stat_activity), and run this again",
            (int)(PROMOTE_US / SECOND_US));
    return false;
}

static void
finish(struct failover *f, int64_t now_us)
{
    char whole[32], asking[32], part[FAILOVER_PROMOTE + 1][32];
    const struct epoch_origin *origin;

    note_fork(f);
    f->pool->step = FAILOVER_NONE;
    if (who_save_pool(f->who) < 0) {
        stop(f, "promoted, but %s; run this again when that is mended", fail_message());
        return;
    }
    f->step_us[FAILOVER_EPOCH] += f->step_us[FAILOVER_NONE]; /* that turn has written the epoch */
    for (int i = FAILOVER_EPOCH; i <= FAILOVER_PROMOTE; i++)
        text_duration(part[i], sizeof part[i], f->step_us[i]);
    origin = &f->pool->change[f->pool->changes - 1].origin;
    say(f, "done: %s is the primary of epoch %" PRIu64 ", timeline %u, forked at " LSN_FORMAT,
        f->who->self->name, f->pool->epoch.number, origin->timeline, LSN_ARGS(origin->fork));
    say(f,
        "it took %s: asking and rescue %s, epoch %s, synchronous commit %s, drain %s, slots %s, "
        "promote %s",
        text_duration(whole, sizeof whole, now_us - f->started_us),
        text_duration(asking, sizeof asking, f->ask_us), part[FAILOVER_EPOCH],
        part[FAILOVER_EXPOSED], part[FAILOVER_DRAIN], part[FAILOVER_SLOTS], part[FAILOVER_PROMOTE]);
    control_done(f->control, f->client, 0);
    f->phase = FAILOVER_IDLE;
}

static void
run_steps(struct failover *f, int64_t now_us)
{
    /* a step that is done leads to the next one at once: no timer between them */
    while (f->phase == FAILOVER_RUNNING) {
        enum failover_step step = f->pool->step;
        bool done = false;

        if (postgres_sample(f->who->postgres) == NULL)
            return;
        switch (step) {
        case FAILOVER_NONE:
            done = step_epoch(f, now_us);
            break;
        case FAILOVER_EPOCH:
            done = true; /* the epoch is on disk; every HELLO is compared with it */
            break;
        case FAILOVER_EXPOSED:
            done = step_exposed(f, now_us);
            break;
        case FAILOVER_DRAIN:
            done = step_drain(f, now_us);
            break;
        case FAILOVER_SLOTS:
            done = step_slots(f, now_us);
            break;
        case FAILOVER_PROMOTE:
            done = step_promote(f, now_us);
            break;
        }
        if (!done)
            return;
        now_us = clock_us();
        f->step_us[step] += now_us - f->begun_us;
        f->begun_us = f->since_us = now_us;
        f->entered = f->command_asked = false;
        if (step == FAILOVER_PROMOTE) {
            finish(f, now_us);
            return;
        }
        if (step == FAILOVER_NONE)
            continue; /* step_epoch has written FAILOVER_EPOCH */
        f->pool->step = failover_after(step);
        if (who_save_pool(f->who) < 0)
            stop(f, "%s; mend that and run this again", fail_message());
    }
}

void
failover_run(struct failover *f, int64_t now_us)
{
    switch (f->phase) {
    case FAILOVER_IDLE:
        return;
    case FAILOVER_WAITING:
        run_waiting(f, now_us);
        break;
    case FAILOVER_ASKING:
        run_asking(f, now_us);
        break;
    case FAILOVER_RESCUING:
        run_rescuing(f, now_us);
        break;
    case FAILOVER_RUNNING:
        break;
    }
    if (f->phase == FAILOVER_RUNNING)
        run_steps(f, now_us);
}

int64_t
failover_due_us(const struct failover *f)
{
    return f->phase == FAILOVER_IDLE ? NEVER_US : clock_us() + TURN_US;
}

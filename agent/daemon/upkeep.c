/* SPDX-License-Identifier: PostgreSQL */
/*
 * Once a second: what is wrong now, what is kept over a restart, what nobody needs any more, files
 * to the other site, slots and settings of the server. And once an hour what a rejoin has kept.
 */
#include "daemon/agent.h"
#include "jobs/escrow.h"
#include "links/commits.h"
#include "pool/receipt.h"
#include "retention/slot.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ESCROW_US (3600 * SECOND_US)
#define BOOTED_US (300 * SECOND_US) /* by then a host that boots has the right time */
#define LAG_FILE  "lag"

static void
job_note(void *job)
{
    struct note *n = job;

    (void)durable_replace(n->dir, n->name, n->text, n->length); /* again in a second */
}

/* Remove what a rejoin has kept when its time is over; not while a rejoin is under way. */
static void
job_escrow(void *job)
{
    const struct member *self = *(const struct member **)job;
    char journal[sizeof self->spool + 16];

    snprintf(journal, sizeof journal, "%s/rejoin.job", self->spool);
    if (access(journal, F_OK) < 0)
        escrow_prune(self->spool, self->escrow_keep_us, clock_wall_us());
}

static void
note_lag(struct note *n, const struct lag_record *record)
{
    char boot_id[BOOT_ID_SIZE];

    clock_boot_id(boot_id);
    if (record->flushed.lsn != LSN_UNKNOWN)
        n->length += lag_record_save(record, boot_id, n->text + n->length);
}

/* The newest covered beacons, once a second, so that lag goes on growing over a restart. */
static void
save_lag(struct agent *a)
{
    struct note *n = &a->note;

    worker_done(&a->state_writer);
    if (worker_busy(&a->state_writer) || conditions_save(&a->conditions, &a->state_writer))
        return;
    if (clock_us() >= a->escrow_due_us) {
        a->escrow_due_us = clock_us() + ESCROW_US;
        worker_submit(&a->state_writer, job_escrow, &a->who.self);
        return;
    }
    *n = (struct note){.dir = a->in.spool.dir, .name = LAG_FILE};
    for (size_t i = 0; a->who.role == ROLE_PRIMARY && i < a->out.links; i++) {
        const struct link *l = &a->out.link[i];
        struct lag_record record = {.flushed = l->sender.flushed.covered,
                                    .applied = l->sender.applied.covered};

        snprintf(record.primary, sizeof record.primary, "%s", a->who.self->name);
        snprintf(record.member, sizeof record.member, "%s", l->member);
        note_lag(n, &record);
    }
    if (a->who.role == ROLE_STANDBY && !a->in.unproven) {
        struct lag_record record;

        receiver_record(&a->in.receiver, &record);
        note_lag(n, &record);
    }
    if (n->length > 0)
        worker_submit(&a->state_writer, job_note, n);
}

static int64_t
epoch_began_us(const struct pool *p)
{
    return p->changes > 0 ? p->change[p->changes - 1].wall_us : 0;
}

static void
remember_lag(struct agent *a, const struct lag_record *record)
{
    struct link *l = outgoing_to(&a->out, record->member);

    if (strcmp(record->primary, a->who.self->name) != 0) {
        receiver_remember(&a->in.receiver, record, clock_us());
    } else if (l != NULL && record->flushed.wall_us >= epoch_began_us(&a->who.pool)) {
        /* else of an earlier epoch */
        l->sender.received.covered = l->sender.flushed.covered = record->flushed;
        l->sender.applied.covered = record->applied;
    }
}

static void
load_lag(struct agent *a)
{
    char text[sizeof a->note.text], boot_id[BOOT_ID_SIZE], *line = text;
    struct lag_record record;

    clock_boot_id(boot_id);
    if (durable_load(a->in.spool.dir, LAG_FILE, text, sizeof text) < 0)
        return;
    while (line[0] != '\0' &&
           lag_record_load(&record, line, boot_id, clock_us(), clock_wall_us())) {
        remember_lag(a, &record);
        line += strcspn(line, "\n");
        line += line[0] == '\n';
    }
}

void
upkeep_look(struct agent *a)
{
    a->looked = postgres_state(a->who.postgres) != POSTGRES_UP &&
                control_file_start(a->who.self->pgdata, &a->start) == 0;
}

void
upkeep_open(struct agent *a)
{
    a->escrow_due_us = BOOTED_US;
    if (receipt_save_failover(a->who.self->spool, &a->who.pool) < 0)
        log_warning("%s", fail_message());
    load_lag(a);
}

/* Files outside the WAL, both ways over every link that is up, and every quiet session. */
static int
file_to_quiet(void *out, const struct frame *f)
{
    return frame_put(out, f);
}

static int
file_to_receiver(void *link, const struct frame *f)
{
    return sender_tell(&((struct link *)link)->sender, f);
}

static int
file_to_sender(void *receiver, const struct frame *f)
{
    return receiver_file(receiver, f);
}

static void
send_files(struct agent *a)
{
    for (size_t i = 0; i < a->out.links; i++) {
        struct link *l = &a->out.link[i];
        int64_t since_us;
        struct buf *out = quiets_out(&a->quiets, l->member, &since_us);

        if (l->state == LINK_SHIPPING)
            site_files_send(&a->site, i, l->since_us, file_to_receiver, l);
        else if (out != NULL)
            site_files_send(&a->site, i, since_us, file_to_quiet, out);
    }
    if (receiver_live(&a->in.receiver))
        site_files_send(&a->site, SITE_FILES_PEERS_MAX, a->in.inlet.since_us, file_to_sender,
                        &a->in.receiver);
}

/* When a role comes again, nothing is known of the time when this member had it before. */
static void
forget_role(struct agent *a, enum role over)
{
    if (over == ROLE_PRIMARY)
        for (size_t i = 0; i < a->out.links; i++)
            sender_forget(&a->out.link[i].sender);
    if (over == ROLE_STANDBY && !receiver_live(&a->in.receiver)) /* a living link tells of now */
        receiver_forget(&a->in.receiver);
    rates_forget_wal(&a->rates);
}

/* Something is wrong here, or nobody ships to this standby: does another member know more? */
static bool
is_in_doubt(const struct agent *a)
{
    return a->who.role == ROLE_FENCED || a->who.alarm[0] != '\0' ||
           (a->who.role == ROLE_STANDBY && !receiver_live(&a->in.receiver));
}

void
upkeep_run(struct agent *a, int64_t now_us, int64_t wall_us)
{
    const struct identity *identity = postgres_identity(a->who.postgres);
    const char *error;

    upkeep_look(a); /* standby.signal may come and go */
    if (a->left_unsaved)
        a->left_unsaved = who_set_pool(&a->who, &a->who.pool, &a->who.pool) < 0;
    if (a->who.role == ROLE_PRIMARY && identity->system_identifier != 0 &&
        a->who.alarm[0] == '\0' && spool_adopt(&a->in.spool, identity) < 0)
        log_warning("%s", fail_message());
    if (conditions_settle(&a->conditions, a->who.role, now_us))
        forget_role(a, a->conditions.role_before);
    replay_look(a);
    rates_look(&a->rates, &a->out, &a->in, now_us);
    conditions_look(&a->conditions, &a->view, now_us, wall_us);
    news_run(a);
    save_lag(a);
    incoming_prune(&a->in, wall_us);
    send_files(a);
    http_keep(&a->http, now_us);
    if (a->failover.phase == FAILOVER_IDLE) {
        if (postgres_done(a->who.postgres, &error) && error != NULL)
            log_warning("PostgreSQL refused: %s", error);
        slot_keep(&a->out, &a->gaps, a->guard.release.slot);
        commits_keep(&a->out);
    }
    if (is_in_doubt(a))
        asks_want_all(&a->asks);
    routes_keep(a, now_us, wall_us);
    asks_keep(&a->asks, now_us);
    backfill_keep(&a->backfill, now_us);
}

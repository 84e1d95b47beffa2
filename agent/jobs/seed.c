/* SPDX-License-Identifier: PostgreSQL */
/*
 * seed: this host's first copy of the database, or a new one.
 *
 * pg_basebackup runs here, through a tunnel to the nearest member that can give a copy (giver.h),
 * without WAL; a standby that fails meanwhile is replaced by the next one. The spool receives the
 * WAL from the slot, which is made before the copy begins, and a hold keeps all of it until the new
 * standby follows. (Where the archive of that server takes nothing, the copy brings WAL: without,
 * pg_basebackup would wait for the archive.) The copy is made and verified beside the data
 * directory. Then PostgreSQL is stopped, the two directories change places, and PostgreSQL is
 * started as a standby of the local relay. The old directory stays beside the new one until the new
 * standby follows.
 *
 * The journal has the step that is being done. Killed while it copies, the same command begins
 * again; killed later, it goes on. A half made copy never lies where it could be started.
 */
#include "jobs/seed.h"

#include "jobs/base_backup.h"
#include "jobs/datadir.h"
#include "jobs/divergence.h"
#include "jobs/follow.h"
#include "jobs/giver.h"
#include "jobs/job.h"
#include "jobs/primary.h"
#include "jobs/server.h"
#include "jobs/settings.h"
#include "jobs/standby_settings.h"
#include "jobs/status.h"
#include "pool/receipt.h"
#include "postgres/control_file.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/text.h"
#include "shipper/wal/hold.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REACH_US (30 * SECOND_US) /* for the agent's link and tunnel */
#define TURN_MS  250

enum step { STEP_COPY, STEP_VERIFY, STEP_SETTINGS, STEP_SWAP, STEP_START, STEP_FOLLOW, STEP_CLEAN };

#define STEPS (STEP_CLEAN + 1)

static const char *const step_name[STEPS] = {"copy",  "verify", "settings", "swap",
                                             "start", "follow", "clean"};

struct seed {
    struct job job;
    const struct seed_request *request;
    struct datadir d;
    struct base_backup backup;
    struct divergence p; /* ... of the data here, and the connection to the primary */
    char *from;          /* the primary's name, in p */
    struct giver giver;  /* who gives the copy */
    json_int_t epoch;    /* the primary's */
    json_t *receipt;     /* of what --discard destroys; NULL: nothing */
    bool shown;          /* ... the DBA has seen it */
    bool size_known;
    uint64_t base_bytes, whole_bytes;
    enum step step; /* that is being done */
    lsn_t hold;
    int64_t step_us[STEPS], started_us;
};

/* ---- what the agent knows ---- */

static int
ask_agent(const struct seed *s, json_t **ret_status)
{
    if (status_ask(&s->job, ret_status) < 0)
        return fail_in(ERR_PEER, "start the agent of %s first (systemctl start walferry@%s)",
                       s->job.self->name, s->job.config->name);
    return 0;
}

static void
rest(void)
{
    poll(NULL, 0, TURN_MS);
}

/* A copy is made on no primary, and on no member whose spool takes nothing. */
static int
check_role(const struct seed *s, const json_t *status)
{
    const char *role = status_text(status, "role", NULL);
    const struct member *m = s->job.self;

    if (strcmp(role, "primary") == 0 || strcmp(role, "promoting") == 0)
        return fail(ERR_USAGE,
                    "refused: %s is %s, its data is the pool's; a copy is made on another member",
                    m->name, strcmp(role, "primary") == 0 ? "the primary" : "becoming the primary");
    if (json_is_true(status_at(status, "receiving", "restored")) &&
        !(s->request->discard && s->request->dry_run))
        return fail(ERR_USAGE,
                    "refused: the primary was restored to an older state, and the spool here has "
                    "WAL that it lacks; walferry failover here keeps it, with --discard it is "
                    "destroyed");
    if (json_is_string(status_at(status, "spool", "error")))
        return fail(ERR_USAGE, "refused: the spool takes no WAL: %s",
                    status_text(status, "spool", "error"));
    return 0;
}

/* The pool may have changed since the copy began. 0; ERR_AGAIN: the copy is of no use. */
static int
check_copy(const struct seed *s)
{
    json_t *status = NULL;
    int code = ask_agent(s, &status);

    if (code < 0)
        return code;
    code = check_role(s, status);
    if (code == 0 && (strcmp(status_text(status, "epoch", "member"), s->from) != 0 ||
                      json_integer_value(status_at(status, "epoch", "number")) != s->epoch))
        code = fail(ERR_AGAIN, "the copy is of %s, and %s became the primary since", s->from,
                    status_text(status, "epoch", "member"));
    json_decref(status);
    return code;
}

/* --discard: WAL that a primary which was restored lacks goes before its copy is made, for the copy
 * and that WAL do not belong together. */
static int
discard_spool(struct seed *s)
{
    json_t *status;
    int code = ask_agent(s, &status);
    bool restored;

    if (code < 0)
        return code;
    restored = json_is_true(status_at(status, "receiving", "restored"));
    if (restored && s->request->discard && !s->request->dry_run) {
        job_say(&s->job,
                "%s was restored to an older state; only here, and destroyed for good: its WAL up "
                "to %s",
                status_text(status, "receiving", "from"), status_text(status, "spool", "flushed"));
        if (job_consent(&s->job, s->request->yes, "Destroy it?") != 0)
            code = fail(ERR_LOCAL, "the spool stays as it is");
        if (code == 0)
            code = job_renew_hold(&s->job, 1); /* all, until it is known what the copy needs */
        if (code == 0)
            code = status_renew_spool(&s->job);
    }
    json_decref(status);
    return code;
}

/* Wait until the agent receives: what the primary writes from now on has to get here. */
static int
wait_for_link(struct seed *s)
{
    int64_t begun_us = clock_us();
    bool said = false;

    for (;;) {
        const char *refused;
        json_t *status;
        int code = ask_agent(s, &status);
        bool up;

        if (code < 0)
            return code;
        code = check_role(s, status);
        up = strcmp(status_text(status, "receiving", "state"), "up") == 0;
        snprintf(s->from, MEMBER_NAME_SIZE, "%s", status_text(status, "epoch", "member"));
        s->epoch = json_integer_value(status_at(status, "epoch", "number"));
        if (code == 0 && (s->request->discard || s->request->kept) && !s->request->dry_run)
            code = status_cut_spool(&s->job, status);
        refused = status_refused(status_at(status, "receiving", NULL), clock_us() - begun_us);
        if (code == 0 && refused != NULL)
            code = fail(ERR_PEER, "no WAL comes from the primary, its link is refused here: %s",
                        refused);
        if (code == 0 && !up && clock_us() >= begun_us + REACH_US)
            code = fail(ERR_PEER, "no WAL comes from the primary: %s",
                        json_is_string(status_at(status, "receiving", "reason"))
                            ? status_text(status, "receiving", "reason")
                            : "is its agent running, and may it log in here by SSH?");
        json_decref(status);
        if (code < 0 || up)
            return code;
        if (!said)
            job_say(&s->job, "waiting for the link from the primary");
        said = true;
        rest();
    }
}

/* ---- what the primary knows ---- */

static int
reach_primary(struct seed *s)
{
    int64_t until_us = clock_us() + REACH_US;

    for (;;) {
        int code = divergence_connect(&s->p);

        if (code == 0 || clock_us() >= until_us)
            return code;
        rest();
    }
}

static void
read_version(void *context, const char *line)
{
    int *major = context;

    if (*major == 0)
        sscanf(line, "pg_basebackup (PostgreSQL) %d", major);
}

static int
check_primary(struct seed *s)
{
    const char *const argv[] = {"pg_basebackup", "--version", NULL};
    PGresult *r = primary_query(s->p.connection,
                                "select pg_catalog.pg_is_in_recovery()::text, "
                                "pg_catalog.current_setting('server_version_num')",
                                NULL);
    int ours = 0, theirs, code;

    if (r == NULL)
        return ERR_PEER;
    theirs = atoi(PQgetvalue(r, 0, 1)) / 10000;
    code = strcmp(PQgetvalue(r, 0, 0), "false") == 0
               ? 0
               : fail(ERR_PEER, "the PostgreSQL of %s is in recovery, it is no primary", s->from);
    PQclear(r);
    if (code == 0)
        code = job_run(&s->job, argv, read_version, &ours);
    if (code == 0 && ours != theirs)
        code = fail(ERR_USAGE,
                    "refused: %s has PostgreSQL %d, %s here has %d; install %d and set bindir",
                    s->from, theirs, s->job.self->bindir, ours, theirs);
    return code;
}

/* Sizes, and where the tablespaces go. Without pg_monitor the sizes are unknown. */
static int
place_tablespaces(struct seed *s)
{
    PGresult *r = primary_query(
        s->p.connection,
        "select oid, pg_catalog.pg_tablespace_location(oid), pg_catalog.pg_tablespace_size(oid) "
        "from pg_catalog.pg_tablespace",
        NULL);
    int code = 0;

    s->size_known = r != NULL;
    if (r == NULL)
        r = primary_query(s->p.connection,
                          "select oid, pg_catalog.pg_tablespace_location(oid), 0 "
                          "from pg_catalog.pg_tablespace",
                          NULL);
    if (r == NULL)
        return ERR_PEER;
    for (int i = 0; i < PQntuples(r) && code == 0; i++) {
        const char *from = PQgetvalue(r, i, 1);
        uint64_t bytes = strtoull(PQgetvalue(r, i, 2), NULL, 10);

        s->whole_bytes += bytes;
        if (from[0] == '/')
            code = datadir_place(&s->d, PQgetvalue(r, i, 0), from, bytes, s->request->map);
        else
            s->base_bytes += bytes;
    }
    PQclear(r);
    return code;
}

/* From here on no WAL that the copy needs is removed, on the primary or here. */
static int
ready_wal(struct seed *s)
{
    char slot[SLOT_NAME_SIZE];
    lsn_t restart = LSN_UNKNOWN;
    int code;

    config_slot_name(slot, s->job.self->name);
    code = primary_slot(s->p.connection, s->from, slot, &restart);
    if (code == 0)
        code = primary_position(s->p.connection, s->from, &s->hold);
    if (code == 0)
        code = job_renew_hold(&s->job, s->hold);
    if (code == 0)
        code = status_ready_spool(&s->job, s->from, restart);
    return code > 0 ? wait_for_link(s) : code;
}

/* ---- the journal ---- */

static int
save_step(struct seed *s)
{
    char hold[LSN_TEXT_SIZE];
    json_t *spaces = json_array();
    json_t *journal;
    int code;

    snprintf(hold, sizeof hold, LSN_FORMAT, LSN_ARGS(s->hold));
    for (size_t i = 0; i < s->d.tablespaces; i++)
        json_array_append_new(spaces, json_pack("{s:s s:s}", "oid", s->d.tablespace[i].oid, "at",
                                                s->d.tablespace[i].at));
    journal = json_pack("{s:s s:s s:s s:I s:s s:o}", "step", step_name[s->step], "pgdata", s->d.at,
                        "from", s->from, "epoch", s->epoch, "hold", hold, "tablespaces", spaces);
    code = job_save(&s->job, journal);
    json_decref(journal);
    return code;
}

static int
load_spaces(struct seed *s, const json_t *spaces)
{
    const json_t *one;
    size_t i;

    if (json_array_size(spaces) > TABLESPACES_MAX)
        return ERR_CORRUPT;
    json_array_foreach (spaces, i, one) {
        struct tablespace *t = &s->d.tablespace[i];

        snprintf(t->oid, sizeof t->oid, "%s", status_text(one, "oid", NULL));
        snprintf(t->at, sizeof t->at, "%s", status_text(one, "at", NULL));
    }
    s->d.tablespaces = json_array_size(spaces);
    return 0;
}

/* STEP_COPY when there is nothing to go on with. */
static int
load_step(struct seed *s)
{
    json_t *journal = NULL;
    enum step step = STEP_COPY;
    int code = job_load(&s->job, &journal);

    if (code == ERR_AGAIN)
        return 0;
    if (code < 0)
        return code;
    while (step < STEPS && strcmp(status_text(journal, "step", NULL), step_name[step]) != 0)
        step++;
    if (step == STEPS)
        code = fail(ERR_CORRUPT, "%s/seed.job names no step; move it away", s->job.self->spool);
    else if (step != STEP_COPY)
        code = datadir_init(&s->d, status_text(journal, "pgdata", NULL));
    if (code == 0 && step != STEP_COPY &&
        (load_spaces(s, json_object_get(journal, "tablespaces")) < 0 ||
         !lsn_parse(status_text(journal, "hold", NULL), &s->hold)))
        code = fail(ERR_CORRUPT, "%s/seed.job is damaged; move it away", s->job.self->spool);
    snprintf(s->from, MEMBER_NAME_SIZE, "%s", status_text(journal, "from", NULL));
    s->epoch = json_integer_value(status_at(journal, "epoch", NULL));
    json_decref(journal);
    s->step = step;
    return code;
}

/* ---- the copy ---- */

/* Who gives it is known: its server is asked what the copy has to know. */
static int
prepare_copy(struct seed *s)
{
    bool primary = s->giver.member == NULL;

    s->backup.from = s->giver.member;
    return base_backup_prepare(&s->backup, primary ? s->p.connection : s->giver.connection);
}

static int
copy_once(struct seed *s)
{
    int code = giver_ready(&s->giver, s->p.connection, s->from);

    if (code == 0)
        code = prepare_copy(s);
    if (code == 0)
        code = datadir_begin(&s->d);
    if (code == 0 && s->backup.brings_wal)
        job_say(&s->job, "the WAL archive of %s takes nothing: the copy brings WAL of its own",
                s->backup.from == NULL ? s->from : s->backup.from->name);
    s->backup.hold = s->hold;
    return code == 0 ? base_backup_run(&s->backup, false) : code;
}

/* A standby that fails is replaced by the next one, if the pool is what it was. */
static int
step_copy(struct seed *s)
{
    char why[FAIL_MESSAGE_MAX];
    int code;

    while ((code = divergence_connect(&s->p)) == 0 && (code = copy_once(s)) == ERR_PEER &&
           s->giver.member != NULL) {
        snprintf(why, sizeof why, "%s", fail_message());
        code = check_copy(s);
        if (code == 0) {
            fail(ERR_PEER, "%s", why);
            code = giver_next(&s->giver);
        }
        if (code == 0)
            code = datadir_discard(&s->d);
        if (code < 0)
            break;
    }
    divergence_release(&s->p);
    giver_release(&s->giver);
    return code;
}

static int
step_verify(struct seed *s)
{
    const char *const argv[] = {"pg_verifybackup", "-n", "-q", s->d.fresh, NULL};
    struct control_file control;
    int code;

    job_say(&s->job, "verifying the copy against its manifest");
    code = job_run(&s->job, argv, NULL, NULL);
    /* what the server read while it was written is sent so, and the manifest agrees */
    if (code == 0)
        code = control_file_read(s->job.self->bindir, s->d.fresh, &control);
    if (code == 0 && control.torn)
        code = fail(ERR_LOCAL, "pg_control of the copy is torn: %s sent it while it was written",
                    s->from);
    return code == 0 ? standby_settings_check(s->d.fresh) : code;
}

static int
step_settings(struct seed *s)
{
    int code = datadir_keep_modes(&s->d);

    if (code == 0)
        code = settings_keep(&s->d);
    return code == 0 ? standby_settings_write(&s->job, s->d.fresh) : code;
}

/* ---- what only the data here has ---- */

static int
refuse_own(const struct seed *s, const char *what)
{
    return fail(ERR_USAGE,
                "refused: %s. walferry rejoin keeps and lists what only this side has, then "
                "follows %s; with --discard the new copy destroys it, --dry-run --discard shows it",
                what, s->from);
}

static bool
has_to_be_nothing(const struct seed *s)
{
    return datadir_occupied(&s->d) && !s->request->discard && !s->request->kept;
}

/*
 * WAL here that the primary lacks may hold commits that nobody else has. A standby.signal does not
 * prove that there is none, for anybody may have put it there. Where it is missing, even WAL that
 * ends on the primary's timeline proves nothing.
 */
static int
check_own(struct seed *s, bool beside)
{
    char what[FAIL_MESSAGE_MAX];
    int code = divergence_judge(&s->p, beside);

    if (code < 0)
        snprintf(what, sizeof what, "whether %s has commits of its own cannot be told (%s)",
                 s->d.at, fail_message());
    else if (code == 1)
        snprintf(what, sizeof what,
                 "%s has WAL of its own, from timeline %u at " LSN_FORMAT " on up to " LSN_FORMAT,
                 s->d.at, s->p.timeline, LSN_ARGS(s->p.fork), LSN_ARGS(s->p.end));
    else if (!datadir_standby(&s->d) && s->p.our.timeline == s->p.their.timeline)
        snprintf(what, sizeof what,
                 "%s is no standby's (there is no standby.signal in it), a former primary's may "
                 "have commits that nobody else has",
                 s->d.at);
    else
        return 0;
    return refuse_own(s, what);
}

/* --discard: show the DBA what will be destroyed. */
static void
show_own(struct seed *s)
{
    char words[256];
    int code = divergence_judge(&s->p, true);

    s->shown = true;
    if (code <= 0) {
        job_say(&s->job, "what only %s has, and is destroyed: %s", s->d.at,
                code == 0 ? "no WAL of its own is in it" : fail_message());
        return;
    }
    s->receipt = divergence_receipt(&s->p);
    job_say(&s->job, "only here, and destroyed for good: %s",
            divergence_words(s->receipt, words, sizeof words));
    receipt_print_tables(json_object_get(s->receipt, "tables"), "    ");
    json_object_set_new(s->receipt, "epoch", json_integer(s->epoch));
}

/* The last moment, also of a command that only goes on: what --discard destroys must have been
 * shown, and have its receipt. */
static int
discard_own(struct seed *s)
{
    int code = 0;

    if (!datadir_occupied(&s->d) || s->request->kept || s->shown)
        return 0;
    show_own(s);
    if (job_consent(&s->job, s->request->yes, "Destroy it?") != 0)
        return fail(ERR_LOCAL, "%s stays as it is", s->d.at);
    if (s->receipt != NULL)
        code = receipt_save(s->job.self->spool, s->receipt);
    return code;
}

static int
step_swap(struct seed *s)
{
    bool runs = job_server_runs(&s->job) == 1;
    char why[FAIL_MESSAGE_MAX];
    int code = 0;

    if (!datadir_swapped(&s->d) && !datadir_moved(&s->d)) {
        code = check_copy(s);
        if (code == 0)
            code = job_server_stop(&s->job);
        if (code == 0)
            code = check_copy(s);
        if (code == 0 && s->request->discard)
            code = discard_own(s);
        else if (code == 0 && has_to_be_nothing(s))
            code = check_own(s, false);
        if (code < 0 && runs) { /* this member may have been promoted in this moment */
            snprintf(why, sizeof why, "%s", fail_message());
            (void)!job_server_start(&s->job);
            fail(code, "%s", why);
        }
    }
    return code == 0 ? datadir_swap(&s->d) : code;
}

static int
step_start(struct seed *s)
{
    int64_t until_us = clock_us() + REACH_US; /* the agent may be away: it is started again */
    int code;

    while ((code = status_rejoined(&s->job)) == ERR_PEER && clock_us() < until_us)
        rest();
    if (code < 0)
        return code;
    job_say(&s->job, "starting PostgreSQL");
    return job_server_start(&s->job);
}

static int
step_follow(struct seed *s)
{
    struct follow f;
    int64_t moved_us = clock_us();
    int code = 0;

    follow_begin(&f, &s->job, moved_us);
    while (code == 0) {
        json_t *status = NULL;

        rest();
        (void)!ask_agent(s, &status); /* the agent may be away: it is started again */
        code = follow_look(&f, status, clock_us());
        json_decref(status);
        if (f.moved_us != moved_us)
            (void)!job_renew_hold(&s->job, s->hold);
        moved_us = f.moved_us;
    }
    return code < 0 ? code : 0;
}

static int
step_clean(struct seed *s)
{
    int code = hold_end(s->job.dir); /* the new standby follows, even if the old directory stays */

    return code == 0 ? datadir_remove_old(&s->d) : code;
}

/* ---- together ---- */

static int
prepare(struct seed *s)
{
    int code = discard_spool(s);

    if (code == 0)
        code = wait_for_link(s);
    if (code == 0)
        code = datadir_init(&s->d, s->job.self->pgdata);
    if (code == 0 && datadir_occupied(&s->d) && !s->request->replace)
        code = fail(
            ERR_USAGE,
            "refused: %s is not empty. walferry seed --replace makes the copy beside it, and keeps it "
            "until the new one follows",
            s->d.at);
    else if (code == 0 && datadir_wal_elsewhere(&s->d) && !s->request->force)
        code = fail(ERR_USAGE,
                    "refused: %s/pg_wal is a link, in the new copy the WAL would lie in the data "
                    "directory. With --force it does, and can be moved when PostgreSQL is down",
                    s->d.at);
    if (code == 0)
        code = reach_primary(s);
    if (code == 0)
        code = check_primary(s);
    if (code == 0 && has_to_be_nothing(s))
        code = check_own(s, true);
    if (code == 0)
        code = giver_choose(&s->giver, s->from, s->epoch);
    if (code == 0)
        code = place_tablespaces(s);
    if (code == 0)
        code = datadir_clear(&s->d);
    if (code == 0 && s->size_known)
        code = datadir_room(&s->d, s->base_bytes);
    return code;
}

static void
tell_plan(struct seed *s)
{
    char bytes[24], room[24];
    uint64_t free_bytes;

    if (datadir_free(&s->d, &free_bytes) < 0)
        snprintf(room, sizeof room, "unknown");
    else
        text_bytes(room, sizeof room, free_bytes);
    if (s->size_known)
        job_say(&s->job, "%s of %s go to %s; free there: %s",
                text_bytes(bytes, sizeof bytes, s->whole_bytes), s->from, s->d.at, room);
    else
        job_say(
            &s->job,
            "the copy of %s goes to %s; free there: %s; its size is unknown: grant pg_monitor to %s on %s",
            s->from, s->d.at, room, s->job.config->tunnel_user, s->from);
    if (s->request->discard && datadir_occupied(&s->d))
        show_own(s);
    if (datadir_wal_elsewhere(&s->d))
        job_say(&s->job, "pg_wal, a link now, will lie in the data directory");
    for (size_t i = 0; i < s->d.tablespaces; i++)
        job_say(&s->job, "tablespace %s goes to %s", s->d.tablespace[i].from,
                s->d.tablespace[i].at);
}

/* A few seconds of a real copy measure the line and both disks together, with this data. */
static int
dry_run(struct seed *s)
{
    char rate[24], time[32];
    int code = datadir_begin(&s->d);

    tell_plan(s);
    if (code < 0)
        return code;
    code = prepare_copy(s);
    if (code == 0)
        (void)!base_backup_run(&s->backup, true); /* its end is of no interest */
    if (datadir_discard(&s->d) < 0 || code < 0)
        return ERR_PEER;
    if (base_backup_rate(&s->backup) > 0)
        job_say(
            &s->job,
            "at the measured rate of %s/s: about %s, and the time to replay what is written meanwhile",
            text_bytes(rate, sizeof rate, (uint64_t)base_backup_rate(&s->backup)),
            text_duration(time, sizeof time,
                          (int64_t)((double)s->backup.total_bytes / base_backup_rate(&s->backup) *
                                    (double)SECOND_US)));
    else
        job_say(&s->job, "the rate is unknown: nothing came in " BASE_BACKUP_PROBE_S " s");
    job_say(&s->job, "nothing was changed");
    return code;
}

static int
run_steps(struct seed *s)
{
    static int (*const run[STEPS])(struct seed *) = {
        step_copy, step_verify, step_settings, step_swap, step_start, step_follow, step_clean};

    for (; s->step < STEPS; s->step++) {
        int64_t begun_us = clock_us();
        int code = save_step(s);

        if (code == 0)
            code = run[s->step](s);
        if (code < 0 && (s->step <= STEP_VERIFY || code == ERR_AGAIN)) {
            char why[FAIL_MESSAGE_MAX];

            snprintf(why, sizeof why, "%s", fail_message());
            s->step = STEP_COPY; /* a copy that failed is of no use */
            (void)!save_step(s);
            (void)!datadir_discard(&s->d); /* ... and is not to take the room */
            return fail(code, "what was here is untouched, the same command begins again: %s", why);
        }
        if (code < 0)
            return fail_in(code, "step %s, where the same command goes on%s", step_name[s->step],
                           s->step > STEP_SWAP ? " (with --force this copy is given up)" : "");
        s->step_us[s->step] = clock_us() - begun_us;
        if (s->step < STEP_FOLLOW && (code = hold_set(s->job.dir, s->hold)) < 0)
            return code;
    }
    return job_forget(&s->job);
}

static void
tell_end(struct seed *s)
{
    char whole[32], part[STEPS][32], rate[24];

    for (int i = 0; i < STEPS; i++)
        text_duration(part[i], sizeof part[i], s->step_us[i]);
    job_say(&s->job, "done: %s follows %s", s->job.self->name, s->from);
    job_say(&s->job,
            "it took %s: copy %s (%s/s), verify %s, swap %s, start %s, until it followed %s",
            text_duration(whole, sizeof whole, clock_us() - s->started_us), part[STEP_COPY],
            text_bytes(rate, sizeof rate, (uint64_t)base_backup_rate(&s->backup)),
            part[STEP_VERIFY], part[STEP_SWAP], part[STEP_START], part[STEP_FOLLOW]);
}

/* 0, the exit code of a refusal, or an error. */
static int
begin(struct seed *s)
{
    int code = prepare(s);

    if (code < 0)
        return code;
    if (s->request->dry_run)
        return dry_run(s);
    tell_plan(s);
    if (datadir_occupied(&s->d)) {
        job_say(&s->job,
                "%s stays beside as %s until the new one follows; then it is removed. "
                "PostgreSQL here is stopped when the copy is ready",
                s->d.at, s->d.old);
        code = job_consent(&s->job, s->request->yes, "Replace it?");
        if (code != 0)
            return code;
    }
    if (s->receipt != NULL)
        code = receipt_save(s->job.self->spool, s->receipt);
    if (code == 0)
        code = ready_wal(s);
    divergence_release(&s->p);
    return code;
}

/* May a copy that is not in its place yet be used? After a day the hold on its WAL is void; a copy
 * of an earlier primary may have commits that the present primary never had. ERR_AGAIN: begin
 * again. */
static int
judge_copy(const struct seed *s)
{
    if (s->step == STEP_COPY || s->step > STEP_SWAP || datadir_swapped(&s->d) ||
        datadir_moved(&s->d))
        return 0;
    if (hold_from(s->job.dir, clock_wall_us()) > s->hold)
        return fail(ERR_AGAIN, "the copy from before is too old, its WAL is not held any more");
    return check_copy(s);
}

static int
seed(struct seed *s)
{
    int code = load_step(s);

    s->started_us = clock_us();
    if (code == 0)
        code = judge_copy(s);
    if (code == 0 && s->step > STEP_SWAP && s->request->force)
        code = fail(ERR_AGAIN, "the copy from before is given up (--force)");
    if (code == ERR_AGAIN) {
        job_say(&s->job, "%s: beginning again", fail_message());
        s->step = STEP_COPY;
        code = 0;
    }
    if (code == 0 && s->step != STEP_COPY)
        job_say(&s->job, "%s at step %s", s->request->dry_run ? "would go on" : "going on",
                step_name[s->step]);
    else if (code == 0)
        code = begin(s);
    if (code != 0 || s->request->dry_run)
        return code;
    if (s->step < STEP_CLEAN)
        code = hold_resume(s->job.dir, s->hold);
    if (code == 0)
        code = run_steps(s);
    if (code == 0)
        tell_end(s);
    return code;
}

int
seed_run(const struct seed_request *request)
{
    static struct seed s; /* large */
    int code;

    s.request = request;
    s.p.job = &s.job;
    s.from = s.p.primary;
    s.giver.job = &s.job;
    s.giver.named = request->from;
    s.backup = (struct base_backup){.job = &s.job, .d = &s.d, .rate = request->rate};
    setenv("TZ", "UTC", 1); /* pg_waldump prints local time */
    code = job_open(&s.job, "seed", request->config, request->self);
    if (code == 0)
        code = seed(&s);
    if (code < 0)
        code = job_fail(&s.job);
    divergence_release(&s.p);
    giver_release(&s.giver);
    json_decref(s.receipt);
    job_close(&s.job);
    return code;
}

/* SPDX-License-Identifier: PostgreSQL */
/*
 * rejoin: a former primary, or any member that parted from the pool's history, becomes a standby of
 * the present primary.
 *
 * Where it parted is computed from the two history files. Then a journal of steps, each of which
 * may be killed and done again:
 *
 *   stop     PostgreSQL here is stopped
 *   keep     all WAL from the fork on, the histories and the settings go into escrow
 *   list     the transactions that are lost go into the receipt (walferry lost)
 *   recover  crash recovery in single-user mode, nobody can connect; its end is kept, too
 *   rewind   pg_rewind through a tunnel to the nearest member that can give the pages (giver.h),
 *            right after a checkpoint of the present primary
 *   follow   the settings come back, ours are added, standby.signal
 *   start    PostgreSQL starts and follows
 *
 * Where pg_rewind cannot work, and with --replace, walferry seed takes the place of the last four.
 *
 * From "stop" to "follow" the data directory's mode keeps PostgreSQL from starting on it: a commit
 * made then would be in no list, and later the directory is half old and half new. Where it is
 * found open in between, the rejoin begins anew: somebody may have written. No commit is gone after
 * a rejoin: it is in escrow.
 */
#include "jobs/rejoin.h"

#include "jobs/datadir.h"
#include "jobs/divergence.h"
#include "jobs/escrow.h"
#include "jobs/follow.h"
#include "jobs/job.h"
#include "jobs/own_slots.h"
#include "jobs/primary.h"
#include "jobs/rewind.h"
#include "jobs/seed.h"
#include "jobs/server.h"
#include "jobs/standby_settings.h"
#include "jobs/status.h"
#include "pool/receipt.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/kill_point.h"
#include "base/text.h"
#include "shipper/wal/hold.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_MS   200
#define REFUSED_S 10

enum step { STEP_STOP, STEP_KEEP, STEP_LIST, STEP_RECOVER, STEP_REWIND, STEP_FOLLOW, STEP_START };
#define STEPS (STEP_START + 1)

struct rejoin {
    struct job job;
    struct divergence p;
    /* the journal's, beside p's primary and where this member parted */
    enum step step;
    json_int_t epoch;
    timeline_t spool_timeline; /* the spool's, as the agent tells */
    char escrow[400];
    bool left;   /* its PostgreSQL took writes beside the primary, as the agent tells */
    bool parted; /* our WAL goes on behind the fork */
    bool reseed; /* a new copy is made, nothing is rewound */
    const struct rejoin_request *request;
    struct giver giver; /* of the pages */
};

/* ---- journal ---- */

static int
save(struct rejoin *r)
{
    char fork[LSN_TEXT_SIZE], end[LSN_TEXT_SIZE];
    json_t *journal;
    int code;

    snprintf(fork, sizeof fork, LSN_FORMAT, LSN_ARGS(r->p.fork));
    snprintf(end, sizeof end, LSN_FORMAT, LSN_ARGS(r->p.end));
    journal = json_pack("{s:i s:s s:I s:I s:I s:I s:s s:s s:s s:b s:b}", "step", (int)r->step,
                        "primary", r->p.primary, "epoch", r->epoch, "timeline",
                        (json_int_t)r->p.timeline, "our_timeline", (json_int_t)r->p.our.timeline,
                        "their_timeline", (json_int_t)r->p.their.timeline, "fork", fork, "end", end,
                        "escrow", r->escrow, "parted", r->parted, "reseed", r->reseed);
    json_object_set_new(journal, "unlike", json_boolean(r->p.unlike));
    code = job_save(&r->job, journal);
    json_decref(journal);
    return code;
}

static int
load(struct rejoin *r)
{
    const char *primary, *fork, *end, *escrow;
    json_int_t timeline, our_timeline, their_timeline;
    json_t *journal;
    int code = job_load(&r->job, &journal), step, parted, reseed;

    if (code < 0)
        return code;
    if (json_unpack(journal, "{s:i s:s s:I s:I s:I s:I s:s s:s s:s s:b s:b}", "step", &step,
                    "primary", &primary, "epoch", &r->epoch, "timeline", &timeline, "our_timeline",
                    &our_timeline, "their_timeline", &their_timeline, "fork", &fork, "end", &end,
                    "escrow", &escrow, "parted", &parted, "reseed", &reseed) < 0 ||
        step < STEP_STOP || step > STEP_START || !lsn_parse(fork, &r->p.fork) ||
        !lsn_parse(end, &r->p.end)) {
        json_decref(journal);
        return fail(ERR_CORRUPT, "%s/rejoin.job is not one of walferry's; move it away",
                    r->job.self->spool);
    }
    snprintf(r->p.primary, sizeof r->p.primary, "%s", primary);
    snprintf(r->escrow, sizeof r->escrow, "%s", escrow);
    r->step = (enum step)step;
    r->p.timeline = (timeline_t)timeline;
    r->p.their.timeline = (timeline_t)their_timeline;
    r->parted = parted != 0;
    r->reseed = reseed != 0;
    r->p.unlike = json_is_true(json_object_get(journal, "unlike"));
    json_decref(journal);
    r->p.our.timeline = (timeline_t)our_timeline;
    return r->step > STEP_REWIND /* which removes our history */
               ? 0
               : divergence_own_history(&r->p, r->p.our.timeline, r->escrow);
}

/* ---- where it parted ---- */

/* By the control file as it is now. 1: the histories part, 0: it is one timeline; *ret_compared as
 * divergence_compare. */
static int
look_at_data(struct rejoin *r, bool beside, int *ret_compared)
{
    int code = r->request->offline ? divergence_look_here(&r->p, r->spool_timeline)
                                   : divergence_look(&r->p, r->escrow);

    *ret_compared = ERR_AGAIN;
    if (code >= 0 && !r->request->offline)
        *ret_compared = divergence_compare(&r->p, code == 0, beside);
    return code;
}

static int
choose_escrow(struct rejoin *r)
{
    return escrow_path(r->job.self->spool, r->p.control.system_identifier, r->p.timeline, r->p.fork,
                       r->escrow, sizeof r->escrow);
}

/* While a standby runs its control file is that of its last restartpoint: its WAL may go on, on a
 * later timeline, and have parted there. */
static int
look_again(struct rejoin *r)
{
    timeline_t before = r->p.our.timeline;
    int code = divergence_control(&r->p), compared;
    bool parts;

    if (code < 0 || r->p.control.timeline == before)
        return code;
    code = look_at_data(r, false, &compared);
    parts = code == 1;
    if (code >= 0)
        code = choose_escrow(r);
    if (code == 0 && parts)
        job_say(&r->job, "it had come to timeline %u, and parted on timeline %u at " LSN_FORMAT,
                r->p.our.timeline, r->p.timeline, LSN_ARGS(r->p.fork));
    return code;
}

/* ---- steps ---- */

static int
step_stop(struct rejoin *r)
{
    int code;

    if (job_server_runs(&r->job) > 0)
        job_say(&r->job, "stopping PostgreSQL here");
    code = job_server_stop(&r->job);
    KILL_POINT("rejoin:2");
    if (code == 0)
        code = datadir_forbid_start(r->job.self->pgdata, true);
    KILL_POINT("rejoin:3");
    if (code == 0 && job_server_runs(&r->job) != 0)
        code = fail(ERR_LOCAL, "PostgreSQL was started again in this moment: run this again");
    return code == 0 ? look_again(r) : code;
}

/* All WAL is in pg_wal, but what the disk guard moved to the outbox: that is put back. */
static int
keep_wal(struct rejoin *r)
{
    const struct member *m = r->job.self;
    int segments =
            escrow_keep(r->escrow, m->pgdata, r->p.control.segment_bytes, r->p.fork, r->p.end),
        more = 0;

    if (segments >= 0)
        more = escrow_add(r->escrow, m->outbox, r->p.control.segment_bytes, r->p.fork, r->p.end);
    if (more > 0 && escrow_return(r->escrow, m->pgdata) < 0) /* the disk may be full: go on */
        job_say(&r->job, "what is kept of the outbox %s is not put back: %s", m->outbox,
                fail_message());
    return more < 0 ? more : segments + more;
}

static int
step_keep(struct rejoin *r)
{
    char fork[64];
    int code = divergence_end(&r->p, false), segments = 0;

    if (code < 0)
        return code;
    r->parted = divergence_goes_on(&r->p);
    snprintf(fork, sizeof fork, "timeline %u at " LSN_FORMAT, r->p.timeline, LSN_ARGS(r->p.fork));
    if (!r->parted && r->p.unlike) {
        job_say(&r->job, "nothing is kept: the WAL here is that of %s by now", r->p.primary);
    } else if (!r->parted) {
        job_say(&r->job, "nothing parted: the WAL here ends at " LSN_FORMAT ", the pool left %s",
                LSN_ARGS(r->p.end), fork);
    } else {
        segments = keep_wal(r);
        if (segments < 0)
            return segments;
        job_say(&r->job, "kept: %d segment%s from %s to " LSN_FORMAT " in %s", segments,
                segments == 1 ? "" : "s", fork, LSN_ARGS(r->p.end), r->escrow);
    }
    code = escrow_keep_settings(r->escrow, r->job.self->pgdata);
    KILL_POINT("rejoin:4");
    return code;
}

static int
step_list(struct rejoin *r)
{
    json_t *receipt = divergence_receipt(&r->p);
    bool known = json_object_get(receipt, "transactions") != NULL;
    char words[256];
    int code;

    /* the WAL is in escrow: a rejoin does not fail because it cannot be read */
    job_say(&r->job, "lost: %s; %s%s", divergence_words(receipt, words, sizeof words),
            known ? "see walferry lost" : "its WAL is kept in ", known ? "" : r->escrow);
    json_object_set_new(receipt, "epoch", json_integer(r->epoch));
    json_object_set_new(receipt, "escrow", json_string(r->escrow));
    code = receipt_save(r->job.self->spool, receipt);
    KILL_POINT("rejoin:5");
    json_decref(receipt);
    return code;
}

static int
step_recover(struct rejoin *r)
{
    int code = divergence_control(&r->p);

    return code < 0 || !r->parted || r->reseed ? code : rewind_recover(&r->p, r->escrow);
}

static int
step_rewind(struct rejoin *r)
{
    int code = r->parted ? divergence_control(&r->p) : 0;

    if (code < 0 || !r->parted || r->reseed)
        return code;
    if (r->giver.count == 0) /* it goes on */
        code = giver_choose(&r->giver, r->p.primary, r->epoch);
    while (code == 0) {
        code = rewind_run(&r->p, r->escrow, &r->giver);
        if (code != ERR_PEER || r->giver.member == NULL)
            break;
        code = giver_next(&r->giver); /* pg_rewind may be run again */
    }
    giver_release(&r->giver);
    return code;
}

/* The spool may hold WAL from an earlier life. */
static int
ready_spool(struct rejoin *r)
{
    char slot[SLOT_NAME_SIZE], query[200], text[32];
    lsn_t restart;
    int code = divergence_connect(&r->p);

    config_slot_name(slot, r->job.self->name);
    snprintf(query, sizeof query,
             "select restart_lsn from pg_replication_slots where slot_name = '%s'", slot);
    if (code == 0)
        code = primary_ask(r->p.connection, query, text, sizeof text);
    if (code == 0 && lsn_parse(text, &restart))
        code = status_ready_spool(&r->job, r->p.primary, restart);
    return code < 0 ? code : 0;
}

static int
step_follow(struct rejoin *r)
{
    int code = r->parted ? escrow_return_settings(r->escrow, r->job.self->pgdata) : 0;

    if (code < 0 || r->reseed) /* seed takes the settings from the data directory */
        return code;
    if (!r->request->offline)
        code = status_settle_spool(&r->job);
    if (code == 0 && !r->request->offline)
        code = ready_spool(r);
    if (code == 0)
        code = standby_settings_write(&r->job, r->job.self->pgdata);
    if (code == 0)
        code = status_rejoined(&r->job);
    KILL_POINT("rejoin:10");
    if (code == 0)
        code = datadir_forbid_start(r->job.self->pgdata, false);
    KILL_POINT("rejoin:11");
    return code;
}

static bool
seed_runs(const struct rejoin *r)
{
    return faccessat(r->job.dir, "seed.job", F_OK, 0) == 0;
}

/* This command was killed after seed had ended: the directory here is seed's copy, for the old one
 * is closed. */
static bool
copy_is_made(const struct rejoin *r)
{
    char path[300];

    snprintf(path, sizeof path, "%s/standby.signal", r->job.self->pgdata);
    return !seed_runs(r) && !datadir_is_closed(r->job.self->pgdata) && access(path, F_OK) == 0;
}

/* Instead of the rewind. seed has its own journal, and keeps the old directory until it is done. */
static int
make_copy(struct rejoin *r)
{
    struct seed_request copy = {.config = r->job.config,
                                .self = r->job.self,
                                .yes = true,
                                .replace = true,
                                .rate = r->request->rate,
                                .map = r->request->map,
                                .from = r->request->from};

    /* closed: nobody has written there since the WAL went into escrow. Else no force: it would give
     * up a copy that seed has made */
    copy.force = copy.kept = datadir_is_closed(r->job.self->pgdata);
    job_close(&r->job); /* seed takes the lock */
    if (seed_run(&copy) != 0)
        return fail(ERR_PEER, "there is no new copy yet: run this again");
    return job_open(&r->job, "rejoin", r->job.config, r->job.self);
}

/* Was its link refused when the primary's agent dialled last? The next dial is not far. */
static bool
is_refused(const json_t *status)
{
    const json_t *ago = status_at(status, "receiving", "refused_seconds_ago");

    return json_is_number(ago) && json_number_value(ago) < REFUSED_S;
}

static int
step_start(struct rejoin *r)
{
    struct follow f;
    int code = r->reseed && !copy_is_made(r) ? make_copy(r) : job_server_start(&r->job);

    KILL_POINT("rejoin:12");
    follow_begin(&f, &r->job, clock_us());
    while (code == 0) {
        json_t *status = NULL;

        code = status_ask(&r->job, &status);
        if (code < 0)
            code = fail_in(ERR_PEER, "PostgreSQL was started, but the agent does not answer");
        else if (follow_streams(status) &&
                 !is_refused(status)) /* the rest of the WAL comes while it is in use */
            code = 1;
        else
            code = follow_look(&f, status, clock_us());
        json_decref(status);
        if (code == 0)
            usleep(LOOK_MS * 1000);
    }
    if (code < 0)
        return code;
    own_slots_settle(&r->p);
    return 0;
}

/* ---- the command ---- */

/* Who is the primary, as the agent here knows it. */
static int
ask_epoch(struct rejoin *r)
{
    json_t *status = NULL;
    int code = status_ask(&r->job, &status);

    if (json_is_string(status_at(status, "epoch", "member"))) {
        snprintf(r->p.primary, sizeof r->p.primary, "%s", status_text(status, "epoch", "member"));
        r->epoch = json_integer_value(status_at(status, "epoch", "number"));
    }
    r->left = json_is_true(status_at(status, "left", NULL));
    r->spool_timeline = (timeline_t)json_integer_value(status_at(status, "spool", "timeline"));
    json_decref(status);
    return code;
}

/*
 * Its history is the primary's, and no byte tells otherwise. When it has left the pool that proves
 * nothing: a server that was started as a standby since has its WAL overwritten. 0: go on, by a new
 * copy.
 */
static int
not_parted(struct rejoin *r)
{
    if (r->left && !r->request->offline) {
        r->p.unlike = true;
        return 0;
    }
    if (r->step == STEP_START && hold_end(r->job.dir) == 0) /* an earlier rejoin is done */
        (void)!job_forget(&r->job);
    return fail(ERR_USAGE,
                "refused: %s is on the timeline %u of %s, it has not parted from it; if it does "
                "not follow, see walferry status",
                r->job.self->name, r->p.their.timeline, r->p.primary);
}

/* Who is the primary, where did this member part from it, can it come back: changes nothing. */
static int
look(struct rejoin *r)
{
    const struct member *self = r->job.self;
    int code, compared;

    if (ask_epoch(r) < 0)
        return fail_in(ERR_PEER, "the agent of %s has to run (systemctl start walferry@%s)",
                       self->name, r->job.config->name);
    if (r->p.primary[0] == '\0')
        return fail(ERR_PEER, "no primary is known here yet: see walferry status");
    if (strcmp(r->p.primary, self->name) == 0)
        return fail(ERR_USAGE,
                    "refused: as far as is known here %s is the primary itself, of epoch "
                    "%" JSON_INTEGER_FORMAT
                    "; if another member was promoted, let their agents meet "
                    "(walferry status) and run this again",
                    self->name, r->epoch);
    code = look_at_data(r, true, &compared);
    if (code == 0 && compared != 1 && not_parted(r) < 0)
        return ERR_USAGE;
    return code < 0 ? code : choose_escrow(r);
}

/* Nobody can undo what was written here behind the fork: only the primary has the pages of before. */
static int
check_offline(struct rejoin *r)
{
    const char *self = r->job.self->name;
    int code = job_server_runs(&r->job);

    if (code > 0)
        return fail(ERR_USAGE,
                    "refused: the PostgreSQL of %s runs; --offline is for one that is down", self);
    if (code == 0)
        code = divergence_end(&r->p, false);
    if (code == 0 && divergence_goes_on(&r->p))
        code = fail(ERR_USAGE,
                    "refused: the WAL of %s goes on behind the fork, to " LSN_FORMAT
                    "; without %s nobody can undo that. Wait for it, or start PostgreSQL here and "
                    "run: walferry failover --reclaim",
                    self, LSN_ARGS(r->p.end), r->p.primary);
    return code;
}

/* Before anything is touched: what would stop the rejoin later, when PostgreSQL is down. */
static int
check_place(struct rejoin *r)
{
    struct datadir d;
    int code;

    if (r->request->offline)
        return check_offline(r);
    if (!r->reseed)
        return rewind_check_place(r->job.self->pgdata);
    code = datadir_init(&d, r->job.self->pgdata);
    return code < 0 ? fail_in(code, "refused: no new copy can be made here") : 0;
}

/* 0: go on, and the journal is on disk; else the exit code. */
static int
begin(struct rejoin *r)
{
    char question[512], where[64];
    int code;

    snprintf(where, sizeof where, "on timeline %u at " LSN_FORMAT, r->p.timeline,
             LSN_ARGS(r->p.fork));
    job_say(&r->job, "%s parted from %s, the primary of epoch %" JSON_INTEGER_FORMAT ", %s",
            r->job.self->name, r->p.primary, r->epoch,
            r->p.unlike && !divergence_goes_on(&r->p) ? "nobody can tell where" : where);
    r->reseed = r->request->replace && !r->request->offline;
    if (!r->reseed && !r->request->offline && rewind_check(&r->p) < 0) {
        job_say(&r->job, "%s; a new copy is made instead", fail_message());
        r->reseed = true;
    }
    if (check_place(r) < 0 ||
        (!r->reseed && !r->request->offline && giver_choose(&r->giver, r->p.primary, r->epoch) < 0))
        return job_fail(&r->job);
    if (r->request->dry_run) {
        job_say(
            &r->job,
            "would do: stop PostgreSQL here%s; keep all WAL behind the fork in %s; list what is "
            "lost; %s %s; start as its standby. Nothing was changed",
            job_server_runs(&r->job) > 0 ? "" : " (it is down)", r->escrow,
            r->reseed ? "make a new copy of" : "rewind to", r->p.primary);
        return -1;
    }
    snprintf(question, sizeof question,
             "What was committed here behind the fork is kept and listed, then undone%s, and %s "
             "follows %s.",
             r->reseed ? ", a new copy is made" : "", r->job.self->name, r->p.primary);
    code = job_consent(&r->job, r->request->yes, question);
    if (code != 0)
        return code;
    r->step = STEP_STOP;
    if (save(r) < 0)
        return job_fail(&r->job);
    KILL_POINT("rejoin:1");
    return 0;
}

static int
go_on(struct rejoin *r)
{
    static const struct {
        const char *name;
        int (*run)(struct rejoin *r);
    } steps[STEPS] = {
        [STEP_STOP] = {"stop", step_stop},       [STEP_KEEP] = {"keep", step_keep},
        [STEP_LIST] = {"list", step_list},       [STEP_RECOVER] = {"recover", step_recover},
        [STEP_REWIND] = {"rewind", step_rewind}, [STEP_FOLLOW] = {"follow", step_follow},
        [STEP_START] = {"start", step_start},
    };
    int64_t begun_us = clock_us(), since_us = begun_us;
    char took[32], parts[256] = "";

    int code = hold_resume(r->job.dir, 1); /* a rewind needs WAL from before the fork */

    while (code == 0) {
        size_t used = strlen(parts);

        code = steps[r->step].run(r);
        if (code < 0)
            return code;
        snprintf(parts + used, sizeof parts - used, "%s%s %s", used > 0 ? ", " : "",
                 steps[r->step].name, text_duration(took, sizeof took, clock_us() - since_us));
        since_us = clock_us();
        if (r->step == STEP_START)
            break;
        r->step++;
        code = save(r);
        if (code == 0)
            code = hold_set(r->job.dir, 1);
    }
    if (code < 0)
        return code;
    KILL_POINT("rejoin:13");
    job_say(&r->job, "done: %s follows %s; it took %s: %s", r->job.self->name, r->p.primary,
            text_duration(took, sizeof took, clock_us() - begun_us), parts);
    return hold_end(r->job.dir) < 0 ? ERR_LOCAL : job_forget(&r->job);
}

static int
fell_short(const struct rejoin *r)
{
    (void)job_fail(&r->job);
    if (r->step > STEP_STOP && r->step < STEP_RECOVER)
        fprintf(stderr,
                "Run this again when that is mended. PostgreSQL does not start here before "
                "that; to give the rejoin up instead: chmod o-x %s\n",
                r->job.self->pgdata);
    if (r->step == STEP_RECOVER || r->step == STEP_REWIND)
        fprintf(stderr, "Run this again when that is mended. If it cannot be: walferry rejoin "
                        "--replace makes a new copy; what was lost is listed and kept.\n");
    return 1;
}

/* A rejoin that was interrupted. 0: go on; ERR_AGAIN: its journal is void, begin anew. */
static int
resume(struct rejoin *r)
{
    json_int_t epoch = r->epoch;
    char primary[MEMBER_NAME_SIZE];
    bool open, copying = r->reseed && r->step == STEP_START; /* there may be no data directory */
    int code = copying ? 0 : divergence_control(&r->p);

    snprintf(primary, sizeof primary, "%s", r->p.primary);
    job_say(&r->job, "going on with the rejoin to %s at step %d of %d", primary, (int)r->step + 1,
            STEPS);
    if (code == 0 && ask_epoch(r) < 0)
        code = fail_in(ERR_PEER, "the agent of %s has to run", r->job.self->name);
    if (code < 0)
        return code;
    if (r->request->replace && r->step < STEP_FOLLOW)
        r->reseed = true;
    open = r->step > STEP_STOP && r->step <= STEP_REWIND && !datadir_is_closed(r->job.self->pgdata);
    if (r->epoch == epoch && !open)
        return 0;
    if (r->epoch != epoch && r->reseed && r->step >= STEP_REWIND &&
        strcmp(r->p.primary, r->job.self->name) != 0)
        return 0; /* seed checks of which primary its copy is */
    if (open || r->step != STEP_REWIND) {
        job_say(&r->job, "%s: beginning anew",
                open ? "PostgreSQL may have run here since" : "there is another primary now");
        if (r->parted && r->step >= STEP_RECOVER && r->step <= STEP_FOLLOW && !r->request->dry_run)
            code = escrow_return_settings(r->escrow, r->job.self->pgdata);
        return code < 0 ? code : ERR_AGAIN;
    }
    return fail(
        ERR_PEER,
        "%s became the primary while this was half rewound to %s: walferry rejoin --replace "
        "makes a new copy; what was lost is listed and kept",
        r->p.primary, primary);
}

int
rejoin_run(const struct rejoin_request *request)
{
    static struct rejoin r; /* large */
    int code, refused = 0;

    setenv("TZ", "UTC", 1); /* pg_waldump prints local time */
    r.request = request;
    r.p.job = r.giver.job = &r.job;
    r.giver.named = request->from;
    code = job_open(&r.job, "rejoin", request->config, request->self);
    if (code == 0)
        code = load(&r);
    if (code == 0)
        code = resume(&r);
    if (code == ERR_AGAIN) {
        code = look(&r);
        if (code == 0)
            refused = begin(&r);
    }
    if (code == 0 && refused == 0 && !request->dry_run)
        code = go_on(&r);
    divergence_release(&r.p);
    giver_release(&r.giver);
    job_close(&r.job);
    return code < 0 ? fell_short(&r) : refused > 0 ? refused : 0;
}

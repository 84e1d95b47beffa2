/* SPDX-License-Identifier: PostgreSQL */
/* See disk_guard.h. */
#include "retention/disk_guard.h"
#include "retention/slot.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/log.h"
#include "base/text.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_US         (200 * MILLISECOND_US)
#define RISE_US         (500 * MILLISECOND_US) /* between two steps: each is seen to be taken */
#define CALM_US         (10 * SECOND_US)
#define SOON_US         (60 * SECOND_US)  /* until pg_wal is full: begin with what costs nothing */
#define NOW_US          (180 * SECOND_US) /* ... while a checkpoint still fits in: let a slot go */
#define WORTH_US        (180 * SECOND_US) /* so long the space that is freed has to last */
#define WORTH_SEGMENTS  2
#define YOUNG_US        (5 * SECOND_US)  /* a link whose rate nobody knows yet */
#define LAST_SEGMENTS   4                /* fewer are free: the disk is as good as full */
#define CHECKPOINT_US   (30 * SECOND_US) /* only a checkpoint removes WAL */
#define ARCHIVE_US      (5 * SECOND_US)  /* between two looks at what waits for archive_command */
#define ADVANCE_US      SECOND_US        /* PostgreSQL takes one command at a time */
#define FOLLOW_SEGMENTS 4
#define REPORTED_S      3 /* so old may be what another member tells of whom it feeds */

/* ---- the step ---- */

const char *
disk_guard_name(enum disk_guard_step step)
{
    static const char *const name[] = {"watch", "squeeze", "outbox", "release", "hold"};

    return name[step];
}

static bool
is_low(const struct disk_guard_facts *f, const struct reserve *r)
{
    return f->disk_known && f->free_bytes < reserve_bytes(r, f->disk_bytes);
}

/* For how long so many bytes are enough at this rate: not as long as `us`? */
static bool
ends_within(uint64_t bytes, double per_second, int64_t us)
{
    return per_second > 0 && (double)bytes / per_second * (double)SECOND_US < (double)us;
}

static bool
is_nearly_full(const struct disk_guard_facts *f, uint64_t reserve)
{
    if (f->free_bytes < LAST_SEGMENTS * (uint64_t)f->segment_bytes)
        return true;
    if (!f->rates_known)
        return f->free_bytes < reserve / 4;
    return ends_within(f->free_bytes, f->shrinks, NOW_US);
}

/* Does it help to let the slot go? When it is WAL that fills the disk, for good. */
static bool
is_worth_it(const struct disk_guard_facts *f)
{
    return f->freed >= WORTH_SEGMENTS * (uint64_t)f->segment_bytes &&
           f->freed >= f->free_bytes / 2 &&
           !(f->rates_known && ends_within(f->freed, f->others, WORTH_US));
}

/* The step that the facts of this moment ask for. */
static enum disk_guard_step
judge(const struct disk_guard_facts *f, const struct disk_guard_limits *l)
{
    uint64_t reserve = reserve_bytes(&l->reserve, f->disk_bytes);
    bool low = is_low(f, &l->reserve);
    bool close =
        f->disk_known && (f->free_bytes < 2 * reserve ||
                          (f->rates_known && ends_within(f->free_bytes, f->shrinks, SOON_US)));
    bool heavy = f->retained >= 2 * (uint64_t)f->segment_bytes;
    /* an outbox that is being filled may be faster than the disk fills */
    bool relieved = f->gains || (f->outbox_takes && f->free_bytes >= reserve / 2);

    if (low && is_worth_it(f) && !relieved) {
        if (l->hold || f->kept)
            return DISK_GUARD_HOLD;
        if (is_nearly_full(f, reserve))
            return DISK_GUARD_RELEASE;
    }
    if (f->outbox_used ||
        (f->outbox_possible && heavy && (f->retained >= l->retain_max_bytes || close)))
        return DISK_GUARD_OUTBOX;
    if (heavy && (f->retained >= l->retain_max_bytes / 2 || close))
        return DISK_GUARD_SQUEEZE;
    return DISK_GUARD_WATCH;
}

bool
disk_guard_step(struct disk_guard *g, const struct disk_guard_facts *f,
                const struct disk_guard_limits *l, int64_t now_us)
{
    enum disk_guard_step asked = judge(f, l), next = g->step;

    if (asked >= g->step)
        g->calm_us = 0;
    else if (g->calm_us == 0)
        g->calm_us = now_us;
    if (asked > g->step && now_us - g->since_us >= RISE_US) {
        next = g->step + 1;
        if (next == DISK_GUARD_OUTBOX && !f->outbox_possible && !f->outbox_used)
            next = asked; /* there is none to try */
        if (next == DISK_GUARD_RELEASE)
            next = asked;
    } else if (g->calm_us != 0 && (now_us - g->calm_us >= CALM_US ||
                                   (g->step == DISK_GUARD_HOLD && asked == DISK_GUARD_RELEASE))) {
        next = asked; /* at once when something else kept that WAL and does no more */
    }
    if (next == g->step)
        return false;
    g->step = next;
    g->since_us = now_us;
    g->calm_us = 0;
    return true;
}

bool
disk_guard_releases(const struct disk_guard *g)
{
    return g->step == DISK_GUARD_RELEASE && g->calm_us == 0;
}

/* ---- what it looks at ---- */

/* The lowest position that a link's slot keeps; LSN_UNKNOWN: none does. */
static lsn_t
oldest_need(const struct disk_guard *g, const struct postgres_sample *s)
{
    lsn_t oldest = LSN_UNKNOWN;

    for (size_t i = 0; i < g->out->links; i++) {
        const struct postgres_slot *slot = slot_of(s, g->out->slot_name[i]);

        if (slot != NULL && slot_keeps_wal(slot) &&
            (oldest == LSN_UNKNOWN || slot->restart_lsn < oldest))
            oldest = slot->restart_lsn;
    }
    return oldest;
}

/* What dropping this slot would let PostgreSQL remove, if nothing else keeps it. */
static uint64_t
freed_by(const struct postgres_slot *slot, const struct postgres_sample *s, uint32_t segment_bytes)
{
    lsn_t from = segment_start(slot->restart_lsn, segment_bytes);
    lsn_t to = segment_start(s->redo, segment_bytes);

    return slot_keeps_wal(slot) && to > from ? to - from : 0;
}

/* The slot of ours to let go; NULL: none keeps what PostgreSQL itself does not need. */
static const struct postgres_slot *
worst_slot(const struct postgres_sample *s, uint32_t segment_bytes)
{
    const struct postgres_slot *worst = NULL;

    for (size_t k = 0; k < s->slots; k++)
        if (freed_by(&s->slot[k], s, segment_bytes) > 0 &&
            (worst == NULL || s->slot[k].restart_lsn < worst->restart_lsn))
            worst = &s->slot[k];
    return worst;
}

/* The segments from `from` to `to` that wait for archive_command: PostgreSQL keeps each of them. */
static uint64_t
waiting_bytes(const char *pgdata, uint32_t segment_bytes, lsn_t from, lsn_t to)
{
    char path[512];
    uint64_t bytes = 0;
    struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof path, "%s/pg_wal/archive_status", pgdata);
    dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char *end = strstr(entry->d_name, ".ready");
        timeline_t timeline;
        lsn_t start;

        if (end == NULL)
            continue;
        *end = '\0';
        if (segment_parse(entry->d_name, segment_bytes, &timeline, &start) && start >= from &&
            start < to)
            bytes += segment_bytes;
    }
    if (dir != NULL)
        closedir(dir);
    return bytes;
}

/* How much of the range [from, to) is at `lsn` or behind it. */
static uint64_t
from_on(lsn_t lsn, lsn_t from, lsn_t to)
{
    return lsn >= to ? 0 : to - (lsn > from ? lsn : from);
}

/* pg_wal is low: who else keeps what the worst slot keeps? Nothing is let go for less than a
 * quarter of what it would lose. */
static void
look_besides(struct disk_guard *g, const struct postgres_sample *s, int64_t now_us)
{
    uint32_t segment_bytes = g->facts.segment_bytes;
    const struct postgres_slot *worst = worst_slot(s, segment_bytes);
    lsn_t from, to = segment_start(s->redo, segment_bytes);
    uint64_t slot, keep, most;
    char text[sizeof g->kept_text];

    if (worst == NULL)
        return;
    from = segment_start(worst->restart_lsn, segment_bytes);
    slot = s->other_slot[0] != '\0' ? from_on(segment_start(s->other_lsn, segment_bytes), from, to)
                                    : 0;
    keep = from_on(s->flush > s->wal_keep_bytes ? s->flush - s->wal_keep_bytes : 0, from, to);
    if (g->archive_us == 0 || now_us - g->archive_us >= ARCHIVE_US || s->redo != g->archive_redo) {
        g->archive_bytes =
            s->archiving ? waiting_bytes(g->who->self->pgdata, segment_bytes, from, to) : 0;
        g->archive_us = now_us;
        g->archive_redo = s->redo;
    }
    most = slot > keep ? slot : keep;
    if (g->archive_bytes > most && most < to - from) /* the slot may have moved on since */
        most = g->archive_bytes;
    if (most <= (to - from) / 4 * 3)
        return;
    g->facts.kept = true;
    g->kept_us = now_us;
    if (most == slot)
        snprintf(text, sizeof text,
                 "pg_wal is kept by slot %s as well, so nothing is let go: let its reader go on, "
                 "or drop it (pg_drop_replication_slot)",
                 s->other_slot);
    else if (most == keep)
        snprintf(text, sizeof text,
                 "pg_wal is kept by wal_keep_size as well, so nothing is let go: lower it and "
                 "reload");
    else
        snprintf(text, sizeof text,
                 "pg_wal is kept by archive_command as well (see pg_stat_archiver), so nothing is "
                 "let go: mend it");
    if (strcmp(g->kept_text, text) != 0)
        log_warning("guard: %s", text);
    memcpy(g->kept_text, text, sizeof text);
}

/* Commits wait for a link: what is in the outbox would never confirm them. */
static bool
synchronous(const struct disk_guard *g, const struct postgres_sample *s)
{
    return g->who->config->synchronous != SYNCHRONOUS_OFF ||
           strstr(s->synchronous_standby_names, "walferry_") != NULL;
}

/* Is the far side of this slot on the way to be level? A link that is up for a moment may be. */
static bool
slot_gains(const struct disk_guard *g, const struct postgres_slot *slot, int64_t now_us)
{
    for (size_t i = 0; i < g->out->links; i++) {
        const struct link *l = &g->out->link[i];

        if (strcmp(g->out->slot_name[i], slot->name) == 0)
            return (slot->active || outgoing_rests(g->out, l)) &&
                   ((l->state == LINK_SHIPPING && now_us - l->since_us < YOUNG_US) ||
                    trend_outruns(&g->rates->shipped[i], &g->rates->produced, now_us));
    }
    return false;
}

/* The last seconds tell of a disk that fills quickly, the last minute of one that does so in steps.
 */
static void
look_at_rates(const struct disk_guard *g, struct disk_guard_facts *f, int64_t now_us)
{
    static const int64_t window_us[] = {10 * SECOND_US, 60 * SECOND_US};

    for (size_t i = 0; i < sizeof window_us / sizeof *window_us; i++) {
        double grows, made, others;

        if (!trend_rate(&g->rates->pg_wal.trend, window_us[i], now_us, &grows) ||
            !trend_rate(&g->rates->produced, window_us[i], now_us, &made))
            continue;
        others = -grows - made;
        if (!f->rates_known || -grows > f->shrinks)
            f->shrinks = -grows;
        if (!f->rates_known || others < f->others)
            f->others = others;
        f->rates_known = true;
    }
}

static void
look(struct disk_guard *g, const struct postgres_sample *s, int64_t now_us)
{
    struct disk_guard_facts *f = &g->facts;
    const struct outbox *o = g->outbox;
    const struct postgres_slot *worst;
    lsn_t oldest = oldest_need(g, s);
    char path[sizeof g->who->self->pgdata + 8];
    int dir = -1;
    bool low;

    *f = (struct disk_guard_facts){.segment_bytes = who_identity(g->who)->segment_bytes};
    for (size_t k = 0; k < s->slots; k++) {
        const struct postgres_slot *slot = &s->slot[k];
        uint64_t retained =
            slot_keeps_wal(slot) && s->flush > slot->restart_lsn ? s->flush - slot->restart_lsn : 0;

        if (retained > f->retained)
            f->retained = retained;
    }
    worst = worst_slot(s, f->segment_bytes);
    if (worst != NULL) {
        f->freed = freed_by(worst, s, f->segment_bytes);
        f->gains = slot_gains(g, worst, now_us);
    }
    snprintf(path, sizeof path, "%s/pg_wal", g->who->self->pgdata);
    f->disk_known =
        durable_dir(path, &dir) == 0 && durable_room(dir, &f->disk_bytes, &f->free_bytes) == 0;
    durable_close(dir);
    low = is_low(f, &g->who->config->pg_wal_reserve);
    if (low)
        look_besides(g, s, now_us);
    if (!f->kept && g->kept_text[0] != '\0') {
        g->kept_text[0] = '\0';
        if (low)
            g->checkpoint_us = 0; /* a checkpoint now removes the WAL that was held back */
    }
    look_at_rates(g, f, now_us);
    f->outbox_used = o->filling || !spool_empty(&o->spool);
    f->outbox_takes = outbox_receives(o) && o->error[0] == '\0';
    f->outbox_possible = !synchronous(g, s) && oldest != LSN_UNKNOWN &&
                         (spool_empty(&o->spool) || o->spool.available >= oldest);
}

/* ---- hands ---- */

static void
squeeze(struct disk_guard *g, bool on)
{
    struct link_settings settings = g->out->settings;

    if (on) {
        settings.lanes = WINDOW_LANES;
        settings.compression = COMPRESSION_AUTO; /* as strong as the line needs it */
    }
    for (size_t i = 0; i < g->out->links; i++)
        link_set(&g->out->link[i], &settings);
}

bool
disk_guard_follows(const struct disk_guard *g, const struct postgres_sample *s)
{
    uint64_t way = FOLLOW_SEGMENTS * (uint64_t)g->facts.segment_bytes;
    double produced = 0;

    (void)trend_rate(&g->rates->produced, TREND_RATE_US, s->mono_us, &produced);
    for (size_t i = 0; i < g->out->links; i++) {
        const struct link *l = &g->out->link[i];
        bool rests = outgoing_rests(g->out, l);
        uint64_t late = rests ? (uint64_t)(produced * REPORTED_S) : 0;

        if ((l->state != LINK_SHIPPING && !rests) || l->sender.far.flushed + way + late < s->flush)
            return false;
    }
    return true;
}

bool
disk_guard_ahead(const struct disk_guard *g)
{
    for (size_t i = 0; i < g->out->links; i++) {
        const struct link *l = &g->out->link[i];

        if (outgoing_rests(g->out, l) && l->sender.far.flushed >= g->outbox->spool.available)
            continue;
        if (l->state != LINK_SHIPPING || l->source != l->from_server ||
            !source_streaming(l->source) || source_next_lsn(l->source) < g->outbox->spool.available)
            return false;
    }
    return true;
}

lsn_t
disk_guard_shipped(const struct disk_guard *g)
{
    lsn_t least = g->out->links > 0 ? UINT64_MAX : 0;

    for (size_t i = 0; i < g->out->links; i++) {
        lsn_t flushed = outgoing_flushed(g->out, &g->out->link[i]);

        if (flushed < least)
            least = flushed;
    }
    return least;
}

/* With the history of the primary's timeline. */
static void
begin_outbox(struct disk_guard *g, lsn_t from)
{
    struct outbox *o = g->outbox;

    if (g->out->lineage.length > 0 && o->spool.dir >= 0 &&
        spool_put_history(&o->spool, g->out->lineage.timeline, g->out->lineage.text,
                          g->out->lineage.length) < 0)
        log_warning("outbox: %s", fail_message());
    else
        outbox_fill(o, who_identity(g->who), outgoing_timeline_at(g->out, from), from);
}

static void
run_outbox(struct disk_guard *g, const struct postgres_sample *s)
{
    const struct disk_guard_facts *f = &g->facts;
    struct outbox *o = g->outbox;
    lsn_t oldest = oldest_need(g, s);

    o->bytes_max = g->who->config->outbox_max_bytes;
    o->reserve = g->who->config->pg_wal_reserve;
    if (o->filling && (disk_guard_follows(g, s) || !f->outbox_possible))
        outbox_stop(o);
    else if (!o->filling && g->step >= DISK_GUARD_OUTBOX && g->calm_us == 0 && f->outbox_possible &&
             !disk_guard_follows(g, s) && (spool_empty(&o->spool) || !disk_guard_ahead(g)))
        begin_outbox(g, oldest);
    outbox_prune(o, disk_guard_shipped(g));
}

/* A slot that is not in use goes to where the outbox has it: a segment's start, whose file
 * PostgreSQL then still has when the outbox is opened after a crash. */
static bool
advance_slots(struct disk_guard *g, const struct postgres_sample *s)
{
    const struct spool *o = &g->outbox->spool;
    lsn_t target = spool_empty(o) ? 0 : segment_start(o->flushed - 1, o->identity.segment_bytes);

    for (size_t i = 0; i < g->out->links; i++) {
        const struct postgres_slot *slot = slot_of(s, g->out->slot_name[i]);
        char argument[100];

        if (slot == NULL || !slot_keeps_wal(slot) || slot->active || slot->restart_lsn < o->start ||
            slot->restart_lsn >= target || synchronous(g, s))
            continue;
        snprintf(argument, sizeof argument, "'%s', '" LSN_FORMAT "'", slot->name, LSN_ARGS(target));
        return postgres_ask(g->who->postgres, POSTGRES_ADVANCE_SLOT, argument);
    }
    return false;
}

/* Let go of the slot that keeps most, unless something else keeps that WAL as well. */
static void
release(struct disk_guard *g, const struct postgres_sample *s, int64_t now_us)
{
    const struct postgres_slot *worst = worst_slot(s, g->facts.segment_bytes);

    if (release_waits(&g->release, now_us) || worst == NULL || g->facts.kept)
        return;
    /* what else kept that WAL keeps it no more: a checkpoint may be enough */
    if (g->kept_us != 0 && now_us - g->kept_us < CHECKPOINT_US && g->checkpoint.conn != NULL)
        return;
    release_slot(&g->release, s, worst, g->facts.free_bytes, now_us);
}

void
disk_guard_ship(struct disk_guard *g)
{
    squeeze(g, g->step != DISK_GUARD_WATCH);
}

/* ---- life ---- */

void
disk_guard_init(struct disk_guard *g, const struct who *who, struct outgoing *out,
                struct outbox *outbox, struct gaps *gaps, const struct rates *rates)
{
    g->who = who;
    g->out = out;
    g->outbox = outbox;
    g->rates = rates;
    release_init(&g->release, who, out, outbox, gaps);
    feedback_init(&g->feedback, who, out);
}

void
disk_guard_close(struct disk_guard *g)
{
    feedback_rest(&g->feedback);
    checkpoint_close(&g->checkpoint);
}

void
disk_guard_watch(const struct disk_guard *g, struct loop *l)
{
    if (g->who->role == ROLE_PRIMARY)
        loop_due(l, g->due_us);
    checkpoint_watch(&g->checkpoint, l);
    feedback_watch(&g->feedback, l);
}

static void
act(struct disk_guard *g, const struct postgres_sample *s, int64_t now_us)
{
    const struct disk_guard_facts *f = &g->facts;
    bool low = f->disk_known &&
               f->free_bytes < 2 * reserve_bytes(&g->who->config->pg_wal_reserve, f->disk_bytes);
    bool ours = g->checked_timeline == g->who->pool.timeline; /* the WAL in the outbox */

    if (ours)
        run_outbox(g, s);
    release_resume(&g->release);
    if (release_finish(&g->release, s, now_us))
        g->checkpoint_us = 0; /* a checkpoint removes what was freed */
    if (ours && now_us - g->advanced_us >= ADVANCE_US && advance_slots(g, s))
        g->advanced_us = now_us; /* one command at a time: other rooms want some, too */
    if (low && g->step >= DISK_GUARD_OUTBOX && g->checkpoint.conn == NULL &&
        (g->checkpoint_us == 0 || now_us - g->checkpoint_us >= CHECKPOINT_US)) {
        checkpoint_ask(&g->checkpoint, g->out->conninfo, now_us);
        g->checkpoint_us = now_us;
    }
    if (disk_guard_releases(g))
        release(g, s, now_us);
}

/* Another member is the primary: what is in the outbox stays there until this one is it again. */
static void
rest(struct disk_guard *g)
{
    outbox_stop(g->outbox);
    feedback_rest(&g->feedback);
    if (g->step != DISK_GUARD_WATCH)
        squeeze(g, false);
    g->step = DISK_GUARD_WATCH;
    g->release.slot[0] = g->kept_text[0] = '\0';
    g->checked_timeline = 0;
}

/* An outbox of an earlier time as the primary may hold WAL that is not of the pool's history. */
static void
check_outbox(struct disk_guard *g)
{
    timeline_t timeline = g->who->pool.timeline;

    if (g->checked_timeline == timeline || g->out->lineage.timeline != timeline || timeline == 0)
        return;
    if (spool_check_history(&g->outbox->spool, timeline, g->out->lineage.text,
                            g->out->lineage.length) == 0 ||
        outbox_set_aside(g->outbox, fail_message()) == 0)
        g->checked_timeline = timeline;
}

void
disk_guard_run(struct disk_guard *g, const struct loop *l, bool may_ask, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(g->who->postgres);
    struct disk_guard_limits limits = {.retain_max_bytes = g->who->config->slot_retain_max_bytes,
                                       .reserve = g->who->config->pg_wal_reserve,
                                       .hold = g->who->config->on_full_hold};
    bool up = postgres_state(g->who->postgres) == POSTGRES_UP;
    enum disk_guard_step before = g->step;

    for (size_t i = 0; i < g->out->links;
         i++) /* a dead server's outbox grows no more, nor one that fails */
        g->out->link[i].store[LINK_OUTBOX].grows =
            g->outbox->filling && !g->outbox->full && g->outbox->error[0] == '\0' && up;
    checkpoint_run(&g->checkpoint, l, now_us);
    if (g->who->role != ROLE_PRIMARY) {
        rest(g);
        return;
    }
    check_outbox(g);
    if (s != NULL && !s->in_recovery)
        feedback_run(&g->feedback, l, s, now_us);
    if (now_us < g->due_us)
        return;
    g->due_us = now_us + LOOK_US;
    if (s == NULL || s->in_recovery || !up || !may_ask)
        return;
    look(g, s, now_us);
    if (disk_guard_step(g, &g->facts, &limits, now_us)) {
        log_info("guard: %s", disk_guard_name(g->step));
        if ((before == DISK_GUARD_WATCH) != (g->step == DISK_GUARD_WATCH))
            squeeze(g, g->step != DISK_GUARD_WATCH);
    }
    act(g, s, now_us);
    feedback_look(&g->feedback, s, now_us);
}

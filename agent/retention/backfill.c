/* SPDX-License-Identifier: PostgreSQL */
/* See backfill.h. */
#include "retention/backfill.h"

#include "retention/slot.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/log.h"
#include "base/text.h"
#include "shipper/wal/pgwal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RETRY_US        (60 * SECOND_US)
#define ROOM_US         (2 * SECOND_US)
#define SILENT_US       (10 * SECOND_US)      /* a spool that gives nothing any more */
#define STORE_BYTES_MAX (UINT64_C(512) << 20) /* got ahead of what the far side has */

#define FETCHED "fetched"

const char *
backfill_source_name(enum backfill_source source)
{
    static const char *const name[] = {"pg_wal", "slot", "archive", "spools", "reseed"};

    return name[source];
}

/* The gap that link i waits for: its next byte is inside. NULL: there is none. */
static struct gap *
gap_of(struct backfill *d, size_t i)
{
    const struct link *l = &d->out->link[i];
    struct gap *gap;

    if (l->state != LINK_SHIPPING)
        return NULL;
    gap = gap_behind(d->gaps, l->member, l->sender.sent);
    return gap != NULL && gap->start <= l->sender.sent ? gap : NULL;
}

static void answer(struct backfill *d, size_t i, enum backfill_source source, const char *format,
                   ...) __attribute__((format(printf, 4, 5)));

static void
answer(struct backfill *d, size_t i, enum backfill_source source, const char *format, ...)
{
    char *said = d->search[i].answer[source], raw[BACKFILL_ANSWER_MAX], text[BACKFILL_ANSWER_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(text, sizeof text, raw, strlen(raw)); /* it quotes others */
    if (strcmp(said, text) == 0)
        return;
    memcpy(said, text, sizeof text);
    log_info("gap of %s: %s: %s", d->out->link[i].member, backfill_source_name(source), text);
}

/* ---- the store ---- */

static lsn_t
store_end(const struct backfill *d)
{
    const struct spool *s = &d->store.box.spool;

    return spool_empty(s) ? LSN_UNKNOWN : s->written;
}

/* Where the next byte that is to be got belongs. */
static lsn_t
next_wanted(const struct backfill *d, const struct gap *gap)
{
    lsn_t end = store_end(d);

    return end > gap->start ? end : gap->start;
}

/* Where what was got of the gap ends, also what is not proven yet. */
static lsn_t
come(const struct backfill *d, const struct gap *gap)
{
    lsn_t next = next_wanted(d, gap), proof = proof_next(&d->store.proof);

    return proof > next ? proof : next;
}

static uint64_t
left(const struct backfill *d, const struct gap *gap)
{
    lsn_t next = next_wanted(d, gap);

    return d->until > next ? d->until - next : 0;
}

/* WAL of another gap, or of one that was filled otherwise, is removed from the store first. */
static bool
store_fits(struct backfill *d, lsn_t from)
{
    struct spool *s = &d->store.box.spool;

    if (s->dir < 0 && outbox_reload(&d->store.box) < 0)
        return false;
    if (spool_empty(s) || (from >= s->start && from <= s->written))
        return true;
    outbox_prune(&d->store.box, UINT64_MAX);
    return false; /* try again in a moment */
}

static void
prune_store(struct backfill *d)
{
    const struct link *l = &d->out->link[d->link];
    lsn_t needed = outgoing_flushed(d->out, l);

    if (needed == LSN_UNKNOWN || spool_empty(&d->store.box.spool))
        return;
    if (d->busy && needed >= store_end(d)) /* the link waits at the store's end: that byte stays */
        needed = store_end(d) - 1;
    outbox_prune(&d->store.box, needed);
}

/* ---- one source after the other ---- */

static void
stop(struct backfill *d)
{
    outbox_stop(&d->store.box);
    d->busy = d->fetched = false;
    for (size_t i = 0; i < d->out->links; i++)
        d->out->link[i].store[LINK_GAP].grows = false;
}

static void
measure(struct backfill *d, uint64_t bytes, int64_t took_us)
{
    if (took_us > 0 && bytes > 0)
        d->rate = (double)bytes * (double)SECOND_US / (double)took_us;
}

/* "12 GB, about 5 min at 40 MB/s" */
static const char *
price(const struct backfill *d, uint64_t bytes, char *out, size_t size)
{
    char amount[24], rate[24], time[32];

    text_bytes(amount, sizeof amount, bytes);
    if (d->rate <= 0)
        snprintf(out, size, "%s, at a rate that is not known yet", amount);
    else
        snprintf(out, size, "%s, about %s at %s/s", amount,
                 text_duration(time, sizeof time,
                               (int64_t)((double)bytes / d->rate * (double)SECOND_US)),
                 text_bytes(rate, sizeof rate, (uint64_t)d->rate));
    return out;
}

/* The name of the source in use. */
static const char *
giver(const struct backfill *d, char *out, size_t size)
{
    if (d->source == FROM_ARCHIVE)
        snprintf(out, size, "the archive");
    else
        snprintf(out, size, "the spool of %s", d->who->config->member[d->member].name);
    return out;
}

/* A source has it: may so much be got? */
static bool
may_get(struct backfill *d, struct gap *gap)
{
    uint64_t bytes = left(d, gap);
    char cost[100], limit[24], from[64];

    if (gap->consent || bytes <= d->who->config->fetch_limit_bytes)
        return true;
    gap_turn(d->gaps, gap, GAP_DELAYED,
             "%s has it: %s; over fetch_limit (%s), so it waits for walferry gaps fill --yes",
             giver(d, from, sizeof from), price(d, bytes, cost, sizeof cost),
             text_bytes(limit, sizeof limit, d->who->config->fetch_limit_bytes));
    d->search[d->link].asks = true;
    stop(d);
    return false;
}

static void try_source(struct backfill *d, struct gap *gap, enum backfill_source source,
                       int64_t now_us);

static void
begin_archive(struct backfill *d, struct gap *gap, int64_t now_us)
{
    const struct identity *identity = who_identity(d->who);
    lsn_t next = come(d, gap), end;
    timeline_t file;
    char path[300];

    if (d->who->self->fetch_command[0] == '\0') {
        answer(d, d->link, FROM_ARCHIVE, "no fetch_command in [member %s] of the pool's file",
               d->who->self->name);
        try_source(d, gap, FROM_SPOOLS, now_us);
        return;
    }
    /* a name of this life: a command of a killed agent may still write its own file */
    snprintf(path, sizeof path, "%s/" FETCHED "-%llu", d->store.box.path,
             (unsigned long long)d->who->started_us);
    if (archive_busy(&d->archive))
        return;
    gap_store_switches(&d->store, gap, next, &file, &end);
    d->store.switched = false;
    if (archive_get(&d->archive, d->who->self->fetch_command, identity, file,
                    segment_start(next, identity->segment_bytes), path) < 0) {
        answer(d, d->link, FROM_ARCHIVE, "%s", fail_message());
        try_source(d, gap, FROM_SPOOLS, now_us);
    }
}

/* The next member whose relay is there: our own first, for a former standby's spool is near. */
static void
begin_spool(struct backfill *d, struct gap *gap, int64_t now_us)
{
    char place[128], conninfo[192], path[160];

    for (; d->member < d->who->config->members; d->member++) {
        const struct member *m = &d->who->config->member[d->member];

        if (m == d->who->self)
            snprintf(place, sizeof place, "%s", m->run);
        else
            snprintf(place, sizeof place, "%s/far/%s", d->who->self->run, m->name);
        snprintf(path, sizeof path, "%s/.s.PGSQL.5432", place);
        if (strcmp(m->name, gap->member) == 0 || access(path, F_OK) < 0 ||
            (m == d->who->self && spool_empty(d->who->spool)))
            continue;
        snprintf(conninfo, sizeof conninfo, "host='%s' port=5432 user=walferry", place);
        if (outbox_from(&d->store.box, conninfo, NULL) < 0)
            continue;
        d->store.box.error[0] = '\0';
        d->store.box.retry_us = 0;
        d->begun = next_wanted(d, gap);
        d->moved = d->begun;
        d->begun_us = d->moved_us = now_us;
        outbox_fill(&d->store.box, who_identity(d->who), gap->timeline, d->begun);
        return;
    }
    answer(d, d->link, FROM_SPOOLS, "%s",
           d->refusals[0] != '\0' ? d->refusals
                                  : "no other member's spool can be reached from here");
    if (next_wanted(d, gap) > d->tried_from) { /* a part came: ask all again for the rest */
        d->tried_from = next_wanted(d, gap);
        try_source(d, gap, FROM_ARCHIVE, now_us);
    } else {
        try_source(d, gap, FROM_RESEED, now_us);
    }
}

static void
try_source(struct backfill *d, struct gap *gap, enum backfill_source source, int64_t now_us)
{
    struct search *c = &d->search[d->link];

    outbox_stop(&d->store.box);
    proof_drop(&d->store.proof);
    d->fetched = d->store.proving = false;
    d->source = source;
    if (source == FROM_ARCHIVE) {
        begin_archive(d, gap, now_us);
    } else if (source == FROM_SPOOLS) {
        d->member = 0;
        d->refusals[0] = '\0';
        begin_spool(d, gap, now_us);
    } else {
        stop(d);
        c->retry_us = now_us + RETRY_US;
        answer(d, d->link, FROM_RESEED,
               "a new copy of %s is what is left: walferry seed --replace there", gap->member);
        gap_turn(
            d->gaps, gap, GAP_LOST,
            "neither pg_wal nor the archive nor another member's spool has it; make a new copy "
            "of %s (walferry seed --replace there), or say walferry gaps give-up",
            gap->member);
    }
}

/* Another link ships what is in the store: its turn first. */
static bool
store_needed(const struct backfill *d)
{
    const struct link *l = &d->out->link[d->link];
    const struct spool *s = &d->store.box.spool;

    return l->state == LINK_SHIPPING && !spool_empty(s) && l->sender.sent >= s->start &&
           l->sender.sent < s->written;
}

static void
begin_search(struct backfill *d, size_t i, struct gap *gap, lsn_t until, int64_t now_us)
{
    if (i != d->link && store_needed(d))
        return;
    if (d->busy || now_us < d->search[i].retry_us || d->search[i].asks ||
        gap->state == GAP_GIVEN_UP || archive_busy(&d->archive) ||
        !store_fits(d, d->out->link[i].sender.sent))
        return;
    d->busy = true;
    d->link = i;
    d->until = until;
    d->tried_from = next_wanted(d, gap);
    d->out->link[i].store[LINK_GAP].grows = true;
    try_source(d, gap, FROM_ARCHIVE, now_us);
}

static void
filled(struct backfill *d, struct gap *gap)
{
    char from[64];

    giver(d, from, sizeof from);
    log_info("gap of %s: all of it is here, from %s", gap->member, from);
    gap_turn(d->gaps, gap, GAP_IN_FLIGHT, "all of it was got from %s and is on its way", from);
    stop(d);
}

/* The source has the WAL, but this host's disk cannot take it. Room comes soon when the store has
 * only to be shipped. */
static void
cannot_keep(struct backfill *d, struct gap *gap, int64_t now_us)
{
    bool soon = d->out->link[d->link].sender.far.flushed < store_end(d);
    char from[64];

    d->search[d->link].retry_us = now_us + (soon ? ROOM_US : RETRY_US);
    gap_turn(d->gaps, gap, GAP_DELAYED, "%s has it, but it cannot be kept here: %s",
             giver(d, from, sizeof from), fail_message());
    stop(d);
}

static void
run_archive(struct backfill *d, struct gap *gap, int64_t now_us)
{
    const struct archive_job *j = &d->archive.job;
    char cost[100];
    int got = 0;

    if (archive_done(&d->archive)) {
        if (j->reason[0] != '\0') {
            answer(d, d->link, FROM_ARCHIVE, "%s", j->reason);
            try_source(d, gap, FROM_SPOOLS, now_us);
            return;
        }
        answer(d, d->link, FROM_ARCHIVE, "has it");
        d->fetched = true;
        d->store.given_bytes = 0;
        measure(d, j->identity.segment_bytes, j->took_us);
        if (!may_get(d, gap))
            return;
    }
    if (d->fetched) {
        gap_turn(d->gaps, gap, GAP_IN_FLIGHT, "got from the archive: %s are left",
                 price(d, left(d, gap), cost, sizeof cost));
        got = gap_store_give(&d->store, gap, &d->archive.job, now_us);
        if (got == 0)
            return;
        d->fetched = false;
        unlink(j->path);
    }
    if (got >= 0)
        got = gap_store_prove_end(&d->store, gap, d->until);
    if (got >= 0)
        got = proof_pour(&d->store.proof, &d->store.box.spool, now_us);
    if (got == ERR_LOCAL) {
        cannot_keep(d, gap, now_us);
    } else if (got < 0 && got != ERR_AGAIN) {
        answer(d, d->link, FROM_ARCHIVE, "%s", fail_message());
        try_source(d, gap, FROM_SPOOLS, now_us);
    } else if (left(d, gap) == 0) {
        filled(d, gap);
    } else if (come(d, gap) < d->until &&
               d->store.box.spool.written - d->store.box.spool.start < STORE_BYTES_MAX) {
        begin_archive(d, gap, now_us);
    }
}

static void
run_spools(struct backfill *d, struct gap *gap, int64_t now_us)
{
    const char *name = d->who->config->member[d->member].name;
    lsn_t end = store_end(d), come_to;
    char cost[100];

    if (d->store.box.error[0] == '\0' && gap_store_prove_end(&d->store, gap, d->until) < 0) {
        d->store.box.code = ERR_CORRUPT;
        snprintf(d->store.box.error, sizeof d->store.box.error, "%s", fail_message());
    }
    if (d->store.box.error[0] != '\0' && d->store.box.code == ERR_LOCAL) {
        fail(ERR_LOCAL, "%s", d->store.box.error);
        cannot_keep(d, gap, now_us);
        return;
    }
    if (d->store.box.error[0] != '\0') {
        snprintf(d->refusals + strlen(d->refusals), sizeof d->refusals - strlen(d->refusals),
                 "%s%s: %s", d->refusals[0] != '\0' ? "; " : "", name, d->store.box.error);
        outbox_stop(&d->store.box);
        d->member++;
        begin_spool(d, gap, now_us);
        return;
    }
    come_to = come(d, gap);
    if (come_to > d->moved ||
        (d->store.box.full && d->out->link[d->link].sender.far.flushed < end)) {
        d->moved = come_to;
        d->moved_us = now_us;
    }
    if (left(d, gap) > 0 && now_us - d->moved_us >= SILENT_US) {
        d->store.box.code = d->store.box.full ? ERR_LOCAL : ERR_PEER;
        snprintf(d->store.box.error, sizeof d->store.box.error, "%s",
                 d->store.box.full ? "the outbox's file system has less than pg_wal_reserve left"
                 : end > d->begun  ? "it has only a part of it"
                                   : "nothing came within 10 s");
        return;
    }
    if (end <= d->begun)
        return;
    answer(d, d->link, FROM_SPOOLS, "%s has it", name);
    measure(d, end - d->begun, now_us - d->begun_us);
    if (!may_get(d, gap))
        return;
    gap_turn(d->gaps, gap, GAP_IN_FLIGHT, "got from the spool of %s: %s are left", name,
             price(d, left(d, gap), cost, sizeof cost));
    if (left(d, gap) == 0)
        filled(d, gap);
}

void
backfill_run(struct backfill *d, const struct loop *l, int64_t now_us)
{
    struct gap *gap = d->busy ? gap_of(d, d->link) : NULL;

    outbox_run(&d->store.box, l, now_us);
    if (d->busy && (gap == NULL || gap->state == GAP_GIVEN_UP)) {
        stop(d); /* the link ended, or the gap: looked at anew when it is back */
        d->search[d->link].retry_us = 0;
    }
    if (!d->busy || gap == NULL) {
        archive_done(&d->archive); /* of a gap that was closed meanwhile */
        return;
    }
    if (d->source == FROM_ARCHIVE)
        run_archive(d, gap, now_us);
    else
        run_spools(d, gap, now_us);
}

/* ---- once a second ---- */

/* Close the gaps of which the far side has all on disk: by what was shipped in this session, or by the
 * word of who feeds it. */
static void
reach(struct backfill *d, size_t i)
{
    const struct link *l = &d->out->link[i];
    lsn_t upto = outgoing_flushed(d->out, l);
    bool changed = false;
    size_t closed;

    if (!outgoing_rests(d->out, l) && l->sender.sent < upto)
        upto = l->sender.sent;
    if (upto == LSN_UNKNOWN)
        return;
    closed = gaps_reach(d->gaps, l->member, upto, &changed);
    if (closed == 0)
        return;
    gaps_keep(d->gaps);
    log_info("gap of %s is closed: it is durable up to " LSN_FORMAT, l->member, LSN_ARGS(upto));
    d->search[i] = (struct search){0};
}

/* Why no WAL comes: for status here, and over the link for the DBA there. */
static void
tell(struct backfill *d, size_t i, const struct gap *gap)
{
    struct link *l = &d->out->link[i];
    char bytes[24];

    snprintf(l->source_reason, sizeof l->source_reason,
             "WAL from " LSN_FORMAT " to " LSN_FORMAT " is gone from the primary (%s, %s): %s",
             LSN_ARGS(gap->start), LSN_ARGS(gap->end),
             text_bytes(bytes, sizeof bytes, gap->end - gap->start), gap_state_name(gap->state),
             gap->doing[0] != '\0' ? gap->doing : "the ladder is climbed");
}

static void
look_at_hole(struct backfill *d, size_t i, int64_t now_us)
{
    struct link *l = &d->out->link[i];
    const struct spool *store = &d->store.box.spool;
    uint32_t segment_bytes = who_identity(d->who)->segment_bytes;
    const struct postgres_slot *slot;
    bool changed = false;
    struct gap *gap;
    lsn_t oldest;

    if (!spool_empty(store) && l->hole.start >= store->start && l->hole.start < store->available) {
        l->hole = (struct hole){0};
        return;
    }
    if (pgwal_oldest(d->who->self->pgdata, segment_bytes, l->hole.start, &oldest) < 0)
        return;
    gaps_reach(d->gaps, l->member, l->sender.resume_lsn, &changed); /* it has all before */
    gap = gap_behind(d->gaps, l->member, l->hole.start);
    if (oldest <= l->hole.start) {
        answer(d, i, FROM_PG_WAL, "has it");
        if (gap != NULL && gap->start <= l->hole.start)
            gap_turn(d->gaps, gap, GAP_IN_FLIGHT, "pg_wal has it, it is streamed from there");
        l->hole = (struct hole){0};
        return;
    }
    answer(d, i, FROM_PG_WAL, "begins at " LSN_FORMAT, LSN_ARGS(oldest));
    slot = slot_of(postgres_sample(d->who->postgres), d->out->slot_name[i]);
    if (slot != NULL && !slot->lost)
        answer(d, i, FROM_SLOT, "%s keeps WAL from " LSN_FORMAT " on", slot->name,
               LSN_ARGS(slot->restart_lsn));
    else
        answer(d, i, FROM_SLOT, "%s is gone or was invalidated; it is made anew",
               d->out->slot_name[i]);
    if (gap != NULL && gap->start <= l->hole.start) {
        gap->timeline = l->hole.timeline;
        if (gap->end > oldest) /* less is gone than was feared */
            gap->end = oldest;
    }
    if (gap == NULL || gap->start > l->hole.start || gap->end < oldest)
        gap =
            gap_note(d->gaps, l->member, l->hole.timeline, l->hole.start, oldest, l->source_reason);
    begin_search(d, i, gap, oldest, now_us);
    tell(d, i, gap);
}

/* This member is no primary: what others lack is their new primary's to find. */
static void
forget(struct backfill *d)
{
    if (d->busy)
        stop(d);
    if (d->who->role != ROLE_STANDBY || d->gaps->count == 0)
        return;
    log_info("%zu gaps are closed: this member is a standby now", d->gaps->count);
    d->gaps->count = 0;
    gaps_keep(d->gaps);
}

/* pg_wal may have lost more meanwhile, or its missing segments may be back. */
static void
look_at_end(struct backfill *d)
{
    const struct link *l = &d->out->link[d->link];
    struct gap *gap = d->busy ? gap_of(d, d->link) : NULL;

    if (gap == NULL || pgwal_oldest(d->who->self->pgdata, who_identity(d->who)->segment_bytes,
                                    next_wanted(d, gap), &d->until) < 0)
        return;
    if (d->until > gap->end)
        gap_note(d->gaps, l->member, gap->timeline, gap->start, d->until, "pg_wal went on");
}

void
backfill_keep(struct backfill *d, int64_t now_us)
{
    for (size_t i = 0; i < d->out->links; i++)
        reach(d, i);
    if (d->who->role != ROLE_PRIMARY || d->out->links == 0) {
        forget(d);
        return;
    }
    prune_store(d);
    look_at_end(d);
    for (size_t i = 0; i < d->out->links; i++)
        if (d->out->link[i].hole.known)
            look_at_hole(d, i, now_us);
}

/* ---- life ---- */

static int
remove_fetched(void *path, const struct durable_entry *entry)
{
    char file[600];

    if (strncmp(entry->name, FETCHED, strlen(FETCHED)) == 0) {
        snprintf(file, sizeof file, "%s/%s", (const char *)path, entry->name);
        unlink(file);
    }
    return 0;
}

int
backfill_open(struct backfill *d, const struct who *who, struct outgoing *out, struct gaps *gaps)
{
    int code;

    d->who = d->store.who = who;
    d->out = out;
    d->store.out = out;
    d->gaps = gaps;

    snprintf(d->path, sizeof d->path, "%s/gap", d->who->self->outbox);
    if (mkdir(d->path, 0700) < 0 && errno != EEXIST)
        return fail_sys(ERR_LOCAL, "cannot make %s", d->path);
    code = archive_init(&d->archive);
    if (code == 0)
        code = outbox_open(&d->store.box, "gap", d->path, d->who->self->run, d->who->self->postgres,
                           NULL);
    if (code == 0 && d->store.box.spool.dir >= 0)
        durable_list(d->store.box.spool.dir, remove_fetched, d->path);
    d->store.box.bytes_max = STORE_BYTES_MAX;
    d->store.box.proof = &d->store.proof;
    d->store.box.reserve = d->who->config->pg_wal_reserve;
    return code;
}

void
backfill_close(struct backfill *d)
{
    archive_release(&d->archive);
    proof_release(&d->store.proof);
    outbox_close(&d->store.box);
}

void
backfill_watch(const struct backfill *d, struct loop *l, int64_t now_us)
{
    archive_watch(&d->archive, l);
    outbox_watch(&d->store.box, l, now_us);
    if (d->busy && d->fetched && !d->store.box.spool.flushing)
        loop_due(l, 0);
}

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
#define GIVE_PER_TURN   (1u << 20)            /* of a segment: other rooms have their turn, too */

#define FETCHED "fetched"

static const char *const rung_names[RUNGS] = {"pg_wal", "slot", "archive", "spools", "reseed"};

/* What a link waits for: from its next byte on. NULL: nothing is gone for it. */
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

static void answer(struct backfill *d, size_t i, enum rung rung, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void
answer(struct backfill *d, size_t i, enum rung rung, const char *format, ...)
{
    char *said = d->climb[i].answer[rung], raw[BACKFILL_ANSWER_MAX], text[BACKFILL_ANSWER_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(text, sizeof text, raw, strlen(raw)); /* others' words are in it */
    if (strcmp(said, text) == 0)
        return;
    memcpy(said, text, sizeof text);
    log_info("gap of %s: %s: %s", d->out->link[i].member, rung_names[rung], text);
}

/* ---- the store ---- */

static lsn_t
store_end(const struct backfill *d)
{
    const struct spool *s = &d->store.spool;

    return spool_empty(s) ? LSN_UNKNOWN : s->written;
}

/* Where the next byte that is to be got belongs. */
static lsn_t
next_wanted(const struct backfill *d, const struct gap *gap)
{
    lsn_t end = store_end(d);

    return end > gap->start ? end : gap->start;
}

/* What has come of it, also what is not proven yet. */
static lsn_t
come(const struct backfill *d, const struct gap *gap)
{
    lsn_t next = next_wanted(d, gap), proof = proof_next(&d->proof);

    return proof > next ? proof : next;
}

static uint64_t
left(const struct backfill *d, const struct gap *gap)
{
    lsn_t next = next_wanted(d, gap);

    return d->until > next ? d->until - next : 0;
}

/* What lies there of another gap, or of one that was filled otherwise, is of no use any more. */
static bool
store_fits(struct backfill *d, lsn_t from)
{
    struct spool *s = &d->store.spool;

    if (s->dir < 0 && outbox_reload(&d->store) < 0)
        return false;
    if (spool_empty(s) || (from >= s->start && from <= s->written))
        return true;
    outbox_prune(&d->store, UINT64_MAX);
    return false; /* in a moment */
}

static void
prune_store(struct backfill *d)
{
    const struct link *l = &d->out->link[d->link];
    lsn_t needed = l->sender.far.flushed;

    if (!l->sender.far_known || !l->sender.far_compared || spool_empty(&d->store.spool))
        return;
    if (d->busy && needed >= store_end(d)) /* its end stays where the link waits */
        needed = store_end(d) - 1;
    outbox_prune(&d->store, needed);
}

/* ---- climbing ---- */

static void
stop(struct backfill *d)
{
    outbox_stop(&d->store);
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

/* Who gives what is got now. */
static const char *
giver(const struct backfill *d, char *out, size_t size)
{
    if (d->rung == RUNG_ARCHIVE)
        snprintf(out, size, "the archive");
    else
        snprintf(out, size, "the spool of %s", d->who->config->member[d->member].name);
    return out;
}

/* A rung has it: may so much be got? */
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
    d->climb[d->link].asks = true;
    stop(d);
    return false;
}

static void climb(struct backfill *d, struct gap *gap, enum rung rung, int64_t now_us);

/* The timeline of the store's end, and where that one ends in the segment of lsn: then the file of
 * the next timeline, *ret_file, has both. False: it goes on. */
static bool
switches(const struct backfill *d, const struct gap *gap, lsn_t lsn, timeline_t *ret_file,
         lsn_t *ret_end)
{
    const struct spool *s = &d->store.spool;
    timeline_t timeline = spool_empty(s) ? gap->timeline : s->timeline;
    uint32_t segment_bytes = who_identity(d->who)->segment_bytes;

    *ret_file = timeline;
    if (timeline >= d->out->lineage.timeline ||
        !history_switch_point(d->out->lineage.text, d->out->lineage.length, timeline, ret_end) ||
        *ret_end >= segment_start(lsn, segment_bytes) + segment_bytes)
        return false;
    *ret_file = history_next(d->out->lineage.text, d->out->lineage.length, timeline,
                             d->out->lineage.timeline);
    return true;
}

static void
begin_archive(struct backfill *d, struct gap *gap, int64_t now_us)
{
    const struct identity *identity = who_identity(d->who);
    lsn_t next = come(d, gap), end;
    timeline_t file;
    char path[300];

    if (d->who->self->fetch_command[0] == '\0') {
        answer(d, d->link, RUNG_ARCHIVE, "no fetch_command in [member %s] of the pool's file",
               d->who->self->name);
        climb(d, gap, RUNG_SPOOLS, now_us);
        return;
    }
    /* of this life: what a killed agent has started may write still */
    snprintf(path, sizeof path, "%s/" FETCHED "-%llu", d->store.path,
             (unsigned long long)d->who->started_us);
    if (archive_busy(&d->archive))
        return;
    switches(d, gap, next, &file, &end);
    d->switched = false;
    if (archive_get(&d->archive, d->who->self->fetch_command, identity, file,
                    segment_start(next, identity->segment_bytes), path) < 0) {
        answer(d, d->link, RUNG_ARCHIVE, "%s", fail_message());
        climb(d, gap, RUNG_SPOOLS, now_us);
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
        if (outbox_from(&d->store, conninfo, NULL) < 0)
            continue;
        d->store.error[0] = '\0';
        d->store.retry_us = 0;
        d->begun = next_wanted(d, gap);
        d->moved = d->begun;
        d->begun_us = d->moved_us = now_us;
        outbox_fill(&d->store, who_identity(d->who), gap->timeline, d->begun);
        return;
    }
    answer(d, d->link, RUNG_SPOOLS, "%s",
           d->refusals[0] != '\0' ? d->refusals
                                  : "no other member's spool can be reached from here");
    if (next_wanted(d, gap) > d->climbed_from) { /* a part came: again, for the rest */
        d->climbed_from = next_wanted(d, gap);
        climb(d, gap, RUNG_ARCHIVE, now_us);
    } else {
        climb(d, gap, RUNG_RESEED, now_us);
    }
}

static void
climb(struct backfill *d, struct gap *gap, enum rung rung, int64_t now_us)
{
    struct climb *c = &d->climb[d->link];

    outbox_stop(&d->store);
    proof_drop(&d->proof);
    d->fetched = d->proving = false;
    d->rung = rung;
    if (rung == RUNG_ARCHIVE) {
        begin_archive(d, gap, now_us);
    } else if (rung == RUNG_SPOOLS) {
        d->member = 0;
        d->refusals[0] = '\0';
        begin_spool(d, gap, now_us);
    } else {
        stop(d);
        c->retry_us = now_us + RETRY_US;
        answer(d, d->link, RUNG_RESEED,
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
    const struct spool *s = &d->store.spool;

    return l->state == LINK_SHIPPING && !spool_empty(s) && l->sender.sent >= s->start &&
           l->sender.sent < s->written;
}

static void
begin_climb(struct backfill *d, size_t i, struct gap *gap, lsn_t until, int64_t now_us)
{
    if (i != d->link && store_needed(d))
        return;
    if (d->busy || now_us < d->climb[i].retry_us || d->climb[i].asks ||
        gap->state == GAP_GIVEN_UP || archive_busy(&d->archive) ||
        !store_fits(d, d->out->link[i].sender.sent))
        return;
    d->busy = true;
    d->link = i;
    d->until = until;
    d->climbed_from = next_wanted(d, gap);
    d->out->link[i].store[LINK_GAP].grows = true;
    climb(d, gap, RUNG_ARCHIVE, now_us);
}

/* ---- what the rungs give ---- */

/* The older timeline has its part: what follows is the newer one's, from the segment's start. */
static int
switch_timeline(struct backfill *d, timeline_t timeline)
{
    int code;

    if (timeline != d->out->lineage.timeline)
        return fail(ERR_PEER, "the history of timeline %u is not at hand", timeline);
    code =
        spool_put_history(&d->store.spool, timeline, d->out->lineage.text, d->out->lineage.length);
    if (code == 0) {
        d->switched = true;
        d->given_bytes = 0;
    }
    return code;
}

/* The fetched segment into the store, a megabyte at a time. 1: all of it is there. */
static int
give(struct backfill *d, const struct gap *gap, int64_t now_us)
{
    struct spool *s = &d->store.spool;
    const struct archive_job *j = &d->archive.job;
    static uint8_t bytes[FRAME_WAL_MAX];
    uint32_t turn = d->given_bytes + GIVE_PER_TURN, upto = j->identity.segment_bytes;
    timeline_t timeline = j->timeline, file;
    lsn_t end;
    bool older = !d->switched && switches(d, gap, j->lsn, &file, &end);
    int fd, code = 0;

    if (older) {
        timeline = spool_empty(s) ? gap->timeline : s->timeline;
        upto = end > j->lsn ? (uint32_t)(end - j->lsn) : 0;
    }
    if (durable_open(AT_FDCWD, j->path, DURABLE_READ, &fd) < 0)
        return fail_sys(ERR_LOCAL, "cannot open %s", j->path);
    if (s->damaged) /* it is mended soon */
        code = fail(ERR_LOCAL, "%s", d->store.error);
    if (code == 0)
        code = spool_adopt(s, &j->identity);
    if (code == 0 && spool_empty(s))
        code = spool_begin(s, timeline, j->lsn);
    if (code == 0 && d->given_bytes == 0 && !d->switched && proof_next(&d->proof) != j->lsn)
        code = proof_begin(&d->proof, s, timeline, j->lsn);
    while (code == 0 && d->given_bytes < upto && d->given_bytes < turn) {
        uint32_t left_here = upto - d->given_bytes, n = (uint32_t)sizeof bytes;

        if (n > left_here)
            n = left_here;
        if (durable_read(fd, bytes, n, d->given_bytes) != (ssize_t)n)
            code = fail_sys(ERR_LOCAL, "cannot read %s", j->path);
        else
            code = proof_put(&d->proof, s, timeline, j->lsn + d->given_bytes, bytes, n, now_us);
        if (code == 0)
            d->given_bytes += n;
    }
    durable_close(fd);
    if (code == 0 && older && d->given_bytes == upto)
        return switch_timeline(d, j->timeline);
    if (code == ERR_AGAIN) /* it waits for a flush */
        return 0;
    return code < 0 ? code : d->given_bytes == j->identity.segment_bytes;
}

/* All has come but the end of its last record: pg_wal, where the gap ends, has that. 0, or an
 * error: ERR_CORRUPT when the record does not go on there. */
static int
prove_end(struct backfill *d, const struct gap *gap)
{
    const struct postgres_sample *s = postgres_sample(d->who->postgres);
    struct records *r = &d->beyond;
    uint32_t segment_bytes = who_identity(d->who)->segment_bytes;
    static uint8_t bytes[FRAME_WAL_MAX];
    char path[sizeof d->who->self->pgdata + 40], name[SEGMENT_NAME_SIZE];
    lsn_t held = d->proof.records.whole, end;
    timeline_t file;
    size_t n = sizeof bytes;
    ssize_t got;
    int fd;

    if (proof_next(&d->proof) != d->until || held >= d->until) {
        d->proving = false;
        return 0;
    }
    if (!d->proving)
        *r = d->proof.records;
    d->proving = true;
    if (s == NULL || s->flush <= r->at)
        return 0;
    if (n > s->flush - r->at)
        n = (size_t)(s->flush - r->at);
    switches(d, gap, r->at, &file, &end);
    segment_name(name, file, r->at, segment_bytes);
    snprintf(path, sizeof path, "%s/pg_wal/%s", d->who->self->pgdata, name);
    if (durable_open(AT_FDCWD, path, DURABLE_READ, &fd) < 0)
        return 0; /* pg_wal goes on: look_at_end sees it */
    got = durable_read(fd, bytes, n, r->at % segment_bytes);
    durable_close(fd);
    r->timeline = file;
    if (got > 0 && records_put(r, bytes, (size_t)got) < 0 && r->whole <= held)
        return ERR_CORRUPT;
    if (r->whole > held)
        proof_trust(&d->proof);
    return 0;
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

/* A giver has it, this host's disk is why it is not taken: room comes soon when what is here has
 * only to be shipped. */
static void
cannot_keep(struct backfill *d, struct gap *gap, int64_t now_us)
{
    bool soon = d->out->link[d->link].sender.far.flushed < store_end(d);
    char from[64];

    d->climb[d->link].retry_us = now_us + (soon ? ROOM_US : RETRY_US);
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
            answer(d, d->link, RUNG_ARCHIVE, "%s", j->reason);
            climb(d, gap, RUNG_SPOOLS, now_us);
            return;
        }
        answer(d, d->link, RUNG_ARCHIVE, "has it");
        d->fetched = true;
        d->given_bytes = 0;
        measure(d, j->identity.segment_bytes, j->took_us);
        if (!may_get(d, gap))
            return;
    }
    if (d->fetched) {
        gap_turn(d->gaps, gap, GAP_IN_FLIGHT, "got from the archive: %s are left",
                 price(d, left(d, gap), cost, sizeof cost));
        got = give(d, gap, now_us);
        if (got == 0)
            return;
        d->fetched = false;
        unlink(j->path);
    }
    if (got >= 0)
        got = prove_end(d, gap);
    if (got >= 0)
        got = proof_pour(&d->proof, &d->store.spool, now_us);
    if (got == ERR_LOCAL) {
        cannot_keep(d, gap, now_us);
    } else if (got < 0 && got != ERR_AGAIN) {
        answer(d, d->link, RUNG_ARCHIVE, "%s", fail_message());
        climb(d, gap, RUNG_SPOOLS, now_us);
    } else if (left(d, gap) == 0) {
        filled(d, gap);
    } else if (come(d, gap) < d->until &&
               d->store.spool.written - d->store.spool.start < STORE_BYTES_MAX) {
        begin_archive(d, gap, now_us);
    }
}

static void
run_spools(struct backfill *d, struct gap *gap, int64_t now_us)
{
    const char *name = d->who->config->member[d->member].name;
    lsn_t end = store_end(d), come_to;
    char cost[100];

    if (d->store.error[0] == '\0' && prove_end(d, gap) < 0) {
        d->store.code = ERR_CORRUPT;
        snprintf(d->store.error, sizeof d->store.error, "%s", fail_message());
    }
    if (d->store.error[0] != '\0' && d->store.code == ERR_LOCAL) {
        fail(ERR_LOCAL, "%s", d->store.error);
        cannot_keep(d, gap, now_us);
        return;
    }
    if (d->store.error[0] != '\0') {
        snprintf(d->refusals + strlen(d->refusals), sizeof d->refusals - strlen(d->refusals),
                 "%s%s: %s", d->refusals[0] != '\0' ? "; " : "", name, d->store.error);
        outbox_stop(&d->store);
        d->member++;
        begin_spool(d, gap, now_us);
        return;
    }
    come_to = come(d, gap);
    if (come_to > d->moved || (d->store.full && d->out->link[d->link].sender.far.flushed < end)) {
        d->moved = come_to;
        d->moved_us = now_us;
    }
    if (left(d, gap) > 0 && now_us - d->moved_us >= SILENT_US) {
        d->store.code = d->store.full ? ERR_LOCAL : ERR_PEER;
        snprintf(d->store.error, sizeof d->store.error, "%s",
                 d->store.full    ? "the outbox's file system has less than pg_wal_reserve left"
                 : end > d->begun ? "it has only a part of it"
                                  : "nothing came within 10 s");
        return;
    }
    if (end <= d->begun)
        return;
    answer(d, d->link, RUNG_SPOOLS, "%s has it", name);
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

    outbox_run(&d->store, l, now_us);
    if (d->busy && (gap == NULL || gap->state == GAP_GIVEN_UP)) {
        stop(d); /* the link ended, or the gap: looked at anew when it is back */
        d->climb[d->link].retry_us = 0;
    }
    if (!d->busy) {
        archive_done(&d->archive); /* of a gap that was closed meanwhile */
        return;
    }
    if (d->rung == RUNG_ARCHIVE)
        run_archive(d, gap, now_us);
    else
        run_spools(d, gap, now_us);
}

/* ---- once a second ---- */

/* What the far side has on disk, of what it was shipped in this session. */
static void
reach(struct backfill *d, size_t i)
{
    const struct sender *s = &d->out->link[i].sender;
    lsn_t upto = s->far.flushed < s->sent ? s->far.flushed : s->sent;
    bool changed = false;
    size_t closed;

    if (!s->far_known || !s->far_compared)
        return;
    closed = gaps_reach(d->gaps, d->out->link[i].member, upto, &changed);
    if (closed == 0)
        return;
    gaps_keep(d->gaps);
    log_info("gap of %s is closed: it is durable up to " LSN_FORMAT, d->out->link[i].member,
             LSN_ARGS(upto));
    d->climb[i] = (struct climb){0};
}

/* Why nothing comes: for status here, and over the link for the DBA there. */
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
    const struct spool *store = &d->store.spool;
    uint32_t segment_bytes = who_identity(d->who)->segment_bytes;
    const struct postgres_slot *slot;
    bool changed = false;
    struct gap *gap;
    lsn_t oldest;

    if (!spool_empty(store) && l->hole.start >= store->start && l->hole.start < store->available) {
        l->hole.known = false;
        return;
    }
    if (pgwal_oldest(d->who->self->pgdata, segment_bytes, l->hole.start, &oldest) < 0)
        return;
    gaps_reach(d->gaps, l->member, l->sender.resume_lsn, &changed); /* all before is there */
    gap = gap_behind(d->gaps, l->member, l->hole.start);
    if (oldest <= l->hole.start) {
        answer(d, i, RUNG_PG_WAL, "has it");
        l->hole.known = false;
        if (gap != NULL && gap->start <= l->hole.start)
            gap_turn(d->gaps, gap, GAP_IN_FLIGHT, "pg_wal has it, it is streamed from there");
        return;
    }
    answer(d, i, RUNG_PG_WAL, "begins at " LSN_FORMAT, LSN_ARGS(oldest));
    slot = slot_of(postgres_sample(d->who->postgres), d->out->slot_name[i]);
    if (slot != NULL && !slot->lost)
        answer(d, i, RUNG_SLOT, "%s keeps WAL from " LSN_FORMAT " on", slot->name,
               LSN_ARGS(slot->restart_lsn));
    else
        answer(d, i, RUNG_SLOT, "%s is gone or was invalidated; it is made anew",
               d->out->slot_name[i]);
    if (gap != NULL && gap->start <= l->hole.start) {
        gap->timeline = l->hole.timeline;
        if (gap->end > oldest) /* what was feared to be gone, and is not */
            gap->end = oldest;
    }
    if (gap == NULL || gap->start > l->hole.start || gap->end < oldest)
        gap =
            gap_note(d->gaps, l->member, l->hole.timeline, l->hole.start, oldest, l->source_reason);
    begin_climb(d, i, gap, oldest, now_us);
    tell(d, i, gap);
}

/* What others lack of a former primary is told by their new one. */
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

/* pg_wal may lose more meanwhile, or may have been given back what it lacked. */
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

/* ---- asked by people ---- */

static json_t *
rungs_json(const struct climb *c)
{
    json_t *rungs = json_array();

    for (enum rung r = 0; r < RUNGS; r++)
        if (c->answer[r][0] != '\0')
            json_array_append_new(
                rungs, json_pack("{s:s s:s}", "rung", rung_names[r], "answer", c->answer[r]));
    return rungs;
}

json_t *
backfill_report(const struct backfill *d)
{
    json_t *all = json_array();

    for (size_t i = 0; i < d->gaps->count; i++) {
        const struct gap *gap = &d->gaps->gap[i];
        json_t *json = gap_json(gap, who_identity(d->who)->segment_bytes);

        for (size_t k = 0; k < d->out->links; k++)
            if (strcmp(d->out->link[k].member, gap->member) == 0)
                json_object_set_new(json, "rungs", rungs_json(&d->climb[k]));
        json_object_set_new(json, "rate_bytes_per_second",
                            d->rate > 0 ? json_integer((json_int_t)d->rate) : json_null());
        json_array_append_new(all, json);
    }
    return all;
}

static size_t
fill_now(struct backfill *d, const char *member, bool yes)
{
    size_t count = 0;

    for (size_t i = 0; i < d->gaps->count; i++) {
        struct gap *gap = &d->gaps->gap[i];

        if (member != NULL && strcmp(gap->member, member) != 0)
            continue;
        count++;
        gap->consent |= yes;
        if (gap->state != GAP_IN_FLIGHT) {
            gap->state = GAP_DELAYED;
            snprintf(gap->doing, sizeof gap->doing, "asked for by walferry gaps fill");
        }
    }
    for (size_t i = 0; i < d->out->links; i++) {
        d->climb[i].asks = false;
        d->climb[i].retry_us = 0;
    }
    gaps_keep(d->gaps);
    return count;
}

static size_t
give_up(struct backfill *d, const char *member, const char *reason)
{
    size_t count = 0;

    for (size_t i = 0; i < d->gaps->count; i++) {
        struct gap *gap = &d->gaps->gap[i];

        if (member != NULL && strcmp(gap->member, member) != 0)
            continue;
        count++;
        gap_turn(d->gaps, gap, GAP_GIVEN_UP, "%s", reason);
    }
    return count;
}

void
backfill_request(struct backfill *d, struct control *control, uint64_t client,
                 const json_t *request)
{
    const char *what = json_string_value(json_object_get(request, "do"));
    const char *member = json_string_value(json_object_get(request, "member"));
    const char *reason = json_string_value(json_object_get(request, "reason"));
    bool fill = what != NULL && strcmp(what, "fill") == 0;
    size_t count;

    if (!fill && (reason == NULL || !gap_reason_fits(reason))) {
        control_text(control, client, "gaps: fill, or give-up with a reason of less than %d bytes",
                     GAP_TEXT_MAX);
        control_done(control, client, 2);
        return;
    }
    count = fill ? fill_now(d, member, json_is_true(json_object_get(request, "yes")))
                 : give_up(d, member, reason);
    control_text(control, client,
                 count == 0 ? "there is no such gap"
                 : fill     ? "every rung is asked again; walferry gaps tells what it says"
                            : "given up: nothing is got any more; who lacks it needs a new copy "
                              "(walferry seed --replace there)");
    control_done(control, client, count > 0 ? 0 : 1);
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

    d->who = who;
    d->out = out;
    d->gaps = gaps;

    snprintf(d->path, sizeof d->path, "%s/gap", d->who->self->outbox);
    if (mkdir(d->path, 0700) < 0 && errno != EEXIST)
        return fail_sys(ERR_LOCAL, "cannot make %s", d->path);
    code = archive_init(&d->archive);
    if (code == 0)
        code =
            outbox_open(&d->store, "gap", d->path, d->who->self->run, d->who->self->postgres, NULL);
    if (code == 0 && d->store.spool.dir >= 0)
        durable_list(d->store.spool.dir, remove_fetched, d->path);
    d->store.bytes_max = STORE_BYTES_MAX;
    d->store.proof = &d->proof;
    d->store.reserve = d->who->config->pg_wal_reserve;
    return code;
}

void
backfill_close(struct backfill *d)
{
    archive_release(&d->archive);
    proof_release(&d->proof);
    outbox_close(&d->store);
}

void
backfill_watch(const struct backfill *d, struct loop *l, int64_t now_us)
{
    archive_watch(&d->archive, l);
    outbox_watch(&d->store, l, now_us);
    if (d->busy && d->fetched && !d->store.spool.flushing)
        loop_due(l, 0);
}

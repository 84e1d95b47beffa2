/* See backfill.h. */
#include "retention/backfill.h"

#include "daemon/agent.h"

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

/* ---- gaps ---- */

static void
save(struct agent *a)
{
    if (gaps_save(&a->gaps, a->in.spool.dir) < 0)
        log_error("%s", fail_message());
}

struct gap *
backfill_open_gap(struct agent *a, const char *member, timeline_t timeline, lsn_t start, lsn_t end,
                  const char *why)
{
    struct gap *gap = gap_open(&a->gaps, member, timeline, start, end, why, clock_wall_us());
    char bytes[24];

    if (gap == NULL)
        return NULL;
    save(a);
    log_warning("gap: %s lacks WAL from " LSN_FORMAT " to " LSN_FORMAT " of timeline %u (%s): %s",
                member, LSN_ARGS(gap->start), LSN_ARGS(gap->end), gap->timeline,
                text_bytes(bytes, sizeof bytes, gap->end - gap->start), why);
    return gap;
}

void
backfill_slot_gone(struct agent *a, size_t i)
{
    const struct sender *far = &a->out.link[i].sender;
    const struct postgres_sample *s = postgres_sample(a->who.postgres);
    uint32_t segment_bytes = who_identity(&a->who)->segment_bytes;
    struct gap *gap;

    if (!far->far_known || far->far.flushed == LSN_UNKNOWN || s == NULL)
        return;
    gap = backfill_open_gap(a, a->out.link[i].member, a->who.pool.timeline,
                            segment_start(far->far.flushed, segment_bytes),
                            segment_start(s->redo, segment_bytes),
                            "its slot was gone, until it was made anew nothing held this WAL");
    if (gap != NULL)
        snprintf(gap->doing, sizeof gap->doing, "shipped from pg_wal, as far as that still has it");
}

/* What a link waits for: from its next byte on. NULL: nothing is gone for it. */
static struct gap *
gap_of(struct agent *a, size_t i)
{
    const struct link *l = &a->out.link[i];
    struct gap *gap;

    if (l->state != LINK_SHIPPING)
        return NULL;
    gap = gap_behind(&a->gaps, l->member, l->sender.sent);
    return gap != NULL && gap->start <= l->sender.sent ? gap : NULL;
}

static void set_state(struct agent *a, struct gap *gap, enum gap_state state, const char *format,
                      ...) __attribute__((format(printf, 4, 5)));

/* On disk and in the log when it is another state; what is being done may change each second. */
static void
set_state(struct agent *a, struct gap *gap, enum gap_state state, const char *format, ...)
{
    bool news = gap->state != state;
    va_list args;

    va_start(args, format);
    vsnprintf(gap->doing, sizeof gap->doing, format, args);
    va_end(args);
    if (!news)
        return;
    gap->state = state;
    save(a);
    log_warning("gap of %s from " LSN_FORMAT " to " LSN_FORMAT " is %s: %s", gap->member,
                LSN_ARGS(gap->start), LSN_ARGS(gap->end), gap_state_name(state), gap->doing);
}

static void answer(struct agent *a, size_t i, enum rung rung, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void
answer(struct agent *a, size_t i, enum rung rung, const char *format, ...)
{
    char *said = a->backfill.climb[i].answer[rung], raw[BACKFILL_ANSWER_MAX],
         text[BACKFILL_ANSWER_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    text_escape(text, sizeof text, raw, strlen(raw)); /* others' words are in it */
    if (strcmp(said, text) == 0)
        return;
    memcpy(said, text, sizeof text);
    log_info("gap of %s: %s: %s", a->out.link[i].member, rung_names[rung], text);
}

/* ---- the store ---- */

static lsn_t
store_end(const struct agent *a)
{
    const struct spool *s = &a->backfill.store.spool;

    return spool_empty(s) ? LSN_UNKNOWN : s->written;
}

/* Where the next byte that is to be got belongs. */
static lsn_t
next_wanted(const struct agent *a, const struct gap *gap)
{
    lsn_t end = store_end(a);

    return end > gap->start ? end : gap->start;
}

/* What has come of it, also what is not proven yet. */
static lsn_t
come(const struct agent *a, const struct gap *gap)
{
    lsn_t next = next_wanted(a, gap), proof = proof_next(&a->backfill.proof);

    return proof > next ? proof : next;
}

static uint64_t
left(const struct agent *a, const struct gap *gap)
{
    lsn_t next = next_wanted(a, gap);

    return a->backfill.until > next ? a->backfill.until - next : 0;
}

/* What lies there of another gap, or of one that was filled otherwise, is of no use any more. */
static bool
store_fits(struct agent *a, lsn_t from)
{
    struct spool *s = &a->backfill.store.spool;

    if (s->dir < 0 && outbox_reload(&a->backfill.store) < 0)
        return false;
    if (spool_empty(s) || (from >= s->start && from <= s->written))
        return true;
    outbox_prune(&a->backfill.store, UINT64_MAX);
    return false; /* in a moment */
}

static void
prune_store(struct agent *a)
{
    const struct link *l = &a->out.link[a->backfill.link];
    lsn_t needed = l->sender.far.flushed;

    if (!l->sender.far_known || !l->sender.far_compared || spool_empty(&a->backfill.store.spool))
        return;
    if (a->backfill.busy && needed >= store_end(a)) /* its end stays where the link waits */
        needed = store_end(a) - 1;
    outbox_prune(&a->backfill.store, needed);
}

/* ---- climbing ---- */

static void
stop(struct agent *a)
{
    struct backfill *d = &a->backfill;

    outbox_stop(&d->store);
    d->busy = d->fetched = false;
    for (size_t i = 0; i < a->out.links; i++)
        a->out.link[i].store[LINK_GAP].grows = false;
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
giver(const struct agent *a, char *out, size_t size)
{
    const struct backfill *d = &a->backfill;

    if (d->rung == RUNG_ARCHIVE)
        snprintf(out, size, "the archive");
    else
        snprintf(out, size, "the spool of %s", a->who.config->member[d->member].name);
    return out;
}

/* A rung has it: may so much be got? */
static bool
may_get(struct agent *a, struct gap *gap)
{
    struct backfill *d = &a->backfill;
    uint64_t bytes = left(a, gap);
    char cost[100], limit[24], from[64];

    if (gap->consent || bytes <= a->who.config->fetch_limit_bytes)
        return true;
    set_state(a, gap, GAP_DELAYED,
              "%s has it: %s; over fetch_limit (%s), so it waits for walferry gaps fill --yes",
              giver(a, from, sizeof from), price(d, bytes, cost, sizeof cost),
              text_bytes(limit, sizeof limit, a->who.config->fetch_limit_bytes));
    d->climb[d->link].asks = true;
    stop(a);
    return false;
}

static void climb(struct agent *a, struct gap *gap, enum rung rung, int64_t now_us);

/* The timeline of the store's end, and where that one ends in the segment of lsn: then the file of
 * the next timeline, *ret_file, has both. False: it goes on. */
static bool
switches(const struct agent *a, const struct gap *gap, lsn_t lsn, timeline_t *ret_file,
         lsn_t *ret_end)
{
    const struct spool *s = &a->backfill.store.spool;
    timeline_t timeline = spool_empty(s) ? gap->timeline : s->timeline;
    uint32_t segment_bytes = who_identity(&a->who)->segment_bytes;

    *ret_file = timeline;
    if (timeline >= a->out.lineage.timeline ||
        !history_switch_point(a->out.lineage.text, a->out.lineage.length, timeline, ret_end) ||
        *ret_end >= segment_start(lsn, segment_bytes) + segment_bytes)
        return false;
    *ret_file =
        history_next(a->out.lineage.text, a->out.lineage.length, timeline, a->out.lineage.timeline);
    return true;
}

static void
begin_archive(struct agent *a, struct gap *gap, int64_t now_us)
{
    struct backfill *d = &a->backfill;
    const struct identity *identity = who_identity(&a->who);
    lsn_t next = come(a, gap), end;
    timeline_t file;
    char path[300];

    if (a->who.self->fetch_command[0] == '\0') {
        answer(a, d->link, RUNG_ARCHIVE, "no fetch_command in [member %s] of the pool's file",
               a->who.self->name);
        climb(a, gap, RUNG_SPOOLS, now_us);
        return;
    }
    /* of this life: what a killed agent has started may write still */
    snprintf(path, sizeof path, "%s/" FETCHED "-%llu", d->store.path,
             (unsigned long long)a->who.started_us);
    if (archive_busy(&d->archive))
        return;
    switches(a, gap, next, &file, &end);
    d->switched = false;
    if (archive_get(&d->archive, a->who.self->fetch_command, identity, file,
                    segment_start(next, identity->segment_bytes), path) < 0) {
        answer(a, d->link, RUNG_ARCHIVE, "%s", fail_message());
        climb(a, gap, RUNG_SPOOLS, now_us);
    }
}

/* The next member whose relay is there: our own first, for a former standby's spool is near. */
static void
begin_spool(struct agent *a, struct gap *gap, int64_t now_us)
{
    struct backfill *d = &a->backfill;
    char place[128], conninfo[192], path[160];

    for (; d->member < a->who.config->members; d->member++) {
        const struct member *m = &a->who.config->member[d->member];

        if (m == a->who.self)
            snprintf(place, sizeof place, "%s", m->run);
        else
            snprintf(place, sizeof place, "%s/far/%s", a->who.self->run, m->name);
        snprintf(path, sizeof path, "%s/.s.PGSQL.5432", place);
        if (strcmp(m->name, gap->member) == 0 || access(path, F_OK) < 0 ||
            (m == a->who.self && spool_empty(&a->in.spool)))
            continue;
        snprintf(conninfo, sizeof conninfo, "host='%s' port=5432 user=walferry", place);
        if (outbox_from(&d->store, conninfo, NULL) < 0)
            continue;
        d->store.error[0] = '\0';
        d->store.retry_us = 0;
        d->begun = next_wanted(a, gap);
        d->moved = d->begun;
        d->begun_us = d->moved_us = now_us;
        outbox_fill(&d->store, who_identity(&a->who), gap->timeline, d->begun);
        return;
    }
    answer(a, d->link, RUNG_SPOOLS, "%s",
           d->refusals[0] != '\0' ? d->refusals
                                  : "no other member's spool can be reached from here");
    if (next_wanted(a, gap) > d->climbed_from) { /* a part came: again, for the rest */
        d->climbed_from = next_wanted(a, gap);
        climb(a, gap, RUNG_ARCHIVE, now_us);
    } else {
        climb(a, gap, RUNG_RESEED, now_us);
    }
}

static void
climb(struct agent *a, struct gap *gap, enum rung rung, int64_t now_us)
{
    struct backfill *d = &a->backfill;
    struct climb *c = &d->climb[d->link];

    outbox_stop(&d->store);
    proof_drop(&d->proof);
    d->fetched = d->proving = false;
    d->rung = rung;
    if (rung == RUNG_ARCHIVE) {
        begin_archive(a, gap, now_us);
    } else if (rung == RUNG_SPOOLS) {
        d->member = 0;
        d->refusals[0] = '\0';
        begin_spool(a, gap, now_us);
    } else {
        stop(a);
        c->retry_us = now_us + RETRY_US;
        answer(a, d->link, RUNG_RESEED,
               "a new copy of %s is what is left: walferry seed --replace there", gap->member);
        set_state(
            a, gap, GAP_LOST,
            "neither pg_wal nor the archive nor another member's spool has it; make a new copy "
            "of %s (walferry seed --replace there), or say walferry gaps give-up",
            gap->member);
    }
}

/* Another link ships what is in the store: its turn first. */
static bool
store_needed(const struct agent *a)
{
    const struct link *l = &a->out.link[a->backfill.link];
    const struct spool *s = &a->backfill.store.spool;

    return l->state == LINK_SHIPPING && !spool_empty(s) && l->sender.sent >= s->start &&
           l->sender.sent < s->written;
}

static void
begin_climb(struct agent *a, size_t i, struct gap *gap, lsn_t until, int64_t now_us)
{
    struct backfill *d = &a->backfill;

    if (i != d->link && store_needed(a))
        return;
    if (d->busy || now_us < d->climb[i].retry_us || d->climb[i].asks ||
        gap->state == GAP_GIVEN_UP || archive_busy(&d->archive) ||
        !store_fits(a, a->out.link[i].sender.sent))
        return;
    d->busy = true;
    d->link = i;
    d->until = until;
    d->climbed_from = next_wanted(a, gap);
    a->out.link[i].store[LINK_GAP].grows = true;
    climb(a, gap, RUNG_ARCHIVE, now_us);
}

/* ---- what the rungs give ---- */

/* The older timeline has its part: what follows is the newer one's, from the segment's start. */
static int
switch_timeline(struct agent *a, timeline_t timeline)
{
    struct backfill *d = &a->backfill;
    int code;

    if (timeline != a->out.lineage.timeline)
        return fail(ERR_PEER, "the history of timeline %u is not at hand", timeline);
    code = spool_put_history(&d->store.spool, timeline, a->out.lineage.text, a->out.lineage.length);
    if (code == 0) {
        d->switched = true;
        d->given_bytes = 0;
    }
    return code;
}

/* The fetched segment into the store, a megabyte at a time. 1: all of it is there. */
static int
give(struct agent *a, const struct gap *gap, int64_t now_us)
{
    struct backfill *d = &a->backfill;
    struct spool *s = &d->store.spool;
    const struct archive_job *j = &d->archive.job;
    static uint8_t bytes[FRAME_WAL_MAX];
    uint32_t turn = d->given_bytes + GIVE_PER_TURN, upto = j->identity.segment_bytes;
    timeline_t timeline = j->timeline, file;
    lsn_t end;
    bool older = !d->switched && switches(a, gap, j->lsn, &file, &end);
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
        return switch_timeline(a, j->timeline);
    if (code == ERR_AGAIN) /* it waits for a flush */
        return 0;
    return code < 0 ? code : d->given_bytes == j->identity.segment_bytes;
}

/* All has come but the end of its last record: pg_wal, where the gap ends, has that. 0, or an
 * error: ERR_CORRUPT when the record does not go on there. */
static int
prove_end(struct agent *a, const struct gap *gap)
{
    struct backfill *d = &a->backfill;
    const struct postgres_sample *s = postgres_sample(a->who.postgres);
    struct records *r = &d->beyond;
    uint32_t segment_bytes = who_identity(&a->who)->segment_bytes;
    static uint8_t bytes[FRAME_WAL_MAX];
    char path[sizeof a->who.self->pgdata + 40], name[SEGMENT_NAME_SIZE];
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
    switches(a, gap, r->at, &file, &end);
    segment_name(name, file, r->at, segment_bytes);
    snprintf(path, sizeof path, "%s/pg_wal/%s", a->who.self->pgdata, name);
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
filled(struct agent *a, struct gap *gap)
{
    char from[64];

    giver(a, from, sizeof from);
    log_info("gap of %s: all of it is here, from %s", gap->member, from);
    set_state(a, gap, GAP_IN_FLIGHT, "all of it was got from %s and is on its way", from);
    stop(a);
}

/* A giver has it, this host's disk is why it is not taken: room comes soon when what is here has
 * only to be shipped. */
static void
cannot_keep(struct agent *a, struct gap *gap, int64_t now_us)
{
    struct backfill *d = &a->backfill;
    bool soon = a->out.link[d->link].sender.far.flushed < store_end(a);
    char from[64];

    d->climb[d->link].retry_us = now_us + (soon ? ROOM_US : RETRY_US);
    set_state(a, gap, GAP_DELAYED, "%s has it, but it cannot be kept here: %s",
              giver(a, from, sizeof from), fail_message());
    stop(a);
}

static void
run_archive(struct agent *a, struct gap *gap, int64_t now_us)
{
    struct backfill *d = &a->backfill;
    const struct archive_job *j = &d->archive.job;
    char cost[100];
    int got = 0;

    if (archive_done(&d->archive)) {
        if (j->reason[0] != '\0') {
            answer(a, d->link, RUNG_ARCHIVE, "%s", j->reason);
            climb(a, gap, RUNG_SPOOLS, now_us);
            return;
        }
        answer(a, d->link, RUNG_ARCHIVE, "has it");
        d->fetched = true;
        d->given_bytes = 0;
        measure(d, j->identity.segment_bytes, j->took_us);
        if (!may_get(a, gap))
            return;
    }
    if (d->fetched) {
        set_state(a, gap, GAP_IN_FLIGHT, "got from the archive: %s are left",
                  price(d, left(a, gap), cost, sizeof cost));
        got = give(a, gap, now_us);
        if (got == 0)
            return;
        d->fetched = false;
        unlink(j->path);
    }
    if (got >= 0)
        got = prove_end(a, gap);
    if (got >= 0)
        got = proof_pour(&d->proof, &d->store.spool, now_us);
    if (got == ERR_LOCAL) {
        cannot_keep(a, gap, now_us);
    } else if (got < 0 && got != ERR_AGAIN) {
        answer(a, d->link, RUNG_ARCHIVE, "%s", fail_message());
        climb(a, gap, RUNG_SPOOLS, now_us);
    } else if (left(a, gap) == 0) {
        filled(a, gap);
    } else if (come(a, gap) < d->until &&
               d->store.spool.written - d->store.spool.start < STORE_BYTES_MAX) {
        begin_archive(a, gap, now_us);
    }
}

static void
run_spools(struct agent *a, struct gap *gap, int64_t now_us)
{
    struct backfill *d = &a->backfill;
    const char *name = a->who.config->member[d->member].name;
    lsn_t end = store_end(a), come_to;
    char cost[100];

    if (d->store.error[0] == '\0' && prove_end(a, gap) < 0) {
        d->store.code = ERR_CORRUPT;
        snprintf(d->store.error, sizeof d->store.error, "%s", fail_message());
    }
    if (d->store.error[0] != '\0' && d->store.code == ERR_LOCAL) {
        fail(ERR_LOCAL, "%s", d->store.error);
        cannot_keep(a, gap, now_us);
        return;
    }
    if (d->store.error[0] != '\0') {
        snprintf(d->refusals + strlen(d->refusals), sizeof d->refusals - strlen(d->refusals),
                 "%s%s: %s", d->refusals[0] != '\0' ? "; " : "", name, d->store.error);
        outbox_stop(&d->store);
        d->member++;
        begin_spool(a, gap, now_us);
        return;
    }
    come_to = come(a, gap);
    if (come_to > d->moved || (d->store.full && a->out.link[d->link].sender.far.flushed < end)) {
        d->moved = come_to;
        d->moved_us = now_us;
    }
    if (left(a, gap) > 0 && now_us - d->moved_us >= SILENT_US) {
        d->store.code = d->store.full ? ERR_LOCAL : ERR_PEER;
        snprintf(d->store.error, sizeof d->store.error, "%s",
                 d->store.full    ? "the outbox's file system has less than pg_wal_reserve left"
                 : end > d->begun ? "it has only a part of it"
                                  : "nothing came within 10 s");
        return;
    }
    if (end <= d->begun)
        return;
    answer(a, d->link, RUNG_SPOOLS, "%s has it", name);
    measure(d, end - d->begun, now_us - d->begun_us);
    if (!may_get(a, gap))
        return;
    set_state(a, gap, GAP_IN_FLIGHT, "got from the spool of %s: %s are left", name,
              price(d, left(a, gap), cost, sizeof cost));
    if (left(a, gap) == 0)
        filled(a, gap);
}

void
backfill_run(struct agent *a, int64_t now_us)
{
    struct backfill *d = &a->backfill;
    struct gap *gap = d->busy ? gap_of(a, d->link) : NULL;

    outbox_run(&d->store, &a->loop, now_us);
    if (d->busy && (gap == NULL || gap->state == GAP_GIVEN_UP)) {
        stop(a); /* the link ended, or the gap: looked at anew when it is back */
        d->climb[d->link].retry_us = 0;
    }
    if (!d->busy) {
        archive_done(&d->archive); /* of a gap that was closed meanwhile */
        return;
    }
    if (d->rung == RUNG_ARCHIVE)
        run_archive(a, gap, now_us);
    else
        run_spools(a, gap, now_us);
}

/* ---- once a second ---- */

/* What the far side has on disk, of what it was shipped in this session. */
static void
reach(struct agent *a, size_t i)
{
    const struct sender *s = &a->out.link[i].sender;
    lsn_t upto = s->far.flushed < s->sent ? s->far.flushed : s->sent;
    bool changed = false;
    size_t closed;

    if (!s->far_known || !s->far_compared)
        return;
    closed = gaps_reach(&a->gaps, a->out.link[i].member, upto, &changed);
    if (closed == 0)
        return;
    save(a);
    log_info("gap of %s is closed: it is durable up to " LSN_FORMAT, a->out.link[i].member,
             LSN_ARGS(upto));
    a->backfill.climb[i] = (struct climb){0};
}

/* Why nothing comes: for status here, and over the link for the DBA there. */
static void
tell(struct agent *a, size_t i, const struct gap *gap)
{
    struct link *l = &a->out.link[i];
    char bytes[24];

    snprintf(l->source_reason, sizeof l->source_reason,
             "WAL from " LSN_FORMAT " to " LSN_FORMAT " is gone from the primary (%s, %s): %s",
             LSN_ARGS(gap->start), LSN_ARGS(gap->end),
             text_bytes(bytes, sizeof bytes, gap->end - gap->start), gap_state_name(gap->state),
             gap->doing[0] != '\0' ? gap->doing : "the ladder is climbed");
}

static void
look_at_slot(struct agent *a, size_t i)
{
    const struct postgres_sample *s = postgres_sample(a->who.postgres);

    for (size_t k = 0; s != NULL && k < s->slots; k++)
        if (strcmp(s->slot[k].name, a->out.slot_name[i]) == 0 && !s->slot[k].lost) {
            answer(a, i, RUNG_SLOT, "%s keeps WAL from " LSN_FORMAT " on", a->out.slot_name[i],
                   LSN_ARGS(s->slot[k].restart_lsn));
            return;
        }
    answer(a, i, RUNG_SLOT, "%s is gone or was invalidated; it is made anew", a->out.slot_name[i]);
}

static void
look_at_hole(struct agent *a, size_t i, int64_t now_us)
{
    struct link *l = &a->out.link[i];
    const struct spool *store = &a->backfill.store.spool;
    uint32_t segment_bytes = who_identity(&a->who)->segment_bytes;
    bool changed = false;
    struct gap *gap;
    lsn_t oldest;

    if (!spool_empty(store) && l->hole.start >= store->start && l->hole.start < store->available) {
        l->hole.known = false;
        return;
    }
    if (pgwal_oldest(a->who.self->pgdata, segment_bytes, l->hole.start, &oldest) < 0)
        return;
    gaps_reach(&a->gaps, l->member, l->sender.resume_lsn, &changed); /* all before is there */
    gap = gap_behind(&a->gaps, l->member, l->hole.start);
    if (oldest <= l->hole.start) {
        answer(a, i, RUNG_PG_WAL, "has it");
        l->hole.known = false;
        if (gap != NULL && gap->start <= l->hole.start)
            set_state(a, gap, GAP_IN_FLIGHT, "pg_wal has it, it is streamed from there");
        return;
    }
    answer(a, i, RUNG_PG_WAL, "begins at " LSN_FORMAT, LSN_ARGS(oldest));
    look_at_slot(a, i);
    if (gap != NULL && gap->start <= l->hole.start) {
        gap->timeline = l->hole.timeline;
        if (gap->end > oldest) /* what was feared to be gone, and is not */
            gap->end = oldest;
    }
    if (gap == NULL || gap->start > l->hole.start || gap->end < oldest)
        gap = backfill_open_gap(a, l->member, l->hole.timeline, l->hole.start, oldest,
                                l->source_reason);
    begin_climb(a, i, gap, oldest, now_us);
    tell(a, i, gap);
}

/* What others lack of a former primary is told by their new one. */
static void
forget(struct agent *a)
{
    if (a->backfill.busy)
        stop(a);
    if (a->who.role != ROLE_STANDBY || a->gaps.count == 0)
        return;
    log_info("%zu gaps are closed: this member is a standby now", a->gaps.count);
    a->gaps.count = 0;
    save(a);
}

/* pg_wal may lose more meanwhile, or may have been given back what it lacked. */
static void
look_at_end(struct agent *a)
{
    struct backfill *d = &a->backfill;
    const struct link *l = &a->out.link[d->link];
    struct gap *gap = d->busy ? gap_of(a, d->link) : NULL;

    if (gap == NULL || pgwal_oldest(a->who.self->pgdata, who_identity(&a->who)->segment_bytes,
                                    next_wanted(a, gap), &d->until) < 0)
        return;
    if (d->until > gap->end)
        backfill_open_gap(a, l->member, gap->timeline, gap->start, d->until, "pg_wal went on");
}

void
backfill_keep(struct agent *a, int64_t now_us)
{
    for (size_t i = 0; i < a->out.links; i++)
        reach(a, i);
    if (a->who.role != ROLE_PRIMARY || a->out.links == 0) {
        forget(a);
        return;
    }
    prune_store(a);
    look_at_end(a);
    for (size_t i = 0; i < a->out.links; i++)
        if (a->out.link[i].hole.known)
            look_at_hole(a, i, now_us);
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
backfill_report(const struct agent *a)
{
    const struct backfill *d = &a->backfill;
    json_t *all = json_array();

    for (size_t i = 0; i < a->gaps.count; i++) {
        const struct gap *gap = &a->gaps.gap[i];
        json_t *json = gap_json(gap, who_identity(&a->who)->segment_bytes);

        for (size_t k = 0; k < a->out.links; k++)
            if (strcmp(a->out.link[k].member, gap->member) == 0)
                json_object_set_new(json, "rungs", rungs_json(&d->climb[k]));
        json_object_set_new(json, "rate_bytes_per_second",
                            d->rate > 0 ? json_integer((json_int_t)d->rate) : json_null());
        json_array_append_new(all, json);
    }
    return all;
}

static size_t
fill_now(struct agent *a, const char *member, bool yes)
{
    size_t count = 0;

    for (size_t i = 0; i < a->gaps.count; i++) {
        struct gap *gap = &a->gaps.gap[i];

        if (member != NULL && strcmp(gap->member, member) != 0)
            continue;
        count++;
        gap->consent |= yes;
        if (gap->state != GAP_IN_FLIGHT) {
            gap->state = GAP_DELAYED;
            snprintf(gap->doing, sizeof gap->doing, "asked for by walferry gaps fill");
        }
    }
    for (size_t i = 0; i < a->out.links; i++) {
        a->backfill.climb[i].asks = false;
        a->backfill.climb[i].retry_us = 0;
    }
    save(a);
    return count;
}

static size_t
give_up(struct agent *a, const char *member, const char *reason)
{
    size_t count = 0;

    for (size_t i = 0; i < a->gaps.count; i++) {
        struct gap *gap = &a->gaps.gap[i];

        if (member != NULL && strcmp(gap->member, member) != 0)
            continue;
        count++;
        set_state(a, gap, GAP_GIVEN_UP, "%s", reason);
    }
    return count;
}

void
backfill_request(struct agent *a, uint64_t client, const json_t *request)
{
    const char *what = json_string_value(json_object_get(request, "do"));
    const char *member = json_string_value(json_object_get(request, "member"));
    const char *reason = json_string_value(json_object_get(request, "reason"));
    bool fill = what != NULL && strcmp(what, "fill") == 0;
    size_t count;

    if (!fill && (reason == NULL || !gap_reason_fits(reason))) {
        control_text(&a->control, client,
                     "gaps: fill, or give-up with a reason of less than %d bytes", GAP_TEXT_MAX);
        control_done(&a->control, client, 2);
        return;
    }
    count = fill ? fill_now(a, member, json_is_true(json_object_get(request, "yes")))
                 : give_up(a, member, reason);
    control_text(&a->control, client,
                 count == 0 ? "there is no such gap"
                 : fill     ? "every rung is asked again; walferry gaps tells what it says"
                            : "given up: nothing is got any more; who lacks it needs a new copy "
                              "(walferry seed --replace there)");
    control_done(&a->control, client, count > 0 ? 0 : 1);
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
backfill_open(struct agent *a)
{
    struct backfill *d = &a->backfill;
    int code;

    snprintf(d->path, sizeof d->path, "%s/gap", a->who.self->outbox);
    if (mkdir(d->path, 0700) < 0 && errno != EEXIST)
        return fail_sys(ERR_LOCAL, "cannot make %s", d->path);
    code = archive_init(&d->archive);
    if (code == 0)
        code =
            outbox_open(&d->store, "gap", d->path, a->who.self->run, a->who.self->postgres, NULL);
    if (code == 0 && d->store.spool.dir >= 0)
        durable_list(d->store.spool.dir, remove_fetched, d->path);
    d->store.bytes_max = STORE_BYTES_MAX;
    d->store.proof = &d->proof;
    d->store.reserve = a->who.config->pg_wal_reserve;
    return code;
}

void
backfill_close(struct agent *a)
{
    archive_release(&a->backfill.archive);
    proof_release(&a->backfill.proof);
    outbox_close(&a->backfill.store);
}

void
backfill_watch(const struct agent *a, struct loop *l, int64_t now_us)
{
    const struct backfill *d = &a->backfill;

    archive_watch(&d->archive, l);
    outbox_watch(&d->store, l, now_us);
    if (d->busy && d->fetched && !d->store.spool.flushing)
        loop_due(l, 0);
}

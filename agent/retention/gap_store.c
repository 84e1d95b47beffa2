/* SPDX-License-Identifier: PostgreSQL */
/* See gap_store.h. */
#include "retention/gap_store.h"

#include "base/durable.h"
#include "base/fail.h"
#include "shipper/wal/pgwal.h"

#include <fcntl.h>
#include <stdio.h>

#define GIVE_PER_TURN (1u << 20) /* of a segment: other rooms have their turn, too */

bool
gap_store_switches(const struct gap_store *g, const struct gap *gap, lsn_t lsn,
                   timeline_t *ret_file, lsn_t *ret_end)
{
    const struct spool *s = &g->box.spool;
    timeline_t timeline = spool_empty(s) ? gap->timeline : s->timeline;
    uint32_t segment_bytes = who_identity(g->who)->segment_bytes;

    *ret_file = timeline;
    if (timeline >= g->out->lineage.timeline ||
        !history_switch_point(g->out->lineage.text, g->out->lineage.length, timeline, ret_end) ||
        *ret_end >= segment_start(lsn, segment_bytes) + segment_bytes)
        return false;
    *ret_file = history_next(g->out->lineage.text, g->out->lineage.length, timeline,
                             g->out->lineage.timeline);
    return true;
}

/* The older timeline's part is stored: from the segment's start on the newer one follows. */
static int
switch_timeline(struct gap_store *g, timeline_t timeline)
{
    static char text[HISTORY_BYTES_MAX + 1];
    int code = pgwal_history(g->who->self->pgdata, timeline, text, sizeof text);

    if (code == ERR_AGAIN)
        code = fail(ERR_PEER, "the history of timeline %u is not in %s/pg_wal", timeline,
                    g->who->self->pgdata);
    if (code >= 0)
        code = spool_put_history(&g->box.spool, timeline, text, (size_t)code);
    if (code == 0) {
        g->switched = true;
        g->given_bytes = 0;
    }
    return code;
}

int
gap_store_give(struct gap_store *g, const struct gap *gap, const struct archive_job *j,
               int64_t now_us)
{
    struct spool *s = &g->box.spool;
    static uint8_t bytes[FRAME_WAL_MAX];
    uint32_t turn = g->given_bytes + GIVE_PER_TURN, upto = j->identity.segment_bytes;
    timeline_t timeline = j->timeline, file;
    lsn_t end;
    bool older = !g->switched && gap_store_switches(g, gap, j->lsn, &file, &end);
    int fd, code = 0;

    if (older) {
        timeline = spool_empty(s) ? gap->timeline : s->timeline;
        upto = end > j->lsn ? (uint32_t)(end - j->lsn) : 0;
    }
    if (durable_open(AT_FDCWD, j->path, DURABLE_READ, &fd) < 0)
        return fail_sys(ERR_LOCAL, "cannot open %s", j->path);
    if (s->damaged) /* the outbox mends it soon */
        code = fail(ERR_LOCAL, "%s", g->box.error);
    if (code == 0)
        code = spool_adopt(s, &j->identity);
    if (code == 0 && spool_empty(s))
        code = spool_begin(s, timeline, j->lsn);
    if (code == 0 && g->given_bytes == 0 && !g->switched && proof_next(&g->proof) != j->lsn)
        code = proof_begin(&g->proof, s, timeline, j->lsn);
    while (code == 0 && g->given_bytes < upto && g->given_bytes < turn) {
        uint32_t left_here = upto - g->given_bytes, n = (uint32_t)sizeof bytes;

        if (n > left_here)
            n = left_here;
        if (durable_read(fd, bytes, n, g->given_bytes) != (ssize_t)n)
            code = fail_sys(ERR_LOCAL, "cannot read %s", j->path);
        else
            code = proof_put(&g->proof, s, timeline, j->lsn + g->given_bytes, bytes, n, now_us);
        if (code == 0)
            g->given_bytes += n;
    }
    durable_close(fd);
    if (code == 0 && older && g->given_bytes == upto)
        return switch_timeline(g, j->timeline);
    if (code == ERR_AGAIN) /* the spool waits for a flush */
        return 0;
    return code < 0 ? code : g->given_bytes == j->identity.segment_bytes;
}

int
gap_store_prove_end(struct gap_store *g, const struct gap *gap, lsn_t until)
{
    const struct postgres_sample *s = postgres_sample(g->who->postgres);
    struct records *r = &g->beyond;
    uint32_t segment_bytes = who_identity(g->who)->segment_bytes;
    static uint8_t bytes[FRAME_WAL_MAX];
    char path[sizeof g->who->self->pgdata + 40], name[SEGMENT_NAME_SIZE];
    lsn_t held = g->proof.records.whole, end;
    timeline_t file;
    size_t n = sizeof bytes;
    ssize_t got;
    int fd;

    if (proof_next(&g->proof) != until || held >= until) {
        g->proving = false;
        return 0;
    }
    if (!g->proving)
        *r = g->proof.records;
    g->proving = true;
    if (s == NULL || s->flush <= r->at)
        return 0;
    if (n > s->flush - r->at)
        n = (size_t)(s->flush - r->at);
    gap_store_switches(g, gap, r->at, &file, &end);
    segment_name(name, file, r->at, segment_bytes);
    snprintf(path, sizeof path, "%s/pg_wal/%s", g->who->self->pgdata, name);
    if (durable_open(AT_FDCWD, path, DURABLE_READ, &fd) < 0)
        return 0; /* pg_wal has moved on: the backfill sees its new start */
    got = durable_read(fd, bytes, n, r->at % segment_bytes);
    durable_close(fd);
    r->timeline = file;
    if (got > 0 && records_put(r, bytes, (size_t)got) < 0 && r->whole <= held)
        return ERR_CORRUPT;
    if (r->whole > held)
        proof_trust(&g->proof);
    return 0;
}

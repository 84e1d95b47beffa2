/* SPDX-License-Identifier: PostgreSQL */
/* See divergence.h. */
#include "jobs/divergence.h"

#include "jobs/loss_list.h"
#include "jobs/primary.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/text.h"
#include "shipper/wal/pgwal.h"
#include "shipper/wal/records.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEGMENTS_MAX  100000 /* of one fork */
#define COMPARE_BYTES (1u << 20)

/* ---- what is here ---- */

int
divergence_control(struct divergence *p)
{
    return control_file_read(p->job->self->bindir, p->job->self->pgdata, &p->control);
}

/* The file is in pg_wal as long as the data directory is on its timeline (pg_rewind removes it). */
static int
load_history(const struct divergence *p, timeline_t timeline, const char *escrow,
             char text[HISTORY_BYTES_MAX + 1], struct lineage *ret_lineage)
{
    char path[512], name[HISTORY_NAME_SIZE];
    const struct member *self = p->job->self;
    const char *const places[] = {self->pgdata, self->spool, escrow};
    ssize_t got = 0;

    history_name(name, timeline);
    for (size_t i = 0; timeline > 1 && i < sizeof places / sizeof *places; i++) {
        int dir;

        got = -1;
        if (places[i] == NULL)
            continue;
        snprintf(path, sizeof path, "%s%s", places[i], i == 0 ? "/pg_wal" : "");
        if (durable_dir(path, &dir) < 0)
            continue;
        got = durable_load(dir, name, text, HISTORY_BYTES_MAX + 1);
        durable_close(dir);
        if (got >= 0)
            break;
    }
    if (got < 0)
        return fail(ERR_LOCAL,
                    "%s is neither in %s/pg_wal nor in %s: where it parted cannot be told", name,
                    self->pgdata, self->spool);
    *ret_lineage = (struct lineage){.timeline = timeline, .text = text, .length = (size_t)got};
    return 0;
}

int
divergence_own_history(struct divergence *p, timeline_t timeline, const char *escrow)
{
    return load_history(p, timeline, escrow, p->own, &p->our);
}

/* ---- what is there ---- */

int
divergence_connect(struct divergence *p)
{
    char one[8];

    if (p->connection != NULL && primary_ask(p->connection, "select 1", one, sizeof one) == 0)
        return 0;
    divergence_release(p); /* it ended during a question to the DBA, or a long step */
    if (primary_connect(p->job->config, p->job->self, NULL, "postgres", &p->connection) == 0)
        return 0;
    return fail_in(ERR_PEER, "the PostgreSQL of %s is not reached through the tunnel", p->primary);
}

static int
read_primary(struct divergence *p)
{
    char text[128], query[160], name[HISTORY_NAME_SIZE];
    uint64_t identifier;
    int code = divergence_connect(p);

    if (code == 0)
        code = primary_ask(p->connection,
                           "select case when pg_is_in_recovery() then '' else pg_walfile_name("
                           "pg_current_wal_insert_lsn()) end",
                           text, sizeof text);
    if (code < 0)
        return code;
    if (text[0] == '\0')
        return fail(ERR_PEER, "the PostgreSQL of %s is in recovery: it is no primary", p->primary);
    text[8] = '\0';
    p->their.timeline = (timeline_t)strtoul(text, NULL, 16);
    code = primary_ask(p->connection, "select system_identifier from pg_control_system()", text,
                       sizeof text);
    if (code < 0)
        return code;
    identifier = strtoull(text, NULL, 10);
    if (identifier != p->control.system_identifier)
        return fail(ERR_CORRUPT,
                    "%s is another database cluster: its system identifier is %" PRIu64
                    ", that of %s is %" PRIu64,
                    p->job->self->pgdata, p->control.system_identifier, p->primary, identifier);
    history_name(name, p->their.timeline);
    snprintf(query, sizeof query,
             "select convert_from(pg_read_binary_file('pg_wal/%s'), 'SQL_ASCII')", name);
    p->theirs[0] = '\0';
    if (p->their.timeline > 1)
        code = primary_ask(p->connection, query, p->theirs, sizeof p->theirs);
    p->their.text = p->theirs;
    p->their.length = strlen(p->theirs);
    return code < 0 ? fail_in(code, "cannot read %s of %s", name, p->primary) : 0;
}

/* Both histories are known: 1, 0 or ERR_CORRUPT. */
static int
find_fork(struct divergence *p)
{
    if (!lineage_fork(&p->our, &p->their, &p->timeline, &p->fork))
        return 0;
    if (p->timeline == 0)
        return fail(ERR_CORRUPT, "%s and %s have no timeline in common", p->job->self->name,
                    p->primary);
    return 1;
}

int
divergence_look(struct divergence *p, const char *escrow)
{
    int code = divergence_control(p);

    if (code == 0)
        code = read_primary(p);
    if (code == 0)
        code = divergence_own_history(p, p->control.timeline, escrow);
    return code < 0 ? code : find_fork(p);
}

int
divergence_look_here(struct divergence *p, timeline_t timeline)
{
    int code = divergence_control(p);

    if (code == 0)
        code = load_history(p, timeline, NULL, p->theirs, &p->their);
    if (code == 0)
        code = divergence_own_history(p, p->control.timeline, NULL);
    return code < 0 ? code : find_fork(p);
}

/* ---- the end of the WAL here ---- */

static bool
is_there(const struct divergence *p, lsn_t start)
{
    char name[SEGMENT_NAME_SIZE], path[512];

    segment_name(name, p->our.timeline, start, p->control.segment_bytes);
    snprintf(path, sizeof path, "%s/pg_wal/%s", p->job->self->pgdata, name);
    return access(path, F_OK) == 0;
}

/* The disk guard may have taken the beginning away: the first segment that is here. */
static bool
first_there(const struct divergence *p, lsn_t *start)
{
    lsn_t from = *start;

    for (int i = 0; i < SEGMENTS_MAX; i++, from += p->control.segment_bytes) {
        if (!is_there(p, from))
            continue;
        *start = from;
        return true;
    }
    return false;
}

/* No record begins behind the fork, or no segment is there: the WAL may end before the fork, unless
 * the control file says that the server has been further. */
static int
end_before(struct divergence *p, struct pgwal *wal, lsn_t start)
{
    uint32_t bytes = p->control.segment_bytes;
    lsn_t reached = control_file_reached(&p->control);
    char why[FAIL_MESSAGE_MAX];
    int code = ERR_LOCAL;

    snprintf(why, sizeof why, "%s", fail_message());
    while (code == ERR_LOCAL && start > bytes && is_there(p, start - bytes)) {
        start -= bytes;
        code = pgwal_end(wal, p->our.timeline, start, &p->end);
    }
    if (code < 0)
        p->end = reached;
    if (p->our.timeline == p->timeline && p->end >= reached && p->end <= p->fork)
        return 0;
    p->end = LSN_UNKNOWN;
    return fail(ERR_LOCAL, "%s", why);
}

int
divergence_end(struct divergence *p, bool beside)
{
    uint32_t bytes = p->control.segment_bytes;
    const char *pgdata = p->job->self->pgdata;
    lsn_t from = p->fork;
    struct pgwal wal;
    int code = beside ? pgwal_open_beside(&wal, pgdata, bytes) : pgwal_open(&wal, pgdata, bytes);

    /* on a timeline that only this side has: from where it begins */
    for (timeline_t t = p->timeline; code == 0 && t != p->our.timeline;) {
        history_switch_point(p->own, p->our.length, t, &from);
        t = history_next(p->own, p->our.length, t, p->our.timeline);
    }
    from = segment_start(from, bytes);
    (void)first_there(p, &from);
    if (code == 0) {
        code = pgwal_end(&wal, p->our.timeline, from, &p->end);
        if (code == 0 && p->end == from && from > p->fork) /* made ahead, behind a hole */
            code = fail(ERR_LOCAL, "no WAL from the fork on is here any more");
        if (code == ERR_LOCAL)
            code = end_before(p, &wal, from);
    }
    pgwal_close(&wal);
    return code;
}

bool
divergence_goes_on(const struct divergence *p)
{
    return p->end > p->fork || p->our.timeline != p->timeline;
}

/* ---- the bytes before the fork ---- */

/* A segment of a timeline may only be left as the copy with which the next one began. The count, or
 * ERR_AGAIN. */
static int
read_bytes(struct divergence *p, bool here, lsn_t at, uint8_t *out, size_t n)
{
    const struct lineage *l = here ? &p->our : &p->their;
    uint32_t bytes = p->control.segment_bytes;
    char name[SEGMENT_NAME_SIZE];
    timeline_t t = p->timeline;

    for (;;) {
        int got;

        segment_name(name, t, at, bytes);
        got = here ? pgwal_serve(p->job->self->pgdata, bytes, t, at, out, n)
                   : primary_read(p->connection, name, at - segment_start(at, bytes), out, n);
        if (got != ERR_AGAIN || t == l->timeline)
            return got;
        t = history_next(l->text, l->length, t, l->timeline);
    }
}

enum compared { COMPARED_OTHER, COMPARED_ALIKE, COMPARED_NOTHING };

/*
 * The whole records of one segment here, up to `to`: a segment may have been made ahead, and what lies
 * behind its last record, or behind a switch, is of no interest. *ret_whole: up to where they are alike;
 * LSN_UNKNOWN: none is. Or an error.
 */
static int
compare_segment(struct divergence *p, lsn_t start, lsn_t to, lsn_t *ret_whole)
{
    static uint8_t ours[COMPARE_BYTES], theirs[COMPARE_BYTES];
    struct records all, alike;
    bool right = true, same = true;

    records_begin(&all, p->control.segment_bytes, p->our.timeline, 0, start);
    alike = all;
    for (lsn_t at = start; at < to && right && (same || all.whole <= alike.whole);
         at += COMPARE_BYTES) {
        size_t n = to - at < COMPARE_BYTES ? (size_t)(to - at) : COMPARE_BYTES, i = 0;
        int code = read_bytes(p, true, at, ours, n);

        if (code != (int)n)
            return code < 0 ? code : ERR_AGAIN;
        right = records_put(&all, ours, n) == 0;
        if (all.last == LSN_UNKNOWN && !right)
            break;
        if (same && (code = read_bytes(p, false, at, theirs, n)) != (int)n)
            return code < 0 ? code : ERR_AGAIN;
        while (same && i < n && ours[i] == theirs[i])
            i++;
        if (same)
            (void)!records_put(&alike, ours, i); /* where it is wrong, it ends */
        same = same && i == n;
    }
    *ret_whole = alike.last != LSN_UNKNOWN ? alike.whole : LSN_UNKNOWN;
    if (all.last == LSN_UNKNOWN)
        return COMPARED_NOTHING;
    return all.whole > alike.whole ? COMPARED_OTHER : COMPARED_ALIKE;
}

/* Where p->timeline began: what lies before is common by the histories. */
static lsn_t
begin_of(const struct divergence *p)
{
    timeline_t from = 0, next;

    while ((next = history_next(p->own, p->our.length, from, p->our.timeline)) != p->timeline)
        from = next;
    return from == 0 ? 0 : lineage_end(&p->our, from);
}

/* Of one timeline: it is common up to where the primary is, as far as histories tell. */
static int
look_at_end(struct divergence *p, bool one_timeline, bool beside)
{
    int code = 0;

    if (one_timeline) {
        p->timeline = p->our.timeline;
        code = primary_position(p->connection, p->primary, &p->fork);
    }
    if (code >= 0)
        code = divergence_end(p, beside);
    if (code == 0 && one_timeline && p->end > p->fork) /* both may have gone on meanwhile */
        code = primary_position(p->connection, p->primary, &p->fork);
    return code;
}

int
divergence_compare(struct divergence *p, bool one_timeline, bool beside)
{
    int code = look_at_end(p, one_timeline, beside);
    lsn_t begin = begin_of(p), to = p->end < p->fork ? p->end : p->fork, whole = LSN_UNKNOWN;

    p->unlike = false;
    while (code >= 0 && to > begin && whole == LSN_UNKNOWN) {
        lsn_t start = segment_start(to - 1, p->control.segment_bytes);

        code = compare_segment(p, start, to, &whole);
        if (code < 0 || (code == COMPARED_ALIKE && !p->unlike))
            break;
        to = start;
        if (code == COMPARED_NOTHING)
            continue;
        p->unlike = true;
        p->fork = whole != LSN_UNKNOWN && whole > begin ? whole : start > begin ? start : begin;
    }
    if (p->unlike)
        return 1;
    return code == COMPARED_ALIKE ? 0 : code < 0 ? code : ERR_AGAIN;
}

int
divergence_judge(struct divergence *p, bool beside)
{
    int code = divergence_look(p, NULL);
    bool one_timeline = code == 0;

    if (code >= 0)
        code = look_at_end(p, one_timeline, beside);
    if (code == 0 && !divergence_goes_on(p))
        (void)!divergence_compare(p, one_timeline, beside); /* not for what is gone */
    return code < 0 ? code : divergence_goes_on(p);
}

/* ---- what it has committed ---- */

static json_t *
begin_receipt(const struct divergence *p)
{
    char fork[LSN_TEXT_SIZE], end[LSN_TEXT_SIZE], when[40];

    snprintf(fork, sizeof fork, LSN_FORMAT, LSN_ARGS(p->fork));
    snprintf(end, sizeof end, LSN_FORMAT, LSN_ARGS(p->end));
    return json_pack("{s:s s:s s:s s:I s:s s:s}", "primary", p->primary, "former",
                     p->job->self->name, "listed_at", text_time(when, sizeof when, clock_wall_us()),
                     "timeline", (json_int_t)p->timeline, "fork", fork, "end", end);
}

json_t *
divergence_receipt(struct divergence *p)
{
    struct loss_list l = {.job = p->job,
                          .lineage = p->our,
                          .segment_bytes = p->control.segment_bytes,
                          .next_xid = p->control.next_xid,
                          .fork = p->fork,
                          .end = p->end};
    json_t *receipt = begin_receipt(p), *list = NULL;
    int code = 0;

    if (divergence_goes_on(p) && divergence_connect(p) == 0)
        l.connection = p->connection;
    else if (divergence_goes_on(p))
        job_say(p->job, "tables are told by their files: %s", fail_message());
    if (divergence_goes_on(p))
        code = loss_list_make(&l, &list);
    else if (p->unlike)
        code = fail(ERR_LOCAL, "the WAL that would tell it was overwritten since");
    else
        list =
            json_pack("{s:i s:i s:[] s:[]}", "transactions", 0, "waiting", 0, "listed", "tables");
    json_object_set_new(receipt, "exact", json_boolean(code == 0 && l.why[0] == '\0'));
    if (code == 0)
        json_object_update(receipt, list);
    if (code < 0 || l.why[0] != '\0')
        json_object_set_new(receipt, "why_not_exact",
                            json_string(code < 0 ? fail_message() : l.why));
    json_decref(list);
    return receipt;
}

const char *
divergence_words(const json_t *receipt, char *out, size_t size)
{
    const json_t *transactions = json_object_get(receipt, "transactions");
    const char *why = json_string_value(json_object_get(receipt, "why_not_exact"));
    json_int_t count = json_integer_value(transactions),
               waiting = json_integer_value(json_object_get(receipt, "waiting"));
    char more[64] = "";

    if (waiting > 0)
        snprintf(more, sizeof more, " and %" JSON_INTEGER_FORMAT " prepared", waiting);
    if (transactions == NULL)
        snprintf(out, size, "what, is not known: %s", why != NULL ? why : "");
    else
        snprintf(out, size, "%s %" JSON_INTEGER_FORMAT " transaction%s%s%s%s",
                 why != NULL ? "at least" : "exactly", count, count == 1 ? "" : "s", more,
                 why != NULL ? ": " : "", why != NULL ? why : "");
    return out;
}

void
divergence_release(struct divergence *p)
{
    PQfinish(p->connection);
    p->connection = NULL;
}

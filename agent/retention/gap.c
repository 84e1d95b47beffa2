/* SPDX-License-Identifier: PostgreSQL */
/* See gap.h. */
#include "retention/gap.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GAP_LINE_MAX  6144 /* two texts, every byte of them escaped */
#define GAP_FILE_MAX  (GAPS_MAX * GAP_LINE_MAX)
#define LSN_JSON(lsn) json_sprintf(LSN_FORMAT, LSN_ARGS(lsn))

static const char *const state_names[GAP_STATES] = {"delayed", "in flight", "lost", "given up"};

const char *
gap_state_name(enum gap_state state)
{
    return state_names[state];
}

bool
gap_reason_fits(const char *reason)
{
    json_t *json = json_string(reason);

    json_decref(json);
    return json != NULL && strlen(reason) < GAP_TEXT_MAX;
}

/* ---- the file ---- */

/* Whatever it is: a message may have been cut inside a character. */
static json_t *
text_json(const char *text)
{
    json_t *json = json_string(text);
    char safe[GAP_TEXT_MAX];

    return json != NULL ? json : json_string(text_escape(safe, sizeof safe, text, strlen(text)));
}

static json_t *
to_json(const struct gap *gap)
{
    return json_pack("{s:s s:I s:o s:o s:s s:I s:o s:o s:b}", "member", gap->member, "timeline",
                     (json_int_t)gap->timeline, "start", LSN_JSON(gap->start), "end",
                     LSN_JSON(gap->end), "state", state_names[gap->state], "since_us",
                     (json_int_t)gap->since_us, "why", text_json(gap->why), "doing",
                     text_json(gap->doing), "consent", gap->consent);
}

static bool
from_json(const json_t *json, struct gap *ret_gap)
{
    struct gap g = {.state = GAP_STATES};
    const char *member, *start, *end, *state, *why, *doing;
    json_int_t timeline, since_us;
    int consent;

    if (json_unpack((json_t *)(uintptr_t)json, "{s:s s:I s:s s:s s:s s:I s:s s:s s:b}", "member",
                    &member, "timeline", &timeline, "start", &start, "end", &end, "state", &state,
                    "since_us", &since_us, "why", &why, "doing", &doing, "consent", &consent) < 0)
        return false;
    for (enum gap_state s = 0; s < GAP_STATES; s++)
        if (strcmp(state, state_names[s]) == 0)
            g.state = s;
    if (strlen(member) >= sizeof g.member || timeline < 1 || timeline > UINT32_MAX ||
        !lsn_parse(start, &g.start) || !lsn_parse(end, &g.end) || g.end <= g.start ||
        g.state == GAP_STATES)
        return false;
    snprintf(g.member, sizeof g.member, "%s", member);
    g.timeline = (timeline_t)timeline;
    g.since_us = since_us;
    g.consent = consent != 0;
    snprintf(g.why, sizeof g.why, "%s", why);
    snprintf(g.doing, sizeof g.doing, "%s", doing);
    *ret_gap = g;
    return true;
}

static bool
take_lines(struct gaps *g, const char *text)
{
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        json_t *json = json_loadb(text, length, 0, NULL);
        bool good = g->count < GAPS_MAX && from_json(json, &g->gap[g->count]);

        json_decref(json);
        if (!good)
            return false;
        g->count++;
        text += length + (text[length] == '\n');
    }
    return true;
}

int
gaps_load(struct gaps *g, int dir)
{
    char *text = malloc(GAP_FILE_MAX);
    int code = 0;

    *g = (struct gaps){.dir = dir};
    if (text == NULL)
        return fail(ERR_LOCAL, "out of memory for the list of gaps");
    if (durable_load(dir, GAP_FILE, text, GAP_FILE_MAX) < 0)
        code = errno == ENOENT ? 0 : fail_sys(ERR_LOCAL, "cannot read the file " GAP_FILE);
    else if (!take_lines(g, text))
        code = fail(ERR_CORRUPT, "the file " GAP_FILE
                                 " of the spool is not one of walferry's: it lists WAL that other "
                                 "members lack; move it away if you know what it said");
    free(text);
    return code;
}

int
gaps_save(const struct gaps *g, int dir)
{
    char *text = malloc(GAP_FILE_MAX);
    size_t used = 0;
    int code = 0;

    if (text == NULL)
        return fail(ERR_LOCAL, "out of memory for the list of gaps");
    for (size_t i = 0; i < g->count && code == 0; i++) {
        json_t *json = to_json(&g->gap[i]);
        size_t length = json_dumpb(json, text + used, GAP_LINE_MAX - 1, JSON_COMPACT);

        if (length == 0 || length >= GAP_LINE_MAX)
            code = fail(ERR_LOCAL, "out of memory for the list of gaps");
        used += length;
        text[used++] = '\n';
        json_decref(json);
    }
    if (code == 0 && durable_replace(dir, GAP_FILE, text, used) < 0)
        code = fail_sys(ERR_LOCAL, "cannot write the file " GAP_FILE);
    free(text);
    return code;
}

/* ---- the list ---- */

static bool
is_of(const struct gap *gap, const char *member)
{
    return strcmp(gap->member, member) == 0;
}

void
gap_close(struct gaps *g, struct gap *gap)
{
    size_t i = (size_t)(gap - g->gap);

    memmove(gap, gap + 1, (--g->count - i) * sizeof *gap);
}

static void
widen(struct gap *gap, lsn_t start, lsn_t end)
{
    if (start < gap->start)
        gap->start = start;
    if (end > gap->end)
        gap->end = end;
}

/* What has grown together is one. */
static struct gap *
join(struct gaps *g, struct gap *gap)
{
    struct gap *next = gap + 1;

    while (next < g->gap + g->count && is_of(next, gap->member) && next->start <= gap->end) {
        widen(gap, next->start, next->end);
        gap_close(g, next);
    }
    return gap;
}

struct gap *
gap_open(struct gaps *g, const char *member, timeline_t timeline, lsn_t start, lsn_t end,
         const char *why, int64_t wall_us)
{
    struct gap *at = g->gap, *last = g->gap + g->count, *before = NULL;
    size_t of_member = 0;

    if (end <= start)
        return NULL;
    for (size_t i = 0; i < g->count; i++)
        of_member += is_of(&g->gap[i], member);
    for (; at < last && (!is_of(at, member) || at->end < start); at++)
        if (is_of(at, member))
            before = at;
    if (at < last && at->start <= end) {
        widen(at, start, end);
        return join(g, at);
    }
    if (of_member == GAPS_OF_MEMBER) {
        at = before != NULL ? before : at;
        widen(at, start, end);
        return join(g, at);
    }
    if (g->count == GAPS_MAX) { /* a gap that still is one is found again */
        gap_close(g, g->gap);
        at -= at > g->gap;
        last--;
    }
    memmove(at + 1, at, (size_t)(last - at) * sizeof *at);
    g->count++;
    *at = (struct gap){.timeline = timeline, .start = start, .end = end, .since_us = wall_us};
    snprintf(at->member, sizeof at->member, "%s", member);
    snprintf(at->why, sizeof at->why, "%s", why);
    return at;
}

struct gap *
gap_behind(struct gaps *g, const char *member, lsn_t lsn)
{
    for (struct gap *gap = g->gap; gap < g->gap + g->count; gap++)
        if (is_of(gap, member) && gap->end > lsn)
            return gap;
    return NULL;
}

size_t
gaps_reach(struct gaps *g, const char *member, lsn_t lsn, bool *ret_changed)
{
    size_t closed = 0;

    for (struct gap *gap = g->gap; gap < g->gap + g->count;) {
        if (!is_of(gap, member) || lsn <= gap->start) {
            gap++;
        } else if (lsn < gap->end) {
            gap->start = lsn;
            *ret_changed = true;
            gap++;
        } else {
            gap_close(g, gap);
            *ret_changed = true;
            closed++;
        }
    }
    return closed;
}

/* ---- for people ---- */

json_t *
gap_json(const struct gap *gap, uint32_t segment_bytes)
{
    char first[SEGMENT_NAME_SIZE], last[SEGMENT_NAME_SIZE], since[40];
    json_t *json = to_json(gap);

    json_object_set_new(json, "bytes", json_integer((json_int_t)(gap->end - gap->start)));
    json_object_set_new(json, "since", json_string(text_time(since, sizeof since, gap->since_us)));
    json_object_set_new(json, "age_seconds",
                        json_real((double)(clock_wall_us() - gap->since_us) / (double)SECOND_US));
    if (segment_bytes == 0)
        return json;
    segment_name(first, gap->timeline, gap->start, segment_bytes);
    segment_name(last, gap->timeline, gap->end - 1, segment_bytes);
    json_object_set_new(json, "first_segment", json_string(first));
    json_object_set_new(json, "last_segment", json_string(last));
    return json;
}

void
gaps_keep(const struct gaps *g)
{
    if (gaps_save(g, g->dir) < 0)
        log_error("%s", fail_message());
}

struct gap *
gap_note(struct gaps *g, const char *member, timeline_t timeline, lsn_t start, lsn_t end,
         const char *why)
{
    struct gap *gap = gap_open(g, member, timeline, start, end, why, clock_wall_us());
    char bytes[24];

    if (gap == NULL)
        return NULL;
    gaps_keep(g);
    log_warning("gap: %s lacks WAL from " LSN_FORMAT " to " LSN_FORMAT " of timeline %u (%s): %s",
                member, LSN_ARGS(gap->start), LSN_ARGS(gap->end), gap->timeline,
                text_bytes(bytes, sizeof bytes, gap->end - gap->start), why);
    return gap;
}

void
gap_turn(struct gaps *g, struct gap *gap, enum gap_state state, const char *format, ...)
{
    bool news = gap->state != state;
    va_list args;

    va_start(args, format);
    vsnprintf(gap->doing, sizeof gap->doing, format, args);
    va_end(args);
    if (!news)
        return;
    gap->state = state;
    gaps_keep(g);
    log_warning("gap of %s from " LSN_FORMAT " to " LSN_FORMAT " is %s: %s", gap->member,
                LSN_ARGS(gap->start), LSN_ARGS(gap->end), gap_state_name(state), gap->doing);
}

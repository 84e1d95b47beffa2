/* SPDX-License-Identifier: PostgreSQL */
/* See status_screen.h. */
#include "commands/status_screen.h"
#include "control/show.h"

#include "base/clock.h"
#include "base/text.h"

#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_COLUMNS 12
#define BAR_COLUMNS   40
#define LATE_SECONDS  2.0 /* of lag from which a bar is coloured */

enum colour { PLAIN, GOOD, LATE, BAD, FAINT };

static void
forget_wire(struct status_screen *s)
{
    for (size_t i = 0; i < SCREEN_STREAMS; i++)
        s->wire_bytes[i] = -1;
}

void
status_screen_init(struct status_screen *s)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

    *s = (struct status_screen){0};
    forget_wire(s);
    setlocale(LC_CTYPE, "");
    s->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    s->colours =
        (no_color == NULL || no_color[0] == '\0') && (term == NULL || strcmp(term, "dumb") != 0);
}

static const json_t *
at(const json_t *json, const char *key)
{
    return json_object_get(json, key);
}

static const char *
rate(const json_t *value, char *out, size_t size)
{
    char amount[24];

    if (!json_is_number(value))
        snprintf(out, size, "unknown");
    else
        snprintf(out, size, "%s/s", show_bytes(value, amount, sizeof amount));
    return out;
}

static void put(const struct status_screen *s, FILE *out, enum colour colour, const char *format,
                ...) __attribute__((format(printf, 4, 5)));

static void
put(const struct status_screen *s, FILE *out, enum colour colour, const char *format, ...)
{
    static const char *const code[] = {"", "\033[32m", "\033[33m", "\033[1;31m", "\033[2m"};
    va_list args;

    if (s->colours)
        fputs(code[colour], out);
    va_start(args, format);
    vfprintf(out, format, args);
    va_end(args);
    if (s->colours && colour != PLAIN)
        fputs("\033[0m", out);
}

static void
end_line(FILE *out)
{
    fputs("\033[K\r\n", out); /* erase the rest of the old line */
}

static enum colour
age_colour(const json_t *age, const json_t *warning, const json_t *critical)
{
    if (!json_is_number(age))
        return LATE;
    if (json_number_value(age) >= (json_is_number(critical) ? json_number_value(critical) : 60))
        return BAD;
    return json_number_value(age) >= (json_is_number(warning) ? json_number_value(warning) : 10)
               ? LATE
               : PLAIN;
}

static void
remember(struct status_screen *s, double exposure, double applied)
{
    s->exposure[s->next] = exposure;
    s->applied[s->next] = applied;
    s->next = (s->next + 1) % SCREEN_SAMPLES;
    if (s->count < SCREEN_SAMPLES)
        s->count++;
}

static double
figure(const json_t *value)
{
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

/* The newest bar is on the right. A full bar is the largest value shown, at least a second. */
static void
put_bars(const struct status_screen *s, FILE *out, const double *values)
{
    static const char *const fine[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const coarse[] = {"_", ".", "-", "=", "+", "*", "%", "#"};
    size_t shown = s->count < BAR_COLUMNS ? s->count : BAR_COLUMNS;
    double most = 1;
    char scale[24];

    for (size_t i = 0; i < shown; i++) {
        double v = values[(s->next + SCREEN_SAMPLES - shown + i) % SCREEN_SAMPLES];

        most = v > most ? v : most; /* false for NAN */
    }
    for (size_t i = shown; i < BAR_COLUMNS; i++)
        fputc(' ', out);
    for (size_t i = 0; i < shown; i++) {
        double v = values[(s->next + SCREEN_SAMPLES - shown + i) % SCREEN_SAMPLES];
        int step = isnan(v) ? 0 : (int)(v / most * 7.99);

        if (isnan(v))
            put(s, out, FAINT, "?");
        else
            put(s, out, v >= LATE_SECONDS ? LATE : GOOD, "%s", s->utf8 ? fine[step] : coarse[step]);
    }
    put(s, out, FAINT, "  max %s", text_duration(scale, sizeof scale, (int64_t)(most * 1e6)));
}

static void
put_head(const struct status_screen *s, FILE *out, const json_t *report)
{
    const json_t *epoch = at(report, "epoch"), *postgres = at(report, "postgres");
    const char *role = show_word(report, "role", "unknown"),
               *state = show_word(postgres, "state", "unknown");
    bool usual = strcmp(role, "primary") == 0 || strcmp(role, "standby") == 0;
    char when[40];

    put(s, out, PLAIN, "pool %s   ", show_word(report, "pool", "?"));
    put(s, out, PLAIN, "%s is ", show_word(report, "member", "?"));
    put(s, out, usual ? PLAIN : BAD, "%s", role);
    put(s, out, PLAIN, "   epoch %lld, primary %s   PostgreSQL ",
        (long long)json_integer_value(at(epoch, "number")), show_word(epoch, "member", "unknown"));
    put(s, out, strcmp(state, "up") == 0 ? GOOD : BAD, "%s", state);
    put(s, out, FAINT, "   %s", text_time(when, sizeof when, clock_wall_us()));
    end_line(out);
    for (size_t i = 0; i < 2; i++) {
        const char *text = show_word(report, i == 0 ? "alarm" : "missing", NULL);

        if (text == NULL)
            continue;
        put(s, out, BAD, "ALARM: %s", text);
        end_line(out);
    }
    end_line(out);
}

static void
put_ages(const struct status_screen *s, FILE *out, const json_t *report, const json_t *standby)
{
    const json_t *limits = at(report, "limits"), *exposure = at(report, "exposure_seconds");
    const json_t *applied = at(standby, "applied_lag_seconds");
    char text[32];

    put(s, out, PLAIN, "%-*s", LABEL_COLUMNS, "exposure");
    put(s, out,
        age_colour(exposure, at(limits, "exposure_warning_seconds"),
                   at(limits, "exposure_critical_seconds")),
        "%-16s", show_seconds(exposure, text, sizeof text));
    put_bars(s, out, s->exposure);
    end_line(out);
    put(s, out, PLAIN, "%-*s", LABEL_COLUMNS, "apply lag");
    put(s, out,
        age_colour(applied, at(limits, "apply_warning_seconds"),
                   at(limits, "apply_critical_seconds")),
        "%-16s", show_seconds(applied, text, sizeof text));
    put_bars(s, out, s->applied);
    if (json_array_size(at(report, "members")) > 2)
        put(s, out, FAINT, "  of %s", show_word(standby, "name", "?"));
    end_line(out);
}

static void
put_positions(const struct status_screen *s, FILE *out, const json_t *stream)
{
    static const char *const name[] = {"received", "flushed", "applied"};
    char behind[24], lag[32];

    put(s, out, FAINT, "%-*s%-20s%14s   %s", LABEL_COLUMNS, "", "lsn", "behind", "lag");
    end_line(out);
    for (size_t i = 0; i < 3; i++) {
        const json_t *p = at(stream, name[i]);

        put(s, out, PLAIN, "  %-*s%-20s%14s   %s", LABEL_COLUMNS - 2, name[i],
            show_word(p, "lsn", "unknown"),
            show_bytes(at(p, "behind_bytes"), behind, sizeof behind),
            show_seconds(at(p, "lag_seconds"), lag, sizeof lag));
        end_line(out);
    }
}

static void
put_stream(const struct status_screen *s, FILE *out, const json_t *stream, const char *direction,
           const json_t *wire)
{
    const json_t *shipping = at(stream, "shipping"), *trip = at(stream, "round_trip_seconds");
    const char *state = show_word(stream, "state", "unknown"),
               *flow = show_word(shipping, "state", "unknown");
    const char *reason = show_word(shipping, "reason", show_word(stream, "reason", NULL));
    bool up = strcmp(state, "up") == 0, behind = strcmp(flow, "behind") == 0;
    char since[32], made[32], shipped[32], on_wire[32], level[32];

    end_line(out);
    put(s, out, PLAIN, "link %s %s   ", direction, show_word(stream, direction, "nobody yet"));
    put(s, out, up ? GOOD : BAD, "%s", state);
    put(s, out, PLAIN, " for %s   ",
        show_seconds(at(stream, "since_seconds"), since, sizeof since));
    put(s, out, behind || strcmp(flow, "error") == 0 ? LATE : PLAIN, "%s", flow);
    if (json_is_number(trip))
        put(s, out, PLAIN, "   round trip %.1f ms", json_number_value(trip) * 1000);
    end_line(out);
    if (reason != NULL) {
        put(s, out, LATE, "  why: %s", reason);
        end_line(out);
    }
    put(s, out, PLAIN, "  %-*smade %-14s shipped %-14s on the wire %-14s", LABEL_COLUMNS - 2, "WAL",
        rate(at(shipping, "produced_bytes_per_second"), made, sizeof made),
        rate(at(shipping, "shipped_bytes_per_second"), shipped, sizeof shipped),
        rate(wire, on_wire, sizeof on_wire));
    if (behind && json_is_number(at(shipping, "level_in_seconds")))
        put(s, out, LATE, "level in %s",
            show_seconds(at(shipping, "level_in_seconds"), level, sizeof level));
    else if (behind)
        put(s, out, LATE, "not level at these rates");
    end_line(out);
    put_positions(s, out, stream);
}

static void
put_disk(const struct status_screen *s, FILE *out, const char *name, const json_t *disk)
{
    const json_t *full = at(disk, "seconds_to_full");
    char room[24], left[32];

    put(s, out, PLAIN, "%-*s%s free", LABEL_COLUMNS, name,
        show_bytes(at(disk, "free_bytes"), room, sizeof room));
    if (json_is_number(full))
        put(s, out, json_number_value(full) < 3600 ? BAD : PLAIN, ", full in %s",
            show_seconds(full, left, sizeof left));
    if (show_word(disk, "error", NULL) != NULL)
        put(s, out, BAD, ", takes nothing: %s", show_word(disk, "error", ""));
    end_line(out);
}

static void
put_events(const struct status_screen *s, FILE *out, const json_t *events)
{
    const json_t *event;
    size_t i;

    if (json_array_size(events) == 0)
        return;
    end_line(out);
    json_array_foreach (events, i, event) {
        bool critical = strcmp(show_word(event, "severity", ""), "critical") == 0;

        put(s, out, critical ? BAD : LATE, "%s %s", show_word(event, "id", "?"),
            show_word(event, "name", "?"));
        put(s, out, PLAIN, "   %s", show_word(event, "text", ""));
        end_line(out);
    }
}

/* Bytes on the wire of the i-th stream per second since the last answer, null: unknown. A new reference. */
static json_t *
wire_rate(struct status_screen *s, size_t i, const json_t *stream, int64_t passed_us)
{
    const json_t *now = at(stream, "wire_bytes");
    int64_t before = s->wire_bytes[i];

    s->wire_bytes[i] = json_is_integer(now) ? json_integer_value(now) : -1;
    if (before < 0 || s->wire_bytes[i] < before || passed_us <= 0)
        return json_null();
    return json_real((double)(s->wire_bytes[i] - before) * (double)SECOND_US / (double)passed_us);
}

static void
put_streams(struct status_screen *s, FILE *out, const json_t *report)
{
    const json_t *receiving = at(report, "receiving"), *link;
    int64_t now_us = clock_us(), passed_us = now_us - s->asked_us;
    json_t *wire;
    size_t i;

    s->asked_us = now_us;
    json_array_foreach (at(report, "links"), i, link) {
        wire = wire_rate(s, i % SCREEN_STREAMS, link, passed_us);
        put_stream(s, out, link, "to", wire);
        json_decref(wire);
    }
    if (json_is_object(receiving)) {
        wire = wire_rate(s, SCREEN_STREAMS - 1, receiving, passed_us);
        put_stream(s, out, receiving, "from", wire);
        json_decref(wire);
    }
}

static void
put_report(struct status_screen *s, FILE *out, const json_t *report)
{
    const json_t *standby = show_worst_standby(report);

    remember(s, figure(at(report, "exposure_seconds")), figure(at(standby, "applied_lag_seconds")));
    put_head(s, out, report);
    put_ages(s, out, report, standby);
    put_streams(s, out, report);
    end_line(out);
    put_disk(s, out, "spool", at(report, "spool"));
    put_disk(s, out, "pg_wal", at(report, "pg_wal"));
    put_events(s, out, at(report, "events"));
}

void
status_screen_draw(struct status_screen *s, const json_t *report, const char *error)
{
    char *text = NULL, when[40];
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    if (out == NULL)
        return;
    fputs("\033[?7l\033[H", out); /* long lines are cut, not wrapped; in place, nothing flickers */
    if (report != NULL) {
        put_report(s, out, report);
    } else {
        remember(s, (double)NAN, (double)NAN);
        forget_wire(s);
        put(s, out, BAD, "unknown: %s", error);
        put(s, out, FAINT, "   %s", text_time(when, sizeof when, clock_wall_us()));
        end_line(out);
    }
    fputs("\033[J\033[?7h", out);
    if (fclose(out) == 0)
        fwrite(text, 1, length, stdout);
    fflush(stdout);
    free(text);
}

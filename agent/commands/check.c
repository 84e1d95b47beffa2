/* SPDX-License-Identifier: PostgreSQL */
/*
 * check: a monitoring plugin, by the rules of monitoring-plugins.org: one line with perfdata, exit
 * 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (also our own usage and config errors).
 *
 * It judges what this host's agent knows at this moment, on a primary or a standby, whether or not
 * the other site lives. A value that is not known is a finding, never a 0, and not in the perfdata.
 */
#include "commands/command.h"
#include "control/control.h"
#include "control/show.h"
#include "monitor/events.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum severity { OK = 0, WARNING = 1, CRITICAL = 2, UNKNOWN = 3 };

struct verdict {
    const struct config *config;
    enum severity worst;
    char findings[1200], perfdata[2000], subject[160];
};

static void __attribute__((format(printf, 3, 4)))
find(struct verdict *v, enum severity severity, const char *format, ...)
{
    size_t used = strlen(v->findings);
    va_list args;

    if (severity > v->worst)
        v->worst = severity;
    if (used > 0 && used + 2 < sizeof v->findings)
        used += (size_t)snprintf(v->findings + used, sizeof v->findings - used, "; ");
    va_start(args, format);
    vsnprintf(v->findings + used, sizeof v->findings - used, format, args);
    va_end(args);
}

static void __attribute__((format(printf, 2, 3)))
measure(struct verdict *v, const char *format, ...)
{
    size_t used = strlen(v->perfdata);
    va_list args;

    va_start(args, format);
    vsnprintf(v->perfdata + used, sizeof v->perfdata - used, format, args);
    va_end(args);
}

/* An age in seconds against its two thresholds. */
static void
judge_age(struct verdict *v, const char *label, const char *name, const json_t *age,
          int64_t warning_us, int64_t critical_us)
{
    int64_t age_us = (int64_t)(json_number_value(age) * (double)SECOND_US);
    char shown[32], limit[32];

    if (!json_is_number(age)) {
        find(v, WARNING, "%s is unknown", name);
        return;
    }
    measure(v, " %s=%.3fs;%g;%g;0", label, json_number_value(age), (double)warning_us / SECOND_US,
            (double)critical_us / SECOND_US);
    if (age_us >= warning_us)
        find(v, age_us >= critical_us ? CRITICAL : WARNING, "%s is %s (limit %s)", name,
             text_duration(shown, sizeof shown, age_us),
             text_duration(limit, sizeof limit, age_us >= critical_us ? critical_us : warning_us));
}

/* How much WAL the primary keeps for a link. */
static void
judge_slot(struct verdict *v, const char *suffix, const json_t *slot)
{
    const json_t *retained = json_object_get(slot, "retained_bytes");
    uint64_t bytes = (uint64_t)json_integer_value(retained);
    uint64_t warning = v->config->slot_warning_bytes, critical = v->config->slot_critical_bytes;
    char shown[24], limit[24];

    if (json_is_true(json_object_get(slot, "lost")))
        find(v, CRITICAL, "slot %s has lost WAL that the other site needs",
             show_word(slot, "name", "?"));
    if (!json_is_integer(retained))
        return;
    measure(v, " slot%s=%lluB;%llu;%llu;0", suffix, (unsigned long long)bytes,
            (unsigned long long)warning, (unsigned long long)critical);
    if (bytes >= warning)
        find(v, bytes >= critical ? CRITICAL : WARNING, "slot %s keeps %s of WAL (limit %s)",
             show_word(slot, "name", "?"), text_bytes(shown, sizeof shown, bytes),
             text_bytes(limit, sizeof limit, bytes >= critical ? critical : warning));
}

/* Judged by the time until the disk is full, never by its size; null: it does not fill. */
static void
judge_disk(struct verdict *v, const char *name, const json_t *disk)
{
    const json_t *bytes = json_object_get(disk, "free_bytes"),
                 *full = json_object_get(disk, "seconds_to_full");
    int64_t full_us = (int64_t)(json_number_value(full) * (double)SECOND_US);
    int64_t warning_us = v->config->disk_warning_us, critical_us = v->config->disk_critical_us;
    char shown[32], limit[32], room[24];

    if (json_is_integer(bytes))
        measure(v, " %s_free=%lldB;;;0", name, (long long)json_integer_value(bytes));
    if (!json_is_number(full))
        return;
    measure(v, " %s_full=%.0fs;%g:;%g:;0", name, json_number_value(full),
            (double)warning_us / SECOND_US, (double)critical_us / SECOND_US);
    if (full_us < warning_us)
        find(v, full_us < critical_us ? CRITICAL : WARNING,
             "%s has %s left and is full in %s (limit %s)", name,
             text_bytes(room, sizeof room, (uint64_t)json_integer_value(bytes)),
             text_duration(shown, sizeof shown, full_us),
             text_duration(limit, sizeof limit, full_us < critical_us ? critical_us : warning_us));
}

/* The labels of the first link are the same in every role; those of other links have its name. */
static void
judge_stream(struct verdict *v, const json_t *stream, const char *direction, size_t i)
{
    const char *name = show_word(stream, direction, "nobody yet"),
               *state = show_word(stream, "state", "unknown");
    const char *reason = show_word(stream, "reason", NULL),
               *source = show_word(stream, "source_reason", NULL);
    const json_t *flushed = json_object_get(stream, "flushed");
    const json_t *behind = json_object_get(flushed, "behind_bytes");
    char suffix[40] = "", label[48], shown[64];

    if (i > 0)
        snprintf(suffix, sizeof suffix, "_%.32s", name);
    if (show_rests(stream)) { /* judged as a member */
        judge_slot(v, suffix, json_object_get(stream, "slot"));
        return;
    }
    if (strcmp(state, "up") != 0)
        find(v, WARNING, "the link %s %s is %s: %s", direction, name, state,
             reason != NULL ? reason : "starting");
    else if (reason != NULL)
        find(v, WARNING, "the link %s %s: %s", direction, name, reason);
    if (source != NULL)
        find(v, WARNING, "no WAL to ship to %s: %s", name, source);
    if (json_is_true(json_object_get(stream, "restored")))
        find(v, CRITICAL, "the primary was restored to an older state (WF021)");
    if (json_is_true(json_object_get(stream, "config_differs")))
        find(v, WARNING, "the pool's file of %s is another one", name);
    snprintf(label, sizeof label, "ship%s", suffix);
    snprintf(shown, sizeof shown, "ship %s %.32s", direction, name);
    judge_age(v, label, shown, json_object_get(flushed, "lag_seconds"), v->config->ship_warning_us,
              v->config->ship_critical_us);
    if (json_is_integer(behind))
        measure(v, " unshipped%s=%lldB;;;0", suffix, (long long)json_integer_value(behind));
    snprintf(label, sizeof label, "apply%s", suffix);
    snprintf(shown, sizeof shown, "apply%s%.32s", strcmp(direction, "to") == 0 ? " on " : "",
             strcmp(direction, "to") == 0 ? name : "");
    judge_age(v, label, shown, json_object_get(json_object_get(stream, "applied"), "lag_seconds"),
              v->config->apply_warning_us, v->config->apply_critical_us);
    judge_slot(v, suffix, json_object_get(stream, "slot"));
}

/* What is known of another member; its lag is judged by its link, or on its own host. */
static void
judge_member(struct verdict *v, const json_t *member)
{
    static const enum severity severity[] = {OK, WARNING, CRITICAL};
    json_int_t worst = json_integer_value(json_object_get(member, "severity"));
    const char *name = show_word(member, "name", "?");
    char age[32];

    if (json_is_true(json_object_get(member, "silent")))
        find(v, WARNING, "%s is not heard of by any way, for %s", name,
             show_seconds(json_object_get(member, "silent_seconds"), age, sizeof age));
    else if (worst > 0 && worst <= 2)
        find(v, severity[worst], "%s: %s", name, show_word(member, "reason", "?"));
}

static void
judge_guard(struct verdict *v, const char *step)
{
    if (strcmp(step, "outbox") == 0)
        find(v, WARNING, "the disk guard uses the outbox");
    else if (strcmp(step, "release") == 0 || strcmp(step, "hold") == 0)
        find(v, CRITICAL, "pg_wal has less than its reserve, the disk guard is at %s", step);
}

/* An event that no figure tells. */
static void
find_event(struct verdict *v, const json_t *events, enum event_id id, enum severity severity)
{
    const json_t *event;
    size_t i;

    json_array_foreach (events, i, event)
        if (strcmp(show_word(event, "id", ""), event_kind(id)->id) == 0)
            find(v, severity, "%s", show_word(event, "text", "?"));
}

static void
judge(void *context, json_t *json)
{
    struct verdict *v = context;
    const json_t *link, *member, *postgres = json_object_get(json, "postgres");
    const char *role = show_word(json, "role", "unknown"), *alarm = show_word(json, "alarm", NULL);
    const char *spool = show_word(json_object_get(json, "spool"), "error", NULL);
    char exposure[32];
    size_t i;

    text_duration(exposure, sizeof exposure,
                  (int64_t)(json_number_value(json_object_get(json, "exposure_seconds")) *
                            (double)SECOND_US));
    snprintf(v->subject, sizeof v->subject, "%s (%s), exposure %s", show_word(json, "member", "?"),
             role,
             json_is_number(json_object_get(json, "exposure_seconds")) ? exposure : "unknown");
    if (alarm != NULL)
        find(v, CRITICAL, "%s", alarm);
    if (show_word(json, "missing", NULL) != NULL)
        find(v, CRITICAL, "%s", show_word(json, "missing", ""));
    if (spool != NULL)
        find(v, CRITICAL, "the spool takes nothing: %s", spool);
    if (strcmp(show_word(postgres, "state", ""), "up") != 0)
        find(v, WARNING, "PostgreSQL here is %s: %s", show_word(postgres, "state", "unknown"),
             show_word(postgres, "reason", "no reason is known"));
    if (strcmp(role, "primary") != 0 && strcmp(role, "standby") != 0)
        find(v, WARNING, "this member is %s", role);
    if (!json_is_true(json_object_get(json, "mirror"))) /* that of the primary is judged */
        judge_age(v, "exposure", "exposure", json_object_get(json, "exposure_seconds"),
                  v->config->exposure_warning_us, v->config->exposure_critical_us);
    if (strcmp(role, "primary") == 0)
        json_array_foreach (json_object_get(json, "links"), i, link)
            judge_stream(v, link, "to", i);
    else
        judge_stream(v, json_object_get(json, "receiving"), "from", 0);
    find_event(v, json_object_get(json, "events"), EVENT_NOT_SYNCHRONOUS, WARNING);
    find_event(v, json_object_get(json, "events"), EVENT_COMMITS_HANG, CRITICAL);
    judge_guard(v, show_word(json_object_get(json, "guard"), "step", ""));
    json_array_foreach (json_object_get(json, "members"), i, member)
        if (strcmp(show_word(member, "name", ""), show_word(json, "member", "")) != 0)
            judge_member(v, member);
    judge_disk(v, "spool", json_object_get(json, "spool"));
    judge_disk(v, "pg_wal", json_object_get(json, "pg_wal"));
}

int
command_check(const struct config *config, const struct member *self, const struct options *options)
{
    static const char *const name[] = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};
    struct verdict v = {.config = config};

    (void)options;
    snprintf(v.subject, sizeof v.subject, "%s", self->name);
    if (control_ask(self->run, json_pack("{s:s}", "command", "status"), judge, &v) != 0)
        find(&v, CRITICAL, "%s: is the agent running? (systemctl start walferry@%s)",
             fail_message(), config->name);
    printf("WALFERRY %s - pool %s, %s%s%s%s%s\n", name[v.worst], config->name, v.subject,
           v.findings[0] != '\0' ? ": " : "", v.findings, v.perfdata[0] != '\0' ? " |" : "",
           v.perfdata);
    return (int)v.worst;
}

/* SPDX-License-Identifier: PostgreSQL */
/*
 * sync: wait until what was committed before the start is durable (or applied) on the other site,
 * on either end of a link. The agent's status is asked again and again: the lag of the flushed
 * position is below the time since the start when, and only when, everything from before is
 * durable.
 *
 * A primary's PostgreSQL that is down commits nothing: the agent on its host ships what is left in
 * pg_wal, and sync waits for the end of that, until the server is back. The request to drain is
 * repeated, for a link that comes up later does not know of it.
 */
#include "commands/command.h"
#include "control/control.h"
#include "control/show.h"
#include "jobs/status.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/lsn.h"
#include "base/text.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define TURN_MS     100
#define TELL_US     (1 * SECOND_US)
#define DRAIN_US    (1 * SECOND_US)
#define TIMEOUT_US  (60 * SECOND_US)
#define TIMEOUT_MAX (7 * 86400 * SECOND_US)

struct sync {
    const char *what; /* "flushed" or "applied" */
    const char *only; /* member that is meant; NULL: all */
    int64_t began_us, asked_us;
    json_t *report;
    bool draining;
    int64_t drain_us; /* when the last drain was asked for */
};

static bool
postgres_is(const json_t *report, const char *state)
{
    return strcmp(show_word(json_object_get(report, "postgres"), "state", ""), state) == 0;
}

/* Of a link that rests the news of the member itself tell its lag. */
static const json_t *
lag_of(const struct sync *s, const json_t *stream)
{
    const json_t *member;
    char key[32];
    size_t i;

    if (!show_rests(stream))
        return json_object_get(json_object_get(stream, s->what), "lag_seconds");
    snprintf(key, sizeof key, "%s_lag_seconds", s->what);
    json_array_foreach (json_object_get(s->report, "members"), i, member)
        if (strcmp(show_word(member, "name", ""), show_word(stream, "to", "")) == 0)
            return json_object_get(member, key);
    return NULL;
}

/* Where the WAL of a server that is down ends: of a link that rests, by any that does not. */
static const char *
drained_of(const struct sync *s, const json_t *stream)
{
    const json_t *link;
    size_t i;

    if (show_rests(stream))
        json_array_foreach (json_object_get(s->report, "links"), i, link)
            if (show_word(link, "drained", NULL) != NULL)
                return show_word(link, "drained", "");
    return show_word(stream, "drained", "");
}

/* Is everything from before there? Of a server that is down: all that it left. */
static bool
is_level(const struct sync *s, const json_t *stream)
{
    const json_t *position = json_object_get(stream, s->what);
    const json_t *lag = lag_of(s, stream);
    lsn_t end, here;

    if (s->draining)
        return lsn_parse(drained_of(s, stream), &end) &&
               lsn_parse(show_word(position, "lsn", ""), &here) && here >= end;
    return json_is_number(lag) &&
           json_number_value(lag) * (double)SECOND_US < (double)(s->asked_us - s->began_us);
}

static void
tell(const struct sync *s, const json_t *stream, const char *peer)
{
    const json_t *position = json_object_get(stream, s->what);
    const json_t *shipping = json_object_get(stream, "shipping");
    const char *why = show_word(shipping, "reason", show_word(stream, "reason", NULL));
    char behind[32], lag[32], level[32];

    printf("%s: %s behind, as of %s ago", peer,
           show_bytes(json_object_get(position, "behind_bytes"), behind, sizeof behind),
           show_seconds(lag_of(s, stream), lag, sizeof lag));
    if (json_is_number(json_object_get(shipping, "level_in_seconds")))
        printf(", level in %s",
               show_seconds(json_object_get(shipping, "level_in_seconds"), level, sizeof level));
    printf("%s%s\n", why != NULL ? ": " : "", why != NULL ? why : "");
    fflush(stdout);
}

/* Is this link asked for? A mirror is not the other site: only by its name. */
static bool
is_meant(const struct sync *s, const json_t *link, const char *to)
{
    return s->only != NULL ? strcmp(s->only, to) == 0
                           : !json_is_true(json_object_get(link, "mirror"));
}

/* A link that a DBA has to mend brings nothing, however long it is waited for. */
static bool
is_refused(const struct sync *s)
{
    const json_t *links = json_object_get(s->report, "links"), *link;
    const json_t *receiving = json_object_get(s->report, "receiving");
    int64_t waited_us = s->asked_us - s->began_us;
    const char *self = show_word(s->report, "member", "here");
    size_t i;

    json_array_foreach (links, i, link) {
        const char *to = show_word(link, "to", "");
        const char *why = status_refused(link, waited_us);

        if (why == NULL || !is_meant(s, link, to))
            continue;
        fprintf(stderr, "walferry sync: the link to %s is %s\n", to, why);
        return true;
    }
    if (!json_is_object(receiving) || (s->only != NULL && strcmp(s->only, self) != 0) ||
        status_refused(receiving, waited_us) == NULL)
        return false;
    fprintf(stderr, "walferry sync: the link to %s is refused: %s\n", self,
            status_refused(receiving, waited_us));
    return true;
}

/* Count of streams of this member that are not level yet; told: print each of them. */
static int
count_late(const struct sync *s, bool told, int *ret_streams)
{
    const json_t *links = json_object_get(s->report, "links"), *link;
    const json_t *receiving = json_object_get(s->report, "receiving");
    int late = 0;
    size_t i;

    *ret_streams = 0;
    json_array_foreach (links, i, link) {
        const char *to = show_word(link, "to", "");

        if (!is_meant(s, link, to))
            continue;
        ++*ret_streams;
        late += !is_level(s, link);
        if (told && !is_level(s, link))
            tell(s, link, to);
    }
    if (json_is_object(receiving) &&
        (s->only == NULL || strcmp(s->only, show_word(s->report, "member", "")) == 0)) {
        ++*ret_streams;
        late += !is_level(s, receiving);
        if (told && !is_level(s, receiving))
            tell(s, receiving, show_word(s->report, "member", "here"));
    }
    return late;
}

/* Ask the agent to ship what a stopped server left, again and again while it is down. */
static int
ask_drain(struct sync *s, const struct member *self)
{
    if (s->draining && postgres_is(s->report, "up"))
        s->draining = false;
    if (!s->draining && (!postgres_is(s->report, "down") ||
                         json_array_size(json_object_get(s->report, "links")) == 0))
        return 0;
    if (s->draining && s->asked_us - s->drain_us < DRAIN_US)
        return 0;
    if (!s->draining)
        printf("the PostgreSQL of %s is down: what it left in pg_wal is shipped\n", self->name);
    fflush(stdout);
    s->draining = true;
    s->drain_us = s->asked_us;
    return control_ask(self->run, json_pack("{s:s}", "command", "drain"), show_line, NULL);
}

static int
ask(struct sync *s, const struct config *config, const struct member *self)
{
    int code;

    s->asked_us = clock_us();
    code =
        control_ask(self->run, json_pack("{s:s}", "command", "status"), control_keep, &s->report);
    if (code == 0)
        code = ask_drain(s, self);
    if (code < 0)
        fprintf(stderr,
                "walferry sync: %s; is the agent of %s running? (systemctl start walferry@%s)\n",
                fail_message(), self->name, config->name);
    return code;
}

int
command_sync(const struct config *config, const struct member *self, const struct options *options)
{
    struct sync s = {.what = options->applied ? "applied" : "flushed",
                     .only = options->arg_count > 0 ? options->args[0] : NULL,
                     .began_us = clock_us()};
    int64_t timeout_us = TIMEOUT_US, told_us = s.began_us;
    char took[32];
    int code, late, streams = 0;
    bool refused;

    if (options->timeout != NULL &&
        text_take_duration(options->timeout, TIMEOUT_MAX, &timeout_us) < 0) {
        fprintf(stderr, "walferry sync: --timeout: %s; allowed: 1s to 7d, as in 30s, 10min\n",
                fail_message());
        return 2;
    }
    if (s.only != NULL && config_member(config, s.only) == NULL) {
        fprintf(stderr, "walferry sync: %s has no member %s\n", config->file, s.only);
        return 2;
    }
    for (;;) {
        bool told = clock_us() - told_us >= TELL_US;

        code = ask(&s, config, self);
        late = code == 0 ? count_late(&s, told, &streams) : 0;
        refused = code == 0 && late > 0 && is_refused(&s);
        if (code != 0 || late == 0 || refused || clock_us() - s.began_us >= timeout_us)
            break;
        told_us = told ? clock_us() : told_us;
        poll(NULL, 0, TURN_MS);
    }
    text_duration(took, sizeof took, clock_us() - s.began_us);
    if (code == 0 && streams == 0)
        fprintf(stderr, "walferry sync: %s ships nothing to %s: see walferry status\n", self->name,
                s.only != NULL ? s.only : "another member");
    else if (code == 0 && late > 0 && !refused) {
        count_late(&s, true, &streams);
        fprintf(stderr,
                "walferry sync: not everything of before is %s on the other site after %s\n",
                options->applied ? "applied" : "durable", took);
    } else if (code == 0 && late == 0)
        printf("everything of before is %s on the other site, after %s\n",
               options->applied ? "applied" : "durable", took);
    json_decref(s.report);
    return code == 0 && late == 0 && streams > 0 ? 0 : 1;
}

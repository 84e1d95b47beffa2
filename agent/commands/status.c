/* SPDX-License-Identifier: PostgreSQL */
/*
 * status: what the agent of this host knows, for a person or (--json) a program; once, or with
 * --watch again and again: a terminal is redrawn, anything else gets one line per interval. With
 * --all what the agents of all pools of this host know: one that does not answer is shown so.
 */
#include "commands/command.h"
#include "commands/status_screen.h"
#include "control/control.h"
#include "control/show.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/text.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
print_position(const json_t *stream, const char *name)
{
    const json_t *p = json_object_get(stream, name);
    char behind[24], lag[32];

    printf("  %-9s %-16s %10s behind   lag %-14s as of %s\n", name, show_word(p, "lsn", "unknown"),
           show_bytes(json_object_get(p, "behind_bytes"), behind, sizeof behind),
           show_seconds(json_object_get(p, "lag_seconds"), lag, sizeof lag),
           show_word(p, "as_of", "unknown"));
}

static void
print_stream(const json_t *stream, const char *direction, const char *peer)
{
    char since[32], round_trip[32], wal[24], wire[24];
    const char *reason = show_word(stream, "reason", NULL);
    const json_t *rtt = json_object_get(stream, "round_trip_seconds");

    snprintf(round_trip, sizeof round_trip, "unknown");
    if (json_is_number(rtt))
        snprintf(round_trip, sizeof round_trip, "%.1f ms", json_number_value(rtt) * 1000);
    printf("link %s %s: %s for %s, round trip %s, %s of WAL in %s\n", direction,
           show_word(stream, peer, "nobody yet"), show_word(stream, "state", "?"),
           show_seconds(json_object_get(stream, "since_seconds"), since, sizeof since), round_trip,
           show_bytes(json_object_get(stream, "wal_bytes"), wal, sizeof wal),
           show_bytes(json_object_get(stream, "wire_bytes"), wire, sizeof wire));
    if (reason != NULL)
        printf("  why: %s\n", reason);
    if (json_integer_value(json_object_get(stream, "lanes")) > 0 &&
        json_is_string(json_object_get(stream, "rate_limit")))
        printf("  lanes %d, zstd level %d, rate limit %s%s\n",
               (int)json_integer_value(json_object_get(stream, "lanes")),
               (int)json_integer_value(json_object_get(stream, "compression_level")),
               show_word(stream, "rate_limit", "unknown"),
               json_is_true(json_object_get(stream, "set_at_run_time"))
                   ? " (changed by walferry set, until the agent's next start)"
                   : "");
    if (json_is_true(json_object_get(stream, "rate_limits")))
        printf("  WAL waits for the rate limit of %s a second: walferry set rate_limit=none lifts "
               "it\n",
               show_word(stream, "rate_limit", "?"));
    reason = show_word(stream, "source_reason", NULL);
    if (reason != NULL)
        printf("  no WAL to ship: %s\n", reason);
    if (json_is_true(json_object_get(stream, "config_differs")))
        printf("  the pool's file differs between the two members: see walferry config\n");
    print_position(stream, "received");
    print_position(stream, "flushed");
    print_position(stream, "applied");
    if (!json_is_true(json_object_get(stream, "standby_connected")) &&
        strcmp(show_word(stream, "state", ""), "up") == 0)
        printf(
            "  the standby's PostgreSQL is not connected to its relay; WAL is kept in the spool for it\n");
}

static void
print_guest(const json_t *guest)
{
    const json_t *process = json_object_get(guest, "process");
    char who[40] = "", behind[24];

    if (json_is_integer(process))
        snprintf(who, sizeof who, " (process %d)", (int)json_integer_value(process));
    else if (!json_is_true(json_object_get(guest, "afar")))
        snprintf(who, sizeof who, " (of another pid namespace)");
    printf("guest of the relay: '%s'%s%s ", show_word(guest, "application", "?"), who,
           json_is_true(json_object_get(guest, "afar")) ? ", through a tunnel," : "");
    if (json_is_true(json_object_get(guest, "streams")))
        printf("streams at %s on timeline %d, %s behind; it counts for nothing\n",
               show_word(guest, "sent", "?"),
               (int)json_integer_value(json_object_get(guest, "timeline")),
               show_bytes(json_object_get(guest, "behind_bytes"), behind, sizeof behind));
    else
        printf("is connected\n");
}

static void
print_guard(const json_t *json)
{
    const json_t *guard = json_object_get(json, "guard"), *outbox = json_object_get(json, "outbox");
    const char *step = show_word(guard, "step", "watch"), *error = show_word(outbox, "error", NULL);
    const char *kept = show_word(guard, "kept", NULL);
    char bytes[24];

    if (strcmp(step, "watch") != 0)
        printf("disk guard: %s, slots keep %s of pg_wal%s%s\n", step,
               show_bytes(json_object_get(guard, "retained_bytes"), bytes, sizeof bytes),
               kept != NULL ? "; " : "", kept != NULL ? kept : "");
    if (json_integer_value(json_object_get(outbox, "bytes")) > 0)
        printf("outbox: %s from %s on wait there, not at the other site%s%s%s\n",
               show_bytes(json_object_get(outbox, "bytes"), bytes, sizeof bytes),
               show_word(outbox, "start", "?"),
               json_is_true(json_object_get(outbox, "full")) ? "; it is full" : "",
               error != NULL ? "; it takes nothing: " : "", error != NULL ? error : "");
}

/* Its role by its own word, where that is fresh. */
static void
print_member(const json_t *member, const char *here)
{
    const char *says = show_word(member, "says", NULL), *role = show_word(member, "role", "?");
    const char *name = show_word(member, "name", "?");

    if (says != NULL && strcmp(says, "unknown") != 0 &&
        !json_is_true(json_object_get(member, "silent")))
        role = says;
    printf("  %-16s site %-12s %-10s %s%s\n", name, show_word(member, "site", "?"), role,
           show_word(member, "state", "unknown"), strcmp(name, here) == 0 ? "   <- here" : "");
}

static void
print_status(const json_t *json)
{
    const json_t *epoch = json_object_get(json, "epoch"),
                 *postgres = json_object_get(json, "postgres"),
                 *promised = json_object_get(json, "promised");
    const json_t *receiving = json_object_get(json, "receiving"), *member, *link, *gap, *guest;
    const json_t *tunnel = json_object_get(json, "tunnel");
    const char *reason = show_word(postgres, "reason", NULL);
    char exposure[32], bytes[24];
    size_t i;

    printf("pool %s: epoch %lld, primary %s, timeline %lld\n", show_word(json, "pool", "?"),
           (long long)json_integer_value(json_object_get(epoch, "number")),
           show_word(epoch, "member", "unknown"),
           (long long)json_integer_value(json_object_get(json, "timeline")));
    json_array_foreach (json_object_get(json, "members"), i, member)
        print_member(member, show_word(json, "member", "-"));
    printf("exposure: %s%s\n",
           show_seconds(json_object_get(json, "exposure_seconds"), exposure, sizeof exposure),
           json_is_true(json_object_get(json, "mirror"))
               ? "; this is a mirror, what other sites have is known on the primary"
               : "");
    printf("  a failover now would lose: %s\n",
           show_word(json_object_get(json, "loss"), "text", "unknown"));
    if (show_word(epoch, "loss", NULL) != NULL)
        printf("  the failover that began this epoch: %s; exactly: walferry lost\n",
               show_word(epoch, "loss", ""));
    if (json_is_false(json_object_get(postgres, "in_recovery")) &&
        show_word(postgres, "synchronous_standby_names", "")[0] != '\0')
        printf("commits wait for: %s\n", show_word(postgres, "synchronous_standby_names", ""));
    if (show_word(json, "alarm", NULL) != NULL)
        printf("ALARM: %s\n", show_word(json, "alarm", ""));
    if (show_word(json, "missing", NULL) != NULL)
        printf("ALARM: %s\n", show_word(json, "missing", ""));
    if (json_is_object(promised))
        printf("promised: epoch %lld to %s, where a failover runs; if that host is gone: walferry "
               "failover --break-promise %s\n",
               (long long)json_integer_value(json_object_get(promised, "number")),
               show_word(promised, "member", "?"), show_word(promised, "member", "MEMBER"));
    if (json_integer_value(json_object_get(json, "site_files_differ")) > 0)
        printf("site files: %lld of the others differ from those here: walferry files\n",
               (long long)json_integer_value(json_object_get(json, "site_files_differ")));
    printf("PostgreSQL here: %s%s%s\n", show_word(postgres, "state", "?"),
           reason != NULL ? ", " : "", reason != NULL ? reason : "");
    json_array_foreach (json_object_get(json, "gaps"), i, gap)
        printf("GAP: %s lacks WAL from %s to %s (%s), %s: %s\n", show_word(gap, "member", "?"),
               show_word(gap, "start", "?"), show_word(gap, "end", "?"),
               show_bytes(json_object_get(gap, "bytes"), bytes, sizeof bytes),
               show_word(gap, "state", "?"), show_word(gap, "doing", ""));
    json_array_foreach (json_object_get(json, "links"), i, link)
        print_stream(link, "to", "to");
    if (json_is_object(receiving))
        print_stream(receiving, "from", "from");
    json_array_foreach (json_object_get(json_object_get(json, "relay"), "guests"), i, guest)
        print_guest(guest);
    reason = show_word(json_object_get(json, "spool"), "error", NULL);
    if (reason != NULL)
        printf("spool: takes nothing: %s\n", reason);
    reason = show_word(json_object_get(json, "spool"), "kept_aside", NULL);
    if (reason != NULL)
        printf("kept aside: %s, WAL behind a fork that the spool was cut at; it goes after "
               "escrow_keep\n",
               reason);
    print_guard(json);
    if (json_integer_value(json_object_get(tunnel, "streams")) > 0)
        printf("tunnel: %d streams are open, %s went through so far\n",
               (int)json_integer_value(json_object_get(tunnel, "streams")),
               show_bytes(json_object_get(tunnel, "bytes"), bytes, sizeof bytes));
}

static void
print_line(const json_t *json)
{
    const char *direction;
    const json_t *stream = show_worst_stream(json, &direction), *standby = show_worst_standby(json);
    char exposure[32], lag[32], when[40], behind[24];

    printf("%s %s %s exposure %s link %s %s %s flushed %s (%s behind) applied %s (lag %s)",
           text_time(when, sizeof when, clock_wall_us()), show_word(json, "member", "?"),
           show_word(json, "role", "?"),
           show_seconds(json_object_get(json, "exposure_seconds"), exposure, sizeof exposure),
           show_word(stream, "state", "none"), direction, show_word(stream, direction, "nobody"),
           show_word(json_object_get(stream, "flushed"), "lsn", "unknown"),
           show_bytes(json_object_get(json_object_get(stream, "flushed"), "behind_bytes"), behind,
                      sizeof behind),
           show_word(json_object_get(stream, "applied"), "lsn", "unknown"),
           show_seconds(json_object_get(json_object_get(stream, "applied"), "lag_seconds"), lag,
                        sizeof lag));
    if (json_array_size(json_object_get(json, "members")) > 2)
        printf(" worst %s (lag %s)", show_word(standby, "name", "?"),
               show_seconds(json_object_get(standby, "applied_lag_seconds"), lag, sizeof lag));
    printf("%s%s\n", show_word(json, "alarm", NULL) != NULL ? " ALARM: " : "",
           show_word(json, "alarm", ""));
}

struct view {
    const struct options *options;
    struct status_screen *screen; /* NULL: no terminal to redraw */
};

static void
show(void *context, json_t *json)
{
    const struct view *v = context;

    if (v->screen != NULL)
        status_screen_draw(v->screen, json, NULL);
    else if (v->options->json)
        json_dumpf(json, stdout, v->options->watch ? JSON_COMPACT : JSON_INDENT(2)), putchar('\n');
    else if (v->options->watch)
        print_line(json);
    else
        print_status(json);
    fflush(stdout);
}

static void
show_failure(const struct view *v, const struct config *config, const struct member *self)
{
    char text[FAIL_MESSAGE_MAX + 256];

    snprintf(text, sizeof text, "%s; is the agent of %s running? (systemctl start walferry@%s)",
             fail_message(), self->name, config->name);
    if (v->screen != NULL)
        status_screen_draw(v->screen, NULL, text);
    else
        fprintf(stderr, "walferry status: %s\n", text);
}

/* ---- all pools of this host ---- */

#define ANSWER_S 5

/* Who is asked, of the pool in `file`. ERR_USAGE: `*ret_wrong`, to be freed, says why, or else
 * fail_message(). */
static int
load_pool(const char *file, const char *member, struct config *config,
          const struct member **ret_self, char **ret_wrong)
{
    size_t size;
    FILE *errors = open_memstream(ret_wrong, &size);
    int code;

    config->name[0] = '\0';
    if (errors == NULL)
        return fail(ERR_USAGE, "out of memory");
    code = config_load(config, file, errors);
    fclose(errors);
    return code == 0 ? config_self(config, member, ret_self) : code;
}

/* What the agent says, or an object with "error" instead. */
static json_t *
ask_pool(const char *file, const char *member, int *ret_code)
{
    static struct config config; /* large */
    const struct member *self = NULL;
    char why[FAIL_MESSAGE_MAX], shown[PATH_MAX], *wrong = NULL, *text = why;
    json_t *status = NULL;
    int code = load_pool(file, member, &config, &self, &wrong);

    *ret_code = code < 0 ? 2 : 1;
    if (code == 0) {
        code = control_ask_within(self->run, ANSWER_S, json_pack("{s:s}", "command", "status"),
                                  control_keep, &status);
        if (code != 0 || status == NULL)
            code =
                fail_in(ERR_PEER, "the agent of %s does not answer (systemctl start walferry@%s)",
                        self->name, config.name);
    }
    if (code == 0) {
        *ret_code = 0;
    } else {
        json_decref(status);
        snprintf(why, sizeof why, "%s", fail_message());
        if (wrong != NULL && wrong[0] != '\0')
            text = wrong;
        snprintf(shown, sizeof shown, "%s", file);
        status = json_pack("{s:s s:s* s:s* s:s}", "file", text_make_safe(shown, strlen(shown)),
                           "pool", config.name[0] != '\0' ? config.name : NULL, "member",
                           self != NULL ? self->name : NULL, "error",
                           text_make_safe(text, strlen(text)));
    }
    free(wrong);
    return status;
}

static void
print_pool(const json_t *status)
{
    const char *error = show_word(status, "error", NULL), *pool = show_word(status, "pool", NULL);

    if (error == NULL)
        print_status(status);
    else
        printf("%s %s: unknown: %.*s\n", pool != NULL ? "pool" : "config",
               pool != NULL ? pool : show_word(status, "file", "?"), (int)strcspn(error, "\n"),
               error);
}

static int
show_all(const struct options *options)
{
    json_t *all = json_array();
    glob_t found;
    int worst = 0, code;

    if (options->watch || config_find_all(options->config_file, &found) < 0) {
        fprintf(stderr, "walferry status: %s\n",
                options->watch ? "--all is shown once, without --watch" : fail_message());
        json_decref(all);
        return 2;
    }
    for (size_t i = 0; i < found.gl_pathc; i++) {
        json_array_append_new(all, ask_pool(found.gl_pathv[i], options->member, &code));
        worst = code > worst ? code : worst;
        if (options->json)
            continue;
        printf("%s", i > 0 ? "\n" : "");
        print_pool(json_array_get(all, i));
        fflush(stdout);
    }
    if (options->json)
        json_dumpf(all, stdout, JSON_INDENT(2)), putchar('\n');
    json_decref(all);
    globfree(&found);
    return worst;
}

int
command_status(const struct config *config, const struct member *self,
               const struct options *options)
{
    static struct status_screen screen;
    struct view view = {.options = options};
    int code;

    if (options->all)
        return show_all(options);
    if (options->watch && !options->json && isatty(STDOUT_FILENO)) {
        status_screen_init(&screen);
        view.screen = &screen;
        printf("\033[2J");
    }
    for (;;) {
        code = control_ask(self->run, json_pack("{s:s}", "command", "status"), show, &view);
        if (code < 0)
            show_failure(&view, config, self);
        if (!options->watch || ferror(stdout))
            return code == 0 ? 0 : 1;
        poll(NULL, 0, options->watch_s * 1000);
    }
}

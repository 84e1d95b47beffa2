/* SPDX-License-Identifier: PostgreSQL */
/*
 * gaps: `walferry gaps`, the open gaps as this host's agent has them, what each source of the
 * backfill answered, and what the next step costs. `fill` asks every source again, with --yes also
 * for more than fetch_limit; `give-up` ends the search, with a reason.
 *
 * Without the agent the gaps of its file are shown. Exit 0: no gap, or done; 1: a gap, or the agent
 * refused.
 */
#include "commands/command.h"
#include "control/control.h"
#include "control/show.h"
#include "retention/gap.h"

#include "base/durable.h"
#include "base/fail.h"
#include "base/text.h"

#include <ftw.h>
#include <stdio.h>
#include <string.h>

static uint64_t walked_bytes;

static int
visit(const char *path, const struct stat *s, int type, struct FTW *at)
{
    (void)path;
    (void)at;
    if (type == FTW_F)
        walked_bytes += (uint64_t)s->st_size;
    return 0;
}

static const char *
word(const json_t *json, const char *key)
{
    return show_word(json, key, "unknown");
}

static void
print_gap(const json_t *gap, const char *pgdata)
{
    const json_t *rung;
    char bytes[32], age[32];
    size_t i;

    printf("%s lacks WAL from %s to %s, timeline %lld: %s to %s, %s, for %s\n", word(gap, "member"),
           word(gap, "start"), word(gap, "end"),
           (long long)json_integer_value(json_object_get(gap, "timeline")),
           word(gap, "first_segment"), word(gap, "last_segment"),
           show_bytes(json_object_get(gap, "bytes"), bytes, sizeof bytes),
           show_seconds(json_object_get(gap, "age_seconds"), age, sizeof age));
    printf("  why: %s\n  %s: %s\n", word(gap, "why"), word(gap, "state"), word(gap, "doing"));
    json_array_foreach (json_object_get(gap, "rungs"), i, rung)
        printf("    %-8s %s\n", word(rung, "rung"), word(rung, "answer"));
    if (strcmp(word(gap, "state"), "lost") != 0 && strcmp(word(gap, "state"), "given up") != 0)
        return;
    walked_bytes = 0;
    if (nftw(pgdata, visit, 16, FTW_PHYS) == 0)
        printf(
            "  a new copy has %s to carry, before compression; walferry seed --dry-run there tells more\n",
            text_bytes(bytes, sizeof bytes, walked_bytes));
}

struct view {
    const struct options *options;
    const struct member *self;
    bool any;
};

static void
print_all(struct view *v, const json_t *gaps, const json_t *receiving)
{
    const char *reason = json_string_value(json_object_get(receiving, "reason"));
    const json_t *gap;
    size_t i;

    v->any = json_array_size(gaps) > 0;
    if (v->options->json) {
        json_dumpf(gaps, stdout, JSON_INDENT(2));
        putchar('\n');
        return;
    }
    if (json_is_object(receiving))
        printf("gaps are the primary's to fill: ask there. Here: %s\n",
               reason != NULL ? reason : "WAL comes in");
    else if (!v->any)
        printf("no gap: nothing is missing that could not be shipped\n");
    json_array_foreach (gaps, i, gap)
        print_gap(gap, v->self->pgdata);
}

static void
show(void *context, json_t *json)
{
    const char *text = json_string_value(json_object_get(json, "text"));

    if (text != NULL)
        printf("%s\n", text);
    else if (json_is_array(json_object_get(json, "gaps")))
        print_all(context, json_object_get(json, "gaps"), json_object_get(json, "receiving"));
}

static int
show_file(struct view *v)
{
    static struct gaps gaps; /* large */
    json_t *all = json_array();
    int dir = -1, code = durable_dir(v->self->spool, &dir) < 0
                             ? fail_sys(ERR_LOCAL, "cannot open %s", v->self->spool)
                             : gaps_load(&gaps, dir);

    durable_close(dir);
    for (size_t i = 0; i < gaps.count; i++)
        json_array_append_new(all, gap_json(&gaps.gap[i], 0));
    if (code == 0)
        print_all(v, all, NULL);
    json_decref(all);
    return code;
}

static int
usage(const char *what)
{
    fprintf(stderr, "walferry gaps: %s; see walferry help gaps\n", what);
    return 2;
}

static json_t *
request(const struct options *options, const char *what)
{
    if (what == NULL)
        return json_pack("{s:s}", "command", "status");
    return json_pack("{s:s s:s s:b s:s* s:s*}", "command", "gaps", "do", what, "yes", options->yes,
                     "reason", options->reason, "member",
                     options->arg_count > 1 ? options->args[1] : NULL);
}

int
command_gaps(const struct config *config, const struct member *self, const struct options *options)
{
    const char *what = options->arg_count > 0 ? options->args[0] : NULL;
    struct view view = {.options = options, .self = self};
    int code;

    if (what != NULL && strcmp(what, "fill") != 0 && strcmp(what, "give-up") != 0)
        return usage("fill or give-up is what can be done with them");
    if (options->arg_count > 1 && config_member(config, options->args[1]) == NULL)
        return usage("there is no member of that name");
    if ((what != NULL && strcmp(what, "give-up") == 0) != (options->reason != NULL))
        return usage("--reason belongs to give-up, which needs one");
    if (options->reason != NULL && !gap_reason_fits(options->reason))
        return usage("the reason has to be UTF-8 of less than 400 bytes");
    code = control_ask(self->run, request(options, what), show, &view);
    if (code < 0 && what == NULL) {
        fprintf(stderr, "walferry gaps: %s; what follows is of its file\n", fail_message());
        code = show_file(&view);
    }
    if (code < 0)
        fprintf(stderr, "walferry gaps: %s\n", fail_message());
    return code < 0 ? 1 : code > 0 ? code : view.any ? 1 : 0;
}

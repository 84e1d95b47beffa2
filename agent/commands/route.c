/* SPDX-License-Identifier: PostgreSQL */
/*
 * route: `walferry route`, who feeds whom and why, as this host's agent knows it. `pin` and `unpin`, on
 * the primary's host, say which member shall be the head of its site.
 */
#include "commands/command.h"
#include "control/control.h"
#include "control/show.h"

#include "base/fail.h"

#include <stdio.h>
#include <string.h>

struct shown {
    bool json, known;
};

static void
show(void *context, json_t *status)
{
    struct shown *s = context;
    const json_t *routes = json_object_get(status, "routes"), *route;
    size_t i;

    s->known = json_is_object(routes);
    if (s->json) {
        json_dumpf(routes != NULL ? routes : json_null(), stdout, JSON_ENCODE_ANY | JSON_INDENT(2));
        putchar('\n');
        return;
    }
    if (!s->known) {
        printf("no routes are known here yet: the primary makes them, and tells the others\n");
        return;
    }
    printf("routes of epoch %lld (primary %s), table %lld\n",
           (long long)json_integer_value(json_object_get(routes, "epoch")),
           show_word(routes, "primary", "unknown"),
           (long long)json_integer_value(json_object_get(routes, "number")));
    json_array_foreach (json_object_get(routes, "members"), i, route)
        printf("  %s: %s\n", show_word(route, "member", "unknown"),
               show_word(route, "text", "unknown"));
}

static int
usage(const char *what)
{
    fprintf(stderr, "walferry route: %s; see walferry help route\n", what);
    return 2;
}

int
command_route(const struct config *config, const struct member *self, const struct options *options)
{
    const char *what = options->arg_count > 0 ? options->args[0] : NULL,
               *member = options->arg_count > 1 ? options->args[1] : NULL;
    struct shown shown = {.json = options->json};
    int code;

    if (what != NULL && strcmp(what, "pin") != 0 && strcmp(what, "unpin") != 0)
        return usage("pin or unpin is what can be done with a member");
    if (what != NULL && strcmp(what, "pin") == 0 && member == NULL)
        return usage("which member shall be pinned?");
    if (member != NULL && config_member(config, member) == NULL)
        return usage("there is no member of that name");
    if (what == NULL)
        code = control_ask(self->run, json_pack("{s:s}", "command", "status"), show, &shown);
    else
        code = control_ask(self->run,
                           json_pack("{s:s s:b s:s*}", "command", "route", "pin",
                                     strcmp(what, "pin") == 0, "member", member),
                           show_line, NULL);
    if (code < 0)
        fprintf(stderr, "walferry route: %s\n", fail_message());
    return code < 0 ? 1 : code > 0 ? code : what == NULL && !shown.known ? 1 : 0;
}

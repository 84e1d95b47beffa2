/* SPDX-License-Identifier: PostgreSQL */
/*
 * validate: `walferry validate`, is this member, or every one of the pool, ready for a role change?
 * Each line is ok, warn or fail, why, and what to type. The exit code is the worst of them, 0, 1 or
 * 2, and 3 when nothing could be judged (usage, config).
 */
#include "commands/command.h"
#include "control/show.h"
#include "validate/finding.h"
#include "validate/validate.h"

#include <stdio.h>
#include <string.h>

static void
print_member(const json_t *member)
{
    static const char *const verdict[] = {"ready", "ready, with warnings", "not ready"};
    const json_t *check;
    size_t i;

    printf("%s (%s, site %s): %s\n", show_word(member, "member", "?"),
           show_word(member, "role", "unknown"), show_word(member, "site", "?"),
           verdict[validate_worst(member)]);
    json_array_foreach (json_object_get(member, "checks"), i, check) {
        const char *remedy = show_word(check, "remedy", NULL);

        printf("  %-4s  %-18s %s\n", readiness_name[validate_result(check)],
               show_word(check, "check", "?"), show_word(check, "reason", ""));
        if (remedy != NULL)
            printf("  %-4s  %-18s -> %s\n", "", "", remedy);
    }
}

/* Takes over the reference. */
static void
print_json(json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(json);
}

int
command_validate(const struct config *config, const struct member *self,
                 const struct options *options)
{
    const char *name = options->arg_count > 0 ? options->args[0] : self->name;
    json_t *members, *member;
    enum readiness worst = READY_OK;
    size_t i;

    if (config_member(config, name) == NULL || (options->pool && options->arg_count > 0) ||
        (options->local && (options->pool || strcmp(name, self->name) != 0))) {
        fprintf(stderr, "walferry validate: %s\n",
                options->local  ? "--local is this member alone"
                : options->pool ? "a member or --pool, not both"
                                : "no such member in the pool's file");
        return JUDGE_UNKNOWN;
    }
    members = validate_members(config, self, options->local);
    for (i = json_array_size(members); i > 0; i--) {
        member = json_array_get(members, i - 1);
        if (!options->pool && strcmp(show_word(member, "member", ""), name) != 0)
            json_array_remove(members, i - 1);
        else if (validate_worst(member) > worst)
            worst = validate_worst(member);
    }
    if (options->json && options->local)
        print_json(json_incref(json_array_get(members, 0)));
    else if (options->json)
        print_json(json_pack("{s:s s:s s:O}", "pool", config->name, "result", readiness_name[worst],
                             "members", members));
    else
        json_array_foreach (members, i, member)
            print_member(member);
    json_decref(members);
    return (int)worst;
}

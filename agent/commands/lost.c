/* SPDX-License-Identifier: PostgreSQL */
/*
 * lost: `walferry lost`, what the pool's failovers have cost, the oldest first: at most, as known
 * at the failover, or exactly, once the former primary has rejoined. It reads the receipts of this
 * host and asks the other members' agents for theirs, if the tunnel leads there.
 */
#include "commands/command.h"
#include "control/control.h"
#include "control/show.h"
#include "jobs/consent.h"
#include "jobs/waldump.h"
#include "pool/receipt.h"

#include "base/fail.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *
text_in(const json_t *receipt, const char *key)
{
    const char *text = json_string_value(json_object_get(receipt, key));

    return text != NULL ? text : "";
}

static json_int_t
number_in(const json_t *receipt, const char *key)
{
    return json_integer_value(json_object_get(receipt, key));
}

/* By epoch; a failover's receipt before a rejoin's, each in the order of time. */
static int
compare(const void *a, const void *b)
{
    const json_t *one = *(json_t *const *)a, *two = *(json_t *const *)b;
    bool began_one = text_in(one, "began")[0] != '\0', began_two = text_in(two, "began")[0] != '\0';
    const char *when = began_one ? "began" : "listed_at";

    if (number_in(one, "epoch") != number_in(two, "epoch"))
        return number_in(one, "epoch") < number_in(two, "epoch") ? -1 : 1;
    if (began_one != began_two)
        return began_one ? -1 : 1;
    return strcmp(text_in(one, when), text_in(two, when));
}

/* Are both receipts of one fork? A failover writes one, a rejoin another, perhaps twice. */
static bool
belongs(const json_t *held, const json_t *receipt)
{
    bool listed = text_in(held, "fork")[0] != '\0';

    if (number_in(held, "epoch") != number_in(receipt, "epoch") ||
        (text_in(held, "former")[0] != '\0' &&
         strcmp(text_in(held, "former"), text_in(receipt, "former")) != 0))
        return false;
    return !listed || (strcmp(text_in(held, "fork"), text_in(receipt, "fork")) == 0 &&
                       number_in(held, "timeline") == number_in(receipt, "timeline"));
}

/* In order, those of one fork joined. A new reference. */
static json_t *
put_together(const json_t *receipts)
{
    size_t count = json_array_size(receipts), i, k;
    const json_t **in_order = calloc(count + 1, sizeof *in_order);
    json_t *all = json_array(), *held = NULL;

    for (i = 0; in_order != NULL && i < count; i++)
        in_order[i] = json_array_get(receipts, i);
    if (in_order != NULL)
        qsort(in_order, count, sizeof *in_order, compare);
    for (i = 0; in_order != NULL && i < count; i++) {
        json_array_foreach (all, k, held)
            if (belongs(held, in_order[i]))
                break;
        if (k == json_array_size(all)) {
            json_array_append_new(all, json_deep_copy(in_order[i]));
            continue;
        }
        json_object_del(held, "why_not_exact");
        json_object_update(held, (json_t *)(uintptr_t)in_order[i]);
    }
    free(in_order);
    return all;
}

struct teller {
    const char *member;
    json_t *came;
};

static void
take_far(void *context, json_t *line)
{
    const struct teller *t = context;
    json_t *receipt = json_object_get(line, "receipt");

    if (!json_is_object(receipt))
        return;
    if (json_object_get(receipt, "list_file") != NULL)
        json_object_set_new(receipt, "list_member", json_string(t->member));
    json_array_append(t->came, receipt);
}

static const char *
string_of(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));

    return text != NULL ? text : "unknown";
}

static void
print_transaction(const json_t *t)
{
    const char *gid = json_string_value(json_object_get(t, "gid"));
    char shown[4 * WALDUMP_GID_SIZE];

    printf("  xid %" JSON_INTEGER_FORMAT ", ", number_in(t, "xid"));
    if (gid != NULL)
        printf("prepared %s as '%s', its COMMIT PREPARED cannot come any more",
               string_of(t, "prepared_at"), text_escape(shown, sizeof shown, gid, strlen(gid)));
    else
        printf("committed %s%s", string_of(t, "committed"),
               json_is_true(json_object_get(t, "prepared")) ? ", COMMIT PREPARED" : "");
    printf("%s\n", json_is_true(json_object_get(t, "at_least")) ? ", at least" : "");
    receipt_print_tables(json_object_get(t, "tables"), "    ");
}

static void
print_receipt(const json_t *receipt)
{
    json_int_t count = number_in(receipt, "transactions"), waiting = number_in(receipt, "waiting");
    const json_t *listed = json_object_get(receipt, "listed"), *t;
    const char *why = json_string_value(json_object_get(receipt, "why_not_exact"));
    const char *escrow = json_string_value(json_object_get(receipt, "escrow"));
    const json_t *missing = json_object_get(receipt, "missing");
    size_t i;

    if (json_is_string(json_object_get(receipt, "began")))
        printf("epoch %" JSON_INTEGER_FORMAT ", %s: %s became the primary after %s\n",
               number_in(receipt, "epoch"), string_of(receipt, "began"),
               string_of(receipt, "primary"), string_of(receipt, "former"));
    else
        printf("epoch %" JSON_INTEGER_FORMAT ", %s: %s came back to %s\n",
               number_in(receipt, "epoch"), string_of(receipt, "listed_at"),
               string_of(receipt, "former"), string_of(receipt, "primary"));
    if (json_is_string(json_object_get(receipt, "at_most")))
        printf("  known then: %s\n", string_of(receipt, "at_most"));
    if (json_is_string(json_object_get(receipt, "fork")))
        printf("  parted on timeline %" JSON_INTEGER_FORMAT " at %s; WAL up to %s%s%s\n",
               json_integer_value(json_object_get(receipt, "timeline")), string_of(receipt, "fork"),
               string_of(receipt, "end"),
               escrow != NULL ? " is kept in " : ": nothing of it is kept",
               escrow != NULL ? escrow : " (walferry seed --discard)");
    if (missing != NULL)
        printf("  ACKNOWLEDGED AND MISSING: WAL of timeline %" JSON_INTEGER_FORMAT
               " from %s to %s, kept in %s\n",
               number_in(missing, "timeline"), string_of(missing, "from"), string_of(missing, "to"),
               string_of(missing, "kept"));
    if (!json_is_true(json_object_get(receipt, "exact")))
        printf("  exactly: not known%s%s\n", why != NULL ? ", " : " yet; ",
               why != NULL ? why : "walferry rejoin on the former primary tells");
    if (json_object_get(receipt, "transactions") == NULL)
        return;
    printf("  %s: %" JSON_INTEGER_FORMAT " transaction%s\n", why != NULL ? "at least" : "exactly",
           count, count == 1 ? "" : "s");
    receipt_print_tables(json_object_get(receipt, "tables"), "    ");
    json_array_foreach ((json_t *)(uintptr_t)listed, i, t)
        print_transaction(t);
    if (json_object_get(receipt, "list_file") != NULL)
        printf("  the list is on the host of %s: walferry lost there, or %s\n",
               string_of(receipt, "list_member"), string_of(receipt, "list_file"));
    else if ((json_int_t)json_array_size(listed) < count + waiting)
        printf("  ... and %" JSON_INTEGER_FORMAT " more\n",
               count + waiting - (json_int_t)json_array_size(listed));
}

/* The WAL that only our spool has. */
static int
discard(const struct config *config, const struct member *self, const struct options *options)
{
    int code =
        consent("lost", self, options->yes,
                "What was acknowledged here and is missing in PostgreSQL is removed from the "
                "spool, for good.");

    if (code != 0)
        return code;
    code = control_ask(self->run, json_pack("{s:s}", "command", "discard"), show_line, NULL);
    if (code < 0)
        fprintf(stderr,
                "walferry lost: %s; is the agent of %s running? (systemctl start walferry@%s)\n",
                fail_message(), self->name, config->name);
    return code != 0;
}

int
command_lost(const struct config *config, const struct member *self, const struct options *options)
{
    json_t *came = NULL, *all, *receipt;
    size_t i;

    if (options->discard)
        return discard(config, self, options);
    if (receipt_load(self->spool, UINT64_MAX, &came) < 0) {
        fprintf(stderr, "walferry lost: %s\n", fail_message());
        return 1;
    }
    for (i = 0; i < config->members; i++) {
        struct teller teller = {.member = config->member[i].name, .came = came};
        char run[256];

        snprintf(run, sizeof run, "%s/far/%s", self->run, config->member[i].name);
        if (&config->member[i] != self &&
            control_ask(run, json_pack("{s:s}", "command", "lost"), take_far, &teller) < 0)
            fprintf(stderr, "walferry lost: what %s knows is missing: %s\n", config->member[i].name,
                    fail_message());
    }
    all = put_together(came);
    if (options->json)
        json_dumpf(all, stdout, JSON_INDENT(2)), putchar('\n');
    else if (json_array_size(all) == 0)
        printf("no failover yet\n");
    else
        json_array_foreach (all, i, receipt)
            print_receipt(receipt);
    json_decref(all);
    json_decref(came);
    return 0;
}

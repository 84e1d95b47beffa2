/*
 * lost: `walferry lost`, what the pool's failovers have cost, the oldest first: at most, as it was
 * known then, or exactly, once the member that lost has rejoined. It reads the receipts of this
 * host and, if the tunnel leads there, asks the other members' agents for theirs.
 */
#include "command.h"
#include "control.h"
#include "receipt.h"

#include "base/fail.h"

#include <stdio.h>
#include <string.h>

struct book {
    json_t *by_epoch; /* "2": receipt */
};

/* Two hosts know a half each: the fields of one that the other has not. */
static void
enter(struct book *b, const json_t *receipt)
{
    char key[24];
    json_t *held, *mine = json_deep_copy(receipt);

    snprintf(key, sizeof key, "%" JSON_INTEGER_FORMAT,
             json_integer_value(json_object_get(receipt, "epoch")));
    held = json_object_get(b->by_epoch, key);
    if (held == NULL) {
        json_object_set_new(b->by_epoch, key, mine);
        return;
    }
    if (json_is_true(json_object_get(mine, "exact")) ||
        json_object_get(mine, "why_not_exact") != NULL)
        json_object_update(held, mine);
    else
        json_object_update_missing(held, mine);
    json_decref(mine);
}

static void
take_far(void *context, json_t *line)
{
    const json_t *receipt = json_object_get(line, "receipt");

    if (json_is_object(receipt))
        enter(context, receipt);
}

static const char *
string_of(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));

    return text != NULL ? text : "unknown";
}

static void
print_receipt(const json_t *receipt)
{
    json_int_t count = json_integer_value(json_object_get(receipt, "transactions"));
    const json_t *listed = json_object_get(receipt, "listed"), *t;
    const char *why = json_string_value(json_object_get(receipt, "why_not_exact"));
    const char *escrow = json_string_value(json_object_get(receipt, "escrow"));
    size_t i;

    printf("epoch %" JSON_INTEGER_FORMAT ", %s: %s became the primary",
           json_integer_value(json_object_get(receipt, "epoch")), string_of(receipt, "began"),
           string_of(receipt, "primary"));
    if (json_is_string(json_object_get(receipt, "former")))
        printf(" after %s", string_of(receipt, "former"));
    printf("\n");
    if (json_is_string(json_object_get(receipt, "at_most")))
        printf("  known then: %s\n", string_of(receipt, "at_most"));
    if (json_is_string(json_object_get(receipt, "fork")))
        printf("  parted on timeline %" JSON_INTEGER_FORMAT " at %s; WAL up to %s%s%s\n",
               json_integer_value(json_object_get(receipt, "timeline")), string_of(receipt, "fork"),
               string_of(receipt, "end"),
               escrow != NULL ? " is kept in " : ": nothing of it is kept",
               escrow != NULL ? escrow : " (walferry seed --discard)");
    if (!json_is_true(json_object_get(receipt, "exact")))
        printf("  exactly: not known%s%s\n", why != NULL ? ", " : " yet; ",
               why != NULL ? why : "walferry rejoin on the former primary tells");
    if (json_object_get(receipt, "transactions") == NULL)
        return;
    printf("  %s: %" JSON_INTEGER_FORMAT " transaction%s\n", why != NULL ? "at least" : "exactly",
           count, count == 1 ? "" : "s");
    receipt_print_tables(json_object_get(receipt, "tables"), "    ");
    json_array_foreach ((json_t *)(uintptr_t)listed, i, t) {
        printf("  xid %" JSON_INTEGER_FORMAT ", committed %s%s%s\n",
               json_integer_value(json_object_get(t, "xid")), string_of(t, "committed"),
               json_is_true(json_object_get(t, "prepared")) ? ", COMMIT PREPARED" : "",
               json_is_true(json_object_get(t, "at_least")) ? ", at least" : "");
        receipt_print_tables(json_object_get(t, "tables"), "    ");
    }
    if ((json_int_t)json_array_size(listed) < count)
        printf("  ... and %" JSON_INTEGER_FORMAT " more\n",
               count - (json_int_t)json_array_size(listed));
}

int
command_lost(const struct config *config, const struct member *self, const struct options *options)
{
    struct book b = {.by_epoch = json_object()};
    json_t *own = NULL, *all = json_array(), *receipt;
    const char *key;
    size_t i;

    if (receipt_load(self->spool, UINT64_MAX, &own) < 0) {
        fprintf(stderr, "walferry lost: %s\n", fail_message());
        return 1;
    }
    json_array_foreach (own, i, receipt)
        enter(&b, receipt);
    for (i = 0; i < config->members; i++) {
        char run[256];

        snprintf(run, sizeof run, "%s/far/%s", self->run, config->member[i].name);
        if (&config->member[i] != self &&
            control_ask(run, json_pack("{s:s}", "command", "lost"), take_far, &b) < 0)
            fprintf(stderr, "walferry lost: what %s knows is missing: %s\n", config->member[i].name,
                    fail_message());
    }
    json_object_foreach (b.by_epoch, key, receipt)
        json_array_append(all, receipt);
    if (options->json)
        json_dumpf(all, stdout, JSON_INDENT(2)), putchar('\n');
    else if (json_array_size(all) == 0)
        printf("no failover yet\n");
    else
        json_array_foreach (all, i, receipt)
            print_receipt(receipt);
    json_decref(own);
    json_decref(all);
    json_decref(b.by_epoch);
    return 0;
}

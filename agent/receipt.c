/* See receipt.h. */
#include "receipt.h"

#include "base/durable.h"
#include "base/fail.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FOLDER "lost"
#define LISTED "listed"

static int
open_folder(const char *spool, bool make, int *ret_dir)
{
    char path[512];
    int dir;

    snprintf(path, sizeof path, "%s/" FOLDER, spool);
    if (make && mkdir(path, 0700) == 0 && durable_dir(spool, &dir) == 0) {
        durable_sync_dir(dir);
        durable_close(dir);
    }
    if (durable_dir(path, ret_dir) == 0)
        return 0;
    return errno == ENOENT ? ERR_AGAIN : fail_sys(ERR_LOCAL, "cannot open %s", path);
}

static int
replace(const char *spool, int dir, json_int_t epoch, const char *kind, const json_t *what)
{
    char name[40], *text = json_dumps(what, JSON_INDENT(1));
    int code = 0;

    snprintf(name, sizeof name, "%" JSON_INTEGER_FORMAT ".%s", epoch, kind);
    if (text == NULL)
        code = fail(ERR_LOCAL, "out of memory for a receipt");
    else if (durable_replace(dir, name, text, strlen(text)) < 0)
        code = fail_sys(ERR_LOCAL, "cannot write %s/" FOLDER "/%s", spool, name);
    free(text);
    return code;
}

int
receipt_save(const char *spool, const json_t *receipt)
{
    json_int_t epoch = json_integer_value(json_object_get(receipt, "epoch"));
    json_t *listed = json_object_get(receipt, LISTED),
           *rest = json_copy((json_t *)(uintptr_t)receipt);
    int dir = -1, code = open_folder(spool, true, &dir);

    json_object_del(rest, LISTED);
    if (code == 0 && listed != NULL)
        code = replace(spool, dir, epoch, "list", listed);
    if (code == 0)
        code = replace(spool, dir, epoch, "json", rest);
    durable_close(dir);
    json_decref(rest);
    return code < 0 ? ERR_LOCAL : 0;
}

struct epochs {
    uint64_t number[RECEIPTS_MAX];
    size_t count;
};

/* Kept in order; when it is full the lowest goes. */
static int
visit(void *context, const struct durable_entry *entry)
{
    struct epochs *e = context;
    uint64_t number;
    char rest[8];
    size_t at;

    if (sscanf(entry->name, "%" SCNu64 "%7s", &number, rest) != 2 || strcmp(rest, ".json") != 0)
        return 0;
    if (e->count == RECEIPTS_MAX) {
        if (number < e->number[0])
            return 0;
        memmove(e->number, e->number + 1, --e->count * sizeof number);
    }
    for (at = e->count++; at > 0 && e->number[at - 1] > number; at--)
        e->number[at] = e->number[at - 1];
    e->number[at] = number;
    return 0;
}

static json_t *
load_one(const char *spool, uint64_t epoch, uint64_t *list_bytes)
{
    char path[600];
    struct stat about;
    json_t *one, *listed;

    snprintf(path, sizeof path, "%s/" FOLDER "/%" PRIu64 ".json", spool, epoch);
    one = json_load_file(path, 0, NULL);
    snprintf(path, sizeof path, "%s/" FOLDER "/%" PRIu64 ".list", spool, epoch);
    if (!json_is_object(one) || stat(path, &about) < 0 || (uint64_t)about.st_size > *list_bytes)
        return one;
    *list_bytes -= (uint64_t)about.st_size;
    listed = json_load_file(path, 0, NULL);
    if (listed != NULL)
        json_object_set_new(one, LISTED, listed);
    return one;
}

int
receipt_load(const char *spool, uint64_t list_bytes, json_t **ret_receipts)
{
    struct epochs e = {.count = 0};
    json_t *all;
    int dir, code = open_folder(spool, false, &dir);

    if (code < 0 && code != ERR_AGAIN)
        return code;
    if (code == 0) {
        durable_list(dir, visit, &e);
        durable_close(dir);
    }
    all = json_array();
    while (e.count > 0) {
        json_t *one = load_one(spool, e.number[--e.count], &list_bytes);

        if (json_is_object(one))
            json_array_insert(all, 0, one);
        json_decref(one);
    }
    *ret_receipts = all;
    return 0;
}

void
receipt_print_tables(const json_t *tables, const char *before)
{
    static const char *const kinds[] = {"inserted", "updated", "deleted"};
    const json_t *table;
    size_t i;

    json_array_foreach ((json_t *)(uintptr_t)tables, i, table) {
        const char *name = json_string_value(json_object_get(table, "table")), *separator = ": ";

        printf("%s%s", before, name != NULL ? name : "unknown");
        for (size_t k = 0; k < 3; k++) {
            json_int_t n = json_integer_value(json_object_get(table, kinds[k]));

            if (n != 0) {
                printf("%s%" JSON_INTEGER_FORMAT " %s", separator, n, kinds[k]);
                separator = ", ";
            }
        }
        if (json_is_true(json_object_get(table, "replaced")))
            printf("%struncated, dropped or written anew", separator);
        printf("\n");
    }
}

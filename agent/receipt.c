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

int
receipt_save(const char *spool, const json_t *receipt)
{
    char name[40], *text = json_dumps(receipt, JSON_INDENT(1));
    int dir = -1, code;

    snprintf(name, sizeof name, "%" JSON_INTEGER_FORMAT ".json",
             json_integer_value(json_object_get(receipt, "epoch")));
    code = text == NULL ? fail(ERR_LOCAL, "out of memory for a receipt")
                        : open_folder(spool, true, &dir);
    if (code == 0 && durable_replace(dir, name, text, strlen(text)) < 0)
        code = fail_sys(ERR_LOCAL, "cannot write %s/" FOLDER "/%s", spool, name);
    durable_close(dir);
    free(text);
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

int
receipt_load(const char *spool, json_t **ret_receipts)
{
    struct epochs e = {.count = 0};
    json_t *all = json_array();
    int dir, code = open_folder(spool, false, &dir);

    if (code == 0) {
        durable_list(dir, visit, &e);
        durable_close(dir);
    }
    for (size_t i = 0; i < e.count; i++) {
        char path[600];
        json_t *one;

        snprintf(path, sizeof path, "%s/" FOLDER "/%" PRIu64 ".json", spool, e.number[i]);
        one = json_load_file(path, 0, NULL);
        if (json_is_object(one))
            json_array_append(all, one);
        json_decref(one);
    }
    if (code < 0 && code != ERR_AGAIN) {
        json_decref(all);
        return code;
    }
    *ret_receipts = all;
    return 0;
}

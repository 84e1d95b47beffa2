/* SPDX-License-Identifier: PostgreSQL */
/* See receipt.h. */
#include "pool/receipt.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/lsn.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER    "lost"
#define LISTED    "listed"
#define LIST_FILE "list_file"

#define NAME_SIZE 120

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

/* "7-1-000000000304AD40-20261121050548123": epoch, where it parted (of a rejoin), when it was
 * written. */
static void
make_name(int dir, const json_t *receipt, char out[NAME_SIZE])
{
    json_int_t epoch = json_integer_value(json_object_get(receipt, "epoch"));
    const char *fork = json_string_value(json_object_get(receipt, "fork"));
    int64_t wall_us = clock_wall_us();
    char at[48] = "", when[40], digits[40], file[NAME_SIZE + 8];
    size_t n;
    lsn_t lsn;

    if (fork != NULL && lsn_parse(fork, &lsn))
        snprintf(at, sizeof at, "-%" JSON_INTEGER_FORMAT "-%08X%08X",
                 json_integer_value(json_object_get(receipt, "timeline")), LSN_ARGS(lsn));
    do { /* a name is given once */
        n = 0;
        text_time(when, sizeof when, wall_us);
        for (const char *c = when; *c != '\0'; c++)
            if (*c >= '0' && *c <= '9')
                digits[n++] = *c;
        snprintf(digits + n, sizeof digits - n, "%03d", (int)(wall_us % MILLISECOND_US));
        snprintf(out, NAME_SIZE, "%" JSON_INTEGER_FORMAT "%s-%s", epoch, at, digits);
        snprintf(file, sizeof file, "%s.json", out);
        wall_us += MILLISECOND_US;
    } while (faccessat(dir, file, F_OK, 0) == 0);
}

static int
write_part(const char *spool, int dir, const char *name, const char *kind, const json_t *what)
{
    char file[NAME_SIZE + 8], *text = json_dumps(what, JSON_INDENT(1));
    int code = 0;

    snprintf(file, sizeof file, "%s.%s", name, kind);
    if (text == NULL)
        code = fail(ERR_LOCAL, "out of memory for a receipt");
    else if (durable_replace(dir, file, text, strlen(text)) < 0)
        code = fail_sys(ERR_LOCAL, "cannot write %s/" FOLDER "/%s", spool, file);
    free(text);
    return code;
}

int
receipt_save(const char *spool, const json_t *receipt)
{
    json_t *listed = json_object_get(receipt, LISTED),
           *rest = json_copy((json_t *)(uintptr_t)receipt);
    char name[NAME_SIZE];
    int dir = -1, code = open_folder(spool, true, &dir);

    json_object_del(rest, LISTED);
    if (code == 0)
        make_name(dir, receipt, name);
    if (code == 0 && listed != NULL)
        code = write_part(spool, dir, name, "list", listed);
    if (code == 0)
        code = write_part(spool, dir, name, "json", rest);
    durable_close(dir);
    json_decref(rest);
    return code < 0 ? ERR_LOCAL : 0;
}

struct shelf {
    struct one {
        uint64_t epoch;
        char name[NAME_SIZE];
    } at[RECEIPTS_MAX];
    size_t count;
};

/* By epoch, then by time. (Of an earlier version the name is the epoch alone.) */
static int
compare(const struct one *a, const struct one *b)
{
    const char *when_a = strrchr(a->name, '-'), *when_b = strrchr(b->name, '-');

    if (a->epoch != b->epoch)
        return a->epoch < b->epoch ? -1 : 1;
    return strcmp(when_a != NULL ? when_a : "", when_b != NULL ? when_b : "");
}

/* Kept in order; when it is full the lowest goes. */
static int
visit(void *context, const struct durable_entry *entry)
{
    struct shelf *s = context;
    struct one one;
    char *end;
    size_t at, length = strlen(entry->name);

    one.epoch = strtoull(entry->name, &end, 10);
    if (end == entry->name || (*end != '-' && *end != '.') || length < strlen(".json") ||
        length >= sizeof one.name || strcmp(entry->name + length - strlen(".json"), ".json") != 0)
        return 0;
    snprintf(one.name, sizeof one.name, "%.*s", (int)(length - strlen(".json")), entry->name);
    if (s->count == RECEIPTS_MAX) {
        if (compare(&one, &s->at[0]) < 0)
            return 0;
        memmove(s->at, s->at + 1, --s->count * sizeof one);
    }
    for (at = s->count++; at > 0 && compare(&s->at[at - 1], &one) > 0; at--)
        s->at[at] = s->at[at - 1];
    s->at[at] = one;
    return 0;
}

static json_t *
load_one(const char *spool, const char *name, uint64_t *list_bytes)
{
    char path[600];
    struct stat about;
    json_t *one, *listed;

    snprintf(path, sizeof path, "%s/" FOLDER "/%s.json", spool, name);
    one = json_load_file(path, 0, NULL);
    snprintf(path, sizeof path, "%s/" FOLDER "/%s.list", spool, name);
    if (!json_is_object(one) || stat(path, &about) < 0)
        return one;
    if ((uint64_t)about.st_size > *list_bytes) {
        json_object_set_new(one, LIST_FILE, json_string(path));
        return one;
    }
    *list_bytes -= (uint64_t)about.st_size;
    listed = json_load_file(path, 0, NULL);
    if (listed != NULL)
        json_object_set_new(one, LISTED, listed);
    return one;
}

int
receipt_load(const char *spool, uint64_t list_bytes, json_t **ret_receipts)
{
    struct shelf s = {.count = 0};
    json_t *all;
    int dir, code = open_folder(spool, false, &dir);

    if (code < 0 && code != ERR_AGAIN)
        return code;
    if (code == 0) {
        durable_list(dir, visit, &s);
        durable_close(dir);
    }
    all = json_array();
    while (s.count > 0) {
        json_t *one = load_one(spool, s.at[--s.count].name, &list_bytes);

        if (json_is_object(one))
            json_array_insert(all, 0, one);
        json_decref(one);
    }
    *ret_receipts = all;
    return 0;
}

int
receipt_save_once(const char *spool, const json_t *receipt, const char *key)
{
    json_t *all, *held;
    size_t i;
    int code = receipt_load(spool, 0, &all);

    if (code < 0)
        return code;
    json_array_foreach (all, i, held)
        if (json_equal(json_object_get(held, "epoch"), json_object_get(receipt, "epoch")) &&
            json_equal(json_object_get(held, key), json_object_get(receipt, key)))
            break;
    if (i == json_array_size(all))
        code = receipt_save(spool, receipt);
    json_decref(all);
    return code;
}

int
receipt_save_missing(const char *spool, const struct pool *p, const struct replay_word *w)
{
    const char *former = p->changes > 1 ? p->change[p->changes - 2].origin.epoch.member : NULL;
    char from[LSN_TEXT_SIZE], to[LSN_TEXT_SIZE], when[40];
    json_t *receipt;
    int code;

    snprintf(from, sizeof from, LSN_FORMAT, LSN_ARGS(w->fork.lsn));
    snprintf(to, sizeof to, LSN_FORMAT, LSN_ARGS(w->at.lsn));
    receipt =
        json_pack("{s:I s:s s:s? s:s s:{s:I s:s s:s s:s}}", "epoch", (json_int_t)p->epoch.number,
                  "primary", p->epoch.member, "former", former, "listed_at",
                  text_time(when, sizeof when, clock_wall_us()), "missing", "timeline",
                  (json_int_t)w->at.timeline, "from", from, "to", to, "kept", spool);
    code = receipt_save_once(spool, receipt, "missing");
    json_decref(receipt);
    return code;
}

int
receipt_save_failover(const char *spool, const struct pool *p)
{
    const char *former = p->changes > 1 ? p->change[p->changes - 2].origin.epoch.member : NULL;
    char began[40];
    json_t *receipt;
    int code;

    if (p->changes == 0 || p->loss[0] == '\0')
        return 0;
    text_time(began, sizeof began, p->change[p->changes - 1].wall_us);
    receipt = json_pack(
        "{s:I s:s s:s? s:s s:s s:o s:b}", "epoch", (json_int_t)p->epoch.number, "primary",
        p->epoch.member, "former", former, "began", began, "at_most", p->loss, "at_most_since_us",
        p->loss_since_us != 0 ? json_integer(p->loss_since_us) : json_null(), "exact", 0);
    code = receipt_save_once(spool, receipt, "began");
    json_decref(receipt);
    return code;
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

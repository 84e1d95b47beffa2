/* SPDX-License-Identifier: PostgreSQL */
/* See waldump.h. Open transactions are chained by xid. Each has an index from relation to rows: a
 * transaction that drops a schema has thousands of relations. */
#include "jobs/waldump.h"

#include "base/fail.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHAINS         4096
#define ROWS_MAX       (1u << 20) /* relations of one transaction */
#define ROOM_KEPT      1024       /* relations: more room is freed after the transaction */
#define DELETE_SUPER   0x08       /* XLH_DELETE_IS_SUPER: takes back a speculative insert */
#define GLOBAL_SPACE   1664
#define DEFAULT_SPACE  1663
#define FIRST_FIELD(s) ((s) + strspn((s), " :"))

struct open_transaction {
    struct open_transaction *next;
    uint32_t xid;
    struct lost_rows *rows;
    size_t count, room;
    uint32_t *index; /* hash table of 2 * room entries: a row's number + 1, or 0; NULL: none yet */
    bool partial;
    char *gid; /* prepared and waiting; else NULL */
    char prepared_at[WALDUMP_TIME_MAX];
};

struct waldump {
    lsn_t from;
    uint32_t known_from;
    struct open_transaction *chain[CHAINS];
    size_t open;
    bool dropped;                 /* rows of a transaction beyond WALDUMP_OPEN_MAX */
    struct open_transaction done; /* the last one committed */
};

/* A line of pg_waldump taken apart. */
struct record {
    char manager[24];
    uint32_t xid;
    lsn_t lsn;
    const char *what; /* "INSERT off 3 ..." */
};

bool
xid_before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

struct waldump *
waldump_new(lsn_t from, uint32_t known_from)
{
    struct waldump *w = calloc(1, sizeof *w);

    if (w != NULL) {
        w->from = from;
        w->known_from = known_from;
    }
    return w;
}

static struct open_transaction **
find(struct waldump *w, uint32_t xid)
{
    struct open_transaction **at = &w->chain[xid % CHAINS];

    while (*at != NULL && (*at)->xid != xid)
        at = &(*at)->next;
    return at;
}

static void
forget(struct waldump *w, uint32_t xid)
{
    struct open_transaction **at = find(w, xid), *t = *at;

    if (t == NULL)
        return;
    *at = t->next;
    free(t->rows);
    free(t->index);
    free(t->gid);
    free(t);
    w->open--;
}

void
waldump_free(struct waldump *w)
{
    if (w == NULL)
        return;
    for (size_t i = 0; i < CHAINS; i++)
        while (w->chain[i] != NULL)
            forget(w, w->chain[i]->xid);
    free(w->done.rows);
    free(w->done.index);
    free(w);
}

static bool
parse(const char *line, struct record *r)
{
    const char *tx = strstr(line, ", tx:"), *lsn = strstr(line, ", lsn: "),
               *what = strstr(line, ", desc: ");
    unsigned high, low;

    if (sscanf(line, "rmgr: %23s", r->manager) != 1 || tx == NULL || lsn == NULL || what == NULL ||
        sscanf(lsn, ", lsn: %X/%X", &high, &low) != 2)
        return false;
    r->xid = (uint32_t)strtoul(tx + strlen(", tx:"), NULL, 10);
    r->lsn = (lsn_t)high << 32 | low;
    r->what = what + strlen(", desc: ");
    return true;
}

/* The entry of `file` in the index: its row's number + 1, or 0. */
static uint32_t *
place_of(struct open_transaction *t, const struct relfile *file)
{
    size_t places = 2 * t->room, at = (file->node * 2654435761u ^ file->database ^ file->space);

    for (at %= places; t->index[at] != 0; at = (at + 1) % places)
        if (memcmp(&t->rows[t->index[at] - 1].file, file, sizeof *file) == 0)
            break;
    return &t->index[at];
}

static bool
make_room(struct open_transaction *t)
{
    size_t room = t->room == 0 ? 4 : t->room * 2;
    struct lost_rows *rows = t->count == ROWS_MAX ? NULL : realloc(t->rows, room * sizeof *rows);
    uint32_t *index = rows != NULL ? calloc(2 * room, sizeof *index) : NULL;

    if (rows != NULL)
        t->rows = rows;
    if (index == NULL)
        return false;
    free(t->index);
    t->index = index;
    t->room = room;
    for (size_t i = 0; i < t->count; i++)
        *place_of(t, &t->rows[i].file) = (uint32_t)i + 1;
    return true;
}

static struct lost_rows *
rows_of(struct open_transaction *t, const struct relfile *file)
{
    uint32_t *place = t->room > 0 ? place_of(t, file) : NULL;

    if (place != NULL && *place != 0)
        return &t->rows[*place - 1];
    if (t->count == t->room) {
        if (!make_room(t)) {
            t->partial = true;
            return NULL;
        }
        place = place_of(t, file);
    }
    assert(place != NULL && t->rows != NULL);
    t->rows[t->count] = (struct lost_rows){.file = *file};
    *place = (uint32_t)++t->count;
    return &t->rows[t->count - 1];
}

static void
add_rows(struct open_transaction *to, const struct open_transaction *from)
{
    to->partial |= from->partial;
    for (size_t i = 0; i < from->count; i++) {
        struct lost_rows *rows = rows_of(to, &from->rows[i].file);

        if (rows == NULL)
            return;
        rows->inserted += from->rows[i].inserted;
        rows->updated += from->rows[i].updated;
        rows->deleted += from->rows[i].deleted;
        rows->replaced |= from->rows[i].replaced;
    }
}

/* 1; 0: there are too many. */
static int
open_one(struct waldump *w, uint32_t xid, struct open_transaction **ret)
{
    struct open_transaction **at = find(w, xid);

    if (*at == NULL) {
        if (w->open == WALDUMP_OPEN_MAX) {
            w->dropped = true;
            return 0;
        }
        *at = calloc(1, sizeof **at);
        if (*at == NULL)
            return fail(ERR_LOCAL, "out of memory for the list of lost transactions");
        (*at)->xid = xid;
        w->open++;
    }
    *ret = *at;
    return 1;
}

static int
note_rows(struct waldump *w, const struct record *r)
{
    const char *block = strstr(r->what, "blkref #0: rel "), *flags = strstr(r->what, "flags");
    bool insert = strncmp(r->what, "INSERT", 6) == 0,
         many = strncmp(r->what, "MULTI_INSERT", 12) == 0,
         update = strncmp(r->what, "UPDATE", 6) == 0 || strncmp(r->what, "HOT_UPDATE", 10) == 0,
         delete = strncmp(r->what, "DELETE", 6) == 0;
    struct open_transaction *t;
    struct relfile file;
    struct lost_rows *rows;
    int code;

    if (r->xid == 0 || block == NULL || !(insert || many || update || delete) ||
        sscanf(block, "blkref #0: rel %u/%u/%u", &file.space, &file.database, &file.node) != 3)
        return 0;
    code = open_one(w, r->xid, &t);
    if (code <= 0)
        return code;
    rows = rows_of(t, &file);
    if (rows == NULL)
        return 0;
    if (many) { /* "MULTI_INSERT+INIT 26 tuples", from 16 on "MULTI_INSERT ntuples: 26" */
        const char *number = strpbrk(r->what, "0123456789");

        rows->inserted += number != NULL ? strtoul(number, NULL, 10) : 0;
    } else if (delete &&flags != NULL &&
               (strtoul(FIRST_FIELD(flags + 5), NULL, 16) & DELETE_SUPER) != 0) {
        rows->inserted--;
    } else {
        rows->inserted += insert;
        rows->updated += update;
        rows->deleted += delete;
    }
    return 0;
}

/* The files that a commit drops: "; rels: base/5/16393 pg_tblspc/9/PG_15_202209061/5/7; ..." */
static void
note_dropped(struct open_transaction *t, const char *list)
{
    const char *at = list != NULL ? list + strcspn(list, ":") + 1 : "";

    while (*at == ' ') {
        struct relfile file = {.space = DEFAULT_SPACE};
        struct lost_rows *rows = NULL;

        at++;
        if (sscanf(at, "base/%u/%u", &file.database, &file.node) == 2 ||
            sscanf(at, "pg_tblspc/%u/%*[^/]/%u/%u", &file.space, &file.database, &file.node) == 3)
            rows = rows_of(t, &file); /* (a temporary table's file name begins with a letter) */
        if (rows != NULL)
            rows->replaced = true;
        at += strcspn(at, " ;\n");
    }
}

/* The committed or aborted transaction and its subtransactions; to: collects their rows, or NULL.
 */
static void
end_all(struct waldump *w, uint32_t xid, const char *what, struct open_transaction *to)
{
    const char *at = strstr(what, "; subxacts:");

    at = at != NULL ? at + strlen("; subxacts:") : "";
    for (;;) {
        struct open_transaction *t = *find(w, xid);

        if (t != NULL && to != NULL)
            add_rows(to, t);
        if (to != NULL && xid_before(xid, w->known_from))
            to->partial = true;
        forget(w, xid);
        if (at[0] != ' ')
            return;
        xid = (uint32_t)strtoul(at, NULL, 10);
        at += 1 + strcspn(at + 1, " ;\n");
    }
}

static void
empty(struct open_transaction *t)
{
    if (t->room > ROOM_KEPT) {
        free(t->rows);
        free(t->index);
        *t = (struct open_transaction){.count = 0};
    }
    t->count = 0;
    t->partial = false;
    if (t->index != NULL)
        memset(t->index, 0, 2 * t->room * sizeof *t->index);
}

/* "2026-" */
static bool
is_time(const char *text)
{
    return strspn(text, "0123456789") == 4 && text[4] == '-';
}

/* "PREPARE gid later: 2026-...; subxacts: 735": its subtransactions are committed with it. */
static int
note_prepared(struct waldump *w, const struct record *r)
{
    const char *gid = strstr(r->what, "gid "), *end = NULL;
    struct open_transaction *t;
    int code;

    for (const char *at = r->what; (at = strstr(at, ": ")) != NULL; at++)
        if (is_time(at + 2))
            end = at;
    if (r->xid == 0 || r->lsn < w->from || gid == NULL || end == NULL)
        return 0;
    empty(&w->done);
    end_all(w, r->xid, r->what, &w->done);
    code = open_one(w, r->xid, &t);
    if (code <= 0)
        return code;
    add_rows(t, &w->done);
    note_dropped(t, strstr(end, "; rels(commit):"));
    t->gid = strndup(gid + 4, (size_t)(end - gid - 4));
    snprintf(t->prepared_at, sizeof t->prepared_at, "%.*s", (int)strcspn(end + 2, ";\n"), end + 2);
    return t->gid != NULL ? 0 : fail(ERR_LOCAL, "out of memory for the list of lost transactions");
}

static int
end_transaction(struct waldump *w, const struct record *r, struct lost_transaction *ret)
{
    bool commit = strncmp(r->what, "COMMIT", 6) == 0, abort = strncmp(r->what, "ABORT", 5) == 0;
    const char *rest = r->what + strcspn(r->what, " ");
    bool prepared = rest - r->what > 6 && strncmp(rest - 9, "_PREPARED", 9) == 0;
    struct lost_transaction t = {.xid = r->xid, .prepared = prepared};

    if (strncmp(r->what, "PREPARE ", 8) == 0)
        return note_prepared(w, r);
    if (!commit && !abort)
        return 0;   /* ASSIGNMENT, INVALIDATION */
    if (prepared) { /* "COMMIT_PREPARED 734: 2026-..." */
        char *end;

        t.xid = (uint32_t)strtoul(rest, &end, 10);
        rest = FIRST_FIELD(end);
    }
    rest = FIRST_FIELD(rest);
    empty(&w->done);
    end_all(w, t.xid, r->what, commit && r->lsn >= w->from ? &w->done : NULL);
    if (!commit || r->lsn < w->from)
        return 0;
    note_dropped(&w->done, strstr(r->what, "; rels:"));
    snprintf(t.committed, sizeof t.committed, "%.*s", (int)strcspn(rest, ";\n"), rest);
    t.partial = w->done.partial || w->dropped;
    t.rows = w->done.rows;
    t.count = w->done.count;
    *ret = t;
    return 1;
}

int
waldump_line(struct waldump *w, const char *line, struct lost_transaction *ret_transaction)
{
    struct record r;

    if (!parse(line, &r))
        return 0;
    if (strcmp(r.manager, "Heap") == 0 || strcmp(r.manager, "Heap2") == 0)
        return note_rows(w, &r);
    if (strcmp(r.manager, "Transaction") == 0)
        return end_transaction(w, &r, ret_transaction);
    return 0;
}

int
waldump_waiting(struct waldump *w, uint32_t after, struct lost_transaction *ret_transaction)
{
    const struct open_transaction *first = NULL;

    for (size_t i = 0; i < CHAINS; i++)
        for (const struct open_transaction *t = w->chain[i]; t != NULL; t = t->next)
            if (t->gid != NULL && (after == 0 || xid_before(after, t->xid)) &&
                (first == NULL || xid_before(t->xid, first->xid)))
                first = t;
    if (first == NULL)
        return 0;
    *ret_transaction = (struct lost_transaction){.xid = first->xid,
                                                 .partial = first->partial || w->dropped,
                                                 .rows = first->rows,
                                                 .count = first->count};
    snprintf(ret_transaction->committed, sizeof ret_transaction->committed, "%s",
             first->prepared_at);
    snprintf(ret_transaction->gid, sizeof ret_transaction->gid, "%s", first->gid);
    return 1;
}

bool
waldump_running(const char *line, lsn_t *ret_lsn, uint32_t *ret_next, uint32_t *ret_oldest)
{
    struct record r;

    if (!parse(line, &r) || strcmp(r.manager, "Standby") != 0 ||
        sscanf(r.what, "RUNNING_XACTS nextXid %u latestCompletedXid %*u oldestRunningXid %u",
               ret_next, ret_oldest) != 2)
        return false;
    *ret_lsn = r.lsn;
    return true;
}

/* See waldump.h. Open transactions are chained by xid; rows are few for each. */
#include "waldump.h"

#include "base/fail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHAINS         4096
#define ROWS_MAX       4096 /* relations of one transaction */
#define DELETE_SUPER   0x08 /* XLH_DELETE_IS_SUPER: takes back a speculative insert */
#define GLOBAL_SPACE   1664
#define DEFAULT_SPACE  1663
#define FIRST_FIELD(s) ((s) + strspn((s), " :"))

struct open_transaction {
    struct open_transaction *next;
    uint32_t xid;
    struct lost_rows *rows;
    size_t count, room;
    bool partial;
};

struct waldump {
    lsn_t from;
    uint32_t known_from;
    struct open_transaction *chain[CHAINS];
    size_t open;
    bool dropped;                 /* rows, of whom is not known */
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

static struct lost_rows *
rows_of(struct open_transaction *t, const struct relfile *file)
{
    struct lost_rows *rows;

    for (size_t i = t->count; i > 0; i--)
        if (memcmp(&t->rows[i - 1].file, file, sizeof *file) == 0)
            return &t->rows[i - 1];
    if (t->count == ROWS_MAX) {
        t->partial = true;
        return NULL;
    }
    if (t->count == t->room) {
        size_t room = t->room == 0 ? 4 : t->room * 2;

        rows = realloc(t->rows, room * sizeof *rows);
        if (rows == NULL) {
            t->partial = true;
            return NULL;
        }
        t->rows = rows;
        t->room = room;
    }
    t->rows[t->count] = (struct lost_rows){.file = *file};
    return &t->rows[t->count++];
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

static int
note_rows(struct waldump *w, const struct record *r)
{
    const char *block = strstr(r->what, "blkref #0: rel "), *flags = strstr(r->what, "flags");
    bool insert = strncmp(r->what, "INSERT", 6) == 0,
         many = strncmp(r->what, "MULTI_INSERT", 12) == 0,
         update = strncmp(r->what, "UPDATE", 6) == 0 || strncmp(r->what, "HOT_UPDATE", 10) == 0,
         delete = strncmp(r->what, "DELETE", 6) == 0;
    struct open_transaction **at, *t;
    struct relfile file;
    struct lost_rows *rows;

    if (r->xid == 0 || block == NULL || !(insert || many || update || delete) ||
        sscanf(block, "blkref #0: rel %u/%u/%u", &file.space, &file.database, &file.node) != 3)
        return 0;
    at = find(w, r->xid);
    if (*at == NULL) {
        if (w->open == WALDUMP_OPEN_MAX) {
            w->dropped = true;
            return 0;
        }
        *at = calloc(1, sizeof **at);
        if (*at == NULL)
            return fail(ERR_LOCAL, "out of memory for the list of lost transactions");
        (*at)->xid = r->xid;
        w->open++;
    }
    t = *at;
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
note_dropped(struct open_transaction *t, const char *what)
{
    const char *at = strstr(what, "; rels:");

    at = at != NULL ? at + strlen("; rels:") : "";
    while (*at == ' ') {
        struct relfile file = {.space = DEFAULT_SPACE};
        struct lost_rows *rows = NULL;

        at++;
        if (sscanf(at, "base/%u/%u", &file.database, &file.node) == 2 ||
            sscanf(at, "pg_tblspc/%u/%*[^/]/%u/%u", &file.space, &file.database, &file.node) == 3)
            rows = rows_of(t, &file); /* a temporary one's number begins with a letter */
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

static int
end_transaction(struct waldump *w, const struct record *r, struct lost_transaction *ret)
{
    bool commit = strncmp(r->what, "COMMIT", 6) == 0, abort = strncmp(r->what, "ABORT", 5) == 0;
    const char *rest = r->what + strcspn(r->what, " ");
    bool prepared = rest - r->what > 6 && strncmp(rest - 9, "_PREPARED", 9) == 0;
    struct lost_transaction t = {.xid = r->xid, .prepared = prepared};

    if (!commit && !abort)
        return 0;   /* PREPARE, ASSIGNMENT, INVALIDATION */
    if (prepared) { /* "COMMIT_PREPARED 734: 2026-..." */
        char *end;

        t.xid = (uint32_t)strtoul(rest, &end, 10);
        rest = FIRST_FIELD(end);
    }
    rest = FIRST_FIELD(rest);
    w->done.count = 0;
    w->done.partial = false;
    end_all(w, t.xid, r->what, commit && r->lsn >= w->from ? &w->done : NULL);
    if (!commit || r->lsn < w->from)
        return 0;
    note_dropped(&w->done, r->what);
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

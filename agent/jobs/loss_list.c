/* SPDX-License-Identifier: PostgreSQL */
/* See loss_list.h. */
#include "jobs/loss_list.h"

#include "jobs/datadir.h"
#include "jobs/primary.h"
#include "jobs/waldump.h"

#include "base/fail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SNAPSHOTS_MAX 64 /* the last ones of a segment */
#define FETCHED_MAX   32 /* segments */
#define FIRST_NORMAL  16384
#define CATALOGS      "system catalogs"
#define LARGE_OBJECTS 2613 /* pg_largeobject: a row for each 2 kB of an object */
#define LARGE         "large objects (pieces of 2 kB)"
#define FOLDER        "losses.wal" /* in the spool, while a list is made */
#define FILE_TEXT     48

static lsn_t
lower(lsn_t a, lsn_t b)
{
    return a < b ? a : b;
}

/* The timeline in the name of the file that has the bytes of the segment at `start`. */
static timeline_t
file_timeline(const struct loss_list *l, lsn_t start)
{
    return lineage_at(&l->lineage, lower(start + l->segment_bytes, l->end) - 1);
}

/* ---- the WAL as one ---- */

static int
open_folder(struct loss_list *l)
{
    const char *spool = l->job->self->spool;

    snprintf(l->folder, sizeof l->folder, "%s/" FOLDER, spool);
    if (datadir_remove_tree(l->folder) < 0)
        return ERR_LOCAL;
    return mkdir(l->folder, 0700) < 0 ? fail_sys(ERR_LOCAL, "cannot make %s", l->folder) : 0;
}

/*
 * A link to the segment at `start` under the name of the present timeline: pg_waldump follows a
 * record from one file into the next only if both names have one timeline. WAL from before the fork
 * that was recycled here is fetched: it is the same on the present primary.
 */
static bool
is_there(struct loss_list *l, lsn_t start)
{
    char name[SEGMENT_NAME_SIZE], target[512], link[512];

    segment_name(name, l->lineage.timeline, start, l->segment_bytes);
    snprintf(link, sizeof link, "%s/%s", l->folder, name);
    if (access(link, R_OK) == 0)
        return true;
    segment_name(name, file_timeline(l, start), start, l->segment_bytes);
    snprintf(target, sizeof target, "%s/pg_wal/%s", l->job->self->pgdata, name);
    if (access(target, R_OK) == 0)
        return symlink(target, link) == 0;
    return start < segment_start(l->fork, l->segment_bytes) && l->connection != NULL &&
           l->fetched++ < FETCHED_MAX && primary_fetch(l->connection, name, link) == 0;
}

/* pg_waldump over [from, to); manager NULL: all records. */
static int
dump(struct loss_list *l, lsn_t from, lsn_t to, const char *manager,
     void (*each)(void *context, const char *line), void *context)
{
    char t[16], s[LSN_TEXT_SIZE], e[LSN_TEXT_SIZE];
    const char *const argv[] = {"pg_waldump", "-p", l->folder, "-t", t,
                                "-s",         s,    "-e",      e,    manager != NULL ? "-r" : NULL,
                                manager,      NULL};

    /* one segment more, for the last record may go on there; none behind the end, for pg_waldump
     * takes any file of the folder for a sample. pg_waldump itself says which segment it lacks */
    for (lsn_t at = segment_start(from, l->segment_bytes);
         at < lower(to + l->segment_bytes, l->end); at += l->segment_bytes)
        (void)is_there(l, at);
    snprintf(t, sizeof t, "%u", l->lineage.timeline);
    snprintf(s, sizeof s, LSN_FORMAT, LSN_ARGS(from));
    snprintf(e, sizeof e, LSN_FORMAT, LSN_ARGS(to));
    return job_run(l->job, argv, each, context);
}

/* ---- where to begin ---- */

struct snapshots {
    struct snapshot {
        lsn_t lsn;
        uint32_t next, oldest;
    } at[SNAPSHOTS_MAX];
    size_t count;
};

static void
take_snapshot(void *context, const char *line)
{
    struct snapshots *s = context;
    struct snapshot one;

    if (!waldump_running(line, &one.lsn, &one.next, &one.oldest))
        return;
    if (s->count == SNAPSHOTS_MAX)
        memmove(s->at, s->at + 1, --s->count * sizeof one);
    s->at[s->count++] = one;
}

/*
 * Back from the fork, segment by segment. The last snapshot before the fork tells the oldest
 * transaction that can have lived across the fork; reading begins at a snapshot that was taken
 * before that transaction began.
 */
static int
find_start(struct loss_list *l, lsn_t *ret_start, uint32_t *ret_known_from)
{
    lsn_t to = l->fork, start = segment_start(l->fork, l->segment_bytes);
    uint32_t wanted = 0;
    bool known = false;

    *ret_known_from = l->next_xid;
    for (;;) {
        struct snapshots s = {.count = 0};

        /* pg_waldump fails where one record fills the segment, which then has no snapshot */
        if (to > start && dump(l, start, to, "Standby", take_snapshot, &s) < 0)
            s.count = 0;
        if (!known && s.count > 0) {
            wanted = s.at[s.count - 1].oldest;
            known = true;
        }
        for (size_t i = s.count; i > 0; i--) {
            *ret_known_from = s.at[i - 1].next;
            *ret_start = s.at[i - 1].lsn;
            if (xid_before(wanted, s.at[i - 1].next))
                continue;
            *ret_known_from = 0; /* every lost transaction begins behind this snapshot */
            return 0;
        }
        *ret_start = start;
        to = start;
        if (start < 2 * (lsn_t)l->segment_bytes || !is_there(l, start - l->segment_bytes))
            return 0;
        start -= l->segment_bytes;
    }
}

/* ---- reading ---- */

struct reading {
    struct waldump *waldump;
    json_t *files, *listed; /* by relfile's text; borrowed from the caller */
    json_int_t transactions, waiting;
    int code;
};

static const char *
file_text(const struct relfile *file, char out[FILE_TEXT])
{
    snprintf(out, FILE_TEXT, "%u/%u/%u", file->space, file->database, file->node);
    return out;
}

static void
add_to(json_t *table, const char *key, uint64_t n)
{
    json_int_t before = json_integer_value(json_object_get(table, key));

    json_object_set_new(table, key, json_integer(before + (json_int_t)n));
}

/* Add rows to those of `name` in the object by_name. */
static void
add_rows(json_t *by_name, const char *name, const struct lost_rows *rows)
{
    json_t *table = json_object_get(by_name, name);

    if (table == NULL) {
        table = json_object();
        json_object_set_new(by_name, name, table);
    }
    add_to(table, "inserted", rows->inserted);
    add_to(table, "updated", rows->updated);
    add_to(table, "deleted", rows->deleted);
    if (rows->replaced || json_object_get(table, "replaced") == NULL)
        json_object_set_new(table, "replaced", json_boolean(rows->replaced));
}

static json_t *
note_transaction(struct reading *r, const struct lost_transaction *t)
{
    json_t *tables = json_object();

    for (size_t i = 0; i < t->count; i++) {
        char file[FILE_TEXT];

        add_rows(r->files, file_text(&t->rows[i].file, file), &t->rows[i]);
        add_rows(tables, file, &t->rows[i]);
    }
    return json_pack("{s:I s:b s:b s:o}", "xid", (json_int_t)t->xid, "prepared", t->prepared,
                     "at_least", t->partial, "tables", tables);
}

static void
take_line(void *context, const char *line)
{
    struct reading *r = context;
    struct lost_transaction t;
    json_t *noted;
    int got;

    if (r->code < 0)
        return;
    got = waldump_line(r->waldump, line, &t);
    if (got <= 0) {
        r->code = got;
        return;
    }
    noted = note_transaction(r, &t);
    json_object_set_new(noted, "committed", json_string(t.committed));
    if (r->transactions++ < LOSSES_LISTED_MAX)
        json_array_append(r->listed, noted);
    json_decref(noted);
}

/* A prepared transaction is lost, too: its coordinator was promised that it can be committed. */
static void
take_waiting(struct reading *r)
{
    struct lost_transaction t = {.xid = 0};
    json_t *noted;

    while (waldump_waiting(r->waldump, t.xid, &t) > 0) {
        noted = note_transaction(r, &t);
        json_object_set_new(noted, "prepared_at", json_string(t.committed));
        json_object_set_new(noted, "gid", json_string(t.gid));
        json_array_append_new(r->listed, noted);
        r->waiting++;
    }
}

/* ---- names ---- */

/* The name that the present primary has for a file: a table's, "" for an index and the like; if it
 * has none, the file's number. */
static void
ask_name(PGconn *there, const char *database, const struct relfile *file, char *out, size_t size)
{
    char query[512], kind[512] = "";

    snprintf(out, size, "%s: file %u of tablespace %u", database, file->node, file->space);
    if (file->database == 0 || file->node < FIRST_NORMAL)
        snprintf(out, size, CATALOGS);
    if (file->node == LARGE_OBJECTS)
        snprintf(out, size, "%s: " LARGE, database);
    if (there == NULL || file->database == 0)
        return;
    snprintf(query, sizeof query,
             "select case when c.oid = %u then current_database() || ': " LARGE "'"
             " when c.relkind in ('t','i','I','S') then '-'"
             " when n.nspname = 'pg_catalog' then '" CATALOGS "'"
             " else format('%%s.%%I.%%I', current_database(), n.nspname, c.relname) end"
             " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
             " where c.oid = pg_filenode_relation(%u, %u)",
             LARGE_OBJECTS, file->space, file->node);
    if (primary_ask(there, query, kind, sizeof kind) == 0 && kind[0] != '\0')
        snprintf(out, size, "%s", strcmp(kind, "-") == 0 ? "" : kind);
}

/* One connection to each database, asked for the names of its files. */
static json_t *
find_names(const struct loss_list *l, json_t *files)
{
    json_t *names = json_object(), *rows;
    PGconn *there = NULL;
    uint32_t in = 0;
    char database[128] = "";
    const char *key;

    json_object_foreach (files, key, rows) {
        struct relfile file;
        char name[512], query[128];

        if (sscanf(key, "%u/%u/%u", &file.space, &file.database, &file.node) != 3)
            continue;
        if (file.database != in && file.database != 0) {
            PQfinish(there);
            there = NULL;
            in = file.database;
            snprintf(query, sizeof query, "select datname from pg_database where oid = %u", in);
            if (l->connection == NULL ||
                primary_ask(l->connection, query, database, sizeof database) < 0 ||
                database[0] == '\0')
                snprintf(database, sizeof database, "database %u", in);
            else if (primary_connect(l->job->config, l->job->self, NULL, database, &there) < 0)
                job_say(l->job, "the tables of database %s cannot be named: %s", database,
                        fail_message());
        }
        ask_name(there, database, &file, name, sizeof name);
        /* without rows: an index or a TOAST table that only the losing side had */
        if (strstr(name, ": file ") != NULL && json_is_true(json_object_get(rows, "replaced")) &&
            json_integer_value(json_object_get(rows, "inserted")) == 0 &&
            json_integer_value(json_object_get(rows, "updated")) == 0 &&
            json_integer_value(json_object_get(rows, "deleted")) == 0)
            name[0] = '\0';
        json_object_set_new(names, key, json_string(name));
    }
    PQfinish(there);
    return names;
}

static uint64_t
count_of(const json_t *rows, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(rows, key));
}

/* {"1663/5/16390": rows} to [{"table": name, rows}], the files of one name together. */
static json_t *
name_tables(const json_t *files, const json_t *names)
{
    json_t *by_name = json_object(), *tables = json_array(), *rows;
    const char *key;

    json_object_foreach ((json_t *)(uintptr_t)files, key, rows) {
        const char *name = json_string_value(json_object_get(names, key));

        if (name != NULL && name[0] != '\0')
            add_rows(
                by_name, name,
                &(struct lost_rows){.inserted = count_of(rows, "inserted"),
                                    .updated = count_of(rows, "updated"),
                                    .deleted = count_of(rows, "deleted"),
                                    .replaced = json_is_true(json_object_get(rows, "replaced"))});
    }
    json_object_foreach (by_name, key, rows) {
        json_object_set_new(rows, "table", json_string(key));
        json_array_append(tables, rows);
    }
    json_decref(by_name);
    return tables;
}

int
loss_list_make(struct loss_list *l, json_t **ret_list)
{
    struct reading r = {.files = json_object(), .listed = json_array()};
    uint32_t known_from = 0;
    lsn_t start = 0;
    json_t *names = NULL, *t;
    size_t i;
    int code;

    l->job->cut = false;
    start = segment_start(l->fork, l->segment_bytes);
    code = open_folder(l);
    if (code == 0 && is_there(l, start)) {
        code = find_start(l, &start, &known_from);
    } else if (code == 0) {
        known_from = l->next_xid;
        while (start < l->end && !is_there(l, start))
            start += l->segment_bytes;
        code = start < l->end ? 0 : fail(ERR_LOCAL, "no WAL from the fork on is here any more");
        snprintf(l->why, sizeof l->why,
                 "the WAL from the fork " LSN_FORMAT " up to " LSN_FORMAT " is not here any more",
                 LSN_ARGS(l->fork), LSN_ARGS(start));
    }
    if (code == 0) {
        r.waldump = waldump_new(l->fork, known_from);
        code = r.waldump == NULL ? fail(ERR_LOCAL, "out of memory")
                                 : dump(l, start, l->end, NULL, take_line, &r);
        if (code == 0)
            code = r.code;
    }
    if (code == 0) {
        take_waiting(&r);
        if (l->job->cut)
            snprintf(l->why, sizeof l->why, "pg_waldump wrote a line that is too long to be read");
        names = find_names(l, r.files);
        json_array_foreach (r.listed, i, t)
            json_object_set_new(t, "tables", name_tables(json_object_get(t, "tables"), names));
        *ret_list = json_pack("{s:I s:I s:O s:o}", "transactions", r.transactions, "waiting",
                              r.waiting, "listed", r.listed, "tables", name_tables(r.files, names));
    }
    (void)!datadir_remove_tree(l->folder);
    json_decref(names);
    json_decref(r.files);
    json_decref(r.listed);
    waldump_free(r.waldump);
    return code;
}

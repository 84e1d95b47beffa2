/* SPDX-License-Identifier: PostgreSQL */
/*
 * pgwal: see pgwal.h. The end of the log is found as crash recovery finds it: record after record
 * (records.h), until one is not there.
 */
#include "shipper/wal/pgwal.h"

#include "page.h"

#include "base/durable.h"
#include "base/fail.h"
#include "shipper/wal/records.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct process {
    char name[64];
    char state;
    pid_t parent;
};

/* As /proc/PID/stat has it; -1 and errno. */
static int
read_process(pid_t pid, struct process *ret_process)
{
    char path[64];
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (file == NULL)
        return -1;
    if (fscanf(file, "%*d (%63[^)]) %c %d", ret_process->name, &ret_process->state,
               &ret_process->parent) != 3)
        ret_process->state = 'Z';
    fclose(file);
    return 0;
}

static bool
is_postgres(const struct process *p)
{
    return p->state != 'Z' &&
           (strcmp(p->name, "postgres") == 0 || strcmp(p->name, "postmaster") == 0);
}

/* Is pgdata the working directory of that process? 1, 0, or -1: it may not be looked at. */
static int
works_in(pid_t pid, const char *pgdata)
{
    struct stat there, here;
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/cwd", (int)pid);
    if (stat(path, &there) < 0 || stat(pgdata, &here) < 0)
        return -1;
    return there.st_dev == here.st_dev && there.st_ino == here.st_ino;
}

/* The number in postmaster.pid; 0: there is none, ERR_LOCAL. */
static int
read_postmaster_pid(const char *pgdata, pid_t *ret_pid)
{
    char path[512], text[64] = "";
    FILE *file;
    long pid;

    *ret_pid = 0;
    snprintf(path, sizeof path, "%s/postmaster.pid", pgdata);
    file = fopen(path, "re");
    if (file == NULL)
        return errno == ENOENT ? 0 : fail_sys(ERR_LOCAL, "cannot read %s", path);
    if (fgets(text, sizeof text, file) == NULL)
        text[0] = '\0';
    fclose(file);
    pid = strtol(text, NULL, 10);
    if (pid > 1)
        *ret_pid = (pid_t)pid;
    return 0;
}

int
pgwal_postmaster_alive(const char *pgdata)
{
    struct process postmaster;
    pid_t pid;

    if (read_postmaster_pid(pgdata, &pid) < 0)
        return ERR_LOCAL;
    if (pid == 0 || (kill(pid, 0) < 0 && errno == ESRCH))
        return 0;
    /* a crashed server leaves the file: the number may be another process's by now, a zombie's, or
     * another cluster's postmaster's */
    if (read_process(pid, &postmaster) < 0)
        return errno == ENOENT ? 0 : 1;
    return works_in(pid, pgdata) != 0 && is_postgres(&postmaster);
}

bool
pgwal_postmaster_child(const char *pgdata, pid_t pid)
{
    struct process child, parent;
    int here;

    if (pid <= 1 || read_process(pid, &child) < 0 || !is_postgres(&child) ||
        read_process(child.parent, &parent) < 0 || !is_postgres(&parent) ||
        works_in(pid, pgdata) == 0)
        return false;
    here = works_in(child.parent, pgdata);
    if (here < 0 && read_postmaster_pid(pgdata, &pid) == 0)
        return pid == child.parent;
    return here > 0;
}

int
pgwal_open(struct pgwal *w, const char *pgdata, uint32_t segment_bytes)
{
    int alive = pgwal_postmaster_alive(pgdata);

    *w = (struct pgwal){.dir = -1, .fd = -1, .segment_bytes = segment_bytes};
    if (alive < 0)
        return alive;
    if (alive > 0)
        return fail(ERR_PEER, "a postmaster runs on %s: its walsender is the way to its WAL",
                    pgdata);
    return pgwal_open_beside(w, pgdata, segment_bytes);
}

int
pgwal_open_beside(struct pgwal *w, const char *pgdata, uint32_t segment_bytes)
{
    char path[512];

    *w = (struct pgwal){.dir = -1, .fd = -1, .segment_bytes = segment_bytes};
    snprintf(path, sizeof path, "%s/pg_wal", pgdata);
    if (durable_dir(path, &w->dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open %s", path);
    return 0;
}

void
pgwal_close(struct pgwal *w)
{
    if (w->segment_bytes == 0)
        return;
    durable_close(w->fd);
    durable_close(w->dir);
    *w = (struct pgwal){.dir = -1, .fd = -1};
}

struct oldest {
    uint32_t segment_bytes;
    lsn_t from, start; /* LSN_UNKNOWN: none yet */
};

static int
visit_oldest(void *context, const struct durable_entry *entry)
{
    struct oldest *o = context;
    timeline_t timeline;
    lsn_t start;

    if (segment_parse(entry->name, o->segment_bytes, &timeline, &start) && start >= o->from &&
        (o->start == LSN_UNKNOWN || start < o->start))
        o->start = start;
    return 0;
}

int
pgwal_oldest(const char *pgdata, uint32_t segment_bytes, lsn_t from, lsn_t *ret_oldest)
{
    struct oldest o = {.segment_bytes = segment_bytes, .from = segment_start(from, segment_bytes)};
    char path[512];
    int dir, code;

    snprintf(path, sizeof path, "%s/pg_wal", pgdata);
    if (durable_dir(path, &dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open %s", path);
    code =
        durable_list(dir, visit_oldest, &o) < 0 ? fail_sys(ERR_LOCAL, "cannot list %s", path) : 0;
    durable_close(dir);
    if (code == 0 && o.start == LSN_UNKNOWN)
        code = fail(ERR_LOCAL, "%s has no segment from " LSN_FORMAT " on", path, LSN_ARGS(o.from));
    if (code == 0)
        *ret_oldest = o.start;
    return code;
}

int
pgwal_read(struct pgwal *w, timeline_t timeline, lsn_t lsn, void *out, size_t n)
{
    lsn_t start = segment_start(lsn, w->segment_bytes);
    char name[SEGMENT_NAME_SIZE];
    ssize_t got;

    segment_name(name, timeline, lsn, w->segment_bytes);
    if (w->fd < 0 || w->timeline != timeline || w->fd_start != start) {
        durable_close(w->fd);
        w->fd = -1;
        if (durable_open(w->dir, name, DURABLE_READ, &w->fd) < 0)
            return fail_sys(ERR_LOCAL, "cannot open pg_wal/%s", name);
        w->timeline = timeline;
        w->fd_start = start;
    }
    if (n > start + w->segment_bytes - lsn)
        n = (size_t)(start + w->segment_bytes - lsn);
    got = durable_read(w->fd, out, n, lsn - start);
    return got < 0 ? fail_sys(ERR_LOCAL, "cannot read pg_wal/%s", name) : (int)got;
}

/* PostgreSQL renames a segment that it no longer needs to a later one's name, then writes over
 * it. */
int
pgwal_serve(const char *pgdata, uint32_t segment_bytes, timeline_t timeline, lsn_t lsn, void *out,
            size_t n)
{
    lsn_t start = segment_start(lsn, segment_bytes);
    char name[SEGMENT_NAME_SIZE], path[512];
    struct stat read, named;
    ssize_t got;
    int fd;

    segment_name(name, timeline, lsn, segment_bytes);
    snprintf(path, sizeof path, "%s/pg_wal/%s", pgdata, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? ERR_AGAIN : fail_sys(ERR_LOCAL, "cannot open %s", path);
    if (n > start + segment_bytes - lsn)
        n = (size_t)(start + segment_bytes - lsn);
    got = durable_read(fd, out, n, lsn - start);
    if (got < 0)
        got = fail_sys(ERR_LOCAL, "cannot read %s", path);
    else if (got == 0 || fstat(fd, &read) < 0 || stat(path, &named) < 0 ||
             read.st_ino != named.st_ino)
        got = ERR_AGAIN;
    close(fd);
    return (int)got;
}

int
pgwal_history(const char *pgdata, timeline_t timeline, char *out, size_t size)
{
    char path[512], name[HISTORY_NAME_SIZE];
    int dir = -1;
    ssize_t got;

    history_name(name, timeline);
    snprintf(path, sizeof path, "%s/pg_wal", pgdata);
    got = durable_dir(path, &dir) < 0 ? -1 : durable_load(dir, name, out, size);
    if (got < 0)
        got = errno == ENOENT ? ERR_AGAIN : fail_sys(ERR_LOCAL, "cannot read %s/%s", path, name);
    durable_close(dir);
    return (int)got;
}

int
pgwal_end(struct pgwal *w, timeline_t timeline, lsn_t from, lsn_t *ret_end)
{
    uint8_t page[WAL_PAGE_BYTES];
    char name[SEGMENT_NAME_SIZE];
    struct records r;

    if (pgwal_read(w, timeline, from, page, 1) < 0)
        return ERR_LOCAL;
    records_begin(&r, w->segment_bytes, timeline, 0, from);
    while (pgwal_read(w, timeline, r.at, page, sizeof page) == (int)sizeof page &&
           records_put(&r, page, sizeof page) == 0)
        ;
    segment_name(name, timeline, from, w->segment_bytes);
    if (r.magic != 0 && r.last == LSN_UNKNOWN)
        return fail(ERR_LOCAL, "pg_wal/%s has no whole record: its end cannot be told", name);
    *ret_end = r.magic != 0 ? r.whole : from; /* the segment was made ahead: no WAL in it yet */
    return 0;
}

/* Pages behind a record that ended the segment early were never written: they are zero. */
static int
check_pages(int fd, const struct identity *identity, timeline_t timeline, lsn_t start,
            const char *path)
{
    static _Thread_local uint8_t page[WAL_PAGE_BYTES];

    for (lsn_t at = start; at < start + identity->segment_bytes; at += WAL_PAGE_BYTES) {
        if (durable_read(fd, page, sizeof page, at - start) != (ssize_t)sizeof page)
            return fail_sys(ERR_LOCAL, "cannot read %s", path);
        if (at > start && u16_at(page) == 0)
            continue;
        if (u16_at(page) < PAGE_MAGIC_MIN || u64_at(page + 8) != at || u32_at(page + 4) > timeline)
            return fail(ERR_CORRUPT,
                        "%s is no WAL of timeline %u at " LSN_FORMAT
                        ": its page says timeline %u, " LSN_FORMAT,
                        path, timeline, LSN_ARGS(at), u32_at(page + 4), LSN_ARGS(u64_at(page + 8)));
        if (at == start && u64_at(page + 24) != identity->system_identifier)
            return fail(ERR_CORRUPT,
                        "%s is of another database cluster: its system identifier is %llu", path,
                        (unsigned long long)u64_at(page + 24));
        if (at == start &&
            (u32_at(page + 32) != identity->segment_bytes || u32_at(page + 36) != WAL_PAGE_BYTES))
            return fail(ERR_CORRUPT, "%s has segments of %u bytes, %u are expected", path,
                        u32_at(page + 32), identity->segment_bytes);
    }
    return 0;
}

int
pgwal_check(const char *path, const struct identity *identity, timeline_t timeline, lsn_t start)
{
    uint64_t bytes = 0;
    int fd, code = 0;

    if (durable_open(AT_FDCWD, path, DURABLE_READ, &fd) < 0)
        return fail_sys(ERR_LOCAL, "cannot open %s", path);
    if (durable_size(fd, &bytes) < 0 || bytes != identity->segment_bytes)
        code = fail(ERR_CORRUPT, "%s has %llu bytes, a segment has %u", path,
                    (unsigned long long)bytes, identity->segment_bytes);
    if (code == 0)
        code = check_pages(fd, identity, timeline, start, path);
    durable_close(fd);
    return code;
}

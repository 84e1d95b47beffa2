/* SPDX-License-Identifier: PostgreSQL */
/* See escrow.h. */
#include "jobs/escrow.h"

#include "jobs/settings.h"

#include "base/durable.h"
#include "base/fail.h"
#include "base/log.h"
#include "shipper/wal/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER        "escrow"
#define SETTINGS      "settings"
#define PATH_SIZE     512
#define COMPARE_BYTES (64u << 10)

int
escrow_path(const char *spool, uint64_t system_identifier, timeline_t timeline, lsn_t fork,
            char *out, size_t size)
{
    int length = snprintf(out, size, "%s/" FOLDER "/%" PRIu64 "-%u-%08X%08X", spool,
                          system_identifier, timeline, LSN_ARGS(fork));

    return length > 0 && (size_t)length < size
               ? 0
               : fail(ERR_LOCAL, "the path of the spool %s is too long", spool);
}

/* Make a directory and the missing ones above it, and flush their entries. */
static int
make_dir(const char *path)
{
    char parent[PATH_SIZE];
    char *slash;
    int dir, code = 0;

    snprintf(parent, sizeof parent, "%s", path);
    slash = strrchr(parent, '/');
    if (slash == NULL || slash == parent)
        return fail(ERR_LOCAL, "cannot make %s", path);
    *slash = '\0';
    if (mkdir(path, 0700) == 0) {
        if (durable_dir(parent, &dir) < 0)
            return fail_sys(ERR_LOCAL, "cannot open %s", parent);
        if (durable_sync_dir(dir) < 0)
            code = fail_sys(ERR_LOCAL, "cannot flush %s", parent);
        durable_close(dir);
        return code;
    }
    if (errno == EEXIST)
        return 0;
    if (errno != ENOENT)
        return fail_sys(ERR_LOCAL, "cannot make %s", path);
    code = make_dir(parent);
    return code < 0 ? code : make_dir(path);
}

static bool
same_file(int a, int b, const char *name)
{
    static uint8_t one[COMPARE_BYTES], two[COMPARE_BYTES];
    int x = -1, y = -1;
    ssize_t got = -1, other;
    uint64_t at = 0;
    bool same = durable_open(a, name, DURABLE_READ, &x) == 0 &&
                durable_open(b, name, DURABLE_READ, &y) == 0;

    while (same && got != 0) {
        got = durable_read(x, one, sizeof one, at);
        other = durable_read(y, two, sizeof two, at);
        same = got >= 0 && got == other && memcmp(one, two, (size_t)got) == 0;
        at += COMPARE_BYTES;
    }
    durable_close(x);
    durable_close(y);
    return same;
}

struct copying {
    const char *from_path, *to_path;
    int from, to;
    uint32_t segment_bytes; /* 0: every segment */
    bool add;               /* only segments that `to` lacks */
    lsn_t fork, end;
    int segments;
};

static int
copy_file(struct copying *c, const char *name)
{
    char target[PATH_SIZE];
    int fd = -1, code;

    if (same_file(c->from, c->to, name))
        return 0;
    snprintf(target, sizeof target, "%s/%s", c->to_path, name);
    code = spool_fetch(c->from_path, name, target);
    if (code < 0)
        return code == ERR_AGAIN ? fail(ERR_LOCAL, "%s/%s went away", c->from_path, name) : code;
    if (durable_open(c->to, name, DURABLE_READ, &fd) < 0 || durable_data(fd) < 0)
        code = fail_sys(ERR_LOCAL, "cannot flush %s", target);
    durable_close(fd);
    return code;
}

static int
visit(void *context, const struct durable_entry *entry)
{
    struct copying *c = context;
    uint32_t segment_bytes = c->segment_bytes != 0 ? c->segment_bytes : SEGMENT_BYTES_MIN;
    timeline_t timeline;
    lsn_t start;

    if (history_parse_name(entry->name, &timeline))
        return c->add ? 0 : copy_file(c, entry->name);
    if (!segment_parse(entry->name, segment_bytes, &timeline, &start) ||
        (c->segment_bytes != 0 && (start + segment_bytes <= c->fork || start >= c->end)))
        return 0;
    if (c->add && faccessat(c->to, entry->name, F_OK, 0) == 0)
        return 0;
    c->segments++;
    return copy_file(c, entry->name);
}

static int
copy_all(struct copying *c)
{
    int code;

    c->from = c->to = -1;
    if (durable_dir(c->from_path, &c->from) < 0 || durable_dir(c->to_path, &c->to) < 0) {
        code = fail_sys(ERR_LOCAL, "cannot open %s and %s", c->from_path, c->to_path);
    } else {
        code = durable_list(c->from, visit, c);
        if (code == -1)
            code = fail_sys(ERR_LOCAL, "cannot list %s", c->from_path);
        if (code == 0 && durable_sync_dir(c->to) < 0)
            code = fail_sys(ERR_LOCAL, "cannot flush %s", c->to_path);
    }
    durable_close(c->from);
    durable_close(c->to);
    return code < 0 ? ERR_LOCAL : c->segments;
}

int
escrow_keep(const char *escrow, const char *pgdata, uint32_t segment_bytes, lsn_t fork, lsn_t end)
{
    char wal[PATH_SIZE];
    struct copying c = {.from_path = wal,
                        .to_path = escrow,
                        .segment_bytes = segment_bytes,
                        .fork = fork,
                        .end = end};
    int code = make_dir(escrow);

    snprintf(wal, sizeof wal, "%s/pg_wal", pgdata);
    return code < 0 ? code : copy_all(&c);
}

int
escrow_add(const char *escrow, const char *from, uint32_t segment_bytes, lsn_t fork, lsn_t end)
{
    struct copying c = {.from_path = from,
                        .to_path = escrow,
                        .segment_bytes = segment_bytes,
                        .add = true,
                        .fork = fork,
                        .end = end};

    return access(from, F_OK) < 0 && errno == ENOENT ? 0 : copy_all(&c);
}

int
escrow_return(const char *escrow, const char *pgdata)
{
    char wal[PATH_SIZE];
    struct copying c = {.from_path = escrow, .to_path = wal};

    snprintf(wal, sizeof wal, "%s/pg_wal", pgdata);
    return copy_all(&c);
}

/* ---- settings ---- */

int
escrow_keep_settings(const char *escrow, const char *pgdata)
{
    char path[PATH_SIZE];
    int code;

    snprintf(path, sizeof path, "%s/" SETTINGS, escrow);
    code = make_dir(path);
    return code < 0 ? code : settings_copy(pgdata, path);
}

int
escrow_return_settings(const char *escrow, const char *pgdata)
{
    char path[PATH_SIZE];

    snprintf(path, sizeof path, "%s/" SETTINGS, escrow);
    return settings_copy(path, pgdata);
}

/* ---- retention ---- */

static void
remove_flat(int parent, const char *name, int depth)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(fd, entry->d_name, 0) < 0 && errno == EISDIR && depth > 0)
            remove_flat(fd, entry->d_name, depth - 1);
    }
    if (dir != NULL)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    unlinkat(parent, name, AT_REMOVEDIR);
}

/* What was cut off the spool. */
static void
prune_aside(const char *spool, int64_t keep_us, int64_t wall_us)
{
    DIR *dir = opendir(spool);
    struct dirent *entry;
    struct stat about;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        const char *suffix = strrchr(entry->d_name, '.');

        if (suffix == NULL || strcmp(suffix, SPOOL_ASIDE) != 0 ||
            fstatat(dirfd(dir), entry->d_name, &about, 0) < 0 ||
            wall_us - (int64_t)about.st_mtime * 1000000 < keep_us)
            continue;
        log_info("%s/%s is older than escrow_keep and is removed", spool, entry->d_name);
        unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir != NULL)
        closedir(dir);
}

void
escrow_prune(const char *spool, int64_t keep_us, int64_t wall_us)
{
    char path[PATH_SIZE];
    struct dirent *entry;
    struct stat about;
    DIR *dir;

    prune_aside(spool, keep_us, wall_us);
    snprintf(path, sizeof path, "%s/" FOLDER, spool);
    dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.' || fstatat(dirfd(dir), entry->d_name, &about, 0) < 0 ||
            wall_us - (int64_t)about.st_mtime * 1000000 < keep_us)
            continue;
        log_info("%s/%s is older than escrow_keep and is removed", path, entry->d_name);
        remove_flat(dirfd(dir), entry->d_name, 1);
    }
    if (dir != NULL)
        closedir(dir);
}

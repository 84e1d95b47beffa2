/* SPDX-License-Identifier: PostgreSQL */
/* See settings.h. Paths are relative to the two directories: "conf.d/memory.conf". */
#include "jobs/settings.h"

#include "base/durable.h"
#include "base/fail.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 10 /* of directories */
#define NAMED_MAX 64 /* files that are settings because a configuration names them */

struct copying {
    const char *from, *to;
    char *named[NAMED_MAX]; /* their paths */
    size_t count;
};

static bool
is_setting(const char *name)
{
    static const char *const kind[] = {"*.conf", "*.crt", "*.key",          "*.pem",
                                       "*.crl",  "*.p12", "postmaster.opts"};

    for (size_t i = 0; i < sizeof kind / sizeof *kind; i++)
        if (fnmatch(kind[i], name, 0) == 0)
            return true;
    return false;
}

/* Made by initdb (initdb.c) or written by the server: the first part of the path tells. */
static bool
is_postgres_own(const char *path)
{
    static const char *const own[] = {
        "base",         "global",           "pg_commit_ts",    "pg_dynshmem",    "pg_logical",
        "pg_multixact", "pg_notify",        "pg_replslot",     "pg_serial",      "pg_snapshots",
        "pg_stat",      "pg_stat_tmp",      "pg_subtrans",     "pg_tblspc",      "pg_twophase",
        "pg_wal",       "pg_xact",          "PG_VERSION",      "postmaster.pid", "backup_label*",
        "*.signal",     "current_logfiles", "tablespace_map*", "backup_manifest"};
    char first[NAME_MAX + 1];

    snprintf(first, sizeof first, "%.*s", (int)strcspn(path, "/"), path);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (fnmatch(own[i], first, 0) == 0)
            return true;
    return false;
}

static bool
join(char out[PATH_MAX], const char *directory, const char *name)
{
    int n = snprintf(out, PATH_MAX, "%s%s%s", directory, directory[0] != '\0' ? "/" : "", name);

    return n > 0 && n < PATH_MAX;
}

/* ---- one file ---- */

/* The directories above path are made in `to` with the modes that they have in `from`. */
static int
make_above(const struct copying *c, const char *path)
{
    char part[PATH_MAX], from[PATH_MAX], to[PATH_MAX];
    const char *slash = path;
    struct stat about;

    while ((slash = strchr(slash, '/')) != NULL) {
        snprintf(part, sizeof part, "%.*s", (int)(slash++ - path), path);
        if (!join(from, c->from, part) || !join(to, c->to, part) || stat(from, &about) < 0 ||
            (mkdir(to, 0700) < 0 ? errno != EEXIST : chmod(to, about.st_mode & 0777) < 0))
            return fail_sys(ERR_LOCAL, "cannot make %s/%s", c->to, part);
    }
    return 0;
}

/* The directory of path in `base`, open; ret_name: its last part. */
static int
open_above(const char *base, const char *path, int *ret_dir, const char **ret_name)
{
    char part[PATH_MAX], at[PATH_MAX];
    const char *slash = strrchr(path, '/');

    snprintf(part, sizeof part, "%.*s", slash != NULL ? (int)(slash - path) : 0, path);
    *ret_name = slash != NULL ? slash + 1 : path;
    if (part[0] != '\0' ? !join(at, base, part) : !join(at, "", base))
        return -1;
    return durable_dir(at, ret_dir);
}

static bool
is_same(int dir, const char *name, const char *text, size_t n, mode_t mode)
{
    char *there = malloc(SETTINGS_BYTES_MAX);
    struct stat about;
    bool same = there != NULL && fstatat(dir, name, &about, AT_SYMLINK_NOFOLLOW) == 0 &&
                (about.st_mode & 07777) == mode &&
                durable_load(dir, name, there, SETTINGS_BYTES_MAX) == (ssize_t)n &&
                memcmp(there, text, n) == 0;

    free(there);
    return same;
}

static int copy_named(struct copying *c, const char *path, char *text);

/* A file and, if it is a configuration, the files that it names. */
static int
copy_file(struct copying *c, const char *path, const struct stat *about, bool configuration)
{
    char *text = malloc(SETTINGS_BYTES_MAX);
    /* PostgreSQL refuses a key of its own user that a group may read, and takes such a key of
     * root */
    bool ours = about->st_uid == geteuid() || fnmatch("*.key", path, 0) != 0;
    mode_t mode = about->st_mode & (ours ? 07777 : 0600);
    const char *name;
    int from = -1, to = -1, code = 0;
    ssize_t got;

    if (text == NULL || open_above(c->from, path, &from, &name) < 0 ||
        (got = durable_load(from, name, text, SETTINGS_BYTES_MAX)) < 0) {
        code = errno == EFBIG ? 0 : fail_sys(ERR_LOCAL, "cannot read %s/%s", c->from, path);
    } else if ((code = make_above(c, path)) == 0) {
        if (open_above(c->to, path, &to, &name) < 0 ||
            (!is_same(to, name, text, (size_t)got, mode) &&
             durable_replace_mode(to, name, text, (size_t)got, mode) < 0))
            code = fail_sys(ERR_LOCAL, "cannot keep %s/%s", c->to, path);
        if (code == 0 && configuration)
            code = copy_named(c, path, text);
    }
    durable_close(from);
    durable_close(to);
    free(text);
    return code;
}

static int
copy_link(const struct copying *c, const char *path)
{
    char at[PATH_MAX], made[PATH_MAX], target[PATH_MAX], there[PATH_MAX];
    struct stat about;
    ssize_t got = join(at, c->from, path) ? readlink(at, target, sizeof target - 1) : -1;
    const char *name;
    int to, code = make_above(c, path);

    if (got <= 0 || code < 0)
        return code < 0 ? code : fail_sys(ERR_LOCAL, "cannot read the link %s/%s", c->from, path);
    target[got] = '\0';
    if (!join(made, c->to, path) || ((got = readlink(made, there, sizeof there - 1)) > 0 &&
                                     (there[got] = '\0', true) && strcmp(there, target) == 0))
        return 0;
    if (lstat(made, &about) == 0 && (code = datadir_remove_tree(made)) < 0)
        return code;
    if (symlink(target, made) < 0 || open_above(c->to, path, &to, &name) < 0)
        return fail_sys(ERR_LOCAL, "cannot keep the link %s", made);
    if (durable_sync_dir(to) < 0)
        code = fail_sys(ERR_LOCAL, "cannot flush the link %s", made);
    durable_close(to);
    return code;
}

/* ---- files that a configuration names ---- */

static bool
is_named(const struct copying *c, const char *path)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->named[i], path) == 0)
            return true;
    return false;
}

/* A word of the configuration `path`, if it names a file that is there: relative to the directory
 * of `path` or to the data directory, as PostgreSQL takes names. */
static int
copy_word(struct copying *c, const char *path, const char *word)
{
    const char *const bases[] = {c->from, c->to}, *slash = strrchr(path, '/');
    int above = slash != NULL ? (int)(slash + 1 - path) : 0;
    char named[PATH_MAX], at[PATH_MAX];
    struct stat about;

    for (size_t i = 0; i < 2; i++) { /* an absolute path in one of the directories */
        size_t base = strlen(bases[i]);

        if (strncmp(word, bases[i], base) == 0 && word[base] == '/')
            word += base + 1;
    }
    for (int i = 0; i < 2; i++) {
        snprintf(named, sizeof named, "%.*s%.*s", i == 0 ? above : 0, path, NAME_MAX, word);
        if (named[0] == '/' || strstr(named, "..") != NULL || is_postgres_own(named) ||
            !join(at, c->from, named) || lstat(at, &about) < 0 || !S_ISREG(about.st_mode))
            continue;
        if (is_setting(named) || is_named(c, named) || c->count == NAMED_MAX)
            return 0;
        if ((c->named[c->count] = strdup(named)) == NULL)
            return fail(ERR_LOCAL, "out of memory");
        c->count++;
        return copy_file(c, named, &about, true);
    }
    return 0;
}

static int
copy_named(struct copying *c, const char *path, char *text)
{
    static const char between[] = " \t\r\n=,'\"";
    char *save;
    int code = 0;

    for (char *word = strtok_r(text, between, &save); word != NULL && code == 0;
         word = strtok_r(NULL, between, &save))
        code = copy_word(c, path, word + (word[0] == '@'));
    return code;
}

/* ---- the directories ---- */

/* Each entry of base/path that may be a host's own. */
static int
walk(struct copying *c, const char *base, const char *path, int depth,
     int (*visit)(struct copying *c, const char *path, const struct stat *about))
{
    char at[PATH_MAX], below[PATH_MAX];
    struct stat about;
    const struct dirent *e;
    DIR *dir = path[0] == '\0' ? opendir(base) : join(at, base, path) ? opendir(at) : NULL;
    int code = 0;

    if (dir == NULL) /* lost+found holds no settings */
        return errno == EACCES && depth > 0 ? 0
                                            : fail_sys(ERR_LOCAL, "cannot read %s/%s", base, path);
    while (code == 0 && (e = readdir(dir)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            !join(below, path, e->d_name) || is_postgres_own(below) ||
            fstatat(dirfd(dir), e->d_name, &about, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISDIR(about.st_mode) && depth < DEPTH_MAX)
            code = walk(c, base, below, depth + 1, visit);
        else if (S_ISLNK(about.st_mode) || (S_ISREG(about.st_mode) && is_setting(e->d_name) &&
                                            about.st_size < SETTINGS_BYTES_MAX))
            code = visit(c, below, &about);
    }
    closedir(dir);
    return code;
}

static int
visit_from(struct copying *c, const char *path, const struct stat *about)
{
    if (S_ISLNK(about->st_mode))
        return copy_link(c, path);
    return copy_file(c, path, about, fnmatch("*.conf", path, 0) == 0);
}

static int
visit_to(struct copying *c, const char *path, const struct stat *about)
{
    char at[PATH_MAX];
    struct stat there;
    const char *name;
    int dir, code = 0;

    if (S_ISLNK(about->st_mode) || !join(at, c->from, path) || lstat(at, &there) == 0)
        return 0;
    if (open_above(c->to, path, &dir, &name) < 0)
        return fail_sys(ERR_LOCAL, "cannot open what %s/%s is in", c->to, path);
    if (durable_remove(dir, name) < 0)
        code = fail_sys(ERR_LOCAL, "cannot remove %s/%s", c->to, path);
    durable_close(dir);
    return code;
}

int
settings_copy(const char *from, const char *to)
{
    struct copying c = {.from = from, .to = to};
    int code = walk(&c, from, "", 0, visit_from);

    if (code == 0)
        code = walk(&c, to, "", 0, visit_to);
    while (c.count > 0)
        free(c.named[--c.count]);
    return code;
}

int
settings_keep(const struct datadir *d)
{
    char path[PATH_MAX];

    /* a directory of something else has no settings */
    return join(path, d->at, "PG_VERSION") && access(path, F_OK) == 0
               ? settings_copy(d->at, d->fresh)
               : 0;
}

static int
visit_link(struct copying *c, const char *path, const struct stat *about)
{
    if (!S_ISLNK(about->st_mode))
        return 0;
    return fail(
        ERR_USAGE,
        "refused: %s/%s is a link, which pg_rewind does not take; put the file itself there "
        "(or name its place in postgresql.conf), or run this with --replace",
        c->from, path);
}

int
settings_refuse_links(const char *pgdata)
{
    struct copying c = {.from = pgdata};

    return walk(&c, pgdata, "", 0, visit_link);
}

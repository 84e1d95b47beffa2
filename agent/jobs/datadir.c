/* SPDX-License-Identifier: PostgreSQL */
/* See datadir.h. */
#include "jobs/datadir.h"

#include "base/durable.h"
#include "base/fail.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FRESH    "walferry-new"
#define OLD      "walferry-old"
#define WALK_FDS 16

#define PATH_SIZE 640

/* ---- paths ---- */

static const char *
join(char out[PATH_SIZE], const char *directory, const char *name)
{
    snprintf(out, PATH_SIZE, "%s/%s", directory, name);
    return out;
}

static const char *
parent_of(char out[PATH_SIZE], const char *path)
{
    snprintf(out, PATH_SIZE, "%s", path);
    out[strrchr(out, '/') == out ? 1 : strrchr(out, '/') - out] = '\0';
    return out;
}

static bool
is_there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

/* False also when the directory is not there. */
static bool
has_entries(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *e;
    bool some = false;

    while (dir != NULL && !some && (e = readdir(dir)) != NULL)
        some = strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (dir != NULL)
        closedir(dir);
    return some;
}

/* Is there a mount point at `path` (if `itself`) or below it? The mount table is read, for a bind
 * mount may have the same device number. */
static int
refuse_mounts(const char *path, bool itself, const char *how)
{
    char resolved[PATH_MAX], names[4 * PATH_MAX];
    struct mntent entry;
    size_t length;
    FILE *mounts;
    int code = 0;

    if (realpath(path, resolved) == NULL)
        return errno == ENOENT ? 0 : fail_sys(ERR_LOCAL, "cannot look at %s", path);
    if ((mounts = setmntent("/proc/self/mounts", "re")) == NULL)
        return fail_sys(ERR_LOCAL, "cannot read /proc/self/mounts");
    length = strlen(resolved);
    while (code == 0 && getmntent_r(mounts, &entry, names, sizeof names) != NULL)
        if (strncmp(entry.mnt_dir, resolved, length) == 0 &&
            (entry.mnt_dir[length] == '/' || (entry.mnt_dir[length] == '\0' && itself)))
            code = fail(ERR_USAGE, "%s is a mount point: %s", entry.mnt_dir, how);
    endmntent(mounts);
    return code;
}

static int
refuse_tablespace_mounts(const char *tablespace)
{
    return refuse_mounts(tablespace, false,
                         "what is in a tablespace's directory is renamed inside it. That directory "
                         "itself may be one, nothing in it: mount it there, or use --map");
}

/* A data directory that changes its name leaves behind what is mounted at it or in it. */
static int
check_mounts(const char *pgdata)
{
    char spaces[DATADIR_PATH_SIZE + 16], path[PATH_SIZE];
    const struct dirent *e;
    int code = refuse_mounts(
        pgdata, true,
        "a new copy is made beside the data directory and takes its name, what is mounted at it or "
        "in it stays with the old one. Stop PostgreSQL, mount it elsewhere, and make it a directory "
        "(pgdata), or a link to one (pg_wal; with --force the new copy has its WAL inside)");
    DIR *dir;

    snprintf(spaces, sizeof spaces, "%.300s/pg_tblspc", pgdata);
    dir = opendir(spaces);
    while (code == 0 && dir != NULL && (e = readdir(dir)) != NULL)
        if (e->d_name[0] != '.')
            code = refuse_tablespace_mounts(join(path, spaces, e->d_name));
    if (dir != NULL)
        closedir(dir);
    return code;
}

int
datadir_init(struct datadir *d, const char *pgdata)
{
    char resolved[PATH_MAX], parent[PATH_SIZE];
    struct stat above;
    int code;

    *d = (struct datadir){.tablespaces = 0};
    if (realpath(pgdata, resolved) == NULL) {
        if (errno != ENOENT)
            return fail_sys(ERR_LOCAL, "cannot look at %s", pgdata);
        snprintf(resolved, sizeof resolved, "%s", pgdata);
    }
    if (strlen(resolved) + sizeof "." FRESH > sizeof d->at)
        return fail(ERR_USAGE, "the path %s is too long", resolved);
    snprintf(d->at, sizeof d->at, "%.300s", resolved);
    snprintf(d->fresh, sizeof d->fresh, "%.300s." FRESH, resolved);
    snprintf(d->old, sizeof d->old, "%.300s." OLD, resolved);
    parent_of(parent, d->at);
    if (stat(parent, &above) < 0)
        return fail_sys(ERR_LOCAL, "cannot look at %s, where the copy is made", parent);
    if ((code = check_mounts(d->at)) < 0)
        return code;
    if (access(parent, W_OK | X_OK) < 0)
        return fail_sys(ERR_USAGE, "the copy is made beside %s: the user who runs this must own %s",
                        d->at, parent);
    return 0;
}

bool
datadir_occupied(const struct datadir *d)
{
    return has_entries(d->at);
}

bool
datadir_standby(const struct datadir *d)
{
    char path[PATH_SIZE];

    return is_there(join(path, d->at, "standby.signal"));
}

bool
datadir_wal_elsewhere(const struct datadir *d)
{
    char path[PATH_SIZE];
    struct stat st;

    return lstat(join(path, d->at, "pg_wal"), &st) == 0 && S_ISLNK(st.st_mode);
}

/* ---- tablespaces ---- */

/* "PG_15_202209061" in a tablespace's directory; false: none. */
static bool
version_directory(const char *at, char name[64])
{
    DIR *dir = opendir(at);
    const struct dirent *e;
    bool found = false;

    while (dir != NULL && !found && (e = readdir(dir)) != NULL)
        if ((found = strncmp(e->d_name, "PG_", 3) == 0 && strlen(e->d_name) < 64))
            snprintf(name, 64, "%.63s", e->d_name);
    if (dir != NULL)
        closedir(dir);
    return found;
}

/* Where the data directory here has this tablespace. */
static bool
current_place(const struct datadir *d, const char *oid, char out[256])
{
    char link[PATH_SIZE];
    ssize_t got;

    snprintf(link, sizeof link, "%s/pg_tblspc/%s", d->at, oid);
    got = readlink(link, out, 255);
    if (got <= 0)
        return false;
    out[got] = '\0';
    return true;
}

static bool
mapped_place(const char *map, const char *from, char out[256])
{
    size_t length = strlen(from);

    while (map != NULL && *map != '\0') {
        size_t whole = strcspn(map, ",");

        if (strncmp(map, from, length) == 0 && map[length] == '=' && whole - length - 1 < 256) {
            snprintf(out, 256, "%.*s", (int)(whole - length - 1), map + length + 1);
            return true;
        }
        map += whole + (map[whole] == ',');
    }
    return false;
}

int
datadir_place(struct datadir *d, const char *oid, const char *from, uint64_t bytes, const char *map)
{
    struct tablespace *t = &d->tablespace[d->tablespaces];
    char now[256] = "", version[64];

    if (d->tablespaces == TABLESPACES_MAX)
        return fail(ERR_USAGE, "the primary has more than %d tablespaces", TABLESPACES_MAX);
    *t = (struct tablespace){.bytes = bytes};
    snprintf(t->oid, sizeof t->oid, "%.15s", oid);
    snprintf(t->from, sizeof t->from, "%.255s", from);
    current_place(d, oid, now);
    if (!mapped_place(map, from, t->at))
        snprintf(t->at, sizeof t->at, "%s", now[0] != '\0' ? now : from);
    if (t->at[0] != '/' || strchr(t->at, '=') != NULL)
        return fail(ERR_USAGE, "tablespace %s: '%s' is no absolute path without '='", from, t->at);
    if (strcmp(t->at, now) != 0 && version_directory(t->at, version))
        return fail(
            ERR_USAGE,
            "tablespace %s: %s holds %s of another server, or of an earlier copy; give it another "
            "directory with --map %s=DIRECTORY, or empty that one",
            from, t->at, version, from);
    d->tablespaces++;
    return refuse_tablespace_mounts(t->at);
}

/* ---- room ---- */

/* Of the file system that `path` is, or would be, in. */
static int
file_system(const char *path, dev_t *ret_device, uint64_t *ret_free)
{
    char at[PATH_SIZE], above[PATH_SIZE];
    struct statvfs room;
    struct stat st;

    snprintf(at, sizeof at, "%s", path);
    while (stat(at, &st) < 0 && strcmp(at, "/") != 0) {
        parent_of(above, at);
        memcpy(at, above, sizeof at);
    }
    if (stat(at, &st) < 0 || statvfs(at, &room) < 0)
        return fail_sys(ERR_LOCAL, "cannot look at %s", at);
    *ret_device = st.st_dev;
    *ret_free = (uint64_t)room.f_bavail * room.f_frsize;
    return 0;
}

int
datadir_free(const struct datadir *d, uint64_t *ret_bytes)
{
    dev_t device;

    return file_system(d->fresh, &device, ret_bytes);
}

int
datadir_room(const struct datadir *d, uint64_t bytes)
{
    char need[24], have[24];

    for (size_t i = 0; i <= d->tablespaces; i++) { /* 0 is the directory itself */
        const char *at = i == 0 ? d->fresh : d->tablespace[i - 1].at;
        uint64_t needed = i == 0 ? bytes : d->tablespace[i - 1].bytes, room, other;
        dev_t device, other_device;
        int code = file_system(at, &device, &room);

        for (size_t k = 0; k <= d->tablespaces && code == 0; k++) {
            if (k == i)
                continue;
            code = file_system(k == 0 ? d->fresh : d->tablespace[k - 1].at, &other_device, &other);
            if (code == 0 && other_device == device)
                needed += k == 0 ? bytes : d->tablespace[k - 1].bytes;
        }
        if (code < 0)
            return code;
        if (room < needed)
            return fail(ERR_USAGE, "%s needs room for %s beside what is there, %s are free", at,
                        text_bytes(need, sizeof need, needed), text_bytes(have, sizeof have, room));
    }
    return 0;
}

/* ---- making and removing ---- */

static int
remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)where;
    return kind == FTW_DP ? rmdir(path) : unlink(path);
}

int
datadir_remove_tree(const char *path)
{
    if (is_there(path) && nftw(path, remove_one, WALK_FDS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0)
        return fail_sys(ERR_LOCAL, "cannot remove %s", path);
    return 0;
}

static int
make_directory(const char *path)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return fail_sys(ERR_LOCAL, "cannot make %s", path);
    return 0;
}

int
datadir_discard(const struct datadir *d)
{
    char path[PATH_SIZE];
    int code = datadir_remove_tree(d->fresh);

    for (size_t i = 0; i < d->tablespaces && code == 0; i++)
        code = datadir_remove_tree(join(path, d->tablespace[i].at, FRESH));
    return code;
}

int
datadir_clear(const struct datadir *d)
{
    char path[PATH_SIZE];

    if (datadir_moved(d))
        return fail(
            ERR_USAGE,
            "%s is there, a directory that was replaced earlier: look at it, then remove it or "
            "move it away",
            d->old);
    for (size_t i = 0; i < d->tablespaces; i++)
        if (is_there(join(path, d->tablespace[i].at, OLD)))
            return fail(ERR_USAGE, "%s is there, replaced earlier: look at it, then remove it",
                        path);
    return datadir_discard(d);
}

int
datadir_begin(const struct datadir *d)
{
    char path[PATH_SIZE];
    int code = datadir_clear(d);

    for (size_t i = 0; i < d->tablespaces && code == 0; i++) {
        code = make_directory(d->tablespace[i].at);
        if (code == 0)
            code = make_directory(join(path, d->tablespace[i].at, FRESH));
    }
    return code;
}

int
datadir_remove_old(const struct datadir *d)
{
    char path[PATH_SIZE];
    int code = datadir_remove_tree(d->old);

    for (size_t i = 0; i < d->tablespaces && code == 0; i++)
        code = datadir_remove_tree(join(path, d->tablespace[i].at, OLD));
    return code;
}

/* ---- modes ---- */

/* A data directory that its group may read (initdb --allow-group-access): PostgreSQL goes by the
 * directory's own mode. */
static bool
group_reads(const char *pgdata)
{
    struct stat about;

    return stat(pgdata, &about) == 0 && (about.st_mode & S_IRWXG) == (S_IRGRP | S_IXGRP);
}

mode_t
datadir_file_mode(const char *pgdata)
{
    return group_reads(pgdata) ? 0640 : 0600;
}

static int
open_to_group(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)where;
    return kind == FTW_SL ? 0 : chmod(path, (st->st_mode & 07777) | (st->st_mode & 0500) >> 3);
}

static int
close_to_group(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)where;
    return kind == FTW_SL ? 0 : chmod(path, st->st_mode & 07707);
}

int
datadir_keep_modes(const struct datadir *d)
{
    bool open = group_reads(d->at);
    char path[PATH_SIZE];

    if (!datadir_occupied(d) || open == group_reads(d->fresh))
        return 0;
    for (size_t i = 0; i <= d->tablespaces; i++)
        if (nftw(i == 0 ? d->fresh : join(path, d->tablespace[i - 1].at, FRESH),
                 open ? open_to_group : close_to_group, WALK_FDS, FTW_PHYS | FTW_MOUNT) != 0)
            return fail_sys(ERR_LOCAL, "cannot give the copy in %s the modes of %s", d->fresh,
                            d->at);
    return 0;
}

int
datadir_forbid_start(const char *pgdata, bool forbid)
{
    struct stat about;
    int dir, code = 0;

    if (durable_dir(pgdata, &dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open %s", pgdata);
    if (fstat(dir, &about) < 0 ||
        fchmod(dir, forbid ? about.st_mode | S_IXOTH : about.st_mode & ~(mode_t)S_IXOTH) < 0 ||
        durable_sync_dir(dir) < 0)
        code = fail_sys(ERR_LOCAL, "cannot change the mode of %s", pgdata);
    durable_close(dir);
    return code;
}

bool
datadir_is_closed(const char *pgdata)
{
    struct stat about;

    return stat(pgdata, &about) == 0 && (about.st_mode & S_IXOTH) != 0;
}

/* ---- the swap ---- */

static int
move(const char *from, const char *to)
{
    char above[PATH_SIZE];
    int dir, code = 0;

    if (rename(from, to) < 0)
        return fail_sys(ERR_LOCAL, "cannot rename %s to %s", from, to);
    for (int i = 0; i < 2 && code == 0; i++) {
        if (durable_dir(parent_of(above, i == 0 ? from : to), &dir) < 0)
            return fail_sys(ERR_LOCAL, "cannot open %s", above);
        if (durable_sync_dir(dir) < 0)
            code = fail_sys(ERR_LOCAL, "cannot flush %s", above);
        durable_close(dir);
    }
    return code;
}

/* The new directory's link gets the tablespace's place after the swap. */
static int
relink(const struct datadir *d, const struct tablespace *t)
{
    char link[PATH_SIZE], made[PATH_SIZE];

    snprintf(link, sizeof link, "%s/pg_tblspc/%s", d->fresh, t->oid);
    snprintf(made, sizeof made, "%s/pg_tblspc/%s.walferry", d->fresh, t->oid);
    unlink(made);
    if (symlink(t->at, made) < 0)
        return fail_sys(ERR_LOCAL, "cannot make the link %s", made);
    return move(made, link);
}

static int
swap_tablespace(const struct datadir *d, const struct tablespace *t)
{
    char fresh[PATH_SIZE], old[PATH_SIZE], version[64], from[PATH_SIZE], to[PATH_SIZE];
    int code = 0;

    join(fresh, t->at, FRESH);
    join(old, t->at, OLD);
    if (version_directory(fresh, version)) {
        snprintf(to, sizeof to, "%.400s/%.63s", t->at, version);
        if (is_there(to)) {
            code = make_directory(old);
            snprintf(from, sizeof from, "%.400s/%.63s", old, version);
            if (code == 0)
                code = move(to, from);
        }
        snprintf(from, sizeof from, "%.400s/%.63s", fresh, version);
        if (code == 0)
            code = move(from, to);
    }
    if (code == 0)
        code = relink(d, t);
    if (code == 0 && rmdir(fresh) < 0 && errno != ENOENT)
        code = fail_sys(ERR_LOCAL, "cannot remove %s", fresh);
    return code;
}

bool
datadir_moved(const struct datadir *d)
{
    return is_there(d->old);
}

bool
datadir_swapped(const struct datadir *d)
{
    return !is_there(d->fresh);
}

int
datadir_swap(const struct datadir *d)
{
    int code = 0;

    if (datadir_swapped(d))
        return 0;
    if (datadir_occupied(d))
        code = move(d->at, d->old);
    for (size_t i = 0; i < d->tablespaces && code == 0; i++)
        code = swap_tablespace(d, &d->tablespace[i]);
    return code == 0 ? move(d->fresh, d->at) : code;
}

/* SPDX-License-Identifier: PostgreSQL */
/* See store.h. */
#include "files/store.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool
store_name(const char *path, char out[SITE_FILE_NAME_SIZE])
{
    size_t n = 0;

    for (; *path != '\0' && n + 4 < SITE_FILE_NAME_SIZE; path++)
        if (*path == '/' || *path == '%')
            n += (size_t)sprintf(out + n, "%%%02X", (unsigned char)*path);
        else
            out[n++] = *path;
    out[n] = '\0';
    return *path == '\0' && n > 0 && n <= NAME_MAX;
}

static void
store_path(const char *name, char out[SITE_FILE_PATH_MAX])
{
    size_t n = 0;

    for (; *name != '\0' && n + 1 < SITE_FILE_PATH_MAX; n++, name++) {
        out[n] = *name;
        if (strncmp(name, "%2F", 3) == 0 || strncmp(name, "%25", 3) == 0) {
            out[n] = name[2] == 'F' ? '/' : '%';
            name += 2;
        }
    }
    out[n] = '\0';
}

mode_t
store_safe_mode(mode_t mode, const char *bytes, size_t length)
{
    static const char key[] = "PRIVATE KEY-----";

    return mode & (memmem(bytes, length, key, sizeof key - 1) != NULL ? 0600 : 0755);
}

static int
open_store(const struct member *self, const char *member, const char *name, bool make, int *ret_dir)
{
    const char *part[] = {"/files", "/", member, "/", name};
    char path[1024] = "";
    size_t n = (size_t)snprintf(path, sizeof path, "%s", self->spool);

    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        n += (size_t)snprintf(path + n, sizeof path - n, "%s", part[i]);
        if (n >= sizeof path)
            return fail(ERR_LOCAL, "%.100s... is too long", path);
        if (make && i % 2 == 0 && mkdir(path, 0700) < 0 && errno != EEXIST)
            return fail_sys(ERR_LOCAL, "cannot make %s", path);
    }
    return durable_dir(path, ret_dir) < 0 ? fail_sys(ERR_LOCAL, "cannot open %s", path) : 0;
}

static int
visit_version(void *context, const struct durable_entry *entry)
{
    struct store_versions *v = context;

    if (strlen(entry->name) >= sizeof v->newest || strstr(entry->name, ".tmp") != NULL)
        return 0;
    if (v->count == 0 || strcmp(entry->name, v->oldest) < 0)
        strcpy(v->oldest, entry->name);
    if (v->count++ == 0 || strcmp(entry->name, v->newest) > 0)
        strcpy(v->newest, entry->name);
    return 0;
}

ssize_t
store_load_path(const char *path, char out[SITE_FILE_BYTES_MAX + 1])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got = -1;

    if (fd >= 0) {
        got = durable_read(fd, out, SITE_FILE_BYTES_MAX + 1, 0);
        close(fd);
    }
    if (got > SITE_FILE_BYTES_MAX) {
        errno = EFBIG;
        return -1;
    }
    return got;
}

enum likeness
store_compare(int dir, const char *version, const char *path)
{
    static _Thread_local char kept[SITE_FILE_BYTES_MAX + 1], here[SITE_FILE_BYTES_MAX + 1];
    ssize_t kept_bytes = durable_load(dir, version, kept, sizeof kept);
    ssize_t here_bytes = store_load_path(path, here);

    if (here_bytes < 0)
        return errno == ENOENT ? NOT_HERE : DIFFERENT;
    return kept_bytes == here_bytes && memcmp(kept, here, (size_t)here_bytes) == 0 ? ALIKE
                                                                                   : DIFFERENT;
}

/* Is this file of `from` kept already, or is there room for one more file? */
static bool
has_place(const struct member *self, const char *from, const char *escaped)
{
    char path[1024];
    const struct dirent *entry;
    size_t count = 0;
    bool kept = false;
    DIR *dir;

    snprintf(path, sizeof path, "%s/files/%s", self->spool, from);
    dir = opendir(path);
    while (dir != NULL && !kept && (entry = readdir(dir)) != NULL) {
        kept = strcmp(entry->d_name, escaped) == 0;
        count += entry->d_name[0] == '%';
    }
    if (dir != NULL)
        closedir(dir);
    return kept || count < SITE_FILES_KEPT_MAX;
}

int
store_keep(const struct member *self, const char *from, const char *path, const uint8_t *bytes,
           size_t length, uint32_t mode, int64_t modified_us)
{
    static _Thread_local char newest[SITE_FILE_BYTES_MAX + 1];
    struct timespec times[2] = {
        {.tv_nsec = UTIME_NOW},
        {.tv_sec = modified_us / SECOND_US, .tv_nsec = modified_us % SECOND_US * 1000}};
    struct store_versions v = {.count = 0};
    int64_t now_us = clock_wall_us();
    time_t now = (time_t)(now_us / SECOND_US);
    char escaped[SITE_FILE_NAME_SIZE], name[64];
    struct tm tm;
    size_t n;
    int dir, code;

    if (!store_name(path, escaped))
        return fail(ERR_USAGE, "%s: its path is too long", path);
    if (from != self->name && !has_place(self, from, escaped))
        return fail(ERR_AGAIN,
                    "%s and maybe more of %s are not kept: %d files of it are kept already; remove "
                    "what is not wanted from %s/files/%s",
                    path, from, SITE_FILES_KEPT_MAX, self->spool, from);
    code = open_store(self, from, escaped, true, &dir);
    if (code < 0)
        return code;
    durable_list(dir, visit_version, &v);
    if (v.count > 0 && durable_load(dir, v.newest, newest, sizeof newest) == (ssize_t)length &&
        memcmp(newest, bytes, length) == 0)
        goto out;
    n = strftime(name, sizeof name, "%Y%m%dT%H%M%S", gmtime_r(&now, &tm));
    snprintf(name + n, sizeof name - n, ".%06dZ", (int)(now_us % SECOND_US));
    if (durable_replace(dir, name, bytes, length) < 0 || fchmodat(dir, name, mode, 0) < 0 ||
        utimensat(dir, name, times, 0) < 0)
        code = fail_sys(ERR_LOCAL, "cannot keep %s of %s", path, from);
    else
        log_info("%s of %s has changed: kept as %s", path, from, name);
    if (code == 0 && v.count >= SITE_FILE_VERSIONS)
        durable_remove(dir, v.oldest);
out:
    durable_close(dir);
    return code;
}

void
store_each(const struct config *config, const struct member *self,
           void (*each)(void *context, const char *member, const char *path, int dir,
                        const struct store_versions *v),
           void *context)
{
    for (size_t i = 0; i < config->members; i++) {
        char path[1024], plain[SITE_FILE_PATH_MAX];
        const char *member = config->member[i].name;
        struct dirent **entry;
        int count;

        snprintf(path, sizeof path, "%s/files/%s", self->spool, member);
        count = scandir(path, &entry, NULL, alphasort);
        for (int k = 0; k < count; k++) {
            struct store_versions v = {.count = 0};
            int dir;

            if (entry[k]->d_name[0] == '%' &&
                open_store(self, member, entry[k]->d_name, false, &dir) == 0) {
                durable_list(dir, visit_version, &v);
                store_path(entry[k]->d_name, plain);
                if (v.count > 0)
                    each(context, member, plain, dir, &v);
                durable_close(dir);
            }
            free(entry[k]);
        }
        if (count >= 0)
            free(entry);
    }
}

int
store_mode(const struct member *self, const char *from, int dir, const char *version,
           const char *bytes, size_t length, mode_t *ret_mode)
{
    struct stat st;

    if (fstatat(dir, version, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fail_sys(ERR_LOCAL, "cannot look at version %s", version);
    *ret_mode = strcmp(from, self->name) == 0 ? st.st_mode & 0777
                                              : store_safe_mode(st.st_mode, bytes, length);
    return 0;
}

int
store_put_in_place(const struct member *self, const char *path, const char *bytes, size_t length,
                   mode_t mode)
{
    static char here[SITE_FILE_BYTES_MAX + 1];
    char folder[SITE_FILE_PATH_MAX];
    struct stat old;
    const char *name = strrchr(path, '/') + 1;
    ssize_t here_bytes = store_load_path(path, here);
    int dir, code = 0;

    snprintf(folder, sizeof folder, "%.*s", (int)(name - path), path);
    if (here_bytes < 0 && errno != ENOENT)
        return fail_sys(ERR_LOCAL, "%s cannot be kept before it is replaced", path);
    if (here_bytes >= 0 && stat(path, &old) == 0)
        code = store_keep(self, self->name, path, (const uint8_t *)here, (size_t)here_bytes,
                          old.st_mode & 0777, (int64_t)old.st_mtim.tv_sec * SECOND_US);
    if (code < 0)
        return code;
    if (durable_dir(folder, &dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open the folder %s", folder);
    if (durable_replace(dir, name, bytes, length) < 0 || fchmodat(dir, name, mode, 0) < 0)
        code = fail_sys(ERR_LOCAL, "cannot replace %s", path);
    durable_close(dir);
    return code;
}

/* SPDX-License-Identifier: PostgreSQL */
#include "base/durable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

int
durable_dir(const char *path, int *ret_dir)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    *ret_dir = fd;
    return 0;
}

int
durable_open(int dir, const char *name, enum durable_mode mode, int *ret_fd)
{
    int flags = mode == DURABLE_READ ? O_RDONLY : mode == DURABLE_WRITE ? O_RDWR : O_RDWR | O_CREAT;
    int fd = openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return -1;
    *ret_fd = fd;
    return 0;
}

void
durable_close(int fd)
{
    if (fd >= 0)
        close(fd);
}

ssize_t
durable_read(int fd, void *bytes, size_t n, uint64_t offset)
{
    size_t done = 0;

    while (done < n) {
        ssize_t got = pread(fd, (char *)bytes + done, n - done, (off_t)(offset + done));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

int
durable_write(int fd, const void *bytes, size_t n, uint64_t offset)
{
    size_t done = 0;

    while (done < n) {
        ssize_t put = pwrite(fd, (const char *)bytes + done, n - done, (off_t)(offset + done));

        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            if (put == 0)
                errno = ENOSPC;
            return -1;
        }
        done += (size_t)put;
    }
    return 0;
}

int
durable_data(int fd)
{
    return fdatasync(fd);
}

int
durable_size(int fd, uint64_t *ret_bytes)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -1;
    *ret_bytes = (uint64_t)st.st_size;
    return 0;
}

int
durable_truncate(int fd, uint64_t bytes)
{
    return ftruncate(fd, (off_t)bytes);
}

void
durable_reserve(int fd, uint64_t bytes)
{
    (void)!fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes);
}

int
durable_sync_dir(int dir)
{
    return fsync(dir);
}

int
durable_rename(int dir, const char *from, const char *to)
{
    if (renameat(dir, from, dir, to) < 0)
        return -1;
    return fsync(dir);
}

int
durable_unlink(int dir, const char *name)
{
    return unlinkat(dir, name, 0) < 0 && errno != ENOENT ? -1 : 0;
}

int
durable_remove(int dir, const char *name)
{
    return durable_unlink(dir, name) < 0 ? -1 : fsync(dir);
}

int
durable_replace(int dir, const char *name, const void *bytes, size_t n)
{
    return durable_replace_mode(dir, name, bytes, n, 0600);
}

int
durable_replace_mode(int dir, const char *name, const void *bytes, size_t n, mode_t mode)
{
    char temporary[256];
    int fd, error;

    if ((size_t)snprintf(temporary, sizeof temporary, "%s.tmp", name) >= sizeof temporary) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -1;
    if (durable_write(fd, bytes, n, 0) < 0 || fchmod(fd, mode) < 0 || fsync(fd) < 0) {
        error = errno;
        close(fd);
        unlinkat(dir, temporary, 0);
        errno = error;
        return -1;
    }
    close(fd);
    return durable_rename(dir, temporary, name);
}

ssize_t
durable_load(int dir, const char *name, char *out, size_t size)
{
    int fd, error;
    ssize_t got;

    if (durable_open(dir, name, DURABLE_READ, &fd) < 0)
        return -1;
    got = durable_read(fd, out, size, 0);
    error = errno;
    close(fd);
    if (got < 0) {
        errno = error;
        return -1;
    }
    if ((size_t)got == size) {
        errno = EFBIG;
        return -1;
    }
    out[got] = '\0';
    return got;
}

int
durable_list(int dir, int (*visit)(void *context, const struct durable_entry *entry), void *context)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *d;
    int result = 0;

    if (stream == NULL) {
        durable_close(fd);
        return -1;
    }
    while (result == 0) {
        struct stat st;
        struct durable_entry entry;

        errno = 0;
        d = readdir(stream);
        if (d == NULL) {
            result = errno != 0 ? -1 : 0;
            break;
        }
        if (fstatat(dir, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
            continue; /* gone meanwhile, or none of ours */
        entry = (struct durable_entry){
            .name = d->d_name,
            .bytes = (uint64_t)st.st_size,
            .modified_us = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000,
        };
        result = visit(context, &entry);
    }
    closedir(stream);
    return result;
}

int
durable_room(int dir, uint64_t *ret_size, uint64_t *ret_free)
{
    struct statvfs vfs;

    if (fstatvfs(dir, &vfs) < 0)
        return -1;
    *ret_free = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    *ret_size = (uint64_t)(vfs.f_blocks - vfs.f_bfree) * vfs.f_frsize + *ret_free;
    return 0;
}

int
durable_free(int dir, uint64_t *ret_bytes)
{
    uint64_t size;

    return durable_room(dir, &size, ret_bytes);
}

int
durable_lock(int dir, const char *name, int *ret_fd)
{
    int fd, error;

    if (durable_open(dir, name, DURABLE_CREATE, &fd) < 0)
        return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    *ret_fd = fd;
    return 0;
}

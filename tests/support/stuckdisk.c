/* SPDX-License-Identifier: PostgreSQL */
/*
 * stuckdisk: a disk that is stuck at what the spool does beside its flushes. Loaded before libc
 * (LD_PRELOAD). WALFERRY_STUCK_DISK=FOLDER: as long as FOLDER/unlink is there, removing a segment
 * lasts; as long as FOLDER/copy is, so does flushing one that is copied (*.new); FOLDER/at is there
 * meanwhile. While FOLDER/broken is there the flush of a growing one (*.partial) fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOK_US      20000
#define SEGMENT_NAME 24

static int
is_there(const char *name)
{
    const char *folder = getenv("WALFERRY_STUCK_DISK");
    char path[256];

    if (folder == NULL)
        return 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static void
wait_while(const char *name)
{
    char path[256];

    if (!is_there(name))
        return;
    snprintf(path, sizeof path, "%s/at", getenv("WALFERRY_STUCK_DISK"));
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    while (is_there(name))
        usleep(LOOK_US);
    syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int
unlinkat(int dir, const char *path, int flags)
{
    if (strlen(path) == SEGMENT_NAME)
        wait_while("unlink");
    return (int)syscall(SYS_unlinkat, dir, path, flags);
}

static int
ends_with(int fd, const char *suffix)
{
    char link[64], path[512];
    ssize_t n;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path);
    return n > (ssize_t)strlen(suffix) &&
           memcmp(path + n - strlen(suffix), suffix, strlen(suffix)) == 0;
}

int
fdatasync(int fd)
{
    if (is_there("broken") && ends_with(fd, ".partial")) {
        errno = EIO;
        return -1;
    }
    if (ends_with(fd, ".new"))
        wait_while("copy");
    return (int)syscall(SYS_fdatasync, fd);
}

/* SPDX-License-Identifier: PostgreSQL */
/*
 * slowdisk: a disk that takes its time. Loaded before libc (LD_PRELOAD); the file that
 * WALFERRY_SLOWDISK names has a line "CALL MILLISECONDS" for each call that is slow (fdatasync,
 * fsync, unlinkat, renameat). It is read at each call: without it the disk is as fast as ever.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void
wait_as_told(const char *call)
{
    const char *path = getenv("WALFERRY_SLOWDISK");
    FILE *file = path != NULL ? fopen(path, "re") : NULL;
    unsigned milliseconds;
    char name[32];

    while (file != NULL && fscanf(file, "%31s %u", name, &milliseconds) == 2)
        if (strcmp(name, call) == 0)
            usleep(milliseconds * 1000);
    if (file != NULL)
        fclose(file);
}

int
fdatasync(int fd)
{
    wait_as_told("fdatasync");
    return (int)syscall(SYS_fdatasync, fd);
}

int
fsync(int fd)
{
    wait_as_told("fsync");
    return (int)syscall(SYS_fsync, fd);
}

int
unlinkat(int dir, const char *path, int flags)
{
    wait_as_told("unlinkat");
    return (int)syscall(SYS_unlinkat, dir, path, flags);
}

int
renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    wait_as_told("renameat");
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

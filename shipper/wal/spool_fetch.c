/* SPDX-License-Identifier: PostgreSQL */
/* restore_command's copy out of the spool: it needs no agent and no lock. */
#include "shipper/wal/spool.h"

#include "base/durable.h"
#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES (1u << 30)

static bool
fetchable(const char *name)
{
    timeline_t timeline;
    lsn_t start;

    /* the smallest segments have the most names; a larger size only has fewer of these files */
    return history_parse_name(name, &timeline) ||
           segment_parse(name, SEGMENT_BYTES_MIN, &timeline, &start);
}

/* Share the blocks, or copy inside the kernel, where the file system can. */
static bool
copy_inside(int from, int to)
{
    ssize_t got;

    if (ioctl(to, FICLONE, from) == 0)
        return true;
    while ((got = copy_file_range(from, NULL, to, NULL, COPY_BYTES, 0)) > 0)
        ;
    return got == 0 && lseek(to, 0, SEEK_CUR) > 0;
}

mode_t
spool_target_mode(const char *target)
{
    const char *slash = strrchr(target, '/');
    char directory[1024];
    struct stat about;

    snprintf(directory, sizeof directory, "%.*s", slash != NULL ? (int)(slash - target) : 1,
             slash != NULL ? target : ".");
    return stat(directory, &about) == 0 && (about.st_mode & S_IRWXG) == (S_IRGRP | S_IXGRP) ? 0640
                                                                                            : 0600;
}

/* Nothing is flushed: PostgreSQL flushes the files that it keeps. */
static int
copy_to(int from, const char *target)
{
    static uint8_t chunk[128u << 10];
    char temporary[1024];
    uint64_t at = 0;
    ssize_t got;
    int fd, code = 0;
    bool copied;

    if ((size_t)snprintf(temporary, sizeof temporary, "%s.walferry", target) >= sizeof temporary)
        return fail(ERR_USAGE, "the target path %.100s... is too long", target);
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_sys(ERR_LOCAL, "cannot make %s", temporary);
    copied = copy_inside(from, fd);
    while (code == 0 && !copied && (got = durable_read(from, chunk, sizeof chunk, at)) != 0) {
        if (got < 0 || durable_write(fd, chunk, (size_t)got, at) < 0)
            code = fail_sys(ERR_LOCAL, "cannot copy to %s", temporary);
        at += got < 0 ? 0 : (uint64_t)got;
    }
    if (code == 0 && (fchmod(fd, spool_target_mode(target)) < 0 || rename(temporary, target) < 0))
        code = fail_sys(ERR_LOCAL, "cannot finish %s", target);
    close(fd);
    if (code < 0)
        unlink(temporary);
    return code;
}

int
spool_fetch(const char *path, const char *name, const char *target)
{
    int dir, fd, code;

    if (!fetchable(name))
        return fail(ERR_USAGE, "%.60s is neither a segment's nor a history file's name", name);
    if (durable_dir(path, &dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open the spool %s", path);
    if (durable_open(dir, name, DURABLE_READ, &fd) < 0) {
        code = errno == ENOENT ? ERR_AGAIN : fail_sys(ERR_LOCAL, "cannot open %s/%s", path, name);
        durable_close(dir);
        return code;
    }
    code = copy_to(fd, target);
    durable_close(fd);
    durable_close(dir);
    return code;
}

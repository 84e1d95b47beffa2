/* SPDX-License-Identifier: PostgreSQL */
/* See hold.h. */
#include "shipper/wal/hold.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define HOLD_FILE "hold"
#define VOID_US   (86400 * SECOND_US)

int
hold_set(int dir, lsn_t from)
{
    char text[64];

    snprintf(text, sizeof text, LSN_FORMAT " %" PRId64 "\n", LSN_ARGS(from), clock_wall_us());
    if (durable_replace(dir, HOLD_FILE, text, strlen(text)) < 0)
        return fail_sys(ERR_LOCAL, "cannot write the spool's file " HOLD_FILE);
    return 0;
}

int
hold_resume(int dir, lsn_t from)
{
    return hold_from(dir, clock_wall_us()) == UINT64_MAX ? hold_set(dir, from) : 0;
}

int
hold_end(int dir)
{
    if (durable_remove(dir, HOLD_FILE) < 0)
        return fail_sys(ERR_LOCAL, "cannot remove the spool's file " HOLD_FILE);
    return 0;
}

/* A living command may be late: a tool that it waits for may take days, and the clock may be
 * set. */
static bool
command_lives(int dir)
{
    int lock;

    if (durable_lock(dir, HOLD_LOCK_FILE, &lock) < 0)
        return true; /* unknown: then rather keep the WAL */
    durable_close(lock);
    return false;
}

/* The file does not say what is held. Since when, by its time of modification. */
static int64_t
judge_damaged(int dir, ssize_t got, int64_t wall_us)
{
    struct stat about;

    if (got < 0)
        fail_file(ERR_LOCAL, dir, HOLD_FILE, "nothing is removed here, cannot read " HOLD_FILE);
    else
        fail(ERR_CORRUPT,
             HOLD_FILE " is %s: nothing is removed here for a day; remove that file if no seed or "
                       "rejoin is under way, else run that command again",
             got == 0 ? "empty" : "not one of walferry's");
    if (fstatat(dir, HOLD_FILE, &about, AT_SYMLINK_NOFOLLOW) < 0)
        return wall_us;
    return (int64_t)about.st_mtime * SECOND_US;
}

lsn_t
hold_from(int dir, int64_t wall_us)
{
    char text[64];
    uint32_t high, low;
    int64_t set_us;
    ssize_t got = durable_load(dir, HOLD_FILE, text, sizeof text);

    if (got < 0 && errno == ENOENT)
        return UINT64_MAX;
    if (got < 0 || sscanf(text, "%" SCNx32 "/%" SCNx32 " %" SCNd64, &high, &low, &set_us) != 3) {
        set_us = judge_damaged(dir, got, wall_us);
        high = low = 0;
    }
    if (wall_us - set_us < VOID_US || command_lives(dir))
        return (lsn_t)high << 32 | low;
    log_warning(
        "the spool was held from %X/%X on by a command that did not go on for a day: let go", high,
        low);
    (void)!hold_end(dir);
    return UINT64_MAX;
}

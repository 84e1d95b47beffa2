/* SPDX-License-Identifier: PostgreSQL */
/* See fault.h. */
#include "validate/fault.h"

#include <stdlib.h>

#define OF(major) [(major)-POSTGRES_MAJOR_MIN]

/* The minors of 12 November 2026, the last ones of 14; none came for 13. */
#define NOVEMBER_2026                                                                              \
    {                                                                                              \
        OF(13) = {0, FAULT_NEVER}, OF(14) = {0, 25}, OF(15) = {0, 20}, OF(16) = {0, 16},           \
        OF(17) = {0, 12}, OF(18) = {                                                               \
            0,                                                                                     \
            6                                                                                      \
        }                                                                                          \
    }

static const struct fault faults[] = {
    {READY_FAIL, false, "its standbys fail at records that a crash left unfinished",
     .minors = {OF(13) = {0, 5}, OF(14) = {0, 1}}},
    {READY_WARN, false, "the community mends this version no longer",
     .minors = {OF(13) = {0, FAULT_NEVER}, OF(14) = {0, FAULT_NEVER}}},
    {READY_FAIL, true, "can deadlock with itself while it replays WAL of an older minor",
     .minors = {OF(14) = {23, 24}, OF(15) = {18, 19}, OF(16) = {14, 15}}},
    {READY_WARN, false, "a parallel pg_dump (-j) on a standby can corrupt the dump and the standby",
     .minors = NOVEMBER_2026},
    {READY_WARN, false,
     "a base backup of it may hold a torn pg_control or a truncated postgresql.auto.conf",
     .minors = NOVEMBER_2026},
};

const struct fault *
fault_next(size_t *n, long version, long replays, int *ret_mended)
{
    long major = version / 10000, minor = version % 10000;

    if (major < POSTGRES_MAJOR_MIN || major > POSTGRES_MAJOR_MAX)
        return NULL;
    while (*n < sizeof faults / sizeof *faults) {
        const struct fault *f = &faults[(*n)++];
        int came = f->minors[major - POSTGRES_MAJOR_MIN].came,
            mended = f->minors[major - POSTGRES_MAJOR_MIN].mended;

        if (minor < came || minor >= mended || f->replays_older != (replays != 0))
            continue;
        if (replays != 0 && (replays / 10000 != major || replays >= version))
            continue;
        *ret_mended = mended;
        return f;
    }
    return NULL;
}

long
fault_version(const char *server_version)
{
    char *end;
    long major = strtol(server_version, &end, 10);

    return *end == '.' && major > 0 && major < 1000 ? major * 10000 + strtol(end + 1, NULL, 10) : 0;
}

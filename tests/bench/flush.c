/* SPDX-License-Identifier: PostgreSQL */
/*
 * flush: what it costs to make a piece of WAL durable, by the way its file was prepared.
 *
 * In comes a directory on the disk in question; out goes a table: for pieces of 8 kB and 128 kB the
 * median and the 95th percentile of one write plus fdatasync, in microseconds, for a file that
 * grows by plain appends, one whose extents were reserved without changing its size (fallocate
 * KEEP_SIZE) and one that was filled with zeros and flushed before; and the ratio of the medians to
 * the first. The kinds take turns, piece by piece, so that a slow minute of the disk meets all
 * three alike.
 *
 *   bench_flush DIRECTORY [ROUNDS]       a measurement, no test: exit 1 only if it cannot measure
 */
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES (16u << 20)
#define ROUNDS_MAX 16384u

enum kind { KIND_APPEND, KIND_RESERVED, KIND_ZEROED, KIND_COUNT };

static const char *const kind_name[KIND_COUNT] = {"plain append", "reserved, KEEP_SIZE",
                                                  "filled with zeros"};
static int64_t taken_us[KIND_COUNT][ROUNDS_MAX];
static char bytes[128u << 10];

static int
prepare(int fd, enum kind kind)
{
    static const char zeros[1u << 20];

    switch (kind) {
    case KIND_RESERVED:
        return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, FILE_BYTES);
    case KIND_ZEROED:
        for (off_t at = 0; at < (off_t)FILE_BYTES; at += (off_t)sizeof zeros)
            if (pwrite(fd, zeros, sizeof zeros, at) != (ssize_t)sizeof zeros)
                return -1;
        break;
    case KIND_APPEND:
    case KIND_COUNT:
        break;
    }
    return fsync(fd);
}

static int
open_file(const char *directory, enum kind kind)
{
    char path[4096];
    int fd;

    snprintf(path, sizeof path, "%s/bench_flush.%d.%d", directory, (int)getpid(), (int)kind);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || unlink(path) < 0 || prepare(fd, kind) < 0) {
        fprintf(stderr, "cannot prepare %s: %s\n", path, strerror(errno));
        exit(1);
    }
    return fd;
}

static int64_t
one_us(int fd, size_t piece, off_t at)
{
    int64_t before_us = clock_us();

    if (pwrite(fd, bytes, piece, at) != (ssize_t)piece || fdatasync(fd) < 0) {
        fprintf(stderr, "cannot write: %s\n", strerror(errno));
        exit(1);
    }
    return clock_us() - before_us;
}

static int
compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return (left > right) - (left < right);
}

static void
measure(const char *directory, size_t piece, size_t rounds)
{
    int fd[KIND_COUNT] = {-1, -1, -1};
    off_t at = (off_t)FILE_BYTES;
    double plain;

    for (size_t i = 0; i < rounds; i++) {
        if (at + (off_t)piece > (off_t)FILE_BYTES) {
            for (int k = 0; k < KIND_COUNT; k++) {
                if (fd[k] >= 0)
                    close(fd[k]);
                fd[k] = open_file(directory, (enum kind)k);
            }
            at = 0;
        }
        for (size_t k = 0; k < KIND_COUNT; k++) {
            size_t turn = (k + i) % KIND_COUNT;

            taken_us[turn][i] = one_us(fd[turn], piece, at);
        }
        at += (off_t)piece;
    }
    for (int k = 0; k < KIND_COUNT; k++) {
        close(fd[k]);
        qsort(taken_us[k], rounds, sizeof taken_us[k][0], compare);
    }
    plain = (double)taken_us[KIND_APPEND][rounds / 2];
    for (int k = 0; k < KIND_COUNT; k++)
        printf("%4zu kB  %-20s %9lld %9lld %8.2f\n", piece >> 10, kind_name[k],
               (long long)taken_us[k][rounds / 2], (long long)taken_us[k][rounds * 95 / 100],
               (double)taken_us[k][rounds / 2] / (plain > 0 ? plain : 1));
}

int
main(int argc, char **argv)
{
    unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 4096;

    if (argc < 2 || rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: bench_flush DIRECTORY [ROUNDS up to %u]\n", ROUNDS_MAX);
        return 1;
    }
    memset(bytes, 'w', sizeof bytes);
    printf("write+fdatasync, %lu rounds  median us    95%% us    ratio\n", rounds);
    measure(argv[1], 8u << 10, rounds);
    measure(argv[1], sizeof bytes, rounds);
    return 0;
}

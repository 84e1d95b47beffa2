/* SPDX-License-Identifier: PostgreSQL */
/*
 * skew: an agent's wall clock, stepped while it runs. Loaded before libc (LD_PRELOAD); the file
 * that WALFERRY_SKEW names holds one int64_t, microseconds that CLOCK_REALTIME is off by. Clocks
 * that count (monotonic, since boot) are left alone, as by a person who sets a clock wrong.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *skew_us;

__attribute__((constructor)) static void
begin(void)
{
    const char *path = getenv("WALFERRY_SKEW");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *at = fd >= 0 ? mmap(NULL, sizeof *skew_us, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

    if (at != MAP_FAILED)
        skew_us = at;
    if (fd >= 0)
        close(fd);
}

int
clock_gettime(clockid_t clock, struct timespec *ret_time)
{
    long result = syscall(SYS_clock_gettime, clock, ret_time);
    int64_t ns;

    if (result == 0 && clock == CLOCK_REALTIME && skew_us != NULL) {
        ns = (int64_t)ret_time->tv_nsec + *skew_us % 1000000 * 1000;
        ret_time->tv_sec += (time_t)(*skew_us / 1000000 + (ns < 0 ? -1 : ns / 1000000000));
        ret_time->tv_nsec = (long)(ns < 0 ? ns + 1000000000 : ns % 1000000000);
    }
    return (int)result;
}

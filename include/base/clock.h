/* SPDX-License-Identifier: PostgreSQL */
/*
 * clock: microseconds. Durations are counted on the monotonic clock (CLOCK_BOOTTIME: steps of the
 * wall clock do not move it, a suspended machine does not stop it); the wall clock only labels.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define SECOND_US      INT64_C(1000000)
#define MILLISECOND_US INT64_C(1000)
#define NEVER_US       INT64_MAX

int64_t clock_us(void);      /* monotonic, since boot */
int64_t clock_wall_us(void); /* since 1970-01-01 UTC */

/* This boot's name (/proc/sys/kernel/random/boot_id), 36 characters and a 0; "" where unknown. */
#define BOOT_ID_SIZE 37
void clock_boot_id(char out[BOOT_ID_SIZE]);

#endif

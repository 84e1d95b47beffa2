/* SPDX-License-Identifier: PostgreSQL */
/*
 * disk: an in-memory disk behind base/durable.h that forgets what was not flushed.
 *
 * Every file has what a reader sees and what survives a crash of the machine; a directory sync
 * makes names survive. A crash leaves, behind the flushed bytes, a tail that is true, zero or
 * rubbish by chance. A failed flush drops its bytes for good, as Linux does: a second flush
 * "succeeds".
 */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void disk_reset(uint64_t (*random_number)(void)); /* an empty disk */
void disk_crash(void);                            /* the machine: all descriptors are gone, too */
void disk_kill(void);                             /* the process: descriptors and locks are gone */
void disk_set_full(bool full);
void disk_fail_next_flush(void);

/* Compare what would survive a crash now with `truth`: n bytes at offset of a file (NULL: absent).
 */
bool disk_survives(const char *name, uint64_t offset, const void *truth, size_t n);

#endif

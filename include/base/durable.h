/* SPDX-License-Identifier: PostgreSQL */
/*
 * durable: every write, flush, rename and directory sync of the project.
 *
 * Functions return 0 (or a count) or -1 with errno, never a code of fail.h: the caller knows the
 * object's name and what to tell the DBA. All names are relative to a directory descriptor. Nothing
 * here retries a failed flush. Files are made 0600. The simulation links a disk of its own behind
 * this header: a file there keeps only what was flushed when the machine "crashes".
 */
#ifndef BASE_DURABLE_H
#define BASE_DURABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int durable_dir(const char *path, int *ret_dir); /* open a directory; durable_close ends it */

enum durable_mode { DURABLE_READ, DURABLE_WRITE /* read and write, must exist */, DURABLE_CREATE };
int durable_open(int dir, const char *name, enum durable_mode mode, int *ret_fd);
void durable_close(int fd); /* accepts -1 */

ssize_t durable_read(int fd, void *bytes, size_t n,
                     uint64_t offset); /* all of n, or up to the end */
int durable_write(int fd, const void *bytes, size_t n, uint64_t offset); /* all, or -1 */
int durable_data(int fd);                                                /* fdatasync */
int durable_size(int fd, uint64_t *ret_bytes);
int durable_truncate(int fd, uint64_t bytes);
/* Allocate space for a file that will grow to so many bytes, so that its flushes need not. A hint,
 * no promise. */
void durable_reserve(int fd, uint64_t bytes);

int durable_sync_dir(int dir);
int durable_rename(int dir, const char *from, const char *to); /* and the directory's sync */
int durable_unlink(int dir, const char *name); /* absent is fine; many: one durable_sync_dir */
int durable_remove(int dir, const char *name); /* and the directory's sync; absent is fine */

/* write a temporary file "name.tmp", fsync, rename, fsync the directory */
int durable_replace(int dir, const char *name, const void *bytes, size_t n);
int durable_replace_mode(int dir, const char *name, const void *bytes, size_t n, mode_t mode);

/* Whole file, at most size-1 bytes, a 0 put behind; -1 with EFBIG when it is longer. */
ssize_t durable_load(int dir, const char *name, char *out, size_t size);

struct durable_entry {
    const char *name;
    uint64_t bytes;
    int64_t modified_us; /* wall clock */
};
/* Each regular file once, any order. visit returns 0 to go on; anything else ends the list and is
 * what durable_list returns: a code of fail.h, while -1 is the list's own failure. */
int durable_list(int dir, int (*visit)(void *context, const struct durable_entry *entry),
                 void *context);

int durable_free(int dir, uint64_t *ret_bytes); /* what the file system still has for us */
/* ... and its size, used and free: without the blocks that are reserved for root. */
int durable_room(int dir, uint64_t *ret_size, uint64_t *ret_free);

/* An exclusive lock on a file made for it, held until the process ends or durable_close;
 * EWOULDBLOCK. */
int durable_lock(int dir, const char *name, int *ret_fd);

#endif

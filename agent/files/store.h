/* SPDX-License-Identifier: PostgreSQL */
/*
 * store: versions of files in the spool: those that other members sent, and those of this host that
 * were replaced by one of them.
 *
 *   <spool>/files/<member>/<path, '/' written %2F, '%' written %25>/<time it came>
 *
 * A version has the modification time that the file had on its host, and its mode, except that
 * only the owner may write it and, with a private key in it, read it.
 */
#ifndef AGENT_FILES_STORE_H
#define AGENT_FILES_STORE_H

#include "config/config.h"

#include "shipper/wire/frame.h"

#include <sys/stat.h>

#define SITE_FILE_BYTES_MAX FRAME_FILE_MAX
#define SITE_FILE_PATH_MAX  200                      /* its escaped form is a file's name */
#define SITE_FILE_NAME_SIZE (3 * SITE_FILE_PATH_MAX) /* each '/' takes three bytes */
#define SITE_FILES_KEPT_MAX 128 /* of a member: its list changes over the years */
#define SITE_FILE_VERSIONS  10  /* of a file */

/* The names of a file's versions. */
struct store_versions {
    char oldest[64], newest[64];
    size_t count;
};

enum likeness { ALIKE, DIFFERENT, NOT_HERE };

/* The name under which a path is kept. False: too long for a file system, or empty. */
bool store_name(const char *path, char out[SITE_FILE_NAME_SIZE]);

/* The bytes of a small file anywhere on this host. Their count, or -1 with errno. */
ssize_t store_load_path(const char *path, char out[SITE_FILE_BYTES_MAX + 1]);

/* The mode that a file of another host may have here: only the owner writes it or reads a key. */
mode_t store_safe_mode(mode_t mode, const char *bytes, size_t length);

/*
 * Keep one more version of the file `path` of the member `from`, unless the newest one has the same
 * bytes. The oldest one goes when there are too many. ERR_USAGE, ERR_LOCAL; ERR_AGAIN: that member
 * has SITE_FILES_KEPT_MAX files already.
 */
int store_keep(const struct member *self, const char *from, const char *path, const uint8_t *bytes,
               size_t length, uint32_t mode, int64_t modified_us);

/* Give every kept file of every member to `each`: dir has its versions, at least one. */
void store_each(const struct config *config, const struct member *self,
                void (*each)(void *context, const char *member, const char *path, int dir,
                             const struct store_versions *v),
                void *context);

/* How a version in `dir` differs from the file `path` on this host. */
enum likeness store_compare(int dir, const char *version, const char *path);

/* The mode for a version in `dir` when it is put in place; `from`: the member it is of. ERR_LOCAL. */
int store_mode(const struct member *self, const char *from, int dir, const char *version,
               const char *bytes, size_t length, mode_t *ret_mode);

/* Replace the file `path` of this host, which is kept first. ERR_LOCAL. */
int store_put_in_place(const struct member *self, const char *path, const char *bytes,
                       size_t length, mode_t mode);

#endif

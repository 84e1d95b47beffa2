/* SPDX-License-Identifier: PostgreSQL */
/*
 * datadir: a data directory that is replaced by a new one, and kept until the new one has proved
 * itself.
 *
 *   PGDATA                 what PostgreSQL is started on
 *   PGDATA.walferry-new    the new one while it is made
 *   PGDATA.walferry-old    what was there
 *   T/walferry-new, -old   the same inside each tablespace's directory T, which may be a mount
 *                          point: only the directory PG_nn_nnnnnnnnn in it changes places
 *
 * A swap is a series of renames in one file system, and may be repeated when it was interrupted.
 * PGDATA goes away first and comes back last, so that in between there is nothing that could be
 * started. Errors: ERR_LOCAL, ERR_USAGE for what the DBA has to decide first.
 */
#ifndef AGENT_JOBS_DATADIR_H
#define AGENT_JOBS_DATADIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TABLESPACES_MAX   32
#define DATADIR_PATH_SIZE 320

struct tablespace {
    char oid[16];
    char from[256]; /* its directory on the primary */
    char at[256];   /* ... and here */
    uint64_t bytes;
};

struct datadir {
    char at[DATADIR_PATH_SIZE], fresh[DATADIR_PATH_SIZE], old[DATADIR_PATH_SIZE];
    struct tablespace tablespace[TABLESPACES_MAX];
    size_t tablespaces;
};

/* The paths; links in pgdata are followed. Refuses a mount point at pgdata, in it or in a
 * tablespace of it, and a parent that we may not write. */
int datadir_init(struct datadir *d, const char *pgdata);

bool datadir_occupied(const struct datadir *d); /* PGDATA is there and not empty */
bool datadir_standby(const struct datadir *d);  /* standby.signal is in it */

bool datadir_wal_elsewhere(const struct datadir *d); /* pg_wal in it is a link */

/*
 * One more tablespace of the primary. Where it goes: `map` ("OLD=NEW,OLD=NEW"; NULL), else where
 * PGDATA has it, else the same path. Refuses a directory that holds files of another server.
 */
int datadir_place(struct datadir *d, const char *oid, const char *from, uint64_t bytes,
                  const char *map);

/* Is there room for the whole copy beside the old one? `bytes` is without the tablespaces. */
int datadir_room(const struct datadir *d, uint64_t bytes);

int datadir_free(const struct datadir *d, uint64_t *ret_bytes); /* where the copy goes */

/* Remove what an earlier try left; refuses while something that was replaced lies beside. */
int datadir_clear(const struct datadir *d);
int datadir_begin(const struct datadir *d);   /* ... and make the directories of the new one */
int datadir_discard(const struct datadir *d); /* remove the new one */

/* The copy came with the modes of the primary's files: give it those of PGDATA, whether a group may
 * read. */
int datadir_keep_modes(const struct datadir *d);

/*
 * Close PGDATA to PostgreSQL, which starts on no directory that others may enter; or open it again.
 * (A file that forbids the start would not do: pg_rewind removes what its source has not, before it
 * is done.) What is in the directory stays closed to others. ERR_LOCAL.
 */
int datadir_forbid_start(const char *pgdata, bool forbid);
bool datadir_is_closed(const char *pgdata);

mode_t datadir_file_mode(const char *pgdata); /* of the files in PGDATA */
int datadir_remove_tree(const char *path);    /* absent is fine; what is mounted in it stays */

bool datadir_moved(const struct datadir *d);   /* PGDATA has gone away to make place */
bool datadir_swapped(const struct datadir *d); /* nothing new is left to move */
int datadir_swap(const struct datadir *d);
int datadir_remove_old(const struct datadir *d);

#endif

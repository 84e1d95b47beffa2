/* SPDX-License-Identifier: PostgreSQL */
/*
 * spool_private: what the parts of the spool share: the names of its files, and what one pass over
 * its directory finds.
 */
#ifndef SHIPPER_WAL_SPOOL_PRIVATE_H
#define SHIPPER_WAL_SPOOL_PRIVATE_H

#include "shipper/wal/spool.h"

#define FILE_NAME_SIZE 40
#define POSITION_SIZE  sizeof((struct flush *)0)->position
#define PARTIAL        ".partial"
#define FRESH          ".new" /* a copy that is not finished */
#define DAMAGED        ".damaged"
#define ASIDE          SPOOL_ASIDE

/* spool_files.c */

/* The names of the segment of `timeline` at lsn: complete, and while it grows. */
void spool_name_of(const struct spool *s, timeline_t timeline, lsn_t lsn,
                   char name[SEGMENT_NAME_SIZE], char partial[FILE_NAME_SIZE]);

/* Its name when a flush of it failed; `name` is either of the two. */
void spool_damaged_name(char out[FILE_NAME_SIZE], const char *name);

/* A segment file's name taken apart; false: it is no segment's. partial: also a damaged one. */
bool spool_parse_file(const struct spool *s, const char *name, timeline_t *ret_timeline,
                      lsn_t *ret_start, bool *ret_partial);

/* One pass over the directory. */
struct scan {
    const struct spool *s;
    timeline_t timeline; /* look at its files; 0: only for the highest one */
    timeline_t highest;
    bool any, any_complete;
    lsn_t first;                /* start of the lowest file */
    lsn_t last_complete;        /* start of the highest complete one */
    lsn_t growing;              /* where a partial file belongs */
    char stale[FILE_NAME_SIZE]; /* one that is left over, "" when there is none */
    char aside[FILE_NAME_SIZE]; /* the newest one that was kept aside */
};

/* 0, ERR_LOCAL, or ERR_CORRUPT: a file has a size that it cannot have. */
int spool_look(const struct spool *s, timeline_t timeline, lsn_t growing, struct scan *ret_scan);

/* Remove unfinished copies, and partial files that do not begin at `growing`. */
int spool_remove_stale(const struct spool *s, lsn_t growing);

/* The text of the file "position". */
void spool_describe_position(const struct spool *s, const char *boot, lsn_t flushed,
                             char out[POSITION_SIZE]);

/* Close what is open for writing or reading. */
void spool_close_segments(struct spool *s);

/* Say on disk that what lies above `flushed` is not known good, whatever boot this is. */
int spool_distrust(struct spool *s);

/* spool_open.c */

/* All positions, from the files: as they are when no file is open for writing. */
int spool_find_positions(struct spool *s);

/* spool.c */

/* The file of a segment as read_fd. ERR_AGAIN: there is none. */
int spool_open_segment(struct spool *s, timeline_t timeline, lsn_t start);

/*
 * A file with the first bytes of `from` (-1: there are none), under the segment's name with that
 * suffix only when they are flushed: at least `needed` of them, up to `most` as far as they can be
 * read.
 */
int spool_copy_segment(const struct spool *s, timeline_t timeline, lsn_t start, const char *suffix,
                       int from, uint64_t needed, uint64_t most, int *ret_fd, uint64_t *ret_copied);

/* spool_history.c */

/* The timeline that had the byte just below `end`, by the history `text` of ours. */
timeline_t spool_timeline_before(const struct spool *s, const char *text, size_t length, lsn_t end);

#endif

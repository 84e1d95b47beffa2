/* SPDX-License-Identifier: PostgreSQL */
/*
 * lsn: PostgreSQL's names for places in the transaction log.
 *
 * Sources: src/include/access/xlog_internal.h (segment file names, page headers),
 * src/include/access/timeline.h and timeline.c (history files), "WAL Internals" in the manual.
 */
#ifndef BASE_LSN_H
#define BASE_LSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t lsn_t;
typedef uint32_t timeline_t;

#define LSN_UNKNOWN       UINT64_C(0) /* PostgreSQL's InvalidXLogRecPtr */
#define LSN_FORMAT        "%X/%X"
#define LSN_ARGS(lsn)     (unsigned)((lsn) >> 32), (unsigned)(lsn)
#define LSN_TEXT_SIZE     18
#define SEGMENT_NAME_SIZE 25 /* 24 hex digits and a 0 */
#define HISTORY_NAME_SIZE 17 /* 8 hex digits, ".history" and a 0 */
#define SEGMENT_BYTES_MIN (UINT32_C(1) << 20)
#define SEGMENT_BYTES_MAX (UINT32_C(1) << 30)
#define WAL_PAGE_BYTES    8192 /* XLOG_BLCKSZ, as all packages are built */
#define HISTORY_BYTES_MAX 65536

bool lsn_parse(const char *text, lsn_t *ret_lsn); /* "16/B374D848", nothing behind it */

bool segment_bytes_valid(uint32_t segment_bytes); /* a power of two, 1 MB to 1 GB */
lsn_t segment_start(lsn_t lsn, uint32_t segment_bytes);
void segment_name(char out[SEGMENT_NAME_SIZE], timeline_t timeline, lsn_t lsn,
                  uint32_t segment_bytes);

/* A 24-digit segment name and nothing else; start is its first LSN. */
bool segment_parse(const char *name, uint32_t segment_bytes, timeline_t *ret_timeline,
                   lsn_t *ret_start);

void history_name(char out[HISTORY_NAME_SIZE], timeline_t timeline);
bool history_parse_name(const char *name, timeline_t *ret_timeline);

/*
 * Where `timeline` ends according to the text of a later timeline's history file: lines of
 * "tli <tab> lsn <tab> reason", '#' comments. True and the switch point when it is an ancestor.
 */
bool history_switch_point(const char *text, size_t length, timeline_t timeline, lsn_t *ret_end);

/* The first ancestor after `timeline` in such a text, or `last` (the file's own timeline) if
 * none. */
timeline_t history_next(const char *text, size_t length, timeline_t timeline, timeline_t last);

/* This program understands every line (timelines ascending, LSNs never descending). */
bool history_valid(const char *text, size_t length, timeline_t last);

/* Of n bytes from lsn, how many to take when at most `most` fit: all, or up to a page's end. A
 * standby may believe a record that is cut inside a page to be broken. */
size_t wal_piece(lsn_t lsn, size_t n, size_t most);

/*
 * The page's start for an insert position just behind a page header (24 bytes, 40 at a segment's
 * first page), else lsn itself: no record lies between the two, so a flush up to the page's start
 * covers the position.
 */
lsn_t lsn_before_page_header(lsn_t lsn, uint32_t segment_bytes);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * records: WAL checked as crash recovery would: page after page, record after record, header, back
 * link and CRC.
 *
 * In come the bytes of one timeline, in order and in any pieces, from a segment's start on; out
 * goes how far they are whole records. A record that reaches into the first segment cannot be
 * checked without its head: it is passed over. So are a record that was given up (a restarted
 * server has marked a later page with XLP_FIRST_IS_OVERWRITE_CONTRECORD) and the rest of a segment
 * behind a switch record.
 *
 * Source of the rules: src/backend/access/transam/xlogreader.c, src/include/access/xlogrecord.h,
 * xlog_internal.h. Layout (little or big endian as this machine has it):
 *   page header   u16 magic, u16 info, u32 timeline, u64 page address, u32 rest of a record that
 *                 goes on here, padding to 24; a segment's first page: u64 system identifier,
 *                 u32 segment size, u32 page size, together 40
 *   record        u32 total length, u32 xid, u64 previous record, u8 info, u8 resource manager,
 *                 2 bytes padding, u32 CRC-32C (of what follows the header, then of the header up
 *                 to the CRC), data; records start at multiples of 8
 */
#ifndef SHIPPER_WAL_RECORDS_H
#define SHIPPER_WAL_RECORDS_H

#include "base/lsn.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_PAGE_HEADER      24
#define RECORD_LONG_PAGE_HEADER 40
#define RECORD_HEADER           24

struct records {
    lsn_t at;    /* of the next byte */
    lsn_t whole; /* all records below it are whole; behind a switch record it is ahead of `at` */
    lsn_t last;  /* the last whole record; LSN_UNKNOWN: none yet */
    /* private below */
    uint32_t segment_bytes;
    timeline_t timeline;
    uint64_t system_identifier; /* 0: the first page tells it */
    uint16_t magic;             /* of the first page; 0: no page was right yet */
    enum { RECORDS_FIRST, RECORDS_TAIL, RECORDS_BETWEEN, RECORDS_HEAD, RECORDS_DATA } state;
    lsn_t begin;    /* of the record that is not whole */
    lsn_t previous; /* the record it has to link back to; LSN_UNKNOWN: any */
    uint64_t left;  /* bytes of that record, or of the tail, that are still to come */
    uint32_t crc;
    uint8_t head[RECORD_HEADER], page[RECORD_LONG_PAGE_HEADER];
};

/* `start` is a segment's; system_identifier 0: any. */
void records_begin(struct records *r, uint32_t segment_bytes, timeline_t timeline,
                   uint64_t system_identifier, lsn_t start);

/* 0, or ERR_CORRUPT: the message names the segment, the record or page, and what is wrong. All
 * below `whole` is right all the same; nothing more may be put in. */
int records_put(struct records *r, const void *bytes, size_t n);

uint32_t records_crc(uint32_t crc, const void *bytes, size_t n); /* CRC-32C, no complement */

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * made_wal: WAL as PostgreSQL lays it out, made in memory record by record: pages, headers, back
 * links and CRCs, with random data.
 */
#ifndef SUPPORT_MADE_WAL_H
#define SUPPORT_MADE_WAL_H

#include "shipper/wal/records.h"

#include <stdlib.h>
#include <string.h>

struct made_wal {
    uint8_t *bytes; /* of `start` */
    lsn_t start;    /* a segment's */
    lsn_t at;       /* of the next byte */
    lsn_t previous; /* the last record */
    uint32_t segment_bytes;
    uint64_t system_identifier;
};

/* The bytes of a record, and the page headers between them; NULL: a header, if one is due. */
static inline void
made_wal_put(struct made_wal *w, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (w->at % WAL_PAGE_BYTES == 0) {
            uint8_t *page = w->bytes + (w->at - w->start);
            uint16_t magic = 0xD110, info = bytes != NULL ? 1 : 0;
            uint32_t timeline = 1, rest = bytes != NULL ? (uint32_t)(n - i) : 0;
            uint32_t page_bytes = WAL_PAGE_BYTES;

            memcpy(page, &magic, 2);
            memcpy(page + 2, &info, 2);
            memcpy(page + 4, &timeline, 4);
            memcpy(page + 8, &w->at, 8);
            memcpy(page + 16, &rest, 4);
            if (w->at % w->segment_bytes == 0) {
                memcpy(page + 24, &w->system_identifier, 8);
                memcpy(page + 32, &w->segment_bytes, 4);
                memcpy(page + 36, &page_bytes, 4);
            }
            w->at += w->at % w->segment_bytes == 0 ? RECORD_LONG_PAGE_HEADER : RECORD_PAGE_HEADER;
        }
        if (bytes != NULL)
            w->bytes[w->at++ - w->start] = bytes[i];
    }
}

/* A record; returns where it begins. */
static inline lsn_t
made_wal_record(struct made_wal *w, uint32_t data_bytes, uint8_t manager, uint8_t info)
{
    uint32_t length = RECORD_HEADER + data_bytes, crc;
    uint8_t *bytes = calloc(1, length);

    for (uint32_t i = RECORD_HEADER; i < length; i++)
        bytes[i] = (uint8_t)(rand() >> 5);
    made_wal_put(w, NULL, 1);
    memcpy(bytes, &length, 4);
    memcpy(bytes + 8, &w->previous, 8);
    bytes[16] = info;
    bytes[17] = manager;
    crc = records_crc(0xFFFFFFFF, bytes + RECORD_HEADER, data_bytes);
    crc = records_crc(crc, bytes, 20) ^ 0xFFFFFFFF;
    memcpy(bytes + 20, &crc, 4);
    w->previous = w->at;
    made_wal_put(w, bytes, length);
    w->at = (w->at + 7) & ~(lsn_t)7;
    free(bytes);
    return w->previous;
}

#endif

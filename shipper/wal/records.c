/* SPDX-License-Identifier: PostgreSQL */
/* See records.h. */
#include "shipper/wal/records.h"

#include "page.h"

#include "base/fail.h"
#include "base/identity.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CRC_AT          20
#define INFO_CONTINUES  0x0001 /* XLP_FIRST_IS_CONTRECORD */
#define INFO_OVERWRITES 0x0008 /* XLP_FIRST_IS_OVERWRITE_CONTRECORD */
#define XLOG_SWITCH     0x40
#define ALIGN8(n)       (((n) + 7) & ~(uint64_t)7)

static uint32_t crc_table[256];

static void
make_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;

        for (int bit = 0; bit < 8; bit++)
            c = (c & 1) != 0 ? c >> 1 ^ 0x82F63B78u : c >> 1;
        crc_table[i] = c;
    }
}

uint32_t
records_crc(uint32_t crc, const void *bytes, size_t n)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const uint8_t *at = bytes;

    pthread_once(&once, make_table);
    for (size_t i = 0; i < n; i++)
        crc = crc >> 8 ^ crc_table[(crc ^ at[i]) & 255];
    return crc;
}

void
records_begin(struct records *r, uint32_t segment_bytes, timeline_t timeline,
              uint64_t system_identifier, lsn_t start)
{
    *r = (struct records){.at = start,
                          .whole = start,
                          .segment_bytes = segment_bytes,
                          .timeline = timeline,
                          .system_identifier = system_identifier};
}

/* ERR_CORRUPT: the record or page that begins at `at` is wrong. */
static int wrong(const struct records *r, const char *thing, lsn_t at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int
wrong(const struct records *r, const char *thing, lsn_t at, const char *format, ...)
{
    char why[160], name[SEGMENT_NAME_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    segment_name(name, r->timeline, at, r->segment_bytes);
    return fail(ERR_CORRUPT, "the %s at " LSN_FORMAT " of segment %s %s", thing, LSN_ARGS(at), name,
                why);
}

static size_t
page_header(const struct records *r, lsn_t page)
{
    return page % r->segment_bytes == 0 ? RECORD_LONG_PAGE_HEADER : RECORD_PAGE_HEADER;
}

/* Does the page belong here? */
static int
check_page(struct records *r, lsn_t page)
{
    uint16_t magic = u16_at(r->page);

    if (magic < PAGE_MAGIC_MIN || (r->magic != 0 && magic != r->magic) ||
        u64_at(r->page + 8) != page || u32_at(r->page + 4) > r->timeline)
        return wrong(r, "page", page, "says magic %04X, timeline %u, " LSN_FORMAT, magic,
                     u32_at(r->page + 4), LSN_ARGS(u64_at(r->page + 8)));
    if (page % r->segment_bytes == 0) {
        if (r->system_identifier != 0 && u64_at(r->page + 24) != r->system_identifier)
            return wrong(r, "page", page, "is of another database cluster");
        if (u32_at(r->page + 32) != r->segment_bytes || u32_at(r->page + 36) != WAL_PAGE_BYTES)
            return wrong(r, "page", page, "says segments of %u bytes, pages of %u",
                         u32_at(r->page + 32), u32_at(r->page + 36));
        r->system_identifier = u64_at(r->page + 24);
    }
    r->magic = magic;
    return 0;
}

static uint64_t
length_of(const struct records *r)
{
    return u32_at(r->head);
}

/* How many bytes of the record are still to come, of its head, too. */
static uint64_t
rest_of(const struct records *r)
{
    if (r->state != RECORDS_HEAD)
        return r->left;
    return length_of(r) -
           (RECORD_HEADER - r->left); /* its first field, the length, is never cut by a page */
}

/* A page's header is here: does it continue the page before? */
static int
take_page(struct records *r, lsn_t page)
{
    int code = check_page(r, page);
    uint16_t info = u16_at(r->page + 2);
    uint64_t rest = u32_at(r->page + 16);

    if (code < 0)
        return code;
    if (r->state == RECORDS_FIRST) {
        r->state = (info & INFO_CONTINUES) != 0 && rest > 0 ? RECORDS_TAIL : RECORDS_BETWEEN;
        r->left = ALIGN8(rest);
    } else if ((info & INFO_OVERWRITES) != 0) {
        r->state = RECORDS_BETWEEN;
        r->previous =
            LSN_UNKNOWN; /* the first record links to the one before the record that was given up */
    } else if (r->state == RECORDS_BETWEEN) {
        if ((info & INFO_CONTINUES) != 0)
            return wrong(r, "page", page, "goes on with a record that did not begin");
    } else if (r->state == RECORDS_HEAD && length_of(r) < RECORD_HEADER) {
        return wrong(r, "record", r->begin, "has no length");
    } else if ((info & INFO_CONTINUES) == 0 ||
               (r->state == RECORDS_TAIL ? ALIGN8(rest) : rest) != rest_of(r)) {
        return wrong(r, "page", page, "does not go on with the record before it");
    }
    return 0;
}

static int
take_head(struct records *r)
{
    lsn_t previous = u64_at(r->head + 8);

    if (length_of(r) < RECORD_HEADER)
        return wrong(r, "record", r->begin, "has no length");
    if (r->previous != LSN_UNKNOWN ? previous != r->previous : previous >= r->begin)
        return wrong(r, "record", r->begin, "links back to " LSN_FORMAT, LSN_ARGS(previous));
    r->state = RECORDS_DATA;
    r->left = length_of(r) - RECORD_HEADER;
    r->crc = 0xFFFFFFFF;
    return 0;
}

static int
take_record(struct records *r)
{
    if ((records_crc(r->crc, r->head, CRC_AT) ^ 0xFFFFFFFF) != u32_at(r->head + CRC_AT))
        return wrong(r, "record", r->begin, "has a wrong CRC");
    r->state = RECORDS_BETWEEN;
    r->last = r->previous = r->begin;
    r->whole = ALIGN8(r->at);
    if (r->head[17] == 0 && (r->head[16] & 0xF0) == XLOG_SWITCH && r->at % r->segment_bytes != 0)
        r->whole = segment_start(r->at, r->segment_bytes) + r->segment_bytes;
    return 0;
}

/* At most n bytes inside a page; how many were taken, or ERR_CORRUPT. */
static int64_t
take_bytes(struct records *r, const uint8_t *bytes, size_t n)
{
    int code = 0;

    if (r->state == RECORDS_BETWEEN) {
        r->state = RECORDS_HEAD;
        r->begin = r->at;
        r->left = RECORD_HEADER;
    }
    if (n > r->left)
        n = (size_t)r->left;
    if (r->state == RECORDS_HEAD)
        memcpy(r->head + RECORD_HEADER - r->left, bytes, n);
    else if (r->state == RECORDS_DATA)
        r->crc = records_crc(r->crc, bytes, n);
    r->at += n;
    r->left -= n;
    if (r->state == RECORDS_TAIL) {
        r->whole = r->at;
        if (r->left == 0)
            r->state = RECORDS_BETWEEN;
    }
    if (r->state == RECORDS_HEAD && r->left == 0)
        code = take_head(r);
    if (code == 0 && r->state == RECORDS_DATA && r->left == 0)
        code = take_record(r);
    return code < 0 ? code : (int64_t)n;
}

int
records_put(struct records *r, const void *bytes, size_t n)
{
    const uint8_t *from = bytes;

    while (n > 0) {
        size_t offset = r->at % WAL_PAGE_BYTES, header = page_header(r, r->at - offset), piece = n;

        if (r->at < r->whole) { /* padding, or behind a switch record */
            piece = r->whole - r->at < n ? (size_t)(r->whole - r->at) : n;
            r->at += piece;
        } else if (offset < header) {
            piece = header - offset < n ? header - offset : n;
            memcpy(r->page + offset, from, piece);
            r->at += piece;
            if (offset + piece == header && take_page(r, r->at - header) < 0)
                return ERR_CORRUPT;
        } else {
            int64_t taken =
                take_bytes(r, from, n < WAL_PAGE_BYTES - offset ? n : WAL_PAGE_BYTES - offset);

            if (taken < 0)
                return ERR_CORRUPT;
            piece = (size_t)taken;
        }
        from += piece;
        n -= piece;
    }
    return 0;
}

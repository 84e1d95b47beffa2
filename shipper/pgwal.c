/*
 * pgwal: see pgwal.h. The end of the log is found as crash recovery finds it: record after record,
 * header, back link and CRC, until one is not there. Pages are read one at a time; a record is
 * walked through them piece by piece, never held whole.
 *
 * Layout (little or big endian as this machine has it; xlogrecord.h, xlog_internal.h):
 *   page header   u16 magic, u16 info, u32 timeline, u64 page address, u32 rest of a record that
 *                 goes on here, padding to 24; a segment's first page: u64 system identifier,
 *                 u32 segment size, u32 page size, together 40
 *   record        u32 total length, u32 xid, u64 previous record, u8 info, u8 resource manager,
 *                 2 bytes padding, u32 CRC-32C (of what follows the header, then of the header up
 *                 to the CRC), data; records start at multiples of 8
 */
#include "shipper/pgwal.h"

#include "base/durable.h"
#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD_HEADER   24
#define RECORD_CRC_AT   20
#define INFO_CONTINUES  0x0001 /* XLP_FIRST_IS_CONTRECORD */
#define INFO_OVERWRITES 0x0008 /* XLP_FIRST_IS_OVERWRITE_CONTRECORD */
#define XLOG_SWITCH     0x40
#define ALIGN8(n)       (((n) + 7) & ~(uint64_t)7)
#define MAGIC_MIN       0xD100

struct walk {
    struct pgwal *wal;
    timeline_t timeline;
    uint8_t page[WAL_PAGE_BYTES];
    lsn_t page_at; /* of the page in memory; LSN_UNKNOWN: none */
    uint16_t magic;
    uint64_t system_identifier; /* of the first segment begun; 0: none yet */
};

static uint32_t
crc32c(uint32_t crc, const uint8_t *bytes, size_t n)
{
    static uint32_t table[256];

    if (table[1] == 0) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;

            for (int bit = 0; bit < 8; bit++)
                c = (c & 1) != 0 ? c >> 1 ^ 0x82F63B78u : c >> 1;
            table[i] = c;
        }
    }
    for (size_t i = 0; i < n; i++)
        crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 255];
    return crc;
}

static uint16_t
u16_at(const uint8_t *at)
{
    uint16_t v;

    memcpy(&v, at, sizeof v);
    return v;
}

static uint32_t
u32_at(const uint8_t *at)
{
    uint32_t v;

    memcpy(&v, at, sizeof v);
    return v;
}

static uint64_t
u64_at(const uint8_t *at)
{
    uint64_t v;

    memcpy(&v, at, sizeof v);
    return v;
}

int
pgwal_postmaster_alive(const char *pgdata)
{
    char path[512], text[64] = "", state;
    struct stat there, here;
    FILE *file;
    long pid;

    snprintf(path, sizeof path, "%s/postmaster.pid", pgdata);
    file = fopen(path, "re");
    if (file == NULL)
        return errno == ENOENT ? 0 : fail_sys(ERR_LOCAL, "cannot read %s", path);
    if (fgets(text, sizeof text, file) == NULL)
        text[0] = '\0';
    fclose(file);
    pid = strtol(text, NULL, 10);
    if (pid <= 1)
        return 0;
    if (kill((pid_t)pid, 0) < 0 && errno == ESRCH)
        return 0;
    /* a crashed server leaves the file: the number may be anybody's by now, or a zombie's */
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    file = fopen(path, "re");
    if (file == NULL)
        return errno == ENOENT ? 0 : 1;
    if (fscanf(file, "%*d (%63[^)]) %c", text, &state) != 2)
        state = 'Z';
    fclose(file);
    /* ... or another cluster's: a postmaster works in its data directory */
    snprintf(path, sizeof path, "/proc/%ld/cwd", pid);
    if (stat(path, &there) == 0 && stat(pgdata, &here) == 0 &&
        (there.st_dev != here.st_dev || there.st_ino != here.st_ino))
        return 0;
    return state != 'Z' && (strcmp(text, "postgres") == 0 || strcmp(text, "postmaster") == 0);
}

int
pgwal_open(struct pgwal *w, const char *pgdata, uint32_t segment_bytes)
{
    char path[512];
    int alive = pgwal_postmaster_alive(pgdata);

    *w = (struct pgwal){.dir = -1, .fd = -1, .segment_bytes = segment_bytes};
    if (alive < 0)
        return alive;
    if (alive > 0)
        return fail(ERR_PEER, "a postmaster runs on %s: its walsender is the way to its WAL",
                    pgdata);
    snprintf(path, sizeof path, "%s/pg_wal", pgdata);
    if (durable_dir(path, &w->dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open %s", path);
    return 0;
}

void
pgwal_close(struct pgwal *w)
{
    if (w->segment_bytes == 0)
        return;
    durable_close(w->fd);
    durable_close(w->dir);
    *w = (struct pgwal){.dir = -1, .fd = -1};
}

struct oldest {
    uint32_t segment_bytes;
    lsn_t from, start; /* LSN_UNKNOWN: none yet */
};

static int
visit_oldest(void *context, const struct durable_entry *entry)
{
    struct oldest *o = context;
    timeline_t timeline;
    lsn_t start;

    if (segment_parse(entry->name, o->segment_bytes, &timeline, &start) && start >= o->from &&
        (o->start == LSN_UNKNOWN || start < o->start))
        o->start = start;
    return 0;
}

int
pgwal_oldest(const char *pgdata, uint32_t segment_bytes, lsn_t from, lsn_t *ret_oldest)
{
    struct oldest o = {.segment_bytes = segment_bytes, .from = segment_start(from, segment_bytes)};
    char path[512];
    int dir, code;

    snprintf(path, sizeof path, "%s/pg_wal", pgdata);
    if (durable_dir(path, &dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open %s", path);
    code =
        durable_list(dir, visit_oldest, &o) < 0 ? fail_sys(ERR_LOCAL, "cannot list %s", path) : 0;
    durable_close(dir);
    if (code == 0 && o.start == LSN_UNKNOWN)
        code = fail(ERR_LOCAL, "%s has no segment from " LSN_FORMAT " on", path, LSN_ARGS(o.from));
    if (code == 0)
        *ret_oldest = o.start;
    return code;
}

int
pgwal_read(struct pgwal *w, timeline_t timeline, lsn_t lsn, void *out, size_t n)
{
    lsn_t start = segment_start(lsn, w->segment_bytes);
    char name[SEGMENT_NAME_SIZE];
    ssize_t got;

    segment_name(name, timeline, lsn, w->segment_bytes);
    if (w->fd < 0 || w->timeline != timeline || w->fd_start != start) {
        durable_close(w->fd);
        w->fd = -1;
        if (durable_open(w->dir, name, DURABLE_READ, &w->fd) < 0)
            return fail_sys(ERR_LOCAL, "cannot open pg_wal/%s", name);
        w->timeline = timeline;
        w->fd_start = start;
    }
    if (n > start + w->segment_bytes - lsn)
        n = (size_t)(start + w->segment_bytes - lsn);
    got = durable_read(w->fd, out, n, lsn - start);
    return got < 0 ? fail_sys(ERR_LOCAL, "cannot read pg_wal/%s", name) : (int)got;
}

static size_t
page_header(const struct walk *k, lsn_t page)
{
    return page % k->wal->segment_bytes == 0 ? 40 : 24;
}

/* The page of lsn in memory, if it is one that this server wrote there; false: the log ends before.
 */
static bool
load_page(struct walk *k, lsn_t lsn)
{
    lsn_t page = lsn - lsn % WAL_PAGE_BYTES;
    uint16_t magic;

    if (k->page_at == page)
        return true;
    k->page_at = LSN_UNKNOWN;
    if (pgwal_read(k->wal, k->timeline, page, k->page, WAL_PAGE_BYTES) != WAL_PAGE_BYTES)
        return false;
    magic = u16_at(k->page);
    if (magic < MAGIC_MIN || (k->magic != 0 && magic != k->magic) || u64_at(k->page + 8) != page ||
        u32_at(k->page + 4) > k->timeline)
        return false;
    if (page % k->wal->segment_bytes == 0) { /* a segment of another cluster, or of another size */
        if ((k->system_identifier != 0 && u64_at(k->page + 24) != k->system_identifier) ||
            u32_at(k->page + 32) != k->wal->segment_bytes || u32_at(k->page + 36) != WAL_PAGE_BYTES)
            return false;
        k->system_identifier = u64_at(k->page + 24);
    }
    k->magic = magic;
    k->page_at = page;
    return true;
}

/* Over n bytes of a record and the page headers between; `behind` more follow. *at moves. */
static bool
walk_bytes(struct walk *k, lsn_t *at, uint64_t n, uint64_t behind, uint32_t *crc, uint8_t *copy)
{
    while (n > 0) {
        size_t offset, piece;

        if (*at % WAL_PAGE_BYTES == 0) {
            if (!load_page(k, *at) || (u16_at(k->page + 2) & INFO_CONTINUES) == 0 ||
                u32_at(k->page + 16) != n + behind)
                return false;
            *at += page_header(k, *at);
        }
        if (!load_page(k, *at))
            return false;
        offset = *at % WAL_PAGE_BYTES;
        piece = WAL_PAGE_BYTES - offset < n ? WAL_PAGE_BYTES - offset : (size_t)n;
        if (crc != NULL)
            *crc = crc32c(*crc, k->page + offset, piece);
        if (copy != NULL) {
            memcpy(copy, k->page + offset, piece);
            copy += piece;
        }
        *at += piece;
        n -= piece;
    }
    return true;
}

/* A whole, right record at `at`: true and where it ends (aligned); previous 0: not known yet. */
static bool
walk_record(struct walk *k, lsn_t at, lsn_t previous, lsn_t *ret_end)
{
    uint8_t header[RECORD_HEADER];
    uint32_t length, crc = 0xFFFFFFFF;
    lsn_t end = at;

    if (!load_page(k, at))
        return false;
    length = u32_at(k->page + at % WAL_PAGE_BYTES); /* never cut: records start at multiples of 8 */
    if (length < RECORD_HEADER ||
        !walk_bytes(k, &end, RECORD_HEADER, length - RECORD_HEADER, NULL, header))
        return false;
    if (previous != 0 ? u64_at(header + 8) != previous : u64_at(header + 8) >= at)
        return false;
    if (!walk_bytes(k, &end, length - RECORD_HEADER, 0, &crc, NULL))
        return false;
    crc = crc32c(crc, header, RECORD_CRC_AT) ^ 0xFFFFFFFF;
    if (crc != u32_at(header + RECORD_CRC_AT))
        return false;
    if (header[17] == 0 && header[16] == XLOG_SWITCH)
        *ret_end = segment_start(at, k->wal->segment_bytes) + k->wal->segment_bytes;
    else
        *ret_end = ALIGN8(end);
    return true;
}

/* The first record that starts at or after a page's start. */
static bool
first_record(struct walk *k, lsn_t page, lsn_t *ret_at)
{
    for (;;) {
        uint64_t rest;
        size_t header = page_header(k, page);

        if (!load_page(k, page))
            return false;
        rest = (u16_at(k->page + 2) & INFO_CONTINUES) != 0 ? ALIGN8(u32_at(k->page + 16)) : 0;
        if (header + rest < WAL_PAGE_BYTES) {
            *ret_at = page + header + rest;
            return true;
        }
        page += WAL_PAGE_BYTES; /* the record fills this page, too */
    }
}

/* Where the walk goes on after a record: a page's start means behind its header. */
static bool
next_place(struct walk *k, lsn_t *at)
{
    if (*at % WAL_PAGE_BYTES != 0)
        return true;
    if (!load_page(k, *at))
        return false;
    *at += page_header(k, *at);
    return true;
}

/* After a torn record a restarted server marks the next page: what was begun is given up there. */
static bool
overwritten(struct walk *k, lsn_t at, lsn_t *ret_at)
{
    lsn_t page = at - at % WAL_PAGE_BYTES + WAL_PAGE_BYTES;

    if (!load_page(k, page) || (u16_at(k->page + 2) & INFO_OVERWRITES) == 0)
        return false;
    *ret_at = page + page_header(k, page);
    return true;
}

int
pgwal_end(struct pgwal *w, timeline_t timeline, lsn_t from, lsn_t *ret_end)
{
    struct walk k = {.wal = w, .timeline = timeline};
    lsn_t at, end = from, previous = 0, next;
    char name[SEGMENT_NAME_SIZE];
    uint8_t byte;

    if (pgwal_read(w, timeline, from, &byte, 1) < 0)
        return ERR_LOCAL;
    segment_name(name, timeline, from, w->segment_bytes);
    if (!load_page(&k, from)) { /* made ahead, nothing in it yet */
        *ret_end = from;
        return 0;
    }
    if (!first_record(&k, from, &at))
        return fail(ERR_LOCAL, "pg_wal/%s has no record that begins in it: its end cannot be told",
                    name);
    for (;;) {
        if (!next_place(&k, &at))
            break;
        if (walk_record(&k, at, previous, &next)) {
            previous = at;
            end = at = next;
        } else if (overwritten(&k, at, &next)) {
            previous = 0; /* its first record links over the gap */
            at = next;
        } else {
            break;
        }
    }
    if (end == from)
        return fail(ERR_LOCAL, "pg_wal/%s has no whole record: its end cannot be told", name);
    *ret_end = end;
    return 0;
}

/* Pages that were never written are zero: behind the record that ended the segment early. */
static int
check_pages(int fd, const struct identity *identity, timeline_t timeline, lsn_t start,
            const char *path)
{
    static _Thread_local uint8_t page[WAL_PAGE_BYTES];

    for (lsn_t at = start; at < start + identity->segment_bytes; at += WAL_PAGE_BYTES) {
        if (durable_read(fd, page, sizeof page, at - start) != (ssize_t)sizeof page)
            return fail_sys(ERR_LOCAL, "cannot read %s", path);
        if (at > start && u16_at(page) == 0)
            continue;
        if (u16_at(page) < MAGIC_MIN || u64_at(page + 8) != at || u32_at(page + 4) > timeline)
            return fail(ERR_CORRUPT,
                        "%s is no WAL of timeline %u at " LSN_FORMAT
                        ": its page says timeline %u, " LSN_FORMAT,
                        path, timeline, LSN_ARGS(at), u32_at(page + 4), LSN_ARGS(u64_at(page + 8)));
        if (at == start && u64_at(page + 24) != identity->system_identifier)
            return fail(ERR_CORRUPT,
                        "%s is of another database cluster: its system identifier is %llu", path,
                        (unsigned long long)u64_at(page + 24));
        if (at == start &&
            (u32_at(page + 32) != identity->segment_bytes || u32_at(page + 36) != WAL_PAGE_BYTES))
            return fail(ERR_CORRUPT, "%s has segments of %u bytes, %u are expected", path,
                        u32_at(page + 32), identity->segment_bytes);
    }
    return 0;
}

int
pgwal_check(const char *path, const struct identity *identity, timeline_t timeline, lsn_t start)
{
    uint64_t bytes = 0;
    int fd, code = 0;

    if (durable_open(AT_FDCWD, path, DURABLE_READ, &fd) < 0)
        return fail_sys(ERR_LOCAL, "cannot open %s", path);
    if (durable_size(fd, &bytes) < 0 || bytes != identity->segment_bytes)
        code = fail(ERR_CORRUPT, "%s has %llu bytes, a segment has %u", path,
                    (unsigned long long)bytes, identity->segment_bytes);
    if (code == 0)
        code = check_pages(fd, identity, timeline, start, path);
    durable_close(fd);
    return code;
}

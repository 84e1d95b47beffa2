/* SPDX-License-Identifier: PostgreSQL */
/*
 * Records and proof: WAL as PostgreSQL lays it out, taken in pieces of any size, with one byte of
 * it another one; what reaches the spool is whole and right.
 */
#include "unit/unit.h"

#include "base/fail.h"
#include "retention/proof.h"
#include "support/made_wal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEGMENT   (UINT32_C(1) << 20)
#define SEGMENTS  4
#define START     ((lsn_t)5 * SEGMENT)
#define BYTES     (SEGMENTS * SEGMENT)
#define SYSTEM_ID UINT64_C(7000000000000000001)

static const struct identity identity = {
    .system_identifier = SYSTEM_ID, .segment_bytes = SEGMENT, .postgres_major = 15};
static uint8_t wal[BYTES];
static struct made_wal made;
static lsn_t begin[100000];
static size_t count;

/* ---- WAL ---- */

static void
record(uint32_t data_bytes, uint8_t manager, uint8_t info)
{
    begin[count++] = made_wal_record(&made, data_bytes, manager, info);
}

/* Four segments: small records, some of pages, one over two segments' border, one over a whole
 * segment; ends in the midst of one. The first record's head lies before. */
static void
make(void)
{
    uint8_t tail[20000];

    memset(wal, 0, sizeof wal);
    srand(7);
    made = (struct made_wal){.bytes = wal,
                             .start = START,
                             .at = START,
                             .previous = START - 30000,
                             .segment_bytes = SEGMENT,
                             .system_identifier = SYSTEM_ID};
    count = 0;
    memset(tail, 0x55, sizeof tail);
    made_wal_put(&made, tail, sizeof tail);
    while (made.at < START + SEGMENT - 5000)
        record((uint32_t)rand() % 300, 10, 0);
    record(60000, 10, 0);
    while (made.at < START + SEGMENT + 300000)
        record((uint32_t)rand() % 9000, 10, 0);
    record(2 * SEGMENT, 10, 0); /* reaches into the fourth */
    while (made.at < START + BYTES - 100000)
        record((uint32_t)rand() % 40000, 10, 0);
    record(0, 0, 0x40); /* a switch */
    made.at = START + BYTES;
}

static int
check(const uint8_t *bytes, size_t n, size_t piece, struct records *r)
{
    int code = 0;

    records_begin(r, SEGMENT, 1, SYSTEM_ID, START);
    for (size_t i = 0; i < n && code == 0; i += piece)
        code = records_put(r, bytes + i, n - i < piece ? n - i : piece);
    return code;
}

/* The record that a byte is of, or the next one. */
static lsn_t
record_of(lsn_t lsn)
{
    size_t i = 0;

    while (i + 1 < count && begin[i + 1] <= lsn)
        i++;
    return begin[i];
}

static void
test_records_in_any_pieces(void **state)
{
    static const size_t piece[] = {1, 7, 24, 4096, 8191, 131072, BYTES};
    struct records r;

    (void)state;
    for (size_t i = 0; i < sizeof piece / sizeof *piece; i++) {
        assert_int_equal(check(wal, BYTES, piece[i], &r), 0);
        assert_int_equal(r.whole, START + BYTES);
        assert_int_equal(r.last, begin[count - 1]);
    }
}

static void
test_records_are_whole_one_by_one(void **state)
{
    struct records r;
    size_t n = 0;

    (void)state;
    records_begin(&r, SEGMENT, 1, SYSTEM_ID, START);
    for (size_t i = 0; i < BYTES && n < 200; i++) {
        assert_int_equal(records_put(&r, wal + i, 1), 0);
        if (r.last == begin[n]) {
            n++;
            assert_true(r.whole >= r.at && r.whole < r.at + 8);
        }
        assert_true(n == 0 || r.whole <= begin[n] || r.whole % WAL_PAGE_BYTES == 0);
    }
    assert_int_equal(n, 200);
}

/* The tail of the record before, what pads, and what lies behind a switch are nobody's. */
static void
test_records_notice_every_other_byte(void **state)
{
    static uint8_t other[BYTES];
    lsn_t last_end = begin[count - 1] + 24;

    (void)state;
    memcpy(other, wal, sizeof other);
    for (lsn_t lsn = begin[0]; lsn < last_end; lsn += 1 + (lsn_t)rand() % 30000) {
        lsn_t page = lsn - lsn % WAL_PAGE_BYTES;
        struct records r;

        if (lsn - page < 40 && !(lsn - page >= 8 && lsn - page < 16))
            continue; /* a page's header has bytes of no meaning */
        other[lsn - START] ^= 0x10;
        if (check(other, BYTES, 65536, &r) != ERR_CORRUPT) {
            lsn_t next = record_of(lsn);
            size_t i = 0;

            while (i + 1 < count && begin[i] != next)
                i++;
            assert_true(begin[i + 1] - lsn <= 7); /* padding */
        } else {
            assert_true(r.whole <= lsn);
            assert_non_null(strstr(fail_message(), "of segment 0000000100000000000000"));
        }
        other[lsn - START] ^= 0x10;
    }
}

static void
test_records_name_what_is_wrong(void **state)
{
    static uint8_t other[BYTES];
    char expected[160];
    struct records r;
    size_t i = 0;

    (void)state;
    while (begin[i] < START + SEGMENT - 5000) /* the one over the border */
        i++;
    memcpy(other, wal, sizeof other);
    other[SEGMENT + 5000] ^= 1; /* its data, in the next segment */
    assert_int_equal(check(other, BYTES, 8192, &r), ERR_CORRUPT);
    snprintf(expected, sizeof expected,
             "the record at " LSN_FORMAT " of segment 000000010000000000000005 has a wrong CRC",
             LSN_ARGS(begin[i]));
    assert_string_equal(fail_message(), expected);
    memcpy(other, wal, sizeof other);
    other[begin[i] - START + 9] ^= 1;
    assert_int_equal(check(other, BYTES, 8192, &r), ERR_CORRUPT);
    assert_non_null(strstr(fail_message(), " links back to "));
    memset(other + (begin[i] - START), 0, 4);
    assert_int_equal(check(other, BYTES, 8192, &r), ERR_CORRUPT);
    assert_non_null(strstr(fail_message(), " has no length"));
    memcpy(other, wal, sizeof other);
    other[3 * WAL_PAGE_BYTES + 10] ^= 1;
    assert_int_equal(check(other, BYTES, 8192, &r), ERR_CORRUPT);
    assert_non_null(strstr(fail_message(), "the page at 0/506000 of segment 0000000100000000000000"
                                           "05 says magic D110, timeline 1, "));
    memcpy(other, wal, sizeof other);
    other[SEGMENT + 24] ^= 1;
    assert_int_equal(check(other, BYTES, 8192, &r), ERR_CORRUPT);
    assert_non_null(strstr(fail_message(), "is of another database cluster"));
    memcpy(other, wal, sizeof other);
    other[SEGMENT + 2] = 0; /* it does not go on */
    assert_int_equal(check(other, BYTES, 8192, &r), ERR_CORRUPT);
    assert_non_null(strstr(fail_message(), "does not go on with the record before it"));
    other[SEGMENT + 2] = 8; /* ... for a server gave it up there; but this is none's first record */
    assert_int_equal(check(other, SEGMENT + 40, 8192, &r), 0);
    assert_int_equal(r.last, begin[i - 1]);
}

/* ---- proof ---- */

struct fixture {
    char path[32];
    struct spool spool;
    struct proof proof;
};

static void
open_all(struct fixture *f)
{
    *f = (struct fixture){.path = "/tmp/wf-test-XXXXXX"};
    assert_non_null(mkdtemp(f->path));
    assert_int_equal(spool_open(&f->spool, f->path), 0);
    assert_int_equal(spool_adopt(&f->spool, &identity), 0);
    assert_int_equal(spool_begin(&f->spool, 1, START), 0);
    assert_int_equal(proof_begin(&f->proof, &f->spool, 1, START), 0);
}

static void
close_all(struct fixture *f)
{
    char command[64];

    proof_release(&f->proof);
    spool_close(&f->spool);
    snprintf(command, sizeof command, "rm -r %s", f->path);
    assert_int_equal(system(command), 0);
}

static void
flush(struct spool *s)
{
    struct flush out;

    while (s->flushed < s->written && spool_flush_begin(s, &out, 0)) {
        spool_flush_run(&out);
        assert_int_equal(spool_flush_end(s, &out), 0);
    }
}

/* Bytes from..to of `bytes`, in pieces; the first error. The spool flushes when it has to. */
static int
give(struct fixture *f, const uint8_t *bytes, lsn_t from, lsn_t to)
{
    int code = 0;

    for (lsn_t lsn = from; lsn < to && code == 0;) {
        size_t n = to - lsn < 50000 ? (size_t)(to - lsn) : 50000;

        code = proof_put(&f->proof, &f->spool, 1, lsn, bytes + (lsn - START), n, 0);
        if (code == 0)
            lsn += n;
        if (code == ERR_AGAIN) {
            flush(&f->spool);
            code = 0;
        }
    }
    while (code == 0 && (code = proof_pour(&f->proof, &f->spool, 0)) == ERR_AGAIN) {
        flush(&f->spool);
        code = 0;
    }
    return code;
}

static void
assert_spool(struct fixture *f, lsn_t upto)
{
    static uint8_t there[SEGMENT];

    assert_int_equal(f->spool.written, upto);
    for (lsn_t lsn = START; lsn < upto;) {
        int n = spool_read(&f->spool, 1, lsn, there, sizeof there);

        assert_true(n > 0);
        assert_memory_equal(there, wal + (lsn - START), (size_t)n);
        lsn += (lsn_t)n;
    }
}

static void
test_proof_holds_what_is_not_whole(void **state)
{
    struct fixture f;
    size_t i = 0;

    (void)state;
    open_all(&f);
    while (begin[i] < START + SEGMENT - 5000)
        i++;
    assert_int_equal(give(&f, wal, START, START + SEGMENT), 0);
    assert_spool(&f, begin[i]); /* the one over the border is not whole */
    assert_int_equal(proof_next(&f.proof), START + SEGMENT);
    assert_int_equal(give(&f, wal, START + SEGMENT, START + BYTES), 0);
    assert_spool(&f, START + BYTES);
    assert_int_equal(proof_put(&f.proof, &f.spool, 1, START, wal, 100, 0), ERR_PEER);
    close_all(&f);
}

static void
test_proof_keeps_a_wrong_record_out_and_takes_it_from_the_next_giver(void **state)
{
    static uint8_t forged[BYTES];
    struct fixture f;
    size_t i = 0;

    (void)state;
    open_all(&f);
    while (begin[i] < START + SEGMENT - 5000)
        i++;
    memcpy(forged, wal, sizeof forged);
    forged[SEGMENT + 5000] ^= 1; /* in the second segment; its record begins in the first */
    assert_int_equal(give(&f, forged, START, START + BYTES), ERR_CORRUPT);
    assert_spool(&f, begin[i]);
    assert_int_equal(proof_begin(&f.proof, &f.spool, 1, START), 0);
    assert_int_equal(give(&f, wal, START, START + BYTES), 0); /* compared, then taken */
    assert_spool(&f, START + BYTES);
    close_all(&f);
}

static void
test_proof_trusts_what_is_proven_elsewhere(void **state)
{
    struct fixture f;

    (void)state;
    open_all(&f);
    assert_int_equal(give(&f, wal, START, START + SEGMENT), 0);
    assert_true(f.spool.written < START + SEGMENT);
    proof_trust(&f.proof);
    assert_int_equal(give(&f, wal, START, START), 0);
    assert_spool(&f, START + SEGMENT);
    proof_drop(&f.proof);
    assert_int_equal(proof_next(&f.proof), LSN_UNKNOWN);
    assert_int_equal(proof_pour(&f.proof, &f.spool, 0), 0);
    close_all(&f);
}

static int
setup(void **state)
{
    (void)state;
    make();
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_in_any_pieces),
        cmocka_unit_test(test_records_are_whole_one_by_one),
        cmocka_unit_test(test_records_notice_every_other_byte),
        cmocka_unit_test(test_records_name_what_is_wrong),
        cmocka_unit_test(test_proof_holds_what_is_not_whole),
        cmocka_unit_test(test_proof_keeps_a_wrong_record_out_and_takes_it_from_the_next_giver),
        cmocka_unit_test(test_proof_trusts_what_is_proven_elsewhere),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}

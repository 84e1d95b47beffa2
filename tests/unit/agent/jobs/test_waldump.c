/* SPDX-License-Identifier: PostgreSQL */
/* waldump: what pg_waldump 15 and 17 print, and what of it was committed. */
#include "unit/unit.h"

#include "jobs/waldump.h"

#include <stdio.h>
#include <string.h>

#define HEAP(manager, xid, lsn, what, node)                                                        \
    "rmgr: " manager " len (rec/tot):     59/    59, tx:        " #xid ", lsn: " lsn               \
    ", prev 0/0302ED78, desc: " what ", blkref #0: rel 1663/5/" #node " blk 0"
#define XACT(xid, lsn, what)                                                                       \
    "rmgr: Transaction len (rec/tot):     34/    34, tx:        " #xid ", lsn: " lsn               \
    ", prev 0/0302ED78, desc: " what
#define TIME "2026-11-21 13:56:26.490824 UTC"

static struct lost_transaction got;

/* Give all lines; how many transactions came out, the last one in `got`. */
static int
feed(struct waldump *w, const char *const *lines)
{
    int count = 0;

    for (; *lines != NULL; lines++)
        count += waldump_line(w, *lines, &got);
    return count;
}

static const struct lost_rows *
rows_in(uint32_t node)
{
    for (size_t i = 0; i < got.count; i++)
        if (got.rows[i].file.node == node)
            return &got.rows[i];
    return NULL;
}

static void
assert_rows(uint32_t node, uint64_t inserted, uint64_t updated, uint64_t deleted)
{
    const struct lost_rows *rows = rows_in(node);

    assert_non_null(rows);
    assert_int_equal(rows->inserted, inserted);
    assert_int_equal(rows->updated, updated);
    assert_int_equal(rows->deleted, deleted);
}

static void
test_waldump_commit_with_subtransactions(void **state)
{
    struct waldump *w = waldump_new(0x3000000, 0);

    (void)state;
    assert_int_equal(
        feed(w,
             (const char *const[]){
                 HEAP("Heap       ", 730, "0/0302EF98", "INSERT off 12 flags 0x00", 16385),
                 HEAP("Heap       ", 731, "0/0302EFD8", "INSERT off 11 flags 0x00", 16390),
                 HEAP("Heap       ", 732, "0/0302F058", "INSERT off 12 flags 0x00", 16390),
                 XACT(732, "0/0302F0D8", "ABORT " TIME),
                 XACT(730, "0/0302F100", "COMMIT " TIME "; subxacts: 731; inval msgs: catcache 80"),
                 NULL}),
        1);
    assert_int_equal(got.xid, 730);
    assert_string_equal(got.committed, TIME);
    assert_false(got.prepared || got.partial);
    assert_int_equal(got.count, 2);
    assert_rows(16385, 1, 0, 0);
    assert_rows(16390, 1, 0, 0);
    waldump_free(w);
}

static void
test_waldump_abort_is_not_listed(void **state)
{
    struct waldump *w = waldump_new(0x3000000, 0);

    (void)state;
    assert_int_equal(
        feed(w,
             (const char *const[]){
                 HEAP("Heap       ", 733, "0/0302F130", "INSERT off 13 flags 0x00", 16385),
                 XACT(733, "0/0302F170", "ABORT " TIME),
                 HEAP("Heap       ", 735, "0/0302F548", "INSERT off 15 flags 0x00", 16385),
                 XACT(735, "0/0302F588", "PREPARE gid abo: " TIME),
                 XACT(0, "0/0302F680", "ABORT_PREPARED 735: " TIME),
                 HEAP("Heap       ", 736, "0/0302F6B0", "INSERT off 16 flags 0x00", 16385), NULL}),
        0);
    waldump_free(w);
}

static void
test_waldump_commit_prepared(void **state)
{
    struct waldump *w = waldump_new(0x3000000, 0);

    (void)state;
    assert_int_equal(
        feed(w,
             (const char *const[]){
                 HEAP("Heap       ", 734, "0/0302F198", "INSERT off 14 flags 0x00", 16385),
                 HEAP("Heap       ", 734, "0/0302F1D8",
                      "UPDATE off 1 xmax 734 flags 0x40 KEYS_UPDATED ; new off 13 xmax 0", 16390),
                 XACT(734, "0/0302F370", "PREPARE gid later: " TIME),
                 XACT(0, "0/0302F4E8", "COMMIT_PREPARED 734: " TIME), NULL}),
        1);
    assert_int_equal(got.xid, 734);
    assert_string_equal(got.committed, TIME);
    assert_true(got.prepared);
    assert_rows(16385, 1, 0, 0);
    assert_rows(16390, 0, 1, 0);
    waldump_free(w);
}

static void
test_waldump_prepared_and_waiting(void **state)
{
    struct waldump *w = waldump_new(0x3000000, 0);

    (void)state;
    assert_int_equal(
        feed(w,
             (const char *const[]){
                 HEAP("Heap       ", 730, "0/02FFF198", "INSERT off 14 flags 0x00", 16385),
                 XACT(730, "0/02FFF370", "PREPARE gid both have it: " TIME),
                 HEAP("Heap       ", 740, "0/0302F198", "INSERT off 14 flags 0x00", 16385),
                 HEAP("Heap       ", 741, "0/0302F1D8", "INSERT off 15 flags 0x00", 16390),
                 HEAP("Heap       ", 742, "0/0302F218", "INSERT off 16 flags 0x00", 16390),
                 XACT(742, "0/0302F300", "ABORT " TIME),
                 XACT(740, "0/0302F370",
                      "PREPARE gid a: b: " TIME "; rels(commit): base/5/77; subxacts: 741"),
                 HEAP("Heap       ", 735, "0/0302F198", "INSERT off 14 flags 0x00", 16385),
                 XACT(735, "0/0302F370", "PREPARE gid early: " TIME),
                 XACT(736, "0/0302F370", "PREPARE gid given up: " TIME),
                 XACT(0, "0/0302F4E8", "ABORT_PREPARED 736: " TIME),
                 XACT(737, "0/0302F370", "PREPARE gid done: " TIME),
                 XACT(0, "0/0302F4E8", "COMMIT_PREPARED 737: " TIME), NULL}),
        1);
    assert_int_equal(got.xid, 737);
    assert_int_equal(waldump_waiting(w, 0, &got), 1);
    assert_int_equal(got.xid, 735);
    assert_string_equal(got.gid, "early");
    assert_int_equal(waldump_waiting(w, 735, &got), 1);
    assert_int_equal(got.xid, 740);
    assert_string_equal(got.gid, "a: b");
    assert_string_equal(got.committed, TIME);
    assert_rows(16385, 1, 0, 0);
    assert_rows(16390, 1, 0, 0);
    assert_true(rows_in(77)->replaced);
    assert_int_equal(waldump_waiting(w, 740, &got), 0);
    waldump_free(w);
}

static void
test_waldump_drops_of_a_whole_schema(void **state)
{
    static char line[1 << 20];
    struct waldump *w = waldump_new(0x3000000, 0);
    size_t used = (size_t)snprintf(line, sizeof line, "%s",
                                   XACT(731, "0/0302F058", "COMMIT " TIME "; rels:"));

    (void)state;
    for (int i = 0; i < 20000; i++)
        used += (size_t)snprintf(line + used, sizeof line - used, " base/5/%d", 16384 + i);
    assert_int_equal(waldump_line(w, line, &got), 1);
    assert_int_equal(got.count, 20000);
    assert_false(got.partial);
    assert_true(rows_in(16384)->replaced);
    assert_true(rows_in(16384 + 19999)->replaced);
    assert_int_equal(waldump_line(w, XACT(732, "0/0302F059", "COMMIT " TIME), &got), 1);
    assert_int_equal(got.count, 0);
    waldump_free(w);
}

static void
test_waldump_rows_of_each_kind(void **state)
{
    struct waldump *w = waldump_new(0x3000000, 0);

    (void)state;
    assert_int_equal(
        feed(
            w,
            (const char *const[]){
                HEAP("Heap       ", 9, "0/03030001", "INSERT+INIT off 1 flags 0x00", 1),
                HEAP("Heap2      ", 9, "0/03030002", "MULTI_INSERT 174 tuples flags 0x00", 1),
                HEAP("Heap2      ", 9, "0/03030003", "MULTI_INSERT+INIT 26 tuples flags 0x02", 1),
                HEAP("Heap       ", 9, "0/03030004",
                     "HOT_UPDATE off 1 xmax 9 flags 0x60 ; new off 8", 1),
                HEAP("Heap       ", 9, "0/03030005", "DELETE off 5 flags 0x00 KEYS_UPDATED ", 1),
                HEAP("Heap       ", 9, "0/03030006", "LOCK off 16: xid 9: flags 0x00 LOCK_ONLY", 1),
                HEAP("Heap       ", 9, "0/03030007", "INSERT off 16 flags 0x04", 2),
                HEAP("Heap       ", 9, "0/03030008", "DELETE off 16 flags 0x08 ", 2),
                HEAP("Heap2      ", 9, "0/03030009",
                     "MULTI_INSERT ntuples: 61, flags: 0x02, offsets: [1, 2]", 3),
                HEAP("Heap       ", 9, "0/0303000A",
                     "DELETE xmax: 9, off: 1, infobits: [KEYS_UPDATED], flags: 0x00", 3),
                HEAP("Heap       ", 9, "0/0303000B", "INSERT off: 2, flags: 0x04", 4),
                HEAP("Heap       ", 9, "0/0303000C",
                     "DELETE xmax: 9, off: 1, infobits: [], flags: 0x08", 4),
                "rmgr: Btree       len (rec/tot):     64/    64, tx:          9, lsn: 0/0303000D, "
                "prev 0/0, desc: INSERT_LEAF off 1, blkref #0: rel 1663/5/7 blk 1",
                XACT(9, "0/03031018",
                     "COMMIT " TIME
                     "; rels: base/5/11 base/5/t3_12 pg_tblspc/13/PG_15_202209061/5/14; inval "
                     "msgs: relcache 1"),
                NULL}),
        1);
    assert_int_equal(got.count, 6);
    assert_rows(1, 201, 1, 1);
    assert_rows(2, 0, 0, 0);
    assert_rows(3, 61, 0, 1);
    assert_rows(4, 0, 0, 0);
    assert_true(rows_in(11)->replaced);
    assert_true(rows_in(14)->replaced);
    assert_int_equal(rows_in(14)->file.space, 13);
    waldump_free(w);
}

static void
test_waldump_before_the_fork(void **state)
{
    struct waldump *w = waldump_new(0x3030000, 0);

    (void)state;
    assert_int_equal(
        feed(w, (const char *const[]){HEAP("Heap       ", 5, "0/03000001", "INSERT off 1", 1),
                                      HEAP("Heap       ", 6, "0/03000002", "INSERT off 1", 1),
                                      XACT(5, "0/03000003", "COMMIT " TIME),
                                      HEAP("Heap       ", 6, "0/03030000", "INSERT off 1", 1),
                                      XACT(6, "0/03030010", "COMMIT " TIME), NULL}),
        1);
    assert_int_equal(got.xid, 6);
    assert_rows(1, 2, 0, 0);
    waldump_free(w);
}

static void
test_waldump_tells_unknown_beginnings(void **state)
{
    struct waldump *w = waldump_new(0x3000000, 100);

    (void)state;
    assert_int_equal(feed(w, (const char *const[]){XACT(99, "0/03000003", "COMMIT " TIME), NULL}),
                     1);
    assert_true(got.partial);
    assert_int_equal(feed(w, (const char *const[]){XACT(100, "0/03000013", "COMMIT " TIME), NULL}),
                     1);
    assert_false(got.partial);
    waldump_free(w);
}

static void
test_waldump_running_transactions(void **state)
{
    uint32_t next, oldest;
    lsn_t lsn;

    (void)state;
    assert_true(waldump_running(
        "rmgr: Standby     len (rec/tot):     54/    54, tx:          0, lsn: 0/04000028, prev "
        "0/03038D80, desc: RUNNING_XACTS nextXid 746 latestCompletedXid 745 oldestRunningXid 729; "
        "1 xacts: 729",
        &lsn, &next, &oldest));
    assert_int_equal(lsn, 0x4000028);
    assert_int_equal(next, 746);
    assert_int_equal(oldest, 729);
    assert_false(waldump_running(XACT(99, "0/03000003", "COMMIT " TIME), &lsn, &next, &oldest));
    assert_true(xid_before(0xFFFFFFF0u, 5));
    assert_false(xid_before(5, 5));
}

/* Every beginning of every line is survived. */
static void
test_waldump_torn_lines(void **state)
{
    static const char *const lines[] = {
        HEAP("Heap2      ", 9, "0/03030003", "MULTI_INSERT+INIT 26 tuples flags 0x02", 1),
        HEAP("Heap       ", 9, "0/03030008", "DELETE off 16 flags 0x08 ", 2),
        XACT(9, "0/03031018", "COMMIT " TIME "; rels: base/5/11; subxacts: 10 11"),
        XACT(0, "0/03031019", "COMMIT_PREPARED 9: " TIME)};
    struct waldump *w = waldump_new(0, 0);
    char torn[512];

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        for (size_t n = 0; n <= strlen(lines[i]); n++) {
            snprintf(torn, sizeof torn, "%.*s", (int)n, lines[i]);
            assert_true(waldump_line(w, torn, &got) >= 0);
        }
    waldump_free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waldump_commit_with_subtransactions),
        cmocka_unit_test(test_waldump_abort_is_not_listed),
        cmocka_unit_test(test_waldump_commit_prepared),
        cmocka_unit_test(test_waldump_prepared_and_waiting),
        cmocka_unit_test(test_waldump_drops_of_a_whole_schema),
        cmocka_unit_test(test_waldump_rows_of_each_kind),
        cmocka_unit_test(test_waldump_before_the_fork),
        cmocka_unit_test(test_waldump_tells_unknown_beginnings),
        cmocka_unit_test(test_waldump_running_transactions),
        cmocka_unit_test(test_waldump_torn_lines),
    };

    return cmocka_run_group_tests_name("waldump", tests, NULL, NULL);
}

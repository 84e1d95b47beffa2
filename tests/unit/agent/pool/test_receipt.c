/* SPDX-License-Identifier: PostgreSQL */
/* receipt: what a failover has cost, on disk. */
#include "unit/unit.h"

#include "base/fail.h"
#include "pool/receipt.h"

#include <stdio.h>
#include <stdlib.h>

static char spool[] = "/tmp/walferry-test-receipt-XXXXXX";

static int
setup(void **state)
{
    (void)state;
    return mkdtemp(spool) == NULL;
}

static int
teardown(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -r %s", spool);
    return system(command);
}

static void
save(int epoch, int listed)
{
    json_t *list = json_array(), *receipt;

    for (int i = 0; i < listed; i++)
        json_array_append_new(list, json_pack("{s:i}", "xid", i));
    receipt = json_pack("{s:i s:b s:o}", "epoch", epoch, "exact", 1, "listed", list);
    assert_int_equal(receipt_save(spool, receipt), 0);
    assert_int_equal(json_array_size(json_object_get(receipt, "listed")), listed);
    json_decref(receipt);
}

static size_t
listed(const json_t *all, size_t i)
{
    return json_array_size(json_object_get(json_array_get(all, i), "listed"));
}

static json_int_t
epoch(const json_t *all, size_t i)
{
    return json_integer_value(json_object_get(json_array_get(all, i), "epoch"));
}

static void
test_receipt_none_yet(void **state)
{
    json_t *all;

    (void)state;
    assert_int_equal(receipt_load(spool, UINT64_MAX, &all), 0);
    assert_int_equal(json_array_size(all), 0);
    json_decref(all);
}

static void
test_receipt_oldest_first(void **state)
{
    json_t *all;

    (void)state;
    save(10, 1);
    save(2, 3);
    save(3, 0);
    assert_int_equal(receipt_load(spool, UINT64_MAX, &all), 0);
    assert_int_equal(json_array_size(all), 3);
    assert_int_equal(epoch(all, 0), 2);
    assert_int_equal(epoch(all, 1), 3);
    assert_int_equal(epoch(all, 2), 10);
    assert_int_equal(listed(all, 0), 3);
    assert_int_equal(listed(all, 2), 1);
    json_decref(all);
}

/* An agent reads no more than so much; everything else of a receipt is there. */
static void
test_receipt_long_list_stays_out(void **state)
{
    json_t *all;

    (void)state;
    save(11, 1000);
    assert_int_equal(receipt_load(spool, 200, &all), 0);
    assert_int_equal(json_array_size(all), 4);
    assert_int_equal(epoch(all, 3), 11);
    assert_int_equal(listed(all, 3), 0);
    assert_int_equal(listed(all, 2), 1);
    assert_true(json_is_true(json_object_get(json_array_get(all, 3), "exact")));
    json_decref(all);
}

static void
test_receipt_newest_are_shown(void **state)
{
    json_t *all;

    (void)state;
    for (int i = 0; i < RECEIPTS_MAX; i++)
        save(100 + i, 0);
    assert_int_equal(receipt_load(spool, 0, &all), 0);
    assert_int_equal(json_array_size(all), RECEIPTS_MAX);
    assert_int_equal(epoch(all, 0), 100);
    json_decref(all);
}

/* Of one epoch, one fork and one moment: each is there, in the order in which they were written. */
static void
test_receipt_none_is_replaced(void **state)
{
    json_t *all;

    (void)state;
    for (int i = 0; i < 3; i++) {
        json_t *receipt =
            json_pack("{s:i s:i s:s s:s s:[{s:i}]}", "epoch", 1000, "timeline", 3, "fork",
                      i == 1 ? "0/9000000" : "16/B374D848", "former", "dc1-a", "listed", "xid", i);

        assert_int_equal(receipt_save(spool, receipt), 0);
        json_decref(receipt);
    }
    assert_int_equal(receipt_load(spool, UINT64_MAX, &all), 0);
    assert_int_equal(json_array_size(all), RECEIPTS_MAX);
    for (size_t i = 0; i < 3; i++) {
        const json_t *receipt = json_array_get(all, RECEIPTS_MAX - 3 + i);
        const json_t *first = json_array_get(json_object_get(receipt, "listed"), 0);

        assert_int_equal(json_integer_value(json_object_get(receipt, "epoch")), 1000);
        assert_int_equal(json_integer_value(json_object_get(first, "xid")), i);
    }
    json_decref(all);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_receipt_none_yet),
        cmocka_unit_test(test_receipt_oldest_first),
        cmocka_unit_test(test_receipt_long_list_stays_out),
        cmocka_unit_test(test_receipt_newest_are_shown),
        cmocka_unit_test(test_receipt_none_is_replaced),
    };

    return cmocka_run_group_tests_name("receipt", tests, setup, teardown);
}

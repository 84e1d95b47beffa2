/* SPDX-License-Identifier: PostgreSQL */
/* receipt: what a failover has cost, on disk. */
#include "unit/unit.h"

#include "base/fail.h"
#include "pool/receipt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    assert_non_null(strstr(json_string_value(json_object_get(json_array_get(all, 3), "list_file")),
                           "/lost/11-"));
    assert_int_equal(listed(all, 2), 1);
    assert_null(json_object_get(json_array_get(all, 2), "list_file"));
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

static void
adopt(struct pool *p, uint64_t number, const char *member)
{
    struct epoch_origin o = {.epoch = {.number = number}};

    snprintf(o.epoch.member, sizeof o.epoch.member, "%s", member);
    pool_adopt(p, &o, (int64_t)number * 1000000);
}

/* Killed before it was written: it is made of what pool.state has, once. */
static void
test_receipt_of_a_failover_is_made_once(void **state)
{
    static char empty[] = "/tmp/walferry-test-receipt-XXXXXX";
    const char *fresh = mkdtemp(empty);
    struct pool p = {0};
    json_t *all, *receipt;
    char command[128];

    (void)state;
    assert_non_null(fresh);
    assert_int_equal(receipt_save_failover(fresh, &p), 0);
    adopt(&p, 1, "dc1-a");
    adopt(&p, 2, "dc2-a");
    assert_int_equal(receipt_save_failover(fresh, &p), 0); /* it was made elsewhere */
    snprintf(p.loss, sizeof p.loss, "at most what was committed in the last 2 s");
    p.loss_since_us = 1999999;
    assert_int_equal(receipt_save_failover(fresh, &p), 0);
    assert_int_equal(receipt_save_failover(fresh, &p), 0);
    assert_int_equal(receipt_load(fresh, 0, &all), 0);
    assert_int_equal(json_array_size(all), 1);
    receipt = json_array_get(all, 0);
    assert_int_equal(epoch(all, 0), 2);
    assert_string_equal(json_string_value(json_object_get(receipt, "primary")), "dc2-a");
    assert_string_equal(json_string_value(json_object_get(receipt, "former")), "dc1-a");
    assert_string_equal(json_string_value(json_object_get(receipt, "began")),
                        "1970-01-01 00:00:02.000 UTC");
    assert_string_equal(json_string_value(json_object_get(receipt, "at_most")), p.loss);
    assert_int_equal(json_integer_value(json_object_get(receipt, "at_most_since_us")), 1999999);
    json_decref(all);
    snprintf(command, sizeof command, "rm -r %s", fresh);
    assert_int_equal(system(command), 0);
}

/* What is missing is told again by a failover that was killed behind its receipt, and by no other. */
static void
test_receipt_of_what_is_missing_is_made_once(void **state)
{
    static char empty[] = "/tmp/walferry-test-receipt-XXXXXX";
    const char *const to[] = {"0/5000000", "0/5000000", "0/6000000"};
    const char *fresh = mkdtemp(empty);
    char command[128];
    json_t *all;

    (void)state;
    assert_non_null(fresh);
    for (int i = 0; i < 3; i++) {
        json_t *receipt = json_pack("{s:i s:s s:{s:s}}", "epoch", 2, "listed_at",
                                    i == 0 ? "then" : "now", "missing", "to", to[i]);

        assert_int_equal(receipt_save_once(fresh, receipt, "missing"), 0);
        json_decref(receipt);
    }
    assert_int_equal(receipt_load(fresh, 0, &all), 0);
    assert_int_equal(json_array_size(all), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(all, 0), "listed_at")),
                        "then");
    json_decref(all);
    snprintf(command, sizeof command, "rm -r %s", fresh);
    assert_int_equal(system(command), 0);
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
        cmocka_unit_test(test_receipt_of_a_failover_is_made_once),
        cmocka_unit_test(test_receipt_of_what_is_missing_is_made_once),
    };

    return cmocka_run_group_tests_name("receipt", tests, setup, teardown);
}

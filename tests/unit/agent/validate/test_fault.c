/* SPDX-License-Identifier: PostgreSQL */
/* fault: which minors do harm, alone and beside an older one. */
#include "unit/unit.h"

#include "validate/fault.h"

#include <string.h>

/* How many faults; the first one with `word` has to be mended in `mended`. */
static int
count(long version, long replays, const char *word, int mended)
{
    const struct fault *f;
    size_t n = 0;
    int at, found = 0, matched = 0;

    while ((f = fault_next(&n, version, replays, &at)) != NULL) {
        found++;
        assert_int_equal(f->replays_older, replays != 0);
        if (word == NULL || strstr(f->what, word) == NULL)
            continue;
        matched++;
        assert_int_equal(at, mended);
    }
    assert_int_equal(matched, word != NULL);
    return found;
}

static void
test_fault_newest_minors_have_none(void **state)
{
    static const long good[] = {150020, 160016, 170012, 180006, 150021, 180007};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(count(good[i], 0, NULL, 0), 0);
}

static void
test_fault_minors_before_november_2026(void **state)
{
    static const struct {
        long version;
        int mended;
    } bad[] = {{150019, 20}, {150000, 20}, {160015, 16}, {170011, 12}, {180000, 6}, {180005, 6}};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(count(bad[i].version, 0, "pg_dump", bad[i].mended), 2);
        assert_int_equal(count(bad[i].version, 0, "torn pg_control", bad[i].mended), 2);
    }
}

static void
test_fault_versions_without_support(void **state)
{
    (void)state;
    assert_int_equal(count(140025, 0, "no longer", FAULT_NEVER), 1);
    assert_int_equal(count(140024, 0, "pg_dump", 25), 3);
    assert_int_equal(count(130023, 0, "pg_dump", FAULT_NEVER), 3);
    assert_int_equal(count(130004, 0, "a crash left unfinished", 5), 4);
    assert_int_equal(count(140000, 0, "a crash left unfinished", 1), 4);
    assert_int_equal(count(130005, 0, "no longer", FAULT_NEVER), 3);
}

static void
test_fault_standby_of_an_older_primary(void **state)
{
    static const struct {
        long standby;
        int mended;
    } bad[] = {{140023, 24}, {150018, 19}, {160014, 15}};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        long version = bad[i].standby;

        assert_int_equal(count(version, version - 1, "deadlock", bad[i].mended), 1);
        assert_int_equal(count(version, version / 10000 * 10000, "deadlock", bad[i].mended), 1);
        assert_int_equal(count(version, version, NULL, 0), 0); /* the same, a newer one */
        assert_int_equal(count(version, version + 1, NULL, 0), 0);
        assert_int_equal(count(version, version - 10000, NULL, 0), 0); /* no WAL passes there */
        assert_int_equal(count(version - 1, version - 2, NULL, 0), 0);
        assert_int_equal(count(version + 1, version, NULL, 0), 0);
    }
    assert_int_equal(count(170010, 170009, NULL, 0), 0);
}

static void
test_fault_unknown_versions_have_none(void **state)
{
    static const long unknown[] = {0, -1, 120022, 190000, 2147483647};

    (void)state;
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        assert_int_equal(count(unknown[i], 0, NULL, 0), 0);
}

static void
test_fault_version_is_read(void **state)
{
    (void)state;
    assert_int_equal(fault_version("15.20 (Debian 15.20-0+deb12u1)"), 150020);
    assert_int_equal(fault_version("18.6"), 180006);
    assert_int_equal(fault_version("19rc1"), 0);
    assert_int_equal(fault_version("19beta2 (Debian 19~beta2-1)"), 0);
    assert_int_equal(fault_version(""), 0);
    assert_int_equal(fault_version("unknown"), 0);
    assert_int_equal(fault_version("99999999999999999999.1"), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fault_newest_minors_have_none),
        cmocka_unit_test(test_fault_minors_before_november_2026),
        cmocka_unit_test(test_fault_versions_without_support),
        cmocka_unit_test(test_fault_standby_of_an_older_primary),
        cmocka_unit_test(test_fault_unknown_versions_have_none),
        cmocka_unit_test(test_fault_version_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

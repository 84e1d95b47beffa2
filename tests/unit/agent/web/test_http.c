/* SPDX-License-Identifier: PostgreSQL */
/* http: by which names it may be asked. */
#include "unit/unit.h"

#include "web/http.h"

static const char names[] = "db1.example.org, status , other";

static void
test_http_knows_its_names(void **state)
{
    static const char *const good[] = {
        "127.0.0.1", "127.0.0.1:9788", "10.1.0.11:",       "[::1]",      "[::1]:9788",
        "::1",       "localhost",      "LocalHost:9788",   "localhost.", "db1.example.org",
        "status:80", "STATUS",         "DB1.Example.org.", "other:1",    "[fd00::1:2]:80",
    };
    static const char *const bad[] = {
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "db1.example.org.evil",
        "evil:9788",
        "stat",
        "status2",
        "db1.example",
        "[evil]",
        "[::1",
        "[::1]evil",
        "[status]",
        "127.0.0.1:80.evil",
        "127.0.0.1:evil",
        "status:80:80",
        ":80",
        "user@localhost",
        "localhost/",
        ",",
        ".",
        "2130706433",
        "0x7f.1",
        "status..",
        " status",
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!http_is_ours(good[i], names)) {
            print_error("%s is refused\n", good[i]);
            assert_true(false);
        }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (http_is_ours(bad[i], names)) {
            print_error("%s passes\n", bad[i]);
            assert_true(false);
        }
    assert_false(http_is_ours("status", ""));
    assert_true(http_is_ours("localhost", ""));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_http_knows_its_names)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

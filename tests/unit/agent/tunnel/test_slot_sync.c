/* SPDX-License-Identifier: PostgreSQL */
/* slot_sync: one role in one database, on a standby that is linked. */
#include "unit/unit.h"

#include "tunnel/slot_sync.h"

#include "base/fail.h"

#include <string.h>

static const struct config config = {
    .tunnel_user = "tunnel", .slot_sync_user = "sync", .slot_sync_database = "app"};
static const struct slot_sync standby = {.role = ROLE_STANDBY, .linked = true};
static const struct startup right = {.user = "sync", .dbname = "app"};

static void
test_slot_sync_leads_one_role_in_one_database(void **state)
{
    static const struct startup wrong[] = {{.user = "sync", .dbname = "postgres"},
                                           {.user = "sync", .dbname = "ap"},
                                           {.user = "sync"},
                                           {.user = "tunnel", .dbname = "app"},
                                           {.user = "walferry", .dbname = "app"},
                                           {.dbname = "app"},
                                           {.user = "sync", .dbname = "app", .replication = true}};
    static const struct config same = {.slot_sync_user = "sync", .slot_sync_database = "sync"};
    const char *sqlstate;

    (void)state;
    assert_int_equal(slot_sync_judge(&config, &standby, &right, &sqlstate), 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(slot_sync_judge(&config, &standby, &wrong[i], &sqlstate), ERR_PEER);
        assert_string_equal(sqlstate, "0A000");
        assert_non_null(strstr(fail_message(), "user=sync dbname=app in primary_conninfo"));
    }
    assert_int_equal(slot_sync_judge(&same, &standby, &wrong[2], &sqlstate), 0);
}

static void
test_slot_sync_waits_for_the_link_and_a_place(void **state)
{
    static const struct {
        struct slot_sync now;
        const char *sqlstate, *word;
    } cases[] = {
        {{.role = ROLE_STANDBY}, "57P03", "while the link from the primary is up"},
        {{.role = ROLE_PROMOTING, .linked = true}, "57P03", "the role here is promoting"},
        {{.role = ROLE_PRIMARY, .linked = true}, "57P03", "the role here is primary"},
        {{.role = ROLE_FENCED, .linked = true}, "57P03", "the role here is fenced"},
        {{.role = ROLE_STANDBY, .linked = true, .open = SLOT_SYNC_MAX}, "53300", "already"},
    };
    const char *sqlstate;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(slot_sync_judge(&config, &cases[i].now, &right, &sqlstate), ERR_PEER);
        assert_string_equal(sqlstate, cases[i].sqlstate);
        assert_non_null(strstr(fail_message(), cases[i].word));
        assert_int_equal(slot_sync_stays(&cases[i].now), cases[i].now.open == SLOT_SYNC_MAX);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slot_sync_leads_one_role_in_one_database),
        cmocka_unit_test(test_slot_sync_waits_for_the_link_and_a_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

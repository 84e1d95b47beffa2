/* SPDX-License-Identifier: PostgreSQL */
/* validate: what only shows when two members lie side by side, and the keys that may come in. */
#include "unit/unit.h"

#include "validate/subject.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- comparison ---- */

static const char healthy[] =
    "{'system_identifier': '7', 'major': 15, 'walferry': '0.1.0', 'config': 'aa', 'glibc': '2.36',"
    " 'settings': {'server_version': '15.4', 'max_connections': '100', 'max_worker_processes': '8',"
    "  'max_wal_senders': '10', 'max_prepared_transactions': '0', 'max_locks_per_transaction': '64',"
    "  'archive_mode': 'off', 'shared_preload_libraries': ''},"
    " 'tablespaces': {}, 'extensions': {'plpgsql': 'app'}, 'available': {'plpgsql': true}}";

static json_t *
parse(const char *text)
{
    char copy[2048];
    json_t *json;

    snprintf(copy, sizeof copy, "%s", text);
    for (char *s = copy; *s != '\0'; s++)
        if (*s == '\'')
            *s = '"';
    json = json_loads(copy, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    return json;
}

static json_t *
report(const char *name, const char *role)
{
    return json_pack("{s:s s:s s:[] s:o}", "member", name, "role", role, "checks", "facts",
                     parse(healthy));
}

/* Two members, the second with facts changed; `key` at the top, or in `settings`. */
static json_t *
two(const char *key, const char *value, bool of_primary)
{
    json_t *a = report("a", "primary"), *b = report("b", "standby");
    json_t *facts = json_object_get(of_primary ? a : b, "facts");
    json_t *settings = json_object_get(facts, "settings");

    if (key != NULL && json_object_get(settings, key) != NULL)
        json_object_set_new(settings, key, json_string(value));
    else if (key != NULL)
        json_object_set_new(facts, key, parse(value));
    a = json_pack("[o, o]", a, b);
    validate_compare(a);
    return a;
}

/* The results of member `index` for one check, as in "warn"; "" : none. The reason goes out. */
static const char *
find(const json_t *members, size_t index, const char *check, const char **ret_reason,
     const char **ret_remedy)
{
    const json_t *line;
    size_t i;

    json_array_foreach (json_object_get(json_array_get(members, index), "checks"), i, line) {
        if (strcmp(json_string_value(json_object_get(line, "check")), check) != 0)
            continue;
        *ret_reason = json_string_value(json_object_get(line, "reason"));
        *ret_remedy = json_string_value(json_object_get(line, "remedy"));
        return json_string_value(json_object_get(line, "result"));
    }
    return "";
}

static void
expect(json_t *members, size_t index, const char *check, const char *result, const char *word)
{
    const char *reason = "", *remedy = NULL;

    assert_string_equal(find(members, index, check, &reason, &remedy), result);
    if (word != NULL)
        assert_non_null(strstr(reason, word));
    if (result[0] != '\0' && strcmp(result, "ok") != 0)
        assert_non_null(remedy);
}

static void
test_compare_equal_members_have_one_good_line(void **state)
{
    json_t *members = two(NULL, NULL, false);

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(json_array_size(json_object_get(json_array_get(members, i), "checks")), 1);
        expect(members, i, "compared", "ok", NULL);
        assert_int_equal(validate_worst(json_array_get(members, i)), READY_OK);
    }
    json_decref(members);
}

static void
test_compare_capacity_blames_the_lower_one(void **state)
{
    static const char *const names[] = {"max_connections", "max_worker_processes",
                                        "max_wal_senders", "max_prepared_transactions",
                                        "max_locks_per_transaction"};

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        json_t *members = two(names[i], "1000", true); /* the primary has more */

        expect(members, 1, "capacity", "fail", names[i]);
        expect(members, 0, "capacity", "", NULL);
        assert_int_equal(validate_worst(json_array_get(members, 1)), READY_FAIL);
        json_decref(members);
        members = two(names[i], "1000", false); /* the standby has more: wrong when it is primary */
        expect(members, 0, "capacity", "warn", names[i]);
        expect(members, 1, "capacity", "", NULL);
        json_decref(members);
    }
}

static void
test_compare_installations(void **state)
{
    static const struct {
        const char *key, *value, *check, *result, *word;
    } cases[] = {
        {"system_identifier", "'8'", "same cluster", "fail", "8"},
        {"major", "16", "same version", "fail", "16"},
        {"server_version", "15.5", "same version", "warn", "15.5"},
        {"walferry", "'0.2.0'", "same version", "warn", "0.2.0"},
        {"config", "'bb'", "same config", "warn", "differs"},
        {"archive_mode", "on", "archive", "warn", "archive_mode"},
        {"shared_preload_libraries", "x", "libraries", "warn", "'x'"},
        {"tablespaces", "{'fast': '/ssd'}", "tablespaces", "fail", "/ssd"},
        {"extensions", "{'hstore': 'app'}", "extensions", "fail", "hstore"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *members = two(cases[i].key, cases[i].value, true);

        expect(members, 1, cases[i].check, cases[i].result, cases[i].word);
        json_decref(members);
    }
}

static void
test_compare_glibc_matters_where_text_is_sorted_by_it(void **state)
{
    json_t *members = two("glibc", "'2.41'", false);
    json_t *facts;

    (void)state;
    expect(members, 0, "same collations", "", NULL); /* all databases sort by bytes */
    facts = json_object_get(json_array_get(members, 0), "facts");
    json_object_set_new(facts, "sorts_by", json_string("de_DE.UTF-8"));
    validate_compare(members);
    expect(members, 0, "same collations", "warn", "2.41");
    expect(members, 1, "same collations", "warn", "2.36");
    json_decref(members);
}

static void
test_compare_what_is_unknown_is_said_and_not_judged(void **state)
{
    static const char *const facts[] = {
        "system_identifier", "major",       "walferry",   "config",   "glibc",
        "settings",          "tablespaces", "extensions", "available"};
    json_t *members;

    (void)state;
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        members = json_pack("[o, o]", report("a", "primary"), report("b", "standby"));
        json_object_del(json_object_get(json_array_get(members, 1), "facts"), facts[i]);
        validate_compare(members);
        assert_int_equal(validate_worst(json_array_get(members, 0)), READY_OK);
        assert_int_equal(validate_worst(json_array_get(members, 1)), READY_OK);
        json_decref(members);
    }
    members = json_pack("[o, o]", report("a", "primary"), report("b", "unknown"));
    json_object_clear(json_object_get(json_array_get(members, 1), "facts"));
    validate_compare(members);
    expect(members, 0, "compared", "warn", "with b");
    json_decref(members);
}

static void
test_compare_a_standby_that_deadlocks_behind_an_older_primary(void **state)
{
    json_t *members = two("server_version", "15.18 (Debian 15.18-0+deb12u1)", false);
    const char *reason = "", *remedy = "";
    json_t *checks;

    (void)state; /* the line about different minors is the first one of the check */
    checks = json_object_get(json_array_get(members, 1), "checks");
    json_array_remove(checks, 0);
    assert_string_equal(find(members, 1, "same version", &reason, &remedy), "fail");
    assert_non_null(strstr(reason, "as a standby of a (15.4) can deadlock"));
    assert_non_null(strstr(remedy, "release notes of 15.19"));
    assert_int_equal(validate_worst(json_array_get(members, 0)), READY_WARN);
    json_decref(members);
    members = two("server_version", "15.18", true); /* as a primary it only may become one */
    checks = json_object_get(json_array_get(members, 0), "checks");
    json_array_remove(checks, 0);
    expect(members, 0, "same version", "warn", "as a standby of b");
    json_decref(members);
}

static void
test_compare_output_plugins(void **state)
{
    json_t *members = two("shared_preload_libraries", "", false);
    json_t *mine =
               json_object_get(json_object_get(json_array_get(members, 0), "facts"), "settings"),
           *other =
               json_object_get(json_object_get(json_array_get(members, 1), "facts"), "settings");

    (void)state;
    json_object_set_new(mine, "output_plugin_libraries", json_string("pgoutput, wal2json"));
    validate_compare(members); /* the other's minor has no such setting */
    assert_int_equal(validate_worst(json_array_get(members, 0)), READY_OK);
    json_object_set_new(other, "output_plugin_libraries", json_string("pgoutput"));
    validate_compare(members);
    expect(members, 1, "libraries", "warn", "'pgoutput, wal2json' on a");
    json_decref(members);
}

static void
test_versions(void **state)
{
    static const long wrong[] = {0, 120022, 190000, 200001},
                      right[] = {130005, 130023, 140001, 150000, 150020, 160001, 170009, 180006};

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_non_null(validate_version(wrong[i]));
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        assert_null(validate_version(right[i]));
}

/* ---- settings about slots ---- */

static struct config three = {.members = 3, .slot_retain_max_bytes = UINT64_C(8) << 30};

/* What member a of three says with one setting (name NULL: with "name=value,..."), as in "ow"; the
 * reasons and remedies go out. */
static void
slot_settings(const char *name, const char *value, char *ret_results, char ret_text[2048])
{
    struct validation v = {.config = &three,
                           .self = &three.member[0],
                           .checks = json_array(),
                           .check = "slot settings",
                           .settings = json_object()};
    json_t *line;
    size_t i;

    for (i = 0; i < 3; i++)
        snprintf(three.member[i].name, sizeof three.member[i].name, "%s",
                 (const char *[]){"a", "b-1", "c"}[i]);
    if (name != NULL) {
        json_object_set_new(v.settings, name, json_string(value));
    } else {
        char copy[512], *save, *one;

        snprintf(copy, sizeof copy, "%s", value);
        for (one = strtok_r(copy, ",", &save); one != NULL; one = strtok_r(NULL, ",", &save)) {
            char *equals = strchr(one, '=');

            *equals = '\0';
            json_object_set_new(v.settings, one, json_string(equals + 1));
        }
    }
    validate_slot_settings(&v);
    ret_results[0] = ret_text[0] = '\0';
    json_array_foreach (v.checks, i, line) {
        const char *remedy = json_string_value(json_object_get(line, "remedy"));

        strncat(ret_results, json_string_value(json_object_get(line, "result")), 1);
        snprintf(ret_text + strlen(ret_text), 2048 - strlen(ret_text), "%s|%s\n",
                 json_string_value(json_object_get(line, "reason")), remedy != NULL ? remedy : "");
    }
    json_decref(v.checks);
    json_decref(v.settings);
}

static void
test_slot_settings(void **state)
{
    static const struct {
        const char *name, *value, *results, *word;
    } cases[] = {
        {"none", "", "o", "no setting"},
        {"idle_replication_slot_timeout", "0", "o", "no setting"},
        {"idle_replication_slot_timeout", "3600", "w", "is 3600 s: a line that is cut for longer"},
        {"max_slot_wal_keep_size", "-1", "o", "no setting"},
        {"max_slot_wal_keep_size", "8192", "o", "no setting"},
        {"max_slot_wal_keep_size", "1024", "w", "is 1.0 GB, less than slot_retain_max (8.0 GB)"},
        {"synchronized_standby_slots", "", "o", "no setting"},
        {"synchronized_standby_slots", "walferry_b_1", "o", "no setting"},
        {"synchronized_standby_slots", "walferry_c, \"walferry_b_1\"", "o", "no setting"},
        {"synchronized_standby_slots", "walferry_a", "w",
         "names walferry_a, which is the slot of no other member"},
        {"synchronized_standby_slots", "walferry_c,standby1 , other", "w",
         "names standby1, other, which"},
        {"synchronized_standby_slots", "x", "w", " = walferry_b_1, walferry_c, and select"},
    };
    char results[16], text[2048];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        slot_settings(cases[i].name, cases[i].value, results, text);
        assert_string_equal(results, cases[i].results);
        assert_non_null(strstr(text, cases[i].word));
    }
}

/* Settings of a standby, as in "a=1,b=2"; a line for each that synchronization lacks. */
static void
test_slot_settings_of_a_standby_that_synchronizes(void **state)
{
#define RIGHT "primary_conninfo=host=/run user=sync dbname=app,"
    static const struct {
        const char *settings, *results, *word;
    } cases[] = {
        {"hot_standby_feedback=off", "o", "no setting"},
        {"sync_replication_slots=on," RIGHT "primary_slot_name=walferry_a,hot_standby_feedback=on",
         "o", "no setting"},
        {"sync_replication_slots=on," RIGHT "primary_slot_name=walferry_a,hot_standby_feedback=off",
         "w", "hot_standby_feedback is not"},
        {"sync_replication_slots=on," RIGHT "primary_slot_name=,hot_standby_feedback=on", "w",
         "set primary_slot_name = 'walferry_a'"},
        {"sync_replication_slots=on,primary_conninfo=host=/run,primary_slot_name=walferry_a,"
         "hot_standby_feedback=on",
         "w", "set primary_conninfo = 'host=/run port=5432 user=sync dbname=app'"},
        {"sync_replication_slots=on", "www", "user=sync dbname=app"},
    };
    char results[16], text[2048];

    (void)state;
    strcpy(three.slot_sync_user, "sync");
    strcpy(three.slot_sync_database, "app");
    strcpy(three.member[0].run, "/run");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        slot_settings(NULL, cases[i].settings, results, text);
        assert_string_equal(results, cases[i].results);
        assert_non_null(strstr(text, cases[i].word));
    }
}

static void
test_compare_slots_blames_the_standby_without_one(void **state)
{
    static const struct {
        const char *failover, *synced, *result;
    } cases[] = {{"['s', 't']", "['t', 's', 'u']", ""},
                 {"['s', 't']", "['s']", "warn"},
                 {"[]", "[]", ""},
                 {"['s']", "null", ""}}; /* not told */

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *a = report("a", "primary"), *b = report("b", "standby"), *members;

        json_object_set_new(json_object_get(a, "facts"), "failover_slots",
                            parse(cases[i].failover));
        if (strcmp(cases[i].synced, "null") != 0)
            json_object_set_new(json_object_get(b, "facts"), "synced_slots",
                                parse(cases[i].synced));
        members = json_pack("[o, o]", a, b);
        validate_compare(members);
        expect(members, 1, "logical slots", cases[i].result,
               cases[i].result[0] != '\0' ? "logical slot t of a is not synchronized here" : NULL);
        expect(members, 0, "logical slots", "", NULL);
        json_decref(members);
    }
}

/* ---- authorized_keys ---- */

static void
keys(const char *text, json_t **ret_checks)
{
    static struct config config;
    struct validation v = {.config = &config, .checks = json_array(), .check = "keys"};
    char path[] = "/tmp/walferry-test-keys-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    config = (struct config){.file = "/p.ini", .members = 3};
    for (size_t i = 0; i < 3; i++)
        snprintf(config.member[i].name, sizeof config.member[i].name, "%s",
                 (const char *[]){"a", "b", "b-2"}[i]);
    v.self = &config.member[0];
    validate_keys(&v, path);
    unlink(path);
    *ret_checks = v.checks;
}

#define COMMAND(member, from)                                                                      \
    "command=\"/usr/bin/walferry receive --config /p.ini --member " member " --from " from         \
    "\" ssh-ed25519 AAAA\n"

static void
expect_keys(const char *text, const char *results, const char *word)
{
    char got[64] = "", reasons[1024] = "";
    json_t *checks, *line;
    size_t i;

    keys(text, &checks);
    json_array_foreach (checks, i, line) {
        const char *reason = json_string_value(json_object_get(line, "reason"));

        strncat(got, json_string_value(json_object_get(line, "result")), 1);
        snprintf(reasons + strlen(reasons), sizeof reasons - strlen(reasons), "%s\n", reason);
    }
    assert_string_equal(got, results);
    assert_non_null(strstr(reasons, word));
    json_decref(checks);
}

static void
test_keys(void **state)
{
    (void)state;
    expect_keys("", "o", "no line of this pool");
    expect_keys("ssh-ed25519 AAAA somebody\n", "o", "no line of this pool");
    expect_keys("restrict," COMMAND("a", "b") "restrict," COMMAND("a", "b-2"), "oo",
                "binds the key of b-2");
    expect_keys("restrict," COMMAND("a", "b"), "of", "no line for b-2");
    expect_keys("restrict," COMMAND("a", "b-2"), "fo", "no line for b\n");
    expect_keys(COMMAND("a", "b") "restrict," COMMAND("a", "b-2"), "ffo", "restrict");
    expect_keys("restrict," COMMAND("b", "b-2") "restrict," COMMAND("a", "b"), "fof",
                "another --member");
    expect_keys("restrict," COMMAND("a", "c") "restrict," COMMAND("a", "b"), "fof",
                "without another member");
    expect_keys("# restrict," COMMAND("a", "b"), "o", "no line of this pool");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare_equal_members_have_one_good_line),
        cmocka_unit_test(test_compare_capacity_blames_the_lower_one),
        cmocka_unit_test(test_compare_installations),
        cmocka_unit_test(test_compare_glibc_matters_where_text_is_sorted_by_it),
        cmocka_unit_test(test_compare_what_is_unknown_is_said_and_not_judged),
        cmocka_unit_test(test_compare_a_standby_that_deadlocks_behind_an_older_primary),
        cmocka_unit_test(test_compare_output_plugins),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_slot_settings),
        cmocka_unit_test(test_slot_settings_of_a_standby_that_synchronizes),
        cmocka_unit_test(test_compare_slots_blames_the_standby_without_one),
        cmocka_unit_test(test_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

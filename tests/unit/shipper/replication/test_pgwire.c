/* SPDX-License-Identifier: PostgreSQL */
/* pgwire: good samples, every truncation of them, one bad value per field; every answer's bytes. */
#include "unit/unit.h"

#include "base/fail.h"
#include "shipper/replication/pgwire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define give_up(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

static struct buf in, out;

static int
setup(void **state)
{
    (void)state;
    return buf_init(&in, PGWIRE_MESSAGE_MAX) < 0 || buf_init(&out, 2 * PGWIRE_WAL_MAX) < 0 ? -1 : 0;
}

static int
teardown(void **state)
{
    (void)state;
    buf_release(&in);
    buf_release(&out);
    return 0;
}

static void
put_startup(uint32_t code, const char *parameters, size_t n)
{
    buf_clear(&in);
    buf_put_u32(&in, (uint32_t)(8 + n));
    buf_put_u32(&in, code);
    buf_put_bytes(&in, parameters, n);
}

static void
put_message(char type, const void *body, size_t n)
{
    buf_clear(&in);
    buf_put_u8(&in, (uint8_t)type);
    buf_put_u32(&in, (uint32_t)(4 + n));
    buf_put_bytes(&in, body, n);
}

/* ---- start-up ---- */

static const char walreceiver[] =
    "user\0postgres\0database\0replication\0replication\0true\0application_name\0sb2\0";

static void
test_pgwire_startup_of_a_walreceiver(void **state)
{
    struct startup s;

    (void)state;
    put_startup(3u << 16, walreceiver, sizeof walreceiver);
    assert_int_equal(pgwire_startup(&in, &s), 0);
    assert_int_equal(s.kind, STARTUP_SESSION);
    assert_int_equal(s.bytes, 8 + sizeof walreceiver);
    assert_true(s.replication);
    assert_false(s.newer);
    assert_string_equal(s.application_name, "sb2");
    assert_string_equal(s.user, "postgres");
}

static void
test_pgwire_startup_cut_short_waits(void **state)
{
    size_t all;

    (void)state;
    put_startup(3u << 16, walreceiver, sizeof walreceiver);
    all = in.end;
    for (in.end = 0; in.end < all; in.end++) {
        struct startup s;

        assert_int_equal(pgwire_startup(&in, &s), 0);
        assert_int_equal(s.kind, STARTUP_MORE);
        assert_int_equal(s.bytes, 0);
    }
}

static void
test_pgwire_startup_whose_parameters_are_cut_is_refused(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof walreceiver; n++) {
        struct startup s;

        put_startup(3u << 16, walreceiver, n);
        assert_int_equal(pgwire_startup(&in, &s), ERR_PEER);
    }
}

static void
test_pgwire_startup_knows_the_other_packets(void **state)
{
    static const struct {
        uint32_t code;
        size_t body;
        enum startup_kind kind;
    } cases[] = {
        {80877103, 0, STARTUP_SSL}, {80877104, 0, STARTUP_SSL}, {80877102, 8, STARTUP_CANCEL}};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct startup s;

        put_startup(cases[i].code, "12345678", cases[i].body);
        buf_put_u8(&in, 'x'); /* of what follows */
        assert_int_equal(pgwire_startup(&in, &s), 0);
        assert_int_equal(s.kind, cases[i].kind);
        assert_int_equal(s.bytes, 8 + cases[i].body);
    }
}

static void
test_pgwire_startup_refuses_what_is_none(void **state)
{
    static const uint32_t codes[] = {0, 2u << 16, 4u << 16, 0x47455420};
    struct startup s;

    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        put_startup(codes[i], "", 1);
        assert_int_equal(pgwire_startup(&in, &s), ERR_PEER);
    }
    buf_clear(&in);
    buf_put_u32(&in, 7);
    assert_int_equal(pgwire_startup(&in, &s), ERR_PEER); /* at once: nobody waits for its end */
    buf_clear(&in);
    buf_put_bytes(&in, "GET ", 4);
    assert_int_equal(pgwire_startup(&in, &s), ERR_PEER);
    put_startup(3u << 16, "\0x", 2);
    assert_int_equal(pgwire_startup(&in, &s), ERR_PEER);
}

static void
test_pgwire_startup_says_what_else_it_is(void **state)
{
    static const char other[] = "user\0me\0replication\0false\0";
    struct startup s;

    (void)state;
    put_startup((3u << 16) + 2, other, sizeof other);
    assert_int_equal(pgwire_startup(&in, &s), 0);
    assert_true(s.newer);
    assert_false(s.replication);
    assert_string_equal(s.application_name, "");
}

/* A later minor version, options of the protocol, or both: each that is not known is named. */
static void
test_pgwire_negotiates_what_is_newer(void **state)
{
    static const char options[] =
        "_pq_.command_tag\0on\0user\0me\0_pq_\0x\0_pq_.\0\0replication\0true\0";
    static const char plain[] = "user\0_pq_.no\0replication\0true\0";
    static const struct {
        uint32_t code;
        const char *parameters;
        size_t n;
        const char *answer;
        size_t length;
    } cases[] = {{3u << 16, options, sizeof options,
                  "v\0\0\0\43\0\3\0\0\0\0\0\2_pq_.command_tag\0_pq_.", 36},
                 {(3u << 16) + 9999, options, sizeof options,
                  "v\0\0\0\43\0\3\0\0\0\0\0\2_pq_.command_tag\0_pq_.", 36},
                 {(3u << 16) + 2, plain, sizeof plain, "v\0\0\0\14\0\3\0\0\0\0\0\0", 13},
                 {3u << 16, plain, sizeof plain, NULL, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct startup s;

        put_startup(cases[i].code, cases[i].parameters, cases[i].n);
        assert_int_equal(pgwire_startup(&in, &s), 0);
        assert_true(s.newer == (cases[i].answer != NULL) && s.replication);
        if (cases[i].answer == NULL)
            continue;
        buf_clear(&out);
        assert_int_equal(pgwire_put_negotiate(&out, &s), 0);
        assert_int_equal(buf_used(&out), cases[i].length);
        assert_memory_equal(buf_data(&out), cases[i].answer, cases[i].length);
    }
    buf_clear(&out);
}

/* ---- messages ---- */

static void
test_pgwire_message_and_its_truncations(void **state)
{
    struct pgwire_message m;
    size_t all;

    (void)state;
    put_message('Q', "IDENTIFY_SYSTEM", 16);
    all = in.end;
    for (in.end = 0; in.end < all; in.end++)
        assert_int_equal(pgwire_message(&in, &m), 0);
    assert_int_equal(pgwire_message(&in, &m), 1);
    assert_int_equal(m.type, 'Q');
    assert_int_equal(m.bytes, 21);
    assert_int_equal(m.length, 16);
    assert_memory_equal(m.body, "IDENTIFY_SYSTEM", 16);
}

static void
test_pgwire_message_is_bounded(void **state)
{
    static const uint32_t lengths[] = {0, 3, PGWIRE_MESSAGE_MAX, UINT32_MAX};
    struct pgwire_message m;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        buf_clear(&in);
        buf_put_u8(&in, 'Q');
        buf_put_u32(&in, lengths[i]);
        assert_int_equal(pgwire_message(&in, &m), ERR_PEER);
    }
    buf_clear(&in);
    buf_put_u8(&in, 'Q');
    buf_put_u32(&in, PGWIRE_MESSAGE_MAX - 1);
    assert_int_equal(pgwire_message(&in, &m), 0);
    assert_non_null(
        buf_reserve(&in, PGWIRE_MESSAGE_MAX - 5)); /* the longest one fits a buffer of that size */
}

static size_t
status_body(uint8_t *bytes)
{
    struct buf b = {.bytes = bytes, .size = 64};

    buf_put_u8(&b, 'r');
    buf_put_u64(&b, 0x5000100);
    buf_put_u64(&b, 0x5000080);
    buf_put_u64(&b, 0x5000010);
    buf_put_u64(&b, 848544577193433);
    buf_put_u8(&b, 1);
    return b.end;
}

static size_t
feedback_body(uint8_t *bytes)
{
    struct buf b = {.bytes = bytes, .size = 64};

    buf_put_u8(&b, 'h');
    buf_put_u64(&b, 848544577193433);
    buf_put_u32(&b, 724);
    buf_put_u32(&b, 3);
    buf_put_u32(&b, 0);
    buf_put_u32(&b, 3);
    return b.end;
}

static void
test_pgwire_status_of_a_standby(void **state)
{
    struct pgwire_status s;
    uint8_t body[64];

    (void)state;
    assert_int_equal(status_body(body), 34);
    assert_int_equal(pgwire_status(body, 34, &s), 0);
    assert_false(s.feedback);
    assert_true(s.write == 0x5000100 && s.flush == 0x5000080 && s.apply == 0x5000010);
    assert_true(s.reply_wanted);
}

static void
test_pgwire_status_feedback(void **state)
{
    struct pgwire_status s;
    uint8_t body[64];

    (void)state;
    assert_int_equal(feedback_body(body), 25);
    assert_int_equal(pgwire_status(body, 25, &s), 0);
    assert_true(s.feedback);
    assert_true(s.xmin == (UINT64_C(3) << 32 | 724));
    assert_true(s.catalog_xmin == 0); /* no xid: whatever its epoch */
}

static void
test_pgwire_status_of_another_size_or_kind_is_refused(void **state)
{
    struct pgwire_status s;
    uint8_t body[64] = {0};

    (void)state;
    status_body(body);
    for (size_t n = 0; n < 64; n++)
        if (n != 34)
            assert_int_equal(pgwire_status(body, n, &s), ERR_PEER);
    feedback_body(body);
    for (size_t n = 0; n < 64; n++)
        if (n != 25)
            assert_int_equal(pgwire_status(body, n, &s), ERR_PEER);
    body[0] = 'w';
    assert_int_equal(pgwire_status(body, 25, &s), ERR_PEER);
}

/* ---- commands ---- */

static void
test_pgwire_parse_understands(void **state)
{
    static const struct {
        const char *text;
        struct pgwire_command c;
    } cases[] = {
        {"IDENTIFY_SYSTEM", {.verb = VERB_IDENTIFY_SYSTEM}},
        {" identify_system ; ", {.verb = VERB_IDENTIFY_SYSTEM}},
        {"SHOW wal_segment_size", {.verb = VERB_SHOW, .name = "wal_segment_size"}},
        {"show data_directory_mode;", {.verb = VERB_SHOW, .name = "data_directory_mode"}},
        {"TIMELINE_HISTORY 2", {.verb = VERB_TIMELINE_HISTORY, .timeline = 2}},
        {"TIMELINE_HISTORY 4294967295", {.verb = VERB_TIMELINE_HISTORY, .timeline = UINT32_MAX}},
        {"START_REPLICATION 0/5000000", {.verb = VERB_START_REPLICATION, .lsn = 0x5000000}},
        {"START_REPLICATION 1/a TIMELINE 3;",
         {.verb = VERB_START_REPLICATION, .lsn = UINT64_C(0x10000000a), .timeline = 3}},
        {"START_REPLICATION PHYSICAL 0/1 TIMELINE 1",
         {.verb = VERB_START_REPLICATION, .lsn = 1, .timeline = 1}},
        {"START_REPLICATION SLOT \"agent\" 0/4000000 TIMELINE 1",
         {.verb = VERB_START_REPLICATION, .name = "agent", .lsn = 0x4000000, .timeline = 1}},
        {"start_replication slot agent physical 0/4000000 timeline 1",
         {.verb = VERB_START_REPLICATION, .name = "agent", .lsn = 0x4000000, .timeline = 1}},
        {"READ_REPLICATION_SLOT agent", {.verb = VERB_READ_SLOT, .name = "agent"}},
        {"READ_REPLICATION_SLOT \"agent\"", {.verb = VERB_READ_SLOT, .name = "agent"}},
        {"CREATE_REPLICATION_SLOT \"pg_walreceiver_4020\" TEMPORARY PHYSICAL (RESERVE_WAL)",
         {.verb = VERB_CREATE_SLOT,
          .name = "pg_walreceiver_4020",
          .temporary = true,
          .physical = true}},
        {"CREATE_REPLICATION_SLOT x TEMPORARY PHYSICAL RESERVE_WAL",
         {.verb = VERB_CREATE_SLOT, .name = "x", .temporary = true, .physical = true}},
        {"CREATE_REPLICATION_SLOT x PHYSICAL",
         {.verb = VERB_CREATE_SLOT, .name = "x", .physical = true}},
        {"CREATE_REPLICATION_SLOT x PHYSICAL(RESERVE_WAL true);",
         {.verb = VERB_CREATE_SLOT, .name = "x", .physical = true}},
        {"CREATE_REPLICATION_SLOT x LOGICAL pgoutput (SNAPSHOT 'nothing')",
         {.verb = VERB_CREATE_SLOT, .name = "x"}},
        {"DROP_REPLICATION_SLOT x", {.verb = VERB_DROP_SLOT, .name = "x"}},
        {"DROP_REPLICATION_SLOT \"x\" WAIT;", {.verb = VERB_DROP_SLOT, .name = "x"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct pgwire_command *want = &cases[i].c;
        struct pgwire_command c;

        if (!pgwire_parse(cases[i].text, &c) || c.verb != want->verb ||
            strcmp(c.name, want->name) != 0 || c.temporary != want->temporary ||
            c.physical != want->physical || c.timeline != want->timeline || c.lsn != want->lsn)
            give_up("not understood: %s", cases[i].text);
    }
}

static void
test_pgwire_parse_refuses(void **state)
{
    static const struct {
        const char *text;
        enum pgwire_verb verb;
    } cases[] = {
        {"", VERB_UNKNOWN},
        {" ;", VERB_UNKNOWN},
        {"SELECT 1", VERB_UNKNOWN},
        {"BASE_BACKUP", VERB_UNKNOWN},
        {"IDENTIFY_SYSTEMS", VERB_UNKNOWN},
        {"IDENTIFY_SYSTEM now", VERB_IDENTIFY_SYSTEM},
        {"IDENTIFY_SYSTEM;;", VERB_IDENTIFY_SYSTEM},
        {"IDENTIFY_SYSTEM; SHOW x", VERB_IDENTIFY_SYSTEM},
        {"SHOW", VERB_SHOW},
        {"SHOW a b", VERB_SHOW},
        {"SHOW \"a", VERB_SHOW},
        {"SHOW \"\"", VERB_SHOW},
        {"SHOW aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", VERB_SHOW},
        {"TIMELINE_HISTORY", VERB_TIMELINE_HISTORY},
        {"TIMELINE_HISTORY 0", VERB_TIMELINE_HISTORY},
        {"TIMELINE_HISTORY -1", VERB_TIMELINE_HISTORY},
        {"TIMELINE_HISTORY 4294967296", VERB_TIMELINE_HISTORY},
        {"TIMELINE_HISTORY 99999999999999999999999999", VERB_TIMELINE_HISTORY},
        {"TIMELINE_HISTORY 2x", VERB_TIMELINE_HISTORY},
        {"START_REPLICATION", VERB_START_REPLICATION},
        {"START_REPLICATION SLOT", VERB_START_REPLICATION},
        {"START_REPLICATION SLOT x", VERB_START_REPLICATION},
        {"START_REPLICATION 0x5", VERB_START_REPLICATION},
        {"START_REPLICATION 0/5 TIMELINE", VERB_START_REPLICATION},
        {"START_REPLICATION 0/5 TIMELINE 1 2", VERB_START_REPLICATION},
        {"START_REPLICATION SLOT x LOGICAL 0/5", VERB_START_REPLICATION},
        {"READ_REPLICATION_SLOT", VERB_READ_SLOT},
        {"CREATE_REPLICATION_SLOT x", VERB_CREATE_SLOT},
        {"CREATE_REPLICATION_SLOT x TEMPORARY", VERB_CREATE_SLOT},
        {"CREATE_REPLICATION_SLOT x PHYSICAL (RESERVE_WAL", VERB_CREATE_SLOT},
        {"CREATE_REPLICATION_SLOT x PHYSICAL (RESERVE_WAL) more", VERB_CREATE_SLOT},
        {"DROP_REPLICATION_SLOT", VERB_DROP_SLOT},
        {"DROP_REPLICATION_SLOT x NOW", VERB_DROP_SLOT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pgwire_command c;

        if (pgwire_parse(cases[i].text, &c) || c.verb != cases[i].verb)
            give_up("taken: %s", cases[i].text);
    }
}

/* ---- answers ---- */

static void
check_out(const char *bytes, size_t n)
{
    assert_int_equal(buf_used(&out), n);
    assert_memory_equal(buf_data(&out), bytes, n);
    buf_clear(&out);
}

#define CHECK_OUT(text) check_out(text, sizeof(text) - 1)

static void
test_pgwire_answers_of_fixed_bytes(void **state)
{
    (void)state;
    assert_int_equal(pgwire_put_ready(&out), 0);
    CHECK_OUT("Z\0\0\0\5I");
    assert_int_equal(pgwire_put_complete(&out, "SHOW"), 0);
    CHECK_OUT("C\0\0\0\11SHOW\0");
    assert_int_equal(pgwire_put_copy_both(&out), 0);
    CHECK_OUT("W\0\0\0\7\0\0\0");
    assert_int_equal(pgwire_put_copy_done(&out), 0);
    CHECK_OUT("c\0\0\0\4");
    assert_int_equal(pgwire_put_empty(&out), 0);
    CHECK_OUT("I\0\0\0\4");
    assert_int_equal(pgwire_put_error(&out, "ERROR", "58P01", "gone"), 0);
    CHECK_OUT("E\0\0\0\40SERROR\0VERROR\0C58P01\0Mgone\0\0");
    assert_int_equal(pgwire_put_keepalive(&out, 0x102, 946684800000003, true), 0);
    CHECK_OUT("d\0\0\0\26k\0\0\0\0\0\0\1\2\0\0\0\0\0\0\0\3\1");
}

static void
test_pgwire_authentication_ends_with_ready(void **state)
{
    static const char start[] = "R\0\0\0\10\0\0\0\0S\0\0\0\30server_version\00015.0\0";
    static const char end[] = "K\0\0\0\14\0\0\0\7\0\0\0\0Z\0\0\0\5I";

    (void)state;
    assert_int_equal(pgwire_put_authentication(&out, "15.0", 7), 0);
    assert_memory_equal(buf_data(&out), start, sizeof start - 1);
    assert_memory_equal(buf_data(&out) + buf_used(&out) - (sizeof end - 1), end, sizeof end - 1);
    buf_clear(&out);
}

static void
test_pgwire_row_of_text_and_null(void **state)
{
    struct pgwire_column columns[] = {
        {"a", OID_TEXT, "xy", 0}, {"b", OID_INT8, NULL, 0}, {"c", OID_INT4, "123", 1}};

    (void)state;
    assert_int_equal(pgwire_put_row(&out, columns, 3), 0);
    CHECK_OUT("T\0\0\0\102\0\3"
              "a\0\0\0\0\0\0\0\0\0\0\31\377\377\377\377\377\377\0\0"
              "b\0\0\0\0\0\0\0\0\0\0\24\0\10\377\377\377\377\0\0"
              "c\0\0\0\0\0\0\0\0\0\0\27\0\4\377\377\377\377\0\0"
              "D\0\0\0\25\0\3\0\0\0\2xy\377\377\377\377\0\0\0\0011");
}

static void
test_pgwire_wal_message(void **state)
{
    uint8_t *wal;

    (void)state;
    assert_true(pgwire_reserve_wal(&out, PGWIRE_WAL_MAX, &wal));
    memcpy(wal, "abc", 3);
    pgwire_commit_wal(&out, 3, 0x10, 0x20, 946684800000001);
    CHECK_OUT("d\0\0\0\40w\0\0\0\0\0\0\0\20\0\0\0\0\0\0\0\40\0\0\0\0\0\0\0\1abc");
}

/* Every answer, in a buffer that is one byte too short for it: ERR_AGAIN, nothing written. */
static int
put_answer(struct buf *b, int which)
{
    static const struct startup asks_for_more = {.options = 1,
                                                 .options_bytes = 7,
                                                 .parameters = (const uint8_t *)"_pq_.a\0b\0",
                                                 .parameters_bytes = 10};
    struct pgwire_column column = {"name", OID_TEXT, "value", 0};

    switch (which) {
    case 0:
        return pgwire_put_ready(b);
    case 1:
        return pgwire_put_authentication(b, "15.0", 1);
    case 2:
        return pgwire_put_error(b, "FATAL", "57P03", "not yet");
    case 3:
        return pgwire_put_complete(b, "SHOW");
    case 4:
        return pgwire_put_copy_both(b);
    case 5:
        return pgwire_put_copy_done(b);
    case 6:
        return pgwire_put_keepalive(b, 1, 1, false);
    case 7:
        return pgwire_put_row(b, &column, 1);
    case 8:
        return pgwire_put_empty(b);
    case 9:
        return pgwire_put_negotiate(b, &asks_for_more);
    }
    return 1;
}

static void
test_pgwire_answers_without_room_write_nothing(void **state)
{
    int which, code;

    (void)state;
    for (which = 0; (code = put_answer(&out, which)) == 0; which++) {
        uint8_t bytes[1024];
        struct buf tight = {.bytes = bytes, .size = buf_used(&out) - 1};

        assert_int_equal(put_answer(&tight, which), ERR_AGAIN);
        assert_int_equal(buf_used(&tight), 0);
        buf_clear(&out);
    }
    assert_int_equal(which, 10);
}

static void
test_pgwire_startup_reads_replication_and_names_as_postgresql_does(void **state)
{
    static const struct {
        const char *text; /* name=value */
        bool replication, database, renames;
    } cases[] = {
        {"replication=t", true, false, false},
        {"replication=Yes", true, false, false},
        {"replication=o", true, false, false},
        {"replication=", true, false, false},
        {"replication=database", true, true, false},
        {"replication=of", false, false, false},
        {"replication=F", false, false, false},
        {"replication=0", false, false, false},
        {"options=-c search_path=a", false, false, false},
        {"options=-c application_name=a", false, false, true},
        {"options=--application-NAME=a", false, false, true},
        {"options=-c appli\\cation\\_name=a", false, false, true},
        {"options=-c applicapplication_name=a", false, false, true},
    };
    static const char twice[] = "database\0a\0user\0u\0database\0app\0";
    struct startup s;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char parameters[128] = "";
        size_t n = strlen(cases[i].text) + 2;

        memcpy(parameters, cases[i].text, n - 2);
        *strchr(parameters, '=') = '\0';
        put_startup(3u << 16, parameters, n);
        assert_int_equal(pgwire_startup(&in, &s), 0);
        assert_int_equal(s.replication, cases[i].replication);
        assert_int_equal(s.database, cases[i].database);
        assert_int_equal(s.renames, cases[i].renames);
    }
    put_startup(3u << 16, "Application_Name\0me\0", 21);
    assert_int_equal(pgwire_startup(&in, &s), 0);
    assert_string_equal(s.application_name, "me");
    assert_string_equal(s.dbname, "");
    put_startup(3u << 16, twice, sizeof twice); /* the last one counts */
    assert_int_equal(pgwire_startup(&in, &s), 0);
    assert_string_equal(s.dbname, "app");
    assert_string_equal(s.user, "u");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pgwire_startup_of_a_walreceiver),
        cmocka_unit_test(test_pgwire_startup_cut_short_waits),
        cmocka_unit_test(test_pgwire_startup_reads_replication_and_names_as_postgresql_does),
        cmocka_unit_test(test_pgwire_startup_whose_parameters_are_cut_is_refused),
        cmocka_unit_test(test_pgwire_startup_knows_the_other_packets),
        cmocka_unit_test(test_pgwire_startup_refuses_what_is_none),
        cmocka_unit_test(test_pgwire_startup_says_what_else_it_is),
        cmocka_unit_test(test_pgwire_negotiates_what_is_newer),
        cmocka_unit_test(test_pgwire_message_and_its_truncations),
        cmocka_unit_test(test_pgwire_message_is_bounded),
        cmocka_unit_test(test_pgwire_status_of_a_standby),
        cmocka_unit_test(test_pgwire_status_feedback),
        cmocka_unit_test(test_pgwire_status_of_another_size_or_kind_is_refused),
        cmocka_unit_test(test_pgwire_parse_understands),
        cmocka_unit_test(test_pgwire_parse_refuses),
        cmocka_unit_test(test_pgwire_answers_of_fixed_bytes),
        cmocka_unit_test(test_pgwire_authentication_ends_with_ready),
        cmocka_unit_test(test_pgwire_row_of_text_and_null),
        cmocka_unit_test(test_pgwire_wal_message),
        cmocka_unit_test(test_pgwire_answers_without_room_write_nothing),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}

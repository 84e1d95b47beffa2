/* SPDX-License-Identifier: PostgreSQL */
/* gate: byte by byte, and all at once. */
#include "unit/unit.h"

#include "shipper/tunnel/gate.h"

#include <string.h>

#define SSL "\0\0\0\x08\x04\xd2\x16\x2f"
#define GSS "\0\0\0\x08\x04\xd2\x16\x30"
#define CANCEL                                                                                     \
    "\0\0\0\x10\x04\xd2\x16\x2e"                                                                   \
    "12345678"
#define STARTUP "\0\0\0\x13\0\3\0\0user\0dave\0\0"

static struct gate gate;

static void
fail_with(const char *what, const char *command)
{
    print_error("%s: %s: %s\n", what, command, gate.why);
    assert_true(false);
}

static int
make(void **state)
{
    (void)state;
    return gate_init(&gate);
}

static int
drop(void **state)
{
    (void)state;
    gate_release(&gate);
    return 0;
}

/* How much of it was taken, in pieces of `step`. */
static size_t
say(const void *bytes, size_t n, size_t step)
{
    uint8_t copy[64];
    size_t taken = 0;

    while (taken < n) {
        size_t size = n - taken < step ? n - taken : step;
        struct buf in = {.bytes = copy, .end = size, .size = sizeof copy};

        memcpy(copy, (const uint8_t *)bytes + taken, size);
        gate_take(&gate, &in);
        taken += size - buf_used(&in);
        if (buf_used(&in) > 0)
            break;
    }
    return taken;
}

static void
test_gate_holds_the_startup_until_it_is_opened(void **state)
{
    for (size_t step = 1; step < 32; step++) {
        static const char all[] = SSL GSS STARTUP "behind";

        drop(state);
        make(state);
        assert_int_equal(say(all, sizeof all - 1, step), sizeof all - 1);
        assert_int_equal(gate.state, GATE_ASKED);
        assert_int_equal(gate.encryptions, 2);
        assert_string_equal(gate.startup.user, "dave");
        assert_int_equal(gate_passed(&gate), 0);
        gate_open(&gate);
        assert_int_equal(gate_passed(&gate), sizeof STARTUP "behind" - 1);
        assert_memory_equal(buf_data(&gate.held), STARTUP "behind", gate_passed(&gate));
        gate_gone(&gate, gate_passed(&gate));
        assert_int_equal(say("more", 4, 4), 4);
        assert_int_equal(gate_passed(&gate), 4);
    }
}

static void
test_gate_is_asked_for_encryption_twice_and_no_more(void **state)
{
    (void)state;
    say(SSL SSL, 16, 16);
    assert_int_equal(gate.state, GATE_STARTUP);
    say(SSL, 8, 8);
    assert_int_equal(gate.state, GATE_REFUSED);
    assert_int_equal(gate.encryptions, 2);
    assert_non_null(strstr(gate.why, "again and again"));
    gate_open(&gate);
    assert_int_equal(say("more", 4, 4), 0);
    assert_int_equal(gate_passed(&gate), 0);
}

static void
test_gate_lets_no_cancel_through(void **state)
{
    (void)state;
    say(CANCEL STARTUP, sizeof CANCEL STARTUP - 1, 16);
    assert_int_equal(gate.state, GATE_CANCELS);
    gate_open(&gate);
    assert_int_equal(gate_passed(&gate), 0);
}

static void
test_gate_takes_no_more_than_it_holds(void **state)
{
    static uint8_t much[64];
    size_t taken = 0, n;

    (void)state;
    say(STARTUP, sizeof STARTUP - 1, 64);
    while ((n = say(much, sizeof much, sizeof much)) > 0)
        taken += n;
    assert_int_equal(taken, GATE_BYTES - (sizeof STARTUP - 1));
    gate_open(&gate);
    assert_int_equal(gate_passed(&gate), GATE_BYTES);
}

static void
test_gate_refuses_what_is_no_startup(void **state)
{
    (void)state;
    say("GET / HTTP/1.1", 14, 3);
    assert_int_equal(gate.state, GATE_REFUSED);
}

static void
open_for_replication(void)
{
    static const char startup[] = "\0\0\0\x24\0\3\0\0user\0dave\0replication\0true\0\0";

    gate_release(&gate);
    assert_int_equal(gate_init(&gate), 0);
    assert_int_equal(say(startup, sizeof startup - 1, 64), sizeof startup - 1);
    assert_int_equal(gate.state, GATE_ASKED);
    gate_open(&gate);
    gate_gone(&gate, gate_passed(&gate));
    assert_int_equal(buf_used(&gate.held), 0);
}

static void
message(char type, const void *body, uint32_t length, size_t step)
{
    uint8_t bytes[512] = {(uint8_t)type, 0, 0, (uint8_t)((length + 4) >> 8), (uint8_t)(length + 4)};

    memcpy(bytes + 5, body, length);
    say(bytes, 5 + length, step);
}

/* Also byte by byte: nothing of a command that is refused may have passed before its end. */
static bool
passes(const char *command)
{
    size_t length = strlen(command) + 1;
    bool first = false;

    for (size_t step = 1; step < 64; step += 21) {
        open_for_replication();
        message('Q', command, (uint32_t)length, step);
        if (gate.state == GATE_REFUSED)
            assert_true(gate_passed(&gate) == 0 && gate.why[0] != '\0');
        else
            assert_int_equal(gate_passed(&gate), 5 + length);
        if (step > 1)
            assert_int_equal(first, gate.state == GATE_OPEN);
        first = gate.state == GATE_OPEN;
    }
    return first;
}

static void
test_gate_lets_copies_and_physical_replication_pass(void **state)
{
    static const char *const good[] = {
        "IDENTIFY_SYSTEM",
        "SHOW wal_segment_size",
        "TIMELINE_HISTORY 3",
        "READ_REPLICATION_SLOT \"other\"",
        "BASE_BACKUP ( LABEL 'pg_basebackup base backup',  PROGRESS,  WAIT 0,  MANIFEST 'yes')",
        "BASE_BACKUP LABEL 'x' PROGRESS NOWAIT TABLESPACE_MAP",
        "UPLOAD_MANIFEST",
        "CREATE_REPLICATION_SLOT \"pg_basebackup_1234\" TEMPORARY PHYSICAL ( RESERVE_WAL)",
        "CREATE_REPLICATION_SLOT pg_basebackup_1234 TEMPORARY PHYSICAL RESERVE_WAL",
        "START_REPLICATION SLOT \"pg_basebackup_1234\" 0/2000000 TIMELINE 1",
        "START_REPLICATION 0/2000000 TIMELINE 1",
        "start_replication physical 0/2000000;",
    };
    static const char *const bad[] = {
        "",
        "select 1",
        "select pg_create_physical_replication_slot('a', true)",
        "CREATE_REPLICATION_SLOT \"mine\" PHYSICAL RESERVE_WAL",
        "CREATE_REPLICATION_SLOT \"pg_basebackup_1\" PHYSICAL RESERVE_WAL",
        "CREATE_REPLICATION_SLOT \"mine\" TEMPORARY PHYSICAL RESERVE_WAL",
        "CREATE_REPLICATION_SLOT \"pg_basebackup_1\" TEMPORARY LOGICAL pgoutput",
        "CREATE_REPLICATION_SLOT \"pg_basebackup_1\" TEMPORARY PHYSICAL; select 1",
        "DROP_REPLICATION_SLOT walferry_dc2_a",
        "ALTER_REPLICATION_SLOT walferry_dc2_a (FAILOVER)",
        "START_REPLICATION SLOT walferry_dc2_a PHYSICAL 0/2000000 TIMELINE 1",
        "START_REPLICATION SLOT \"pg_basebackup_1\" LOGICAL 0/0",
        "START_REPLICATION SLOT \"pg_basebackup_1\"\"x\" PHYSICAL 0/2000000",
        "START_REPLICATION SLOT \"pg_basebackup_1\" PHYSICAL 0/2000000 TIMELINE 1 x",
        "BASE_BACKUPS",
        "BASE_BACKUP$ (LABEL 'x')",
        "\fSTART_REPLICATION SLOT walferry_dc2_a PHYSICAL 0/2000000",
        "/* */ DROP_REPLICATION_SLOT walferry_dc2_a",
        "VACUUM",
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!passes(good[i]))
            fail_with("refused", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (passes(bad[i]))
            fail_with("passes", bad[i]);
}

static void
test_gate_lets_status_pass_and_no_feedback(void **state)
{
    (void)state;
    open_for_replication();
    message('d', "hello, a manifest", 17, 1); /* no feedback: nothing is streamed */
    message('Q', "START_REPLICATION 0/2000000", 28, 5);
    message('d', "r23456781234567812345678123456781", 34, 7);
    assert_int_equal(gate.state, GATE_OPEN);
    assert_int_equal(gate_passed(&gate), 22 + 33 + 39);
    message('d', "h2345678123412341234123412341234", 33, 7);
    assert_int_equal(gate.state, GATE_REFUSED);
    assert_int_equal(gate_passed(&gate), 22 + 33 + 39);
}

static void
test_gate_lets_only_some_messages_pass(void **state)
{
    (void)state;
    for (int type = 0; type < 256; type++) {
        open_for_replication();
        message((char)type, "SHOW a", 7, 64);
        assert_int_equal(gate.state == GATE_OPEN, type != 0 && strchr("QdcfXp", type) != NULL);
    }
    open_for_replication();
    say("Q\0\0\0\3", 5, 5);
    assert_int_equal(gate.state, GATE_REFUSED);
    open_for_replication();
    say("Q\0\1\0\0", 5, 5); /* longer than any command: not waited for */
    assert_int_equal(gate.state, GATE_REFUSED);
    open_for_replication();
    message('Q', "SHOW a\0DROP", 12, 64);
    assert_int_equal(gate.state, GATE_REFUSED);
}

/* A long message passes as it comes, and the one behind it is looked at. */
static void
test_gate_follows_a_message_longer_than_it_holds(void **state)
{
    static uint8_t much[64];
    size_t left = 100000 - 5;

    (void)state;
    open_for_replication();
    say("d\0\1\x86\x9f", 5, 5); /* 1 + 99,999 */
    while (left > 0) {
        size_t n = say(much, left < sizeof much ? left : sizeof much, 64);

        assert_true(n > 0);
        gate_gone(&gate, gate_passed(&gate));
        left -= n;
    }
    message('Q', "DROP_REPLICATION_SLOT a", 24, 64);
    assert_int_equal(gate.state, GATE_REFUSED);
    assert_int_equal(gate_passed(&gate), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_gate_holds_the_startup_until_it_is_opened, make, drop),
        cmocka_unit_test_setup_teardown(test_gate_is_asked_for_encryption_twice_and_no_more, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_gate_lets_no_cancel_through, make, drop),
        cmocka_unit_test_setup_teardown(test_gate_takes_no_more_than_it_holds, make, drop),
        cmocka_unit_test_setup_teardown(test_gate_refuses_what_is_no_startup, make, drop),
        cmocka_unit_test_setup_teardown(test_gate_lets_copies_and_physical_replication_pass, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_gate_lets_status_pass_and_no_feedback, make, drop),
        cmocka_unit_test_setup_teardown(test_gate_lets_only_some_messages_pass, make, drop),
        cmocka_unit_test_setup_teardown(test_gate_follows_a_message_longer_than_it_holds, make,
                                        drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* gate: byte by byte, and all at once. */
#include "unit.h"

#include "shipper/gate.h"

#include <string.h>

#define SSL "\0\0\0\x08\x04\xd2\x16\x2f"
#define GSS "\0\0\0\x08\x04\xd2\x16\x30"
#define CANCEL                                                                                     \
    "\0\0\0\x10\x04\xd2\x16\x2e"                                                                   \
    "12345678"
#define STARTUP "\0\0\0\x13\0\3\0\0user\0dave\0\0"

static struct gate gate;

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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

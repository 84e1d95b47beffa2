/*
 * fuzz_gate: any bytes at all from a client of a tunnel. The first byte: how many come at once, and
 * whether the socket behind it is slow.
 */
#include "shipper/gate.c"
#include "shipper/pgwire.c"

#include "base/fail.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t step = size > 0 ? 1 + (data[0] & 127) : 1, at = 1, before;
    bool slow = size > 0 && (data[0] & 128) != 0;
    struct gate g;

    if (gate_init(&g) < 0)
        return 0;
    while (at < size) {
        size_t n = size - at < step ? size - at : step;
        struct buf in = {.bytes = (uint8_t *)(uintptr_t)data + at, .end = n, .size = n};

        gate_take(&g, &in);
        assert(gate_passed(&g) <= buf_used(&g.held) && g.encryptions <= GATE_ENCRYPTIONS);
        assert(g.state == GATE_OPEN || g.state == GATE_REFUSED || gate_passed(&g) == 0);
        if (g.state == GATE_ASKED)
            gate_open(&g);
        before = gate_passed(&g);
        gate_gone(&g, slow && before > 0 ? 1 : before);
        if (buf_used(&in) == n && before == 0)
            break; /* it takes nothing more */
        at += n - buf_used(&in);
    }
    gate_release(&g);
    return 0;
}

/* SPDX-License-Identifier: PostgreSQL */
/*
 * fuzz_gate: any bytes at all from a client of a tunnel, in pieces. In whatever pieces they come,
 * what passes is the same, and it is a run of what came: nothing is added, nothing overtakes.
 */
#include "shipper/tunnel/gate.c"
#include "shipper/replication/pgwire.c"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct passed {
    uint8_t bytes[1 << 16];
    size_t n;
    enum gate_state state;
    unsigned encryptions;
};

static void
pass(struct passed *p, const uint8_t *data, size_t size, size_t piece)
{
    struct gate g;

    assert(gate_init(&g) == 0);
    p->n = 0;
    for (size_t at = 0, left = 0; at < size && left == 0; at += piece) {
        size_t n = size - at < piece ? size - at : piece, moved = n;
        struct buf in = {.bytes = (uint8_t *)(uintptr_t)data + at, .end = n, .size = n};

        for (left = n; left > 0 && moved > 0; left = buf_used(&in)) {
            gate_take(&g, &in);
            if (g.state == GATE_ASKED)
                gate_open(&g);
            moved = left - buf_used(&in) + gate_passed(&g);
            assert(gate_passed(&g) <= buf_used(&g.held) && p->n + gate_passed(&g) <= size);
            memcpy(p->bytes + p->n, buf_data(&g.held), gate_passed(&g));
            p->n += gate_passed(&g);
            gate_gone(&g, gate_passed(&g));
        } /* some left: it is closed, or a message is too long to be judged */
    }
    p->state = g.state;
    p->encryptions = g.encryptions;
    assert(p->encryptions <= GATE_ENCRYPTIONS && (g.state != GATE_REFUSED || g.why[0] != '\0'));
    gate_release(&g);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct passed whole, cut;

    if (size < 1 || size > sizeof whole.bytes)
        return 0;
    pass(&whole, data + 1, size - 1, size);
    pass(&cut, data + 1, size - 1, 1 + data[0] % 64u);
    assert(whole.state == cut.state && whole.encryptions == cut.encryptions);
    assert(whole.n == cut.n && memcmp(whole.bytes, cut.bytes, cut.n) == 0);
    assert(whole.n == 0 || memmem(data + 1, size - 1, whole.bytes, whole.n) != NULL);
    return 0;
}

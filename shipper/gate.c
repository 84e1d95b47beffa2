/* See gate.h. */
#include "shipper/gate.h"

#include "base/fail.h"

#include <stdio.h>

int
gate_init(struct gate *g)
{
    *g = (struct gate){.state = GATE_STARTUP};
    return buf_init(&g->held, GATE_BYTES);
}

void
gate_release(struct gate *g)
{
    buf_release(&g->held);
    *g = (struct gate){0};
}

/* fail_message() says why. What was judged before still goes. */
static void
refuse(struct gate *g)
{
    g->state = GATE_REFUSED;
    snprintf(g->why, sizeof g->why, "%s", fail_message());
}

static void
judge_startup(struct gate *g)
{
    while (g->state == GATE_STARTUP) {
        if (pgwire_startup(&g->held, &g->startup) < 0) {
            refuse(g);
            return;
        }
        switch (g->startup.kind) {
        case STARTUP_MORE:
            return;
        case STARTUP_SSL:
            if (g->encryptions == GATE_ENCRYPTIONS) {
                fail(ERR_PEER, "encryption was asked for again and again");
                refuse(g);
                return;
            }
            g->encryptions++;
            buf_consume(&g->held, g->startup.bytes);
            break;
        case STARTUP_CANCEL:
            g->state = GATE_CANCELS;
            break;
        case STARTUP_SESSION:
            g->state = GATE_ASKED;
            break;
        }
    }
}

void
gate_take(struct gate *g, struct buf *in)
{
    size_t room = buf_room(&g->held), n = buf_used(in) < room ? buf_used(in) : room;

    if (g->state == GATE_REFUSED)
        return;
    buf_put_bytes(&g->held, buf_data(in), n);
    buf_consume(in, n);
    if (g->state == GATE_STARTUP)
        judge_startup(g);
    else if (g->state == GATE_OPEN)
        g->judged = buf_used(&g->held);
}

void
gate_open(struct gate *g)
{
    if (g->state != GATE_ASKED)
        return;
    g->state = GATE_OPEN;
    g->judged = buf_used(&g->held);
}

size_t
gate_passed(const struct gate *g)
{
    return g->judged;
}

void
gate_gone(struct gate *g, size_t bytes)
{
    buf_consume(&g->held, bytes);
    g->judged -= bytes;
}

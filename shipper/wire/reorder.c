/* See reorder.h. */
#include "shipper/wire/reorder.h"

#include "base/fail.h"

#include <stdlib.h>
#include <string.h>

static size_t
place(uint64_t number)
{
    return number % WINDOW_FRAMES;
}

void
order_clear(struct order *o)
{
    for (size_t i = 0; i < WINDOW_FRAMES; i++)
        free(o->held[i].bytes);
    memset(o, 0, sizeof *o);
}

int
order_hold(struct order *o, uint64_t number, const uint8_t *bytes, size_t length)
{
    size_t at = place(number);

    if (number - o->next < WINDOW_FRAMES && o->held[at].bytes != NULL)
        return 0; /* again, over another lane */
    if (number - o->next >= WINDOW_FRAMES || o->bytes + length > WINDOW_BYTES)
        return fail(ERR_PEER, "more frames out of order than a window has");
    o->held[at].bytes = malloc(length);
    if (o->held[at].bytes == NULL)
        return fail(ERR_LOCAL, "out of memory for a frame of %zu bytes", length);
    memcpy(o->held[at].bytes, bytes, length);
    o->held[at].length = length;
    o->bytes += length;
    return 0;
}

bool
order_next(const struct order *o, struct buf *ret_view)
{
    size_t at = place(o->next);

    *ret_view = (struct buf){
        .bytes = o->held[at].bytes, .end = o->held[at].length, .size = o->held[at].length};
    return o->held[at].bytes != NULL;
}

void
order_step(struct order *o)
{
    size_t at = place(o->next++);

    free(o->held[at].bytes);
    o->held[at].bytes = NULL;
    o->bytes -= o->held[at].length;
    o->held[at].length = 0;
}

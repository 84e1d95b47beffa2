/* SPDX-License-Identifier: PostgreSQL */
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
reorder_clear(struct reorder *r)
{
    for (size_t i = 0; i < WINDOW_FRAMES; i++)
        free(r->held[i].bytes);
    memset(r, 0, sizeof *r);
}

int
reorder_hold(struct reorder *r, uint64_t number, const uint8_t *bytes, size_t length)
{
    size_t at = place(number);

    if (number - r->next < WINDOW_FRAMES && r->held[at].bytes != NULL)
        return 0; /* it came before, over another lane */
    if (number - r->next >= WINDOW_FRAMES || r->bytes + length > WINDOW_BYTES)
        return fail(ERR_PEER, "more frames out of order than a window has");
    r->held[at].bytes = malloc(length);
    if (r->held[at].bytes == NULL)
        return fail(ERR_LOCAL, "out of memory for a frame of %zu bytes", length);
    memcpy(r->held[at].bytes, bytes, length);
    r->held[at].length = length;
    r->bytes += length;
    return 0;
}

bool
reorder_next(const struct reorder *r, struct buf *ret_view)
{
    size_t at = place(r->next);

    *ret_view = (struct buf){
        .bytes = r->held[at].bytes, .end = r->held[at].length, .size = r->held[at].length};
    return r->held[at].bytes != NULL;
}

void
reorder_step(struct reorder *r)
{
    size_t at = place(r->next++);

    free(r->held[at].bytes);
    r->held[at].bytes = NULL;
    r->bytes -= r->held[at].length;
    r->held[at].length = 0;
}

/* SPDX-License-Identifier: PostgreSQL */
/* See window.h. */
#include "shipper/wire/window.h"

#include "base/fail.h"
#include "shipper/wire/frame.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static size_t
place(uint64_t number)
{
    return number % WINDOW_FRAMES;
}

static void
spend(struct window *w, size_t bytes)
{
    w->bytes += bytes;
    if (w->shared != NULL)
        *w->shared += bytes;
}

static void
give_back(struct window *w, size_t bytes)
{
    w->bytes -= bytes;
    if (w->shared != NULL)
        *w->shared -= bytes;
}

void
window_clear(struct window *w)
{
    for (uint64_t n = w->first; n < w->next; n++)
        free(w->frame[place(n)].bytes);
    w->first = w->next = w->hand = 0;
    give_back(w, w->bytes);
    w->ready = 0;
    memset(w->out, 0, sizeof w->out);
}

static bool
fits(const struct window *w, uint64_t frames, size_t bytes)
{
    return w->next - w->first + frames <= WINDOW_FRAMES && w->bytes + bytes <= WINDOW_BYTES;
}

bool
window_fits(const struct window *w, unsigned frames)
{
    size_t bytes = (size_t)frames * FRAME_BYTES_MAX;

    return fits(w, frames, bytes) && (w->shared == NULL || w->bytes + bytes <= WINDOW_OWN_BYTES ||
                                      *w->shared + bytes <= WINDOW_SHARED_BYTES);
}

bool
window_wants(const struct window *w, unsigned frames)
{
    return w->ready < WINDOW_READY_BYTES && window_fits(w, frames);
}

int
window_add(struct window *w, const uint8_t *bytes, size_t length)
{
    uint8_t *copy;
    struct buf frame = {.end = length, .size = length};

    if (!fits(w, 1, length))
        return fail(ERR_AGAIN, "the far side has to acknowledge frames before more are sent");
    copy = frame.bytes = malloc(length);
    if (copy == NULL)
        return fail(ERR_LOCAL, "out of memory for a frame of %zu bytes", length);
    memcpy(copy, bytes, length);
    buf_set_u32(&frame, FRAME_NUMBER_AT, (uint32_t)(w->next >> 32));
    buf_set_u32(&frame, FRAME_NUMBER_AT + 4, (uint32_t)w->next);
    w->frame[place(w->next)].bytes = copy;
    w->frame[place(w->next)].length = (uint32_t)length;
    w->frame[place(w->next)].lane = -1;
    w->next++;
    spend(w, length);
    w->ready += length;
    return 0;
}

int
window_acknowledge(struct window *w, uint64_t next)
{
    if (next > w->next)
        return fail(ERR_PEER, "an ACK of frames that were not sent yet");
    for (; w->first < next; w->first++) {
        size_t at = place(w->first);

        if (w->frame[at].lane < 0) /* delivered, but its lane died before the ACK */
            w->ready -= w->frame[at].length;
        give_back(w, w->frame[at].length);
        free(w->frame[at].bytes);
    }
    if (w->hand < w->first)
        w->hand = w->first;
    return 0;
}

void
window_lane(struct window *w, unsigned i, struct buf *out)
{
    assert(i < WINDOW_LANES);
    w->out[i] = out;
    if (out != NULL)
        return;
    for (uint64_t n = w->next; n-- > w->first;) {
        size_t at = place(n);

        if (w->frame[at].lane != (int8_t)i)
            continue;
        w->frame[at].lane = -1;
        w->ready += w->frame[at].length;
        w->hand = n < w->hand ? n : w->hand;
    }
}

static int
shortest(const struct window *w)
{
    int best = -1;

    for (int i = 0; i < WINDOW_LANES; i++)
        if (w->out[i] != NULL && buf_used(w->out[i]) < WINDOW_LANE_BYTES &&
            (best < 0 || buf_used(w->out[i]) < buf_used(w->out[best])))
            best = i;
    return best;
}

size_t
window_hand_out(struct window *w, int64_t allowance)
{
    size_t given = 0;

    for (; w->hand < w->next && (int64_t)given < allowance; w->hand++) {
        size_t at = place(w->hand), length = w->frame[at].length;
        int lane;

        if (w->frame[at].lane >= 0)
            continue;
        lane = shortest(w);
        if (lane < 0 || buf_reserve(w->out[lane], length) == NULL)
            break;
        buf_put_bytes(w->out[lane], w->frame[at].bytes, length);
        w->frame[at].lane = (int8_t)lane;
        w->ready -= length;
        given += length;
    }
    return given;
}

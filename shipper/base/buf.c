/* SPDX-License-Identifier: PostgreSQL */
#include "base/buf.h"

#include "base/fail.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int
buf_init(struct buf *b, size_t size)
{
    *b = (struct buf){.bytes = malloc(size), .size = size};
    if (b->bytes == NULL)
        return fail(ERR_LOCAL, "out of memory for a buffer of %zu bytes", size);
    return 0;
}

void
buf_release(struct buf *b)
{
    if (b == NULL)
        return;
    free(b->bytes);
    *b = (struct buf){0};
}

void
buf_clear(struct buf *b)
{
    b->start = b->end = 0;
}

size_t
buf_used(const struct buf *b)
{
    return b->end - b->start;
}

size_t
buf_room(const struct buf *b)
{
    return b->size - buf_used(b);
}

const uint8_t *
buf_data(const struct buf *b)
{
    return b->bytes + b->start;
}

uint8_t *
buf_reserve(struct buf *b, size_t n)
{
    if (n > buf_room(b))
        return NULL;
    if (n > b->size - b->end) {
        memmove(b->bytes, b->bytes + b->start, buf_used(b));
        b->end -= b->start;
        b->start = 0;
    }
    return b->bytes + b->end;
}

void
buf_commit(struct buf *b, size_t n)
{
    assert(n <= b->size - b->end);
    b->end += n;
}

void
buf_consume(struct buf *b, size_t n)
{
    assert(n <= buf_used(b));
    b->start += n;
    if (b->start == b->end)
        buf_clear(b);
}

static void
store(uint8_t *at, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        at[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
}

static void
put_number(struct buf *b, uint64_t v, size_t n)
{
    uint8_t *at = buf_reserve(b, n);

    assert(at != NULL);
    store(at, v, n);
    buf_commit(b, n);
}

void
buf_put_u8(struct buf *b, uint8_t v)
{
    put_number(b, v, 1);
}

void
buf_put_u16(struct buf *b, uint16_t v)
{
    put_number(b, v, 2);
}

void
buf_put_u32(struct buf *b, uint32_t v)
{
    put_number(b, v, 4);
}

void
buf_put_u64(struct buf *b, uint64_t v)
{
    put_number(b, v, 8);
}

void
buf_put_bytes(struct buf *b, const void *bytes, size_t n)
{
    uint8_t *at = buf_reserve(b, n);

    assert(at != NULL);
    if (n > 0)
        memcpy(at, bytes, n);
    buf_commit(b, n);
}

void
buf_put_string(struct buf *b, const char *s)
{
    buf_put_bytes(b, s, strlen(s) + 1);
}

void
buf_set_u32(struct buf *b, size_t offset, uint32_t v)
{
    assert(offset + 4 <= buf_used(b));
    store(b->bytes + b->start + offset, v, 4);
}

void
reader_init(struct reader *r, const void *bytes, size_t n)
{
    *r = (struct reader){.at = bytes, .left = n};
}

const uint8_t *
reader_bytes(struct reader *r, size_t n)
{
    const uint8_t *at = r->at;

    if (r->failed || n > r->left) {
        r->failed = true;
        return NULL;
    }
    r->at += n;
    r->left -= n;
    return at;
}

static uint64_t
get_number(struct reader *r, size_t n)
{
    const uint8_t *at = reader_bytes(r, n);
    uint64_t v = 0;

    for (size_t i = 0; at != NULL && i < n; i++)
        v = v << 8 | at[i];
    return v;
}

uint8_t
reader_u8(struct reader *r)
{
    return (uint8_t)get_number(r, 1);
}

uint16_t
reader_u16(struct reader *r)
{
    return (uint16_t)get_number(r, 2);
}

uint32_t
reader_u32(struct reader *r)
{
    return (uint32_t)get_number(r, 4);
}

uint64_t
reader_u64(struct reader *r)
{
    return get_number(r, 8);
}

const char *
reader_string(struct reader *r)
{
    const uint8_t *zero = r->failed || r->left == 0 ? NULL : memchr(r->at, 0, r->left);

    if (zero == NULL) {
        r->failed = true;
        return NULL;
    }
    return (const char *)reader_bytes(r, (size_t)(zero - r->at) + 1);
}

void
reader_copy_string(struct reader *r, char *out, size_t size)
{
    const char *s = reader_string(r);

    out[0] = '\0';
    if (s == NULL)
        return;
    if (strlen(s) >= size)
        r->failed = true;
    else
        memcpy(out, s, strlen(s) + 1);
}

bool
reader_done(const struct reader *r)
{
    return !r->failed && r->left == 0;
}

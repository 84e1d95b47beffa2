/* SPDX-License-Identifier: PostgreSQL */
/*
 * buf: bounded bytes, and the one place where bytes are picked apart.
 *
 * A `struct buf` is a queue of bytes with a fixed size: committed at its end, consumed at its
 * start, never grown. No byte is dropped: a full buf says so and the caller stops reading upstream.
 * A `struct reader` walks over borrowed bytes; after the first short read it stays failed and gives
 * zeros, so a decoder reads every field and asks reader_done once at the end.
 * Numbers are in network byte order (also PostgreSQL's).
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *bytes;
    size_t start; /* first byte not consumed */
    size_t end;   /* one past the last byte committed */
    size_t size;
};

int buf_init(struct buf *b, size_t size); /* ERR_LOCAL when there is no memory */
void buf_release(struct buf *b);          /* accepts a zeroed struct */
void buf_clear(struct buf *b);

size_t buf_used(const struct buf *b);
size_t buf_room(const struct buf *b); /* the most that buf_reserve can give */
const uint8_t *buf_data(const struct buf *b);

/* Room for n bytes at the end (moves the used bytes to the front if it must), or NULL. */
uint8_t *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);  /* n <= the reserved room */
void buf_consume(struct buf *b, size_t n); /* n <= buf_used */

/* Append; the caller has made sure that there is room (asserted). */
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v);
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
void buf_put_bytes(struct buf *b, const void *bytes, size_t n);
void buf_put_string(struct buf *b, const char *s); /* with its terminating 0 */

/* Overwrite four bytes at offset bytes behind the start (a length known only at the end). */
void buf_set_u32(struct buf *b, size_t offset, uint32_t v);

struct reader {
    const uint8_t *at;
    size_t left;
    bool failed;
};

void reader_init(struct reader *r, const void *bytes, size_t n);
uint8_t reader_u8(struct reader *r);
uint16_t reader_u16(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
const uint8_t *reader_bytes(struct reader *r, size_t n); /* NULL once failed */

/* A 0-terminated string inside the bytes; NULL (and failed) when there is no 0. */
const char *reader_string(struct reader *r);

/* The same, copied into out; failed also when it does not fit (size includes the 0). */
void reader_copy_string(struct reader *r, char *out, size_t size);

/* True when every read had its bytes and no byte is left over. */
bool reader_done(const struct reader *r);

#endif

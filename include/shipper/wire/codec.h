/* SPDX-License-Identifier: PostgreSQL */
/*
 * codec: WAL made smaller, one chunk at a time, each chunk alone (zstd).
 *
 * Chunks are at most FRAME_WAL_MAX bytes; a decoder never writes more than the size it was told.
 */
#ifndef SHIPPER_WIRE_CODEC_H
#define SHIPPER_WIRE_CODEC_H

#include <stddef.h>
#include <limits.h>
#include <stdint.h>

#define CODEC_LEVEL 1
#define CODEC_NONE  INT_MIN

struct codec {
    int level;        /* zstd's; 0: CODEC_LEVEL; CODEC_NONE: no compression */
    void *compress;   /* ZSTD_CCtx, made at first use */
    void *decompress; /* ZSTD_DCtx, made at first use */
};

void codec_release(struct codec *c); /* accepts a zeroed struct */

/* ret_size: bytes in out, 0 when they would not be fewer than n (send them as they are). ERR_LOCAL:
 * no memory. */
int codec_compress(struct codec *c, void *out, size_t room, const void *bytes, size_t n,
                   size_t *ret_size);

/* Exactly `decoded` bytes into out; ERR_PEER for anything else. */
int codec_decompress(struct codec *c, void *out, size_t decoded, const void *bytes, size_t n);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * Each chunk is one complete zstd frame, so that it can be decoded alone. The contexts are kept:
 * making a context costs more than compressing a small chunk.
 */
#include "shipper/wire/codec.h"

#include "base/fail.h"

#include <zstd.h>

void
codec_release(struct codec *c)
{
    ZSTD_freeCCtx(c->compress);
    ZSTD_freeDCtx(c->decompress);
    *c = (struct codec){0};
}

int
codec_compress(struct codec *c, void *out, size_t room, const void *bytes, size_t n,
               size_t *ret_size)
{
    int level = c->level != 0 ? c->level : CODEC_LEVEL;
    size_t size;

    *ret_size = 0;
    if (level == CODEC_NONE)
        return 0;
    if (c->compress == NULL && (c->compress = ZSTD_createCCtx()) == NULL)
        return fail(ERR_LOCAL, "out of memory for a compressor");
    if (room >= n)
        room = n - 1; /* not smaller: of no use */
    size = ZSTD_compressCCtx(c->compress, out, room, bytes, n, level);
    *ret_size = ZSTD_isError(size) ? 0 : size;
    return 0;
}

int
codec_decompress(struct codec *c, void *out, size_t decoded, const void *bytes, size_t n)
{
    size_t size;

    if (c->decompress == NULL && (c->decompress = ZSTD_createDCtx()) == NULL)
        return fail(ERR_LOCAL, "out of memory for a decompressor");
    size = ZSTD_decompressDCtx(c->decompress, out, decoded, bytes, n);
    if (ZSTD_isError(size))
        return fail(ERR_PEER, "compressed WAL cannot be decoded: %s", ZSTD_getErrorName(size));
    if (size != decoded)
        return fail(ERR_PEER, "compressed WAL decodes to %zu bytes, %zu were announced", size,
                    decoded);
    return 0;
}

/* SPDX-License-Identifier: PostgreSQL */
/*
 * fuzz_frame: any bytes at all from another agent. Frames are taken one after the other; a WAL
 * frame that decodes must be encoded again to bytes that decode to the same.
 */
#include "shipper/wire/codec.c"
#include "shipper/wire/frame.c"
#include "shipper/wire/parts.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
again(const struct frame *f)
{
    static uint8_t first[FRAME_WAL_MAX], second[FRAME_WAL_MAX], room[FRAME_BYTES_MAX + 16];
    static struct codec codec;
    struct buf out = {.bytes = room, .size = sizeof room};
    struct frame twice;

    if (f->wal.codec == 0)
        memcpy(first, f->wal.bytes, f->wal.length);
    else if (codec_decompress(&codec, first, f->wal.decoded_bytes, f->wal.bytes, f->wal.length) < 0)
        return;
    assert(frame_put_wal(&out, &codec, f->wal.timeline, f->wal.lsn, first, f->wal.decoded_bytes) ==
           0);
    assert(frame_next(&out, &twice) == 1 && twice.wal.decoded_bytes == f->wal.decoded_bytes);
    if (twice.wal.codec == 0)
        memcpy(second, twice.wal.bytes, twice.wal.length);
    else
        assert(codec_decompress(&codec, second, twice.wal.decoded_bytes, twice.wal.bytes,
                                twice.wal.length) == 0);
    assert(memcmp(first, second, f->wal.decoded_bytes) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf in = {.bytes = (uint8_t *)(uintptr_t)data, .end = size, .size = size};
    static struct pool_change change[FRAME_CHANGES_MAX];
    struct frame f;

    while (frame_next(&in, &f) == 1) {
        if (f.type == FRAME_WAL)
            again(&f);
        if (f.type == FRAME_POOL)
            frame_chain(&f, change);
        if (f.type == FRAME_HELLO)
            history_valid(f.hello.history, f.hello.history_bytes, f.hello.timeline);
        buf_consume(&in, f.bytes);
    }
    return 0;
}

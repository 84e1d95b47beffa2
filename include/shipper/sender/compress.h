/* SPDX-License-Identifier: PostgreSQL */
/*
 * compressor: WAL of a source into WAL frames, compressed by worker threads while the loop goes on.
 *
 * Small pieces are gathered while the lanes are busy, and compressed at once, in the loop, when the
 * lanes are idle. Frames come out in the order of their WAL; none crosses an LSN that FRAME_WAL_MAX
 * divides, so that all links cut at the same LSNs. Links that ship the same WAL share a frame
 * cache: a frame that one link has just made is taken by the others, if its WAL is byte for byte
 * the same.
 */
#ifndef SHIPPER_SENDER_COMPRESS_H
#define SHIPPER_SENDER_COMPRESS_H

#include "base/workers.h"
#include "sender/adapt.h"
#include "shipper/wire/codec.h"
#include "shipper/sender/sender.h"

#define COMPRESSOR_JOBS          16
#define COMPRESSOR_ITEM_FRAMES   2   /* of one source item: an LSN to cut at may lie inside */
#define COMPRESSION_AUTO         100 /* instead of a level */
#define COMPRESSOR_AT_ONCE_BYTES (16u << 10) /* at any level; more at a fast level */

#define FRAME_CACHE_PLACES      64
#define FRAME_CACHE_COMPRESSORS 16

struct compressor;

/* The frames that were made last, and what they are made with. */
struct frame_cache {
    struct {
        timeline_t timeline;
        lsn_t lsn;
        size_t n; /* 0: an empty place */
        uint8_t *wal;
        struct buf frame;
    } place[FRAME_CACHE_PLACES];
    unsigned next;
    struct compressor
        *compressor[FRAME_CACHE_COMPRESSORS]; /* its users; with a single one it stays empty */
    unsigned compressors;
    struct codec codec[WORKERS_MAX + 1]; /* one for each thread; the last is the loop's */
};

void frame_cache_release(struct frame_cache *s); /* behind the workers; accepts a zeroed struct */

struct compress_job {
    struct workers_job job; /* first */
    uint8_t *wal;           /* FRAME_WAL_MAX */
    struct buf frame;
    struct codec *codecs; /* of the frame cache */
    int level;
    timeline_t timeline;
    lsn_t lsn;
    size_t n;
    bool waits; /* another link compresses the same piece: its frame is awaited */
    int code;
    char why[160];
};

struct compressor {
    struct workers *workers;         /* borrowed */
    struct frame_cache *frame_cache; /* borrowed */
    struct compress_job
        job[COMPRESSOR_JOBS]; /* a ring: `count` from `first` on are given to the workers */
    unsigned first, count;
    unsigned forgotten; /* jobs at the front whose session is over */
    int compression;    /* zstd level, CODEC_NONE, COMPRESSION_AUTO */
    struct adapt adapt;
    uint64_t wal_out, wire_out; /* bytes so far: WAL, and the frames made of it */
};

int compressor_init(struct compressor *c, struct workers *workers, struct frame_cache *frame_cache,
                    int compression);
void compressor_release(struct compressor *c); /* waits for its jobs */
void
compressor_reset(struct compressor *c); /* the session is over: its WAL and frames are dropped */

bool compressor_wants(
    const struct compressor *c); /* room for one more item of at most FRAME_WAL_MAX bytes */
unsigned compressor_frames(const struct compressor *c); /* that its WAL will become */
bool compressor_empty(const struct compressor *c);
void compressor_wal(struct compressor *c, timeline_t timeline, lsn_t lsn, const void *bytes,
                    size_t n);

int compressor_level(const struct compressor *c); /* the zstd level in use, or CODEC_NONE */

/* No more WAL is here now: compress what was gathered, unless the lanes are busy anyway. */
void compressor_rest(struct compressor *c, bool busy);

/* Will one more item of any kind have room here and in the sender's window? */
bool compressor_takes(const struct compressor *c, const struct sender *s);

/* All WAL taken so far, into the sender: what the sender takes next has to follow it. */
int compressor_flush(struct compressor *c, struct sender *s);

/* Finished frames, into the sender. `all`: wait for the unfinished ones, too. */
int compressor_collect(struct compressor *c, struct sender *s, bool all);

#endif

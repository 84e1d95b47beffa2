/*
 * pack: WAL of a source into WAL frames, compressed by a workers while the loop goes on.
 *
 * Small pieces are gathered while the lanes are busy, and packed at once, in the loop, when they
 * are not. Frames come out in the order of their WAL; none goes over a place where FRAME_WAL_MAX
 * divides the LSN, so that all links cut at the same ones. Links that ship the same WAL share a
 * frame cache: what one of them packed a moment ago, and its bytes are the same, the others take as
 * it is.
 */
#ifndef SHIPPER_SENDER_COMPRESS_H
#define SHIPPER_SENDER_COMPRESS_H

#include "base/workers.h"
#include "shipper/sender/adapt.h"
#include "shipper/wire/codec.h"
#include "shipper/sender/sender.h"

#define PACK_JOBS          16
#define PACK_ITEM_FRAMES   2           /* of one item: the border may go through it */
#define COMPRESSION_AUTO   100         /* instead of a level */
#define PACK_AT_ONCE_BYTES (16u << 10) /* at any level; more at a fast one */

#define FRAME_CACHE_PLACES 96
#define FRAME_CACHE_PACKS  16

struct pack;

/* Frames that were packed lately. */
struct frame_cache {
    struct {
        timeline_t timeline;
        lsn_t lsn;
        size_t n; /* 0: an empty place */
        uint8_t *wal;
        struct buf frame;
    } place[FRAME_CACHE_PLACES];
    unsigned next;
    struct pack *pack[FRAME_CACHE_PACKS]; /* that share it; with one alone it stays empty */
    unsigned packs;
};

void frame_cache_release(struct frame_cache *s); /* accepts a zeroed struct */

struct pack_job {
    struct workers_job job; /* first */
    uint8_t *wal;           /* FRAME_WAL_MAX */
    struct buf frame;
    struct codec codec;
    timeline_t timeline;
    lsn_t lsn;
    size_t n;
    bool waits; /* for the same piece, which another link's pack has under way */
    int code;
    char why[160];
};

struct pack {
    struct workers *workers;         /* borrowed */
    struct frame_cache *frame_cache; /* borrowed */
    struct pack_job job[PACK_JOBS];  /* a ring: `count` from `first` on are given to the workers */
    unsigned first, count;
    unsigned forgotten; /* of these, so many are of a session that is over */
    int compression;    /* zstd level, CODEC_NONE, COMPRESSION_AUTO */
    struct adapt adapt;
    uint64_t wal_out, wire_out; /* packed so far: bytes of WAL, of frames */
};

int pack_init(struct pack *p, struct workers *workers, struct frame_cache *frame_cache,
              int compression);
void pack_release(struct pack *p); /* waits for its jobs */
void pack_reset(struct pack *p);   /* the session is over: what is in here is dropped */

bool pack_wants(const struct pack *p); /* room for one more item of at most FRAME_WAL_MAX bytes */
unsigned pack_frames(const struct pack *p); /* what is in here becomes so many frames */
bool pack_empty(const struct pack *p);
void pack_wal(struct pack *p, timeline_t timeline, lsn_t lsn, const void *bytes, size_t n);

/* No more WAL is here now: pack what was gathered, unless the lanes are busy anyway. */
void pack_rest(struct pack *p, bool busy);

/* Frames that are done, into the sender. `all`: wait for those that are not. */
int pack_collect(struct pack *p, struct sender *s, bool all);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * spool: the WAL segments a receiving agent holds, under PostgreSQL's own file names.
 *
 * In come bytes of WAL at an LSN of a timeline, and history files; out go bytes for the relay and
 * whole files for restore_command. What it promises: nothing counts as flushed before fdatasync
 * said so; the spool is contiguous at every instant; bytes that come again are compared; WAL that
 * does not continue our own history is refused by name and changes nothing on disk; kill the agent
 * anywhere and spool_open finds its place from the files.
 *
 * Files, flat in one directory (0700, files 0600):
 *   TTTTTTTTXXXXXXXXYYYYYYYY           a complete, flushed segment
 *   TTTTTTTTXXXXXXXXYYYYYYYY.partial   the growing segment; its size tells how far it is written
 *   TTTTTTTTXXXXXXXXYYYYYYYY.damaged   a partial file whose flush failed: its pages may never reach
 *                                      the disk, so its bytes go into a new file before they are
 *                                      used again
 *   TTTTTTTTXXXXXXXXYYYYYYYY.new       a copy under way; removed if it is found at the start
 *   TTTTTTTTXXXXXXXXYYYYYYYY.aside     the segment as it was when the spool was cut at a fork: kept for
 *                                      people, never read again
 *   TTTTTTTT.history                   timeline history files
 *   front/                             a spool of WAL that lies before ours, on its way here
 *   identity                           "system_identifier N\nsegment_bytes N\npostgres_major N\n"
 *   position                           "boot ID\ntimeline N\nflushed X/X\n": at most a second old;
 *                                      boot is "-" while the tail is not known good
 *   lock                               flock, held while the spool is open
 * Other files there (pool.state, ...) are not the spool's business.
 *
 * Positions, all on `timeline`:  start <= flushed <= written, and flushed <= available <= written.
 *   start      the first byte held without a hole up to here (older timelines included)
 *   written    received: in the file, maybe only in the page cache
 *   flushed    on stable storage: may be acknowledged
 *   available  may be served: written since the start, or known good from before. After a crash
 *              of the machine (boot ID differs) bytes above the recorded position may be torn:
 *              they are not served until they were received again, or spool_trust_tail.
 *
 * Resume: spool_resume gives the start of the segment that the last byte to be served lies in. From
 * there on spool_append compares the bytes that come with those in the file: a difference below
 * `available` is refused (ERR_CORRUPT, names segment and offset), a difference above it is a torn
 * tail and is replaced. So a server that was put back to an older state is found out, also where
 * `available` is a segment's border. Only a recovery lets `written` and `available` go back;
 * `flushed` never does, but by a cut.
 *
 * A flush is three calls so that a worker thread can do the blocking one:
 *   spool_flush_begin  borrows the file and notes how far it was written (false: nothing to do,
 *                      or a flush is under way); the file stays open until the end. A new
 *                      timeline's first file, which spool_append waits for, is made the same way.
 *   spool_flush_run    fdatasync, and once a second the position file; touches only struct flush
 *   spool_flush_end    takes the result: flushed moves, a full segment gets its name. ERR_LOCAL
 *                      when it failed: that file is never flushed again, nothing above `flushed`
 *                      is served; spool_recover_begin makes a flush that puts its flushed bytes
 *                      into a new one, and the rest is received again.
 * Removing is three calls, too, for another worker: both may be out at the same time. So is a cut, in
 * the place of a flush.
 *
 * Errors: ERR_LOCAL disk (space, permission, I/O); ERR_CORRUPT as above; ERR_PEER a hole or an
 * unknown timeline (the sender is wrong, we are not). Messages name the file.
 */
#ifndef SHIPPER_WAL_SPOOL_H
#define SHIPPER_WAL_SPOOL_H

#include "base/fail.h"
#include "base/lsn.h"
#include "base/identity.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SPOOL_ASIDE ".aside" /* of a file's name: WAL that the spool was cut of */
#define SPOOL_FRONT "front"

/* A segment that is open for writing. */
struct segment {
    int fd;      /* -1: none */
    lsn_t start; /* its first LSN */
    bool is_new; /* its directory entry is not durable yet */
};

struct spool {
    char path[256];
    int dir, lock;
    struct identity identity; /* zero until adopted */
    timeline_t timeline;      /* of the positions; 0: empty */
    lsn_t start, written, flushed, available;
    bool damaged;  /* a flush failed: spool_recover_begin before anything is accepted */
    bool clearing; /* a struct prune is out that removes all: nothing is accepted nor flushed */
    bool cutting;  /* a struct cut is out: nothing is accepted, flushed nor removed */
    bool lost;     /* damaged, by a cut that could not find its end: begin one again */
    timeline_t next_timeline; /* the spool's as soon as its first file is made; 0: none */
    /* private below */
    struct segment growing, full; /* full: it waits for its flush */
    bool flushing;                /* a struct flush is out */
    lsn_t next_fork;              /* WAL of the old timeline up to there begins that file */
    lsn_t whole;                  /* the end of the last whole record ... */
    lsn_t whole_upto;             /* ... below this `flushed`; LSN_UNKNOWN: nobody has looked */
    bool whole_damaged;           /* what lies behind it is no beginning of a record */
    char aside[40];               /* the newest file that was kept aside, "" : none */
    bool pruning;                 /* a struct prune is out */
    int64_t oldest_us;            /* wall clock: no file is older; 0: unknown */
    lsn_t recorded;               /* what the position file says */
    int64_t recorded_us;
    char boot_id[40];
    int read_fd; /* the file last read from, kept open for the relay; -1 when none */
    timeline_t read_timeline;
    lsn_t read_start;
};

enum flush_kind { FLUSH_DATA, FLUSH_SWITCH, FLUSH_RECOVER };

struct flush {
    enum flush_kind kind;
    int fd, dir; /* fd -1: only the position is due, or it is another kind */
    lsn_t upto;
    bool sync_dir;      /* the file is new: its name has to be flushed, too */
    char from[40];      /* the file's name now */
    char to[40];        /* a full segment gets its name; "" : it is not full */
    char position[128]; /* what to write into the position file, "" : nothing now */
    struct spool as;    /* the spool at the begin: the other kinds find their files by it */
    int made_fd;        /* the file that they have made, with the first bytes of its segment */
    uint64_t made_bytes;
    int code; /* 0, or why it failed */
    char reason[FAIL_MESSAGE_MAX];
    int64_t took_us; /* the caller's to measure */
};

struct join {
    struct spool as;     /* the spool at the begin; its start moves with each file that is moved */
    timeline_t timeline; /* of the front's end */
    lsn_t from, end;     /* the front */
    int code;
    char reason[FAIL_MESSAGE_MAX];
};

struct prune {
    struct spool as; /* the spool at the begin; its start moves with each file that is removed */
    lsn_t needed_from;
    int64_t until_us; /* wall clock: younger files stay */
    bool all;
    int removed;
    int code;
    char reason[FAIL_MESSAGE_MAX];
};

/*
 * Lock and scan. ERR_LOCAL: cannot be opened, or another process holds the lock (the message says
 * so); ERR_CORRUPT: the files contradict each other (a hole, two sizes of segments, a bad file).
 */
int spool_open(struct spool *s, const char *path);
void spool_close(struct spool *s); /* accepts a zeroed struct */
bool spool_empty(const struct spool *s);

/* Bind to a cluster: written on first use, compared ever after (ERR_CORRUPT names both values). */
int spool_adopt(struct spool *s, const struct identity *identity);

/* Where the sender shall start: a segment's first byte below `available`, or `available` itself
 * where nothing of our timeline is held before it. Only when not empty. */
void spool_resume(const struct spool *s, timeline_t *ret_timeline, lsn_t *ret_lsn);

/* The first position of an empty spool: a segment's start. */
int spool_begin(struct spool *s, timeline_t timeline, lsn_t lsn);

/*
 * Put the WAL of `front` before ours: a spool of the same cluster in our folder SPOOL_FRONT, which
 * begins before ours and has flushed all up to there. Its segments are moved, the newest first, so
 * that ours are contiguous at every instant; what a crash leaves there is joined later. False: that
 * is not so (yet), or a prune of either is out. `front` has to be cleared after the end.
 */
bool spool_join_begin(struct spool *s, const struct spool *front, struct join *j);
void spool_join_run(struct join *j);                       /* touches only struct join */
int spool_join_end(struct spool *s, const struct join *j); /* 0 or ERR_LOCAL */

/*
 * Would WAL of a server now on `timeline`, whose history is `text`, continue our WAL? 0, or
 * ERR_CORRUPT "forked at X before our flushed Y", "behind ours", "history differs"; ERR_AGAIN: nobody
 * has looked yet whether whole records lie behind the fork (CUT_LOOK). 0 also where none does, and
 * CUT_TORN is due. Changes nothing.
 */
int spool_check_history(const struct spool *s, timeline_t timeline, const char *text,
                        size_t length);

/* Is there a fork behind which flushed WAL lies here: where did that timeline leave ours? */
bool spool_goes_on_behind(const struct spool *s, timeline_t timeline, const char *text,
                          size_t length, lsn_t *ret_fork);

/*
 * WAL behind a fork. PostgreSQL leaves a timeline at the end of its last whole record, and a commit is
 * acknowledged for the end of its own: so a record that never became whole, however much of it was
 * acknowledged, is no divergence. It is cut off: the files from the fork on are kept aside, and the
 * spool ends at the fork. Whole records behind the fork are one: the timeline is refused.
 *
 * Three calls, as a flush; the one in the middle for a worker:
 *   CUT_LOOK    only finds out, for spool_check_history
 *   CUT_TORN    cuts if the fork is the end of the last whole record and the rest begins the next
 *   CUT_OWN     on the server that has made that fork: also behind damage, it could replay no more
 *   CUT_FORKED  whatever lies there: a DBA has decided
 * The order of writes: a copy of the fork's segment, the position, the later segments renamed from the
 * top, the new end. Killed in between, the spool is a longer one, and is cut again.
 */
enum cut_wish { CUT_LOOK, CUT_TORN, CUT_OWN, CUT_FORKED };

struct cut {
    enum cut_wish wish;
    lsn_t fork;
    struct spool as; /* the spool at the begin; after a cut as it was found again */
    lsn_t whole;     /* as in struct spool */
    bool damaged;
    bool done;    /* it was cut */
    bool changed; /* files have other names now */
    bool lost;    /* ... and where they end could not be found */
    int code;
    char reason[FAIL_MESSAGE_MAX];
};

bool spool_cut_begin(struct spool *s, struct cut *c, enum cut_wish wish, lsn_t fork); /* not now */
void spool_cut_run(struct cut *c);                       /* touches only struct cut */
int spool_cut_end(struct spool *s, const struct cut *c); /* 0, or ERR_LOCAL */

/* The end of the last whole record below `flushed`, when a cut or a look has found it. */
bool spool_whole(const struct spool *s, lsn_t *ret_end);

/* The path of the newest file that was kept aside and is still there. */
bool spool_kept_aside(const struct spool *s, char *out, size_t size);

/* Keep a history file; the same bytes again are fine, others are refused (ERR_CORRUPT). */
int spool_put_history(struct spool *s, timeline_t timeline, const char *text, size_t length);

/* Text of a history file into out (HISTORY_BYTES_MAX and a 0); its length, or ERR_AGAIN if absent.
 */
int spool_history(const struct spool *s, timeline_t timeline, char *out, size_t size);

/*
 * WAL bytes. Must start at most at `available` (a hole is refused); below it they are compared.
 * A higher timeline must be a child whose history is here, beginning at the switch point's segment
 * start or later in it: the old timeline's bytes of that segment, up to the switch point, are
 * compared and copied to the new one. While a full segment waits for its flush a second one may
 * fill. ERR_AGAIN when that is full, too, when the old timeline is not flushed up to the switch
 * point, or the new one's file is not made: flush and come again with the same bytes.
 */
int spool_append(struct spool *s, timeline_t timeline, lsn_t lsn, const void *bytes, size_t n,
                 int64_t now_us);

bool spool_flush_begin(struct spool *s, struct flush *f, int64_t now_us);
void spool_flush_run(struct flush *f);
int spool_flush_end(struct spool *s, const struct flush *f);
bool spool_recover_begin(struct spool *s, struct flush *f); /* false: nothing is damaged */
int spool_recover(struct spool *s); /* the three calls at once; 0: it may be used again */

/* Accept the whole tail (after a failover nobody can send it again): flush it, then available =
 * flushed = written. Not while a flush is under way; a failed flush is repaired first. */
int spool_trust_tail(struct spool *s);

/*
 * Up to n bytes of `timeline` at lsn, never past `available` nor past the timeline's switch point,
 * nor past a segment's end. The bytes before a switch point are also read from the newer timeline's
 * file of that segment. Count; 0: no more is there for now; ERR_AGAIN: the spool holds no longer
 * what is asked for (58P01 for the asker).
 */
int spool_read(struct spool *s, timeline_t timeline, lsn_t lsn, void *out, size_t n);

/* Where `timeline` ends: true and the LSN if it is an ancestor of the spool's timeline. */
bool spool_switch_point(const struct spool *s, timeline_t timeline, lsn_t *ret_end,
                        timeline_t *ret_next);

/* The first LSN a reader of `timeline` can ask for; false when none is held. */
bool spool_first(const struct spool *s, timeline_t timeline, lsn_t *ret_first);

/*
 * Remove segments that end before `needed_from` and are older than keep_us (by the file's time),
 * oldest first and a few per call. The segment just before needed_from stays: whoever has all WAL
 * below a segment's border resumes by comparing the segment before it. False: there is nothing to
 * remove now, or a prune is out; the disk was not looked at. struct prune has the count of removed
 * files.
 */
bool spool_prune_begin(struct spool *s, struct prune *p, lsn_t needed_from, int64_t keep_us,
                       int64_t wall_us);

/*
 * Remove all WAL, oldest first, also what is not flushed: the spool is empty then and begins anew,
 * of the same cluster; histories stay. For a new copy, which needs none of this WAL, and for an
 * outbox that is shipped. False: a flush or a struct prune is out. After an error the spool is not
 * empty: clear it again.
 */
bool spool_clear_begin(struct spool *s, struct prune *p);

void spool_prune_run(struct prune *p);                       /* touches only struct prune */
int spool_prune_end(struct spool *s, const struct prune *p); /* 0 or ERR_LOCAL */

/*
 * restore_command: copy a whole segment or history file `name` of the spool at `path` to
 * `target` (written beside it, renamed). Needs no lock and no agent. 0; ERR_AGAIN not
 * here (no message worth a log line); ERR_USAGE a name that is neither; ERR_LOCAL.
 */
int spool_fetch(const char *path, const char *name, const char *target);

/* The mode of a file made at `target`: 0640 in a directory that its group may read, as in a data
 * directory made with --allow-group-access, else 0600. */
mode_t spool_target_mode(const char *target);

#endif

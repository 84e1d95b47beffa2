/*
 * site: files outside the WAL that a site needs to take over: pg_hba.conf, chosen conf.d files,
 * keys.
 *
 * Each member lists its own in a file (key site_files: one absolute path or glob pattern per line,
 * '#' begins a comment). Its agent looks at them every few seconds and sends what is new or has
 * changed over every link, both ways; the far side keeps versions, SITE_FILE_VERSIONS of each:
 *
 *   <spool>/files/<member>/<path, '/' written %2F>/<time it came>      mtime as over there; mode,
 * too, but that only the owner may write it and, with a private key in it, read
 *
 * Nothing is ever put in place by an agent: `walferry files apply` does, for a DBA. A file is at
 * most SITE_FILE_BYTES_MAX, a member lists at most SITE_FILES_MAX, SITE_FILES_KEPT_MAX of it are kept; what is
 * left out is said in the log.
 */
#ifndef AGENT_FILES_SITE_FILES_H
#define AGENT_FILES_SITE_FILES_H

#include "config/config.h"
#include "files/store.h"

#include "base/loop.h"
#include "base/worker.h"
#include "shipper/wire/frame.h"

#define SITE_FILES_MAX 32
#define SITE_PEERS_MAX MEMBERS_MAX /* the links; the last one is who feeds us */
#define SITE_QUEUE_MAX (SITE_FILES_MAX * (SITE_PEERS_MAX + 1)) /* all of all at once */

struct site_file {
    char path[SITE_FILE_PATH_MAX];
    struct timespec modified;
    off_t bytes;
    uint32_t mode;
    uint64_t version; /* grows when it changes; 0: not there yet */
    uint8_t *content; /* of that version, owned; NULL: not readable */
    size_t length;
};

struct site_job {
    struct site *site;
    char from[MEMBER_NAME_SIZE], path[SITE_FILE_PATH_MAX];
    int64_t modified_us;
    uint32_t mode;
    size_t length;
    uint8_t *bytes; /* NULL: only compare what is kept with what is here */
    bool look;      /* ... nor that: look at our files */
    size_t differ;  /* of all kept files: how many are not as here */
};

/* Who gets our files, and whose come. */
struct site_peer {
    struct site *site;
    const char *member;            /* borrowed; may change */
    int64_t session;               /* since_us of what `sent` is about */
    uint64_t sent[SITE_FILES_MAX]; /* versions */
};

struct site {
    const struct config *config; /* borrowed */
    const struct member *self;
    struct site_file file[SITE_FILES_MAX]; /* ours */
    size_t files;
    struct site_file seen[SITE_FILES_MAX]; /* the same, as the worker last saw them */
    size_t seen_files;
    struct site_peer peer[SITE_PEERS_MAX + 1];
    int64_t look_us, compare_us;
    struct worker worker;
    struct site_job running, queue[SITE_QUEUE_MAX];
    size_t queued;
    size_t differ;
    bool left_out_said, full_said; /* the worker's */
};

int site_init(struct site *s, const struct config *config, const struct member *self);
void site_release(struct site *s); /* accepts a zeroed struct */
void site_watch(const struct site *s, struct loop *l);

/* Peer number `peer` (0 .. SITE_PEERS_MAX) is that member: what site_take wants. */
struct site_peer *site_peer(struct site *s, size_t peer, const char *member);

/* Each turn: let the worker go on, which also looks at our files every few seconds: a file system
 * that hangs holds up nobody but it. */
void site_run(struct site *s, int64_t now_us);

/* What this peer (0 .. SITE_PEERS_MAX) has not been sent in its session: give each to `put` (0, or
 * a negative code: later). */
void site_send(struct site *s, size_t peer, int64_t session,
               int (*put)(void *link, const struct frame *f), void *link);

/* A FILE frame came from a peer (struct site_peer *): keep it (a copy, written by the worker). */
void site_take(void *peer, const struct frame *f);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * site_files: files outside the WAL that a site needs to take over: pg_hba.conf, chosen conf.d
 * files, keys.
 *
 * Each member lists its own files in a file (key site_files: one absolute path or glob pattern per
 * line, '#' begins a comment). Its agent looks at the listed files every few seconds and sends what
 * is new or has changed over every link and quiet session, both ways; the far side keeps versions
 * (store.h). No agent puts a file in place: `walferry files apply` does, for a DBA. A file has at most
 * SITE_FILE_BYTES_MAX, a member sends at most SITE_FILES_MAX; the log names what is left out.
 */
#ifndef AGENT_FILES_SITE_FILES_H
#define AGENT_FILES_SITE_FILES_H

#include "config/config.h"
#include "files/store.h"

#include "base/loop.h"
#include "base/worker.h"
#include "shipper/wire/frame.h"

#define SITE_FILES_MAX       32
#define SITE_FILES_PEERS_MAX MEMBERS_MAX /* one a link; one more: the member that feeds us */
#define SITE_FILES_QUEUE_MAX                                                                       \
    (SITE_FILES_MAX * (SITE_FILES_PEERS_MAX + 1)) /* every file of every peer */

struct site_file {
    char path[SITE_FILE_PATH_MAX];
    struct timespec modified;
    off_t bytes;
    uint32_t mode;
    uint64_t version; /* grows when the file changes; 0: not read yet */
    uint8_t *content; /* of this version, owned; NULL: not readable */
    size_t length;
};

/* What the worker has to do: keep a file that came, look at our files, or only compare. */
struct site_files_job {
    struct site_files *site;
    char from[MEMBER_NAME_SIZE], path[SITE_FILE_PATH_MAX];
    int64_t modified_us;
    uint32_t mode;
    size_t length;
    uint8_t *bytes; /* to keep, owned; NULL: nothing came */
    bool look;      /* at our files; else the kept files are compared with those here */
    size_t differ;  /* result: how many kept files are not as here */
};

/* A member that gets our files and sends its own. */
struct site_files_peer {
    struct site_files *site;
    const char *member;            /* borrowed; may change */
    int64_t session;               /* since_us of the session that `sent` is about */
    uint64_t sent[SITE_FILES_MAX]; /* the version of each file */
};

struct site_files {
    const struct config *config; /* borrowed */
    const struct member *self;
    struct site_file file[SITE_FILES_MAX]; /* ours, as they are sent */
    size_t files;
    struct site_file seen[SITE_FILES_MAX]; /* ours, as the worker last saw them */
    size_t seen_files;
    struct site_files_peer peer[SITE_FILES_PEERS_MAX + 1];
    int64_t look_us, compare_us;
    struct worker worker;
    struct site_files_job running, queue[SITE_FILES_QUEUE_MAX];
    size_t queued;
    size_t differ;
    bool left_out_said, full_said; /* the worker's: each is logged once */
};

int site_files_init(struct site_files *s, const struct config *config, const struct member *self);
void site_files_release(struct site_files *s); /* accepts a zeroed struct */
void site_files_watch(const struct site_files *s, struct loop *l);

/* Name the member of a peer (0 .. SITE_FILES_PEERS_MAX). Returns what site_files_take wants. */
struct site_files_peer *site_files_peer(struct site_files *s, size_t peer, const char *member);

/* Each turn: give the worker its next job. All file access is the worker's: a file system that
 * hangs stops only the worker. */
void site_files_run(struct site_files *s, int64_t now_us);

/* Give each of our files that this peer has not got in its session to `put` (0, or a negative code:
 * no room, try later). */
void site_files_send(struct site_files *s, size_t peer, int64_t session,
                     int (*put)(void *link, const struct frame *f), void *link);

/* A FILE frame came from a peer (struct site_files_peer *): the worker keeps a copy of it. */
void site_files_take(void *peer, const struct frame *f);

#endif

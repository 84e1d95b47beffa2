/* SPDX-License-Identifier: PostgreSQL */
/*
 * archive: one segment at a time out of the primary's WAL archive, by the member's fetch_command.
 *
 * A restore_command can be pasted: fetch_command is run by /bin/sh, too, with %f (the segment's
 * name), %p (where to put it, an absolute path) and %% filled in; exit 0: the file is there. A
 * worker runs it, in the agent's environment, at most ARCHIVE_LIMIT_US. Exit 0 is not believed: the
 * file must be a whole segment of this cluster, this place and this timeline (pgwal_check); proof.h
 * checks its records.
 */
#ifndef AGENT_RETENTION_ARCHIVE_H
#define AGENT_RETENTION_ARCHIVE_H

#include "base/spawn.h"

#include "base/fail.h"
#include "base/loop.h"
#include "base/identity.h"

#define ARCHIVE_LIMIT_US    (300 * SECOND_US)
#define ARCHIVE_COMMAND_MAX 1024

struct archive_job {
    char command[ARCHIVE_COMMAND_MAX];
    char path[280];
    struct identity identity;
    timeline_t timeline;
    lsn_t lsn;
    struct spawn spawn;
    char reason[FAIL_MESSAGE_MAX]; /* why there is no segment; "" : it is at path */
    int64_t took_us;
};

struct archive {
    struct spawn_worker runs;
    struct archive_job job;
};

int archive_init(struct archive *a);     /* ERR_LOCAL */
void archive_release(struct archive *a); /* ends the command that runs; accepts a zeroed struct */

/* Begin to get the segment of lsn to `path`. ERR_USAGE: the command is too long when filled in. */
int archive_get(struct archive *a, const char *command, const struct identity *identity,
                timeline_t timeline, lsn_t lsn, const char *path);
bool archive_busy(const struct archive *a);
bool archive_done(struct archive *a); /* true once: look at job.reason and job.took_us */

void archive_watch(const struct archive *a, struct loop *l);

#endif

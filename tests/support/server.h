/* SPDX-License-Identifier: PostgreSQL */
/*
 * server: a real PostgreSQL for a test, in a temporary folder of its own under /tmp (data, log,
 * socket), reached by the socket only. It runs as user postgres when the test runs as root, and
 * dies with the test. Programs are found by PGBIN or `pg_config --bindir`.
 *
 * Nothing here gives an error back: what fails ends the test program with a line that says what.
 */
#ifndef TESTS_SUPPORT_SERVER_H
#define TESTS_SUPPORT_SERVER_H

#include "base/lsn.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct server {
    char root[32];
    char pgdata[64];
    char log[64];
    char conninfo[128]; /* as superuser postgres */
    uint32_t segment_bytes;
    pid_t pid; /* of the postmaster; 0: not running */
};

/* initdb; settings are lines for postgresql.conf, "" for none. */
void server_make(struct server *s, unsigned segment_mb, const char *settings);
void server_copy(struct server *copy,
                 const struct server *of);      /* pg_basebackup; a standby of `of`, not started */
void server_start(struct server *s);            /* returns when it answers */
void server_stop(struct server *s, int signal); /* SIGINT fast, SIGQUIT immediate, SIGKILL */
void server_remove(struct server *s); /* ends it, removes its folder; a zeroed one is fine */

/* The first field of the first row, "" for null or none. Valid until the next call. */
const char *server_sql(const struct server *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
lsn_t server_lsn(const struct server *s, const char *expression); /* select expression */

/* A program of PostgreSQL with this server as its environment; stdout and stderr go to the log.
 * Arguments end with NULL. server_wait: true when it ended with 0. */
pid_t server_spawn(const struct server *s, const char *program, ...) __attribute__((sentinel));
bool server_wait(pid_t pid);

/* Bytes of pg_wal's segment file from lsn on, up to its end; how many. -1: not there. */
ssize_t server_wal(const struct server *s, timeline_t timeline, lsn_t lsn, void *out, size_t n);

/* True when a line of the log has all of text; *ret_line is it (valid until the next call). */
bool server_log_line(const struct server *s, const char *text,
                     const char **ret_line); /* the last such */

#endif

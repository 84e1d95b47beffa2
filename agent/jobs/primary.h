/* SPDX-License-Identifier: PostgreSQL */
/*
 * primary: the present primary's PostgreSQL, reached through the tunnel by a command; or that of
 * another member, `other`, where it is not NULL.
 *
 * Plain blocking libpq, for the process of a command. The role is tunnel_user.
 */
#ifndef AGENT_JOBS_PRIMARY_H
#define AGENT_JOBS_PRIMARY_H

#include "config/config.h"

#include "base/lsn.h"

#include <libpq-fe.h>

/* The directory of the socket that leads there (tunnel.h); returns its port. */
const char *primary_door(const struct member *self, const struct member *other, char *out,
                         size_t size);

/* "host=... port=... user=... dbname=..." for a tool. Returns out. */
const char *primary_conninfo(const struct config *config, const struct member *self,
                             const struct member *other, const char *database, char *out,
                             size_t size);

/* ERR_PEER: the tunnel, or the server behind it, does not answer. */
int primary_connect(const struct config *config, const struct member *self,
                    const struct member *other, const char *database, PGconn **ret_connection);

/* The first column of the first row, "" if there is none; ERR_PEER with the server's words. */
int primary_ask(PGconn *connection, const char *query, char *out, size_t size);

/* The rows of a query with at most one argument; NULL: the server refuses, ERR_PEER. */
PGresult *primary_query(PGconn *connection, const char *query, const char *argument);

/* How far its WAL is flushed. ERR_PEER. `primary`: its member's name, in messages. */
int primary_position(PGconn *connection, const char *primary, lsn_t *ret_lsn);

/* From where its slot `slot` keeps WAL. The primary's agent makes the slot, and makes one that has
 * lost its WAL again: waited for. ERR_PEER: there is none. */
int primary_slot(PGconn *connection, const char *primary, const char *slot, lsn_t *ret_restart);

/* A checkpoint, now: by the beginning of a base backup, which is not taken (checkpoint.h says
 * why). Of a standby a restartpoint. */
int primary_checkpoint(const struct config *config, const struct member *self,
                       const struct member *other);

/* Up to n bytes at `at` of a segment in its pg_wal: the count, or ERR_AGAIN: it has no such file. */
int primary_read(PGconn *connection, const char *name, uint64_t at, void *out, size_t n);

/*
 * Copy a segment or history file out of its pg_wal to the path `target`, by a temporary file and a
 * rename. ERR_AGAIN: it has no file of that name.
 */
int primary_fetch(PGconn *connection, const char *name, const char *target);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * settings: the files of a data directory that belong to its host, copied into another directory.
 *
 * pg_basebackup and pg_rewind bring the primary's files. This host's are, at the top and below it
 * but never in PostgreSQL's own directories (base, global, pg_wal ...):
 *
 *   *.conf *.crt *.key *.pem *.crl *.p12, postmaster.opts   by their names
 *   files that a *.conf names                               include 'tuning', @users
 *   links, as links                                         the files behind them stay there
 *
 * Modes stay. A file over SETTINGS_BYTES_MAX is no setting.
 */
#ifndef AGENT_JOBS_SETTINGS_H
#define AGENT_JOBS_SETTINGS_H

#include "jobs/datadir.h"

#define SETTINGS_BYTES_MAX (1u << 20) /* of one file */

/* Make the settings in the directory `to` those of `from`: a setting by its name that is not in
 * `from` is removed. May be repeated. ERR_LOCAL. */
int settings_copy(const char *from, const char *to);

/* This host's settings out of PGDATA, if it is a server's, into the new copy. ERR_LOCAL. */
int settings_keep(const struct datadir *d);

/* pg_rewind gives up at a link that is a file on the primary. ERR_USAGE names the first link. */
int settings_refuse_links(const char *pgdata);

#endif

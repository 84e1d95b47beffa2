/* SPDX-License-Identifier: PostgreSQL */
/*
 * standby settings: what makes a data directory a standby of the local relay.
 */
#ifndef AGENT_JOBS_STANDBY_SETTINGS_H
#define AGENT_JOBS_STANDBY_SETTINGS_H

#include "jobs/job.h"

#include <stddef.h>

/* The line in postgresql.auto.conf behind which all lines are temporary. */
#define STANDBY_OVERRIDES "# walferry rejoin, until it is done:"

/* The program `walferry` as PostgreSQL's settings shall name it. ERR_LOCAL. */
int standby_settings_program(char *out, size_t size);

/*
 * Make the copy in `pgdata` a standby of the local relay: standby.signal, and primary_conninfo,
 * primary_slot_name, restore_command, recovery_target_timeline and wal_retrieve_retry_interval in
 * its postgresql.auto.conf. User and dbname of primary_conninfo, and the slot, which is the
 * primary's for this member, are for the synchronization of logical slots (tunnel/slot_sync.h): the
 * relay streams to any user, of a slot of any name. The server reads that file last, wherever its configuration lies: no file
 * of the DBA's is touched, and none needs an include line. Its other lines stay, except those
 * behind STANDBY_OVERRIDES.
 */
int standby_settings_write(const struct job *j, const char *pgdata);

/* Is postgresql.auto.conf of a base backup whole? PostgreSQL ends it with a newline. ERR_LOCAL: cut
 * off, or filled up with zeros. */
int standby_settings_check(const char *pgdata);

#endif

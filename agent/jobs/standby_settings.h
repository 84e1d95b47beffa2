/*
 * standby settings: what makes a data directory a standby of the local relay.
 */
#ifndef AGENT_JOBS_STANDBY_SETTINGS_H
#define AGENT_JOBS_STANDBY_SETTINGS_H

#include "jobs/job.h"

#include <stddef.h>

/* The line in postgresql.auto.conf behind which all is for a while only. */
#define STANDBY_OVERRIDES "# walferry rejoin, until it is done:"

/* The program `walferry` as PostgreSQL's settings shall name it. ERR_LOCAL. */
int standby_settings_program(char *out, size_t size);

/*
 * Make the copy in `pgdata` a standby of the local relay: standby.signal, and primary_conninfo,
 * restore_command, recovery_target_timeline and wal_retrieve_retry_interval in its
 * postgresql.auto.conf. That is the server's own file, which is read last wherever the
 * configuration lies, and is in the directory that was just made: no file of the DBA's is touched
 * and none has to have an include line. Other lines of it stay, but what
 * is behind STANDBY_OVERRIDES.
 */
int standby_settings_write(const struct job *j, const char *pgdata);

#endif

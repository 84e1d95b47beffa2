/* SPDX-License-Identifier: PostgreSQL */
/*
 * restore_command: what the program of restore_command owes PostgreSQL, both as the launcher and as
 * the main program.
 */
#ifndef AGENT_COMMANDS_RESTORE_COMMAND_H
#define AGENT_COMMANDS_RESTORE_COMMAND_H

#include <stdbool.h>

/* From here on no signal ends this process but with exit 1: PostgreSQL takes a status above 125, or
 * a death by signal, as a reason to stop the standby. */
void restore_begin(void);

/*
 * Is the segment `name`, which is in the spool, better streamed? A standby asks for it (its data
 * directory is the current directory), and the relay of `run` offers it (relay.h). No:
 *   - for a standby that may have been promoted since it started: it would take an absent segment
 *     for the end of its WAL
 *   - if pg_wal has a file of that segment: PostgreSQL reads that file before it streams, and after
 *     a rewind the file may be of the branch that died
 *   - if pg_wal has no room for the rest of the spool
 *   - for a standby that asks for the same segment again and again: it does not stream, and the
 *     offer ends
 */
bool restore_offered(const char *run, const char *spool, const char *name);

#endif

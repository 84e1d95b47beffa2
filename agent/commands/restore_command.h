/*
 * restore: what restore_command's program owes PostgreSQL, in the front and in the main program.
 */
#ifndef AGENT_COMMANDS_RESTORE_COMMAND_H
#define AGENT_COMMANDS_RESTORE_COMMAND_H

#include <stdbool.h>

/* From here on no signal ends this process but with exit 1: PostgreSQL takes a status above 125, or
 * a death by signal, as a reason to stop the standby. */
void restore_begin(void);

/*
 * The segment `name`, which is in the spool, is better streamed: a standby asks for it here (in its
 * data directory, the current one), and the relay of `run` offers it (relay.h). Not to one that
 * somebody may have promoted since it started: it would take that for the end of its WAL. Nor when
 * its pg_wal has a file of that segment: before it streams PostgreSQL would read that one, which
 * after a rewind may be of the branch that died. Nor when pg_wal has no room for the rest of the
 * spool. Who asks for the same segment again and again does not stream: that ends the offer.
 */
bool restore_offered(const char *run, const char *spool, const char *name);

#endif

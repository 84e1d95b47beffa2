/*
 * restore: what restore_command's program owes PostgreSQL, in the front and in the main program.
 */
#ifndef AGENT_RESTORE_H
#define AGENT_RESTORE_H

/* From here on no signal ends this process but with exit 1: PostgreSQL takes a status above 125, or
 * a death by signal, as a reason to stop the standby. */
void restore_begin(void);

#endif

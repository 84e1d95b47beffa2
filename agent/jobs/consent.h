/* SPDX-License-Identifier: PostgreSQL */
/*
 * consent: a command asks the person at the terminal before it changes what cannot be undone.
 */
#ifndef AGENT_JOBS_CONSENT_H
#define AGENT_JOBS_CONSENT_H

#include "config/config.h"

#include <stdbool.h>

/* Is there a terminal to ask on? 0, or 2, the exit code of `command`, after saying so. */
int consent_terminal(const char *command);

/* Ask for the name of this member after `question`; yes: do not ask. 0: go on. Else the exit code:
 * 1 refused, 2 there is no terminal. */
int consent(const char *command, const struct member *self, bool yes, const char *question);

#endif

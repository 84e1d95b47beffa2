/* SPDX-License-Identifier: PostgreSQL */
/*
 * validate: is everything ready for a role change?
 *
 *   validate.c   asks every member for its report, and adds what shows in comparison
 *   postgres.c   what PostgreSQL says of itself
 *   slot_settings.c   ... of its settings that are about slots
 *   fault.c      minor releases that do harm
 *   data.c       what is in its databases
 *   host.c       what the host says: files, commands, disks, keys, the agent
 *   ssh.c        whether this member gets in at the others
 *   compare.c    what shows only when two members' facts lie side by side
 *   query.c      what PostgreSQL and its tools are asked with
 *   finding.c    the lines of a report
 *   service.c    the agent's side: runs `walferry validate --local --json` for who asks
 *
 * This member is judged by this process, with its agent or PostgreSQL up or down. Another member is
 * asked through its agent. The report of a member:
 *
 *   {"member", "site", "role", "checks": [{"check", "result": "ok" | "warn" | "fail", "reason",
 *    "remedy" (a command or setting to type, or null)}], "facts": {...}}
 *
 * Facts are settings, versions, names. They hold no secrets: no conninfo, no command of the DBA.
 * What is unknown is absent in them.
 */
#ifndef AGENT_VALIDATE_VALIDATE_H
#define AGENT_VALIDATE_VALIDATE_H

#include "config/config.h"

#include <jansson.h>

/* The reports of all members, compared; local: this member's alone. A new reference. */
json_t *validate_members(const struct config *config, const struct member *self, bool local);

#endif

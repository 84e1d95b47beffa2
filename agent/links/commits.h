/* SPDX-License-Identifier: PostgreSQL */
/*
 * commits: whose confirmation the commits of the primary wait for. The hands of pool/quorum.h: what
 * the links know goes in, synchronous_standby_names goes into <spool>/walferry.conf.
 *
 * Only what this agent wrote is replaced: a value that was set elsewhere stays. A standby's is
 * emptied: promoted by hand, it would have nobody to wait for.
 */
#ifndef AGENT_LINKS_COMMITS_H
#define AGENT_LINKS_COMMITS_H

#include "links/outgoing.h"

/* Once a second. */
void commits_keep(struct outgoing *o);

/* Is this a primary whose commits do not wait as the pool's file says, and why not? */
bool commits_lack(const struct outgoing *o, char *out, size_t size);

/* ... or whose commits wait for members that are lost, and for whom? */
bool commits_hang(const struct outgoing *o, char *out, size_t size);

#endif

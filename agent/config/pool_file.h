/* SPDX-License-Identifier: PostgreSQL */
/*
 * pool_file: the pool's file on this host, shown to and replaced for `walferry config`, which asks
 * the agent of this host and, through the tunnel, those of the others.
 *
 * A file that comes from afar is checked whole, as this host would read it at its next start. It
 * may not change what runs here, which files and directories are used, or where the members are
 * (ssh, host_key, known_hosts; a new member): a key that was stolen on another host must not do
 * that. The last POOL_FILE_KEPT predecessors stay in <spool>/config. A new file counts from the
 * agent's next start on.
 */
#ifndef AGENT_CONFIG_POOL_FILE_H
#define AGENT_CONFIG_POOL_FILE_H

#include "config/config.h"
#include "control/control.h"

#define POOL_FILE_KEPT 20

/* The bytes of a pool's file, a 0 behind them. Their count, or ERR_LOCAL. */
ssize_t pool_file_load(const char *file, char text[CONFIG_BYTES_MAX + 1]);

/*
 * Check a new file as this host would read it at its next start; from_afar: with what another host
 * may not change. Every error is a line of `errors`; every limit that is weaker than before is a
 * line of `weaker`. 0, ERR_USAGE or ERR_LOCAL.
 */
int pool_file_check(const struct config *before, const struct member *old, const char *text,
                    size_t length, bool from_afar, FILE *errors, FILE *weaker);

/* May this user make a new file beside `file`? 0 or ERR_LOCAL, and a line of `errors`. */
int pool_file_check_folder(const char *file, FILE *errors);

/* Keep the file that is here in the spool, and put the text in its place. ERR_LOCAL. */
int pool_file_install(const struct config *config, const struct member *self, const char *text,
                      size_t length);

/* Answer {"command": "config", "do": "show" | "check" | "install", "text": ...} of a client. */
void pool_file_answer(struct control *control, uint64_t client, const json_t *request,
                      const struct config *config, const struct member *self);

#endif

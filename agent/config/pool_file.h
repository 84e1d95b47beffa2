/*
 * pool_file: the pool's file as it stands on each member: shown, compared, replaced. `walferry
 * config` asks the agents, this one's and, through the tunnel, the others'.
 *
 * A file that comes from afar is checked whole as this host would read it at its next start; it may
 * not change what runs here, which files and directories are used, or where the members are (ssh,
 * host_key, known_hosts; a new member): the key that brought it can do one thing. The predecessors
 * stay in <spool>/config, POOL_FILE_KEPT of them. Nothing is taken up before the agent's next start.
 */
#ifndef AGENT_CONFIG_POOL_FILE_H
#define AGENT_CONFIG_POOL_FILE_H

#include "control/control.h"
#include "config/config.h"

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

/* The request {"command": "config", "do": "show" | "check" | "install", "text": ...} of a client.
 */
void pool_file_answer(struct control *control, uint64_t client, const json_t *request,
                      const struct config *config, const struct member *self);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/*
 * tool: PostgreSQL's own programs (pg_controldata, pg_rewind ...), started by argv and without a
 * shell, and waited for. This blocks: it is for the processes of commands, never for a loop.
 */
#ifndef AGENT_POSTGRES_TOOL_H
#define AGENT_POSTGRES_TOOL_H

/*
 * Run argv[0] (an absolute path, or a program of bindir) and wait for it. It dies with this
 * process, also when this one is killed with -9, and holds `lock` (-1: none) until it ends. Each
 * line of its output, also a line that ends with \r, goes to `each` (NULL: to nobody).
 *
 * 0; 1: a line was too long to be read and is missing. ERR_PEER: the program ended with another
 * status than 0, the message has its last lines. ERR_LOCAL: it cannot be started.
 */
int tool_run(const char *bindir, int lock, const char *const argv[],
             void (*each)(void *context, const char *line), void *context);

/*
 * Run a program that leaves a server behind, and wait for the program. The server must outlive this
 * process, so it holds no lock; it would hold a pipe open for ever, so the output goes to the file
 * `output` (empty). `name`: of the program, in messages. 0, or the errors of tool_run.
 */
int tool_start(const char *path, const char *const argv[], const char *name, int output);

#endif

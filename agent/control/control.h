/* SPDX-License-Identifier: PostgreSQL */
/*
 * control: the agent's Unix socket <run>/control for the commands of this host.
 *
 * A client sends one JSON object in one line, {"command": "..."}; the agent answers with lines of
 * JSON, the last of which has "done": true and "code" (the command's exit code), or "error" from a
 * tunnel that does not reach the agent. Lines before it
 * are progress: {"text": "..."}. Peer uid is ours or root. Bounds: CONTROL_CLIENTS_MAX clients, a
 * request of 256 kB, 1 MB of unread answers; a client that does not ask within 10 s is dropped.
 */
#ifndef AGENT_CONTROL_CONTROL_H
#define AGENT_CONTROL_CONTROL_H

#include "base/buf.h"
#include "base/unix_socket.h"
#include "base/loop.h"

#include <jansson.h>
#include <stdbool.h>

#define CONTROL_CLIENTS_MAX 16

/* Exit codes beside 0 done, 1 refused or failed, 2 usage. */
#define EXIT_MISSING   3   /* promoted, but acknowledged WAL is missing */
#define EXIT_CANCELLED 130 /* as of a command that Ctrl-C ends */

struct control_client {
    int fd; /* -1: free */
    struct buf in, out;
    json_t *request; /* waiting for control_request to give it away */
    bool afar;       /* it came through a tunnel */
    bool only_asks;  /* ... of a key that may change nothing */
    bool answered;   /* "done" is in out: close when it is written */
    int64_t due_us;
    uint64_t id;
};

struct control {
    int fd;
    char path[UNIX_SOCKET_PATH_SIZE];
    struct control_client client[CONTROL_CLIENTS_MAX];
    uint64_t next_id;
};

int control_open(struct control *c, const char *run); /* ERR_LOCAL */
void control_close(struct control *c);
void control_watch(const struct control *c, struct loop *l);
void control_run(struct control *c, const struct loop *l, int64_t now_us);

/* A client that comes through a tunnel: fd is the control's from here on. False: no place. */
bool control_adopt(struct control *c, int fd, bool only_asks, int64_t now_us);
bool control_afar(const struct control *c, uint64_t id);
bool control_only_asks(const struct control *c, uint64_t id); /* it may change nothing */

bool control_listens(const struct control *c, uint64_t id); /* it has not ended yet */

/* The next request, if any: its client's id and the object (owned by the caller). */
bool control_request(struct control *c, uint64_t *ret_id, json_t **ret_request);

/* Write a line to a client, if it is still there. Takes over the reference. */
void control_answer(struct control *c, uint64_t id, json_t *line);
void control_text(struct control *c, uint64_t id, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void control_done(struct control *c, uint64_t id, int code);

/*
 * The client's half: ask the agent of `run`, give every line to `each`, its texts safe to print
 * (newlines stay), until done. Takes over
 * `request`. The command's exit code; ERR_PEER when no agent answers (message names the socket).
 */
int control_ask(const char *run, json_t *request, void (*each)(void *context, json_t *line),
                void *context);

/* The same with an agent that may hang: ERR_PEER when it is silent for so long. */
int control_ask_within(const char *run, int seconds, json_t *request,
                       void (*each)(void *context, json_t *line), void *context);

/* The same; when a signal interrupts it, `interrupted` has the exit code, and is called while the
 * agent still sees that somebody listens. */
int control_ask_or(const char *run, json_t *request, void (*each)(void *context, json_t *line),
                   int (*interrupted)(void *context), void *context);

/* For `each`: keep the last line. context: a json_t *, NULL at first, the caller's to release. */
void control_keep(void *context, json_t *line);

#endif

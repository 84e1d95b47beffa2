/* SPDX-License-Identifier: PostgreSQL */
/*
 * inlet: where sshd's sessions enter the agent, and the I/O half of the receiver.
 *
 * `walferry receive`, started by sshd, connects to <run>/inlet and hands over its descriptors 0
 * and 1 (inlet_hand_over, SCM_RIGHTS); from then on the agent reads sshd's pipe itself. Exactly two
 * descriptors are taken, from our own user or root; they are set CLOEXEC and non-blocking. At most
 * INLET_SESSIONS_MAX sessions; HELLO within 10 s; HELLO's member must be the one that the key is
 * bound to (--from). What the key may not do (--no-tunnel) is handed over, too: the agent judges.
 * One session at a time feeds the receiver, over one SSH connection or several (lanes, which join
 * it by themselves). Only another dial of the same start of its agent takes its place, told by the
 * incarnation, which nobody else knows; another start of that member's agent is a rival, and
 * refused while the session lives. A lane ends when its SSH has ended and its whole frames were
 * taken, at the spool's pace; the session ends with its last lane.
 *
 * The inlet judges nothing about the pool: inlet_greeting gives the session that said HELLO, and
 * the agent answers with inlet_accept or inlet_refuse.
 */
#ifndef SHIPPER_RECEIVER_INLET_H
#define SHIPPER_RECEIVER_INLET_H

#include "base/buf.h"
#include "base/fail.h"
#include "base/unix_socket.h"
#include "base/loop.h"
#include "shipper/receiver/receiver.h"

#define INLET_SESSIONS_MAX 64
#define INLET_IN_BYTES     (512u << 10)
#define INLET_OUT_BYTES    (64u << 10)

struct session; /* inlet.c */

struct inlet {
    int fd; /* listening */
    char path[UNIX_SOCKET_PATH_SIZE];
    struct session *session[INLET_SESSIONS_MAX];
    bool full;            /* the last connection found no place */
    struct session *live; /* the lane that answers for the session; NULL: none */
    uint64_t incarnation; /* of that session; 0: there is none */
    struct receiver *receiver;
    int64_t since_us; /* up since, or down since; 0: never was up */
    int64_t rival_us; /* when a rival was last refused; 0: none since the session began */
    int64_t rival_told_us;
    uint64_t ended; /* sessions that ended after they were accepted */
    int64_t
        refused_us;    /* when a HELLO was last refused so that a DBA has to act, or its WAL did not
                           continue the spool; 0: not since one was accepted */
    bool refuted;      /* the last session brought WAL that does not continue the spool */
    char reason[1024]; /* why the last session ended, or the last HELLO was refused; "" while a
                          session lives */
    char goodbye[FAIL_MESSAGE_MAX]; /* came over one of several lanes: the others end, too */
};

int inlet_open(struct inlet *i, const char *run, struct receiver *receiver); /* ERR_LOCAL */
void inlet_close(struct inlet *i);

void inlet_watch(const struct inlet *i, struct loop *l);
/* One turn. 0, or the error of the spool that ended the live session: ERR_LOCAL or ERR_CORRUPT (the
 * far side was told, the log is the caller's); errors of a peer only end that peer's session. */
int inlet_run(struct inlet *i, const struct loop *l, int64_t now_us, int64_t wall_us);

/* A session that said HELLO and waits for the answer; false when there is none. */
bool inlet_greeting(struct inlet *i, int64_t now_us, struct session **ret_session,
                    const struct hello **ret_hello);
/* A frame ahead of the answer. */
void inlet_tell(struct session *s, const struct frame *f);
int inlet_accept(struct inlet *i, struct session *s, timeline_t wanted_timeline, lsn_t wanted,
                 uint64_t config_digest, int64_t now_us);
bool inlet_no_tunnel(const struct session *s); /* its key is bound with --no-tunnel */
void inlet_refuse(struct inlet *i, struct session *s, enum refuse_kind kind,
                  const struct epoch_origin *origin, const char *reason);

/* A connection that began with TUNNEL, taken out of the inlet: its descriptors and what came behind
 * the TUNNEL are the caller's from now on. False when there is none. */
struct handed {
    int fd;                      /* to `walferry receive`; closing it ends that process */
    int in, out;                 /* sshd's pipes, non-blocking */
    char from[MEMBER_NAME_SIZE]; /* what the key is bound to */
    bool no_tunnel;              /* ... and may not do */
    struct buf input, output;
};
bool inlet_stream(struct inlet *i, struct handed *ret_handed, struct tunnel_request *ret_request);
/* The same of a session that said HELLO (inlet_greeting): what it was told is in `output`. */
void inlet_hand_out(struct inlet *i, struct session *s, struct handed *ret_handed);
void handed_close(struct handed *h); /* accepts one that was closed */

/* End the living session, all lanes of it, telling why. */
void inlet_end(struct inlet *i, const char *reason);

/* Take no WAL, but hear everything else; or take it again: a session whose WAL was dropped ends. */
void inlet_shut(struct inlet *i, bool shut);

/* Does somebody arrive who may be the next session: before HELLO, or as a rival of this one? */
bool inlet_arrives(const struct inlet *i, int64_t now_us);
unsigned inlet_lanes(const struct inlet *i); /* of the living session */
bool inlet_behind(const struct inlet *i);    /* its bytes wait here to be taken */

/* Write the answers now (after receiver_report and the like). */
void inlet_push(struct inlet *i);

/*
 * The client's half, in the process that sshd started: hand descriptors 0 and 1 to the agent of
 * `run` and wait until it lets go. `from` and `no_tunnel` are what the key is bound to. 0; ERR_PEER
 * when no agent listens there (nothing was handed over: the caller still can answer on descriptor
 * 1).
 */
int inlet_hand_over(const char *run, const char *from, bool no_tunnel);

#endif

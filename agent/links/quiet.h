/* SPDX-License-Identifier: PostgreSQL */
/*
 * quiet: each two members that have no link of WAL between them keep a quiet session (frame.h): a
 * knock that stays. Over it goes who is the primary, at once when that changes, and where members
 * stand (pool/known.h), and files outside the WAL (files/site_files.h).
 *
 * Which of the two dials is a rule (known_dials): the one that stands first in the pool's file, the
 * other one when that did not for QUIET_SILENT_US. A dial that fails is tried again after
 * QUIET_REST_US, in the end after QUIET_REST_MAX_US, so that no sshd takes it for an attack.
 *
 * What comes is taken as asked (ask.h): the word of a member that was dialled is its own. Over a
 * session that came in an epoch is no more than a reason to ask, and news and files count once its
 * member has called the session its own: news come again, files are held until then. One session that came in for each member; one that is its member's own
 * gives its place only to a later dial of the same start of its agent.
 *
 * At most a lane and a session that came in for each other member, with their buffers, which are
 * made with the connection.
 */
#ifndef AGENT_LINKS_QUIET_H
#define AGENT_LINKS_QUIET_H

#include "links/incoming.h"
#include "links/outgoing.h"

#define QUIET_HELD_BYTES  (2u << 20) /* more than all files of a member */
#define QUIET_REST_US     SECOND_US
#define QUIET_REST_MAX_US (5 * SECOND_US)

/* What was last said in a session: the next is said at once when it is another. */
struct quiet_said {
    struct epoch epoch;
    size_t changes;
    enum role role;
    struct promise asks; /* what a failover here asks for; number 0: none does */
};

/* One direction's session, whoever has dialled it. */
struct quiet_talk {
    int64_t since_us, heard_us, said_us; /* said_us 0: nothing yet */
    struct echo echo;
    unsigned turn;
    struct quiet_said said;
};

struct quiet {
    struct quiets *quiets;
    struct ask *ask; /* of the same member */
    const struct member *to;
    bool earlier; /* this member stands before it in the pool's file */
    /* dialled from here */
    struct lane lane;
    bool made; /* the lane */
    enum quiet_state { QUIET_RESTS, QUIET_DIALS, QUIET_GREETS, QUIET_UP } state;
    int64_t due_us, backoff_us;
    struct log_memory failed;
    struct quiet_talk dialled;
    /* came in */
    struct handed handed;
    bool here;
    bool own; /* by its member's word */
    uint64_t incarnation;
    struct buf held;      /* its files, until it is known whose they are */
    struct epoch claimed; /* the last one that was told over it; number 0: none */
    struct quiet_talk came;
    int64_t heard_us; /* of its member itself, in either, or in one that is over; 0: never */
    int64_t came_us;  /* when there was one of its own last, or a link; else when this began */
};

struct quiets {
    const struct who *who; /* borrowed, as all these */
    struct asks *asks;
    struct outgoing *out;
    struct incoming *in;
    struct quiet quiet[MEMBERS_MAX];
    size_t count;
    /* Puts the news for that member into the turn-th POOL; they stay there until the next call. */
    void (*compose)(void *context, const char *to, unsigned turn, const struct echo *echo,
                    struct frame *pool);
    void *context;
};

void quiets_open(struct quiets *q, const struct who *who, struct asks *asks, struct outgoing *out,
                 struct incoming *in, int64_t now_us);
void quiets_close(struct quiets *q); /* accepts a zeroed struct */
void quiets_watch(const struct quiets *q, struct loop *l, int64_t now_us);
void quiets_run(struct quiets *q, const struct loop *l, int64_t now_us);

/* When that member itself spoke last in a quiet session; 0: never. */
int64_t quiets_heard_us(const struct quiets *q, const char *member);

/* What goes to that member, and since when; NULL: there is no session with that member itself. */
struct buf *quiets_out(struct quiets *q, const char *member, int64_t *ret_since_us);

/* As `stays` of struct incoming. */
bool quiets_take(void *quiets, struct session *s, const struct hello *h);

#endif

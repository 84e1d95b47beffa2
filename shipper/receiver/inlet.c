/* SPDX-License-Identifier: PostgreSQL */
/*
 * See inlet.h. A session's life: connected -> handed (its descriptors are here) -> greeted (HELLO
 * is here, the agent judges) -> live, or refused: then `output` is still written before it ends.
 * judge_end says who ends and when, weigh_greeting what a new HELLO does to a living session.
 */
#include "shipper/receiver/inlet.h"

#include "hand_over.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/unix_socket.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define GREETING_US     (10 * SECOND_US)
#define LEAVING_US      (2 * SECOND_US)
#define REST_US         (2 * SECOND_US)
#define PIPE_BYTES      (1 << 20)
#define FRAMES_PER_TURN 64
#define RIVAL_TOLD_US   (60 * SECOND_US)
#define ARRIVES_US      (5 * SECOND_US) /* a rival dials again */

enum session_state {
    SESSION_CONNECTED,
    SESSION_HANDED,
    SESSION_GREETED,
    SESSION_STREAM, /* TUNNEL is here, the agent takes it in this turn */
    SESSION_LIVE,
    SESSION_LEAVING
};

struct session {
    enum session_state state;
    int fd;      /* to `walferry receive`; closing it ends that process */
    int in, out; /* sshd's pipes */
    char from[MEMBER_NAME_SIZE];
    bool no_tunnel;
    struct buf input, output;
    struct hello hello; /* points into input while GREETED */
    size_t hello_bytes;
    int64_t due_us;
    bool stalled; /* the spool waits for a flush: read no further */
    bool ended;   /* its SSH has ended; the bytes that came are still taken */
    bool mute;    /* its far side reads no answers any more */
};

int
inlet_open(struct inlet *i, const char *run, struct receiver *receiver)
{
    *i = (struct inlet){.fd = -1, .receiver = receiver};
    i->rival_told_us = -RIVAL_TOLD_US;
    snprintf(i->reason, sizeof i->reason, "no agent of another site has connected yet");
    snprintf(i->path, sizeof i->path, "%s/inlet", run);
    return unix_socket_listen(i->path, 16, &i->fd);
}

static const struct epoch_origin no_origin;

static void
close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void
free_session(struct inlet *i, struct session *s)
{
    for (size_t n = 0; n < INLET_SESSIONS_MAX; n++)
        if (i->session[n] == s)
            i->session[n] = NULL;
    close_fd(&s->fd);
    close_fd(&s->in);
    close_fd(&s->out);
    buf_release(&s->input);
    buf_release(&s->output);
    free(s);
}

/* The session at place n, if it is a lane of the living session; or NULL. */
static struct session *
lane_at(const struct inlet *i, size_t n)
{
    struct session *s = i->session[n];

    return s != NULL && s->state == SESSION_LIVE ? s : NULL;
}

/* Another lane of the living session than s, or NULL. */
static struct session *
sibling(const struct inlet *i, const struct session *s)
{
    for (size_t n = 0; n < INLET_SESSIONS_MAX; n++)
        if (lane_at(i, n) != NULL && lane_at(i, n) != s)
            return lane_at(i, n);
    return NULL;
}

static void
answer_on(struct inlet *i, struct session *s)
{
    i->live = s;
    receiver_lane(i->receiver, &s->output);
}

/* One lane of several ended: what it did not deliver comes again over another lane. */
static void
lose_lane(struct inlet *i, struct session *s)
{
    log_info("link from %s: a lane ended", s->from);
    if (i->live == s)
        answer_on(i, sibling(i, s));
    free_session(i, s);
}

void
inlet_close(struct inlet *i)
{
    if (i->live != NULL)
        receiver_close(i->receiver);
    i->live = NULL;
    for (size_t n = 0; n < INLET_SESSIONS_MAX; n++)
        if (i->session[n] != NULL)
            free_session(i, i->session[n]);
    if (i->path[0] != '\0' && i->fd >= 0)
        unlink(i->path);
    close_fd(&i->fd);
}

static void
accept_sessions(struct inlet *i, int64_t now_us)
{
    int fd;

    while ((fd = accept4(i->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        struct session *s = NULL;
        size_t n = 0;

        while (n < INLET_SESSIONS_MAX && i->session[n] != NULL)
            n++;
        if (n == INLET_SESSIONS_MAX && !i->full)
            log_warning("inlet: all %d places are taken, more sessions are turned away",
                        INLET_SESSIONS_MAX);
        i->full = n == INLET_SESSIONS_MAX;
        if (n < INLET_SESSIONS_MAX && unix_socket_peer_is_ours(fd))
            s = malloc(sizeof *s);
        if (s == NULL) {
            close(fd);
            continue;
        }
        *s = (struct session){.fd = fd, .in = -1, .out = -1, .due_us = now_us + GREETING_US};
        i->session[n] = s;
    }
}

static int
take_descriptors(struct session *s)
{
    int got = hand_over_take(s->fd, s->from, &s->no_tunnel, &s->in, &s->out);

    if (got == 0)
        s->state = SESSION_LEAVING;
    if (got <= 0)
        return got == ERR_AGAIN ? 0 : got;
    if (fcntl(s->in, F_SETFL, O_NONBLOCK) < 0 || fcntl(s->out, F_SETFL, O_NONBLOCK) < 0)
        return fail_sys(ERR_PEER, "the session's descriptors cannot be used");
    fcntl(s->in, F_SETPIPE_SZ, PIPE_BYTES); /* fewer wake-ups; no loss where it is refused */
    if (buf_init(&s->input, INLET_IN_BYTES) < 0 || buf_init(&s->output, INLET_OUT_BYTES) < 0)
        return ERR_LOCAL;
    s->state = SESSION_HANDED;
    return 0;
}

static int
read_input(struct session *s)
{
    size_t room = buf_room(&s->input);
    uint8_t *at;
    ssize_t got;

    if (room < INLET_IN_BYTES / 4)
        return 0;
    at = buf_reserve(&s->input, room);
    got = read(s->in, at, room);
    if (got > 0)
        buf_commit(&s->input, (size_t)got);
    if (got == 0)
        return fail(ERR_PEER, "the SSH session from %s ended", s->from);
    if (got < 0 && errno != EAGAIN && errno != EINTR)
        return fail_sys(ERR_PEER, "cannot read from the SSH session of %s", s->from);
    return 0;
}

/* Do bytes wait to be taken? Fewer than `least` of them in the pipe do not count. */
static bool
has_more(const struct session *s, int least)
{
    struct frame f;
    int unread = 0;

    return s->stalled || frame_next(&s->input, &f) == 1 ||
           (!s->ended && ioctl(s->in, FIONREAD, &unread) == 0 && unread >= least);
}

bool
inlet_behind(const struct inlet *i)
{
    for (size_t n = 0; n < INLET_SESSIONS_MAX; n++)
        if (lane_at(i, n) != NULL && has_more(lane_at(i, n), 1))
            return true;
    return false;
}

static int
write_output(struct session *s)
{
    while (buf_used(&s->output) > 0) {
        ssize_t put = write(s->out, buf_data(&s->output), buf_used(&s->output));

        if (put < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (put < 0)
            return fail_sys(ERR_PEER, "cannot write to the SSH session of %s", s->from);
        buf_consume(&s->output, (size_t)put);
    }
    return 0;
}

static int
take_hello(struct session *s, int64_t now_us)
{
    struct frame f;
    int got = frame_next(&s->input, &f);

    if (got <= 0)
        return got;
    if (f.type == FRAME_TUNNEL) {
        s->state = SESSION_STREAM;
        return 0;
    }
    if (f.type != FRAME_HELLO)
        return fail(ERR_PEER, "a session must begin with HELLO");
    s->hello = f.hello;
    s->hello_bytes = f.bytes;
    s->state = SESSION_GREETED;
    s->due_us = now_us + REST_US;
    return 0;
}

static int
take_frames(struct inlet *i, struct session *s, int64_t now_us, int64_t wall_us)
{
    struct frame f;
    int got = 0, code = receiver_go_on(i->receiver, now_us);

    for (int n = 0; code == 0 && n < FRAMES_PER_TURN && (got = frame_next(&s->input, &f)) == 1;
         n++) {
        code = receiver_frame(i->receiver, &f, now_us, wall_us);
        if (code == ERR_PEER &&
            f.type == FRAME_GOODBYE) { /* the other lanes may still have earlier frames */
            snprintf(i->goodbye, sizeof i->goodbye, "%s", fail_message());
            s->ended = s->mute = true;
            code = 0;
        }
        if (code < 0)
            break;
        buf_consume(&s->input, f.bytes);
        code = receiver_go_on(i->receiver, now_us);
    }
    s->stalled = code == ERR_AGAIN;
    if (s->stalled)
        return 0;
    return code < 0 ? code : got < 0 ? got : 0;
}

/*
 * When the SSH session has ended, the pipe may still hold a megabyte that a lost host never sends
 * again: it is taken up to the last whole frame, at the spool's pace, also when nobody reads our
 * answers any more.
 */
static int
run_lane(struct inlet *i, struct session *s, const struct loop *l, int64_t now_us, int64_t wall_us)
{
    int code;

    if (!s->ended && loop_ready(l, s->in) != 0 && read_input(s) < 0)
        s->ended = s->mute = true;
    code = take_frames(i, s, now_us, wall_us);
    i->receiver->busy |= has_more(s, PIPE_BYTES / 4);
    if (code == 0 && s == i->live)
        code = receiver_tick(i->receiver, now_us);
    if (!s->mute && write_output(s) < 0)
        s->mute = true;
    for (size_t n = 0; n < INLET_SESSIONS_MAX && i->live->mute; n++)
        if (lane_at(i, n) != NULL && !lane_at(i, n)->mute)
            answer_on(i, lane_at(i, n));
    return code;
}

static void
leave(struct session *s)
{
    s->state = SESSION_LEAVING;
    s->due_us = clock_us() + LEAVING_US;
    write_output(s); /* the rest goes in later turns, until due_us */
}

/* What came is no HELLO that we understand. An older agent reads our REFUSE, too. */
static void
refuse_strange(struct session *s)
{
    log_warning("link from %s refused: %s", s->from, fail_message());
    frame_put_refuse(&s->output, REFUSE_OPERATOR, &no_origin, fail_message());
    leave(s);
}

/* Go on: read, take, write. 0, or what went wrong. */
static int
run_session(struct inlet *i, struct session *s, const struct loop *l, int64_t now_us,
            int64_t wall_us)
{
    int code = 0;

    switch (s->state) {
    case SESSION_CONNECTED:
        if (loop_ready(l, s->fd) != 0)
            code = take_descriptors(s);
        break;
    case SESSION_HANDED:
        code = read_input(s);
        if (code == 0 && take_hello(s, now_us) < 0)
            refuse_strange(s);
        break;
    case SESSION_GREETED:
    case SESSION_STREAM:
        return 0;
    case SESSION_LIVE:
        return run_lane(i, s, l, now_us, wall_us);
    case SESSION_LEAVING:
        break;
    }
    return code == 0 && s->out >= 0 ? write_output(s) : code;
}

enum fate { FATE_STAYS, FATE_LANE_ENDS, FATE_SESSION_ENDS, FATE_IS_FREED };

/*
 * Who ends, and when, after a turn that gave *code:
 *   before HELLO     at an error, or 10 s after it came
 *   greeted          never here: the caller answers
 *   leaving          when all is written, at an error, or after 2 s
 *   a lane           when its SSH has ended and its last whole frame was taken
 *   living session   with its last lane; at once at an error of a frame or of the spool, and when
 *                    nothing was heard for 5 s (receiver_tick)
 * What a new HELLO ends is weigh_greeting's to say. *code and the message say why.
 */
static enum fate
judge_end(const struct inlet *i, const struct session *s, int *code, int64_t now_us)
{
    struct frame f;

    switch (s->state) {
    case SESSION_CONNECTED:
    case SESSION_HANDED:
        if (*code == 0 && now_us >= s->due_us)
            *code = fail(ERR_PEER, "no HELLO from %s within 10 s",
                         s->from[0] != '\0' ? s->from : "a session");
        return *code < 0 ? FATE_IS_FREED : FATE_STAYS;
    case SESSION_GREETED:
    case SESSION_STREAM:
        break;
    case SESSION_LEAVING:
        return *code < 0 || buf_used(&s->output) == 0 || now_us >= s->due_us ? FATE_IS_FREED
                                                                             : FATE_STAYS;
    case SESSION_LIVE:
        if (*code == 0 && s->ended && !s->stalled && frame_next(&s->input, &f) != 1) {
            if (sibling(i, s) != NULL)
                return FATE_LANE_ENDS;
            *code = fail(ERR_PEER, "the SSH session from %s ended", s->from);
        }
        if (*code == ERR_PEER && i->goodbye[0] != '\0')
            fail(*code, "%s", i->goodbye);
        return *code < 0 ? FATE_SESSION_ENDS : FATE_STAYS;
    }
    return FATE_STAYS;
}

/* After a session whose WAL did not continue the spool the next one is up when its WAL does. */
static void
tell_up(struct inlet *i)
{
    i->refuted = false;
    i->refused_us = 0;
    log_info("link from %s: up, %s", i->live->from,
             spool_empty(i->receiver->into) ? "the spool is fresh" : "going on");
}

int
inlet_run(struct inlet *i, const struct loop *l, int64_t now_us, int64_t wall_us)
{
    char why[FAIL_MESSAGE_MAX];
    int result = 0;

    if (loop_ready(l, i->fd) != 0)
        accept_sessions(i, now_us);
    i->receiver->busy = false;
    for (size_t n = 0; n < INLET_SESSIONS_MAX; n++) {
        struct session *s = i->session[n];
        int code = s == NULL ? 0 : run_session(i, s, l, now_us, wall_us);

        switch (s == NULL ? FATE_STAYS : judge_end(i, s, &code, now_us)) {
        case FATE_STAYS:
            break;
        case FATE_LANE_ENDS:
            lose_lane(i, s);
            break;
        case FATE_SESSION_ENDS:
            if (code == ERR_PEER) {
                log_warning("link from %s: %s", s->from, fail_message());
            } else {
                result = code;
                snprintf(why, sizeof why, "%s", fail_message());
            }
            if (code == ERR_CORRUPT)
                i->refused_us = now_us;
            i->refuted |= code == ERR_CORRUPT;
            inlet_end(i, fail_message());
            break;
        case FATE_IS_FREED:
            if (s->state != SESSION_LEAVING)
                log_warning("inlet: %s", fail_message());
            free_session(i, s);
            break;
        }
    }
    if (i->refuted && i->live != NULL && i->receiver->compared >= i->receiver->into->flushed)
        tell_up(i);
    return result < 0 ? fail(result, "%s", why) : 0; /* other lanes have ended since */
}

/* Is the SSH connection of any lane still open? */
static bool
is_connected(const struct inlet *i)
{
    for (size_t n = 0; n < INLET_SESSIONS_MAX; n++)
        if (lane_at(i, n) != NULL && !lane_at(i, n)->ended)
            return true;
    return false;
}

/* A lane that waits for our disk is not read: its SSH may have ended long ago. */
static bool
is_stalled(const struct inlet *i)
{
    for (size_t n = 0; n < INLET_SESSIONS_MAX; n++)
        if (lane_at(i, n) != NULL && lane_at(i, n)->stalled)
            return true;
    return false;
}

enum greeting {
    GREETING_ASKS,  /* the caller judges it; accepted, it takes the living session's place */
    GREETING_WAITS, /* asks later */
    GREETING_JOINS,
    GREETING_LATE,
    GREETING_MISNAMED,
    GREETING_RIVAL,
};

/*
 * What a new HELLO means for the living session, the first that fits:
 *   a lane of it     joins, unjudged: the session was judged. Late when that session is over
 *   a later dial     waits, up to 2 s, until the session's last frames are taken: they may never
 *                    come again
 *   another name     misnamed: not the member that its key is bound to
 *   another start    of the same member's agent: a rival while an SSH connection of the session
 *                    lives. Only the same start knows the incarnation
 *   else             asks: a knock, another member, a later dial of the same start
 */
static enum greeting
weigh_greeting(const struct inlet *i, const struct session *s, int64_t now_us)
{
    bool same = i->live != NULL && strcmp(i->live->from, s->from) == 0;
    uint64_t ours = same ? i->incarnation : 0, theirs = s->hello.incarnation;

    if (s->hello.lane != 0 && s->hello.lane != HELLO_KNOCKS)
        return same && theirs == ours ? GREETING_JOINS : GREETING_LATE;
    if (same && s->hello.lane == 0 && theirs > ours && now_us < s->due_us && inlet_behind(i))
        return GREETING_WAITS;
    if (strcmp(s->hello.from, s->from) != 0)
        return GREETING_MISNAMED;
    if (same && s->hello.lane == 0 && !session_follows(theirs, ours) && is_connected(i))
        return GREETING_RIVAL;
    return GREETING_ASKS;
}

static void
join(struct session *s)
{
    struct frame accepted = {.type = FRAME_ACCEPT};

    buf_consume(&s->input, s->hello_bytes);
    s->state = SESSION_LIVE;
    s->due_us = NEVER_US;
    frame_put(&s->output, &accepted);
}

static void
refuse_misnamed(struct inlet *i, struct session *s)
{
    char reason[256];

    snprintf(
        reason, sizeof reason,
        "HELLO says %s, but the key is bound to --from %s: correct authorized_keys on this host, or "
        "the identity of that member",
        s->hello.from, s->from);
    inlet_refuse(i, s, REFUSE_OPERATOR, &no_origin, reason);
}

static void
refuse_rival(struct inlet *i, struct session *s, int64_t now_us)
{
    if (is_stalled(i)) {
        inlet_refuse(i, s, REFUSE_RETRY, &no_origin,
                     "the disk here is slow, and what the last session has brought goes first");
        return;
    }
    if (now_us - i->rival_told_us >= RIVAL_TOLD_US) {
        log_warning("link from %s: another agent with its key is refused while the session lives: "
                    "is there a second one, or was the key copied? sshd's log tells from where",
                    s->from);
        i->rival_told_us = now_us;
    }
    i->rival_us = now_us;
    inlet_refuse(i, s, REFUSE_RETRY, &no_origin,
                 "the session of another start of this member's agent lives here: it is over 5 s "
                 "after nothing more is heard of it");
}

bool
inlet_greeting(struct inlet *i, int64_t now_us, struct session **ret_session,
               const struct hello **ret_hello)
{
    for (size_t n = 0; n < INLET_SESSIONS_MAX; n++) {
        struct session *s = i->session[n];

        if (s == NULL || s->state != SESSION_GREETED)
            continue;
        switch (weigh_greeting(i, s, now_us)) {
        case GREETING_ASKS:
            *ret_session = s;
            *ret_hello = &s->hello;
            return true;
        case GREETING_WAITS:
            break;
        case GREETING_JOINS:
            join(s);
            break;
        case GREETING_LATE:
            frame_put_refuse(&s->output, REFUSE_RETRY, &no_origin,
                             "the session of this lane is over");
            leave(s);
            break;
        case GREETING_MISNAMED:
            refuse_misnamed(i, s);
            break;
        case GREETING_RIVAL:
            refuse_rival(i, s, now_us);
            break;
        }
    }
    return false;
}

static void
hand_out(struct inlet *i, struct session *s, size_t taken, struct handed *ret_handed)
{
    buf_consume(&s->input, taken);
    *ret_handed = (struct handed){.fd = s->fd,
                                  .in = s->in,
                                  .out = s->out,
                                  .no_tunnel = s->no_tunnel,
                                  .input = s->input,
                                  .output = s->output};
    memcpy(ret_handed->from, s->from, sizeof s->from);
    for (size_t n = 0; n < INLET_SESSIONS_MAX; n++)
        if (i->session[n] == s)
            i->session[n] = NULL;
    free(s);
}

void
inlet_hand_out(struct inlet *i, struct session *s, struct handed *ret_handed)
{
    assert(s->state == SESSION_GREETED);
    hand_out(i, s, s->hello_bytes, ret_handed);
}

void
handed_close(struct handed *h)
{
    close_fd(&h->fd);
    close_fd(&h->in);
    close_fd(&h->out);
    buf_release(&h->input);
    buf_release(&h->output);
}

bool
inlet_stream(struct inlet *i, struct handed *ret_handed, struct tunnel_request *ret_request)
{
    for (size_t n = 0; n < INLET_SESSIONS_MAX; n++) {
        struct session *s = i->session[n];
        struct frame f;

        if (s == NULL || s->state != SESSION_STREAM || frame_next(&s->input, &f) != 1)
            continue;
        *ret_request = f.tunnel;
        ret_request->reason = "";
        hand_out(i, s, f.bytes, ret_handed);
        return true;
    }
    return false;
}

bool
inlet_no_tunnel(const struct session *s)
{
    return s->no_tunnel;
}

void
inlet_tell(struct session *s, const struct frame *f)
{
    frame_put(&s->output, f);
}

void
inlet_refuse(struct inlet *i, struct session *s, enum refuse_kind kind,
             const struct epoch_origin *origin, const char *reason)
{
    if (i->live == NULL && s->hello.lane != HELLO_KNOCKS) {
        if (strcmp(i->reason, reason) != 0)
            log_warning("link from %s refused: %s", s->from, reason);
        snprintf(i->reason, sizeof i->reason, "%s", reason);
        i->refused_us = kind != REFUSE_RETRY ? clock_us() : 0;
    }
    frame_put_refuse(&s->output, kind, origin, reason);
    leave(s);
}

int
inlet_accept(struct inlet *i, struct session *s, timeline_t wanted_timeline, lsn_t wanted,
             uint64_t config_digest, int64_t now_us)
{
    int code;

    assert(s->state == SESSION_GREETED);
    if (i->live != NULL)
        inlet_end(i, "a newer session takes its place");
    code = receiver_accept(i->receiver, &s->output, &s->hello, wanted_timeline, wanted,
                           config_digest, now_us);
    if (code < 0)
        return code;
    buf_consume(&s->input, s->hello_bytes);
    s->state = SESSION_LIVE;
    s->due_us = NEVER_US;
    i->live = s;
    i->incarnation = s->hello.incarnation;
    i->since_us = now_us;
    i->rival_us = 0;
    i->reason[0] = i->goodbye[0] = '\0';
    if (!i->refuted)
        tell_up(i);
    return 0;
}

void
inlet_end(struct inlet *i, const char *reason)
{
    struct session *s = i->live;

    if (s == NULL)
        return;
    snprintf(i->reason, sizeof i->reason, "%s", reason);
    frame_put_goodbye(&s->output, reason);
    i->live = NULL;
    i->incarnation = 0;
    i->since_us = clock_us();
    i->ended++;
    receiver_close(i->receiver);
    leave(s);
    while ((s = sibling(i, NULL)) != NULL)
        leave(s);
}

void
inlet_shut(struct inlet *i, bool shut)
{
    if (!shut && i->receiver->dropped)
        inlet_end(i, "WAL is taken again here: it comes again from where it was not");
    i->receiver->dropped = false;
    receiver_shut(i->receiver, shut);
}

bool
inlet_arrives(const struct inlet *i, int64_t now_us)
{
    for (size_t n = 0; n < INLET_SESSIONS_MAX; n++)
        if (i->session[n] != NULL && i->session[n]->state <= SESSION_GREETED)
            return true;
    return i->live != NULL && i->rival_us != 0 && now_us - i->rival_us < ARRIVES_US;
}

unsigned
inlet_lanes(const struct inlet *i)
{
    unsigned count = 0;

    for (size_t n = 0; n < INLET_SESSIONS_MAX; n++)
        count += lane_at(i, n) != NULL;
    return count;
}

void
inlet_push(struct inlet *i)
{
    if (i->live != NULL && !i->live->mute)
        write_output(i->live); /* an error shows up again in inlet_run */
}

void
inlet_watch(const struct inlet *i, struct loop *l)
{
    struct frame f;

    loop_watch(l, i->fd, POLLIN);
    for (size_t n = 0; n < INLET_SESSIONS_MAX; n++) {
        const struct session *s = i->session[n];

        if (s == NULL)
            continue;
        if (s->state == SESSION_CONNECTED)
            loop_watch(l, s->fd, POLLIN);
        if (s->state == SESSION_HANDED || (s->state == SESSION_LIVE && !s->stalled && !s->ended))
            loop_watch(l, s->in, POLLIN);
        if (s->state == SESSION_LIVE && !s->stalled && frame_next(&s->input, &f) != 0)
            loop_due(l, 0); /* more frames than one turn takes */
        if (s->out >= 0 && buf_used(&s->output) > 0 && !s->mute)
            loop_watch(l, s->out, POLLOUT);
        if (s->state != SESSION_LIVE)
            loop_due(l, s->due_us);
    }
    if (i->live != NULL)
        loop_due(l, receiver_due_us(i->receiver));
}

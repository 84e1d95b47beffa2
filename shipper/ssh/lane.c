/* SPDX-License-Identifier: PostgreSQL */
/*
 * See lane.h. dial.c brings a lane up and down; the pump here moves its bytes.
 *
 * A rule of libssh2 decides the order of the pump (enum pump_state): a call that stopped inside a
 * packet it sends (EAGAIN, direction OUTBOUND) is repeated with the same bytes and length before
 * anything else is asked of the session; `piece` holds the bytes still. All reads, of either
 * stream, ask for LANE_READ_BYTES: a read may stop (EAGAIN) while it sends a window adjustment that
 * counts the size asked for, and a next read of another size would book another number. libssh2
 * would then silently throw away input that it takes to be beyond its window.
 */
#include "shipper/ssh/lane.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/text.h"
#include "ssh/dial.h"
#include "ssh/fault.h"
#include "ssh/session.h"

#include <assert.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define EXIT_STATUS_US SECOND_US /* how long after the end of the output it may take */

int
lane_init(struct lane *l, const struct lane_target *target)
{
    struct lane_session *s;
    int code;

    *l = (struct lane){.target = target, .due_us = NEVER_US};
    if (libssh2_init(0) != 0)
        return fail(ERR_LOCAL, "libssh2 cannot start");
    s = calloc(1, sizeof *s);
    if (s == NULL) {
        libssh2_exit();
        return fail(ERR_LOCAL, "out of memory for a lane");
    }
    l->session = s;
    s->fd = -1;
    snprintf(s->place, sizeof s->place, strchr(target->host, ':') != NULL ? "[%s]:%s" : "%s:%s",
             target->host, target->port);
    code = buf_init(&l->in, LANE_IN_BYTES);
    if (code == 0)
        code = buf_init(&l->out, LANE_OUT_BYTES);
    return code;
}

void
lane_release(struct lane *l)
{
    if (l == NULL)
        return;
    if (l->session != NULL) {
        lane_close(l);
        worker_release(&l->session->worker);
        if (l->session->lookup.found != NULL)
            freeaddrinfo(l->session->lookup.found);
        free(l->session);
        libssh2_exit();
    }
    buf_release(&l->in);
    buf_release(&l->out);
    *l = (struct lane){0};
}

bool
lane_settled(struct lane *l)
{
    if (l->session == NULL)
        return true;
    worker_done(&l->session->worker); /* take it: after lane_close nobody else does */
    return l->state == LANE_DOWN && !worker_busy(&l->session->worker);
}

void
lane_close(struct lane *l)
{
    char message[FAIL_MESSAGE_MAX];

    snprintf(message, sizeof message, "%s", fail_message()); /* the reason stays readable */
    dial_end(l);
    buf_clear(&l->in);
    buf_clear(&l->out);
    l->due_us = NEVER_US;
    fail(0, "%s", message);
}

int
lane_open(struct lane *l, int64_t now_us)
{
    struct lane_session *s = l->session;
    int code;

    assert(l->state == LANE_DOWN);
    s->now_us = now_us;
    l->due_us = now_us + LANE_CONNECT_US;
    l->bytes_in = l->bytes_out = 0;
    s->acked = 0;
    s->pump = PUMP_FREE;
    s->more = false;
    s->end_due_us = NEVER_US;
    s->piece_bytes = s->complaint_bytes = 0;
    host_keys_begin(&s->host_keys);
    code = key_read(&s->key, l->target->identity);
    if (code == 0 && l->target->known_hosts[0] != '\0' && access(l->target->known_hosts, R_OK) < 0)
        code = fail_sys(ERR_USAGE, "cannot read known_hosts %s", l->target->known_hosts);
    if (code == 0)
        code = dial_begin(l);
    if (code < 0)
        lane_close(l);
    return code;
}

/* ---- the pump ---- */

static bool
half_sent(const struct lane_session *s)
{
    return s->pump == PUMP_HALF_READ || s->pump == PUMP_HALF_WRITTEN;
}

static bool
stopped_sending(const struct lane_session *s)
{
    return (libssh2_session_block_directions(s->ssh) & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0;
}

/* Has libssh2 taken input off the socket that was not read yet? poll does not see that. */
static bool
has_queued_input(const struct lane_session *s)
{
    unsigned long bytes = 0;

    libssh2_channel_window_read_ex(s->channel, &bytes, NULL);
    return bytes > 0;
}

static int
read_output(struct lane *l)
{
    struct lane_session *s = l->session;
    ssize_t n;

    if (s->pump == PUMP_HALF_READ)
        s->pump = PUMP_FREE;
    if (buf_room(&l->in) < LANE_READ_BYTES)
        return 0;
    n = libssh2_channel_read(s->channel, (char *)buf_reserve(&l->in, LANE_READ_BYTES),
                             LANE_READ_BYTES);
    if (n == LIBSSH2_ERROR_EAGAIN) {
        if (stopped_sending(s))
            s->pump = PUMP_HALF_READ;
        return 0;
    }
    if (n < 0)
        return fault_ssh(l, (int)n);
    buf_commit(&l->in, (size_t)n);
    l->bytes_in += (uint64_t)n;
    if (n > 0)
        l->progress_us = s->now_us;
    return 0;
}

/* All of stderr, also what is not kept: unread, it would use up the window that stdout needs. */
static int
read_complaint(struct lane *l)
{
    struct lane_session *s = l->session;
    char scratch[LANE_READ_BYTES];
    ssize_t n;

    while ((n = libssh2_channel_read_stderr(s->channel, scratch, sizeof scratch)) > 0) {
        size_t room = sizeof s->complaint - s->complaint_bytes;
        size_t kept = (size_t)n < room ? (size_t)n : room;

        memcpy(s->complaint + s->complaint_bytes, scratch, kept);
        s->complaint_bytes += kept;
    }
    if (n == LIBSSH2_ERROR_EAGAIN && stopped_sending(s))
        s->pump = PUMP_HALF_READ;
    return n < 0 && n != LIBSSH2_ERROR_EAGAIN ? fault_ssh(l, (int)n) : 0;
}

/* Reading one stream takes the other's bytes off the socket, too: until both are read. */
static int
read_input(struct lane *l)
{
    struct lane_session *s = l->session;
    int code;

    do {
        code = read_output(l);
        if (code == 0 && !half_sent(s))
            code = read_complaint(l);
        s->more = code == 0 && has_queued_input(s);
    } while (s->more && !half_sent(s) && buf_room(&l->in) >= LANE_READ_BYTES);
    return code;
}

static int
write_piece(struct lane *l)
{
    struct lane_session *s = l->session;
    ssize_t n;

    if (s->piece_bytes == 0) {
        s->piece_bytes = buf_used(&l->out) < PIECE_BYTES ? buf_used(&l->out) : PIECE_BYTES;
        /* a copy: buf_reserve moves the bytes of `out`, and libssh2's must not move */
        memcpy(s->piece, buf_data(&l->out), s->piece_bytes);
    }
    n = libssh2_channel_write(s->channel, (const char *)s->piece, s->piece_bytes);
    if (n == LIBSSH2_ERROR_EAGAIN || n == 0) {
        s->pump = stopped_sending(s) ? PUMP_HALF_WRITTEN : PUMP_BLOCKED;
        return ERR_AGAIN;
    }
    s->pump = PUMP_FREE;
    if (n < 0)
        return fault_ssh(l, (int)n);
    s->piece_bytes = 0;
    buf_consume(&l->out, (size_t)n);
    l->bytes_out += (uint64_t)n;
    return 0;
}

static int
command_ended(struct lane *l)
{
    struct lane_session *s = l->session;
    int status = libssh2_channel_get_exit_status(s->channel);
    char shown[COMPLAINT_BYTES + 64], signal_shown[32] = "", *signal_name = NULL;
    size_t signal_bytes = 0;

    libssh2_channel_get_exit_signal(s->channel, &signal_name, &signal_bytes, NULL, NULL, NULL,
                                    NULL);
    if (signal_name != NULL) {
        text_escape(signal_shown, sizeof signal_shown, signal_name, signal_bytes);
        libssh2_free(s->ssh, signal_name);
    }
    while (s->complaint_bytes > 0 && s->complaint[s->complaint_bytes - 1] == '\n')
        s->complaint_bytes--;
    text_escape(shown, sizeof shown, s->complaint, s->complaint_bytes);
    if (signal_shown[0] != '\0')
        return fail(ERR_PEER, "the command at %s was killed by signal %s: %s", s->place,
                    signal_shown, shown[0] != '\0' ? shown : "it said nothing");
    return fail(
        ERR_PEER, "the command at %s ended with status %d: %s%s", s->place, status,
        shown[0] != '\0' ? shown : "it said nothing",
        status == 2 || status == 127 /* usage, not found */
            ? "; is the key bound to walferry receive in authorized_keys there, with its whole path?"
            : "");
}

/* The output is over: the exit status follows if the command really ends. */
static int
end_lane(struct lane *l)
{
    struct lane_session *s = l->session;

    s->pump = PUMP_ENDED;
    if (s->end_due_us == NEVER_US)
        s->end_due_us = s->now_us + EXIT_STATUS_US;
    if (libssh2_channel_wait_closed(s->channel) == LIBSSH2_ERROR_EAGAIN &&
        s->now_us < s->end_due_us)
        return 0;
    return command_ended(l);
}

static int
repeat_half_sent(struct lane *l)
{
    int code = 0;

    if (l->session->pump == PUMP_HALF_WRITTEN)
        code = write_piece(l);
    else if (l->session->pump == PUMP_HALF_READ)
        code = read_input(l);
    if (code == ERR_AGAIN)
        return 0;
    if (code == ERR_PEER)
        read_input(l); /* the far side's last words may be here already */
    return code;
}

static int
pump(struct lane *l, const struct loop *loop)
{
    struct lane_session *s = l->session;
    bool due = s->pump == PUMP_ENDED || (s->pump == PUMP_FREE && buf_used(&l->out) > 0);
    bool wrote = false;
    int code;

    if (loop_ready(loop, s->fd) == 0 && !s->more && !due)
        return 0;
    code = repeat_half_sent(l);
    if (code < 0 || half_sent(s))
        return code;
    if (s->read_us != s->now_us || s->more || s->pump == PUMP_BLOCKED) /* else once in a turn */
        code = read_input(l);
    s->read_us = s->now_us;
    while (code == 0 && !half_sent(s) && buf_used(&l->out) > 0 &&
           !libssh2_channel_eof(s->channel)) {
        code = write_piece(l);
        wrote = true;
    }
    if (code < 0 && code != ERR_AGAIN)
        return code;
    code = 0;
    if (wrote && !half_sent(s) && has_queued_input(s)) /* a write takes input off the socket, too */
        code = read_input(l);
    if (code == 0 && !half_sent(s) && libssh2_channel_eof(s->channel))
        return end_lane(l);
    return code;
}

void
lane_watch(const struct lane *l, struct loop *loop)
{
    const struct lane_session *s = l->session;
    bool room = buf_room(&l->in) >= LANE_READ_BYTES;
    int want = 0;

    loop_due(loop, l->due_us);
    if (l->state != LANE_UP) {
        dial_watch(l, loop);
        return;
    }
    switch (s->pump) {
    case PUMP_HALF_READ:
    case PUMP_HALF_WRITTEN:
        loop_watch(loop, s->fd, POLLOUT);
        return;
    case PUMP_FREE:
        want = (room ? POLLIN : 0) | (buf_used(&l->out) > 0 ? POLLOUT : 0);
        break;
    case PUMP_BLOCKED:
    case PUMP_ENDED:
        want = POLLIN;
        break;
    }
    if (want != 0) /* poll reports a hangup unasked: nobody would react to it */
        loop_watch(loop, s->fd, (short)want);
    if (s->more && room)
        loop_due(loop, s->now_us);
    loop_due(loop, s->end_due_us);
}

int
lane_run(struct lane *l, const struct loop *loop, int64_t now_us)
{
    int code;

    l->session->now_us = now_us;
    if (l->state == LANE_DOWN)
        return 0;
    if (l->state != LANE_UP) {
        code = dial_run(l);
        if (code == ERR_AGAIN)
            return now_us < l->due_us ? 0 : fault_timeout(l);
        if (code < 0)
            return code;
    }
    return pump(l, loop);
}

int
lane_unacknowledged(struct lane *l)
{
    struct lane_session *s = l->session;
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    int bytes;

    if (l->state < LANE_HANDSHAKE || ioctl(s->fd, SIOCOUTQ, &bytes) < 0)
        return -1;
    if (getsockopt(s->fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
        info.tcpi_bytes_acked > s->acked) {
        s->acked = info.tcpi_bytes_acked;
        l->progress_us = s->now_us;
    }
    return bytes;
}

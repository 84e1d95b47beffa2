/*
 * See lane.h. The road up is one step function per state (look up, connect, shake hands,
 * authenticate, start); each returns 0 when the next state is reached, or ERR_AGAIN. Up there, pump
 * moves bytes.
 *
 * libssh2's own rule decides the order of pump: a call that stopped in the middle of sending a
 * packet (EAGAIN, direction OUTBOUND) is repeated with the same bytes and length before anything
 * else is asked of the session; `half_sent` remembers which call that was, `piece` holds its bytes
 * still. All reads ask for LANE_READ_BYTES, of either stream: a read may stop (EAGAIN) with a
 * window adjustment on its way that counts the size asked for, and a next read of another size
 * would book another number. libssh2 then silently throws away what it thinks is beyond its window.
 *
 * Which of the server's host keys is pinned cannot be seen from a fingerprint. A key that does not
 * match is therefore followed by a new connection that offers the other types only, until the
 * server has none left; the type that matched is remembered for the next time.
 *
 * A session is closed without talking: its socket is replaced by a void that takes every byte and
 * gives none, so that no call of libssh2 can ask to be repeated and all of it can be freed at once.
 */
#include "shipper/ssh/lane.h"
#include "ssh/session.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/text.h"
#include "base/worker.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libssh2.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

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
    worker_done(&l->session->worker); /* nobody else takes it any more */
    return l->state == LANE_DOWN && !worker_busy(&l->session->worker);
}

void
lane_close(struct lane *l)
{
    struct lane_session *s = l->session;
    char message[FAIL_MESSAGE_MAX];

    snprintf(message, sizeof message, "%s", fail_message()); /* why we close stays readable */
    hang_up(l);
    forget_identity(s);
    if (s->addresses != NULL)
        freeaddrinfo(s->addresses);
    s->addresses = s->address = NULL;
    buf_clear(&l->in);
    buf_clear(&l->out);
    l->due_us = NEVER_US;
    lane_set_state(l, LANE_DOWN);
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
    s->half_sent = HALF_SENT_NOTHING;
    s->blocked = s->more = s->ended = false;
    s->piece_bytes = s->complaint_bytes = 0;
    if (s->refusal[0] != '\0') /* it failed last time: whatever was learned may be wrong by now */
        s->host_keys_refused = 0;
    s->refusal[0] = '\0';
    code = read_identity(s, l->target->identity);
    if (code == 0 && l->target->known_hosts[0] != '\0' && access(l->target->known_hosts, R_OK) < 0)
        code = fail_sys(ERR_USAGE, "cannot read known_hosts %s", l->target->known_hosts);
    if (code == 0)
        code = begin_lookup(l);
    if (code < 0)
        lane_close(l);
    return code;
}

static bool
stopped_sending(const struct lane_session *s)
{
    return (libssh2_session_block_directions(s->ssh) & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0;
}

/* What libssh2 has taken off the socket and nobody has read: poll does not see it. */
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

    s->half_sent = HALF_SENT_NOTHING;
    if (buf_room(&l->in) < LANE_READ_BYTES)
        return 0;
    n = libssh2_channel_read(s->channel, (char *)buf_reserve(&l->in, LANE_READ_BYTES),
                             LANE_READ_BYTES);
    if (n == LIBSSH2_ERROR_EAGAIN) {
        s->half_sent = stopped_sending(s) ? HALF_SENT_READ : HALF_SENT_NOTHING;
        return 0;
    }
    if (n < 0)
        return ssh_failed(l, (int)n);
    buf_commit(&l->in, (size_t)n);
    l->bytes_in += (uint64_t)n;
    if (n > 0)
        l->progress_us = s->now_us;
    return 0;
}

/* All of it, also what is not kept: unread stderr would use up the window that stdout needs. */
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
        s->half_sent = HALF_SENT_READ;
    return n < 0 && n != LIBSSH2_ERROR_EAGAIN ? ssh_failed(l, (int)n) : 0;
}

/* Reading one stream takes the other's bytes off the socket, too: on, until both are read. */
static int
read_input(struct lane *l)
{
    struct lane_session *s = l->session;
    int code;

    do {
        code = read_output(l);
        if (code == 0 && s->half_sent == HALF_SENT_NOTHING)
            code = read_complaint(l);
        s->more = code == 0 && has_queued_input(s);
    } while (s->more && s->half_sent == HALF_SENT_NOTHING && buf_room(&l->in) >= LANE_READ_BYTES);
    return code;
}

static int
write_piece(struct lane *l)
{
    struct lane_session *s = l->session;
    ssize_t n;

    if (s->piece_bytes == 0) {
        s->piece_bytes = buf_used(&l->out) < PIECE_BYTES ? buf_used(&l->out) : PIECE_BYTES;
        memcpy(s->piece, buf_data(&l->out),
               s->piece_bytes); /* buf_reserve moves bytes, libssh2's must not move */
    }
    n = libssh2_channel_write(s->channel, (const char *)s->piece, s->piece_bytes);
    if (n == LIBSSH2_ERROR_EAGAIN || n == 0) {
        s->half_sent = stopped_sending(s) ? HALF_SENT_WRITE : HALF_SENT_NOTHING;
        s->blocked = true;
        return ERR_AGAIN;
    }
    s->half_sent = HALF_SENT_NOTHING;
    s->blocked = false;
    if (n < 0)
        return ssh_failed(l, (int)n);
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

/* The exit status comes behind the output's end, if the command really ends. */
static int
end_lane(struct lane *l)
{
    struct lane_session *s = l->session;

    if (!s->ended) {
        s->ended = true;
        s->end_due_us = s->now_us + EXIT_STATUS_US;
    }
    if (libssh2_channel_wait_closed(s->channel) == LIBSSH2_ERROR_EAGAIN &&
        s->now_us < s->end_due_us)
        return 0;
    return command_ended(l);
}

static int
repeat_half_sent(struct lane *l)
{
    int code = 0;

    if (l->session->half_sent == HALF_SENT_WRITE)
        code = write_piece(l);
    else if (l->session->half_sent == HALF_SENT_READ)
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
    bool wrote = false;
    int code;

    if (loop_ready(loop, s->fd) == 0 && !s->more && !s->ended &&
        (s->blocked || buf_used(&l->out) == 0))
        return 0;
    code = repeat_half_sent(l);
    if (code < 0 || s->half_sent != HALF_SENT_NOTHING)
        return code;
    if (s->read_us != s->now_us || s->more || s->blocked) /* once in a turn is enough */
        code = read_input(l);
    s->read_us = s->now_us;
    while (code == 0 && s->half_sent == HALF_SENT_NOTHING && buf_used(&l->out) > 0 && !s->ended &&
           !libssh2_channel_eof(s->channel)) {
        code = write_piece(l);
        wrote = true;
    }
    if (code < 0 && code != ERR_AGAIN)
        return code;
    if (wrote && s->half_sent == HALF_SENT_NOTHING &&
        has_queued_input(s)) /* a write takes input off the socket, too */
        code = read_input(l);
    else
        code = 0;
    if (code == 0 && s->half_sent == HALF_SENT_NOTHING && libssh2_channel_eof(s->channel))
        return end_lane(l);
    return code;
}

void
lane_watch(const struct lane *l, struct loop *loop)
{
    const struct lane_session *s = l->session;
    int want = 0, directions;

    loop_due(loop, l->due_us);
    switch (l->state) {
    case LANE_DOWN:
        return;
    case LANE_RESOLVING:
        loop_watch(loop, worker_fd(&s->worker), POLLIN);
        if (s->addresses != NULL)
            loop_due(loop, s->now_us);
        return;
    case LANE_CONNECTING:
        loop_watch(loop, s->fd, POLLOUT);
        loop_due(loop, s->address_due_us);
        return;
    case LANE_HANDSHAKE:
    case LANE_AUTHENTICATING:
    case LANE_STARTING:
        directions = libssh2_session_block_directions(s->ssh);
        want = (directions & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0 ? POLLOUT : 0;
        if (want == 0 || (directions & LIBSSH2_SESSION_BLOCK_INBOUND) != 0)
            want |= POLLIN;
        loop_watch(loop, s->fd, (short)want);
        return;
    case LANE_UP:
        break;
    }
    if (s->half_sent != HALF_SENT_NOTHING) {
        loop_watch(loop, s->fd, POLLOUT);
        return;
    }
    if (buf_room(&l->in) >= LANE_READ_BYTES || s->blocked || s->ended)
        want |= POLLIN;
    if (buf_used(&l->out) > 0 && !s->blocked && !s->ended)
        want |= POLLOUT;
    if (want != 0) /* poll reports a hangup unasked: nobody would react to it */
        loop_watch(loop, s->fd, (short)want);
    if (s->more && buf_room(&l->in) >= LANE_READ_BYTES)
        loop_due(loop, s->now_us);
    if (s->ended)
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
        code = climb(l);
        if (code == ERR_AGAIN)
            return now_us < l->due_us ? 0 : timed_out(l);
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

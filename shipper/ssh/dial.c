/* SPDX-License-Identifier: PostgreSQL */
/*
 * See dial.h. One step function per state (look up, connect, shake hands, authenticate, start),
 * which returns 0 when the next state is reached, or ERR_AGAIN.
 *
 * A session is closed without talking: its socket is replaced by a void that takes every byte and
 * gives none, so that no call of libssh2 can ask to be repeated and all of it can be freed at once.
 */
#include "ssh/dial.h"

#include "base/clock.h"
#include "base/fail.h"
#include "ssh/fault.h"
#include "ssh/method.h"
#include "ssh/session.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WINDOW_BYTES (2u << 20)
#define PACKET_BYTES 32768

static void
set_state(struct lane *l, enum lane_state state)
{
    l->state = state;
    l->progress_us = l->session->now_us;
}

static ssize_t
void_send(libssh2_socket_t fd, const void *bytes, size_t n, int flags, void **abstract)
{
    (void)fd, (void)bytes, (void)flags, (void)abstract;
    return (ssize_t)n;
}

static ssize_t
void_receive(libssh2_socket_t fd, void *bytes, size_t n, int flags, void **abstract)
{
    (void)fd, (void)bytes, (void)n, (void)flags, (void)abstract;
    return 0;
}

static int step_authenticate(struct lane *l);
static int step_start(struct lane *l);

/* A call that stopped half-way owns memory which only it frees: repeated, it ends in the void. */
static void
end_ssh(struct lane *l)
{
    struct lane_session *s = l->session;
    uint8_t scratch[64];

    if (s->ssh == NULL)
        return;
#if LIBSSH2_VERSION_NUM >= 0x010b01
    libssh2_session_callback_set2(s->ssh, LIBSSH2_CALLBACK_SEND, (libssh2_cb_generic *)void_send);
    libssh2_session_callback_set2(s->ssh, LIBSSH2_CALLBACK_RECV,
                                  (libssh2_cb_generic *)void_receive);
#else
    libssh2_session_callback_set(s->ssh, LIBSSH2_CALLBACK_SEND, (void *)void_send);
    libssh2_session_callback_set(s->ssh, LIBSSH2_CALLBACK_RECV, (void *)void_receive);
#endif
    if (l->state == LANE_HANDSHAKE)
        libssh2_session_handshake(s->ssh, s->fd);
    if (l->state == LANE_AUTHENTICATING)
        step_authenticate(l);
    if (l->state == LANE_STARTING)
        step_start(l);
    if (l->state == LANE_UP && s->pump == PUMP_HALF_WRITTEN)
        libssh2_channel_write(s->channel, (const char *)s->piece, s->piece_bytes);
    if (l->state == LANE_UP)
        libssh2_channel_read(s->channel, (char *)scratch, sizeof scratch);
    for (int i = 0; i < 8 && libssh2_session_free(s->ssh) == LIBSSH2_ERROR_EAGAIN; i++)
        ;
    s->ssh = NULL;
    s->channel = NULL;
}

static void
hang_up(struct lane *l)
{
    struct lane_session *s = l->session;
    uint8_t scratch[4096];

    end_ssh(l);
    if (s->fd < 0)
        return;
    shutdown(s->fd, SHUT_WR);
    /* closing over unread bytes resets the connection, and our last frame would be lost */
    for (int i = 0; i < 256 && recv(s->fd, scratch, sizeof scratch, MSG_DONTWAIT) > 0; i++)
        ;
    close(s->fd);
    s->fd = -1;
}

static void
look_up(void *job)
{
    struct lookup *q = job;
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};

    q->error = getaddrinfo(q->host, q->port, &hints, &q->found);
}

/* A numeric address needs no worker; a worker still busy with an earlier attempt is awaited. */
int
dial_begin(struct lane *l)
{
    struct lane_session *s = l->session;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    int error = getaddrinfo(l->target->host, l->target->port, &hints, &s->addresses);

    set_state(l, LANE_RESOLVING);
    if (error == 0 || worker_busy(&s->worker))
        return 0;
    if (error != EAI_NONAME)
        return fail(ERR_LOCAL, "cannot look up %s: %s", s->place, gai_strerror(error));
    if (!s->worker.started && worker_init(&s->worker) < 0)
        return ERR_LOCAL;
    snprintf(s->lookup.host, sizeof s->lookup.host, "%s", l->target->host);
    snprintf(s->lookup.port, sizeof s->lookup.port, "%s", l->target->port);
    worker_submit(&s->worker, look_up, &s->lookup);
    return 0;
}

static int
take_lookup(struct lane_session *s)
{
    struct lookup *q = &s->lookup;

    if (!worker_done(&s->worker))
        return ERR_AGAIN;
    if (q->error != 0)
        return fail(ERR_PEER, "the host name %s was not found: %s", q->host,
                    q->error == EAI_SYSTEM ? "the resolver failed" : gai_strerror(q->error));
    s->addresses = q->found;
    q->found = NULL;
    return 0;
}

static int
begin_connect(struct lane *l)
{
    struct lane_session *s = l->session;
    const struct addrinfo *a = s->address;
    int64_t left = 0;
    const int on = 1, lower_effort = 1 << 2; /* DSCP 1 */

    assert(a != NULL);
    for (; a != NULL; a = a->ai_next)
        left++;
    a = s->address;
    /* a silent address must not use up the time of those behind it */
    s->address_due_us = s->now_us + (l->due_us - s->now_us) / left;
    set_state(l, LANE_CONNECTING);
    s->fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        return errno == EAFNOSUPPORT ? fail_sys(ERR_PEER, "cannot connect to %s", s->place)
                                     : fail_sys(ERR_LOCAL, "cannot make a socket");
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* may fail: it only saves time */
    if (l->bulk) { /* a router that heeds the mark serves everybody else first; others ignore it */
        setsockopt(s->fd, IPPROTO_IP, IP_TOS, &lower_effort, sizeof lower_effort);
        setsockopt(s->fd, IPPROTO_IPV6, IPV6_TCLASS, &lower_effort, sizeof lower_effort);
    }
    if (connect(s->fd, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS)
        return 0;
    return fail_sys(ERR_PEER, "cannot connect to %s", s->place);
}

static int
check_connect(struct lane *l)
{
    struct lane_session *s = l->session;
    /* the loop's answer may be of an earlier socket with this number */
    struct pollfd p = {.fd = s->fd, .events = POLLOUT};
    socklen_t size = sizeof(int);
    int error = 0;

    if (poll(&p, 1, 0) <= 0)
        return s->now_us < s->address_due_us ? ERR_AGAIN : fault_timeout(l);
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    return error == 0 ? 0 : fault_connect(s->place, error);
}

static int
next_address(struct lane *l, int code)
{
    struct lane_session *s = l->session;

    while (code == ERR_PEER && s->address->ai_next != NULL) {
        hang_up(l);
        s->address = s->address->ai_next;
        code = begin_connect(l);
    }
    return code;
}

static int
begin_handshake(struct lane *l)
{
    struct lane_session *s = l->session;
    char host_keys[HOST_KEY_OFFERS_SIZE];

    host_keys_offer(&s->host_keys, host_keys);
    if (host_keys[0] == '\0')
        return fail(ERR_PEER, "%s", s->host_keys.refusal);
    set_state(l, LANE_HANDSHAKE);
    s->ssh = libssh2_session_init();
    if (s->ssh == NULL)
        return fail(ERR_LOCAL, "out of memory for an SSH session");
    libssh2_session_set_blocking(s->ssh, 0);
    return method_offer(s->ssh, host_keys);
}

static int
step_connect(struct lane *l)
{
    int code = check_connect(l);

    if (code == ERR_PEER)
        return next_address(l, code);
    if (code == 0)
        code = begin_handshake(l);
    return code;
}

static int
step_resolve(struct lane *l)
{
    struct lane_session *s = l->session;

    if (s->addresses == NULL) {
        int code = take_lookup(s);

        if (code < 0)
            return code;
    }
    s->address = s->addresses;
    return next_address(l, begin_connect(l));
}

static int
step_handshake(struct lane *l)
{
    struct lane_session *s = l->session;
    int rc = libssh2_session_handshake(s->ssh, s->fd);
    char host_keys[HOST_KEY_OFFERS_SIZE];
    int got;

    if (rc == LIBSSH2_ERROR_EAGAIN)
        return ERR_AGAIN;
    if (rc != 0 && fault_turned_away(l) < 0)
        return ERR_PEER;
    if (rc == LIBSSH2_ERROR_KEX_FAILURE && s->host_keys.refusal[0] != '\0')
        return fail(ERR_PEER, "%s", s->host_keys.refusal);
    if (rc == LIBSSH2_ERROR_KEX_FAILURE) {
        host_keys_offer(&s->host_keys, host_keys);
        return method_none_in_common(s->ssh, host_keys, s->place);
    }
    if (rc == LIBSSH2_ERROR_BANNER_RECV)
        return fail(ERR_PEER, "%s does not answer as an SSH server: is the port right?", s->place);
    if (rc != 0)
        return fault_ssh(l, rc);
    got = host_keys_check(&s->host_keys, s->ssh, l->target, s->place);
    if (got == 1) {
        hang_up(l);
        return next_address(l, begin_connect(l));
    }
    if (got == 0)
        set_state(l, LANE_AUTHENTICATING);
    return got;
}

static int
step_authenticate(struct lane *l)
{
    struct lane_session *s = l->session;
    int rc = libssh2_userauth_publickey_frommemory(s->ssh, l->target->user, strlen(l->target->user),
                                                   NULL, 0, s->key.text, s->key.bytes, NULL);

    if (rc == LIBSSH2_ERROR_EAGAIN)
        return ERR_AGAIN;
    if (rc == LIBSSH2_ERROR_AUTHENTICATION_FAILED)
        return fault_key_refused(l);
    if (rc == LIBSSH2_ERROR_FILE)
        return fail(
            ERR_USAGE,
            "libssh2 %s cannot use identity %s: make another key with ssh-keygen -t ed25519 -N ''",
            libssh2_version(0), l->target->identity);
    if (rc != 0)
        return fault_ssh(l, rc);
    key_forget(&s->key);
    set_state(l, LANE_STARTING);
    return 0;
}

static int
step_start(struct lane *l)
{
    struct lane_session *s = l->session;
    int rc;

    if (s->channel == NULL) {
        s->channel = libssh2_channel_open_ex(s->ssh, "session", strlen("session"), WINDOW_BYTES,
                                             PACKET_BYTES, NULL, 0);
        rc = s->channel == NULL ? libssh2_session_last_errno(s->ssh) : 0;
        if (rc == LIBSSH2_ERROR_EAGAIN)
            return ERR_AGAIN;
        if (s->channel == NULL)
            return fault_ssh(l, rc);
    }
    rc = libssh2_channel_process_startup(s->channel, "exec", strlen("exec"), LANE_COMMAND,
                                         strlen(LANE_COMMAND));
    if (rc == LIBSSH2_ERROR_EAGAIN)
        return ERR_AGAIN;
    if (rc == LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED)
        return fail(ERR_PEER,
                    "%s lets user %s in but starts no command for it: look at its sshd's log",
                    s->place, l->target->user);
    if (rc != 0)
        return fault_ssh(l, rc);
    s->more = true; /* the first output may have come with the answer */
    l->due_us = NEVER_US;
    set_state(l, LANE_UP);
    return 0;
}

int
dial_run(struct lane *l)
{
    int code = 0;

    while (code == 0 && l->state != LANE_UP) {
        switch (l->state) {
        case LANE_DOWN:
        case LANE_UP:
            return ERR_AGAIN;
        case LANE_RESOLVING:
            code = step_resolve(l);
            break;
        case LANE_CONNECTING:
            code = step_connect(l);
            break;
        case LANE_HANDSHAKE:
            code = step_handshake(l);
            break;
        case LANE_AUTHENTICATING:
            code = step_authenticate(l);
            break;
        case LANE_STARTING:
            code = step_start(l);
            break;
        }
    }
    if (code == 0) {
        l->session->host_keys.refusal[0] = '\0';
        l->session->key_refused = l->session->turned_away = false;
    }
    return code;
}

void
dial_watch(const struct lane *l, struct loop *loop)
{
    const struct lane_session *s = l->session;
    int want, directions;

    switch (l->state) {
    case LANE_DOWN:
    case LANE_UP:
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
        break;
    }
    directions = libssh2_session_block_directions(s->ssh);
    want = (directions & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0 ? POLLOUT : 0;
    if (want == 0 || (directions & LIBSSH2_SESSION_BLOCK_INBOUND) != 0)
        want |= POLLIN;
    loop_watch(loop, s->fd, (short)want);
}

void
dial_end(struct lane *l)
{
    struct lane_session *s = l->session;

    hang_up(l);
    key_forget(&s->key);
    if (s->addresses != NULL)
        freeaddrinfo(s->addresses);
    s->addresses = s->address = NULL;
    set_state(l, LANE_DOWN);
}

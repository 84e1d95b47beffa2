/* See session.h. */
#include "ssh/session.h"

#include "base/clock.h"
#include "base/fail.h"

#include <errno.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void
lane_set_state(struct lane *l, enum lane_state state)
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

/* Calls that stopped half-way own memory which only they free: each is repeated and ends, in the
 * void. */
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
    if (l->state == LANE_UP && s->half_sent == HALF_SENT_WRITE)
        libssh2_channel_write(s->channel, (const char *)s->piece, s->piece_bytes);
    if (l->state == LANE_UP)
        libssh2_channel_read(s->channel, (char *)scratch, sizeof scratch);
    for (int i = 0; i < 8 && libssh2_session_free(s->ssh) == LIBSSH2_ERROR_EAGAIN; i++)
        ;
    s->ssh = NULL;
    s->channel = NULL;
}

void
hang_up(struct lane *l)
{
    struct lane_session *s = l->session;
    uint8_t scratch[4096];

    end_ssh(l);
    if (s->fd < 0)
        return;
    shutdown(s->fd, SHUT_WR);
    /* closing over unread bytes resets the connection, and our last frame would be lost with it */
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

/* Numeric addresses are there at once; a name that is still being looked up from before is waited
 * for. */
int
begin_lookup(struct lane *l)
{
    struct lane_session *s = l->session;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    int error = getaddrinfo(l->target->host, l->target->port, &hints, &s->addresses);

    lane_set_state(l, LANE_RESOLVING);
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

    for (; a != NULL; a = a->ai_next)
        left++;
    a = s->address;
    s->address_due_us =
        s->now_us + (l->due_us - s->now_us) / left; /* a silent one must not eat the others' time */
    lane_set_state(l, LANE_CONNECTING);
    s->fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        return errno == EAFNOSUPPORT ? fail_sys(ERR_PEER, "cannot connect to %s", s->place)
                                     : fail_sys(ERR_LOCAL, "cannot make a socket");
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on,
               sizeof on); /* a delay is all that is lost without it */
    if (l->bulk) { /* a router that heeds it serves everybody else first; no loss elsewhere */
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
    struct pollfd p = {.fd = s->fd,
                       .events = POLLOUT}; /* not the loop's: that may speak of an earlier socket */
    socklen_t size = sizeof(int);
    int error = 0;

    if (poll(&p, 1, 0) <= 0)
        return s->now_us < s->address_due_us ? ERR_AGAIN : timed_out(l);
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    return error == 0 ? 0 : connect_failed(s, error);
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
    char host_keys[160];

    join_offers(s, host_keys, sizeof host_keys);
    if (host_keys[0] == '\0')
        return fail(ERR_PEER, "%s", s->refusal);
    lane_set_state(l, LANE_HANDSHAKE);
    s->ssh = libssh2_session_init();
    if (s->ssh == NULL)
        return fail(ERR_LOCAL, "out of memory for an SSH session");
    libssh2_session_set_blocking(s->ssh, 0);
    if (prefer(s->ssh, LIBSSH2_METHOD_HOSTKEY, host_keys) != 0 ||
        prefer(s->ssh, LIBSSH2_METHOD_CRYPT_CS, CIPHERS) != 0 ||
        prefer(s->ssh, LIBSSH2_METHOD_CRYPT_SC, CIPHERS) != 0 ||
        prefer(s->ssh, LIBSSH2_METHOD_MAC_CS, MACS) != 0 ||
        prefer(s->ssh, LIBSSH2_METHOD_MAC_SC, MACS) != 0)
        return fail(ERR_LOCAL, "this libssh2 (%s) lacks ciphers or MACs that we need",
                    libssh2_version(0));
    return 0;
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

/* Not the pinned key: again, with the types that were not shown yet. The first refusal is the one
 * told. */
int
try_other_host_keys(struct lane *l, size_t type)
{
    struct lane_session *s = l->session;

    if (s->refusal[0] == '\0')
        snprintf(s->refusal, sizeof s->refusal, "%s", fail_message());
    s->host_keys_refused |= 1u << type;
    hang_up(l);
    return next_address(l, begin_connect(l));
}

static int
step_handshake(struct lane *l)
{
    struct lane_session *s = l->session;
    int rc = libssh2_session_handshake(s->ssh, s->fd);
    int code;

    if (rc == LIBSSH2_ERROR_EAGAIN)
        return ERR_AGAIN;
    if (rc == LIBSSH2_ERROR_KEX_FAILURE && s->refusal[0] != '\0')
        return fail(ERR_PEER, "%s", s->refusal);
    if (rc == LIBSSH2_ERROR_KEX_FAILURE)
        return no_common_algorithm(s);
    if (rc == LIBSSH2_ERROR_BANNER_RECV)
        return fail(ERR_PEER, "%s does not answer as an SSH server: is the port right?", s->place);
    if (rc != 0)
        return ssh_failed(l, rc);
    code = check_host_key(l);
    if (code == 0 && l->state == LANE_HANDSHAKE)
        lane_set_state(l, LANE_AUTHENTICATING);
    return code;
}

static int
step_authenticate(struct lane *l)
{
    struct lane_session *s = l->session;
    int rc = libssh2_userauth_publickey_frommemory(s->ssh, l->target->user, strlen(l->target->user),
                                                   NULL, 0, s->identity, s->identity_bytes, NULL);

    if (rc == LIBSSH2_ERROR_EAGAIN)
        return ERR_AGAIN;
    if (rc == LIBSSH2_ERROR_AUTHENTICATION_FAILED)
        return key_refused(l);
    if (rc == LIBSSH2_ERROR_FILE)
        return fail(
            ERR_USAGE,
            "libssh2 %s cannot use identity %s: make another key with ssh-keygen -t ed25519 -N ''",
            libssh2_version(0), l->target->identity);
    if (rc != 0)
        return ssh_failed(l, rc);
    forget_identity(s);
    lane_set_state(l, LANE_STARTING);
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
            return ssh_failed(l, rc);
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
        return ssh_failed(l, rc);
    s->more = true; /* the first output may have come in with the answer */
    l->due_us = NEVER_US;
    lane_set_state(l, LANE_UP);
    return 0;
}

int
climb(struct lane *l)
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
    if (code == 0)
        l->session->refusal[0] = '\0';
    return code;
}

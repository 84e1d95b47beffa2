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

#define PIECE_BYTES      32700 /* libssh2's largest channel packet */
#define WINDOW_BYTES     (2u << 20)
#define PACKET_BYTES     32768
#define IDENTITY_MAX     16384
#define COMPLAINT_BYTES  512
#define EXIT_STATUS_US   SECOND_US /* how long after the output's end the exit status may take */
#define FINGERPRINT_SIZE 64
#define SHA256_BYTES     32
#define RSA_SHA2_VERSION 0x010b00 /* the first libssh2 that signs with rsa-sha2 */

/* CTR before GCM also where both are known: libssh2 1.11's GCM takes a third more of our CPU. */
static const char CIPHERS[] =
    "aes128-ctr,aes256-ctr,aes192-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com,"
    "chacha20-poly1305@openssh.com";
static const char MACS[] = "hmac-sha2-256,hmac-sha2-512,hmac-sha2-256-etm@openssh.com,"
                           "hmac-sha2-512-etm@openssh.com";

static const struct host_key_type {
    int type;
    const char *name;   /* as in a key file */
    const char *offers; /* as negotiated */
} HOST_KEY_TYPES[] = {
    {LIBSSH2_HOSTKEY_TYPE_ED25519, "ssh-ed25519", "ssh-ed25519"},
    {LIBSSH2_HOSTKEY_TYPE_ECDSA_256, "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"},
    {LIBSSH2_HOSTKEY_TYPE_ECDSA_384, "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"},
    {LIBSSH2_HOSTKEY_TYPE_ECDSA_521, "ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"},
    {LIBSSH2_HOSTKEY_TYPE_RSA, "ssh-rsa", "rsa-sha2-512,rsa-sha2-256"},
};
#define HOST_KEY_TYPES_COUNT (sizeof HOST_KEY_TYPES / sizeof *HOST_KEY_TYPES)

/* The worker's job: it touches nothing else, so that it can outlive the attempt that asked. */
struct lookup {
    char host[256];
    char port[8];
    struct addrinfo *found;
    int error; /* getaddrinfo's */
};

enum half_sent { HALF_SENT_NOTHING, HALF_SENT_READ, HALF_SENT_WRITE };

struct lane_session {
    char place[272]; /* host:port */
    int64_t now_us;  /* of the last lane_open or lane_run */

    struct worker worker;
    struct lookup lookup;
    struct addrinfo *addresses, *address; /* owned; the one we try */
    int64_t address_due_us;
    int fd;
    uint64_t acked;

    LIBSSH2_SESSION *ssh;
    LIBSSH2_CHANNEL *channel;
    unsigned host_keys_refused; /* bits, by HOST_KEY_TYPES' place */
    char refusal[FAIL_MESSAGE_MAX];

    char identity[IDENTITY_MAX];
    size_t identity_bytes;
    bool identity_rsa;

    enum half_sent half_sent;
    bool blocked;    /* no write until something comes in */
    bool more;       /* libssh2 may hold input that poll does not see */
    int64_t read_us; /* when input was last looked for */
    bool ended;      /* all output was read; the exit status is due by end_due_us */
    int64_t end_due_us;
    size_t piece_bytes;
    uint8_t piece[PIECE_BYTES];
    char complaint[COMPLAINT_BYTES]; /* stderr */
    size_t complaint_bytes;
};

static void
lane_set_state(struct lane *l, enum lane_state state)
{
    l->state = state;
    l->progress_us = l->session->now_us;
}

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

static size_t
decode_base64(uint8_t *out, size_t size, const char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t used = 0;
    uint32_t bits = 0;
    int count = 0;

    for (; *text != '\0' && used < size; text++) {
        const char *digit = strchr(digits, *text);

        if (digit == NULL) {
            if (strchr("\r\n\t ", *text) != NULL)
                continue;
            break; /* '=' or the end line's '-' */
        }
        bits = bits << 6 | (uint32_t)(digit - digits);
        count += 6;
        if (count >= 8) {
            count -= 8;
            out[used++] = (uint8_t)(bits >> count);
        }
    }
    return used;
}

static void
encode_base64(char *out, const uint8_t *bytes,
              size_t n) /* no padding, as ssh-keygen -l prints it */
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0;
    int count = 0;

    for (size_t i = 0; i < n; i++) {
        bits = bits << 8 | bytes[i];
        for (count += 8; count >= 6; count -= 6)
            *out++ = digits[bits >> (count - 6) & 63];
    }
    if (count > 0)
        *out++ = digits[bits << (6 - count) & 63];
    *out = '\0';
}

static int
refuse_encrypted(const char *file)
{
    return fail(
        ERR_USAGE,
        "identity %s is protected by a passphrase, and nobody is there to type it: make a key without one "
        "(ssh-keygen -t ed25519 -N '' -f FILE) or take it off (ssh-keygen -p -N '' -f %s)",
        file, file);
}

/* A string with its length before it, copied and terminated; "" when it does not fit. */
static void
read_field(struct reader *r, char *out, size_t size)
{
    uint32_t n = reader_u32(r);
    const uint8_t *bytes = reader_bytes(r, n);

    out[0] = '\0';
    if (bytes == NULL || n >= size)
        return;
    memcpy(out, bytes, n);
    out[n] = '\0';
}

/* OpenSSH's PROTOCOL.key: magic, cipher, kdf, kdf options, count, public half (its type first), ...
 */
static int
check_openssh_key(struct lane_session *s, const char *file, const char *text)
{
    static const char magic[] = "openssh-key-v1";
    uint8_t start[512];
    char cipher[32], skipped[32], type[64];
    const uint8_t *found;
    struct reader r;

    reader_init(&r, start, decode_base64(start, sizeof start, text));
    found = reader_bytes(&r, sizeof magic);
    read_field(&r, cipher, sizeof cipher);
    read_field(&r, skipped, sizeof skipped);
    read_field(&r, skipped, sizeof skipped);
    reader_u32(&r); /* the number of keys, always 1 */
    reader_u32(&r); /* the public half's length */
    read_field(&r, type, sizeof type);
    if (r.failed || memcmp(found, magic, sizeof magic) != 0)
        return fail(ERR_USAGE, "identity %s is damaged: it is no private key in OpenSSH's format",
                    file);
    if (strcmp(cipher, "none") != 0)
        return refuse_encrypted(file);
    if (strncmp(type, "sk-", 3) == 0)
        return fail(
            ERR_USAGE,
            "identity %s needs a hardware token, and nobody is there to touch it: make another key with "
            "ssh-keygen -t ed25519 -N ''",
            file);
    s->identity_rsa = strcmp(type, "ssh-rsa") == 0;
    return 0;
}

static int
check_identity_text(struct lane_session *s, const char *file)
{
    static const uint8_t rsa_oid[] = {0x2a, 0x86, 0x48, 0x86, 0xf7,
                                      0x0d, 0x01, 0x01, 0x01}; /* PKCS #8 */
    static const char begin[] = "-----BEGIN ";
    const char *label = strstr(s->identity, begin);
    const char *body = label != NULL ? strstr(label, "PRIVATE KEY-----") : NULL;
    uint8_t start[64];
    size_t bytes;

    if (body == NULL &&
        (strncmp(s->identity, "ssh-", 4) == 0 || strncmp(s->identity, "ecdsa-", 6) == 0))
        return fail(ERR_USAGE, "identity %s is a public key: name the private one, without .pub",
                    file);
    if (body == NULL)
        return fail(ERR_USAGE,
                    "identity %s is not a private key: make one with ssh-keygen -t ed25519 -N ''",
                    file);
    label += sizeof begin - 1;
    body += strlen("PRIVATE KEY-----");
    if (strncmp(label, "OPENSSH ", 8) == 0)
        return check_openssh_key(s, file, body);
    if (strncmp(label, "ENCRYPTED ", 10) == 0 || strstr(body, "Proc-Type: 4,ENCRYPTED") != NULL)
        return refuse_encrypted(file);
    bytes = decode_base64(start, sizeof start, body);
    s->identity_rsa =
        strncmp(label, "RSA ", 4) == 0 || memmem(start, bytes, rsa_oid, sizeof rsa_oid) != NULL;
    return 0;
}

static int
read_identity(struct lane_session *s, const char *file)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    ssize_t got;

    if (fd < 0)
        return fail_file(ERR_USAGE, AT_FDCWD, file, "cannot open identity %s", file);
    if (fstat(fd, &st) < 0) {
        close(fd);
        return fail_sys(ERR_USAGE, "cannot look at identity %s", file);
    }
    got = read(fd, s->identity, sizeof s->identity - 1);
    close(fd);
    if (got < 0)
        return fail_sys(ERR_USAGE, "cannot read identity %s", file);
    s->identity_bytes = (size_t)got;
    s->identity[got] = '\0';
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return fail(ERR_USAGE,
                    "identity %s belongs to another user (uid %u): chown it to the agent's user",
                    file, (unsigned)st.st_uid);
    if ((st.st_mode & 077) != 0)
        return fail(ERR_USAGE, "identity %s can be read by others (mode %04o): chmod 600 %s", file,
                    (unsigned)(st.st_mode & 07777), file);
    return check_identity_text(s, file);
}

static void
forget_identity(struct lane_session *s)
{
    explicit_bzero(s->identity, sizeof s->identity);
    s->identity_bytes = 0;
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

static void
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

static const char *
step_name(enum lane_state state)
{
    switch (state) {
    case LANE_DOWN:
        break;
    case LANE_RESOLVING:
        return "looking up its name";
    case LANE_CONNECTING:
        return "connecting";
    case LANE_HANDSHAKE:
        return "the SSH handshake";
    case LANE_AUTHENTICATING:
        return "authentication";
    case LANE_STARTING:
        return "starting the command";
    case LANE_UP:
        return "shipping";
    }
    return "being down";
}

static bool
socket_gone(int error)
{
    return error == LIBSSH2_ERROR_SOCKET_RECV || error == LIBSSH2_ERROR_SOCKET_SEND ||
           error == LIBSSH2_ERROR_SOCKET_DISCONNECT;
}

/* libssh2 failed in a way that has no better sentence of its own. */
static int
ssh_failed(struct lane *l, int error)
{
    struct lane_session *s = l->session;
    char shown[200], *text = NULL;
    int length = 0;

    if (error == LIBSSH2_ERROR_ALLOC)
        return fail(ERR_LOCAL, "out of memory during %s with %s", step_name(l->state), s->place);
    if (socket_gone(error) && l->state == LANE_UP)
        return fail(ERR_PEER, "the connection to %s was lost: %s", s->place,
                    s->complaint_bytes > 0
                        ? text_escape(shown, sizeof shown, s->complaint, s->complaint_bytes)
                        : "its sshd or the line has ended it");
    if (socket_gone(error))
        return fail(
            ERR_PEER,
            "%s closed the connection during %s: the log of its sshd says why (often MaxStartups, "
            "AllowUsers, a firewall, or no SSH server on this port)",
            s->place, step_name(l->state));
    libssh2_session_last_error(s->ssh, &text, &length, 0);
    return fail(ERR_PEER, "SSH to %s failed during %s: %s (libssh2 error %d)", s->place,
                step_name(l->state),
                text_escape(shown, sizeof shown, text, text == NULL ? 0 : (size_t)length), error);
}

static int
timed_out(const struct lane *l)
{
    const char *place = l->session->place;

    switch (l->state) {
    case LANE_RESOLVING:
        return fail(
            ERR_PEER,
            "the name %s was not resolved within 5 s: look at the resolver, or use a numeric address",
            l->target->host);
    case LANE_CONNECTING:
        return fail(
            ERR_PEER,
            "no answer from %s within 5 s: the host or the line is down, or a firewall drops packets",
            place);
    case LANE_HANDSHAKE:
        return fail(ERR_PEER,
                    "%s takes connections but does not answer as an SSH server within 5 s", place);
    case LANE_DOWN:
    case LANE_AUTHENTICATING:
    case LANE_STARTING:
    case LANE_UP:
        break;
    }
    return fail(ERR_PEER, "%s did not finish %s within 5 s", place, step_name(l->state));
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
static int
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
connect_failed(const struct lane_session *s, int error)
{
    errno = error;
    if (error == ECONNREFUSED)
        return fail(ERR_PEER,
                    "%s refuses connections: no sshd listens there, or a firewall answers for it",
                    s->place);
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

static void
join_offers(const struct lane_session *s, char *out, size_t size)
{
    size_t used = 0;

    out[0] = '\0';
    for (size_t i = 0; i < HOST_KEY_TYPES_COUNT; i++) {
        const struct host_key_type *t = &HOST_KEY_TYPES[i];

        if ((s->host_keys_refused & 1u << i) != 0 ||
            (t->type == LIBSSH2_HOSTKEY_TYPE_RSA && libssh2_version(RSA_SHA2_VERSION) == NULL))
            continue;
        used += (size_t)snprintf(out + used, size - used, "%s%s", used > 0 ? "," : "", t->offers);
    }
}

/* Of a list of names in order of preference, those that this libssh2 has. */
static void
keep_supported(LIBSSH2_SESSION *ssh, int method, const char *wanted, char *out, size_t size)
{
    const char **names = NULL;
    int count = libssh2_session_supported_algs(ssh, method, &names);
    size_t used = 0;

    out[0] = '\0';
    for (size_t n; *wanted != '\0' && used < size; wanted += n + (wanted[n] == ',')) {
        n = strcspn(wanted, ",");
        for (int i = 0; i < count; i++)
            if (strlen(names[i]) == n && strncmp(names[i], wanted, n) == 0)
                used += (size_t)snprintf(out + used, size - used, "%s%s", used > 0 ? "," : "",
                                         names[i]);
    }
    if (count > 0)
        libssh2_free(ssh, names);
}

/* libssh2 1.10 copies over itself when it drops an unknown name from a list: it is given none. */
static int
prefer(LIBSSH2_SESSION *ssh, int method, const char *wanted)
{
    char names[320];

    keep_supported(ssh, method, wanted, names, sizeof names);
    return libssh2_session_method_pref(ssh, method, names);
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

static int
no_common_algorithm(struct lane_session *s)
{
    char ciphers[160], macs[160], host_keys[160];

    join_offers(s, host_keys, sizeof host_keys);
    keep_supported(s->ssh, LIBSSH2_METHOD_CRYPT_CS, CIPHERS, ciphers, sizeof ciphers);
    keep_supported(s->ssh, LIBSSH2_METHOD_MAC_CS, MACS, macs, sizeof macs);
    return fail(
        ERR_PEER,
        "no common algorithms with %s: libssh2 %s here offers Ciphers %s, MACs %s, HostKeyAlgorithms %s, and "
        "key exchange by curve25519, nistp and diffie-hellman: allow one of each in that host's sshd_config%s",
        s->place, libssh2_version(0), ciphers, macs, host_keys,
        libssh2_version(RSA_SHA2_VERSION) == NULL
            ? ", or use libssh2 1.11 here, which also knows AES-GCM, chacha20 and -etm MACs"
            : "");
}

static void
fingerprint(LIBSSH2_SESSION *ssh, char out[FINGERPRINT_SIZE])
{
    const char *hash = libssh2_hostkey_hash(ssh, LIBSSH2_HOSTKEY_HASH_SHA256);

    snprintf(out, FINGERPRINT_SIZE, "SHA256:");
    if (hash != NULL)
        encode_base64(out + strlen(out), (const uint8_t *)hash, SHA256_BYTES);
}

static bool
same_fingerprint(const char *pinned, const char *shown)
{
    size_t n = strlen(pinned);

    while (n > 0 && pinned[n - 1] == '=')
        n--;
    return n == strlen(shown) && strncmp(pinned, shown, n) == 0;
}

/* Lines one by one: libssh2 gives up a whole file for one line it does not know. */
static int
load_known_hosts(LIBSSH2_KNOWNHOSTS *hosts, const char *name)
{
    FILE *file = fopen(name, "re");
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    int code = 0;

    if (file == NULL)
        return fail_sys(ERR_USAGE, "cannot open known_hosts %s", name);
    while (code == 0 && (n = getline(&line, &size, file)) > 0) {
        if (strncmp(line, "@revoked", 8) == 0)
            code = fail(
                ERR_USAGE,
                "known_hosts %s has an @revoked line, which is not understood here: pin the key with host_key",
                name);
        else if (line[0] != '@')
            libssh2_knownhost_readline(hosts, line, (size_t)n, LIBSSH2_KNOWNHOST_FILE_OPENSSH);
    }
    free(line);
    fclose(file);
    return code;
}

/* 0 when the file has this very key for the host; *ret_found is what libssh2 says otherwise. */
static int
check_known_hosts(struct lane *l, const char *key, size_t key_bytes, int *ret_found)
{
    LIBSSH2_KNOWNHOSTS *hosts = libssh2_knownhost_init(l->session->ssh);
    int code;

    if (hosts == NULL)
        return fail(ERR_LOCAL, "out of memory for known_hosts");
    code = load_known_hosts(hosts, l->target->known_hosts);
    if (code == 0)
        *ret_found = libssh2_knownhost_checkp(
            hosts, l->target->host, atoi(l->target->port), key, key_bytes,
            LIBSSH2_KNOWNHOST_TYPE_PLAIN | LIBSSH2_KNOWNHOST_KEYENC_RAW, NULL);
    libssh2_knownhost_free(hosts);
    return code;
}

static int
host_key_refused(struct lane *l, const struct host_key_type *type, const char *shown, bool known)
{
    const struct lane_target *t = l->target;
    const char *place = l->session->place;
    char entry[280];

    snprintf(entry, sizeof entry, strcmp(t->port, "22") == 0 ? "%s" : "[%s]:%s", t->host, t->port);
    if (t->known_hosts[0] == '\0')
        return fail(
            ERR_PEER,
            "%s shows another host key than the pinned one: host_key is %s, it shows %s (%s); if the host was "
            "reinstalled, put the new fingerprint into host_key, if not, somebody may stand between",
            place, t->host_key, shown, type->name);
    if (known)
        return fail(
            ERR_PEER,
            "%s shows another host key than known_hosts %s has for it: it shows %s (%s), the file's is seen "
            "with ssh-keygen -lF '%s' -f %s; if the host was reinstalled, replace it there, if not, "
            "somebody may stand between",
            place, t->known_hosts, shown, type->name, entry, t->known_hosts);
    return fail(
        ERR_PEER,
        "%s is not in known_hosts %s: it shows %s (%s); compare that on the host itself (ssh-keygen -lf "
        "/etc/ssh/ssh_host_*_key.pub) and then add it: ssh-keyscan -p %s %s >> %s",
        place, t->known_hosts, shown, type->name, t->port, t->host, t->known_hosts);
}

/* Not the pinned key: again, with the types that were not shown yet. The first refusal is the one
 * told. */
static int
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
check_host_key(struct lane *l)
{
    struct lane_session *s = l->session;
    const struct lane_target *t = l->target;
    char shown[FINGERPRINT_SIZE];
    size_t key_bytes = 0, i = 0;
    int type = LIBSSH2_HOSTKEY_TYPE_UNKNOWN, found = LIBSSH2_KNOWNHOST_CHECK_NOTFOUND;
    const char *key = libssh2_session_hostkey(s->ssh, &key_bytes, &type);

    while (i < HOST_KEY_TYPES_COUNT && HOST_KEY_TYPES[i].type != type)
        i++;
    if (key == NULL || i == HOST_KEY_TYPES_COUNT)
        return fail(ERR_PEER, "%s shows a host key of a type we did not offer", s->place);
    fingerprint(s->ssh, shown);
    if (t->known_hosts[0] != '\0') {
        int code = check_known_hosts(l, key, key_bytes, &found);

        if (code < 0)
            return code;
        if (found == LIBSSH2_KNOWNHOST_CHECK_MATCH)
            return 0;
    } else if (same_fingerprint(t->host_key, shown)) {
        return 0;
    }
    host_key_refused(l, &HOST_KEY_TYPES[i], shown, found == LIBSSH2_KNOWNHOST_CHECK_MISMATCH);
    return try_other_host_keys(l, i);
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
key_refused(const struct lane *l)
{
    const struct lane_target *t = l->target;

    if (l->session->identity_rsa && libssh2_version(RSA_SHA2_VERSION) == NULL)
        return fail(
            ERR_PEER,
            "the server at %s does not accept the RSA key %s for user %s: libssh2 %s here signs RSA keys with "
            "SHA-1 only, which OpenSSH 8.8 and later refuse: use an ed25519 or ecdsa key "
            "(ssh-keygen -t ed25519 -N ''), or libssh2 1.11",
            l->session->place, t->identity, t->user, libssh2_version(0));
    return fail(
        ERR_PEER,
        "the server at %s does not accept key %s for user %s: put its public half into that user's "
        "authorized_keys",
        l->session->place, t->identity, t->user);
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

static int
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

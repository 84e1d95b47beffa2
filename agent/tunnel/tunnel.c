/*
 * See tunnel.h. A passage is one stream with what the agent knows of it. Its life where the client
 * is: waiting (for its turn to dial) -> dialing -> greeting -> open, or waiting -> asked (over the
 * link) -> open. Where the service is: handed over by the inlet, or asked for over a link and
 * dialled; then, for PostgreSQL, guarded until the start-up packet was read; then open.
 */
#include "tunnel/tunnel.h"

#include "daemon/agent.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"
#include "shipper/replication/pgwire.h"
#include "shipper/tunnel/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define REFUSAL_BYTES 8192

enum passage_state {
    PASSAGE_WAITING, /* for its turn */
    PASSAGE_ASKED,   /* over the link */
    PASSAGE_DIALING,
    PASSAGE_GREETING, /* TUNNEL is out */
    PASSAGE_GUARDED,  /* the start-up packet is awaited, and what PostgreSQL says of its role */
    PASSAGE_OPEN,
    PASSAGE_GONE, /* but a name is still being looked up for it */
};

struct passage {
    enum passage_state state;
    enum tunnel_service service;
    bool ours;                  /* the client is here, else the service */
    char far[MEMBER_NAME_SIZE]; /* "" : not chosen yet */
    const struct member *to;    /* of the door; NULL: the primary */
    int client;                 /* ours, until the stream has it; -1 */
    uint64_t number;            /* TUNNEL's; 0: the dialler wants it */
    int64_t due_us;             /* until it is open */
    struct stream stream;
    struct gate gate;  /* of PostgreSQL, here */
    unsigned declined; /* requests for encryption */
    bool only_asks;    /* its key is bound with --no-tunnel */
};

/* ---- doors ---- */

static int
make_directory(const char *path)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return fail_sys(ERR_LOCAL, "cannot make the directory %s", path);
    return 0;
}

static int
add_door(struct tunnel *t, const char *directory, enum tunnel_service service,
         const struct member *member)
{
    static const char *const name[] = {[TUNNEL_POSTGRES] = ".s.PGSQL.5432",
                                       [TUNNEL_CONTROL] = "control",
                                       [TUNNEL_RELAY] = ".s.PGSQL.5432"};
    struct door *d = &t->door[t->doors];
    char path[256];
    int code = make_directory(directory);

    if (code < 0)
        return code;
    snprintf(path, sizeof path, "%s/%s", directory, name[service]);
    *d = (struct door){.fd = -1, .service = service, .member = member};
    code = unix_socket_listen(path, 16, &d->fd);
    if (code < 0)
        return code;
    memcpy(d->path, path, strlen(path) + 1); /* it fits, or nobody could listen */
    t->doors++;
    return 0;
}

int
tunnel_open(struct agent *a)
{
    struct tunnel *t = &a->tunnel;
    char directory[256];
    int code = workers_init(&t->workers, 1); /* the pieces of a stream have an order */

    snprintf(directory, sizeof directory, "%s/tunnel", a->who.self->run);
    if (code == 0)
        code = add_door(t, directory, TUNNEL_POSTGRES, NULL);
    snprintf(directory, sizeof directory, "%s/far", a->who.self->run);
    if (code == 0)
        code = make_directory(directory);
    for (size_t i = 0; i < a->who.config->members && code == 0; i++) {
        const struct member *m = &a->who.config->member[i];

        if (m == a->who.self)
            continue;
        snprintf(directory, sizeof directory, "%s/far/%s", a->who.self->run, m->name);
        code = add_door(t, directory, TUNNEL_CONTROL, m);
        if (code == 0)
            code = add_door(t, directory, TUNNEL_RELAY, m);
    }
    return code;
}

static void
free_passage(struct tunnel *t, struct passage *p)
{
    for (size_t i = 0; i < TUNNEL_STREAMS_MAX; i++)
        if (t->passage[i] == p)
            t->passage[i] = NULL;
    t->bytes += p->stream.up.bytes + p->stream.down.bytes;
    stream_release(&p->stream);
    gate_release(&p->gate);
    if (p->client >= 0)
        close(p->client);
    free(p);
}

/* Its place is taken until it can be freed without waiting. */
static void
end_passage(struct tunnel *t, struct passage *p)
{
    if (t->asking == p)
        t->asking = NULL;
    if (stream_settled(&p->stream)) {
        free_passage(t, p);
        return;
    }
    if (p->client >= 0)
        close(p->client);
    p->client = -1;
    p->state = PASSAGE_GONE;
    p->due_us = clock_us() + SECOND_US;
}

void
tunnel_close(struct agent *a)
{
    struct tunnel *t = &a->tunnel;

    for (size_t i = 0; i < TUNNEL_STREAMS_MAX; i++)
        if (t->passage[i] != NULL)
            free_passage(t, t->passage[i]);
    for (size_t i = 0; i < t->doors; i++) {
        unlink(t->door[i].path);
        close(t->door[i].fd);
    }
    t->doors = 0;
    workers_release(&t->workers);
}

/* ---- refusals, in the service's words ---- */

static void
put_error(struct buf *out, enum tunnel_service service, const char *sqlstate, const char *reason)
{
    char text[FRAME_REASON_MAX + 64];
    json_t *line;
    char *dump;

    snprintf(text, sizeof text, "walferry: %s", reason);
    if (service != TUNNEL_CONTROL) {
        pgwire_put_error(out, "FATAL", sqlstate, text);
        return;
    }
    line = json_pack("{s:b s:i s:s}", "done", 1, "code", ERR_PEER, "error", text);
    dump = line == NULL ? NULL : json_dumps(line, JSON_COMPACT);
    if (dump != NULL && buf_room(out) > strlen(dump)) {
        buf_put_bytes(out, dump, strlen(dump));
        buf_put_u8(out, '\n');
    }
    free(dump);
    json_decref(line);
}

/* A client that gets no stream: it reads this, if it reads at all, and its end. */
static void
tell_client(int client, enum tunnel_service service, const char *sqlstate, const char *reason)
{
    uint8_t scratch[4096];
    struct buf out;

    if (buf_init(&out, REFUSAL_BYTES) < 0)
        return;
    put_error(&out, service, sqlstate, reason);
    while (recv(client, scratch, sizeof scratch, MSG_DONTWAIT) > 0)
        ; /* closing over unread bytes would take our words away */
    (void)!send(client, buf_data(&out), buf_used(&out), MSG_NOSIGNAL | MSG_DONTWAIT);
    buf_release(&out);
}

static struct tunnel_request
request_of(const struct agent *a, const struct passage *p, const char *reason)
{
    struct tunnel_request r = {.number = p->number, .service = p->service, .reason = reason};

    snprintf(r.pool, sizeof r.pool, "%s", a->who.config->name);
    snprintf(r.from, sizeof r.from, "%s", a->who.self->name);
    snprintf(r.to, sizeof r.to, "%s", p->far);
    return r;
}

static const char *
service_name(enum tunnel_service service)
{
    static const char *const name[] = {[TUNNEL_POSTGRES] = "PostgreSQL",
                                       [TUNNEL_CONTROL] = "the agent",
                                       [TUNNEL_RELAY] = "the relay"};

    return name[service];
}

/* It was not opened: fail_message() says why. */
static void
refuse(struct agent *a, struct passage *p, const char *sqlstate)
{
    struct link *l = outgoing_to(&a->out, p->far);
    char reason[FRAME_REASON_MAX];

    snprintf(reason, sizeof reason, "%s", fail_message());
    log_warning("tunnel to %s of %s: %s", service_name(p->service),
                p->far[0] != '\0' ? p->far : "the primary", reason);
    if (p->ours) {
        tell_client(p->client, p->service, sqlstate, reason);
    } else if (p->number != 0 && l != NULL && l->state == LINK_SHIPPING) {
        struct frame f = {.type = FRAME_TUNNEL, .tunnel = request_of(a, p, reason)};

        frame_put(l->sender.out, &f);
    }
    end_passage(&a->tunnel, p);
}

/* The stream is there, the service is not: its client is told over it. */
static void
refuse_service(struct passage *p, const char *sqlstate)
{
    struct buf out;

    log_warning("tunnel: %s gets no way to %s: %s", p->far, service_name(p->service),
                fail_message());
    if (buf_init(&out, REFUSAL_BYTES) == 0)
        put_error(&out, p->service, sqlstate, fail_message());
    stream_say(&p->stream, buf_data(&out), buf_used(&out)); /* no room: it does not read */
    buf_release(&out);
    stream_end(&p->stream);
    p->stream.gate = NULL;
    p->state = PASSAGE_OPEN;
    p->due_us = NEVER_US;
}

/* ---- where the service is ---- */

static int
call_address(const char *host, const char *port, int *ret_fd)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6,
                               .sin6_port = htons((uint16_t)strtoul(port, NULL, 10))};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = six.sin6_port};
    bool is_four = inet_pton(AF_INET, host, &four.sin_addr) == 1;
    int rc;

    if (!is_four && inet_pton(AF_INET6, host, &six.sin6_addr) != 1)
        return fail(ERR_LOCAL, "PostgreSQL's host %s is neither a directory nor an address", host);
    *ret_fd = socket(is_four ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*ret_fd < 0)
        return fail_sys(ERR_LOCAL, "cannot make a socket");
    rc = is_four ? connect(*ret_fd, (struct sockaddr *)&four, sizeof four)
                 : connect(*ret_fd, (struct sockaddr *)&six, sizeof six);
    if (rc == 0 || errno == EINPROGRESS)
        return 0;
    close(*ret_fd);
    return fail_sys(ERR_PEER, "PostgreSQL does not answer on %s:%s", host, port);
}

/* Where libpq would connect to with this member's `postgres`. */
static int
call_postgres(const struct member *self, int *ret_fd)
{
    PQconninfoOption *options = PQconninfoParse(self->postgres, NULL);
    const char *host = "/var/run/postgresql", *port = "5432";
    char path[512];
    int code;

    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
        if (o->val != NULL && strcmp(o->keyword, "host") == 0)
            host = o->val;
        if (o->val != NULL && strcmp(o->keyword, "port") == 0)
            port = o->val;
    }
    snprintf(path, sizeof path, "%s/.s.PGSQL.%s", host, port);
    code = host[0] == '/' ? local_call(path, ret_fd) : call_address(host, port, ret_fd);
    PQconninfoFree(options);
    return code;
}

/* A room of our own. It knows who comes so from those who connect here: a far member is not us. */
static int
call_room(struct agent *a, const struct passage *p, int64_t now_us, int *ret_fd)
{
    int pair[2];
    bool taken;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return fail_sys(ERR_LOCAL, "cannot make a socket");
    *ret_fd = pair[0];
    taken = p->service == TUNNEL_CONTROL ? control_adopt(&a->control, pair[1], p->only_asks, now_us)
                                         : relay_adopt(&a->in.relay, pair[1], now_us);
    if (taken)
        return 0;
    close(pair[0]);
    return fail(ERR_PEER, "%s of %s serves others: ask again", service_name(p->service),
                a->who.self->name);
}

/* Which member a client of the tunnel is led to from here: the primary, or who receives from it. */
static const char *
next_hop(const struct agent *a)
{
    return receiver_live(&a->in.receiver) ? a->in.receiver.from : a->who.pool.epoch.member;
}

static int
call_onward(const struct agent *a, const struct passage *p, int *ret_fd)
{
    if (strcmp(next_hop(a), p->far) == 0)
        return fail(ERR_PEER, "%s is not the primary: it holds %s for it", a->who.self->name,
                    a->who.pool.epoch.number > 0 ? a->who.pool.epoch.member : "nobody");
    return local_call(a->tunnel.door[0].path, ret_fd);
}

static void
serve(struct agent *a, struct passage *p, int64_t now_us)
{
    int fd = -1, code = 0;

    p->due_us = now_us + TUNNEL_WAIT_US;
    p->state = PASSAGE_OPEN;
    switch (p->service) {
    case TUNNEL_POSTGRES:
        if (a->who.role == ROLE_PRIMARY) {
            code = gate_init(&p->gate);
            p->stream.gate = &p->gate;
            p->state = PASSAGE_GUARDED;
            break;
        }
        code = call_onward(a, p, &fd);
        break;
    case TUNNEL_CONTROL:
    case TUNNEL_RELAY:
        code = call_room(a, p, now_us, &fd);
        break;
    }
    if (code < 0) {
        refuse_service(p, "08006");
        return;
    }
    if (p->state == PASSAGE_GUARDED)
        return;
    p->due_us = NEVER_US;
    stream_connect(&p->stream, fd);
}

/* Of any member: they are copies of one database. */
static bool
is_agents_role(const struct config *c, const char *user)
{
    char role[ROLE_NAME_SIZE];

    for (size_t i = 0; i < c->members; i++) {
        config_role(role, &c->member[i]);
        if (strcmp(user, role) == 0)
            return true;
    }
    return false;
}

/* synchronous_standby_names knows a link by this name: another one would be taken for it. */
static bool
is_links_name(const struct config *c, const char *application_name)
{
    char slot[SLOT_NAME_SIZE];

    for (size_t i = 0; i < c->members; i++) {
        config_slot_name(slot, c->member[i].name);
        if (strcasecmp(application_name, slot) == 0 ||
            strcasecmp(application_name, c->member[i].name) == 0)
            return true;
    }
    return false;
}

/* Who asks, by the start-up packet alone. */
static int
check_startup(const struct agent *a, const struct startup *s)
{
    char shown[128], role[ROLE_NAME_SIZE];

    text_escape(shown, sizeof shown, s->user, strlen(s->user));
    config_role(role, a->who.self);
    if (s->renames || is_links_name(a->who.config, s->application_name))
        return fail(ERR_PEER, "application_name is that of a member, or set in options: commits "
                              "might wait for this client; choose another one");
    if (s->database)
        return fail(ERR_PEER, "replication through the tunnel is physical: replication=true");
    if (s->replication && !is_agents_role(a->who.config, s->user))
        return fail(ERR_PEER,
                    "the tunnel leads to replication for the role %s only, not for %s: user=%s",
                    role, shown, role);
    if (!s->replication && strcmp(s->user, a->who.config->tunnel_user) != 0)
        return fail(ERR_PEER,
                    "the tunnel leads to PostgreSQL for the role %s only, not for %s: user=%s",
                    a->who.config->tunnel_user, shown, a->who.config->tunnel_user);
    return 0;
}

/* What PostgreSQL says of that role (POSTGRES_ROLE). */
static int
check_powers(const struct agent *a, const struct startup *s, const char *answer)
{
    static const char *const what[] = {[POWER_MAKES_ROLES] = "makes roles",
                                       [POWER_PROGRAMS] = "runs programs or writes files there",
                                       [POWER_SUPERUSER] = "is a superuser"};
    const char *host = a->who.self->name, *holder = answer[0] != '\0' ? answer + 2 : "";
    unsigned power = answer[0] != '\0' ? (unsigned)(answer[1] - '0') : POWER_NONE;

    if (answer[0] == '\0')
        return fail(ERR_PEER, "there is no role %s; as superuser on %s: CREATE ROLE %s LOGIN",
                    s->user, host, s->user);
    if (power != POWER_NONE && power <= POWER_SUPERUSER && strcmp(holder, s->user) == 0)
        return fail(ERR_PEER,
                    "the role %s %s, and no such role passes a tunnel; as superuser on %s: ALTER "
                    "ROLE %s %s, or name another role in the pool's file",
                    s->user, what[power], host, s->user,
                    power == POWER_SUPERUSER ? "NOSUPERUSER" : "NOCREATEROLE");
    if (power != POWER_NONE && power <= POWER_SUPERUSER)
        return fail(ERR_PEER,
                    "the role %s is a member of %s, which %s, and no such role passes a tunnel; as "
                    "superuser on %s: REVOKE the membership that leads there",
                    s->user, holder, what[power], host);
    if (!s->replication && answer[0] == '1')
        return fail(ERR_PEER,
                    "the role %s may replicate: with SQL it could make and drop slots; copies go "
                    "as the agents' role; as superuser on %s: ALTER ROLE %s NOREPLICATION",
                    s->user, host, s->user);
    return 0;
}

/* The role is the right one: is it harmless? */
static void
check_role(struct agent *a, struct passage *p)
{
    const struct startup *s = &p->gate.startup;
    const char *error;
    int fd, code;

    if (postgres_state(a->who.postgres) != POSTGRES_UP) {
        fail(ERR_PEER, "PostgreSQL of %s is away: %s", a->who.self->name,
             postgres_reason(a->who.postgres));
        refuse_service(p, "57P03");
        return;
    }
    if (a->tunnel.asking == NULL && postgres_ask(a->who.postgres, POSTGRES_ROLE, s->user))
        a->tunnel.asking = p;
    if (a->tunnel.asking != p || !postgres_done(a->who.postgres, &error))
        return;
    a->tunnel.asking = NULL;
    code = error != NULL ? fail(ERR_PEER, "PostgreSQL of %s does not tell about the role %s: %s",
                                a->who.self->name, s->user, error)
                         : check_powers(a, s, postgres_answer(a->who.postgres));
    if (code == 0)
        code = call_postgres(a->who.self, &fd);
    if (code < 0) {
        refuse_service(p, "28000");
        return;
    }
    log_info("tunnel: %s is led to PostgreSQL as %s%s", p->far, s->user,
             s->replication ? ", to replicate" : "");
    gate_open(&p->gate);
    stream_connect(&p->stream, fd);
    p->state = PASSAGE_OPEN;
    p->due_us = NEVER_US;
}

static void
guard(struct agent *a, struct passage *p)
{
    for (; p->declined < p->gate.encryptions; p->declined++) /* it is inside of SSH */
        if (stream_say(&p->stream, "N", 1) < 0)
            return; /* it does not read: its time runs out */
    switch (p->gate.state) {
    case GATE_STARTUP:
    case GATE_OPEN:
        break;
    case GATE_ASKED:
        if (check_startup(a, &p->gate.startup) < 0)
            refuse_service(p, "28000");
        else
            check_role(a, p);
        break;
    case GATE_CANCELS:
        stream_end(&p->stream);
        p->stream.gate = NULL;
        p->state = PASSAGE_OPEN;
        p->due_us = NEVER_US;
        break;
    case GATE_REFUSED:
        fail(ERR_PEER, "%s", p->gate.why);
        refuse_service(p, "42501");
        break;
    }
}

/* ---- passages ---- */

static struct passage *
new_passage(struct tunnel *t, enum tunnel_service service, bool ours, int64_t now_us)
{
    size_t far = 0;

    for (size_t i = 0; i < TUNNEL_STREAMS_MAX; i++)
        far += t->passage[i] != NULL && !t->passage[i]->ours;
    if (!ours && far >= TUNNEL_FAR_MAX) {
        fail(ERR_PEER, "%d streams from other members are open already: end some of them first",
             TUNNEL_FAR_MAX);
        return NULL;
    }
    for (size_t i = 0; i < TUNNEL_STREAMS_MAX; i++)
        if (t->passage[i] == NULL) {
            struct passage *p = t->passage[i] = calloc(1, sizeof *p);

            if (p == NULL)
                break;
            p->ours = ours;
            p->service = service;
            p->client = p->stream.local = -1;
            p->stream.handed.fd = p->stream.handed.in = p->stream.handed.out = -1;
            p->due_us = now_us + TUNNEL_WAIT_US;
            return p;
        }
    fail(ERR_PEER, "%d streams are open already: end some of them first", TUNNEL_STREAMS_MAX);
    return NULL;
}

/* Closing what comes with it is all: nothing of it is ours yet. */
static void
turn_away(struct handed *h)
{
    struct epoch_origin none = {0};

    log_warning("tunnel from %s: %s", h->from, fail_message());
    buf_clear(&h->output);
    if (frame_put_refuse(&h->output, REFUSE_OPERATOR, &none, fail_message()) == 0)
        (void)!write(h->out, buf_data(&h->output), buf_used(&h->output));
    close(h->fd);
    close(h->in);
    close(h->out);
    buf_release(&h->input);
    buf_release(&h->output);
}

static int
check_request(const struct agent *a, const struct tunnel_request *r, const char *from)
{
    if (strcmp(r->pool, a->who.config->name) != 0)
        return fail(ERR_PEER, "this agent serves pool %s, not %s", a->who.config->name, r->pool);
    if (strcmp(r->to, a->who.self->name) != 0)
        return fail(ERR_PEER,
                    "this is %s, not %s: compare the ssh addresses of both in the pool's file",
                    a->who.self->name, r->to);
    if (strcmp(r->from, from) != 0)
        return fail(ERR_PEER, "TUNNEL says %s, but the key is bound to --from %s", r->from, from);
    if (config_member(a->who.config, from) == NULL)
        return fail(ERR_PEER, "%s is no member of the pool's file on %s", from, a->who.self->name);
    return 0;
}

/* What the link to or from that member has seen of the line at its best. */
static int64_t
round_trip_us(struct agent *a, const char *far)
{
    const struct link *l = outgoing_to(&a->out, far);

    if (l != NULL && l->state == LINK_SHIPPING)
        return l->sender.round_trip_us;
    return receiver_live(&a->in.receiver) && strcmp(a->in.receiver.from, far) == 0
               ? a->in.receiver.offset.round_trip_us
               : 0;
}

static void
connected(struct agent *a, struct passage *p, int64_t now_us)
{
    if (stream_open(&p->stream) < 0) {
        refuse(a, p, "53200");
        return;
    }
    pace_hint(&p->stream.pace, round_trip_us(a, p->far));
    a->tunnel.opened++;
    if (!p->ours) {
        serve(a, p, now_us);
        return;
    }
    p->state = PASSAGE_OPEN;
    p->due_us = NEVER_US;
    stream_connect(&p->stream, p->client);
    p->client = -1;
}

static struct passage *
asked_passage(const struct tunnel *t, const char *far, uint64_t number)
{
    for (size_t i = 0; i < TUNNEL_STREAMS_MAX; i++) {
        struct passage *p = t->passage[i];

        if (p != NULL && p->state == PASSAGE_ASKED && p->number == number &&
            strcmp(p->far, far) == 0)
            return p;
    }
    return NULL;
}

/* The key that a stream came with may be for WAL and questions only. */
static int
check_key(const struct agent *a, const struct handed *h, enum tunnel_service service)
{
    if (!h->no_tunnel || service == TUNNEL_CONTROL)
        return 0;
    return fail(ERR_PEER,
                "the key of %s is bound with --no-tunnel on the host of %s, and leads to WAL only: "
                "seed, rejoin and tunnels need a tunnel_identity of %s, its public key in "
                "authorized_keys there without --no-tunnel",
                h->from, a->who.self->name, h->from);
}

/* A connection that began with TUNNEL: the far side wants a service, or brings what we asked for.
 */
static void
take_session(struct agent *a, struct handed *h, const struct tunnel_request *r, int64_t now_us)
{
    struct frame accept = {.type = FRAME_ACCEPT};
    struct passage *p = NULL;
    int code = check_request(a, r, h->from);

    if (code == 0 && r->number != 0) {
        p = asked_passage(&a->tunnel, h->from, r->number);
        if (p == NULL)
            fail(ERR_PEER, "nobody waits for this stream any more");
        else if (check_key(a, h, p->service) < 0)
            p = NULL;
    } else if (code == 0 && check_key(a, h, r->service) == 0) {
        p = new_passage(&a->tunnel, r->service, false, now_us);
    }
    if (p == NULL) {
        turn_away(h);
        return;
    }
    memcpy(p->far, h->from, sizeof p->far);
    p->only_asks = h->no_tunnel;
    if (stream_adopt(&p->stream, &a->tunnel.workers, h, now_us) < 0 ||
        stream_put(&p->stream, &accept) < 0) {
        refuse(a, p, "53200");
        return;
    }
    connected(a, p, now_us);
}

/* Asked for over a link that we feed. */
static void
take_asked(struct agent *a, struct link *l, int64_t now_us)
{
    unsigned count = l->sender.streams_asked;

    l->sender.streams_asked = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct tunnel_request *r = &l->sender.stream_asked[i];
        struct passage *p;

        if (check_request(a, r, l->member) < 0 || r->number == 0 ||
            (p = new_passage(&a->tunnel, r->service, false, now_us)) == NULL) {
            struct passage none = {.service = r->service, .number = r->number};
            struct frame f = {.type = FRAME_TUNNEL};

            snprintf(none.far, sizeof none.far, "%s", l->member);
            f.tunnel = request_of(a, &none, fail_message());
            frame_put(l->sender.out, &f);
            continue;
        }
        p->number = r->number;
        snprintf(p->far, sizeof p->far, "%s", l->member);
    }
}

static void
take_refused(struct agent *a)
{
    struct passage *p;

    if (a->in.receiver.stream_refused == 0)
        return;
    p = asked_passage(&a->tunnel, a->in.receiver.from, a->in.receiver.stream_refused);
    a->in.receiver.stream_refused = 0;
    if (p != NULL) {
        fail(ERR_PEER, "%s", a->in.receiver.stream_reason);
        refuse(a, p, "08006");
    }
}

static void
accept_clients(struct agent *a, const struct door *d, int64_t now_us)
{
    int fd;

    while ((fd = accept4(d->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        struct passage *p =
            unix_socket_peer_is_ours(fd) ? new_passage(&a->tunnel, d->service, true, now_us) : NULL;

        if (p == NULL) {
            if (unix_socket_peer_is_ours(fd))
                tell_client(fd, d->service, "53300", fail_message());
            close(fd);
            continue;
        }
        p->client = fd;
        p->to = d->member;
    }
}

static bool
someone_dials(const struct tunnel *t)
{
    for (size_t i = 0; i < TUNNEL_STREAMS_MAX; i++)
        if (t->passage[i] != NULL &&
            (t->passage[i]->state == PASSAGE_DIALING || t->passage[i]->state == PASSAGE_GREETING))
            return true;
    return false;
}

static int
choose_far(struct agent *a, struct passage *p)
{
    const char *far = p->to != NULL ? p->to->name : next_hop(a);

    if (far[0] == '\0')
        return fail(ERR_PEER,
                    "it is not known here who the primary is: no agent of another member has "
                    "connected yet");
    if (strcmp(far, a->who.self->name) == 0)
        return fail(ERR_PEER,
                    "%s is the primary itself: connect to its PostgreSQL without a tunnel (%s)",
                    far, a->who.self->postgres);
    snprintf(p->far, sizeof p->far, "%s", far);
    return 0;
}

static int
ask_over_link(struct agent *a, struct passage *p)
{
    struct tunnel_request r;
    int code;

    if (getrandom(&p->number, sizeof p->number, GRND_NONBLOCK) < 0)
        return fail_sys(ERR_LOCAL, "no random number");
    p->number |= 1; /* 0 means something else */
    r = request_of(a, p, "");
    code = receiver_ask_stream(&a->in.receiver, &r);
    if (code < 0)
        return code;
    inlet_push(&a->in.inlet);
    p->state = PASSAGE_ASKED;
    return 0;
}

/* Over the link, where we receive it from that member: it is proved that its agent reaches us. */
static int
wait_for_turn(struct agent *a, struct passage *p, int64_t now_us)
{
    const struct member *m;
    int code = p->ours ? choose_far(a, p) : 0;

    if (code < 0)
        return code;
    if (p->ours && receiver_live(&a->in.receiver) && strcmp(a->in.receiver.from, p->far) == 0) {
        code = ask_over_link(a, p);
        return code == ERR_AGAIN ? 0 : code;
    }
    if (someone_dials(&a->tunnel))
        return 0;
    m = config_member(a->who.config, p->far);
    if (m == NULL)
        return fail(ERR_PEER, "%s is no member of the pool's file on %s", p->far,
                    a->who.self->name);
    p->state = PASSAGE_DIALING;
    return stream_dial(&p->stream, &a->tunnel.workers,
                       p->service == TUNNEL_CONTROL ? &m->target : &m->tunnel_target, now_us);
}

static int
say_tunnel(struct agent *a, struct passage *p)
{
    struct frame f = {.type = FRAME_TUNNEL, .tunnel = request_of(a, p, "")};
    int code = stream_put(&p->stream, &f);

    if (code == 0)
        p->state = PASSAGE_GREETING;
    return code;
}

/* 1 when ACCEPT came. */
static int
hear_accept(struct passage *p)
{
    char shown[FRAME_REASON_MAX];
    struct frame f;
    int got = stream_next(&p->stream, &f);

    if (got <= 0)
        return got;
    if (f.type == FRAME_REFUSE)
        return fail(ERR_PEER, "%s",
                    text_escape(shown, sizeof shown, f.refuse.reason, strlen(f.refuse.reason)));
    if (f.type != FRAME_ACCEPT)
        return fail(ERR_PEER, "a frame of type %d came from %s instead of ACCEPT", (int)f.type,
                    p->far);
    stream_consume(&p->stream, &f);
    return 1;
}

static int
greet(struct agent *a, struct passage *p, int64_t now_us)
{
    int code = stream_run(&p->stream, &a->loop, now_us), got;

    if (code == 0 && p->state == PASSAGE_DIALING && stream_up(&p->stream)) {
        code = say_tunnel(a, p);
        if (code == 0)
            code = stream_run(&p->stream, &a->loop, now_us);
    }
    if (p->state != PASSAGE_GREETING)
        return code < 0 ? fail(code, "%s", p->stream.reason) : 0;
    got = hear_accept(p); /* its reason is better than that of the connection's end */
    if (got == 0 && code < 0)
        return fail(code, "%s", p->stream.reason);
    if (got == 1)
        connected(a, p, now_us);
    return got < 0 ? got : 0;
}

static void
run_open(struct agent *a, struct passage *p, int64_t now_us)
{
    if (stream_run(&p->stream, &a->loop, now_us) == 0) {
        if (p->stream.gate != NULL &&
            (p->state == PASSAGE_GUARDED || p->gate.state == GATE_REFUSED))
            guard(a, p);
        return;
    }
    if (p->stream.reason[0] != '\0')
        log_warning("tunnel: a stream %s %s to %s broke: %s", p->ours ? "to" : "of", p->far,
                    service_name(p->service), p->stream.reason);
    end_passage(&a->tunnel, p);
}

static void
run_passage(struct agent *a, struct passage *p, int64_t now_us)
{
    int code = 0;

    if (p->state == PASSAGE_GONE) {
        if (now_us >= p->due_us)
            end_passage(&a->tunnel, p);
        return;
    }
    if (p->client >= 0 && (loop_ready(&a->loop, p->client) & (POLLHUP | POLLERR)) != 0) {
        end_passage(&a->tunnel, p); /* nobody waits for it any more */
        return;
    }
    if (p->state == PASSAGE_ASKED &&
        !(receiver_live(&a->in.receiver) && strcmp(a->in.receiver.from, p->far) == 0)) {
        p->state = PASSAGE_WAITING; /* the link ended: dial */
        p->number = 0;
    }
    if (p->state != PASSAGE_OPEN && now_us >= p->due_us) {
        fail(ERR_PEER, "no stream from %s within 10 s", p->far);
        if (p->state == PASSAGE_GUARDED)
            refuse_service(p, "57014");
        else
            refuse(a, p, "08006");
        return;
    }
    switch (p->state) {
    case PASSAGE_WAITING:
        code = wait_for_turn(a, p, now_us);
        break;
    case PASSAGE_ASKED:
        break;
    case PASSAGE_DIALING:
    case PASSAGE_GREETING:
        code = greet(a, p, now_us);
        break;
    case PASSAGE_GUARDED:
    case PASSAGE_OPEN:
        run_open(a, p, now_us);
        break;
    case PASSAGE_GONE:
        break;
    }
    if (code < 0)
        refuse(a, p, "08006");
}

void
tunnel_run(struct agent *a, int64_t now_us)
{
    struct tunnel *t = &a->tunnel;
    struct tunnel_request request;
    struct handed handed;

    if (loop_ready(&a->loop, workers_fd(&t->workers)) != 0)
        workers_clear(&t->workers);
    while (inlet_stream(&a->in.inlet, &handed, &request))
        take_session(a, &handed, &request, now_us);
    for (size_t i = 0; i < a->out.links; i++)
        take_asked(a, &a->out.link[i], now_us);
    take_refused(a);
    for (size_t i = 0; i < TUNNEL_STREAMS_MAX; i++)
        if (t->passage[i] != NULL)
            run_passage(a, t->passage[i], now_us);
    /* last: a client may have the number of a descriptor that was closed in this turn, and what
     * poll said of that is not said of it */
    for (size_t i = 0; i < t->doors; i++)
        if (loop_ready(&a->loop, t->door[i].fd) != 0)
            accept_clients(a, &t->door[i], now_us);
}

void
tunnel_watch(const struct tunnel *t, struct loop *l)
{
    for (size_t i = 0; i < t->doors; i++)
        loop_watch(l, t->door[i].fd, POLLIN);
    loop_watch(l, workers_fd(&t->workers), POLLIN);
    for (size_t i = 0; i < TUNNEL_STREAMS_MAX; i++) {
        const struct passage *p = t->passage[i];

        if (p == NULL)
            continue;
        loop_watch(l, p->client, 0); /* its hangup */
        loop_due(l, p->due_us);
        if (p->state >= PASSAGE_DIALING && p->state != PASSAGE_GONE)
            stream_watch(&p->stream, l);
        else if (p->state == PASSAGE_WAITING && !someone_dials(t))
            loop_due(l, 0);
    }
}

unsigned
tunnel_streams(const struct tunnel *t)
{
    unsigned count = 0;

    for (size_t i = 0; i < TUNNEL_STREAMS_MAX; i++)
        count += t->passage[i] != NULL && t->passage[i]->state == PASSAGE_OPEN;
    return count;
}

uint64_t
tunnel_bytes(const struct tunnel *t)
{
    uint64_t bytes = t->bytes;

    for (size_t i = 0; i < TUNNEL_STREAMS_MAX; i++)
        if (t->passage[i] != NULL)
            bytes += t->passage[i]->stream.up.bytes + t->passage[i]->stream.down.bytes;
    return bytes;
}

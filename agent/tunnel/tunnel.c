/* SPDX-License-Identifier: PostgreSQL */
/*
 * See tunnel.h. A passage is one stream with what the agent knows of it. Its life where the client
 * is: waiting (for its turn to dial) -> dialing -> greeting -> open, or waiting -> asked (over the
 * link) -> open. Where the service is: handed over by the inlet, or asked for over a link and
 * dialled; then, for PostgreSQL, guarded until the start-up packet was read; then open.
 */
#include "tunnel/tunnel.h"

#include "tunnel/call.h"
#include "tunnel/service.h"
#include "tunnel/slot_sync.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"
#include "shipper/tunnel/stream.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum passage_state {
    PASSAGE_WAITING, /* for its turn */
    PASSAGE_ASKED,   /* over the link */
    PASSAGE_DIALING,
    PASSAGE_GREETING, /* TUNNEL is out */
    PASSAGE_GUARDED,  /* the start-up packet is awaited, and what PostgreSQL says of its role */
    PASSAGE_OPEN,
    PASSAGE_GONE, /* ended, but a name is still being looked up */
};

struct passage {
    enum passage_state state;
    enum tunnel_service service;
    bool ours;                  /* the client is here, else the service */
    char far[MEMBER_NAME_SIZE]; /* "" : not chosen yet */
    const struct member *to;    /* of the door; NULL: the primary */
    int client;                 /* ours, until the stream has it; -1 */
    uint64_t number;            /* TUNNEL's; 0: the dialler wants it */
    struct epoch epoch;         /* when its way was chosen; number 0: not yet, or none is known */
    int64_t due_us;             /* until it is open */
    struct stream stream;
    struct gate gate;  /* of PostgreSQL, here */
    unsigned declined; /* requests for encryption */
    bool only_asks;    /* its key is bound with --no-tunnel */
    bool syncs;        /* ours: it came to the relay, to synchronize slots */
    struct buf first;  /* ... and with these bytes */
};

int
tunnel_open(struct tunnel *t, const struct who *who, struct outgoing *out, struct incoming *in,
            struct control *control)
{
    int code = workers_init(&t->workers, 1); /* the pieces of a stream have an order */

    t->who = t->admission.who = who;
    t->out = out;
    t->in = in;
    t->control = control;
    return code < 0 ? code : doors_open(&t->doors, who->config, who->self);
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
    buf_release(&p->first);
    if (p->client >= 0)
        close(p->client);
    free(p);
}

/* The passage keeps its place until it can be freed without waiting. */
static void
end_passage(struct tunnel *t, struct passage *p)
{
    admission_forget(&t->admission, p);
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
tunnel_close(struct tunnel *t)
{
    for (size_t i = 0; i < TUNNEL_STREAMS_MAX; i++)
        if (t->passage[i] != NULL)
            free_passage(t, t->passage[i]);
    doors_close(&t->doors);
    workers_release(&t->workers);
}

/* ---- refusals, in the service's words ---- */

static struct tunnel_request
request_of(const struct tunnel *t, const struct passage *p, const char *reason)
{
    struct tunnel_request r = {.number = p->number, .service = p->service, .reason = reason};

    snprintf(r.pool, sizeof r.pool, "%s", t->who->config->name);
    snprintf(r.from, sizeof r.from, "%s", t->who->self->name);
    snprintf(r.to, sizeof r.to, "%s", p->far);
    return r;
}

/* The passage was not opened: fail_message() says why. */
static void
refuse(struct tunnel *t, struct passage *p, const char *sqlstate)
{
    struct link *l = outgoing_to(t->out, p->far);
    char reason[FRAME_REASON_MAX];

    snprintf(reason, sizeof reason, "%s", fail_message());
    log_warning("tunnel to %s of %s: %s", service_name(p->service),
                p->far[0] != '\0' ? p->far : "the primary", reason);
    if (p->ours) {
        service_tell(p->client, p->service, sqlstate, reason);
    } else if (p->number != 0 && l != NULL && l->state == LINK_SHIPPING) {
        struct frame f = {.type = FRAME_TUNNEL, .tunnel = request_of(t, p, reason)};

        frame_put(l->sender.out, &f);
    }
    end_passage(t, p);
}

/* The stream is there, the service is not: the client is told over the stream. */
static void
refuse_service(struct passage *p, const char *sqlstate)
{
    struct buf out;

    log_warning("tunnel: %s gets no way to %s: %s", p->far, service_name(p->service),
                fail_message());
    if (buf_init(&out, REFUSAL_BYTES) == 0)
        service_put_error(&out, p->service, sqlstate, fail_message());
    stream_say(&p->stream, buf_data(&out), buf_used(&out)); /* no room: the client does not read */
    buf_release(&out);
    stream_end(&p->stream);
    p->stream.gate = NULL;
    p->state = PASSAGE_OPEN;
    p->due_us = NEVER_US;
}

/* ---- where the service is ---- */

/* The agent or the relay here. They know these clients from local ones: a far member is not us. */
static int
call_room(struct tunnel *t, const struct passage *p, int64_t now_us, int *ret_fd)
{
    int pair[2];
    bool taken;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return fail_sys(ERR_LOCAL, "cannot make a socket");
    *ret_fd = pair[0];
    taken = p->service == TUNNEL_CONTROL ? control_adopt(t->control, pair[1], p->only_asks, now_us)
                                         : relay_adopt(&t->in->relay, pair[1], now_us);
    if (taken)
        return 0;
    close(pair[0]);
    return fail(ERR_PEER, "%s of %s serves others: ask again", service_name(p->service),
                t->who->self->name);
}

/* Which member a client of the tunnel is led to from here: the primary, or who receives from it. */
static const char *
next_hop(const struct tunnel *t)
{
    return receiver_live(&t->in->receiver) ? t->in->receiver.from : t->who->pool.epoch.member;
}

static int
call_onward(const struct tunnel *t, const struct passage *p, int *ret_fd)
{
    if (strcmp(next_hop(t), p->far) == 0)
        return fail(ERR_PEER, "%s is not the primary: it holds %s for it", t->who->self->name,
                    t->who->pool.epoch.number > 0 ? t->who->pool.epoch.member : "nobody");
    return local_call(t->doors.door[0].path, ret_fd);
}

/* The start-up packet tells who asks. */
static int
guard(struct passage *p)
{
    p->stream.gate = &p->gate;
    p->state = PASSAGE_GUARDED;
    return gate_init(&p->gate);
}

static void
serve(struct tunnel *t, struct passage *p, int64_t now_us)
{
    int fd = -1, code = 0;

    p->due_us = now_us + TUNNEL_WAIT_US;
    p->state = PASSAGE_OPEN;
    p->epoch = t->who->pool.epoch;
    switch (p->service) {
    case TUNNEL_POSTGRES:
        code = t->who->role == ROLE_PRIMARY ? guard(p) : call_onward(t, p, &fd);
        break;
    case TUNNEL_SERVER:
        code = guard(p);
        break;
    case TUNNEL_CONTROL:
    case TUNNEL_RELAY:
        code = call_room(t, p, now_us, &fd);
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

/* The start-up packet is there: does its role pass? */
static void
admit(struct tunnel *t, struct passage *p)
{
    const struct startup *s = &p->gate.startup;
    const char *sqlstate;
    int fd, verdict = admission_judge(&t->admission, p, s, &sqlstate);

    if (verdict == 0)
        return;
    if (verdict > 0)
        verdict = call_postgres(t->who->self, &fd);
    if (verdict < 0) {
        refuse_service(p, sqlstate);
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
watch_gate(struct tunnel *t, struct passage *p)
{
    for (; p->declined < p->gate.encryptions; p->declined++) /* the stream is inside of SSH */
        if (stream_say(&p->stream, "N", 1) < 0)
            return; /* the client does not read: its time runs out */
    switch (p->gate.state) {
    case GATE_STARTUP:
    case GATE_OPEN:
        break;
    case GATE_ASKED:
        admit(t, p);
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

/* Nothing of the connection is a passage's yet: closing its descriptors is all. */
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
check_request(const struct tunnel *t, const struct tunnel_request *r, const char *from)
{
    if (strcmp(r->pool, t->who->config->name) != 0)
        return fail(ERR_PEER, "this agent serves pool %s, not %s", t->who->config->name, r->pool);
    if (strcmp(r->to, t->who->self->name) != 0)
        return fail(ERR_PEER,
                    "this is %s, not %s: compare the ssh addresses of both in the pool's file",
                    t->who->self->name, r->to);
    if (strcmp(r->from, from) != 0)
        return fail(ERR_PEER, "TUNNEL says %s, but the key is bound to --from %s", r->from, from);
    if (config_member(t->who->config, from) == NULL)
        return fail(ERR_PEER, "%s is no member of the pool's file on %s", from, t->who->self->name);
    return 0;
}

/* What the link to or from that member has seen of the line at its best. */
static int64_t
round_trip_us(struct tunnel *t, const char *far)
{
    const struct link *l = outgoing_to(t->out, far);

    if (l != NULL && l->state == LINK_SHIPPING)
        return l->sender.round_trip_us;
    return receiver_live(&t->in->receiver) && strcmp(t->in->receiver.from, far) == 0
               ? t->in->receiver.offset.round_trip_us
               : 0;
}

static void
connected(struct tunnel *t, struct passage *p, int64_t now_us)
{
    if (stream_open(&p->stream) < 0) {
        refuse(t, p, "53200");
        return;
    }
    stream_hint(&p->stream, round_trip_us(t, p->far));
    t->opened++;
    if (!p->ours) {
        serve(t, p, now_us);
        return;
    }
    p->state = PASSAGE_OPEN;
    p->due_us = NEVER_US;
    stream_connect(&p->stream, p->client);
    p->client = -1;
    stream_say(&p->stream, buf_data(&p->first), buf_used(&p->first)); /* into an empty stream */
    buf_release(&p->first);
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
check_key(const struct tunnel *t, const struct handed *h, enum tunnel_service service)
{
    if (!h->no_tunnel || service == TUNNEL_CONTROL)
        return 0;
    return fail(
        ERR_PEER,
        "the key of %s is bound with --no-tunnel on the host of %s, and leads to WAL only: "
        "seed, rejoin, tunnels and what a failover takes from there need a tunnel_identity of "
        "%s, its public key in authorized_keys there without --no-tunnel",
        h->from, t->who->self->name, h->from);
}

/* A connection that began with TUNNEL: the far side wants a service, or brings what we asked for.
 */
static void
take_session(struct tunnel *t, struct handed *h, const struct tunnel_request *r, int64_t now_us)
{
    struct frame accept = {.type = FRAME_ACCEPT};
    struct passage *p = NULL;
    int code = check_request(t, r, h->from);

    if (code == 0 && r->number != 0) {
        p = asked_passage(t, h->from, r->number);
        if (p == NULL)
            fail(ERR_PEER, "nobody waits for this stream any more");
        else if (check_key(t, h, p->service) < 0)
            p = NULL;
    } else if (code == 0 && check_key(t, h, r->service) == 0) {
        p = new_passage(t, r->service, false, now_us);
    }
    if (p == NULL) {
        turn_away(h);
        return;
    }
    memcpy(p->far, h->from, sizeof p->far);
    p->only_asks = h->no_tunnel;
    if (stream_adopt(&p->stream, &t->workers, h, now_us) < 0 ||
        stream_put(&p->stream, &accept) < 0) {
        refuse(t, p, "53200");
        return;
    }
    connected(t, p, now_us);
}

/* Asked for over a link that we feed. */
static void
take_asked(struct tunnel *t, struct link *l, int64_t now_us)
{
    unsigned count = l->sender.streams_asked;

    l->sender.streams_asked = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct tunnel_request *r = &l->sender.stream_asked[i];
        struct passage *p;

        if (check_request(t, r, l->member) < 0 || r->number == 0 ||
            (p = new_passage(t, r->service, false, now_us)) == NULL) {
            struct passage none = {.service = r->service, .number = r->number};
            struct frame f = {.type = FRAME_TUNNEL};

            snprintf(none.far, sizeof none.far, "%s", l->member);
            f.tunnel = request_of(t, &none, fail_message());
            frame_put(l->sender.out, &f);
            continue;
        }
        p->number = r->number;
        snprintf(p->far, sizeof p->far, "%s", l->member);
    }
}

static void
take_refused(struct tunnel *t)
{
    struct passage *p;

    if (t->in->receiver.stream_refused == 0)
        return;
    p = asked_passage(t, t->in->receiver.from, t->in->receiver.stream_refused);
    t->in->receiver.stream_refused = 0;
    if (p != NULL) {
        fail(ERR_PEER, "%s", t->in->receiver.stream_reason);
        refuse(t, p, "08006");
    }
}

static void
accept_clients(struct tunnel *t, const struct door *d, int64_t now_us)
{
    int fd;

    while ((fd = accept4(d->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        struct passage *p =
            unix_socket_peer_is_ours(fd) ? new_passage(t, d->service, true, now_us) : NULL;

        if (p == NULL) {
            if (unix_socket_peer_is_ours(fd))
                service_tell(fd, d->service, "53300", fail_message());
            close(fd);
            continue;
        }
        p->client = fd;
        p->to = d->member;
    }
}

/* For a session that is led to `far`; "" : wherever it would be led. */
static struct slot_sync
slot_sync_now(const struct tunnel *t, const char *far)
{
    struct slot_sync now = {.role = t->who->role,
                            .linked = receiver_live(&t->in->receiver) &&
                                      (far[0] == '\0' || strcmp(t->in->receiver.from, far) == 0)};

    for (size_t i = 0; i < TUNNEL_STREAMS_MAX; i++)
        now.open += t->passage[i] != NULL && t->passage[i]->syncs;
    return now;
}

static void
take_sql(struct tunnel *t, struct relay_sql *sql, int64_t now_us)
{
    struct slot_sync now = slot_sync_now(t, "");
    const char *sqlstate;
    struct passage *p = NULL;

    if (slot_sync_judge(t->who->config, &now, &sql->startup, &sqlstate) == 0) {
        p = new_passage(t, TUNNEL_POSTGRES, true, now_us);
        sqlstate = "53300";
    }
    if (p == NULL) {
        service_tell(sql->fd, TUNNEL_POSTGRES, sqlstate, fail_message());
        close(sql->fd);
        buf_release(&sql->in);
        return;
    }
    p->client = sql->fd;
    p->first = sql->in;
    p->syncs = true;
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
choose_far(struct tunnel *t, struct passage *p)
{
    const char *far = p->to != NULL ? p->to->name : next_hop(t);

    if (far[0] == '\0')
        return fail(ERR_PEER,
                    "it is not known here who the primary is: no agent of another member has "
                    "connected yet");
    if (strcmp(far, t->who->self->name) == 0)
        return fail(ERR_PEER,
                    "%s is the primary itself: connect to its PostgreSQL without a tunnel (%s)",
                    far, t->who->self->postgres);
    snprintf(p->far, sizeof p->far, "%s", far);
    p->epoch = t->who->pool.epoch;
    return 0;
}

static int
ask_over_link(struct tunnel *t, struct passage *p)
{
    struct tunnel_request r;
    int code;

    if (getrandom(&p->number, sizeof p->number, GRND_NONBLOCK) < 0)
        return fail_sys(ERR_LOCAL, "no random number");
    p->number |= 1; /* 0 means: the dialler wants it */
    r = request_of(t, p, "");
    code = receiver_ask_stream(&t->in->receiver, &r);
    if (code < 0)
        return code;
    inlet_push(&t->in->inlet);
    p->state = PASSAGE_ASKED;
    return 0;
}

/* Over the link, where we receive it from that member: it is proved that its agent reaches us. */
static int
wait_for_turn(struct tunnel *t, struct passage *p, int64_t now_us)
{
    const struct member *m;
    int code = p->ours ? choose_far(t, p) : 0;

    if (code < 0)
        return code;
    if (p->ours && receiver_live(&t->in->receiver) && strcmp(t->in->receiver.from, p->far) == 0) {
        code = ask_over_link(t, p);
        return code == ERR_AGAIN ? 0 : code;
    }
    if (someone_dials(t))
        return 0;
    m = config_member(t->who->config, p->far);
    if (m == NULL)
        return fail(ERR_PEER, "%s is no member of the pool's file on %s", p->far,
                    t->who->self->name);
    p->state = PASSAGE_DIALING;
    return stream_dial(&p->stream, &t->workers,
                       p->service == TUNNEL_CONTROL ? &m->target : &m->tunnel_target, now_us);
}

static int
say_tunnel(struct tunnel *t, struct passage *p)
{
    struct frame f = {.type = FRAME_TUNNEL, .tunnel = request_of(t, p, "")};
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
greet(struct tunnel *t, const struct loop *l, struct passage *p, int64_t now_us)
{
    int code = stream_run(&p->stream, l, now_us), got;

    if (code == 0 && p->state == PASSAGE_DIALING && stream_up(&p->stream)) {
        code = say_tunnel(t, p);
        if (code == 0)
            code = stream_run(&p->stream, l, now_us);
    }
    if (p->state != PASSAGE_GREETING)
        return code < 0 ? fail(code, "%s", p->stream.reason) : 0;
    got = hear_accept(p); /* the far side's reason is better than the connection's end */
    if (got == 0 && code < 0)
        return fail(code, "%s", p->stream.reason);
    if (got == 1)
        connected(t, p, now_us);
    return got < 0 ? got : 0;
}

static void
run_open(struct tunnel *t, const struct loop *l, struct passage *p, int64_t now_us)
{
    if (stream_run(&p->stream, l, now_us) == 0) {
        if (p->stream.gate != NULL &&
            (p->state == PASSAGE_GUARDED || p->gate.state == GATE_REFUSED))
            watch_gate(t, p);
        return;
    }
    if (p->stream.reason[0] != '\0')
        log_warning("tunnel: a stream %s %s to %s broke: %s", p->ours ? "to" : "of", p->far,
                    service_name(p->service), p->stream.reason);
    end_passage(t, p);
}

/* Does it still lead to the primary? Of a connection that was cut no end is heard, or a minute later.
 * Who feeds this member may change meanwhile: whoever it was leads on all the same. */
static bool
leads_astray(const struct tunnel *t, const struct passage *p)
{
    return p->service == TUNNEL_POSTGRES && p->state != PASSAGE_WAITING && p->epoch.number != 0 &&
           !epoch_equal(&p->epoch, &t->who->pool.epoch);
}

static void
end_astray(struct tunnel *t, struct passage *p)
{
    if (p->ours && p->state != PASSAGE_OPEN) {
        fail(ERR_PEER, "the primary is another one since %s was asked: connect again", p->far);
        refuse(t, p, "08006");
        return;
    }
    log_info("tunnel: a stream by %s to the primary is ended: the primary is another one now",
             p->far);
    end_passage(t, p);
}

static void
run_passage(struct tunnel *t, const struct loop *l, struct passage *p, int64_t now_us)
{
    int code = 0;

    if (p->state == PASSAGE_GONE) {
        if (now_us >= p->due_us)
            end_passage(t, p);
        return;
    }
    if (p->client >= 0 && (loop_ready(l, p->client) & (POLLHUP | POLLERR)) != 0) {
        end_passage(t, p); /* its client is gone */
        return;
    }
    if (p->syncs) {
        struct slot_sync now = slot_sync_now(t, p->far);

        if (!slot_sync_stays(&now)) {
            log_info("tunnel: the session that synchronizes slots is ended: %s",
                     now.linked ? role_name(now.role) : "the link is down");
            end_passage(t, p);
            return;
        }
    }
    if (leads_astray(t, p)) {
        end_astray(t, p);
        return;
    }
    if (p->state == PASSAGE_ASKED &&
        !(receiver_live(&t->in->receiver) && strcmp(t->in->receiver.from, p->far) == 0)) {
        p->state = PASSAGE_WAITING; /* the link ended: dial */
        p->number = 0;
    }
    if (p->state != PASSAGE_OPEN && now_us >= p->due_us) {
        fail(ERR_PEER, "no stream from %s within 10 s", p->far);
        if (p->state == PASSAGE_GUARDED)
            refuse_service(p, "57014");
        else
            refuse(t, p, "08006");
        return;
    }
    switch (p->state) {
    case PASSAGE_WAITING:
        code = wait_for_turn(t, p, now_us);
        break;
    case PASSAGE_ASKED:
        break;
    case PASSAGE_DIALING:
    case PASSAGE_GREETING:
        code = greet(t, l, p, now_us);
        break;
    case PASSAGE_GUARDED:
    case PASSAGE_OPEN:
        run_open(t, l, p, now_us);
        break;
    case PASSAGE_GONE:
        break;
    }
    if (code < 0)
        refuse(t, p, "08006");
}

void
tunnel_run(struct tunnel *t, const struct loop *l, int64_t now_us)
{
    struct tunnel_request request;
    struct handed handed;
    struct relay_sql sql;

    if (loop_ready(l, workers_fd(&t->workers)) != 0)
        workers_clear(&t->workers);
    while (inlet_stream(&t->in->inlet, &handed, &request))
        take_session(t, &handed, &request, now_us);
    for (size_t i = 0; i < t->out->links; i++)
        take_asked(t, &t->out->link[i], now_us);
    take_refused(t);
    while (relay_take_sql(&t->in->relay, &sql))
        take_sql(t, &sql, now_us);
    for (size_t i = 0; i < TUNNEL_STREAMS_MAX; i++)
        if (t->passage[i] != NULL)
            run_passage(t, l, t->passage[i], now_us);
    /* last: a client may have the number of a descriptor that was closed in this turn, and what
     * poll said of that is not said of it */
    for (size_t i = 0; i < t->doors.count; i++)
        if (loop_ready(l, t->doors.door[i].fd) != 0)
            accept_clients(t, &t->doors.door[i], now_us);
}

void
tunnel_watch(const struct tunnel *t, struct loop *l)
{
    for (size_t i = 0; i < t->doors.count; i++)
        loop_watch(l, t->doors.door[i].fd, POLLIN);
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

/* SPDX-License-Identifier: PostgreSQL */
/*
 * The hands of an agent, in place of the real ones: what the real judge, failover, questions and
 * greetings call to touch a server, a disk, a line or a clock. No decision is made here, but where
 * receiver_judge and inlet_accept mirror the real ones: does WAL continue the spool, and may a
 * session take the place of another.
 */
#include "sim/pool/world.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "links/greeting.h"
#include "pool/receipt.h"
#include "postgres/control_file.h"
#include "shipper/wal/hold.h"
#include "shipper/wal/pgwal.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct node *
by_path(const char *pgdata)
{
    return &w.member[atoi(pgdata)];
}

static struct node *
by_dir(int dir)
{
    return &w.member[dir - 100];
}

static struct node *
by_rooms(const void *part)
{
    for (int i = 0; i < w.members; i++) {
        const char *a = (const char *)w.member[i].a;

        if ((const char *)part >= a && (const char *)part < a + sizeof *w.member[i].a)
            return &w.member[i];
    }
    broke("a hand of the simulation is asked for nobody");
}

/* ---- clock, log, disk ---- */

int64_t
clock_us(void)
{
    return w.now_us;
}

int64_t
clock_wall_us(void)
{
    return wall_of(w.runs);
}

void
log_write(enum log_level level, const char *format, ...)
{
    char text[LOG_LINE_MAX];
    va_list args;

    (void)level;
    if (!w.trail)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    note("   log: %s", text);
}

int
durable_replace(int dir, const char *name, const void *bytes, size_t n)
{
    struct node *m = by_dir(dir);

    if (w.now_us < m->full_us) {
        errno = ENOSPC;
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        struct file *f = &m->file[i];

        if (f->name[0] != '\0' && strcmp(f->name, name) != 0)
            continue;
        snprintf(f->name, sizeof f->name, "%s", name);
        free(f->text);
        f->text = malloc(n + 1);
        memcpy(f->text, bytes, n);
        f->text[n] = '\0';
        f->length = n;
        return 0;
    }
    return -1;
}

ssize_t
durable_load(int dir, const char *name, char *out, size_t size)
{
    struct node *m = by_dir(dir);

    for (int i = 0; i < 4; i++) {
        struct file *f = &m->file[i];

        if (strcmp(f->name, name) != 0 || f->length >= size)
            continue;
        memcpy(out, f->text, f->length + 1);
        return (ssize_t)f->length;
    }
    errno = ENOENT;
    return -1;
}

int
receipt_save_failover(const char *spool, const struct pool *p)
{
    (void)spool;
    (void)p;
    return 0;
}

void
config_slot_name(char out[SLOT_NAME_SIZE], const char *member)
{
    snprintf(out, SLOT_NAME_SIZE, "walferry_%s", member);
    for (char *s = out; *s != '\0'; s++)
        if (*s == '-')
            *s = '_';
}

const struct member *
config_member(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->members; i++)
        if (strcmp(c->member[i].name, name) == 0)
            return &c->member[i];
    return NULL;
}

/* ---- the asking command ---- */

bool
control_listens(const struct control *c, uint64_t id)
{
    return id == 0 || by_rooms(c)->command_listens;
}

void
control_answer(struct control *c, uint64_t id, json_t *line)
{
    (void)c;
    (void)id;
    json_decref(line);
}

void
control_text(struct control *c, uint64_t id, const char *format, ...)
{
    char text[1200];
    va_list args;

    (void)id;
    if (!w.trail)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    note("   %d is told: %s", by_rooms(c)->index, text);
}

void
control_done(struct control *c, uint64_t id, int code)
{
    if (id == 1)
        by_rooms(c)->code = code;
    if (id != 0)
        note("   %d: the command ends with %d", by_rooms(c)->index, code);
}

/* ---- PostgreSQL ---- */

enum postgres_state
postgres_state(const struct postgres *p)
{
    return p->state;
}

const char *
postgres_reason(const struct postgres *p)
{
    return p->state == POSTGRES_UP ? "" : "it is away";
}

const struct postgres_sample *
postgres_sample(const struct postgres *p)
{
    return p->sampled ? &p->sample : NULL;
}

const struct identity *
postgres_identity(const struct postgres *p)
{
    return &p->identity;
}

bool
postgres_ask(struct postgres *p, enum postgres_command command, const char *argument)
{
    (void)argument;
    if (p->asked || p->state != POSTGRES_UP)
        return false;
    p->asked = true;
    p->done = p->failed = false;
    p->command = command;
    p->due_us = w.now_us + between(2 * MILLISECOND_US, 40 * MILLISECOND_US);
    later(p->due_us, EVENT_TURN, p->member, w.member[p->member].life, NULL);
    return true;
}

bool
postgres_done(struct postgres *p, const char **ret_error)
{
    if (!p->done)
        return false;
    p->done = false;
    *ret_error = p->failed ? "the connection was lost" : NULL;
    return true;
}

const char *
postgres_answer(const struct postgres *p)
{
    (void)p;
    return "tttt 8 8";
}

static int
copy_history(int branch, char *out, size_t size)
{
    const struct branch *b = &w.branch[branch];

    if (b->history_bytes >= size)
        return ERR_LOCAL;
    memcpy(out, b->history, b->history_bytes + 1);
    return (int)b->history_bytes;
}

int
pgwal_history(const char *pgdata, timeline_t timeline, char *out, size_t size)
{
    struct node *m = by_path(pgdata);

    for (int b = m->server.wal.branch; b >= 0; b = w.branch[b].parent)
        if (w.branch[b].timeline == timeline)
            return copy_history(b, out, size);
    if (timeline < TIMELINES && m->history[timeline] >= 0) /* restored from the spool */
        return copy_history(m->history[timeline], out, size);
    return ERR_LOCAL;
}

int
pgwal_postmaster_alive(const char *pgdata)
{
    return by_path(pgdata)->server.state != SERVER_DOWN;
}

int
control_file_identity(const char *pgdata, struct identity *ret_identity)
{
    (void)pgdata;
    *ret_identity = (struct identity){.system_identifier = 1, .segment_bytes = SEGMENT};
    return 0;
}

int
control_file_start(const char *pgdata, struct control_start *ret_start)
{
    const struct server *s = &by_path(pgdata)->server;

    *ret_start = (struct control_start){
        .opens_writable = !s->signal,
        .ran_writable = s->ran_writable,
        .timeline = timeline_of(s->reached),
        .checkpoint = {timeline_of(s->reached), s->reached.lsn - 100},
        .recovery_end = {timeline_of(s->reached), s->recovery ? s->reached.lsn : LSN_UNKNOWN}};
    return 0;
}

/* ---- spool and relay ---- */

bool
spool_empty(const struct spool *s)
{
    return s->timeline == 0;
}

int
spool_history(const struct spool *s, timeline_t timeline, char *out, size_t size)
{
    struct node *m = by_rooms(s);

    if (timeline >= TIMELINES || m->history[timeline] < 0)
        return ERR_AGAIN;
    return copy_history(m->history[timeline], out, size);
}

bool
spool_switch_point(const struct spool *s, timeline_t timeline, lsn_t *ret_end, timeline_t *ret_next)
{
    char text[HISTORY_BYTES_MAX];
    int length = spool_history(s, s->timeline, text, sizeof text);

    *ret_next = s->timeline;
    return length >= 0 && history_switch_point(text, (size_t)length, timeline, ret_end);
}

int
spool_trust_tail(struct spool *s)
{
    (void)s;
    return 0;
}

static int
find_fork(const struct spool *s, timeline_t timeline, const char *text, size_t length, lsn_t *ret)
{
    if (timeline < s->timeline)
        return fail(ERR_CORRUPT, "its timeline %u is behind ours, %u", timeline, s->timeline);
    if (!history_switch_point(text, length, s->timeline, ret))
        return fail(ERR_CORRUPT, "its timeline %u does not come from ours, %u", timeline,
                    s->timeline);
    return 0;
}

bool
spool_goes_on_behind(const struct spool *s, timeline_t timeline, const char *text, size_t length,
                     lsn_t *ret_fork)
{
    return !spool_empty(s) && timeline > s->timeline &&
           find_fork(s, timeline, text, length, ret_fork) == 0 && *ret_fork < s->flushed;
}

bool
spool_whole(const struct spool *s, lsn_t *ret_end)
{
    if (s->whole_upto != s->flushed)
        return false;
    *ret_end = s->whole;
    return true;
}

int
receiver_judge(const struct receiver *r, const struct hello *h)
{
    const struct spool *s = r->spool;
    lsn_t fork, whole = LSN_UNKNOWN;

    if (spool_empty(s) || h->timeline == s->timeline)
        return 0;
    if (find_fork(s, h->timeline, h->history, h->history_bytes, &fork) < 0)
        return ERR_CORRUPT;
    if (fork < s->flushed && !(spool_whole(s, &whole) || is_broken("ends-by-bytes")))
        return fail(ERR_AGAIN, "whether whole records lie behind the fork is not known yet");
    if (fork < s->flushed && (whole != fork || is_broken("ends-by-bytes")))
        return fail(ERR_CORRUPT,
                    "timeline %u forked at " LSN_FORMAT " before our flushed " LSN_FORMAT,
                    h->timeline, LSN_ARGS(fork), LSN_ARGS(s->flushed));
    return 0;
}

void
relay_standby(const struct relay *r, struct relay_standby *ret_standby)
{
    const struct node *m = by_rooms(r);
    const struct server *s = &m->server;

    *ret_standby = (struct relay_standby){0};
    if (s->state != SERVER_UP || !s->recovery || !m->spool_begun || !point_in(s->wal, m->written))
        return;
    *ret_standby = (struct relay_standby){.connected = true,
                                          .timeline = timeline_of(s->wal),
                                          .write = s->wal.lsn,
                                          .flush = s->wal.lsn,
                                          .apply = s->replay.lsn};
}

void
relay_push(struct relay *r, int64_t now_us)
{
    (void)now_us;
    server_follow(by_rooms(r));
}

bool
worker_busy(const struct worker *worker)
{
    (void)worker;
    return false;
}

lsn_t
hold_from(int dir, int64_t wall_us)
{
    (void)dir;
    (void)wall_us;
    return UINT64_MAX;
}

void
front_direct(struct incoming *in, timeline_t *ret_timeline, lsn_t *ret_wanted, int64_t now_us)
{
    (void)in;
    (void)ret_timeline;
    (void)ret_wanted;
    (void)now_us;
}

void
incoming_cut(struct incoming *in, enum cut_wish wish, lsn_t fork)
{
    struct node *m = by_rooms(in);
    bool off = wish != CUT_LOOK && is_broken("torn-stays");

    if (in->shut || in->spool.cutting || spool_empty(&in->spool) || fork >= in->spool.written ||
        off)
        return;
    if (wish != CUT_LOOK)
        inlet_end(&in->inlet, "the spool is cut at a fork");
    in->spool.cutting = true;
    m->cut = wish;
    m->fork = fork;
    later(w.now_us + between(1 * MILLISECOND_US, 30 * MILLISECOND_US), EVENT_CUT, m->index, m->life,
          NULL);
}

struct position
incoming_acknowledged(const struct incoming *in, bool *ret_whole)
{
    struct position p = {.timeline = in->spool.timeline, .lsn = in->spool.flushed};

    *ret_whole = is_broken("ends-by-bytes") || spool_whole(&in->spool, &p.lsn) || in->shut;
    return p;
}

lsn_t
incoming_durable(const struct incoming *in)
{
    return in->spool.flushed;
}

lsn_t
incoming_primary(const struct incoming *in, int64_t now_us)
{
    (void)in;
    (void)now_us;
    return LSN_UNKNOWN;
}

/* ---- the rest of another member: as fetch.c, over its line and with its agent ---- */

bool
fetch_from(const struct incoming *in, timeline_t *ret_timeline, lsn_t *ret_lsn)
{
    const struct node *m = by_rooms(in);

    *ret_timeline = timeline_of(m->spool_begun ? m->spool : m->server.replay);
    *ret_lsn = m->spool_begun ? segment_start(m->spool.lsn - 1, SEGMENT) : m->server.replay.lsn;
    return true;
}

int
fetch_begin(struct fetch *t, struct incoming *in, const struct member *from,
            const struct lineage *lineage, struct position end, int64_t now_us)
{
    (void)lineage;
    *t = (struct fetch){.in = in,
                        .from = from,
                        .end = end,
                        .moved_us = now_us,
                        .retry_us = now_us + between(50 * MILLISECOND_US, 2 * SECOND_US)};
    return 0;
}

void
fetch_stop(struct fetch *t)
{
    *t = (struct fetch){0};
}

void
fetch_watch(const struct fetch *t, struct loop *l)
{
    (void)t;
    (void)l;
}

enum fetched
fetch_run(struct fetch *t, const struct loop *l, int64_t now_us)
{
    struct node *m = by_rooms(t), *far = by_path(t->from->pgdata);
    const struct spool *s = &t->in->spool;

    (void)l;
    if (s->timeline == t->end.timeline && s->flushed >= t->end.lsn)
        return FETCH_DONE;
    if (t->in->shut || now_us - t->moved_us >= FETCH_US) {
        snprintf(t->reason, sizeof t->reason, "nothing comes");
        return FETCH_FAILED;
    }
    if (now_us < t->retry_us || now_us < w.heal_us[m->index][far->index] ||
        now_us < w.heal_us[far->index][m->index] || !agent_works(far) || now_us < m->full_us)
        return FETCH_GOES_ON;
    if (m->spool_begun && !point_in(m->spool, far->spool)) {
        snprintf(t->reason, sizeof t->reason, "its bytes are others");
        return FETCH_FAILED;
    }
    for (int i = 0; i < TIMELINES; i++)
        if (far->history[i] >= 0)
            m->history[i] = far->history[i];
    spool_set(m, far->spool);
    note("%d has the rest of %d, up to " LSN_FORMAT, m->index, far->index, LSN_ARGS(m->spool.lsn));
    return FETCH_GOES_ON;
}

/* ---- the link that is received ---- */

bool
receiver_compared(const struct receiver *r)
{
    return by_rooms(r)->compared;
}

void
receiver_forget(struct receiver *r)
{
    lag_restart(&r->flushed);
    r->stamped = (struct beacon){0};
    r->older = false;
    r->offset = (struct clock_offset){0};
    r->from[0] = r->origin[0] = '\0';
}

bool
receiver_relayed(const struct receiver *r)
{
    return receiver_live(r) && strcmp(r->from, r->origin) != 0;
}

bool
receiver_live(const struct receiver *r)
{
    return r->out != NULL;
}

bool
receiver_primary_us(const struct receiver *r, int64_t now_us, int64_t *ret_us)
{
    *ret_us = now_us;
    return r->offset.known;
}

static void
say_back(struct node *m, struct session *s, struct message x, const struct frame *f)
{
    struct buf b = {0};

    x.from = m->index;
    x.to = s->from;
    x.session = s->number;
    if (s->life == THIEF) {
        thief_answers(m, s, &x);
        return;
    }
    if (f != NULL && (buf_init(&b, 1 << 17) < 0 || frame_put(&b, f) < 0))
        broke("a POOL of the simulation is too long");
    post(x, f != NULL ? buf_data(&b) : NULL, f != NULL ? buf_used(&b) : 0);
    buf_release(&b);
}

void
receiver_ping(struct receiver *r, int64_t now_us)
{
    struct node *m = by_rooms(r);

    r->pinged_us = now_us;
    if (r->out != NULL)
        say_back(m, live_session(m), (struct message){.kind = M_PING, .sent_us = now_us}, NULL);
}

int
receiver_ask_drain(struct receiver *r)
{
    struct node *m = by_rooms(r);

    r->drained = r->drained_done = false;
    if (r->out == NULL)
        return ERR_PEER;
    say_back(m, live_session(m), (struct message){.kind = M_DRAIN}, NULL);
    return 0;
}

int
receiver_tell(struct receiver *r, const struct frame *f)
{
    struct node *m = by_rooms(r);

    if (r->out == NULL)
        return ERR_PEER;
    say_back(m, live_session(m), (struct message){.kind = M_FRAMES}, f);
    return 0;
}

void
incoming_tell_pool(struct incoming *in)
{
    struct frame f;

    who_pool_frame(in->who, &f);
    receiver_tell(&in->receiver, &f);
}

void
incoming_over(struct incoming *in)
{
    incoming_tell_pool(in);
    inlet_end(&in->inlet, "its epoch is over");
}

void
inlet_push(struct inlet *i)
{
    (void)i;
}

bool
inlet_behind(const struct inlet *i)
{
    (void)i;
    return false;
}

bool
inlet_no_tunnel(const struct session *s)
{
    (void)s;
    return false;
}

bool
inlet_arrives(const struct inlet *i, int64_t now_us)
{
    const struct node *m = by_rooms(i);

    for (int n = 0; n < SESSIONS_MAX; n++)
        if (m->session[n].state == SESSION_DIALED || m->session[n].state == SESSION_GREETED)
            return true;
    return i->live != NULL && i->rival_us != 0 && now_us - i->rival_us < 5 * SECOND_US;
}

void
inlet_end(struct inlet *i, const char *reason)
{
    if (i->live != NULL)
        session_end(by_rooms(i), (struct session *)i->live, true, reason);
}

void
inlet_shut(struct inlet *i, bool shut)
{
    if (!shut && i->receiver->dropped)
        inlet_end(i, "WAL is taken again here");
    i->receiver->dropped = false;
    i->receiver->shut = shut;
}

void
inlet_tell(struct session *s, const struct frame *f)
{
    say_back(&w.member[s->member], s, (struct message){.kind = M_FRAMES}, f);
}

void
inlet_refuse(struct inlet *i, struct session *s, enum refuse_kind kind,
             const struct epoch_origin *origin, const char *reason)
{
    struct node *m = &w.member[s->member];
    struct frame f = {.type = FRAME_REFUSE,
                      .refuse = {.kind = kind, .reason = reason, .origin = *origin}};
    struct message x = {.kind = M_REFUSE, .refusal = kind};

    s->state = SESSION_FREE;
    if (s->hello.lane != HELLO_KNOCKS && kind != REFUSE_RETRY)
        m->unfit_us = w.now_us;
    if (s->hello.lane == HELLO_KNOCKS) {
        say_back(m, s, (struct message){.kind = M_FRAMES}, &f);
        return;
    }
    snprintf(x.reason, sizeof x.reason, "%s", reason);
    note("%d refuses %d: %s", m->index, s->from, reason);
    snprintf(i->reason, sizeof i->reason, "%s", reason);
    say_back(m, s, x, NULL);
}

int
inlet_accept(struct inlet *i, struct session *s, timeline_t wanted_timeline, lsn_t wanted,
             uint64_t config_digest, int64_t now_us)
{
    struct node *m = &w.member[s->member], *far = &w.member[s->from];
    struct receiver *r = i->receiver;
    static struct buf out;
    struct point theirs = far->ship[m->index].link->relaying ? far->written : far->server.wal;
    lsn_t start = m->spool_begun ? segment_start(m->spool.lsn - 1, SEGMENT) : wanted;

    (void)wanted_timeline;
    (void)config_digest;
    inlet_end(i, "a newer session takes its place");
    if (start == 0)
        start = theirs.lsn;
    else if (start < BEGINS)
        start = BEGINS;
    m->next = start;
    for (int b = theirs.branch; b >= 0; b = w.branch[b].parent)
        if (w.branch[b].timeline <= s->hello.timeline && w.branch[b].timeline < TIMELINES)
            m->history[w.branch[b].timeline] = b;
    i->live = (void *)s;
    i->incarnation = s->hello.incarnation;
    i->since_us = now_us;
    i->rival_us = 0;
    if (!i->refuted)
        i->reason[0] = '\0';
    s->state = SESSION_LIVE;
    m->written = m->spool;
    m->compared = false;
    r->flushed.position = LSN_UNKNOWN;
    if (strcmp(r->from, s->hello.from) != 0 || strcmp(r->origin, s->hello.epoch.member) != 0)
        receiver_forget(r);
    offset_restart(&r->offset);
    snprintf(r->from, sizeof r->from, "%s", s->hello.from);
    snprintf(r->origin, sizeof r->origin, "%s", s->hello.epoch.member);
    r->out = &out;
    r->heard_us = r->opened_us = now_us;
    r->shut = r->dropped = r->drained = r->drained_done = r->older = false;
    r->postgres = PONG_POSTGRES_UNKNOWN;
    r->postgres_us = 0;
    say_back(m, s, (struct message){.kind = M_ACCEPT, .start = start}, NULL);
    receiver_ping(r, now_us);
    note("%d takes WAL of %d from " LSN_FORMAT, m->index, s->from, LSN_ARGS(start));
    return 0;
}

/* ---- the link that ships ---- */

/* The far end of a link. */
static int
far_of(const struct link *l)
{
    return atoi(config_member(&w.config, l->member)->pgdata);
}

static const struct link *
link_of(const struct sender *s)
{
    return (const struct link *)((const char *)s - offsetof(struct link, sender));
}

int
sender_tell(struct sender *s, const struct frame *f)
{
    struct node *m = by_rooms(s);
    const struct link *l = link_of(s);
    struct buf b;

    if (l->state != LINK_SHIPPING)
        return ERR_PEER; /* it is said again */
    if (buf_init(&b, 1 << 17) < 0 || frame_put(&b, f) < 0)
        broke("a frame of the simulation is too long");
    send_forth(m, far_of(l), (struct message){.kind = M_FRAMES}, buf_data(&b), buf_used(&b));
    buf_release(&b);
    return 0;
}

void
sender_beacon(struct sender *s, const struct beacon *b)
{
    const struct link *l = link_of(s);

    s->stamped = *b;
    if (l->state == LINK_SHIPPING)
        send_forth(by_rooms(s), far_of(l), (struct message){.kind = M_BEACON, .beacon = *b}, NULL,
                   0);
}

/* As in sender.c. */
void
sender_relayed(struct sender *s, const struct epoch *epoch, const struct member_position *at)
{
    if (link_of(s)->state >= LINK_DIALING || at->flushed == LSN_UNKNOWN)
        return;
    s->epoch = *epoch;
    s->far = (struct ack){.timeline = at->timeline,
                          .received = at->flushed,
                          .flushed = at->flushed,
                          .applied = at->applied};
    s->far_known = s->far_compared = true;
    lag_restart(&s->received);
}

void
link_run(struct link *l, const struct loop *loop, const struct hello *hello,
         const char *stop_reason, int64_t now_us, int64_t wall_us)
{
    (void)loop;
    (void)now_us;
    (void)wall_us;
    ship_run(by_rooms(l), far_of(l), hello, stop_reason);
}

/* ---- what runs in no simulation: the life of outgoing.c, and what it does to a real server ---- */

int
workers_init(struct workers *c, unsigned threads)
{
    (void)c;
    (void)threads;
    return 0;
}

void
workers_release(struct workers *c)
{
    (void)c;
}

int
workers_fd(const struct workers *c)
{
    (void)c;
    return -1;
}

void
frame_cache_release(struct frame_cache *c)
{
    (void)c;
}

void
loop_watch(struct loop *l, int fd, short events)
{
    (void)l;
    (void)fd;
    (void)events;
}

int
link_init(struct link *l, const char *member, const struct lane_target *target,
          const struct link_settings *settings, struct workers *workers,
          struct frame_cache *frame_cache, const char *conninfo, const char *slot,
          const char *pgdata, struct codec *codec)
{
    (void)l;
    (void)member;
    (void)target;
    (void)settings;
    (void)workers;
    (void)frame_cache;
    (void)conninfo;
    (void)slot;
    (void)pgdata;
    (void)codec;
    return 0;
}

int
link_relay(struct link *l, const struct spool *spool, const char *conninfo)
{
    (void)l;
    (void)spool;
    (void)conninfo;
    return 0;
}

void
link_release(struct link *l)
{
    (void)l;
}

void
link_watch(const struct link *l, struct loop *loop)
{
    (void)l;
    (void)loop;
}

bool
source_active(const struct source *s)
{
    (void)s;
    return false;
}

void
link_answers(struct link *l)
{
    (void)l;
}

void
postgres_force_flush(struct postgres *p)
{
    (void)p;
}

int64_t
quiets_heard_us(const struct quiets *q, const char *member)
{
    const struct member *m = config_member(&w.config, member);

    assert(m != NULL);
    return by_rooms(q)->quiet[atoi(m->pgdata)].heard_us;
}

/* ---- the lane of a question ---- */

static int
ask_index(const struct lane *l, struct node **ret_member)
{
    struct node *m = *ret_member = by_rooms(l);

    for (size_t i = 0; i < m->a->asks.count; i++)
        if (l == &m->a->asks.ask[i].lane)
            return atoi(m->a->asks.ask[i].to->pgdata);
    broke("a lane of the simulation is nobody's");
}

static void
send_dial(const struct lane *l, enum message_kind kind, const uint8_t *bytes, size_t length)
{
    struct node *m;
    int to = ask_index(l, &m);

    post((struct message){.kind = kind,
                          .from = m->index,
                          .to = to,
                          .session = m->dial[to].number,
                          .forth = true,
                          .flushed = m->life},
         bytes, length);
}

int
lane_init(struct lane *l, const struct lane_target *target)
{
    *l = (struct lane){.target = target};
    return buf_init(&l->in, 1 << 17) < 0 ? ERR_LOCAL : buf_init(&l->out, 1 << 13);
}

void
lane_release(struct lane *l)
{
    buf_release(&l->in);
    buf_release(&l->out);
}

int
lane_open(struct lane *l, int64_t now_us)
{
    struct node *m;
    int to = ask_index(l, &m);

    m->dial[to] = (struct dial){.number = ++w.next_session};
    l->state = LANE_CONNECTING;
    l->due_us = now_us + LANE_CONNECT_US;
    buf_clear(&l->in);
    buf_clear(&l->out);
    send_dial(l, M_DIAL, NULL, 0);
    return 0;
}

void
lane_close(struct lane *l)
{
    struct node *m;
    int to = ask_index(l, &m);

    if (l->state != LANE_DOWN)
        send_dial(l, M_CLOSED, NULL, 0);
    m->dial[to].number = 0;
    l->state = LANE_DOWN;
    buf_clear(&l->in);
    buf_clear(&l->out);
}

void
lane_watch(const struct lane *l, struct loop *loop)
{
    (void)l;
    (void)loop;
}

void
loop_due(struct loop *l, int64_t due_us)
{
    (void)l;
    (void)due_us;
}

int
lane_run(struct lane *l, const struct loop *loop, int64_t now_us)
{
    struct node *m;
    int to = ask_index(l, &m);
    const struct dial *d = &m->dial[to];

    (void)loop;
    if (d->failed)
        return fail(ERR_PEER, "the connection ended");
    if (d->up && l->state == LANE_CONNECTING)
        l->state = LANE_UP;
    if (l->state != LANE_UP && now_us >= l->due_us)
        return fail(ERR_PEER, "nobody answers");
    if (l->state == LANE_UP && buf_used(&l->out) > 0) {
        send_dial(l, M_FRAMES, buf_data(&l->out), buf_used(&l->out));
        buf_clear(&l->out);
    }
    return 0;
}

/* SPDX-License-Identifier: PostgreSQL */
/*
 * Frames in and out of a struct buf. The format stands in frame.h; here is one function per body
 * and direction, side by side, so that both can be compared at a glance.
 */
#include "shipper/wire/frame.h"

#include "base/fail.h"
#include "shipper/wire/codec.h"
#include "wire/parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define HELLO_MAGIC      0x57465259u /* "WFRY" */
#define WAL_HEADER_BYTES (4 + 1 + 8 + 4 + 8 + 1 + 4)
#define DIALS_MAX        4096 /* of one start of an agent, between two that came here */

static bool
beacon_equal(const struct beacon *a, const struct beacon *b)
{
    return a->lsn == b->lsn && a->wall_us == b->wall_us && a->mono_us == b->mono_us;
}

bool
ack_equal(const struct ack *a, const struct ack *b)
{
    return a->timeline == b->timeline && a->received == b->received && a->flushed == b->flushed &&
           a->applied == b->applied && a->compared == b->compared && a->next == b->next &&
           a->xmin == b->xmin && a->catalog_xmin == b->catalog_xmin &&
           a->standby_connected == b->standby_connected && a->fenced == b->fenced &&
           beacon_equal(&a->received_beacon, &b->received_beacon) &&
           beacon_equal(&a->flushed_beacon, &b->flushed_beacon) &&
           beacon_equal(&a->applied_beacon, &b->applied_beacon);
}

bool
session_follows(uint64_t incarnation, uint64_t before)
{
    return incarnation - before - 1 < DIALS_MAX;
}

static void
put_hello(struct buf *out, const struct hello *h)
{
    buf_put_u32(out, HELLO_MAGIC);
    buf_put_u16(out, FRAME_PROTOCOL);
    buf_put_u16(out, h->protocol);
    buf_put_string(out, h->pool);
    buf_put_u64(out, h->identity.system_identifier);
    buf_put_u32(out, h->identity.segment_bytes);
    buf_put_u16(out, h->identity.postgres_major);
    buf_put_string(out, h->from);
    buf_put_string(out, h->to);
    part_put_epoch(out, &h->epoch);
    buf_put_u64(out, h->incarnation);
    buf_put_u8(out, h->lane);
    buf_put_u32(out, h->timeline);
    buf_put_u64(out, h->config_digest);
    buf_put_u8(out, (uint8_t)h->hops);
    for (size_t i = 0; i < h->hops; i++)
        buf_put_string(out, h->path[i]);
    buf_put_u32(out, (uint32_t)h->history_bytes);
    buf_put_bytes(out, h->history, h->history_bytes);
    if (h->session != 0) {
        part_put_field(out, FIELD_SESSION, sizeof h->session);
        buf_put_u64(out, h->session);
    }
    if (h->stays != 0) {
        part_put_field(out, FIELD_STAYS, sizeof h->stays);
        buf_put_u64(out, h->stays);
    }
    if (h->table != 0) {
        part_put_field(out, FIELD_TABLE, sizeof h->table);
        buf_put_u64(out, h->table);
    }
}

static int
other_protocol(unsigned theirs)
{
    return fail(ERR_PEER,
                "protocol %u is spoken there, %u here: install the same version of walferry on "
                "both; until then no WAL is shipped between them",
                theirs, FRAME_PROTOCOL);
}

/* Protocol 4 has the name of the pool where the highest protocol stands now. */
static int
get_protocol(struct reader *r, uint16_t *ret_protocol)
{
    uint16_t lowest = reader_u16(r), highest = reader_u16(r);

    if (!r->failed && lowest < FRAME_PROTOCOL)
        return other_protocol(highest >= FRAME_PROTOCOL && lowest > 4 ? highest : lowest);
    if (!r->failed && (lowest > FRAME_PROTOCOL || highest < FRAME_PROTOCOL))
        return other_protocol(lowest);
    *ret_protocol = FRAME_PROTOCOL;
    return 0;
}

static void
get_path(struct reader *r, struct hello *h)
{
    h->hops = reader_u8(r);
    if (h->hops == 0 || h->hops > FRAME_MEMBERS_MAX) {
        h->hops = 0;
        r->failed = true;
    }
    for (size_t i = 0; i < h->hops && !r->failed; i++)
        part_get_member(r, h->path[i]);
}

static int
get_hello(struct reader *r, struct hello *h)
{
    struct reader field, fields;

    if (reader_u32(r) != HELLO_MAGIC)
        return fail(ERR_PEER, "the far side does not speak walferry's protocol");
    if (get_protocol(r, &h->protocol) < 0)
        return ERR_PEER;
    reader_copy_string(r, h->pool, sizeof h->pool);
    h->identity.system_identifier = reader_u64(r);
    h->identity.segment_bytes = reader_u32(r);
    h->identity.postgres_major = reader_u16(r);
    reader_copy_string(r, h->from, sizeof h->from);
    reader_copy_string(r, h->to, sizeof h->to);
    h->epoch.number = reader_u64(r);
    part_get_member(r, h->epoch.member);
    h->incarnation = reader_u64(r);
    h->lane = reader_u8(r);
    h->timeline = reader_u32(r);
    h->config_digest = reader_u64(r);
    get_path(r, h);
    h->history_bytes = reader_u32(r);
    if (h->history_bytes > HISTORY_BYTES_MAX)
        r->failed = true;
    h->history = (const char *)reader_bytes(r, h->history_bytes);
    fields = *r;
    if (part_get_field(&fields, FIELD_STAYS, sizeof h->stays, &field))
        h->stays = reader_u64(&field);
    r->failed |= fields.failed;
    fields = *r;
    if (part_get_field(&fields, FIELD_TABLE, sizeof h->table, &field))
        h->table = reader_u64(&field);
    if (part_get_field(r, FIELD_SESSION, sizeof h->session, &field))
        h->session = reader_u64(&field);
    r->failed |= fields.failed;
    if (r->failed)
        return fail(ERR_PEER, "HELLO is cut short");
    if (!segment_bytes_valid(h->identity.segment_bytes) || h->identity.system_identifier == 0 ||
        h->timeline == 0 || h->epoch.number == 0 || h->epoch.number > EPOCH_NUMBER_MAX ||
        (h->incarnation == 0 && h->lane != HELLO_KNOCKS))
        return fail(ERR_PEER, "HELLO has a field out of range");
    return 0;
}

static void
put_origin(struct buf *out, const struct epoch_origin *o)
{
    part_put_epoch(out, &o->epoch);
    buf_put_u32(out, o->timeline);
    buf_put_u64(out, o->fork);
}

static void
get_origin(struct reader *r, struct epoch_origin *o)
{
    part_get_epoch_or_none(r, &o->epoch);
    o->timeline = reader_u32(r);
    o->fork = reader_u64(r);
}

static const char *
get_reason(struct reader *r)
{
    const char *reason = reader_string(r);

    if (reason != NULL && strlen(reason) > FRAME_REASON_MAX)
        r->failed = true;
    return reason;
}

static int
get_refuse(struct reader *r, struct frame *f)
{
    uint8_t kind = reader_u8(r);

    if (kind > REFUSE_ABSENT)
        return fail(ERR_PEER, "REFUSE of an unknown kind %u", kind);
    f->refuse.kind = (enum refuse_kind)kind;
    get_origin(r, &f->refuse.origin);
    f->refuse.reason = get_reason(r);
    part_skip_fields(r);
    return 0;
}

static int
get_wal(struct reader *r, struct frame *f)
{
    f->wal.timeline = reader_u32(r);
    f->wal.lsn = reader_u64(r);
    f->wal.codec = reader_u8(r);
    f->wal.decoded_bytes = reader_u32(r);
    f->wal.length = r->left;
    f->wal.bytes = reader_bytes(r, f->wal.length);
    if (r->failed)
        return 0;
    if (f->wal.timeline == 0 || f->wal.decoded_bytes == 0 || f->wal.decoded_bytes > FRAME_WAL_MAX ||
        f->wal.codec > 1 || (f->wal.codec == 0 && f->wal.length != f->wal.decoded_bytes) ||
        f->wal.lsn > UINT64_MAX - FRAME_WAL_MAX)
        return fail(ERR_PEER, "WAL frame with a field out of range (codec %u, %u bytes decoded)",
                    f->wal.codec, f->wal.decoded_bytes);
    return 0;
}

static void
put_beacon(struct buf *out, const struct beacon *b)
{
    buf_put_u64(out, b->lsn);
    buf_put_u64(out, (uint64_t)b->wall_us);
    buf_put_u64(out, (uint64_t)b->mono_us);
}

static void
get_beacon(struct reader *r, struct beacon *b)
{
    b->lsn = reader_u64(r);
    b->wall_us = part_get_time(r);
    b->mono_us = part_get_time(r);
}

static void
put_ack(struct buf *out, const struct ack *a)
{
    buf_put_u32(out, a->timeline);
    buf_put_u64(out, a->received);
    buf_put_u64(out, a->flushed);
    buf_put_u64(out, a->applied);
    buf_put_u64(out, a->compared);
    buf_put_u64(out, a->next);
    buf_put_u64(out, a->xmin);
    buf_put_u64(out, a->catalog_xmin);
    buf_put_u8(out, (uint8_t)(a->standby_connected | a->busy << 1 | a->fenced << 2));
    put_beacon(out, &a->received_beacon);
    put_beacon(out, &a->flushed_beacon);
    put_beacon(out, &a->applied_beacon);
}

static void
get_ack(struct reader *r, struct ack *a)
{
    uint8_t flags;

    a->timeline = reader_u32(r);
    a->received = reader_u64(r);
    a->flushed = reader_u64(r);
    a->applied = reader_u64(r);
    a->compared = reader_u64(r);
    a->next = reader_u64(r);
    a->xmin = reader_u64(r);
    a->catalog_xmin = reader_u64(r);
    flags = reader_u8(r);
    a->standby_connected = (flags & 1) != 0;
    a->busy = (flags & 2) != 0;
    a->fenced = (flags & 4) != 0;
    get_beacon(r, &a->received_beacon);
    get_beacon(r, &a->flushed_beacon);
    get_beacon(r, &a->applied_beacon);
    part_skip_fields(r);
}

static int
get_pong(struct reader *r, struct frame *f)
{
    uint8_t state;

    f->pong.sent_us = part_get_time(r);
    f->pong.mono_us = part_get_time(r);
    f->pong.wall_us = part_get_time(r);
    state = reader_u8(r);
    if (state > PONG_POSTGRES_STOPPING)
        return fail(ERR_PEER, "PONG with an unknown state %u", state);
    f->pong.postgres = (enum pong_postgres)state;
    return 0;
}

static void
put_reason(struct buf *out, const char *reason)
{
    size_t length = strnlen(reason, FRAME_REASON_MAX);

    buf_put_bytes(out, reason, length);
    buf_put_u8(out, 0);
}

static void
put_tunnel(struct buf *out, const struct tunnel_request *t)
{
    buf_put_u16(out, FRAME_PROTOCOL);
    buf_put_string(out, t->pool);
    buf_put_string(out, t->from);
    buf_put_string(out, t->to);
    buf_put_u64(out, t->number);
    buf_put_u8(out, (uint8_t)t->service);
    put_reason(out, t->reason);
}

static int
get_tunnel(struct reader *r, struct tunnel_request *t)
{
    uint8_t service;

    t->protocol = reader_u16(r);
    if (!r->failed && t->protocol != FRAME_PROTOCOL)
        return other_protocol(t->protocol);
    reader_copy_string(r, t->pool, sizeof t->pool);
    reader_copy_string(r, t->from, sizeof t->from);
    reader_copy_string(r, t->to, sizeof t->to);
    t->number = reader_u64(r);
    service = reader_u8(r);
    t->reason = get_reason(r);
    if (!r->failed && (service < TUNNEL_POSTGRES || service > TUNNEL_SERVER))
        return fail(ERR_PEER, "TUNNEL to an unknown service %u", service);
    t->service = (enum tunnel_service)service;
    return 0;
}

static int
get_data(struct reader *r, struct frame *f)
{
    f->data.decoded_bytes = reader_u32(r);
    f->data.length = r->left;
    f->data.bytes = reader_bytes(r, f->data.length);
    if (!r->failed && (f->data.decoded_bytes == 0 || f->data.decoded_bytes > FRAME_DATA_MAX))
        return fail(ERR_PEER, "DATA of %u bytes, 1 to %u are allowed", f->data.decoded_bytes,
                    FRAME_DATA_MAX);
    return 0;
}

static int
get_file(struct reader *r, struct frame *f)
{
    f->file.path = reader_string(r);
    f->file.modified_us = part_get_time(r);
    f->file.mode = reader_u32(r);
    f->file.length = r->left;
    f->file.bytes = reader_bytes(r, f->file.length);
    if (f->file.path == NULL || strlen(f->file.path) >= FRAME_PATH_MAX ||
        f->file.length > FRAME_FILE_MAX)
        return fail(ERR_PEER, "a file of %zu bytes came, at most %u are allowed", f->file.length,
                    FRAME_FILE_MAX);
    return 0;
}

#define HELD_BYTES 32 /* without its history */

static void
put_held(struct buf *out, const struct held_wal *h)
{
    part_put_field(out, FIELD_HELD, (uint32_t)(HELD_BYTES + h->history_bytes));
    buf_put_u64(out, h->start);
    buf_put_u64(out, h->covered);
    buf_put_u64(out, (uint64_t)h->wall_us);
    buf_put_u64(out, (uint64_t)h->age_us);
    buf_put_bytes(out, h->history, h->history_bytes);
}

static void
get_held(struct reader *r, struct held_wal *h)
{
    struct reader field;

    if (!part_get_field(r, FIELD_HELD, FIELD_ANY, &field))
        return;
    h->told = true;
    h->start = reader_u64(&field);
    h->covered = reader_u64(&field);
    h->wall_us = part_get_time(&field);
    h->age_us = part_get_time(&field);
    h->history_bytes = field.left;
    h->history = (const char *)reader_bytes(&field, field.left);
    r->failed |= field.failed || h->history_bytes > FRAME_HELD_MAX;
}

static void
put_news(struct buf *out, const struct frame *f)
{
    size_t begin;

    part_put_field(out, FIELD_NEWS, 0);
    begin = buf_used(out);
    buf_put_u64(out, (uint64_t)f->pool.echo_us);
    buf_put_u64(out, (uint64_t)f->pool.echo_ago_us);
    part_put_news(out, f->pool.member, f->pool.members);
    buf_set_u32(out, begin - 4, (uint32_t)(buf_used(out) - begin));
}

static void
put_routes(struct buf *out, const struct routes *routes)
{
    size_t begin;

    part_put_field(out, FIELD_ROUTES, 0);
    begin = buf_used(out);
    part_put_routes(out, routes);
    buf_set_u32(out, begin - 4, (uint32_t)(buf_used(out) - begin));
}

static void
put_pool(struct buf *out, const struct frame *f)
{
    buf_put_u32(out, f->pool.timeline);
    part_put_chain(out, f->pool.change, f->pool.changes);
    part_put_positions(out, f->pool.position, f->pool.positions);
    if (f->pool.session != SESSION_UNKNOWN) {
        part_put_field(out, FIELD_SESSION, 1);
        buf_put_u8(out, (uint8_t)f->pool.session);
    }
    if (f->pool.has_news)
        put_news(out, f);
    if (f->pool.held.told)
        put_held(out, &f->pool.held);
    if (f->pool.routes.count > 0)
        put_routes(out, &f->pool.routes);
}

static void
get_session(struct reader *r, enum session_word *ret_word)
{
    struct reader field;
    uint8_t word;

    if (!part_get_field(r, FIELD_SESSION, 1, &field))
        return;
    word = reader_u8(&field);
    r->failed |= word != SESSION_OWN && word != SESSION_FOREIGN;
    *ret_word = (enum session_word)word;
}

static void
get_news(struct reader *r, struct frame *f)
{
    struct reader field;

    f->pool.has_news = part_get_field(r, FIELD_NEWS, FIELD_ANY, &field);
    if (!f->pool.has_news)
        return;
    f->pool.echo_us = part_get_time(&field);
    f->pool.echo_ago_us = part_get_time(&field);
    f->pool.news = field.at;
    f->pool.news_bytes = field.left;
    f->pool.members = part_get_news(&field, NULL);
    r->failed |= !reader_done(&field) || f->pool.echo_us < 0 || f->pool.echo_ago_us < 0;
}

static void
get_routes(struct reader *r, struct routes *ret_routes)
{
    struct reader field;

    if (!part_get_field(r, FIELD_ROUTES, FIELD_ANY, &field))
        return;
    part_get_routes(&field, ret_routes);
    r->failed |= !reader_done(&field);
}

static int
get_pool(struct reader *r, struct frame *f)
{
    struct reader fields;

    f->pool.timeline = reader_u32(r);
    f->pool.chain = r->at;
    f->pool.changes = part_get_chain(r, NULL);
    f->pool.chain_bytes = r->failed ? 0 : (size_t)(r->at - f->pool.chain);
    f->pool.positions = part_get_positions(r, f->pool.position);
    fields = *r; /* each is looked for from the first one on */
    get_news(&fields, f);
    r->failed |= fields.failed;
    fields = *r;
    get_session(&fields, &f->pool.session);
    r->failed |= fields.failed;
    fields = *r;
    get_routes(&fields, &f->pool.routes);
    r->failed |= fields.failed;
    get_held(r, &f->pool.held);
    part_skip_fields(r);
    return r->failed ? fail(ERR_PEER, "POOL is cut short, or has a field out of range") : 0;
}

void
frame_chain(const struct frame *pool, struct pool_change out[FRAME_CHANGES_MAX])
{
    struct reader r;

    reader_init(&r, pool->pool.chain, pool->pool.chain_bytes);
    assert(part_get_chain(&r, out) == pool->pool.changes && reader_done(&r));
}

void
frame_news(const struct frame *pool, struct member_news out[FRAME_MEMBERS_MAX])
{
    struct reader r;

    reader_init(&r, pool->pool.news, pool->pool.news_bytes);
    assert(part_get_news(&r, out) == pool->pool.members && reader_done(&r));
}

static int
get_promise(struct reader *r, struct promise *p)
{
    uint8_t word = reader_u8(r);

    p->number = reader_u64(r);
    part_get_member(r, p->asker);
    p->nonce = reader_u64(r);
    p->reason = get_reason(r);
    part_skip_fields(r);
    if (r->failed || word < PROMISE_ASK || word > PROMISE_RETURN || p->number == 0 ||
        p->number > EPOCH_NUMBER_MAX)
        return fail(ERR_PEER, "PROMISE is cut short, or has a field out of range");
    p->word = (enum promise_word)word;
    return 0;
}

static int
get_body(struct reader *r, struct frame *f)
{
    switch (f->type) {
    case FRAME_HELLO:
        return get_hello(r, &f->hello);
    case FRAME_ACCEPT:
        f->accept.timeline = reader_u32(r);
        f->accept.lsn = reader_u64(r);
        f->accept.config_digest = reader_u64(r);
        part_skip_fields(r);
        return 0;
    case FRAME_REFUSE:
        return get_refuse(r, f);
    case FRAME_WAL:
        return get_wal(r, f);
    case FRAME_ACK:
        get_ack(r, &f->ack);
        return 0;
    case FRAME_BEACON:
        get_beacon(r, &f->beacon.stamp);
        f->beacon.commits_wait = (reader_u8(r) & 1) != 0;
        return 0;
    case FRAME_PING:
        f->ping.sent_us = part_get_time(r);
        return 0;
    case FRAME_PONG:
        return get_pong(r, f);
    case FRAME_HISTORY:
        f->history.timeline = reader_u32(r);
        f->history.length = r->left;
        f->history.text = (const char *)reader_bytes(r, f->history.length);
        if (f->history.length > HISTORY_BYTES_MAX)
            return fail(ERR_PEER, "a history file of %zu bytes is too long", f->history.length);
        return 0;
    case FRAME_POOL:
        return get_pool(r, f);
    case FRAME_DRAIN:
        return 0;
    case FRAME_DRAINED:
        f->drained.done = reader_u8(r) == 1;
        f->drained.timeline = reader_u32(r);
        f->drained.end = reader_u64(r);
        f->drained.reason = get_reason(r);
        return 0;
    case FRAME_GOODBYE:
        f->goodbye.reason = get_reason(r);
        return 0;
    case FRAME_WAITS:
        f->waits.reason = get_reason(r);
        return 0;
    case FRAME_TUNNEL:
        return get_tunnel(r, &f->tunnel);
    case FRAME_DATA:
        return get_data(r, f);
    case FRAME_FILE:
        return get_file(r, f);
    case FRAME_PROMISE:
        return get_promise(r, &f->promise);
    }
    return fail(ERR_PEER, "a frame of unknown type %d came", (int)f->type);
}

bool
frame_numbered(enum frame_type type)
{
    return type == FRAME_WAL || type == FRAME_HISTORY || type == FRAME_DRAINED;
}

int
frame_next(const struct buf *in, struct frame *ret_frame)
{
    struct frame f = {0};
    struct reader r;
    uint32_t length;
    int code;

    reader_init(&r, buf_data(in), buf_used(in));
    length = reader_u32(&r);
    if (r.failed)
        return 0;
    if (length < 1 || length > FRAME_BYTES_MAX)
        return fail(ERR_PEER, "a frame of %u bytes came, 1 to %u are allowed", length,
                    FRAME_BYTES_MAX);
    if (r.left < length)
        return 0;
    r.left = length;
    f.bytes = 4 + (size_t)length;
    f.raw = buf_data(in);
    f.type = (enum frame_type)reader_u8(&r);
    if (frame_numbered(f.type))
        f.number = reader_u64(&r);
    code = get_body(&r, &f);
    if (code < 0)
        return code;
    if (!reader_done(&r))
        return fail(ERR_PEER, "a frame of type %d has the wrong length", (int)f.type);
    *ret_frame = f;
    return 1;
}

/* More than any body but WAL, HISTORY, HELLO's history and POOL's chain can take. */
#define BODY_ROOM (FRAME_REASON_MAX + 768)

_Static_assert(sizeof(struct pool_change) * FRAME_CHANGES_MAX +
                       sizeof(struct member_news) * FRAME_MEMBERS_MAX +
                       sizeof(struct route) * FRAME_MEMBERS_MAX + FRAME_HELD_MAX + BODY_ROOM <
                   FRAME_BYTES_MAX,
               "no field is longer on the wire than here: any chain fits into a frame");

static size_t
text_room(const struct frame *f)
{
    switch (f->type) {
    case FRAME_HELLO:
        return f->hello.history_bytes;
    case FRAME_HISTORY:
        return f->history.length;
    case FRAME_FILE:
        return f->file.length;
    case FRAME_POOL:
        return f->pool.changes * sizeof(struct pool_change) +
               f->pool.members * sizeof(struct member_news) + f->pool.held.history_bytes +
               f->pool.routes.count * sizeof(struct route);
    case FRAME_ACCEPT:
    case FRAME_REFUSE:
    case FRAME_WAL:
    case FRAME_ACK:
    case FRAME_BEACON:
    case FRAME_PING:
    case FRAME_PONG:
    case FRAME_DRAIN:
    case FRAME_DRAINED:
    case FRAME_GOODBYE:
    case FRAME_WAITS:
    case FRAME_PROMISE:
        return 0;
    case FRAME_TUNNEL:
        return 0;
    case FRAME_DATA:
        return f->data.length;
    }
    return 0;
}

static void
put_body(struct buf *out, const struct frame *f)
{
    switch (f->type) {
    case FRAME_HELLO:
        put_hello(out, &f->hello);
        return;
    case FRAME_ACCEPT:
        buf_put_u32(out, f->accept.timeline);
        buf_put_u64(out, f->accept.lsn);
        buf_put_u64(out, f->accept.config_digest);
        return;
    case FRAME_REFUSE:
        buf_put_u8(out, (uint8_t)f->refuse.kind);
        put_origin(out, &f->refuse.origin);
        put_reason(out, f->refuse.reason);
        return;
    case FRAME_WAL:
        abort(); /* frame_put_wal writes it */
    case FRAME_ACK:
        put_ack(out, &f->ack);
        return;
    case FRAME_BEACON:
        put_beacon(out, &f->beacon.stamp);
        buf_put_u8(out, f->beacon.commits_wait ? 1 : 0);
        return;
    case FRAME_PING:
        buf_put_u64(out, (uint64_t)f->ping.sent_us);
        return;
    case FRAME_PONG:
        buf_put_u64(out, (uint64_t)f->pong.sent_us);
        buf_put_u64(out, (uint64_t)f->pong.mono_us);
        buf_put_u64(out, (uint64_t)f->pong.wall_us);
        buf_put_u8(out, (uint8_t)f->pong.postgres);
        return;
    case FRAME_HISTORY:
        buf_put_u32(out, f->history.timeline);
        buf_put_bytes(out, f->history.text, f->history.length);
        return;
    case FRAME_POOL:
        put_pool(out, f);
        return;
    case FRAME_DRAIN:
        return;
    case FRAME_DRAINED:
        buf_put_u8(out, f->drained.done);
        buf_put_u32(out, f->drained.timeline);
        buf_put_u64(out, f->drained.end);
        put_reason(out, f->drained.reason);
        return;
    case FRAME_GOODBYE:
        put_reason(out, f->goodbye.reason);
        return;
    case FRAME_WAITS:
        put_reason(out, f->waits.reason);
        return;
    case FRAME_TUNNEL:
        put_tunnel(out, &f->tunnel);
        return;
    case FRAME_DATA:
        buf_put_u32(out, f->data.decoded_bytes);
        buf_put_bytes(out, f->data.bytes, f->data.length);
        return;
    case FRAME_FILE:
        buf_put_string(out, f->file.path);
        buf_put_u64(out, (uint64_t)f->file.modified_us);
        buf_put_u32(out, f->file.mode);
        buf_put_bytes(out, f->file.bytes, f->file.length);
        return;
    case FRAME_PROMISE:
        buf_put_u8(out, (uint8_t)f->promise.word);
        buf_put_u64(out, f->promise.number);
        buf_put_string(out, f->promise.asker);
        buf_put_u64(out, f->promise.nonce);
        put_reason(out, f->promise.reason);
        return;
    }
}

int
frame_put(struct buf *out, const struct frame *frame)
{
    size_t before = buf_used(out);

    if (buf_reserve(out, BODY_ROOM + text_room(frame)) == NULL)
        return ERR_AGAIN;
    buf_put_u32(out, 0);
    buf_put_u8(out, (uint8_t)frame->type);
    if (frame_numbered(frame->type))
        buf_put_u64(out, 0);
    put_body(out, frame);
    buf_set_u32(out, before, (uint32_t)(buf_used(out) - before - 4));
    return 0;
}

int
frame_put_wal(struct buf *out, struct codec *codec, timeline_t timeline, lsn_t lsn,
              const void *bytes, size_t n)
{
    size_t before = buf_used(out), size;
    uint8_t *at = buf_reserve(out, WAL_HEADER_BYTES + n);
    int code;

    assert(n > 0 && n <= FRAME_WAL_MAX);
    if (at == NULL)
        return ERR_AGAIN;
    code = codec_compress(codec, at + WAL_HEADER_BYTES, n, bytes, n,
                          &size); /* in place, header after */
    if (code < 0)
        return code;
    buf_put_u32(out, 0);
    buf_put_u8(out, FRAME_WAL);
    buf_put_u64(out, 0);
    buf_put_u32(out, timeline);
    buf_put_u64(out, lsn);
    buf_put_u8(out, size > 0 ? 1 : 0);
    buf_put_u32(out, (uint32_t)n);
    if (size > 0)
        buf_commit(out, size);
    else
        buf_put_bytes(out, bytes, n);
    buf_set_u32(out, before, (uint32_t)(buf_used(out) - before - 4));
    return 0;
}

int
frame_put_refuse(struct buf *out, enum refuse_kind kind, const struct epoch_origin *origin,
                 const char *reason)
{
    struct frame f = {.type = FRAME_REFUSE,
                      .refuse = {.kind = kind, .origin = *origin, .reason = reason}};

    return frame_put(out, &f);
}

int
frame_put_goodbye(struct buf *out, const char *reason)
{
    struct frame f = {.type = FRAME_GOODBYE, .goodbye = {.reason = reason}};

    return frame_put(out, &f);
}

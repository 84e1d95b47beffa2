/* SPDX-License-Identifier: PostgreSQL */
/* See stream.h. */
#include "shipper/tunnel/stream.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zstd.h>

#define LEVEL           1
#define WINDOW_LOG      20 /* 1 MB of window: what a decoder allows, too */
#define PACKED_BYTES    FRAME_WAL_MAX
#define INLINE_BYTES    (16u << 10) /* a smaller piece is done faster than handed over */
#define OUT_BYTES       (512u << 10)
#define OUT_FULL_BYTES  (128u << 10) /* read no more while that much waits for the line */
#define READ_MIN_BYTES  (16u << 10)
#define ROUNDS_PER_TURN 2 /* at most 240 KB each way: other rooms of the loop have their turn */
#define PING_US         (20 * SECOND_US)
#define DEAD_US         (60 * SECOND_US)
#define LEAVING_US      (5 * SECOND_US)

static struct buf *
in_of(struct stream *s)
{
    return s->lane != NULL ? &s->lane->in : &s->handed.input;
}

static struct buf *
out_of(struct stream *s)
{
    return s->lane != NULL ? &s->lane->out : &s->handed.output;
}

/* ---- life ---- */

static void
begin(struct stream *s, struct workers *workers, int64_t now_us)
{
    *s = (struct stream){.workers = workers,
                         .local = -1,
                         .heard_us = now_us,
                         .said_us = now_us,
                         .leaving_us = NEVER_US};
    s->handed.fd = s->handed.in = s->handed.out = -1;
    pace_init(&s->pace, now_us);
}

int
stream_dial(struct stream *s, struct workers *workers, const struct lane_target *target,
            int64_t now_us)
{
    int code;

    begin(s, workers, now_us);
    s->lane = calloc(1, sizeof *s->lane);
    if (s->lane == NULL)
        return fail(ERR_LOCAL, "out of memory for a stream");
    code = lane_init(s->lane, target);
    s->lane->bulk = true;
    return code < 0 ? code : lane_open(s->lane, now_us);
}

int
stream_adopt(struct stream *s, struct workers *workers, struct handed *handed, int64_t now_us)
{
    begin(s, workers, now_us);
    s->handed = *handed;
    buf_release(&s->handed.output);
    return buf_init(&s->handed.output, OUT_BYTES);
}

static void
close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void
release_half(struct stream *s, struct half *h)
{
    for (unsigned i = 0; i < STREAM_PIECES; i++) {
        struct piece *p = &h->piece[i];

        if (p->given)
            workers_wait(s->workers, &p->job);
        buf_release(&p->plain);
        buf_release(&p->packed);
    }
}

void
stream_release(struct stream *s)
{
    release_half(s, &s->up);
    release_half(s, &s->down);
    ZSTD_freeCCtx(s->up.piece[0].zstd);
    ZSTD_freeDCtx(s->down.piece[0].zstd);
    if (s->lane != NULL)
        lane_release(s->lane);
    free(s->lane);
    close_fd(&s->handed.fd);
    close_fd(&s->handed.in);
    close_fd(&s->handed.out);
    buf_release(&s->handed.input);
    buf_release(&s->handed.output);
    close_fd(&s->local);
    *s = (struct stream){.local = -1};
}

bool
stream_settled(struct stream *s)
{
    if (s->lane == NULL || s->lane->session == NULL)
        return true;
    if (s->lane->state != LANE_DOWN)
        lane_close(s->lane);
    return lane_settled(s->lane);
}

/* ---- the connection ---- */

static void
broke(struct stream *s, int code)
{
    if (s->broken == 0 && s->reason[0] == '\0')
        snprintf(s->reason, sizeof s->reason, "%s", fail_message());
    s->broken = code;
}

static void
read_handed(struct stream *s)
{
    struct buf *in = &s->handed.input;
    ssize_t got;

    if (buf_room(in) < READ_MIN_BYTES)
        return;
    got = read(s->handed.in, buf_reserve(in, buf_room(in)), buf_room(in));
    if (got > 0)
        buf_commit(in, (size_t)got);
    else if (got == 0)
        broke(s, fail(ERR_PEER, "the SSH session from %s ended", s->handed.from));
    else if (errno != EAGAIN && errno != EINTR)
        broke(s, fail_sys(ERR_PEER, "cannot read from the SSH session of %s", s->handed.from));
}

static void
write_handed(struct stream *s)
{
    struct buf *out = &s->handed.output;

    while (buf_used(out) > 0) {
        ssize_t put = write(s->handed.out, buf_data(out), buf_used(out));

        if (put < 0 && errno != EAGAIN && errno != EINTR)
            broke(s, fail_sys(ERR_PEER, "cannot write to the SSH session of %s", s->handed.from));
        if (put < 0)
            return;
        buf_consume(out, (size_t)put);
    }
}

static void
run_connection(struct stream *s, const struct loop *loop, int64_t now_us)
{
    int code;

    if (s->broken != 0)
        return;
    if (s->lane == NULL) {
        if (loop_ready(loop, s->handed.in) != 0)
            read_handed(s);
        write_handed(s);
        return;
    }
    code = lane_run(s->lane, loop, now_us);
    if (code < 0)
        broke(s, code);
}

bool
stream_up(const struct stream *s)
{
    return s->lane == NULL || s->lane->state == LANE_UP;
}

void
stream_hint(struct stream *s, int64_t round_trip_us)
{
    pace_hint(&s->pace, round_trip_us);
}

int
stream_next(struct stream *s, struct frame *ret_frame)
{
    return frame_next(in_of(s), ret_frame);
}

void
stream_consume(struct stream *s, const struct frame *frame)
{
    buf_consume(in_of(s), frame->bytes);
}

int
stream_put(struct stream *s, const struct frame *frame)
{
    return frame_put(out_of(s), frame);
}

/* ---- pieces and the workers ---- */

static struct piece *
head_of(struct half *h)
{
    return &h->piece[h->head % STREAM_PIECES];
}

static struct piece *
tail_of(struct half *h)
{
    return &h->piece[h->tail % STREAM_PIECES];
}

static bool
all_under_way(const struct half *h)
{
    return h->head - h->tail == STREAM_PIECES;
}

static struct piece *
piece_of(struct workers_job *job)
{
    return (struct piece *)(void *)((char *)job - offsetof(struct piece, job));
}

static void
compress(struct workers_job *job)
{
    struct piece *p = piece_of(job);
    ZSTD_inBuffer in = {.src = buf_data(&p->plain), .size = buf_used(&p->plain)};
    ZSTD_outBuffer out = {.dst = buf_reserve(&p->packed, PACKED_BYTES), .size = PACKED_BYTES};
    size_t left = ZSTD_compressStream2(p->zstd, &out, &in, ZSTD_e_flush);

    if (ZSTD_isError(left) || left > 0 || in.pos < in.size)
        p->code = fail(ERR_LOCAL, "a piece of a stream cannot be compressed");
    buf_commit(&p->packed, out.pos);
}

static void
decompress(struct workers_job *job)
{
    struct piece *p = piece_of(job);
    ZSTD_inBuffer in = {.src = buf_data(&p->packed), .size = buf_used(&p->packed)};
    ZSTD_outBuffer out = {.dst = buf_reserve(&p->plain, FRAME_DATA_MAX), .size = p->decoded_bytes};
    size_t hint = 1;

    /* a call may stop at the end of a block; one that moves nothing has no more to give */
    while (!ZSTD_isError(hint) && in.pos < in.size) {
        size_t before = in.pos + out.pos;

        hint = ZSTD_decompressStream(p->zstd, &out, &in);
        if (in.pos + out.pos == before)
            break;
    }
    if (ZSTD_isError(hint) || in.pos < in.size || out.pos != p->decoded_bytes)
        p->code = fail(ERR_PEER, "DATA that cannot be decoded came");
    buf_commit(&p->plain, out.pos);
}

/* The piece at the head, to the workers. Alone and small, it is done faster here. */
static void
give(struct stream *s, struct half *h, void (*run)(struct workers_job *job), size_t bytes)
{
    struct piece *p = head_of(h);

    p->job.run = run;
    p->given = bytes > INLINE_BYTES || h->head != h->tail;
    h->head++;
    s->more = true;
    if (p->given)
        workers_submit(s->workers, &p->job);
    else
        run(&p->job);
}

/* The oldest piece under way, when its job is over; NULL: none is. */
static struct piece *
finished(struct stream *s, struct half *h)
{
    struct piece *p = tail_of(h);

    if (h->head == h->tail || (p->given && !workers_done(s->workers, &p->job)))
        return NULL;
    p->given = false;
    return p;
}

static void
free_piece(struct half *h)
{
    buf_clear(&tail_of(h)->plain);
    buf_clear(&tail_of(h)->packed);
    h->tail++;
}

static int
open_half(struct half *h, void *zstd)
{
    int code = zstd == NULL ? fail(ERR_LOCAL, "out of memory for a stream") : 0;

    for (unsigned i = 0; i < STREAM_PIECES; i++) {
        struct piece *p = &h->piece[i];

        p->zstd = zstd;
        if (code == 0)
            code = buf_init(&p->plain, FRAME_DATA_MAX);
        if (code == 0)
            code = buf_init(&p->packed, PACKED_BYTES);
    }
    return code;
}

int
stream_open(struct stream *s)
{
    int code = open_half(&s->up, ZSTD_createCCtx());

    if (code == 0)
        code = open_half(&s->down, ZSTD_createDCtx());
    if (code < 0)
        return code;
    ZSTD_CCtx_setParameter(s->up.piece[0].zstd, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(s->up.piece[0].zstd, ZSTD_c_windowLog, WINDOW_LOG);
    ZSTD_DCtx_setParameter(s->down.piece[0].zstd, ZSTD_d_windowLogMax, WINDOW_LOG);
    s->open = s->more = true;
    return 0;
}

void
stream_connect(struct stream *s, int local)
{
    s->local = local;
    s->more = true;
}

int
stream_say(struct stream *s, const void *bytes, size_t n)
{
    if (all_under_way(&s->up) || buf_room(&head_of(&s->up)->plain) < n)
        return ERR_AGAIN;
    buf_put_bytes(&head_of(&s->up)->plain, bytes, n);
    s->more = true;
    return 0;
}

void
stream_end(struct stream *s)
{
    close_fd(&s->local);
    s->local_ended = s->more = true;
    s->leaving_us = clock_us() + LEAVING_US;
}

/* ---- from the local socket to the line ---- */

static void
read_local(struct stream *s)
{
    struct buf *plain = &head_of(&s->up)->plain;
    ssize_t got;

    if (s->local < 0 || s->local_ended || all_under_way(&s->up) || buf_room(plain) < READ_MIN_BYTES)
        return;
    got = read(s->local, buf_reserve(plain, buf_room(plain)), buf_room(plain));
    if (got > 0) {
        buf_commit(plain, (size_t)got);
        s->up.bytes += (uint64_t)got;
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        s->local_ended = true;
    }
}

static int
send_piece(struct stream *s, const struct piece *p, int64_t now_us)
{
    struct frame f = {.type = FRAME_DATA,
                      .data = {.decoded_bytes = (uint32_t)buf_used(&p->plain),
                               .bytes = buf_data(&p->packed),
                               .length = buf_used(&p->packed)}};
    struct frame ping = {.type = FRAME_PING};

    if (p->code < 0)
        return p->code;
    if (stream_put(s, &f) < 0)
        return fail(ERR_LOCAL, "a stream has no room"); /* never: OUT_BYTES has it */
    if (pace_sent(&s->pace, buf_used(&p->packed), now_us, &ping.ping.sent_us))
        stream_put(s, &ping);
    s->said_us = now_us;
    return 0;
}

static bool
may_send(struct stream *s)
{
    return buf_used(out_of(s)) <= OUT_FULL_BYTES && pace_allows(&s->pace);
}

static int
run_up(struct stream *s, int64_t now_us)
{
    struct half *h = &s->up;
    struct piece *p;
    int code = 0;

    while (code == 0 && may_send(s) && (p = finished(s, h)) != NULL) {
        code = send_piece(s, p, now_us);
        free_piece(h);
    }
    read_local(s);
    p = head_of(h);
    /* at once when no piece is under way, else only a full one */
    if (code == 0 && !all_under_way(h) && buf_used(&p->plain) > 0 &&
        (h->head == h->tail || buf_room(&p->plain) < READ_MIN_BYTES))
        give(s, h, compress, buf_used(&p->plain));
    if (code == 0 && s->local_ended && !s->said_goodbye && h->head == h->tail) {
        struct frame f = {.type = FRAME_GOODBYE, .goodbye = {.reason = ""}};

        s->said_goodbye = stream_put(s, &f) == 0;
        if (s->leaving_us == NEVER_US && s->said_goodbye)
            s->leaving_us = now_us + LEAVING_US;
    }
    return code;
}

/* ---- from the line to the local socket ---- */

/* How many of n bytes the local socket has taken; all of them when it is closed or gone. */
static size_t
put_local(struct stream *s, const uint8_t *bytes, size_t n)
{
    size_t put = 0;

    while (s->local >= 0 && put < n) {
        ssize_t got = send(s->local, bytes + put, n - put, MSG_NOSIGNAL);

        if (got < 0)
            return errno == EAGAIN || errno == EINTR ? put : n;
        put += (size_t)got;
    }
    return s->local_ended ? n : put;
}

static size_t
put_judged(struct stream *s)
{
    size_t put = put_local(s, buf_data(&s->gate->held), gate_passed(s->gate));

    gate_gone(s->gate, put);
    return put;
}

/* True: all bytes are delivered. */
static bool
deliver(struct stream *s, struct buf *plain)
{
    if (s->gate == NULL)
        buf_consume(plain, put_local(s, buf_data(plain), buf_used(plain)));
    else
        do {
            gate_take(s->gate, plain);
        } while (put_judged(s) > 0);
    return buf_used(plain) == 0;
}

static int
take_data(struct stream *s, const struct frame *f)
{
    struct piece *p = head_of(&s->down);

    if (f->data.length > PACKED_BYTES)
        return fail(ERR_PEER, "DATA of %zu bytes came", f->data.length);
    buf_put_bytes(&p->packed, f->data.bytes, f->data.length);
    p->decoded_bytes = f->data.decoded_bytes;
    s->down.bytes += f->data.decoded_bytes;
    give(s, &s->down, decompress, f->data.decoded_bytes);
    return 0;
}

/* One frame; 1 when it was taken. */
static int
take_frame(struct stream *s, int64_t now_us)
{
    struct frame f, pong = {.type = FRAME_PONG};
    int got = stream_next(s, &f), code = 0;

    if (got <= 0)
        return got;
    s->heard_us = now_us;
    switch (f.type) {
    case FRAME_DATA:
        code = take_data(s, &f);
        break;
    case FRAME_PING:
        pong.pong.sent_us = f.ping.sent_us;
        stream_put(s, &pong); /* no room: a later PONG tells more */
        break;
    case FRAME_PONG:
        pace_answered(&s->pace, f.pong.sent_us, now_us);
        s->more = true;
        break;
    case FRAME_GOODBYE:
        s->far_ended = true;
        text_escape(s->reason, sizeof s->reason, f.goodbye.reason, strlen(f.goodbye.reason));
        break;
    default:
        return fail(ERR_PEER, "a frame of type %d came on a stream", (int)f.type);
    }
    stream_consume(s, &f);
    return code < 0 ? code : 1;
}

static int
run_down(struct stream *s, int64_t now_us)
{
    struct half *h = &s->down;
    struct piece *p;
    int got = 1;

    while ((p = finished(s, h)) != NULL) {
        if (p->code < 0)
            return p->code;
        if (!deliver(s, &p->plain))
            break;
        free_piece(h);
    }
    if (s->gate != NULL)
        put_judged(s);
    while (got == 1 && !all_under_way(h) && !s->far_ended)
        got = take_frame(s, now_us);
    return got < 0 ? got : 0;
}

/* ---- all of it ---- */

static bool
down_drained(const struct stream *s)
{
    return s->down.head == s->down.tail && (s->gate == NULL || gate_passed(s->gate) == 0);
}

static int
is_over(struct stream *s, int64_t now_us)
{
    struct frame f;

    if (s->far_ended && down_drained(s))
        return ERR_PEER;
    if (now_us >= s->leaving_us && !s->said_goodbye)
        return fail(ERR_PEER, "the far side did not take its last words");
    if (now_us >= s->leaving_us || (s->said_goodbye && s->broken != 0)) {
        s->reason[0] = '\0';
        return ERR_PEER;
    }
    if (s->broken != 0 && !s->far_ended && down_drained(s) && stream_next(s, &f) != 1)
        return s->broken;
    if (all_under_way(&s->down)) /* the far side waits for us, and we for a slow client */
        s->heard_us = now_us;
    if (now_us - s->heard_us >= DEAD_US)
        return fail(ERR_PEER, "nothing was heard for a minute: the line or the far agent is gone");
    return 0;
}

static void
say_ping(struct stream *s, int64_t now_us)
{
    struct frame ping = {.type = FRAME_PING, .ping = {.sent_us = now_us}};

    if (now_us - s->said_us < PING_US)
        return;
    stream_put(s, &ping); /* no room: other frames are on the way */
    s->said_us = now_us;
}

int
stream_run(struct stream *s, const struct loop *loop, int64_t now_us)
{
    int code = 0;

    run_connection(s, loop, now_us);
    if (!s->open)
        return s->broken;
    s->more = true;
    for (int i = 0; i < ROUNDS_PER_TURN && s->more && code == 0; i++) {
        s->more = false;
        code = run_up(s, now_us);
        if (code == 0)
            code = run_down(s, now_us);
    }
    say_ping(s, now_us);
    if (s->broken == 0 && buf_used(out_of(s)) > 0)
        run_connection(s, loop, now_us); /* at once, not in the next turn */
    if (code == 0)
        code = is_over(s, now_us);
    if (code < 0 && !s->far_ended && !s->said_goodbye)
        broke(s, code);
    return code;
}

static void
watch_local(const struct stream *s, struct loop *loop)
{
    const struct piece *down = &s->down.piece[s->down.tail % STREAM_PIECES];
    short events = 0;

    if (!s->local_ended && !all_under_way(&s->up) &&
        buf_room(&s->up.piece[s->up.head % STREAM_PIECES].plain) >= READ_MIN_BYTES)
        events |= POLLIN;
    if ((s->gate != NULL && gate_passed(s->gate) > 0) ||
        (s->gate == NULL && !down_drained(s) && !down->given && buf_used(&down->plain) > 0))
        events |= POLLOUT;
    if (events != 0) /* poll reports a hangup unasked: nobody would react to it */
        loop_watch(loop, s->local, events);
}

void
stream_watch(const struct stream *s, struct loop *loop)
{
    if (s->lane != NULL && s->broken == 0) {
        lane_watch(s->lane, loop);
    } else if (s->broken == 0) {
        if (buf_room(&s->handed.input) >= READ_MIN_BYTES)
            loop_watch(loop, s->handed.in, POLLIN);
        if (buf_used(&s->handed.output) > 0)
            loop_watch(loop, s->handed.out, POLLOUT);
    }
    if (!s->open)
        return;
    if (s->local >= 0)
        watch_local(s, loop);
    loop_due(loop, s->more ? 0 : s->said_us + PING_US);
    loop_due(loop, s->leaving_us != NEVER_US ? s->leaving_us : s->heard_us + DEAD_US);
}

/* See stream.h. */
#include "shipper/stream.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zstd.h>

#define LEVEL           1
#define WINDOW_LOG      20 /* 1 MB of window: what a decoder allows, too */
#define PACKED_BYTES    FRAME_WAL_MAX
#define INLINE_BYTES    (16u << 10) /* a smaller piece takes less time than handing it over */
#define OUT_BYTES       (512u << 10)
#define OUT_FULL_BYTES  (128u << 10) /* read no more while that much waits for the line */
#define READ_MIN_BYTES  (16u << 10)
#define ROUNDS_PER_TURN 2 /* at most 240 KB each way: other rooms of the loop have their turn */
#define CREW_NICE       10
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
begin(struct stream *s, struct crew *crew, int64_t now_us)
{
    *s = (struct stream){.crew = crew, .local = -1, .heard_us = now_us, .said_us = now_us};
    s->handed.fd = s->handed.in = s->handed.out = -1;
}

int
stream_dial(struct stream *s, struct crew *crew, const struct lane_target *target, int64_t now_us)
{
    int code;

    begin(s, crew, now_us);
    s->lane = calloc(1, sizeof *s->lane);
    if (s->lane == NULL)
        return fail(ERR_LOCAL, "out of memory for a stream");
    code = lane_init(s->lane, target);
    return code < 0 ? code : lane_open(s->lane, now_us);
}

int
stream_adopt(struct stream *s, struct crew *crew, struct handed *handed, int64_t now_us)
{
    begin(s, crew, now_us);
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
    if (h->busy)
        crew_wait(s->crew, &h->job);
    buf_release(&h->plain);
    buf_release(&h->work);
    buf_release(&h->packed);
}

void
stream_release(struct stream *s)
{
    release_half(s, &s->up);
    release_half(s, &s->down);
    ZSTD_freeCCtx(s->up.zstd);
    ZSTD_freeDCtx(s->down.zstd);
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

/* ---- the jobs of the crew ---- */

static void
pack(struct half *h)
{
    ZSTD_inBuffer in = {.src = buf_data(&h->work), .size = buf_used(&h->work)};
    ZSTD_outBuffer out = {.dst = buf_reserve(&h->packed, PACKED_BYTES), .size = PACKED_BYTES};
    size_t left = ZSTD_compressStream2(h->zstd, &out, &in, ZSTD_e_flush);

    if (ZSTD_isError(left) || left > 0 || in.pos < in.size)
        h->code = fail(ERR_LOCAL, "a piece of a stream cannot be compressed");
    buf_commit(&h->packed, out.pos);
}

static void
unpack(struct half *h)
{
    ZSTD_inBuffer in = {.src = buf_data(&h->packed), .size = buf_used(&h->packed)};
    ZSTD_outBuffer out = {.dst = buf_reserve(&h->work, FRAME_DATA_MAX), .size = h->decoded_bytes};
    size_t hint = 1;

    /* a call may stop at the end of a block; one that moves nothing has no more to give */
    while (!ZSTD_isError(hint) && in.pos < in.size) {
        size_t before = in.pos + out.pos;

        hint = ZSTD_decompressStream(h->zstd, &out, &in);
        if (in.pos + out.pos == before)
            break;
    }
    if (ZSTD_isError(hint) || in.pos < in.size || out.pos != h->decoded_bytes)
        h->code = fail(ERR_PEER, "DATA that cannot be decoded came");
    buf_commit(&h->work, out.pos);
}

static struct half *
half_of(struct crew_job *job)
{
    return (struct half *)(void *)((char *)job - offsetof(struct half, job));
}

/* Threads of their own have a niceness of their own on Linux. */
static void
stand_back(void)
{
    static _Thread_local bool done;

    if (!done)
        setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + CREW_NICE);
    done = true;
}

static void
run_pack(struct crew_job *job)
{
    stand_back();
    pack(half_of(job));
}

static void
run_unpack(struct crew_job *job)
{
    stand_back();
    unpack(half_of(job));
}

static void
give(struct stream *s, struct half *h, void (*run)(struct crew_job *job))
{
    h->job.run = run;
    h->busy = true;
    crew_submit(s->crew, &h->job);
}

static bool
take_back(struct stream *s, struct half *h)
{
    if (h->busy && crew_done(s->crew, &h->job)) {
        h->busy = false;
        return true;
    }
    return false;
}

static void
swap(struct buf *a, struct buf *b)
{
    struct buf was = *a;

    *a = *b;
    *b = was;
}

/* ---- from the local socket to the line ---- */

static int
open_half(struct half *h)
{
    int code = buf_init(&h->plain, FRAME_DATA_MAX);

    if (code == 0)
        code = buf_init(&h->work, FRAME_DATA_MAX);
    if (code == 0)
        code = buf_init(&h->packed, PACKED_BYTES);
    return code;
}

int
stream_open(struct stream *s)
{
    int code = open_half(&s->up);

    if (code == 0)
        code = open_half(&s->down);
    if (code < 0)
        return code;
    s->up.zstd = ZSTD_createCCtx();
    s->down.zstd = ZSTD_createDCtx();
    if (s->up.zstd == NULL || s->down.zstd == NULL ||
        ZSTD_isError(ZSTD_CCtx_setParameter(s->up.zstd, ZSTD_c_compressionLevel, LEVEL)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(s->up.zstd, ZSTD_c_windowLog, WINDOW_LOG)) ||
        ZSTD_isError(ZSTD_DCtx_setParameter(s->down.zstd, ZSTD_d_windowLogMax, WINDOW_LOG)))
        return fail(ERR_LOCAL, "out of memory for a stream");
    s->open = s->more = true;
    return 0;
}

void
stream_connect(struct stream *s, int local)
{
    s->local = local;
    s->more = true;
}

struct buf *
stream_heard(struct stream *s)
{
    return &s->down.plain;
}

struct buf *
stream_say(struct stream *s)
{
    return &s->up.plain;
}

void
stream_end(struct stream *s)
{
    close_fd(&s->local);
    s->local_ended = s->more = true;
}

static void
read_local(struct stream *s)
{
    struct buf *plain = &s->up.plain;
    ssize_t got;

    if (s->local < 0 || s->local_ended || s->yields || buf_room(plain) < READ_MIN_BYTES)
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
send_packed(struct stream *s, int64_t now_us)
{
    struct half *h = &s->up;
    struct frame f = {.type = FRAME_DATA,
                      .data = {.decoded_bytes = (uint32_t)buf_used(&h->work),
                               .bytes = buf_data(&h->packed),
                               .length = buf_used(&h->packed)}};

    if (h->code < 0)
        return h->code;
    if (stream_put(s, &f) < 0)
        return fail(ERR_LOCAL, "a stream has no room"); /* never: see wants_up */
    buf_clear(&h->work);
    buf_clear(&h->packed);
    s->said_us = now_us;
    return 0;
}

static bool
wants_up(struct stream *s)
{
    return !s->up.busy && buf_used(&s->up.plain) > 0 && buf_used(out_of(s)) <= OUT_FULL_BYTES;
}

static int
run_up(struct stream *s, int64_t now_us)
{
    struct half *h = &s->up;
    int code = 0;

    if (take_back(s, h))
        code = send_packed(s, now_us);
    read_local(s);
    if (code == 0 && wants_up(s)) {
        swap(&h->plain, &h->work);
        if (buf_used(&h->work) > INLINE_BYTES) {
            give(s, h, run_pack);
        } else {
            pack(h);
            code = send_packed(s, now_us);
        }
        s->more = true; /* the next piece can be read */
    }
    if (code == 0 && s->local_ended && !s->said_goodbye && !h->busy && buf_used(&h->plain) == 0) {
        struct frame f = {.type = FRAME_GOODBYE, .goodbye = {.reason = ""}};

        s->said_goodbye = stream_put(s, &f) == 0;
        s->leaving_us = now_us + LEAVING_US;
    }
    return code;
}

/* ---- from the line to the local socket ---- */

static void
write_local(struct stream *s)
{
    struct buf *plain = &s->down.plain;

    while (s->local >= 0 && buf_used(plain) > 0) {
        ssize_t put = send(s->local, buf_data(plain), buf_used(plain), MSG_NOSIGNAL);

        if (put < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (put < 0)
            buf_clear(plain); /* it hears no more, but it may have said something */
        else
            buf_consume(plain, (size_t)put);
    }
    if (s->local < 0 && s->local_ended)
        buf_clear(plain);
}

/* One frame; 1 when it was taken. */
static int
take_frame(struct stream *s, int64_t now_us)
{
    struct half *h = &s->down;
    struct frame f;
    int got = stream_next(s, &f);

    if (got <= 0)
        return got;
    s->heard_us = now_us;
    switch (f.type) {
    case FRAME_DATA:
        buf_put_bytes(&h->packed, f.data.bytes, f.data.length);
        h->decoded_bytes = f.data.decoded_bytes;
        h->bytes += f.data.decoded_bytes;
        break;
    case FRAME_PING:
        break;
    case FRAME_GOODBYE:
        s->far_ended = true;
        text_escape(s->reason, sizeof s->reason, f.goodbye.reason, strlen(f.goodbye.reason));
        break;
    default:
        return fail(ERR_PEER, "a frame of type %d came on a stream", (int)f.type);
    }
    stream_consume(s, &f);
    return 1;
}

static int
run_down(struct stream *s, int64_t now_us)
{
    struct half *h = &s->down;
    int got = 0;

    if (take_back(s, h))
        buf_clear(&h->packed);
    if (!h->busy && h->code == 0 && buf_used(&h->plain) == 0)
        swap(&h->plain, &h->work);
    write_local(s);
    if (h->code == 0 && !h->busy && buf_used(&h->work) == 0 && !s->far_ended)
        got = take_frame(s, now_us);
    if (got == 1 && buf_used(&h->packed) > INLINE_BYTES) {
        give(s, h, run_unpack);
    } else if (got == 1 && buf_used(&h->packed) > 0) {
        unpack(h);
        buf_clear(&h->packed);
    }
    s->more |= got == 1;
    return got < 0 ? got : h->busy ? 0 : h->code;
}

/* ---- all of it ---- */

static bool
down_drained(const struct stream *s)
{
    return !s->down.busy && buf_used(&s->down.work) == 0 && buf_used(&s->down.plain) == 0;
}

static int
is_over(struct stream *s, int64_t now_us)
{
    struct frame f;

    if (s->far_ended && down_drained(s))
        return ERR_PEER;
    if (s->said_goodbye && (s->broken != 0 || now_us >= s->leaving_us)) {
        s->reason[0] = '\0';
        return ERR_PEER;
    }
    if (s->broken != 0 && !s->far_ended && !s->down.busy && stream_next(s, &f) != 1)
        return s->broken;
    if (buf_used(in_of(s)) > 0) /* it waits for us */
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
    stream_put(s, &ping); /* no room: then there is something else on the way */
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
    short events = 0;

    if (!s->local_ended && !s->yields && buf_room(&s->up.plain) >= READ_MIN_BYTES)
        events |= POLLIN;
    if (buf_used(&s->down.plain) > 0)
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
    loop_due(loop, s->said_goodbye ? s->leaving_us : s->heard_us + DEAD_US);
}

/* SPDX-License-Identifier: PostgreSQL */
/* See lanes.h. */
#include "shipper/sender/lanes.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"

#include <string.h>

#define CHANNEL_BYTES  (2u << 20) /* OpenSSH's window */
#define LOOK_MIN_US    (100 * MILLISECOND_US)
#define LOOK_IDLE_US   (250 * MILLISECOND_US)
#define LEAVE_US       (30 * SECOND_US)
#define ANSWER_US      (5 * SECOND_US)
#define DEAD_US        (5 * SECOND_US)
#define STUCK_US       (15 * SECOND_US)
#define BACKOFF_MIN_US (100 * MILLISECOND_US)
#define BACKOFF_MAX_US (30 * SECOND_US)

int
lanes_init(struct lanes *l, const struct lane_target *target, const char *member, unsigned number)
{
    *l = (struct lanes){.member = member, .number = number};
    for (unsigned i = 0; i < WINDOW_LANES; i++) {
        int code = lane_init(&l->lane[i], target);

        if (code < 0)
            return code;
    }
    return 0;
}

void
lanes_release(struct lanes *l)
{
    for (unsigned i = 0; i < WINDOW_LANES; i++)
        lane_release(&l->lane[i]);
}

void
lanes_begin(struct lanes *l, const struct hello *hello, int64_t now_us)
{
    l->hello = *hello;
    l->hello.history_bytes = 0;
    l->slot[0].use = LANE_IN_SESSION;
    l->slot[0].bytes_then = l->lane[0].bytes_out;
    l->slot[0].idle_us = now_us;
    l->wanted = l->number > 1 ? l->number : 1;
    l->look_us = l->needed_us = l->stuck_us = now_us;
    l->look_due_us = now_us + LOOK_MIN_US;
    l->stuck_at = 0;
}

void
lanes_end(struct lanes *l)
{
    for (unsigned i = 0; i < WINDOW_LANES; i++) {
        lane_close(&l->lane[i]);
        l->slot[i].use = LANE_UNUSED;
        l->slot[i].due_us = l->slot[i].backoff_us = 0;
    }
    l->wanted = 0;
}

static unsigned
count(const struct lanes *l, enum lane_use least)
{
    unsigned n = 0;

    for (unsigned i = 0; i < WINDOW_LANES; i++)
        n += l->slot[i].use >= least;
    return n;
}

unsigned
lanes_up(const struct lanes *l)
{
    return count(l, LANE_IN_SESSION);
}

/* Is a lane not authenticated yet? sshd counts such connections: one at a time. */
static bool
knocking(const struct lanes *l)
{
    for (unsigned i = 0; i < WINDOW_LANES; i++)
        if (l->slot[i].use == LANE_JOINING && l->lane[i].state < LANE_STARTING)
            return true;
    return false;
}

static void
close_lane(struct lanes *l, unsigned i, int64_t now_us)
{
    int64_t *backoff_us = &l->slot[i].backoff_us;

    *backoff_us = *backoff_us == 0 ? BACKOFF_MIN_US : *backoff_us * 2;
    if (*backoff_us > BACKOFF_MAX_US)
        *backoff_us = BACKOFF_MAX_US;
    l->slot[i].due_us = now_us + *backoff_us;
    l->slot[i].use = LANE_UNUSED;
    lane_close(&l->lane[i]);
}

bool
lanes_lost(struct lanes *l, struct sender *s, unsigned i, int64_t now_us)
{
    if (lanes_up(l) < 2)
        return false;
    log_info("link to %s: a lane ended: %s", l->member, fail_message());
    sender_lane(s, i, NULL);
    close_lane(l, i, now_us);
    return true;
}

bool
lanes_joining(const struct lanes *l)
{
    return count(l, LANE_JOINING) > lanes_up(l);
}

/* ---- joining ---- */

static int
take_answer(struct lanes *l, struct sender *s, unsigned i, int64_t now_us)
{
    struct lane *lane = &l->lane[i];
    char reason[FRAME_REASON_MAX];
    struct frame f;
    int got = frame_next(&lane->in, &f);

    if (got == 0 && now_us >= l->slot[i].due_us)
        return fail(ERR_PEER, "no answer to its HELLO");
    if (got <= 0)
        return got;
    if (f.type == FRAME_REFUSE)
        return fail(ERR_PEER, "refused: %s",
                    text_escape(reason, sizeof reason, f.refuse.reason, strlen(f.refuse.reason)));
    if (f.type != FRAME_ACCEPT)
        return fail(ERR_PEER, "a frame of type %d answers its HELLO", (int)f.type);
    buf_consume(&lane->in, f.bytes);
    l->slot[i].use = LANE_IN_SESSION;
    l->slot[i].backoff_us = 0;
    l->slot[i].bytes_then = lane->bytes_out;
    l->slot[i].idle_us = now_us;
    sender_lane(s, i, &lane->out);
    return 0;
}

static int
run_joining(struct lanes *l, struct sender *s, unsigned i, const struct loop *loop, int64_t now_us)
{
    struct frame f = {.type = FRAME_HELLO, .hello = l->hello};
    struct lane *lane = &l->lane[i];
    int code = lane_run(lane, loop, now_us);

    if (code == 0 && l->slot[i].use == LANE_JOINING && lane->state == LANE_UP) {
        f.hello.lane = (uint8_t)(i + 1);
        code = frame_put(&lane->out, &f);
        l->slot[i].use = LANE_GREETED;
        l->slot[i].due_us = now_us + ANSWER_US;
        if (code == 0)
            code = lane_run(lane, loop, now_us);
    }
    if (code == 0 && l->slot[i].use == LANE_GREETED)
        code = take_answer(l, s, i, now_us);
    return code;
}

static void
join(struct lanes *l, int64_t now_us)
{
    for (unsigned i = 0; i < WINDOW_LANES; i++) {
        if (l->slot[i].use != LANE_UNUSED || now_us < l->slot[i].due_us)
            continue;
        if (lane_open(&l->lane[i], now_us) < 0)
            close_lane(l, i, now_us);
        else
            l->slot[i].use = LANE_JOINING;
        return;
    }
}

/* ---- how many ---- */

static void
leave(struct lanes *l, struct sender *s, int64_t now_us)
{
    for (unsigned i = WINDOW_LANES - 1; i > 0; i--) {
        if (l->slot[i].use == LANE_UNUSED)
            continue;
        sender_lane(s, i, NULL);
        close_lane(l, i, now_us);
        l->slot[i].backoff_us = 0;
        return;
    }
}

static void
decide(struct lanes *l, const struct sender *s, int64_t now_us)
{
    unsigned up = lanes_up(l);
    double bytes = 0, seconds = (double)(now_us - l->look_us) / (double)SECOND_US, most;
    int64_t look_us;

    for (unsigned i = 0; i < WINDOW_LANES; i++) {
        if (l->slot[i].use != LANE_IN_SESSION)
            continue;
        bytes += (double)(l->lane[i].bytes_out - l->slot[i].bytes_then);
        l->slot[i].bytes_then = l->lane[i].bytes_out;
    }
    l->look_us = now_us;
    look_us = bytes == 0 ? LOOK_IDLE_US : 2 * s->round_trip_us;
    look_us = look_us < LOOK_MIN_US ? LOOK_MIN_US : look_us > SECOND_US ? SECOND_US : look_us;
    l->look_due_us = now_us + look_us;
    if (l->number != 0 || s->round_trip_us == 0)
        return;
    most = CHANNEL_BYTES / ((double)s->round_trip_us / (double)SECOND_US) * seconds;
    /* the second lane early: with it the session outlives any lane */
    if (bytes > (l->wanted < 2 ? most / 8 : most / 2 * up) && count(l, LANE_JOINING) == l->wanted &&
        !knocking(l) && l->wanted < WINDOW_LANES)
        l->wanted++;
    if (up > 1 && bytes > (up < 3 ? most / 16 : most / 4 * (up - 1)))
        l->needed_us = now_us;
    if (l->wanted > 1 && now_us - l->needed_us >= LEAVE_US) {
        l->needed_us = now_us;
        l->wanted--;
    }
}

/* A lane that takes nothing makes all others wait for its frames. No lane is at fault while the far
 * side says that it is busy. */
static void
find_stuck(struct lanes *l, struct sender *s, int64_t now_us)
{
    const struct window *w = &s->window;
    int oldest = w->first < w->next ? w->frame[w->first % WINDOW_FRAMES].lane : -1;

    if (w->first != l->stuck_at || oldest < 0 || s->far.busy) {
        l->stuck_at = w->first;
        l->stuck_us = now_us;
    }
    for (unsigned i = 0; i < WINDOW_LANES; i++) {
        struct lane *lane = &l->lane[i];

        if (l->slot[i].use != LANE_IN_SESSION)
            continue;
        if ((lane_unacknowledged(lane) == 0 && buf_used(&lane->out) == 0) || s->far.busy)
            l->slot[i].idle_us = now_us;
        if ((now_us - l->slot[i].idle_us >= DEAD_US && now_us - lane->progress_us >= DEAD_US) ||
            ((int)i == oldest && now_us - l->stuck_us >= STUCK_US)) {
            fail(ERR_PEER, "it takes nothing any more");
            lanes_lost(l, s, i, now_us); /* the link judges the last lane */
        }
    }
}

void
lanes_run(struct lanes *l, struct sender *s, const struct loop *loop, int64_t now_us)
{
    for (unsigned i = 0; i < WINDOW_LANES; i++) {
        if (l->slot[i].use == LANE_UNUSED || l->slot[i].use == LANE_IN_SESSION)
            continue;
        if (run_joining(l, s, i, loop, now_us) < 0) {
            if (l->slot[i].backoff_us == 0)
                log_info("link to %s: one more lane does not come up: %s", l->member,
                         fail_message());
            close_lane(l, i, now_us);
        }
    }
    if (now_us >= l->look_due_us) {
        decide(l, s, now_us);
        find_stuck(l, s, now_us);
    }
    if (count(l, LANE_JOINING) < l->wanted && !knocking(l))
        join(l, now_us);
    else if (count(l, LANE_JOINING) > l->wanted)
        leave(l, s, now_us);
}

void
lanes_watch(const struct lanes *l, struct loop *loop)
{
    for (unsigned i = 0; i < WINDOW_LANES; i++) {
        if (l->slot[i].use != LANE_UNUSED || l->lane[i].state != LANE_DOWN)
            lane_watch(&l->lane[i], loop);
        if (l->slot[i].use == LANE_GREETED)
            loop_due(loop, l->slot[i].due_us);
    }
    if (l->wanted > 0)
        loop_due(loop, l->look_due_us);
}

int64_t
lanes_progress_us(struct lanes *l)
{
    int64_t latest_us = 0;

    for (unsigned i = 0; i < WINDOW_LANES; i++) {
        if (l->slot[i].use != LANE_IN_SESSION)
            continue;
        lane_unacknowledged(&l->lane[i]);
        if (l->lane[i].progress_us > latest_us)
            latest_us = l->lane[i].progress_us;
    }
    return latest_us;
}

/* SPDX-License-Identifier: PostgreSQL */
/*
 * lanes: the SSH connections of one session of a link: how many, which are up, when to open more.
 *
 * OpenSSH takes at most 2 MB per round trip over a connection, whatever the line: at a distance one
 * lane is slower than the line. The first lane begins the session and is the link's business; the
 * others join it, the second as soon as the first carries an eighth of what such a window lets
 * through, the next when all carry half, and leave when the load is long over. Only one at a time
 * dials, for sshd counts connections that are not authenticated yet. A lane that dies is opened
 * again; the session lives as long as one lane does. window.h assigns frames to lanes.
 */
#ifndef SHIPPER_SENDER_LANES_H
#define SHIPPER_SENDER_LANES_H

#include "shipper/ssh/lane.h"
#include "shipper/sender/sender.h"

enum lane_use {
    LANE_UNUSED,
    LANE_JOINING,    /* SSH is getting up */
    LANE_GREETED,    /* HELLO is out */
    LANE_IN_SESSION, /* frames go */
};

struct lanes {
    struct lane lane[WINDOW_LANES];
    struct {
        enum lane_use use;
        int64_t due_us, backoff_us; /* for the next attempt; for the answer to the greeting */
        uint64_t bytes_then;        /* at the last look */
        int64_t idle_us;            /* when it last had nothing under way */
    } slot[WINDOW_LANES];
    const char *member; /* the far one, borrowed */
    unsigned number;    /* configured; 0: as many as the distance needs */
    unsigned wanted;
    int64_t look_us, look_due_us, needed_us, stuck_us;
    uint64_t stuck_at;
    struct hello hello; /* of this session, without history */
};

/* target, member borrowed for life; number 0 to WINDOW_LANES. */
int lanes_init(struct lanes *l, const struct lane_target *target, const char *member,
               unsigned number);
void lanes_release(struct lanes *l);

/* Lane 0 was accepted with this HELLO: the others may join. */
void lanes_begin(struct lanes *l, const struct hello *hello, int64_t now_us);
void lanes_end(struct lanes *l); /* close all */
unsigned lanes_up(const struct lanes *l);
bool lanes_joining(const struct lanes *l); /* a lane is on its way into the session */

/* Lane i of the session ended (fail_message() says why): true when the session lives on. */
bool lanes_lost(struct lanes *l, struct sender *s, unsigned i, int64_t now_us);

/* Let lanes join or leave; find lanes that take nothing any more. */
void lanes_run(struct lanes *l, struct sender *s, const struct loop *loop, int64_t now_us);
void lanes_watch(const struct lanes *l, struct loop *loop);

/* The last time the far host of any lane took or gave a byte. */
int64_t lanes_progress_us(struct lanes *l);

#endif

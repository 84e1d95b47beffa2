/* SPDX-License-Identifier: PostgreSQL */
/*
 * validate, by SSH: does this member get in at every other one, as it will have to in another role?
 *
 * It dials as a link does: name, address, host key, our key, the forced command, the agent. It
 * sends a HELLO that only knocks (frame.h): the agent says whether it would let us in, and no
 * session begins. All members are dialled at once, and again with the key for tunnels if there is
 * one.
 */
#include "validate/subject.h"

#include "links/ask.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/text.h"
#include "shipper/wire/frame.h"

#include <stdio.h>
#include <string.h>

#define ANSWER_US (5 * SECOND_US)

struct knock {
    const struct member *to;
    const struct lane_target *target;
    struct lane lane;
    bool tunnels; /* the key has to lead to tunnels */
    bool ships;   /* the key has to lead to the link */
    bool asked, over;
    int64_t due_us;
};

static int
ask(struct knock *k, const struct validation *v, int64_t now_us)
{
    struct frame f = {.type = FRAME_HELLO};

    ask_hello(v->config, v->self, k->to, &f.hello);
    k->asked = true;
    k->due_us = now_us + ANSWER_US;
    return frame_put(&k->lane.out, &f);
}

static void
finish(struct knock *k)
{
    lane_close(&k->lane);
    k->over = true;
}

static void
say_failed(struct validation *v, struct knock *k, const char *why)
{
    bool agent = strstr(why, "is not running") != NULL || strstr(why, "no agent answers") != NULL;
    char line[KEY_LINE_SIZE];

    /* only a warning: without tunnels the link still ships */
    validate_say(v, k->ships ? READY_FAIL : READY_WARN,
                 k->ships ? "to %s: %s" : "to %s, for tunnels: %s", k->to->name, why);
    if (agent)
        validate_remedy(v, "on the host of %s: walferry status; systemctl start walferry@%s",
                        k->to->name, v->config->name);
    else if (k->lane.state >= LANE_AUTHENTICATING) /* the host key was right: ours is refused */
        validate_remedy(
            v, "on the host of %s, in authorized_keys of %s: %s and what is in %s.pub", k->to->name,
            k->target->user,
            config_key_line(line, v->config, k->to->name, v->self->name, k->ships && !k->tunnels),
            k->target->identity);
    else
        validate_remedy(v,
                        "correct ssh, host_key or known_hosts of [member %s] in %s, or that host; "
                        "to see for yourself: ssh -v -p %s -i %s %s@%s",
                        k->to->name, v->config->file, k->target->port, k->target->identity,
                        k->target->user, k->target->host);
    finish(k);
}

/* The link ships, but nothing else gets through: who ships dials for a tunnel of the other, and a
 * failover dials who has more than it. */
static void
say_no_tunnel(struct validation *v, const struct knock *k)
{
    char line[KEY_LINE_SIZE];
    bool many = v->config->members > 2;

    validate_say(v, READY_WARN,
                 "to %s: %s leads to no tunnel (--no-tunnel): with %s as its primary%s %s could "
                 "neither seed nor rejoin%s%s",
                 k->to->name, k->target->identity, v->self->name, many ? " or head" : "",
                 k->to->name, many ? "; and a failover here could take no WAL from " : "",
                 many ? k->to->name : "");
    validate_remedy(v,
                    "tunnel_identity in [member %s], and in authorized_keys on the host of %s: %s "
                    "and that key's .pub",
                    v->self->name, k->to->name,
                    config_key_line(line, v->config, k->to->name, v->self->name, false));
}

/* REFUSE_RETRY is the answer to a knock that would have been let in. */
static void
take_answer(struct validation *v, struct knock *k, const struct frame *f)
{
    char reason[FRAME_REASON_MAX] = "what answers there is no agent of walferry";

    if (f->type == FRAME_REFUSE && f->refuse.kind == REFUSE_RETRY) {
        bool tunnel = strstr(f->refuse.reason, KNOCK_NO_TUNNEL) == NULL;

        if (k->ships)
            validate_say(v, READY_OK,
                         "to %s: key, host key and forced command are right, its agent answers",
                         k->to->name);
        if (k->tunnels && !tunnel)
            say_no_tunnel(v, k);
        else if (!k->ships)
            validate_say(v, READY_OK, "to %s: the key for tunnels is right, too", k->to->name);
        finish(k);
        return;
    }
    if (f->type == FRAME_REFUSE)
        text_escape(reason, sizeof reason, f->refuse.reason, strlen(f->refuse.reason));
    say_failed(v, k, reason);
}

/* Most likely a login shell that greets. */
static void
say_printed(struct validation *v, struct knock *k)
{
    char shown[80], why[160];

    text_escape(shown, sizeof shown, buf_data(&k->lane.in), buf_used(&k->lane.in));
    snprintf(why, sizeof why, "the command there printed '%s' before anything of walferry's",
             shown);
    say_failed(v, k, why);
}

static void
run(struct validation *v, struct knock *k, const struct loop *l, int64_t now_us)
{
    int code = k->over ? 0 : lane_run(&k->lane, l, now_us), got;
    struct frame f;

    if (k->over)
        return;
    if (code == 0 && k->lane.state == LANE_UP && !k->asked)
        code = ask(k, v, now_us);
    got = frame_next(&k->lane.in, &f);
    while (got == 1 && (f.type == FRAME_POOL || f.type == FRAME_PROMISE)) { /* not asked here */
        buf_consume(&k->lane.in, f.bytes);
        got = frame_next(&k->lane.in, &f);
    }
    if (got == 1)
        take_answer(v, k, &f);
    else if (got < 0)
        say_printed(v, k);
    else if (code < 0)
        say_failed(v, k, fail_message());
    else if (k->asked && now_us >= k->due_us)
        say_failed(v, k, "it lets us in, but no agent answers within 5 s");
}

static void
check_ssh(struct validation *v)
{
    static struct knock knocks[2 * MEMBERS_MAX];
    static struct loop l;
    size_t count = 0, open = 0;
    bool one = v->self->tunnel_identity[0] == '\0'; /* one key for both */

    for (size_t i = 0; i < v->config->members; i++) {
        const struct member *m = &v->config->member[i];

        if (m == v->self)
            continue;
        knocks[count++] =
            (struct knock){.to = m, .target = &m->target, .ships = true, .tunnels = one};
        if (!one)
            knocks[count++] = (struct knock){.to = m, .target = &m->tunnel_target, .tunnels = true};
    }
    for (size_t i = 0; i < count; i++)
        if (lane_init(&knocks[i].lane, knocks[i].target) < 0 ||
            lane_open(&knocks[i].lane, clock_us()) < 0)
            say_failed(v, &knocks[i], fail_message());
    do {
        loop_begin(&l);
        open = 0;
        for (size_t i = 0; i < count; i++) {
            if (knocks[i].over)
                continue;
            open++;
            lane_watch(&knocks[i].lane, &l);
            if (knocks[i].asked)
                loop_due(&l, knocks[i].due_us);
        }
        if (open > 0 && loop_wait(&l) < 0) {
            validate_say(v, READY_FAIL, "%s", fail_message());
            break;
        }
        for (size_t i = 0; i < count; i++)
            run(v, &knocks[i], &l, clock_us());
    } while (open > 0);
    for (size_t i = 0; i < count; i++)
        lane_release(&knocks[i].lane);
}

void
validate_ssh(struct validation *v)
{
    static const struct check checks[] = {{"ssh", check_ssh}};

    validate_run(v, checks, 1);
}

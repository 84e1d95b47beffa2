/* SPDX-License-Identifier: PostgreSQL */
/* See gate.h. */
#include "shipper/tunnel/gate.h"

#include "base/fail.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

int
gate_init(struct gate *g)
{
    *g = (struct gate){.state = GATE_STARTUP};
    return buf_init(&g->held, GATE_BYTES);
}

void
gate_release(struct gate *g)
{
    buf_release(&g->held);
    *g = (struct gate){0};
}

/* For fail_message(). Bytes that were judged before still go. */
static void
refuse(struct gate *g)
{
    g->state = GATE_REFUSED;
    snprintf(g->why, sizeof g->why, "%s", fail_message());
}

static void
judge_startup(struct gate *g)
{
    while (g->state == GATE_STARTUP) {
        if (pgwire_startup(&g->held, &g->startup) < 0) {
            refuse(g);
            return;
        }
        switch (g->startup.kind) {
        case STARTUP_MORE:
            return;
        case STARTUP_SSL:
            if (g->encryptions == GATE_ENCRYPTIONS) {
                fail(ERR_PEER, "encryption was asked for again and again");
                refuse(g);
                return;
            }
            g->encryptions++;
            buf_consume(&g->held, g->startup.bytes);
            break;
        case STARTUP_CANCEL:
            g->state = GATE_CANCELS;
            break;
        case STARTUP_SESSION:
            g->state = GATE_ASKED;
            break;
        }
    }
}

/* Is this the first word? */
static bool
begins(const char *text, const char *word)
{
    text += strspn(text, " \t\r\n");
    return strncasecmp(text, word, strlen(word)) == 0 &&
           strchr(" \t\r\n(;", text[strlen(word)]) != NULL;
}

/* As pg_basebackup names the slots that it makes for itself. */
static bool
is_passing_slot(const char *name)
{
    static const char prefix[] = "pg_basebackup_";

    return strncmp(name, prefix, sizeof prefix - 1) == 0 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name);
}

static int
judge_command(struct gate *g, const char *text)
{
    struct pgwire_command c;
    bool understood = pgwire_parse(text, &c);

    g->streaming = false;
    if (begins(text, "BASE_BACKUP") || begins(text, "UPLOAD_MANIFEST"))
        return 0;
    switch (c.verb) {
    case VERB_IDENTIFY_SYSTEM:
    case VERB_SHOW:
    case VERB_TIMELINE_HISTORY:
    case VERB_READ_SLOT:
        if (understood)
            return 0;
        break;
    case VERB_START_REPLICATION:
        g->streaming = true;
        if (!understood || (c.name[0] != '\0' && !is_passing_slot(c.name)))
            return fail(ERR_PEER, "replication through a tunnel is physical, and uses no slot but "
                                  "the temporary one of pg_basebackup");
        return 0;
    case VERB_CREATE_SLOT:
        if (!understood || !c.temporary || !c.physical || !is_passing_slot(c.name))
            return fail(ERR_PEER, "a slot made through a tunnel is temporary and physical, and "
                                  "pg_basebackup's: others keep WAL until the disk is full; make "
                                  "it on the primary's host");
        return 0;
    case VERB_DROP_SLOT:
        return fail(ERR_PEER, "slots are dropped on the primary's host, not through a tunnel");
    case VERB_UNKNOWN:
        break;
    }
    return fail(ERR_PEER, "only what a copy and physical replication need passes a tunnel");
}

/* The next message of a replication session, as far as it is here. 1: it may go; 0: more has to
 * come first. A long message goes before it is complete. */
static int
judge_message(struct gate *g, const struct buf *in)
{
    struct pgwire_message m;
    struct reader r;
    uint32_t length;
    char type;
    int got;

    reader_init(&r, buf_data(in), buf_used(in));
    type = (char)reader_u8(&r);
    length = reader_u32(&r);
    if (r.failed)
        return 0;
    if (length < 4 || strchr("QdcfXp", type) == NULL || type == '\0')
        return fail(ERR_PEER,
                    "a message of type %d, %u bytes, came: only simple queries and "
                    "copies pass",
                    type, length);
    if (type == 'Q') {
        got = pgwire_message(in, &m);
        if (got <= 0)
            return got;
        if (m.length == 0 || memchr(m.body, '\0', m.length) != m.body + m.length - 1)
            return fail(ERR_PEER, "a query came that is no string");
        got = judge_command(g, (const char *)m.body);
        if (got < 0)
            return got;
    }
    if (type == 'd' && g->streaming && length > 4) {
        if (r.left == 0)
            return 0;
        if (reader_u8(&r) == 'h')
            return fail(ERR_PEER, "hot standby feedback does not pass a tunnel: it would hold back "
                                  "vacuum");
    }
    g->passing = 1 + (uint64_t)length;
    return 1;
}

static void
judge_messages(struct gate *g)
{
    int got = 1;

    while (got == 1) {
        struct buf rest = g->held;
        size_t n = buf_used(&g->held) - g->judged;

        n = n < g->passing ? n : (size_t)g->passing;
        g->judged += n;
        g->passing -= n;
        if (g->passing > 0)
            return;
        rest.start += g->judged;
        got = judge_message(g, &rest);
    }
    if (got < 0)
        refuse(g);
}

static void
judge(struct gate *g)
{
    if (g->state == GATE_STARTUP)
        judge_startup(g);
    else if (g->state == GATE_OPEN && g->startup.replication)
        judge_messages(g);
    else if (g->state == GATE_OPEN)
        g->judged = buf_used(&g->held);
}

void
gate_take(struct gate *g, struct buf *in)
{
    size_t room = buf_room(&g->held), n = buf_used(in) < room ? buf_used(in) : room;

    if (g->state == GATE_REFUSED)
        return;
    buf_put_bytes(&g->held, buf_data(in), n);
    buf_consume(in, n);
    judge(g);
}

void
gate_open(struct gate *g)
{
    if (g->state != GATE_ASKED)
        return;
    g->state = GATE_OPEN;
    g->passing = g->startup.bytes;
    judge(g);
}

size_t
gate_passed(const struct gate *g)
{
    return g->judged;
}

void
gate_gone(struct gate *g, size_t bytes)
{
    buf_consume(&g->held, bytes);
    g->judged -= bytes;
}

/* SPDX-License-Identifier: PostgreSQL */
/* See feedback.h. */
#include "retention/feedback.h"

#include "retention/slot.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

#define VISIT_US (5 * SECOND_US)

void
feedback_init(struct feedback *f, const struct who *who, struct outgoing *out)
{
    f->who = who;
    f->out = out;
}

void
feedback_watch(const struct feedback *f, struct loop *l)
{
    if (f->visitor != NULL)
        source_watch(f->visitor, l, false);
}

void
feedback_rest(struct feedback *f)
{
    source_free(f->visitor);
    f->visitor = NULL;
}

/* A physical slot keeps the xmin that was said last until a walsender of its is told of none. */
static void
visit(struct feedback *f, const struct postgres_sample *s, const char *slot, int64_t now_us)
{
    const struct identity *identity = who_identity(f->who);

    f->visitor = source_new(f->out->conninfo, "walferry_feedback", slot, NULL);
    if (f->visitor == NULL ||
        source_start(f->visitor, identity, s->timeline,
                     segment_start(s->flush, identity->segment_bytes), now_us) < 0) {
        feedback_rest(f);
        return;
    }
    source_withdraw(f->visitor);
    snprintf(f->visited, sizeof f->visited, "%s", slot);
    f->visit_us = now_us;
    log_info("slot %s: its standby is away, it holds back vacuum no longer", slot);
}

void
feedback_run(struct feedback *f, const struct loop *l, const struct postgres_sample *s,
             int64_t now_us)
{
    static const struct source_position nothing;
    const struct postgres_slot *slot = slot_of(s, f->visited);
    struct source_item item; /* histories before the stream begins: nobody here needs them */
    int got;

    if (f->visitor == NULL)
        return;
    got = source_run(f->visitor, l, now_us);
    while (got >= 0 && (got = source_next(f->visitor, &item)) == 1)
        ;
    if (got < 0 || source_report(f->visitor, &nothing, now_us) < 0 || slot == NULL ||
        !slot->feedback || now_us - f->visit_us >= VISIT_US)
        feedback_rest(f);
}

void
feedback_look(struct feedback *f, const struct postgres_sample *s, int64_t now_us)
{
    for (size_t k = 0; k < s->slots; k++) {
        const struct postgres_slot *slot = &s->slot[k];
        const struct link *l = outgoing_of_slot(f->out, slot->name);
        bool serves = l != NULL && l->source == l->from_server && source_streaming(l->source);

        if (strcmp(f->slot[k].name, slot->name) != 0 || !slot->feedback ||
            (serves && (l->sender.far.xmin | l->sender.far.catalog_xmin) != 0)) {
            snprintf(f->slot[k].name, sizeof f->slot[k].name, "%s", slot->name);
            f->slot[k].fed_us = now_us;
        }
        if (now_us - f->slot[k].fed_us <= f->who->config->feedback_keep_us)
            continue;
        if (serves)
            source_withdraw(l->source);
        else if (f->visitor == NULL && !slot->active)
            visit(f, s, slot->name, now_us);
    }
}

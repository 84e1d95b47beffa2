/* SPDX-License-Identifier: PostgreSQL */
/* See onward.h. */
#include "links/onward.h"

#include "base/clock.h"

#include <string.h>

/* The newest beacon that may go on; false: none. */
static bool
make_beacon(const struct incoming *in, int64_t now_us, struct beacon *ret_beacon)
{
    const struct receiver *r = &in->receiver;
    const struct beacon *covered = &r->flushed.covered;

    if (!receiver_live(r) || in->unproven || !receiver_compared(r) || r->offset.count == 0 ||
        r->older || r->fenced || incoming_durable(in) == LSN_UNKNOWN ||
        covered->lsn == LSN_UNKNOWN || strcmp(r->origin, in->who->pool.epoch.member) != 0)
        return false;
    *ret_beacon = *covered;
    ret_beacon->mono_us -= r->offset.offset_us + offset_error_us(&r->offset, now_us);
    return true;
}

static uint64_t
lower_xmin(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* What one member that is fed from here holds back; a standby that is away for a while, too. */
static void
take_needs(struct incoming *in, const struct link *l, int64_t now_us)
{
    const struct ack *far = &l->sender.far;
    lsn_t available = in->spool.available, needs, max = in->who->config->downstream_max_bytes;

    if (now_us - l->sender.heard_us <= in->who->config->feedback_keep_us) {
        in->onward.xmin = lower_xmin(in->onward.xmin, far->xmin);
        in->onward.catalog_xmin = lower_xmin(in->onward.catalog_xmin, far->catalog_xmin);
    }
    if (!l->sender.far_known || far->flushed == LSN_UNKNOWN)
        return;
    /* the segment before a border is compared when a session begins */
    needs = segment_start(far->flushed - 1, in->spool.identity.segment_bytes);
    if ((needs >= available || available - needs <= max) && needs < in->onward.needs)
        in->onward.needs = needs;
}

void
onward_run(struct incoming *in, struct outgoing *out, int64_t now_us)
{
    struct beacon beacon;
    bool goes_on = in->who->role == ROLE_STANDBY && make_beacon(in, now_us, &beacon) &&
                   beacon.mono_us > out->passed_us;

    in->onward = (struct incoming_onward){.needs = UINT64_MAX};
    for (size_t i = 0; i < out->links && in->who->role == ROLE_STANDBY; i++) {
        struct link *l = &out->link[i];

        if (!outgoing_feeds(out, l->member))
            continue;
        l->sender.commits_wait = in->receiver.commits_wait;
        if (goes_on)
            sender_beacon(&l->sender, &beacon);
        take_needs(in, l, now_us);
    }
    if (goes_on)
        out->passed_us = beacon.mono_us;
}

/* What a member lacks before its spool only the primary can give: one of which it is not known where it
 * stands, as with a fresh spool, is not fed from here; nor is one that has more than is here. */
bool
onward_could_feed(const struct incoming *in, const struct member_position *stands)
{
    lsn_t from = stands->flushed != LSN_UNKNOWN ? stands->flushed : stands->applied;
    lsn_t end = in->spool.available;
    timeline_t next;

    if (stands->timeline != in->spool.timeline &&
        !spool_switch_point(&in->spool, stands->timeline, &end, &next))
        return false;
    return !spool_empty(&in->spool) && from != LSN_UNKNOWN && from <= end &&
           segment_start(from - 1, in->spool.identity.segment_bytes) >= in->spool.start;
}

bool
onward_reaches(const struct link *l)
{
    const struct sender *s = &l->sender;

    return (s->refused && s->refusal != REFUSE_RETRY) ||
           (l->state == LINK_SHIPPING && l->source_reason[0] == '\0' &&
            s->far.flushed != LSN_UNKNOWN);
}

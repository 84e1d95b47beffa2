/* SPDX-License-Identifier: PostgreSQL */
/* See tell.h. */
#include "handover/tell.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

void
say(struct failover *f, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_info("failover: %s", text);
    control_text(f->control, f->client, "%s", text);
}

void
say_primary(struct failover *f, const char *before)
{
    const struct epoch_origin origin = pool_origin(f->pool);
    char fork[40] = ""; /* a server that was reclaimed may have none */

    if (origin.fork != LSN_UNKNOWN)
        snprintf(fork, sizeof fork, ", forked at " LSN_FORMAT, LSN_ARGS(origin.fork));
    say(f, "%s: %s is the primary of epoch %" PRIu64 ", timeline %u%s", before, f->who->self->name,
        f->pool->epoch.number, origin.timeline, fork);
}

void
set_phase(struct failover *f, enum failover_phase phase, int64_t now_us)
{
    f->phase_us[f->phase] += now_us - f->begun_us;
    f->begun_us = now_us;
    f->phase = phase;
}

/* Who has promised takes and ships again; those without a link ask (ask.h). */
static void
give_back(struct failover *f)
{
    struct frame back = {.type = FRAME_PROMISE, .promise = f->own.promise};

    back.promise.word = PROMISE_RETURN;
    if (back.promise.number != 0 && receiver_tell(&f->in->receiver, &back) == 0)
        inlet_push(&f->in->inlet);
    f->own = (struct own_ask){0};
}

static void
end(struct failover *f, int code)
{
    fetch_stop(&f->fetch);
    give_back(f);
    control_done(f->control, f->client, code);
    inlet_shut(&f->in->inlet, false);
    f->phase = FAILOVER_IDLE;
}

void
stop(struct failover *f, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_warning("failover: %s", text);
    control_text(f->control, f->client, "%s", text);
    end(f, 1);
}

const char *
unchanged(const struct failover *f)
{
    return f->resumes ? "nothing was changed by this command: the epoch that was begun stands"
                      : "nothing was changed";
}

void
cancel(struct failover *f, const char *why)
{
    say(f, "cancelled: %s; %s", why, unchanged(f));
    end(f, EXIT_CANCELLED);
}

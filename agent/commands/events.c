/* SPDX-License-Identifier: PostgreSQL */
/*
 * events: `walferry events`, what was raised and cleared on this member. It reads the file in the
 * spool (events.h), which the agent writes every second, so it works without an agent, too.
 */
#include "commands/command.h"
#include "monitor/events.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void
print_entry(const struct event_entry *e)
{
    const struct event_kind *kind = event_kind(e->id);
    char when[40], lasted[40];

    printf("%s  %s %-21s %-7s  %s%s\n", text_time(when, sizeof when, e->wall_us), kind->id,
           kind->name, e->raised ? "raised" : "cleared", e->raised ? "" : "after ",
           e->raised ? e->text : text_duration(lasted, sizeof lasted, e->lasted_us));
}

static void
print_all(const struct events *e, bool as_json)
{
    json_t *all = json_array();

    for (size_t i = 0; i < e->count; i++) {
        const struct event_entry *entry =
            &e->history[(e->next + EVENT_HISTORY_MAX - e->count + i) % EVENT_HISTORY_MAX];

        if (as_json)
            json_array_append_new(all, event_entry_json(entry));
        else
            print_entry(entry);
    }
    if (as_json)
        json_dumpf(all, stdout, JSON_INDENT(2)), putchar('\n');
    else if (e->count == 0)
        printf("no event yet\n");
    json_decref(all);
}

int
command_events(const struct config *config, const struct member *self,
               const struct options *options)
{
    static struct events events; /* large */
    static char text[EVENT_FILE_BYTES];
    int dir = -1;
    bool good = durable_dir(self->spool, &dir) == 0;

    (void)config;
    if (good && durable_load(dir, EVENT_FILE, text, sizeof text) < 0)
        good = errno == ENOENT; /* no event yet */
    durable_close(dir);
    if (!good) {
        fprintf(stderr, "walferry events: cannot read %s/%s: %s\n", self->spool, EVENT_FILE,
                strerror(errno));
        return 1;
    }
    events_load(&events, text);
    print_all(&events, options->json);
    return 0;
}

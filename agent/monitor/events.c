/* SPDX-License-Identifier: PostgreSQL */
/* See events.h: pure but for the log of nobody; the agent asks, logs, saves and runs commands. */
#include "monitor/events.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS(n) ((n)*SECOND_US)

/* An age is late the moment it is; what may pass by itself has some seconds' grace, and what may
 * come and go (a line that flaps, a disk between two checkpoints) must stay away to be over. */
static const struct event_kind kinds[EVENTS] = {
    [EVENT_SHIP_LATE] = {"WF001", "ship late", "critical", 0, SECONDS(5)},
    [EVENT_APPLY_LATE] = {"WF002", "apply late", "warning", 0, SECONDS(5)},
    [EVENT_LINK_DOWN] = {"WF003", "link down", "warning", SECONDS(3), SECONDS(5)},
    [EVENT_POSTGRES_AWAY] = {"WF004", "PostgreSQL away", "warning", SECONDS(3), SECONDS(5)},
    [EVENT_ALARM] = {"WF005", "roles in conflict", "critical", SECONDS(1), SECONDS(5)},
    [EVENT_SPOOL_REFUSES] = {"WF006", "spool takes nothing", "critical", 0, SECONDS(5)},
    [EVENT_SPOOL_FILLING] = {"WF007", "spool filling", "warning", SECONDS(30), SECONDS(60)},
    [EVENT_PG_WAL_FILLING] = {"WF008", "pg_wal filling", "warning", SECONDS(30), SECONDS(60)},
    [EVENT_SLOT_RETAINS] = {"WF009", "slot retains", "warning", SECONDS(3), SECONDS(10)},
    [EVENT_CONFIG_DIFFERS] = {"WF010", "config differs", "warning", SECONDS(3), SECONDS(5)},
    [EVENT_CLOCKS_DIFFER] = {"WF011", "clocks differ", "warning", SECONDS(10), SECONDS(10)},
    [EVENT_ROLE_CHANGED] = {"WF012", "role changed", "info", 0, 0},
    [EVENT_NOT_SYNCHRONOUS] = {"WF013", "commits do not wait", "warning", SECONDS(5), SECONDS(5)},
    [EVENT_GAP] = {"WF014", "WAL gap", "critical", SECONDS(1), SECONDS(5)},
    [EVENT_OUTBOX] = {"WF015", "outbox in use", "warning", 0, 0},
    [EVENT_RELEASED] = {"WF016", "slot let go", "critical", 0, 0},
    [EVENT_HELD] = {"WF017", "pg_wal held", "critical", 0, SECONDS(5)},
    /* an agent that lost its line without a word may knock until its old session is over */
    [EVENT_RIVAL] = {"WF018", "session contested", "critical", SECONDS(10), SECONDS(5)},
    [EVENT_FALSE_CLAIM] = {"WF019", "false claim", "critical", 0, SECONDS(5)},
    [EVENT_MISSING] = {"WF020", "acknowledged WAL missing", "critical", SECONDS(1), SECONDS(5)},
    [EVENT_RESTORED] = {"WF021", "primary restored", "critical", 0, SECONDS(5)},
    /* a failover asks for it, and is over in seconds */
    [EVENT_PROMISED] = {"WF022", "promise stands", "warning", SECONDS(60), 0},
    [EVENT_COMMITS_HANG] = {"WF023", "commits hang", "critical", SECONDS(3), SECONDS(5)},
};

const struct event_kind *
event_kind(enum event_id id)
{
    return &kinds[id];
}

static struct event_entry *
put_entry(struct events *e)
{
    struct event_entry *entry = &e->history[e->next];

    e->next = (e->next + 1) % EVENT_HISTORY_MAX;
    if (e->count < EVENT_HISTORY_MAX)
        e->count++;
    e->unsaved = true;
    return entry;
}

int
events_step(struct events *e, enum event_id id, const struct event_condition *now_is,
            int64_t now_us, int64_t wall_us, const struct event_entry **ret_entry)
{
    struct event *v = &e->event[id];
    struct event_entry *entry;

    if (now_is->holds && v->active)
        memcpy(v->text, now_is->text, sizeof v->text);
    if (now_is->holds == v->active) {
        v->turned_us = 0;
        return 0;
    }
    if (v->turned_us == 0)
        v->turned_us = now_us;
    if (now_us - v->turned_us < (v->active ? kinds[id].clear_us : kinds[id].raise_us))
        return 0;
    v->turned_us = 0;
    v->active = now_is->holds;
    entry = put_entry(e);
    *entry = (struct event_entry){.id = id, .raised = v->active, .wall_us = wall_us};
    if (v->active) {
        memcpy(v->text, now_is->text, sizeof v->text);
        v->raised_wall_us = wall_us;
        v->raised_us = now_us;
        v->raised++;
    } else {
        entry->lasted_us = v->raised_us != 0             ? now_us - v->raised_us
                           : wall_us > v->raised_wall_us ? wall_us - v->raised_wall_us
                                                         : 0;
    }
    memcpy(entry->text, v->text, sizeof entry->text);
    *ret_entry = entry;
    return 1;
}

static json_t *
kind_json(enum event_id id)
{
    return json_pack("{s:s s:s s:s}", "id", kinds[id].id, "name", kinds[id].name, "severity",
                     kinds[id].severity);
}

json_t *
event_entry_json(const struct event_entry *entry)
{
    json_t *json = kind_json(entry->id);
    char when[40];

    json_object_set_new(json, "time", json_string(text_time(when, sizeof when, entry->wall_us)));
    json_object_set_new(json, "state", json_string(entry->raised ? "raised" : "cleared"));
    json_object_set_new(json, "text", json_string(entry->text));
    json_object_set_new(json, "wall_us", json_integer(entry->wall_us));
    if (!entry->raised)
        json_object_set_new(json, "seconds",
                            json_real((double)entry->lasted_us / (double)SECOND_US));
    return json;
}

json_t *
events_json(const struct events *e)
{
    json_t *all = json_array();
    char when[40];

    for (enum event_id id = 0; id < EVENTS; id++) {
        json_t *json;

        if (!e->event[id].active)
            continue;
        json = kind_json(id);
        json_object_set_new(json, "since",
                            json_string(text_time(when, sizeof when, e->event[id].raised_wall_us)));
        json_object_set_new(json, "text", json_string(e->event[id].text));
        json_array_append_new(all, json);
    }
    return all;
}

json_t *
events_recent_json(const struct events *e)
{
    size_t n = e->count < EVENTS_RECENT ? e->count : EVENTS_RECENT;
    json_t *recent = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(
            recent, event_entry_json(
                        &e->history[(e->next + EVENT_HISTORY_MAX - n + i) % EVENT_HISTORY_MAX]));
    return recent;
}

size_t
events_save(const struct events *e, char out[EVENT_FILE_BYTES])
{
    size_t used = 0;

    for (size_t i = 0; i < e->count; i++) {
        size_t at = (e->next + EVENT_HISTORY_MAX - e->count + i) % EVENT_HISTORY_MAX;
        json_t *json = event_entry_json(&e->history[at]);
        size_t room = EVENT_FILE_BYTES - 1 - used,
               length = json_dumpb(json, out + used, room, JSON_COMPACT);

        json_decref(json);
        if (length == 0 || length + 1 > room)
            break;
        used += length;
        out[used++] = '\n';
    }
    out[used] = '\0';
    return used;
}

static void
load_entry(struct events *e, const json_t *json)
{
    const char *id, *state, *text;
    json_int_t wall_us;
    struct event_entry *entry;

    if (json_unpack((json_t *)(uintptr_t)json, "{s:s s:s s:s s:I}", "id", &id, "state", &state,
                    "text", &text, "wall_us", &wall_us) < 0)
        return;
    for (enum event_id i = 0; i < EVENTS; i++) {
        if (strcmp(kinds[i].id, id) != 0)
            continue;
        entry = put_entry(e);
        *entry = (struct event_entry){
            .id = i,
            .raised = strcmp(state, "raised") == 0,
            .wall_us = wall_us,
            .lasted_us =
                (int64_t)(json_number_value(json_object_get(json, "seconds")) * (double)SECOND_US)};
        snprintf(entry->text, sizeof entry->text, "%s", text);
        e->event[i].active = entry->raised;
        e->event[i].raised_wall_us = entry->raised ? entry->wall_us : 0;
        snprintf(e->event[i].text, sizeof e->event[i].text, "%s", text);
    }
}

void
events_load(struct events *e, const char *text)
{
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        json_t *json = json_loadb(text, length, 0, NULL);

        if (json != NULL)
            load_entry(e, json);
        json_decref(json);
        text += length + (text[length] == '\n');
    }
    e->unsaved = false;
}

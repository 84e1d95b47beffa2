/* SPDX-License-Identifier: PostgreSQL */
/*
 * events: what a DBA wants to be called for, each under an id that never changes its meaning.
 *
 * In come the conditions of this moment, once a second; an event is raised when its condition has
 * held for raise_us and cleared when it has not for clear_us: once each, over restarts of the agent
 * too. Out go a line in the log, the state of each event, a history that is bounded, and what the
 * pool's event_command is to be told. The text is as of the raising; the one in `event` follows.
 *
 * The history is <spool>/events, one JSON object per line, oldest first, replaced as a whole:
 *   {"time": "...", "id": "WF001", "name": "ship late", "state": "raised", "severity": "warning",
 *    "text": "...", "wall_us": N, "seconds": S}           seconds: how long it was raised; cleared
 * only
 */
#ifndef AGENT_MONITOR_EVENTS_H
#define AGENT_MONITOR_EVENTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum event_id { /* WF001 is the first; numbers are never used again */
                EVENT_SHIP_LATE,
                EVENT_APPLY_LATE,
                EVENT_LINK_DOWN,
                EVENT_POSTGRES_AWAY,
                EVENT_ALARM,
                EVENT_SPOOL_REFUSES,
                EVENT_SPOOL_FILLING,
                EVENT_PG_WAL_FILLING,
                EVENT_SLOT_RETAINS,
                EVENT_CONFIG_DIFFERS,
                EVENT_CLOCKS_DIFFER,
                EVENT_ROLE_CHANGED,
                EVENT_NOT_SYNCHRONOUS,
                EVENT_GAP,
                EVENT_OUTBOX,
                EVENT_RELEASED,
                EVENT_HELD,
                EVENT_RIVAL,
                EVENT_FALSE_CLAIM,
                EVENT_MISSING,
                EVENT_RESTORED,
                EVENT_PROMISED,
                EVENT_COMMITS_HANG,
                EVENTS
};

#define EVENT_TEXT_MAX    240
#define EVENT_HISTORY_MAX 128
#define EVENTS_RECENT     20
#define EVENT_FILE        "events"
#define EVENT_FILE_BYTES  (128u << 10)

struct event_kind {
    const char *id, *name, *severity; /* severity: warning, critical or info */
    int64_t raise_us, clear_us;
};
const struct event_kind *event_kind(enum event_id id);

struct event_condition {
    bool holds;
    char text[EVENT_TEXT_MAX]; /* one sentence, for the DBA */
};

struct event {
    bool active;
    int64_t raised_wall_us, raised_us; /* raised_us 0: in an earlier life */
    int64_t turned_us;         /* the condition is not what `active` is, since then; 0: it is */
    char text[EVENT_TEXT_MAX]; /* as of now while active, of the last time else */
    uint64_t raised;           /* in this life of the agent */
};

struct event_entry {
    enum event_id id;
    bool raised;
    int64_t wall_us, lasted_us;
    char text[EVENT_TEXT_MAX];
};

struct events {
    struct event event[EVENTS];
    struct event_entry history[EVENT_HISTORY_MAX]; /* a ring */
    size_t count, next;
    bool unsaved; /* the history is newer than the file: the caller saves it and clears this */
};

/* 1 and the entry when this one was raised or cleared now, else 0. Once a second per event. */
int events_step(struct events *e, enum event_id id, const struct event_condition *now_is,
                int64_t now_us, int64_t wall_us, const struct event_entry **ret_entry);

/* The history as the file has it: length, which always fits. */
size_t events_save(const struct events *e, char out[EVENT_FILE_BYTES]);
/* ... and back: what was raised last and not cleared is active. Lines it cannot read are left out.
 */
void events_load(struct events *e, const char *text);

json_t *event_entry_json(const struct event_entry *entry);
json_t *events_json(const struct events *e);        /* every event that is active, for status */
json_t *events_recent_json(const struct events *e); /* the last EVENTS_RECENT of the history */

#endif

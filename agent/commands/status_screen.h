/*
 * watch: `walferry status --watch` on a terminal: one screen, redrawn in place, every figure in a
 * fixed column, the last minutes of lag as a line of bars. Colours say good, late, bad; without
 * them (NO_COLOR) nothing is lost, every state is also a word. A terminal that has no UTF-8 gets
 * ASCII.
 */
#ifndef AGENT_COMMANDS_STATUS_SCREEN_H
#define AGENT_COMMANDS_STATUS_SCREEN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WATCH_SAMPLES 120

struct watch {
    bool colours, utf8;
    double exposure[WATCH_SAMPLES], applied[WATCH_SAMPLES]; /* seconds; NAN: unknown */
    size_t count, next;
    int64_t asked_us; /* of the last answer, with the bytes on the wire then */
    int64_t wire_bytes;
};

void watch_init(struct watch *w);

/* Draw what the agent told, or with NULL that it did not, and why. Screens go to stdout whole. */
void watch_draw(struct watch *w, const json_t *report, const char *error);

#endif

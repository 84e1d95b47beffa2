/* SPDX-License-Identifier: PostgreSQL */
/*
 * status_screen: `walferry status --watch` on a terminal: one screen, redrawn in place, every
 * figure in a fixed column, the last minutes of lag as a line of bars. Colours say good, late, bad;
 * without colours (NO_COLOR) nothing is lost, every state is also a word. A terminal without UTF-8
 * gets ASCII.
 */
#ifndef AGENT_COMMANDS_STATUS_SCREEN_H
#define AGENT_COMMANDS_STATUS_SCREEN_H

#include "config/config.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCREEN_STREAMS MEMBERS_MAX /* a link to each other member, and what is received */
#define SCREEN_SAMPLES 120

struct status_screen {
    bool colours, utf8;
    double exposure[SCREEN_SAMPLES], applied[SCREEN_SAMPLES]; /* seconds; NAN: unknown */
    size_t count, next;
    int64_t asked_us;                   /* time of the last answer */
    int64_t wire_bytes[SCREEN_STREAMS]; /* of each in the last answer; -1: unknown */
};

void status_screen_init(struct status_screen *s);

/* Draw the agent's report, or, for NULL, why there is none. stdout gets each screen whole. */
void status_screen_draw(struct status_screen *s, const json_t *report, const char *error);

#endif

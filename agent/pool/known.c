/* SPDX-License-Identifier: PostgreSQL */
/* See known.h. */
#include "pool/known.h"

#include <stdio.h>
#include <string.h>

void
known_add(struct known *k, const char *name, bool self)
{
    struct known_member *m = &k->member[k->count];

    if (self)
        k->self = k->count;
    k->count++;
    *m = (struct known_member){0};
    snprintf(m->name, sizeof m->name, "%s", name);
}

static struct known_member *
find(struct known *k, const char *name)
{
    for (size_t i = 0; i < k->count; i++)
        if (strcmp(k->member[i].name, name) == 0)
            return &k->member[i];
    return NULL;
}

const struct known_member *
known_of(const struct known *k, const char *name)
{
    for (size_t i = 0; i < k->count; i++)
        if (strcmp(k->member[i].name, name) == 0)
            return &k->member[i];
    return NULL;
}

static bool
hear_one(struct known *k, const char *teller, const struct member_news *n, int64_t base_us,
         int64_t now_us)
{
    struct known_member *m = find(k, n->member);
    bool itself = strcmp(n->member, teller) == 0;
    int64_t seen_us = base_us - n->age_us;

    if (m == NULL || m == &k->member[k->self] || seen_us <= 0 || n->age_us < 0)
        return false;
    if (m->seen_us != 0 && seen_us <= m->seen_us)
        return false;
    if (!itself && m->seen_us != 0 && m->by[0] == '\0' && now_us - m->seen_us < KNOWN_SILENT_US &&
        seen_us - m->seen_us < KNOWN_FRESH_US)
        return false;
    m->seen_us = seen_us;
    snprintf(m->by, sizeof m->by, "%s", itself ? "" : teller);
    m->state = n->state;
    return true;
}

bool
known_hear(struct known *k, const char *teller, const struct member_news *news, size_t count,
           int64_t base_us, int64_t now_us)
{
    bool any = false;

    if (base_us > now_us) /* it answers what was not asked yet */
        return false;
    for (size_t i = 0; i < count; i++)
        any |= hear_one(k, teller, &news[i], base_us, now_us);
    return any;
}

static bool
is_passed_on(const struct known_member *m, const char *to, unsigned turn)
{
    return turn % KNOWN_TURNS == 0 && m->seen_us != 0 && strcmp(m->name, to) != 0 &&
           strcmp(m->by, to) != 0;
}

size_t
known_tell(const struct known *k, const struct member_state *own, const char *to, unsigned turn,
           int64_t now_us, struct member_news out[KNOWN_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < k->count; i++) {
        const struct known_member *m = &k->member[i];
        struct member_news n = {.state = *own};

        if (i != k->self && !is_passed_on(m, to, turn))
            continue;
        if (i != k->self) {
            n.state = m->state;
            n.age_us = now_us - m->seen_us;
            memcpy(n.by, m->by, sizeof n.by);
        }
        memcpy(n.member, m->name, sizeof n.member);
        out[count++] = n;
    }
    return count;
}

bool
known_silent(const struct known *k, const struct known_member *m, int64_t now_us, int64_t *ret_us)
{
    *ret_us = now_us - (m->seen_us != 0 ? m->seen_us : k->since_us);
    return m != &k->member[k->self] && *ret_us >= KNOWN_SILENT_US;
}

bool
known_dials(bool linked, bool earlier, int64_t silent_us)
{
    return !linked && (earlier || silent_us >= QUIET_SILENT_US);
}

/* SPDX-License-Identifier: PostgreSQL */
/* See neighbour.h. */
#include "jobs/neighbour.h"

#include "base/clock.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { OWN_SITE, OWN_SITE_PRIMARY, MIRROR, PRIMARY };

static bool
same_site(const struct member *a, const struct member *b)
{
    return strcmp(a->site, b->site) == 0;
}

int
neighbour_distance(const struct neighbourhood *h, const struct member *m)
{
    bool own = same_site(m, h->self);

    if (m == h->self)
        return -1;
    if (m == h->primary)
        return own ? OWN_SITE_PRIMARY : PRIMARY;
    return own ? OWN_SITE : same_site(m, h->primary) ? MIRROR : -1;
}

/* What is wrong with a standby; NULL: nothing. `text` is room for it. */
static const char *
wrong(const struct neighbourhood *h, const struct neighbour *n, char *text, size_t size)
{
    if (n->forked)
        return "it has parted from the pool's lineage";
    if (n->promised)
        return "a failover asks it just now";
    if (!n->standby)
        return "it is no standby";
    if (h->system_identifier != 0 && n->system_identifier != h->system_identifier)
        return "it is another database cluster";
    if (n->epoch != h->epoch || strcmp(n->primary, h->primary->name) != 0) {
        snprintf(text, size, "it knows %s as the primary of epoch %" PRIu64 ", not %s of %" PRIu64,
                 n->primary[0] != '\0' ? n->primary : "nobody", n->epoch, h->primary->name,
                 h->epoch);
        return text;
    }
    if (n->alarm)
        return "it is in alarm";
    if (!n->up)
        return "its PostgreSQL takes no connection";
    if (!n->in_recovery)
        return "its PostgreSQL is in no recovery";
    if (!n->linked)
        return "no WAL comes to it";
    if (n->paused)
        return "its replay is paused";
    return NULL;
}

bool
neighbour_gives(const struct neighbourhood *h, const struct neighbour *n,
                char why[NEIGHBOUR_WHY_SIZE])
{
    char text[NEIGHBOUR_WHY_SIZE], behind[32];
    const char *found = n->excuse[0] != '\0'      ? n->excuse
                        : n->member == h->primary ? NULL
                                                  : wrong(h, n, text, sizeof text);

    if (found == NULL && n->member != h->primary && h->named != n->member) {
        if (!n->behind_known)
            found = "how far it is behind is unknown";
        else if (n->behind_us > NEIGHBOUR_BEHIND_US) {
            snprintf(text, sizeof text, "it is %s behind",
                     text_duration(behind, sizeof behind, n->behind_us));
            found = text;
        }
    }
    if (found != NULL)
        snprintf(why, NEIGHBOUR_WHY_SIZE, "%s", found);
    return found == NULL;
}

static bool
is_nearer(const struct neighbourhood *h, const struct neighbour *a, const struct neighbour *b)
{
    int far_a = neighbour_distance(h, a->member), far_b = neighbour_distance(h, b->member);

    return far_a < far_b || (far_a == far_b && a->behind_us < b->behind_us);
}

const struct neighbour *
neighbour_choose(const struct neighbourhood *h, const struct neighbour *all, size_t count)
{
    const struct neighbour *best = NULL;
    char why[NEIGHBOUR_WHY_SIZE];

    for (size_t i = 0; i < count; i++) {
        const struct neighbour *n = &all[i];

        if (h->named != NULL ? n->member != h->named : neighbour_distance(h, n->member) < 0)
            continue;
        if (neighbour_gives(h, n, why) && (best == NULL || is_nearer(h, n, best)))
            best = n;
    }
    return best;
}

const char *
neighbour_words(const struct neighbourhood *h, const struct neighbour *n, char *out, size_t size)
{
    bool own = same_site(n->member, h->self);

    if (n->member == h->primary)
        snprintf(out, size, "the primary%s", own ? ", own site" : "");
    else if (n->behind_known)
        snprintf(out, size, "%s, %.1f s behind",
                 own                                ? "own site"
                 : same_site(n->member, h->primary) ? "a mirror of the primary"
                                                    : "a standby of a third site",
                 (double)n->behind_us / (double)SECOND_US);
    else
        snprintf(out, size, "%s, how far behind is unknown", own ? "own site" : "another site");
    return out;
}

/* SPDX-License-Identifier: PostgreSQL */
/* See route_json.h. */
#include "pool/route_json.h"

#include <string.h>

static const char *const why_name[] = {"primary", "mirror",  "head",    "pinned", "silent",
                                       "stalled", "reaches", "relayed", "around", "bridge"};

#define WHYS (sizeof why_name / sizeof *why_name)

_Static_assert(WHYS == ROUTE_BRIDGE + 1, "every reason has its name");

const char *
route_why_name(enum route_why why)
{
    return why_name[why];
}

json_t *
routes_to_json(const struct routes *r)
{
    json_t *members = json_array();

    for (size_t i = 0; i < r->count; i++) {
        const struct route *route = &r->route[i];

        json_array_append_new(
            members, json_pack("{s:s s:s s:s s:b s:b s:I}", "member", route->member, "from",
                               route->from, "why", route_why_name(route->why), "cut", route->cut,
                               "pinned", route->pinned, "since_us", (json_int_t)route->since_us));
    }
    return json_pack("{s:I s:s s:I s:o}", "epoch", (json_int_t)r->epoch.number, "primary",
                     r->epoch.member, "number", (json_int_t)r->number, "members", members);
}

static bool
why_from_name(const char *name, enum route_why *ret_why)
{
    for (size_t i = 0; i < WHYS; i++)
        if (strcmp(name, why_name[i]) == 0) {
            *ret_why = (enum route_why)i;
            return true;
        }
    return false;
}

static bool
take_name(const char *name, char out[MEMBER_NAME_SIZE])
{
    if (strlen(name) >= MEMBER_NAME_SIZE)
        return false;
    memcpy(out, name, strlen(name) + 1);
    return true;
}

static bool
route_from_json(json_t *json, struct route *ret_route)
{
    struct route r = {0};
    const char *member, *from, *why;
    json_int_t since_us;
    int cut, pinned;

    if (json_unpack(json, "{s:s s:s s:s s:b s:b s:I}", "member", &member, "from", &from, "why",
                    &why, "cut", &cut, "pinned", &pinned, "since_us", &since_us) < 0 ||
        !take_name(member, r.member) || !take_name(from, r.from) || !why_from_name(why, &r.why))
        return false;
    r.cut = cut != 0;
    r.pinned = pinned != 0;
    r.since_us = since_us;
    *ret_route = r;
    return true;
}

bool
routes_from_json(const json_t *json, struct routes *ret_routes)
{
    struct routes r = {0};
    json_int_t epoch, number;
    const char *primary;
    json_t *members;

    if (json_unpack((json_t *)(uintptr_t)json, "{s:I s:s s:I s:o}", "epoch", &epoch, "primary",
                    &primary, "number", &number, "members", &members) < 0 ||
        epoch < 1 || epoch > (json_int_t)EPOCH_NUMBER_MAX || number < 1 ||
        number > (json_int_t)EPOCH_NUMBER_MAX || !take_name(primary, r.epoch.member) ||
        json_array_size(members) == 0 || json_array_size(members) > FRAME_MEMBERS_MAX)
        return false;
    r.epoch.number = (uint64_t)epoch;
    r.number = (uint64_t)number;
    r.count = json_array_size(members);
    for (size_t i = 0; i < r.count; i++)
        if (!route_from_json(json_array_get(members, i), &r.route[i]))
            return false;
    *ret_routes = r;
    return true;
}

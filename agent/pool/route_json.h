/* SPDX-License-Identifier: PostgreSQL */
/* route_json: a table of routes (route.h) as pool.state keeps it. */
#ifndef AGENT_POOL_ROUTE_JSON_H
#define AGENT_POOL_ROUTE_JSON_H

#include "shipper/wire/frame.h"

#include <jansson.h>

/* "primary", "mirror", "head", ... */
const char *route_why_name(enum route_why why);

json_t *routes_to_json(const struct routes *r);

/* False: it is no table. */
bool routes_from_json(const json_t *json, struct routes *ret_routes);

#endif

/* SPDX-License-Identifier: PostgreSQL */
/* See reserve.h. */
#include "config/reserve.h"

uint64_t
reserve_bytes(const struct reserve *r, uint64_t disk_bytes)
{
    uint64_t share = disk_bytes / 100 * r->percent;

    return share < r->bytes_max ? share : r->bytes_max;
}

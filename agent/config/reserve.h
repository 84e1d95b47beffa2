/* SPDX-License-Identifier: PostgreSQL */
/* reserve: the part of a file system that stays free: a share of it, at most so many bytes. */
#ifndef AGENT_CONFIG_RESERVE_H
#define AGENT_CONFIG_RESERVE_H

#include <stdint.h>

struct reserve {
    unsigned percent;
    uint64_t bytes_max; /* UINT64_MAX: the share alone */
};

uint64_t reserve_bytes(const struct reserve *r, uint64_t disk_bytes);

#endif

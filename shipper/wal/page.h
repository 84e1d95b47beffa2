/* SPDX-License-Identifier: PostgreSQL */
/*
 * page: the numbers in a page of WAL, in the byte order of this machine, as PostgreSQL writes them.
 */
#ifndef SHIPPER_WAL_PAGE_H
#define SHIPPER_WAL_PAGE_H

#include <stdint.h>
#include <string.h>

#define PAGE_MAGIC_MIN 0xD100

static inline uint16_t
u16_at(const uint8_t *at)
{
    uint16_t v;

    memcpy(&v, at, sizeof v);
    return v;
}

static inline uint32_t
u32_at(const uint8_t *at)
{
    uint32_t v;

    memcpy(&v, at, sizeof v);
    return v;
}

static inline uint64_t
u64_at(const uint8_t *at)
{
    uint64_t v;

    memcpy(&v, at, sizeof v);
    return v;
}

#endif

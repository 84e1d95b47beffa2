/* reserve: what of a file system is left alone: a share of it, and never more than so many bytes.
 */
#ifndef AGENT_CONFIG_RESERVE_H
#define AGENT_CONFIG_RESERVE_H

#include <stdint.h>

struct reserve {
    unsigned percent;
    uint64_t bytes_max; /* UINT64_MAX: the share alone */
};

uint64_t reserve_bytes(const struct reserve *r, uint64_t disk_bytes);

#endif

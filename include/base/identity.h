/* SPDX-License-Identifier: PostgreSQL */
/*
 * identity: must be equal at both ends before one byte of WAL is believed.
 */
#ifndef BASE_IDENTITY_H
#define BASE_IDENTITY_H

#include "base/lsn.h"

#include <stdint.h>

#define MEMBER_NAME_SIZE 32 /* [a-z][a-z0-9-]{0,30} and a 0 */

/* Those that work. The community mends 15 to 18; 19 is not tried. */
#define POSTGRES_MAJOR_MIN 13
#define POSTGRES_MAJOR_MAX 18

struct identity {
    uint64_t system_identifier; /* pg_control; 0 is unknown */
    uint32_t segment_bytes;     /* wal_segment_size */
    uint16_t postgres_major;    /* POSTGRES_MAJOR_MIN to _MAX */
};

/* The member that became primary, and the number of that change. */
struct epoch {
    uint64_t number; /* 0: nothing known yet */
    char member[MEMBER_NAME_SIZE];
};

#endif

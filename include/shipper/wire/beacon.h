/* SPDX-License-Identifier: PostgreSQL */
/*
 * beacon: how many seconds a position is behind, without an inference. Pure arithmetic.
 *
 * A beacon says: every commit that the primary made before its clock showed T lies before LSN. A
 * position (received, flushed, applied) that has reached LSN covers it; the newest covered beacon's
 * T is "as of", its age is the lag. The receiver finds the covered beacon (lag_reach); the sender
 * takes it from the ACK (lag_take), never concludes it: so the lag grows on both sides from the
 * moment of a cut, idle or busy. Ages are counted on the primary's monotonic clock, which
 * the receiver knows by the offset that PING and PONG measure.
 *
 * Pending beacons are bounded: when the list is full, every other beacon of its older half goes.
 * That costs resolution towards older times only: a lag is never told too small.
 */
#ifndef SHIPPER_WIRE_BEACON_H
#define SHIPPER_WIRE_BEACON_H

#include "shipper/wire/frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BEACONS_MAX 512

struct lag {
    struct beacon pending[BEACONS_MAX]; /* ascending in LSN and time */
    size_t count;
    lsn_t position;        /* what is reached; LSN_UNKNOWN: no beacon is covered before lag_reach */
    struct beacon covered; /* the newest covered one; lsn 0: none */
    struct beacon before;  /* was covered until the position went back below it */
};

void lag_beacon(struct lag *l, const struct beacon *b);
/*
 * Where the position is now. What it covered before is covered no longer when it has gone back, or
 * when nobody can tell where it is (LSN_UNKNOWN), until it is there again.
 */
void lag_reach(struct lag *l, lsn_t position);
/* The same while no beacon may be covered by it, for it may be of other WAL. */
void lag_hold(struct lag *l, lsn_t position);

/* The far side says that `covered` is covered: believe it, drop pending beacons up to it. */
void lag_take(struct lag *l, const struct beacon *covered);

/* Pending beacons later than since_us are of another server: forget them. */
void lag_forget(struct lag *l, int64_t since_us);

/* Another primary's clock counts now: forget all beacons, keep the position. */
void lag_restart(struct lag *l);
/* The same primary after a reboot, its clocks say now_us and wall_us: its earlier beacons are dated
 * by the wall clock. */
void lag_rebase(struct lag *l, int64_t now_us, int64_t wall_us);

/* Age of the newest covered beacon at `now_us` of the primary's monotonic clock; false: unknown. */
bool lag_age(const struct lag *l, int64_t now_us, int64_t *ret_age_us);
/* A lag that is unknown since the position went back is not less than this. */
bool lag_least(const struct lag *l, int64_t now_us, int64_t *ret_age_us);

/* Is b a later moment of a server that had more WAL before? It was restored to an older state. */
bool lag_is_older(const struct lag *l, const struct beacon *b);

/*
 * The far side's monotonic clock as seen from here: far = here + offset. A PING that came back
 * tells it to half its round trip, and a full line delays one way only. So the best sample is kept,
 * over connections, until drift may have made it worse than a new one.
 */
struct clock_offset {
    bool known;
    int64_t offset_us, error_us, at_us; /* the best sample, its possible error, when it was taken */
    size_t count;                       /* samples of this connection */
    int64_t last_us, round_trip_us, wall_offset_us; /* of the last sample */
};

void offset_restart(struct clock_offset *o); /* another connection */
int64_t offset_error_us(const struct clock_offset *o,
                        int64_t now_us); /* by how much it may be wrong */
/* A PING came back. True: the far side's clock is another than before; one of the hosts was booted.
 */
bool offset_sample(struct clock_offset *o, int64_t sent_us, int64_t far_us, int64_t far_wall_us,
                   int64_t now_us, int64_t wall_us);

/*
 * Kept across a restart, so that lag goes on growing: a line of text, on the primary one for each member.
 *   "primary NAME boot ID offset us flushed lsn wall mono applied lsn wall mono[ member NAME]\n"
 * On the same boot the monotonic clock still counts. After a reboot only the wall clock does:
 * lag_record_load gives each beacon the monotonic time that makes its age right on the new clock.
 */
struct lag_record {
    char primary[MEMBER_NAME_SIZE]; /* whose clock it is */
    char member[MEMBER_NAME_SIZE];  /* who stands there; "": who has written it */
    struct beacon flushed, applied; /* lsn 0: unknown */
    int64_t offset_us; /* primary's monotonic clock minus ours; 0 on the primary itself */
};
#define LAG_RECORD_MAX 512
size_t lag_record_save(const struct lag_record *r, const char *boot_id, char out[LAG_RECORD_MAX]);
bool lag_record_load(struct lag_record *r, const char *text, const char *boot_id, int64_t now_us,
                     int64_t wall_us);

#endif

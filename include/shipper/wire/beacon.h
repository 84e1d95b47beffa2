/*
 * beacon: how far behind, in seconds, without an inference. Pure arithmetic.
 *
 * A beacon says: every commit that the primary made before its clock showed T lies before LSN. A
 * position (received, flushed, applied) that has reached LSN covers it; the newest covered beacon's
 * T is "as of", its age is the lag. The receiver finds what is covered (lag_reach); the sender only
 * believes what an ACK says of it (lag_take), never its own conclusion: so lag grows on both sides
 * from the moment of a cut, idle or busy. Ages are counted on the primary's monotonic clock, which
 * the receiver knows by the offset that PING and PONG measure.
 *
 * Pending beacons are bounded: when the list is full, every other one of its older half goes. What
 * is lost is resolution, and only towards the older: a lag is never told too small.
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
    lsn_t position;        /* what is reached */
    struct beacon covered; /* the newest covered one; lsn 0: none yet */
};

void lag_beacon(struct lag *l, const struct beacon *b);
void lag_reach(struct lag *l, lsn_t position); /* a lower position than before is ignored */

/* The far side has told that `covered` is covered: take that, forget what is pending up to it. */
void lag_take(struct lag *l, const struct beacon *covered);

/* Another primary's clock: forget what it said, keep the position. */
void lag_restart(struct lag *l);
/* The same primary after another boot, its clocks say now_us and wall_us: the wall clock has to
 * date what it said. */
void lag_rebase(struct lag *l, int64_t now_us, int64_t wall_us);

/* Age of the newest covered beacon at `now_us` of the primary's monotonic clock; false: unknown. */
bool lag_age(const struct lag *l, int64_t now_us, int64_t *ret_age_us);

/*
 * The far side's monotonic clock as seen from here: far = here + offset. A PING that came back
 * tells it to half its round trip, and a full line delays one way only. So the best sample is kept,
 * over connections, until drift may have made it worse than a new one.
 */
struct clock_offset {
    bool known;
    int64_t offset_us, error_us,
        at_us;    /* the best sample, what it may be wrong by, when it was taken */
    size_t count; /* samples of this connection; the next three are the last one's */
    int64_t last_us, round_trip_us, wall_offset_us;
};

void offset_restart(struct clock_offset *o); /* another connection */
/* One PING that came back. True: this is not the clock that the far side had before; it was booted,
 * or we were. */
bool offset_sample(struct clock_offset *o, int64_t sent_us, int64_t far_us, int64_t far_wall_us,
                   int64_t now_us, int64_t wall_us);

/*
 * Kept across a restart, so that lag goes on growing: one line of text.
 *   "primary NAME boot ID offset us flushed lsn wall mono applied lsn wall mono\n"
 * On the same boot the monotonic clock still counts; after another boot the wall clock has to do,
 * and load turns the beacons' times into ones that give that age on the new clock.
 */
struct lag_record {
    char primary[MEMBER_NAME_SIZE]; /* whose clock it is */
    struct beacon flushed, applied; /* lsn 0: unknown */
    int64_t offset_us; /* primary's monotonic clock minus ours; 0 on the primary itself */
};
#define LAG_RECORD_MAX 512
size_t lag_record_save(const struct lag_record *r, const char *boot_id, char out[LAG_RECORD_MAX]);
bool lag_record_load(struct lag_record *r, const char *text, const char *boot_id, int64_t now_us,
                     int64_t wall_us);

#endif

#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# What the primary writes under load is durable at the other site, byte for byte, and visible there;
# with every size of segments.
. "$(dirname "$0")/lib.sh"
long && seconds=30 || seconds=6

for size in 16 1 64; do
    export DEMO_SEGMENT_MB=$size DEMO_CONF="wal_keep_size = 2GB"
    start_pool
    step "load with segments of $size MB"
    fill $((size == 64 ? 20 : 5))
    load $seconds
    end_load
    sql1 "select pg_switch_wal()" >/dev/null
    same_rows
    same_segments
    [ "$(field 1 .links[0].state)" = up ] || fail "the link is not up"
    for pid in $(pgrep -f "^$WALFERRY receive"); do # one more process for every lane
        [ "$(readlink "/proc/$pid/exe")" = "$WALFERRY" ] || fail "the whole program waits for the end of a session, not the launcher"
    done
    ! grep -q 'ERROR' "$WALFERRY_DEMO/dc1/postgres.log" || fail "the primary's log has errors: $(grep ERROR "$WALFERRY_DEMO/dc1/postgres.log" | head -3)"
    seconds=$((size == 16 ? 4 : seconds))
done
pass

#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Several SSH connections carry one link: lanes that are killed cost nothing but their own bytes;
# a distance opens more of them by itself; a rate limit holds and is told; every codec.
. "$(dirname "$0")/lib.sh"
long && seconds=30 || seconds=8

wanproxy() { as "$WALFERRY_DEMO/bin/wanproxy" ctl "$WALFERRY_DEMO/wan/socket" "$@"; }
link() { field 1 ".links[0].$1"; }

step "four lanes, a random one killed each second"
export DEMO_POOL_CONF="lanes = 4" DEMO_CONF="wal_keep_size = 2GB"
start_pool
expect 20 '[ "$(link lanes)" = 4 ]'
fill
demo wan 20
load $seconds
until=$((SECONDS + seconds)) kills=0
while [ $SECONDS -lt $until ]; do
    if [ $((kills % 2)) = 0 ]; then
        wanproxy kill >/dev/null
    else # sshd's own process of a random session
        pid=$(pgrep -P "$(cat "$DC2_SSHD_PID")" | shuf -n 1)
        [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null
    fi
    kills=$((kills + 1))
    wait_for 1 false
    expect 20 '[ "$(link lanes)" = 4 ]'
done
end_load
[ $kills -ge 2 ] || fail "only $kills lanes were killed"
same_rows
same_segments
[ "$(link connections_lost)" = 0 ] || fail "the session did not survive its lanes"
expect 40 '[ "$(link lanes)" = 4 ]'

step "the far disk takes 9 s for a flush: longer than any line may be silent"
kill_agent 2 TERM
install -m 755 "$WALFERRY_BUILD/slowdisk.so" "$WALFERRY_DEMO/bin/" || fail "the build has no slowdisk.so"
slow=$WALFERRY_DEMO/dc2/slow
ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0 LD_PRELOAD=$WALFERRY_DEMO/bin/slowdisk.so WALFERRY_SLOWDISK=$slow start_agent 2
demo wan 0
expect 40 '[ "$(link lanes)" = 4 ]'
lost=$(link connections_lost)
as sh -c 'echo fdatasync 9000 >"$1"' sh "$slow"
sql1 "create table big as select gen_random_uuid() as a, gen_random_uuid() as b from generate_series(1, 900000)" >/dev/null
held() { as "$PGBIN/psql" -XAtq "$DC1_PG dbname=postgres" -c "select '$(field 2 .spool.received)'::pg_lsn - '$(field 2 .spool.flushed)'::pg_lsn"; }
expect 40 '[ "$(held)" -gt 17000000 ]' # the spool takes no more: a segment waits for its flush, the next one is full
for n in 1 2; do # flushes of 9 s
    flushed=$(field 2 .spool.flushed)
    expect 40 '[ "$(field 2 .spool.flushed)" != "$flushed" ]'
done
[ "$(link lanes)" = 4 ] && [ "$(link connections_lost)" = "$lost" ] && [ "$(field 2 .receiving.connections_lost)" = 0 ] ||
    fail "the stall was taken for the line's: $(link lanes) lanes, $(($(link connections_lost) - lost)) sessions lost"
! grep 'takes nothing any more' "$WALFERRY_DEMO/dc1/agent.log" || fail "lanes were given up"
as rm "$slow"
same_rows
sql1 "drop table big" >/dev/null
demo wan 20

step "all lanes reset at once under load"
load 3
demo cut --reset
demo heal
end_load
same_rows
same_segments

step "set at run time: one lane, a rate limit"
walferry 1 set lanes=1 >/dev/null || fail "set lanes"
expect 40 '[ "$(link lanes)" = 1 ]'
demo wan 0
walferry 1 set rate_limit=1MB >/dev/null || fail "set rate_limit"
walferry 1 status | grep -q 'changed by walferry set' || fail "status does not tell what was set"
[ "$(link rate_limit)" = 1MB ] || fail "the limit is not told: $(link rate_limit)"
sql1 "create table big as select gen_random_uuid() as a, gen_random_uuid() as b from generate_series(1, 800000)" >/dev/null
expect 10 '[ "$(link rate_limits)" = true ]'
there() { wanproxy stats | awk '{ sum += $3 } END { print sum }'; }
walferry 1 status | grep -q 'waits for the rate limit of 1MB' || fail "status does not say that the limit is the reason"
wait_for 2 false # what the lanes held before the limit
began=$(date +%s%N) before=$(there) begun=$(date +%s%N)
wait_for 8 false
ends=$(date +%s%N) sent=$(($(there) - before)) ended=$(date +%s%N) # to read takes a while, too
awk -v sent="$sent" -v least=$((ends - begun)) -v most=$((ended - began)) 'BEGIN { exit !(sent * 1e3 / least > 0.95 && sent * 1e3 / most < 1.05) }' ||
    fail "with a limit of 1 MB/s $sent bytes went in $((ends - begun)) to $((ended - began)) ns"
walferry 1 set rate_limit=none >/dev/null
same_rows
same_segments
! walferry 1 set rate_limit=fast >/dev/null 2>&1 || fail "a limit of 'fast' was taken"
! walferry 1 set name=other >/dev/null 2>&1 || fail "the name was set"

for codec in none zstd:9; do
    step "compression = $codec"
    walferry 1 set "compression=$codec" >/dev/null || fail "set compression"
    fill 2
    same_rows
    same_segments
done

step "a distance opens more lanes by itself"
export DEMO_POOL_CONF="lanes = auto"
start_pool
fill 1
demo wan 150
kill_agent 2 TERM
sql1 "create table big as select gen_random_uuid() as a, gen_random_uuid() as b from generate_series(1, 1500000)" >/dev/null
start_agent 2
expect 60 '[ "$(link lanes)" -ge 2 ]'
same_rows
same_segments
pass

#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The spool's file system is full: the receiving agent takes no more, both sides say why and what to do, what is
# there is still served, nothing acknowledged is lost, and it goes on by itself when there is room again. A file
# system of its own is mounted in the spool's place.
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || skip "needs root to mount"

IMAGE=/tmp/wf-$$.image
BEFORE_DOWN='kill_agent 2; umount "$DC2_SPOOL" 2>/dev/null; rm -f "$IMAGE" "$IMAGE".acknowledged'

export DEMO_SEGMENT_MB=1 DEMO_POOL_CONF=${DEMO_POOL_CONF:-lanes = 4} # all of them end with one reason
start_pool
step "the spool moves to a file system of 300 MB"
kill_agent 2 TERM
as mv "$DC2_SPOOL" "$DC2_SPOOL.moved"
mkdir "$DC2_SPOOL"
truncate -s 300M "$IMAGE" && mkfs.ext4 -qFm 0 "$IMAGE" || fail "cannot make a file system"
mount -o loop "$IMAGE" "$DC2_SPOOL" || skip "root may not mount here"
chown "$RUN_AS" "$DC2_SPOOL" && chmod 700 "$DC2_SPOOL"
as sh -c 'rmdir "$1/lost+found" 2>/dev/null; cp -a "$1.moved"/. "$1" && rm -r "$1.moved"' sh "$DC2_SPOOL" || fail "cannot move"
start_agent 2
expect 20 '[ "$(field 1 .links[0].state)" = up ]'
fill 1
expect 30 level

free() { df --output=avail -B1 "$DC2_SPOOL" | tail -1 | tr -d ' '; }
says_full() {
    expect 30 'field 2 .spool.error | grep -q "No space left on device"'
    expect 20 'field 2 .receiving.reason | grep -q "No space left on device.* free.*make room"'
    expect 20 'field 1 .links[0].reason | grep -q "No space left on device.* free.*make room"'
}
still_serves() { # the standby follows to the end of what is acknowledged
    acknowledged=$(field 2 .spool.flushed)
    expect 20 '[ "$(field 2 .receiving.standby_connected)" = true ]'
    expect 20 '[ "$(sql2 "select pg_last_wal_receive_lsn() >= '"'$acknowledged'"'")" = t ]'
    local counted; counted=$(field 1 '.links[0].flushed.lsn') # first: what is flushed here may still grow
    [ "$counted" = null ] || [ "$(sql2 "select '$counted'::pg_lsn <= '$(field 2 .spool.flushed)'")" = t ] ||
        fail "the primary's side counts on more than is flushed here"
}

step "no room left, under load"
as fallocate -l $(($(free) - 6 * 1048576)) "$DC2_SPOOL/ballast"
load 600 -R 300
sql1 "create table filler as select n, md5(n::text) as x from generate_series(1, 100000) n" >/dev/null
says_full
still_serves
(cd "$DC2_SPOOL" && cksum ????????????????????????) >"$IMAGE.acknowledged"
flushed=$(field 2 .spool.flushed) told=$(field 1 '.links[0].flushed.lsn')
step "full for a while: it stays refused, and the lag grows"
lag=$(field 1 '.links[0].flushed.lag_seconds | floor')
expect 20 '[ "$(field 1 ".links[0].flushed.lag_seconds | floor")" -gt $((lag + 3)) ]'
[ "$(field 2 .spool.flushed) $(field 1 '.links[0].flushed.lsn')" = "$flushed $told" ] || fail "more is acknowledged on a full disk"

step "the agent restarts while the disk is full"
kill_agent 2
start_agent 2
says_full
still_serves
[ "$(sql1 "select '$acknowledged'::pg_lsn >= '$flushed'::pg_lsn")" = t ] || fail "$flushed was acknowledged, $acknowledged is left"
(cd "$DC2_SPOOL" && cksum ????????????????????????) | cmp -s - "$IMAGE.acknowledged" || fail "acknowledged segments have changed"

step "room is made: it goes on by itself"
sql1 "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgbench'" >/dev/null
end_load
as rm "$DC2_SPOOL/ballast"
expect 30 '[ "$(field 1 .links[0].state)" = up ]'
expect 10 '[ "$(field 2 .spool.error)" = null ]'
same_rows
same_segments
pass

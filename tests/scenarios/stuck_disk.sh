#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A disk on which removing a segment, or flushing a copy of one, lasts: acknowledgements, beacons and
# answers go on meanwhile.
. "$(dirname "$0")/lib.sh"

export DEMO_SEGMENT_MB=1
start_pool
STUCK=$WALFERRY_DEMO/stuck
rows() { sql1 "insert into t select n, md5(random()::text) from generate_series(1, $1) n" >/dev/null; }
lasts() { expect 30 '[ -e "$STUCK/at" ]'; }
meanwhile() { [ -e "$STUCK/at" ] || fail "it is over: nothing was shown"; } # the disk is busy still
answers() { as timeout 20 "$WALFERRY" status --json --config "$CONFIG" --member dc2-a | jq -r "$1"; }
as_of() { field 1 '.links[0].flushed.as_of'; }

step "the standby's agent has a disk that can get stuck"
install -m 755 "$WALFERRY_BUILD/stuckdisk.so" "$WALFERRY_DEMO/bin/" || fail "the build has no stuckdisk.so"
as mkdir "$STUCK"
as sh -c "sed -i '/^.member dc2-a/a keep = 0s' '$CONFIG'"
kill_agent 2 TERM
ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0 LD_PRELOAD=$WALFERRY_DEMO/bin/stuckdisk.so WALFERRY_STUCK_DISK=$STUCK start_agent 2
sql1 "create table t (n int, x text)" >/dev/null
expect 30 level

step "segments that nobody needs are removed"
as touch "$STUCK/unlink"
rows 30000
lasts
ended=$(field 1 '.links[0].connections_lost')
before=$(as_of)
expect 10 '[ "$(as_of)" != "$before" ]'
at=$(sql1 "insert into t values (0) returning pg_current_wal_insert_lsn()")
expect 10 '[ "$(sql1 "select flush_lsn > '"'\$at'"' from pg_stat_replication where application_name = '"'walferry_dc2_a'"'")" = t ]'
expect 10 level
[ "$(field 1 '.links[0].connections_lost')" = "$ended" ] || fail "the session has ended"
meanwhile
as rm "$STUCK/unlink"
expect 20 '[ "$(ls "$DC2_SPOOL" | grep -cE "^[0-9A-F]{24}\$")" -le 2 ]'

step "the segment in which a new timeline begins is copied"
as touch "$STUCK/copy"
pg1 -m fast stop || fail "the primary does not stop"
as touch "$DC1_PGDATA/standby.signal"
pg1 start || fail "the primary does not start"
as "$PGBIN/pg_ctl" -D "$WALFERRY_DEMO/dc1/etc" -w promote >/dev/null || fail "pg_ctl promote"
lasts
[ "$(answers .role)" = standby ] || fail "its agent does not answer"
meanwhile
as rm "$STUCK/copy"
rows 100
expect 30 level
[ "$(field 2 .spool.timeline)" = 2 ] || fail "the spool is on timeline $(field 2 .spool.timeline)"

step "a segment that could not be flushed is copied"
as touch "$STUCK/broken" "$STUCK/copy"
rows 100
expect 20 'field 2 .spool.error | grep -q "cannot flush"'
as rm "$STUCK/broken"
lasts
[ "$(answers .receiving.standby_connected)" = true ] || fail "the standby is not served, or its agent does not answer"
meanwhile
as rm "$STUCK/copy"
expect 30 level
[ "$(field 2 .spool.error)" = null ] || fail "the spool still takes nothing: $(field 2 .spool.error)"
same_rows
pass

#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# What was known in an earlier epoch, or of an ancestor's timeline, never stands in for the present one: a primary that is
# one again knows nothing of the other site until its session has compared, and the rest of a dead server is the one of the
# timeline that it wrote last.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
told_of_far() { field 1 '"\(.links[0].state == "up") \(.links[0].flushed.lsn // "unknown") \(.exposure_seconds // "unknown") \(.loss.kind)"'; }
write() { # N NAME ROWS
    sql "$1" "create table $2 as select n, md5(random()::text) as x from generate_series(1, $3) n" >/dev/null
}
rows() { sql "$1" "select count(*), md5(string_agg(x, '' order by n)) from $2"; } # N NAME

start_pool
expect 30 level
write 1 first 20000
expect 30 level
expect 10 '[ "$(field 1 ".links[0].flushed.lsn")" != null ]'

step "there: dc2 takes over"
kill_postgres 1
failover 2
told "loss: none"
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
write 2 second 20000
expect 60 level2

step "and back, the other site cut off: dc1's agent has seen dc2 as its standby once, in epoch 1"
pid=$(agent_pid 1)
demo cut
kill_postgres 2
walferry 1 failover --yes --force --dead </dev/null >"$OUT" 2>&1 || fail "failover: $(cat "$OUT")"
[ "$(agent_pid 1)" = "$pid" ] || fail "another agent: it shows nothing"
[ "$(field 1 '"\(.role) \(.epoch.number)"')" = "primary 3" ] || fail "$(field 1 .epoch)"
unknown() { [ "$(told_of_far)" = "false unknown unknown unknown" ] || fail "of dc2 it tells: $(told_of_far)"; }
unknown
write 1 third 2000
unknown
walferry 1 sync --timeout 1 >"$OUT" 2>&1 && fail "sync: $(cat "$OUT")"
walferry 1 status >"$OUT"
grep -q "would lose: *unknown" "$OUT" || fail "status: $(cat "$OUT")"
curl -s -m 5 "http://$DC1_HTTP/metrics" | grep -E '^walferry_exposure_seconds' >"$OUT" && fail "metrics: $(cat "$OUT")"
demo heal
rejoin 2 --yes || fail "rejoin: $(cat "$OUT")"
expect 60 level
expect 10 '[ "$(field 1 ".links[0].state")" = up ] && [ "$(field 1 ".exposure_seconds < 3")" = true ]'

step "the line is cut, the primary begins a timeline of the same epoch and dies before a checkpoint: its rest is that one's"
demo cut
expect 20 '[ "$(field 2 .receiving.state)" = down ]'
before=$(sql1 "select timeline_id from pg_control_checkpoint()")
pg1 -m fast stop
as touch "$DC1_PGDATA/standby.signal"
pg1 start
as "$PGBIN/pg_ctl" -D "$WALFERRY_DEMO/dc1/etc" -w promote >/dev/null || fail "pg_ctl promote"
expect 10 '[ "$(sql1 "select pg_is_in_recovery()")" = f ]'
write 1 fourth 30000
rows=$(rows 1 fourth)
kill_postgres 1
demo heal
walferry 2 failover --yes </dev/null >"$OUT" 2>&1 || fail "failover: $(cat "$OUT")"
told "loss: none"
[ "$(rows 2 fourth)" = "$rows" ] || fail "rows are missing: $(cat "$OUT")"
[ "$(field 2 .timeline)" -gt $((before + 1)) ] || fail "timeline $(field 2 .timeline) behind $before"
[ "$(field 2 '.epoch.loss | .[:4]')" = none ] || fail "status: $(field 2 .epoch)"
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
same_rows 1 2
rm -f "$OUT"
pass

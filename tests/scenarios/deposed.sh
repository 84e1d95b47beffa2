#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A former primary whose PostgreSQL is down, and whose agent was started again, is no standby: nobody
# is told to start it, and no commit of the new primary counts on it before it has rejoined.
export DEMO_SYNCHRONOUS=on
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
names() { sql2 "show synchronous_standby_names"; }
fenced() { [ "$(field 1 .role)" = fenced ] && field 1 .alarm | grep -q "$1"; } # WORDS
unsafe() { # what is said in $OUT tells to start the server; validate shows the configured command
    grep -vE 'commands +start = |the agent of [a-z0-9-]* (is not running|has ended)' "$OUT" | grep -qiE 'pg_ctl .*start|start it' && fail "it says: $(cat "$OUT")"
}

start_pool
prepare_pool
expect 20 '[ "$(sql1 "show synchronous_standby_names")" = walferry_dc2_a ]'
expect 30 level
step "the primary's host loses power, dc2 is promoted"
kill_agent 1
kill_postgres 1
failover 2
sql2 "insert into one values (11, 'of the new primary')" >/dev/null
step "the agent of dc1 comes back, hears of it, and is started once more"
start_agent 1
expect 20 '[ "$(field 1 .epoch.number)" = 2 ]'
expect 5 'fenced "walferry rejoin"'
kill_agent 1
start_agent 1
expect 20 'fenced "walferry rejoin"'
[ "$(field 1 .postgres.in_recovery)" = null ] || fail "its PostgreSQL was seen"
step "what is shipped to it is kept, covers nothing, and no commit waits for it"
expect 30 'field 2 .links[0].reason | grep -q "cannot replay"'
expect 20 '[ "$(field 2 .links[0].flushed.behind_bytes)" = 0 ]'
wait_for 4 '[ -n "$(names)" ]' && fail "commits wait for a spool that nobody can replay"
[ "$(field 2 .links[0].flushed.lag_seconds)" = null ] || fail "what is there counts: $(field 2 .links[0].flushed.lag_seconds) s"
[ "$(field 2 .exposure_seconds)" = null ] || fail "exposure is $(field 2 .exposure_seconds) s"
walferry 2 check | grep -q "cannot replay" || fail "check says nothing of it"
step "nobody is told to start it"
walferry 1 status >"$OUT" || fail "status"
unsafe
walferry 1 validate --local >"$OUT"
unsafe
told "leave it down"
walferry 1 check >"$OUT"
[ $? = 2 ] || fail "check is not critical: $(cat "$OUT")"
unsafe

step "the new primary dies, too: a failover to dc1 is refused, with the true reason"
sql2 "create table acknowledged as select generate_series(1, 1000) as n" >/dev/null
kill_agent 2
kill_postgres 2
for option in "" --force --dry-run; do
    walferry 1 failover --yes $option </dev/null >"$OUT" 2>&1 && fail "not refused: $(cat "$OUT")"
    told "refused: dc1-a is fenced"
    told "walferry rejoin"
    unsafe
done
[ "$(field 1 .epoch.number)" = 2 ] || fail "the epoch was changed"

step "standby.signal by hand makes no standby of it"
as touch "$DC1_PGDATA/standby.signal"
wait_for 3 '! fenced "walferry rejoin"' && fail "it is one now: $(field 1 .role), $(field 1 .alarm)"
as rm "$DC1_PGDATA/standby.signal"

step "the new primary is back: dc1 rejoins, and commits wait for it again"
pg2 start || fail "dc2 does not start"
start_agent 2
expect 20 '[ "$(field 2 .links[0].state)" = up ]'
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
follows 1
[ -z "$(field 1 .alarm | grep -v null)" ] || fail "the alarm stays: $(field 1 .alarm)"
expect 30 '[ "$(names)" = walferry_dc1_a ]'
same_sides 2 1
expect 10 '[ "$(field 2 .links[0].reason)" = null ]'
kill_agent 1
start_agent 1
expect 20 '[ "$(field 1 .role)" = standby ] && [ "$(field 1 .postgres.in_recovery)" = true ]'

step "a standby without its standby.signal would open writable: fenced, until it is put back"
pg1 -m fast stop
as rm "$DC1_PGDATA/standby.signal"
expect 10 'fenced "touch .*/standby.signal"'
kill_agent 1
start_agent 1
expect 10 'fenced "touch .*/standby.signal"'
as touch "$DC1_PGDATA/standby.signal"
expect 10 '[ "$(field 1 .role)" = standby ] && [ "$(field 1 .alarm)" = null ]'
pg1 start || fail "dc1 does not start"
follows 1
same_sides 2 1

start_pool
prepare_pool
expect 30 level
step "nothing parts, the new primary dies, and what it had acknowledged is in the spool: rejoin --offline"
kill_postgres 1
walferry 2 failover --yes </dev/null >"$OUT" 2>&1 || fail "failover: $(cat "$OUT")"
told "loss: none"
expect 20 '[ "$(field 1 .epoch.number)" = 2 ] && [ "$(field 2 .links[0].state)" = up ]'
sql2 "create table acknowledged as select generate_series(1, 1000) as n" >/dev/null
expect 20 '[ "$(field 2 .links[0].flushed.behind_bytes)" = 0 ]'
kill_agent 2
kill_postgres 2
rejoin 1 --yes && fail "without the primary and --offline it rejoins"
rejoin 1 --offline --yes || fail "rejoin: $(cat "$OUT")"
told "nothing parted"
expect 20 '[ "$(field 1 .role)" = standby ] && [ "$(field 1 .alarm)" = null ]'
walferry 1 failover --yes </dev/null >"$OUT" 2>&1 || fail "failover: $(cat "$OUT")"
[ "$(sql1 "select count(*) from acknowledged")" = 1000 ] || fail "acknowledged rows are missing"
rm -f "$OUT"
pass

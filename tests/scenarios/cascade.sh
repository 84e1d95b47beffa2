#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The second member of a far site is fed by its head, from the relay there: one copy over the WAN. A head without a
# PostgreSQL goes on; one whose host is gone is replaced; one that comes back does not take the place.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
BEFORE_DOWN='rm -f "$OUT"; [ -z "${LOAD_PID:-}" ] || kill "$LOAD_PID" 2>/dev/null'
is() { walferry 1 route | grep -qE "^  $1: $2"; }                 # MEMBER REGEX
fed_by() { [ "$(field "$1" '.receiving | .state + " " + .from')" = "up $2" ]; } # N MEMBER
wan() { "$ROOT/conf/demo.sh" bytes | awk -v from="$1" -v to="$2" '$1 == from && $2 == to { print $3 }'; }
restart_lsn() { sql1 "select restart_lsn - '0/0' from pg_replication_slots where slot_name = '$1'"; }
write() { sql "$1" "insert into t select n, md5(random()::text) from generate_series(1, ${2:-1000}) n" >/dev/null; } # PRIMARY [ROWS]
# Every row that was written before the moment that N says to show is there, but for one that waits for its commit.
honest() { # N
    local before lag until there
    before=$(date +%s.%N)
    lag=$(field "$1" .receiving.applied.lag_seconds)
    [ "$lag" != null ] || fail "dc$1 does not know its lag"
    until=$(echo "$before - $lag - 0.3" | bc)
    there=$(sql "$1" "select count(*) from clock where at <= to_timestamp($until)")
    [ "$there" -ge "$(sql1 "select count(*) from clock where at <= to_timestamp($until)")" ] || fail "dc$1 says that it lags $lag s, and lacks rows of before $until"
}

start_pool --members 4
sql1 "create extension amcheck; create table t (n int, x text); create table clock (at timestamptz)" >/dev/null
fill 1

step "the head of dc2 feeds the other member there"
expect 40 'is dc2-a "from dc1-a, as the head of dc2 since"'
expect 40 'is dc2-b "from dc2-a, which is the head of dc2 since"'
expect 20 'fed_by 4 dc2-a'
for n in 2 3 4; do expect 60 "level $n"; done
fed_by 2 dc1-a && fed_by 3 dc1-a || fail "dc2-a and dc1-b are not fed by the primary"
wait_for 60 'walferry 1 check >"$OUT" 2>&1' || fail "the pool is healthy: $(cat "$OUT")"
walferry 1 sync --timeout 30s >"$OUT" 2>&1 || fail "the pool is healthy: $(cat "$OUT")"

step "one copy goes over the WAN"
direct=$(wan dc1-a dc2-b) through=$(wan dc1-a dc2-a)
at=$(sql1 "select pg_current_wal_flush_lsn()")
write 1 200000
wal=$(sql1 "select pg_current_wal_flush_lsn() - '$at'::pg_lsn")
for n in 2 4; do expect 60 "level $n"; done
[ $(($(wan dc1-a dc2-b) - direct)) -lt $((wal / 20)) ] || fail "$(($(wan dc1-a dc2-b) - direct)) bytes went to dc2-b for $wal of WAL"
[ $(($(wan dc1-a dc2-a) - through)) -gt $((wal / 20)) ] || fail "hardly anything went to dc2-a"
echo "# $wal bytes of WAL: to dc2-a $(($(wan dc1-a dc2-a) - through)), to dc2-b $(($(wan dc1-a dc2-b) - direct))"
same_segments 4

step "the primary's slot of the fed member moves on"
before=$(restart_lsn walferry_dc2_b)
write 1 200000
sql1 "select pg_switch_wal()" >/dev/null
expect 30 '[ "$(restart_lsn walferry_dc2_b)" -gt "$before" ]'

step "its lag at the end of two hops is no better than the truth"
as "$PGBIN/psql" -XAtq "$DC1_PG dbname=postgres" >/dev/null 2>&1 <<<"do \$\$ begin for i in 1..600 loop insert into clock values (clock_timestamp()); commit; perform pg_sleep(0.05); end loop; end \$\$" &
CLOCK=$!
expect 10 '[ "$(field 4 ".receiving.applied.lag_seconds < 2")" = true ]'
for _ in $(seq 20); do honest 4; honest 2; done
demo cut dc1 dc2
sleep 3
for _ in $(seq 5); do honest 4; done
[ "$(field 4 '.receiving.flushed.lag_seconds > 2')" = true ] || fail "behind a line that is cut dc2-b lags $(field 4 .receiving.flushed.lag_seconds)"
demo heal
expect 30 '[ "$(field 4 ".receiving.flushed.lag_seconds < 2")" = true ]'

step "the head's PostgreSQL is stopped: dc2-b gets rows"
expect 30 'fed_by 4 dc2-a'
pg 2 -m fast stop || fail "it does not stop"
write 1
expect 20 'level 4'
fed_by 4 dc2-a || fail "dc2-b is fed by $(field 4 .receiving.from)"
pg 2 start || fail "it does not start"
expect 60 'level 2'

step "the head's host is killed under load: the primary feeds dc2-b within 12 s"
load 60
sleep 2
demo kill dc2-a
began=$(date +%s%N)
expect 20 'fed_by 4 dc1-a'
took=$((($(date +%s%N) - began) / 1000000))
echo "# fed by the primary after $took ms"
[ $took -le 12500 ] || fail "it took $took ms"
expect 5 'is dc2-b "from dc1-a, as the head of dc2 since .*: the one before was silent"'
sql1 "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgbench'" >/dev/null
end_load
LOAD_PID=
expect 60 'level 4'

step "the old head comes back and does not take its place"
demo revive dc2-a
expect 60 'is dc2-a "from dc2-b, which is the head of dc2 since"'
expect 30 'fed_by 2 dc2-b'
expect 60 'level 2'
fed_by 4 dc1-a || fail "dc2-b is fed by $(field 4 .receiving.from)"
wait "$CLOCK" || true # it writes until then
for n in 2 3 4; do same_rows $n; done

step "a failover to the fed member: refused while the primary answers; with its server dead nothing is lost"
walferry 2 failover --yes </dev/null >"$OUT" 2>&1 && fail "the primary answers: $(cat "$OUT")"
grep -qE "^refused( by dc|: the primary dc1-a answers)" "$OUT" || fail "not refused for that: $(cat "$OUT")"
expect 30 'fed_by 2 dc2-b'
write 1
rows=$(sql1 "select count(*) from t")
kill_postgres 1
walferry 2 failover --yes </dev/null >"$OUT" 2>&1 || fail "failover: $(cat "$OUT")"
grep -q "loss: none" "$OUT" || fail "something is lost: $(cat "$OUT")"
[ "$(sql 2 "select count(*) from t")" = "$rows" ] || fail "rows are missing"
write 2
for n in 3 4; do expect 60 "level $n 2"; done
expect 20 '[ "$(field 1 .role)" = fenced ]'
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
for n in 1 3 4; do expect 60 "level $n 2"; done

step "... and one to the head of the other site"
demo kill dc2-a
walferry 1 failover --yes --dead </dev/null >"$OUT" 2>&1 || fail "failover: $(cat "$OUT")"
write 1
for n in 3 4; do expect 60 "level $n 1"; done
demo revive dc2-a --agent
expect 20 '[ "$(field 2 .role)" = fenced ]'
rejoin 2 --yes || fail "rejoin: $(cat "$OUT")"
for n in 2 3 4; do same_rows $n 1; done
sound
pass

#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A failover waits for its standby; somebody promotes that by hand and writes: the failover must not
# call that done. It can be reclaimed, and what was acknowledged and is missing is told by exit code,
# receipt and alarm, and kept.
export DEMO_MEMBER_CONF='keep = 0s'
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"

start_pool
prepare_pool
fill 1
expect 30 level
step "the standby's PostgreSQL reads from the relay no more; 50,000 rows are acknowledged by the spool"
sql2 "alter system set primary_conninfo = 'host=/nonexistent'" >/dev/null
sql2 "alter system set restore_command = 'false'" >/dev/null
sql2 "select pg_reload_conf()" >/dev/null
expect 20 '[ "$(field 2 .receiving.standby_connected)" = false ]'
sql1 "create table acknowledged as select generate_series(1, 50000) n" >/dev/null
sql1 "select pg_switch_wal()" >/dev/null
sql1 "insert into acknowledged select generate_series(1, 50000)" >/dev/null
walferry 1 sync >/dev/null || fail "sync"
ends=$(field 2 .spool.flushed)
names=$(ls "$DC2_SPOOL" | grep -E '^00000001.{16}(\.partial)?$' | tail -2) # one is whole
kept() { as sh -c 'cd "$1" && shift && cksum "$@"' sh "$DC2_SPOOL" $names; }
kept >"$WALFERRY_DEMO/kept"
kill_agent 1
kill_postgres 1

step "the failover waits until all is flushed; pg_promote by hand, and writes"
walferry 2 failover --yes </dev/null >"$OUT" 2>&1 &
command=$!
expect 30 'grep -q "waiting until the PostgreSQL of dc2-a has flushed" "$OUT"'
[ "$(sql2 "select pg_promote()")" = t ] || fail "pg_promote"
sql2 "create table by_hand as select generate_series(1, 500000) n" >/dev/null
wait $command
code=$?
[ -z "$(sql2 "select to_regclass('acknowledged')")" ] || fail "nothing is lost: nothing is tested"
[ $code = 1 ] || fail "exit $code: $(cat "$OUT")"
told "refused: dc2-a is fenced"
told "walferry failover --reclaim"
[ "$(field 2 .epoch.number)" = 1 ] || fail "an epoch was spent"
kept | cmp -s - "$WALFERRY_DEMO/kept" || fail "acknowledged WAL is gone"
step "the DBA makes it the primary all the same"
walferry 2 failover --reclaim --yes </dev/null >"$OUT" 2>&1
code=$?
[ $code = 3 ] || fail "exit $code: $(cat "$OUT")"
told "NOT COMPLETE: acknowledged WAL is missing: up to $ends"
step "receipt, status, check, event; and it is the primary all the same"
walferry 2 lost >"$OUT" 2>/dev/null
told "ACKNOWLEDGED AND MISSING: WAL of timeline 1 from .* to $ends, kept in $DC2_SPOOL"
walferry 2 status >"$OUT"
told "ALARM: acknowledged WAL is missing"
walferry 2 check >"$OUT"
[ $? = 2 ] && told "CRITICAL.*acknowledged WAL is missing" || fail "check: $(cat "$OUT")"
expect 10 'walferry 2 events | grep -q "WF020.*raised"'
[ "$(field 2 .role)" = primary ] && [ "$(curl -s -o /dev/null -w '%{http_code}' "http://$DC2_HTTP/primary")" = 200 ] || fail "it is no primary"

step "it is kept, also over a restart of the agent and much new WAL"
for round in 1 2 3; do sql2 "insert into by_hand select generate_series(1, 200000); select pg_switch_wal(); checkpoint" >/dev/null; done
kill_agent 2
start_agent 2
expect 20 '[ "$(field 2 .postgres.state)" = up ]'
expect 5 'field 2 .missing | grep -q "$ends"'
wait_for 3 '! kept | cmp -s - "$WALFERRY_DEMO/kept"' && fail "acknowledged WAL is gone: $(kept | diff - "$WALFERRY_DEMO/kept")"

step "the former primary comes back: its list has the rows"
pg1 -m fast stop
start_agent 1
expect 30 '[ "$(field 1 .epoch.number)" = 2 ]'
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
follows 1
walferry 2 lost --json 2>/dev/null | jq -e 'map(select(.missing and .exact)) | length == 1' >/dev/null || fail "the receipts do not belong together: $(walferry 2 lost --json)"
same_sides 2 1

step "given up: the alarm ends"
walferry 2 lost --discard </dev/null >"$OUT" 2>&1
[ $? = 2 ] || fail "it does not ask"
walferry 2 lost --discard --yes >"$OUT" 2>&1 || fail "lost --discard: $(cat "$OUT")"
expect 10 '[ "$(field 2 .missing)" = null ]'
expect 10 '! walferry 2 check | grep -q missing'
walferry 2 lost --discard --yes >"$OUT" 2>&1 && fail "there is nothing to give up"
rm -f "$OUT"
pass

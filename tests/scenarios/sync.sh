#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# walferry sync: on either side it ends when, and only when, what was committed before is on the other
# site; also for what a dead server left; at the deadline it says what is missing.
. "$(dirname "$0")/lib.sh"
start_pool
expect 30 level
sql1 "create table t (n int)" >/dev/null

step "what is committed before is durable, and applied, after"
for round in 1 2 3 4 5; do
    sql1 "insert into t select generate_series(1, 20000)" >/dev/null
    now=$(sql1 "select pg_current_wal_flush_lsn()")
    walferry 1 sync >/dev/null || fail "sync failed"
    [ "$(sql1 "select '$(field 1 '.links[0].flushed.lsn')'::pg_lsn >= '$now'")" = t ] || fail "not durable"
    sql1 "insert into t values ($round)" >/dev/null
    walferry $((round % 2 + 1)) sync --applied >/dev/null || fail "sync --applied failed"
    [ "$(sql2 "select count(*) from t")" = $((round * 20001)) ] || fail "not applied"
done
walferry 1 sync dc2-a >/dev/null || fail "a member by name"
walferry 1 sync dc1-a >/dev/null 2>&1 && fail "a member that nothing is shipped to"
walferry 2 sync dc2-a >/dev/null || fail "this member by name"
walferry 2 sync dc1-a --timeout 1s >/dev/null 2>&1
[ $? = 1 ] || fail "a standby waits for a member that it ships nothing to"
for n in 1 2; do
    out=$(walferry $n sync nobody --timeout 1s 2>&1)
    [ $? = 2 ] && grep -q "has no member nobody" <<<"$out" || fail "an unknown member: $out"
done
walferry 1 sync --timeout soon >/dev/null 2>&1
[ $? = 2 ] || fail "a wrong duration"

step "nothing is applied: durable all the same"
sql2 "select pg_wal_replay_pause()" >/dev/null
sql1 "insert into t values (0)" >/dev/null
walferry 1 sync >/dev/null || fail "sync needs the standby"
out=$(walferry 1 sync --applied --timeout 2s 2>&1) && fail "applied, they say: $out"
sql2 "select pg_wal_replay_resume()" >/dev/null

step "the line is cut: the deadline, and why"
demo cut
for n in 1 2; do
    out=$(walferry $n sync --timeout 3s 2>&1)
    [ $? = 1 ] || fail "exit code: $out"
    echo "$out" | grep -q "not everything of before is durable" || fail "$out"
    echo "$out" | grep -q "^dc2-a: .* behind, as of " || fail "no progress: $out"
done
sql1 "insert into t values (1)" >/dev/null
walferry 1 sync --timeout 60s >"$WALFERRY_DEMO/sync.out" 2>&1 &
demo heal
wait $! || fail "sync over a healed line: $(cat "$WALFERRY_DEMO/sync.out")"

step "the primary's PostgreSQL was killed: what it left is shipped"
walferry 1 set rate_limit=200kB >/dev/null
sql1 "insert into t select generate_series(1, 100000)" >/dev/null
now=$(sql1 "select pg_current_wal_flush_lsn()")
pg1 -m immediate stop
walferry 1 set rate_limit=none >/dev/null
walferry 1 sync >"$WALFERRY_DEMO/sync.out" 2>&1 || fail "$(cat "$WALFERRY_DEMO/sync.out")"
grep -q "is down: what it left" "$WALFERRY_DEMO/sync.out" || fail "$(cat "$WALFERRY_DEMO/sync.out")"
[ "$(sql2 "select '$(field 2 '.spool.flushed')'::pg_lsn >= '$now'")" = t ] || fail "the rest is not there"

for then in "demo heal" "pg1 start; demo heal"; do
    step "... while the line was cut; then: $then"
    pg1 start
    expect 30 level
    demo cut
    sql1 "insert into t select generate_series(1, 1000)" >/dev/null
    now=$(sql1 "select pg_current_wal_flush_lsn()")
    pg1 -m immediate stop
    expect 20 '[ "$(field 1 ".links[0].state")" != up ]'
    walferry 1 sync --timeout 30s >"$WALFERRY_DEMO/sync.out" 2>&1 &
    expect 20 'grep -q "is down: what it left" "$WALFERRY_DEMO/sync.out"'
    eval "$then"
    wait $! || fail "$(cat "$WALFERRY_DEMO/sync.out")"
    [ "$(sql2 "select '$(field 2 '.spool.flushed')'::pg_lsn >= '$now'")" = t ] || fail "the rest is not there"
done
pass

#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A failover whose agent is killed when PostgreSQL is promoted already: it finishes alone, and the
# same command says that it is done. A receipt that could not be written is there later.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"

start_pool
prepare_pool
expect 30 level
step "the agent is killed between the promotion and its last line"
kill_agent 2
agent_that_dies 2 6 # five steps of the journal, then its end
expect 20 '[ "$(field 2 ".receiving.state, .postgres.state" | paste -sd,)" = up,up ]'
expect 20 '[ "$(field 2 .loss.kind)" != unknown ]' # the new session has compared
kill_agent 1
kill_postgres 1
pid=$(agent_pid 2)
as touch "$DC2_SPOOL/lost" # no receipt can be written
walferry 2 failover --yes --force </dev/null >"$OUT" 2>&1 && fail "it is not killed: $(cat "$OUT")"
expect 10 "gone $pid"
[ "$(jq .step "$DC2_SPOOL/pool.state")" = 5 ] || fail "killed at another step: $(cat "$DC2_SPOOL/pool.state")"
[ "$(sql2 "select pg_is_in_recovery()")" = f ] || fail "dc2 is not promoted"
as rm "$DC2_SPOOL/lost"
step "the next agent finishes, nobody types anything"
start_agent 2
expect 20 '[ "$(field 2 .role)" = primary ]'
[ "$(field 2 .failover_step)" = 0 ] && [ "$(field 2 .alarm)" = null ] || fail "it is not done: $(field 2 '.failover_step, .alarm')"
[ "$(field 2 .epoch.timeline)" = 2 ] && [ "$(field 2 .epoch.fork)" != null ] || fail "the fork is not known: $(field 2 .epoch)"
says 2 "done: dc2-a is the primary of epoch 2" || fail "its log does not say so"
step "its receipt is there, once"
walferry 2 lost --json 2>/dev/null >"$OUT"
[ "$(jq 'length' "$OUT")" = 1 ] && [ "$(jq -r '.[0] | "\(.epoch) \(.primary) \(.former)"' "$OUT")" = "2 dc2-a dc1-a" ] ||
    fail "receipts: $(cat "$OUT")"
jq -r '.[0].at_most' "$OUT" | grep -q 'at most what was committed' || fail "it does not say what was lost at most: $(cat "$OUT")"
jq -e ".[0].at_most_since_us / 1e6 | . <= $(date +%s) and . > $(date +%s) - 300" "$OUT" >/dev/null || fail "nor since when: $(cat "$OUT")"
kill_agent 2
start_agent 2
expect 20 '[ "$(field 2 .role)" = primary ] && [ "$(field 2 .postgres.state)" = up ]'
[ "$(as sh -c 'ls "$1"/lost/*.json | wc -l' sh "$DC2_SPOOL")" = 1 ] || fail "there are more: $(as ls "$DC2_SPOOL/lost")"
step "the same command: done already"
for option in --yes "--yes --force" --dry-run; do
    walferry 2 failover $option </dev/null >"$OUT" 2>&1 || fail "it exits $?: $(cat "$OUT")"
    told "done already: dc2-a is the primary of epoch 2"
done
[ "$(field 2 .epoch.number)" = 2 ] || fail "another epoch was made"
sql2 "insert into one values (11, 'after it')" >/dev/null
step "the former primary rejoins"
pg1 start && start_agent 1
expect 20 '[ "$(field 1 .role)" = fenced ]'
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
follows 1
same_sides 2 1

start_pool
prepare_pool
expect 30 level
step "PostgreSQL is killed in the middle of its promotion, standby.signal is gone: it comes back as the former primary"
kill_agent 2
agent_that_dies 2 5
expect 20 '[ "$(field 2 ".receiving.state, .postgres.state" | paste -sd,)" = up,up ]'
kill_agent 1
sql1 "insert into one values (12, 'only there')" >/dev/null
kill_postgres 1
pid=$(agent_pid 2)
walferry 2 failover --yes --force </dev/null >"$OUT" 2>&1 && fail "it is not killed: $(cat "$OUT")"
expect 10 "gone $pid"
pg2 -m immediate stop
as rm "$DC2_PGDATA/standby.signal"
start_agent 2
told_before_a_start() {
    expect 20 'field 2 .alarm | grep -q "Before it is started: touch $DC2_PGDATA/standby.signal"'
    walferry 2 failover --yes </dev/null >"$OUT" 2>&1 && fail "it is called done: $(cat "$OUT")"
    told "refused: .*Before it is started: touch $DC2_PGDATA/standby.signal"
    ! grep -q "pg_ctl" "$OUT" || fail "told to start it as it is: $(cat "$OUT")"
}
told_before_a_start
step "started all the same"
pg2 start || fail "PostgreSQL of dc2 does not start"
sql2 "select pg_walfile_name(pg_current_wal_insert_lsn())" | grep -q ^00000001 || fail "it has a new timeline"
expect 20 'field 2 .alarm | grep -q "takes writes on timeline 1, as the former primary did"'
[ "$(curl -s -m 5 -o /dev/null -w '%{http_code}' "http://$DC2_HTTP/primary")" = 503 ] || fail "clients are sent to it"
walferry 2 failover --yes </dev/null >"$OUT" 2>&1 && fail "it is called done: $(cat "$OUT")"
told "refused: PostgreSQL here takes writes on timeline 1.*touch $DC2_PGDATA/standby.signal"
step "stopped, and nothing else: told as before"
pg2 -m fast stop
told_before_a_start
step "done as told"
as touch "$DC2_PGDATA/standby.signal"
pg2 start || fail "PostgreSQL of dc2 does not start as a standby"
walferry 2 failover --yes </dev/null >"$OUT" 2>&1 || fail "failover: $(cat "$OUT")"
told "done: dc2-a is the primary of epoch 2, timeline 2"
sql2 "insert into one values (13, 'after it')" >/dev/null
step "the former primary has other bytes before that fork: a rejoin sees it"
pg1 start && start_agent 1
expect 20 '[ "$(field 1 .role)" = fenced ]'
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
told "differs from before the point where their timelines part: it cannot be rewound; a new copy is made instead"
follows 1
same_sides 2 1

start_pool
expect 30 level
walferry 1 failover --yes </dev/null >"$OUT" 2>&1 && fail "a failover on the first primary is done"
told "is a primary already"
rm -f "$OUT"
pass

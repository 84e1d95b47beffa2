#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The primary's host is gone, and two DBAs type failover on two standbys at once: promises decide, one takes over,
# the other one is refused by name and follows it. Again and again, with each of the four as the primary.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
BEFORE_DOWN='rm -f "$OUT" "$OUT".?'
long && rounds=12 || rounds=3
type_failover() { walferry "$1" failover --yes --dead </dev/null >"$OUT.$1" 2>&1; } # N
others() { members | grep -v "$1"; } # PRIMARY

start_pool --members 4
sql1 "create table t (n int)" >/dev/null
primary=1
for round in $(seq $rounds); do
    step "round $round, the primary is dc$primary"
    for n in $(others $primary); do expect 90 "level $n $primary"; done
    sql $primary "insert into t values ($round)" >/dev/null
    for n in $(others $primary); do expect 30 "level $n $primary"; done
    epoch=$(field $primary .epoch.number)
    kill -STOP "$(agent_pid $primary)" # a row that no other member has
    sql $primary "insert into t values (100 + $round)" >/dev/null
    demo kill "$(its $primary MEMBER)"
    read -r one two _ < <(others $primary | shuf --random-source=<(yes $SEED$round) | paste -sd' ')
    type_failover $one & first=$!
    type_failover $two & second=$!
    wait $first; first=$?
    wait $second; second=$?
    case "$first $second" in
    "0 1") winner=$one loser=$two ;;
    "1 0") winner=$two loser=$one ;;
    *) fail "not one took over: $first, $second: $(cat "$OUT.$one" "$OUT.$two")" ;;
    esac
    grep -q "refused.*$(its $winner MEMBER)" "$OUT.$loser" || fail "the winner is not named: $(cat "$OUT.$loser")"
    [ "$(field $winner '.role + " " + (.epoch.number | tostring)')" = "primary $((epoch + 1))" ] || fail "it is $(field $winner .role)"
    [ "$(sql $winner "select max(n) from t")" = $round ] || fail "a row that was durable on the other site is missing"
    for n in $(others $primary | grep -v $winner); do expect 60 "[ \"\$(field $n .epoch.member)\" = $(its $winner MEMBER) ] && level $n $winner"; done
    demo revive "$(its $primary MEMBER)" --agent
    expect 20 "[ \"\$(field $primary .role)\" = fenced ]"
    rejoin $primary --yes || fail "rejoin: $(cat "$OUT")"
    grep -q "lost: exactly [1-9]" "$OUT" || fail "no transaction is lost: $(cat "$OUT")"
    primary=$winner
done
pass

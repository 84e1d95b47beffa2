#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The primary is restored to an older state on the same timeline: the standby's side has WAL that it
# lacks, and nothing that it commits now. Both sides say so at once, and exposure is never better than
# the moment of the restore; then the newer state is put back, and then the older one is gone on with.
. "$(dirname "$0")/lib.sh"
now() { date +%s%3N; }
rows() { sql1 "insert into t select n, md5(random()::text) from generate_series(1, $1) n" >/dev/null; }
event() { field "$1" '.events[].id' | grep -q WF021; } # N
near() { [ "$(field "$1" '.exposure_seconds // 99 | . < 2')" = true ]; } # N
copy() { pg1 -m fast stop && as cp -a "$DATA" "$1" && pg1 start || fail "no copy"; } # DIRECTORY
restore() { # DIRECTORY: it becomes the primary's, what was there is kept in $GOOD
    expect 30 'level && near 1 && near 2'
    pg1 -m immediate stop || fail "it does not stop"
    SINCE=$(now)
    as mv "$DATA" "$GOOD"
    as cp -a "$1" "$DATA"
    pg1 start || fail "it does not start"
}
right_again() {
    pg1 -m immediate stop || fail "it does not stop"
    as rm -rf "$DATA"
    as mv "$GOOD" "$DATA"
    pg1 start || fail "it does not start"
}
goes_on() {
    expect 60 'near 1 && near 2'
    expect 20 '! event 1 && ! event 2'
    expect 10 '[ "$(field 1 ".links[0] | .state, .reason, .source_reason" | tr "\n" " ")" = "up null null " ]'
    same_rows
}

# Nothing that was committed since $SINCE is on the other site.
honest() { # N
    local old exposure
    old=$(($(now) - SINCE))
    exposure=$(field "$1" '.exposure_seconds, (.links[0]? // .receiving).flushed.lag_seconds' | sort -u)
    for exposure in $exposure; do
        [ "$exposure" = null ] || awk "BEGIN { exit !($exposure * 1000 >= $old) }" ||
            fail "member $1: exposure is $exposure s, the primary was restored $old ms ago"
    done
}
nothing_is_covered() { # SECONDS
    local until=$((SECONDS + $1)) n
    while [ $SECONDS -lt $until ]; do
        honest 1
        honest 2
    done
    for n in 1 2; do
        [ "$(field $n '(.links[0]? // .receiving).flushed.behind_bytes')" = null ] || fail "member $n knows how many bytes are missing: $(status $n)"
        [ "$(field $n '(.links[0]? // .receiving).shipping.state')" = error ] || fail "member $n: $(status $n)"
    done
    [ "$(field 1 .links[0].flushed.lsn)" = null ] || fail "that position is of other WAL: $(status 1)"
    walferry 1 sync --timeout 1s >/dev/null 2>&1 && fail "sync says that all is durable"
}
told_at_once() {
    for n in 1 2; do
        expect 5 "event $n"
        expect 5 "field $n '(.links[0]? // .receiving) | .source_reason, .reason' | grep -q 'restored .* an older state'"
        walferry $n check >/tmp/wf-$$.check
        [ $? = 2 ] || fail "check on dc$n: $(cat /tmp/wf-$$.check)"
    done
    rm -f /tmp/wf-$$.check
}

export DEMO_SEGMENT_MB=1
start_pool
DATA=$DC1_PGDATA COLD=$DC1_PGDATA.cold GOOD=$DC1_PGDATA.good
sql1 "create table t (n int, x text)" >/dev/null
rows 1000
expect 30 level

step "restored by some segments, and idle"
copy "$COLD"
rows 60000
restore "$COLD"
told_at_once
nothing_is_covered 8
step "what a failover would lose is not told as less"
walferry 2 failover --dry-run --force </dev/null >/tmp/wf-$$.out 2>&1
grep -q 'restored to an older state' /tmp/wf-$$.out || fail "$(cat /tmp/wf-$$.out)"
grep -qE 'last 0?[0-4](\.[0-9]+)? s|last [0-9.]+ ms' /tmp/wf-$$.out && fail "$(cat /tmp/wf-$$.out)"
rm -f /tmp/wf-$$.out
step "it commits"
sql1 "create table mine (n int)" >/dev/null
nothing_is_covered 3
step "the agent of the primary begins anew"
kill_agent 1
start_agent 1
expect 15 '[ "$(field 1 .links[0].state)" = up ]'
told_at_once
honest 1
honest 2
step "the newer state is put back"
right_again
goes_on

step "restored by less than a segment"
sql1 "select pg_switch_wal()" >/dev/null
as rm -rf "$COLD"
copy "$COLD"
rows 10
restore "$COLD"
told_at_once
for round in 1 2 3 4 5 6 7 8 9 10; do honest 1; honest 2; done
step "the older state is gone on with: a new copy of the standby"
sql1 "create table mine (n int)" >/dev/null
walferry 2 seed --replace --yes </dev/null >/tmp/wf-$$.out 2>&1 && fail "a copy of the older state beside WAL of the newer one"
grep -q 'restored to an older state.*with --discard' /tmp/wf-$$.out || fail "$(cat /tmp/wf-$$.out)"
walferry 2 seed --replace --discard --yes </dev/null >/tmp/wf-$$.out 2>&1 || fail "seed: $(cat /tmp/wf-$$.out)"
rm -f /tmp/wf-$$.out
goes_on
[ "$(sql2 "select to_regclass('mine')")" = mine ] || fail "the new copy lacks it"
pass

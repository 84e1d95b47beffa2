#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A former primary comes back promoted on a timeline of its own. Both sides see the conflict, no
# client is sent to either, and a DBA's word ends it, on whichever host it is typed.
. "$(dirname "$0")/lib.sh"
code() { curl -s -m 5 -o /dev/null -w '%{http_code}' "http://$([ "$1" = 1 ] && echo "$DC1_HTTP" || echo "$DC2_HTTP")/primary"; } # N
resolve() { walferry "$1" resolve --primary "$2" "${@:3}" </dev/null >"/tmp/wf-$$.said" 2>&1; } # N MEMBER [OPTION]
told() { grep -q "$1" "/tmp/wf-$$.said" || fail "'$1' is not said: $(cat "/tmp/wf-$$.said")"; }
has_conflict() { field "$1" .alarm | grep -q "two primaries: .* of epoch .*walferry resolve --primary"; } # N
BEFORE_DOWN='rm -f "/tmp/wf-$$.said"'

divide() { # both sides are promoted on a timeline 2 of their own, and meet
    start_pool
    sql1 "create table t (n int)" >/dev/null
    expect 30 level
    step "the line is cut, dc2 is promoted, and dc1 on a timeline of its own"
    demo cut
    walferry 2 failover --yes </dev/null >"/tmp/wf-$$.said" 2>&1 || fail "failover: $(cat "/tmp/wf-$$.said")"
    sql1 "insert into t values (1)" >/dev/null
    sql2 "insert into t values (2)" >/dev/null
    pg1 -m fast stop
    as touch "$DC1_PGDATA/standby.signal"
    pg1 start || fail "dc1 does not start as a standby"
    pg1 promote || fail "dc1 is not promoted"
    for n in 1 2; do expect 20 "[ \"\$(field $n .timeline)\" = 2 ]"; done
    [ "$(field 1 .epoch.number) $(field 2 .epoch.number)" = "1 2" ] || fail "the epochs: $(field 1 .epoch) $(field 2 .epoch)"
    step "they meet: a conflict on both sides"
    demo heal
    expect 12 'has_conflict 1 || has_conflict 2' # both may just have begun to wait
    expect 3 'has_conflict 1 && has_conflict 2'
    [ "$(code 1) $(code 2)" = "503 503" ] || fail "/primary: $(code 1) $(code 2)"
    sql1 "insert into t values (11)" >/dev/null && sql2 "insert into t values (12)" >/dev/null || fail "a PostgreSQL was stopped"
}

# Both are promoted at one position: the same timeline and history, other bytes.
divide_alike() {
    start_pool
    sql1 "create table t (n int)" >/dev/null
    expect 30 level
    step "dc1 stops in order, dc2 is promoted where it ended, and then dc1, too"
    pg1 -m fast stop
    demo cut
    walferry 2 failover --yes </dev/null >"/tmp/wf-$$.said" 2>&1 || fail "failover: $(cat "/tmp/wf-$$.said")"
    sql2 "insert into t values (2)" >/dev/null
    as touch "$DC1_PGDATA/standby.signal"
    pg1 start && pg1 promote || fail "dc1 is not promoted"
    sql1 "insert into t values (1)" >/dev/null
    as cmp "$DC1_PGDATA/pg_wal/00000002.history" "$DC2_PGDATA/pg_wal/00000002.history" || fail "two histories"
    sees_writable 1
    demo heal
    expect 20 'has_conflict 1 && has_conflict 2'
}

divide
step "it wants consent, and one of the two"
resolve 1 dc2-a
[ $? = 2 ] || fail "it does not ask"
resolve 1 dc3-a --yes
[ $? = 2 ] || fail "dc3-a is a member"
has_conflict 1 && has_conflict 2 || fail "the conflict is over"
step "told on the host of the one that yields"
resolve 1 dc2-a --yes || fail "resolve: $(cat "/tmp/wf-$$.said")"
told "epoch 3: dc2-a is the primary"
expect 15 '[ "$(field 2 .role) $(field 2 .epoch.number) $(code 2)" = "primary 3 200" ]'
expect 15 '[ "$(field 1 .role) $(field 1 .epoch.number) $(code 1)" = "fenced 3 503" ]'
resolve 2 dc2-a --yes && resolve 1 dc2-a --yes || fail "resolve again: $(cat "/tmp/wf-$$.said")"
told "done already: dc2-a is the primary of epoch 3"
resolve 2 dc1-a --yes && fail "there is a conflict still"
told "there is no conflict here: dc2-a is the primary of epoch 3"
step "the other one comes back as a standby"
walferry 1 rejoin --yes --replace </dev/null >"/tmp/wf-$$.said" 2>&1 || fail "rejoin: $(cat "/tmp/wf-$$.said")"
expect 60 '[ "$(field 1 .role)" = standby ] && [ "$(sql1 "select string_agg(n::text, '"' '"' order by n) from t")" = "2 12" ]'
expect 15 '[ "$(code 2)" = 200 ]'

divide
step "the agents are started again: the conflict is there again"
for n in 1 2; do kill_agent $n TERM; done
for n in 1 2; do start_agent $n; done
expect 20 'has_conflict 1 && has_conflict 2'
[ "$(code 1) $(code 2)" = "503 503" ] || fail "/primary: $(code 1) $(code 2)"
step "told on the host of the one that yields, in favour of the lower epoch"
resolve 2 dc1-a --yes || fail "resolve: $(cat "/tmp/wf-$$.said")"
expect 15 '[ "$(field 1 .role) $(field 1 .epoch.number) $(code 1)" = "primary 3 200" ]'
expect 15 '[ "$(field 2 .role) $(field 2 .epoch.number) $(code 2)" = "fenced 3 503" ]'

divide_alike
step "the one that yields gets standby.signal by hand: it is no standby"
resolve 2 dc2-a --yes || fail "resolve: $(cat "/tmp/wf-$$.said")"
expect 15 '[ "$(field 1 .role)" = fenced ]'
pg1 -m fast stop
kill_agent 1
as touch "$DC1_PGDATA/standby.signal"
start_agent 1
expect 10 'field 1 .alarm | grep -q "walferry rejoin"'
walferry 1 rejoin --dry-run >"/tmp/wf-$$.said" 2>&1 || fail "rejoin --dry-run: $(cat "/tmp/wf-$$.said")"
told "parted from dc2-a, the primary of epoch 3, on timeline 2 at 0/"
told "two timelines of one number, 2: it cannot be rewound; a new copy is made instead"
pg1 start
expect 10 'field 1 .alarm | grep -q "standby.signal does not undo them"'
[ "$(field 1 .role)" = fenced ] || fail "it is $(field 1 .role)"
step "rejoin makes a copy, though it may have got the primary's WAL over its own by now"
walferry 1 rejoin --yes </dev/null >"/tmp/wf-$$.said" 2>&1 || fail "rejoin: $(cat "/tmp/wf-$$.said")"
told "two timelines of one number, 2: it cannot be rewound; a new copy is made instead"
told "lost: exactly 1 transaction\|lost: what, is not known: the WAL that would tell it was overwritten"
expect 60 '[ "$(field 1 .role)" = standby ] && [ "$(field 1 .alarm)" = null ]'
expect 20 '[ "$(sql1 "select string_agg(n::text, '"' '"' order by n) from t")" = 2 ]'
step "rejoin of a standby whose bytes are the primary's"
walferry 1 rejoin --yes </dev/null >"/tmp/wf-$$.said" 2>&1 && fail "rejoin: $(cat "/tmp/wf-$$.said")"
told "has not parted"
pass

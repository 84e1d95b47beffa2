#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Four members: each knows where all of them stand, how old that is and what is wrong there, as long as there is any
# way to it. Who has no link of WAL to another keeps a quiet session with it, which costs next to nothing; over it a
# role change is known at once.
. "$(dirname "$0")/lib.sh"
of() { field "$1" ".members[] | select(.name == \"$2\") | .$3"; } # N MEMBER FIELD
heard() { [ "$(field "$1" '[.members[] | select(.heard_seconds_ago != null and .heard_seconds_ago < 3)] | length')" = 4 ]; } # N
# N sees all four, where they are: on disk and applied as PRIMARY has written
right() { # N PRIMARY
    local at=$AT m
    heard "$1" || return 1
    for m in $(members); do
        sql "$2" "select '$at' <= least('$(of "$1" "$(its "$m" MEMBER)" flushed)', '$(of "$1" "$(its "$m" MEMBER)" applied)')::pg_lsn" | grep -q t || return 1
    done
}
write() { sql "$1" "insert into t select n, md5(random()::text) from generate_series(1, 1000) n" >/dev/null; AT=$(sql "$1" "select pg_current_wal_flush_lsn()"); }
wan() { "$ROOT/conf/demo.sh" bytes | awk -v from="$1" -v to="$2" '$1 == from && $2 == to || $1 == to && $2 == from { n += $3 + $4 } END { print n + 0 }'; }
silent() { [ "$(of "$1" "$2" silent)" = true ] && of "$1" "$2" state | grep -qE "^not heard for ([1-9][0-9]|[0-9]+ min)"; } # N MEMBER
check() { walferry "$1" check >"/tmp/wf-$$.check" 2>&1; CODE=$?; cat "/tmp/wf-$$.check"; }
# Who dials from one member to another gets nowhere any more.
stop_dials() { "$WALFERRY_DEMO/bin/wanproxy" ctl "$WALFERRY_DEMO/wan/socket" cut "$(awk -v from="$1" -v to="$2" '$2 == from && $3 == to { print $1 }' "$WALFERRY_DEMO/wan/links")" >/dev/null || fail "wanproxy cut"; } # FROM TO
apart() { stop_dials "$1" "$2"; stop_dials "$2" "$1"; }
BEFORE_DOWN='rm -f "/tmp/wf-$$.check"'

export DEMO_POOL_CONF="$POOL_CONF
disk_warning = 0s
disk_critical = 0s" # others fill this disk
start_pool --members 4
sql1 "create table t (n int, x text)" >/dev/null
for n in 2 3 4; do expect 60 "level $n"; done

step "all four show all four, with the right positions"
write 1
for n in $(members); do expect 30 "right $n 1"; done
[ "$(of 4 dc2-a by) $(of 2 dc1-b by) $(of 3 dc2-b says)" = "null null standby" ] || fail "not first hand: $(field 4 .members)"
for n in $(members); do
    [ "$(field "$n" '[.members[].says] | join(" ")')" = "primary standby standby standby" ] || fail "roles on dc$n: $(field "$n" .members)"
    expect 10 "walferry $n status | grep -E '^  dc2-b +site dc2 +standby .*on disk .* behind, applied .* behind'"
done

step "an idle pair costs less than a kilobyte a second"
expect 20 '[ "$(of 3 dc2-b heard_seconds_ago)" != null ]'
before=$(wan dc1-b dc2-b) at=$(date +%s%N)
expect 30 '[ $(($(date +%s%N) - at)) -gt 20000000000 ]'
rate=$((($(wan dc1-b dc2-b) - before) * 1000000000 / ($(date +%s%N) - at)))
step "a quiet pair costs $rate bytes a second"
[ "$rate" -gt 50 ] && [ "$rate" -lt 1000 ] || fail "$rate bytes a second between two idle members"

step "PostgreSQL of one is down: the others say it, in its words"
pg 4 stop -m fast
for n in 1 2 3; do expect 20 "[ \"\$(of $n dc2-b postgres)\" = down ] && of $n dc2-b reason | grep -q 'PostgreSQL here'"; done
[ "$(of 3 dc2-b applied)" = null ] || fail "what a PostgreSQL that is down has applied: $(of 3 dc2-b applied)"
expect 10 'check 3 | grep -q "WARNING.*dc2-b: PostgreSQL here"'
pg 4 start
for n in 1 2 3; do expect 30 "[ \"\$(of $n dc2-b postgres) \$(of $n dc2-b reason)\" = 'up null' ]"; done

step "the line between the sites is cut: each site knows itself, and how old its news of the other are"
demo cut dc1 dc2
for n in 1 3; do expect 20 "silent $n dc2-a && silent $n dc2-b"; done
for n in 2 4; do expect 20 "silent $n dc1-a && silent $n dc1-b"; done
[ "$(of 3 dc1-a silent) $(of 4 dc2-a silent)" = "false false" ] || fail "one site is not known to itself"
expect 10 'check 4 | grep -q "dc1-a is not heard of by any way"'
demo heal
for n in $(members); do expect 30 "heard $n"; done

step "one way is left: what is known over it is passed on, with its age"
apart dc1-a dc2-a
apart dc1-a dc2-b
apart dc1-b dc2-b
expect 30 '[ "$(of 1 dc2-b by)" != null ] && [ "$(of 1 dc2-b silent)" = false ]'
expect 30 '[ "$(of 4 dc1-a by)" != null ] && [ "$(of 4 dc1-a silent)" = false ]'
[ "$(of 1 dc2-b by)" = dc1-b ] || fail "by whom: $(field 1 .members)"
demo heal
for n in $(members); do expect 30 "heard $n && [ \"\$(field $n '[.members[].by] | unique | join(\" \")')\" = '' ]"; done

step "a host is gone: it is not heard of on any other"
demo kill dc2-b
for n in 1 2 3; do expect 14 "silent $n dc2-b"; done
expect 10 'check 3 | grep -q "dc2-b is not heard of by any way"'
demo revive dc2-b
for n in $(members); do expect 60 "heard $n"; done

step "failover on one site: all that can be reached know it within 3 s, whoever has a link to the new one or not"
ups() { grep -c "quiet session to dc1-b: up" "$WALFERRY_DEMO/dc4/agent.log"; }
before=$(ups)
stop_dials dc1-b dc2-b
expect 40 '[ $(ups) -gt $before ]' # the other one dials
demo kill dc1-a
walferry 3 failover --yes --dead --force </dev/null >"/tmp/wf-$$.check" 2>&1 &
expect 60 '[ "$(field 3 .epoch.member)" = dc1-b ]'
expect 3 '[ "$(field 2 .epoch.member)$(field 4 .epoch.member)" = dc1-bdc1-b ]'
wait
expect 3 '[ "$(of 2 dc1-b says)$(of 4 dc1-b says)" = primaryprimary ]'
[ "$(of 4 dc1-b by) $(field 4 .receiving.state)" = "null down" ] || fail "it was not by the quiet session: $(field 4 .members)"
demo heal
write 3
for n in 2 4; do expect 30 "level $n 3"; done
pass

#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The spool of a standby was lost, and with it the pool's epoch. A failover does not invent one.
. "$(dirname "$0")/lib.sh"
failover() { walferry 2 failover "$@" </dev/null >"/tmp/wf-$$.said" 2>&1; }
told() { grep -q "$1" "/tmp/wf-$$.said" || fail "'$1' is not said: $(cat "/tmp/wf-$$.said")"; }
code() { curl -s -m 5 -o /dev/null -w '%{http_code}' "http://$([ "$1" = 1 ] && echo "$DC1_HTTP" || echo "$DC2_HTTP")/primary"; } # N
BEFORE_DOWN='rm -f "/tmp/wf-$$.said"'
lose_spool() { # of dc2
    kill_agent 2
    as sh -c 'rm -rf "$1"/*' sh "$DC2_SPOOL"
    start_agent 2
    expect 20 '[ "$(field 2 .postgres.state)" = up ]'
}

start_pool
fill 1
expect 30 level
step "the primary's agent lives: it is asked"
kill_postgres 1
lose_spool
expect 15 '[ "$(field 2 ".epoch | \"\(.number) \(.member)\"")" = "1 dc1-a" ]'

step "nobody can be asked: refused, with the next command"
kill_agent 1
lose_spool
[ "$(field 2 .epoch.number)" = 0 ] || fail "an epoch is known: $(field 2 .epoch)"
failover --yes
[ $? = 1 ] || fail "not refused: $(cat "/tmp/wf-$$.said")"
told "no epoch of this pool is known here"
told "walferry failover --epoch N"
[ "$(sql2 "select pg_is_in_recovery()")" = t ] || fail "it was promoted"
failover --yes --epoch none
[ $? = 2 ] || fail "'none' is a number"

step "with the DBA's word"
failover --yes --epoch 7 || fail "failover: $(cat "/tmp/wf-$$.said")"
told "dc2-a is the primary of epoch 7"
[ "$(code 2)" = 200 ] || expect 15 '[ "$(code 2)" = 200 ]'
sql2 "create table after_it (n int)" >/dev/null || fail "dc2 takes no writes"

step "the former primary returns: it yields, and clients still have a primary"
pg1 start
start_agent 1
expect 30 '[ "$(field 1 .role) $(field 1 .epoch.number)" = "fenced 7" ]'
[ "$(code 1) $(code 2)" = "503 200" ] || fail "/primary: $(code 1) $(code 2)"

step "an epoch that is known is counted on"
failover --yes --epoch 9 && fail "it takes a number though it knows one"
pass

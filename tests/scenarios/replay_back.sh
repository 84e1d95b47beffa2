#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The standby's PostgreSQL crashes while the primary is idle, and its replay is held back when it is
# started again: what it had applied is gone. No figure may stay as it was: status and metrics of both
# sides, where readers are sent to, sync, what the primary's PostgreSQL is told.
. "$(dirname "$0")/lib.sh"
url() { [ "$1" = 1 ] && echo "http://$DC1_HTTP" || echo "http://$DC2_HTTP"; } # N
get() { curl -s -m 5 "$(url "$1")$2"; }                                      # N PATH
code() { curl -s -m 5 -o /dev/null -w '%{http_code}' "$(url "$1")$2"; }      # N PATH
applied() { field "$1" ".links[0]?.applied // .receiving.applied | .$2"; }    # N FIELD
near() { [ "$(applied "$1" 'lag_seconds // 99 | . < 2')" = true ]; }         # N
shows() { [ "$(sql2 "select count(*) from t")" = "$1" ]; }                   # ROWS

# The last commit, at $COMMITTED, was over at $SINCE and is not applied.
honest() { # N
    local told lag old lsn
    old=$(($(date +%s%3N) - SINCE)) # before it is asked: what it tells then is older
    told=$(applied "$1" 'lsn, .lag_seconds, .behind_bytes, .as_of')
    shows 0 || fail "it is applied, nothing is tested"
    read -r lsn lag <<<"$(echo $told)"
    lag=${lag%% *}
    [ "$lsn" = null ] || [ "$(sql1 "select '$lsn'::pg_lsn < '$COMMITTED'::pg_lsn")" = t ] || fail "member $1: applied at $lsn, the commit ended at $COMMITTED"
    [ "$lag" = null ] || awk "BEGIN { exit !($lag * 1000 >= $old) }" || fail "member $1: applied is $lag s behind, a commit of $old ms ago is missing"
    lag=$(get "$1" /metrics | awk '/^walferry_lag_seconds\{.*position="applied"/ { print $2 }')
    [ -z "$lag" ] || awk "BEGIN { exit !($lag * 1000 >= $old) }" || fail "member $1: walferry_lag_seconds is $lag, a commit of $old ms ago is missing"
}

start_pool
sql1 "create table t (n int)" >/dev/null
expect 30 level
sql1 "checkpoint" >/dev/null
expect 10 level
sql2 "checkpoint" >/dev/null # a restart begins from here
sql2 "alter system set recovery_min_apply_delay = '1h'" >/dev/null # as of the next start

step "a commit, applied; then the crash"
sql1 "insert into t values (1)" >/dev/null
SINCE=$(date +%s%3N)
COMMITTED=$(sql1 "select pg_current_wal_flush_lsn()")
expect 10 'shows 1 && level && near 1 && near 2'
kill_postgres 2
pg2 start || fail "the standby does not start"
shows 0 || fail "the standby has it still: nothing is tested"

step "no figure says that it is there"
expect 20 '[ "$(field 2 .postgres.state)" = up ]'
until=$((SECONDS + 10))
while [ $SECONDS -lt $until ]; do
    honest 1
    honest 2
    age=$((($(date +%s%3N) - SINCE) / 1000))
    [ "$(code 2 "/standby?lag=${age}s")" = 503 ] || fail "readers are sent to a standby that lacks a commit of ${age} s ago: $(get 2 "/standby?lag=${age}s")"
done
[ "$(code 2 /standby)" = 200 ] || fail "it is a standby, however old: $(get 2 /standby)"
for n in 1 2; do
    walferry $n sync --applied --timeout 2s >/dev/null 2>&1 && fail "sync --applied on dc$n says that all is applied"
    walferry $n sync >/dev/null || fail "sync on dc$n: it is durable"
done
step "nor is the primary told so of what comes now"
sql1 "insert into t values (2)" >/dev/null
at=$(sql1 "select pg_current_wal_flush_lsn()")
expect 10 '[ "$(sql1 "select flush_lsn >= '"'$at'"' from pg_stat_replication")" = t ]'
[ "$(sql1 "select replay_lsn < '$at' from pg_stat_replication")" = t ] || fail "told: $(sql1 "select replay_lsn from pg_stat_replication")"

step "over a restart of its agent, too"
kill_agent 2
start_agent 2
expect 20 '[ "$(field 2 .receiving.state)" = up ]'
for round in 1 2 3 4 5; do honest 1; honest 2; done

step "it applies again"
sql2 "alter system reset recovery_min_apply_delay" >/dev/null
sql2 "select pg_reload_conf()" >/dev/null
expect 20 'shows 2'
expect 10 'near 1 && near 2'
expect 5 '[ "$(code 2 "/standby?lag=5s")" = 200 ]'
walferry 1 sync --applied >/dev/null || fail "sync --applied"
same_rows
pass

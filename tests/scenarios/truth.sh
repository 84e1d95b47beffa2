#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Every figure of both agents against the truth of both servers, ten times a second, through all that
# happens to a pool (tests/support/truth.c says what is compared).
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/truth.sh"
near() { # N FIELD: that position is known and less than a second behind, and not from an agent's earlier life
    [ "$(field "$1" "(.links[0] // .receiving) | .state == \"up\" and (.$2.lag_seconds // 99) < 1")" = true ]
}
level_again() { for n in 1 2; do expect 30 "near $n flushed && near $n applied"; done; }

start_pool
fill 2
begin_truth

phase idle $MOMENT 0
sleep $seconds
phase unflushed $MOMENT 0
sql1 "begin; select pg_logical_emit_message(false, 'truth', 'WAL that no commit follows'), pg_sleep($seconds); rollback" >/dev/null
phase commits
sleep $seconds
phase distance $((MOMENT + 200))
demo wan 100 20
sleep $seconds
demo wan 0
phase load
load 600
sleep $((seconds * 3))
phase cut-under-load
demo cut
sleep $((seconds * 2))
phase heal-under-load
demo heal
level_again
phase standby-PostgreSQL-stopped
pg2 -m fast stop || fail "it does not stop"
sleep $seconds
phase standby-PostgreSQL-started
pg2 start || fail "it does not start"
level_again
phase standby-PostgreSQL-killed
kill_postgres 2
pg2 start || fail "it does not start"
level_again
sql1 "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgbench'" >/dev/null
end_load

phase replay-held-back-after-a-crash $MOMENT 0
sql2 "alter system set recovery_min_apply_delay = '1h'" >/dev/null
kill_postgres 2
pg2 start || fail "it does not start"
sleep $seconds
sql2 "alter system reset recovery_min_apply_delay" >/dev/null
sql2 "select pg_reload_conf()" >/dev/null
level_again

phase apply-paused
sql2 "select pg_wal_replay_pause()" >/dev/null
sleep $seconds
phase apply-resumed
sql2 "select pg_wal_replay_resume()" >/dev/null
level_again

phase agent-1-killed 2500
sleep 2 # what outlives the agent is saved once a second
kill_agent 1
sleep 2
start_skewed 1
level_again
phase agent-2-killed 2500
sleep 2 # what outlives the agent is saved once a second
kill_agent 2
sleep 2
start_skewed 2
level_again
phase agents-killed-line-cut 2500
sleep 2 # what outlives the agent is saved once a second
demo cut
kill_agent 1
kill_agent 2
start_skewed 1
start_skewed 2
sleep $seconds
demo heal
level_again

phase clock-of-dc1-an-hour-ahead
skew 1 3600
sleep $seconds
phase clock-of-dc2-an-hour-behind
skew 2 -3600
sleep $seconds
phase clocks-stepped-while-cut
demo cut
skew 1 -1800
skew 2 1800
sleep $seconds
demo heal
level_again
phase clock-stepped-agent-killed 2500
sleep 2 # what outlives the agent is saved once a second
kill_agent 1
skew 1 7200
start_skewed 1
level_again
skew 1 0
skew 2 0

phase failover 2500
kill_agent 1
kill_postgres 1
walferry 2 failover --yes --dead </dev/null >/dev/null 2>&1 || fail "failover"
echo "primary 2" >>"$OUT.in"
phase the-new-primary
sleep $seconds
[ "$(field 2 '.exposure_seconds == null and .links[0].flushed.lag_seconds == null')" = true ] || fail "nobody has acknowledged anything: $(status 2)"
phase the-former-primary 2500
start_skewed 1
pg1 start
expect 20 '[ "$(field 1 .role)" = fenced ]'
sleep 4 # longer than the limit: it is compared with its own history

end_truth
pass

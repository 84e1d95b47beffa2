#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A primary whose agent lives and whose PostgreSQL neither answers nor is dead is waited for: it may
# be dead soon, and then nothing is lost; or it refuses, and nothing is changed.
. "$(dirname "$0")/lib.sh"
SAID=/tmp/wf-$$.said
failover() { walferry 2 failover "$@" </dev/null >"$SAID" 2>&1; }
told() { grep -q "$1" "$SAID" || fail "'$1' is not said: $(cat "$SAID")"; }
refused() { # WORD
    failover --yes
    [ $? = 1 ] || fail "not refused: $(cat "$SAID")"
    told "refused: the PostgreSQL of dc1-a $1"
    [ "$(field 2 '.role + " " + (.epoch.number | tostring)')" = "standby 1" ] || fail "something was spent"
}

start_pool
expect 30 level
step "its connections are exhausted: its agent does not get in"
sql1 "alter role walferry connection limit 0" >/dev/null
sql1 "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'walferry'" >/dev/null
expect 10 '[ "$(field 1 .postgres.state)" = down ]'
refused "does not answer its agent, though its postmaster is there"
sql1 "alter role walferry connection limit -1" >/dev/null
expect 20 '[ "$(field 1 .postgres.state)" = up ]'

step "it was started on another port than its agent knows: alive, out of its reach"
alive() { [ "$(sql1 "insert into alive values (1) returning 1")" = 1 ] || fail "the primary takes no writes"; }
sql1 "create table alive (n int)" >/dev/null
pg1 -m fast -o "-p 5433" restart || fail "no restart"
expect 10 '[ "$(field 1 .postgres.state)" = down ]'
refused "does not answer its agent, though its postmaster is there"
field 1 .postgres.reason | grep -q 'PGSQL.5432' || fail "its agent does not say where it looks: $(field 1 .postgres)"
pg1 -m fast stop && pg1 start || fail "no restart" # restart keeps the options
expect 20 '[ "$(field 1 .postgres.state)" = up ]'
alive
step "its agent is told a wrong port"
kill_agent 1 TERM
as sed -i "/^\[member dc1-a/,/^\[member dc2-a/s/^\(postgres .*\)port=5432/\1port=5433/" "$CONFIG"
start_agent 1
expect 20 '[ "$(field 1 .postgres.state)" = down ]'
failover --dry-run
refused "does not answer its agent, though its postmaster is there"
alive
step "the port is right again"
kill_agent 1 TERM
as sed -i "s/port=5433/port=5432/" "$CONFIG"
start_agent 1
expect 20 '[ "$(field 1 .postgres.state)" = up ]'
expect 30 level
failover --yes && fail "deposed a living primary: $(cat "$SAID")"
told "refused: the primary dc1-a answers"

step "it recovers from a crash, which takes its time"
sql1 "checkpoint" >/dev/null
sql1 "create table t as select n, md5(n::text) from generate_series(1, 1000000) n" >/dev/null
expect 30 level
pg1 -m immediate stop
as "$PGBIN/pg_ctl" -D "$WALFERRY_DEMO/dc1/etc" -l "$WALFERRY_DEMO/dc1/postgres.log" -W start >/dev/null 2>&1
for _ in $(seq 1000); do
    startup=$(pgrep -P "$(head -1 "$DC1_PGDATA/postmaster.pid" 2>/dev/null)" -f startup 2>/dev/null) && kill -STOP "$startup" && break
done
expect 10 '[ "$(field 1 .postgres.state)" = starting ]'
refused "is starting"
kill -CONT "$startup"
expect 20 '[ "$(field 1 .postgres.state)" = up ]'
expect 30 level

step "it is being stopped while 60,000 rows are on their way: waited for, shipped, nothing is lost"
demo wan 20 8
sql1 "create table last as select n, md5(random()::text) || md5(random()::text) as x from generate_series(1, 60000) n" >/dev/null
rows=$(sql1 "select count(*), md5(string_agg(x, '' order by n)) from last")
as "$PGBIN/pg_ctl" -D "$WALFERRY_DEMO/dc1/etc" -m fast -W stop >/dev/null
failover --yes || fail "failover: $(cat "$SAID")"
told "the PostgreSQL of dc1-a is stopping"
told "loss: none"
[ "$(sql2 "select count(*), md5(string_agg(x, '' order by n)) from last")" = "$rows" ] || fail "rows are missing: $(cat "$SAID")"
rm -f "$SAID"
pass

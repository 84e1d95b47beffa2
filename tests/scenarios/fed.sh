#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# What a member that a head feeds has beside WAL: feedback up to the primary's slot, SQL of the primary through the
# head, files of everybody; and what the primary knows of each member outlives its agent.
. "$(dirname "$0")/lib.sh"
OUT=/tmp/wf-$$.out
BEFORE_DOWN='rm -f "$OUT" "$OUT".?'
fed_by() { [ "$(field "$1" '.receiving | .state + " " + .from')" = "up $2" ]; } # N MEMBER
lag() { field 1 ".links[] | select(.to == \"$1\") | .flushed.lag_seconds"; }    # MEMBER
burn() { for _ in $(seq "$1"); do sql1 "insert into t values (0)" >/dev/null; done; } # ROWS: so many transactions
held() { sql1 "select age(xmin) from pg_replication_slots where slot_name = '$1'"; } # SLOT: how many transactions ago its xmin was
through() { as "$PGBIN/psql" -XAtq "host=$WALFERRY_DEMO/dc4/run$1 port=5432 user=$2 dbname=postgres" -c "$3" 2>&1; } # FOLDER ROLE QUERY

POOL_CONF="slot_sync_user = walferry_sync${POOL_CONF:+
$POOL_CONF}"
DEMO_POOL_CONF=$POOL_CONF start_pool --members 4
sql1 "create role walferry_sync login; create table t (n int)" >/dev/null
expect 40 'fed_by 4 dc2-a'
for n in 2 3 4; do expect 60 "level $n"; done

step "a query on the fed member holds back the primary's vacuum, and only as long as it runs"
for n in 2 3; do sql $n "alter system set hot_standby_feedback = off" >/dev/null && sql $n "select pg_reload_conf()" >/dev/null; done
sql 4 "alter system set wal_receiver_status_interval = '1s'" >/dev/null && sql 4 "select pg_reload_conf()" >/dev/null
sql 4 "begin isolation level repeatable read; select count(*) from t; select pg_sleep(600)" >"$OUT.4" &
expect 30 '[ "$(sql 4 "select count(*) from pg_stat_activity where backend_xmin is not null and query like '\''%pg_sleep%'\''")" -ge 2 ]'
burn 20
expect 30 '[ "$(held walferry_dc2_a)" -ge 20 ]'
burn 20
sleep 3
[ "$(held walferry_dc2_a)" -ge 40 ] || fail "the query runs, and the slot holds only $(held walferry_dc2_a) transactions"
sql 4 "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid()" >/dev/null
expect 30 'burn 1; [ "$(held walferry_dc2_a)" -lt 20 ]'

step "files of the primary come to the fed member, and its own go there"
as sh -c 'echo one >"$1/one" && echo four >"$1/four" && echo "$1/one" >"$1/dc1/list" && echo "$1/four" >"$1/dc4/list"' sh "$WALFERRY_DEMO"
as sed -i "/^.member dc1-a/a site_files = $WALFERRY_DEMO/dc1/list
/^.member dc2-b/a site_files = $WALFERRY_DEMO/dc4/list" "$CONFIG"
for n in 1 4; do kill_agent $n TERM && start_agent $n; done
expect 60 'walferry 4 files | grep -q "^dc1-a .*/one "'
expect 60 'walferry 1 files | grep -q "^dc2-b .*/four "'
expect 60 'fed_by 4 dc2-a'

step "the primary's agent is started anew while one member is cut off: that one's lag goes on"
expect 30 '[ "$(lag dc1-b)" != null ]'
demo cut dc1-b
expect 30 '[ "$(field 1 ".links[] | select(.to == \"dc1-b\") | .flushed.lag_seconds > 4")" = true ]'
kill_agent 1 TERM && start_agent 1
expect 20 '[ "$(field 1 .role)" = primary ]'
[ "$(field 1 '.links[] | select(.to == "dc1-b") | .flushed.lag_seconds > 4')" = true ] || fail "dc1-b lags $(lag dc1-b)"
expect 20 'walferry 1 status --watch | head -n 1 | grep " link [a-z]* to dc1-b " | grep -q " worst dc1-b "' # the others are linked again
demo heal
for n in 3 4; do expect 60 "level $n"; done
expect 40 'fed_by 4 dc2-a'

step "SQL through the head is the primary's; it does not outlast its epoch, though nothing ends the connection"
[ "$(through "" walferry_sync "select pg_is_in_recovery()")" = f ] || fail "not led to the primary: $(through "" walferry_sync "select 1")"
[ "$(through /tunnel walferry_tunnel "select pg_is_in_recovery()")" = f ] || fail "not led to the primary: $(through /tunnel walferry_tunnel "select 1")"
through "" walferry_sync "select pg_sleep(600)" >"$OUT.1" &
syncs=$!
through /tunnel walferry_tunnel "select pg_sleep(600)" >"$OUT.2" &
asks=$!
expect 20 '[ "$(sql1 "select count(*) from pg_stat_activity where usename in ('\''walferry_sync'\'', '\''walferry_tunnel'\'') and query like '\''%pg_sleep%'\''")" = 2 ]'
demo cut dc1-a
walferry 3 failover --yes --dead </dev/null >"$OUT" 2>&1 || fail "failover: $(cat "$OUT")"
expect 30 '[ "$(field 4 .epoch.member)" = dc1-b ]'
expect 10 "! kill -0 $syncs && ! kill -0 $asks"
sql 3 "create table of_the_new_one ()" >/dev/null
expect 60 'fed_by 4 dc2-a'
for way in "'' walferry_sync" "/tunnel walferry_tunnel"; do
    expect 30 "[ \"\$(through $way \"select to_regclass('of_the_new_one')\")\" = of_the_new_one ]"
done
pass

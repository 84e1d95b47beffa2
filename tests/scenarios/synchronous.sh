#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Synchronous commit: a commit waits for the other site's spool (on) or its standby (remote_apply),
# and nothing that was acknowledged is lost when the primary's host dies.
. "$(dirname "$0")/lib.sh"
long && rounds=20 || rounds=2
export DEMO_SYNCHRONOUS=on
start_pool
step "the setting comes by itself when the link is level"
expect 20 '[ "$(sql1 "show synchronous_standby_names")" = walferry_dc2_a ]'
sql1 "create table acknowledged (n int primary key)" >/dev/null
expect 20 level

step "the standby's PostgreSQL is down: on returns, remote_apply waits"
pg2 -m fast stop
[ "$(sql1 "insert into acknowledged values (-1) returning n")" = -1 ] || fail "a commit does not return"
timeout 3 bash -c "$(declare -f as); RUN_AS=$RUN_AS; as $PGBIN/psql -XAtq '$DC1_PG dbname=postgres' -c 'set synchronous_commit = remote_apply' -c 'insert into acknowledged values (-2)'" >/dev/null 2>&1
[ $? = 124 ] || fail "remote_apply returned though nothing can apply"
pg2 start
expect 30 level

step "the line is cut: a commit waits, and returns after the heal"
demo cut
sql1 "insert into acknowledged values (-3)" >"/tmp/wf-$$.late" &
late=$!
wait_for 3 "! kill -0 $late" && fail "a commit returned though the line is cut"
demo heal
expect 20 "! kill -0 $late"
rm -f "/tmp/wf-$$.late"

step "synchronous is taken out of the file while the line is cut: commits wait no longer; and back"
kill_agent 1 TERM
demo cut
as sed -i 's/^synchronous .*/synchronous = off/' "$CONFIG"
start_agent 1
expect 20 '[ -z "$(sql1 "show synchronous_standby_names")" ]'
[ "$(sql1 "insert into acknowledged values (-4) returning n")" = -4 ] || fail "a commit waits still"
as sed -i 's/^synchronous .*/synchronous = on/' "$CONFIG"
kill_agent 1 TERM
start_agent 1
demo heal
expect 30 '[ "$(sql1 "show synchronous_standby_names")" = walferry_dc2_a ]'

for round in $(seq $rounds); do
    step "round $round: the primary's host dies at a random moment"
    [ "$round" = 1 ] || start_pool
    expect 20 '[ "$(sql1 "show synchronous_standby_names")" = walferry_dc2_a ]'
    sql1 "create table if not exists acknowledged (n int primary key)" >/dev/null
    : >"/tmp/wf-$$.acked"
    ( # records only what was acknowledged
        for n in $(seq 1 100000); do echo "insert into acknowledged values ($n) returning n;"; done |
            as "$PGBIN/psql" -XAtq "$DC1_PG dbname=postgres" >"/tmp/wf-$$.acked" 2>/dev/null
    ) &
    client=$!
    expect 20 "[ \$(wc -l <'/tmp/wf-$$.acked') -gt 50 ]"
    sleep 0.$((RANDOM % 9 + 1)) # the moment is what is random here
    kill -STOP "$(agent_pid 1)"
    kill_postgres 1
    kill_agent 1
    wait $client 2>/dev/null
    walferry 2 failover --yes >"/tmp/wf-$$.failover" 2>&1 || fail "failover: $(cat "/tmp/wf-$$.failover")"
    [ "$(sql2 "select pg_is_in_recovery()")" = f ] || fail "dc2 is not writable"
    sql2 "insert into acknowledged values (0)" >/dev/null || fail "the new primary does not take a commit"
    sql2 "select n from acknowledged where n > 0 order by n" >"/tmp/wf-$$.there"
    lost=$(grep -E '^[0-9]+$' "/tmp/wf-$$.acked" | sort | comm -23 - <(sort "/tmp/wf-$$.there") | wc -l)
    [ "$lost" = 0 ] || fail "$lost acknowledged rows of $(wc -l <"/tmp/wf-$$.acked") are lost"
    rm -f /tmp/wf-$$.*
done

start_pool
step "a primary that is put back to an older state: what its predecessor shipped confirms nothing"
expect 20 '[ "$(sql1 "show synchronous_standby_names")" = walferry_dc2_a ]'
sql1 "create table acknowledged (n int primary key)" >/dev/null
expect 20 level
pg1 -m fast stop
as cp -a "$DC1_PGDATA" "$DC1_PGDATA.old"
pg1 start
expect 20 '[ "$(sql1 "insert into acknowledged values (1) on conflict do nothing" && sql1 "select count(*) from acknowledged")" = 1 ]'
expect 20 level
kill_postgres 1
as rm -r "$DC1_PGDATA" && as mv "$DC1_PGDATA.old" "$DC1_PGDATA"
pg1 start
timeout 8 bash -c "$(declare -f as); RUN_AS=$RUN_AS; as $PGBIN/psql -XAtq '$DC1_PG dbname=postgres' -c 'insert into acknowledged values (2)'" >"/tmp/wf-$$.told" 2>&1
[ $? = 124 ] || fail "a commit that is nowhere else was confirmed: $(cat "/tmp/wf-$$.told")"
rm -f "/tmp/wf-$$.told"
expect 20 'field 1 .links[0].reason | grep -qE "other bytes|other WAL"'
[ "$(sql2 "select n from acknowledged")" = 1 ] || fail "the standby does not hold what was acknowledged"
pass

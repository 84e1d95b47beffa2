#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The standby's PostgreSQL is down for a while: WAL goes on being received and acknowledged; then it
# catches up. Also with its agent restarted meanwhile: fetch and relay both work.
. "$(dirname "$0")/lib.sh"
start_pool
fill
step "the standby's PostgreSQL stops"
pg2 -m fast stop
load 5
end_load
sql1 "checkpoint" >/dev/null
expect 20 '[ "$(sql1 "select flush_lsn = pg_current_wal_flush_lsn() from pg_stat_replication")" = t ]'
[ "$(field 1 .links[0].standby_connected)" = false ] || fail "status says that the standby is connected"
step "the agent of the standby restarts"
kill_agent 2
start_agent 2
expect 20 '[ "$(field 1 .links[0].state)" = up ]'
step "the standby comes back: the relay feeds it, not one restore after the other"
restored() { grep -c 'restored log file "[0-9A-F]\{24\}"' "$WALFERRY_DEMO/dc2/postgres.log"; }
fill 25
same_segments
before=$(restored)
own=$(ls "$DC2_PGDATA/pg_wal" | grep -c '^[0-9A-F]\{24\}$') # for these it is not sent to the relay, and it may ask twice
[ "$(ls "$DC2_SPOOL" | grep -c '^[0-9A-F]\{24\}$')" -gt $((own + 5)) ] || fail "not enough segments to see it"
pg2 start
same_rows
[ "$(restored)" -le $((before + 2 * own)) ] || fail "it restored $(($(restored) - before)) segments with the relay there"
missed() { # segments, which are in the spool
    pg2 -m fast stop
    fill 20
    expect 20 '[ "$(sql1 "select flush_lsn = pg_current_wal_flush_lsn() from pg_stat_replication")" = t ]'
    before=$(restored)
}
step "without the agent it restores what it missed"
missed
kill_agent 2
pg2 start
expect 20 '[ "$(restored)" -gt $((before + 2)) ]'
start_agent 2
same_rows
step "so does one that cannot stream, with the agent there"
missed
pg2 -o "-c primary_conninfo=''" start
expect 20 '[ "$(restored)" -gt $((before + 2)) ]'
pg2 -m fast stop
pg2 start
same_rows
step "restore_command gives whole segments, and exits 1 for what is not there, without the agent"
kill_agent 2
segment=$(basename "$(ls "$DC2_SPOOL"/???????????????????????? | head -1)")
as "$WALFERRY" fetch "$segment" "/tmp/wf-$$.segment" --config "$CONFIG" --member dc2-a || fail "fetch of $segment"
cmp -s "$DC2_SPOOL/$segment" "/tmp/wf-$$.segment" || fail "fetch gave other bytes"
rm -f "/tmp/wf-$$.segment"
for absent in 0000000900000000000000FF 00000009.history nonsense ../pool.state; do
    as "$WALFERRY" fetch "$absent" "/tmp/wf-$$.segment" --config "$CONFIG" --member dc2-a 2>/dev/null
    [ $? = 1 ] || fail "fetch $absent does not exit 1"
done
step "promoted by hand, far behind, it takes first what the spool has"
start_agent 2
expect 20 '[ "$(sql1 "select replay_lsn = pg_current_wal_flush_lsn() from pg_stat_replication")" = t ]'
streams() { walreceiver=$(sql2 "select pid from pg_stat_wal_receiver where status = 'streaming'") && [ -n "$walreceiver" ]; }
expect 20 streams
kill -STOP "$walreceiver"
sql1 "create table mark as select 7 as n" >/dev/null
fill 5
sql1 "select pg_switch_wal()" >/dev/null
# a byte less is told of a segment's end, until more comes
expect 20 '[ "$(sql1 "select pg_current_wal_flush_lsn() - flush_lsn <= 1 from pg_stat_replication")" = t ]'
sql2 "select pg_promote(false)" >/dev/null
kill -CONT "$walreceiver"
expect 30 '[ "$(sql2 "select pg_is_in_recovery()")" = f ]'
[ "$(sql2 "select n from mark")" = 7 ] || fail "what was in the spool is not in the promoted server"
[ "$(sql2 "select count(*) from pgbench_accounts")" = 500000 ] || fail "the promoted server ends in the middle"
pass

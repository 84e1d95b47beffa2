#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A second standby on the relay, a guest: what it says counts for nothing. Applied, remote_apply, feedback
# and a failover's drain go by the local standby alone; the guest follows to the new timeline.
. "$(dirname "$0")/lib.sh"
POOL_CONF="synchronous = on${POOL_CONF:+
$POOL_CONF}"
export DEMO_POOL_CONF="$POOL_CONF
relay_guests = 1" DEMO_CONF="wal_receiver_status_interval = 3s"
GUEST=
guest() { as "$PGBIN/psql" -XAtq "host=$GUEST port=5432 user=$RUN_AS dbname=postgres" -c "$1" 2>&1; }
relay_of() { as "$PGBIN/psql" -XAtq "host=$WALFERRY_DEMO/dc2/run port=5432 user=walferry replication=true" -c IDENTIFY_SYSTEM 2>&1; }
slot() { sql1 "select $1 from pg_replication_slots join pg_stat_replication on pid = active_pid where slot_name = 'walferry_dc2_a'"; }
BEFORE_DOWN='as "$PGBIN/pg_ctl" -D "$GUEST" -m immediate stop >/dev/null 2>&1'

start_pool
fill 1
expect 30 level
step "a second standby, a copy of the first, streams from the same relay"
GUEST=$WALFERRY_DEMO/dc2/guest
as "$PGBIN/pg_basebackup" -d "$DC2_PG" -D "$GUEST" -c fast >"/tmp/wf-$$.out" 2>&1 || fail "pg_basebackup: $(cat "/tmp/wf-$$.out")"
rm -f "/tmp/wf-$$.out"
as sh -c 'cd "$1" && : >postgresql.auto.conf && : >standby.signal && cp ../etc/pg_hba.conf . && : >pg_ident.conf && cat >postgresql.conf' sh "$GUEST" <<END
listen_addresses = ''
unix_socket_directories = '$GUEST'
shared_buffers = 32MB
dynamic_shared_memory_type = mmap
hot_standby_feedback = on
primary_conninfo = 'host=$WALFERRY_DEMO/dc2/run port=5432 user=walferry application_name=copy'
wal_retrieve_retry_interval = 500ms
wal_receiver_status_interval = 1s
END
as "$PGBIN/pg_ctl" -D "$GUEST" -l "$GUEST/log" -w start >/dev/null 2>&1 || fail "the guest does not start: $(tail -3 "$GUEST/log")"
expect 30 '[ "$(guest "select status from pg_stat_wal_receiver")" = streaming ]'
expect 10 '[ "$(field 2 ".relay.guests[].application")" = copy ]'
walferry 2 status | grep -q "guest of the relay: 'copy' (process" || fail "status does not name the guest"
[ "$(field 2 .receiving.standby_connected)" = true ] || fail "the local standby is not known"

step "pg_receivewal --slot begins by itself in an empty folder, with the oldest WAL here"
received=$WALFERRY_DEMO/dc2/received
as mkdir "$received"
as "$PGBIN/pg_ctl" -D "$GUEST" -m fast -w stop >/dev/null 2>&1 # the only guest's place
sql1 "select pg_switch_wal()" >/dev/null
sql1 "create table switched as select 1" >/dev/null
expect 30 level
end=$(sql1 "select pg_current_wal_flush_lsn()")
expect 20 '[ "$(field 2 ".relay.guests | length")" = 0 ]'
as timeout 60 "$PGBIN/pg_receivewal" -d "host=$WALFERRY_DEMO/dc2/run port=5432 user=walferry" -D "$received" --slot barman \
    -n -E "$end" >"/tmp/wf-$$.out" 2>&1 || fail "pg_receivewal: $(cat "/tmp/wf-$$.out")"
rm -f "/tmp/wf-$$.out"
for file in "$received"/*[0-9A-F]; do
    [ -e "$file" ] || fail "it has no complete segment"
    cmp "$file" "$WALFERRY_DEMO/dc2/spool/${file##*/}" || fail "${file##*/} is not what the spool has"
done
[ "$(ls "$received" | head -1)" = "$(ls "$WALFERRY_DEMO/dc2/spool" | grep -E '^[0-9A-F]{24}$' | head -1)" ] ||
    fail "it does not begin with the oldest: $(ls "$received" | head -1)"
as "$PGBIN/pg_ctl" -D "$GUEST" -l "$GUEST/log" -w start >/dev/null 2>&1 || fail "the guest does not start again"
expect 30 '[ "$(field 2 ".relay.guests[].application")" = copy ]'

step "the places of the guests are all taken: one more is told, and the log says it"
relay_of | grep -q 'relay_guests' || fail "one more: $(relay_of)"
says 2 'relay: a guest .*turned away.*relay_guests' || fail "the agent does not say so"
step "it is no guest's place that the local standby needs"
pg2 -m fast restart
expect 30 '[ "$(field 2 .receiving.standby_connected)" = true ]'
expect 30 level

step "the guest's old snapshot is not what holds back vacuum"
fifo=/tmp/wf-$$.fifo
mkfifo "$fifo" && chmod 666 "$fifo"
as "$PGBIN/psql" -XAtq "host=$GUEST port=5432 user=$RUN_AS dbname=postgres" <"$fifo" >/dev/null 2>&1 &
exec 9>"$fifo"
echo "begin isolation level repeatable read; select txid_current_snapshot();" >&9
expect 10 '[ -n "$(guest "select backend_xmin from pg_stat_activity where state = '"'idle in transaction'"'")" ]'
old=$(guest "select backend_xmin from pg_stat_activity where state = 'idle in transaction'")
for n in 1 2 3; do sql1 "create table x$n as select 1" >/dev/null; done
expect 20 '[ "$(slot "xmin::text::bigint > $old")" = t ]'
for n in $(seq 15); do # each of them says it once a second
    sleep 0.2
    [ "$(slot "xmin::text::bigint > $old")" = t ] || fail "the guest's feedback reached the primary: $(slot xmin), $old"
done
exec 9>&-
rm -f "$fifo"

step "replay of the local standby is paused, the guest goes on: applied is the local one's"
sql2 "select pg_wal_replay_pause()" >/dev/null
expect 10 '[ "$(sql2 "select pg_get_wal_replay_pause_state()")" = paused ]'
as "$PGBIN/psql" -XAtq "$DC1_PG dbname=postgres" -c "set synchronous_commit = remote_apply; create table applied as select 1" >/dev/null 2>&1 &
waits=$!
disown
expect 20 '[ "$(guest "select count(*) from applied")" = 1 ]'
sql1 "set synchronous_commit = local; create table behind as select 1" >/dev/null
at=$(sql1 "select pg_current_wal_flush_lsn()")
expect 20 '[ "$(guest "select pg_last_wal_replay_lsn() >= '"'$at'"'::pg_lsn")" = t ]'
expect 20 '[ "$(slot "flush_lsn >= '"'$at'"'::pg_lsn")" = t ]' # what the guest said has been there by now
[ "$(sql2 "select to_regclass('applied') is null")" = t ] || fail "the local standby has applied it"
[ "$(slot "replay_lsn < '$at'::pg_lsn")" = t ] || fail "the primary was told that it is applied: $(slot replay_lsn)"
kill -0 $waits 2>/dev/null || fail "remote_apply was released, the local standby has not applied it"
[ "$(field 2 .receiving.applied.behind_bytes)" -gt 0 ] || fail "applied is 0 B behind"
sql2 "select pg_wal_replay_resume()" >/dev/null
expect 20 '! kill -0 $waits'

step "a failover waits for what the local standby lacks, whatever the guest has"
walreceiver=$(sql2 "select pid from pg_stat_wal_receiver where status = 'streaming'")
kill -STOP "$walreceiver"
sql1 "create table late as select n from generate_series(1, 10000) n" >/dev/null || fail "it was not acknowledged"
expect 20 '[ "$(guest "select count(*) from late")" = 10000 ]'
kill_agent 1
kill_postgres 1
as "$WALFERRY" failover --yes --config "$CONFIG" --member dc2-a </dev/null >"/tmp/wf-$$.failover" 2>&1 &
failover=$!
disown
expect 25 'grep -q "waiting until the PostgreSQL of dc2-a has flushed" "/tmp/wf-$$.failover"'
[ "$(field 2 .role)" = standby ] || fail "it does not wait: $(cat "/tmp/wf-$$.failover")"
kill -CONT "$walreceiver"
expect 60 '! kill -0 $failover'
[ "$(field 2 .role)" = primary ] || fail "the failover: $(cat "/tmp/wf-$$.failover")"
rm -f "/tmp/wf-$$.failover"
[ "$(sql2 "select count(*) from late")" = 10000 ] || fail "acknowledged rows are lost"

step "the guest goes on, on the new timeline, as far as the new primary is"
sql2 "create table new as select n from generate_series(1, 20000) n" >/dev/null
expect 30 '[ "$(guest "select count(*) from new")" = 20000 ]'
[ "$(guest "select received_tli from pg_stat_wal_receiver")" = 2 ] || fail "the guest is on timeline $(guest "select received_tli from pg_stat_wal_receiver")"
as "$PGBIN/pgbench" -i -s 5 -q "$DC2_PG dbname=postgres" >/dev/null 2>&1 || fail "pgbench -i"
at=$(sql2 "select pg_current_wal_flush_lsn()")
expect 60 '[ "$(guest "select pg_last_wal_replay_lsn() >= '"'$at'"'::pg_lsn")" = t ]'
same_dumps "$DC2_PG" "host=$GUEST port=5432 user=$RUN_AS"
[ "$(field 2 ".relay.guests[].timeline")" = 2 ] || fail "status does not say where the guest is"
pass

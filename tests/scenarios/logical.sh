#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Logical slots, PostgreSQL 17 and later: a slot with failover is synchronized on the standby, through the
# relay, and survives role changes in both directions. A subscriber, a server of its own, records each row
# that comes: nothing is missing, nothing comes twice, and nothing that the pool lost has come.
export DEMO_CONF="wal_level = logical
sync_replication_slots = on"
. "$(dirname "$0")/lib.sh"
POOL_CONF="slot_sync_user = walferry_sync${POOL_CONF:+
$POOL_CONF}"
major=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV | sed -n '1s|.*/\([0-9]*\)/bin|\1|p') # as demo.sh chooses
[ "${major:-0}" -ge 17 ] || skip "logical slots survive a role change from PostgreSQL 17 on, here is ${major:-none}"
OUT=/tmp/wf-$$.out
SUB=
sub() { as "$PGBIN/psql" -XAtq "host=$SUB port=5432 dbname=postgres" -c "$1" 2>&1; }
BEFORE_DOWN='as "$PGBIN/pg_ctl" -D "$SUB/data" -m immediate stop >/dev/null 2>&1; rm -f "$OUT"'
slot() { sql "$1" "select $2 from pg_replication_slots where slot_name = 's'"; } # N COLUMNS
# N: the slot is a copy that would survive; a temporary one is still being made
synced() { [ "$(slot "$1" "synced and failover and not temporary and invalidation_reason is null")" = t ]; }
write() { sql "$1" "insert into told select n, 'dc$1' from generate_series($2, $3) n" >/dev/null; } # N FROM TO
same_told() { # PRIMARY
    expect 60 '[ "$(sub "select count(*) from told")" -ge "$(sql '$1' "select count(*) from told")" ]'
    [ "$(sub "select n, via from told order by 1, 2")" = "$(sql "$1" "select n, via from told order by 1, 2")" ] ||
        fail "the subscriber has $(sub "select count(*), count(distinct n), min(n), max(n) from told"), the primary $(sql "$1" "select count(*), count(distinct n), min(n), max(n) from told")"
}
failover() { # N ...
    local n=$1
    shift
    walferry "$n" failover --yes "$@" </dev/null >"$OUT" 2>&1 || fail "failover: $(cat "$OUT")"
}
waits_for() { sql "$1" "alter system set synchronized_standby_slots = '$2'" >/dev/null && sql "$1" "select pg_reload_conf()" >/dev/null; } # N SLOT: before a subscriber gets it
valid() { walferry "$1" validate --json 2>/dev/null | jq -r '(.members // [.])[].checks[] | "\(.check): \(.result) \(.reason)"'; } # N
publisher() { sub "alter subscription s connection 'host=$WALFERRY_DEMO/dc$1/sock port=5432 user=$RUN_AS dbname=postgres'" >/dev/null; }

DEMO_COLD= DEMO_POOL_CONF=$POOL_CONF start_pool
sql1 "create role walferry_sync login" >/dev/null # without any right
waits_for 1 walferry_dc2_a
waits_for 2 walferry_dc1_a
sql1 "create table told (n int, via text); create publication p for table told" >/dev/null

step "a subscriber, whose slot is synchronized on the standby"
SUB=$WALFERRY_DEMO/sub
as mkdir "$SUB"
as "$PGBIN/initdb" -D "$SUB/data" --locale=C.UTF-8 -E UTF8 -A trust >"$OUT" 2>&1 || fail "initdb: $(tail -1 "$OUT")"
as sh -c 'cat >>"$1/data/postgresql.conf"' sh "$SUB" <<END
listen_addresses = ''
unix_socket_directories = '$SUB'
shared_buffers = 32MB
dynamic_shared_memory_type = mmap
wal_retrieve_retry_interval = 500ms
END
as "$PGBIN/pg_ctl" -D "$SUB/data" -l "$SUB/log" -w start >/dev/null 2>&1 || fail "the subscriber does not start: $(tail -3 "$SUB/log")"
sub "create table told (n int, via text)" >/dev/null # no key: a row that comes twice stands there twice
sub "create subscription s connection 'host=$WALFERRY_DEMO/dc1/sock port=5432 user=$RUN_AS dbname=postgres' publication p with (failover = true, copy_data = false)" >"$OUT"
write 1 1 1000
same_told 1
expect 60 'write 1 0 0; synced 2'
[ "$(sql1 "select count(*) from pg_stat_activity where application_name like '%slotsync worker' and usename = 'walferry_sync'")" = 1 ] ||
    fail "nobody synchronizes as walferry_sync: $(sql1 "select usename, application_name from pg_stat_activity")"

step "validate names the slot that is not to survive, and no other"
valid 1 | grep -q "^slot settings: ok" || fail "validate says: $(valid 1)"
valid 2 | grep -q "^slot settings: ok" || fail "validate says: $(valid 2)"
sql1 "select pg_create_logical_replication_slot('plain', 'pgoutput')" >/dev/null
valid 1 | grep -q "warn logical slot plain does not survive a role change" || fail "validate says: $(valid 1)"
sql1 "select pg_drop_replication_slot('plain')" >/dev/null

step "the relay leads nobody else to the primary"
refused() { # WORDS CONNINFO
    as "$PGBIN/psql" -XAtq "host=$WALFERRY_DEMO/dc2/run port=5432 $2" -c "select 1" >"$OUT" 2>&1 && fail "$2 gets in"
    grep -q "$1" "$OUT" || fail "$2: $(cat "$OUT")"
}
for who in "user=$RUN_AS dbname=postgres" "user=walferry_sync dbname=template1" "user=walferry_tunnel dbname=postgres"; do
    refused "user=walferry_sync dbname=postgres in primary_conninfo" "$who"
done
as "$PGBIN/psql" -XAtq "host=$WALFERRY_DEMO/dc2/run/tunnel port=5432 user=walferry_sync dbname=template1" -c "select 1" >"$OUT" 2>&1 && fail "the primary lets it into another database"
grep -q "for the role walferry_tunnel only" "$OUT" || fail "it is told: $(cat "$OUT")"
[ "$(as "$PGBIN/psql" -XAtq "host=$WALFERRY_DEMO/dc2/run port=5432 user=walferry_sync dbname=postgres" -c "select pg_is_in_recovery()")" = f ] || fail "not led to the primary"

step "the host of the primary is gone, right after a commit: failover"
write 1 1001 2000
expect 30 level
same_told 1
kill_postgres 1
kill_agent 1
failover 2 --dead
synced 2 || [ "$(slot 2 "failover and invalidation_reason is null")" = t ] || fail "the slot is not there: $(slot 2 "*")"
publisher 2
write 2 2001 3000

step "subscribers wait for a standby that is gone, until the DBA says otherwise"
expect 30 'grep -q "is waiting on the standby associated with replication slot .walferry_dc1_a" "$WALFERRY_DEMO/dc2/postgres.log"'
[ "$(sub "select count(*) from told where n > 2000")" = 0 ] || fail "it did not wait"
waits_for 2 ""
same_told 2
waits_for 2 walferry_dc1_a

step "the former primary comes back: the slot of its time as primary is in nobody's way"
start_agent 1
expect 30 '[ "$(field 1 .epoch.number)" = 2 ]'
walferry 1 rejoin --yes </dev/null >"$OUT" 2>&1 || fail "rejoin: $(cat "$OUT")"
grep -q "nothing parted" "$OUT" || fail "it was rewound, and had no slot any more: $(cat "$OUT")"
grep -q "logical slot s of its time as a primary is dropped" "$OUT" || fail "its slot is not told: $(cat "$OUT")"
[ "$(sql1 "show synchronized_standby_slots")" = walferry_dc2_a ] || fail "what the DBA has set is gone"
expect 60 'write 2 0 0; synced 1'
same_told 2

step "the line is cut: what dc1 does not have the subscriber does not get, and it is lost in both"
expect 30 'level 1 2'
same_told 2
demo cut
write 2 100001 101000
expect 30 'says 1 "the session that synchronizes slots is ended: the link is down"' # it would wait for an answer
failover 1 --force
kill_agent 2
kill_postgres 2
[ "$(sub "select count(*) from told where n > 100000")" = 0 ] || fail "the subscriber was ahead of the standby"
publisher 1
write 1 3001 4000
waits_for 1 ""
same_told 1
waits_for 1 walferry_dc2_a

step "the one that was rewound synchronizes, too"
demo heal
start_agent 2
expect 30 '[ "$(field 2 .epoch.number)" = 3 ]'
walferry 2 rejoin --yes </dev/null >"$OUT" 2>&1 || fail "rejoin: $(cat "$OUT")"
expect 60 'write 1 0 0; synced 2'
write 1 4001 5000
same_told 1
[ "$(sub "select count(*) from told where n > 0")" = 5000 ] || fail "rows are missing: $(sub "select count(*) from told where n > 0")"
pass

#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A failover that cannot be done spends nothing: the primary goes on, the link goes on, the standby
# stays one. What is missing is named.
. "$(dirname "$0")/lib.sh"
SAID=/tmp/wf-$$.said
failover() { walferry 2 failover "$@" </dev/null >"$SAID" 2>&1; }
told() { grep -q "$1" "$SAID" || fail "'$1' is not said: $(cat "$SAID")"; }
untouched() {
    [ "$(field 2 '.role + " " + (.epoch.number | tostring)')" = "standby 1" ] || fail "dc2-a is $(field 2 .role)"
    [ "$(field 1 '.role + " " + (.epoch.number | tostring)')" = "primary 1" ] || fail "dc1-a is $(field 1 .role)"
    sql1 "create table if not exists t (n int); insert into t values (1)" >/dev/null || fail "the primary takes no writes"
}

start_pool
expect 30 level
step "the agent's role may not promote: refused at once, also by force and in a dry run"
sql1 "revoke execute on function pg_promote from walferry" >/dev/null
expect 10 level
failover --yes --force && fail "promoted without the right"
told "may not promote on dc2-a"
failover --dry-run --force && fail "the dry run sees nothing"
told "may not promote on dc2-a"
untouched
sql1 "grant execute on function pg_promote to walferry" >/dev/null
expect 10 level

step "no slot is free: refused, the dry run tells the same"
sql2 "select pg_create_physical_replication_slot('x' || n) from generate_series(1, current_setting('max_replication_slots')::int) n" >/dev/null
sql2 "select pg_create_physical_replication_slot('y' || n) from generate_series(1, current_setting('max_replication_slots')::int - (select count(*) from pg_replication_slots)::int) n" >/dev/null
failover --dry-run && fail "the dry run sees nothing"
told "0 replication slots are free"
untouched
sql2 "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name ~ '^[xy]'" >/dev/null

step "the walreceiver is misconfigured: what the spool holds never gets into PostgreSQL"
sql2 "alter system set primary_conninfo = 'host=/nowhere user=walferry'" >/dev/null
sql2 "alter system set restore_command = 'false'" >/dev/null
sql2 "select pg_reload_conf()" >/dev/null
expect 20 '[ "$(sql2 "select count(*) from pg_stat_wal_receiver")" = 0 ]'
sql1 "create table late as select n from generate_series(1, 10000) n" >/dev/null
failover --yes --force
[ $? = 1 ] || fail "it does not exit 1: $(cat "$SAID")"
told "waiting until the PostgreSQL of dc2-a has flushed"
told "its walreceiver does not connect to the relay"
told "Nothing was changed"
untouched
step "cancelled meanwhile; what came and was not taken comes again"
: >"$SAID"
failover --yes --force &
command=$!
expect 20 'grep -q "waiting until" "$SAID"'
sql1 "create table later as select n from generate_series(1, 10000) n" >/dev/null
walferry 2 failover --cancel >/dev/null || fail "--cancel"
wait $command
[ $? = 130 ] || fail "it does not exit 130: $(cat "$SAID")"
untouched
expect 20 '[ "$(field 2 .receiving.state)" = up ] && [ "$(field 2 .receiving.flushed.behind_bytes)" = 0 ]'
sql2 "alter system reset primary_conninfo" >/dev/null
sql2 "alter system reset restore_command" >/dev/null
sql2 "select pg_reload_conf()" >/dev/null
same_rows
same_segments

step "the standby's data directory moves to a file system of its own"
finish() { rm -f "$SAID"; pass; }
skip() { echo "# prepare: the standby's full disk is skipped: $*"; finish; }
[ "$(id -u)" = 0 ] || skip "it needs root to mount"
IMAGE=/tmp/wf-$$.image
BEFORE_DOWN='pg2 -m immediate stop; umount "$DC2_PGDATA" 2>/dev/null; rm -f "$IMAGE"'
pg2 -m fast stop || fail "PostgreSQL of dc2 does not stop"
as mv "$DC2_PGDATA" "$DC2_PGDATA.moved" && as mkdir -m 700 "$DC2_PGDATA" && truncate -s 500M "$IMAGE" && mkfs.ext4 -qFm 0 "$IMAGE" || fail "cannot make a file system"
mount -o loop "$IMAGE" "$DC2_PGDATA" || skip "root may not mount here"
chown "$RUN_AS" "$DC2_PGDATA" && chmod 700 "$DC2_PGDATA"
as sh -c 'rmdir "$1/lost+found"; cp -a "$1.moved"/. "$1" && rm -r "$1.moved"' sh "$DC2_PGDATA" || fail "cannot move"
pg2 start || fail "PostgreSQL of dc2 does not start"
expect 30 level

step "it is full: its walreceiver cannot write, what the spool holds never gets into PostgreSQL"
free=$(df --output=avail -B1 "$DC2_PGDATA" | tail -1)
as fallocate -l $((free - 1048576)) "$DC2_PGDATA/ballast" || fail "no ballast"
write_much() { sql1 "select pg_logical_emit_message(false, 'much', repeat('x', 1000000)) from generate_series(1, 100)" >/dev/null; }
write_much
expect 20 'grep -q "xlogtemp.*No space left on device" "$WALFERRY_DEMO/dc2/postgres.log"'
failover --yes --force
[ $? = 1 ] || fail "it does not exit 1: $(cat "$SAID")"
told "are free on the file system of $DC2_PGDATA/pg_wal"
told "Nothing was changed"
untouched
step "its primary dies, too: refused, and nothing is spent"
kill_postgres 1
failover --yes
[ $? = 1 ] || fail "it does not exit 1: $(cat "$SAID")"
told "Nothing was changed"
[ "$(field 2 '.role + " " + (.epoch.number | tostring)')" = "standby 1" ] || fail "dc2-a is $(field 2 .role)"
pg1 start || fail "PostgreSQL of dc1 does not start"
expect 20 '[ "$(field 1 .postgres.state)" = up ]'
untouched
step "there is room again, and its primary dies once more: all is here"
as rm "$DC2_PGDATA/ballast"
expect 60 level
rows=$(sql1 "select count(*) from t")
kill_postgres 1
failover --yes || fail "failover: $(cat "$SAID")"
told "loss: none"
[ "$(sql2 "select count(*) from t")" = "$rows" ] || fail "rows are missing: $(cat "$SAID")"
finish

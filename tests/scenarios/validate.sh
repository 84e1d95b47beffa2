#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A healthy pool is ready for a role change. Then one thing after another is broken: each is named, on
# the member that has to be changed, with what to type, and the exit code follows the worst.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/validate.sh"

OTHER_DB=app
BEFORE_DOWN='umount "$WALFERRY_DEMO/small" 2>/dev/null; rm -f "/tmp/wf-$$.validate" "/tmp/wf-$$.said"'

set1() { sql1 "alter system $1" >/dev/null; sql1 "select pg_reload_conf()" >/dev/null; }
set2() { sql2 "alter system $1" >/dev/null; sql2 "select pg_reload_conf()" >/dev/null; }

export DEMO_CONF='wal_level = logical
max_prepared_transactions = 5'
export DEMO_POOL_CONF="$POOL_CONF
disk_warning = 0s
disk_critical = 0s" # what else fills this machine's disk is not the subject
start_pool
unset DEMO_CONF
sql1 "create database $OTHER_DB" >/dev/null
app() { as "$PGBIN/psql" -XAtq "$DC1_PG dbname=$OTHER_DB" -c "$1" >/dev/null || fail "$1"; }
expect 30 level

step "a healthy pool"
ready
[ "$(jq -r '[.members[].member] | sort | join(" ")' <<<"$report")" = "dc1-a dc2-a" ] || fail "not both members: $report"
has dc1-a ok ssh 'to dc2-a: .*forced command' '' || fail "SSH from dc1-a was not tried: $report"
has dc2-a ok ssh 'to dc1-a: .*forced command' '' || fail "SSH from dc2-a was not tried: $report"
has dc1-a ok databases '3 looked into' '' || fail "not every database was looked into"
has dc2-a ok tunnel 'gets to the primary' '' || fail "the tunnel was not tried"
has dc2-a ok compared 'dc1-a' '' || fail "nothing was compared"
said=$(walferry 2 validate) || fail "exit $? for a member that is ready"
grep -q '^dc2-a (standby, site dc2): ready$' <<<"$said" || fail "as text: $said"
! grep -q '^dc1-a' <<<"$said" || fail "another member than asked for: $said"
said=$(walferry 2 validate dc1-a) || fail "exit $? for the other member"
grep -q '^dc1-a (primary, site dc1): ready$' <<<"$said" || fail "as text: $said"
walferry 1 validate dc9-a >/dev/null 2>&1
[ $? = 3 ] || fail "an unknown member does not exit 3"
walferry 1 validate --pool dc1-a >/dev/null 2>&1
[ $? = 3 ] || fail "--pool with a member does not exit 3"
walferry 1 validate --local dc2-a >/dev/null 2>&1
[ $? = 3 ] || fail "--local with another member does not exit 3"
as "$WALFERRY" validate --config "$WALFERRY_DEMO/nowhere.ini" >/dev/null 2>&1
[ $? = 3 ] || fail "a config that is not there does not exit 3"
[ "$(field 2 .receiving.state)" = up ] && [ "$(field 2 .receiving.connections_lost)" = 0 ] || fail "a knock disturbed the link"

step "settings of the primary"
set1 "set primary_conninfo = ''"
set1 "set fsync = off"
set1 "set full_page_writes = off"
finds 2 dc1-a fail fsync 'fsync is off' 'alter system set fsync = on'
has dc1-a ok 'sources of WAL' 'written by rejoin' '' || fail "a primary needs no settings of a standby: $(bad)"
has dc1-a warn rewind 'full_page_writes is off' 'alter system set full_page_writes = on' || fail "full_page_writes: $(bad)"
set1 "reset primary_conninfo"
set1 "reset fsync"
set1 "reset full_page_writes"
set1 "set synchronous_standby_names = 'elsewhere'"
sql1 "set synchronous_commit = off; alter system set synchronous_commit = local" >/dev/null
finds 1 dc1-a fail synchronous 'postgresql.auto.conf: after a failover commits would wait' 'remove it there'
set1 "reset synchronous_standby_names"
set1 "reset synchronous_commit"
set1 "set archive_mode = on"
finds 1 dc1-a warn restart 'only after a restart: archive_mode' 'restart'
set1 "set archive_mode = off"

set1 "set max_slot_wal_keep_size = '1GB'"
finds 1 dc1-a warn 'slot settings' 'max_slot_wal_keep_size is 1.0 GB, less than slot_retain_max \(8.0 GB\)' 'reset max_slot_wal_keep_size'
set1 "reset max_slot_wal_keep_size"

step "settings of the standby"
set2 "set primary_conninfo = 'host=/nowhere user=walferry'"
set2 "set restore_command = 'false'"
finds 1 dc2-a fail 'sources of WAL' 'primary_conninfo names /nowhere' "primary_conninfo = 'host=$WALFERRY_DEMO/dc2/run port=5432"
has dc2-a warn 'sources of WAL' 'restore_command does not fetch' 'fetch --config .* --member dc2-a' || fail "restore_command: $(bad)"
finds 1 dc2-a warn standby 'does not stream' 'log of PostgreSQL'
set2 "reset primary_conninfo"
set2 "reset restore_command"
sql2 "select pg_wal_replay_pause()" >/dev/null
finds 1 dc2-a warn standby 'replay is paused' 'pg_wal_replay_resume'
sql2 "select pg_wal_replay_resume()" >/dev/null

step "the agents' role and its way in"
sql1 "revoke execute on function pg_promote from walferry" >/dev/null
finds 2 dc2-a fail rights 'walferry lacks a right' 'grant execute on function pg_promote'
sql1 "grant execute on function pg_promote to walferry" >/dev/null
sql1 "create role maker createrole; grant maker to walferry" >/dev/null
finds 2 dc1-a warn rights 'or is in one that does: the copy of seed passes no tunnel' 'alter role walferry nosuperuser'
sql1 "drop role maker" >/dev/null
sql1 "alter role walferry_tunnel replication" >/dev/null
finds 2 dc1-a warn tunnel 'no role walferry_tunnel with the rights' 'create role walferry_tunnel'
sql1 "alter role walferry_tunnel noreplication" >/dev/null
variant '/^\[pool\]/aslot_sync_user = synchronizer'
with_variant 2 dc2-a warn 'slot sync' 'slot_sync_user is synchronizer, and there is no such role' 'create role synchronizer login'
sql1 "create role synchronizer login" >/dev/null
with_variant 2 dc2-a ok 'slot sync' 'may log in to postgres, and no more' ''
sql1 "drop role synchronizer" >/dev/null
hba=$WALFERRY_DEMO/dc1/etc/pg_hba.conf
echo "local all,replication walferry,$RUN_AS trust" | put "$hba"
sql1 "select pg_reload_conf()" >/dev/null
finds 2 dc2-a warn tunnel 'no way to the primary.*walferry_tunnel' 'pg_hba.conf'
printf 'local all all trust\nlocal replication all trust\n' | put "$hba"
sql1 "select pg_reload_conf()" >/dev/null
hba=$WALFERRY_DEMO/dc2/etc/pg_hba.conf
echo "local all all trust" | put "$hba"
sql2 "select pg_reload_conf()" >/dev/null
finds 1 dc2-a fail streaming 'could not stream.*pg_hba' 'local replication walferry'
printf 'local all all trust\nlocal replication all trust\n' | put "$hba"
sql2 "select pg_reload_conf()" >/dev/null
ready

step "what a role change leaves behind"
sql1 "select pg_create_logical_replication_slot('reports', 'pgoutput')" >/dev/null
app "create unlogged table scratch (n int)"
sql1 "create table t (n int); begin; insert into t values (1); prepare transaction 'held'" >/dev/null
finds 1 dc1-a warn 'logical slots' 'reports \(postgres\)' 'pg_drop_replication_slot'
has dc1-a warn 'unlogged tables' 'public.scratch, 1 in all \(app\)' 'set logged' || fail "unlogged table: $(bad)"
has dc1-a warn prepared "'held' \(postgres\)" 'rollback prepared' || fail "prepared transaction: $(bad)"
[ "$code" = 1 ] || fail "exit $code for warnings"
finds 2 dc2-a warn 'unlogged tables' 'public.scratch, 1 in all \(app\)' ''
sql1 "select pg_drop_replication_slot('reports')" >/dev/null
sql1 "rollback prepared 'held'" >/dev/null
app "drop table scratch"

step "what the database needs is not on the host"
app "create function gone() returns void language internal as 'pg_sleep'"
app "update pg_proc set probin = '\$libdir/gone' where proname = 'gone'"
app "insert into pg_extension select 99999, 'ghost', 10, 'public'::regnamespace, false, '1', null, null"
sql1 "update pg_database set datcollversion = '0.1' where datname = '$OTHER_DB'" >/dev/null
finds 1 dc2-a fail libraries 'gone.so \(app\)' "package"
finds 1 dc2-a fail extensions 'extension ghost, used in database app' 'package'
has dc2-a fail collations 'the default \(app\)' 'reindex' || fail "collations: $(bad)"
app "update pg_proc set probin = null where proname = 'gone'; drop function gone()"
app "delete from pg_extension where extname = 'ghost'"
sql1 "update pg_database set datcollversion = null where datname = '$OTHER_DB'" >/dev/null
ready

step "full slots on the standby"
sql2 "select pg_create_physical_replication_slot('filler_' || n) from generate_series(1, 10) n" >/dev/null
finds 1 dc2-a fail slots '^0 of 10 replication slots are free.*need 1 more' 'max_replication_slots = 11'
sql2 "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name like 'filler_%'" >/dev/null

step "settings that take a restart"
for line in "max_connections = 200" "max_wal_senders = 2" "hot_standby = off" "recovery_target_timeline = 'current'" "archive_mode = on"; do
    sql1 "alter system set $line" >/dev/null
done
pg2 stop -m fast && pg1 stop -m fast || fail "they do not stop"
for data in "$DC1_PGDATA" "$DC2_PGDATA"; do
    as "$PGBIN/pg_checksums" --disable -D "$data" >/dev/null 2>&1 || fail "pg_checksums"
done
pg1 start && pg2 start || fail "they do not start"
finds 2 dc1-a warn rewind 'neither data checksums nor wal_log_hints' 'alter system set wal_log_hints = on'
finds 2 dc1-a fail recovery "recovery_target_timeline is 'current'" "recovery_target_timeline = 'latest'"
has dc1-a fail recovery 'hot_standby is off' 'hot_standby = on' || fail "hot_standby: $(bad)"
has dc1-a warn archive 'without an archive_command' 'archive_command' || fail "archive_command: $(bad)"
has dc2-a warn archive 'archive_mode is off here, on on dc1-a' 'same archive_mode' || fail "archive_mode: $(bad)"
has dc1-a warn capacity 'max_wal_senders is 2 here and 10 on dc2-a' 'max_wal_senders = 10 on dc1-a' || fail "max_wal_senders: $(bad)"
as mkdir "$WALFERRY_DEMO/received"
as "$PGBIN/pg_receivewal" -D "$WALFERRY_DEMO/received" -n -d "$DC1_PG" --no-sync >/dev/null 2>&1 & other=$!
finds 2 dc1-a warn walsenders '^1 of 2 walsenders are free' 'max_wal_senders = 4'
sql1 "select pg_terminate_backend(pid) from pg_stat_replication where application_name = 'pg_receivewal'" >/dev/null
wait $other
set1 "set archive_command = 'false'"
sql1 "select pg_switch_wal()" >/dev/null
finds 2 dc1-a warn archive 'archiving fails, last for 0' 'pg_stat_archiver'

step "a standby with fewer connections than its primary"
finds 1 dc2-a fail capacity 'max_connections is 100 here and 200 on the primary' 'max_connections = 200 on dc2-a'
! has dc1-a fail capacity '' '' || fail "the primary is blamed, too: $(bad)"
pg2 stop -m fast || fail "it does not stop"
! pg2 start || fail "a standby with too few connections starts"
finds 1 dc2-a fail postgres 'does not answer' 'pg_ctl'
has dc2-a fail capacity 'max_connections is 100 here and 200' '' || fail "unknown, with the server down: $(bad)"
! grep -q "configuration file" <<<"$report" || fail "what the server logs is taken for a value: $(bad)"
has dc2-a ok disk '' '' && has dc2-a ok ssh '' '' || fail "the rest was not looked at: $report"
for name in max_wal_senders hot_standby recovery_target_timeline archive_mode archive_command; do
    sql1 "alter system reset $name" >/dev/null
done
sql1 "alter system set wal_log_hints = on" >/dev/null
printf 'max_connections = 200\nwal_log_hints = on\n' | as sh -c 'cat >>"$1"' sh "$WALFERRY_DEMO/dc2/etc/postgresql.conf"
pg1 restart && pg2 start || fail "they do not start"
ready

step "another host key"
variant '/^host_key/s/SHA256:..../SHA256:AAAA/'
with_variant 1 dc1-a fail ssh 'to dc2-a: .*another host key' 'host_key.*ssh -v'

step "nobody listens"
variant 's/^ssh .*/&0/;/^ssh /s/:[0-9]*/:1/'
with_variant 1 dc1-a fail ssh 'to dc2-a: .*refuses connections' 'ssh -v -p 1'

step "the key"
keys=$WALFERRY_DEMO/dc2/ssh/authorized_keys
bound=$(cat "$keys")
line="restrict,command=\"walferry receive --config $CONFIG --member dc2-a --from dc1-a\""
: | put "$keys"
finds 1 dc1-a fail ssh 'to dc2-a: .*does not accept key' "$line"
sed 's/.*\(ssh-ed25519\)/\1/' <<<"$bound" | put "$keys"
finds 1 dc1-a fail ssh 'to dc2-a: .*ended with status' "$line"
sed 's/--from dc1-a/--from dc2-a/' <<<"$bound" | put "$keys"
finds 1 dc1-a fail ssh 'to dc2-a: HELLO says dc1-a, but the key is bound to --from dc2-a' "$line"
sed 's/command="/command="echo Welcome to dc2; exec /' <<<"$bound" | put "$keys"
finds 1 dc1-a fail ssh "to dc2-a: .*printed 'Welcome to dc2" "$line"
put "$keys" <<<"$bound"
ready
step "the key of the other direction, which no link uses now"
keys=$WALFERRY_DEMO/dc1/ssh/authorized_keys
bound=$(cat "$keys")
: | put "$keys"
finds 1 dc2-a fail ssh 'to dc1-a: .*does not accept key' 'on the host of dc1-a, .*--member dc1-a --from dc2-a'
[ "$(field 2 .receiving.state)" = up ] || fail "the link used that key"
put "$keys" <<<"$bound"

step "tools and commands"
as sh -c 'mkdir "$1/tools" && ln -s "$2"/* "$1/tools" && rm "$1/tools/pg_rewind"' sh "$WALFERRY_DEMO" "$PGBIN"
variant "s|^bindir .*|bindir = $WALFERRY_DEMO/tools|"
with_variant 1 dc1-a fail tools 'tools/pg_rewind' 'bindir of \[member dc1-a\]'
as sh -c 'printf "#!/bin/sh\nexit 1\n" >"$1/sudo"; chmod 755 "$1/sudo"' sh "$WALFERRY_DEMO/tools"
variant "s|^start .*|start = LANG=C no-such-program now|;s|^stop .*|stop = $WALFERRY_DEMO/tools/sudo systemctl stop postgresql|"
with_variant 2 dc2-a fail commands 'start = .*no program no-such-program' 'correct start of \[member dc2-a\]'
has dc2-a fail commands 'stop = .*sudo wants a password' 'NOPASSWD' || fail "sudo: $(bad)"

step "directories"
chmod 755 "$DC1_SPOOL"
SCOPE=--local finds 1 dc1-a fail config 'spool: .*open to others' ''
chmod 700 "$DC1_SPOOL"
if [ "$(id -u)" = 0 ] && mkdir "$WALFERRY_DEMO/small" && mount -t tmpfs -o size=40m none "$WALFERRY_DEMO/small" 2>/dev/null; then
    chown "$RUN_AS" "$WALFERRY_DEMO/small" && chmod 700 "$WALFERRY_DEMO/small"
    variant "s|^spool .*dc1/spool|spool = $WALFERRY_DEMO/small|"
    with_variant 1 dc1-a fail disk '^(40|3[0-9])\.[0-9] MB free for the spool' 'make room'
    umount "$WALFERRY_DEMO/small"
fi

step "the other side runs with another config, and another time"
install -m 755 "$WALFERRY_BUILD/skew.so" "$WALFERRY_DEMO/bin/" || fail "the build has no skew.so"
perl -e 'print pack("q", 5e6)' | put "$WALFERRY_DEMO/dc2/skew"
as sh -c 'umask 077; { cat "$1"; echo "; changed here only"; } >"$2"' sh "$CONFIG" "$WALFERRY_DEMO/other.ini"
kill_agent 2 TERM
CONFIG=$WALFERRY_DEMO/other.ini ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0 \
    LD_PRELOAD=$WALFERRY_DEMO/bin/skew.so WALFERRY_SKEW=$WALFERRY_DEMO/dc2/skew start_agent 2
finds 1 dc2-a warn 'same config' "differs from that of dc1-a" 'same bytes'
finds 1 dc1-a warn links 'the clocks to dc2-a differ by 5.0 s' 'timedatectl'
kill_agent 2 TERM

step "an agent is down"
finds 1 dc2-a fail report 'dc2-a cannot be asked' 'validate --local'
has dc1-a fail ssh 'to dc2-a: the agent of dc2-a is not running' 'systemctl start walferry@demo' || fail "ssh: $(bad)"
has dc1-a warn compared 'nothing here was compared with dc2-a' '' || fail "silent about what was not compared: $(bad)"
finds 2 dc2-a fail agent 'the agent of dc2-a does not run' 'systemctl start walferry@demo'
has dc2-a ok postgres '' '' && has dc2-a ok ssh '' '' || fail "the rest was not looked at: $report"
start_agent 2
ready

step "an agent hangs"
kill -STOP "$(agent_pid 2)"
look 2 --local
has dc2-a fail agent 'did not answer within 5 s' '' || fail "the agent that hangs: $(bad)"
look 1 --local
has dc1-a fail ssh 'to dc2-a: it lets us in, but no agent answers' 'systemctl start' || fail "its door: $(bad)"
kill -CONT "$(agent_pid 2)"
ready

step "two ask at once, and the agents stop meanwhile"
walferry 1 validate --pool >/dev/null 2>&1 & first=$!
walferry 1 validate --pool >/dev/null 2>&1 & second=$!
wait $first && wait $second || fail "two at once are not both answered"
walferry 1 validate --pool >/dev/null 2>&1 & first=$!
kill_agent 2 TERM || fail "the agent does not stop"
wait $first
start_agent 2
ready
expect 30 level
same_rows
pass

#!/bin/bash
# WAL that the other site needs and the primary has no longer: the gap is named on both sides and filled from the
# first rung of the ladder that has it, under load and over kills. After each, both sides are the same.
. "$(dirname "$0")/lib.sh"
"$ROOT/conf/demo.sh" install pgbackrest barman >/dev/null || fail "pgbackrest and barman are not there"

SLOT=walferry_dc2_a
ARCHIVE=/tmp/wf-$$-archive
BEFORE_DOWN='third down; rm -rf "$ARCHIVE"'

gap() { field 1 ".gaps[0].$1"; }
rung() { field 1 ".gaps[0].rungs[] | select(.rung == \"$1\") | .answer"; }
start_of() { printf '0/%X' $((16#${1:16} * 1048576)); } # SEGMENT
next_segment() { # that the other site needs: the growing one, or behind the last whole one
    local last
    last=$(ls "$DC2_SPOOL" | grep -E "^[0-9A-F]{24}(.partial)?\$" | tail -1)
    case $last in *.partial) echo "${last%.partial}" ;; *) printf "%s%08X\n" "${last:0:16}" $((16#${last:16} + 1)) ;; esac
}
rows() { sql1 "insert into t select n, md5(random()::text) from generate_series(1, 8000) n; select pg_switch_wal()" >/dev/null; }
archived() { [ "$(sql1 "select last_archived_wal >= '$1' from pg_stat_archiver")" = t ]; } # SEGMENT
setting() { sql1 "alter system set $1" >/dev/null; sql1 "select pg_reload_conf()" >/dev/null; }
set_pool() { # [member], or nothing for [pool]; KEY VALUE: in the pool's file, taken up at the agents' next start
    as sed -i "/^$1 *=/d" "$CONFIG"
    as sed -i "/^\[$3/a $1 = $2" "$CONFIG"
}
stop_agents() { kill_agent 2 TERM; kill_agent 1 TERM; }

# What the other site needs next is no longer in pg_wal, and no slot holds it; the load goes on.
make_hole() {
    expect 30 '[ "$(field 2 .spool.flushed)" != null ] && level'
    load 6 -R 150
    stop_agents
    sql1 "select pg_drop_replication_slot('$SLOT')" >/dev/null
    NEXT=$(next_segment)
    recycle
}
recycle() {
    for _ in 1 2 3; do rows; done
    LAST=$(sql1 "select pg_walfile_name(pg_current_wal_lsn())")
    rows
    [ -n "${NO_ARCHIVE:-}" ] || expect 30 'archived "$LAST"'
    for _ in 1 2 3; do rows; sql1 "checkpoint" >/dev/null; done
    expect 10 '[ ! -e "$DC1_PGDATA/pg_wal/$NEXT" ]'
}
same() {
    end_load
    same_rows
    for n in 1 2; do
        as env PGHOST="$WALFERRY_DEMO/dc$n/sock" "$PGBIN/pg_amcheck" --heapallindexed -a >/tmp/wf-$$.amcheck 2>&1 ||
            fail "pg_amcheck: $(head -3 /tmp/wf-$$.amcheck)"
    done
    rm -f /tmp/wf-$$.amcheck
}
filled() { # REGEX of what the agent's log says since the step began
    said=$1
    expect 60 'tail -c +$((MARK + 1)) "$WALFERRY_DEMO/dc1/agent.log" | grep -qE "$said"'
    expect 60 '[ "$(field 1 ".gaps | length")" = 0 ]'
    expect 30 '[ "$(field 1 ".links[0] | .state, .reason, .source_reason" | tr "\n" " ")" = "up null null " ]'
    expect 30 '[ "$(field 2 .receiving.reason)" = null ]'
    same
}
begin() { step "$@"; MARK=$(stat -c %s "$WALFERRY_DEMO/dc1/agent.log" 2>/dev/null || echo 0); }
third() { :; }

export DEMO_SEGMENT_MB=1
export DEMO_MEMBER_CONF="fetch_command = cp $ARCHIVE/dir/%f \"%p\""
export DEMO_CONF="archive_mode = on
archive_command = 'cp \"%p\" $ARCHIVE/dir/%f'
autovacuum = off"
mkdir -p "$ARCHIVE/dir"
[ "$(id -u)" != 0 ] || chown -R postgres "$ARCHIVE"
start_pool
sql1 "create extension amcheck; create table t (n int, x text)" >/dev/null
fill 1

begin "the slot is dropped, pg_wal still has all"
load 6 -R 150
expect 20 '[ "$(field 1 ".links[0].flushed.lsn")" != null ] && level'
kill_agent 2 TERM
setting "wal_keep_size = '64MB'"
sql1 "select pg_drop_replication_slot('$SLOT')" >/dev/null
expect 10 '[ "$(gap state)" = delayed ]'
[ "$(gap member)" = dc2-a ] && gap why | grep -q "slot was gone" || fail "the gap is not named: $(field 1 .gaps)"
start_agent 2
filled "gap of dc2-a is closed"
setting "wal_keep_size = 0"

begin "the archive is a directory"
make_hole
start_agent 1
start_agent 2
filled "all of it is here, from the archive"

begin "the slot is invalidated by max_slot_wal_keep_size"
load 6 -R 150
kill_agent 2 TERM
expect 10 '[ "$(sql1 "select active from pg_replication_slots")" = f ]'
NEXT=$(next_segment)
setting "max_slot_wal_keep_size = '1MB'"
recycle
setting "max_slot_wal_keep_size = -1"
expect 20 'says 1 "slot $SLOT was invalidated and keeps nothing any more: dropped"'
start_agent 2
filled "all of it is here, from the archive"

begin "a segment is gone from pg_wal though the slot holds it"
load 6 -R 150
kill_agent 2 TERM
expect 10 '[ "$(sql1 "select active from pg_replication_slots")" = f ]'
NEXT=$(next_segment)
for _ in 1 2 3; do rows; done
expect 30 'archived "$(sql1 "select pg_walfile_name(pg_current_wal_lsn() - 2000000)")"'
as rm "$DC1_PGDATA/pg_wal/$NEXT"
start_agent 2
filled "all of it is here, from the archive"

begin "the agent is killed again and again while it fetches, slowly"
make_hole
set_pool fetch_command "sleep 0.1; cp $ARCHIVE/dir/%f \"%p\"" "member dc1-a"
start_agent 2
for _ in 1 2 3; do
    start_agent 1
    expect 20 '[ "$(gap state)" = "in flight" ]'
    kill_agent 1
    [ -s "$DC1_SPOOL/gaps" ] || fail "the gap is not on disk"
done
walferry 1 gaps >/tmp/wf-$$.out 2>&1
grep -q "dc2-a lacks WAL from $(start_of "$NEXT")" /tmp/wf-$$.out || fail "walferry gaps does not name it without the agent: $(cat /tmp/wf-$$.out)"
rm -f /tmp/wf-$$.out
start_agent 1
filled "all of it is here, from the archive"

begin "pgBackRest"
as mkdir -p "$ARCHIVE/repo" "$ARCHIVE/log" "$ARCHIVE/lock"
as sh -c 'cat >"$1"' sh "$ARCHIVE/pgbackrest.conf" <<END
[global]
repo1-path=$ARCHIVE/repo
log-path=$ARCHIVE/log
lock-path=$ARCHIVE/lock
log-level-console=error
[demo]
pg1-path=$DC1_PGDATA
pg1-socket-path=$WALFERRY_DEMO/dc1/sock
pg1-user=$RUN_AS
END
REST="pgbackrest --config=$ARCHIVE/pgbackrest.conf --stanza=demo"
as $REST stanza-create || fail "pgbackrest stanza-create"
setting "archive_command = '$REST archive-push \"%p\"'"
rows
expect 30 level
stop_agents
set_pool fetch_command "$REST archive-get %f \"%p\"" "member dc1-a"
start_agent 1
start_agent 2
make_hole
start_agent 1
start_agent 2
filled "all of it is here, from the archive"

begin "Barman"
as mkdir -p "$ARCHIVE/barman" "$ARCHIVE/barman.d"
as sh -c 'cat >"$1"' sh "$ARCHIVE/barman.conf" <<END
[barman]
barman_user = $RUN_AS
barman_home = $ARCHIVE/barman
configuration_files_directory = $ARCHIVE/barman.d
log_file = $ARCHIVE/log/barman.log
[demo]
description = walferry's test
conninfo = $DC1_PG dbname=postgres
backup_method = postgres
streaming_conninfo = $DC1_PG dbname=postgres
archiver = on
END
BARMAN="barman -c $ARCHIVE/barman.conf"
as $BARMAN check demo >/dev/null 2>&1 # makes its folders
setting "archive_command = 'cp \"%p\" $ARCHIVE/barman/demo/incoming/%f'"
rows
stop_agents
set_pool fetch_command "$BARMAN get-wal demo %f >\"%p\"" "member dc1-a"
start_agent 1
start_agent 2
make_hole
as $BARMAN archive-wal demo >/dev/null 2>&1 || fail "barman archive-wal"
start_agent 1
start_agent 2
filled "all of it is here, from the archive"
pass

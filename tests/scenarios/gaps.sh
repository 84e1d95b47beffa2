#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# WAL that the other site needs and the primary has no longer: the gap is named on both sides and filled from the
# first rung of the ladder that has it, under load and over kills. After each, both sides are the same.
. "$(dirname "$0")/lib.sh"
"$ROOT/conf/demo.sh" install pgbackrest barman >/dev/null || fail "pgbackrest and barman are not there"

SLOT=walferry_dc2_a
ARCHIVE=/tmp/wf-$$-archive
BEFORE_DOWN='third down; pkill -P "${LOAD_PID:-0}"; rm -rf "$ARCHIVE"'

gap() { field 1 ".gaps[0].$1"; }
rung() { field 1 ".gaps[0].rungs[] | select(.rung == \"$1\") | .answer"; }
start_of() { printf '0/%X' $((16#${1:16} * 1048576)); } # SEGMENT
segments() { ls "$1" | grep -E '^[0-9A-F]{24}$'; }
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

# All is flushed, also what readers wrote (hint bits), and level.
settle() {
    sql1 "select pg_switch_wal()" >/dev/null
    expect 30 '[ "$(field 2 .spool.flushed)" != null ] && level'
}
# What the other site needs next is no longer in pg_wal, and no slot holds it; the load goes on.
make_hole() {
    settle
    load 100 -R 150
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
    pkill -P "$LOAD_PID" # pgbench: rows and WAL stand still for the comparison
    end_load
    settle
    same_rows
    sound ${LAST_STEP:+--heapallindexed}
}
filled() { # REGEX of what the agent's log says since the step began
    said=$1
    expect 240 'tail -c +$((MARK + 1)) "$WALFERRY_DEMO/dc1/agent.log" | grep -qE "$said"'
    expect 60 '[ "$(field 1 ".gaps | length")" = 0 ]'
    expect 30 '[ "$(field 1 ".links[0] | .state, .reason, .source_reason" | tr "\n" " ")" = "up null null " ]'
    expect 30 '[ "$(field 2 .receiving.reason)" = null ]'
    same
}
begin() { step "$@"; MARK=$(stat -c %s "$WALFERRY_DEMO/dc1/agent.log" 2>/dev/null || echo 0); }
flip() { # FILE: another byte in one of its records, or the right one again
    printf "\\x$(printf %02x $(($(od -An -tu1 -j 20000 -N 1 "$1") ^ 255)))" | as dd of="$1" bs=1 seek=20000 conv=notrunc status=none
}
# A member of a third site: an agent that receives; its PostgreSQL is not started.
third() { # up|down
    local d=$WALFERRY_DEMO/dc3
    if [ "$1" = down ]; then
        [ -d "$d" ] || return 0
        for file in "$d/run/agent.pid" "$d/ssh/sshd.pid"; do kill "$(cat "$file")"; done
        as mv "$CONFIG.two" "$CONFIG"
        as rm -rf "$d"
        return
    fi
    add_third
    as "$PGBIN/pg_basebackup" -d "$DC1_PG" -D "$d/data" -X none --no-manifest -c fast >/dev/null 2>&1 || fail "pg_basebackup"
    stop_agents
    for n in 1 2 3; do start_agent $n; done
    expect 30 '[ "$(field 3 .receiving.flushed.behind_bytes)" = 0 ] && level'
}

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
load 100 -R 150
settle
kill_agent 2 TERM
setting "wal_keep_size = '64MB'"
setting "max_wal_size = '1GB'" # none is under way when the slot is made anew: where that begins is known when it has ended
rows
sql1 checkpoint
for _ in 1 2 3; do rows; done
sql1 "select pg_drop_replication_slot('$SLOT')" >/dev/null
expect 10 '[ "$(gap state)" = delayed ]'
expect 10 '[ "$(gap end)" = "$(sql1 "select pg_lsn(restart_lsn - (restart_lsn - '"'0/0'"') % 1048576) from pg_replication_slots where slot_name = '"'$SLOT'"'")" ]' # what the new slot does not hold
[ "$(gap member)" = dc2-a ] && gap why | grep -q "slot was gone" || fail "the gap is not named: $(field 1 .gaps)"
start_agent 2
filled "gap of dc2-a is closed"
sql1 "alter system reset max_wal_size" >/dev/null
setting "wal_keep_size = 0"

begin "the archive is a directory"
make_hole
start_agent 1
start_agent 2
filled "all of it is here, from the archive"

begin "the slot is invalidated by max_slot_wal_keep_size"
load 100 -R 150
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
load 100 -R 150
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

begin "the gap goes over a change of timeline"
settle
stop_agents
sql1 "select pg_drop_replication_slot('$SLOT')" >/dev/null
NEXT=$(next_segment)
rows
sql1 "insert into t values (1, 'in the segment that both timelines have'); checkpoint" >/dev/null
pg1 -m fast stop
as touch "$DC1_PGDATA/standby.signal"
pg1 start
as "$PGBIN/pg_ctl" -D "$WALFERRY_DEMO/dc1/etc" -w promote >/dev/null || fail "pg_ctl promote"
load 100 -R 150
recycle
start_agent 1
start_agent 2
filled "all of it is here, from the archive"
[ "$(field 2 .spool.timeline)" = 2 ] || fail "the other site is not on timeline 2"

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

begin "more than fetch_limit is got with consent only"
set_pool fetch_command "cp $ARCHIVE/dir/%f \"%p\"" "member dc1-a"
set_pool fetch_limit 1MB pool
setting "archive_command = 'cp \"%p\" $ARCHIVE/dir/%f'"
make_hole
start_agent 1
start_agent 2
expect 20 'gap doing | grep -q "the archive has it: .* about .*/s; over fetch_limit (1.0 MB).* walferry gaps fill --yes"'
[ "$(gap state)" = delayed ] || fail "the gap is $(gap state)"
walferry 1 gaps fill >/dev/null || fail "gaps fill"
expect 20 'gap doing | grep -q "over fetch_limit"'
walferry 1 gaps fill --yes >/dev/null || fail "gaps fill --yes"
filled "all of it is here, from the archive"
set_pool fetch_limit 16GB pool

begin "a third member: one byte of a record is another one in the archive and in its spool: both are refused by name"
third up
load 100 -R 150
kill_agent 2 TERM
NEXT=$(next_segment)
for _ in 1 2 3; do rows; done
expect 20 "archived $NEXT"
expect 20 '[ -e "$WALFERRY_DEMO/dc3/spool/$NEXT" ]'
flip "$ARCHIVE/dir/$NEXT"
flip "$WALFERRY_DEMO/dc3/spool/$NEXT"
sql1 "checkpoint" >/dev/null
expect 10 '[ "$(sql1 "select pg_drop_replication_slot('"'$SLOT'"')")" = "" ]'
for _ in 1 2 3; do rows; sql1 "checkpoint" >/dev/null; done
expect 20 '[ ! -e "$DC1_PGDATA/pg_wal/$NEXT" ]'
start_agent 2
expect 30 '[ "$(gap state)" = lost ]'
rung archive | grep -q "the record at .* of segment $NEXT has a wrong CRC" && rung spools | grep -q "dc3-a: the record at .* of segment $NEXT has a wrong CRC" ||
    fail "the rungs say $(field 1 .gaps)"
step "... and its spool is as it was"
flip "$WALFERRY_DEMO/dc3/spool/$NEXT"
walferry 1 gaps fill >/dev/null || fail "gaps fill"
filled "all of it is here, from the spool of dc3-a"
third down
stop_agents
sql1 "select pg_drop_replication_slot('walferry_dc3_a')" >/dev/null
start_agent 1
start_agent 2

LAST_STEP=1
begin "nobody has it: lost, in words on both sides; given up, and made a new copy of"
make_hole
as rm -rf "$ARCHIVE/dir/$NEXT"
start_agent 1
start_agent 2
expect 30 '[ "$(gap state)" = lost ]'
[ "$(gap start)" = "$(start_of "$NEXT")" ] && [ "$(gap first_segment)" = "$NEXT" ] && [ "$(gap member)" = dc2-a ] ||
    fail "the gap is not $NEXT and on: $(field 1 .gaps)"
[ "$(gap end)" = "$(start_of "$(segments "$DC1_PGDATA/pg_wal" | head -1)")" ] || fail "it does not end where pg_wal begins: $(field 1 .gaps)"
rung pg_wal | grep -q "begins at" && rung slot | grep -q "$SLOT keeps WAL from" && rung archive | grep -q "fetch_command for $NEXT ended with status 1: cp: cannot stat" &&
    rung spools | grep -q "no other member's spool" && rung reseed | grep -q "walferry seed" || fail "the rungs say $(field 1 .gaps)"
expect 20 'field 2 .receiving.reason | grep -q "WAL from $(start_of "$NEXT") to .* is gone from the primary .*lost"'
walferry 1 gaps >/tmp/wf-$$.out
[ $? = 1 ] && grep -q "dc2-a lacks WAL from $(start_of "$NEXT")" /tmp/wf-$$.out && grep -q "a new copy has .* MB to carry" /tmp/wf-$$.out ||
    fail "walferry gaps says $(cat /tmp/wf-$$.out)"
rm -f /tmp/wf-$$.out
walferry 2 gaps | grep -q "Here: WAL from $(start_of "$NEXT") to .* is gone from the primary" || fail "walferry gaps on the other side says $(walferry 2 gaps)"
walferry 1 status | grep -q "^GAP: dc2-a lacks WAL from" || fail "status does not show it"
expect 10 'field 1 ".events[].id" | grep -q WF014'
curl -s "http://$DC1_HTTP/metrics" | grep -qE 'walferry_gap_bytes\{state="lost"\} [1-9]' || fail "no metric"
walferry 1 gaps give-up >/dev/null 2>&1 && fail "given up without a reason"
walferry 1 gaps give-up dc1-a --reason x >/dev/null && fail "given up for a member that lacks nothing"
walferry 1 gaps give-up dc2-a --reason "the rows were test data" >/dev/null || fail "give-up"
expect 5 '[ "$(gap state)" = "given up" ] && [ "$(gap doing)" = "the rows were test data" ]'
expect 20 'field 2 .receiving.reason | grep -q "given up.: the rows were test data"'
kill_agent 1
start_agent 1
expect 20 '[ "$(gap state)" = "given up" ] && field 2 .receiving.reason | grep -q "the rows were test data"'
walferry 1 gaps fill >/dev/null
expect 20 '[ "$(gap state)" = lost ]'
pg2 -m immediate stop
kill_agent 2 TERM
as sh -c 'rm -rf "$1"/* "$2"/*' sh "$DC2_PGDATA" "$DC2_SPOOL"
as "$PGBIN/pg_basebackup" -d "$DC1_PG" -D "$DC2_PGDATA" -X stream -c fast >/dev/null 2>&1 || fail "pg_basebackup"
as touch "$DC2_PGDATA/standby.signal"
start_agent 2
pg2 start || fail "the new standby does not start"
filled "gap of dc2-a is closed"
pass

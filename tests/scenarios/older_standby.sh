#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A standby is restored by hand from a backup that is older than the fresh spool beside it, and predates a change of the
# timeline. It cannot replay what is in the spool, so nothing of that counts as durable; what lies between is a gap, got
# from the primary's pg_wal or its archive, and put before the spool.
. "$(dirname "$0")/lib.sh"

SLOT=walferry_dc2_a
ARCHIVE=/tmp/wf-$$-archive
BEFORE_DOWN='rm -rf "$ARCHIVE"'

gap() { field 1 ".gaps[0].$1"; }
rows() { sql1 "insert into t select n, md5(random()::text) from generate_series(1, 8000) n; select pg_switch_wal()" >/dev/null; }
setting() { sql1 "alter system set $1" >/dev/null; sql1 "select pg_reload_conf()" >/dev/null; }
confirmed() { [ "$(sql1 "select flush_lsn >= pg_current_wal_flush_lsn() from pg_stat_replication where application_name = '$SLOT'")" = t ]; }
exposure() { field "$1" ".exposure_seconds | if . == null then \"unknown\" elif . < 3 then \"small\" else \"grows\" end"; }
change() { # of the timeline
    sql1 "insert into t values (1, 'before the change')" >/dev/null
    pg1 -m fast stop
    as touch "$DC1_PGDATA/standby.signal"
    pg1 start
    pg1 promote || fail "pg_ctl promote"
    expect 10 '[ "$(sql1 "select pg_is_in_recovery()")" = f ]'
    sql1 "insert into t values (2, 'behind the change'); checkpoint" >/dev/null
}
# A backup without WAL; the primary goes over to another timeline while the pool is down; a fresh spool comes up, then
# the standby of the backup.
restore() { # COMMAND, behind the change
    as rm -rf "$WALFERRY_DEMO/backup"
    as "$PGBIN/pg_basebackup" -d "$DC1_PG" -D "$WALFERRY_DEMO/backup" -X none -c fast >/dev/null 2>&1 || fail "pg_basebackup"
    NEEDS=$(sed -n 's/^START WAL LOCATION: .*file \([0-9A-F]*\)).*/\1/p' "$WALFERRY_DEMO/backup/backup_label")
    pg2 -m immediate stop
    kill_agent 2 TERM
    kill_agent 1 TERM
    sql1 "select pg_drop_replication_slot('$SLOT')" >/dev/null
    change
    "$@"
    as sh -c 'rm -rf "$1"/* "$2"/* && cp -a "$3"/. "$1" && touch "$1/standby.signal"' sh "$DC2_PGDATA" "$DC2_SPOOL" "$WALFERRY_DEMO/backup"
    start_agent 1
    start_agent 2
    expect 20 '[ "$(field 2 .receiving.flushed.behind_bytes)" = 0 ]'
    [ ! -e "$DC2_SPOOL/$NEEDS" ] || fail "the spool has $NEEDS already: it shows nothing"
    pg2 -W start # it answers when it has its WAL
}
follows() {
    expect 60 level
    same_rows
    expect 10 '[ ! -e "$DC2_SPOOL/front" ]'
    [ -e "$DC2_SPOOL/$NEEDS" ] || fail "$NEEDS is not in the spool: $(ls "$DC2_SPOOL")"
    expect 20 '[ "$(field 1 ".gaps | length")" = 0 ] && [ "$(field 2 .receiving.reason)" = null ]'
    expect 10 '[ "$(exposure 1) $(exposure 2)" = "small small" ] && confirmed'
}
recycle() { # ... which is not the last one
    rows
    change
    for _ in 1 2 3; do rows; done
    expect 30 '[ -e "$ARCHIVE/$NEEDS" ]'
    for _ in 1 2 3; do rows; sql1 "checkpoint" >/dev/null; done
    expect 10 '[ ! -e "$DC1_PGDATA/pg_wal/$NEEDS" ]'
    mv "$ARCHIVE/$NEEDS" "$ARCHIVE/away"
}

export DEMO_SEGMENT_MB=1
export DEMO_MEMBER_CONF="fetch_command = cp $ARCHIVE/%f \"%p\""
export DEMO_CONF="archive_mode = on
archive_command = 'cp \"%p\" $ARCHIVE/%f'
wal_keep_size = 64MB
autovacuum = off"
mkdir -p "$ARCHIVE"
[ "$(id -u)" != 0 ] || chown postgres "$ARCHIVE"
start_pool
sql1 "create table t (n int, x text)" >/dev/null
rows

step "the primary's pg_wal has what the standby needs"
restore true
follows
[ "$(field 2 .spool.timeline)" = 2 ] || fail "the spool is on timeline $(field 2 .spool.timeline)"
kill_agent 2
start_agent 2
rows
follows

step "nobody has it: nothing counts as durable, and the gap has a name on both sides"
setting "wal_keep_size = 0"
restore recycle
expect 30 '[ "$(gap state)" = lost ]'
[ "$(gap member) $(gap first_segment)" = "dc2-a $NEEDS" ] || fail "the gap is not $NEEDS and on: $(field 1 .gaps)"
expect 10 'field 2 .receiving.reason | grep -q "WAL from .* is gone from the primary"'
rows
expect 10 '[ "$(exposure 1)" != small ] && [ "$(exposure 2)" != small ] && ! confirmed'
[ "$(field 2 .receiving.flushed.lsn)" = null ] || fail "its flushed position is $(field 2 .receiving.flushed)"
step "no WAL of the gap comes: that behind the spool's end does, and does not count either"
written=$(field 2 .spool.received)
expect 90 '[ "$(field 2 .spool.received)" != "$written" ]'
expect 10 'field 2 .receiving.reason | grep -q "PostgreSQL here needs WAL from .* nothing that is here counts as durable"'
[ "$(exposure 1)" != small ] && [ "$(exposure 2)" != small ] && ! confirmed || fail "what the standby cannot replay counts as durable"

step "the archive has it again"
mv "$ARCHIVE/away" "$ARCHIVE/$NEEDS"
expect 90 '[ "$(gap state)" != null ]'
walferry 1 gaps fill >/dev/null
expect 120 level
follows
[ "$(field 2 .spool.timeline)" = 4 ] || fail "the spool is on timeline $(field 2 .spool.timeline)"
pass

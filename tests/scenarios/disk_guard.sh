#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# pg_wal and the outbox on file systems of their own, and both become full while the line is cut: production goes on,
# what the other site lacks is recorded to the byte before its slot is let go, and got from the archive at last. With on_full = hold nothing is let go,
# nor where a file system is full of other things and the slot keeps little.
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || skip "needs root to mount"

IMAGE=/tmp/wf-$$.image
BEFORE_DOWN=unmount
unmount() {
    pg1 stop -m immediate
    kill_agent 1
    umount "$WALFERRY_DEMO/wal" "$WALFERRY_DEMO/out" 2>/dev/null
    rm -rf "$IMAGE".*
}
mount_at() { # NAME MB
    mkdir "$WALFERRY_DEMO/$1"
    truncate -s "$2M" "$IMAGE.$1" && mkfs.ext4 -qFm 0 "$IMAGE.$1" || fail "cannot make a file system"
    mount -o loop "$IMAGE.$1" "$WALFERRY_DEMO/$1" || skip "root may not mount here"
    chown "$RUN_AS" "$WALFERRY_DEMO/$1" && chmod 700 "$WALFERRY_DEMO/$1"
}

slot() { sql1 "select $1 from pg_replication_slots where slot_name = 'walferry_dc2_a'"; }
free_mb() { df --output=avail -BM "$WALFERRY_DEMO/$1" | tail -1 | tr -dc 0-9; }
names() { [ -e "$DC1_PGDATA/pg_wal/$(sql1 "select pg_walfile_name('$1'::pg_lsn + 1)")" ]; } # LSN: its segment is there
wal() { # MB of WAL at a time, some MB per second, until COMMAND holds
    local deadline=$((SECONDS + 90))
    until eval "$1" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || fail "did not happen under load: $1; $(field 1 .guard) $(free_mb wal) MB free"
        sql1 "insert into filler select md5(n::text) from generate_series(1, 20000) n" >/dev/null || fail "production stands still"
    done
}
segment_gap() { jq -r "$1" "$DC1_SPOOL/gaps" | head -1; }

small_pool() { # KEYS
    export DEMO_SEGMENT_MB=1 DEMO_POOL_CONF="$POOL_CONF
$1"
    start_pool
    step "pg_wal moves to a file system of 100 MB, the outbox to one of 25"
    kill_agent 1 TERM
    pg1 stop || fail "PostgreSQL does not stop"
    mount_at wal 100
    mount_at out 25
    as sh -c 'mv "$1/pg_wal" "$2/w" && ln -s "$2/w" "$1/pg_wal"' sh "$DC1_PGDATA" "$WALFERRY_DEMO/wal" || fail "cannot move"
    as sed -i "s|^spool    = $DC1_SPOOL\$|&\noutbox   = $WALFERRY_DEMO/out|" "$CONFIG"
    pg1 start || fail "PostgreSQL does not start"
    sql1 "create extension amcheck; create table filler(x text)" >/dev/null
    start_agent 1
    expect 20 '[ "$(field 1 .links[0].state)" = up ]'
    expect 20 level
}

ARCHIVE=$IMAGE.archive
mkdir "$ARCHIVE"
chown postgres "$ARCHIVE"
export DEMO_MEMBER_CONF="fetch_command = cp $ARCHIVE/dir/%f \"%p\"" # not there yet
export DEMO_CONF="archive_mode = on
archive_command = 'cp \"%p\" $ARCHIVE/%f'
wal_recycle = off
autovacuum = off" # no WAL but the test's

small_pool "pg_wal_reserve = 20%"
sql1 "select pg_create_physical_replication_slot('other', true)" >/dev/null # nobody reads it
chmod 500 "$ARCHIVE"
demo cut
step "the outbox is used as pg_wal fills, and becomes full"
wal '[ "$(field 1 .outbox.filling)" = true ]'
[ "$(field 1 .guard.step)" = outbox ] || fail "step $(field 1 .guard)"
wal '[ "$(field 1 .outbox.full)" = true ]'
[ "$(free_mb out)" -lt 8 ] || fail "the outbox is not full: $(free_mb out) MB"

step "pg_wal has less than its reserve, but another slot keeps it, too: nothing is let go, the reason is told"
wal '[ "$(field 1 .guard.step)" = hold ] && [ "$(free_mb wal)" -lt 18 ]'
walferry 1 status | grep -q "pg_wal is kept by slot other" || fail "status does not tell: $(field 1 .guard)"
expect 20 'walferry 1 events | grep WF017 | grep -q "kept by slot other"'
step "... then it is archive_command that fails"
sql1 "select pg_drop_replication_slot('other')" >/dev/null
expect 20 'walferry 1 status | grep -q "pg_wal is kept by archive_command"'
[ "$(grep -c "guard: pg_wal is kept" "$WALFERRY_DEMO/dc1/agent.log")" = 2 ] || fail "not told once each"
[ ! -s "$DC1_SPOOL/gaps" ] || fail "a gap: $(cat "$DC1_SPOOL/gaps")"
[ "$(slot "wal_status in ('reserved', 'extended')")" = t ] || fail "the slot is $(slot wal_status)"

step "both are mended: what only they kept is removed at once, nothing is let go for it"
chmod 700 "$ARCHIVE"
sql1 "select pg_switch_wal()" >/dev/null # PostgreSQL tries its archive again
expect 20 '[ "$(field 1 .guard.kept)" = null ]'
expect 20 '! names "$(slot "restart_lsn - 1048576")"'
[ ! -s "$DC1_SPOOL/gaps" ] || fail "a gap: $(cat "$DC1_SPOOL/gaps")"

step "only our slot keeps it: it is let go, production goes on"
wal '[ -s "$DC1_SPOOL/gaps" ]'
wal '[ "$(slot "pg_current_wal_lsn() - restart_lsn < 20000000")" = t ]'
wal '[ "$(free_mb wal)" -gt 30 ]'
expect 10 'walferry 1 events | grep -q WF016'
[ "$(field 1 .guard.released)" != null ] || fail "status does not tell"

step "the recorded range is exact"
start=$(segment_gap .start) end=$(segment_gap .end)
[ "$(segment_gap .member) $(segment_gap .timeline)" = "dc2-a 1" ] || fail "of $(segment_gap .member)"
[ "$start" = "$(field 1 .outbox.end)" ] || fail "it begins at $start, the outbox ends at $(field 1 .outbox.end)"
expect 10 'sql1 checkpoint && ! names "$(sql1 "select '"'\$end'"'::pg_lsn - 1048576")"' # all that is said to be gone
names "$end" || fail "$end is not in pg_wal"
[ "$(slot "restart_lsn - '$end'::pg_lsn between 0 and 1048575")" = t ] || fail "slot at $(slot restart_lsn), gap up to $end"

step "the line is whole again: all that is held is shipped, up to the gap"
demo heal
expect 30 '[ "$(field 1 .links[0].state)" = up ]'
expect 30 '[ "$(sql1 "select '"'"'$(field 1 .links[0].flushed.lsn)'"'"'::pg_lsn = '"'$start'"'")" = t ]'

step "the archive is there: the gap is filled, both sides are the same"
expect 30 '[ "$(field 1 ".gaps[0].state")" = lost ]'
ln -s . "$ARCHIVE/dir"
walferry 1 gaps fill --yes >/dev/null || fail "gaps fill"
expect 60 '[ "$(field 1 ".gaps | length")" = 0 ]'
same_rows
sound
unmount
unset DEMO_MEMBER_CONF
export DEMO_CONF="autovacuum = off" # it would fill what is held

small_pool "pg_wal_reserve = 20%
on_full = hold
outbox_max = 5MB"
step "on_full = hold: nothing is let go"
demo cut
wal '[ "$(field 1 .guard.step)" = hold ]'
expect 10 'walferry 1 events | grep -q WF017'
[ ! -s "$DC1_SPOOL/gaps" ] || fail "a gap: $(cat "$DC1_SPOOL/gaps")"
[ "$(slot "wal_status in ('reserved', 'extended')")" = t ] || fail "the slot is $(slot wal_status)"
step "the line is whole again: all of it is shipped"
demo heal
expect 60 '[ "$(field 1 .outbox.bytes)" = 0 ]'
expect 60 '[ "$(field 1 .guard.step)" = watch ]'
expect 60 'sql1 checkpoint && [ "$(free_mb wal)" -gt 30 ]' # a dump writes WAL, too
same_rows
same_segments
sound

step "the file system is full of other things, the outbox is on it, too: what the slot keeps is next to nothing of what is missing"
kill_agent 1 TERM
as sed -i "/^on_full/d; s|^outbox .*|outbox = $WALFERRY_DEMO/wal/out|; s/^pg_wal_reserve.*/pg_wal_reserve = 50%, 16GB/" "$CONFIG"
fill() { # what a checkpoint has removed is room again
    sql1 checkpoint >/dev/null
    local more=$(($(free_mb wal) - 30))
    [ $more -le 0 ] || as fallocate -l ${more}M "$(as mktemp "$WALFERRY_DEMO/wal/other.XXXX")" || fail "cannot fill"
}
fill
start_agent 1
expect 20 '[ "$(field 1 .links[0].state)" = up ] && level'
demo cut
wal '[ "$(field 1 .guard.retained_bytes)" -gt 2000000 ]'
fill
expect 20 '[ "$(field 1 .guard.step)" = outbox ]'
[ "$(field 1 .guard.reserve_bytes)" -gt $(($(free_mb wal) << 20)) ] || fail "$(free_mb wal) MB free, and not short of it: $(field 1 .guard)"
! wait_for 5 '[ -s "$DC1_SPOOL/gaps" ]' || fail "let go for nothing: $(cat "$DC1_SPOOL/gaps")"
[ "$(field 1 .guard.released)" = null ] || fail "$(field 1 .guard.released)"
demo heal
expect 60 '[ "$(field 1 .links[0].state)" = up ]'
same_rows
same_segments
pass

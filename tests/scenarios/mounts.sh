#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# pg_wal is a file system of its own: seed and rejoin say so before anything is touched; a rewind works with it.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
[ "$(id -u)" = 0 ] || skip "needs root to mount"
BEFORE_DOWN='for n in 1 2; do kill_agent $n; kill_postgres $n; done; cut -d" " -f2 /proc/mounts | grep "^$WALFERRY_DEMO/" | xargs -r umount'

mount_wal() { # N PGDATA: PostgreSQL is down meanwhile
    "pg$1" -m fast stop
    as cp -a "$2/pg_wal" "$2.wal"
    mount -t tmpfs -o mode=700,uid="$(id -u "$RUN_AS")",gid="$(id -g "$RUN_AS")" tmpfs "$2/pg_wal" || skip "root may not mount here"
    as cp -a "$2.wal/." "$2/pg_wal"
    rm -r "$2.wal"
    "pg$1" start || fail "dc$1 does not start"
}
untouched() { # N PGDATA CODE WANTED WORD: nothing was stopped, moved or held
    [ "$3" = "$4" ] || fail "it exits $3, not $4: $(cat "$OUT")"
    told "$5"
    [ -n "$(sql "$1" "select 1")" ] || fail "PostgreSQL of dc$1 does not answer"
    [ -z "$(ls -d "$2".walferry-* "$WALFERRY_DEMO/dc$1/spool"/{seed.job,rejoin.job,hold} 2>/dev/null)" ] || fail "something is left over"
}

start_pool
prepare_pool
mount_wal 1 "$DC1_PGDATA"
mount_wal 2 "$DC2_PGDATA"
expect 30 level
step "a new copy: the mount point would stay with what it replaces"
walferry 2 seed --replace --yes </dev/null >"$OUT" 2>&1
untouched 2 "$DC2_PGDATA" $? 1 "$DC2_PGDATA/pg_wal is a mount point"
walferry 2 seed --replace --yes --force </dev/null >"$OUT" 2>&1
untouched 2 "$DC2_PGDATA" $? 1 "$DC2_PGDATA/pg_wal is a mount point"
step "rejoin of a former primary: not by a new copy, nor over what pg_rewind cannot read"
demo cut
sql1 "insert into one values (11, 'mine')" >/dev/null
failover 2
demo heal
expect 20 '[ "$(field 1 .epoch.number)" = 2 ]'
rejoin 1 --replace --yes
untouched 1 "$DC1_PGDATA" $? 1 "$DC1_PGDATA/pg_wal is a mount point"
mkdir -m 700 "$DC1_PGDATA/pg_wal/lost+found"
rejoin 1 --yes
untouched 1 "$DC1_PGDATA" $? 1 "pg_wal/lost+found cannot be read"
step "... a rewind works"
rmdir "$DC1_PGDATA/pg_wal/lost+found"
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
follows 1
mountpoint -q "$DC1_PGDATA/pg_wal" || fail "pg_wal is no mount point any more"
same_sides 2 1
pass

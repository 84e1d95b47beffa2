#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# bench/rejoin.sh: walferry rejoin beside plain pg_rewind over ssh -L, in one run, of the same
# former primary. A benchmark, not a test: it prints a table with the ratio.
#
#   tests/bench/rejoin.sh [--mb N] [RTT[-MBIT] ...]     default: 500, "0 40 40-100"
#
# Rewind: CHECKPOINT and pg_rewind, until it is on disk. Whole: walferry rejoin until the standby
# follows, with what is kept and listed. Both sides have worked since the fork.
set -u
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
MB=500
die() { echo "bench: $*" >&2; exit 1; }
while [ $# -gt 0 ]; do
    case $1 in
    --mb) MB=$2; shift ;;
    -*) sed -n '3,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || set -- 0 40 40-100
export WALFERRY_DEMO=/tmp/wf-rejoin-$$ DEMO_LOAD_SECONDS=0 DEMO_CONF="max_wal_size = 4GB
wal_keep_size = 2GB
autovacuum = off"
PEER=$WALFERRY_DEMO/peer
demo() { "$ROOT/conf/demo.sh" "$@" >/dev/null || die "demo.sh $*"; }
cleanup() {
    pkill -f "^ssh -N .*$PEER/key" 2>/dev/null
    "$ROOT/conf/demo.sh" down >/dev/null
}
trap cleanup EXIT
trap 'exit 1' INT TERM
as() { if [ "$(id -u)" = 0 ]; then runuser -u "$RUN_AS" -- "$@"; else "$@"; fi; }
walferry() { local n=$1; shift; as "$WALFERRY" "$@" --config "$CONFIG" --member "dc$n-a"; }
work() { as "$PGBIN/pgbench" -n -c 4 -T 5 "$1 dbname=postgres" >/dev/null 2>&1; } # CONNINFO
await() { # SECONDS COMMAND
    local deadline=$((SECONDS + $1))
    until eval "$2" >/dev/null 2>&1; do [ $SECONDS -lt $deadline ] || die "did not happen: $2"; sleep 0.1; done
}
seconds() { # COMMAND ...
    local from=$EPOCHREALTIME
    "$@" >"$WALFERRY_DEMO/out" 2>&1 || { tail -3 "$WALFERRY_DEMO/out" >&2; die "$* failed"; }
    awk -v a="$from" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }'
}
# A former primary, stopped, and a copy of it for the peer.
fork() {
    demo up
    . "$WALFERRY_DEMO/env"
    cd /
    [ "$(id -u)" != 0 ] || chmod 777 "$WALFERRY_DEMO"
    as "$PGBIN/pgbench" -i -q -s $((MB / 15)) "$DC1_PG dbname=postgres" >/dev/null 2>&1 || die "pgbench -i"
    walferry 1 sync --applied --timeout 300s >/dev/null || die "not level"
    demo cut
    work "$DC1_PG"
    walferry 2 failover --yes --force >/dev/null || die "failover"
    work "$DC2_PG"
    as "$PGBIN/pg_ctl" -D "$WALFERRY_DEMO/dc1/etc" -w -m fast stop >/dev/null 2>&1
    as mkdir "$PEER"
    as cp -a "$DC1_PGDATA" "$PEER/copy"
    as cp "$WALFERRY_DEMO/dc1/etc/postgresql.conf" "$PEER/copy/"
    demo heal
    await 30 '[ "$(walferry 1 status --json | jq .epoch.number)" = 2 ]'
    sync
}
# The peer goes through the same line, with the cipher that is fastest for it, and a key of its own.
tunnel() {
    local port
    as ssh-keygen -q -t ed25519 -N '' -f "$PEER/key"
    as sh -c 'cat "$1" >>"$2"' sh "$PEER/key.pub" "$WALFERRY_DEMO/dc2/ssh/authorized_keys"
    port=$(sed -n '/^\[member dc2-a\]/,/^ssh /s/^ssh .*://p' "$CONFIG")
    as ssh -N -c aes128-gcm@openssh.com -i "$PEER/key" -p "$port" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -o LogLevel=ERROR -o ExitOnForwardFailure=yes -L "$PEER/.s.PGSQL.5432:$WALFERRY_DEMO/dc2/sock/.s.PGSQL.5432" "$RUN_AS@127.0.0.1" &
    await 20 '[ -S "$PEER/.s.PGSQL.5432" ]'
}
plain() {
    as "$PGBIN/psql" -XAtq -h "$PEER" -d postgres -c checkpoint &&
        as "$PGBIN/pg_rewind" -D "$PEER/copy" --source-server="host=$PEER user=walferry_tunnel dbname=postgres"
}

printf '%-12s %20s %20s %8s %20s\n' "ms[-Mbit/s]" "rejoin's rewind, s" "ssh -L, s" ratio "rejoin, whole, s"
for line in "$@"; do
    mbit=
    case $line in *-*) mbit=${line#*-} ;; esac
    fork
    tunnel
    demo wan "${line%-*}" $mbit
    b=$(seconds plain) || exit 1
    rm -rf "$PEER/copy"
    sync
    whole=$(seconds walferry 1 rejoin --yes) || exit 1
    tail -1 "$WALFERRY_DEMO/out" >&2
    a=$(sed -n 's/.*rewind \(\([0-9]*\) min \)\{0,1\}\([0-9.]*\) s, follow.*/\2 \3/p' "$WALFERRY_DEMO/out" | awk '{ print (NF > 1 ? $1 * 60 + $2 : $1) }')
    printf '%-12s %20s %20s %8s %20s\n' "$line" "$a" "$b" "$(awk -v a="$a" -v b="$b" 'BEGIN { printf "%.2f", b / a }')" "$whole"
    cleanup
done

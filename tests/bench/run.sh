#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# bench/run.sh: walferry beside what a user would pick instead, on one machine, in one run. A
# benchmark, not a test: it prints a table, medians with their range, and the ratio to each peer.
#
#   tests/bench/run.sh [--quick] [--rounds N] [--mb N] [--case GLOB ...] [--json FILE] [--list]
#
#   --quick   one round, little WAL, the main cases: three minutes     --mb  WAL per kind (1000)
#   --case    only these rows (--list names them); any distance may be asked for: durable-uuid-35ms
#   --keep    leave the pool where it was made, with the logs of the peers
#
# durable-WAL-RTT[-RATE]  a backlog while the far side was away: until it is on disk there
# applied-WAL-RTT[-RATE]  the same until the standby shows it
# killed-WAL-RTT          durable, one random lane reset each second, beside ourselves without
# levels-WAL-RTT[-RATE]   durable, beside ourselves at one level
# living-WAL-RTT[-RATE]   the same while the standby applies it
# links-WAL               durable at two sites at once, beside one: CPU of the primary's agent
# fetch-WAL               replay of whole segments by restore_command, beside cp
# visible-idle, -load     commit to visible on the standby, one client, alone or under pgbench -c8
# sync-cN-RTT             TPS with synchronous commit, N clients, no standby PostgreSQL at either
# tps                     TPS of pgbench -c8, the link asynchronous
# tps-shipping            the same while a backlog is shipped: the seconds from its beginning on
# failover                command to first accepted write, the primary dead, nothing to apply
# failover-mirror         the same to the mirror, in a pool of four
# far-N                   N standbys on the far site, beside as many native ones, each fed by the
#                         primary (star) or by the first of them (cascade): bytes on the line, CPU
#                         of the primary's host, which feeds N (with mirrors)
# mirror-cN               commits, N clients, that wait for a mirror, beside a native one
# head                    the far head's host dies: until its neighbour has new WAL
#
# WAL is pgbench (pgbench -i: nearly all full-page images) or uuid (rows of a uuid and an md5).
# DEMO_POOL_CONF: lines for [pool] of the pool's file. LIMIT: seconds anything may take.
set -u
export LC_ALL=C
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export BUILD=${BUILD:-$ROOT/build/bench}
CASE= WAN=0 failed=
ROUNDS=3 MB=1000 TPS_SECONDS=15 VISIBLE=1000 JSON= KEEP= CASES=() ALL=()
for wal in pgbench uuid; do
    ALL+=(durable-$wal-{0ms,20ms,50ms,80ms,50ms-100mbit} applied-$wal-{0ms,50ms} killed-$wal-50ms levels-$wal-{0ms,50ms,50ms-100mbit} living-$wal-{0ms,50ms,50ms-100mbit} links-$wal
        fetch-$wal)
done
ALL+=(visible-idle visible-load sync-c{1,8}-{0ms,20ms} tps tps-shipping failover failover-mirror far-{1,2,3} mirror-c{1,8} head)
QUICK=(durable-pgbench-{0ms,50ms,50ms-100mbit} durable-uuid-{0ms,50ms} applied-pgbench-0ms fetch-pgbench visible-idle
    sync-c8-{0ms,20ms} tps failover)
die() { echo "bench: $*" >&2; exit 1; }
arguments=("$@")
while [ $# -gt 0 ]; do
    case $1 in
    --quick) ALL=("${QUICK[@]}") ROUNDS=1 MB=120 TPS_SECONDS=3 VISIBLE=300 LIMIT=${LIMIT:-60} ;;
    --rounds) ROUNDS=$2; shift ;;
    --mb) MB=$2; shift ;;
    --case) CASES+=("$2"); shift ;;
    --json) JSON=$(realpath -m "$2"); shift ;;
    --keep) KEEP=1 ;;
    --list) printf '%s\n' "${ALL[@]}"; exit ;;
    *) sed -n '3,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift
done

if [ -z "${ADOPTER:-}" ]; then # once more, below a parent that keeps the books of what detaches itself
    "$ROOT/conf/demo.sh" install pgbackrest jq || exit 1
    cmake -S "$ROOT" -B "$BUILD" -DWALFERRY_TESTS=OFF >/dev/null && cmake --build "$BUILD" -j "$(nproc)" >/dev/null || die "the build failed"
    ADOPTER=yes exec "$BUILD/adopt" bash "${BASH_SOURCE[0]}" ${arguments[@]+"${arguments[@]}"}
fi
ADOPTER=$PPID
export WALFERRY_BUILD=$BUILD DEMO_LOAD_SECONDS=0
export DEMO_CONF="max_wal_size = 64GB
checkpoint_timeout = 1h
max_wal_senders = 20
max_replication_slots = 20
autovacuum = off
archive_mode = on"
POOL=/tmp/wf-bench-$$
OUT=$(mktemp -d /tmp/wf-bench-out-XXXXXX)
chmod 777 "$OUT" # pid files of processes that drop to postgres
: >"$OUT/samples"
cleanup() {
    trap '' INT TERM
    for p in "$POOL" "$POOL-f"; do
        [ -n "$KEEP" ] || WALFERRY_DEMO=$p "$ROOT/conf/demo.sh" down >/dev/null
    done
    rm -rf "$OUT"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
broken() { echo "bench: ${CASE:-in between}: $*" >&2; exit 1; } # ends the case, which is a shell of its own

selected() { # GLOB: the cases of that kind that were asked for
    local c g
    if [ ${#CASES[@]} = 0 ]; then
        for c in "${ALL[@]}"; do [[ $c != $1 ]] || echo "$c"; done
        return
    fi
    for g in "${CASES[@]}"; do
        [[ $g != *[*?[]* ]] || for c in "${ALL[@]}"; do [[ $c != $1 || $c != $g ]] || echo "$c"; done
        [[ $g == *[*?[]* || $g != $1 ]] || echo "$g"
    done | awk '!seen[$0]++'
}

# ---- the WAL that all of them ship

number() { echo $((16#${1%/*} << 32 | 16#${1#*/})); } # LSN
lsn() { printf '%X/%X' $(($1 >> 32)) $(($1 & 0xffffffff)); }
segment_name() { printf '%08X%08X%08X' 1 $(($1 >> 32)) $((($1 & 0xffffffff) >> 24)); }

# From here on the primary keeps its WAL, and here is what a standby looks like.
mark() {
    quiet
    sql "select pg_drop_replication_slot(slot_name) from pg_replication_slots" >/dev/null
    find "$DC1_PGDATA/pg_wal/archive_status" -type f -delete
    rm -rf "$WALFERRY_DEMO/base"
    as "$PGBIN/pg_basebackup" -h "$WALFERRY_DEMO/dc1/sock" -D "$WALFERRY_DEMO/base" -X stream -c fast >/dev/null 2>&1 &&
        as touch "$WALFERRY_DEMO/base/standby.signal" || broken "pg_basebackup failed"
    # the backup ended with a segment: the next one is the first that a standby lacks
    sql "checkpoint" && sql "select pg_create_physical_replication_slot('bench_mark', true)" >/dev/null || broken "no mark"
}
pgbench() { as timeout "$LIMIT" "$PGBIN/pgbench" "$@" "$DC1_PG dbname=postgres"; }
write_wal() { # KIND FROM: as a number
    if [ "$1" = pgbench ]; then
        pgbench -i -q -s $((MB * 10 / 144 + 1)) >/dev/null 2>&1
    else
        sql "create table rows (id uuid primary key, hash text)" && sql "do \$\$ begin
            while pg_current_wal_insert_lsn() - '$(lsn "$2")'::pg_lsn < $MB * 1000000::numeric loop
                insert into rows select gen_random_uuid(), md5(random()::text) from generate_series(1, 50000);
                commit;
            end loop; end \$\$"
    fi || broken "no WAL"
}
make_wal() { # KIND
    local first end
    echo "making $MB MB of $1 WAL" >&2
    sql "drop table if exists pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers, rows" 2>/dev/null
    mark
    first=$(number "$(sql "select restart_lsn from pg_replication_slots where slot_name = 'bench_mark'")")
    first=$((first & ~0xffffff))
    write_wal "$1" $first
    sql "checkpoint"
    end=$(number "$(sql "select pg_switch_wal()")")
    end=$(((end + 0xffffff) & ~0xffffff))
    WAL_BYTES=$((end - first)) WAL_SEGMENTS=$(((end - first) >> 24)) WAL_END=$(lsn $end) WAL_LAST=$(lsn $((end - 1)))
    WAL_FIRST_NAME=$(segment_name $first) WAL_END_NAME=$(segment_name $end)
    [ "$(segments | wc -l)" = $WAL_SEGMENTS ] || broken "$(segments | wc -l) segments there, not $WAL_SEGMENTS"
}

# A virtual machine pays when it uses memory for the first time, or again when the host has taken it
# back meanwhile: 2 to 3 seconds for each GB of page cache. That is not to be anybody's cost.
warm() { head -c $((MB * 4))000000 /dev/zero | tail >/dev/null; }

# ---- the cases

killer() { while sleep 1; do as "$WALFERRY_DEMO/bin/wanproxy" ctl "$WALFERRY_DEMO/wan/socket" kill random >/dev/null; done; }

fetch() {
    local name
    walferry_durable filler # not among the rows: it only fills the spool
    end "$DC1_AGENT_PID"
    end "$DC2_AGENT_PID" # or the standby would be sent to its relay first, once
    rm -rf "$PEER/archive" && as mkdir "$PEER/archive"
    for name in $(segments); do as cp "$DC1_PGDATA/pg_wal/$name" "$PEER/archive/"; done
    turns "replay walferry" "replay cp"
    rm -rf "$PEER/archive"
}
replay() { # WHO: whole segments through restore_command, no walreceiver
    local command= begin from=$DC2_SPOOL
    [ "$1" = walferry ] || command="-c restore_command='cp $PEER/archive/%f %p'" from=$PEER/archive
    [ ! -s "$DC2_PGDATA/postmaster.pid" ] || pg2 -m immediate stop
    restore "$DC2_PGDATA"
    settle
    cat "$from"/0* >/dev/null # neither reads from the disk
    begin=$(now_us)
    pg2 -o "-c primary_conninfo='' $command" start || broken "the standby does not start"
    await "$DC2_PG" "select pg_last_wal_replay_lsn() >= '$WAL_END'" "the replay is not there"
    note_rate "$1" "replay, MB/s" $(($(now_us) - begin))
}

visible() { # WHO: one client, alone or under load
    local took standby=$NATIVE_PG
    [ "$1" != walferry ] || standby=$DC2_PG
    live
    "$1_live" standby
    [ "$CASE" != visible-load ] ||
        spawn "$OUT/load.pid" /dev/null "$PGBIN/pgbench" -n -c 8 -T "$LIMIT" "$DC1_PG dbname=postgres"
    took=($(as timeout "$LIMIT" "$BUILD/visible" "$DC1_PG dbname=postgres" "$standby dbname=postgres" $VISIBLE)) || broken "visible failed beside $1"
    end "$OUT/load.pid"
    note "$1" "p50, us" "${took[0]}"
    note "$1" "p99, us" "${took[1]}"
}
transactions() { # WHO CLIENTS
    local tps
    tps=$(pgbench -n -c "$2" -T "$TPS_SECONDS" 2>/dev/null | sed -n 's/^tps = \([0-9.]*\).*/\1/p')
    [ -n "$tps" ] || broken "pgbench failed beside $1"
    note "$1" TPS "$tps"
}
level_ground() { # everyone's transactions begin with warm caches and as many full-page images
    pgbench -n -c 8 -T 1 >/dev/null 2>&1
    sql "checkpoint"
}
tps() { # WHO
    live
    "$1_live" standby
    level_ground
    transactions "$1" 8
}
shipping() { # WHO: the seconds that begin with the shipping of a backlog
    make_wal pgbench
    case $1 in
    walferry) walferry_ready standby; agent 1 ;;
    native) quiet; native_start; tunnel ;;
    nobody) quiet ;;
    esac
    transactions "$1" 8
}
synchronous() { # WHO APPLICATION CLIENTS: commits wait for it
    live
    "$1_live"
    sql "alter system set synchronous_standby_names = '$2'" && sql "select pg_reload_conf()" >/dev/null
    await "$DC1_PG" "select sync_state = 'sync' from pg_stat_replication where application_name = '$2'" "$2 is not synchronous"
    level_ground
    transactions "${1/receivewal/pg_receivewal}" "$3"
    quiet
}
live() { # all that the live cases begin with: small tables, and a standby that has them
    sql "drop table if exists rows" 2>/dev/null
    pgbench -i -q -s 10 >/dev/null 2>&1 || broken "pgbench -i"
    mark
}

# The whole first site dies at once. The peer is pg_promote() alone, on the native standby.
write='insert into visible values ((random() * 1e9)::int) returning true'
failover() { # MEMBERS N: the Nth of them takes over
    local begin to
    sql "create table if not exists visible (n int primary key)" 2>/dev/null
    mark
    native_live
    end "$OUT/tunnel.pid"
    begin=$(now_us)
    as "$PGBIN/psql" -XAtqc "select pg_promote()" "$NATIVE_PG dbname=postgres" >/dev/null 2>&1 &
    await "$NATIVE_PG" "$write" "the promoted native standby takes no write"
    note pg_promote "first write, ms" $((($(now_us) - begin) / 1000))
    wait
    pool_of "$1"
    to=$(its "$2" MEMBER)
    sql "create table visible (n int primary key)"
    level "walferry_${to/-/_}" replay_lsn
    end "$DC1_SSHD_PID" KILL
    end "$DC1_AGENT_PID" KILL
    as "$PGBIN/pg_ctl" -D "$WALFERRY_DEMO/dc1/etc" -m immediate -w stop >/dev/null 2>&1
    begin=$(now_us)
    as "$WALFERRY" failover --yes --dead --config "$CONFIG" --member "$to" >"$OUT/failover.log" 2>&1 &
    (await "$(its "$2" PG)" "$write" "walferry's standby takes no write after failover") || { cat "$OUT/failover.log" >&2; exit 1; }
    note walferry "first write, ms" $((($(now_us) - begin) / 1000))
    wait
    note walferry "of it asking, s" "$(sed -n 's/.*: asking \([0-9.]*\) s,.*/\1/p' "$OUT/failover.log")"
    end_pool
}

turns() { # COMMAND ...: in this order, the next round backwards, so that none is always the first
    local command i
    for ((i = 0; i < $#; i++)); do
        command=$((ROUND % 2 ? i + 1 : $# - i))
        ${!command}
    done
}
run_case() { # NAME: in a shell of its own
    local peers clients
    CASE=$1 WAN=0
    [[ ! $CASE =~ -([0-9]+)ms(-([0-9]+)mbit)?$ ]] || WAN="${BASH_REMATCH[1]} ${BASH_REMATCH[3]:-}"
    case $CASE in
    durable-*)
        peers=receivewal_durable
        [[ $CASE != *-0ms ]] || peers="$peers native_backlog"
        [[ $CASE != *-0ms && $CASE != *mbit ]] || peers="$peers backrest_durable"
        turns walferry_durable $peers
        ;;
    applied-*) turns walferry_applied native_backlog ;;
    killed-*) turns "walferry_durable walferry killer" "walferry_durable undisturbed" ;;
    levels-* | living-*)
        peers=walferry_durable
        [[ $CASE = levels-* ]] || peers=walferry_applied
        peers=($peers "$peers zstd:1" "$peers zstd:3" "$peers zstd:6" "$peers none")
        [[ $CASE != *mbit ]] || unset 'peers[4]' # it is not in doubt there
        turns "${peers[@]}"
        ;;
    links-*) turns "links walferry" "links one" ;;
    fetch-*) fetch ;;
    visible-*) turns "visible walferry" "visible native" ;;
    sync-c*)
        clients=${CASE#sync-c} clients=${clients%%-*}
        turns "synchronous walferry walferry_dc2_a $clients" "synchronous receivewal bench_receivewal $clients"
        ;;
    tps-shipping) turns "shipping walferry" "shipping native" "shipping nobody" ;;
    tps) turns "tps walferry" "tps native" ;;
    failover) failover 2 2 ;;
    failover-mirror) failover 4 3 ;;
    far-*) turns "far_walferry ${CASE#far-}" "far_native star ${CASE#far-}" "far_native cascade ${CASE#far-}" ;;
    mirror-c*)
        clients=${CASE#mirror-c}
        turns "mirror_walferry $clients" "mirror_native tcp $clients" "mirror_native ssh $clients" "mirror_native nobody $clients"
        ;;
    head) head_dies ;;
    *) broken "no such case; --list names them" ;;
    esac
}

rounds() { # GLOB
    local c
    [ -n "$(selected "$1")" ] || return 0
    for ROUND in $(seq "$ROUNDS"); do
        for c in $(selected "$1"); do
            echo "round $ROUND of $ROUNDS: $c" >&2
            (trap - EXIT INT TERM; run_case "$c") || failed="$failed $c"
        done
    done
    (trap - EXIT INT TERM; quiet)
}

live_cases=('visible-*' 'sync-*' 'tps*' 'failover*' 'far-*' 'mirror-*' head)
[ -n "$(for glob in '*-pgbench-*' '*-pgbench' '*-uuid-*' '*-uuid' "${live_cases[@]}"; do selected "$glob"; done)" ] || die "no such case; --list names them"
export WALFERRY_DEMO=$POOL
"$ROOT/conf/demo.sh" up >/dev/null || die "the pool does not come up"
. "$WALFERRY_DEMO/env"
cd /
. "$ROOT/tests/bench/contenders.sh"
. "$ROOT/tests/bench/many.sh"
make_peers
for wal in pgbench uuid; do
    [ -n "$(selected "*-$wal*")" ] || continue
    make_wal $wal
    rounds "*-$wal*"
done
for glob in "${live_cases[@]}"; do rounds "$glob"; done

machine() { # as JSON
    jq -n --arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" --argjson cores "$(nproc)" \
        --arg postgresql "$("$PGBIN/postgres" --version | cut -d' ' -f3)" --arg commit "$(git -C "$ROOT" describe --always --dirty 2>/dev/null)" \
        --arg command "tests/bench/run.sh ${arguments[*]-}" --arg date "$(date -u +%F)" --argjson mb "$MB" --argjson rounds "$ROUNDS" \
        '$ARGS.named'
}
jq -Rn --rawfile reach "$ROOT/tests/bench/reach" --argjson machine "$(machine)" -f "$ROOT/tests/bench/report.jq" "$OUT/samples" >"$OUT/report" ||
    die "no report"
[ -z "$JSON" ] || cp "$OUT/report" "$JSON"
jq -r '.machine | "\(.command): \(.mb) MB of WAL, rounds \(.rounds), \(.cores) cores of \(.cpu), PostgreSQL \(.postgresql), \(.commit), \(.date)"' "$OUT/report"
echo
printf '%-28s %-20s %21s  %-13s %21s %7s  %s\n' case measure walferry peer "" ratio reach
jq -r '.rows[] | [.case, .measure, .walferry.text, .peer.name // "-", .peer.text // "-", .ratio // "-", .reach // ""] | @tsv' "$OUT/report" |
    awk -F'\t' '{ printf "%-28s %-20s %21s  %-13s %21s %7s  %s\n", $1, $2, $3, $4, $5, $6, $7 }'
[ "$(jq '.costs | length' "$OUT/report")" = 0 ] || {
    echo
    printf '%-28s %-13s %12s %12s %12s %12s %12s\n' "cost per GB of WAL" of "CPU near, s" "CPU far, s" "on wire, MB" "peak near, MB" "peak far, MB"
    jq -r '.costs[] | [.case, .who, (."CPU near, s/GB", ."CPU far, s/GB", ."wire, MB/GB", ."peak memory near, MB", ."peak memory far, MB" | .median? // "-")] | @tsv' "$OUT/report" |
        awk -F'\t' '{ printf "%-28s %-13s %12s %12s %12s %12s %12s\n", $1, $2, $3, $4, $5, $6, $7 }'
}
[ -z "$failed" ] || die "these have no result, or not from every round:$failed"

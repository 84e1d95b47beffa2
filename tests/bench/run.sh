#!/bin/bash
# bench/run.sh: walferry beside native streaming replication through ssh -L, on one machine, in one
# run. A table, not a test.
#
#   tests/bench/run.sh [--quick] [--rounds N]     1 GB of pgbench WAL per round (--quick: 200 MB)
#
# backlog durable   the far side was away; until its spool (native: its walreceiver) has flushed it all
# backlog applied   the same until the standby shows it
# commit to visible one client, one row at a time, on an idle pair
# CPU               seconds of agents, ssh and sshd per GB of WAL, both sides together
set -u
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=${BUILD:-$ROOT/build/bench}
SCALE=70 ROUNDS=3
while [ $# -gt 0 ]; do
    case $1 in
    --quick) SCALE=14 ROUNDS=1 ;;
    --rounds) ROUNDS=$2; shift ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift
done
die() { echo "bench: $*" >&2; exit 1; }
cmake -S "$ROOT" -B "$BUILD" >/dev/null && cmake --build "$BUILD" -j "$(nproc)" >/dev/null || die "the build failed"
export WALFERRY_BUILD=$BUILD WALFERRY_DEMO=/tmp/wf-bench-$$ DEMO_LOAD_SECONDS=0
export DEMO_CONF="wal_keep_size = 8GB
max_wal_size = 8GB
checkpoint_timeout = 1h
max_wal_senders = 10"
cleanup() {
    [ -z "${TUNNEL:-}" ] || pkill -P "$TUNNEL" || kill "$TUNNEL" 2>/dev/null
    [ -z "${NATIVE:-}" ] || native -m immediate stop
    "$ROOT/conf/demo.sh" down
}
trap cleanup EXIT
"$ROOT/conf/demo.sh" up >/dev/null || die "the pool does not come up"
. "$WALFERRY_DEMO/env"
cd /
as() { if [ "$(id -u)" = 0 ]; then runuser -u "$RUN_AS" -- "$@"; else "$@"; fi; }
sql() { as "$PGBIN/psql" -XAtq "$1 dbname=postgres" -c "$2"; }
native() { as "$PGBIN/pg_ctl" -D "$NATIVE" -l "$WALFERRY_DEMO/native.log" -w -o "-c config_file=$NATIVE/native.conf" "$@" >/dev/null 2>&1; }
pg2() { as "$PGBIN/pg_ctl" -D "$WALFERRY_DEMO/dc2/etc" -l "$WALFERRY_DEMO/dc2/postgres.log" -w "$@" >/dev/null 2>&1; }
agent2() { as setsid "$WALFERRY" agent --config "$CONFIG" --member dc2-a >>"$WALFERRY_DEMO/dc2/agent.log" 2>&1 </dev/null & }

# The peer: a standby of its own, through a tunnel with a key of its own.
as ssh-keygen -q -t ed25519 -N '' -f "$WALFERRY_DEMO/bench_key"
cat "$WALFERRY_DEMO/bench_key.pub" | as sh -c 'cat >>"$1"' sh "$WALFERRY_DEMO/dc1/ssh/authorized_keys"
SSHD_PORT=$(sed -n 's/^Port //p' "$WALFERRY_DEMO/dc1/ssh/sshd_config")
NATIVE=$WALFERRY_DEMO/native
TUNNEL_PORT=$((20000 + RANDOM % 10000))
as ssh -N -c aes128-gcm@openssh.com -i "$WALFERRY_DEMO/bench_key" -p "$SSHD_PORT" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o LogLevel=ERROR -L "127.0.0.1:$TUNNEL_PORT:$WALFERRY_DEMO/dc1/sock/.s.PGSQL.5432" "$RUN_AS@127.0.0.1" </dev/null >/dev/null 2>&1 &
TUNNEL=$!
as "$PGBIN/pg_basebackup" -h "$WALFERRY_DEMO/dc1/sock" -D "$NATIVE" -X stream -c fast -C -S native || die "pg_basebackup"
as touch "$NATIVE/standby.signal"
as sh -c 'cat >"$1"' sh "$NATIVE/native.conf" <<END
listen_addresses = ''
unix_socket_directories = '$WALFERRY_DEMO'
shared_buffers = 64MB
dynamic_shared_memory_type = mmap
max_wal_size = 8GB
checkpoint_timeout = 1h
max_wal_senders = 10
primary_conninfo = 'host=127.0.0.1 port=$TUNNEL_PORT user=$RUN_AS application_name=native'
primary_slot_name = 'native'
hba_file = '$WALFERRY_DEMO/dc1/etc/pg_hba.conf'
END
NATIVE_PG="host=$WALFERRY_DEMO port=5432 user=$RUN_AS"
native start || die "the native standby does not start: $(tail -1 "$WALFERRY_DEMO/native.log")"

poll() { # SECONDS COMMAND: every 20 ms
    local deadline=$((SECONDS + $1))
    until eval "$2"; do [ $SECONDS -lt $deadline ] || die "timed out: $2"; sleep 0.02; done
}
now() { date +%s%N; }
cpu_of() { # ticks of processes and their ended children
    local sum=0 pid
    for pid in "$@"; do
        [ -r "/proc/$pid/stat" ] && sum=$((sum + $(sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }')))
    done
    echo $sum
}
family() { local pid; for pid in "$@"; do echo "$pid"; family $(pgrep -P "$pid"); done; } # PID...: with all below
ours_pids() { cat "$DC1_AGENT_PID" "$DC2_AGENT_PID" 2>/dev/null; family "$(cat "$DC2_SSHD_PID")"; }
theirs_pids() { family "$TUNNEL" "$(cat "$DC1_SSHD_PID")"; }
target() { sql "$DC1_PG" "select pg_current_wal_flush_lsn()"; }
backlog() { as "$PGBIN/pgbench" -i -s "$SCALE" -q "$DC1_PG dbname=postgres" >/dev/null 2>&1; sql "$DC1_PG" "checkpoint"; }
spool_at() { [ "$(as "$WALFERRY" status --json --config "$CONFIG" --member dc2-a 2>/dev/null | jq -r .spool.flushed)" = "$1" ]; }
shows() { [ "$(sql "$1" "select coalesce($2 >= '$3', false)")" = t ]; }

row() { printf '%-28s %10s %10s %8s\n' "$@"; }
rates_ours=() rates_native=() applied_ours=() applied_native=() cpu_ours=() cpu_native=()
median() { printf '%s\n' "$@" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
rate() { awk -v b="$1" -v ns="$2" 'BEGIN { printf "%.1f", b / 1e6 / (ns / 1e9) }'; }
per_gb() { awk -v t="$1" -v b="$2" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f", t / hz / (b / 1e9) }'; }

for round in $(seq "$ROUNDS"); do
    echo "round $round of $ROUNDS" >&2
    pg2 -m fast stop
    native -m fast stop
    kill "$(cat "$DC2_AGENT_PID")"
    from=$(target)
    backlog
    to=$(target)
    bytes=$(sql "$DC1_PG" "select '$to'::pg_lsn - '$from'::pg_lsn")
    # ours, durable (the standby's PostgreSQL is down), then applied
    poll 10 '! test -e "$DC2_AGENT_PID"'
    agent2
    poll 10 'test -s "$DC2_AGENT_PID"'
    ticks=$(cpu_of $(ours_pids)) begin=$(now)
    poll 300 'spool_at "$to"'
    rates_ours+=("$(rate "$bytes" $(($(now) - begin)))")
    cpu_ours+=("$(per_gb $(($(cpu_of $(ours_pids)) - ticks)) "$bytes")")
    # native, received (its startup process replays meanwhile: it cannot be kept apart)
    ticks=$(cpu_of $(theirs_pids)) begin=$(now)
    native start
    poll 300 'shows "$NATIVE_PG" "pg_last_wal_receive_lsn()" "$to"'
    rates_native+=("$(rate "$bytes" $(($(now) - begin)))")
    cpu_native+=("$(per_gb $(($(cpu_of $(theirs_pids)) - ticks)) "$bytes")")
    poll 300 'shows "$NATIVE_PG" "pg_last_wal_replay_lsn()" "$to"'
    applied_native+=("$(rate "$bytes" $(($(now) - begin)))")
    # ours, applied: a second backlog, both up
    pg2 start
    poll 300 'shows "$DC2_PG" "pg_last_wal_replay_lsn()" "$to"'
    native -m fast stop
    pg2 -m fast stop
    kill "$(cat "$DC2_AGENT_PID")"
    poll 10 '! test -e "$DC2_AGENT_PID"'
    from=$(target)
    backlog
    to=$(target)
    bytes=$(sql "$DC1_PG" "select '$to'::pg_lsn - '$from'::pg_lsn")
    begin=$(now)
    agent2
    pg2 start
    poll 300 'shows "$DC2_PG" "pg_last_wal_replay_lsn()" "$to"'
    applied_ours+=("$(rate "$bytes" $(($(now) - begin)))")
    native start
    poll 300 'shows "$NATIVE_PG" "pg_last_wal_replay_lsn()" "$to"'
done
ours=($(as "$BUILD/visible" "$DC1_PG dbname=postgres" "$DC2_PG dbname=postgres" 1000))
theirs=($(as "$BUILD/visible" "$DC1_PG dbname=postgres" "$NATIVE_PG dbname=postgres" 1000))
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
row "" walferry "ssh -L" ratio
row "backlog durable, MB/s" "$(median "${rates_ours[@]}")" "$(median "${rates_native[@]}")" "$(ratio "$(median "${rates_ours[@]}")" "$(median "${rates_native[@]}")")"
row "backlog applied, MB/s" "$(median "${applied_ours[@]}")" "$(median "${applied_native[@]}")" "$(ratio "$(median "${applied_ours[@]}")" "$(median "${applied_native[@]}")")"
row "CPU seconds per GB" "$(median "${cpu_ours[@]}")" "$(median "${cpu_native[@]}")" "$(ratio "$(median "${cpu_ours[@]}")" "$(median "${cpu_native[@]}")")"
row "commit to visible, us (p50)" "${ours[0]}" "${theirs[0]}" "$(ratio "${ours[0]}" "${theirs[0]}")"
row "commit to visible, us (p99)" "${ours[1]}" "${theirs[1]}" "$(ratio "${ours[1]}" "${theirs[1]}")"
for n in 1 2; do
    eval "pid=\$(cat \"\$DC${n}_AGENT_PID\")"
    row "peak memory dc$n-a, MB" "$(awk '/VmHWM/ { printf "%.1f", $2 / 1024 }' "/proc/$pid/status")" - -
done

# SPDX-License-Identifier: PostgreSQL
# contenders.sh: what takes part in the benchmark, walferry and what a user would pick instead;
# sourced by run.sh. Every contender ships the same WAL, through the same proxy: it stays on the
# primary, held by the slot `bench_mark`, and each run begins with a slot copied from that one, an
# empty target and, where a standby is fed, the same copy of the data directory.

PEER=$WALFERRY_DEMO/peer # the far side of the peers
LIMIT=${LIMIT:-900}      # seconds that anything waited for may take

as() { if [ "$(id -u)" = 0 ]; then runuser -u "$RUN_AS" -- "$@"; else "$@"; fi; }
sql() { as "$PGBIN/psql" -XAtq "$DC1_PG dbname=postgres" -v ON_ERROR_STOP=1 -c "$1"; }
await() { as "$BUILD/await" "$1 dbname=postgres" "$LIMIT" "$2" || broken "$3"; } # CONNINFO QUERY WHAT
now_us() { printf '%s' "${EPOCHREALTIME/./}"; }
gone() { ! grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1"/task/*/status; }
wait_for() { # SECONDS COMMAND
    local deadline=$((SECONDS + $1))
    until eval "$2" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.02
    done
}
end() { # PIDFILE [SIGNAL]: no matter whether it runs
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 0
    kill "-${2:-TERM}" "$pid" 2>/dev/null
    wait_for 10 "gone $pid" || kill -9 "$pid" 2>/dev/null
    rm -f "$1"
}
spawn() { # PIDFILE LOG COMMAND ...: off our terminal and pipes
    as setsid sh -c 'echo $$ >"$1"; log=$2; shift 2; exec "$@" >>"$log" 2>&1 </dev/null' sh "$@" >/dev/null 2>&1 </dev/null &
}

# ---- what it costs

# Ticks of processes, all below them and what they have reaped.
ticks() { # PID ...
    cat /proc/[0-9]*/stat 2>/dev/null | sed 's/(.*) //' | awk -v roots="$*" '
        { parent[$1] = $3; spent[$1] = $13 + $14 + $15 + $12 }
        END {
            n = split(roots, r); for (i = 1; i <= n; i++) root[r[i]] = 1
            for (p in parent) {
                q = p; while (q in parent && !(q in root)) q = parent[q]
                if (q in root) sum += spent[p]
            }
            print sum + 0
        }'
}
orphan_ticks() { sed 's/(.*) //' "/proc/$ADOPTER/stat" | awk '{ print $14 + $15 }'; }
peak_mb() { awk '/^VmHWM/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status" 2>/dev/null; }
wire_bytes() { as "$WALFERRY_DEMO/bin/wanproxy" ctl "$WALFERRY_DEMO/wan/socket" stats | awk '{ sum += $3 + $5 } END { printf "%.0f", sum }'; }
pid_of() { cat "$1" 2>/dev/null; }

# What the runs note. MB/s, CPU and bytes count uncompressed WAL, 10^6 bytes to the MB.
note() { printf '%s\t%s\t%s\t%s\n' "$CASE" "$1" "$2" "$3" >>"$OUT/samples"; } # WHO MEASURE VALUE
note_rate() { note "$1" "$2" "$(awk -v b="$WAL_BYTES" -v us="$3" 'BEGIN { printf "%.2f", b / us }')"; }
per_gb() { awk -v t="$1" -v hz="$(getconf CLK_TCK)" -v b="$WAL_BYTES" 'BEGIN { printf "%.3f", t / hz / (b / 1e9) }'; } # TICKS
note_cost() { # WHO NEAR-TICKS FAR-TICKS WIRE-BYTES
    note "$1" "CPU near, s/GB" "$(per_gb "$2")"
    note "$1" "CPU far, s/GB" "$(per_gb "$3")"
    note "$1" "CPU, s/GB" "$(per_gb $(($2 + $3)))"
    note "$1" "wire, MB/GB" "$(awk -v w="$4" -v b="$WAL_BYTES" 'BEGIN { printf "%.1f", w / b * 1000 }')"
}

# ---- the ground they start from

slot() { # NAME: stands where the WAL of this case begins
    sql "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '$1';
         select pg_copy_physical_replication_slot('bench_mark', '$1')" >/dev/null || broken "no slot $1"
}
restore() { # FOLDER: the standby as it was when the WAL began
    rm -rf "$1" && as cp -a "$WALFERRY_DEMO/base" "$1" || broken "cannot copy the standby to $1"
}
settle() { sync; warm; } # what the last one left to the disk is not for the next one to wait for

# Nothing runs but the primary; no distance; nobody is waited for.
quiet() {
    local f
    sql "alter system reset synchronous_standby_names" >/dev/null
    sql "alter system set archive_command = ''" >/dev/null
    sql "select pg_reload_conf()" >/dev/null
    for f in "$OUT"/*.pid; do [ ! -e "$f" ] || end "$f"; done
    [ ! -s "$PEER/data/postmaster.pid" ] || native -m immediate stop
    [ ! -s "$DC2_PGDATA/postmaster.pid" ] || pg2 -m immediate stop
    end "$DC1_AGENT_PID"
    end "$DC2_AGENT_PID"
    end "$WALFERRY_DEMO/dc3/run/agent.pid"
    rm -f "$PEER/.s.PGSQL.5432"
    wait_for 30 '[ "$(sql "select count(*) from pg_replication_slots where active")" = 0 ]' ||
        broken "a slot stays in use"
    wan 0
}
wan() { "$ROOT/conf/demo.sh" wan "$@" >/dev/null || broken "no proxy"; } # RTT_MS [MBIT]

# ---- walferry

agent() { # N [CONFIG]
    as setsid sh -c 'log=$1; shift; exec "$@" >>"$log" 2>&1 </dev/null' sh "$WALFERRY_DEMO/dc$1/agent.log" \
        "$WALFERRY" agent --config "${2:-$CONFIG}" --member "dc$1-a" >/dev/null 2>&1 </dev/null &
    wait_for 10 "test -s $WALFERRY_DEMO/dc$1/run/agent.pid" ||
        broken "the agent of dc$1-a does not start: $(tail -1 "$WALFERRY_DEMO/dc$1/agent.log")"
}
pg2() { as "$PGBIN/pg_ctl" -D "$WALFERRY_DEMO/dc2/etc" -l "$WALFERRY_DEMO/dc2/postgres.log" -w "$@" >/dev/null 2>&1; }
empty_spool() { find "$DC2_SPOOL" -type f ! -name lock ! -name identity ! -name pool.state -delete; }
walferry_far() { ticks "$(pid_of "$DC2_AGENT_PID")" "$(cat "$DC2_SSHD_PID")"; }
walferry_at() { # COLUMN [SLOT]: until the primary was told that the last byte is there; of a segment's end it is told later
    await "$DC1_PG" "select $1 >= '$WAL_LAST' from pg_stat_replication where application_name = '${2:-walferry_dc2_a}'" "walferry is not there"
}

walferry_ready() { # [standby]: the far side waits, with its PostgreSQL or without
    quiet
    empty_spool
    slot walferry_dc2_a
    [ -z "${1:-}" ] || restore "$DC2_PGDATA"
    wan $WAN
    settle
    agent 2
    [ -z "${1:-}" ] || pg2 start || broken "the standby of walferry does not start"
}
walferry_begin() { # [CONFIG]: the time begins with the start of the primary's agent, which has yet to dial
    FAR=$(walferry_far) WIRE=$(wire_bytes) BEGIN=$(now_us)
    agent 1 "$@"
}
walferry_end() { # WHO MEASURE
    local near far
    note_rate "$1" "$2" $(($(now_us) - BEGIN))
    near=$(pid_of "$DC1_AGENT_PID") far=$(pid_of "$DC2_AGENT_PID")
    note_cost "$1" "$(ticks "$near")" $(($(walferry_far) - FAR)) $(($(wire_bytes) - WIRE))
    note "$1" "peak memory near, MB" "$(peak_mb "$near")"
    note "$1" "peak memory far, MB" "$(peak_mb "$far")"
}
at_level() { # WHO: a config of its own for one that is called like a value of `compression`
    case $1 in
    none | zstd:*) ;;
    *) return ;;
    esac
    sed "/^compression /d; /^\[pool\]/a compression = $1" "$CONFIG" | as sh -c 'cat >"$1" && chmod 600 "$1"' sh "$WALFERRY_DEMO/level.ini"
    echo "$WALFERRY_DEMO/level.ini"
}
walferry_durable() { # [WHO [COMMAND: meanwhile]]
    local meanwhile=
    walferry_ready
    walferry_begin $(at_level "${1:-}")
    if [ -n "${2:-}" ]; then "$2" & meanwhile=$!; fi
    walferry_at flush_lsn
    [ -z "$meanwhile" ] || kill $meanwhile
    walferry_end "${1:-walferry}" "durable, MB/s"
}
walferry_applied() { # [WHO]: durable and applied from one run, as with the native standby
    walferry_ready standby
    walferry_begin $(at_level "${1:-}")
    walferry_at flush_lsn
    note_rate "${1:-walferry}" "durable, MB/s" $(($(now_us) - BEGIN))
    await "$DC2_PG" "select pg_last_wal_replay_lsn() >= '$WAL_END'" "walferry's standby is not there"
    walferry_end "${1:-walferry}" "applied, MB/s"
}
walferry_live() { # [standby]: the pair is up and level
    walferry_ready "${1:-}"
    agent 1
    level walferry_dc2_a ${1:+replay_lsn}
}
# A third site with a host of its own, by another file of the pool: the same WAL to one or to both.
make_dc3() {
    local d=$WALFERRY_DEMO/dc3 port
    [ ! -e "$d" ] || return 0
    mkdir "$d" && { [ "$(id -u)" != 0 ] || chown "$RUN_AS" "$d"; }
    as sh -c 'umask 077; mkdir "$1/ssh" "$1/spool" "$1/run" && cp -a "$2" "$1/data" && cp -a "$3"/id_ed25519* "$3"/host* "$1/ssh/"' \
        sh "$d" "$WALFERRY_DEMO/base" "$WALFERRY_DEMO/dc2/ssh"
    for port in $(shuf -i 10000-30000 -n 10); do
        sed "s|/dc2/|/dc3/|g; s/^Port .*/Port $port/" "$WALFERRY_DEMO/dc2/ssh/sshd_config" | as sh -c 'cat >"$1"' sh "$d/ssh/sshd_config"
        as /usr/sbin/sshd -f "$d/ssh/sshd_config" -E "$d/sshd.log" 2>/dev/null && wait_for 5 "test -s $d/ssh/sshd.pid" && break
    done
    sed "s|pool.ini --member dc2-a|pool3.ini --member dc3-a|" "$WALFERRY_DEMO/dc2/ssh/authorized_keys" | as sh -c 'cat >"$1"' sh "$d/ssh/authorized_keys"
    {
        cat "$CONFIG"
        echo
        sed -n '/^\[member dc2-a\]/,$p' "$CONFIG" | sed "s|dc2|dc3|g; /^http /d; s|^\(ssh .*:\)[0-9]*|\1$port|"
    } | as sh -c 'cat >"$1" && chmod 600 "$1"' sh "$WALFERRY_DEMO/pool3.ini"
}
links() { # WHO: walferry ships to two sites, or one
    local dc3=$WALFERRY_DEMO/dc3 begin
    make_dc3
    walferry_ready
    end "$DC2_AGENT_PID"
    agent 2 "$WALFERRY_DEMO/pool3.ini"
    if [ "$1" = walferry ]; then
        find "$dc3/spool" -type f ! -name lock ! -name identity ! -name pool.state -delete
        slot walferry_dc3_a
        agent 3 "$WALFERRY_DEMO/pool3.ini"
    fi
    begin=$(now_us)
    agent 1 "$WALFERRY_DEMO/pool3.ini"
    walferry_at flush_lsn
    [ "$1" != walferry ] || walferry_at flush_lsn walferry_dc3_a
    note_rate "$1" "durable, MB/s" $(($(now_us) - begin))
    note "$1" "CPU of the agent, s/GB" "$(per_gb "$(ticks "$(pid_of "$DC1_AGENT_PID")")")"
    end "$dc3/run/agent.pid"
}
level() { # APPLICATION [COLUMN]
    await "$DC1_PG" "select ${2:-flush_lsn} >= pg_current_wal_flush_lsn() from pg_stat_replication where application_name = '$1'" "$1 is not level"
}

# ---- the streaming peers: the far side dials an `ssh -L` to the primary's socket

bench_ssh() { # MEMBER-NUMBER: the options to its sshd through the proxy
    local port
    port=$(sed -n "/^\[member dc$1-a\]/,/^ssh /s/^ssh .*://p" "$CONFIG")
    printf '%s ' -c aes128-gcm@openssh.com -i "$PEER/key" -p "$port" -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR
}
tunnel() { # the time of the peers begins with it, as ours begins with the dial of our lane
    spawn "$OUT/tunnel.pid" "$PEER/tunnel.log" ssh -N $(bench_ssh 1) -o ExitOnForwardFailure=yes \
        -L "$PEER/.s.PGSQL.5432:$WALFERRY_DEMO/dc1/sock/.s.PGSQL.5432" "$RUN_AS@127.0.0.1"
    wait_for 20 "test -S $PEER/.s.PGSQL.5432" || broken "no tunnel: $(tail -1 "$PEER/tunnel.log")"
}
tunnel_far() { ticks "$(pid_of "$OUT/tunnel.pid")"; }
tunnel_near() { ticks "$(cat "$DC1_SSHD_PID")"; }
receivewal_ready() {
    quiet
    rm -rf "$PEER/received" && as mkdir "$PEER/received"
    slot bench_receivewal
    wan $WAN
    settle
}
RECEIVEWAL=(timeout "$LIMIT" "$PGBIN/pg_receivewal" -D "$PEER/received" -S bench_receivewal --no-loop
    -d "host=$PEER port=5432 user=$RUN_AS application_name=bench_receivewal")

receivewal_durable() { # it ends, all flushed, with the segment in which the last byte is
    local begin near wire us
    receivewal_ready
    near=$(tunnel_near) wire=$(wire_bytes) begin=$(now_us)
    tunnel
    TIMEFORMAT='%U %S'
    { time as "${RECEIVEWAL[@]}" --endpos "$WAL_LAST" >"$OUT/receivewal.log" 2>&1; } 2>"$OUT/receivewal.time" ||
        broken "pg_receivewal: $(tail -1 "$OUT/receivewal.log")"
    us=$(($(now_us) - begin))
    note_rate pg_receivewal "durable, MB/s" $us
    note_cost pg_receivewal $(($(tunnel_near) - near)) \
        $(($(tunnel_far) + $(awk -v hz="$(getconf CLK_TCK)" '{ printf "%.0f", ($1 + $2) * hz }' "$OUT/receivewal.time"))) $(($(wire_bytes) - wire))
}

receivewal_live() { # it reports what it has flushed only when it is synchronous
    receivewal_ready
    tunnel
    spawn "$OUT/receivewal.pid" "$PEER/receivewal.log" "${RECEIVEWAL[@]}" --synchronous
    level bench_receivewal
}

native() { as "$PGBIN/pg_ctl" -D "$PEER/data" -l "$PEER/postgres.log" -w -o "-c config_file=$PEER/postgresql.conf" "$@" >/dev/null 2>&1; }
NATIVE_PG="host=$PEER/sock port=5432 user=$RUN_AS"
native_start() {
    restore "$PEER/data"
    slot bench_native
    native start || broken "the native standby does not start: $(tail -1 "$PEER/postgres.log")"
}
native_backlog() { # durable and applied from one run: a walreceiver cannot be kept from feeding the replay
    local begin near wire
    quiet
    native_start
    wan $WAN
    settle
    near=$(tunnel_near) wire=$(wire_bytes) begin=$(now_us)
    tunnel
    await "$DC1_PG" "select flush_lsn >= '$WAL_LAST' from pg_stat_replication where application_name = 'bench_native'" "native streaming is not there"
    note_rate native "durable, MB/s" $(($(now_us) - begin))
    await "$NATIVE_PG" "select pg_last_wal_replay_lsn() >= '$WAL_END'" "the native standby is not there"
    note_rate native "applied, MB/s" $(($(now_us) - begin))
    note_cost native $(($(tunnel_near) - near)) "$(tunnel_far)" $(($(wire_bytes) - wire))
}
native_live() {
    quiet
    native_start
    wan $WAN
    tunnel
    level bench_native replay_lsn
}

# ---- pgBackRest: asynchronous archive push to a repository on the far host, over SSH

backrest() { as pgbackrest --config="$PEER/near.conf" --stanza=bench "$@"; }
repository() { echo "$PEER"/repository/archive/bench/*/*/*.zst; }
archived() { local f; f=($(repository)); [ -e "${f[0]}" ] && [ ${#f[@]} -ge "$WAL_SEGMENTS" ]; }
backrest_runs() { cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' | grep -q "pgbackrest.*$PEER"; }
backrest_durable() { # until the repository has every segment
    local begin near far orphans wire archiver us
    quiet
    wait_for 30 '! backrest_runs' || broken "pgBackRest does not end"
    rm -rf "$PEER"/repository/archive/bench/*/0* "$PEER"/backrest-spool/*
    unarchive
    wan $WAN
    settle
    archiver=$(sql "select pid from pg_stat_activity where backend_type = 'archiver'")
    near=$(ticks "$archiver") orphans=$(orphan_ticks) far=$(ticks "$(cat "$DC2_SSHD_PID")") wire=$(wire_bytes) begin=$(now_us)
    sql "alter system set archive_command = 'pgbackrest --config=$PEER/near.conf --stanza=bench archive-push %p'" >/dev/null
    sql "select pg_reload_conf()" >/dev/null
    wait_for "$LIMIT" archived || broken "pgBackRest archived only $(repository | wc -w) of $WAL_SEGMENTS segments"
    us=$(($(now_us) - begin))
    wait_for 60 '! ls "$DC1_PGDATA"/pg_wal/archive_status/*.ready' || broken "PostgreSQL's archiver does not come to an end"
    sql "alter system set archive_command = ''" >/dev/null
    sql "select pg_reload_conf()" >/dev/null
    wait_for 90 '! backrest_runs' || broken "pgBackRest does not end"
    note_rate pgbackrest "durable, MB/s" $us
    note_cost pgbackrest $(($(ticks "$archiver") - near + $(orphan_ticks) - orphans)) $(($(ticks "$(cat "$DC2_SSHD_PID")") - far)) $(($(wire_bytes) - wire))
}
unarchive() { # PostgreSQL holds the segments of this case for not archived, and no other
    local status=$DC1_PGDATA/pg_wal/archive_status name
    find "$status" -type f -delete
    for name in $(segments); do as touch "$status/$name.ready"; done
}
segments() { # names of the whole segments of this case, the oldest first
    ls "$DC1_PGDATA/pg_wal" | grep -E '^[0-9A-F]{24}$' | awk -v first="$WAL_FIRST_NAME" -v after="$WAL_END_NAME" '$0 "" >= first "" && $0 "" < after ""'
}

# ---- made once

make_peers() {
    local n
    as mkdir -m 700 "$PEER" "$PEER/sock" "$PEER/repository" "$PEER/backrest-spool" "$PEER/log"
    as ssh-keygen -q -t ed25519 -N '' -C 'walferry bench' -f "$PEER/key"
    for n in 1 2; do as sh -c 'cat "$1" >>"$2"' sh "$PEER/key.pub" "$WALFERRY_DEMO/dc$n/ssh/authorized_keys"; done
    as sh -c 'cat >"$1"' sh "$PEER/postgresql.conf" <<END
listen_addresses = ''
unix_socket_directories = '$PEER/sock'
shared_buffers = 64MB
dynamic_shared_memory_type = mmap
hot_standby_feedback = on
wal_retrieve_retry_interval = 100ms
primary_conninfo = 'host=$PEER port=5432 user=$RUN_AS application_name=bench_native'
primary_slot_name = 'bench_native'
hba_file = '$WALFERRY_DEMO/dc1/etc/pg_hba.conf'
ident_file = '$WALFERRY_DEMO/dc1/etc/pg_ident.conf'
$DEMO_CONF
END
    as sh -c 'printf "#!/bin/sh\nexec ssh $2 \"\$@\"\n" >"$1"; chmod 700 "$1"' sh "$PEER/ssh" \
        "-c aes128-gcm@openssh.com -i $PEER/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    as sh -c 'cat >"$1"' sh "$PEER/near.conf" <<END
[global]
repo1-host=127.0.0.1
repo1-host-port=$(bench_ssh 2 | sed 's/.*-p \([0-9]*\).*/\1/')
repo1-host-user=$RUN_AS
repo1-host-config=$PEER/far.conf
cmd-ssh=$PEER/ssh
compress-type=zst
compress-level=1
process-max=2
archive-async=y
spool-path=$PEER/backrest-spool
lock-path=$PEER/log/near
log-path=$PEER/log
log-level-console=off
log-level-stderr=warn
log-level-file=off
[bench]
pg1-path=$DC1_PGDATA
pg1-socket-path=$WALFERRY_DEMO/dc1/sock
pg1-user=$RUN_AS
END
    as sh -c 'cat >"$1"' sh "$PEER/far.conf" <<END
[global]
repo1-path=$PEER/repository
lock-path=$PEER/log/far
log-path=$PEER/log
log-level-file=off
END
    as mkdir "$PEER/log/near" "$PEER/log/far"
    backrest stanza-create >"$PEER/stanza.log" 2>&1 || broken "pgBackRest: $(head -3 "$PEER/stanza.log")"
}

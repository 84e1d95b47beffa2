# SPDX-License-Identifier: PostgreSQL
# many.sh: pools of two to six members, beside as many native standbys; sourced by run.sh. A pool
# of its own is made for each run and is gone after it: the primary's site has the primary and
# mirrors, the far site a head and who it feeds. The native standbys are fed by the first pool's primary.

pool_of() { # MEMBERS
    quiet
    export WALFERRY_DEMO=$POOL-f
    "$ROOT/conf/demo.sh" up --members "$1" >/dev/null || broken "the second pool does not come up"
    . "$WALFERRY_DEMO/env"
}
end_pool() {
    "$ROOT/conf/demo.sh" down >/dev/null
    export WALFERRY_DEMO=$POOL
    . "$WALFERRY_DEMO/env"
}
its() { local name=DC$1_$2; echo "${!name}"; } # N MEMBER|PG|...: of the demo's env
kill_host() { "$ROOT/conf/demo.sh" kill "$(its "$1" MEMBER)" >/dev/null || broken "$(its "$1" MEMBER) does not end"; } # N
fed_by() { # N MEMBER
    wait_for "$LIMIT" "as '$WALFERRY' status --json --config '$CONFIG' --member '$(its "$1" MEMBER)' |
        jq -e '.receiving | .state == \"up\" and .from == \"$2\"'" || broken "$(its "$1" MEMBER) is not fed by $2"
}

# ---- what crosses the line, and what it costs the primary's host

line_bytes() { "$ROOT/conf/demo.sh" bytes | awk '{ sum += $3 + $4 } END { printf "%.0f", sum }'; }
near_ticks() { ticks $(sql "select pid from pg_stat_replication") "$(cat "$DC1_SSHD_PID")" $(pid_of "$DC1_AGENT_PID"); }
ship_live() { # WHO STANDBY ...: WAL of both kinds while the standbys follow
    local who=$1 wal from near line standby
    shift
    for wal in pgbench uuid; do
        sql "drop table if exists pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers, rows" 2>/dev/null
        sql "checkpoint"
        near=$(near_ticks) line=$(line_bytes) from=$(number "$(sql "select pg_current_wal_insert_lsn()")")
        write_wal $wal $from
        WAL_END=$(sql "select pg_current_wal_flush_lsn()")
        WAL_BYTES=$(($(number "$WAL_END") - from))
        for standby in "$@"; do await "$standby" "select pg_last_wal_replay_lsn() >= '$WAL_END'" "a standby of $who is not there"; done
        note "$who" "line $wal, MB/GB" "$(awk -v n=$(($(line_bytes) - line)) -v b=$WAL_BYTES 'BEGIN { printf "%.1f", n / b * 1000 }')"
        note "$who" "host CPU $wal, s/GB" "$(per_gb $(($(near_ticks) - near)))"
    done
}
far_walferry() { # N: standbys on the far site; the primary feeds N: their head and N - 1 mirrors
    local n standbys=()
    pool_of $((2 * $1))
    for n in $(seq 2 $((2 * $1))); do standbys+=("$(its $n PG)"); done
    [ "$1" = 1 ] || fed_by 4 dc2-a
    ship_live walferry "${standbys[@]}"
    note walferry "peak memory, MB" "$(for n in $(seq $((2 * $1))); do peak_mb "$(pid_of "$(its $n AGENT_PID)")"; echo; done | sort -n | tail -1)"
    end_pool
}
# The Nth native standby, fed by who listens on SOCKET-FOLDER or an address.
native_standby() { # N HOST
    local d=$PEER/many$1
    rm -rf "$d" && as mkdir -m 700 "$d" "$d/sock" || broken "no folder $d"
    as "$PGBIN/pg_basebackup" -h "$WALFERRY_DEMO/dc1/sock" -D "$d/data" -X stream -c fast >/dev/null 2>&1 && as touch "$d/data/standby.signal" || broken "pg_basebackup failed"
    { sed "/^unix_socket/d; /^primary_/d" "$PEER/postgresql.conf"
        echo "unix_socket_directories = '$d/sock'"
        echo "primary_conninfo = 'host=$2 port=5432 user=$RUN_AS application_name=bench_$1'"; } | as sh -c 'cat >"$1"' sh "$d/postgresql.conf"
    as "$PGBIN/pg_ctl" -D "$d/data" -l "$d/log" -w -o "-c config_file=$d/postgresql.conf" start >/dev/null 2>&1 ||
        broken "the native standby $1 does not start: $(tail -1 "$d/log")"
}
tunnel_of() { # N: a far host's own
    local d=$PEER/tunnel$1
    rm -rf "$d" && as mkdir -m 700 "$d"
    spawn "$OUT/tunnel$1.pid" "$PEER/tunnel.log" ssh -N $(bench_ssh 1) -o ExitOnForwardFailure=yes \
        -L "$d/.s.PGSQL.5432:$WALFERRY_DEMO/dc1/sock/.s.PGSQL.5432" "$RUN_AS@127.0.0.1"
    wait_for 60 "test -S $d/.s.PGSQL.5432" || broken "no tunnel: $(tail -1 "$PEER/tunnel.log")"
}
native_pg() { echo "host=$PEER/many$1/sock port=5432 user=$RUN_AS"; } # N
end_natives() {
    local d
    for d in "$PEER"/many?; do [ ! -s "$d/data/postmaster.pid" ] || as "$PGBIN/pg_ctl" -D "$d/data" -m immediate -w stop >/dev/null 2>&1; done
    quiet
}
far_native() { # star|cascade N
    local n standbys=()
    quiet
    for n in $(seq "$2"); do
        if [ "$1" = star ] || [ $n = 1 ]; then
            tunnel_of $n
            native_standby $n "$PEER/tunnel$n"
        else
            native_standby $n "$PEER/many1/sock"
        fi
        standbys+=("$(native_pg $n)")
    done
    for n in "${standbys[@]}"; do await "$n" "select status = 'streaming' from pg_stat_wal_receiver" "a native standby does not stream"; done
    ship_live "$1" "${standbys[@]}"
    end_natives
}

# ---- commits that wait for a neighbour

commits() { # WHO CLIENTS: of one row each
    local ms
    sql "create table if not exists committed (n bigint generated always as identity)" 2>/dev/null
    echo "insert into committed values (default)" >"$OUT/commit.sql"
    pgbench -n -c "$2" -T 1 -f "$OUT/commit.sql" >/dev/null 2>&1
    ms=$(pgbench -n -c "$2" -T "$TPS_SECONDS" -f "$OUT/commit.sql" 2>/dev/null | sed -n 's/^latency average = \([0-9.]*\) ms/\1/p')
    [ -n "$ms" ] || broken "pgbench failed beside $1"
    note "$1" "commit, ms" "$ms"
}
mirror_walferry() { # CLIENTS: the far site is away, as the native standby is alone
    DEMO_SYNCHRONOUS=mirror pool_of 4
    kill_host 2
    kill_host 4
    await "$DC1_PG" "select current_setting('synchronous_standby_names') = 'walferry_dc1_b'" "commits do not wait for the mirror"
    commits walferry "$1"
    end_pool
}
mirror_native() { # tcp|ssh|nobody CLIENTS: on nobody's confirmation
    local at=127.$((RANDOM % 200 + 20)).$((RANDOM % 250)).1
    quiet
    case $1 in
    ssh) tunnel_of 1; native_standby 1 "$PEER/tunnel1" ;;
    tcp)
        grep -q '^host replication' "$WALFERRY_DEMO/dc1/etc/pg_hba.conf" || echo "host replication all 127.0.0.0/8 trust" >>"$WALFERRY_DEMO/dc1/etc/pg_hba.conf"
        as "$PGBIN/pg_ctl" -D "$WALFERRY_DEMO/dc1/etc" -l "$WALFERRY_DEMO/dc1/postgres.log" -w -o "-c listen_addresses=$at" restart >/dev/null 2>&1 || broken "the primary does not start again"
        native_standby 1 $at
        ;;
    esac
    if [ "$1" != nobody ]; then
        sql "alter system set synchronous_standby_names = 'bench_1'" && sql "select pg_reload_conf()" >/dev/null
        await "$DC1_PG" "select sync_state = 'sync' from pg_stat_replication where application_name = 'bench_1'" "the native standby is not synchronous"
    fi
    commits "$1" "$2"
    end_natives
}

# ---- the head's host dies: until its neighbour shows a row of afterwards. A native cascade waits for a DBA.

head_dies() {
    local began dead
    pool_of 4
    fed_by 4 dc2-a
    sql "create table clock (at timestamptz)"
    as "$PGBIN/psql" -XAtq "$DC1_PG dbname=postgres" >/dev/null 2>&1 <<<"do \$\$ begin loop insert into clock values (clock_timestamp()); commit; perform pg_sleep(0.01); end loop; end \$\$" &
    await "$(its 4 PG)" "select count(*) > 100 from clock" "dc2-b shows no rows"
    began=$(now_us)
    kill_host 2
    dead=$(now_us)
    await "$(its 4 PG)" "select exists (select from clock where at > to_timestamp($dead / 1e6))" "dc2-b gets no WAL"
    note walferry "first new WAL, s" "$(awk -v us=$(($(now_us) - began)) 'BEGIN { printf "%.2f", us / 1e6 }')"
    end_pool
    wait
}

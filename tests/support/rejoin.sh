# SPDX-License-Identifier: PostgreSQL
# rejoin.sh: what the scenario and the bench of rejoin share; sourced behind lib.sh.
OUT=/tmp/wf-$$.out
rejoin() { local n=$1; shift; walferry "$n" rejoin "$@" </dev/null >"$OUT" 2>&1; }
killed_rejoin() { # N KILLER'S-SETTINGS...; REPLACE: --replace
    local n=$1
    shift
    install -m 755 "$WALFERRY_BUILD/killer.so" "$WALFERRY_DEMO/bin/" || fail "the build has no killer.so"
    as env LD_PRELOAD="$WALFERRY_DEMO/bin/killer.so" "${@/#/WALFERRY_}" ASAN_OPTIONS="$ASAN_OPTIONS:verify_asan_link_order=0" \
        "$WALFERRY" rejoin --config "$CONFIG" --member "dc$n-a" --yes ${REPLACE:-} </dev/null >"$OUT" 2>&1
}
# The agent of dcN, killed instead of writing pool.state for the AT-th time from now on.
agent_that_dies() { # N AT
    install -m 755 "$WALFERRY_BUILD/killer.so" "$WALFERRY_DEMO/bin/" || fail "the build has no killer.so"
    as env LD_PRELOAD="$WALFERRY_DEMO/bin/killer.so" WALFERRY_KILL_FILE=pool.state WALFERRY_KILL_AT="$2" \
        ASAN_OPTIONS="$ASAN_OPTIONS:verify_asan_link_order=0" setsid sh -c 'log=$1; shift; exec "$@" >>"$log" 2>&1 </dev/null' sh \
        "$WALFERRY_DEMO/dc$1/agent.log" "$WALFERRY" agent --config "$CONFIG" --member "dc$1-a" >/dev/null 2>&1 </dev/null &
    disown
}

failover() { walferry "$1" failover --yes --force </dev/null >"$OUT" 2>&1 || fail "failover: $(cat "$OUT")"; }
told() { grep -q "$1" "$OUT" || fail "'$1' is not said: $(cat "$OUT")"; }
load2() { local one=$DC1_PG; DC1_PG=$DC2_PG; load "$@"; DC1_PG=$one; }
level2() { [ "$(sql1 "select pg_last_wal_replay_lsn() >= '$(sql2 "select pg_current_wal_flush_lsn()")'::pg_lsn")" = t ]; }
stop_load() { pkill -f "pgbench.*$WALFERRY_DEMO"; end_load; expect 10 "! pgrep -f 'pgbench.*$WALFERRY_DEMO'"; }

# Two tables, and what pg_amcheck needs.
prepare_pool() {
    sql1 "create extension amcheck;
        create table one (n int, t text); create table two (n int primary key);
        insert into one select g, 'x' from generate_series(1, 10) g;
        insert into two select g from generate_series(1, 10) g" >/dev/null
}


# One of each kind, on member N: two tables and a subtransaction, one aborted, one prepared.
lose_transactions() {
    as "$PGBIN/psql" -XAtq "$(eval "echo \$DC$1_PG") dbname=postgres" >"$WALFERRY_DEMO/known" <<'END' || fail "psql"
begin; select txid_current() || ' one 1 0 0'; insert into one values (1, 'a');
savepoint s; insert into two values (11); release s;
savepoint t; insert into two values (12); rollback to t; select txid_current() || ' two 1 0 0'; commit;
begin; insert into one values (2, 'aborted'); rollback;
begin; select txid_current() || ' one 1 0 0'; insert into one values (3, 'prepared');
select txid_current() || ' two 0 3 0'; update two set n = n + 100 where n < 4; prepare transaction 'later';
commit prepared 'later';
begin; insert into one values (4, 'given up'); prepare transaction 'never'; rollback prepared 'never';
begin; select txid_current() || ' one 0 0 2'; delete from one where n > 8; commit;
begin; select txid_current() || ' one 3 0 0'; insert into one select g, repeat(md5(g::text), 3000) from generate_series(20, 22) g; commit;
END
}

# What the former primary OLD has and NEW has not: lines "xid time table inserted updated deleted".
expected() { # OLD NEW
    local old=$1 new=$2 stamp="to_char(pg_xact_commit_timestamp(x::text::xid) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
    sql "$new" "select xmin from pgbench_history" | sort >"$WALFERRY_DEMO/common"
    sql "$old" "select xmin from pgbench_history" | sort | comm -23 - "$WALFERRY_DEMO/common" >"$WALFERRY_DEMO/xids"
    [ -s "$WALFERRY_DEMO/xids" ] || fail "no transaction of the load was lost"
    {
        sed 's/.*/& accounts 0 1 0\n& branches 0 1 0\n& history 1 0 0\n& tellers 0 1 0/; s/ \([abht]\)/ pgbench_\1/g' "$WALFERRY_DEMO/xids"
        cat "$WALFERRY_DEMO/known"
    } >"$WALFERRY_DEMO/rows"
    cut -d' ' -f1 "$WALFERRY_DEMO/rows" | sort -u >"$WALFERRY_DEMO/xids"
    sql "$old" "select x || ' ' || replace($stamp, ' ', 'T') from unnest(array[$(paste -sd, "$WALFERRY_DEMO/xids")]) x" | sort >"$WALFERRY_DEMO/stamps"
    join "$WALFERRY_DEMO/stamps" <(sort "$WALFERRY_DEMO/rows") | sort >"$WALFERRY_DEMO/expected"
}

listed() { # N: its receipt says what was expected
    walferry "$1" lost --json | jq -r '.[-1] | select(.exact) | .listed[] | .xid as $x | .committed as $c | .tables[] |
        "\($x) \($c | sub(" UTC$"; "") | sub(" "; "T")) \(.table | sub("postgres.public."; "")) \(.inserted) \(.updated) \(.deleted)"' |
        sort >"$WALFERRY_DEMO/listed"
    cmp -s "$WALFERRY_DEMO/expected" "$WALFERRY_DEMO/listed" ||
        fail "the list is another one: $(diff "$WALFERRY_DEMO/expected" "$WALFERRY_DEMO/listed" | head -20)"
    walferry "$1" lost --json | jq -e '.[-1].listed | map(select(.prepared)) | length == 1' >/dev/null || fail "not one COMMIT PREPARED"
}

follows() { # N
    expect 30 "[ \"\$(field $1 .role)\" = standby ] && [ \"\$(field $1 .receiving.standby_connected)\" = true ]"
    [ "$(sql "$1" "select pg_is_in_recovery()")" = t ] || fail "dc$1 is not in recovery"
}

same_sides() { # PRIMARY STANDBY: rows and structure
    local at
    at=$(sql "$1" "select pg_current_wal_flush_lsn()")
    expect 60 "[ \"\$(sql $2 \"select pg_last_wal_replay_lsn() >= '$at'::pg_lsn\")\" = t ]"
    same_dumps "$(eval "echo \$DC$1_PG")" "$(eval "echo \$DC$2_PG")"
    sound
}

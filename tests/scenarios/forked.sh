#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A former primary wrote far past the fork and is started as a standby by hand, not by rejoin: it has
# what nobody has and lacks what the pool has. No figure calls that applied, nobody reads from it or
# promotes it; rejoin mends it.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
url() { [ "$1" = 1 ] && echo "http://$DC1_HTTP" || echo "http://$DC2_HTTP"; } # N
code() { curl -s -m 5 -o /dev/null -w '%{http_code}' "$(url "$1")$2"; }      # N PATH
applied() { field "$1" ".links[0]?.applied // .receiving.applied | .$2"; }    # N FIELD
metric() { curl -s -m 5 "$(url "$1")/metrics" | grep -E '^walferry_[a-z_]+\{.*position="applied"'; } # N

# Neither side knows of anything that dc1 has applied.
unknown() {
    local n
    for n in 1 2; do
        [ "$(applied $n lsn)" = null ] && [ "$(applied $n lag_seconds)" = null ] || return 1
        ! metric $n | grep -q lag || return 1
    done
}
names() { sql2 "show synchronous_standby_names"; }
name_by_hand() { # NAMES; none: as the agent has it
    if [ -n "$1" ]; then
        sql2 "alter system set synchronous_standby_names = '$1'" >/dev/null
    else
        sql2 "alter system reset synchronous_standby_names" >/dev/null
    fi
    sql2 "select pg_reload_conf()" >/dev/null
    expect 10 "[ \"\$(field 2 .postgres.synchronous_standby_names)\" = '$1' ]"
}
forked() { field 1 .alarm | grep -q "forked.*walferry rejoin"; }

# Cut off, dc1 goes on alone, far past where dc2, promoted meanwhile, goes on.
part() {
    demo cut
    expect 20 '[ "$(field 2 .receiving.state)" = down ]'
    failover 2
    sql2 "create table kept as select generate_series(1, 100) n" >/dev/null
    sql1 "create table alone as select n, md5(random()::text) x from generate_series(1, 300000) n" >/dev/null
}

refused() {
    step "$1: forked within seconds of contact"
    expect 10 forked
    expect 3 '[ "$(field 1 .role)" = standby ] && [ "$(field 1 .receiving.state)" = up ]'
    expect 3 unknown
    step "$1: the primary commits on, and nothing of it counts as applied"
    sql2 "insert into kept select generate_series(1, 10)" >/dev/null
    expect 10 '[ "$(field 2 .links[0].flushed.behind_bytes)" = 0 ]'
    for n in 1 2 3 4 5; do unknown || fail "$(status 1 | jq -c .receiving.applied) $(status 2 | jq -c .links[0].applied)"; done
    [ "$(code 1 /standby)" = 503 ] || fail "readers are sent to it"
    walferry 1 check >"$OUT" 2>&1
    [ $? = 2 ] && told "CRITICAL.*forked" || fail "check: $(cat "$OUT")"
    walferry 2 sync --applied --timeout 2s >/dev/null 2>&1 && fail "sync --applied says that it is applied"
    wait_for 4 '[ -n "$(names)" ]' && fail "commits wait for WAL that its PostgreSQL cannot replay"
    name_by_hand walferry_dc1_a
    for commit in on remote_apply; do
        timeout 3 bash -c "$(declare -f as); RUN_AS=$RUN_AS; as $PGBIN/psql -XAtq '$DC2_PG dbname=postgres' -c 'set synchronous_commit = $commit' -c 'insert into kept values (0)'" >/dev/null 2>&1
        [ $? = 124 ] || fail "$commit is confirmed by it"
    done
    name_by_hand ""
    walferry 1 failover --yes --force </dev/null >"$OUT" 2>&1
    [ $? = 1 ] && told "refused: .*forked" || fail "failover: $(cat "$OUT")"
    [ "$(sql1 "select pg_is_in_recovery()")" = t ] || fail "it is promoted"
}

mend() {
    step "$1: rejoin mends it"
    rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
    follows 1
    expect 10 '[ "$(field 1 .alarm)" = null ]'
    expect 10 '[ "$(applied 1 "lag_seconds // 99 | . < 2")" = true ] && [ "$(applied 2 "lag_seconds // 99 | . < 2")" = true ]'
    [ "$(code 1 /standby)" = 200 ] || fail "readers are not sent to it"
    walferry 2 sync --applied >/dev/null || fail "sync --applied"
    expect 20 '[ -z "$(sql2 "select 1 from pg_stat_activity where wait_event = '"'SyncRep'"'")" ]'
    same_sides 2 1
}

home() {
    walferry 2 sync --applied >/dev/null
    sql2 "checkpoint" >/dev/null
    pg2 -m fast stop
    expect 30 '[ "$(field 1 .receiving.state)" = up ]'
    walferry 1 failover --yes </dev/null >"$OUT" 2>&1 || fail "failover: $(cat "$OUT")"
    expect 20 '[ "$(field 2 .role)" = fenced ] || [ "$(field 2 .epoch.member)" = dc1-a ]'
    rejoin 2 --yes || fail "rejoin: $(cat "$OUT")"
    follows 2
    sql1 "drop table kept" >/dev/null
    sql1 "checkpoint" >/dev/null
    expect 30 level
    sql1 "select pg_reload_conf()" >/dev/null
}

export DEMO_SYNCHRONOUS=on DEMO_CONF='autovacuum = off
log_min_messages = info'
start_pool
prepare_pool
expect 20 '[ "$(sql1 "show synchronous_standby_names")" = walferry_dc2_a ]'
expect 30 level

step "stopped cleanly, then started with standby.signal by hand"
sql1 "alter system set synchronous_commit = local" >/dev/null # it goes on alone
sql1 "select pg_reload_conf()" >/dev/null
part
pg1 -m fast stop || fail "it does not stop"
as touch "$DC1_PGDATA/standby.signal"
pg1 start || fail "it does not start: $(tail -3 "$WALFERRY_DEMO/dc1/postgres.log")"
demo heal
refused "stopped"
mend "stopped"

step "home again; then the same after a crash, with a checkpoint before the fork"
home
part
kill_postgres 1
as touch "$DC1_PGDATA/standby.signal"
pg1 start || fail "it does not start: $(tail -3 "$WALFERRY_DEMO/dc1/postgres.log")"
demo heal
refused "crashed"
mend "crashed"

step "forked once more, and who took over is gone for good: every way but one is refused"
home
part
pg1 -m fast stop || fail "it does not stop"
as touch "$DC1_PGDATA/standby.signal"
pg1 start || fail "it does not start: $(tail -3 "$WALFERRY_DEMO/dc1/postgres.log")"
demo heal
expect 10 forked
field 1 .alarm | grep -q "if dc2-a is gone for good.*walferry failover --reclaim" || fail "no way out is named: $(field 1 .alarm)"
expect 10 '[ "$(field 1 .receiving.state)" = up ]'
walferry 1 failover --reclaim --yes </dev/null >"$OUT" 2>&1 && fail "beside a living primary"
told "refused: the primary dc2-a is alive"
sql2 "insert into kept values (77)" >/dev/null
expect 10 '[ "$(field 2 .links[0].flushed.behind_bytes)" = 0 ]'
epoch=$(field 1 .epoch.number)
kill_agent 2
kill_postgres 2
walferry 1 failover --yes --force </dev/null >"$OUT" 2>&1
[ $? = 1 ] && told "refused: .*forked.*walferry failover --reclaim" || fail "failover: $(cat "$OUT")"
step "its cost is told before, and nothing is changed by that"
at=$(field 1 .alarm | sed 's/.*, at \([0-9A-F/]*\): .*/\1/')
walferry 1 failover --reclaim --dry-run </dev/null >"$OUT" 2>&1 || fail "dry run: $(cat "$OUT")"
told "loss: all that was committed in the pool behind $at of timeline .* of dc2-a"
told "promote from where it stands. Nothing was changed"
[ "$(field 1 .epoch.number)" = $epoch ] && [ "$(sql1 "select pg_is_in_recovery()")" = t ] || fail "the dry run changed something"
step "promoted from where it stands, by the DBA's word: what it lacks is told, and kept"
walferry 1 failover --reclaim --yes </dev/null >"$OUT" 2>&1
[ $? = 3 ] || fail "reclaim: $(cat "$OUT")"
told "done: dc1-a is the primary of epoch $((epoch + 1))"
told "NOT COMPLETE: acknowledged WAL is missing"
expect 5 '[ "$(field 1 .role)" = primary ] && [ "$(field 1 .alarm)" = null ]'
[ "$(sql1 "select count(*) from alone")" = 300000 ] || fail "what it alone had is gone"
walferry 1 lost >"$OUT" 2>/dev/null
told "known then: all that was committed in the pool behind $at"
walferry 1 lost --discard --yes >"$OUT" 2>&1 || fail "lost --discard: $(cat "$OUT")"
step "the other one comes back after all: fenced, and a standby by rejoin"
pg2 start || fail "dc2 does not start"
start_agent 2
expect 20 '[ "$(field 2 .role)" = fenced ] && [ "$(field 2 .epoch.member)" = dc1-a ]'
rejoin 2 --yes || fail "rejoin: $(cat "$OUT")"
follows 2
same_sides 1 2
rm -f "$OUT"
pass

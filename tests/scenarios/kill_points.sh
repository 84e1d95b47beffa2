#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The numbered points of a role change (base/kill_point.h): at each of them the agent, PostgreSQL or both are
# killed and started again, and the same command is typed again until it says that it is done. Then there is one
# writable server, what was acknowledged is there, the receipt is there once, and the pool is level again.
# --long: each point in a role change of its own, by each of the three.
export DEMO_SYNCHRONOUS=on DEMO_SEGMENT_MB=1
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
. "$ROOT/tests/support/kill_points.sh"
LOG=/tmp/wf-$$.log # what the present command says
BEFORE_DOWN='rm -f "$OUT" "$LOG"'
data_of() { eval "echo \$DC$1_PGDATA"; }
spool_of() { eval "echo \$DC$1_SPOOL"; }
up() { sql "$1" "select 1" | grep -qx 1; } # N
write() { # N TABLE VALUE: no commit waits for ever
    local said
    said=$(PGOPTIONS="-c statement_timeout=20s" sql "$1" "insert into $2 values ($3)")
    [ -z "$said" ] || fail "dc$1 takes no row: $said"
}

step "the points are numbered without a gap, and only walferry-points has them"
points_in() { # FILE...: strings of its own; a sanitizer has "variable:line" in longer ones
    cat "$@" | LC_ALL=C grep -aoP '(?<![ -~])(failover|cut|rejoin|resolve):[0-9]+(?=\x00)' | sort -u -t: -k1,1 -k2n
}
sources=$(grep -rhoE 'KILL_POINT\("[^"]*"\)' "$ROOT/agent" "$ROOT/shipper" | cut -d'"' -f2 | sort -t: -k1,1 -k2n)
[ "$(echo "$sources" | sort -u | wc -l)" = "$(echo "$sources" | wc -l)" ] || fail "a point stands twice: $sources"
echo "$sources" | awk -F: '$2 != ++n[$1] { print; bad = 1 } END { exit bad }' || fail "a number is missing before these"
[ "$(points_in "$WALFERRY_BUILD/walferry-points")" = "$sources" ] ||
    fail "CMakeLists.txt lacks a file: $(points_in "$WALFERRY_BUILD/walferry-points" | diff - <(echo "$sources"))"
grep -q "[^0-9]$(echo "$sources" | wc -l) kill points" "$ROOT/README.md" || fail "the README has another count than $(echo "$sources" | wc -l) kill points"
[ -z "$(points_in "$WALFERRY_BUILD/walferry" "$WALFERRY_BUILD/walferry-main")" ] || fail "walferry stops, too"
! grep -qa WALFERRY_STOP_AT "$WALFERRY_BUILD/walferry-main" || fail "walferry-main reads WALFERRY_STOP_AT"

# ---- who stands at a point, and what is killed there ----

KINDS=(agent postgres both)
TURN=1
HELD= # the startup process of a PostgreSQL that is told to promote meanwhile
ROUND=0
KIND=             # of every point; empty: in turn
declare -A KILLED # POINT KIND

kill_pid() { kill -9 "$1"; expect 10 "gone $1"; }
strike() { # POINT KIND: it stands there
    local here=
    step "round $ROUND, dc$P to dc$S: $2 is killed at $1"
    [[ $1 != rejoin:* ]] || ! up $P || here=$P # rejoin has started it
    [ "$2" = postgres ] || kill_pid "$PID"
    [[ $1 != rejoin:* || $2 = postgres ]] || kill_agent $P
    if [ "$2" != agent ]; then
        kill_postgres $S
        [ -z "$here" ] || kill_postgres $here
    fi
    [ "$2" != agent ] || [ -z "$HELD" ] || kill -CONT "$HELD"
    HELD=
    if [ "$2" = postgres ]; then kill -CONT "$PID"
    elif [[ $1 = rejoin:* ]]; then start_agent $P
    else WALFERRY_STOP_AT=$(IFS=,; echo "${STOPS[*]}") start_agent $S; fi
    if [ "$2" != agent ]; then
        pg$S start || fail "PostgreSQL of dc$S does not start: $(tail -3 "$WALFERRY_DEMO/dc$S/postgres.log")"
        [ -z "$here" ] || pg$here start || expect 20 "up $here" # rejoin goes on, and may have started it
    fi
    if [ "$1 ${STOPS[0]:-}" = "failover:11 failover:12" ]; then # killed there, it is not promoted yet
        HELD=$(pgrep -f "startup" -P "$(head -1 "$(data_of $S)/postmaster.pid")") && kill -STOP "$HELD" || HELD=
    fi
    KILLED[$1 $2]=1
}
# What is typed on dc$1, again and again until it is done (its end, or what it says); all of STOPS are passed.
drive() { # DONE-REGEX N COMMAND ...
    local deadline=$((SECONDS + 50)) command= code= regex=$1
    shift
    while [ ${#STOPS[@]} -gt 0 ] || [ "$code" != 0 ]; do
        [ $SECONDS -lt $deadline ] || fail "walferry ${*:2} does not end${STOPS[0]:+ or come to ${STOPS[0]}}: $(cat "$LOG")"
        if [ ${#STOPS[@]} -gt 0 ] && stands "${STOPS[0]}" "$WALFERRY_DEMO/dc$S/agent.log" "$LOG"; then
            local point=${STOPS[0]}
            STOPS=("${STOPS[@]:1}")
            strike "$point" "${KIND:-${KINDS[TURN++ % 3]}}"
            deadline=$((SECONDS + 50))
        elif [ -n "$command" ] && ! kill -0 "$command" 2>/dev/null; then
            wait "$command"
            code=$?
            ! grep -qE "$regex" "$LOG" || code=0
            command=
        elif [ -z "$command" ] && [ "$code" != 0 ]; then
            WALFERRY_STOP_AT=$(IFS=,; echo "${STOPS[*]}") walferry "$@" </dev/null >"$LOG" 2>&1 &
            command=$!
        fi
        [ -z "$code" ] || [ "$code" = 0 ] || sleep 0.5
        [ "$code" != 0 ] || [[ ${STOPS[0]:-cut:} = cut:* ]] || fail "walferry ${*:2} is done and never came to ${STOPS[0]}: $(cat "$LOG")"
        sleep 0.05
    done
}

# ---- a round: dc$S takes over from dc$P, which comes back ----

stops() { STOPS=() && for n in $2; do STOPS+=("$1:$n"); done; } # KIND-OF-POINT NUMBERS
set_out() { # STOPS: those of the agent of dc$S
    ROUND=$((ROUND + 1))
    step "round $ROUND, dc$P to dc$S"
    EPOCH=$(field $S .epoch.number)
    kill_agent $S TERM
    WALFERRY_STOP_AT=$(IFS=,; echo "${STOPS[*]}") start_agent $S
    expect 30 "[ \"\$(field $S .receiving.state)\" = up ] && [ \"\$(field $S .receiving.standby_connected)\" = true ]"
    expect 30 "[ \"\$(sql $P 'show synchronous_standby_names')\" = walferry_dc${S}_a ]"
    write $P kept $ROUND
    walferry $P sync >/dev/null || fail "sync"
}
# The line breaks inside of a long record, then the site is gone.
tear() {
    local at
    demo wan 20 4
    at=$(sql $P "select pg_current_wal_flush_lsn()")
    as "$PGBIN/psql" -XAtq "$(eval "echo \$DC${P}_PG") dbname=postgres" -c "set synchronous_commit = local" \
        -c "begin; create table lost$ROUND (n int);
            select pg_logical_emit_message(true, 'long', (select string_agg(gen_random_uuid()::text, '') from generate_series(1, 110000)));
            commit" >/dev/null || fail "psql"
    expect 60 "[ \"\$(sql $P \"select '\$(field $S .spool.flushed)'::pg_lsn > '$at'::pg_lsn + 1200000\")\" = t ]"
    demo cut
    demo wan 0
    kill_agent $P
    kill_postgres $P
}
# PostgreSQL is dead, its agent lives: what was committed and not acknowledged is there, too.
die_behind() {
    as "$PGBIN/psql" -XAtq "$(eval "echo \$DC${P}_PG") dbname=postgres" -c "set synchronous_commit = local" \
        -c "insert into kept select 1000 + $ROUND" >/dev/null || fail "psql"
    kill_postgres $P
}
took_over() { # EPOCH AT-MOST: dc$S is the primary
    expect 20 "[ \"\$(field $S .role)\" = primary ] && [ \"\$(field $S .failover_step)\" = 0 ]"
    [ "$(field $S .epoch.number)" = $1 ] || fail "epoch $(field $S .epoch.number), not $1"
    [ "$(sql $S "select pg_is_in_recovery()")" = f ] && ! up $P || fail "not one writable server"
    [ "$(sql $S "select count(*) from kept where n <= $ROUND")" = $ROUND ] || fail "acknowledged rows are missing"
    write $S after_it $ROUND
    one_receipt $S ".primary == \"dc$S-a\" and .former == \"dc$P-a\" and (.at_most | test(\"$2\"))"
}
one_receipt() { # N CONDITION: of the present epoch
    walferry $1 lost --json 2>/dev/null >"$OUT"
    [ "$(jq "[.[] | select(.epoch == $((EPOCH + 1)))] | length == 1 and (.[0] | $2)" "$OUT")" = true ] ||
        fail "receipts of epoch $((EPOCH + 1)): $(jq -c ".[] | select(.epoch == $((EPOCH + 1))) | del(.listed)" "$OUT")"
}
is_cut() { # behind the fork of dc$S nothing is in its spool; what was there is kept aside
    local file timeline fork
    read -r timeline fork _ < <(tail -qn 1 "$(ls "$(data_of $S)"/pg_wal/*.history | tail -1)")
    expect 20 "[ \"\$(field $S .spool.flushed)\" = $fork ]"
    for file in "$(spool_of $S)/$(printf %08X "$timeline")"*.aside; do
        as cmp -n "$(stat -c %s "$file")" "$file" "$(data_of $P)/pg_wal/$(basename "$file" .aside)" || fail "$file is other WAL"
    done
}
comes_back() { # OPTIONS: dc$P
    drive 'not like this' $P rejoin --yes "$@"
    follows $P
    write $S kept $((ROUND + 2000))
    same_rows_there
    local p=$P
    P=$S S=$p
}
same_rows_there() {
    local at query="select count(*), md5(string_agg(n::text, ' ' order by n)) from (select n from kept union all select n from after_it) a"
    at=$(sql $S "select pg_current_wal_flush_lsn()")
    expect 60 "[ \"\$(sql $P \"select pg_last_wal_replay_lsn() >= '$at'::pg_lsn\")\" = t ]"
    [ "$(sql $P "$query")" = "$(sql $S "$query")" ] || fail "the two sides hold different rows"
}

torn() { # FAILOVER CUT REJOIN: numbers
    stops failover "$1"
    for n in $2; do STOPS+=("cut:$n"); done
    set_out
    tear
    drive 'done already' $S failover --yes
    took_over $((EPOCH + 1)) "^at most what was committed in the last"
    is_cut
    demo heal
    start_agent $P
    expect 20 "[ \"\$(field $P .epoch.number)\" = $((EPOCH + 1)) ]"
    stops rejoin "$3"
    comes_back
    one_receipt $S ".exact and (.at_most != null) and .transactions > 0"
}
rescued() { # FAILOVER REJOIN
    stops failover "$1"
    set_out
    die_behind
    drive 'done already' $S failover --yes
    took_over $((EPOCH + 1)) "^none;"
    [ "$(sql $S "select count(*) from kept where n = 1000 + $ROUND")" = 1 ] || fail "what was committed is not rescued"
    expect 20 "[ \"\$(field $P .epoch.number)\" = $((EPOCH + 1)) ]"
    stops rejoin "$2"
    comes_back
    one_receipt $S ".exact and (.at_most != null) and .transactions == 0"
}
divided() { # RESOLVE: dc$P is promoted by hand beside dc$S
    stops resolve "$1"
    set_out
    demo cut
    walferry $S failover --yes </dev/null >"$LOG" 2>&1 || fail "failover: $(cat "$LOG")"
    pg$P -m fast stop
    as touch "$(data_of $P)/standby.signal"
    pg$P start && pg$P promote || fail "dc$P is not promoted"
    sees_writable $P
    demo heal
    expect 20 "field $S .alarm | grep -q 'two primaries: '"
    drive "done already: dc$S-a is the primary of epoch $((EPOCH + 2))" $S resolve --primary "dc$S-a" --yes
    expect 20 "[ \"\$(field $P .role) \$(field $S .role)\" = 'fenced primary' ]"
    [ "$(field $S .epoch.number) $(field $P .epoch.number)" = "$((EPOCH + 2)) $((EPOCH + 2))" ] || fail "other epochs"
    comes_back --replace
}

step "bringing up a pool"
start_pool
use_points
for n in 1 2; do kill_agent $n TERM && start_agent $n; done
sql1 "create extension amcheck; create table kept (n int); create table after_it (n int)" >/dev/null
P=1 S=2

if long; then
    for KIND in "${KINDS[@]}"; do
        for n in $(seq 14); do
            case $n in
            2) rescued 2 2 ;;
            1) torn 1 1 1 ;;
            3 | 4 | 5) torn $n $((n - 1)) $n ;;
            11) torn "11 12" "" 11 ;;
            14) torn 14 "" "" ;;
            *) torn $n "" $n ;;
            esac
        done
        divided 1
        divided 2
    done
else
    torn "1 6 11 12" 1 "1 6 11"
    rescued "2 7" "2 12 13"
    torn "3 8 13" 2 "3 8"
    torn "4 9 14" 3 "4 7 10"
    torn "5 10" 4 "5 9"
    divided "1 2"
fi
step "the end"
for point in $sources; do
    for KIND in "${KINDS[@]}"; do [ -z "${KILLED[$point $KIND]:-}" ] || KILLED[$point]=$((${KILLED[$point]:-0} + 1)); done
    [ "${KILLED[$point]:-0}" -ge "$(long && echo 3 || echo 1)" ] || fail "nothing was killed at $point"
done
same_sides $P $S
rm -f "$OUT" "$LOG"
NAME="$NAME: $(echo "$sources" | wc -l) kill points"
pass

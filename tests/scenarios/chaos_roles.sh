#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Chaos: clients of both sites write wherever /primary is 200, while agents, servers and the line are killed, frozen,
# stopped, cut and mended, and roles change both ways. What happens and when is drawn (SEED=N draws the same). After
# each round both sides hold the same, and what was acknowledged is there, or was told: none by a failover that said
# none, and each transaction by the receipt.
# An odd seed is a synchronous pool's. --long: for an hour, with promotions by hand and members that are reclaimed.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
. "$ROOT/tests/support/ledger.sh"
. "$ROOT/tests/support/disturb.sh"
long && rounds=100000 seconds=${CHAOS_SECONDS:-3300} || rounds=10 seconds=${CHAOS_SECONDS:-100}
rounds=${CHAOS_ROUNDS:-$rounds}
BEFORE_DOWN='clients_end; rm -f "$OUT" "$OUT".?'
P=1 S=2

# ---- what breaks, and how it is mended ----

break_line() {
    draw 6
    case $DRAWN in
    0) act "line cut"; line cut; MEND="line heal" ;;
    1) act "line refused"; line cut reset; MEND="line heal" ;;
    2) act "line slow"; line wan 30 8; MEND="line wan 0" ;;
    3) act "connection reset"; line kill random; MEND=: ;;
    4) act "connections into $S swallowed"; hold $S; MEND=: ;;
    5) act "connections into $P swallowed"; hold $P; MEND=: ;;
    esac
}
break_one() { # THING
    case $1 in
    0) break_agent $P ;;
    1) break_agent $S ;;
    2) break_server $P ;;
    3) break_server $S ;;
    4) break_line ;;
    esac
}
disturb() { # one or two of the five, mended in any order
    local one two place mends=()
    LATER=:
    draw 5; one=$DRAWN
    draw 4; two=$(((one + 1 + DRAWN) % 5))
    draw 3; place=$DRAWN # of the second one's mending: before the first one's, behind it; 1: it does not break
    break_one $one; mends[1]=$MEND; moment
    [ $place = 1 ] || { break_one $two; mends[place]=$MEND; moment; }
    for MEND in "${mends[@]}"; do eval "$MEND"; moment; done
    eval "$LATER"
    TALE="$TALE; mended"
    as_before
}
as_before() { # the roles are those of before, and all flows again
    step "round $ROUND, $TALE"
    expect 60 "[ \"\$(field $P .role) \$(field $S .role)\" = 'primary standby' ]"
    expect 60 "[ \"\$(field $S .receiving.state)\" = up ] && [ \"\$(field $S .receiving.standby_connected)\" = true ]"
    expect 20 "is_primary $P && ! is_primary $S"
    goes_on $P
}

# ---- role changes: dc$S takes over from dc$P ----

refused() { # a living primary is not deposed
    act "failover is refused"
    walferry $S failover --yes </dev/null >"$OUT" 2>&1
    [ $? = 1 ] || fail "not refused: $(cat "$OUT")"
    says_out "refused: the primary dc$P-a answers"
}
take_over() { # OPTIONS
    act "failover $*"
    walferry $S failover --yes "$@" </dev/null >"$OUT" 2>&1 || fail "failover: $(cat "$OUT")"
}
change_stop() { act "server $P stopped"; pg $P -m fast stop || fail "dc$P does not stop"; take_over; says_out "loss: none"; }
change_stopping() { act "server $P stops"; pg $P -W -m fast stop; take_over; says_out "loss: none"; }
change_crash() { act "server $P killed"; kill_postgres $P; take_over; says_out "loss: none"; }
change_redial() {
    act "server $P and agent $P killed, agent $P there again"
    kill_postgres $P
    kill_agent $P
    start_agent $P
    take_over
    says_out "loss: none"
}
change_resets() { # of the connections meanwhile
    act "server $P stopped at once, connections reset"
    pg $P -m immediate stop
    walferry $S failover --yes </dev/null >"$OUT" 2>&1 &
    for _ in 1 2 3; do moment; line kill random; done
    wait $! || fail "failover: $(cat "$OUT")"
    says_out "loss: none"
}
change_killed() { # the agent that takes over, meanwhile
    local deadline=$((SECONDS + 120))
    act "server $P killed, failover, agent $S killed"
    kill_postgres $P
    walferry $S failover --yes </dev/null >"$OUT" 2>&1 &
    draw 30; sleep $((DRAWN / 10)).$((DRAWN % 10))
    kill_agent $S
    wait $!
    start_agent $S
    until walferry $S failover --yes </dev/null >"$OUT" 2>&1; do [ $SECONDS -lt $deadline ] || fail "failover: $(cat "$OUT")"; done
    [ "$(walferry $S lost --json 2>/dev/null | jq -r "[.[] | select(.epoch == $((EPOCH + 1)) and .at_most)] | length == 1 and (.[0].at_most | test(\"^none;\"))")" = true ] ||
        fail "not one receipt of none: $(walferry $S lost --json | jq -c '.[-2:][] | del(.listed)')"
}
synced() { # what was acknowledged until now is on the other side: by the mode of the pool, or by asking for it
    local try
    if [ -n "${DEMO_SYNCHRONOUS:-}" ]; then
        expect 60 "[ \"\$(sql $P 'show synchronous_standby_names')\" = walferry_dc${S}_a ]"
        SYNCED=$(date +%s.%N)
        for try in 1 2; do goes_on $P; done # a commit that waits is behind all that was before
    else
        act "sync"
        SYNCED=$(date +%s.%N)
        walferry $P sync >/dev/null || fail "sync"
    fi
}
change_site() { # all of it is gone
    synced
    act "agent $P and server $P killed, line cut"
    draw 2
    [ $DRAWN = 0 ] && line cut || line cut reset
    moment
    kill_agent $P
    kill_postgres $P
    draw 2
    [ $DRAWN = 0 ] && take_over || take_over --dead
}
change_cut() { synced; act "line cut"; line cut; moment; take_over; moment; } # both sides write now
change_force() { synced; refused; take_over --force; }
change_restore() { # of the primary, to a state of before
    local data cold
    data=$(eval "echo \$DC${P}_PGDATA") cold=$data.cold
    act "server $P copied"
    pg $P -m fast stop && as cp -a "$data" "$cold" && pg $P start || fail "no copy of dc$P"
    as_before
    act "server $P restored from the copy"
    pg $P -m fast stop || fail "dc$P does not stop" # what the copy lacks has been shipped
    as rm -rf "$data" && as mv "$cold" "$data" && pg $P start || fail "dc$P is not restored"
    expect 20 "field $S '.events[].id' | grep -q WF021"
    moment
    take_over --force
}
change_swallowed() { # no reset, no word, and who dials again gets through
    act "connections into $S swallowed, server $P killed"
    hold $S
    moment
    kill_postgres $P
    take_over
    says_out "loss: none"
}
KINDS=(stop stopping crash redial resets swallowed killed site cut force restore)
long && KINDS+=(hand reclaim)
[ -z "${CHAOS_KINDS:-}" ] || read -ra KINDS <<<"$CHAOS_KINDS" # to look at some

# ---- and back ----

come_back() {
    local deadline=$((SECONDS + 200)) down=
    up $P || down=1
    draw 3
    if [ -n "$down" ] && [ $DRAWN = 0 ]; then
        act "server $P started"
        pg $P start || fail "dc$P does not start"
        agent_runs $P || start_agent $P
        moment
    fi
    line heal
    agent_runs $P || start_agent $P
    expect 30 "[ \"\$(field $P .epoch.number)\" = $((EPOCH + 1)) ]"
    expect 10 "! is_primary $P"
    draw 4
    if [ $DRAWN = 0 ]; then
        act "rejoin $P killed"
        walferry $P rejoin --yes </dev/null >"$OUT" 2>&1 &
        draw 40; sleep $((DRAWN / 10)).$((DRAWN % 10))
        pkill -9 -f "^$WALFERRY_DEMO/bin/walferry[^ ]* rejoin"
        wait $!
    fi
    draw 5
    [ $DRAWN = 0 ] && set -- --replace || set --
    act "rejoin $P $*"
    rejoin $P --yes "$@"
    [ $? = 0 ] || grep -q "has not parted from it" "$OUT" || fail "rejoin: $(cat "$OUT")"
    follows $P
}

took_over() { # N EPOCH
    CHANGES=$((CHANGES + 1))
    expect 30 "[ \"\$(field $1 .role) \$(field $1 .epoch.number)\" = 'primary $2' ]"
    expect 10 "is_primary $1"
    goes_on $1
}
change() { # KIND
    EPOCH=$(field $S .epoch.number)
    "change_$1"
    took_over $S $((EPOCH + 1))
    come_back
    close_books $S $P
    local p=$P
    P=$S S=$p
}
change_by_hand() { # which is none: dc$S is a standby again
    act "server $S promoted by hand, rejoin $S"
    sql $S "select pg_promote()" >/dev/null
    expect 30 "[ \"\$(field $S .role)\" = fenced ]"
    # as the other side's standby it would have to wait for it for ever in a synchronous pool
    sql $S "set synchronous_commit = local; insert into one values ($ROUND, 'by hand'); insert into two values (-$ROUND)" >/dev/null
    rejoin $S --yes || fail "rejoin: $(cat "$OUT")"
    follows $S
    [ "$(walferry $S lost --json 2>/dev/null | jq -c ".[-1:] | map([.exact, .transactions])")" = '[[true,1]]' ] || fail "its receipt: $(walferry $S lost)"
    close_books $P
}
change_reclaim() { # dc$S takes over and is gone, dc$P goes on
    local code
    EPOCH=$(field $S .epoch.number)
    change_cut
    took_over $S $((EPOCH + 1))
    line heal
    expect 30 "[ \"\$(field $P .role) \$(field $P .epoch.number)\" = 'fenced $((EPOCH + 1))' ]"
    act "agent $S and server $S killed, reclaim"
    kill_agent $S
    kill_postgres $S
    walferry $P failover --reclaim --yes </dev/null >"$OUT" 2>&1
    code=$?
    [ $code = 0 ] || [ $code = 3 ] || fail "reclaim: $(cat "$OUT")"
    [ $code = 0 ] || walferry $P lost --discard --yes >/dev/null || fail "lost --discard"
    took_over $P $((EPOCH + 2))
    act "rejoin $S"
    pg $S start || fail "dc$S does not start"
    start_agent $S
    expect 30 "[ \"\$(field $S .role) \$(field $S .epoch.number)\" = 'fenced $((EPOCH + 2))' ]"
    rejoin $S --yes || fail "rejoin: $(cat "$OUT")"
    follows $S
    EPOCH=$((EPOCH + 1))
    close_books $P $S
}
close_books() { # PRIMARY [FORMER]
    local standby=$((3 - $1))
    clients_rest
    level_there $1 $standby
    count_missing $1
    [ -z "$(awk -v t=$SYNCED '$5 < t' "$LEDGER/missing")" ] || fail "these were on the other side: $(awk -v t=$SYNCED '$5 < t' "$LEDGER/missing" | head -5)"
    if [ $# = 2 ]; then receipt_is_exact $1 $2 $((EPOCH + 1)); else [ $MISSING = 0 ] || fail "rows are missing: $(head -5 "$LEDGER/missing")"; fi
    balanced $1 $standby
    echo "# round $ROUND, $TALE: $(acks 1) and $(acks 2) acknowledged, $MISSING lost as told"
    clients_go
}
level_there() { # PRIMARY STANDBY
    local at
    at=$(sql $1 "select pg_current_wal_flush_lsn()")
    expect 60 "[ \"\$(sql $2 \"select pg_last_wal_replay_lsn() >= '$at'::pg_lsn\")\" = t ]"
}
balanced() { # PRIMARY STANDBY: the same rows, and nobody complains
    local query="select count(*), md5(string_agg(side || ' ' || number || ' ' || part, ',' order by side, number, part)),
        (select string_agg(s::text, ',' order by side) from sums s) from ledger"
    [ "$(sql $1 "$query")" = "$(sql $2 "$query")" ] || fail "the two sides hold different rows"
    for n in 1 2; do # others may fill the disk of this machine
        expect 40 "[ \"\$(field $n '.alarm, ([.events[].id] - [\"WF007\", \"WF008\", \"WF012\"] | length)' | paste -sd,)\" = null,0 ]"
    done
}

[ $((SEED % 2)) = 0 ] || export DEMO_SYNCHRONOUS=on
start_pool
echo "# seed $SEED${DEMO_SYNCHRONOUS:+, synchronous}"
prepare_pool
make_ledger
expect 30 level
clients_begin
until=$((SECONDS + seconds)) deck=()
while [ $ROUND -lt $rounds ] && [ $SECONDS -lt $until ]; do
    if [ ${#deck[@]} = 0 ]; then deck=("${KINDS[@]}"); fi
    draw ${#deck[@]}
    kind=${deck[$DRAWN]}
    deck=("${deck[@]:0:$DRAWN}" "${deck[@]:$((DRAWN + 1))}")
    ROUND=$((ROUND + 1)) TALE="dc$P to dc$S" SYNCED=0
    step "round $ROUND, $TALE"
    goes_on $P
    disturb
    case $kind in
    hand) change_by_hand ;;
    reclaim) change_reclaim ;;
    *) change $kind ;;
    esac
done
step "the end"
clients_end
same_sides $P $S
NAME="$NAME: $ACTIONS actions, $CHANGES role changes, $(($(acks 1) + $(acks 2))) transactions acknowledged, $(wc -l <"$LEDGER/lost") lost as told, seed $SEED"
pass

#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Chaos with four members on two sites: clients write wherever /primary is 200, while agents, servers and hosts are
# killed, frozen and stopped, sites and members are cut off, heads are pinned, standbys copied anew, commits wait in
# each mode, and one DBA, or two at once, fail over to any member. What happens and when is drawn (SEED=N draws the same).
# After each round all hold the same, each timeline had one writer, what was acknowledged is there, or was told, and
# each site gets one copy. --long: for an hour.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
. "$ROOT/tests/support/ledger.sh"
. "$ROOT/tests/support/disturb.sh"
long && rounds=100000 seconds=${CHAOS_SECONDS:-3300} || rounds=1 seconds=${CHAOS_SECONDS:-100}
rounds=${CHAOS_ROUNDS:-$rounds}
BEFORE_DOWN='clients_end; rm -f "$OUT" "$OUT".?'
P=1 MODE=off LOSS=wait
MODES=(mirror site any all off)

others() { members | grep -v "$1"; }        # N
mirror() { echo $((($1 + 1) % 4 + 1)); }     # N: the other one of its site
site() { echo "dc$((2 - $1 % 2))"; }         # N
number() { sed -n "s/^DC\(.\)_MEMBER='$1'$/\1/p" "$WALFERRY_DEMO/env"; } # MEMBER
fed_by() { field "$1" '.receiving | select(.state == "up") | .from'; }  # N
status() { curl -s -m 5 "http://$(its "$1" HTTP)/status.json"; } # N: as lib.sh does, and cheaper

# ---- what breaks, and how it is mended ----

break_host() { # N
    local member
    member=$(its $1 MEMBER)
    act "host $1 killed"
    demo kill $member
    MEND="demo revive $member"
}
break_line() {
    local to reset=
    draw 4; to=$((DRAWN + 1))
    draw 2; [ $DRAWN = 0 ] || reset=--reset
    draw 6
    MEND="demo heal"
    case $DRAWN in
    0) act "sites cut $reset"; demo cut $reset dc1 dc2 ;;
    1) act "host $to cut off $reset"; demo cut $reset "$(its $to MEMBER)" ;;
    2) act "line slow"; line wan 30 8; MEND="line wan 0" ;;
    3) act "connection reset"; line kill random; MEND=: ;;
    4 | 5) act "connections into $to swallowed"; hold $to; MEND=: ;;
    esac
}
pin() { # N: it is the head of its site
    local one
    one=$(its $1 MEMBER)
    act "$one pinned"
    walferry $P route pin "$one" >"$OUT" 2>&1 || fail "pin: $(cat "$OUT")"
    MEND="expect 30 'walferry $P route unpin'"
}
seed_anew() { # N: what breaks meanwhile may end it, then it is done once more
    act "seed $1"
    walferry $1 seed --replace --yes </dev/null >"$OUT.3" 2>&1 &
    MEND=: LATER="$LATER; wait $! || expect 90 'walferry $1 seed --replace --yes </dev/null >\"\$OUT.3\" 2>&1'"
}
refused() { # N: a living primary is not deposed
    act "failover of $1 is refused"
    walferry $1 failover --yes </dev/null >"$OUT" 2>&1
    [ $? = 1 ] || fail "not refused: $(cat "$OUT")"
    says_out "refused"
}
break_one() { # N: of that member, or what belongs to none
    local one
    draw 2; [ $DRAWN = 0 ] && one=$HEAD || one=$OTHER
    draw 8
    case $DRAWN in
    0 | 1) break_agent $1 ;;
    2 | 3) break_server $1 ;;
    4) break_host $1 ;;
    5 | 6) break_line ;;
    7) if [ $1 = $P ]; then pin $one; else seed_anew $1; fi ;;
    esac
}
disturb() { # two things, mended in any order
    local one two place mends=()
    LATER=:
    draw 4; one=$((DRAWN + 1))
    draw 3; two=$(((one + DRAWN) % 4 + 1))
    draw 3; place=$DRAWN # of the second one's mending: before the first one's, behind it; 1: it does not break
    break_one $one; mends[1]=$MEND; moment
    [ $place = 1 ] || { break_one $two; mends[place]=$MEND; moment; }
    for MEND in "${mends[@]}"; do eval "$MEND"; moment; done
    eval "$LATER"
    TALE="$TALE; mended"
    settled
}
change_mode() {
    draw ${#MODES[@]}; MODE=${MODES[$DRAWN]}
    draw 2; [ $DRAWN = 0 ] && LOSS=wait || LOSS=degrade
    act "synchronous = $MODE, $LOSS"
    as sed -i "s/^synchronous .*/synchronous = $MODE/; s/^synchronous_loss .*/synchronous_loss = $LOSS/" "$CONFIG"
    for n in $(members); do kill_agent $n TERM; done
    for n in $(members); do start_agent $n; done
    settled
}

# ---- a member takes over from $P; TO is who does, and F is who was ----

choose() { # N...: TO of these, and another one: at the same moment in one case of three
    draw $#
    set -- $(printf '%s\n' "$@" | awk -v first=$DRAWN '{ n[NR - 1] = $0 } END { for (i = 0; i < NR; i++) print n[(i + first) % NR] }')
    TO=$1 RIVAL=
    draw 3
    [ $DRAWN != 0 ] || RIVAL=${2:-}
}
take_over() { # OPTIONS; when both are refused one types it once more
    local first second rival
    act "failover of $TO${RIVAL:+ and of $RIVAL} $*"
    [ -z "$RIVAL" ] || { walferry $RIVAL failover --yes "$@" </dev/null >"$OUT.2" 2>&1 & rival=$!; }
    walferry $TO failover --yes "$@" </dev/null >"$OUT" 2>&1
    first=$?
    [ -n "$RIVAL" ] || { [ $first = 0 ] || fail "failover: $(cat "$OUT")"; return; }
    wait $rival
    second=$?
    case "$first $second" in
    "0 1") ;;
    "1 0") mv "$OUT" "$OUT.1" && mv "$OUT.2" "$OUT" && mv "$OUT.1" "$OUT.2"; TO=$RIVAL ;;
    "1 1")
        act "both are refused: $(tail -qn 1 "$OUT" "$OUT.2" | paste -sd';')"
        walferry $TO failover --yes "$@" </dev/null >"$OUT" 2>&1 || fail "failover: $(cat "$OUT")"
        return
        ;;
    *) fail "not one took over: $first, $second: $(cat "$OUT" "$OUT.2")" ;;
    esac
    grep -q "refused.*$(its $TO MEMBER)" "$OUT.2" || fail "the winner is not named: $(cat "$OUT.2")"
}
waits() { # commits do, when the mode says so
    [ $MODE = off ] || expect 60 '[ -n "$(sql $P "show synchronous_standby_names")" ]'
}
host_dies() { # N
    act "host $1 killed"
    demo kill "$(its $1 MEMBER)"
}
nothing_lost() { says_out "loss: none"; WHOLE=1; }
change_stop() { choose $M $HEAD $OTHER; act "server $P stopped"; pg $P -m fast stop || fail "dc$P does not stop"; take_over; nothing_lost; }
change_stopping() { choose $M $HEAD $OTHER; act "server $P stops"; pg $P -W -m fast stop; take_over; nothing_lost; }
change_crash() { choose $M $HEAD $OTHER; act "server $P killed"; kill_postgres $P; take_over; nothing_lost; }
change_killed() { # the agent that takes over, meanwhile
    local deadline=$((SECONDS + 120))
    choose $M $HEAD $OTHER
    act "server $P killed, failover of $TO, agent $TO killed"
    kill_postgres $P
    walferry $TO failover --yes </dev/null >"$OUT" 2>&1 &
    draw 30; sleep $((DRAWN / 10)).$((DRAWN % 10))
    kill_agent $TO
    wait $!
    start_agent $TO
    until walferry $TO failover --yes </dev/null >"$OUT" 2>&1; do [ $SECONDS -lt $deadline ] || fail "failover: $(cat "$OUT")"; done
    WHOLE=1
}
change_host() { # the primary's
    choose $M $HEAD $OTHER
    waits
    host_dies $P
    take_over --dead
    [ $MODE = off ] || [ $LOSS = degrade ] || WHOLE=1
}
change_heads() { # the head's, too
    choose $M $OTHER
    waits
    host_dies $HEAD
    host_dies $P
    RIVAL= take_over --dead --force
    [[ $MODE,$LOSS =~ (mirror|all),wait ]] && WHOLE=1
}
change_site() { # both of the primary's site
    choose $HEAD $OTHER
    waits
    host_dies $M
    host_dies $P
    RIVAL= take_over --dead --force
    [[ $MODE,$LOSS =~ (site|all),wait ]] && WHOLE=1
}
change_ahead() { # some have more than others
    choose $HEAD $M $OTHER
    waits
    act "sites cut"
    demo cut dc1 dc2
    moment
    host_dies $P
    demo heal
    take_over --dead
    [ $MODE = off ] || [ $LOSS = degrade ] || WHOLE=1
}
synced() { # what was acknowledged until now is on the other site
    act "sync"
    SYNCED=$(date +%s.%N)
    expect 60 'walferry $P sync'
}
change_cut() { # both sites write now
    local reset=
    choose $HEAD $OTHER
    draw 2; [ $DRAWN = 0 ] || reset=--reset
    synced
    act "sites cut $reset"
    demo cut $reset dc1 dc2
    moment
    RIVAL= take_over --force
    moment
}
change_force() {
    choose $M $HEAD $OTHER
    synced
    refused $TO
    RIVAL= take_over --force
}
KINDS=(stop stopping crash killed host host heads site ahead ahead cut force)
[ -z "${CHAOS_KINDS:-}" ] || read -ra KINDS <<<"$CHAOS_KINDS" # to look at some

# ---- and back ----

forked() { field "$1" .receiving.reason | grep -q forked; } # N
come_back() {
    demo heal
    for n in $(others $F); do agent_runs $n || demo revive "$(its $n MEMBER)"; done
    agent_runs $F || demo revive "$(its $F MEMBER)" --agent
    expect 30 "[ \"\$(field $F .epoch.number)\" = $((EPOCH + 1)) ] && ! is_primary $F"
    draw 4
    if [ $DRAWN = 0 ]; then
        act "rejoin $F killed"
        walferry $F rejoin --yes </dev/null >"$OUT" 2>&1 &
        draw 40; sleep $((DRAWN / 10)).$((DRAWN % 10))
        pkill -9 -f "^$WALFERRY_DEMO/bin/walferry[^ ]* rejoin"
        wait $!
    fi
    draw 5
    [ $DRAWN = 0 ] && set -- --replace || set --
    act "rejoin $F $*"
    rejoin $F --yes "$@" || grep -q "has not parted from it" "$OUT" || fail "rejoin: $(cat "$OUT")"
    for n in $(others $P); do
        expect 90 "level $n $P || forked $n"
        forked $n || continue
        act "rejoin $n, which is forked"
        rejoin $n --yes || fail "rejoin: $(cat "$OUT")"
    done
    settled
}
change() { # KIND
    EPOCH=$(field $P .epoch.number) WHOLE= SYNCED=0 F=$P
    M=$(mirror $P)
    "change_$1"
    CHANGES=$((CHANGES + 1)) P=$TO
    expect 30 "[ \"\$(field $P .role) \$(field $P .epoch.number)\" = 'primary $((EPOCH + 1))' ]"
    expect 10 "is_primary $P"
    goes_on $P
    come_back
    close_books
}
quiet() { # N: it complains of nothing; others may fill the disk of this machine
    [ "$(field $1 '.alarm, ([.events[].id] - ["WF007", "WF008", "WF012"] | length)' | paste -sd,)" = null,0 ]
}
one_copy() { # all know the same routes, WAL goes so, and once over the WAN; HEAD and OTHER are those of the far site
    local n routes
    routes=$(field $P .routes)
    for n in $(others $P); do [ "$(field $n .routes)" = "$routes" ] || return 1; done
    HEAD=$(number "$(jq -r --arg from "$(its $P MEMBER)" --arg site "$(site $((P + 1)))" '.members[] | select(.from == $from and .site == $site) | .member' <<<"$routes")")
    [ ${#HEAD} = 1 ] || return 1
    OTHER=$(mirror $HEAD)
    [ "$(fed_by "$(mirror $P)") $(fed_by $HEAD) $(fed_by $OTHER)" = "$(its $P MEMBER) $(its $P MEMBER) $(its $HEAD MEMBER)" ]
}
settled() { # the roles are as they have to be, and all flows
    local n
    step "round $ROUND, $TALE"
    for n in $(others $P); do
        expect 60 "[ \"\$(field $n '.role, .receiving.state, .receiving.standby_connected' | paste -sd,)\" = standby,up,true ]"
        expect 20 "! is_primary $n"
    done
    expect 60 "is_primary $P"
    expect 60 one_copy
    goes_on $P
    for n in $(members); do expect 60 "quiet $n"; done
}
ledger_of() { # N
    sql "$1" "select count(*), md5(string_agg(side || ' ' || number || ' ' || part, ',' order by side, number, part)),
        (select string_agg(s::text, ',' order by side) from sums s) from ledger"
}
close_books() {
    local n writers
    clients_rest
    for n in $(others $P); do expect 60 "level $n $P"; done
    count_missing $P
    [ -z "$WHOLE" ] || [ $MISSING = 0 ] || fail "rows are missing: $(head -5 "$LEDGER/missing")"
    [ -z "$(awk -v t=$SYNCED '$5 < t' "$LEDGER/missing")" ] || fail "these were on the other site: $(awk -v t=$SYNCED '$5 < t' "$LEDGER/missing" | head -5)"
    receipt_is_exact $P $F $((EPOCH + 1))
    writers=$(awk '/^ack/ { print $5, FILENAME }' "$LEDGER"/said.? | sort -u)
    [ -z "$(cut -d' ' -f1 <<<"$writers" | uniq -d)" ] || fail "one timeline, two writers: $writers"
    for n in $(others $P); do [ "$(ledger_of $n)" = "$(ledger_of $P)" ] || fail "dc$n and dc$P hold different rows"; done
    echo "# round $ROUND, $TALE: $(cat "$LEDGER"/said.? | grep -c ^ack) acknowledged, $MISSING lost as told"
    clients_go
}

DEMO_SYNCHRONOUS=off DEMO_POOL_CONF="synchronous_loss = wait${POOL_CONF:+
$POOL_CONF}" start_pool --members 4
echo "# seed $SEED"
prepare_pool
make_ledger
clients_begin
until=$((SECONDS + seconds)) deck=() TALE=
settled
while [ $ROUND -lt $rounds ] && [ $SECONDS -lt $until ]; do
    if [ ${#deck[@]} = 0 ]; then deck=("${KINDS[@]}"); fi
    draw ${#deck[@]}
    kind=${deck[$DRAWN]}
    deck=("${deck[@]:0:$DRAWN}" "${deck[@]:$((DRAWN + 1))}")
    ROUND=$((ROUND + 1)) TALE="dc$P, $MODE"
    draw 3
    [ $DRAWN != 0 ] || change_mode
    disturb
    change $kind
done
step "the end"
clients_end
for n in $(members); do expect 60 "walferry $n check"; done
for n in $(others $P); do same_rows $n $P; done
sound
NAME="$NAME: $ACTIONS actions, $CHANGES role changes, $(cat "$LEDGER"/said.? | grep -c ^ack) transactions acknowledged, $(wc -l <"$LEDGER/lost") lost as told, seed $SEED"
pass

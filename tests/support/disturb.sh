# SPDX-License-Identifier: PostgreSQL
# disturb.sh: what breaks in the chaos scenarios, and how it is mended; sourced behind lib.sh and ledger.sh.
#
# What happens is drawn. Who breaks something says in MEND how it is mended, and adds to LATER what has to wait until
# all that was broken is mended.
ROUND=0 ACTIONS=0 CHANGES=0
draw() { DRAWN=$((RANDOM % $1)); }         # a subshell would draw for itself
moment() { draw 9; sleep 0.$((DRAWN + 1)); } # when it happens is what is random here
up() { sql "$1" "select 1" | grep -qx 1; } # N
line() { "$WALFERRY_DEMO/bin/wanproxy" ctl "$WALFERRY_DEMO/wan/socket" "$@" >/dev/null || fail "wanproxy $*"; }
act() { # WHAT: it belongs to the round's tale
    ACTIONS=$((ACTIONS + 1))
    TALE="$TALE; $*"
    step "round $ROUND, $TALE"
}
says_out() { grep -qE "$1" "$OUT" || fail "'$1' is not said: $(cat "$OUT")"; }
goes_on() { # N: its client writes
    local before
    before=$(acks $1)
    expect 30 "[ \$(acks $1) -gt $before ]"
}

break_agent() { # N
    draw 3
    case $DRAWN in
    0) act "agent $1 killed"; kill_agent $1; MEND="start_agent $1" ;;
    1) act "agent $1 stopped"; kill_agent $1 TERM; MEND="start_agent $1" ;;
    2) act "agent $1 frozen"; kill -STOP "$(agent_pid $1)"; MEND="kill -CONT $(agent_pid $1)" ;;
    esac
}
break_server() { # N
    local pid
    draw 4
    pid=$(head -1 "$(its $1 PGDATA)/postmaster.pid")
    MEND="expect 60 'pg $1 start || up $1'"
    case $DRAWN in
    0)
        act "server $1 stopped"
        pg $1 -W -m fast stop
        LATER="$LATER; expect 90 'gone $pid'; $MEND" MEND=: ;; # it waits for what is frozen or cut
    1) act "server $1 stopped at once"; pg $1 -m immediate stop ;;
    2) act "server $1 killed"; kill_postgres $1 ;;
    3) act "server $1 frozen"; kill -STOP $pid; MEND="kill -CONT $pid" ;;
    esac
}

#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# kill -9 of each part at random moments under load: no gap, no divergence, shipping goes on by itself.
. "$(dirname "$0")/lib.sh"
long && rounds=10 || rounds=2
start_pool
fill
back_to_work() { expect 40 '[ "$(field 1 .links[0].state)" = up ]'; }

for round in $(seq $rounds); do
    load 600 # ended below
    for victim in sender receiver session standby primary; do
        step "round $round: kill -9 $victim"
        sleep 0.$((RANDOM % 9 + 1)) # the moment is what is random here
        case $victim in
        sender) kill_agent 1; start_agent 1 ;;
        receiver) kill_agent 2; start_agent 2 ;;
        session)
            for pid in $(pgrep -f "$WALFERRY receive" || :); do kill -9 "$pid" 2>/dev/null; done
            pkill -9 -P "$(cat "$DC2_SSHD_PID")" 2>/dev/null
            ;;
        standby)
            kill -9 "$(head -1 "$DC2_PGDATA/postmaster.pid")"
            expect 20 '! as "$PGBIN/pg_ctl" -D "$WALFERRY_DEMO/dc2/etc" status'
            wait_for 30 'pg2 start' || fail "the standby does not start"
            ;;
        primary)
            kill -9 "$(head -1 "$DC1_PGDATA/postmaster.pid")"
            expect 20 '! as "$PGBIN/pg_ctl" -D "$WALFERRY_DEMO/dc1/etc" status'
            wait_for 30 'pg1 start' || fail "the primary does not start"
            load 600
            ;;
        esac
        back_to_work
        expect 40 '[ "$(sql1 "select count(*) from pg_stat_replication where state = '"'streaming'"'")" = 1 ]'
    done
    pkill -f "pgbench.*$WALFERRY_DEMO" 2>/dev/null
    end_load
    same_rows
    same_segments
done
pass

#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A link that is down, or dead without a sign, when a failover asks gets the time in which a living
# agent dials again; --dead is the DBA's word that there is none.
. "$(dirname "$0")/lib.sh"
SAID=/tmp/wf-$$.said
failover() { walferry 2 failover "$@" </dev/null >"$SAID" 2>&1; }
told() { grep -q "$1" "$SAID" || fail "'$1' is not said: $(cat "$SAID")"; }
refused() {
    failover --yes "$@"
    [ $? = 1 ] || fail "not refused beside a living primary: $(cat "$SAID")"
    told "refused.* dc1-a answers"
    [ "$(field 2 '.role + " " + (.epoch.number | tostring)')" = "standby 1" ] || fail "something was spent"
}
end_sessions() { pkill "$@" -P "$(cat "$DC2_SSHD_PID")"; } # of the other site, as the sshd of dc2 has them
up_again() { expect 40 '[ "$(field 2 .receiving.state)" = up ] && level'; }
write_last() { # 3 MB that need a while
    demo wan 20 8
    sql1 "create table last as select n, md5(random()::text) || md5(random()::text) as x from generate_series(1, 60000) n" >/dev/null
    rows=$(sql1 "select count(*), md5(string_agg(x, '' order by n)) from last")
}
nothing_lost() {
    failover --yes || fail "failover: $(cat "$SAID")"
    told "loss: none"
    [ "$(sql2 "select count(*), md5(string_agg(x, '' order by n)) from last")" = "$rows" ] || fail "rows are missing: $(cat "$SAID")"
}

start_pool
expect 30 level
step "the sessions of sshd end, then failover asks: the primary lives"
end_sessions
refused
expect 20 '[ "$(field 2 .receiving.state)" = up ]'
step "its agent is started again, then failover asks"
kill_agent 1 TERM
start_agent 1
refused
expect 20 '[ "$(field 2 .receiving.state)" = up ]'
step "--dead is refuted by a primary that answers"
refused --dead

step "its connections are swallowed, none is reset, then failover asks: the primary lives"
hold 2
refused
up_again
step "the sessions of sshd stand still, then failover asks"
end_sessions -STOP
refused
end_sessions -CONT
up_again

step "a dead server whose agent is started again: what it left behind is shipped"
write_last
kill_postgres 1
kill_agent 1
start_agent 1
nothing_lost

start_pool
expect 30 level
step "a dead server whose connections are swallowed: what it left behind is shipped over new ones"
write_last
hold 2
kill_postgres 1
nothing_lost

start_pool
expect 30 level
step "the whole site is dead, and the DBA says so"
kill_agent 1
kill_postgres 1
kill "$(cat "$DC1_SSHD_PID")"
expect 10 '[ "$(field 2 .receiving.state)" = down ]'
failover --dry-run || fail "dry run: $(cat "$SAID")"
told "does not answer"
failover --yes --dead || fail "failover --dead: $(cat "$SAID")"
grep -q ': asking 0\.[0-9] s,' "$SAID" || fail "its agent was waited for: $(cat "$SAID")"
[ "$(sql2 "select pg_is_in_recovery()")" = f ] || fail "dc2 is not writable"
rm -f "$SAID"
pass

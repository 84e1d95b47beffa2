#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The primary's PostgreSQL is dead, its agent lives: a rescue goes on over a broken line, no limit of
# ours holds it, and it can be cancelled and overruled.
. "$(dirname "$0")/lib.sh"
SAID=/tmp/wf-$$.said
failover() { walferry 2 failover "$@" </dev/null >"$SAID" 2>&1; }
begin() { : >"$SAID"; failover "$@" & command=$!; }
told() { grep -q "$1" "$SAID" || fail "'$1' is not said: $(cat "$SAID")"; }
untouched() {
    [ "$(field 2 '.role + " " + (.epoch.number | tostring)')" = "standby 1" ] || fail "it is $(field 2 .role), epoch $(field 2 .epoch.number)"
    [ "$(sql2 "select pg_is_in_recovery()")" = t ] || fail "dc2 was promoted"
}
die_with() { # ROWS that the other site has not got
    sql1 "create table last as select n, md5(random()::text) || md5(random()::text) as x from generate_series(1, $1) n" >/dev/null
    rows=$(sql1 "select count(*), md5(string_agg(x, '' order by n)) from last")
    kill_postgres 1
}
kept() { [ "$(sql2 "select count(*), md5(string_agg(x, '' order by n)) from last")" = "$rows" ] || fail "rows are missing: $(cat "$SAID")"; }

start_pool
expect 30 level
step "the line breaks in the middle of the rescue: it goes on over the next one, whatever rate_limit says"
walferry 1 set rate_limit=20kB >/dev/null || fail "rate_limit"
demo wan 20 8
die_with 60000
begin --yes
expect 60 'grep -q "shipping what is left" "$SAID"'
at=$(field 2 .receiving.received.lsn)
expect 20 '[ "$(field 2 .receiving.received.lsn)" != "$at" ]'
demo cut --reset
expect 5 '[ "$(field 2 .receiving.state)" = down ]'
demo heal
expect 60 '! kill -0 $command'
wait $command || fail "failover: $(cat "$SAID")"
told "the rescue goes on"
told "loss: none"
kept

start_pool
expect 30 level
walferry 1 set lanes=1 >/dev/null || fail "lanes" # an answer comes behind what is on its way: 2 MB
demo wan 20 4
die_with 800000 # more than four rescues on a busy machine bring
step "the end of the command that asked for it cancels it"
begin --yes
expect 60 'grep -q "shipping what is left" "$SAID"'
pkill -9 -f "^$WALFERRY_DEMO/bin/walferry[^ ]* failover"
wait $command
expect 10 'says 2 "cancelled: the command that asked for it has ended"'
untouched
step "Ctrl-C cancels it"
begin --yes
expect 60 'grep -q "shipping what is left" "$SAID"'
pkill -INT -f "^$WALFERRY_DEMO/bin/walferry[^ ]* failover"
wait $command
[ $? = 130 ] || fail "Ctrl-C does not exit 130: $(cat "$SAID")"
told "cancelled; nothing was changed"
untouched
step "cancelled by another command"
begin --yes
expect 60 'grep -q "shipping what is left" "$SAID"'
walferry 2 failover --cancel | grep -q "nothing was changed" || fail "--cancel"
wait $command
[ $? = 130 ] || fail "it does not exit 130: $(cat "$SAID")"
told "cancelled: walferry failover --cancel; nothing was changed"
untouched
walferry 2 failover --cancel >"$SAID" && fail "cancelled what does not run"
step "its line is gone for good: refused, and what would be lost is told"
begin --yes
expect 60 'grep -q "shipping what is left" "$SAID"'
demo cut --reset
wait $command && fail "promoted: $(cat "$SAID")"
told "stopped answering while it shipped the rest"
told "loss: at most"
told "refused: what dc1-a has left in its pg_wal is not here"
demo heal
untouched
step "the same again is refused, --force overrules"
expect 20 '[ "$(field 2 .receiving.state)" = up ]'
begin --yes
expect 60 'grep -q "shipping what is left" "$SAID"'
walferry 2 failover --yes >"$SAID.2" 2>&1 && fail "two at once"
grep -q "running already" "$SAID.2" || fail "second: $(cat "$SAID.2")"
walferry 2 failover --yes --force >"$SAID.2" 2>&1 || fail "--force: $(cat "$SAID.2")"
wait $command && fail "the first one ends well"
told "it goes on for another command"
grep -q "done: dc2-a is the primary of epoch 2" "$SAID.2" || fail "--force: $(cat "$SAID.2")"
[ "$(sql2 "select pg_is_in_recovery()")" = f ] || fail "dc2 is not writable"
rm -f "$SAID" "$SAID.2"
pass

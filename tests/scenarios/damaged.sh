#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A small file of the spool is empty, garbage, or another user's: the agent names it and says what to do; where only
# a DBA can judge it ends with 2, which systemd does not start again.
. "$(dirname "$0")/lib.sh"
again() { # what the agent says and its exit code, of one that has to end by itself
    said=$(as timeout 20 "$WALFERRY" agent --config "$CONFIG" --member dc2-a 2>&1 </dev/null)
    code=$?
}
ends() { # FILE WORDS
    again
    [ $code = 2 ] || fail "$1: it exits $code: $said"
    grep -qE "$2" <<<"$said" || fail "$1: '$2' is not said: $said"
}
put() { as sh -c 'printf %s "$2" >"$1"' sh "$DC2_SPOOL/$1" "$2"; }
runs() { start_agent 2; expect 20 '[ "$(field 2 .receiving.state)" = up ]'; }

start_pool
kill_agent 2 TERM
as cp -a "$DC2_SPOOL" "$DC2_SPOOL.good"
step "files that only a DBA can judge"
for text in "" "nonsense"; do
    word=$([ -z "$text" ] && echo empty || echo "not one of walferry's")
    put identity "$text"
    ends identity "$DC2_SPOOL/identity is $word: it has to say .* as pg_controldata tells"
    as cp -a "$DC2_SPOOL.good/identity" "$DC2_SPOOL"
    put pool.state "$text"
    ends pool.state "$DC2_SPOOL: pool.state is $word: copy the one"
    as cp -a "$DC2_SPOOL.good/pool.state" "$DC2_SPOOL"
done
if [ "$(id -u)" = 0 ]; then
    step "... another user's: the owner is named, not a mode"
    for file in identity pool.state lock; do
        chown root "$DC2_SPOOL/$file"
        chmod 600 "$DC2_SPOOL/$file"
        ends $file "$DC2_SPOOL.*$file.*belongs to user 0, this runs as user $(id -u "$RUN_AS"); chown"
        chown "$RUN_AS" "$DC2_SPOOL/$file"
    done
fi
step "files that are written anew: named, and it goes on"
for text in "" "nonsense"; do
    word=$([ -z "$text" ] && echo empty || echo "not one of walferry's")
    put position "$text"
    put hold "$text"
    runs
    expect 20 'says 2 "$DC2_SPOOL/position is $word: .*nothing is to be done"'
    expect 20 'says 2 "$DC2_SPOOL: hold is $word: nothing is removed here for a day; remove that file"'
    kill_agent 2 TERM
done
as rm "$DC2_SPOOL/hold"
runs
same_rows
pass

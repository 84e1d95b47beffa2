#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The line breaks inside of a long record, and the standby takes over: what never became whole is cut
# off each spool and kept aside, and whoever comes back follows within seconds. Whole records behind a
# fork are refused by name at once, and rejoin ends that.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
spool_of() { eval "echo \$DC$1_SPOOL"; }
data_of() { eval "echo \$DC$1_PGDATA"; }
behind() { [ "$(sql "$2" "select '$(field "$1" .spool.flushed)'::pg_lsn > '$3'::pg_lsn + $4")" = t ]; } # N ASKED LSN BYTES
# The line to member TO breaks in the middle of a message of 10 MB that FROM writes.
tear() { # FROM TO
    local at
    sql "$1" "create table if not exists acknowledged (n int)" >/dev/null
    sql "$1" "insert into acknowledged select 1" >/dev/null
    walferry "$1" sync >/dev/null || fail "sync"
    demo wan 20 4
    at=$(sql "$1" "select pg_current_wal_flush_lsn()")
    sql "$1" "begin; create table lost (n int);
        select pg_logical_emit_message(true, 'long', (select string_agg(gen_random_uuid()::text, '') from generate_series(1, 280000)));
        commit" >/dev/null
    expect 60 "behind $2 $1 $at 3000000"
    demo cut
    demo wan 0
    ! behind "$2" "$1" "$at" 9900000 || fail "it is there already"
}
fork_of() { tail -1 "$(data_of "$1")/pg_wal/0000000$2.history" | cut -f2; } # N TIMELINE
# The spool of N ends at the fork, and what lay behind is kept, as OLD has it.
is_cut() { # N OLD FORK
    local file
    expect 20 "[ \"\$(field $1 .spool.flushed)\" = $3 ]"
    file=$(field "$1" .spool.kept_aside)
    [ -s "$file" ] || fail "nothing is kept aside: $file"
    walferry "$1" status | grep -q "kept aside: $file" || fail "it is not told"
    says "$1" "cut at $3, .*a record that never became whole" || fail "it is not in the log"
    for file in "$(spool_of "$1")"/*.aside; do
        as cmp -n "$(stat -c %s "$file")" "$file" "$(data_of "$2")/pg_wal/$(basename "$file" .aside)" || fail "$file is other WAL"
    done
}
rejoined() { # N OPTIONS
    local began=$SECONDS
    rejoin "$@" --yes || fail "rejoin: $(cat "$OUT")"
    [ $((SECONDS - began)) -lt 60 ] || fail "rejoin took $((SECONDS - began)) s: $(cat "$OUT")"
    follows "$1"
}

start_pool
prepare_pool
expect 30 level
step "a message of 10 MB, the line breaks, dc2 takes over"
tear 1 2
failover 2
fork=$(fork_of 2 2)
is_cut 2 1 "$fork"
[ "$(sql2 "select count(*) from acknowledged")" = 1 ] || fail "what was acknowledged is missing"
demo heal
expect 20 '[ "$(field 1 .epoch.number)" = 2 ]'
step "dc1 comes back"
rejoined 1
same_sides 2 1

step "the same from dc2 to dc1; dc2's spool is as before the cut, as when the agent was killed before it"
tear 2 1
kill_agent 2
kill_postgres 2
as sh -c 'cd "$1" && rm -f 00000001*.partial && last=$(ls *.aside | tail -1) && for f in *.aside; do
    [ $f = $last ] && mv $f ${f%.aside}.partial || mv $f ${f%.aside}; done' sh "$DC2_SPOOL" || fail "it is not put back"
failover 1
is_cut 1 2 "$(fork_of 1 3)"
start_agent 2
expect 20 '[ "$(field 2 .spool.timeline)" = 1 ]'
[ "$(sql1 "select '$(field 2 .spool.flushed)'::pg_lsn > '$fork'")" = t ] || fail "it does not go on behind the fork"
step "dc2 comes back: its spool is cut when the link comes"
demo heal
expect 20 '[ "$(field 2 .epoch.number)" = 3 ]'
rejoined 2
says 2 "cut at $fork, .*a record that never became whole" || fail "it is not in the log of dc2"
same_sides 1 2
[ "$(sql2 "select count(*) from acknowledged")" = 2 ] || fail "what was acknowledged is missing"

start_pool
prepare_pool
expect 30 level
step "the primary is restored to an older state and promoted: whole records lie behind its fork"
pg1 -m fast stop
as cp -a "$DC1_PGDATA" "$DC1_PGDATA.old"
pg1 start
sql1 "insert into one values (5, 'behind the fork')" >/dev/null
walferry 1 sync --applied >/dev/null || fail "sync"
kill_agent 1
pg1 -m immediate stop
as sh -c 'rm -rf "$1" && mv "$1.old" "$1" && touch "$1/standby.signal"' sh "$DC1_PGDATA"
pg1 start
sql1 "select pg_promote()" >/dev/null
start_agent 1
expect 30 'field 2 .receiving.forked_at | grep -q /'
fork=$(fork_of 1 2)
step "a command that waits for the link names it at once, and what to type"
began=$SECONDS
for n in 1 2; do
    out=$(walferry $n sync 2>&1) && fail "in sync: $out"
    echo "$out" | grep -q "refused: timeline 2 forked from timeline 1 at $fork.*walferry rejoin" || fail "$out"
done
[ $((SECONDS - began)) -lt 30 ] || fail "it took $((SECONDS - began)) s"
step "which ends it"
rejoined 2
told "kept aside"
says 2 "cut at $fork, .*which the primary lacks" || fail "it is not in the log"
as grep -qa "behind the fork" "$DC2_SPOOL"/*.aside || fail "what was acknowledged is not kept"
walferry 1 sync --applied >/dev/null || fail "sync"
same_sides 1 2
rm -f "$OUT"
pass

#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A copy, and the pages of a rewind, come from the nearest member: a site's second standby costs no WAN. Who cannot
# give them is passed over and named, who fails midway is replaced by the next one.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
OUT=/tmp/wf-$$.said # while a copy is made in the background demo() uses the other one
seed() { local n=$1; shift; walferry "$n" seed "$@" </dev/null >"$OUT" 2>&1; }
refused() { [ "$1" = "$2" ] || fail "it exits $1, not $2: $(cat "$OUT")"; told "$3"; } # CODE WANTED WORD
wan() { "$ROOT/conf/demo.sh" bytes | awk '{ n += $3 + $4 } END { print n }'; }
costs() { WAN=$(wan); "$@" || fail "$*: $(cat "$OUT")"; WAN=$(($(wan) - WAN)); } # COMMAND: $WAN is what it took
others() { members | grep -v "$1"; } # PRIMARY
all_level() { local n; for n in $(others "$1"); do level "$n" "$1" || return 1; done; }
all_same() { local n; for n in $(others "$1"); do same_rows "$n" "$1"; done; }
write() { sql "$1" "insert into t select n, md5(random()::text) from generate_series(1, 1000) n" >/dev/null; } # PRIMARY
BEFORE_DOWN='rm -f "$OUT" "$OUT.failover"'

start_pool --members 4
sql1 "create extension amcheck; create table t (n int, x text)" >/dev/null
fill 5
sql1 checkpoint >/dev/null
expect 60 'all_level 1'

step "a standby that is lost is copied from the other one of its site"
pg 4 -m fast stop
as rm -rf "$DC4_PGDATA"
costs seed 4
near=$WAN
told "from dc2-a: own site, .* behind"
told "done: dc2-b follows dc1-a"
[ "$(as du -sm "$DC4_PGDATA/base" | cut -f1)" -gt 70 ] || fail "the copy is too small to tell anything"
write 1
same_rows 4

step "... and from the primary if that is asked for: over the WAN"
costs seed 4 --replace --yes --from dc1-a
told "from dc1-a: the primary"
[ "$near" -lt 1000000 ] && [ "$WAN" -gt $((near * 10)) ] || fail "from dc2-a $near bytes went over the WAN, from dc1-a $WAN"

step "what it is named for has to be there, and a dry run says who gives it"
seed 4 --replace --from dc2-b
refused $? 2 "dc2-b is this member itself"
seed 4 --replace --from dc9-a
refused $? 2 "dc9-a is no member"
seed 4 --replace --dry-run || fail "it fails: $(cat "$OUT")"
told "from dc2-a: own site"
seed 1 --yes --replace
refused $? 1 "is the primary"

step "the neighbour is down"
pg 2 -m fast stop
expect 20 '[ "$(field 2 .postgres.state)" = down ]'
seed 4 --replace --yes --from dc2-a
refused $? 1 "refused: dc2-a gives no copy: its PostgreSQL takes no connection"
seed 4 --replace --yes || fail "$(cat "$OUT")"
told "not from dc2-a: its PostgreSQL takes no connection"
told "from dc1-b: a mirror of the primary"
pg 2 start
expect 60 'all_level 1'

step "its replay is paused"
sql 2 "select pg_wal_replay_pause()" >/dev/null
expect 20 '[ "$(field 2 .postgres.replay_paused)" = true ]'
seed 4 --replace --dry-run || fail "$(cat "$OUT")"
told "not from dc2-a: its replay is paused"
sql 2 "select pg_wal_replay_resume()" >/dev/null
expect 20 '[ "$(field 2 .postgres.replay_paused)" = false ]'

step "the neighbour fails midway: the next one goes on"
seed 4 --replace --yes --rate 8MB &
pid=$!
expect 30 '[ -d "$DC4_PGDATA.walferry-new/base" ]'
told "from dc2-a: own site"
kill_postgres 2
wait $pid || fail "$(cat "$OUT")"
told "dc2-a gives no copy: pg_basebackup"
told "from dc1-b: a mirror of the primary"
told "done: dc2-b follows dc1-a"
pg 2 start
write 1
expect 60 'all_level 1'
all_same 1

step "a standby that was promoted by hand is rewound by its neighbour"
sql 4 "select pg_promote()" >/dev/null
sees_writable 4
sql 4 "insert into t select n, 'only here' from generate_series(1, 5) n" >/dev/null
costs rejoin 4 --yes
told "from dc2-a: own site"
told "lost: exactly 1 transaction"
told "done: dc2-b follows dc1-a"
[ "$WAN" -lt 3000000 ] || fail "the rewind took $WAN bytes over the WAN"
expect 60 'all_level 1'

step "the neighbour is promoted midway: what is here stays, the same command begins again"
seed 4 --replace --yes --rate 2MB & # slow: the failover is to be over before the copy is
pid=$!
expect 30 '[ -d "$DC4_PGDATA.walferry-new/base" ]'
demo kill dc1-a
walferry 2 failover --yes --dead </dev/null >"$OUT.failover" 2>&1 || fail "failover: $(cat "$OUT.failover")"
wait $pid
refused $? 1 "what was here is untouched, the same command begins again: the copy is of dc1-a, and dc2-a became the primary since"
write 2
expect 60 'level 4 2'
seed 4 --replace --yes || fail "$(cat "$OUT")"
told "from dc2-a: the primary, own site"

step "a former primary is rewound by its mirror, which follows the new one"
write 2
for n in 3 4; do expect 30 "level $n 2"; done
demo revive dc1-a --agent
expect 20 '[ "$(field 1 .role)" = fenced ]'
costs rejoin 1 --yes
told "from dc1-b: own site"
expect 60 'all_level 2'
all_same 2
sound
NAME="$NAME: a copy took $near bytes of WAN, a rewind $WAN"
pass

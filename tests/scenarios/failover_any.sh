#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Failover to any of four members: who takes over first takes from whoever has more of its lineage, a mirror or a
# member of the far site, also when the PostgreSQL there is down. What cannot be read is said by name, and who was
# ahead is forked, named, and comes back by one command.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
BEFORE_DOWN='rm -f "$OUT"'
others() { members | grep -v "$1"; } # PRIMARY
all_level() { local n; for n in $(others "$1"); do level "$n" "$1" || return 1; done; }
failover() { local n=$1; shift; walferry "$n" failover --yes "$@" </dev/null >"$OUT" 2>&1; } # N [OPTIONS]
told() { grep -q "$1" "$OUT" || fail "'$1' is not said: $(cat "$OUT")"; }
not_told() { ! grep -q "$1" "$OUT" || fail "'$1' is said: $(cat "$OUT")"; }
write() { sql "$1" "insert into t select count(*) + 1 from t" >/dev/null; } # PRIMARY: one row more
rows() { sql "$1" "select count(*) from t"; }
come_back() { # N [PRIMARY]: a former primary
    demo revive "$(its "$1" MEMBER)" --agent
    expect 20 "[ \"\$(field $1 .role)\" = fenced ]"
    rejoin "$1" --yes || fail "rejoin: $(cat "$OUT")"
    expect 60 "all_level $2"
}
has_all() { # N ROWS: and says so everywhere alike
    [ "$(rows "$1")" = "$2" ] || fail "dc$1 has $(rows "$1") rows of $2: $(cat "$OUT")"
    [ "$(field "$1" .epoch.loss)" = "$(sed -n 's/.*loss: //p' "$OUT" | tail -1)" ] || fail "status: $(field "$1" .epoch.loss), failover: $(cat "$OUT")"
    walferry "$1" lost --json 2>/dev/null | jq -r '.[-1].at_most' | grep -qF "$(field "$1" .epoch.loss)" || fail "lost: $(walferry "$1" lost --json)"
}

start_pool --members 4
sql1 "create extension amcheck; create table t (n int)" >/dev/null
write 1
expect 60 'all_level 1'

step "the mirror is ahead of the far site: failover there takes the rest from it"
demo cut --reset dc1 dc2
for _ in 1 2 3; do write 1; done
expect 30 'level 3'
[ "$(rows 2)" = 1 ] || fail "the cut site has $(rows 2) rows"
demo kill dc1-a
demo heal
failover 2 --dead || fail "failover: $(cat "$OUT")"
told "dc1-b has .* more"
told "loss: at most"
not_told "not read"
has_all 2 4
for n in 3 4; do expect 60 "[ \"\$(field $n .epoch.member)\" = dc2-a ] && level $n 2"; done
come_back 1 2

step "... also when its PostgreSQL is down"
demo cut --reset dc1 dc2
for _ in 1 2 3; do write 2; done
expect 30 'level 4 2'
demo kill dc2-a
pg 4 stop -m fast
demo heal
failover 3 --dry-run --dead || fail "dry-run: $(cat "$OUT")"
told "dc2-b has .* more"
failover 3 --dead || fail "failover: $(cat "$OUT")"
told "dc2-b has .* more"
has_all 3 7
pg 4 start
for n in 1 4; do expect 60 "[ \"\$(field $n .epoch.member)\" = dc1-b ] && level $n 3"; done
come_back 2 3

step "the far site is ahead of the mirror: failover on the mirror takes the rest from there"
demo cut --reset dc1-a
for _ in 1 2 3; do write 3; done
expect 30 'level 2 3 && level 4 3'
demo kill dc1-b
demo heal
failover 1 --dead || fail "failover: $(cat "$OUT")"
told "dc2-[ab] has .* more"
has_all 1 10
for n in 2 4; do expect 60 "[ \"\$(field $n .epoch.member)\" = dc1-a ] && level $n 1"; done
come_back 3 1

step "the line between the sites stays cut: refused, and forced it says who was not read"
demo cut --reset dc1 dc2
for _ in 1 2 3; do write 1; done
expect 30 'level 3'
demo kill dc1-a
# what dc1-a has refused before its death counts for 3 s more
expect 15 'failover 2 --dead && fail "dc1-b was not asked: $(cat "$OUT")"; grep -q "refused: dc1-b has not promised" "$OUT"'
failover 2 --dead --force || fail "failover: $(cat "$OUT")"
told "loss: .*not read: dc1-b"
has_all 2 10
write 2
demo heal
expect 30 'field 3 .receiving.reason | grep -q "forked from timeline"'
expect 30 '[ "$(field 4 .epoch.member)" = dc2-a ] && level 4 2'
field 2 '.links[] | select(.to == "dc1-b") | .reason' | grep -q "On the host of dc1-b: walferry rejoin" || fail "dc1-b is not named: $(field 2 .links)"
rejoin 3 --yes || fail "rejoin: $(cat "$OUT")"
told "lost: exactly 3 transactions"
come_back 1 2
for n in $(others 2); do same_rows "$n" 2; done
sound
pass

#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Four members, a mirror on each site: one host after the other is gone and comes back, sites and hosts are cut
# off, a mirror takes over, then the far site does, then one that cannot read what its peer has. Afterwards all are the same.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
others() { members | grep -v "$1"; } # PRIMARY
all_level() { local n; for n in $(others "$1"); do level "$n" "$1" || return 1; done; }
all_same() { local n; for n in $(others "$1"); do same_rows "$n" "$1"; done; }
link() { field "$1" ".links[] | select(.to == \"$2\") | .$3"; } # PRIMARY MEMBER FIELD
write() { sql "$1" "insert into t select n, md5(random()::text) from generate_series(1, 1000) n" >/dev/null; } # PRIMARY
wan() { "$ROOT/conf/demo.sh" bytes | awk -v from="$1" -v to="$2" '$1 == from && $2 == to { print $3 }'; }
failover() { local n=$1; shift; walferry "$n" failover --yes "$@" </dev/null >"$OUT" 2>&1; }
told() { grep -q "$1" "$OUT" || fail "'$1' is not said: $(cat "$OUT")"; }
come_back() { # N: a former primary
    demo revive "$(its "$1" MEMBER)" --agent
    expect 20 "[ \"\$(field $1 .role)\" = fenced ]"
    rejoin "$1" --yes || fail "rejoin: $(cat "$OUT")"
}
BEFORE_DOWN='rm -f "$OUT"'

start_pool --members 4
sql1 "create extension amcheck; create table t (n int, x text)" >/dev/null
fill 1
expect 60 'all_level 1'
[ "$(field 1 '[.members[] | .name + " " + .site] | join(", ")')" = "dc1-a dc1, dc2-a dc2, dc1-b dc1, dc2-b dc2" ] || fail "members: $(field 1 .members)"
for n in $(others 1); do same_segments "$n"; done

step "a host is gone, the others go on; it is back"
for n in 3 2; do
    member=$(its $n MEMBER)
    demo kill "$member"
    expect 30 '[ "$(link 1 $member state)" != up ]'
    write 1
    for other in $(others 1 | grep -v $n); do expect 30 "level $other"; done
    [ "$(field 1 '.exposure_seconds < 5')" = true ] || fail "exposure without $member: $(field 1 .exposure_seconds)"
    demo revive "$member"
    expect 60 'all_level 1'
done

step "the line between the sites is cut: the mirror goes on and counts for no exposure"
demo cut dc1 dc2
for to in dc2-a dc2-b; do before="${before:-} $(wan dc1-a $to)"; done
write 1
expect 30 'level 3'
expect 30 '[ "$(field 1 ".exposure_seconds > 5")" = true ]'
[ "$(field 3 '[.mirror, .exposure_seconds] | @csv')" = "true," ] || fail "the mirror says exposure $(field 3 .exposure_seconds)"
walferry 3 status | grep -q "^exposure: unknown; this is a mirror" || fail "the mirror says $(walferry 3 status)"
for n in 2 4; do expect 30 "[ \"\$(field $n '.receiving.flushed.lag_seconds > 5')\" = true ] && ! level $n"; done
expect 20 '{ field 2 .receiving.state; field 4 .receiving.state; } | grep -q down' # of the two, the head
for to in dc2-a dc2-b; do after="${after:-} $(wan dc1-a $to)"; done
[ "$before" = "$after" ] || fail "over a line that is cut went$before, then$after"
demo heal
expect 60 'all_level 1'
expect 10 '[ "$(field 1 ".exposure_seconds < 3")" = true ]'

step "one host is cut off"
demo cut dc2-b
write 1
for n in 2 3; do expect 30 "level $n"; done
expect 30 '[ "$(link 1 dc2-b state)" != up ]'
[ "$(link 1 dc2-a state) $(link 1 dc1-b state)" = "up up" ] || fail "others are cut off, too"
demo heal
expect 60 'all_level 1'

step "the primary's host is gone: its mirror takes over when a DBA vouches for that, the others follow by themselves"
demo kill dc1-a
failover 3 && fail "nobody has vouched: $(cat "$OUT")"
told "refused: dc1-a has not promised.* If its host is dead: walferry failover --dead"
failover 3 --dead || fail "failover: $(cat "$OUT")"
write 3
for n in 2 4; do expect 30 "level $n 3"; done
come_back 1
expect 60 'all_level 3'

step "... and the far site takes over from that one"
demo kill dc1-b
failover 4 --dead || fail "failover: $(cat "$OUT")"
write 4
for n in 1 2; do expect 30 "level $n 4"; done
come_back 3
expect 60 'all_level 4'

step "who takes over cannot read what a mirror has: that one is forked, what only it had is listed and kept"
demo cut --reset dc1 dc2
write 4
expect 30 'level 2 4'
demo kill dc2-b
failover 1 --dead --force || fail "failover: $(cat "$OUT")"
told "not read: dc2-a"
demo heal
expect 30 'field 2 .receiving.reason | grep -q "forked from timeline"'
rejoin 2 --yes || fail "rejoin: $(cat "$OUT")"
told "lost: exactly 1 transaction"
come_back 4
write 1
expect 60 'all_level 1'
all_same 1
sound
pass

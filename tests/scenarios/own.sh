#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# What only this host has, seed does not take from it: commits of a former primary, its settings, its mounts.
export DEMO_CONF='autovacuum = off'
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
seed() { walferry 1 seed "$@" </dev/null >"$OUT" 2>&1; }
refused() { # CODE WANTED WORD ...: and PostgreSQL, the data and the spool are as they were
    [ "$1" = "$2" ] || fail "it exits $1, not $2: $(cat "$OUT")"
    shift 2
    for word; do told "$word"; done
    [ "$(sql1 "select string_agg(t, ' ' order by n) from one where n > 10")" = "mine alone" ] || fail "what was here was touched"
    [ -z "$(ls -d "$DC1_PGDATA".walferry-* "$DC1_SPOOL"/seed.job "$DC1_SPOOL"/hold 2>/dev/null)" ] || fail "something is left over: $(ls -d "$DC1_PGDATA".walferry-* "$DC1_SPOOL"/seed.job "$DC1_SPOOL"/hold 2>&1)"
}

start_pool
prepare_pool
expect 30 level
step "the line is cut, dc2 is promoted, dc1 commits what nobody else has"
demo cut
for it in "insert into one values (11, 'mine')" "insert into one values (12, 'alone')" "create table only_here as select 1 as n"; do sql1 "$it" >/dev/null; done
failover 2
demo heal
expect 20 '[ "$(field 1 .epoch.number)" = 2 ]'
step "somebody makes it a standby by hand: it follows nobody"
pg1 -m fast stop
as touch "$DC1_PGDATA/standby.signal"
pg1 -o "-c recovery_target_timeline=current" start || fail "it does not start" # with the history of dc2, which may be here, it would not
expect 20 '[ "$(sql1 "select pg_is_in_recovery()")" = t ] && [ "$(field 1 .receiving.state)" = up ]'
step "a new copy would destroy its commits: refused"
seed --replace --yes
refused $? 1 "WAL of its own" "walferry rejoin keeps" "with --discard"
seed --replace --yes --force
refused $? 1 "walferry rejoin keeps"
seed --replace --dry-run
refused $? 1 "walferry rejoin keeps"
step "... what, is shown"
seed --replace --dry-run --discard || fail "$(cat "$OUT")"
refused 0 0 "exactly 3 transactions" "postgres.public.one: 2 inserted" "nothing was changed"
seed --replace --discard
refused $? 2 "exactly 3 transactions" "no terminal"
step "... also when it is down"
pg1 -m fast stop
seed --replace --yes && fail "it is replaced"
told "walferry rejoin keeps"
[ ! -e "$DC1_PGDATA/postmaster.pid" ] || fail "it was started"
step "with --discard it is replaced, and the receipt says what it has cost, also when the command only goes on"
install -m 755 "$WALFERRY_BUILD/killer.so" "$WALFERRY_DEMO/bin/"
as env WALFERRY_KILL_FILE=seed.job LD_PRELOAD="$WALFERRY_DEMO/bin/killer.so" WALFERRY_KILL_AT=3 ASAN_OPTIONS="$ASAN_OPTIONS:verify_asan_link_order=0" \
    "$WALFERRY" seed --config "$CONFIG" --member dc1-a --replace --yes --discard </dev/null >"$OUT" 2>&1
[ $? = 137 ] || fail "not killed: $(cat "$OUT")"
as rm -r "$DC1_SPOOL/lost" # as if nothing had been known of it then
seed --replace --yes
[ $? = 1 ] && told "walferry rejoin keeps" || fail "it is replaced without --discard: $(cat "$OUT")"
seed --replace --yes --discard || fail "$(cat "$OUT")"
told "going on at step"
told "only here, and destroyed for good: exactly 3 transactions"
follows 1
[ "$(sql1 "select count(*) from one where n > 10")" = 0 ] || fail "the former primary's rows are there"
walferry 1 lost --json | jq -e '.[-1] | .exact and .transactions == 3 and .escrow == null' >/dev/null || fail "$(walferry 1 lost --json)"
walferry 1 lost | grep -q "nothing of it is kept" || fail "$(walferry 1 lost)"
same_sides 2 1
step "a standby that has nothing of its own is replaced, also one of an earlier timeline"
seed --replace --yes || fail "$(cat "$OUT")"
follows 1
step "settings below the top and a group that may read stay over a rewind"
pg2 -m fast stop
as sh -c 'mkdir "$1/conf.d" && echo "include = '"'tuning'"'" >"$1/conf.d/here.conf" && echo "# of dc2" >"$1/conf.d/tuning" && echo "of dc2" >"$1/root.crl" && chmod -R g=rX,o= "$1"' sh "$DC2_PGDATA"
as sh -c 'mkdir "$1/conf.d" && echo "# of dc1" >"$1/conf.d/here.conf" && cp "$1/conf.d/here.conf" "$1/conf.d/there.conf" && echo "of dc1" >"$1/root.crl"' sh "$DC1_PGDATA"
sum=$(as sh -c 'cat "$1"/conf.d/* "$1/root.crl"' sh "$DC2_PGDATA" | cksum)
pg2 start || fail "it does not start"
expect 30 '[ "$(field 1 .receiving.standby_connected)" = true ]'
demo cut
sql2 "insert into one values (13, 'mine')" >/dev/null
failover 1
demo heal
expect 20 '[ "$(field 2 .epoch.number)" = 3 ]'
rejoin 2 --yes || fail "rejoin: $(cat "$OUT")"
follows 2
[ "$(as sh -c 'cat "$1"/conf.d/* "$1/root.crl"' sh "$DC2_PGDATA" | cksum)" = "$sum" ] || fail "its settings are others: $(as ls -R "$DC2_PGDATA/conf.d")"
[ -z "$(as find "$DC2_PGDATA" -type f ! -perm 640 -o -type d ! -perm 750)" ] ||
    fail "the group may not read: $(as find "$DC2_PGDATA" -type f ! -perm 640 -ls -o -type d ! -perm 750 -ls)"
pass

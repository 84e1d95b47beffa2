#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The first copy, and a new one beside a standby that runs: under load, with a tablespace, killed at every step.
. "$(dirname "$0")/lib.sh"
scale=13 # about 200 MB
long && every=1 || every=6
OUT=/tmp/wf-$$.out
seed() { walferry 2 seed "$@" </dev/null >"$OUT" 2>&1; }
told() { grep -q "$1" "$OUT" || fail "'$1' is not said: $(cat "$OUT")"; }
refused() { [ "$1" = "$2" ] || fail "it exits $1, not $2: $(cat "$OUT")"; told "$3"; } # CODE WANTED WORD
tidy() { # nothing is left over, and PostgreSQL runs as a standby on what is there
    [ -z "$(ls -d "$DC2_PGDATA".walferry-* "$SPACES"/2/walferry-* "$DC2_SPOOL"/seed.job "$DC2_SPOOL"/hold 2>/dev/null)" ] || fail "something is left over"
    [ "$(sql2 "select pg_is_in_recovery()")" = t ] || fail "no standby runs"
}
whole() { # what is there can be started and then is a standby, or there is nothing
    [ ! -e "$DC2_PGDATA" ] || as test -s "$DC2_PGDATA/global/pg_control" -a -e "$DC2_PGDATA/standby.signal"
}
same() { # rows, pages, indexes
    same_rows
    sound --heapallindexed
}
agent_again() { start_agent 2; expect 20 '[ "$(field 2 .receiving.state)" = up ]'; }
killed_seed() { # N [FILE]: kill -9 at its N-th step, or when FILE is made for the N-th time
    install -m 755 "$WALFERRY_BUILD/killer.so" "$WALFERRY_DEMO/bin/" || fail "the build has no killer.so"
    as env ${2:+WALFERRY_KILL_FILE=$2} LD_PRELOAD="$WALFERRY_DEMO/bin/killer.so" WALFERRY_KILL_AT="$1" ASAN_OPTIONS="$ASAN_OPTIONS:verify_asan_link_order=0" \
        "$WALFERRY" seed --config "$CONFIG" --member dc2-a --replace --yes </dev/null >"$OUT" 2>&1
}
end_load_now() { as kill "$LOAD_PID" 2>/dev/null; pkill -f "pgbench.*$WALFERRY_DEMO" 2>/dev/null; end_load; }

export DEMO_CONF="archive_mode = on
archive_command = 'true'"
start_pool
SPACES=$WALFERRY_DEMO/spaces
sql1 "create extension amcheck" >/dev/null
step "a host without a copy: the agent is there first"
pg2 -m fast stop
kill_agent 2
kill_agent 1
as rm -rf "$DC2_PGDATA" "$DC2_SPOOL"
as sed -i '/^run /a keep = 0s' "$CONFIG" # what the old standby has goes at once
start_agent 1
agent_again
fill $scale
as mkdir -p "$SPACES/1" "$SPACES/2"
sql1 "create tablespace far location '$SPACES/1'" >/dev/null
sql1 "create table apart tablespace far as select n, md5(n::text) as x from generate_series(1, 50000) n" >/dev/null
sql1 "create index on apart (x) tablespace far" >/dev/null

step "refusals"
walferry 1 seed --yes >"$OUT" 2>&1
refused $? 1 "is the primary"
seed
refused $? 1 "another server, or of an earlier copy; give it another directory with --map $SPACES/1=DIRECTORY"
seed --rate much
refused $? 2 "bytes per second"
step "a dry run"
seed --map "$SPACES/1=$SPACES/2" --dry-run || fail "it fails: $(cat "$OUT")"
told "MB of dc1-a go to $DC2_PGDATA"
told "at the measured rate of"
told "nothing was changed"
[ ! -e "$DC2_PGDATA" ] && [ -z "$(ls "$SPACES/2")" ] || fail "something was changed"

step "a first copy under load"
load 600 -R 400 # ended below
seed --map "$SPACES/1=$SPACES/2" || fail "$(cat "$OUT")"
told "copying: .* of "
told "done: dc2-a follows dc1-a"
told "it took .* copy .*/s), verify"
tidy
[ "$(sql2 "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'far'")" = "$SPACES/2" ] || fail "the tablespace is elsewhere"

step "what is there is not replaced unless that is asked for"
seed
refused $? 1 "is not empty. walferry seed --replace"
seed --replace
refused $? 2 "no terminal"
step "replaced while the old standby runs, which uses up its WAL meanwhile"
before=$(as stat -c %i "$DC2_PGDATA")
as sh -c 'echo "# of this host" >>"$1/pg_hba.conf"' sh "$DC2_PGDATA"
seed --replace --yes --rate 25MB &
pid=$!
expect 20 '[ -s "$DC2_SPOOL/seed.job" ] && [ -d "$DC2_PGDATA.walferry-new/base" ]'
seed_again=$(walferry 2 seed --replace --yes 2>&1 </dev/null)
[[ $seed_again == *"another long command runs"* ]] || fail "two at once: $seed_again"
[ "$(sql2 "select pg_is_in_recovery()")" = t ] || fail "the old standby does not answer"
wait $pid || fail "$(cat "$OUT")"
tidy
[ "$(as stat -c %i "$DC2_PGDATA")" != "$before" ] || fail "it is the same directory"
as grep -q "of this host" "$DC2_PGDATA/pg_hba.conf" || fail "this host's settings are not restored"
end_load_now
same

step "the primary's archive takes nothing"
sql1 "alter system set archive_command = 'false'" >/dev/null && sql1 "select pg_reload_conf()" >/dev/null
expect 20 '[ "$(sql1 "show archive_command")" = false ]'
sql1 "create table to_archive (); select pg_switch_wal()" >/dev/null
expect 20 '[ "$(sql1 "select failed_count > 0 from pg_stat_archiver")" = t ]'
seed --replace --yes || fail "$(cat "$OUT")"
told "the WAL archive of dc1-a takes nothing"
tidy
same

step "killed in the middle of the copy: the tool ends as well, the same command starts clean"
load 600 -R 400 # ended below
as env --chdir=/ "$WALFERRY" seed --config "$CONFIG" --member dc2-a --replace --yes --rate 5MB </dev/null >"$OUT" 2>&1 &
expect 20 '[ -d "$DC2_PGDATA.walferry-new/base" ]'
pkill -9 -f "^$WALFERRY seed"
expect 5 '! pgrep -f "^$PGBIN/pg_basebackup.*$WALFERRY_DEMO"'
whole || fail "half a copy is there"
[ "$(sql2 "select pg_is_in_recovery()")" = t ] || fail "the old standby does not answer"
seed --replace --yes || fail "$(cat "$OUT")"
tidy
sql1 "alter system reset archive_command" >/dev/null && sql1 "select pg_reload_conf()" >/dev/null
expect 90 '[ "$(sql1 "select last_archived_time > last_failed_time from pg_stat_archiver")" = t ]'

step "the tunnel breaks"
seed --replace --yes --rate 5MB &
pid=$!
expect 20 '[ -d "$DC2_PGDATA.walferry-new/base" ]'
kill_agent 2
wait $pid
refused $? 1 "the same command begins again: pg_basebackup"
[ "$(sql2 "select pg_is_in_recovery()")" = t ] || fail "the old standby does not answer"
agent_again
step "the WAL that the standby lacks is gone: slot dropped, segments recycled"
end_load_now
demo cut --reset
kill_agent 1
sql1 "select pg_drop_replication_slot('walferry_dc2_a')" >/dev/null
for n in 1 2 3; do sql1 "create table gone$n as select 1; select pg_switch_wal(); checkpoint" >/dev/null; done
demo heal
start_agent 1
expect 20 'field 1 ".links[0].source_reason" | grep -q "is gone"'
seed --replace --yes || fail "$(cat "$OUT")"
told "the spool begins anew"
tidy
load 600 -R 400

step "a copy that was given up, one that was damaged"
killed_seed 3 seed.job
[ "$(jq -r .step "$DC2_SPOOL/seed.job")" = verify ] || fail "killed at another step: $(jq -r .step "$DC2_SPOOL/seed.job")"
as sed -i 's/"epoch": 1/"epoch": 0/' "$DC2_SPOOL/seed.job" # as if another primary had been promoted since
killed_seed 3 seed.job
told "became the primary since: beginning again"
as rm "$DC2_SPOOL/hold" # as after a day
killed_seed 7 seed.job
told "too old, its WAL is not held any more"
[ "$(jq -r .step "$DC2_SPOOL/seed.job")" = follow ] || fail "killed at another step: $(jq -r .step "$DC2_SPOOL/seed.job")"
seed --replace --yes --force
refused $? 1 "replaced earlier: look at it" # it gives the new one up, the old one is somebody's to judge
kill_postgres 2 # as a host that was booted
seed --replace --yes || fail "$(cat "$OUT")"
told "PostgreSQL has ended: it is started again"
tidy
killed_seed 3 seed.job
as sh -c 'printf x >>"$1"' sh "$DC2_PGDATA.walferry-new/global/1262"
seed --replace --yes
refused $? 1 "the same command begins again: pg_verifybackup"
[ ! -e "$DC2_PGDATA.walferry-new" ] || fail "a copy of no use takes the room"
seed --replace --yes || fail "$(cat "$OUT")"
tidy

step "killed at every step"
steps= kills=0
for ((n = 1 + RANDOM % every; ; n += every)); do
    killed_seed $n && break
    [ $? = 137 ] || fail "at $n: $(cat "$OUT")"
    kills=$((kills + 1))
    at=$(jq -r .step "$DC2_SPOOL/seed.job" 2>/dev/null) steps="$steps $n:${at:--}"
    whole || fail "half a copy is there after kill $n"
    case $at in verify | settings) kill_agent 2; agent_again ;; esac # the hold is on disk
    [ -e "$DC2_PGDATA" ] || ! pg2 start || fail "something was started after kill $n"
    seed --replace --yes || fail "going on after kill $n (step $at): $(cat "$OUT")"
    tidy
done
[ -z "${VERBOSE:-}" ] || echo "# killed at$steps"
for at in copy verify settings swap start clean; do
    ! long || [[ $steps == *:$at* ]] || fail "never killed at $at: $steps"
done
[ $kills -ge 4 ] || fail "only $kills kills"
if long; then
    step "2 GB"
    sql1 "create table large as select n, md5(random()::text) || md5(random()::text) as x from generate_series(1, 18000000) n" >/dev/null
    expect 120 level
    seed --replace --yes || fail "$(cat "$OUT")"
    tidy
fi
end_load_now
same
step "promoted while its new copy lay beside: it is left alone"
killed_seed 3 seed.job
[ "$(jq -r .step "$DC2_SPOOL/seed.job")" = verify ] || fail "killed at another step"
demo cut
walferry 2 failover --yes --force </dev/null >"$OUT" 2>&1 || fail "failover: $(cat "$OUT")"
postmaster=$(as head -1 "$DC2_PGDATA/postmaster.pid")
sql2 "create table kept as select 1 as n" >/dev/null
seed --replace --yes
refused $? 1 "is the primary"
seed --replace --yes --force
refused $? 1 "is the primary"
[ "$(as head -1 "$DC2_PGDATA/postmaster.pid") $(sql2 "select count(*) from kept")" = "$postmaster 1" ] || fail "the new primary was touched"
rm -f "$OUT"
pass

#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# conf/demo.sh as a user drives it: up, what its env file says, two side by side, cut, heal, wan, down,
# and what it refuses.
. "$(dirname "$0")/lib.sh"
DEMO_SH=$ROOT/conf/demo.sh
ONE=/tmp/wf-$$-one TWO=/tmp/wf-$$-two OUT=/tmp/wf-$$-out
export DEMO_LOAD_SECONDS=0
mkdir -p $OUT

# As an ordinary user also when the tests run as root, if that user may read this checkout.
ORDINARY=
if [ "$(id -u)" = 0 ] && runuser -u postgres -- test -r "$DEMO_SH" -a -x "$WALFERRY_BUILD/walferry"; then ORDINARY=postgres; fi
as_user() { if [ -n "$ORDINARY" ]; then runuser -u "$ORDINARY" -- "$@"; else "$@"; fi; }
cleanup() {
    WALFERRY_DEMO=$ONE "$DEMO_SH" down >/dev/null 2>&1
    WALFERRY_DEMO=$TWO as_user "$DEMO_SH" down >/dev/null 2>&1
    rm -rf $OUT
}
ours() { tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" | grep -qF "$WALFERRY_DEMO"; } # PID
processes() { # of a demo's folder, by their command lines or where they live
    local d
    for d in /proc/[0-9]*; do
        { tr '\0' ' ' <"$d/cmdline"; readlink "$d/exe" "$d/cwd"; } 2>/dev/null | grep -qF "$1/" && basename "$d"
    done
}
last_line() { tail -n 1 "$OUT/said"; }

step "two are brought up at the same instant, the second by an ordinary user"
cd "$ROOT" || fail "no $ROOT"
WALFERRY_DEMO=$ONE "$DEMO_SH" up >$OUT/one 2>&1 &
one=$!
WALFERRY_DEMO=$TWO as_user "$DEMO_SH" >$OUT/two 2>&1 &
wait $! || fail "the second: $(tail -3 $OUT/two)"
wait $one || fail "the first: $(tail -3 $OUT/one)"
cd / # psql complains of a folder that its user may not enter

check_env() { # FOLDER
    local name n
    step "the env file of $1"
    grep -qvE "^[A-Z0-9_]+='[^']*'\$" "$1/env" && fail "not quoted: $(grep -vE "^[A-Z0-9_]+='[^']*'\$" "$1/env")"
    for name in WALFERRY PGBIN RUN_AS CONFIG DC1_MEMBER DC1_PG DC1_PGDATA DC1_SPOOL DC1_AGENT_PID DC1_SSHD_PID \
        DC2_MEMBER DC2_PG DC2_PGDATA DC2_SPOOL DC2_AGENT_PID DC2_SSHD_PID; do
        [ "$(env -i sh -c '. "$1"; eval "printf %s \"\${$2:-}\""' sh "$1/env" $name)" ] || fail "no $name"
    done
    export WALFERRY_DEMO=$1
    . "$1/env"
    for name in "$WALFERRY" "$PGBIN" "$CONFIG" "$DC1_PGDATA" "$DC2_PGDATA" "$DC1_SPOOL" "$DC2_SPOOL" "$DC1_AGENT_PID" \
        "$DC2_AGENT_PID" "$DC1_SSHD_PID" "$DC2_SSHD_PID"; do
        [ "${name#/}" != "$name" ] && [ -e "$name" ] || fail "'$name' is not absolute or not there"
    done
    [ "$WALFERRY" = "$1/bin/walferry" ] && [ -x "$WALFERRY" ] || fail "WALFERRY=$WALFERRY is no copy in the demo's folder"
    [ -x "$PGBIN/initdb" ] || fail "PGBIN=$PGBIN holds no initdb"
    [ "$RUN_AS" = "$([ "$(id -u)" = 0 ] && echo postgres || id -un)" ] || fail "RUN_AS=$RUN_AS"
    for n in 1 2; do
        eval "local pg=\$DC${n}_PG member=\$DC${n}_MEMBER agent=\$DC${n}_AGENT_PID sshd=\$DC${n}_SSHD_PID"
        [[ $pg =~ ^host=/[^\ ]+\ port=[0-9]+\ user=[a-z_][a-z0-9_-]*$ ]] || fail "DC${n}_PG is '$pg'"
        [ "$(as "$PGBIN/psql" -XAtqc "show is_superuser" "$pg dbname=postgres")" = on ] || fail "DC${n}_PG is no superuser's"
        [ "$(walferry $n status --json | jq -r .member)" = "$member" ] || fail "DC${n}_MEMBER=$member"
        [ "$(readlink "/proc/$(cat "$agent")/exe")" = "$WALFERRY-main" ] || fail "$agent is not the agent's"
        ours "$(cat "$sshd")" || fail "$sshd is not the sshd's"
        [ "$(stat -c %U "/proc/$(cat "$agent")")" = "$RUN_AS" ] || fail "the agent does not run as $RUN_AS"
    done
    [ "$(sql1 "show data_checksums")" = on ] || fail "data_checksums: $(sql1 "show data_checksums")"
    [ ! -e "$DC1_PGDATA/../data/postgresql.conf" ] || [ "$(sql1 "show config_file")" != "$DC1_PGDATA/postgresql.conf" ] || fail "the config is inside pgdata"
    # what up promises, at once
    [ "$(sql2 "select status from pg_stat_wal_receiver")" = streaming ] || fail "the standby does not stream"
    [ "$(sql2 "select conninfo like '%host=$1/dc2/run %' from pg_stat_wal_receiver")" = t ] || fail "it does not stream from its relay"
    expect 3 '[ "$(field 2 .receiving.flushed.behind_bytes)" = 0 ]'
}
check_env $TWO
check_env $ONE

step "side by side: each has its own rows"
sql1 "create table only_one as select 1" >/dev/null
expect 20 level
[ "$(sql2 "select to_regclass('only_one')")" = only_one ] || fail "the first standby misses it"
. $TWO/env
[ "$(sql1 "select to_regclass('only_one')")" = "" ] || fail "the second pool has it, too"
. $ONE/env

# A connection of ours through the line; the config tells its port.
port=$(sed -n 's/^ssh *=.*:\([0-9]*\)$/\1/p' "$CONFIG" | tail -1)
dial() { exec {LINE}<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null
hang_up() { exec {LINE}>&-; }
hears() { IFS= read -rt "$1" -n 1 -u $LINE _ 2>/dev/null; } # over 128: nothing came; 1: closed
greeted() { local line; dial && IFS= read -rt 2 -u $LINE line && [[ $line == SSH-2.0-* ]]; }
lost() { field 1 '.links[0].connections_lost'; }

step "cut: what is open stays open and silent, what is new hangs"
greeted || fail "no sshd behind the line"
before=$(lost)
demo cut
printf 'SSH-2.0-scenario\r\n' >&$LINE
hears 1
[ $? -gt 128 ] || fail "the open connection is not silent, or closed"
old=$LINE
dial || fail "a new connection is refused"
hears 1
[ $? -gt 128 ] || fail "a new connection does not hang"
hang_up
demo heal
LINE=$old
hears 5 || fail "the open connection does not go on after heal"
expect 5 '[ "$(field 1 .links[0].state)" = up ]'
[ "$(lost)" = "$before" ] || fail "the link's connection did not survive a cut of two seconds"

step "cut --reset: what is open is closed, what is new is closed"
demo cut --reset
while hears 1; do :; done
[ $? -le 128 ] || fail "the open connection is still open"
hang_up
if dial; then
    hears 1
    [ $? = 1 ] || fail "a new connection is not closed"
    hang_up
fi
expect 5 '[ "$(lost)" = '$((before + 1))' ]'
demo heal
expect 10 '[ "$(field 1 .links[0].state)" = up ]'

step "wan 100: the round trip, through cut and heal"
round_trip() { field "$1" '(.links[0] // .receiving).round_trip_seconds'; }
slow() { awk "BEGIN { exit !($(round_trip 1) >= 0.1 && $(round_trip 2) >= 0.1 && $(round_trip 1) < 0.4) }"; }
[ "$(round_trip 1)" != null ] && slow && fail "slow without wan: $(round_trip 1)"
demo wan 100
expect 5 slow
demo cut
demo heal
expect 5 slow
demo cut --reset
demo heal
expect 10 '[ "$(field 1 .links[0].state)" = up ]'
expect 5 slow
sql1 "create table far as select n from generate_series(1, 1000) n" >/dev/null
expect 20 level
step "wan 0 ends it"
demo wan 0
expect 5 '[ "$(round_trip 1)" != null ] && ! slow && ! [ "$(round_trip 2)" = null ]'
for words in "wan" "wan far" "wan 10 fast" "cut them" "jump"; do
    "$DEMO_SH" $words >$OUT/said 2>&1 && fail "demo.sh $words is taken"
done
"$DEMO_SH" status | grep -q 'exposure: 0' || fail "demo.sh status does not show it"

step "what is killed stays dead"
kill -9 "$(cat "$DC2_AGENT_PID")" "$(cat "$DC1_SSHD_PID")"
kill_postgres 2
expect 10 '[ "$(field 1 .links[0].state)" != up ]'
expect 3 '! as "$PGBIN/pg_ctl" -D $ONE/dc2/etc status'
sleep 2 # long enough for whoever would restart them
as "$PGBIN/pg_ctl" -D $ONE/dc2/etc status >/dev/null && fail "PostgreSQL was restarted"
ours "$(cat "$DC2_AGENT_PID")" && fail "the agent was restarted"
ours "$(cat "$DC1_SSHD_PID")" && fail "sshd was restarted"

step "down removes all, twice is fine, and the other one lives"
demo cut
"$DEMO_SH" down >$OUT/said 2>&1 || fail "$(last_line)"
[ ! -e $ONE ] || fail "$ONE is still there"
expect 5 '[ -z "$(processes $ONE)" ]'
"$DEMO_SH" down >$OUT/said 2>&1 || fail "the second time: $(last_line)"
for word in status cut heal "wan 10"; do
    "$DEMO_SH" $word >$OUT/said 2>&1 && fail "demo.sh $word without a demo is no error"
    last_line | grep -q "no demo in $ONE" || fail "demo.sh $word without a demo says: $(last_line)"
done
export WALFERRY_DEMO=$TWO
. $TWO/env
[ "$(field 2 .receiving.state)" = up ] || fail "the second pool was hurt"
step "up again over what is there, from another folder, by a relative path"
cd /tmp || fail "no /tmp"
as_user env WALFERRY_DEMO="$(basename $TWO)" "$DEMO_SH" up >$OUT/said 2>&1 || fail "$(last_line)"
check_env $TWO
as_user "$DEMO_SH" down >$OUT/said 2>&1 || fail "$(last_line)"
[ ! -e $TWO ] && [ ! -e "/$(basename $TWO)" ] || fail "$TWO is still there"
expect 5 '[ -z "$(processes $TWO)" ]'

step "a folder that is not ours is refused and left as it is"
export WALFERRY_DEMO=$ONE
mkdir $ONE && echo precious >$ONE/file
left_alone() {
    local word
    for word in up down; do
        "$DEMO_SH" $word >$OUT/said 2>&1 && fail "$word is not refused"
        last_line | grep -q "$ONE .*none of ours" || fail "$word says: $(last_line)"
        [ "$(cat $ONE/file)" = precious ] && [ "$(ls -A $ONE | grep -c -v walferry-demo)" = 1 ] || fail "$word changed it"
    done
}
left_alone
if [ "$(id -u)" = 0 ]; then # somebody else's, with a marker like ours
    : >$ONE/.walferry-demo
    chown -R nobody $ONE
    left_alone
fi
rm -r $ONE

step "an up that fails says why in its last line"
refused() { # WORDS FOLDER
    WALFERRY_DEMO=$2 "$DEMO_SH" up >$OUT/said 2>&1 && fail "$2 is taken"
    last_line | grep -q "$1" || fail "with $2 its last line is: $(last_line)"
    WALFERRY_DEMO=$2 "$DEMO_SH" down >/dev/null 2>&1
}
refused "cannot make /proc/walferry" /proc/walferry
refused "too long" "/tmp/wf-$$-$(printf 'x%.0s' {1..90})"
refused "blank" "/tmp/wf-$$ it's"
WALFERRY_BUILD=$OUT refused "no walferry in $OUT" $ONE
DEMO_CONF="nonsense = on" refused "does not start: .*contains errors" $ONE
[ -z "$(processes "/tmp/wf-$$")" ] || fail "processes stay: $(ps -o pid,args -p "$(processes "/tmp/wf-$$" | paste -sd,)")"
WALFERRY_DEMO=$ONE
pass

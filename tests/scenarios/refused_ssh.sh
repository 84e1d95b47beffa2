#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# What SSH, keys, files and sockets may get wrong: each is refused in words that name the thing and
# the next step, and when it is put right shipping goes on by itself.
. "$(dirname "$0")/lib.sh"

reason() { field 1 .links[0].reason; } # why the primary's agent does not ship
tells() { # REGEX: so does the status; the log has it, too
    expect 20 'reason | grep -qE "'"$1"'"'
    says 1 "$1" || fail "the log does not say '$1'"
}
shipping() { # it goes on by itself, and nothing is missing
    expect 20 '[ "$(field 1 .links[0].state)" = up ]'
    sql1 "insert into marks values ($((++marks)))" >/dev/null
    expect 20 '[ "$(sql2 "select max(n) from marks")" = '$marks' ]'
}
hang_up() { pkill -P "$(cat "$DC2_SSHD_PID")"; } # the sessions, not the listener
restart() { # N: with another config or key
    kill_agent "$1" TERM
    start_agent "$1"
}
refuses_to_start() { # N REGEX: exit 2 and the reason
    local said code
    said=$(walferry "$1" agent 2>&1)
    code=$?
    [ $code = 2 ] || fail "exit $code instead of 2: $said"
    grep -qE "$2" <<<"$said" || fail "'$2' is not said: $said"
}
put() { as sh -c 'cat >"$1"' sh "$1"; } # FILE: from stdin, as its owner

start_pool
marks=0
sql1 "create table marks (n int)" >/dev/null
shipping
keys=$WALFERRY_DEMO/dc2/ssh/authorized_keys
bound=$(cat "$keys")

step "key refused"
: | put "$keys"
hang_up
tells 'does not accept key'
reason | grep -q "$WALFERRY_DEMO/dc1/ssh/id_ed25519" || fail "the key file is not named: $(reason)"
put "$keys" <<<"$bound"
shipping

step "the agent there is killed"
kill_agent 2
expect 20 'says 1 "the agent of dc2-a has ended .stopped or killed.; start it there: systemctl start walferry@demo"'
says 1 'ended with status 0' && fail "it says nothing"
start_agent 2
shipping

step "key not bound"
sed 's/.*\(ssh-ed25519\)/\1/' <<<"$bound" | put "$keys"
hang_up
tells 'ended with status [0-9]+.*bound to walferry receive'
put "$keys" <<<"$bound"
shipping

step "the key is bound to another member"
sed 's/--from dc1-a/--from dc2-a/' <<<"$bound" | put "$keys"
hang_up
tells 'HELLO says dc1-a, but the key is bound to --from dc2-a: correct authorized_keys'
put "$keys" <<<"$bound"
shipping

step "the login shell prints"
sed 's/command="/command="echo Welcome to dc2; exec /' <<<"$bound" | put "$keys"
hang_up
tells 'printed .Welcome to dc2'
put "$keys" <<<"$bound"
shipping

step "the other agent is not running"
kill_agent 2
tells 'the agent of dc2-a is not running.*start it'
start_agent 2
shipping

step "changed host key"
as mv "$WALFERRY_DEMO/dc2/ssh/host" "$WALFERRY_DEMO/dc2/ssh/host.right"
as ssh-keygen -q -t ed25519 -N '' -f "$WALFERRY_DEMO/dc2/ssh/host" <<<y >/dev/null
restart_sshd() {
    local pid
    pid=$(cat "$DC2_SSHD_PID")
    hang_up
    as kill "$pid"
    expect 10 "gone $pid"
    as /usr/sbin/sshd -f "$WALFERRY_DEMO/dc2/ssh/sshd_config" -E "$WALFERRY_DEMO/dc2/sshd.log"
    expect 10 'test -s "$DC2_SSHD_PID"'
}
restart_sshd
tells '127.0.0.1:[0-9]+ shows another host key than the pinned one: host_key is SHA256:.* it shows SHA256:.*put the new fingerprint'
as mv "$WALFERRY_DEMO/dc2/ssh/host.right" "$WALFERRY_DEMO/dc2/ssh/host"
restart_sshd
shipping

step "an identity that others may read"
as chmod 644 "$WALFERRY_DEMO/dc1/ssh/id_ed25519"
refuses_to_start 1 'identity: .*/id_ed25519 is open to others.*chmod 600'
as chmod 600 "$WALFERRY_DEMO/dc1/ssh/id_ed25519"

step "a config that others may write"
as chmod 666 "$CONFIG"
refuses_to_start 1 'pool.ini.*writ'
as chmod 600 "$CONFIG"

step "config errors of each kind"
good=$(cat "$CONFIG")
wrong() { # SED REGEX
    sed "$1" <<<"$good" | put "$CONFIG"
    refuses_to_start 1 "$2"
}
wrong 's/^home .*/&\nhorse = 1/' 'pool.ini:[0-9]+: \[pool\] horse: unknown key; allowed:'
wrong '/^home /d' 'pool.ini:[0-9]+: \[pool\].*home'
wrong 's/^home .*/home = dc9/' 'pool.ini:[0-9]+: \[pool\] home'
wrong 's/^home .*/&\nhome = dc1/' 'pool.ini:[0-9]+: \[pool\] home.*twice'
wrong 's/^home .*/&\nshutdown_wait = soon/' 'pool.ini:[0-9]+: \[pool\] shutdown_wait.*allowed'
wrong 's/^host_key .*/host_key = SHA256:short/' 'pool.ini:[0-9]+: \[member dc1-a\] host_key'
wrong 's/^\[member dc2-a\]/[member dc1-a]/' 'pool.ini:[0-9]+: \[member dc1-a\].*twice'
wrong 's/^spool .*/spool = relative/' 'pool.ini:[0-9]+: \[member dc1-a\] spool'
wrong 's/^site .*/  &/' 'pool.ini:[0-9]+: .*begins with a space'
wrong 's/^\[pool\]/[pond]/' 'pool.ini:1: .*unknown section'
wrong 's/^ssh .*/&0000/' 'pool.ini:[0-9]+: \[member dc1-a\] ssh'
wrong 's/^site .*/some words/' 'pool.ini:[0-9]+: .*not understood'
wrong "s|^run .*|run = /tmp/$(printf 'x%.0s' $(seq 100))|" 'pool.ini:[0-9]+: \[member dc1-a\] run: .*sockets are in it'
wrong '/^\[member dc2-a\]/,$d' 'pool.ini.*member'
put "$CONFIG" <<<"$good"
as "$WALFERRY" agent --config "$WALFERRY_DEMO/nowhere.ini" --member dc1-a 2>/dev/null
[ $? = 2 ] || fail "a config that is not there does not exit 2"
as "$WALFERRY" agent --config "$CONFIG" --member dc7-a 2>/dev/null
[ $? = 2 ] || fail "an unknown member does not exit 2"
[ "$(field 1 .links[0].state)" = up ] || fail "the agent that runs was disturbed"

step "a second agent on the same spool"
said=$(walferry 2 agent 2>&1)
[ $? = 1 ] || fail "it does not exit 1: $said"
grep -q "another agent uses the spool $DC2_SPOOL" <<<"$said" || fail "the reason is missing: $said"
shipping

step "an RSA key"
as ssh-keygen -q -t rsa -b 2048 -m PEM -N '' -f "$WALFERRY_DEMO/dc1/ssh/id_rsa"
{ echo "$bound"; sed "s|ssh-ed25519.*|$(cat "$WALFERRY_DEMO/dc1/ssh/id_rsa.pub")|" <<<"$bound"; } | put "$keys"
sed "s|dc1/ssh/id_ed25519|dc1/ssh/id_rsa|" <<<"$good" | put "$CONFIG"
restart 1
if pkg-config --atleast-version=1.11 libssh2; then shipping; else tells 'RSA.*libssh2'; fi
put "$CONFIG" <<<"$good"
put "$keys" <<<"$bound"
restart 1
shipping

# poke SOCKET COUNT HEX: COUNT connections that send these bytes, then wait to be dropped. Prints how
# many could not connect, were dropped within 5 s, within 15 s, and not at all. Perl is in every Debian.
poke() {
    as perl -MSocket -e '
        my ($path, $count, $bytes) = @ARGV;
        my ($began, $failed, $early, $late, @open) = (time, 0, 0, 0);
        local $SIG{PIPE} = "IGNORE";
        for (1 .. $count) {
            socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die;
            unless (connect($s, pack_sockaddr_un($path))) { $failed++; next }
            syswrite($s, pack("H*", $bytes)) if length $bytes;
            push @open, $s;
        }
        while (@open && time - $began < 15) {
            my ($set, @left) = "";
            vec($set, fileno($_), 1) = 1 for @open;
            select($set, undef, undef, 1) >= 0 or last;
            for (@open) {
                if (vec($set, fileno($_), 1) && !(sysread($_, my $x, 65536) > 0)) { time - $began < 5 ? $early++ : $late++ }
                else { push @left, $_ }
            }
            @open = @left;
        }
        print "$failed $early $late ", scalar(@open), "\n";' "$@"
}
poked() { # SOCKET COUNT HEX RESULT: and WAL flows meanwhile
    local pid result
    poke "$1" "$2" "$3" >"/tmp/wf-$$.poke" &
    pid=$!
    shipping
    wait "$pid"
    result=$(cat "/tmp/wf-$$.poke")
    [ "$result" = "$4" ] || fail "$1: '$result' instead of '$4' for $2 connections with '$3'"
    rm -f "/tmp/wf-$$.poke"
}
inlet=$WALFERRY_DEMO/dc2/run/inlet relay=$WALFERRY_DEMO/dc2/run/.s.PGSQL.5432
step "garbage and slow-loris on the inlet"
poked "$inlet" 3 ffffffffffffffff "0 3 0 0"
lanes=$(sed -n 's/^lanes = \([0-9]\)/\1/p' "$CONFIG")
lanes=${lanes:-1}
expect 20 '[ "$(field 2 .receiving.lanes)" = $lanes ]'
poked "$inlet" 70 "" "0 $((6 + lanes)) $((64 - lanes)) 0" # the link has the others of 64 places
says 2 'inlet: all 64 places are taken' || fail "the log does not say that the places are taken"
step "garbage and slow-loris on the relay"
poked "$relay" 3 ffffffffffffffff "0 3 0 0"
poked "$relay" 20 "" "0 12 8 0" # so many places guests have, the standby has its own
poked "$relay" 3 00000010000300 "0 0 3 0"
expect 10 '[ "$(sql2 "select status from pg_stat_wal_receiver")" = streaming ]'
if [ "$(id -u)" = 0 ]; then
    step "another user on the relay"
    ask() { runuser -u "$1" -- "$PGBIN/psql" -XAt "host=$WALFERRY_DEMO/dc2/run port=5432 replication=1 user=walferry" -c IDENTIFY_SYSTEM 2>&1; }
    chmod o+x "$WALFERRY_DEMO/dc2" "$WALFERRY_DEMO/dc2/run" && chmod o+rw "$relay"
    ask "$RUN_AS" | grep -q '|1|' || fail "its own user is not let in: $(ask "$RUN_AS")"
    ask nobody | grep -q "only the agent's own user may use its relay" || fail "nobody: $(ask nobody)"
fi
shipping
same_rows
pass

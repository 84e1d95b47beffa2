#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The agent as a service manager sees it: READY=1 when it serves, exit 0 on TERM, 2 on a wrong config,
# and after kill -9 the next one takes the place of the sockets that were left.
. "$(dirname "$0")/lib.sh"
start_pool
expect 30 level
step "status --watch is one line per interval where there is no terminal"
walferry 2 status --watch | head -n 2 >"/tmp/wf-$$.watch"
[ "$(grep -cE '^[0-9-]+ [0-9:.]+ UTC dc2-a standby exposure [0-9.]+ s link up ' "/tmp/wf-$$.watch")" = 2 ] || fail "$(cat "/tmp/wf-$$.watch")"
rm -f "/tmp/wf-$$.watch"
step "TERM: it takes its sockets with it, exit 0"
run=$WALFERRY_DEMO/dc2/run notify=/tmp/wf-$$.notify
kill_agent 2 TERM
for name in control inlet .s.PGSQL.5432; do [ ! -e "$run/$name" ] || fail "$run/$name is still there"; done

step "READY=1 comes when its sockets are there"
as perl -MSocket -e '
    my ($path, $told, @command) = @ARGV;
    socket(my $s, PF_UNIX, SOCK_DGRAM, 0) or die $!;
    bind($s, pack_sockaddr_un($path)) or die $!;
    my $pid = fork;
    if (!$pid) { $ENV{NOTIFY_SOCKET} = $path; open STDIN, "<", "/dev/null"; open STDOUT, ">>", "$told.log"; open STDERR, ">&STDOUT"; exec @command }
    local $SIG{ALRM} = sub { kill 9, $pid; die "silent" };
    alarm 20;
    recv($s, my $said, 100, 0);
    open my $out, ">", $told; print $out "$said\n"; close $out;
    waitpid $pid, 0;
    open $out, ">>", $told; print $out "exit ", $? >> 8, "\n"; close $out;' \
    "$notify" "$notify.told" "$WALFERRY" agent --config "$CONFIG" --member dc2-a >"$notify.err" 2>&1 &
expect 20 'grep -q READY=1 "$notify.told"'
walferry 2 status >/dev/null || fail "it said that it is ready, and is not"
expect 20 '[ "$(field 1 .links[0].state)" = up ]'
kill "$(agent_pid 2)"
expect 20 'grep -q "exit 0" "$notify.told"'

step "after kill -9 the next agent takes over what was left"
start_agent 2
expect 20 '[ "$(field 1 .links[0].state)" = up ]'
kill_agent 2
for name in control inlet .s.PGSQL.5432; do [ -S "$run/$name" ] || fail "$run/$name is not there to be replaced"; done
start_agent 2
expect 20 '[ "$(field 1 .links[0].state)" = up ]'
expect 30 level

if command -v systemd-analyze >/dev/null; then
    step "the unit"
    mkdir "$notify.d" && sed "s|/usr/bin/walferry|$WALFERRY|" "$ROOT/conf/systemd/walferry@.service" >"$notify.d/walferry@demo.service"
    said=$(systemd-analyze verify "$notify.d/walferry@demo.service" 2>&1 | grep -i walferry)
    [ -z "$said" ] || fail "$said"
fi
rm -rf "$notify" "$notify".*
same_rows
pass

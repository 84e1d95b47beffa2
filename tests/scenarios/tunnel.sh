#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The tunnel: on the standby's host a socket that is the primary's PostgreSQL for one role, and
# sockets that are the far agent and its relay, in both directions of a link. Bytes and rows that
# come through are the same, strangers stay out, and what breaks fails at once.
. "$(dirname "$0")/lib.sh"
for tool in jq; do command -v $tool >/dev/null || fail "$tool is missing: tests/run.sh installs it"; done
export DEMO_POOL_CONF="$POOL_CONF
tunnel_user = walferry_tunnel"
start_pool
long && scale=20 || scale=3
fill $scale
run1=$WALFERRY_DEMO/dc1/run run2=$WALFERRY_DEMO/dc2/run
TUNNEL="host=$run2/tunnel port=5432 user=walferry_tunnel dbname=postgres"
through() { as "$PGBIN/psql" -XAtq "$TUNNEL ${2:-}" -c "$1" 2>&1; } # QUERY [CONNINFO]
ask() { # DIRECTORY COMMAND: what control answers
    as perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(Peer => "$ARGV[0]/control") or die "$ARGV[0]: $!";
        print $s "{\"command\":\"$ARGV[1]\"}\n"; $s->flush; print while <$s>' "$1" "$2" 2>&1
}
cancelled() { # SOCKET: does a CancelRequest with its key end a session's query?
    as perl -MIO::Socket::UNIX - "$1" <<'EOF'
sub dial { IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "$ARGV[0]: $!" }
sub message { read($s, my $head, 5) == 5 or die "the end came"; my ($type, $n) = unpack "aN", $head;
    read $s, my $body, $n - 4; ($type, $body) }
$s = dial();
$start = pack "Na*", 196608, "user\0walferry_tunnel\0database\0postgres\0\0";
$s->print(pack "Na*", 4 + length $start, $start), $s->flush;
until ($type eq "Z") { ($type, $body) = message(); $key = $body if $type eq "K" }
$query = "select pg_sleep(3)\0";
$s->print(pack "aNa*", "Q", 4 + length $query, $query), $s->flush;
select undef, undef, undef, 1;
$c = dial();
$c->print(pack "NNa8", 16, 80877102, $key), $c->flush;
1 while read $c, $said, 1;
until ($type =~ /[CE]/) { ($type) = message() }
print $type eq "E" ? "yes" : "no";
EOF
}
refuses() { # WHAT REGEX COMMAND ...
    local what=$1 said
    shift
    said=$("${@:2}" 2>&1) && fail "$what is let through: $said"
    [[ $said =~ $1 ]] || fail "$what: refused, but not in the words '$1': $said"
}

step "psql through it is the primary, as the role that may"
[ "$(through "select current_user, pg_is_in_recovery()")" = "walferry_tunnel|f" ] || fail "not the primary: $(through "select current_user, pg_is_in_recovery()")"
[ "$(stat -c '%a %U' "$run2/tunnel/.s.PGSQL.5432")" = "600 $RUN_AS" ] || fail "others may open the socket"
[ "$(through "select 1" sslmode=prefer)" = 1 ] || fail "sslmode=prefer does not connect"
big="select sum(hashtext(aid::text || filler)) from pgbench_accounts"
copy="copy (select *, md5(aid::text) from pgbench_accounts order by aid) to stdout"
sql1 "grant select on all tables in schema public to walferry_tunnel" >/dev/null
[ "$(through "$copy" | cksum)" = "$(sql1 "$copy" | cksum)" ] || fail "other bytes come through"
[ "$(field 2 '.tunnel.opened >= 3 and .tunnel.bytes > 10000000')" = true ] || fail "status counts nothing: $(field 2 .tunnel)"

step "who stays out"
refuses "another role" "for the role walferry_tunnel only, not for walferry" through "select 1" user=walferry
refuses "the tunnel on the primary" "is the primary itself" as "$PGBIN/psql" -XAt "host=$run1/tunnel user=walferry_tunnel dbname=postgres" -c "select 1"
sql1 "alter role walferry_tunnel superuser" >/dev/null
refuses "a superuser" "superuser on dc1-a: ALTER ROLE walferry_tunnel NOSUPERUSER" through "select 1"
sql1 "alter role walferry_tunnel nosuperuser rename to elsewhere" >/dev/null 2>&1 || sql1 "alter role walferry_tunnel nosuperuser; alter role walferry_tunnel rename to elsewhere" >/dev/null
refuses "a role that is not there" "CREATE ROLE walferry_tunnel LOGIN" through "select 1"
sql1 "alter role elsewhere rename to walferry_tunnel" >/dev/null
[ "$(through "select 1")" = 1 ] || fail "it does not open again"
for grant in "$RUN_AS" "between" "pg_execute_server_program"; do
    sql1 "create role between; grant \"$RUN_AS\" to between; grant \"$grant\" to walferry_tunnel" >/dev/null
    refuses "a member of $grant" "member of ($RUN_AS|pg_execute_server_program), which (is a superuser|runs programs)" through "select 1"
    sql1 "revoke \"$grant\" from walferry_tunnel; drop role between" >/dev/null
done
sql1 "alter role walferry_tunnel replication" >/dev/null
refuses "a role that could make slots" "may replicate.*ALTER ROLE walferry_tunnel NOREPLICATION" through "select 1"
sql1 "alter role walferry_tunnel noreplication createrole" >/dev/null
refuses "a role that makes roles" "makes roles.*NOCREATEROLE" through "select 1"
sql1 "alter role walferry_tunnel nocreaterole" >/dev/null
refuses "a client with the name of a link" "application_name is that of a member" through "select 1" application_name=Walferry_dc2_A
refuses "... in options" "application_name is that of a member" through "select 1" "options='-c application-name=walferry_dc2_a'"
[ "$(through "select 1")" = 1 ] || fail "it does not open for a harmless one"
as_nobody='$SIG{PIPE} = "IGNORE"; chdir $ARGV[0]; chmod 0755, "."; chmod 0666, $n = ".s.PGSQL.5432"; $> = 65534; $s = IO::Socket::UNIX->new(Peer => $n) or die $!;
    print $s pack "NN", 8, 80877103; exit(read($s, $n, 1) ? 0 : 1)' # SSLRequest: who is let in hears N
if [ "$(id -u)" = 0 ]; then
    perl -MIO::Socket::UNIX -e "$as_nobody" "$run2/tunnel"
    [ $? = 1 ] || fail "another user of the host is let in, or does not come so far"
    chmod 0700 "$run2/tunnel"; chmod 0600 "$run2/tunnel/.s.PGSQL.5432"
fi
[ "$(cancelled "$WALFERRY_DEMO/dc1/sock/.s.PGSQL.5432")" = yes ] || fail "PostgreSQL itself cancels nothing"
[ "$(cancelled "$run2/tunnel/.s.PGSQL.5432")" = no ] || fail "a cancel request goes through"

step "a client that abuses it is hung up on, and nobody else notices"
thief() { # N WHAT ...: with the key of the other member at dc N
    local n=$1 other=$((3 - $1))
    shift
    as timeout 60 perl "$WALFERRY_DEMO/thief.pl" "$WALFERRY_DEMO/dc$other/ssh/id_ed25519" "$RUN_AS" \
        "$(sed -n 's/^Port //p' "$WALFERRY_DEMO/dc$n/ssh/sshd_config")" demo "dc$other-a" "dc$n-a" "$@" 2>&1
}
install -m 644 "$ROOT/tests/support/thief.pl" "$WALFERRY_DEMO/"
agent=$(agent_pid 1)
for what in encryptions pings; do
    [ "$(thief 1 $what)" = "hung up" ] || fail "$what: $(thief 1 $what)"
    [ "$(agent_pid 1)" = "$agent" ] && agent_runs 1 || fail "$what: the agent of the primary is gone"
    [ "$(through "select 1")" = 1 ] || fail "$what: the tunnel is of no use any more: $(through "select 1")"
done
expect 20 '[ "$(field 1 .tunnel.streams)" = 0 ]'

step "replication through it: copies, and nothing that stays behind"
replicate() { as "$PGBIN/psql" -XAtq "$TUNNEL user=walferry replication=${2:-true}" -c "$1" 2>&1; } # COMMAND [KIND]
slots() { sql1 "select string_agg(slot_name || ' ' || restart_lsn, ',') from pg_replication_slots where slot_name <> 'walferry_dc2_a'"; }
[ "$(replicate IDENTIFY_SYSTEM | cut -d'|' -f1)" = "$(field 1 .system_identifier)" ] || fail "no replication: $(replicate IDENTIFY_SYSTEM)"
sql1 "select pg_create_physical_replication_slot('archive', true)" >/dev/null
before=$(slots)
refuses "a slot that stays" "is temporary and physical" replicate "CREATE_REPLICATION_SLOT thief PHYSICAL RESERVE_WAL"
refuses "a temporary one of another name" "is temporary and physical" replicate "CREATE_REPLICATION_SLOT thief TEMPORARY PHYSICAL RESERVE_WAL"
refuses "dropping a slot" "dropped on the primary's host" replicate "DROP_REPLICATION_SLOT archive"
refuses "moving a slot on" "uses no slot but" replicate "START_REPLICATION SLOT archive PHYSICAL 0/3000000"
refuses "SQL" "what a copy and physical replication need" replicate "select 1"
refuses "replication with SQL" "is physical: replication=true" replicate "IDENTIFY_SYSTEM" database
refuses "pg_receivewal --create-slot" "is temporary and physical" as "$PGBIN/pg_receivewal" -d "$TUNNEL" -U walferry --slot thief --create-slot
[ "$(slots)" = "$before" ] || fail "slots are $(slots), were $before"
sql1 "select pg_drop_replication_slot('archive')" >/dev/null
as "$PGBIN/pg_basebackup" -d "$TUNNEL" -U walferry -D "$WALFERRY_DEMO/copy0" -X stream -c fast >"$WALFERRY_DEMO/copy0.log" 2>&1 ||
    fail "a copy with its own WAL, by a temporary slot: $(cat "$WALFERRY_DEMO/copy0.log")"
as mkdir "$WALFERRY_DEMO/received"
as "$PGBIN/pg_receivewal" -d "$TUNNEL" -U walferry -D "$WALFERRY_DEMO/received" -n >"$WALFERRY_DEMO/received.log" 2>&1 &
receiver=$!
expect 20 'sql1 "select pg_logical_emit_message(true, '"'a', 'b'"')"; ls "$WALFERRY_DEMO/received" | grep -q "^0000"' # an idle server sends nothing
pkill -P $receiver; kill $receiver 2>/dev/null; wait $receiver 2>/dev/null

step "the far agent and its relay, both ways"
for way in "$run2 dc1-a" "$run1 dc2-a"; do
    set -- $way
    [ "$(ask "$1/far/$2" status | jq -rs '.[0].member')" = "$2" ] || fail "far/$2/control is not its agent: $(ask "$1/far/$2" status)"
    [[ $(ask "$1/far/$2" failover) == *"type it on the host of $2"* ]] || fail "far/$2/control takes a failover"
    [ "$(as "$PGBIN/psql" -XAt "host=$1/far/$2 port=5432 user=walferry replication=true" -c IDENTIFY_SYSTEM | cut -d'|' -f1)" = "$(field 1 .system_identifier)" ] ||
        fail "far/$2 is not its relay"
done

step "a member's own PostgreSQL, whatever its role, for the same two roles"
own() { as "$PGBIN/psql" -XAtq "host=$1 port=5433 user=walferry_tunnel dbname=postgres ${3:-}" -c "$2" 2>&1; } # DIRECTORY QUERY [CONNINFO]
[ "$(own "$run1/far/dc2-a" "select current_user, pg_is_in_recovery()")" = "walferry_tunnel|t" ] || fail "it is not dc2-a's: $(own "$run1/far/dc2-a" "select 1")"
[ "$(own "$run2/far/dc1-a" "select current_user, pg_is_in_recovery()")" = "walferry_tunnel|f" ] || fail "it is not dc1-a's: $(own "$run2/far/dc1-a" "select 1")"
refuses "another role" "for the role walferry_tunnel only, not for $RUN_AS" own "$run1/far/dc2-a" "select 1" "user=$RUN_AS"
refuses "dropping a slot of the standby" "dropped on the primary's host" own "$run1/far/dc2-a" "DROP_REPLICATION_SLOT any" "user=walferry replication=true"
pg2 -m fast stop
expect 20 '[ "$(field 2 .postgres.state)" = down ]'
refuses "a standby that is down" "PostgreSQL of dc2-a is away" own "$run1/far/dc2-a" "select 1"
pg2 start
expect 30 '[ "$(field 2 .postgres.state)" = up ]'

step "four copies at once, under load"
load 60
for n in 1 2 3 4; do
    as "$PGBIN/pg_basebackup" -d "$TUNNEL" -U walferry -D "$WALFERRY_DEMO/copy$n" -X none -c fast -r 4M >"$WALFERRY_DEMO/copy$n.log" 2>&1 &
    copy[n]=$!
done
expect 20 '[ "$(field 1 .tunnel.streams)" -ge 4 ]'
for n in 1 2 3 4; do wait "${copy[n]}" || fail "pg_basebackup $n: $(tail -1 "$WALFERRY_DEMO/copy$n.log")"; done
kill $LOAD_PID 2>/dev/null; end_load
as "$PGBIN/pg_verifybackup" -n "$WALFERRY_DEMO/copy1" >/dev/null 2>&1 || fail "the copy is damaged: $(as "$PGBIN/pg_verifybackup" -n "$WALFERRY_DEMO/copy1" 2>&1 | tail -2)"
expect 20 '[ "$(field 1 .tunnel.streams)" = 0 ] && [ "$(field 2 .tunnel.streams)" = 0 ]'
expect 30 level

step "more than there is room for is told so"
for n in $(seq 20); do
    as "$PGBIN/psql" -XAtq "$TUNNEL" -c "select pg_sleep(300)" >"$WALFERRY_DEMO/many$n" 2>&1 &
    many[n]=$!
    [ $((n % 4)) != 0 ] || [ $n -gt 16 ] || expect 20 "[ \"\$(field 1 .tunnel.streams)\" = $n ]" # each a session: many at once take longer than one may
done
expect 20 'grep -q "16 streams from other members are open already" "$WALFERRY_DEMO"/many*'
[ "$(field 1 .tunnel.streams)" = 16 ] || fail "$(field 1 .tunnel.streams) streams are open"
[ "$(ask "$run1/far/dc2-a" status | jq -rs '.[0].member')" = dc2-a ] || fail "the far side's streams leave no place to this one's"
for n in $(seq 20); do pkill -P "${many[n]}" 2>/dev/null; kill "${many[n]}" 2>/dev/null; done
sql1 "select pg_terminate_backend(pid) from pg_stat_activity where query like 'select pg_sleep%' and pid <> pg_backend_pid()" >/dev/null
expect 20 '[ "$(field 1 .tunnel.streams)" = 0 ]'

for n in 1 2; do
    step "the agent of dc$n is killed in the middle: the client fails at once, the next works"
    through "select pg_sleep(60)" >"$WALFERRY_DEMO/broken" &
    client=$!
    expect 20 '[ "$(field 1 .tunnel.streams)" = 1 ]'
    kill_agent $n
    expect 5 "! kill -0 $client"
    grep -q 'closed the connection unexpectedly' "$WALFERRY_DEMO/broken" || fail "the client says: $(cat "$WALFERRY_DEMO/broken")"
    start_agent $n
    expect 30 '[ "$(field 2 .receiving.state)" = up ]'
    [ "$(through "select 1")" = 1 ] || fail "the next one does not work: $(through "select 1")"
done

step "the line is cut: a new client is told within its time, not left to wait"
demo cut
SECONDS_BEFORE=$SECONDS
refuses "a tunnel over a cut line" "walferry: .*(no stream from dc1-a within 10 s|127.0.0.1)" through "select 1"
[ $((SECONDS - SECONDS_BEFORE)) -le 15 ] || fail "it took $((SECONDS - SECONDS_BEFORE)) s"
demo heal

step "PostgreSQL is down there"
expect 30 '[ "$(field 2 .receiving.state)" = up ]'
pg1 -m fast stop
expect 20 '[ "$(field 1 .postgres.state)" = down ]'
refuses "a tunnel to a server that is down" "PostgreSQL of dc1-a is away" through "select 1"
pg1 start
expect 30 '[ "$(through "select 1")" = 1 ]'

step "the far agent cannot dial back: its reason is told"
sql1 "create table afterwards as select 1" >/dev/null # the link of before has ended: until the new one has shipped this
expect 30 level
expect 30 '[ "$(field 2 .receiving.state)" = up ]'
keys=$WALFERRY_DEMO/dc2/ssh/authorized_keys
mv "$keys" "$keys.away"
refuses "a stream whose dial back is refused" "does not accept key" through "select 1"

step "without a link the standby's agent dials by itself"
kill_agent 1 && start_agent 1
expect 30 'says 1 "does not accept key"'
[ "$(field 2 .receiving.state)" = up ] && fail "the link is up all the same"
expect 20 '[ "$(through "select 1")" = 1 ]'
[ "$(ask "$run2/far/dc1-a" status | jq -rs '.[0].member')" = dc1-a ] || fail "no far control without a link"

step "... and where names are not resolved it goes on with everything else"
install -m 755 "$WALFERRY_BUILD/slowdns.so" "$WALFERRY_DEMO/bin/" || fail "the build has no slowdns.so"
kill_agent 2
as sh -c "sed '/^.member dc1-a/,/^.member dc2-a/s/@127.0.0.1:/@localhost:/' '$CONFIG' >'$WALFERRY_DEMO/names.ini' && chmod 600 '$WALFERRY_DEMO/names.ini'"
CONFIG=$WALFERRY_DEMO/names.ini ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0 LD_PRELOAD=$WALFERRY_DEMO/bin/slowdns.so start_agent 2
expect 20 '[ "$(field 2 .postgres.state)" = up ]'
refuses "a tunnel to a name that is not found" "localhost was not resolved within 5 s" through "select 1"
for n in 1 2 3; do as timeout 5 "$WALFERRY" status --config "$CONFIG" --member dc2-a >/dev/null || fail "the agent waits for the resolver"; done
kill_agent 2 && start_agent 2
mv "$keys.away" "$keys"
expect 30 '[ "$(field 2 .receiving.state)" = up ]'
pass

#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A stolen shipping key: bound with --no-tunnel it leads to no PostgreSQL and no relay; who needs
# them has a second key, and who lacks it is told which.
. "$(dirname "$0")/lib.sh"
for tool in jq; do command -v $tool >/dev/null || fail "$tool is missing: tests/run.sh installs it"; done
start_pool
run1=$WALFERRY_DEMO/dc1/run run2=$WALFERRY_DEMO/dc2/run
install -m 644 "$ROOT/tests/support/thief.pl" "$WALFERRY_DEMO/"
thief() { # N WHAT ...: with the key of the other member at dc N
    local n=$1 other=$((3 - $1))
    shift
    as timeout 60 perl "$WALFERRY_DEMO/thief.pl" "$WALFERRY_DEMO/dc$other/ssh/id_ed25519" "$RUN_AS" \
        "$(sed -n 's/^Port //p' "$WALFERRY_DEMO/dc$n/ssh/sshd_config")" demo "dc$other-a" "dc$n-a" "$@" 2>&1
}
through() { as "$PGBIN/psql" -XAtq "host=$run2/tunnel port=5432 user=walferry_tunnel dbname=postgres" -c "$1" 2>&1; } # QUERY
ask() { # DIRECTORY JSON: what control answers
    as perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(Peer => "$ARGV[0]/control") or die "$ARGV[0]: $!";
        print $s "$ARGV[1]\n"; $s->flush; print while <$s>' "$1" "$2" 2>&1
}
ssh_says() { walferry "$1" validate --local --json 2>/dev/null | jq -r '.. | objects | select(.check? == "ssh") | .result + " " + .reason'; } # N
restart() { for n in 1 2; do kill_agent $n TERM && start_agent $n; done; expect 30 '[ "$(field 2 .receiving.state)" = up ]'; }

step "the keys may do all: the thief gets to PostgreSQL's gate, and validate is content"
for service in 1 2 3; do [ "$(thief 1 service $service)" = accepted ] || fail "service $service: $(thief 1 service $service)"; done

step "bound with --no-tunnel: WAL and questions, nothing else"
for n in 1 2; do as sed -i 's/ receive / receive --no-tunnel /' "$WALFERRY_DEMO/dc$n/ssh/authorized_keys"; done
restart
walferry 2 seed --dry-run --replace >"$WALFERRY_DEMO/seed.out" 2>&1 & # it tries for 30 s
seed=$!
for service in 1 3; do
    [[ $(thief 1 service $service) == *"the key of dc2-a is bound with --no-tunnel on the host of dc1-a"* ]] || fail "service $service: $(thief 1 service $service)"
done
[ "$(thief 1 service 2)" = accepted ] || fail "no questions: $(thief 1 service 2)"
sql1 "create table ships as select 1" >/dev/null
expect 30 level
[ "$(ask "$run1/far/dc2-a" '{"command":"status"}' | jq -rs '.[0].member')" = dc2-a ] || fail "the far agent does not answer"
[[ $(ask "$run1/far/dc2-a" '{"command":"config","do":"install","text":"x"}') == *"--no-tunnel: type it on the host of dc2-a"* ]] ||
    fail "a pool's file is taken: $(ask "$run1/far/dc2-a" '{"command":"config","do":"install","text":"x"}')"

step "who lacks a key is told which"
lacks="the key of dc1-a is bound with --no-tunnel on the host of dc2-a.*need a tunnel_identity of dc1-a"
[[ $(through "select 1") =~ $lacks ]] || fail "psql: $(through "select 1")"
[[ $(ssh_says 1) == *"warn to dc2-a: $WALFERRY_DEMO/dc1/ssh/id_ed25519 leads to no tunnel (--no-tunnel)"* ]] || fail "validate: $(ssh_says 1)"

step "with the primary's key: the living session stays its agent's, and somebody hears of it"
lost=$(field 1 '.links[0].connections_lost')
for incarnation in 1 18446744073709551615 18446744073709551615; do
    [[ $(thief 2 hello "$(field 1 .system_identifier)" $incarnation) == *"of another start of this member's agent lives here"* ]] ||
        fail "incarnation $incarnation: $(thief 2 hello "$(field 1 .system_identifier)" $incarnation)"
done
expect 30 '[ "$(field 2 ".events[] | select(.id == \"WF018\") | .severity")" = critical ]'
says 2 "link from dc1-a: another agent with its key is refused while the session lives" || fail "not in the log"
[ "$(field 1 '.links[0].connections_lost') $(field 1 .links[0].state)" = "$lost up" ] || fail "the link was disturbed: $(field 1 .links[0])"
kill_agent 1 # ... and its next start has the place at once
start_agent 1
expect 20 '[ "$(field 1 .links[0].state)" = up ]'
expect 20 '[ "$(field 2 "[.events[] | select(.id == \"WF018\")] | length")" = 0 ]'

step "seed is told the same, after all its tries"
wait $seed
[[ $(cat "$WALFERRY_DEMO/seed.out") =~ $lacks ]] || fail "seed: $(cat "$WALFERRY_DEMO/seed.out")"

step "a second key leads there"
for n in 1 2; do
    as ssh-keygen -q -t ed25519 -N '' -f "$WALFERRY_DEMO/dc$n/ssh/tunnel"
    as sed -i "s|^identity = $WALFERRY_DEMO/dc$n/.*|&\ntunnel_identity = $WALFERRY_DEMO/dc$n/ssh/tunnel|" "$CONFIG"
done
restart
[[ $(through "select 1") == *"does not accept key $WALFERRY_DEMO/dc1/ssh/tunnel"* ]] || fail "the key that is missing is not named: $(through "select 1")"
[[ $(ssh_says 1) == *"warn to dc2-a, for tunnels:"* ]] || fail "validate: $(ssh_says 1)"
for n in 1 2; do
    line=$(sed -n '1s/ --no-tunnel//; 1s/ssh-ed25519.*//p' "$WALFERRY_DEMO/dc$n/ssh/authorized_keys")
    echo "$line$(cat "$WALFERRY_DEMO/dc$((3 - n))/ssh/tunnel.pub")" | as sh -c 'cat >>"$1"' sh "$WALFERRY_DEMO/dc$n/ssh/authorized_keys"
done
[ "$(through "select current_user")" = walferry_tunnel ] || fail "no way with the second key: $(through "select 1")"
as "$PGBIN/psql" -XAt "host=$run1/far/dc2-a port=5432 user=walferry replication=true" -c IDENTIFY_SYSTEM >/dev/null || fail "no way to the relay with the second key"
[[ $(ssh_says 1) == *"ok to dc2-a: the key for tunnels is right, too"* ]] || fail "validate: $(ssh_says 1)"
[[ $(thief 1 service 1) == *"--no-tunnel"* ]] || fail "the first key leads there again: $(thief 1 service 1)"
walferry 2 seed --dry-run --replace >/dev/null 2>&1 || fail "seed: $(walferry 2 seed --dry-run --replace 2>&1)"
pass

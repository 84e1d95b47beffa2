#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# walferry config: each member's file is shown and compared; a new one goes to all, checked whole there,
# or to none; what runs on a host is not changed from afar; the old ones are kept.
. "$(dirname "$0")/lib.sh"
start_pool
expect 30 level
FILE1=$WALFERRY_DEMO/dc1/pool.ini FILE2=$WALFERRY_DEMO/dc2/pool.ini NEW=$WALFERRY_DEMO/new.ini
of() { [ "$1" = 1 ] && CONFIG=$FILE1 || CONFIG=$FILE2; } # each host has a file of its own
config() { # N ARGS
    local n=$1 CONFIG
    shift
    of "$n"
    OUT=$(walferry "$n" config "$@" 2>&1)
}
restart() { # N
    local CONFIG
    of "$1"
    kill_agent "$1" TERM
    start_agent "$1"
}
edit() { as sh -c "sed '$1' '$FILE1' >'$NEW'"; }
reach() { walferry 1 status --json | jq -e '.links[0].state == "up"' && config 1 && config 2; }

step "a file for each host"
for n in 1 2; do
    as cp "$CONFIG" "$WALFERRY_DEMO/dc$n/pool.ini"
    # sshd's forced command goes on with the pool's own file: it only finds the socket by it
    restart $n
done
expect 30 reach
[ "$(echo "$OUT" | grep -c "^dc[12]-a  *[0-9a-f]\{16\} /")" = 2 ] || fail "$OUT"
config 1 show dc2-a && [ "$OUT" = "$(cat "$FILE2")" ] || fail "$OUT"

step "they differ"
as sh -c "echo '; more' >>'$FILE2'"
config 1 && fail "nothing differs: $OUT"
echo "$OUT" | grep -q "^dc2-a .*runs with another one.*walferry config diff dc2-a" || fail "$OUT"
config 1 diff dc2-a && fail "no difference"
echo "$OUT" | grep -q "^+; more" || fail "$OUT"
config 1 show nobody
[ $? = 2 ] || fail "$OUT"

step "a file that is wrong anywhere goes nowhere"
edit 's/^home .*/home = nowhere/'
config 1 push "$NEW"
[ $? = 2 ] || fail "a wrong file is pushed: $OUT"
edit '/^.member dc2-a/,$s#^bindir .*#bindir = /nonexistent#'
config 1 push "$NEW" && fail "another host's programs are changed: $OUT"
echo "$OUT" | grep -q "bindir of dc2-a would change" || fail "$OUT"
host_key=$(sed -n '/^.member dc2-a/,$s/^host_key *= *//p' "$FILE1")
for change in "host_key = SHA256:$(echo "${host_key#*:}" | tr A-Za-z B-ZAb-za)" "ssh = elsewhere@127.0.0.1:22"; do
    edit "/^.member dc2-a/,\$s|^${change%% *} .*|$change|"
    config 1 push "$NEW" --yes && fail "WAL is led elsewhere from afar: $OUT"
    echo "$OUT" | grep -q "^dc2-a: ${change%% *} of dc2-a would change: whom a host sends its WAL to" || fail "$OUT"
done
as sh -c "sed '/^.member dc2-a/,\$s/dc2-a/dc3-a/;s/127.0.0.1/127.0.0.9/;/^.member dc3-a/,\$!d;/^http/d' '$FILE1' | cat '$FILE1' - >'$NEW'"
config 1 push "$NEW" --yes && fail "a member is added from afar: $OUT"
echo "$OUT" | grep -q "^dc2-a: ssh of dc3-a would change" || fail "$OUT"
edit 's/^home /tunnel_user = postgres\nhome /'
config 1 push "$NEW" --yes && fail "the role of the tunnel is changed from afar: $OUT"
echo "$OUT" | grep -q "^dc2-a: tunnel_user of dc2-a would change" || fail "$OUT"
edit 's/^name .*/name = other/'
config 1 push "$NEW"
[ $? = 2 ] || fail "another pool's file is pushed: $OUT"
as mkdir "$WALFERRY_DEMO/ro" && as cp "$FILE2" "$WALFERRY_DEMO/ro/pool.ini" && as chmod 500 "$WALFERRY_DEMO/ro"
kill_agent 2 TERM
CONFIG=$WALFERRY_DEMO/ro/pool.ini start_agent 2
wait_for 30 'walferry 1 status --json | jq -e ".links[0].state == \"up\""' || fail "no link"
edit 's/^name .*/&\nship_warning = 9s/'
wait_for 30 'config 1 push "$NEW" --yes; grep -q "^dc2-a: cannot replace" <<<"$OUT"' || fail "pushed into a folder that cannot be written: $OUT"
grep -q 'nothing was changed' <<<"$OUT" || fail "$OUT"
cmp -s "$NEW" "$FILE1" && fail "changed at one side only"
as chmod 700 "$WALFERRY_DEMO/ro"
restart 2
grep -q '^; more' "$FILE2" || fail "a refused file was taken"

step "a new file goes to all and is taken up at the next start"
as sh -c "{ sed '/^name /a ship_warning = 7s' '$FILE1'; } >'$NEW'"
config 1 push "$NEW" --yes || fail "$OUT"
cmp "$NEW" "$FILE1" && cmp "$NEW" "$FILE2" || fail "not the same"
[ "$(ls "$WALFERRY_DEMO"/dc[12]/spool/config/*.ini | wc -l)" = 2 ] || fail "no predecessors"
grep -q '^; more' "$WALFERRY_DEMO"/dc2/spool/config/*.ini || fail "the predecessor is another one"
config 1 && fail "the agents run with the old one still: $OUT"
restart 1
restart 2
expect 30 reach

step "weaker limits are shown by name, and --yes alone does not take them; tuning is no matter"
edit 's/^name .*/&\nslot_retain_max = 1MB\npg_wal_reserve = 45%\non_full = hold\nsynchronous = on\nexposure_critical = 10min\ndisk_warning = 1s/;s/^run .*/&\nkeep = 1s\nescrow_keep = 1s/'
before=$(cksum "$FILE1" "$FILE2")
config 1 push "$NEW" --yes && fail "weaker limits are pushed: $OUT"
for n in 1 2; do
    for what in "slot_retain_max: 1.0 MB instead of 8.0 GB" "pg_wal_reserve: 45% instead of 10%" "pg_wal_reserve at most: without a limit instead of 16.0 GB" "on_full: hold" "synchronous: site instead of off" \
        "exposure_critical: 10 min 0 s instead of 1 min 0 s" "disk_warning: 1.0 s instead of 1 h" "keep: 1.0 s instead of" "escrow_keep: 1.0 s instead of 30 d"; do
        grep -q "^dc$n-a: $what" <<<"$OUT" || fail "dc$n-a does not tell of $what: $OUT"
    done
done
grep -q -- "--yes alone does not consent" <<<"$OUT" || fail "$OUT"
[ "$(cksum "$FILE1" "$FILE2")" = "$before" ] || fail "a file was changed"
edit 's/^name .*/&\nslot_retain_max = 6GB\nexposure_critical = 90s/'
config 1 push "$NEW" --yes || fail "tuning is refused: $OUT"
edit 's/^slot_retain_max.*/slot_retain_max = 1MB/'
config 1 push "$NEW" --yes --force || fail "with --force: $OUT"
cmp "$NEW" "$FILE1" && cmp "$NEW" "$FILE2" || fail "not taken"

step "processors that the host does not have: refused, and an agent that cannot start says why"
edit '/^.member dc2-a/,$s/^run .*/&\ncpus = 1000/'
config 1 push "$NEW" --yes && fail "pushed: $OUT"
grep -q "^dc2-a: .*cpus: this host has no processor 1000; allowed: 0-" <<<"$OUT" || fail "$OUT"
OUT=$(as timeout 20 "$WALFERRY" agent --config "$NEW" --member dc2-a 2>&1)
[ $? = 2 ] || fail "exit code: $OUT"

step "a member that is out of reach: none, or --force"
kill_agent 2
edit 's/^ship_warning.*/ship_warning = 8s/'
config 1 push "$NEW" --yes && fail "$OUT"
cmp -s "$NEW" "$FILE1" && fail "changed at one side only"
config 1 push "$NEW" --yes --force || fail "$OUT"
cmp "$NEW" "$FILE1" || fail "not changed"

step "what a far agent says moves no terminal"
kill_agent 1
as rm -f "$WALFERRY_DEMO/dc1/run/control"
as perl -MIO::Socket::UNIX -e '$l = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die $!; $s = $l->accept; <$s>;
    print $s q({"text":"a\u001b[2J\u009b2J\u007f\u00e4\tb\nc"}), "\n", q({"done":true,"code":0}), "\n"' "$WALFERRY_DEMO/dc1/run/control" &
expect 5 '[ -S "$WALFERRY_DEMO/dc1/run/control" ]'
said=$(of 1; walferry 1 set rate_limit=none 2>&1)
[ "$said" = "$(printf 'a?[2J??2J?\303\244\tb\nc')" ] || fail "printed: $(echo "$said" | od -c)"
wait $!
pass

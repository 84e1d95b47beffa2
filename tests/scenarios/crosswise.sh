#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Two pools on the same hosts, crosswise: the primary of one is where the other has its standby. They share sshd, its
# user and the line between the sites, and nothing else: what happens to one does not touch the other.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
# The second pool, "mail": as lib.sh's, in a folder of its own. mail COMMAND ... of lib.sh is about it.
mail() { local WALFERRY_DEMO=$MAIL CONFIG=$MAIL/etc/mail.ini DC1_PG=$MAIL1_PG DC2_PG=$MAIL2_PG DC1_SPOOL=$MAIL/dc1/spool DC2_SPOOL=$MAIL/dc2/spool DC1_HTTP= DC2_HTTP=; "$@"; }
both() { as "$WALFERRY" status --all --config "$WALFERRY_DEMO/pools" --member "$@"; } # MEMBER [OPTIONS]
write() { sql "$1" "insert into t select n, md5(random()::text) from generate_series(1, 1000) n" >/dev/null; } # PRIMARY
free_port() { local p; for _ in 1 2 3 4 5; do p=$((10000 + RANDOM % 20000)); (: <>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || break; done; echo $p; }
untouched() { mail field 2 '[.epoch.number, .links[0].state, .links[0].connections_lost, .alarm] | @csv'; } # of mail's primary
end_mail() {
    local n
    for n in 1 2; do
        kill -9 "$(cat "$MAIL/dc$n/run/agent.pid" 2>/dev/null)" 2>/dev/null
        mail pg $n -m immediate stop
    done
    rm -f "$OUT" "$OUT".mail
}

# What demo.sh makes for a pool, from the files of the first one: its hosts stay.
make_mail() {
    local n other from to
    as mkdir -p "$MAIL/etc" "$WALFERRY_DEMO/pools"
    for n in 1 2; do as sh -c 'umask 077; mkdir "$1" && cd "$1" && mkdir ssh etc sock run spool' sh "$MAIL/dc$n"; done
    as sh -c 'umask 077; sed "s|^name = demo|name = mail|; s|^home = dc1|home = dc2|; s|$1/dc|$2/dc|g; s|^http .*||" "$1/pool.ini" >"$2/etc/mail.ini"' sh "$WALFERRY_DEMO" "$MAIL"
    for n in 1 2; do
        as sed -i "/^\[member dc$n-a\]/a http = 127.0.0.1:$(free_port)" "$MAIL/etc/mail.ini"
        as ssh-keygen -q -t ed25519 -N '' -f "$MAIL/dc$n/ssh/id_ed25519"
        for from in postgresql.conf pg_hba.conf pg_ident.conf; do
            as sh -c 'sed "s|$2/dc|$3/dc|g; s|$2/pool.ini|$3/etc/mail.ini|" "$1" >"$4"' sh "$WALFERRY_DEMO/dc$n/etc/$from" "$WALFERRY_DEMO" "$MAIL" "$MAIL/dc$n/etc/$from"
        done
    done
    for n in 1 2; do
        other=$((3 - n))
        printf 'restrict,command="%s receive --config %s --member dc%s-a --from dc%s-a" %s\n' "$WALFERRY" "$MAIL/etc/mail.ini" $n $other "$(cat "$MAIL/dc$other/ssh/id_ed25519.pub")" |
            as sh -c 'cat >>"$1"' sh "$WALFERRY_DEMO/dc$n/ssh/authorized_keys"
    done
    as ln -s "$WALFERRY_DEMO/pool.ini" "$WALFERRY_DEMO/pools/chat.ini"
    as ln -s "$MAIL/etc/mail.ini" "$WALFERRY_DEMO/pools/mail.ini"
    as "$PGBIN/initdb" -D "$MAIL/dc2/data" --data-checksums --locale=C.UTF-8 -E UTF8 -A trust >"$OUT.mail" 2>&1 || fail "initdb: $(tail -1 "$OUT.mail")"
    mail pg 2 start || fail "no server"
    mail sql 2 "create role walferry login replication; grant pg_monitor to walferry;
        grant execute on function pg_promote, pg_wal_replay_resume, pg_reload_conf to walferry;
        create role walferry_tunnel login; grant pg_monitor to walferry_tunnel;
        grant execute on function pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean),
            pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean) to walferry_tunnel"
    for n in 2 1; do mail start_agent $n; done
    expect 20 'mail sql 2 "select restart_lsn from pg_replication_slots" | grep -q /'
    mail walferry 1 seed </dev/null >"$OUT.mail" 2>&1 || fail "seed: $(cat "$OUT.mail")"
}

start_pool
MAIL=$WALFERRY_DEMO/mail
for n in 1 2; do declare "MAIL${n}_PG=host=$MAIL/dc$n/sock port=5432 user=$RUN_AS"; done
BEFORE_DOWN=end_mail
sql1 "create extension amcheck; create table t (n int, x text)" >/dev/null

step "a second pool: its primary is on dc2"
make_mail
mail sql 2 "create table t (n int, x text); create table only_mail ()" >/dev/null
expect 30 'mail level 1 2'
for n in 1 2; do [ "$(agent_pid $n)" != "$(mail agent_pid $n)" ] || fail "one agent for both"; done
[ "$(sql1 "select to_regclass('only_mail')")" = "" ] || fail "the two have one server"
[ "$(field 1 .system_identifier)" != "$(mail field 1 .system_identifier)" ] || fail "the two are one cluster"

step "status --all on each host"
[ "$(both dc1-a --json | jq -c 'map([.pool, .member, .role, .epoch.member])')" = '[["demo","dc1-a","primary","dc1-a"],["mail","dc1-a","standby","dc2-a"]]' ] || fail "dc1: $(both dc1-a --json)"
[ "$(both dc2-a --json | jq -c 'map([.pool, .member, .role])')" = '[["demo","dc2-a","standby"],["mail","dc2-a","primary"]]' ] || fail "dc2: $(both dc2-a --json)"
[ "$(both dc1-a | grep -c "^pool demo: epoch 1, primary dc1-a\|^pool mail: epoch 1, primary dc2-a")" = 2 ] || fail "it says: $(both dc1-a)"
both dc1-a >/dev/null || fail "all is well, and it exits $?"
as "$WALFERRY" status --all --member dc1-a --config "$CONFIG" --json | jq -e 'length == 1' >/dev/null || fail "not the folder of the file"
as "$WALFERRY" status --all --watch --member dc1-a --config "$CONFIG" >"$OUT" 2>&1 && fail "--watch is taken"
mail kill_agent 1
both dc1-a >"$OUT"
[ $? = 1 ] || fail "it exits 0 while an agent is down"
told "^pool mail: unknown: the agent of dc1-a does not answer"
told "^pool demo: epoch 1"
both dc1-a --json | jq -e '.[0].error == null and (.[1] | .pool == "mail" and .member == "dc1-a" and (.error | length > 0))' >/dev/null || fail "json: $(both dc1-a --json)"
as sh -c 'umask 077; echo "[pool]" >"$1"' sh "$WALFERRY_DEMO/pools/zoo.ini"
both dc1-a >"$OUT"
[ $? = 2 ] || fail "a file that is wrong does not exit 2"
told "^config $WALFERRY_DEMO/pools/zoo.ini: unknown: "
odd=$WALFERRY_DEMO/pools/z$(printf '\377').ini # no UTF-8, nor what is said of it
as mv "$WALFERRY_DEMO/pools/zoo.ini" "$odd"
both dc1-a --json | jq -e 'length == 3 and (.[2] | .file + .error | contains("z?.ini"))' >/dev/null || fail "json: $(both dc1-a --json)"
as rm "$odd"
mail start_agent 1
expect 30 'mail level 1 2'

step "a key leads to its own pool only"
as sed -i "s|$MAIL/dc2/ssh/id_ed25519|$WALFERRY_DEMO/dc2/ssh/id_ed25519|" "$MAIL/etc/mail.ini"
mail kill_agent 2
mail start_agent 2
expect 30 'mail field 2 ".links[0].reason" | grep -q "serves pool demo, not mail"'
level 2 1 || fail "the first pool does not go on"
as sed -i "s|$WALFERRY_DEMO/dc2/ssh/id_ed25519|$MAIL/dc2/ssh/id_ed25519|" "$MAIL/etc/mail.ini"
mail kill_agent 2
mail start_agent 2
expect 30 '[ "$(mail field 2 .links[0].state)" = up ]'
expect 30 'mail level 1 2'

step "a failover of the one does not touch the other"
before=$(untouched)
[[ $before == '1,"up",'* ]] || fail "mail is not well: $before"
as "$PGBIN/pgbench" -i -s 2 -q "$MAIL2_PG dbname=postgres" >/dev/null 2>&1 || fail "pgbench -i"
as "$PGBIN/pgbench" -n -c 2 -T 600 "$MAIL2_PG dbname=postgres" >"$OUT.mail" 2>&1 &
bench=$!
write 1
expect 30 'level 2 1'
kill_agent 1
kill_postgres 1
walferry 2 failover --yes --dead </dev/null >"$OUT" 2>&1 || fail "failover: $(cat "$OUT")"
write 2
[ "$(untouched)" = "$before" ] || fail "mail was $before, is $(untouched)"
[ "$(both dc2-a --json | jq -c 'map([.pool, .role, .epoch.number])')" = '[["demo","primary",2],["mail","primary",1]]' ] || fail "dc2: $(both dc2-a --json)"
start_agent 1
expect 20 '[ "$(field 1 .role)" = fenced ]'
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
expect 60 'level 1 2'
kill -0 $bench 2>/dev/null || fail "mail's clients ended: $(cat "$OUT.mail")"
pkill -INT -f "^$PGBIN/pgbench .*$MAIL"
wait $bench
! grep -q "aborted" "$OUT.mail" || fail "mail's clients: $(cat "$OUT.mail")"
[ "$(untouched)" = "$before" ] || fail "mail was $before, is $(untouched)"

step "all of both are the same"
same_rows 1 2
mail same_rows 1 2
mail sql 2 "create extension amcheck" >/dev/null
expect 30 'mail level 1 2'
sound
for n in 1 2; do as "$PGBIN/pg_amcheck" -h "$MAIL/dc$n/sock" -d postgres >"$OUT" 2>&1 || fail "pg_amcheck of mail's dc$n: $(head -5 "$OUT")"; done
pass

#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A real HAProxy in front of the pool: writers and readers each have one address, and they follow a
# failover. What a side cannot see it says.
. "$(dirname "$0")/lib.sh"
url() { [ "$1" = 1 ] && echo "http://$DC1_HTTP" || echo "http://$DC2_HTTP"; } # N
get() { curl -s -m 5 "$(url "$1")$2"; }                                      # N PATH
code() { curl -s -m 5 -o /dev/null -w '%{http_code}' "${@:3}" "$(url "$1")$2"; } # N PATH [OPTION ...]
is() { [ "$(code "$1" "$2")" = "$3" ] && [ "$(code "$1" "$2" -I)" = "$3" ]; } # N PATH CODE: for GET and HEAD
active() { get "$1" /active | jq -r "$2"; }
write() { as "$PGBIN/psql" -XAtq "host=127.0.0.1 port=$WRITE user=$RUN_AS dbname=postgres connect_timeout=3" -c "$1" 2>&1; }
read_() { as "$PGBIN/psql" -XAtq "host=127.0.0.1 port=$READ user=$RUN_AS dbname=postgres connect_timeout=3" -c "$1" 2>&1; }
where_is() { case $1 in *dc1*) echo dc1 ;; *dc2*) echo dc2 ;; *) echo nowhere ;; esac; }

start_haproxy() {
    local d=$WALFERRY_DEMO/haproxy try
    as mkdir -p "$d"
    for try in 1 2 3 4 5; do
        WRITE=$((10000 + RANDOM % 20000)) READ=$((10000 + RANDOM % 20000))
        as sh -c 'cat >"$1"' sh "$d/cfg" <<END
global
    maxconn 200
defaults
    mode tcp
    timeout connect 3s
    timeout client 1m
    timeout server 1m
    timeout check 2s
    default-server inter 300ms fall 2 rise 1 on-marked-down shutdown-sessions
listen writers
    bind 127.0.0.1:$WRITE
    option httpchk GET /primary
    server dc1-a unix@$WALFERRY_DEMO/dc1/sock/.s.PGSQL.5432 check addr ${DC1_HTTP%:*} port ${DC1_HTTP#*:}
    server dc2-a unix@$WALFERRY_DEMO/dc2/sock/.s.PGSQL.5432 check addr ${DC2_HTTP%:*} port ${DC2_HTTP#*:}
listen readers
    bind 127.0.0.1:$READ
    option httpchk HEAD /standby?lag=3s
    server dc1-a unix@$WALFERRY_DEMO/dc1/sock/.s.PGSQL.5432 check addr ${DC1_HTTP%:*} port ${DC1_HTTP#*:}
    server dc2-a unix@$WALFERRY_DEMO/dc2/sock/.s.PGSQL.5432 check addr ${DC2_HTTP%:*} port ${DC2_HTTP#*:}
END
        as setsid sh -c 'exec /usr/sbin/haproxy -f "$1/cfg" >"$1/log" 2>&1 </dev/null & echo $! >"$1/pid"' sh "$d"
        wait_for 10 'write "select 1" | grep -q "^1$" || gone "$(cat "$d/pid")"'
        gone "$(cat "$d/pid")" || return 0
    done
    fail "haproxy does not start: $(tail -3 "$d/log")"
}
BEFORE_DOWN='[ ! -s "$WALFERRY_DEMO/haproxy/pid" ] || kill "$(cat "$WALFERRY_DEMO/haproxy/pid")"'
data_directory="select setting from pg_settings where name = 'data_directory'"

start_pool
expect 30 level
step "who is who, for GET and HEAD"
expect 10 'is 2 "/standby?lag=3s" 200'
is 1 /primary 200 && is 2 /primary 503 && is 1 /standby 503 && is 2 /standby 200 || fail "the wrong word"
is 2 /standby?lag=soon 400 || fail "lag=soon is no duration"
is 2 /standby?lag=0ms 503 || fail "no standby is level to the millisecond"
for n in 1 2; do
    [ "$(active $n '[.site, .member, .epoch, .certain, .told_by] | map(tostring) | join(" ")')" = "dc1 dc1-a 1 true dc$n-a" ] || fail "member $n: $(get $n /active)"
done
[ "$(active 2 .endpoint)" = "127.0.0.1:5432" ] || fail "endpoint: $(active 2 .endpoint)"

step "clients through HAProxy: writers at the primary, readers at the standby"
start_haproxy
expect 10 '[ "$(where_is "$(read_ "$data_directory")")" = dc2 ]'
[ "$(where_is "$(write "$data_directory")")" = dc1 ] || fail "writers are not at dc1"
write "create table t (n int); insert into t values (1)" | grep . && fail "no write"
expect 10 '[ "$(read_ "select count(*) from t")" = 1 ]'

step "a standby that is late gets no readers, until it has caught up"
sql2 "select pg_wal_replay_pause()" >/dev/null
write "insert into t values (2)"
expect 15 '[ "$(code 2 "/standby?lag=3s")" = 503 ] && [ "$(where_is "$(read_ "$data_directory")")" = nowhere ]'
is 2 /standby 200 || fail "who asks for no limit gets none"
sql2 "select pg_wal_replay_resume()" >/dev/null
expect 15 '[ "$(read_ "select count(*) from t")" = 2 ]'

step "the line is cut: each side says that it does not see the other, none guesses"
demo cut
expect 10 '[ "$(active 1 .peer_seen)" = false ] && [ "$(active 2 .peer_seen)" = false ]'
is 1 /primary 200 && is 2 /primary 503 || fail "a cut moved the writers"
get 1 /primary | grep -q 'dc2-a was not seen for .*cannot be known here' || fail "the primary does not say so: $(get 1 /primary)"
active 2 .how | grep -q 'knew last.*dc1-a was not seen for' || fail "the standby does not say so: $(active 2 .how)"
for n in 1 2; do [ "$(active $n .certain)" = false ] || fail "member $n is certain"; done
write "insert into t values (3)" | grep . && fail "a cut stops the writers"
demo heal
expect 20 '[ "$(active 1 .certain)" = true ] && [ "$(active 2 .certain)" = true ]'
expect 20 level

step "the primary's site is gone: writers follow the failover"
kill_agent 1
kill_postgres 1
expect 10 'write "select 1" | grep -qv "^1$"'
walferry 2 failover --yes </dev/null >"/tmp/wf-$$.out" 2>&1 || fail "failover: $(cat "/tmp/wf-$$.out")"
rm -f "/tmp/wf-$$.out"
begun=$SECONDS
expect 10 '[ -z "$(write "insert into t values (4)")" ]'
[ -z "${VERBOSE:-}" ] || echo "# writers are back $((SECONDS - begun)) s after the failover"
[ "$(where_is "$(write "$data_directory")")" = dc2 ] || fail "writers are not at dc2"
[ "$(write "select count(distinct n) from t")" = 4 ] || fail "rows are missing"
is 2 /primary 200 && is 2 /standby 503 || fail "dc2-a does not say that it is the primary"
[ "$(active 2 '[.site, .member, .epoch, .certain] | map(tostring) | join(" ")')" = "dc2 dc2-a 2 false" ] || fail "$(get 2 /active)"

step "the former primary comes back and hears of it: it gets no writers"
pg1 start
start_agent 1
for ((i = 0; i < 300; i++)); do
    [ "$(code 1 /primary)" != 200 ] || fail "it takes writers: $(get 1 /primary)"
    [ "$(field 1 .role)" != fenced ] || break
done
[ $i -lt 300 ] || fail "it has not heard of the failover"
is 1 /primary 503 && is 1 /standby 503 && is 1 /healthz 503 || fail "a fenced member takes clients"
[ "$(active 1 .member)" = dc2-a ] || fail "$(get 1 /active)"
for _ in 1 2 3 4 5 6; do [ "$(where_is "$(write "$data_directory")")" = dc2 ] || fail "a writer came to the fenced member"; done
pass

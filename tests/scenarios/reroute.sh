#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The head of the far site dies under load, its agent alone and then its whole host: the primary feeds the other member
# there, and what it sends begins where that one's spool ends. Counted on the line between the sites.
. "$(dirname "$0")/lib.sh"
OUT=/tmp/wf-$$
BEFORE_DOWN='rm -f "$OUT".*; [ -z "${LOAD_PID:-}" ] || kill "$LOAD_PID" 2>/dev/null'
SEGMENT=$((1 << 20))
fed_by() { [ "$(field "$1" '.receiving | .state + " " + .from')" = "up $2" ]; } # N MEMBER
wan() { "$ROOT/conf/demo.sh" bytes | awk -v to="$1" '$1 == "dc1-a" && $2 == to { print $3 }'; } # MEMBER
bytes() { local lsn=${1:-none}; echo $((16#${lsn%/*} << 32 | 16#${lsn#*/})); } # LSN
spooled() { bytes "$(field "$1" .spool.flushed)"; } # N

# Who had WAL from HEAD has it from the primary. What may come twice: the segment in which the spool ends, to be
# compared, and what the head passed on after the spool was looked at.
loses_head() { # HEAD N agent|host
    local head=$1 n=$2 member=$(its "$2" MEMBER) had sent began took new
    expect 60 "fed_by $n $(its $head MEMBER)"
    load 100 -R 40 -f "$OUT.sql"
    sleep 0.$((RANDOM % 9 + 1)) # the moment is what is random here
    sent=$(wan "$member")
    had=$(spooled $n)
    began=$(date +%s%N)
    if [ "$3" = agent ]; then kill_agent $head; else demo kill "$(its $head MEMBER)"; fi
    expect 40 "fed_by $n dc1-a"
    took=$((($(date +%s%N) - began) / 1000000))
    expect 60 "[ \$(spooled $n) -gt $((had + 8 * SEGMENT)) ]"
    sql1 "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgbench'" >/dev/null
    end_load
    expect 60 "level $n"
    expect 20 "[ \"\$(field $n .receiving.flushed.behind_bytes)\" = 0 ]"
    new=$(($(spooled $n) - had)) sent=$(($(wan "$member") - sent))
    echo "# $3: fed by the primary after $took ms; to $member $sent bytes for $new of WAL that it had not"
    [ $sent -le $((new + new / 10 + 2 * SEGMENT)) ] || fail "$sent bytes went to $member for $new of WAL that it had not"
    same_segments $n
}

export DEMO_SEGMENT_MB=1 DEMO_CONF="min_wal_size = 256MB
max_wal_size = 1GB"
DEMO_POOL_CONF="compression = none${POOL_CONF:+
$POOL_CONF}" start_pool --members 4
sql1 "create table t (n int, x text)" >/dev/null
echo "insert into t select n, md5(random()::text) from generate_series(1, 500) n" >"$OUT.sql"
chmod 644 "$OUT.sql"
for n in 2 3 4; do expect 60 "level $n"; done

step "the head's agent is killed: the primary feeds dc2-b"
loses_head 2 4 agent

step "it is back, and fed by the new head: next to nothing goes to it over the WAN"
sent=$(wan dc2-a)
start_agent 2
expect 60 'fed_by 2 dc2-b'
expect 60 'level 2'
[ $(($(wan dc2-a) - sent)) -lt $((2 * SEGMENT)) ] || fail "$(($(wan dc2-a) - sent)) bytes went to dc2-a"

step "the new head's host is gone: the primary feeds dc2-a"
loses_head 4 2 host
for n in 2 3; do same_rows $n; done
pass

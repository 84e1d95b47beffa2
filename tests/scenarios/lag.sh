#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The lag figures never lie: compared with the truth from both servers, on both sides; idle, busy,
# after pg_switch_wal, with synchronous_commit = off, with replay paused, on a slow line, cut, and
# with each agent killed meanwhile. What is not known is told as unknown.
#
# The truth is a table: one session inserts some twenty rows a second, each with the clock and the
# WAL position before its own commit, so also after the commit of the row before it.
. "$(dirname "$0")/lib.sh"
NEAR=1 # seconds: a beacon and a sample are some tenths of one old; the rest is for a busy machine
long && seconds=20 || seconds=3

now() { date +%s.%N; }
calc() { awk "BEGIN { exit !($1) }"; }

begin_truth() {
    printf '%s\n' 'insert into truth default values;' '\sleep 50 ms' >"/tmp/wf-$$.truth"
    chmod 644 "/tmp/wf-$$.truth"
    as "$PGBIN/pgbench" -n -c 1 -T 600 -f "/tmp/wf-$$.truth" "$DC1_PG dbname=postgres" >/dev/null 2>&1 &
    TRUTH_PID=$!
}
stop_clients() { sql1 "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgbench'" >/dev/null; }
end_truth() { stop_clients; wait $TRUTH_PID 2>/dev/null; rm -f "/tmp/wf-$$.truth"; }

# What a figure may be, in terms of the rows on the primary. Of a position that says "as of T":
#   every commit before T lies before its LSN (rows inserted later than T do not count, and of the
#   newest one before T only the row before it had committed by its time);
#   T and the seconds behind are the same at a moment while it was asked, to half a second;
#   it is not ahead of what the servers say a moment later;
#   the bytes behind are those from there to where the primary stands, or stood up to 2.5 s ago: a side
#   that has not heard of it for 2 s tells no bytes at all.
# One line of words for each that is not so.
truth_functions() {
    sql1 "create table truth (at timestamptz primary key default clock_timestamp(),
            lsn pg_lsn default pg_current_wal_insert_lsn());
        create function lies(told jsonb, began timestamptz, asked timestamptz, spooled pg_lsn, replayed pg_lsn) returns setof text
        language sql as \$\$
        with side as (
            select case when told->>'role' = 'primary' then told->'links'->0 else told->'receiving' end as link
        ), position as (
            select name, (link->name->>'lsn')::pg_lsn as lsn, (link->name->>'as_of')::timestamptz as as_of,
                   (link->name->>'lag_seconds')::float8 as lag, (link->name->>'behind_bytes')::bigint as behind,
                   case name when 'applied' then replayed else spooled end as really,
                   (select max(lsn) from truth where at < began - interval '2.5 s') as stood,
                   (select lsn from truth where at <= as_of order by at desc offset 1 limit 1) as due
            from side, unnest(array['received', 'flushed', 'applied']) as name, lateral
                 (select (link->name->>'as_of')::timestamptz as as_of) t
        )
        select name || ': a commit before ' || as_of || ' lies at ' || due || ', it has only ' || lsn
            from position where lsn <= due
        union all
        select name || ': as of ' || as_of || ', and ' || lag || ' s behind at ' || asked
            from position where lag not between extract(epoch from began - as_of) - 0.5 and extract(epoch from asked - as_of) + 0.5
        union all
        select name || ': told ' || lsn || ', really ' || really from position where lsn > really
        union all
        select name || ': told ' || behind || ' bytes behind with ' || lsn || '; the primary stands at ' ||
               pg_current_wal_insert_lsn() || ', and stood at ' || coalesce(stood::text, '-')
            from position
            where behind > greatest(pg_current_wal_insert_lsn() - lsn, 0) or behind < greatest(stood - lsn, 0)
        union all
        select 'exposure ' || (told->>'exposure_seconds') || ' s, and flushed ' || lag || ' s behind'
            from position where name = 'flushed' and abs((told->>'exposure_seconds')::float8 - lag) > 0.001
        \$\$" | grep . && fail "the functions are not there"
}

# The end of the newest segment file in the standby's spool, as an LSN.
spooled() {
    local file size segment=$((16 << 20)) name
    file=$(ls "$DC2_SPOOL" | grep -E '^[0-9A-F]{24}(\.partial)?$' | sort | tail -1)
    size=$(stat -c %s "$DC2_SPOOL/$file")
    name=${file%.partial}
    printf '%X/%X' $((16#${name:8:8})) $((16#${name:16:8} * segment + size))
}

# Both sides once: TOLD1, TOLD2, between BEGAN1 and ASKED1, BEGAN2 and ASKED2.
look() {
    BEGAN1=$(now) TOLD1=$(status 1) ASKED1=$(now)
    BEGAN2=$(now) TOLD2=$(status 2) ASKED2=$(now)
}
honest() {
    local n told began asked replayed lies at
    look
    replayed=$(sql2 "select pg_last_wal_replay_lsn()")
    at=$(spooled)
    for n in 1 2; do
        eval "told=\$TOLD$n began=\$BEGAN$n asked=\$ASKED$n"
        lies=$(sql1 "select * from lies('${told//\'/\'\'}', to_timestamp($began), to_timestamp($asked), '$at', '$replayed')") || fail "$lies"
        [ -z "$lies" ] || fail "member $n lies: $lies"
    done
}

# What both sides tell, and whether each of it is known and below a bound.
figures() { # FIELD ... of TOLD1 and TOLD2: "member field value"
    local n told
    for n in 1 2; do
        eval "told=\$TOLD$n"
        printf '%s' "$told" | jq -r --arg n $n --arg fields "$*" '
            (if .role == "primary" then .links[0] else .receiving end) as $link | .exposure_seconds as $exposure |
            $fields | split(" ")[] | . as $f |
            "\($n) \($f) \(if $f == "exposure" then $exposure else $link[$f].lag_seconds end)"'
    done
}
below() { # BOUND FIELD ...
    local bound=$1
    shift
    figures "$@" | awk -v bound="$bound" '$3 == "null" || $3 + 0 >= bound { print; bad = 1 } END { exit bad }'
}
stays_near() { # SECONDS FIELD ...
    local until=$((SECONDS + $1)) far
    shift
    while [ $SECONDS -lt $until ]; do
        honest
        far=$(below $NEAR "$@") || fail "not near 0: $far"
    done
}
comes_near() { # SECONDS: from where it is, the truth all the way
    local until=$((SECONDS + $1)) far=
    honest
    until far=$(below $NEAR exposure received flushed applied); do
        [ $SECONDS -lt $until ] || fail "not near 0 within $1 s: $far"
        honest
    done
}
all="exposure received flushed applied"

# Since the line was cut at $CUT, on both sides exposure has grown by a second per second: the newest
# beacon that was acknowledged is some tenths of a second older than the cut, no more than NEAR.
grows() { # SECONDS
    local until=$((SECONDS + $1)) n began asked figure
    while :; do
        look
        for n in 1 2; do
            eval "began=\$BEGAN$n asked=\$ASKED$n"
            figure=$(figures exposure | awk -v n=$n '$1 == n { print $3 }')
            [ "$figure" != null ] && [ -n "$figure" ] || fail "member $n: exposure is '$figure'"
            calc "$figure > $began - $CUT - 0.3 && $figure < $asked - $CUT_BEFORE + $NEAR" ||
                fail "member $n: exposure is $figure s, $(awk "BEGIN { print $asked - $CUT }") s after the cut"
        done
        [ $SECONDS -lt $until ] || break
    done
}
cut_line() { CUT_BEFORE=$(now); demo cut; CUT=$(now); }
comes_back() { expect 15 "[ \"\$(field $1 .role)\" = $2 ]"; } # N ROLE

start_pool
fill 2
truth_functions
expect 30 level

step "an idle primary: near 0 though nothing is written"
comes_near 10
stays_near $seconds $all

step "after pg_switch_wal on an idle primary"
sql1 "select pg_switch_wal()" >/dev/null
expect 5 '[ "$(field 1 .links[0].applied.behind_bytes)" = 0 ]'
expect 5 '[ "$(field 2 .receiving.applied.behind_bytes)" = 0 ]'
stays_near 2 $all

step "a busy primary"
begin_truth
load 600
comes_near 10
stays_near $seconds $all

step "a busy primary with synchronous_commit = off"
sql1 "alter system set synchronous_commit = off" >/dev/null
sql1 "select pg_reload_conf()" >/dev/null
expect 5 '[ "$(sql1 "show synchronous_commit")" = off ]'
stays_near $seconds $all
sql1 "alter system reset synchronous_commit" >/dev/null
sql1 "select pg_reload_conf()" >/dev/null

step "replay is paused on the standby: what is applied falls behind, nothing else"
pausing=$(now)
sql2 "select pg_wal_replay_pause()" >/dev/null
expect 10 '[ "$(sql2 "select pg_get_wal_replay_pause_state()")" = paused ]'
paused=$(now)
stays_near 3 exposure received flushed
for n in 1 2; do
    eval "began=\$BEGAN$n asked=\$ASKED$n"
    lag=$(figures applied | awk -v n=$n '$1 == n { print $3 }')
    calc "$lag > $began - $paused - 0.1 && $lag < $asked - $pausing + $NEAR" || fail "member $n: applied is $lag s behind"
done
sql2 "select pg_wal_replay_resume()" >/dev/null
comes_near 20

step "the line is cut under load"
cut_line
grows 2
honest
demo heal
comes_near 30

step "the line is slow: the truth while the backlog grows and goes"
demo wan 20 0.3
honest; honest
expect 15 'look; ! below 2 flushed'
honest
stop_clients
end_truth
end_load
honest
demo wan 0
comes_near 30

step "the line is cut, the primary idle"
expect 20 level
stays_near 1 $all
cut_line
grows 6
step "the primary's agent is killed meanwhile"
kill_agent 1
start_agent 1
comes_back 1 primary
grows 2
step "the standby's agent is killed meanwhile"
kill_agent 2
start_agent 2
comes_back 2 standby
grows 1
below 600 $all >"/tmp/wf-$$.out" || fail "unknown since a restart: $(cat "/tmp/wf-$$.out")"
rm -f "/tmp/wf-$$.out"
step "what is not known is not told as 0"
[ "$(printf '%s' "$TOLD2" | jq -c '[.receiving | .primary, .received.behind_bytes, .flushed.behind_bytes, .round_trip_seconds]')" = '[null,null,null,null]' ] ||
    fail "the standby's agent has not heard the primary: $TOLD2"
kill_agent 1
rm -f "$WALFERRY_DEMO/dc1/spool/lag"
start_agent 1
comes_back 1 primary
[ "$(field 1 '[.exposure_seconds, .links[0].flushed.lag_seconds, .links[0].flushed.lsn, .links[0].flushed.behind_bytes] | map(. == null) | all')" = true ] ||
    fail "nothing was acknowledged in this life: $(status 1)"
walferry 1 status | grep -q '^exposure: unknown' || fail "status does not say unknown"
step "the line heals"
demo heal
comes_near 30
stays_near 1 $all

step "the primary's PostgreSQL stops and starts"
pg1 -m fast stop || fail "the primary does not stop"
expect 10 '[ "$(field 1 .postgres.state)" = down ]'
expect 15 'look; ! below 3 exposure'
for n in 1 2; do
    eval "told=\$TOLD$n"
    [ "$(printf '%s' "$told" | jq '(.links[0] // .receiving) | .flushed.behind_bytes')" = null ] || fail "member $n knows where the primary stands: $told"
done
[ -n "$(field 1 '.postgres.reason // ""')" ] || fail "the primary gives no reason"
[ -n "$(field 2 '.receiving.reason // ""')" ] || fail "the standby gives no reason"
pg1 start || fail "the primary does not start"
comes_near 20

step "what was committed but not flushed is not covered"
sql1 "alter system set wal_writer_delay = '10s'" >/dev/null
sql1 "select pg_reload_conf()" >/dev/null
expect 5 '[ "$(sql1 "show wal_writer_delay")" = 10s ]'
expect 15 level
sql1 "set synchronous_commit = off; insert into pgbench_history select 1, 1, 1, 1, now()" >/dev/null
honest
expect 5 'look; ! below 1.5 exposure'
step "a crash takes WAL back that a beacon has told of: near 0 again, though nothing is written after it"
as "$PGBIN/psql" -Xq "$DC1_PG dbname=postgres" -c "begin; insert into pgbench_history select 1, 1, 1, 1, now() from generate_series(1, 5000); select pg_sleep(60)" >/dev/null 2>&1 &
expect 5 '[ "$(sql1 "select pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn() > 100000")" = t ]'
expect 5 '[ "$(field 1 ".postgres.insert == .links[0].flushed.lsn")" = false ]'
kill_postgres 1
pg1 start -o "-c wal_writer_delay=200ms" || fail "the primary does not start"
expect 20 'look; below $NEAR $all'
honest
same_rows
pass

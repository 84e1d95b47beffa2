#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Rejoin: a former primary comes back. What it alone had is kept and listed, exactly; killed at
# every step it goes on; in the end both sides are the same.
export DEMO_CONF='max_prepared_transactions = 10
track_commit_timestamp = on
autovacuum = off'
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
long && scale=140 || scale=3

DEMO_POOL_CONF="$POOL_CONF
feedback_keep = 4s" start_pool
prepare_pool
fill $scale
expect 60 level

next_segment() { # N: the name of the present one, which is ended
    sql "$1" "select pg_walfile_name(pg_current_wal_lsn())"
    sql "$1" "select pg_switch_wal(); checkpoint" >/dev/null
}

step "the line is cut under load; dc2 is promoted, dc1 goes on for a while"
load 600
sleep 1 # that it has begun
demo cut
lose_transactions 1
failover 2
stop_load
expected 1 2
step "right after the promotion: rejoin"
demo heal
load2 600 # the new primary is not left idle
expect 20 '[ "$(field 1 .epoch.number)" = 2 ]'
rejoin 1 --dry-run || fail "dry run: $(cat "$OUT")"
[ "$(sql1 "select pg_is_in_recovery()")" = f ] || fail "the dry run stopped it"
as ln -s /etc/passwd "$DC1_PGDATA/elsewhere.conf"
rejoin 1 --dry-run && fail "a link is taken"
told "elsewhere.conf is a link"
as rm "$DC1_PGDATA/elsewhere.conf"
rejoin 1 && fail "it does not ask"
before=$(date +%s)
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
told "lost: exactly"
step "$(tail -1 "$OUT")"
stop_load
step "the lost transactions are exactly the listed ones: xid, time, table, rows"
listed 1
follows 1
same_sides 2 1
step "both sides tell of the same losses"
walferry 2 lost | grep -q "known then: at most" || fail "the new primary has no receipt"
[ "$(walferry 1 lost --json | jq -c '.[0].listed | length')" = "$(wc -l <"$WALFERRY_DEMO/xids")" ] || fail "another number is listed"
walferry 2 lost --json 2>/dev/null >"$WALFERRY_DEMO/lost.json"
jq -e ".[0] | .transactions == $(wc -l <"$WALFERRY_DEMO/xids") and .list_member == \"dc1-a\"" "$WALFERRY_DEMO/lost.json" >/dev/null &&
    [ -s "$(jq -r '.[0].list_file' "$WALFERRY_DEMO/lost.json")" ] || fail "dc2 does not say where the long list is: $(cat "$WALFERRY_DEMO/lost.json")"

step "the feedback of a standby that is away is withdrawn, at once, on any timeline"
feedback_is() { [ "$(sql2 "select xmin is not null from pg_replication_slots where slot_name = 'walferry_dc1_a'")" = $1 ]; }
expect 30 "feedback_is t"
kill_agent 1
expect 30 "feedback_is f"
[ "$(grep -c "it holds back vacuum no longer" "$WALFERRY_DEMO/dc2/agent.log")" = 1 ] || fail "not withdrawn at once"
start_agent 1
expect 30 level2

step "WAL that is only on the primary is fetched from there"
segment=$(sql2 "select pg_walfile_name(pg_current_wal_lsn())")
[ ! -e "$DC1_SPOOL/$segment" ] || fail "the spool has it"
walferry 1 fetch --from dc2-a "$segment" "$DC1_SPOOL/../fetched" || fail "fetch --from"
as cmp -n 8192 "$DC1_SPOOL/../fetched" "$DC2_PGDATA/pg_wal/$segment" || fail "other bytes are fetched"
! walferry 1 fetch --from dc2-a 0000000F0000000000000001 "$DC1_SPOOL/../fetched" || fail "what is nowhere is fetched"
step "back: dc1 is promoted, dc2 crashes; its rejoin is killed at every step"
sql2 "create table marks (n int)" >/dev/null
load2 600
expect 20 'level2'
demo cut
lose_transactions 2
sql2 "insert into marks select generate_series(1, 5)" >/dev/null
promoted=$(date +%s)
failover 1
kill_postgres 2
stop_load
[ "$(field 1 ".exposure_seconds == null or .exposure_seconds < $(($(date +%s) - promoted + 2))")" = true ] ||
    fail "exposure is that of two epochs ago: $(field 1 .exposure_seconds) s"
demo heal
expect 20 '[ "$(field 2 .epoch.number)" = 3 ]'
n=2 # the first save begins it, each of the others ends a step
for place in stop:0 keep:1 list:2 recover:3 rewinding:4 rewind:4 follow:5 start:6; do
    step "killed at: $place"
    case ${place%:*} in
    rewinding) killed_rejoin 2 KILL_TOOL=pg_rewind ;;
    *) killed_rejoin 2 KILL_FILE=rejoin.job KILL_AT=$n ;;
    esac
    [ $? = 137 ] || fail "it is not killed: $(cat "$OUT")"
    [ "$(jq .step "$DC2_SPOOL/rejoin.job")" = ${place##*:} ] || fail "killed at another step: $(cat "$OUT")"
    n=2
    case ${place%:*} in
    stop | keep | list | recover | rewinding | rewind) ! pg2 -t 5 start || fail "a server starts that is being rejoined" ;;
    esac
    case ${place%:*} in
    keep) # the DBA gives it up for a while
        as chmod o-x "$DC2_PGDATA"
        pg2 start || fail "it does not start"
        sql2 "insert into marks values (6)" >/dev/null
        kill_postgres 2
        n=4 ;; # begun anew: begin, stop, keep again
    rewinding) n=1 ;;
    esac
done
rejoin 2 --yes || fail "rejoin: $(cat "$OUT")"
follows 2
[ "$(sql1 "select count(*) from pg_tables where tablename = 'marks'")" = 1 ] || fail "marks is gone"
walferry 2 lost --json >"$WALFERRY_DEMO/lost.json"
[ "$(jq '[.[1].listed[] | select(.tables[].table == "postgres.public.marks")] | length' "$WALFERRY_DEMO/lost.json")" = 2 ] ||
    fail "marks is not listed: $(cat "$WALFERRY_DEMO/lost.json" | head -50)"
same_sides 1 2
step "nothing to do any more"
rejoin 2 --yes && fail "it rejoins who has not parted"
told "has not parted"
step "what was kept is removed when its time is over"
old=$(ls -d "$DC2_SPOOL"/escrow/*) && [ -d "$DC1_SPOOL/escrow" ] || fail "nothing is kept"
as touch -d '31 days ago' "$old"
kill_agent 1
kill_agent 2
start_agent 1
start_agent 2
expect 20 '[ ! -e "$old" ]'
[ -n "$(ls "$DC1_SPOOL/escrow")" ] || fail "what is young is removed, too"

start_pool
prepare_pool
fill 1
expect 30 level
step "the primary's PostgreSQL dies and its agent ships the rest: nothing parted"
kill_postgres 1
walferry 2 failover --yes </dev/null >"$OUT" 2>&1 || fail "failover: $(cat "$OUT")"
told "loss: none"
expect 20 '[ "$(field 1 .epoch.number)" = 2 ]'
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
told "nothing parted"
told "exactly 0 transactions"
follows 1
[ "$(sql1 "select count(*) from pg_replication_slots")" = 0 ] || fail "the slots of the former primary keep WAL"
same_sides 2 1
step "a data directory that cannot be rewound: a new copy instead"
demo cut
lose_transactions 2
segment=$(next_segment 2)
failover 1
demo heal
expect 20 '[ "$(field 2 .epoch.number)" = 3 ]'
pg2 -m fast stop
step "... the disk guard has taken the WAL of the fork out of it"
as mkdir -p "$DC2_SPOOL/outbox"
as mv "$DC2_PGDATA/pg_wal/$segment" "$DC2_SPOOL/outbox" || fail "no $segment"
as "$PGBIN/pg_checksums" --disable -D "$DC2_PGDATA" >/dev/null || fail "pg_checksums"
rejoin 2 --yes || fail "rejoin: $(cat "$OUT")"
told "neither data checksums nor wal_log_hints; a new copy is made instead\|cannot be rewound; a new copy is made instead"
told "lost: exactly 4 transactions"
follows 2
as cmp "$DC2_SPOOL"/escrow/*/"$segment" "$DC2_SPOOL/outbox/$segment" || fail "it is not kept"
same_sides 1 2
step "once more, on a member that has rejoined before, its configuration in the data directory"
for file in postgresql.conf pg_hba.conf pg_ident.conf; do as cp "$WALFERRY_DEMO/dc1/etc/$file" "$DC1_PGDATA"; done
as sh -c 'echo "max_connections = 90 # its own" >>"$1/postgresql.conf"; sed -i "/_file = /d" "$1/postgresql.conf"' sh "$DC1_PGDATA"
sum=$(cksum <"$DC1_PGDATA/postgresql.conf")
demo cut
lose_transactions 1
pg1 -m fast stop
as "$PGBIN/pg_ctl" -D "$DC1_PGDATA" -l "$WALFERRY_DEMO/dc1/postgres.log" -w start >/dev/null 2>&1 || fail "it does not start there"
failover 2
kill_postgres 1
demo heal
expect 20 '[ "$(field 1 .epoch.number)" = 4 ]'
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
follows 1
[ "$(cksum <"$DC1_PGDATA/postgresql.conf")" = "$sum" ] || fail "its configuration is another one"
! grep -q escrow "$DC1_PGDATA/postgresql.auto.conf" || fail "what only the rewind was to read is left"
same_sides 2 1
step "a standby that was promoted by hand"
sql1 "select pg_promote()" >/dev/null
sql1 "insert into one values (5, 'by hand')" >/dev/null
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
told "lost: exactly 1 transaction;"
follows 1
same_sides 2 1
step "its WAL is nowhere: at least what is left is listed, and a new copy is made when the rewind fails"
sql1 "select pg_promote()" >/dev/null
sql1 "insert into one values (6, 'by hand')" >/dev/null
segment=$(next_segment 1)
sql1 "insert into one values (7, 'by hand')" >/dev/null
pg1 -m fast stop
as rm -f "$DC1_PGDATA/pg_wal/$segment"
rejoin 1 --yes && fail "it is rewound without its WAL"
told "lost: at least 1 transaction:"
told "walferry rejoin --replace makes a new copy"
walferry 1 lost | grep -q "at least: 1 transaction" || fail "it is not told: $(walferry 1 lost)"
! pg1 -t 5 start || fail "it starts before it is done"
REPLACE=--replace killed_rejoin 1 KILL_FILE="$(basename "$DC1_PGDATA")" KILL_AT=1 # in the swap
[ $? = 137 ] && [ ! -e "$DC1_PGDATA" ] || fail "it is not killed there: $(cat "$OUT")"
REPLACE=--replace killed_rejoin 1 KILL_FILE=rejoin.job KILL_AT=1 # when the copy is done
[ $? = 137 ] && [ "$(jq .step "$DC1_SPOOL/rejoin.job")" = 6 ] && [ ! -e "$DC1_SPOOL/seed.job" ] || fail "it is not killed there: $(cat "$OUT")"
copy=$(as stat -c %i "$DC1_PGDATA")
rejoin 1 --replace --yes || fail "rejoin: $(cat "$OUT")"
[ "$(as stat -c %i "$DC1_PGDATA")" = "$copy" ] || fail "a second copy was made"
follows 1
! grep -q 1000TB "$DC1_PGDATA/postgresql.auto.conf" || fail "what only the rewind was to read is left"
[ "$(cksum <"$DC1_PGDATA/postgresql.conf")" = "$sum" ] || fail "its configuration is another one"
same_sides 2 1
pass

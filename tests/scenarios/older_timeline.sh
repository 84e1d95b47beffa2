#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A standby is restored by hand from a backup of timeline 1; the primary has gone over to timeline 2, and the fresh
# spool has only that timeline's file of the segment in which the switch lies. The standby needs that segment's first
# bytes, of timeline 1: it gets them from there, as from a walsender, before the segment is full.
. "$(dirname "$0")/lib.sh"

start_pool
fill 1
step "a backup, with its own WAL; then the primary goes over to timeline 2 in the next segment"
as "$PGBIN/pg_basebackup" -d "$DC1_PG" -D "$WALFERRY_DEMO/backup" -X stream -c fast >/dev/null 2>&1 || fail "pg_basebackup"
pg2 -m immediate stop
kill_agent 2 TERM
kill_agent 1 TERM
sql1 "select pg_drop_replication_slot('walferry_dc2_a')" >/dev/null
sql1 "create table last_of_1 as select 1 as n" >/dev/null
pg1 -m fast stop
as touch "$DC1_PGDATA/standby.signal"
pg1 start
pg1 promote || fail "pg_ctl promote"
expect 10 '[ "$(sql1 "select pg_is_in_recovery()")" = f ]'
sql1 "create table first_of_2 as select 2 as n; checkpoint" >/dev/null
fork=$(cut -f 2 "$DC1_PGDATA/pg_wal/00000002.history")
segment=$(sql1 "select substr(pg_walfile_name('$fork'), 9)")

step "a fresh spool comes up before the restored standby"
as sh -c 'rm -rf "$1"/* "$2"/* && cp -a "$3"/. "$1" && touch "$1/standby.signal"' sh "$DC2_PGDATA" "$DC2_SPOOL" "$WALFERRY_DEMO/backup"
start_agent 1
start_agent 2
expect 20 '[ "$(field 2 .receiving.flushed.behind_bytes)" = 0 ]'
[ -e "$DC2_SPOOL/00000002$segment.partial" ] && ! ls "$DC2_SPOOL"/00000001* >/dev/null 2>&1 ||
    fail "the spool does not begin with timeline 2's file of segment $segment: $(ls "$DC2_SPOOL")"

step "the standby follows over the switch"
pg2 start || fail "the restored standby does not start"
same_rows
[ -e "$DC2_SPOOL/00000002$segment.partial" ] || fail "segment $segment is full: it shows nothing"
[ "$(sql2 "select n from last_of_1") $(sql2 "select n from first_of_2")" = "1 2" ] || fail "rows are missing"
pass

#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The list of losses: a commit of megabytes that goes on in the first file of another timeline, large objects, what
# was prepared and waits; receipts of one epoch stay beside each other.
export DEMO_SEGMENT_MB=1 DEMO_CONF='max_prepared_transactions = 10
max_locks_per_transaction = 256
archive_mode = on
archive_command = true
wal_keep_size = 64MB
autovacuum = off'
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
lost() { walferry 1 lost --json >"$WALFERRY_DEMO/lost.json" 2>/dev/null && jq -e "$1" "$WALFERRY_DEMO/lost.json" >/dev/null; }

start_pool
prepare_pool
sql1 "do \$\$ begin for n in 1..1500 loop execute format('create table many_%s (n int primary key, t text)', n); end loop; end \$\$" >/dev/null
sql1 "begin; insert into one values (11, 'known to both'); prepare transaction 'before'" >/dev/null
expect 60 level
step "the line is cut, dc2 is promoted, dc1 goes on"
demo cut
failover 2
sql1 "begin; insert into one values (12, 'waits'); savepoint s; insert into two values (12); prepare transaction 'it''s: waiting'" >/dev/null
sql1 "begin; insert into one values (13, 'given up'); prepare transaction 'never'" >/dev/null
sql1 "rollback prepared 'never'" >/dev/null
sql1 "select lo_from_bytea(4711, convert_to(repeat('large', 1000), 'UTF8'))" >/dev/null
sql1 "do \$\$ begin for n in 1..1500 loop execute format('drop table many_%s', n); end loop; end \$\$" >/dev/null
segment=$(sql1 "select pg_walfile_name(pg_current_wal_lsn())")
demo heal
expect 20 '[ "$(field 1 .epoch.number)" = 2 ]'
demo cut
step "... and on a timeline of its own, which begins in the file that the long commit ends in"
pg1 -m immediate stop # a clean stop would end the file
as touch "$DC1_PGDATA/standby.signal"
pg1 -o "-c restore_command= -c primary_conninfo=" start || fail "it does not start" # the history of dc2 may be here
[ "$(sql1 "select pg_promote()")" = t ] || fail "it is not promoted"
sql1 "insert into one values (14, 'on its own timeline')" >/dev/null
[ -e "$DC1_PGDATA/pg_wal/00000002${segment#????????}" ] || fail "its timeline begins elsewhere than in $segment"
demo heal
expect 20 'walferry 1 rejoin --dry-run --yes'
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
told "lost: exactly 3 transactions and 1 prepared"
lost '.[0].tables | map(select(.table | test("^postgres.public.many_[0-9]+$")) | select(.replaced)) | length == 1500' || fail "dropped tables: $(jq '.[0].tables | length' "$WALFERRY_DEMO/lost.json")"
lost '.[0].tables | map(select(.table == "postgres: large objects (pieces of 2 kB)" and .inserted == 3)) | length == 1' || fail "no large object: $(jq -c '.[0].tables[-4:]' "$WALFERRY_DEMO/lost.json")"
lost '[.[0].listed[] | select(.gid) | .gid, (.tables | map(.table + ":" + (.inserted | tostring)) | sort | .[])] == ["it'"'"'s: waiting", "postgres.public.one:1", "postgres.public.two:1"]' || fail "what waits: $(jq -c '.[0].listed[-1]' "$WALFERRY_DEMO/lost.json")"
walferry 1 lost | grep -q "prepared 20.* as 'it's: waiting', its COMMIT PREPARED cannot come" || fail "$(walferry 1 lost | grep -v many_)"
follows 1
same_sides 2 1
step "promoted by hand in the same epoch: one receipt more, in order, the first one stays"
sql1 "select pg_promote()" >/dev/null
sql1 "insert into one values (15, 'by hand')" >/dev/null
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
told "lost: exactly 1 transaction;"
lost '[.[] | [.epoch, .transactions, has("began")]] == [[2, 3, true], [2, 1, false]]' || fail "receipts: $(jq -c '[.[] | [.epoch, .transactions, .began]]' "$WALFERRY_DEMO/lost.json")"
[ "$(as sh -c 'ls "$1"/lost/2-*-*-*.json | wc -l' sh "$DC1_SPOOL")" = 2 ] || fail "$(as ls "$DC1_SPOOL/lost")"
[ -z "$(ls -d "$DC1_SPOOL"/losses.wal 2>/dev/null)" ] || fail "something is left over"
pass

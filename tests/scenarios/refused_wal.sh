#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# WAL that does not continue what the spool holds is refused in words on both sides, and what is held
# stays as it is: another cluster, a fork, a primary restored from an older copy, a hole, a slot that
# was dropped or invalidated, a spool that cannot be written. When the cause is gone, shipping goes on.
. "$(dirname "$0")/lib.sh"

held() { (cd "$DC2_SPOOL" && cksum [0-9A-F]*); } # segments, the growing one too, histories
unchanged() { [ "$(held)" = "$before" ] || fail "the spool has changed: $(diff <(echo "$before") <(held))"; }
quiet() { # all that the primary had is flushed at the other site
    expect 20 '[ "$(field 2 .spool.flushed)" = "$(field 2 .spool.received)" ]'
    before=$(held)
}
both_say() { # REGEX
    said=$1
    expect 20 'field 1 ".links[0].reason, .links[0].source_reason" | grep -qE "$said"'
    expect 20 'field 2 .receiving.reason | grep -qE "$said"'
}
goes_on() {
    expect 30 '[ "$(field 1 ".links[0] | .state, .reason, .source_reason" | tr "\n" " ")" = "up null null " ]'
    sql1 "insert into t select n, 'after $STEP' from generate_series(1, 10) n" >/dev/null
    expect 30 level
    [ "$(field 2 .spool.error)" = null ] || fail "the spool still takes nothing: $(field 2 .spool.error)"
}
rows() { sql1 "insert into t select n, md5(random()::text) from generate_series(1, $1) n" >/dev/null; }
save_wal() { rm -rf "$SAVED"; as cp -a "$DC1_PGDATA/pg_wal" "$SAVED"; } # before it is recycled
put_back() { as cp -an "$SAVED"/???????????????????????? "$DC1_PGDATA/pg_wal/"; }
growing() { basename "$(ls "$DC2_SPOOL"/*.partial)" .partial; }
start_of() { printf '0/%X' $((16#${1:16} * 1048576)); } # SEGMENT
# What the next segment to be sent lies in is removed from the primary.
recycle() {
    local next
    next=$(growing)
    rows 60000
    save_wal
    sql1 "checkpoint" >/dev/null
    [ ! -e "$DC1_PGDATA/pg_wal/$next" ] || fail "$next is still there"
}
# From the segment that the spool needs next to the first that the primary has.
says_what_is_gone() {
    local from to
    from=$(start_of "$(growing)")
    expect 20 'field 1 .links[0].source_reason | grep -q "WAL from .* is gone"'
    to=$(start_of "$(ls "$DC1_PGDATA/pg_wal" | grep -E '^[0-9A-F]{24}$' | head -1)")
    field 1 '.links[0].source_reason' | grep -q "WAL from $from to $to is gone" ||
        fail "not from $from to $to: $(field 1 '.links[0].source_reason')"
    unchanged
}
# What the primary has is flushed at the other site, up to a segment's border, and its agent is dead.
stop_at_border() {
    local i
    for i in 1 2 3 4 5; do
        sql1 "select pg_switch_wal() from pg_logical_emit_message(false, '', 'x')" >/dev/null
        expect 20 '[ "$(field 2 .spool.flushed)" = "$(sql1 "select pg_current_wal_flush_lsn()")" ]'
        kill_agent 1
        border=$(field 2 .spool.flushed)
        before=$(held)
        last=$DC1_PGDATA/pg_wal/$(printf '00000001%016X' $((16#${border#*/} / 1048576 - 1)))
        [[ $border != */*00000 ]] || return 0 # else a word of the server's own came behind it
        start_agent 1
    done
    fail "the spool does not end on a border: $border"
}
lacks_nothing() { [ "$(field 1 '.gaps | length')" = 0 ] || fail "a false gap: $(field 1 .gaps)"; }
pg_down() { pg1 -m fast stop || fail "the primary does not stop"; }
pg_up() { pg1 start || fail "the primary does not start"; }

export DEMO_SEGMENT_MB=1
start_pool
DATA=$DC1_PGDATA SAVED=$WALFERRY_DEMO/saved GOOD=$DC1_PGDATA.good COLD=$DC1_PGDATA.cold
sql1 "create table t (n int, x text)" >/dev/null
rows 20000

step "a cold copy of the primary, then more rows"
expect 30 level
pg_down
as cp -a "$DATA" "$COLD"
pg_up
rows 20000
expect 30 level
pg_down
quiet
as mv "$DATA" "$GOOD"

step "another cluster in the primary's place"
as "$PGBIN/initdb" -D "$DATA" --locale=C.UTF-8 -E UTF8 -A trust --wal-segsize=1 >/dev/null 2>&1 || fail "initdb"
pg_up
sql1 "create role walferry login replication; grant pg_monitor to walferry" >/dev/null
both_say "another database cluster: .*system identifier"
expect 20 'field 1 .alarm | grep -q "another database cluster"'
unchanged
step "its agent has an empty spool, and so does not know better"
kill_agent 1 TERM
as mv "$WALFERRY_DEMO/dc1/spool" "$WALFERRY_DEMO/dc1/spool.good"
as mkdir -m 700 "$WALFERRY_DEMO/dc1/spool"
start_agent 1
both_say "another database cluster: the system identifier of dc1-a is .*, the PostgreSQL of dc2-a has"
unchanged
kill_agent 1 TERM
as rm -rf "$WALFERRY_DEMO/dc1/spool"
as mv "$WALFERRY_DEMO/dc1/spool.good" "$WALFERRY_DEMO/dc1/spool"
step "the agent is not even started on a spool of another cluster"
as timeout 10 "$WALFERRY" agent --config "$CONFIG" --member dc1-a >/tmp/wf-$$.out 2>&1
[ $? = 2 ] && grep -q "belongs to another database cluster" /tmp/wf-$$.out || fail "it starts: $(cat /tmp/wf-$$.out)"
rm -f /tmp/wf-$$.out

step "a timeline that forked before the spool's end"
pg_down
as rm -rf "$DATA"
as cp -a "$COLD" "$DATA"
start_agent 1
as touch "$DATA/standby.signal"
pg_up
as "$PGBIN/pg_ctl" -D "$WALFERRY_DEMO/dc1/etc" -w promote >/dev/null || fail "pg_ctl promote"
both_say "timeline 2 forked from timeline 1 at .*, before .*, up to which this spool has acknowledged WAL"
unchanged

step "the primary restored from the cold copy, and other rows"
pg_down
as rm -rf "$DATA"
as cp -a "$COLD" "$DATA"
pg_up
rows 60000
both_say "other bytes at an acknowledged position: segment .*restored from an older state"
unchanged
step "it is tried again and again, and told once; neither agent works much for it"
lost=$(field 1 '.links[0].connections_lost')
expect 60 '[ "$(field 1 ".links[0].connections_lost")" -gt $lost ]' # the second one: from here on it is known
lost=$(field 1 '.links[0].connections_lost') after=$(date -u '+%F %T.%3N')
mark_cpu
expect 60 '[ "$(field 1 ".links[0].connections_lost")" -ge $((lost + 2)) ]'
calm 8
for n in 1 2; do
    said=$(awk -v after="$after" '$1 " " $2 >= after && /other bytes|takes WAL again| link .*: up/' "$WALFERRY_DEMO/dc$n/agent.log" |
        cut -d ' ' -f 4- | sort | uniq -d)
    [ -z "$said" ] || fail "dc$n says it again and again: $said"
done
[ "$(field 2 .spool.error)" != null ] || fail "the spool's error is forgotten"
unchanged

step "the right primary is back"
pg_down
as rm -rf "$DATA"
as mv "$GOOD" "$DATA"
pg_up
goes_on

step "the primary restored from the cold copy, where the spool ends on a segment's border"
stop_at_border
pg_down
as mv "$DATA" "$GOOD"
as cp -a "$COLD" "$DATA"
pg_up
until [ "$(sql1 "select pg_current_wal_flush_lsn() > '$border'")" = t ]; do rows 20000; done
start_agent 1
both_say "other bytes at an acknowledged position: segment $(basename "$last").*restored from an older state"
unchanged
pg_down
as rm -rf "$DATA"
as mv "$GOOD" "$DATA"
pg_up
goes_on

step "its slot keeps the segment that is compared"
stop_at_border
rows 20000
sql1 checkpoint >/dev/null
[ -e "$last" ] || fail "$last is gone"
step "where it does not, nothing is missing"
as rm "$last"
start_agent 1
goes_on
lacks_nothing
says 1 "has the WAL before $border no longer" || fail "it does not say that nothing was compared"
step "nor when the primary is down and ships what it has left"
stop_at_border
rows 10
pg_down
as rm "$last"
start_agent 1
expect 20 'walferry 1 sync'
pg_up
goes_on
lacks_nothing

step "the slot is dropped while the line is down: it is made anew, nothing is missing"
kill_agent 2 TERM
expect 20 '[ "$(sql1 "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active")" = "" ]'
rows 100
expect 10 '[ "$(sql1 "select restart_lsn is not null from pg_replication_slots where slot_name = '"'walferry_dc2_a'"'")" = t ]'
start_agent 2
goes_on

step "a hole: the slot is dropped while nobody looks, and the WAL is recycled"
kill_agent 1 TERM
quiet
sql1 "select pg_drop_replication_slot('walferry_dc2_a')" >/dev/null
recycle
start_agent 1
says_what_is_gone
expect 10 'field 1 ".links[0].source_reason" | grep -q "make a new copy of dc2-a"'
pg_down # it remembers what it removed
put_back
pg_up
goes_on

step "the slot is invalidated by max_slot_wal_keep_size"
kill_agent 2 TERM
expect 10 '[ "$(sql1 "select active from pg_replication_slots")" = f ]'
before=$(held)
sql1 "alter system set max_slot_wal_keep_size = '1MB'" >/dev/null
sql1 "select pg_reload_conf()" >/dev/null
recycle
# lost, or the agent has looked and dropped it already
expect 5 '[ "$(sql1 "select wal_status from pg_replication_slots")" = lost ] || says 1 "slot walferry_dc2_a was invalidated"'
sql1 "alter system reset max_slot_wal_keep_size" >/dev/null # or a checkpoint may take the next one, too
sql1 "select pg_reload_conf()" >/dev/null
start_agent 2
says_what_is_gone
expect 20 'says 1 "slot walferry_dc2_a was invalidated and keeps nothing any more: dropped"'
step "what it says is done: a new copy of the standby is made"
expect 10 '[ "$(sql1 "select wal_status from pg_replication_slots")" = reserved ]'
says_what_is_gone
pg2 -m immediate stop
kill_agent 2 TERM
as sh -c 'rm -rf "$1"/* "$2"/*' sh "$DC2_PGDATA" "$DC2_SPOOL"
as "$PGBIN/pg_basebackup" -d "$DC1_PG" -D "$DC2_PGDATA" -X stream -c fast >/dev/null 2>&1 || fail "pg_basebackup"
as touch "$DC2_PGDATA/standby.signal"
start_agent 2
pg2 start || fail "the new standby does not start"
goes_on

step "a spool that cannot be written"
as chmod 500 "$DC2_SPOOL"
expect 10 '! as touch "$DC2_SPOOL/x"'
rows 40000
both_say "Permission denied"
field 2 .spool.error | grep -q "Permission denied" || fail "status does not name the spool's error"
acknowledged=$(field 2 .spool.flushed)
expect 20 '[ "$(sql2 "select pg_last_wal_receive_lsn() >= '"'$acknowledged'"'")" = t ]' # still served
[ "$(field 2 .receiving.standby_connected)" = true ] || fail "the standby is let go"
as chmod 700 "$DC2_SPOOL"
goes_on
same_rows
same_segments
pass

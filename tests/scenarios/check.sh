#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# walferry check, as a monitoring system runs it: exit code, one line, perfdata, on both sides.
. "$(dirname "$0")/lib.sh"
check() { walferry "$1" check >"/tmp/wf-$$.check" 2>&1; } # N
is() { # N CODE REGEX
    local code
    check "$1"
    code=$?
    [ $code = "$2" ] && grep -qE "$3" "/tmp/wf-$$.check" && [ "$(wc -l <"/tmp/wf-$$.check")" = 1 ]
}
becomes() { expect 20 "is $1 $2 '$3'"; }

export DEMO_POOL_CONF="$POOL_CONF
disk_warning = 0s
disk_critical = 0s" # others fill this disk
start_pool
expect 30 level
step "all is well, seen from both sides"
common='\| exposure=[0-9.]+s;10;60;0 ship=[0-9.]+s;10;60;0 unshipped=0B;;;0 apply=[0-9.]+s;60;600;0'
disks=' spool_free=[0-9]+B;;;0( spool_full=[0-9]+s;0:;0:;0)? pg_wal_free=[0-9]+B;;;0( pg_wal_full=[0-9]+s;0:;0:;0)?$'
perfdata="$common( slot=[0-9]+B;4294967296;17179869184;0)?$disks"
becomes 1 0 "^WALFERRY OK - pool demo, dc1-a \\(primary\\), exposure [0-9.]+ s $perfdata"
becomes 2 0 "^WALFERRY OK - pool demo, dc2-a \\(standby\\), exposure [0-9.]+ s $perfdata"

step "the standby's PostgreSQL is down"
pg2 -m fast stop
becomes 2 1 "^WALFERRY WARNING - .*PostgreSQL here is (down|stopping)"
pg2 start
becomes 2 0 "WALFERRY OK"

step "limits come from the pool's file, as it is now; the line is cut"
as sed -i 's/^home = .*/&\nexposure_warning = 3s\nexposure_critical = 8s/' "$CONFIG"
demo cut
becomes 1 1 "WARNING - .*exposure is [3-7]\\.[0-9] s \\(limit 3\\.?0? s\\)"
for n in 1 2; do becomes $n 2 "CRITICAL - .*exposure is [0-9.]+ s \\(limit 8\\.?0? s\\).*exposure=[0-9.]+s;3;8;0"; done
for n in 1 2; do becomes $n 2 "the link (to dc2-a|from dc1-a) is (down|connecting|greeting): "; done
step "the other agent is dead, too"
kill_agent 1
is 2 2 "exposure is" || fail "the standby's side: $(cat "/tmp/wf-$$.check")"
is 1 2 "CRITICAL - .*is the agent running. \\(systemctl start walferry@demo\\)" || fail "without an agent: $(cat "/tmp/wf-$$.check")"
start_agent 1
demo heal
becomes 1 1 "WARNING - .*the pool.s file of dc2-a is another one" # its agent still has the old limits
kill_agent 2
start_agent 2
for n in 1 2; do becomes $n 0 "WALFERRY OK"; done

step "what is wrong with itself is UNKNOWN"
as "$WALFERRY" check --config "$CONFIG" --member nobody >/dev/null 2>&1
[ $? = 3 ] || fail "an unknown member does not exit 3"
as "$WALFERRY" check --json >/dev/null 2>&1
[ $? = 3 ] || fail "an unknown option does not exit 3"
as sed -i 's/^exposure_warning = .*/exposure_warning = often/' "$CONFIG"
check 1
[ $? = 3 ] || fail "a wrong config does not exit 3"
rm -f "/tmp/wf-$$.check"
pass

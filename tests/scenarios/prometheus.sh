#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# conf/prometheus against the real thing: the rules' unit tests, then Prometheus itself scrapes two
# agents through a cut and a heal: alerts fire and clear. Every metric that a rule or a dashboard
# names is one that an agent has.
. "$(dirname "$0")/lib.sh"
ask() { curl -s -m 5 "http://127.0.0.1:$PORT/api/v1/$1"; }
alerting() { ask alerts | jq -e --arg a "$1" --arg m "${2:-}" \
    '[.data.alerts[] | select(.state == "firing" and .labels.alertname == $a and ($m == "" or .labels.member == $m))] | length > 0'; } # ALERT [MEMBER]
value() { curl -s -m 5 -G --data-urlencode "query=$1" "http://127.0.0.1:$PORT/api/v1/query" | jq -r '.data.result[0].value[1] // "unknown"'; } # EXPRESSION
end_prometheus() {
    local pid
    pid=$(cat "$WALFERRY_DEMO/prometheus.pid" 2>/dev/null) || return
    as kill "$pid" 2>/dev/null
    wait_for 10 "gone $pid"
}
serve() { # Prometheus takes its port or ends
    local try
    for try in 1 2 3 4 5; do
        PORT=$((10000 + RANDOM % 20000))
        as setsid sh -c 'echo $$ >"$0/prometheus.pid"; exec prometheus "$@"' "$WALFERRY_DEMO" --config.file="$WALFERRY_DEMO/prometheus.yml" --storage.tsdb.path="$WALFERRY_DEMO/tsdb" \
            --web.listen-address="127.0.0.1:$PORT" >"$WALFERRY_DEMO/prometheus.log" 2>&1 </dev/null &
        wait_for 10 'ask status/buildinfo | grep -q success' && return
        end_prometheus
        rm -rf "$WALFERRY_DEMO/tsdb"
    done
    fail "Prometheus does not start: $(tail -3 "$WALFERRY_DEMO/prometheus.log")"
}

step "the rules' own tests"
cd "$ROOT/conf/prometheus" || exit 1
out=$(promtool check config prometheus.yml 2>&1) || fail "$out"
out=$(promtool test rules walferry.test.yml 2>&1) || fail "$out"
for id in $(grep -oE '"WF[0-9]{3}"' "$ROOT/agent/monitor/events.c" | tr -d '"'); do
    grep -q "walferry_event_active{id=\"$id\"}" walferry.rules.yml && grep -q "id=\"$id\"" walferry.test.yml || fail "$id has no alert, or none that is tested"
done
for alert in $(sed -n 's/.*- alert: //p' walferry.rules.yml); do
    grep -q "alertname: $alert$" walferry.test.yml || fail "$alert is not tested"
done
cd /

step "rules and dashboards name metrics that there are"
for file in "$ROOT"/conf/grafana/*.json; do
    jq -e '.uid and (.panels | length > 5) and ([.panels[].targets[].expr] | all)' "$file" >/dev/null || fail "$file is no dashboard"
done
for name in $(cat "$ROOT"/conf/grafana/*.json "$ROOT/conf/prometheus/walferry.rules.yml" | grep -oE 'walferry_[a-z_]+' | sed 's/_bucket$//' | sort -u); do
    case $name in walferry_) continue ;; esac # a pattern's beginning
    grep -q "\"$name\"" "$ROOT/agent/web/metrics.c" || fail "no agent has $name"
done

start_pool
BEFORE_DOWN=end_prometheus
expect 30 level
as sh -c 'cat >"$1"' sh "$WALFERRY_DEMO/prometheus.yml" <<END
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: ["$WALFERRY_DEMO/rules.yml"]
scrape_configs:
  - job_name: walferry
    static_configs:
      - {targets: ["$DC1_HTTP"], labels: {pool: demo, member: dc1-a}}
      - {targets: ["$DC2_HTTP"], labels: {pool: demo, member: dc2-a}}
END
as sh -c 'sed "s/for: 30s/for: 3s/" >"$1/rules.yml"' sh "$WALFERRY_DEMO" <"$ROOT/conf/prometheus/walferry.rules.yml"
serve
step "all is well: both are scraped, nothing fires (but others may fill this disk)"
expect 15 '[ "$(value "sum(up)")" = 2 ]'
expect 15 '[ "$(ask alerts | jq -r "[.data.alerts[] | select(.state == \"firing\" and (.labels.alertname | test(\"Filling\") | not))] | length")" = 0 ]'
step "a cut: link down and ship late fire, for both sides"
demo cut
for n in 1 2; do expect 40 "alerting WalferryLinkDown dc$n-a && alerting WalferryShipLate dc$n-a"; done
[ "$(value 'min(walferry_exposure_seconds{link=""})' | cut -d. -f1)" -ge 9 ] || fail "exposure is $(value 'min(walferry_exposure_seconds{link=""})')"
step "an agent is down on one side"
kill_agent 2
expect 20 'alerting WalferryAgentDown dc2-a'
alerting WalferryAgentDown dc1-a >/dev/null && fail "the other one is said to be down, too"
step "healed: all clear"
start_agent 2
demo heal
for alert in WalferryAgentDown WalferryLinkDown WalferryShipLate; do expect 40 "! alerting $alert"; done
[ "$(value 'sum(walferry_events_total{id="WF001"})')" -ge 1 ] || fail "no event was counted"
pass

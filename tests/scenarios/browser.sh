# SPDX-License-Identifier: PostgreSQL
# browser.sh: a headless Chromium for a scenario, by the WebDriver protocol and curl; sourced after
# lib.sh, which runs it when the scenario ends. The session logs what the console says.

open_browser() { # [CHROMIUM ARGUMENT ...]
    local arguments home try
    home=$WALFERRY_DEMO/browser
    as mkdir -p "$home"
    for try in 1 2 3 4 5; do
        DRIVER_PORT=$((10000 + RANDOM % 20000))
        as env HOME="$home" setsid sh -c 'exec chromedriver --port="$1" >"$2/log" 2>&1 </dev/null & echo $! >"$2/pid"' sh "$DRIVER_PORT" "$home"
        wait_for 10 'driver_up || gone "$(cat "$home/pid")"'
        driver_up && break
    done
    arguments=$(printf '%s\n' --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars \
        --no-first-run --disable-background-networking "--user-data-dir=$home/profile" "$@" | jq -R . | jq -sc .)
    SESSION=$(curl -s -m 180 -d "{\"capabilities\":{\"alwaysMatch\":{\"goog:chromeOptions\":{\"args\":$arguments},
        \"goog:loggingPrefs\":{\"browser\":\"ALL\"}}}}" "http://127.0.0.1:$DRIVER_PORT/session" | jq -r .value.sessionId)
    [ -n "$SESSION" ] && [ "$SESSION" != null ] || fail "no browser: $(tail -3 "$home/log")"
}
driver_up() { curl -s -m 2 "http://127.0.0.1:$DRIVER_PORT/status" | grep -q '"ready":true'; }
close_browser() {
    [ -z "${SESSION:-}" ] || curl -s -m 20 -X DELETE "http://127.0.0.1:$DRIVER_PORT/session/$SESSION" >/dev/null
    SESSION=
    [ ! -s "$WALFERRY_DEMO/browser/pid" ] || kill "$(cat "$WALFERRY_DEMO/browser/pid")" 2>/dev/null
}
driver() { curl -s -m 30 -d "$2" "http://127.0.0.1:$DRIVER_PORT/session/$SESSION/$1"; } # COMMAND JSON
visit() { driver url "{\"url\":\"$1\"}" >/dev/null; }                               # URL
script() { driver execute/sync "$(jq -nc --arg s "$1" '{script: $s, args: []}')" | jq -r .value; } # JS: "return ..."
shown() { script "return document.getElementById('$1').textContent"; }              # ID
console() { driver se/log '{"type":"browser"}' | jq -c '.value[] | select(.level == "SEVERE" or .level == "WARNING")'; }
devtools() { driver goog/cdp/execute "{\"cmd\":\"$1\",\"params\":$2}"; }            # COMMAND JSON
width() { devtools Emulation.setDeviceMetricsOverride "{\"width\":$1,\"height\":$2,\"deviceScaleFactor\":1,\"mobile\":false}" >/dev/null; }
scheme() { devtools Emulation.setEmulatedMedia "{\"features\":[{\"name\":\"prefers-color-scheme\",\"value\":\"$1\"}]}" >/dev/null; } # light|dark
spoken() { devtools Accessibility.getFullAXTree '{}' | jq -r '.value.nodes[] | select(.ignored | not) | .name.value // empty'; } # to a screen reader
press_tab() { driver actions '{"actions":[{"type":"key","id":"keys","actions":[{"type":"keyDown","value":"\uE004"},{"type":"keyUp","value":"\uE004"}]}]}' >/dev/null; }
screenshot() { curl -s -m 30 "http://127.0.0.1:$DRIVER_PORT/session/$SESSION/screenshot" | jq -r .value | base64 -d >"$1"; } # FILE

#!/usr/bin/env bash
# Tests `make fleet` itself: starts the fleet on free ports, talks to it through
# nginx as a client would, breaks a gateway, and stops it.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
export PATH="$root/.tools/bin:$PATH"

run=$(mktemp -d "${TMPDIR:-/tmp}/klinecast-fleet.XXXXXX")
passed=0 failed=0

# Thirty free ports in a row, below those that the kernel gives to clients.
base=$(python3 - <<'PYTHON'
import random, socket

def free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False

while True:
    base = random.randrange(15000, 31000, 30)
    if all(free(base + i) for i in range(30)):
        print(base)
        break
PYTHON
) || exit 1

export RUN_DIR="$run" BIN_DIR="${BIN_DIR:-${CARGO_TARGET_DIR:-$root/target}/debug}"
export PORT=$base GATEWAY_PORT=$((base + 1)) GATEWAY_ADMIN_PORT=$((base + 11))
export MARKETDATA_ADMIN_PORT=$((base + 20)) SIM_PORT=$((base + 21)) SIM_ADMIN_PORT=$((base + 22))
export NATS_PORT=$((base + 23)) NATS_MONITOR_PORT=$((base + 26)) NATS_CLUSTER_PORT=$((base + 4))
export HISTORY_PORT=$((base + 7)) HISTORY_ADMIN_PORT=$((base + 8))
export ALERTS_PORT=$((base + 9)) ALERTS_ADMIN_PORT=$((base + 10))
export HOST=127.0.0.1 PUBLIC_HOST=127.0.0.1 GATEWAYS=3 FEED=sim
# A client that is stuck is found out within the seconds that its test has.
export GATEWAY_ARGS='--write-deadline-ms 5000 --send-buffer-bytes 16384'

finish() {
    scripts/fleet.sh down >/dev/null 2>&1
    if [ "$failed" = 0 ]; then
        rm -rf "$run"
    else
        printf 'logs are kept in %s\n' "$run"
    fi
}
trap finish EXIT

# check WHAT COMMAND...: one test; its output is shown when it fails.
check() {
    local what="$1" output
    shift
    if output=$("$@" 2>&1); then
        passed=$((passed + 1))
        printf 'ok      %s\n' "$what"
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n' "$what"
        printf '%s\n' "$output" | tail -n 40 | sed 's/^/        | /'
    fi
}

# answers CODE PORT PATH
answers() {
    python3 - "$@" <<'PYTHON'
import sys, urllib.request, urllib.error
code, port, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
try:
    got = urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10).status
except urllib.error.HTTPError as error:
    got = error.code
print(f"{path} answered {got}")
sys.exit(got != code)
PYTHON
}

pids() { cut -f4 "$run/fleet.tsv"; }
pid_of() { awk -F '\t' -v name="$1" '$1 == name { print $4 }' "$run/fleet.tsv"; }
# A zombie has ended: whoever inherited it has only not looked yet.
all_gone() {
    local pid state
    for pid in $1; do
        state=$(ps -o stat= -o comm= -p "$pid") || continue
        case "$state" in Z*) ;; *) echo "PID $pid is alive: $state"; return 1 ;; esac
    done
}
refused() { local what="$1" output; shift; output=$("$@" 2>&1) && return 1; printf '%s\n' "$output"; [[ $output == *"$what"* ]]; }
all_ready() {
    local port
    for port in "$MARKETDATA_ADMIN_PORT" "$HISTORY_ADMIN_PORT" "$ALERTS_ADMIN_PORT" "$GATEWAY_ADMIN_PORT" $((GATEWAY_ADMIN_PORT + 1)); do
        answers 200 "$port" /readyz || return 1
    done
}
# a_rule_fires: through nginx and with the token, a rule that any trade fires is an alert on the bus.
a_rule_fires() {
    python3 - "$PORT" "$(cat "$run/alerts-token")" <<'PYTHON'
import json, sys, time, urllib.request
url = f"http://127.0.0.1:{sys.argv[1]}/api/v1"
rule = {"name": "any", "symbols": ["*"], "cooldown_s": 0,
        "when": {"type": "move", "percent": "0.0001", "window_s": 60}}
headers = {"Content-Type": "application/json", "Authorization": f"Bearer {sys.argv[2]}"}
request = urllib.request.Request(f"{url}/rules", json.dumps(rule).encode(), headers)
assert urllib.request.urlopen(request, timeout=10).status == 201
deadline = time.monotonic() + 120
alerts = urllib.request.Request(f"{url}/alerts?limit=1", headers=headers)
while not json.load(urllib.request.urlopen(alerts, timeout=10))["alerts"]:
    assert time.monotonic() < deadline, "the rule has not fired"
    time.sleep(0.2)
PYTHON
}
# alerts_are_published: all that were raised are on the bus.
alerts_are_published() {
    python3 - "$ALERTS_ADMIN_PORT" <<'PYTHON'
import sys, urllib.request
page = urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics", timeout=10).read().decode()
lines = [line.split() for line in page.splitlines() if line.startswith("alerts_published_total ")]
print(lines)
sys.exit(not lines or float(lines[0][1]) < 1)
PYTHON
}
# a_new_role_gets_a_password: and the passwords that are there stay.
a_new_role_gets_a_password() {
    local folder="$run/older-credentials"
    cp -r "$run/nats-credentials" "$folder" || return 1
    sed -i '/^NATS_ALERTS_PASSWORD=/d' "$folder/passwords.env"
    cp "$folder/passwords.env" "$folder/before.env"
    scripts/nats-credentials.sh "$folder" localhost 127.0.0.1 || return 1
    diff <(sort "$folder/before.env") <(grep -v '^NATS_ALERTS_PASSWORD=' "$folder/passwords.env" | sort) || return 1
    grep -qE '^NATS_ALERTS_PASSWORD=p[0-9a-f]{48}$' "$folder/passwords.env"
}
# eventually COMMAND...: repeats it until it succeeds, for as long as several elections take.
eventually() {
    local deadline=$((SECONDS + 120))
    until "$@"; do [ "$SECONDS" -lt "$deadline" ] || return 1; sleep 0.5; done
}
# no_password: reads the flags of all processes of the fleet, and all logs.
no_password() {
    local password pid
    for password in $(sed 's/.*=//' "$run/nats-credentials/passwords.env") $(cat "$run/alerts-token"); do
        if grep -l "$password" "$run"/logs/*; then return 1; fi
        for pid in $(pids); do
            ! tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep "$password" || return 1
        done
    done
}
# load NAME SETTING...: a k6 script with a few clients, some seconds; its thresholds tell.
load() {
    local name="$1"
    shift
    env REPORTS="$run" URL="ws://127.0.0.1:$PORT/ws" "$@" \
        k6 run --quiet --no-usage-report --address '' "loadtest/k6/$name.js" || return 1
    grep -q "^# k6 $name: passed" "$run/k6-$name.md"
}
smoke() { load smoke CLIENTS=30; }

check 'the fleet starts' scripts/fleet.sh up
if [ "$failed" = 0 ]; then
    started=$(pids)
    check 'nine processes are listed' test "$(wc -w <<<"$started")" = 9
    check 'the page is served' answers 200 "$PORT" /
    for path in /metrics /healthz /readyz; do
        check "$path is not public" answers 404 "$PORT" "$path"
    done
    check 'a gateway shows its metrics to operators' answers 200 "$GATEWAY_ADMIN_PORT" /metrics
    check 'clients are served through nginx (k6 smoke)' smoke
    check 'k6 ramp' load ramp CONNECTIONS=40 RAMP_SECONDS=2 HOLD_SECONDS=4 MAX_RATE=2
    check 'k6 storm' load storm CONNECTIONS=40 RAMP_SECONDS=1 STORMS=2 STORM_SECONDS=1 CALM_SECONDS=2
    check 'k6 soak' load soak CONNECTIONS=20 SOAK_SECONDS=8 LIFE_SECONDS=2
    check 'k6 slow' load slow RUN_SECONDS=30 NORMAL=20 SLOW=2 PAUSING=2 PAUSE_SECONDS=1 \
        STUCK=1 STUCK_URL="ws://127.0.0.1:$GATEWAY_PORT/ws"
    check 'the page shows live bars in a browser' node web/test/page.mjs "http://127.0.0.1:$PORT/" "$run/page.png"
    check 'rules cannot be read without the token' answers 401 "$PORT" /api/v1/rules
    check 'a rule is made on the page, and fires' node web/test/alerts-page.mjs "http://127.0.0.1:$PORT/" "$run/alerts-token"
    check 'a second start is refused' refused 'running already' scripts/fleet.sh up
    check 'a port in use is named' refused "port $PORT, which nginx needs, is in use" \
        env RUN_DIR="$run/second" scripts/fleet.sh up
    check 'neither touched the fleet' test "$(pids)" = "$started"
    kill -KILL "$(pid_of ws-gateway-2)"
    check 'clients are served without one gateway' smoke
    check 'a client hears 1012 when the fleet stops' node scripts/test-fleet-client.mjs \
        "ws://127.0.0.1:$PORT/ws?topics=kline:1s:*" scripts/fleet.sh down
    check 'every process is gone' all_gone "$started"
    check 'a second stop is harmless' scripts/fleet.sh down
    check 'it starts again' scripts/fleet.sh up
    started=$(pids)
    kill -KILL "$(pid_of marketdata)"
    check 'it stops although marketdata has died' scripts/fleet.sh down
    check 'every process is gone again' all_gone "$started"
fi

# With three servers of NATS, TLS and a user for each role.
export NATS=3 GATEWAYS=2
# Nobody was refused: each role may do its work.
nobody_refused() { ! grep -i 'violation' "$run"/logs/marketdata.log "$run"/logs/history.log "$run"/logs/alerts.log "$run"/logs/ws-gateway-*.log; }
before=$failed
check 'it starts with a cluster' scripts/fleet.sh up
if [ "$failed" = "$before" ]; then
    check 'clients are served by way of the cluster' smoke
    check 'history answers' answers 200 "$PORT" '/api/v1/status'
    check 'a rule fires' a_rule_fires
    check 'its alerts are on the bus' eventually alerts_are_published
    check 'each role may do its work' nobody_refused
    check 'credentials that are there stay' scripts/nats-credentials.sh "$run/nats-credentials" localhost 127.0.0.1
    check 'a role that has no password yet gets one' a_new_role_gets_a_password
    check 'a certificate that lacks a name is refused' refused 'is not for nats-9' \
        scripts/nats-credentials.sh "$run/nats-credentials" localhost nats-9
    check 'each role may do nothing else' scripts/test-fleet-roles.py "$NATS_PORT" "$run/nats-credentials"
    kill -KILL "$(pid_of nats-server-1)"
    check 'the programs go on with the other two' eventually all_ready
    check 'clients are served without one server of the cluster' smoke
    check 'passwords are in no flag and no log' no_password
    started=$(pids)
    check 'it stops' scripts/fleet.sh down
    check 'every process of it is gone' all_gone "$started"
fi

printf 'fleet: %d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]

#!/usr/bin/env bash
# Runs Autobahn's WebSocket cases (kosoku) against a gateway with its echo path
# switched on. Compression (12.*, 13.*) is left out: the gateway declines it.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
export PATH="$root/.tools/bin:$PATH"
bin="${BIN_DIR:-${CARGO_TARGET_DIR:-$root/target}/debug}/ws-gateway"
dir=$(mktemp -d "${TMPDIR:-/tmp}/klinecast-conformance.XXXXXX")

# The largest cases send messages of 16 MiB, many at once.
"$bin" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --echo-path /echo --log-format json \
    --message-bytes-max 33554432 --message-rate 0 >"$dir/gateway.log" 2>&1 </dev/null &
gateway=$!
trap 'kill "$gateway" 2>/dev/null; wait "$gateway" 2>/dev/null' EXIT

address=''
for _ in $(seq 150); do
    address=$(sed -n '/gateway listens/s/.*"address":"\([^"]*\)".*/\1/p' "$dir/gateway.log")
    [ -z "$address" ] || break
    kill -0 "$gateway" 2>/dev/null || break
    sleep 0.2
done
if [ -z "$address" ]; then
    echo 'the gateway did not start:'
    tail -n 20 "$dir/gateway.log"
    exit 1
fi

kosoku -m fuzzingclient -p 4 -x '12.*' -x '13.*' -o "$dir/report" "ws://$address/echo"

# Its exit code does not tell cases apart; its report does.
python3 - "$dir/report/index.json" <<'PYTHON'
import json, sys

with open(sys.argv[1]) as report:
    cases = next(iter(json.load(report).values()))
good = {"OK", "NON-STRICT", "INFORMATIONAL"}
bad = [
    name
    for name, case in cases.items()
    if case["behavior"] not in good or case["behaviorClose"] not in good
]
for name in bad:
    print(f"FAILED  case {name}: {cases[name]['behavior']}, close {cases[name]['behaviorClose']}")
print(f"conformance: {len(cases) - len(bad)} passed, {len(bad)} failed")
sys.exit(bool(bad) or len(cases) < 250)
PYTHON
status=$?
if [ "$status" = 0 ]; then rm -rf "$dir"; else echo "the report is kept in $dir"; fi
exit "$status"

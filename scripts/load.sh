#!/usr/bin/env bash
# Starts a fleet of its own, ramps k6 clients up against its nginx, and stops it.
#
#   scripts/load.sh         (make load)
#
# Environment: CONNECTIONS [10000], RAMP_SECONDS [20], HOLD_SECONDS [30],
# GATEWAYS [3], and what scripts/fleet.sh takes. Its ports are the fleet's plus
# 10000, so that it can run beside one.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export PATH="$root/.tools/bin:$PATH"

: "${CONNECTIONS:=10000}" "${RAMP_SECONDS:=20}" "${HOLD_SECONDS:=30}"
export HOST=${HOST:-127.0.0.1} PORT=${PORT:-18080} GATEWAY_PORT=${GATEWAY_PORT:-18081}
export GATEWAY_ADMIN_PORT=${GATEWAY_ADMIN_PORT:-19101} MARKETDATA_ADMIN_PORT=${MARKETDATA_ADMIN_PORT:-19110}
export SIM_PORT=${SIM_PORT:-19443} SIM_ADMIN_PORT=${SIM_ADMIN_PORT:-19120}
export NATS_PORT=${NATS_PORT:-14222} NATS_MONITOR_PORT=${NATS_MONITOR_PORT:-18222}
export RUN_DIR=${RUN_DIR:-$root/.run/load}

# k6 holds one descriptor a client and nginx two, in as many workers as there are cores.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
files=$(ulimit -n)
if [ "$files" != unlimited ] && [ "$files" -lt $((CONNECTIONS + 500)) ]; then
    printf 'load: %s clients need more than the %s open files that this shell may have;\n' "$CONNECTIONS" "$files" >&2
    printf '      raise the hard limit (ulimit -Hn) or set CONNECTIONS lower\n' >&2
    exit 1
fi

trap 'scripts/fleet.sh down' EXIT
scripts/fleet.sh up

mkdir -p loadtest/reports
CONNECTIONS="$CONNECTIONS" RAMP_SECONDS="$RAMP_SECONDS" HOLD_SECONDS="$HOLD_SECONDS" \
    URL="ws://$HOST:$PORT/ws" \
    k6 run --no-usage-report --address '' --summary-export loadtest/reports/ramp.json \
    loadtest/k6/ramp.js

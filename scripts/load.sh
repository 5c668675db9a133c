#!/usr/bin/env bash
# Starts its own fleet, connects k6 clients to its nginx, and stops the fleet.
#
#   scripts/load.sh [ramp|slow|storm|soak|smoke]         (make load: ramp)
#
#   ramp    up to CONNECTIONS clients [10000], held, no failure allowed
#   slow    clients that read slowly, pause, or stop for good, beside normal ones
#   storm   all CONNECTIONS [2000] reconnect within seconds, three times
#   soak    CONNECTIONS [1000] that come and go for SOAK_SECONDS [300]
#   smoke   50 clients, each of which uses every operation
#
# More settings are at the head of loadtest/k6/NAME.js; the whole environment
# reaches k6. GATEWAYS [3] and the variables of scripts/fleet.sh apply to the
# fleet. Its ports are the default ones plus 10000, so that it can run beside
# another fleet. The report is loadtest/reports/k6-NAME.md (REPORTS: another folder).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export PATH="$root/.tools/bin:$PATH"

name=${1:-ramp}
script="loadtest/k6/$name.js"
if [ ! -f "$script" ]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed '$d'
    exit 2
fi

export HOST=${HOST:-127.0.0.1} PORT=${PORT:-18080} GATEWAY_PORT=${GATEWAY_PORT:-18081}
export GATEWAY_ADMIN_PORT=${GATEWAY_ADMIN_PORT:-19101} MARKETDATA_ADMIN_PORT=${MARKETDATA_ADMIN_PORT:-19110}
export SIM_PORT=${SIM_PORT:-19443} SIM_ADMIN_PORT=${SIM_ADMIN_PORT:-19120}
export NATS_PORT=${NATS_PORT:-14222} NATS_MONITOR_PORT=${NATS_MONITOR_PORT:-18222}
export RUN_DIR=${RUN_DIR:-$root/.run/load} REPORTS=${REPORTS:-loadtest/reports}
export URL="ws://$HOST:$PORT/ws" STUCK_URL="${STUCK_URL:-ws://$HOST:$GATEWAY_PORT/ws}"

# k6 needs one descriptor for each client, nginx two, in as many workers as there are cores.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
files=$(ulimit -n)
connections=${CONNECTIONS:-10000}
if [ "$files" != unlimited ] && [ "$files" -lt $((connections + 500)) ]; then
    printf 'load: %s clients need more than the %s open files that this shell may have;\n' "$connections" "$files" >&2
    printf '      raise the hard limit (ulimit -Hn) or set CONNECTIONS lower\n' >&2
    exit 1
fi

trap 'scripts/fleet.sh down' EXIT
scripts/fleet.sh up
mkdir -p "$REPORTS"

# --- what the programs use ---------------------------------------------------

# field PID NAME: a size of /proc/PID/status in kB, 0 once the process is gone.
field() { awk -v name="$2:" '$1 == name { print $2; found = 1 } END { if (!found) print 0 }' "/proc/$1/status" 2>/dev/null || echo 0; }
# cpu_seconds PID: user and system time so far.
cpu_seconds() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || { echo 0; return; }
    echo "${stat##*) }" | awk '{ printf "%.1f", ($12 + $13) / 100 }'
}
# The processes of the fleet: NAME PID; nginx's are its workers.
processes() {
    local process pid
    while IFS=$'\t' read -r process _ _ pid _; do
        if [ "$process" = nginx ]; then
            tr ' ' '\n' <"/proc/$pid/task/$pid/children" | sed -n 's/^[0-9]/nginx-worker &/p'
        else
            echo "$process $pid"
        fi
    done <"$RUN_DIR/fleet.tsv"
}
tcp_pages() { awk '$1 == "TCP:" { print $NF }' /proc/net/sockstat; }
mib() { awk -v kb="$1" 'BEGIN { printf "%.0f", kb / 1024 }'; }

declare -A rss_before cpu_before
while read -r process pid; do
    rss_before[$pid]=$(field "$pid" VmRSS)
    cpu_before[$pid]=$(cpu_seconds "$pid")
done < <(processes)

k6 run --no-usage-report --address '' "$script" &
k6_pid=$!
k6_peak=0 k6_cpu=0 tcp_peak=0
while kill -0 "$k6_pid" 2>/dev/null; do
    peak=$(field "$k6_pid" VmHWM) pages=$(tcp_pages)
    [ "$peak" -le "$k6_peak" ] || k6_peak=$peak
    [ "$pages" -le "$tcp_peak" ] || tcp_peak=$pages
    used=$(cpu_seconds "$k6_pid")
    [ "$used" = 0 ] || k6_cpu=$used
    sleep 1
done
status=0
wait "$k6_pid" || status=$?

{
    printf '\n## What the programs used\n\n'
    printf '| process | RSS before, at most and after, MiB | CPU, s |\n|---|---|---|\n'
    printf '| k6 | 0, %s, – | %s |\n' "$(mib "$k6_peak")" "$k6_cpu"
    while read -r process pid; do
        printf '| %s | %s, %s, %s | %s |\n' "$process" "$(mib "${rss_before[$pid]:-0}")" \
            "$(mib "$(field "$pid" VmHWM)")" "$(mib "$(field "$pid" VmRSS)")" \
            "$(awk -v a="$(cpu_seconds "$pid")" -v b="${cpu_before[$pid]:-0}" 'BEGIN { printf "%.1f", a - b }')"
    done < <(processes)
    printf '\nTCP buffers in the kernel: at most %s MiB.\n' "$(mib $((tcp_peak * 4)))"
} | tee -a "$REPORTS/k6-$name.md"
printf '\nload: %s; the report is %s\n' \
    "$([ "$status" = 0 ] && echo passed || echo "k6 says FAILED ($status)")" "$REPORTS/k6-$name.md"
exit "$status"

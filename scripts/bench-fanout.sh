#!/usr/bin/env bash
# Measures the cost of sending bars to many clients: compares ws-gateway with
# other servers and with a bare send(2), in about six minutes on two cores.
#
#   scripts/bench-fanout.sh [FLAG...]
#   scripts/bench-fanout.sh hostile [FLAG...]
#
# Flags are those of `fanout-bench run --help`, for example
#   --workloads shared,burst --connections-shared 16000 --seconds 10
# `hostile` measures how much clients notice of attackers, in about two minutes.
# Its flags are those of `fanout-bench hostile --help`, for example
#   --percent 5 --servers gateway,axum
# Tables go to stdout and, with all figures, to loadtest/reports/.
#
# nats-server comes from NATS_SERVER_BIN or the PATH (scripts/tools.sh nats).
# uWebSockets is measured if SOCKETIFY_PYTHON names a Python with socketify:
#   python3 -m venv DIR && DIR/bin/pip install socketify  (and the system's libuv1)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export PATH="$root/.tools/bin:$PATH"

# Every client needs an open file in the server, and one in the load client.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

cargo build --release --locked -p ws-gateway -p fanout-bench
command=run
if [ "${1:-}" = hostile ]; then
    command=hostile
    shift
fi
exec "${CARGO_TARGET_DIR:-$root/target}/release/fanout-bench" "$command" "$@"

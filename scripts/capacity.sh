#!/usr/bin/env bash
# Finds out what this machine carries: starts NATS and as many ws-gateways as it
# takes, holds CONNECTIONS [100000] subscribed clients on them, and publishes to
# them at falling rates until everything arrives in time.
#
#   scripts/capacity.sh [FLAG...]
#
# Flags are those of `fanout-bench capacity --help`, for example
#   --connections 20000 --gateways 2 --rates 1,0.5 --seconds 10
# Five minutes and 6 GiB of free memory for 100,000 connections: gateways and
# clients are on this machine, so that it holds both ends of every connection.
# The tables go to stdout and, with the figures behind them, to loadtest/reports/.
#
# Clients go to the gateways directly. Behind nginx each costs two more open
# files and a second connection: 100,000 need 200,000 files in its workers, which
# no system with a hard limit of 20,000 a process has without a dozen workers.
# `make load` measures nginx with 10,000.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export PATH="$root/.tools/bin:$PATH"

# Every client is a file of its gateway, and one of its load client.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

cargo build --release --locked -p ws-gateway -p fanout-bench
exec "${CARGO_TARGET_DIR:-$root/target}/release/fanout-bench" capacity "$@"

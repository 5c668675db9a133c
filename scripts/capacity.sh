#!/usr/bin/env bash
# Finds out how many clients this machine carries: starts NATS and the necessary
# number of ws-gateways, holds CONNECTIONS [100000] subscribed clients on them, and
# publishes to them at falling rates until all updates arrive in time.
#
#   scripts/capacity.sh [FLAG...]
#
# Flags are those of `fanout-bench capacity --help`, for example
#   --connections 20000 --gateways 2 --rates 1,0.5 --seconds 10
# 100,000 connections need five minutes and 6 GiB of free memory: gateways and
# clients are on this machine, so it has both ends of every connection.
# The tables go to stdout and, with all figures, to loadtest/reports/.
#
# Clients connect to the gateways directly. Behind nginx, each client needs two more
# open files and a second connection: 100,000 clients need 200,000 files in its
# workers. With a hard limit of 20,000 a process, this takes a dozen workers.
# `make load` measures nginx with 10,000.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export PATH="$root/.tools/bin:$PATH"

# Every client needs an open file in its gateway, and one in its load client.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

cargo build --release --locked -p ws-gateway -p fanout-bench
exec "${CARGO_TARGET_DIR:-$root/target}/release/fanout-bench" capacity "$@"

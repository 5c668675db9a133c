#!/usr/bin/env bash
# Measures the store of history, and other stores with the same rows in the same run.
#
# Usage: scripts/bench-history.sh [CAPTURES]
#
# CAPTURES is a directory of recorded trades; without it, invented trades are measured alone.
# Python's packages go into a virtual environment below target/.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# -gt 0 ]; then
    KLINECAST_CAPTURES=$(realpath "$1")
    export KLINECAST_CAPTURES
fi
venv=target/bench-history-venv
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/pip" install --quiet duckdb==2.0.0 pyarrow==26.0.1

rows=$(mktemp -d)
trap 'rm -rf "$rows"' EXIT
KLINECAST_BENCH_CSV=$rows cargo bench -p history
"$venv/bin/python" scripts/bench-history.py "$rows"

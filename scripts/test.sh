#!/usr/bin/env bash
# Everything that `make test` runs, part by part. A failed part does not stop
# the next ones; the summary at the end and the exit code tell.
#
#   scripts/test.sh             all parts
#   scripts/test.sh PART...     only these: lint rust web fleet
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
logs="$root/.tools/logs/test"
mkdir -p "$logs"
export PATH="$root/.tools/bin:$PATH"
started=$SECONDS

# The browser goes by several names.
if [ -z "${CHROMIUM:-}" ]; then
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        CHROMIUM=$(command -v "$name") && break
    done
fi
export CHROMIUM

# A real component that is missing fails its tests instead of skipping them.
export KLINECAST_REQUIRE_NATS=1 KLINECAST_REQUIRE_NGINX=1 KLINECAST_REQUIRE_CHROMIUM=1
export KLINECAST_REQUIRE_CLIENTS=1 KLINECAST_REQUIRE_REDIS=1 KLINECAST_REQUIRE_CLICKHOUSE=1 KLINECAST_REQUIRE_INFLUXDB=1

rows=()
passed=0 failed=0 skipped=0

# count LOG: prints passed, failed and skipped, added up over the closing lines
# of the runners: nextest, cargo test, node's and pytest.
count() {
    sed 's/\x1b\[[0-9;]*m//g' "$1" | awk '
        function number_before(word) {
            return match($0, "[0-9]+ " word) ? substr($0, RSTART, RLENGTH) + 0 : 0
        }
        /^ *Summary .* run:/ || /^test result: / || /^=+ .* in [0-9.]+s/ {
            passed += number_before("passed")
            failed += number_before("failed") + number_before("error")
            skipped += number_before("skipped") + number_before("ignored")
        }
        /^(#|ℹ) pass [0-9]+$/ { passed += $3 }
        /^(#|ℹ) fail [0-9]+$/ { failed += $3 }
        /^(#|ℹ) (skipped|todo) [0-9]+$/ { skipped += $3 }
        /^[a-z-]+: [0-9]+ passed, [0-9]+ failed/ {
            passed += number_before("passed")
            failed += number_before("failed")
            skipped += number_before("skipped")
        }
        END { print passed + 0, failed + 0, skipped + 0 }'
}

# part NAME: runs the function part_NAME, shows its output and keeps its figures.
part() {
    local log="$logs/$1.log" from=$SECONDS status word p f s
    printf '\n=== %s\n' "$1"
    "part_${1//-/_}" 2>&1 </dev/null | tee "$log"
    status=${PIPESTATUS[0]}
    read -r p f s < <(count "$log")
    word=passed
    if [ "$status" != 0 ]; then
        word=FAILED
        # A build that broke has no failing test to count.
        [ "$f" != 0 ] || f=1
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    rows+=("$(printf '%-10s %-7s %6d passed %4d failed %4d skipped %6d s' \
        "$1" "$word" "$p" "$f" "$s" $((SECONDS - from)))")
}

# step COMMAND...: announces a command, runs it, and remembers that it failed.
step() {
    printf -- '--- %s\n' "$*"
    "$@" || { printf -- '--- failed: %s\n' "$*"; step_failed=1; }
}

# steps FUNCTION: runs a function made of steps; fails if any of them did.
steps() {
    step_failed=0
    "$1"
    return "$step_failed"
}

part_lint() { steps lint; }
lint() {
    step cargo fmt --all --check
    step cargo clippy --workspace --all-targets --locked -- -D warnings
    step env RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --quiet
    step npm --prefix clients/typescript run --silent typecheck
    step npm --prefix web run --silent typecheck
}

part_rust() { steps rust; }
rust() {
    # The whole-fleet tests start the programs as processes.
    step cargo build --workspace --bins --locked
    # The same tests under either runner; nextest does not run documentation examples.
    if cargo nextest --version >/dev/null 2>&1; then
        # Tests wait for most of their time: .config/nextest.toml says which ones do not.
        step cargo nextest run --workspace --locked --profile ci --test-threads $(($(getconf _NPROCESSORS_ONLN) * 2))
        step cargo test --workspace --locked --doc --no-fail-fast
    else
        step cargo test --workspace --locked --no-fail-fast
    fi
}

part_web() { steps web; }
web() {
    # The TypeScript client is tested against a whole klinecast, too.
    step cargo build --bin klinecast --locked
    KLINECAST_REQUIRE_GATEWAY=1 step timeout 600 npm --prefix clients/typescript run --silent test
    step npm --prefix web run --silent test
    step npm --prefix web run --silent test:browser
}

part_fleet() { steps fleet; }
fleet() {
    step cargo build --workspace --bins --locked
    step scripts/test-fleet.sh
}

[ $# -gt 0 ] || set -- lint rust web fleet
for name in "$@"; do
    declare -F "part_${name//-/_}" >/dev/null || { echo "no such part: $name" >&2; exit 2; }
done
for name in "$@"; do part "$name"; done

printf '\n=== summary (%d s; logs in .tools/logs/test)\n' $((SECONDS - started))
printf '%s\n' "${rows[@]}"
printf '\ntotal: %d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]

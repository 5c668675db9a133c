#!/usr/bin/env bash
# The kill matrix: a fleet with two of everything, whose processes are killed,
# stopped, started again, cut off, without disk space or with a wrong clock,
# alone and in pairs, under load.
#
#   scripts/kill-matrix.sh [--runs N] [--seed S] [--seconds-max N] [--jobs N] [--past] [--release]
#
#   --runs         faults or pairs of faults in all [100]. Five of them are one seed, and one fleet.
#   --seed         the first seed, the next ones follow [1]
#   --seconds-max  the longest standstill, cut, full disk or wrong clock, s [12]
#   --jobs         fleets at the same time: a fleet waits for most of its time [1]
#   --past         clients that ask for the past instead, on fleets of one seed each. --runs counts
#                  the kills, restarts and reconnections of all clients: scripts/kill-matrix.sh --past --runs 1000
#   --release      builds with optimization
#
# It needs Linux, ip, a C compiler, and root or a system that lets users make namespaces.
# Prints what each run did, and at the end how long clients were without forming
# bars, for each fault. A seed that fails is printed with the command that repeats
# it, and the others go on. .run/kill-matrix has the logs, and report.jsonl: a line
# of JSON for each run, for each independent count, and for each seed that failed.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
export PATH="$root/.tools/bin:$PATH:/usr/local/sbin:/usr/sbin"

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed '$d'
    exit 2
}

runs=100 seed=1 seconds_max=12 jobs=1 profile=() per_seed=5 is_past=0
while [ $# -gt 0 ]; do
    case "$1" in
        --runs | --seed | --seconds-max | --jobs)
            [[ ${2:-} =~ ^[0-9]+$ ]] && [ "$2" -gt 0 ] || usage
            case "$1" in --runs) runs=$2 ;; --seed) seed=$2 ;; --jobs) jobs=$2 ;; *) seconds_max=$2 ;; esac
            shift 2
            ;;
        --past) is_past=1 && shift ;;
        --release) profile=(--release) && shift ;;
        *) usage ;;
    esac
done

export KLINECAST_REQUIRE_NATS=1 KLINECAST_REQUIRE_NGINX=1
programs=(exchange-sim marketdata ws-gateway history alerts broker)
cargo build --locked ${profile[@]+"${profile[@]}"} "${programs[@]/#/--package=}" --bins || exit 1
fleet=$(cargo test --locked ${profile[@]+"${profile[@]}"} -p loadtest --test fleet --no-run --message-format json |
    sed -n 's/.*"name":"fleet".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[ -x "$fleet" ] || { echo "the tests of the fleet were not built" >&2; exit 1; }
# KILL_MATRIX_LOGS is for two matrices at once.
logs=${KILL_MATRIX_LOGS:-$root/.run/kill-matrix}
mkdir -p "$logs/bin"
: >"$logs/runs"
: >"$logs/report.jsonl"
failed=()
# Copies, so that a new build does not change what runs.
cp "$fleet" "$logs/bin/fleet" || exit 1
for program in "${programs[@]}"; do
    cp "$(dirname "$(dirname "$fleet")")/$program" "$logs/bin/" || exit 1
done
export KLINECAST_BIN_DIR=$logs/bin
# For the independent count: a Python with nats-py (make tools).
if [ -z "${KLINECAST_BROKER_PYTHON:-}" ] && [ -x .tools/clients-venv-broker/bin/python ]; then
    export KLINECAST_BROKER_PYTHON=$root/.tools/clients-venv-broker/bin/python
fi

# Runs a test of one seed, with its output in a log. Says what failed.
run_seed() { # TEST
    KLINECAST_SEED=$seed "$logs/bin/fleet" --exact --nocapture "$1" >"$logs/$seed.log" 2>&1 && return
    failed+=("$seed")
    printf 'FAILED  seed %s: %s\n' "$seed" "$(grep '^repeat: ' "$logs/$seed.log")"
    grep -A6 "panicked at" "$logs/$seed.log" | head -n 12 | sed 's/^/        | /'
}

if [ "$is_past" = 1 ]; then
    happened=0 seeds=0
    # Where nothing works, more seeds tell nothing new.
    while [ "$happened" -lt "$runs" ] && [ "${#failed[@]}" -lt 10 ]; do
        run_seed from_the_past::clients_that_ask_with_from_have_every_bar_whichever_program_is_killed
        events=$(grep '^events: ' "$logs/$seed.log") && echo "seed $seed: ${events#events: }" | tee -a "$logs/runs"
        for count in ${events#events: }; do happened=$((happened + ${count#*=})); done
        seeds=$((seeds + 1)) seed=$((seed + 1))
    done
    sum() { awk -v name="$1=" '{ for (i = 1; i <= NF; i++) if (index($i, name) == 1) sum += substr($i, length(name) + 1) } END { print sum + 0 }' "$logs/runs"; }
    printf '\n%d seeds: %s kills, %s restarts, %s reconnections; %d seeds failed: %s\n' "$seeds" "$(sum kills)" \
        "$(sum restarts)" "$(sum reconnections)" "${#failed[@]}" "${failed[*]:-none}"
    [ "${#failed[@]}" = 0 ]
    exit
fi

# Runs a seed of the matrix, and appends to the report.
run_matrix() { # SEED COUNT
    local seed=$1 log="$logs/$1.log" status
    KLINECAST_SEED=$seed KLINECAST_RUNS=$2 KLINECAST_SECONDS_MAX=$seconds_max "$logs/bin/fleet" --exact --nocapture \
        kill_matrix::whatever_dies_stops_or_is_cut_off_alone_or_with_another_the_bars_are_true_and_told >"$log" 2>&1
    status=$?
    {
        sed -n "s/^run: {/{\"seed\":$seed,/p" "$log"
        sed -n "s/^counted: \(.*\)/{\"seed\":$seed,\"counted\":\1}/p" "$log"
        if [ "$status" != 0 ]; then
            printf '{"seed":%s,"failed":true,"during":%s}\n' "$seed" \
                "$(sed -n 's/^begins: //p' "$log" | tail -n 1 | grep . || echo null)"
        fi
    } | tee -a "$logs/report.jsonl"
    [ "$status" = 0 ] && return
    printf 'FAILED  seed %s: %s\n' "$seed" "$(grep '^repeat: ' "$log")"
    grep -A6 "panicked at" "$log" | head -n 12 | sed 's/^/        | /'
}

running=0
while [ "$runs" -gt 0 ]; do
    count=$((runs < per_seed ? runs : per_seed))
    if [ "$running" -ge "$jobs" ]; then
        wait -n
        running=$((running - 1))
    fi
    run_matrix "$seed" "$count" &
    running=$((running + 1))
    runs=$((runs - count)) seed=$((seed + 1))
done
wait

echo
python3 scripts/kill-matrix-report.py "$logs/report.jsonl"
! grep -q '"failed":true' "$logs/report.jsonl"

#!/usr/bin/env bash
# The kill matrix: a fleet with two of everything, whose processes are killed,
# stopped, started again or cut off, alone and in pairs, under load.
#
#   scripts/kill-matrix.sh [--runs N] [--seed S] [--seconds-max N] [--past] [--release]
#
#   --runs         faults or pairs of faults in all [100]. Five of them are one seed, and one fleet.
#   --seed         the first seed, the next ones follow [1]
#   --seconds-max  the longest standstill or cut, s [12]
#   --past         clients that ask for the past instead, on fleets of one seed each. --runs counts
#                  the kills, restarts and reconnections of all clients: scripts/kill-matrix.sh --past --runs 1000
#   --release      builds with optimization
#
# Prints what each run did, and at the end how long clients were without forming
# bars, for each fault. A seed that fails is printed with the command that repeats
# it, and the others go on. Logs are in .run/kill-matrix.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
export PATH="$root/.tools/bin:$PATH:/usr/local/sbin:/usr/sbin"

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed '$d'
    exit 2
}

runs=100 seed=1 seconds_max=12 profile=() per_seed=5 is_past=0
while [ $# -gt 0 ]; do
    case "$1" in
        --runs | --seed | --seconds-max)
            [[ ${2:-} =~ ^[0-9]+$ ]] && [ "$2" -gt 0 ] || usage
            case "$1" in --runs) runs=$2 ;; --seed) seed=$2 ;; *) seconds_max=$2 ;; esac
            shift 2
            ;;
        --past) is_past=1 && shift ;;
        --release) profile=(--release) && shift ;;
        *) usage ;;
    esac
done

export KLINECAST_REQUIRE_NATS=1 KLINECAST_REQUIRE_NGINX=1
programs=(-p exchange-sim -p marketdata -p ws-gateway -p history)
cargo build --locked ${profile[@]+"${profile[@]}"} "${programs[@]}" --bins || exit 1
cargo test --locked ${profile[@]+"${profile[@]}"} -p loadtest --test fleet --no-run || exit 1
logs=.run/kill-matrix
mkdir -p "$logs"
: >"$logs/runs"
failed=()

# Runs a test of one seed, with its output in a log. Says what failed.
run_seed() { # TEST
    KLINECAST_SEED=$seed cargo test --locked --quiet ${profile[@]+"${profile[@]}"} -p loadtest --test fleet -- \
        --exact --nocapture "$1" >"$logs/$seed.log" 2>&1 && return
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

while [ "$runs" -gt 0 ]; do
    count=$((runs < per_seed ? runs : per_seed))
    KLINECAST_RUNS=$count KLINECAST_SECONDS_MAX=$seconds_max \
        run_seed kill_matrix::whatever_dies_stops_or_is_cut_off_alone_or_with_another_the_bars_are_true_and_told
    grep '^run: ' "$logs/$seed.log" | sed "s/^run:/seed $seed:/" | tee -a "$logs/runs"
    runs=$((runs - count)) seed=$((seed + 1))
done

printf '\n%-40s %5s %9s %9s %9s %9s\n' 'without forming bars, ms' runs p50 p99 'least p50' 'whole p50'
{ cat "$logs/runs"; sed 's/: [^ ]* /: all /' "$logs/runs"; } | awk '
    function at(list, count, part,   i, j, n, sorted, keep) {
        n = split(list, sorted, " ")
        for (i = 2; i <= n; i++) {
            keep = sorted[i] + 0
            for (j = i - 1; j > 0 && sorted[j] + 0 > keep; j--) sorted[j + 1] = sorted[j]
            sorted[j + 1] = keep
        }
        i = int((n * part + 99) / 100)
        return sorted[i < 1 ? 1 : i]
    }
    {
        name = $3
        count[name]++
        for (i = 4; i <= NF; i++) {
            split($i, pair, "=")
            values[name, pair[1]] = values[name, pair[1]] " " pair[2]
        }
    }
    END {
        for (name in count)
            printf "%-40s %5d %9d %9d %9d %9d\n", name, count[name], at(values[name, "worst_ms"], count[name], 50),
                at(values[name, "worst_ms"], count[name], 99), at(values[name, "best_ms"], count[name], 50),
                at(values[name, "whole_ms"], count[name], 50)
    }' | sort
printf '\n%d runs were held, %d seeds failed: %s\n' "$(wc -l <"$logs/runs")" "${#failed[@]}" "${failed[*]:-none}"
[ "${#failed[@]}" = 0 ]

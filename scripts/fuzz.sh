#!/usr/bin/env bash
# Fuzzes readers of bytes from outside with coverage counters (libFuzzer). Adds
# inputs that reach new code to loadtest/fuzz/corpus, minimised.
#
#   scripts/fuzz.sh TARGET|all SECONDS
#   TARGET: a folder of loadtest/fuzz/corpus; each runs for SECONDS
#
# A failing input is minimised into .run/fuzz/TARGET/find and ends the script with 1.
# After the fix, put it into the corpus under a descriptive name.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
corpus=loadtest/fuzz/corpus
export PATH="$root/.tools/cargo/bin:$PATH:$HOME/.cargo/bin"

usage() { sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
[ $# = 2 ] && [[ $2 =~ ^[1-9][0-9]*$ ]] || usage
seconds=$2
if [ "$1" = all ]; then
    targets=$(ls "$corpus")
else
    [ -d "$corpus/$1" ] || usage
    targets=$1
fi

scripts/tools.sh --for scripts/fuzz.sh rust fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')
# No sanitizer: our code has no unsafe, and without a sanitizer the stable toolchain works.
cargo fuzz build --fuzz-dir loadtest/fuzz/libfuzzer --sanitizer none --target "$triple" \
    --target-dir target/fuzz target
program=$PWD/target/fuzz/$triple/release/target
limits=(-rss_limit_mb=2048 -malloc_limit_mb=512 -timeout=20 -max_len=4096)

found_any=0
for target in $targets; do
    export KLINECAST_FUZZ_TARGET=$target
    work=.run/fuzz/$target
    rm -rf "$work"
    mkdir -p "$work/new"
    printf '=== %s: %s s\n' "$target" "$seconds"
    if nice -n 10 "$program" "${limits[@]}" -max_total_time="$seconds" -print_final_stats=1 \
        -artifact_prefix="$work/" "$work/new" "$corpus/$target" >"$work/log" 2>&1; then
        grep -E '^stat::(number_of|average|peak)' "$work/log" | sed 's/^/    /'
        grep -E 'DONE' "$work/log" | sed 's/^/    /'
    else
        found_any=1
        grep -E 'panicked|ERROR' -A 2 "$work/log" | sed 's/^/    /' || true
        artifact=$(find "$work" -maxdepth 1 -type f \( -name 'crash-*' -o -name 'oom-*' -o -name 'timeout-*' \) | head -n 1)
        [ -z "$artifact" ] || cp "$artifact" "$work/find"
        # Only a crash can be minimised: a slow or large input would cost the same each time.
        if [[ $artifact == */crash-* ]]; then
            nice -n 10 "$program" "${limits[@]}" -minimize_crash=1 -max_total_time=30 \
                -exact_artifact_path="$work/find" "$artifact" >"$work/minimise.log" 2>&1 || true
            # The last input that was tried may be left there, even an empty one.
            if [ ! -s "$work/find" ] || "$program" "${limits[@]}" "$work/find" >/dev/null 2>&1; then
                cp "$artifact" "$work/find"
            fi
        fi
        printf '    found: %s; replay: KLINECAST_FUZZ_TARGET=%s %s %s\n' \
            "$work/find" "$target" "$program" "$work/find"
        continue
    fi
    # Keep inputs that reach new code, not inputs that only reach code more often.
    nice -n 10 "$program" "${limits[@]}" -merge=1 -use_counters=0 -max_len=1024 \
        "$corpus/$target" "$work/new" >"$work/merge.log" 2>&1
    printf '    corpus: %s files, %s bytes\n' "$(find "$corpus/$target" -type f | wc -l)" \
        "$(cat "$corpus/$target"/* | wc -c)"
done
exit "$found_any"

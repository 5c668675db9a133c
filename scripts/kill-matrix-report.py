#!/usr/bin/env python3
"""The table of a kill matrix, from its report.

    scripts/kill-matrix-report.py REPORT.jsonl

For each fault that came alone, for each fault with any other, and for all: how long the client that was
hit most had no forming 1s bar of some symbol (worst), and the one that was hit least (best), ms.
"""

import json
import math
import sys
from collections import defaultdict


def at(values, part):
    values = sorted(values)
    return values[max(0, math.ceil(len(values) * part / 100) - 1)]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    rows = defaultdict(list)
    failed, counted, told = [], [], 0
    with open(sys.argv[1], encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            if "failed" in entry:
                failed.append(entry)
            elif "counted" in entry:
                counted.append(entry["counted"])
            else:
                names = [it["fault"] for it in entry["faults"]]
                rows["all"].append(entry)
                rows["all alone" if len(names) == 1 else "all pairs"].append(entry)
                for name in names:
                    # One row for all steps of a clock.
                    kind = name.split("-clock")[0] + "-clock" if "-clock" in name else name
                    rows[kind if len(names) == 1 else f"{kind} + another"].append(entry)
                told += entry["skipped"] > 0
    print(f"| {'fault':32} | runs | worst p50 | worst p99 | worst max | best p50 | whole p50 |")
    print(f"|{'-' * 34}|---|---|---|---|---|---|")
    for name, runs in sorted(rows.items()):
        worst = [it["worst_ms"] for it in runs]
        figures = [at(worst, 50), at(worst, 99), max(worst), at([it["best_ms"] for it in runs], 50),
                   at([it["whole_ms"] for it in runs], 50)]
        print(f"| {name:32} | {len(runs)} | " + " | ".join(f"{it:,}" for it in figures) + " |")
    bars = sum(it["bars"] for it in counted)
    print(f"\n{len(rows['all'])} runs were held; clients were told of skipped bars after {told} of them.")
    print(f"Counted independently in {len(counted)} fleets: {bars:,} bars of {sum(it['messages'] for it in counted):,} "
          f"messages, {sum(len(it['wrong']) for it in counted)} wrong.")
    print(f"{len(failed)} seeds failed: {', '.join(str(it['seed']) for it in failed) or 'none'}")


main()

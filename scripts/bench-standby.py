#!/usr/bin/env python3
"""What a standby costs beside the marketdata that publishes: processor, memory, and bytes of NATS.

    scripts/bench-standby.py [FOLDER_OF_PROGRAMS] [SYMBOLS] [SECONDS]

Starts nats-server, exchange-sim and two marketdata with the same flags, waits until one of them publishes
and the other one follows everything, and then a minute more, so that both have what they keep. Prints the
use of each, and the ratios. Needs nats-server on the PATH.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

FOLDER = sys.argv[1] if len(sys.argv) > 1 else "target/release"
SYMBOLS = int(sys.argv[2]) if len(sys.argv) > 2 else 100
SECONDS = int(sys.argv[3]) if len(sys.argv) > 3 else 60
WARM_SECONDS = 60
DEADLINE = 120
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def until(what, look):
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            value = look()
            if value:
                return value
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit(f"never came: {what}")


def metric(port, name):
    lines = get(f"http://127.0.0.1:{port}/metrics").splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}[ {{]", line))


def processor_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1)) / 1024


def main():
    folder, started = tempfile.mkdtemp(prefix="klinecast-standby-"), []
    ports = {name: free_port() for name in ("nats", "monitor", "sim", "sim-admin", "a", "b")}

    def start(*command):
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return started[-1].pid

    try:
        start("nats-server", "-a", "127.0.0.1", "-p", str(ports["nats"]), "-m", str(ports["monitor"]), "-js", "-sd", folder)
        until("nats-server", lambda: get(f"http://127.0.0.1:{ports['monitor']}/healthz"))
        sim = f"http://127.0.0.1:{ports['sim']}"
        start(f"{FOLDER}/exchange-sim", "--listen", f"127.0.0.1:{ports['sim']}", "--admin-listen",
              f"127.0.0.1:{ports['sim-admin']}", "--symbols", str(SYMBOLS), "--rate", "5", "--history-minutes", "1")
        listed = json.loads(until("exchange-sim", lambda: get(f"{sim}/sim/symbols")))
        names = [f"{it['venue']}:{'OKX:' if it['venue'] == 'okx' else ''}{it['base']}-{it['quote']}" for it in listed if not it["quiet"]]
        names = names[:SYMBOLS]
        pids, known, bus = {}, set(), {}

        def connections():
            return json.loads(get(f"http://127.0.0.1:{ports['monitor']}/connz?limit=100"))["connections"]

        for name in ("a", "b"):
            pids[name] = start(
                f"{FOLDER}/marketdata", "--bus", f"nats://127.0.0.1:{ports['nats']}", "--sim", sim, "--instruments",
                ",".join(names), "--timeframes", "1s,1m,1h,1d",
                # Nobody shall take over on a busy machine.
                "--takeover-silence-ms", "10000", "--admin-listen", f"127.0.0.1:{ports[name]}")
            kind = "held" if name == "a" else "standby"
            until(f"{name} is {kind}", lambda: metric(ports[name], f"marketdata_instruments_{kind}") == len(names))
            bus[name] = {it["cid"] for it in connections()} - known
            known |= bus[name]
        time.sleep(WARM_SECONDS)

        def look():
            by_id = {it["cid"]: it for it in connections()}
            return {name: (processor_seconds(pids[name]), sum(by_id[it]["in_bytes"] for it in bus[name]),
                           sum(by_id[it]["out_bytes"] for it in bus[name])) for name in pids}

        before = look()
        time.sleep(SECONDS)
        after = look()
        if metric(ports["a"], "marketdata_instruments_held") != len(names):
            sys.exit("the standby has taken over: measure again on a quieter machine")
        use = {name: [(b - a) / SECONDS for a, b in zip(before[name], after[name])] + [resident_mb(pids[name])] for name in pids}
        print(f"{len(names)} symbols, {SECONDS} s; processors, published KB/s, received KB/s, resident MB")
        for name, what in (("a", "publishes"), ("b", "follows")):
            busy, published, received, memory = use[name]
            print(f"{what:10} {busy:8.3f} {published / 1e3:10.1f} {received / 1e3:10.1f} {memory:8.1f}")
        ratios = [second / first if first else float("nan") for first, second in zip(use["a"], use["b"])]
        print("ratio      {:8.2f} {:10.2f} {:10.2f} {:8.2f}".format(*ratios))
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


main()

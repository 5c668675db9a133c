#!/usr/bin/env bash
# Sustained load: marketdata between exchange-sim and NATS, as processes on loopback.
# Prints one row of docs/performance.md, section "Sustained", for each rate.
#
#   scripts/bench-sustained.sh [RATE...]       trades per second [20000 100000 200000]
#
# Build first: cargo build --release -p marketdata -p exchange-sim (and -p history)
#
# Environment, with the defaults in brackets:
#   SYMBOLS          invented symbols, shared out over three venues [1000]
#   WARM_SECONDS     before the measurement [15]
#   SECONDS_MEASURED [30]
#   MARKETDATA_ARGS  more flags, such as '--publish-trades false' []
#   SIM_ARGS         more flags for the simulator []
#   HISTORY_ARGS     a history stores what is published, with these flags, such as '--trades'
#                    or '--trades --store influxdb://127.0.0.1:8086/bench' [no history]
#   NICE             niceness of all three programs; below 0 it needs root, and keeps other
#                    jobs of a shared machine out of the figures [0]
#   BIN_DIR          where the programs are [target/release, or CARGO_TARGET_DIR's]
#   KEEP_METRICS     folder for the scraped metrics and logs of each run [none]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export PATH="$root/.tools/bin:$PATH"
export SYMBOLS=${SYMBOLS:-1000} WARM_SECONDS=${WARM_SECONDS:-15} SECONDS_MEASURED=${SECONDS_MEASURED:-30}
export MARKETDATA_ARGS=${MARKETDATA_ARGS:-} SIM_ARGS=${SIM_ARGS:-} KEEP_METRICS=${KEEP_METRICS:-} NICE=${NICE:-0} HISTORY_ARGS=${HISTORY_ARGS:-}
export BIN_DIR=${BIN_DIR:-${CARGO_TARGET_DIR:-$root/target}/release}

programs=(marketdata exchange-sim ${HISTORY_ARGS:+history})
for program in "${programs[@]}"; do
    [ -x "$BIN_DIR/$program" ] || {
        echo "bench: $BIN_DIR/$program is missing; cargo build --release -p $program" >&2
        exit 1
    }
done
command -v nats-server >/dev/null || scripts/tools.sh --for "$0" nats
[ $# -gt 0 ] || set -- 20000 100000 200000

exec python3 - "$@" <<'PYTHON'
import json, os, re, shlex, shutil, signal, socket, subprocess, sys, tempfile, time, urllib.request

env = os.environ
SYMBOLS = int(env["SYMBOLS"])
WARM, MEASURED = float(env["WARM_SECONDS"]), float(env["SECONDS_MEASURED"])
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def scrape(port):
    samples = {}
    for line in get(f"http://127.0.0.1:{port}/metrics").splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            samples[name] = float(value)
    return samples


def processor_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def machine_busy_seconds():
    fields = [int(field) for field in open("/proc/stat").readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def resident_mb(pid):
    found = re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read())
    return int(found.group(1)) / 1024


class Snapshot:
    def __init__(self, run):
        self.at = time.monotonic()
        self.cpu = {name: processor_seconds(p.pid) for name, p in run.processes.items()}
        self.rss = {name: resident_mb(p.pid) for name, p in run.processes.items()}
        self.machine = machine_busy_seconds()
        self.metrics, self.sim = scrape(run.admin), scrape(run.sim_admin)
        self.history = scrape(run.history) if run.history else {}
        nats = f"http://127.0.0.1:{run.monitor}"
        self.varz = json.loads(get(f"{nats}/varz"))
        jsz = json.loads(get(f"{nats}/jsz?streams=1"))
        streams = jsz["account_details"][0]["stream_detail"]
        self.stored = {stream["name"]: stream["state"]["last_seq"] for stream in streams}


class Run:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="klinecast-bench.")
        self.processes = {}

    def begin(self, rate):
        self.admin, self.sim_admin, self.monitor = free_port(), free_port(), free_port()
        self.history = free_port() if env["HISTORY_ARGS"] else None
        nats, sim = free_port(), free_port()
        venues = [("binance", "USDT", ""), ("coinbase", "USD", ""), ("okx", "USDT", "")]
        instruments = [
            f"{venue}:{prefix}SIM{number:04}-{quote}"
            for number in range(SYMBOLS)
            for venue, quote, prefix in [venues[number % 3]]
        ]
        self.start("nats", ["nats-server", "--config", "docker/nats.conf", "--addr", "127.0.0.1",
                            "--port", str(nats), "--http_port", str(self.monitor),
                            "--store_dir", f"{self.dir}/nats"],
                   f"http://127.0.0.1:{self.monitor}/healthz")
        self.start("sim", [f"{env['BIN_DIR']}/exchange-sim", "--listen", f"127.0.0.1:{sim}",
                           "--admin-listen", f"127.0.0.1:{self.sim_admin}",
                           "--symbols", str(SYMBOLS), "--rate", str(rate / SYMBOLS),
                           "--history-minutes", "0", "--rate-limits", "false",
                           *shlex.split(env["SIM_ARGS"])],
                   f"http://127.0.0.1:{self.sim_admin}/readyz")
        if self.history:
            # Before marketdata: from the first trade on, nothing is missing.
            self.start("history", [f"{env['BIN_DIR']}/history", "--bus", f"nats://127.0.0.1:{nats}",
                                   "--data-dir", f"{self.dir}/history", "--listen", "127.0.0.1:0",
                                   "--admin-listen", f"127.0.0.1:{self.history}",
                                   *shlex.split(env["HISTORY_ARGS"])],
                       f"http://127.0.0.1:{self.history}/healthz")
        self.start("marketdata", [f"{env['BIN_DIR']}/marketdata", "--sim", f"http://127.0.0.1:{sim}",
                                  "--bus", f"nats://127.0.0.1:{nats}",
                                  "--admin-listen", f"127.0.0.1:{self.admin}",
                                  "--instruments", ",".join(instruments),
                                  *shlex.split(env["MARKETDATA_ARGS"])],
                   f"http://127.0.0.1:{self.admin}/readyz")

    def start(self, name, command, ready_url):
        log = open(f"{self.dir}/{name}.log", "w")
        self.processes[name] = subprocess.Popen(
            ["nice", "-n", env["NICE"], *command], stdout=log, stderr=log, start_new_session=True)
        # Where the kernel groups processes by session, a process's own niceness counts only inside.
        if env["NICE"] != "0" and os.path.exists("/proc/self/autogroup"):
            with open(f"/proc/{self.processes[name].pid}/autogroup", "w") as group:
                group.write(env["NICE"])
        deadline = time.monotonic() + 60
        while True:
            try:
                get(ready_url)
                return
            except OSError:
                if self.processes[name].poll() is not None or time.monotonic() > deadline:
                    print(open(log.name).read()[-3000:], file=sys.stderr)
                    raise SystemExit(f"bench: {name} did not become ready")
                time.sleep(0.1)

    def stop(self):
        for name in ["marketdata", "sim", "history", "nats"]:
            if process := self.processes.get(name):
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        if env["KEEP_METRICS"]:
            shutil.copytree(self.dir, env["KEEP_METRICS"], dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns("nats"))
        shutil.rmtree(self.dir, ignore_errors=True)


def total(samples, name, **labels):
    """Sum of a metric's samples that have the labels."""
    sum_ = 0.0
    for sample, value in samples.items():
        if sample.partition("{")[0] == name and all(f'{k}="{v}"' in sample for k, v in labels.items()):
            sum_ += value
    return sum_


def grown(before, after, name, **labels):
    return total(after.metrics, name, **labels) - total(before.metrics, name, **labels)


def quantile(before, after, name, q, **labels):
    """Milliseconds, interpolated in the histogram's bucket."""
    bounds = {}
    for sample in after.metrics:
        if sample.partition("{")[0] == f"{name}_bucket" and all(f'{k}="{v}"' in sample for k, v in labels.items()):
            bound = float(re.search(r'le="([^"]+)"', sample).group(1).replace("+Inf", "inf"))
            bounds[bound] = bounds.get(bound, 0) + after.metrics[sample] - before.metrics.get(sample, 0)
    if not bounds or max(bounds.values()) == 0:
        return float("nan")
    wanted, below, low = q * max(bounds.values()), 0.0, 0.0
    for bound, count in sorted(bounds.items()):
        if count >= wanted:
            if bound == float("inf"):
                return bound
            return 1e3 * (low + (bound - low) * (wanted - below) / (count - below))
        below, low = count, bound
    return float("inf")


def measure(rate):
    run = Run()
    try:
        run.begin(rate)
        time.sleep(WARM)
        a = Snapshot(run)
        time.sleep(MEASURED)
        b = Snapshot(run)
        if env["KEEP_METRICS"]:
            for name, port in [("marketdata", run.admin), ("sim", run.sim_admin), ("history", run.history)]:
                if not port:
                    continue
                with open(f"{run.dir}/{name}.metrics", "w") as out:
                    out.write(get(f"http://127.0.0.1:{port}/metrics"))
    finally:
        run.stop()
    s = b.at - a.at

    def per_second(value):
        return f"{value / s:,.0f}"

    def each(name):
        return f"{100 * (b.cpu[name] - a.cpu[name]) / s:.0f}% {b.rss[name]:.0f}MB"

    def p50_p99(name, **labels):
        return "/".join(f"{quantile(a, b, name, q, **labels):.2f}" for q in (0.5, 0.99))

    def by_trigger(trigger):
        closes = "marketdata_close_to_publish_seconds"
        count = grown(a, b, f"{closes}_count", trigger=trigger)
        return f"{count:,.0f}, {p50_p99(closes, trigger=trigger)}"

    offered = "marketdata_trades_offered_total"
    other = (b.machine - a.machine) - sum(b.cpu[n] - a.cpu[n] for n in b.cpu)
    stored = {}
    if run.history:
        def of_stream(samples, name):
            found = {re.search(r'stream="([^"]+)"', sample).group(1): value
                     for sample, value in samples.items() if sample.partition("{")[0] == name}
            return ", ".join(f"{stream} {value:,.0f}" for stream, value in sorted(found.items()))

        rows = total(b.history, "history_rows_total") - total(a.history, "history_rows_total")
        stored = {
            "history: rows/s": per_second(rows),
            "history: messages behind at the end": of_stream(b.history, "history_lag_messages"),
            "history: seconds behind at the end": of_stream(b.history, "history_lag_seconds"),
            "history: lost messages": f"{total(b.history, 'history_messages_lost_total'):.0f}",
            "history": each("history"),
        }
    cells = {
        "asked trades/s": f"{rate:,.0f}",
        "in bars/s": per_second(grown(a, b, offered, fate="in_bar")),
        "late": f"{grown(a, b, 'marketdata_late_trades_total'):.0f}",
        "dropped trades, bars": f"{grown(a, b, 'marketdata_inbox_dropped_trades_total'):.0f}, "
        f"{grown(a, b, 'marketdata_publish_dropped_total', kind='closed_bar') + grown(a, b, 'marketdata_publish_dropped_total', kind='stored_bar'):.0f}",
        "gaps": f"{grown(a, b, 'marketdata_gaps_total', state='open'):.0f}",
        "closed bar: trigger to publish p50/p99 ms": p50_p99("marketdata_close_to_publish_seconds"),
        "of it, closed by a tick: bars, ms": by_trigger("tick"),
        "of it, closed by a frame: bars, ms": by_trigger("frame"),
        "closed bar: queued to publish p50/p99 ms": p50_p99("marketdata_stage_seconds", stage="publish"),
        "trade: frame to bar p50/p99 ms": p50_p99("marketdata_frame_to_bar_seconds"),
        "forming bar: frame to publish p50/p99 ms": p50_p99("marketdata_frame_to_publish_seconds"),
        "kline msg/s": per_second(b.stored["KLINE"] - a.stored["KLINE"]),
        "closed, state msg/s": f"{per_second(b.stored['CLOSED'] - a.stored['CLOSED'])}, {per_second(b.stored['STATE'] - a.stored['STATE'])}",
        "market msg/s (dropped)": f"{per_second(grown(a, b, 'marketdata_published_total', kind='trade'))} ({per_second(grown(a, b, 'marketdata_publish_dropped_total', kind='trade'))})",
        "NATS in msg/s, MB/s": f"{per_second(b.varz['in_msgs'] - a.varz['in_msgs'])}, {(b.varz['in_bytes'] - a.varz['in_bytes']) / s / 1e6:.1f}",
        "marketdata": each("marketdata"),
        "exchange-sim": each("sim"),
        "nats-server": each("nats"),
        **stored,
        "others": f"{100 * other / s:.0f}%",
        "trades/s per marketdata core": f"{grown(a, b, offered, fate='in_bar') / max(b.cpu['marketdata'] - a.cpu['marketdata'], 0.01):,.0f}",
    }
    return cells


for given in sys.argv[1:]:
    print(json.dumps(measure(float(given)), indent=1, ensure_ascii=False), flush=True)
PYTHON

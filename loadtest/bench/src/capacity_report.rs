//! What a machine carried, as Markdown.

use std::fmt::Write as _;

use crate::capacity::{Capacity, Demand, Memory};
use crate::report::{short, times};
use crate::workload::Name;

fn mib(bytes: f64) -> String {
    short(bytes / 1_048_576.0)
}

/// How much it grew, bytes; negative if it shrank.
fn growth(before: u64, after: u64) -> f64 {
    after as f64 - before as f64
}

/// The report of a run.
pub(crate) fn text(demand: &Demand, capacity: &Capacity) -> String {
    let open = f64::from(capacity.open.0.max(1));
    let mut text = format!(
        "### {} connections over {} gateways, {} topics each\n\n",
        capacity.open.0, capacity.gateways, demand.topics
    );
    let _ = writeln!(
        text,
        "- All were open after {} s; {} s of the gateways' CPU, {} µs a handshake; handshakes {} ms (p50 / p99 / p99.9 / max)",
        short(capacity.connect_s),
        short(capacity.connect_cpu_s),
        short(capacity.connect_cpu_s * 1e6 / open),
        times(capacity.handshake),
    );
    let idle = capacity.idle_cpu_us.map_or_else(|| "–".to_owned(), short);
    let _ = writeln!(
        text,
        "- Idle for {} s, pings included: {idle} µs of gateway CPU per connection per second",
        short(capacity.idle_s)
    );
    let _ = writeln!(
        text,
        "- Failed attempts to connect: {}; open at the end: {}; ended by a gateway: {:?}\n",
        capacity.failed, capacity.open.1, capacity.closed
    );
    text += &memory_table(capacity, open);
    text += "| updates come | a topic, 1/s | to clients, 1/s | delivered | carried | latency ms p50 / p99 / p99.9 / max | updates/frame | gateways, cores (least to most of one) | µs an update | load clients, cores | nats-server, cores | others, cores |\n";
    text += "|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for step in &capacity.steps {
        let cores = |cpu_s: f64| short(cpu_s / step.seconds);
        let least = step.gateways_cpu_s.iter().copied().fold(f64::MAX, f64::min);
        let most = step.gateways_cpu_s.iter().copied().fold(0.0, f64::max);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.2} % of {} | {} | {} | {} | {} ({} to {}) | {} | {} | {} | {} |",
            if step.shape == Name::Burst {
                "all topics at once"
            } else {
                "one topic after another"
            },
            step.rate,
            short(step.updates as f64 / step.seconds),
            step.delivered_percent(),
            step.expected,
            if step.is_carried { "yes" } else { "no" },
            times(step.latency),
            short(step.updates as f64 / step.frames.max(1) as f64),
            cores(step.gateway_cpu_s()),
            cores(least),
            cores(most),
            short(step.gateway_cpu_s() * 1e6 / step.updates.max(1) as f64),
            cores(step.clients_cpu_s),
            cores(step.nats_cpu_s),
            short(step.foreign_cores),
        );
    }
    let _ = writeln!(
        text,
        "\nCarried: at least {} % delivered, p99 of at most {} ms.\n",
        demand.delivered_percent_min, demand.p99_ms_max
    );
    text
}

fn memory_table(capacity: &Capacity, open: f64) -> String {
    let (before, idle) = (&capacity.memory.0, &capacity.memory.1);
    let mut text =
        "| memory, MiB | without clients | idle | KiB a connection | after the last rate |\n|---|---|---|---|---|\n"
            .to_owned();
    let last = capacity.steps.last().map_or(idle, |step| &step.memory);
    let mut row = |what: &str, of: &dyn Fn(&Memory) -> u64| {
        let _ = writeln!(
            text,
            "| {what} | {} | {} | {} | {} |",
            mib(of(before) as f64),
            mib(of(idle) as f64),
            short(growth(of(before), of(idle)) / open / 1_024.0),
            mib(of(last) as f64),
        );
    };
    row("RSS of all gateways", &|memory| memory.gateways_rss_bytes);
    row("kernel objects (slab), both ends", &|memory| {
        memory.kernel.slab_bytes
    });
    row("TCP buffers, both ends", &|memory| memory.kernel.tcp_bytes);
    row("RSS of the load clients", &|memory| {
        memory.clients_rss_bytes
    });
    let taken = growth(idle.kernel.available_bytes, before.kernel.available_bytes);
    let _ = writeln!(
        text,
        "| taken from the machine, all of it | 0 | {} | {} | {} |\n",
        mib(taken),
        short(taken / open / 1_024.0),
        mib(growth(
            last.kernel.available_bytes,
            before.kernel.available_bytes
        )),
    );
    text
}

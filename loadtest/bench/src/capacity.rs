//! How many clients a machine carries: many connections over many gateways, held, and published to
//! at falling rates until the machine keeps up.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use crate::client::{Command, Dialect};
use crate::crew::{Crew, Part};
use crate::feed::{Feed, Kind, Publisher};
use crate::histogram::Histogram;
use crate::measure::Times;
use crate::memory::Kernel;
use crate::process::{self, Cpu, Program};
use crate::server::{self, Programs};
use crate::setup::Setup;
use crate::workload::{Name, Workload};

/// Fewest whole periods of a step; in a period every topic is published at least once.
const PERIODS_MIN: f64 = 2.0;
/// Wait after the last connection, for the rest of the handshakes' work.
const SETTLE: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    /// Connections in all.
    pub(crate) connections: u32,
    /// Gateways that share them.
    pub(crate) gateways: u32,
    /// Topics, to all of which every client subscribes.
    pub(crate) topics: u16,
    /// Updates of each topic a second, tried in this order until one is carried.
    pub(crate) rates: Vec<f64>,
    /// How the updates come, each with all rates.
    pub(crate) shapes: Vec<Name>,
    /// Length of each step, s.
    pub(crate) seconds: f64,
    /// Share of the updates that must arrive, %.
    pub(crate) delivered_percent_min: f64,
    /// Longest p99 from publication to client, ms.
    pub(crate) p99_ms_max: f64,
}

/// Memory at one time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Memory {
    /// Of all gateways, bytes.
    pub(crate) gateways_rss_bytes: u64,
    /// Of the load clients, bytes.
    pub(crate) clients_rss_bytes: u64,
    /// The kernel's.
    pub(crate) kernel: Kernel,
}

/// One rate.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    /// How the updates came.
    pub(crate) shape: Name,
    /// Updates of each topic a second.
    pub(crate) rate: f64,
    /// From the first update to the last that arrived, s.
    pub(crate) seconds: f64,
    /// Updates that should arrive.
    pub(crate) expected: u64,
    /// That did.
    pub(crate) updates: u64,
    /// In so many frames.
    pub(crate) frames: u64,
    /// In so many bytes.
    pub(crate) bytes: u64,
    /// From publication to client.
    pub(crate) latency: Option<Times>,
    /// CPU time of each gateway, s.
    pub(crate) gateways_cpu_s: Vec<f64>,
    /// See above.
    pub(crate) clients_cpu_s: f64,
    /// See above.
    pub(crate) nats_cpu_s: f64,
    /// Cores that other processes used.
    pub(crate) foreign_cores: f64,
    /// Memory at its end.
    pub(crate) memory: Memory,
    /// Whether it meets the targets.
    pub(crate) is_carried: bool,
}

impl Step {
    /// Share of the updates that arrived, %.
    pub(crate) fn delivered_percent(&self) -> f64 {
        100.0 * self.updates as f64 / self.expected.max(1) as f64
    }

    /// CPU time of all gateways, s.
    pub(crate) fn gateway_cpu_s(&self) -> f64 {
        self.gateways_cpu_s.iter().sum()
    }
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Capacity {
    /// Gateways.
    pub(crate) gateways: u32,
    /// Connections that were open when the first step began, and after the last.
    pub(crate) open: (u32, u32),
    /// Until all were open, s.
    pub(crate) connect_s: f64,
    /// CPU time of the gateways for this, s.
    pub(crate) connect_cpu_s: f64,
    /// From connecting to the answer of the handshake.
    pub(crate) handshake: Option<Times>,
    /// Before the first connection, and with all clients subscribed and idle.
    pub(crate) memory: (Memory, Memory),
    /// CPU time of an idle connection, pings included, µs a second.
    pub(crate) idle_cpu_us: Option<f64>,
    /// Duration of this measurement, s.
    pub(crate) idle_s: f64,
    /// The rates that were tried.
    pub(crate) steps: Vec<Step>,
    /// Connections that a gateway ended, by close code.
    pub(crate) closed: BTreeMap<u16, u64>,
    /// Attempts to connect that failed.
    pub(crate) failed: u64,
}

struct Machine {
    nats: Program,
    gateways: Vec<Program>,
    crew: Crew,
}

impl Machine {
    fn gateways_cpu(&self) -> anyhow::Result<Vec<f64>> {
        let of = |gateway: &Program| process::cpu(gateway.id()).map(Cpu::total_s);
        self.gateways.iter().map(of).collect()
    }

    fn own_cpu_s(&self) -> anyhow::Result<f64> {
        let ours = process::cpu(std::process::id())?.total_s();
        let nats = process::cpu(self.nats.id())?.total_s();
        Ok(self.gateways_cpu()?.iter().sum::<f64>() + self.crew.cpu()? + nats + ours)
    }

    fn memory(&self) -> anyhow::Result<Memory> {
        let of = |gateway: &Program| process::rss_bytes(gateway.id());
        Ok(Memory {
            gateways_rss_bytes: self.gateways.iter().map(of).sum::<anyhow::Result<u64>>()?,
            clients_rss_bytes: self.crew.rss_bytes()?,
            kernel: Kernel::now()?,
        })
    }

    fn fine_cpu_s(&self) -> Option<f64> {
        let of = |gateway: &Program| process::fine_cpu_s(gateway.id());
        self.gateways.iter().map(of).sum()
    }

    fn check(&mut self) -> anyhow::Result<()> {
        self.nats.check()?;
        self.gateways.iter_mut().try_for_each(Program::check)
    }
}

/// Measures it. Progress goes to stderr.
pub(crate) fn measure(
    demand: &Demand,
    programs: &Programs,
    setup: &Setup,
    folder: &Path,
) -> anyhow::Result<Capacity> {
    let nats_binary = programs
        .nats
        .as_deref()
        .context("no nats-server: set NATS_SERVER_BIN or put it on the PATH")?;
    let gateway_binary = programs
        .gateway
        .as_deref()
        .context("no ws-gateway: build it with --release, or give --gateway")?;
    let workload = |shape: Name, rate: f64| Workload {
        name: shape,
        connections: demand.connections,
        topics: demand.topics,
        universe: demand.topics,
        rate,
        seconds: demand.seconds.max(PERIODS_MIN / rate),
    };
    let quiet = workload(Name::Shared, 1.0);

    let nats = server::start_nats(nats_binary, folder)?;
    let feed = Feed::connect(Kind::Nats, nats.address)?;
    let mut machine = Machine {
        nats: nats.program,
        gateways: Vec::new(),
        crew: Crew::default(),
    };
    let mut addresses = Vec::new();
    for number in 1..=demand.gateways {
        let name = format!("ws-gateway-{number}");
        let (program, address) =
            server::start_gateway(&name, gateway_binary, nats.address, folder)?;
        machine.gateways.push(program);
        addresses.push(address);
    }
    let mut publisher = Publisher::new(feed, &quiet);
    publisher.prime()?;
    std::thread::sleep(Duration::from_secs(1));
    let memory_before = machine.memory()?;

    eprintln!(
        "capacity: {} gateways are ready; {} clients connect",
        demand.gateways, demand.connections
    );
    let begin = Instant::now();
    let each = demand.connections.div_ceil(demand.gateways);
    let mut first = 0;
    for address in addresses {
        let part = Part {
            server: address,
            dialect: Dialect::Query,
            first,
            count: each.min(demand.connections - first),
        };
        machine.crew.add(part, &quiet, setup, folder)?;
        first += part.count;
    }
    let open_before = machine.crew.wait_open(demand.connections)?;
    let connect_s = begin.elapsed().as_secs_f64();
    let connect_cpu_s = machine.gateways_cpu()?.iter().sum();
    machine.check()?;
    std::thread::sleep(SETTLE);
    let memory_idle = machine.memory()?;
    eprintln!("capacity: {open_before} are open after {connect_s:.1} s; idle");

    let idle = (machine.fine_cpu_s(), Instant::now());
    std::thread::sleep(setup.idle);
    let idle_s = idle.1.elapsed().as_secs_f64();
    let idle_cpu_us = match (idle.0, machine.fine_cpu_s()) {
        (Some(before), Some(after)) if open_before > 0 && !setup.idle.is_zero() => {
            Some((after - before) * 1e6 / f64::from(open_before) / idle_s)
        }
        _ => None,
    };
    let mut handshake = Histogram::default();
    for seen in machine.crew.ask(Command::Report)? {
        handshake.merge(&seen.handshake);
    }
    for _ in 0..2 {
        publisher.prime()?;
        machine.crew.wait_settled()?;
    }

    let mut steps = Vec::new();
    for &shape in &demand.shapes {
        for &rate in &demand.rates {
            let workload = workload(shape, rate);
            eprintln!(
                "capacity: {shape:?}, {rate} updates/s a topic for {} s",
                workload.seconds
            );
            let step = run_step(&mut machine, &mut publisher, &workload, demand)?;
            let is_carried = step.is_carried;
            steps.push(step);
            if is_carried {
                break;
            }
        }
    }
    machine.check()?;
    let mut closed = BTreeMap::new();
    let (mut open_after, mut failed) = (0, 0);
    for seen in machine.crew.ask(Command::Status)? {
        open_after += seen.open;
        failed += seen.failed;
        for (code, count) in seen.closed {
            *closed.entry(code).or_default() += count;
        }
    }
    Ok(Capacity {
        gateways: demand.gateways,
        open: (open_before, open_after),
        connect_s,
        connect_cpu_s,
        handshake: Times::of(&handshake),
        memory: (memory_before, memory_idle),
        idle_cpu_us,
        idle_s,
        steps,
        closed,
        failed,
    })
}

fn run_step(
    machine: &mut Machine,
    publisher: &mut Publisher,
    workload: &Workload,
    demand: &Demand,
) -> anyhow::Result<Step> {
    machine.crew.tell(Command::Window)?;
    // All load clients have reset their counts before anything is published.
    machine.crew.open()?;
    let gateways_before = machine.gateways_cpu()?;
    let (clients_before, nats_before) = (
        machine.crew.cpu()?,
        process::cpu(machine.nats.id())?.total_s(),
    );
    let foreign_before = process::machine_cpu_s()? - machine.own_cpu_s()?;
    let begin = Instant::now();
    let published = publisher.run(workload, Duration::from_secs_f64(workload.seconds))?;
    machine.crew.wait_settled()?;
    let seconds = begin.elapsed().as_secs_f64();
    let gateways_cpu_s = machine
        .gateways_cpu()?
        .iter()
        .zip(gateways_before)
        .map(|(after, before)| after - before)
        .collect();
    let clients_cpu_s = machine.crew.cpu()? - clients_before;
    let nats_cpu_s = process::cpu(machine.nats.id())?.total_s() - nats_before;
    let foreign_s = process::machine_cpu_s()? - machine.own_cpu_s()? - foreign_before;
    let memory = machine.memory()?;

    let seen = machine.crew.ask(Command::Report)?;
    let mut latency = Histogram::default();
    seen.iter().for_each(|seen| latency.merge(&seen.latency));
    let mut step = Step {
        shape: workload.name,
        rate: workload.rate,
        seconds,
        expected: workload.expected(&published.updates),
        updates: seen.iter().map(|seen| seen.updates).sum(),
        frames: seen.iter().map(|seen| seen.frames).sum(),
        bytes: seen.iter().map(|seen| seen.bytes).sum(),
        latency: Times::of(&latency),
        gateways_cpu_s,
        clients_cpu_s,
        nats_cpu_s,
        foreign_cores: (foreign_s / seconds).max(0.0),
        memory,
        is_carried: false,
    };
    step.is_carried = step.delivered_percent() >= demand.delivered_percent_min
        && step
            .latency
            .is_some_and(|latency| latency.p99_ms <= demand.p99_ms_max);
    Ok(step)
}

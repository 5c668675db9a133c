//! One server under one workload: connect, look at the memory, publish, read the CPU.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::client::Command;
use crate::crew::{Crew, Part};
use crate::feed::{Feed, Publisher};
use crate::histogram::Histogram;
use crate::process::{self, Cpu};
use crate::server::{Running, Server};
use crate::setup::Setup;
use crate::workload::{Name, Workload};

/// Time in which all of a storm reconnect, s.
const STORM_S: f64 = 5.0;
/// Cores in use at which a machine counts as quiet.
const QUIET_CORES: f64 = 0.25;

/// Times of one kind, ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Times {
    /// Median.
    pub(crate) p50_ms: f64,
    /// 99 of 100 are no longer.
    pub(crate) p99_ms: f64,
    /// 999 of 1,000 are no longer.
    pub(crate) p999_ms: f64,
    /// The longest.
    pub(crate) max_ms: f64,
}

impl Times {
    /// Those of a histogram, if there is anything in it.
    pub(crate) fn of(histogram: &Histogram) -> Option<Times> {
        let ms = |us: u64| us as f64 / 1_000.0;
        Some(Times {
            p50_ms: ms(histogram.quantile_us(0.5)?),
            p99_ms: ms(histogram.quantile_us(0.99)?),
            p999_ms: ms(histogram.quantile_us(0.999)?),
            max_ms: ms(histogram.max_us()?),
        })
    }
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    /// Connections that were open when it began, and when it was over.
    pub(crate) open: (u32, u32),
    /// Updates that were to be delivered.
    pub(crate) expected: u64,
    /// Updates that were.
    pub(crate) updates: u64,
    /// In so many frames.
    pub(crate) frames: u64,
    /// That were got in so many reads.
    pub(crate) reads: u64,
    /// And so many bytes.
    pub(crate) bytes: u64,
    /// The server's CPU time, s.
    pub(crate) cpu_user_s: f64,
    /// See above.
    pub(crate) cpu_system_s: f64,
    /// The nats-server's before it, s.
    pub(crate) bus_cpu_s: f64,
    /// The load clients', s.
    pub(crate) client_cpu_s: f64,
    /// CPU time of an idle connection, µs a second.
    pub(crate) idle_cpu_us: Option<f64>,
    /// Memory of the server without connections.
    pub(crate) rss_base_bytes: u64,
    /// Memory with all clients subscribed and idle.
    pub(crate) rss_idle_bytes: u64,
    /// At the end.
    pub(crate) rss_end_bytes: u64,
    /// From publication to client.
    pub(crate) latency: Option<Times>,
    /// From connecting to being connected.
    pub(crate) handshake: Option<Times>,
    /// From connecting to the first bar.
    pub(crate) first_data: Option<Times>,
    /// Connections ended by the server, by close code.
    pub(crate) closed: BTreeMap<u16, u64>,
    /// Failed attempts to connect.
    pub(crate) failed: u64,
    /// Cores that other processes used in the meantime.
    pub(crate) foreign_cores: f64,
    /// The publisher's greatest delay, ms.
    pub(crate) publisher_late_ms: f64,
}

impl Outcome {
    /// CPU time.
    pub(crate) fn cpu(&self) -> Cpu {
        Cpu {
            user_s: self.cpu_user_s,
            system_s: self.cpu_system_s,
        }
    }

    /// Memory of an idle connection, bytes.
    pub(crate) fn rss_per_connection(&self) -> Option<f64> {
        let bytes = self.rss_idle_bytes as f64 - self.rss_base_bytes as f64;
        (self.open.0 > 0).then(|| bytes / f64::from(self.open.0))
    }
}

/// Returns when the machine is otherwise idle, or after this time.
fn wait_quiet(at_most: Duration) -> anyhow::Result<()> {
    const LOOK: Duration = Duration::from_millis(500);
    let deadline = Instant::now() + at_most;
    while Instant::now() < deadline {
        let before = process::machine_cpu_s()?;
        std::thread::sleep(LOOK);
        if process::machine_cpu_s()? - before < LOOK.as_secs_f64() * QUIET_CORES {
            break;
        }
    }
    Ok(())
}

/// Runs a workload against a new server.
pub(crate) fn measure(
    mut running: Running,
    workload: &Workload,
    setup: &Setup,
    folder: &Path,
) -> anyhow::Result<Outcome> {
    let server_id = running.program.id();
    let (kind, address) = running.feed;
    let mut publisher = Publisher::new(Feed::connect(kind, address)?, workload);
    // So that a server with snapshots has data for them.
    publisher.prime()?;
    std::thread::sleep(Duration::from_millis(500));
    let rss_base_bytes = process::rss_bytes(server_id)?;

    let mut clients = Crew::default();
    let part = Part {
        server: running.address,
        dialect: running.dialect,
        first: 0,
        count: workload.connections,
    };
    clients.add(part, workload, setup, folder)?;
    let open_before = clients.wait_open(workload.connections)?;
    std::thread::sleep(Duration::from_secs(1));
    let rss_idle_bytes = process::rss_bytes(server_id)?;
    let idle_before = process::fine_cpu_s(server_id);
    std::thread::sleep(setup.idle);
    let idle_after = process::fine_cpu_s(server_id);
    let idle_cpu_us = match (idle_before, idle_after) {
        (Some(before), Some(after)) if open_before > 0 && !setup.idle.is_zero() => {
            Some((after - before) * 1e6 / f64::from(open_before) / setup.idle.as_secs_f64())
        }
        _ => None,
    };
    // Those of the first connects, before any bar was published to them: snapshots.
    let connected = clients.ask(Command::Report)?;

    // The first updates find cold caches, and sockets whose windows are still small.
    for _ in 0..2 {
        publisher.prime()?;
        clients.wait_settled()?;
    }
    wait_quiet(setup.quiet)?;
    running.program.check()?;

    let is_storm = workload.name == Name::Storm;
    clients.tell(if is_storm {
        Command::Storm(STORM_S)
    } else {
        Command::Window
    })?;
    // All load clients have reset their counts before anything is published.
    clients.open()?;
    let own = |clients: &Crew| -> anyhow::Result<f64> {
        let bus = running
            .bus
            .as_ref()
            .map_or(Ok(0.0), |bus| process::cpu(bus.id()).map(Cpu::total_s))?;
        Ok(bus
            + process::cpu(server_id)?.total_s()
            + clients.cpu()?
            + process::cpu(std::process::id())?.total_s())
    };
    let begin = (Instant::now(), process::machine_cpu_s()? - own(&clients)?);
    let cpu_before = process::cpu(server_id)?;
    let bus_before = running
        .bus
        .as_ref()
        .map(|bus| process::cpu(bus.id()))
        .transpose()?;
    let client_cpu_before = clients.cpu()?;
    let seconds = if is_storm {
        workload.seconds.max(STORM_S + 2.0)
    } else {
        workload.seconds
    };
    let published = publisher.run(workload, Duration::from_secs_f64(seconds))?;
    clients.wait_settled()?;
    let used = process::cpu(server_id)?.since(cpu_before);
    let bus_after = running
        .bus
        .as_ref()
        .map(|bus| process::cpu(bus.id()))
        .transpose()?;
    let client_cpu_s = clients.cpu()? - client_cpu_before;
    let foreign_s = process::machine_cpu_s()? - own(&clients)? - begin.1;
    let foreign_cores = (foreign_s / begin.0.elapsed().as_secs_f64()).max(0.0);
    let rss_end_bytes = process::rss_bytes(server_id)?;
    running.program.check()?;

    let seen = clients.ask(Command::Report)?;
    let (mut latency, mut handshake, mut first_data) = (
        Histogram::default(),
        Histogram::default(),
        Histogram::default(),
    );
    let mut closed = BTreeMap::new();
    for seen in &seen {
        latency.merge(&seen.latency);
        for (code, count) in &seen.closed {
            *closed.entry(*code).or_default() += count;
        }
    }
    for seen in if is_storm { &seen } else { &connected } {
        handshake.merge(&seen.handshake);
        first_data.merge(&seen.first_data);
    }
    Ok(Outcome {
        open: (open_before, seen.iter().map(|seen| seen.open).sum()),
        expected: workload.expected(&published.updates),
        updates: seen.iter().map(|seen| seen.updates).sum(),
        frames: seen.iter().map(|seen| seen.frames).sum(),
        reads: seen.iter().map(|seen| seen.reads).sum(),
        bytes: seen.iter().map(|seen| seen.bytes).sum(),
        cpu_user_s: used.user_s,
        cpu_system_s: used.system_s,
        bus_cpu_s: match (bus_before, bus_after) {
            (Some(before), Some(after)) => after.since(before).total_s(),
            _ => 0.0,
        },
        client_cpu_s,
        idle_cpu_us,
        rss_base_bytes,
        rss_idle_bytes,
        rss_end_bytes,
        latency: Times::of(&latency),
        handshake: Times::of(&handshake),
        first_data: Times::of(&first_data),
        closed,
        failed: seen.iter().map(|seen| seen.failed).sum(),
        foreign_cores,
        publisher_late_ms: published.late_max.as_secs_f64() * 1_000.0,
    })
}

/// The results of a server under a workload.
#[derive(Clone, Debug)]
pub(crate) enum Result {
    /// Measured.
    Measured(Box<Outcome>),
    /// Not measured, and why.
    Missing(String),
}

/// A row of a table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Which server.
    pub(crate) server: Server,
    /// Which result.
    pub(crate) result: Result,
}

impl Row {
    /// Takes another round's result if other processes disturbed it less.
    pub(crate) fn keep_quieter(&mut self, result: Result) {
        let is_better = match (&self.result, &result) {
            (Result::Measured(kept), Result::Measured(new)) => {
                new.foreign_cores < kept.foreign_cores
            }
            (Result::Missing(_), _) => true,
            (Result::Measured(_), Result::Missing(_)) => false,
        };
        if is_better {
            self.result = result;
        }
    }
}

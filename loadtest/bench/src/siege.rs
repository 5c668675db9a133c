//! What the well-behaved notice of those who are not: one server and one load, measured beside
//! attackers of one kind after another and of all kinds at once, and alone before and after each.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use crate::attack::{Kind, Spec};
use crate::client::Command as Order;
use crate::crew::{Crew, Part};
use crate::feed::{Feed, Publisher};
use crate::histogram::Histogram;
use crate::measure::Times;
use crate::process::{self, Cpu, Program};
use crate::report::{short, times};
use crate::server::Running;
use crate::setup::Setup;
use crate::workload::Workload;

/// Time for the attackers to be in full swing, and for a server to be rid of them.
const SWING: Duration = Duration::from_secs(2);

/// Who attacks, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Onslaught<'a> {
    /// What they do.
    pub(crate) kinds: &'a [Kind],
    /// How many do it, of each kind.
    pub(crate) each: u32,
    /// Whether they do it together only, and not one kind after another.
    pub(crate) at_once: bool,
    /// Niceness of their process.
    pub(crate) nice: u8,
}

/// A window of the measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Window {
    /// What the attackers did; empty for none.
    pub(crate) kinds: Vec<Kind>,
    /// How many there were in all.
    pub(crate) attackers: u32,
    /// Updates that the well-behaved were to get.
    pub(crate) expected: u64,
    /// That they got.
    pub(crate) updates: u64,
    /// Of them, connections that are open.
    pub(crate) open: u32,
    /// From publication to them.
    pub(crate) latency: Option<Times>,
    /// The server's CPU time, s.
    pub(crate) cpu_s: f64,
    /// The attackers' own, s.
    pub(crate) attackers_cpu_s: f64,
    /// That of the well-behaved, s.
    pub(crate) clients_cpu_s: f64,
    /// The server's memory at the end, bytes.
    pub(crate) rss_bytes: u64,
    /// Cores that other processes used.
    pub(crate) foreign_cores: f64,
}

/// A process of attackers: ends with its standard input.
struct Attackers {
    program: Program,
    _stdin: ChildStdin,
}

impl Attackers {
    fn start(spec: &Spec, nice: u8, folder: &Path) -> anyhow::Result<Attackers> {
        // It becomes the program that it starts, so its process is the attackers'.
        let mut command = Command::new("nice");
        command
            .args(["-n", &nice.to_string()])
            .arg(std::env::current_exe()?)
            .args(["attack", &serde_json::to_string(spec)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut program = Program::start("attackers", &mut command, folder)?;
        let stdin = program.child.stdin.take().context("stdin is a pipe")?;
        Ok(Attackers {
            program,
            _stdin: stdin,
        })
    }
}

/// What runs while it is measured.
struct Field {
    running: Running,
    crew: Crew,
    publisher: Publisher,
    workload: Workload,
}

impl Field {
    fn window(
        &mut self,
        kinds: &[Kind],
        onslaught: Onslaught<'_>,
        folder: &Path,
    ) -> anyhow::Result<Window> {
        let spec = Spec {
            server: self.running.address,
            kinds: kinds.to_vec(),
            each: onslaught.each,
            topics: self.workload.topics,
        };
        let mut attackers = match kinds {
            [] => None,
            _ => Some(Attackers::start(&spec, onslaught.nice, folder)?),
        };
        // They begin, and the well-behaved go on, before anything counts.
        self.publisher.run(&self.workload, SWING)?;
        self.crew.tell(Order::Window)?;
        self.crew.open()?;
        let server = self.running.program.id();
        let attackers_cpu = |attackers: &Option<Attackers>| match attackers {
            Some(attackers) => process::cpu(attackers.program.id()).map(Cpu::total_s),
            None => Ok(0.0),
        };
        let own = |crew: &Crew, bus: &Option<Program>| -> anyhow::Result<f64> {
            let bus = bus
                .as_ref()
                .map_or(Ok(0.0), |bus| process::cpu(bus.id()).map(Cpu::total_s))?;
            Ok(bus
                + process::cpu(server)?.total_s()
                + crew.cpu()?
                + process::cpu(std::process::id())?.total_s())
        };
        let cpu = process::cpu(server)?.total_s();
        let attackers_before = attackers_cpu(&attackers)?;
        let clients_before = self.crew.cpu()?;
        let foreign =
            process::machine_cpu_s()? - own(&self.crew, &self.running.bus)? - attackers_before;
        let length = Duration::from_secs_f64(self.workload.seconds);
        let published = self.publisher.run(&self.workload, length)?;
        let cpu_s = process::cpu(server)?.total_s() - cpu;
        let attackers_now = attackers_cpu(&attackers)?;
        let clients_cpu_s = self.crew.cpu()? - clients_before;
        let foreign_s = process::machine_cpu_s()?
            - own(&self.crew, &self.running.bus)?
            - attackers_now
            - foreign;
        let rss_bytes = process::rss_bytes(server)?;
        if let Some(attackers) = &mut attackers {
            attackers.program.check()?;
        }
        self.crew.wait_settled()?;
        let seen = self.crew.ask(Order::Report)?;
        let mut latency = Histogram::default();
        seen.iter().for_each(|seen| latency.merge(&seen.latency));
        let window = Window {
            kinds: kinds.to_vec(),
            attackers: u32::try_from(kinds.len())
                .unwrap_or(u32::MAX)
                .saturating_mul(onslaught.each),
            expected: self.workload.expected(&published.updates),
            updates: seen.iter().map(|seen| seen.updates).sum(),
            open: seen.iter().map(|seen| seen.open).sum(),
            latency: Times::of(&latency),
            cpu_s,
            attackers_cpu_s: attackers_now - attackers_before,
            clients_cpu_s,
            rss_bytes,
            foreign_cores: (foreign_s / self.workload.seconds).max(0.0),
        };
        drop(attackers);
        self.running.program.check()?;
        Ok(window)
    }
}

/// Measures a server that has just been started under each kind, and under all of them.
pub(crate) fn measure(
    running: Running,
    workload: &Workload,
    onslaught: Onslaught<'_>,
    setup: &Setup,
    folder: &Path,
) -> anyhow::Result<Vec<Window>> {
    let (feed, address) = running.feed;
    let mut publisher = Publisher::new(Feed::connect(feed, address)?, workload);
    publisher.prime()?;
    std::thread::sleep(Duration::from_millis(500));
    let mut crew = Crew::default();
    let part = Part {
        server: running.address,
        dialect: running.dialect,
        first: 0,
        count: workload.connections,
    };
    crew.add(part, workload, setup, folder)?;
    let open = crew.wait_open(workload.connections)?;
    anyhow::ensure!(
        open == workload.connections,
        "only {open} of {} clients came in",
        workload.connections
    );
    let mut field = Field {
        running,
        crew,
        publisher,
        workload: *workload,
    };
    let kinds = onslaught.kinds;
    let mut sets: Vec<&[Kind]> = Vec::new();
    if !onslaught.at_once {
        sets.extend(kinds.chunks(1));
    }
    if kinds.len() > 1 || onslaught.at_once {
        sets.push(kinds);
    }
    let mut windows = vec![field.window(&[], onslaught, folder)?];
    for set in sets {
        windows.push(field.window(set, onslaught, folder)?);
        windows.push(field.window(&[], onslaught, folder)?);
    }
    Ok(windows)
}

fn p99_ms(window: &Window) -> Option<f64> {
    window.latency.map(|latency| latency.p99_ms)
}

/// The table of a server.
pub(crate) fn table(label: &str, workload: &Workload, windows: &[Window]) -> String {
    let mut text = format!(
        "### {label}: {} clients on the same {} topics, {} updates/s a topic, {} s each, beside attackers\n\n",
        workload.connections, workload.topics, workload.rate, workload.seconds
    );
    text += "| attackers | how many | delivered | latency ms p50 / p99 / p99.9 / max | p99 alone, before and after | × p99 alone | server, cores (alone) | server RSS, MiB | attackers, cores | clients, cores (alone) | others, cores |\n|---|---|---|---|---|---|---|---|---|---|---|\n";
    for three in windows.windows(3) {
        let [before, window, after] = three else {
            continue;
        };
        let what = match &window.kinds[..] {
            [] => continue,
            [kind] => format!("{kind:?}"),
            _ => "all of these".to_owned(),
        };
        let cores = |cpu_s: f64| short(cpu_s / workload.seconds);
        let p99 = |window: &Window| p99_ms(window).unwrap_or(f64::NAN);
        let alone_ms = f64::midpoint(p99(before), p99(after));
        let lost = workload.connections - window.open.min(workload.connections);
        let note = if lost > 0 {
            format!(", {lost} clients lost")
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "| {what} | {} | {:.2} %{note} | {} | {}, {} | {} | {} ({}) | {} | {} | {} ({}) | {} |",
            window.attackers,
            100.0 * window.updates as f64 / window.expected.max(1) as f64,
            times(window.latency),
            short(p99(before)),
            short(p99(after)),
            short(p99(window) / alone_ms),
            cores(window.cpu_s),
            cores(f64::midpoint(before.cpu_s, after.cpu_s)),
            short(window.rss_bytes as f64 / 1_048_576.0),
            cores(window.attackers_cpu_s),
            cores(window.clients_cpu_s),
            cores(f64::midpoint(before.clients_cpu_s, after.clients_cpu_s)),
            short(window.foreign_cores),
        );
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Name;

    fn window(kinds: &[Kind], p99_ms: f64) -> Window {
        Window {
            kinds: kinds.to_vec(),
            attackers: 2,
            expected: 200,
            updates: 200,
            open: 10,
            latency: Some(Times {
                p99_ms,
                ..Times::default()
            }),
            cpu_s: 1.0,
            attackers_cpu_s: 0.0,
            clients_cpu_s: 0.5,
            rss_bytes: 1 << 20,
            foreign_cores: 0.0,
        }
    }

    #[test]
    fn attackers_are_held_against_the_windows_before_and_after_them() {
        let workload = Workload {
            name: Name::Shared,
            connections: 10,
            topics: 10,
            universe: 10,
            rate: 1.0,
            seconds: 2.0,
        };
        let windows = [
            window(&[], 10.0),
            window(&[Kind::Stalls], 18.0),
            window(&[], 20.0),
            window(&[Kind::Stalls, Kind::Dribbles], 30.0),
            window(&[], 20.0),
        ];
        let text = table("a server", &workload, &windows);
        let rows: Vec<&str> = text.lines().skip(4).collect();
        assert_eq!(
            rows[0],
            "| Stalls | 2 | 100.00 % | 0.000 / 18.0 / 0.000 / 0.000 | 10.0, 20.0 | 1.20 | 0.500 (0.500) | 1.00 | 0.000 | 0.250 (0.250) | 0.000 |"
        );
        assert!(
            rows[1].starts_with("| all of these | ") && rows[1].contains("| 1.50 |"),
            "{text}"
        );
    }
}

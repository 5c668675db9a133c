//! The load clients as processes: start them, send commands, get reports.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::client::{Command, Dialect, Seen, Spec};
use crate::process::{self, Cpu, Program};
use crate::setup::Setup;
use crate::workload::Workload;

const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// If no update arrives for this time, all updates are delivered.
const SETTLED: Duration = Duration::from_millis(400);

/// A load client in a process of its own.
struct RemoteClient {
    program: Program,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl RemoteClient {
    fn start(spec: &Spec, folder: &Path) -> anyhow::Result<RemoteClient> {
        let mut command = process::own_program("client")?;
        command.arg(serde_json::to_string(spec)?);
        let mut program = Program::start(&format!("client-{}", spec.first), &mut command, folder)?;
        let stdin = program.child.stdin.take().context("stdin is a pipe")?;
        let stdout = program.child.stdout.take().context("stdout is a pipe")?;
        Ok(RemoteClient {
            program,
            stdin,
            stdout: BufReader::new(stdout),
        })
    }

    fn tell(&mut self, command: Command) -> anyhow::Result<()> {
        writeln!(self.stdin, "{}", serde_json::to_string(&command)?)
            .context("a load client has ended")
    }
}

/// Clients of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// The server.
    pub(crate) server: SocketAddr,
    /// The protocol to the server.
    pub(crate) dialect: Dialect,
    /// Number of the first client.
    pub(crate) first: u32,
    /// Clients.
    pub(crate) count: u32,
}

/// All load clients of a run.
#[derive(Default)]
pub(crate) struct Crew(Vec<RemoteClient>);

impl Crew {
    /// Starts the clients of a server, in as many processes as the open-files limit requires.
    pub(crate) fn add(
        &mut self,
        part: Part,
        workload: &Workload,
        setup: &Setup,
        folder: &Path,
    ) -> anyhow::Result<()> {
        let files = process::open_files_max().unwrap_or(1_024);
        let most = u32::try_from(files.saturating_sub(200))
            .unwrap_or(u32::MAX)
            .max(1);
        let processes = match setup.client_processes {
            0 => part.count.div_ceil(most.min(16_000)),
            processes => processes,
        }
        .max(1);
        let each = part.count.div_ceil(processes).max(1);
        let end = part.first + part.count;
        for first in (part.first..end).step_by(each as usize) {
            let spec = Spec {
                server: part.server,
                dialect: part.dialect,
                workload: *workload,
                first,
                count: each.min(end - first),
                sources: setup.sources,
            };
            self.0.push(RemoteClient::start(&spec, folder)?);
        }
        Ok(())
    }

    /// Sends a command to all of them.
    pub(crate) fn tell(&mut self, command: Command) -> anyhow::Result<()> {
        self.0
            .iter_mut()
            .try_for_each(|client| client.tell(command))
    }

    /// Asks all of them for [`Command::Status`] or [`Command::Report`].
    pub(crate) fn ask(&mut self, command: Command) -> anyhow::Result<Vec<Seen>> {
        self.tell(command)?;
        let read = |client: &mut RemoteClient| {
            let mut line = String::new();
            client.stdout.read_line(&mut line)?;
            serde_json::from_str(&line).context("a load client has ended")
        };
        self.0.iter_mut().map(read).collect()
    }

    /// Connections that are open.
    pub(crate) fn open(&mut self) -> anyhow::Result<u32> {
        Ok(self
            .ask(Command::Status)?
            .iter()
            .map(|seen| seen.open)
            .sum())
    }

    /// CPU time so far, s.
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        let of = |client: &RemoteClient| process::cpu(client.program.id()).map(Cpu::total_s);
        self.0.iter().map(of).sum()
    }

    /// Resident memory, bytes.
    pub(crate) fn rss_bytes(&self) -> anyhow::Result<u64> {
        let of = |client: &RemoteClient| process::rss_bytes(client.program.id());
        self.0.iter().map(of).sum()
    }

    /// Returns when this many are open, or when no more come.
    pub(crate) fn wait_open(&mut self, count: u32) -> anyhow::Result<u32> {
        let deadline = Instant::now() + Duration::from_secs(20 + u64::from(count) / 500);
        loop {
            let open = self.open()?;
            if open >= count || Instant::now() > deadline {
                return Ok(open);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Returns when no more updates arrive.
    pub(crate) fn wait_settled(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(15);
        let mut last = (0, Instant::now());
        while Instant::now() < deadline {
            let updates: u64 = self
                .ask(Command::Status)?
                .iter()
                .map(|seen| seen.updates)
                .sum();
            if updates != last.0 {
                last = (updates, Instant::now());
            } else if last.1.elapsed() >= SETTLED {
                return Ok(());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}

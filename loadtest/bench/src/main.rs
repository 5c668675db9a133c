//! `fanout-bench`: what it costs to send bars to many WebSocket clients. It runs the same
//! workloads against a bare `send(2)`, ws-gateway and its peers, one after another, and prints
//! tables. See docs/performance.md.
//!
//! # Layout
//!
//! - `workload`: what is published, who subscribes; `bar`: the bytes; `feed`: the publisher;
//! - `client`: the load client, on `frame` and `histogram`;
//! - `floor`, `axum_peer` and `uws_peer.py`: servers of our own; `server` starts all;
//! - `measure`: one server under one workload, with CPU and memory from `process`; `report`.

mod bar;
mod feed;
mod workload;

mod client;
mod frame;
mod histogram;

mod axum_peer;
mod floor;
mod server;

mod measure;
mod process;
mod report;

#[cfg(test)]
mod smoke;

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::measure::{Result as Measurement, Row, Setup};
use crate::server::{Programs, Server};
use crate::workload::{Name, Workload};

/// Measures what it costs to send bars to many WebSocket clients.
#[derive(Parser)]
#[command(name = "fanout-bench", version)]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run workloads against servers, one after another.
    Run(RunFlags),
    /// Be a load client; started by `run`.
    #[command(hide = true)]
    Client { spec: String },
    /// Be the floor; started by `run`.
    #[command(hide = true)]
    ServeFloor { framing: String },
    /// Be the axum peer; started by `run`.
    #[command(hide = true)]
    ServeAxum { nats_url: String },
}

#[derive(clap::Args)]
struct RunFlags {
    /// Workloads, separated by commas.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "shared,random,burst,trickle,nonreaders,storm"
    )]
    workloads: Vec<Name>,

    /// Servers, separated by commas. floor-single runs only where updates come at once.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "floor,floor-single,gateway,nats,axum,uws"
    )]
    servers: Vec<Server>,

    /// Clients, except of shared, burst and trickle.
    #[arg(long, default_value_t = 2_000)]
    connections: u32,

    /// Clients of shared and burst.
    #[arg(long, default_value_t = 8_000)]
    connections_shared: u32,

    /// Clients of trickle.
    #[arg(long, default_value_t = 1_000)]
    connections_trickle: u32,

    /// Topics of each client.
    #[arg(long, default_value_t = 10)]
    topics: u16,

    /// Topics there are in random; elsewhere all clients have the same.
    #[arg(long, default_value_t = 1_000)]
    universe: u16,

    /// Updates of each topic a second. Trickle has a fifth of it, nonreaders the tenfold.
    #[arg(long, default_value_t = 1.0)]
    rate: f64,

    /// Length of each measurement, s.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,

    /// How long clients stay idle for their idle CPU to be read, s.
    #[arg(long, default_value_t = 1.0)]
    idle_seconds: f64,

    /// Repeat everything so often, and keep of each server and workload the round in which other
    /// processes used the least CPU.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,

    /// Wait at most so long before each measurement for other processes to be quiet, s.
    #[arg(long, default_value_t = 0.0)]
    quiet_seconds: f64,

    /// Load client processes; 0 for as many as the open-files limit asks for.
    #[arg(long, default_value_t = 0)]
    client_processes: u32,

    /// Source addresses, from 127.0.0.2 on.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=250))]
    sources: u8,

    /// ws-gateway; the default is the one beside this program, or on the PATH.
    #[arg(long, env = "KLINECAST_BENCH_GATEWAY")]
    gateway: Option<PathBuf>,

    /// nats-server; the default is the one on the PATH.
    #[arg(long, env = "NATS_SERVER_BIN")]
    nats_server: Option<PathBuf>,

    /// A Python with socketify (uWebSockets).
    #[arg(long, env = "SOCKETIFY_PYTHON")]
    socketify_python: Option<PathBuf>,

    /// Folder for fanout.md and fanout.json.
    #[arg(long, default_value = "loadtest/reports")]
    out: PathBuf,
}

impl RunFlags {
    fn workload(&self, name: Name) -> Workload {
        let connections = match name {
            Name::Shared | Name::Burst => self.connections_shared,
            Name::Trickle => self.connections_trickle,
            Name::Random | Name::Nonreaders | Name::Storm => self.connections,
        };
        let universe = match name {
            Name::Random => self.universe.max(self.topics),
            _ => self.topics,
        };
        let (rate, seconds) = match name {
            Name::Trickle => (self.rate / 5.0, self.seconds.max(5.0 / self.rate)),
            Name::Nonreaders => (self.rate * 10.0, self.seconds),
            Name::Storm => (self.rate, self.seconds.max(7.0)),
            Name::Shared | Name::Random | Name::Burst => (self.rate, self.seconds),
        };
        Workload {
            name,
            connections,
            topics: self.topics,
            universe,
            rate,
            seconds,
        }
    }
}

/// A folder that is removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Scratch> {
        let folder = std::env::temp_dir().join(format!("fanout-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Scratch(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn measure_one(
    server: Server,
    workload: &Workload,
    programs: &Programs,
    setup: &Setup,
    folder: &Path,
) -> anyhow::Result<Measurement> {
    match server::start(server, programs, folder)? {
        Ok(running) => {
            let outcome = measure::measure(running, workload, setup, folder)?;
            Ok(Measurement::Measured(Box::new(outcome)))
        }
        Err(missing) => Ok(Measurement::Missing(missing.0.to_owned())),
    }
}

fn run(flags: &RunFlags) -> anyhow::Result<()> {
    anyhow::ensure!(
        flags.rate > 0.0 && flags.seconds > 0.0 && flags.topics > 0,
        "sizes are above 0"
    );
    anyhow::ensure!(flags.universe < feed::TICK_END, "there are too many topics");
    let programs = Programs {
        gateway: flags
            .gateway
            .clone()
            .or_else(|| process::find("ws-gateway")),
        nats: flags
            .nats_server
            .clone()
            .or_else(|| process::find("nats-server")),
        socketify_python: flags.socketify_python.clone(),
    };
    let setup = Setup {
        client_processes: flags.client_processes,
        sources: flags.sources,
        idle: Duration::from_secs_f64(flags.idle_seconds),
        quiet: Duration::from_secs_f64(flags.quiet_seconds),
    };
    let most = flags
        .workloads
        .iter()
        .map(|name| flags.workload(*name).connections)
        .max()
        .unwrap_or(0);
    let files = process::open_files_max().unwrap_or(u64::MAX);
    anyhow::ensure!(
        u64::from(most) + 200 <= files,
        "{most} clients of one server process need more than the {files} files that it may open (ulimit -n)"
    );
    std::fs::create_dir_all(&flags.out)?;
    let start = Instant::now();
    let mut results: Vec<(Workload, Vec<Row>)> = Vec::new();
    let mut text = String::new();
    for name in &flags.workloads {
        let workload = flags.workload(*name);
        let mut rows: Vec<Row> = Vec::new();
        for round in 0..flags.rounds {
            for server in &flags.servers {
                if *server == Server::FloorSingle && workload.name != Name::Burst {
                    continue;
                }
                eprintln!(
                    "{:6.0} s  {name:?}: {server:?}, round {}",
                    start.elapsed().as_secs_f64(),
                    round + 1
                );
                let scratch = Scratch::new()?;
                let result = measure_one(*server, &workload, &programs, &setup, &scratch.0);
                let result = result.unwrap_or_else(|error| {
                    eprintln!("          failed: {error:#}");
                    Measurement::Missing(format!(
                        "failed: {}",
                        format!("{error:#}").replace(['\n', '|'], " ")
                    ))
                });
                match rows.iter_mut().find(|row| row.server == *server) {
                    Some(row) => row.keep_quieter(result),
                    None => rows.push(Row {
                        server: *server,
                        result,
                    }),
                }
            }
        }
        let table = report::table(&workload, &rows);
        print!("{table}");
        std::io::stdout().flush()?;
        text += &table;
        results.push((workload, rows));
    }
    let summary = report::beside(&results) + &report::targets(&results);
    print!("{summary}");
    text += &summary;
    eprintln!("{:6.0} s  done", start.elapsed().as_secs_f64());
    std::fs::write(flags.out.join("fanout.md"), text)?;
    std::fs::write(flags.out.join("fanout.json"), to_json(&results)?)?;
    Ok(())
}

fn to_json(results: &[(Workload, Vec<Row>)]) -> anyhow::Result<String> {
    let mut all = Vec::new();
    for (workload, rows) in results {
        for row in rows {
            let server = format!("{:?}", row.server).to_lowercase();
            all.push(match &row.result {
                Measurement::Measured(outcome) => {
                    serde_json::json!({"workload": workload, "server": server, "outcome": outcome})
                }
                Measurement::Missing(why) => {
                    serde_json::json!({"workload": workload, "server": server, "missing": why})
                }
            });
        }
    }
    Ok(serde_json::to_string_pretty(&all)?)
}

fn bind() -> anyhow::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(4_096)?;
    Ok(socket.into())
}

/// Says where a server of our own listens, for the process that started it.
fn announce(listener: &TcpListener, feed: &TcpListener) -> anyhow::Result<()> {
    println!("{} {}", listener.local_addr()?, feed.local_addr()?);
    Ok(())
}

fn serve_axum(nats_url: String) -> anyhow::Result<()> {
    let listener = bind()?;
    listener.set_nonblocking(true)?;
    announce(&listener, &listener)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum_peer::run(listener, axum_peer::Source::Nats(nats_url)).await
    })
}

fn main() -> anyhow::Result<()> {
    match Flags::parse().command {
        Command::Run(flags) => run(&flags),
        Command::Client { spec } => client::serve(&spec).context("the load client failed"),
        Command::ServeFloor { framing } => {
            let (listener, feed) = (bind()?, bind()?);
            announce(&listener, &feed)?;
            let framing = match framing.as_str() {
                "single" => floor::Framing::Single,
                _ => floor::Framing::Batch,
            };
            floor::run(listener, feed, framing)
        }
        Command::ServeAxum { nats_url } => serve_axum(nats_url),
    }
}

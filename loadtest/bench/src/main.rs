//! `fanout-bench`: what it costs to send bars to many WebSocket clients. It runs the same
//! workloads against a bare `send(2)`, ws-gateway and its peers, one after another, and prints
//! tables. See docs/performance.md.
//!
//! # Layout
//!
//! - `flags`; `workload`: what is published, who subscribes; `bar`, `book`: the bytes; `feed`: the publisher;
//! - `client`: the load client, on `frame` and `histogram`; `crew`: many of them;
//! - `floor`, `axum_peer` and `uws_peer.py`: servers of our own; `server` starts all;
//! - `measure`: one server under one workload, with CPU and memory from `process`; `report`;
//! - `siege`: the well-behaved beside those of `attack`;
//! - `capacity`: many gateways that hold many connections, with `memory`; `capacity_report`.

mod flags;

mod bar;
mod book;
mod feed;
mod workload;

mod client;
mod crew;
mod frame;
mod histogram;

mod axum_peer;
mod floor;
mod server;
mod setup;

mod measure;
mod process;
mod report;

mod attack;
mod siege;

mod capacity;
mod capacity_report;
mod memory;

#[cfg(test)]
mod smoke;

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::flags::{CapacityFlags, HostileFlags, RunFlags};
use crate::measure::{Result as Measurement, Row};
use crate::server::{Programs, Server};
use crate::setup::Setup;
use crate::workload::{Content, Name, Workload};

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
    /// Measure what clients notice of others that mean harm.
    Hostile(HostileFlags),
    /// Hold many connections over many gateways, and find the rate that this machine carries.
    Capacity(CapacityFlags),
    /// Be a load client; started by `run`.
    #[command(hide = true)]
    Client { spec: String },
    /// Be attackers; started by `hostile`.
    #[command(hide = true)]
    Attack { spec: String },
    /// Be the floor; started by `run`.
    #[command(hide = true)]
    ServeFloor { framing: String },
    /// Be the axum peer; started by `run`.
    #[command(hide = true)]
    ServeAxum { nats_url: String },
}

fn run_capacity(flags: &CapacityFlags) -> anyhow::Result<()> {
    let is_known = |shape: &Name| matches!(shape, Name::Burst | Name::Shared);
    anyhow::ensure!(
        flags.shapes.iter().all(is_known),
        "updates come as burst or as shared"
    );
    anyhow::ensure!(
        flags.rates.iter().all(|rate| *rate > 0.0) && flags.seconds > 0.0 && flags.topics > 0,
        "sizes are above 0"
    );
    let demand = flags.demand();
    let programs = flags.programs.find();
    let setup = Setup {
        client_processes: 0,
        sources: flags.sources,
        idle: Duration::from_secs_f64(flags.idle_seconds),
        quiet: Duration::ZERO,
    };
    let scratch = Scratch::new()?;
    let capacity = capacity::measure(&demand, &programs, &setup, &scratch.0)?;
    let text = capacity_report::text(&demand, &capacity);
    print!("{text}");
    std::fs::create_dir_all(&flags.out)?;
    std::fs::write(flags.out.join("capacity.md"), text)?;
    let json = serde_json::to_string_pretty(&capacity)?;
    std::fs::write(flags.out.join("capacity.json"), json)?;
    anyhow::ensure!(
        capacity.open == (flags.connections, flags.connections),
        "{} of {} connections were open at first, {} at the end",
        capacity.open.0,
        flags.connections,
        capacity.open.1
    );
    Ok(())
}

fn run_hostile(flags: &HostileFlags) -> anyhow::Result<()> {
    anyhow::ensure!(
        flags.rate > 0.0 && flags.seconds > 0.0 && flags.topics > 0 && flags.connections > 0,
        "sizes are above 0"
    );
    let programs = flags.programs.find();
    let setup = Setup {
        client_processes: 0,
        sources: 16,
        idle: Duration::ZERO,
        quiet: Duration::ZERO,
    };
    let workload = flags.workload();
    let mut text = String::new();
    let mut json = Vec::new();
    for &server in &flags.servers {
        let scratch = Scratch::new()?;
        let running = match server::start(server, &programs, &scratch.0)? {
            Ok(running) => running,
            Err(missing) => anyhow::bail!("{}", missing.0),
        };
        let windows = siege::measure(running, &workload, flags.onslaught(), &setup, &scratch.0)?;
        let table = siege::table(server.label(), &workload, &windows);
        print!("{table}");
        std::io::stdout().flush()?;
        text += &table;
        let server = format!("{server:?}").to_lowercase();
        json.push(serde_json::json!({"workload": workload, "server": server, "windows": windows}));
    }
    std::fs::create_dir_all(&flags.out)?;
    std::fs::write(flags.out.join("hostile.md"), text)?;
    let json = serde_json::to_string_pretty(&json)?;
    std::fs::write(flags.out.join("hostile.json"), json)?;
    Ok(())
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

/// How long clients stay idle where their idle CPU is not looked at closely.
const IDLE_ELSEWHERE: Duration = Duration::from_secs(1);

fn measure_one(
    server: Server,
    workload: &Workload,
    programs: &Programs,
    setup: &Setup,
    folder: &Path,
) -> anyhow::Result<Measurement> {
    let is_long = server == Server::Gateway && workload.name == Name::Shared;
    let setup = Setup {
        idle: if is_long {
            setup.idle
        } else {
            setup.idle.min(IDLE_ELSEWHERE)
        },
        ..*setup
    };
    if server == Server::Axum && workload.name.content() == Content::Book {
        return Ok(Measurement::Missing("it has bars only".to_owned()));
    }
    match server::start(server, programs, folder)? {
        Ok(running) => {
            let outcome = measure::measure(running, workload, &setup, folder)?;
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
    let programs = flags.programs.find();
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
        Command::Capacity(flags) => run_capacity(&flags),
        Command::Hostile(flags) => run_hostile(&flags),
        Command::Attack { spec } => attack::serve(&spec).context("the attackers failed"),
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

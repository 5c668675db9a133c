//! The servers under test: each one is a separate process, started again for every workload.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::client::Dialect;
use crate::feed;
use crate::process::{self, Program};

/// A server under test.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Server {
    /// A bare send(2) for each connection and tick.
    Floor,
    /// A bare send(2) for each update; it differs if several topics change at once.
    FloorSingle,
    /// ws-gateway over NATS.
    Gateway,
    /// nats-server's own WebSocket listener.
    Nats,
    /// axum and a broadcast channel.
    Axum,
    /// uWebSockets through socketify.
    Uws,
}

impl Server {
    /// As in the tables.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Floor => "floor: bare send(2)",
            Self::FloorSingle => "floor, a send an update",
            Self::Gateway => "**ws-gateway**",
            Self::Nats => "nats-server WebSocket",
            Self::Axum => "axum + broadcast",
            Self::Uws => "uWebSockets (socketify)",
        }
    }
}

/// The paths of third-party programs.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// ws-gateway.
    pub(crate) gateway: Option<PathBuf>,
    /// nats-server.
    pub(crate) nats: Option<PathBuf>,
    /// A Python with socketify.
    pub(crate) socketify_python: Option<PathBuf>,
}

/// A server that runs.
pub(crate) struct Running {
    /// The process whose CPU and memory are read.
    pub(crate) program: Program,
    /// The nats-server before it.
    pub(crate) bus: Option<Program>,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// How they speak.
    pub(crate) dialect: Dialect,
    /// The kind and the address of its input.
    pub(crate) feed: (feed::Kind, SocketAddr),
}

/// Why there is no server: this is not a failure, and the table says so.
#[derive(Debug)]
pub(crate) struct NotInstalled(pub(crate) &'static str);

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn listens(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

/// Whether the address answers GET /readyz with 200.
fn is_ready(address: SocketAddr) -> bool {
    let mut answer = String::new();
    let result = TcpStream::connect(address).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        stream.read_to_string(&mut answer)
    });
    result.is_ok() && answer.starts_with("HTTP/1.1 200")
}

/// A nats-server with JetStream.
pub(crate) struct Nats {
    /// The process.
    pub(crate) program: Program,
    /// Where publishers and gateways connect.
    pub(crate) address: SocketAddr,
    websocket: SocketAddr,
}

/// Starts a nats-server that keeps its files in this folder.
pub(crate) fn start_nats(binary: &Path, folder: &Path) -> anyhow::Result<Nats> {
    let (address, websocket) = (free_address()?, free_address()?);
    let config = folder.join("nats.conf");
    let store = folder.join("jetstream");
    std::fs::write(
        &config,
        format!(
            "listen: \"{address}\"\nmax_connections: 200000\nping_interval: \"1h\"\n\
             jetstream {{ store_dir: \"{}\" }}\n\
             websocket {{ listen: \"{websocket}\", no_tls: true }}\n",
            store.display()
        ),
    )?;
    let mut command = Command::new(binary);
    command
        .arg("-c")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut program = Program::start("nats-server", &mut command, folder)?;
    program.wait_until("listening", || listens(address) && listens(websocket))?;
    Ok(Nats {
        program,
        address,
        websocket,
    })
}

/// Starts one of this program's own servers, which prints its address on stdout.
fn start_own(
    name: &str,
    arguments: &[&str],
    folder: &Path,
) -> anyhow::Result<(Program, SocketAddr, SocketAddr)> {
    let mut command = process::own_program(name)?;
    command.args(arguments);
    let mut program = Program::start(name, &mut command, folder)?;
    let stdout = program.child.stdout.take().context("stdout is a pipe")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    program.check()?;
    let mut addresses = line.split_whitespace().map(str::parse);
    match (addresses.next(), addresses.next()) {
        (Some(Ok(clients)), Some(Ok(feed))) => Ok((program, clients, feed)),
        _ => anyhow::bail!("{name} did not say where it listens"),
    }
}

/// Starts a ws-gateway with its default flags and waits until it is ready. `name` is its log's.
pub(crate) fn start_gateway(
    name: &str,
    binary: &Path,
    nats: SocketAddr,
    folder: &Path,
) -> anyhow::Result<(Program, SocketAddr)> {
    let (address, admin) = (free_address()?, free_address()?);
    let mut command = Command::new(binary);
    command
        .args(["--listen", &address.to_string()])
        .args(["--admin-listen", &admin.to_string()])
        .args(["--bus", &format!("nats://{nats}")])
        .args(["--log-level", "warn"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut program = Program::start(name, &mut command, folder)?;
    program.wait_until("ready", || is_ready(admin))?;
    Ok((program, address))
}

/// Starts a server and waits until it is ready.
pub(crate) fn start(
    server: Server,
    programs: &Programs,
    folder: &Path,
) -> anyhow::Result<Result<Running, NotInstalled>> {
    let nats_binary = || programs.nats.as_deref();
    let no_nats = NotInstalled("no nats-server: set NATS_SERVER_BIN or put it on the PATH");
    match server {
        Server::Floor | Server::FloorSingle => {
            let framing = if server == Server::Floor {
                "batch"
            } else {
                "single"
            };
            let (program, address, feed) = start_own("serve-floor", &[framing], folder)?;
            Ok(Ok(Running {
                program,
                bus: None,
                address,
                dialect: Dialect::Query,
                feed: (feed::Kind::Records, feed),
            }))
        }
        Server::Nats => {
            let Some(binary) = nats_binary() else {
                return Ok(Err(no_nats));
            };
            let nats = start_nats(binary, folder)?;
            Ok(Ok(Running {
                program: nats.program,
                bus: None,
                address: nats.websocket,
                dialect: Dialect::Nats,
                feed: (feed::Kind::Nats, nats.address),
            }))
        }
        Server::Axum => {
            let Some(binary) = nats_binary() else {
                return Ok(Err(no_nats));
            };
            let nats = start_nats(binary, folder)?;
            let url = format!("nats://{}", nats.address);
            let (program, address, _) = start_own("serve-axum", &[&url], folder)?;
            Ok(Ok(Running {
                program,
                bus: Some(nats.program),
                address,
                dialect: Dialect::Query,
                feed: (feed::Kind::Nats, nats.address),
            }))
        }
        Server::Gateway => {
            let Some(binary) = nats_binary() else {
                return Ok(Err(no_nats));
            };
            let Some(gateway) = programs.gateway.as_deref() else {
                return Ok(Err(NotInstalled(
                    "no ws-gateway: build it with --release, or give --gateway",
                )));
            };
            let nats = start_nats(binary, folder)?;
            let (program, address) = start_gateway("ws-gateway", gateway, nats.address, folder)?;
            Ok(Ok(Running {
                program,
                bus: Some(nats.program),
                address,
                dialect: Dialect::Query,
                feed: (feed::Kind::Nats, nats.address),
            }))
        }
        Server::Uws => {
            let Some(python) = programs.socketify_python.as_deref() else {
                return Ok(Err(NotInstalled(
                    "not installed: set SOCKETIFY_PYTHON to a Python with socketify",
                )));
            };
            let script = folder.join("uws_peer.py");
            std::fs::write(&script, include_str!("uws_peer.py"))?;
            let address = free_address()?;
            let mut command = Command::new(python);
            command
                .arg(&script)
                .arg(address.port().to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            let mut program = Program::start("uws", &mut command, folder)?;
            program.wait_until("listening", || listens(address))?;
            Ok(Ok(Running {
                program,
                bus: None,
                address,
                dialect: Dialect::Query,
                feed: (feed::Kind::WebSocket, address),
            }))
        }
    }
}

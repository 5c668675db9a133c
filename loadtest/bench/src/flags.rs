//! The flags of the commands: `--help` is the manual.

use std::path::PathBuf;

use crate::attack::Kind;
use crate::capacity::Demand;
use crate::process;
use crate::server::{Programs, Server};
use crate::siege::Onslaught;
use crate::workload::{Name, Workload};

/// Connections of a gateway unless their number is given: some way below the 20,000 open files
/// that many systems allow a process.
const CONNECTIONS_PER_GATEWAY: u32 = 12_500;

/// Where the programs are.
#[derive(clap::Args)]
pub(crate) struct ProgramFlags {
    /// ws-gateway; the default is the one beside this program, or on the PATH.
    #[arg(long, env = "KLINECAST_BENCH_GATEWAY")]
    pub(crate) gateway: Option<PathBuf>,

    /// nats-server; the default is the one on the PATH.
    #[arg(long, env = "NATS_SERVER_BIN")]
    pub(crate) nats_server: Option<PathBuf>,

    /// A Python with socketify (uWebSockets).
    #[arg(long, env = "SOCKETIFY_PYTHON")]
    pub(crate) socketify_python: Option<PathBuf>,
}

impl ProgramFlags {
    /// Those given, else those beside this program or on the PATH.
    pub(crate) fn find(&self) -> Programs {
        Programs {
            gateway: self.gateway.clone().or_else(|| process::find("ws-gateway")),
            nats: self
                .nats_server
                .clone()
                .or_else(|| process::find("nats-server")),
            socketify_python: self.socketify_python.clone(),
        }
    }
}

/// Flags of `run`.
#[derive(clap::Args)]
pub(crate) struct RunFlags {
    /// Workloads, separated by commas. `books` has order books instead of bars, and is not among the
    /// default ones.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "shared,random,burst,trickle,nonreaders,storm"
    )]
    pub(crate) workloads: Vec<Name>,

    /// Servers, separated by commas. floor-single runs only where updates come at once.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "floor,floor-single,gateway,nats,axum,uws"
    )]
    pub(crate) servers: Vec<Server>,

    /// Clients, except of shared, burst and trickle.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) connections: u32,

    /// Clients of shared, burst and books.
    #[arg(long, default_value_t = 8_000)]
    pub(crate) connections_shared: u32,

    /// Clients of trickle.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) connections_trickle: u32,

    /// Topics of each client.
    #[arg(long, default_value_t = 10)]
    pub(crate) topics: u16,

    /// Topics there are in random; elsewhere all clients have the same.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) universe: u16,

    /// Updates of each topic a second. Trickle has a fifth of it, nonreaders and books the tenfold.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) rate: f64,

    /// Length of each measurement, s.
    #[arg(long, default_value_t = 4.0)]
    pub(crate) seconds: f64,

    /// How long the gateway's clients in shared stay idle for their idle CPU to be read, s: more
    /// than a ping's interval. Elsewhere it is a second at most.
    #[arg(long, default_value_t = 30.0)]
    pub(crate) idle_seconds: f64,

    /// Repeat everything so often, and keep of each server and workload the round in which other
    /// processes used the least CPU.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) rounds: u8,

    /// Wait at most so long before each measurement for other processes to be quiet, s.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) quiet_seconds: f64,

    /// Load client processes; 0 for as many as the open-files limit asks for.
    #[arg(long, default_value_t = 0)]
    pub(crate) client_processes: u32,

    /// Source addresses, from 127.0.0.2 on.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=250))]
    pub(crate) sources: u8,

    /// The programs.
    #[command(flatten)]
    pub(crate) programs: ProgramFlags,

    /// Folder for fanout.md and fanout.json.
    #[arg(long, default_value = "loadtest/reports")]
    pub(crate) out: PathBuf,
}

impl RunFlags {
    /// A workload with its sizes.
    pub(crate) fn workload(&self, name: Name) -> Workload {
        let connections = match name {
            Name::Shared | Name::Burst | Name::Books => self.connections_shared,
            Name::Trickle => self.connections_trickle,
            Name::Random | Name::Nonreaders | Name::Storm => self.connections,
        };
        let universe = match name {
            Name::Random => self.universe.max(self.topics),
            _ => self.topics,
        };
        let (rate, seconds) = match name {
            Name::Trickle => (self.rate / 5.0, self.seconds.max(5.0 / self.rate)),
            Name::Nonreaders | Name::Books => (self.rate * 10.0, self.seconds),
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

/// Flags of `hostile`.
#[derive(clap::Args)]
pub(crate) struct HostileFlags {
    /// Servers, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "gateway")]
    pub(crate) servers: Vec<Server>,

    /// What attackers do, one kind after another and then all at once.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "never-reads,asks-only,dribbles,stalls,ping-flood,subscription-churn,connection-churn,fragment-flood,oversized"
    )]
    pub(crate) kinds: Vec<Kind>,

    /// Attackers of each kind, % of the clients.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) percent: f64,

    /// Measure all kinds at once only, and none alone.
    #[arg(long)]
    pub(crate) at_once: bool,

    /// Niceness of the attackers' process. At 19 it has only the CPU that nobody else wants, as if
    /// the attackers were on another machine; at 0 it takes its share from clients and server.
    #[arg(long, default_value_t = 19, value_parser = clap::value_parser!(u8).range(0..=19))]
    pub(crate) attackers_nice: u8,

    /// Well-behaved clients.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) connections: u32,

    /// Topics, to all of which every client subscribes.
    #[arg(long, default_value_t = 10)]
    pub(crate) topics: u16,

    /// Updates of each topic a second.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) rate: f64,

    /// Length of each window, s.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,

    /// The programs.
    #[command(flatten)]
    pub(crate) programs: ProgramFlags,

    /// Folder for hostile.md and hostile.json.
    #[arg(long, default_value = "loadtest/reports")]
    pub(crate) out: PathBuf,
}

impl HostileFlags {
    /// What the well-behaved do.
    pub(crate) fn workload(&self) -> Workload {
        Workload {
            name: Name::Shared,
            connections: self.connections,
            topics: self.topics,
            universe: self.topics,
            rate: self.rate,
            seconds: self.seconds,
        }
    }

    /// Who attacks, and how.
    pub(crate) fn onslaught(&self) -> Onslaught<'_> {
        Onslaught {
            kinds: &self.kinds,
            each: (f64::from(self.connections) * self.percent / 100.0).ceil() as u32,
            at_once: self.at_once,
            nice: self.attackers_nice,
        }
    }
}

/// Flags of `capacity`.
#[derive(clap::Args)]
pub(crate) struct CapacityFlags {
    /// Connections in all.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,

    /// Gateways that share them; 0 for one for each 12,500.
    #[arg(long, default_value_t = 0)]
    pub(crate) gateways: u32,

    /// Topics, to all of which every client subscribes.
    #[arg(long, default_value_t = 10)]
    pub(crate) topics: u16,

    /// Updates of each topic a second: tried in this order until one is carried.
    #[arg(long, value_delimiter = ',', default_value = "1,0.5,0.25,0.1")]
    pub(crate) rates: Vec<f64>,

    /// How updates come: `burst`, all topics at once, or `shared`, one after another.
    #[arg(long, value_delimiter = ',', default_value = "burst,shared")]
    pub(crate) shapes: Vec<Name>,

    /// Length of each step, s; two periods of a rate at least.
    #[arg(long, default_value_t = 20.0)]
    pub(crate) seconds: f64,

    /// How long clients stay idle for their idle CPU to be read, s: more than a ping's interval.
    #[arg(long, default_value_t = 30.0)]
    pub(crate) idle_seconds: f64,

    /// Share of the updates that has to arrive for a rate to count as carried, %.
    #[arg(long, default_value_t = 99.9)]
    pub(crate) delivered_percent_min: f64,

    /// Longest p99 from publication to client for a rate to count as carried, ms: to send 100,000
    /// frames takes two cores more than half a second.
    #[arg(long, default_value_t = 2_000.0)]
    p99_ms_max: f64,

    /// Source addresses, from 127.0.0.2 on: each has some 28,000 ports.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=250))]
    pub(crate) sources: u8,

    /// The programs.
    #[command(flatten)]
    pub(crate) programs: ProgramFlags,

    /// Folder for capacity.md and capacity.json.
    #[arg(long, default_value = "loadtest/reports")]
    pub(crate) out: PathBuf,
}

impl CapacityFlags {
    /// What is asked.
    pub(crate) fn demand(&self) -> Demand {
        Demand {
            connections: self.connections,
            gateways: match self.gateways {
                0 => self.connections.div_ceil(CONNECTIONS_PER_GATEWAY),
                gateways => gateways.min(self.connections),
            },
            topics: self.topics,
            rates: self.rates.clone(),
            shapes: self.shapes.clone(),
            seconds: self.seconds,
            delivered_percent_min: self.delivered_percent_min,
            p99_ms_max: self.p99_ms_max,
        }
    }
}

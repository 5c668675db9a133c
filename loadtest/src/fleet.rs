//! The whole fleet: exchange-sim, marketdata, NATS, gateways and nginx, as processes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::directory::Directory;
use crate::follower::Follower;
use crate::nats::disk::SmallDisk;
use crate::nats::{NatsServer, NatsServerError, NatsServerOptions};
use crate::nginx::{self, Nginx};
use crate::program::{Program, arguments};
use crate::simulator::Simulator;
use crate::truth::{self, Comparison};
use crate::wait::{holds, until};

/// An instrument of the fleet's.
#[derive(Clone, Copy, Debug)]
pub struct Instrument {
    /// The venue.
    pub venue: &'static str,
    /// The venue's name for it.
    pub native: &'static str,
    /// Our symbol.
    pub symbol: &'static str,
}

/// One instrument of each venue.
pub const INSTRUMENTS: [Instrument; 3] = [
    Instrument {
        venue: "binance",
        native: "BTCUSDT",
        symbol: "BTC-USDT",
    },
    Instrument {
        venue: "coinbase",
        native: "BTC-USD",
        symbol: "BTC-USD",
    },
    Instrument {
        venue: "okx",
        native: "BTC-USDT",
        symbol: "OKX:BTC-USDT",
    },
];

/// The fleet's timeframes and their widths, ms. They are narrow, so that tests need not wait for
/// minutes.
pub const TIMEFRAMES: [(&str, i64); 2] = [("1s", 1_000), ("5s", 5_000)];

/// The topics of all bars of the fleet.
#[must_use]
pub fn topics() -> Vec<String> {
    let of = |instrument: &Instrument| {
        TIMEFRAMES.map(|(timeframe, _)| format!("kline:{timeframe}:{}", instrument.symbol))
    };
    INSTRUMENTS.iter().flat_map(of).collect()
}

/// The differences from a default fleet.
#[derive(Clone, Debug, Default)]
pub struct FleetConfig {
    /// More flags for marketdata.
    pub marketdata: Vec<String>,
    /// More flags for every gateway.
    pub gateway: Vec<String>,
    /// Without nginx, if the test does not need it.
    pub has_no_nginx: bool,
    /// The size of the disk of NATS, if it has one of its own that a test can fill.
    pub nats_disk_bytes: Option<u64>,
    /// What goes before marketdata or a gateway and its arguments, such as `env A=1`.
    pub launcher: Vec<String>,
}

/// A gateway and its address.
#[derive(Debug)]
pub struct Gateway {
    /// The running program.
    pub program: Program,
    /// The public side.
    pub address: SocketAddr,
}

impl Gateway {
    /// Its WebSocket.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}/ws", self.address)
    }

    /// Sessions that it has now.
    pub async fn sessions(&self) -> f64 {
        self.program.metric("gateway_sessions", &[]).await
    }
}

/// See the module. Fields are dropped, and therefore ended, from the clients' side on.
#[derive(Debug)]
pub struct Fleet {
    nginx: Option<Nginx>,
    /// The gateways.
    pub gateways: Vec<Gateway>,
    /// marketdata.
    pub marketdata: Program,
    /// The simulated exchanges.
    pub simulator: Simulator,
    /// NATS.
    pub nats: NatsServer,
    config: FleetConfig,
}

/// Whether a test must fail if a tool is missing: whether this variable is 1.
#[must_use]
pub fn is_required(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value == "1")
}

/// nginx; `None`, and a printed line, if it is missing and not required.
///
/// # Panics
/// If `KLINECAST_REQUIRE_NGINX=1` and there is none.
#[must_use]
pub fn find_nginx() -> Option<PathBuf> {
    let found = nginx::find();
    if found.is_none() {
        assert!(
            !is_required("KLINECAST_REQUIRE_NGINX"),
            "{}",
            nginx::NOT_FOUND
        );
        println!("skipped: {}", nginx::NOT_FOUND);
    }
    found
}

/// A nats-server; `None`, and a printed line, if it is missing and not required.
///
/// # Panics
/// If `KLINECAST_REQUIRE_NATS=1` and there is none, or if it does not start.
#[must_use]
pub fn start_nats() -> Option<NatsServer> {
    start_nats_with(NatsServerOptions::default())
}

fn start_nats_with(options: NatsServerOptions) -> Option<NatsServer> {
    unless_missing(NatsServer::start_with(options))
}

/// What was started; `None`, and a printed line, if what it needs is missing and not required.
///
/// # Panics
/// If it is required, or does not start for another reason.
#[must_use]
pub fn unless_missing<T>(started: Result<T, NatsServerError>) -> Option<T> {
    match started {
        Ok(nats) => Some(nats),
        Err(error @ NatsServerError::NoDisk(_)) if !is_required("KLINECAST_REQUIRE_DISK") => {
            println!("skipped: {error}");
            None
        }
        Err(error @ NatsServerError::NotFound) if !is_required("KLINECAST_REQUIRE_NATS") => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

impl Fleet {
    /// Starts it with three gateways and waits until all is ready; `None`, and a line, where NATS
    /// or nginx is not installed and not required.
    ///
    /// # Panics
    /// If something does not start, or `KLINECAST_REQUIRE_NATS=1` or `KLINECAST_REQUIRE_NGINX=1`
    /// and that is absent.
    pub async fn start(config: FleetConfig) -> Option<Self> {
        let nginx = match config.has_no_nginx {
            true => None,
            false => Some(find_nginx()?),
        };
        let nats = start_nats_with(NatsServerOptions {
            disk_bytes: config.nats_disk_bytes,
            ..NatsServerOptions::default()
        })?;
        let simulator =
            Simulator::start(arguments(&["--rate", "8", "--history-minutes", "1"])).await;
        let marketdata = start_marketdata(&config, &nats.url(), &simulator).await;
        let mut fleet = Self {
            nginx: None,
            gateways: Vec::new(),
            marketdata,
            simulator,
            nats,
            config,
        };
        for _ in 0..3 {
            let gateway = fleet.start_gateway().await;
            fleet.gateways.push(gateway);
        }
        for gateway in &fleet.gateways {
            gateway.program.until_ready().await;
        }
        fleet.marketdata.until_ready().await;
        if let Some(nginx) = nginx {
            let addresses: Vec<SocketAddr> = fleet
                .gateways
                .iter()
                .map(|gateway| gateway.address)
                .collect();
            fleet.nginx = Some(Nginx::start(&nginx, &addresses).await);
        }
        Some(fleet)
    }

    /// Starts one more gateway, which nginx does not know, and does not wait until it is ready.
    pub async fn start_gateway(&self) -> Gateway {
        start_gateway(&self.config, &self.nats.url()).await
    }

    /// Starts one more marketdata, with the same symbols, and does not wait until it is ready.
    pub async fn start_marketdata(&self) -> Program {
        start_marketdata(&self.config, &self.nats.url(), &self.simulator).await
    }

    /// The disk of NATS.
    ///
    /// # Panics
    /// If it has none of its own.
    #[must_use]
    pub fn nats_disk(&self) -> &SmallDisk {
        self.nats.disk().expect("the fleet was started with one")
    }

    /// A client of all bars at each gateway, without nginx.
    #[must_use]
    pub fn follow_each_gateway(&self) -> Vec<Follower> {
        let gateways = self.gateways.iter();
        gateways
            .map(|gateway| Follower::start(gateway.url(), topics()))
            .collect()
    }

    /// Starts a second marketdata that publishes nothing until instruments are assigned to it.
    pub async fn start_standby(&self) -> Program {
        let mut config = self.config.clone();
        let flags = ["--assigned", "none"].map(str::to_owned);
        config.marketdata.extend(flags);
        let standby = start_marketdata(&config, &self.nats.url(), &self.simulator).await;
        standby.until_ready().await;
        standby
    }

    /// nginx.
    ///
    /// # Panics
    /// If the fleet was started without.
    #[must_use]
    pub fn nginx(&self) -> &Nginx {
        self.nginx
            .as_ref()
            .expect("the fleet was started with nginx")
    }

    /// A client of all bars behind nginx.
    #[must_use]
    pub fn follow(&self) -> Follower {
        Follower::start(self.nginx().url(), topics())
    }

    /// Compares what a follower has with the truth, topic by topic.
    ///
    /// # Errors
    /// The first bar that differs without saying so.
    pub async fn compare(&self, follower: &Follower) -> Result<Comparison, String> {
        compare(&self.simulator, follower).await
    }

    /// Waits until a follower's bars equal the truth, but for those that say `gap` if these may
    /// stay. Revisions may be on their way: what does not agree now may a little later.
    pub async fn until_true(&self, follower: &Follower, may_gaps_stay: bool) -> Comparison {
        until("the bars equal the truth", async || {
            let comparison = self.compare(follower).await?;
            holds(may_gaps_stay || comparison.gaps.is_empty(), || {
                format!("{comparison:?}")
            })?;
            Ok(comparison)
        })
        .await
    }
}

/// Compares what a follower has with what this simulator traded, topic by topic.
///
/// # Errors
/// The first bar that differs without saying so.
pub async fn compare(simulator: &Simulator, follower: &Follower) -> Result<Comparison, String> {
    let mut all = Comparison::default();
    for instrument in INSTRUMENTS {
        // After the bars were seen, so that it has all their trades.
        let bars = TIMEFRAMES.map(|(timeframe, width_ms)| {
            let topic = format!("kline:{timeframe}:{}", instrument.symbol);
            let closed =
                follower.seen(|seen| seen.topics.get(&topic).map(|topic| topic.closed.clone()));
            (topic, width_ms, closed.unwrap_or_default())
        });
        let trades = simulator.trades(instrument.venue, instrument.native).await;
        for (topic, width_ms, closed) in bars {
            let one = truth::compare(&closed, &trades, width_ms)
                .map_err(|error| format!("{topic}: {error}"))?;
            if one.equal == 0 {
                return Err(format!("{topic} has no whole bar yet"));
            }
            all.equal += one.equal;
            all.backfilled += one.backfilled;
            all.gaps.extend(one.gaps);
            all.partial.extend(one.partial);
        }
    }
    Ok(all)
}

/// A marketdata for one instrument of each venue, whether or not there is a fleet around it.
pub async fn start_marketdata(config: &FleetConfig, bus: &str, simulator: &Simulator) -> Program {
    let instruments: Vec<String> = INSTRUMENTS
        .iter()
        .map(|instrument| format!("{}:{}", instrument.venue, instrument.symbol))
        .collect();
    let mut flags = arguments(&[
        "--bus",
        bus,
        "--sim",
        &simulator.url(),
        "--instruments",
        &instruments.join(","),
        "--timeframes",
        &TIMEFRAMES.map(|(timeframe, _)| timeframe).join(","),
        "--reorder-window-ms",
        "500",
        "--gap-grace-ms",
        "100",
        "--gap-retry-ms",
        "200",
        "--forming-interval-ms",
        "100",
        "--backoff-base-ms",
        "50",
        "--backoff-max-ms",
        "500",
        "--symbol-silence-ms",
        "2000",
        "--checkpoint-interval-ms",
        "100",
        "--workers",
        "2",
    ]);
    let has = |flag: &String| config.marketdata.contains(flag);
    // clap takes a flag once: what the test says goes before what is said here.
    flags = flags
        .chunks(2)
        .filter(|pair| !has(&pair[0]))
        .flatten()
        .cloned()
        .collect();
    flags.extend_from_slice(&config.marketdata);
    Program::start_with(config.launcher.clone(), "marketdata", flags).await
}

/// A gateway, whether or not there is a fleet around it.
pub async fn start_gateway(config: &FleetConfig, bus: &str) -> Gateway {
    let mut flags = arguments(&[
        "--listen",
        "127.0.0.1:0",
        "--trusted-proxy",
        "127.0.0.1",
        "--bus",
        bus,
    ]);
    flags.extend_from_slice(&config.gateway);
    let mut program = Program::start_with(config.launcher.clone(), "ws-gateway", flags).await;
    let address = program.listens("gateway listens", "address").await;
    Gateway { program, address }
}

/// A history that stores in this folder, and its HTTP address. What it misses stays missing, for it
/// asks no venue.
///
/// # Panics
/// If the folder's path is not UTF-8.
pub async fn start_history(bus: &str, folder: &Directory) -> (Program, SocketAddr) {
    start_history_with(Vec::new(), &[], bus, folder.path()).await
}

/// The same with a command that runs it, and becomes it, and with more flags.
///
/// # Panics
/// If the folder's path is not UTF-8.
pub async fn start_history_with(
    launcher: Vec<String>,
    flags: &[&str],
    bus: &str,
    folder: &Path,
) -> (Program, SocketAddr) {
    let directory = folder.to_str().expect("UTF-8");
    let mut arguments = arguments(&[
        "--listen",
        "127.0.0.1:0",
        "--bus",
        bus,
        "--data-dir",
        directory,
        "--history-poll-ms",
        "20",
        "--fill-bars",
        "0",
    ]);
    arguments.extend(flags.iter().map(ToString::to_string));
    let mut history = Program::start_with(launcher, "history", arguments).await;
    let address = history.listens("history listens", "address").await;
    (history, address)
}

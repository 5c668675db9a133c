//! klinecast: the whole system in one process, on the memory bus, with the chart page embedded.

mod feed;
mod page;
mod part;
mod replay;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use bus::Bus;
use clap::{Parser, Subcommand};
use history::History;
use service::{JournalConfig, Program, ProgramConfig, Service};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::feed::{Choice, Feed};
use crate::part::part;

/// The whole Klinecast system in one process: feeds, bars, one gateway and the chart page
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Source of the trades
    #[arg(long, env = "KLINECAST_FEED", value_enum, default_value = "auto")]
    feed: Feed,
    /// Address of the page and of the WebSocket endpoint /ws
    #[arg(long, env = "KLINECAST_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    #[command(flatten)]
    program: ProgramConfig,
    #[command(flatten)]
    bus: bus::BusConfig,
    #[command(flatten, next_help_heading = "Market data")]
    marketdata: marketdata::Config,
    #[command(flatten, next_help_heading = "Gateway")]
    gateway: ws_gateway::Config,
    /// Store nothing on disk: the past is then what the gateway holds, and there is no /api/v1
    #[arg(long, env = "KLINECAST_NO_HISTORY", help_heading = "History")]
    no_history: bool,
    #[command(flatten, next_help_heading = "History")]
    history: history::Config,
}

/// What it does instead of following the present.
#[derive(Subcommand)]
enum Command {
    Replay(Box<replay::ReplayFlags>),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut cli = Cli::parse();
    if let Some(Command::Replay(flags)) = cli.command {
        return Box::pin(replay::run(*flags)).await;
    }
    if cli.bus.bus.is_memory() {
        // There is no other gateway to which a balancer could turn meanwhile.
        cli.gateway.drain_notice_ms = 0;
    }
    let mut program = Program::start(&cli.program);
    let service = program.service();
    program.serve_admin(None).await?;
    let public_listener = service::listen(cli.listen, "--listen").await?;
    let url = format!("http://{}/", public_listener.local_addr()?);
    let bus = bus::connect(&cli.bus, &service::streams()).await?;

    cli.marketdata.journal = match cli.no_history {
        // The journal has no reader.
        true => JournalConfig {
            journal_bytes_max: Some(0),
            ..JournalConfig::default()
        },
        false => cli.marketdata.journal.on(&cli.bus),
    };
    let (marketdata_config, simulator) = resolve_feed(cli.feed, cli.marketdata, &service).await?;
    cli.history.journal = marketdata_config.journal.clone();
    cli.history.is_simulated = marketdata_config.sim.is_some();
    cli.history.tokens = cli.gateway.auth.tokens.clone();
    // The followed instruments are known before their first bars come.
    let timeframes = marketdata_config.timeframes.as_slice().iter();
    let timeframes = timeframes.map(ToString::to_string);
    cli.gateway.known_timeframes.extend(timeframes);
    let past = match cli.no_history {
        true => None,
        false => Some(open_history(&cli.history, &bus).await?),
    };
    let routes = match &past {
        Some(past) => page::routes().merge(history::api::router(past.clone())),
        None => page::routes(),
    };
    let gateway = ws_gateway::run(
        cli.gateway,
        bus.clone(),
        public_listener,
        routes,
        service.clone(),
    );
    // It stores what marketdata publishes in its drain, so it ends after marketdata.
    let history_service = Service {
        readiness: service.readiness.clone(),
        ..Service::new(service.shutdown.drain_deadline() / 2)
    };
    let history = past.map(|past| history::run(past, cli.history, None, history_service.clone()));
    let marketdata = marketdata::run(marketdata_config, bus.clone(), service.clone());
    info!(url, "open this in a browser");
    println!("\n  Klinecast is at {url}\n");

    let all = Box::pin(async {
        let simulator = async {
            match simulator {
                Some(simulator) => Ok(simulator.await.context("the simulator panicked")??),
                None => {
                    service.shutdown.triggered().await;
                    Ok(())
                }
            }
        };
        let gateway = async { Ok(gateway.await?) };
        let marketdata = async {
            let ended = part("marketdata", &service, async { Ok(marketdata.await?) }).await;
            history_service.shutdown.trigger();
            ended
        };
        let history = async {
            match history {
                Some(history) => Ok(history.await?),
                None => {
                    service.shutdown.triggered().await;
                    Ok(())
                }
            }
        };
        let (gateway, marketdata, simulator, history) = tokio::join!(
            part("gateway", &service, gateway),
            marketdata,
            part("simulator", &service, simulator),
            part("history", &service, history),
        );
        gateway.and(marketdata).and(simulator).and(history)?;
        Ok(bus.drain().await?)
    });
    program.run(all).await
}

async fn open_history(config: &history::Config, bus: &Arc<dyn Bus>) -> anyhow::Result<History> {
    let opened = History::open(config, Arc::clone(bus)).await;
    opened.context("the past cannot be kept: choose another directory with --data-dir, or start with --no-history")
}

type Simulator = tokio::task::JoinHandle<Result<(), exchange_sim::Error>>;

/// Chooses the feed, and starts the simulator where it is the one.
async fn resolve_feed(
    feed: Feed,
    config: marketdata::Config,
    service: &Service,
) -> anyhow::Result<(marketdata::Config, Option<Simulator>)> {
    // A configuration that points somewhere else has chosen already.
    let is_chosen = config.sim.is_some() || !config.endpoints.is_empty();
    let plan = config.plan()?;
    let choice = match feed {
        Feed::Live => {
            feed::warn_if_unreachable(&plan).await;
            Choice::Live(Box::new(config.clone()))
        }
        Feed::Auto if is_chosen => Choice::Live(Box::new(config.clone())),
        Feed::Auto => feed::choose(&config, &plan).await,
        Feed::Sim => Choice::Sim,
    };
    match choice {
        Choice::Live(config) => Ok((*config, None)),
        Choice::Sim => {
            if feed == Feed::Auto {
                warn!(
                    "no exchange can be reached: SIMULATED DATA from the built-in exchange simulator; --feed live never uses the simulator"
                );
            } else {
                info!(
                    "simulated data from the built-in exchange simulator, as asked for by --feed sim"
                );
            }
            let listener = TcpListener::bind("127.0.0.1:0")
                .await
                .context("failed to listen for the simulator")?;
            let address = format!("http://{}", listener.local_addr()?);
            let simulator = tokio::spawn(exchange_sim::run(
                exchange_sim::Config::default(),
                listener,
                service.clone(),
            ));
            let config = marketdata::Config {
                sim: Some(address.parse()?),
                ..config
            };
            Ok((config, Some(simulator)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flag_belongs_to_one_part() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}

//! `klinecast replay`: the past in one process, with a gateway and the page.

mod captured;
mod pace;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use bus::{Bus, BusConfig, MemoryBus};
use clap::Args;
use history::replay::ReplayArgs;
use history::store::Store;
use service::{Program, ProgramConfig, Service};
use tokio::time::{Duration, sleep};
use tracing::info;

use crate::page;
use crate::part::part;

/// Between two looks at whether the gateway is ready.
const READY_INTERVAL: Duration = Duration::from_millis(20);

/// What to do when nothing fits the flags.
const NOTHING: &str = "nothing is stored that fits: choose another span with --from and --to, fewer conditions (--exchange, --symbols, --timeframes), or another store with --data-dir";

/// Plays the past through a gateway of its own, with the page: the stored bars, bars made of the stored trades, or captured frames.
///
/// Stored bars come at their ends. Stored trades and the frames of a capture go through the pipelines of the live feed, so forming bars move as they did. SIGTERM ends it at once; after the last bar the page stays until then.
#[derive(Args)]
pub(crate) struct ReplayFlags {
    #[command(flatten)]
    args: ReplayArgs,

    /// A capture or a file of trades of --exchange instead of the store, as `marketdata replay` reads it. Repeatable in any order
    #[arg(long = "file", value_name = "FILE", requires = "exchange", conflicts_with_all = ["trades", "data_dir"])]
    files: Vec<PathBuf>,

    /// Make bars of the stored trades of --exchange (history --trades, or history import) instead of playing stored bars. With --trades, the trades are played, too
    #[arg(long, requires = "exchange", conflicts_with = "files")]
    bars_from_trades: bool,

    /// Address of the page and of the WebSocket endpoint /ws
    #[arg(
        long,
        env = "KLINECAST_REPLAY_LISTEN",
        default_value = "127.0.0.1:8081"
    )]
    listen: SocketAddr,

    #[command(flatten)]
    program: ProgramConfig,

    #[command(flatten, next_help_heading = "Gateway")]
    gateway: ws_gateway::Config,
}

/// Runs a replay until it is told to end.
pub(crate) async fn run(mut flags: ReplayFlags) -> anyhow::Result<()> {
    // There is no other gateway to which a balancer could turn meanwhile.
    flags.gateway.drain_notice_ms = 0;
    let mut program = Program::start(&flags.program);
    let service = program.service();
    program.serve_admin(None).await?;
    let listener = service::listen(flags.listen, "--listen").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let bus = MemoryBus::new(&BusConfig::default(), &service::streams())?;
    let bus: Arc<dyn Bus> = Arc::new(bus);
    let gateway = ws_gateway::run(
        flags.gateway,
        Arc::clone(&bus),
        listener,
        page::routes(),
        service.clone(),
    );
    let mode = match (flags.bars_from_trades, flags.files.is_empty()) {
        (true, _) => Mode::StoredTrades,
        (false, true) => Mode::Stored,
        (false, false) => Mode::Files(flags.files),
    };
    let player = play(flags.args, mode, Arc::clone(&bus), service.clone());
    info!(url, "open this in a browser");
    println!("\n  The replay is at {url}\n");
    let all = Box::pin(async {
        let (gateway, player) = tokio::join!(
            part("gateway", &service, async { Ok(gateway.await?) }),
            part("replay", &service, player),
        );
        gateway.and(player)?;
        Ok(bus.drain().await?)
    });
    program.run(all).await
}

/// What is played.
enum Mode {
    /// The stored bars, and trades if they are asked for.
    Stored,
    /// Bars made of the stored trades.
    StoredTrades,
    /// Captures, or files of trades.
    Files(Vec<PathBuf>),
}

/// The past, opened.
enum Past {
    Stored(Arc<dyn Store>),
    ThroughPipelines(captured::Past),
}

/// Plays once the gateway listens, and then waits for the shutdown.
async fn play(
    args: ReplayArgs,
    mode: Mode,
    bus: Arc<dyn Bus>,
    service: Service,
) -> anyhow::Result<()> {
    // Opened first: what is wrong with the past is said at once.
    let past = match mode {
        Mode::Stored => Past::Stored(args.open()?),
        Mode::StoredTrades => Past::ThroughPipelines(captured::Past::Trades(args.open()?)),
        Mode::Files(files) => Past::ThroughPipelines(captured::Past::Files(files)),
    };
    while !service.readiness.is_ready() {
        if service.shutdown.is_triggered() {
            return Ok(());
        }
        sleep(READY_INTERVAL).await;
    }
    let summary = match past {
        Past::Stored(store) => {
            let played = history::replay::run(&args, store, bus, &service.shutdown).await;
            let played = played.context("the replay failed")?;
            let is_nothing = played.bars == 0 && played.trades == 0 && !played.is_cancelled;
            anyhow::ensure!(!is_nothing, NOTHING);
            played.to_string()
        }
        Past::ThroughPipelines(past) => captured::play(&args, past, bus, &service).await?,
    };
    info!(summary, "replay ended");
    println!("  The replay has ended: {summary}");
    service.shutdown.triggered().await;
    Ok(())
}

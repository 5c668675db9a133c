//! Captured frames, or stored trades, through the pipelines of the live feed, onto the bus.
//!
//! A thread decodes and folds, and hands the bars to the publisher through a short queue.

mod stored;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use bus::{Bus, BusError};
use history::replay::ReplayArgs;
use history::store::Store;
use market_core::channel::TRADE;
use market_core::wire::{Stamp, encode_bar, encode_trade_entry};
use market_core::{
    Bar, BarState, Symbol, Timeframe, TimeframeSet, Topic, Trade, UnixMicros, subject,
};
use marketdata::instrument::InstrumentSpec;
use marketdata::replay::{BarFormat, BarSink, Instant as Time, ReplayConfig, run_as_live};
use service::Service;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::pace::Pace;

/// Bars and trades that wait between the pipelines and the publisher.
const QUEUE_MAX: usize = 1_024;
/// How often a forming bar is published, ms of the capture's time: as by the live feed.
const FORMING_INTERVAL_MS: u32 = 250;

/// What goes through the pipelines.
pub(super) enum Past {
    /// The frames of captures, or files of trades.
    Files(Vec<PathBuf>),
    /// The trades of a store.
    Trades(Arc<dyn Store>),
}

/// What is published, and the capture's time at which it was made.
struct Played {
    symbol: Symbol,
    what: What,
    at_us: UnixMicros,
}

#[expect(
    clippy::large_enum_variant,
    reason = "most are bars, and their number in memory is bounded"
)]
enum What {
    Bar(Bar),
    Trade(Trade),
}

/// Passes the bars of the pipelines on.
struct Queue(mpsc::Sender<Played>);

impl BarSink for Queue {
    fn bar(
        &mut self,
        _exchange: &str,
        symbol: &Symbol,
        bar: &Bar,
        _seq: u64,
        published_us: UnixMicros,
    ) -> io::Result<bool> {
        let played = Played {
            symbol: symbol.clone(),
            what: What::Bar(*bar),
            at_us: published_us,
        };
        let sent = self.0.blocking_send(played);
        sent.map(|()| true)
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Plays the past until its end or the shutdown, and says what was in it.
pub(super) async fn play(
    args: &ReplayArgs,
    past: Past,
    bus: Arc<dyn Bus>,
    service: &Service,
) -> anyhow::Result<String> {
    let config = config(args)?;
    let exchange = config.exchange.clone();
    let (sender, mut bars) = mpsc::channel(QUEUE_MAX);
    let wanted = args.clone();
    let reader = spawn_blocking(move || {
        let mut queue = Queue(sender);
        match past {
            Past::Files(files) => {
                let config = ReplayConfig { files, ..config };
                run_as_live(&config, FORMING_INTERVAL_MS, &mut queue)
            }
            Past::Trades(store) => stored::run(config, &wanted, &*store, &mut queue),
        }
    });
    let mut publisher = Publisher::new(bus, exchange);
    let mut pace = Pace::new(args.speed);
    let shutdown = &service.shutdown;
    let mut is_cancelled = false;
    loop {
        let played = tokio::select! {
            biased;
            () = shutdown.triggered() => { is_cancelled = true; None }
            played = bars.recv() => played,
        };
        let Some(played) = played else { break };
        if let Some(at) = pace.at(played.at_us, Instant::now()) {
            tokio::select! {
                biased;
                () = shutdown.triggered() => { is_cancelled = true; break }
                () = sleep_until(at) => {}
            }
        }
        publisher
            .publish(&played)
            .await
            .context("the bus refused a message")?;
    }
    // The reader ends when nobody takes its bars.
    drop(bars);
    match reader.await.context("the reader of the past panicked")? {
        Ok(summary) => Ok(summary.to_string()),
        Err(error) if is_cancelled && error.is_reader_gone() => Ok("it was told to end".to_owned()),
        Err(error) => Err(error.into()),
    }
}

/// The replay that the flags ask for, without files.
fn config(args: &ReplayArgs) -> anyhow::Result<ReplayConfig> {
    let exchange = args
        .exchange
        .clone()
        .context("--file and --bars-from-trades go with --exchange")?;
    let instruments = args.symbols.iter().map(|symbol| InstrumentSpec {
        exchange: exchange.clone(),
        symbol: symbol.clone(),
    });
    let timeframes = match args.timeframes.is_empty() {
        true => TimeframeSet::default(),
        false => args
            .timeframes
            .iter()
            .map(Timeframe::to_string)
            .collect::<Vec<_>>()
            .join(",")
            .parse()?,
    };
    let defaults = marketdata::Config::default();
    Ok(ReplayConfig {
        instruments: instruments.collect(),
        exchange,
        files: Vec::new(),
        timeframes,
        format: BarFormat::Jsonl,
        no_fill: false,
        closed_only: false,
        final_only: false,
        from: args.from.map(Time),
        until: args.to.map(Time),
        gaps_file: None,
        reorder_window_ms: defaults.reorder_window_ms,
        late_horizon_ms: defaults.late_horizon_ms,
    })
}

/// Publishes bars and trades as the live feed does, with a number for each topic.
struct Publisher {
    bus: Arc<dyn Bus>,
    exchange: String,
    positions: HashMap<Topic, u64>,
}

impl Publisher {
    fn new(bus: Arc<dyn Bus>, exchange: String) -> Self {
        Self {
            bus,
            exchange,
            positions: HashMap::new(),
        }
    }

    async fn publish(&mut self, played: &Played) -> Result<(), BusError> {
        let Played {
            symbol,
            what,
            at_us,
        } = played;
        let topic = match what {
            What::Bar(bar) => Topic::bars(bar.timeframe, symbol),
            What::Trade(_) => Topic::of_symbol(&TRADE, symbol),
        };
        let seq = self.positions.entry(topic.clone()).or_insert(0);
        *seq = seq.saturating_add(1);
        let stamp = Stamp {
            seq: *seq,
            // The bus has no other publisher.
            epoch: 1,
            published_us: *at_us,
        };
        let bar = match what {
            What::Bar(bar) => bar,
            What::Trade(trade) => {
                let subject = subject::trades(&self.exchange, symbol);
                let entry = encode_trade_entry(&topic, &self.exchange, symbol, trade, stamp);
                return self.bus.publish(&subject, entry).await;
            }
        };
        let Some(payload) = encode_bar(&topic, &self.exchange, symbol, bar, stamp) else {
            return Ok(());
        };
        let subject = subject::bars(bar.timeframe, symbol);
        self.bus.publish(&subject, payload.clone()).await?;
        if bar.state == BarState::Closed {
            let record = subject::closed_bars(bar.timeframe, symbol);
            self.bus.publish_durable(&record, payload).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

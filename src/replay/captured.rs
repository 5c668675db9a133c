//! Captured frames through the pipelines of the live feed, onto the bus.
//!
//! A thread decodes and folds, and hands the bars to the publisher through a short queue.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use bus::{Bus, BusError};
use history::replay::ReplayArgs;
use market_core::wire::{Stamp, encode_bar};
use market_core::{Bar, BarState, Symbol, Timeframe, TimeframeSet, Topic, UnixMicros, subject};
use marketdata::instrument::InstrumentSpec;
use marketdata::replay::{BarFormat, BarSink, Instant as Time, ReplayConfig, run_as_live};
use service::Service;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::pace::Pace;

/// Bars that wait between the pipelines and the publisher.
const QUEUE_BARS: usize = 1_024;
/// How often a forming bar is published, ms of the capture's time: as by the live feed.
const FORMING_INTERVAL_MS: u32 = 250;

/// A bar, and the capture's time at which it was made.
struct Played {
    symbol: Symbol,
    bar: Bar,
    at_us: UnixMicros,
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
            bar: *bar,
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

/// Plays the files until their end or the shutdown, and says what was in them.
pub(super) async fn play(
    args: &ReplayArgs,
    files: Vec<PathBuf>,
    bus: Arc<dyn Bus>,
    service: &Service,
) -> anyhow::Result<String> {
    let config = config(args, files)?;
    let exchange = config.exchange.clone();
    let (sender, mut bars) = mpsc::channel(QUEUE_BARS);
    let reader =
        spawn_blocking(move || run_as_live(&config, FORMING_INTERVAL_MS, &mut Queue(sender)));
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
            .context("the bus refused a bar")?;
    }
    // The reader ends when nobody takes its bars.
    drop(bars);
    match reader.await.context("the reader of the capture panicked")? {
        Ok(summary) => Ok(summary.to_string()),
        Err(error) if is_cancelled && error.is_reader_gone() => Ok("it was told to end".to_owned()),
        Err(error) => Err(error.into()),
    }
}

/// The replay of the files that the flags ask for.
fn config(args: &ReplayArgs, files: Vec<PathBuf>) -> anyhow::Result<ReplayConfig> {
    let exchange = args
        .exchange
        .clone()
        .context("--file goes with --exchange")?;
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
        files,
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

/// Publishes bars as the live feed does, with a number for each topic.
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
        let Played { symbol, bar, at_us } = played;
        let topic = Topic::bars(bar.timeframe, symbol);
        let seq = self.positions.entry(topic.clone()).or_insert(0);
        *seq = seq.saturating_add(1);
        let stamp = Stamp {
            seq: *seq,
            // The bus has no other publisher.
            epoch: 1,
            published_us: *at_us,
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
mod tests {
    use std::time::Duration;

    use bus::{BusConfig, Delivery, MemoryBus};
    use bytes::Bytes;
    use clap::Parser;

    use super::*;

    const START_MS: i64 = 1_722_470_400_000;
    /// A wait that ends long before.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        args: ReplayArgs,
    }

    fn args(flags: &[&str]) -> ReplayArgs {
        let given = ["replay", "--exchange", "binance", "--symbols", "BTC-USDT"];
        Flags::parse_from(given.iter().chain(flags)).args
    }

    /// A file of trades, three a second.
    fn file(name: &str) -> PathBuf {
        let lines = (0..90i64).map(|id| {
            let (price, at_ms) = (50_000 + id % 7, START_MS + id * 333);
            format!("{id},{price}.5,0.01,500.0,{at_ms},true,true\n")
        });
        let name = format!("klinecast-replay-{}-{name}.csv", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, lines.collect::<String>()).expect("a file");
        path
    }

    fn memory() -> Arc<dyn Bus> {
        Arc::new(MemoryBus::new(&BusConfig::default(), &service::streams()).expect("a bus"))
    }

    async fn replayed(file: &std::path::Path) -> (String, Vec<(String, Bytes)>) {
        let bus = memory();
        let mut bars = bus.subscribe("kline.>").await.expect("subscribed");
        let args = args(&["--speed", "0", "--timeframes", "1s,1m"]);
        let service = Service::for_test();
        let files = vec![file.to_owned()];
        let summary = play(&args, files, Arc::clone(&bus), &service).await;
        let summary = summary.expect("played");
        bus.drain().await.expect("drained");
        let mut messages = Vec::new();
        while let Some(Delivery::Message(message)) = bars.recv().await {
            messages.push((message.subject.to_string(), message.payload));
        }
        (summary, messages)
    }

    #[tokio::test]
    async fn a_capture_goes_through_the_pipelines_and_two_replays_are_the_same() {
        let file = file("twice");
        let (summary, messages) = replayed(&file).await;
        assert!(summary.contains("90 trades"), "{summary}");
        let of = |state: &str| {
            let state = format!("\"state\":\"{state}\"");
            let texts = messages
                .iter()
                .map(|(_, payload)| String::from_utf8_lossy(payload));
            texts.filter(|text| text.contains(&state)).count()
        };
        assert!(of("closed") >= 29, "{} closed bars", of("closed"));
        assert!(of("forming") >= 29, "{} forming bars", of("forming"));
        let (_, again) = replayed(&file).await;
        assert_eq!(again, messages);
        std::fs::remove_file(file).expect("the file");
    }

    #[tokio::test]
    async fn a_replay_of_a_capture_ends_at_once_when_it_is_told_to() {
        let file = file("told");
        let bus = memory();
        let mut bars = bus.subscribe("kline.>").await.expect("subscribed");
        let service = Service::for_test();
        // Longer than anybody waits.
        let args = args(&["--speed", "0.000001"]);
        let told = async {
            bars.recv().await.expect("the first bar");
            service.shutdown.trigger();
        };
        let playing = play(&args, vec![file.clone()], Arc::clone(&bus), &service);
        let both = async { tokio::join!(playing, told) };
        let (ended, ()) = tokio::time::timeout(PATIENCE, both).await.expect("at once");
        ended.expect("ended");
        std::fs::remove_file(file).expect("the file");
    }

    #[tokio::test]
    async fn a_file_that_is_no_capture_is_named() {
        let file = file("garbage");
        std::fs::write(&file, "no trades\nat all\n").expect("a file");
        let service = Service::for_test();
        let played = play(&args(&[]), vec![file.clone()], memory(), &service).await;
        let error = played.expect_err("garbage").to_string();
        assert!(error.contains("none of the 2 lines"), "{error}");
        std::fs::remove_file(file).expect("the file");
    }
}

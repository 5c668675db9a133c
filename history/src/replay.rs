//! `history replay`: the past on the bus.
//!
//! A thread reads the stored rows of all series, merged by the time at which they happened, and
//! hands them to the publisher through a short queue. So memory depends on the number of series and
//! not on the range.

mod tape;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusError};
use clap::Args;
use market_core::channel::TRADE;
use market_core::wire::{self, Stamp};
use market_core::{BarState, Symbol, Timeframe, Topic, UnixMillis, Width, subject};
use service::Shutdown;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::api::time;
use crate::host_clock::now_ms;
use crate::offline::{OpenError, StoreArgs};
use crate::store::{Instrument, SqliteStore, StoreError};

use tape::{Event, Tape};

/// Rows that wait between the reader and the publisher.
const QUEUE_ROWS: usize = 1_024;
/// Pause after the bus could not take a row.
const BUS_REST: Duration = Duration::from_millis(500);

/// Publishes what is stored onto the bus, in the order in which it happened.
///
/// Each bar comes at its end, each trade at its time, on a clock that begins at --from. Subjects have a prefix: programs that are started with it as their --bus-prefix hear the replay, and nobody else does. SIGTERM ends it.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// First instant [default: the first row]
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    from: Option<UnixMillis>,

    /// First instant after the replay [default: the last row]
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    to: Option<UnixMillis>,

    /// How many seconds of the past go by in a second; 0 publishes as fast as the bus takes
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = speed)]
    speed: f64,

    /// Prefix of the replay's subjects, after --bus-prefix
    #[arg(long, default_value = "replay", value_name = "TOKENS", value_parser = prefix)]
    prefix: String,

    /// Only this venue
    #[arg(long, value_name = "NAME")]
    exchange: Option<String>,

    /// Only these symbols, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    symbols: Vec<Symbol>,

    /// Only these stored timeframes, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    timeframes: Vec<Timeframe>,

    /// Also the stored trades
    #[arg(long)]
    trades: bool,

    /// Most series (one symbol and timeframe, or the trades of one symbol) at once; memory grows with them
    #[arg(long, default_value_t = 10_000, value_name = "COUNT")]
    series_max: usize,
}

fn speed(text: &str) -> Result<f64, &'static str> {
    let speed: f64 = text.parse().map_err(|_| "write a number, such as 60")?;
    if speed.is_finite() && speed >= 0.0 {
        Ok(speed)
    } else {
        Err("write 0 or more")
    }
}

fn prefix(text: &str) -> Result<String, String> {
    bus::check_subject(text)
        .map(|()| text.to_owned())
        .map_err(|error| error.to_string())
}

/// Why a replay failed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is no store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bus does not take messages.
    #[error("the bus cannot be used: {0}")]
    Bus(#[from] BusError),
    /// Too much at once.
    #[error(
        "{found} series fit, and --series-max is {allowed}: choose fewer with --symbols and --timeframes"
    )]
    Series {
        /// How many fit.
        found: usize,
        /// How many may.
        allowed: usize,
    },
    /// The reader of the store ended.
    #[error("the reader of the store has ended: {0}; run the command again and report the log")]
    Reader(String),
}

/// What was published.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ReplaySummary {
    /// Bars.
    pub bars: u64,
    /// Trades.
    pub trades: u64,
    /// It was told to end before its end.
    pub is_cancelled: bool,
}

impl std::fmt::Display for ReplaySummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = if self.is_cancelled {
            "; it was told to end"
        } else {
            ""
        };
        write!(f, "{} bars, {} trades{end}", self.bars, self.trades)
    }
}

impl ReplayArgs {
    /// The prefix of the replay's subjects on a bus.
    #[must_use]
    pub fn bus_prefix(&self, of_bus: &str) -> String {
        if of_bus.is_empty() {
            self.prefix.clone()
        } else {
            format!("{of_bus}.{}", self.prefix)
        }
    }

    /// Opens the store.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(&self) -> Result<SqliteStore, OpenError> {
        self.store.open_existing()
    }
}

/// Replays a store onto a bus that has the prefix, until the end or the shutdown.
///
/// # Errors
/// See [`ReplayError`].
pub async fn run(
    args: &ReplayArgs,
    store: SqliteStore,
    bus: Arc<dyn Bus>,
    shutdown: &Shutdown,
) -> Result<ReplaySummary, ReplayError> {
    let (rows, mut received) = mpsc::channel(QUEUE_ROWS);
    let wanted = args.clone();
    let reader = spawn_blocking(move || {
        let mut tape = Tape::new(&wanted, &store)?;
        while let Some(event) = tape.next()? {
            // The publisher has ended, so nobody needs more.
            if rows.blocking_send(event).is_err() {
                break;
            }
        }
        Ok::<_, ReplayError>(())
    });
    let mut publisher = Publisher {
        bus,
        speed: args.speed,
        epoch: u64::try_from(now_ms()).unwrap_or(0),
        clock: None,
        positions: HashMap::new(),
        summary: ReplaySummary::default(),
    };
    let published = publisher
        .publish_all(args.from, &mut received, shutdown)
        .await;
    drop(received);
    reader
        .await
        .map_err(|error| ReplayError::Reader(error.to_string()))??;
    published?;
    Ok(publisher.summary)
}

struct Publisher {
    bus: Arc<dyn Bus>,
    speed: f64,
    /// A later replay is a later publisher.
    epoch: u64,
    /// An instant, and the time of the past at it.
    clock: Option<(Instant, UnixMillis)>,
    /// The newest sequence number of each topic.
    positions: HashMap<Topic, u64>,
    summary: ReplaySummary,
}

impl Publisher {
    async fn publish_all(
        &mut self,
        from: Option<UnixMillis>,
        rows: &mut mpsc::Receiver<Event>,
        shutdown: &Shutdown,
    ) -> Result<(), ReplayError> {
        loop {
            let event = tokio::select! {
                biased;
                () = shutdown.triggered() => None,
                event = rows.recv() => match event {
                    Some(event) => Some(event),
                    None => return Ok(()),
                },
            };
            let Some(event) = event else { break };
            let due = self.due(from, event.at_ms());
            let is_due = tokio::select! {
                biased;
                () = shutdown.triggered() => false,
                () = sleep_until(due) => true,
            };
            if !is_due || !self.publish(&event, shutdown).await? {
                break;
            }
        }
        self.summary.is_cancelled = true;
        Ok(())
    }

    /// When something of the past comes; `None` for now.
    fn due(&mut self, from: Option<UnixMillis>, at_ms: UnixMillis) -> Option<Instant> {
        if self.speed == 0.0 {
            return None;
        }
        let (began, began_ms) = *self
            .clock
            .get_or_insert_with(|| (Instant::now(), from.unwrap_or(at_ms)));
        let past_ms = at_ms.saturating_sub(began_ms).max(0);
        let after = Duration::try_from_secs_f64(past_ms as f64 / 1_000.0 / self.speed);
        // A wait beyond the range of the clock is one that the shutdown ends.
        began.checked_add(after.unwrap_or(Duration::from_secs(u64::from(u32::MAX))))
    }

    /// Publishes a row; false if the shutdown came first. An outage of the bus is waited out.
    async fn publish(&mut self, event: &Event, shutdown: &Shutdown) -> Result<bool, ReplayError> {
        let message = self.message(event);
        loop {
            match self.send(&message).await {
                Ok(()) => break,
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "the bus does not take rows; they are sent again");
                    tokio::select! {
                        () = shutdown.triggered() => return Ok(false),
                        () = tokio::time::sleep(BUS_REST) => {}
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        match event {
            Event::Bar { .. } => self.summary.bars = self.summary.bars.saturating_add(1),
            Event::Trade { .. } => self.summary.trades = self.summary.trades.saturating_add(1),
        }
        Ok(true)
    }

    async fn send(&self, message: &Message) -> Result<(), BusError> {
        self.bus
            .publish(&message.subject, message.payload.clone())
            .await?;
        match &message.record {
            // A gateway that starts later finds the newest bars there.
            Some(record) => {
                self.bus
                    .publish_durable(record, message.payload.clone())
                    .await
            }
            None => Ok(()),
        }
    }

    fn message(&mut self, event: &Event) -> Message {
        match event {
            Event::Bar { series, row } => {
                let symbol = &series.instrument.symbol;
                let topic = Topic::bars(series.timeframe, symbol);
                let stamp = self.stamp(&topic);
                Message {
                    subject: subject::bars(series.timeframe, symbol),
                    record: Some(subject::closed_bars(series.timeframe, symbol)),
                    payload: wire::encode_row(
                        &topic,
                        &series.instrument.exchange,
                        symbol,
                        Width::from(series.timeframe),
                        row,
                        BarState::Closed,
                        stamp,
                    ),
                }
            }
            Event::Trade { instrument, trade } => {
                let Instrument { exchange, symbol } = &**instrument;
                let topic = Topic::of_symbol(&TRADE, symbol);
                let stamp = self.stamp(&topic);
                Message {
                    subject: subject::trades(exchange, symbol),
                    record: None,
                    payload: wire::encode_trade_entry(&topic, exchange, symbol, trade, stamp),
                }
            }
        }
    }

    /// The next place in a topic.
    fn stamp(&mut self, topic: &Topic) -> Stamp {
        let seq = self.positions.entry(topic.clone()).or_insert(0);
        *seq = seq.saturating_add(1);
        Stamp {
            seq: *seq,
            epoch: self.epoch,
            published_us: now_ms().saturating_mul(1_000),
        }
    }
}

struct Message {
    subject: String,
    /// The subject under which it is kept.
    record: Option<String>,
    payload: bytes::Bytes,
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
}

//! `history replay`: the past on the bus.
//!
//! A thread reads the stored rows of all series, merged by the time at which they happened, and
//! hands them to the publisher through a short queue. So memory depends on the number of series and
//! not on the range.

mod args;
mod error;
mod stored_trades;
mod tape;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusError};
use market_core::channel::TRADE;
use market_core::wire::{self, Stamp};
use market_core::{BarState, Topic, UnixMillis, Width, subject};
use service::Shutdown;
use service::wall_clock_ms;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::store::{Instrument, Store};

pub use args::ReplayArgs;
pub use error::ReplayError;
pub use stored_trades::StoredTrades;

use tape::{Event, Source, Tape};

/// Rows that wait between the reader and the publisher.
const QUEUE_ROWS: usize = 1_024;
/// Pause after the bus could not take a row.
const BUS_REST: Duration = Duration::from_millis(500);

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

/// Replays a store onto a bus that has the prefix, until the end or the shutdown.
///
/// # Errors
/// See [`ReplayError`].
pub async fn run(
    args: &ReplayArgs,
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    shutdown: &Shutdown,
) -> Result<ReplaySummary, ReplayError> {
    let (rows, mut received) = mpsc::channel(QUEUE_ROWS);
    let wanted = args.clone();
    let reader = spawn_blocking(move || {
        let mut sources = match wanted.trades {
            true => Source::trades(&wanted, &*store)?,
            false => Vec::new(),
        };
        sources.extend(Source::bars(&wanted, &*store)?);
        let mut tape = Tape::new(&wanted, &*store, sources)?;
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
        epoch: u64::try_from(wall_clock_ms()).unwrap_or(0),
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
            published_us: wall_clock_ms().saturating_mul(1_000),
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

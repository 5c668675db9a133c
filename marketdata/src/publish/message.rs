//! Messages on their way from a worker to the bus.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use market_core::{Bar, Symbol, Timeframe, Topic, UnixMicros, UnixMillis};

use super::fence::Right;
use super::trace::Traced;
pub use super::trigger::Trigger;
use crate::instrument::InstrumentId;

/// A symbol that the worker publishes.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Its id in the plan.
    pub instrument: InstrumentId,
    /// The venue.
    pub exchange: &'static str,
    /// The symbol.
    pub symbol: Symbol,
}

/// A closed bar, encoded.
#[derive(Clone, Debug)]
pub struct EncodedBar {
    /// Its subject.
    pub subject: Arc<str>,
    /// Its bytes.
    pub payload: Bytes,
    /// When it was queued.
    pub queued_at: Instant,
    /// The input that closed it.
    pub trigger: Trigger,
    /// The interval that it closes. `None` for a revision.
    pub closing: Option<Closing>,
    /// Its topic's index in the outbox.
    pub topic: usize,
    /// Its start.
    pub start_ms: UnixMillis,
    /// Its revision.
    pub rev: u32,
    /// Its epoch.
    pub epoch: u64,
    /// It is published under this.
    pub right: Right,
    /// If it is traced.
    pub trace: Option<Box<Traced>>,
}

/// The interval of a symbol that a bar has closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closing {
    /// The symbol's id in the plan.
    pub instrument: InstrumentId,
    /// Its width.
    pub timeframe: Timeframe,
    /// First instant after it.
    pub end_ms: UnixMillis,
}

/// A forming bar with its place in the topic's sequence.
#[derive(Clone, Debug)]
pub struct FormingBar {
    /// Its topic.
    pub topic: Topic,
    /// The venue of its trades.
    pub exchange: &'static str,
    /// Its symbol.
    pub symbol: Symbol,
    /// Its subject.
    pub subject: Arc<str>,
    /// Its sequence number.
    pub seq: u64,
    /// The epoch in which the number counts.
    pub epoch: u64,
    /// The bar.
    pub bar: Bar,
    /// It is published under this.
    pub right: Right,
    /// If it is traced.
    pub trace: Option<Box<Traced>>,
}

/// An event or a trade, encoded.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Its subject.
    pub subject: Arc<str>,
    /// Its bytes.
    pub payload: Bytes,
    /// It is published under this.
    pub right: Right,
    /// If it is traced: it, and since when it waits.
    pub trace: Option<(Box<Traced>, UnixMicros)>,
}

/// The messages to publish next, in this order.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "named by what they hold")]
pub struct Work {
    pub closed: VecDeque<EncodedBar>,
    pub events: VecDeque<Encoded>,
    pub forming: Vec<FormingBar>,
    pub trades: Vec<Encoded>,
}

impl Work {
    /// Whether there is nothing to publish.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.closed.is_empty()
            && self.events.is_empty()
            && self.forming.is_empty()
            && self.trades.is_empty()
    }
}

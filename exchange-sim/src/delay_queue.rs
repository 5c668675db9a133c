//! Data that faults hold back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::trade::Trade;
use crate::venues::Channel;

/// The data that faults hold back, ordered by when it is due.
#[derive(Debug, Default)]
pub(crate) struct DelayQueue {
    heap: BinaryHeap<Reverse<Delayed>>,
    added: u64,
}

impl DelayQueue {
    /// Holds a payload of a symbol back until it is due.
    pub(crate) fn push(&mut self, symbol: usize, payload: Payload, due_ms: i64) {
        self.added += 1;
        self.heap.push(Reverse(Delayed {
            due_ms,
            order: self.added,
            symbol,
            payload,
        }));
    }

    /// The payload that is due first, if one is due.
    pub(crate) fn pop_due(&mut self, now_ms: i64) -> Option<Delayed> {
        if self
            .heap
            .peek()
            .is_none_or(|Reverse(next)| next.due_ms > now_ms)
        {
            return None;
        }
        self.heap.pop().map(|Reverse(delayed)| delayed)
    }
}

/// Data that a fault holds back, ordered by when it is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Delayed {
    due_ms: i64,
    order: u64,
    /// Index of its symbol.
    pub(crate) symbol: usize,
    /// The data.
    pub(crate) payload: Payload,
}

impl Ord for Delayed {
    fn cmp(&self, other: &Delayed) -> std::cmp::Ordering {
        (self.due_ms, self.order).cmp(&(other.due_ms, other.order))
    }
}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Delayed) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Generated trades, or a captured frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Generated trades.
    Run(Run),
    /// A captured frame.
    Frame(CapturedFrame),
}

/// A frame that is played as it was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CapturedFrame {
    /// Its channel.
    pub(crate) channel: Channel,
    /// For clients of single streams, and of venues with one format.
    pub(crate) single: String,
    /// For clients of Binance's combined streams.
    pub(crate) combined: String,
    /// Whether a fault truncates it.
    pub(crate) malformed: bool,
}

/// Trades that are sent together: consecutive, and of one aggregate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The trades.
    pub(crate) trades: Vec<Trade>,
    /// Whether a fault truncates their frames.
    pub(crate) malformed: bool,
}

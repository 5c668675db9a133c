//! How long closed bars are held whole beyond the last ones of each topic: in the order in which
//! they came, each for its time, and all of them within a budget of bytes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::hub::SlotId;

/// A closed bar whose time is not over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    /// The slot of its topic.
    pub slot: SlotId,
    /// Its start, unix ms.
    pub start_ms: i64,
    /// Its version.
    pub version: u64,
    received_at: Instant,
    bytes: usize,
}

/// What a bar costs besides its JSON, bytes: its places here and in its slot, and the allocations
/// of its payload.
const BAR_BYTES: usize = 256;
/// What is made of a bar for all encodings is about as long as its JSON: it is kept as long.
const FORMS: usize = 2;

/// The closed bars of all topics whose time is not over, oldest first.
#[derive(Debug)]
pub(crate) struct Hold {
    queue: VecDeque<Held>,
    bytes: usize,
    bytes_max: usize,
    time: Duration,
    old_upto: u64,
}

impl Hold {
    /// An empty one that holds each bar for `time`, and `bytes_max` of them.
    #[must_use]
    pub(crate) fn new(time: Duration, bytes_max: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            bytes_max,
            time,
            old_upto: 0,
        }
    }

    /// Notes a bar that has just come.
    pub(crate) fn push(
        &mut self,
        slot: SlotId,
        start_ms: i64,
        version: u64,
        json_bytes: usize,
        received_at: Instant,
    ) {
        let bytes = json_bytes.saturating_mul(FORMS).saturating_add(BAR_BYTES);
        self.bytes = self.bytes.saturating_add(bytes);
        self.queue.push_back(Held {
            slot,
            start_ms,
            version,
            received_at,
            bytes,
        });
    }

    /// Takes the oldest bar if its time is over.
    pub(crate) fn pop_old(&mut self, now: Instant) -> Option<Held> {
        let first = self.queue.front()?;
        let is_old = now.saturating_duration_since(first.received_at) >= self.time;
        is_old.then(|| self.pop()).flatten()
    }

    /// Takes the oldest bar if all of them are too many bytes.
    pub(crate) fn pop_beyond(&mut self) -> Option<Held> {
        (self.bytes > self.bytes_max).then(|| self.pop()).flatten()
    }

    fn pop(&mut self) -> Option<Held> {
        let held = self.queue.pop_front()?;
        self.bytes -= held.bytes;
        self.old_upto = held.version;
        Some(held)
    }

    /// Bars up to this version have had their time.
    #[must_use]
    pub(crate) fn old_upto(&self) -> u64 {
        self.old_upto
    }

    /// Bytes of the bars whose time is not over.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

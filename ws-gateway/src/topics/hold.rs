//! How long closed bars are held whole beyond the last ones of each topic: in the order in which
//! they came, each for the hold time, and all of them within a budget of bytes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::topics::slot_id::SlotId;
use crate::topics::state::{Depth, Keep};

/// A closed bar within its hold time.
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

/// The cost of a bar besides its JSON, bytes: its entries here and in its slot, and the allocations
/// of its payload.
const BAR_BYTES: usize = 256;
/// All encoded forms of a bar together are about as long as its JSON, and are kept for the same
/// time.
const FORMS: usize = 2;

/// The closed bars of all topics within their hold time, oldest first.
#[derive(Debug)]
pub(crate) struct Hold {
    queue: VecDeque<Held>,
    bytes: usize,
    bytes_max: usize,
    time: Duration,
    old_upto: u64,
    /// Times, at least a second apart, with the newest version before each.
    past: VecDeque<(Instant, u64)>,
    lag_max: Duration,
    told_upto: u64,
}

/// Time between two entries with a known version.
const PAST_STEP: Duration = Duration::from_secs(1);

impl Hold {
    /// An empty queue with these bounds.
    #[must_use]
    pub(crate) fn new(depth: Depth) -> Self {
        Self {
            past: VecDeque::new(),
            lag_max: depth.lag_max,
            told_upto: 0,
            queue: VecDeque::new(),
            bytes: 0,
            bytes_max: depth.hold_bytes_max,
            time: depth.hold,
            old_upto: 0,
        }
    }

    /// Adds a bar that has just come.
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
        self.note(version.saturating_sub(1), received_at);
        self.queue.push_back(Held {
            slot,
            start_ms,
            version,
            received_at,
            bytes,
        });
    }

    /// Takes the oldest bar if its hold time is over.
    pub(crate) fn pop_old(&mut self, now: Instant) -> Option<Held> {
        let first = self.queue.front()?;
        let is_old = now.saturating_duration_since(first.received_at) >= self.time;
        is_old.then(|| self.pop()).flatten()
    }

    /// Takes the oldest bar if all bars together have too many bytes.
    pub(crate) fn pop_beyond(&mut self) -> Option<Held> {
        (self.bytes > self.bytes_max).then(|| self.pop()).flatten()
    }

    /// Versions up to this one have come before now.
    fn note(&mut self, version: u64, now: Instant) {
        let is_due = self
            .past
            .back()
            .is_none_or(|(at, _)| now.saturating_duration_since(*at) >= PAST_STEP);
        if is_due {
            self.past.push_back((now, version));
        }
        while let Some(&(at, version)) = self.past.front()
            && now.saturating_duration_since(at) >= self.lag_max
        {
            self.past.pop_front();
            self.told_upto = version;
        }
    }

    /// The limits of slots with these bounds now.
    #[must_use]
    pub(crate) fn keep(&self, depth: Depth) -> Keep {
        Keep {
            depth,
            old_upto: self.old_upto,
            told_upto: self.told_upto,
        }
    }

    fn pop(&mut self) -> Option<Held> {
        let held = self.queue.pop_front()?;
        self.bytes -= held.bytes;
        self.old_upto = held.version;
        Some(held)
    }

    /// Bytes of the bars within their hold time.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

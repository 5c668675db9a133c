//! Slots that have ended. A shard that has not pulled since still knows such a slot by its index, so
//! the index waits for all shards, and for the fold that offers bars to it.

use std::collections::HashMap;

use crate::topics::slot_id::SlotId;

/// What an ended slot waits for.
#[derive(Debug)]
struct Waits {
    /// One bit for each shard that knows the slot.
    shards: u64,
    /// Its fold goes on.
    is_held: bool,
    kind: EndingKind,
}

/// What ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EndingKind {
    /// Bars that are folded here.
    Fold,
    /// A stream of Binance.
    Stream,
}

/// How many have ended, and wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct EndingCounts {
    /// Bars that are folded here.
    pub(crate) folds: usize,
    /// Streams of Binance.
    pub(crate) streams: usize,
}

impl EndingCounts {
    fn of(&mut self, kind: EndingKind) -> &mut usize {
        match kind {
            EndingKind::Fold => &mut self.folds,
            EndingKind::Stream => &mut self.streams,
        }
    }
}

/// The slots that have ended.
#[derive(Debug)]
pub(super) struct Endings {
    /// One bit for each shard.
    shards: u64,
    waiting: HashMap<SlotId, Waits>,
    counts: EndingCounts,
    free: Vec<SlotId>,
}

impl Endings {
    /// None, in a hub with this number of shards.
    pub(super) fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards).fold(0, |mask, shard| mask | (1 << shard)),
            waiting: HashMap::new(),
            counts: EndingCounts::default(),
            free: Vec::new(),
        }
    }

    /// A slot ends. False if it has ended before.
    pub(super) fn begin(&mut self, id: SlotId, kind: EndingKind) -> bool {
        let is_new = !self.waiting.contains_key(&id);
        if is_new {
            let waits = Waits {
                shards: self.shards,
                is_held: true,
                kind,
            };
            self.waiting.insert(id, waits);
            *self.counts.of(kind) += 1;
        }
        is_new
    }

    /// Whether a slot has ended, and its index is not free yet.
    pub(super) fn has(&self, id: SlotId) -> bool {
        !self.waiting.is_empty() && self.waiting.contains_key(&id)
    }

    /// How many have ended, and wait.
    pub(super) fn counts(&self) -> EndingCounts {
        self.counts
    }

    /// A shard forgets a slot before its next pull. True if the index is free now.
    pub(super) fn seen_by(&mut self, id: SlotId, shard: usize) -> bool {
        self.update(id, |waits| waits.shards &= !(1 << shard))
    }

    /// Its fold has ended. True if the index is free now.
    pub(super) fn released(&mut self, id: SlotId) -> bool {
        self.update(id, |waits| waits.is_held = false)
    }

    /// An index that no shard knows any more.
    pub(super) fn take_free(&mut self) -> Option<SlotId> {
        self.free.pop()
    }

    fn update(&mut self, id: SlotId, change: impl FnOnce(&mut Waits)) -> bool {
        let Some(waits) = self.waiting.get_mut(&id) else {
            return false;
        };
        change(waits);
        let is_free = waits.shards == 0 && !waits.is_held;
        let kind = waits.kind;
        if is_free {
            let count = self.counts.of(kind);
            *count = count.saturating_sub(1);
            self.waiting.remove(&id);
            self.free.push(id);
        }
        is_free
    }
}

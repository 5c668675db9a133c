//! The bars of a boundary, which the bus stores together or not at all.

use std::time::Instant;

use bus::{Bus, BusError};
use futures_util::StreamExt;

use super::{Lane, Settled};
use crate::publish::item::Item;

/// Most bars that are stored together. The server takes twice as many, and keeps them in memory until
/// the last one is there.
const TOGETHER_MAX: usize = 500;
/// Bars of a batch that are stored in the journal at once.
const JOURNAL_AT_ONCE_MAX: usize = 128;

/// Whether it may be a part of a batch. What is traced has a span of its own.
fn is_of_batch(item: &Item) -> bool {
    item.fence.is_some() && item.right.is_none() && item.trace.is_none()
}

impl Lane {
    /// The bars that are stored together with `first`: all that wait behind it, as the bars of a
    /// boundary come within a few milliseconds.
    pub(super) fn take_others(&self, first: &Item, now: Instant) -> Vec<Item> {
        let mut others = Vec::new();
        if !is_of_batch(first) || !self.batches.may_be_tried(now) {
            return others;
        }
        let mut state = self.state();
        while others.len() + 1 < TOGETHER_MAX
            && state.bars.front().is_some_and(|(_, bar)| is_of_batch(bar))
            && let Some((_, bar)) = state.bars.pop_front()
        {
            others.push(bar);
        }
        state.storing_bars += others.len();
        self.depth.set(state.bars.len() as f64);
        others
    }

    /// Stores bars together. If the bus refuses some because their lease is not ours any more, it stores
    /// none: then each half is stored by itself, the older one first, until the refused bars are alone.
    /// If the stream takes no batches, each bar is stored by itself.
    pub(super) async fn settle_all(&self, bus: &dyn Bus, first: Item, others: Vec<Item>) {
        let mut items = vec![first];
        items.extend(others);
        let mut parts = vec![items];
        while let Some(mut part) = parts.pop() {
            if part.len() > 1 && self.batches.may_be_tried(Instant::now()) {
                if !self.settle_together(bus, &part).await {
                    let newer = part.split_off(part.len() / 2);
                    parts.push(newer);
                    parts.push(part);
                }
            } else {
                for item in &part {
                    self.settle(bus, item).await;
                }
            }
        }
    }

    /// False if the bus refuses to store these bars together, and has stored none.
    async fn settle_together(&self, bus: &dyn Bus, items: &[Item]) -> bool {
        let batch = items.iter().filter_map(Item::fenced_append).collect();
        let stored = bus.streams().append_all(batch).await;
        let outcome = match &stored {
            Ok(_) => "stored",
            Err(BusError::NotAsExpected { .. }) => "refused",
            Err(BusError::NoBatches { .. }) => {
                self.batches.refused(Instant::now());
                "not_taken"
            }
            Err(_) => {
                // Each bar is stored by itself now: a slow bus is not to get all of them twice.
                self.batches.refused(Instant::now());
                "failed"
            }
        };
        metrics::counter!("marketdata_bar_batches_total", "outcome" => outcome).increment(1);
        if stored.is_err() {
            return false;
        }
        if let Some(refusals) = &self.refusals {
            refusals.note_stored();
        }
        let mut rest = Vec::with_capacity(items.len());
        for item in items {
            let mut places = self.places(item);
            // The record has it.
            places.remove(0);
            match places.is_empty() {
                true => self.done(Settled::Stored),
                false => rest.push(self.settle_in(bus, item, places)),
            }
        }
        let rest = futures_util::stream::iter(rest).buffer_unordered(JOURNAL_AT_ONCE_MAX);
        rest.collect::<()>().await;
        true
    }
}

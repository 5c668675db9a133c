//! One fold: its parts, and the slot to which its bars go.

use std::time::Instant;

use bytes::Bytes;
use market_core::wire::{BarHead, BarMessage};
use market_core::wire::{Stamp, encode_row};
use market_core::{BarRow, BarState, Quality, Symbol, Topic, Width};

use super::load::Load;
use crate::limits::Sharer;
use crate::topics::host_clock::wall_us;
use crate::topics::hub::Hub;
use crate::topics::slot_id::SlotId;
use crate::topics::width_bars::{Folded, WidthBars};

#[derive(Debug)]
pub(super) struct Fold {
    pub(super) bars: WidthBars,
    pub(super) topic: Topic,
    pub(super) source: Topic,
    pub(super) symbol: Symbol,
    pub(super) width: Width,
    pub(super) exchange: String,
    pub(super) slot: SlotId,
    pub(super) seq: u64,
    pub(super) epoch: u64,
    /// For whom it was made.
    pub(super) sharer: Option<Sharer>,
    /// Whether bars of its source have come.
    pub(super) has_bars: bool,
    pub(super) wanted_at: Instant,
    /// When history may be asked next; `None` while it is asked.
    pub(super) load_at: Option<Instant>,
}

impl Fold {
    /// Begins with the bars that the slot of its parts holds.
    pub(super) fn begin(&mut self, hub: &Hub) {
        let (held, forming) = hub.held_bars(&self.source);
        for (message, row) in held.iter().filter_map(read) {
            self.exchange = message.exchange;
            self.bars.seed(message.epoch, row);
        }
        let mut folded = self.bars.begin();
        if let Some((message, row)) = forming.as_ref().and_then(read) {
            self.exchange = message.exchange;
            folded.extend(self.bars.forming(row));
        }
        self.offer(hub, folded, Instant::now());
    }

    /// What must be asked of history now, if anything.
    pub(super) fn load(&mut self, now: Instant) -> Option<Load> {
        self.load_at.filter(|load_at| *load_at <= now)?;
        let range = self.bars.missing()?;
        self.load_at = None;
        Some(Load {
            topic: self.topic.clone(),
            epoch: self.epoch,
            source: self.source.clone(),
            range,
            exchange: (!self.exchange.is_empty()).then(|| self.exchange.clone()),
        })
    }

    /// Gives bars to the hub.
    pub(super) fn offer(&mut self, hub: &Hub, folded: Vec<Folded>, now: Instant) {
        for Folded { row, state } in folded {
            self.seq = self.seq.saturating_add(1);
            let stamp = Stamp {
                seq: self.seq,
                epoch: self.epoch,
                published_us: wall_us(),
            };
            let head = BarHead {
                seq: self.seq,
                epoch: self.epoch,
                start_ms: row.start_ms,
                end_ms: self.width.end_of(row.start_ms),
                closed: state == BarState::Closed,
                rev: row.rev,
                filled: row.quality == Quality::Filled,
                exchange: &self.exchange,
            };
            let json = encode_row(
                &self.topic,
                &self.exchange,
                &self.symbol,
                self.width,
                &row,
                state,
                stamp,
            );
            let _ = hub.offer(self.slot, Some(&head), json, now);
        }
    }
}

/// A bar, and its row.
pub(super) fn read(payload: &Bytes) -> Option<(BarMessage, BarRow)> {
    let message = BarMessage::read(payload)?;
    let row = BarRow::of_message(&message)?;
    Some((message, row))
}

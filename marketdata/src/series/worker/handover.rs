//! How a worker takes symbols over, and hands them on.

use market_core::UnixMillis;
use tracing::error;

use super::Worker;
use crate::assignment::Assignment;
use crate::instrument::InstrumentId;
use crate::series::owned::Owned;

impl Worker {
    /// Takes a symbol over.
    pub fn assign(&mut self, assignment: Assignment, now: UnixMillis) {
        let instrument = assignment.id;
        let slot = self.outbox.slot(instrument);
        let Some(slot) = slot.filter(|_| self.index_of[instrument].is_none()) else {
            error!(
                instrument,
                "a symbol was assigned twice, or to a worker that is not its own"
            );
            return;
        };
        let backfills = self.backfills[assignment.instrument.venue].clone();
        let place = (slot, self.slots);
        let owned = Owned::new(assignment, backfills, self.timing, now, place);
        self.index_of[instrument] = Some(self.symbols.len());
        self.symbols.push(owned);
        self.untold += 1;
    }

    /// Hands a symbol on: its last bars and its state go to the outbox.
    pub(super) fn revoke(&mut self, instrument: InstrumentId, now: UnixMillis) {
        self.settle_touched(now);
        let Some(index) = self.index_of[instrument].take() else {
            return;
        };
        self.settle(index, now);
        let saved = self.symbols[index].symbol.save_at_the_end();
        self.saved(index, saved);
        let mut owned = self.symbols.swap_remove(index);
        owned.symbol.cancel_requests();
        self.outbox.retire(owned.slot);
        self.untold -= usize::from(!owned.symbol.is_clock_told());
        if let Some(moved) = self.symbols.get(index) {
            self.index_of[moved.symbol.instrument()] = Some(index);
        }
    }
}

//! A symbol with what its worker needs to carry out its effects.

use market_core::{BackfillRequest, GapEvent, GapEventState, Output, UnixMillis};
use tokio::sync::mpsc;
use tracing::info;

use super::meters::SymbolMeters;
use super::symbol::Symbol;
use super::timing::WorkerTiming;
use crate::assignment::Assignment;
use crate::backfill::BackfillJob;

/// See the module.
pub(super) struct Owned {
    pub(super) symbol: Symbol,
    /// The number of its assignment.
    pub(super) assignment: u64,
    /// Its index in the outbox.
    pub(super) slot: usize,
    pub(super) exchange: &'static str,
    pub(super) name: String,
    backfills: mpsc::Sender<BackfillJob>,
    pub(super) meters: SymbolMeters,
    /// The worker ticks it after the inputs that wait.
    pub(super) is_touched: bool,
}

impl Owned {
    /// A symbol as it was assigned; it is number `slot.0` of `slot.1` in the outbox. Its missing
    /// trades are fetched by `backfills`.
    pub(super) fn new(
        given: Assignment,
        backfills: mpsc::Sender<BackfillJob>,
        timing: WorkerTiming,
        now: UnixMillis,
        slot: (usize, usize),
    ) -> Self {
        let native = &given.instrument.native;
        Self {
            symbol: Symbol::new(given.id, native, given.pipeline, timing, now, slot),
            assignment: given.number,
            slot: slot.0,
            exchange: given.instrument.exchange,
            name: given.instrument.symbol.to_string(),
            backfills,
            meters: SymbolMeters::new(given.instrument.exchange),
            is_touched: false,
        }
    }

    /// Counts and logs what happened to a gap.
    pub(super) fn tell_gap(&self, event: &GapEvent) {
        self.meters.gap(event.state);
        let state = match event.state {
            GapEventState::Open => "open",
            GapEventState::Filled => "filled",
            GapEventState::Lost => "lost",
        };
        info!(
            exchange = self.exchange,
            symbol = self.name,
            state,
            first_id = event.first_id,
            last_id = event.last_id,
            from_ms = event.from_ms,
            "gap"
        );
    }

    /// Has missing trades fetched.
    pub(super) fn ask(&mut self, request: BackfillRequest, now: UnixMillis, out: &mut Vec<Output>) {
        let job = self.symbol.job(request, self.assignment);
        if self.backfills.try_send(job).is_err() {
            self.meters.backfill_queue_full();
            self.symbol.backfill_not_queued(request.id, now, out);
        }
    }
}

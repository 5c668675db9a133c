//! A symbol with what its worker needs to carry out its effects.

use market_core::{BackfillRequest, GapEvent, GapEventState, Output, Pipeline, UnixMillis};
use tokio::sync::mpsc;
use tracing::info;

use super::meters::SymbolMeters;
use super::symbol::Symbol;
use super::timing::WorkerTiming;
use crate::backfill::BackfillJob;
use crate::instrument::{Instrument, InstrumentId};

/// A symbol as a worker is given it.
pub struct WorkerSymbol {
    /// Its id in the plan.
    pub id: InstrumentId,
    /// What it is.
    pub instrument: Instrument,
    /// New, or restored.
    pub pipeline: Pipeline,
    /// Where its missing trades are fetched.
    pub backfills: mpsc::Sender<BackfillJob>,
}

/// See the module.
pub(super) struct Owned {
    pub(super) symbol: Symbol,
    pub(super) exchange: &'static str,
    pub(super) name: String,
    backfills: mpsc::Sender<BackfillJob>,
    pub(super) meters: SymbolMeters,
    /// The worker ticks it after the inputs that wait.
    pub(super) is_touched: bool,
}

impl Owned {
    /// A symbol as it was given; it is number `turn.0` of `turn.1`.
    pub(super) fn new(
        given: WorkerSymbol,
        timing: WorkerTiming,
        now: UnixMillis,
        turn: (usize, usize),
    ) -> Self {
        let native = &given.instrument.native;
        Self {
            symbol: Symbol::new(given.id, native, given.pipeline, timing, now, turn),
            exchange: given.instrument.exchange,
            name: given.instrument.symbol.to_string(),
            backfills: given.backfills,
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
        let job = self.symbol.job(request);
        if self.backfills.try_send(job).is_err() {
            self.meters.backfill_queue_full();
            self.symbol.backfill_not_queued(request.id, now, out);
        }
    }
}

//! Bars, requests and events that a pipeline returns.

use crate::bar::Bar;
use crate::series::gap::{BackfillRequest, GapAction, GapEvent};

/// What comes out.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "bars are nearly all of it, and a box each would cost more"
)]
pub enum Output {
    /// A bar that has closed, or a revision of one (`rev` above 0).
    Bar(Bar),
    /// Trades to fetch. Call [`Pipeline::backfill_ended`](crate::Pipeline::backfill_ended) whatever
    /// the outcome.
    Backfill(BackfillRequest),
    /// A gap in trade ids has been confirmed or has ended.
    Gap(GapEvent),
    /// The venue renumbered its trades: the symbol joined again.
    IdsRestarted {
        /// The id that would have been next.
        expected: u64,
        /// The id that came.
        first_id: u64,
    },
}

impl From<GapAction> for Output {
    fn from(action: GapAction) -> Self {
        match action {
            GapAction::Ask(request) => Self::Backfill(request),
            GapAction::Tell(event) => Self::Gap(event),
        }
    }
}

/// How a backfill ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackfillOutcome {
    /// All trades of the span that the venue has were offered: trades that are missing now are
    /// lost.
    Done,
    /// It could not be fetched: try again later.
    Failed,
    /// The venue no longer has the symbol: the missing trades are lost.
    Gone,
}

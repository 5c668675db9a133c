//! Bars, requests and events that a pipeline returns.

use crate::bar::Bar;
use crate::clock::UnixMillis;
use crate::gap::GapEvent;

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

/// Trades that are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackfillRequest {
    /// Pass it to [`Pipeline::backfill_ended`](crate::Pipeline::backfill_ended).
    pub id: u64,
    /// First missing trade id.
    pub first_id: u64,
    /// Last missing trade id; `None` for all trades that the venue has after `first_id`.
    pub last_id: Option<u64>,
    /// No missing trade happened before this event time.
    pub from_ms: UnixMillis,
    /// How often they were requested without success.
    pub failures: u32,
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

//! What a pipeline gives out and asks for.

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
    /// Trades to fetch; [`Pipeline::backfill_ended`](crate::Pipeline::backfill_ended) is to be called whatever comes of it.
    Backfill(BackfillRequest),
    /// A gap in trade ids has been confirmed or has ended.
    Gap(GapEvent),
    /// The venue numbers its trades anew: the symbol was joined again.
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
    /// To be given back to [`Pipeline::backfill_ended`](crate::Pipeline::backfill_ended).
    pub id: u64,
    /// First missing trade id.
    pub first_id: u64,
    /// Last missing trade id; `None` for all that the venue has after `first_id`.
    pub last_id: Option<u64>,
    /// Event time before which none of them happened.
    pub from_ms: UnixMillis,
    /// How often they have been asked for in vain.
    pub failures: u32,
}

/// How a backfill ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackfillOutcome {
    /// All that the venue has of the span was offered: what is missing now is lost.
    Done,
    /// It could not be fetched: try again later.
    Failed,
    /// The venue no longer has the symbol: what is missing is lost.
    Gone,
}

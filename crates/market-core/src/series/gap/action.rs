//! What gaps give out. Their owner turns it into its own outputs.

use serde::{Deserialize, Serialize};

use crate::value::clock::UnixMillis;

/// What has to be done about a gap.
pub(crate) enum GapAction {
    /// Ask for its trades.
    Ask(BackfillRequest),
    /// Tell operators and clients.
    Tell(GapEvent),
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

/// A gap that was confirmed or has ended, for operators and clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct GapEvent {
    /// First missing id; `None` if the feed is down and the id is unknown.
    pub first_id: Option<u64>,
    /// Last missing id.
    pub last_id: Option<u64>,
    /// Event time of the trade before.
    pub from_ms: UnixMillis,
    /// Event time of the trade after.
    pub to_ms: Option<UnixMillis>,
    /// What happened.
    pub state: GapEventState,
}

/// What happened to a gap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapEventState {
    /// Trades are missing and asked for.
    Open,
    /// All of them have come.
    Filled,
    /// They cannot be had.
    Lost,
}

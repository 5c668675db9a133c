//! Timing of a pipeline.

use crate::value::timeframe::TimeframeSet;

/// Timing of one symbol's pipeline; all in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineConfig {
    /// The bars' widths.
    pub timeframes: TimeframeSet,
    /// How long after its end a bar waits for late trades.
    pub reorder_window_ms: i64,
    /// How long after that a late trade still revises a closed bar.
    pub late_horizon_ms: i64,
    /// How long a gap may be only disorder before it is requested.
    pub gap_grace_ms: i64,
    /// How long bars wait for a gap before they close without its trades.
    pub gap_hold_ms: i64,
    /// How long to wait before a failed backfill is tried again; doubles up to 30 s.
    pub gap_retry_ms: i64,
    /// How long a gap is requested before it counts as lost. If the venue did not answer, it is
    /// requested again each time that this time has passed.
    pub gap_give_up_ms: i64,
    /// How many answers of the venue must lack missing trades before these count as lost.
    pub gap_answers_min: u32,
    /// A symbol does not continue from a checkpoint older than this: it joins again.
    pub checkpoint_age_max_ms: i64,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            timeframes: TimeframeSet::default(),
            reorder_window_ms: 2_000,
            late_horizon_ms: 900_000,
            gap_grace_ms: 300,
            gap_hold_ms: 10_000,
            gap_retry_ms: 1_000,
            gap_give_up_ms: 300_000,
            gap_answers_min: 3,
            checkpoint_age_max_ms: 86_400_000,
        }
    }
}

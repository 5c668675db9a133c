//! How much of a topic is kept, and for how long.

use std::time::Duration;

/// How much a slot keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Depth {
    /// Closed bars held whole, those that start last.
    pub closed_bars: usize,
    /// Closed bars of which it is known that they were, however old they are.
    pub closed_log: usize,
    /// How long it is known of any other: no session falls further behind and lives.
    pub lag_max: Duration,
    /// How long a closed bar is held whole, whatever has come since.
    pub hold: Duration,
    /// Closed bars of a topic held whole at most.
    pub burst_max: usize,
    /// Bytes of the closed bars of all topics whose time is not over, at most.
    pub hold_bytes_max: usize,
}

impl Default for Depth {
    fn default() -> Self {
        Self {
            closed_bars: 32,
            closed_log: 256,
            lag_max: Duration::from_secs(75),
            hold: Duration::from_secs(30),
            burst_max: 4_096,
            hold_bytes_max: 256 << 20,
        }
    }
}

/// What a slot keeps at this time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Keep {
    /// How much.
    pub depth: Depth,
    /// Versions up to here have had their time.
    pub old_upto: u64,
    /// Every session has been sent what it wanted of the versions up to here, or was told.
    pub told_upto: u64,
}

//! The limits of a topic's state, in number and in time.

use std::time::Duration;

/// The limits of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Depth {
    /// Closed bars that are held whole: those with the latest starts.
    pub closed_bars: usize,
    /// Closed bars whose existence is remembered, however old they are.
    pub closed_log: usize,
    /// For how long the existence of other bars is remembered: no session can be further behind
    /// without being closed.
    pub lag_max: Duration,
    /// How long a closed bar is held whole, whatever comes later.
    pub hold: Duration,
    /// Most closed bars of a topic that are held whole.
    pub burst_max: usize,
    /// Most bytes of the closed bars of all topics within their hold time.
    pub hold_bytes_max: usize,
    /// Entries of a log that are held whatever their age: the newest.
    pub log_entries: usize,
    /// Most entries of a log within their hold time.
    pub log_burst_max: usize,
    /// Most bytes of the entries of all logs within their hold time.
    pub log_hold_bytes_max: usize,
    /// Order books of a topic that are held beside the newest.
    pub earlier_books: usize,
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
            log_entries: 64,
            log_burst_max: 4_096,
            log_hold_bytes_max: 64 << 20,
            earlier_books: 16,
        }
    }
}

/// The limits of a slot at this time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Keep {
    /// How much.
    pub depth: Depth,
    /// The hold time of versions up to here is over.
    pub old_upto: u64,
    /// Every session has got the versions up to here that it wanted, or was told of them.
    pub told_upto: u64,
}

//! The timing of a worker and of its symbols.

/// Timing of a worker; ms.
#[derive(Clone, Copy, Debug)]
pub struct WorkerTiming {
    /// Shortest time between forming bars of a topic.
    pub forming_interval_ms: i64,
    /// Shortest time between checkpoints of a symbol.
    pub checkpoint_interval_ms: i64,
    /// A trade that REST has and that is older than this should have come by the socket.
    pub zombie_age_ms: i64,
    /// How long bars wait for late trades.
    pub reorder_window_ms: i64,
    /// How long bars wait for their connection to prove that it was read.
    pub proof_hold_ms: i64,
}

//! Where a client stopped.

/// Where a client stopped in a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ResumePosition {
    /// The epoch in which its number counts.
    pub epoch: u64,
    /// The last number that it saw.
    pub seq: u64,
    /// End of the client's last closed bar, unix ms, if the client names it.
    pub closed_ms: Option<i64>,
}

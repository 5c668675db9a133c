//! What a session has got of its topics.

/// What a session has got, by the versions of the hub.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Progress {
    /// All versions up to this one have been sent.
    pub seen: u64,
    /// Some of its topics may have begun for it only here, with the newest publication; no later
    /// version has a topic that did.
    pub begun: u64,
}

impl Progress {
    /// All versions up to `seen` have been sent, and nothing was here when its topics began.
    #[must_use]
    pub(crate) fn from_the_start(seen: u64) -> Self {
        Self { seen, begun: 0 }
    }
}

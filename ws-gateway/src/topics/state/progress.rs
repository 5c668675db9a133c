//! What a session has got of a topic.

/// What a session has got of a topic, by the versions of the hub.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Progress {
    /// All versions up to this one have been sent.
    pub seen: u64,
    /// The topic began for it here, with the newest publication: it may lack all up to here. 0 if
    /// nothing was here then, or the client has it.
    pub begun: u64,
}

impl Progress {
    /// All versions up to `seen` have been sent, and nothing was here when the topic began.
    #[cfg(test)]
    pub(crate) fn from_the_start(seen: u64) -> Self {
        Self { seen, begun: 0 }
    }
}

/// The bytes that a session may still get at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Of logs.
    pub log: usize,
    /// Of bars that were here before the session began, after a late one.
    pub earlier: usize,
}

/// A bar that some sessions lack after a late one: those that began at its version or later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AfterLate {
    /// Version of its first publication.
    pub version: u64,
    /// Whether it is sent; otherwise it is counted.
    pub is_held: bool,
}

//! One of a shard's sessions.

/// A session of a shard; stale once the session has left.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct SessionId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl SessionId {
    /// A number that no other session of the shard has.
    #[must_use]
    pub(crate) fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }
}

//! One of a shard's sessions.

/// A session of a shard; stale once the session has left.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct SessionId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

//! The number of a topic in the hub.

/// Index of a topic's slot. The slots of published topics are never removed; that of a folded topic
/// ends with its fold, and another folded topic gets the index once no shard knows the former.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct SlotId(pub u32);

impl SlotId {
    /// As an index.
    #[must_use]
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

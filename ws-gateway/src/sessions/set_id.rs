//! One of a shard's topic sets.

/// Index of a set in its shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct SetId(pub u32);

impl SetId {
    /// The set without subscriptions, in which every session begins. It is never removed.
    pub(crate) const EMPTY: Self = Self(0);

    /// As an index.
    #[must_use]
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

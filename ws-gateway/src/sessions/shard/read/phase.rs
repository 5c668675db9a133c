//! What a read of one topic's past looks for.

/// What a read looks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// The first of the last bars, backwards.
    Start {
        wanted: usize,
        found: usize,
        cursor: Option<String>,
    },
    /// The bars after those that the client has.
    Bars { cursor: Option<String> },
    /// Revisions of bars that the client has, once it has all bars.
    Revisions {
        cursor: Option<String>,
        pages: usize,
    },
}

impl Phase {
    pub(super) const BARS: Self = Self::Bars { cursor: None };
}

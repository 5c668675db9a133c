//! The result of offering a publication.

/// The result of offering a publication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Offered {
    /// It is new; `missed` closed bars should have come before it.
    New {
        /// Closed bars that never reached this gateway.
        missed: u32,
        /// Whether it is a bar that was counted as missed before.
        late: bool,
        /// Whether it replaced a forming bar or value that some session may not have seen.
        conflated: bool,
    },
    /// It was here before.
    Duplicate,
    /// It is older than what is held.
    Stale,
}

//! The limits of one request.

/// The limits of one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestLimits {
    /// Topics and patterns in one request, after channels, symbols and exchanges are combined.
    pub topics_max: usize,
    /// How many of them may hold wildcards.
    pub wildcards_max: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            topics_max: 1_000,
            wildcards_max: 50,
        }
    }
}

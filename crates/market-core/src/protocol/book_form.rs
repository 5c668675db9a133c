//! How a subscriber wants order books.

use super::error_code::{ErrorCode, Refusal};

/// The depths that a client may ask for, levels of each side.
pub const BOOK_DEPTHS: [usize; 4] = [5, 10, 20, 50];

/// The form of the messages of order books.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct BookForm {
    /// Levels of each side; `None` for all that are published.
    pub depth: Option<usize>,
    /// After the first whole book, only what has changed.
    pub changes: bool,
}

impl BookForm {
    /// All levels in each message.
    pub const WHOLE: Self = Self {
        depth: None,
        changes: false,
    };

    /// What two overlapping subscriptions want together: the deeper one, and whole books if one of
    /// them wants whole books.
    #[must_use]
    pub(super) fn union(self, other: Self) -> Self {
        let depths = self.depth.zip(other.depth);
        Self {
            depth: depths.map(|(depth, other)| depth.max(other)),
            changes: self.changes && other.changes,
        }
    }

    /// The form of these options.
    pub(super) fn of_options(depth: Option<u64>, changes: bool) -> Result<Self, Refusal> {
        let known = |depth: u64| BOOK_DEPTHS.into_iter().find(|known| *known as u64 == depth);
        let depth = match depth.map(known) {
            Some(None) => {
                let message = "depth is the levels of each side of order books, 5, 10, 20 or 50: leave it out for all levels";
                return Err((ErrorCode::BadOption, message.to_owned()));
            }
            known => known.flatten(),
        };
        Ok(Self { depth, changes })
    }
}

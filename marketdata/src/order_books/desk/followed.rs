//! What a desk knows of one book.

use market_core::{BookFault, BookLimits, BookSync};

use crate::instrument::InstrumentId;
use crate::order_books::pace::Pace;

/// One book.
pub(super) struct Followed {
    pub(super) instrument: InstrumentId,
    pub(super) native: String,
    pub(super) sync: BookSync,
    pub(super) pace: Pace,
    /// It is in a frame that waits or that was sent, and the venue did not refuse it.
    pub(super) is_asked: bool,
    /// The venue sends its changes, as far as it has said so.
    pub(super) is_subscribed: bool,
    /// It is to be published.
    pub(super) is_changed: bool,
    /// Why there is no book.
    pub(super) fault: BookFault,
    /// The levels that are kept of it, as counted.
    pub(super) levels: usize,
}

impl Followed {
    /// A book that is subscribed now, and has no snapshot yet.
    pub(super) fn new(
        instrument: InstrumentId,
        native: &str,
        limits: BookLimits,
        pace: Pace,
    ) -> Self {
        Self {
            instrument,
            native: native.to_owned(),
            sync: BookSync::new(limits),
            pace,
            is_asked: true,
            is_subscribed: false,
            is_changed: false,
            fault: BookFault::Lost,
            levels: 0,
        }
    }
}

//! One request for missing trades.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use market_core::BackfillRequest;

use crate::instrument::InstrumentId;

/// One pipeline's request.
#[derive(Clone, Debug)]
pub struct BackfillJob {
    /// Whose trades are missing.
    pub instrument: InstrumentId,
    /// Under which assignment of the symbol.
    pub assignment: u64,
    /// The venue's name of it.
    pub native: Arc<str>,
    /// Which trades.
    pub request: BackfillRequest,
    /// Cleared when the pipeline no longer needs the job, for example because the stream continued
    /// without a gap.
    pub wanted: Arc<AtomicBool>,
}

impl BackfillJob {
    /// Whether the pipeline still needs it.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }
}

//! Whether the store does what it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the store stored and answered when it was asked last. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreHealth(Arc<Failing>);

#[derive(Debug, Default)]
struct Failing {
    stores: AtomicBool,
    answers: AtomicBool,
}

impl StoreHealth {
    /// It stored rows, or failed to.
    pub(crate) fn set_stores(&self, is_well: bool) {
        self.0.stores.store(!is_well, Ordering::Relaxed);
    }

    /// It answered a question, or failed to.
    pub(crate) fn set_answers(&self, is_well: bool) {
        self.0.answers.store(!is_well, Ordering::Relaxed);
    }

    /// Whether the last calls of both kinds succeeded; true before the first one.
    pub(crate) fn is_well(&self) -> bool {
        !self.0.stores.load(Ordering::Relaxed) && !self.0.answers.load(Ordering::Relaxed)
    }
}

//! Whether the store does what it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the last call of the store failed in a way that can pass. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreHealth(Arc<AtomicBool>);

impl StoreHealth {
    /// The last call succeeded, or failed.
    pub(crate) fn set_well(&self, is_well: bool) {
        self.0.store(!is_well, Ordering::Relaxed);
    }

    /// Whether the last call succeeded; true before the first one.
    pub(crate) fn is_well(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

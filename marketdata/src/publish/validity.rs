//! Until when this program may publish without looking at its leases again.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use market_core::UnixMillis;

use crate::host_clock::now_ms;

/// Wait before the leases are looked at again while they may not be ours.
pub(crate) const DOUBT: Duration = Duration::from_millis(10);

/// A time that moves on with each beat that came back to us over the bus. A program that stood
/// still, or that the bus does not reach, finds it passed: others may have taken its leases.
#[derive(Debug)]
pub struct Validity(AtomicI64);

impl Validity {
    /// Nothing may be published yet.
    #[must_use]
    pub fn none() -> Self {
        Self(AtomicI64::new(UnixMillis::MIN))
    }

    /// It never ends: for programs that share their bus with nobody.
    #[must_use]
    pub fn for_ever() -> Self {
        Self(AtomicI64::new(UnixMillis::MAX))
    }

    /// Ends at this time of the host's steady clock.
    pub(crate) fn set(&self, until_ms: UnixMillis) {
        self.0.store(until_ms, Ordering::Release);
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn holds(&self) -> bool {
        now_ms() < self.0.load(Ordering::Acquire)
    }
}

//! What was taken, on its way to be published.

use bus::Lease;

use super::work::Taken;
use crate::instrument::InstrumentId;

/// What was taken and begins now, a portion at a time.
#[derive(Default)]
pub(super) struct Beginning {
    pub(super) taken: std::vec::IntoIter<Taken>,
    pub(super) is_anew: bool,
    pub(super) begun: u64,
    pub(super) highest: u64,
    /// Something of their records was missed.
    pub(super) missed: Vec<(InstrumentId, Lease)>,
}

impl Beginning {
    /// The leases that have not begun.
    pub(super) fn into_leases(self) -> impl Iterator<Item = Lease> {
        let taken = self.taken.map(|taken| taken.lease);
        taken.chain(self.missed.into_iter().map(|(_, lease)| lease))
    }
}

//! What was taken, on its way to be published.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bus::Lease;

use super::work::Taken;
use crate::instrument::InstrumentId;

/// For how long leases that were taken wait for those that are being taken: what is read for them is
/// read once, and a question that the bus does not answer takes 5 s.
const GATHERED_MAX: Duration = Duration::from_millis(200);

/// Leases that were taken together begin together, after the position of their marks is known.
#[derive(Default)]
pub(super) struct Gathering {
    taken: Vec<(InstrumentId, Lease)>,
    /// When the first of them was taken.
    since: Option<Instant>,
}

impl Gathering {
    pub(super) fn push(&mut self, instrument: InstrumentId, lease: Lease, now: Instant) {
        self.taken.push((instrument, lease));
        self.since.get_or_insert(now);
    }

    /// Whether they begin now, while so many others are being taken.
    pub(super) fn are_due(&self, claims: usize, now: Instant) -> bool {
        self.since.is_some_and(|since| {
            claims == 0 || now.saturating_duration_since(since) >= GATHERED_MAX
        })
    }

    pub(super) fn take(&mut self) -> Vec<(InstrumentId, Lease)> {
        self.since = None;
        std::mem::take(&mut self.taken)
    }

    /// These were lost again.
    pub(super) fn remove(&mut self, instruments: &[InstrumentId]) {
        let lost: HashSet<&InstrumentId> = instruments.iter().collect();
        self.taken.retain(|(taken, _)| !lost.contains(taken));
        if self.taken.is_empty() {
            self.since = None;
        }
    }
}

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

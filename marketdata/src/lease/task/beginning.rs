//! What was taken, on its way to be published.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bus::Lease;

use super::work::Taken;
use crate::instrument::InstrumentId;

/// For how long leases that were taken wait for those that are being taken: what is read for them is
/// read once, and a question that the bus does not answer takes 5 s.
const GATHERED_MAX: Duration = Duration::from_millis(200);
/// Groups whose records are read at once. Each reads what the stream took since the holder died, for
/// all symbols: many at once would make each other slow. A group that waits for a server that lags
/// holds the next one up no longer than the other place is free.
const READ_AT_ONCE_MAX: usize = 2;

/// Leases that were taken together begin together, after their records and the position of their
/// marks were read.
#[derive(Default)]
pub(super) struct Gathering {
    taken: Vec<Taken>,
    /// When the first of them was taken.
    since: Option<Instant>,
    /// Something of the records of these was missed.
    missed: Vec<Taken>,
    /// Groups that are being read.
    reading: usize,
}

impl Gathering {
    pub(super) fn push(&mut self, taken: Taken, now: Instant) {
        self.taken.push(taken);
        self.since.get_or_insert(now);
    }

    /// The records of these are read once more, from the oldest message on.
    pub(super) fn push_missed(&mut self, missed: Vec<Taken>) {
        self.missed.extend(missed);
    }

    /// The group that is read now, while so many leases are being taken, and whether it is read once
    /// more. Call [`Self::read`] afterwards.
    pub(super) fn next(&mut self, claims: usize, now: Instant) -> Option<(Vec<Taken>, bool)> {
        if self.reading >= READ_AT_ONCE_MAX {
            return None;
        }
        let is_due = self.since.is_some_and(|since| {
            claims == 0 || now.saturating_duration_since(since) >= GATHERED_MAX
        });
        let next = if !self.missed.is_empty() {
            (std::mem::take(&mut self.missed), true)
        } else if is_due {
            self.since = None;
            (std::mem::take(&mut self.taken), false)
        } else {
            return None;
        };
        self.reading += 1;
        Some(next)
    }

    /// A group was read.
    pub(super) fn read(&mut self) {
        self.reading -= 1;
    }

    /// These were lost again.
    pub(super) fn remove(&mut self, instruments: &[InstrumentId]) {
        let lost: HashSet<&InstrumentId> = instruments.iter().collect();
        self.taken.retain(|taken| !lost.contains(&taken.instrument));
        if self.taken.is_empty() {
            self.since = None;
        }
    }

    /// The leases of all that wait.
    pub(super) fn take_leases(&mut self) -> impl Iterator<Item = Lease> {
        self.since = None;
        let taken = std::mem::take(&mut self.taken).into_iter();
        let missed = std::mem::take(&mut self.missed).into_iter();
        taken.chain(missed).map(|taken| taken.lease)
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
    pub(super) missed: Vec<Taken>,
}

impl Beginning {
    /// The leases that have not begun.
    pub(super) fn into_leases(self) -> impl Iterator<Item = Lease> {
        self.taken.chain(self.missed).map(|taken| taken.lease)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bus::{Bus, Claim, LeaseKey, MemoryBus};

    use super::*;

    async fn taken(bus: &Arc<dyn Bus>, instrument: InstrumentId) -> Taken {
        let key = LeaseKey {
            subject: format!("closed.lease.binance.A{instrument}-B"),
            beat_subject: "beat".to_owned(),
        };
        let claim = key.take(bus, "me", None, 1).await;
        let Ok(Claim::Taken(lease)) = claim else {
            panic!("{claim:?}");
        };
        Taken::new(instrument, lease, 0)
    }

    fn instruments(next: Option<(Vec<Taken>, bool)>) -> Option<(Vec<InstrumentId>, bool)> {
        next.map(|(taken, is_anew)| {
            let instruments = taken.iter().map(|taken| taken.instrument);
            (instruments.collect(), is_anew)
        })
    }

    #[tokio::test]
    async fn the_records_of_few_groups_are_read_at_once_and_the_others_are_one_group() {
        let bus: Arc<dyn Bus> = Arc::new(MemoryBus::with_streams(&service::streams()));
        let mut gathering = Gathering::default();
        let begin = Instant::now();
        let mut groups = Vec::new();
        for instrument in 0..10 {
            // Each comes later than the one before has waited.
            let now = begin + 2 * GATHERED_MAX * u32::try_from(instrument).expect("small");
            gathering.push(taken(&bus, instrument).await, now);
            assert!(gathering.next(1, now).is_none(), "it waits for others");
            groups.extend(gathering.next(1, now + GATHERED_MAX));
        }
        assert_eq!(groups.len(), READ_AT_ONCE_MAX);
        let missed = groups.remove(0).0;
        let later = begin + 100 * GATHERED_MAX;
        // What was missed is read before what was not read yet.
        gathering.read();
        gathering.push_missed(missed);
        let next = instruments(gathering.next(0, later));
        assert_eq!(next, Some((vec![0], true)));
        assert_eq!(instruments(gathering.next(0, later)), None);
        gathering.remove(&[4]);
        gathering.read();
        let next = instruments(gathering.next(0, later));
        assert_eq!(next, Some((vec![2, 3, 5, 6, 7, 8, 9], false)));
        gathering.read();
        assert_eq!(instruments(gathering.next(0, later)), None);
    }
}

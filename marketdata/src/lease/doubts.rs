//! Instruments of which a bar was heard that the bus may have refused.
//!
//! Their records are read while another program still publishes them, so that a takeover need not
//! read them first. What was sent is stored, or refused, a second later.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::instrument::InstrumentId;

/// Ticks until a bar is stored or refused.
const SETTLED_AFTER: u32 = 20;
/// Ticks after a read until the next one: a program that does not notice that its leases were taken
/// goes on for as long as it lives.
const PAUSE: u32 = 200;

/// See the module.
#[derive(Debug)]
pub(crate) struct Doubts {
    /// What was heard since the last turn, and before it, with the number of the lease that makes it
    /// doubtful.
    fresh: BTreeMap<InstrumentId, u64>,
    settled: BTreeMap<InstrumentId, u64>,
    ticks_left: u32,
    /// What is being read: the number of the lease that made it doubtful, and since when.
    reading: HashMap<InstrumentId, (u64, Instant)>,
}

impl Default for Doubts {
    fn default() -> Self {
        Self {
            fresh: BTreeMap::new(),
            settled: BTreeMap::new(),
            ticks_left: SETTLED_AFTER,
            reading: HashMap::new(),
        }
    }
}

impl Doubts {
    /// A bar of this instrument was heard although its lease had been taken under this number.
    pub(crate) fn add(&mut self, instrument: InstrumentId, number: u64) {
        self.fresh.insert(instrument, number);
    }

    /// Moves the clock. Gives the instruments that are read now.
    pub(crate) fn tick(&mut self) -> BTreeMap<InstrumentId, u64> {
        self.ticks_left -= 1;
        if self.ticks_left > 0 {
            return BTreeMap::new();
        }
        let due = std::mem::replace(&mut self.settled, std::mem::take(&mut self.fresh));
        self.ticks_left = if due.is_empty() { SETTLED_AFTER } else { PAUSE };
        due
    }

    /// An instrument is read from `now` on. What made its bar doubtful was a lease of this number, or
    /// an attempt that the bus refused.
    pub(crate) fn read(&mut self, instrument: InstrumentId, number: u64, now: Instant) {
        self.reading.insert(instrument, (number, now));
    }

    /// The lease was looked at, and the question was asked at that time. Gives the number that made a
    /// bar doubtful, if the answer is newer than the doubt: the lease of now decides.
    pub(crate) fn looked(&mut self, instrument: InstrumentId, asked: Instant) -> Option<u64> {
        let (number, since) = *self.reading.get(&instrument)?;
        if asked < since {
            return None;
        }
        self.reading.remove(&instrument);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NONE: [InstrumentId; 0] = [];

    fn pass(doubts: &mut Doubts, ticks: u32) -> Vec<InstrumentId> {
        let due = (0..ticks).flat_map(|_| doubts.tick());
        due.map(|(instrument, _)| instrument).collect()
    }

    #[test]
    fn what_was_heard_in_doubt_is_read_when_it_is_stored_or_refused_and_seldom() {
        let mut doubts = Doubts::default();
        assert_eq!(pass(&mut doubts, SETTLED_AFTER - 1), NONE);
        doubts.add(7, 4);
        assert_eq!(
            pass(&mut doubts, SETTLED_AFTER),
            NONE,
            "a moment after it came"
        );
        // A zombie goes on.
        for instrument in [7, 8] {
            doubts.add(instrument, 4);
        }
        assert_eq!(pass(&mut doubts, 1), [7]);
        assert_eq!(pass(&mut doubts, PAUSE - 1), NONE);
        assert_eq!(pass(&mut doubts, 1), [7, 8]);
        assert_eq!(pass(&mut doubts, 10 * PAUSE), NONE);
    }

    #[test]
    fn a_look_from_before_a_doubt_does_not_end_it() {
        let mut doubts = Doubts::default();
        let before = Instant::now();
        let since = before + Duration::from_secs(1);
        doubts.read(7, 4, since);
        assert_eq!(doubts.looked(7, before), None);
        assert_eq!(doubts.looked(8, since), None);
        assert_eq!(doubts.looked(7, since), Some(4));
        assert_eq!(doubts.looked(7, since), None, "once");
    }
}

//! The stage of each instrument: a pure state machine.

use crate::instrument::InstrumentId;

/// Where an instrument stands in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is not published here.
    Released,
    /// Its state is being loaded, under this number.
    Assigning(u64),
    /// It is published here, under this number.
    Owned(u64),
    /// Its last bars and its state are being stored.
    Revoking,
}

/// An instrument is still changing hands: ask again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy(pub(crate) InstrumentId);

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    stages: Vec<Stage>,
    /// The number of the newest assignment.
    newest: u64,
}

impl Ledger {
    /// A ledger of instruments that are not published here.
    pub(crate) fn new(instruments: usize) -> Self {
        Self {
            stages: vec![Stage::Released; instruments],
            newest: 0,
        }
    }

    /// Where an instrument stands.
    pub(crate) fn stage(&self, instrument: InstrumentId) -> Stage {
        self.stages[instrument]
    }

    /// Begins to assign these instruments, and gives each its number. Owned instruments stay owned.
    ///
    /// # Errors
    /// `Busy` if one of them is being revoked; then nothing has changed.
    pub(crate) fn assign(
        &mut self,
        instruments: &[InstrumentId],
    ) -> Result<Vec<(InstrumentId, u64)>, Busy> {
        if let Some(&busy) = self.first_in(instruments, |stage| stage == Stage::Revoking) {
            return Err(Busy(busy));
        }
        let mut begun = Vec::new();
        for &instrument in instruments {
            if self.stages[instrument] == Stage::Released {
                self.newest += 1;
                self.stages[instrument] = Stage::Assigning(self.newest);
                begun.push((instrument, self.newest));
            }
        }
        Ok(begun)
    }

    /// An assignment has ended. If it failed, the instrument is not published here.
    pub(crate) fn assigned(&mut self, instrument: InstrumentId, number: u64, is_ours: bool) {
        if self.stages[instrument] == Stage::Assigning(number) {
            self.stages[instrument] = if is_ours {
                Stage::Owned(number)
            } else {
                Stage::Released
            };
        }
    }

    /// Begins to revoke these instruments, and gives those that must be drained. Those that are not
    /// published here stay so.
    ///
    /// # Errors
    /// `Busy` if one of them is being assigned; then nothing has changed.
    pub(crate) fn revoke(
        &mut self,
        instruments: &[InstrumentId],
    ) -> Result<Vec<InstrumentId>, Busy> {
        let is_assigning = |stage| matches!(stage, Stage::Assigning(_));
        if let Some(&busy) = self.first_in(instruments, is_assigning) {
            return Err(Busy(busy));
        }
        let mut begun = Vec::new();
        for &instrument in instruments {
            if matches!(self.stages[instrument], Stage::Owned(_)) {
                self.stages[instrument] = Stage::Revoking;
                begun.push(instrument);
            }
        }
        Ok(begun)
    }

    /// An instrument was drained: another program may begin with it.
    pub(crate) fn revoked(&mut self, instrument: InstrumentId) {
        if self.stages[instrument] == Stage::Revoking {
            self.stages[instrument] = Stage::Released;
        }
    }

    fn first_in<'i>(
        &self,
        instruments: &'i [InstrumentId],
        is: impl Fn(Stage) -> bool,
    ) -> Option<&'i InstrumentId> {
        let mut instruments = instruments.iter();
        instruments.find(|&&instrument| is(self.stages[instrument]))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const INSTRUMENTS: usize = 4;

    #[derive(Clone, Debug)]
    enum Step {
        Assign(Vec<InstrumentId>),
        Revoke(Vec<InstrumentId>),
        /// An assignment in progress ends, well or not.
        Assigned(usize, bool),
        /// A drain in progress ends.
        Revoked(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let some = || proptest::collection::vec(0..INSTRUMENTS, 0..6);
        prop_oneof![
            some().prop_map(Step::Assign),
            some().prop_map(Step::Revoke),
            (any::<usize>(), any::<bool>()).prop_map(|(at, is_ours)| Step::Assigned(at, is_ours)),
            any::<usize>().prop_map(Step::Revoked),
        ]
    }

    proptest! {
        /// Whatever is asked in whatever order: an instrument is never loaded while it is drained,
        /// nor drained while it is loaded, each work begins once, and no number is given twice.
        #[test]
        fn an_instrument_changes_hands_one_step_at_a_time(
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let mut ledger = Ledger::new(INSTRUMENTS);
            let mut loading: BTreeMap<InstrumentId, u64> = BTreeMap::new();
            let mut draining: Vec<InstrumentId> = Vec::new();
            let mut owned: BTreeMap<InstrumentId, u64> = BTreeMap::new();
            let mut newest = 0;
            for step in steps {
                match step {
                    Step::Assign(asked) => match ledger.assign(&asked) {
                        Ok(begun) => {
                            for (instrument, number) in begun {
                                prop_assert!(number > newest, "a number rises");
                                newest = number;
                                prop_assert!(asked.contains(&instrument));
                                prop_assert!(!draining.contains(&instrument));
                                prop_assert!(!owned.contains_key(&instrument));
                                prop_assert!(loading.insert(instrument, number).is_none());
                            }
                            for instrument in asked {
                                let is_here = loading.contains_key(&instrument)
                                    || owned.contains_key(&instrument);
                                prop_assert!(is_here, "what was asked for begins or is ours");
                            }
                        }
                        Err(Busy(busy)) => prop_assert!(draining.contains(&busy)),
                    },
                    Step::Revoke(asked) => match ledger.revoke(&asked) {
                        Ok(begun) => {
                            for instrument in begun {
                                prop_assert!(asked.contains(&instrument));
                                prop_assert!(owned.remove(&instrument).is_some());
                                draining.push(instrument);
                            }
                            for instrument in asked {
                                prop_assert!(!owned.contains_key(&instrument));
                            }
                        }
                        Err(Busy(busy)) => prop_assert!(loading.contains_key(&busy)),
                    },
                    Step::Assigned(at, is_ours) => {
                        let Some((&instrument, &number)) =
                            loading.iter().nth(at % loading.len().max(1)) else { continue };
                        loading.remove(&instrument);
                        ledger.assigned(instrument, number, is_ours);
                        if is_ours {
                            owned.insert(instrument, number);
                        }
                    }
                    Step::Revoked(at) => {
                        if draining.is_empty() { continue; }
                        let instrument = draining.swap_remove(at % draining.len());
                        ledger.revoked(instrument);
                    }
                }
                for instrument in 0..INSTRUMENTS {
                    let expected = match (loading.get(&instrument), owned.get(&instrument)) {
                        (Some(&number), None) => Stage::Assigning(number),
                        (None, Some(&number)) => Stage::Owned(number),
                        (None, None) if draining.contains(&instrument) => Stage::Revoking,
                        (None, None) => Stage::Released,
                        both => panic!("loaded and owned at once: {both:?}"),
                    };
                    prop_assert_eq!(ledger.stage(instrument), expected);
                }
            }
        }
    }

    #[test]
    fn a_batch_with_a_busy_instrument_changes_nothing() {
        let mut ledger = Ledger::new(2);
        let begun = ledger.assign(&[0]).expect("nothing is in the way");
        assert_eq!(begun, [(0, 1)]);
        assert_eq!(ledger.revoke(&[1, 0]), Err(Busy(0)));
        ledger.assigned(0, 1, true);
        assert_eq!(ledger.revoke(&[1, 0]), Ok(vec![0]));
        assert_eq!(ledger.assign(&[1, 0]), Err(Busy(0)));
        assert_eq!(ledger.stage(1), Stage::Released);
        // An answer that comes late, about an assignment of before, changes nothing.
        ledger.assigned(0, 1, true);
        assert_eq!(ledger.stage(0), Stage::Revoking);
    }
}

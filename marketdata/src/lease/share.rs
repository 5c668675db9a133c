//! Which of several programs publishes an instrument if they share the instruments.
//!
//! Rendezvous hashing: each program and instrument have a weight, and the living program with the
//! highest weight publishes the instrument. If a program comes or goes, only its own part moves.

use twox_hash::XxHash3_64;

use crate::instrument::{Instrument, InstrumentId};

/// See the module. All programs must compute the same weights, whatever their flags and builds are.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    /// By instrument: the hash of its name.
    names: Vec<u64>,
}

impl Share {
    pub(crate) fn new(instruments: &[Instrument]) -> Self {
        let name = |of: &Instrument| format!("{}:{}", of.exchange, of.symbol);
        Self::of_names(instruments.iter().map(name))
    }

    pub(crate) fn of_names(names: impl Iterator<Item = String>) -> Self {
        Self {
            names: names
                .map(|name| XxHash3_64::oneshot(name.as_bytes()))
                .collect(),
        }
    }

    /// The hash of a program's name, for [`Share::precedes`].
    pub(crate) fn program(name: &str) -> u64 {
        XxHash3_64::oneshot(name.as_bytes())
    }

    /// Whether the first program goes before the second one.
    pub(crate) fn precedes(&self, first: u64, second: u64, instrument: InstrumentId) -> bool {
        let name = self.names[instrument];
        let weight = |program: u64| (mixed(name ^ program), program);
        weight(first) > weight(second)
    }
}

/// Spreads what two hashes have in common over all bits. Source: SplitMix64, Steele, Lea and Flood 2014.
fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By instrument: the program that goes before all others.
    fn firsts(share: &Share, programs: &[String]) -> Vec<usize> {
        let programs: Vec<u64> = programs.iter().map(|name| Share::program(name)).collect();
        let first = |instrument: InstrumentId| {
            let mut first = 0;
            for (other, program) in programs.iter().enumerate() {
                if share.precedes(*program, programs[first], instrument) {
                    first = other;
                }
            }
            first
        };
        (0..share.names.len()).map(first).collect()
    }

    proptest! {
        /// Shares are about even, and when a program goes away, nothing moves between the others.
        #[test]
        fn shares_are_even_and_only_the_part_of_who_goes_away_moves(
            seed in any::<u64>(), count in 2usize..8, gone in 0usize..8,
        ) {
            let share = Share::of_names((0..1_000).map(|at| format!("okx:S{seed}{at}-USD")));
            let programs: Vec<String> = (0..count).map(|at| format!("{seed:x}-{at}")).collect();
            let before = firsts(&share, &programs);
            for program in 0..count {
                let held = before.iter().filter(|first| **first == program).count();
                let even = 1_000 / count;
                prop_assert!((even / 2..even * 2).contains(&held), "{} of {}", held, even);
            }
            let gone = gone % count;
            let mut left = programs.clone();
            left.remove(gone);
            for (now, before) in firsts(&share, &left).into_iter().zip(before) {
                prop_assert!(before == gone || left[now] == programs[before]);
            }
        }
    }
}

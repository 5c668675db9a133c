//! A budget: how often something may be done in any window of time.

use std::collections::VecDeque;

/// At most this weight in any window. Exact: it remembers each use with its time. So not even a
/// window across two bursts exceeds it, as it could with a token bucket.
#[derive(Clone, Debug)]
pub struct WindowBudget {
    weight_max: u32,
    window_ms: i64,
    /// (host ms, weight), oldest first.
    taken: VecDeque<(i64, u32)>,
    weight: u32,
}

impl WindowBudget {
    /// At most `weight_max` in any `window_ms`.
    #[must_use]
    pub fn new(weight_max: u32, window_ms: i64) -> Self {
        Self {
            weight_max,
            window_ms,
            taken: VecDeque::new(),
            weight: 0,
        }
    }

    /// Uses `weight` now; a weight above the whole budget counts as the whole budget.
    ///
    /// # Errors
    /// How long to wait before asking again, ms.
    pub fn take(&mut self, now_ms: i64, weight: u32) -> Result<(), i64> {
        self.take_below(now_ms, weight, self.weight_max)
    }

    /// The same for a use that leaves a part of the budget to others: all uses together may not be
    /// above `most` after it.
    ///
    /// # Errors
    /// How long to wait before asking again, ms.
    pub fn take_below(&mut self, now_ms: i64, weight: u32, most: u32) -> Result<(), i64> {
        let most = most.min(self.weight_max);
        let weight = weight.min(most);
        self.forget(now_ms);
        if self.weight.saturating_add(weight) <= most {
            self.taken.push_back((now_ms, weight));
            self.weight += weight;
            return Ok(());
        }
        let mut freed = 0;
        for &(at, taken) in &self.taken {
            freed += taken;
            if self.weight - freed + weight <= most {
                return Err((at + self.window_ms - now_ms).max(1));
            }
        }
        Err(self.window_ms.max(1))
    }

    /// The venue counts `used` for its window, which began within ours: the part above our own
    /// count was used by others.
    pub fn note_used(&mut self, now_ms: i64, used: u32) {
        self.forget(now_ms);
        let others = used.min(self.weight_max).saturating_sub(self.weight);
        if others > 0 {
            self.taken.push_back((now_ms, others));
            self.weight += others;
        }
    }

    fn forget(&mut self, now_ms: i64) {
        while let Some(&(at, taken)) = self.taken.front()
            && at + self.window_ms <= now_ms
        {
            self.taken.pop_front();
            self.weight -= taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weight_of_others_counts_for_a_window_and_never_twice() {
        let mut budget = WindowBudget::new(100, 1_000);
        budget.take(0, 30).expect("room");
        budget.note_used(10, 20);
        budget.note_used(20, 70);
        budget.note_used(30, 70);
        budget.take(40, 30).expect("30 are left");
        assert_eq!(budget.take(50, 1), Err(950));
        budget.note_used(60, u32::MAX);
        assert_eq!(budget.take(1_000, 31), Err(20));
        budget.take(1_020, 70).expect("the others' has passed");
    }

    #[test]
    fn a_use_that_leaves_a_part_waits_until_this_part_is_free() {
        let mut budget = WindowBudget::new(100, 1_000);
        budget.take_below(0, 50, 80).expect("room");
        assert_eq!(budget.take_below(10, 50, 80), Err(990));
        budget.take(20, 50).expect("the others have their part");
        assert_eq!(budget.take_below(1_000, 50, 80), Err(20));
        budget.take_below(1_020, 200, 80).expect("all of its part");
        budget.take(1_020, 20).expect("the others' part");
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_than_the_budget(
            weight_max in 1u32..20,
            window_ms in 1i64..500,
            steps in proptest::collection::vec((0i64..100, 1u32..8), 1..200),
        ) {
            let mut budget = WindowBudget::new(weight_max, window_ms);
            let mut now = 0;
            let mut taken: Vec<(i64, u32)> = Vec::new();
            for (wait, weight) in steps {
                now += wait;
                match budget.take(now, weight) {
                    Ok(()) => taken.push((now, weight.min(weight_max))),
                    Err(wait_ms) => {
                        prop_assert!(wait_ms > 0);
                        // What it says is enough.
                        let mut later = budget.clone();
                        prop_assert!(later.take(now + wait_ms, weight).is_ok());
                    }
                }
                for &(start, _) in &taken {
                    let within: u32 = taken.iter()
                        .filter(|(at, _)| (start..start + window_ms).contains(at))
                        .map(|(_, weight)| weight).sum();
                    prop_assert!(within <= weight_max);
                }
            }
        }
    }
}

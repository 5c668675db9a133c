//! Counts of times, fine enough for percentiles and small enough to be sent between processes.

use hdrhistogram::Histogram as Counts;
use serde::{Deserialize, Serialize};

/// Values above are counted as this one: 19 hours in µs.
const VALUE_MAX: u64 = (1 << 36) - 1;
/// Values are known to 1 %.
const DIGITS: u8 = 2;

/// A histogram of µs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram(Counts<u64>);

/// A histogram on its way between processes: values and how often they came.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sparse(Vec<(u64, u64)>);

impl Default for Histogram {
    fn default() -> Self {
        Self(Counts::new_with_bounds(1, VALUE_MAX, DIGITS).expect("these bounds are valid"))
    }
}

impl Histogram {
    /// Counts a value.
    pub(crate) fn record(&mut self, value_us: u64) {
        self.0.saturating_record(value_us);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    /// How many values were counted.
    #[cfg(test)]
    pub(crate) fn total(&self) -> u64 {
        self.0.len()
    }

    /// The value that `quantile` (0 to 1) of all values do not exceed, µs, to 1 %.
    pub(crate) fn quantile_us(&self, quantile: f64) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(quantile))
    }

    /// The largest value, µs, to 1 %.
    pub(crate) fn max_us(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.max())
    }

    /// Adds what another process counted.
    pub(crate) fn merge(&mut self, other: &Sparse) {
        for &(value, count) in &other.0 {
            self.0.saturating_record_n(value, count);
        }
    }

    /// For another process.
    pub(crate) fn to_sparse(&self) -> Sparse {
        let used = self.0.iter_recorded();
        let counted = used.map(|used| (used.value_iterated_to(), used.count_at_value()));
        Sparse(counted.collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_sorted_values_to_one_percent(
            mut values in prop::collection::vec(0u64..10_000_000_000, 1..300),
            quantile in 0.0f64..=1.0,
        ) {
            let mut histogram = Histogram::default();
            for value in &values {
                histogram.record(*value);
            }
            values.sort_unstable();
            let rank = ((quantile * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1];
            let found = histogram.quantile_us(quantile).expect("not empty");
            prop_assert!(found >= exact && found as f64 <= exact as f64 * 1.01 + 1.0, "{found} for {exact}");
        }

        #[test]
        fn a_merge_is_the_sum(left in prop::collection::vec(any::<u64>(), 0..50), right in prop::collection::vec(any::<u64>(), 0..50)) {
            let of = |values: &[u64]| {
                let mut histogram = Histogram::default();
                values.iter().for_each(|value| histogram.record(*value));
                histogram
            };
            let mut merged = Histogram::default();
            merged.merge(&of(&left).to_sparse());
            merged.merge(&of(&right).to_sparse());
            prop_assert_eq!(merged, of(&[left, right].concat()));
        }
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(Histogram::default().quantile_us(0.5), None);
        assert_eq!(Histogram::default().max_us(), None);
    }
}

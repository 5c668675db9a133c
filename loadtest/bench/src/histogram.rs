//! Counts of times, fine enough for percentiles and small enough to be sent between processes.

use serde::{Deserialize, Serialize};

/// Buckets of each power of two: a value is known to one part in so many.
const SUB_BUCKETS: u64 = 128;
const SUB_BITS: u32 = SUB_BUCKETS.ilog2();
/// Values above are counted as this one: 19 hours in µs.
const VALUE_MAX: u64 = (1 << 36) - 1;
const BUCKETS: usize = ((36 - SUB_BITS as usize) + 1) * SUB_BUCKETS as usize;

/// A histogram of µs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

/// A histogram on its way between processes: only the buckets in use.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sparse {
    buckets: Vec<(u32, u64)>,
    max: u64,
}

fn bucket_of(value: u64) -> usize {
    if value < SUB_BUCKETS {
        return value as usize;
    }
    let shift = value.ilog2() - SUB_BITS;
    let sub = (value >> shift) - SUB_BUCKETS;
    ((u64::from(shift) + 1) * SUB_BUCKETS + sub) as usize
}

/// The largest value of a bucket.
fn upper_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SUB_BUCKETS {
        return bucket;
    }
    let shift = bucket / SUB_BUCKETS - 1;
    ((bucket % SUB_BUCKETS + SUB_BUCKETS + 1) << shift) - 1
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// Counts a value.
    pub(crate) fn record(&mut self, value_us: u64) {
        let value = value_us.min(VALUE_MAX);
        self.counts[bucket_of(value)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
        self.max = 0;
    }

    /// How many values were counted.
    #[cfg(test)]
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The value that `quantile` (0 to 1) of all values do not exceed, µs, to 1 %.
    pub(crate) fn quantile_us(&self, quantile: f64) -> Option<u64> {
        if self.total == 0 {
            return None;
        }
        let rank = ((quantile * self.total as f64).ceil() as u64).clamp(1, self.total);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(upper_of(bucket).min(self.max));
            }
        }
        Some(self.max)
    }

    /// The largest value, µs.
    pub(crate) fn max_us(&self) -> Option<u64> {
        (self.total > 0).then_some(self.max)
    }

    /// Adds what another process counted.
    pub(crate) fn merge(&mut self, other: &Sparse) {
        for (bucket, count) in &other.buckets {
            if let Some(mine) = self.counts.get_mut(*bucket as usize) {
                *mine += count;
                self.total += count;
            }
        }
        self.max = self.max.max(other.max);
    }

    /// For another process.
    pub(crate) fn to_sparse(&self) -> Sparse {
        let used = self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0);
        Sparse {
            buckets: used
                .map(|(bucket, count)| (bucket as u32, *count))
                .collect(),
            max: self.max,
        }
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

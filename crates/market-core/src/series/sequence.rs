//! Trade ids: finds duplicates and gaps.

use serde::{Deserialize, Serialize};

/// The most separate spans of missing ids that are tracked for one symbol; 1,650 trades a second
/// shuffled within 2 s make about 800. Beyond it the oldest is given up, and
/// [`Sequence::take_given_up`] returns it.
pub const MISSING_SPANS_MAX: usize = 4_096;
/// Spare capacity for missing spans that is kept when memory is released.
const SPARE: usize = 64;
/// How far below the first id ever seen an id may lie and still be accepted: a trade that was
/// overtaken while the feed was being joined.
pub const BEFORE_JOIN_MAX: u64 = 1_000;

/// The highest id that is accepted.
pub const ID_MAX: u64 = u64::MAX - 1;

/// Trade ids `first..=last`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IdSpan {
    /// Lowest id.
    pub first: u64,
    /// Highest id.
    pub last: u64,
}

impl IdSpan {
    /// Whether both hold some id.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// The verdict on a trade's ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The next one, or the first.
    Next,
    /// New, and ids before it are missing.
    AfterGap(IdSpan),
    /// A missing id arrived.
    FillsGap,
    /// Seen before.
    Duplicate,
    /// An aggregate whose trades were partly seen. It counts as a duplicate. Its missing trades
    /// stay missing and are fetched trade by trade.
    Overlap,
    /// From long before the feed was joined.
    BeforeJoin,
}

impl Verdict {
    /// Whether the trade is new and to be counted.
    #[must_use]
    pub fn is_new(self) -> bool {
        matches!(self, Self::Next | Self::AfterGap(_) | Self::FillsGap)
    }
}

/// The ids of one symbol that have been seen: all of `floor..next` but the missing spans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// `(lowest id seen, id after the highest seen)`.
    seen: Option<(u64, u64)>,
    /// Ascending, disjoint.
    missing: Vec<IdSpan>,
    #[serde(skip)]
    given_up: Vec<IdSpan>,
}

impl Sequence {
    /// Judges the ids of a trade and records them.
    pub fn offer(&mut self, ids: IdSpan) -> Verdict {
        let Some((floor, next)) = self.seen else {
            self.seen = Some((ids.first, ids.last + 1));
            return Verdict::Next;
        };
        if ids.first == next {
            self.seen = Some((floor, ids.last + 1));
            return Verdict::Next;
        }
        if ids.first > next {
            let gap = IdSpan {
                first: next,
                last: ids.first - 1,
            };
            self.seen = Some((floor, ids.last + 1));
            self.add_missing(gap);
            return Verdict::AfterGap(gap);
        }
        if ids.last < floor {
            return self.offer_before_floor(ids, floor, next);
        }
        if ids.last >= next {
            return self.offer_across_end(ids, floor, next);
        }
        match self.overlapping(ids) {
            None if ids.first >= floor => Verdict::Duplicate,
            Some(index)
                if self.missing[index].first <= ids.first
                    && ids.last <= self.missing[index].last =>
            {
                self.remove_from(index, ids);
                Verdict::FillsGap
            }
            _ => Verdict::Overlap,
        }
    }

    fn offer_before_floor(&mut self, ids: IdSpan, floor: u64, next: u64) -> Verdict {
        if self.is_from_before(ids) {
            return Verdict::BeforeJoin;
        }
        self.seen = Some((ids.first, next));
        if ids.last + 1 == floor {
            return Verdict::FillsGap;
        }
        let gap = IdSpan {
            first: ids.last + 1,
            last: floor - 1,
        };
        self.add_missing(gap);
        Verdict::AfterGap(gap)
    }

    /// An aggregate that begins among the seen ids and ends beyond them.
    fn offer_across_end(&mut self, ids: IdSpan, floor: u64, next: u64) -> Verdict {
        let known = IdSpan {
            first: ids.first,
            last: next - 1,
        };
        self.seen = Some((floor, ids.last + 1));
        if let Some(span) = self.missing.last().copied()
            && span.first <= known.first
            && span.last == known.last
        {
            self.remove_from(self.missing.len() - 1, known);
            return Verdict::FillsGap;
        }
        self.add_missing(IdSpan {
            first: next,
            last: ids.last,
        });
        Verdict::Overlap
    }

    fn remove_from(&mut self, index: usize, ids: IdSpan) {
        let span = self.missing.remove(index);
        if ids.last < span.last {
            self.missing.insert(
                index,
                IdSpan {
                    first: ids.last + 1,
                    last: span.last,
                },
            );
        }
        if span.first < ids.first {
            self.missing.insert(
                index,
                IdSpan {
                    first: span.first,
                    last: ids.first - 1,
                },
            );
        }
        self.bound();
    }

    fn add_missing(&mut self, gap: IdSpan) {
        let index = self.missing.partition_point(|span| span.first < gap.first);
        self.missing.insert(index, gap);
        // Neighbours without a seen id between them are one span.
        for left in [index, index.saturating_sub(1)] {
            if let [a, b] = self.missing[left..self.missing.len().min(left + 2)]
                && a.last + 1 >= b.first
            {
                self.missing[left].last = b.last.max(a.last);
                self.missing.remove(left + 1);
            }
        }
        self.bound();
    }

    fn bound(&mut self) {
        if self.missing.len() > MISSING_SPANS_MAX {
            self.given_up.push(self.missing.remove(0));
        }
    }

    /// Whether [`Sequence::take_given_up`] has something.
    #[must_use]
    #[inline]
    pub fn has_given_up(&self) -> bool {
        !self.given_up.is_empty()
    }

    /// The missing spans that were given up since the last call, because there was no room.
    pub fn take_given_up(&mut self) -> Vec<IdSpan> {
        std::mem::take(&mut self.given_up)
    }

    /// The missing spans, ascending.
    #[must_use]
    pub fn missing(&self) -> &[IdSpan] {
        &self.missing
    }

    /// Whether some id of `span` is missing.
    #[must_use]
    pub fn is_missing_any(&self, span: IdSpan) -> bool {
        self.overlapping(span).is_some()
    }

    /// Whether every id of `span` is missing.
    #[must_use]
    pub fn is_missing_all(&self, span: IdSpan) -> bool {
        self.missing_in(span).any(|missing| missing == span)
    }

    /// Whether `ids` are all seen, and none of them is missing.
    #[must_use]
    pub fn is_seen(&self, ids: IdSpan) -> bool {
        self.seen
            .is_some_and(|(floor, next)| floor <= ids.first && ids.last < next)
            && !self.is_missing_any(ids)
    }

    /// Whether `ids` are from long before the first one seen.
    #[must_use]
    pub fn is_from_before(&self, ids: IdSpan) -> bool {
        self.floor_id()
            .is_some_and(|floor| ids.last < floor && floor - ids.last > BEFORE_JOIN_MAX)
    }

    /// The first missing span that holds some id of `span`.
    fn overlapping(&self, span: IdSpan) -> Option<usize> {
        let index = self
            .missing
            .partition_point(|missing| missing.last < span.first);
        let missing = self.missing.get(index)?;
        missing.overlaps(span).then_some(index)
    }

    /// The parts of `span` that are missing, ascending.
    pub fn missing_in(&self, span: IdSpan) -> impl Iterator<Item = IdSpan> {
        let first = self.overlapping(span).unwrap_or(self.missing.len());
        let touched = self.missing[first..].iter();
        touched
            .take_while(move |missing| missing.first <= span.last)
            .map(move |missing| IdSpan {
                first: missing.first.max(span.first),
                last: missing.last.min(span.last),
            })
    }

    /// Marks the ids of `span` as seen: they are no longer requested.
    pub fn forget(&mut self, span: IdSpan) {
        while let Some(index) = self.overlapping(span) {
            let missing = self.missing[index];
            self.remove_from(
                index,
                IdSpan {
                    first: missing.first.max(span.first),
                    last: missing.last.min(span.last),
                },
            );
        }
    }

    /// Releases the memory of many missing spans once there are few.
    pub(crate) fn shrink(&mut self) {
        if self.missing.capacity() > 4 * self.missing.len() + SPARE {
            self.missing.shrink_to(self.missing.len() + SPARE);
        }
    }

    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.missing.capacity()
    }

    /// Whether the missing spans are in order, within the seen range, and few enough.
    pub(crate) fn is_sound(&self) -> bool {
        let Some((floor, next)) = self.seen else {
            return self.missing.is_empty();
        };
        let mut after = floor;
        floor < next
            && next <= ID_MAX
            && self.missing.len() <= MISSING_SPANS_MAX
            && self.missing.iter().all(|span| {
                let is_next = after < span.first && span.first <= span.last;
                after = span.last.saturating_add(1);
                is_next && span.last < next - 1
            })
    }

    /// The id after the highest seen, once there is one.
    #[must_use]
    pub fn next_id(&self) -> Option<u64> {
        self.seen.map(|(_, next)| next)
    }

    /// The lowest id seen, once there is one.
    #[must_use]
    pub fn floor_id(&self) -> Option<u64> {
        self.seen.map(|(floor, _)| floor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn span(first: u64, last: u64) -> IdSpan {
        IdSpan { first, last }
    }

    #[test]
    fn a_jump_names_the_missing_ids_and_a_refetch_fills_them() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.offer(span(10, 10)), Verdict::Next);
        assert_eq!(
            sequence.offer(span(15, 15)),
            Verdict::AfterGap(span(11, 14))
        );
        assert_eq!(sequence.offer(span(12, 13)), Verdict::FillsGap);
        assert_eq!(sequence.missing(), [span(11, 11), span(14, 14)]);
        assert_eq!(sequence.offer(span(12, 12)), Verdict::Duplicate);
        assert_eq!(sequence.offer(span(11, 14)), Verdict::Overlap);
        sequence.forget(span(11, 14));
        assert_eq!(
            (sequence.missing(), sequence.next_id()),
            ([].as_slice(), Some(16))
        );
    }

    #[test]
    fn a_trade_overtaken_while_joining_counts_and_one_from_long_before_does_not() {
        let mut sequence = Sequence::default();
        sequence.offer(span(5_000, 5_000));
        assert_eq!(sequence.offer(span(4_999, 4_999)), Verdict::FillsGap);
        assert_eq!(
            sequence.offer(span(4_996, 4_996)),
            Verdict::AfterGap(span(4_997, 4_998))
        );
        assert_eq!(sequence.offer(span(100, 100)), Verdict::BeforeJoin);
    }

    #[test]
    fn too_many_gaps_give_up_the_oldest_and_name_it() {
        let mut sequence = Sequence::default();
        for step in 0..=MISSING_SPANS_MAX as u64 + 1 {
            sequence.offer(span(step * 2, step * 2));
        }
        assert_eq!(sequence.missing().len(), MISSING_SPANS_MAX);
        assert_eq!(sequence.take_given_up(), [span(1, 1)]);
        assert_eq!(sequence.offer(span(1, 1)), Verdict::Duplicate);
    }

    proptest! {
        #[test]
        fn every_id_is_new_exactly_once(offers in proptest::collection::vec((1_000u64..1_100, 0u64..4), 1..200)) {
            let mut sequence = Sequence::default();
            let mut seen = BTreeSet::new();
            for (first, more) in offers {
                let ids = span(first, first + more);
                let verdict = sequence.offer(ids);
                let fresh = (ids.first..=ids.last).filter(|id| !seen.contains(id)).count() as u64;
                if verdict.is_new() {
                    prop_assert_eq!(fresh, more + 1, "an id was counted twice");
                    seen.extend(ids.first..=ids.last);
                } else if verdict == Verdict::Duplicate {
                    prop_assert_eq!(fresh, 0);
                } else {
                    prop_assert_eq!(verdict, Verdict::Overlap);
                    prop_assert!(fresh > 0 && fresh <= more);
                }
                let missing: BTreeSet<u64> = sequence.missing().iter().flat_map(|span| span.first..=span.last).collect();
                let floor = sequence.floor_id().expect("seen");
                let next = sequence.next_id().expect("seen");
                let expected: BTreeSet<u64> = (floor..next).filter(|id| !seen.contains(id)).collect();
                prop_assert_eq!(missing, expected);
            }
        }
    }
}

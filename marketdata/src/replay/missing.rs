//! The trade ids that a capture has, and the ids that it lacks.

use std::collections::BTreeMap;
use std::io::{self, Write};

use market_core::{Symbol, Trade, UnixMillis};

/// Runs of adjoining ids kept per symbol. Beyond that, the lowest missing span is final.
const RUNS_MAX: usize = 100_000;

const HEADER: &str = "exchange,symbol,first_id,last_id,count,after_ms,before_ms";

/// Missing ids between two that a capture has, and the event times of those two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MissingSpan {
    pub(super) first_id: u64,
    pub(super) last_id: u64,
    pub(super) after_ms: UnixMillis,
    pub(super) before_ms: UnixMillis,
}

impl MissingSpan {
    pub(super) fn count(&self) -> u64 {
        (self.last_id - self.first_id).saturating_add(1)
    }
}

/// Adjoining ids.
#[derive(Clone, Copy, Debug)]
struct Run {
    last_id: u64,
    first_ms: UnixMillis,
    last_ms: UnixMillis,
}

/// The ids of one symbol's trades, as runs.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// By first id; runs neither overlap nor adjoin.
    runs: BTreeMap<u64, Run>,
    /// Spans beyond the bound.
    settled: Vec<MissingSpan>,
}

impl Held {
    pub(super) fn add(&mut self, trade: &Trade) {
        let (mut first_id, mut run) = (
            trade.first_id,
            Run {
                last_id: trade.last_id.max(trade.first_id),
                first_ms: trade.event_ms,
                last_ms: trade.event_ms,
            },
        );
        if let Some(mut newest) = self.runs.last_entry()
            && newest.get().last_id.checked_add(1) == Some(first_id)
        {
            newest.get_mut().last_id = run.last_id;
            newest.get_mut().last_ms = run.last_ms;
            return;
        }
        // Runs that overlap or adjoin become one run.
        while let Some((&at, &other)) = self
            .runs
            .range(..=run.last_id.saturating_add(1))
            .next_back()
            .filter(|(_, other)| other.last_id.saturating_add(1) >= first_id)
        {
            self.runs.remove(&at);
            if at < first_id {
                (first_id, run.first_ms) = (at, other.first_ms);
            }
            if other.last_id > run.last_id {
                (run.last_id, run.last_ms) = (other.last_id, other.last_ms);
            }
        }
        self.runs.insert(first_id, run);
        if self.runs.len() > RUNS_MAX {
            self.settle_lowest();
        }
    }

    fn settle_lowest(&mut self) {
        let Some((first_id, run)) = self.runs.pop_first() else {
            return;
        };
        if let Some((next_id, next)) = self.runs.pop_first() {
            self.settled.extend(between(run, next_id, next));
            let joined = Run {
                first_ms: run.first_ms,
                ..next
            };
            self.runs.insert(first_id, joined);
        }
    }

    /// The missing spans, lowest first.
    pub(super) fn missing(&self) -> impl Iterator<Item = MissingSpan> {
        let pairs = self.runs.values().zip(self.runs.iter().skip(1));
        let spans = pairs.filter_map(|(&run, (&next_id, &next))| between(run, next_id, next));
        self.settled.iter().copied().chain(spans)
    }
}

fn between(run: Run, next_id: u64, next: Run) -> Option<MissingSpan> {
    let first_id = run.last_id.checked_add(1)?;
    (first_id < next_id).then(|| MissingSpan {
        first_id,
        last_id: next_id - 1,
        after_ms: run.last_ms,
        before_ms: next.first_ms,
    })
}

/// Writes the list of missing ids, as CSV.
pub(super) struct GapsFile<'w> {
    out: &'w mut dyn Write,
}

impl<'w> GapsFile<'w> {
    /// Writes the header.
    pub(super) fn new(out: &'w mut dyn Write) -> io::Result<Self> {
        writeln!(out, "{HEADER}")?;
        Ok(Self { out })
    }

    pub(super) fn write(
        &mut self,
        exchange: &str,
        symbol: &Symbol,
        span: &MissingSpan,
    ) -> io::Result<()> {
        writeln!(
            self.out,
            "{exchange},{symbol},{},{},{},{},{}",
            span.first_id,
            span.last_id,
            span.count(),
            span.after_ms,
            span.before_ms
        )
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use market_core::{AggressorSide, Price, Quantity};
    use proptest::prelude::*;

    use super::*;

    fn trade(first_id: u64, last_id: u64) -> Trade {
        Trade {
            first_id,
            last_id,
            event_ms: i64::try_from(first_id % 1_000).expect("small"),
            price: Price::parse("1").expect("a price"),
            quantity: Quantity::parse("1").expect("a quantity"),
            aggressor_side: AggressorSide::Buy,
            received_us: 0,
        }
    }

    proptest! {
        #[test]
        fn what_is_missing_is_what_lies_between_and_never_came(
            spans in proptest::collection::vec((0u64..60, 0u64..4), 1..40),
        ) {
            let mut held = Held::default();
            let mut ids = BTreeSet::new();
            for (first, more) in spans {
                held.add(&trade(first, first + more));
                ids.extend(first..=first + more);
            }
            let missing: Vec<u64> = held.missing().flat_map(|span| span.first_id..=span.last_id).collect();
            let (low, high) = (*ids.first().expect("one"), *ids.last().expect("one"));
            let expected: Vec<u64> = (low..=high).filter(|id| !ids.contains(id)).collect();
            prop_assert_eq!(missing, expected);
        }

        #[test]
        fn ids_of_any_size_are_held(ids in proptest::collection::vec((any::<u64>(), any::<u64>()), 1..40)) {
            let mut held = Held::default();
            for (one, other) in ids {
                held.add(&trade(one.min(other), one.max(other)));
                held.add(&trade(u64::MAX, u64::MAX));
                held.add(&trade(0, 0));
            }
            for span in held.missing() {
                prop_assert!(span.first_id <= span.last_id && span.count() > 0);
            }
        }
    }

    #[test]
    fn beyond_the_bound_the_lowest_span_is_settled() {
        let mut held = Held::default();
        let runs = RUNS_MAX as u64 + 10;
        for run in 0..runs {
            held.add(&trade(run * 2, run * 2));
        }
        assert_eq!((held.runs.len(), held.settled.len()), (RUNS_MAX, 10));
        assert_eq!(held.missing().count() as u64, runs - 1);
        assert_eq!(held.missing().next().map(|span| span.first_id), Some(1));
    }
}

//! Bars that wait until nothing can revise them any more, so that each is printed once.

use std::collections::BTreeMap;

use market_core::{Bar, Timeframe, UnixMillis};

/// Bars by their end, width and lane: the order in which they are printed.
#[derive(Debug, Default)]
pub(super) struct FinalBars {
    bars: BTreeMap<(UnixMillis, Timeframe, usize), Bar>,
}

impl FinalBars {
    /// Keeps a bar, or its newer revision.
    pub(super) fn put(&mut self, lane: usize, bar: Bar) {
        self.bars.insert((bar.end_ms, bar.timeframe, lane), bar);
    }

    /// Takes the next bar that ended at or before `until_ms`, with its lane.
    pub(super) fn take(&mut self, until_ms: UnixMillis) -> Option<(usize, Bar)> {
        let first = self.bars.first_entry()?;
        let &(end_ms, _, lane) = first.key();
        (end_ms <= until_ms).then(|| (lane, first.remove()))
    }
}

//! Closed bars as they were given out.

use std::collections::BTreeMap;

use market_core::{BarRow, UnixMillis};

use super::part::WINDOWS_KEPT;

/// How many of them are remembered.
const GIVEN_KEPT: usize = 2 * WINDOWS_KEPT;

/// The last of them, by their start.
#[derive(Debug, Default)]
pub(super) struct Given {
    bars: BTreeMap<UnixMillis, BarRow>,
    /// The highest number of the older ones.
    forgotten_rev: Option<u32>,
}

impl Given {
    /// Whether the bar of a window was given out.
    pub(super) fn has(&self, window: UnixMillis) -> bool {
        self.bars.contains_key(&window)
    }

    /// Whether a bar of this window or a later one was given out.
    pub(super) fn has_since(&self, window: UnixMillis) -> bool {
        self.bars.range(window..).next().is_some()
    }

    /// The bar with the number that it is given out with; `None` if it says nothing new.
    pub(super) fn give(&mut self, mut row: BarRow) -> Option<BarRow> {
        if let Some(given) = self.bars.get(&row.start_ms) {
            let is_same = BarRow {
                rev: given.rev,
                ..row
            }
            .says_the_same(given);
            if is_same {
                return None;
            }
            // Whatever changed, the bar that replaces another has a higher number.
            row.rev = row.rev.max(given.rev.saturating_add(1));
        } else if let Some(forgotten_rev) = self.forgotten_rev
            && self.is_before_all(row.start_ms)
        {
            // A late part has no number of its own. Nobody knows whether the bar was given out.
            row.rev = row.rev.max(forgotten_rev.saturating_add(1));
        }
        self.bars.insert(row.start_ms, row);
        while self.bars.len() > GIVEN_KEPT
            && let Some((_, oldest)) = self.bars.pop_first()
        {
            self.forgotten_rev = self.forgotten_rev.max(Some(oldest.rev));
        }
        Some(row)
    }

    fn is_before_all(&self, window: UnixMillis) -> bool {
        let first = self.bars.first_key_value();
        first.is_some_and(|(first, _)| window < *first)
    }
}

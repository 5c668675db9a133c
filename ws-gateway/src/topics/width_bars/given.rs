//! Closed bars as they were given out.

use std::collections::BTreeMap;

use market_core::{BarRow, UnixMillis};

use super::part::WINDOWS_KEPT;

/// The last of them, by their start.
#[derive(Debug, Default)]
pub(super) struct Given(BTreeMap<UnixMillis, BarRow>);

impl Given {
    /// Whether the bar of a window was given out.
    pub(super) fn has(&self, window: UnixMillis) -> bool {
        self.0.contains_key(&window)
    }

    /// Whether a bar of this window or a later one was given out.
    pub(super) fn has_since(&self, window: UnixMillis) -> bool {
        self.0.range(window..).next().is_some()
    }

    /// The bar with the number that it is given out with; `None` if it says nothing new.
    pub(super) fn give(&mut self, mut row: BarRow) -> Option<BarRow> {
        if let Some(given) = self.0.get(&row.start_ms) {
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
        }
        self.0.insert(row.start_ms, row);
        while self.0.len() > 2 * WINDOWS_KEPT {
            self.0.pop_first();
        }
        Some(row)
    }
}

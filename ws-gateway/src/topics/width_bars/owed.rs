//! Revised parts of windows whose other parts are no longer kept: these come from history.

use std::collections::BTreeMap;

use market_core::{BarRow, UnixMillis};

use super::part::Part;

/// Most windows that wait for their parts from history.
const WINDOWS_MAX: usize = 64;

/// The revised parts, by window and start.
#[derive(Debug, Default)]
pub(super) struct Owed {
    windows: BTreeMap<UnixMillis, BTreeMap<UnixMillis, Part>>,
    given_up: u64,
}

impl Owed {
    /// A part of a window was revised.
    pub(super) fn add(&mut self, window: UnixMillis, part: Part) {
        if self.windows.len() >= WINDOWS_MAX && !self.windows.contains_key(&window) {
            self.give_up(1);
            return;
        }
        let parts = self.windows.entry(window).or_default();
        let held = parts.entry(part.row.start_ms).or_insert(part);
        if part.rank() > held.rank() {
            *held = part;
        }
    }

    /// The first window that waits.
    pub(super) fn first(&self) -> Option<UnixMillis> {
        self.windows.first_key_value().map(|(window, _)| *window)
    }

    /// Whether a window waits.
    pub(super) fn has(&self, window: UnixMillis) -> bool {
        self.windows.contains_key(&window)
    }

    /// The parts of a window, by their start: those of history and the revised ones.
    pub(super) fn take(
        &mut self,
        window: UnixMillis,
        rows: &[BarRow],
    ) -> BTreeMap<UnixMillis, BarRow> {
        let mut parts: BTreeMap<UnixMillis, BarRow> =
            rows.iter().map(|row| (row.start_ms, *row)).collect();
        for part in self
            .windows
            .remove(&window)
            .into_iter()
            .flat_map(BTreeMap::into_values)
        {
            let held = parts.entry(part.row.start_ms).or_insert(part.row);
            if part.row.rev >= held.rev {
                *held = part.row;
            }
        }
        parts
    }

    /// So many bars are given up.
    pub(super) fn give_up(&mut self, count: usize) {
        self.given_up = self.given_up.saturating_add(count as u64);
    }

    /// Revisions that were given up since the last call: too many windows wait.
    pub(super) fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }
}

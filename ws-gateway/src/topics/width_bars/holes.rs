//! Windows in which parts did not come, or not yet: history knows whether there are any.

use std::collections::BTreeMap;

use market_core::{Timeframe, UnixMillis, Width};

use super::part::{PARTS_KEPT, Part};

/// Most questions without an answer before a bar is given out with its hole.
const FAILURES_MAX: u32 = 3;

/// Where parts are missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    /// Where the first part after them begins; `None` if it is so far away that history is past it
    /// whatever it answers.
    until: Option<UnixMillis>,
    /// The end of what is missing in the window.
    pub(super) end_ms: UnixMillis,
    /// How often history has not answered.
    failures: u32,
}

impl Hole {
    /// Whether an answer whose last part begins here is one of a history that has all that it will
    /// have. A source that is behind has nothing after the hole.
    pub(super) fn is_answered_by(self, last_ms: Option<UnixMillis>) -> bool {
        self.until
            .is_none_or(|until| last_ms.is_some_and(|last_ms| last_ms >= until))
    }
}

/// The holes, by window.
#[derive(Debug, Default)]
pub(super) struct Holes(BTreeMap<UnixMillis, Hole>);

impl Holes {
    /// Looks at two parts that follow each other. If neither their times nor their ids adjoin,
    /// others are missing: they were lost, or come later than what was published after them.
    pub(super) fn look(&mut self, last: &Part, next: &Part, width: Width, source: Timeframe) {
        let (last_end, until) = (source.end_of(last.row.start_ms), next.row.start_ms);
        let ids = last.row.ids.zip(next.row.ids);
        let adjoins = ids.is_some_and(|(last, next)| last.last.checked_add(1) == Some(next.first));
        if last_end >= until || adjoins {
            return;
        }
        for at in [last_end, until] {
            let window = width.start_of(at);
            let part_ms = source.end_of(window).saturating_sub(window).max(1);
            let parts = until.saturating_sub(window) / part_ms;
            if at != window {
                let hole = Hole {
                    until: (parts < PARTS_KEPT as i64).then_some(until),
                    end_ms: width.end_of(window).min(until),
                    failures: 0,
                };
                self.0.insert(window, hole);
            }
        }
    }

    /// The first window with a hole, and until when history is asked.
    pub(super) fn first(&self, source: Timeframe) -> Option<(UnixMillis, UnixMillis)> {
        let (window, hole) = self.0.first_key_value()?;
        let to_ms = hole.until.map_or(hole.end_ms, |until| source.end_of(until));
        Some((*window, to_ms))
    }

    /// History has not answered. True if it was asked often enough.
    pub(super) fn failed(&mut self, window: UnixMillis) -> bool {
        self.0.get_mut(&window).is_some_and(|hole| {
            hole.failures = hole.failures.saturating_add(1);
            hole.failures >= FAILURES_MAX
        })
    }

    /// The hole of a window.
    pub(super) fn get(&self, window: UnixMillis) -> Option<Hole> {
        self.0.get(&window).copied()
    }

    /// A window has none any more.
    pub(super) fn remove(&mut self, window: UnixMillis) {
        self.0.remove(&window);
    }

    /// Windows before this one are not kept any more. Returns how many had a hole.
    pub(super) fn let_go(&mut self, first: UnixMillis) -> usize {
        let kept = self.0.split_off(&first);
        std::mem::replace(&mut self.0, kept).len()
    }
}

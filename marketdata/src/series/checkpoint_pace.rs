//! When a symbol's state is saved.

use market_core::UnixMillis;

/// A symbol that only closes flat bars is saved this many times less often. An older checkpoint is
/// equally good, because the restart closes these bars again, but there should not be too many of
/// them.
const QUIET_FACTOR: i64 = 60;

/// What is new since the last checkpoint. The later value contains the earlier one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Unsaved {
    Nothing,
    /// Bars have closed, which a restart would do again.
    Closes,
    /// Trades or gaps.
    Changes,
}

/// The pace of one symbol's checkpoints.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckpointPace {
    interval_ms: i64,
    unsaved: Unsaved,
    saved_ms: UnixMillis,
}

impl CheckpointPace {
    /// Nothing is new; the last checkpoint counts as taken at `saved_ms`.
    pub(super) fn new(interval_ms: i64, saved_ms: UnixMillis) -> Self {
        Self {
            interval_ms,
            unsaved: Unsaved::Nothing,
            saved_ms,
        }
    }

    /// Trades or gaps are new.
    pub(super) fn changed(&mut self) {
        self.unsaved = Unsaved::Changes;
    }

    /// A bar has closed.
    pub(super) fn closed(&mut self) {
        self.unsaved = self.unsaved.max(Unsaved::Closes);
    }

    /// Whether a checkpoint is due. If so, it counts as taken.
    pub(super) fn take_due(&mut self, now: UnixMillis) -> bool {
        let interval_ms = match self.unsaved {
            Unsaved::Nothing => return false,
            Unsaved::Closes => self.interval_ms * QUIET_FACTOR,
            Unsaved::Changes => self.interval_ms,
        };
        let is_due = now.saturating_sub(self.saved_ms) >= interval_ms;
        if is_due {
            self.unsaved = Unsaved::Nothing;
            self.saved_ms = now;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_without_news_is_not_saved() {
        let mut pace = CheckpointPace::new(1_000, 0);
        assert!(!pace.take_due(UnixMillis::MAX));
    }

    #[test]
    fn changes_are_saved_once_in_each_interval() {
        let mut pace = CheckpointPace::new(1_000, 0);
        pace.changed();
        assert!(!pace.take_due(999));
        assert!(pace.take_due(1_000));
        assert!(!pace.take_due(5_000), "nothing is new");
        pace.changed();
        assert!(!pace.take_due(1_999));
        assert!(pace.take_due(2_000));
    }

    #[test]
    fn closes_alone_are_saved_rarely() {
        let mut pace = CheckpointPace::new(1_000, 0);
        pace.closed();
        assert!(!pace.take_due(1_000 * QUIET_FACTOR - 1));
        assert!(pace.take_due(1_000 * QUIET_FACTOR));
        pace.changed();
        pace.closed();
        assert!(
            pace.take_due(1_000 * QUIET_FACTOR + 1_000),
            "a close does not hide a change"
        );
    }
}

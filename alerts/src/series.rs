//! The newest bars of one symbol, as far back as its rules look.

use std::collections::VecDeque;

use market_core::UnixMillis;

use crate::bar::WatchedBar;

/// Bars in the order of their time, each start once.
#[derive(Clone, Default, Debug)]
pub struct Series {
    bars: VecDeque<WatchedBar>,
}

/// What became of a bar that was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It is the newest bar. `missing` is whether bars between it and the one before are missing.
    Newest {
        /// See above.
        missing: bool,
    },
    /// A revision of a bar, or one that was missing.
    Within {
        /// Whether it is the newest bar.
        is_newest: bool,
    },
    /// It is known already, or an older revision of a known bar.
    Known,
    /// It is older than what any rule looks at.
    TooOld,
}

impl Series {
    /// Takes a bar, and lets go of bars that begin more than `horizon_ms` before the end of the
    /// newest one; the newest one always stays. The second value is the starts of those.
    pub fn offer(&mut self, bar: WatchedBar, horizon_ms: i64) -> (Taken, Vec<UnixMillis>) {
        let Some(newest) = self.bars.back().copied() else {
            self.bars.push_back(bar);
            return (Taken::Newest { missing: false }, Vec::new());
        };
        if bar.start_ms > newest.start_ms {
            let missing = bar.start_ms > newest.end_ms;
            self.bars.push_back(bar);
            return (Taken::Newest { missing }, self.trim(horizon_ms));
        }
        let at = self
            .bars
            .partition_point(|other| other.start_ms < bar.start_ms);
        match self.bars.get_mut(at) {
            Some(other) if other.start_ms == bar.start_ms => {
                if bar.rev <= other.rev {
                    return (Taken::Known, Vec::new());
                }
                *other = bar;
            }
            _ if bar.start_ms < newest.end_ms.saturating_sub(horizon_ms) => {
                return (Taken::TooOld, Vec::new());
            }
            _ => self.bars.insert(at, bar),
        }
        let is_newest = bar.start_ms == newest.start_ms;
        (Taken::Within { is_newest }, Vec::new())
    }

    /// Lets go of what a shorter horizon does not look at.
    pub fn trim(&mut self, horizon_ms: i64) -> Vec<UnixMillis> {
        let mut gone = Vec::new();
        let newest_end = self.bars.back().map_or(0, |newest| newest.end_ms);
        let from_ms = newest_end.saturating_sub(horizon_ms);
        while self.bars.len() > 1
            && let Some(first) = self.bars.front()
            && first.start_ms < from_ms
        {
            gone.push(first.start_ms);
            self.bars.pop_front();
        }
        gone
    }

    /// The newest bar.
    #[must_use]
    pub fn newest(&self) -> Option<&WatchedBar> {
        self.bars.back()
    }

    /// The bars that begin in `[from_ms, to_ms)`, oldest first.
    pub fn between(
        &self,
        from_ms: UnixMillis,
        to_ms: UnixMillis,
    ) -> impl Iterator<Item = &WatchedBar> {
        let first = self.bars.partition_point(|bar| bar.start_ms < from_ms);
        let end = self.bars.partition_point(|bar| bar.start_ms < to_ms);
        self.bars.range(first..end.max(first))
    }

    /// The start of the oldest bar.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<UnixMillis> {
        self.bars.front().map(|bar| bar.start_ms)
    }

    /// The bar that begins there.
    #[must_use]
    pub fn at(&self, start_ms: UnixMillis) -> Option<&WatchedBar> {
        let at = self.bars.partition_point(|bar| bar.start_ms < start_ms);
        self.bars.get(at).filter(|bar| bar.start_ms == start_ms)
    }

    /// How many bars it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bars.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bars.is_empty()
    }
}

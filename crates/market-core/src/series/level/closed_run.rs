//! Closed bars in memory, and the rules of their quality.

use serde::{Deserialize, Serialize};

use super::bounds::FILL_MAX;
use crate::bar::{Bar, BarState, Fold, Quality};
use crate::series::missing::MissingTimes;
use crate::value::clock::UnixMillis;
use crate::value::price::Price;
use crate::value::timeframe::Timeframe;

/// The inputs of a bar's quality.
#[derive(Clone, Copy)]
pub(crate) struct Judge<'a> {
    /// Bars that start before this were joined midway.
    pub(crate) complete_from_ms: Option<UnixMillis>,
    pub(crate) missing: &'a MissingTimes,
}

/// A closed bar, or several successive flat bars that differ in nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClosedRun {
    pub(super) start_ms: UnixMillis,
    /// End of the last bar. Older checkpoints have none, because each run was one bar.
    #[serde(default)]
    pub(super) end_ms: UnixMillis,
    pub(super) fold: Option<Fold>,
    pub(super) previous_close: Option<Price>,
    pub(super) rev: u32,
    pub(super) quality: Quality,
    /// Trades were refetched into it after it was closed.
    pub(super) is_healed: bool,
    /// To be published again, if it still differs by then.
    #[serde(default)]
    pub(super) is_revised: bool,
    /// Its content has changed.
    #[serde(default)]
    pub(super) is_changed: bool,
    /// Flat bars that were never published: only a late trade makes one of them visible.
    #[serde(default)]
    pub(super) is_silent: bool,
}

impl Judge<'_> {
    pub(super) fn quality(
        &self,
        start_ms: UnixMillis,
        end_ms: UnixMillis,
        fold: Option<&Fold>,
        is_healed: bool,
    ) -> Quality {
        if self.is_gap(start_ms, end_ms, fold) {
            Quality::Gap
        } else if self.complete_from_ms.is_some_and(|from| start_ms < from) {
            Quality::Partial
        } else if fold.is_none() {
            Quality::Filled
        } else if is_healed {
            Quality::Backfilled
        } else {
            Quality::Complete
        }
    }

    pub(super) fn is_gap(
        &self,
        start_ms: UnixMillis,
        end_ms: UnixMillis,
        fold: Option<&Fold>,
    ) -> bool {
        self.missing.touches(start_ms, end_ms) || fold.is_some_and(|fold| !fold.is_exact())
    }

    /// Whether the bars of `[start_ms, end_ms)` are sure to have one quality if they are flat.
    pub(super) fn is_uniform(&self, start_ms: UnixMillis, end_ms: UnixMillis) -> bool {
        self.missing.covers(start_ms, end_ms)
            || (!self.missing.touches(start_ms, end_ms)
                && self
                    .complete_from_ms
                    .is_none_or(|from| start_ms >= from || end_ms <= from))
    }
}

impl ClosedRun {
    pub(super) fn flat(
        start_ms: UnixMillis,
        end_ms: UnixMillis,
        previous_close: Option<Price>,
    ) -> Self {
        Self {
            start_ms,
            end_ms,
            fold: None,
            previous_close,
            rev: 0,
            quality: Quality::Filled,
            is_healed: false,
            is_revised: false,
            is_changed: false,
            is_silent: false,
        }
    }

    /// Keeps the newest bars of a run that is too long.
    pub(super) fn trim(&mut self, timeframe: Timeframe) {
        let width = timeframe.end_of(self.start_ms) - self.start_ms;
        let oldest_ms = self.end_ms.saturating_sub(FILL_MAX * width);
        if self.start_ms < oldest_ms {
            self.start_ms = timeframe.start_of(oldest_ms);
        }
    }

    pub(super) fn close(&self) -> Option<Price> {
        self.fold.map(|fold| fold.close).or(self.previous_close)
    }

    /// Whether `next` continues this run.
    pub(super) fn goes_on_with(&self, next: &Self) -> bool {
        self.fold.is_none()
            && *next
                == Self {
                    start_ms: self.end_ms,
                    end_ms: next.end_ms,
                    ..*self
                }
    }
}

/// Gives out each bar of a run.
pub(super) fn give_out(timeframe: Timeframe, run: &ClosedRun, out: &mut impl FnMut(Bar)) {
    let mut start_ms = run.start_ms;
    while start_ms < run.end_ms {
        let end_ms = timeframe.end_of(start_ms);
        out(Bar {
            timeframe,
            start_ms,
            end_ms,
            fold: run.fold,
            previous_close: run.previous_close,
            state: BarState::Closed,
            rev: run.rev,
            quality: run.quality,
        });
        start_ms = end_ms;
    }
}

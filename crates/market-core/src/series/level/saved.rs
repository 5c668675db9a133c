//! A level in a checkpoint.

use std::collections::VecDeque;

use super::Level;
use crate::bar::Quality;
use crate::series::missing::MissingTimes;
use crate::value::clock::UnixMillis;

/// How many of the newest closed runs per timeframe a checkpoint carries in any case.
const CHECKPOINT_NEWEST: usize = 4;
/// The most bars, and runs of bars, per timeframe in a checkpoint.
const CHECKPOINT_BARS_MAX: usize = 256;

impl Level {
    /// A copy with no more closed bars than a restart needs: bars to which trades may still come,
    /// bars with a gap or an unpublished revision, and the newest few. `None` if these are too
    /// many: an older copy is equally good.
    pub(crate) fn for_checkpoint(&self, needed: &MissingTimes) -> Option<Self> {
        let revised = self.closed.iter().filter(|run| run.is_revised).count();
        if self.open.len() > CHECKPOINT_BARS_MAX || revised > CHECKPOINT_BARS_MAX {
            return None;
        }
        let newest = self.closed.len().saturating_sub(CHECKPOINT_NEWEST);
        let mut room = CHECKPOINT_BARS_MAX;
        let mut closed = VecDeque::new();
        for (index, run) in self.closed.iter().enumerate().rev() {
            let is_wanted = index >= newest
                || run.quality == Quality::Gap
                || needed.touches(run.start_ms, run.end_ms);
            if run.is_revised || (is_wanted && room > 0) {
                room = room.saturating_sub(1);
                closed.push_front(*run);
            }
        }
        Some(Self {
            open: self.open.clone(),
            closed,
            ..*self
        })
    }

    /// Whether a stored copy is valid. Adds the missing ends to the runs of an old copy.
    pub(crate) fn is_sound(&mut self, is_time: impl Fn(UnixMillis) -> bool) -> bool {
        let timeframe = self.timeframe;
        for run in &mut self.closed {
            if run.end_ms == 0 && is_time(run.start_ms) {
                run.end_ms = timeframe.end_of(run.start_ms);
            }
        }
        let is_bar = |start_ms| is_time(start_ms) && timeframe.start_of(start_ms) == start_ms;
        let mut after = UnixMillis::MIN;
        let are_closed_sound = self.closed.iter().all(|run| {
            let is_next = run.start_ms >= after;
            after = run.end_ms;
            let is_single = is_bar(run.start_ms) && timeframe.end_of(run.start_ms) == run.end_ms;
            let is_run = run.fold.is_none() && is_bar(run.start_ms) && is_bar(run.end_ms);
            is_next && run.start_ms < run.end_ms && (is_single || is_run)
        });
        let mut before = None;
        let are_open_sound = self.open.iter().all(|bar| {
            let is_next = before.is_none_or(|before| before < bar.start_ms);
            before = Some(bar.start_ms);
            is_next && is_bar(bar.start_ms)
        });
        let closed = self.closed.iter();
        let folds = closed.filter_map(|run| Some((run.start_ms, run.fold.as_ref()?)));
        let mut folds = folds.chain(self.open.iter().map(|bar| (bar.start_ms, &bar.fold)));
        let until = self.closed_until_ms;
        let is_begun = self.began_ms.is_none_or(|began| {
            is_bar(began) && self.closed.front().is_none_or(|run| began <= run.start_ms)
        });
        is_begun
            && self.joined_ms.is_none_or(&is_time)
            && self.before.is_none_or(|before| is_time(before.key.0))
            && are_closed_sound
            && are_open_sound
            && folds.all(|(start_ms, fold)| fold.is_sound(start_ms, timeframe.end_of(start_ms)))
            && until.is_none_or(|until| is_bar(until) && after <= until)
            && (until.is_some() || self.closed.is_empty())
            && before.is_none_or(|_| until.is_none_or(|until| self.open[0].start_ms >= until))
    }
}

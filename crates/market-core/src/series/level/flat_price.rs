//! The price that flat bars repeat.

use super::Level;
use super::closed_run::ClosedRun;
use super::last_trade::LastTrade;
use crate::bar::Fold;
use crate::value::clock::UnixMillis;
use crate::value::price::Price;

impl Level {
    /// The price that flat bars after `run` repeat.
    pub(super) fn close_of(&self, run: &ClosedRun) -> Option<Price> {
        let newer = run.fold.as_ref().and_then(|fold| self.newer_before(fold));
        newer.map(|before| before.price).or_else(|| run.close())
    }

    /// The trade from before the first bar, if it happened later than all of `fold`.
    fn newer_before(&self, fold: &Fold) -> Option<LastTrade> {
        self.before.filter(|before| fold.close_key < before.key)
    }

    /// Sets the price of the flat bars from `index` on, if the first of them starts at `end_ms`.
    pub(super) fn repeat(&mut self, close: Option<Price>, index: usize, mut end_ms: UnixMillis) {
        for index in index..self.closed.len() {
            let follower = &mut self.closed[index];
            if follower.start_ms != end_ms {
                return;
            }
            follower.previous_close = close;
            end_ms = follower.end_ms;
            let Some(fold) = follower.fold else {
                follower.is_revised |= !follower.is_silent;
                follower.is_changed |= !follower.is_silent;
                continue;
            };
            if self.newer_before(&fold).is_none() {
                return;
            }
        }
        self.last_close = close;
    }

    /// Takes note of a trade before the first bar of a level that joined later. No bar of the level
    /// has it, but flat bars may have to repeat its price.
    pub(crate) fn pass(&mut self, fold: &Fold) {
        let (Some(_), Some(began_ms)) = (self.joined_ms, self.began_ms) else {
            return;
        };
        let is_newer = self.before.is_none_or(|before| before.key < fold.close_key);
        if fold.event_ms() >= began_ms || !is_newer {
            return;
        }
        self.before = Some(LastTrade {
            key: fold.close_key,
            price: fold.close,
        });
        let first = self.closed.front();
        if first.is_none_or(|run| run.start_ms == began_ms) {
            self.is_revised = true;
            self.repeat(Some(fold.close), 0, began_ms);
        }
    }

    /// The newest trade of the closed bars. Where only flat bars are kept, their start is its bound.
    pub(crate) fn last_trade(&self) -> Option<LastTrade> {
        let mut newest = None;
        for run in self.closed.iter().rev() {
            if newest.is_some_and(|newest: LastTrade| run.end_ms != newest.key.0) {
                break;
            }
            let (key, price) = match &run.fold {
                Some(fold) => (fold.close_key, Some(fold.close)),
                None => ((run.start_ms, 0), run.previous_close),
            };
            newest = price.map(|price| LastTrade { key, price });
            if run.fold.is_some() {
                break;
            }
        }
        let known = self.before.into_iter().chain(newest);
        known.max_by_key(|trade| trade.key)
    }
}

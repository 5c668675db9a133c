//! Instruments that another program is to publish, if programs share them.

use std::collections::HashSet;
use std::sync::Arc;

use market_core::UnixMillis;

use super::{Holder, Stand, Tenure};
use crate::instrument::InstrumentId;
use crate::lease::carriers::Carriers;
use crate::lease::share::Share;

/// For how long a program must have lived before anything is moved to it, and we must have heard it
/// without a pause: it has closed the first bars of every symbol by then.
pub(super) const SETTLED_MS: i64 = 10_000;
/// Pause between two instruments.
pub(super) const PAUSE_MS: i64 = 200;
/// How long an instrument stays where it is after it was moved: the other program may not take it.
pub(super) const STAYS_MS: i64 = 60_000;
/// How long the next instrument waits for the last one to be taken.
const TAKEN_WITHIN_MS: i64 = 10_000;

impl Tenure {
    /// The same, for programs that share the instruments.
    pub(crate) fn sharing(self, share: Option<Share>) -> Self {
        Self { share, ..self }
    }

    /// The other programs have these instruments, and the venues tell us nothing of those.
    pub(crate) fn know(&mut self, carriers: Arc<Carriers>, unfed: HashSet<InstrumentId>) {
        self.carriers = carriers;
        self.unfed = unfed;
    }

    /// An instrument of ours that another program is to publish, when nothing else changes hands:
    /// give it up, and call [`Tenure::moved`].
    pub(crate) fn surplus(&self, now: UnixMillis) -> Option<InstrumentId> {
        let share = self.share.as_ref()?;
        let since_ms = self.hears_since_ms?;
        let is_calm = now.saturating_sub(since_ms) >= SETTLED_MS
            && !self.is_moving(now)
            && !self.is_in_doubt
            && !self.is_leaving;
        if !is_calm {
            return None;
        }
        let is_settled = |stand: &Stand| match stand {
            Stand::Joining { .. } | Stand::Claiming => false,
            Stand::Holding(held) => held.is_checked,
            Stand::Away | Stand::Watching { .. } | Stand::Looking { .. } => true,
        };
        if !self.stands.iter().all(is_settled) {
            return None;
        }
        let candidates: Vec<(&String, u64)> = self
            .others
            .iter()
            .filter(|(_, other)| {
                let is_here = now.saturating_sub(other.heard_ms) < self.silence_ms;
                is_here && other.takes && now.saturating_sub(other.since_ms) >= SETTLED_MS
            })
            .map(|(name, other)| (name, other.hash))
            .collect();
        let mut held = (0..self.stands.len()).filter(|&id| self.is_holding(id));
        held.find(|&id| {
            let stays = self.moved.get(&id);
            let stays = stays.is_some_and(|at| now.saturating_sub(*at) < STAYS_MS);
            let mut others = candidates.iter();
            !stays
                && others.any(|(name, hash)| {
                    let is_theirs =
                        self.unfed.contains(&id) || share.precedes(*hash, self.my_hash, id);
                    is_theirs && self.carriers.carries(name, id)
                })
        })
    }

    /// Whether the instrument that was moved last is still on its way.
    fn is_moving(&self, now: UnixMillis) -> bool {
        let Some((instrument, moved_ms)) = self.last_moved else {
            return false;
        };
        let passed_ms = now.saturating_sub(moved_ms);
        let is_taken = match &self.stands[instrument] {
            Stand::Away | Stand::Holding(_) => true,
            Stand::Watching { holder, .. } | Stand::Looking { holder, .. } => {
                matches!(holder, Holder::Other(name) if *name != self.me)
            }
            Stand::Joining { .. } | Stand::Claiming => false,
        };
        passed_ms < PAUSE_MS || (!is_taken && passed_ms < TAKEN_WITHIN_MS)
    }

    /// An instrument is given up, so that another program takes it.
    pub(crate) fn moved(&mut self, instrument: InstrumentId, now: UnixMillis) {
        self.last_moved = Some((instrument, now));
        self.moved
            .retain(|_, at| now.saturating_sub(*at) < STAYS_MS);
        self.moved.insert(instrument, now);
    }
}

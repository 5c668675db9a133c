//! Whether a lease is free, and whether we are the one who takes it.

use market_core::UnixMillis;

use super::{Ask, Holder, LOOK_AGAIN_MS, LOOK_AGAIN_STEP_MS, Other, Stand, Tenure};
use crate::instrument::InstrumentId;

impl Tenure {
    /// Asks for what a lease that we may take needs: that it is looked at, or taken.
    pub(super) fn take_if_free(
        &mut self,
        instrument: InstrumentId,
        now: UnixMillis,
        out: &mut Vec<Ask>,
    ) {
        let Stand::Watching { holder, look_at_ms } = &self.stands[instrument] else {
            return;
        };
        let is_free = self.is_free(holder, now);
        let seen = &self.seen[instrument];
        let step_ms = i64::try_from(instrument).unwrap_or(i64::MAX);
        let step_ms = step_ms.saturating_mul(LOOK_AGAIN_STEP_MS);
        let again_at_ms = look_at_ms.saturating_add(LOOK_AGAIN_MS.saturating_add(step_ms));
        let is_old = !is_free && now >= again_at_ms;
        if is_old {
            self.look(instrument, holder.clone(), out);
        } else if let (Holder::Other(name), Some(seen)) = (holder, seen)
            && seen.holder.as_ref() == Some(name)
        {
            let free_ms = self.silent_ms(name, now).saturating_sub(self.silence_ms);
            if is_free && self.is_our_turn(instrument, None, free_ms, now) {
                let from = Some(seen.clone());
                self.stands[instrument] = Stand::Claiming;
                out.push(Ask::Claim(instrument, from));
            }
        } else if now >= *look_at_ms && (is_free || seen.is_none()) {
            self.look(instrument, holder.clone(), out);
        }
    }

    fn look(&mut self, instrument: InstrumentId, holder: Holder, out: &mut Vec<Ask>) {
        self.stands[instrument] = Stand::Looking {
            holder,
            again_at_ms: None,
        };
        out.push(Ask::Look(instrument));
    }

    /// Whether we take a lease that has been free for so long: the first one does at once, and the
    /// others later.
    pub(super) fn is_our_turn(
        &self,
        instrument: InstrumentId,
        left: Option<&str>,
        free_ms: i64,
        now: UnixMillis,
    ) -> bool {
        free_ms >= 0 && (self.is_first(instrument, left, now) || free_ms >= self.silence_ms)
    }

    /// Whether the instrument is ours, or may have no publisher, so that we take it if we may.
    pub(crate) fn is_free_here(&self, instrument: InstrumentId, now: UnixMillis) -> bool {
        match &self.stands[instrument] {
            Stand::Away | Stand::Joining { .. } => false,
            Stand::Watching { holder, .. } | Stand::Looking { holder, .. } => {
                !self.is_leaving && self.is_free(holder, now)
            }
            Stand::Claiming | Stand::Holding(_) => true,
        }
    }

    /// Whether a lease may be free, so that it is worth a look.
    pub(super) fn is_free(&self, holder: &Holder, now: UnixMillis) -> bool {
        match holder {
            Holder::Unknown | Holder::Nobody { .. } => true,
            Holder::Other(name) => self.silent_ms(name, now) >= self.silence_ms,
        }
    }

    /// For how long a program has been silent while we would have heard it.
    pub(super) fn silent_ms(&self, name: &str, now: UnixMillis) -> i64 {
        let Some(since_ms) = self.hears_since_ms else {
            return 0;
        };
        let heard_ms = self.others.get(name).map(|other| other.heard_ms);
        now.saturating_sub(heard_ms.unwrap_or(since_ms).max(since_ms))
    }

    /// Whether we are the first to try, so that one program takes all that is free of what it has.
    /// The others try later, in case the first does not. `left` is who released it.
    fn is_first(&self, instrument: InstrumentId, left: Option<&str>, now: UnixMillis) -> bool {
        self.others.iter().all(|(name, other)| {
            let is_gone = now.saturating_sub(other.heard_ms) >= self.silence_ms;
            let may_take = other.takes && self.carriers.may_take(name, instrument);
            !self.precedes_me(name, other, instrument)
                || is_gone
                || !may_take
                || left == Some(name.as_str())
        })
    }

    /// Whether another program tries before us.
    fn precedes_me(&self, name: &str, other: &Other, instrument: InstrumentId) -> bool {
        match &self.share {
            Some(share) => {
                let is_better_fed =
                    self.unfed.contains(&instrument) && self.carriers.carries(name, instrument);
                is_better_fed || share.precedes(other.hash, self.my_hash, instrument)
            }
            None => *name < *self.me,
        }
    }

    pub(super) fn is_alone(&self, now: UnixMillis) -> bool {
        let is_gone = |other: &Other| now.saturating_sub(other.heard_ms) >= self.silence_ms;
        self.others.values().all(is_gone)
    }
}

//! Trades that came but cannot be believed, and the times that they mark.

use super::{Gap, GapState, Gaps};
use crate::series::sequence::IdSpan;
use crate::value::clock::UnixMillis;

impl Gaps {
    /// A refused trade marks its bar.
    pub(crate) fn refuse(&mut self, ids: IdSpan, event_ms: UnixMillis) {
        let is_known = self
            .gaps
            .iter()
            .any(|gap| gap.is_forgotten && gap.ids == Some(ids) && gap.from_ms <= event_ms);
        if is_known {
            return;
        }
        self.has_refused = true;
        self.mark(Some(ids), event_ms, Some(event_ms));
    }

    /// An answer had a trade that cannot be believed yet: its request counts as unanswered.
    pub(crate) fn refuse_answer(&mut self, ids: IdSpan, next_id: u64) {
        for gap in &mut self.gaps {
            let is_of_it = match gap.ids {
                Some(own) => own.overlaps(ids),
                None => ids.last >= next_id,
            };
            gap.is_refused |= is_of_it && gap.state == GapState::Requested;
        }
    }

    /// A trade has come for these missing ids, but it may be another trade. Bars of the missing
    /// times stay marked.
    pub(crate) fn doubt(&mut self, ids: IdSpan) {
        let holds = |gap: &&Gap| gap.ids.is_some_and(|own| own.overlaps(ids));
        let Some(gap) = self.gaps.iter().find(holds) else {
            return;
        };
        let (from_ms, to_ms) = (gap.from_ms, gap.to_ms);
        let is_known = self.gaps.iter().any(|gap| {
            gap.is_forgotten
                && gap.from_ms <= from_ms
                && gap.to_ms.is_none_or(|to| Some(to) >= to_ms)
        });
        if !is_known {
            self.mark(Some(ids), from_ms, to_ms);
        }
    }

    /// The trade was accepted after all.
    #[inline]
    pub(crate) fn admit(&mut self, ids: IdSpan) -> bool {
        self.has_refused && self.remove_refused(ids)
    }

    fn remove_refused(&mut self, ids: IdSpan) -> bool {
        let before = self.gaps.len();
        let is_refusal =
            |gap: &Gap| gap.is_forgotten && gap.ids == Some(ids) && gap.to_ms == Some(gap.from_ms);
        self.gaps.retain(|gap| !is_refusal(gap));
        let is_changed = self.gaps.len() != before;
        if is_changed {
            self.refresh_missing();
        }
        is_changed
    }
}

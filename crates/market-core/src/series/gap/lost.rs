//! Lost gaps: how they are marked, and when they are forgotten.

use super::{Gap, GapAction, GapEventState, GapState, Gaps, SPARE, STEP_BACK_MS};
use crate::series::sequence::{IdSpan, Sequence};
use crate::value::clock::UnixMillis;
use crate::value::timeframe::TimeframeSet;

impl Gaps {
    /// Marks the time of lost trades whose ids are no longer known.
    pub(crate) fn mark(
        &mut self,
        ids: Option<IdSpan>,
        from_ms: UnixMillis,
        to_ms: Option<UnixMillis>,
    ) {
        let gap = self.push(ids, from_ms);
        gap.to_ms = to_ms;
        gap.state = GapState::Lost;
        gap.is_confirmed = true;
        gap.is_overdue = true;
        gap.is_forgotten = true;
        self.refresh_missing();
    }

    /// The ids no longer mean the same: trades missing by them are lost, and so are trades after
    /// the newest one, until [`Gaps::rejoined`].
    pub(crate) fn lose_all<O: From<GapAction>>(&mut self, head_ms: UnixMillis, out: &mut Vec<O>) {
        self.gaps.retain(|gap| !gap.is_tail());
        for gap in &mut self.gaps {
            if gap.state != GapState::Lost {
                gap.lose(out);
            }
            gap.ids = None;
            gap.is_forgotten = true;
        }
        self.mark(None, head_ms - STEP_BACK_MS, None);
        out.extend(
            self.gaps
                .last()
                .map(|gap| O::from(gap.event(GapEventState::Lost))),
        );
    }

    /// Trades are known again from this event time on.
    pub(crate) fn rejoined(&mut self, event_ms: UnixMillis) {
        let is_open = |gap: &&mut Gap| gap.is_forgotten && gap.to_ms.is_none();
        if let Some(gap) = self.gaps.iter_mut().find(is_open) {
            gap.to_ms = Some(event_ms.max(gap.from_ms));
            self.is_narrowed = true;
        }
    }

    /// Some ids are no longer tracked because there was no room: their gaps never count as filled.
    pub(crate) fn forget(&mut self, span: IdSpan) {
        for gap in &mut self.gaps {
            if gap.ids.is_some_and(|ids| ids.overlaps(span)) {
                gap.is_forgotten = true;
                gap.is_confirmed = true;
            }
        }
        self.refresh_missing();
    }

    /// The first version of a checkpoint no longer tracked the ids of lost gaps.
    pub(crate) fn forget_lost(&mut self) {
        for gap in &mut self.gaps {
            gap.is_forgotten |= gap.state == GapState::Lost;
        }
    }

    /// Forgets lost gaps that can touch no open or kept bar. `is_kept` says whether a closed bar is
    /// kept between two times.
    pub(crate) fn prune(
        &mut self,
        horizon_ms: UnixMillis,
        timeframes: &TimeframeSet,
        sequence: &mut Sequence,
        is_kept: impl Fn(UnixMillis, UnixMillis) -> bool,
    ) {
        let Some(widest) = timeframes.as_slice().last() else {
            return;
        };
        let oldest_start_ms = widest.start_of(horizon_ms);
        let mut over = Vec::new();
        self.gaps.retain(|gap| {
            let is_over = gap.state == GapState::Lost
                && gap
                    .to_ms
                    .is_some_and(|to| to < oldest_start_ms && !is_kept(gap.from_ms, to));
            if is_over {
                over.extend(gap.ids);
            }
            !is_over
        });
        for &ids in &over {
            let is_shared = |gap: &Gap| gap.ids.is_some_and(|own| own.overlaps(ids));
            if !self.gaps.iter().any(is_shared) {
                sequence.forget(ids);
            }
        }
        if !over.is_empty() {
            self.refresh_missing();
        }
        if self.gaps.capacity() > 4 * self.gaps.len() + SPARE {
            self.gaps.shrink_to(self.gaps.len() + SPARE);
        }
        sequence.shrink();
    }
}

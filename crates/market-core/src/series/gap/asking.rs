//! When a gap is requested, requested again, and given up.

use super::{BackfillRequest, Gap, GapAction, GapEventState, GapState, Gaps, NOT_YET};
use crate::series::pipeline::config::PipelineConfig;
use crate::series::sequence::{IdSpan, Sequence};
use crate::value::clock::UnixMillis;

const RETRY_MAX_MS: i64 = 30_000;

/// How long bars wait if only a silence is suspected, ms: the time of one REST answer. Nearly
/// always REST says that nothing was missed, and the marks of all symbols wait for these bars.
const SUSPICION_HOLD_MS: i64 = 1_000;

/// What a tick found.
pub(crate) struct Ticked {
    /// Bars that end after this wait.
    pub(crate) held_from_ms: Option<UnixMillis>,
    pub(crate) is_missing_changed: bool,
}

impl Gaps {
    /// A request has failed: it is made again after a while.
    pub(crate) fn retry(&mut self, id: u64, config: &PipelineConfig) {
        let Some(index) = self.requested(id) else {
            return;
        };
        let gap = &mut self.gaps[index];
        gap.is_refused = false;
        if gap.is_reopened {
            gap.is_unanswered = true;
            // It was reported as lost before it was reopened.
            gap.give_up();
            self.next_retry_ms = self.steady_ms.saturating_add(config.gap_give_up_ms);
        } else {
            self.retry_at(index, config);
        }
    }

    fn requested(&self, id: u64) -> Option<usize> {
        self.gaps
            .iter()
            .position(|gap| gap.id == id && gap.state == GapState::Requested)
    }

    /// Whether the request of this id is still waited for.
    pub(crate) fn awaits(&self, id: u64) -> bool {
        self.requested(id).is_some()
    }

    /// The venue no longer has the symbol: its trades cannot be fetched, and no trade will come
    /// after them.
    pub(crate) fn end_gone<O: From<GapAction>>(
        &mut self,
        id: u64,
        now: UnixMillis,
        out: &mut Vec<O>,
    ) {
        let Some(index) = self.requested(id) else {
            return;
        };
        let gap = &mut self.gaps[index];
        gap.to_ms = gap.to_ms.or(Some(now.max(gap.from_ms)));
        gap.is_unanswered = false;
        gap.lose(out);
        self.refresh_missing();
    }

    fn retry_at(&mut self, index: usize, config: &PipelineConfig) {
        let now = self.steady_ms;
        let gap = &mut self.gaps[index];
        let doubled_ms = config
            .gap_retry_ms
            .saturating_mul(1 << gap.failures.min(16));
        gap.failures = gap.failures.saturating_add(1);
        gap.state = GapState::Waiting {
            due_ms: now + doubled_ms.min(RETRY_MAX_MS),
        };
    }

    /// All trades that the venue has were offered. Trades of the request that are still missing are
    /// lost if they were requested for long enough and often enough: the venue's archive may lag. If
    /// bars have closed without an open end, it is requested twice for this reason. An answer with
    /// trades that cannot be believed yet does not count.
    pub(crate) fn end_request<O: From<GapAction>>(
        &mut self,
        id: u64,
        sequence: &Sequence,
        config: &PipelineConfig,
        out: &mut Vec<O>,
    ) {
        let Some(index) = self.requested(id) else {
            return;
        };
        if self.gaps[index].is_refused {
            self.retry(id, config);
            return;
        }
        let now = self.steady_ms;
        // The venue answers again: requests that it did not answer may be repeated at once.
        self.next_retry_ms = now;
        let Some(ids) = self.gaps[index].ids else {
            // After an outage, the venue may answer before it has the trades of the outage.
            if self.gaps[index].is_overdue && self.gaps[index].failures == 0 {
                self.retry_at(index, config);
                return;
            }
            let gap = self.gaps.remove(index);
            if gap.is_overdue {
                out.push(gap.event(GapEventState::Filled).into());
            }
            self.refresh_missing();
            return;
        };
        let mut missing = sequence.missing_in(ids);
        let Some(first) = missing.next() else {
            return;
        };
        let last = missing.last().unwrap_or(first);
        let gap = &mut self.gaps[index];
        gap.lacking = gap.lacking.saturating_add(1);
        let tried_ms = gap.tried_ms.unwrap_or(now);
        let is_young = now.saturating_sub(tried_ms) <= config.gap_hold_ms;
        if is_young || gap.lacking < config.gap_answers_min {
            self.retry_at(index, config);
            return;
        }
        let gap = &mut self.gaps[index];
        gap.ids = Some(IdSpan {
            first: first.first,
            last: last.last,
        });
        gap.is_unanswered = false;
        gap.lose(out);
        self.refresh_missing();
    }

    /// `steady_ms` is the time of this host's steady clock.
    pub(crate) fn tick<O: From<GapAction>>(
        &mut self,
        steady_ms: UnixMillis,
        config: &PipelineConfig,
        is_up: bool,
        next_id: Option<u64>,
        out: &mut Vec<O>,
    ) -> Ticked {
        let mut ticked = Ticked {
            held_from_ms: None,
            is_missing_changed: false,
        };
        self.steady_ms = self.steady_ms.max(steady_ms);
        let now = self.steady_ms;
        if self.gaps.is_empty() {
            return ticked;
        }
        ticked.is_missing_changed = std::mem::take(&mut self.is_narrowed);
        let mut is_changed = ticked.is_missing_changed;
        self.ask_again(now, config);
        for gap in self
            .gaps
            .iter_mut()
            .filter(|gap| gap.state != GapState::Lost)
        {
            gap.opened_ms = gap.opened_ms.min(now);
            let age_ms = now.saturating_sub(gap.opened_ms);
            // While an answer is on its way, however long, it is unknown whether there is one.
            let is_given_up = gap.state != GapState::Requested
                && gap
                    .tried_ms
                    .is_some_and(|at| now.saturating_sub(at) > config.gap_give_up_ms);
            if is_given_up && gap.ids.is_some() {
                gap.is_unanswered = true;
                gap.lose(out);
                self.next_retry_ms = now.saturating_add(config.gap_give_up_ms);
                ticked.is_missing_changed = true;
                continue;
            }
            if let GapState::Waiting { due_ms } = gap.state
                && now >= due_ms
                && (is_up || gap.ids.is_some())
                && let Some(first_id) = gap.ids.map_or(next_id, |ids| Some(ids.first))
            {
                gap.state = GapState::Requested;
                gap.tried_ms = gap.tried_ms.or(Some(now));
                if gap.ids.is_some() && !gap.is_confirmed {
                    gap.is_confirmed = true;
                    is_changed = true;
                    out.push(gap.event(GapEventState::Open).into());
                }
                let request = BackfillRequest {
                    id: gap.id,
                    first_id,
                    last_id: gap.ids.map(|ids| ids.last),
                    from_ms: gap.from_ms,
                    failures: gap.failures,
                };
                out.push(GapAction::Ask(request).into());
            }
            let is_held = !gap.is_suspicion || age_ms <= SUSPICION_HOLD_MS;
            if age_ms <= config.gap_hold_ms && !is_held {
                continue;
            }
            if age_ms <= config.gap_hold_ms {
                ticked.held_from_ms = Some(
                    ticked
                        .held_from_ms
                        .map_or(gap.from_ms, |from| from.min(gap.from_ms)),
                );
            } else if !gap.is_overdue {
                gap.is_overdue = true;
                if !gap.is_confirmed {
                    gap.is_confirmed = true;
                    out.push(gap.event(GapEventState::Open).into());
                }
                ticked.is_missing_changed = true;
            }
        }
        if is_changed || ticked.is_missing_changed {
            self.refresh_missing();
        }
        ticked
    }

    /// Requests the newest gap that was given up without an answer: one at a time, and with a long
    /// pause if the venue does not answer.
    fn ask_again(&mut self, now: UnixMillis, config: &PipelineConfig) {
        self.next_retry_ms = self
            .next_retry_ms
            .min(now.saturating_add(config.gap_give_up_ms));
        let is_asked = |gap: &Gap| gap.state != GapState::Lost && gap.is_reopened;
        if now < self.next_retry_ms || self.gaps.iter().any(is_asked) {
            return;
        }
        let is_due = |gap: &Gap| gap.state == GapState::Lost && gap.is_wanted();
        if let Some(index) = self.gaps.iter().rposition(is_due) {
            self.reopen_at(index, config.gap_hold_ms);
        }
    }

    /// Asks again for the gaps between these times that were given up; true if there is any.
    pub(crate) fn reopen(&mut self, from_ms: UnixMillis, to_ms: UnixMillis, hold_ms: i64) -> bool {
        let mut is_any = false;
        for index in 0..self.gaps.len() {
            let gap = &self.gaps[index];
            if gap.state == GapState::Lost
                && !gap.is_forgotten
                && gap.from_ms < to_ms
                && gap.to_ms.is_none_or(|to| to >= from_ms)
            {
                is_any = true;
                self.reopen_at(index, hold_ms);
            }
        }
        is_any
    }

    /// No bar waits for it: they have closed with it.
    fn reopen_at(&mut self, index: usize, hold_ms: i64) {
        let id = self.new_id();
        let now = self.steady_ms;
        let gap = &mut self.gaps[index];
        gap.state = GapState::Waiting { due_ms: now };
        gap.opened_ms = now.saturating_sub(hold_ms).saturating_sub(1);
        gap.tried_ms = None;
        gap.lacking = 0;
        gap.is_overdue = true;
        gap.is_reopened = true;
        gap.failures = 0;
        gap.id = id;
    }

    /// After a restart, earlier requests are no longer running, and the steady clock has started again.
    pub(crate) fn forget_requests(&mut self) {
        for gap in self
            .gaps
            .iter_mut()
            .filter(|gap| gap.state != GapState::Lost)
        {
            gap.opened_ms = NOT_YET;
            gap.tried_ms = None;
            gap.lacking = 0;
            gap.is_refused = false;
            gap.is_overdue = false;
            gap.state = match gap.state {
                GapState::Requested | GapState::Waiting { .. } if gap.ids.is_some() => {
                    GapState::Waiting { due_ms: 0 }
                }
                _ => GapState::FeedDown,
            };
        }
        self.refresh_missing();
    }
}

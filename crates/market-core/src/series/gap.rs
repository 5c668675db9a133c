//! Spans of missing trades, from suspicion to their end.

mod action;
mod asking;
mod lost;
mod refused;
mod tail;

pub(crate) use self::action::GapAction;
pub use self::action::{BackfillRequest, GapEvent, GapEventState};
use serde::{Deserialize, Serialize};

use crate::series::missing::MissingTimes;
use crate::series::sequence::{IdSpan, Sequence};
use crate::value::clock::UnixMillis;

/// The most gaps, including lost ones, that are kept for one symbol. Beyond it, the closest gaps
/// are merged.
pub const GAPS_MAX: usize = 512;
/// Spare capacity for gaps that is kept when memory is released.
const SPARE: usize = 16;
/// How far a venue's event times may step back between adjoining ids (31 ms in the captures). A
/// missing trade may lie this far outside the times of its neighbours.
pub(crate) const STEP_BACK_MS: i64 = 50;

/// The opening time of a gap until the first tick after its opening.
const NOT_YET: UnixMillis = UnixMillis::MAX;

/// Where a gap stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum GapState {
    /// Not requested before this time of the steady clock.
    Waiting {
        /// ms.
        due_ms: UnixMillis,
    },
    /// The feed is down: requests are impossible until it is up.
    FeedDown,
    /// Asked for.
    Requested,
    /// Given up. Late trades are still accepted.
    Lost,
}

/// Missing trades.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    id: u64,
    /// First and last missing id; `None` for the open end after the newest trade, and for lost
    /// trades without known ids.
    pub ids: Option<IdSpan>,
    /// Event time of the trade before.
    pub from_ms: UnixMillis,
    /// Event time of the trade after, once there is one.
    pub to_ms: Option<UnixMillis>,
    /// By the steady clock. [`NOT_YET`] until the first tick.
    opened_ms: UnixMillis,
    /// When it was first requested after requests became possible, by the steady clock.
    #[serde(default)]
    tried_ms: Option<UnixMillis>,
    /// The number of answers since then that lacked trades of it.
    #[serde(default)]
    lacking: u32,
    /// An answer had a trade of it that was refused, because its time seemed to be in the future.
    #[serde(default)]
    is_refused: bool,
    /// An open end does not mark bars before this time: the feed was watched until long after them.
    #[serde(default)]
    marked_from_ms: UnixMillis,
    failures: u32,
    /// Its outcome.
    pub state: GapState,
    /// It is no longer only disorder or suspicion: bars are marked.
    is_confirmed: bool,
    is_overdue: bool,
    /// Given up without an answer: it is requested again, rarely.
    #[serde(default)]
    is_unanswered: bool,
    /// Asked for again after it was given up.
    #[serde(default)]
    is_reopened: bool,
    /// A silence is the only evidence for it.
    #[serde(default)]
    is_suspicion: bool,
    /// Some of its ids are no longer tracked, so nobody can tell whether all trades have come.
    #[serde(default)]
    is_forgotten: bool,
}

/// One symbol's gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gaps {
    gaps: Vec<Gap>,
    next_id: u64,
    /// The host's steady clock at the last tick. It measures the age of gaps: the venue's clock is an
    /// estimate that may step, and a step must not end a gap.
    #[serde(skip)]
    steady_ms: UnixMillis,
    /// When a gap that was given up without an answer may be requested again, by the steady clock.
    #[serde(default)]
    next_retry_ms: UnixMillis,
    /// Some gap may belong to a refused trade.
    #[serde(default)]
    has_refused: bool,
    #[serde(skip)]
    missing: MissingTimes,
    /// A gap has become narrower since the last tick.
    #[serde(skip)]
    is_narrowed: bool,
}

impl Gap {
    fn event(&self, state: GapEventState) -> GapAction {
        GapAction::Tell(GapEvent {
            first_id: self.ids.map(|ids| ids.first),
            last_id: self.ids.map(|ids| ids.last),
            from_ms: self.from_ms,
            to_ms: self.to_ms,
            state,
        })
    }

    fn is_tail(&self) -> bool {
        self.ids.is_none() && self.state != GapState::Lost
    }

    /// Trades may still come for it.
    fn is_wanted(&self) -> bool {
        self.state != GapState::Lost || (self.is_unanswered && !self.is_forgotten)
    }

    /// Trades are known to be missing, or the feed is down: from now on bars wait for it in full.
    fn no_longer_suspicion(&mut self) {
        if std::mem::take(&mut self.is_suspicion) {
            self.opened_ms = NOT_YET;
        }
    }

    /// True if this must be told: a gap that was reported as lost is not reported again.
    fn give_up(&mut self) -> bool {
        self.state = GapState::Lost;
        self.is_confirmed = true;
        !std::mem::take(&mut self.is_reopened)
    }

    fn lose<O: From<GapAction>>(&mut self, out: &mut Vec<O>) {
        if self.give_up() {
            out.push(self.event(GapEventState::Lost).into());
        }
    }

    /// Moves its beginning to the newest trade that has come.
    fn advance(&mut self, event_ms: UnixMillis) {
        let from_ms = self.from_ms.max(event_ms - STEP_BACK_MS);
        self.from_ms = self.to_ms.map_or(from_ms, |to| from_ms.min(to));
    }

    /// Only gaps of the same kind are merged.
    fn kind(&self) -> (bool, bool) {
        (self.state == GapState::Lost, self.ids.is_some())
    }

    fn join(&mut self, other: &Self, id: u64) {
        self.id = id;
        self.ids = self.ids.zip(other.ids).map(|(a, b)| IdSpan {
            first: a.first.min(b.first),
            last: a.last.max(b.last),
        });
        self.from_ms = self.from_ms.min(other.from_ms);
        self.to_ms = self.to_ms.zip(other.to_ms).map(|(a, b)| a.max(b));
        self.opened_ms = self.opened_ms.min(other.opened_ms);
        self.tried_ms = self.tried_ms.max(other.tried_ms);
        self.lacking = self.lacking.min(other.lacking);
        self.is_refused |= other.is_refused;
        self.marked_from_ms = self.marked_from_ms.min(other.marked_from_ms);
        self.failures = self.failures.min(other.failures);
        if self.state != GapState::Lost {
            self.state = GapState::Waiting { due_ms: 0 };
        }
        self.is_confirmed |= other.is_confirmed;
        self.is_overdue &= other.is_overdue;
        self.is_unanswered |= other.is_unanswered;
        self.is_reopened &= other.is_reopened;
        self.is_forgotten |= other.is_forgotten;
    }
}

impl Gaps {
    /// All gaps, lost ones too.
    pub fn iter(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter()
    }

    /// When trades are known to be missing.
    pub(crate) fn missing_times(&self) -> &MissingTimes {
        &self.missing
    }

    /// When trades are missing that may still come.
    pub(crate) fn wanted_times(&self) -> MissingTimes {
        let mut times = MissingTimes::default();
        let wanted = self.gaps.iter().filter(|gap| gap.is_wanted());
        times.replace(wanted.map(|gap| (gap.from_ms, gap.to_ms)));
        times
    }

    pub(crate) fn covers(&self, span: IdSpan) -> bool {
        self.gaps.iter().any(|gap| {
            gap.ids
                .is_some_and(|ids| ids.first <= span.first && span.last <= ids.last)
        })
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    fn push(&mut self, ids: Option<IdSpan>, from_ms: UnixMillis) -> &mut Gap {
        if self.gaps.len() >= GAPS_MAX {
            self.join_closest();
        }
        let gap = Gap {
            id: self.new_id(),
            ids,
            from_ms,
            to_ms: None,
            opened_ms: NOT_YET,
            tried_ms: None,
            lacking: 0,
            is_refused: false,
            marked_from_ms: 0,
            failures: 0,
            state: GapState::FeedDown,
            is_confirmed: false,
            is_overdue: false,
            is_unanswered: false,
            is_reopened: false,
            is_suspicion: false,
            is_forgotten: false,
        };
        self.gaps.push(gap);
        self.gaps.last_mut().expect("one was pushed")
    }

    /// Makes room: merges two gaps of the same kind, including the time between them. Times that
    /// were known to have missing trades stay so.
    fn join_closest(&mut self) {
        self.gaps.sort_by_key(|gap| (gap.kind(), gap.from_ms));
        let pairs = self.gaps.windows(2).enumerate();
        let distances = pairs.filter_map(|(index, pair)| {
            let [before, after] = pair else { return None };
            let apart_ms = after
                .from_ms
                .saturating_sub(before.to_ms.unwrap_or(UnixMillis::MAX));
            (before.kind() == after.kind()).then_some((apart_ms, index))
        });
        if let Some((_, index)) = distances.min() {
            let id = self.new_id();
            let after = self.gaps.remove(index + 1);
            self.gaps[index].join(&after, id);
            self.refresh_missing();
        }
    }

    fn refresh_missing(&mut self) {
        let confirmed = self.gaps.iter().filter(|gap| gap.is_confirmed);
        let times = confirmed.map(|gap| (gap.from_ms.max(gap.marked_from_ms), gap.to_ms));
        self.missing.replace(times);
    }

    /// Opens the gap that a jump in ids shows. After an outage, this jump is the loss of the
    /// outage, so the gap replaces the open-ended gap. It can only be requested now, so the time
    /// after which it is given up begins now.
    pub(crate) fn open(
        &mut self,
        ids: IdSpan,
        (from_ms, to_ms): (UnixMillis, UnixMillis),
        grace_ms: i64,
        is_outage_over: bool,
    ) {
        let grace_over_ms = self.steady_ms.saturating_add(grace_ms);
        let id = self.next_id;
        if is_outage_over && let Some(tail) = self.gaps.iter_mut().find(|gap| gap.is_tail()) {
            tail.no_longer_suspicion();
            tail.ids = Some(ids);
            tail.to_ms = Some(to_ms.max(tail.from_ms) + STEP_BACK_MS);
            // If the venue's clock was set back in the outage, missing trades have earlier times.
            tail.from_ms = tail.from_ms.min(from_ms - STEP_BACK_MS);
            tail.marked_from_ms = 0;
            tail.tried_ms = None;
            tail.lacking = 0;
            tail.failures = 0;
            // A pending answer to the open-ended request may not reach up to the jump.
            let due_ms = if tail.state == GapState::Requested {
                grace_over_ms
            } else {
                self.steady_ms
            };
            tail.state = GapState::Waiting { due_ms };
            tail.id = id;
            self.next_id += 1;
            // More bars may be marked than before.
            self.is_narrowed = true;
            return;
        }
        let gap = self.push(Some(ids), from_ms - STEP_BACK_MS);
        gap.to_ms = Some(to_ms + STEP_BACK_MS);
        gap.state = GapState::Waiting {
            due_ms: grace_over_ms,
        };
    }

    /// A missing trade has come. If it is the first one of its gap, the rest of the gap came after it.
    /// If its time is outside of the gap, the venue's clock was set within the gap. Then other missing
    /// trades may have such times too.
    pub(crate) fn narrow(&mut self, ids: IdSpan, event_ms: UnixMillis) {
        let holds = |gap: &&mut Gap| {
            gap.ids
                .is_some_and(|own| own.first <= ids.first && ids.last < own.last)
                && !gap.is_forgotten
        };
        let Some(gap) = self.gaps.iter_mut().find(holds) else {
            return;
        };
        if event_ms < gap.from_ms {
            gap.from_ms = event_ms.saturating_sub(STEP_BACK_MS);
            self.is_narrowed = true;
        }
        if gap.to_ms.is_some_and(|to| to < event_ms) {
            gap.to_ms = Some(event_ms.saturating_add(STEP_BACK_MS));
            self.is_narrowed = true;
        }
        if let Some(own) = &mut gap.ids
            && own.first == ids.first
        {
            own.first = ids.last + 1;
            gap.advance(event_ms);
            self.is_narrowed = true;
        }
    }

    /// Drops gaps without missing trades. True if bars had been marked.
    pub(crate) fn settle<O: From<GapAction>>(
        &mut self,
        sequence: &Sequence,
        out: &mut Vec<O>,
    ) -> bool {
        let mut is_changed = false;
        self.gaps.retain_mut(|gap| {
            let Some(ids) = gap.ids else { return true };
            if sequence.is_missing_any(ids) {
                return true;
            }
            if gap.is_forgotten {
                if gap.state != GapState::Lost {
                    gap.lose(out);
                    is_changed = true;
                }
                return true;
            }
            if gap.is_confirmed {
                is_changed = true;
                out.push(gap.event(GapEventState::Filled).into());
            }
            false
        });
        if is_changed {
            self.refresh_missing();
        }
        is_changed
    }

    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.gaps.capacity()
    }

    /// Whether stored gaps are valid.
    pub(crate) fn is_sound(&self, is_time: impl Fn(UnixMillis) -> bool) -> bool {
        let is_gap_sound = |gap: &Gap| {
            is_time(gap.from_ms.saturating_add(STEP_BACK_MS))
                && is_time(gap.marked_from_ms.max(0))
                && gap
                    .to_ms
                    .is_none_or(|to| is_time(to.saturating_sub(STEP_BACK_MS)) && gap.from_ms <= to)
                && gap.ids.is_none_or(|ids| ids.first <= ids.last)
                && gap.id < self.next_id
        };
        self.gaps.len() <= GAPS_MAX
            && self.next_id < u64::MAX / 2
            && self.gaps.iter().filter(|gap| gap.is_tail()).count() <= 1
            && self.gaps.iter().all(is_gap_sound)
    }
}

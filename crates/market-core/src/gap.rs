//! Spans of missing trades, from suspicion to their end.

use serde::{Deserialize, Serialize};

use crate::aggregate::MissingTime;
use crate::clock::UnixMillis;
use crate::pipeline::{BackfillRequest, Output, PipelineConfig};
use crate::sequence::{IdSpan, Sequence};
use crate::timeframe::TimeframeSet;

/// The most gaps, lost ones among them, that are kept for one symbol.
const GAPS_MAX: usize = 512;
const RETRY_MAX_MS: i64 = 30_000;
/// How far a venue's event times may step back between adjoining ids (31 ms in the captures): a
/// missing trade may lie that much outside of the trades around it.
const STEP_BACK_MS: i64 = 50;

/// Where a gap stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum GapState {
    /// Not asked for before this venue time.
    Waiting {
        /// ms.
        due_ms: UnixMillis,
    },
    /// The feed is down: nothing to ask before it is up.
    FeedDown,
    /// Asked for.
    Requested,
    /// Nobody has the trades any more.
    Lost,
}

/// Missing trades.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    id: u64,
    /// First missing id; `None` for the open end after the newest trade.
    pub ids: Option<IdSpan>,
    /// Event time of the trade before.
    pub from_ms: UnixMillis,
    /// Event time of the trade after, once there is one.
    pub to_ms: Option<UnixMillis>,
    opened_ms: UnixMillis,
    failures: u32,
    /// What it has come to.
    pub state: GapState,
    /// No longer mere disorder or suspicion: bars are marked.
    is_confirmed: bool,
    is_overdue: bool,
}

/// A gap that was confirmed or has ended, for operators and clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct GapEvent {
    /// First missing id; `None` where the feed is down and nobody knows.
    pub first_id: Option<u64>,
    /// Last missing id.
    pub last_id: Option<u64>,
    /// Event time of the trade before.
    pub from_ms: UnixMillis,
    /// Event time of the trade after.
    pub to_ms: Option<UnixMillis>,
    /// What happened.
    pub state: GapEventState,
}

/// What happened to a gap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GapEventState {
    /// Trades are missing and asked for.
    Open,
    /// All of them have come.
    Filled,
    /// They cannot be had.
    Lost,
}

/// One symbol's gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gaps {
    gaps: Vec<Gap>,
    next_id: u64,
    #[serde(skip)]
    missing: Vec<MissingTime>,
}

/// What a tick found.
pub(crate) struct Ticked {
    /// Bars that end after this wait.
    pub(crate) held_from_ms: Option<UnixMillis>,
    /// Given up just now.
    pub(crate) lost: Vec<IdSpan>,
    pub(crate) is_missing_changed: bool,
}

impl Gap {
    fn event(&self, state: GapEventState) -> Output {
        Output::Gap(GapEvent {
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
}

impl Gaps {
    /// All gaps, lost ones too.
    pub fn iter(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter()
    }

    /// When trades are known to be missing.
    pub(crate) fn missing_times(&self) -> &[MissingTime] {
        &self.missing
    }

    /// The event time after which the first gap lies that may still be filled.
    pub(crate) fn earliest_ms(&self) -> Option<UnixMillis> {
        self.gaps
            .iter()
            .filter(|gap| gap.state != GapState::Lost)
            .map(|gap| gap.from_ms)
            .min()
    }

    pub(crate) fn covers(&self, span: IdSpan) -> bool {
        self.gaps
            .iter()
            .any(|gap| gap.ids.is_some_and(|ids| ids.overlaps(span)))
    }

    fn push(&mut self, gap: Gap) {
        if self.gaps.len() >= GAPS_MAX {
            let lost = self.gaps.iter().position(|gap| gap.state == GapState::Lost);
            self.gaps.remove(lost.unwrap_or(0));
        }
        self.gaps.push(gap);
        self.next_id += 1;
    }

    fn refresh_missing(&mut self) {
        self.missing.clear();
        for gap in self.gaps.iter().filter(|gap| gap.is_confirmed) {
            self.missing.push(MissingTime {
                from_ms: gap.from_ms,
                to_ms: gap.to_ms,
            });
        }
    }

    /// Opens the gap that a jump in ids shows. A jump in the stream after an outage is what the
    /// outage has cost, so it takes the open-ended gap's place, and its age.
    pub(crate) fn open(
        &mut self,
        ids: IdSpan,
        (from_ms, to_ms): (UnixMillis, UnixMillis),
        now: UnixMillis,
        grace_ms: i64,
        is_outage_over: bool,
    ) {
        if is_outage_over && let Some(tail) = self.gaps.iter_mut().find(|gap| gap.is_tail()) {
            tail.ids = Some(ids);
            tail.to_ms = Some(to_ms.max(tail.from_ms) + STEP_BACK_MS);
            // An answer under way to the open-ended question may not reach up to the jump.
            let due_ms = if tail.state == GapState::Requested {
                now + grace_ms
            } else {
                now
            };
            tail.state = GapState::Waiting { due_ms };
            tail.id = self.next_id;
            self.next_id += 1;
            self.refresh_missing();
            return;
        }
        self.push(Gap {
            id: self.next_id,
            ids: Some(ids),
            from_ms: from_ms - STEP_BACK_MS,
            to_ms: Some(to_ms + STEP_BACK_MS),
            opened_ms: now,
            failures: 0,
            state: GapState::Waiting {
                due_ms: now + grace_ms,
            },
            is_confirmed: false,
            is_overdue: false,
        });
    }

    /// Opens the open-ended gap after the newest trade, if there is none.
    pub(crate) fn open_tail(&mut self, from_ms: UnixMillis, now: UnixMillis, is_down: bool) {
        if let Some(tail) = self.gaps.iter_mut().find(|gap| gap.is_tail()) {
            if is_down {
                tail.state = GapState::FeedDown;
                // What was asked before the feed was lost again does not tell what came after.
                tail.id = self.next_id;
                self.next_id += 1;
            }
            return;
        }
        self.push(Gap {
            id: self.next_id,
            ids: None,
            from_ms: from_ms - STEP_BACK_MS,
            to_ms: None,
            opened_ms: now,
            failures: 0,
            state: GapState::FeedDown,
            is_confirmed: false,
            is_overdue: false,
        });
    }

    /// The feed is up: what lies after the newest trade may be asked for.
    pub(crate) fn ask_tail(&mut self, now: UnixMillis) {
        for gap in self
            .gaps
            .iter_mut()
            .filter(|gap| gap.state == GapState::FeedDown)
        {
            gap.state = GapState::Waiting { due_ms: now };
        }
    }

    /// Nothing was missed: the stream went on with the next id. True if bars had been marked.
    pub(crate) fn close_tail(&mut self, out: &mut Vec<Output>) -> bool {
        let Some(index) = self.gaps.iter().position(Gap::is_tail) else {
            return false;
        };
        let gap = self.gaps.remove(index);
        if gap.is_overdue {
            out.push(gap.event(GapEventState::Filled));
        }
        self.refresh_missing();
        gap.is_confirmed
    }

    /// Drops bounded gaps of which nothing is missing. True if bars had been marked.
    pub(crate) fn settle(&mut self, sequence: &Sequence, out: &mut Vec<Output>) -> bool {
        let mut was_confirmed = false;
        self.gaps.retain(|gap| {
            let is_filled = gap.state != GapState::Lost
                && gap.ids.is_some_and(|ids| !sequence.is_missing_any(ids));
            if is_filled && gap.is_confirmed {
                was_confirmed = true;
                out.push(gap.event(GapEventState::Filled));
            }
            !is_filled
        });
        if was_confirmed {
            self.refresh_missing();
        }
        was_confirmed
    }

    /// A span was given up for want of room.
    pub(crate) fn lose(&mut self, span: IdSpan, out: &mut Vec<Output>) {
        for gap in &mut self.gaps {
            if gap.state != GapState::Lost && gap.ids.is_some_and(|ids| ids.overlaps(span)) {
                gap.state = GapState::Lost;
                gap.is_confirmed = true;
                out.push(gap.event(GapEventState::Lost));
            }
        }
        self.refresh_missing();
    }

    /// A request has failed: it is made again after a while.
    pub(crate) fn retry(&mut self, id: u64, now: UnixMillis, config: &PipelineConfig) {
        if let Some(index) = self.requested(id) {
            self.retry_at(index, now, config);
        }
    }

    /// Whether the request of this id is still waited for.
    pub(crate) fn awaits(&self, id: u64) -> bool {
        self.requested(id).is_some()
    }

    /// The venue no longer has the symbol: nothing of the request can be had, and nothing comes
    /// after it. What is lost by id is given back to be forgotten.
    pub(crate) fn end_gone(
        &mut self,
        id: u64,
        now: UnixMillis,
        out: &mut Vec<Output>,
    ) -> Option<IdSpan> {
        let index = self.requested(id)?;
        let gap = &mut self.gaps[index];
        gap.state = GapState::Lost;
        gap.is_confirmed = true;
        gap.to_ms = gap.to_ms.or(Some(now.max(gap.from_ms)));
        let ids = gap.ids;
        out.push(gap.event(GapEventState::Lost));
        self.refresh_missing();
        ids
    }

    fn requested(&self, id: u64) -> Option<usize> {
        self.gaps
            .iter()
            .position(|gap| gap.id == id && gap.state == GapState::Requested)
    }

    fn retry_at(&mut self, index: usize, now: UnixMillis, config: &PipelineConfig) {
        let gap = &mut self.gaps[index];
        let doubled_ms = config
            .gap_retry_ms
            .saturating_mul(1 << gap.failures.min(16));
        gap.failures += 1;
        gap.state = GapState::Waiting {
            due_ms: now + doubled_ms.min(RETRY_MAX_MS),
        };
    }

    /// All that the venue has was offered. What is still missing of the request is lost and given
    /// back to be forgotten, unless the gap is so young that the venue's archive may lag.
    pub(crate) fn end_request(
        &mut self,
        id: u64,
        missing: &[IdSpan],
        now: UnixMillis,
        config: &PipelineConfig,
        out: &mut Vec<Output>,
    ) -> Vec<IdSpan> {
        let Some(index) = self.requested(id) else {
            return Vec::new();
        };
        let Some(ids) = self.gaps[index].ids else {
            let gap = self.gaps.remove(index);
            if gap.is_overdue {
                out.push(gap.event(GapEventState::Filled));
            }
            self.refresh_missing();
            return Vec::new();
        };
        let lost: Vec<IdSpan> = missing
            .iter()
            .filter(|span| span.overlaps(ids))
            .map(|span| IdSpan {
                first: span.first.max(ids.first),
                last: span.last.min(ids.last),
            })
            .collect();
        let (Some(first), Some(last)) = (lost.first(), lost.last()) else {
            return Vec::new();
        };
        if now - self.gaps[index].opened_ms <= config.gap_hold_ms {
            self.retry_at(index, now, config);
            return Vec::new();
        }
        let gap = &mut self.gaps[index];
        gap.ids = Some(IdSpan {
            first: first.first,
            last: last.last,
        });
        gap.state = GapState::Lost;
        gap.is_confirmed = true;
        out.push(gap.event(GapEventState::Lost));
        self.refresh_missing();
        lost
    }

    pub(crate) fn tick(
        &mut self,
        now: UnixMillis,
        config: &PipelineConfig,
        is_up: bool,
        next_id: Option<u64>,
        out: &mut Vec<Output>,
    ) -> Ticked {
        let mut ticked = Ticked {
            held_from_ms: None,
            lost: Vec::new(),
            is_missing_changed: false,
        };
        if self.gaps.is_empty() {
            return ticked;
        }
        let mut is_changed = false;
        for gap in self
            .gaps
            .iter_mut()
            .filter(|gap| gap.state != GapState::Lost)
        {
            // A clock set back must not make a gap last longer; nor does a restart age it.
            gap.opened_ms = gap.opened_ms.min(now);
            let age_ms = now - gap.opened_ms;
            if age_ms > config.gap_give_up_ms
                && let Some(ids) = gap.ids
            {
                gap.state = GapState::Lost;
                gap.is_confirmed = true;
                ticked.lost.push(ids);
                out.push(gap.event(GapEventState::Lost));
                ticked.is_missing_changed = true;
                continue;
            }
            if let GapState::Waiting { due_ms } = gap.state
                && now >= due_ms
                && (is_up || gap.ids.is_some())
                && let Some(first_id) = gap.ids.map_or(next_id, |ids| Some(ids.first))
            {
                gap.state = GapState::Requested;
                if gap.ids.is_some() && !gap.is_confirmed {
                    gap.is_confirmed = true;
                    is_changed = true;
                    out.push(gap.event(GapEventState::Open));
                }
                out.push(Output::Backfill(BackfillRequest {
                    id: gap.id,
                    first_id,
                    last_id: gap.ids.map(|ids| ids.last),
                    from_ms: gap.from_ms,
                    failures: gap.failures,
                }));
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
                    out.push(gap.event(GapEventState::Open));
                }
                ticked.is_missing_changed = true;
            }
        }
        if is_changed || ticked.is_missing_changed {
            self.refresh_missing();
        }
        ticked
    }

    /// The lost gaps that touch this time.
    pub(crate) fn lost_between(&self, from_ms: UnixMillis, to_ms: UnixMillis) -> Vec<IdSpan> {
        let touches = |gap: &&Gap| {
            gap.state == GapState::Lost
                && gap.from_ms < to_ms
                && gap.to_ms.is_none_or(|to| to >= from_ms)
        };
        self.gaps
            .iter()
            .filter(touches)
            .filter_map(|gap| gap.ids)
            .collect()
    }

    /// A lost gap is asked for again. No bar waits for it: they have closed with it.
    pub(crate) fn reopen(&mut self, ids: IdSpan, now: UnixMillis, hold_ms: i64) {
        let lost = |gap: &&mut Gap| gap.state == GapState::Lost && gap.ids == Some(ids);
        if let Some(gap) = self.gaps.iter_mut().find(lost) {
            gap.state = GapState::Waiting { due_ms: now };
            gap.opened_ms = now - hold_ms - 1;
            gap.is_overdue = true;
            gap.failures = 0;
            gap.id = self.next_id;
            self.next_id += 1;
        }
    }

    /// Forgets lost gaps that no bar still to close, or kept, can touch.
    pub(crate) fn prune(&mut self, horizon_ms: UnixMillis, timeframes: &TimeframeSet) {
        if self.gaps.is_empty() {
            return;
        }
        let widest = timeframes
            .as_slice()
            .last()
            .expect("a timeframe set is never empty");
        let oldest_start_ms = widest.start_of(horizon_ms);
        let before = self.gaps.len();
        self.gaps.retain(|gap| {
            gap.state != GapState::Lost || gap.to_ms.is_none_or(|to| to >= oldest_start_ms)
        });
        if self.gaps.len() != before {
            self.refresh_missing();
        }
    }

    /// After a restart, nobody is working on what was asked for.
    pub(crate) fn forget_requests(&mut self) {
        for gap in self
            .gaps
            .iter_mut()
            .filter(|gap| gap.state != GapState::Lost)
        {
            gap.opened_ms = UnixMillis::MAX;
            gap.is_overdue = false;
            if gap.state == GapState::Requested {
                gap.state = if gap.ids.is_some() {
                    GapState::Waiting { due_ms: 0 }
                } else {
                    GapState::FeedDown
                };
            }
        }
        self.refresh_missing();
    }
}

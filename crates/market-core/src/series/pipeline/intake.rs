//! What an offered trade goes through: checks, its place in the sequence of ids, and its bars.

use super::{EVENT_MAX_MS, FUTURE_MAX_MS, Output, Pipeline};
use crate::bar::Fold;
use crate::series::aggregate::Placed;
use crate::series::doubt::Judged;
use crate::series::offered::{Offered, Origin};
use crate::series::reorder::Placement;
use crate::series::sequence::{ID_MAX, IdSpan, Sequence, Verdict};
use crate::trade::Trade;
use crate::value::clock::UnixMillis;

/// The same limit for REST: it reports only past trades, and after a restart the venue's clock may
/// not be known yet.
const BACKFILL_FUTURE_MAX_MS: i64 = 3_600_000;
/// The feed is trusted from this time after it came up, because the clocks may differ by this much.
const JOIN_MARGIN_MS: i64 = 10_000;

impl Pipeline {
    /// Takes a trade.
    #[inline]
    pub fn offer(
        &mut self,
        trade: &Trade,
        origin: Origin,
        venue_now: UnixMillis,
        out: &mut Vec<Output>,
    ) -> Offered {
        self.now_ms = venue_now;
        let offered = self.check(trade, origin, venue_now, out);
        self.counts.add(offered);
        offered
    }

    /// Refuses impossible trades, and sets implausible ones aside.
    #[inline]
    fn check(
        &mut self,
        trade: &Trade,
        origin: Origin,
        venue_now: UnixMillis,
        out: &mut Vec<Output>,
    ) -> Offered {
        let ids = IdSpan {
            first: trade.first_id,
            last: trade.last_id,
        };
        let is_sane = ids.first <= ids.last
            && ids.last < ID_MAX
            && (0..=EVENT_MAX_MS).contains(&trade.event_ms);
        if !is_sane {
            return Offered::Implausible;
        }
        // The id of a refused trade must have no effect.
        let ahead_max_ms = match origin {
            Origin::Live => FUTURE_MAX_MS,
            Origin::Backfill => BACKFILL_FUTURE_MAX_MS,
        };
        if trade.event_ms > venue_now.saturating_add(ahead_max_ms) {
            if let Some(next_id) = self.sequence.next_id()
                && !self.sequence.is_seen(ids)
            {
                self.gaps.refuse(ids, trade.event_ms);
                if origin == Origin::Backfill {
                    self.gaps.refuse_answer(ids, next_id);
                }
            }
            return Offered::Future;
        }
        match self
            .doubts
            .judge(trade, origin, &self.sequence, self.newest_event_ms)
        {
            Judged::Believed => self.take(trade, origin, out, false),
            Judged::Doubtful => {
                // It counts in its bar, but it is unknown whether the missing trade has come.
                self.gaps.doubt(ids);
                self.aggregator.requalify();
                self.take(trade, origin, out, true)
            }
            Judged::Outdated => Offered::BeforeJoin,
            Judged::SetAside { is_ahead } => {
                if is_ahead {
                    // Only REST can say whether the venue has trades up to there.
                    self.suspect(venue_now);
                }
                Offered::Implausible
            }
            Judged::Jump(before, origin_before) => {
                self.confirm(&before, origin_before, out);
                self.take(trade, origin, out, false)
            }
            Judged::Restart(before) => {
                let expected = self.sequence.next_id().unwrap_or_default();
                self.join_anew(out);
                out.push(Output::IdsRestarted {
                    expected,
                    first_id: before[0].first_id,
                });
                for earlier in &before {
                    self.confirm(earlier, Origin::Live, out);
                }
                self.take(trade, origin, out, false)
            }
        }
    }

    /// Accepts a trade that was set aside.
    fn confirm(&mut self, trade: &Trade, origin: Origin, out: &mut Vec<Output>) {
        let offered = self.take(trade, origin, out, false);
        // REST may have brought it in the meantime.
        if matches!(offered, Offered::InBar | Offered::Late { .. }) {
            self.counts.confirmed += 1;
        }
    }

    /// Trades after the newest one are unknown, and cannot be requested: the next trade counts as
    /// the first one again. The bars in between say `gap`.
    pub(super) fn join_anew(&mut self, out: &mut Vec<Output>) {
        self.gaps.lose_all(self.head_event_ms, out);
        self.aggregator.requalify();
        self.sequence = Sequence::default();
        self.newest_event_ms = 0;
        self.doubts.clear();
    }

    #[inline]
    fn take(
        &mut self,
        trade: &Trade,
        origin: Origin,
        out: &mut Vec<Output>,
        is_doubtful: bool,
    ) -> Offered {
        let floor_before = self.sequence.floor_id();
        let ids = IdSpan {
            first: trade.first_id,
            last: trade.last_id,
        };
        let verdict = self.sequence.offer(ids);
        match verdict {
            Verdict::Duplicate => return self.doubts.compare(trade),
            Verdict::BeforeJoin => return Offered::BeforeJoin,
            Verdict::Overlap => {
                self.open_gaps_not_yet_known(ids, trade.event_ms);
                self.forget_given_up();
                return Offered::Overlap;
            }
            Verdict::Next | Verdict::AfterGap(_) | Verdict::FillsGap => {}
        }
        if floor_before.is_none_or(|floor| ids.first < floor) {
            self.join(trade.event_ms, floor_before.is_none());
        }
        self.follow_ids(verdict, trade, origin, out);
        if self.gaps.admit(ids) {
            self.aggregator.requalify();
        }
        self.doubts.remember(trade);
        let offered = if is_doubtful {
            self.fold(trade, origin)
        } else {
            self.newest_event_ms = self.newest_event_ms.max(trade.event_ms);
            if self.doubts.is_in_bar(trade) {
                Offered::Duplicate
            } else {
                self.fold(trade, origin)
            }
        };
        if self.sequence.next_id() == Some(ids.last + 1) {
            self.head_event_ms = trade.event_ms;
        }
        offered
    }

    /// A first trade, or one from before it that was overtaken.
    fn join(&mut self, event_ms: UnixMillis, is_first: bool) {
        // Trades of the same millisecond may have come before this one.
        let after_ms = event_ms.saturating_add(1);
        let joined = self
            .joined_ms
            .map_or(after_ms, |at| at.saturating_add(JOIN_MARGIN_MS));
        self.aggregator.set_complete_from(joined.min(after_ms));
        if is_first {
            // It may have been pushed long after it happened.
            let joined_ms = self.joined_ms.unwrap_or(self.now_ms);
            let from_ms = joined_ms.min(self.now_ms).max(event_ms);
            if self.aggregator.closed_until().next().is_none() {
                self.aggregator.begin_at(from_ms);
            }
            self.gaps.rejoined(event_ms);
        }
    }

    /// Keeps the gaps in step with what a new trade's ids say.
    #[inline]
    fn follow_ids(
        &mut self,
        verdict: Verdict,
        trade: &Trade,
        origin: Origin,
        out: &mut Vec<Output>,
    ) {
        match verdict {
            Verdict::AfterGap(span) => {
                let between = (
                    self.head_event_ms.min(trade.event_ms),
                    self.head_event_ms.max(trade.event_ms),
                );
                let is_live = origin == Origin::Live;
                // Venues page backwards: trades that a backfill skips are on its next page.
                let grace_ms = if is_live {
                    self.config.gap_grace_ms
                } else {
                    self.config.gap_hold_ms / 2
                };
                let is_newest = self.sequence.next_id() == Some(trade.last_id + 1);
                let is_outage_over = is_live && is_newest;
                if is_outage_over && self.is_behind(trade.event_ms) {
                    self.gaps.split_tail(trade.event_ms);
                }
                self.gaps.open(span, between, grace_ms, is_outage_over);
                self.forget_given_up();
            }
            Verdict::Next if origin == Origin::Backfill => {
                self.gaps.narrow_tail(trade.event_ms);
            }
            // A stream that stood still continues where it was: the trades of the bars that have
            // closed since are still to come.
            Verdict::Next if self.is_behind(trade.event_ms) => {
                self.gaps.narrow_tail(trade.event_ms);
            }
            Verdict::Next if self.is_up && self.gaps.close_tail(out) => {
                self.aggregator.requalify();
            }
            Verdict::FillsGap => {
                let ids = IdSpan {
                    first: trade.first_id,
                    last: trade.last_id,
                };
                self.gaps.narrow(ids, trade.event_ms);
                self.is_settle_due = true;
                self.forget_given_up();
            }
            _ => {}
        }
    }

    /// Bars have closed during an outage, or will close as soon as it is over, of a time that the
    /// stream has not reached.
    fn is_behind(&self, event_ms: UnixMillis) -> bool {
        self.gaps.has_tail()
            && (self.reorder.place(event_ms) != Placement::OnTime
                || self.aggregator.closed_until().any(|until| until > event_ms))
    }

    /// A span that the sequence has no room for never counts as filled.
    fn forget_given_up(&mut self) {
        if self.sequence.has_given_up() {
            for span in self.sequence.take_given_up() {
                self.gaps.forget(span);
            }
            self.aggregator.requalify();
        }
    }

    fn open_gaps_not_yet_known(&mut self, ids: IdSpan, event_ms: UnixMillis) {
        let between = (
            self.head_event_ms.min(event_ms),
            event_ms.max(self.head_event_ms),
        );
        for span in self.sequence.missing_in(ids) {
            if !self.gaps.covers(span) {
                self.gaps.open(span, between, 0, false);
            }
        }
    }

    #[inline]
    fn fold(&mut self, trade: &Trade, origin: Origin) -> Offered {
        let lateness_ms = match self.reorder.place(trade.event_ms) {
            Placement::OnTime => 0,
            Placement::Late { lateness_ms } | Placement::BeyondHorizon { lateness_ms } => {
                lateness_ms
            }
        };
        match self
            .aggregator
            .add(&Fold::of(trade), origin == Origin::Backfill)
        {
            Placed::Forming => Offered::InBar,
            Placed::Revised => Offered::Late { lateness_ms },
            Placed::TooOld => Offered::BeyondHorizon { lateness_ms },
        }
    }
}

//! Makes bars from the trades of one symbol: sequence, reorder, aggregate.
//!
//! A state machine without clock or I/O. The driver says when the feed is up or down, offers
//! trades, ticks it, and carries out the [`BackfillRequest`]s that it returns. A disconnection, a
//! restart from a checkpoint and a suspicious silence are handled in the same way: as an open-ended
//! gap after the newest trade. The next trade or a backfill resolves it. While a gap is young, the
//! bars that it touches wait. Then they close and say `gap`, and are revised when the gap is
//! filled.

pub(crate) mod config;
mod output;
#[cfg(test)]
mod room;

pub use self::config::PipelineConfig;
pub use self::output::{BackfillOutcome, Output};
use crate::aggregate::{Aggregator, Placed};
use crate::bar::{Bar, Fold};
use crate::clock::UnixMillis;
use crate::doubt::{Doubts, Judged};
pub use crate::gap::BackfillRequest;
use crate::gap::{Gap, GapState, Gaps};
pub use crate::offered::{Counts, Offered, Origin};
use crate::reorder::{Placement, ReorderWindow};
use crate::sequence::{ID_MAX, IdSpan, Sequence, Verdict};
use crate::trade::Trade;

/// A trade with a time further ahead of the venue's clock than this is refused.
pub const FUTURE_MAX_MS: i64 = 10_000;
/// The same limit for REST: it reports only past trades, and after a restart the venue's clock may
/// not be known yet.
const BACKFILL_FUTURE_MAX_MS: i64 = 3_600_000;
/// A trade with a later time than this is refused, whatever the clock says: the year 9999.
pub(crate) const EVENT_MAX_MS: UnixMillis = 253_370_764_800_000;
/// The feed is trusted from this time after it came up, because the clocks may differ by this much.
const JOIN_MARGIN_MS: i64 = 10_000;
/// The shortest time between two revisions of a bar.
const REVISION_INTERVAL_MS: i64 = 250;

/// See the module.
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub(crate) config: PipelineConfig,
    pub(crate) sequence: Sequence,
    pub(crate) doubts: Doubts,
    reorder: ReorderWindow,
    pub(crate) aggregator: Aggregator,
    pub(crate) gaps: Gaps,
    /// Event time of the trade with the highest id.
    pub(crate) head_event_ms: UnixMillis,
    /// Event time of the newest trade by time.
    pub(crate) newest_event_ms: UnixMillis,
    is_up: bool,
    joined_ms: Option<UnixMillis>,
    /// When the checkpoint was taken from which this continues, until the feed is up.
    pub(crate) restored_ms: Option<UnixMillis>,
    /// The venue's clock at the last tick.
    pub(crate) now_ms: UnixMillis,
    /// When revisions were last returned.
    revised_ms: Option<UnixMillis>,
    is_settle_due: bool,
    /// What the next tick returns.
    owed: Vec<Output>,
    counts: Counts,
}

impl Pipeline {
    /// A pipeline that has seen nothing; its feed is down.
    #[must_use]
    pub fn new(config: &PipelineConfig) -> Self {
        Self {
            sequence: Sequence::default(),
            doubts: Doubts::default(),
            reorder: ReorderWindow::new(config.reorder_window_ms, config.late_horizon_ms),
            aggregator: Aggregator::new(&config.timeframes),
            gaps: Gaps::default(),
            head_event_ms: 0,
            newest_event_ms: 0,
            is_up: false,
            joined_ms: None,
            restored_ms: None,
            now_ms: UnixMillis::MAX,
            revised_ms: None,
            is_settle_due: false,
            owed: Vec::new(),
            counts: Counts::default(),
            config: config.clone(),
        }
    }

    /// The outcomes of the trades offered so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The id after the highest seen, once there is one.
    #[must_use]
    pub fn next_id(&self) -> Option<u64> {
        self.sequence.next_id()
    }

    /// For each timeframe, the time up to which its bars are closed: the end of its newest closed
    /// bar, or the start of its first one. `None` before the first trade.
    pub fn closed_until(&self) -> impl Iterator<Item = UnixMillis> {
        self.aggregator.closed_until()
    }

    /// A socket that carries the symbol is subscribed, after none was.
    pub fn feed_up(&mut self, venue_now: UnixMillis) {
        self.is_up = true;
        let is_stale = self.restored_ms.take().is_some_and(|taken| {
            venue_now.saturating_sub(taken) > self.config.checkpoint_age_max_ms
        });
        if is_stale && let Some(next_id) = self.sequence.next_id() {
            self.doubts.leave(next_id, self.newest_event_ms);
            let mut owed = std::mem::take(&mut self.owed);
            self.join_anew(&mut owed);
            self.owed = owed;
            self.aggregator.set_filled_from(venue_now);
        }
        if self.sequence.next_id().is_none() {
            self.joined_ms = Some(venue_now);
            return;
        }
        self.open_tail(venue_now, false);
        self.gaps.ask_tail();
    }

    /// The time given to [`Pipeline::feed_up`] is this host's guess. Bars before the first trade do
    /// not count as complete because of it.
    pub fn forget_join_time(&mut self) {
        self.joined_ms = None;
    }

    /// The last socket that carried the symbol is lost.
    pub fn feed_down(&mut self, venue_now: UnixMillis) {
        self.is_up = false;
        self.joined_ms = None;
        if self.sequence.next_id().is_some() {
            self.open_tail(venue_now, true);
        }
    }

    /// The symbol has been silent for suspiciously long: requests trades that may have been missed.
    pub fn suspect(&mut self, venue_now: UnixMillis) {
        if self.is_up && self.sequence.next_id().is_some() {
            let (from_ms, horizon_ms) = (self.head_event_ms, self.config.late_horizon_ms);
            self.gaps.open_suspicion(from_ms, venue_now, horizon_ms);
            self.gaps.ask_tail();
        }
    }

    fn open_tail(&mut self, venue_now: UnixMillis, is_down: bool) {
        let (from_ms, horizon_ms) = (self.head_event_ms, self.config.late_horizon_ms);
        self.gaps.open_tail(from_ms, venue_now, is_down, horizon_ms);
    }

    /// The venue is known to have more trades between these event times than were counted. Requests
    /// again the trades that were given up there, or otherwise, as [`Pipeline::suspect`], the
    /// newest trades.
    pub fn refetch(&mut self, from_ms: UnixMillis, to_ms: UnixMillis, venue_now: UnixMillis) {
        let hold_ms = self.config.gap_hold_ms;
        if !self.gaps.reopen(from_ms, to_ms, hold_ms) {
            self.suspect(venue_now);
        }
    }

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
    fn join_anew(&mut self, out: &mut Vec<Output>) {
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
        let joined = self
            .joined_ms
            .map_or(event_ms, |at| at.saturating_add(JOIN_MARGIN_MS));
        self.aggregator.set_complete_from(joined.min(event_ms));
        if is_first {
            // It may have been pushed long after it happened.
            let joined_ms = self.joined_ms.unwrap_or(self.now_ms);
            let from_ms = joined_ms.min(self.now_ms).max(event_ms);
            if self.aggregator.closed_until().next().is_none() {
                self.aggregator.set_filled_from(from_ms);
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

    /// A backfill has ended, with all its trades offered before.
    pub fn backfill_ended(
        &mut self,
        id: u64,
        outcome: BackfillOutcome,
        venue_now: UnixMillis,
        out: &mut Vec<Output>,
    ) {
        match outcome {
            BackfillOutcome::Failed => self.gaps.retry(id, &self.config),
            BackfillOutcome::Gone => {
                self.gaps.end_gone(id, venue_now, out);
                self.aggregator.requalify();
            }
            BackfillOutcome::Done => {
                self.gaps.end_request(id, &self.sequence, &self.config, out);
                self.settle_gaps(out);
                self.aggregator.requalify();
            }
        }
    }

    /// Whether a request of this id is still waited for.
    #[must_use]
    pub fn awaits(&self, id: u64) -> bool {
        self.gaps.awaits(id)
    }

    /// Drops the gaps of which nothing is missing any more.
    fn settle_gaps(&mut self, out: &mut Vec<Output>) {
        self.is_settle_due = false;
        if self.gaps.settle(&self.sequence, out) {
            self.aggregator.requalify();
        }
    }

    /// Moves the clock: revises and closes due bars, and requests missing trades. A caller that
    /// does not know yet which trades came until `venue_now` gives an earlier time, and no bar
    /// closes beyond it. `steady_ms` is the time of this host's steady clock, which measures the age
    /// of gaps.
    pub fn tick(&mut self, venue_now: UnixMillis, steady_ms: UnixMillis, out: &mut Vec<Output>) {
        self.now_ms = venue_now;
        out.append(&mut self.owed);
        self.reorder.advance(venue_now);
        if self.is_settle_due {
            self.settle_gaps(out);
        }
        let ticked = self.gaps.tick(
            steady_ms,
            &self.config,
            self.is_up,
            self.sequence.next_id(),
            out,
        );
        if ticked.is_missing_changed {
            self.aggregator.requalify();
        }
        let missing = self.gaps.missing_times();
        let mut bars = |bar| out.push(Output::Bar(bar));
        let is_revision_due = self
            .revised_ms
            .is_none_or(|at| venue_now < at || venue_now - at >= REVISION_INTERVAL_MS);
        if is_revision_due {
            let mut is_any = false;
            self.aggregator
                .take_revised(ticked.held_from_ms, missing, &mut |bar| {
                    is_any = true;
                    bars(bar);
                });
            if is_any {
                self.revised_ms = Some(venue_now);
            }
        }
        if let Some(limit) = self.reorder.close_limit_ms() {
            let limit = ticked.held_from_ms.map_or(limit, |from| limit.min(from));
            self.aggregator.close(limit, missing, &mut bars);
        }
        if let Some(horizon) = self.reorder.horizon_ms()
            && self.aggregator.is_prune_due(horizon)
        {
            self.aggregator.prune(horizon, &self.gaps.wanted_times());
            let is_kept = |from_ms, to_ms| self.aggregator.keeps(from_ms, to_ms);
            self.gaps.prune(
                horizon,
                &self.config.timeframes,
                &mut self.sequence,
                is_kept,
            );
        }
    }

    /// Gives out the forming bar of every timeframe, if trades came since the last call.
    pub fn forming(&mut self, out: &mut Vec<Bar>) {
        self.aggregator
            .take_forming(self.now_ms, self.gaps.missing_times(), &mut |bar| {
                out.push(bar);
            });
    }

    /// How many bars are in memory, runs of flat ones counting as one.
    #[must_use]
    pub fn kept_bars(&self) -> usize {
        self.aggregator.kept_bars()
    }

    /// The gaps that are open now.
    pub fn gaps(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter().filter(|gap| gap.state != GapState::Lost)
    }
}

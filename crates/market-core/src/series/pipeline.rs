//! Makes bars from the trades of one symbol: sequence, reorder, aggregate.
//!
//! A state machine without clock or I/O. The driver says when the feed is up or down, offers
//! trades, ticks it, and carries out the [`BackfillRequest`]s that it returns. A disconnection, a
//! restart from a checkpoint and a suspicious silence are handled in the same way: as an open-ended
//! gap after the newest trade. The next trade or a backfill resolves it. While a gap is young, the
//! bars that it touches wait. Then they close and say `gap`, and are revised when the gap is
//! filled.

pub(crate) mod config;
mod intake;
mod output;
#[cfg(test)]
mod room;

pub use self::config::PipelineConfig;
pub use self::output::{BackfillOutcome, Output};
use crate::bar::Bar;
use crate::series::aggregate::Aggregator;
use crate::series::doubt::Doubts;
pub use crate::series::gap::BackfillRequest;
use crate::series::gap::{Gap, GapState, Gaps};
pub use crate::series::offered::{Counts, Offered, Origin};
use crate::series::reorder::ReorderWindow;
use crate::series::sequence::Sequence;
use crate::value::clock::UnixMillis;

/// A trade with a time further ahead of the venue's clock than this is refused.
pub const FUTURE_MAX_MS: i64 = 10_000;
/// A trade with a later time than this is refused, whatever the clock says: the year 9999.
pub(crate) const EVENT_MAX_MS: UnixMillis = 253_370_764_800_000;
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

    /// Drops the gaps that are filled.
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

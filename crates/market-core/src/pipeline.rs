//! One symbol's way from trades to bars: sequence, reorder, aggregate.
//!
//! A state machine without clock or I/O. The driver says when the feed is up or down, offers
//! trades, ticks it, and carries out the [`BackfillRequest`]s that come out. A disconnection, a
//! restart from a checkpoint and a suspicious silence are one thing here: an open-ended gap after
//! the newest trade, which the next trade or a backfill resolves. While a gap is young, the bars
//! that it touches wait for it; then they close and say so, and are revised when it is filled.

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregator, Placed};
use crate::bar::{Bar, Fold};
use crate::clock::UnixMillis;
use crate::gap::{Gap, GapEvent, GapState, Gaps};
use crate::reorder::{Placement, ReorderWindow};
use crate::sequence::{IdSpan, Sequence, Verdict};
use crate::timeframe::TimeframeSet;
use crate::trade::Trade;

/// A trade stamped further than this ahead of the venue's clock is not believed.
pub const FUTURE_MAX_MS: i64 = 3_600_000;
/// The feed is trusted from this long after it came up, for the clocks may differ that much.
const JOIN_MARGIN_MS: i64 = 10_000;
/// Raised whenever a checkpoint of before can no longer be read.
const CHECKPOINT_VERSION: u32 = 1;

/// Timing of one symbol's pipeline; all in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineConfig {
    /// The bars' widths.
    pub timeframes: TimeframeSet,
    /// How long after its end a bar waits for late trades.
    pub reorder_window_ms: i64,
    /// How long after that a late trade still revises a closed bar.
    pub late_horizon_ms: i64,
    /// How long a gap may be mere disorder before it is refetched.
    pub gap_grace_ms: i64,
    /// How long bars wait for a gap before they close with it.
    pub gap_hold_ms: i64,
    /// How long to wait before a failed backfill is tried again; doubles up to 30 s.
    pub gap_retry_ms: i64,
    /// How long a gap is tried for before it counts as lost.
    pub gap_give_up_ms: i64,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            timeframes: TimeframeSet::default(),
            reorder_window_ms: 2_000,
            late_horizon_ms: 900_000,
            gap_grace_ms: 300,
            gap_hold_ms: 10_000,
            gap_retry_ms: 1_000,
            gap_give_up_ms: 300_000,
        }
    }
}

/// How a trade came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// By the stream.
    Live,
    /// By a request for missing trades.
    Backfill,
}

/// What comes out.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "bars are nearly all of it, and a box each would cost more"
)]
pub enum Output {
    /// A bar that has closed, or a revision of one (`rev` above 0).
    Bar(Bar),
    /// Trades to fetch; [`Pipeline::backfill_ended`] is to be called whatever comes of it.
    Backfill(BackfillRequest),
    /// A gap in trade ids has been confirmed or has ended.
    Gap(GapEvent),
}

/// Trades that are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackfillRequest {
    /// To be given back to [`Pipeline::backfill_ended`].
    pub id: u64,
    /// First missing trade id.
    pub first_id: u64,
    /// Last missing trade id; `None` for all that the venue has after `first_id`.
    pub last_id: Option<u64>,
    /// Event time before which none of them happened.
    pub from_ms: UnixMillis,
    /// How often they have been asked for in vain.
    pub failures: u32,
}

/// How a backfill ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackfillOutcome {
    /// All that the venue has of the span was offered: what is missing now is lost.
    Done,
    /// It could not be fetched: try again later.
    Failed,
    /// The venue no longer has the symbol: what is missing is lost.
    Gone,
}

/// What became of an offered trade.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offered {
    /// It is in a bar, and none was closed before it.
    InBar,
    /// It revised closed bars.
    Late {
        /// How long after the reorder window it came, ms; 0 if a gap's hold explains it.
        lateness_ms: i64,
    },
    /// Too late for any bar.
    BeyondHorizon {
        /// How long after the reorder window it came, ms.
        lateness_ms: i64,
    },
    /// Seen before.
    Duplicate,
    /// An aggregate partly seen before; its new part is refetched.
    Overlap,
    /// From long before the feed was joined.
    BeforeJoin,
    /// Stamped too far ahead of the venue's clock.
    Future,
}

/// How many trades (aggregates count as one) met each fate since the pipeline was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the variants of Offered")]
pub struct Counts {
    pub in_bar: u64,
    pub late: u64,
    pub beyond_horizon: u64,
    pub duplicate: u64,
    pub overlap: u64,
    pub before_join: u64,
    pub future: u64,
}

impl Counts {
    /// Every trade that was offered.
    #[must_use]
    pub fn offered(&self) -> u64 {
        self.in_bar
            + self.late
            + self.beyond_horizon
            + self.duplicate
            + self.overlap
            + self.before_join
            + self.future
    }
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is not one, or one of another version.
    #[error("not a checkpoint of this version: {0}")]
    Unreadable(String),
    /// It was made with other timeframes.
    #[error("made with other timeframes")]
    OtherTimeframes,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Pipeline {
    config: PipelineConfig,
    sequence: Sequence,
    reorder: ReorderWindow,
    aggregator: Aggregator,
    gaps: Gaps,
    /// Event time of the trade with the highest id.
    head_event_ms: UnixMillis,
    is_up: bool,
    joined_ms: Option<UnixMillis>,
    counts: Counts,
}

#[derive(Serialize, Deserialize)]
struct Checkpoint {
    version: u32,
    sequence: Sequence,
    aggregator: Aggregator,
    gaps: Gaps,
    head_event_ms: UnixMillis,
}

impl Pipeline {
    /// A pipeline that has seen nothing; its feed is down.
    #[must_use]
    pub fn new(config: &PipelineConfig) -> Self {
        Self {
            sequence: Sequence::default(),
            reorder: ReorderWindow::new(config.reorder_window_ms, config.late_horizon_ms),
            aggregator: Aggregator::new(&config.timeframes),
            gaps: Gaps::default(),
            head_event_ms: 0,
            is_up: false,
            joined_ms: None,
            counts: Counts::default(),
            config: config.clone(),
        }
    }

    /// What a restart needs to go on exactly. It grows while the symbol is silent, and an older
    /// one serves as well: take one when [`Pipeline::counts`] or the gaps have changed.
    #[must_use]
    pub fn checkpoint(&self) -> Vec<u8> {
        let from_ms = self
            .gaps
            .earliest_ms()
            .unwrap_or(self.head_event_ms)
            .min(self.head_event_ms);
        let checkpoint = Checkpoint {
            version: CHECKPOINT_VERSION,
            sequence: self.sequence.clone(),
            aggregator: self.aggregator.for_checkpoint(from_ms),
            gaps: self.gaps.clone(),
            head_event_ms: self.head_event_ms,
        };
        serde_json::to_vec(&checkpoint).expect("a checkpoint has no keys but text")
    }

    /// Goes on from a checkpoint; the feed is down.
    ///
    /// # Errors
    /// `Unreadable`, or `OtherTimeframes` when the configuration has changed.
    pub fn restore(config: &PipelineConfig, checkpoint: &[u8]) -> Result<Self, RestoreError> {
        let checkpoint: Checkpoint = serde_json::from_slice(checkpoint)
            .map_err(|error| RestoreError::Unreadable(error.to_string()))?;
        if checkpoint.version != CHECKPOINT_VERSION {
            return Err(RestoreError::Unreadable(format!(
                "version {}",
                checkpoint.version
            )));
        }
        if !checkpoint
            .aggregator
            .timeframes()
            .eq(config.timeframes.as_slice().iter().copied())
        {
            return Err(RestoreError::OtherTimeframes);
        }
        let mut pipeline = Self::new(config);
        pipeline.sequence = checkpoint.sequence;
        pipeline.aggregator = checkpoint.aggregator;
        pipeline.gaps = checkpoint.gaps;
        pipeline.gaps.forget_requests();
        pipeline.head_event_ms = checkpoint.head_event_ms;
        if pipeline.sequence.next_id().is_some() {
            // Nothing is known of what came after the checkpoint, so no bar may close as if it were.
            pipeline
                .gaps
                .open_tail(checkpoint.head_event_ms, UnixMillis::MAX, true);
        }
        Ok(pipeline)
    }

    /// What became of the trades offered so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The id after the highest seen, once there is one.
    #[must_use]
    pub fn next_id(&self) -> Option<u64> {
        self.sequence.next_id()
    }

    /// For each timeframe, until when its bars are closed: the end of its newest closed bar, or the
    /// start of its first one. Nothing before the first trade.
    pub fn closed_until(&self) -> impl Iterator<Item = UnixMillis> {
        self.aggregator.closed_until()
    }

    /// A socket that carries the symbol is subscribed, after none was.
    pub fn feed_up(&mut self, venue_now: UnixMillis) {
        self.is_up = true;
        if self.sequence.next_id().is_none() {
            self.joined_ms = Some(venue_now);
            return;
        }
        self.gaps.open_tail(self.head_event_ms, venue_now, false);
        self.gaps.ask_tail(venue_now);
    }

    /// The last socket that carried the symbol is lost.
    pub fn feed_down(&mut self, venue_now: UnixMillis) {
        self.is_up = false;
        self.joined_ms = None;
        if self.sequence.next_id().is_some() {
            self.gaps.open_tail(self.head_event_ms, venue_now, true);
        }
    }

    /// The symbol has been silent for suspiciously long: asks whether trades were missed.
    pub fn suspect(&mut self, venue_now: UnixMillis) {
        if self.is_up && self.sequence.next_id().is_some() {
            self.gaps.open_tail(self.head_event_ms, venue_now, false);
            self.gaps.ask_tail(venue_now);
        }
    }

    /// The venue is known to have more trades between these event times than were counted: asks
    /// again for what was given up there, or else, as [`Pipeline::suspect`], for what is newest.
    pub fn refetch(&mut self, from_ms: UnixMillis, to_ms: UnixMillis, venue_now: UnixMillis) {
        let mut is_any = false;
        for ids in self.gaps.lost_between(from_ms, to_ms) {
            if self.sequence.recall(ids) {
                is_any = true;
                self.gaps.reopen(ids, venue_now, self.config.gap_hold_ms);
            }
        }
        if !is_any {
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
        let floor_before = self.sequence.floor_id();
        let ids = IdSpan {
            first: trade.first_id,
            last: trade.last_id,
        };
        let verdict = self.sequence.offer(ids);
        match verdict {
            Verdict::Duplicate => {
                self.counts.duplicate += 1;
                return Offered::Duplicate;
            }
            Verdict::BeforeJoin => {
                self.counts.before_join += 1;
                return Offered::BeforeJoin;
            }
            Verdict::Overlap => {
                self.open_gaps_not_yet_known(trade, venue_now);
                self.counts.overlap += 1;
                return Offered::Overlap;
            }
            Verdict::Next | Verdict::AfterGap(_) | Verdict::FillsGap => {}
        }
        if floor_before.is_none_or(|floor| ids.first < floor) {
            let joined = self
                .joined_ms
                .map_or(trade.event_ms, |at| at + JOIN_MARGIN_MS);
            self.aggregator
                .set_complete_from(joined.min(trade.event_ms));
        }
        self.follow_ids(verdict, trade, origin, venue_now, out);
        let offered = self.fold(trade, origin, venue_now);
        if self.sequence.next_id() == Some(ids.last + 1) {
            self.head_event_ms = trade.event_ms;
        }
        offered
    }

    /// Keeps the gaps in step with what a new trade's ids say.
    #[inline]
    fn follow_ids(
        &mut self,
        verdict: Verdict,
        trade: &Trade,
        origin: Origin,
        venue_now: UnixMillis,
        out: &mut Vec<Output>,
    ) {
        match verdict {
            Verdict::AfterGap(span) => {
                let between = (
                    self.head_event_ms.min(trade.event_ms),
                    self.head_event_ms.max(trade.event_ms),
                );
                let is_live = origin == Origin::Live;
                // Venues page backwards: what a backfill jumps over is on its next page.
                let grace_ms = if is_live {
                    self.config.gap_grace_ms
                } else {
                    self.config.gap_hold_ms / 2
                };
                let is_newest = self.sequence.next_id() == Some(trade.last_id + 1);
                self.gaps
                    .open(span, between, venue_now, grace_ms, is_live && is_newest);
                for span in self.sequence.take_given_up() {
                    self.gaps.lose(span, out);
                }
            }
            Verdict::Next if origin == Origin::Live && self.is_up && self.gaps.close_tail(out) => {
                self.aggregator.requalify();
            }
            Verdict::FillsGap => self.settle_gaps(out),
            _ => {}
        }
    }

    fn open_gaps_not_yet_known(&mut self, trade: &Trade, venue_now: UnixMillis) {
        for &span in self.sequence.missing() {
            if !self.gaps.covers(span) {
                let between = (
                    self.head_event_ms.min(trade.event_ms),
                    trade.event_ms.max(self.head_event_ms),
                );
                self.gaps.open(span, between, venue_now, 0, false);
            }
        }
    }

    fn fold(&mut self, trade: &Trade, origin: Origin, venue_now: UnixMillis) -> Offered {
        if trade.event_ms > venue_now + FUTURE_MAX_MS {
            self.counts.future += 1;
            return Offered::Future;
        }
        let lateness_ms = match self.reorder.place(trade.event_ms) {
            Placement::OnTime => 0,
            Placement::Late { lateness_ms } => lateness_ms,
            Placement::BeyondHorizon { lateness_ms }
                if self
                    .gaps
                    .earliest_ms()
                    .is_some_and(|from| from <= trade.event_ms) =>
            {
                lateness_ms
            }
            Placement::BeyondHorizon { lateness_ms } => {
                self.counts.beyond_horizon += 1;
                return Offered::BeyondHorizon { lateness_ms };
            }
        };
        match self
            .aggregator
            .add(&Fold::of(trade), origin == Origin::Backfill)
        {
            Placed::Forming => {
                self.counts.in_bar += 1;
                Offered::InBar
            }
            Placed::Revised => {
                self.counts.late += 1;
                Offered::Late { lateness_ms }
            }
            Placed::TooOld => {
                self.counts.beyond_horizon += 1;
                Offered::BeyondHorizon { lateness_ms }
            }
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
            BackfillOutcome::Failed => self.gaps.retry(id, venue_now, &self.config),
            BackfillOutcome::Gone => {
                if let Some(ids) = self.gaps.end_gone(id, venue_now, out) {
                    self.sequence.forget(ids);
                }
                self.aggregator.requalify();
            }
            BackfillOutcome::Done => {
                for span in
                    self.gaps
                        .end_request(id, self.sequence.missing(), venue_now, &self.config, out)
                {
                    self.sequence.forget(span);
                }
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
        if self.gaps.settle(&self.sequence, out) {
            self.aggregator.requalify();
        }
    }

    /// Moves the clock: revises and closes what is due, asks for what is missing.
    pub fn tick(&mut self, venue_now: UnixMillis, out: &mut Vec<Output>) {
        self.reorder.advance(venue_now);
        let ticked = self.gaps.tick(
            venue_now,
            &self.config,
            self.is_up,
            self.sequence.next_id(),
            out,
        );
        for span in ticked.lost {
            self.sequence.forget(span);
        }
        if ticked.is_missing_changed {
            self.aggregator.requalify();
        }
        let missing = self.gaps.missing_times();
        let mut bars = |bar| out.push(Output::Bar(bar));
        // A revision that a backfill is about to change again can wait for it.
        if ticked.held_from_ms.is_none() {
            self.aggregator.take_revised(missing, &mut bars);
        }
        if let Some(limit) = self.reorder.close_limit_ms() {
            let limit = ticked.held_from_ms.map_or(limit, |from| limit.min(from));
            self.aggregator.close(limit, missing, &mut bars);
        }
        if let Some(horizon) = self.reorder.horizon_ms() {
            let horizon = self
                .gaps
                .earliest_ms()
                .map_or(horizon, |from| horizon.min(from));
            self.aggregator.prune(horizon);
            self.gaps.prune(horizon, &self.config.timeframes);
        }
    }

    /// Gives out the forming bar of every timeframe, if trades came since the last call.
    pub fn forming(&mut self, out: &mut Vec<Bar>) {
        self.aggregator
            .take_forming(self.gaps.missing_times(), &mut |bar| out.push(bar));
    }

    /// The gaps that are open now.
    pub fn gaps(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.iter().filter(|gap| gap.state != GapState::Lost)
    }
}

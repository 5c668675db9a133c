//! One symbol between the venue and its pipeline, and what has come of it.

use std::collections::{BTreeMap, BTreeSet};

use market_core::pipeline::BackfillOutcome;
use market_core::{
    Bar, BarState, GapEventState, Offered, Origin, Output, Pipeline, PipelineConfig, Timeframe,
    Trade, VenueClock,
};

use crate::adversary::{Adversary, Random};
use crate::tape::{Tape, index_of};

/// As the pipeline's: a jump by more ids needs a second trade that confirms it.
const JUMP_IDS_MAX: u64 = 10_000;
/// As the pipeline's: how far event times may step back between adjoining ids.
const STEP_BACK_MS: i64 = 50;

/// What the symbols may ask REST: so many requests in a time.
pub(crate) struct Budget {
    pub(crate) per_s: i64,
    pub(crate) left: i64,
    pub(crate) second: i64,
}

impl Budget {
    pub(crate) fn take(&mut self, now_ms: i64) -> bool {
        if now_ms / 1_000 != self.second {
            self.second = now_ms / 1_000;
            self.left = self.per_s;
        }
        self.left -= 1;
        self.left >= 0
    }
}

pub(crate) struct Pending {
    pub(crate) due_ms: i64,
    pub(crate) id: u64,
    pub(crate) first_id: u64,
    pub(crate) last_id: Option<u64>,
}

pub(crate) struct Run<'a> {
    pub(crate) tape: &'a Tape,
    pub(crate) adversary: Adversary,
    pub(crate) config: PipelineConfig,
    pub(crate) pipeline: Pipeline,
    pub(crate) checkpoint: Option<Vec<u8>>,
    pub(crate) clock: VenueClock,
    pub(crate) out: Vec<Output>,
    pub(crate) backfills: Vec<Pending>,
    /// The newest revision of every closed bar, over all restarts.
    pub(crate) effective: BTreeMap<(Timeframe, i64), Bar>,
    /// The trades that a bar holds, by index, as the last restart knows it.
    pub(crate) folded: BTreeSet<usize>,
    pub(crate) folded_at_checkpoint: BTreeSet<usize>,
    pub(crate) folded_ever: BTreeSet<usize>,
    pub(crate) offered_at_checkpoint: u64,
    pub(crate) beyond_horizon: BTreeSet<usize>,
    pub(crate) reported_lost: Vec<(u64, u64)>,
    pub(crate) is_restarted: bool,
    /// The first trade that the last checkpoint knew of: nobody missed those before it.
    pub(crate) kept_from: usize,
    /// Not believed when they came: far ahead, and the others.
    pub(crate) ahead: Option<usize>,
    pub(crate) anew: Vec<usize>,
    /// With which trade the second numbering was joined.
    pub(crate) joined_anew: Option<usize>,
    /// Came when a bar of theirs had closed, and nobody had missed them.
    pub(crate) late: BTreeSet<usize>,
    /// Known to be missing while their bars were kept, with times that the trades around tell.
    pub(crate) missed: BTreeSet<usize>,
    pub(crate) missed_at_checkpoint: BTreeSet<usize>,
    /// Came beyond the late horizon, and were not missed: bars are final then.
    pub(crate) too_late: BTreeSet<usize>,
    /// The first trade after those that were known when the symbol was joined again, because its
    /// checkpoint was too old.
    pub(crate) left: Option<usize>,
    /// The end after the newest trade was reported as lost.
    pub(crate) is_end_lost: bool,
    /// How many were taken after they had been set aside.
    pub(crate) confirmed: u64,
    /// When the last outage is over.
    pub(crate) quiet_ms: i64,
}

impl Run<'_> {
    pub(crate) fn offer(&mut self, trade: &Trade, origin: Origin, venue_ms: i64) {
        let venue_now = self.clock.venue_now(self.adversary.host_ms(venue_ms));
        let before = self.pipeline.counts().offered();
        let next = self.pipeline.next_id();
        let outputs_before = self.out.len();
        let offered = self.pipeline.offer(trade, origin, venue_now, &mut self.out);
        assert_eq!(
            self.pipeline.counts().offered(),
            before + 1,
            "every trade is counted once"
        );
        let confirmed = self.pipeline.counts().confirmed - self.confirmed;
        self.confirmed += confirmed;
        let is_anew = self.out[outputs_before..]
            .iter()
            .any(|output| matches!(output, Output::IdsRestarted { .. }));
        let confirmed = usize::try_from(confirmed).expect("few");
        let taken = if is_anew {
            // Those that were set aside and are taken with this one are the newest of them.
            let taken = self.anew.split_off(self.anew.len() - confirmed);
            self.joined_anew = taken.first().copied().or(Some(index_of(trade)));
            taken
        } else {
            self.ahead.take_if(|_| confirmed > 0).into_iter().collect()
        };
        for &index in &taken {
            self.fold(index, venue_now);
        }
        let index = index_of(trade);
        match offered {
            Offered::InBar => self.fold(index, venue_now),
            Offered::Late { lateness_ms } => {
                // Nobody knew of ids beyond the newest, so no gap has kept bars for them.
                let is_beyond_newest = next.is_none_or(|next| trade.first_id >= next);
                let is_missed = !is_beyond_newest && self.missed.contains(&index);
                if !is_missed && lateness_ms > self.config.late_horizon_ms {
                    self.too_late.insert(index);
                    self.too_late.extend(taken);
                }
                if index < self.kept_from || is_beyond_newest {
                    self.late.insert(index);
                }
                self.fold(index, venue_now);
            }
            // Until frames have told the venue's clock, this host's may be far behind.
            Offered::Future if next.is_none() => {
                self.beyond_horizon.insert(index);
            }
            Offered::Duplicate | Offered::Future => {}
            Offered::BeyondHorizon { .. } | Offered::BeforeJoin => {
                self.beyond_horizon.insert(index);
            }
            Offered::Implausible => self.set_aside(trade, next),
            // With the ids of others.
            Offered::Conflict => assert!(self.tape.restart.is_some(), "{offered:?} of {trade:?}"),
            Offered::Overlap => panic!("{offered:?} of {trade:?}"),
        }
    }

    pub(crate) fn set_aside(&mut self, trade: &Trade, next: Option<u64>) {
        let limit = next.unwrap_or_default().saturating_add(JUMP_IDS_MAX);
        if trade.last_id >= limit {
            self.ahead = Some(index_of(trade));
        } else {
            self.anew.push(index_of(trade));
        }
    }

    /// The ids of this trade tell which ones are missing next to it. Their bars are kept if the
    /// trades around tell when they happened: that is not so if the venue's clock was set between.
    /// What the late horizon had passed by then is final, but an open end keeps what came after it.
    fn miss(&mut self, index: usize, venue_now: i64) {
        let event_ms = |index: usize| self.tape.trades[index].event_ms;
        let (begun, ends) = match self.tape.restart {
            Some(first) if first <= index => (first, usize::MAX),
            first => (0, first.unwrap_or(usize::MAX)),
        };
        let known_from = begun.max(self.left.filter(|&left| left <= index).unwrap_or(0));
        let before = self.folded.range(known_from..index).next_back().copied();
        let after = self.folded.range(index..ends).next().copied();
        let horizon_ms = venue_now - self.config.reorder_window_ms - self.config.late_horizon_ms;
        let open_end_ms = before.filter(|_| after.is_none()).map(event_ms);
        for (one, next) in [before.zip(Some(index)), Some(index).zip(after)]
            .into_iter()
            .flatten()
        {
            let from_ms = event_ms(one).min(event_ms(next)) - STEP_BACK_MS;
            let to_ms = event_ms(one).max(event_ms(next)) + STEP_BACK_MS;
            for between in one + 1..next {
                let at = event_ms(between);
                let is_kept = at >= horizon_ms
                    || open_end_ms.is_some_and(|end| at >= end - STEP_BACK_MS)
                    || self.missed.contains(&between);
                if is_kept && (from_ms..=to_ms).contains(&at) {
                    self.missed.insert(between);
                } else {
                    self.missed.remove(&between);
                }
            }
        }
    }

    /// The checkpoint was too old: nobody asks for the trades of the time before any more.
    pub(crate) fn leave(&mut self) {
        assert!(self.is_restarted, "only a restart reads a checkpoint");
        self.left = self.folded.last().map(|&newest| newest + 1);
    }

    pub(crate) fn fold(&mut self, index: usize, venue_now: i64) {
        self.miss(index, venue_now);
        let id = self.tape.trades[index].first_id;
        assert!(
            self.folded.insert(index),
            "trade {index} with id {id} was folded twice"
        );
        self.folded_ever.insert(index);
    }

    /// Carries out what came out.
    pub(crate) fn drain(&mut self, venue_ms: i64) {
        for output in std::mem::take(&mut self.out) {
            match output {
                Output::Bar(bar) => self.note(bar),
                Output::Backfill(request) => self.backfills.push(Pending {
                    due_ms: venue_ms + self.adversary.rest_latency_ms,
                    id: request.id,
                    first_id: request.first_id,
                    last_id: request.last_id,
                }),
                Output::IdsRestarted { .. } => {
                    // Trades from before a step that come late look as if ids started again.
                    let is_likely = self.tape.restart.is_some() || self.tape.step.is_some();
                    assert!(is_likely, "ids go on: {output:?}");
                }
                Output::Gap(event) => {
                    self.is_end_lost |= event.state == GapEventState::Lost
                        && event.first_id.is_none()
                        && event.to_ms.is_none();
                    if let (GapEventState::Lost, Some(first), Some(last)) =
                        (event.state, event.first_id, event.last_id)
                    {
                        self.reported_lost.push((first, last));
                    }
                }
            }
        }
    }

    pub(crate) fn note(&mut self, bar: Bar) {
        assert_eq!(bar.state, BarState::Closed);
        let [open, high, low, close] = bar.ohlc().expect("a published bar has prices");
        assert!(
            low <= open && low <= close && open <= high && close <= high,
            "{bar:?}"
        );
        let key = (bar.timeframe, bar.start_ms);
        match self.effective.insert(key, bar) {
            None => assert_eq!(bar.rev, 0, "a first publication is no revision: {bar:?}"),
            Some(before) if bar.rev == before.rev + 1 => assert_ne!(before, bar),
            Some(_) => assert!(self.is_restarted, "only a restart publishes {bar:?} again"),
        }
    }

    pub(crate) fn answer_backfills(
        &mut self,
        venue_ms: i64,
        budget: &mut Budget,
        random: &mut Random,
    ) {
        for pending in std::mem::take(&mut self.backfills) {
            if pending.due_ms > venue_ms || !budget.take(venue_ms) {
                self.backfills.push(pending);
                continue;
            }
            let venue_now = self.clock.venue_now(self.adversary.host_ms(venue_ms));
            let archived_until = venue_ms - self.adversary.rest_lags_ms;
            // Pages overlap what was asked for, and repeat themselves.
            let last = pending.last_id.map_or(u64::MAX, |last| last + 3);
            let mut page: Vec<Trade> = self
                .tape
                .numbering_at(archived_until)
                .filter(|&index| {
                    self.tape.at_ms[index] <= archived_until
                        && !self.adversary.lost.contains(&index)
                })
                .map(|index| self.tape.trades[index])
                .filter(|trade| {
                    (pending.first_id.saturating_sub(2)..=last).contains(&trade.first_id)
                })
                .collect();
            if random.one_in(3) {
                page.reverse();
            }
            let (away_from, away_to) = self.adversary.rest_away;
            let is_away = (away_from..away_to).contains(&venue_ms);
            // In the end it answers.
            let has_failed = is_away
                || (venue_ms < self.quiet_ms && random.one_in(self.adversary.rest_fails_one_in));
            if has_failed {
                page.truncate(if is_away { 0 } else { page.len() / 2 });
            }
            for trade in &page {
                self.offer(trade, Origin::Backfill, venue_ms);
            }
            let outcome = if has_failed {
                BackfillOutcome::Failed
            } else {
                BackfillOutcome::Done
            };
            self.pipeline
                .backfill_ended(pending.id, outcome, venue_now, &mut self.out);
        }
    }

    /// A trade of a wrong id comes.
    pub(crate) fn stray(&mut self, id: u64, now_ms: i64) {
        let next = self.pipeline.next_id();
        if next.is_none() {
            return;
        }
        let mut stray = self.tape.trades[0];
        (stray.first_id, stray.last_id, stray.event_ms) = (id, id, now_ms);
        stray.received_us = i64::MAX;
        let venue_now = self.clock.venue_now(self.adversary.host_ms(now_ms));
        let offered = self
            .pipeline
            .offer(&stray, Origin::Live, venue_now, &mut self.out);
        assert!(
            !matches!(offered, Offered::InBar | Offered::Late { .. }),
            "{offered:?} of a wrong id"
        );
        if offered == Offered::Implausible {
            self.set_aside(&stray, next);
        }
    }

    pub(crate) fn restart(&mut self) {
        self.pipeline = match &self.checkpoint {
            Some(checkpoint) => {
                Pipeline::restore(&self.config, "", checkpoint).expect("own checkpoint")
            }
            None => Pipeline::new(&self.config),
        };
        self.folded = self.folded_at_checkpoint.clone();
        self.missed = self.missed_at_checkpoint.clone();
        self.kept_from = self.folded.first().copied().unwrap_or(usize::MAX);
        self.clock = VenueClock::default();
        self.backfills.clear();
        self.ahead = None;
        self.anew.clear();
        self.confirmed = 0;
        self.is_restarted = true;
    }
}

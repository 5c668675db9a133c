//! One symbol's way through a run, step by step.

use std::collections::{BTreeMap, BTreeSet};

use market_core::{Origin, Pipeline, PipelineConfig, VenueClock};

use crate::START_MS;
use crate::adversary::{Random, adversary, arrivals};
use crate::tape::Tape;
use crate::world::{Budget, Run};

/// One symbol: what comes of its tape, and when.
pub(crate) struct Feed<'a> {
    pub(crate) run: Run<'a>,
    pub(crate) arrivals: std::iter::Peekable<std::vec::IntoIter<(i64, usize)>>,
    pub(crate) random: Random,
    pub(crate) newest_ms: i64,
    pub(crate) was_up: bool,
    pub(crate) quiet_since_ms: i64,
}

impl<'a> Feed<'a> {
    pub(crate) fn new(tape: &'a Tape, config: &PipelineConfig, mut random: Random) -> Self {
        let adversary = adversary(&mut random, tape);
        let (arrivals, newest_ms) = arrivals(tape, &adversary, &mut random);
        let over = adversary.outages.iter().map(|&(_, to, _)| to);
        let quiet_ms = over.chain([newest_ms, adversary.rest_away.1]).max();
        let run = Run {
            tape,
            pipeline: Pipeline::new(config),
            config: config.clone(),
            adversary,
            checkpoint: None,
            clock: VenueClock::default(),
            out: Vec::new(),
            backfills: Vec::new(),
            effective: BTreeMap::new(),
            folded: BTreeSet::new(),
            folded_at_checkpoint: BTreeSet::new(),
            folded_ever: BTreeSet::new(),
            offered_at_checkpoint: 0,
            beyond_horizon: BTreeSet::new(),
            reported_lost: Vec::new(),
            is_restarted: false,
            kept_from: 0,
            ahead: None,
            anew: Vec::new(),
            joined_anew: None,
            late: BTreeSet::new(),
            missed: BTreeSet::new(),
            missed_at_checkpoint: BTreeSet::new(),
            too_late: BTreeSet::new(),
            left: None,
            is_end_lost: false,
            confirmed: 0,
            quiet_ms: quiet_ms.unwrap_or(newest_ms),
        };
        Self {
            run,
            arrivals: arrivals.into_iter().peekable(),
            random,
            newest_ms,
            was_up: false,
            quiet_since_ms: START_MS - 25_000,
        }
    }

    pub(crate) fn end_ms(&self) -> i64 {
        self.run.quiet_ms + 100_000 + 4 * self.run.adversary.rest_latency_ms.max(60_000)
    }

    pub(crate) fn step(&mut self, now_ms: i64, budget: &mut Budget) {
        let run = &mut self.run;
        let outage = run
            .adversary
            .outages
            .iter()
            .find(|(from, to, _)| (*from..*to).contains(&now_ms))
            .copied();
        let is_up = outage.is_none() && now_ms >= run.adversary.join_at_ms;
        let venue_now = run.clock.venue_now(run.adversary.host_ms(now_ms));
        if is_up != self.was_up {
            if is_up {
                let is_joined = run.pipeline.next_id().is_some();
                run.pipeline.feed_up(venue_now);
                if is_joined && run.pipeline.next_id().is_none() {
                    run.leave();
                }
            } else {
                run.pipeline.feed_down(venue_now);
                if outage.is_some_and(|(_, _, is_restart)| is_restart) {
                    run.restart();
                }
            }
            self.was_up = is_up;
        }
        while let Some((at, index)) = self.arrivals.next_if(|(at, _)| *at <= now_ms) {
            let is_silent = run
                .adversary
                .silences
                .iter()
                .any(|(from, to)| (*from..*to).contains(&at));
            if is_up && !is_silent {
                let trade = &run.tape.trades[index];
                run.clock.observe(trade.event_ms, run.adversary.host_ms(at));
                run.offer(trade, Origin::Live, at);
                self.quiet_since_ms = now_ms;
            }
        }
        if let Some((at, id)) = run.adversary.stray
            && now_ms >= at
            && is_up
        {
            run.adversary.stray = None;
            run.stray(id, now_ms);
        }
        if is_up && now_ms - self.quiet_since_ms > 15_000 {
            self.quiet_since_ms = now_ms;
            run.pipeline
                .suspect(run.clock.venue_now(run.adversary.host_ms(now_ms)));
        }
        run.answer_backfills(now_ms, budget, &mut self.random);
        let venue_now = run.clock.venue_now(run.adversary.host_ms(now_ms));
        let steady_ms = run.adversary.steady_ms(now_ms);
        run.pipeline.tick(venue_now, steady_ms, &mut run.out);
        run.drain(now_ms);
        // A silent symbol needs no new checkpoint.
        let offered = run.pipeline.counts().offered();
        if now_ms % 1_000 == 0
            && offered != run.offered_at_checkpoint
            && let Some(taken) = run.pipeline.checkpoint()
        {
            run.checkpoint = Some(taken.encode(""));
            run.folded_at_checkpoint = run.folded.clone();
            run.missed_at_checkpoint = run.missed.clone();
            run.offered_at_checkpoint = offered;
        }
    }
}
